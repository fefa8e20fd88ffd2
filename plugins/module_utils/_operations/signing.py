# SPDX-License-Identifier: GPL-3.0-or-later
"""Where signatures are added: a repository of a registry, or of a store. What others have signed there is kept."""

from __future__ import annotations

import threading
import typing as t

from .._image import errors
from .._image.manifest import Descriptor, Manifest
from .._image.names import Digest, Reference
from .._image.sources import ContentSource
from .._registry.sink import RemoteSink
from .._store.reader import IndexEntry
from .._store.source import StoreSource
from .._store.store import ImageStore
from .._trust.cosign import MOST_SIGNATURES, SIGNATURE, signature_layers, signature_tag
from .._trust.errors import SignatureListError
from .._trust.making import Made, with_layer
from .naming import SetName
from .signatures import read_tag

_TRIES = 5  # of a store that other processes write, too


class SigningPlace(t.Protocol):
    """A repository that is read and written."""

    lock: threading.Lock  # one thread at a time changes lists of signatures

    @property
    def source(self) -> ContentSource:
        """The repository as it is now."""

    def write(self, blob: Made) -> None:
        """Write a blob unless the repository has it."""

    def put(self, manifest: Manifest, tag: str | None) -> None:
        """Write a manifest under a tag, or by its digest only. Its blobs must be there."""

    def backoff(self, attempt: int) -> bool:
        """Wait before retry ``attempt``; return False if there is no such retry."""


class RegistryPlace:
    """A repository of a registry, never of a mirror."""

    def __init__(self, sink: RemoteSink) -> None:
        self.lock = threading.Lock()
        self._sink = sink

    def __str__(self) -> str:
        return str(self._sink)

    @property
    def source(self) -> ContentSource:
        return self._sink.repository

    def write(self, blob: Made) -> None:
        if not self._sink.has(blob.descriptor):
            self._sink.write(blob.descriptor, [blob.raw])

    def put(self, manifest: Manifest, tag: str | None) -> None:
        self._sink.put_manifest(manifest, tag or str(Digest.of(manifest.raw)))

    def backoff(self, attempt: int) -> bool:
        return self._sink.backoff(attempt)


class StorePlace:
    """The part of a store with the names of one repository."""

    def __init__(self, store: ImageStore, reference: Reference) -> None:
        self.lock = threading.Lock()
        self._store = store
        self._reference = reference

    def __str__(self) -> str:
        return f"{self._store.path}: {self._reference.name}"

    @property
    def source(self) -> ContentSource:
        return StoreSource(self._store, self._store.names(), self._reference, lambda *_: False)

    def write(self, blob: Made) -> None:
        if not self._store.has(blob.descriptor):
            self._store.write(blob.descriptor, [blob.raw])

    def put(self, manifest: Manifest, tag: str | None) -> None:
        target = Descriptor(manifest.media_type, Digest.of(manifest.raw), len(manifest.raw))
        self.write(Made(target, manifest.raw))
        name = f"{self._reference.name}:{tag}" if tag else f"{self._reference.name}@{target.digest}"
        previous = self._store.names().get(name)
        self._store.set_names([SetName(name, IndexEntry(target), previous, self._store)])

    def backoff(self, attempt: int) -> bool:
        return attempt < _TRIES


def append_signature(place: SigningPlace, digest: Digest, layer: Made) -> None:
    """Add a layer to the ``.sig`` tag of a digest.

    A registry has no atomic change of a tag. So the tag is read again after it is written, and written again if another
    process has replaced it. Raise ProtocolError if the signature does not stay, SignatureListError if the tag is not
    a manifest with at most 49 signatures.
    """
    tag, attempt = signature_tag(digest), 0
    place.write(layer)
    with place.lock:
        while True:
            before = read_tag(place.source, tag)
            if before and _has(before, layer):
                return
            _require_retry(place, attempt, f"{place}:{tag}")
            attempt += 1
            if before and len(signature_layers(before, tag)) >= MOST_SIGNATURES:
                raise SignatureListError(
                    f"{place}:{tag}: has {MOST_SIGNATURES} signatures, and no more are read"
                )
            after, config = with_layer(before, layer)
            if config:
                place.write(config)
            now = read_tag(place.source, tag)
            if (now and now.raw) == (before and before.raw):
                place.put(after, tag)


def attach_bundle(
    place: SigningPlace, subject: Digest, manifest: Manifest, blobs: t.Sequence[Made]
) -> None:
    """Add a referrer to a subject; raise ProtocolError if the repository does not list it then."""
    for blob in blobs:
        place.write(blob)
    digest, attempt = Digest.of(manifest.raw), 0
    with place.lock:
        while True:
            place.put(manifest, None)
            if any(one.digest == digest for one in place.source.referrers(subject)):
                return
            attempt += 1
            _require_retry(place, attempt, f"{place}: the list of referrers of {subject}")


def _has(manifest: Manifest, layer: Made) -> bool:
    wanted = layer.descriptor.annotations[SIGNATURE]
    return any(
        one.digest == layer.descriptor.digest and one.annotations.get(SIGNATURE) == wanted
        for one in manifest.layers
    )


def _require_retry(place: SigningPlace, attempt: int, subject: str) -> None:
    if attempt and not place.backoff(attempt):
        raise errors.ProtocolError(f"{subject} does not keep the new signature")
