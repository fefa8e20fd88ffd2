# SPDX-License-Identifier: GPL-3.0-or-later
"""Public keys: read from PEM or DER, and used to verify signatures. The only file that verifies bytes with a key."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import typing as t

from .._image.errors import DependencyError

_PEM = re.compile(
    rb"\s*-----BEGIN PUBLIC KEY-----\r?\n([A-Za-z0-9+/=\r\n]+)-----END PUBLIC KEY-----\s*"
)
_BLOCK = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----")
_SMALLEST_RSA = 2048
CURVES = ("secp256r1", "secp384r1")
# Authorities and logs may also have keys of this curve.
MORE_CURVES = (*CURVES, "secp521r1")
_HASHES = {
    "secp256r1": ("sha256",),
    "secp384r1": ("sha256", "sha384"),
    "secp521r1": ("sha256", "sha512"),
}


class Library(t.NamedTuple):
    """The parts of the library cryptography that verification needs."""

    hashes: t.Any
    serialization: t.Any
    ec: t.Any
    ed25519: t.Any
    padding: t.Any
    rsa: t.Any
    x509: t.Any
    invalid: type[Exception]
    unsupported: type[Exception]


def library() -> Library:
    """Return the library cryptography, from version 3.3; raise DependencyError if the host lacks it.

    Call it in the main thread before a pool starts.
    """
    try:
        from cryptography import x509
        from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
        from cryptography.hazmat.backends import default_backend
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
    except ImportError as exc:
        raise DependencyError(
            "signatures are verified with the library cryptography, which this Python lacks",
            "Install it, for example the package python3-cryptography.",
            library="cryptography",
        ) from exc
    default_backend()  # imports more, which must not be left to a thread of the pool
    return Library(
        hashes, serialization, ec, ed25519, padding, rsa, x509, InvalidSignature, UnsupportedAlgorithm,
    )  # fmt: skip


class PublicKey(t.NamedTuple):
    """A public key. ``fingerprint`` is ``sha256:`` and the hash of its DER form (SubjectPublicKeyInfo)."""

    key: t.Any
    der: bytes
    curve: str  # of an ECDSA key, "rsa" or "ed25519" for others

    @property
    def fingerprint(self) -> str:
        """Return what identifies the key in results."""
        return f"sha256:{hashlib.sha256(self.der).hexdigest()}"

    def verifies(self, signature: bytes, data: bytes, hashed: t.Sequence[str] = ()) -> bool:
        """Return whether a signature of ``data`` was made with this key.

        An ECDSA signature uses SHA-256 or the hash of its curve, an RSA signature PKCS #1 v1.5 with SHA-256.
        ``hashed`` are the hashes to accept instead.
        """
        if self.curve == "ed25519":
            return self._verifies(signature, data)
        names = hashed or _HASHES.get(self.curve, ("sha256",))
        return any(
            self._verifies(signature, data, getattr(library().hashes, name.upper())())
            for name in names
        )

    def verifies_pss(self, signature: bytes, data: bytes, name: str) -> bool:
        """Return whether a signature was made with this RSA key and PSS, whose salt is as long as the hash; never for others."""
        known = library()
        if self.curve != "rsa":
            return False
        function = getattr(known.hashes, name.upper())()
        form = known.padding.PSS(known.padding.MGF1(function), function.digest_size)
        try:
            self.key.verify(signature, data, form, function)
        except (known.invalid, ValueError):
            return False
        return True

    def _verifies(self, signature: bytes, data: bytes, function: t.Any = None) -> bool:
        known = library()
        more: tuple[t.Any, ...] = ()
        if self.curve == "rsa":
            more = (known.padding.PKCS1v15(), function)
        elif function is not None:
            more = (known.ec.ECDSA(function),)
        try:
            self.key.verify(signature, data, *more)
        except (known.invalid, ValueError):
            return False
        return True


def key_of_pem(text: bytes) -> PublicKey:
    """Return the key of a PEM file with exactly one public key; raise ValueError, which says why, for any other file."""
    match = _PEM.fullmatch(text)
    if not match:
        blocks = [block.decode("ascii") for block in _BLOCK.findall(text)]
        found = f"{len(blocks)} PEM blocks" if len(blocks) > 1 else f"a PEM block {blocks[0]}" if blocks else "no PEM block"  # fmt: skip
        raise ValueError(f"has {found}, expected one block PUBLIC KEY alone")
    try:
        der = base64.b64decode(b"".join(match[1].split()), validate=True)
    except binascii.Error as exc:
        raise ValueError("is not base64") from exc
    return key_of_der(der)


def key_of_der(der: bytes, curves: t.Sequence[str] = CURVES) -> PublicKey:
    """Return the key of a SubjectPublicKeyInfo; raise ValueError, which says why, for one that is not supported.

    Supported are ECDSA with these curves, RSA from 2048 bits, and Ed25519.
    """
    known = library()
    try:
        key = known.serialization.load_der_public_key(der)
    except (ValueError, TypeError, known.unsupported) as exc:
        raise ValueError("is not a public key") from exc
    return of_key(key, curves)


def of_key(key: t.Any, curves: t.Sequence[str] = CURVES) -> PublicKey:
    """Return a key of the library as a PublicKey; raise ValueError, which says why, for one that is not supported."""
    known = library()
    if isinstance(key, known.ec.EllipticCurvePublicKey) and key.curve.name in curves:
        curve = key.curve.name
    elif isinstance(key, known.rsa.RSAPublicKey):
        if key.key_size < _SMALLEST_RSA:
            raise ValueError(
                f"is an RSA key of {key.key_size} bits, expected {_SMALLEST_RSA} or more"
            )
        curve = "rsa"
    elif isinstance(key, known.ed25519.Ed25519PublicKey):
        curve = "ed25519"
    else:
        raise ValueError("is not a key for ECDSA P-256 or P-384, RSA or Ed25519")
    form = known.serialization
    der = key.public_bytes(form.Encoding.DER, form.PublicFormat.SubjectPublicKeyInfo)
    return PublicKey(key, der, curve)
