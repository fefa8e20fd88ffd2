# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files that name images, written for a test and read as image_lock reads them."""

from __future__ import annotations

import textwrap
from pathlib import Path

from ansible_collections.lockstep.images.plugins.module_utils._lockfile.imagelists import (
    Listing,
    Source,
    read_source,
)


class NameFiles:
    """A directory of files, and what is read from them."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def write(self, name: str, text: str | bytes) -> Path:
        """Write a file; the text may be indented as a whole."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        raw = text if isinstance(text, bytes) else textwrap.dedent(text).encode()
        path.write_bytes(raw)
        return path

    def read(self, name: str = "", *keys: str) -> Listing:
        """What a file, or all of the directory, names."""
        return read_source(Source(str(self.root / name) if name else str(self.root), keys))

    def names(self, name: str = "", *keys: str) -> list[str]:
        """The references, each once; with the platform that is asked for."""
        found = self.read(name, *keys).named
        texts = [f"{one.reference}" + (f" {one.platform}" if one.platform else "") for one in found]
        return list(dict.fromkeys(texts))

    def warnings(self, name: str = "", *keys: str) -> list[str]:
        """The warnings, also of what could be an image, without the path of the directory."""
        listing = self.read(name, *keys)
        texts = [*listing.warnings, *(one.warning for one in listing.doubts)]
        return [text.replace(f"{self.root}/", "") for text in texts]

    def skipped(self) -> list[str]:
        """The names of the files that are skipped."""
        return [Path(one.file).name for one in self.read().skipped]
