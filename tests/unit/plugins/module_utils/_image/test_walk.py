# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Walk a graph of manifests, of which a part may be missing."""

from __future__ import annotations

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._image.errors import ManifestError
from ansible_collections.lockstep.images.plugins.module_utils._image.manifest import (
    OCI_INDEX,
    OCI_MANIFEST,
    Manifest,
)
from ansible_collections.lockstep.images.plugins.module_utils._image.names import Digest
from ansible_collections.lockstep.images.plugins.module_utils._image.walk import walk
from ansible_collections.lockstep.images.tests.support.graphs import (
    AMD,
    ARM,
    NAME,
    image,
    index,
    json_of,
    root_of,
)

INNER = index(json_of(image("amd"), OCI_MANIFEST, AMD))
SHARED = index(
    json_of(INNER, OCI_INDEX),
    json_of(image("arm"), OCI_MANIFEST, ARM),
    json_of(image("amd"), OCI_MANIFEST, AMD),
)


def walked(root: bytes, *documents: bytes, **options) -> list[tuple[Digest, bool, int]]:
    """Return what a walk yields if the source only has `documents`."""
    there = {Digest.of(raw): Manifest.parse(raw, "", NAME) for raw in documents}
    nodes = walk(root_of(root), lambda descriptor: there.get(descriptor.digest), **options)
    return [(node.descriptor.digest, node.manifest is not None, node.depth) for node in nodes]


def test_a_walk_yields_parents_first_and_each_digest_once():
    found = walked(SHARED, SHARED, INNER, image("amd"), image("arm"))
    assert found == [
        (Digest.of(SHARED), True, 0),
        (Digest.of(INNER), True, 1),
        (Digest.of(image("amd")), True, 2),
        (Digest.of(image("arm")), True, 1),
    ]


def test_walk_yields_a_missing_manifest_without_its_children():
    found = walked(SHARED, SHARED, image("arm"))
    assert [(digest, there) for digest, there, _depth in found] == [
        (Digest.of(SHARED), True),
        (Digest.of(INNER), False),
        (Digest.of(image("arm")), True),
        (Digest.of(image("amd")), False),
    ]


def test_a_walk_follows_the_children_that_are_chosen():
    found = walked(
        SHARED,
        SHARED,
        INNER,
        image("amd"),
        choose_children=lambda manifest: manifest.children[:1],
    )
    assert [depth for _digest, _there, depth in found] == [0, 1, 2]


def test_walks_with_shared_digests_yield_each_once():
    seen: set[Digest] = set()
    first = walked(INNER, INNER, image("amd"), seen=seen)
    second = walked(SHARED, SHARED, INNER, image("amd"), seen=seen)
    assert len(first) == 2
    assert [depth for _digest, _there, depth in second] == [0, 1]


def test_only_a_walk_with_a_subject_is_bounded():
    documents = [image("amd")]
    for level in range(20):
        media_type = OCI_INDEX if level else OCI_MANIFEST
        documents.append(index(json_of(documents[-1], media_type, AMD)))
    assert len(walked(documents[-1], *documents)) == 21
    with pytest.raises(ManifestError, match=f"{NAME}: indexes are nested deeper than 8 levels"):
        walked(documents[-1], *documents, subject=NAME)
