# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The embedded registry keeps the distribution spec, as long as no fault is set."""

from __future__ import annotations

import http.client
import io

import pytest
from ansible_collections.lockstep.images.tests.support.client import Reply, call, read_reply
from ansible_collections.lockstep.images.tests.support.images import (
    attestation,
    demo_image,
    image,
    index,
    layer,
    push,
    upload,
)
from ansible_collections.lockstep.images.tests.support.registry import Registry, Storage

DATA = b"0123456789"
BLOB = "sha256:84d89877f0d4041efb6bf91a16f0248f2fd573e6af05c19f96bedb9f882f7882"
EMPTY = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"


@pytest.fixture(name="registry")
def fixture_registry():
    """Provide a registry whose internal errors fail the test."""
    with Registry() as registry:
        yield registry
    assert registry.errors == []


def ask(registry: Registry, method: str, path: str, body=None, **headers: str) -> Reply:
    """Send a request below ``/v2/``. Return the answer."""
    lines = {name.replace("_", "-"): value for name, value in headers.items()}
    return call(registry.url, method, f"/v2/{path}", body, lines)


def test_version_check_is_answered(registry):
    assert ask(registry, "GET", "").status == 200
    assert call(registry.url, "GET", "/v2").status == 200
    assert call(registry.url, "GET", "/elsewhere").status == 404


def test_a_manifest_is_found_by_tag_and_by_digest(registry):
    made = image([layer({"a": b"x"})])
    assert push(registry, "demo/app", made, "1.0") == made.digest
    for reference in ("1.0", made.digest, made.digest.replace(":", "%3A")):
        got = ask(registry, "GET", f"demo/app/manifests/{reference}")
        assert (got.status, got.body) == (200, made.raw)
        assert got.headers["docker-content-digest"] == made.digest
        assert got.headers["content-type"] == made.media_type
        head = ask(registry, "HEAD", f"demo/app/manifests/{reference}")
        assert (head.status, head.body) == (200, b"")
        assert head.headers["content-length"] == str(len(made.raw))


def test_missing_content_has_the_error_code_of_the_specification(registry):
    registry.add_blob("demo/app", DATA)
    assert ask(registry, "GET", "none/such/manifests/1").code == "NAME_UNKNOWN"
    assert ask(registry, "GET", "demo/app/manifests/1").code == "MANIFEST_UNKNOWN"
    assert ask(registry, "GET", f"demo/app/blobs/{EMPTY}").code == "BLOB_UNKNOWN"
    assert ask(registry, "GET", f"other/app/blobs/{BLOB}").code == "BLOB_UNKNOWN"
    assert ask(registry, "GET", "demo/app/blobs/sha256:12").code == "DIGEST_INVALID"
    assert ask(registry, "GET", "Demo/app/manifests/1").code == "NAME_INVALID"
    assert ask(registry, "GET", "demo/app/manifests/.1").code == "TAG_INVALID"
    assert ask(registry, "GET", "none/tags/list").code == "NAME_UNKNOWN"
    assert ask(registry, "PUT", f"demo/app/blobs/{BLOB}", b"").status == 405


@pytest.mark.parametrize(
    ("asked", "status", "body", "content_range"),
    [
        ("bytes=2-5", 206, b"2345", "bytes 2-5/10"),
        ("bytes=7-", 206, b"789", "bytes 7-9/10"),
        ("bytes=7-99", 206, b"789", "bytes 7-9/10"),
        ("bytes=-3", 206, b"789", "bytes 7-9/10"),
        ("bytes=0-0", 206, b"0", "bytes 0-0/10"),
        ("bytes=10-", 416, None, "bytes */10"),
        ("bytes=5-2", 200, DATA, None),
        ("bytes=0-1,4-5", 200, DATA, None),
        ("lines=0-1", 200, DATA, None),
    ],
)
def test_range_of_a_blob_is_answered_as_specified(registry, asked, status, body, content_range):
    registry.add_blob("demo/app", DATA)
    got = ask(registry, "GET", f"demo/app/blobs/{BLOB}", Range=asked)
    assert got.status == status
    assert body is None or got.body == body
    assert got.headers.get("content-range") == content_range


def test_a_blob_can_be_a_file_and_can_be_empty(registry, tmp_path):
    big = tmp_path / "big"
    big.write_bytes(bytes(range(256)) * 4096)
    digest = registry.add_blob("demo/app", big)
    got = ask(registry, "GET", f"demo/app/blobs/{digest}", Range="bytes=300000-")
    assert got.body == big.read_bytes()[300000:]
    assert registry.add_blob("demo/app", b"") == EMPTY
    assert ask(registry, "GET", f"demo/app/blobs/{EMPTY}").headers["content-length"] == "0"


def test_blob_can_be_uploaded_in_one_request(registry):
    got = ask(registry, "POST", f"demo/app/blobs/uploads/?digest={BLOB}", DATA)
    assert got.status == 201
    assert registry.blob("demo/app", BLOB) == DATA


def test_an_upload_in_chunks_can_be_resumed(registry):
    place = ask(registry, "POST", "demo/app/blobs/uploads/", b"").headers["location"]
    first = call(registry.url, "PATCH", place, DATA[:4], {"Content-Range": "0-3"})
    assert (first.status, first.headers["range"]) == (202, "0-3")
    place = first.headers["location"]
    gap = call(registry.url, "PATCH", place, DATA[6:], {"Content-Range": "6-9"})
    assert (gap.status, gap.headers["range"]) == (416, "0-3")
    assert call(registry.url, "GET", place).headers["range"] == "0-3"
    rest = call(registry.url, "PATCH", place, io.BytesIO(DATA[4:]))
    assert (rest.status, rest.headers["range"]) == (202, "0-9")
    done = call(registry.url, "PUT", f"{rest.headers['location']}&digest={BLOB}", b"")
    assert (done.status, done.headers["docker-content-digest"]) == (201, BLOB)
    assert registry.blob("demo/app", BLOB) == DATA


def test_an_upload_with_the_wrong_digest_leaves_nothing(registry):
    place = ask(registry, "POST", "demo/app/blobs/uploads/", b"").headers["location"]
    got = call(registry.url, "PUT", f"{place}&digest={BLOB}", b"other")
    assert (got.status, got.code) == (400, "DIGEST_INVALID")
    assert registry.blob("demo/app", BLOB) is None


def test_upload_can_be_cancelled(registry):
    place = ask(registry, "POST", "demo/app/blobs/uploads/", b"").headers["location"]
    assert call(registry.url, "DELETE", place).status == 204
    assert call(registry.url, "GET", place).code == "BLOB_UPLOAD_UNKNOWN"


def test_a_mount_needs_the_blob_in_the_other_repository(registry):
    registry.add_blob("base", DATA)
    found = ask(registry, "POST", f"demo/app/blobs/uploads/?mount={BLOB}&from=base", b"")
    assert found.status == 201
    assert registry.blob("demo/app", BLOB) == DATA
    lost = ask(registry, "POST", f"demo/app/blobs/uploads/?mount={EMPTY}&from=base", b"")
    assert (lost.status, "location" in lost.headers) == (202, True)


def test_uploads_are_stored_in_the_given_directory(tmp_path):
    with Registry(storage=tmp_path) as registry:
        ask(registry, "POST", f"demo/app/blobs/uploads/?digest={BLOB}", DATA)
        assert [path.read_bytes() for path in tmp_path.iterdir()] == [DATA]
        assert registry.blob("demo/app", BLOB) == DATA


def test_a_manifest_is_refused_before_its_blobs(registry):
    made = image([layer({"a": b"x"})])
    answer = ask(registry, "PUT", "demo/app/manifests/1", made.raw, Content_Type=made.media_type)
    assert (answer.status, answer.code) == (400, "MANIFEST_BLOB_UNKNOWN")
    family = index([made])
    answer = ask(
        registry, "PUT", "demo/app/manifests/1", family.raw, Content_Type=family.media_type
    )
    assert answer.code == "MANIFEST_BLOB_UNKNOWN"


def test_lenient_registry_accepts_any_manifest():
    with Registry(lenient=True) as registry:
        answer = ask(registry, "PUT", "demo/app/manifests/1", b"junk", Content_Type="text/plain")
        assert answer.status == 201
        assert registry.manifest("demo/app", "1") == b"junk"


@pytest.mark.parametrize("raw", [b"junk", b"[]", b'{"schemaVersion":1}', b'{"schemaVersion":2}'])
def test_invalid_manifest_is_rejected(registry, raw):
    kind = OCI_MANIFEST if b"2" not in raw else ""
    answer = ask(registry, "PUT", "demo/app/manifests/1", raw, Content_Type=kind)
    assert answer.code == "MANIFEST_INVALID"


def test_sha512_is_supported_for_blobs_and_manifests(registry):
    digest = registry.add_blob("demo/app", DATA, algorithm="sha512")
    assert ask(registry, "GET", f"demo/app/blobs/{digest}").body == DATA
    made = image([])
    registry.add_blob("demo/app", made.config)
    name = registry.add("other", made.raw, made.media_type, algorithm="sha512")
    path = f"demo/app/manifests/{name}?tag=a&tag=b"
    answer = ask(registry, "PUT", path, made.raw, Content_Type=made.media_type)
    assert answer.headers["docker-content-digest"] == name
    assert answer.headers["oci-tag"] == "a, b"
    assert ask(registry, "GET", "demo/app/manifests/b").headers["docker-content-digest"] == name


def test_upload_over_http_equals_push(registry):
    family = demo_image("app", "1.0", attestations=True)
    assert upload(registry.url, "demo/app", family, "1.0") == family.digest
    with Registry() as other:
        push(other, "demo/app", family, "1.0")
        for digest, content in family.blobs():
            assert registry.blob("demo/app", digest) == other.blob("demo/app", digest) == content
        for digest, _dummy, raw in family.manifests():
            assert registry.manifest("demo/app", digest) == raw
    registry.clear()
    upload(registry.url, "demo/app", family, "1.0")
    assert registry.requests_by_method()["POST"] == 0


def test_lists_are_split_into_pages():
    with Registry(page_size=2) as registry:
        for tag in ("e", "a", "c", "b", "d"):
            registry.tag("demo/app", tag, BLOB)
        seen, path = [], "/v2/demo/app/tags/list?n=1000"
        while path:
            got = call(registry.url, "GET", path)
            seen.append(got.document["tags"])
            path = got.headers.get("link", "")[1:].partition(">")[0]
        assert seen == [["a", "b"], ["c", "d"], ["e"]]
        assert ask(registry, "GET", "demo/app/tags/list?n=0").document["tags"] == []
        assert ask(registry, "GET", "demo/app/tags/list?n=x").status == 400
        assert ask(registry, "GET", "_catalog").document == {"repositories": ["demo/app"]}


def test_referrers_are_listed_and_filtered(registry):
    made = image([])
    push(registry, "demo/app", made, "1")
    kinds = ("application/x.sbom", "application/x.signature")
    found = [image([], "", artifactType=kind, subject=made.descriptor()) for kind in kinds]
    for one in found:
        registry.add_blob("demo/app", one.config)
        answer = ask(
            registry, "PUT", f"demo/app/manifests/{one.digest}", one.raw, Content_Type=OCI_MANIFEST
        )
        assert answer.headers["oci-subject"] == made.digest
    got = ask(registry, "GET", f"demo/app/referrers/{made.digest}")
    assert {entry["digest"] for entry in got.document["manifests"]} == {f.digest for f in found}
    assert "oci-filters-applied" not in got.headers
    got = ask(registry, "GET", f"demo/app/referrers/{made.digest}?artifactType={kinds[0]}")
    assert [entry["digest"] for entry in got.document["manifests"]] == [found[0].digest]
    assert got.headers["oci-filters-applied"] == "artifactType"
    assert ask(registry, "GET", f"demo/app/referrers/{EMPTY}").document["manifests"] == []


def test_registry_without_referrers_answers_404():
    with Registry(referrers=False) as registry:
        assert ask(registry, "GET", f"demo/app/referrers/{BLOB}").status == 404


def test_tag_manifest_and_blob_can_be_deleted(registry):
    made = image([layer({"a": b"x"})])
    push(registry, "demo/app", made, "1", "2")
    assert ask(registry, "DELETE", "demo/app/manifests/1").status == 202
    assert ask(registry, "GET", "demo/app/tags/list").document["tags"] == ["2"]
    assert ask(registry, "DELETE", f"demo/app/manifests/{made.digest}").status == 202
    assert ask(registry, "GET", "demo/app/manifests/2").status == 404
    assert ask(registry, "DELETE", f"demo/app/blobs/{made.config_digest}").status == 202
    assert ask(registry, "DELETE", f"demo/app/blobs/{made.config_digest}").status == 404
    with Registry(deletes=False, storage=registry.storage) as other:
        path = f"demo/app/blobs/{made.layers[0].digest}"
        assert ask(other, "DELETE", path).status == 405


def test_requests_are_logged_with_all_fields(registry):
    registry.add_blob("demo/app", DATA)
    ask(registry, "GET", f"demo/app/blobs/{BLOB}?x=1", Range="bytes=1-3", X_Test="y")
    ask(registry, "POST", "demo/app/blobs/uploads/", b"body")
    first, second = registry.requests
    assert (first.method, first.status, first.bytes_sent, first.query) == ("GET", 206, 3, "x=1")
    assert first.path == f"/v2/demo/app/blobs/{BLOB}"
    assert (first.headers["range"], first.headers["x-test"]) == ("bytes=1-3", "y")
    assert (second.status, second.body_size) == (202, 4)
    assert first.connection != second.connection
    assert registry.requests_by_method() == {"GET": 1, "POST": 1}
    assert registry.connections == 2
    registry.clear()
    assert registry.requests == []


def test_a_connection_serves_many_requests(registry):
    connection = http.client.HTTPConnection("127.0.0.1", registry.port, timeout=20)
    for _dummy in range(3):
        connection.request("GET", "/v2/", b"ignored")
        assert read_reply(connection).status == 200
    connection.close()
    assert registry.connections == 1
    assert len({one.connection for one in registry.requests}) == 1


def test_connection_can_be_closed_after_a_number_of_requests():
    with Registry(requests_per_connection=2) as registry:
        connection = http.client.HTTPConnection("127.0.0.1", registry.port, timeout=20)
        for _dummy in range(4):
            connection.request("GET", "/v2/")
            assert "connection" not in read_reply(connection).headers
            if len(registry.requests) == 2:
                assert connection.sock.recv(1) == b""
                connection.close()
        connection.close()
        assert registry.connections == 2


def test_other_paths_can_be_served(registry, tmp_path):
    (tmp_path / "object").write_bytes(DATA)
    registry.files["/bucket/object"] = tmp_path / "object"
    got = call(registry.url, "GET", "/bucket/object?signature=x", None, {"Range": "bytes=8-"})
    assert (got.status, got.body) == (206, b"89")


def test_two_registries_can_share_content():
    storage = Storage()
    with Registry(storage=storage) as one, Registry(storage=storage) as other:
        one.add_blob("demo/app", DATA)
        assert ask(other, "GET", f"demo/app/blobs/{BLOB}").body == DATA


def test_content_can_have_a_wrong_digest(registry):
    registry.add_blob("demo/app", b"other", digest=BLOB)
    assert ask(registry, "GET", f"demo/app/blobs/{BLOB}").body == b"other"
    proof = attestation(image([]))
    registry.add("demo/app", b"junk", OCI_MANIFEST, "1", digest=proof.digest)
    assert ask(registry, "GET", "demo/app/manifests/1").body == b"junk"
    assert registry.untag("demo/app", "1") and not registry.untag("demo/app", "1")


def test_registry_can_listen_on_ipv6():
    try:
        registry = Registry(host="::1")
    except OSError:
        pytest.skip("no IPv6 here")
    with registry:
        assert registry.address == f"[::1]:{registry.port}"
        assert ask(registry, "GET", "").status == 200


def test_a_closed_registry_ends_idle_connections():
    with Registry() as registry:
        connection = http.client.HTTPConnection("127.0.0.1", registry.port, timeout=20)
        connection.request("GET", "/v2/")
        read_reply(connection)
    assert connection.sock.recv(1) == b""
    connection.close()
    registry.close()
