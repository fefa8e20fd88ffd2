# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Simple signing: a message becomes evidence, and only gpgv says who signed it."""

from __future__ import annotations

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._image.names import Digest
from ansible_collections.lockstep.images.plugins.module_utils._trust import simple_signing
from ansible_collections.lockstep.images.plugins.module_utils._trust.errors import (
    SignatureInvalidError,
    SignatureMismatchError,
)
from ansible_collections.lockstep.images.plugins.module_utils._trust.gpgv import GpgSignature
from ansible_collections.lockstep.images.plugins.module_utils._trust.simple_signing import (
    gpg_signer,
    message_evidence,
)
from ansible_collections.lockstep.images.tests.support.gpg import (
    DIGEST,
    GOOD,
    NAME,
    changed,
    keyring,
    message,
    requires_gpgv,
)

GIVEN = message_evidence(message("good"), "signature-1")


def test_claim_is_that_of_the_message():
    claim = GIVEN.claim(Digest.parse(DIGEST))
    assert (claim.reference, claim.annotations["creator"]) == (NAME, "gpg")
    assert (GIVEN.form, GIVEN.digest) == ("simple", str(Digest.of(message("good"))))
    with pytest.raises(SignatureMismatchError, match="signature-1: payload: is for"):
        GIVEN.claim(Digest.parse("sha256:" + "0" * 64))


@pytest.mark.parametrize("name", ["twice", "literal", "cleartext", "detached", "armored"])
def test_anything_but_one_signed_message_is_invalid(name):
    with pytest.raises(SignatureInvalidError, match=r"^signature-1: is "):
        message_evidence(message(name), "signature-1")


def test_large_content_is_invalid():
    size = 70_000
    literal = b"\xcb\xff" + size.to_bytes(4, "big") + b"b\x00" + bytes(size - 2)
    with pytest.raises(SignatureInvalidError, match="at most 65536 are read"):
        message_evidence(b"\x90\x0d" + bytes(13) + literal + b"\x88\x00", "x")


@requires_gpgv
def test_signer_is_the_primary_key():
    assert gpg_signer(keyring(), GIVEN) == GOOD
    with pytest.raises(SignatureInvalidError, match="not made with a key"):
        gpg_signer(keyring("other_ring"), GIVEN)
    with pytest.raises(SignatureInvalidError, match="was changed"):
        gpg_signer(keyring(), message_evidence(changed(message("plain")), "x"))


def test_content_must_be_what_gpgv_has_verified(monkeypatch):
    monkeypatch.setattr(simple_signing, "verify_message", lambda *_: GpgSignature(GOOD, b"{}"))
    with pytest.raises(SignatureInvalidError, match="returns other content"):
        gpg_signer(keyring(), GIVEN)


def test_other_forms_are_not_by_gpg():
    with pytest.raises(SignatureInvalidError, match="is not by GPG"):
        gpg_signer(keyring(), GIVEN._replace(form="cosign"))
