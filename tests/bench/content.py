# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The images to pull: large ones, generated once and kept in a cache, and small ones.

The layers are gzipped tar archives of many files, which are half noise and half text. They are about as
compressible as real images, and every tool can unpack them.
"""

from __future__ import annotations

import concurrent.futures
import gzip
import hashlib
import io
import json
import random
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from ansible_collections.lockstep.images.tests.support.bodies import digest_of
from ansible_collections.lockstep.images.tests.support.images import (
    CREATED,
    MTIME,
    TYPES,
    demo_image,
    image,
    index,
    layer,
    to_json,
    upload,
)
from ansible_collections.lockstep.images.tests.support.services_process import Service

MB = 1_000_000
# Raise this number with every change of the recipe below, so that a cache of an older recipe is not used.
RECIPE = 1
# Of related images: how many different layers are the lowest one, and the second one.
BASES, RUNTIMES = 5, 20
_FILE = 64 << 10
_NOISE = 24 << 10


@dataclass(frozen=True)
class StoredLayer:
    """A layer in the cache."""

    path: str
    digest: str
    size: int
    diff_id: str

    def descriptor(self) -> dict[str, Any]:
        """Return its entry in a manifest."""
        return {"mediaType": TYPES["gzip"][0], "digest": self.digest, "size": self.size}


@dataclass(frozen=True)
class LargeImage:
    """An image whose layers are in the cache."""

    layers: tuple[StoredLayer, ...]
    config: bytes
    raw: bytes

    @property
    def digest(self) -> str:
        """The digest of the manifest."""
        return digest_of(self.raw)

    @property
    def size(self) -> int:
        """The size of manifest, configuration and layers in bytes."""
        return len(self.raw) + len(self.config) + sum(layer.size for layer in self.layers)

    def blobs(self) -> Iterator[tuple[str, bytes]]:
        """Yield digest and bytes of the configuration and each layer."""
        yield digest_of(self.config), self.config
        for one in self.layers:
            yield one.digest, Path(one.path).read_bytes()

    def manifests(self) -> Iterator[tuple[str, str, bytes]]:
        """Yield digest, media type and bytes of the manifest."""
        yield self.digest, TYPES["manifest"][0], self.raw


def large_image(cache: Path, layers: Sequence[tuple[str, int]]) -> LargeImage:
    """Return an image with one layer for each pair of seed and size in bytes, the lowest layer first."""
    cache.mkdir(parents=True, exist_ok=True)
    with concurrent.futures.ProcessPoolExecutor() as pool:
        seeds, sizes = zip(*layers)
        made = tuple(pool.map(_stored_layer, [cache] * len(layers), seeds, sizes))
    config = to_json(
        {
            "created": CREATED,
            "os": "linux",
            "architecture": "amd64",
            "config": {},
            "rootfs": {"type": "layers", "diff_ids": [layer.diff_id for layer in made]},
        }
    )
    manifest = {
        "schemaVersion": 2,
        "mediaType": TYPES["manifest"][0],
        "config": {
            "mediaType": TYPES["config"][0],
            "digest": digest_of(config),
            "size": len(config),
        },
        "layers": [layer.descriptor() for layer in made],
    }
    return LargeImage(made, config, to_json(manifest))


def _stored_layer(cache: Path, seed: str, size: int) -> StoredLayer:
    """Return a layer from the cache; generate it if it is missing."""
    path = cache / f"{RECIPE}-{seed}-{size}.tar.gz"
    facts = path.with_suffix(".json")
    if not facts.exists():
        staged = path.with_suffix(".new")
        layer = _make_layer(seed, size, staged, path)
        staged.replace(path)
        facts.write_text(json.dumps(asdict(layer)))  # last, because it marks the layer as complete
    return StoredLayer(**{**json.loads(facts.read_text()), "path": str(path)})


class _Hashing(io.RawIOBase):
    """Hash data and write it to `target`."""

    def __init__(self, target: Any) -> None:
        self.target = target
        self.hash = hashlib.sha256()

    def writable(self) -> bool:
        """Return True."""
        return True

    def write(self, data: Any) -> int:
        """Hash the data and write it to the target."""
        self.hash.update(data)
        self.target.write(data)
        return len(data)


def _make_layer(seed: str, size: int, staged: Path, path: Path) -> StoredLayer:
    """Write files into a layer until it has the given size."""
    with staged.open("wb") as output:
        compressed = _Hashing(output)
        with gzip.GzipFile("", "wb", 1, compressed, mtime=0) as packer:
            plain = _Hashing(packer)
            with tarfile.open(fileobj=plain, mode="w|", format=tarfile.PAX_FORMAT) as archive:
                for name, content in _files(seed):
                    entry = tarfile.TarInfo(name)
                    entry.mtime, entry.mode, entry.size = MTIME, 0o644, len(content)
                    archive.addfile(entry, io.BytesIO(content))
                    if output.tell() >= size:
                        break
        made = output.tell()
    digests = (f"sha256:{one.hash.hexdigest()}" for one in (compressed, plain))
    return StoredLayer(str(path), next(digests), made, next(digests))


def _files(seed: str) -> Iterator[tuple[str, bytes]]:
    """Yield name and content of files without end, each half noise and half text."""
    source = random.Random(seed)
    letters = "abcdefghijklmnopqrstuvwxyz"
    words = ["".join(source.choices(letters, k=source.randint(2, 12))) for _word in range(5000)]
    text = " ".join(source.choices(words, k=1 << 19)).encode()
    number = 0
    while True:
        start = source.randrange(len(text) - _FILE)
        content = source.randbytes(_NOISE) + text[start : start + _FILE - _NOISE]
        yield f"opt/{seed}/{number // 100}/{number}", content
        number += 1


@dataclass(frozen=True)
class Published:
    """An image in a registry, as a client requests it."""

    registry: Service
    repository: str
    tag: str
    digest: str
    layers: tuple[str, ...] = ()  # digests
    size: int = 0
    by_digest: bool = field(default=False)

    @property
    def name(self) -> str:
        """The reference, by tag or by digest."""
        end = f"@{self.digest}" if self.by_digest else f":{self.tag}"
        return f"{self.registry.address}/{self.repository}{end}"

    @property
    def layer_urls(self) -> list[str]:
        """The URLs of the layers."""
        base = f"{self.registry.url}/v2/{self.repository}/blobs"
        return [f"{base}/{digest}" for digest in self.layers]

    def pinned(self) -> Published:
        """Return the same image, to be requested by digest."""
        return replace(self, by_digest=True)

    def through(self, registry: Service) -> Published:
        """Return the same image, to be requested from another registry."""
        return replace(self, registry=registry)


def publish(registry: Service, repository: str, tag: str, image: LargeImage) -> Published:
    """Push a large image."""
    upload(registry.url, repository, image, tag)
    digests = tuple(layer.digest for layer in image.layers)
    return Published(registry, repository, tag, image.digest, digests, image.size)


def publish_small(registry: Service, count: int) -> list[Published]:
    """Push `count` small images, each with two platforms and three layers."""
    published = []
    for number in range(count):
        image = demo_image(f"app-{number}", "1.0")
        upload(registry.url, f"bench/app-{number}", image, "1.0")
        published.append(Published(registry, f"bench/app-{number}", "1.0", image.digest))
    return published


def publish_related(registry: Service, count: int) -> list[Published]:
    """Push `count` small images with two platforms and three layers, as a company has them.

    The lowest layer is one of `BASES`, the second one of `RUNTIMES`. Only the third one is their own.
    """
    published = []
    for number in range(count):
        seeds = [f"base-{number % BASES}", f"runtime-{number % RUNTIMES}", f"service-{number}"]
        members = []
        for platform in ("linux/amd64", "linux/arm64"):
            content = {seed: random.Random(f"{seed} {platform}").randbytes(4096) for seed in seeds}
            parts = [layer({f"opt/{seed}": data}) for seed, data in content.items()]
            members.append(image(parts, platform))
        item = index(members)
        upload(registry.url, f"bench/service-{number}", item, "1.0")
        published.append(Published(registry, f"bench/service-{number}", "1.0", item.digest))
    return published
