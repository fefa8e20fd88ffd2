# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lookaside: where signatures by GPG are, and which rules say so."""

from __future__ import annotations

import base64

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._image.names import Digest, Reference
from ansible_collections.lockstep.images.plugins.module_utils._trust.errors import PolicyError
from ansible_collections.lockstep.images.plugins.module_utils._trust.lookaside import (
    GpgTrust,
    parse_gpg,
    signature_url,
)
from ansible_collections.lockstep.images.plugins.module_utils._trust.openpgp import armor
from ansible_collections.lockstep.images.plugins.module_utils._trust.policy import parse_policy
from ansible_collections.lockstep.images.tests.support.gpg import keyring, message

DIGEST = Digest.parse("sha256:" + "1" * 64)
RING = {"text": armor(keyring())}
GIVEN = {"keyring": RING, "lookaside": "https://a.b/sigs"}


def data(entry, where):
    return (
        (entry["text"].encode(), "") if "text" in entry else (base64.b64decode(entry["data"]), "")
    )


@pytest.mark.parametrize(
    ("name", "base", "url"),
    [
        ("a.b/c:1", "https://s.t", "https://s.t/c@"),
        ("a.b:5000/c/d:1", "https://s.t:8443/x/", "https://s.t:8443/x/c/d@"),
        ("debian", "file:///sigs", "file:///sigs/library/debian@"),
        ("[::1]:5000/c", "https://[::1]/x", "https://[::1]/x/c@"),
    ],
)
def test_path_has_no_registry(name, base, url):
    found = signature_url(base, Reference.parse(name), DIGEST, 3)
    assert found == f"{url}sha256={DIGEST.encoded}/signature-3"


def test_most_specific_scope_replaces_others():
    scopes = {
        "*": "https://all",
        "a.b": "https://host",
        "a.b/c": "https://path",
        "*.b": "https://domain",
    }
    gpg = GpgTrust(b"", scopes)
    found = {
        name: gpg.base_of(Reference.parse(name)) for name in ("a.b/c/d", "a.b/d", "x.b/c", "debian")
    }
    assert found == {
        "a.b/c/d": "https://path",
        "a.b/d": "https://host",
        "x.b/c": "https://domain",
        "debian": "https://all",
    }
    assert GpgTrust(b"", {"a.b": "https://x"}).base_of(Reference.parse("c.d/e")) is None


def test_rule_has_a_keyring_and_a_place():
    policy = parse_policy([{"match": "a.b", "gpg": GIVEN}], lambda path: b"")
    (only,) = policy.rules["a.b"].requirements
    assert (only.by, only.threshold, only.signed_as.form) == ("gpg", 1, "repository")
    assert only.gpg == (keyring(), {"*": "https://a.b/sigs"})
    given = {**GIVEN, "lookaside": {"a.b": "file:///x"}}
    other = parse_policy([{"match": "a.b", "gpg": given}], lambda path: b"")
    assert policy.rules["a.b"].digest != other.rules["a.b"].digest


def test_keyring_may_be_binary():
    policy = parse_policy(
        [{"match": "*", "gpg": {**GIVEN, "keyring": {"path": "/r"}}}], lambda _path: keyring()
    )
    assert policy.rules["*"].requirements[0].gpg.ring == keyring()


REFUSED = {
    "a text": ("x", "must have keyring and lookaside"),
    "no lookaside": ({"keyring": RING}, "must have keyring and lookaside"),
    "no keyring": ({"lookaside": "https://x"}, "must have keyring and lookaside"),
    "more": ({**GIVEN, "registries_d": "/x"}, "must have keyring and lookaside"),
    "keyring is a message": ({**GIVEN, "keyring": {"data": base64.b64encode(message("good"))}}, "gpg.keyring: is not a keyring"),
    "keyring is empty": ({**GIVEN, "keyring": {"text": ""}}, "is not a keyring"),
    "http": ({**GIVEN, "lookaside": "http://a.b"}, "is not a URL with https"),
    "capital scheme": ({**GIVEN, "lookaside": "HTTPS://a.b"}, "is not a URL"),
    "query": ({**GIVEN, "lookaside": "https://a.b/?x"}, "is not a URL"),
    "login": ({**GIVEN, "lookaside": "https://u:p@a.b/"}, "is not a URL"),
    "path": ({**GIVEN, "lookaside": "/sigs"}, "is not a URL"),
    "file on a host": ({**GIVEN, "lookaside": "file://host/sigs"}, "is not a URL"),
    "list": ({**GIVEN, "lookaside": ["https://a.b"]}, "is not a URL"),
    "nothing": ({**GIVEN, "lookaside": {}}, "names no URL"),
    "null": ({**GIVEN, "lookaside": None}, "is not a URL"),
    "scope": ({**GIVEN, "lookaside": {"debian": "https://a.b"}}, "debian is not a scope"),
    "scope is a number": ({**GIVEN, "lookaside": {1: "https://a.b"}}, "1 is not a scope"),
    "http in a scope": ({**GIVEN, "lookaside": {"*": "https://a.b", "a.b": "http://a.b"}}, "is not a URL"),
}  # fmt: skip


@pytest.mark.parametrize(("value", "message_"), REFUSED.values(), ids=REFUSED)
def test_every_other_value_is_refused(value, message_):
    assert parse_gpg(GIVEN, "gpg", data)
    with pytest.raises(PolicyError, match=message_):
        parse_gpg(value, "gpg", data)


@pytest.mark.parametrize(
    "more", [{"count": 1}, {"log": "ignore"}, {"trusted_root": RING}, {"keys": [RING]}]
)
def test_keys_of_other_rules_are_refused(more):
    with pytest.raises(PolicyError, match=r"is not for gpg|has keys, gpg"):
        parse_policy([{"match": "*", "gpg": GIVEN, **more}], lambda path: b"")
