# SPDX-License-Identifier: GPL-3.0-or-later
"""The state directory of unpacked images.

::

    PATH/                         only its owner can enter it
      lock                        held by a task that changes something
      staging/                    layers that are being unpacked; whatever is here without a task is removed
      layers/KEY/diff             the files of one layer, as overlayfs reads them
      layers/KEY/layer.json       what is known of it; KEY is the chain id, and a suffix for other options than usual
      trees/HEX.json              a tree that was unpacked elsewhere: its path, its directory, its image
      roots/NAME                  a root, see roots.py
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import hashlib
import json
import os
import time
import typing as t

from .._image.names import Digest
from .errors import TreeAccessError, TreeBusyError, access
from .options import TreeOptions
from .removal import DIRECTORY, clear, opened, remove

_PARTS = ("staging", "layers", "trees")
_LONGEST_RECORD = 1024 * 1024
_WAIT = 900.0  # another task may be unpacking a large image
_STEP = 0.2


class LayerRecord(t.NamedTuple):
    """What is known of an unpacked layer."""

    diff_id: str
    chain_id: str
    entries: int
    bytes: int
    skipped: t.Mapping[str, int]


class TreeState:
    """The state directory at ``path``, which need not exist until ``prepare``."""

    def __init__(self, path: str, options: TreeOptions, sync: bool = True) -> None:
        above, name = os.path.split(os.path.abspath(path))
        self.path = os.path.join(os.path.realpath(above), name)  # as the kernel lists mounts
        self._suffix = _suffix_of(options)
        self._sync = sync
        self._held = contextlib.ExitStack()
        self._last = contextlib.ExitStack()
        self._parts: dict[str, int] = {}  # descriptors

    def __enter__(self) -> TreeState:
        return self

    def __exit__(self, *_error: object) -> None:
        try:
            self._last.close()
        finally:
            self._held.close()

    def key(self, chain_id: Digest) -> str:
        """Return the name of the directory of a layer."""
        return f"{chain_id.algorithm}-{chain_id.encoded}{self._suffix}"

    def layer_path(self, key: str) -> str:
        """Return the path of the files of a layer."""
        return os.path.join(self.path, "layers", key, "diff")

    def layer(self, key: str) -> LayerRecord | None:
        """Return what is known of a layer, None unless it is unpacked completely."""
        with contextlib.suppress(OSError, ValueError, TypeError):
            value = read_json(os.path.join(self.path, "layers", key, "layer.json"))
            if os.path.isdir(self.layer_path(key)):
                return LayerRecord(**value)
        return None

    def on_exit(self, function: t.Callable[[], None]) -> None:
        """Call a function in the end, while this task still holds the lock."""
        self._last.callback(function)

    def prepare(self) -> None:
        """Create what is missing, take the lock, and remove what killed tasks left in the staging area.

        Raise TreeBusyError if another task holds the lock for too long, TreeAccessError if the directory is not this
        user's alone.
        """
        if self._parts:
            return
        with access(self.path):
            make_private(self.path)
            for part in _PARTS:
                make_private(os.path.join(self.path, part))
            self._held.enter_context(_locked(os.path.join(self.path, "lock")))
            for part in _PARTS:
                fd = os.open(os.path.join(self.path, part), DIRECTORY)
                self._held.callback(os.close, fd)
                self._parts[part] = fd
            clear(self._parts["staging"])

    def stage(self, key: str) -> int:
        """Return the descriptor of a new directory for the files of a layer."""
        staging = self._parts["staging"]
        remove(staging, key)
        os.mkdir(key, 0o700, dir_fd=staging)
        with opened(key, staging) as directory:
            os.mkdir("diff", 0o700, dir_fd=directory)
            return os.open("diff", DIRECTORY, dir_fd=directory)

    def discard(self, key: str) -> None:
        """Remove the directory of a layer that was not published."""
        remove(self._parts["staging"], key)

    def empty_staging(self) -> None:
        """Remove everything that was not published, if this task holds the lock."""
        if self._parts:
            clear(self._parts["staging"])

    def layer_keys(self) -> list[str]:
        """Return the names of the directories of all layers."""
        with access(self.path), contextlib.suppress(FileNotFoundError):
            return sorted(os.listdir(os.path.join(self.path, "layers")))
        return []

    def remove_layer(self, key: str) -> None:
        """Remove a published layer: it disappears at once, and its files after that."""
        staging, layers = self._parts["staging"], self._parts["layers"]
        os.rename(key, key, src_dir_fd=layers, dst_dir_fd=staging)
        remove(staging, key)

    def open_layer(self, key: str) -> int:
        """Return a descriptor of the files of a published layer."""
        with opened(key, self._parts["layers"]) as directory:
            return os.open("diff", DIRECTORY, dir_fd=directory)

    def describe(self, key: str, record: LayerRecord) -> None:
        """Write what is known of a staged layer."""
        with opened(key, self._parts["staging"]) as directory:
            write_json("layer.json", record._asdict(), directory)

    def publish(self, keys: t.Sequence[str]) -> t.Iterator[str]:
        """Rename staged layers to their places, the lowest first, once all their files are durable; yield each that is there."""
        staging, layers = self._parts["staging"], self._parts["layers"]
        self.flush(staging)
        for key in keys:
            remove(layers, key)  # only what is not complete
            os.rename(key, key, src_dir_fd=staging, dst_dir_fd=layers)
            yield key
        if self._sync:
            os.fsync(layers)

    def flush(self, directory: int) -> None:
        """Write everything on the file system of a directory to its disk, unless the task does not want it."""
        if self._sync and syncfs(directory) != 0:
            os.sync()

    def tree(self, path: str) -> dict[str, t.Any] | None:
        """Return what was recorded of the tree at ``path``, None if it was not unpacked from here or was replaced since."""
        record = self._record_of(path)
        return record if record and record.get("directory") == _identity(path) else None

    def owns(self, path: str) -> bool:
        """Return whether the tree at ``path`` was unpacked from here, also if a killed task was about to replace it."""
        record = self._record_of(path)
        known = [record.get(key) for key in ("directory", "replaces")]
        return _identity(path) in [one for one in known if one]

    def record_tree(self, path: str, facts: t.Mapping[str, t.Any], new: int) -> None:
        """Record the tree ``new``, a descriptor, that is at ``path`` or will be in a moment."""
        found = os.fstat(new)
        directory = [found.st_dev, found.st_ino]
        old = _identity(path) if self.owns(path) else None
        replaces = None if old == directory else old
        record = dict(facts, path=path, directory=directory, replaces=replaces)
        write_json(os.path.basename(self._tree_file(path)), record, self._parts["trees"])

    def _record_of(self, path: str) -> dict[str, t.Any]:
        with contextlib.suppress(OSError, ValueError):
            return read_json(self._tree_file(path))
        return {}

    def _tree_file(self, path: str) -> str:
        name = hashlib.sha256(os.fsencode(path)).hexdigest()
        return os.path.join(self.path, "trees", f"{name}.json")


def _identity(path: str) -> list[int] | None:
    with contextlib.suppress(OSError):
        found = os.stat(path, follow_symlinks=False)
        return [found.st_dev, found.st_ino]
    return None


def _suffix_of(options: TreeOptions) -> str:
    """Return what distinguishes layers that were unpacked with other options than usual."""
    if options == TreeOptions():
        return ""
    return f"-{hashlib.sha256(repr(tuple(options)).encode()).hexdigest()[:8]}"


def make_private(path: str) -> None:
    """Create a directory that only this user can enter; raise TreeAccessError for one that others own or can enter."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with contextlib.suppress(FileExistsError):
        os.mkdir(path, 0o700)
        os.chmod(path, 0o700)
    found = os.stat(path, follow_symlinks=False)
    is_own = os.path.isdir(path) and not os.path.islink(path) and found.st_uid == os.geteuid()
    if not is_own or found.st_mode & 0o077:
        what = "is not a directory of this user" if not is_own else "can be entered by other users"
        raise TreeAccessError(
            f"{path}: {what}",
            "Images can have programs that run as another user. Give a path that does not exist, or one with mode 0700.",
        )


def read_json(path: str) -> dict[str, t.Any]:
    """Return the object in a file; raise ValueError if it is not one."""
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(fd, "rb") as file:
        value = json.loads(file.read(_LONGEST_RECORD))
    if not isinstance(value, dict):
        raise ValueError("not an object")
    return value


def write_json(name: str, value: t.Any, directory: int) -> None:
    """Write a file in a directory: the old content is there until the new content is complete."""
    part = f".{name}.part"
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(part, flags, 0o600, dir_fd=directory), "w", encoding="utf-8") as file:
        json.dump(value, file, sort_keys=True)
        file.flush()
        os.fsync(file.fileno())
    os.rename(part, name, src_dir_fd=directory, dst_dir_fd=directory)


def syncfs(directory: int) -> int:
    """Write everything on one file system to its disk; return 0 for success. Python has no call for it."""
    with contextlib.suppress(OSError, AttributeError):
        return int(ctypes.CDLL(None, use_errno=True).syncfs(directory))
    return -1


@contextlib.contextmanager
def _locked(path: str) -> t.Iterator[None]:
    """Hold the lock of the state directory; raise TreeBusyError if another task holds it for too long."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        deadline = time.monotonic() + _WAIT
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise TreeBusyError(f"{path} is locked, gave up waiting") from None
                time.sleep(_STEP)
        yield
    finally:
        os.close(fd)
