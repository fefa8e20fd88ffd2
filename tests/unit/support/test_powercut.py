# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The model of a disk keeps what was flushed, and loses the rest."""

from __future__ import annotations

import pytest
from ansible_collections.lockstep.images.tests.support.powercut import (
    FLUSHED,
    NAMES,
    Disk,
    calls_of,
)

WRITE = [
    'openat(AT_FDCWD, "{path}/part", O_WRONLY|O_CREAT, 0600) = 7',
    'write(7, "{data}", 3) = 3',
]
FSYNC = ["fsync(7) = 0"]
RENAME = ['rename("{path}/part", "{path}/done") = 0']
FSYNC_DIRECTORY = ['openat(AT_FDCWD, "{path}", O_RDONLY|O_DIRECTORY) = 8', "fsync(8) = 0"]
SYNCFS = ['openat(AT_FDCWD, "{path}", O_RDONLY|O_DIRECTORY) = 8', "syncfs(8) = 0"]


def hexed(text):
    return "".join(f"\\x{byte:02x}" for byte in text.encode())


def after(tmp_path, calls, kept):
    """Return what a power failure after these calls leaves, by name."""
    before, found = tmp_path / "before", tmp_path / "found"
    before.mkdir()
    log = tmp_path / "log"
    lines = []
    for call in calls:
        words = call.format(path=f"\0{before}", data="\0new").split('"')
        quoted = [
            hexed(word.replace("\0", "")) if at % 2 else word for at, word in enumerate(words)
        ]
        lines.append(f"12 {chr(34).join(quoted)}\n")
    log.write_text("".join(lines))
    disk = Disk(before)
    for call in calls_of(log):
        disk.apply(call)
    disk.write(found, kept)
    return {path.name: path.read_bytes() for path in found.iterdir()}


@pytest.mark.parametrize(
    ("calls", "names", "flushed"),
    [
        (WRITE, {"part": b""}, {}),
        (WRITE + RENAME, {"done": b""}, {}),
        (WRITE + FSYNC, {"part": b"new"}, {}),
        (WRITE + FSYNC + FSYNC_DIRECTORY, {"part": b"new"}, {"part": b"new"}),
        (WRITE + FSYNC + FSYNC_DIRECTORY + RENAME, {"done": b"new"}, {"part": b"new"}),
        (WRITE + FSYNC + RENAME + FSYNC_DIRECTORY, {"done": b"new"}, {"done": b"new"}),
        (WRITE + SYNCFS, {"part": b"new"}, {"part": b"new"}),
    ],
)
def test_power_failure_leaves_what_was_flushed(tmp_path, calls, names, flushed):
    (tmp_path / "one").mkdir()
    (tmp_path / "other").mkdir()
    assert after(tmp_path / "one", calls, NAMES) == names
    assert after(tmp_path / "other", calls, FLUSHED) == flushed


def test_calls_of_threads_are_joined(tmp_path):
    log = tmp_path / "log"
    log.write_text(
        "12 fsync(7 <unfinished ...>\n"
        "13 fsync(8) = -1 EIO (Input/output error)\n"
        "12 <... fsync resumed>) = 0\n"
    )
    assert [(call.name, call.number(0)) for call in calls_of(log)] == [("fsync", 7)]


def test_number_of_a_closed_file_is_free_from_the_begin_of_the_close(tmp_path):
    log = tmp_path / "log"
    log.write_text(
        '12 close(7 <unfinished ...>\n13 creat("/a", 0600) = 7\n12 <... close resumed>) = 0\n'
    )
    assert [call.name for call in calls_of(log)] == ["close", "creat"]
