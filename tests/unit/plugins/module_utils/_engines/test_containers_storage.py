# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The records of containers/storage, as podman 4.3 and 5.8 write them."""

from __future__ import annotations

import json

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._engines.containers_storage import (
    ContainersStorage,
    StoredImage,
)

BASE = {"id": "aa", "compressed-diff-digest": "sha256:c1", "diff-digest": "sha256:d1"}
TOP = {
    "id": "bb",
    "parent": "aa",
    "compressed-diff-digest": "sha256:c2",
    "diff-digest": "sha256:d2",
}
IMAGE = {
    "id": "11",
    "names": ["docker.io/library/app:1"],
    "layer": "bb",
    "big-data-digests": {
        "manifest": "sha256:m1",
        "manifest-sha256:m1": "sha256:m1",
        "manifest-sha256:i1": "sha256:i1",
        "signature-m1": "sha256:s1",
        "sha256:11": "sha256:11",
    },
}


@pytest.fixture(name="record")
def fixture_record(tmp_path):
    def record(name, value, root="graph"):
        place = tmp_path / root / f"overlay-{'images' if name == 'images.json' else 'layers'}"
        place.mkdir(parents=True, exist_ok=True)
        (place / name).write_text(value if isinstance(value, str) else json.dumps(value))

    return record


@pytest.fixture(name="storage")
def fixture_storage(tmp_path):
    return lambda *roots: ContainersStorage(
        [str(tmp_path / root) for root in roots or ("graph",)], "overlay"
    )


def test_layers_are_known_by_both_digests(record, storage):
    record("layers.json", [BASE, TOP])
    assert storage().digests() == {"sha256:c1", "sha256:d1", "sha256:c2", "sha256:d2"}


def test_volatile_layers_and_additional_stores_count(record, storage):
    record("layers.json", [BASE])
    record("volatile-layers.json", [TOP])
    record("layers.json", [{"id": "cc", "diff-digest": "sha256:d3"}], "more")
    assert storage("graph", "more").digests() >= {"sha256:c1", "sha256:c2", "sha256:d3"}


def test_layer_that_is_being_written_does_not_count(record, storage):
    record("layers.json", [BASE, {**TOP, "flags": {"incomplete": True}}])
    assert storage().digests() == {"sha256:c1", "sha256:d1"}


def test_image_has_the_digests_of_its_manifests(record, storage):
    record("layers.json", [BASE, TOP])
    record("images.json", [IMAGE])
    names = ("docker.io/library/app:1",)
    assert storage().images() == [StoredImage("11", names, ("sha256:m1", "sha256:i1"), True)]


@pytest.mark.parametrize("layers", [[], [BASE], [TOP], [{**TOP, "parent": "bb"}]])
def test_image_without_a_layer_is_incomplete(record, storage, layers):
    record("layers.json", layers)
    record("images.json", [IMAGE])
    assert [one.is_complete for one in storage().images()] == [False]


def test_image_without_any_layer_is_complete(record, storage):
    record("images.json", [{"id": "11"}])
    assert storage().images() == [StoredImage("11", (), (), True)]


@pytest.mark.parametrize("text", ["", "null", "{}", "[1, null]", "[", "[[]]"])
def test_malformed_records_hold_nothing(record, storage, text):
    record("layers.json", text)
    record("images.json", text)
    assert (storage().digests(), storage().images()) == (set(), [])


def test_missing_directory_holds_nothing(storage):
    assert (storage().digests(), storage().images()) == (set(), [])
