# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Descriptors: the fields that must match, and the fields that are only hints."""

from __future__ import annotations

import base64

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._image.errors import ManifestError
from ansible_collections.lockstep.images.plugins.module_utils._image.manifest import (
    DOCKER_CONFIG,
    DOCKER_LIST,
    DOCKER_MANIFEST,
    OCI_CONFIG,
    OCI_INDEX,
    OCI_MANIFEST,
    Descriptor,
    media_type_of,
)
from ansible_collections.lockstep.images.plugins.module_utils._image.names import Digest
from ansible_collections.lockstep.images.tests.support.tables import (
    assert_tells,
    params,
    short,
    table,
)

_ALGORITHM = "sha256 and sha512 only (M014): nobody can verify any other"

# Case of the schema -> (whether we accept it, why).
DEVIATIONS = {
    "a url that is none": (True, "urls are ignored (M017), so they need not be right"),
    "artifact type that is none": (True, "the artifact type of a descriptor is not used"),
    "base64 digest": (False, _ALGORITHM),
    "base64 digest again": (False, _ALGORITHM),
    "digest with a plus": (False, _ALGORITHM),
    "digest with a dot": (False, _ALGORITHM),
    "multihash": (False, _ALGORITHM),
    "base64url digest": (False, _ALGORITHM),
    "digest of unknown length": (False, _ALGORITHM),
}
CASES = table("manifest", "descriptor")

CONTENT = b"content"
WHERE = "registry.example/app:1: layers[0]"


def document(**fields):
    """A descriptor of CONTENT as JSON has it, with some fields replaced; None takes one out."""
    value = {"mediaType": "a/b", "digest": str(Digest.of(CONTENT)), "size": len(CONTENT)}
    value.update(fields)
    return {key: field for key, field in value.items() if field is not None}


def refused(value) -> str:
    with pytest.raises(ManifestError) as caught:
        Descriptor.from_json(value, WHERE)
    assert_tells(caught.value, "invalid-manifest", WHERE)
    return str(caught.value)


def test_every_deviation_is_about_a_case_of_the_table():
    assert set(DEVIATIONS) <= {case["case"] for case in CASES}


@pytest.mark.parametrize("case", params(CASES, "case"))
def test_the_schema_decides_what_a_descriptor_is(case):
    """M011, M014, M017."""
    if DEVIATIONS.get(case["case"], (case["valid"],))[0]:
        found = Descriptor.from_json(case["document"], WHERE)
        assert found.as_json().items() <= case["document"].items()
    else:
        refused(case["document"])


@pytest.mark.parametrize("value", [None, [], "text", 7, True], ids=repr)
def test_a_descriptor_is_an_object(value):
    """M011."""
    assert "is not a JSON object" in refused(value)


@pytest.mark.parametrize(
    "size",
    [None, -1, "7", 7.0, 1e3, True, False, [], 2**63, 10**400],
    ids=short,
)
def test_a_size_is_a_whole_number_of_bytes(size):
    """M004, M011."""
    assert "size is not a number of bytes" in refused(document(size=size))


@pytest.mark.parametrize("size", [0, 1, 2**63 - 1])
def test_every_possible_size_is_accepted(size):
    assert Descriptor.from_json(document(size=size), WHERE).size == size


@pytest.mark.parametrize(
    "digest",
    [None, "", 7, ["sha256"], "sha256:00", "sha384:" + "0" * 96, "x" * 10**6],
    ids=short,
)
def test_a_malformed_digest_is_refused(digest):
    """M011, M014."""
    assert "digest" in refused(document(digest=digest))


@pytest.mark.parametrize(
    "media_type",
    ["", "a", 7, "a/b\n", "a/b\x1b[31m", "a b/c", "x" * 10**6 + "/y"],
    ids=short,
)
def test_a_malformed_media_type_is_refused(media_type):
    refused(document(mediaType=media_type))


def test_a_sha512_descriptor_is_verified_with_sha512():
    """M013."""
    found = Descriptor.from_json(document(digest=str(Digest.of(CONTENT, "sha512"))), WHERE)
    assert found.digest.algorithm == "sha512" and found.digest.matches(CONTENT)


def test_data_that_matches_the_descriptor_is_kept():
    """M016."""
    value = document(data=base64.b64encode(CONTENT).decode("ascii"))
    assert Descriptor.from_json(value, WHERE).data == CONTENT


@pytest.mark.parametrize(
    ("data", "size"),
    [
        pytest.param(base64.b64encode(b"CONTENT").decode(), 7, id="wrong-bytes"),
        pytest.param(base64.b64encode(CONTENT).decode(), 8, id="wrong-size"),
        pytest.param(base64.b64encode(CONTENT).decode(), 2**62, id="huge-size"),
        pytest.param("", 7, id="empty"),
        pytest.param("not base64!", 7, id="not-base64"),
        pytest.param("Y29u\ndGVudA==", 7, id="line-break"),
        pytest.param("\u00e9", 7, id="not-ASCII"),
        pytest.param(7, 7, id="number"),
        pytest.param({}, 7, id="object"),
        pytest.param([1], 7, id="list"),
    ],
)
def test_any_other_data_is_an_error(data, size):
    """M016."""
    assert "data" in refused(document(data=data, size=size))


URL = "https://elsewhere.example/layer"


@pytest.mark.parametrize(
    ("urls", "kept"),
    [([URL, 7, None], (URL,)), (None, ()), (URL, ()), ({URL: 1}, ()), (7, ()), ([], ())],
    ids=str,
)
def test_invalid_urls_are_ignored(urls, kept):
    """M017: only foreign layers use them."""
    found = Descriptor.from_json(document(urls=urls), WHERE)
    assert found.urls == kept
    assert "elsewhere" not in repr(found)


@pytest.mark.parametrize(
    ("media_type", "foreign"),
    [
        ("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", True),
        ("application/vnd.docker.image.rootfs.foreign.diff.tar", True),
        ("application/vnd.oci.image.layer.nondistributable.v1.tar", True),
        ("application/vnd.oci.image.layer.nondistributable.v1.tar+gzip", True),
        ("application/vnd.oci.image.layer.nondistributable.v1.tar+zstd", True),
        ("Application/vnd.OCI.image.layer.nondistributable.v1.tar+zstd; x=y", True),
        ("application/vnd.oci.image.layer.v1.tar+gzip", False),
        ("application/vnd.docker.image.rootfs.diff.tar.gzip", False),
        ("application/foreign.diff", False),
    ],
)
def test_a_foreign_layer_is_known_by_its_media_type(media_type, foreign):
    assert Descriptor.from_json(document(mediaType=media_type), WHERE).is_foreign is foreign


def test_a_non_distributable_layer_is_a_descriptor_like_any_other():
    """M018: a missing layer is an error only when it is fetched."""
    media_type = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
    assert Descriptor.from_json(document(mediaType=media_type), WHERE).media_type == media_type


@pytest.mark.parametrize("annotations", [{"a": 1}, {"a": []}, [], "text", {"a": {}}], ids=repr)
def test_annotations_are_strings(annotations):
    """M035."""
    if annotations == []:
        annotations = ["a"]
    assert "annotations" in refused(document(annotations=annotations))


@pytest.mark.parametrize(
    "platform",
    [
        pytest.param("linux/amd64", id="text"),
        pytest.param([], id="list"),
        pytest.param({"os": 7, "architecture": "amd64"}, id="os-is-a-number"),
        pytest.param(
            {"os": "linux", "architecture": "arm", "variant": 7}, id="variant-is-a-number"
        ),
        pytest.param(
            {"os": "linux", "architecture": "a", "os.features": "x"}, id="features-is-text"
        ),
        pytest.param(
            {"os": "linux", "architecture": "a", "os.features": [7]}, id="feature-is-a-number"
        ),
    ],
)
def test_a_platform_of_the_wrong_shape_is_refused(platform):
    """M011."""
    assert "platform" in refused(document(platform=platform))


def test_the_platform_of_an_entry_is_in_normal_form():
    """M020."""
    value = document(platform={"os": "linux", "architecture": "aarch64", "variant": "v8"})
    assert str(Descriptor.from_json(value, WHERE).platform) == "linux/arm64"


@pytest.mark.parametrize(
    "platform", [None, {}, {"os": "linux"}, {"architecture": "amd64", "os": None}], ids=repr
)
def test_incomplete_platform_is_none(platform):
    """M021."""
    assert Descriptor.from_json(document(platform=platform), WHERE).platform is None


@pytest.mark.parametrize(
    "media_type",
    [OCI_INDEX, DOCKER_LIST.upper(), f"{OCI_INDEX}; charset=utf-8", DOCKER_LIST.title()],
)
def test_a_media_type_is_compared_in_normal_form_and_kept_as_it_is(media_type):
    """M041."""
    found = Descriptor.from_json(document(mediaType=media_type), WHERE)
    assert found.is_index and not found.is_manifest and not found.is_image_config
    assert found.media_type == found.as_result()["media_type"] == media_type


@pytest.mark.parametrize(
    ("media_type", "kind"),
    [
        (OCI_MANIFEST, "is_manifest"),
        (DOCKER_MANIFEST, "is_manifest"),
        (OCI_CONFIG, "is_image_config"),
        (DOCKER_CONFIG, "is_image_config"),
    ],
)
def test_media_type_determines_the_kind_of_content(media_type, kind):
    found = Descriptor.from_json(document(mediaType=media_type), WHERE)
    kinds = ("is_index", "is_manifest", "is_image_config")
    assert [name for name in kinds if getattr(found, name)] == [kind]


# The table has an invalid media type become empty; ours is only ever compared, never trusted.
@pytest.mark.parametrize(
    "case",
    params(
        [c for c in table("headers", "media_type") if c["header"] != "completely invalid"], "header"
    ),
)
def test_parameters_of_a_media_type_are_ignored(case):
    """M041."""
    assert media_type_of(case["header"]) == case["media_type"]


def test_descriptors_of_the_same_bytes_are_equal():
    first = Descriptor.from_json(document(annotations={"a": "b"}), WHERE)
    assert first == Descriptor.from_json(document(urls=["x"]), WHERE)
    assert first != Descriptor.from_json(document(size=8), WHERE)
