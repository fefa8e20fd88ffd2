# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A lock file makes the same store, whatever the host is and whatever was there: file by file, byte by byte."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._lockfile.lockfile import read_lock
from ansible_collections.lockstep.images.tests.support import layout, modules
from ansible_collections.lockstep.images.tests.support.fleet import Registry, need_programs
from ansible_collections.lockstep.images.tests.support.images import demo_image, upload

BOTH = ["linux/amd64", "linux/arm64"]
NOBODY = 65534
# Not root, but able to read: the interpreter may lie where only root looks.
_NOT_ROOT = [
    "setpriv",
    *(f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"),
    *("--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search", "--"),
]


@dataclass(frozen=True)
class Site:
    """A lock file of five images, and the store of an ordinary host."""

    lock: dict[str, Any]
    names: list[str]
    registry: Registry
    model: Path


@pytest.fixture(name="site", scope="module")
def fixture_site(workspace: Path, registry_plain: Registry) -> Iterator[Site]:
    """Provide images of either kind, some of which share layers."""
    directory = workspace / "bytes"
    directory.mkdir()
    names = []
    for number in range(5):
        image = demo_image(f"same-{number // 2}", str(number), size=3000, docker=number == 3)
        upload(registry_plain.service.url, f"same/app-{number}", image, "1")
        names.append(f"{registry_plain.address}/same/app-{number}:1")
    path = directory / "images.lock.yml"
    done = modules.run(
        "image_lock", path=os.fspath(path), name=names, platform=BOTH, manifests="embed"
    )
    assert not done.failed, done.result
    lock = read_lock(os.fspath(path))
    assert lock
    sync(lock, directory / "model")
    yield Site(lock, names, registry_plain, directory / "model")


def sync(lock: dict[str, Any], store: Path, **options: Any) -> dict[str, Any]:
    """Sync a store with a lock, require the fingerprint in the result, and require that nothing is left to do."""
    done = modules.run("image_sync", lock=lock, store=os.fspath(store), **options)
    assert not done.failed, done.result
    assert layout.fingerprint(store) == done.result["fingerprint"]
    again = modules.run("image_sync", lock=lock, store=os.fspath(store), **options)
    assert not again.result["changed"], again.result
    return done.result


def assert_same(one: Path, other: Path) -> None:
    """What ``diff -r`` says, and modes: nothing."""
    command = ["diff", "-r", "-x", ".staging", os.fspath(one), os.fspath(other)]
    said = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (said.returncode, said.stdout) == (0, "")
    modes = [
        {
            path.relative_to(store): path.stat().st_mode
            for path in store.rglob("*")
            if ".staging" not in path.parts
        }
        for store in (one, other)
    ]
    assert modes[0] == modes[1]


def interpreter(version: str) -> str:
    """Return a Python of this version, one that starts."""
    shims = re.compile("/shims(?=/|$)")
    path = [one for one in os.get_exec_path() if not shims.search(one)]
    found = shutil.which(f"python{version}", path=os.pathsep.join(path))
    if found is None:
        pytest.skip(f"no Python {version} here")  # where it must be there, the unit tests miss it
    return str(found)


def masked(mask: int) -> list[str]:
    """Return a launcher under this umask."""
    code = "import os, sys; os.umask(int(sys.argv[1])); os.execvp(sys.argv[2], sys.argv[2:])"
    return [sys.executable, "-c", code, str(mask)]


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({"parallel": 1, "connections_per_blob": 1}, id="one at a time"),
        pytest.param({"parallel": 12, "chunk_size": "64K"}, id="many at a time"),
        pytest.param({"launcher": masked(0o000)}, id="umask 000"),
        pytest.param({"launcher": masked(0o022)}, id="umask 022"),
        pytest.param({"launcher": masked(0o077)}, id="umask 077"),
    ],
)
def test_store_does_not_depend_on_how_the_module_runs(
    site: Site, directory: Path, options: dict[str, Any]
) -> None:
    sync(site.lock, directory / "store", **options)
    assert_same(directory / "store", site.model)


@pytest.mark.parametrize("version", ["3.9", "3.13"])
def test_store_does_not_depend_on_the_python_of_the_host(
    site: Site, directory: Path, version: str
) -> None:
    python = interpreter(version)
    packages = directory / "packages"
    command = [python, "-m", "pip", "install", "-q", "--target", os.fspath(packages), "requests"]
    subprocess.run(command, check=True)
    # Of this Python only what is for all: ansible.module_utils.
    path = [modules.ROOT.parents[2], packages, sysconfig.get_path("purelib")]
    own = {"python": python, "env": {"PYTHONPATH": os.pathsep.join(map(os.fspath, path))}}
    sync(site.lock, directory / "store", **own)
    assert_same(directory / "store", site.model)


def test_unprivileged_user_writes_the_same_store(site: Site, directory: Path) -> None:
    need_programs("setpriv")
    home = directory / "home"
    home.mkdir()
    os.chown(home, NOBODY, NOBODY)
    sync(site.lock, home / "store", launcher=_NOT_ROOT)
    assert (home / "store").stat().st_uid == NOBODY
    assert_same(home / "store", site.model)


def test_store_does_not_depend_on_a_mirror(site: Site, directory: Path) -> None:
    host = site.registry.address
    mirror = {"registry": host, "mirrors": [{"url": f"http://localhost:{host.rpartition(':')[2]}"}]}
    result = sync(site.lock, directory / "store", registries=[mirror])
    served = [one["bytes"] for one in result["stats"]["mirrors"].values()]
    assert len(served) == 1 and served[0] > 0
    assert_same(directory / "store", site.model)


def test_store_does_not_depend_on_the_order_of_pulls(site: Site, directory: Path) -> None:
    turned = dict(site.lock, images=site.lock["images"][::-1])
    for name in reversed(site.names):
        params = {"name": [name], "lock": site.lock, "store": os.fspath(directory / "store")}
        for platform in reversed(BOTH):
            assert not modules.run("image_pull", platform=[platform], **params).failed
    assert_same(directory / "store", site.model)
    sync(turned, directory / "store2")
    assert_same(directory / "store2", site.model)


def _half(site: Site, store: Path) -> None:
    """Two images, one of them without its layers, and nothing of the others."""
    params = {"store": os.fspath(store), "platform": ["linux/amd64"]}
    assert not modules.run("image_pull", name=site.names[:2], **params).failed
    largest = sorted((store / "blobs/sha256").iterdir(), key=lambda path: path.stat().st_size)
    for path in largest[-2:]:
        path.unlink()


def _with_others(site: Site, store: Path) -> None:
    """Add another image, and one that is unreferenced."""
    shutil.copytree(site.model, store)
    upload(site.registry.service.url, "same/extra", demo_image("extra", "1", size=500), "1")
    extra = f"{site.registry.address}/same/extra:1"
    params = {"name": [extra], "store": os.fspath(store)}
    assert not modules.run("image_pull", **params).failed
    upload(site.registry.service.url, "same/extra", demo_image("extra", "2", size=500), "1")
    assert not modules.run("image_pull", **params).failed


def _tampered(site: Site, store: Path) -> None:
    """Four kinds of damage."""
    shutil.copytree(site.model, store)
    blobs = sorted((store / "blobs/sha256").iterdir(), key=lambda path: (path.stat().st_size, path))
    flipped, cut, longer, lost = blobs[-4:]
    flipped.write_bytes(bytes([flipped.read_bytes()[0] ^ 1]) + flipped.read_bytes()[1:])
    cut.write_bytes(cut.read_bytes()[:100])
    longer.write_bytes(longer.read_bytes() + b"x")
    lost.unlink()


def _by_skopeo(site: Site, store: Path) -> None:
    """A layout that skopeo wrote, with a name of its own and another form of index.json."""
    need_programs("skopeo")
    source = f"docker://{site.names[0]}"
    command = ["skopeo", "copy", "-q", "--src-tls-verify=false", source, f"oci:{store}:mine"]
    subprocess.run(command, check=True)


@pytest.mark.parametrize("provide", [_half, _with_others, _tampered, _by_skopeo])
def test_store_does_not_depend_on_previous_content(
    site: Site, directory: Path, provide: Callable[[Site, Path], None]
) -> None:
    provide(site, directory / "store")
    result = sync(site.lock, directory / "store", verify="full")
    assert result["differences"]
    assert_same(directory / "store", site.model)
