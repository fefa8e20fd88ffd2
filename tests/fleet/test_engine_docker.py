# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""image_load into real Docker daemons: every state in which an image can be before, and images that fail."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import random
import signal
import subprocess
import typing as t
from collections.abc import Callable, Iterator

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._engines import errors
from ansible_collections.lockstep.images.plugins.module_utils._engines.docker import DockerEngine
from ansible_collections.lockstep.images.plugins.module_utils._image.errors import CorruptStoreError
from ansible_collections.lockstep.images.plugins.module_utils._image.manifest import Manifest
from ansible_collections.lockstep.images.plugins.module_utils._image.names import Digest
from ansible_collections.lockstep.images.tests.support import images, modules
from ansible_collections.lockstep.images.tests.support.contents import content_of, opener
from ansible_collections.lockstep.images.tests.support.counting import counted
from ansible_collections.lockstep.images.tests.support.docker import Docker
from ansible_collections.lockstep.images.tests.support.loading import Loaded, load
from ansible_collections.lockstep.images.tests.support.shop import (
    BASE,
    FOREIGN,
    NEXT,
    OTHER,
    PLAIN,
    SHOP,
    SPARSE,
    WEB,
    ZSTD,
    Shop,
)

BROKEN = f"{SHOP}:broken"
ENGINES = ["docker_host", "docker_graph", "docker_containerd"]


@pytest.fixture(scope="session", params=ENGINES)
def daemon(request: pytest.FixtureRequest) -> Docker:
    return request.getfixturevalue(request.param)  # type: ignore[no-any-return]


@pytest.fixture()
def docker(daemon: Docker) -> Iterator[Docker]:
    """A daemon without images."""
    daemon.clear()
    yield daemon
    daemon.clear()


class Host(t.NamedTuple):
    """Loads images of a store into a daemon."""

    docker: Docker
    shop: Shop
    known: dict[Digest, Manifest]

    def __call__(self, *names: str, **options: t.Any) -> modules.Outcome:
        params = dict(self.docker.options, platform="linux/amd64", store=self.shop.store)
        return modules.run("image_load", name=list(names), **{**params, **options})

    def well(self, *names: str) -> None:
        """Load images without an error."""
        outcome = self(*names)
        assert not outcome.failed, outcome.result

    def target(self, name: str) -> str:
        """Return the id that an image has in the daemon."""
        item = self.shop.items[name]
        if self.docker.store == "containerd":
            return item.digest
        image = item.for_platform("linux/amd64") if isinstance(item, images.Index) else item
        return image.config_digest

    def load(
        self,
        items: dict[str, images.Image],
        between: Callable[[], object] = tuple,
        lost: images.Layer | None = None,
        socket: str = "",
    ) -> Loaded:
        """Load images that are not in the store, in this process; nothing has the layer ``lost``."""
        contents = [content_of(item, name) for name, item in items.items()]
        self.known.update((one.root.digest, one.manifest) for one in contents)
        engine = DockerEngine(socket or self.docker.address, 30.0, 60.0, self.known.get)
        open_known = opener(*items.values())

        def open_blob(blob: t.Any) -> t.ContextManager[t.BinaryIO]:
            if lost and blob.digest == Digest.parse(lost.digest):
                raise FileNotFoundError(2, "No such file or directory")
            return open_known(blob)

        return load(engine, contents, open_blob, between=between)


@pytest.fixture()
def host(docker: Docker, shop: Shop) -> Host:
    return Host(docker, shop, {})


def absent(host: Host) -> None:
    pass


def name_lost(host: Host) -> None:
    host.well(WEB, OTHER)
    host.docker("rmi", WEB)


def tag_moved(host: Host) -> None:
    host.well(WEB, NEXT)
    host.docker("tag", NEXT, WEB)


def in_use(host: Host) -> None:
    host.well(NEXT)
    host.docker("tag", NEXT, WEB)
    host.docker("run", "--detach", "--network", "host", WEB, "/bin/busybox", "sleep", "60")


def base_only(host: Host) -> None:
    host.well(BASE)


def broken(host: Host) -> None:
    host.well(WEB)
    if host.docker.store != "containerd":
        pytest.skip("a graph driver has no blobs that could be missing")
    host.docker.remove_blob(host.shop.layers(WEB)[1].digest)


def other_compression(host: Host) -> None:
    host.well(PLAIN)


class Case(t.NamedTuple):
    """A state before a load, and what the load does: statuses and layers sent, with a graph driver and else."""

    prepare: Callable[[Host], None]
    names: tuple[str, ...]
    graph: tuple[tuple[str, int], ...]
    containerd: tuple[tuple[str, int], ...]


def both(prepare: Callable[[Host], None], name: str, status: str, sent: int) -> Case:
    return Case(prepare, (name,), ((status, sent),), ((status, sent),))


TWO = (("loaded", 2), ("loaded", 0))
CASES = {
    "absent": both(absent, WEB, "loaded", 2),
    "present": both(lambda host: host.well(WEB), WEB, "present", 0),
    "name-lost": both(name_lost, WEB, "tagged", 0),
    "tag-moved": both(tag_moved, WEB, "moved", 0),
    # The image in use brings both layers.
    "in-use": Case(in_use, (WEB,), (("moved", 0),), (("moved", 0),)),
    "base-only": both(base_only, WEB, "loaded", 1),
    # The rest of a broken image proves nothing.
    "broken": both(broken, WEB, "repaired", 2),
    # To a graph driver it is the same image.
    "other-compression": Case(other_compression, (WEB,), (("tagged", 0),), (("loaded", 2),)),
    "sparse": both(absent, SPARSE, "loaded", 3),
    "zstd": both(absent, ZSTD, "loaded", 2),
    "two-names-one-image": Case(absent, (WEB, OTHER), TWO, TWO),
}


@pytest.mark.parametrize("case", CASES.values(), ids=list(CASES))
def test_check_mode_agrees_with_the_load_and_the_image_can_be_used(host, case):
    case.prepare(host)
    before = host.docker.names(), host.docker.ids()
    check = host(*case.names, check=True).result
    assert (host.docker.names(), host.docker.ids()) == before
    real = host(*case.names).result
    again = host(*case.names).result
    assert "images" in real, real
    shown = tuple((one["status"], one["layers"]["sent"]) for one in real["images"])
    assert shown == getattr(case, host.docker.store), real
    same = ("images", "changed", "actions", "diff")
    assert {key: check[key] for key in same} == {key: real[key] for key in same}
    assert check["stats"]["bytes_sent"] == real["stats"]["bytes_sent"]
    assert (again["changed"], again["stats"]["bytes_sent"]) == (False, 0)
    assert again["stats"]["requests"] <= 3
    for name in case.names:
        assert host.docker.names()[name] == host.target(name)
        run = ["run", "--rm", "--network", "host", name, "/bin/busybox", "echo", "served"]
        assert host.docker(*run) == "served\n"


def test_image_before_stays_and_containers_are_not_touched(host):
    in_use(host)
    before = host.docker.names()[WEB]
    host.docker("rmi", NEXT)
    host.well(WEB)
    assert before in host.docker.ids()
    assert host.docker("ps", "--quiet", "--no-trunc").strip()


def test_image_of_another_platform(host):
    first = host(FOREIGN, platform="linux/arm64").result
    assert [one["status"] for one in first["images"]] == ["loaded"], first
    assert not host(FOREIGN, platform="linux/arm64", check=True).result["changed"]
    second = host(FOREIGN).result
    expected = "repaired" if host.docker.store == "containerd" else "moved"
    assert [one["status"] for one in second["images"]] == [expected], second
    assert not host(FOREIGN).result["changed"]


def test_digest_is_kept_by_the_containerd_store_alone(host):
    result = host(WEB).result
    is_kept = host.docker.store == "containerd"
    assert result["images"][0]["keeps_digest"] == is_kept
    shown = host.docker("images", "--digests", "--format", "{{.Digest}}").split()
    assert shown == [host.shop.digest(WEB) if is_kept else "<none>"]


def two_layers(number: int) -> images.Image:
    """Return an image on a base of its own, which only the tests of failures have."""
    parts = [images.layer({f"base-{one}": bytes([one]) * 5000}) for one in (0, number)]
    return images.image(parts)


def test_bytes_over_the_socket_are_those_of_the_missing_layers(host, directory):
    noise = random.Random(2).randbytes
    base, app = (images.layer({name: noise(4 * 1024 * 1024)}) for name in ("base", "app"))
    versions = [images.layer({"version": text}) for text in (b"1", b"2")]
    old, new = (images.image([base, app, version]) for version in versions)
    missing = len(app.blob) + len(versions[0].blob)
    with counted(directory / "s", host.docker.address) as wire:
        assert not host.load({BASE: images.image([base])}, socket=wire.path).failed
        sent = []
        for item in (old, new, new):
            before = wire.sent
            assert not host.load({WEB: item}, socket=wire.path).failed
            sent.append(wire.sent - before)
    assert missing < sent[0] <= missing * 1.01
    assert sent[1] <= 16 * 1024
    assert sent[2] <= 1024  # the heads of three requests


def vanish(host: Host, layer: images.Layer) -> None:
    """Remove the image that has a layer, and the layer: the containerd image store collects its garbage later."""
    host.docker("rmi", BASE)
    if host.docker.store == "containerd":
        with contextlib.suppress(subprocess.CalledProcessError):
            host.docker.remove_blob(layer.digest)


def test_base_that_vanishes_after_the_plan_is_sent(host):
    item = two_layers(1)
    alone = images.image(list(item.layers[:1]))
    assert not host.load({BASE: alone}).failed
    done = host.load({WEB: item}, between=lambda: vanish(host, item.layers[0]))
    assert [len(one.blobs) for one in done.planned] == [1]
    assert (done.statuses, done.failed) == (["repaired"], {})
    assert len(host.docker.ids()) == 1 and not host.load({WEB: item}).announced


@pytest.mark.parametrize("is_moved", [False, True])
def test_name_is_as_before_if_nothing_has_the_base(host, is_moved):
    item = two_layers(1)
    alone, other = images.image(list(item.layers[:1])), images.image([images.layer({"o": b"o"})])
    assert not host.load({BASE: alone, **({WEB: other} if is_moved else {})}).failed
    before = host.docker.names().get(WEB)
    base = item.layers[0]
    done = host.load({WEB: item}, between=lambda: vanish(host, base), lost=base)
    assert [len(one.blobs) for one in done.planned] == [1]
    assert isinstance(done.failed[WEB], CorruptStoreError), done
    assert base.digest[7:] in str(done.failed[WEB])
    assert host.docker.names().get(WEB) == before
    assert host.docker.ids() == ({before} if before else set())


def test_broken_image_of_three_does_not_keep_the_others_out(host):
    named = {WEB: two_layers(1), BROKEN: two_layers(2), NEXT: two_layers(3)}
    done = host.load(named, lost=two_layers(2).layers[1])
    assert list(done.failed) == [BROKEN] and done.statuses == ["loaded", "loaded"]
    assert set(host.docker.names()) == {WEB, NEXT}


def test_configuration_that_lies_about_a_layer(host):
    first, second = two_layers(8).layers
    wrong = dataclasses.replace(second, diff_id=f"sha256:{'e' * 64}")
    done = host.load({WEB: two_layers(7), BROKEN: images.image([first, wrong])})
    error = done.failed[BROKEN]
    assert isinstance(error, errors.EngineIncompleteError) and str(error).startswith(BROKEN), error
    assert set(host.docker.names()) == {WEB} and len(host.docker.ids()) == 1


def test_name_that_another_process_moves_is_a_conflict(host):
    host.well(NEXT, BASE)
    host.docker("tag", BASE, WEB)
    done = host.load({WEB: two_layers(1)}, between=lambda: host.docker("tag", NEXT, WEB))
    assert isinstance(done.failed[WEB], errors.EngineConflictError)
    assert host.docker.names()[WEB] == host.target(NEXT)


def test_name_of_another_image_can_stay(host):
    host.well(NEXT)
    host.docker("tag", NEXT, WEB)
    failed = host(WEB, existing="fail")
    assert failed.kind == "engine-name-taken", failed.result
    kept = host(WEB, existing="keep")
    assert not kept.result["changed"] and "as existing=keep says" in kept.stdout
    assert [one["status"] for one in kept.result["images"]] == ["kept"]
    assert host.docker.names()[WEB] == host.target(NEXT)


def test_daemon_that_hangs(host):
    os.kill(host.docker.service.pid, signal.SIGSTOP)
    try:
        outcome = host(WEB, timeout=1)
    finally:
        os.kill(host.docker.service.pid, signal.SIGCONT)
    assert outcome.kind == "engine-timeout", outcome.result
    text = f"{host.docker.address}: the engine did not answer in time"
    assert outcome.result["msg"].startswith(text)
