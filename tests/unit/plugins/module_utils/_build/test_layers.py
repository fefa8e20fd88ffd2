# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The archive of a layer."""

from __future__ import annotations

import io
import tarfile

from ansible_collections.lockstep.images.plugins.module_utils._archive import tar
from ansible_collections.lockstep.images.plugins.module_utils._build.context import Inline
from ansible_collections.lockstep.images.plugins.module_utils._build.layers import (
    archive_of,
    size_of,
)
from ansible_collections.lockstep.images.plugins.module_utils._build.tree import (
    Changes,
    Node,
    Tree,
)


def file_node(data=b"x", **how):
    return Node("f", 0o644, content=Inline(data), **how)


def changes_of(*paths, node=file_node):
    changes = Changes(Tree())
    for path in paths:
        parts = path.split(b"/")
        changes.make_directory(parts[:-1])
        changes.add(parts, node())
    return changes


def members(changes, mtime=7):
    data = b"".join(archive_of(changes, mtime))
    assert len(data) % 512 == 0 and data.endswith(tar.END)
    return tarfile.open(fileobj=io.BytesIO(data)).getmembers()


def test_names_are_sorted_by_bytes_and_times_are_fixed():
    found = members(changes_of(b"b", b"a/\xc3\xa9", b"a-", b"a/Z", b"A"))
    assert [one.name for one in found] == ["A", "a", "a-", "a/Z", "a/\u00e9", "b"]
    assert {(one.mtime, one.uid, one.gid, one.uname) for one in found} == {(7, 0, 0, "")}


def test_long_names_links_and_attributes_are_kept():
    tree = Tree()
    changes = Changes(tree)
    for length in (100, 101, 255):
        changes.add([b"n" * length], file_node())
    changes.make_directory([b"d" * 155])
    changes.add([b"d" * 155, b"f" * 100], file_node())
    changes.add([b"link"], Node("l", 0o777, link=b"t" * 300))
    changes.add([b"cap"], file_node(xattrs={b"security.capability": b"\x01\x00"}))
    changes.add([b"big"], file_node(uid=2**32 - 2, gid=8**7))
    found = {one.name: one for one in members(changes)}
    assert len(found) == 8
    assert found["link"].linkname == "t" * 300
    assert found["cap"].pax_headers["SCHILY.xattr.security.capability"] == "\x01\x00"
    assert (found["big"].uid, found["big"].gid) == (2**32 - 2, 8**7)
    assert size_of(changes) == 6


def test_size_of_8_gib_is_in_base_256():
    block = tar.entry(b"a", 8**11, tar.Form())
    assert (len(block), block[124:125]) == (512, b"\x80")
