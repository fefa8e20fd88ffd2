# SPDX-License-Identifier: GPL-3.0-or-later
"""What a signature claims about an image: a simple-signing payload, or an in-toto statement. Parsed after the signature is verified."""

from __future__ import annotations

import re
import typing as t

from .._image.artifacts import COSIGN_PREDICATE
from .._image.errors import printable
from .._image.names import Digest
from .errors import SignatureInvalidError, SignatureMismatchError
from .strict import Table, items, json_object, member, require_only

COSIGN_TYPE = "cosign container image signature"
ATOMIC_TYPE = "atomic container signature"
STATEMENTS = ("https://in-toto.io/Statement/v0.1", "https://in-toto.io/Statement/v1")
_SHA256 = re.compile("[a-f0-9]{64}")
_MOST_SUBJECTS = 1000


class Claim(t.NamedTuple):
    """The claims of a signature that names the right digest: the name of the image, None for none, and annotations."""

    reference: str | None
    annotations: t.Mapping[str, t.Any]


def simple_claim(raw: bytes, digest: Digest, where: str, kind: str = COSIGN_TYPE) -> Claim:
    """Return the claims of a simple-signing payload of this ``type`` (cosign specs/SIGNATURE_SPEC.md, containers-signature(5)).

    Raise SignatureInvalidError if it is malformed, SignatureMismatchError if it is for another digest.
    """
    top = json_object(raw, where)
    require_only(top, ("critical", "optional"), where)
    critical = member(top, "critical", dict, where)
    require_only(critical, ("identity", "image", "type"), f"{where}: critical")
    if critical["type"] != kind:
        raise SignatureInvalidError(
            f"{where}: is of the type {printable(repr(critical['type']), 60)}, expected {kind!r}"
        )
    image = member(critical, "image", dict, where)
    require_only(image, ("docker-manifest-digest",), f"{where}: image")
    identity = member(critical, "identity", dict, where)
    require_only(identity, ("docker-reference",), f"{where}: identity")
    reference = member(identity, "docker-reference", str, where)
    _require_digest(member(image, "docker-manifest-digest", str, where), digest, where)
    return Claim(reference, _optional(top["optional"], kind, where))


def _optional(value: t.Any, kind: str, where: str) -> Table:
    if value is None and kind == COSIGN_TYPE:
        return {}
    if not isinstance(value, dict):
        raise SignatureInvalidError(f"{where}: optional is not an object")
    if kind == ATOMIC_TYPE:
        stamp = value.get("timestamp", 0)
        if isinstance(stamp, bool) or not isinstance(stamp, int):
            raise SignatureInvalidError(f"{where}: timestamp is not a whole number")
        if not isinstance(value.get("creator", ""), str):
            raise SignatureInvalidError(f"{where}: creator is not a text")
    return value


def _require_digest(text: str, digest: Digest, where: str) -> None:
    if not re.fullmatch("sha256:[a-f0-9]{64}", text):
        raise SignatureInvalidError(f"{where}: docker-manifest-digest is not a digest")
    if text != str(digest):
        raise SignatureMismatchError(f"{where}: is for {text}, expected {digest}")


class Statement(t.NamedTuple):
    """An in-toto statement: its predicate type, and the annotations of each subject by its SHA-256."""

    predicate_type: str
    subjects: t.Mapping[str, Table]


def statement_of(raw: bytes, where: str) -> Statement:
    """Return the in-toto statement in ``raw``; raise SignatureInvalidError if it is malformed."""
    top = json_object(raw, where)
    if member(top, "_type", str, where) not in STATEMENTS:
        raise SignatureInvalidError(f"{where}: is not an in-toto statement")
    predicate_type = member(top, "predicateType", str, where)
    subjects: dict[str, Table] = {}
    for subject in items(top, "subject", _MOST_SUBJECTS, where):
        digests = member(subject, "digest", dict, f"{where}: subject")
        annotations = subject.get("annotations") or {}
        if not isinstance(annotations, dict):
            raise SignatureInvalidError(f"{where}: annotations are not an object")
        text = digests.get("sha256")
        if isinstance(text, str) and _SHA256.fullmatch(text):
            subjects.setdefault(text, annotations)
    if not subjects:
        raise SignatureInvalidError(f"{where}: has no subject with a SHA-256 digest")
    return Statement(predicate_type, subjects)


def statement_claim(raw: bytes, digest: Digest, where: str) -> Claim:
    """Return the claims of a statement that cosign signs for an image.

    Raise SignatureInvalidError if it is malformed, SignatureMismatchError for another digest or predicate.
    """
    found = statement_of(raw, where)
    if digest.algorithm != "sha256" or digest.encoded not in found.subjects:
        raise SignatureMismatchError(f"{where}: is for other content than {digest}")
    if found.predicate_type != COSIGN_PREDICATE:
        raise SignatureMismatchError(
            f"{where}: is an attestation of the type {printable(found.predicate_type, 100)}, not a signature"
        )
    return Claim(None, found.subjects[digest.encoded])
