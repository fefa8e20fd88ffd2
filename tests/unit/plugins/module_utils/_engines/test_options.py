# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How the options for engines are read."""

from __future__ import annotations

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._engines.errors import (
    EngineNotFoundError,
)
from ansible_collections.lockstep.images.plugins.module_utils._engines.options import EngineOptions
from ansible_collections.lockstep.images.plugins.module_utils._image.errors import InputError

GIVEN = {
    "engine": "containerd",
    "socket": None,
    "namespace": "k8s.io",
    "executable": None,
    "path": None,
    "timeout": 1.0,
    "timeout_total": 2.0,
}


@pytest.mark.parametrize("text", ["/run/x.sock", "unix:///run/x.sock"])
def test_socket_is_a_path_or_an_address_of_docker(text):
    assert EngineOptions.of({**GIVEN, "socket": text}).socket == "/run/x.sock"


@pytest.mark.parametrize("text", ["tcp://127.0.0.1:2375", "x.sock", "unix://x"])
def test_socket_of_another_host_is_not_supported(text):
    with pytest.raises(EngineNotFoundError, match=f"{text}: is not the path of a Unix socket"):
        EngineOptions.of({**GIVEN, "socket": text})


def test_executable_is_a_command():
    options = EngineOptions.of({**GIVEN, "executable": "'/opt/my k3s' ctr"})
    assert options.program_of("containerd") == ("/opt/my k3s", "ctr")


@pytest.mark.parametrize("text", [" ", "'k3s ctr"])
def test_executable_that_is_not_a_command_is_named(text):
    with pytest.raises(InputError, match=r"^executable: "):
        EngineOptions.of({**GIVEN, "executable": text})


@pytest.mark.parametrize(
    ("name", "value"), [("timeout", 0), ("timeout", -1), ("timeout", 90000), ("timeout_total", -1)]
)
def test_time_that_no_socket_can_wait_is_an_error_that_names_the_option(name, value):
    with pytest.raises(InputError, match=f"{name} must"):
        EngineOptions.of({**GIVEN, name: value})


@pytest.mark.parametrize("namespace", ["", "../bad", "a b", "-a", "a" * 77])
def test_namespace_that_containerd_would_refuse(namespace):
    with pytest.raises(InputError, match="is not a namespace of containerd"):
        EngineOptions.of({**GIVEN, "namespace": namespace})


@pytest.mark.parametrize(
    ("text", "hint"),
    [("x.sock", "Write the whole path"), ("tcp://h:1", "Run the task on the host")],
)
def test_hint_says_what_is_wrong_with_a_socket(text, hint):
    with pytest.raises(EngineNotFoundError) as caught:
        EngineOptions.of({**GIVEN, "socket": text})
    assert caught.value.hint.startswith(hint)


def test_no_limit_for_a_load_is_a_day():
    assert EngineOptions.of({**GIVEN, "timeout_total": 0}).load_timeout == 86400
