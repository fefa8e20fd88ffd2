# SPDX-License-Identifier: GPL-3.0-or-later
"""The action that removes unreferenced content from a store."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field

from .._execution import Pool
from .._image.names import Digest
from .._plan import Action
from .._store.inventory import remove
from .._store.store import ImageStore


@dataclass(frozen=True)
class RemoveContent(Action):
    """Remove content that nothing leads to."""

    digest: Digest
    size: int
    store: ImageStore = field(repr=False)

    def summary(self) -> dict[str, t.Any]:
        return {"action": "remove_content", "digest": str(self.digest), "size": self.size}

    def apply(self, pool: Pool) -> None:
        remove(self.store, self.digest)
