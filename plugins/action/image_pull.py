# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run image_pull with its progress, on the controller, after its images were verified."""

from __future__ import annotations

from ansible_collections.lockstep.images.plugins.module_utils._image import errors
from ansible_collections.lockstep.images.plugins.plugin_utils import _preload  # noqa: F401  # pylint: disable=unused-import
from ansible_collections.lockstep.images.plugins.plugin_utils._delivery import (
    CONTROLLER,
    ControllerAction,
)
from ansible_collections.lockstep.images.plugins.plugin_utils._verify_first import VerifyFirst


class ActionModule(VerifyFirst, ControllerAction):
    """Verify the images if the task has a policy, and run the module or send it what the host lacks.

    Show its progress, and its diff if it failed.
    """

    excluded = ("all_tags", "lock")
    needs = "name"

    def source_of(self, options):
        """Return the store for a task that asks no registry."""
        if options.get("source") == CONTROLLER:
            raise errors.InputError(
                "verify: is mutually exclusive with source=controller",
                "Verify the images when the store of the controller gets them.",
            )
        pull = options.get("pull") or "always"
        if pull == "missing":
            raise errors.InputError(
                "verify: is mutually exclusive with pull=missing, which keeps images that no registry was asked for",
                "Set pull to always, or to never to verify the images in the store.",
            )
        return "store" if pull == "never" else "registry"
