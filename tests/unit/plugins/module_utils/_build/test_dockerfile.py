# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The stages of a Dockerfile."""

from __future__ import annotations

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._build.dockerfile import Dockerfile
from ansible_collections.lockstep.images.plugins.module_utils._build.errors import (
    BuildSyntaxError,
)
from ansible_collections.lockstep.images.tests.support.building import PLATFORM


def parsed(text, **args):
    return Dockerfile(text, "D", args, PLATFORM)


def images(text, target=None, **args):
    found = parsed(text, **args)
    return [(one.name, str(one.platform)) for one in found.images(found.target(target))]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("FROM a", [("a", "linux/amd64")]),
        ("FROM scratch", []),
        ("ARG V=1\nFROM a:$V", [("a:1", "linux/amd64")]),
        ("FROM --platform=linux/arm64 a", [("a", "linux/arm64")]),
        ("FROM --platform=$TARGETPLATFORM a", [("a", "linux/amd64")]),
        ("FROM a AS One\nFROM b\nCOPY --from=one / /", [("a", "linux/amd64"), ("b", "linux/amd64")]),
        ("FROM a\nFROM scratch\nCOPY --from=0 / /", [("a", "linux/amd64")]),
        ("FROM a\nFROM b", [("b", "linux/amd64")]),
        ("FROM a AS x\nFROM x", [("a", "linux/amd64")]),
        ("FROM scratch\nCOPY --from=c:1 / /", [("c:1", "linux/amd64")]),
        ("FROM b AS a\nFROM a AS b", [("b", "linux/amd64")]),
    ],
)
def test_needed_images_are_those_of_the_target(text, expected):
    assert images(text) == expected


def test_arguments_are_given_or_have_defaults():
    assert images("ARG V\nFROM a:${V:-2}", V="3") == [("a:3", "linux/amd64")]
    assert images("ARG V\nFROM a:${V:-2}") == [("a:2", "linux/amd64")]
    assert parsed("ARG A=1 B=$A\nFROM a").shared == {"A": "1", "B": "1"}


def test_target_is_a_name_or_a_number():
    text = "FROM a AS x\nFROM b"
    assert images(text, "X") == images(text, "0") == [("a", "linux/amd64")]
    with pytest.raises(BuildSyntaxError, match=r"no stage y") as caught:
        parsed(text).target("y")
    assert caught.value.hint == "Its stages are: x, 1."


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        ("", 1, "has no FROM"),
        ("# only a comment", 1, "has no FROM"),
        ("COPY a b\nFROM a", 1, "before the first FROM"),
        ("FROM a\nCOPPY a b", 2, "COPPY is not an instruction"),
        ("FROM", 1, "FROM must be"),
        ("FROM a b", 1, "FROM must be"),
        ("FROM --x=1 a", 1, "FROM must be"),
        ("FROM a AS x\nFROM b AS X", 2, "not a new name"),
        ("FROM a AS 1", 1, "not a new name"),
        ("ARG X\nFROM $X", 2, "its variables are empty"),
        ("FROM 'a", 1, "single quote"),
        ("FROM a\nONBUILD FROM b", 2, "cannot be a trigger"),
        ("ARG\nFROM a", 1, "ARG has no name"),
        ("ARG 1=2\nFROM a", 1, "is not a name"),
        ("# escape=x\nFROM a", 1, "escape directive"),
    ],
)
def test_malformed_file_is_refused_with_its_line(text, line, reason):
    with pytest.raises(BuildSyntaxError, match=reason) as caught:
        parsed(text)
    assert (caught.value.details["file"], caught.value.details["line"]) == ("D", line)
    assert str(caught.value).startswith(f"D:{line}: ")


def test_line_of_a_mebibyte_is_read():
    text = "FROM scratch\nENV A=" + "$B" * (1 << 19) + "\nCOPY --from=c:1 / /"
    assert images(text) == [("c:1", "linux/amd64")]


def test_bom_crlf_and_continued_lines_are_read():
    assert images("FROM \\\r\n a\r\n") == [("a", "linux/amd64")]
