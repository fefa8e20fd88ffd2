# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Settings of registries and logins as one value: the longest prefix counts, for each of them."""

from __future__ import annotations

import json

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.lockstep.images.plugins.filter.with_logins import FilterModule, with_logins
from ansible_collections.lockstep.images.plugins.module_utils._image.names import Reference
from ansible_collections.lockstep.images.plugins.module_utils._registry.credentials import (
    Credentials,
)
from ansible_collections.lockstep.images.plugins.module_utils._registry.mirrors import (
    Endpoint,
    HostConfig,
)
from ansible_collections.lockstep.images.tests.support.tables import secret_forms

SECRET = "c4nary-word"


def login(registry, user="robot", password=SECRET, **more):
    return {"registry_url": registry, "username": user, "password": password, **more}


def places(name, entries):
    config = HostConfig(lambda registry: Endpoint(registry, name=registry), entries)
    return config.places(Reference.parse(name))


def test_ansible_finds_the_filter():
    assert FilterModule().filters() == {"with_logins": with_logins}


def test_F17_login_without_settings_becomes_an_entry():
    assert with_logins([], [login("quay.io", verify=False)]) == [
        {"registry": "quay.io", "username": "robot", "password": SECRET}
    ]


def test_F17_settings_are_unchanged_without_logins():
    settings = [
        {"registry": "quay.io", "mirrors": [{"url": "https://m.example"}], "ca_path": "/ca"}
    ]
    assert with_logins(settings, []) == settings


@pytest.mark.parametrize(
    ("url", "prefix"),
    [
        (None, "docker.io"),
        ("https://index.docker.io/v1/", "docker.io"),
        ("registry-1.docker.io", "docker.io"),
        ("https://r.example:5000/v2/", "r.example:5000"),
        ("R.example/v2", "r.example"),
        ("quay.io/org", "quay.io/org"),
    ],
)
def test_F17_login_applies_to_the_prefix_in_its_url(url, prefix):
    assert with_logins([], [login(url)])[0]["registry"] == prefix


def test_F17_settings_of_a_registry_apply_to_a_login_of_its_namespace():
    settings = [
        {"registry": "quay.io", "ca_path": "/ca", "mirrors": [{"url": "https://m.example/quay"}]}
    ]
    entries = with_logins(settings, [login("quay.io/org"), login("quay.io", "all")])
    users = {"quay.io/org/app": "robot", "quay.io/other/app": "all", "quay.io/organ/app": "all"}
    for name, user in users.items():
        mirror, origin = places(name, entries)
        assert origin.endpoint.login == Credentials(user, SECRET)
        assert origin.endpoint.trust.ca_paths == ("/ca",)
        assert (
            mirror.repository == "quay/" + name.partition("/")[2] and mirror.endpoint.login is None
        )


def test_F17_login_of_a_registry_applies_to_settings_of_its_namespace():
    settings = [{"registry": "r.example/org", "plain_http": True}]
    entries = with_logins(settings, [login("r.example")])
    (inner,), (outer,) = places("r.example/org/app", entries), places("r.example/app", entries)
    assert inner.endpoint.login == outer.endpoint.login == Credentials("robot", SECRET)
    assert (inner.endpoint.scheme, outer.endpoint.scheme) == ("http", "")


def test_F17_a_user_in_the_settings_is_kept():
    settings = [{"registry": "quay.io", "username": "own", "password": "x"}]
    entries = with_logins(settings, [login("quay.io"), login("quay.io/org")])
    assert {entry["username"] for entry in entries} == {"own"}


def test_F17_a_mirror_gets_the_login_for_its_host_and_path():
    mirrors = [
        {"url": "https://m.example/quay"},
        {"url": "m.example/hub"},
        {"url": "http://m.example", "username": "own", "password": "x"},
        {"url": "http://other.example"},
    ]
    logins = [login("m.example", "all"), login("m.example/quay", "part")]
    entry = with_logins([{"registry": "quay.io", "mirrors": mirrors}], logins)[0]
    assert [one.get("username") for one in entry["mirrors"]] == ["part", "all", "own", None]


def test_F17_paths_are_those_of_the_controller():
    settings = [
        {
            "registry": "a.example",
            "ca_path": "/host/ca",
            "mirrors": [{"url": "m", "ca_path": "/host/ca"}],
        },
        {"registry": "b.example", "ca_path": "/other", "client_cert": "/host/ca"},
    ]
    first, second = with_logins(settings, [], paths={"/host/ca": "/here"})
    assert first["ca_path"] == first["mirrors"][0]["ca_path"] == second["client_cert"] == "/here"
    assert second["ca_path"] == "/other"


@pytest.mark.parametrize(
    ("settings", "logins", "words"),
    [
        ([], SECRET, r"logins\[0\]: is a string, expected a dictionary"),
        ([], [SECRET], r"logins\[0\]: is a string, expected a dictionary"),
        ([], [login("a"), [login("b")]], r"logins\[1\]: is a list, expected a dictionary"),
        (
            [],
            [{"username": "u", "passwort": SECRET}],
            "unknown keys: passwort, expected registry_url",
        ),
        ([], [{"username": "u"}], "password must be a string"),
        ([], [{"username": None, "password": SECRET}], "username must be a string"),
        ([], [login("a", password=[SECRET])], "password must be a string"),
        ([], [login(f"https://robot:{SECRET}@r.example")], "registry"),
        ([], [login(f"robot:{SECRET}@r.example")], "registry"),
        ([], [login(f"robot:{SECRET}@r.example/a")], "registry_url: must be host"),
        ([], [login("a", verify=SECRET)], r"logins\[0\]: verify must be true or false"),
        ([], [login("a.io"), login("A.io")], r"logins\[1\]: a.io has an entry already"),
        ({"registry": SECRET}, [], "registries: is a dictionary, expected a list"),
        ([{"password": SECRET}], [], r"registries\[0\].registry: must be host"),
        ([[{"password": SECRET}]], [], r"registries\[0\]: is a list, expected a dictionary"),
    ],
)
def test_F01_invalid_entry_is_named_without_its_secret(settings, logins, words):
    with pytest.raises(AnsibleFilterError, match=words) as caught:
        with_logins(settings, logins)
    assert not [form for form in secret_forms(SECRET) if form in str(caught.value)]


def test_entries_can_be_json():
    entries = with_logins('[{"registry": "a.io"}]', json.dumps([login("b.io")]))
    assert [entry["registry"] for entry in entries] == ["a.io", "b.io"]


def test_password_can_be_a_number():
    assert with_logins([], [login("quay.io", password=1234)])[0]["password"] == "1234"
