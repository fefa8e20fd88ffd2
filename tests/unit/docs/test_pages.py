# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The pages for people: their links lead somewhere, and what they list is what there is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from ansible_collections.lockstep.images.plugins.module_utils._oci import errors

ROOT = Path(__file__).parents[3]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
USERS = [page for page in PAGES if "contributing" not in page.parts]


def named(page: Path) -> str:
    return str(page.relative_to(ROOT))


def anchors(page: Path) -> set[str]:
    """The anchors of the headings of a page, as forges make them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_link_leads_to_a_page_and_a_heading(page):
    for target in re.findall(r"\]\((?!https?:)([^)]+)\)", page.read_text(encoding="utf-8")):
        path, _dummy, anchor = target.partition("#")
        there = (page.parent / path).resolve() if path else page
        assert there.exists(), target
        assert not anchor or anchor in anchors(there), target


@pytest.mark.parametrize("page", USERS, ids=named)
def test_every_yaml_block_of_a_page_for_users_is_yaml(page):
    for block in re.findall(r"^```yaml\n(.*?)^```$", page.read_text(encoding="utf-8"), re.M | re.S):
        assert yaml.safe_load(block)


def test_the_table_of_errors_has_every_kind_once():
    page = (ROOT / "docs" / "errors.md").read_text(encoding="utf-8")
    kinds = {
        value.kind
        for value in vars(errors).values()
        if isinstance(value, type) and issubclass(value, errors.LockstepError)
    }
    assert sorted(re.findall(r"^\| `([a-z-]+)` \|", page, re.M)) == sorted(kinds)


def test_the_readme_begins_with_two_commands():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    first = re.search(r"^```shell\n(.*?)^```$", readme, re.M | re.S)
    assert first and first.group(1).splitlines() == ["./dev quickstart", "./dev test"]
