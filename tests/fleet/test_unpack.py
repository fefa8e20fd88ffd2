# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Unpacked images beside those of umoci and containerd, mounted by the kernel, and run by runc and chroot."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import typing as t
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._image.names import Digest
from ansible_collections.lockstep.images.tests.support import images, modules
from ansible_collections.lockstep.images.tests.support.containerd import Containerd
from ansible_collections.lockstep.images.tests.support.fleet import need_programs
from ansible_collections.lockstep.images.tests.support.services_process import (
    program,
    run,
)
from ansible_collections.lockstep.images.tests.support.stores import put
from ansible_collections.lockstep.images.tests.support.tarballs import (
    CHAR,
    FIFO,
    archive,
    described,
    directory,
    entry,
    hardlink,
    pax,
    symlink,
)

NAME = "registry.example.com/shop/odd:1"
CAPABILITY = bytes.fromhex("0100000200200000000000000000000000000000")
OPAQUE = ".wh..wh..opq"


def busybox() -> list[bytes]:
    """The entries of a system that runs."""
    program = Path("/bin/busybox").read_bytes()
    return [
        directory("."),
        directory("bin"),
        entry("bin/busybox", program, mode=0o755),
        *[hardlink(f"bin/{name}", "bin/busybox", mode=0o755) for name in ("sh", "cat", "id")],
    ]


# Each layer has what the tools are known to treat in different ways.
LAYERS = [
    archive(
        *busybox(),
        directory("usr"),
        directory("usr/lib", 0o711),
        symlink("lib", "usr/lib"),
        directory("secret", 0o700, uid=1, gid=2),
        entry("secret/a", b"1", mode=0o600, uid=1, gid=2),
        directory("etc"),
        entry("etc/passwd", b"root:x:0:0::/:/bin/sh\nweb:x:33:34::/srv:/bin/sh\n"),
        entry("etc/keep", b"1"),
        directory("var"),
        directory("var/cache", 0o1777),
        entry("var/cache/old", b"1"),
        entry("var/link-target", b"shared", mode=0o640),
        hardlink("var/link", "var/link-target", mode=0o640),
        symlink("var/symlink", "../etc/passwd"),
        hardlink("var/symlink-link", "var/symlink", mode=0o777),
        entry("dev/null", kind=CHAR, device=(1, 3)),
        entry("run/pipe", kind=FIFO, mode=0o622),
        entry("bin/su", b"#!", mode=0o4755),
        pax({"SCHILY.xattr.security.capability": CAPABILITY}),
        entry("bin/ping", b"x", mode=0o755),
        pax({"SCHILY.xattr.user.origin": "here", "mtime": "1500000000.123456789"}),
        entry("etc/attributes", b"x"),
    ),
    archive(
        entry("secret/b", b"2", mode=0o640),
        entry("etc/.wh.keep"),
        directory("var"),
        directory("var/cache", 0o1777),
        entry(f"var/cache/{OPAQUE}"),
        entry("var/cache/new", b"2"),
    ),
    archive(entry("lib/new", b"3"), directory("srv", uid=33, gid=34), entry("srv/app", b"3")),
]


class Odd(t.NamedTuple):
    """A store with the image, and a directory for its trees."""

    store: Path
    path: Path

    def run(self, module: str, check: bool = False, **params: t.Any) -> dict[str, t.Any]:
        """Run a module that succeeds."""
        outcome = self.fails_or_not(module, check=check, **params)
        assert not outcome.failed, outcome.result
        return outcome.result

    def where(self) -> dict[str, t.Any]:
        """Return the options of the store and of the state directory."""
        return {"store": str(self.store), "path": str(self.path / "trees")}

    def fails_or_not(self, module: str, check: bool = False, **params: t.Any) -> modules.Outcome:
        """Run a module."""
        return modules.run(module, check=check, **self.where(), **params)

    def rootfs(self) -> Path:
        """Return the image as one tree."""
        dest = self.path / "rootfs"
        self.run("image_unpack", name=[NAME], form="rootfs", dest=str(dest))
        return dest


def image_of(tars: list[bytes]) -> images.Image:
    """Return an image with these layers."""
    layers = []
    for tar in tars:
        digest = str(Digest.of(tar))
        layers.append(images.Layer(tar, images.TYPES["tar"][0], digest, digest, None))
    config = {"config": {"Cmd": ["/bin/sh", "-c", "id -u; cat /srv/app"], "User": "web"}}
    return images.image(layers, config=config, history=False)


@pytest.fixture(name="odd")
def fixture_odd(tmp_path: Path) -> Iterator[Odd]:
    need_programs("runc", "umoci", "busybox")
    put(tmp_path / "store", image_of(LAYERS), NAME)
    put(tmp_path / "store", image_of(LAYERS[:1]), f"{NAME}-old")
    odd = Odd(tmp_path / "store", tmp_path)
    yield odd
    for root in (tmp_path / "trees" / "roots").glob("*"):
        odd.fails_or_not("image_mount", root=root.name, state="absent")


def differences(one: Path, other: Path) -> dict[str, tuple[t.Any, t.Any]]:
    """Return what differs in two trees, by path."""
    left, right = described(one), described(other)
    return {
        path: (left.get(path), right.get(path))
        for path in sorted({*left, *right})
        if left.get(path) != right.get(path)
    }


def without_time(state: tuple[t.Any, ...]) -> tuple[t.Any, ...]:
    """Return what ``described`` found of an entry, without its time."""
    return (*state[:2], *state[3:])


def mounted(odd: Odd, root: str = "web", **how: t.Any) -> Path:
    """Mount the image; return the path of the root."""
    return Path(odd.run("image_mount", name=NAME, root=root, **how)["root_path"])


def test_mounted_layers_are_the_same_tree_as_one_tree(odd: Odd) -> None:
    assert differences(odd.rootfs(), mounted(odd)) == {}
    assert differences(odd.rootfs(), mounted(odd, read_only=True)) == {}


def test_tree_is_that_of_umoci_except_for_what_the_page_names(odd: Odd) -> None:
    layout = odd.path / "layout"
    put(layout, image_of(LAYERS), "odd")
    run(["umoci", "raw", "unpack", "--image", f"{layout}:odd", odd.path / "umoci"])
    found = differences(odd.rootfs(), odd.path / "umoci")
    # Umoci makes devices, writes through a link of a lower layer, and gives unnamed directories the time of the run.
    assert set(found) == {".", "dev", "dev/null", "run", "lib", "lib/new", "usr/lib/new"}
    assert (found["dev/null"][0], found["usr/lib/new"][0]) == (None, None)
    for path in (".", "dev", "run"):
        assert without_time(found[path][0]) == without_time(found[path][1])


def test_tree_is_that_of_containerd(odd: Odd, containerd_host: Containerd) -> None:
    archive_path = odd.path / "image.tar"
    layout = odd.path / "layout"
    put(layout, image_of(LAYERS), NAME)
    run(["tar", "-cf", archive_path, "-C", layout, "oci-layout", "index.json", "blobs"])
    namespace, target = "unpack", odd.path / "containerd"
    target.mkdir()
    containerd_host.ctr(namespace, "images", "import", "--no-unpack", str(archive_path))
    names = containerd_host.names(namespace)
    containerd_host.ctr(namespace, "images", "mount", next(iter(names)), str(target))
    try:
        found = differences(odd.rootfs(), target)
    finally:
        run(["umount", target])
    # Containerd makes devices, and gives directories that a layer uses but does not name the time of the run.
    assert set(found) == {".", "dev", "dev/null", "etc", "lib", "run", "secret"}
    assert found.pop("dev/null")[0] is None
    for path, (ours, theirs) in found.items():
        assert without_time(ours) == without_time(theirs), path


def test_three_roots_share_the_files_of_an_image(odd: Odd) -> None:
    roots = [mounted(odd, root) for root in ("a", "b", "c")]
    layers = described(odd.path / "trees" / "layers")
    untouched = described(roots[1])
    (roots[0] / "etc" / "new").write_text("x")
    (roots[0] / "srv" / "app").unlink()
    os.chmod(roots[0] / "secret", 0o777)
    assert described(roots[1]) == described(roots[2]) == untouched
    assert described(odd.path / "trees" / "layers") == layers
    result = odd.run("image_mount", name=NAME, root="a")
    assert result["changes"] == [
        {"path": "etc/new", "change": "changed"},
        {"path": "secret", "change": "changed"},
        {"path": "srv/app", "change": "removed"},
    ]
    size = run(["du", "-sk", "--exclude=merged", odd.path / "trees" / "roots" / "c"])
    assert int(size.split()[0]) <= 64


def test_many_roots_are_mounted_by_one_task_that_reads_little_again(odd: Odd) -> None:
    need_programs("strace")
    images_of = [
        {"root": f"r{number}", "name": f"{NAME}{'-old' * (number % 2)}"} for number in range(20)
    ]
    first = odd.run("image_mount", roots=images_of)
    assert [one["action"] for one in first["actions"]].count("unpack_layer") == 3
    paths = [Path(one["root_path"]) for one in first["roots"]]
    assert [path.joinpath("srv/app").exists() for path in paths] == [True, False] * 10
    assert first["roots"][0]["user"] == {"uid": 33, "gid": 34}
    log = odd.path / "calls"
    launcher = ["strace", "-f", "-y", "-o", str(log), "-e", "trace=file,getdents64"]
    options = {**odd.where(), "roots": images_of}
    outcome = modules.finish(modules.start("image_mount", launcher=launcher, **options))
    assert outcome.result["changed"] is False
    calls = [line for line in log.read_text().splitlines() if " = -1 " not in line]
    opened = [line for line in calls if re.search(r"\bopen(at)?\(", line)]
    # Manifests and configurations are read, and no layer. No directory of a layer or of a root is listed, except its changes.
    blobs = {line.split("/sha256/")[1][:64] for line in opened if "/sha256/" in line}
    assert not blobs & {Digest.of(tar).encoded for tar in LAYERS}
    listed = [line for line in calls if "getdents64" in line and str(odd.path / "trees") in line]
    assert {line.split("<")[1].split(">")[0].rsplit("/", 1)[1] for line in listed} <= {"upper"}
    assert len([line for line in opened if "/proc/self/mountinfo" in line]) == 2
    with subprocess.Popen(["sleep", "60"], cwd=paths[3]) as process:
        try:
            gone = [{"root": one["root"], "state": "absent"} for one in images_of]
            outcome = odd.fails_or_not("image_mount", roots=gone)
        finally:
            process.kill()
    assert (outcome.kind, [one["name"] for one in outcome.result["failures"]]) == (
        "tree-busy",
        ["r3"],
    )
    assert os.listdir(odd.path / "trees" / "roots") == ["r3"]


def test_root_in_use_is_not_changed(odd: Odd) -> None:
    path = mounted(odd)
    with subprocess.Popen(["sleep", "60"], cwd=path) as process:
        try:
            for how in ({"state": "unmounted"}, {"state": "absent"}, {"name": f"{NAME}-old"}):
                outcome = odd.fails_or_not("image_mount", root="web", **how)
                assert outcome.kind == "tree-busy"
                assert f"process {process.pid} (sleep)" in outcome.result["msg"]
                assert path.joinpath("srv/app").exists()
        finally:
            process.kill()
    assert odd.run("image_mount", root="web", state="unmounted")["changed"]
    assert os.listdir(path) == []


def test_image_of_a_root_can_change(odd: Odd) -> None:
    path = mounted(odd)
    (path / "etc" / "mine").write_text("x")
    assert odd.fails_or_not("image_mount", name=f"{NAME}-old", root="web").kind == "invalid-input"
    odd.run("image_mount", name=f"{NAME}-old", root="web", upper="keep")
    assert (path / "etc" / "mine").exists()
    assert (path / "etc" / "keep").exists()
    assert not (path / "srv").exists()


def test_root_loses_its_changes_when_it_is_volatile(odd: Odd) -> None:
    path = mounted(odd, volatile=True)
    (path / "etc" / "mine").write_text("x")
    odd.run("image_mount", root="web", state="unmounted")
    assert not (mounted(odd, volatile=True) / "etc" / "mine").exists()


def test_four_hundred_layers_are_mounted_and_501_are_refused(odd: Odd) -> None:
    many = [archive(entry(f"f{number}")) for number in range(400)]
    put(odd.store, image_of(many), f"{NAME}-400")
    put(odd.store, image_of([*many, *many[:101]]), f"{NAME}-501")
    result = odd.run("image_mount", name=f"{NAME}-400", root="many")
    assert len(os.listdir(result["root_path"])) == 400
    outcome = odd.fails_or_not("image_mount", name=f"{NAME}-501", root="more")
    assert outcome.kind == "tree-unsupported"
    assert "501 layers" in outcome.result["msg"]


def test_layers_of_a_root_are_neither_pruned_nor_replaced(odd: Odd) -> None:
    path = mounted(odd)
    put(odd.path / "empty", image_of([]), NAME)
    bare = odd._replace(store=odd.path / "empty")
    assert bare.run("tree_prune")["changed"] is False
    layer = odd.run("image_unpack", name=[NAME])["images"][0]["layers"][2]["path"]
    Path(layer, "srv", "app").write_text("evil")
    outcome = odd.fails_or_not("image_unpack", name=[NAME], verify="full")
    assert (outcome.kind, path.joinpath("srv/app").exists()) == ("tree-busy", True)
    odd.run("image_mount", root="web", state="absent")
    repaired = odd.run("image_unpack", name=[NAME], verify="full")
    assert '"srv/app" has' in str(repaired["warnings"][0])
    assert len(bare.run("tree_prune")["removed"]) == 3


@contextlib.contextmanager
def mount_of(kind: str, path: Path, options: str = "rw") -> Iterator[Path]:
    """Mount a new file system at a path for a block."""
    path.mkdir()
    run(["mount", "-t", kind, "-o", options, kind, path])
    try:
        yield path
    finally:
        run(["umount", path])


def test_dest_that_cannot_be_written_is_named(odd: Odd) -> None:
    with mount_of("tmpfs", odd.path / "fixed", "ro") as fixed:
        for where in ({"form": "rootfs", "dest": f"{fixed}/tree"}, {"path": f"{fixed}/trees"}):
            outcome = modules.run("image_unpack", **{**odd.where(), **where}, name=[NAME])
            assert (outcome.kind, outcome.result["changed"]) == ("tree-access", False)
            assert outcome.result["msg"] == f"{list(where.values())[-1]}: Read-only file system"
        outcome = odd.fails_or_not("image_unpack", name=[NAME], form="rootfs", dest=str(fixed))
        assert outcome.kind == "tree-busy"
        assert os.listdir(fixed) == os.listdir(odd.path / "trees/staging") == []


def test_file_system_without_attributes_is_named(odd: Odd) -> None:
    """As NFS and vfat, ramfs keeps no extended attributes."""
    with mount_of("ramfs", odd.path / "bare") as bare:
        where = {**odd.where(), "path": f"{bare}/trees"}
        outcome = modules.run("image_unpack", name=[NAME], **where)
        assert outcome.kind == "tree-access"
        assert '": its extended attribute' in outcome.result["msg"]  # of the layer that fails first
        outcome = modules.run("image_mount", name=NAME, root="web", **where)
        assert outcome.result["msg"].startswith("layer sha256:")
        assert os.listdir(bare / "trees/layers") == os.listdir(bare / "trees/staging") == []


@contextlib.contextmanager
def image_file(path: Path, kind: str, size: int) -> Iterator[Path]:
    """Mount a new file system of this kind, in a file on a loop device, for a block."""
    file = path.with_suffix(".img")
    with file.open("wb") as made:
        made.truncate(size)
    path.mkdir()
    if kind == "vfat" and not has_file_system("vfat"):
        run([program("mkfs.vfat"), file])
        run([program("fusefat"), "-o", "rw+", file, path])
    else:
        run([program(f"mkfs.{kind}"), *(["-q"] if kind == "ext4" else []), file])
        options = "loop,umask=077" if kind == "vfat" else "loop"
        run(["mount", "-t", kind, "-o", options, file, path])
    try:
        yield path
    finally:
        run(["umount", path])


def has_file_system(kind: str) -> bool:
    """Return whether the kernel of this host has a file system, or can load it."""
    with contextlib.suppress(FileNotFoundError):
        subprocess.run(["modprobe", "--quiet", kind], check=False)
    return kind in Path("/proc/filesystems").read_text().split()


def test_vfat_cannot_keep_trees_and_says_so(odd: Odd) -> None:
    need_programs("mkfs.vfat", *([] if has_file_system("vfat") else ["fusefat"]))
    with image_file(odd.path / "stick", "vfat", 64 << 20) as stick:
        wanted = [
            ("image_unpack", {"name": [NAME], "path": f"{stick}/trees"}),
            ("image_unpack", {"name": [NAME], "form": "rootfs", "dest": f"{stick}/tree"}),
            ("image_unpack", {"name": [NAME], "form": "bundle", "dest": f"{stick}/bundle", "owner": "caller", "xattrs": []}),
            ("image_mount", {"name": NAME, "root": "web", "path": f"{stick}/trees"}),
        ]  # fmt: skip
        for module, how in wanted:
            outcome = modules.run(module, **{**odd.where(), **how})
            assert (outcome.kind, outcome.result["changed"]) == ("tree-access", False)
            assert "such as vfat" in outcome.result["error"]["hint"], outcome.result["msg"]
        assert [path for path in stick.rglob("*") if not path.is_dir()] in (
            [],
            [stick / "trees" / "lock"],
        )
        assert not (stick / "tree").exists()
    assert os.listdir(odd.path / "trees" / "staging") == []


@pytest.mark.parametrize("kind", ["ext4", "tmpfs", "inodes"])
def test_full_file_system_ends_the_task_and_gets_its_space_back(odd: Odd, kind: str) -> None:
    need_programs("mkfs.ext4")
    options = {"tmpfs": "size=600k", "inodes": "nr_inodes=20"}
    full = odd.path / "full"
    context = (
        image_file(full, "ext4", 1 << 20)
        if kind == "ext4"
        else mount_of("tmpfs", full, options[kind])
    )
    with context:
        for how in ({"path": f"{full}/trees"}, {"form": "rootfs", "dest": f"{full}/tree"}):
            before = os.statvfs(full)
            outcome = modules.run("image_unpack", **{**odd.where(), **how}, name=[NAME])
            assert (outcome.kind, outcome.result["changed"]) == ("no-space", False)
            assert "No space left on device" in outcome.result["msg"]
            after = os.statvfs(full)
            assert before.f_bfree - after.f_bfree <= 16 * 4096 // after.f_frsize
            assert before.f_ffree - after.f_ffree <= 6  # the directories and the lock of the state
        outcome = odd.fails_or_not("image_mount", name=NAME, root="web")
        assert not outcome.failed
        assert not (full / "trees" / "roots").exists()


def test_overlay_cannot_keep_layers_and_says_so(odd: Odd) -> None:
    """The root of a container is often an overlay."""
    for name in ("lower", "upper", "work"):
        (odd.path / name).mkdir()
    below = ",".join(f"{name}dir={odd.path}/{name}" for name in ("lower", "upper", "work"))
    with mount_of("overlay", odd.path / "over", below) as over:
        where = {**odd.where(), "path": f"{over}/trees"}
        outcome = modules.run("image_unpack", name=[NAME], **where)
        assert outcome.kind == "tree-access"
        assert '"etc/.wh.keep": Operation not permitted' in outcome.result["msg"]
        assert "an overlay" in outcome.result["error"]["hint"]
        # This image removes nothing. Its layers can be kept, and its changes cannot, except in memory.
        outcome = modules.run("image_mount", name=f"{NAME}-old", root="web", **where)
        assert outcome.kind == "tree-access"
        assert "overlay cannot be mounted: Invalid argument" in outcome.result["msg"]
        for how in ({"volatile": True}, {"read_only": True}):
            outcome = modules.run("image_mount", name=f"{NAME}-old", root="web", **how, **where)
            assert not outcome.failed, outcome.result
        outcome = modules.run("image_mount", root="web", state="absent", **where)
        assert not outcome.failed, outcome.result
        run(["chroot", odd.rootfs(), "/bin/cat", "/srv/app"])


def test_programs_run_in_a_root_on_a_file_system_that_runs_none(odd: Odd) -> None:
    with mount_of("tmpfs", odd.path / "data", "noexec") as data:
        where = {**odd.where(), "path": f"{data}/trees"}
        mounted_at = modules.run("image_mount", name=NAME, root="web", **where).result["root_path"]
        assert run(["chroot", mounted_at, "/bin/cat", "/srv/app"]) == "3"
        assert not modules.run("image_mount", root="web", state="absent", **where).failed


def test_root_runs_by_chroot(odd: Odd) -> None:
    assert run(["chroot", mounted(odd), "/bin/cat", "/srv/app"]) == "3"


def test_bundle_runs_by_runc(odd: Odd) -> None:
    bundle = odd.path / "bundle"
    odd.run("image_unpack", name=[NAME], form="bundle", dest=str(bundle))
    config = json.loads((bundle / "config.json").read_text())
    assert config["process"]["user"] == {"uid": 33, "gid": 34}
    state = odd.path / "runc"
    done = run(["runc", "--root", state, "run", "--bundle", bundle, "odd"], stdin="")
    assert done == "33\n3"
