# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make a file of tasks from the YAML blocks of a Markdown page: python examples.py PAGE TASKS

The text of a task is not changed. Each is followed by one that keeps its result under its name in ``results``.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import yaml

HEAD = "---\n# Made from the YAML blocks of a page.\n"
REGISTERED = "example"


def blocks(page: str) -> list[str]:
    """The text of every YAML block."""
    return re.findall(r"^```yaml\n(.*?)^```$", page, re.M | re.S)


def with_results(block: str) -> str:
    """The tasks of a block as they stand, each with what keeps its result."""
    tasks = yaml.safe_load(block)
    texts = re.split(r"^(?=- )", block, flags=re.M)[1:]  # a comment goes with the task before it
    if len(texts) != len(tasks):
        raise SystemExit(f"not a list of tasks:\n{block}")
    parts = []
    for task, given in zip(tasks, texts):
        text = given.rstrip("\n") + "\n"
        register = task.get("register", REGISTERED)
        if register == REGISTERED:
            text += f"  register: {register}\n"
        name = yaml.safe_dump(task["name"], width=1000, default_style="'").strip()
        keep = (
            "- name: Keep the result\n"
            "  ansible.builtin.set_fact:\n"
            f'    results: "{{{{ results + [[example_name, {register}]] }}}}"\n'
            "  vars:\n"
            f"    example_name: {name}\n"
        )
        parts += [text, keep]
    return "\n".join(parts)


def main() -> None:
    """Read the page that is named first and write what is named second."""
    page, target = map(Path, sys.argv[1:])
    found = blocks(page.read_text(encoding="utf-8"))
    if not found:
        raise SystemExit(f"{page} has no YAML block")
    target.write_text("\n".join([HEAD, *map(with_results, found)]), encoding="utf-8")


if __name__ == "__main__":
    main()
