# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The entries of a layer as files, and hostile archives: outside of the root only the canary is ever there."""

from __future__ import annotations

import contextlib
import os
import stat
import threading

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._image.errors import ContentError
from ansible_collections.lockstep.images.plugins.module_utils._rootfs.errors import (
    TreeAccessError,
    TreeRefusedError,
)
from ansible_collections.lockstep.images.plugins.module_utils._rootfs.layers import (
    Limits,
    UnpackedLayer,
)
from ansible_collections.lockstep.images.plugins.module_utils._rootfs.options import (
    CALLER,
    TreeOptions,
)
from ansible_collections.lockstep.images.tests.support.tarballs import (
    BLOCK,
    CHAR,
    FIFO,
    MTIME,
    archive,
    described,
    directory,
    entry,
    hardlink,
    pax,
    symlink,
)
from ansible_collections.lockstep.images.tests.support.trees import (
    IS_ROOT,
    LIMITS,
    OPTIONS,
    open_new,
    source_of,
    unpack,
    unpack_tree,
)
from ansible_collections.lockstep.images.tests.support.users import (
    ordinary_user,
    public_directory,
)

CANARY = b"only this is outside"
as_root = pytest.mark.skipif(not IS_ROOT, reason="only root can do this")


def tree_of(path, *entries, **how):
    unpack(path, archive(*entries), **how)
    return described(path / "0")


def test_files_have_content_mode_and_time(tmp_path):
    found = tree_of(
        tmp_path, directory("d", 0o750), entry("d/f", b"x" * 3000, mode=0o640), symlink("l", "d/f")
    )
    assert {name: one[0] for name, one in found.items()} == {
        ".": "drwxr-xr-x",
        "d": "drwxr-x---",
        "d/f": "-rw-r-----",
        "l": "lrwxrwxrwx",
    }
    assert {one[2] for name, one in found.items() if name != "."} == {MTIME * 10**9}
    assert (tmp_path / "0" / "d" / "f").read_bytes() == b"x" * 3000


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o000])
def test_umask_changes_nothing(tmp_path, mask):
    old = os.umask(mask)
    try:
        found = tree_of(
            tmp_path,
            entry("implied/f", mode=0o666),
            directory("d", 0o777),
            entry("p", kind=FIFO, mode=0o622),
        )
    finally:
        os.umask(old)
    modes = [found[name][0] for name in ("implied", "implied/f", "d", "p")]
    assert modes == ["drwxr-xr-x", "-rw-rw-rw-", "drwxrwxrwx", "prw--w--w-"]


def test_directory_keeps_its_time_although_files_follow(tmp_path):
    many = [entry(f"d/{number}/f") for number in range(100)]  # more than are open at a time
    named = [directory(f"d/{number}", mtime=number) for number in range(100)]
    found = tree_of(tmp_path, directory("d", mtime=7), *named, *many, entry("d/last"))
    assert found["d"][2] == 7 * 10**9
    assert [found[f"d/{number}"][2] for number in range(100)] == [
        number * 10**9 for number in range(100)
    ]


def test_times_can_be_negative_and_have_fractions(tmp_path):
    found = tree_of(
        tmp_path, pax({"mtime": "-1.5"}), entry("a"), pax({"mtime": "2.000000001"}), entry("b")
    )
    assert (found["a"][2], found["b"][2]) == (-1_500_000_000, 2_000_000_001)


def test_directory_without_permissions_gets_files(tmp_path):
    found = tree_of(
        tmp_path, directory("d", 0o000), entry("d/f"), directory("e", 0o555), entry("e/f")
    )
    assert (found["d"][0], found["e"][0]) == ("d---------", "dr-xr-xr-x")
    assert "e/f" in found
    os.chmod(tmp_path / "0" / "d", 0o700)
    assert (tmp_path / "0" / "d" / "f").exists()


@as_root
def test_owners_are_kept(tmp_path):
    found = tree_of(
        tmp_path,
        directory("d", uid=1, gid=2),
        entry("f", uid=3, gid=4),
        symlink("l", "f", uid=5, gid=6),
    )
    assert [found[name][1] for name in "dfl"] == [(1, 2), (3, 4), (5, 6)]


@as_root
def test_program_of_another_user_keeps_its_mode_after_its_owner_is_set(tmp_path):
    assert tree_of(tmp_path, entry("su", mode=0o6755, uid=9))["su"][0] == "-rwsr-sr-x"


@pytest.mark.parametrize("options", [TreeOptions(CALLER), OPTIONS._replace(setuid="strip")])
def test_setuid_is_removed_and_counted(tmp_path, options):
    layer = unpack(tmp_path, archive(entry("su", mode=0o6755)), options=options)[0]
    assert stat.S_IMODE((tmp_path / "0" / "su").stat().st_mode) == 0o755
    assert layer.counts.skipped == {"setuid": 1}


def test_hard_links_share_a_file_also_links_to_links(tmp_path):
    found = tree_of(
        tmp_path, entry("a", b"1"), hardlink("b", "a"), symlink("l", "a"), hardlink("m", "/l")
    )
    assert (found["b"][4], found["m"][4], found["m"][3]) == ("a", "l", "a")


def test_later_entry_replaces_an_earlier_one(tmp_path):
    found = tree_of(
        tmp_path,
        entry("a/b/c"),
        entry("a", b"file"),
        symlink("l", "a"),
        entry("l", b"x"),
        entry("d", b"file"),
        directory("d"),
        entry("d/e"),
        symlink("s", "d"),
        directory("s"),
    )
    assert sorted(found) == [".", "a", "d", "d/e", "l", "s"]
    assert (found["a"][0][0], found["l"][0][0], found["s"][0][0]) == ("-", "-", "d")


def test_link_of_the_same_layer_is_followed_inside_the_root(tmp_path):
    found = tree_of(
        tmp_path,
        directory("usr"),
        directory("usr/lib"),
        symlink("lib", "usr/lib"),
        entry("lib/a"),
        symlink("up", "../../../usr"),
        entry("up/b"),
        symlink("abs", "/usr"),
        entry("abs/lib/c"),
    )
    assert {"usr/lib/a", "usr/b", "usr/lib/c"} <= set(found)


def test_names_of_any_bytes_are_kept(tmp_path):
    names = [b"a\nb", b"\x1b[31m", b"\xff\xfe", b" ", b"-rf", b"~", b"a" * 255]
    unpack(
        tmp_path,
        archive(
            *map(entry, [name[:100] for name in names[:-1]]), pax({b"path": names[-1]}), entry("x")
        ),
    )
    assert sorted(os.listdir(os.fsencode(tmp_path / "0"))) == sorted(names)


def test_skipped_entries_are_counted(tmp_path):
    layer = unpack(
        tmp_path,
        archive(
            entry("dev/null", kind=CHAR, device=(1, 3)),
            entry("dev/sda", kind=BLOCK, device=(8, 0)),
            entry(".wh..wh.plnk/1.2", b"x"),
            entry("d/.wh..wh.aufs"),
            pax({"SCHILY.xattr.security.selinux": "x", "SCHILY.xattr.trusted.x": "y"}),
            entry("f"),
        ),
    )[0]
    assert layer.counts.skipped == {"device": 2, "aufs": 2, "xattr": 2}
    assert sorted(os.listdir(tmp_path / "0")) == ["dev", "f"]


@as_root
def test_devices_are_made_on_request(tmp_path):
    found = tree_of(
        tmp_path,
        entry("null", kind=CHAR, device=(1, 3), mode=0o666),
        options=OPTIONS._replace(devices="make"),
    )
    assert (found["null"][0], found["null"][3], found["null"][2]) == (
        "crw-rw-rw-",
        (1, 3),
        MTIME * 10**9,
    )


def test_extended_attributes_are_kept(tmp_path):
    found = tree_of(
        tmp_path,
        pax({"SCHILY.xattr.user.a": "1"}),
        entry("f"),
        pax({"SCHILY.xattr.user.b": "2"}),
        directory("d"),
    )
    assert found["f"][5] == (("user.a", b"1"),)
    assert found["d"][5] == (("user.b", b"2"),)


@as_root
def test_capabilities_are_set_after_owner_and_mode(tmp_path):
    capability = bytes.fromhex("0100000200200000000000000000000000000000")
    found = tree_of(
        tmp_path,
        pax({"SCHILY.xattr.security.capability": capability}),
        entry("ping", b"x", mode=0o755),
    )
    assert found["ping"][5] == (("security.capability", capability),)


DEEP = "/".join(["d"] * 256)
# The entries of an archive, and a part of the message. The numbers are those of the attack classes that follow.
REFUSED = {
    # 1. Names that leave the root.
    "parent": ([entry("../evil")], "leads out"),
    "parent inside": ([entry("a/../../evil")], "leads out"),
    "parent that returns": ([directory("a"), entry("a/../b")], "leads out"),
    "absolute parent": ([entry("/../evil")], "leads out"),
    "empty name": ([entry("")], "is empty"),
    "root as a file": ([entry(".")], "replaces the root"),
    "root as a link": ([symlink(".", "/etc")], "replaces the root"),
    "root as a link with slashes": ([symlink("//", "/etc")], "replaces the root"),
    # 2. and 7. Links on the way.
    "cycle": ([symlink("a", "b"), symlink("b", "a"), entry("a/evil")], "too many links"),
    "link to itself": ([symlink("a", "a"), entry("a/evil")], "too many links"),
    "chain of 41": ([directory("0"), *[symlink(f"{n + 1}", f"{n}") for n in range(41)], entry("41/x")], "too many links"),
    "growing link": ([symlink("a", "a/" * 60 + "b"), entry("a/evil")], "too many links"),
    "file on the way": ([entry("a"), entry("a/b")], "not a directory"),
    "long link": ([pax({"linkpath": "x" * 4096}), symlink("a", "b")], "links to a name"),
    "empty link": ([symlink("a", "")], "links to a name of 0"),
    # 4. Hard links.
    "hard link to the parent": ([hardlink("a", "../canary")], "leads out"),
    "hard link to the root": ([hardlink("a", "/")], "to the root"),
    "hard link to a directory": ([directory("d"), hardlink("a", "d")], "to the directory"),
    "hard link to itself": ([entry("a"), hardlink("a", "a")], "to itself"),
    "hard link into itself": ([entry("a/b"), hardlink("a", "a/b")], "to itself"),
    "hard link to nothing": ([hardlink("a", "b")], "does not exist"),
    "hard link before its target": ([hardlink("a", "b/c"), directory("b")], "does not exist"),
    "hard link to a whiteout": ([entry(".wh.a"), hardlink("b", "a")], "does not exist"),
    # 5. Whiteouts.
    "whiteout of nothing": ([entry(".wh.")], "whiteout of no file"),
    "whiteout of the directory": ([entry(".wh..")], "whiteout of no file"),
    "whiteout of the parent": ([entry("a/.wh...")], "whiteout of no file"),
    # 7. and 12. in lifecycle order: sizes of names.
    "too deep": ([pax({"path": DEEP}), entry("x")], "256 directories deep"),
    "long part": ([pax({"path": "x" * 256}), entry("x")], "longer than 255 bytes"),
    "long path": ([pax({"path": "x/" * 2500}), entry("x")], "more than 4095"),
    # 10. The language of overlayfs.
    "whiteout device": ([entry("a", kind=CHAR)], "whiteout to overlayfs"),
    "redirect": ([pax({"SCHILY.xattr.trusted.overlay.redirect": "/etc"}), directory("a")], "instruction to overlayfs"),
    "metacopy": ([pax({"SCHILY.xattr.user.overlay.metacopy": ""}), entry("a")], "instruction to overlayfs"),
    "attribute with a NUL": ([pax({b"SCHILY.xattr.user.a\0b": "x"}), entry("a")], "no valid name"),
    # 11. Devices and owners.
    "device number": ([entry("a", kind=CHAR, device=(0o777777, 1))], "device number"),
    "owner": ([pax({"uid": str(2**32 - 1)}), entry("a")], "out of range"),
    "negative owner": ([entry("a", uid=-1)], "owner -1:0 is out of range"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_hostile_archive_is_refused_by_name(tmp_path, name):
    entries, message = REFUSED[name]
    (tmp_path / "canary").write_bytes(CANARY)
    os.chmod(tmp_path / "canary", 0o644)
    before = described(tmp_path)["canary"]
    with pytest.raises(ContentError, match=message) as raised:
        unpack(tmp_path / "trees", archive(*entries))
    assert str(raised.value).startswith("layer sha256:")
    assert str(raised.value).isprintable()
    with pytest.raises(ContentError, match=message):
        unpack_tree(tmp_path / "one", archive(*entries))
    assert described(tmp_path)["canary"] == before
    assert sorted(os.listdir(tmp_path)) == ["canary", "one", "trees"]


# Archives that are unusual and allowed: they write inside the root, and nowhere else.
CONTAINED = {
    "absolute name": ([entry("/etc/passwd")], ["etc", "etc/passwd"]),
    "several slashes": ([entry("//a///b")], ["a", "a/b"]),
    "dots": ([entry("./a/./b")], ["a", "a/b"]),
    "link out of the root": ([symlink("a", "../.."), entry("a/b")], ["a", "b"]),
    "absolute link": ([directory("etc"), symlink("a", "/etc"), entry("a/b")], ["a", "etc", "etc/b"]),
    "link to the canary": ([symlink("a", "../../canary"), entry("a", b"evil")], ["a"]),
    "hard link to a link to the canary": (
        [symlink("a", "../../canary"), hardlink("b", "a"), entry("b", b"evil")],
        ["a", "b"],
    ),
    "directory over a link": ([symlink("a", "../.."), directory("a", 0o700), entry("a/b")], ["a", "a/b"]),
    "mode through a link": ([symlink("a", "../../canary", mode=0o4777, uid=7)], ["a"]),
    "missing directory behind a link": ([symlink("a", "new/dir"), entry("a/b")], ["a", "new", "new/dir", "new/dir/b"]),
    "directory called like a whiteout": ([entry(".wh.d/f")], [".wh.d", ".wh.d/f"]),
    "fifo": ([entry("p", kind=FIFO), entry("p", b"x")], ["p"]),
    "many opaque markers": ([entry("d/.wh..wh..opq")] * 500, ["d"]),
}  # fmt: skip


@pytest.mark.parametrize("name", CONTAINED)
@pytest.mark.parametrize("form", [unpack, unpack_tree])
def test_unusual_archive_stays_inside_the_root(tmp_path, name, form):
    entries, expected = CONTAINED[name]
    (tmp_path / "canary").write_bytes(CANARY)
    before = described(tmp_path)["canary"]
    form(tmp_path / "trees", archive(*entries))
    root = tmp_path / "trees" / ("0" if form is unpack else "root")
    assert sorted(set(described(root)) - {"."}) == sorted(expected)
    assert described(tmp_path)["canary"] == before


def test_first_difference_of_hostile_archives_is_not_a_crash(tmp_path):
    everything = [one for entries, _message in REFUSED.values() for one in entries]
    for number, one in enumerate(everything):
        with contextlib.suppress(ContentError, TreeAccessError):
            unpack(tmp_path / str(number), archive(directory("d"), one))


def test_directories_that_are_replaced_by_links_during_the_unpack_are_not_followed(tmp_path):
    """Another process exchanges a directory for a link to the outside while entries are written."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "canary").write_bytes(CANARY)
    entries = [
        one for n in range(300) for one in (directory(f"d/{n % 7}"), entry(f"d/{n % 7}/f{n}"))
    ]
    root = tmp_path / "root"
    layer = UnpackedLayer(
        open_new(root), source_of(archive(directory("d"), *entries)), OPTIONS, LIMITS
    )
    done = threading.Event()

    def swap():
        number = 0
        while not done.is_set():
            number += 1
            with contextlib.suppress(OSError):
                os.rename(root / "d", root / f"old{number}")
                os.symlink(outside, root / "d")
                os.rename(root / "d", root / f"link{number}")
                os.rename(root / f"old{number}", root / "d")

    thread = threading.Thread(target=swap)
    thread.start()
    try:
        with contextlib.suppress(TreeRefusedError, TreeAccessError, OSError):
            layer.fill()
    finally:
        done.set()
        thread.join()
        layer.close()
    assert os.listdir(outside) == ["canary"]
    assert (outside / "canary").read_bytes() == CANARY


def test_bomb_ends_at_its_limit(tmp_path):
    with pytest.raises(ContentError, match="more than 20000 bytes"):
        unpack(tmp_path, archive(entry("zeros", bytes(50_000))), limits=Limits(20_000, 10))
    with pytest.raises(ContentError, match="more than 10 entries"):
        unpack(tmp_path / "b", archive(*[entry("f")] * 20), limits=Limits(1 << 20, 10))


def test_whiteout_after_a_directory_that_its_owner_cannot_write_hides_what_is_below():
    many = [entry(f"x{number}/f") for number in range(60)]  # so that the first ones are closed
    tar = archive(directory("d", 0o555), directory("e", 0), *many, entry(".wh.d"), entry(".wh.e"))
    with public_directory() as path:
        with ordinary_user():
            unpack(path, tar, options=TreeOptions(CALLER))
        found = described(path / "0")
    for name, mode in (("d", "dr-xr-xr-x"), ("e", "d---------")):
        assert found[name][0] == mode
        assert [value for key, value in found[name][5] if "overlay" in key] == [b"y"]


def test_links_do_not_lead_to_trees_that_are_too_deep(tmp_path):
    deep = "/".join("d" * 200)
    names = [{"path": deep}, {"linkpath": deep}, {"path": f"l/{deep}/f"}]
    pairs = zip(map(pax, names), [directory("d"), symlink("l", "d"), entry("f")])
    tar = archive(*[part for pair in pairs for part in pair])
    with pytest.raises(TreeRefusedError, match="more than 255 directories deep"):
        unpack(tmp_path, tar)
