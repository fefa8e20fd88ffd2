# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Be somebody who may be refused something, for tests that run as root."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

_NOBODY = 65534


@contextlib.contextmanager
def ordinary_user() -> Iterator[None]:
    """Root is refused nothing; so be somebody else for a while."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(_NOBODY)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


@contextlib.contextmanager
def public_directory() -> Iterator[Path]:
    """A directory that everybody can reach, and that belongs to the ordinary user."""
    path = Path(tempfile.mkdtemp()).resolve()
    if os.geteuid() == 0:
        os.chown(path, _NOBODY, _NOBODY)
    try:
        yield path
    finally:
        for root, directories, _files in os.walk(path):
            for name in directories:
                os.chmod(os.path.join(root, name), 0o755)
        shutil.rmtree(path)
