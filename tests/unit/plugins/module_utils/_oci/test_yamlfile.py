# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""YAML of people: its lines are known, and nothing in it harms or surprises."""

from __future__ import annotations

import sys

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._oci.errors import (
    DependencyError,
    InputError,
)
from ansible_collections.lockstep.images.plugins.module_utils._oci.yamlfile import (
    Located,
    load_documents,
)
from ansible_collections.lockstep.images.tests.support.tables import assert_tells

PLACE = "files/it.yml"


def load(text, **options):
    return load_documents(text if isinstance(text, bytes) else text.encode(), PLACE, **options)


def error_of(text, **options):
    with pytest.raises(InputError) as caught:
        load(text, **options)
    assert_tells(caught.value, "invalid-input", PLACE)
    assert len(str(caught.value)) < 300
    return str(caught.value)


def bomb(levels, width, form):
    """Each level holds the one before it so many times."""
    lines = ["- &a0 {a: 1, b: 2, c: 3}"]
    for level in range(1, levels + 1):
        inner = ", ".join([f"*a{level - 1}"] * width)
        lines.append(f"- &a{level} " + form.format(inner))
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize(
    ("text", "documents"),
    [
        ("", []),
        ("# nothing\n", []),
        ("---\n", [None]),
        ("a: 1\n---\n- b\n---\n", [{"a": 1}, ["b"], None]),
        ("a: b\r\nc:\r\n  - d\r\n", [{"a": "b", "c": ["d"]}]),
        (b"\xef\xbb\xbfa: b\n", [{"a": "b"}]),
        ("a: b".encode("utf-16"), [{"a": "b"}]),
        ('{"a": ["b", 1, true, null]}', [{"a": ["b", 1, True, None]}]),
        ("operators: [=, '!=']", [{"operators": ["=", "!="]}]),
        (f"a: {2**63}", [{"a": 2**63}]),
    ],
    ids=repr,
)
def test_what_is_yaml_is_read(text, documents):
    assert load(text) == documents


def test_every_mapping_knows_its_line():
    (document,) = load("# first\na: {}\nlist:\n  - b: 1\n\n  - c: 2\n    d: {e: 1}\n")
    assert isinstance(document, Located)
    mappings = [document, document["a"], *document["list"], document["list"][1]["d"]]
    assert [one.line for one in mappings] == [2, 2, 4, 6, 7]


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        pytest.param("a:\n\tb: c\n", 2, "cannot start any token", id="tab"),
        pytest.param("a: [1\n", 2, "expected", id="not closed"),
        pytest.param("a: b\nc\n", 3, "could not find expected ':'", id="no value"),
        pytest.param("a: 1\nb: 2\na: 3\n", 3, "the key a is there twice", id="a key twice"),
        pytest.param("a: 1\n'a': 3\n", 2, "the key a is there twice", id="a key twice, quoted"),
        pytest.param(f"? {'k' * 5000}\n: 1\n? {'k' * 5000}\n", 3, "kkk", id="a long key twice"),
        pytest.param("- &a 1\n- *b\n", 2, "undefined alias", id="no such anchor"),
        pytest.param("- &a 1\n- &a 2\n- *a\n", 2, "duplicate anchor", id="an anchor twice"),
        pytest.param("\na: {{ .Values.b }}\n", 2, "unhashable key", id="a template"),
        pytest.param("? [a]\n: b\n", 1, "unhashable key", id="a list as a key"),
        pytest.param("<<: 1\n", 1, "merging", id="a merge of no mapping"),
        pytest.param("a:\n- !!python/object:os.system x\n", 2, "constructor", id="an object"),
        pytest.param("a:\n- !!python/name:os.system\n", 2, "constructor", id="a name"),
        pytest.param("a:\n- !reset x\n", 2, "constructor", id="a tag of an application"),
        pytest.param("a:\n- !!int ''\n", 2, "the value is no int", id="int of nothing"),
        pytest.param("a:\n- !!float ''\n", 2, "the value is no float", id="float of nothing"),
        pytest.param("a:\n- !!bool maybe\n", 2, "the value is no bool", id="bool"),
        pytest.param("a:\n- !!timestamp now\n", 2, "the value is no timestamp", id="time"),
        pytest.param("a: 2026-13-45\n", 1, "the value is no timestamp", id="no such month"),
        pytest.param("a: !!binary 'a'\n", 1, "base64", id="binary"),
        pytest.param(f"a: {'9' * 50}\n", 1, "the number is too large", id="a number"),
        pytest.param(f"a: -0x{'f' * 5000}\n", 1, "the number is too large", id="a long number"),
        pytest.param(f"\na: {'9' * 5000}\n", 2, "", id="one that Python does not read"),
        pytest.param("%YAML 2.0\n---\na\n", 1, "incompatible", id="version"),
        pytest.param("ä: ö\nb: \0\n", 2, "special characters", id="NUL"),
        pytest.param(b"\xc3\xa4: a\nb: \xff\n", 2, "invalid start byte", id="not UTF-8"),
        pytest.param(b"\x1f\x8b\x08\x00\x00" * 100, 1, "", id="binary file"),
    ],
)
def test_what_is_wrong_is_told_with_file_and_line(text, line, words):
    told = error_of(text)
    assert told.startswith(f"{PLACE}, line {line}: ")
    assert words in told


@pytest.mark.parametrize("start", ["[", "{a: ", "- ", "? "], ids=repr)
def test_what_is_nested_10000_levels_deep_is_refused(start):
    assert error_of(start * 10_000) == f"{PLACE}: is nested too deeply"


# -- aliases


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("a: &a [1]\nb: *a\n", id="of a list"),
        pytest.param("a: &a {c: 1}\nb:\n  <<: *a\n", id="of a merge"),
        pytest.param("a: &a [1]\nb: [*a]\n", id="inside"),
        pytest.param("a: &a 1\n\n*a : 2\n", id="as a key"),
    ],
)
def test_aliases_are_refused_where_they_have_no_place(text):
    number = 1 + next(n for n, line in enumerate(text.split("\n")) if "*" in line)
    assert error_of(text, aliases=False) == f"{PLACE}, line {number}: aliases have no place here"
    assert load(text)


def test_an_anchor_alone_is_no_alias():
    assert load("a: &a 1\n", aliases=False) == [{"a": 1}]


def test_a_bomb_of_aliases_is_no_larger_than_its_text():
    (document,) = load(bomb(40, 10, "[{}]"))
    assert document[40][0][0] is document[40][9][9]


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(bomb(40, 10, "{{<<: [{}]}}"), id="deep"),
        pytest.param(bomb(9, 1000, "{{<<: [{}]}}"), id="wide"),
        pytest.param(
            "- &a {" + ", ".join(f"k{n}: 1" for n in range(5000)) + "}\n"
            "- <<: [" + ", ".join(["*a"] * 5000) + "]\n",
            id="flat",
        ),
    ],
)
def test_a_bomb_of_merges_is_refused_before_it_grows(text):
    try:
        documents = load(text)
    except InputError as exc:
        assert str(exc).endswith(": merge keys make it too large")
    else:  # PyYAML takes each key once since 6.0.4
        assert max(len(one) for one in documents[0]) < 10


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        pytest.param("<<: *a\n  own: 1", {"x": 1, "y": 2, "own": 1}, id="added"),
        pytest.param("x: 3\n  <<: *a", {"x": 3, "y": 2}, id="overridden"),
        pytest.param("<<: [*a, *b]", {"x": 1, "y": 2, "z": 4}, id="two"),
        pytest.param("<<: *b\n  y: 5", {"x": 1, "y": 5, "z": 4}, id="of one that merges"),
    ],
)
def test_merges_are_read_as_they_are_meant(text, wanted):
    """A mapping that overrides what it merges may be merged itself, which must not count as a key twice."""
    (document,) = load(f"a: &a {{x: 1, y: 2}}\nb: &b\n  <<: *a\n  y: 3\n  z: 4\nc:\n  {text}\n")
    assert document["b"] == {"x": 1, "y": 3, "z": 4}
    assert document["c"] == wanted


@pytest.mark.parametrize("text", ["a: &a\n  <<: *a\n  b: 1\n", "a: &a\n  <<: [*a, *a]\n  b: 1\n"])
def test_a_mapping_that_merges_itself_ends(text):
    assert load(text) == [{"a": {"b": 1}}]


def test_without_pyyaml_the_library_is_asked_for(monkeypatch):
    monkeypatch.setitem(sys.modules, "yaml", None)
    with pytest.raises(DependencyError, match="PyYAML is needed to read it") as caught:
        load("a: 1")
    assert_tells(caught.value, "missing-dependency", PLACE)
    assert caught.value.details == {"library": "PyYAML"}
