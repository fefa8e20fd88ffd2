# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The directories and links of an image, as bytes."""

from __future__ import annotations

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._build.base import ImageTree
from ansible_collections.lockstep.images.plugins.module_utils._build.outline import decode, encode
from ansible_collections.lockstep.images.tests.support.building import base_layers
from ansible_collections.lockstep.images.tests.support.tarballs import (
    archive,
    directory,
    entry,
    symlink,
)


def test_outline_has_directories_links_and_users():
    tree = ImageTree()
    tree.read(
        base_layers(
            archive(
                directory("./", 0o711),
                directory(b"\xff/a", 0o700, uid=5),
                symlink("bin", b"\xff/a"),
                entry("etc/passwd", b"x:x:1:2"),
            )
        )
    )
    found = decode(encode(tree))
    listed = {b"/".join(path): (node.kind, node.mode, node.uid, node.link) for path, node in found.below([])}
    assert listed == {
        b"\xff": ("d", 0o755, 0, b""),
        b"\xff/a": ("d", 0o700, 5, b""),
        b"bin": ("l", 0o777, 0, b"\xff/a"),
        b"etc": ("d", 0o755, 0, b""),
    }
    assert (found.root.mode, found.users) == (0o711, {b"etc/passwd": b"x:x:1:2"})


@pytest.mark.parametrize(
    "data",
    [b"", b"[]", b"{}", b'{"version": 1}', b'{"version": 2}', b'{"version":1,"root":[1,2,3],"rows":[["a/b",1,2,3]],"users":{}}'],
)  # fmt: skip
def test_invalid_outline_is_none(data):
    assert decode(data) is None
