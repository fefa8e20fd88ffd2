# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  foreign_layers:
    description:
      - What to do with layers that registries must not distribute, such as those of Windows base images.
      - With V(skip), the task warns about them and does not download them. With V(fetch), it downloads them from the URLs in their manifest, without
        credentials.
    type: str
    choices:
      - skip
      - fetch
    default: skip
  parallel:
    description:
      - The maximum number of parallel downloads of more than 256 KiB, for all images of the task together, up to 1000.
      - Small requests, such as those for manifests, configurations and small layers, are sent beside them. V(1) sends one at a time, V(6) and more send up
        to 16.
    type: int
    default: 6
  chunk_size:
    description:
      - The minimum size of a part, when a large layer is downloaded in parts over several connections.
      - A layer is downloaded in parts if it has at least twice this size, one connection would need more than a second for the rest, and other connections
        are idle.
    type: bytes
    default: 16M
  connections_per_blob:
    description:
      - The maximum number of connections for the download of one layer. With V(1), each layer is downloaded in one piece.
      - If not given, a layer can use all connections that O(parallel) allows and that other layers do not use.
    type: int
"""
