# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Registry remove: plans that list what they will delete, and delete exactly that."""

from __future__ import annotations

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._image.errors import InputError
from ansible_collections.lockstep.images.plugins.module_utils._image.names import Reference
from ansible_collections.lockstep.images.plugins.module_utils._operations.registry_remove import (
    plan_registry_remove,
)
from ansible_collections.lockstep.images.tests.support.faults import Fault
from ansible_collections.lockstep.images.tests.support.images import demo_image, push
from ansible_collections.lockstep.images.tests.support.plans import dry_run, execute, interrupt
from ansible_collections.lockstep.images.tests.support.pulling import (
    IMAGE,
    LOGIN,
    USERS,
    Puller,
    serving,
    trail,
)

OTHER = demo_image("other", "1", size=100)
SHA = f"@sha256:{'0' * 64}"


@pytest.fixture(name="registry", params=[None, "basic", "bearer"], ids=str)
def fixture_registry(request):
    """``demo/app`` with two tags for one image, ``demo/other`` with an index."""
    with serving(auth=request.param, users=USERS) as registry:
        registry.tag("demo/app", "stable", IMAGE.digest)
        push(registry, "demo/other", OTHER, "1")
        yield registry


class Remover:
    """Plans against one registry, each time as a task of its own."""

    def __init__(self, directory, registry, **options):
        self.directory, self.registry = directory, registry
        self.options = {"login": LOGIN, **options}

    def plan(self, *names, by="tag", workers=4):
        sources = Puller(self.directory, self.registry, **self.options).sources
        references = [Reference.parse(f"{self.registry.address}/{name}") for name in names]
        return plan_registry_remove(references, by=by, sources=sources, workers=workers)

    def tags(self, repository="demo/app"):
        return self.registry.storage.tags(repository)


@pytest.fixture(name="remover")
def fixture_remover(tmp_path, registry):
    return Remover(tmp_path, registry)


NAMES = ("demo/app:1.0", "demo/other:1", "demo/app:none", "demo/none:1", f"demo/app{SHA}")


@pytest.mark.parametrize("by", ["tag", "digest"])
def test_planning_sends_only_heads_and_deletes_nothing(remover, registry, by):
    before = (remover.tags(), remover.tags("demo/other"))
    plan = remover.plan(*NAMES[:4], by=by)
    assert plan.changed
    assert (remover.tags(), remover.tags("demo/other")) == before
    assert set(registry.requests_by_method()) <= {"HEAD", "GET"}
    assert not [one for one in trail(registry) if one in ("GET manifest", "GET tag")]


@pytest.mark.parametrize("by", ["tag", "digest"])
def test_plan_is_empty_after_it_was_applied(remover, by):
    plan = remover.plan(*NAMES[:4], by=by)
    outcome = execute(plan)
    assert outcome.done and not outcome.failure
    again = remover.plan(*NAMES[:4], by=by)
    assert (again.changed, again.facts["removed"]) == (False, [])
    assert again.before == again.after == plan.after


def test_plan_and_apply_report_the_same(remover):
    plan = remover.plan(*NAMES[:4])
    told = dry_run(plan).result()
    result = execute(plan).result()
    told.pop("stats"), result.pop("stats")
    assert told == result


def test_plan_after_an_interruption_has_the_remaining_actions(remover):
    names = ("demo/app:1.0", "demo/app:stable", "demo/other:1")
    first = interrupt(remover.plan(*names, workers=1), 1)[0].summary()
    rest = [action.summary() for action in remover.plan(*names).actions]
    assert first not in rest
    there = [*remover.tags(), *remover.tags("demo/other")]
    assert [one["tag"] for one in rest] == there


def test_deleting_a_tag_keeps_other_tags(remover, registry):
    plan = remover.plan("demo/app:1.0")
    execute(plan)
    assert remover.tags() == ["stable"]
    assert registry.manifest("demo/app", IMAGE.digest)
    name = f"{registry.address}/demo/app:1.0"
    assert plan.facts["removed"] == [{"name": name, "digest": IMAGE.digest}]
    assert [action.summary() for action in plan.actions] == [
        {
            "action": "delete_tag",
            "repository": f"{registry.address}/demo/app",
            "tag": "1.0",
            "digest": IMAGE.digest,
        }
    ]
    assert (plan.before, plan.after) == ({name: IMAGE.digest}, {name: "absent"})


@pytest.mark.parametrize("name", ["demo/app:1.0", f"demo/app@{IMAGE.digest}"])
def test_deleting_a_manifest_deletes_all_its_tags(remover, registry, name):
    execute(remover.plan(name, by="digest"))
    assert remover.tags() == []
    assert registry.manifest("demo/app", IMAGE.digest) is None


def test_two_names_of_one_manifest_need_one_deletion(remover, registry):
    names = ("demo/app:1.0", "demo/app:stable", "demo/app:1.0")
    plan = remover.plan(*names, by="digest")
    execute(plan)
    assert registry.requests_by_method()["DELETE"] == len(plan.actions) == 1
    removed = [entry["name"].rpartition(":")[2] for entry in plan.facts["removed"]]
    assert removed == ["1.0", "stable"]


@pytest.mark.parametrize(
    ("name", "by", "tags"),
    [
        pytest.param(f"demo/app:1.0@{IMAGE.digest}", "tag", ["stable"], id="as expected"),
        pytest.param(f"demo/app:1.0@{OTHER.digest}", "tag", ["1.0", "stable"], id="moved"),
        pytest.param(f"demo/app:none@{IMAGE.digest}", "digest", [], id="the digest decides"),
        pytest.param(f"demo/app:1.0@{OTHER.digest}", "digest", ["1.0", "stable"], id="not there"),
    ],
)
def test_tag_and_digest_must_both_match(remover, name, by, tags):
    execute(remover.plan(name, by=by))
    assert remover.tags() == tags


def test_a_digest_has_no_tag_to_delete(remover):
    with pytest.raises(InputError, match="names no tag"):
        remover.plan(f"demo/app@{IMAGE.digest}")


def test_result_does_not_depend_on_the_order_of_names(remover, registry):
    plans = [remover.plan(*names) for names in (NAMES[:4], NAMES[3::-1])]
    actions = [sorted(str(action.summary()) for action in plan.actions) for plan in plans]
    assert actions[0] == actions[1]
    assert plans[0].before == plans[1].before


def test_failed_name_does_not_stop_the_others(remover, registry):
    registry.faults.append(
        Fault(method="DELETE", path="/demo/app/manifests/1.0", status=400, times=None)
    )
    plan = remover.plan("demo/app:1.0", "demo/app:stable", "demo/other:1")
    outcome = execute(plan)
    result = outcome.result()
    failed = f"{registry.address}/demo/app:1.0"
    assert [entry["name"] for entry in result["failures"]] == [failed]
    assert result["failures"][0]["error"]["kind"] == "registry-unsupported"
    assert failed not in [entry["name"] for entry in result["removed"]]
    assert len(result["removed"]) == len(result["actions"]) == 2
    assert result["diff"]["after"][failed] == result["diff"]["before"][failed] == IMAGE.digest
    assert remover.tags() == ["1.0"]


def test_unreadable_name_does_not_stop_the_others(remover, registry):
    registry.faults.append(Fault(method="HEAD|GET", path="/demo/other/", status=403, times=None))
    plan = remover.plan("demo/other:1", "demo/app:1.0")
    outcome = execute(plan)
    assert outcome.failure.kind == "denied"
    assert remover.tags() == ["stable"]


def test_image_deleted_by_another_task_is_not_an_error(remover, registry):
    plan = remover.plan("demo/app:1.0")
    registry.untag("demo/app", "1.0")
    outcome = execute(plan)
    assert (len(outcome.done), outcome.failure) == (1, None)


def test_delete_scope_is_requested_from_the_start(tmp_path):
    with serving(auth="bearer", users=USERS) as registry:
        execute(Remover(tmp_path, registry).plan("demo/app:1.0"))
        scopes = [one.scopes for one in registry.token_requests]
        assert scopes == [("repository:demo/app:pull,delete",)]


def test_refused_delete_scope_is_replaced_by_all_actions(tmp_path):
    """Quay answers 400."""
    refused = Fault(path="/token.*delete", status=400, times=None)
    with serving(auth="bearer", users=USERS, faults=[refused]) as registry:
        execute(Remover(tmp_path, registry).plan("demo/app:1.0"))
        assert [one.granted for one in registry.token_requests] == [("repository:demo/app:*",)]
        assert registry.storage.tags("demo/app") == []


def test_login_without_delete_permission_deletes_nothing(tmp_path):
    permissions = {"robot": {"*": "pull"}}
    with serving(auth="bearer", users=USERS, permissions=permissions) as registry:
        plan = Remover(tmp_path, registry).plan("demo/app:1.0")
        outcome = execute(plan)
        assert outcome.done == []
        assert outcome.failure.kind == "authentication-failed"
        assert registry.storage.tags("demo/app") == ["1.0"]


def test_a_wrong_login_fails_in_planning(tmp_path):
    with serving(auth="basic", users={"robot": "another"}) as registry:
        plan = Remover(tmp_path, registry).plan("demo/app:1.0", "demo/app:2.0")
        assert (plan.changed, dry_run(plan).failure.kind) == (False, "authentication-failed")


def test_mirrors_are_not_asked_to_delete(tmp_path):
    with serving() as registry, serving() as mirror:
        settings = [{"registry": registry.address, "mirrors": [{"url": mirror.url}]}]
        execute(Remover(tmp_path, registry, settings=settings).plan("demo/app:1.0"))
        assert mirror.requests == []
        assert registry.storage.tags("demo/app") == []


def test_a_registry_without_deletion_says_how_to_enable_it(tmp_path):
    with serving(deletes=False) as registry:
        plan = Remover(tmp_path, registry).plan("demo/app:1.0", by="digest")
        outcome = execute(plan)
        assert outcome.done == []
        assert outcome.failure.kind == "registry-unsupported"
        assert "REGISTRY_STORAGE_DELETE_ENABLED=true" in outcome.failure.hint


@pytest.mark.parametrize("by", ["tag", "digest"])
@pytest.mark.parametrize("status", [400, 401, 403, 405])
def test_F05_refused_tag_that_is_not_listed_is_absent(remover, registry, status, by):
    registry.faults.append(Fault(method="HEAD|GET", missing_as=status, times=None))
    names = ("demo/app:none", "demo/app:1.0")
    plan = remover.plan(*names, by=by)
    outcome = execute(plan)
    assert not outcome.failures
    assert [one["digest"] for one in plan.facts["removed"]] == [IMAGE.digest]
    assert not remover.plan(*names, by=by).changed


@pytest.mark.parametrize("by", ["tag", "digest"])
def test_F05_refused_tag_that_is_listed_is_an_error(remover, registry, by):
    """Nobody can say what would be deleted."""
    registry.faults.append(Fault(method="HEAD|GET", path="/manifests/", status=403, times=None))
    plan = remover.plan("demo/app:1.0", by=by)
    assert not plan.changed
    assert [error.kind for error in plan.failures.values()] == ["denied"]


def test_F05_refused_digest_is_deleted_if_it_exists(remover, registry):
    registry.faults.append(Fault(method="HEAD|GET", path="/manifests/", status=403, times=None))
    plan = remover.plan(f"demo/app{SHA}", f"demo/app@{IMAGE.digest}", by="digest")
    outcome = execute(plan)
    assert not outcome.failures
    assert registry.manifest("demo/app", IMAGE.digest) is None
