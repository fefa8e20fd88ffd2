# SPDX-License-Identifier: GPL-3.0-or-later
"""Make signatures: a payload and its layer as cosign 2 stores them, and a bundle with its referrer as cosign 3 does."""

from __future__ import annotations

import base64
import hashlib
import json
import typing as t

from .._image.artifacts import BUNDLE_NOTE, COSIGN_PAYLOAD, COSIGN_PREDICATE, STATEMENT
from .._image.manifest import (  # fmt: skip
    DOCKER_CONFIG,
    DOCKER_MANIFEST,
    OCI_CONFIG,
    OCI_MANIFEST,
    Descriptor,
    Manifest,
)
from .._image.names import Digest
from .bundle import BUNDLE_TYPE, envelope_bytes
from .claims import COSIGN_TYPE, STATEMENTS
from .cosign import SIGNATURE
from .private_key import PrivateKey

EMPTY = "application/vnd.oci.empty.v1+json"
_CONTENT_NOTE = "dev.sigstore.bundle.content"
_LONG_AGO = "0001-01-01T00:00:00Z"
Annotations = t.Mapping[str, str]


class Made(t.NamedTuple):
    """Bytes that were made, with their descriptor."""

    descriptor: Descriptor
    raw: bytes


def made(media_type: str, raw: bytes, annotations: Annotations | None = None) -> Made:
    """Return bytes with their descriptor."""
    return Made(
        Descriptor(media_type, Digest.of(raw), len(raw), annotations=annotations or {}), raw
    )


def signed_payload(key: PrivateKey, name: str, digest: Digest, annotations: Annotations) -> Made:
    """Return the layer with the signature of a simple-signing payload for a digest under a name (cosign specs/SIGNATURE_SPEC.md)."""
    raw = _json(
        {
            "critical": {
                "identity": {"docker-reference": name},
                "image": {"docker-manifest-digest": str(digest)},
                "type": COSIGN_TYPE,
            },
            "optional": dict(sorted(annotations.items())) or None,
        }
    )
    return made(COSIGN_PAYLOAD, raw, {SIGNATURE: _base64(key.sign(raw))})


def with_layer(manifest: Manifest | None, layer: Made) -> tuple[Manifest, Made | None]:
    """Return the manifest of a ``.sig`` tag with one more layer, and its new configuration.

    Everything else in the manifest is kept. A configuration that is not that of an image is kept, too, and None returned.
    """
    value: dict[str, t.Any] = {"schemaVersion": 2, "mediaType": OCI_MANIFEST}
    if manifest:
        value = json.loads(manifest.raw)
    entry = {**layer.descriptor.as_json(), "annotations": dict(layer.descriptor.annotations)}
    value["layers"] = [*(value.get("layers") or ()), entry]
    if manifest and manifest.config and not manifest.config.is_image_config:
        return _manifest(value), None
    digests = [one["digest"] for one in value["layers"]]
    config = made(
        DOCKER_CONFIG if value.get("mediaType") == DOCKER_MANIFEST else OCI_CONFIG,
        _json(
            {
                "architecture": "",
                "config": {},
                "created": _LONG_AGO,
                "history": [{"created": _LONG_AGO} for _one in digests],
                "os": "",
                "rootfs": {"type": "layers", "diff_ids": digests},
            }
        ),
    )
    return _manifest({**value, "config": config.descriptor.as_json()}), config


def signed_bundle(
    key: PrivateKey, subject: Descriptor, annotations: Annotations
) -> tuple[Manifest, tuple[Made, Made]]:
    """Return the referrer of a subject that holds its signature as a bundle, and its two blobs (cosign specs/BUNDLE_SPEC.md)."""
    about: dict[str, t.Any] = {"digest": {subject.digest.algorithm: subject.digest.encoded}}
    if annotations:
        about["annotations"] = dict(sorted(annotations.items()))
    payload = _json(
        {
            "_type": STATEMENTS[-1],
            "subject": [about],
            "predicateType": COSIGN_PREDICATE,
            "predicate": {},
        }
    )
    bundle = {
        "mediaType": BUNDLE_TYPE,
        "verificationMaterial": {
            "publicKey": {"hint": _base64(hashlib.sha256(key.public.der).digest())}
        },
        "dsseEnvelope": {
            "payload": _base64(payload),
            "payloadType": STATEMENT,
            "signatures": [{"sig": _base64(key.sign(envelope_bytes(payload)))}],
        },
    }
    layer, config = made(BUNDLE_TYPE, _json(bundle)), made(EMPTY, b"{}")
    manifest = _manifest(
        {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "artifactType": BUNDLE_TYPE,
            "config": config.descriptor.as_json(),
            "layers": [layer.descriptor.as_json()],
            "subject": subject.as_json(),
            "annotations": {_CONTENT_NOTE: "dsse-envelope", BUNDLE_NOTE: COSIGN_PREDICATE},
        }
    )
    return manifest, (layer, config)


def _manifest(value: t.Mapping[str, t.Any]) -> Manifest:
    return Manifest.parse(_json(value), str(value["mediaType"]), "signature")


def _json(value: t.Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode("ascii")


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
