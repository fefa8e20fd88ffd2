# SPDX-License-Identifier: GPL-3.0-or-later
"""The context as an engine gets it: without what is left out, with the modes and times of a build; as a copy or an archive."""

from __future__ import annotations

import hashlib
import os
import typing as t

from .._image.names import Digest
from .context import IGNORE_FILE, Context, Inline
from .layers import archive
from .tree import DIRECTORY, FILE, LINK, Node


def context_digest(context: Context) -> Digest:
    """Return a digest of all files of a context that are not left out: paths, modes, contents and targets of links."""
    whole = hashlib.sha256()
    for path, node in context.below([]):
        content = hashlib.sha256()
        for chunk in node.content.chunks() if node.content else ():
            content.update(chunk)
        fields = (b"/".join(path), node.kind.encode(), b"%o" % node.mode, node.link, content.digest())
        whole.update(b"".join(b"%d:%s" % (len(field), field) for field in fields))
    return Digest("sha256", whole.hexdigest())


def copy_context(context: Context, target: str, mtime: int) -> None:
    """Copy all files of a context that are not left out into the empty directory ``target``."""
    directories: list[tuple[bytes, int]] = []
    root = os.fsencode(target)
    for path, node in _entries(context):
        place = os.path.join(root, path)
        if node.is_directory:
            os.mkdir(place, 0o700)
            directories.append((place, node.mode))
        elif node.kind == LINK:
            os.symlink(node.link, place)
            os.utime(place, (mtime, mtime), follow_symlinks=False)
        else:
            fd = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with os.fdopen(fd, "wb") as file:
                for chunk in node.content.chunks() if node.content else ():
                    file.write(chunk)
                file.flush()
                os.fchmod(fd, node.mode)
                os.utime(fd, (mtime, mtime))
    for place, mode in reversed(directories):
        os.chmod(place, mode)
        os.utime(place, (mtime, mtime))


def context_archive(
    context: Context | None, dockerfile: bytes, text: str, mtime: int
) -> t.Iterator[bytes]:
    """Yield the archive of a context for the builder of Docker, with a Dockerfile of the name ``dockerfile``.

    The builder removes the Dockerfile from the context if ``.dockerignore`` names it. So this file names it, after what is
    in the file of the context.
    """
    own = Node(FILE, 0o644, content=Inline(text.encode()))
    ignored = Node(FILE, 0o644, content=Inline(b"%s\n%s\n" % (IGNORE_FILE, dockerfile)))
    entries = {dockerfile: own, IGNORE_FILE: ignored}
    for path, node in _entries(context) if context else ():
        if path == IGNORE_FILE and node.content:
            rules = b"%s\n%s\n" % (b"".join(node.content.chunks()), dockerfile)
            node = Node(FILE, node.mode, content=Inline(rules))
        entries[path] = node
    return archive(entries.items(), mtime)


def _entries(context: Context) -> t.Iterator[tuple[bytes, Node]]:
    """Yield all files that are not left out, and every directory above them."""
    known = {b""}
    for path, node in context.below([]):
        for end in range(1, len(path)):
            above = b"/".join(path[:end])
            if above not in known:  # it is left out, but a file in it is not
                known.add(above)
                yield above, Node(DIRECTORY)
        known.add(b"/".join(path))
        yield b"/".join(path), node
