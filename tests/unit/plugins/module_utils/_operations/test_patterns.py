# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The errors of invalid patterns."""

from __future__ import annotations

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._image.errors import InputError
from ansible_collections.lockstep.images.plugins.module_utils._operations.patterns import pattern_of
from ansible_collections.lockstep.images.tests.support.tables import short


def refused(text: str) -> InputError:
    with pytest.raises(InputError) as caught:
        pattern_of(text)
    return caught.value


@pytest.mark.parametrize(
    "text", ["a\nb*", "a\0*", "\x1b[31m*", "a\u202e*", "A" * 10_000 + "*", "zz0any0zz\n"], ids=short
)
def test_F35_invalid_pattern_is_reported_on_one_short_line(text):
    message = str(refused(text))
    assert message.isprintable() and len(message) < 600


def test_F35_pattern_is_reported_unchanged():
    assert "'registry.example/App*'" in str(refused("registry.example/App*"))
    assert "zz0any" not in str(refused("registry.example/App*"))


def test_F35_possible_password_in_a_pattern_is_hidden():
    assert "hunter22" not in str(refused("user:hunter22@registry.example/*"))


def test_F25_white_space_around_a_pattern_is_ignored():
    assert pattern_of("debian:*\n")("docker.io/library/debian:12", None)
