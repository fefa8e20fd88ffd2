# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The errors of archives: what the system refuses."""

from __future__ import annotations

import errno
import os

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._archive.errors import (
    ArchiveAccessError,
    access,
)
from ansible_collections.lockstep.images.plugins.module_utils._image.errors import NoSpaceError


@pytest.mark.parametrize(
    ("number", "kind", "text"),
    [
        (errno.ENOSPC, NoSpaceError, "a.tar.003: No space left"),
        (errno.EDQUOT, NoSpaceError, "a.tar.003: Disk quota"),
        (errno.EFBIG, NoSpaceError, "a.tar.003: File too large"),
        (errno.EROFS, ArchiveAccessError, "a.tar.003: Read-only"),
        (errno.ELOOP, ArchiveAccessError, "a.tar.003: is a symbolic link"),
    ],
)
def test_refused_call_names_the_file(number, kind, text):
    with pytest.raises(kind, match=text) as caught, access("a.tar.003"):
        raise OSError(number, os.strerror(number))
    assert caught.value.details["path"] == "a.tar.003"


def test_limit_of_fat32_is_explained():
    with pytest.raises(NoSpaceError) as caught, access("a.tar"):
        raise OSError(errno.EFBIG, "File too large")
    assert "chunk_size" in caught.value.hint
