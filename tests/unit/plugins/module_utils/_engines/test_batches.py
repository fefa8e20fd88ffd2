# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The order in which images are sent: nothing is sent before what it needs, and no lane is idle without a reason."""

from __future__ import annotations

import functools

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._engines.batches import batches
from ansible_collections.lockstep.images.plugins.module_utils._engines.engine import (
    LOADED,
    Finding,
    Load,
)
from ansible_collections.lockstep.images.tests.support.contents import content_of
from ansible_collections.lockstep.images.tests.support.images import image, layer

KIB = 1024


@functools.cache
def layer_of(name):
    return layer({name: name.encode()})


def graph_key(one):
    return one.chain_id


def blob_key(one):
    return one.blob.digest


def plan(names, key=graph_key):
    """Return a load for each text of ``names``, whose words are its layers; ``key`` is how the engine knows a layer."""
    loads, sent = [], set()
    for number, words in enumerate(names):
        item = image([layer_of(word) for word in words.split()])
        content = content_of(item, f"registry.example.com/app:{number}")
        new = {one.blob.digest: one.blob for one in content.layers if key(one) not in sent}
        sent.update(map(key, content.layers))
        finding = Finding(item.digest, None, False, False)
        loads.append(Load(content, finding, LOADED, tuple(new.values())))
    return loads


def numbers(found):
    """Return the numbers of the images of each batch."""
    return [[int(load.image.reference.tag) for load in batch.loads] for batch in found]


def sent_in(found):
    """Return the numbers of the images in the order in which they are sent."""
    return [number for batch in numbers(found) for number in batch]


def time_of(found, lanes):
    """Return how long an engine needs that takes one unit for each layer and each batch."""
    now, running, left = 0, [], list(found)
    while left or running:
        busy = {load.name for _end, batch in running for load in batch.loads}
        if left and len(running) < lanes and not busy & left[0].needs:
            batch = left.pop(0)
            running.append((now + 1 + sum(len(load.blobs) for load in batch.loads), batch))
        else:
            running.sort(key=lambda one: one[0])
            now = running.pop(0)[0]
    return now


FLEETS = {
    "related": [f"base{n % 5} runtime{n % 20} app{n}" for n in range(100)],
    "on one base": [f"base app{n}" for n in range(40)],
    "apart": [f"base{n} app{n}" for n in range(40)],
    "deep": [" ".join(f"layer{n}" for n in range(count)) for count in range(1, 21)],
}


@functools.cache
def fleet_of(name):
    return plan(FLEETS[name])


@pytest.fixture(name="fleet", params=FLEETS)
def fixture_fleet(request):
    return fleet_of(request.param)


def test_no_images_need_no_batch():
    assert batches([], None, 2) == []


def test_one_lane_gets_all_images_at_once_and_in_their_order(fleet):
    (only,) = batches(fleet, None)
    assert only.loads == fleet and only.needs == frozenset()


@pytest.mark.parametrize("lanes", [1, 2, 3])
def test_batch_has_at_most_as_many_bytes_as_allowed_or_one_image(fleet, lanes):
    limit = 2 * fleet[-1].bytes_sent
    found = batches(fleet, limit, lanes)
    sizes = [(len(one.loads), sum(load.bytes_sent for load in one.loads)) for one in found]
    assert all(count == 1 or size <= limit for count, size in sizes)


@pytest.mark.parametrize("lanes", [1, 2, 3, 4])
def test_every_image_is_sent_once_and_after_the_layers_that_it_leaves_out(fleet, lanes):
    found = batches(fleet, None, lanes)
    there, names = set(), set()
    for batch in found:
        assert batch.needs <= names
        for load in batch.loads:
            brought = {blob.digest for blob in load.blobs}
            there |= {one.chain_id for one in load.image.layers if one.blob.digest in brought}
            assert {one.chain_id for one in load.image.layers} <= there
        names |= {load.name for load in batch.loads}
    assert sorted(sent_in(found)) == list(range(len(fleet)))


def test_base_of_all_is_sent_alone_so_that_other_lanes_need_not_wait_for_more():
    found = batches(fleet_of("on one base"), None, 2)
    assert numbers(found)[0] == [0]
    assert {len(batch.loads) for batch in found[1:]} != {1}
    assert found[1].needs == frozenset({found[0].loads[0].name})


def test_different_bases_are_shared_out_between_the_lanes():
    found = batches(fleet_of("related"), None, 3)[:3]
    assert not any(batch.needs for batch in found)
    # The last one also has images on its bases, as no other lane waits for them.
    assert sent_in(found)[:5] == [0, 1, 2, 3, 4]


def test_images_apart_are_shared_out_evenly():
    found = batches(fleet_of("apart"), None, 2)
    assert not any(batch.needs for batch in found)
    assert time_of(found, 2) <= (2 * len(FLEETS["apart"]) + len(found)) // 2 + 2


@pytest.mark.parametrize(("name", "layers"), [("related", 125), ("on one base", 41), ("apart", 80)])
@pytest.mark.parametrize("lanes", [2, 3, 4])
def test_lanes_are_busy_nearly_all_the_time(name, layers, lanes):
    loads = fleet_of(name)
    assert sum(len(load.blobs) for load in loads) == layers
    found = batches(loads, None, lanes)
    work = layers + len(found)
    # A lane is idle while the first base is on its way, and for less than a batch at the end.
    assert time_of(found, lanes) <= work / lanes * 1.2 + 3


def test_layers_on_each_other_are_sent_one_after_the_other():
    found = batches(fleet_of("deep"), None, 3)
    assert sent_in(found) == list(range(len(FLEETS["deep"])))


def test_layer_that_several_bases_bring_is_needed_from_the_same_base_only():
    loads = plan(["base1 empty", "base2 empty", "base1 empty app1", "base2 empty app2"])
    needs = {
        number: batch.needs for batch in batches(loads, 1, 2) for number in numbers([batch])[0]
    }
    first, second = loads[0].name, loads[1].name
    assert needs == {0: frozenset(), 1: frozenset(), 2: {first}, 3: {second}}


def test_blob_that_another_base_brings_is_needed_if_the_engine_knows_blobs():
    loads = plan(["base1 app", "base2 app"], blob_key)
    assert len(loads[1].blobs) == 1
    assert [batch.needs for batch in batches(loads, 1, 2)] == [frozenset(), {loads[0].name}]


def test_other_names_of_an_image_are_sent_with_it():
    loads = plan(["base app"] * 30)
    assert [len(batch.loads) for batch in batches(loads, None, 3)] == [30]
