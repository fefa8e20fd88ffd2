# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Look at docker-registry (plain, htpasswd) and delete from it, as a playbook does.

What it was seen to do is held here: it refuses to delete tags by their names, and deletes a
manifest with all tags.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.lockstep.images.tests.support import client, images, services
from ansible_collections.lockstep.images.tests.support.fleet import (
    DEMO,
    PASSWORD,
    REMOVE,
    SEEN,
    USER,
    Registry,
    need_programs,
)
from ansible_collections.lockstep.images.tests.support.playbook import PlayRunner, one_task
from ansible_collections.lockstep.images.tests.support.services_process import run

ABSENT = f"sha256:{'0' * 64}"


@pytest.fixture(params=["plain", "htpasswd"])
def registry(request: pytest.FixtureRequest, directory: Path) -> Iterator[Registry]:
    """Provide a docker-registry of the test's own, with `DEMO:v1`, `:v2` and `:other`."""
    need_programs("docker-registry", "htpasswd")
    auth = (USER, PASSWORD) if request.param == "htpasswd" else None
    with services.docker_registry(directory / "registry", auth=auth) as service:
        made = Registry(service, *(auth or ()))
        fill(made)
        yield made


def fill(registry: Registry) -> None:
    options = registry.upload_options()
    for item, tags in ((image("1"), ("v1", "v2")), (image("2"), ("other",))):
        images.upload(registry.service.url, DEMO, item, *tags, **options)


def image(version: str) -> images.Index:
    return images.demo_image("demo", version, size=100)


def ask(registry: Registry, method: str, path: str) -> client.Reply:
    login = client.basic(registry.username, registry.password or "") if registry.username else {}
    headers = {"Accept": "application/vnd.oci.image.index.v1+json", **login}
    return client.call(registry.service.url, method, f"/v2/{DEMO}/{path}", headers=headers)


def tags(registry: Registry) -> list[str]:
    return sorted(ask(registry, "GET", "tags/list").document["tags"] or [])


def test_registry_info_returns_what_skopeo_shows(
    play: PlayRunner, local: Path, registry: Registry
) -> None:
    need_programs("skopeo")
    name = f"{registry.address}/{DEMO}"
    names = [f"{name}:v1", f"{name}@{image('2').digest}", f"{name}:none", f"{name}@{ABSENT}"]
    task = one_task(SEEN, name=names, referrers=True, **registry.options())
    runs = play.four_times(task, local)
    told = runs[1].one(SEEN)
    assert told["missing"] == [names[2], names[3]]
    assert [one["name"] for one in told["images"]] == [names[0]] * 2 + [names[1]] * 2
    creds = [f"--creds={USER}:{PASSWORD}"] if registry.username else []
    for entry in told["images"]:
        place = f"docker://{name}@{entry['digest']}"
        override = f"--override-arch={entry['platform'].partition('/')[2]}"
        seen = json.loads(run(["skopeo", override, "inspect", "--tls-verify=false", *creds, place]))
        assert [one["digest"] for one in entry["layers"]] == seen["Layers"]
        assert (entry["labels"], entry["created"]) == (seen["Labels"], seen["Created"])
        assert (entry["env"], entry["referrers"]) == (seen["Env"] or [], [])


def test_tags_and_repositories_are_listed(
    play: PlayRunner, local: Path, registry: Registry
) -> None:
    name = f"{registry.address}/{DEMO}"
    lists = {"tags": True, "repositories": True, "registry_url": registry.address}
    options = {"name": [name, f"{registry.address}/none"], **lists, **registry.options()}
    told = play.four_times(one_task(SEEN, **options), local)[1].one(SEEN)
    assert told["tags"] == {name: ["other", "v1", "v2"]}
    assert told["missing"] == [f"{registry.address}/none"]
    assert told["repositories"] == [DEMO]


def test_F30_a_manifest_is_deleted_with_all_its_tags(
    play: PlayRunner, local: Path, registry: Registry
) -> None:
    name = f"{registry.address}/{DEMO}"
    names = [f"{name}:v1", f"{name}:none", f"{name}@{ABSENT}"]
    options = {"name": names, "by": "digest", **registry.options()}
    check, real, _third, again = play.four_times(one_task(REMOVE, **options), local)
    digest = image("1").digest
    assert check.one(REMOVE)["removed"] == real.one(REMOVE)["removed"]
    assert real.one(REMOVE)["removed"] == [{"name": names[0], "digest": digest}]
    assert again.one(REMOVE)["removed"] == []
    assert tags(registry) == ["other"]
    assert ask(registry, "HEAD", f"manifests/{digest}").status == 404
    # The images in the index stay, and those of the other tag too.
    member = image("1").for_platform("linux/amd64")
    assert ask(registry, "GET", f"blobs/{member.config_digest}").status == 200
    deleted = [one for one in registry.requests() if one.startswith("DELETE")]
    assert deleted == [f"DELETE /v2/{DEMO}/manifests/{digest}"]


def test_F30_a_tag_alone_is_refused_and_the_error_says_what_to_do(
    play: PlayRunner, local: Path, registry: Registry
) -> None:
    assert ask(registry, "DELETE", "manifests/v1").code == "DIGEST_INVALID"
    name = f"{registry.address}/{DEMO}"
    options = {"name": [f"{name}:v1", f"{name}:none"], **registry.options()}
    assert play(one_task(REMOVE, **options), local, check=True).changed == 1
    (failed,) = play(one_task(REMOVE, **options), local).failures
    assert failed.result["error"]["kind"] == "registry-unsupported"
    assert "by: digest" in failed.result["msg"]
    assert [one["name"] for one in failed.result["failures"]] == [f"{name}:v1"]
    assert (failed.result["changed"], failed.result["removed"]) == (False, [])
    assert tags(registry) == ["other", "v1", "v2"]


@pytest.mark.parametrize("by", ["tag", "digest"])
def test_F30_a_registry_that_deletes_nothing_says_how_to_enable_it(
    play: PlayRunner, local: Path, directory: Path, by: str
) -> None:
    need_programs("docker-registry")
    with services.docker_registry(directory / "registry", delete=False) as service:
        registry = Registry(service)
        fill(registry)
        assert ask(registry, "DELETE", "manifests/v1").status == 405
        name = f"{registry.address}/{DEMO}:v1"
        (failed,) = play(one_task(REMOVE, name=[name], by=by), local).failures
        assert failed.result["error"]["kind"] == "registry-unsupported"
        assert "REGISTRY_STORAGE_DELETE_ENABLED=true" in failed.result["msg"]
        assert failed.result["msg"].count(f"{registry.address}/{DEMO}") == 1
        assert tags(registry) == ["other", "v1", "v2"]


def test_a_wrong_password_is_refused_and_never_shown(
    play: PlayRunner, local: Path, registry_htpasswd: Registry, small_images: dict[str, str]
) -> None:
    wrong = {"username": USER, "password": "wrong: password/1"}
    for module in (SEEN, REMOVE):
        name = f"{registry_htpasswd.address}/{DEMO}:v1"
        ran = play(one_task(module, name=[name], **wrong), local, diff=True, verbosity=3)
        (failed,) = ran.failures
        assert failed.result["error"]["kind"] == "authentication-failed"
        assert "wrong: password/1" not in ran.output
