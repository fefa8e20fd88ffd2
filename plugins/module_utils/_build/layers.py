# SPDX-License-Identifier: GPL-3.0-or-later
"""The archive of a layer, from the files that a build adds (image-spec v1.1, layer.md)."""

from __future__ import annotations

import typing as t

from .._archive import tar
from .tree import FILE, LINK, Changes, Node

_KINDS = {FILE: tar.FILE, LINK: tar.SYMLINK}
_XATTR = b"SCHILY.xattr."


def archive_of(changes: Changes, mtime: int) -> t.Iterator[bytes]:
    """Yield the archive of a layer: names sorted by bytes, every time is ``mtime``, owners are numbers.

    The same files give the same bytes on every host. Files are read while the archive is read.
    """
    return archive(changes.entries(), mtime)


def archive(entries: t.Iterable[tuple[bytes, Node]], mtime: int) -> t.Iterator[bytes]:
    """Yield an archive with these files in this order, as ``archive_of`` does."""
    for path, node in entries:
        yield _header(path, node, mtime)
        if node.content is not None:
            yield from node.content.chunks()
            yield tar.padding(node.content.size)
    yield tar.END


def size_of(changes: Changes) -> int:
    """Return the bytes of the files of a layer."""
    return sum(node.content.size for _path, node in changes.entries() if node.content)


def _header(path: bytes, node: Node, mtime: int) -> bytes:
    kind = _KINDS.get(node.kind, tar.DIRECTORY)
    name = path + b"/" if node.is_directory else path
    size = node.content.size if node.content else 0
    form = tar.Form(node.mode & 0o7777, node.uid, node.gid, mtime, kind, node.link)
    records = {_XATTR + key: value for key, value in node.xattrs.items()}
    return tar.entry(name, size, form, records)
