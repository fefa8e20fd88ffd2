# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The recording in the README is what recording.py draws of a session, and everyone can read it."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

from ansible_collections.lockstep.images.tests.devtools.recording import COLUMNS, draw, load, shown

ROOT = Path(__file__).parents[3]
PICTURE = (ROOT / "docs" / "recording.svg").read_text(encoding="utf-8")
SVG = "{http://www.w3.org/2000/svg}"


def test_picture_is_drawn_from_the_recording():
    assert draw(load()) == PICTURE


def test_picture_is_small_and_takes_twenty_seconds():
    assert len(PICTURE.encode()) < 100_000
    rows, length = shown(load())
    assert 15 < length < 25
    assert [row.at for row in rows] == sorted(row.at for row in rows)
    assert max(len(row.text) for row in rows) <= COLUMNS


def test_picture_has_a_text_for_those_who_cannot_see_it():
    root = ElementTree.fromstring(PICTURE)
    title, text = root.find(f"{SVG}title"), root.find(f"{SVG}desc")
    assert title is not None and text is not None and title.text and text.text
    assert root.get("aria-labelledby") == f"{title.get('id')} {text.get('id')}"
    for part in ("lockstep.images.audit", "3 hosts, one fingerprint: sha256:", "incomplete"):
        assert part in text.text


def test_picture_follows_the_theme_and_moves_only_for_those_who_like_it():
    assert PICTURE.count("@media(prefers-color-scheme: dark)") == 1
    still, moving = PICTURE.split("@media(prefers-reduced-motion:no-preference)")
    assert "animation" not in still and "animation" in moving
    assert "opacity" not in still


def test_picture_runs_no_script_and_loads_nothing():
    assert not re.search(r"<script|href|url\((?!#)|@import|\bon\w+=", PICTURE)


def test_recording_names_no_path_of_the_machine_that_made_it():
    text = "\n".join(line.text for line in load())
    assert not re.search(r"(?<![\w.-])/(?:root|home|tmp|work|usr|var)\b", text)


def test_recorded_commands_run_playbooks_of_the_collection():
    played = re.findall(
        r"lockstep\.images\.(\w+) ", "".join(x.text for x in load() if x.kind == "p")
    )
    assert played == ["lock", "provision", "provision", "audit"]
    assert {path.stem for path in (ROOT / "playbooks").glob("*.yml")} >= set(played)
