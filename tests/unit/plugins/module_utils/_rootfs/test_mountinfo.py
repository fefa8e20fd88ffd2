# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The mounts of a host, read from the kernel."""

from __future__ import annotations

from ansible_collections.lockstep.images.plugins.module_utils._rootfs import mountinfo


def test_root_is_mounted():
    assert [one.path for one in mountinfo.mounts() if one.path == "/"]


def test_mounts_below_a_path_are_found():
    assert "/proc" in mountinfo.mounts_below("/proc")
    assert "/proc" in mountinfo.mounts_below("/")
    assert mountinfo.mounts_below("/pro") == []
