# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The context as an engine gets it."""

from __future__ import annotations

import io
import os
import tarfile

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._build.context import Context
from ansible_collections.lockstep.images.plugins.module_utils._build.copies import (
    context_archive,
    context_digest,
    copy_context,
)

FILES = {"a": b"A", "sub/inner/b": b"B", "sub/c": b"C"}
MADE = {
    "a": (0o644, b"A"), "link": (0o777, b"a"), "sub": (0o755, b""), "sub/inner": (0o755, b""),
    "sub/inner/b": (0o755, b"B"),
}  # fmt: skip


@pytest.fixture(name="directory")
def fixture_directory(tmp_path):
    directory = tmp_path / "context"
    for name, data in FILES.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        os.chmod(path, 0o700 if name.endswith("b") else 0o600)
    (directory / "link").symlink_to("a")
    return directory


def opened(directory, rules):
    (directory / ".dockerignore").write_text(rules)
    context = Context(str(directory))
    context.use_ignore_file(b"Dockerfile")
    return context


def members(context, name=b".own", text="FROM scratch\n"):
    data = b"".join(context_archive(context, name, text, 7))
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        found = archive.getmembers()
        assert {one.mtime for one in found} == {7}
        assert [one.name for one in found] == list({one.name: 1 for one in found})
        return {
            one.name: (one.mode, archive.extractfile(one).read() if one.isfile() else one.linkname.encode())
            for one in found
        }


def test_archive_and_copy_have_the_files_that_are_not_left_out(directory, tmp_path):
    context = opened(directory, "sub\n!sub/inner\n.dockerignore\n")
    found = members(context)
    assert found.pop(".own") == (0o644, b"FROM scratch\n")
    assert found.pop(".dockerignore") == (0o644, b".dockerignore\n.own\n")
    assert found == MADE
    target = tmp_path / "copy"
    target.mkdir()
    copy_context(context, str(target), 7)
    listed = {str(path.relative_to(target)): path for path in target.rglob("*")}
    assert {name: path.lstat().st_mode & 0o777 for name, path in listed.items()} == {
        name: mode for name, (mode, _data) in MADE.items()
    }
    assert {path.lstat().st_mtime for path in listed.values()} == {7}
    context.close()


def test_rules_of_the_context_come_first_in_its_archive(directory):
    context = opened(directory, "sub")
    found = members(context)
    assert found[".dockerignore"] == (0o644, b"sub\n.own\n")
    assert list(found) == [".own", ".dockerignore", "a", "link"]
    context.close()


def test_archive_without_a_context_has_only_the_dockerfile():
    assert sorted(members(None)) == [".dockerignore", ".own"]


def test_digest_depends_on_paths_contents_and_modes(directory):
    context = opened(directory, "sub")
    digests = {context_digest(context)}
    os.utime(directory / "a", (9, 9))
    digests.add(context_digest(context))
    assert len(digests) == 1
    os.chmod(directory / "a", 0o700)
    digests.add(context_digest(context))
    (directory / "sub/new").write_text("left out")
    digests.add(context_digest(context))
    assert len(digests) == 2
    context.close()
