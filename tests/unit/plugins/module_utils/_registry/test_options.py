# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options that say how registries are reached: taken from a task, and refused out of range."""

from __future__ import annotations

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._ansible import shared_options
from ansible_collections.lockstep.images.plugins.module_utils._image.errors import InputError
from ansible_collections.lockstep.images.plugins.module_utils._registry.options import (
    HttpOptions,
    RegistryOptions,
)

DEFAULTS = {name: option.get("default") for name, option in shared_options().items()}


def test_defaults_of_the_modules_are_those_of_http_options():
    assert RegistryOptions.of(DEFAULTS, connections=6).http == HttpOptions()


def test_every_shared_option_but_the_store_is_taken():
    taken = {*HttpOptions._fields, *RegistryOptions._fields} - {"connections", "http"}
    assert taken == shared_options().keys() - {"store"}


def test_missing_registries_are_an_empty_list():
    assert RegistryOptions.of({**DEFAULTS, "registries": None}, connections=1).registries == ()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("timeout", 0.001),
        ("timeout", 86400.0),
        ("timeout_total", 0.0),
        ("retries", 0),
        ("retries", 1000),
        ("requests_per_second", 1 / 86400),
        ("rate_limit_floor", 0),
    ],
)
def test_limits_of_the_ranges_are_accepted(name, value):
    assert RegistryOptions.of({**DEFAULTS, name: value}, connections=1)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("timeout", 0),
        ("timeout", -1),
        ("timeout", 86401),
        ("timeout_total", -1),
        ("retries", -1),
        ("retries", 1001),
        ("requests_per_second", 0),
        ("requests_per_second", -1),
        ("rate_limit_floor", -1),
    ],
)
def test_value_out_of_range_is_an_error_that_names_the_option(name, value):
    with pytest.raises(InputError, match=f"^{name} must"):
        RegistryOptions.of({**DEFAULTS, name: value}, connections=1)


@pytest.mark.parametrize("connections", [0, -1, 1001])
def test_connections_out_of_range_are_an_error_of_parallel(connections):
    with pytest.raises(InputError, match=r"^parallel must be between 1 and 1000"):
        RegistryOptions.of(DEFAULTS, connections)
