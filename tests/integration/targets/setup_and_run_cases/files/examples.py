# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write the YAML blocks of a Markdown page as a file of tasks: python examples.py PAGE TASKS

Every task stays as it is on the page. A task after it appends its name and its result to ``results``.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import yaml

HEAD = "---\n# Written by examples.py from the YAML blocks of a page.\n"
REGISTERED = "example"


def blocks(page: str) -> list[str]:
    """Return the text of every YAML block."""
    return re.findall(r"^```yaml\n(.*?)^```$", page, re.M | re.S)


def with_results(block: str) -> str:
    """Return the tasks of a block, each with a task after it that keeps its result."""
    tasks = yaml.safe_load(block)
    texts = re.split(r"^(?=- )", block, flags=re.M)[1:]  # a comment stays with the task before it
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
    """Read the page, the first argument, and write the tasks, the second."""
    page, target = map(Path, sys.argv[1:])
    found = blocks(page.read_text(encoding="utf-8"))
    if not found:
        raise SystemExit(f"{page} has no YAML block")
    target.write_text("\n".join([HEAD, *map(with_results, found)]), encoding="utf-8")


if __name__ == "__main__":
    main()
