# SPDX-License-Identifier: GPL-3.0-or-later
"""Store info: a store as a whole, in the manner of ``docker info`` and ``docker system df``."""

from __future__ import annotations

import typing as t
from stat import S_ISREG

from .._image import errors
from .._image.chain import chain_ids
from .._image.manifest import ImageConfig, Manifest
from .._image.names import Digest
from .._plan import Plan
from .._store.disk import disk, has_overlay
from .._store.inventory import contents, roots
from .._store.store import ImageStore
from .reach import Reachable
from .transit import TransitStore


def plan_store_info(store: ImageStore, *, layers: bool) -> Plan:
    """Plan to report a store. The plan never has an action."""
    reach = Reachable.of(store, roots(store))
    there = contents(store)
    sizes = {digest: one.st_size for digest, one in there.items()}
    # Nothing is garbage while it is not known what is not.
    needed = set(sizes) if reach.corrupt else reach.needed
    parts = store.staging()
    users: dict[Digest, int] = {}
    for image in reach.images.values():
        for digest in {blob.digest for blob in image.blobs}:
            users[digest] = users.get(digest, 0) + 1
    facts: dict[str, t.Any] = {
        "store": store.path,
        "fingerprint": store.fingerprint(),
        "file_system": disk(store),
        "overlay": has_overlay(),
        "names": len(store.names()),
        "images": len(reach.images),
        "blobs": len(sizes),
        "bytes": sum(sizes.values()),
        "shared": sum(size for digest, size in sizes.items() if users.get(digest, 0) > 1),
        "reclaimable": sum(size for digest, size in sizes.items() if digest not in needed),
        "unreadable": sorted(map(str, reach.corrupt)),
        "staged": {key: one + parts[key] for key, one in TransitStore(store).left().items()},
    }
    if layers:
        files = {digest: size for digest, size in sizes.items() if S_ISREG(there[digest].st_mode)}
        facts["layers"] = _layers(store, reach, files)
    return Plan(facts=facts)


def _layers(
    store: ImageStore, reach: Reachable, files: t.Mapping[Digest, int]
) -> list[dict[str, t.Any]]:
    """Return each layer once per chain id, sorted by it, as Docker stores them."""
    found: dict[tuple[str, str], dict[str, t.Any]] = {}
    for digest, image in reach.images.items():
        diff_ids = _diff_ids(store, image)
        known = len(diff_ids) == len(image.layers)
        chains = chain_ids(diff_ids) if known else []
        for n, layer in enumerate(image.layers):
            chain = str(chains[n]) if known else ""
            entry = found.setdefault(
                (chain, str(layer.digest)),
                {
                    "chain_id": chain or None,
                    "diff_id": str(diff_ids[n]) if known else None,
                    "digest": str(layer.digest),
                    "size": layer.size,
                    "present": files.get(layer.digest) == layer.size,
                    "images": [],
                },
            )
            entry["images"].append(str(digest))
    for entry in found.values():
        entry["images"] = sorted(set(entry["images"]))
    return [found[key] for key in sorted(found)]


def _diff_ids(store: ImageStore, image: Manifest) -> t.Sequence[Digest]:
    config = image.config
    if not config or not config.is_image_config:
        return ()
    try:
        return ImageConfig.parse(store.read(config.digest), str(config.digest)).diff_ids
    except errors.LockstepError:
        return ()
