# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Public keys: which files are accepted, and which signatures."""

from __future__ import annotations

import sys

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._image.errors import DependencyError
from ansible_collections.lockstep.images.plugins.module_utils._trust.keys import (
    MORE_CURVES,
    key_of_der,
    key_of_pem,
    library,
)
from ansible_collections.lockstep.images.tests.support.signing import key

KINDS = ("p256", "p384", "rsa", "ed25519")


@pytest.mark.parametrize("kind", KINDS)
def test_key_verifies_its_own_signatures_only(kind):
    public = key_of_pem(key(kind).public.encode())
    signature = key(kind).sign(b"data")
    assert public.verifies(signature, b"data")
    assert not public.verifies(signature, b"date")
    assert not public.verifies(key(kind, 1).sign(b"data"), b"data")
    for broken in (b"", b"\0", signature[:-1], signature + b"\0", bytes(len(signature))):
        assert not public.verifies(broken, b"data")


def test_p384_may_use_the_hash_of_its_curve_or_sha256():
    public = key_of_pem(key("p384").public.encode())
    for name, is_right in (("SHA256", True), ("SHA384", True), ("SHA512", False)):
        assert public.verifies(key("p384").sign(b"data", name), b"data") is is_right


@pytest.mark.parametrize("kind", ["p256", "rsa"])
def test_other_keys_use_sha256(kind):
    public = key_of_pem(key(kind).public.encode())
    assert not public.verifies(key(kind).sign(b"data", "SHA512"), b"data")
    assert public.verifies(key(kind).sign(b"data", "SHA512"), b"data", ["sha512"])


def test_fingerprint_is_that_of_the_der_form():
    public = key_of_pem(key().public.encode())
    assert public.der == key().der
    assert public.fingerprint.startswith("sha256:") and len(public.fingerprint) == 71


def test_white_space_around_a_key_is_accepted():
    text = f"\n\n{key().public}\n".replace("\n", "\r\n")
    assert key_of_pem(text.encode()).der == key().der


FILES = {
    "empty": "",
    "not PEM": "hello",
    "private": key().secret,
    "two": key().public + key("p256", 1).public,
    "text before": f"hello\n{key().public}",
    "text after": f"{key().public}hello\n",
    "certificate": key().public.replace("PUBLIC KEY", "CERTIFICATE"),
    "pkcs1": key("rsa").public.replace("PUBLIC KEY", "RSA PUBLIC KEY"),
    "base64": key().public.replace("=", "*"),
    "cut": key().public.replace("MFkw", ""),
    "another content": "-----BEGIN PUBLIC KEY-----\nYWJj\n-----END PUBLIC KEY-----\n",
    "rsa of 1024 bits": key("rsa1024").public,
    "p192": key("p192").public,
    "p521": key("p521").public,
}


@pytest.mark.parametrize("text", FILES.values(), ids=FILES)
def test_every_other_key_file_is_refused(text):
    with pytest.raises(ValueError, match=r"\w"):
        key_of_pem(text.encode())


def test_authorities_may_have_keys_of_one_more_curve():
    assert key_of_der(key("p521").der, MORE_CURVES).verifies(key("p521").sign(b"a"), b"a")


def test_missing_library_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "cryptography", None)
    with pytest.raises(DependencyError, match="cryptography") as caught:
        library()
    assert caught.value.details == {"library": "cryptography"}
    assert "python3-cryptography" in caught.value.hint
