# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Patterns of .dockerignore, and of COPY."""

from __future__ import annotations

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._build.patterns import (
    Ignore,
    PatternError,
    compile_name,
)


@pytest.mark.parametrize(
    ("rules", "excluded", "included"),
    [
        ("", [], ["a"]),
        ("a", ["a", "a/b", "a/b/c"], ["ab", "b/a"]),
        ("/a/", ["a"], ["b/a"]),
        ("*.md", ["a.md"], ["x/a.md"]),
        ("**/*.md", ["a.md", "x/a.md", "x/y/a.md"], ["a.mdx"]),
        ("**", ["a", "a/b"], []),
        ("*\n!a", ["b", "b/a"], ["a", "a/b"]),
        ("a\n!a/keep", ["a", "a/x"], ["a/keep", "a/keep/x"]),
        ("!a\na", ["a"], []),
        ("a?c", ["abc"], ["ac", "a/c"]),
        ("[ab]", ["a", "b"], ["c"]),
        ("[^ab]", ["c"], ["a"]),
        ("[a&&b][~~]", ["&~"], ["a&&b"]),
        ("[[a]", ["[", "a"], ["b"]),
        ("[a-]", ["-", "a"], ["b"]),
        ("[\\d-f]", ["d", "e"], ["5", "\\"]),
        ("[a\\]b]", ["]", "b"], ["c"]),
        ("a/**/z", ["a/z", "a/b/z", "a/b/c/z"], ["az", "b/z"]),
        ("a/**", ["a/b", "a/b/c"], ["a"]),
        ("# a\n  b  \n\n", ["b"], ["a", "# a"]),
        ("\ufeffa", ["a"], []),
        ("./a/../b", ["b"], ["a"]),
        ("a\\*", ["a*"], ["ab"]),
        (".", [], ["a"]),
        ("a.b", ["a.b"], ["axb"]),
    ],
)
@pytest.mark.filterwarnings("error")
def test_last_rule_that_matches_decides(rules, excluded, included):
    ignore = Ignore(rules.encode())
    assert [path for path in excluded if not ignore.is_excluded(path.encode())] == []
    assert [path for path in included if ignore.is_excluded(path.encode())] == []


@pytest.mark.parametrize("rules", ["[a", "a\n!", "[b-a]", "[a--b]", "[^]", "[]", "[\\]"])
def test_malformed_rule_is_refused(rules):
    with pytest.raises(PatternError, match="line"):
        Ignore(rules.encode())


def test_pattern_of_a_name_stays_in_its_component():
    rule = compile_name(b"*.tx?")
    assert rule.fullmatch(b"a.txt") and not rule.fullmatch(b"a/b.txt")
