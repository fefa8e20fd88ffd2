# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Names, manifests, answers and proxies of every kind: our verdict is that of docker, skopeo and ctr."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import socket
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._image import errors
from ansible_collections.lockstep.images.plugins.module_utils._image.manifest import (
    OCI_CONFIG,
    OCI_INDEX,
    OCI_MANIFEST,
)
from ansible_collections.lockstep.images.plugins.module_utils._image.names import Reference
from ansible_collections.lockstep.images.plugins.module_utils._registry.client import (
    HttpClient,
    HttpOptions,
)
from ansible_collections.lockstep.images.tests.support import images, services
from ansible_collections.lockstep.images.tests.support.faults import Fault
from ansible_collections.lockstep.images.tests.support.fleet import COPY, need_docker, need_programs
from ansible_collections.lockstep.images.tests.support.playbook import PlayRunner, one_task
from ansible_collections.lockstep.images.tests.support.proxy import ConnectProxy
from ansible_collections.lockstep.images.tests.support.pulling import Puller
from ansible_collections.lockstep.images.tests.support.registry import (
    Registry as EmbeddedRegistry,
)
from ansible_collections.lockstep.images.tests.support.services_process import (
    free_port,
    program,
    run,
    running,
)
from ansible_collections.lockstep.images.tests.support.tables import Case, params, table

SMALL = images.image([images.layer({"file": b"x" * 5000})])
LOGIN = "demo:secret-w0rd"
HOST = "a-host-with-a-long-name.registry.example:5000"


def ours_takes(text: str) -> bool:
    """Return whether we take a name."""
    try:
        Reference.parse(text)
    except errors.ReferenceError:
        return False
    return True


def docker_takes(text: str) -> bool:
    """Return whether docker does, which reads a name before it looks for its daemon."""
    command = ["docker", "-H", "unix:///nonexistent", "pull", "-q", text]
    said = subprocess.run(command, capture_output=True, text=True, check=False).stderr
    assert "must not be more than 255" in said or "Cannot connect" in said, said
    return "Cannot connect" in said


@pytest.mark.parametrize("host", ["", f"{HOST}/", "[fc00::1]:5000/"])
@pytest.mark.parametrize("length", [247, 248, 255, 256])
def test_F11_a_name_is_as_long_as_docker_lets_it_be(host: str, length: int) -> None:
    """docker before 27 and skopeo before 1.14 count the host too, as distribution/reference did before v0.6."""
    need_docker(27)
    name = f"{host}{'a' * length}:tag"
    assert ours_takes(name) is docker_takes(name)


@pytest.fixture(scope="module")
def refusing() -> Iterator[ConnectProxy]:
    """Provide a proxy that refuses every host, and knows who was asked for."""
    with ConnectProxy(("127.0.0.1", 9), ()) as proxy:
        yield proxy


LOOK = {
    "docker": ["docker", "-H", "unix:///nonexistent", "manifest", "inspect"],
    "skopeo": ["skopeo", "inspect"],
}


def look(host: str, environment: Mapping[str, str]) -> str:
    """Return what a tool says of an image on a host that cannot be reached, given a second.

    skopeo takes no address of IPv6 for a registry.
    """
    tool = "docker" if "[" in host else "skopeo"
    if tool == "docker":
        need_docker(27)
    need_programs(tool)
    transport = "docker://" if tool == "skopeo" else ""
    clean = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
    done = subprocess.run(
        ["timeout", "1", *LOOK[tool], f"{transport}{host}/x"],
        capture_output=True,
        text=True,
        check=False,
        env={**clean, **environment},
    )
    assert done.returncode
    return done.stderr


@pytest.mark.parametrize("case", params(table("proxies", "exceptions"), "no_proxy"))
def test_F08_other_tools_ask_the_same_hosts_through_a_proxy(
    refusing: ConnectProxy, case: Case
) -> None:
    """Names of .test and addresses for documentation: nobody is there without the proxy either."""
    refusing.asked.clear()
    look(case["host"], {"HTTPS_PROXY": refusing.url, "NO_PROXY": case["no_proxy"]})
    assert (not refusing.asked) is case.get("go", case["direct"])


@pytest.fixture(scope="module")
def tinyproxy(workspace: Path) -> Iterator[str]:
    """``host:port`` of a tinyproxy that wants a login, and opens tunnels to port 443 alone."""
    need_programs("tinyproxy")
    directory, port = workspace / "tinyproxy", free_port()
    directory.mkdir()
    config = directory / "tinyproxy.conf"
    config.write_text(
        f"Port {port}\nListen 127.0.0.1\nConnectPort 443\nBasicAuth {LOGIN.replace(':', ' ')}\n"
    )

    def answers() -> bool:
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", port), 1).close()
            return True
        return False

    command = [program("tinyproxy"), "-d", "-c", os.fspath(config)]
    log = directory / "log"
    with running(command, directory=directory, log=log, ready=answers):
        yield f"127.0.0.1:{port}"


# What tinyproxy answers: the login it is shown, the host it is asked for, and its words.
ANSWERS = {
    407: ("", "registry.test", "Proxy Authentication Required"),
    401: ("demo:wrong@", "registry.test", "Unauthorized"),
    403: (f"{LOGIN}@", "registry.test:5000", "Access violation"),
    500: (f"{LOGIN}@", "registry.test", "Unable to connect"),
}


@pytest.mark.parametrize("status", ANSWERS)
def test_F08_answer_of_a_proxy_is_reported_as_by_skopeo(
    tinyproxy: str, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    login, host, words = ANSWERS[status]
    assert words in look(host, {"HTTPS_PROXY": f"http://{login}{tinyproxy}"})
    monkeypatch.setenv("HTTPS_PROXY", f"{login}{tinyproxy}")
    with pytest.raises(errors.UnreachableError) as caught:
        HttpClient(HttpOptions(retries=0)).request("GET", f"https://{host}/v2/")
    said = f"the proxy http://{tinyproxy} of HTTPS_PROXY answered {status} ({words})"
    assert str(caught.value) == f"https://{host}/v2/: {said}"
    assert LOGIN not in caught.value.hint


@pytest.fixture(scope="module")
def containerd(workspace: Path) -> Iterator[str]:
    """Provide the address of a containerd."""
    need_programs("containerd", "ctr")
    with services.containerd(workspace / "side" / "c") as runtime:
        yield runtime.address


@pytest.fixture(scope="module")
def docker(workspace: Path, containerd: str) -> Iterator[dict[str, str]]:
    """Provide the environment in which the command docker speaks to a dockerd of its own."""
    need_programs("docker", "dockerd")
    with services.dockerd(workspace / "side" / "d", containerd) as daemon:
        yield services.docker_env(daemon, workspace / "side" / "client")


REFUSED = [400, 401, 403, 405]


@pytest.fixture()
def refusing_tags(play: PlayRunner, local: Path) -> Iterator[Callable[[int], EmbeddedRegistry]]:
    """Provide a registry that refuses, with this status, tags which ``demo/target`` lacks; our copy is there."""
    with EmbeddedRegistry() as registry:

        def prepare(status: int) -> EmbeddedRegistry:
            images.push(registry, "demo/source", SMALL, "1")
            path = "/demo/target/.*manifests/"
            fault = Fault(method="HEAD|GET", path=path, missing_as=status, times=None)
            registry.faults.append(fault)
            name, target = f"{registry.address}/demo/source:1", f"{registry.address}/demo/target"
            task = one_task(COPY, name=[name], destination=target)
            assert play(task, local).ok().one(COPY)["changed"]
            assert not play(task, local).ok().one(COPY)["changed"]
            assert registry.manifest("demo/target/demo/source", "1") == SMALL.raw
            return registry

        yield prepare


@pytest.mark.parametrize("status", REFUSED)
def test_F05_docker_pushes_to_a_registry_that_refuses_tags_too(
    refusing_tags: Callable[[int], EmbeddedRegistry], docker: dict[str, str], status: int
) -> None:
    """As Artifactory does for tags that are not there. docker looks at no tag before it pushes."""
    registry = refusing_tags(status)
    source, target = (f"{registry.address}/demo/{name}:1" for name in ("source", "target"))
    run(["docker", "pull", "--quiet", source], env=docker)
    run(["docker", "tag", source, target], env=docker)
    run(["docker", "push", "--quiet", target], env=docker)
    assert registry.storage.tags("demo/target") == ["1"]


@pytest.mark.parametrize("status", REFUSED)
def test_F05_skopeo_copies_to_a_registry_that_refuses_tags_too(
    refusing_tags: Callable[[int], EmbeddedRegistry], status: int
) -> None:
    need_programs("skopeo")
    place = f"docker://{refusing_tags(status).address}/demo"
    insecure = ["--src-tls-verify=false", "--dest-tls-verify=false"]
    run(["skopeo", "copy", *insecure, f"{place}/source:1", f"{place}/target:1"])


LAYER = images.layer({"file": b"x" * 100})


def described(raw: bytes, media_type: str, **more: object) -> dict[str, object]:
    """Return a descriptor of some bytes."""
    digest = f"sha256:{hashlib.sha256(raw).hexdigest()}"
    return {"mediaType": media_type, "digest": digest, "size": len(raw), **more}


def publish(registry: EmbeddedRegistry, case: Case) -> str:
    """Serve an image for linux/amd64 with the nulls of a case, and return its name."""
    part, change = case["part"], case["patch"]
    is_empty = case["case"].startswith(("layers-", "diff_ids-", "rootfs-"))
    plain = images.image([] if is_empty else [LAYER])
    config = json.loads(plain.config) | (change if part == "config" else {})
    layer_change = change if part == "layer" else {}
    blob = json.dumps(config).encode()
    document = json.loads(plain.raw) | {"config": described(blob, OCI_CONFIG)}
    document["layers"] = [{**one, **layer_change} for one in document["layers"]]
    document |= change if part == "image" else {}
    repository = "demo/" + re.sub("[^a-z]+", "-", case["case"].lower())
    for content in (blob, LAYER.blob):
        registry.add_blob(repository, content)
    media_type = OCI_MANIFEST
    if part in ("index", "entry"):
        raw, media_type = json.dumps(document).encode(), OCI_INDEX
        registry.add(repository, raw, OCI_MANIFEST)
        platform = {"os": "linux", "architecture": "amd64"}
        entry = described(raw, OCI_MANIFEST, platform=platform) | (
            change if part == "entry" else {}
        )
        document = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [entry]}
        document |= change if part == "index" else {}
    document = {key: value for key, value in document.items() if key not in case.get("drop", ())}
    registry.add(repository, json.dumps(document).encode(), media_type, "1")
    return f"{registry.address}/{repository}:1"


@pytest.mark.parametrize("case", params(table("nulls", "nulls"), "case"))
def test_F09_null_is_taken_as_the_tools_of_the_table_take_it(
    containerd: str, docker: dict[str, str], directory: Path, case: Case
) -> None:
    need_programs("skopeo")
    with EmbeddedRegistry() as registry:
        name = publish(registry, case)
        amd64 = ["--override-os=linux", "--override-arch=amd64", "--src-tls-verify=false"]
        pull = ["images", "pull", "--plain-http", "--platform=linux/amd64", "--snapshotter=native"]
        commands = {
            "ctr": ["ctr", "--address", containerd, *pull, name],
            "docker": ["docker", "pull", "--quiet", "--platform=linux/amd64", name],
            "skopeo": ["skopeo", "copy", *amd64, f"docker://{name}", f"oci:{directory}/oci:1"],
        }
        taken = [tool for tool, command in commands.items() if works(command, docker)]
        assert taken == case["taken_by"]
        puller = Puller(directory, registry)
        nothing = case["case"].startswith("index-manifests-")
        error = puller.attempt(name)
        assert (error is None) is (case["ours"] and not nothing)
        assert not nothing or (error and error.kind == "platform-not-found")


def works(command: list[str], environment: Mapping[str, str]) -> bool:
    """Return whether a command succeeds."""
    given = {**os.environ, **environment}
    return not subprocess.run(command, capture_output=True, check=False, env=given).returncode
