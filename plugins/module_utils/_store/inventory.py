# SPDX-License-Identifier: GPL-3.0-or-later
"""The entries and the blobs of a store, also those that no name needs."""

from __future__ import annotations

import contextlib
import os
import typing as t

from .._image import errors
from .._image.names import Digest
from .files import access
from .reader import IndexEntry, labels_of, parse_entry
from .store import ImageStore
from .writing import remove_file

ALGORITHMS = ("sha256", "sha512")


def roots(store: ImageStore, without: t.Container[str] = ()) -> list[IndexEntry]:
    """Return every entry of the index except those with the labels ``without``; raise CorruptStoreError if one is invalid."""
    entries = store.entries()
    return [
        parse_entry(entry, f"{store.path}/index.json: manifests[{n}]")
        for n, (entry, label) in enumerate(zip(entries, labels_of(entries)))
        if label not in without
    ]


def contents(store: ImageStore) -> dict[Digest, os.stat_result]:
    """Return the ``lstat`` of everything in the store that is named as a blob, also of a link or a directory."""
    found = {}
    for algorithm in ALGORITHMS:
        for name, path in listed(store, f"blobs/{algorithm}"):
            # A blob can disappear here: a repair removes corrupt content before it fetches it again.
            with access(path), contextlib.suppress(errors.DigestError, FileNotFoundError):
                digest = Digest.parse(f"{algorithm}:{name}")
                found[digest] = os.lstat(path)
    return found


def remove(store: ImageStore, digest: Digest) -> None:
    """Remove a blob. Call it only for unreferenced content, inside an exclusive ``hold``."""
    remove_file(store.blob_path(digest))


def listed(store: ImageStore, directory: str) -> t.Iterator[tuple[str, str]]:
    """Return name and path of everything in a directory of the store, nothing if it is missing."""
    path = os.path.join(store.path, directory)
    names: list[str] = []
    with access(path), contextlib.suppress(FileNotFoundError, NotADirectoryError):
        names = os.listdir(path)
    return ((name, os.path.join(path, name)) for name in names)
