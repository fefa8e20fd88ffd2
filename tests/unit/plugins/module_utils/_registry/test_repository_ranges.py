# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Layers in pieces over several connections, and whatever servers do to ranges. Ids name the fault.

The layers are small; ``cut_always`` lets them be cut as if they took long.
"""

from __future__ import annotations

import random
import tracemalloc

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._execution import Pool
from ansible_collections.lockstep.images.plugins.module_utils._image.copy_blob import copy_blob
from ansible_collections.lockstep.images.plugins.module_utils._image.manifest import Descriptor
from ansible_collections.lockstep.images.plugins.module_utils._image.names import Digest, Reference
from ansible_collections.lockstep.images.plugins.module_utils._image.sources import ChunkPolicy
from ansible_collections.lockstep.images.plugins.module_utils._operations import actions
from ansible_collections.lockstep.images.tests.support.faults import Fault, Filler
from ansible_collections.lockstep.images.tests.support.images import image, layer
from ansible_collections.lockstep.images.tests.support.pulling import (
    IMAGE,
    LAYER,
    REPOSITORY,
    Puller,
    cut_always,
    sent,
    serving,
    spans,
)
from ansible_collections.lockstep.images.tests.support.registry import Registry

LAYERS = [layer({f"opt/{n}": random.Random(n).randbytes(60_000 + n)}) for n in range(6)]
SIX, TWO = image(LAYERS), image(LAYERS[:2])
FIRST = LAYERS[0]
SIZE = len(FIRST.blob)
CHUNKS = ChunkPolicy(8192, 6)
COUNT = -(-SIZE // 8192)


@pytest.fixture(name="cut", autouse=True)
def fixture_cut(monkeypatch):
    """Cut blobs of any size into pieces, as large ones are."""
    cut_always(monkeypatch)
    monkeypatch.setattr(actions, "_SMALL", 0)


def on_layer(**fault):
    """A fault of one layer of the six."""
    return Fault(path=f"/blobs/{FIRST.digest}", **fault)


def assert_all_there(puller, layers=LAYERS):
    tree = puller.tree()
    for one in layers:
        assert tree[f"blobs/{one.digest.replace(':', '/')}"] == one.blob


def pull(puller, **how):
    puller.pull(**{"pieces": CHUNKS, "workers": 6, **how})
    assert_all_there(puller)


@pytest.mark.parametrize("connections", range(1, 7))
@pytest.mark.parametrize("size", [4096, 16_384, 65_536])
def test_six_layers_come_at_once_and_each_byte_of_them_once(tmp_path, connections, size):
    with serving(SIX) as registry:
        puller = Puller(tmp_path, registry)
        pull(puller, pieces=ChunkPolicy(size, connections))
        for one in LAYERS:
            asked = [span or (0, len(one.blob)) for span in spans(registry, one.digest)]
            assert sum(end - first for first, end in asked) == len(one.blob)
            assert sent(registry, one.digest) == len(one.blob)
            assert (len(asked) > 1) == (connections > 1 and size < 65_536)
        assert puller.clock.slept == []
        assert puller.http.connections() <= 6


def test_pieces_come_over_several_connections_at_the_same_time(tmp_path):
    with serving(image([FIRST]), faults=[on_layer(delay=0.05, times=None, skip=1)]) as registry:
        Puller(tmp_path, registry).pull(pieces=CHUNKS, workers=4)
        used = [one for one in registry.requests if one.path.endswith(FIRST.digest)]
        assert len({one.connection for one in used}) == 4
        assert len(used) == COUNT


def test_connections_are_used_again(tmp_path):
    with serving(SIX) as registry:
        puller = Puller(tmp_path, registry)
        pull(puller)
        assert puller.http.connections() <= 6 < len(registry.requests)


def test_small_layers_are_asked_for_without_a_range(tmp_path):
    with serving() as registry:
        Puller(tmp_path, registry).pull(pieces=ChunkPolicy(20_000, 6))
        assert spans(registry, LAYER) == [None]


def true_but(**changes):
    """The true Content-Range with another first, last or total."""

    def changed(true):
        first, last, total = true.replace("bytes ", "").replace("-", "/").split("/")
        parts = {"first": int(first), "last": int(last), "total": int(total)}
        for name, change in changes.items():
            parts[name] = change if isinstance(change, str) else parts[name] + change
        return "bytes {first}-{last}/{total}".format(**parts)

    return changed


ODD = {
    "R014-200-with-everything": {"ignore_range": True},
    "R015-another-start": {"wrong_content_range": true_but(first=1)},
    "R015-another-end": {"wrong_content_range": true_but(last=-1)},
    "R015-moved": {"wrong_content_range": true_but(first=5, last=5)},
    "R015-another-total": {"wrong_content_range": true_but(total=1)},
    "R015-a-total-of-nothing": {"wrong_content_range": true_but(total="0")},
    "R015-the-whole-range": {"wrong_content_range": f"bytes 0-{SIZE - 1}/{SIZE}", "skip": 1},
    "R015-no-content-range": {"drop_headers": ["Content-Range"]},
    "R015-garbled": {"wrong_content_range": lambda _true: "bytes 0-"},
    "R015-shorter-than-it-says": {"content_length": 100},
    "R016-multipart": {"set_headers": {"Content-Type": "multipart/byteranges; boundary=x"}},
    "R016-multipart-in-capitals": {"set_headers": {"Content-Type": "MULTIPART/BYTERANGES"}},
    "R017-416": {"status": 416, "having": {"range": "."}},
    "R017-416-with-total": {
        "status": 416,
        "having": {"range": "."},
        "headers": {"Content-Range": f"bytes */{SIZE}"},
    },
    "R061-encoding-declared": {
        "set_headers": {"Content-Encoding": "gzip"},
        "having": {"range": "."},
    },
    "R061-encoding-carried-out": {"content_encoding": "gzip", "having": {"range": "."}},
    "R062-unknown-encoding": {"content_encoding": "br", "having": {"range": "."}},
}
PASSING = {
    "R005-truncated": {"truncate_at": 3000},
    "R005-truncated-at-once": {"truncate_at": 0},
    "R006-longer-without-a-length": {"extend": b"more", "content_length": None},
    "R008-cut-in-mid-chunk": {"chunked_cut_at": 3000},
    "R009-right-range-wrong-byte": {"corrupt": 0},
    "R009-right-range-other-bytes": {"replace": bytes(8192)},
    "R012-reset": {"reset_at": 5000},
    "R001-closed": {"close_before": True},
    "R044-503": {"status": 503},
    "R019-empty": {"replace": b"", "content_length": None},
    "R079-closed-after": {"close_after": True},
    "R079-http-1.0": {"protocol": "HTTP/1.0"},
    "chunked": {"chunked": True},
}
ALLOWED = {
    "unknown-total": {"wrong_content_range": true_but(total="*")},
    "leading-zeros": {"wrong_content_range": lambda true: true.replace("bytes ", "bytes 00")},
    "chunked": {"chunked": True},
    "no-length": {"content_length": None},
}


@pytest.mark.parametrize("skip", [0, 2, COUNT - 1])
@pytest.mark.parametrize("fault", [*ODD.values(), *PASSING.values()], ids=[*ODD, *PASSING])
def test_a_range_that_was_answered_wrongly_once_ends_in_the_right_bytes(tmp_path, fault, skip):
    with serving(TWO, faults=[on_layer(**{"skip": skip, **fault})]) as registry:
        puller = Puller(tmp_path, registry)
        puller.pull(pieces=CHUNKS, workers=6)
        assert_all_there(puller, LAYERS[:2])
        assert sent(registry, FIRST.digest) <= 12 * SIZE
        assert sent(registry, LAYERS[1].digest) == len(LAYERS[1].blob)


@pytest.mark.parametrize("fault", ODD.values(), ids=ODD)
def test_a_server_that_never_answers_ranges_rightly_gives_the_whole(tmp_path, fault):
    fault = Fault(path="/blobs/", **{"times": None, **fault})
    with serving(SIX, faults=[fault]) as registry:
        puller = Puller(tmp_path, registry)
        error = puller.attempt(pieces=CHUNKS, workers=6)
        if error is None:
            assert_all_there(puller)
        else:  # the whole comes with that fault, too
            assert error.kind in ("registry-protocol", "truncated")
            assert not fault.having


@pytest.mark.parametrize("fault", ALLOWED.values(), ids=ALLOWED)
def test_valid_variants_of_an_answer_cause_no_second_request(tmp_path, fault):
    with serving(SIX, faults=[Fault(path="/blobs/", times=None, **fault)]) as registry:
        pull(Puller(tmp_path, registry))
        for one in LAYERS:
            assert sent(registry, one.digest) == len(one.blob)
            assert len(spans(registry, one.digest)) == -(-len(one.blob) // 8192)


CUTS = {
    "R013-truncated-after-a-byte": ({"truncate_at": 1, "times": 40}, 1.1),
    "R013-truncated-in-every-piece": ({"truncate_at": 4000}, 1.1),
    "R013-truncated-before-the-last-byte": ({"truncate_at": 8191}, 1.1),
    "R013-reset-in-every-piece": ({"reset_at": 6000}, 2.0),
    "R013-reset-before-the-last-byte": ({"reset_at": 8191}, 2.5),
    "R013-reset-beyond-a-piece": ({"reset_at": 8192 * 2}, 1.1),
}


@pytest.mark.parametrize(("fault", "share"), CUTS.values(), ids=CUTS)
def test_every_connection_is_cut_after_some_bytes(tmp_path, fault, share):
    """Each piece resumes where it broke off. A reset loses the bytes of the last read."""
    path = "|".join(one.digest for one in LAYERS)
    with serving(SIX, faults=[Fault(**{"path": path, "times": None, **fault})]) as registry:
        pull(Puller(tmp_path, registry))
        assert sum(sent(registry, one.digest) for one in LAYERS) < share * SIX.size


STALLS = {
    "R010-stalls-for-ever": {"stall_at": 3000},
    "R010-no-head-at-all": {"delay": 60},
    "R011-slow-drip": {"drip": 100},
    "R007-length-too-large": {"content_length": 9000, "stall_at": 8192},
}


@pytest.mark.parametrize("fault", STALLS.values(), ids=STALLS)
def test_a_piece_that_does_not_come_on_is_asked_for_again(tmp_path, fault):
    """While all others come."""
    with serving(SIX, faults=[on_layer(skip=2, times=2, **fault)]) as registry:
        pull(Puller(tmp_path, registry, timeout=0.4))
        assert all(sent(registry, one.digest) == len(one.blob) for one in LAYERS[1:])


def test_a_server_that_ignores_ranges_is_not_asked_for_more_of_them(tmp_path):
    """R014: the first answer is the whole, and it is used."""
    fault = Fault(path="/blobs/", ignore_range=True, times=None)
    with serving(SIX, faults=[fault]) as registry:
        puller = Puller(tmp_path, registry)
        pull(puller, workers=1)
        asked = [spans(registry, one.digest) for one in LAYERS]
        assert sorted(asked, key=str) == [[(0, 8192)], *[[None]] * 5]
        assert all(sent(registry, one.digest) == len(one.blob) for one in LAYERS)


def test_artifactory_gets_no_range_that_is_not_needed(tmp_path):
    """It handles them badly (RTFACT-13797); only a resuming range is needed."""
    name = {"Server": "Artifactory/7.98.9"}
    everywhere = Fault(method="HEAD|GET", set_headers=name, times=None)
    broken = on_layer(truncate_at=20_000, set_headers=name)
    with serving(SIX, faults=[broken, everywhere]) as registry:
        pull(Puller(tmp_path, registry))
        asked = {one.digest: spans(registry, one.digest) for one in LAYERS}
        first = asked.pop(FIRST.digest)
        assert (len(first), first[0], first[1][1]) == (2, None, SIZE)
        assert set(map(tuple, asked.values())) == {(None,)}


def test_an_object_storage_without_ranges_gives_the_whole(tmp_path):
    """R014, R053: behind a redirect, and with nothing of ours sent there."""
    with Registry() as bucket, serving(SIX) as registry:
        for one in LAYERS:
            bucket.files[f"/bucket/{one.digest}"] = one.blob
        bucket.faults.append(Fault(ignore_range=True, times=None))

        def there(target):
            return f"{bucket.url}/bucket/{target.rpartition('/')[2]}"

        registry.faults.append(
            Fault(path="|".join(one.digest for one in LAYERS), redirect=there, times=None)
        )
        pull(Puller(tmp_path, registry))
        assert not any("authorization" in one.headers for one in bucket.requests)


def test_every_range_request_to_an_object_store_starts_at_the_registry(tmp_path):
    """R057: a signed URL is not remembered."""
    with Registry() as bucket, serving(image([FIRST])) as registry:
        bucket.files["/bucket/x"] = FIRST.blob
        # Once: a thread whose new URL is also refused ends the pull, and it may be any of the three.
        bucket.faults.append(Fault(status=403, skip=2))
        registry.faults.append(on_layer(redirect=f"{bucket.url}/bucket/x", times=None))
        Puller(tmp_path, registry).pull(pieces=CHUNKS, workers=3)
        assert len(spans(registry, FIRST.digest)) == len(spans(bucket, "/bucket/x")) == COUNT + 1
        assert sent(bucket, "/bucket/x") == SIZE


OTHER = random.Random(99).randbytes(SIZE)


@pytest.mark.parametrize("number", [1, 2, 5])
def test_a_blob_that_changed_between_two_ranges_is_fetched_whole(tmp_path, number):
    """What came of the other does not reach the store."""
    seen = []

    def change(request):
        if request.path.endswith(FIRST.digest):
            seen.append(request)
            if len(seen) == number:
                registry.add_blob(REPOSITORY, FIRST.blob, digest=FIRST.digest)

    with serving(SIX, on_request=change) as registry:
        registry.add_blob(REPOSITORY, OTHER, digest=FIRST.digest)
        pull(Puller(tmp_path, registry))
        assert spans(registry, FIRST.digest)[-1] is None


def test_a_blob_that_changed_for_good_is_an_error(tmp_path):
    def change(request):
        if request.path.endswith(FIRST.digest):
            registry.add_blob(REPOSITORY, OTHER, digest=FIRST.digest)

    with serving(SIX, on_request=change) as registry:
        error = Puller(tmp_path, registry).fails(pieces=CHUNKS, workers=6)
        assert error.kind == "digest-mismatch"
        assert FIRST.digest in str(error)


@pytest.mark.parametrize("size", [SIZE - 100, SIZE + 100], ids=["shorter", "longer"])
def test_a_blob_of_another_length_is_an_error(tmp_path, size):
    """R006, R015: the total is not what the manifest says."""
    with serving(SIX) as registry:
        registry.add_blob(REPOSITORY, FIRST.blob.ljust(size, b"x")[:size], digest=FIRST.digest)
        error = Puller(tmp_path, registry).fails(pieces=CHUNKS, workers=6)
        assert error.kind in ("truncated", "size-mismatch")
        assert FIRST.digest in str(error)


def test_a_token_that_expires_between_pieces_is_renewed(tmp_path):
    """R025"""
    seen = []

    def expire(request):
        if request.path.endswith(FIRST.digest):
            seen.append(request)
            if len(seen) == 3:
                registry.expire_tokens()

    with serving(SIX, auth="bearer", anonymous_pull=True, on_request=expire) as registry:
        pull(Puller(tmp_path, registry))
        assert len(registry.token_requests) >= 2
        assert all(sent(registry, one.digest) < len(one.blob) + 10_000 for one in LAYERS)


def test_memory_stays_flat_whatever_the_size(tmp_path):
    """Six connections, a layer of 96 MiB that is nowhere in memory."""
    body = Filler(96 << 20, pattern=b"0123456789abcdef")
    with Registry() as registry:
        digest = registry.add_blob(REPOSITORY, body)
        puller = Puller(tmp_path, registry)
        repository = puller.sources.repository(Reference.parse(f"{registry.address}/{REPOSITORY}"))
        blob = Descriptor(LAYERS[0].media_type, Digest.parse(digest), body.size)
        with puller.store.hold() as store, Pool(6) as pool:
            store.prepare()
            tracemalloc.start()
            copy_blob(blob, repository, store, pool, ChunkPolicy(8 << 20, 6))
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
        assert store.has(blob)
        assert len(spans(registry, digest)) > 6
        assert peak < 32 << 20


def any_fault(rng):
    """Something that goes wrong with blobs, at random."""
    kinds = [*ODD.values(), *PASSING.values(), *ALLOWED.values()]
    fault = dict(rng.choice(kinds))
    path = rng.choice(["/blobs/", FIRST.digest, LAYERS[3].digest, "/(blobs|manifests)/"])
    for name in ("truncate_at", "reset_at", "chunked_cut_at", "corrupt"):
        if name in fault:
            fault[name] = rng.choice([0, 1, 4095, 4096, 5000, 8191, 30_000])
    how = {"skip": rng.randint(0, 12), "times": rng.choice([1, 1, 1, 2, 3, 10, None])}
    return Fault(path=path, **{**fault, **how})


@pytest.mark.parametrize("seed", range(40))
def test_every_fault_ends_in_correct_bytes_or_a_clear_error(tmp_path, seed):
    """``attempt`` checks the store, and what an error promises; afterwards nothing is in the way."""
    rng = random.Random(seed)
    faults = [any_fault(rng) for _number in range(rng.randint(1, 6))]
    how = {
        "pieces": ChunkPolicy(rng.choice([4096, 8192, 20_000]), rng.randint(1, 6)),
        "workers": rng.randint(1, 6),
    }
    with serving(SIX, faults=faults) as registry:
        puller = Puller(tmp_path, registry, retries=rng.randint(0, 3))
        if puller.attempt(**how) is None:
            assert_all_there(puller)
        registry.faults.clear()
        again = Puller(tmp_path, registry)
        pull(again, **how)
        assert again.left_behind() == []
        assert registry.errors == []


def test_an_image_of_one_layer_uses_every_thread(tmp_path):
    with serving(IMAGE) as registry:
        Puller(tmp_path, registry).pull(pieces=ChunkPolicy(4096, 6), workers=6)
        assert len(spans(registry, LAYER)) == 5
