# SPDX-License-Identifier: GPL-3.0-or-later
"""The verdict on one digest: signatures are compared with a requirement until it is met."""

from __future__ import annotations

import typing as t

from .._image.errors import printable
from .._image.names import Digest, Reference
from .claims import Claim
from .errors import (
    SignatureError,
    SignatureInvalidError,
    SignatureMismatchError,
    SignatureUntrustedError,
)
from .evidence import Evidence, Signer
from .keyless import keyless_signer, require_key_logged
from .lookaside import GpgTrust
from .notation import notation_signer
from .notation_rule import NotationTrust
from .requirements import GPG, IDENTITY, KEY, NOTATION, Requirement
from .simple_signing import gpg_signer
from .trusted_root import TrustedRoot


class Tally:
    """Counts the signatures of one digest that meet a requirement. Anything unproven is a failure."""

    def __init__(self, requirement: Requirement, reference: Reference, digest: Digest) -> None:
        self.requirement = requirement
        self.reference = reference
        self.digest = digest
        self.found = 0
        self.signers: dict[str, Signer] = {}
        self.failures: list[SignatureError] = []

    @property
    def is_met(self) -> bool:
        """Whether enough different signers have signed."""
        return len(self.signers) >= self.requirement.threshold

    def fail(self, exc: SignatureError) -> None:
        """Count a signature that cannot be read."""
        self.found += 1
        self.failures.append(exc)

    def add(self, evidence: Evidence) -> None:
        """Verify a signature, and count its signer."""
        try:
            signer = self._signer(evidence)
        except SignatureError as exc:
            self.fail(exc)
            return
        self.found += 1
        self.signers.setdefault(str(signer), signer)

    def causes(self) -> list[SignatureError]:
        """Return why the requirement is not met."""
        count = len(self.signers)
        if not count or self.is_met:
            return self.failures
        text = f"{count} of the {self.requirement.threshold} required keys signed it"
        return [SignatureUntrustedError(text), *self.failures]

    def _signer(self, evidence: Evidence) -> Signer:
        who = _AUTHORITIES[self.requirement.by](self.requirement, evidence)
        claim = self._claim(evidence)
        self._require_name(claim, evidence)
        self._require_annotations(claim, evidence)
        stated = None if claim.reference is None else printable(claim.reference)
        by, wanted = self.requirement.by, self.requirement.attestation
        kind = wanted.predicate_type if wanted else None
        return Signer(
            by, who.signer, evidence.form, evidence.digest, stated, who.issuer, who.log, kind
        )

    def _claim(self, evidence: Evidence) -> Claim:
        """Return what was signed: an attestation counts only where one is required, and a signature only elsewhere."""
        wanted = self.requirement.attestation
        if wanted is None:
            return evidence.claim(self.digest)
        if evidence.payload is None:
            raise SignatureMismatchError(f"{evidence.place}: is a signature, not an attestation")
        return wanted.claim(evidence.payload, self.digest, evidence.place)

    def _require_name(self, claim: Claim, evidence: Evidence) -> None:
        wanted = self.requirement.signed_as
        if not wanted.accepts(self.reference, claim.reference):
            stated = "names no image" if claim.reference is None else f"is signed as {printable(claim.reference)}"  # fmt: skip
            raise SignatureMismatchError(
                f"{evidence.place}: {stated}, signed_as {wanted} expects {self.reference}"
            )

    def _require_annotations(self, claim: Claim, evidence: Evidence) -> None:
        for key, value in self.requirement.annotations.items():
            if claim.annotations.get(key) != value:
                raise SignatureMismatchError(
                    f"{evidence.place}: lacks the annotation {printable(key)}={printable(value)}"
                )


class _Who(t.NamedTuple):
    signer: str
    issuer: str | None = None
    log: str | None = None


def _key_signer(requirement: Requirement, evidence: Evidence) -> _Who:
    for key in requirement.keys:
        if key.verifies(evidence.signature, evidence.signed):
            root = requirement.root
            return _Who(key.fingerprint, None, root and require_key_logged(evidence, key, root))
    raise SignatureInvalidError(f"{evidence.place}: was not made with a key of the rule")


def _identity_signer(requirement: Requirement, evidence: Evidence) -> _Who:
    root = t.cast(TrustedRoot, requirement.root)
    found = keyless_signer(evidence, requirement.identities, root)
    return _Who(found.subject, found.issuer, found.time)


def _gpg_signer(requirement: Requirement, evidence: Evidence) -> _Who:
    return _Who(gpg_signer(t.cast(GpgTrust, requirement.gpg).ring, evidence))


def _notation_signer(requirement: Requirement, evidence: Evidence) -> _Who:
    return _Who(notation_signer(t.cast(NotationTrust, requirement.notation), evidence))


_AUTHORITIES: dict[str, t.Callable[[Requirement, Evidence], _Who]] = {
    KEY: _key_signer,
    IDENTITY: _identity_signer,
    GPG: _gpg_signer,
    NOTATION: _notation_signer,
}
