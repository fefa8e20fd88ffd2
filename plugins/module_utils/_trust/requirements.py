# SPDX-License-Identifier: GPL-3.0-or-later
"""What a policy requires, as values: requirements on signatures, and rules for scopes of images."""

from __future__ import annotations

import json
import typing as t

from .._image.names import Digest, Reference
from .attestation import Attestation
from .errors import PolicyRejectedError
from .keys import PublicKey
from .lookaside import GpgTrust
from .naming import ANY, Identity, SignedAs, scopes_of
from .notation_rule import NotationTrust
from .signed_identity import SignedIdentity
from .trusted_root import TrustedRoot

KEY, IDENTITY, GPG, NOTATION = "key", "identity", "gpg", "notation"
UNSIGNED, REJECT = "unsigned", "reject"
INDEX, PLATFORM = "index", "platform"
LEVELS = (ANY, INDEX, PLATFORM)


class Requirement(t.NamedTuple):
    """What one set of signatures must be: ``threshold`` different signers of these, with these claims.

    ``by`` is key, identity, gpg, notation, unsigned or reject. ``level`` is what must be signed: the index, each platform, or any
    of them. ``signatures`` is the repository that holds the signatures, None for that of the image.
    """

    by: str
    keys: tuple[PublicKey, ...] = ()
    threshold: int = 1
    annotations: t.Mapping[str, str] = {}
    signed_as: SignedAs | SignedIdentity = SignedAs()
    signatures: Reference | None = None
    level: str = ANY
    identities: tuple[Identity, ...] = ()
    root: TrustedRoot | None = None  # for logs, and for the certificates of identities
    gpg: GpgTrust | None = None
    notation: NotationTrust | None = None
    attestation: Attestation | None = None  # that is required instead of a signature

    def as_json(self) -> dict[str, t.Any]:
        """Return everything that decides what meets this requirement, as a JSON value."""
        return {
            **self._asdict(),
            "keys": sorted(key.fingerprint for key in self.keys),
            "annotations": dict(self.annotations),
            "signatures": self.signatures and self.signatures.name,
            "identities": sorted([one.issuer, one.subject.pattern] for one in self.identities),
            "root": self.root and self.root.digest,
            "gpg": self.gpg and self.gpg.as_json(),
            "notation": self.notation and self.notation.as_json(),
            "attestation": self.attestation and self.attestation.as_json(),
        }


class Rule(t.NamedTuple):
    """The requirements on the images of a scope, all of which must be met."""

    match: str
    requirements: tuple[Requirement, ...]

    @property
    def digest(self) -> str:
        """Return a digest that is another one as soon as the rule requires something else."""
        parts = [one.as_json() for one in self.requirements]
        return str(Digest.of(json.dumps(parts, sort_keys=True).encode("utf-8")))


class Policy(t.NamedTuple):
    """Rules by scope."""

    rules: t.Mapping[str, Rule]

    def rule_for(self, reference: Reference) -> Rule:
        """Return the rule with the most specific scope; raise PolicyRejectedError if none matches, or if it rejects."""
        for scope in scopes_of(reference):
            rule = self.rules.get(scope)
            if rule:
                if any(one.by == REJECT for one in rule.requirements):
                    raise PolicyRejectedError(
                        f"{reference}: the rule for {rule.match} rejects it", rule=rule.match
                    )
                return rule
        raise PolicyRejectedError(f"{reference}: no rule of the policy matches it")
