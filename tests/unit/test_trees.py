# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every kind of error of trees and builds is expected by a test."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._build import errors as of_builds
from ansible_collections.lockstep.images.plugins.module_utils._rootfs import errors as of_trees
from ansible_collections.lockstep.images.tests.support.casetables import (
    is_expected,
    kinds_of,
)


@pytest.mark.parametrize("module", [of_trees, of_builds])
def test_every_kind_of_error_is_expected_by_a_test(module):
    kinds = kinds_of(module)
    files = [path.read_text(encoding="utf-8") for path in Path(__file__).parent.rglob("test_*.py")]
    assert kinds
    for kind, name in kinds.items():
        assert any(is_expected(kind, name, text) for text in files), kind
