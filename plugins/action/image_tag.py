# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run a module that returns ``failures`` but moves no content, on the controller. meta/runtime.yml lists these modules."""

from __future__ import annotations

from ansible_collections.lockstep.images.plugins.plugin_utils._action import DiffAction


class ActionModule(DiffAction):
    """Run the module, and show its diff if it failed."""
