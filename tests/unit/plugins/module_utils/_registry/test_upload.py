# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Uploads of blobs: whole, streamed and in chunks, and what registries make of them. Ids name the fault."""

from __future__ import annotations

import random

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._image.errors import readable_size
from ansible_collections.lockstep.images.plugins.module_utils._image.manifest import Descriptor
from ansible_collections.lockstep.images.plugins.module_utils._image.names import Digest
from ansible_collections.lockstep.images.tests.support import fakes
from ansible_collections.lockstep.images.tests.support.fakes import Cut, blob
from ansible_collections.lockstep.images.tests.support.faults import Fault
from ansible_collections.lockstep.images.tests.support.images import image, layer, push
from ansible_collections.lockstep.images.tests.support.pulling import LOGIN, USERS, serving
from ansible_collections.lockstep.images.tests.support.pushing import (
    Sender,
    bodies,
    open_uploads,
    steps,
)
from ansible_collections.lockstep.images.tests.support.registry import Registry

SMALL = random.Random(1).randbytes(5000)
LARGE = random.Random(2).randbytes(1_200_000)
CHUNK = 400_000
CHUNKS = [CHUNK, CHUNK, CHUNK]
WHOLE = ["HEAD blob", "POST uploads", "PUT upload"]
UPLOADS = "/blobs/uploads/"
SESSION = "/blobs/uploads/.+"


@pytest.fixture(name="registry")
def fixture_registry():
    """An empty one, which fails the test on an internal error."""
    with Registry() as registry:
        yield registry
    assert registry.errors == []


def answer(**headers):
    """A fault that changes headers of answers to a POST."""
    return Fault(method="POST", path=UPLOADS, set_headers=headers)


# -- what is sent

HOW = {
    "small": (SMALL, 0, [5000]),
    "empty": (b"", 0, [0]),
    "one-byte": (b"x", 0, [1]),
    "streamed": (LARGE, 0, [len(LARGE)]),
    "in-chunks": (LARGE, CHUNK, CHUNKS),
    "in-uneven-chunks": (LARGE[:1_000_500], CHUNK, [CHUNK, CHUNK, 200_500]),
    "smaller-than-a-chunk": (SMALL, CHUNK, [5000]),
    "empty-with-chunks": (b"", CHUNK, [0]),
    "exactly-a-chunk": (LARGE[:CHUNK], CHUNK, [CHUNK]),
}


@pytest.mark.parametrize(("data", "chunk_size", "sent"), HOW.values(), ids=HOW)
def test_a_blob_arrives_in_as_many_requests_as_it_takes(tmp_path, registry, data, chunk_size, sent):
    sender = Sender(tmp_path, registry, chunk_size)
    assert sender.arrived(sender.send(data))
    assert bodies(registry) == sent
    assert steps(registry) == [*WHOLE[:2], *["PATCH upload"] * (len(sent) - 1), "PUT upload"]
    assert sender.sinks.stats()["bytes_sent"] == len(data)
    assert sender.clock.slept == []
    assert open_uploads(registry) == 0


@pytest.mark.parametrize("piece", [1000, 399_999, 400_000, 400_001, 1_200_000], ids=str)
@pytest.mark.parametrize("size", [1_200_000, 1_000_001, 400_001, 400_000])
def test_no_request_is_larger_than_a_chunk_however_the_bytes_come(
    tmp_path, registry, monkeypatch, piece, size
):
    monkeypatch.setattr(fakes, "CHUNK", piece)
    sender = Sender(tmp_path, registry, CHUNK)
    assert sender.arrived(sender.send(LARGE[:size]))
    whole, rest = divmod(size, CHUNK)
    assert bodies(registry) == [CHUNK] * whole + [rest] * bool(rest)


def test_chunks_say_where_they_belong(tmp_path, registry):
    Sender(tmp_path, registry, CHUNK).send(LARGE)
    ranges = [one.headers.get("content-range") for one in registry.requests[2:]]
    assert ranges == ["0-399999", "400000-799999", "800000-1199999"]


@pytest.mark.parametrize("size", [0, 5000, 1_200_000])
def test_body_is_sent_with_its_length(tmp_path, registry, size):
    Sender(tmp_path, registry).send(LARGE[:size])
    headers = registry.requests[-1].headers
    assert headers["content-length"] == str(size)
    assert "transfer-encoding" not in headers and "content-range" not in headers
    assert headers["content-type"] == "application/octet-stream"


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_the_digest_may_be_of_another_algorithm(tmp_path, registry, algorithm):
    wanted = Descriptor("", Digest.of(SMALL, algorithm), len(SMALL))
    sender = Sender(tmp_path, registry)
    sender.send(SMALL, wanted)
    assert sender.arrived(wanted)


LEAST = {
    "more": ("700000", [700_000, 500_000]),
    "less": ("100", CHUNKS),
    "as-many-as-asked-for": ("400000", CHUNKS),
    "more-than-there-is": ("5000000", [len(LARGE)]),
    "nonsense": ("-1 or so", CHUNKS),
    "too-large-to-be-meant": ("9" * 30, CHUNKS),
}


@pytest.mark.parametrize(("told", "sent"), LEAST.values(), ids=LEAST)
def test_chunks_are_as_large_as_the_registry_wants(tmp_path, registry, told, sent):
    registry.faults.append(answer(**{"OCI-Chunk-Min-Length": told}))
    Sender(tmp_path, registry, CHUNK).send(LARGE)
    assert bodies(registry) == sent


def test_existing_blob_is_not_sent(tmp_path, registry):
    registry.add_blob("demo/app", SMALL)
    Sender(tmp_path, registry).send(SMALL)
    assert steps(registry) == ["HEAD blob"]


# -- resuming


LOCATIONS = {
    "relative": lambda true, registry: true,
    "absolute": lambda true, registry: f"{registry.url}{true}",
    "without-a-query": lambda true, registry: true.partition("?")[0],
    "another-scheme": lambda true, registry: f"https://{registry.address}{true}",
    "no-scheme": lambda true, registry: f"//{registry.address}{true}",
    "another-port": lambda true, registry: f"http://127.0.0.1{true}",
    "a-fragment": lambda true, registry: f"{true}#part",
    "spaces-around": lambda true, registry: f"  {true} ",
}


def moved(registry, change):
    """Let every Location be changed by a function."""
    uploads = registry._distribution.uploads
    true = uploads._progress

    def progress(*args):
        found = true(*args)
        found.set("Location", change(found.get("Location"), registry))
        return found

    uploads._progress = progress


@pytest.mark.parametrize("chunk_size", [0, CHUNK])
@pytest.mark.parametrize("change", LOCATIONS.values(), ids=LOCATIONS)
def test_upload_continues_where_the_registry_says(tmp_path, registry, change, chunk_size):
    moved(registry, change)
    sender = Sender(tmp_path, registry, chunk_size)
    assert sender.arrived(sender.send(LARGE))


def test_the_query_of_a_location_is_kept_and_the_newest_counts(tmp_path, registry):
    Sender(tmp_path, registry, CHUNK).send(LARGE)
    digest = str(blob(LARGE).digest).replace(":", "%3A")
    queries = [one.query for one in registry.requests[2:]]
    assert queries == ["_state=0", "_state=400000", f"_state=800000&digest={digest}"]


def test_without_a_new_location_a_chunk_goes_where_the_last_one_went(tmp_path, registry):
    registry.faults.append(Fault(method="PATCH", drop_headers=["Location"], times=None))
    sender = Sender(tmp_path, registry, CHUNK)
    assert sender.arrived(sender.send(LARGE))
    assert {one.query.partition("&")[0] for one in registry.requests[2:]} == {"_state=0"}


ELSEWHERE = {
    "R083-another-host": {"Location": "http://elsewhere.example/v2/x?secret=1"},
    "R083-another-host-without-a-scheme": {"Location": "//elsewhere.example/v2/x"},
    "R083-no-host": {"Location": "file:///etc/passwd"},
    "R083-not-a-url": {"Location": "http://[::1/v2/x"},
    "R083-none": {"Location": []},
    "R083-empty": {"Location": ""},
}


@pytest.mark.parametrize("headers", ELSEWHERE.values(), ids=ELSEWHERE)
def test_an_upload_does_not_leave_the_registry(tmp_path, registry, headers):
    registry.faults.append(answer(**headers))
    error = Sender(tmp_path, registry).fails(SMALL)
    assert error.kind == "registry-protocol"
    assert "secret" not in str(error)
    assert bodies(registry) == []


def test_a_chunk_is_not_followed_to_another_host(tmp_path, registry):
    location = {"Location": "http://elsewhere.example/v2/x"}
    registry.faults.append(Fault(method="PATCH", set_headers=location))
    assert Sender(tmp_path, registry, CHUNK).fails(LARGE).kind == "registry-protocol"
    assert bodies(registry) == [CHUNK]


def test_a_body_is_not_redirected(tmp_path, registry):
    registry.faults.append(Fault(method="PUT", redirect="/elsewhere", times=None))
    assert Sender(tmp_path, registry).fails(SMALL).kind == "redirect-refused"


@pytest.mark.parametrize("status", [201, 202, 204])
def test_a_chunk_may_be_answered_with_any_of(tmp_path, registry, status):
    fault = Fault(method="PATCH", process=True, status=status, times=None)
    registry.faults.append(fault)
    sender = Sender(tmp_path, registry, CHUNK)
    assert sender.arrived(sender.send(LARGE))
    assert registry.applied(fault) == 2


# -- mounts

OTHER = image([layer({"other": b"x"})])


@pytest.fixture(name="mountable")
def fixture_mountable():
    """A blob that another repository of the registry has."""
    with serving(OTHER, auth="bearer", users=USERS) as registry:
        registry.add_blob("demo/base", LARGE)
        yield registry


def mounting(tmp_path, registry, chunk_size=0):
    sender = Sender(tmp_path, registry, chunk_size, login=LOGIN)
    sender.sinks.uploads.add(registry.address, "demo/base", [blob(LARGE).digest])
    sender.sink.mount_from(["demo/base"])
    return sender


def test_a_blob_of_another_repository_is_mounted(tmp_path, mountable):
    sender = mounting(tmp_path, mountable)
    assert sender.arrived(sender.send(LARGE))
    assert steps(mountable)[-1] == "POST mount"
    assert sender.sinks.stats()["blobs_mounted"] == 1
    assert sender.sinks.stats()["bytes_sent"] == 0
    (asked,) = mountable.token_requests
    assert asked.scopes == ("repository:demo/app:pull,push", "repository:demo/base:pull")


@pytest.mark.parametrize("chunk_size", [0, CHUNK])
def test_r085_mount_that_becomes_an_upload_continues_as_one(tmp_path, mountable, chunk_size):
    mountable.remove("demo/base", str(blob(LARGE).digest))
    sender = mounting(tmp_path, mountable, chunk_size)
    assert sender.arrived(sender.send(LARGE))
    assert "POST uploads" not in steps(mountable)
    assert sender.sinks.stats()["blobs_mounted"] == 0
    assert sum(bodies(mountable)) == len(LARGE)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 500])
def test_a_mount_that_is_refused_becomes_an_upload(tmp_path, mountable, status):
    mountable.faults.append(
        Fault(method="POST", path="mount=", status=status, times=None, body=b"")
    )
    sender = mounting(tmp_path, mountable)
    assert sender.arrived(sender.send(LARGE))
    assert [one for one in steps(mountable) if one[:4] != "POST" or "token" not in one][-2:] == [
        "POST uploads",
        "PUT upload",
    ]


def test_where_no_token_is_given_for_another_repository_all_is_uploaded(tmp_path, mountable):
    mountable.faults.append(Fault(path="/token.*base", status=403, times=None))
    sender = mounting(tmp_path, mountable)
    assert sender.arrived(sender.send(LARGE))
    assert sender.sinks.stats()["blobs_mounted"] == 0
    assert mountable.token_requests[-1].scopes == ("repository:demo/app:pull,push",)


# -- what breaks

SENT = {"streamed": (LARGE, 0), "small": (SMALL, 0)}
whole = pytest.mark.parametrize(("data", "chunk_size"), SENT.values(), ids=SENT)
SENT_OR_CUT = {**SENT, "in-chunks": (LARGE, CHUNK)}
in_every_way = pytest.mark.parametrize(
    ("data", "chunk_size"), SENT_OR_CUT.values(), ids=SENT_OR_CUT
)
SENT_OR_EMPTY = {**SENT_OR_CUT, "empty": (b"", 0)}


def test_r084_interrupted_put_resumes_where_the_registry_says(tmp_path, registry):
    registry.faults.append(Fault(method="PUT", path=UPLOADS, cut_request_at=700_000))
    sender = Sender(tmp_path, registry)
    assert sender.arrived(sender.send(LARGE))
    assert bodies(registry)[-1] == 500_000
    assert registry.requests[-1].headers["content-range"] == "700000-1199999"
    assert steps(registry) == [*WHOLE, "HEAD blob", "GET upload", "PUT upload"]


@pytest.mark.parametrize("at", [0, 1, 100_000, CHUNK])
def test_r084_interrupted_chunk_resumes_where_the_registry_says(tmp_path, registry, at):
    registry.faults.append(Fault(method="PATCH", skip=1, cut_request_at=at))
    sender = Sender(tmp_path, registry, CHUNK)
    assert sender.arrived(sender.send(LARGE))
    assert sum(bodies(registry)[2:]) == len(LARGE) - CHUNK - at
    assert steps(registry).count("POST uploads") == 1


def test_first_chunk_that_broke_off_at_once_is_sent_again(tmp_path, registry):
    registry.faults.append(Fault(method="PATCH", cut_request_at=0))
    sender = Sender(tmp_path, registry, CHUNK)
    assert sender.arrived(sender.send(LARGE))
    assert open_uploads(registry) == 0


LOST = {
    "R084-gone": [Fault(method="GET", path=SESSION, status=404, times=None)],
    "R084-not-to-be-asked": [Fault(method="GET", path=SESSION, status=405, times=None)],
    "R084-no-range": [Fault(method="GET", path=SESSION, drop_headers=["Range"], times=None)],
    "R084-all-of-it": [
        Fault(method="GET", path=SESSION, set_headers={"Range": "0-9999999"}, times=None)
    ],
    "R084-nonsense": [Fault(method="GET", path=SESSION, set_headers={"Range": "x"}, times=None)],
}


@pytest.mark.parametrize("chunk_size", [0, CHUNK])
@pytest.mark.parametrize("faults", LOST.values(), ids=LOST)
def test_lost_upload_starts_again(tmp_path, registry, faults, chunk_size):
    registry.faults.extend(
        [*faults, Fault(method="PUT|PATCH", path=UPLOADS, cut_request_at=150_000)]
    )
    sender = Sender(tmp_path, registry, chunk_size)
    assert sender.arrived(sender.send(LARGE))
    assert steps(registry).count("POST uploads") == 2
    assert "DELETE upload" in steps(registry)
    assert open_uploads(registry) == 0


@pytest.mark.parametrize(("data", "chunk_size"), SENT_OR_EMPTY.values(), ids=SENT_OR_EMPTY)
def test_r087_lost_answer_is_not_an_error(tmp_path, registry, data, chunk_size):
    registry.faults.append(Fault(method="PUT", path=UPLOADS, process=True, close_before=True))
    sender = Sender(tmp_path, registry, chunk_size)
    assert sender.arrived(sender.send(data))
    assert steps(registry)[-2:] == ["PUT upload", "HEAD blob"]


def test_r084_416_resumes_where_the_registry_says(tmp_path, registry):
    registry.faults.append(Fault(method="PATCH", skip=1, status=416))
    sender = Sender(tmp_path, registry, CHUNK)
    assert sender.arrived(sender.send(LARGE))
    assert bodies(registry) == [CHUNK] * 4
    assert steps(registry).count("POST uploads") == 1


def test_r084_a_registry_that_has_taken_less_gets_the_rest(tmp_path, registry):
    """As it says in the answer to a chunk, and when it is asked."""
    fault = Fault(method="PATCH", cut_request_at=300_000)
    registry.faults.extend([fault])
    sender = Sender(tmp_path, registry, CHUNK)
    assert sender.arrived(sender.send(LARGE))
    assert sum(bodies(registry)[1:]) == len(LARGE) - 300_000


def test_r084_a_range_that_says_less_is_asked_about(tmp_path, registry):
    registry.faults.append(Fault(method="PATCH", set_headers={"Range": "0-1000"}))
    sender = Sender(tmp_path, registry, CHUNK)
    assert sender.arrived(sender.send(LARGE))
    assert "GET upload" in steps(registry)


@in_every_way
@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_a_busy_registry_is_asked_again(tmp_path, registry, status, data, chunk_size):
    fault = Fault(method="PUT", path=UPLOADS, status=status, times=2)
    registry.faults.append(fault)
    sender = Sender(tmp_path, registry, chunk_size)
    assert sender.arrived(sender.send(data))
    assert registry.applied(fault) == 2


@in_every_way
def test_upload_that_a_registry_has_forgotten_starts_again(tmp_path, registry, data, chunk_size):
    gone = Fault(method="PUT|GET|DELETE", path=SESSION, status=404, times=3)
    registry.faults.append(gone)
    sender = Sender(tmp_path, registry, chunk_size)
    assert sender.arrived(sender.send(data))
    assert steps(registry).count("POST uploads") == 2


@whole
@pytest.mark.parametrize("status", [401, 404, 416])
def test_a_registry_that_never_ends_an_upload_is_not_asked_for_ever(
    tmp_path, registry, status, data, chunk_size
):
    challenge = {"WWW-Authenticate": 'Basic realm="x"'}
    fault = Fault(method="PUT", path=UPLOADS, status=status, times=None, headers=challenge)
    registry.faults.append(fault)
    assert Sender(tmp_path, registry, chunk_size).fails(data).kind in (
        "truncated",
        "authentication-failed",
    )
    assert registry.applied(fault) <= 3
    assert open_uploads(registry) == 0


@whole
@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_registry_that_stays_busy_is_asked_as_often_as_retries_say(
    tmp_path, registry, status, data, chunk_size
):
    fault = Fault(method="PUT", path=UPLOADS, status=status, times=None)
    registry.faults.append(fault)
    error = Sender(tmp_path, registry, chunk_size).fails(data)
    assert str(status) in str(error)
    assert registry.applied(fault) == 3
    assert open_uploads(registry) == 0


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_registry_that_begins_no_upload_is_asked_as_often_as_retries_say(
    tmp_path, registry, status
):
    fault = Fault(method="POST", path=UPLOADS, status=status, times=None)
    registry.faults.append(fault)
    error = Sender(tmp_path, registry).fails(SMALL)
    assert error.kind == ("rate-limited" if status == 429 else "registry-error")
    assert registry.applied(fault) == 3


@in_every_way
def test_a_token_may_expire_in_the_middle(tmp_path, data, chunk_size):
    with Registry(auth="bearer", users=USERS) as registry:
        sender = Sender(tmp_path, registry, chunk_size, login=LOGIN)
        seen = []

        def expire(request):
            if request.method in ("POST", "PATCH") and not seen and "uploads" in request.path:
                seen.append(request)
                if request.status == 202:
                    registry.expire_tokens()
                else:
                    seen.clear()

        registry.log.on_request = expire
        assert sender.arrived(sender.send(data))
        assert seen and len(registry.token_requests) == 2


# -- what is refused

REFUSED = {
    "R089-too-large": (413, "too-large"),
    "no-pushes": (405, "push-refused"),
    "denied": (403, "denied"),
    "bad": (400, "registry-error"),
    "strange": (418, "registry-error"),
}


@in_every_way
@pytest.mark.parametrize(("status", "kind"), REFUSED.values(), ids=REFUSED)
@pytest.mark.parametrize("method", ["POST", "PUT"])
def test_refusal_is_reported_at_once(tmp_path, registry, method, status, kind, data, chunk_size):
    words = {"errors": [{"code": "DENIED", "message": "because"}]}
    fault = Fault(method=method, path=UPLOADS, status=status, times=None, body=words)
    registry.faults.append(fault)
    error = Sender(tmp_path, registry, chunk_size).fails(data)
    assert error.kind == kind
    assert registry.applied(fault) == 1
    if status == 413 and method == "PUT":
        assert f"refuses {readable_size(len(data))} as too large" in str(error)
        assert "chunk_size" in error.hint
    if status in (400, 403, 418):
        assert "because" in str(error)


def test_r089_a_chunk_that_is_too_large_names_its_bytes(tmp_path, registry):
    registry.faults.append(Fault(method="PATCH", status=413, times=None))
    error = Sender(tmp_path, registry, CHUNK).fails(LARGE)
    assert error.kind == "too-large"
    assert f"refuses {readable_size(CHUNK)} as too large" in str(error)
    assert open_uploads(registry) == 0


def test_r089_a_proxy_that_closes_while_it_refuses_is_understood(tmp_path, registry):
    """nginx answers 413 before it has read the body, and hangs up."""
    fault = Fault(method="PUT", path=UPLOADS, status=413, times=None, close_after=True)
    registry.faults.append(fault)
    assert Sender(tmp_path, registry).fails(LARGE).kind == "too-large"


def test_rejected_repository_name_is_reported(tmp_path, registry):
    registry.faults.append(Fault(method="POST", path=UPLOADS, status=404, times=None))
    assert Sender(tmp_path, registry).fails(SMALL).kind == "not-found"


def test_missing_push_permission_is_reported(tmp_path):
    permissions = {"robot": {"*": "pull"}}
    with Registry(auth="bearer", users=USERS, permissions=permissions) as registry:
        error = Sender(tmp_path, registry, login=LOGIN).fails(SMALL)
        assert error.kind == "authentication-failed"
        assert "right to push" in error.hint


@in_every_way
def test_r086_a_registry_that_calls_it_otherwise_is_not_believed(
    tmp_path, registry, data, chunk_size
):
    other = {"Docker-Content-Digest": f"sha256:{'0' * 64}"}
    registry.faults.append(
        Fault(method="PUT", path=UPLOADS, process=True, status=201, headers=other, times=None)
    )
    sender = Sender(tmp_path, registry, chunk_size)
    with pytest.raises(Exception, match="another digest") as caught:
        sender.send(data)
    assert caught.value.kind == "registry-protocol"


# -- what comes from the source


@in_every_way
def test_interrupted_source_resumes_in_the_same_upload(tmp_path, registry, data, chunk_size):
    sender = Sender(tmp_path, registry, chunk_size)
    sender.source.script("blob", blob(data).digest, Cut(len(data) // 2))
    assert sender.arrived(sender.send(data))
    assert steps(registry).count("POST uploads") == 1
    assert sum(bodies(registry)) == len(data)


@in_every_way
def test_a_source_that_always_breaks_off_leaves_no_upload(tmp_path, registry, data, chunk_size):
    sender = Sender(tmp_path, registry, chunk_size)
    sender.source.script("blob", blob(data).digest, *[Cut(len(data) // 2), *[Cut(0)] * 5])
    assert sender.fails(data).kind == "truncated"
    assert open_uploads(registry) == 0


@in_every_way
def test_wrong_bytes_are_never_finished(tmp_path, registry, data, chunk_size):
    wrong = data[:-1] + bytes([data[-1] ^ 1])
    sender = Sender(tmp_path, registry, chunk_size)
    assert sender.fails(wrong, blob(data)).kind == "digest-mismatch"
    assert "PUT upload" not in [
        step for step, request in zip(steps(registry), registry.requests) if request.status == 201
    ]
    assert open_uploads(registry) == 0
    assert registry.storage.repositories() == []


@pytest.mark.parametrize("data", [SMALL, LARGE])
def test_wrong_bytes_that_were_right_the_second_time_arrive(tmp_path, registry, data):
    sender = Sender(tmp_path, registry)
    sender.source.script("blob", blob(data).digest, data[:-1] + bytes([data[-1] ^ 1]))
    assert sender.arrived(sender.send(data))


@pytest.mark.parametrize("data", [SMALL[:-1], LARGE[:-1]])
def test_more_bytes_than_promised_are_not_sent(tmp_path, registry, data):
    sender = Sender(tmp_path, registry)
    sender.source.script("blob", blob(data).digest, data + b"x", data + b"x")
    assert sender.fails(data).kind == "size-mismatch"
    assert registry.storage.repositories() == []


def test_the_bytes_of_an_upload_come_in_order(tmp_path, registry):
    sender = Sender(tmp_path, registry)
    with sender.sink.open_partial(blob(SMALL)) as upload:
        assert upload.missing() == [(0, 5000)]
        with pytest.raises(ValueError, match="in order"):
            upload.write(10, SMALL[10:])
        upload.write(0, b"")
    assert registry.requests == []


def test_an_upload_that_is_left_before_its_end_is_cancelled(tmp_path, registry):
    sender = Sender(tmp_path, registry, CHUNK)
    with sender.sink.open_partial(blob(LARGE)) as upload:
        upload.write(0, LARGE[:500_000])
        assert open_uploads(registry) == 1
    assert open_uploads(registry) == 0
    assert steps(registry)[-1] == "DELETE upload"


def test_a_registry_that_cancels_nothing_is_left_with_it(tmp_path, registry):
    registry.faults.append(Fault(method="DELETE", path=SESSION, status=405, times=None))
    sender = Sender(tmp_path, registry, CHUNK)
    wrong = LARGE[:-1] + bytes([LARGE[-1] ^ 1])
    assert sender.fails(wrong, blob(LARGE)).kind == "digest-mismatch"


def test_many_uploads_share_a_registry(tmp_path, registry):
    item = image([layer({f"{n}": LARGE[:1000] * n}) for n in range(1, 5)])
    sender = Sender(tmp_path, registry)
    for _digest, content in item.blobs():
        sender.send(content)
    assert all(registry.blob("demo/app", digest) for digest, _content in item.blobs())
    with serving(item) as other:
        assert push(other, "demo/app", item) == item.digest
