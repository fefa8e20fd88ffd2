# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Copy the changelog that release.sh made into the checkout."""

from __future__ import annotations

import pathlib
import re
import shutil

from .environment import DEV, ROOT, DevError

DIRECTORY = DEV / "release"
COMMAND = ["sh", "-eux", "tests/devtools/release.sh", str(DIRECTORY)]
_NEXT = """\

CHANGELOG.md and changelogs have the release {version}; its fragments are gone. {address}What is left:
  ./dev test
  git add --all && git commit --message "Release {version}"
  git tag --annotate {version} --message {version}
  ./dev galaxy
  ansible-galaxy collection publish .dev/dist/lockstep-images-{version}.tar.gz
  Then set the next version in galaxy.yml. docs/contributing/release.md says more.
"""
_ADDRESS = "\nFirst replace the placeholder https://example.org in galaxy.yml. "


def adopt(made: pathlib.Path = DIRECTORY, checkout: pathlib.Path = ROOT) -> str:
    """Copy the changelog from below MADE to CHECKOUT, and remove its fragments; return what is left to do."""
    tree = made / "ansible_collections" / "lockstep" / "images"
    for name in ("CHANGELOG.md", "changelogs/changelog.yaml"):
        shutil.copyfile(tree / name, checkout / name)
    kept = {path.name for path in (tree / "changelogs" / "fragments").iterdir()}
    for path in (checkout / "changelogs" / "fragments").iterdir():
        if path.name not in kept:
            path.unlink()
    galaxy = (checkout / "galaxy.yml").read_text(encoding="utf-8")
    version = re.search(r"^version: (\S+)$", galaxy, re.MULTILINE)
    if version is None:
        raise DevError("galaxy.yml has no version")
    address = _ADDRESS if "https://example.org" in galaxy else ""
    return _NEXT.format(version=version.group(1), address=address)
