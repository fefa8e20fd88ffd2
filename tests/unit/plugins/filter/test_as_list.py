# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lists that variables hold as text."""

from __future__ import annotations

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.lockstep.images.plugins.filter.as_list import FilterModule, as_list
from ansible_collections.lockstep.images.plugins.module_utils._ansible import with_lists

TWO = ["docker.io/library/debian:12", "quay.io/app@sha256:1"]
SPELLINGS = [
    TWO,
    tuple(TWO),
    ",".join(TWO),
    f" {TWO[0]} ,\n {TWO[1]},",
    f"{TWO[0]}\r\n\n{TWO[1]}\n",
    f'["{TWO[0]}", "{TWO[1]}"]',
    f'\n["{TWO[0]}",\n"{TWO[1]}"]\n',
    f"['{TWO[0]}', '{TWO[1]}']",
    f"[{TWO[0]},{TWO[1]}]",
]


def test_ansible_finds_the_filter():
    assert FilterModule().filters() == {"as_list": as_list}


@pytest.mark.parametrize("value", SPELLINGS, ids=repr)
def test_F19_every_spelling_of_a_list_has_the_same_entries(value):
    assert as_list(value) == TWO
    spec = {"name": {"type": "list"}, "text": {"type": "str"}}
    if not isinstance(value, tuple):
        assert with_lists(spec, {"name": value, "text": "a,b"}) == {"name": TWO, "text": "a,b"}


@pytest.mark.parametrize(
    ("value", "entries"),
    [
        (None, []),
        ("", []),
        (" , ", []),
        ("[]", []),
        ("one", ["one"]),
        ('[{"registry": "a", "plain_http": false}]', [{"registry": "a", "plain_http": False}]),
        ("[ab]*", ["[ab]*"]),
        ("[a,[b]", ["[a", "[b]"]),
        ("[" * 9999 + "]", ["[" * 9999 + "]"]),
    ],
)
def test_F19_other_text_is_split_at_commas_or_lines(value, entries):
    assert as_list(value) == entries


def test_F19_modules_reject_empty_text_as_a_list():
    """A variable that is empty by mistake must not make a task do nothing."""
    assert with_lists({"name": {"type": "list"}}, {"name": " ", "other": "x"})["name"] == " "


@pytest.mark.parametrize("value", [5, {"a": 1}, True])
def test_F19_value_that_is_neither_list_nor_text_is_an_error(value):
    with pytest.raises(AnsibleFilterError, match="expected a list"):
        as_list(value)
