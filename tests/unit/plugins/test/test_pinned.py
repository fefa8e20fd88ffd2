# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The test pinned, which is true for a name with a digest."""

from __future__ import annotations

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.lockstep.images.plugins.test.pinned import TestModule as Plugin
from ansible_collections.lockstep.images.plugins.test.pinned import pinned
from ansible_collections.lockstep.images.tests.support.tables import params, table

SHA256, SHA512 = f"sha256:{'a' * 64}", f"sha512:{'b' * 128}"


def test_ansible_finds_the_test():
    assert Plugin().tests() == {"pinned": pinned}


@pytest.mark.parametrize(
    "name", [f"debian@{SHA256}", f"debian:12@{SHA256}", f"localhost:5000/a/b@{SHA512}"]
)
def test_a_name_with_a_digest_is_pinned(name):
    assert pinned(name) is True


@pytest.mark.parametrize(
    "name", ["debian", "debian:12", "localhost:5000/a/b", f"sha256:{'a' * 63}"]
)
def test_name_without_a_digest_is_not_pinned(name):
    assert pinned(name) is False


@pytest.mark.parametrize("case", params(table("reference", "invalid"), "text"))
def test_invalid_name_is_an_error_and_not_false(case):
    with pytest.raises(AnsibleFilterError):
        pinned(case["text"])


@pytest.mark.parametrize("value", [None, 12, [f"debian@{SHA256}"]])
def test_value_that_is_not_text_is_an_error_that_names_its_type(value):
    with pytest.raises(AnsibleFilterError, match=f"of type {type(value).__name__}, not a string"):
        pinned(value)
