# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run image_sync with its progress, on the controller."""

from __future__ import annotations

from ansible_collections.lockstep.images.plugins.plugin_utils import _preload  # noqa: F401  # pylint: disable=unused-import
from ansible_collections.lockstep.images.plugins.plugin_utils._delivery import ControllerAction


class ActionModule(ControllerAction):
    """Run the module, or send it what the host lacks; show its progress, and its diff if it failed."""

    needs = "lock"
