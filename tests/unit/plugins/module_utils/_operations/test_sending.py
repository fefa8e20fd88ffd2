# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Images on their way to registries: the options, what is mounted, and what one target may get."""

from __future__ import annotations

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._image.errors import (
    InputError,
    PlatformError,
)
from ansible_collections.lockstep.images.plugins.module_utils._image.names import Digest, Reference
from ansible_collections.lockstep.images.plugins.module_utils._operations.sending import (
    SendOptions,
    SendPlanner,
    Sinks,
    Transfer,
)
from ansible_collections.lockstep.images.tests.support.fakes import FakeRepository
from ansible_collections.lockstep.images.tests.support.images import demo_image
from ansible_collections.lockstep.images.tests.support.plans import execute
from ansible_collections.lockstep.images.tests.support.publish import push
from ansible_collections.lockstep.images.tests.support.pulling import Puller
from ansible_collections.lockstep.images.tests.support.pushing import half_images, held
from ansible_collections.lockstep.images.tests.support.registry import Registry

IMAGE = demo_image("app", "1", layers=2, size=300).for_platform("linux/amd64")
OTHER = demo_image("other", "1", layers=1, size=300).for_platform("linux/amd64")
PARAMS = {
    "parallel": 2,
    "chunk_size": 0,
    "platform": None,
    "allow_platform_mismatch": False,
    "force": False,
    "referrers": False,
}


@pytest.fixture(name="registry")
def fixture_registry():
    """An empty one, which fails the test on an internal error."""
    with Registry() as registry:
        yield registry
    assert registry.errors == []


@pytest.fixture(name="planner")
def fixture_planner(tmp_path, registry):
    return SendPlanner(Puller(tmp_path, registry).sources, SendOptions(1))


@pytest.fixture(name="source")
def fixture_source():
    source = FakeRepository("store.example/app", patience=0)
    source.publish(IMAGE, "1")
    source.publish(OTHER, "other")
    return source


def transfer(planner, registry, source, tag="1", target="demo/app:1"):
    reference = Reference.parse(f"{registry.address}/{target}")
    origin = Reference.parse(f"{source.name}:{tag}")
    return Transfer(origin, reference, source, planner.sinks.of(reference))


# -- options


def test_options_become_values():
    found = SendOptions.of({**PARAMS, "platform": "linux/arm64", "chunk_size": 5})
    assert (str(found.platform), found.chunk_size, found.workers) == ("linux/arm64", 5, 2)
    assert SendOptions.of(PARAMS).platform is None


@pytest.mark.parametrize(
    ("wrong", "error"),
    [({"chunk_size": -1}, InputError), ({"platform": "a/b/c/d"}, PlatformError)],
)
def test_invalid_option_is_an_error(wrong, error):
    with pytest.raises(error):
        SendOptions.of({**PARAMS, **wrong})


# -- plans


def test_missing_image_is_sent_blobs_first_and_the_tag_last(planner, registry, source):
    plan = planner.plan([transfer(planner, registry, source)])
    assert [one.summary()["action"] for one in plan.actions] == [
        *["push_blob"] * len(dict(IMAGE.blobs())),
        "publish_image",
    ]
    assert held(registry)["tags"] == {}
    outcome = execute(plan)
    assert outcome.failure is None
    assert held(registry)["tags"]["demo/app"] == {"1": IMAGE.digest}
    assert half_images(registry) == []


def test_second_plan_is_empty_and_up_to_date(planner, registry, source, tmp_path):
    execute(planner.plan([transfer(planner, registry, source)]))
    again = SendPlanner(Puller(tmp_path, registry).sources, SendOptions(1))
    plan = again.plan([transfer(again, registry, source)])
    assert plan.actions == ()
    assert [one["status"] for one in plan.facts["images"]] == ["up_to_date"]


def test_moved_tag_is_updated_and_the_previous_digest_is_shown(planner, registry, source):
    push(registry, "demo/app", OTHER, "1")
    plan = planner.plan([transfer(planner, registry, source)])
    assert [one["status"] for one in plan.facts["images"]] == ["updated"]
    assert plan.names[0].summary()["previous"] == OTHER.digest


def test_two_images_for_one_target_are_an_error_that_names_both(planner, registry, source):
    transfers = [transfer(planner, registry, source, tag) for tag in ("1", "other")]
    with pytest.raises(InputError, match="conflicting sources") as caught:
        planner.plan(transfers)
    assert "app:1" in str(caught.value)
    assert "app:other" in str(caught.value)
    assert registry.requests == []


def test_image_that_the_source_lacks_fails_alone(planner, registry, source):
    plan = planner.plan(
        [
            transfer(planner, registry, source, "missing", "demo/app:2"),
            transfer(planner, registry, source),
        ]
    )
    assert [name.rpartition("/")[2] for name in plan.failures] == ["app:2"]
    assert [one["status"] for one in plan.facts["images"]] == ["uploaded"]


def test_digest_of_another_image_is_not_a_target(planner, registry, source):
    wrong = transfer(planner, registry, source, target=f"demo/app@sha256:{'0' * 64}")
    plan = planner.plan([wrong])
    (error,) = plan.failures.values()
    assert "cannot be pushed under another digest" in str(error)


def test_blob_of_two_targets_in_one_registry_is_sent_once_and_mounted(planner, registry, source):
    targets = ("demo/app:1", "demo/copy:1")
    plan = planner.plan([transfer(planner, registry, source, target=one) for one in targets])
    outcome = execute(plan)
    assert outcome.failure is None
    stats = outcome.result()["stats"]
    assert stats["bytes_sent"] == sum(len(raw) for _digest, raw in IMAGE.blobs())
    assert stats["blobs_mounted"] == len(dict(IMAGE.blobs()))


def test_repository_has_one_sink(planner, registry):
    sinks = Sinks(planner.registries, 0)
    one, again, other = (
        sinks.of(Reference.parse(f"{registry.address}/{name}"))
        for name in ("a/b:1", "a/b:2", "a/c:1")
    )
    assert one is again
    assert one is not other


def test_status_names_the_digests_that_others_may_refer_to(planner, registry, source):
    (action,) = planner.plan([transfer(planner, registry, source)]).names
    assert action.plan.digests == [Digest.parse(IMAGE.digest)]
    assert (action.subject, action.plan.status) == (f"{registry.address}/demo/app:1", "uploaded")
