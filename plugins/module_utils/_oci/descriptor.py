# SPDX-License-Identifier: GPL-3.0-or-later
"""Descriptors: what we were promised (OCI image-spec v1.1, descriptor.md)."""

from __future__ import annotations

import base64
import binascii
import re
import typing as t
from dataclasses import dataclass, field

from ansible_collections.lockstep.images.plugins.module_utils._oci.digest import Digest
from ansible_collections.lockstep.images.plugins.module_utils._oci.errors import (
    DigestError,
    ManifestError,
)
from ansible_collections.lockstep.images.plugins.module_utils._oci.headers import printable
from ansible_collections.lockstep.images.plugins.module_utils._oci.platforms import Platform

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
INDEXES = frozenset((OCI_INDEX, DOCKER_LIST))
MANIFESTS = frozenset((OCI_MANIFEST, DOCKER_MANIFEST))

MAX_SIZE = 2**63 - 1

# RFC 6838 4.2, and parameters behind it.
_NAME = "[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}"
_MEDIA_TYPE = re.compile(rf"{_NAME}/{_NAME}(?:[ \t]*;[\t -~]*)?")


def media_type_of(text: str) -> str:
    """A media type for comparison: no parameters, lower case."""
    return text.split(";", 1)[0].strip().lower()


@dataclass(frozen=True)
class Descriptor:
    """Media type, digest and size (bytes) of content, with what an index adds to it.

    Two descriptors are equal when they promise the same bytes of the same type.
    """

    media_type: str
    digest: Digest
    size: int
    platform: Platform | None = field(default=None, compare=False)
    annotations: t.Mapping[str, str] = field(default_factory=dict, compare=False)
    data: bytes | None = field(default=None, compare=False, repr=False)

    @classmethod
    def from_json(cls, value: t.Any, where: str) -> Descriptor:
        """Read one from parsed JSON; ``where`` names it in the ManifestError."""
        if not isinstance(value, dict):
            raise ManifestError(f"{where} is not a JSON object")
        media_type, size = value.get("mediaType"), value.get("size")
        if not isinstance(media_type, str) or not _MEDIA_TYPE.fullmatch(media_type):
            raise ManifestError(
                f"{where}: mediaType {printable(repr(media_type))} is not a media type"
            )
        if isinstance(size, bool) or not isinstance(size, int) or not 0 <= size <= MAX_SIZE:
            raise ManifestError(f"{where}: size is not a number of bytes")
        try:
            digest = Digest.parse(value.get("digest"))
        except DigestError as exc:
            raise ManifestError(f"{where}: {exc}") from exc
        return cls(
            media_type,
            digest,
            size,
            _platform(value.get("platform"), where),
            _annotations(value.get("annotations"), where),
            _data(value.get("data"), digest, size, where),
        )

    @property
    def is_index(self) -> bool:
        return media_type_of(self.media_type) in INDEXES

    @property
    def is_manifest(self) -> bool:
        return media_type_of(self.media_type) in MANIFESTS

    @property
    def is_image_config(self) -> bool:
        """Whether this is the configuration of an image, not of some other artifact."""
        return media_type_of(self.media_type) in (OCI_CONFIG, DOCKER_CONFIG)

    def as_json(self) -> dict[str, t.Any]:
        """The three fields every descriptor has, as JSON spells them."""
        return {"mediaType": self.media_type, "digest": str(self.digest), "size": self.size}

    def as_result(self) -> dict[str, t.Any]:
        """What a playbook sees of it."""
        return {"digest": str(self.digest), "media_type": self.media_type, "size": self.size}


def _platform(value: t.Any, where: str) -> Platform | None:
    if value is None:
        return None
    parts = ("os", "architecture", "variant", "os.version")
    if not isinstance(value, dict) or not all(
        isinstance(value.get(part, ""), str) for part in parts
    ):
        raise ManifestError(f"{where}: platform is not valid")
    features = value.get("os.features") or []
    if not isinstance(features, list) or not all(isinstance(feature, str) for feature in features):
        raise ManifestError(f"{where}: platform os.features is not a list of strings")
    if not value.get("os") or not value.get("architecture"):
        return None
    os_name, architecture, variant, version = (value.get(part, "") for part in parts)
    return Platform.of(os_name, architecture, variant, version, features)


def _annotations(value: t.Any, where: str) -> dict[str, str]:
    if value is None:
        return {}
    if not isinstance(value, dict) or not all(isinstance(text, str) for text in value.values()):
        raise ManifestError(f"{where}: annotations are not a map of strings")
    return value


def _data(value: t.Any, digest: Digest, size: int, where: str) -> bytes | None:
    """Content that travels in its descriptor (descriptor.md, "data"): it must be what the descriptor says."""
    if value is None:
        return None
    try:
        data = base64.b64decode(value, validate=True)
    except (binascii.Error, TypeError, ValueError) as exc:
        raise ManifestError(f"{where}: data is not base64") from exc
    if len(data) != size or not digest.matches(data):
        raise ManifestError(f"{where}: data does not match its digest {digest}")
    return data
