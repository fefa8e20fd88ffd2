# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A store of images that really run, in every form that an engine may be given."""

from __future__ import annotations

import typing as t
from pathlib import Path

from . import images, stores

SHOP = "registry.example.com/shop/web"


class Shop(t.NamedTuple):
    """A store, and its images by name."""

    store: str
    items: dict[str, images.Image | images.Index]

    def digest(self, name: str) -> str:
        return self.items[name].digest

    def by_digest(self, name: str) -> str:
        return f"{name.rpartition(':')[0]}@{self.digest(name)}"

    def layers(self, name: str) -> tuple[images.Layer, ...]:
        item = self.items[name]
        image = item.for_platform("linux/amd64") if isinstance(item, images.Index) else item
        return image.layers


BASE, WEB, NEXT, PLAIN, ZSTD, SPARSE, FOREIGN = (
    f"{SHOP}:{tag}" for tag in ("base", "1", "2", "plain", "zstd", "sparse", "foreign")
)
OTHER = "registry.example.com/mirror/web:1"


def open_shop(path: Path) -> Shop:
    """Make a store with images that share a base, in several compressions and forms."""
    busybox = Path("/bin/busybox").read_bytes()
    files = {"bin/": b"", "bin/busybox": busybox}
    app = {"srv/": b"", "srv/data": b"1" * 100_000}
    base, web, newer = images.layer(files), images.layer(app), images.layer({"srv/new": b"2"})
    config = {"config": {"Cmd": ["/bin/busybox", "echo", "served"]}}

    def image(*layers: images.Layer, **options: t.Any) -> images.Image:
        return images.image(layers, config=config, **options)

    plain = [images.layer(one, compression=None) for one in (files, app)]
    packed = [images.layer(one, compression="zstd") for one in (files, {"srv/z": b"z"})]
    arm = images.image([newer], "linux/arm64")
    multi = images.index([image(base, web, newer), arm], attestations=True)
    foreign = images.index([image(base, newer), images.image([web], "linux/arm64")])
    one = image(base, web)
    made: dict[str, images.Image | images.Index] = {
        BASE: image(base),
        WEB: one,
        NEXT: image(base, web, newer, docker=True),
        PLAIN: image(*plain),
        ZSTD: image(*packed),
        SPARSE: multi,
        FOREIGN: foreign,
        OTHER: one,
    }
    for name, item in made.items():
        stores.put(path, item, name)
    for digest in (arm.digest, arm.config_digest, *(entry.digest for entry in multi.images[2:])):
        stores.blob_path(path, digest).unlink()
    return Shop(str(path), made)
