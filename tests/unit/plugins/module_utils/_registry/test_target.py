# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The requests of a push: what may be mounted, which URL comes next, and what refusals mean."""

from __future__ import annotations

import threading

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._image.errors import (
    AuthenticationError,
    ContentError,
    NotFoundError,
    ProtocolError,
    RegistryError,
)
from ansible_collections.lockstep.images.plugins.module_utils._image.names import Digest
from ansible_collections.lockstep.images.plugins.module_utils._registry.errors import (
    PushRefusedError,
    TooLargeError,
)
from ansible_collections.lockstep.images.plugins.module_utils._registry.target import (
    Uploads,
    is_manifest,
)
from ansible_collections.lockstep.images.tests.support.fakes import blob
from ansible_collections.lockstep.images.tests.support.faults import Fault
from ansible_collections.lockstep.images.tests.support.images import demo_image, push
from ansible_collections.lockstep.images.tests.support.pushing import Sender
from ansible_collections.lockstep.images.tests.support.registry import Registry

DATA = b"twelve bytes"
BLOB = blob(DATA)
ONE, TWO = (Digest.of(text) for text in (b"one", b"two"))
HERE, THERE = "registry.example", "other.example"
IMAGE = demo_image("app", "1", layers=1, size=60).for_platform("linux/amd64")


@pytest.fixture(name="registry")
def fixture_registry():
    """An empty one, which fails the test on an internal error."""
    with Registry() as registry:
        yield registry
    assert registry.errors == []


@pytest.fixture(name="target")
def fixture_target(tmp_path, registry):
    return Sender(tmp_path, registry).sink


# -- Uploads


def test_blob_is_mounted_from_the_first_other_repository_of_the_registry():
    uploads = Uploads()
    for repository in ("z", "b", "target"):
        uploads.add(HERE, repository, [ONE])
    assert uploads.mount_source(HERE, ONE, "target") == "b"
    assert uploads.mount_source(HERE, ONE, "b") == "target"


@pytest.mark.parametrize(
    ("registry", "digest", "target"),
    [(THERE, ONE, "target"), (HERE, TWO, "target"), (HERE, ONE, "app")],
)
def test_blob_that_no_other_repository_has_is_not_mounted(registry, digest, target):
    uploads = Uploads()
    uploads.add(HERE, "app", [ONE])
    assert uploads.mount_source(registry, digest, target) == ""


def test_content_has_one_lock_in_each_registry():
    uploads = Uploads()
    lock = uploads.upload_lock(HERE, ONE)
    assert uploads.upload_lock(HERE, ONE) is lock
    assert uploads.upload_lock(THERE, ONE) is not lock
    assert uploads.upload_lock(HERE, TWO) is not lock


def test_threads_that_lock_the_same_content_in_another_order_do_not_block_each_other():
    uploads, both, done = Uploads(), threading.Barrier(2), []

    def run(digests):
        both.wait(10)
        for _turn in range(50):
            with uploads.upload_locks(HERE, digests):
                done.append(digests)

    threads = [
        threading.Thread(target=run, args=(order,), daemon=True)
        for order in ([ONE, TWO, ONE], [TWO, ONE])
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len(done) == 100


def test_locks_are_released_after_an_error():
    uploads = Uploads()
    with pytest.raises(RuntimeError), uploads.upload_locks(HERE, [ONE, TWO]):
        raise RuntimeError
    assert not uploads.upload_lock(HERE, ONE).locked()
    assert not uploads.upload_lock(HERE, TWO).locked()


def test_sent_bytes_and_mounts_are_summed():
    uploads = Uploads()
    uploads.count(sent=5)
    uploads.count(sent=7, mounted=1)
    assert uploads.stats() == {"bytes_sent": 12, "blobs_mounted": 1}


# -- PushTarget


def test_existing_content_is_found_in_its_size(registry, target):
    push(registry, "demo/app", IMAGE, "1")
    layer = IMAGE.layers[0]
    there = blob(layer.blob)
    assert target.exists(there)
    assert not target.exists(type(there)(there.media_type, there.digest, there.size + 1))
    assert not target.exists(BLOB)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 500])
def test_content_that_a_registry_does_not_show_counts_as_missing(registry, target, status):
    """The answer to the write decides."""
    registry.faults.append(Fault(method="HEAD", path="/blobs/", status=status))
    assert target.exists(BLOB) is False


def test_login_page_of_a_proxy_counts_as_missing(registry, target):
    push(registry, "demo/app", IMAGE, "1")
    registry.faults.append(
        Fault(method="HEAD", path="/blobs/", set_headers={"Content-Type": "text/html"})
    )
    assert not target.exists(blob(IMAGE.layers[0].blob))


@pytest.mark.parametrize(
    ("status", "error", "text"),
    [
        (413, TooLargeError, "refuses 12 B as too large"),
        (405, PushRefusedError, "accepts no pushes"),
        (403, RegistryError, "demo/app"),
        (500, RegistryError, "demo/app"),
    ],
)
def test_refused_upload_is_an_error_that_names_the_target(registry, target, status, error, text):
    registry.faults.append(Fault(method="POST", path="/blobs/uploads/", status=status))
    response = target.request("POST", "blobs/uploads/")
    with pytest.raises(error, match=text) as caught:
        target.fail(response, str(target), len(DATA))
    assert caught.value.hint


@pytest.mark.parametrize(
    ("location", "text"),
    [
        ("https://evil.example/upload", "is on another host, https://evil.example/upload"),
        ("", "is missing"),
    ],
)
def test_upload_that_continues_elsewhere_or_nowhere_is_an_error(registry, target, location, text):
    registry.faults.append(
        Fault(method="POST", path="/blobs/uploads/", set_headers={"Location": location})
    )
    with pytest.raises(ProtocolError, match=text):
        target.start_upload()


def test_registry_that_stores_content_under_another_digest_is_an_error(registry, target):
    stated = {"Docker-Content-Digest": str(ONE)}
    registry.faults.append(Fault(method="GET", path="/v2/", set_headers=stated))
    response = target.repository.registry.request("GET", "", "demo/app")
    with pytest.raises(ProtocolError, match=f"under another digest than {TWO}"):
        target.require_digest(response, TWO, "the blob")


@pytest.mark.parametrize("stated", [str(TWO), "", "sha512:abc"])
def test_digest_that_is_equal_missing_or_in_another_algorithm_is_accepted(registry, target, stated):
    registry.faults.append(
        Fault(method="GET", path="/v2/", set_headers={"Docker-Content-Digest": stated})
    )
    response = target.repository.registry.request("GET", "", "demo/app")
    target.require_digest(response, TWO, "the blob")
    response.close()


@pytest.mark.parametrize("status", [400, 403, 404, 500])
def test_error_that_may_mean_missing_content_is_passed_over(target, status):
    target.pass_over(RegistryError("look", status=status))


@pytest.mark.parametrize("status", [408, 429, 502, 503, 504])
def test_error_that_a_push_would_meet_too_is_raised(target, status):
    with pytest.raises(RegistryError, match="look"):
        target.pass_over(RegistryError("look", status=status))


def test_refused_look_is_passed_over_if_the_registry_accepts_the_login_and_asks_once(
    registry, target
):
    for _look in range(3):
        target.pass_over(AuthenticationError("look", status=401))
    assert len(registry.requests) == 1


def test_error_of_another_kind_is_passed_over(target):
    target.pass_over(NotFoundError("look"))
    target.pass_over(ContentError("look"))


def test_manifests_and_blobs_are_known_by_their_media_type():
    assert is_manifest(blob(b"{}", "application/vnd.oci.image.manifest.v1+json"))
    assert is_manifest(blob(b"{}", "application/vnd.oci.image.index.v1+json"))
    assert not is_manifest(BLOB)
