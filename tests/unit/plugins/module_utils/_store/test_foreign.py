# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files that do not belong to a store."""

from __future__ import annotations

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._store.foreign import foreign
from ansible_collections.lockstep.images.plugins.module_utils._store.inventory import contents
from ansible_collections.lockstep.images.plugins.module_utils._store.store import ImageStore
from ansible_collections.lockstep.images.tests.support.images import demo_image
from ansible_collections.lockstep.images.tests.support.stores import digests, put

FAMILY = demo_image("app", "1", layers=1, size=100)


@pytest.fixture(name="path")
def fixture_path(tmp_path):
    put(tmp_path / "store", FAMILY, "registry.example/app:1")
    return tmp_path / "store"


@pytest.fixture(name="store")
def fixture_store(path):
    return ImageStore(str(path))


def test_missing_store_has_no_foreign_files(tmp_path):
    assert foreign(ImageStore(str(tmp_path / "missing"))) == []


def test_file_name_that_is_not_a_digest_is_foreign(path, store):
    """S024"""
    strangers = [".DS_Store", "blobs/x", "blobs/sha256/oci-put-blob1", "blobs/sha256/" + "A" * 64]
    strangers += ["ingest", "blobs/sha256/" + "a" * 63, "manifest.json"]
    for name in strangers:
        (path / name).write_bytes(b"x")
    (path / "lost+found").mkdir()
    (path / ".staging").mkdir()
    (path / ".staging" / "anything").write_bytes(b"x")
    assert foreign(store) == sorted(strangers)
    assert set(map(str, contents(store))) == digests(FAMILY)
