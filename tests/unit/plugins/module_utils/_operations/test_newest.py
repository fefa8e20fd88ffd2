# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which images of a repository are the newest."""

from __future__ import annotations

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._image.dates import Moment
from ansible_collections.lockstep.images.plugins.module_utils._operations.newest import (
    Dated,
    join_some,
    newest,
)

DAYS = {day: Moment.parse(f"2026-01-{day:02}T00:00:00Z") for day in range(1, 10)}
EPOCH = Moment.parse("1970-01-01T00:00:00Z")


def dated(tag, made, repository="app"):
    return Dated(f"{repository}:{tag}", repository, tag, made)


def test_latest_images_of_each_repository_are_chosen():
    images = [dated("a", DAYS[1]), dated("b", DAYS[3]), dated("c", DAYS[2])]
    images += [dated("x", DAYS[9], "web"), dated("y", DAYS[8], "web")]
    assert newest(images, 1).chosen == ["app:b", "web:x"]
    assert newest(images, 2).chosen == ["app:b", "app:c", "web:x", "web:y"]


def test_images_without_a_date_are_unknown():
    found = newest([dated("a", None), dated("b", DAYS[1])], 1)
    assert (found.chosen, found.unknown) == (["app:b"], ["app:a"])


def test_placeholder_counts_as_a_date_only_if_all_images_have_it():
    mixed = newest([dated("a", EPOCH), dated("b", DAYS[1])], 2)
    assert (mixed.chosen, mixed.unknown) == (["app:b"], ["app:a"])
    alike = newest([dated("1.9", EPOCH), dated("1.10", EPOCH)], 1)
    assert (alike.chosen, alike.unknown) == (["app:1.10"], [])


def test_versions_in_tags_decide_between_equal_dates():
    found = newest([dated("v1.9", DAYS[1]), dated("v1.10", DAYS[1]), dated("v2", DAYS[2])], 2)
    assert found.chosen == ["app:v2", "app:v1.10"]
    assert sorted(found.equal) == ["app:v1.10", "app:v1.9"]


def test_equal_dates_are_reported_only_where_they_decide():
    found = newest([dated("a", DAYS[1]), dated("b", DAYS[1]), dated("c", DAYS[2])], 1)
    assert (found.chosen, found.equal) == (["app:c"], [])


@pytest.mark.parametrize(
    ("count", "text"), [(0, ""), (1, "0"), (5, "0, 1, 2, 3, 4"), (7, "0, 1, 2, 3, 4 and 2 more")]
)
def test_message_lists_five_names_at_most(count, text):
    assert join_some([str(number) for number in range(count)]) == text
