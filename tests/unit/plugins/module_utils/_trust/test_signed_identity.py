# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The signed identity of a policy.json: the table of cases, and which values are refused."""

from __future__ import annotations

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._image.names import Reference
from ansible_collections.lockstep.images.plugins.module_utils._trust.errors import PolicyError
from ansible_collections.lockstep.images.plugins.module_utils._trust.signed_identity import (
    SignedIdentity,
    parse_identity,
)
from ansible_collections.lockstep.images.tests.support.tables import attached

KEYS = {
    "exactReference": ("dockerReference",),
    "exactRepository": ("dockerRepository",),
    "remapIdentity": ("prefix", "signedPrefix"),
}


def parsed(form):
    """Return an identity that is written as its type, or as a list of its type and its values."""
    kind, *values = [form] if isinstance(form, str) else form
    return parse_identity({"type": kind, **dict(zip(KEYS.get(kind, ()), values))}, "identity")


@pytest.mark.parametrize(
    ("form", "image", "stated", "result"), attached("signature_policy", "identities")
)
def test_identity_accepts_exactly_what_containers_tools_accept(form, image, stated, result):
    assert parsed(form).accepts(Reference.parse(image), stated) is result


@pytest.mark.parametrize("form", ["matchExact", "matchRepoDigestOrExact", "matchRepository"])
def test_signature_without_a_name_is_never_accepted(form):
    assert not parsed(form).accepts(Reference.parse("a.b/c:1"), None)


def test_default_is_the_exact_name_or_the_repository_of_a_digest():
    assert SignedIdentity() == parsed("matchRepoDigestOrExact")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (None, "type is not one of"),
        ({}, "type is not one of"),
        ({"type": "matchexact"}, "type is not one of"),
        ({"type": ["matchExact"]}, "type is not one of"),
        ({"type": "matchExact", "more": 1}, "must have type"),
        ({"type": "exactReference"}, "must have type and dockerReference"),
        ({"type": "exactReference", "dockerReference": 1}, "is not a text"),
        ({"type": "exactReference", "dockerReference": "a.b/c"}, "neither tag nor digest"),
        ({"type": "exactReference", "dockerReference": "A"}, "is not the name of an image"),
        ({"type": "exactRepository", "dockerRepository": ""}, "is not the name of an image"),
        ({"type": "remapIdentity", "prefix": "a.b"}, "must have type and prefix and signedPrefix"),
        ({"type": "remapIdentity", "prefix": "a.b/c:1", "signedPrefix": "a.b"}, "is not a host"),
        ({"type": "remapIdentity", "prefix": "*.a.b", "signedPrefix": "a.b"}, "is not a host"),
        ({"type": "remapIdentity", "prefix": "a.b", "signedPrefix": "busybox"}, "is not a host"),
    ],
)
def test_every_other_identity_is_refused(value, message):
    with pytest.raises(PolicyError, match=message):
        parse_identity(value, "identity")
