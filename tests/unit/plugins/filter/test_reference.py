# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The parts of a name, by the rules of the library."""

from __future__ import annotations

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.lockstep.images.plugins.filter.reference import FilterModule, reference
from ansible_collections.lockstep.images.tests.support.tables import params, table

DIGEST = f"sha256:{'a' * 64}"


def test_ansible_finds_the_filter():
    assert FilterModule().filters() == {"reference": reference}


def test_short_name_has_all_parts_except_the_digest():
    assert reference("debian") == {
        "registry": "docker.io",
        "repository": "library/debian",
        "tag": "latest",
        "digest": None,
        "name": "docker.io/library/debian",
        "canonical": "docker.io/library/debian:latest",
        "familiar": "debian:latest",
    }


def test_a_tag_and_a_digest_are_both_kept():
    assert reference(f"registry.example.com:5000/shop/web:1.4@{DIGEST}") == {
        "registry": "registry.example.com:5000",
        "repository": "shop/web",
        "tag": "1.4",
        "digest": DIGEST,
        "name": "registry.example.com:5000/shop/web",
        "canonical": f"registry.example.com:5000/shop/web:1.4@{DIGEST}",
        "familiar": f"registry.example.com:5000/shop/web:1.4@{DIGEST}",
    }


def test_name_with_only_a_digest_has_no_tag():
    parts = reference(f"shop/web@{DIGEST}")
    assert (parts["tag"], parts["digest"]) == (None, DIGEST)
    assert parts["familiar"] == f"shop/web@{DIGEST}"


@pytest.mark.parametrize("name", ["debian:12", "shop/web:1", f"localhost/a/b/c@{DIGEST}"])
def test_both_full_names_have_the_same_parts(name):
    parts = reference(name)
    assert reference(parts["canonical"]) == reference(parts["familiar"]) == parts


@pytest.mark.parametrize("case", params(table("reference", "spellings"), "name"))
def test_all_spellings_have_the_same_parts(case):
    for text in case["spellings"]:
        parts = reference(text)
        assert {key: parts[key] for key in ("name", "registry", "repository")} == {
            key: case[key] for key in ("name", "registry", "repository")
        }
        assert parts["familiar"] == f"{case['familiar']}:latest"


@pytest.mark.parametrize("case", params(table("reference", "invalid"), "text"))
def test_invalid_name_is_an_error_of_the_filter(case):
    with pytest.raises(AnsibleFilterError):
        reference(case["text"])


def test_error_names_the_problem_and_the_remedy():
    with pytest.raises(AnsibleFilterError) as caught:
        reference("docker://debian:12")
    assert "a scheme (docker://) is not part of a name" in str(caught.value)
    assert "Write registry/repository:tag" in str(caught.value)


@pytest.mark.parametrize("value", [None, 12, True, ["debian"], {"name": "debian"}])
def test_value_that_is_not_text_is_an_error_that_names_its_type(value):
    with pytest.raises(AnsibleFilterError, match=f"of type {type(value).__name__}, not a string"):
        reference(value)
