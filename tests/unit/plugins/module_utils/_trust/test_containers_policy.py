# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A policy.json of containers tools: the whole file is understood, or refused."""

from __future__ import annotations

import base64
import json

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._image.names import Reference
from ansible_collections.lockstep.images.plugins.module_utils._trust.errors import (
    PolicyError,
    PolicyRejectedError,
)
from ansible_collections.lockstep.images.plugins.module_utils._trust.openpgp import armor
from ansible_collections.lockstep.images.plugins.module_utils._trust.policy import parse_policy
from ansible_collections.lockstep.images.plugins.module_utils._trust.signed_identity import (
    SignedIdentity,
)
from ansible_collections.lockstep.images.tests.support.gpg import keyring
from ansible_collections.lockstep.images.tests.support.signing import key
from ansible_collections.lockstep.images.tests.support.tables import attached

ACCEPT, REJECT = {"type": "insecureAcceptAnything"}, {"type": "reject"}
FILES = {
    "/a.pub": key().public.encode(),
    "/b.pub": key("rsa").public.encode(),
    "/ring": keyring(),
    "/none": b"",
}
PLACE = {"lookaside": "https://sigs"}


def b64(data):
    return base64.b64encode(data).decode()


def read(path):
    if path not in FILES:
        raise FileNotFoundError(path)
    return FILES[path]


def parse(*requirements, **more):
    """Return the only requirement of a policy for a.b, whose other images are rejected."""
    policy = {"default": [REJECT], "transports": {"docker": {"a.b": list(requirements)}}}
    rule = parse_policy({"containers_policy": policy, **more}, read).rule_for(
        Reference.parse("a.b/c:1")
    )
    return rule.requirements[0]


def gpg(**fields):
    return {"type": "signedBy", "keyType": "GPGKeys", "keyPath": "/ring", **fields}


def sigstore(**fields):
    return {"type": "sigstoreSigned", "keyPath": "/a.pub", **fields}


def without(table, *keys, **more):
    return {**{name: value for name, value in table.items() if name not in keys}, **more}


@pytest.mark.parametrize(("name", "scope"), attached("signature_policy", "walk"))
def test_most_specific_scope_counts_alone(name, scope):
    value = {"default": [ACCEPT], "transports": {"docker": attached("signature_policy", "scopes")}}
    policy = parse_policy(value, read)
    if scope is None:
        with pytest.raises(PolicyRejectedError):
            policy.rule_for(Reference.parse(name))
    else:
        assert policy.rule_for(Reference.parse(name)).match == scope


def test_default_counts_without_a_scope():
    policy = parse_policy(json.dumps({"default": [ACCEPT]}), read)
    rule = policy.rule_for(Reference.parse("a.b/c"))
    assert (rule.match, rule.requirements[0].by) == ("default", "unsigned")
    value = {"default": [ACCEPT], "transports": {"docker": {"": [REJECT]}, "dir": {"": [ACCEPT]}}}
    with pytest.raises(PolicyRejectedError, match="the rule for docker rejects it"):
        parse_policy(value, read).rule_for(Reference.parse("a.b/c"))


def test_requirements_must_all_be_met():
    value = {"default": [ACCEPT, sigstore(), sigstore(keyPath="/b.pub")]}
    rule = parse_policy(value, read).rule_for(Reference.parse("a.b/c"))
    assert [one.by for one in rule.requirements] == ["unsigned", "key", "key"]
    with pytest.raises(PolicyRejectedError):
        parse_policy({"default": [ACCEPT, REJECT]}, read).rule_for(Reference.parse("a.b/c"))


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"keyData": b64(keyring())},
        {"keyData": b64(armor(keyring()).encode())},
        {"keyPaths": ["/ring"]},
    ],
)
def test_keyring_of_gpg_is_read(fields):
    entry = {**(without(gpg(), "keyPath") if fields else gpg()), **fields}
    found = parse(entry, **PLACE)
    assert (found.by, found.signed_as, found.level) == ("gpg", SignedIdentity(), "any")
    assert found.gpg == (keyring(), {"*": "https://sigs"})


def test_keyrings_are_joined():
    found = parse(without(gpg(keyPaths=["/ring", "/ring"]), "keyPath"), **PLACE)
    assert found.gpg.ring == keyring() * 2


@pytest.mark.parametrize(
    ("fields", "kinds"),
    [
        ({"keyPath": "/a.pub"}, ["p256"]),
        ({"keyPaths": ["/a.pub", "/b.pub", "/a.pub"]}, ["p256", "rsa"]),
        ({"keyData": b64(FILES["/b.pub"])}, ["rsa"]),
        ({"keyDatas": [b64(FILES["/b.pub"]), b64(FILES["/a.pub"])]}, ["rsa", "p256"]),
    ],
)
def test_any_key_of_sigstore_counts(fields, kinds):
    found = parse({"type": "sigstoreSigned", **fields})
    assert [one.der for one in found.keys] == [key(kind).der for kind in kinds]
    assert (found.by, found.threshold, found.root) == ("key", 1, None)


def test_log_with_one_of_the_keys_is_required():
    found = parse(sigstore(rekorPublicKeyPaths=["/a.pub", "/b.pub"]))
    assert [log.key.der for log in found.root.logs] == [key().der, key("rsa").der]
    assert not found.root.authorities
    other = parse(sigstore(rekorPublicKeyData=b64(FILES["/a.pub"])))
    assert other.root.digest != found.root.digest


def test_other_transports_are_parsed_and_do_not_count():
    scopes = {
        "": [
            gpg(keyPath="/missing"),
            {"type": "signedBaseLayer", "baseLayerIdentity": {"type": "matchExact"}},
        ]
    }
    value = {"default": [ACCEPT], "transports": {"docker-daemon": scopes}}
    assert parse_policy(value, read).rules.keys() == {"*"}


def test_policy_may_be_a_file_or_a_text():
    text = json.dumps({"default": [ACCEPT]})
    for given in ({"text": text}, text, json.loads(text)):
        assert parse_policy({"containers_policy": given}, read).rules["*"].match == "default"
    FILES["/policy.json"] = text.encode()
    assert parse_policy({"containers_policy": {"path": "/policy.json"}}, read).rules["*"]


FULCIO = {"caPath": "/ca", "oidcIssuer": "https://i", "subjectEmail": "a@b"}
REFUSED = {
    "no default": ({"transports": {}}, "default is missing"),
    "unknown key": ({"default": [ACCEPT], "more": 1}, "unknown key more"),
    "capital key": ({"default": [ACCEPT], "Transports": {}}, "unknown key Transports"),
    "transports is a list": ({"default": [ACCEPT], "transports": []}, "transports: is not a mapping"),
    "unknown transport": ({"default": [ACCEPT], "transports": {"dokcer": {}}}, "unknown key dokcer"),
    "scopes are a list": ({"default": [ACCEPT], "transports": {"docker": []}}, "is not a mapping"),
    "nothing required": ({"default": []}, "default: is not a list with at least one"),
    "nothing required in a scope": ({"default": [ACCEPT], "transports": {"dir": {"": []}}}, "at least one"),
    "requirement is a text": ({"default": ["reject"]}, r"default\[0\]: type is not one of"),
    "no type": ({"default": [{}]}, "type is not one of"),
    "unknown type": ({"default": [{"type": "accept"}]}, "type is not one of"),
    "unknown key of accept": ({"default": [{**ACCEPT, "more": 1}]}, "unknown key more"),
    "unknown key of reject": ({"default": [{**REJECT, "keyPath": "/a"}]}, "unknown key keyPath"),
    "unknown key of signedBy": ({"default": [gpg(keyDatas=[])]}, "unknown key keyDatas"),
    "unknown key of sigstoreSigned": ({"default": [sigstore(keyType="GPGKeys")]}, "unknown key keyType"),
    "unknown key in another transport": ({"default": [ACCEPT], "transports": {"dir": {"": [gpg(x=1)]}}}, "unknown key x"),
    "no keyType": ({"default": [without(gpg(), "keyType")]}, "keyType: is not one of"),
    "unknown keyType": ({"default": [gpg(keyType="gpg")]}, "keyType: is not one of"),
    "keyType that is not supported": ({"default": [gpg(keyType="X509Certificates")]}, "only GPGKeys is supported"),
    "no key": ({"default": [without(gpg(), "keyPath")]}, "has no key"),
    "two keys": ({"default": [gpg(keyData="AAAA")]}, "has keyPath, keyData"),
    "two keys of sigstore": ({"default": [sigstore(keyPaths=["/a.pub"])]}, "has keyPath, keyPaths"),
    "key and fulcio": ({"default": [sigstore(fulcio=FULCIO, rekorPublicKeyPath="/a.pub")]}, "has keyPath, fulcio"),
    "two logs": ({"default": [sigstore(rekorPublicKeyPath="/a.pub", rekorPublicKeyData="AAAA")]}, "expected one of rekorPublicKeyPath"),
    "fulcio without a log": ({"default": [without(sigstore(fulcio=FULCIO), "keyPath")]}, "expected one of rekorPublicKeyPath"),
    "fulcio": ({"default": [without(sigstore(fulcio=FULCIO, rekorPublicKeyPath="/a.pub"), "keyPath")]}, "fulcio: is not supported"),
    "pki": ({"default": [without(sigstore(pki={"caRootsPath": "/a"}), "keyPath")]}, "pki: is not supported"),
    "base layer": ({"default": [{"type": "signedBaseLayer", "baseLayerIdentity": {"type": "matchExact"}}]}, "is not supported"),
    "base layer without an identity": ({"default": [{"type": "signedBaseLayer"}]}, "baseLayerIdentity: type is not"),
    "empty keyPath": ({"default": [sigstore(keyPath="")]}, "keyPath: is empty or of another type"),
    "keyPath is null": ({"default": [sigstore(keyPath=None)]}, "keyPath: is empty or of another type"),
    "keyPaths is a text": ({"default": [without(sigstore(keyPaths="/a.pub"), "keyPath")]}, "keyPaths: is empty or of another type"),
    "no keyPaths": ({"default": [without(sigstore(keyPaths=[]), "keyPath")]}, "keyPaths: is empty or of another type"),
    "keyPaths with a number": ({"default": [without(sigstore(keyPaths=[1]), "keyPath")]}, "keyPaths: is empty or of another type"),
    "keyData is not base64": ({"default": [without(sigstore(keyData="*"), "keyPath")]}, "is not base64"),
    "keyPath is missing": ({"default": [sigstore(keyPath="/c.pub")]}, "/c.pub does not exist"),
    "key is a keyring": ({"default": [sigstore(keyPath="/ring")]}, r"keyPath \(/ring\): has no PEM block"),
    "one key of two is empty": ({"default": [without(sigstore(keyPaths=["/a.pub", "/none"]), "keyPath")]}, "has no PEM block"),
    "keyring is a key": ({"default": [gpg(keyPath="/a.pub")]}, "is not OpenPGP"),
    "identity": ({"default": [sigstore(signedIdentity={"type": "x"})]}, "signedIdentity: type is not"),
    "identity is null": ({"default": [sigstore(signedIdentity=None)]}, "signedIdentity: is empty or of another type"),
}  # fmt: skip


@pytest.mark.parametrize(("value", "message"), REFUSED.values(), ids=REFUSED)
def test_every_other_policy_is_refused(value, message):
    with pytest.raises(PolicyError, match=message):
        parse_policy({"containers_policy": value, **PLACE}, read)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"default": [gpg()]}, "nothing says where signatures by GPG are"),
        ('{"default":[{"type":"reject"}],"default":[{"type":"reject"}]}', "duplicate keys"),
        ('{"default":[{"type":"reject","type":"reject"}]}', "duplicate keys"),
        ({"containers_policy": {"default": [ACCEPT]}, "more": 1}, "unknown key more"),
        (
            {"containers_policy": {"default": [ACCEPT]}, "lookaside": "http://x"},
            "lookaside: is not a URL",
        ),
        ({"containers_policy": {"path": "/nowhere"}}, "/nowhere does not exist"),
        ({"containers_policy": []}, "must have either text or path"),
        ({"containers_policy": "[]"}, "is not a mapping"),
        ({"lookaside": "https://x"}, "is not a list of rules"),
        ({}, "is not a list of rules"),
    ],
)
def test_every_other_form_is_refused(value, message):
    with pytest.raises(PolicyError, match=message):
        parse_policy(value, read)
