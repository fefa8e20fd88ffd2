# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The language lint finds struck phrases in prose, and leaves code and quotations alone."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent

import pytest
from ansible_collections.lockstep.images.tests import language

GUIDE = """
## Words

| strike | write |
|---|---|
| `tell/tells/told` | show |
| `let/lets go of` | remove |
| `-there is/are no -longer` | is not a |
| `hold/holds ... against` | compare |
| `^ who` | the noun |
| `spoil*` | corrupt |

## Names of tasks

| strike | write |
|---|---|
| `^ have` | a verb |

## Names of tests

| strike | write |
|---|---|
| `^ what` | the subject |
"""


@pytest.fixture(name="lint")
def fixture_lint(tmp_path, monkeypatch):
    """Return a function that writes a file and returns the lines that the lint reports."""
    monkeypatch.setattr(language, "ROOT", tmp_path)

    def lint(name, text):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dedent(text), encoding="utf-8")
        return language.findings(name, language.rules(GUIDE))

    return lint


@pytest.mark.parametrize(
    "text",
    [
        "It tells much.",
        "It TOLD you.",
        "Lets\n  go of it.",
        "A tag is no digest.",
        "It holds every byte of all\nstores against it.",
        "Sure. Who has it reads it.",
        "- Who reads it.",
        "| a | Who reads it |",
        "# Spoilt files",
        "[It tells](#x).",
    ],
)
def test_struck_phrase_is_found(lint, text):
    assert len(lint("docs/page.md", text)) == 1


@pytest.mark.parametrize(
    "text",
    [
        "There is no digest; it is no longer there.",
        "The user who reads it.",
        "It holds a. It is against b.",
        "A teller.",
        "`it tells` and ``tells``",
        'docker says "it tells all", then ends.',
        "[a page](tells.md#who-told)",
        "https://example.com/tells",
        "<!-- it tells -->",
        "```text\nit tells\n```",
    ],
)
def test_code_quotations_and_other_meanings_are_not_reported(lint, text):
    assert lint("docs/page.md", text) == []


def test_report_names_file_line_phrase_and_advice(lint):
    assert lint("docs/page.md", "One.\n\nIt\ntells.\n") == [
        "docs/page.md:4: tell/tells/told: write show"
    ]


def test_documentation_and_comments_of_yaml_are_checked(lint):
    text = """
        # It tells.
        - description: >-
            A value that
            tells, unlike {{ tells }} and O(tells).
        """
    assert [line.split(":")[1] for line in lint("plugins/modules/x.yml", text)] == ["2", "5"]


def test_task_names_have_rules_of_their_own(lint):
    text = "- name: Have an image\n- name: Pull an image\n- debug: Have it\n"
    assert [line.split(":")[1] for line in lint("roles/x/tasks/main.yml", text)] == ["1"]
    assert len(lint("docs/page.md", f"```yaml\n{text}```\n")) == 1


def test_data_of_integration_tests_is_not_checked(lint):
    text = "- name: It tells\n  content: tells  # tells\n"
    lines = lint("tests/integration/targets/x/tasks/main.yml", text)
    assert [line.split(":")[1] for line in lines] == ["1", "2"]
    assert lint("tests/integration/targets/x/vars/main.yml", "content: tells\n") == []


PYTHON = '''
    """It tells."""

    tells = {"tells": 1}  # it tells


    def NAME():
        """Return ``tells``; "it tells"."""
        message = (
            "it let "
            f"go of {tells} and tells"
        )
        data = """
        it tells
        """
    '''.replace("NAME", "test_F01_what_tells")


def test_messages_of_plugins_are_checked_across_adjacent_literals(lint):
    lines = lint("plugins/module_utils/x.py", PYTHON)
    numbers = [line.split(":")[1] for line in lines]
    assert numbers == ["2", "4", "7", "7", "10", "11", "14"]


def test_strings_of_tests_are_data(lint):
    lines = lint("tests/unit/test_x.py", PYTHON)
    assert [line.split(":")[1] for line in lines] == ["2", "4", "7", "7"]


def test_guide_has_rules_for_words_tasks_and_tests():
    guide = Path(language.ROOT / language.GUIDE).read_text(encoding="utf-8")
    found = {scope for scope, *_rest in language.rules(guide)}
    assert found == {"Words", "Names of tasks", "Names of tests"}


def test_files_are_checked_and_counted(lint, capsys):
    """``./dev lint`` checks the whole tree."""
    lint(language.GUIDE, GUIDE)
    for name, text in {"docs/a.md": "It tells.\n", "docs/b.md": "It shows.\n"}.items():
        lint(name, text)
    assert language.main(["docs/b.md"]) == 0
    assert language.main([]) == 1
    assert capsys.readouterr().out.splitlines() == [
        "0 struck phrases",
        "docs/a.md:1: tell/tells/told: write show",
        "1 struck phrases",
    ]
