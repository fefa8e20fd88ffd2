# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""No option, whatever it holds, ends a module with a traceback."""

from __future__ import annotations

import json

import pytest
from ansible_collections.lockstep.images.plugins.module_utils import _ansible as runner
from ansible_collections.lockstep.images.plugins.module_utils._image.errors import InputError
from ansible_collections.lockstep.images.tests.support.fuzz import TEXTS, faults, faults_of_null
from ansible_collections.lockstep.images.tests.support.modules import run
from ansible_collections.lockstep.images.tests.support.registry import Registry

# A locale in which names of files are ASCII; Python would take C alone for UTF-8.
ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
SPEC = {
    "name": {"type": "list", "elements": "str", "aliases": ["names"]},
    "store": {"type": "path"},
    "from": {"type": "list", "elements": "path"},
    "size": {"type": "bytes"},
    "count": {"type": "int"},
    "lock": {"type": "dict"},
    "registries": {
        "type": "list",
        "elements": "dict",
        "options": {"password": {"type": "str"}, "ca_path": {"type": "path"}},
    },
}


def test_F28_no_option_ends_in_a_traceback(monkeypatch):
    """More of it is in tests/fleet."""
    found = faults(28, 12, monkeypatch)
    assert not found, "\n\n".join(found[:5])


def test_F28_option_that_is_null_ends_in_no_traceback(monkeypatch):
    found = faults_of_null(monkeypatch)
    assert not found, "\n\n".join(found[:5])


REFUSED = {
    "nul": ({"name": ["a\0b"]}, "name: has a NUL character"),
    "path-with-nul": ({"store": "/a\0"}, "store: has a NUL character"),
    "surrogate": ({"name": ["a", "\ud800"]}, "name: is not UTF-8"),
    "bytes": ({"registries": [{"password": "a\udcff"}]}, "registries.password: is not UTF-8"),
    "inside": ({"lock": {"images": [{"name": "\ud800"}]}}, "lock.images.name: is not UTF-8"),
    "alias": ({"names": "\0"}, "names: has a NUL character"),
    "nan": ({"count": float("nan")}, "count: is not a finite number"),
    "inf-as-text": ({"count": "-inf"}, "count: is not a finite number"),
    "huge": ({"count": 10**400}, "count: is not a finite number"),
    "huge-as-text": ({"count": "9" * 400}, "count: is not a finite number"),
    "huge-with-unit": ({"size": "9" * 400 + "Y"}, "size: is not a finite number"),
    "huge-inside": ({"lock": {"size": -(10**400)}}, "lock.size: is not a finite number"),
}


@pytest.mark.parametrize(("given", "message"), REFUSED.values(), ids=REFUSED)
def test_F28_values_that_crash_ansible_or_the_system_are_rejected_by_option_name(given, message):
    with pytest.raises(InputError) as caught:
        runner.require_usable(SPEC, given)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    "given",
    [
        {"name": ["ü", "이미지", "\n", ""], "store": "/srv/ü", "from": ["ü"]},
        {"count": 5, "size": "5M", "lock": {"size": 2**63, "manifests": {"a": "b"}}},
        {"count": "five", "size": "", "store": None, "registries": [{}], "strange": [[1.5, True]]},
    ],
    ids=["texts", "numbers", "what-ansible-refuses"],
)
def test_F28_all_other_values_are_left_to_ansible(given):
    runner.require_usable(SPEC, given)


@pytest.mark.parametrize(
    "text", [text for text in TEXTS if "\udcff" in text] + ["\ud800"], ids=ascii
)
def test_F28_a_password_that_is_not_utf8_is_a_clean_failure(tmp_path, text):
    outcome = run(
        "registry_login",
        registry_url="127.0.0.1:1",
        username="robot",
        password=f"secret-{text}",
        config_path=str(tmp_path / "config.json"),
        retries=0,
    )
    assert outcome.kind == "invalid-input"
    assert outcome.result["msg"] == "password: is not UTF-8. Write it in UTF-8."
    assert "secret-" not in outcome.stdout and "Traceback" not in outcome.stderr


@pytest.mark.parametrize("module", ["store_info", "image_info", "store_verify"])
def test_F28_path_that_the_locale_cannot_encode_is_a_clean_failure(tmp_path, module):
    outcome = run(module, store=str(tmp_path / "fürs"), env=ASCII)
    assert outcome.kind == "invalid-input"
    assert "store: cannot be a path here" in outcome.result["msg"]
    assert "C.UTF-8" in outcome.result["error"]["hint"]


@pytest.mark.parametrize("env", [{}, {"LC_ALL": "C"}, {"LC_ALL": "C.UTF-8"}], ids=str)
def test_F28_path_beyond_ascii_is_accepted_if_file_names_are_utf8(tmp_path, env):
    outcome = run("store_info", store=str(tmp_path / "fürs"), env=env)
    assert not outcome.failed


@pytest.mark.parametrize(
    ("entry", "kind"),
    [
        ({"username": "robot\ud800", "password": "secret-\ud800"}, "authentication-failed"),
        ({"registrytoken": "secret-\nx"}, "invalid-auth-file"),
        ({"identitytoken": "secret-\ud800\n"}, "registry-protocol"),
    ],
    ids=["password", "registry-token", "identity-token"],
)
def test_F28_a_login_in_a_file_that_cannot_be_sent_is_a_clean_failure(
    tmp_path, bearer, entry, kind
):
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"auths": {bearer.address: entry}}))
    path.chmod(0o600)
    outcome = run(
        "registry_info",
        name=[f"{bearer.address}/demo/app:1.0"],
        config_path=str(path),
        plain_http=True,
        retries=0,
    )
    assert outcome.kind == kind
    assert "secret-" not in outcome.stdout + outcome.stderr


@pytest.fixture(name="bearer")
def fixture_bearer():
    with Registry(auth="bearer", users={"robot": "x"}) as registry:
        yield registry
