# SPDX-License-Identifier: GPL-3.0-or-later
"""Manifests, indexes and image configurations (image-spec v1.1): parsed strictly, stored and sent as the same bytes."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import typing as t

from . import errors
from .names import Digest, Platform

_OCI, _DOCKER = "application/vnd.oci.image.", "application/vnd.docker."
OCI_INDEX = f"{_OCI}index.v1+json"
OCI_MANIFEST = f"{_OCI}manifest.v1+json"
OCI_CONFIG = f"{_OCI}config.v1+json"
DOCKER_LIST = f"{_DOCKER}distribution.manifest.list.v2+json"
DOCKER_MANIFEST = f"{_DOCKER}distribution.manifest.v2+json"
DOCKER_CONFIG = f"{_DOCKER}container.image.v1+json"
INDEXES = (OCI_INDEX, DOCKER_LIST)
MANIFESTS = (OCI_MANIFEST, DOCKER_MANIFEST)
_SCHEMA1 = f"{_DOCKER}distribution.manifest.v1"
_FOREIGN = re.compile(r"\.(?:foreign\.diff|nondistributable\.v1)\.tar")
# Without the whole list some registries convert manifests, or answer with the amd64 child of an index.
ACCEPT = ", ".join((*INDEXES, *MANIFESTS, "*/*"))
# In bytes, as containerd, c/image and oras; registries must accept 4 MB (distribution-spec v1.1, "Pushing Manifests").
MAX_MANIFEST = 4 * 1024 * 1024
_NAME = "[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}"
_MEDIA_TYPE = re.compile(rf"{_NAME}/{_NAME}(?:[ \t]*;[\t -~]*)?")


def media_type_of(text: str) -> str:
    """Return a media type for comparison: in lower case, without parameters."""
    return text.split(";", 1)[0].strip().lower()


class Descriptor(t.NamedTuple):
    """Media type, digest and size (in bytes) of content (image-spec v1.1, descriptor.md).

    Two descriptors are equal if these three are; the fields that an index adds are not compared.
    """

    media_type: str
    digest: Digest
    size: int
    platform: Platform | None = None
    annotations: t.Mapping[str, str] = {}
    data: bytes | None = None
    urls: tuple[str, ...] = ()
    artifact_type: str = ""  # only in a list of referrers

    @classmethod
    def from_json(cls, value: t.Any, where: str) -> Descriptor:
        """Return the descriptor that a JSON value states; raise ManifestError, which names ``where``, for anything else."""
        if not isinstance(value, dict):
            raise errors.ManifestError(f"{where} is not a JSON object")
        media_type, size = value.get("mediaType"), value.get("size")
        if not isinstance(media_type, str) or not _MEDIA_TYPE.fullmatch(media_type):
            raise errors.ManifestError(
                f"{where}: mediaType {errors.printable(repr(media_type))} is not a media type"
            )
        if isinstance(size, bool) or not isinstance(size, int) or not 0 <= size < 2**63:
            raise errors.ManifestError(f"{where}: size is not a number of bytes")
        digest = _digests([value.get("digest")], where)[0]
        platform = _platform(value.get("platform"), where)
        data = _data(value.get("data"), digest, size, where)
        # Only foreign layers use them, so an invalid list is harmless.
        given = value.get("urls")
        listed = given if isinstance(given, list) else ()
        urls = tuple(url for url in listed if isinstance(url, str))
        return cls(media_type, digest, size, platform, _annotations(value, where), data, urls)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Descriptor) and self[:3] == other[:3]

    def __ne__(self, other: object) -> bool:  # that of a tuple compares all fields
        return not self == other

    def __hash__(self) -> int:
        return hash(self[:3])

    def __repr__(self) -> str:  # URLs can have secrets
        return repr(self[:3])

    @property
    def is_index(self) -> bool:
        """Whether the media type is that of an index."""
        return media_type_of(self.media_type) in INDEXES

    @property
    def is_manifest(self) -> bool:
        """Whether the media type is that of an image manifest."""
        return media_type_of(self.media_type) in MANIFESTS

    @property
    def is_image_config(self) -> bool:
        """Whether the media type is that of an image configuration."""
        return media_type_of(self.media_type) in (OCI_CONFIG, DOCKER_CONFIG)

    @property
    def is_foreign(self) -> bool:
        """Whether the media type is that of a non-distributable layer, which registries need not have."""
        return bool(_FOREIGN.search(media_type_of(self.media_type)))

    def as_json(self) -> dict[str, t.Any]:
        """Return the three fields that every descriptor has, under the keys of the specification."""
        return {"mediaType": self.media_type, "digest": str(self.digest), "size": self.size}

    def as_result(self) -> dict[str, t.Any]:
        """Return the three fields as modules return them: digest, media_type, size."""
        return {"digest": str(self.digest), "media_type": self.media_type, "size": self.size}


class BlobHash:
    """The hash of a blob, whose bytes come from the first to the last; ``hashed`` of them so far."""

    def __init__(self, blob: Descriptor) -> None:
        self._blob = blob
        self.reset()

    def reset(self) -> None:
        """Start again with the first byte."""
        self.hashed, self._hash = 0, hashlib.new(self._blob.digest.algorithm)

    def update(self, chunk: bytes | memoryview) -> None:
        """Add the next bytes; raise SizeMismatchError for more than the size of the blob."""
        self.hashed += len(chunk)
        if self.hashed > self._blob.size:
            raise errors.SizeMismatchError(
                f"{self._blob.digest} is longer than the {self._blob.size} bytes promised"
            )
        self._hash.update(chunk)

    def require_match(self) -> None:
        """Raise TruncatedError if bytes are missing, DigestMismatchError if the digest is wrong."""
        digest, size = self._blob.digest, self._blob.size
        if self.hashed < size:
            raise errors.TruncatedError(f"{digest} ended after {self.hashed} of {size} bytes")
        got = self._hash.hexdigest()
        if got != digest.encoded:
            raise errors.DigestMismatchError(
                f"{digest}: the {size} bytes received have the digest {digest.algorithm}:{got}"
            )


def verified(chunks: t.Iterable[bytes], descriptor: Descriptor) -> t.Iterator[bytes]:
    """Yield the chunks unchanged; raise a ContentError as soon as size or digest cannot match, at the end at the latest."""
    hashed = BlobHash(descriptor)
    for chunk in chunks:
        hashed.update(chunk)
        yield chunk
    hashed.require_match()


class Manifest(t.NamedTuple):
    """An image manifest or an index; ``raw`` has the bytes that are stored and sent."""

    media_type: str
    raw: bytes
    children: tuple[Descriptor, ...] = ()
    config: Descriptor | None = None
    layers: tuple[Descriptor, ...] = ()
    subject: Descriptor | None = None
    annotations: t.Mapping[str, str] = {}
    artifact_type: str = ""

    @classmethod
    def parse(cls, raw: bytes, content_type: str, where: str) -> Manifest:
        """Return the manifest in ``raw``.

        ``content_type`` is the media type that the server or the index states, "" if unknown. Raise ManifestError,
        which names ``where``, if the manifest is invalid or has another type, UnsupportedError for Docker schema 1
        and for other content than a manifest.
        """
        value = parse_object(raw, where)
        outer, version = media_type_of(content_type), value.get("schemaVersion")
        _refuse_schema_1(value, outer, where)
        if not isinstance(version, int) or version != 2:
            raise errors.ManifestError(
                f"{where}: schemaVersion is {errors.printable(repr(version))}, not 2"
            )
        media_type = _media_type(value, outer, where)
        artifact_type = value.get("artifactType")
        if not isinstance(artifact_type, (str, type(None))):
            raise errors.ManifestError(f"{where}: artifactType is not a string")
        said = (_annotations(value, where), artifact_type or "")
        subject = None
        if value.get("subject"):
            subject = Descriptor.from_json(value["subject"], f"{where}: subject")
        if media_type in INDEXES:
            children = _descriptors(value, "manifests", where)
            return cls(media_type, raw, children, None, (), subject, *said)
        config = Descriptor.from_json(value.get("config"), f"{where}: config")
        layers = _descriptors(value, "layers", where)
        sizes: dict[Digest, int] = {}
        for blob in (config, *layers):
            if sizes.setdefault(blob.digest, blob.size) != blob.size:
                raise errors.ManifestError(f"{where}: {blob.digest} is listed with two sizes")
        return cls(media_type, raw, (), config, layers, subject, *said)

    @property
    def is_index(self) -> bool:
        """Whether this is an index."""
        return self.media_type in INDEXES

    @property
    def blobs(self) -> tuple[Descriptor, ...]:
        """Return the descriptors of the configuration and the layers."""
        return (self.config, *self.layers) if self.config else self.layers


class ImageConfig(t.NamedTuple):
    """The configuration of an image (image-spec v1.1, config.md); ``value`` has all fields.

    ``platform`` is None if the configuration lacks the operating system or the architecture.
    """

    value: dict[str, t.Any]
    platform: Platform | None
    diff_ids: tuple[Digest, ...]

    @classmethod
    def parse(cls, raw: bytes, where: str) -> ImageConfig:
        """Return the configuration in ``raw``; raise ManifestError, which names ``where``, if it is invalid."""
        value = parse_object(raw, where)
        names = ("os", "architecture", "variant", "os.version", "created", "author")
        if not all(isinstance(value.get(name) or "", str) for name in names):
            raise errors.ManifestError(f"{where}: os, architecture and created must be strings")
        rootfs = value.get("rootfs") or {}
        if not isinstance(value.get("config") or {}, dict) or not isinstance(rootfs, dict):
            raise errors.ManifestError(f"{where}: config and rootfs are not valid")
        diff_ids = entries_of(rootfs, "diff_ids", where)
        os_name, architecture, variant, version = [value.get(name) or "" for name in names[:4]]
        platform = Platform.of(os_name, architecture, variant, version)
        known = platform if platform.os and platform.architecture else None
        return cls(value, known, _digests(diff_ids, where))


def parse_object(raw: bytes, where: str) -> dict[str, t.Any]:
    """Return the JSON object in ``raw``; raise ManifestError, which names ``where``, for anything else.

    What two parsers could read differently is an error: duplicate keys, NaN, integers of more than 20 digits.
    """
    try:
        value = DECODER.decode(raw.decode())
    except UnicodeDecodeError as exc:
        raise errors.ManifestError(f"{where} is not UTF-8") from exc
    except (ValueError, errors.ManifestError) as exc:
        raise errors.ManifestError(f"{where} is not valid JSON: {exc}") from exc
    except RecursionError as exc:
        raise errors.ManifestError(f"{where} is nested too deeply") from exc
    if not isinstance(value, dict):
        raise errors.ManifestError(f"{where} is not a JSON object")
    return value


def entries_of(value: t.Mapping[str, t.Any], key: str, where: str) -> list[t.Any]:
    """Return the list under a key; raise ManifestError if there is something else.

    A missing key and null are an empty list, as in Go, whose tools write null.
    """
    found = value.get(key)
    if found is None:
        return []
    if not isinstance(found, list):
        raise errors.ManifestError(f"{where}: {key} is not a list")
    return found


def mismatch(raw: bytes, content_type: str, actual: Digest, where: str) -> errors.ContentError:
    """Return the error for a manifest that does not have the requested digest but the digest ``actual``.

    That is UnsupportedError for a Docker schema 1 manifest: its digest leaves out the signatures in it.
    """
    try:
        _refuse_schema_1(parse_object(raw, where), media_type_of(content_type), where)
    except errors.UnsupportedError as exc:
        return exc
    except errors.ManifestError:
        pass  # not even a manifest
    return errors.DigestMismatchError(
        f"{where}: the {len(raw)} bytes received have the digest {actual}"
    )


def _refuse_schema_1(value: dict[str, t.Any], outer: str, where: str) -> None:
    version = value.get("schemaVersion")
    types = (outer, str(value.get("mediaType")))
    if any(name.startswith(_SCHEMA1) for name in types) or (version == 1 and version is not True):
        raise errors.UnsupportedError(
            f"{where} is a Docker schema 1 manifest, which is not supported",
            "Push the image again with a current tool; schema 1 was retired in 2020.",
        )


def _media_type(value: dict[str, t.Any], outer: str, where: str) -> str:
    """Return the media type of a manifest; raise ManifestError if its parts contradict each other.

    That is an attack or a bug (GHSA-77vh-xpmg-72qh).
    """
    is_index, is_image = "manifests" in value, "layers" in value or "config" in value
    if is_index and is_image:
        raise errors.ManifestError(f"{where} has the fields of both an index and an image manifest")
    known = INDEXES + MANIFESTS
    outer = outer if outer in known else ""
    declared = value.get("mediaType")
    if not isinstance(declared, (str, type(None))):
        raise errors.ManifestError(f"{where}: mediaType is not a string")
    inner = media_type_of(declared or "")
    if inner and inner not in known:
        raise errors.UnsupportedError(
            f"{where} has the media type {errors.printable(inner)}, not that of a manifest or index"
        )
    if outer and inner and inner != outer:
        raise errors.ManifestError(f"{where} is declared as {outer}, its mediaType is {inner}")
    media_type = inner or outer or (OCI_INDEX if is_index else OCI_MANIFEST)
    # To have neither kind of field is not a contradiction: an index may list nothing.
    if is_image if media_type in INDEXES else is_index:
        structure = "index" if is_index else "image manifest"
        raise errors.ManifestError(
            f"{where} has the type {media_type}, but the fields of an {structure}"
        )
    return media_type


def _descriptors(value: dict[str, t.Any], key: str, where: str) -> tuple[Descriptor, ...]:
    entries = enumerate(entries_of(value, key, where))
    return tuple(Descriptor.from_json(entry, f"{where}: {key}[{n}]") for n, entry in entries)


def _digests(texts: t.Iterable[t.Any], where: str) -> tuple[Digest, ...]:
    try:
        return tuple(Digest.parse(text) for text in texts)
    except errors.DigestError as exc:
        raise errors.ManifestError(f"{where}: {exc}") from exc


def _platform(value: t.Any, where: str) -> Platform | None:
    if value is None:
        return None
    if not isinstance(value, dict):
        raise errors.ManifestError(f"{where}: platform is not valid")
    parts = ("os", "architecture", "variant", "os.version")
    features = entries_of(value, "os.features", f"{where}: platform")
    texts = ["" if value.get(part) is None else value[part] for part in parts]
    if not all(isinstance(text, str) for text in [*texts, *features]):
        raise errors.ManifestError(f"{where}: platform is not valid")
    os_name, architecture, variant, version = texts
    platform = Platform.of(os_name, architecture, variant, version, features)
    return platform if texts[0] and texts[1] else None


def _annotations(value: dict[str, t.Any], where: str) -> dict[str, str]:
    """Return the annotations; null is an empty map, and null in it an empty text."""
    annotations = value.get("annotations")
    annotations = {} if annotations is None else annotations
    if not isinstance(annotations, dict) or not all(
        isinstance(text, (str, type(None))) for text in annotations.values()
    ):
        raise errors.ManifestError(f"{where}: annotations are not a map of strings")
    return {key: text or "" for key, text in annotations.items()}


def _data(value: t.Any, digest: Digest, size: int, where: str) -> bytes | None:
    if value is None:
        return None
    try:
        data = base64.b64decode(value, validate=True)
    except (TypeError, ValueError) as exc:
        raise errors.ManifestError(f"{where}: data is not base64") from exc
    if len(data) != size or not digest.matches(data):
        raise errors.ManifestError(f"{where}: data does not match its digest {digest}")
    return data


def _no_duplicates(pairs: list[tuple[str, t.Any]]) -> dict[str, t.Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise errors.ManifestError("an object has duplicate keys")
    return value


def _refuse(constant: str) -> t.Any:
    raise errors.ManifestError(f"{constant} is not allowed")


def _bounded_int(text: str) -> int:
    return int(text) if len(text) <= 20 else _refuse("a number of over 20 digits")


# Refuses what two parsers could read differently: duplicate keys, NaN, integers of more than 20 digits.
DECODER = json.JSONDecoder(
    object_pairs_hook=_no_duplicates, parse_constant=_refuse, parse_int=_bounded_int
)
