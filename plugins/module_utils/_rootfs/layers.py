# SPDX-License-Identifier: GPL-3.0-or-later
"""One layer of an image is unpacked into a directory; nothing outside this directory is touched, whatever the layer has."""

from __future__ import annotations

import os
import typing as t
from dataclasses import dataclass

from .._image.errors import LockstepError
from .._image.manifest import Descriptor
from .._image.names import Digest
from .applier import Applier, Counts
from .directories import Directories
from .errors import access, refusal
from .lower import Completion, Lower
from .marks import Marks, Notes, OverlayMarks, RecordedMarks
from .options import TreeOptions
from .reader import EntryReader
from .stream import Hashed, LayerStream, Pieces


class Limits(t.NamedTuple):
    """The most that one layer may have: bytes without compression, and entries."""

    bytes: int
    entries: int


@dataclass(frozen=True)
class LayerSource:
    """A layer to unpack: its blob, the digest of the archive in it, and what opens the blob."""

    blob: Descriptor
    diff_id: Digest
    open: t.Callable[[], t.ContextManager[t.BinaryIO]]
    decompress: t.Callable[[t.BinaryIO, str], Pieces]

    @property
    def where(self) -> str:
        """The layer as the subject of a message."""
        return f"layer {self.blob.digest}"


class UnpackedLayer:
    """The directory ``root``, a descriptor, that gets the files of one layer. ``close`` it in the end."""

    def __init__(
        self, root: int, source: LayerSource, options: TreeOptions, limits: Limits
    ) -> None:
        self.root = root
        self.counts = Counts()
        self.notes = Notes()
        self._source, self._options, self._limits = source, options, limits
        self._marks: Marks = RecordedMarks(self.notes)

    def close(self) -> None:
        """Close the directory."""
        os.close(self.root)

    def use_overlay(self) -> None:
        """Write what the layer says about the layers below as overlayfs reads it, instead of remembering it."""
        self._marks = OverlayMarks(os.geteuid() == 0)

    def fill(self) -> None:
        """Unpack the layer, and compare its archive with the diff id.

        Raise TreeRefusedError, TreeUnsupportedError, LayerTooLargeError, DiffIdMismatchError, or an error of the system.
        """
        where = self._source.where
        with self._source.open() as file:
            hashed = Hashed(
                self._source.decompress(file, where),
                self._source.diff_id,
                self._limits.bytes,
                where,
            )
            stream = LayerStream(iter(hashed))
            entries = EntryReader(stream, where, self._limits.entries, self._limits.bytes)
            with Directories(os.dup(self.root), self._marks, self.notes) as directories:
                applier = Applier(directories, self._options, self._marks, self.notes)
                self._apply(applier, entries, stream)
            stream.drain()
            hashed.require_match()
        self.counts = applier.counts

    def complete(self, lower: Lower) -> None:
        """Take from the layers below what this layer leaves to them."""
        limit = max(0, self._limits.bytes - self.counts.bytes)
        completion = Completion(self.root, lower, self.notes, self._marks, self._options, limit)
        with access(self._source.where):
            completion.run(self._source.where)
        self.counts.bytes += completion.bytes

    def _apply(self, applier: Applier, entries: EntryReader, stream: LayerStream) -> None:
        apply = applier.apply
        for entry in entries:
            try:
                apply(entry, stream)
            except LockstepError as exc:
                if exc.details.get("layer"):
                    raise
                raise entries.error(type(exc), str(exc), exc.hint) from None
            except OSError as exc:
                found = refusal("", exc)
                raise entries.error(type(found), exc.strerror or str(exc), found.hint) from exc
