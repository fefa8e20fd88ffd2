# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Walk from a descriptor to everything that an image needs, also with a source of wrong content."""

from __future__ import annotations

import json

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._image.errors import (
    ContentError,
    DigestMismatchError,
    ManifestError,
    NoPlatformError,
    SizeMismatchError,
    UnsupportedError,
)
from ansible_collections.lockstep.images.plugins.module_utils._image.graph import closure_of
from ansible_collections.lockstep.images.plugins.module_utils._image.manifest import (
    OCI_INDEX,
    OCI_MANIFEST,
    Descriptor,
    Manifest,
)
from ansible_collections.lockstep.images.plugins.module_utils._image.names import Digest, Platform
from ansible_collections.lockstep.images.tests.support.graphs import (
    AMD,
    ARM,
    NAME,
    image,
    index,
    json_of,
    root_of,
)
from ansible_collections.lockstep.images.tests.support.tables import assert_tells


class Source:
    """Serves manifests by digest and counts; ``lies`` have digests that are not theirs."""

    def __init__(self, *documents: bytes, lies: dict[Digest, bytes] | None = None) -> None:
        self.held = {Digest.of(raw): raw for raw in documents}
        self.held.update(lies or {})
        self.reads: list[Digest] = []

    def read(self, descriptor: Descriptor) -> Manifest:
        self.reads.append(descriptor.digest)
        return Manifest.parse(self.held[descriptor.digest], descriptor.media_type, NAME)

    def read_verified(self, descriptor: Descriptor) -> Manifest:
        manifest = self.read(descriptor)
        if not descriptor.digest.matches(manifest.raw):
            raise DigestMismatchError(f"{NAME}: {descriptor.digest} has other content")
        return manifest


def refused(error: type[ContentError], root: bytes, source: Source, *platforms: Platform) -> str:
    with pytest.raises(error) as caught:
        closure_of(root_of(root), platforms or (AMD,), source.read, NAME)
    assert_tells(caught.value, error.kind, NAME)
    return str(caught.value)


def test_an_image_is_its_own_closure():
    raw = image("config", "a", "b", "a")
    closure = closure_of(root_of(raw, OCI_MANIFEST), [AMD], Source(raw).read, NAME)
    assert [d.digest for d, _manifest in closure.manifests] == [Digest.of(raw)]
    assert [blob.digest for blob in closure.blobs] == [
        Digest.of(c) for c in (b"config", b"a", b"b")
    ]
    assert closure.images[0].wanted is None
    assert closure.images[0].size == len(raw) + len(b"config") + 2


def test_only_the_requested_platforms_of_an_index_are_read():
    arm, amd = image("arm", "shared"), image("amd", "shared")
    root = index(json_of(arm, OCI_MANIFEST, ARM), json_of(amd, OCI_MANIFEST, AMD))
    source = Source(root, arm, amd)
    closure = closure_of(root_of(root), [AMD], source.read, NAME)
    assert source.reads == [Digest.of(root), Digest.of(amd)]
    assert [d.digest for d, _manifest in closure.manifests] == [Digest.of(amd), Digest.of(root)]


def test_children_come_first_and_each_digest_once():
    """M025."""
    arm, amd = image("arm", "shared"), image("amd", "shared")
    root = index(json_of(arm, OCI_MANIFEST, ARM), json_of(amd, OCI_MANIFEST, AMD))
    closure = closure_of(root_of(root), [AMD, ARM], Source(root, arm, amd).read, NAME)
    digests = [descriptor.digest for descriptor, _manifest in closure.manifests]
    assert digests == [Digest.of(amd), Digest.of(arm), Digest.of(root)]
    assert [blob.digest for blob in closure.blobs].count(Digest.of(b"shared")) == 1


@pytest.mark.parametrize("difference", [-1, 1])
def test_a_manifest_has_the_size_its_index_promised(difference):
    """M012."""
    raw = image("amd")
    root = index(json_of(raw, OCI_MANIFEST, AMD, size=len(raw) + difference))
    message = refused(SizeMismatchError, root, Source(root, raw))
    assert f"has {len(raw)} bytes, its index promised {len(raw) + difference}" in message


def test_one_digest_with_two_sizes_is_refused():
    """M015."""
    raw = image("both")
    root = index(
        json_of(raw, OCI_MANIFEST, AMD), json_of(raw, OCI_MANIFEST, ARM, size=len(raw) + 1)
    )
    refused(SizeMismatchError, root, Source(root, raw), AMD, ARM)


def test_no_match_lists_the_available_platforms():
    """M019."""
    raw = image("arm")
    root = index(json_of(raw, OCI_MANIFEST, ARM))
    assert "available: linux/arm64" in refused(NoPlatformError, root, Source(root, raw))


def test_an_empty_index_has_no_platform():
    """M026."""
    root = index()
    assert "available: none" in refused(NoPlatformError, root, Source(root))


def test_chosen_entry_that_is_not_a_manifest_is_rejected():
    """M010."""
    raw = image("amd")
    odd = json_of(b"x", "application/vnd.example+json", ARM)
    root = index(odd, json_of(raw, OCI_MANIFEST, AMD))
    closure_of(root_of(root), [AMD], Source(root, raw).read, NAME)
    message = refused(UnsupportedError, root, Source(root, raw), ARM)
    assert "application/vnd.example+json" in message


def test_an_index_in_an_index_is_followed():
    """M023."""
    raw = image("amd")
    inner = index(json_of(raw, OCI_MANIFEST, AMD))
    root = index(json_of(inner, OCI_INDEX, AMD))
    closure = closure_of(root_of(root), [AMD], Source(root, inner, raw).read, NAME)
    digests = [descriptor.digest for descriptor, _manifest in closure.manifests]
    assert digests == [Digest.of(raw), Digest.of(inner), Digest.of(root)]
    assert closure.images[0].descriptor.digest == Digest.of(raw)


@pytest.mark.parametrize(("depth", "accepted"), [(8, True), (9, False), (200, False)])
def test_indexes_are_nested_8_deep_at_most(depth, accepted):
    """M023."""
    documents = [image("amd")]
    for level in range(depth):
        media_type = OCI_INDEX if level else OCI_MANIFEST
        documents.append(index(json_of(documents[-1], media_type, AMD)))
    source = Source(*documents)
    if accepted:
        assert closure_of(root_of(documents[-1]), [AMD], source.read, NAME).images
    else:
        assert "nested deeper" in refused(ManifestError, documents[-1], source)
    assert len(source.reads) <= 9


def test_an_index_that_contains_itself_ends():
    """M024: only a source with wrong digests can serve one, and verification finds it."""
    promised = Digest.of(b"what it claims to be")
    loop = index({"mediaType": OCI_INDEX, "digest": str(promised), "size": 235})
    loop += b" " * (235 - len(loop))
    root = index({"mediaType": OCI_INDEX, "digest": str(promised), "size": len(loop)})
    source = Source(root, lies={promised: loop})
    assert "list each other" in refused(ManifestError, root, source)
    assert len(source.reads) == 2
    with pytest.raises(DigestMismatchError):
        closure_of(root_of(root), [AMD], source.read_verified, NAME)


def test_a_cycle_of_two_indexes_ends():
    """M024."""
    a, b = Digest.of(b"a"), Digest.of(b"b")
    to_b = index({"mediaType": OCI_INDEX, "digest": str(b), "size": 150}).ljust(150)
    to_a = index({"mediaType": OCI_INDEX, "digest": str(a), "size": 150}).ljust(150)
    assert len(to_a) == len(to_b)
    size = len(to_a)
    to_b, to_a = (raw.replace(b"150", str(size).encode()) for raw in (to_b, to_a))
    source = Source(lies={a: to_b, b: to_a})
    with pytest.raises(ManifestError, match="list each other"):
        closure_of(Descriptor(OCI_INDEX, a, size), [AMD], source.read, NAME)
    assert len(source.reads) == 2


def test_a_wide_and_deep_graph_is_read_along_one_path():
    """M025: 64 entries on 7 levels are 64^7 paths; one is followed, each index read once."""
    documents = [image("amd")]
    for level in range(7):
        media_type = OCI_INDEX if level else OCI_MANIFEST
        documents.append(index(*[json_of(documents[-1], media_type, AMD)] * 64))
    source = Source(*documents)
    closure = closure_of(root_of(documents[-1]), [AMD], source.read, NAME)
    assert len(source.reads) == len(closure.manifests) == len(documents)


def test_content_that_two_platforms_share_is_stored_once():
    """M025."""
    arm, amd = image("arm"), image("amd")
    inner = index(json_of(arm, OCI_MANIFEST, ARM), json_of(amd, OCI_MANIFEST, AMD))
    root = index(json_of(inner, OCI_INDEX))
    closure = closure_of(root_of(root), [AMD, ARM], Source(root, inner, arm, amd).read, NAME)
    digests = [descriptor.digest for descriptor, _manifest in closure.manifests]
    assert sorted(digests) == sorted({Digest.of(raw) for raw in (root, inner, arm, amd)})
    assert digests.index(Digest.of(inner)) > digests.index(Digest.of(amd))


def test_every_child_comes_before_its_parents():
    """An interruption never leaves a manifest that refers to missing content."""
    arm, amd = image("arm"), image("amd")
    inner = index(json_of(arm, OCI_MANIFEST, ARM), json_of(amd, OCI_MANIFEST, AMD))
    root = index(json_of(inner, OCI_INDEX))
    closure = closure_of(root_of(root), [AMD, ARM], Source(root, inner, arm, amd).read, NAME)
    seen: set[Digest] = set()
    for descriptor, manifest in closure.manifests:
        assert {child.digest for child in manifest.children} <= seen
        seen.add(descriptor.digest)


def test_a_subject_is_not_followed():
    """M029."""
    subject = json_of(b"signed", OCI_MANIFEST)
    raw = json.dumps({**json.loads(image("amd")), "subject": subject}).encode()
    closure = closure_of(root_of(raw, OCI_MANIFEST), [AMD], Source(raw).read, NAME)
    assert Digest.of(b"signed") not in [blob.digest for blob in closure.blobs]


def test_an_attestation_is_left_alone():
    """M022."""
    raw = image("amd")
    attestation = json_of(b"sbom", OCI_MANIFEST, Platform.of("unknown", "unknown"))
    root = index(attestation, json_of(raw, OCI_MANIFEST, AMD))
    closure = closure_of(root_of(root), [AMD], Source(root, raw).read, NAME)
    assert Digest.of(b"sbom") not in [descriptor.digest for descriptor, _m in closure.manifests]


def test_configurations_are_not_read():
    """M030: an artifact may have an invalid configuration, and is copied anyway."""
    raw = image("not a configuration", "layer")
    assert closure_of(root_of(raw, OCI_MANIFEST), [AMD], Source(raw).read, NAME).blobs
