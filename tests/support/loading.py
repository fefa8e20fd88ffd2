# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plan a load and carry it out, without a module."""

from __future__ import annotations

import typing as t
from collections.abc import Sequence

from ansible_collections.lockstep.images.plugins.module_utils._archive.image_archive import (
    ImageContent,
    OpenBlob,
)
from ansible_collections.lockstep.images.plugins.module_utils._engines.batches import batches
from ansible_collections.lockstep.images.plugins.module_utils._engines.engine import (
    UNCHANGED,
    Engine,
    Load,
    LoadOptions,
)
from ansible_collections.lockstep.images.plugins.module_utils._engines.session import (
    Session,
    plan_load,
)
from ansible_collections.lockstep.images.plugins.module_utils._image.errors import LockstepError
from ansible_collections.lockstep.images.plugins.module_utils._image.names import Digest


class Loaded(t.NamedTuple):
    """The plan, the loads as they ended, the errors by name, and the bytes that the plan announced."""

    planned: list[Load]
    ended: list[Load]
    failed: dict[str, LockstepError]
    announced: int

    @property
    def statuses(self) -> list[str]:
        """How the images ended, those that did not fail."""
        return [one.status for one in self.ended if one.name not in self.failed]


def load(
    engine: Engine,
    images: Sequence[ImageContent],
    open_blob: OpenBlob,
    options: LoadOptions | None = None,
    between: t.Callable[[], object] = tuple,
    limit: int | None = None,
) -> Loaded:
    """Plan, call ``between``, and load what is not there."""
    sent: set[Digest] = set()
    options = options or LoadOptions()
    planned = [plan_load(engine, image, options, sent, open_blob) for image in images]
    due = [one for one in planned if one.status not in UNCHANGED]
    announced = sum(engine.size_of(one.loads) for one in batches(due, limit, engine.lanes))
    between()
    session = Session(engine, open_blob, options, limit)
    found = session.run(due) if due else []
    failed = {one.name: error for one, error in zip(due, found) if error}
    return Loaded(planned, [session.ended.get(one.name, one) for one in planned], failed, announced)
