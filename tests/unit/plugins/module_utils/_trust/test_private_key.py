# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Private keys: PKCS #8 and the files of cosign are read, everything else is refused, and no message shows a secret."""

from __future__ import annotations

import base64
import json

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._trust.errors import InvalidKeyError
from ansible_collections.lockstep.images.plugins.module_utils._trust.private_key import (
    read_private_key,
)
from ansible_collections.lockstep.images.tests.support.signing import COSIGN_KEY, key
from cryptography.hazmat.primitives import serialization

KINDS = ["p256", "p384", "rsa", "ed25519"]
NAME = "ENCRYPTED SIGSTORE PRIVATE KEY"
FILE = json.loads(base64.b64decode("".join(COSIGN_KEY.secret.splitlines()[1:-1])))


def pem(name, data):
    text = base64.b64encode(data).decode()
    lines = [text[at : at + 64] for at in range(0, len(text), 64)]
    return "\n".join([f"-----BEGIN {name}-----", *lines, f"-----END {name}-----", ""])


def cosign_file(**fields):
    return pem(NAME, json.dumps({**FILE, **fields}).encode())


def read(text, passphrase=None):
    return read_private_key(text.encode(), passphrase, "key")


def traditional(kind):
    form = serialization
    return (
        key(kind)
        .private.private_bytes(
            form.Encoding.PEM, form.PrivateFormat.TraditionalOpenSSL, form.NoEncryption()
        )
        .decode()
    )


@pytest.mark.parametrize("kind", KINDS)
def test_key_of_openssl_signs(kind):
    found = read(key(kind).secret)
    assert found.public_pem == key(kind).public
    signature = found.sign(b"data")
    assert found.public.verifies(signature, b"data")
    assert not found.public.verifies(signature, b"Data")


@pytest.mark.parametrize("kind", ["p256", "ed25519"])
def test_encrypted_key_of_openssl_is_read(kind):
    assert read(key(kind).encrypted("word"), "word").public_pem == key(kind).public


def test_key_of_cosign_is_read():
    found = read(COSIGN_KEY.secret, COSIGN_KEY.passphrase)
    assert found.public_pem == COSIGN_KEY.public
    assert found.public.verifies(found.sign(b"data"), b"data")


def test_text_around_a_key_is_ignored():
    assert read(f"# a note\n{key().secret}\n").public_pem == key().public


@pytest.mark.parametrize(
    ("text", "passphrase", "message"),
    [
        ("", None, "has 0 PEM blocks"),
        ("{public}", None, "has a PEM block PUBLIC KEY, expected PRIVATE KEY"),
        ("{secret}{secret}", None, "has 2 PEM blocks"),
        ("{secret}", "word", "is not encrypted, but has a passphrase"),
        ("{encrypted}", None, "is encrypted: its passphrase is missing"),
        ("{encrypted}", "", "is encrypted: its passphrase is missing"),
        ("{encrypted}", "wrong", "the passphrase is wrong, or the file is damaged"),
        ("{cosign}", "wrong", "the passphrase is wrong, or the file is damaged"),
    ],
)
def test_file_that_cannot_be_used_names_its_fault(text, passphrase, message):
    one = key()
    text = text.format(
        public=one.public,
        secret=one.secret,
        encrypted=one.encrypted("word"),
        cosign=COSIGN_KEY.secret,
    )
    with pytest.raises(InvalidKeyError, match=message) as caught:
        read(text, passphrase)
    assert caught.value.kind == "invalid-key"
    shown = caught.value.full_message()
    assert "wrong, or" in shown or "word" not in shown
    assert not any(line in shown for line in text.splitlines() if len(line) > 40)


@pytest.mark.parametrize("kind", ["p521", "rsa1024", "p192"])
def test_weak_or_unknown_kind_of_key_is_refused(kind):
    with pytest.raises(InvalidKeyError, match=r"^key: is "):
        read(key(kind).secret)


def test_older_form_of_a_key_is_refused_with_the_way_out():
    with pytest.raises(InvalidKeyError, match="EC PRIVATE KEY") as caught:
        read(traditional("p256"))
    assert "openssl pkcs8 -topk8" in caught.value.hint


def test_bytes_of_something_else_are_refused():
    with pytest.raises(InvalidKeyError, match="is not a private key"):
        read(pem("PRIVATE KEY", b"\x30\x03\x02\x01\x00"))
    with pytest.raises(InvalidKeyError, match="is not base64"):
        read("-----BEGIN PRIVATE KEY-----\nAAA\n-----END PRIVATE KEY-----\n")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"kdf": None}, "kdf is missing"),
        ({"kdf": {**FILE["kdf"], "name": "argon2"}}, "in another way than by cosign"),
        (
            {"kdf": {**FILE["kdf"], "params": {"N": 1 << 30, "r": 8, "p": 1}}},
            "in another way than by cosign",
        ),
        ({"cipher": {**FILE["cipher"], "name": "aes"}}, "in another way than by cosign"),
        ({"cipher": {**FILE["cipher"], "nonce": "AAAA"}}, "nonce has 3 bytes, expected 24"),
        ({"cipher": {**FILE["cipher"], "nonce": "?"}}, "nonce: is not base64"),
        ({"ciphertext": 1}, "ciphertext: is not base64"),
    ],
)
def test_malformed_file_of_cosign_is_refused(fields, message):
    with pytest.raises(InvalidKeyError, match=message):
        read(cosign_file(**fields), COSIGN_KEY.passphrase)


def test_file_of_cosign_that_is_not_json_is_refused():
    with pytest.raises(InvalidKeyError, match="not valid JSON"):
        read(pem(NAME, b"text"), "x")
