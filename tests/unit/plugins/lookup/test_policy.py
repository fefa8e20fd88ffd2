# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lookup policy: found where Ansible searches files, and its errors."""

from __future__ import annotations

import base64
import json

import pytest
from ansible.errors import AnsibleLookupError
from ansible.parsing.dataloader import DataLoader
from ansible_collections.lockstep.images.plugins.lookup import policy
from ansible_collections.lockstep.images.tests.support.gpg import keyring
from ansible_collections.lockstep.images.tests.support.signing import key


def look_up(*terms, search, **options):
    loader = DataLoader()
    loader.set_basedir("/nonexistent")
    variables = {"ansible_search_path": [str(search)]}
    return policy.LookupModule(loader=loader).run(list(terms), variables=variables, **options)


@pytest.fixture(name="place")
def fixture_place(tmp_path):
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "a.pub").write_text(key().public)
    (tmp_path / "files" / "trust.yml").write_text("- {match: a.b, keys: [{path: a.pub}]}\n")
    return tmp_path


def test_policy_is_returned_with_its_keys(place):
    assert look_up("trust.yml", search=place) == [
        [{"match": "a.b", "keys": [{"text": key().public}]}]
    ]


@pytest.mark.parametrize("options", [{}, {"more": 1}])
def test_errors_are_those_of_ansible(place, options):
    (place / "files" / "trust.yml").write_text("- {match: a.b, keys: []}\n")
    with pytest.raises(AnsibleLookupError, match="unsupported options" if options else "keys"):
        look_up("trust.yml", search=place, **options)


def test_missing_policy_is_named(place):
    with pytest.raises(AnsibleLookupError, match="there is no such policy"):
        look_up("none.yml", search=place)


def test_policy_json_is_returned_with_keys_and_places(place):
    required = {"type": "signedBy", "keyType": "GPGKeys", "keyPath": "ring"}
    (place / "files" / "policy.json").write_text(json.dumps({"default": [required]}))
    (place / "files" / "ring").write_bytes(keyring())
    (place / "registries.d").mkdir()
    (place / "registries.d" / "a.yaml").write_text("docker: {a.b: {lookaside: 'https://c.d'}}")
    with pytest.raises(AnsibleLookupError, match="nothing says where"):
        look_up("policy.json", search=place)
    (found,) = look_up("policy.json", search=place, registries_d=str(place / "registries.d"))
    assert found["lookaside"] == {"a.b": "https://c.d"}
    assert base64.b64decode(found["containers_policy"]["default"][0]["keyData"]) == keyring()
