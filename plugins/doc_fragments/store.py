# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  store:
    description:
      - The directory of the image store, which is an OCI image layout. It is made when the first image is stored.
      - If not given, C(/var/lib/lockstep/images) for root, and C(lockstep/images) in the directory that E(XDG_DATA_HOME) names
        (C(~/.local/share)) for any other user.
      - A directory that holds something else is an error and is left as it is.
    type: path
"""
