# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Archives between this collection and the tools of the machine: each reads what the other wrote."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.lockstep.images.tests.support import modules, services
from ansible_collections.lockstep.images.tests.support.containerd import Containerd
from ansible_collections.lockstep.images.tests.support.docker import Docker
from ansible_collections.lockstep.images.tests.support.fleet import need_programs
from ansible_collections.lockstep.images.tests.support.images import demo_image, push
from ansible_collections.lockstep.images.tests.support.playbook import (
    PlayRunner,
    collections_path,
)
from ansible_collections.lockstep.images.tests.support.registry import Registry
from ansible_collections.lockstep.images.tests.support.services_process import unmount_below
from ansible_collections.lockstep.images.tests.support.shop import BASE, NEXT, PLAIN, WEB, Shop
from ansible_collections.lockstep.images.tests.support.site import Site
from ansible_collections.lockstep.images.tests.support.stores import assert_valid_store, blobs

NAMES = [BASE, WEB, PLAIN]


def done(outcome: modules.Outcome) -> dict[str, Any]:
    assert not outcome.failed, outcome.result
    return outcome.result


def export(shop: Shop, dest: Path, *names: str, **options: Any) -> Path:
    """Export images, and return the path of the archive."""
    params = {"store": shop.store, "name": list(names) or NAMES, "dest": str(dest), **options}
    done(modules.run("image_export", **params))
    return dest


def import_into(store: Path, src: Path, **options: Any) -> dict[str, Any]:
    """Import an archive, and return the result."""
    result = done(modules.run("image_import", store=str(store), src=str(src), **options))
    assert_valid_store(store)
    return result


def run(*command: Any, **options: Any) -> str:
    """Run a command and return its output; raise AssertionError with its messages if it fails."""
    answer = subprocess.run(
        list(map(str, command)), capture_output=True, text=True, timeout=120, check=False, **options
    )
    assert answer.returncode == 0, answer.stderr
    return answer.stdout


@pytest.fixture()
def docker(docker_host: Docker) -> Iterator[Docker]:
    docker_host.clear()
    yield docker_host
    docker_host.clear()


@pytest.fixture()
def podman(directory: Path) -> Iterator[dict[str, str]]:
    """The environment of a podman with a storage of its own."""
    need_programs("podman")
    with services.podman_env(directory / "podman") as environment:
        yield {**os.environ, **environment}
    unmount_below(directory)


def test_archive_is_listed_by_tar(shop: Shop, directory: Path) -> None:
    listed = run("tar", "tvf", export(shop, directory / "a.tar")).splitlines()
    assert {row.split()[1] for row in listed} == {"0/0"}
    assert [row.split()[-1] for row in listed][:4] == [
        "index.json",
        "lock.json",
        "manifest.json",
        "oci-layout",
    ]
    run("sha256sum", "--strict", "--check", "a.tar.sha256", cwd=directory)


@pytest.mark.parametrize("form", ["both", "docker"])
def test_docker_loads_an_archive_with_the_right_ids(
    shop: Shop, directory: Path, docker: Docker, form: str
) -> None:
    docker("load", "--input", str(export(shop, directory / "a.tar", format=form)))
    ids = {name: image_id for name, image_id in docker.names().items() if name in NAMES}
    assert ids == {name: shop.items[name].config_digest for name in NAMES}  # type: ignore[union-attr]


def test_docker_loads_a_delta_onto_the_images_that_it_has(
    shop: Shop, directory: Path, docker: Docker
) -> None:
    first = export(shop, directory / "a.tar", BASE)
    docker("load", "--input", str(first))
    info = done(modules.run("engine_info", **docker.options))
    second = export(shop, directory / "b.tar", WEB, have=info)
    assert second.stat().st_size < 16_000 < first.stat().st_size
    docker("load", "--input", str(second))
    assert docker.names()[WEB] == shop.items[WEB].config_digest  # type: ignore[union-attr]


def test_containerd_imports_an_archive_with_the_right_digests(
    shop: Shop, directory: Path, containerd_host: Containerd
) -> None:
    path = export(shop, directory / "a.tar", *NAMES, NEXT)
    containerd_host.ctr("archives", "images", "import", str(path))
    found = containerd_host.names("archives")
    assert {name: found[name] for name in (*NAMES, NEXT)} == {
        name: shop.digest(name) for name in (*NAMES, NEXT)
    }
    assert {*NAMES, NEXT} <= containerd_host.ready("archives")


def test_podman_loads_an_archive(shop: Shop, directory: Path, podman: dict[str, str]) -> None:
    run("podman", "load", "--input", export(shop, directory / "a.tar"), env=podman)
    rows = json.loads(run("podman", "images", "--format", "json", env=podman))
    ids = {name: f"sha256:{row['Id']}" for row in rows for name in row.get("Names") or ()}
    assert {name: ids[name] for name in NAMES} == {
        name: shop.items[name].config_digest  # type: ignore[union-attr]
        for name in NAMES
    }


def test_skopeo_copies_from_an_archive_with_the_right_digest(shop: Shop, directory: Path) -> None:
    need_programs("skopeo")
    path = export(shop, directory / "a.tar")
    target = f"dir:{directory}/copy"
    run("skopeo", "copy", "--quiet", "--preserve-digests", f"oci-archive:{path}:{WEB}", target)
    assert run(
        "skopeo", "manifest-digest", directory / "copy/manifest.json"
    ).strip() == shop.digest(WEB)
    docker_form = export(shop, directory / "b.tar", WEB, format="docker")
    run("skopeo", "copy", "--quiet", f"docker-archive:{docker_form}", f"dir:{directory}/other")


def test_archive_of_skopeo_is_imported(shop: Shop, directory: Path) -> None:
    need_programs("skopeo")
    path = directory / "skopeo.tar"
    run("skopeo", "copy", "--quiet", f"oci:{shop.store}:{WEB}", f"oci-archive:{path}:{WEB}")
    import_into(directory / "store", path)
    bare = directory / "bare.tar"
    run("skopeo", "copy", "--quiet", f"oci:{shop.store}:{WEB}", f"oci-archive:{bare}")
    result = import_into(directory / "store", bare, name=[WEB])
    assert (result["changed"], result["images"][0]["digest"]) == (False, shop.digest(WEB))


def test_docker_archive_of_skopeo_is_imported(shop: Shop, directory: Path) -> None:
    need_programs("skopeo")
    path = directory / "skopeo.tar"
    run("skopeo", "copy", "--quiet", f"oci:{shop.store}:{WEB}", f"docker-archive:{path}:{WEB}")
    result = import_into(directory / "store", path)
    assert result["made_manifests"] == [WEB]
    assert result["images"][0]["id"] == shop.items[WEB].config_digest  # type: ignore[union-attr]


def test_archive_of_docker_save_is_imported(shop: Shop, directory: Path, docker: Docker) -> None:
    docker("load", "--input", str(export(shop, directory / "a.tar")))
    # Of images that share layers, Docker 20.10 writes symbolic links.
    docker("save", "--output", str(directory / "saved.tar"), *NAMES)
    result = import_into(directory / "store", directory / "saved.tar")
    assert result["made_manifests"] == sorted(NAMES)
    ids = {one["name"]: one["id"] for one in result["images"]}
    assert ids == {name: shop.items[name].config_digest for name in NAMES}  # type: ignore[union-attr]
    docker("save", "--output", str(directory / "again.tar"), *NAMES[::-1])
    assert not import_into(directory / "store", directory / "again.tar")["changed"]


def test_archive_of_podman_save_is_imported(
    shop: Shop, directory: Path, podman: dict[str, str]
) -> None:
    run("podman", "load", "--input", export(shop, directory / "a.tar"), env=podman)
    for form in ("docker-archive", "oci-archive"):
        path = directory / f"{form}.tar"
        run("podman", "save", "--format", form, "--output", path, WEB, env=podman)
        result = import_into(directory / form, path)
        assert [one["name"] for one in result["images"]] == [WEB]
        # podman writes another configuration.
        assert len(result["images"][0]["layers"]) == len(shop.layers(WEB))


def test_archive_of_ctr_export_is_imported(
    shop: Shop, directory: Path, containerd_host: Containerd
) -> None:
    containerd_host.ctr("export", "images", "import", str(export(shop, directory / "a.tar")))
    containerd_host.ctr("export", "images", "export", str(directory / "ctr.tar"), *NAMES)
    result = import_into(directory / "store", directory / "ctr.tar")
    assert {one["name"]: one["digest"] for one in result["images"]} == {
        name: shop.digest(name) for name in NAMES
    }
    assert blobs(directory / "store") <= blobs(Path(shop.store))


def test_host_without_a_route_gets_the_store_that_was_exported(directory: Path) -> None:
    names = []
    source, store = directory / "source", directory / "store"
    with Registry() as registry:
        for number in range(20):
            push(registry, f"shop/app{number}", demo_image(f"app{number}", "1", size=5000), "1")
            names.append(f"{registry.address}/shop/app{number}:1")
        options = {"name": names, "plain_http": True, "platform": ["linux/amd64"]}
        done(modules.run("image_pull", store=str(source), **options))
    export_all = {"store": str(source), "name": names, "dest": str(directory / "a.tar")}
    done(modules.run("image_export", chunk_size="1M", **export_all))
    alone = ("unshare", "--net", "--")

    def imported() -> dict[str, Any]:
        params = {"store": str(store), "src": str(directory / "a.tar")}
        return done(modules.finish(modules.start("image_import", launcher=alone, **params)))

    first = imported()
    assert (first["changed"], first["stats"]["requests"]) == (True, {})
    assert run("diff", "-r", "--exclude", ".staging", source, store) == ""
    again = imported()
    assert (again["changed"], again["stats"]["bytes_fetched"]) == (False, 0)


def test_medium_that_is_read_only_or_too_small_is_named(shop: Shop, directory: Path) -> None:
    need_programs("mount", "umount")
    medium = directory / "medium"
    medium.mkdir()
    options = {"store": shop.store, "name": NAMES, "dest": str(medium / "a.tar")}
    run("mount", "-t", "tmpfs", "-o", "size=1100k", "tmpfs", medium)
    try:
        for more in ({}, {"chunk_size": "1M"}):
            outcome = modules.run("image_export", **options, **more)
            assert (outcome.kind, outcome.result["changed"]) == ("no-space", False)
            assert str(medium) in outcome.result["msg"] and "\n" not in outcome.result["msg"]
            assert list(medium.iterdir()) == []
        run("mount", "-o", "remount,ro,size=1g", medium)
        outcome = modules.run("image_export", **options)
        assert outcome.kind == "archive-access"
        assert outcome.result["msg"].startswith(f"{medium}/a.tar.sha256.part: Read-only")
        run("mount", "-o", "remount,rw", medium)
        export(shop, medium / "a.tar", chunk_size="1M")
        run("mount", "-o", "remount,ro", medium)
        assert not done(modules.run("image_export", **options, chunk_size="1M"))["changed"]
        import_into(directory / "store", medium)
    finally:
        run("umount", medium)


OTHER = {"TZ": "Asia/Kathmandu", "LC_ALL": "C", "PYTHONHASHSEED": "7"}
AS_NOBODY = ("sh", "-c", 'umask 077; exec setpriv --reuid 65534 --clear-groups "$@"', "sh")


def test_same_bytes_for_another_user_time_zone_and_python(shop: Shop, directory: Path) -> None:
    export(shop, directory / "a.tar")
    home = collections_path() or Path.cwd()
    others = [home / name / "bin/python" for name in ("unit-oldest", "core-2.21")]
    with tempfile.TemporaryDirectory() as public:
        shutil.copytree(shop.store, f"{public}/store")
        run("chmod", "-R", "a+rX", public)
        for python in (one for one in (Path(sys.executable), *others) if one.exists()):
            place = Path(public, python.parents[1].name)
            place.mkdir()
            os.chmod(place, 0o777)
            # Another user cannot start a Python below /root.
            probe = [*AS_NOBODY, str(python), "-c", "import sys"]
            is_open = subprocess.run(probe, capture_output=True, check=False).returncode == 0
            process = modules.start(
                "image_export",
                python=python,
                env={**OTHER, "PYTHONPATH": str(modules.ROOT.parents[2])},
                launcher=AS_NOBODY if is_open else (),
                store=f"{public}/store",
                name=NAMES[::-1],
                dest=str(place / "a.tar"),
            )
            done(modules.finish(process))
            run("cmp", directory / "a.tar", place / "a.tar")
            run("cmp", directory / "a.tar.sha256", place / "a.tar.sha256")


BUNDLE = "lockstep.images.bundle"


def test_playbook_bundle_writes_what_the_site_lacks(directory: Path, play: PlayRunner) -> None:
    with Registry() as registry:
        site = Site(registry, directory, play)
        lock = site.variables["store_lock_file"]
        options = {"name": site.names, "platform": ["linux/amd64"], "plain_http": True}
        done(modules.run("image_lock", path=lock, **options))
        one, two = directory / "one.tar", directory / "two.tar"
        variables = {**site.variables, "store_path": str(directory / "controller")}
        variables["bundle_dest"] = str(one)
        inventory = site.inventory()
        assert play(BUNDLE, inventory, variables, check=True).ok() and not one.exists()
        first = play(BUNDLE, inventory, variables).ok()
        assert "2 images, " in first.output and "Deliver one.tar.sha256" in first.output
    # Without a registry.
    variables.update(bundle_dest=str(two), bundle_fill=False, bundle_have=[lock, f"{one}.sha256"])
    play(BUNDLE, inventory, variables).ok()
    assert two.stat().st_size < one.stat().st_size
    import_into(directory / "store", one)
    assert not import_into(directory / "store", two)["changed"]
