# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The instructions of a Dockerfile."""

from __future__ import annotations

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._image.instructions import (
    directives,
    instructions,
)


def read(text, **how):
    return [(one.line, one.word, one.rest) for one in instructions(text, **how)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("from a\nrun b", [(1, "FROM", "a"), (2, "RUN", "b")]),
        ("RUN a \\\n# c\n\n  b\nCMD c", [(1, "RUN", "a   b"), (5, "CMD", "c")]),
        ("RUN ec\\\nho x", [(1, "RUN", "echo x")]),
        ("RUN a \\ \t\r\n b\r\n", [(1, "RUN", "a  b")]),
        ("RUN dir c:\\\\\nCMD b", [(1, "RUN", "dir c:\\\\"), (2, "CMD", "b")]),
        ("CMD a \\", [(1, "CMD", "a")]),
        ("CMD a \\\n# the end", [(1, "CMD", "a")]),
        ("RUN", [(1, "RUN", "")]),
        ("FROM a\n  \n#RUN\nRUN b # c", [(1, "FROM", "a"), (4, "RUN", "b # c")]),
    ],
)
def test_lines_are_joined_and_comments_are_skipped(text, expected):
    assert read(text) == expected


def test_another_escape_joins_lines():
    assert read("RUN a `\n b", escape="`") == [(1, "RUN", "a  b")]


def test_here_documents_are_set_aside():
    text = "COPY <<A <<-'B' /x/\n$a\nA\n\tb\n\tB\nRUN c"
    copy, run = instructions(text)
    assert [tuple(one) for one in copy.documents] == [("A", "$a\n", False), ("B", "b\n", True)]
    assert (run.line, run.word, run.documents) == (6, "RUN", ())


def test_here_document_without_its_end_is_none():
    copy, other = instructions("COPY <<A /x\nLABEL a=b")
    assert (copy.documents, other.word) == ((), "LABEL")


def test_trigger_is_the_instruction_after_onbuild():
    (one,) = instructions("ONBUILD copy a b")
    assert (one.is_trigger, one.word, one.rest, one.text) == (True, "COPY", "a b", "COPY a b")


def test_line_of_a_mebibyte_is_read():
    ((_line, word, rest),) = read("LABEL a=" + "x" * 1024 * 1024)
    assert (word, len(rest)) == ("LABEL", 1024 * 1024 + 2)


def test_directives_are_at_the_top():
    text = "# syntax=docker/dockerfile:1\n# Escape = `\nFROM a\n# check=skip=all"
    assert directives(text) == {"syntax": (0, "docker/dockerfile:1"), "escape": (1, "`")}
