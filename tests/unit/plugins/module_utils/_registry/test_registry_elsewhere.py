# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Answers from elsewhere: an object store that refuses is asked by another redirect once, and is blamed itself."""

from __future__ import annotations

import contextlib

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._image.copy_blob import read_content
from ansible_collections.lockstep.images.plugins.module_utils._image.errors import NotFoundError
from ansible_collections.lockstep.images.plugins.module_utils._image.manifest import Descriptor
from ansible_collections.lockstep.images.plugins.module_utils._image.names import Digest
from ansible_collections.lockstep.images.plugins.module_utils._registry.registries import (
    ForeignLayer,
)
from ansible_collections.lockstep.images.tests.support.faults import Fault
from ansible_collections.lockstep.images.tests.support.pulling import (
    BLOB,
    CONFIG,
    IMAGE,
    LAYER,
    LOGIN,
    PASSWORD,
    PLAIN,
    SIGNATURE,
    USERS,
    FakeClock,
    Puller,
    http_client,
    serving,
    trail,
)
from ansible_collections.lockstep.images.tests.support.registry import Registry

REFUSALS = [400, 401, 402, 403, 404, 405, 410, 416, 451]
EXPIRED = (
    b'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>ExpiredToken</Code><Message>The provided'
    b" token has expired.</Message><Token-0>5ec7e75ec7e7</Token-0></Error>"
)


@contextlib.contextmanager
def stored(path=f"/blobs/{LAYER}", content=BLOB, **options):
    """A registry that signs a URL of an object store, another one each time."""
    numbers = iter(range(1000))
    with serving(**options) as registry, Registry() as bucket:
        bucket.files["/bucket/x"] = content

        def sign(_target):
            return f"{bucket.url}/bucket/x?number={next(numbers)}&{SIGNATURE}"

        registry.faults.append(Fault(method="HEAD|GET", path=path, redirect=sign, times=None))
        yield registry, bucket


def refusing(status, **more):
    return Fault(method=".*", path="^/bucket/", status=status, **more)


@pytest.mark.parametrize("status", REFUSALS)
def test_F07_a_store_that_refuses_is_asked_once_more_by_another_redirect(tmp_path, status):
    """S3 says 400 where a token of its own has expired."""
    with stored(auth="bearer", users=USERS) as (registry, bucket):
        bucket.faults.append(refusing(status))
        puller = Puller(tmp_path, registry, login=LOGIN)
        plan = puller.pull()
        assert [one.query.partition("&")[0] for one in bucket.requests] == ["number=0", "number=1"]
        assert puller.clock.slept == []
        assert puller.sources.stats()["retries"] == 1
        assert plan.warnings() == []


KINDS = {401: "authentication-failed", 403: "denied", 404: "not-found"}


@pytest.mark.parametrize("status", REFUSALS)
def test_F07_a_store_that_refuses_twice_is_named_in_the_error(tmp_path, status):
    with stored() as (registry, bucket):
        bucket.faults.append(refusing(status, body=EXPIRED, times=None))
        puller = Puller(tmp_path, registry)
        error = puller.fails()
        assert error.kind == KINDS.get(status, "registry-error")
        assert f"{bucket.url}/bucket/x, to which {registry.address} redirects" in str(error)
        assert "(ExpiredToken)" in str(error)
        assert f"{registry.address}/demo/app@{LAYER}" in str(error)
        assert f"{registry.address} answered" not in str(error)
        assert error.hint.startswith(f"Ask the operator of {registry.address}")
        assert len(bucket.requests) == 2
        assert puller.clock.slept == []


@pytest.mark.parametrize("status", [500, 503, 429])
def test_F07_a_store_that_is_busy_is_named_too(tmp_path, status):
    with stored() as (registry, bucket):
        bucket.faults.append(refusing(status, times=None))
        error = Puller(tmp_path, registry).fails()
        assert f"{bucket.url}/bucket/x, to which {registry.address} redirects" in str(error)
        assert len(bucket.requests) == 3
        assert trail(registry) == PLAIN


@pytest.mark.parametrize("method", ["HEAD", "GET"])
def test_F07_registry_is_asked_again_for_a_manifest_on_another_host_too(tmp_path, method):
    with stored("/manifests/", IMAGE.raw) as (registry, bucket):
        bucket.faults.append(Fault(method=method, path="^/bucket/", status=400))
        puller = Puller(tmp_path, registry)
        puller.pull()
        assert trail(registry).count(f"{method} tag") == 2


@pytest.mark.parametrize("status", [400, 403, 404, 410, 416])
def test_F07_the_registry_itself_is_not_asked_twice(tmp_path, status):
    fault = Fault(path=f"/blobs/{LAYER}", status=status, times=None)
    with serving(faults=[fault]) as registry:
        error = Puller(tmp_path, registry).fails()
        assert "redirects" not in str(error)
        assert trail(registry) == PLAIN


def test_F07_a_url_that_expires_while_a_layer_comes_is_replaced(tmp_path):
    with stored() as (registry, bucket):
        bucket.faults.append(Fault(path="^/bucket/", truncate_at=9000))
        bucket.faults.append(refusing(400))
        Puller(tmp_path, registry).pull()
        assert [one.status for one in bucket.requests] == [200, 400, 206]


WORDS = {
    "s3": (EXPIRED, "(ExpiredToken)"),
    "azure": (
        b"\xef\xbb\xbf<?xml version='1.0'?><Error><Code>AuthenticationFailed</Code></Error>",
        "(AuthenticationFailed)",
    ),
    "a-code-that-is-none": (b"<Error><Code>5ec7e75ec7e7</Code></Error>", ""),
    "no-store": (f"<html>{SIGNATURE}</html>".encode(), ""),
    "words-of-a-registry": (b'{"errors":[{"code":"DENIED","message":"5ec7e75ec7e7"}]}', ""),
}


@pytest.mark.parametrize(("body", "words"), WORDS.values(), ids=WORDS)
def test_F07_a_store_says_why_but_repeats_no_signature(tmp_path, body, words):
    with stored() as (registry, bucket):
        bucket.faults.append(refusing(403, body=body, times=None))
        text = str(Puller(tmp_path, registry).fails())
        assert text.endswith(f"redirects{' ' if words else ''}{words}")
        assert "5ec7e7" not in text


def test_F07_a_place_without_a_signature_may_say_more(tmp_path):
    said = {"errors": [{"code": "DENIED", "message": f"not for you {PASSWORD}"}]}
    with serving(auth="basic", users=USERS) as registry, Registry() as other:
        other.faults.append(Fault(path="/v2/", status=403, body=said, times=None))
        where = f"{other.url}/v2/demo/app/blobs/{LAYER}"
        registry.faults.append(Fault(path=f"/blobs/{LAYER}", redirect=where, times=None))
        error = Puller(tmp_path, registry, login=LOGIN).fails()
        assert str(error).endswith("redirects (DENIED: not for you ***)")


def test_F07_other_bytes_than_a_range_are_blamed_on_who_sent_them(tmp_path):
    with stored() as (registry, bucket):
        bucket.faults.append(refusing(206, body=b"x", times=None))
        error = Puller(tmp_path, registry).fails()
        assert f"answered at {bucket.url}/bucket/x, to which" in str(error)


CUT = {"content_length": None, "truncate_at": 100}
WRONG = {
    "corrupt-layer": (LAYER, BLOB, {"corrupt": 5}, "digest-mismatch", "; received from {}"),
    "corrupt-config": (CONFIG, IMAGE.config, {"corrupt": 5}, "digest-mismatch", "; received from {}"),
    "short-layer": (LAYER, BLOB, CUT, "truncated", " bytes from {}"),
}  # fmt: skip


@pytest.mark.parametrize(("path", "content", "how", "kind", "says"), WRONG.values(), ids=WRONG)
def test_F07_wrong_bytes_are_blamed_on_who_gave_them(tmp_path, path, content, how, kind, says):
    with stored(f"/blobs/{path}", content) as (registry, bucket):
        bucket.faults.append(Fault(path="^/bucket/", times=None, **how))
        error = Puller(tmp_path, registry).fails()
        assert error.kind == kind
        place = f"{bucket.url}/bucket/x, to which {registry.address} redirects"
        assert says.format(place) in str(error)


@pytest.mark.parametrize("is_elsewhere", [True, False])
def test_F07_a_wrong_manifest_is_blamed_on_who_gave_it(tmp_path, is_elsewhere):
    with stored("/manifests/sha256:", IMAGE.raw) as (registry, bucket):
        bucket.faults.append(Fault(path="^/bucket/", corrupt=5, times=None))
        if not is_elsewhere:
            registry.faults[:] = [Fault(path="/manifests/sha256:", corrupt=5, times=None)]
        text = str(Puller(tmp_path, registry).fails())
        assert (f"at {bucket.url}/bucket/x, to which" in text) is is_elsewhere


def test_F07_a_token_server_that_refuses_is_named(tmp_path):
    with serving(auth="bearer", users=USERS) as registry:
        for login, what in ((None, "access is denied"), (LOGIN, "were refused")):
            registry.faults[:] = [Fault(path="^/token", status=403, times=None)]
            error = Puller(tmp_path, registry, login=login).fails()
            assert f"{what} by its token server {registry.url}/token" in str(error)


def test_F07_a_foreign_layer_is_asked_for_once_more_and_blamed_on_who_has_it():
    with Registry() as server, Registry() as bucket:
        bucket.files["/bucket/x"] = BLOB
        server.faults.append(Fault(path="^/x", redirect=f"{bucket.url}/bucket/x", times=None))
        bucket.faults.append(refusing(400))
        urls = (f"{server.url}/x",)
        descriptor = Descriptor("application/x", Digest.of(BLOB), len(BLOB), urls=urls)
        source = ForeignLayer(http_client(FakeClock(), retries=2), descriptor, server.url)
        assert read_content(descriptor, source) == BLOB
        bucket.faults.append(refusing(400, times=None))
        with pytest.raises(NotFoundError, match=f"{bucket.url}/bucket/x answered 400"):
            read_content(descriptor, source)
