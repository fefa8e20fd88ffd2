# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Policies in files: read strictly, and with the files that they name."""

from __future__ import annotations

import base64
import json
import os

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._operations.policyfile import (
    read_policy,
)
from ansible_collections.lockstep.images.plugins.module_utils._trust.errors import PolicyError
from ansible_collections.lockstep.images.plugins.module_utils._trust.openpgp import armor
from ansible_collections.lockstep.images.tests.support.gpg import keyring
from ansible_collections.lockstep.images.tests.support.signing import key
from ansible_collections.lockstep.images.tests.support.sigstore import Sigstore

ROOT = Sigstore().trusted_root()
RULES = """
- match: a.b
  keys:
    - path: keys/a.pub
- match: c.d
  identities:
    - {issuer: i, subject: s}
  trusted_root: {path: root.json}
"""


@pytest.fixture(name="directory")
def fixture_directory(tmp_path):
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / "a.pub").write_text(key().public)
    (tmp_path / "root.json").write_text(json.dumps(ROOT))
    return tmp_path


def read(directory, text=RULES):
    path = directory / "trust.yml"
    path.write_text(text)
    return read_policy(os.fspath(path), "trust.yml")


def test_files_are_put_in(directory):
    first, second = read(directory)
    assert first == {"match": "a.b", "keys": [{"text": key().public}]}
    assert json.loads(second["trusted_root"]["text"]) == ROOT


def test_json_and_whole_paths_are_read_too(directory):
    path = os.fspath(directory / "keys" / "a.pub")
    text = json.dumps([{"match": "a.b", "keys": [{"path": path}]}])
    assert read(directory, text)[0]["keys"] == [{"text": key().public}]


def test_annotation_called_path_is_not_a_file(directory):
    first, _second = read(directory, RULES.replace("keys:", "annotations: {path: a}\n  keys:"))
    assert first["annotations"] == {"path": "a"}


def test_binary_keyring_is_put_in_with_armor(directory):
    (directory / "ring.gpg").write_bytes(keyring())
    (directory / "ring.asc").write_text(armor(keyring()))
    for name in ("ring.gpg", "ring.asc"):
        gpg = f"- {{match: a.b, gpg: {{keyring: {{path: {name}}}, lookaside: 'https://a.b'}}}}"
        assert read(directory, gpg)[0]["gpg"]["keyring"] == {"text": armor(keyring())}
    with pytest.raises(PolicyError, match=r"gpg.keyring: is not OpenPGP"):
        read(directory, gpg.replace("ring.asc", "keys/a.pub"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "holds 0 documents"),
        ("---\n- a\n---\n- b\n", "holds 2 documents"),
        ("a: [", "trust.yml"),
        ("[]", "trust.yml: verify: is not a list of rules"),
        (RULES + "  match: e.f\n", "match"),
        (RULES + "  more: 1\n", "has the unknown key more"),
        (RULES.replace("a.pub", "b.pub"), "b.pub does not exist"),
        (RULES.replace("a.pub", "a.pub/x"), "Not a directory"),
        (RULES.replace("c.d", "a.b"), "a second rule for a.b"),
        ("- match: a.b\n  keys: [{path: .}]\n", "trust.yml"),
    ],
)
def test_every_other_file_is_refused(directory, text, message):
    assert read(directory)
    with pytest.raises(PolicyError, match=message):
        read(directory, text)


def test_missing_policy_is_not_found(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_policy(os.fspath(tmp_path / "none.yml"), "none.yml")


def test_binary_key_is_refused(directory):
    (directory / "keys" / "a.pub").write_bytes(b"\xff")
    with pytest.raises(PolicyError, match="is not text in UTF-8"):
        read(directory)


def containers(directory, requirement, registries_d=None):
    """Return a policy.json with one requirement for all images, as the lookup returns it."""
    path = directory / "policy.json"
    path.write_text(json.dumps({"default": [requirement]}))
    return read_policy(os.fspath(path), "policy.json", registries_d)


def b64(*parts):
    return base64.b64encode(b"".join(parts)).decode()


def test_keys_of_a_policy_json_are_put_in(directory):
    pem, ring = key().public.encode(), directory / "ring"
    ring.write_text(armor(keyring()))
    paths = {"keyPaths": ["keys/a.pub"], "rekorPublicKeyPath": "keys/a.pub"}
    found = containers(directory, {"type": "sigstoreSigned", **paths})
    datas = {"keyDatas": [b64(pem)], "rekorPublicKeyData": b64(pem)}
    assert found == {"default": [{"type": "sigstoreSigned", **datas}]}
    places = directory / "registries.d"
    places.mkdir()
    (places / "a.yaml").write_text("default-docker: {lookaside: 'https://a.b'}")
    both = {"type": "signedBy", "keyType": "GPGKeys", "keyPaths": [str(ring), "ring"]}
    found = containers(directory, both, os.fspath(places))
    assert found["lookaside"] == {"*": "https://a.b"}
    (only,) = found["containers_policy"]["default"]
    assert only == {"type": "signedBy", "keyType": "GPGKeys", "keyData": b64(keyring() * 2)}


@pytest.mark.parametrize(
    ("requirement", "message"),
    [
        ({"type": "accept"}, r"policy.json: default\[0\]: type is not one of"),
        ({"type": "sigstoreSigned", "keyPath": "keys/b.pub"}, "b.pub does not exist"),
        ({"type": "sigstoreSigned", "keyPath": "root.json"}, "has no PEM block"),
        (
            {"type": "sigstoreSigned", "keyPath": "keys/a.pub", "keyData": "AAAA"},
            "has keyPath, keyData",
        ),
        ({"type": "signedBy", "keyType": "GPGKeys", "keyPath": "keys/a.pub"}, "nothing says where"),
        ({"type": "signedBy", "keyType": "GPGKeys", "keyPaths": ["keys/a.pub"]}, "is not OpenPGP"),
    ],
)
def test_every_other_policy_json_is_refused(directory, requirement, message):
    with pytest.raises(PolicyError, match=message):
        containers(directory, requirement)


def test_registries_d_is_for_a_policy_json(directory):
    with pytest.raises(PolicyError, match=r"only for a policy.json"):
        (directory / "rules.yml").write_text("- {match: '*', reject: true}")
        read_policy(os.fspath(directory / "rules.yml"), "rules.yml", "/etc")
    with pytest.raises(PolicyError, match=r"neither a list of rules nor a policy.json"):
        read(directory, "containers_policy: {}")
