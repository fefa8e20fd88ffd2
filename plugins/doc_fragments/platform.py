# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  allow_platform_mismatch:
    description:
      - Whether to accept a single-platform image (an image that is not in an index) that is for another platform than the requested one.
      - With V(false), such an image is an error, like an index without the requested platform. With V(true), the image is used, with a warning.
      - An image that is locked for a platform is always used, with a warning.
      - Artifacts, and images that do not name their platform, are always accepted.
    type: bool
    default: false
"""
