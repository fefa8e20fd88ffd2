# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What of the entries of a layer is kept."""

from __future__ import annotations

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._rootfs.options import (
    CALLER,
    KEEP,
    STRIP,
    TreeOptions,
)


@pytest.mark.parametrize(
    ("owner", "setuid", "lost"),
    [(KEEP, KEEP, 0), (KEEP, STRIP, 0o6000), (CALLER, KEEP, 0o6000), (CALLER, STRIP, 0o6000)],
)
def test_programs_run_as_another_user_only_if_owner_and_bits_are_kept(owner, setuid, lost):
    assert TreeOptions(owner, setuid).lost_bits == lost
