# SPDX-License-Identifier: GPL-3.0-or-later
"""The signatures of an image: where they are found, read within bounds."""

from __future__ import annotations

import typing as t

from .._image import errors
from .._image.artifacts import BUNDLE_NOTE, COSIGN_PREDICATE, EMPTY, SIGSTORE_BUNDLE
from .._image.copy_blob import read_content
from .._image.manifest import Descriptor, Manifest
from .._image.names import Digest
from .._image.sources import ContentSource
from .._registry.repository import referrers_tag
from .._trust.bundle import MAX_BUNDLE, bundle_evidence
from .._trust.cosign import MOST_SIGNATURES, cosign_evidence, signature_layers, signature_tag
from .._trust.envelope import (
    attestation_layers,
    attestation_tag,
    envelope_evidence,
    require_size,
)
from .._trust.errors import (
    SignatureError,
    SignatureInvalidError,
    SignatureListError,
    SignatureMismatchError,
)
from .._trust.evidence import BUNDLE, COSIGN, Evidence

Found = t.Union[Evidence, SignatureError]


class SignatureReader:
    """Reads the signatures in one repository, each once; an unreadable signature is an error in its place.

    A missing tag or list means that an image has no signatures. Every other failure, such as a refused login, is raised.
    """

    def __init__(self, source: ContentSource) -> None:
        self._source = source
        # By the form of signatures, or the type of attestations.
        self._known: dict[tuple[str, Digest], list[Found]] = {}

    def each(self, digest: Digest, bundles_first: bool = False) -> t.Iterator[Found]:
        """Yield the signatures of a digest: those of cosign 2, and then bundles, or the other way round.

        The second kind is requested only if the caller wants more.
        """
        for form in (BUNDLE, COSIGN) if bundles_first else (COSIGN, BUNDLE):
            yield from self.of_form(form, digest)

    def of_form(self, form: str, digest: Digest) -> t.Sequence[Found]:
        """Return the signatures of a digest in one form, cosign or bundle."""
        if (form, digest) not in self._known:
            read = self._read_cosign if form == COSIGN else self._read_bundles
            self._known[form, digest] = list(kept(read(digest)))
        return self._known[form, digest]

    def _read_cosign(self, digest: Digest) -> t.Iterator[Found]:
        tag = signature_tag(digest)
        manifest = read_tag(self._source, tag)
        for layer in signature_layers(manifest, tag) if manifest else ():
            yield evidence_or_error(self._read_payload, layer, tag)

    def _read_payload(self, layer: Descriptor, tag: str) -> Evidence:
        return cosign_evidence(layer, read_content(layer, self._source), tag)

    def attestations(self, digest: Digest, predicate_type: str) -> t.Sequence[Found]:
        """Return the attestations of a type about a digest: those of cosign 2, and bundles."""
        key = (f"attestation {predicate_type}", digest)
        if key not in self._known:
            reads = (self._read_statements, self._read_bundles)
            self._known[key] = [one for read in reads for one in kept(read(digest, predicate_type))]
        return self._known[key]

    def _read_statements(self, digest: Digest, predicate_type: str) -> t.Iterator[Found]:
        tag = attestation_tag(digest)
        manifest = read_tag(self._source, tag)
        for layer in attestation_layers(manifest, predicate_type, tag) if manifest else ():
            yield evidence_or_error(self._read_statement, layer, tag)

    def _read_statement(self, layer: Descriptor, tag: str) -> Evidence:
        require_size(layer, tag)
        return envelope_evidence(layer, read_content(layer, self._source), tag)

    def _read_bundles(
        self, digest: Digest, predicate_type: str = COSIGN_PREDICATE
    ) -> t.Iterator[Found]:
        listed = self._referrers(digest)
        wanted = [
            one for one in listed if artifact_type_of(one).startswith((SIGSTORE_BUNDLE, EMPTY))
        ]
        read = [one for one in wanted if _may_state(one, predicate_type)]
        others = len(wanted) - len(read)
        if others and predicate_type == COSIGN_PREDICATE:
            yield SignatureMismatchError(f"{others} bundles are attestations, not signatures")
        if len(read) > MOST_SIGNATURES:
            raise SignatureListError(
                f"{digest} has {len(read)} bundles, at most {MOST_SIGNATURES} are read"
            )
        for one in read:
            yield from self._bundle(one, digest)

    def _referrers(self, digest: Digest) -> t.Sequence[Descriptor]:
        """Return what refers to a digest; a refused list is an error, also where only the fallback tag has it."""
        found = self._source.referrers(digest)
        if found:
            return found
        tag = referrers_tag(digest)
        index = read_tag(self._source, tag)
        if index and not index.is_index:
            raise errors.ProtocolError(f"{self._source}:{tag} is not an index of referrers")
        return index.children if index else ()

    def _bundle(self, descriptor: Descriptor, digest: Digest) -> t.Iterator[Found]:
        """Yield the bundle of a referrer; none if it turns out to be something else."""
        manifest = self._source.read_manifest(descriptor.digest)[1]
        kinds = {manifest.artifact_type, manifest.config.media_type if manifest.config else ""}
        if not any(kind.startswith(SIGSTORE_BUNDLE) for kind in kinds):
            return
        where = f"bundle {str(descriptor.digest)[:19]}"
        yield evidence_or_error(self._read_bundle, manifest, digest, where)

    def _read_bundle(self, manifest: Manifest, digest: Digest, where: str) -> Evidence:
        if manifest.subject is None or manifest.subject.digest != digest:
            raise SignatureMismatchError(f"{where}: refers to other content than {digest}")
        if len(manifest.layers) != 1:
            raise SignatureInvalidError(f"{where}: has {len(manifest.layers)} layers, expected 1")
        layer = manifest.layers[0]
        if layer.size > MAX_BUNDLE:
            raise SignatureInvalidError(
                f"{where}: has {layer.size} bytes, at most {MAX_BUNDLE} are read"
            )
        return bundle_evidence(read_content(layer, self._source), str(layer.digest), where)


def kept(found: t.Iterator[Found]) -> t.Iterator[Found]:
    """Yield what is found; an error of all signatures is the last one."""
    try:
        yield from found
    except SignatureError as exc:
        yield exc


def evidence_or_error(read: t.Callable[..., Evidence], *values: t.Any) -> Found:
    """Return what ``read`` returns, or its SignatureError."""
    try:
        return read(*values)
    except SignatureError as exc:
        return exc


def _may_state(descriptor: Descriptor, predicate_type: str) -> bool:
    """Return whether a bundle can have a type of statement, by the note in the list; only its payload decides."""
    return descriptor.annotations.get(BUNDLE_NOTE) in (None, predicate_type)


def artifact_type_of(descriptor: Descriptor) -> str:
    """Return the type of artifact that a list of referrers states; that of nothing if it states none, as that of a store does."""
    return getattr(descriptor, "artifact_type", "") or EMPTY


def read_tag(source: ContentSource, tag: str) -> Manifest | None:
    """Return the manifest under a tag, None only if there is no such tag."""
    try:
        return source.read_manifest(tag)[1]
    except errors.NotFoundError:
        return None
    except errors.NotInStoreError:
        if tag in source.tags():
            raise
        return None
