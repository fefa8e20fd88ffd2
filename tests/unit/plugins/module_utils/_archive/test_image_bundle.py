# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Images in one archive: its members, and their order."""

from __future__ import annotations

import json

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._archive.image_bundle import (
    BundledImage,
    ImageBundle,
)
from ansible_collections.lockstep.images.plugins.module_utils._image.lock import LockedImage
from ansible_collections.lockstep.images.plugins.module_utils._image.manifest import (
    OCI_MANIFEST,
    Descriptor,
)
from ansible_collections.lockstep.images.plugins.module_utils._image.names import Digest


def descriptor(letter):
    return Descriptor(OCI_MANIFEST, Digest.of(letter.encode()), 1)


def bundled(name, layers="lm", **changes):
    root, config = descriptor(name), descriptor(f"config of {name}")
    blobs = tuple(map(descriptor, layers))
    image = BundledImage(
        f"docker.io/library/{name}:1", root, (), (root, config), blobs, (config, blobs)
    )
    return image._replace(**changes)


def members(*images, **how):
    bundle = ImageBundle(**how)
    for one in images:
        bundle.add(one, LockedImage(one.name, one.root.digest, OCI_MANIFEST, {}))
    return {one.name: one for one in bundle.archive(lambda _digest: None).members}


def value_of(member):
    with member.open() as file:
        return json.loads(file.read())


def test_every_blob_is_there_once_after_the_small_ones():
    names = [*members(bundled("a", "lm"), bundled("b", "lz"))]
    assert names[:4] == ["index.json", "lock.json", "manifest.json", "oci-layout"]
    assert names[4:8] == sorted(names[4:8])
    assert names[8:] == [f"blobs/sha256/{descriptor(one).digest.encoded}" for one in "lmz"]


@pytest.mark.parametrize(
    ("form", "heads"),
    [
        ("oci", ["index.json", "lock.json", "oci-layout"]),
        ("docker", ["lock.json", "manifest.json"]),
        ("both", ["index.json", "lock.json", "manifest.json", "oci-layout"]),
    ],
)
def test_form_decides_which_tools_read_it(form, heads):
    assert [name for name in members(bundled("a"), form=form) if "/" not in name] == heads


def test_known_blobs_are_left_out_but_named():
    found = members(bundled("a"), without={descriptor("l").digest})
    assert f"blobs/sha256/{descriptor('l').digest.encoded}" not in found
    (entry,) = value_of(found["manifest.json"])
    assert entry["Layers"] == [f"blobs/sha256/{descriptor(one).digest.encoded}" for one in "lm"]
    assert entry["RepoTags"] == ["docker.io/library/a:1"]


def test_image_that_docker_cannot_run_is_only_in_the_index():
    found = members(
        bundled("a", runnable=None), bundled("b", platforms=("linux/arm64", "linux/amd64"))
    )
    assert len(value_of(found["manifest.json"])) == 1
    annotations = [one["annotations"] for one in value_of(found["index.json"])["manifests"]]
    assert [one.get("io.lockstep.platforms") for one in annotations] == [
        None,
        "linux/amd64,linux/arm64",
    ]
