# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Each fault does to the bytes on the raw_answer what its name says, and to nothing else."""

from __future__ import annotations

import gzip
import http.client
import re
import socket
import threading
import zlib

import pytest
from ansible_collections.lockstep.images.tests.support.client import call, raw_call, read_reply
from ansible_collections.lockstep.images.tests.support.faults import Fault, FaultCounter, Filler
from ansible_collections.lockstep.images.tests.support.images import demo_image, push
from ansible_collections.lockstep.images.tests.support.registry import Registry

DATA = b"0123456789"
USERS = {"user": "password"}


@pytest.fixture(name="registry")
def fixture_registry():
    """Provide a registry with one blob, which fails the test on an internal error."""
    with Registry() as registry:
        registry.digest = registry.add_blob("demo/app", DATA)
        registry.path = f"/v2/demo/app/blobs/{registry.digest}"
        yield registry
    assert registry.errors == []


def get(registry, **headers: str):
    """Request the blob with GET. Return the answer."""
    lines = {name.replace("_", "-"): value for name, value in headers.items()}
    return call(registry.url, "GET", registry.path, None, lines)


def raw_answer(registry, fault: Fault, method: str = "GET", extra: str = "") -> tuple[str, bytes]:
    """Add ``fault`` and request the blob. Return head and body of the answer, as received."""
    registry.faults.append(fault)
    request = f"{method} {registry.path} HTTP/1.1\r\nHost: x\r\n{extra}\r\n"
    head, _dummy, body = raw_call(registry.address, request.encode()).partition(b"\r\n\r\n")
    return head.decode("latin-1"), body


def test_first_matching_fault_with_remaining_times_is_applied(registry):
    first = Fault(path="/blobs/", status=500, times=2, skip=1)
    second = Fault(path="/blobs/", status=503, times=None)
    registry.faults.extend([first, second])
    assert [get(registry).status for _dummy in range(5)] == [503, 500, 500, 503, 503]
    assert (registry.applied(first), registry.applied(second)) == (2, 3)
    assert [one.status for one in registry.requests] == [503, 500, 500, 503, 503]


def test_fault_matches_by_method_target_and_headers():
    fault = Fault(method="GET|HEAD", path=r"/blobs/.*\?x=1$", having={"range": r"^bytes=4-"})
    head = {"range": "bytes=4-9"}
    assert fault.matches("HEAD", "/v2/a/blobs/b?x=1", head)
    assert not fault.matches("POST", "/v2/a/blobs/b?x=1", head)
    assert not fault.matches("GET", "/v2/a/blobs/b", head)
    assert not fault.matches("GET", "/v2/a/blobs/b?x=1", {"range": "bytes=0-9"})
    assert not fault.matches("GET", "/v2/a/blobs/b?x=1", {})


def test_two_registries_can_share_a_fault():
    fault = Fault(status=500)
    one, other = FaultCounter([fault]), FaultCounter([fault])
    assert one.claim("GET", "/", {}, True) is fault
    assert one.claim("GET", "/", {}, True) is None
    assert other.claim("GET", "/", {}, True) is fault


def test_fault_sets_status_headers_and_body(registry):
    registry.faults.append(
        Fault(status=429, headers={"Retry-After": "2", "X": ["a", "b"]}, body={"errors": []})
    )
    got = get(registry)
    assert (got.status, got.document) == (429, {"errors": []})
    assert (got.headers["retry-after"], got.headers["x"]) == ("2", "a, b")


def test_fault_sends_an_unknown_status_and_a_large_body(registry):
    head, body = raw_answer(registry, Fault(status=799, body=Filler(1 << 21, b"ab", b"{")))
    assert head.startswith("HTTP/1.1 799 Unknown")
    assert body[:6] == b"{ababa"
    assert "Content-Length: 2097152" in head


def test_fault_redirects_to_a_path_or_to_the_result_of_a_function(registry):
    registry.files["/store"] = b"there"
    registry.faults.append(Fault(path="/blobs/", redirect="/store", status=302))
    registry.faults.append(Fault(path="/blobs/", redirect=lambda target: f"//x{target}"))
    first, second = get(registry), get(registry)
    assert (first.status, first.headers["location"]) == (302, "/store")
    assert (second.status, second.headers["location"]) == (307, f"//x{registry.path}")
    assert call(registry.url, "GET", "/store").body == b"there"


def test_truncated_answer_ends_before_its_declared_length(registry):
    head, body = raw_answer(registry, Fault(truncate_at=4))
    assert "Content-Length: 10" in head
    assert body == DATA[:4]
    assert registry.requests[0].bytes_sent == 4


def test_connection_is_reset_after_the_given_bytes(registry):
    registry.faults.append(Fault(reset_at=4))
    with socket.create_connection(("127.0.0.1", registry.port), timeout=20) as connection:
        connection.sendall(f"GET {registry.path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        got = b""
        with pytest.raises(ConnectionResetError):
            while True:
                got += connection.recv(4096) or pytest.fail("a clean end")
    assert got.endswith(b"\r\n\r\n0123")


def test_stall_ends_when_the_client_closes_or_the_server_stops(registry):
    registry.faults.append(Fault(stall_at=3, times=None))
    sockets = []
    for _dummy in range(2):
        connection = socket.create_connection(("127.0.0.1", registry.port), timeout=20)
        connection.sendall(f"GET {registry.path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        got = b""
        while not got.endswith(b"012"):
            got += connection.recv(4096)
        sockets.append(connection)
    sockets[0].close()
    registry.close()
    assert sockets[1].recv(10) == b""
    sockets[1].close()


def test_drip_sends_all_bytes(registry):
    head, body = raw_answer(registry, Fault(drip=1000.0, close_after=True))
    assert "200 OK" in head
    assert body == DATA


def test_extend_sends_more_bytes_than_declared(registry):
    head, body = raw_answer(registry, Fault(extend=b"more"))
    assert "Content-Length: 10" in head
    assert body == DATA + b"more"
    assert len(raw_answer(registry, Fault(extend=70000))[1]) == 70010


@pytest.mark.parametrize(
    ("fault", "declared"),
    [
        (Fault(content_length=7, close_after=True), "7"),
        (Fault(content_length=99, close_after=True), "99"),
        (Fault(content_length=None), None),
    ],
)
def test_declared_length_can_be_wrong_or_missing(registry, fault, declared):
    head, body = raw_answer(registry, fault)
    found = re.search(r"Content-Length: (\d+)", head)
    assert (found and found.group(1)) == declared
    assert body == DATA


def test_chunked_answer_can_break_off_in_mid_chunk(registry):
    registry.faults.append(Fault(chunked=True))
    got = get(registry)
    assert (got.body, got.headers["transfer-encoding"]) == (DATA, "chunked")
    assert "content-length" not in got.headers
    registry.faults.append(Fault(chunked_cut_at=4))
    with pytest.raises(http.client.IncompleteRead):
        get(registry)


@pytest.mark.parametrize(
    ("fault", "body"),
    [
        (Fault(corrupt=3), b"012\xcc456789"),
        (Fault(corrupt=-1), b"012345678\xc6"),
        (Fault(replace=b"abcdefghij"), b"abcdefghij"),
        (Fault(replace=b""), b""),
    ],
)
def test_body_can_be_corrupted_or_replaced_under_the_same_headers(registry, fault, body):
    registry.faults.append(fault)
    got = get(registry)
    assert (got.status, got.body) == (200, body)
    assert got.headers["docker-content-digest"] == registry.digest
    assert got.headers["content-length"] == str(len(body))


def test_headers_are_set_and_dropped(registry):
    registry.faults.append(
        Fault(
            method="HEAD",
            set_headers={"content-type": "text/plain", "Docker-Content-Digest": ["a", "b"]},
            drop_headers=["Accept-Ranges"],
        )
    )
    got = call(registry.url, "HEAD", registry.path)
    assert got.headers["content-type"] == "text/plain"
    assert got.headers["docker-content-digest"] == "a, b"
    assert "accept-ranges" not in got.headers


@pytest.mark.parametrize(
    ("name", "decode"),
    [
        ("gzip", gzip.decompress),
        ("x-gzip", gzip.decompress),
        ("deflate", zlib.decompress),
        ("gzip, gzip", lambda data: gzip.decompress(gzip.decompress(data))),
        ("rot13", bytes),
    ],
)
def test_content_encoding_is_declared_and_applied(registry, name, decode):
    registry.faults.append(Fault(content_encoding=name))
    got = get(registry)
    assert got.headers["content-encoding"] == name
    assert decode(got.body) == DATA


def test_ranges_can_be_ignored_or_answered_wrongly(registry):
    registry.faults.append(Fault(ignore_range=True))
    assert (get(registry, Range="bytes=4-").status, registry.requests[0].bytes_sent) == (200, 10)
    registry.faults.append(Fault(wrong_content_range="bytes 0-5/10"))
    got = get(registry, Range="bytes=4-")
    assert (got.headers["content-range"], got.body) == ("bytes 0-5/10", DATA[4:])
    registry.faults.append(Fault(wrong_content_range="bytes 0-9/10"))
    assert get(registry).status == 206


def test_function_can_change_the_content_range(registry):
    def unknown(true):
        return true.replace("/10", "/*")

    registry.faults.append(Fault(wrong_content_range=unknown, times=2))
    got = get(registry, Range="bytes=4-5")
    assert (got.status, got.headers["content-range"], got.body) == (206, "bytes 4-5/*", DATA[4:6])
    assert (get(registry).status, "content-range" in get(registry).headers) == (200, False)


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 abc\r\n\r\n",
        b"\x15\x03\x01\x00\x02\x02\x46",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 10000 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + bytes(1 << 20) + b"\r\n\r\n",
    ],
)
def test_raw_bytes_are_sent_unchanged(registry, data):
    registry.faults.append(Fault(raw=data))
    request = f"GET {registry.path} HTTP/1.1\r\nHost: x\r\n\r\n"
    assert raw_call(registry.address, request.encode(), 1 << 22) == data
    assert registry.requests[0].status == 0


def test_connection_can_be_closed_without_an_answer(registry):
    registry.faults.append(Fault(close_before=True))
    with pytest.raises((http.client.RemoteDisconnected, ConnectionError)):
        get(registry)
    assert registry.requests[0].status == 0


def test_request_can_be_processed_while_its_answer_is_lost(registry):
    path = "/v2/demo/app/blobs/uploads/?digest="
    for process in (False, True):
        registry.faults.append(Fault(method="POST", close_before=True, process=process))
        blob = registry.storage.add_blob("other", b"%d" % process)
        with pytest.raises((http.client.RemoteDisconnected, ConnectionError)):
            call(registry.url, "POST", path + blob, b"%d" % process)
        assert (registry.blob("demo/app", blob) is not None) == process


@pytest.mark.parametrize(("at", "stored"), [(0, 0), (4, 4), (100, 10)])
def test_received_bytes_of_a_cut_request_are_stored(registry, at, stored):
    registry.faults.append(Fault(method="PATCH", cut_request_at=at))
    session = call(registry.url, "POST", "/v2/demo/app/blobs/uploads/").headers["location"]
    with pytest.raises((http.client.HTTPException, OSError)):
        call(registry.url, "PATCH", session, DATA)
    said = call(registry.url, "GET", session).headers["range"]
    assert said == f"0-{max(0, stored - 1)}"
    assert [one.status for one in registry.requests] == [202, 0, 204]


def test_connection_can_be_closed_after_the_answer_without_a_header(registry):
    registry.faults.append(Fault(close_after=True))
    connection = http.client.HTTPConnection("127.0.0.1", registry.port, timeout=20)
    connection.request("GET", registry.path)
    got = read_reply(connection)
    assert (got.body, "connection" in got.headers) == (DATA, False)
    assert connection.sock.recv(1) == b""
    connection.close()


def test_protocol_version_can_be_changed(registry):
    head, body = raw_answer(registry, Fault(protocol="HTTP/1.0"))
    assert head.startswith("HTTP/1.0 200 OK")
    assert body == DATA


def test_a_delay_ends_when_the_server_stops(registry):
    registry.faults.append(Fault(delay=3600.0))
    failed = threading.Event()

    def ask():
        try:
            get(registry)
        except (OSError, http.client.HTTPException):
            failed.set()

    thread = threading.Thread(target=ask)
    thread.start()
    while not registry.connections:
        pass
    registry.close()
    thread.join(20)
    assert not thread.is_alive()


@pytest.mark.parametrize("withheld", [True, False])
def test_interim_answer_can_be_omitted(registry, withheld):
    if withheld:
        registry.faults.append(Fault(method="PUT", no_continue=True))
    request = (
        "PUT /v2/demo/app/manifests/1 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
        "Expect: 100-continue\r\nContent-Length: 4\r\n\r\njunk"
    )
    got = raw_call(registry.address, request.encode())
    assert got.startswith(b"HTTP/1.1 100") != withheld
    assert b" 400 Bad Request" in got


def test_accept_header_is_honoured_only_under_a_fault(registry):
    family = demo_image("app", "1.0")
    push(registry, "demo/app", family, "1")
    path = "/v2/demo/app/manifests/1"
    assert call(registry.url, "GET", path).body == family.raw
    registry.faults.append(Fault(path="/manifests/", negotiate=True, times=None))
    assert call(registry.url, "GET", path).body == family.images[0].raw
    accept = {"Accept": f"text/plain, {family.media_type};q=0.5"}
    assert call(registry.url, "GET", path, None, accept).body == family.raw
    child = f"/v2/demo/app/manifests/{family.images[0].digest}"
    assert call(registry.url, "GET", child).status == 404


def test_fault_applies_only_to_authorized_requests_by_default():
    with Registry(auth="bearer", users=USERS) as registry:
        registry.faults.append(Fault(path="/tags/", status=500))
        registry.faults.append(
            Fault(path="/tags/", before_auth=True, drop_headers=["WWW-Authenticate"])
        )
        first = call(registry.url, "GET", "/v2/a/tags/list")
        assert (first.status, "www-authenticate" in first.headers) == (401, False)
        assert "www-authenticate" in call(registry.url, "GET", "/v2/a/tags/list").headers


def test_fault_can_apply_to_the_token_endpoint():
    with Registry(auth="bearer", users=USERS) as registry:
        registry.faults.append(Fault(path="^/token", body="<html>"))
        got = call(registry.url, "GET", "/token?service=x")
        assert (got.status, got.body) == (200, b"<html>")
        assert registry.requests[0].query == "service=x"


def test_requests_to_a_proxy_are_answered(registry):
    request = f"GET http://other.example{registry.path} HTTP/1.0\r\n\r\n"
    assert raw_call(registry.address, request.encode()).endswith(DATA)
    registry.faults.append(Fault(method="CONNECT", status=407))
    request = "CONNECT other.example:443 HTTP/1.0\r\n\r\n"
    assert b" 407 " in raw_call(registry.address, request.encode())
