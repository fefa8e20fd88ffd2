# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The steps that made an image, as its configuration lists them."""

from __future__ import annotations

import json

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._image.manifest import ImageConfig
from ansible_collections.lockstep.images.plugins.module_utils._operations.history import (
    history_steps,
)


def test_a_configuration_without_a_history_has_no_steps():
    assert history_steps(ImageConfig.parse(b"{}", "here")) == history_steps(None) == []


@pytest.mark.parametrize(
    ("history", "entries"),
    [
        ([{"created_by": "x"}] * 9, 9),
        ([], 0),
        ("text", 0),
        (None, 0),
        ([7, {"empty_layer": "perhaps"}, None], 1),
    ],
    ids=["longer", "none", "text", "null", "odd-entries"],
)
def test_a_wrong_history_is_tolerated(history, entries):
    """M033."""
    raw = json.dumps({"history": history, "rootfs": {"diff_ids": []}}).encode()
    assert len(history_steps(ImageConfig.parse(raw, "here"))) == entries
