# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  allow_platform_mismatch:
    description:
      - What becomes of an image that is in no index, so that it is for one platform only, and that is not for the platform asked for.
      - If V(false), it is an error, as for an index without this platform. If V(true), the image is taken, with a warning.
      - What a lock file has for a platform is taken as it is locked, with a warning.
      - Artifacts, and images that do not say what they are for, are always taken.
    type: bool
    default: false
"""
