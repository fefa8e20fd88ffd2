# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lines of roots in fstab; all other lines stay as they are."""

from __future__ import annotations

import os

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._image.errors import InputError
from ansible_collections.lockstep.images.plugins.module_utils._rootfs import fstab

OTHER = "# a comment about /srv/a\nUUID=1 / ext4 defaults 0 1\n\nnone /tmp tmpfs\n"


@pytest.fixture(name="path", autouse=True)
def fixture_path(tmp_path, monkeypatch):
    path = tmp_path / "fstab"
    path.write_text(OTHER)
    os.chmod(path, 0o640)
    monkeypatch.setattr(fstab, "PATH", str(path))
    return path


def line_at(target):
    return fstab.current([target])[target]


def test_lines_are_read_and_written_together(path):
    lines = {f"/srv/{name}": f"x /srv/{name} y" for name in "abc"}
    fstab.change(lines)
    assert path.read_text() == OTHER + "".join(f"{line}\n" for line in lines.values())
    assert fstab.current(list(lines)) == lines
    fstab.change({"/srv/a": None, "/srv/b": "z /srv/b y", "/srv/d": None})
    assert path.read_text() == f"{OTHER}x /srv/c y\nz /srv/b y\n"


def test_line_is_added_found_and_removed(path):
    line = fstab.line_of("/srv/a", "lowerdir=x:y", False)
    assert line_at("/srv/a") is None
    fstab.change({"/srv/a": line})
    assert line_at("/srv/a") == line
    assert path.read_text() == f"{OTHER}{line}\n"
    assert path.stat().st_mode & 0o777 == 0o640
    fstab.change({"/srv/a": None})
    assert path.read_text() == OTHER
    assert os.listdir(path.parent) == ["fstab"]


def test_line_is_replaced(path):
    for options in ("lowerdir=x", "lowerdir=y"):
        fstab.change({"/srv/a": fstab.line_of("/srv/a", options, True)})
    assert path.read_text().count("/srv/a") == 2  # with the comment
    assert "ro,nodev,nofail,lowerdir=y" in line_at("/srv/a")


def test_spaces_are_escaped():
    line = fstab.line_of("/srv/a b", "lowerdir=/c d", False)
    assert line.split() == [
        "overlay",
        r"/srv/a\040b",
        "overlay",
        r"rw,nodev,nofail,lowerdir=/c\040d",
        "0",
        "0",
    ]
    fstab.change({"/srv/a b": line})
    assert line_at("/srv/a b") == line


def test_missing_file_has_no_lines_and_is_created(path):
    path.unlink()
    assert line_at("/srv/a") is None
    fstab.change({"/srv/a": "x /srv/a y"})
    assert path.read_text() == "x /srv/a y\n"


def test_other_lines_keep_their_bytes(path):
    other = b"# one\x0ctwo\xe2\x80\xa8three\r\nnone\x0b/srv/a x y\r\n\n\n# \xff last"
    path.write_bytes(other)
    fstab.change({"/srv/a": "x /srv/a y"})
    assert path.read_bytes() == other + b"\nx /srv/a y\n"
    fstab.change({"/srv/a": None})
    assert path.read_bytes() == other + b"\n"


@pytest.mark.parametrize("char", [",", ":", "\\", '"', "\n"])
def test_path_that_means_something_else_in_the_options_is_refused(char):
    with pytest.raises(InputError, match="means something else in the options"):
        fstab.line_of(f"/srv/a{char}suid/merged", "", False)
