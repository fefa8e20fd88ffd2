# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Build images for tests: the same arguments always result in the same bytes.

The compressed bytes of a layer depend on the build of zlib.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import random
import tarfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Union

from .bodies import digest_of
from .publish import push, upload

__all__ = [
    "CREATED", "Image", "Index", "Layer", "demo_image", "image", "index", "layer", "push",
    "sample_image", "upload",
]  # fmt: skip

CREATED = "2026-01-02T03:04:05Z"
MTIME = 1767323045
OCI = "application/vnd.oci.image."
DOCKER = "application/vnd.docker."
TYPES = {
    "manifest": (f"{OCI}manifest.v1+json", f"{DOCKER}distribution.manifest.v2+json"),
    "index": (f"{OCI}index.v1+json", f"{DOCKER}distribution.manifest.list.v2+json"),
    "config": (f"{OCI}config.v1+json", f"{DOCKER}container.image.v1+json"),
    "tar": (f"{OCI}layer.v1.tar", f"{DOCKER}image.rootfs.diff.tar"),
    "gzip": (f"{OCI}layer.v1.tar+gzip", f"{DOCKER}image.rootfs.diff.tar.gzip"),
    "zstd": (f"{OCI}layer.v1.tar+zstd", f"{OCI}layer.v1.tar+zstd"),
}


def to_json(document: Any) -> bytes:
    """Return compact JSON with sorted keys."""
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode("utf-8")


@dataclass(frozen=True)
class Layer:
    """One layer. ``diff_id`` is the digest of the uncompressed ``blob``."""

    blob: bytes
    media_type: str
    diff_id: str
    digest: str
    compression: str | None = "gzip"

    def descriptor(self, docker: bool = False) -> dict[str, Any]:
        """Return the layer's entry in a manifest."""
        media_type = self.media_type
        if docker and media_type in (TYPES["tar"][0], TYPES["gzip"][0]):
            media_type = TYPES[self.compression or "tar"][1]
        return {"mediaType": media_type, "digest": self.digest, "size": len(self.blob)}


@dataclass(frozen=True)
class Image:
    """One image. ``raw`` is its manifest, ``config`` its configuration, as bytes."""

    raw: bytes
    media_type: str
    digest: str
    config: bytes
    layers: tuple[Layer, ...]
    platform: dict[str, str] = field(default_factory=dict)

    @property
    def config_digest(self) -> str:
        """The digest of the configuration: the image's ID."""
        return digest_of(self.config)

    @property
    def size(self) -> int:
        """The size of manifest, configuration and layers in bytes."""
        blobs = {one.digest: len(one.blob) for one in self.layers}
        return len(self.raw) + len(self.config) + sum(blobs.values())

    @property
    def view(self) -> dict[str, Any]:
        """The manifest as a mapping."""
        return json.loads(self.raw)  # type: ignore[no-any-return]

    def blobs(self) -> Iterator[tuple[str, bytes]]:
        """Yield digest and bytes of config and layers."""
        yield self.config_digest, self.config
        for one in self.layers:
            yield one.digest, one.blob

    def manifests(self) -> Iterator[tuple[str, str, bytes]]:
        """Yield digest, media type and bytes of all manifests, this one last."""
        yield self.digest, self.media_type, self.raw

    def descriptor(self) -> dict[str, Any]:
        """Return the image's entry in an index."""
        entry: dict[str, Any] = {
            "mediaType": self.media_type,
            "digest": self.digest,
            "size": len(self.raw),
        }
        if self.platform:
            entry["platform"] = self.platform
        return entry


@dataclass(frozen=True)
class Index:
    """One index, and the images it lists (attestations among them)."""

    raw: bytes
    media_type: str
    digest: str
    images: tuple[Union[Image, Index], ...]

    @property
    def view(self) -> dict[str, Any]:
        """The index as a mapping."""
        return json.loads(self.raw)  # type: ignore[no-any-return]

    def blobs(self) -> Iterator[tuple[str, bytes]]:
        """Yield digest and bytes of all configs and layers."""
        for one in self.images:
            yield from one.blobs()

    def manifests(self) -> Iterator[tuple[str, str, bytes]]:
        """Yield digest, media type and bytes of all manifests, children first, this one last."""
        for one in self.images:
            yield from one.manifests()
        yield self.digest, self.media_type, self.raw

    def descriptor(self) -> dict[str, Any]:
        """Return the entry of this index in another index."""
        return {"mediaType": self.media_type, "digest": self.digest, "size": len(self.raw)}

    def for_platform(self, platform: str) -> Image:
        """Return the image for ``os/arch[/variant]``. Raise ``KeyError`` without one."""
        for one in self.images:
            if isinstance(one, Image) and one.platform == parse_platform(platform):
                return one
        raise KeyError(platform)


def parse_platform(platform: str) -> dict[str, str]:
    """Convert ``os/arch[/variant]`` into the mapping of an index; an empty text into {}."""
    return dict(zip(("os", "architecture", "variant"), filter(None, platform.split("/"))))


def layer(
    files: Mapping[str, bytes], compression: str | None = "gzip", media_type: str | None = None
) -> Layer:
    """Return a layer with these files (mode 0644, owner root, a fixed time).

    A name that ends in ``/`` makes a directory. A file in ``bin/`` can be executed. ``compression`` is ``gzip``, None,
    or ``zstd``, which needs the Python library zstandard.
    """
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name in sorted(files):
            entry = tarfile.TarInfo(name.rstrip("/"))
            entry.mtime = MTIME
            entry.mode = 0o644
            if name.startswith("bin/"):
                entry.mode = 0o755
            if name.endswith("/"):
                entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            entry.size = len(files[name])
            archive.addfile(entry, io.BytesIO(files[name]))
    tar = buffer.getvalue()
    blob = _compressed(tar, compression)
    if media_type is None:
        media_type = TYPES[compression or "tar"][0]
    return Layer(blob, media_type, digest_of(tar), digest_of(blob), compression)


def _compressed(tar: bytes, compression: str | None) -> bytes:
    if compression == "zstd":
        import zstandard

        return zstandard.ZstdCompressor().compress(tar)
    return gzip.compress(tar, 6, mtime=0) if compression == "gzip" else tar


def image(
    layers: Sequence[Layer],
    platform: str = "linux/amd64",
    config: Mapping[str, Any] | None = None,
    history: bool = True,
    docker: bool = False,
    annotations: Mapping[str, str] | None = None,
    **manifest: Any,
) -> Image:
    """Return an image of ``layers``, the lowest first.

    ``config`` overrides keys of the configuration (its key ``config`` holds the settings of a
    container). ``manifest`` overrides keys of the manifest, and None removes one:
    ``subject=...``, ``artifactType=...``, ``mediaType=None``.
    """
    place = parse_platform(platform)
    document: dict[str, Any] = {
        "created": CREATED,
        "config": {},
        "rootfs": {"type": "layers", "diff_ids": [one.diff_id for one in layers]},
        **place,
    }
    if history:
        document["history"] = [
            {"created": CREATED, "created_by": f"layer {number}"} for number in range(len(layers))
        ]
    document.update(config or {})
    raw_config = to_json(document)
    view: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": TYPES["manifest"][docker],
        "config": {
            "mediaType": TYPES["config"][docker],
            "digest": digest_of(raw_config),
            "size": len(raw_config),
        },
        "layers": [one.descriptor(docker) for one in layers],
    }
    if annotations:
        view["annotations"] = dict(annotations)
    view.update(manifest)
    raw = to_json({key: value for key, value in view.items() if value is not None})
    media_type = TYPES["manifest"][docker]
    return Image(raw, media_type, digest_of(raw), raw_config, tuple(layers), place)


def attestation(subject: Image) -> Image:
    """Return an attestation of ``subject`` as BuildKit writes it: an in-toto document as a layer."""
    statement = to_json(
        {
            "_type": "https://in-toto.io/Statement/v0.1",
            "predicateType": "https://slsa.dev/provenance/v0.2",
            "subject": [{"name": "_", "digest": {"sha256": subject.digest.partition(":")[2]}}],
            "predicate": {},
        }
    )
    digest = digest_of(statement)
    document = Layer(statement, "application/vnd.in-toto+json", digest, digest, None)
    return image([document], platform="unknown/unknown", history=False)


def index(
    images: Iterable[Image | Index],
    docker: bool = False,
    attestations: bool = False,
    annotations: Mapping[str, str] | None = None,
    **fields: Any,
) -> Index:
    """Return an index of ``images``; with ``attestations`` also of an attestation for each image.

    ``fields`` override keys of the index, and None removes one.
    """
    members = list(images)
    entries = [one.descriptor() for one in members]
    if attestations:
        for one in [member for member in members if isinstance(member, Image)]:
            proof = attestation(one)
            reference = {
                "vnd.docker.reference.type": "attestation-manifest",
                "vnd.docker.reference.digest": one.digest,
            }
            entries.append({**proof.descriptor(), "annotations": reference})
            members.append(proof)
    view: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": TYPES["index"][docker],
        "manifests": entries,
    }
    if annotations:
        view["annotations"] = dict(annotations)
    view.update(fields)
    raw = to_json({key: value for key, value in view.items() if value is not None})
    return Index(raw, TYPES["index"][docker], digest_of(raw), tuple(members))


def demo_image(
    name: str,
    version: str,
    platforms: Sequence[str] = ("linux/amd64", "linux/arm64"),
    layers: int = 3,
    size: int = 4096,
    docker: bool = False,
    attestations: bool = False,
) -> Index:
    """Return an index of small images, one for each platform.

    Each has ``layers`` layers of about ``size`` bytes. Only the last layer depends on ``version``.
    """
    members = []
    for platform in platforms:
        parts = []
        for number in range(layers):
            last = number == layers - 1
            seed = f"{name} {platform} {number} {version if last else ''}"
            noise = random.Random(int(hashlib.sha256(seed.encode()).hexdigest(), 16))
            files = {f"opt/{name}/part-{number}": noise.randbytes(size)}
            if last:
                files[f"opt/{name}/version"] = f"{version}\n".encode()
            parts.append(layer(files))
        settings = {"config": {"Labels": {"version": version}, "Cmd": [f"/opt/{name}/run"]}}
        members.append(image(parts, platform, settings, docker=docker))
    return index(members, docker=docker, attestations=attestations)


def sample_image(
    name: str, version: str, platforms: Sequence[str] = ("linux/amd64", "linux/arm64/v8")
) -> Index:
    """Return an index of small images with the same bytes on every machine: layers are uncompressed.

    Each image has two layers, and a history of three steps, of which the last made no layer.
    """
    members = []
    for platform in platforms:
        parts = [
            layer({f"opt/{name}/platform": f"{platform}\n".encode()}, compression=None),
            layer({f"opt/{name}/version": f"{version}\n".encode()}, compression=None),
        ]
        command = [f"/opt/{name}/run"]
        steps: list[dict[str, Any]] = [
            {"created": CREATED, "created_by": f"COPY platform /opt/{name}/", "comment": "sample"},
            {"created": CREATED, "created_by": f"COPY version /opt/{name}/"},
            {"created": CREATED, "created_by": f"CMD {to_json(command).decode()}"},
        ]
        steps[-1]["empty_layer"] = True
        settings = {
            "config": {
                "Cmd": command,
                "Env": ["PATH=/usr/bin:/bin"],
                "Labels": {"version": version},
            },
            "history": steps,
        }
        members.append(image(parts, platform, settings))
    return index(members)
