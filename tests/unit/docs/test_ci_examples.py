# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The examples for continuous integration are valid, pinned and complete. tests/fleet/test_ci_examples.py runs them."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import yaml
from ansible_collections.lockstep.images.tests.support import ciexamples
from ansible_collections.lockstep.images.tests.support.ciexamples import EXAMPLES, JOBS, load

PAGE = (EXAMPLES.parents[1] / "ci.md").read_text(encoding="utf-8")
STORE = "IMAGES_STORE"
every_job = pytest.mark.parametrize("name", JOBS)


@every_job
def test_job_installs_loads_and_runs_in_this_order(name, tmp_path):
    commands = [shlex.split(line) for one in JOBS[name](tmp_path).commands for line in lines(one)]
    assert [one[0] for one in commands if one[0] != "pip"] == [
        "ansible-galaxy",
        "ansible-playbook",
        "docker",
    ]
    files = [word for one in commands for word in one if word.endswith((".yml", ".txt"))]
    assert files
    for file in files:
        assert (EXAMPLES / file).is_file()
    # A pull in the job would hide that an image is not loaded.
    assert "--pull" in commands[-1] and "never" in commands[-1]


def lines(script: str) -> list[str]:
    return [line for line in script.splitlines() if line.strip()]


@every_job
def test_store_is_in_the_cache_or_outlives_the_workspace(name, tmp_path):
    job = JOBS[name](tmp_path / "workspace")
    store = Path(job.variables[STORE])
    if job.cache is None:
        assert tmp_path / "home" in store.parents
    else:
        assert store == tmp_path / "workspace" / job.cache


def test_actions_are_pinned_by_commit_and_name_their_version():
    text = (EXAMPLES / "github-actions.yml").read_text(encoding="utf-8")
    used = re.findall(r"uses: (.*)", text)
    assert len(used) == 4
    for one in used:
        assert re.fullmatch(r"[\w./-]+@[0-9a-f]{40}  # v\d+\.\d+\.\d+", one), one


def test_workflow_can_only_read_and_only_the_main_branch_saves_the_cache():
    workflow = load("github-actions.yml")
    assert workflow["permissions"] == {"contents": "read"}
    steps = {step["name"]: step for step in workflow["jobs"]["test"]["steps"]}
    assert "github.ref == 'refs/heads/main'" in steps["Save the store"]["if"]
    restored = steps["Restore the store"]["with"]
    assert "hashFiles('images.lock.yml')" in restored["key"]
    assert restored["key"].startswith(restored["restore-keys"])
    assert steps["Check out the repository"]["with"] == {"persist-credentials": False}


def test_versions_are_pinned():
    requirements = (EXAMPLES / "requirements.txt").read_text(encoding="utf-8")
    packages = [line for line in lines(requirements) if not line.startswith("#")]
    assert [re.sub(r"==[\d.]+$", "", line) for line in packages] == ["ansible-core", "requests"]
    services = load("gitlab-ci.yml")["test"]["services"]
    assert all(re.fullmatch(r"docker:\d+\.\d+\.\d+-dind", one) for one in services)


def test_playbook_has_only_modules_of_the_collection_with_known_options():
    (play,) = yaml.safe_load((EXAMPLES / "load-images.yml").read_text(encoding="utf-8"))
    for task in play["tasks"]:
        ((module, options),) = [(key, value) for key, value in task.items() if key != "name"]
        path = EXAMPLES.parents[2] / "plugins" / "modules" / f"{module.rpartition('.')[2]}.yml"
        document = yaml.safe_load(path.read_text(encoding="utf-8"))["DOCUMENTATION"]
        fragments = EXAMPLES.parents[2] / "plugins" / "doc_fragments"
        known = {*document["options"]}
        for fragment in document["extends_documentation_fragment"]:
            known |= set(
                re.findall(
                    r"(?m)^  (\w+):$", (fragments / f"{fragment.split('.')[2]}.py").read_text()
                )
            )
        assert set(options) <= known, module


def test_page_links_every_file():
    linked = set(re.findall(r"\]\(examples/ci/([^)]+)\)", PAGE))
    assert linked == {path.name for path in EXAMPLES.iterdir()}


def test_jenkinsfile_has_balanced_braces():
    text = (EXAMPLES / "Jenkinsfile").read_text(encoding="utf-8")
    code = re.sub(r"//.*|'[^']*'|\"[^\"]*\"", "", text)
    assert code.count("{") == code.count("}") > 5
    assert ciexamples.jenkins(Path("/work")).commands
