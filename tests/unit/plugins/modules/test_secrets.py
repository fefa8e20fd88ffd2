# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""No module shows a secret, in its answer or in the log of the host, whatever it is given."""

from __future__ import annotations

import json
import os

import pytest
from ansible.module_utils.common import parameters
from ansible_collections.lockstep.images.tests.support.faults import Fault
from ansible_collections.lockstep.images.tests.support.journal import Journal
from ansible_collections.lockstep.images.tests.support.modules import ROOT, run
from ansible_collections.lockstep.images.tests.support.registry import Registry
from ansible_collections.lockstep.images.tests.support.tables import secret_forms

MODULES = sorted(path.stem for path in (ROOT / "plugins" / "modules").glob("*.py"))
USER = "robot"
# What is written in another way by JSON, by repr() and in a URL.
SECRET = "c4nary \"it's\\ü@+/%41"
LOGIN = {"username": USER, "password": SECRET}
NOWHERE = "127.0.0.1:1"
ENTRY = {"registry": NOWHERE, **LOGIN}
# What each module cannot do without.
NEEDED = {
    "engine_info": {"engine": "docker", "socket": "/nonexistent/docker.sock"},
    "image_build": {"name": f"{NOWHERE}/a:1", "instructions": f"FROM {NOWHERE}/b:1"},
    "image_copy": {"name": [f"{NOWHERE}/a:1"], "destination": NOWHERE},
    "image_export": {"name": [f"{NOWHERE}/a:1"], "dest": "/nonexistent/a.tar"},
    "image_import": {"src": "/nonexistent/a.tar"},
    "image_load": {"name": [f"{NOWHERE}/a:1"], "engine": "docker"},
    "image_lock": {"name": [f"{NOWHERE}/a:1"], "path": "lock.yml"},
    "image_mount": {"name": f"{NOWHERE}/a:1", "root": "a"},
    "image_pull": {"name": [f"{NOWHERE}/a:1"]},
    "image_push": {"name": [f"{NOWHERE}/a:1"]},
    "image_receive": {"name": [f"{NOWHERE}/a:1"], "manifests": {}},
    "image_remove": {"name": [f"{NOWHERE}/a:1"]},
    "image_sign": {"name": [f"{NOWHERE}/a:1"], "key": {"path": "/nonexistent/key"}},
    "image_sync": {"lock": {"lockfile_version": 1, "images": []}},
    "image_tag": {"name": f"{NOWHERE}/a:1", "repository": [f"{NOWHERE}/b:1"]},
    "image_unpack": {"name": [f"{NOWHERE}/a:1"]},
    "image_verify": {
        "name": [f"{NOWHERE}/a:1"],
        "verify": [{"match": "*", "accept": "unsigned"}],
    },
    "registry_info": {"name": [f"{NOWHERE}/a:1"]},
    "registry_login": {"registry_url": NOWHERE},
    "registry_remove": {"name": [f"{NOWHERE}/a:1"]},
}
# Options with a secret, by what is right or wrong with them.
GIVEN = {
    "task": LOGIN,
    "entry": {"registries": [ENTRY]},
    "mirror": {
        "registries": [{"registry": NOWHERE, "mirrors": [{"url": f"http://{NOWHERE}", **LOGIN}]}]
    },
    "a-list-as-a-secret": {"username": USER, "password": [SECRET]},
    "a-dictionary-as-a-secret": {"username": USER, "password": {"word": SECRET}},
    "no-user": {"password": SECRET},
    "no-user-in-an-entry": {"registries": [{"registry": NOWHERE, "password": SECRET}]},
    "an-unknown-option": {**LOGIN, "passwort": SECRET},
    "an-unknown-option-of-an-entry": {"registries": [{"registry": NOWHERE, "passwort": SECRET}]},
    "an-entry-as-a-text": {**LOGIN, "registries": [f"{USER}:{SECRET}@{NOWHERE}", ENTRY]},
    "an-entry-as-pairs": {"registries": [f"registry={NOWHERE} password={SECRET!r}"]},
    "an-entry-as-a-list": {"registries": [[ENTRY]]},
    "a-wrong-entry-beside-a-secret": {**LOGIN, "registries": [["list"]]},
    "entries-as-a-dictionary": {"registries": {NOWHERE: ENTRY}},
    "entries-as-json": {"registries": json.dumps([ENTRY])},
    "mirrors-as-texts": {
        "registries": [{"registry": NOWHERE, "mirrors": [f"http://{USER}:{SECRET}@{NOWHERE}"]}]
    },
    "a-mirror-with-a-login-in-its-url": {
        "registries": [
            {"registry": NOWHERE, "mirrors": [{"url": f"http://{USER}:{SECRET}@{NOWHERE}"}]}
        ]
    },
    "an-entry-with-a-login-in-its-name": {
        "registries": [{"registry": f"https://{USER}:{SECRET}@{NOWHERE}"}]
    },
    "a-number": {"username": USER, "password": 73114226},
}
# Before ansible-core 2.19, verbosity 3 shows them.
SHOW_TRACEBACKS = (
    {"_ansible_tracebacks_for": ["error"]} if "tracebacks_for" in parameters.PASS_VARS else {}
)


@pytest.mark.parametrize("given", GIVEN.values(), ids=GIVEN)
@pytest.mark.parametrize("module", ["image_pull", "registry_login"])
def test_F01_no_module_shows_a_secret(module, given, tmp_path):
    assert_nothing_is_shown(module, given, tmp_path)


@pytest.mark.parametrize("module", MODULES)
def test_F01_every_module_hides_valid_and_invalid_secrets(module, tmp_path):
    both = {**LOGIN, "registries": [ENTRY, *GIVEN["mirror"]["registries"]]}
    both["registries"][1]["registry"] += "/a"
    assert_nothing_is_shown(module, both, tmp_path / "right")
    assert_nothing_is_shown(module, GIVEN["an-entry-as-a-list"], tmp_path / "wrong")


@pytest.mark.parametrize(
    ("module", "given"),
    [
        ("image_pull", {"name": [f"{USER}:{SECRET}@{NOWHERE}/a:1"]}),
        ("image_pull", {"name": [f"https://{USER}:{SECRET}@{NOWHERE}/a:1"]}),
        ("registry_login", {"registry_url": f"https://{USER}:{SECRET}@{NOWHERE}", **LOGIN}),
        ("image_copy", {"destination": f"{USER}:{SECRET}@{NOWHERE}/a"}),
    ],
)
def test_F01_a_password_in_a_name_or_url_is_not_shown(module, given, tmp_path):
    assert_nothing_is_shown(module, given, tmp_path)


def test_F01_a_password_of_a_proxy_is_not_shown(tmp_path):
    proxy = f"http://{USER}:c4nary%22x@{NOWHERE}"
    environment = {"HTTPS_PROXY": proxy, "HTTP_PROXY": proxy}
    name = {"name": ["registry.invalid/a:1"]}
    shown = answer_and_log("image_pull", name, tmp_path, environment)
    assert not [form for form in secret_forms('c4nary"x', f'{USER}:c4nary"x') if form in shown]


def test_F01_a_traceback_shows_no_query_of_a_signed_url(tmp_path):
    """Ansible shows tracebacks if DISPLAY_TRACEBACK says so, and requests' errors repeat the whole URL."""
    signed = f"http://{NOWHERE}/bucket?Signature=c4nary"
    with Registry() as registry:
        registry.faults.append(Fault(method=".*", redirect=signed, times=None))
        name = [f"{registry.address}/demo/app:1.0"]
        outcome = run("registry_info", name=name, retries=0, **SHOW_TRACEBACKS)
    assert outcome.kind == "registry-unreachable"
    assert "c4nary" not in outcome.stdout + outcome.stderr


def test_F01_text_that_is_not_secret_is_shown(tmp_path):
    shown = answer_and_log("image_pull", {"name": ["debian:12@sha256:short"], **LOGIN}, tmp_path)
    assert "debian:12@sha256:short" in shown


def assert_nothing_is_shown(module, given, tmp_path):
    shown = answer_and_log(module, given, tmp_path)
    secrets = [SECRET, f"{USER}:{SECRET}", "73114226"]
    assert not [form for form in secret_forms(*secrets) if form in shown]
    assert "Traceback" not in shown


def answer_and_log(module, given, directory, environment=()):
    """Return everything that a module prints at verbosity 3, and what it writes to the journal of the host."""
    directory.mkdir(exist_ok=True)
    journal = Journal(directory)
    params = {
        "store": os.fspath(directory / "store"),
        "config_path": os.fspath(directory / "auth.json"),
        "retries": 0,
        **NEEDED.get(module, {}),
        **given,
    }
    env = {**journal.environment(), **dict(environment)}
    del env["PYTHONPATH"]
    outcome = run(module, env=env, packages=os.fspath(journal.packages), **params)
    assert journal.text() or outcome.failed
    return outcome.stdout + outcome.stderr + journal.text()
