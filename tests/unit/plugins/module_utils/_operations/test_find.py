# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The entry of a store that a user means, and the error if there is none."""

from __future__ import annotations

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._image.errors import ReferenceError
from ansible_collections.lockstep.images.plugins.module_utils._image.names import Reference
from ansible_collections.lockstep.images.plugins.module_utils._operations.find import (
    find_label,
    find_name,
    find_text,
    not_in_store,
)
from ansible_collections.lockstep.images.plugins.module_utils._store.reader import IndexEntry
from ansible_collections.lockstep.images.plugins.module_utils._store.store import ImageStore
from ansible_collections.lockstep.images.tests.support.fakes import blob
from ansible_collections.lockstep.images.tests.support.images import demo_image
from ansible_collections.lockstep.images.tests.support.stores import put, rewrite

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
ONE, TWO = (IndexEntry(blob(text, MANIFEST)) for text in (b"one", b"two"))
FIRST, SECOND = (str(one.target.digest) for one in (ONE, TWO))
UNKNOWN = f"sha256:{'0' * 64}"
APP = "registry.example/app"
HUB = "docker.io/library/debian:12"
NAMES = {f"{APP}:1": ONE, f"{APP}:2": TWO, f"{APP}:also-2": TWO, f"{APP}@{FIRST}": ONE, HUB: ONE}

FOUND = {
    "its name": (f"{APP}:1", f"{APP}:1"),
    "a short name": ("debian:12", HUB),
    "blanks around it": (f"  {APP}:1 ", f"{APP}:1"),
    "a name with its digest": (f"{APP}:1@{FIRST}", f"{APP}:1"),
    "a name by digest": (f"{APP}@{FIRST}", f"{APP}@{FIRST}"),
    "a digest that only tags have, the first in order": (f"{APP}@{SECOND}", f"{APP}:2"),
    "a name with the digest of another image": (f"{APP}:1@{SECOND}", None),
    "another tag": (f"{APP}:3", None),
    "another repository": (f"registry.example/apple@{FIRST}", None),
    "a digest that no name has": (f"{APP}@{UNKNOWN}", None),
    "the start of a name": ("registry.example/ap:1", None),
}


@pytest.mark.parametrize(("text", "name"), FOUND.values(), ids=FOUND)
def test_reference_finds_the_name_that_it_matches(text, name):
    assert find_name(Reference.parse(text), NAMES) == name
    assert find_text(text, NAMES) == name


@pytest.mark.parametrize("text", ["", " ", "a b", "r.example/UPPER:1", "oci:/tmp/x", "x" * 300])
def test_text_that_is_not_a_reference_finds_no_name(text):
    assert find_text(text, NAMES) is None
    assert find_label(text, NAMES) is None


LABELS = {**NAMES, "12": ONE, "v1@sha256": TWO, "a b": TWO}


@pytest.mark.parametrize(
    ("text", "label"),
    [("12", "12"), (" 12 ", "12"), ("a b", "a b"), (SECOND, "a b"), (UNKNOWN, None), ("13", None)],
)
def test_label_of_another_tool_and_a_digest_find_an_entry(text, label):
    assert find_label(text, LABELS) == label


def test_reference_is_found_before_a_label_of_the_same_spelling():
    labelled = {"debian:12": TWO, HUB: ONE}
    assert find_label("debian:12", labelled) == HUB


@pytest.fixture(name="path")
def fixture_path(tmp_path):
    return tmp_path / "store"


@pytest.mark.parametrize("text", ["debian:12", f"debian@{UNKNOWN}", UNKNOWN])
def test_missing_image_is_an_error_that_names_the_store_and_the_whole_name(path, text):
    error = not_in_store(ImageStore(str(path)), text)
    subject = text if text == UNKNOWN else Reference.parse(text)
    assert str(error) == f"{path} does not hold {subject}"
    assert "Pull it first." in error.hint


def test_label_of_several_images_is_an_error_that_lists_their_digests(path):
    images = [demo_image("app", str(number), layers=1, size=50) for number in range(2)]
    for one in images:
        put(path, one, "registry.example/app:1")
    label = {"org.opencontainers.image.ref.name": "latest"}
    rewrite(path, lambda entries: [entry.update(annotations=label) for entry in entries])
    put(path, images[0])
    rewrite(path, lambda entries: entries[-1].update(annotations=label))
    store = ImageStore(str(path))
    several = [one for one in store.labelled() if one.startswith("latest@")]
    error = not_in_store(store, "latest")
    assert str(error) == f"{path} holds {len(several)} images called latest, expected one"
    assert all(one in error.hint for one in several)


@pytest.mark.parametrize("text", ["", "a b", "r.example/UPPER:1"])
def test_invalid_name_is_an_error_of_its_own(path, text):
    with pytest.raises(ReferenceError):
        not_in_store(ImageStore(str(path)), text)


def test_name_that_is_there_is_found_without_reading_the_others():
    class Index(dict):
        def __iter__(self):
            raise AssertionError("all names are read")

    assert find_label("debian:12", Index({HUB: ONE})) == HUB
