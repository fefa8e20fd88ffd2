# SPDX-License-Identifier: GPL-3.0-or-later
"""The images in an archive: those of its OCI image layout, or those of a docker-archive (moby, image/spec/v1.2).

A docker-archive has no manifests, so each image of one gets a manifest here, with equal bytes on every host.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import re
import sys
import typing as t

from .._image import errors
from .._image.escaped import shown
from .._image.lock import Lock, image_at
from .._image.manifest import (
    DECODER,
    MAX_MANIFEST,
    OCI_CONFIG,
    OCI_MANIFEST,
    Descriptor,
    ImageConfig,
    entries_of,
    parse_object,
)
from .._image.names import Digest, Reference
from .archive import DOCKER, IMAGE_NAME, INDEX, LOCK, PLATFORMS, REF_NAME, as_json
from .by_digest import packed, unpacked
from .errors import (
    ArchiveError,
    ArchiveIncompleteError,
    ArchiveTruncatedError,
    ArchiveUnsupportedError,
)
from .media import Media
from .members import Span, Spans, read_members

_LAYER = "application/vnd.oci.image.layer.v1.tar"
_LAYERS = {b"\x1f\x8b": f"{_LAYER}+gzip", b"\x28\xb5\x2f\xfd": f"{_LAYER}+zstd"}
_OTHERS = {b"BZh": "bzip2", b"\xfd7zXZ": "xz"}
_HEX = re.compile("(?:blobs/sha256/|sha256:)?([0-9a-f]{64})(?:[.]json)?")
_SPACE = re.compile("[ \t\r\n]*")
_MAX_JSON = 64 * 1024 * 1024  # bytes; an index with 100,000 names has about half


class ArchivedImage(t.NamedTuple):
    """An image of an archive. ``label`` is what the archive calls it: its full name, or another text.

    ``platforms`` are those that it was exported for, none if the archive does not say. ``is_made`` says that its
    manifest was made here. There may be very many, so the descriptor ``root`` is packed.
    """

    label: str
    media_type: str
    digest: bytes
    size: int
    platforms: tuple[str, ...] = ()
    is_made: bool = False

    @classmethod
    def of(cls, label: str, root: Descriptor, *rest: t.Any) -> ArchivedImage:
        """Return the image with this root."""
        return cls(label, sys.intern(root.media_type), packed(root.digest), root.size, *rest)

    @property
    def root(self) -> Descriptor:
        """The manifest or index that the name points at."""
        return Descriptor(self.media_type, unpacked(self.digest), self.size)

    @property
    def reference(self) -> Reference | None:
        """The name of the image, None if the archive does not have its full name."""
        return _full(self.label)


class ImageArchive:
    """An archive of images. ``blobs`` are the places of its content; what they have is verified by whoever reads it."""

    def __init__(self, media: Media) -> None:
        """Read what the archive has; raise ArchiveError if it is malformed, ChunkMissingError if its start is missing."""
        self.media = media
        self._spans, self.is_whole = read_members(media)
        self.blobs = self._spans.blobs
        self._made: dict[Digest, bytes] = {}
        if INDEX in self._spans:
            self.images = self._listed()
            self._require_locked()
        elif DOCKER in self._spans:
            self.images = self._docker_images()
        elif not self.is_whole:
            raise media.missing_error()
        else:
            raise ArchiveUnsupportedError(
                f"{media.where}: has neither index.json nor manifest.json, so it is not an archive of images"
            )

    def forget(self) -> None:
        """Release what is known of the archive."""
        self.images, self._spans = [], Spans()
        self.blobs = self._spans.blobs

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

    @contextlib.contextmanager
    def _as_archive_error(self) -> t.Iterator[None]:
        """Convert an error about JSON in the archive, or name the chunk that has other bytes than its list says."""
        try:
            yield
        except (errors.ManifestError, errors.LockError) as exc:
            self.media.require_sums()
            raise ArchiveError(str(exc)) from exc

    def _require_locked(self) -> None:
        """Raise ArchiveError unless a lock file in the archive is valid, and has the names of the index."""
        if LOCK not in self._spans:
            return
        where = f"{self.media.where}: {LOCK}"
        listed = {one.reference.store_name: one.digest for one in self.images if one.reference}
        named: set[str] = set()

        def compare(number: int, entry: t.Any) -> None:
            locked = image_at(entry, where, number)
            name, stated = locked.name, str(locked.digest)
            found = _shown(listed.pop(name, None))
            if name in named:
                raise ArchiveError(f"{where}: {name} is listed twice")
            if found != stated:
                raise ArchiveError(f"{where} has {stated} for {name}, index.json has {found}")
            named.add(name)

        with self._as_archive_error():
            Lock.parse(dict(each_entry(self._json(LOCK), "images", where, compare), file=where))
        for name, digest in listed.items():
            raise ArchiveError(f"{where} has nothing for {name}, index.json has {_shown(digest)}")

    def _listed(self) -> list[ArchivedImage]:
        """Return the images of index.json; raise ArchiveError for one name with two digests."""
        where = f"{self.media.where}: {INDEX}"
        found: dict[str, ArchivedImage] = {}

        def add(number: int, entry: t.Any) -> None:
            image = _image_of(Descriptor.from_json(entry, f"{where}: manifests[{number}]"))
            name = image.reference.store_name if image.reference else str(image.root.digest)
            known = found.setdefault(name, image)
            if known.digest != image.digest:
                raise ArchiveError(
                    f"{where}: {name} is {known.root.digest} and {image.root.digest}"
                )

        with self._as_archive_error():
            each_entry(self._json(INDEX), "manifests", where, add)
        return [*found.values()]

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
            ArchivedImage.of(_label([tag], _reference(tag), root), root, (), True)
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


def each_entry(
    raw: bytes, key: str, where: str, take: t.Callable[[int, t.Any], None]
) -> dict[str, t.Any]:
    """Call ``take`` with the number and the value of each entry of the list under a key; return the object without them.

    Raise ManifestError, which names ``where``, for anything but a JSON object with such a list. If it starts with this list,
    as in archives that ``image_export`` writes, only one entry is in memory: all need ten times the memory of their bytes.
    """
    start, number = f'{{"{key}":[', 0
    if not raw.startswith(start.encode()) or not _is_utf8(raw):
        value = parse_object(raw, where)
        for number, entry in enumerate(entries_of(value, key, where)):
            take(number, entry)
        return {name: [] if name == key else one for name, one in value.items()}
    text = raw.decode("utf-8")
    del raw
    at = _after_space(text, len(start))
    is_entry = text[at : at + 1] != "]"
    while is_entry:
        try:
            entry, at = DECODER.raw_decode(text, at)
        except (ValueError, RecursionError, errors.ManifestError):
            parse_object(text.encode(), where)  # raises the error
            raise
        take(number, entry)
        number, at = number + 1, _after_space(text, at)
        is_entry = text[at : at + 1] == ","
        at = _after_space(text, at + 1) if is_entry else at
    return parse_object((start + text[at:]).encode(), where)


def _is_utf8(raw: bytes) -> bool:
    with contextlib.suppress(UnicodeDecodeError):
        return bool(raw.decode("utf-8"))
    return False


def _after_space(text: str, at: int) -> int:
    return t.cast("re.Match[str]", _SPACE.match(text, at)).end()


def _image_of(root: Descriptor) -> ArchivedImage:
    notes = root.annotations
    names = [notes[key] for key in (IMAGE_NAME, REF_NAME) if notes.get(key)]
    reference = next(filter(None, map(_full, names)), None)
    return ArchivedImage.of(
        _label(names[-1:], reference, root), root, _platforms_in(notes.get(PLATFORMS, ""))
    )


@functools.lru_cache(maxsize=64)  # very many images have the same
def _platforms_in(text: str) -> tuple[str, ...]:
    return tuple(filter(None, text.split(",")))


def _shown(digest: bytes | None) -> str:
    return str(unpacked(digest)) if digest else "nothing"


def _label(names: t.Sequence[str], reference: Reference | None, root: Descriptor) -> str:
    return str(reference) if reference else [*filter(None, names), str(root.digest)][0]


def _full(text: str) -> Reference | None:
    """Return the reference that a text is, None if it is only a tag or not a reference."""
    return _reference(text) if "/" in text else None


def _reference(text: str) -> Reference | None:
    with contextlib.suppress(errors.ReferenceError):
        return Reference.parse(text) if text else None
    return None
