# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The list of files in the page on the design."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "contributing" / "design.md").read_text(encoding="utf-8")
# From the heading to the end of the first block of code.
PARTS = PAGE.partition("## The parts")[2].split("```")[1]
UTILS = ROOT / "plugins" / "module_utils"


def test_every_listed_file_exists():
    listed = set(re.findall(r"\w+\.py", PARTS)) - {"NAME.py"}
    assert listed <= {path.name for path in (ROOT / "plugins").rglob("*.py")}


@pytest.mark.parametrize("room", ["_image", "_store", "_registry"])
def test_every_file_of_a_room_that_hosts_receive_is_listed(room):
    block = re.search(rf"(?m)^  {room}/.*\n((?:    .*\n)+)", PARTS)
    listed = set(re.findall(r"\w+\.py", block[1]))
    assert listed == {path.name for path in (UTILS / room).glob("*.py")}
