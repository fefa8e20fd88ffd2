# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The identities of layers together with the layers below them."""

from __future__ import annotations

from ansible_collections.lockstep.images.plugins.module_utils._image.chain import chain_ids
from ansible_collections.lockstep.images.plugins.module_utils._image.names import Digest


def test_the_lowest_layer_is_its_own_chain():
    first = Digest.parse("sha256:" + "4f" * 32)
    assert chain_ids([]) == []
    assert chain_ids([first]) == [first]
    assert len(set(chain_ids([first, first, first]))) == 3
