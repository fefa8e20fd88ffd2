# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Registries that serve manifests by tag alone: what is locked, pulled, copied and looked at is the same."""

from __future__ import annotations

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._image.errors import (
    LockstepError,
    NotFoundError,
)
from ansible_collections.lockstep.images.plugins.module_utils._image.lock import Lock
from ansible_collections.lockstep.images.plugins.module_utils._image.names import (
    Platform,
    Reference,
)
from ansible_collections.lockstep.images.plugins.module_utils._lockfile.lockfile import read_lock
from ansible_collections.lockstep.images.plugins.module_utils._operations.copy import (
    Destination,
    plan_copy,
)
from ansible_collections.lockstep.images.plugins.module_utils._operations.lock import (
    LockOptions,
    plan_lock,
)
from ansible_collections.lockstep.images.plugins.module_utils._operations.registry_info import (
    plan_registry_info,
)
from ansible_collections.lockstep.images.plugins.module_utils._operations.sending import (
    SendOptions,
    SendPlanner,
)
from ansible_collections.lockstep.images.tests.support.faults import Fault
from ansible_collections.lockstep.images.tests.support.images import demo_image, push
from ansible_collections.lockstep.images.tests.support.plans import execute
from ansible_collections.lockstep.images.tests.support.pulling import IMAGE, Puller, serving
from ansible_collections.lockstep.images.tests.support.registry import Registry

FAMILY = demo_image("family", "1")
NEXT = demo_image("family", "2").for_platform("linux/amd64")
every_status = pytest.mark.parametrize("status", [404, 400, 405, 501])


def by_tag_alone(registry, status):
    """Let a registry refuse manifests by digest."""
    fault = Fault(method="HEAD|GET", path="/manifests/sha256:", status=status, times=None)
    registry.faults.append(fault)


@pytest.fixture(name="registry")
def fixture_registry():
    with serving() as registry:
        push(registry, "demo/family", FAMILY, "1")
        yield registry


def lock(directory, registry, *names, embed=False):
    """Plan a lock file, in which nothing is yet, or what an earlier call has locked."""
    path = str(directory / "images.lock.yml")
    plan = plan_lock(
        path,
        [Reference.parse(f"{registry.address}/demo/{name}") for name in names] or None,
        (),
        Puller(directory, registry).sources,
        LockOptions(2, platforms=["linux/amd64"], embed=embed),
    )
    outcome = execute(plan)
    if outcome.failure:
        raise outcome.failure
    return Lock.parse(read_lock(path))


@every_status
@pytest.mark.parametrize("embed", [False, True])
def test_F13_image_is_locked_by_its_tag_and_the_digest_of_its_bytes(
    tmp_path, registry, status, embed
):
    by_tag_alone(registry, status)
    (locked,) = lock(tmp_path, registry, "app:1.0", embed=embed).images
    assert str(locked.digest) == IMAGE.digest
    assert str(locked.platforms["linux/amd64"].manifest) == IMAGE.digest
    assert lock(tmp_path, registry, embed=embed).images == (locked,)


@every_status
def test_F13_image_locked_by_tag_is_pulled_by_the_lock(tmp_path, registry, status):
    by_tag_alone(registry, status)
    locked = lock(tmp_path, registry, "app:1.0")
    puller = Puller(tmp_path, registry)
    puller.pull(lock=locked)
    assert puller.holds(IMAGE.digest)


def test_F13_moved_tag_does_not_match_the_lock(tmp_path, registry):
    locked = lock(tmp_path, registry, "app:1.0")
    push(registry, "demo/app", NEXT, "1.0")
    by_tag_alone(registry, 404)
    error = Puller(tmp_path, registry).fails(f"{registry.address}/demo/app:1.0", lock=locked)
    assert error.kind == "not-found"
    assert IMAGE.digest in str(error)


def test_F13_tag_that_moves_during_the_lock_gets_its_final_digest(tmp_path, registry):
    """As image_pull takes it."""
    false = {"Docker-Content-Digest": FAMILY.digest}
    registry.faults.append(Fault(method="HEAD", path="/manifests/1.0", set_headers=false))
    (locked,) = lock(tmp_path, registry, "app:1.0").images
    assert str(locked.digest) == IMAGE.digest


@every_status
def test_F13_error_for_an_index_names_the_unavailable_manifest(tmp_path, registry, status):
    by_tag_alone(registry, status)
    child = FAMILY.for_platform("linux/amd64").digest
    with pytest.raises(LockstepError) as caught:
        lock(tmp_path, registry, "family:1")
    name = f"{registry.address}/demo/family:1"
    assert str(caught.value).startswith(
        f"{name}: its index lists {child}, the image for linux/amd64"
    )
    assert "tag each platform" in caught.value.hint
    assert not (tmp_path / "images.lock.yml").exists()


def test_F13_index_is_locked_if_its_children_are_readable(tmp_path, registry):
    path = f"/manifests/{FAMILY.digest}"
    registry.faults.append(Fault(method="HEAD|GET", path=path, status=404, times=None))
    (locked,) = lock(tmp_path, registry, "family:1").images
    assert str(locked.digest) == FAMILY.digest


@every_status
def test_F13_an_image_is_copied_by_its_tag_each_time(tmp_path, registry, status):
    by_tag_alone(registry, status)
    with Registry() as target:
        push(target, "demo/app", NEXT, "1.0")  # so that the existing content is compared
        sources = Puller(tmp_path, registry, target).sources
        plan = plan_copy(
            [Reference.parse(f"{registry.address}/demo/app:1.0")],
            Destination.parse(target.address),
            None,
            SendPlanner(sources, SendOptions(1)),
        )
        outcome = execute(plan)
        assert not outcome.failures
        assert target.manifest("demo/app", "1.0") == IMAGE.raw


@every_status
def test_F13_image_is_inspected_by_its_tag(tmp_path, registry, status):
    by_tag_alone(registry, status)
    seen = plan_registry_info(
        [Reference.parse(f"{registry.address}/demo/app:1.0")],
        sources=Puller(tmp_path, registry).sources,
        workers=1,
        platforms=[Platform.parse("linux/amd64")],
    ).facts
    assert seen["missing"] == []
    assert [one["digest"] for one in seen["images"]] == [IMAGE.digest]


@pytest.mark.parametrize(("status", "kind"), [(401, "authentication-failed"), (403, "denied")])
def test_F13_rejected_login_does_not_try_the_tag(tmp_path, registry, status, kind):
    by_tag_alone(registry, status)
    error = Puller(tmp_path, registry).fails()
    assert error.kind == kind
    assert not [
        one for one in registry.requests if one.path.endswith("/1.0") and one.method == "GET"
    ]


def test_F13_refused_child_is_named(tmp_path, registry):
    child = FAMILY.for_platform("linux/amd64").digest
    registry.faults.append(Fault(path=f"/manifests/{child}", status=403))
    error = Puller(tmp_path, registry).fails(f"{registry.address}/demo/family:1")
    assert error.kind == "denied"
    assert f"demo/family:1: its index lists {child}, the image for linux/amd64" in str(error)
    assert "with this permission" in error.hint


def test_F13_name_without_a_tag_has_no_fallback(tmp_path, registry):
    by_tag_alone(registry, 404)
    with pytest.raises(NotFoundError):
        lock(tmp_path, registry, f"app@{IMAGE.digest}")
    assert [one.path for one in registry.requests if "manifests" in one.path] == [
        f"/v2/demo/app/manifests/{IMAGE.digest}"
    ]
