# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Archives of images: written by the collection, or as other tools write them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from ansible_collections.lockstep.images.plugins.module_utils._archive.contents import ImageArchive
from ansible_collections.lockstep.images.plugins.module_utils._archive.media import open_media
from ansible_collections.lockstep.images.plugins.module_utils._image.lock import Lock
from ansible_collections.lockstep.images.plugins.module_utils._image.names import Reference
from ansible_collections.lockstep.images.plugins.module_utils._operations.image_export import (
    ExportOptions,
    ExportPlanner,
)
from ansible_collections.lockstep.images.plugins.module_utils._operations.image_import import (
    ImportPlanner,
)
from ansible_collections.lockstep.images.plugins.module_utils._plan import Outcome, Plan
from ansible_collections.lockstep.images.plugins.module_utils._store.reader import StoreReader
from ansible_collections.lockstep.images.plugins.module_utils._store.repair import RepairStore

from . import tarballs
from .bodies import digest_of
from .images import Image
from .plans import execute
from .publish import Item

NAME = "io.containerd.image.name"
T = TypeVar("T")


def blob(data: bytes) -> bytes:
    """Return the entry of a blob in an archive."""
    return tarballs.entry(f"blobs/{digest_of(data).replace(':', '/')}", data)


def json_entry(name: str, value: Any) -> bytes:
    """Return the entry of a JSON file in an archive."""
    return tarballs.entry(name, json.dumps(value).encode())


def oci_archive(
    names: Mapping[str, Item],
    without: Sequence[str] = (),
    annotation: str = NAME,
    platforms: str = "",
    more: Sequence[bytes] = (),
) -> bytes:
    """Return an OCI image layout as an archive, without the blobs with these digests."""
    entries = []
    blobs: dict[str, bytes] = {}
    for name, item in names.items():
        notes = {annotation: name} if name else {}
        notes.update({"io.lockstep.platforms": platforms} if platforms else {})
        entries.append({**item.descriptor(), "annotations": notes})
        blobs.update(item.blobs())
        blobs.update({digest: raw for digest, _type, raw in item.manifests()})
    return tarballs.archive(
        json_entry("index.json", {"schemaVersion": 2, "manifests": entries}),
        json_entry("oci-layout", {"imageLayoutVersion": "1.0.0"}),
        *more,
        *(blob(data) for digest, data in blobs.items() if digest not in without),
    )


def docker_archive(tags: Sequence[str], item: Image, **changes: Any) -> bytes:
    """Return what ``docker save`` of Docker 20.10 writes for an image; ``changes`` replace keys of its entry."""
    config = f"{digest_of(item.config)[7:]}.json"
    layers = {f"{digest_of(one.blob)[7:]}/layer.tar": one.blob for one in item.layers}
    entry = {"Config": config, "RepoTags": list(tags), "Layers": list(layers), **changes}
    directories = [tarballs.directory(name[:65]) for name in layers]
    return tarballs.archive(
        tarballs.entry(config, item.config),
        *directories,
        *(tarballs.entry(*pair) for pair in layers.items()),
        json_entry("manifest.json", [entry]),
        json_entry("repositories", {}),
    )


def plan_export(
    store: Path,
    dest: Path,
    *names: str,
    lock: Any = None,
    **more: Any,
) -> Plan:
    """Return the plan of an export from a store to ``dest``."""
    options = ExportOptions(
        str(dest),
        more.get("form", "both"),
        more.get("chunk_size"),
        more.get("platforms"),
        more.get("referrers", False),
        more.get("have"),
    )
    parsed = Lock.parse(lock) if lock else None
    return ExportPlanner(StoreReader(str(store)), parsed, options).plan(names or None)


def export(store: Path, dest: Path, *names: str, **more: Any) -> dict[str, Any]:
    """Export images; return the result of the module."""
    outcome = execute(plan_export(store, dest, *names, **more))
    if outcome.failure:
        raise outcome.failure
    return outcome.result()


def import_outcome(store: Path, src: Path, **how: Any) -> Outcome:
    """Import an archive into a store; return the outcome."""
    return on_import(store, src, execute, **how)


def import_archive(store: Path, src: Path, **how: Any) -> dict[str, Any]:
    """Import an archive into a store; return the result of the module, or raise its failure."""
    outcome = import_outcome(store, src, **how)
    if outcome.failure:
        raise outcome.failure
    return outcome.result()


def on_import(
    store: Path,
    src: Path,
    ask: Callable[[Plan], T],
    lock: Any = None,
    mode: str = "quick",
    wanted: Sequence[str] | None = None,
    lock_timeout: float = 60.0,
    details: bool | None = None,
) -> T:
    """Plan an import, and return what ``ask`` does with the plan."""
    parsed = Lock.parse(lock) if lock else None
    references = None if wanted is None else [Reference.parse(one) for one in wanted]
    with open_media(str(src)) as media, RepairStore(str(store), lock_timeout).hold() as target:
        planner = ImportPlanner(ImageArchive(media), target, parsed, mode, 2, details)
        return ask(planner.plan(references))
