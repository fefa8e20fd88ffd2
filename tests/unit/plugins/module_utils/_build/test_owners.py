# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Users and groups by name."""

from __future__ import annotations

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._build.owners import (
    OwnerError,
    owner_of,
)

PASSWD = b"root:x:0:0::/root:/bin/sh\nwww:x:33:34::/:/bin/false\nbad:x:y\n"
GROUP = b"root:x:0:\nweb:x:77:www\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [("1", (1, 1)), ("1:2", (1, 2)), ("www", (33, 34)), ("www:web", (33, 77)), ("5:web", (5, 77)), ("www:5", (33, 5))],
)  # fmt: skip
def test_owner_is_found(text, expected):
    assert owner_of(text, PASSWD, GROUP) == expected


@pytest.mark.parametrize("text", ["none", "www:none", "bad", "1:", ":1", "", "4294967295", "-1"])
def test_unknown_owner_is_refused(text):
    with pytest.raises(OwnerError):
        owner_of(text, PASSWD, GROUP)
