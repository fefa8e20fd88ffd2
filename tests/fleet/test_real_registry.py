# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Pull from docker-registry (plain, htpasswd, TLS with its own CA) as a playbook does.

Every case runs four times: in check mode, for real, and both again (`PlayRunner.four_times`).
"""

from __future__ import annotations

import base64
import re
from pathlib import Path

import pytest
from ansible_collections.lockstep.images.tests.support import (
    certificates,
    images,
    layout,
    services,
)
from ansible_collections.lockstep.images.tests.support.fleet import (
    DEMO,
    INFO,
    LOGIN,
    PASSWORD,
    PULL,
    USER,
    Registry,
)
from ansible_collections.lockstep.images.tests.support.playbook import PlayRunner, one_task

BOTH = ["linux/amd64", "linux/arm64"]
STORE = "{{ store }}"
SECRETS = (PASSWORD, base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode())


@pytest.fixture()
def store(directory: Path) -> Path:
    """Return where the host of `local` has its store."""
    return directory / "store"


@pytest.mark.parametrize(
    "where,tag",
    [
        ("registry_plain", "v1"),
        ("registry_plain", "docker"),
        ("registry_htpasswd", "v1"),
        ("registry_tls", "docker"),
    ],
)
def test_the_store_names_exactly_the_digest_that_the_registry_gives(
    where: str,
    tag: str,
    request: pytest.FixtureRequest,
    play: PlayRunner,
    local: Path,
    store: Path,
    small_images: dict[str, str],
) -> None:
    registry: Registry = request.getfixturevalue(where)
    name = f"{registry.address}/{DEMO}:{tag}"
    options = {"name": [name], "platform": ["linux/amd64"], "store": STORE, **registry.options()}
    check, real, _third, again = play.four_times(one_task(PULL, **options), local)
    said = layout.read_served_manifest(registry.service.url, DEMO, tag, **registry.upload_options())
    found = layout.names(store)[name]
    assert (found["digest"], found["mediaType"]) == (said.digest, said.media_type)
    assert said.digest == small_images[tag]
    assert layout.blob_path(store, said.digest).read_bytes() == said.raw
    assert layout.bad_blobs(store) == []
    assert [one["status"] for one in check.one(PULL)["images"]] == ["downloaded"]
    assert [one["digest"] for one in real.one(PULL)["images"]] == [said.digest]
    assert [one["status"] for one in again.one(PULL)["images"]] == ["up_to_date"]


@pytest.mark.parametrize("where", ["registry_htpasswd", "registry_tls"])
def test_pull_needs_only_a_login(
    where: str,
    request: pytest.FixtureRequest,
    play: PlayRunner,
    local: Path,
    store: Path,
    small_images: dict[str, str],
) -> None:
    registry: Registry = request.getfixturevalue(where)
    config = "{{ home }}/auth.json"
    ca = {"ca_path": str(registry.ca)} if registry.ca else {}
    login = {"registry_url": registry.address, "config_path": config, **ca}
    pair = {"username": USER, "password": PASSWORD}
    runs = play.four_times(one_task(LOGIN, **login, **pair), local, diff=True, verbosity=3)
    file = store.parent / "home/auth.json"
    assert file.stat().st_mode & 0o077 == 0, "others may read the secret"
    for secret in SECRETS:
        assert all(secret not in run.output for run in runs)

    pull = {"name": [f"{registry.address}/{DEMO}:v1"], "store": STORE, "config_path": config, **ca}
    runs = play.four_times(one_task(PULL, **pull), local)
    assert runs[1].one(PULL)["images"][0]["digest"] == small_images["v1"]

    play.four_times(one_task(LOGIN, **login, state="absent"), local)
    assert registry.address not in file.read_text()
    again = one_task(PULL, **dict(pull, store="{{ home }}/another-store"))
    assert play(again, local).failures


def test_a_wrong_password_is_refused_and_never_shown(
    play: PlayRunner, local: Path, store: Path, registry_htpasswd: Registry
) -> None:
    wrong = "wrong: password/1"
    shapes = (wrong, base64.b64encode(f"{USER}:{wrong}".encode()).decode())
    pair = {"username": USER, "password": wrong}
    address = registry_htpasswd.address
    login = one_task(LOGIN, registry_url=address, config_path="{{ home }}/auth.json", **pair)
    pull = one_task(PULL, name=[f"{address}/{DEMO}:v1"], store=STORE, **pair)
    for text in (login, pull):
        run = play(text, local, diff=True, verbosity=3)
        (failed,) = run.failures
        assert failed.result["error"]["kind"]
        assert address in failed.result["msg"]
        assert "Traceback" not in failed.result["msg"]
        assert not any(shape in run.output for shape in shapes)
    assert not (store.parent / "home/auth.json").exists()
    assert not store.exists() or layout.names(store) == {}


def test_a_registry_of_an_unknown_authority_is_refused(
    play: PlayRunner, local: Path, store: Path, registry_tls: Registry, small_images: dict[str, str]
) -> None:
    name = f"{registry_tls.address}/{DEMO}:v1"
    pair = {"username": USER, "password": PASSWORD, "retries": 0}
    run = play(one_task(PULL, name=[name], store=STORE, **pair), local)
    (failed,) = run.failures
    assert re.search("certificate", failed.result["msg"], re.I), failed.result["msg"]
    assert layout.names(store) == {}

    trusting = one_task(PULL, name=[name], store=STORE, validate_certs=False, **pair)
    play.four_times(trusting, local)
    assert layout.names(store)[name]["digest"] == small_images["v1"]


def test_a_registry_that_wants_a_client_certificate_gets_it(
    play: PlayRunner,
    local: Path,
    store: Path,
    directory: Path,
    workspace: Path,
    small_images: dict[str, str],
) -> None:
    ca, client = certificates.authority().certificate, certificates.client()
    mutual = services.docker_registry(
        directory / "registry",
        tls=certificates.server(),
        client_ca=ca,
        data=workspace / "plain/data",
    )
    with mutual as service:
        name = f"{service.address}/{DEMO}:v1"
        options = {"name": [name], "store": STORE, "ca_path": str(ca), "retries": 0}
        assert play(one_task(PULL, **options), local).failures
        assert layout.names(store) == {}
        own = {"client_cert": str(client.certificate), "client_key": str(client.key)}
        play.four_times(one_task(PULL, **options, **own), local)
    assert layout.names(store)[name]["digest"] == small_images["v1"]


def test_a_moved_tag_fetches_only_the_layer_that_changed(
    play: PlayRunner, local: Path, store: Path, registry_plain: Registry
) -> None:
    repository = "lockstep/moving"
    name = f"{registry_plain.address}/{repository}:latest"
    text = one_task(PULL, name=[name], store=STORE, platform=["linux/amd64"])
    for version in ("1", "2"):
        item = images.demo_image("moving", version, size=100_000)
        images.upload(registry_plain.service.url, repository, item, "latest")
        runs = play.four_times(text, local)
    done = runs[1].one(PULL)
    assert [one["status"] for one in done["images"]] == ["updated"]
    assert done["images"][0]["digest"] == item.digest
    # One layer of three, and the JSON around it.
    assert 100_000 < done["stats"]["bytes_fetched"] < 150_000


def test_all_tags_of_a_repository_for_two_platforms(
    play: PlayRunner,
    local: Path,
    store: Path,
    registry_plain: Registry,
    small_images: dict[str, str],
) -> None:
    repository = f"{registry_plain.address}/{DEMO}"
    options = {"name": [repository], "all_tags": True, "platform": BOTH, "store": STORE}
    play.four_times(one_task(PULL, **options), local)
    found = {name: entry["digest"] for name, entry in layout.names(store).items()}
    assert found == {f"{repository}:{tag}": digest for tag, digest in small_images.items()}
    for digest in found.values():
        for member in layout.read_manifest(store, digest).get("manifests", []):
            if member["platform"]["os"] == "linux":
                assert layout.blob_path(store, member["digest"]).is_file()


def test_image_info_reports_present_and_missing_images(
    play: PlayRunner,
    local: Path,
    store: Path,
    registry_plain: Registry,
    small_images: dict[str, str],
) -> None:
    name = f"{registry_plain.address}/{DEMO}:v1"
    absent = f"{registry_plain.address}/{DEMO}:absent"
    play(one_task(PULL, name=[name], store=STORE), local).ok()
    before = layout.tree(store)
    runs = play.four_times(one_task(INFO, name=[name, absent], store=STORE), local)
    told = runs[1].one(INFO)
    assert [(one["name"], one["digest"]) for one in told["images"]] == [(name, small_images["v1"])]
    assert told["missing"] == [absent]
    assert told["fingerprint"] == layout.fingerprint(store)
    assert told["store"] == str(store)
    assert layout.tree(store) == before and runs[0].changed == 0


def test_a_hundred_images_that_are_there_cost_one_head_each(
    play: PlayRunner, local: Path, store: Path, registry_plain: Registry
) -> None:
    repositories = [f"many/image-{number:03}" for number in range(100)]
    for repository in repositories:
        item = images.demo_image(repository.replace("/", "-"), "1", ["linux/amd64"], 1, 64)
        images.upload(registry_plain.service.url, repository, item, "latest")
    text = one_task(
        PULL,
        name=[f"{registry_plain.address}/{repository}" for repository in repositories],
        platform=["linux/amd64"],
        store=STORE,
    )
    play(text, local).ok()
    before = len(registry_plain.requests())
    assert play(text, local).ok().changed == 0
    asked = registry_plain.requests()[before:]
    wanted = [f"HEAD /v2/{repository}/manifests/latest" for repository in repositories]
    assert sorted(asked) == wanted
    assert len(layout.names(store)) == len(repositories)
