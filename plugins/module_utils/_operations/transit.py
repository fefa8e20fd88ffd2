# SPDX-License-Identifier: GPL-3.0-or-later
"""Blobs that only pass through a store: a store of its own below ``.staging``, where an interrupted task resumes them."""

from __future__ import annotations

import contextlib
import os
import time
import typing as t

from .._image import errors
from .._image.manifest import Descriptor
from .._image.names import Digest
from .._store.inventory import contents, remove
from .._store.partial import part_path, remove_unlocked
from .._store.store import ImageStore


class TransitStore(ImageStore):
    """The blobs on their way through ``home``. Hold it exclusively to use it: what is in it belongs to one task.

    ``wait`` is in seconds, for a task that uses it.
    """

    def __init__(self, home: ImageStore, wait: float = 900.0) -> None:
        super().__init__(os.path.join(home.path, ".staging", "engine"), wait)

    def leftovers(self, age: float) -> t.Iterator[str]:
        """Yield the files that no task has written to for ``age`` seconds. Call it while no task uses ``home``."""
        yield from self.stale((), age)
        oldest = time.time() - age
        for digest, found in contents(self).items():
            if found.st_mtime < oldest:
                yield self.blob_path(digest)

    def left(self) -> dict[str, int]:
        """Return the number of blobs here, also of incomplete ones, and the bytes that they use on the disk."""
        whole, parts = contents(self), self.staging()
        size = sum(found.st_blocks * 512 for found in whole.values())
        return {"blobs": len(whole) + parts["blobs"], "bytes": size + parts["bytes"]}

    def used_by(self, blob: Descriptor) -> int:
        """Return the bytes of a blob that are on the disk, also those that no journal lists."""
        if self.has(blob):
            return blob.size
        sizes = [0]
        for path in self._parts(blob.digest):
            with contextlib.suppress(FileNotFoundError):
                found = os.lstat(path)
                sizes.append(min(found.st_size, found.st_blocks * 512, blob.size))
        return max(sizes)

    def keep_only(self, wanted: t.Container[Digest]) -> None:
        """Remove the blobs of an earlier task that are not in ``wanted``, also incomplete ones."""
        for digest in contents(self):
            if digest not in wanted:
                self._remove(digest)
        for path in self.stale(wanted, age=-1.0):
            remove_unlocked(path)

    def clear(self) -> None:
        """Remove every blob, also incomplete ones."""
        self.keep_only(())

    def drop(self, digest: Digest) -> None:
        """Remove a blob, also an incomplete one that nothing writes; a failure leaves it to ``leftovers``."""
        self._remove(digest)
        for path in self._parts(digest):
            remove_unlocked(path)

    def _parts(self, digest: Digest) -> list[str]:
        return [part_path(staging, digest) for staging in self.stagings()]

    def _remove(self, digest: Digest) -> None:
        with contextlib.suppress(errors.StoreAccessError):
            remove(self, digest)
