# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host holds for a name, as data and as the text for users."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.lockstep.images.plugins.plugin_utils._held import (
    NOTHING,
    UNKNOWN,
    Comparison,
    Held,
)

DIGEST = f"sha256:{'a' * 64}"
WHOLE = Held(f"{DIGEST} (linux/amd64)")
BROKEN = Held(f"{DIGEST} (linux/amd64)", is_incomplete=True)
OTHER = Held(f"sha256:{'b' * 64} (linux/amd64)")
PLUGIN_UTILS = Path(__file__).parents[4] / "plugins" / "plugin_utils"


@pytest.mark.parametrize(("complete", "wanted"), [(True, WHOLE), (False, BROKEN)])
def test_field_of_image_info_says_whether_content_is_missing(complete, wanted):
    image = {"digest": DIGEST, "platforms": ["linux/amd64"], "complete": complete}
    assert Held.of_image(image) == wanted


def test_platform_that_ends_with_the_mark_does_not_make_an_image_incomplete():
    image = {"digest": DIGEST, "platforms": ["linux/amd64), incomplete"], "complete": True}
    assert Held.of_image(image).is_incomplete is False


@pytest.mark.parametrize("key", ["digest", "platforms", "complete"])
def test_image_without_a_key_is_an_error(key):
    image = {"digest": DIGEST, "platforms": [], "complete": True}
    del image[key]
    with pytest.raises(KeyError, match=key):
        Held.of_image(image)


@pytest.mark.parametrize("held", [WHOLE, BROKEN, NOTHING, UNKNOWN, Held("another index")])
def test_text_of_image_sync_is_read_into_the_value_that_it_shows(held):
    assert Held.parse(str(held)) == held


def test_whole_content_is_the_same_content():
    assert (BROKEN.whole, WHOLE.whole) == (WHOLE, WHOLE)
    assert BROKEN != WHOLE


STATES = {
    "another digest": (WHOLE, OTHER, "differs"),
    "another digest that is incomplete": (WHOLE, OTHER._replace(is_incomplete=True), "differs"),
    "missing content": (WHOLE, BROKEN, "incomplete"),
    "no such name": (WHOLE, NOTHING, "missing"),
    "no such name, which all lack content of": (BROKEN, NOTHING, "missing"),
    "name that is not wanted": (NOTHING, WHOLE, "extra"),
    "name that is not wanted and incomplete": (NOTHING, BROKEN, "extra"),
    "unknown content": (WHOLE, UNKNOWN, "unknown"),
    "unknown expectation": (UNKNOWN, WHOLE, "unknown"),
    "nothing known": (UNKNOWN, UNKNOWN, "unknown"),
}


@pytest.mark.parametrize(("wanted", "found", "state"), STATES.values(), ids=STATES)
def test_comparison_names_the_state(wanted, found, state):
    row = Comparison(wanted, found)
    assert (row.state, row.is_same) == (state, False)


def test_equal_content_is_the_same_unless_it_is_unknown():
    assert Comparison(WHOLE, WHOLE).is_same
    assert Comparison(NOTHING, NOTHING).is_same
    assert not Comparison(UNKNOWN, UNKNOWN).is_same


def test_mark_of_missing_content_is_read_and_written_in_one_file():
    users = [path.name for path in PLUGIN_UTILS.glob("*.py") if "INCOMPLETE" in path.read_text()]
    assert users == ["_held.py"]
