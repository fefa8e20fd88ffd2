# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Mirrors that serve, lie, break off or are gone, and which host gets which secret. Ids name the fault."""

from __future__ import annotations

import contextlib
import random

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._image.sources import ChunkPolicy
from ansible_collections.lockstep.images.plugins.module_utils._registry.credentials import (
    Credentials,
)
from ansible_collections.lockstep.images.plugins.module_utils._registry.hostfiles import HostFiles
from ansible_collections.lockstep.images.tests.support import certificates, modules
from ansible_collections.lockstep.images.tests.support.faults import Fault
from ansible_collections.lockstep.images.tests.support.images import image, layer, push
from ansible_collections.lockstep.images.tests.support.pulling import (
    LOGIN,
    PASSWORD,
    REPOSITORY,
    USER,
    USERS,
    Puller,
    cut_always,
    sent,
    serving,
    spans,
    trail,
)
from ansible_collections.lockstep.images.tests.support.registry import Registry

LAYERS = [layer({f"opt/{n}": random.Random(n).randbytes(40_000)}) for n in range(4)]
FOUR = image(LAYERS)
ALL = "|".join(one.digest for one in LAYERS)
BYTES = len(FOUR.config) + sum(len(one.blob) for one in LAYERS)
EVERYTHING = [
    "HEAD tag",
    "GET manifest",
    "GET blob",
    "GET blob",
    "GET blob",
    "GET blob",
    "GET blob",
]
OWN = Credentials("mirror-user", "mirror-secret")
needs_certificates = pytest.mark.skipif(
    not certificates.available(), reason="neither cryptography nor openssl is here"
)


def entry(registry, *mirrors, **keys):
    """The option ``registries``; a mirror is a registry, or what its entry says."""
    given = [
        mirror if isinstance(mirror, dict) else {"url": f"http://{mirror.address}"}
        for mirror in mirrors
    ]
    return [{"registry": registry.address, "mirrors": given, **keys}]


def puller_of(tmp_path, registry, *mirrors, **options):
    options = {"retries": 1, **options}
    settings = entry(registry, *mirrors)
    real = [mirror for mirror in mirrors if isinstance(mirror, Registry)]
    return Puller(tmp_path, registry, *real, settings=settings, **options)


def served(plan):
    return plan.result()["stats"]["mirrors"]


def told(plan, registry):
    """The warnings about a mirror."""
    return [text for text in plan.warnings() if registry.address in text]


def broken(path="/blobs/|/manifests/", **fault):
    return Fault(method="HEAD|GET", path=path, times=None, **fault)


def test_the_first_mirror_that_has_it_serves_everything(tmp_path):
    with serving(FOUR) as origin, serving(FOUR) as one, serving(FOUR) as two:
        plan = puller_of(tmp_path, origin, one, two).pull(workers=4)
        assert sorted(trail(one)) == sorted(EVERYTHING)
        assert trail(two) == trail(origin) == []
        assert served(plan)[one.address] == {"bytes": BYTES, "manifests": 1}
        assert served(plan)[two.address] == {"bytes": 0, "manifests": 0}
        assert plan.warnings() == []


def test_next_mirror_is_asked_for_missing_content(tmp_path):
    """It is not a failure, and causes no warning."""
    with serving(FOUR) as origin, Registry() as empty, serving(FOUR) as two:
        two.remove(REPOSITORY, LAYERS[0].digest)
        plan = puller_of(tmp_path, origin, empty, two).pull(workers=4)
        assert spans(origin, LAYERS[0].digest) == [None]
        assert len(origin.requests) == 1
        assert trail(empty).count("GET manifest") == trail(empty).count("HEAD tag") == 1
        bytes_of_two = BYTES - len(LAYERS[0].blob)
        assert served(plan) == {
            empty.address: {"bytes": 0, "manifests": 0},
            two.address: {"bytes": bytes_of_two, "manifests": 1},
        }
        assert plan.warnings() == []


@pytest.mark.parametrize("workers", [1, 4])
def test_one_down_one_wrong_and_the_third_serves(tmp_path, workers):
    """R091: each failure is reported once."""
    with serving(FOUR) as dead:
        pass
    wrong = broken(ALL, corrupt=7)
    with serving(FOUR) as origin, serving(FOUR, faults=[wrong]) as liar, serving(FOUR) as good:
        plan = puller_of(tmp_path, origin, dead, liar, good).pull(workers=workers)
        assert trail(origin) == []
        shown = served(plan)
        assert "refused" in shown[dead.address]["failed"]
        assert "serves wrong bytes for sha256:" in shown[liar.address]["failed"]
        assert "failed" not in shown[good.address]
        assert shown[good.address]["bytes"] >= sum(len(one.blob) for one in LAYERS)
        assert [len(told(plan, one)) for one in (dead, liar, good)] == [1, 1, 0]


FAILURES = {
    "R001-closes": {"close_before": True},
    "R031-wants-a-login": {"status": 401},
    "R043-too-many-requests": {"status": 429},
    "R044-500": {"status": 500},
    "R044-503": {"status": 503},
    "R046-501": {"status": 501},
    "R082-no-http": {"raw": b"\x00\x01"},
    "R050-redirects-for-ever": {"redirect": lambda target: target},
    "R018-206": {"wrong_content_range": "bytes 0-1/2"},
    "R062-encoding": {"set_headers": {"Content-Encoding": "br"}},
    "R061-encoding-that-is-none": {
        "replace": bytes(100),
        "set_headers": {"Content-Encoding": "gzip"},
    },
    "not-what-was-asked-for": {"replace": b"{}"},
}


@pytest.mark.parametrize("where", ["/manifests/", "/blobs/", ALL], ids=["manifests", "blobs", "layers"])  # fmt: skip
@pytest.mark.parametrize("fault", FAILURES.values(), ids=FAILURES)
def test_failed_mirror_is_skipped_and_reported_once(tmp_path, fault, where):
    """A second image of the task does not ask it again."""
    other = image([layer({"other": b"other"})])
    fault = Fault(path=where, times=None, **fault)
    with serving(FOUR) as origin, serving(FOUR, faults=[fault]) as mirror:
        for one in (origin, mirror):
            push(one, "demo/other", other, "1.0")
            one.clear()
        puller = puller_of(tmp_path, origin, mirror)
        names = [f"{origin.address}/demo/{name}:1.0" for name in ("app", "other")]
        plan = puller.pull(*names, workers=1)
        assert len(told(plan, mirror)) == 1
        assert served(plan)[mirror.address]["failed"] in told(plan, mirror)[0]
        assert mirror.applied(fault) <= (6 if fault.redirect else 3)
        for secret in puller.secrets():
            assert secret not in str(plan.warnings())


def test_a_mirror_whose_manifests_break_off_is_left_out(tmp_path):
    """R005: a manifest is never resumed in the middle."""
    fault = Fault(path="/manifests/", times=None, truncate_at=10)
    with serving(FOUR) as origin, serving(FOUR, faults=[fault]) as mirror:
        plan = puller_of(tmp_path, origin, mirror).pull(workers=1)
        assert served(plan)[mirror.address]["failed"] in told(plan, mirror)[0]


@pytest.mark.parametrize("step", [0, 100])
def test_a_mirror_whose_blobs_break_off_is_asked_once_more(tmp_path, step):
    """R010: however little it gives each time, and whatever the patience with a registry is."""
    stalls = broken(ALL, truncate_at=step)
    with serving(FOUR) as origin, serving(FOUR, faults=[stalls]) as mirror:
        plan = puller_of(tmp_path, origin, mirror, retries=5).pull(workers=1)
        assert len(told(plan, mirror)) == 1
        assert mirror.applied(stalls) == 2


def test_a_mirror_that_does_not_answer_costs_its_time_once(tmp_path):
    """R010: not once for each thread that waits for its first answer."""
    silent = Fault(method="HEAD|GET", delay=60, times=None)
    with serving(FOUR) as origin, serving(FOUR, faults=[silent]) as mirror:
        names = []
        for number in range(6):
            push(origin, f"demo/{number}", FOUR, "1.0")
            names.append(f"{origin.address}/demo/{number}:1.0")
        plan = puller_of(tmp_path, origin, mirror, timeout=0.4).pull(*names, workers=6)
        assert mirror.applied(silent) == 2
        assert len(told(plan, mirror)) == 1


def test_content_that_a_mirror_lacks_comes_in_pieces_from_another(tmp_path, monkeypatch):
    """And the mirror is asked for it once, not for each piece; nor is it blamed for the others."""
    cut_always(monkeypatch)
    digest = LAYERS[0].digest
    with serving(FOUR) as origin, serving(FOUR) as mirror:
        mirror.remove(REPOSITORY, digest)
        puller = puller_of(tmp_path, origin, mirror)
        plan = puller.pull(workers=4, pieces=ChunkPolicy(8192, 4))
        assert len(spans(mirror, digest)) == 1
        assert len(spans(origin, digest)) > 2
        assert sent(origin, digest) == len(LAYERS[0].blob)
        assert told(plan, mirror) == []


def test_corrupt_pieces_of_the_registry_do_not_blame_a_mirror_without_the_blob(
    tmp_path, monkeypatch
):
    """R009"""
    cut_always(monkeypatch)
    digest = LAYERS[0].digest
    wrong = broken(digest, corrupt=7)
    with serving(FOUR, faults=[wrong]) as origin, serving(FOUR) as mirror:
        mirror.remove(REPOSITORY, digest)
        puller = puller_of(tmp_path, origin, mirror)
        plan = puller.carry_out(workers=4, pieces=ChunkPolicy(8192, 4))
        assert [error.kind for error in plan.failures.values()] == ["digest-mismatch"]
        assert told(plan, mirror) == []


def test_a_mirror_on_the_host_of_the_registry_takes_none_of_its_patience(tmp_path):
    faults = [broken("/v2/cache/", status=503)]
    faults.append(Fault(method="HEAD", path="/v2/demo/", status=503, times=1))
    with serving(FOUR, faults=faults) as registry:
        mirror = {"url": f"http://{registry.address}/cache"}
        settings = [{"registry": f"{registry.address}/demo", "mirrors": [mirror]}]
        plan = Puller(tmp_path, registry, settings=settings, retries=2).pull()
        assert len(told(plan, registry)) == 1


def test_bytes_of_one_host_behind_several_mirrors_are_added_up(tmp_path):
    with serving(FOUR) as one, serving(FOUR) as two, serving(FOUR) as mirror:
        urls = [
            {"url": f"http://{mirror.address}", "username": user, "password": "x" * 9}
            for user in "ab"
        ]
        settings = [*entry(one, urls[0]), *entry(two, urls[1])]
        puller = Puller(tmp_path, one, two, mirror, settings=settings)
        names = [f"{registry.address}/{REPOSITORY}:1.0" for registry in (one, two)]
        # By one of the two the configuration and the layers are fetched, by both the manifest.
        plan = puller.pull(*names, workers=1)
        found = served(plan)[mirror.address]
        assert found["manifests"] == sum(one.count("GET manifest") for one in [trail(mirror)])
        assert found["bytes"] == sum(sent(mirror, one.digest) for one in LAYERS) + 2 * len(
            FOUR.config
        )


def test_a_mirror_that_denies_one_repository_serves_others(tmp_path):
    """R038: it is not asked again for content that it denies, and is reported once."""
    other = image([layer({"other": b"other"})])
    fault = Fault(path="/demo/app/", times=None, status=403)
    with serving(FOUR) as origin, serving(FOUR, faults=[fault]) as mirror:
        for one in (origin, mirror):
            push(one, "demo/other", other, "1.0")
            one.clear()
        names = [f"{origin.address}/demo/{name}:1.0" for name in ("app", "other")]
        plan = puller_of(tmp_path, origin, mirror).pull(*names, workers=1)
        assert len(told(plan, mirror)) == 1
        assert mirror.applied(fault) == 1
        assert not [request for request in origin.requests if "/demo/other/" in request.path]


@pytest.mark.parametrize("connections", [1, 4])
def test_a_mirror_with_wrong_bytes_in_one_piece_is_found_out(tmp_path, monkeypatch, connections):
    """R009: the source of a corrupt piece is unknown, the source of a whole blob is known."""
    cut_always(monkeypatch)
    wrong = broken(LAYERS[0].digest, corrupt=7)
    with serving(FOUR) as origin, serving(FOUR, faults=[wrong]) as liar:
        puller = puller_of(tmp_path, origin, liar)
        plan = puller.pull(workers=4, pieces=ChunkPolicy(8192, connections))
        assert spans(origin, LAYERS[0].digest) == [None]
        assert len(told(plan, liar)) == 1


def test_a_mirror_of_everything_wrong_costs_no_more_than_it_served(tmp_path):
    """A manifest with another digest is rejected, and so is a tag that the mirror invents."""
    other = image([layer({"other": b"other"})])
    with serving(FOUR) as origin, serving(FOUR) as liar:
        liar.add(REPOSITORY, other.raw, other.media_type, digest=FOUR.digest)
        plan = puller_of(tmp_path, origin, liar).pull()
        assert trail(origin)[0] == "GET manifest"
        assert len(told(plan, liar)) == 1


USES = {
    "all": ("HEAD tag", True),
    "digest-only": ("GET manifest", True),
    "tag-only": ("HEAD tag", False),
}


@pytest.mark.parametrize("use", USES)
def test_a_mirror_is_asked_for_what_it_is_for(tmp_path, use):
    first, has_blobs = USES[use]
    with serving(FOUR) as origin, serving(FOUR) as mirror:
        given = {"url": f"http://{mirror.address}", "pull_from_mirror": use}
        puller_of(tmp_path, origin, given).pull()
        assert trail(mirror)[0] == first
        assert (len(trail(mirror)) > 1) == has_blobs
        assert len(trail(mirror)) + len(trail(origin)) == len(EVERYTHING)
        assert ("HEAD tag" in trail(origin)) == (use == "digest-only")


def test_a_tag_of_a_mirror_that_is_for_digests_only_is_the_registrys(tmp_path):
    """The mirror has an older one."""
    older = image([layer({"older": b"older"})])
    with serving(FOUR) as origin, serving(older) as mirror:
        given = {"url": f"http://{mirror.address}", "pull_from_mirror": "digest-only"}
        plan = puller_of(tmp_path, origin, given).pull()
        assert plan.result()["images"][0]["digest"] == FOUR.digest


def test_tags_are_listed_by_the_registry_alone(tmp_path):
    with serving(FOUR) as origin, serving(FOUR) as mirror:
        puller = puller_of(tmp_path, origin, mirror)
        puller.pull(f"{origin.address}/{REPOSITORY}", all_tags=True)
        assert ("GET tags" in trail(origin), "GET tags" in trail(mirror)) == (True, False)


@pytest.mark.parametrize("where", ["/manifests/", "/blobs/"])
def test_mirror_that_redirects_to_the_registry_keeps_its_login_to_itself(tmp_path, where):
    """It answers what has ``ns=`` with the place of the registry."""
    with serving(FOUR) as origin, serving(FOUR, auth="basic", users=USERS) as mirror:
        back = f"{origin.url}/v2/{REPOSITORY}/"
        fault = Fault(
            path=where, redirect=lambda target: back + target.split(f"{REPOSITORY}/")[1], times=None
        )
        mirror.faults.append(fault)
        given = {"url": f"http://{mirror.address}", "username": USER, "password": PASSWORD}
        plan = puller_of(tmp_path, origin, given).pull()
        assert any("authorization" in one.headers for one in mirror.requests)
        assert origin.requests
        assert not any("authorization" in one.headers for one in origin.requests)
        assert plan.warnings() == []


@pytest.mark.parametrize("preserves", [True, False])
def test_mirror_that_converts_manifests_serves_no_digest_but_the_same_layers(tmp_path, preserves):
    """As zot does with images in Docker's format, unless it has ``docker2s2`` and ``preserveDigest``."""
    item = image(LAYERS, docker=True)
    with serving(item) as origin, serving(item if preserves else FOUR) as mirror:
        puller = puller_of(tmp_path, origin, mirror)
        plan = puller.pull(f"{origin.address}/{REPOSITORY}@{item.digest}", workers=1)
        assert plan.result()["images"][0]["digest"] == item.digest
        assert trail(origin) == ([] if preserves else ["GET manifest"])
        assert plan.warnings() == []


def test_a_path_of_a_mirror_comes_before_the_repository(tmp_path):
    with serving(FOUR) as origin, Registry() as proxy:
        push(proxy, f"cache/{REPOSITORY}", FOUR, "1.0")
        proxy.clear()
        puller_of(tmp_path, origin, {"url": f"http://{proxy.address}/cache"}).pull()
        assert trail(origin) == []
        assert {one.path.partition("/demo/")[0] for one in proxy.requests} == {"/v2/cache"}


def test_when_all_fail_the_error_is_the_registrys(tmp_path):
    with serving(FOUR, faults=[broken(status=403)]) as origin:
        with serving(FOUR, faults=[broken(status=500)]) as mirror:
            error = puller_of(tmp_path, origin, mirror).fails()
        assert error.kind == "denied"
        assert origin.address in str(error)


# -- which host gets which secret


def headers_of(registry):
    return {one.headers.get("authorization", "") for one in registry.requests}


@pytest.mark.parametrize("auth", ["basic", "bearer"])
def test_a_mirror_gets_the_login_of_its_own_entry(tmp_path, auth):
    """R092"""
    users = {OWN.username: OWN.password}
    with serving(FOUR, auth=auth, users=USERS) as origin:
        with serving(FOUR, auth=auth, users=users) as mirror:
            login = {"username": OWN.username, "password": OWN.password}
            given = {"url": f"http://{mirror.address}", **login}
            puller = puller_of(tmp_path, origin, given, login=LOGIN)
            puller.logins["the entry's"] = OWN
            puller.pull()
            assert trail(origin) == []
            if auth == "bearer":
                assert {one.user for one in mirror.token_requests} == {OWN.username}


@pytest.mark.parametrize("auth", ["basic", "bearer"])
def test_a_mirror_gets_the_login_that_is_stored_for_its_host(tmp_path, auth):
    """R092"""
    with serving(FOUR, auth=auth, users=USERS) as origin:
        with serving(FOUR, auth=auth, users={OWN.username: OWN.password}) as mirror:
            logins = {mirror.address: OWN}
            puller_of(tmp_path, origin, mirror, login=LOGIN, logins=logins).pull()
            assert trail(origin) == []


@pytest.mark.parametrize("auth", ["basic", "bearer"])
def test_a_mirror_never_gets_the_login_of_the_task(tmp_path, auth):
    """R092: the real module, whose login would fit."""
    with serving(FOUR, auth=auth, users=USERS) as origin:
        with serving(FOUR, auth=auth, users=USERS) as mirror:
            outcome = modules.run(
                "image_pull",
                name=[f"{origin.address}/{REPOSITORY}:1.0"],
                store=str(tmp_path / "store"),
                platform=["linux/amd64"],
                username=USER,
                password=PASSWORD,
                registries=[
                    {"registry": origin.address, "mirrors": [{"url": f"http://{mirror.address}"}]}
                ],
            )
            assert not outcome.failed, outcome.result
            assert {one.user for one in mirror.token_requests} <= {None, ""}
            assert headers_of(mirror) == {""}
            assert sorted(set(trail(mirror)) - {"GET token"}) == ["GET tag"]
            assert mirror.address in str(outcome.result["stats"]["mirrors"])
            told_once = f"mirror {mirror.address} is skipped"
            assert str(outcome.result["warnings"]).count(told_once) == 1
            assert PASSWORD not in outcome.stdout + outcome.stderr


@pytest.mark.parametrize("auth", ["basic", "bearer"])
def test_two_registries_with_the_same_repository_get_each_its_own_login(tmp_path, auth):
    """R095: at the same time, and as mirrors of one another."""
    with serving(FOUR, auth=auth, users=USERS) as one:
        with serving(image(LAYERS[:1]), auth=auth, users={OWN.username: OWN.password}) as two:
            puller = Puller(tmp_path, one, two, login=LOGIN, logins={two.address: OWN})
            names = [f"{registry.address}/{REPOSITORY}:1.0" for registry in (one, two)]
            puller.pull(*names, workers=6)
            assert not headers_of(one) & headers_of(two) - {""}
            for registry, user in ((one, USER), (two, OWN.username)):
                assert {request.user for request in registry.token_requests} <= {user}


# -- hosts.toml


@pytest.fixture(name="hosts_toml")
def fixture_hosts_toml(tmp_path):
    """Writes containerd's file for a registry, and gives what a puller takes."""

    def write(registry, *lines):
        pytest.importorskip("tomllib" if modules.sys.version_info >= (3, 11) else "tomli")
        directory = registry.address.replace(":", "_") + "_"
        path = tmp_path / "root/etc/containerd/certs.d" / directory / "hosts.toml"
        path.parent.mkdir(parents=True)
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return HostFiles({}, str(tmp_path / "home"), str(tmp_path / "root"))

    return write


def test_host_of_a_file_gets_the_name_of_the_registry(tmp_path, hosts_toml):
    with serving(FOUR) as origin, serving(FOUR) as mirror:
        mirror.remove(REPOSITORY, LAYERS[0].digest)
        files = hosts_toml(origin, f'[host."http://{mirror.address}"]')
        plan = Puller(tmp_path, origin, files=files).pull()
        assert {one.query for one in mirror.requests} == {f"ns={origin.address}"}
        assert {one.query for one in origin.requests} == {""}
        assert spans(origin, LAYERS[0].digest) == [None]
        assert list(served(plan)) == [mirror.address]


def test_a_header_of_a_file_is_for_its_host_alone(tmp_path, hosts_toml):
    """R053: neither for where that host sends us, nor for the registry."""
    with serving(FOUR) as origin, serving(FOUR) as mirror, Registry() as bucket:
        bucket.files["/bucket/x"] = LAYERS[0].blob
        mirror.faults.append(broken(LAYERS[0].digest, redirect=f"{bucket.url}/bucket/x"))
        mirror.remove(REPOSITORY, LAYERS[1].digest)
        files = hosts_toml(
            origin,
            f'[host."http://{mirror.address}"]',
            f'[host."http://{mirror.address}".header]',
            'X-Secret = ["hunter22"]',
        )
        Puller(tmp_path, origin, files=files).pull()
        assert {one.headers.get("x-secret") for one in mirror.requests} == {"hunter22"}
        for other in (origin, bucket):
            assert len(other.requests) == 1
            assert "x-secret" not in other.requests[0].headers


def test_header_of_a_file_is_not_shown_even_if_its_host_repeats_it(tmp_path, hosts_toml):
    said = {"errors": [{"code": "DENIED", "message": "bad key hunter22"}]}
    with serving(FOUR) as origin, serving(FOUR) as mirror:
        mirror.faults.append(broken(status=403, body=said))
        files = hosts_toml(
            origin,
            f'[host."http://{mirror.address}"]',
            f'[host."http://{mirror.address}".header]',
            'Authorization = "Bearer hunter22"',
        )
        plan = Puller(tmp_path, origin, files=files).pull()
        assert "bad key ***" in str(plan.warnings())


@needs_certificates
def test_a_client_certificate_of_a_file_is_for_its_host_alone(tmp_path, hosts_toml, monkeypatch):
    """R053: a target that wants one gets none, so the layer comes from the registry."""
    authority, shown = certificates.authority().certificate, certificates.client()
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(authority))
    wants = certificates.server().server_context(client_ca=authority)
    with contextlib.ExitStack() as stack:
        origin = stack.enter_context(serving(FOUR))
        mirror = stack.enter_context(serving(FOUR, tls=wants))
        bucket = stack.enter_context(Registry(tls=wants))
        bucket.files["/bucket/x"] = LAYERS[0].blob
        mirror.faults.append(broken(LAYERS[0].digest, redirect=f"{bucket.url}/bucket/x"))
        files = hosts_toml(
            origin,
            f'[host."https://{mirror.address}"]',
            f'ca = "{authority}"',
            f'client = [["{shown.certificate}", "{shown.key}"]]',
        )
        plan = Puller(tmp_path, origin, files=files).pull(workers=1)
        assert "GET manifest" in trail(mirror)
        assert bucket.requests == []
        assert spans(origin, LAYERS[0].digest) == [None]
        assert len(told(plan, mirror)) == 1


def test_a_mirror_that_breaks_off_while_all_layers_come_is_replaced_in_each(tmp_path, monkeypatch):
    """R013, R091: in pieces, over several connections."""
    cut_always(monkeypatch)
    cuts = [Fault(path=ALL, truncate_at=5000, times=8), broken(ALL, truncate_at=0)]
    with serving(FOUR) as origin, serving(FOUR, faults=cuts) as mirror:
        plan = puller_of(tmp_path, origin, mirror).pull(workers=4, pieces=ChunkPolicy(8192, 4))
        came = sum(sent(one, each.digest) for one in (origin, mirror) for each in LAYERS)
        assert came == sum(len(one.blob) for one in LAYERS)
        assert len(told(plan, mirror)) == 1


BREAKS = [{"truncate_at": 0}, {"truncate_at": 5000}, {"reset_at": 6000}, {"chunked_cut_at": 9000}]
BREAKS += [{"corrupt": 0}, {"corrupt": -1}, {"replace": b""}, {"ignore_range": True}]
BREAKS += [{"status": 404}, {"extend": b"x", "content_length": None}, {"close_after": True}]


@pytest.mark.parametrize("seed", range(40))
def test_registry_repairs_every_fault_of_mirrors(tmp_path, monkeypatch, seed):
    """As long as it is right itself, no mirror makes a pull fail."""
    cut_always(monkeypatch)
    rng = random.Random(seed)

    def any_fault():
        how = rng.choice([*FAILURES.values(), *BREAKS, *BREAKS])
        path = rng.choice(["/blobs/", "/manifests/", ALL, LAYERS[0].digest, FOUR.config_digest])
        method = rng.choice(["GET", "HEAD|GET"])
        times = rng.choice([1, 2, 5, None, None])
        return Fault(method=method, path=path, skip=rng.randint(0, 4), times=times, **how)

    with contextlib.ExitStack() as stack:
        mirrors = []
        for _number in range(rng.randint(1, 3)):
            faults = [any_fault() for _fault in range(rng.randint(0, 3))]
            mirrors.append(stack.enter_context(serving(FOUR, faults=faults)))
        origin = stack.enter_context(serving(FOUR))
        puller = puller_of(tmp_path, origin, *mirrors, retries=rng.randint(0, 2))
        pieces = ChunkPolicy(rng.choice([4096, 8192]), rng.randint(1, 4))
        assert puller.attempt(workers=rng.randint(1, 4), pieces=pieces) is None
        assert all(puller.holds(digest) for digest, _raw in FOUR.blobs())
