# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pull, through the protocols: five properties, the policies, and what heals."""

from __future__ import annotations

import dataclasses
import errno
import itertools
import json
import os
import threading
import types
from pathlib import Path

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._image.errors import (
    ConflictError,
    DigestMismatchError,
    InputError,
    ManifestError,
    NoPlatformError,
    NoSpaceError,
    NotFoundError,
    NotInStoreError,
    StoreAccessError,
    TruncatedError,
)
from ansible_collections.lockstep.images.plugins.module_utils._image.names import Digest
from ansible_collections.lockstep.images.plugins.module_utils._operations.actions import FetchBlob
from ansible_collections.lockstep.images.plugins.module_utils._operations.naming import SetName
from ansible_collections.lockstep.images.plugins.module_utils._store.store import ImageStore
from ansible_collections.lockstep.images.tests.support.fakes import FakeSources, blob
from ansible_collections.lockstep.images.tests.support.images import (
    Image,
    attestation,
    demo_image,
    image,
    index,
    layer,
    to_json,
)
from ansible_collections.lockstep.images.tests.support.layout import blob_path, tree
from ansible_collections.lockstep.images.tests.support.plans import (
    dry_run,
    execute,
    interrupt,
    watch,
)
from ansible_collections.lockstep.images.tests.support.stores import (
    AMD64,
    ARM64,
    assert_valid_store,
    plan,
    pull,
    statuses,
    umask,
    whole_tree,
)

APP, WEB, TOOL = "registry.example/app:1", "registry.example/web:1", "other.example/tool:1"


def small(text, platform=AMD64, **more):
    """An image of one layer."""
    return image([layer({"file": text.encode() * 600})], platform, **more)


FAMILY = demo_image("app", "1", layers=2, size=2500)
NEXT = demo_image("app", "2", layers=2, size=2500)
ALONE = small("alone")


@pytest.fixture(name="sources")
def fixture_sources():
    """An index of two platforms, an index with attestations, and a single image."""
    sources = FakeSources()
    sources.publish(APP, FAMILY)
    sources.publish(WEB, demo_image("web", "1", layers=2, size=2500, attestations=True))
    sources.publish(TOOL, ALONE)
    return sources


@pytest.fixture(name="path")
def fixture_path(tmp_path):
    return tmp_path / "store"


@pytest.fixture(name="store")
def fixture_store(path):
    return ImageStore(str(path), lock_timeout=5)


def summaries(actions):
    return [action.summary() for action in actions]


def facts(result):
    """All of a result but what reading has cost."""
    return {key: value for key, value in result.items() if key != "stats"}


def spoil(store, digest, how="flip"):
    place = Path(store.blob_path(Digest.parse(digest)))
    data = place.read_bytes()
    changed = {"flip": data[:-1] + bytes([data[-1] ^ 1]), "cut": data[:-1], "longer": data + b"x"}
    place.write_bytes(changed.get(how, b""))
    if how == "gone":
        place.unlink()


# -- the five properties

STATES = {
    "no store": [],
    "a store with another image": [TOOL],
    "a store with all of it": [APP, WEB, TOOL],
}
every_state = pytest.mark.parametrize("there", STATES.values(), ids=STATES)


@every_state
def test_planning_writes_nothing_and_reads_no_layer(path, store, sources, there):
    if there:
        pull(store, sources, *there)
    before = whole_tree(path)
    sources.forget()
    with store.hold():
        dry_run(plan(store, sources, APP, WEB, TOOL, platforms=[AMD64, ARM64])).result()
    assert whole_tree(path) == before
    layers = {one.digest for member in (*FAMILY.images, ALONE) for one in member.layers}
    assert not {what for verb, what in sources.reads if verb == "blob"} & layers


@every_state
def test_plan_is_empty_after_it_was_applied(path, store, sources, there):
    if there:
        pull(store, sources, *there)
    pull(store, sources, APP, WEB, TOOL)
    before = whole_tree(path)
    again = pull(store, sources, APP, WEB, TOOL)
    assert (again["changed"], again["actions"]) == (False, [])
    assert set(statuses(again)) == {"up_to_date"}
    assert again["diff"]["before"] == again["diff"]["after"]
    assert whole_tree(path) == before


def test_names_come_last_and_children_first(store, sources):
    with store.hold():
        made = plan(store, sources, APP, WEB, platforms=[AMD64, ARM64])
    kinds = [isinstance(action, SetName) for action in made.actions]
    assert kinds == sorted(kinds)
    digests = [action.descriptor.digest for action in made.content]
    assert len(digests) == len(set(digests))
    stored = [str(digest) for digest in digests]
    assert all(stored.index(one.digest) < stored.index(FAMILY.digest) for one in FAMILY.images)


def test_store_is_valid_after_any_action_and_the_next_plan_is_the_rest(tmp_path, sources):
    with ImageStore(str(tmp_path / "none")).hold() as store:
        wanted = summaries(plan(store, sources, APP, TOOL, platforms=[AMD64, ARM64]).actions)
    assert len(wanted) > 10
    for number in range(len(wanted) + 1):
        path = tmp_path / str(number)
        store = ImageStore(str(path))
        with store.hold():
            made = plan(store, sources, APP, TOOL, platforms=[AMD64, ARM64])
            done = summaries(interrupt(made, number))
        assert len(done) == number
        assert_valid_store(path)
        with store.hold():
            rest = plan(store, sources, APP, TOOL, platforms=[AMD64, ARM64])
            left = summaries(rest.actions)
            assert all(action in wanted and action not in done for action in left)
            execute(rest)
    complete = tree(tmp_path / "0")
    assert all(tree(tmp_path / str(number)) == complete for number in range(len(wanted) + 1))


@every_state
@pytest.mark.parametrize("policy", ["always", "missing"])
def test_check_mode_reports_every_fact_of_the_real_run(store, sources, there, policy):
    if there:
        pull(store, sources, *there)
    options = {"platforms": [AMD64, ARM64], "policy": policy, "workers": 3}
    with store.hold():
        checked = dry_run(plan(store, sources, APP, WEB, TOOL, **options)).result()
    real = pull(store, sources, APP, WEB, TOOL, **options)
    assert facts(checked) == facts(real)
    assert checked["stats"]["bytes_to_fetch"] == real["stats"]["bytes_to_fetch"]


@pytest.mark.parametrize("workers", [1, 2, 7], ids="{} workers".format)
@pytest.mark.parametrize("mask", [0o000, 0o077], ids="umask {:03o}".format)
def test_store_does_not_depend_on_order_workers_or_umask(tmp_path, sources, workers, mask):
    pull(ImageStore(str(tmp_path / "first")), sources, APP, WEB, TOOL)
    wanted = tree(tmp_path / "first")
    for number, order in enumerate(itertools.permutations([APP, WEB, TOOL])):
        path = tmp_path / str(number)
        with umask(mask):
            if number % 2:
                pull(ImageStore(str(path)), sources, *order, workers=workers)
            else:
                for name in order:
                    pull(ImageStore(str(path)), sources, name, workers=workers)
        assert tree(path) == wanted
        assert {place.stat().st_mode & 0o777 for place in path.rglob("*")} == {0o644, 0o755}


# -- what a pull leaves in the store


def test_manifest_is_stored_unchanged(path, store, sources):
    docker = demo_image("docker", "1", docker=True, size=100)
    sources.publish("registry.example/docker:1", docker)
    result = pull(store, sources, "registry.example/docker:1")
    assert blob_path(path, docker.digest).read_bytes() == docker.raw
    entry = json.loads((path / "index.json").read_bytes())["manifests"][0]
    assert (entry["mediaType"], entry["size"]) == (docker.media_type, len(docker.raw))
    assert result["images"][0]["digest"] == docker.digest


def test_only_content_of_the_requested_platforms_is_stored(path, store, sources):
    pull(store, sources, APP, platforms=[ARM64])
    member = FAMILY.for_platform(ARM64)
    wanted = {FAMILY.digest, member.digest, *(digest for digest, _data in member.blobs())}
    assert {f"sha256:{place.name}" for place in path.glob("blobs/sha256/*")} == wanted
    entry = json.loads((path / "index.json").read_bytes())["manifests"][0]
    assert entry["annotations"]["io.lockstep.platforms"] == ARM64


def test_attestations_are_never_pulled(path, store, sources):
    """M022"""
    pull(store, sources, WEB, platforms=[AMD64, ARM64])
    family = demo_image("web", "1", layers=2, size=2500, attestations=True)
    proofs = [one for one in family.images if one.platform.get("os") == "unknown"]
    assert len(proofs) == 2
    assert not [one for one in proofs if blob_path(path, one.digest).exists()]


def test_nested_index_is_followed(path, store, sources):
    """M023"""
    nested = index([index([small("deep")])])
    sources.publish("registry.example/nested:1", nested)
    result = pull(store, sources, "registry.example/nested:1")
    assert [entry["digest"] for entry in result["images"]] == [nested.digest]
    assert blob_path(path, nested.images[0].digest).read_bytes() == nested.images[0].raw
    assert_valid_store(path)
    assert not pull(store, sources, "registry.example/nested:1")["changed"]


def test_artifact_without_a_platform_is_pulled(path, store, sources):
    """M028"""
    chart = layer({"Chart.yaml": b"name: x"}, media_type="application/vnd.cncf.helm.chart.content")
    raw_config = b"not even JSON"
    view = image([chart], platform="", artifactType="x/y").view
    view["config"] = dict(blob(raw_config, "application/vnd.cncf.helm.config.v1+json").as_json())
    raw = to_json(view)
    artifact = Image(raw, view["mediaType"], str(blob(raw).digest), raw_config, (chart,))
    sources.publish("registry.example/chart:1", artifact)
    result = pull(store, sources, "registry.example/chart:1")
    assert result["images"][0]["platform"] is None
    assert result["images"][0]["id"] == str(blob(raw_config).digest)
    assert_valid_store(path)
    assert not pull(store, sources, "registry.example/chart:1")["changed"]


def test_shared_content_is_fetched_once(store, sources):
    base = layer({"base": b"b" * 5000})
    for name in ("a", "b", "c"):
        member = image([base, layer({name: name.encode()})])
        sources.publish(f"registry.example/{name}:1", member)
    names = [f"registry.example/{name}:1" for name in "abc"]
    result = pull(store, sources, *names, workers=3)
    fetched = [act["digest"] for act in result["actions"] if act["action"] == "fetch_blob"]
    assert fetched.count(base.digest) == 1
    assert sources.reads.count(("blob", base.digest)) == 1


def test_result_lists_every_image_and_platform(store, sources):
    result = pull(store, sources, APP, TOOL, platforms=[ARM64, AMD64])
    shown = [(entry["name"], entry["platform"]) for entry in result["images"]]
    assert shown == [(APP, ARM64), (APP, AMD64), (TOOL, AMD64)]
    member, entry = FAMILY.for_platform(ARM64), result["images"][0]
    assert entry == {
        "name": APP,
        "digest": FAMILY.digest,
        "id": member.config_digest,
        "platform": ARM64,
        "size": member.size,
        "status": "downloaded",
        "layers": [
            {"digest": one.digest, "media_type": one.media_type, "size": len(one.blob)}
            for one in member.layers
        ],
    }
    assert result["diff"]["after"] == {
        APP: f"{FAMILY.digest} ({AMD64}, {ARM64})",
        TOOL: ALONE.digest,
    }


def test_bytes_to_fetch_is_the_size_of_the_missing_blobs(store, sources):
    result = pull(store, sources, TOOL)
    assert result["stats"]["bytes_to_fetch"] == len(ALONE.layers[0].blob)
    assert pull(store, sources, TOOL)["stats"]["bytes_to_fetch"] == 0


# -- what is asked


def test_tag_that_has_not_moved_costs_one_request(store, sources):
    pull(store, sources, APP)
    sources.forget()
    pull(store, sources, APP)
    assert sources.reads == [("resolve", "1")]


def test_store_is_read_while_tags_are_resolved(store, sources):
    read, waited = threading.Event(), []

    class Watched(ImageStore):
        def manifest(self, *what):
            read.set()
            return super().manifest(*what)

    pull(store, sources, APP, WEB)
    sources["registry.example/web"].script("resolve", "1", lambda: waited.append(read.wait(20)))
    assert not pull(Watched(store.path), sources, APP, WEB)["changed"]
    assert waited == [True]


@pytest.mark.parametrize("policy", ["always", "missing", "never"])
@pytest.mark.parametrize(
    "name", [f"registry.example/app@{FAMILY.digest}", f"{APP}@{FAMILY.digest}"]
)
def test_complete_digest_is_never_requested(store, sources, policy, name):
    pull(store, sources, name)
    sources.forget()
    assert not pull(store, sources, name, policy=policy)["changed"]
    assert sources.reads == []


def test_name_with_tag_and_digest_pulls_the_digest_under_the_tag(store, sources):
    sources.publish(APP, NEXT)
    result = pull(store, sources, f"{APP}@{FAMILY.digest}")
    assert list(store.names()) == [APP]
    assert result["images"][0]["digest"] == FAMILY.digest
    assert ("resolve", "1") not in sources.reads


def test_a_new_pin_moves_the_name(store, sources):
    sources.publish(APP, NEXT)
    pull(store, sources, f"{APP}@{FAMILY.digest}")
    assert statuses(pull(store, sources, f"{APP}@{NEXT.digest}")) == ["updated"]
    assert str(store.names()[APP].target.digest) == NEXT.digest


def test_content_of_another_name_is_not_read_again(store, sources):
    pull(store, sources, APP)
    sources.publish("registry.example/app:same", FAMILY)
    sources.forget()
    result = pull(store, sources, "registry.example/app:same")
    assert [action["action"] for action in result["actions"]] == ["set_name"]
    assert statuses(result) == ["downloaded"]
    assert sources.reads == [("manifest", "same")]


@pytest.mark.parametrize("pins", [(FAMILY, NEXT), (None, FAMILY)], ids=["two", "one and none"])
def test_name_with_two_digests_in_one_task_is_an_error(path, store, sources, pins):
    names = [f"{APP}@{pin.digest}" if pin else APP for pin in pins]
    with pytest.raises(InputError, match="is asked for twice") as caught:
        pull(store, sources, *names)
    assert all(name in str(caught.value) for name in names)
    assert not path.exists()


def test_two_spellings_of_one_name_are_pulled_once(store, sources):
    sources.publish("docker.io/library/app:latest", ALONE)
    names = ["app", "library/app:latest", "docker.io/app"]
    result = pull(store, sources, *names)
    assert [entry["name"] for entry in result["images"]] == ["docker.io/library/app:latest"]


# -- policies


def test_policy_missing_keeps_an_existing_name_without_a_request(store, sources):
    pull(store, sources, APP)
    sources.publish(APP, NEXT)
    sources.forget()
    result = pull(store, sources, APP, WEB, policy="missing")
    assert statuses(result) == ["up_to_date", "downloaded"]
    assert result["images"][0]["digest"] == FAMILY.digest
    assert sources["registry.example/app"].reads == []


def test_policy_missing_completes_an_incomplete_image(path, store, sources):
    pull(store, sources, APP)
    sources.publish(APP, NEXT)
    spoil(store, FAMILY.for_platform(AMD64).layers[0].digest, "gone")
    result = pull(store, sources, APP, policy="missing")
    assert result["images"][0]["digest"] == FAMILY.digest
    assert ("resolve", "1") not in sources.reads[-1:]
    assert_valid_store(path)


def test_policy_missing_fetches_another_platform_of_the_same_digest(store, sources):
    pull(store, sources, APP)
    sources.publish(APP, NEXT)
    pull(store, sources, APP, policy="missing", platforms=[ARM64])
    name = store.names()[APP]
    assert (str(name.target.digest), name.platforms) == (FAMILY.digest, (AMD64, ARM64))


def test_policy_never_sends_no_request(store, sources):
    pull(store, sources, APP, TOOL)
    sources.forget()
    assert statuses(pull(store, sources, APP, TOOL, policy="never")) == ["up_to_date"] * 2
    assert sources.reads == []


@pytest.mark.parametrize("what", ["name", "index", "manifest", "config", "layer", "platform"])
def test_policy_never_names_missing_content(path, store, sources, what):
    member = FAMILY.for_platform(AMD64)
    if what != "name":
        pull(store, sources, APP)
    lost = {
        "index": FAMILY.digest,
        "manifest": member.digest,
        "config": member.config_digest,
        "layer": member.layers[0].digest,
    }.get(what)
    if lost:
        spoil(store, lost, "gone")
    before = whole_tree(path)
    wanted = [ARM64] if what == "platform" else [AMD64]
    with pytest.raises(NotInStoreError) as caught:
        pull(store, sources, APP, policy="never", platforms=wanted)
    assert APP in str(caught.value)
    assert what in ("name", "index", "platform") or lost in str(caught.value)
    assert whole_tree(path) == before


def test_all_tags_pulls_every_tag(store, sources):
    sources.publish("registry.example/app:2", NEXT)
    result = pull(store, sources, "registry.example/app", all_tags=True)
    assert list(store.names()) == ["registry.example/app:1", "registry.example/app:2"]
    assert [entry["name"] for entry in result["images"]] == list(store.names())
    sources.forget()
    assert not pull(store, sources, "registry.example/app", all_tags=True)["changed"]
    assert sources.reads == [("tags", ""), ("resolve", "1"), ("resolve", "2")]


@pytest.mark.parametrize("suffix", [":1", f"@{FAMILY.digest}", f":1@{FAMILY.digest}"])
def test_all_tags_of_one_tag_or_digest_is_an_error(store, sources, suffix):
    with pytest.raises(InputError, match="neither tag nor digest"):
        pull(store, sources, f"registry.example/app{suffix}", all_tags=True)


def test_all_tags_with_policy_never_is_an_error(store, sources):
    with pytest.raises(InputError, match="all_tags"):
        pull(store, sources, "registry.example/app", all_tags=True, policy="never")
    assert sources.reads == []


# -- platforms


def test_two_tasks_with_one_platform_each_keep_both_platforms(path, store, sources):
    for _round in range(2):
        for platform in (AMD64, ARM64):
            result = pull(store, sources, APP, platforms=[platform])
            assert [entry["platform"] for entry in result["images"]] == [platform]
    assert not result["changed"]
    assert store.names()[APP].platforms == (AMD64, ARM64)
    both = path.parent / "both"
    pull(ImageStore(str(both)), sources, APP, platforms=[ARM64, AMD64])
    assert tree(both) == tree(path)


def test_platform_of_another_task_is_also_completed(path, store, sources):
    pull(store, sources, APP, platforms=[AMD64, ARM64])
    spoil(store, FAMILY.for_platform(ARM64).layers[1].digest, "gone")
    assert pull(store, sources, APP, platforms=[AMD64])["changed"]
    assert_valid_store(path)


def test_missing_platform_is_an_error_that_lists_the_existing_ones(path, store, sources):
    """M019"""
    with pytest.raises(NoPlatformError, match="linux/amd64, linux/arm64"):
        pull(store, sources, APP, platforms=["linux/s390x"])
    assert not path.exists()


@pytest.mark.parametrize("platform", ["linux/amd64/v3", "linux/x86_64"])
def test_best_variant_for_a_cpu_is_chosen(store, sources, platform):
    """M020"""
    result = pull(store, sources, APP, platforms=[platform])
    assert result["images"][0]["id"] == FAMILY.for_platform(AMD64).config_digest
    assert not pull(store, sources, APP, platforms=[platform])["changed"]


def warnings_of(store, sources, *names, **options):
    with store.hold():
        return plan(store, sources, *names, **options).warnings()


def test_platform_mismatch_of_index_and_configuration_is_a_warning(store, sources):
    """M031"""
    liar = small("liar", config={"architecture": "s390x"})
    sources.publish("registry.example/liar:1", index([liar]))
    said = warnings_of(store, sources, "registry.example/liar:1")
    assert said == [
        "registry.example/liar:1: the index says linux/amd64, the configuration linux/s390x"
    ]


@pytest.mark.parametrize("platforms", [[ARM64], [AMD64, ARM64]], ids=len)
def test_F23_an_image_without_an_index_for_another_platform_is_an_error(store, sources, platforms):
    assert warnings_of(store, sources, TOOL) == []
    with store.hold():
        made = plan(store, sources, TOOL, platforms=platforms, allow=False)
    error = made.failures[TOOL]
    assert (error.kind, error.details["platforms"]) == ("platform-not-found", [AMD64])
    assert str(error) == f"{TOOL}: is for linux/amd64, not for linux/arm64"
    assert "allow_platform_mismatch" in error.hint
    assert not made.changed


def test_F23_allowed_platform_mismatch_is_pulled_with_a_warning(store, sources):
    options = {"platforms": [ARM64], "allow": True}
    assert warnings_of(store, sources, TOOL, **options) == [
        f"{TOOL}: is for linux/amd64, not for linux/arm64"
    ]
    assert pull(store, sources, TOOL, **options)["changed"]
    sources.forget()
    assert not pull(store, sources, TOOL, policy="missing", **options)["changed"]
    assert sources.reads == []


def test_F23_single_entry_of_an_index_without_a_platform_is_checked(store, sources):
    alone = image([layer({"a": b"1"})])
    name = "registry.example/alone:1"
    sources.publish(name, index([dataclasses.replace(alone, platform=None)]))
    with store.hold():
        made = plan(store, sources, name, platforms=[ARM64], allow=False)
    assert made.failures[name].kind == "platform-not-found"


def test_F23_artifacts_and_images_without_a_platform_are_pulled(store, sources):
    alone = image([layer({"n": b"1"})])
    raw = alone.raw.replace(b"vnd.oci.image.config.v1", b"vnd.oci.empty.v1")
    items = {
        "artifact": dataclasses.replace(alone, raw=raw, digest=str(Digest.of(raw))),
        "silent": image([layer({"s": b"1"})], config={"os": "", "architecture": ""}),
        "attestation": attestation(alone),
    }
    for kind, item in items.items():
        name = f"registry.example/{kind}:1"
        sources.publish(name, item)
        with store.hold():
            made = plan(store, sources, name, platforms=[ARM64], allow=False)
        assert made.failures == {}, kind


def test_warnings_of_registries_are_passed_on(store, sources):
    sources.warnings.append("registry.example: will be closed")
    assert warnings_of(store, sources, APP) == ["registry.example: will be closed"]


# -- moving tags


def test_a_tag_that_moved_is_an_update(path, store, sources):
    pull(store, sources, APP)
    sources.publish(APP, NEXT)
    result = pull(store, sources, APP)
    assert statuses(result) == ["updated"]
    assert result["diff"]["before"] == {APP: f"{FAMILY.digest} ({AMD64})"}
    assert result["diff"]["after"] == {APP: f"{NEXT.digest} ({AMD64})"}
    assert result["actions"][-1]["previous"] == FAMILY.digest
    old, new = FAMILY.for_platform(AMD64), NEXT.for_platform(AMD64)
    fetched = [act["digest"] for act in result["actions"] if act["action"] == "fetch_blob"]
    assert fetched == [new.layers[1].digest]
    assert old.layers[0] == new.layers[0]
    assert_valid_store(path)


def move(store, sources):
    """Let the store have another image under the tag, which is then FAMILY."""
    sources.publish(APP, demo_image("app", "0", layers=1))
    pull(store, sources, APP)
    sources.publish(APP, FAMILY)


def test_tag_that_the_store_lacks_costs_no_request_beside_its_manifest(store, sources):
    pull(store, sources, TOOL)
    first, *rest = sources["other.example/tool"].reads
    assert first == ("manifest", "1")
    assert {verb for verb, _what in rest} == {"blob"}


@pytest.mark.parametrize("is_known", [False, True])
def test_tag_that_moves_during_the_pull_does_not_mix_two_images(path, store, sources, is_known):
    """R067: what was resolved is what is read, as long as the registry has it."""
    repository = sources["registry.example/app"]
    if is_known:
        move(store, sources)
    first = FAMILY if is_known else FAMILY.for_platform(AMD64)
    repository.script("manifest", first.digest, lambda: sources.publish(APP, NEXT) and None)
    result = pull(store, sources, APP)
    assert result["images"][0]["digest"] == FAMILY.digest
    assert_valid_store(path)
    assert statuses(pull(store, sources, APP)) == ["updated"]


def test_moved_tag_whose_old_content_is_gone_is_resolved_again(path, store, sources):
    """R067: the digest that counts is that of the bytes read."""
    repository = sources["registry.example/app"]
    move(store, sources)

    def move_again():
        repository.content.clear()
        sources.publish(APP, NEXT)

    repository.script("manifest", FAMILY.digest, move_again)
    result = pull(store, sources, APP)
    assert (result["images"][0]["digest"], statuses(result)) == (NEXT.digest, ["updated"])
    assert str(store.names()[APP].target.digest) == NEXT.digest
    assert_valid_store(path)


def test_name_moved_by_another_process_is_a_conflict(path, store, sources):
    with store.hold():
        made = plan(store, sources, APP)
        sources.publish(APP, NEXT)
        pull(ImageStore(str(path)), sources, APP)
        outcome = execute(made)
    assert isinstance(outcome.failure, ConflictError)
    assert str(store.names()[APP].target.digest) == NEXT.digest
    assert_valid_store(path)


def test_same_pull_by_another_process_is_not_a_conflict(path, store, sources):
    """S007"""
    with store.hold():
        made = plan(store, sources, APP)
        pull(ImageStore(str(path)), sources, APP)
        assert len(execute(made).done) == len(made.actions)
    assert_valid_store(path)


# -- healing


@pytest.mark.parametrize("policy", ["always", "missing"])
@pytest.mark.parametrize("how", ["gone", "empty", "cut", "longer", "flip"])
@pytest.mark.parametrize("what", ["index", "manifest", "config", "layer"])
def test_corrupt_content_is_fetched_again(path, store, sources, what, how, policy):
    """S017, S023: a layer with a flipped bit is found by a full verification only."""
    pull(store, sources, APP)
    member, wanted = FAMILY.for_platform(AMD64), tree(path)
    damaged = {
        "index": FAMILY.digest,
        "manifest": member.digest,
        "config": member.config_digest,
        "layer": member.layers[0].digest,
    }[what]
    spoil(store, damaged, how)
    result = pull(store, sources, APP, policy=policy)
    if (what, how) == ("layer", "flip"):
        assert not result["changed"]
        return
    assert [action["digest"] for action in result["actions"]] == [damaged]
    assert statuses(result) == ["downloaded"]
    assert tree(path) == wanted


def test_a_sparse_index_of_another_tool_is_completed(path, store, sources):
    """S027: skopeo and docker save name an index without saying for which platforms."""
    pull(store, sources, APP)
    document = json.loads((path / "index.json").read_bytes())
    del document["manifests"][0]["annotations"]["io.lockstep.platforms"]
    (path / "index.json").write_text(json.dumps(document, indent=1))
    result = pull(store, sources, APP, platforms=[ARM64])
    assert statuses(result) == ["downloaded"]
    assert store.names()[APP].platforms == (ARM64,)
    assert_valid_store(path)


def test_blob_that_is_a_special_file_is_an_error(path, store, sources):
    """S016"""
    pull(store, sources, APP)
    place = blob_path(path, FAMILY.for_platform(AMD64).layers[0].digest)
    place.unlink()
    place.symlink_to("/etc/passwd")
    with pytest.raises(StoreAccessError, match=place.name):
        pull(store, sources, APP)


# -- sources that fail


@pytest.mark.parametrize("workers", [1, 4])
@pytest.mark.parametrize("answer", [b"tampered", NotFoundError("gone")], ids=["wrong", "gone"])
def test_unavailable_layer_prevents_its_name(path, store, sources, answer, workers):
    bad = ALONE.layers[0]
    wrong = bad.blob[::-1] if isinstance(answer, bytes) else answer
    sources["other.example/tool"].script("blob", bad.digest, *[wrong] * 9)
    with pytest.raises((DigestMismatchError, NotFoundError)):
        pull(store, sources, APP, TOOL, workers=workers)
    assert set(store.names()) == {APP}
    assert not blob_path(path, bad.digest).exists()
    assert_valid_store(path)


def test_truncated_configuration_is_read_again(store, sources):
    config = ALONE.config_digest
    sources["other.example/tool"].script("blob", config, ALONE.config[:5], TruncatedError("reset"))
    assert statuses(pull(store, sources, TOOL)) == ["downloaded"]
    assert sources.reads.count(("blob", config)) == 3


@pytest.mark.parametrize("what", ["tag", "child"])
def test_missing_manifest_is_an_error_and_creates_no_store(path, store, sources, what):
    if what == "tag":
        sources["registry.example/app"].tagged.clear()
    else:
        del sources["registry.example/app"].content[FAMILY.for_platform(AMD64).digest]
    with pytest.raises(NotFoundError, match=r"registry\.example/app"):
        pull(store, sources, APP)
    assert not path.exists()


def test_invalid_configuration_is_an_error_and_makes_no_store(path, store, sources):
    """M030"""
    sources.publish(TOOL, small("x", config={"rootfs": {"diff_ids": "x"}}))
    with pytest.raises(ManifestError, match=r"other\.example/tool"):
        pull(store, sources, TOOL)
    assert not path.exists()


def applied(store, sources, *names, **options):
    """Pull, whether or not some of the images fail; return the outcome."""
    with store.hold():
        return execute(plan(store, sources, *names, **options))


NONE = "registry.example/none:1"


@pytest.mark.parametrize("workers", [1, 3])
def test_name_that_cannot_be_planned_does_not_stop_the_others(path, store, sources, workers):
    outcome = applied(store, sources, APP, NONE, TOOL, workers=workers)
    assert set(store.names()) == {APP, TOOL}
    assert_valid_store(path)
    result = outcome.result()
    assert [entry["name"] for entry in result["images"]] == [APP, TOOL]
    assert [(entry["name"], entry["error"]["kind"]) for entry in result["failures"]] == [
        (NONE, "not-found")
    ]
    assert outcome.failure.kind == "not-found"
    assert str(outcome.failure).startswith("1 of 3 images failed: registry.example/none")
    assert set(result["diff"]["after"]) == {APP, TOOL}


def test_check_mode_reports_names_that_cannot_be_planned(path, store, sources):
    with store.hold():
        checked = plan(store, sources, APP, NONE)
    assert not path.exists()
    shown = facts(dry_run(checked).result())
    outcome = applied(store, sources, APP, NONE)
    assert facts({**outcome.result(), "actions": 0}) == {**shown, "actions": 0}


@pytest.mark.parametrize("workers", [1, 3])
def test_unavailable_layer_affects_only_its_image(path, store, sources, workers):
    sources["other.example/tool"].script("blob", ALONE.layers[0].digest, *[NotFoundError("it")] * 9)
    outcome = applied(store, sources, APP, TOOL, workers=workers)
    assert set(store.names()) == {APP}
    assert_valid_store(path)
    assert list(outcome.failures) == [TOOL]
    result = outcome.result()
    assert TOOL not in {action.get("name") for action in result["actions"]}
    assert TOOL not in result["diff"]["after"]
    assert [entry["name"] for entry in result["images"]] == [APP]


def test_failures_are_in_the_order_of_the_names(store, sources):
    names = [f"registry.example/none:{n}" for n in range(9)]
    outcome = applied(store, sources, *names, workers=4)
    assert list(outcome.failures) == names


def test_repository_whose_tags_cannot_be_listed_does_not_stop_the_others(store, sources):
    sources["registry.example/none"].script("tags", "", NotFoundError("it"))
    names = ["registry.example/none", "registry.example/app"]
    outcome = applied(store, sources, *names, all_tags=True)
    assert (len(outcome.failures), list(store.names())) == (1, [APP])


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_layer_is_fetched_from_another_repository_after_a_failure(store, sources, order):
    """A denial of one registry does not fail an image of another."""
    base = layer({"base": b"b" * 5000})
    names = []
    for name in ("a", "b"):
        sources.publish(f"registry.example/{name}:1", image([base, layer({name: b"x"})]))
        names.append(f"registry.example/{name}:1")
    sources["registry.example/a"].script("blob", base.digest, *[NotFoundError("it")] * 9)
    result = pull(store, sources, *(names[n] for n in order))
    assert {entry["name"] for entry in result["images"]} == set(names)


def test_image_with_a_wrong_size_fails_alone(path, store, sources):
    base = layer({"base": b"b" * 5000})
    honest, liar = image([base, layer({"x": b"x"})]), image([base])
    view = json.loads(liar.raw)
    view["layers"][0]["size"] = 5
    raw = to_json(view)
    lie = Image(raw, view["mediaType"], str(blob(raw).digest), liar.config, liar.layers)
    sources.publish("good.example/app:1", honest)
    sources.publish("evil.example/app:1", lie)
    outcome = applied(store, sources, "good.example/app:1", "evil.example/app:1", workers=2)
    assert list(outcome.failures) == ["evil.example/app:1"]
    assert list(store.names()) == ["good.example/app:1"]
    assert_valid_store(path)


def test_unavailable_shared_layer_fails_both_images(store, sources):
    base = layer({"base": b"b" * 5000})
    for name in ("a", "b"):
        sources.publish(f"registry.example/{name}:1", image([base, layer({name: b"x"})]))
        script = [NotFoundError("it")] * 9
        sources[f"registry.example/{name}"].script("blob", base.digest, *script)
    names = ["registry.example/a:1", "registry.example/b:1"]
    outcome = applied(store, sources, *names, TOOL, workers=2)
    assert (set(outcome.failures), set(store.names())) == (set(names), {TOOL})


def test_name_is_set_as_soon_as_its_content_is_complete(store, sources):
    """What is slow does not keep the others from being used."""
    arrived = threading.Event()
    last = FAMILY.for_platform(AMD64).layers[0].digest
    sources["registry.example/app"].script("blob", last, lambda: arrived.wait(20) and None)

    def see(action):
        if isinstance(action, SetName) and action.name == TOOL:
            assert set(store.names()) == {TOOL}
            arrived.set()

    with store.hold():
        watch(plan(store, sources, APP, TOOL, workers=2), see)
    assert arrived.is_set()
    assert set(store.names()) == {APP, TOOL}


def test_image_with_fewest_missing_bytes_and_its_smallest_blobs_come_first(store, sources):
    with store.hold():
        made = plan(store, sources, APP, TOOL)
    # A thread can begin with the first of them before the others are queued, so the order of the end says nothing.
    blobs = (action for action in made.content if isinstance(action, FetchBlob))
    done = sorted(blobs, key=lambda action: action.urgency)
    assert {action.needed_by for action in done} == {(TOOL,), (APP,)}
    assert [action.needed_by for action in done] == sorted(
        (action.needed_by for action in done), key=lambda names: names != (TOOL,)
    )
    sizes = [action.descriptor.size for action in done if action.needed_by == (APP,)]
    assert sizes == sorted(sizes)


def test_F25_too_little_space_is_reported_in_units(store, sources, monkeypatch):
    free_space(monkeypatch, 21_000_000)
    monkeypatch.setattr(ImageStore, "stale", lambda *_rest: ())
    with pytest.raises(NoSpaceError, match=r": 93\.3 MB needed, 21 MB free, 72\.3 MB missing$"):
        store.require_space(93_300_000)


def test_too_little_space_is_an_error_before_the_first_byte(path, store, sources, monkeypatch):
    wanted = plan_size(store, sources, APP, TOOL)
    free_space(monkeypatch, wanted - 1)
    sources.forget()
    with pytest.raises(NoSpaceError, match=r"needed, .* free, 1 B missing"):
        pull(store, sources, APP, TOOL)
    layers = {one.digest for one in FAMILY.for_platform(AMD64).layers}
    assert not {what for verb, what in sources.reads if verb == "blob"} & layers
    assert not path.exists()
    free_space(monkeypatch, wanted)
    assert pull(store, sources, APP, TOOL)["changed"]


def test_space_of_stale_partial_blobs_counts_as_free(path, store, sources, monkeypatch):
    with store.hold():
        store.prepare()
    stale = path / ".staging" / f"sha256-{'0' * 64}.part"
    stale.write_bytes(bytes(1 << 20))
    os.utime(stale, (0, 0))
    free_space(monkeypatch, 0)
    assert pull(store, sources, APP, TOOL)["changed"]
    assert not stale.exists()


def test_partial_blob_of_a_requested_layer_is_used_at_any_age(path, store, sources):
    big = ALONE.layers[0]
    sources["other.example/tool"].patience = 0
    sources["other.example/tool"].script("blob", big.digest, big.blob[:100])
    with pytest.raises(TruncatedError):
        pull(store, sources, TOOL)
    for part in (path / ".staging").glob("sha256-*"):
        os.utime(part, (0, 0))
    assert pull(store, sources, TOOL)["stats"]["bytes_resumed"] == 100


def plan_size(store, sources, *names):
    with store.hold():
        made = plan(store, sources, *names)
    return sum(action.descriptor.size for action in made.content)


def free_space(monkeypatch, size):
    there = types.SimpleNamespace(f_bavail=size, f_bfree=size, f_frsize=1)
    monkeypatch.setattr(os, "statvfs", lambda path: there)


def test_a_full_disk_ends_the_whole_task(store, sources, monkeypatch):
    """S001"""

    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(NoSpaceError):
        pull(store, sources, APP, TOOL)
    assert store.names() == {}
    assert parts(store) == []


def parts(store):
    return [path.name for path in Path(store.path, ".staging").glob("*.part")]


def test_bytes_of_an_earlier_run_are_counted_and_not_fetched(path, store, sources):
    big = ALONE.layers[0]
    half = len(big.blob) // 2
    sources["other.example/tool"].patience = 0
    sources["other.example/tool"].script("blob", big.digest, big.blob[:half])
    with pytest.raises(TruncatedError):
        pull(store, sources, TOOL)
    assert len(parts(store)) == 1
    with store.hold():
        checked = dry_run(plan(store, sources, TOOL)).result()["stats"]
    assert checked["bytes_to_fetch"] == len(big.blob) - half
    stats = pull(store, sources, TOOL)["stats"]
    assert (stats["bytes_to_fetch"], stats["bytes_resumed"]) == (len(big.blob) - half, half)
    assert parts(store) == []
    assert_valid_store(path)


def test_bytes_reused_is_the_size_of_existing_content(store, sources):
    assert pull(store, sources, TOOL)["stats"]["bytes_reused"] == 0
    size = len(ALONE.raw) + len(ALONE.config) + sum(len(one.blob) for one in ALONE.layers)
    assert pull(store, sources, TOOL)["stats"]["bytes_reused"] == size


def test_a_layer_is_read_from_the_repository_that_has_it(store, sources):
    with store.hold():
        made = plan(store, sources, APP, TOOL)
    sources_of = {
        str(action.source): action.descriptor.digest
        for action in made.content
        if isinstance(action, FetchBlob)
    }
    assert sources_of.keys() == {"registry.example/app", "other.example/tool"}
