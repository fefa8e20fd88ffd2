# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Cut the power at every system call of a module: record its calls with strace, and replay them on a model of a disk.

A file system may write what was not flushed in any order, or not at all. ``Disk`` knows what is certainly on the disk,
and makes the two extremes of what can be found after a power failure:

- ``NAMES``: all names and removals up to the cut, but only the content of files that were flushed. Other files are empty.
- ``FLUSHED``: only what was flushed, each name by the fsync of its directory.
"""

from __future__ import annotations

import os
import re
import stat
import typing as t
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

NAMES, FLUSHED = "names", "flushed"
_WRITES = "write,pwrite64,writev,ftruncate,fallocate,copy_file_range,sendfile"
_FILES = "open,openat,creat,close,dup,dup2,dup3,fcntl,lseek"
_NAMES = "mkdir,mkdirat,mknodat,link,linkat,symlink,symlinkat,rename,renameat,renameat2,unlink,unlinkat,rmdir"
_FLUSHES = "fsync,fdatasync,syncfs,sync"
_OTHERS = "chdir,fchdir,fsetxattr,chmod,fchmod,fchmodat"
_CALLS = ",".join((_FILES, _WRITES, _NAMES, _FLUSHES, _OTHERS))
_LINE = re.compile(r"^(\d+) +(.*)$")
_CALL = re.compile(r"^(\w+)\((.*)\) += (-?\d+)(.*)$")
_RESUMED = re.compile(r"^<\.\.\. \w+ resumed>(.*)$")
_UNFINISHED = " <unfinished ...>"
_QUOTED = re.compile(r'^"((?:\\x[0-9a-f]{2})*)"$')


def strace(log: Path) -> list[str]:
    """Return the launcher of a command whose calls are recorded in ``log``."""
    return ["strace", "-f", "-qq", "-xx", "-s", "33554432", "-e", f"trace={_CALLS}", "-o", str(log)]


class Call(t.NamedTuple):
    """A system call that succeeded."""

    name: str
    arguments: list[str]
    result: int

    def text(self, index: int) -> bytes:
        """Return an argument that is a string."""
        match = _QUOTED.match(self.arguments[index])
        assert match, self
        return bytes.fromhex(match.group(1).replace("\\x", ""))

    def texts(self) -> list[str]:
        """Return all arguments that are strings."""
        found = [at for at, word in enumerate(self.arguments) if _QUOTED.match(word)]
        return [os.fsdecode(self.text(at)) for at in found]

    def number(self, index: int) -> int:
        """Return an argument that is a number, which strace may write in octal."""
        word = self.arguments[index]
        return int(word, 8) if re.fullmatch("0[0-7]+", word) else int(word, 0)


def calls_of(log: Path) -> Iterator[Call]:
    """Yield the calls that succeeded, in the order in which they ended; a close counts from its begin."""
    begun: dict[str, str] = {}
    for line in log.read_text(encoding="ascii").splitlines():
        match = _LINE.match(line)
        assert match, line
        thread, text = match.groups()
        if text.endswith(_UNFINISHED):
            begun[thread] = text[: -len(_UNFINISHED)]
            if not text.startswith("close("):
                continue
            # Another thread can get the number of the file before strace notes the end.
            text, begun[thread] = f"{begun[thread]}) = 0", ""
        resumed = _RESUMED.match(text)
        if resumed:
            text = begun.pop(thread) + resumed.group(1)
        found = _CALL.match(text)
        if found and int(found.group(3)) >= 0:
            yield Call(found.group(1), found.group(2).split(", "), int(found.group(3)))


@dataclass(eq=False)
class Node:
    """A file, a directory, a link or a device: as programs see it, and what is certainly on the disk."""

    kind: int
    mode: int = 0o600
    data: bytes = b""  # of a file, or the target of a link
    entries: dict[bytes, Node] = field(default_factory=dict)
    flushed_data: bytes = b""
    flushed_entries: dict[bytes, Node] = field(default_factory=dict)
    attributes: dict[str, bytes] = field(default_factory=dict)

    def flush(self) -> None:
        """Do as fsync does."""
        self.flushed_data = self.data
        self.flushed_entries = dict(self.entries)

    def flush_all(self) -> None:
        """Flush everything below it."""
        self.flush()
        for node in self.entries.values():
            node.flush_all()

    def value(self) -> object:
        """Return a value that is equal for what is equal to programs."""
        entries = sorted((name, node.value()) for name, node in self.entries.items())
        return (self.kind, self.data, tuple(entries))

    def state(self, kept: str) -> object:
        """Return a value that is equal for equal states after a power failure."""
        if self.kind == stat.S_IFDIR:
            entries = self.entries if kept == NAMES else self.flushed_entries
            return tuple(sorted((name, node.state(kept)) for name, node in entries.items()))
        return (self.kind, self.flushed_data)

    def write(self, path: Path, kept: str) -> None:
        """Write what is found after a power failure."""
        if self.kind == stat.S_IFDIR:
            path.mkdir(self.mode)
            for name, node in (self.entries if kept == NAMES else self.flushed_entries).items():
                node.write(path / os.fsdecode(name), kept)
        elif self.kind == stat.S_IFLNK:
            os.symlink(self.data, path)
        elif self.kind == stat.S_IFREG:
            path.write_bytes(self.flushed_data)
            path.chmod(self.mode)
        else:
            os.mknod(path, self.kind | self.mode, 0)
        for name, value in self.attributes.items():
            os.setxattr(path, name, value, follow_symlinks=False)


def _loaded(path: Path) -> Node:
    mode = path.lstat().st_mode
    kind = stat.S_IFMT(mode)
    node = Node(kind, stat.S_IMODE(mode))
    if kind == stat.S_IFDIR:
        node.entries = {os.fsencode(one.name): _loaded(one) for one in path.iterdir()}
    elif kind in (stat.S_IFREG, stat.S_IFLNK):
        node.data = os.fsencode(os.readlink(path)) if kind == stat.S_IFLNK else path.read_bytes()
    return node


@dataclass
class _Open:
    """An open file."""

    node: Node
    position: int = 0
    appends: bool = False


class Disk:
    """A directory, whose content was flushed, and what the calls of a process do to it."""

    def __init__(self, directory: Path) -> None:
        self.root = _loaded(directory)
        self.root.flush_all()
        self._path = os.fsencode(directory)
        self._files: dict[int, _Open] = {}
        self._cwd: Node | None = None

    def apply(self, call: Call) -> bool:
        """Do what a call did; return whether it changed the disk."""
        return bool(getattr(self, f"_{call.name}")(call))

    def state(self, kept: str) -> object:
        """Return a value that is equal for equal states after a power failure now."""
        return self.root.state(kept)

    def shows(self, path: Path) -> bool:
        """Return whether a directory has what programs see without a power failure."""
        return self.root.value() == _loaded(path).value()

    def write(self, path: Path, kept: str) -> None:
        """Write what is found after a power failure now."""
        self.root.write(path, kept)

    # Paths

    def _place(self, call: Call, index: int, at: int | None) -> tuple[Node | None, bytes]:
        """Return the directory of a path and the last name; None for a path that is elsewhere."""
        path = call.text(index)
        node = self._base(call, at)
        if path.startswith(b"/"):
            if path != self._path and not path.startswith(self._path + b"/"):
                return None, b""
            node, path = self.root, path[len(self._path) :]
        parts = [part for part in path.split(b"/") if part not in (b"", b".")]
        for part in parts[:-1]:
            node = node.entries.get(part) if node else None
        return node, parts[-1] if parts else b""

    def _base(self, call: Call, at: int | None) -> Node | None:
        if at is None or call.arguments[at] == "AT_FDCWD":
            return self._cwd
        file = self._files.get(call.number(at))
        return file.node if file else None

    def _find(self, call: Call, index: int, at: int | None) -> Node | None:
        parent, name = self._place(call, index, at)
        return parent.entries.get(name) if parent and name else parent

    # Open files

    def _opened(self, call: Call, index: int, at: int | None, flags: str) -> bool:
        self._files.pop(call.result, None)
        parent, name = self._place(call, index, at)
        if parent is None:
            return False
        node = parent.entries.get(name) if name else parent
        created = node is None
        if node is None and "O_CREAT" not in flags:
            return False  # in a file system that is mounted on the disk
        if node is None:
            node = parent.entries[name] = Node(stat.S_IFREG)
        emptied = "O_TRUNC" in flags and bool(node.data)
        if emptied:
            node.data = b""
        self._files[call.result] = _Open(node, appends="O_APPEND" in flags)
        return created or emptied

    def _open(self, call: Call) -> bool:
        return self._opened(call, 0, None, call.arguments[1])

    def _openat(self, call: Call) -> bool:
        return self._opened(call, 1, 0, call.arguments[2])

    def _creat(self, call: Call) -> bool:
        return self._opened(call, 0, None, "O_CREAT|O_TRUNC")

    def _close(self, call: Call) -> None:
        self._files.pop(call.number(0), None)

    def _dup(self, call: Call) -> None:
        self._files.pop(call.result, None)
        if call.number(0) in self._files:
            self._files[call.result] = self._files[call.number(0)]

    _dup2 = _dup3 = _dup

    def _fcntl(self, call: Call) -> None:
        if call.arguments[1].startswith("F_DUPFD"):
            self._dup(call)

    def _lseek(self, call: Call) -> None:
        if call.number(0) in self._files:
            self._files[call.number(0)].position = call.result

    def _chdir(self, call: Call) -> None:
        self._cwd = self._find(call, 0, None)

    def _fchdir(self, call: Call) -> None:
        self._cwd = self._base(call, 0)

    # Content

    def _written(self, file: _Open, data: bytes, offset: int) -> None:
        old = file.node.data.ljust(offset, b"\0")
        file.node.data = old[:offset] + data + old[offset + len(data) :]

    def _write(self, call: Call) -> bool:
        file = self._files.get(call.number(0))
        if file is None or file.node.kind != stat.S_IFREG:
            return False
        if file.appends:
            file.position = len(file.node.data)
        self._written(file, call.text(1)[: call.result], file.position)
        file.position += call.result
        return True

    def _pwrite64(self, call: Call) -> bool:
        file = self._files.get(call.number(0))
        if file:
            self._written(file, call.text(1)[: call.result], call.number(3))
        return file is not None

    def _ftruncate(self, call: Call) -> bool:
        file = self._files.get(call.number(0))
        if file:
            length = call.number(1)
            file.node.data = file.node.data[:length].ljust(length, b"\0")
        return file is not None

    def _unknown(self, call: Call) -> None:
        assert not any(
            word.isdigit() and int(word) in self._files for word in call.arguments[:3]
        ), f"the model of the disk lacks {call.name}"

    _writev = _fallocate = _copy_file_range = _sendfile = _unknown

    def _fsetxattr(self, call: Call) -> bool:
        file = self._files.get(call.number(0))
        if file:
            file.node.attributes[os.fsdecode(call.text(1))] = call.text(2)
        return file is not None

    def _changed_mode(self, node: Node | None, mode: int) -> bool:
        if node:
            node.mode = mode
        return node is not None

    def _chmod(self, call: Call) -> bool:
        return self._changed_mode(self._find(call, 0, None), call.number(1))

    def _fchmodat(self, call: Call) -> bool:
        return self._changed_mode(self._find(call, 1, 0), call.number(2))

    def _fchmod(self, call: Call) -> bool:
        return self._changed_mode(self._base(call, 0), call.number(1))

    # Names

    def _made(self, place: tuple[Node | None, bytes], node: Node | None) -> bool:
        parent, name = place
        if parent is not None:
            assert node is not None, name
            parent.entries[name] = node
        return parent is not None

    def _mkdir(self, call: Call) -> bool:
        return self._made(self._place(call, 0, None), _directory(call.number(1)))

    def _mkdirat(self, call: Call) -> bool:
        return self._made(self._place(call, 1, 0), _directory(call.number(2)))

    def _mknodat(self, call: Call) -> bool:
        kind = next(kind for name, kind in _KINDS.items() if name in call.arguments[2])
        return self._made(self._place(call, 1, 0), Node(kind))

    def _symlink(self, call: Call) -> bool:
        return self._made(self._place(call, 1, None), _link_to(call.text(0)))

    def _symlinkat(self, call: Call) -> bool:
        return self._made(self._place(call, 2, 1), _link_to(call.text(0)))

    def _link(self, call: Call) -> bool:
        return self._made(self._place(call, 1, None), self._find(call, 0, None))

    def _linkat(self, call: Call) -> bool:
        return self._made(self._place(call, 3, 2), self._find(call, 1, 0))

    def _moved(
        self, source: tuple[Node | None, bytes], target: tuple[Node | None, bytes], swaps: bool
    ) -> bool:
        (old, name), (new, renamed) = source, target
        if old is None and new is None:
            return False
        assert old is not None and new is not None, "a file comes from elsewhere"
        node, other = old.entries.pop(name), new.entries.get(renamed)
        new.entries[renamed] = node
        if swaps and other:
            old.entries[name] = other
        return True

    def _rename(self, call: Call) -> bool:
        return self._moved(self._place(call, 0, None), self._place(call, 1, None), False)

    def _renameat(self, call: Call) -> bool:
        return self._moved(self._place(call, 1, 0), self._place(call, 3, 2), False)

    def _renameat2(self, call: Call) -> bool:
        swaps = "EXCHANGE" in call.arguments[4]
        return self._moved(self._place(call, 1, 0), self._place(call, 3, 2), swaps)

    def _removed(self, place: tuple[Node | None, bytes]) -> bool:
        parent, name = place
        if parent is not None:
            del parent.entries[name]
        return parent is not None

    def _unlink(self, call: Call) -> bool:
        return self._removed(self._place(call, 0, None))

    _rmdir = _unlink

    def _unlinkat(self, call: Call) -> bool:
        return self._removed(self._place(call, 1, 0))

    # Flushes

    def _fsync(self, call: Call) -> bool:
        file = self._files.get(call.number(0))
        if file:
            file.node.flush()
        return file is not None

    _fdatasync = _fsync

    def _syncfs(self, call: Call) -> bool:
        if call.number(0) not in self._files:
            return False
        return self._sync(call)

    def _sync(self, _call: Call) -> bool:
        self.root.flush_all()
        return True


_KINDS = {"S_IFCHR": stat.S_IFCHR, "S_IFIFO": stat.S_IFIFO, "S_IFREG": stat.S_IFREG}


def _directory(mode: int) -> Node:
    return Node(stat.S_IFDIR, mode & ~0o022)


def _link_to(target: bytes) -> Node:
    return Node(stat.S_IFLNK, 0o777, target, flushed_data=target)
