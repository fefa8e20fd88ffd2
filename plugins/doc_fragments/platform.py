# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  allow_platform_mismatch:
    description:
      - Whether to accept a single-platform image (an image that is not in an index) whose platform is not the requested one.
      - With V(false), the task reports an error for such an image, as it does for an index without the requested platform. With V(true), the image is
        used, with a warning.
      - An image that is locked for the requested platform is always used. If its own platform differs, the task warns.
      - Artifacts, and images that do not name their platform, are always accepted.
    type: bool
    default: false
"""
