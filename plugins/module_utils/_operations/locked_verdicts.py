# SPDX-License-Identifier: GPL-3.0-or-later
"""Verdicts in a lock file: the signers of an entry, and the rule that accepts them."""

from __future__ import annotations

import typing as t

from .._image.errors import DigestError, LockError
from .._image.lock import INDEX, UNSIGNED, LockedImage
from .._image.names import Digest, Reference, platforms_of
from .image_verify import ImageVerifier

Verdict = t.Mapping[str, t.Any]  # as ``LockedImage.verified``


def require_verdicts(images: t.Iterable[LockedImage]) -> None:
    """Raise LockError if a verdict does not have the form in which they are written."""
    for image in images:
        if image.verified and not _is_written(image.verified):
            raise LockError(f"{image.place}: {image.name}: verified: is malformed")


def _is_written(verified: Verdict) -> bool:
    by, covers = verified["by"], verified["covers"]
    if not isinstance(by, list) or not by:
        return False
    try:
        Digest.parse(verified["policy"])
    except DigestError:
        return False
    texts = (verified["rule"], covers, *by)
    return all(isinstance(one, str) for one in texts) and covers == " ".join(covers.split())


def vouch(
    verifier: ImageVerifier, reference: Reference, image: LockedImage, known: Verdict | None
) -> Verdict:
    """Return the verdict on an entry: the known one if it is by the same rule, otherwise a new one.

    Send no request for the known one. Raise SignatureError or PolicyRejectedError if the image is not trusted.
    """
    rule = verifier.rule_for(reference, image.digest)
    if known and (known["rule"], known["policy"]) == (rule.match, rule.digest):
        return known
    platforms = platforms_of(sorted(image.platforms))
    found = verifier.verify_digest(reference, image.digest, rule, platforms)
    covers = " ".join(sorted(image.platforms)) if found.covers != INDEX else INDEX
    return {
        "digest": str(image.digest),
        "rule": rule.match,
        "policy": rule.digest,
        "by": found.by,
        "covers": covers if found.covers else UNSIGNED,
    }


def shown_verdict(verified: Verdict | None) -> str:
    """Return a verdict as the end of a line of the diff, "" for none."""
    return f", vouched for by {', '.join(map(str, verified['by']))}" if verified else ""


def verdict_as_result(verified: Verdict | None) -> dict[str, t.Any] | None:
    """Return a verdict as a module returns it, None for none."""
    return {key: verified[key] for key in ("rule", "by", "covers")} if verified else None
