# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""image_load into real podmans: every state in which an image can be before, what stays on the host, failures."""

from __future__ import annotations

import fcntl
import json
import os
import shlex
import subprocess
import sys
import time
import typing as t
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from ansible_collections.lockstep.images.tests.support import (
    chroots,
    images,
    layout,
    modules,
    services,
    stores,
)
from ansible_collections.lockstep.images.tests.support.fleet import need_programs
from ansible_collections.lockstep.images.tests.support.services_process import unmount_below

SHOP = "registry.example.com:5000/shop/web"
BASE, WEB, NEXT, PLAIN, ZSTD, SPARSE, LARGE = (
    f"{SHOP}:{tag}" for tag in ("base", "1", "2", "plain", "zstd", "sparse", "large")
)
OTHER = "docker.io/library/web:1"
REFUSING = "http://127.0.0.1:9"  # the port of the discard protocol, on which nothing listens


class Shop(t.NamedTuple):
    """A store, and its images by name."""

    store: str
    items: dict[str, images.Image | images.Index]

    def image(self, name: str) -> images.Image:
        item = self.items[name]
        return item.for_platform("linux/amd64") if isinstance(item, images.Index) else item

    def by_digest(self, name: str) -> str:
        return f"{name.rpartition(':')[0]}@{self.items[name].digest}"


@pytest.fixture(scope="session")
def shop(workspace: Path) -> Shop:
    """A store with images that share a base, in several compressions and forms."""
    need_programs("busybox")
    files = {"bin/": b"", "bin/busybox": Path("/bin/busybox").read_bytes()}
    app = {"srv/": b"", "srv/data": b"1" * 100_000}
    base, web, newer = images.layer(files), images.layer(app), images.layer({"srv/new": b"2"})
    config = {"config": {"Cmd": ["/bin/busybox", "echo", "served"]}}

    def image(*layers: images.Layer, **options: t.Any) -> images.Image:
        return images.image(layers, config=config, **options)

    arm = images.image([newer], "linux/arm64")
    multi = images.index([image(base, web, newer), arm], attestations=True)
    made: dict[str, images.Image | images.Index] = {
        BASE: image(base),
        WEB: image(base, web),
        NEXT: image(base, web, newer, docker=True),
        PLAIN: image(base, images.layer(app, compression=None)),
        ZSTD: image(base, images.layer({"srv/z": b"z" * 9000}, compression="zstd")),
        SPARSE: multi,
        LARGE: image(images.layer({"srv/ones": b"1" * (64 * 1024 * 1024)})),
    }
    made[OTHER] = made[WEB]
    path = workspace / "podman-shop"
    for name, item in made.items():
        stores.put(path, item, name)
        if not isinstance(item, images.Index):
            stores.put(path, item, f"{name.rpartition(':')[0]}@{item.digest}")
    for digest in (arm.digest, arm.config_digest, *(entry.digest for entry in multi.images[2:])):
        layout.blob_path(path, digest).unlink()
    return Shop(str(path), made)


class Podman(t.NamedTuple):
    """A podman with a storage of its own, and the images that tests load into it."""

    executable: str
    environment: dict[str, str]
    directory: Path
    shop: Shop

    def __call__(self, *names: str, env: t.Any = None, **options: t.Any) -> modules.Outcome:
        return modules.run("image_load", **self.params(*names, env=env, **options))

    def params(self, *names: str, env: t.Any = None, **options: t.Any) -> dict[str, t.Any]:
        """Return the parameters with which a module loads images."""
        return {
            "env": {**os.environ, **self.environment, **(env or {})},
            "name": list(names),
            "store": self.shop.store,
            "engine": "podman",
            "executable": self.executable,
            "platform": "linux/amd64",
            **options,
        }

    def well(self, *names: str) -> dict[str, t.Any]:
        """Load images without an error."""
        outcome = self(*names)
        assert not outcome.failed, outcome.result
        return outcome.result

    def run(self, *arguments: str) -> str:
        """Run podman and return its output; raise AssertionError with its messages if it fails."""
        done = subprocess.run(
            [self.executable, *arguments],
            env={**os.environ, **self.environment},
            capture_output=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout.decode()

    def held(self, name: str) -> tuple[str, set[str]]:
        """Return id and digests of a name."""
        (found,) = json.loads(self.run("image", "inspect", name))
        return f"sha256:{found['Id']}", set(found["RepoDigests"])

    @property
    def records(self) -> Path:
        """The file in which the storage records layers."""
        return self.directory / "graph/overlay-layers/layers.json"

    def forget_layer(self, layer: images.Layer) -> None:
        """Remove a layer from the records, as a crash of an older podman does."""
        known = json.loads(self.records.read_bytes())
        kept = [one for one in known if one.get("compressed-diff-digest") != layer.digest]
        assert len(kept) < len(known)
        self.records.write_text(json.dumps(kept))


def programs(request: pytest.FixtureRequest, workspace: Path) -> tuple[str, Path]:
    """Return the program of a podman, and a directory that has the same path for it."""
    if request.param == "host":
        need_programs("podman", "runc")
        return "podman", workspace
    newer = request.getfixturevalue("newer_engines")
    root = newer.parents[1]
    path = newer / "podman"
    if not path.exists():
        command = shlex.join(chroots.daemon_command(root, "podman"))
        path.write_text(f'#!/bin/sh\nexec {command} "$@"\n')
        path.chmod(0o755)
    return str(path), newer


@pytest.fixture(scope="session", params=["host", "newer"])
def program(request: pytest.FixtureRequest, workspace: Path) -> tuple[str, Path]:
    return programs(request, workspace)


@pytest.fixture()
def podman(
    request: pytest.FixtureRequest, program: tuple[str, Path], shop: Shop
) -> Iterator[Podman]:
    """A podman that holds nothing yet."""
    executable, home = program
    directory = home / f"p{abs(hash(request.node.nodeid)) % 10**8}"
    with services.podman_env(directory) as environment:
        yield Podman(executable, environment, directory, shop)


def absent(podman: Podman) -> None:
    pass


def present(podman: Podman) -> None:
    podman.well(WEB)


def name_lost(podman: Podman) -> None:
    podman.well(WEB, NEXT)
    podman.run("untag", WEB)


def tag_moved(podman: Podman) -> None:
    podman.well(WEB, NEXT)
    podman.run("tag", NEXT, WEB)


def in_use(podman: Podman) -> None:
    tag_moved(podman)
    podman.run("create", "--name", "user", "--network", "none", WEB)


def base_only(podman: Podman) -> None:
    podman.well(BASE)


def broken(podman: Podman) -> None:
    podman.well(WEB)
    podman.forget_layer(podman.shop.image(WEB).layers[1])


def other_compression(podman: Podman) -> None:
    podman.well(PLAIN)


class Case(t.NamedTuple):
    """A state before a load, and what the load does: statuses, and how many layers it sends."""

    prepare: Callable[[Podman], None]
    names: tuple[str, ...]
    statuses: tuple[str, ...]
    sent: tuple[int, ...]


CASES = {
    "absent": Case(absent, (WEB,), ("loaded",), (2,)),
    "present": Case(present, (WEB,), ("present",), (0,)),
    "name-lost": Case(name_lost, (WEB,), ("tagged",), (0,)),
    "tag-moved": Case(tag_moved, (WEB,), ("moved",), (0,)),
    "in-use": Case(in_use, (WEB,), ("moved",), (0,)),
    "base-only": Case(base_only, (WEB,), ("loaded",), (1,)),
    "broken": Case(broken, (WEB,), ("repaired",), (1,)),
    "other-compression": Case(other_compression, (WEB,), ("tagged",), (0,)),
    "sparse": Case(absent, (SPARSE,), ("loaded",), (3,)),
    "zstd": Case(base_only, (ZSTD,), ("loaded",), (1,)),
    "schema-2": Case(present, (NEXT,), ("loaded",), (1,)),
    "two-names-one-image": Case(absent, (WEB, OTHER), ("loaded", "loaded"), (2, 0)),
    "by-digest": Case(present, ("digest",), ("tagged",), (0,)),
}


@pytest.mark.parametrize("case", CASES.values(), ids=list(CASES))
def test_check_mode_agrees_with_the_load_and_the_load_is_exact(podman, case):
    case.prepare(podman)
    names = [podman.shop.by_digest(WEB) if name == "digest" else name for name in case.names]
    check = podman(*names, check=True).result
    real = podman(*names).result
    again = podman(*names).result
    shown = [(one["status"], one["layers"]["sent"]) for one in real.get("images", [real])]
    assert shown == list(zip(case.statuses, case.sent)), real
    same = ("images", "changed", "actions", "diff", "engine")
    assert {key: check[key] for key in same} == {key: real[key] for key in same}
    assert check["stats"]["bytes_sent"] == real["stats"]["bytes_sent"]
    assert real["changed"] == (case.statuses != ("present",))
    assert (again["changed"], again["stats"]["bytes_sent"]) == (False, 0)
    assert again["stats"]["processes"] == 1
    for name, plain in zip(names, case.names):
        item = WEB if plain == "digest" else plain
        image_id, digests = podman.held(name)
        assert image_id == podman.shop.image(item).config_digest
        assert podman.shop.by_digest(item) in digests or plain == "digest"


def eventually(found: Callable[[], t.Any], wanted: t.Any) -> None:
    deadline = time.monotonic() + 10
    while found() != wanted and time.monotonic() < deadline:
        time.sleep(0.1)
    assert found() == wanted


def test_loaded_image_runs(podman):
    podman.well(SPARSE)
    podman.run("run", "--detach", "--name", "served", "--network", "none", SPARSE)
    eventually(lambda: podman.run("logs", "served"), "served\n")


def snapshot(directory: Path) -> dict[str, t.Any]:
    return stores.whole_tree(directory) if directory.is_dir() else {}


def test_proxy_of_the_host_is_not_used(podman):
    proxies = dict.fromkeys(("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy"), REFUSING)
    outcome = podman(BASE, env={**proxies, "NO_PROXY": "internal.example"})
    assert not outcome.failed, outcome.result


def test_only_the_storage_of_podman_changes(podman):
    directory = podman.directory / "tmp"
    directory.mkdir()
    configured = [podman.directory / "home", Path("/etc/containers")]
    configured[0].mkdir()
    env = {"TMPDIR": str(directory), "HOME": str(configured[0])}
    before = [snapshot(one) for one in configured]
    assert not podman(WEB, ZSTD, env=env).failed
    assert [snapshot(one) for one in configured] == before
    assert not [one for one in directory.rglob("*") if "lockstep" in one.name]


def test_policy_of_the_host_is_respected(podman):
    home = podman.directory / ".config/containers"
    home.mkdir(parents=True)
    (home / "policy.json").write_text('{"default": [{"type": "reject"}]}')
    outcome = podman(WEB)
    assert outcome.kind == "engine-unsupported"
    assert "rejected by policy" in outcome.result["msg"]
    assert json.loads(podman.run("images", "--all", "--format", "json")) == []


def test_repository_that_the_host_leads_elsewhere_is_explained(podman):
    home = podman.directory / ".config/containers/registries.conf.d"
    home.mkdir(parents=True)
    entry = '[[registry]]\nprefix = "{}"\nlocation = "127.0.0.1:1/elsewhere"\ninsecure = true\n'
    (home / "one.conf").write_text(entry.format("registry.example.com:5000"))
    podman.well(WEB)
    (home / "one.conf").write_text(entry.format(SHOP))
    outcome = podman(NEXT)
    assert outcome.kind == "engine-unsupported"
    assert f"podman requests {SHOP} from another registry" in outcome.result["msg"]


def test_one_failure_leaves_the_other_images(podman):
    digest = podman.shop.image(ZSTD).layers[1].digest
    path = layout.blob_path(Path(podman.shop.store), digest)
    right = path.read_bytes()
    path.write_bytes(right[:-1] + b"x")
    try:
        outcome = podman(WEB, ZSTD, OTHER)
    finally:
        path.write_bytes(right)
    assert [one["name"] for one in outcome.result["failures"]] == [ZSTD]
    assert {one["name"] for one in outcome.result["images"]} == {WEB, OTHER}
    assert not podman(WEB, ZSTD, OTHER).failed


def test_failed_load_leaves_the_name_where_it_was(podman):
    podman.well(WEB)
    podman.run("tag", WEB, ZSTD)
    path = layout.blob_path(Path(podman.shop.store), podman.shop.image(ZSTD).layers[1].digest)
    right = path.read_bytes()
    path.write_bytes(b"x" * len(right))
    try:
        assert podman(ZSTD).failed
    finally:
        path.write_bytes(right)
    assert podman.held(ZSTD)[0] == podman.shop.image(WEB).config_digest


def test_killed_task_leaves_nothing_and_the_next_one_succeeds(podman, directory):
    slow = podman.directory / "slow"
    slow.write_text(
        f'#!/bin/sh\ntest "$1" != pull || {{ touch "{slow}.pulls"; sleep 1; }}\n'
        f'exec {shlex.quote(podman.executable)} "$@"\n'
    )
    slow.chmod(0o755)
    params = podman.params(WEB, env={"TMPDIR": str(directory)}, executable=str(slow))
    process = modules.start("image_load", **params)
    eventually(lambda: Path(f"{slow}.pulls").exists(), True)
    process.kill()
    process.wait()
    assert list(directory.iterdir()) == []
    time.sleep(1.5)
    assert json.loads(podman.run("images", "--all", "--format", "json")) == []
    podman.well(WEB)


def test_locked_storage_is_waited_for(podman):
    podman.well(BASE)
    with open(podman.directory / "graph/overlay-images/images.lock", "r+") as file:
        fcntl.lockf(file, fcntl.LOCK_EX)
        outcome = podman(WEB, timeout=1)
        assert outcome.kind == "engine-timeout"
        waiting = modules.start("image_load", **podman.params(WEB))
        time.sleep(1)
        fcntl.lockf(file, fcntl.LOCK_UN)
    assert modules.finish(waiting).result["changed"]


def test_full_disk_is_one_sentence(podman):
    if podman.executable != "podman":
        pytest.skip("the newer podman runs among mounts of its own")
    disk = podman.directory / "graph"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", disk], check=True)
    outcome = podman(LARGE)
    assert outcome.kind == "engine-no-space", outcome.result
    assert "no space left on device" in outcome.result["msg"]
    podman.well(WEB)
    unmount_below(disk)


def test_images_are_reported_by_engine_info(podman):
    podman.well(WEB, SPARSE)
    params = podman.params()
    found = modules.run(
        "engine_info", **{key: params[key] for key in ("env", "engine", "executable")}
    ).result
    by_name = {name: one for one in found["images"] for name in one["names"]}
    assert set(by_name) == {WEB, SPARSE}
    assert by_name[SPARSE]["platforms"] == ["linux/amd64"]
    assert podman.shop.by_digest(SPARSE) in by_name[SPARSE]["digests"]
    assert len(by_name[WEB]["layers"]) == 2
    assert found["engine"]["version"].split(".")[0] in ("4", "5")
    assert found["engine"]["root"] == str(podman.directory / "graph")


# Start a program where the loopback interface has only an IPv6 address, and localhost is that.
ONLY_IPV6 = """
import fcntl, os, socket, struct, subprocess, sys
with socket.socket() as control:
    # SIOCSIFFLAGS: IFF_UP, which gives the interface 127.0.0.1. SIOCSIFADDR: 0.0.0.0 takes it away (netdevice(7)).
    fcntl.ioctl(control, 0x8914, struct.pack("16sh14x", b"lo", 1))
    fcntl.ioctl(control, 0x8916, struct.pack("16sH14x", b"lo", socket.AF_INET))
subprocess.run(["mount", "--bind", sys.argv[1], "/etc/hosts"], check=True)
os.execvp(sys.argv[2], sys.argv[2:])
"""


@pytest.mark.parametrize("program", ["host"], indirect=True)
def test_host_whose_loopback_has_only_ipv6_gets_its_images(podman: Podman) -> None:
    if not Path("/proc/net/if_inet6").exists():
        pytest.skip("this kernel has no IPv6")
    hosts = podman.directory / "hosts"
    hosts.write_text("::1 localhost\n")
    alone = ["unshare", "--net", "--mount", "--propagation", "private"]
    launcher = [*alone, sys.executable, "-c", ONLY_IPV6, os.fspath(hosts)]
    outcome = modules.run("image_load", launcher=launcher, **podman.params(WEB))
    assert not outcome.failed, outcome.result
    assert podman.held(WEB)[0] == podman.shop.image(WEB).config_digest
