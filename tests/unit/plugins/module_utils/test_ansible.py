# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The edge to AnsibleModule: values that are rejected before Ansible sees them, and what no result may show."""

from __future__ import annotations

import math

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._ansible import (
    as_list,
    references,
    require_usable,
    secrets_of,
    shared_options,
    with_lists,
)
from ansible_collections.lockstep.images.plugins.module_utils._image.errors import (
    InputError,
    ReferenceError,
)

SECRET = "hunter22"
SPEC = {
    **shared_options(),
    "name": {"type": "list", "elements": "str", "aliases": ["names"]},
    "size": {"type": "bytes"},
    "lock": {"type": "dict"},
}


def test_missing_names_are_none_and_names_are_completed():
    assert references({"name": None}) is None
    assert references({"name": []}) == []
    assert [str(one) for one in references({"name": ["debian"]})] == [
        "docker.io/library/debian:latest"
    ]


def test_invalid_name_is_an_error():
    with pytest.raises(ReferenceError):
        references({"name": ["debian", "a b"]})


LISTS = {
    "a": ["a"],
    "a,b": ["a", "b"],
    "a\nb\n": ["a", "b"],
    "[a, b]": ["a", "b"],
    '["a", "b,c"]': ["a", "b,c"],
    "['a', 'b']": ["a", "b"],
    "[]": [],
    " , ,": [],
    '[{"a": 1}]': [{"a": 1}],
    "[{a}]": ["[{a}]"],
    # Deeper than any Python parses.
    "[" * 100_000 + "]" * 100_000: ["[" * 100_000 + "]" * 100_000],
}


@pytest.mark.parametrize("text", LISTS, ids=lambda text: text[:12])
def test_text_of_a_variable_is_read_as_a_list(text):
    assert as_list(text) == LISTS[text]


def test_only_texts_of_list_options_are_converted():
    values = {"name": "a,b", "store": "a,b", "registries": "", "unknown": "a,b", "names": ["x"]}
    assert with_lists(SPEC, values) == {**values, "name": ["a", "b"]}


BAD = {
    "a NUL character": ("store", f"/{SECRET}\0"),
    "a NUL character in a list": ("name", ["a", f"{SECRET}\0"]),
    "a NUL character in an entry": ("registries", [{"mirrors": [{"url": f"{SECRET}\0"}]}]),
    "a text that is not UTF-8": ("username", f"{SECRET}\udc80"),
    "not a number": ("timeout", math.nan),
    "an infinite number": ("timeout", math.inf),
    "a text of an infinite number": ("timeout", "inf"),
    "a text of no number": ("size", "nanM"),
    "a number that is too large": ("retries", 10**400),
}


@pytest.mark.parametrize(("option", "value"), BAD.values(), ids=BAD)
def test_value_that_ansible_cannot_handle_is_an_error_without_the_value(option, value):
    with pytest.raises(InputError) as caught:
        require_usable(SPEC, {option: value})
    text = f"{caught.value}{caught.value.hint}"
    assert str(caught.value).startswith(option)
    assert SECRET not in text


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"timeout": "30", "retries": 0, "size": "16M"},
        {"name": ["a", "b"], "store": "/srv/ünïcode"},
        {"retries": "many", "timeout": None, "plain_http": True},
        {"registries": [{"registry": "a", "mirrors": []}], "lock": {"a": [1.5, None]}},
    ],
)
def test_other_values_are_left_to_ansible(values):
    require_usable(SPEC, values)


HIDDEN = {
    "a secret option": {"password": SECRET},
    "an option of an unknown name": {"passwort": SECRET},
    "a value of a wrong type": {"password": {"a": [SECRET]}},
    "a number": {"password": 22222222},
    "an entry": {"registries": [{"password": SECRET}]},
    "an unknown key of an entry": {"registries": [{"pasword": SECRET}]},
    "a mirror": {"registries": [{"mirrors": [{"password": SECRET}]}]},
    "an entry that is not a dictionary": {"registries": [SECRET]},
    "a dictionary instead of a list": {"registries": {"password": SECRET}},
    "a URL": {"name": [f"https://user:{SECRET}@registry.example/app"]},
    "an alias": {"names": [f"user:{SECRET}@registry.example/app"]},
}


@pytest.mark.parametrize("values", HIDDEN.values(), ids=HIDDEN)
def test_secret_is_found_wherever_it_was_written(values):
    found = set(secrets_of(SPEC, values))
    assert found & {SECRET, "22222222"}


SHOWN = {
    "an ordinary option": {"store": "/var/lib/images"},
    "a path of a key": {"client_key": "/etc/key.pem"},
    "a digest": {"name": [f"registry.example:5000/app@sha256:{'a' * 64}"]},
    "a value of Ansible": {"_ansible_verbosity": "verbose"},
    "a lock": {"lock": {"images": [f"user:{SECRET}@registry.example/app"]}},
    "a short secret": {"password": "abc"},
    "no secret": {"password": None},
    "a truth value": {"password": True},
}


@pytest.mark.parametrize("values", SHOWN.values(), ids=SHOWN)
def test_other_values_are_not_hidden(values):
    assert list(secrets_of(SPEC, values)) == []


def test_secret_is_hidden_in_the_form_that_ansible_logs():
    secret = "it's\n22"
    assert {secret, repr(secret)[1:-1]} <= set(secrets_of(SPEC, {"password": secret}))


def test_every_shared_secret_is_marked_and_no_path_is():
    options = shared_options()
    inner = options["registries"]["options"]
    for one in (options, inner, inner["mirrors"]["options"]):
        assert one["password"]["no_log"] is True
        assert one["client_key"]["no_log"] is False
