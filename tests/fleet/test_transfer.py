# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Large layers from docker-registry behind an nginx that slows, refuses and changes: what came is
kept, what is large comes in pieces, and nginx's own log says what was sent.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time
from pathlib import Path
from typing import Any, Callable

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._store.reader import render_index
from ansible_collections.lockstep.images.tests.support import images, layout, modules
from ansible_collections.lockstep.images.tests.support.fleet import (
    DEMO,
    PULL,
    Registry,
    need_programs,
    pull_four_times,
)
from ansible_collections.lockstep.images.tests.support.nginx import nginx
from ansible_collections.lockstep.images.tests.support.playbook import (
    PlayRunner,
    local_host,
    measured_python,
    one_task,
)

MIB = 1 << 20
MAX_PEAK = 96 * MIB
NAMES = 10_000
Front = Callable[..., Any]
SIGNALS = [signal.SIGKILL, signal.SIGTERM, signal.SIGINT]


def noise_image(name: str, sizes: list[int]) -> images.Image:
    """Return an image of layers of about these sizes that nothing can compress."""
    noise = random.Random(name)
    return images.image(
        [
            images.layer({f"opt/{name}/{number}": noise.randbytes(size)}, compression=None)
            for number, size in enumerate(sizes)
        ]
    )


@pytest.fixture(scope="module")
def heavy(registry_plain: Registry) -> images.Image:
    """Return an image of one large layer and two of a tenth, as `lockstep/heavy:1` of the registry."""
    item = noise_image("heavy", [64 * MIB, 8 * MIB, 8 * MIB])
    images.upload(registry_plain.service.url, "lockstep/heavy", item, "1")
    return item


@pytest.fixture()
def front(directory: Path, registry_plain: Registry) -> Front:
    """`front(...)` is an nginx before the registry, with these directives."""
    need_programs("nginx")
    return lambda *directives, **more: nginx(
        directory / "nginx", registry_plain.service.url, *directives, **more
    )


@pytest.fixture()
def store(directory: Path) -> Path:
    """Return where the store of a test is."""
    return directory / "store"


def arrived(store: Path) -> int:
    """Return the number of bytes in a store, counting only journaled bytes of partial blobs."""
    sizes = {}
    for journal in store.glob(".staging/*.journal"):
        with contextlib.suppress(FileNotFoundError):  # its layer is already complete
            lines = [line.split(" ") for line in journal.read_text().split("\n")[:-1]]
            sizes[journal.stem] = sum(int(end) - int(first) for first, end in lines)
    for blob in store.glob("blobs/*/*"):
        sizes[f"{blob.parent.name}-{blob.name}"] = blob.stat().st_size
    return sum(sizes.values())


def end_halfway(item: images.Image, store: Path, sign: signal.Signals, **options: Any) -> None:
    """Start a pull of the image, and send the module a signal when half of it is there."""
    started = modules.start("image_pull", store=os.fspath(store), **options)
    deadline = time.monotonic() + 60
    while arrived(store) < item.size // 2:
        assert started.poll() is None and time.monotonic() < deadline, "it is never halfway"
        time.sleep(0.02)
    started.send_signal(sign)
    started.communicate(timeout=30)
    assert started.returncode != 0
    assert layout.names(store) == {} and layout.bad_blobs(store) == []


@pytest.mark.parametrize("sign", SIGNALS, ids=lambda sign: sign.name)
def test_bytes_fetched_before_a_pull_was_killed_are_not_sent_again(
    sign: signal.Signals, front: Front, heavy: images.Image, store: Path
) -> None:
    with front("limit_rate 3m;") as server:
        name = f"{server.address}/lockstep/heavy:1"
        end_halfway(heavy, store, sign, name=[name], chunk_size="4M")
        ended = server.last_connection()
        runs = pull_four_times(store, name, heavy.digest, chunk_size="4M")
        sent = sum(one.sent for one in server.blobs(after=ended))
    assert sent <= 0.55 * heavy.size
    check, real = (run["stats"] for run in runs[:2])
    assert check["bytes_to_fetch"] == real["bytes_to_fetch"] == sent
    assert real["bytes_resumed"] > 0


# Many links are fast at first and slow after some megabytes.
@pytest.mark.parametrize("slow", ["limit_rate 6m;", "limit_rate_after 4m; limit_rate 6m;"])
def test_a_large_layer_comes_in_closed_ranges_over_several_connections(
    slow: str, front: Front, heavy: images.Image, store: Path
) -> None:
    with front(slow) as server:
        name = f"{server.address}/lockstep/heavy:1"
        pull_four_times(store, name, heavy.digest)
        parts = server.blobs(heavy.layers[0].digest)
    assert {one.status for one in parts} == {206}
    assert len({one.connection for one in parts}) >= 3
    # Each byte once.
    spans = sorted(one.span for one in parts if one.span)
    assert len(spans) == len(parts)
    assert [first for first, _last in spans[1:]] == [last + 1 for _first, last in spans[:-1]]
    assert (spans[0][0], spans[-1][1] + 1) == (0, len(heavy.layers[0].blob))


def test_layer_over_one_connection_is_fetched_in_one_request(
    front: Front, heavy: images.Image, store: Path
) -> None:
    with front("limit_rate 20m;") as server:
        name = f"{server.address}/lockstep/heavy:1"
        options = {"chunk_size": "1M", "connections_per_blob": 1}
        pull_four_times(store, name, heavy.digest, **options)
        (read,) = server.blobs(heavy.layers[0].digest)
    assert (read.range, read.status, read.sent) == ("", 200, len(heavy.layers[0].blob))


def test_six_layers_over_several_connections_each_need_little_memory(
    front: Front, registry_plain: Registry, play: PlayRunner, directory: Path, store: Path
) -> None:
    item = noise_image("six", [40 * MIB] * 6)
    images.upload(registry_plain.service.url, "lockstep/six", item, "1")
    python = measured_python(directory / "python")
    host = local_host(directory, ansible_python_interpreter=os.fspath(python.interpreter))
    with front("limit_rate 4m;") as server:
        name = f"{server.address}/lockstep/six:1"
        options = {"chunk_size": "1M", "parallel": 12, "connections_per_blob": 3}
        text = one_task(PULL, name=[name], store=os.fspath(store), **options)
        runs = play.four_times(text, play.inventory({"one": host}))
        reads = [server.blobs(one.digest) for one in item.layers]
    assert all(len({one.connection for one in parts}) >= 2 for parts in reads)
    begins = [min(one.first for one in parts) for parts in reads]
    ends = [max(one.last for one in parts) for parts in reads]
    assert max(begins) < min(ends), "there was no moment with all six on their way"
    peaks = python.peaks("image_pull")
    assert len(peaks) == len(runs) and max(peaks) < MAX_PEAK
    assert layout.names(store)[name]["digest"] == item.digest
    assert layout.bad_blobs(store) == []


def test_request_to_a_temporarily_busy_server_is_retried(
    front: Front, registry_plain: Registry, store: Path
) -> None:
    item = noise_image("busy", [1000] * 10)
    images.upload(registry_plain.service.url, "lockstep/busy", item, "1")
    busy = "limit_req zone=busy burst=4 nodelay; limit_req_status 503;"
    rate = "limit_req_zone $binary_remote_addr zone=busy:1m rate=8r/s;"
    wait = 'map $status $wait { 503 1; default ""; }'
    with front(f"{busy} add_header Retry-After $wait always;", http=rate + wait) as server:
        name = f"{server.address}/lockstep/busy:1"
        runs = pull_four_times(store, name, item.digest, retries=20)
        refused = [one for one in server.passed() if one.status == 503]
    stats = [run["stats"] for run in runs]
    assert stats[1]["retries"] > 0 and stats[1]["seconds_waited"] > 0
    assert sum(one["retries"] for one in stats) == len(refused)


def test_layer_restarts_if_a_proxy_drops_its_range(
    front: Front, heavy: images.Image, store: Path
) -> None:
    large = heavy.layers[0]
    with front('limit_rate 20m; proxy_set_header Range "";') as server:
        name = f"{server.address}/lockstep/heavy:1"
        end_halfway(heavy, store, signal.SIGKILL, name=[name], chunk_size="4M")
        ended = server.last_connection()
        runs = pull_four_times(store, name, heavy.digest, chunk_size="4M")
        reads = server.blobs(large.digest, after=ended)
    assert reads[0].span and {one.status for one in reads} == {200}
    assert reads[-1].sent == len(large.blob)
    # The partial blob could not be used.
    assert runs[1]["stats"]["bytes_resumed"] <= heavy.size - len(large.blob)


def test_pull_changes_only_its_own_among_ten_thousand_names(
    registry_plain: Registry, store: Path, small_images: dict[str, str]
) -> None:
    name, more = (f"{registry_plain.address}/{DEMO}:{tag}" for tag in ("v1", "v2"))
    pull_four_times(store, name, small_images["v1"])
    index = store / "index.json"
    entry = layout.names(store)[name]
    others = [
        dict(entry, annotations={**entry["annotations"], layout.REF_NAME: f"example.test/{n}:1"})
        for n in range(NAMES - 1)
    ]
    index.write_bytes(render_index({"schemaVersion": 2, "manifests": [entry, *others]}))
    written, before = index.read_bytes(), index.stat()

    for run in modules.four_times("image_pull", name=[name], store=os.fspath(store)):
        assert not run.result["changed"] and run.result["stats"]["requests"] == {"HEAD": 1}
    assert index.read_bytes() == written
    assert (index.stat().st_ino, index.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)

    pull_four_times(store, more, small_images["v2"])
    found = layout.names(store)
    assert found.pop(more)["digest"] == small_images["v2"] and len(found) == NAMES
    assert render_index({"schemaVersion": 2, "manifests": [*found.values()]}) == written
