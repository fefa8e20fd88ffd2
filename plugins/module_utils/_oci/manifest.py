# SPDX-License-Identifier: GPL-3.0-or-later
"""Manifests, indexes and image configurations: views over verified bytes, never written back."""

from __future__ import annotations

import json
import typing as t
from dataclasses import dataclass

from ansible_collections.lockstep.images.plugins.module_utils._oci.descriptor import (
    DOCKER_LIST,
    DOCKER_MANIFEST,
    INDEXES,
    MANIFESTS,
    OCI_INDEX,
    OCI_MANIFEST,
    Descriptor,
    media_type_of,
)
from ansible_collections.lockstep.images.plugins.module_utils._oci.digest import Digest
from ansible_collections.lockstep.images.plugins.module_utils._oci.errors import (
    DigestError,
    ManifestError,
    UnsupportedError,
)
from ansible_collections.lockstep.images.plugins.module_utils._oci.headers import printable
from ansible_collections.lockstep.images.plugins.module_utils._oci.platforms import Platform

# What containerd, c/image and oras accept; the specification asks for at least 4 MB.
MAX_MANIFEST = 4 * 1024 * 1024
_SCHEMA1 = "application/vnd.docker.distribution.manifest.v1"

ACCEPT = ", ".join((OCI_INDEX, DOCKER_LIST, OCI_MANIFEST, DOCKER_MANIFEST, "*/*"))
"""Without the whole list some registries convert, or answer with the amd64 child of an index."""


def parse_object(raw: bytes, where: str) -> dict[str, t.Any]:
    """Strict JSON object: UTF-8, no BOM, no duplicate keys, numbers within bounds, bounded depth.

    Raises ManifestError. Two parsers must never see two things in the same bytes.
    """
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as exc:
        raise ManifestError(f"{where} is not UTF-8") from exc
    try:
        value = json.loads(
            text, object_pairs_hook=_no_duplicates, parse_constant=_refuse, parse_int=_bounded_int
        )
    except ManifestError as exc:
        raise ManifestError(f"{where}: {exc}") from exc
    except ValueError as exc:
        raise ManifestError(f"{where} is not JSON: {exc}") from exc
    except RecursionError as exc:
        raise ManifestError(f"{where} is nested too deeply") from exc
    if not isinstance(value, dict):
        raise ManifestError(f"{where} is not a JSON object")
    return value


@dataclass(frozen=True)
class Manifest:
    """An image manifest or an index. ``raw`` is what was read, what is stored and what is sent.

    ``children`` are the entries of an index; ``config`` and ``layers`` belong to an image manifest.
    ``subject`` is known but not followed: an image does not need what it refers to.
    """

    media_type: str
    raw: bytes
    children: tuple[Descriptor, ...] = ()
    config: Descriptor | None = None
    layers: tuple[Descriptor, ...] = ()
    subject: Descriptor | None = None
    artifact_type: str = ""

    @classmethod
    def parse(cls, raw: bytes, content_type: str, where: str) -> Manifest:
        """Read and check one; ``content_type`` is what the registry or the descriptor called it."""
        value = parse_object(raw, where)
        _check_schema_version(value, where)
        media_type = _media_type(value, content_type, where)
        _check_annotations(value, where)
        subject = (
            Descriptor.from_json(value["subject"], f"{where}: subject")
            if value.get("subject")
            else None
        )
        artifact_type = value.get("artifactType", "")
        if not isinstance(artifact_type, str):
            raise ManifestError(f"{where}: artifactType is not a string")
        if media_type in INDEXES:
            children = _descriptors(value, "manifests", where)
            return cls(media_type, raw, children, subject=subject, artifact_type=artifact_type)
        config = Descriptor.from_json(value.get("config"), f"{where}: config")
        layers = _descriptors(value, "layers", where)
        _check_sizes((config, *layers), where)
        return cls(media_type, raw, (), config, layers, subject, artifact_type)

    @property
    def is_index(self) -> bool:
        return self.media_type in INDEXES

    @property
    def blobs(self) -> tuple[Descriptor, ...]:
        """Config and layers, in the order a runtime needs them."""
        return (self.config, *self.layers) if self.config else self.layers


@dataclass(frozen=True)
class ImageConfig:
    """What an image manifest's ``config`` says (OCI image-spec v1.1, config.md); ``value`` is all of it."""

    value: dict[str, t.Any]
    platform: Platform | None
    diff_ids: tuple[Digest, ...]

    @classmethod
    def parse(cls, raw: bytes, where: str) -> ImageConfig:
        """Read one; raises ManifestError when what we use of it has the wrong shape."""
        value = parse_object(raw, where)
        names = ("os", "architecture", "variant", "os.version", "created", "author")
        if not all(isinstance(value.get(name, ""), (str, type(None))) for name in names):
            raise ManifestError(f"{where}: os, architecture and created must be strings")
        rootfs = value.get("rootfs") or {}
        diff_ids = rootfs.get("diff_ids") if isinstance(rootfs, dict) else None
        if not isinstance(value.get("config") or {}, dict) or not isinstance(diff_ids or [], list):
            raise ManifestError(f"{where}: config and rootfs are not valid")
        try:
            parsed = tuple(Digest.parse(text) for text in diff_ids or ())
        except DigestError as exc:
            raise ManifestError(f"{where}: {exc}") from exc
        platform = None
        if value.get("os") and value.get("architecture"):
            platform = Platform.of(*(value.get(name) or "" for name in names[:4]))
        return cls(value, platform, parsed)

    @property
    def history(self) -> list[dict[str, t.Any]]:
        """The history entries that are objects; a wrong history harms nobody, so it is tolerated."""
        entries = self.value.get("history")
        return (
            [entry for entry in entries if isinstance(entry, dict)]
            if isinstance(entries, list)
            else []
        )


def _check_schema_version(value: dict[str, t.Any], where: str) -> None:
    version = value.get("schemaVersion")
    declared = value.get("mediaType")
    if (version == 1 and not isinstance(version, bool)) or str(declared).startswith(_SCHEMA1):
        raise _schema1(where)
    if isinstance(version, bool) or version != 2 or not isinstance(version, int):
        raise ManifestError(f"{where}: schemaVersion is {printable(repr(version))}, not 2")


def _schema1(where: str) -> UnsupportedError:
    return UnsupportedError(
        f"{where} is a Docker schema 1 manifest, which is not supported",
        hint="Push the image again with a current tool; schema 1 was retired in 2020.",
    )


def _media_type(value: dict[str, t.Any], content_type: str, where: str) -> str:
    """One answer from header, body and structure; a conflict is an attack or a bug (GHSA-77vh-xpmg-72qh)."""
    if "manifests" in value and ("layers" in value or "config" in value):
        raise ManifestError(f"{where} has the fields of both an index and an image manifest")
    structure = "index" if "manifests" in value else "image manifest"
    known = INDEXES | MANIFESTS
    outer = media_type_of(content_type)
    if outer.startswith(_SCHEMA1):
        raise _schema1(where)
    declared = value.get("mediaType")
    if declared is not None and not isinstance(declared, str):
        raise ManifestError(f"{where}: mediaType is not a string")
    inner = media_type_of(declared or "")
    if inner and inner not in known:
        raise UnsupportedError(
            f"{where} has the media type {printable(inner)}, which is no image manifest or index"
        )
    if outer in known and inner and inner != outer:
        raise ManifestError(f"{where} is called {outer} outside and {inner} inside")
    media_type = inner or (outer if outer in known else "")
    if not media_type:
        media_type = OCI_INDEX if structure == "index" else OCI_MANIFEST
    if (media_type in INDEXES) != (structure == "index"):
        raise ManifestError(f"{where} is called {media_type} but has the fields of an {structure}")
    return media_type


def _descriptors(value: dict[str, t.Any], key: str, where: str) -> tuple[Descriptor, ...]:
    entries = value.get(key)
    if not isinstance(entries, list):
        raise ManifestError(f"{where}: {key} is not a list")
    return tuple(
        Descriptor.from_json(entry, f"{where}: {key}[{n}]") for n, entry in enumerate(entries)
    )


def _check_annotations(value: dict[str, t.Any], where: str) -> None:
    annotations = value.get("annotations")
    if annotations is None:
        return
    if not isinstance(annotations, dict) or not all(
        isinstance(text, str) for text in annotations.values()
    ):
        raise ManifestError(f"{where}: annotations are not a map of strings")


def _check_sizes(descriptors: t.Iterable[Descriptor], where: str) -> None:
    sizes: dict[Digest, int] = {}
    for descriptor in descriptors:
        if sizes.setdefault(descriptor.digest, descriptor.size) != descriptor.size:
            raise ManifestError(f"{where}: {descriptor.digest} is listed with two sizes")


def _no_duplicates(pairs: list[tuple[str, t.Any]]) -> dict[str, t.Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ManifestError("a key stands twice in one object")
    return value


def _refuse(constant: str) -> t.Any:
    raise ManifestError(f"{constant} is not JSON")


def _bounded_int(text: str) -> int:
    if len(text) > 20:
        raise ManifestError("a number is too large")
    return int(text)
