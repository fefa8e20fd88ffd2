# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The files of a lock: manifests before the lock file that names them, and nothing else of the user is touched."""

from __future__ import annotations

import os
import stat

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._execution import Pool
from ansible_collections.lockstep.images.plugins.module_utils._image.errors import StoreAccessError
from ansible_collections.lockstep.images.plugins.module_utils._image.names import Digest
from ansible_collections.lockstep.images.plugins.module_utils._lockfile.lockfile import (
    ATTRIBUTES,
    KEEP_BYTES,
)
from ansible_collections.lockstep.images.plugins.module_utils._operations.lockwriting import (
    WriteFile,
    WriteManifest,
    write_lock,
)
from ansible_collections.lockstep.images.tests.support.stores import whole_tree

DATA = b"---\nlockfile_version: 1\n"
ONE, TWO = b'{"one": 1}', b'{"two": 2}'
CARRIED = {Digest.of(raw): raw for raw in (ONE, TWO)}


@pytest.fixture(name="path")
def fixture_path(tmp_path):
    return tmp_path / "images.lock.yml"


@pytest.fixture(name="directory")
def fixture_directory(tmp_path):
    return tmp_path / "images.lock.d"


def planned(path, data=DATA, carried=(), there=None):
    if there is None and path.exists():
        there = path.read_bytes()
    return list(write_lock(str(path), there, data, dict(carried)))


def apply(actions):
    with Pool(1) as pool:
        for action in actions:
            action.apply(pool)


def told(actions, root):
    return [
        (one.summary()["action"], os.path.relpath(one.summary()["path"], root)) for one in actions
    ]


def test_manifests_are_written_before_the_lock_file(path, directory, tmp_path):
    actions = planned(path, carried=CARRIED)
    names = [one.encoded for one in sorted(CARRIED)]
    assert told(actions, tmp_path) == [
        *(("write_file", f"images.lock.d/{name}") for name in names),
        ("write_file", f"images.lock.d/{ATTRIBUTES}"),
        ("write_file", "images.lock.yml"),
    ]
    assert [isinstance(one, WriteManifest) for one in actions] == [True, True, True, False]
    assert list(tmp_path.iterdir()) == []
    apply(actions)
    assert path.read_bytes() == DATA
    assert {name: (directory / name).read_bytes() for name in names} == {
        digest.encoded: raw for digest, raw in CARRIED.items()
    }
    assert (directory / ATTRIBUTES).read_bytes() == KEEP_BYTES


def test_second_plan_is_empty(path, tmp_path):
    apply(planned(path, carried=CARRIED))
    before = whole_tree(tmp_path)
    assert planned(path, carried=CARRIED) == []
    assert whole_tree(tmp_path) == before


def test_line_ends_that_git_converts_change_nothing(path):
    assert planned(path, there=DATA.replace(b"\n", b"\r\n")) == []
    assert len(planned(path, there=DATA + b"#")) == 1


def test_manifest_that_is_no_longer_embedded_is_removed_after_the_lock_file(
    path, directory, tmp_path
):
    apply(planned(path, carried=CARRIED))
    gone = Digest.of(TWO)
    actions = planned(path, DATA + b"# new\n", {Digest.of(ONE): ONE})
    assert told(actions, tmp_path) == [
        ("write_file", "images.lock.yml"),
        ("remove_file", f"images.lock.d/{gone.encoded}"),
    ]
    apply(actions)
    assert sorted(one.name for one in directory.iterdir()) == [
        ATTRIBUTES,
        Digest.of(ONE).encoded,
    ]


def test_last_manifest_takes_the_written_attributes_with_it(path, directory, tmp_path):
    apply(planned(path, carried={Digest.of(ONE): ONE}))
    apply(planned(path))
    assert sorted(one.name for one in directory.glob("*")) == []
    assert path.read_bytes() == DATA


def test_attributes_and_other_files_of_the_user_stay(path, directory):
    directory.mkdir()
    for name in (ATTRIBUTES, "README", "a" * 63):
        (directory / name).write_bytes(b"mine\n")
    apply(planned(path, carried=CARRIED))
    apply(planned(path))
    assert {one.name: one.read_bytes() for one in directory.iterdir()} == dict.fromkeys(
        (ATTRIBUTES, "README", "a" * 63), b"mine\n"
    )


@pytest.mark.parametrize("raw", [b"", ONE + b"\n", b"\xff\xfe"])
def test_manifest_with_other_bytes_is_written_again(path, directory, raw):
    apply(planned(path, carried=CARRIED))
    (directory / Digest.of(ONE).encoded).write_bytes(raw)
    (action,) = planned(path, carried=CARRIED)
    assert action.summary()["path"].endswith(Digest.of(ONE).encoded)
    apply([action])
    assert planned(path, carried=CARRIED) == []


@pytest.mark.parametrize("mode", [0o600, 0o664, 0o444])
def test_replaced_file_keeps_its_mode(path, mode):
    path.write_bytes(b"old")
    path.chmod(mode)
    apply([WriteFile(str(path), DATA)])
    assert (path.read_bytes(), stat.S_IMODE(path.stat().st_mode)) == (DATA, mode)


def test_file_is_written_into_a_directory_that_does_not_exist_yet(tmp_path):
    path = tmp_path / "a" / "b" / "lock.yml"
    apply([WriteFile(str(path), DATA)])
    assert path.read_bytes() == DATA
    assert [one.name for one in path.parent.iterdir()] == ["lock.yml"]


def test_directory_in_the_place_of_the_file_is_an_error_and_leaves_nothing(path):
    path.mkdir()
    with pytest.raises(StoreAccessError, match=str(path)):
        apply([WriteFile(str(path), DATA)])
    assert list(path.parent.iterdir()) == [path]


def test_summary_has_the_size_and_never_the_data(path):
    action = WriteFile(str(path), b"secret")
    assert action.summary() == {"action": "write_file", "path": str(path), "size": 6}
    assert "secret" not in repr(action)
