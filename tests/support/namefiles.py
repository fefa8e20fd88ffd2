# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write files that name images, and read them as image_lock does."""

from __future__ import annotations

import textwrap
from pathlib import Path

from ansible_collections.lockstep.images.plugins.module_utils._lockfile.imagelists import (
    Listing,
    Source,
    read_source,
)


class NameFiles:
    """A directory of files that name images."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def write(self, name: str, text: str | bytes) -> Path:
        """Write a file, after removing the common indentation of the text. Return its path."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        raw = text if isinstance(text, bytes) else textwrap.dedent(text).encode()
        path.write_bytes(raw)
        return path

    def read(self, name: str = "", *keys: str) -> Listing:
        """Read one file, or the whole directory."""
        return read_source(Source(str(self.root / name) if name else str(self.root), keys))

    def names(self, name: str = "", *keys: str) -> list[str]:
        """Return the references without duplicates, with their platform if the file names one."""
        found = self.read(name, *keys).named
        texts = [f"{one.reference}" + (f" {one.platform}" if one.platform else "") for one in found]
        return list(dict.fromkeys(texts))

    def warnings(self, name: str = "", *keys: str) -> list[str]:
        """Return all warnings, without the path of the directory.

        This includes those about text that could be the name of an image.
        """
        listing = self.read(name, *keys)
        texts = [*listing.warnings, *(one.warning for one in listing.doubts)]
        return [text.replace(f"{self.root}/", "") for text in texts]

    def skipped(self) -> list[str]:
        """Return the names of the skipped files."""
        return [Path(one.file).name for one in self.read().skipped]
