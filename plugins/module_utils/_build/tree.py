# SPDX-License-Identifier: GPL-3.0-or-later
"""The files that an image has while it is built: a tree in memory, without the content of files."""

from __future__ import annotations

import typing as t

MAX_LINKS = 40  # as in the kernel, path_resolution(7)
MAX_DEPTH = 255
DIRECTORY, FILE, LINK, OTHER = "d", "f", "l", "o"
Parts = t.Sequence[bytes]


class TreeError(ValueError):
    """A path of the tree cannot be used; the message says why."""


class Content(t.Protocol):
    """The bytes of a file."""

    size: int

    def chunks(self) -> t.Iterator[bytes]:
        """Yield the bytes, which have the size ``size`` together; raise BuildContextError if they changed."""


class Node:
    """A directory, a file, a link, or anything else. ``layer`` is the number of the layer that has it."""

    __slots__ = ("children", "content", "gid", "kind", "layer", "link", "mode", "uid", "xattrs")

    def __init__(
        self,
        kind: str,
        mode: int = 0o755,
        uid: int = 0,
        gid: int = 0,
        link: bytes = b"",
        content: Content | None = None,
        layer: int = 0,
        xattrs: t.Mapping[bytes, bytes] | None = None,
    ) -> None:
        self.kind, self.mode, self.uid, self.gid = kind, mode, uid, gid
        self.link, self.content, self.layer = link, content, layer
        self.xattrs: t.Mapping[bytes, bytes] = xattrs or {}
        self.children: dict[bytes, Node] = {}

    @property
    def is_directory(self) -> bool:
        """Whether it is a directory."""
        return self.kind == DIRECTORY

    def with_owner(self, uid: int, gid: int, mode: int) -> Node:
        """Return a copy with another owner and mode; a copy of a directory is empty."""
        return Node(self.kind, mode, uid, gid, self.link, self.content, self.layer, self.xattrs)


def parts_of(path: bytes) -> list[bytes]:
    """Return the components of a path, where ``..`` leads up, and never above the root."""
    found: list[bytes] = []
    for part in path.split(b"/"):
        if part == b"..":
            del found[-1:]
        elif part not in (b"", b"."):
            found.append(part)
    return found


class Tree:
    """The tree of one image."""

    def __init__(self) -> None:
        self.root = Node(DIRECTORY)

    def get(self, parts: Parts) -> Node | None:
        """Return what is at a path without links, None if it is missing."""
        node: Node | None = self.root
        for part in parts:
            node = node.children.get(part) if node else None
        return node

    def resolve(self, parts: Parts) -> list[bytes]:
        """Return the path that a path leads to when its links are followed, also the last one, inside the tree.

        What is missing on the way stays as is. Raise TreeError for too many links, or a path through a file.
        """
        todo, links = list(parts)[::-1], 0
        found: list[bytes] = []
        while todo:
            part = todo.pop()
            if part in (b"", b"."):
                continue
            if part == b"..":
                del found[-1:]
                continue
            node = self.get([*found, part])
            if node is not None and node.kind == LINK:
                links += 1
                if links > MAX_LINKS:
                    raise TreeError("leads through too many links")
                found = [] if node.link.startswith(b"/") else found
                todo += node.link.split(b"/")[::-1]
                continue
            if node is not None and not node.is_directory and todo:
                raise TreeError("leads through a file")
            found.append(part)
        if len(found) > MAX_DEPTH:
            raise TreeError(f"is more than {MAX_DEPTH} directories deep")
        return found

    def put(self, parts: Parts, node: Node) -> None:
        """Put a node at a path without links, whose directories exist; a directory keeps what is in an old one."""
        parent = self.get(parts[:-1])
        if parent is None or not parent.is_directory:
            raise TreeError("has no directory")
        old = parent.children.get(parts[-1])
        if old is not None and old.is_directory and node.is_directory:
            node.children = old.children
        parent.children[parts[-1]] = node

    def replay(self, changes: Changes) -> None:
        """Apply the files of a layer, as ``Changes.entries`` lists them."""
        for path, node in changes.entries():
            if not path:
                continue
            copy = node.with_owner(node.uid, node.gid, node.mode)
            self.put(path.split(b"/"), copy)

    def below(self, parts: Parts) -> t.Iterator[tuple[list[bytes], Node]]:
        """Yield what is below a directory, parents first; each with its path from there."""
        top = self.get(parts)
        todo: list[tuple[list[bytes], Node]] = [([], top)] if top else []
        while todo:
            path, node = todo.pop()
            for name in sorted(node.children, reverse=True):
                todo.append(([*path, name], node.children[name]))
            if path:
                yield path, node


class Changes:
    """The files of a new layer on top of ``tree``, which gets them too."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._found: dict[bytes, Node] = {}

    def __bool__(self) -> bool:
        return bool(self._found)

    def entries(self) -> list[tuple[bytes, Node]]:
        """Return the paths, sorted by bytes, each with its node; a directory comes before its files."""
        return sorted(self._found.items(), key=lambda one: one[0])

    def make_directory(self, parts: Parts, uid: int = 0, gid: int = 0, mode: int = 0o755) -> bool:
        """Make a directory with its parents unless it exists; return whether it was made."""
        made = False
        for end in range(1, len(parts) + 1):
            node = self._tree.get(parts[:end])
            made = node is None
            if node is None:
                self._set(parts[:end], Node(DIRECTORY, mode, uid, gid))
            elif not node.is_directory:
                raise TreeError("leads through a file")
        return made

    def add(self, parts: Parts, node: Node) -> None:
        """Add a file or a link; the directories above are listed with their attributes."""
        if not parts:
            raise TreeError("is the root")
        old = self._tree.get(parts)
        if old is not None and old.is_directory:
            raise TreeError("is a directory in the image, which a file cannot replace")
        self._list_parents(parts)
        self._set(parts, node)

    def add_directory(self, parts: Parts, node: Node) -> None:
        """Add a directory, unless it exists: then it keeps its attributes."""
        if parts and self._tree.get(parts) is None:
            self._list_parents(parts)
            self._set(parts, node)

    def _list_parents(self, parts: Parts) -> None:
        for end in range(1, len(parts)):
            path = b"/".join(parts[:end])
            node = self._tree.get(parts[:end])
            if path not in self._found and node is not None:
                self._found[path] = node

    def _set(self, parts: Parts, node: Node) -> None:
        self._list_parents(parts)
        self._tree.put(parts, node)
        self._found[b"/".join(parts)] = node
