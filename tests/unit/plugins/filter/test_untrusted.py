# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Text from hosts stays text: no version of Ansible treats a fact made of it as a template."""

from __future__ import annotations

import json

import pytest
from ansible import template
from ansible.parsing.dataloader import DataLoader
from ansible_collections.lockstep.images.plugins.filter.engine_differences import (
    engine_differences,
)
from ansible_collections.lockstep.images.plugins.filter.report import report
from ansible_collections.lockstep.images.plugins.filter.store_differences import store_differences
from ansible_collections.lockstep.images.plugins.filter.sync_differences import sync_differences
from ansible_collections.lockstep.images.plugins.filter.table import table
from ansible_collections.lockstep.images.tests.support import reports

EVIL = "{{ 6 * 7 }}"
HELD = {"a": reports.holds(reports.image(EVIL)), "b": reports.holds()}
ROW = {"name": EVIL, "wanted": "none", "found": EVIL, "message": f"{EVIL} is not in the lock"}


@pytest.mark.parametrize(
    "made",
    [
        pytest.param(lambda: report(HELD), id="report"),
        pytest.param(
            lambda: store_differences({host: one["info"] for host, one in HELD.items()}),
            id="store_differences",
        ),
        pytest.param(
            lambda: sync_differences({"h": {"differences": [ROW]}}), id="sync_differences"
        ),
        pytest.param(
            lambda: engine_differences({"h": reports.loaded((EVIL, "1", EVIL, "moved"))}),
            id="engine_differences",
        ),
        pytest.param(lambda: table([ROW], ["name", "found"]), id="table"),
    ],
)
def test_fact_of_text_from_a_host_stays_text(made):
    fact = made()
    assert EVIL in json.dumps(fact)
    templar = template.Templar(loader=DataLoader(), variables={"fact": fact})
    text = getattr(template, "trust_as_template", str)("{{ fact }}")
    assert templar.template(text) == fact
