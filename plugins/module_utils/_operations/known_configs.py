# SPDX-License-Identifier: GPL-3.0-or-later
"""Which image belongs to which digest in a registry: what an engine that keeps no digests cannot say."""

from __future__ import annotations

import contextlib
import json
import os
import typing as t

from .._engines.engine import KnownImage
from .._image import errors
from .._image.names import Digest, Platform
from .._store.files import read_file
from .._store.store import ImageStore
from .._store.writing import write_file

_LIMIT = 16 * 1024 * 1024  # bytes
_MOST = 10_000  # entries


class KnownConfigs:
    """The image of each root and platform that tasks have read, in a file below ``.staging`` of a store.

    A digest always has the same content, so an entry never gets old. Without the file, manifests are read.
    """

    def __init__(self, store: ImageStore) -> None:
        self._path = os.path.join(store.path, ".staging", "configs.json")
        self._known = self._read()
        self._used: dict[str, str] = {}

    def get(self, root: Digest, platform: Platform) -> KnownImage | None:
        """Return the image for a platform, None if it is not known."""
        key = f"{root} {platform}"
        with contextlib.suppress(errors.DigestError, ValueError):
            config, alone = map(Digest.parse, str(self._known.get(key)).split(" "))
            self._used[key] = f"{config} {alone}"
            return KnownImage(config, alone)
        return None

    def add(self, root: Digest, platform: Platform, config: Digest, alone: Digest) -> None:
        """Remember an image that was read."""
        self._used[f"{root} {platform}"] = f"{config} {alone}"

    @property
    def has_news(self) -> bool:
        """Whether this task has read something that the file does not have."""
        return not self._used.items() <= self._known.items()

    def save(self) -> None:
        """Add what this task used to the file, and drop the entries that were not used for longest if the file has too many.

        The file only saves requests: a failure is ignored, and two tasks at a time can lose entries of one another.
        """
        entries = self._read()
        if self._used.items() <= entries.items():
            return
        entries = {key: entries[key] for key in entries if key not in self._used}
        entries.update(self._used)
        data = json.dumps(dict(list(entries.items())[-_MOST:])).encode("ascii")
        with contextlib.suppress(errors.StoreError):
            write_file(self._path, os.path.dirname(self._path), data)

    def _read(self) -> dict[str, t.Any]:
        with contextlib.suppress(OSError, ValueError, RecursionError, errors.StoreError):
            found = json.loads(read_file(self._path, _LIMIT))
            return found if isinstance(found, dict) else {}
        return {}
