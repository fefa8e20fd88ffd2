# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read the examples for continuous integration: the commands of a job, its variables and its cache."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples" / "ci"


@dataclass(frozen=True)
class Job:
    """The job of an example. ``variables`` are expanded for a workspace; ``cache`` is None without a cache."""

    commands: list[str]
    variables: dict[str, str]
    cache: str | None


def github(workspace: Path) -> Job:
    """Return the job of the workflow for GitHub Actions."""
    job = load("github-actions.yml")["jobs"]["test"]
    caches = {step["with"]["path"] for step in job["steps"] if "/cache/" in step.get("uses", "")}
    return Job(
        [step["run"] for step in job["steps"] if "run" in step],
        _expanded(job["env"], {"${{ github.workspace }}": str(workspace)}),
        *caches,
    )


def gitlab(workspace: Path) -> Job:
    """Return the job for GitLab CI."""
    job = load("gitlab-ci.yml")["test"]
    (cache,) = job["cache"]["paths"]
    variables = _expanded(job["variables"], {"$CI_PROJECT_DIR": str(workspace)})
    return Job([*job["before_script"], *job["script"]], variables, cache)


def jenkins(workspace: Path) -> Job:
    """Return the build of the Jenkinsfile. The home of the agent is beside the workspace."""
    text = (EXAMPLES / "Jenkinsfile").read_text(encoding="utf-8")
    block = re.search(r"environment \{(.*?)\n    \}", text, re.S)
    assert block
    variables = dict(re.findall(r"""(\w+) = ['"](.*)['"]""", block[1]))
    home = {"${HOME}": str(workspace.parent / "home"), "${JOB_NAME}": "tests"}
    return Job(re.findall(r"\bsh '(.*)'", text), _expanded(variables, home), None)


JOBS = {"github-actions.yml": github, "gitlab-ci.yml": gitlab, "Jenkinsfile": jenkins}


def load(name: str) -> Any:
    """Return the content of an example in YAML."""
    return yaml.safe_load((EXAMPLES / name).read_text(encoding="utf-8"))


def _expanded(variables: dict[str, str], values: dict[str, str]) -> dict[str, str]:
    def expand(text: str) -> str:
        for name, value in values.items():
            text = text.replace(name, value)
        assert "$" not in text, text
        return text

    return {name: expand(text) for name, text in variables.items()}
