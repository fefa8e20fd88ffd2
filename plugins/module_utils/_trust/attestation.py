# SPDX-License-Identifier: GPL-3.0-or-later
"""Attestations: signed statements about an image, of which a rule requires a type and, of provenance, a builder and a source."""

from __future__ import annotations

import re
import typing as t

from .._image.errors import printable
from .._image.names import Digest
from .claims import Claim, statement_of
from .errors import SignatureMismatchError
from .strict import Table, json_object

# Where builders state themselves and the source, as paths of keys (SLSA provenance 0.2 and 1; for 1, BuildKit, slsa-github-generator and GitHub).
_BUILDERS = (("builder", "id"), ("runDetails", "builder", "id"))
_PARAMETERS = ("buildDefinition", "externalParameters")
_SOURCES = (
    ("invocation", "configSource", "uri"),
    (*_PARAMETERS, "configSource", "uri"),
    (*_PARAMETERS, "source", "uri"),
    (*_PARAMETERS, "source"),
    (*_PARAMETERS, "workflow", "repository"),
)


class Attestation(t.NamedTuple):
    """What a statement must be: of this type, and with a builder and a source that match as a whole. None accepts any."""

    predicate_type: str
    builder: re.Pattern[str] | None = None
    source: re.Pattern[str] | None = None

    def as_json(self) -> list[str | None]:
        """Return everything that decides what meets this requirement, as a JSON value."""
        patterns = (self.builder, self.source)
        return [self.predicate_type, *(one.pattern if one else None for one in patterns)]

    def claim(self, raw: bytes, digest: Digest, where: str) -> Claim:
        """Return the claims of a verified statement about a digest, which may be one of several subjects.

        Raise SignatureInvalidError if it is malformed, SignatureMismatchError if it is about other content or not as
        required.
        """
        found = statement_of(raw, where)
        if digest.algorithm != "sha256" or digest.encoded not in found.subjects:
            raise SignatureMismatchError(f"{where}: is for other content than {digest}")
        if found.predicate_type != self.predicate_type:
            raise SignatureMismatchError(
                f"{where}: is an attestation of the type {printable(found.predicate_type, 100)}, expected {self.predicate_type}"
            )
        predicate = json_object(raw, where).get("predicate")
        _require(self.builder, "builder", _texts(predicate, _BUILDERS), where)
        _require(self.source, "source", _texts(predicate, _SOURCES), where)
        return Claim(None, found.subjects[digest.encoded])


def _texts(predicate: t.Any, paths: t.Sequence[t.Sequence[str]]) -> list[str]:
    """Return the texts at these paths of a predicate; a path that leads to something else has none."""
    found = []
    for path in paths:
        value: t.Any = predicate
        for key in path:
            value = t.cast(Table, value).get(key) if isinstance(value, dict) else None
        if isinstance(value, str):
            found.append(value)
    return found


def _require(
    pattern: re.Pattern[str] | None, what: str, stated: t.Sequence[str], where: str
) -> None:
    """Raise SignatureMismatchError unless a statement names a builder or source, and only such as match."""
    if pattern and not (stated and all(map(pattern.fullmatch, stated))):
        listed = ", ".join(printable(one, 100) for one in stated) or "none"
        raise SignatureMismatchError(f"{where}: the {what} is {listed}, not as the rule requires")
