# SPDX-License-Identifier: GPL-3.0-or-later
"""The directories and links of an image as bytes, so that its layers are read only once on a host."""

from __future__ import annotations

import base64
import binascii
import contextlib
import json
import typing as t

from .base import ImageTree
from .tree import DIRECTORY, LINK, Node

_VERSION = 1


def encode(tree: ImageTree) -> bytes:
    """Return the outline of a tree."""
    rows = [
        [_text(b"/".join(path)), node.mode, node.uid, node.gid]
        + ([_text(node.link)] if node.kind == LINK else [])
        for path, node in tree.below([])
        if node.kind in (DIRECTORY, LINK)
    ]
    root = tree.root
    value = {
        "version": _VERSION,
        "root": [root.mode, root.uid, root.gid],
        "rows": rows,
        "users": {_text(key): base64.b64encode(data).decode() for key, data in tree.users.items()},
    }
    return json.dumps(value, separators=(",", ":")).encode("ascii")


def decode(data: bytes) -> ImageTree | None:
    """Return the tree of an outline, None if that is not valid."""
    with contextlib.suppress(
        ValueError, TypeError, KeyError, AttributeError, IndexError, RecursionError, binascii.Error
    ):
        value = json.loads(data)
        return _tree(value) if value["version"] == _VERSION else None
    return None


def _tree(value: t.Mapping[str, t.Any]) -> ImageTree:
    tree = ImageTree()
    tree.root.mode, tree.root.uid, tree.root.gid = map(int, value["root"])
    nodes = {b"": tree.root}
    for path, mode, uid, gid, *link in value["rows"]:
        above, _slash, name = _bytes(path).rpartition(b"/")
        target = _bytes(link[0]) if link else b""
        node = Node(LINK if link else DIRECTORY, int(mode), int(uid), int(gid), target)
        nodes[above].children[name] = node
        if not link:
            nodes[_bytes(path)] = node
    tree.users = {_bytes(key): base64.b64decode(text) for key, text in value["users"].items()}
    return tree


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
