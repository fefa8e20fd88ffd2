# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every place that states a version states the same one, and a release takes its changelog along."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.lockstep.images.tests.devtools.environment import CORES
from ansible_collections.lockstep.images.tests.devtools.release import adopt

ROOT = Path(__file__).parents[3]
SUPPORT = (ROOT / "docs" / "support.md").read_text(encoding="utf-8")


def loaded(*path: str) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load(ROOT.joinpath(*path).read_text(encoding="utf-8"))
    return content


VERSION = loaded("galaxy.yml")["version"]


def row(name: str) -> list[str]:
    """Return the cells of a row of the table of versions."""
    found = re.search(rf"^\| {re.escape(name)} \| (.*) \|$", SUPPORT, re.M)
    assert found, name
    return found.group(1).split(" | ")


def test_version_added_is_a_released_version_or_the_next_one():
    known = {*loaded("changelogs", "changelog.yaml")["releases"], VERSION}
    files = [*ROOT.glob("plugins/*/*"), *ROOT.glob("roles/*/meta/argument_specs.yml")]
    stated = {
        (path.relative_to(ROOT).as_posix(), version)
        for path in files
        if path.suffix in (".py", ".yml")
        for version in re.findall(r"version_added: (\S+)", path.read_text(encoding="utf-8"))
    }
    assert stated
    assert {item for item in stated if item[1] not in known} == set()


@pytest.mark.parametrize(
    "page",
    [
        "README.md",
        "docs/ko/README.md",
        "docs/ko/quickstart.md",
        "docs/examples/ci/requirements.yml",
    ],
)
def test_page_names_the_artifact_of_this_version(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    assert set(re.findall(r"lockstep-images-(\d[\d.]*)\.tar\.gz", text)) == {VERSION}


def test_page_on_support_states_the_tested_ansible_cores():
    supported, tested = row("ansible-core on the controller")
    assert loaded("meta", "runtime.yml")["requires_ansible"] == ">=2.16.0"
    assert supported == "2.16 or later"
    assert re.findall(r"[\d.]+", tested) == list(CORES)
    assert re.findall(r"[\d.]+", row("Python on the controller")[1]) == list(CORES.values())


def test_page_on_support_states_the_oldest_python_of_hosts():
    oldest = loaded("tests", "config.yml")["modules"]["python_requires"]
    assert oldest == ">=3.9"
    assert row("Python on hosts")[0] == "3.9 or later"


def test_page_on_awx_has_the_execution_environment_of_the_example():
    page = (ROOT / "docs" / "awx.md").read_text(encoding="utf-8")
    block = re.search(r"^```yaml\n(version: 3\n.*?)^```$", page, re.M | re.S)
    assert block
    assert yaml.safe_load(block.group(1)) == loaded(
        "docs", "examples", "ee", "execution-environment.yml"
    )


def test_release_replaces_the_changelog_and_removes_its_fragments(tmp_path):
    made, checkout = tmp_path / "made", tmp_path / "checkout"
    tree = made / "ansible_collections" / "lockstep" / "images"
    for top, text, fragments in (
        (tree, "new", ["kept.yml"]),
        (checkout, "old", ["kept.yml", "1.yml"]),
    ):
        (top / "changelogs" / "fragments").mkdir(parents=True)
        for name in ("CHANGELOG.md", "changelogs/changelog.yaml"):
            (top / name).write_text(text)
        for name in fragments:
            (top / "changelogs" / "fragments" / name).write_text(text)
    (checkout / "galaxy.yml").write_text("version: 3.2.1\nrepository: https://example.org/x\n")
    left = adopt(made, checkout)
    assert (checkout / "CHANGELOG.md").read_text() == "new"
    assert (checkout / "changelogs" / "changelog.yaml").read_text() == "new"
    assert [path.name for path in (checkout / "changelogs" / "fragments").iterdir()] == ["kept.yml"]
    assert "git tag --annotate 3.2.1" in left and "placeholder" in left
