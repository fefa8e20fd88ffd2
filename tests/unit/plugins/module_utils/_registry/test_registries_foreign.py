# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Layers that are where their manifest says: which URL is asked, and which is believed. Ids name the fault."""

from __future__ import annotations

import gzip

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._image.copy_blob import read_content
from ansible_collections.lockstep.images.plugins.module_utils._image.errors import (
    DigestMismatchError,
    NotFoundError,
)
from ansible_collections.lockstep.images.plugins.module_utils._image.manifest import Descriptor
from ansible_collections.lockstep.images.plugins.module_utils._image.names import Digest
from ansible_collections.lockstep.images.plugins.module_utils._registry.registries import (
    ForeignLayer,
)
from ansible_collections.lockstep.images.tests.support.faults import Fault
from ansible_collections.lockstep.images.tests.support.pulling import (
    FakeClock,
    http_client,
    serving,
)

BLOB = gzip.compress(b"a layer" * 99)
MEDIA_TYPE = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"


@pytest.fixture(name="server")
def fixture_server():
    with serving() as server:
        yield server


def read(server, *paths, **more):
    urls = tuple(f"{server.url}{path}" for path in paths)
    descriptor = Descriptor(MEDIA_TYPE, Digest.of(BLOB), len(BLOB), urls=urls, **more)
    source = ForeignLayer(http_client(FakeClock(), retries=2), descriptor, server.url)
    return read_content(descriptor, source)


def asked(server):
    return [request.path for request in server.requests]


@pytest.mark.parametrize("paths", [("/good",), ("/gone", "/good"), ("/wrong", "/good"), ("/gone", "/wrong", "/good")], ids=str)  # fmt: skip
def test_the_first_url_that_has_it_serves_it(server, paths):
    server.files.update({"/good": BLOB, "/wrong": bytes(len(BLOB))})
    assert read(server, *paths) == BLOB
    assert asked(server).count("/wrong") == paths.count("/wrong")


def test_a_single_url_is_asked_twice_for_other_bytes(server):
    """R009"""
    server.files["/good"] = BLOB
    server.faults.append(Fault(path="/good", corrupt=1))
    assert read(server, "/good") == BLOB


def test_url_that_always_serves_other_bytes_is_reported(server):
    """R009"""
    server.files["/wrong"] = bytes(len(BLOB))
    with pytest.raises(DigestMismatchError):
        read(server, "/wrong")
    assert asked(server) == ["/wrong"] * 2


def test_a_layer_that_is_nowhere_is_an_error_that_names_where_it_was_looked_for(server):
    with pytest.raises(NotFoundError, match="/gone answered 404"):
        read(server, "/gone")
    with pytest.raises(NotFoundError, match="has no URL"):
        read(server)


ENCODED = {
    "R061-encoded": {"content_encoding": "gzip"},
    "R061-declared-only": {"set_headers": {"Content-Encoding": "gzip"}},
    "R061-encoded-without-a-length": {"content_encoding": "gzip", "chunked": True},
    "R061-declared-only-without-a-length": {
        "set_headers": {"Content-Encoding": "gzip"},
        "content_length": None,
    },
}


@pytest.mark.parametrize("how", ENCODED.values(), ids=ENCODED)
def test_an_encoding_is_undone_only_where_there_is_one(server, how):
    server.files["/good"] = BLOB
    server.faults.append(Fault(path="/good", times=None, **how))
    assert read(server, "/good") == BLOB


def test_F06_invalid_url_is_skipped(server):
    server.files["/good"] = BLOB
    urls = ("https://layers.test:99999/a", "https://layers.test\\.example/a", f"{server.url}/good")
    descriptor = Descriptor(MEDIA_TYPE, Digest.of(BLOB), len(BLOB), urls=urls)
    source = ForeignLayer(http_client(FakeClock()), descriptor, server.url)
    assert read_content(descriptor, source) == BLOB
