# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What was brought is not fetched again: within a run, by the next one, and from another place.

The registry counts the bytes that go over the wire. Ids name the fault.
"""

from __future__ import annotations

import contextlib
import random
import signal
import subprocess
from pathlib import Path

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._image.sources import ChunkPolicy
from ansible_collections.lockstep.images.tests.support import modules
from ansible_collections.lockstep.images.tests.support.faults import Fault
from ansible_collections.lockstep.images.tests.support.images import image, layer
from ansible_collections.lockstep.images.tests.support.pulling import (
    REPOSITORY,
    Puller,
    cut_always,
    is_part,
    sent,
    serving,
    spans,
)
from ansible_collections.lockstep.images.tests.support.stores import assert_valid_store, leftovers

SIZE = 100_000
LAYERS = [layer({f"opt/{n}": random.Random(n).randbytes(SIZE)}) for n in range(3)]
THREE = image(LAYERS)
BIG = LAYERS[0]
TOTAL = len(BIG.blob)
ALL = "|".join(one.digest for one in LAYERS)


def on_layers(path=ALL, **fault):
    return Fault(path=path, **fault)


def mirrored(registry, *mirrors):
    """Return the options for a registry with mirrors."""
    urls = [{"url": f"http://{mirror.address}"} for mirror in mirrors]
    return {"settings": [{"registry": registry.address, "mirrors": urls}]}


def parts(puller):
    """Return the bytes that a run has left in its parts."""
    staging = Path(puller.store.path, ".staging")
    return {path.stem: path for path in staging.glob("*.part")}


BREAKS = {
    "R005-after-a-byte": ({"truncate_at": 1}, 0),
    "R005-after-a-read": ({"truncate_at": 4096}, 0),
    "R005-in-the-middle": ({"truncate_at": 50_000}, 0),
    "R005-near-the-end": ({"truncate_at": SIZE - 1}, 0),
    "R008-in-mid-chunk": ({"chunked_cut_at": 50_000}, 65_536),
    "R012-reset": ({"reset_at": 50_000}, 65_536),
}


@pytest.mark.parametrize(("fault", "lost"), BREAKS.values(), ids=BREAKS)
def test_no_byte_is_fetched_twice_in_a_run(tmp_path, fault, lost):
    """Three layers break off at the same time; of some breaks the last read is lost."""
    faults = [on_layers(one.digest, **fault) for one in LAYERS]
    with serving(THREE, faults=faults) as registry:
        puller = Puller(tmp_path, registry)
        stats = puller.pull(workers=3).result()["stats"]
        for one in LAYERS:
            assert 0 <= sent(registry, one.digest) - len(one.blob) <= lost
            assert [span is None for span in spans(registry, one.digest)] == [True, False]
        assert stats["retries"] == 3
        assert stats["bytes_resumed"] == 0


def test_failed_run_is_resumed_by_the_next(tmp_path):
    fault = on_layers(truncate_at=60_000, times=3)
    with serving(THREE, faults=[fault]) as registry:
        first = Puller(tmp_path, registry, retries=0)
        first.fails(workers=3)
        assert all(map(is_part, first.left_behind()))
        assert sent(registry, ALL.split("|", maxsplit=1)[0]) == 60_000
        registry.clear()
        second = Puller(tmp_path, registry)
        stats = second.pull(workers=3).result()["stats"]
        for one in LAYERS:
            assert spans(registry, one.digest) == [(60_000, len(one.blob))]
        assert stats["bytes_resumed"] == 180_000
        assert stats["bytes_to_fetch"] == sum(len(one.blob) for one in LAYERS) - 180_000
        assert stats["bytes_fetched"] < stats["bytes_to_fetch"] + 10_000


def test_complete_part_needs_no_request(tmp_path):
    """R017: a run was killed before the rename."""
    with serving(THREE) as registry:
        puller = Puller(tmp_path, registry, is_new=True)
        puller.fails(f"{registry.address}/{REPOSITORY}:none")
        staging = Path(puller.store.path, ".staging")
        staging.mkdir(parents=True)
        name = BIG.digest.replace(":", "-")
        (staging / f"{name}.part").write_bytes(BIG.blob)
        (staging / f"{name}.journal").write_text(f"0 {TOTAL}\n")
        puller.pull()
        assert spans(registry, BIG.digest) == []


@pytest.mark.parametrize("at", [0, 30_000, 59_999])
@pytest.mark.parametrize("cut", [False, True], ids=["whole", "in pieces"])
def test_a_wrong_byte_of_an_earlier_run_costs_one_whole_fetch(tmp_path, monkeypatch, at, cut):
    if cut:
        cut_always(monkeypatch)
    pieces = ChunkPolicy(8192, 4)
    fault = on_layers(BIG.digest, truncate_at=60_000, times=1)
    with serving(THREE, faults=[fault]) as registry:
        Puller(tmp_path, registry, retries=0).fails(workers=3)
        puller = Puller(tmp_path, registry)
        part = parts(puller)[BIG.digest.replace(":", "-")]
        data = bytearray(part.read_bytes())
        data[at] ^= 1
        part.write_bytes(data)
        registry.clear()
        puller.pull(workers=3, pieces=pieces)
        asked = spans(registry, BIG.digest)
        assert (asked[0][0], asked[-1]) == (60_000, None)
        assert asked.count(None) == 1
        assert sent(registry, BIG.digest) == TOTAL + TOTAL - 60_000


GONE = {
    "closed": {"close_before": True},
    "breaks-off-at-once": {"truncate_at": 0},
    "status-500": {"status": 500},
    "blob-is-gone": {"status": 404},
}


def test_corrupt_byte_of_an_earlier_run_does_not_prevent_resuming(tmp_path):
    """R005: a link that cuts every connection still delivers the whole blob."""
    cut = on_layers(BIG.digest, truncate_at=30_000, times=None)
    with serving(THREE, faults=[cut]) as registry:
        puller = Puller(tmp_path, registry, retries=2)
        staging = Path(puller.store.path, ".staging")
        staging.mkdir(parents=True)
        name = BIG.digest.replace(":", "-")
        (staging / f"{name}.part").write_bytes(bytes(10))
        (staging / f"{name}.journal").write_text("0 10\n")
        puller.pull(workers=1)
        asked = spans(registry, BIG.digest)
        assert asked[0] == (10, TOTAL)
        again = asked.index(None)  # one answer is wanted, and it breaks off
        assert asked[again + 1] == (30_000, TOTAL)


@pytest.mark.parametrize("retries", [0, 2])
def test_no_mirror_is_blamed_for_what_an_earlier_run_left(tmp_path, retries):
    fault = on_layers(BIG.digest, truncate_at=60_000)
    with serving(THREE, faults=[fault]) as registry, serving(THREE) as mirror:
        Puller(tmp_path, registry, retries=0).fails(workers=3)
        puller = Puller(tmp_path, registry, retries=retries, **mirrored(registry, mirror))
        parts(puller)[BIG.digest.replace(":", "-")].write_bytes(bytes(60_000))
        registry.clear()
        plan = puller.pull(workers=3)
        assert spans(mirror, BIG.digest) == [(60_000, TOTAL), None]
        assert (registry.requests, plan.warnings()) == ([], [])


@pytest.mark.parametrize("fault", GONE.values(), ids=GONE)
def test_another_source_resumes_at_the_same_byte(tmp_path, fault):
    """A mirror that always breaks off is skipped, and its failure is reported once."""
    faults = [on_layers(one.digest, truncate_at=60_000) for one in LAYERS]
    faults.append(on_layers(times=None, **fault))
    with serving(THREE) as registry, serving(THREE, faults=faults) as mirror:
        puller = Puller(tmp_path, registry, retries=1, **mirrored(registry, mirror))
        plan = puller.pull(workers=3)
        asked = {one.digest: spans(registry, one.digest) for one in LAYERS}
        for one in LAYERS:
            assert sent(registry, one.digest) == len(one.blob) - sent(mirror, one.digest)
        assert any(asked[one.digest] == [(60_000, len(one.blob))] for one in LAYERS)
        told = [text for text in plan.warnings() if mirror.address in text]
        assert len(told) == (fault != {"status": 404})


def test_mirror_resumes_the_part_that_the_registry_began(tmp_path):
    """Only the later run has the mirror in its options."""
    fault = on_layers(truncate_at=60_000, times=3)
    with serving(THREE, faults=[fault]) as registry, serving(THREE) as mirror:
        Puller(tmp_path, registry, retries=0).fails(workers=3)
        registry.clear()
        Puller(tmp_path, registry, **mirrored(registry, mirror)).pull()
        for one in LAYERS:
            assert spans(registry, one.digest) == []
            assert spans(mirror, one.digest) == [(60_000, len(one.blob))]


def test_corrupt_bytes_of_a_mirror_are_not_kept(tmp_path):
    """R009: a corrupt part would cost every later run a fetch."""
    wrong = on_layers(BIG.digest, corrupt=10, times=None)
    with serving(THREE, faults=[wrong]) as registry:
        puller = Puller(tmp_path, registry)
        assert puller.fails().kind == "digest-mismatch"
        assert BIG.digest.replace(":", "-") not in parts(puller)


# -- the module itself, killed


def params(registry, tmp_path, **more):
    name = f"{registry.address}/{REPOSITORY}:1.0"
    return {"name": [name], "store": str(tmp_path / "store"), "platform": ["linux/amd64"], **more}


@pytest.mark.parametrize(
    "number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT], ids="R097-{!s}".format
)
def test_killed_module_is_resumed_by_the_next(tmp_path, number):
    """S005: at most the bytes of one read are lost per layer and fetched again."""
    stall = on_layers(stall_at=90_000, times=3)
    with serving(THREE, faults=[stall]) as registry:
        process = modules.start("image_pull", **params(registry, tmp_path))
        while registry.applied(stall) < 3 or sum(map(bool, written(tmp_path).values())) < 3:
            assert process.poll() is None
            wait_a_moment(process)
        process.send_signal(number)
        process.communicate(timeout=20)
        assert process.returncode != 0
        assert_valid_store(tmp_path / "store")
        there = {name: size for name, size in written(tmp_path).items() if size}
        registry.clear()
        result = modules.run("image_pull", **params(registry, tmp_path)).result
        assert result["changed"]
        assert result["stats"]["bytes_resumed"] == sum(there.values()) > 0
        again = sum(sent(registry, one.digest) for one in LAYERS)
        assert again == sum(len(one.blob) for one in LAYERS) - sum(there.values())
    assert_valid_store(tmp_path / "store")
    assert leftovers(tmp_path / "store") == []


def wait_a_moment(process):
    """Give the module a moment to continue."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(0.02)


def written(tmp_path):
    """Return the number of journaled bytes of each blob."""
    found = {}
    for journal in (tmp_path / "store" / ".staging").glob("sha*.journal"):
        lines = [line.split(" ") for line in journal.read_text().split("\n")[:-1]]
        found[journal.stem] = sum(int(end) - int(first) for first, end in lines)
    return found
