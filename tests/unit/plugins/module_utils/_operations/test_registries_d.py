# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""registries.d: the places of signatures by GPG, read strictly."""

from __future__ import annotations

import os

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._operations.registries_d import (
    read_registries_d,
)
from ansible_collections.lockstep.images.plugins.module_utils._trust.errors import PolicyError


def read(directory, **files):
    for name, text in files.items():
        (directory / f"{name}.yaml").write_text(text)
    return read_registries_d(os.fspath(directory))


def test_places_of_all_files_are_joined(tmp_path):
    (tmp_path / "other.txt").write_text("[")
    found = read(
        tmp_path,
        a="default-docker:\n  lookaside: file:///sigs\n  lookaside-staging: file:///new\n",
        b="docker:\n  a.b/c:\n    sigstore: https://old\n  c.d: {lookaside: 'https://new', sigstore: 'https://old'}\n",
        c="docker:\n  e.f: {lookaside-staging: 'file:///new', use-sigstore-attachments: true}\n",
        d="# nothing\n",
        e="docker:\n",
    )
    assert found == {"*": "file:///sigs", "a.b/c": "https://old", "c.d": "https://new"}


def test_directory_without_places_has_none(tmp_path):
    assert read(tmp_path) == {}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("docker:\n  a.b: {lookaside: 'http://x'}\n", "is not a URL"),
        ("docker:\n  a.b: {lookasid: 'https://x'}\n", "unknown key lookasid"),
        ("dokcer: {}\n", "unknown key dokcer"),
        ("docker: []\n", r"new.yaml: docker: is not a mapping"),
        ("docker:\n  c.d: {lookaside: 'https://x'}\n", "c.d is in another file, too"),
        ("default-docker: {lookaside: 'https://x'}\n", r"\* is in another file, too"),
        ("docker: {a.b: {}, a.b: {}}\n", "duplicate|twice|already"),
        ("docker: [\n", "new.yaml, line"),
        ("- a\n", "is not a mapping"),
    ],
)
def test_every_other_file_is_refused(tmp_path, text, message):
    known = "default-docker: {lookaside: 'https://x'}\ndocker:\n  c.d: {lookaside: 'https://x'}\n"
    assert len(read(tmp_path, known=known)) == 2
    with pytest.raises(PolicyError, match=message):
        read(tmp_path, new=text)


def test_missing_directory_is_an_error(tmp_path):
    with pytest.raises(PolicyError, match="No such file"):
        read_registries_d(os.fspath(tmp_path / "nowhere"))
