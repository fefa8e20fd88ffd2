# SPDX-License-Identifier: GPL-3.0-or-later
"""Private keys: read from PKCS #8 or from the encrypted files of cosign, and used to sign. The only file that signs."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import typing as t

from .errors import InvalidKeyError, SignatureInvalidError
from .keys import PublicKey, library, of_key
from .secretbox import KEY_SIZE, NONCE_SIZE, open_secretbox
from .strict import base64_bytes, json_object, member

MAX_KEY = 64 * 1024
_BLOCK = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----\r?\n([A-Za-z0-9+/=\r\n]+)-----END \1-----")
_PLAIN, _ENCRYPTED = "PRIVATE KEY", "ENCRYPTED PRIVATE KEY"
_COSIGN = ("ENCRYPTED SIGSTORE PRIVATE KEY", "ENCRYPTED COSIGN PRIVATE KEY")
_PKCS8 = "Convert the key: openssl pkcs8 -topk8 -in KEY -out NEW_KEY"
# The costs of scrypt that tools write. Others could use up the memory of the host.
_COSTS = [{"N": cost, "r": 8, "p": 1} for cost in (32768, 65536)]
_MEMORY = 128 * 1024 * 1024


class PrivateKey(t.NamedTuple):
    """A private key of the library cryptography, and its public key."""

    key: t.Any
    public: PublicKey

    def sign(self, data: bytes) -> bytes:
        """Return a signature that ``PublicKey.verifies`` accepts, with SHA-256 unless the key is for Ed25519.

        Every tool accepts SHA-256, whichever the curve.
        """
        known = library()
        if self.public.curve == "ed25519":
            return bytes(self.key.sign(data))
        function = known.hashes.SHA256()
        if self.public.curve == "rsa":
            return bytes(self.key.sign(data, known.padding.PKCS1v15(), function))
        return bytes(self.key.sign(data, known.ec.ECDSA(function)))

    @property
    def public_pem(self) -> str:
        """Return the public key as a PEM file."""
        form = library().serialization
        pem = self.public.key.public_bytes(
            form.Encoding.PEM, form.PublicFormat.SubjectPublicKeyInfo
        )
        return str(pem, "ascii")


def read_private_key(data: bytes, passphrase: str | None, where: str) -> PrivateKey:
    """Return the private key in a PEM file; raise InvalidKeyError, which names ``where``, if it cannot be used.

    No message has a part of the file or of the passphrase.
    """
    blocks = _BLOCK.findall(data)
    if len(blocks) != 1:
        raise InvalidKeyError(f"{where}: has {len(blocks)} PEM blocks, expected one private key")
    name, text = blocks[0][0].decode("ascii"), b"".join(blocks[0][1].split())
    try:
        raw = base64.b64decode(text, validate=True)
    except binascii.Error:
        raise InvalidKeyError(f"{where}: is not base64") from None
    secret = (passphrase or "").encode("utf-8")
    if name in _COSIGN:  # whose passphrase may be empty
        return _of_der(_decrypted(raw, secret, where), None, where)
    if name not in (_PLAIN, _ENCRYPTED):
        raise InvalidKeyError(f"{where}: has a PEM block {name}, expected {_PLAIN}", _PKCS8)
    if (name == _ENCRYPTED) is not bool(secret):
        fault = "is not encrypted, but has a passphrase" if secret else "is encrypted: its passphrase is missing"  # fmt: skip
        raise InvalidKeyError(f"{where}: {fault}")
    return _of_der(raw, secret or None, where)


def _of_der(raw: bytes, secret: bytes | None, where: str) -> PrivateKey:
    known = library()
    try:
        key = known.serialization.load_der_private_key(raw, secret)
    except (ValueError, TypeError, known.unsupported):
        fault = "the passphrase is wrong, or the file is damaged" if secret else "is not a private key"  # fmt: skip
        raise InvalidKeyError(f"{where}: {fault}") from None
    try:
        return PrivateKey(key, of_key(key.public_key()))
    except ValueError as exc:
        raise InvalidKeyError(f"{where}: {exc}") from None


def _decrypted(raw: bytes, secret: bytes, where: str) -> bytes:
    """Return the PKCS #8 file in an encrypted file of cosign (go-securesystemslib encrypted/encrypted.go)."""
    try:
        file = json_object(raw, where)
        derivation, cipher = member(file, "kdf", dict, where), member(file, "cipher", dict, where)
        known = (derivation.get("name"), cipher.get("name")) == ("scrypt", "nacl/secretbox")
        if not known or derivation.get("params") not in _COSTS:
            raise InvalidKeyError(f"{where}: is encrypted in another way than by cosign")
        salt = base64_bytes(derivation.get("salt"), f"{where}: salt")
        nonce = base64_bytes(cipher.get("nonce"), f"{where}: nonce")
        box = base64_bytes(file.get("ciphertext"), f"{where}: ciphertext")
    except SignatureInvalidError as exc:
        raise InvalidKeyError(str(exc)) from None
    if len(nonce) != NONCE_SIZE:
        raise InvalidKeyError(f"{where}: nonce has {len(nonce)} bytes, expected {NONCE_SIZE}")
    costs = derivation["params"]
    key = hashlib.scrypt(secret, salt=salt, n=costs["N"], r=costs["r"], p=costs["p"], maxmem=_MEMORY, dklen=KEY_SIZE)  # fmt: skip
    found = open_secretbox(box, nonce, key)
    if found is None:
        raise InvalidKeyError(f"{where}: the passphrase is wrong, or the file is damaged")
    return found
