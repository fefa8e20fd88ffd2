# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The commands on the page How it works prove what the page says, and the drawings are accessible."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from xml.etree import ElementTree

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._store.store import ImageStore
from ansible_collections.lockstep.images.tests.support.fakes import FakeSources
from ansible_collections.lockstep.images.tests.support.images import demo_image
from ansible_collections.lockstep.images.tests.support.stores import pull

DOCS = Path(__file__).parents[3] / "docs"
NAME = "registry.example/app:1"


@pytest.fixture(name="store")
def fixture_store(tmp_path):
    store = ImageStore(str(tmp_path / "store"))
    sources = FakeSources()
    sources.publish(NAME, demo_image("app", "1"))
    pull(store, sources, NAME)
    return store


def check(store):
    """Run the commands on the page on a store; return the exit status and the lines printed."""
    page = (DOCS / "how-it-works.md").read_text(encoding="utf-8")
    (script,) = re.findall(r"^```shell\n(.*?)^```$", page, re.M | re.S)
    assert "/var/lib/lockstep/images" in script
    script = script.replace("/var/lib/lockstep/images", store.path)
    env = {**os.environ, "LC_ALL": "C"}
    done = subprocess.run(
        ["sh", "-c", script], stdout=subprocess.PIPE, env=env, text=True, check=False
    )
    return done.returncode, done.stdout.splitlines()


def test_commands_on_the_page_print_only_the_fingerprint(store):
    digest = store.fingerprint().partition(":")[2]
    assert check(store) == (0, [f"{digest}  index.json"])


def test_commands_on_the_page_find_a_changed_file(store):
    blob = max((Path(store.path) / "blobs" / "sha256").iterdir())
    blob.write_bytes(blob.read_bytes()[::-1])
    code, lines = check(store)
    assert code != 0
    assert lines[1:] == [f"{blob.name}: FAILED"]


@pytest.mark.parametrize("drawing", sorted(DOCS.glob("*.svg")), ids=lambda path: path.name)
def test_drawing_is_small_described_and_self_contained(drawing):
    text = drawing.read_text(encoding="utf-8")
    root = ElementTree.fromstring(text)
    described = {element.tag.rpartition("}")[2]: element.text for element in root}
    assert described["title"] and described["desc"]
    assert "prefers-color-scheme: dark" in text
    assert not re.search(r"<script|<image|@import|@font-face|url\((?!#)|href=", text)
    assert len(text) < 25_000
