# SPDX-License-Identifier: GPL-3.0-or-later
"""Entries of the log of signatures, Rekor 1 and 2: that the log has them, and that they are for this signature."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
import typing as t

from .._image.dates import Moment
from .errors import SignatureInvalidError
from .evidence import Evidence
from .strict import Table, base64_bytes, integer, items, json_object, member
from .trusted_root import Log, TrustedRoot, moment_of

_MOST_HASHES = 64
_PEM = re.compile(rb"-----BEGIN (CERTIFICATE|PUBLIC KEY)-----\n([A-Za-z0-9+/=\r\n]+)-----END \1-----\n?")  # fmt: skip
_SHA256 = ("sha256", "SHA2_256")


class LogEntry(t.NamedTuple):
    """An entry that a trusted log has. ``time`` is when the log says it added it, None if it does not sign that."""

    log: Log
    time: Moment | None


def verify_entry(entry: Table, evidence: Evidence, key_der: bytes, root: TrustedRoot) -> LogEntry:
    """Return the entry if a trusted log has it, and it is for this signature by this key.

    ``key_der`` is the DER form of the certificate, or of the key if there is none. Raise SignatureInvalidError otherwise.
    """
    where = f"{evidence.place}: log entry"
    body = base64_bytes(entry.get("canonicalizedBody"), f"{where}: body")
    log_id = base64_bytes(member(entry, "logId", dict, where).get("keyId"), f"{where}: logId")
    found = [log for log in root.logs if log.log_id == log_id]
    if not found:
        raise SignatureInvalidError(f"{where}: is in no log of the trusted root")
    log = found[0]
    promise, proof = entry.get("inclusionPromise"), entry.get("inclusionProof")
    time = None
    if promise is not None:
        time = _time_of(entry, body, member(entry, "inclusionPromise", dict, where), log, where)
    if proof is not None:
        _require_included(member(entry, "inclusionProof", dict, where), body, log, where)
    if proof is None and (promise is None or evidence.needs_proof):
        raise SignatureInvalidError(f"{where}: has no proof that the log has it")
    _require_match(json_object(body, where), entry.get("kindVersion"), evidence, key_der, where)
    return LogEntry(log, time)


def _time_of(entry: Table, body: bytes, promise: Table, log: Log, where: str) -> Moment:
    """Return the time that the log has signed, with the entry (SET)."""
    signature = base64_bytes(promise.get("signedEntryTimestamp"), f"{where}: promise")
    time = integer(entry, "integratedTime", where)
    signed = {
        "body": base64.b64encode(body).decode("ascii"),
        "integratedTime": time,
        "logID": log.log_id.hex(),
        "logIndex": integer(entry, "logIndex", where, 0),
    }
    text = json.dumps(signed, sort_keys=True, separators=(",", ":"))
    if not log.key.verifies(signature, text.encode("ascii")):
        raise SignatureInvalidError(f"{where}: its promise is not by the log")
    return moment_of(time)


def _require_included(proof: Table, body: bytes, log: Log, where: str) -> None:
    """Raise SignatureInvalidError unless a signed checkpoint of the log contains the entry (RFC 9162 2.1.3.2)."""
    hashes = proof.get("hashes") or []
    if not isinstance(hashes, list) or len(hashes) > _MOST_HASHES:
        raise SignatureInvalidError(f"{where}: its proof is malformed")
    nodes = [base64_bytes(one, f"{where}: hash") for one in hashes]
    size = integer(proof, "treeSize", where)
    root = base64_bytes(proof.get("rootHash"), f"{where}: rootHash")
    leaf = hashlib.sha256(b"\0" + body).digest()
    if root_hash(leaf, integer(proof, "logIndex", where, 0), size, nodes) != root:
        raise SignatureInvalidError(f"{where}: its proof does not lead to the root of the log")
    note = member(member(proof, "checkpoint", dict, where), "envelope", str, where)
    if checkpoint(note, log, where) != (size, root):
        raise SignatureInvalidError(f"{where}: its proof is for another checkpoint")


def root_hash(leaf: bytes, index: int, size: int, nodes: t.Sequence[bytes]) -> bytes | None:
    """Return the root of a tree with a leaf, None if the number of ``nodes`` is wrong (RFC 9162 2.1.3.2)."""
    if index >= size:
        return None
    here, last, found = index, size - 1, leaf
    for node in nodes:
        if last == 0:
            return None
        if here & 1 or here == last:
            found = hashlib.sha256(b"\1" + node + found).digest()
            while here and not here & 1:
                here, last = here >> 1, last >> 1
        else:
            found = hashlib.sha256(b"\1" + found + node).digest()
        here, last = here >> 1, last >> 1
    return found if last == 0 else None


def checkpoint(note: str, log: Log, where: str) -> tuple[int, bytes]:
    """Return the size and the root in a checkpoint that the log has signed (C2SP tlog-checkpoint); others may have, too."""
    text, blank, signatures = note.partition("\n\n")
    lines = text.split("\n")
    signed = f"{text}\n".encode("utf-8", "surrogatepass")
    for line in signatures.split("\n") if blank and len(lines) >= 3 else ():
        match = re.fullmatch("\u2014 [^ ]+ ([A-Za-z0-9+/=]+)", line)
        raw = base64_bytes(match[1], f"{where}: checkpoint") if match else b""
        if raw[:4] == log.key_id[:4] and log.key.verifies(raw[4:], signed):
            sizes = {"size": lines[1]}
            return integer(sizes, "size", where), base64_bytes(lines[2], f"{where}: checkpoint")
    raise SignatureInvalidError(f"{where}: its checkpoint is not signed by the log")


# What an entry says. It has the signature, the key or the certificate, and the hash of the data.


class _Said(t.NamedTuple):
    digest: bytes
    is_payload: bool  # the digest is that of the payload of an envelope
    signature: bytes
    key: bytes  # certificate or key as DER


def _require_match(
    body: Table, stated: t.Any, evidence: Evidence, key_der: bytes, where: str
) -> None:
    """Raise SignatureInvalidError unless the body of an entry is for this signature, this key and this data."""
    kind, version = body.get("kind"), body.get("apiVersion")
    if stated is not None and stated != {"kind": kind, "version": version}:
        raise SignatureInvalidError(f"{where}: is of another kind than stated")
    read = _READERS.get((kind, version))
    if read is None:
        raise SignatureInvalidError(f"{where}: is of a kind that is not supported")
    said = read(member(body, "spec", dict, where), where)
    data = evidence.signed
    if said.is_payload:
        data = evidence.payload if evidence.payload is not None else b""
    if said.is_payload and evidence.payload is None:
        raise SignatureInvalidError(f"{where}: is for an envelope")
    for right, what in (
        (said.signature == evidence.signature, "signature"),
        (said.key == key_der, "key"),
        (said.digest == hashlib.sha256(data).digest(), "content"),
    ):
        if not right:
            raise SignatureInvalidError(f"{where}: is for another {what}")


def _pem(text: t.Any, where: str) -> bytes:
    """Return the DER form of a certificate or key, which is PEM in base64."""
    match = _PEM.fullmatch(base64_bytes(text, f"{where}: key"))
    if not match:
        raise SignatureInvalidError(f"{where}: key is not PEM")
    try:
        return base64.b64decode(b"".join(match[2].split()), validate=True)
    except binascii.Error as exc:
        raise SignatureInvalidError(f"{where}: key is not base64") from exc


def _hex(value: Table, where: str) -> bytes:
    text = member(value, "value", str, where)
    if value.get("algorithm") not in _SHA256 or not re.fullmatch("[0-9a-f]{64}", text):
        raise SignatureInvalidError(f"{where}: the hash is not a SHA-256")
    return bytes.fromhex(text)


def _digest(value: Table, where: str) -> bytes:
    if value.get("algorithm") not in _SHA256:
        raise SignatureInvalidError(f"{where}: the hash is not a SHA-256")
    return base64_bytes(value.get("digest"), f"{where}: hash")


def _only(value: Table, where: str) -> Table:
    found = items(value, "signatures", 1, where)
    if not found:
        raise SignatureInvalidError(f"{where}: has no signature")
    return found[0]


def _verifier(value: Table, where: str) -> bytes:
    """Return the key of an entry of Rekor 2."""
    verifier = member(value, "verifier", dict, where)
    forms = [name for name in ("x509Certificate", "publicKey") if name in verifier]
    if len(forms) != 1:
        raise SignatureInvalidError(f"{where}: names {len(forms)} keys")
    raw = member(verifier, forms[0], dict, where).get("rawBytes")
    return base64_bytes(raw, f"{where}: key")


def _hashed_1(spec: Table, where: str) -> _Said:
    signature = member(spec, "signature", dict, where)
    hashed = member(member(spec, "data", dict, where), "hash", dict, where)
    key = _pem(member(signature, "publicKey", dict, where).get("content"), where)
    content = base64_bytes(signature.get("content"), f"{where}: signature")
    return _Said(_hex(hashed, where), False, content, key)


def _hashed_2(spec: Table, where: str) -> _Said:
    found = member(spec, "hashedRekordV002", dict, where)
    signature = member(found, "signature", dict, where)
    content = base64_bytes(signature.get("content"), f"{where}: signature")
    data = _digest(member(found, "data", dict, where), where)
    return _Said(data, False, content, _verifier(signature, where))


def _dsse_1(spec: Table, where: str) -> _Said:
    signature = _only(spec, where)
    content = base64_bytes(signature.get("signature"), f"{where}: signature")
    hashed = _hex(member(spec, "payloadHash", dict, where), where)
    return _Said(hashed, True, content, _pem(signature.get("verifier"), where))


def _dsse_2(spec: Table, where: str) -> _Said:
    found = member(spec, "dsseV002", dict, where)
    signature = _only(found, where)
    content = base64_bytes(signature.get("content"), f"{where}: signature")
    hashed = _digest(member(found, "payloadHash", dict, where), where)
    return _Said(hashed, True, content, _verifier(signature, where))


def _intoto_2(spec: Table, where: str) -> _Said:
    content = member(spec, "content", dict, where)
    signature = _only(member(content, "envelope", dict, where), where)
    outer = base64_bytes(signature.get("sig"), f"{where}: signature")
    inner = base64_bytes(outer.decode("ascii", "replace"), f"{where}: signature")
    hashed = _hex(member(content, "payloadHash", dict, where), where)
    return _Said(hashed, True, inner, _pem(signature.get("publicKey"), where))


_READERS: dict[t.Any, t.Callable[[Table, str], _Said]] = {
    ("hashedrekord", "0.0.1"): _hashed_1,
    ("hashedrekord", "0.0.2"): _hashed_2,
    ("dsse", "0.0.1"): _dsse_1,
    ("dsse", "0.0.2"): _dsse_2,
    ("intoto", "0.0.2"): _intoto_2,
}
