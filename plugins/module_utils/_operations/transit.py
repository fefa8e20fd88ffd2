# SPDX-License-Identifier: GPL-3.0-or-later
"""Blobs that only pass through a store: a store of its own below ``.staging``, where an interrupted task resumes them."""

from __future__ import annotations

import contextlib
import os
import time
import typing as t

from .._image import errors
from .._image.names import Digest
from .._store.inventory import contents, remove
from .._store.partial import remove_unlocked
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

    def keep_only(self, wanted: t.Container[Digest]) -> None:
        """Remove the whole blobs of an earlier task that are not in ``wanted``."""
        for digest in contents(self):
            if digest not in wanted:
                self.drop(digest)

    def clear(self) -> None:
        """Remove every blob, also incomplete ones."""
        self.keep_only(())
        for path in self.stale((), age=-1.0):
            remove_unlocked(path)

    def drop(self, digest: Digest) -> None:
        """Remove a blob; a failure leaves it to ``leftovers``."""
        with contextlib.suppress(errors.StoreAccessError):
            remove(self, digest)
