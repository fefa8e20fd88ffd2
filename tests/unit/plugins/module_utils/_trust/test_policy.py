# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Policies: what is accepted is understood whole, everything else is refused before any request."""

from __future__ import annotations

import json

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._image.errors import StoreAccessError
from ansible_collections.lockstep.images.plugins.module_utils._image.names import Reference
from ansible_collections.lockstep.images.plugins.module_utils._trust.errors import (
    PolicyError,
    PolicyRejectedError,
)
from ansible_collections.lockstep.images.plugins.module_utils._trust.naming import SignedAs
from ansible_collections.lockstep.images.plugins.module_utils._trust.policy import parse_policy
from ansible_collections.lockstep.images.tests.support.signing import key
from ansible_collections.lockstep.images.tests.support.sigstore import Sigstore

A, B = {"text": key().public}, {"text": key("ed25519").public}
FILES = {"/a.pub": key().public.encode(), "/empty.pub": b""}


def read(path):
    if path == "/link.pub":
        raise StoreAccessError("/link.pub: is a symbolic link")
    if path not in FILES:
        raise FileNotFoundError(path)
    return FILES[path]


def parse(*rules):
    return parse_policy(list(rules), read)


def rule(**keys):
    return {"match": "a.b", "keys": [A], **keys}


def test_a_rule_has_defaults():
    (only,) = parse(rule()).rules["a.b"].requirements
    assert (only.by, only.threshold, only.level, only.signatures) == ("key", 1, "any", None)
    assert (only.signed_as, only.annotations) == (SignedAs("repository"), {})
    assert [one.der for one in only.keys] == [key().der]


def test_every_key_of_a_rule_is_read():
    (only,) = (
        parse(
            rule(
                keys=[{"path": "/a.pub"}, B],
                count=2,
                annotations={"env": "prod"},
                signed_as={"prefix": "a.b/x", "signed_prefix": "c.d"},
                signatures="a.b/signatures",
                level="platform",
            )
        )
        .rules["a.b"]
        .requirements
    )
    assert [one.der for one in only.keys] == [key().der, key("ed25519").der]
    assert (only.threshold, only.level, only.annotations) == (2, "platform", {"env": "prod"})
    assert only.signed_as == ("repository", "a.b/x", "c.d")
    assert only.signatures and only.signatures.name == "a.b/signatures"


def test_all_has_several_requirements():
    both = parse({"match": "*", "all": [{"keys": [A]}, {"keys": [B], "signed_as": "any"}]})
    assert [one.by for one in both.rules["*"].requirements] == ["key", "key"]


def test_json_is_a_policy_too():
    assert parse_policy(json.dumps([rule()]), read).rules.keys() == {"a.b"}


@pytest.mark.parametrize(
    ("name", "match"),
    [
        ("a.b/x/y:1", "a.b/x/y:1"),
        ("a.b/x/y:2", "a.b/x/y"),
        ("a.b/x/z", "a.b/x"),
        ("a.b/xx", "a.b"),
        ("z.a.b/x", "*.a.b"),
        ("debian", "docker.io/library"),
        ("c.d/x", "*"),
    ],
)
def test_the_most_specific_rule_counts_alone(name, match):
    scopes = [
        "*",
        "a.b",
        "*.a.b",
        "a.b/x",
        "a.b/x/y",
        "a.b/x/y:1",
        "docker.io/library",
        "docker.io",
    ]
    policy = parse(*(rule(match=scope) for scope in scopes))
    assert policy.rule_for(Reference.parse(name)).match == match


def test_image_without_a_rule_is_rejected():
    with pytest.raises(PolicyRejectedError, match="no rule of the policy matches"):
        parse(rule()).rule_for(Reference.parse("c.d/x"))


def test_a_rule_can_reject():
    policy = parse({"match": "*", "accept": "unsigned"}, {"match": "a.b", "reject": True})
    assert policy.rule_for(Reference.parse("c.d/x")).requirements[0].by == "unsigned"
    with pytest.raises(PolicyRejectedError, match="rejects it"):
        policy.rule_for(Reference.parse("a.b/x"))


ROOT = {"text": json.dumps(Sigstore().trusted_root())}
WHO = {"issuer": "https://issuer", "subject": "https://a.b/*"}


def who(*identities, **keys):
    return {"match": "a.b", "identities": list(identities or [WHO]), "trusted_root": ROOT, **keys}


def test_identities_need_a_trusted_root():
    (only,) = parse(who(WHO, {"issuer": "i", "subject_regex": "a|b"})).rules["a.b"].requirements
    assert (only.by, only.threshold, len(only.root.logs)) == ("identity", 1, 1)
    assert only.identities[0].accepts("https://issuer", "https://a.b/c/d")
    assert not only.identities[0].accepts("https://issuer", "xhttps://a.b/c")
    assert only.identities[1].accepts("i", "b") and not only.identities[1].accepts("i", "bb")
    assert parse(who(log="required"))


def test_trusted_root_may_be_a_mapping():
    assert parse(who(trusted_root={"text": Sigstore().trusted_root()})).rules["a.b"]


def test_log_can_be_required_for_keys():
    (only,) = parse(rule(log="required", trusted_root=ROOT)).rules["a.b"].requirements
    assert only.root is not None
    (only,) = parse(rule(log="ignore")).rules["a.b"].requirements
    assert only.root is None


def test_attestation_is_a_requirement_of_its_own():
    value = {**SLSA, "builder": "https://a.b/*", "source": "c"}
    (only,) = parse(rule(attestation=value)).rules["a.b"].requirements
    assert only.attestation.builder.fullmatch("https://a.b/c")
    assert not only.attestation.source.fullmatch("cd")
    others = [parse(rule(attestation=SLSA)), parse(rule()), parse(rule(attestation=value))]
    digests = [one.rules["a.b"].digest for one in others]
    assert len(set(digests)) == 3
    assert parse(rule(attestation=value)).rules["a.b"].digest == digests[2]


SLSA = {"predicate_type": "https://slsa.dev/provenance/v1"}
PRIVATE, SMALL = {"text": key().secret}, {"text": key("rsa1024").public}
REFUSED = {
    "nothing": (None, "not a list of rules"),
    "empty": ([], "at least one rule"),
    "a mapping": ({"a.b": []}, "not a list of rules"),
    "broken JSON": ("[", "not valid JSON"),
    "double keys in JSON": ('[{"match":"*","match":"a.b","accept":"unsigned"}]', "duplicate keys"),
    "a text as a rule": (["a.b"], r"verify\[0\]: is not a mapping"),
    "no match": ([{"keys": [A]}], "match is missing"),
    "match is a number": ([rule(match=1)], "match is missing or not a text"),
    "match is no scope": ([rule(match="debian")], "debian is not a registry"),
    "match is a pattern": ([rule(match="a.b/x*")], "is not a scope"),
    "two rules for a scope": ([rule(), rule()], r"verify\[1\].match: a second rule for a.b"),
    "unknown key": ([rule(kyes=1)], "unknown key kyes"),
    "unknown key that is no text": ([{**rule(), 1: 2}], "unknown key 1"),
    "capital key": ([{"match": "a.b", "Keys": [A]}], "unknown key Keys"),
    "nothing required": ([{"match": "a.b"}], "has none, expected one of"),
    "two ways": ([rule(accept="unsigned")], "has keys, accept"),
    "keys is a mapping": ([rule(keys=A)], "keys: is not a list"),
    "no keys": ([rule(keys=[])], "list of 1 to"),
    "key is a text": ([rule(keys=[key().public])], r"keys\[0\]: must have either text or path"),
    "key has both": ([rule(keys=[{**A, "path": "/a.pub"}])], "either text or path"),
    "key is empty": ([rule(keys=[{"text": ""}])], "has no PEM block"),
    "key is private": ([rule(keys=[PRIVATE])], "a PEM block PRIVATE KEY"),
    "key is short, beside a good one": ([rule(keys=[A, SMALL])], r"keys\[1\]: is an RSA key of 1024 bits"),
    "key file is missing": ([rule(keys=[{"path": "/b.pub"}])], "/b.pub does not exist"),
    "key file is empty": ([rule(keys=[{"path": "/empty.pub"}])], r"\(/empty.pub\): has no PEM block"),
    "key file is a link": ([rule(keys=[{"path": "/link.pub"}])], "is a symbolic link"),
    "count is too high": ([rule(count=2)], "count: is not between 1 and 1"),
    "one key twice": ([rule(keys=[A, {"path": "/a.pub"}], count=2)], "the number of different keys"),
    "count is zero": ([rule(count=0)], "count"),
    "count is true": ([rule(count=True)], "count"),
    "count is text": ([rule(count="1")], "count"),
    "accept": ([{"match": "a.b", "accept": True}], "accept: is not unsigned"),
    "accept with more": ([{"match": "a.b", "accept": "unsigned", "level": "any"}], "accept must be alone"),
    "reject": ([{"match": "a.b", "reject": "yes"}], "reject: is not true"),
    "all with more": ([{"match": "a.b", "all": [{"keys": [A]}], "level": "any"}], "all must be a list"),
    "all is empty": ([{"match": "a.b", "all": []}], "all must be a list"),
    "all in all": ([{"match": "a.b", "all": [{"all": [{"keys": [A]}]}]}], r"all\[0\]: has the unknown key all"),
    "match in all": ([{"match": "a.b", "all": [rule()]}], "unknown key match"),
    "annotations": ([rule(annotations={"a": 1})], "annotations: is not a mapping of texts"),
    "signed_as": ([rule(signed_as="tag")], "signed_as: is not"),
    "signed_as without a prefix": ([rule(signed_as={"prefix": "a.b"})], "signed_prefix is missing"),
    "signed_as with a tag": ([rule(signed_as={"prefix": "a.b/x:1", "signed_prefix": "a.b"})], "is not a host"),
    "signed_as with a pattern": ([rule(signed_as={"prefix": "*.a.b", "signed_prefix": "a.b"})], "is not a host"),
    "signatures": ([rule(signatures="A")], "signatures"),
    "signatures with a tag": ([rule(signatures="a.b/c:1")], "must be a whole repository"),
    "no trusted root": ([{"match": "a.b", "identities": [WHO]}], "trusted_root and log required belong together"),
    "log without a root": ([rule(log="required")], "trusted_root and log required belong together"),
    "root without a log": ([rule(trusted_root=ROOT)], "trusted_root and log required belong together"),
    "log ignored for identities": ([who(log="ignore")], "log: is not required"),
    "log": ([rule(log=True)], "log: is not required"),
    "root is malformed": ([who(trusted_root={"text": "{}"})], "trusted_root: mediaType is missing"),
    "root has double keys": ([who(trusted_root={"text": '{"a":1,"a":1}'})], "duplicate keys"),
    "root is missing": ([who(trusted_root={"path": "/root.json"})], "/root.json does not exist"),
    "keys and identities": ([who(keys=[A])], "has keys, identities"),
    "identities is a mapping": ([who(identities=WHO)], "identities: is not a list"),
    "no identities": ([who(identities=[])], "identities: is not a list"),
    "count of identities": ([who(count=1)], "count is only for keys"),
    "no issuer": ([who({"subject": "a"})], "issuer is missing"),
    "no subject": ([who({"issuer": "a"})], "either subject or subject_regex"),
    "two subjects": ([who({**WHO, "subject_regex": "a"})], "either subject or subject_regex"),
    "every subject": ([who({"issuer": "a", "subject": "**"})], "accepts every subject"),
    "subject is a number": ([who({"issuer": "a", "subject": 1})], "subject is missing or not a text"),
    "regular expression": ([who({"issuer": "a", "subject_regex": "("})], "is not a regular expression"),
    "attestation that is a text": ([rule(attestation="a")], "attestation: is not a mapping"),
    "attestation without a type": ([rule(attestation={})], "attestation: predicate_type is missing"),
    "unknown key of an attestation": ([rule(attestation={**SLSA, "x": 1})], "attestation: has the unknown key x"),
    "builder of another type": ([rule(attestation={"predicate_type": "a", "builder": "b"})], "builder and source are for"),
    "builder that is a number": ([rule(attestation={**SLSA, "builder": 1})], "builder is missing or not a text"),
    "every source": ([rule(attestation={**SLSA, "source": "**"})], "attestation.source: accepts every source"),
    "name of an attestation": ([rule(attestation=SLSA, signed_as="any")], "signed_as is not for an attestation"),
    "annotations of an attestation": ([rule(attestation=SLSA, annotations={})], "annotations is not for an attestation"),
    "attestation alone": ([{"match": "a.b", "attestation": SLSA}], "has none, expected one of keys"),
    "accepted attestation": ([{"match": "a.b", "accept": "unsigned", "attestation": SLSA}], "accept must be alone"),
    "unknown key of an identity": ([who({**WHO, "email": "a"})], "unknown key email"),
    "level": ([rule(level="all")], "level: is not one of"),
}  # fmt: skip


@pytest.mark.parametrize(("value", "message"), REFUSED.values(), ids=REFUSED)
def test_every_other_policy_is_refused(value, message):
    assert parse(rule())
    with pytest.raises(PolicyError, match=message):
        parse_policy(value, read)
