# SPDX-License-Identifier: GPL-3.0-or-later
"""The files of an existing image: its layers, read from the first to the last, become a tree in memory."""

from __future__ import annotations

import contextlib
import os
import tempfile
import typing as t
from dataclasses import dataclass, field

from .._image.manifest import Descriptor, ImageConfig
from .._image.names import Digest
from .._archive import header as tar
from .._rootfs.errors import LayerTooLargeError
from .._rootfs.paths import OPAQUE, belongs_to_aufs, removed_by, split
from .._rootfs.reader import Entry, EntryReader
from .._rootfs.stream import Hashed, LayerStream, Pieces
from .tree import DIRECTORY, FILE, LINK, MAX_LINKS, OTHER, Node, Tree

MAX_ENTRIES = 5_000_000
MAX_BYTES = 100 * 1024**3
_MAX_USERS = 4 * 1024 * 1024
_KINDS = {tar.FILE: FILE, tar.SYMLINK: LINK, tar.DIRECTORY: DIRECTORY}
PASSWD, GROUP = b"etc/passwd", b"etc/group"


@dataclass(frozen=True)
class BaseLayer:
    """A layer of an existing image. ``open`` opens its blob, ``decompress`` reads the archive in it."""

    blob: Descriptor
    diff_id: Digest
    open: t.Callable[[], t.ContextManager[t.BinaryIO]] = field(repr=False)
    decompress: t.Callable[[t.BinaryIO, str], Pieces] = field(repr=False)

    @contextlib.contextmanager
    def entries(self) -> t.Iterator[tuple[EntryReader, LayerStream]]:
        """Read the entries; the archive is compared with the diff id at the end of the block."""
        where = f"layer {self.blob.digest}"
        with self.open() as file:
            hashed = Hashed(self.decompress(file, where), self.diff_id, MAX_BYTES, where)
            stream = LayerStream(iter(hashed))
            yield EntryReader(stream, where, MAX_ENTRIES, MAX_BYTES), stream
            stream.drain()
            hashed.require_match()


@dataclass(frozen=True, eq=False)
class BaseImage:
    """An image that a stage starts from or copies from; ``name`` and ``digest`` are what the result says of it.

    ``manifest`` is that of the platform.
    """

    name: str
    digest: Digest
    manifest: Descriptor
    config: ImageConfig
    layers: tuple[BaseLayer, ...]


class Member:
    """A file in a layer of an existing image. It has no bytes until a ``Spool`` has them."""

    __slots__ = ("_file", "_offset", "entry", "layer", "size")

    def __init__(self, layer: int, entry: int, size: int) -> None:
        self.layer, self.entry, self.size = layer, entry, size
        self._file: t.IO[bytes] | None = None
        self._offset = 0

    def keep(self, file: t.IO[bytes], offset: int) -> None:
        """Take the place of the bytes."""
        self._file, self._offset = file, offset

    @property
    def is_kept(self) -> bool:
        """Whether the bytes are in a file."""
        return self._file is not None

    def chunks(self) -> t.Iterator[bytes]:
        """Yield the bytes."""
        fd = t.cast(t.IO[bytes], self._file).fileno()
        at, end = self._offset, self._offset + self.size
        while at < end:
            data = os.pread(fd, min(1024 * 1024, end - at), at)
            at += len(data)
            yield data


class Spool:
    """The content of files that are copied out of images, in a file that has no name."""

    def __init__(self) -> None:
        self._file: t.IO[bytes] | None = None

    def close(self) -> None:
        """Give the space back."""
        if self._file:
            self._file.close()

    def fetch(self, image: BaseImage, members: t.Iterable[Member]) -> None:
        """Read the content of files of an image."""
        wanted: dict[int, dict[int, list[Member]]] = {}
        for one in members:
            if not one.is_kept:
                wanted.setdefault(one.layer, {}).setdefault(one.entry, []).append(one)
        for number, entries in wanted.items():
            with image.layers[number].entries() as (reader, stream):
                for entry in reader:
                    found = entries.get(reader.count)
                    if found:
                        self._keep(found, entry.content(stream))

    def _keep(self, members: t.Sequence[Member], content: t.Iterable[memoryview]) -> None:
        if self._file is None:
            directory = os.environ.get("TMPDIR") or "/var/tmp"
            self._file = tempfile.TemporaryFile(dir=directory)
        offset = self._file.seek(0, os.SEEK_END)
        for chunk in content:
            self._file.write(chunk)
        self._file.flush()
        for one in members:
            one.keep(self._file, offset)


class ImageTree(Tree):
    """The tree of an existing image. ``users`` has its files of users and groups, by path."""

    def __init__(self) -> None:
        super().__init__()
        self.users: dict[bytes, bytes] = {}
        self._layer = 0

    def read(self, layers: t.Sequence[BaseLayer]) -> None:
        """Add the layers; raise TreeRefusedError, or another error of ``_rootfs``, for one that breaks a rule."""
        for self._layer, layer in enumerate(layers):
            with layer.entries() as (reader, stream):
                for entry in reader:
                    try:
                        self._apply(entry, reader.count, stream)
                    except LayerTooLargeError as exc:
                        raise reader.error(type(exc), str(exc)) from None

    def _apply(self, entry: Entry, number: int, stream: LayerStream) -> None:
        place = split(entry.name)
        if belongs_to_aufs(place):
            return
        parent = self._enter(place.parent)
        if place.name == OPAQUE:
            self._hide(parent)
            return
        removed = removed_by(place.name)
        if removed is not None:
            self._remove(parent, removed)
            return
        if not place.name:
            node = self._node(entry, number)
            self.root.mode, self.root.uid, self.root.gid = node.mode, node.uid, node.gid
            return
        if entry.kind == tar.LINK:
            target = self.get([part for part in split(entry.link, "its target").path.split(b"/") if part])
            if target is not None:
                parent.children[place.name] = target
            return
        node = self._node(entry, number)
        old = parent.children.get(place.name)
        if old is not None and old.is_directory and node.is_directory:
            node.children = old.children
        parent.children[place.name] = node
        if entry.kind == tar.FILE and place.path in (PASSWD, GROUP):
            self._keep_users(place.path, entry, stream)

    def _node(self, entry: Entry, number: int) -> Node:
        kind = _KINDS.get(entry.kind, OTHER)
        content = Member(self._layer, number, entry.size) if kind == FILE else None
        return Node(
            kind, entry.mode, entry.uid, entry.gid, entry.link, content, self._layer, entry.xattrs
        )

    def _keep_users(self, path: bytes, entry: Entry, stream: LayerStream) -> None:
        if entry.size > _MAX_USERS:
            raise LayerTooLargeError(f"has more than {_MAX_USERS} bytes")
        self.users[path] = b"".join(map(bytes, entry.content(stream)))

    def _enter(self, path: bytes) -> Node:
        """Return the directory of an entry; a link of the same layer is followed, anything else is replaced."""
        todo, links = path.split(b"/")[::-1] if path else [], 0
        found: list[bytes] = []
        node = self.root
        while todo:
            part = todo.pop()
            if part in (b"", b".", b".."):
                found = found[:-1] if part == b".." else found
                node = self.get(found) or self.root
                continue
            inner = node.children.get(part)
            if inner is not None and inner.kind == LINK and inner.layer == self._layer and links < MAX_LINKS:
                links += 1
                found = [] if inner.link.startswith(b"/") else found
                node = self.get(found) or self.root
                todo += inner.link.split(b"/")[::-1]
                continue
            if inner is None or not inner.is_directory:
                inner = node.children[part] = Node(DIRECTORY, layer=self._layer)
            found = [*found, part]
            node = inner
        return node

    def _hide(self, parent: Node) -> None:
        """Remove what the layers below have in a directory."""
        for name in list(parent.children):
            self._remove(parent, name)

    def _remove(self, parent: Node, name: bytes) -> None:
        """Remove what the layers below have under a name."""
        node = parent.children.get(name)
        if node is None:
            return
        if node.is_directory:
            self._hide(node)
        if node.layer != self._layer and not node.children:
            del parent.children[name]
