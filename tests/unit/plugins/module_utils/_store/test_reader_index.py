# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The entries of index.json: how they are named, read and written."""

from __future__ import annotations

import json

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._image.errors import CorruptStoreError
from ansible_collections.lockstep.images.plugins.module_utils._image.manifest import (
    OCI_MANIFEST,
    Descriptor,
)
from ansible_collections.lockstep.images.plugins.module_utils._image.names import Digest
from ansible_collections.lockstep.images.plugins.module_utils._store.reader import (
    PLATFORMS,
    REF_NAME,
    IndexEntry,
    empty_index,
    entry_json,
    labels_of,
    name_of,
    parse_entry,
    render_index,
    render_names,
)

ONE, TWO = (Descriptor(OCI_MANIFEST, Digest.of(text), 3) for text in (b"one", b"two"))


def entry(descriptor, name=None):
    annotations = {} if name is None else {"annotations": {REF_NAME: name}}
    return {**descriptor.as_json(), **annotations}


def test_entry_is_read_as_it_was_written():
    written = IndexEntry(ONE, ("linux/amd64", "linux/arm64/v8"))
    assert parse_entry(entry_json("app:1", written), "index.json") == written


def test_platforms_are_written_sorted_and_only_if_there_are_any():
    assert PLATFORMS not in entry_json("app:1", IndexEntry(ONE))["annotations"]
    unsorted = IndexEntry(ONE, ("linux/arm64/v8", "linux/amd64"))
    assert entry_json("app:1", unsorted)["annotations"][PLATFORMS] == "linux/amd64,linux/arm64/v8"


@pytest.mark.parametrize("wrong", [{}, {"digest": "sha256:0"}, {"size": -1}, {"mediaType": 1}])
def test_entry_that_is_not_a_descriptor_is_an_error_with_the_path(wrong):
    value = {**entry(ONE, "app:1"), **wrong} if wrong else {}
    with pytest.raises(CorruptStoreError) as caught:
        parse_entry(value, "/store/index.json: app:1")
    assert caught.value.details["path"] == "/store/index.json"


@pytest.mark.parametrize(
    "value", [{}, {"annotations": None}, {"annotations": []}, {"annotations": {REF_NAME: 1}}]
)
def test_entry_without_a_text_as_name_has_none(value):
    assert name_of(value) == ""


def test_labels_are_names_and_digests_where_there_is_no_name():
    entries = [entry(ONE, "registry.example/app:1"), entry(TWO, "latest"), entry(TWO)]
    assert labels_of(entries) == ["registry.example/app:1", "latest", str(TWO.digest)]


def test_bare_tag_of_two_images_is_labelled_with_the_digest():
    entries = [entry(ONE, "latest"), entry(TWO, "latest")]
    assert labels_of(entries) == [f"latest@{ONE.digest}", f"latest@{TWO.digest}"]


def test_index_is_rendered_sorted_with_the_last_entry_of_each_full_name():
    index = empty_index()
    index["manifests"] = [
        entry(TWO, "r.example/b:1"),
        entry(ONE, "r.example/a:1"),
        entry(TWO, "r.example/a:1"),
    ]
    rendered = json.loads(render_index(index))
    assert [(name_of(one), one["digest"]) for one in rendered["manifests"]] == [
        ("r.example/a:1", str(TWO.digest)),
        ("r.example/b:1", str(TWO.digest)),
    ]


def test_index_keeps_every_entry_of_a_bare_tag():
    index = empty_index()
    index["manifests"] = [entry(ONE, "latest"), entry(TWO, "latest")]
    assert len(json.loads(render_index(index))["manifests"]) == 2


def test_rendered_names_do_not_depend_on_their_order():
    names = {"r.example/a:1": IndexEntry(ONE), "r.example/b:1": IndexEntry(TWO)}
    assert render_names(names) == render_names(dict(reversed(names.items())))
    assert render_names({}) == render_index(empty_index())
