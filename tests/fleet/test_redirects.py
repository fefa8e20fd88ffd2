# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Where URLs lead, and who answers: we get what skopeo and ctr get from the same fronts, stores and lists."""

from __future__ import annotations

import contextlib
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._image.names import Reference
from ansible_collections.lockstep.images.tests.support import certificates, services
from ansible_collections.lockstep.images.tests.support.faults import Fault
from ansible_collections.lockstep.images.tests.support.fleet import need_programs
from ansible_collections.lockstep.images.tests.support.pulling import (
    BLOB,
    LAYER,
    Puller,
    serving,
)
from ansible_collections.lockstep.images.tests.support.registry import Registry
from ansible_collections.lockstep.images.tests.support.services_process import unmount_below


@pytest.fixture(name="containerd")
def fixture_containerd(directory: Path) -> Iterator[services.Service]:
    """Provide a containerd that has nothing yet."""
    need_programs("containerd", "ctr")
    with services.containerd(directory / "c") as daemon:
        yield daemon


def failure_of(*command: str) -> str:
    """Return what a program says when it fails, "" when it works."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return (done.stderr or "it failed without a word") if done.returncode else ""


def failure_of_ctr(daemon: services.Service, name: str, *options: str) -> str:
    """How ctr fails to fetch an image, "" when it works."""
    command = ["ctr", "--address", daemon.address, "content", "fetch", *options, name]
    return failure_of(*command)


def failure_of_skopeo(directory: Path, name: str, *options: str) -> str:
    """How skopeo fails to copy an image, "" when it works."""
    places = [f"docker://{name}", f"dir:{directory}/skopeo"]
    return failure_of("skopeo", "copy", "--quiet", *options, *places)


@contextlib.contextmanager
def fronted() -> Iterator[tuple[Registry, Registry]]:
    """Provide a front that redirects everything to a registry, which gives tokens to everybody."""
    with Registry() as front, serving(auth="bearer", anonymous_pull=True) as registry:
        to_registry = Fault(
            method="HEAD|GET",
            path="^/v2/",
            redirect=lambda target: registry.url + target,
            times=None,
            before_auth=True,
        )
        front.faults.append(to_registry)
        yield front, registry


def test_F06_pull_through_a_front_of_a_registry_with_tokens_succeeds(
    directory: Path, containerd: services.Service
) -> None:
    """As containerd does; skopeo answers no challenge but that of the front."""
    need_programs("skopeo")
    with fronted() as (front, registry):
        name = f"{front.address}/demo/app:1.0"
        assert not failure_of_ctr(containerd, name, "--plain-http")
        assert "unauthorized" in failure_of_skopeo(directory, name, "--src-tls-verify=false")
        registry.clear()
        Puller(directory, front).pull()
        assert {one.user for one in registry.token_requests} == {None}


def test_F06_docker_also_pulls_through_a_front(
    directory: Path, containerd: services.Service
) -> None:
    need_programs("dockerd", "docker")
    with contextlib.ExitStack() as stack:
        daemon = stack.enter_context(services.dockerd(directory / "d", containerd.address))
        front, registry = stack.enter_context(fronted())
        name = f"{front.address}/demo/app:1.0"
        assert not failure_of("docker", "-H", daemon.url, "pull", "-q", name)
        registry.clear()
        Puller(directory, front).pull()
    assert unmount_below(directory) == []


@pytest.mark.parametrize("status", [400, 403, 404, 410])
def test_F07_refusal_by_an_object_store_is_reported(
    directory: Path, containerd: services.Service, status: int
) -> None:
    """Once, and for good: skopeo and ctr end at once, and blame the registry or nobody."""
    need_programs("skopeo")
    with serving() as registry, Registry() as bucket:
        bucket.files["/bucket/x"] = BLOB
        where = f"{bucket.url}/bucket/x"
        registry.faults.append(Fault(path=f"/blobs/{LAYER}", redirect=where, times=None))
        bucket.faults.append(Fault(path="^/bucket/", status=status, times=None))
        name = f"{registry.address}/demo/app:1.0"
        for failure in (
            failure_of_ctr(containerd, name, "--plain-http"),
            failure_of_skopeo(directory, name, "--src-tls-verify=false"),
        ):
            assert failure
            assert bucket.address not in failure
        error = Puller(directory, registry).fails()
        assert f"{where}, to which {registry.address} redirects" in str(error)
        bucket.faults[:] = [Fault(path="^/bucket/", status=status)]
        Puller(directory, registry).pull()


LINKS = ["https://{host}", "http://127.0.0.1", "http://127.0.0.1:5000", "//127.0.0.1"]


@pytest.mark.parametrize("where", LINKS)
def test_F10_next_page_at_another_scheme_or_port_is_followed_as_by_skopeo(
    directory: Path, where: str
) -> None:
    need_programs("skopeo")
    with serving() as registry:
        base = where.format(host=registry.address)
        link = {"Link": f'<{base}/v2/demo/app/tags/list?last=a>; rel="next"'}
        found = []
        for _time in range(2):
            registry.faults[:] = [
                Fault(path="/tags/list", headers=link, body={"tags": ["a"]}),
                Fault(path="/tags/list", body={"tags": ["b"]}),
            ]
            if not found:
                command = ["skopeo", "list-tags", "--tls-verify=false"]
                said = subprocess.check_output([*command, f"docker://{registry.address}/demo/app"])
                found.append(json.loads(said)["Tags"])
            else:
                name = Reference.parse(f"{registry.address}/demo/app")
                found.append(Puller(directory, registry).sources.origin(name).tags())
        assert found == [["a", "b"]] * 2


def test_F31_object_store_can_have_a_certificate_of_another_authority(directory: Path) -> None:
    """One directory of certificates does it for skopeo, which trusts a registry and where it leads alike."""
    need_programs("skopeo")
    ca = certificates.authority("store").certificate
    tls = certificates.authority("store").issue("server")
    with serving(tls=tls) as registry, Registry(tls=tls) as bucket:
        bucket.files["/bucket/x"] = BLOB
        where = f"{bucket.url}/bucket/x"
        registry.faults.append(Fault(path=f"/blobs/{LAYER}", redirect=where, times=None))
        name, trusted = f"{registry.address}/demo/app:1.0", directory / "trusted"
        trusted.mkdir()
        trusted.joinpath("ca.crt").write_bytes(ca.read_bytes())
        assert "certificate" in failure_of_skopeo(directory, name)
        assert not failure_of_skopeo(directory, name, f"--src-cert-dir={trusted}")
        error = Puller(directory, registry, ca_path=str(ca)).fails()
        assert f"in an entry of registries for {bucket.address}" in error.hint
        settings = [{"registry": bucket.address, "ca_path": str(ca)}]
        Puller(directory, registry, settings=settings, ca_path=str(ca)).pull()
