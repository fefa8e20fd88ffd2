# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run image_load with its progress, on the controller."""

from __future__ import annotations

from ansible_collections.lockstep.images.plugins.plugin_utils._action import ProgressAction


class ActionModule(ProgressAction):
    """Run the module, and show its progress, and its diff if it failed."""
