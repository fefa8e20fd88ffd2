# SPDX-License-Identifier: GPL-3.0-or-later
"""What is attached to an image in a registry. It is listed as it describes itself: nothing is verified, and no payload is read."""

from __future__ import annotations

import typing as t

from .._image import errors
from .._image.artifacts import (
    COSIGN_TAGS,
    EMPTY,
    KINDS,
    OTHER,
    is_conclusive,
    kind_of,
    predicate_type_of,
)
from .._image.manifest import Descriptor, Manifest
from .._image.names import Digest
from .._image.sources import ContentSource
from .._registry.repository import lacks, referrers_tag

NOT_VERIFIED = "present, not verified"
# Manifests that are read for one image, because the list of referrers does not say what they are.
_MOST_READ = 50


class Attached(t.NamedTuple):
    """Content about an image. ``found_in`` is index, referrers or the tag that lists it."""

    kind: str
    subject: Digest
    found_in: str
    descriptor: Descriptor
    artifact_type: str
    predicate_type: str

    def as_result(self) -> dict[str, t.Any]:
        """Return what a result has of it."""
        return {
            "kind": self.kind,
            "status": NOT_VERIFIED,
            "subject": str(self.subject),
            "found_in": self.found_in,
            **self.descriptor.as_result(),
            "artifact_type": self.artifact_type or None,
            "predicate_type": self.predicate_type or None,
        }


def sorted_attached(found: t.Iterable[Attached]) -> list[Attached]:
    """Return attachments by kind and then by digest, each once."""
    once: dict[tuple[Digest, Digest], Attached] = {}
    for one in found:
        once.setdefault((one.subject, one.descriptor.digest), one)
    return sorted(once.values(), key=lambda one: (KINDS.index(one.kind), one.descriptor.digest))


def attached_to(source: ContentSource, digest: Digest) -> list[Attached]:
    """Return what tags of cosign and the list of referrers have about a digest.

    Send one request for each of the three tags and for the list, and one for each referrer that the list does not
    describe. Raise what the source raises, except for what is missing.
    """
    found = [one for suffix in COSIGN_TAGS for one in _under_tag(source, digest, suffix)]
    unread = _MOST_READ
    for one in source.referrers(digest):
        artifact, predicate = getattr(one, "artifact_type", ""), predicate_type_of(one.annotations)
        if is_conclusive(artifact, predicate) or not unread:
            found.append(_referrer(digest, one, artifact, predicate))
            continue
        unread -= 1
        read = _read(source, one.digest)
        if read:
            found += _read_referrer(digest, one, read[1])
    return found


def _referrer(
    digest: Digest, one: Descriptor, artifact: str, predicate: str, *types: str
) -> Attached:
    kind = kind_of(predicate, artifact, *types)
    return Attached(kind, digest, "referrers", one, artifact, predicate)


def _read_referrer(digest: Digest, one: Descriptor, manifest: Manifest) -> list[Attached]:
    """Return a referrer as its manifest describes it, or its layers if only these say what they are."""
    artifact = manifest.artifact_type or (manifest.config.media_type if manifest.config else "")
    artifact = "" if artifact == EMPTY else artifact
    predicate = predicate_type_of({**one.annotations, **manifest.annotations})
    layers = statements(manifest, digest, "referrers", artifact)
    if not predicate and any(layer.predicate_type for layer in layers):
        return layers
    return [
        _referrer(
            digest, one, artifact, predicate, *(layer.media_type for layer in manifest.layers)
        )
    ]


def _under_tag(source: ContentSource, digest: Digest, suffix: str) -> list[Attached]:
    """Return the layers under a tag of cosign; those of an unknown type are of the kind of the tag."""
    tag = f"{referrers_tag(digest)}{suffix}"
    read = _read(source, tag)
    if read and read[1].is_index:
        return [Attached(OTHER, digest, tag, read[0], "", "")]
    found = statements(read[1], digest, tag, "") if read else []
    return [one._replace(kind=COSIGN_TAGS[suffix]) if one.kind == OTHER else one for one in found]


def statements(
    manifest: Manifest, subject: Digest, found_in: str, artifact_type: str
) -> list[Attached]:
    """Return the layers of a manifest as attachments of a subject."""
    found = []
    for layer in manifest.layers:
        predicate = predicate_type_of(layer.annotations)
        kind = kind_of(predicate, layer.media_type)
        found.append(Attached(kind, subject, found_in, layer, artifact_type, predicate))
    return found


def _read(source: ContentSource, identifier: Digest | str) -> tuple[Descriptor, Manifest] | None:
    """Return a manifest, None if the source does not have it."""
    try:
        return source.read_manifest(identifier)
    except errors.RegistryError as exc:
        is_missing = isinstance(exc, errors.NotFoundError)
        if is_missing or (isinstance(identifier, str) and lacks(source, identifier, exc)):
            return None
        raise
