# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Signatures are added to what others have signed, also if others sign at the same time."""

from __future__ import annotations

import threading

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._image.errors import (
    NotFoundError,
    ProtocolError,
)
from ansible_collections.lockstep.images.plugins.module_utils._image.manifest import (
    OCI_INDEX,
    Descriptor,
    Manifest,
)
from ansible_collections.lockstep.images.plugins.module_utils._image.names import Digest
from ansible_collections.lockstep.images.plugins.module_utils._image.sources import ContentSource
from ansible_collections.lockstep.images.plugins.module_utils._operations.signing import (
    append_signature,
    attach_bundle,
)
from ansible_collections.lockstep.images.plugins.module_utils._trust.cosign import signature_tag
from ansible_collections.lockstep.images.plugins.module_utils._trust.errors import (
    SignatureListError,
)
from ansible_collections.lockstep.images.plugins.module_utils._trust.making import (
    signed_bundle,
    signed_payload,
)
from ansible_collections.lockstep.images.plugins.module_utils._trust.private_key import (
    read_private_key,
)
from ansible_collections.lockstep.images.tests.support.images import index
from ansible_collections.lockstep.images.tests.support.signing import (
    SIGNATURE,
    key,
    payload,
    sig_manifest,
    signed,
)

DIGEST = Digest.parse("sha256:" + "1" * 64)
TAG = signature_tag(DIGEST)
OWN = read_private_key(key("ed25519").secret.encode(), None, "key")
LAYER = signed_payload(OWN, "a.b/c", DIGEST, {})
MANIFEST, BLOBS = signed_bundle(OWN, Descriptor(OCI_INDEX, DIGEST, 10), {})


def others(*kinds):
    """Return the manifest of signatures by other keys."""
    entries = [signed(payload(str(DIGEST), "a.b/c"), key(kind)) for kind in kinds]
    return Manifest.parse(sig_manifest(entries).raw, "", "x")


class Place(ContentSource):
    """A repository in memory. ``steps`` are called one by one, each before a manifest is written."""

    def __init__(self, tagged=None, steps=(), tries=3):
        self.lock = threading.Lock()
        self.tagged = tagged
        self.after = [*steps]
        self.before = []
        self.tries = tries
        self.blobs = []
        self.listed = []
        self.writes = 0

    def __str__(self):
        return "a.b/c"

    @property
    def source(self):
        return self

    def read_manifest(self, identifier):
        assert identifier == TAG
        if self.tagged is None:
            raise NotFoundError("no such tag")
        return Descriptor(self.tagged.media_type, DIGEST, 1), self.tagged

    def write(self, blob):
        self.blobs.append(blob.descriptor.digest)
        if self.before:
            self.tagged = self.before.pop(0)

    def put(self, manifest, tag):
        self.writes += 1
        assert all(one.digest in self.blobs for one in manifest.blobs[:1])
        if tag:
            self.tagged = self.after.pop(0) if self.after else manifest
        elif not (self.after and self.after.pop(0)):
            self.listed = [Descriptor(manifest.media_type, Digest.of(manifest.raw), 1)]

    def referrers(self, digest):
        return self.listed

    def backoff(self, attempt, descriptor=None):
        return attempt < self.tries

    @property
    def signatures(self):
        return [one.annotations[SIGNATURE] for one in self.tagged.layers]


def test_first_signature_is_written_with_its_blobs():
    place = Place()
    append_signature(place, DIGEST, LAYER)
    assert place.signatures == [LAYER.descriptor.annotations[SIGNATURE]]
    assert (place.blobs[0], place.writes) == (LAYER.descriptor.digest, 1)


def test_signatures_of_others_are_kept():
    place = Place(others("p256", "p384"))
    before = place.signatures
    append_signature(place, DIGEST, LAYER)
    assert place.signatures == [*before, LAYER.descriptor.annotations[SIGNATURE]]


def test_signature_that_another_process_replaced_is_added_to_its_own():
    theirs = others("p256")
    place = Place(steps=[theirs])
    append_signature(place, DIGEST, LAYER)
    assert place.writes == 2
    assert place.signatures == [
        theirs.layers[0].annotations[SIGNATURE],
        LAYER.descriptor.annotations[SIGNATURE],
    ]


def test_signature_that_arrives_before_the_write_is_not_lost():
    place, theirs = Place(), others("p256")
    place.before = [None, theirs]  # while the layer is written nothing, while the configuration is
    append_signature(place, DIGEST, LAYER)
    assert place.writes == 1
    assert len(place.signatures) == 2


def test_registry_that_does_not_keep_a_signature_is_an_error():
    place = Place(steps=[others("p256")] * 10)
    with pytest.raises(ProtocolError, match="does not keep the new signature"):
        append_signature(place, DIGEST, LAYER)
    assert place.writes == 3


@pytest.mark.parametrize(
    ("tagged", "message"),
    [
        pytest.param(Manifest.parse(index([]).raw, "", "x"), "is an index", id="index"),
        pytest.param(others(*["p256"] * 50), "has 50 signatures, and no more", id="full"),
    ],
)
def test_tag_without_room_for_a_signature_is_not_changed(tagged, message):
    place = Place(tagged)
    with pytest.raises(SignatureListError, match=message):
        append_signature(place, DIGEST, LAYER)
    assert place.writes == 0


def test_bundle_is_attached_until_it_is_listed():
    place = Place(steps=[True, False])
    attach_bundle(place, DIGEST, MANIFEST, BLOBS)
    assert place.writes == 2
    assert len(place.blobs) == 2


def test_registry_that_does_not_list_a_bundle_is_an_error():
    place = Place(steps=[True] * 10)
    with pytest.raises(ProtocolError, match="the list of referrers of sha256:1"):
        attach_bundle(place, DIGEST, MANIFEST, BLOBS)
