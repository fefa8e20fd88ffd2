# SPDX-License-Identifier: GPL-3.0-or-later
"""The files that a build copies, read by descriptors of directories: the kernel never resolves a path or a link."""

from __future__ import annotations

import os
import stat
import typing as t

from .._image.escaped import shown
from .errors import BuildContextError
from .patterns import Ignore, PatternError, Verdict, compile_name, is_pattern
from .tree import DIRECTORY, FILE, LINK, MAX_DEPTH, MAX_LINKS, Node

GIT, KEEP = "git", "keep"
_PIECE = 1024 * 1024
_OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_OPEN_DIRECTORY = _OPEN | os.O_DIRECTORY
IGNORE_FILE = b".dockerignore"
_MAX_TEXT = 16 * 1024 * 1024
_KINDS = {stat.S_IFSOCK: "a socket", stat.S_IFIFO: "a pipe", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device"}  # fmt: skip
_UNCHANGED = "Run again when nothing writes to the context."
Parts = t.Sequence[bytes]


class ContextFile:
    """A file of the context, as it was when the build was planned."""

    __slots__ = ("_context", "_found", "_parts", "size")

    def __init__(self, context: Context, parts: Parts, found: os.stat_result) -> None:
        self._context, self._parts, self._found = context, tuple(parts), found
        self.size = found.st_size

    def chunks(self) -> t.Iterator[bytes]:
        """Yield the bytes; raise BuildContextError if the file is not what it was."""
        context, parts = self._context, self._parts
        with context.access(parts):
            fd = context.open(parts, _OPEN)
        try:
            self._require_same(fd)
            left = self.size
            while left > 0:
                with context.access(parts):
                    data = os.read(fd, min(left, _PIECE))
                if not data:
                    break
                left -= len(data)
                yield data
            self._require_same(fd)
            if left:
                raise context.changed(parts)
        finally:
            os.close(fd)

    def _require_same(self, fd: int) -> None:
        now, then = os.fstat(fd), self._found
        if _identity(now) != _identity(then):
            raise self._context.changed(self._parts)


def _identity(found: os.stat_result) -> tuple[int, ...]:
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, stat.S_IFMT(found.st_mode))


class Inline:
    """A file whose bytes are in the Dockerfile."""

    __slots__ = ("_data", "size")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.size = len(data)

    def chunks(self) -> t.Iterator[bytes]:
        """Yield the bytes."""
        yield self._data


class Context:
    """The directory of a build. ``modes`` decides on modes: ``git`` knows only whether a file is executable.

    Raise BuildContextError if ``path`` is not a directory that can be read.
    """

    def __init__(self, path: str, modes: str = GIT) -> None:
        self.path = path
        self._modes = modes
        self._ignore = Ignore()
        try:
            self._root = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as exc:
            raise BuildContextError(
                f"context {path}: {exc.strerror}",
                "Give a directory of the host that runs the task; lockstep builds no remote context.",
                path=path,
            ) from exc

    def close(self) -> None:
        """Close the directory."""
        os.close(self._root)

    def use_ignore_file(self, dockerfile: bytes) -> None:
        """Read the file with the rules for what is left out: that of the Dockerfile, or ``.dockerignore``."""
        own = dockerfile + IGNORE_FILE
        for name in (own, IGNORE_FILE):
            text = self.read_text(name.split(b"/"))
            if text is not None:
                try:
                    self._ignore = Ignore(text)
                except PatternError as exc:
                    raise self._error([name], str(exc)) from exc
                return

    def read_text(self, parts: Parts) -> bytes | None:
        """Return the bytes of a small file, None if it is missing; links on the way are followed inside the context."""
        try:
            found = self.find(parts)
        except FileNotFoundError:
            return None
        with self.access(found):
            fd = self.open(found, _OPEN)
            with os.fdopen(fd, "rb") as file:
                if not stat.S_ISREG(os.fstat(fd).st_mode):
                    raise self._error(found, "is not a regular file")
                data = file.read(_MAX_TEXT + 1)
        if len(data) > _MAX_TEXT:
            raise self._error(found, f"has more than {_MAX_TEXT} bytes")
        return data

    def find(self, parts: Parts) -> list[bytes]:
        """Return the path that a path leads to; links on the way are followed, and must stay inside the context.

        Raise FileNotFoundError if it is missing, BuildContextError if it leads out of the context.
        """
        todo, links = list(parts)[::-1], 0
        found: list[bytes] = []
        while todo:
            part = todo.pop()
            if part in (b"", b"."):
                continue
            if part == b"..":
                if not found:
                    raise self._error(parts, "leads out of the context")
                found.pop()
                continue
            state = self._stat([*found, part])
            if stat.S_ISLNK(state.st_mode):
                links += 1
                target = self._read_link([*found, part])
                if links > MAX_LINKS:
                    raise self._error(parts, "leads through too many links")
                if target.startswith(b"/"):
                    raise self._error(
                        [*found, part], f"is a link to {shown(target)}, out of the context"
                    )
                todo += target.split(b"/")[::-1]
                continue
            found.append(part)
        return found

    def matching(self, parts: Parts) -> list[list[bytes]]:
        """Return the paths that a source of COPY means, sorted by bytes; those that are left out are not among them."""
        if not parts:
            return [[]]
        if not any(map(is_pattern, parts)):
            return [] if self._ignore.is_excluded(b"/".join(parts)) else [list(parts)]
        found: list[list[bytes]] = [[]]
        for part in parts:
            rule = compile_name(part) if is_pattern(part) else None
            longer: list[list[bytes]] = []
            for above in found:
                names = self._names(above) if rule else [part]
                longer += [[*above, name] for name in names if not rule or rule.fullmatch(name)]
            found = longer
        return [one for one in found if not self._ignore.is_excluded(b"/".join(one))]

    def node(self, parts: Parts) -> Node:
        """Return a file, a link or a directory without its files, by a path without links on the way."""
        state = self._stat(parts)
        mode = stat.S_IMODE(state.st_mode)
        if stat.S_ISDIR(state.st_mode):
            return Node(DIRECTORY, 0o755 if self._modes == GIT else mode)
        if stat.S_ISLNK(state.st_mode):
            return Node(LINK, 0o777, link=self._read_link(parts))
        if stat.S_ISREG(state.st_mode):
            if self._modes == GIT:
                mode = 0o755 if mode & 0o100 else 0o644
            return Node(FILE, mode, content=ContextFile(self, parts, state))
        kind = _KINDS.get(stat.S_IFMT(state.st_mode), "neither a file nor a directory")
        hint = "List it in .dockerignore, or remove it."
        raise self._error(parts, f"is {kind}, which no layer can have", hint)

    def below(self, parts: Parts) -> t.Iterator[tuple[list[bytes], Node]]:
        """Yield what is below a directory and not left out, parents first, sorted by bytes; each with its path from there."""
        verdict = self._ignore.top
        for end in range(1, len(parts) + 1):
            verdict = self._ignore.judge(b"/".join(parts[:end]), verdict)
        yield from self._below(list(parts), [], verdict)

    def _below(
        self, top: list[bytes], path: list[bytes], above: Verdict
    ) -> t.Iterator[tuple[list[bytes], Node]]:
        todo: list[tuple[list[bytes], Verdict]] = [(path, above)]
        while todo:
            path, above = todo.pop()
            inner: list[tuple[list[bytes], Verdict]] = []
            for name in self._names([*top, *path]):
                one = [*path, name]
                verdict = self._ignore.judge(b"/".join([*top, *one]), above)
                if verdict.is_excluded:
                    if self._ignore.has_exceptions and self._is_directory([*top, *one]):
                        inner.append((one, verdict))
                    continue
                with self.access([*top, *one]):
                    node = self.node([*top, *one])
                yield one, node
                if node.is_directory:
                    inner.append((one, verdict))
            todo += inner[::-1]
            if len(path) > MAX_DEPTH:
                raise self._error([*top, *path], f"is more than {MAX_DEPTH} directories deep")

    def open(self, parts: Parts, flags: int) -> int:
        """Open a path without links on the way; raise OSError."""
        parent = self._root
        try:
            for part in parts[:-1]:
                inner = os.open(part, _OPEN_DIRECTORY, dir_fd=parent)
                if parent != self._root:
                    os.close(parent)
                parent = inner
            return os.open(parts[-1] if parts else b".", flags, dir_fd=parent)
        finally:
            if parent != self._root:
                os.close(parent)

    def access(self, parts: Parts) -> _Access:
        """Convert an OSError in a block to BuildContextError about a path."""
        return _Access(self, parts)

    def changed(self, parts: Parts) -> BuildContextError:
        """Return the error for a file that is not what it was."""
        return self._error(parts, "changed while it was read", _UNCHANGED)

    def _error(self, parts: Parts, reason: str, hint: str = "") -> BuildContextError:
        path = b"/".join(parts)
        return BuildContextError(
            f"context {self.path}: {shown(path)} {reason}", hint, path=shown(path)[1:-1]
        )

    def _stat(self, parts: Parts) -> os.stat_result:
        return self._at(parts, lambda name, parent: os.stat(name, dir_fd=parent, follow_symlinks=False))

    def _read_link(self, parts: Parts) -> bytes:
        found: bytes = self._at(parts, lambda name, parent: os.readlink(name, dir_fd=parent))
        return found

    def _at(self, parts: Parts, ask: t.Callable[[bytes, int], t.Any]) -> t.Any:
        """Return the answer about the last name of a path; raise FileNotFoundError if it is missing."""
        try:
            parent = self.open(parts[:-1], _OPEN_DIRECTORY)
            try:
                return ask(parts[-1] if parts else b".", parent)
            finally:
                os.close(parent)
        except (FileNotFoundError, NotADirectoryError):
            raise FileNotFoundError from None
        except OSError as exc:
            raise self._error(parts, f"cannot be read: {exc.strerror}") from exc

    def _is_directory(self, parts: Parts) -> bool:
        with self.access(parts):
            return stat.S_ISDIR(self._stat(parts).st_mode)

    def _names(self, parts: Parts) -> list[bytes]:
        """Return the names in a directory, sorted by bytes; none for anything else."""
        try:
            fd = self.open(parts, _OPEN_DIRECTORY)
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as exc:
            raise self._error(parts, f"cannot be read: {exc.strerror}") from exc
        try:
            return sorted(map(os.fsencode, os.listdir(fd)))
        finally:
            os.close(fd)


class _Access:
    """Converts an OSError in a block: a file that is gone or replaced has changed."""

    def __init__(self, context: Context, parts: Parts) -> None:
        self._context, self._parts = context, parts

    def __enter__(self) -> None:
        pass

    def __exit__(self, _kind: object, exc: BaseException | None, _trace: object) -> None:
        if isinstance(exc, (FileNotFoundError, NotADirectoryError)):
            raise self._context.changed(self._parts) from exc
        if isinstance(exc, OSError):
            reason = f"cannot be read: {exc.strerror}"
            raise self._context._error(self._parts, reason) from exc
