# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role registry with Debian's docker-registry: logins, TLS, a cache, and the collection of garbage."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sys
import time
import typing as t
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests
from ansible_collections.lockstep.images.tests.support import certificates, modules
from ansible_collections.lockstep.images.tests.support.fleet import need_programs
from ansible_collections.lockstep.images.tests.support.images import demo_image, push
from ansible_collections.lockstep.images.tests.support.playbook import (
    PlayResult,
    PlayRunner,
    local_host,
)
from ansible_collections.lockstep.images.tests.support.registry import Registry
from ansible_collections.lockstep.images.tests.support.services_process import program, run
from ansible_collections.lockstep.images.tests.support.stores import put

SYSTEMCTL = Path(os.path.abspath(__file__)).parents[1] / "support" / "fakesystemctl.py"
ALICE = {"username": "alice", "password": "Correct-Horse 1"}
BOB = {"username": "bob", "password": "b"}
NAME = "lockstep-registry"


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@dataclass
class Site:
    """A host with a registry, whose services run without systemd."""

    path: Path
    play: PlayRunner
    port: int

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def run(self, check: bool = False, diff: bool = False, **variables: t.Any) -> PlayResult:
        """Run the role."""
        play = {"hosts": "all", "gather_facts": False, "roles": ["lockstep.images.registry"]}
        inventory = self.play.inventory({"hub": local_host(self.path)})
        variables = {
            "registry_address": self.address,
            "registry_config_path": str(self.path / "config"),
            "registry_storage_path": str(self.path / "storage"),
            "registry_unit_path": str(self.path / "units"),
            **variables,
        }
        path = os.pathsep.join([str(self.path / "bin"), self.play.environment["PATH"]])
        text = json.dumps([play], indent=2)
        return self.play(
            text, inventory, variables, check=check, diff=diff, environment={"PATH": path}
        )

    def systemctl(self, *words: str) -> None:
        assert (
            os.spawnv(os.P_WAIT, str(self.path / "bin" / "systemctl"), ["systemctl", *words]) == 0
        )

    def blobs(self) -> int:
        """Return how many blobs the registry has on its disk."""
        return len(list((self.path / "storage").glob("docker/registry/v2/blobs/*/*/*/data")))


def wait_until_answered(site: Site) -> None:
    for _attempt in range(100):
        with contextlib.suppress(requests.RequestException):
            if requests.get(f"http://{site.address}/v2/", timeout=10).ok:
                return
        time.sleep(0.1)


@pytest.fixture(name="site")
def fixture_site(tmp_path: Path, play: PlayRunner) -> Iterator[Site]:
    need_programs("docker-registry", "htpasswd")
    for name in ("bin", "units"):
        (tmp_path / name).mkdir()
    (tmp_path / "units" / "docker-registry.service").touch()
    for parent in (tmp_path, *tmp_path.parents):
        if parent.stat().st_uid == os.geteuid() and parent != Path("/tmp"):
            parent.chmod(parent.stat().st_mode | 0o011)
    fake = tmp_path / "bin" / "systemctl"
    fake.write_text(f'#!/bin/sh\nexec {sys.executable} {SYSTEMCTL} {tmp_path / "units"} "$@"\n')
    fake.chmod(0o755)
    site = Site(tmp_path, play, free_port())
    yield site
    for unit in (tmp_path / "units").glob("*.pid"):
        site.systemctl("stop", unit.stem)


def moved(module: str, **params: t.Any) -> modules.Outcome:
    outcome = modules.run(module, **params)
    assert not outcome.failed, outcome.result
    return outcome


def test_registry_with_logins_and_tls_is_set_up_once(site: Site) -> None:
    pair = certificates.server()
    variables = {
        "registry_tls": "files",
        "registry_tls_cert_src": str(pair.certificate),
        "registry_tls_key_src": str(pair.key),
        "registry_users": [ALICE, BOB],
    }
    site.run(check=True, **variables)
    assert not (site.path / "config").exists()
    first = site.run(**variables).ok()
    assert ALICE["password"] not in first.output + json.dumps([one.result for one in first.tasks])
    assert site.run(**variables).ok().changed == 0
    users = (site.path / "config" / f"{NAME}.htpasswd").read_text()
    assert [line.split(":")[0] for line in users.splitlines()] == ["alice", "bob"]
    assert all(":$2y$10$" in line for line in users.splitlines())

    url, ca = f"https://{site.address}/v2/", str(certificates.authority().certificate)
    logins = [None, ("alice", ALICE["password"]), ("alice", "wrong")]
    answers = [requests.get(url, auth=auth, verify=ca, timeout=10).status_code for auth in logins]
    assert answers == [401, 200, 401]
    with pytest.raises(requests.exceptions.SSLError):
        requests.get(url, timeout=10)

    changed = {**ALICE, "password": "Another 2"}
    assert site.run(**{**variables, "registry_users": [changed]}).ok().changed == 2
    auth = ("alice", changed["password"])
    assert requests.get(url, auth=auth, verify=ca, timeout=10).status_code == 200
    auth = ("bob", BOB["password"])
    assert requests.get(url, auth=auth, verify=ca, timeout=10).status_code == 401


def test_hash_that_the_registry_cannot_read_is_replaced(site: Site) -> None:
    variables = {"registry_users": [ALICE, BOB]}
    site.run(registry_start=False, **variables).ok()
    users = site.path / "config" / f"{NAME}.htpasswd"
    for user in (ALICE, BOB):
        command = ["htpasswd", "-b", "-m", str(users), user["username"], user["password"]]
        run([program(command[0]), *command[1:]])
    assert users.read_text().count(":$apr1$") == 2
    assert site.run(**variables).ok().changed > 0
    assert users.read_text().count(":$2y$10$") == 2
    auth = ("alice", ALICE["password"])
    assert requests.get(f"http://{site.address}/v2/", auth=auth, timeout=10).status_code == 200
    assert site.run(**variables).ok().changed == 0


def test_expired_certificate_is_refused(site: Site) -> None:
    pair = certificates.expired()
    done = site.run(
        registry_tls="files",
        registry_tls_cert_src=str(pair.certificate),
        registry_tls_key_src=str(pair.key),
    )
    path = site.path / "config" / f"{NAME}.crt"
    assert done.returncode and f"The certificate {path} has expired. Replace it." in done.output
    assert not list((site.path / "units").glob("*.pid"))


def test_program_that_has_taken_the_address_is_not_the_registry(site: Site) -> None:
    """Also if it answers as a registry does."""
    with Registry(port=site.port):
        done = site.run()
    assert done.returncode
    assert f"Another program answers at http://{site.address}/v2/. Stop it" in done.output


def test_registry_without_content_has_no_garbage(site: Site) -> None:
    site.run().ok()
    site.systemctl("start", f"{NAME}-gc.service")
    assert requests.get(f"http://{site.address}/v2/", timeout=10).ok


def test_push_that_garbage_collection_interrupts_is_repeated(site: Site) -> None:
    site.run().ok()
    item = demo_image("app", "1")
    put(site.path / "store", item, f"{site.address}/app:1")
    put(site.path / "store", demo_image("tool", "1"), f"{site.address}/tool:1")
    name, store = f"{site.address}/app:1", str(site.path / "store")
    moved("image_push", name=[f"{site.address}/tool:1"], store=store, plain_http=True)
    url = f"http://{site.address}/v2/app/blobs"
    upload = requests.post(f"{url}/uploads/", timeout=10).headers["Location"]
    layer = item.for_platform("linux/amd64").layers[0]
    half = len(layer.blob) // 2
    upload = requests.patch(upload, data=layer.blob[:half], timeout=10).headers["Location"]
    site.systemctl("start", f"{NAME}-readonly.service")
    wait_until_answered(site)
    separator = "&" if "?" in upload else "?"
    rest = f"{upload}{separator}digest={layer.digest}"
    assert requests.put(rest, data=layer.blob[half:], timeout=10).status_code == 405
    refused = modules.run("image_push", name=[name], store=store, plain_http=True)
    assert refused.kind == "push-refused"
    site.systemctl("start", f"{NAME}-gc.service")
    moved("image_push", name=[name], store=store, plain_http=True)
    moved("image_pull", name=[name], store=str(site.path / "other"), plain_http=True)


def test_garbage_is_collected_while_the_registry_refuses_pushes(site: Site) -> None:
    site.run().ok()
    put(site.path / "store", demo_image("app", "1"), f"{site.address}/app:1")
    put(site.path / "store", demo_image("tool", "1"), f"{site.address}/tool:1")
    names = [f"{site.address}/app:1", f"{site.address}/tool:1"]
    moved("image_push", name=names, store=str(site.path / "store"), plain_http=True)
    before = site.blobs()
    moved("registry_remove", name=[names[0]], by="digest", plain_http=True)
    site.systemctl("start", f"{NAME}-gc.service")
    assert 0 < site.blobs() < before
    calls = (site.path / "units" / "calls").read_text().splitlines()
    assert calls[-2:] == [f"start {NAME}-readonly.service", f"start {NAME}.service"]
    moved("image_pull", name=[names[1]], store=str(site.path / "other"), plain_http=True)

    site.systemctl("start", f"{NAME}-readonly.service")
    site.run(registry_gc="").ok()
    assert not list((site.path / "units").glob("*-gc.timer"))


def test_cache_asks_its_registry_once_and_takes_no_push(site: Site) -> None:
    with Registry() as upstream:
        push(upstream, "demo/app", demo_image("app", "1"), "1")
        variables = {"registry_mode": "cache", "registry_upstream": f"http://{upstream.address}"}
        site.run(**variables).ok()
        assert site.run(**variables).ok().changed == 0
        name = f"{site.address}/demo/app:1"
        moved("image_pull", name=[name], store=str(site.path / "one"), plain_http=True)
        assert any("/blobs/" in one.path for one in upstream.requests)
        upstream.clear()
        moved("image_pull", name=[name], store=str(site.path / "two"), plain_http=True)
        assert not [one for one in upstream.requests if "/blobs/" in one.path]
        tool = f"{site.address}/demo/tool:1"
        put(site.path / "one", demo_image("tool", "1"), tool)
        refused = modules.run(
            "image_push", name=[tool], store=str(site.path / "one"), plain_http=True
        )
        assert refused.failed


def test_secrets_of_a_configuration_are_not_shown(site: Site) -> None:
    secrets = {
        "registry_upstream_password": "Upstream-Secret",
        "registry_secret": "Upload-Secret",
        "registry_settings": {"storage": {"s3": {"secretkey": "Storage-Secret"}}},
    }
    cache = {"registry_mode": "cache", "registry_upstream": "http://127.0.0.1:1"}
    done = site.run(diff=True, registry_start=False, **cache, **secrets).ok()
    config = (site.path / "config" / f"{NAME}.yml").read_text()
    assert "Upstream-Secret" in config and "Storage-Secret" in config
    assert "filesystem" not in config  # a registry with two drivers does not start
    shown = done.output + json.dumps([one.result for one in done.tasks])
    assert "-Secret" not in shown


def test_cache_needs_a_registry(site: Site) -> None:
    done = site.run(registry_mode="cache")
    assert done.returncode and "registry_mode=cache needs registry_upstream" in done.output
