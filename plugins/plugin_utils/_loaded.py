# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the engine of a host lacks, from a result of image_load in check mode."""

from __future__ import annotations

import typing as t

from ansible_collections.lockstep.images.plugins.module_utils._engines import engine
from ansible_collections.lockstep.images.plugins.plugin_utils._held import NOTHING, Comparison, Held


def engine_rows(result: t.Mapping[str, t.Any]) -> dict[str, Comparison]:
    """Return what the engine must hold and holds, by the names that differ.

    A name that points at the right image is not there if the engine lacks the digest or the protection that goes with it.
    """
    images = (one for one in result["images"] if one["status"] != engine.PRESENT)
    return {one["name"]: Comparison(Held(one["id"]), _found(one)) for one in images}


def _found(image: t.Mapping[str, t.Any]) -> Held:
    before = image["before"]
    if before is None:
        return NOTHING
    return Held(before, image["status"] not in (engine.MOVED, engine.KEPT))
