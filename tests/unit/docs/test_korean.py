# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The Korean pages have the code blocks of the English pages, and name only what exists."""

from __future__ import annotations

import functools
import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[3]
DOCS = ROOT / "docs"
PAGES = sorted((DOCS / "ko").glob("*.md"))
# The English page of each Korean one. The README is split: its quick start is a page of its own.
ORIGINALS = {"quickstart.md": ROOT / "README.md", "README.md": ROOT / "README.md"}


def text(*path: str) -> str:
    return ROOT.joinpath(*path).read_text(encoding="utf-8")


README = text("README.md")
FROM_DOCKER = text("docs", "from-docker.md")


def blocks(page: str) -> list[str]:
    return re.findall(r"^```\w+\n.*?^```$", page, re.M | re.S)


def rows(page: str, header: str) -> list[tuple[list[str], list[str]]]:
    """Return what a translation keeps of each table row: the code of both columns."""
    tables = re.findall(rf"^\| {header} \|.*\n\|---.*\n((?:\|.*\n)+)", page, re.M)
    cells = [line.strip("| ").split(" | ", maxsplit=1) for line in "".join(tables).splitlines()]
    return [
        (re.findall(r"`[^`]+`", command), sorted(re.findall(r"`[^`]+`", here)))
        for command, here in cells
    ]


@functools.cache
def _documented() -> frozenset[str]:
    """Return the names of all plugins, roles, playbooks, options, results and kinds of errors."""
    names = {path.stem for path in ROOT.glob("plugins/*/*.py")}
    names |= {path.stem for path in ROOT.glob("playbooks/*.yml")}
    names |= {path.name for path in ROOT.glob("roles/*")}
    for path in ROOT.glob("playbooks/*.yml"):  # the variables of a playbook
        names |= set(re.findall(r"\w+", path.read_text(encoding="utf-8")))
    files = [*ROOT.glob("plugins/*/*.yml"), *ROOT.glob("roles/*/meta/argument_specs.yml")]
    for path in files:
        names |= _keys(yaml.safe_load(path.read_text(encoding="utf-8")))
    for path in ROOT.glob("plugins/doc_fragments/*.py"):
        names |= set(re.findall(r"^ *(\w+):", path.read_text(encoding="utf-8"), re.M))
    return frozenset(names).union(
        re.findall(r"^\| `([a-z-]+)` \|", text("docs", "errors.md"), re.M)
    )


def _keys(value: object) -> set[str]:
    if isinstance(value, dict):
        return set(value).union(*map(_keys, value.values()))
    if isinstance(value, list):
        return set().union(*map(_keys, value))
    return {value} if isinstance(value, str) and re.fullmatch(r"[\w-]+", value) else set()


@pytest.mark.parametrize("heading", ["Try it", "Use it"])
def test_korean_page_has_every_code_block_of_the_quick_start(heading):
    wanted = blocks(README.split(f"\n## {heading}\n")[1].split("\n## ", maxsplit=1)[0])
    assert wanted
    page = text("docs", "ko", "quickstart.md")
    assert [block for block in blocks(page) if block in wanted] == wanted


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_code_block_of_a_korean_page_is_on_its_english_page(page):
    original = ORIGINALS.get(page.name, DOCS / page.name).read_text(encoding="utf-8")
    found = blocks(page.read_text(encoding="utf-8"))
    assert found
    assert [block for block in found if block not in blocks(original)] == []


def test_korean_table_of_commands_has_the_rows_and_examples_of_the_english_page():
    page = text("docs", "ko", "from-docker.md")
    english = rows(FROM_DOCKER, "command")
    assert english
    assert rows(page, "명령") == english
    assert blocks(page) == blocks(FROM_DOCKER)


def test_korean_readme_lists_every_module_playbook_and_role():
    page = text("docs", "ko", "README.md")
    named = {
        "플레이북": {path.stem for path in ROOT.glob("playbooks/*.yml")} - {"quickstart"},
        "롤": {path.name for path in ROOT.glob("roles/*")},
    }
    for kind, names in named.items():
        assert set(re.findall(rf"^\| {kind} `(\w+)` \|", page, re.M)) == names
    modules = {path.stem for path in ROOT.glob("plugins/modules/*.py")}
    assert set(re.findall(r"^\| `(\w+)` \| ", page, re.M)) == modules


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_korean_page_names_only_options_and_modules_that_exist(page):
    """A word of lower case with an underscore, or before a colon, is the name of something here."""
    known = _documented()
    prose = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    spans = re.findall(r"`([^`\n]+)`", prose)
    named = {span for span in spans if re.fullmatch(r"[a-z]+(_[a-z]+)+", span)}
    named |= {found.group(1) for span in spans if (found := re.match(r"([a-z_]+): \w", span))}
    named |= {
        part
        for span in spans
        if (part := span.partition("lockstep.images.")[2]) and part.isidentifier()
    }
    others = {"docker_image_pull", "docker_image_load", "podman_image", "docker_compose_v2"}
    others |= {"delegate_to", "ansible_become", "group_vars"}  # words of Ansible
    assert sorted(named - known - others) == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_korean_page_is_written_in_polite_sentences(page):
    """Sentences end in -니다, -니까 or -십시오, as in other documentation in Korean."""
    prose = re.sub(
        r"^```.*?^```$|<!--.*?-->", "", page.read_text(encoding="utf-8"), flags=re.M | re.S
    )
    prose = re.sub(r"^[|#].*$|!\[[^]]*\]\([^)]*\)", "", prose, flags=re.M)
    ends = re.findall(r"(\S*[가-힣])\.(?=\s|\*|$)", prose)
    assert ends
    assert [word for word in ends if not word.endswith(("니다", "니까", "십시오", "시오"))] == []
