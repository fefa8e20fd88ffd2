# SPDX-License-Identifier: GPL-3.0-or-later
"""Signatures of notation, which are referrers of an image."""

from __future__ import annotations

import typing as t

from .._image.artifacts import EMPTY, NOTATION_SIGNATURE
from .._image.copy_blob import read_content
from .._image.manifest import Descriptor, Manifest
from .._image.names import Digest
from .._trust.cosign import MOST_SIGNATURES
from .._trust.errors import SignatureInvalidError, SignatureListError, SignatureMismatchError
from .._trust.evidence import NOTATION, Evidence
from .._trust.notation import MAX_ENVELOPE, envelope_evidence
from .signatures import (
    Found,
    SignatureReader,
    artifact_type_of,
    evidence_or_error,
    kept,
)


class NotationReader(SignatureReader):
    """Reads the signatures of notation in one repository, each once."""

    def each(self, digest: Digest, bundles_first: bool = False) -> t.Iterator[Found]:
        """Yield the signatures of a digest; an unreadable signature is an error in its place."""
        if (NOTATION, digest) not in self._known:
            self._known[NOTATION, digest] = list(kept(self._read_signatures(digest)))
        yield from self._known[NOTATION, digest]

    def _read_signatures(self, digest: Digest) -> t.Iterator[Found]:
        listed = self._referrers(digest)
        wanted = [
            one.digest for one in listed if artifact_type_of(one) in (NOTATION_SIGNATURE, EMPTY)
        ]
        if len(wanted) > MOST_SIGNATURES:
            raise SignatureListError(
                f"{digest} has {len(wanted)} signatures, at most {MOST_SIGNATURES} are read"
            )
        subject: Descriptor | None = None
        for one in wanted:
            manifest = self._source.read_manifest(one)[1]
            kinds = {manifest.artifact_type, manifest.config.media_type if manifest.config else ""}
            if NOTATION_SIGNATURE not in kinds:
                continue
            subject = subject or self._source.read_manifest(digest)[0]
            where = f"signature {str(one)[:19]}"
            yield evidence_or_error(self._read_envelope, manifest, subject, where)

    def _read_envelope(self, manifest: Manifest, subject: Descriptor, where: str) -> Evidence:
        if manifest.subject is None or manifest.subject.digest != subject.digest:
            raise SignatureMismatchError(f"{where}: refers to other content than {subject.digest}")
        if manifest.is_index or len(manifest.layers) != 1:
            raise SignatureInvalidError(f"{where}: does not have one layer")
        layer = manifest.layers[0]
        if layer.size > MAX_ENVELOPE:
            raise SignatureInvalidError(
                f"{where}: has {layer.size} bytes, at most {MAX_ENVELOPE} are read"
            )
        return envelope_evidence(read_content(layer, self._source), layer, subject, where)
