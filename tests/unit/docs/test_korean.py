# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The Korean page has the code blocks of the English pages, and a row for each command."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
README = (ROOT / "README.md").read_text(encoding="utf-8")
FROM_DOCKER = (ROOT / "docs" / "from-docker.md").read_text(encoding="utf-8")
KOREAN = (ROOT / "docs" / "ko" / "quickstart.md").read_text(encoding="utf-8")


def blocks(page: str) -> list[str]:
    return re.findall(r"^```\w+\n.*?^```$", page, re.M | re.S)


def rows(page: str, header: str) -> list[tuple[list[str], list[str], list[str]]]:
    """Return what a translation keeps of each table row: the anchors, and the code of both columns."""
    tables = re.findall(rf"^\| {header} \|.*\n\|---.*\n((?:\|.*\n)+)", page, re.M)
    cells = [line.strip("| ").split(" | ", maxsplit=1) for line in "".join(tables).splitlines()]
    return [
        (
            re.findall(r"\]\([^)#]*(#[^)]+)\)", command),
            re.findall(r"`[^`]+`", command),
            sorted(re.findall(r"`[^`]+`", here)),
        )
        for command, here in cells
    ]


@pytest.mark.parametrize("heading", ["Try it", "Use it"])
def test_korean_page_has_every_code_block_of_the_quick_start(heading):
    wanted = blocks(README.split(f"\n## {heading}\n")[1].split("\n## ", maxsplit=1)[0])
    assert wanted
    assert [block for block in blocks(KOREAN) if block in wanted] == wanted


def test_every_code_block_of_the_korean_page_is_on_an_english_page():
    assert set(blocks(KOREAN)) <= {*blocks(README), *blocks(FROM_DOCKER)}


def test_korean_table_of_commands_has_the_rows_of_the_english_table():
    english = rows(FROM_DOCKER, "command")
    assert english
    assert rows(KOREAN, "명령") == english
