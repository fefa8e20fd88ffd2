# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Blobs that break off, stall, lie about their length or have other bytes. Ids name the fault."""

from __future__ import annotations

import gzip
import hashlib
import itertools
import os
import random
import re
import signal
import subprocess
import sys

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._image.errors import LockstepError
from ansible_collections.lockstep.images.plugins.module_utils._registry import response
from ansible_collections.lockstep.images.tests.support.faults import Fault
from ansible_collections.lockstep.images.tests.support.images import Layer, demo_image, image, layer
from ansible_collections.lockstep.images.tests.support.pulling import (
    BLOB,
    IMAGE,
    LAYER,
    PLAIN,
    SIGNATURE,
    Puller,
    serving,
    spans,
    trail,
)

SIZE = len(BLOB)
EMPTY = "sha256:" + hashlib.sha256(b"").hexdigest()


def layer_fault(**fault):
    return Fault(path=f"/blobs/{LAYER}", **fault)


def test_a_pull_asks_for_each_thing_once_and_never_waits(tmp_path):
    with serving() as registry:
        puller = Puller(tmp_path, registry)
        assert puller.pull().plan.changed
        assert trail(registry) == PLAIN
        assert puller.clock.slept == []
        registry.clear()
        assert not puller.pull().plan.changed
        assert trail(registry) == ["HEAD tag"]


BROKEN = {
    "R005-truncated": {"truncate_at": 5000},
    "R008-no-length-and-truncated": {"content_length": None, "truncate_at": 5000},
    "R008-chunked-and-cut-in-mid-chunk": {"chunked_cut_at": 5000},
    "R012-reset-in-mid-body": {"reset_at": 5000},
}


@pytest.mark.parametrize("fault", BROKEN.values(), ids=BROKEN)
def test_interrupted_blob_resumes_where_it_stopped(tmp_path, fault):
    with serving(faults=[layer_fault(**fault)]) as registry:
        puller = Puller(tmp_path, registry)
        puller.pull()
        assert trail(registry) == [*PLAIN, "GET layer"]
        spans = [request.headers.get("range") for request in registry.requests][-2:]
        first = int(re.fullmatch(rf"bytes=(\d+)-{SIZE - 1}", spans[1]).group(1))
        assert (spans[0], 0 < first <= 5000) == (None, True)
        assert puller.clock.slept == [0.5]
        assert puller.tree()[f"blobs/{LAYER.replace(':', '/')}"] == BLOB


PASSING = {
    "R005-truncated-after-the-head": {"truncate_at": 0},
    "R012-reset-before-the-body": {"reset_at": 0},
    "R019-empty-body": {"replace": b""},
    "R009-one-byte-is-wrong": {"corrupt": 1000},
    "R009-other-bytes-of-equal-length": {"replace": bytes(SIZE)},
    "R001-closed-instead-of-an-answer": {"close_before": True},
}


@pytest.mark.parametrize("fault", PASSING.values(), ids=PASSING)
def test_a_blob_that_went_wrong_once_is_read_again_from_its_start(tmp_path, fault):
    with serving(faults=[layer_fault(**fault)]) as registry:
        puller = Puller(tmp_path, registry)
        puller.pull()
        assert trail(registry) == [*PLAIN, "GET layer"]
        assert not any("range" in request.headers for request in registry.requests)
        assert puller.clock.slept == [0.5]
        assert puller.tree()[f"blobs/{LAYER.replace(':', '/')}"] == BLOB


LASTING = {
    "R005-truncated": ({"truncate_at": 0}, "truncated", LAYER),
    "R008-no-length-and-truncated": (
        {"content_length": None, "truncate_at": 5000, "ignore_range": True},
        "truncated",
        "5000 of",
    ),
    "R008-chunked-and-cut": ({"chunked_cut_at": 0}, "truncated", "broke off"),
    "R019-empty-body": ({"replace": b""}, "truncated", "0 of"),
}


@pytest.mark.parametrize(("fault", "kind", "says"), LASTING.values(), ids=LASTING)
def test_a_blob_that_always_breaks_off_ends_in_an_error(tmp_path, fault, kind, says):
    with serving(faults=[layer_fault(times=None, **fault)]) as registry:
        puller = Puller(tmp_path, registry)
        error = puller.fails()
        assert error.kind == kind
        assert says in str(error)
        assert trail(registry).count("GET layer") == 3
        assert puller.clock.slept == [0.5, 1.0]


WRONG = {
    "R009-one-byte": ({"corrupt": -1}, "digest-mismatch", 2),
    "R006-longer-than-the-descriptor": ({"replace": BLOB + b"more"}, "size-mismatch", 2),
    "R006-a-GiB-without-a-length": (
        {"replace": bytes(64 << 20), "content_length": None},
        "size-mismatch",
        2,
    ),
    "R015-206-with-another-start": (
        {"wrong_content_range": "bytes 5-9/10"},
        "registry-protocol",
        1,
    ),
    "R016-206-multipart": (
        {"status": 206, "headers": {"Content-Type": "multipart/byteranges; boundary=x"}},
        "registry-protocol",
        1,
    ),
    "R018-206-without-a-range": (
        {"wrong_content_range": f"bytes 0-{SIZE - 1}/{SIZE}"},
        "registry-protocol",
        1,
    ),
    "R017-416-without-a-range": ({"status": 416}, "registry-error", 1),
    "blob-not-found": ({"status": 404}, "not-found", 1),
    "R038-denied": ({"status": 403}, "denied", 1),
}


@pytest.mark.parametrize(("fault", "kind", "tries"), WRONG.values(), ids=WRONG)
def test_a_wrong_blob_is_an_error_that_names_it(tmp_path, fault, kind, tries):
    with serving(faults=[layer_fault(times=None, **fault)]) as registry:
        puller = Puller(tmp_path, registry)
        error = puller.fails()
        assert error.kind == kind
        assert LAYER in str(error)
        assert trail(registry).count("GET layer") == tries
        assert not puller.holds(LAYER)
        assert sum(request.bytes_sent for request in registry.requests) < 32 << 20


SLOW = {
    "R007-length-too-large-and-kept-open": {"content_length": SIZE + 100, "stall_at": SIZE},
    "R010-stalls-for-ever": {"stall_at": 5000},
    "R011-slow-drip": {"drip": 100},
    "R010-no-head-at-all": {"delay": 60},
}


@pytest.mark.parametrize("fault", SLOW.values(), ids=SLOW)
def test_a_blob_that_does_not_come_on_is_given_up_and_read_again(tmp_path, fault):
    with serving(faults=[layer_fault(**fault)]) as registry:
        puller = Puller(tmp_path, registry, timeout=0.4)
        puller.pull()
        assert trail(registry).count("GET layer") >= 1
        assert puller.clock.slept == [0.5]


@pytest.mark.parametrize("fault", SLOW.values(), ids=SLOW)
def test_a_blob_that_never_comes_on_ends_in_an_error(tmp_path, fault):
    with serving(faults=[layer_fault(times=None, **fault)]) as registry:
        error = Puller(tmp_path, registry, timeout=0.4, retries=0).fails()
        assert error.kind in ("truncated", "registry-unreachable")
        assert LAYER in str(error)


def test_many_reads_that_are_each_in_time_can_be_too_slow_together(tmp_path):
    """R011: what counts is the speed, not that bytes come."""
    large = image([layer({"n": random.Random(1).randbytes(60_000)})])
    slow = Fault(path=large.layers[0].digest, drip=11_000)
    with serving(large, faults=[slow]) as registry:
        puller = Puller(tmp_path, registry, timeout=0.4)
        puller.pull()
        asked = spans(registry, large.layers[0].digest)
        assert asked[0] is None and asked[1][0] < 40_000
        assert puller.clock.slept == [0.5]


def test_a_body_of_the_lowest_speed_is_waited_for(tmp_path):
    large = image([layer({"n": random.Random(1).randbytes(60_000)})])
    with serving(large, faults=[Fault(path=large.layers[0].digest, drip=24_000)]) as registry:
        puller = Puller(tmp_path, registry, timeout=0.4)
        puller.pull()
        assert spans(registry, large.layers[0].digest) == [None]


def test_unneeded_answer_cannot_stall_the_task(tmp_path):
    """R011: the body of a redirect that drips is left alone after the time-out."""
    drip = {"body": bytes(20_000), "drip": 100}
    with serving() as registry:
        registry.files["/elsewhere"] = BLOB
        registry.faults.append(layer_fault(redirect="/elsewhere", **drip))
        Puller(tmp_path, registry, timeout=0.3).pull()


def test_an_empty_layer_is_stored(tmp_path):
    """R020."""
    nothing = Layer(b"", IMAGE.layers[0].media_type, EMPTY, EMPTY)
    with serving(image([nothing])) as registry:
        puller = Puller(tmp_path, registry)
        puller.pull()
        assert puller.holds(EMPTY)


ENCODED = {
    "R061-declared-on-a-blob-that-is-gzip-itself": {"set_headers": {"Content-Encoding": "gzip"}},
    "R061-x-gzip-declared-only": {"set_headers": {"Content-Encoding": "x-gzip"}},
    "R061-declared-only-without-a-length": {
        "set_headers": {"Content-Encoding": "gzip"},
        "content_length": None,
    },
    "R061-encoded-by-a-proxy": {"content_encoding": "gzip"},
    "R061-encoded-by-a-proxy-without-a-length": {"content_encoding": "gzip", "chunked": True},
    "R061-identity-declared": {"set_headers": {"Content-Encoding": "identity"}},
}


@pytest.mark.parametrize("fault", ENCODED.values(), ids=ENCODED)
def test_a_content_encoding_is_undone_only_where_there_is_one(tmp_path, fault):
    with serving(faults=[layer_fault(times=None, **fault)]) as registry:
        puller = Puller(tmp_path, registry)
        puller.pull()
        assert puller.tree()[f"blobs/{LAYER.replace(':', '/')}"] == BLOB


@pytest.mark.parametrize("encode", ["set_headers", "content_encoding"])
@pytest.mark.parametrize("breaks", [1, 2], ids="R005-{}-times".format)
def test_an_encoding_is_undone_or_not_also_after_a_break(tmp_path, encode, breaks):
    """R061: without a length only the digest shows a break, and the fetch starts again."""
    how = {"content_encoding": "gzip"}
    if encode == "set_headers":
        how = {"set_headers": {"Content-Encoding": "x-gzip"}}
    faults = [
        layer_fault(times=breaks, chunked_cut_at=5000, **how),
        layer_fault(times=None, chunked=True, **how),
    ]
    with serving(faults=faults) as registry:
        puller = Puller(tmp_path, registry, retries=3)
        puller.pull()
        assert puller.tree()[f"blobs/{LAYER.replace(':', '/')}"] == BLOB


MEMBER = gzip.compress(b"some")
GUNZIPPED = {
    "one": ([MEMBER], b"some"),
    "byte-by-byte": ([bytes([byte]) for byte in MEMBER], b"some"),
    "two-members": ([MEMBER + MEMBER[:3], MEMBER[3:]], b"somesome"),
    "nothing": ([], b""),
    "much": ([gzip.compress(bytes(3 << 20))], bytes(3 << 20)),
}
NOT_GUNZIPPED = {
    "ends-too-early": (lambda: [MEMBER[:-1]], "truncated"),
    "no-gzip": (lambda: [b"some"], "registry-protocol"),
    "R060-garbage-behind-it": (lambda: itertools.repeat(MEMBER + b"x" * 99), "registry-protocol"),
    "R060-zeros-behind-it": (lambda: itertools.chain([MEMBER], itertools.repeat(bytes(99))), "registry-protocol"),
    "R060-members-of-nothing": (lambda: itertools.repeat(gzip.compress(b"")), "registry-protocol"),
    "R060-blocks-of-nothing": (
        lambda: itertools.chain([MEMBER[:10]], itertools.repeat(b"\0\0\0\xff\xff" * 99)),
        "registry-protocol",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("chunks", "content"), GUNZIPPED.values(), ids=GUNZIPPED)
def test_valid_gzip_is_decoded(chunks, content):
    assert b"".join(response._gunzipped(iter(chunks), "it")) == content


@pytest.mark.parametrize(("chunks", "kind"), NOT_GUNZIPPED.values(), ids=NOT_GUNZIPPED)
def test_invalid_gzip_is_an_error(chunks, kind):
    """R062: also where no end is sent."""
    with pytest.raises(LockstepError) as caught:
        b"".join(response._gunzipped(iter(chunks()), "it"))
    assert caught.value.kind == kind
    assert str(caught.value).startswith("it: ")


REFUSED_ENCODINGS = {
    "R062-unknown": ({"content_encoding": "br"}, "registry-protocol"),
    "R062-twice": ({"content_encoding": "gzip, gzip"}, "registry-protocol"),
    "R062-a-chain-of-200": ({"content_encoding": ", ".join(["x"] * 200)}, "registry-protocol"),
    "R062-declared-but-not-there": (
        {"replace": bytes(100), "set_headers": {"Content-Encoding": "gzip"}},
        "registry-protocol",
    ),
    "R062-bomb": ({"replace": bytes(64 << 20), "content_encoding": "gzip"}, "size-mismatch"),
}


@pytest.mark.parametrize(("fault", "kind"), REFUSED_ENCODINGS.values(), ids=REFUSED_ENCODINGS)
def test_invalid_encoding_is_rejected(tmp_path, fault, kind):
    with serving(faults=[layer_fault(times=None, **fault)]) as registry:
        assert Puller(tmp_path, registry).fails().kind == kind


def test_finished_content_stays_and_the_next_pull_does_the_rest(tmp_path):
    family = demo_image("app", "1.0")
    last = family.for_platform("linux/amd64").layers[-1].digest
    fault = Fault(path=last, status=404, times=None)
    with serving(family, faults=[fault]) as registry:
        puller = Puller(tmp_path, registry)
        assert puller.fails(workers=1).kind == "not-found"
        registry.faults.clear()
        registry.clear()
        puller.pull()
        assert trail(registry) == ["HEAD tag", "GET blob"]


EXPIRED = f"/bucket/layer?{SIGNATURE}"


def test_a_signed_url_that_expired_is_asked_for_again(tmp_path):
    """R057: the registry signs another one; the old one is not remembered, and never shown."""
    with serving() as registry, serving() as bucket:
        where = [f"{bucket.url}{EXPIRED}", f"{bucket.url}/bucket/new?{SIGNATURE}"]
        bucket.files["/bucket/new"] = BLOB
        bucket.faults.append(Fault(path="/bucket/layer", status=403, times=None))
        registry.faults.append(layer_fault(redirect=lambda _target: where.pop(0), times=2))
        Puller(tmp_path, registry).pull()
        assert [request.path for request in bucket.requests] == ["/bucket/layer", "/bucket/new"]


def test_an_object_storage_that_always_refuses_is_named_without_its_signature(tmp_path):
    """R057."""
    with serving() as registry, serving() as bucket:
        bucket.faults.append(Fault(path="/bucket/layer", status=403, times=None))
        registry.faults.append(layer_fault(redirect=bucket.url + EXPIRED, times=None))
        error = Puller(tmp_path, registry).fails()
        assert error.kind == "denied"
        assert f"{bucket.url}/bucket/layer" in str(error)


PROGRAM = """
import pathlib, sys
from ansible_collections.lockstep.images.tests.support.pulling import Puller
puller = Puller(pathlib.Path(sys.argv[1]), timeout=0.5, retries=0, is_new=True)
print(flush=True)
puller.pull(sys.argv[2])
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL], ids=str)
def test_a_pull_that_is_killed_leaves_a_valid_store_and_the_next_one_cleans_up(tmp_path, number):
    """R097."""
    stall = layer_fault(stall_at=9000)
    with serving(faults=[stall]) as registry:
        name = f"{registry.address}/demo/app:1.0"
        env = dict(os.environ, PYTHONPATH=os.pathsep.join(filter(None, sys.path)))
        command = [sys.executable, "-c", PROGRAM, str(tmp_path), name]
        child = subprocess.Popen(
            command, env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        while not registry.applied(stall):
            assert child.poll() is None
        child.send_signal(number)
        assert child.wait(20) != 0
        puller = Puller(tmp_path, registry, is_new=True)
        assert puller.store.names() == {}
        puller.pull()
        assert puller.holds(LAYER)
