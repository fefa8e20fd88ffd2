# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What refers to an image, in turn and once, and the tags that a repository name stands for."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._image.errors import (
    AuthenticationError,
    DeniedError,
    InputError,
    UnreachableError,
)
from ansible_collections.lockstep.images.plugins.module_utils._image.names import Digest, Reference
from ansible_collections.lockstep.images.plugins.module_utils._operations.referrers import (
    expand_tags,
    follow,
    referrers_of,
)
from ansible_collections.lockstep.images.plugins.module_utils._plan import PlanBuilder
from ansible_collections.lockstep.images.tests.support.fakes import FakeSources
from ansible_collections.lockstep.images.tests.support.images import attestation, demo_image

NAME = "registry.example/app"
APP = Reference.parse(f"{NAME}:1")
IMAGE = demo_image("app", "1", layers=1, size=50).for_platform("linux/amd64")
SIGNATURE = demo_image("signature", "1", layers=1, size=50).for_platform("linux/amd64")
DIGEST = Digest.parse(IMAGE.digest)
TAG = IMAGE.digest.replace(":", "-")


@pytest.fixture(name="sources")
def fixture_sources():
    sources = FakeSources()
    sources.publish(f"{NAME}:1", IMAGE)
    return sources


def found(sources, digests=(DIGEST,)):
    return list(map(str, referrers_of(APP, sources[NAME], digests)))


@pytest.mark.parametrize("suffix", ["", ".sig", ".att", ".sbom"])
def test_tag_derived_from_the_digest_refers_to_the_image(sources, suffix):
    sources[NAME].publish(SIGNATURE, f"{TAG}{suffix}")
    assert found(sources) == [f"{NAME}:{TAG}{suffix}"]


def test_manifest_with_the_subject_refers_to_the_image_by_its_digest(sources):
    statement = attestation(IMAGE)
    sources[NAME].publish(statement)
    subjects = [one.digest for one in sources[NAME].referrers(DIGEST)]
    assert found(sources) == [f"{NAME}@{one}" for one in subjects]


def test_image_without_referrers_has_none(sources):
    sources[NAME].publish(SIGNATURE, f"{TAG}.other", "latest")
    assert found(sources) == []
    assert found(sources, ()) == []


def test_digest_that_is_given_twice_is_found_once(sources):
    sources[NAME].publish(SIGNATURE, f"{TAG}.sig")
    assert found(sources, (DIGEST, DIGEST)) == [f"{NAME}:{TAG}.sig"]


@pytest.mark.parametrize("error", [DeniedError, AuthenticationError])
def test_tag_that_a_registry_hides_is_missing_if_the_list_of_tags_lacks_it(sources, error):
    sources[NAME].script("resolve", f"{TAG}.sig", error("denied", status=403))
    assert found(sources) == []


def test_listed_tag_that_a_registry_refuses_is_an_error(sources):
    sources[NAME].publish(SIGNATURE, f"{TAG}.sig")
    sources[NAME].script("resolve", f"{TAG}.sig", DeniedError("denied", status=403))
    with pytest.raises(DeniedError):
        found(sources)


def test_registry_that_does_not_answer_is_an_error(sources):
    sources[NAME].script("resolve", TAG, UnreachableError("no answer"))
    with pytest.raises(UnreachableError):
        found(sources)


class Planned(t.NamedTuple):
    """A plan that has nothing to bring."""

    name: str
    content: tuple = ()


def followed(graph: dict[str, list[str]], *names: str, failing: str = ""):
    """Return the names that refer to ``names``, the planned names in order, and the builder."""
    planned = []

    def plan(name: str) -> Planned:
        planned.append(name)
        if name == failing:
            raise InputError(f"{name} fails")
        return Planned(name)

    builder = PlanBuilder(1)
    plans = [Planned(name) for name in names]
    more = follow(plans, lambda one: graph.get(one.name, []), plan, str, builder)
    return [one.name for one in more], planned, builder


def test_referrers_of_referrers_are_planned_up_to_three_levels():
    chain = {"a": ["b"], "b": ["c"], "c": ["d"], "d": ["e"]}
    names, planned, _builder = followed(chain, "a")
    assert names == planned == ["b", "c", "d"]


def test_name_is_planned_once_and_never_if_it_is_planned_already():
    graph = {"a": ["b", "c", "b", "a"], "b": ["c", "d"], "c": ["d", "b"]}
    names, planned, _builder = followed(graph, "a")
    assert names == planned == ["b", "c", "d"]
    assert followed({"a": ["b"]}, "a", "b")[0] == []


def test_failure_of_one_referrer_is_recorded_and_the_others_are_planned():
    graph = {"a": ["bad", "good"], "bad": ["hidden"], "good": ["next"]}
    names, _planned, builder = followed(graph, "a", failing="bad")
    assert names == ["good", "next"]
    assert list(builder.failures) == ["bad"]


def expanded(sources, *names):
    builder = PlanBuilder(1)
    references = [Reference.parse(name) for name in names]
    return list(map(str, expand_tags(references, sources, builder))), builder


def test_name_stands_for_every_tag_of_its_repository(sources):
    sources[NAME].publish(IMAGE, "2", "latest")
    sources["registry.example/other"].publish(IMAGE, "9")
    names, _builder = expanded(sources, NAME, "registry.example/other", NAME)
    assert names == [f"{NAME}:1", f"{NAME}:2", f"{NAME}:latest", "registry.example/other:9"]


@pytest.mark.parametrize("name", [f"{NAME}:1", f"{NAME}@{DIGEST}", f"{NAME}:latest@{DIGEST}"])
def test_name_with_a_tag_or_digest_is_an_error_and_sends_no_request(sources, name):
    with pytest.raises(InputError, match="all_tags takes a name with neither tag nor digest"):
        expanded(sources, NAME, name)
    assert sources.reads == []


def test_repository_that_cannot_be_listed_fails_alone(sources):
    sources["registry.example/closed"].script("tags", "", DeniedError("denied"))
    names, builder = expanded(sources, "registry.example/closed", NAME)
    assert names == [f"{NAME}:1"]
    assert list(builder.failures) == ["registry.example/closed:latest"]
