# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options of mounts, and the errors of the system calls. Real mounts are in tests/fleet/test_unpack.py."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._rootfs import mounting
from ansible_collections.lockstep.images.plugins.module_utils._rootfs.errors import (
    TreeAccessError,
    TreeUnsupportedError,
)


def test_options_name_layers_and_switch_off_what_could_change_their_meaning():
    assert mounting.overlay_options(["0", "1"], "../upper", "../work") == (
        "lowerdir=0:1,upperdir=../upper,workdir=../work,redirect_dir=off,metacopy=off,index=off"
    )
    assert mounting.overlay_options(["0", "empty"]).startswith("lowerdir=0:empty,redirect")


def test_five_hundred_layers_fit():
    names = list(map(str, range(500)))
    assert len(mounting.overlay_options(names, "../upper", "../work")) < 4096
    with pytest.raises(TreeUnsupportedError, match="501 layers, overlayfs takes at most 500"):
        mounting.overlay_options([*names, "500"])


def test_long_options_are_refused_with_a_reason():
    with pytest.raises(TreeUnsupportedError, match="more than 4095"):
        mounting.overlay_options(["/var/lib/" + "x" * 64] * 60)


def test_failed_mount_names_its_target(tmp_path):
    before = os.getcwd()
    with pytest.raises(TreeAccessError, match="none: "):
        mounting.mount_overlay(str(tmp_path), str(tmp_path / "none"), "lowerdir=a:b", True)
    assert os.getcwd() == before


def test_path_that_is_not_mounted_cannot_be_unmounted(tmp_path):
    with pytest.raises(TreeAccessError, match="cannot be unmounted"):
        mounting.unmount(str(tmp_path))


def test_processes_in_a_directory_are_named(tmp_path):
    with subprocess.Popen(
        [sys.executable, "-c", "input()"], cwd=tmp_path, stdin=subprocess.PIPE
    ) as process:
        found = mounting.users_of(str(tmp_path))
        process.communicate(b"\n")
    assert any(one.startswith(f"process {process.pid} (") for one in found)
