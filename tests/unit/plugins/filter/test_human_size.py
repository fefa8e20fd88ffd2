# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sizes as people read them."""

from __future__ import annotations

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.lockstep.images.plugins.filter.human_size import FilterModule, human_size

SI = [
    (0, "0 B"),
    (1, "1 B"),
    (999, "999 B"),
    (1000, "1 kB"),
    (1004, "1 kB"),
    (1005, "1.01 kB"),
    (1500, "1.5 kB"),
    (9994, "9.99 kB"),
    (9995, "10 kB"),
    (78512345, "78.5 MB"),
    (78450000, "78.5 MB"),
    (999499, "999 kB"),
    (999500, "1 MB"),
    (1000000, "1 MB"),
    (123456789, "123 MB"),
    (1234567890, "1.23 GB"),
    (10**12, "1 TB"),
    (10**15, "1 PB"),
    (10**18, "1 EB"),
    (1024**7 - 1, "1181 EB"),
]
BINARY = [
    (1000, "1000 B"),
    (1023, "1023 B"),
    (1024, "1 KiB"),
    (1536, "1.5 KiB"),
    (1023 * 1024, "1023 KiB"),
    (1023 * 1024 + 512, "1 MiB"),
    (78512345, "74.9 MiB"),
    (1024**3, "1 GiB"),
    (1024**4, "1 TiB"),
    (1024**5, "1 PiB"),
    (1024**7 - 1, "1024 EiB"),
]


def test_ansible_finds_the_filter():
    assert FilterModule().filters() == {"human_size": human_size}


@pytest.mark.parametrize(("size", "text"), SI)
def test_units_of_1000_are_the_default(size, text):
    assert human_size(size) == human_size(size, units="si") == text


@pytest.mark.parametrize(("size", "text"), BINARY)
def test_units_of_1024_have_separate_names(size, text):
    assert human_size(size, "binary") == text


@pytest.mark.parametrize("value", [78512345.0, "78512345", "7.8512345e7"])
def test_size_can_be_a_float_or_a_text(value):
    assert human_size(value) == "78.5 MB"


NO_SIZES = [-1, -0.5, "-1", "", "12 MB", "0x10", "nan", "inf", float("nan"), float("inf")]
NO_SIZES += [1024**7, 10**500, "1e999999999", None, True, False, [], [12], {"size": 12}]


@pytest.mark.parametrize("value", NO_SIZES, ids=lambda value: repr(value)[:20])
def test_invalid_size_is_an_error_that_shows_the_value(value):
    with pytest.raises(AnsibleFilterError, match=r"human_size: .* is not a number of bytes") as got:
        human_size(value)
    assert len(str(got.value)) < 300


@pytest.mark.parametrize("units", ["SI", "iec", "", None, 1000, ["si"]])
def test_unknown_unit_is_an_error_that_lists_the_valid_ones(units):
    with pytest.raises(AnsibleFilterError, match=r"human_size: units is .*, expected si or binary"):
        human_size(12, units=units)
