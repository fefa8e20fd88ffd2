# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Manifests a registry gives wrongly, in a wrong form or not at all, and what it says besides."""

from __future__ import annotations

import hashlib
import json

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._image.names import Digest
from ansible_collections.lockstep.images.tests.support.faults import Fault, Filler
from ansible_collections.lockstep.images.tests.support.images import demo_image, image, layer, push
from ansible_collections.lockstep.images.tests.support.pulling import (
    IMAGE,
    PLAIN,
    Puller,
    serving,
    trail,
)

MANIFEST = "/manifests/"
OTHER = image([layer({"other": b"other"})])
SCHEMA1 = {"schemaVersion": 1, "name": "demo/app", "tag": "1.0", "fsLayers": [], "history": []}


def any_manifest(**fault):
    return Fault(method="HEAD|GET", path=MANIFEST, times=None, **fault)


def by_get(**fault):
    return Fault(path=MANIFEST, times=None, **fault)


def head(**fault):
    return Fault(method="HEAD", path=MANIFEST, **fault)


MISSING = {
    "R039-manifest-unknown": {"errors": [{"code": "MANIFEST_UNKNOWN", "message": "no such tag"}]},
    "R039-name-unknown": {"errors": [{"code": "NAME_UNKNOWN", "message": "no such name"}]},
    "R039-not-found": {"errors": [{"code": "NOT_FOUND"}]},
    "R039-NotFound": {"errors": [{"code": "NotFound", "message": None}]},
    "R039-html": "<html><h1>404</h1></html>",
    "R039-empty": b"",
    "R039-no-errors": {"message": "gone"},
}


@pytest.mark.parametrize("body", MISSING.values(), ids=MISSING)
@pytest.mark.parametrize("name", ["demo/app:1.0", f"demo/app@{IMAGE.digest}"], ids=["tag", "pin"])
def test_an_image_that_is_not_there_is_not_found_whatever_the_words(tmp_path, body, name):
    with serving(faults=[any_manifest(status=404, body=body)]) as registry:
        puller = Puller(tmp_path, registry)
        error = puller.fails(f"{registry.address}/{name}")
        assert error.kind == "not-found"
        assert f"{registry.address}/{name}: not found" in str(error)
        assert "<" not in str(error)
        assert len(registry.requests) == 1
        assert puller.clock.slept == []


FALL_BACK = {
    "R066-no-digest": {"drop_headers": ["Docker-Content-Digest"]},
    "R066-no-headers-at-all": {"raw": b"HTTP/1.1 200 OK\r\n\r\n"},
    "R066-405": {"status": 405},
    "R066-400": {"status": 400},
    "R066-501": {"status": 501},
    "R066-wrong-length": {
        "drop_headers": ["Docker-Content-Digest"],
        "set_headers": {"Content-Length": "7"},
    },
    "R065-malformed": {"set_headers": {"Docker-Content-Digest": "sha256:xyz"}},
    "R065-not-a-digest": {"set_headers": {"Docker-Content-Digest": "../../etc/passwd"}},
    "R065-unknown-algorithm": {"set_headers": {"Docker-Content-Digest": "md5:" + "0" * 32}},
    "R065-two": {"set_headers": {"Docker-Content-Digest": [IMAGE.digest, OTHER.digest]}},
    "R065-empty": {"set_headers": {"Docker-Content-Digest": ""}},
}


@pytest.mark.parametrize("fault", FALL_BACK.values(), ids=FALL_BACK)
def test_head_without_a_digest_is_followed_by_a_get(tmp_path, fault):
    with serving(faults=[head(**fault)]) as registry:
        puller = Puller(tmp_path, registry)
        puller.pull()
        assert trail(registry)[:2] == ["HEAD tag", "GET tag"]
        name = puller.store.names()[f"{registry.address}/demo/app:1.0"]
        assert str(name.target.digest) == IMAGE.digest


def test_head_with_a_body_does_not_corrupt_the_next_answer(tmp_path):
    """R066."""
    raw = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nDocker-Content-Digest: %s\r\n\r\nhello"
    with serving(faults=[head(raw=raw % IMAGE.digest.encode())]) as registry:
        Puller(tmp_path, registry).pull()
        assert trail(registry) == PLAIN


HEADERS = {
    "R063-absent": {"drop_headers": ["Docker-Content-Digest"]},
    "R065-malformed": {"set_headers": {"Docker-Content-Digest": "sha256:xyz"}},
    "R065-two": {"set_headers": {"Docker-Content-Digest": [OTHER.digest, OTHER.digest]}},
}


@pytest.mark.parametrize("fault", HEADERS.values(), ids=HEADERS)
def test_missing_digest_is_computed(tmp_path, fault):
    with serving(faults=[any_manifest(**fault)]) as registry:
        puller = Puller(tmp_path, registry)
        plan = puller.pull()
        assert plan.result()["images"][0]["digest"] == IMAGE.digest
        assert not puller.pull().plan.changed


def test_a_digest_of_another_algorithm_is_kept_where_it_is_right(tmp_path):
    """R065: the registry's own name for the content is the one that counts."""
    with serving() as registry:
        name = "sha512:" + hashlib.sha512(IMAGE.raw).hexdigest()
        registry.add("demo/app", IMAGE.raw, IMAGE.media_type, "1.0", algorithm="sha512")
        plan = Puller(tmp_path, registry).pull()
        assert plan.result()["images"][0]["digest"] == name


def test_wrong_digest_of_a_tag_is_corrected_and_reported(tmp_path):
    """R064."""
    wrong = {"Docker-Content-Digest": OTHER.digest}
    with serving(faults=[any_manifest(set_headers=wrong)]) as registry:
        plan = Puller(tmp_path, registry).pull()
        assert plan.result()["images"][0]["digest"] == IMAGE.digest
        assert OTHER.digest in " ".join(plan.warnings())


OTHER_BYTES = {
    "R064-other-manifest": OTHER.raw,
    "R064-one-byte-more": IMAGE.raw + b"\n",
    "R071-converted-to-docker": image(IMAGE.layers, docker=True).raw,
    "R064-empty": b"",
}


@pytest.mark.parametrize("raw", OTHER_BYTES.values(), ids=OTHER_BYTES)
@pytest.mark.parametrize("name", ["demo/app:1.0", f"demo/app@{IMAGE.digest}"], ids=["tag", "pin"])
def test_bytes_that_are_not_those_of_the_digest_are_an_error(tmp_path, raw, name):
    with serving(faults=[by_get(replace=raw)]) as registry:
        error = Puller(tmp_path, registry).fails(f"{registry.address}/{name}")
        assert error.kind == "digest-mismatch"
        assert IMAGE.digest in str(error)


def test_a_pin_is_never_replaced_by_what_a_registry_calls_it(tmp_path):
    """R064."""
    with serving() as registry:
        registry.add("demo/app", OTHER.raw, OTHER.media_type, digest=IMAGE.digest)
        error = Puller(tmp_path, registry).fails(f"{registry.address}/demo/app@{IMAGE.digest}")
        assert error.kind == "digest-mismatch"


def test_a_tag_that_moves_between_head_and_get_counts_as_it_was_got(tmp_path):
    """R067: the manifest of the HEAD is gone, so the tag is read again."""
    with serving() as registry:
        push(registry, "demo/app", OTHER)

        def move(request):
            if request.method == "HEAD":
                registry.remove("demo/app", IMAGE.digest)
                registry.tag("demo/app", "1.0", OTHER.digest)

        registry.log.on_request = move
        plan = Puller(tmp_path, registry).pull()
        assert plan.result()["images"][0]["digest"] == OTHER.digest
        assert trail(registry)[:3] == ["HEAD tag", "GET manifest", "GET tag"]


def test_a_tag_that_moves_between_index_and_child_changes_nothing(tmp_path):
    """R068."""
    old, new = demo_image("app", "1.0"), demo_image("app", "2.0")
    with serving(old) as registry:
        push(registry, "demo/app", new)
        registry.log.on_request = lambda request: (
            registry.tag("demo/app", "1.0", new.digest) if request.method == "GET" else None
        )
        puller = Puller(tmp_path, registry)
        plan = puller.pull()
        assert plan.result()["images"][0]["digest"] == old.digest
        assert {puller.holds(one) for one, _blob in old.for_platform("linux/amd64").blobs()} == {
            True
        }


TYPES = {
    "R069-missing": {"drop_headers": ["Content-Type"]},
    "R069-text": {"set_headers": {"Content-Type": "text/plain; charset=utf-8"}},
    "R069-json": {"set_headers": {"Content-Type": "application/json"}},
    "R069-octets": {"set_headers": {"Content-Type": "application/octet-stream"}},
    "R069-parameter": {"set_headers": {"Content-Type": IMAGE.media_type + "; charset=utf-8"}},
    "R069-upper-case": {"set_headers": {"Content-Type": IMAGE.media_type.upper()}},
    "R069-nonsense": {"set_headers": {"Content-Type": ";;;"}},
}


@pytest.mark.parametrize("fault", TYPES.values(), ids=TYPES)
@pytest.mark.parametrize("declared", [True, False], ids=["in-the-body-too", "not-in-the-body"])
def test_a_media_type_that_says_nothing_is_read_from_the_body(tmp_path, fault, declared):
    item = IMAGE if declared else image(IMAGE.layers, mediaType=None)
    with serving(item, faults=[any_manifest(**fault)]) as registry:
        puller = Puller(tmp_path, registry)
        puller.pull()
        name = puller.store.names()[f"{registry.address}/demo/app:1.0"]
        assert name.target.media_type == IMAGE.media_type


WRONG_TYPES = {
    "R069-an-index": "application/vnd.oci.image.index.v1+json",
    "R069-docker": "application/vnd.docker.distribution.manifest.v2+json",
}


@pytest.mark.parametrize("kind", WRONG_TYPES.values(), ids=WRONG_TYPES)
def test_a_media_type_that_contradicts_the_body_is_an_error(tmp_path, kind):
    with serving(faults=[any_manifest(set_headers={"Content-Type": kind})]) as registry:
        error = Puller(tmp_path, registry).fails()
        assert error.kind == "invalid-manifest"
        assert kind in str(error)


def test_schema_1_is_an_error_that_says_so(tmp_path):
    """R070."""
    kind = "application/vnd.docker.distribution.manifest.v1+prettyjws"
    with serving() as registry:
        registry.add("demo/app", json.dumps(SCHEMA1).encode(), kind, "1.0")
        error = Puller(tmp_path, registry).fails()
        assert error.kind == "unsupported-content"
        assert "schema 1" in str(error)


@pytest.mark.parametrize("named", ["application/json", "prettyjws"], ids=["json", "by-type"])
def test_F35_a_signed_schema_1_image_is_unsupported_and_not_a_digest_mismatch(tmp_path, named):
    kind = named if "/" in named else f"application/vnd.docker.distribution.manifest.v1+{named}"
    signed = json.dumps({**SCHEMA1, "signatures": [{"protected": "e30"}]}).encode()
    digest = Digest.of(json.dumps(SCHEMA1).encode())
    answer = any_manifest(replace=signed, set_headers={"Content-Type": kind})
    with serving(faults=[answer]) as registry:
        registry.add("demo/app", json.dumps(SCHEMA1).encode(), kind, "old")
        error = Puller(tmp_path, registry).fails(f"{registry.address}/demo/app@{digest}")
        assert error.kind == "unsupported-content"
        assert "schema 1" in str(error) and "schema 1" in error.hint


def test_F35_other_wrong_bytes_are_a_digest_mismatch(tmp_path):
    with serving(faults=[any_manifest(replace=b"no manifest")]) as registry:
        error = Puller(tmp_path, registry).fails(f"{registry.address}/demo/app@{IMAGE.digest}")
        assert error.kind == "digest-mismatch"


def test_every_request_for_a_manifest_names_every_type(tmp_path):
    """R071: a registry that negotiates has no reason to convert."""
    family = demo_image("app", "1.0")
    negotiates = Fault(method="HEAD|GET", path=MANIFEST, negotiate=True, times=None)
    with serving(family, faults=[negotiates]) as registry:
        plan = Puller(tmp_path, registry).pull()
        assert plan.result()["images"][0]["digest"] == family.digest


HUGE = {
    "R058-a-GiB": ({"replace": Filler(1 << 30)}, "registry-protocol"),
    "R058-a-GiB-without-a-length": (
        {"replace": Filler(1 << 30), "content_length": None},
        "registry-protocol",
    ),
    "R058-a-GiB-in-chunks": ({"replace": Filler(1 << 30), "chunked": True}, "registry-protocol"),
    "R059-small-length-and-huge-body": (
        {"replace": Filler(1 << 26), "content_length": 10},
        "digest-mismatch",
    ),
    "R062-bomb": ({"replace": bytes(1 << 26), "content_encoding": "gzip"}, "registry-protocol"),
}


@pytest.mark.parametrize(("fault", "kind"), HUGE.values(), ids=HUGE)
def test_a_huge_manifest_is_an_error_at_the_limit(tmp_path, fault, kind):
    with serving(faults=[by_get(**fault)]) as registry:
        error = Puller(tmp_path, registry).fails()
        assert error.kind == kind
        assert sum(request.bytes_sent for request in registry.requests) < 48 << 20


@pytest.mark.parametrize("name", ["gzip", "x-gzip"], ids="R060-{}".format)
def test_a_manifest_that_is_compressed_on_its_way_is_read(tmp_path, name):
    with serving(faults=[by_get(content_encoding=name)]) as registry:
        Puller(tmp_path, registry).pull()
        assert trail(registry) == PLAIN


CUT = {
    "R005-truncated": {"truncate_at": 50},
    "R008-chunked-and-cut": {"chunked_cut_at": 50},
    "R012-reset": {"reset_at": 50},
}


@pytest.mark.parametrize("fault", CUT.values(), ids=CUT)
def test_a_manifest_that_breaks_off_is_read_again(tmp_path, fault):
    with serving(faults=[Fault(path=MANIFEST, **fault)]) as registry:
        puller = Puller(tmp_path, registry)
        puller.pull()
        assert trail(registry) == ["HEAD tag", "GET manifest", *PLAIN[1:]]
        assert puller.clock.slept == [0.5]
