# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The fixtures of the fleet tests that these tests share."""

from __future__ import annotations

from ansible_collections.lockstep.images.tests.fleet.conftest import (
    collection_env,
    directory,
    play,
    workspace,
)

__all__ = ["collection_env", "directory", "play", "workspace"]
