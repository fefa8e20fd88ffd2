# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Files with logins, registries.conf and hosts.toml, read by their own tools and by us, side by side."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._image.errors import InputError
from ansible_collections.lockstep.images.plugins.module_utils._image.names import Reference
from ansible_collections.lockstep.images.plugins.module_utils._registry.credentials import (
    Credentials,
)
from ansible_collections.lockstep.images.plugins.module_utils._registry.hostfiles import HostFiles
from ansible_collections.lockstep.images.plugins.module_utils._registry.loginfiles import (
    AuthFile,
    AuthPlace,
)
from ansible_collections.lockstep.images.plugins.module_utils._registry.mirrors import Endpoint
from ansible_collections.lockstep.images.tests.support import certificates, modules, services
from ansible_collections.lockstep.images.tests.support.fleet import need_programs
from ansible_collections.lockstep.images.tests.support.images import demo_image, push
from ansible_collections.lockstep.images.tests.support.logins import write_case
from ansible_collections.lockstep.images.tests.support.registry import Registry
from ansible_collections.lockstep.images.tests.support.tables import params, table
from ansible_collections.lockstep.images.tests.support.users import LAUNCHER, public_directory

USER, PASSWORD = "demo", "pw-hunter22"
# Docker reads one JSON value and does not look at what follows; skopeo does not know credsStore.
ALONE = {("docker", "something after the end"), ("skopeo", "a helper for all that is a number")}


@pytest.fixture(scope="module", name="registry")
def fixture_registry() -> Iterator[Registry]:
    """Provide a registry that wants a login, with TLS, which docker's client insists on; before 27 it reads no OCI index."""
    need_programs("skopeo", "podman", "docker")
    users = {USER: PASSWORD}
    with Registry(auth="basic", users=users, tls=certificates.server()) as registry:
        for name in ("org/app", "other/app"):
            push(registry, name, demo_image("app", "1", docker=True), "1")
        yield registry


def ask(command: list[str], **env: str) -> str:
    """Run a program; "" if it succeeds, else what it says."""
    done = subprocess.run(
        command,
        env={"PATH": os.environ["PATH"], **env},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stderr if done.returncode else ""


def skopeo(registry: Registry, authfile: Path, name: str = "org/app", **env: str) -> str:
    command = ["skopeo", "inspect", "--raw", "--tls-verify=false", "--authfile", str(authfile)]
    return ask([*command, f"docker://{registry.address}/{name}:1"], **env)


def test_F15_a_login_that_is_not_utf_8_is_sent_as_docker_and_skopeo_send_it(
    registry: Registry, directory: Path
) -> None:
    path, auth = directory / "config.json", base64.b64encode(b"demo:caf\xe9").decode("ascii")
    path.write_text(json.dumps({"auths": {registry.address: {"auth": auth}}}))
    who = AuthFile.load(AuthPlace(str(path))).find(registry.address, "org/app")
    for program, where in ((skopeo, path), (docker, directory)):
        registry.clear()
        assert program(registry, where)
        assert f"Basic {auth}" in {one.headers.get("authorization") for one in registry.requests}
    assert who and who.basic == f"Basic {auth}"


def docker(registry: Registry, config: Path) -> str:
    command = ["docker", "--config", str(config), "manifest", "inspect", "--insecure"]
    return ask([*command, f"{registry.address}/org/app:1"])


def test_F15_a_login_that_docker_or_skopeo_finds_is_found(
    registry: Registry, directory: Path
) -> None:
    """Each case of the table. Differences between versions of these programs do not fail."""
    wrong, taken = [], {"docker": 0, "skopeo": 0}
    for case in table("credentials", "taken"):
        path = directory / "config.json"
        write_case(path, case, registry.address)
        verdicts = {"docker": docker(registry, directory), "skopeo": skopeo(registry, path)}
        try:
            found = AuthFile.load(AuthPlace(str(path))).find(registry.address, "org/app")
        except InputError:
            found = None
        for name, refusal in verdicts.items():
            taken[name] += not refusal
            lost = not refusal and found != Credentials(USER, PASSWORD)
            if lost:
                wrong.append((name, case["case"]))
    assert set(wrong) <= ALONE
    assert taken["docker"] > 25 and taken["skopeo"] > 15


def test_F16_a_login_for_a_namespace_is_that_of_podman(registry: Registry, directory: Path) -> None:
    """Each reads and removes what the other has written."""
    ours, theirs = directory / "ours.json", directory / "theirs.json"
    scope = f"{registry.address}/org"
    task: dict[str, Any] = {"registry_url": scope, "config_path": str(ours)}
    login = {"username": USER, "password": PASSWORD, "validate_certs": False}
    assert not modules.run("registry_login", **task, **login).failed
    podman = ["podman", "login", "--tls-verify=false", "--authfile", str(theirs)]
    assert (
        ask([*podman, "--username", USER, "--password", PASSWORD, scope], HOME=str(directory)) == ""
    )
    assert json.loads(ours.read_text()) == json.loads(theirs.read_text())
    for path in (ours, theirs):
        assert skopeo(registry, path) == ""
        assert "unauthorized" in skopeo(registry, path, "other/app")
        found = [
            AuthFile.load(AuthPlace(str(path))).find(registry.address, name)
            for name in ("org/app", "other/app")
        ]
        assert found == [Credentials(USER, PASSWORD), None]
    logout = ["podman", "logout", "--authfile", str(ours), scope]
    assert ask(logout, HOME=str(directory)) == ""
    gone = {**task, "config_path": str(theirs), "state": "absent"}
    assert modules.run("registry_login", **gone).result["changed"]
    for path in (ours, theirs):
        assert not json.loads(path.read_text()).get("auths")


@pytest.mark.parametrize("case", params(table("registries", "conf"), "case"))
def test_F33_a_registries_conf_that_skopeo_refuses_is_refused(
    case: Mapping[str, Any], directory: Path
) -> None:
    need_programs("skopeo")
    path = directory / ".config/containers/registries.conf"
    path.parent.mkdir(parents=True)
    path.write_bytes(case["file"].encode(case.get("encoding", "utf-8")))
    said = ask(["skopeo", "inspect", "docker://127.0.0.1:1/app:1"], HOME=str(directory))
    is_refused = "loading registries configuration" in said
    try:
        HostFiles({}, str(directory), str(directory / "none")).rule("127.0.0.1:1/app")
        is_refused_by_us = False
    except InputError as exc:
        is_refused_by_us = True
        assert str(path) in str(exc)
    assert is_refused_by_us == is_refused or "stricter" in case


def test_F33_a_block_with_a_capital_blocks_for_skopeo_and_for_us(directory: Path) -> None:
    need_programs("skopeo")
    path = directory / ".config/containers/registries.conf"
    path.parent.mkdir(parents=True)
    path.write_text('[[Registry]]\nLocation = "127.0.0.1:1"\nBLOCKED = true\n')
    said = ask(["skopeo", "inspect", "docker://127.0.0.1:1/app:1"], HOME=str(directory))
    assert "is blocked" in said
    rule = HostFiles({}, str(directory), str(directory / "none")).rule("127.0.0.1:1/app")
    assert rule and rule[1]["blocked"] is True


@pytest.fixture(scope="module", name="runtime")
def fixture_runtime(workspace: Path) -> Iterator[services.Service]:
    need_programs("containerd", "ctr")
    with services.containerd(workspace / "ctr") as runtime:
        yield runtime


@pytest.mark.parametrize("case", params(table("registries", "hosts_conf"), "case"))
def test_F33_a_hosts_toml_that_containerd_refuses_is_refused(
    case: Mapping[str, Any], directory: Path, runtime: services.Service
) -> None:
    """containerd continues without a file that it rejects; we report the fault in it."""
    place = directory / "etc/containerd/certs.d"
    path = place / "127.0.0.1:1" / "hosts.toml"
    path.parent.mkdir(parents=True)
    path.write_text(case["file"], encoding="utf-8")
    pull = ["ctr", "--address", runtime.address, "image", "pull", "--hosts-dir", str(place)]
    # The last line is of the first place that it tried.
    is_taken = "127.0.0.2" in ask([*pull, "127.0.0.1:1/org/app:1"]).splitlines()[-1]
    files = HostFiles({}, str(directory), str(directory))
    try:
        found = files.places(
            Reference.parse("127.0.0.1:1/org/app:1"), lambda name: Endpoint(name, name=name)
        )
    except InputError as exc:
        assert str(path) in str(exc)
        found = []
    assert bool(found) == is_taken or "stricter" in case


@pytest.fixture(name="closed")
def fixture_closed() -> Iterator[None]:
    """/run/containers as podman leaves it when root has used it."""
    need_programs("podman")
    path = Path("/run/containers")
    mode = path.stat().st_mode & 0o7777 if path.exists() else None
    path.mkdir(mode=0o700, exist_ok=True)
    path.chmod(0o700)
    try:
        yield
    finally:
        if mode is not None:
            path.chmod(mode)
        else:
            with contextlib.suppress(OSError):  # another test's podman may use it now
                path.rmdir()


@pytest.mark.usefixtures("closed")
@pytest.mark.parametrize("home", ["own", "/root", "/nonexistent/home"])
def test_F14_an_ordinary_user_pulls_where_root_has_used_podman(home: str) -> None:
    """Without XDG_RUNTIME_DIR, as become_user leaves a task; docker's client is as content."""
    need_programs("docker")
    with public_directory() as own, Registry(tls=certificates.server()) as registry:
        if subprocess.run(
            [*LAUNCHER, sys.executable, "-c", "import requests"], check=False
        ).returncode:
            pytest.skip("the checkout is in a directory that an ordinary user may not enter")
        push(registry, "org/app", demo_image("app", "1", docker=True), "1")
        env = {"HOME": str(own) if home == "own" else home}
        outcome = modules.run(
            "image_pull",
            name=f"{registry.address}/org/app:1",
            store=str(own / "store"),
            validate_certs=False,
            use_host_config=True,
            launcher=LAUNCHER,
            env=env,
        )
        assert not outcome.failed, outcome.result["msg"]
        inspect = ["docker", "manifest", "inspect", "--insecure", f"{registry.address}/org/app:1"]
        assert ask([*LAUNCHER, *inspect], **env) == ""
