# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A sigstore of its own: authorities for certificates and time stamps, and logs of both kinds.

What it signs is right unless a test asks for something else::

    sigstore = Sigstore()
    raw = json.dumps(sigstore.bundle(statement(digest)))
    root = sigstore.trusted_root()
"""

from __future__ import annotations

import datetime
import hashlib
import json
import typing as t

from ansible_collections.lockstep.images.plugins.module_utils._trust import der
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from .signing import BUNDLE, STATEMENT, Key, b64, key, pae

NOW = 1767323045  # 2026-01-02T03:04:05Z
ISSUER = "https://token.actions.githubusercontent.com"
SUBJECT = "https://github.com/acme/shop/.github/workflows/release.yml@refs/tags/v1"
_SCTS = "1.3.6.1.4.1.11129.2.4.2"
_ISSUER_V2 = "1.3.6.1.4.1.57264.1.8"


def date_of(seconds: int) -> datetime.datetime:
    """Return a Unix time as a date without a time zone, which every release of the library takes."""
    return datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc).replace(tzinfo=None)


def shown(seconds: int) -> str:
    """Return a Unix time as a trusted root has it."""
    return f"{date_of(seconds).isoformat()}Z"


def der_of(cert: t.Any) -> bytes:
    """Return a certificate as DER."""
    return cert.public_bytes(serialization.Encoding.DER)  # type: ignore[no-any-return]


def pem_of(cert: t.Any) -> bytes:
    """Return a certificate as PEM."""
    return cert.public_bytes(serialization.Encoding.PEM)  # type: ignore[no-any-return]


class Authority:
    """A root certificate, and what it issues; ``days`` is how long it is valid."""

    def __init__(self, name: str, own: Key, days: int = 365) -> None:
        self.key = own
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.cert = self.issue(
            own,
            [(x509.BasicConstraints(True, None), True)],
            name=self.name,
            until=NOW + days * 86400,
        )

    def issue(
        self,
        of: Key,
        extensions: t.Sequence[tuple[t.Any, bool]],
        name: x509.Name | None = None,
        since: int = NOW - 86400,
        until: int = NOW + 86400 * 30,
        serial: int = 7,
    ) -> t.Any:
        """Return a certificate for a key."""
        builder = (
            x509.CertificateBuilder()
            .subject_name(name or x509.Name([]))
            .issuer_name(self.name)
            .public_key(of.private.public_key())
            .serial_number(serial)
            .not_valid_before(date_of(since))
            .not_valid_after(date_of(until))
        )
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical)
        return builder.sign(self.key.private, hashes.SHA256())


class Sigstore:
    """Signs with certificates of its own, and logs that; ``number`` gives it other keys."""

    def __init__(self, number: int = 0) -> None:
        self.ca = Authority(f"ca {number}", key("p384", 100 + number))
        self.tsa = Authority(f"tsa {number}", key("p256", 110 + number))
        self.tsa_key = key("p256", 120 + number)
        stamping = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.TIME_STAMPING])
        self.tsa_cert = self.tsa.issue(self.tsa_key, [(stamping, True)], self.tsa.name)
        self.log = key("p256", 130 + number)
        self.ct = key("p256", 140 + number)
        self.signer = key("p256", 150 + number)

    def trusted_root(self, **fields: t.Any) -> dict[str, t.Any]:
        """Return the trusted root; ``fields`` replace parts of it."""
        period = {"start": shown(NOW - 1000), "end": shown(NOW + 1000)}
        return {
            "mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
            "tlogs": [log_entry(self.log, period)],
            "ctlogs": [log_entry(self.ct, period)],
            "certificateAuthorities": [chain_entry([self.ca.cert], period)],
            "timestampAuthorities": [chain_entry([self.tsa_cert, self.tsa.cert], period)],
            **fields,
        }

    def certificate(
        self,
        subject: str | None = SUBJECT,
        issuer: str = ISSUER,
        since: int = NOW - 60,
        until: int = NOW + 540,
        usage: t.Any = ExtendedKeyUsageOID.CODE_SIGNING,
        logged_by: Key | None = None,
        is_logged: bool = True,
        names: t.Sequence[t.Any] = (),
        is_authority: bool = False,
        ct_extensions: bytes = b"",
    ) -> t.Any:
        """Return a certificate for the signer, as Fulcio issues it."""
        named = [x509.UniformResourceIdentifier(subject)] if subject else []
        raw = der.encode(der.UTF8, issuer.encode())
        extensions: list[tuple[t.Any, bool]] = [
            (x509.ExtendedKeyUsage([usage]), False),
            (x509.SubjectAlternativeName([*named, *names]), True),
            (x509.UnrecognizedExtension(x509.ObjectIdentifier(_ISSUER_V2), raw), False),
        ]
        if is_authority:
            extensions.append((x509.BasicConstraints(True, None), True))
        plain = self.ca.issue(self.signer, extensions, since=since, until=until)
        if not is_logged:
            return plain
        stamps = self._stamps(plain.tbs_certificate_bytes, logged_by or self.ct, ct_extensions)
        extension = x509.UnrecognizedExtension(x509.ObjectIdentifier(_SCTS), stamps)
        return self.ca.issue(
            self.signer, [*extensions, (extension, False)], since=since, until=until
        )

    def _stamps(self, tbs: bytes, by: Key, more: bytes) -> bytes:
        """Return the stamps of a log of certificates as the extension has them (RFC 6962 3.3)."""
        stamp = NOW * 1000
        tail = len(more).to_bytes(2, "big") + more
        signed = b"\0\0" + stamp.to_bytes(8, "big") + b"\0\1"
        signed += hashlib.sha256(self.ca.key.der).digest() + len(tbs).to_bytes(3, "big") + tbs
        signature = by.sign(signed + tail)
        one = b"\0" + hashlib.sha256(by.der).digest() + stamp.to_bytes(8, "big") + tail
        one += b"\4\3" + len(signature).to_bytes(2, "big") + signature
        listed = len(one).to_bytes(2, "big") + one
        return der.encode(der.OCTETS, len(listed).to_bytes(2, "big") + listed)

    def bundle(
        self, data: bytes, cert: t.Any = None, time: int = NOW, by: Key | None = None, **how: t.Any
    ) -> dict[str, t.Any]:
        """Return a bundle with a statement; ``how`` is as in ``entry``, and ``stamped`` adds a time stamp."""
        stamped = how.pop("stamped", False)
        cert = cert or self.certificate()
        signature = (by or self.signer).sign(pae(data))
        material: dict[str, t.Any] = {
            "certificate": {"rawBytes": b64(der_of(cert))},
            "tlogEntries": [self.entry(dsse_body(data, signature, pem_of(cert)), time, **how)],
        }
        if stamped:
            token = {"signedTimestamp": b64(self.timestamp(signature, time))}
            material["timestampVerificationData"] = {"rfc3161Timestamps": [token]}
        return {
            "mediaType": BUNDLE,
            "verificationMaterial": material,
            "dsseEnvelope": {
                "payload": b64(data),
                "payloadType": STATEMENT,
                "signatures": [{"sig": b64(signature)}],
            },
        }

    def entry(
        self,
        body: dict[str, t.Any],
        time: int = NOW,
        promise: bool = True,
        proof: bool = True,
        size: int = 5,
        index: int = 3,
    ) -> dict[str, t.Any]:
        """Return an entry of the log, which is number ``index`` of ``size``."""
        raw = json.dumps(body, sort_keys=True, separators=(",", ":")).encode()
        log_id = hashlib.sha256(self.log.der).digest()
        found: dict[str, t.Any] = {
            "logIndex": str(index + 100),
            "logId": {"keyId": b64(log_id)},
            "kindVersion": {"kind": body["kind"], "version": body["apiVersion"]},
            "integratedTime": str(time if promise else 0),
            "canonicalizedBody": b64(raw),
        }
        if promise:
            signed = {
                "body": b64(raw),
                "integratedTime": time,
                "logID": log_id.hex(),
                "logIndex": index + 100,
            }
            text = json.dumps(signed, sort_keys=True, separators=(",", ":")).encode()
            found["inclusionPromise"] = {"signedEntryTimestamp": b64(self.log.sign(text))}
        if proof:
            leaves = [hashlib.sha256(b"\0" + bytes([n])).digest() for n in range(size)]
            leaves[index] = hashlib.sha256(b"\0" + raw).digest()
            root = tree_root(leaves)
            found["inclusionProof"] = {
                "logIndex": str(index),
                "treeSize": str(size),
                "rootHash": b64(root),
                "hashes": [b64(one) for one in tree_path(leaves, index)],
                "checkpoint": {"envelope": self.checkpoint(size, root)},
            }
        return found

    def checkpoint(self, size: int, root: bytes, by: Key | None = None) -> str:
        """Return a signed checkpoint of the log, with the signature of a witness before that of the log."""
        text = f"log.example.com - 1\n{size}\n{b64(root)}\n"
        own = by or self.log
        hint = hashlib.sha256(self.log.der).digest()[:4]
        witness = f"\u2014 witness {b64(b'abcd' + b'signature')}\n"
        signed = b64(hint + own.sign(text.encode()))
        return f"{text}\n{witness}\u2014 log.example.com {signed}\n"

    def timestamp(self, signature: bytes, time: int = NOW, **how: t.Any) -> bytes:
        """Return a time stamp of a signature (RFC 3161); ``how`` is as in ``token``."""
        return token(signature, time, self.tsa_key, der_of(self.tsa_cert), **how)


def log_entry(own: Key, period: t.Mapping[str, str]) -> dict[str, t.Any]:
    """Return a log as a trusted root has it."""
    return {
        "baseUrl": "https://log.example.com",
        "publicKey": {"rawBytes": b64(own.der), "validFor": dict(period)},
        "logId": {"keyId": b64(hashlib.sha256(own.der).digest())},
    }


def chain_entry(certs: t.Sequence[t.Any], period: t.Mapping[str, str]) -> dict[str, t.Any]:
    """Return an authority as a trusted root has it."""
    listed = [{"rawBytes": b64(der_of(cert))} for cert in certs]
    return {"certChain": {"certificates": listed}, "validFor": dict(period)}


def dsse_body(data: bytes, signature: bytes, pem: bytes) -> dict[str, t.Any]:
    """Return the body of an entry for an envelope, of Rekor 1."""
    return {
        "apiVersion": "0.0.1",
        "kind": "dsse",
        "spec": {
            "envelopeHash": {"algorithm": "sha256", "value": "0" * 64},
            "payloadHash": {"algorithm": "sha256", "value": hashlib.sha256(data).hexdigest()},
            "signatures": [{"signature": b64(signature), "verifier": b64(pem)}],
        },
    }


def hashed_body(data: bytes, signature: bytes, pem: bytes) -> dict[str, t.Any]:
    """Return the body of an entry for signed data, of Rekor 1."""
    return {
        "apiVersion": "0.0.1",
        "kind": "hashedrekord",
        "spec": {
            "data": {"hash": {"algorithm": "sha256", "value": hashlib.sha256(data).hexdigest()}},
            "signature": {"content": b64(signature), "publicKey": {"content": b64(pem)}},
        },
    }


def tree_root(leaves: t.Sequence[bytes]) -> bytes:
    """Return the root of a tree of hashes (RFC 9162 2.1.1)."""
    if len(leaves) == 1:
        return leaves[0]
    split = 1 << ((len(leaves) - 1).bit_length() - 1)
    both = tree_root(leaves[:split]) + tree_root(leaves[split:])
    return hashlib.sha256(b"\1" + both).digest()


def tree_path(leaves: t.Sequence[bytes], index: int) -> list[bytes]:
    """Return the proof that a tree has a leaf (RFC 9162 2.1.3.1)."""
    if len(leaves) == 1:
        return []
    split = 1 << ((len(leaves) - 1).bit_length() - 1)
    if index < split:
        return [*tree_path(leaves[:split], index), tree_root(leaves[split:])]
    return [*tree_path(leaves[split:], index - split), tree_root(leaves[:split])]


def _seq(*parts: bytes, tag: int = der.SEQUENCE) -> bytes:
    return der.encode(tag, b"".join(parts))


def _oid(text: str) -> bytes:
    return der.encode(der.OID, der.oid(text))


_SHA256 = _seq(_oid("2.16.840.1.101.3.4.2.1"))


def _attribute(name: str, value: bytes) -> bytes:
    return _seq(_oid(f"1.2.840.113549.1.9.{name}"), _seq(value, tag=der.SET))


def token(
    signature: bytes,
    time: int,
    by: Key,
    cert: bytes,
    named: bytes | None = None,
    content_type: str = "16.1.4",
    digest: bytes | None = None,
    signers: int = 1,
    status: bytes = b"\0",
    names_cert: bool = True,
) -> bytes:
    """Return a response of an authority for time stamps."""
    stamp = date_of(time).strftime("%Y%m%d%H%M%SZ").encode()
    imprint = _seq(_SHA256, der.encode(der.OCTETS, hashlib.sha256(signature).digest()))
    info = _seq(
        der.encode(der.INTEGER, b"\1"),
        _oid("1.2.3"),
        imprint,
        der.encode(der.INTEGER, b"\7"),
        der.encode(der.TIME, stamp),
    )
    hashed = digest or hashlib.sha256(info).digest()
    attributes = [
        _attribute("3", _oid(f"1.2.840.113549.1.9.{content_type}")),
        _attribute("4", der.encode(der.OCTETS, hashed)),
    ]
    if names_cert:
        known = der.encode(der.OCTETS, hashlib.sha256(named or cert).digest())
        attributes.append(_attribute("16.2.47", _seq(_seq(_seq(known)))))
    signed = by.sign(_seq(*attributes, tag=der.SET))
    signer = _seq(
        der.encode(der.INTEGER, b"\1"),
        _seq(),
        _SHA256,
        _seq(*attributes, tag=0xA0),
        _seq(_oid("1.2.840.10045.4.3.2")),
        der.encode(der.OCTETS, signed),
    )
    data = _seq(
        der.encode(der.INTEGER, b"\3"),
        _seq(_SHA256, tag=der.SET),
        _seq(_oid("1.2.840.113549.1.9.16.1.4"), _seq(der.encode(der.OCTETS, info), tag=0xA0)),
        _seq(*[signer] * signers, tag=der.SET),
    )
    content = _seq(_oid("1.2.840.113549.1.7.2"), _seq(data, tag=0xA0))
    return _seq(_seq(der.encode(der.INTEGER, status)), content)
