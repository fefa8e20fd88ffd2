# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Loads into real Docker daemons that end, are full or refuse; and who else reads our archives."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import time
import typing as t
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._archive.image_archive import (
    Entry,
    image_archive,
)
from ansible_collections.lockstep.images.plugins.module_utils._engines import errors
from ansible_collections.lockstep.images.plugins.module_utils._engines.docker import DockerEngine
from ansible_collections.lockstep.images.tests.support import images, modules, services, stores
from ansible_collections.lockstep.images.tests.support.containerd import Containerd
from ansible_collections.lockstep.images.tests.support.contents import content_of, opener
from ansible_collections.lockstep.images.tests.support.docker import Docker
from ansible_collections.lockstep.images.tests.support.fleet import need_programs
from ansible_collections.lockstep.images.tests.support.loading import Loaded, load
from ansible_collections.lockstep.images.tests.support.services_process import program, run
from ansible_collections.lockstep.images.tests.support.shop import WEB, Shop
from ansible_collections.lockstep.images.tests.support.users import LAUNCHER

MIB = 1024 * 1024
DISK = 96 * MIB
NAME = "registry.example.com/shop/large:1"
NOISE = random.Random(1).randbytes(24 * MIB)


def image_of(*sizes: int, noise: bytes = NOISE) -> images.Image:
    """Return an image whose layers have so many bytes, of noise that no engine can compress, or of zeros."""
    layers = []
    for number, size in enumerate(sizes):
        data = (noise * (size // len(noise) + 1))[:size]
        compression = None if noise is NOISE else "gzip"
        layers.append(images.layer({f"file-{number}": data}, compression))
    return images.image(layers)


def load_into(docker: Docker, item: images.Image, open_blob: t.Any = None) -> Loaded:
    """Load in this process, and do not ask first whether there is space."""
    engine = DockerEngine(docker.address, 30.0, 60.0, lambda _digest: None)
    return load(engine, [content_of(item, NAME)], open_blob or opener(item))


def on_last_layer(item: images.Image, act: Callable[[], None]) -> t.Any:
    """Return what opens the blobs of an image, and acts before the last one."""
    open_known = opener(item)

    def open_blob(blob: t.Any) -> t.Any:
        if str(blob.digest) == item.layers[-1].digest:
            act()
        return open_known(blob)

    return open_blob


def received(docker: Docker) -> list[Path]:
    """What the daemon has of archives that it has not loaded."""
    return list(Path(docker.address).parent.glob("data/tmp/docker-import-*"))


def eventually(holds: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 10
    while not holds() and time.monotonic() < deadline:
        time.sleep(0.05)
    return holds()


@pytest.fixture(scope="module")
def full(workspace: Path) -> Iterator[Docker]:
    """A daemon with a small disk."""
    need_programs("dockerd", "docker", "containerd", "mount")
    place = workspace / "small-docker"
    place.mkdir()
    run([program("mount"), "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", place])
    with services.dockerd(place, None) as service:
        yield Docker(service, "graph")


def used(docker: Docker) -> int:
    """The bytes in use on the disk of a daemon."""
    return shutil.disk_usage(Path(docker.address).parent).used


def test_disk_that_is_too_small_is_seen_before_the_first_byte(full, directory):
    store = directory / "store"
    stores.put(store, image_of(DISK), NAME)
    for check in (True, False):
        outcome = modules.run(
            "image_load",
            check=check,
            name=[NAME],
            store=str(store),
            platform="linux/amd64",
            **full.options,
        )
        assert outcome.kind == "engine-no-space", outcome.result
        root = Path(full.address).parent / "data"
        assert outcome.result["msg"].startswith(f"{root}: 101 MB needed, ")
    assert full.ids() == set()


@pytest.mark.parametrize(
    ("sizes", "noise"),
    [((60 * MIB, 60 * MIB), NOISE), ((DISK,), bytes(MIB))],
    ids=["receiving", "unpacking"],
)
def test_disk_that_becomes_full_has_its_space_back(full, sizes, noise):
    item = image_of(*sizes, noise=noise)
    before = used(full)
    error = load_into(full, item).failed[NAME]
    assert isinstance(error, errors.EngineNoSpaceError), error
    assert "no space left on device" in str(error)
    assert full.ids() == set() and not received(full)
    assert eventually(lambda: used(full) - before < MIB)
    assert not load_into(full, image_of(MIB)).failed
    full.clear()


def test_task_that_is_killed_leaves_nothing(docker_host):
    docker_host.clear()
    item = image_of(20 * MIB, MIB)
    child = os.fork()
    if not child:
        load_into(
            docker_host, item, on_last_layer(item, lambda: os.kill(os.getpid(), signal.SIGKILL))
        )
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    assert eventually(lambda: not received(docker_host))
    assert docker_host.ids() == set()
    assert not load_into(docker_host, item).failed


def test_blob_that_is_shorter_than_its_size_leaves_nothing(docker_host, directory):
    docker_host.clear()
    item = image_of(MIB, 2 * MIB)
    store = directory / "store"
    stores.put(store, item, NAME)
    path = stores.blob_path(store, item.layers[1].digest)
    os.truncate(path, MIB)

    def open_blob(blob: t.Any) -> t.Any:
        return stores.blob_path(store, str(blob.digest)).open("rb")

    error = load_into(docker_host, item, open_blob).failed[NAME]
    name = f"blobs/sha256/{item.layers[1].digest[7:]}"
    assert str(error) == f"{name} ended after {MIB} of {len(item.layers[1].blob)} bytes"
    assert eventually(lambda: not received(docker_host)) and docker_host.ids() == set()


def test_daemon_that_is_killed_while_it_receives(containerd_host, workspace, shop):
    place = workspace / "killed"
    item = image_of(20 * MIB, MIB)
    with services.dockerd(place, containerd_host.address) as service:
        docker = Docker(service, "graph")
        act = on_last_layer(item, lambda: os.kill(service.pid, signal.SIGKILL))
        error = load_into(docker, item, act).failed[NAME]
        assert isinstance(error, errors.EngineGoneError), error
        text = f"{docker.address}: the connection was closed before an HTTP answer came"
        assert str(error) == text
        gone = modules.run("image_load", name=[WEB], store=shop.store, **docker.options)
        assert gone.kind == "engine-not-found"
    for left in (place / "pid", place / "d.sock"):
        left.unlink(missing_ok=True)
    with services.dockerd(place, containerd_host.address) as service:
        docker = Docker(service, "graph")
        assert docker.ids() == set() and not received(docker)
        assert not load_into(docker, item).failed


def test_user_without_rights(docker_host, shop):
    place = Path(docker_host.address).parent
    modes = {path: path.stat().st_mode for path in (place, place.parent)}
    try:
        for path in modes:
            path.chmod(0o755)
        outcome = modules.run(
            "image_load", name=[WEB], store=shop.store, launcher=LAUNCHER, **docker_host.options
        )
    finally:
        for path, mode in modes.items():
            path.chmod(mode)
    assert outcome.kind == "engine-refused", outcome.result
    text = f"{docker_host.address}: this user cannot open the socket. Set become, or"
    assert outcome.result["msg"].startswith(text)


def test_socket_of_containerd(containerd_host: Containerd, shop: Shop):
    options = {"engine": "docker", "socket": containerd_host.address}
    outcome = modules.run("image_load", name=[WEB], store=shop.store, **options)
    assert outcome.kind == "engine-not-found"
    assert outcome.result["msg"].startswith(
        f"{containerd_host.address}: what listens there is not Docker"
    )


@pytest.mark.parametrize("host", ["tcp://127.0.0.1:2375", "ssh://root@127.0.0.1"])
def test_daemon_of_another_host(shop, host):
    options = {"engine": "docker", "env": {"DOCKER_HOST": host}}
    outcome = modules.run("image_load", name=[WEB], store=shop.store, **options)
    assert outcome.kind == "engine-not-found"
    assert outcome.result["msg"].startswith(f"{host}: is not the path of a Unix socket")


class FileOutput:
    """A file, as the output of an archive."""

    def __init__(self, file: t.BinaryIO) -> None:
        self._file = file

    def write(self, data: bytes) -> None:
        self._file.write(data)

    def send_file(self, file: t.BinaryIO, size: int) -> int:
        return self._file.write(file.read(size))


def test_other_programs_read_our_archive(docker_host, containerd_host, shop, directory):
    docker_host.clear()
    content = content_of(shop.items[WEB], WEB)
    archive = image_archive(
        [Entry(content, (WEB,), content.manifest.layers)], opener(shop.items[WEB])
    )
    path = directory / "archive.tar"
    with path.open("wb") as file:
        archive.write_to(FileOutput(file))
    assert path.stat().st_size == archive.size
    listed = run([program("tar"), "--list", "--verbose", "--utc", "--file", path]).splitlines()
    assert [row.split()[-1] for row in listed] == [one.name for one in archive.members]
    assert {row.split()[0] for row in listed} == {"-rw-r--r--"}
    assert f"Loaded image: {WEB}" in docker_host("load", "--input", str(path))
    assert docker_host.names() == {WEB: shop.items[WEB].config_digest}
    containerd_host.ctr("other-programs", "images", "import", str(path))
    assert containerd_host.names("other-programs") == {WEB: shop.digest(WEB)}
    copied = directory / "copied"
    copy = [program("skopeo"), "copy", f"oci-archive:{path}:{WEB}", f"dir:{copied}"]
    subprocess.run(copy, check=True, capture_output=True)
    assert (copied / "manifest.json").read_bytes() == shop.items[WEB].raw
