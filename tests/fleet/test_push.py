# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Push to docker-registry and copy between two of them: one digest all along, nothing sent twice, and
the registries' own logs say so.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.lockstep.images.tests.support import images, layout, modules, services
from ansible_collections.lockstep.images.tests.support.accesslog import Access, accesses
from ansible_collections.lockstep.images.tests.support.cutting import CuttingLink
from ansible_collections.lockstep.images.tests.support.fleet import (
    COPY,
    DEMO,
    PULL,
    PUSH,
    Registry,
    need_programs,
    pull_four_times,
)
from ansible_collections.lockstep.images.tests.support.nginx import nginx
from ansible_collections.lockstep.images.tests.support.playbook import (
    PlayRunner,
    local_host,
    one_task,
)
from ansible_collections.lockstep.images.tests.support.services_process import run

MIB = 1 << 20
TAGS = 40
CHUNK = 4 * MIB


@pytest.fixture()
def other(directory: Path) -> Iterator[Registry]:
    """Provide one more docker-registry, which is empty."""
    need_programs("docker-registry")
    with services.docker_registry(directory / "other") as service:
        yield Registry(service)


@pytest.fixture()
def heavy(directory: Path, registry_plain: Registry) -> tuple[Path, str, images.Image]:
    """Return a store with an image of one large layer, the image's name there, and the image."""
    noise = images.layer({"opt/heavy": os.urandom(40 * MIB)}, compression=None)
    item = images.image([noise])
    images.upload(registry_plain.service.url, "lockstep/upload", item, "1")
    name, store = f"{registry_plain.address}/lockstep/upload:1", directory / "store"
    pull_four_times(store, name, item.digest)
    return store, name, item


def host_with(play: PlayRunner, directory: Path) -> Path:
    """Return an inventory of one host, which keeps its images in `directory`."""
    host = local_host(directory, store=os.fspath(directory / "store"))
    return play.inventory({directory.name: host})


def log_of(registry: Registry, begin: int = 0) -> list[Access]:
    """Return what a registry was asked for since its log had so many requests."""
    return accesses(registry.service.log_text())[begin:]


def sent_blobs(asked: list[Access]) -> list[Access]:
    """Return the requests that bring a blob: all of an upload but its first, and but one that mounts."""
    return [
        one
        for one in asked
        if "/blobs/uploads/" in one.path
        and not (one.method == "POST" and "mount=" in one.path and one.status == 201)
    ]


def four_times(module: str, **options: Any) -> list[dict[str, Any]]:
    """Run the module four times, in check mode and for real, then again both; return the four results."""
    runs = [one.result for one in modules.four_times(module, **options)]
    check, real, third, fourth = runs
    assert not any(one.get("failed") for one in runs), runs
    for key in ("changed", "actions", "images", "diff"):
        assert check[key] == real[key], f"{key} is not what check mode said"
    assert check["stats"]["bytes_to_send"] == real["stats"]["bytes_to_send"]
    assert real["changed"] and not third["changed"] and not fourth["changed"]
    assert fourth["actions"] == [] and fourth["stats"]["bytes_sent"] == 0
    return runs


@pytest.mark.parametrize("where,tag", [("plain", "v1"), ("htpasswd", "docker")])
def test_an_image_goes_through_two_hosts_and_two_repositories_with_one_digest(
    where: str,
    tag: str,
    request: pytest.FixtureRequest,
    play: PlayRunner,
    directory: Path,
    small_images: dict[str, str],
) -> None:
    registry: Registry = request.getfixturevalue(f"registry_{where}")
    login, store = registry.options(), "{{ store }}"
    name = f"{registry.address}/{DEMO}:{tag}"
    repository = f"{registry.address}/pushed/{where}-{tag}"
    one, two = (host_with(play, directory / host) for host in ("one", "two"))
    play(one_task(PULL, name=[name], platform=["all"], store=store, **login), one).ok()

    begin = len(log_of(registry))
    push = {"name": [name], "repository": [repository], "store": store, **login}
    check, real, _third, again = play.four_times(one_task(PUSH, **push), one)
    asked = log_of(registry, begin)
    assert sent_blobs(asked) == []
    assert not [one for one in asked if one.method == "GET"]

    item = images.demo_image("demo", "1", docker=tag == "docker")
    blobs = {digest for digest, _content in item.blobs()}
    done = real.one(PUSH)
    assert done["stats"]["blobs_mounted"] == len(blobs) and done["stats"]["bytes_sent"] == 0
    told = check.one(PUSH)["stats"]["bytes_to_send"]
    assert (
        told
        == done["stats"]["bytes_to_send"]
        == sum(len(raw) for raw in dict(item.blobs()).values())
    )
    # docker-registry asks for Basic credentials first.
    heads = 2 if login else 1
    assert again.one(PUSH)["stats"]["requests"] == {"HEAD": heads}

    pull = {"name": [f"{repository}:{tag}"], "platform": ["all"], "store": store, **login}
    play.four_times(one_task(PULL, **pull), two)
    found = layout.names(directory / "two/store")[f"{repository}:{tag}"]
    said = layout.read_served_manifest(
        registry.service.url, f"pushed/{where}-{tag}", tag, **registry.upload_options()
    )
    digests = {small_images[tag], done["images"][0]["digest"], found["digest"], said.digest}
    assert digests == {item.digest}
    assert said.media_type == found["mediaType"] == item.media_type
    assert layout.bad_blobs(directory / "two/store") == []


def test_blob_is_sent_once_and_mounted_into_the_second_repository(
    directory: Path, registry_plain: Registry, other: Registry, small_images: dict[str, str]
) -> None:
    name, store = f"{registry_plain.address}/{DEMO}:v1", directory / "store"
    pull_four_times(store, name, small_images["v1"], platform=["all"])
    targets = [f"{other.address}/{path}" for path in ("first/demo", "second/demo")]
    options = {"repository": targets, "parallel": 1, "store": os.fspath(store)}
    runs = four_times("image_push", name=[name], **options)
    item = images.demo_image("demo", "1")
    size = sum(len(raw) for raw in dict(item.blobs()).values())
    assert runs[1]["stats"]["bytes_sent"] == size
    assert runs[1]["stats"]["blobs_mounted"] == len(dict(item.blobs()))
    for target in ("first/demo", "second/demo"):
        assert layout.read_served_manifest(other.service.url, target, "v1").digest == item.digest


@pytest.mark.parametrize("chunk", [0, CHUNK], ids=["in one request", "in chunks"])
def test_an_upload_that_breaks_off_is_finished_in_the_same_run(
    chunk: int, directory: Path, other: Registry, heavy: tuple[Path, str, images.Image]
) -> None:
    store, name, item = heavy
    # docker-registry 2.8 gives up an upload of which a request broke off ("upload resumed at wrong
    # offest"), so the upload starts again.
    with CuttingLink(("127.0.0.1", other.service.port), after=10 * MIB, times=2) as link:
        options = {"repository": [f"{link.address}/lockstep/upload"], "store": os.fspath(store)}
        runs = four_times("image_push", name=[name], chunk_size=str(chunk), **options)
    assert link.cuts == 2 and runs[1]["stats"]["retries"] >= 2
    assert (
        layout.read_served_manifest(other.service.url, "lockstep/upload", "1").digest == item.digest
    )
    pull_four_times(directory / "again", f"{other.address}/lockstep/upload:1", item.digest)


def test_interrupted_upload_behind_a_proxy_resumes_at_its_last_chunk(
    directory: Path, other: Registry, heavy: tuple[Path, str, images.Image]
) -> None:
    need_programs("nginx")
    store, name, item = heavy
    large = item.layers[0]
    # nginx hands on whole requests, so that the registry never sees a half of one.
    with nginx(directory / "nginx", other.service.url, "client_max_body_size 0;") as front:
        place = ("127.0.0.1", front.service.port)
        with CuttingLink(place, after=10 * MIB, times=2) as link:
            options = {"repository": [f"{link.address}/lockstep/upload"], "store": os.fspath(store)}
            runs = four_times("image_push", name=[name], chunk_size=str(CHUNK), **options)
        asked = [one for one in front.passed() if "/blobs/uploads/" in one.path]
    assert link.cuts == 2
    assert len([one for one in asked if one.method == "GET" and one.status == 204]) == 2
    began = [one for one in asked if one.method == "POST"]
    assert len(began) == 2, "one for the layer, and one for the configuration"
    # Of each cut, at most the chunk that was under way came twice.
    assert runs[1]["stats"]["bytes_sent"] <= runs[1]["stats"]["bytes_to_send"] + 2 * CHUNK
    assert link.passed < len(large.blob) + 2 * CHUNK + MIB
    assert (
        layout.read_served_manifest(other.service.url, "lockstep/upload", "1").digest == item.digest
    )
    pull_four_times(directory / "again", f"{other.address}/lockstep/upload:1", item.digest)


def test_a_proxy_that_limits_requests_gets_chunks(
    directory: Path, other: Registry, heavy: tuple[Path, str, images.Image]
) -> None:
    need_programs("nginx")
    store, name, item = heavy
    limit = "client_max_body_size 5m;"
    with nginx(directory / "nginx", other.service.url, limit) as front:
        options = {"repository": [f"{front.address}/lockstep/upload"], "store": os.fspath(store)}
        refused = modules.run("image_push", name=[name], **options)
        assert refused.kind == "too-large" and "chunk_size" in refused.result["msg"]
        runs = four_times("image_push", name=[name], chunk_size="4M", **options)
        patches = [one for one in front.passed() if one.method == "PATCH"]
    assert {one.status for one in patches} == {202} and len(patches) >= 10
    assert runs[1]["stats"]["bytes_sent"] == runs[1]["stats"]["bytes_to_send"]
    assert (
        layout.read_served_manifest(other.service.url, "lockstep/upload", "1").digest == item.digest
    )


def test_many_tags_are_copied_and_asked_for_once_each_from_then_on(
    play: PlayRunner, directory: Path, registry_plain: Registry, other: Registry
) -> None:
    wanted = {}
    for number in range(TAGS):
        item = images.demo_image("many", str(number), size=500, attestations=True)
        images.upload(registry_plain.service.url, "lockstep/many", item, f"1.{number}")
        wanted[f"1.{number}"] = item.digest
    inventory = host_with(play, directory / "one")
    options = {"name": [f"{registry_plain.address}/lockstep/many"], "all_tags": True}
    text = one_task(COPY, destination=f"{other.address}/mirror", **options)

    begins = len(log_of(registry_plain)), len(log_of(other))
    check, real, *_again = play.four_times(text, inventory)
    first = log_of(registry_plain, begins[0])
    blobs = [one.path for one in first if one.method == "GET" and "/blobs/" in one.path]
    assert len(blobs) == len(set(blobs)), "a blob was read twice"
    stats = real.one(COPY)["stats"]
    assert (
        stats["bytes_sent"] == stats["bytes_to_send"] == check.one(COPY)["stats"]["bytes_to_send"]
    )
    repository = "mirror/lockstep/many"
    read_served_manifest = {
        tag: layout.read_served_manifest(other.service.url, repository, tag).digest
        for tag in wanted
    }
    assert read_served_manifest == wanted

    begins = len(log_of(registry_plain)), len(log_of(other))
    assert play(text, inventory).ok().changed == 0
    heads = sorted(f"HEAD manifests/{tag} 200" for tag in wanted)
    assert asked_for(log_of(other, begins[1])) == heads
    listed = [one for one in asked_for(log_of(registry_plain, begins[0])) if "tags/list" in one]
    assert listed == ["GET tags/list 200"]
    assert asked_for(log_of(registry_plain, begins[0])) == listed + heads
    assert not (directory / "one/store").exists()


def asked_for(asked: list[Access]) -> list[str]:
    """Return method, path behind the repository, and status of requests, sorted."""
    paths = (one.path.partition("lockstep/many/")[2].partition("?")[0] for one in asked)
    return sorted(f"{one.method} {path} {one.status}" for one, path in zip(asked, paths))


def test_between_registries_with_different_logins_each_gets_its_own(
    play: PlayRunner,
    directory: Path,
    registry_htpasswd: Registry,
    small_images: dict[str, str],
) -> None:
    pair = ("writer", "another: secret/2")
    with services.docker_registry(directory / "guarded", auth=pair) as service:
        guarded = Registry(service, *pair)
        source = {"registry": registry_htpasswd.address, **registry_htpasswd.options()}
        target = {"registry": guarded.address, **guarded.options()}
        options = {
            "name": [f"{registry_htpasswd.address}/{DEMO}:v1"],
            "destination": service.address,
        }
        text = one_task(COPY, registries=[source, target], **options)
        runs = play.four_times(text, host_with(play, directory / "one"), diff=True, verbosity=3)
        said = layout.read_served_manifest(service.url, DEMO, "v1", **guarded.upload_options())
    assert said.digest == small_images["v1"]
    for secret in (pair[1], str(registry_htpasswd.password)):
        assert all(secret not in run.output for run in runs)


def test_skopeo_and_podman_read_what_was_copied(
    directory: Path, registry_plain: Registry, other: Registry, small_images: dict[str, str]
) -> None:
    need_programs("skopeo", "podman")
    name = f"{registry_plain.address}/{DEMO}:v1"
    four_times("image_copy", name=[name], destination=other.address)
    place = f"docker://{other.address}/{DEMO}:v1"
    inspect = ["skopeo", "inspect", "--tls-verify=false"]
    assert json.loads(run([*inspect, place]))["Digest"] == small_images["v1"]
    raw = json.loads(run([*inspect, "--raw", place]))
    assert len(raw["manifests"]) == 2
    with services.podman_env(directory / "podman") as env:
        pull = ["podman", "pull", "--quiet", "--tls-verify=false", place]
        pulled = run(pull, env=env).strip()
    amd64 = images.demo_image("demo", "1").for_platform("linux/amd64")
    assert f"sha256:{pulled}" == amd64.config_digest
