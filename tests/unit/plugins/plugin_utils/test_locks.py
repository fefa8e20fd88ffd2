# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A lock file is parsed once in a run, and again after every change."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from ansible import constants
from ansible_collections.lockstep.images.plugins.module_utils._image import errors
from ansible_collections.lockstep.images.plugins.module_utils._image.lock import (
    LockedImage,
    LockedPlatform,
)
from ansible_collections.lockstep.images.plugins.module_utils._image.names import Digest
from ansible_collections.lockstep.images.plugins.module_utils._lockfile.lockfile import render_lock
from ansible_collections.lockstep.images.plugins.plugin_utils import _locks
from ansible_collections.lockstep.images.tests.support.images import image, layer

ONE = image([layer({"one": b"1" * 99})])


def text_of(*names):
    platform = LockedPlatform(Digest.parse(ONE.digest), Digest.parse(ONE.config_digest), ONE.size)
    digest, media_type = Digest.parse(ONE.digest), ONE.media_type
    images = [LockedImage(name, digest, media_type, {"linux/amd64": platform}) for name in names]
    return render_lock(images).decode()


@pytest.fixture(name="parsed")
def fixture_parsed(tmp_path, monkeypatch):
    """Keep in a directory of the test; return the paths that were parsed, in order."""
    monkeypatch.setattr(constants, "DEFAULT_LOCAL_TMP", str(tmp_path / "kept"))
    (tmp_path / "kept").mkdir()
    paths = []
    read = _locks.read_lock
    monkeypatch.setattr(
        _locks, "read_lock", lambda path, place: paths.append(path) or read(path, place)
    )
    return paths


def names(value):
    return [one["name"] for one in value["images"]]


def test_second_host_gets_the_same_value_without_parsing(tmp_path, parsed):
    path = tmp_path / "images.lock.yml"
    path.write_text(text_of("docker.io/library/a:1"))
    first = _locks.read_lock_once(str(path), "images.lock.yml")
    assert _locks.read_lock_once(str(path), "images.lock.yml") == first
    assert parsed == [str(path)]
    other = _locks.read_lock_once(str(path), "other/images.lock.yml")
    assert other["file"] == "other/images.lock.yml", "errors name the file as it was given"


def test_hosts_that_come_at_the_same_time_wait_for_the_first(tmp_path, parsed, monkeypatch):
    path = tmp_path / "images.lock.yml"
    path.write_text(text_of("docker.io/library/a:1"))
    read = _locks.read_lock
    monkeypatch.setattr(_locks, "read_lock", lambda *args: time.sleep(0.3) or read(*args))
    with ThreadPoolExecutor(4) as hosts:
        values = list(hosts.map(lambda _n: _locks.read_lock_once(str(path), "lock"), range(4)))
    assert parsed == [str(path)]
    assert values == [values[0]] * 4


def test_file_that_changes_is_parsed_again(tmp_path, parsed):
    path = tmp_path / "images.lock.yml"
    path.write_text(text_of("docker.io/library/a:1"))
    _locks.read_lock_once(str(path), "lock")
    new = tmp_path / "new"
    new.write_text(text_of("docker.io/library/b:1"))
    new.replace(path)
    assert names(_locks.read_lock_once(str(path), "lock")) == ["docker.io/library/b:1"]
    path.write_text("{")
    with pytest.raises(errors.LockError):
        _locks.read_lock_once(str(path), "lock")
    path.unlink()
    assert _locks.read_lock_once(str(path), "lock") is None
    assert len(parsed) == 4


def test_manifest_that_changes_is_compared_again(tmp_path, parsed):
    path = tmp_path / "images.lock.yml"
    path.write_text(text_of("docker.io/library/a:1"))
    directory = tmp_path / "images.lock.d"
    directory.mkdir()
    manifest = directory / ONE.digest.partition(":")[2]
    manifest.write_bytes(ONE.raw)
    value = _locks.read_lock_once(str(path), "lock")
    assert value["manifests"] == {ONE.digest: ONE.raw.decode()}
    assert _locks.read_lock_once(str(path), "lock") == value
    manifest.write_bytes(ONE.raw[:-1] + b" ")
    with pytest.raises(errors.LockError, match="does not match its name"):
        _locks.read_lock_once(str(path), "lock")
    assert len(parsed) == 2


@pytest.mark.parametrize("kept", ["{", ""])
def test_unusable_copy_is_ignored(tmp_path, parsed, kept):
    path = tmp_path / "images.lock.yml"
    path.write_text(text_of("docker.io/library/a:1"))
    first = _locks.read_lock_once(str(path), "lock")
    (copy,) = (tmp_path / "kept").glob("*.json")
    copy.write_text(kept)
    assert _locks.read_lock_once(str(path), "lock") == first
    assert len(parsed) == 2


def test_directory_that_cannot_be_written_costs_only_time(tmp_path, parsed, monkeypatch):
    monkeypatch.setattr(constants, "DEFAULT_LOCAL_TMP", str(tmp_path / "missing"))
    path = tmp_path / "images.lock.yml"
    path.write_text(text_of("docker.io/library/a:1"))
    for _host in range(2):
        assert names(_locks.read_lock_once(str(path), "lock")) == ["docker.io/library/a:1"]
    assert len(parsed) == 2
