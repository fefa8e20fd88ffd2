# SPDX-License-Identifier: GPL-3.0-or-later
"""The images in an archive: those of its OCI image layout, or those of a docker-archive (moby, image/spec/v1.2).

A docker-archive has no manifests, so each image of one gets a manifest here, with equal bytes on every host.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import typing as t

from .._image import errors
from .._image.escaped import shown
from .._image.lock import Lock
from .._image.manifest import (
    MAX_MANIFEST,
    OCI_CONFIG,
    OCI_MANIFEST,
    Descriptor,
    ImageConfig,
    entries_of,
    parse_object,
)
from .._image.names import Digest, Reference
from .archive import BLOBS, DOCKER, IMAGE_NAME, INDEX, LOCK, PLATFORMS, REF_NAME, as_json
from .errors import (
    ArchiveError,
    ArchiveIncompleteError,
    ArchiveTruncatedError,
    ArchiveUnsupportedError,
)
from .media import Media
from .members import Span, read_members

_LAYER = "application/vnd.oci.image.layer.v1.tar"
_LAYERS = {b"\x1f\x8b": f"{_LAYER}+gzip", b"\x28\xb5\x2f\xfd": f"{_LAYER}+zstd"}
_OTHERS = {b"BZh": "bzip2", b"\xfd7zXZ": "xz"}
_HEX = re.compile("(?:blobs/sha256/|sha256:)?([0-9a-f]{64})(?:[.]json)?")
_MAX_JSON = 64 * 1024 * 1024  # bytes; an index with 100,000 names has about half


class ArchivedImage(t.NamedTuple):
    """An image of an archive. ``label`` is what the archive calls it, ``reference`` is None if that is not a full name.

    ``platforms`` are those that it was exported for, none if the archive does not say. ``is_made`` says that its
    manifest was made here.
    """

    label: str
    reference: Reference | None
    root: Descriptor
    platforms: tuple[str, ...] = ()
    is_made: bool = False


class ImageArchive:
    """An archive of images. ``blobs`` are the places of its content; what they have is verified by whoever reads it."""

    def __init__(self, media: Media) -> None:
        """Read what the archive has; raise ArchiveError if it is malformed, ChunkMissingError if its start is missing."""
        self.media = media
        self._spans, self.is_whole = read_members(media)
        self.blobs = {
            Digest(*name[len(BLOBS) :].split("/", 1)): span
            for name, span in self._spans.items()
            if name.startswith(BLOBS)
        }
        self._made: dict[Digest, bytes] = {}
        if INDEX in self._spans:
            self.images = self._listed()
        elif DOCKER in self._spans:
            self.images = self._docker_images()
        elif not self.is_whole:
            raise media.missing_error()
        else:
            raise ArchiveUnsupportedError(
                f"{media.where}: has neither index.json nor manifest.json, so it is not an archive of images"
            )
        self.lock = self._lock()

    def has(self, digest: Digest) -> bool:
        """Return whether the archive has content."""
        return digest in self.blobs or digest in self._made

    def read(self, digest: Digest, subject: str) -> bytes:
        """Return a manifest or a configuration, verified; ``subject`` names its image in errors.

        Raise ArchiveIncompleteError or ChunkMissingError if it is missing.
        """
        if digest in self._made:
            return self._made[digest]
        span = self.span(digest, subject)
        if span.size > MAX_MANIFEST:
            most = errors.readable_size(MAX_MANIFEST)
            raise ArchiveError(f"{self._where(subject)}: {digest} is larger than {most}")
        data = self.media.read(*span)
        if not digest.matches(data):
            self.media.require_sums()
            raise errors.DigestMismatchError(
                f"{self._where(subject)}: the content at {span.offset} is not {digest}"
            )
        return data

    def span(self, digest: Digest, subject: str) -> Span:
        """Return the place of content; errors are those of ``read``."""
        if digest in self.blobs:
            return self.blobs[digest]
        if not self.is_whole:
            raise self.media.missing_error()
        raise ArchiveIncompleteError(
            f"{self._where(subject)}: leaves out {digest}, and the store lacks it",
            digests=[str(digest)],
        )

    def _where(self, subject: str) -> str:
        return f"{self.media.where}: {subject}" if subject else self.media.where

    def _json(self, name: str) -> bytes:
        span = self._spans[name]
        if span.size > _MAX_JSON:
            most = errors.readable_size(_MAX_JSON)
            raise ArchiveError(f"{self.media.where}: {name} is larger than {most}")
        return self.media.read(*span)

    def _object(self, name: str) -> dict[str, t.Any]:
        with self._as_archive_error():
            return parse_object(self._json(name), f"{self.media.where}: {name}")

    @contextlib.contextmanager
    def _as_archive_error(self) -> t.Iterator[None]:
        """Convert an error about JSON in the archive, or name the chunk that has other bytes than its list says."""
        try:
            yield
        except (errors.ManifestError, errors.LockError) as exc:
            self.media.require_sums()
            raise ArchiveError(str(exc)) from exc

    def _lock(self) -> Lock | None:
        """Return the lock file in the archive; raise ArchiveError unless it and the index have the same names."""
        if LOCK not in self._spans:
            return None
        where = f"{self.media.where}: {LOCK}"
        with self._as_archive_error():
            lock = Lock.parse(dict(self._object(LOCK), file=where))
        listed = {one.reference.store_name: one.root.digest for one in self.images if one.reference}
        stated = {one.name: one.digest for one in lock.images}
        if INDEX in self._spans and listed != stated:
            name = sorted(dict(listed.items() ^ stated.items()))[0]
            raise ArchiveError(
                f"{where} has {stated.get(name, 'nothing')} for {name}, index.json has {listed.get(name, 'nothing')}"
            )
        return lock

    def _listed(self) -> list[ArchivedImage]:
        """Return the images of index.json; raise ArchiveError for one name with two digests."""
        where = f"{self.media.where}: {INDEX}"
        value = self._object(INDEX)
        found: list[ArchivedImage] = []
        digests: dict[str, Digest] = {}
        with self._as_archive_error():
            for number, entry in enumerate(entries_of(value, "manifests", where)):
                image = _image_of(Descriptor.from_json(entry, f"{where}: manifests[{number}]"))
                name = image.reference.store_name if image.reference else str(image.root.digest)
                known = digests.get(name)
                if known not in (None, image.root.digest):
                    raise ArchiveError(f"{where}: {name} is {known} and {image.root.digest}")
                if known is None:
                    found.append(image)
                digests[name] = image.root.digest
        return found

    def _docker_images(self) -> list[ArchivedImage]:
        where = f"{self.media.where}: {DOCKER}"
        with self._as_archive_error():
            value = parse_object(b'{"images":%s}' % self._json(DOCKER), where)
            entries = entries_of(value, "images", where)
            return [
                one
                for n, entry in enumerate(entries)
                for one in self._made_of(entry, f"{where}: [{n}]")
            ]

    def _made_of(self, entry: t.Any, where: str) -> list[ArchivedImage]:
        """Return an image of a docker-archive under each of its names."""
        if not isinstance(entry, dict) or not isinstance(entry.get("Config"), str):
            raise ArchiveError(f"{where}: has no Config")
        tags, layers = (entries_of(entry, key, where) for key in ("RepoTags", "Layers"))
        if not all(isinstance(text, str) for text in (*tags, *layers)):
            raise ArchiveError(f"{where}: RepoTags and Layers must be lists of texts")
        raw = self._config(entry["Config"], where)
        diff_ids = ImageConfig.parse(raw, f"{where}: {entry['Config']}").diff_ids
        if len(diff_ids) != len(layers):
            raise ArchiveError(
                f"{where}: lists {len(layers)} layers, its configuration {len(diff_ids)} diff ids"
            )
        config = Descriptor(OCI_CONFIG, Digest.of(raw), len(raw))
        self._made[config.digest] = raw
        blobs = [self._layer(*pair, where) for pair in zip(layers, diff_ids)]
        value = {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": config.as_json(),
            "layers": [blob.as_json() for blob in blobs],
        }
        made = as_json(value)
        root = Descriptor(OCI_MANIFEST, Digest.of(made), len(made))
        self._made[root.digest] = made
        return [
            ArchivedImage(tag or str(root.digest), _reference(tag), root, is_made=True)
            for tag in tags or [""]
        ]

    def _config(self, name: str, where: str) -> bytes:
        span = self._member(name, where)
        if span.size > MAX_MANIFEST:
            raise ArchiveError(f"{where}: {name} is too large for a configuration")
        raw, match = self.media.read(*span), _HEX.fullmatch(name)
        if match and Digest.of(raw).encoded != match[1]:
            self.media.require_sums()
            raise errors.DigestMismatchError(f"{where}: {name} does not match its name")
        return raw

    def _layer(self, name: str, diff_id: Digest, where: str) -> Descriptor:
        """Return the descriptor of a layer. One without compression has its diff id as digest, so it is not read here."""
        span = self._member(name, where)
        start = self.media.read(span.offset, min(8, span.size))
        for magic, kind in _OTHERS.items():
            if start.startswith(magic):
                raise ArchiveUnsupportedError(f"{where}: {name} is compressed with {kind}")
        media_type = next((kind for magic, kind in _LAYERS.items() if start.startswith(magic)), "")
        digest, match = diff_id, _HEX.fullmatch(name)
        if media_type:
            digest = Digest("sha256", match[1]) if match else self._hashed(span)
        self.blobs[digest] = span
        return Descriptor(media_type or _LAYER, digest, span.size)

    def _hashed(self, span: Span) -> Digest:
        found = hashlib.sha256()
        for piece in self.media.pieces(span.offset, span.offset + span.size):
            found.update(piece)
        return Digest("sha256", found.hexdigest())

    def _member(self, name: str, where: str) -> Span:
        span = self._spans.get(name)
        if span is None:
            if not self.is_whole:
                raise self.media.missing_error()
            raise ArchiveTruncatedError(f"{where}: the archive has no {shown(name)}")
        return span


def _image_of(root: Descriptor) -> ArchivedImage:
    notes = root.annotations
    names = [notes[key] for key in (IMAGE_NAME, REF_NAME) if notes.get(key)]
    reference = next(filter(None, map(_full, names)), None)
    platforms = tuple(filter(None, notes.get(PLATFORMS, "").split(",")))
    label = str(reference) if reference else (*names[-1:], str(root.digest))[0]
    return ArchivedImage(label, reference, root, platforms)


def _full(text: str) -> Reference | None:
    """Return the reference that a text is, None if it is only a tag or not a reference."""
    return _reference(text) if "/" in text else None


def _reference(text: str) -> Reference | None:
    with contextlib.suppress(errors.ReferenceError):
        return Reference.parse(text) if text else None
    return None
