# SPDX-License-Identifier: GPL-3.0-or-later
"""The entries of index.json: names, labels, and the canonical bytes (image-spec v1.1, "Image Layout")."""

from __future__ import annotations

import json
import typing as t

from .._image import errors
from .._image.manifest import (
    OCI_INDEX,
    Descriptor,
)

REF_NAME = "org.opencontainers.image.ref.name"
PLATFORMS = "io.lockstep.platforms"


class IndexEntry(t.NamedTuple):
    """The content that a name points at, and the platforms that were requested for it."""

    target: Descriptor
    platforms: tuple[str, ...] = ()


class EntriesByName(t.Mapping[str, IndexEntry]):
    """The entries of an index, parsed when they are read: of ten thousand names a task needs a few.

    Reading an invalid entry raises CorruptStoreError.
    """

    def __init__(self, entries: t.Mapping[str, dict[str, t.Any]], path: str) -> None:
        self._entries = entries
        self._path = path

    def __getitem__(self, name: str) -> IndexEntry:
        return parse_entry(self._entries[name], f"{self._path}: {name}")

    def __iter__(self) -> t.Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)


def parse_entry(entry: dict[str, t.Any], where: str) -> IndexEntry:
    """Return an entry of index.json, parsed; raise CorruptStoreError, which names ``where``, if it is invalid."""
    try:
        target = Descriptor.from_json(entry, where)
    except errors.ManifestError as exc:
        raise errors.CorruptStoreError(str(exc), path=where.partition(": ")[0]) from exc
    asked = target.annotations.get(PLATFORMS, "")
    return IndexEntry(target, tuple(filter(None, asked.split(","))))


def labels_of(entries: t.Sequence[dict[str, t.Any]]) -> list[str]:
    """Return the label of each entry of an index: its name, or its digest if it has no name.

    Other tools write only a tag, which can occur several times: the label is then NAME@DIGEST.
    """
    digests: dict[str, set[str]] = {}
    for entry in entries:
        digests.setdefault(name_of(entry), set()).add(str(entry.get("digest")))
    labels = []
    for entry in entries:
        name, digest = name_of(entry), str(entry.get("digest"))
        is_one = "/" in name or len(digests[name]) == 1
        labels.append((name if is_one else f"{name}@{digest}") if name else digest)
    return labels


def render_index(index: dict[str, t.Any]) -> bytes:
    """Return the canonical bytes of an index: sorted, with only the last entry of each full name."""
    entries = {
        (name_of(entry), "" if "/" in name_of(entry) else _canonical(entry)): entry
        for entry in index["manifests"]
    }
    return _canonical(dict(index, manifests=[entries[key] for key in sorted(entries)])).encode(
        "ascii"
    )


def render_names(names: t.Mapping[str, IndexEntry]) -> bytes:
    """Return the canonical bytes of an index with exactly these names."""
    entries = [entry_json(name, points_to) for name, points_to in names.items()]
    return render_index(dict(empty_index(), manifests=entries))


def entry_json(name: str, points_to: IndexEntry) -> dict[str, t.Any]:
    """Return the entry of a name as a JSON value of index.json."""
    annotations = {REF_NAME: name}
    if points_to.platforms:
        annotations[PLATFORMS] = ",".join(sorted(points_to.platforms))
    return dict(points_to.target.as_json(), annotations=annotations)


def _canonical(value: t.Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def empty_index() -> dict[str, t.Any]:
    """Return an index without entries."""
    return {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []}


def name_of(entry: dict[str, t.Any]) -> str:
    """Return the name of an entry of index.json, "" if it has none."""
    annotations = entry.get("annotations")
    name = annotations.get(REF_NAME) if isinstance(annotations, dict) else None
    return name if isinstance(name, str) else ""
