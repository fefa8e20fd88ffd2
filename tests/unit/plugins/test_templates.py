# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The plugins of the controller in templates, as the ansible-core at hand renders them."""

from __future__ import annotations

from ansible_collections.lockstep.images.tests.support.images import demo_image, push
from ansible_collections.lockstep.images.tests.support.registry import Registry
from ansible_collections.lockstep.images.tests.support.tables import secret_forms
from ansible_collections.lockstep.images.tests.support.templating import render

APP = demo_image("app", "1.0", size=200)
PINNED = f"debian:12@sha256:{'a' * 64}"
NAMES = ["debian", "quay.io/prometheus/prometheus:v3.0.1", PINNED]
SECRET = "correct-horse-battery"

VALUES = {
    "'debian' | lockstep.images.reference == {'registry': 'docker.io', 'repository': 'library/debian',"
    " 'tag': 'latest', 'digest': none, 'name': 'docker.io/library/debian',"
    " 'canonical': 'docker.io/library/debian:latest', 'familiar': 'debian:latest'}": True,
    "(names[1] | lockstep.images.reference).tag": "v3.0.1",
    "names | map('lockstep.images.reference') | map(attribute='registry') | unique | list": [
        "docker.io",
        "quay.io",
    ],
    "78512345 | lockstep.images.human_size": "78.5 MB",
    "size | lockstep.images.human_size(units='binary')": "74.9 MiB",
    "names[2] is lockstep.images.pinned": True,
    "names[0] is lockstep.images.pinned": False,
    "names | select('lockstep.images.pinned') | list": [PINNED],
    "names | reject('lockstep.images.pinned') | list": NAMES[:2],
    "lookup('lockstep.images.digest', names[2], result='reference')": f"docker.io/library/{PINNED}",
    "query('lockstep.images.digest', names[2])": [PINNED[len("debian:12@") :]],
    "query('lockstep.images.digest', [])": [],
}
ERRORS = {
    "'Debian' | lockstep.images.reference": "name component 'Debian' must be lower case",
    "'Debian' is lockstep.images.pinned": "name component 'Debian' must be lower case",
    "(-1) | lockstep.images.human_size": "-1 is not a number of bytes",
    "lookup('lockstep.images.digest', 'Debian')": "name component 'Debian' must be lower case",
    "lookup('lockstep.images.digest', 'debian', platfrom='x')": "unsupported options: platfrom",
    "nothing | lockstep.images.reference": "'nothing' is undefined",
    "nothing | lockstep.images.human_size": "'nothing' is undefined",
    "nothing is lockstep.images.pinned": "'nothing' is undefined",
    "lookup('lockstep.images.digest', nothing)": "'nothing' is undefined",
}


def test_every_plugin_returns_its_value():
    variables = {"names": NAMES, "size": "78512345"}
    assert render(list(VALUES), variables).values == list(VALUES.values())


def test_every_plugin_reports_its_error_once():
    errors = render(list(ERRORS)).errors
    assert len(errors) == len(ERRORS)
    for error, words in zip(errors, ERRORS.values()):
        assert words in error
        assert "undefined" in words or error.count(words) == 1, error
        assert "Traceback" not in error and "unhandled exception" not in error


def test_lookup_uses_options_from_variables():
    with Registry(auth="basic", users={"user": SECRET}) as registry:
        push(registry, "demo/app", APP, "1.0")
        name = f"{registry.address}/demo/app:1.0"
        variables = {
            "name": name,
            "own": {
                "registries": [
                    {"registry": registry.address, "username": "user", "password": SECRET}
                ]
            },
        }
        found = render(
            [
                f"lookup('lockstep.images.digest', name, username='user', password='{SECRET}')",
                "query('lockstep.images.digest', [name, name], platform='linux/arm64', **own)",
                "query('lockstep.images.digest', name, result='reference', **own)",
            ],
            variables,
        )
    assert found.values == [APP.digest, [APP.images[1].digest] * 2, [f"{name}@{APP.digest}"]]


def test_failed_lookup_can_be_ignored():
    """The texts are short: Ansible breaks the lines of a warning."""
    ignored, shown = "Ignored", "Shown"
    found = render(
        [
            f"lookup('lockstep.images.digest', '{ignored}', errors='ignore') or ''",
            f"lookup('lockstep.images.digest', '{shown}', errors='warn') or ''",
        ]
    )
    assert found.values == ["", ""]
    assert f"name component '{shown}' must be lower case" in found.stderr
    assert ignored not in found.stderr


def test_rejected_login_is_reported_without_the_password():
    with Registry(auth="basic", users={"user": "another"}) as registry:
        error = render(
            f"lookup('lockstep.images.digest', '{registry.address}/app', username='user', password=secret)",
            {"secret": SECRET},
        ).error
    assert "credentials for user user from the option username of the task were refused" in error
    assert not [form for form in secret_forms(SECRET) if form in error]


def test_lookup_without_requests_accepts_only_names_with_a_digest():
    expression = "lookup('lockstep.images.digest', name)"
    other = "lookup('lockstep.images.digest', '127.0.0.1:1/app')"
    found = render([expression, other], {"name": PINNED}, missing=("requests",))
    assert found.values == [PINNED.partition("@")[2]]
    (error,) = found.errors
    assert "Failed to import the required Python library (requests)" in error
