# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The plan of engine_info, on an engine that only holds images."""

from __future__ import annotations

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._engines.engine import (
    Engine,
    EngineFacts,
    HeldImage,
)
from ansible_collections.lockstep.images.plugins.module_utils._image.names import Reference
from ansible_collections.lockstep.images.plugins.module_utils._operations.engine_info import (
    plan_engine_info,
)
from ansible_collections.lockstep.images.tests.support.plans import dry_run

WEB, JOBS = "registry.example/web:1", "registry.example/jobs:1"
DIGEST = "sha256:" + "1" * 64
BY_DIGEST = f"registry.example/web@{DIGEST}"
HELD = [
    HeldImage("sha256:c", layers=("sha256:x",), size=7),
    HeldImage("sha256:b", (WEB, "registry.example/web:stable"), (BY_DIGEST,), complete=True),
    HeldImage("sha256:a", (JOBS,), platforms=("linux/amd64",), complete=False, pinned=True),
]


class HoldingEngine(Engine):
    """Every method that could change something raises NotImplementedError."""

    def facts(self):
        return EngineFacts("docker", "20.10", store="graph")

    def images(self, details=False):
        assert details
        return HELD


def info(*names):
    references = [Reference.parse(name) for name in names] if names else None
    plan = plan_engine_info(HoldingEngine(), references)
    outcome = dry_run(plan)
    assert (plan.actions, plan.changed, outcome.failure) == ((), False, None)
    return outcome.result()


def test_all_images_are_sorted_by_name_and_those_without_are_last():
    result = info()
    assert [one["names"][:1] for one in result["images"]] == [[JOBS], [WEB], []]
    assert [one["dangling"] for one in result["images"]] == [False, False, True]
    assert result["missing"] == []
    assert result["engine"]["kind"] == "docker"


def test_unknown_values_are_null():
    jobs, web, dangling = info()["images"]
    assert (jobs["complete"], web["complete"], dangling["complete"]) == (False, True, None)
    assert (jobs["pinned"], web["pinned"]) == (True, None)
    assert (web["layers"], dangling["layers"]) == (None, ["sha256:x"])
    assert (web["size"], dangling["size"]) == (None, 7)


@pytest.mark.parametrize("name", [WEB, f"{WEB}@{DIGEST}", BY_DIGEST, "registry.example/web:stable"])
def test_image_is_found_by_tag_or_by_digest(name):
    result = info(name)
    assert [one["id"] for one in result["images"]] == ["sha256:b"]
    assert result["missing"] == []


def test_missing_names_are_complete_and_in_the_order_of_the_option():
    result = info("zoo", JOBS, "ape:1", "zoo")
    assert [one["id"] for one in result["images"]] == ["sha256:a"]
    assert result["missing"] == ["docker.io/library/zoo:latest", "docker.io/library/ape:1"]


def test_tag_is_not_found_by_the_digest_of_another_image():
    assert info(f"registry.example/web@sha256:{'2' * 64}")["images"] == []
