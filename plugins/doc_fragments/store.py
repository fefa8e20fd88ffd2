# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  store:
    description:
      - The directory of the image store, which is an OCI image layout. The task that stores the first image creates it.
      - The default for root is C(/var/lib/lockstep/images). The default for any other user is C(lockstep/images) in E(XDG_DATA_HOME), which is by
        default C(~/.local/share).
      - If the directory contains anything other than an image store, the task fails and leaves it unchanged.
    type: path
"""
