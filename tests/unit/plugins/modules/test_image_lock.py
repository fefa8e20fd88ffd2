# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module image_lock, as Ansible runs it."""

from __future__ import annotations

import stat
from collections import Counter

import pytest
import yaml
from ansible_collections.lockstep.images.tests.support.documented import (
    argument_spec,
    assert_as_documented,
    documented_options,
    documented_values,
)
from ansible_collections.lockstep.images.tests.support.images import (
    demo_image,
    image,
    layer,
    push,
)
from ansible_collections.lockstep.images.tests.support.modules import four_times, run
from ansible_collections.lockstep.images.tests.support.registry import Registry
from ansible_collections.lockstep.images.tests.support.tables import secret_forms

USER, PASSWORD = "robot", "correct-horse-battery"
BOTH = ["linux/amd64", "linux/arm64"]
APP, NEXT = demo_image("app", "1", size=200), demo_image("app", "2", size=200)


@pytest.fixture(name="registry")
def fixture_registry():
    with Registry(auth="bearer", users={USER: PASSWORD}) as registry:
        push(registry, "demo/app", APP, "1")
        push(registry, "demo/one", image([layer({"one": b"1" * 99})]), "1")
        registry.clear()
        yield registry


@pytest.fixture(name="path")
def fixture_path(tmp_path):
    return tmp_path / "locks" / "images.lock.yml"


@pytest.fixture(name="params")
def fixture_params(registry, path):
    return {
        "path": str(path),
        "name": [f"{registry.address}/demo/app:1", f"{registry.address}/demo/one:1"],
        "platform": ["linux/amd64"],
        "username": USER,
        "password": PASSWORD,
        "retries": 0,
    }


def assert_no_secret(outcome):
    told = outcome.stdout + outcome.stderr
    assert not [form for form in secret_forms(PASSWORD, f"{USER}:{PASSWORD}") if form in told]


def assert_proper_failure(outcome, kind):
    assert outcome.failed
    assert outcome.kind == kind
    documented = documented_values("image_lock", "failure")["error"]["contains"].keys()
    assert {"kind", "hint"} <= outcome.result["error"].keys() <= documented
    assert outcome.result["changed"] is False
    assert "Traceback" not in outcome.stdout + outcome.stderr
    assert outcome.result["msg"].isprintable()
    assert_no_secret(outcome)


def asked(registry):
    """How often each method was answered since the last time, tokens apart."""
    answered = [one for one in registry.requests if one.status == 200]
    found = Counter(one.method for one in answered if one.path.startswith("/v2/"))
    registry.clear()
    return found


def test_options_are_as_documented(monkeypatch):
    assert argument_spec("image_lock", monkeypatch) == documented_options("image_lock")


HOW = {
    "as it is": {},
    "embed": {"manifests": "embed"},
    "imgpkg": {"format": "imgpkg"},
    "all platforms": {"platform": ["all"]},
}
every_way = pytest.mark.parametrize("how", HOW.values(), ids=HOW)


@every_way
def test_check_mode_reports_the_real_run_and_a_second_run_changes_nothing(params, path, how):
    outcomes = four_times("image_lock", **{**params, **how})
    check, real, check_again, real_again = (outcome.result for outcome in outcomes)
    changed = [one["changed"] for one in (check, real, check_again, real_again)]
    assert changed == [True, True, False, False]
    for one, other in ((check, real), (check_again, real_again)):
        assert all(one[key] == other[key] for key in ("images", "changes", "actions", "diff"))
    assert real_again["stats"]["requests"] == {}
    assert len(real["actions"]) == (5 if "manifests" in how else 1)
    assert path.exists()
    for outcome in outcomes:
        assert_as_documented("image_lock", outcome.result)
        assert_no_secret(outcome)
        # In newer cores, the controller adds the invocation.
        arguments = outcome.result.get("invocation", {}).get("module_args", {})
        assert "VALUE_SPECIFIED_IN_NO_LOG" in arguments.get("password", "VALUE_SPECIFIED_IN_NO_LOG")


def test_check_mode_creates_no_directory(params, path):
    assert run("image_lock", check=True, **params).result["changed"]
    assert not path.parent.exists()


def test_unchanged_tag_costs_one_head_and_new_one_its_manifests(params, registry):
    run("image_lock", **params)
    assert asked(registry) == {"GET": 4}
    outcome = run("image_lock", **params)
    assert asked(registry) == outcome.result["stats"]["requests"] == {}
    run("image_lock", **{**params, "name": None, "update": ["all"]})
    assert asked(registry) == {"HEAD": 2}
    push(registry, "demo/app", NEXT, "1")
    registry.clear()
    app = params["name"][0]
    outcome = run("image_lock", **{**params, "name": None, "update": [f"{app[:-1]}*"]})
    assert asked(registry) == {"HEAD": 1, "GET": 2}
    assert [(one["name"], one["change"]) for one in outcome.result["changes"]] == [(app, "moved")]
    assert_as_documented("image_lock", outcome.result)


def test_every_kind_of_change_is_as_documented(params, registry):
    app, one = params["name"]
    run("image_lock", **params)
    push(registry, "demo/app", NEXT, "2")
    changed = {**params, "name": [app, f"{app[:-1]}2"], "platform": BOTH}
    outcomes = four_times("image_lock", **changed)
    for outcome in outcomes:
        assert_as_documented("image_lock", outcome.result)
    changes = {entry["name"]: entry["change"] for entry in outcomes[1].result["changes"]}
    assert changes == {app: "platforms", f"{app[:-1]}2": "added", one: "dropped"}
    assert outcomes[0].result["diff"] == outcomes[1].result["diff"]
    assert outcomes[1].result["diff"]["before"].keys() == {app, one}
    assert outcomes[1].result["diff"]["after"].keys() == {app, f"{app[:-1]}2"}


def test_embedded_manifests_are_added_and_removed(params, path):
    run("image_lock", **params, manifests="embed")
    outcomes = four_times("image_lock", **params)
    assert [outcome.result["changed"] for outcome in outcomes] == [True, True, False, False]
    assert {one["action"] for one in outcomes[1].result["actions"]} == {"remove_file"}
    assert list(path.with_name("images.lock.d").iterdir()) == []
    for outcome in outcomes:
        assert_as_documented("image_lock", outcome.result)


def test_one_failed_name_prevents_writing(params, path):
    bad = f"{params['name'][0][:-1]}none"
    outcomes = four_times("image_lock", **{**params, "name": [bad, *params["name"]]})
    for outcome in outcomes:
        assert_proper_failure(outcome, "not-found")
        assert_as_documented("image_lock", outcome.result, "failure")
        assert outcome.result["msg"].startswith("1 of 3 images failed: ")
        assert outcome.result["changed"] is False
        assert "actions" not in outcome.result
        assert [entry["name"] for entry in outcome.result["failures"]] == [bad]
        assert [entry["name"] for entry in outcome.result["images"]] == params["name"]
    assert not path.parent.exists()


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        pytest.param({"password": "wrong-" + PASSWORD}, "authentication-failed", id="password"),
        pytest.param({"name": ["a b"]}, "invalid-reference", id="name"),
        pytest.param({"name": None}, "invalid-input", id="nothing to lock"),
        pytest.param({"platform": ["a/b/c/d"]}, "invalid-platform", id="platform"),
        pytest.param({"platform": ["linux/s390x"]}, "platform-not-found", id="no platform"),
        pytest.param({"update": ["none", "all:*"]}, "invalid-input", id="update"),
        pytest.param({"update": ["a b"]}, "invalid-input", id="pattern"),
        pytest.param({"from": ["/nonexistent.yml"]}, "invalid-input", id="from"),
        pytest.param(
            {"format": "imgpkg", "manifests": "embed"}, "invalid-input", id="embed for imgpkg"
        ),
        pytest.param({"path": "/proc/1/images.lock.yml"}, "store-access", id="path"),
        pytest.param({"path": "/proc"}, "store-access", id="directory"),
        pytest.param({"parallel": 0}, "invalid-input", id="parallel"),
        pytest.param({"timeout": 0}, "invalid-input", id="timeout"),
    ],
)
def test_a_failure_names_its_kind_and_changes_nothing(params, path, change, kind):
    outcome = run("image_lock", **{**params, **change})
    assert_proper_failure(outcome, kind)
    assert not path.parent.exists()


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"manifests": "some"}, "manifests"),
        ({"format": "yaml"}, "format"),
        ({"parallel": "many"}, "parallel"),
        ({"username": None}, "username"),
    ],
    ids=str,
)
def test_invalid_option_is_named(params, change, word):
    outcome = run("image_lock", **{**params, **change})
    assert outcome.failed
    assert word in outcome.result["msg"]
    assert_no_secret(outcome)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("images: [\n", "line 2"),
        ("---\n", "is not a lock file: it is empty"),
        ("lockfile_version: 3\nimages: []\n", "lockfile_version is 3, this release reads 1"),
        ("lockfile_version: 1\nimages:\n- name: a\n", "line 3: digest is missing"),
    ],
)
def test_invalid_lock_file_is_an_error_with_its_line_and_is_kept(params, path, text, told):
    path.parent.mkdir()
    path.write_text(text)
    outcome = run("image_lock", **params)
    assert_proper_failure(outcome, "invalid-lock")
    assert outcome.result["msg"].startswith(str(path)) and told in outcome.result["msg"]
    assert path.read_text() == text


def test_names_are_read_from_files_and_directories(params, registry, tmp_path):
    app, one = params.pop("name")
    (tmp_path / "compose.yml").write_text(f"services: {{a: {{image: '{app}'}}}}")
    (tmp_path / "k").mkdir()
    (tmp_path / "k" / "pod.yaml").write_text(
        f"kind: Pod\nspec:\n  containers: [{{image: '{one}'}}]"
    )
    params["from"] = [str(tmp_path / "compose.yml"), str(tmp_path / "k")]
    outcome = run("image_lock", **params)
    assert [entry["name"] for entry in outcome.result["images"]] == [app, one]
    assert_as_documented("image_lock", outcome.result)
    (tmp_path / "k" / "pod.yaml").write_text("kind: Pod\nspec:\n  containers: [{image: '$a'}]")
    outcome = run("image_lock", **params)
    assert_proper_failure(outcome, "invalid-input")
    assert outcome.result["msg"].startswith(f"{tmp_path}/k/pod.yaml, line 3: ")


def test_F04_content_of_files_is_reported_in_a_successful_result(params, tmp_path):
    app, _one = params.pop("name")
    (tmp_path / "k").mkdir()
    (tmp_path / "k" / "pod.yml").write_text(
        f"kind: Pod\nspec:\n  containers: [{{image: '{app}', args: [--x-image, r.example/x:1]}}]"
    )
    (tmp_path / "k" / "service.yml").write_text("kind: Service\n")
    (tmp_path / ".env").write_text(f"APP={app}\n")
    params["from"] = [str(tmp_path / "k"), {"path": str(tmp_path / ".env"), "keys": ["APP"]}]
    outcome = run("image_lock", **params)
    result = outcome.result
    assert [entry["name"] for entry in result["images"]] == [app]
    assert result["files_skipped"] == [
        {"file": f"{tmp_path}/k/service.yml", "reason": "names no image"}
    ]
    assert_as_documented("image_lock", result)
    # Ansible shows a task with one of these keys as something else than changed.
    assert not {"skipped", "unreachable", "failed"} & result.keys()
    params["from"] = [{"path": str(tmp_path / "k"), "key": "x"}]
    assert_proper_failure(run("image_lock", **params), "invalid-input")


def test_link_is_followed_and_not_replaced(params, path, tmp_path):
    """As the file it leads to is the one in version control; the manifests go beside that."""
    path.parent.mkdir()
    link = tmp_path / "link.yml"
    link.symlink_to("locks/images.lock.yml")
    outcomes = four_times("image_lock", **{**params, "path": str(link), "manifests": "embed"})
    assert [outcome.result["changed"] for outcome in outcomes] == [True, True, False, False]
    assert link.is_symlink() and not path.is_symlink()
    assert outcomes[1].result["file"] == str(path)
    assert len(yaml.safe_load(path.read_text())["images"]) == 2
    assert len(list(path.with_name("images.lock.d").iterdir())) == 4
    path.chmod(0o600)
    run("image_lock", **{**params, "path": str(link), "platform": ["all"]})
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_missing_pyyaml_is_reported_only_where_it_is_needed(params, path, tmp_path):
    """A new file of names is written without it."""
    assert run("image_lock", missing=("yaml",), **params).result["changed"]
    text = path.read_bytes()
    (tmp_path / "compose.yml").write_text("services: {}")
    for change in (
        {},
        {"path": str(tmp_path / "new.yml"), "from": [str(tmp_path / "compose.yml")]},
    ):
        outcome = run("image_lock", missing=("yaml",), **{**params, **change})
        assert outcome.kind == "missing-dependency"
        assert outcome.result["error"]["library"] == "PyYAML"
        assert "Failed to import the required Python library (PyYAML)" in outcome.result["msg"]
        assert_no_secret(outcome)
    assert path.read_bytes() == text


def test_missing_requests_is_reported_only_if_a_request_is_needed(params, path):
    outcome = run("image_lock", missing=("requests",), **params)
    assert outcome.kind == "missing-dependency"
    assert "(requests)" in outcome.result["msg"]
    assert not path.parent.exists()
    assert_no_secret(outcome)
    run("image_lock", **params)
    outcome = run("image_lock", missing=("requests",), **params)
    assert (outcome.failed, outcome.result["changed"]) == (False, False)


def test_store_from_module_defaults_is_accepted_and_unchanged(params, tmp_path):
    outcome = run("image_lock", **params, store=str(tmp_path / "store"))
    assert outcome.result["changed"]
    assert not (tmp_path / "store").exists()
