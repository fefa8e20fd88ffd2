# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Registry info: the description of images in registries, and the requests for it."""

from __future__ import annotations

import json

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._image.errors import (
    InputError,
    LockstepError,
)
from ansible_collections.lockstep.images.plugins.module_utils._image.manifest import (
    OCI_INDEX,
    OCI_MANIFEST,
)
from ansible_collections.lockstep.images.plugins.module_utils._image.names import (
    Platform,
    Reference,
)
from ansible_collections.lockstep.images.plugins.module_utils._operations.registry_info import (
    plan_registry_info,
)
from ansible_collections.lockstep.images.tests.support.bodies import digest_of
from ansible_collections.lockstep.images.tests.support.faults import Fault
from ansible_collections.lockstep.images.tests.support.images import (
    CREATED,
    demo_image,
    image,
    index,
    layer,
    push,
    sample_image,
    to_json,
)
from ansible_collections.lockstep.images.tests.support.plans import dry_run
from ansible_collections.lockstep.images.tests.support.pulling import (
    IMAGE,
    LOGIN,
    USERS,
    Puller,
    trail,
)
from ansible_collections.lockstep.images.tests.support.registry import Registry

AMD64, ARM64 = "linux/amd64", "linux/arm64"
APP = demo_image("app", "1", (AMD64, ARM64, "linux/arm/v7"), size=200, attestations=True)
SAMPLE = sample_image("tool", "2")
SINGLE = image(
    [layer({"a": b"a"})],
    platform=ARM64,
    docker=True,
    annotations={"made": "by hand"},
    config={"config": {"Labels": None, "Entrypoint": "sh", "Env": {"a": 1}, "Cmd": None}},
)
CHART = image(
    [layer({"chart": b"c"})],
    platform="",
    config={"name": "chart"},
    annotations={"kind": "chart"},
    **{"artifactType": "application/vnd.cncf.helm"},
)
SIGNATURE = image(
    [layer({"signature": b"s"})],
    annotations={"by": "us"},
    artifactType="application/vnd.signature",
    subject=APP.descriptor(),
)


@pytest.fixture(name="registry", params=[None, "bearer"], ids=str)
def fixture_registry(request):
    with Registry(auth=request.param, users=USERS, page_size=2) as registry:
        push(registry, "demo/app", APP, "1", "stable", "old")
        push(registry, "demo/app", SIGNATURE)
        push(registry, "demo/sample", SAMPLE, "2")
        push(registry, "demo/single", SINGLE, "1")
        yield registry


@pytest.fixture(name="look")
def fixture_look(tmp_path, registry):
    """Plans against the registry, each time as a task of its own."""

    def look(*names, catalog=False, platforms=(), **options):
        sources = Puller(tmp_path, registry, login=LOGIN).sources
        references = [Reference.parse(f"{registry.address}/{name}") for name in names]
        plan = plan_registry_info(
            references if names else None,
            sources=sources,
            workers=4,
            platforms=[Platform.parse(text) for text in platforms],
            catalog_of=sources.registry(registry.address) if catalog else None,
            **options,
        )
        assert not plan.changed and plan.before == plan.after == {}
        return dry_run(plan).result()

    return look


def names_of(result):
    return [(one["name"].partition("/")[2], one["platform"]) for one in result["images"]]


def test_every_platform_of_an_index_is_listed_without_attestations(look, registry):
    result = look("demo/app:1")
    assert names_of(result) == [("demo/app:1", one) for one in (AMD64, ARM64, "linux/arm/v7")]
    for entry in result["images"]:
        member = APP.for_platform(entry["platform"])
        assert entry["name"] == f"{registry.address}/demo/app:1"
        assert (entry["digest"], entry["media_type"]) == (APP.digest, OCI_INDEX)
        assert entry["manifest"] == member.digest
        assert (entry["id"], entry["size"]) == (member.config_digest, member.size)
        assert entry["platforms"] == [AMD64, "linux/arm/v7", ARM64]
        assert [one["digest"] for one in entry["layers"]] == [one.digest for one in member.layers]
    assert result["missing"] == []


def test_configuration_is_returned_literally(look):
    first = look("demo/sample:2")["images"][0]
    assert first["labels"] == {"version": "2"}
    assert first["env"] == ["PATH=/usr/bin:/bin"]
    assert (first["entrypoint"], first["cmd"]) == ([], ["/opt/tool/run"])
    assert first["created"] == CREATED
    assert [step["empty_layer"] for step in first["history"]] == [False, False, True]
    sizes = [one["size"] for one in first["layers"]]
    assert [step["size"] for step in first["history"]] == [*sizes, 0]


def test_a_single_image_has_the_platform_of_its_configuration(look):
    for platforms in ((), [AMD64]):
        (entry,) = look("demo/single:1", platforms=platforms)["images"]
        assert entry["digest"] == entry["manifest"] == SINGLE.digest
        assert (entry["platform"], entry["platforms"]) == (ARM64, [ARM64])
        assert entry["annotations"] == {"made": "by hand"}
        assert [entry[key] for key in ("labels", "env", "entrypoint", "cmd")] == [{}, [], [], []]


def test_artifact_is_listed_without_the_keys_of_images(look, registry):
    view = json.loads(CHART.raw)
    view["config"]["mediaType"] = "application/vnd.cncf.helm.config.v1+json"
    raw = to_json(view)
    registry.add("demo/chart", raw, OCI_MANIFEST, "1")
    (entry,) = look("demo/chart:1")["images"]
    assert (entry["digest"], entry["platform"], entry["platforms"]) == (digest_of(raw), None, [])
    assert (entry["created"], entry["history"]) == (None, [])
    assert entry["annotations"] == {"kind": "chart"}


def test_only_manifests_and_configurations_are_read_and_none_twice(look, registry):
    look("demo/app:1", "demo/app:stable", "demo/app:1", f"demo/app@{APP.digest}")
    asked = [
        kind
        for kind, request in zip(trail(registry), registry.requests)
        if request.status != 401 and not kind.endswith("token")
    ]
    assert sorted(asked) == sorted([*["HEAD tag"] * 2, *["GET manifest"] * 4, *["GET blob"] * 3])
    layers = {one.digest for member in APP.images[:3] for one in member.layers}
    assert not [one for one in registry.requests if one.path.rpartition("/")[2] in layers]


def test_only_requested_parts_are_read(look, registry):
    result = look("demo/app:1", platforms=[ARM64, "linux/amd64/v3"])
    assert names_of(result) == [("demo/app:1", ARM64), ("demo/app:1", AMD64)]
    assert result["images"][0]["platforms"] == [AMD64, "linux/arm/v7", ARM64]
    assert trail(registry).count("GET manifest") == 3


def test_missing_platform_is_an_error_that_lists_the_existing_ones(look):
    result = look("demo/sample:2", "demo/app:1", platforms=["linux/arm/v7"])
    empty, found = result["images"]
    assert (empty["platform"], empty["manifest"], empty["id"]) == (None, None, None)
    assert empty["platforms"] == [AMD64, ARM64]
    assert found["platform"] == "linux/arm/v7"
    assert empty.keys() == found.keys()


def test_missing_image_is_listed_as_missing_and_not_an_error(look, registry):
    nothing = f"demo/app@{digest_of(b'')}"
    result = look("demo/app:none", "demo/single:1", "demo/none", nothing)
    names = ["demo/app:none", "demo/none:latest", nothing]
    assert result["missing"] == [f"{registry.address}/{name}" for name in names]
    assert names_of(result) == [("demo/single:1", ARM64)]


@pytest.mark.parametrize("status", [400, 401, 403, 405])
def test_F05_refused_tag_that_is_not_listed_is_missing(look, registry, status):
    """As Artifactory answers 403 for a tag that is not there."""
    registry.faults.append(Fault(method="HEAD|GET", missing_as=status, times=None))
    names = ("demo/app:1", "demo/app:none")
    seen = look(*names)
    assert seen["missing"] == [f"{registry.address}/demo/app:none"]


def test_image_known_only_from_its_index_is_listed(look, registry):
    lost = APP.for_platform(ARM64)
    registry.remove("demo/app", lost.digest)
    entries = {one["platform"]: one for one in look("demo/app:1")["images"]}
    assert entries[ARM64]["manifest"] == lost.digest
    assert (entries[ARM64]["id"], entries[ARM64]["size"]) == (None, None)
    assert entries[AMD64]["id"]


def test_indexes_in_indexes_are_followed_in_their_order(look, registry):
    inner = index([APP.for_platform(ARM64)])
    outer = index([inner, APP.for_platform(AMD64), inner])
    push(registry, "demo/nested", outer, "1")
    assert [one for _name, one in names_of(look("demo/nested:1"))] == [ARM64, AMD64]


def test_endless_nesting_of_indexes_is_an_error(look, registry):
    nested = index([IMAGE])
    for _level in range(10):
        nested = index([nested, nested])
    push(registry, "demo/deep", nested, "1")
    with pytest.raises(LockstepError) as caught:
        look("demo/deep:1")
    assert caught.value.kind == "invalid-manifest"
    assert len(registry.requests) < 40


def test_index_of_too_many_images_is_an_error(look, registry):
    entries = [{**IMAGE.descriptor(), "digest": digest_of(str(n).encode())} for n in range(12_000)]
    raw = to_json({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries})
    registry.add("demo/wide", raw, OCI_INDEX, "1")
    with pytest.raises(LockstepError) as caught:
        look("demo/wide:1")
    assert caught.value.kind == "invalid-manifest"
    assert len(registry.requests) < 10


def test_referrers_of_an_image_are_listed(look):
    for entry in look("demo/app:1", referrers=True)["images"]:
        assert entry["referrers"] == [
            {
                "digest": SIGNATURE.digest,
                "media_type": OCI_MANIFEST,
                "artifact_type": "application/vnd.signature",
                "size": len(SIGNATURE.raw),
                "annotations": {"by": "us"},
            }
        ]
    assert [one["referrers"] for one in look("demo/app:1")["images"]] == [[]] * 3


def test_tags_of_repositories_are_listed_without_reading_an_image(look, registry):
    result = look("demo/app", "demo/none", "demo/single", tags=True)
    address = registry.address
    assert result["tags"] == {
        f"{address}/demo/app": ["1", "old", "stable"],
        f"{address}/demo/single": ["1"],
    }
    assert result["missing"] == [f"{address}/demo/none"]
    assert result["images"] == []
    assert {one.rpartition("/")[2] for one in trail(registry)} <= {"GET tags", "GET token"}


def test_a_repository_without_tags_has_an_empty_list(look, registry):
    registry.faults.append(Fault(path="/tags/list", body={"name": "demo/app", "tags": None}))
    assert list(look("demo/app", tags=True)["tags"].values()) == [[]]


@pytest.mark.parametrize("name", ["demo/app:1", f"demo/app@{APP.digest}"])
def test_tags_of_a_name_with_a_tag_are_an_error(look, name):
    with pytest.raises(InputError, match="neither tag nor digest"):
        look(name, tags=True)


def test_the_catalog_is_listed_with_and_without_names(look):
    everything = ["demo/app", "demo/sample", "demo/single"]
    result = look("demo/single:1", catalog=True)
    assert result["repositories"] == everything
    assert names_of(result) == [("demo/single:1", ARM64)]
    result = look(catalog=True)
    assert (result["repositories"], result["images"]) == (everything, [])


def test_request_for_nothing_is_an_error(look):
    with pytest.raises(InputError, match="nothing to report"):
        look()


def test_rate_limit_is_returned(look, registry):
    limit = {"RateLimit-Limit": "100;w=21600", "RateLimit-Remaining": "76;w=21600"}
    registry.faults.append(Fault(method="HEAD", set_headers=limit))
    result = look("demo/single:1")
    told = {"limit": 100, "remaining": 76, "window": 21600}
    assert result["rate_limit"] == {registry.address: told}
    assert result["stats"]["rate_limit"] == result["rate_limit"]


WRONG = {
    "manifest": (
        Fault(path=f"/manifests/{SINGLE.digest}", replace=b"{}", times=None),
        "digest-mismatch",
    ),
    "config": (
        Fault(path=f"/blobs/{SINGLE.config_digest}", corrupt=3, times=None),
        "digest-mismatch",
    ),
    "denied": (Fault(method="HEAD|GET", path="/manifests/", status=403, times=None), "denied"),
    "broken": (
        Fault(method="HEAD|GET", path="/manifests/", status=500, times=None),
        "registry-error",
    ),
    "no config": (Fault(path="/blobs/", status=404, times=None), "not-found"),
}


@pytest.mark.parametrize(("fault", "kind"), WRONG.values(), ids=WRONG)
def test_unproven_digest_is_not_reported(look, registry, fault, kind):
    registry.faults.append(fault)
    with pytest.raises(LockstepError) as caught:
        look("demo/single:1")
    assert caught.value.kind == kind


def test_result_does_not_depend_on_the_order_of_names(look):
    names = ("demo/app:1", "demo/single:1", "demo/none:1")
    one, other = (look(*some)["images"] for some in (names, names[::-1]))
    assert sorted(one, key=str) == sorted(other, key=str)


def test_existing_content_is_read_from_mirrors(tmp_path, registry):
    with Registry() as mirror:
        push(mirror, "demo/single", SINGLE, "1")
        settings = [{"registry": registry.address, "mirrors": [{"url": mirror.url}]}]
        sources = Puller(tmp_path, registry, login=LOGIN, settings=settings).sources
        reference = Reference.parse(f"{registry.address}/demo/single:1")
        plan = plan_registry_info([reference], sources=sources, workers=2)
        assert plan.facts["images"][0]["id"] == SINGLE.config_digest
        assert registry.requests == []
