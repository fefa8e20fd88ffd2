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
      - With V(false), such an image is an error, like an index without the requested platform. With V(true), the task uses the image and warns.
      - An image in a lock file is always used for the platforms that it is locked for. If the image itself names another platform, the task warns.
      - Artifacts, and images that do not name their platform, are always accepted.
    type: bool
    default: false
"""
