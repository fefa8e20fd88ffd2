# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names: scopes of rules, and the name that a signature states."""

from __future__ import annotations

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._image.names import Reference
from ansible_collections.lockstep.images.plugins.module_utils._trust.naming import (
    SignedAs,
    scope_fault,
    scopes_of,
)

DIGEST = "sha256:" + "0" * 64


@pytest.mark.parametrize(
    ("name", "scopes"),
    [
        ("debian", ["docker.io/library/debian:latest", "docker.io/library/debian", "docker.io/library", "docker.io", "*.io", "*"]),
        (
            "a.b.com:5000/x/y:1",
            ["a.b.com:5000/x/y:1", "a.b.com:5000/x/y", "a.b.com:5000/x", "a.b.com:5000", "*.b.com", "*.com", "*"],
        ),
        (f"localhost/x@{DIGEST}", [f"localhost/x@{DIGEST}", "localhost/x", "localhost", "*"]),
        (f"localhost/x:1@{DIGEST}", [f"localhost/x@{DIGEST}", "localhost/x:1", "localhost/x", "localhost", "*"]),
    ],
)  # fmt: skip
def test_scopes_begin_with_the_most_specific(name, scopes):
    assert scopes_of(Reference.parse(name)) == scopes


@pytest.mark.parametrize(
    "name", ["debian", "a.b.c:5000/x/y:1", f"localhost/x:1@{DIGEST}", "[::1]:5000/a"]
)
def test_every_scope_of_an_image_can_be_written(name):
    assert [scope for scope in scopes_of(Reference.parse(name)) if scope_fault(scope)] == []


@pytest.mark.parametrize(
    "text",
    ["", "debian", "library/debian", "Docker.io", "docker.io/", "docker.io//a", "docker.io/A", "docker.io/a:", "docker.io/a:b:c",
     "docker.io/a*", "*", "**", "*.", "a.*.b", "*.a/b", "index.docker.io", "registry-1.docker.io/a", "https://a.b", "a.b/c@sha256:1", "a b.c"],
)  # fmt: skip
def test_other_texts_are_not_scopes(text):
    assert bool(scope_fault(text)) is (text != "*")


TAGGED, PINNED = "a.b/x/y:1", f"a.b/x/y@{DIGEST}"


@pytest.mark.parametrize(
    ("form", "name", "stated", "expected"),
    [
        ("any", TAGGED, "c.d/z", True),
        ("any", TAGGED, "not a name", True),
        ("any", TAGGED, None, True),
        ("repository", TAGGED, "a.b/x/y", True),
        ("repository", TAGGED, "a.b/x/y:2", True),
        ("repository", TAGGED, PINNED, True),
        ("repository", TAGGED, None, True),
        ("repository", TAGGED, "a.b/x", False),
        ("repository", TAGGED, "a.b/x/y/z", False),
        ("repository", TAGGED, "a.b/x/yy", False),
        ("repository", TAGGED, "c.d/x/y", False),
        ("repository", TAGGED, "", False),
        ("repository", TAGGED, "A.b/X", False),
        ("repository", "debian", "debian", True),
        ("exact", TAGGED, TAGGED, True),
        ("exact", TAGGED, "a.b/x/y", False),
        ("exact", TAGGED, "a.b/x/y:2", False),
        ("exact", TAGGED, PINNED, False),
        ("exact", TAGGED, None, False),
        ("exact", PINNED, PINNED, True),
        ("exact", PINNED, TAGGED, False),
        ("exact", f"{TAGGED}@{DIGEST}", TAGGED, True),
    ],
)
def test_stated_name_is_compared(form, name, stated, expected):
    assert SignedAs(form).accepts(Reference.parse(name), stated) is expected


@pytest.mark.parametrize(
    ("stated", "expected"),
    [("c.d/x/y", True), ("c.d/x/y:7", True), ("a.b/x/y", False), ("c.d/y", False), (None, True)],
)
def test_a_copy_is_signed_under_the_name_of_its_original(stated, expected):
    signed_as = SignedAs("repository", "a.b/x", "c.d/x")
    assert signed_as.accepts(Reference.parse(TAGGED), stated) is expected


def test_a_prefix_ends_at_a_component():
    signed_as = SignedAs("repository", "a.b/x", "c.d/x")
    assert signed_as.accepts(Reference.parse("a.b/xx/y"), "a.b/xx/y")
    assert not signed_as.accepts(Reference.parse("a.b/xx/y"), "c.d/xx/y")
    assert signed_as.accepts(Reference.parse("a.b/x"), "c.d/x")
    host = SignedAs("repository", "a.b", "c.d")
    assert host.accepts(Reference.parse("a.b/x"), "c.d/x")
    assert not host.accepts(Reference.parse("a.b:5000/x"), "c.d:5000/x")
