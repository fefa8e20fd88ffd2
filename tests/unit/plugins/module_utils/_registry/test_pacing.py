# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The number and rate of requests to a registry, and when they stop. Ids name the fault."""

from __future__ import annotations

import contextlib
import threading
import time

import pytest
from ansible_collections.lockstep.images.tests.support.faults import Fault
from ansible_collections.lockstep.images.tests.support.images import image, layer, push
from ansible_collections.lockstep.images.tests.support.pulling import (
    CONFIG,
    IMAGE,
    LAYER,
    PLAIN,
    REPOSITORY,
    FakeClock,
    Puller,
    http_client,
    serving,
    trail,
)
from ansible_collections.lockstep.images.tests.support.registry import Registry

MANY = [image([layer({"n": bytes([n]) * 500})]) for n in range(6)]
LIMITS = {"RateLimit-Limit": "100;w=21600", "RateLimit-Remaining": "76;w=21600"}


def many(registry, by_digest=False):
    """The names of six images."""
    names = []
    for number, one in enumerate(MANY):
        push(registry, f"demo/{number}", one, "1.0")
        suffix = f"@{one.digest}" if by_digest else ":1.0"
        names.append(f"{registry.address}/demo/{number}{suffix}")
    return names


def told(left, limit=100):
    """Every answer says that so many pulls are left."""
    headers = {"RateLimit-Limit": f"{limit};w=21600", "RateLimit-Remaining": f"{left};w=21600"}
    return Fault(method="HEAD|GET", set_headers=headers, times=None)


def manifests(registry):
    return [one for one in trail(registry) if one in ("GET manifest", "GET tag")]


# -- hosts that are given up


def test_helper_never_gives_up_a_host(tmp_path):
    with serving(faults=[Fault(path="/help", status=429, times=2)]) as registry:
        client = http_client(FakeClock(), retries=3)
        for _time in range(2):
            client.request("GET", f"{registry.url}/help", retries=0).close()
        assert client.request("GET", f"{registry.url}/v2/").status == 200
        assert client.clock.slept == []


@pytest.mark.parametrize(
    "fault", [{"close_before": True}, {"status": 503}, {"status": 500}], ids=str
)
@pytest.mark.parametrize("workers", [1, 6])
def test_one_unavailable_layer_does_not_stop_the_others(tmp_path, fault, workers):
    """R044, R079"""
    bad = MANY[0].layers[0].digest
    with serving() as registry:
        names = many(registry)
        registry.faults.append(Fault(path=bad, times=None, **fault))
        plan = Puller(tmp_path, registry).carry_out(*names, workers=workers)
        assert list(plan.failures) == names[:1]


class Meanwhile(FakeClock):
    """Each sleep runs a function first."""

    def __init__(self, what):
        super().__init__()
        self.what = what

    def sleep(self, seconds):
        self.what()
        super().sleep(seconds)


def test_missing_blob_does_not_use_up_the_retries_of_a_registry(tmp_path):
    """R044"""
    with serving() as registry:
        registry.files.update({"/good": b"1", "/bad": b"2", "/other": b"3"})
        registry.faults.append(Fault(path="/bad", status=500, times=None))
        registry.faults.append(Fault(path="/other", status=503, times=1))
        clock = Meanwhile(lambda: http.request("GET", f"{registry.url}/good").close())
        http = http_client(clock, retries=2)
        assert http.request("GET", f"{registry.url}/bad").status == 500
        assert http.request("GET", f"{registry.url}/other").status == 200


def test_wait_requested_in_one_answer_applies_to_all_requests(tmp_path):
    """R040"""
    busy = Fault(path="/help", status=429, headers={"Retry-After": "7"})
    with serving(faults=[busy]) as registry:
        client = http_client(FakeClock(), retries=3)
        client.request("GET", f"{registry.url}/help", retries=0).close()
        client.request("GET", f"{registry.url}/v2/").close()
        assert client.clock.slept == [7.0]


def test_nobody_waits_for_longer_than_a_request_may_take(tmp_path):
    """R042"""
    busy = Fault(path="/help", status=429, headers={"Retry-After": "301"})
    with serving(faults=[busy]) as registry:
        client = http_client(FakeClock(), retries=3, timeout_total=300.0)
        client.request("GET", f"{registry.url}/help", retries=0).close()
        client.request("GET", f"{registry.url}/v2/").close()
        assert client.clock.slept == []


# -- how fast


@pytest.mark.parametrize("pace", [0.5, 2.0, 4.0])
def test_no_more_requests_are_sent_in_a_second_than_allowed(tmp_path, pace):
    with serving() as registry:
        puller = Puller(tmp_path, registry, requests_per_second=pace)
        puller.pull(workers=1)
        assert trail(registry) == PLAIN
        assert puller.clock.slept == [1 / pace] * 3


@contextlib.contextmanager
def distant(is_due):
    """A registry with 40 images whose answers wait until ``is_due(seen)``, except the first one.

    ``seen``, which it yields, has for each request how many were waiting when it came.
    """
    waiting, changed = [0], threading.Condition()
    seen: list[int] = []
    with Registry() as registry:
        for number in range(40):
            content = image([layer({"n": bytes([number]) * 500})])
            push(registry, f"demo/{number}", content, "1.0")
        answer = registry.answer

        def late(call, **how):
            with changed:
                waiting[0] += 1
                seen.append(waiting[0])
                changed.notify_all()
                if len(seen) > 1:  # a task sends its first request alone
                    changed.wait_for(lambda: is_due(seen), timeout=30)
            time.sleep(0.05)  # in which one request too many could come
            with changed:
                waiting[0] -= 1
            return answer(call, **how)

        registry.answer = late
        registry.clear()
        yield registry, seen


@pytest.mark.parametrize(("workers", "most"), [(1, 1), (2, 4), (6, 16), (40, 16)])
def test_no_more_than_sixteen_small_requests_wait_for_a_registry(tmp_path, workers, most):
    with distant(lambda seen: max(seen) >= most) as (registry, seen):
        names = [f"{registry.address}/demo/{number}:1.0" for number in range(min(40, 4 * most))]
        puller = Puller(tmp_path, registry)
        puller.pull(*names, workers=workers)
        cold, seen[:] = max(seen), []
        puller.pull(*names, workers=workers)
        assert (cold, max(seen)) == (most, most)
        assert puller.http.connections() <= most


def test_a_registry_that_asks_to_wait_gets_no_further_request_of_any_thread(tmp_path):
    """Only those that are on their way already."""
    with distant(lambda _seen: puller.clock.slept) as (registry, _seen):
        busy = Fault(method="HEAD", path="/demo/9/", status=429, headers={"Retry-After": "60"})
        registry.faults.append(busy)
        names = [f"{registry.address}/demo/{number}:1.0" for number in range(40)]
        puller = Puller(tmp_path, registry)
        sent: list[float] = []
        answer = registry.answer

        def timed(call, **how):
            sent.append(puller.clock.time)
            return answer(call, **how)

        registry.answer, start = timed, puller.clock.time
        puller.pull(*names, workers=6)
    early = [time for time in sent if time < start + 60]
    assert len(early) <= 1 + 16 and len(sent) == 4 * 40


@pytest.mark.parametrize("workers", [2, 6, 40])
def test_all_threads_share_the_pace(tmp_path, workers):
    with serving() as registry:
        names = many(registry)
        registry.clear()
        puller = Puller(tmp_path, registry, requests_per_second=2.0)
        start = puller.clock.time
        puller.pull(*names, workers=workers)
        sent = len(registry.requests)
        assert sent == 4 * len(MANY)
        assert puller.clock.time - start >= (sent - 1) / 2.0 - 0.01


def test_the_pace_is_of_a_host(tmp_path):
    """The object storage has its own."""
    with serving() as registry, serving() as bucket:
        bucket.files["/x"] = IMAGE.layers[0].blob
        registry.faults.append(Fault(path=LAYER, redirect=f"{bucket.url}/x"))
        puller = Puller(tmp_path, registry, requests_per_second=2.0)
        puller.pull(workers=1)
        assert puller.clock.slept == [0.5] * 3
        assert len(bucket.requests) == 1


class SlowClock(FakeClock):
    """Each sleep lasts until it is woken up."""

    def __init__(self):
        super().__init__()
        self.asleep = threading.Semaphore(0)
        self.wake = threading.Event()

    def sleep(self, seconds):
        self.slept.append(seconds)
        self.asleep.release()
        assert self.wake.wait(20)


def test_all_threads_wait_when_a_registry_asks_one_to(tmp_path):
    """R040"""
    busy = Fault(path="/first", status=429, headers={"Retry-After": "7"})
    with serving(faults=[busy]) as registry, serving() as other:
        for one in (registry, other):
            one.files.update({"/first": b"1", "/second": b"2"})
        clock, answers = SlowClock(), []
        http = http_client(clock, retries=2, timeout=5.0)

        def get(url):
            answers.append(http.request("GET", url).read(10))

        threads = [threading.Thread(target=get, args=(f"{registry.url}/first",))]
        threads[0].start()
        assert clock.asleep.acquire(timeout=20)
        threads.append(threading.Thread(target=get, args=(f"{registry.url}/second",)))
        threads[1].start()
        assert clock.asleep.acquire(timeout=20)
        get(f"{other.url}/second")
        assert (len(registry.requests), clock.slept) == (1, [7.0, 7.0])
        clock.time += 7
        clock.wake.set()
        for thread in threads:
            thread.join(20)
        assert sorted(answers) == [b"1", b"2", b"2"]
        assert len(registry.requests) == 3


# -- how long


@pytest.mark.parametrize("value", ["901", "2000", "86400"])
def test_a_wait_that_takes_longer_than_there_is_time_ends_it_at_once(tmp_path, value):
    """R041"""
    fault = Fault(method="HEAD", status=429, headers={"Retry-After": value}, times=None)
    with serving(faults=[fault]) as registry:
        puller = Puller(tmp_path, registry)
        error = puller.fails()
        assert error.kind == "rate-limited"
        assert f"wait {value} s" in str(error)
        assert (puller.clock.slept, trail(registry)) == ([], ["HEAD tag"])


@pytest.mark.parametrize("total", [0.0, 10.0, 60.0])
def test_one_request_is_not_tried_for_longer_than_allowed(tmp_path, total):
    """R044"""
    fault = Fault(method="HEAD", status=503, times=None)
    with serving(faults=[fault]) as registry:
        puller = Puller(tmp_path, registry, retries=1000, timeout_total=total)
        assert puller.fails().kind == "registry-error"
        assert total - 30 <= sum(puller.clock.slept) <= total


# -- when it is left alone


@pytest.mark.parametrize("workers", [1, 6])
def test_a_registry_that_has_had_enough_is_not_asked_for_the_other_images(tmp_path, workers):
    """R043"""
    fault = Fault(method="HEAD|GET", status=429, times=None)
    with serving() as registry:
        names = many(registry)
        registry.clear()
        registry.faults.append(fault)
        error = Puller(tmp_path, registry).fails(*names, workers=workers)
        assert error.kind == "rate-limited"
        assert "6 of 6 images failed" in str(error)
        assert len(registry.requests) <= 3 * workers
        assert workers > 1 or len(registry.requests) == 3


def test_a_host_that_cannot_be_reached_is_not_waited_for_again(tmp_path):
    """R001"""
    with serving() as registry:
        names = many(registry)
    puller = Puller(tmp_path, registry)
    error = puller.fails(*names, workers=1)
    assert error.kind == "registry-unreachable"
    assert puller.clock.slept == [0.5, 1.0]


def test_a_registry_that_stays_broken_is_asked_once_per_image(tmp_path):
    """R044: without patience, until it has answered again."""
    with serving() as registry:
        names = many(registry)
        registry.clear()
        registry.faults.append(Fault(method="HEAD", status=503, times=4))
        puller = Puller(tmp_path, registry)
        plan = puller.carry_out(*names, workers=1)
        assert list(plan.failures) == names[:2]
        assert puller.clock.slept == [0.5, 1.0]


def test_content_from_before_a_host_was_lost_stays_and_other_hosts_are_asked(tmp_path):
    lost = Fault(method="HEAD|GET", status=429, times=None)
    with serving(faults=[lost]) as one, serving() as other:
        puller = Puller(tmp_path, one, other, is_new=True)
        names = [f"{registry.address}/{REPOSITORY}:1.0" for registry in (one, other)]
        plan = puller.carry_out(*names)
        assert list(plan.failures) == names[:1]
        assert list(puller.store.names()) == names[1:]


# -- the limit of pulls


def test_rate_limit_of_a_registry_is_reported(tmp_path):
    headers = {**LIMITS, "Docker-RateLimit-Source": "192.0.2.7\x1b[31m"}
    fault = Fault(method="HEAD|GET", path="/manifests/", set_headers=headers, times=None)
    with serving(faults=[fault]) as registry:
        stats = Puller(tmp_path, registry).pull().result()["stats"]
        shown = {"limit": 100, "remaining": 76, "window": 21600, "source": "192.0.2.7 [31m"}
        assert stats["rate_limit"] == {registry.address: shown}


def test_registry_without_a_limit_is_not_in_the_stats(tmp_path):
    with serving() as registry:
        puller = Puller(tmp_path, registry, rate_limit_floor=50)
        assert puller.pull().result()["stats"]["rate_limit"] == {}


@pytest.mark.parametrize(("left", "floor", "works"), [(76, 75, True), (75, 75, False), (0, 1, False), (1, 0, True), (0, 0, True)])  # fmt: skip
def test_the_last_pulls_are_kept(tmp_path, left, floor, works):
    with serving(faults=[told(left)]) as registry:
        puller = Puller(tmp_path, registry, rate_limit_floor=floor)
        error = puller.attempt()
        assert (error is None) == works
        if error:
            assert error.kind == "rate-limited"
            assert f"{left} pulls are left" in str(error) and str(floor) in str(error)
            assert error.hint
            assert trail(registry) == ["HEAD tag"]
        else:
            assert trail(registry) == PLAIN


def test_by_digest_the_limit_is_asked_for_first_at_no_cost(tmp_path):
    with serving(faults=[told(76)]) as registry:
        name = f"{registry.address}/{REPOSITORY}@{IMAGE.digest}"
        Puller(tmp_path, registry, rate_limit_floor=10).pull(name)
        assert trail(registry) == ["HEAD manifest", *PLAIN[1:]]
        registry.clear()
        Puller(tmp_path / "other", registry).pull(name)
        assert trail(registry) == PLAIN[1:]


def test_registry_without_a_limit_is_asked_for_it_once(tmp_path):
    with serving() as registry:
        names = many(registry, by_digest=True)
        registry.clear()
        Puller(tmp_path, registry, rate_limit_floor=10).pull(*names, workers=1)
        assert trail(registry).count("HEAD manifest") == 1


@pytest.mark.parametrize("by_digest", [False, True], ids=["by tag", "by digest"])
@pytest.mark.parametrize("spare", [0, 1, 2, 5])
def test_concurrent_pulls_never_go_below_the_floor(tmp_path, spare, by_digest):
    """Six at once, each of which could take the last one."""
    with serving() as registry:
        names = many(registry, by_digest)
        registry.clear()
        registry.faults.append(told(10 + spare))
        slow = Fault(method="HEAD", delay=0.05, set_headers=told(10 + spare).set_headers)
        registry.faults.insert(0, slow)
        puller = Puller(tmp_path, registry, rate_limit_floor=10, is_new=True)
        plan = puller.carry_out(*names, workers=6)
        assert len(manifests(registry)) == spare
        assert len(plan.failures) == 6 - spare
        assert {one.kind for one in plan.failures.values()} == {"rate-limited"}
        assert len(puller.store.names()) == spare


def test_renewed_limit_is_not_lowered_by_a_late_answer(tmp_path):
    """Answers overtake each other: the lower number counts, so at worst a pull too few is made."""
    with serving() as registry:
        names = many(registry)
        registry.faults.append(Fault(method="HEAD", set_headers=told(10).set_headers))
        registry.faults.append(told(100))
        puller = Puller(tmp_path, registry, rate_limit_floor=8)
        assert len(puller.carry_out(*names, workers=1).failures) == 4


def test_blobs_cost_no_pull(tmp_path):
    with serving(faults=[told(11)]) as registry:
        Puller(tmp_path, registry, rate_limit_floor=10).pull()
        assert trail(registry) == PLAIN
        assert [CONFIG in one.path for one in registry.requests].count(True) == 1


def test_image_that_is_up_to_date_needs_no_pull(tmp_path):
    with serving(faults=[told(11)]) as registry:
        Puller(tmp_path, registry).pull()
        assert not Puller(tmp_path, registry, rate_limit_floor=90).pull().plan.changed
