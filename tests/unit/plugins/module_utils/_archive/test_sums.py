# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The list of the files of an archive."""

from __future__ import annotations

import subprocess

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._archive.errors import ArchiveError
from ansible_collections.lockstep.images.plugins.module_utils._archive.sums import Sums, digests_in
from ansible_collections.lockstep.images.plugins.module_utils._image.names import Digest

ONE, TWO = "1" * 64, "2" * 64


def test_list_is_read_as_it_was_written():
    sums = Sums({"a.tar.000": ONE, "a.tar.001": TWO}, f"sha256:{ONE}", (f"sha256:{TWO}",))
    assert Sums.parse(sums.render(), "a") == sums


def test_list_is_read_by_sha256sum(tmp_path):
    (tmp_path / "a.tar").write_bytes(b"x")
    sums = Sums({"a.tar": Digest.of(b"x").encoded}, f"sha256:{ONE}", (f"sha256:{TWO}",))
    (tmp_path / "a.tar.sha256").write_bytes(sums.render())
    command = ["sha256sum", "--strict", "--check", "a.tar.sha256"]
    answer = subprocess.run(command, cwd=tmp_path, capture_output=True, check=False)
    assert (answer.returncode, answer.stderr) == (0, b"")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "lists no file"),
        ("# comment\n", "lists no file"),
        (f"{ONE} a.tar\n", "line 1 is not a sum"),
        (f"{ONE}  ../a.tar\n", "line 1 is not a sum"),
        (f"{ONE}  /etc/passwd\n", "line 1 is not a sum"),
        (f"{ONE[:63]}  a.tar\n", "line 1 is not a sum"),
        (f"{ONE[:63]}G  a.tar\n", "line 1 is not a sum"),
        (f"{ONE}  a.tar\n{TWO}  a.tar\n", "line 2 names a file twice"),
        ("\udcff", "line 1 is not a sum"),
    ],
)
def test_malformed_list_is_refused(text, reason):
    with pytest.raises(ArchiveError, match=f"a.sha256: {reason}"):
        Sums.parse(text.encode("utf-8", "surrogateescape"), "a.sha256")


def test_digests_are_found_in_text():
    text = f"# holds sha256:{ONE}\n{TWO}  a.tar\nsha512:{ONE}{TWO} sha256:{ONE[:10]}"
    assert digests_in(text) == {Digest("sha256", ONE), Digest("sha512", ONE + TWO)}
