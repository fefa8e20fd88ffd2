# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names of files in messages."""

from __future__ import annotations

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._image.escaped import shown


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (b"etc/passwd", '"etc/passwd"'),
        ("\u00e9\u6f22".encode(), '"\u00e9\u6f22"'),
        (b"a\nb\x1b[31m", r'"a\nb\x1b[31m"'),
        (b"\xff\\xff", r'"\xff\\xff"'),
        ("\u202egnp", r'"\u202egnp"'),
        ("\udc80", r'"\udc80"'),
    ],
)
def test_name_is_printable_and_no_other_name_looks_like_it(name, expected):
    assert shown(name) == expected
    assert shown(name).isprintable()


def test_long_name_keeps_its_end():
    text = shown(b"a" * 200 + b"end")
    assert (len(text), text[-4:]) == (145, 'end"')
