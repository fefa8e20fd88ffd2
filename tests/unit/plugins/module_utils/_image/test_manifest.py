# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Manifests, indexes and configurations: parsed strictly, with unchanged bytes."""

from __future__ import annotations

import json
import time

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._image.errors import (
    ContentError,
    ManifestError,
    UnsupportedError,
)
from ansible_collections.lockstep.images.plugins.module_utils._image.manifest import (
    ACCEPT,
    DOCKER_LIST,
    DOCKER_MANIFEST,
    INDEXES,
    MAX_MANIFEST,
    OCI_CONFIG,
    OCI_INDEX,
    OCI_MANIFEST,
    Descriptor,
    ImageConfig,
    Manifest,
    parse_object,
)
from ansible_collections.lockstep.images.plugins.module_utils._image.names import Digest
from ansible_collections.lockstep.images.tests.support.tables import (
    assert_tells,
    params,
    short,
    table,
)

WHERE = "registry.example/app:1"
SCHEMA1 = "application/vnd.docker.distribution.manifest.v1+prettyjws"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"

_ONLY_WHAT_WE_USE = (
    "only what is used of a configuration is checked, its bytes are kept as they are"
)

# (Table, case of the schema) -> (whether we accept it, why).
DEVIATIONS = {
    ("config", "User is a number"): (True, _ONLY_WHAT_WE_USE),
    ("config", "Env has no equals sign"): (True, _ONLY_WHAT_WE_USE),
    ("index", "platform without architecture"): (
        True,
        "such an entry is one without platform (M021)",
    ),
    ("manifest", "no layers"): (True, "artifacts have none (M026)"),
    ("manifest", "unknown digest algorithms"): (False, "nobody can verify them (M014)"),
}


def raw_of(case) -> bytes:
    return case["text"].encode() if "text" in case else json.dumps(case["document"]).encode()


def accepted(name: str, case) -> bool:
    return DEVIATIONS.get((name, case["case"]), (case["valid"],))[0]


def descriptor(content: bytes = b"x", media_type: str = LAYER, **fields) -> dict:
    fields = {"size": len(content), **fields}
    return {"mediaType": media_type, "digest": str(Digest.of(content)), **fields}


def image(**fields) -> dict:
    """An image manifest, with some fields replaced; None takes one out."""
    config = descriptor(b"{}", OCI_CONFIG)
    value = {"schemaVersion": 2, "config": config, "layers": [descriptor()], **fields}
    return {key: field for key, field in value.items() if field is not None}


def index(**fields) -> dict:
    value = {"schemaVersion": 2, "manifests": [descriptor(b"m", OCI_MANIFEST)], **fields}
    return {key: field for key, field in value.items() if field is not None}


def parse(value, content_type: str = "") -> Manifest:
    """Read a document, or bytes as they are."""
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    manifest = Manifest.parse(raw, content_type, WHERE)
    assert manifest.raw is raw
    return manifest


def refused(value, content_type: str = "", error: type[ContentError] = ManifestError) -> str:
    with pytest.raises(error) as caught:
        parse(value, content_type)
    assert_tells(caught.value, error.kind, WHERE)
    return str(caught.value)


def config_refused(raw: bytes) -> str:
    with pytest.raises(ManifestError) as caught:
        ImageConfig.parse(raw, WHERE)
    assert_tells(caught.value, "invalid-manifest", WHERE)
    return str(caught.value)


def test_every_deviation_is_about_a_case_of_a_table():
    for name, case in DEVIATIONS:
        assert case in [row["case"] for row in table("manifest", name)]


@pytest.mark.parametrize("case", params(table("manifest", "index"), "case"))
def test_the_schema_decides_what_an_index_is(case):
    """M010, M011, M029."""
    if accepted("index", case):
        assert parse(raw_of(case), OCI_INDEX).is_index
    else:
        refused(raw_of(case), OCI_INDEX)


@pytest.mark.parametrize("case", params(table("manifest", "manifest"), "case"))
def test_the_schema_decides_what_a_manifest_is(case):
    """M011, M014, M028, M029."""
    if accepted("manifest", case):
        assert not parse(raw_of(case), OCI_MANIFEST).is_index
    else:
        refused(raw_of(case), OCI_MANIFEST)


@pytest.mark.parametrize("case", params(table("manifest", "config"), "case"))
def test_the_schema_decides_what_a_configuration_is(case):
    """M030."""
    if accepted("config", case):
        assert ImageConfig.parse(raw_of(case), WHERE).value == case["document"]
    else:
        config_refused(raw_of(case))


@pytest.mark.parametrize("case", params(table("manifest", "types"), "media_type"))
def test_media_type_must_fit_the_fields(case):
    """M009."""
    document = index() if case["media_type"] in INDEXES else image()
    for media_type in case["same"]:
        assert parse(document, media_type).media_type == media_type
        assert parse({**document, "mediaType": media_type}).media_type == media_type
    for media_type in case["other"]:
        refused(document, media_type)
        refused({**document, "mediaType": media_type})


@pytest.mark.parametrize(
    "raw", [b"", b" ", b"{", b"not json", b"null", b"[]", b'"x"', b"7", b"true"]
)
def test_only_an_object_is_a_manifest(raw):
    """M001."""
    refused(raw)
    config_refused(raw)


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(b"\xef\xbb\xbf" + json.dumps(image()).encode(), id="BOM"),
        pytest.param(json.dumps(image()).encode("utf-16"), id="UTF-16"),
        pytest.param(json.dumps(image()).encode("utf-32-le"), id="UTF-32"),
        pytest.param(b'{"schemaVersion": 2, "a": "\xff"}', id="invalid-UTF-8"),
        pytest.param(b'{"schemaVersion": 2, "a": "\xed\xa0\x80"}', id="surrogate"),
    ],
)
def test_only_utf_8_without_a_mark_is_json(raw):
    """M002."""
    refused(raw)


@pytest.mark.parametrize(
    "raw",
    [
        b'{"schemaVersion": 2, "schemaVersion": 2}',
        b'{"schemaVersion": 2, "annotations": {"a": "b", "a": "c"}}',
        b'{"schemaVersion": 2, "layers": [[{"x": {"a": 1, "\\u0061": 1}}]]}',
    ],
)
def test_duplicate_keys_are_rejected_at_every_level(raw):
    """M003."""
    assert "duplicate keys" in refused(raw)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1" + "0" * 400, "9" * 5000])
def test_numbers_are_finite_and_bounded_everywhere(number):
    """M004."""
    refused(b'{"schemaVersion": 2, "x": [{"y": %s}]}' % number.encode())


@pytest.mark.parametrize("size", ["1e3", "5.0", "-1", "true", '"7"', "1e400", str(2**64), "null"])
def test_the_size_of_a_layer_is_an_integer(size):
    """M004, M011."""
    raw = json.dumps(image(layers=[descriptor(size="SIZE")])).replace('"SIZE"', size)
    assert "layers[0]: size is not a number of bytes" in refused(raw.encode())


@pytest.mark.parametrize("nested", [b"[", b'{"a":'], ids=["lists", "objects"])
def test_a_document_of_any_depth_is_an_error_and_no_crash(nested):
    """M005."""
    refused(b'{"schemaVersion": 2, "x": ' + nested * 100_000)


@pytest.mark.parametrize("tail", [b"x", b"{}", b"\0", b",", b"\n\n]"])
def test_text_after_the_object_is_rejected(tail):
    """M006."""
    refused(json.dumps(image()).encode() + tail)


def test_white_space_around_the_object_is_kept():
    assert parse(b"\n " + json.dumps(image(), indent=3).encode() + b"\n\n").layers


@pytest.mark.parametrize("version", [None, 3, "2", 2.0, True, 0, -1, [], {"a": "b"}], ids=repr)
def test_the_schema_version_is_2(version):
    """M007."""
    assert "schemaVersion is" in refused(image(schemaVersion=version))


def test_a_huge_schema_version_makes_a_short_message():
    """M007."""
    refused(image(schemaVersion="x\n" * 10**6))


@pytest.mark.parametrize(
    ("document", "content_type"),
    [
        pytest.param(image(schemaVersion=1), "text/plain", id="M007-version-1"),
        pytest.param({"schemaVersion": 1, "fsLayers": [], "signatures": [{}]}, "", id="unsigned"),
        pytest.param({"schemaVersion": 1, "signatures": ["no JWS"]}, SCHEMA1, id="M037-bad-JWS"),
        pytest.param(image(mediaType=SCHEMA1), "", id="M037-called-so-inside"),
        pytest.param(image(), SCHEMA1, id="M037-called-so-outside"),
    ],
)
def test_schema_1_manifest_is_reported_as_such(document, content_type):
    """M007, M037."""
    assert "schema 1 manifest" in refused(document, content_type, UnsupportedError)


@pytest.mark.parametrize(
    ("document", "content_type", "media_type"),
    [
        (image(), "", OCI_MANIFEST),
        (index(), "", OCI_INDEX),
        (image(), "application/json", OCI_MANIFEST),
        (image(), DOCKER_MANIFEST, DOCKER_MANIFEST),
        (index(), DOCKER_LIST + "; charset=utf-8", DOCKER_LIST),
        (image(mediaType=DOCKER_MANIFEST), "", DOCKER_MANIFEST),
        (image(mediaType=DOCKER_MANIFEST), "text/plain", DOCKER_MANIFEST),
        (index(mediaType=OCI_INDEX), OCI_INDEX, OCI_INDEX),
    ],
)
def test_the_media_type_comes_from_body_header_or_structure(document, content_type, media_type):
    """M008."""
    assert parse(document, content_type).media_type == media_type


def test_a_manifest_without_any_media_type_is_an_oci_one():
    """M008: upstream (c/image, TestGuessMIMEType) guesses Docker's type from the configuration."""
    config = descriptor(b"{}", "application/vnd.docker.container.image.v1+json")
    assert parse(image(config=config)).media_type == OCI_MANIFEST


@pytest.mark.parametrize(
    ("document", "content_type"),
    [
        pytest.param(image(mediaType=OCI_MANIFEST), DOCKER_MANIFEST, id="two-manifests"),
        pytest.param(index(mediaType=OCI_INDEX), DOCKER_LIST, id="two-indexes"),
        pytest.param(image(mediaType=OCI_MANIFEST), OCI_INDEX, id="index-outside"),
        pytest.param(index(mediaType=OCI_MANIFEST), OCI_INDEX, id="manifest-inside"),
        pytest.param({**image(), **index()}, "", id="both"),
        pytest.param({**index(), "layers": []}, OCI_INDEX, id="index-with-layers"),
        pytest.param({**index(), "config": None}, OCI_INDEX, id="index-with-config"),
        pytest.param({**image(), "manifests": None}, OCI_MANIFEST, id="manifest-with-manifests"),
    ],
)
def test_contradicting_types_are_rejected(document, content_type):
    """M009: GHSA-77vh-xpmg-72qh."""
    refused(document, content_type)


@pytest.mark.parametrize(
    "media_type", ["application/vnd.example+json", "x", "a/b\nc", "x" * 10**6], ids=short
)
def test_an_unknown_media_type_of_a_manifest_is_unsupported(media_type):
    """M010."""
    refused(image(mediaType=media_type), "", UnsupportedError)


@pytest.mark.parametrize("media_type", [7, [], {}, True], ids=repr)
def test_a_media_type_is_text(media_type):
    """M010."""
    refused(image(mediaType=media_type))


def test_an_unknown_media_type_in_an_index_is_kept():
    """M010."""
    entry = descriptor(b"m", "application/vnd.example+json")
    assert parse(index(manifests=[entry])).children[0].media_type == entry["mediaType"]


@pytest.mark.parametrize("key", ["config", "layers"])
@pytest.mark.parametrize("value", ["x", 7, {"a": 1}, [1], [None]], ids=repr)
def test_config_and_layers_are_descriptors(key, value):
    """M011."""
    refused(image(**{key: value}))


@pytest.mark.parametrize("case", params(table("nulls", "nulls"), "case"))
def test_F09_null_is_an_empty_list_but_not_a_configuration(case):
    """As the tools of the table read it."""
    if case["part"] == "config":
        assert ImageConfig.parse(json.dumps(case["patch"]).encode(), WHERE)
        return
    document, content_type = patched(case)
    if not case["ours"]:
        assert case["why"]
        refused(document, content_type)
        return
    manifest = parse(document, content_type)
    assert manifest.raw == json.dumps(document).encode()
    assert set(manifest.annotations.values()) <= {""}


def patched(case):
    """A document with the nulls of a case, and what it is called."""
    part, change = case["part"], case["patch"]
    if part in ("layer", "entry"):
        inner = {**descriptor(), **change}
        whole = image(layers=[inner]) if part == "layer" else index(manifests=[inner])
    else:
        whole = {**(image() if part == "image" else index()), **change}
    whole = {key: field for key, field in whole.items() if key not in case.get("drop", ())}
    return whole, OCI_INDEX if part in ("index", "entry") else OCI_MANIFEST


def test_F09_document_without_index_fields_and_type_is_not_an_index():
    refused({"schemaVersion": 2})
    assert parse({"schemaVersion": 2}, DOCKER_LIST).is_index


@pytest.mark.parametrize("value", ["x", 7, {}, [1]], ids=repr)
def test_the_entries_of_an_index_are_descriptors(value):
    """M011."""
    refused({"schemaVersion": 2, "manifests": value})


def test_error_names_the_descriptor():
    """M011."""
    layers = [descriptor(), descriptor(b"y", size=-1)]
    assert f"{WHERE}: layers[1]: size" in refused(image(layers=layers))


def test_a_digest_has_one_size():
    """M015."""
    refused(image(layers=[descriptor(), descriptor(size=2)]))
    assert len(parse(image(layers=[descriptor(), descriptor()])).layers) == 2


def test_config_and_layer_of_one_digest_have_one_size():
    """M015."""
    refused(image(config=descriptor(b"x", OCI_CONFIG, size=9)))


def test_an_empty_index_and_an_image_without_layers_are_legal():
    """M026."""
    assert parse(index(manifests=[])).children == ()
    assert parse(image(layers=[])).layers == ()


def test_an_index_of_4_mib_is_read_in_time():
    """M027: as many entries as fit into the largest manifest that is read."""
    entry = json.dumps(descriptor(b"m", OCI_MANIFEST))
    count = MAX_MANIFEST // (len(entry) + 1)
    raw = b'{"schemaVersion":2,"manifests":[%s]}' % ",".join([entry] * count).encode()
    started = time.process_time()
    assert len(parse(raw).children) == count
    refused(b'{"schemaVersion":2,"manifests":[%s]}' % b",".join([b"1"] * 10**6))
    assert time.process_time() - started < 20


def test_an_artifact_is_a_manifest_with_a_type():
    """M028."""
    empty = descriptor(b"{}", "application/vnd.oci.empty.v1+json")
    manifest = parse(image(config=empty, layers=[empty], artifactType="application/x"))
    assert manifest.config and not manifest.config.is_image_config


@pytest.mark.parametrize("value", [7, [], {"a": "b"}, True], ids=repr)
def test_an_artifact_type_is_text(value):
    """M028."""
    assert "artifactType" in refused(image(artifactType=value))


def test_a_subject_is_kept_and_no_part_of_the_image():
    """M029."""
    subject = descriptor(b"subject", OCI_MANIFEST)
    manifest = parse(image(subject=subject))
    assert subject["digest"].encode() in manifest.raw
    assert subject["digest"] not in {str(blob.digest) for blob in manifest.blobs}
    assert subject["digest"] not in {
        str(child.digest) for child in parse(index(subject=subject)).children
    }


@pytest.mark.parametrize("annotations", [{"a": 1}, {"a": []}, "x", [["a", "b"]]], ids=repr)
def test_annotations_are_strings(annotations):
    """M035."""
    assert "annotations" in refused(image(annotations=annotations))
    assert "annotations" in refused(index(annotations=annotations))
    assert "annotations" in refused(image(layers=[descriptor(annotations=annotations)]))


def test_unknown_fields_are_kept_byte_for_byte():
    """M036: a Docker list with the features of a CPU and fields of a future."""
    entry = descriptor(b"m", DOCKER_MANIFEST, future={"a": [1.5, None]})
    entry["platform"] = {"os": "linux", "architecture": "amd64", "features": ["sse4"], "x": 1}
    raw = json.dumps({"x": "\u00e9", **index(mediaType=DOCKER_LIST, manifests=[entry])}, indent=7)
    manifest = parse(raw.encode())
    assert manifest.raw == raw.encode()
    assert str(manifest.children[0].platform) == "linux/amd64"


@pytest.mark.parametrize(
    ("media_type", "annotations"),
    [
        pytest.param(f"{LAYER}+encrypted", {"org.opencontainers.image.enc.keys.jwe": "e30"},
                     id="M038-encrypted"),
        pytest.param("application/vnd.oci.image.layer.v1.tar+zstd", {}, id="M039-zstd"),
        pytest.param(LAYER, {"containerd.io/snapshot/stargz/toc.digest": "sha256:0"},
                     id="M040-estargz"),
        pytest.param(LAYER, {"io.github.containers.zstd-chunked.manifest-position": "1:2"},
                     id="M040-chunked"),
        pytest.param("application/vnd.oci.image.layer.nondistributable.v1.tar", {},
                     id="M018-foreign"),
    ],
)  # fmt: skip
def test_a_layer_of_any_kind_is_listed_as_it_is(media_type, annotations):
    """M018, M038, M039, M040: the content of a layer matters only when it is unpacked."""
    layer = parse(
        image(layers=[descriptor(media_type=media_type, annotations=annotations)])
    ).layers[0]
    assert (layer.media_type, layer.annotations) == (media_type, annotations)


@pytest.mark.parametrize("media_type", [OCI_MANIFEST.upper(), OCI_MANIFEST + "; charset=utf-8"])
def test_a_media_type_is_normalised_for_comparison_and_kept_in_the_bytes(media_type):
    """M041."""
    manifest = parse(image(mediaType=media_type), OCI_MANIFEST)
    assert manifest.media_type == OCI_MANIFEST
    assert media_type.encode() in manifest.raw
    assert parse(image(), media_type).media_type == OCI_MANIFEST


def test_config_comes_before_the_layers():
    manifest = parse(image())
    assert manifest.blobs == (manifest.config, *manifest.layers)
    assert parse(index()).blobs == ()


def test_accept_header_lists_every_kind_of_manifest():
    """registry-facts: without the whole list some registries convert."""
    for media_type in (OCI_INDEX, DOCKER_LIST, OCI_MANIFEST, DOCKER_MANIFEST, "*/*"):
        assert media_type in ACCEPT.split(", ")


@pytest.mark.parametrize(
    "raw",
    [
        b"not json",
        b'{"os": 7}',
        b'{"os": "linux", "architecture": ["amd64"]}',
        b'{"config": "x"}',
        b'{"rootfs": {"diff_ids": "x"}}',
        b'{"rootfs": {"diff_ids": ["sha256:0"]}}',
        b'{"rootfs": {"diff_ids": [7]}}',
        b'{"created": 1}',
    ],
)
def test_a_configuration_of_the_wrong_shape_is_refused(raw):
    """M030."""
    config_refused(raw)


@pytest.mark.parametrize("raw", [b"{}", b'{"rootfs": null}', b'{"rootfs": {"type": "layers"}}'])
def test_empty_configuration_is_valid(raw):
    """M030: a pull does not unpack the image."""
    config = ImageConfig.parse(raw, WHERE)
    assert (config.platform, config.diff_ids) == (None, ())


def test_configuration_contains_its_platform():
    """M031: the platform can be compared with that in the index."""
    value = {"os": "Linux", "architecture": "arm", "variant": "7", "os.version": None}
    platform = ImageConfig.parse(json.dumps(value).encode(), WHERE).platform
    assert str(platform) == "linux/arm/v7"


@pytest.mark.parametrize("key", ["os.version", "os.features"])
def test_half_a_character_in_a_platform_is_replaced(key):
    """JSON can escape one half of a surrogate pair, which UTF-8 cannot encode."""
    value = {"os": "windows", "architecture": "amd64", key: "10\ud800"}
    value["os.features"] = [value[key]]
    entry = {"mediaType": OCI_MANIFEST, "digest": str(Digest.of(b"")), "size": 0, "platform": value}
    platform = Descriptor.from_json(json.loads(json.dumps(entry)), WHERE).platform
    assert "10%3F" in str(platform)


def test_a_layer_is_compared_with_its_diff_id():
    """M032."""
    value = {"rootfs": {"diff_ids": [str(Digest.of(b"layer")), str(Digest.of(b"x", "sha512"))]}}
    first, second = ImageConfig.parse(json.dumps(value).encode(), WHERE).diff_ids
    assert first.matches(b"layer") and not first.matches(b"another")
    assert second.matches(b"x")


@pytest.mark.parametrize(
    "text",
    ["{{ lookup('pipe', 'id') }}", "{% raw %}", "\x1b[31m\x07\n", "x" * 4 * 1024 * 1024],
    ids=["template", "block", "control-characters", "4-MiB"],
)
def test_labels_are_not_interpreted(text):
    """M034."""
    value = {"config": {"Labels": {"text": text}}}
    assert ImageConfig.parse(json.dumps(value).encode(), WHERE).value == value


def test_a_strict_object_is_returned_as_it_is():
    assert parse_object(b'{"a": [1, 2.5, true, null, "\\u00e9"]}', WHERE) == {
        "a": [1, 2.5, True, None, "\u00e9"]
    }
