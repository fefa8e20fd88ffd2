# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""YAML of users: values have lines, and nothing in a file does harm."""

from __future__ import annotations

import sys

import pytest
import yaml
from ansible_collections.lockstep.images.plugins.module_utils._image.errors import (
    DependencyError,
    InputError,
)
from ansible_collections.lockstep.images.plugins.module_utils._lockfile.yamlfile import (
    Located,
    Text,
    decode,
    load_documents,
    load_strict,
)
from ansible_collections.lockstep.images.tests.support.tables import assert_tells

PLACE = "files/it.yml"


@pytest.fixture(autouse=True, params=["libyaml", "Python"])
def parser(request, monkeypatch):
    """Use the parser of libyaml, which can be missing, and the Python parser."""
    if request.param == "libyaml" and not yaml.__with_libyaml__:
        pytest.skip("PyYAML was built without libyaml")
    monkeypatch.setattr(yaml, "__with_libyaml__", request.param == "libyaml")


def raw_of(text):
    return text if isinstance(text, bytes) else text.encode()


def load(text):
    return load_documents(raw_of(text), PLACE).documents


def warnings_of(text):
    return load_documents(raw_of(text), PLACE).warnings


def error_of(text, read=load_documents):
    with pytest.raises(InputError) as caught:
        read(raw_of(text), PLACE)
    assert_tells(caught.value, "invalid-input", PLACE)
    assert len(str(caught.value)) < 300
    return str(caught.value)


def bomb(levels, width, form):
    """Return YAML in which each level refers ``width`` times to the one before it."""
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
        ("a: 1\n---\n- b\n---\n", [{"a": "1"}, ["b"], None]),
        ("a: b\r\nc:\r\n  - d\r\n", [{"a": "b", "c": ["d"]}]),
        (b"\xef\xbb\xbfa: b\n", [{"a": "b"}]),
        ("a:\tb\t# c\nd:\t\n- e\t\n", [{"a": "b", "d": ["e"]}]),
        ("a: b".encode("utf-16"), [{"a": "b"}]),
        ('{"a": ["b", true, null]}', [{"a": ["b", True, None]}]),
        ("{a: [b, null]}", [{"a": ["b", None]}]),
        ("operators: [=, '!=']", [{"operators": ["=", "!="]}]),
    ],
    ids=repr,
)
def test_valid_yaml_is_read(text, documents):
    assert load(text) == documents


def test_values_of_a_lock_file_have_their_types():
    (document,) = load_strict(f"a: {2**63}\nb: [1, true, null, text]\n".encode(), PLACE)
    assert document == {"a": 2**63, "b": [1, True, None, "text"]}
    assert isinstance(document, Located)


@pytest.mark.parametrize(
    ("written", "is_text"),
    [
        ("r.example/a:1", True),
        ("'1.10'", True),
        ("1.10", False),
        ("9" * 5000, False),
        ("-0x" + "f" * 5000, False),
        ("2026-13-45", False),
        ("2026-01-02", False),
        ("!!int ''", False),
        ("!!timestamp now", False),
        ("!!binary a", False),
        ("!!bool maybe", False),
        ("!override r.example/a", True),
        ("!unsafe r.example/a", True),
        ("! r.example/a", True),
    ],
    ids=lambda value: str(value)[:20],
)
def test_F26_scalar_of_any_type_keeps_its_text(written, is_text):
    (document,) = load(f"first: 1\na: {written}\n")
    value = document["a"]
    assert isinstance(value, Text)
    assert (value, value.is_text, value.line) == (written.split(" ")[-1].strip("'"), is_text, 2)


@pytest.mark.parametrize("value", ["null", "[]", "{}", "r.example/a"])
def test_F26_value_that_compose_resets_is_none(value):
    assert load(f"a: !reset {value}\nb: !override [c]\n") == [{"a": None, "b": ["c"]}]


def test_F26_tags_of_applications_are_read():
    text = "a: !Ref Image\nb: !Sub 'x:${A}'\nc: !GetAtt {d: e}\nf: !!python/name:os.system\ng: !!set {h}\n"
    assert load(text) == [
        {"a": "!Ref Image", "b": "!Sub x:${A}", "c": {"d": "e"}, "f": "", "g": {"h": None}}
    ]


@pytest.mark.parametrize(
    "text",
    [
        pytest.param('{\n\t"a":\t[\n\t\t"b"\n\t]\n}\n', id="tabs"),
        pytest.param('{"a": ["b"], "' + "k" * 5000 + '": 1}', id="a long key"),
        pytest.param('{"a": ["b"], "c": "\\ud83d\\ude00 \x7f"}', id="escapes"),
        pytest.param('\ufeff{"a": ["b"]}', id="BOM"),
        pytest.param('{"a": ["b"]}'.encode("utf-16"), id="UTF-16"),
        pytest.param('{"a": ["b"]}\r\n', id="CRLF"),
    ],
)
def test_F26_json_that_is_not_yaml_is_read(text):
    assert load(text)[0]["a"] == ["b"]


def test_F26_json_documents_may_follow_each_other():
    first, second = load('{"a": "b"}\n{"c":\n ["d"]}\n\n')
    assert (first, second) == ({"a": "b"}, {"c": ["d"]})
    assert (second.line, second["c"][0].line) == (2, 3)


def test_F26_lines_of_json_are_known():
    (document,) = load('{\n\t"a": {"x": 1},\n\t"b": [\n\t\t"c",\n\t\t{"d": "e"}\n\t]\n}')
    assert [document.line, document["a"].line, document["b"][1].line] == [1, 2, 5]
    assert [document["b"][0].line, document["b"][1]["d"].line] == [4, 5]


@pytest.mark.parametrize("text", ["a: 1\nb: 2\na: 3\n", "{a: 1, b: 2,\n\n a: 3}"])
def test_F26_duplicate_key_is_a_warning_and_the_last_one_counts(text):
    assert load(text) == [{"a": "3", "b": "2"}]
    assert warnings_of(text) == [f"{PLACE}, line 3: the key a occurs twice, the last one counts"]
    (warning,) = warnings_of('{"a": 1, "a": 2}')
    assert warning.startswith(f"{PLACE}, line 1: the key a occurs twice")


@pytest.mark.parametrize(
    "text",
    [
        "image: a\nimage: b\n",
        "services:\n  a: {image: b}\nservices: {}\n",
        "a: {b: [{image: c}]}\na: 1\n",
        '{"image": 1,\n"image": 2}',
        "engineImage: a\nengineImage: b\n",
    ],
)
def test_F26_duplicate_image_is_an_error(text):
    assert "occurs twice" in error_of(text)


def test_F26_an_anchor_may_be_set_again():
    assert load("- &a 1\n- &a 2\n- *a\n") == [["1", "2", "2"]]


def test_byte_order_mark_decides_the_encoding():
    for encoding in ("utf-8", "utf-8-sig", "utf-16", "utf-32"):
        assert decode("ä".encode(encoding), PLACE) == "ä"
    with pytest.raises(InputError, match="line 2: is not text in UTF-8"):
        decode(b"a\n\xff", PLACE)


def test_every_mapping_has_its_line():
    (document,) = load("# first\na: {}\nlist:\n  - b: 1\n\n  - c: 2\n    d: {e: 1}\n")
    assert isinstance(document, Located)
    mappings = [document, document["a"], *document["list"], document["list"][1]["d"]]
    assert [one.line for one in mappings] == [2, 2, 4, 6, 7]


WRONG = [
    pytest.param("a:\n\tb: c\n", 2, "cannot start any token", id="tab"),
    pytest.param("a: [1\n", 2, "expected", id="not closed"),
    pytest.param("a: b\nc\n", 3, "could not find expected ':'", id="no value"),
    pytest.param("- &a 1\n- *b\n", 2, "undefined alias", id="no such anchor"),
    pytest.param("\na: {{ .Values.b }}\n", 2, "key", id="a template"),
    pytest.param("? [a]\n: b\n", 1, "key", id="a list as a key"),
    pytest.param("<<: 1\n", 1, "merg", id="a merge of no mapping"),
    pytest.param("%YAML 2.0\n---\na\n", 1, "incompatible", id="version"),
    pytest.param("ä: ö\nb: \0\n", 2, "special characters", id="NUL"),
    pytest.param(b"\xc3\xa4: a\nb: \xff\n", 2, "invalid start byte", id="not UTF-8"),
    pytest.param(b"\x1f\x8b\x08\x00\x00" * 100, 1, "", id="binary file"),
]

# Faults only in a lock file.
WRONG_IN_A_LOCK = [
    pytest.param("a: 1\nb: 2\na: 3\n", 3, "the key a occurs twice", id="a key twice"),
    pytest.param("a: 1\n'a': 3\n", 2, "the key a occurs twice", id="a key twice, quoted"),
    pytest.param(f"? {'k' * 5000}\n: 1\n? {'k' * 5000}\n", 3, "kkk", id="a long key twice"),
    pytest.param("a:\n- !!python/object:os.system x\n", 2, "constructor", id="an object"),
    pytest.param("a:\n- !!python/name:os.system\n", 2, "constructor", id="a name"),
    pytest.param("a:\n- !reset x\n", 2, "constructor", id="a tag of an application"),
    pytest.param("a:\n- !!int ''\n", 2, "the value is not of type int", id="int of nothing"),
    pytest.param("a:\n- !!float ''\n", 2, "the value is not of type float", id="float of nothing"),
    pytest.param("a:\n- !!bool maybe\n", 2, "the value is not of type bool", id="bool"),
    pytest.param("a:\n- !!timestamp now\n", 2, "the value is not of type timestamp", id="time"),
    pytest.param("a: 2026-13-45\n", 1, "the value is not of type timestamp", id="no such month"),
    pytest.param("a: !!binary 'a'\n", 1, "base64", id="binary"),
    pytest.param(f"a: {'9' * 50}\n", 1, "the number is too large", id="a number"),
    pytest.param(f"a: -0x{'f' * 5000}\n", 1, "the number is too large", id="a long number"),
    pytest.param(f"\na: {'9' * 5000}\n", 2, "", id="one that Python does not read"),
]


@pytest.mark.parametrize(("text", "line", "words"), WRONG)
def test_invalid_file_is_reported_with_file_and_line(text, line, words):
    told = error_of(text)
    assert told.startswith(f"{PLACE}, line {line}: ")
    assert words in told


@pytest.mark.parametrize(("text", "line", "words"), WRONG + WRONG_IN_A_LOCK)
def test_lock_file_is_read_more_strictly(text, line, words):
    told = error_of(text, load_strict)
    assert told.startswith(f"{PLACE}, line {line}: ")
    assert words in told or "aliases are not allowed" in told


@pytest.mark.parametrize("start", ["[", "{a: ", "- ", "? "], ids=repr)
def test_nesting_of_2000_levels_is_rejected(start):
    """Python has a limit of 1,000 calls within each other."""
    assert error_of(start * 2_000) == f"{PLACE}: is nested too deeply"
    assert error_of(start * 2_000, load_strict) == f"{PLACE}: is nested too deeply"


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
def test_aliases_are_rejected_in_a_lock_file(text):
    number = 1 + next(n for n, line in enumerate(text.split("\n")) if "*" in line)
    assert error_of(text, load_strict) == f"{PLACE}, line {number}: aliases are not allowed"
    assert load(text)


def test_anchor_alone_is_not_an_alias():
    assert load_strict(b"a: &a 1\n", PLACE) == [{"a": 1}]


def test_alias_bomb_stays_as_small_as_its_text():
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
        pytest.param("<<: *a\n  own: 1", {"x": "1", "y": "2", "own": "1"}, id="added"),
        pytest.param("x: 3\n  <<: *a", {"x": "3", "y": "2"}, id="overridden"),
        pytest.param("<<: [*a, *b]", {"x": "1", "y": "2", "z": "4"}, id="two"),
        pytest.param("<<: *b\n  y: 5", {"x": "1", "y": "5", "z": "4"}, id="of one that merges"),
    ],
)
def test_merge_keys_are_applied(text, wanted):
    """A mapping that overrides merged keys can be merged itself, which is not a duplicate key."""
    (document,) = load(f"a: &a {{x: 1, y: 2}}\nb: &b\n  <<: *a\n  y: 3\n  z: 4\nc:\n  {text}\n")
    assert document["b"] == {"x": "1", "y": "3", "z": "4"}
    assert document["c"] == wanted


@pytest.mark.parametrize("text", ["a: &a\n  <<: *a\n  b: 1\n", "a: &a\n  <<: [*a, *a]\n  b: 1\n"])
def test_a_mapping_that_merges_itself_ends(text):
    assert load(text) == [{"a": {"b": "1"}}]


def test_missing_pyyaml_is_a_dependency_error(monkeypatch):
    monkeypatch.setitem(sys.modules, "yaml", None)
    with pytest.raises(DependencyError, match="PyYAML is needed to read it") as caught:
        load("a: 1")
    assert_tells(caught.value, "missing-dependency", PLACE)
    assert caught.value.details == {"library": "PyYAML"}
