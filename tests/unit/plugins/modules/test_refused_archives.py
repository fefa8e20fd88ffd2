# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a task says of an archive that it refuses: a kind and one sentence. The store stays as it was, and nothing is left."""

from __future__ import annotations

import os
import re

import pytest
from ansible_collections.lockstep.images.tests.support.archives import export
from ansible_collections.lockstep.images.tests.support.images import demo_image, image, layer
from ansible_collections.lockstep.images.tests.support.layout import names
from ansible_collections.lockstep.images.tests.support.malformed import ARCHIVES
from ansible_collections.lockstep.images.tests.support.modules import run
from ansible_collections.lockstep.images.tests.support.stores import (
    assert_valid_store,
    leftovers,
    put,
    whole_tree,
)

TOOL, WEB = "docker.io/library/tool:1", "docker.io/library/web:1"
ITEM = image([layer({"web": b"w" * 6000}, None), layer({"more": b"m" * 6000}, None)])


@pytest.fixture(name="path")
def fixture_path(tmp_path):
    """A directory with a store that has an image, and with a directory for temporary files."""
    put(tmp_path / "other", demo_image("tool", "1", size=20), TOOL)
    export(tmp_path / "other", tmp_path / "first.tar", TOOL)
    (tmp_path / "tmp").mkdir()
    assert run("image_import", **params(tmp_path, "first.tar")).result["changed"]
    return tmp_path


def params(path, src="a.tar", **more):
    return {"store": str(path / "store"), "src": str(path / src), **more}


def refused(path, kind, **more):
    """Import an archive; return the message of the error, which has this kind."""
    outcome = run("image_import", env={"TMPDIR": str(path / "tmp")}, **params(path, **more))
    message = outcome.result["msg"].replace(outcome.result["error"].get("hint") or "\0", "").strip()
    assert (outcome.failed, outcome.kind) == (True, kind), outcome.result
    assert message.startswith(str(path / "a.tar")) and "\n" not in outcome.result["msg"]
    assert not re.search(r"[.!?] \S", message.replace(str(path), "")), message
    assert "Traceback" not in outcome.stdout + outcome.stderr
    assert os.listdir(path / "tmp") == []
    return message


@pytest.mark.parametrize("case", ARCHIVES)
def test_store_stays_as_it_was(path, case):
    data, kind, reason = ARCHIVES[case]
    (path / "a.tar").write_bytes(data)
    before = whole_tree(path / "store")
    for check in (True, False):
        assert re.search(reason, refused(path, kind, check=check))
        assert whole_tree(path / "store") == before


def flip(name):
    """Return what changes a byte of a file."""

    def change(path):
        data = bytearray((path / name).read_bytes())
        data[3000] ^= 1
        (path / name).write_bytes(data)

    return change


def swap(path):
    one, other = path / "a.tar.000", path / "a.tar.001"
    data = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(data)


def add(name, data):
    """Return what adds bytes to a file."""

    def change(path):
        with open(path / name, "ab") as file:
            file.write(data)

    return change


def of_another(path):
    put(path / "third", image([layer({"x": b"x" * 12000}, None)]), "docker.io/library/x:1")
    export(path / "third", path / "b.tar", "docker.io/library/x:1", chunk_size=4096)
    os.replace(path / "b.tar.001", path / "a.tar.001")


def shorten_last(path):
    last = max(path.glob("a.tar.0*"))
    os.truncate(last, last.stat().st_size - 512)


# The chunks have 4096 bytes each, except the last one.
CHUNKS = {
    "missing": (lambda path: os.unlink(path / "a.tar.001"), "chunk-missing"),
    "first missing": (lambda path: os.unlink(path / "a.tar.000"), "chunk-missing"),
    "list missing": (lambda path: os.unlink(path / "a.tar.sha256"), "chunk-missing"),
    "swapped": (swap, "chunk-wrong"),
    "another byte": (flip("a.tar.001"), "chunk-wrong"),
    "of another archive": (of_another, "chunk-wrong"),
    "too long": (add("a.tar.001", b"x"), "chunk-wrong"),
    "too short": (lambda path: os.truncate(path / "a.tar.001", 4000), "chunk-wrong"),
    "empty": (lambda path: os.truncate(path / "a.tar.001", 0), "chunk-wrong"),
    "last too short": (shorten_last, "chunk-wrong"),
    "last too long": (lambda path: add(max(path.glob("a.tar.0*")).name, b"x")(path), "chunk-wrong"),
    "list no list": (lambda path: (path / "a.tar.sha256").write_text("x\n"), "archive-malformed"),
    "list names nothing": (
        lambda path: (path / "a.tar.sha256").write_text("#\n"),
        "archive-malformed",
    ),
}


@pytest.mark.parametrize("case", CHUNKS)
def test_names_stay_as_they_were(path, case):
    """Content of the right chunks is kept, without a name, for the next run."""
    put(path / "other", ITEM, WEB)
    export(path / "other", path / "a.tar", WEB, chunk_size=4096)
    change, kind = CHUNKS[case]
    change(path)
    before = (path / "store/index.json").read_bytes()
    refused(path, kind)
    assert (path / "store/index.json").read_bytes() == before
    assert [*names(path / "store")] == [TOOL]
    assert_valid_store(path / "store")
    assert all(name.endswith((".part", ".journal")) for name in leftovers(path / "store"))
