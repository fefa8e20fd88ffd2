# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Content from somewhere else than the registry in a name: a docker-registry that is a cache, a
mirror that lies, and what the files of a host say.
"""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.lockstep.images.tests.devtools.environment import CORES
from ansible_collections.lockstep.images.tests.support import (
    certificates,
    images,
    layout,
    modules,
    registry,
    services,
)
from ansible_collections.lockstep.images.tests.support.faults import Fault
from ansible_collections.lockstep.images.tests.support.fleet import (
    DEMO,
    PULL,
    Registry,
    need_programs,
    pull_four_times,
)
from ansible_collections.lockstep.images.tests.support.hostfiles import python_with_etc
from ansible_collections.lockstep.images.tests.support.nginx import nginx
from ansible_collections.lockstep.images.tests.support.playbook import (
    PlayRunner,
    local_host,
    one_task,
)

AMD64 = "linux/amd64"
BOTH = ["linux/amd64", "linux/arm64"]
# A registry that does not exist; what is pulled from it comes from somewhere else.
ELSEWHERE = f"images.example.test/{DEMO}"
LIES: dict[str, dict[str, Any]] = {
    "other bytes": {"corrupt": 10},
    "half of the bytes": {"truncate_at": 100},
    "no bytes": {"status": 500},
}
LIED_ABOUT = [(part, lie, 0) for part in ("manifest", "config", "layers") for lie in LIES]
LIED_ABOUT += [("config", lie, 1) for lie in LIES]

HOST_FILES = {
    "location in registries.conf": (
        "containers/registries.conf",
        '[[registry]]\nprefix = "images.example.test"\nlocation = "{address}"\ninsecure = true\n',
    ),
    "mirror in registries.conf.d": (
        "containers/registries.conf.d/50-mirror.conf",
        '[[registry]]\nlocation = "images.example.test"\n'
        '[[registry.mirror]]\nlocation = "{address}"\ninsecure = true\n',
    ),
    "hosts.toml of the registry": (
        "containerd/certs.d/images.example.test/hosts.toml",
        'server = "https://images.example.test"\n'
        '[host."http://{address}"]\ncapabilities = ["pull", "resolve"]\n',
    ),
    "hosts.toml of _default": (
        "containerd/certs.d/_default/hosts.toml",
        '[host."http://{address}"]\ncapabilities = ["pull", "resolve"]\n',
    ),
}
CERTIFICATES = (
    ("containers/certs.d/{address}/own.crt", None),
    ("docker/certs.d/{address}/ca.crt", None),
    ("containerd/certs.d/{host}_{port}_/ca.crt", None),
    ("containerd/certs.d/{host}_{port}_/own.pem", 'ca = "own.pem"\n'),
)


def mirrored(address: str, *mirrors: str) -> dict[str, Any]:
    """Return the option that gives a registry these mirrors."""
    entry = {"registry": address, "mirrors": [{"url": f"http://{one}"} for one in mirrors]}
    return {"registries": [entry]}


def wait_until_kept(cache: Path, item: images.Image) -> None:
    """Wait until docker-registry has kept what it passed on, which it does on the side."""
    deadline = time.monotonic() + 60
    wanted = {digest.partition(":")[2] for digest, _raw in item.blobs()}
    while not wanted <= {
        path.parent.name for path in cache.glob("data/docker/registry/v2/blobs/sha256/*/*/data")
    }:
        assert time.monotonic() < deadline, "the cache keeps nothing"
        time.sleep(0.05)


def of_content(requests: list[str]) -> list[str]:
    """Return those of some requests that read content, by digest."""
    return [one for one in requests if re.match(r"GET .*/(blobs|manifests)/sha256:", one)]


def told(result: dict[str, Any]) -> list[str]:
    """Return what the result of a pull warns of; ansible-core 2.19 keeps more than the text of it."""
    return [str(one) for one in result.get("warnings") or []]


def test_a_cache_asks_the_origin_for_content_once_for_all_hosts(
    play: PlayRunner, directory: Path
) -> None:
    need_programs("docker-registry")
    item = images.demo_image("cached", "1")
    first, second = directory / "first", directory / "second"
    with services.docker_registry(directory / "origin") as service:
        images.upload(service.url, DEMO, item, "1")
        origin = Registry(service)
        before = len(origin.requests())
        name = f"{origin.address}/{DEMO}:1"
        with services.docker_registry(directory / "cache", proxy_of=service.url) as cache:
            options = dict(mirrored(origin.address, cache.address), platform=[AMD64])
            text = one_task(PULL, name=[name], store=os.fspath(first / "store"), **options)
            runs = play.four_times(text, play.inventory({"one": local_host(first)}))
            wait_until_kept(directory / "cache", item.for_platform(AMD64))
            asked = len(origin.requests())
            others = pull_four_times(second / "store", name, item.digest, **options)
    assert of_content(origin.requests()[before:asked])
    assert of_content(origin.requests()[asked:]) == []
    assert '"lockstep.images"' in cache.log_text() and "lockstep.images" not in service.log_text()
    assert layout.tree(first / "store") == layout.tree(second / "store")
    for result in (runs[1].one(PULL), others[1]):
        stats = result["stats"]
        assert stats["mirrors"][cache.address]["bytes"] >= stats["bytes_to_fetch"] > 0
        assert told(result) == []


@pytest.mark.parametrize(
    ("demand", "options"),
    [
        ('if ($arg_ns != "images.example.test") { return 404; }', {}),
        (
            'if ($http_x_dragonfly_registry != "https://images.example.test") { return 400; }',
            {"headers": {"X-Dragonfly-Registry": "https://images.example.test"}},
        ),
        (
            'if ($uri !~ "^/v2/(images/|$)") { return 404; }'
            """ add_header WWW-Authenticate 'Basic realm="harbor"' always;"""
            ' if ($http_authorization != "Basic cm9ib3Q6c2VjcmV0") { return 401; }'
            " rewrite ^/v2/images/(.*)$ /v2/$1 break;",
            {"url": "http://{address}/images", "username": "robot", "password": "secret"},
        ),
    ],
    ids=["spegel", "dragonfly", "harbor"],
)
@pytest.mark.parametrize("core", CORES)
def test_stand_in_of_a_distributed_mirror_serves_a_task_by_its_options(
    core: str,
    runner: Callable[[str], PlayRunner],
    directory: Path,
    registry_plain: Registry,
    demand: str,
    options: dict[str, Any],
) -> None:
    """As Spegel, Dragonfly and Harbor demand. The registry of the image does not exist, so nothing can come from it."""
    need_programs("nginx")
    item = images.demo_image("shared", "1")
    images.upload(registry_plain.service.url, "lockstep/shared", item, "1")
    with nginx(directory / "front", registry_plain.service.url, location=demand) as front:
        url = options.get("url", "http://{address}").format(address=front.address)
        entry = {"registry": "images.example.test", "mirrors": [{**options, "url": url}]}
        text = one_task(
            PULL,
            name=["images.example.test/lockstep/shared:1"],
            store=os.fspath(directory / "store"),
            registries=[entry],
        )
        play = runner(core)
        inventory = play.inventory({"one": local_host(directory)})
        is_first = core == "2.19"
        runs = play.four_times(text, inventory) if is_first else [play(text, inventory).ok()]
        assert {one.status for one in front.passed()} <= {200, 206, 401}
    assert [told(run.one(PULL)) for run in runs] == [[]] * len(runs)
    assert runs[is_first].one(PULL)["stats"]["mirrors"][front.address]["bytes"] > 0


def test_a_mirror_that_was_killed_costs_one_warning(
    play: PlayRunner, directory: Path, registry_plain: Registry
) -> None:
    item = images.demo_image("fallen", "1")
    images.upload(registry_plain.service.url, "lockstep/fallen", item, "1")
    name = f"{registry_plain.address}/lockstep/fallen:1"
    first, second = directory / "first", directory / "second"
    origin = registry_plain.service.url
    with services.docker_registry(directory / "cache", proxy_of=origin) as cache:
        options = mirrored(registry_plain.address, cache.address)
        pull_four_times(first / "store", name, item.digest, **options)
        os.kill(cache.pid, signal.SIGKILL)
        text = one_task(PULL, name=[name], store=os.fspath(second / "store"), **options)
        runs = play.four_times(text, play.inventory({"one": local_host(second)}))
    for run in runs:
        (warning,) = told(run.one(PULL))
        assert cache.address in warning
        assert run.one(PULL)["stats"]["mirrors"][cache.address]["failed"]
    assert layout.tree(first / "store") == layout.tree(second / "store")


@pytest.mark.parametrize("part,how,retries", LIED_ABOUT)
def test_mirror_with_corrupt_content_is_skipped_for_the_origin(
    part: str,
    how: str,
    retries: int,
    directory: Path,
    registry_plain: Registry,
    small_images: dict[str, str],
) -> None:
    name = f"{registry_plain.address}/{DEMO}:v1"
    item = images.demo_image("demo", "1")
    one = item.for_platform("linux/amd64")
    digests = {
        "manifest": [one.digest],
        "config": [one.config_digest],
        "layers": [layer.digest for layer in one.layers],
    }
    lie = Fault(path="|".join(digests[part]), times=None, **LIES[how])
    with registry.Registry(faults=[lie]) as mirror:
        images.push(mirror, DEMO, item, "v1")
        options = dict(mirrored(registry_plain.address, mirror.address), platform=[AMD64])
        runs = pull_four_times(
            directory / "store", name, small_images["v1"], retries=retries, **options
        )
        assert mirror.applied(lie) and mirror.errors == []
    (warning,) = told(runs[1])
    assert mirror.address in warning
    assert runs[1]["stats"]["mirrors"][mirror.address]["failed"]
    # Nothing was left to ask it the second time but what the tag means.
    assert [told(run) for run in runs[2:]] == [[], []]


@pytest.mark.parametrize("path,text", HOST_FILES.values(), ids=HOST_FILES)
def test_host_pulls_from_the_mirrors_in_its_files(
    path: str,
    text: str,
    directory: Path,
    registry_plain: Registry,
    small_images: dict[str, str],
) -> None:
    files = {path: text.format(address=registry_plain.address)}
    host = {"python": python_with_etc(directory / "host", files), "use_host_config": True}
    before = len(registry_plain.service.log_text())
    runs = pull_four_times(
        directory / "store", f"{ELSEWHERE}:v1", small_images["v1"], **host, retries=0
    )
    assert [told(run) for run in runs] == [[]] * 4
    # Only containerd sends its mirrors the name of the registry.
    asked = registry_plain.service.log_text()[before:]
    assert ("?ns=images.example.test" in asked) == ("containerd" in path)


def test_playbook_pulls_from_the_mirrors_in_the_files_of_a_host(
    play: PlayRunner, directory: Path, registry_plain: Registry, small_images: dict[str, str]
) -> None:
    path, text = HOST_FILES["mirror in registries.conf.d"]
    files = {path: text.format(address=registry_plain.address)}
    python = os.fspath(python_with_etc(directory / "host", files))
    host = local_host(directory, ansible_python_interpreter=python)
    options = {"name": [f"{ELSEWHERE}:v1"], "store": os.fspath(directory / "store")}
    text = one_task(PULL, **options, use_host_config=True, retries=0)
    play.four_times(text, play.inventory({"one": host}))
    entry = layout.names(directory / "store")[f"{ELSEWHERE}:v1"]
    assert entry["digest"] == small_images["v1"]


def test_the_environment_names_another_registries_conf(
    directory: Path, registry_plain: Registry, small_images: dict[str, str]
) -> None:
    conf = directory / "registries.conf"
    text = HOST_FILES["location in registries.conf"][1]
    conf.write_text(text.format(address=registry_plain.address))
    env = {"CONTAINERS_REGISTRIES_CONF": os.fspath(conf)}
    host = {"env": env, "use_host_config": True, "retries": 0}
    pull_four_times(directory / "store", f"{ELSEWHERE}:v1", small_images["v1"], **host)


@pytest.mark.parametrize("path,toml", CERTIFICATES, ids=[path for path, _toml in CERTIFICATES])
def test_an_authority_that_only_the_host_knows_is_trusted_when_asked_to(
    path: str, toml: str, directory: Path, workspace: Path, small_images: dict[str, str]
) -> None:
    own = {"tls": certificates.server(), "data": workspace / "plain/data"}
    with services.docker_registry(directory / "registry", **own) as service:
        host, _colon, port = service.address.partition(":")
        file = path.format(address=service.address, host=host, port=port)
        files: dict[str, Any] = {file: certificates.authority().certificate}
        if toml:
            files[os.path.join(os.path.dirname(file), "hosts.toml")] = toml
        name = f"{service.address}/{DEMO}:v1"
        options = {"python": python_with_etc(directory / "host", files), "retries": 0}
        store = os.fspath(directory / "store")
        refused = modules.run("image_pull", name=[name], store=store, **options)
        assert refused.kind == "registry-tls"
        pull_four_times(
            directory / "store", name, small_images["v1"], **options, use_host_config=True
        )


def test_a_registry_that_the_host_blocks_is_not_asked(
    directory: Path, registry_plain: Registry, small_images: dict[str, str]
) -> None:
    text = f'[[registry]]\nlocation = "{registry_plain.address}/lockstep"\nblocked = true\n'
    host = python_with_etc(directory / "host", {"containers/registries.conf": text})
    name = f"{registry_plain.address}/{DEMO}:v1"
    options = {"name": [name], "store": os.fspath(directory / "store"), "python": host}
    before = len(registry_plain.requests())
    for refused in modules.four_times("image_pull", **options, use_host_config=True):
        said = refused.result["msg"]
        assert "/etc/containers/registries.conf" in said and "blocked" in said
        assert refused.kind == "invalid-input" and not refused.result["changed"]
    assert len(registry_plain.requests()) == before
    # It is the host's own word: without the option it does not count.
    pull_four_times(directory / "store", name, small_images["v1"], python=host)
