# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run image_copy with its progress, on the controller, after its images were verified."""

from __future__ import annotations

from ansible_collections.lockstep.images.plugins.plugin_utils._action import ProgressAction
from ansible_collections.lockstep.images.plugins.plugin_utils._verify_first import VerifyFirst


class ActionModule(VerifyFirst, ProgressAction):
    """Verify the images if the task has a policy, run the module, and show its progress, and its diff if it failed."""

    excluded = ("all_tags", "tags_matching", "newest")
    is_whole = True
    named_by = "source"
