# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a module says at the end: messages with hints, warnings, failures."""

from __future__ import annotations

import importlib
import json

import pytest
from ansible.module_utils import basic
from ansible_collections.lockstep.images.plugins.module_utils import _ansible as runner
from ansible_collections.lockstep.images.plugins.module_utils._image.errors import (
    DeniedError,
    InputError,
    NotFoundError,
)
from ansible_collections.lockstep.images.plugins.module_utils._plan import Plan

HOSTILE = "a\nb\0\x1b[31m\u202ec" + "x" * 10_000


@pytest.fixture(name="answer")
def fixture_answer(monkeypatch, capsys):
    """Carry out a plan as a module does, and return its result."""

    def run(build):
        monkeypatch.setattr(basic, "_load_params", dict)
        # ansible-core 2.21 keeps what the real one has parsed.
        monkeypatch.setattr(basic, "_PARSED_MODULE_ARGS", {}, raising=False)
        monkeypatch.setattr(basic, "_ANSIBLE_PROFILE", "legacy", raising=False)
        # Since ansible-core 2.19, a process that has imported a plugin of the controller displays warnings itself.
        internal = getattr(importlib.import_module("ansible.module_utils"), "_internal", None)
        if internal:
            monkeypatch.setattr(internal, "is_controller", False)
        with pytest.raises(SystemExit):
            runner.run_plan(build, {})
        return json.loads(capsys.readouterr().out)

    return run


def test_F35_a_warning_is_one_short_line(answer):
    plan = Plan(before={}, after={}, warnings=lambda: [HOSTILE])
    (warning,) = (
        one if isinstance(one, str) else one["event"]["msg"]
        for one in answer(lambda *_rest: plan)["warnings"]
    )
    assert warning.isprintable() and len(warning) <= 1000


def test_F18_a_module_puts_a_full_stop_before_the_hint(answer):
    def build(*_rest):
        raise InputError("a: is wrong", "Write b.")

    result = answer(build)
    assert result["msg"] == "a: is wrong. Write b."
    assert result["error"] == {"kind": "invalid-input", "hint": "Write b."}


def test_F18_each_of_several_failures_is_followed_by_its_own_hint(answer):
    failures = {
        "a:1": NotFoundError("a:1: not found", "Look."),
        "b:1": DeniedError("b:1: access is denied", "Log in."),
    }
    result = answer(lambda *_rest: Plan(before={}, after={}, facts={}, failures=failures))
    assert result["msg"] == (
        "2 of 2 images failed: a:1: not found. Look. b:1: access is denied. Log in."
    )
    assert [one["msg"] for one in result["failures"]] == [
        "a:1: not found. Look.",
        "b:1: access is denied. Log in.",
    ]


def test_F25_failures_are_counted_with_the_noun_of_their_subject(answer):
    failures = {name: NotFoundError(f"{name}: not found", "Look.") for name in ("a:1", "b:1")}
    plan = Plan(before={}, after={}, facts={}, failures=failures, noun="names")
    assert answer(lambda *_rest: plan)["msg"].startswith("2 of 2 names failed: ")
