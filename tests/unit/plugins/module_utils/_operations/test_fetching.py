# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Images on their way to a store: the options, what a lock pins, and what is read from where."""

from __future__ import annotations

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._image.errors import (
    InputError,
    LockError,
    NotFoundError,
    NotInStoreError,
)
from ansible_collections.lockstep.images.plugins.module_utils._image.names import (
    Digest,
    Platform,
    Reference,
)
from ansible_collections.lockstep.images.plugins.module_utils._operations.fetching import (
    NEVER,
    FetchOptions,
    FetchPlanner,
    ImageRequest,
)
from ansible_collections.lockstep.images.plugins.module_utils._store.store import ImageStore
from ansible_collections.lockstep.images.tests.support.fakes import FakeSources
from ansible_collections.lockstep.images.tests.support.images import demo_image
from ansible_collections.lockstep.images.tests.support.layout import blob_path
from ansible_collections.lockstep.images.tests.support.stores import (
    AMD64,
    ARM64,
    pull,
    put,
    whole_tree,
)
from ansible_collections.lockstep.images.tests.support.syncing import lock_of

NAME, APP = "registry.example/app", "registry.example/app:1"
FAMILY = demo_image("app", "1", layers=2, size=300)
MEMBER = FAMILY.for_platform(AMD64)
PARAMS = {
    "parallel": 3,
    "connections_per_blob": None,
    "chunk_size": 1000,
    "foreign_layers": "skip",
    "allow_platform_mismatch": False,
}


@pytest.fixture(name="path")
def fixture_path(tmp_path):
    return tmp_path / "store"


@pytest.fixture(name="sources")
def fixture_sources():
    sources = FakeSources()
    sources.publish(APP, FAMILY)
    return sources


def planner(path, sources, *args):
    return FetchPlanner(ImageStore(str(path)), sources, FetchOptions(1), *args)


def request(text=APP, *platforms):
    return ImageRequest(Reference.parse(text), [Platform.parse(one) for one in platforms] or None)


# -- options


def test_connections_of_a_blob_are_as_many_as_threads_unless_given():
    assert FetchOptions.of(PARAMS).chunks.connections == 3
    assert FetchOptions.of({**PARAMS, "connections_per_blob": 1}).chunks.connections == 1


@pytest.mark.parametrize(
    "wrong", [{"chunk_size": 0}, {"chunk_size": -1}, {"connections_per_blob": 0}, {"parallel": 0}]
)
def test_size_or_number_below_one_is_an_error(wrong):
    with pytest.raises(InputError, match="must be at least 1"):
        FetchOptions.of({**PARAMS, **wrong})


# -- requests


def test_request_without_a_lock_is_not_pinned():
    found = ImageRequest.of(Reference.parse(APP), None, None)
    assert (found.reference.digest, found.locked) == (None, None)


def test_lock_pins_the_digest_of_a_request(sources):
    lock = lock_of(sources, APP)
    found = ImageRequest.of(Reference.parse(APP), [Platform.parse(AMD64)], lock)
    assert str(found.reference.digest) == FAMILY.digest
    assert found.locked is not None


@pytest.mark.parametrize(
    ("text", "platforms"),
    [("registry.example/other:1", None), (APP, ["windows/amd64"])],
)
def test_image_or_platform_that_the_lock_lacks_is_an_error(sources, text, platforms):
    asked = platforms and [Platform.parse(one) for one in platforms]
    with pytest.raises(LockError):
        ImageRequest.of(Reference.parse(text), asked, lock_of(sources, APP))


# -- plans


def test_plan_of_an_empty_store_brings_everything_and_writes_nothing(path, sources):
    plan = planner(path, sources).plan_image(request(APP, AMD64))
    assert (plan.name, plan.before, plan.status, plan.is_incomplete) == (
        APP,
        None,
        "downloaded",
        False,
    )
    wanted = {one.descriptor.digest for one in plan.content}
    assert {Digest.parse(digest) for digest, _raw in MEMBER.blobs()} <= wanted
    assert wanted == set(plan.sizes)
    assert not path.exists()


def test_plan_of_a_complete_image_brings_nothing(path, sources):
    pull(ImageStore(str(path)), sources, APP)
    before = whole_tree(path)
    plan = planner(path, sources).plan_image(request(APP, AMD64))
    assert (plan.status, plan.content, plan.before) == ("up_to_date", [], plan.target)
    assert whole_tree(path) == before


def test_name_that_points_to_its_target_and_lacks_a_layer_is_incomplete(path, sources):
    pull(ImageStore(str(path)), sources, APP)
    blob_path(path, MEMBER.layers[0].digest).unlink()
    plan = planner(path, sources).plan_image(request(APP, AMD64))
    assert (plan.status, plan.is_incomplete) == ("downloaded", True)
    assert [str(one.descriptor.digest) for one in plan.content] == [MEMBER.layers[0].digest]


def test_moved_tag_updates_the_name(path, sources):
    pull(ImageStore(str(path)), sources, APP)
    sources.publish(APP, demo_image("app", "2", layers=1, size=100))
    plan = planner(path, sources).plan_image(request(APP, AMD64))
    assert (plan.status, plan.is_incomplete) == ("updated", False)


def test_platforms_of_earlier_tasks_stay_unless_the_request_is_exact(path, sources):
    pull(ImageStore(str(path)), sources, APP, platforms=[ARM64])
    arm = planner(path, sources).names[APP].platforms
    asked = request(APP, AMD64)
    kept = planner(path, sources).plan_image(asked).target.platforms
    assert set(kept) == {*arm, "linux/amd64"}
    exact = planner(path, sources).plan_image(asked._replace(exact=True)).target.platforms
    assert exact == ("linux/amd64",)


def test_requests_of_one_name_for_two_digests_are_an_error(path, sources):
    texts = [f"{APP}@sha256:{letter * 64}" for letter in "ab"]
    with pytest.raises(InputError, match="is asked for twice"):
        planner(path, sources).plan_all([request(text) for text in texts])


def test_failing_image_does_not_stop_the_others(path, sources):
    plans = planner(path, sources)
    found = plans.plan_all([request(f"{NAME}:missing"), request(APP, AMD64)])
    assert [one.name for one in found] == [APP]
    assert {name: type(exc) for name, exc in plans.failures.items()} == {
        f"{NAME}:missing": NotFoundError
    }


def test_no_registry_is_asked_if_that_is_forbidden(path, sources):
    plans = planner(path, sources, NEVER)
    assert plans.plan_all([request(APP, AMD64)]) == []
    assert isinstance(plans.failures[APP], NotInStoreError)
    assert sources.reads == []


def test_embedded_manifests_are_not_requested(path, sources):
    raw = {Digest.parse(digest): data for digest, _type, data in FAMILY.manifests()}
    plans = FetchPlanner(ImageStore(str(path)), sources, FetchOptions(1), embedded=raw)
    plans.plan_image(request(f"{APP}@{FAMILY.digest}", AMD64))
    assert [what for verb, what in sources.reads if verb == "manifest"] == []


def test_image_of_another_platform_is_an_error_unless_allowed(path, sources):
    put(path, MEMBER, APP)
    sources.publish(APP, FAMILY.for_platform(ARM64))
    plans = planner(path, sources)
    assert plans.plan_all([request(APP, AMD64)]) == []
    assert plans.failures[APP].kind == "platform-not-found"
    allowed = FetchPlanner(ImageStore(str(path)), sources, FetchOptions(1, allow=True))
    (plan,) = allowed.plan_all([request(APP, AMD64)])
    assert len(plan.warnings) == 1
