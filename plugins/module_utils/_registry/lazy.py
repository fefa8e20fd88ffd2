# SPDX-License-Identifier: GPL-3.0-or-later
"""The registries of a task that may need none: the registry client is imported when one is needed."""

from __future__ import annotations

import threading
import typing as t

from .._image.manifest import Descriptor
from .._image.names import Reference
from .._image.sources import ContentSource, Sources, TransferStats
from .options import RegistryOptions


class LazyRegistries:
    """The registries of a task, as ``Sources``, opened with the first use. Raise InputError for an invalid entry at once."""

    def __init__(self, options: RegistryOptions) -> None:
        self._options = options
        self._lock = threading.Lock()
        self._opened: Sources | None = None
        if options.registries:  # an invalid entry is an error, used or not
            self._open()

    def prepare(self) -> None:
        self._open().prepare()

    def repository(self, reference: Reference) -> ContentSource:
        return self._open().repository(reference)

    def foreign(self, reference: Reference, descriptor: Descriptor) -> ContentSource:
        return self._open().foreign(reference, descriptor)

    def stats(self) -> t.Mapping[str, t.Any]:
        return self._opened.stats() if self._opened else TransferStats().as_result()

    @property
    def warnings(self) -> t.Sequence[str]:
        return self._opened.warnings if self._opened else ()

    def _open(self) -> Sources:
        with self._lock:
            if self._opened is None:
                from .registries import registries_of

                self._opened = registries_of(self._options)
            return self._opened
