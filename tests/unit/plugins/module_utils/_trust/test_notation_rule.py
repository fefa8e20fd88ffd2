# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The part of a rule for notation: trust store, identities, level, and revocation."""

from __future__ import annotations

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._trust.errors import PolicyError
from ansible_collections.lockstep.images.plugins.module_utils._trust.policy import parse_policy
from ansible_collections.lockstep.images.tests.support.notation import chain, rule
from ansible_collections.lockstep.images.tests.support.signing import key

STORE = chain().store
WHO = "x509.subject: C=US, ST=WA, O=acme"


def parse(value, **more):
    policy = parse_policy([{"match": "a.b", "notation": value, **more}], lambda path: b"")
    return policy.rules["a.b"]


def test_rule_is_strict_by_default():
    (only,) = parse(rule()).requirements
    assert (only.by, only.threshold, only.level) == ("notation", 1, "any")
    trust = only.notation
    assert ([one.der for one in trust.authorities], trust.signing_authorities) == (
        chain().ders[-1:],
        (),
    )
    assert (trust.subjects, trust.is_strict) == (None, True)


def test_store_may_have_several_certificates():
    trust = (
        parse(rule(level="permissive", signing_authority={"text": STORE * 2}))
        .requirements[0]
        .notation
    )
    assert (len(trust.authorities), len(trust.signing_authorities), trust.is_strict) == (
        1,
        2,
        False,
    )


@pytest.mark.parametrize(
    ("text", "subject"),
    [
        (WHO, {"C": "US", "ST": "WA", "O": "acme"}),
        ("x509.subject:c=US,st=WA,O=acme,CN=x", {"C": "US", "ST": "WA", "O": "acme", "CN": "x"}),
        (WHO + r"\, inc", {"C": "US", "ST": "WA", "O": "acme, inc"}),
        (WHO + r"\2C\20\C3\A9", {"C": "US", "ST": "WA", "O": "acme, \u00e9"}),
    ],
)
def test_identity_is_a_subject(text, subject):
    trust = parse(rule(identities=[text])).requirements[0].notation
    assert trust.subjects == (subject,)
    assert trust.accepts({**subject, "L": "x"})
    assert not trust.accepts({**subject, "O": "x"}) and not trust.accepts({})


def test_everything_that_decides_is_in_the_digest_of_the_rule():
    changes = [
        {},
        {"identities": [WHO]},
        {"level": "permissive"},
        {"trust_store": {"text": chain("p256", since=5).store}},
    ]
    moved = rule()
    moved["signing_authority"] = moved.pop("trust_store")
    digests = {parse(rule(**change)).digest for change in changes} | {parse(moved).digest}
    assert len(digests) == 5


WRONG = {
    "a text": ("x", "is not a mapping"),
    "unknown key": (rule(tsa={"text": STORE}), "unknown key tsa"),
    "no revocation": ({k: v for k, v in rule().items() if k != "revocation"}, "revocation: is not skip"),
    "revocation": (rule(revocation="strict"), "revocation: is not skip"),
    "audit": (rule(level="audit"), "level: is not strict or permissive"),
    "skip": (rule(level="skip"), "level: is not strict or permissive"),
    "no store": ({"identities": ["*"], "revocation": "skip"}, "neither trust_store nor signing_authority"),
    "empty store": (rule(trust_store={"text": ""}), "is not a PEM file"),
    "store has a key": (rule(trust_store={"text": STORE + key().public}), "is not a PEM file"),
    "store is not base64": (rule(trust_store={"text": STORE.replace("MII", "=II")}), "trust_store"),
    "store is malformed": (rule(trust_store={"text": STORE.replace("MII", "AII")}), "malformed"),
    "no identities": ({k: v for k, v in rule().items() if k != "identities"}, "identities: is not a list"),
    "empty identities": (rule(identities=[]), "identities: is not a list"),
    "identities is a text": (rule(identities="*"), "identities: is not a list"),
    "star and more": (rule(identities=["*", WHO]), "does not start with x509.subject:"),
    "other kind": (rule(identities=["x509.san: a"]), "does not start with x509.subject:"),
    "identity is a number": (rule(identities=[1]), "does not start with"),
    "no state": (rule(identities=["x509.subject: C=US, O=acme"]), "lacks ST"),
    "attribute twice": (rule(identities=[WHO + ", O=x"]), "each at most once"),
    "unknown attribute": (rule(identities=[WHO + ", DC=x"]), "must have the attributes"),
    "empty attribute": (rule(identities=[WHO + ", CN="]), "must have the attributes"),
    "two in one": (rule(identities=[WHO + "+CN=x"]), "must have the attributes"),
    "comma at the end": (rule(identities=[WHO + ","]), "must have the attributes"),
    "nothing": (rule(identities=["x509.subject:"]), "must have the attributes"),
    "hexadecimal value": (rule(identities=[WHO + ", CN=#0401"]), "must have the attributes"),
    "not UTF-8": (rule(identities=[WHO + r", CN=\ff"]), "is not UTF-8"),
    "overlapping": (rule(identities=[WHO, WHO + ", CN=x"]), r"identities\[0\]: overlaps"),
    "the same twice": (rule(identities=[WHO, WHO]), "overlaps"),
}  # fmt: skip


@pytest.mark.parametrize(("value", "message"), WRONG.values(), ids=WRONG)
def test_every_other_value_is_refused(value, message):
    with pytest.raises(PolicyError, match=message):
        parse(value)


@pytest.mark.parametrize("more", [{"count": 1}, {"log": "ignore"}, {"trusted_root": {"text": "x"}}])
def test_keys_of_other_rules_are_refused(more):
    with pytest.raises(PolicyError, match="is not for notation"):
        parse(rule(), **more)
