# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Render expressions as Ansible does on the controller, in a separate process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import typing as t
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .modules import PYTHONPATH, ROOT

# Since ansible-core 2.19, only trusted text is a template.
_RENDER = r"""
import json, sys
from ansible.errors import AnsibleError
from ansible.parsing.dataloader import DataLoader
from ansible.plugins.loader import init_plugin_loader
from ansible import template
sys.modules.update(dict.fromkeys(sys.argv[2:]))
init_plugin_loader([sys.argv[1]])
given = json.load(sys.stdin)
templar = template.Templar(loader=DataLoader(), variables=given["variables"])
for expression in given["expressions"]:
    text = "{{ %s }}" % expression
    try:
        value = templar.template(getattr(template, "trust_as_template", str)(text))
        print(json.dumps({"value": value}))
    except AnsibleError as exc:
        print(json.dumps({"error": str(exc)}))
"""


@dataclass(frozen=True)
class Rendered:
    """The values, or the texts of the errors, in order; stderr has the warnings."""

    values: list[t.Any]
    errors: list[str]
    stderr: str

    @property
    def value(self) -> t.Any:
        """The only value."""
        assert not self.errors, self.errors
        (value,) = self.values
        return value

    @property
    def error(self) -> str:
        """The only error."""
        assert not self.values, self.values
        (error,) = self.errors
        return error


def render(
    expressions: str | Sequence[str],
    variables: Mapping[str, t.Any] | None = None,
    env: Mapping[str, str] | None = None,
    missing: tuple[str, ...] = (),
) -> Rendered:
    """Render expressions in a template; ``missing`` are packages that appear not to be installed."""
    listed = [expressions] if isinstance(expressions, str) else list(expressions)
    done = subprocess.run(
        [sys.executable, "-c", _RENDER, str(ROOT.parents[2]), *missing],
        input=json.dumps({"expressions": listed, "variables": dict(variables or {})}),
        capture_output=True,
        text=True,
        check=False,
        env={
            "PATH": os.environ["PATH"],
            "HOME": "/nonexistent",
            "LC_ALL": "C.UTF-8",
            "PYTHONPATH": PYTHONPATH,
            "ANSIBLE_NOCOLOR": "1",
            **(env or {}),
        },
    )
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(answers) == len(listed), done.stdout + done.stderr
    return Rendered(
        [one["value"] for one in answers if "value" in one],
        [one["error"] for one in answers if "error" in one],
        " ".join(done.stderr.split()),
    )
