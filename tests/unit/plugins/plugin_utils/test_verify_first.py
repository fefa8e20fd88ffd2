# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tasks that verify their images first: the action plugins, with modules that run as on a host."""

from __future__ import annotations

import functools
import importlib
import os
import types

import pytest
from ansible.errors import AnsibleActionFail
from ansible_collections.lockstep.images.plugins.module_utils._store.store import ImageStore
from ansible_collections.lockstep.images.plugins.plugin_utils._verify_first import (
    VerifyFirst,
    pinned_names,
)
from ansible_collections.lockstep.images.tests.support import modules
from ansible_collections.lockstep.images.tests.support.documented import documented_values
from ansible_collections.lockstep.images.tests.support.faults import Fault
from ansible_collections.lockstep.images.tests.support.images import demo_image, push
from ansible_collections.lockstep.images.tests.support.registry import Registry
from ansible_collections.lockstep.images.tests.support.signing import (
    key,
    payload,
    sig_manifest,
    sig_tag,
    signed,
)
from ansible_collections.lockstep.images.tests.support.verifying import REPOSITORY, rule

AMD64, ARM64 = "linux/amd64", "linux/arm64"
APP = demo_image("app", "1", (AMD64, ARM64), size=100)
OTHER = demo_image("app", "2", size=100)
EVIL = demo_image("evil", "1", size=100)
HOME = "ansible_collections.lockstep.images.plugins.action."
MODULES = ("image_pull", "image_copy", "image_push")


class Host:
    """Runs modules where an action plugin would; ``ran`` are their names, ``between`` is called after each of them."""

    def __init__(self, module, options, check=False, async_val=0):
        self._task = types.SimpleNamespace(
            action=f"lockstep.images.{module}", args=options, async_val=async_val
        )
        self._check = check
        self.ran = []
        self.between = lambda: None

    def _execute_module(self, module_name=None, module_args=None, task_vars=None, **_how):
        name = (module_name or self._task.action).rpartition(".")[2]
        options = self._task.args if module_args is None else module_args
        self.ran.append(name)
        result = modules.run(name, check=self._check, **options).result
        self.between()
        return result


def action(module, options, **how):
    """Return the action plugin of a module, as a task has it."""
    real = importlib.import_module(HOME + module).ActionModule
    members = {name: one for name, one in vars(real).items() if not name.startswith("__")}
    assert issubclass(real, VerifyFirst)
    return type("Action", (VerifyFirst, Host), members)(module, options, **how)


def task(module, options, **how):
    """Run a task, and return its result."""
    result = action(module, options, **how)._execute_module(task_vars={})
    assert result.get("failed", False) is bool(result.get("failures") or result.get("error"))
    return result


@pytest.fixture(name="registry")
def fixture_registry():
    with Registry() as registry:
        push(registry, REPOSITORY, APP, "1")
        push(registry, REPOSITORY, OTHER, "2")
        push(registry, REPOSITORY, EVIL, "evil")
        sign(registry, APP)
        yield registry


def sign(registry, item):
    made = signed(payload(item.digest, f"{registry.address}/{REPOSITORY}"), key())
    push(registry, REPOSITORY, sig_manifest([made]), sig_tag(item.digest))


@pytest.fixture(name="pull")
def fixture_pull(registry, tmp_path):
    """Return the options of a pull of tags, by default of 1."""

    def options(*tags, **more):
        names = [f"{registry.address}/{REPOSITORY}:{tag}" for tag in tags or ("1",)]
        shared = {"store": os.fspath(tmp_path / "store"), "platform": [AMD64], "retries": 0}
        return {"name": names, "verify": [rule()], **shared, **more}

    return options


def held(options):
    """Return the digests in a store by name."""
    return {
        name: str(entry.target.digest)
        for name, entry in ImageStore(options["store"]).names().items()
    }


def kinds(result):
    return [one["error"]["kind"] for one in result.get("failures", ())]


def assert_documented(module, result, returned):
    known = documented_values(module, returned)
    assert result.keys() - known.keys() <= {"changed", "failed", "msg", "invocation", "warnings"}
    (verdict,) = {repr(sorted(one)) for one in result["images"]} or {""}
    assert not result["images"] or "verified" in verdict


# A pull


def test_verified_digest_is_pulled_in_check_mode_and_for_real(registry, pull):
    options = pull()
    results = [task("image_pull", options, check=check) for check in (True, False, True, False)]
    assert [one["changed"] for one in results] == [True, True, False, False]
    assert results[0]["images"] == results[1]["images"]
    for result in results:
        assert_documented("image_pull", result, "success")
        (one,) = result["images"]
        assert (one["name"], one["digest"]) == (options["name"][0], APP.digest)
        assert one["verified"]["covers"] == "index"
        assert one["verified"]["by"] == [f"key {one['verified']['signatures'][0]['signer']}"]
    assert held(options) == {options["name"][0]: APP.digest}


def test_task_without_a_policy_runs_its_module_alone(pull):
    options = pull("2")
    del options["verify"]
    one = action("image_pull", options)
    assert "verified" not in one._execute_module(task_vars={})["images"][0]
    assert one.ran == ["image_pull"]


def test_image_that_is_not_trusted_is_not_pulled_and_the_others_are(pull):
    options = pull("1", "2")
    for check in (True, False):
        result = task("image_pull", options, check=check)
        assert_documented("image_pull", result, "failure")
        assert kinds(result) == ["signature-missing"] == [result["error"]["kind"]]
        assert [one["name"] for one in result["failures"]] == options["name"][1:]
        assert [one["digest"] for one in result["images"]] == [APP.digest]
        assert result["changed"] is True
        assert result["msg"].startswith("1 of 2 images failed: ")
        assert list(held(options)) == ([] if check else options["name"][:1])


def test_nothing_runs_after_a_verification_of_which_nothing_is_left(pull):
    options = pull("2", "evil")
    one = action("image_pull", options)
    result = one._execute_module(task_vars={})
    assert (one.ran, kinds(result)) == (["image_verify"], ["signature-missing"] * 2)
    assert (result["changed"], result["images"]) == (False, [])
    assert result["diff"] == {"before": {}, "after": {}}
    assert not os.path.exists(options["store"])


def test_failures_of_both_modules_are_reported(registry, pull):
    registry.remove(REPOSITORY, APP.images[0].config_digest)
    result = task("image_pull", pull("1", "2"))
    assert kinds(result) == ["signature-missing", "not-found"]
    assert "; of the verified images: " in result["msg"]


def test_image_that_is_in_the_store_already_is_verified(registry, pull):
    options = pull("2")
    modules.run("image_pull", **{key: one for key, one in options.items() if key != "verify"})
    assert list(held(options)) == options["name"]
    assert kinds(task("image_pull", options)) == ["signature-missing"]


def test_store_is_verified_by_a_pull_that_asks_no_registry(registry, pull):
    options = pull("1", referrers=True)
    assert not task("image_pull", options).get("failed")
    registry.clear()
    result = task("image_pull", pull("1", pull="never"))
    assert result["images"][0]["verified"]["covers"] == "index"
    evil = pull("1", pull="never", verify=[rule("*", key("rsa"))])
    assert kinds(task("image_pull", evil)) == ["signature-invalid"]
    assert registry.requests == []


def test_tag_that_moves_at_any_request_never_brings_other_content(tmp_path):
    """The store has the verified digest, or nothing: the tag moves after each request in turn."""
    moment, runs = 0, []
    while moment == 0 or moment <= len(runs[-1]):
        moment += 1
        result, asked, names = pull_while_tag_moves(tmp_path / str(moment), moment)
        runs.append(asked)
        assert set(names.values()) <= {APP.digest}
        assert bool(names) is not bool(result.get("failed"))
    assert len(runs) > 6
    assert [len(one) for one in runs if one != runs[-1]] == []


def pull_while_tag_moves(directory, moment):
    asked = []

    def move(request):
        asked.append(request.method)
        if len(asked) == moment:
            registry.tag(REPOSITORY, "1", EVIL.digest)

    with Registry(on_request=move) as registry:
        push(registry, REPOSITORY, APP, "1")
        push(registry, REPOSITORY, EVIL, "evil")
        sign(registry, APP)
        asked.clear()
        options = {
            "name": [f"{registry.address}/{REPOSITORY}:1"],
            "verify": [rule()],
            "store": os.fspath(directory),
            "platform": [AMD64],
            "parallel": 1,
        }
        result = task("image_pull", options)
        return result, asked, held(options)


def test_digest_that_is_gone_after_the_verification_is_not_replaced(registry, pull):
    one = action("image_pull", pull())

    def replace():
        registry.remove(REPOSITORY, APP.digest)
        registry.tag(REPOSITORY, "1", EVIL.digest)

    one.between = functools.cache(replace)
    assert kinds(one._execute_module(task_vars={})) == ["not-found"]
    assert held(one._task.args) == {}


def test_platform_that_is_swapped_after_the_verification_is_not_pulled(registry, pull):
    """A signed index covers its platforms by their digests alone."""
    one = action("image_pull", pull())
    child = Fault(path=f"/manifests/{APP.images[0].digest}", replace=EVIL.raw, times=None)
    one.between = functools.cache(lambda: registry.faults.append(child))
    assert kinds(one._execute_module(task_vars={})) == ["digest-mismatch"]
    assert held(one._task.args) == {}


def test_platform_that_a_later_task_adds_is_verified_for_itself(registry, pull):
    registry.remove(REPOSITORY, registry_digest(registry, sig_tag(APP.digest)))
    first, second = APP.images
    sign(registry, first)
    verified = task("image_pull", pull())["images"][0]["verified"]
    assert verified["covers"] == "platforms"
    more = pull(platform=[ARM64])
    assert kinds(task("image_pull", more)) == ["signature-missing"]
    (entry,) = ImageStore(more["store"]).names().values()
    assert entry.platforms == (AMD64,)
    sign(registry, second)
    assert not task("image_pull", more).get("failed")


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (401, "authentication-failed"),
        (403, "denied"),
        (429, "rate-limited"),
        (500, "registry-error"),
    ],
)
def test_refusal_at_the_place_of_a_signature_pulls_nothing(registry, pull, status, kind):
    registry.faults.append(Fault(path="[.]sig$", status=status, times=None))
    options = pull()
    assert kinds(task("image_pull", options)) == [kind]
    assert held(options) == {}


# What cannot be verified


@pytest.mark.parametrize("policy", [None, "", [], {}, [{"match": "*"}], "{{ trust }}"])
def test_empty_or_invalid_policy_is_an_error_before_any_request(registry, pull, policy):
    options = pull(verify=policy)
    registry.clear()
    one = action("image_pull", options)
    result = one._execute_module(task_vars={})
    assert (result["error"]["kind"], one.ran) == ("invalid-policy", ["image_verify"])
    assert (registry.requests, held(options)) == ([], {})


@pytest.mark.parametrize(
    ("module", "more"),
    [
        ("image_pull", {"all_tags": True}),
        ("image_pull", {"lock": {}}),
        ("image_pull", {"pull": "missing"}),
        ("image_copy", {"all_tags": "yes"}),
        ("image_copy", {"tags_matching": "^1"}),
        ("image_copy", {"newest": 1}),
    ],
)
def test_images_that_are_not_named_are_refused(registry, pull, module, more):
    registry.clear()
    one = action(module, {**pull(), **more})
    result = one._execute_module(task_vars={})
    assert result["error"]["kind"] == "invalid-input"
    assert result["msg"].startswith("verify: is mutually exclusive with ")
    assert (one.ran, registry.requests) == ([], [])


def test_task_with_async_is_refused(pull):
    assert "async" in task("image_pull", pull(), async_val=60)["msg"]
    del (options := pull())["verify"]
    assert not task("image_pull", options, async_val=60).get("failed")


@pytest.mark.parametrize("module", MODULES)
def test_module_refuses_a_policy_that_nothing_has_taken_away(module, pull):
    more = {"destination": "registry.example.com"} if module == "image_copy" else {}
    options = {**pull(), **more}
    if module != "image_pull":
        options["platform"] = AMD64
    outcome = modules.run(module, **options)
    assert outcome.failed
    assert outcome.result["msg"] == "parameters are mutually exclusive: name|verify"
    assert held(options) == {}


@pytest.mark.parametrize(
    "result", [{}, {"changed": False}, {"skipped": True}, {"images": [{"pinned": "a.b/c:1"}]}]
)
def test_result_without_a_verdict_proves_nothing(result):
    with pytest.raises(AnsibleActionFail):
        pinned_names(result)


def test_error_of_a_module_that_crashed_is_shown(pull):
    class Crashing(Host):
        def _execute_module(self, **how):
            return {"failed": True, "msg": "MODULE FAILURE", "rc": 1, "module_stderr": "no Python"}

    one = type("Action", (VerifyFirst, Crashing), {})("image_pull", pull())
    result = one._execute_module(task_vars={})
    assert (result["failed"], result["changed"], result["rc"]) == (True, False, 1)
    assert result["module_stderr"] == "no Python"


# A copy and a push


@pytest.fixture(name="target")
def fixture_target():
    with Registry() as target:
        yield target


@pytest.fixture(name="copy")
def fixture_copy(registry, target):
    def options(*tags, **more):
        names = [f"{registry.address}/{REPOSITORY}:{tag}" for tag in tags or ("1",)]
        return {"name": names, "destination": target.address, "verify": [rule()], "retries": 0, **more}  # fmt: skip

    return options


def test_only_signed_images_are_copied(target, copy):
    options = copy("1", "2")
    result = task("image_copy", options)
    assert_documented("image_copy", result, "failure")
    assert kinds(result) == ["signature-missing"]
    (one,) = result["images"]
    assert (one["source"], one["digest"]) == (options["name"][0], APP.digest)
    assert one["verified"]["covers"] == "index"
    assert target.manifest(REPOSITORY, "1") == APP.raw
    assert target.manifest(REPOSITORY, "2") is None
    again = task("image_copy", copy("1"))
    assert (again["changed"], again["images"][0]["verified"]) == (False, one["verified"])


def test_signed_image_is_copied_with_its_signatures(target, copy):
    result = task("image_copy", copy("1", referrers=True))
    assert {bool(one["verified"]) for one in result["images"]} == {True, False}
    name, verify = f"{target.address}/{REPOSITORY}:1", [rule("*", signed_as="any")]
    assert not modules.run("image_verify", name=[name], verify=verify).failed


def test_whole_index_is_copied_only_if_all_of_it_is_signed(registry, target, copy):
    registry.remove(REPOSITORY, registry_digest(registry, sig_tag(APP.digest)))
    first, second = APP.images
    sign(registry, first)
    assert kinds(task("image_copy", copy())) == ["signature-missing"]
    assert not task("image_copy", copy(platform=AMD64)).get("failed")
    sign(registry, second)
    assert task("image_copy", copy())["images"][0]["verified"]["covers"] == "platforms"


def registry_digest(registry, tag):
    return str(registry.storage.manifest(REPOSITORY, tag).digest)


@pytest.fixture(name="stored")
def fixture_stored(pull, target):
    """Pull a signed and an unsigned image with their signatures; return the options of a push."""
    options = pull("1", "2", platform=["all"], referrers=True)
    del options["verify"]
    assert not modules.run("image_pull", **options).failed
    repository = [f"{target.address}/{REPOSITORY}"]
    shared = {name: options[name] for name in ("name", "store")}
    return {**shared, "repository": repository, "verify": [rule()]}


def test_only_signed_images_of_a_store_are_pushed(registry, target, stored):
    registry.clear()
    result = task("image_push", stored)
    assert_documented("image_push", result, "failure")
    assert kinds(result) == ["signature-missing"]
    assert result["images"][0]["verified"]["covers"] == "index"
    assert target.manifest(REPOSITORY, "1") == APP.raw
    assert target.manifest(REPOSITORY, "2") is None
    assert registry.requests == []


def test_name_that_moves_in_the_store_before_the_push_is_not_pushed(target, stored):
    names = stored["name"]
    stored["name"] = names[:1]
    one = action("image_push", stored)
    move = {"store": stored["store"], "name": names[1], "repository": names[:1]}
    one.between = functools.cache(lambda: modules.run("image_tag", **move))
    assert kinds(one._execute_module(task_vars={})) == ["not-in-store"]
    assert target.manifest(REPOSITORY, "1") is None


def test_name_of_another_tool_cannot_be_verified(target, stored):
    result = task("image_push", {**stored, "name": [APP.digest]})
    assert result["error"]["kind"] == "not-in-store"
    assert target.manifest(REPOSITORY, "1") is None
