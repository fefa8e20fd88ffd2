# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filter table: aligned columns."""

from __future__ import annotations

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.lockstep.images.plugins.filter.table import table

HEX = "0123456789abcdef" * 4


@pytest.mark.parametrize(
    ("rows", "lines"),
    [
        ([], ["NAME  SIZE"]),
        ([{"name": "a", "size": 1}], ["NAME  SIZE", "a     1"]),
        (
            [{"name": "longer", "size": 10}, {"name": "b", "size": None, "more": 1}],
            ["NAME    SIZE", "longer  10", "b       None"],
        ),
        ([{"name": "a", "size": ""}], ["NAME  SIZE", "a"]),
        ([{"name": "two\nlines", "size": "\x1b[31m"}], ["NAME       SIZE", "two lines  [31m"]),
        (
            [{"name": f"sha256:{HEX} (x)", "size": 1}],
            [f"NAME{' ' * 21}SIZE", "sha256:0123456789ab (x)  1"],
        ),
        (
            [{"name": f"sha512:{HEX}{HEX}", "size": 1}],
            [f"NAME{' ' * 17}SIZE", "sha512:0123456789ab  1"],
        ),
        ([{"name": "sha256:0123", "size": 1}], ["NAME         SIZE", "sha256:0123  1"]),
    ],
)
def test_columns_are_as_wide_as_their_content(rows, lines):
    assert table(rows, ["name", "size"]) == lines


def test_long_text_is_shortened():
    assert max(map(len, table([{"a": "x" * 10_000}], ["a"]))) == 120


@pytest.mark.parametrize("rows", [None, 1, [1], [{"b": 1}], [None]])
def test_rows_without_the_columns_are_an_error(rows):
    with pytest.raises(AnsibleFilterError, match=r"table: .*, expected a list of dictionaries"):
        table(rows, ["a"])
