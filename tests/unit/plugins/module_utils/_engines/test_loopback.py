# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The registry on the loopback interface: what it serves, and what it does not."""

from __future__ import annotations

import http.client
import re
import socket
import threading

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._engines import errors
from ansible_collections.lockstep.images.plugins.module_utils._engines.loopback import (
    LoopbackRegistry,
)
from ansible_collections.lockstep.images.plugins.module_utils._image.errors import (
    CorruptStoreError,
    TruncatedError,
)
from ansible_collections.lockstep.images.tests.support.contents import content_of, opener
from ansible_collections.lockstep.images.tests.support.images import demo_image, image, layer

LAYER = layer({"data": bytes(range(256)) * 20})
APP = image([LAYER, layer({"more": b"m" * 900})])
FAMILY = demo_image("family", "1", layers=2, size=400)
NAMES = ["docker.io/library/app:1", "registry.example:5000/a/family:2"]
CONTENTS = [content_of(APP, NAMES[0]), content_of(FAMILY, NAMES[1])]
BLOB = f"blobs/{LAYER.digest}"


@pytest.fixture(name="registry")
def fixture_registry():
    with LoopbackRegistry(CONTENTS, opener(APP, FAMILY)) as registry:
        yield registry


def request(registry, path, method="GET", repository="docker.io/library/app", **headers):
    """Send a request for a path below a repository, or for an absolute one; return status, headers and body."""
    host, _slash, home = registry.locations[repository].partition("/")
    connection = http.client.HTTPConnection(host, timeout=5)
    target = path if path.startswith("/") else f"/v2/{home}/{path}"
    connection.request(
        method, target, headers={key.replace("_", "-"): value for key, value in headers.items()}
    )
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer.status, dict(answer.getheaders()), body


def raw(registry, data):
    """Return the answer to bytes on a new connection."""
    port = int(re.search(":([0-9]+)/", registry.locations["docker.io/library/app"]).group(1))
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: connection.recv(65536), b""))


def test_tag_and_digests_lead_to_the_planned_manifests(registry):
    status, headers, body = request(registry, "manifests/1")
    assert (status, body) == (200, APP.raw)
    assert headers["Content-Type"] == APP.media_type
    assert headers["Docker-Content-Digest"] == APP.digest
    assert request(registry, f"manifests/{APP.digest}")[2] == APP.raw
    family = {"repository": "registry.example:5000/a/family"}
    assert request(registry, "manifests/2", **family)[2] == FAMILY.raw
    child = FAMILY.for_platform("linux/amd64")
    assert request(registry, f"manifests/{child.digest}", **family)[2] == child.raw


def test_layers_and_configuration_are_served(registry):
    assert request(registry, BLOB)[2] == LAYER.blob
    assert request(registry, f"blobs/{APP.config_digest}")[2] == APP.config


def test_head_has_the_headers_of_get_and_no_body(registry):
    for path, size in (("manifests/1", len(APP.raw)), (BLOB, len(LAYER.blob))):
        status, headers, body = request(registry, path, "HEAD")
        assert (status, headers["Content-Length"], body) == (200, str(size), b"")
    assert registry.bytes_sent == 0


@pytest.mark.parametrize(
    ("header", "first", "last"),
    [("bytes=0-0", 0, 0), ("bytes=10-", 10, None), ("bytes=-7", -7, None), ("bytes=5-999999", 5, None)],
)  # fmt: skip
def test_range_is_answered_with_that_part(registry, header, first, last):
    status, headers, body = request(registry, BLOB, Range=header)
    expected = LAYER.blob[first : None if last is None else last + 1]
    assert (status, body) == (206, expected)
    size = len(LAYER.blob)
    start = first % size
    assert headers["Content-Range"] == f"bytes {start}-{start + len(expected) - 1}/{size}"


@pytest.mark.parametrize("header", ["bytes=999999-", "bytes=-0", "bytes=7-5"])
def test_range_outside_of_the_content_is_refused(registry, header):
    status, headers, body = request(registry, BLOB, Range=header)
    assert (status, body) == (416, b"")
    assert headers["Content-Range"] == f"bytes */{len(LAYER.blob)}"


@pytest.mark.parametrize("header", ["bytes=0-1,5-6", "lines=1-2", "bytes=x", "bytes=-"])
def test_other_ranges_are_answered_with_everything(registry, header):
    status, _headers, body = request(registry, BLOB, Range=header)
    assert (status, body) == (200, LAYER.blob)


OTHER = FAMILY.for_platform("linux/arm64")


@pytest.mark.parametrize(
    "path",
    [
        "manifests/latest",
        f"manifests/{OTHER.digest}",
        f"manifests/{FAMILY.digest}",
        f"blobs/{OTHER.layers[0].digest}",
        f"blobs/{APP.digest}",
        "blobs/../manifests/1",
        "manifests/1?x",
        "tags/list",
        "",
        "/",
        "/v2",
        "/v2/_catalog",
        f"/v2/docker.io/library/app/{BLOB}",
        f"/v2/library/app/{BLOB}",
        "/v2/" + "0" * 32 + f"/0/{BLOB}",
        "/etc/passwd",
    ],
)
def test_unplanned_content_is_not_found(registry, path):
    assert request(registry, path)[0] == 404


def test_content_of_one_repository_is_not_in_another(registry):
    assert request(registry, BLOB, repository="registry.example:5000/a/family")[0] == 404


def test_path_is_random(registry):
    with LoopbackRegistry(CONTENTS, opener()) as other:
        paths = [location.split("/")[1] for one in (registry, other) for location in one.locations.values()]  # fmt: skip
    assert [len(path) for path in paths] == [32] * 4
    assert len(set(paths)) == 2


@pytest.mark.parametrize("method", ["PUT", "POST", "PATCH", "DELETE", "OPTIONS", "CONNECT"])
def test_nothing_can_be_written(registry, method):
    assert request(registry, BLOB, method)[0] == 501


def test_version_check_is_answered(registry):
    assert request(registry, "/v2/")[::2] == (200, b"{}")


def test_tls_client_gets_an_answer_in_http(registry):
    assert raw(registry, b"\x16\x03\x01\x02\x00\x01\x00" + b"h" * 509).startswith(b"HTTP/1.0 400 ")


@pytest.mark.parametrize(
    "data",
    [b"", b"\r\n\r\n", b"GET\r\n\r\n", b"\0\xff\xfe\r\n\r\n", b"G" * 70000, b"GET /v2/ HTTP/9.9\r\n\r\n",
     b"GET /v2/ HTTP/1.1\r\nRange: bytes=0-\r\n" + b"X: y\r\n" * 200 + b"\r\n"],
)  # fmt: skip
def test_garbage_stops_nothing(registry, data):
    raw(registry, data)
    assert request(registry, "manifests/1")[0] == 200


def test_each_content_is_counted_once(registry):
    for _time in range(2):
        request(registry, "manifests/1")
        request(registry, BLOB)
        request(registry, BLOB, Range="bytes=3-9")
    assert registry.bytes_sent == len(APP.raw) + len(LAYER.blob)


def test_content_of_two_names_is_counted_once():
    names = ("docker.io/library/app:1", "registry.example/copy:1")
    with LoopbackRegistry([content_of(APP, name) for name in names], opener(APP)) as registry:
        for repository in registry.locations:
            assert request(registry, BLOB, repository=repository)[0] == 200
        assert registry.bytes_sent == len(LAYER.blob)


def test_file_is_sent_from_the_disk(tmp_path):
    path = tmp_path / "blob"
    path.write_bytes(LAYER.blob)
    with LoopbackRegistry(CONTENTS, lambda _blob: open(path, "rb")) as registry:
        assert request(registry, BLOB)[2] == LAYER.blob
        assert request(registry, BLOB, Range="bytes=4-8")[2] == LAYER.blob[4:9]


def test_download_that_is_under_way_does_not_hold_up_others(registry):
    ready = threading.Event()
    slow = opener(APP)

    def open_blob(blob):
        if str(blob.digest) == LAYER.digest:
            assert ready.wait(5)
        return slow(blob)

    with LoopbackRegistry(CONTENTS, open_blob) as other:
        answers = []
        waiting = threading.Thread(target=lambda: answers.append(request(other, BLOB)))
        waiting.start()
        assert request(other, f"blobs/{APP.layers[1].digest}")[0] == 200
        while not other.is_waiting:
            assert waiting.is_alive()
        ready.set()
        waiting.join(5)
        assert not other.is_waiting
    assert answers[0][2] == LAYER.blob


def test_error_of_a_download_is_kept():
    def open_blob(_blob):
        raise TruncatedError("the registry closed the connection")

    with LoopbackRegistry(CONTENTS, open_blob) as registry:
        assert registry.error is None
        assert request(registry, BLOB)[0] == 404
        assert str(registry.error) == "the registry closed the connection"
        assert request(registry, "manifests/1")[0] == 200


def test_missing_file_is_kept_as_an_error_of_the_store():
    with LoopbackRegistry(CONTENTS, opener()) as registry:
        assert request(registry, BLOB)[0] == 404
    assert isinstance(registry.error, CorruptStoreError)
    assert str(registry.error) == f"{LAYER.digest} cannot be read: No such file or directory"


def test_file_that_is_too_short_ends_the_connection(tmp_path):
    path = tmp_path / "blob"
    path.write_bytes(LAYER.blob[:-1])
    with LoopbackRegistry(CONTENTS, lambda _blob: open(path, "rb")) as registry:
        with pytest.raises(http.client.IncompleteRead):
            request(registry, BLOB)


def test_server_ends_with_its_block(registry):
    with LoopbackRegistry(CONTENTS, opener()) as other:
        location = other.locations["docker.io/library/app"]
    with pytest.raises(ConnectionRefusedError):
        http.client.HTTPConnection(location.partition("/")[0], timeout=5).connect()


NOWHERE = ("192.0.2.1", "192.0.2.1")  # an address that no host has (RFC 5737)


class ElsewhereRegistry(LoopbackRegistry):
    places = (NOWHERE,)


def test_host_that_refuses_to_listen_is_one_sentence():
    with pytest.raises(errors.EngineError, match=r"192\.0\.2\.1: this host does not let a program"):
        ElsewhereRegistry(CONTENTS, opener()).__enter__()


class Ipv6Registry(LoopbackRegistry):
    places = (NOWHERE, LoopbackRegistry.places[1])


@pytest.fixture(name="localhost")
def fixture_localhost(monkeypatch):
    """The addresses of localhost, as the host would say."""
    known, ask = ["::1"], socket.getaddrinfo

    def answer(host, *rest, **named):
        if host != "localhost":
            return ask(host, *rest, **named)
        return [found for one in known for found in ask(one, *rest, **named)]

    monkeypatch.setattr(socket, "getaddrinfo", answer)
    return known


def test_host_with_only_ipv6_is_served_by_the_name_of_its_loopback_address(localhost):
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this host has no IPv6")
    with Ipv6Registry(CONTENTS, opener(APP, FAMILY)) as registry:
        assert {one.partition(":")[0] for one in registry.locations.values()} == {"localhost"}
        assert request(registry, "manifests/1")[0] == 200


def test_host_with_only_ipv6_that_has_no_name_for_it_is_one_sentence(localhost):
    localhost[:] = ["127.0.0.1"]
    with pytest.raises(errors.EngineError, match=r"192\.0\.2\.1: this host does not") as caught:
        Ipv6Registry(CONTENTS, opener()).__enter__()
    assert caught.value.hint.endswith("If the host has only IPv6, localhost must be ::1.")
