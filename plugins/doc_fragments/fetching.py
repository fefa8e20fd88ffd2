# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  foreign_layers:
    description:
      - What becomes of layers that registries must not distribute, as those of Windows base images.
      - With V(skip) they are left out, with a warning. With V(fetch) they are fetched from the URLs in their manifest, without any credential.
    type: str
    choices:
      - skip
      - fetch
    default: skip
  parallel:
    description:
      - How many requests and downloads run at the same time, for all images of the task together; up to 1000.
    type: int
    default: 6
  chunk_size:
    description:
      - The smallest piece of a layer that is fetched over a connection of its own. A layer of twice this size or more is fetched over
        several, when it would take more than a second over one and connections are idle.
    type: bytes
    default: 16M
  connections_per_blob:
    description:
      - Over how many connections one layer is fetched at most. With V(1) each is fetched in one piece.
      - If not given, as many as O(parallel) allows and other layers leave.
    type: int
"""
