# SPDX-License-Identifier: GPL-3.0-or-later
"""Read YAML and JSON that users wrote. The one edge to PyYAML: values have line numbers, and no tag runs code."""

from __future__ import annotations

import bisect
import codecs
import json
import re
import typing as t

from .._image import errors

# The limit of pairs from merge keys: without it, a few lines can expand to billions.
_MAX_MERGED = 100_000
# Python refuses to print much larger numbers, and no valid file has one.
_MAX_BITS = 64
_WRONG = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)
_TAG = "tag:yaml.org,2002:"
# Tags of compose and Ansible that change how a value is used, but not its type.
_PLAIN_TAGS = ("!", "!override", "!unsafe")
# A tab after text, which is white space in YAML but an error in the Python parser.
_TAB = re.compile(r"(?<=\S)[ \t]*\t[ \t]*")
# A mapping with one of these keys has an image.
_IMAGE_KEY = re.compile("(?:image|images|repository|containers|services)$", re.IGNORECASE)
_ENCODINGS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)

_Base: t.Any = object  # for mypy, which does not see the loader it is mixed into


class Located(dict):
    """A mapping, and the line that it starts on; 0 if that is unknown."""

    line = 0


class Text(str):
    """A scalar as it is written, and its line; the text of a block (``is_block``) starts on the next line.

    ``is_text`` is false for a scalar that YAML reads as another type, such as a number.
    """

    line = 0
    is_text = True
    is_block = False

    @classmethod
    def at(cls, value: str, line: int, is_text: bool = True) -> Text:
        """Return a scalar on a line."""
        made = cls(value)
        made.line, made.is_text = line, is_text
        return made


class Documents(t.NamedTuple):
    """The documents of a file, and warnings about duplicate keys."""

    documents: list[t.Any]
    warnings: list[str]


def load_documents(raw: bytes, place: str) -> Documents:
    """Return the documents of a file that was written for another tool, as tolerantly as possible.

    Values are ``Located``, lists and ``Text``, None for null. Impossible numbers and dates and unknown tags are
    accepted. Of a duplicate key the last one counts, with a warning. Raise InputError with the line if the file cannot
    be read or a duplicate key has an image, DependencyError without PyYAML.
    """
    text = decode(raw, place)
    builder = _Builder(place)
    if text.lstrip()[:1] in ("{", "["):
        try:
            return Documents(list(_Json(text, builder).documents(text)), builder.warnings)
        except (ValueError, RecursionError):
            builder.warnings.clear()  # YAML can start so too, and its errors have a line
    return Documents(list(_yaml_documents(text, place, builder)), builder.warnings)


def load_strict(raw: bytes, place: str) -> list[t.Any]:
    """Return the documents of a lock file, as builtin types and ``Located``.

    What two parsers could read differently is an error: duplicate keys, aliases, unknown tags. Raise InputError with
    the line, DependencyError without PyYAML.
    """
    return list(_yaml_documents(decode(raw, place), place, None))


def decode(raw: bytes, place: str) -> str:
    """Return the text of a file in UTF-8, or in the encoding of its byte order mark; raise InputError with the line."""
    encoding = next((name for mark, name in _ENCODINGS if raw.startswith(mark)), "utf-8")
    try:
        return raw.decode(encoding)
    except UnicodeDecodeError as exc:
        line = raw[: exc.start].count(b"\n") + 1
        raise errors.InputError(
            f"{place}, line {line}: is not text in UTF-8: {exc.reason}",
            "Convert the file to UTF-8.",
        ) from exc


def _yaml_documents(text: str, place: str, builder: _Builder | None) -> t.Iterator[t.Any]:
    try:
        import yaml  # pylint: disable=import-outside-toplevel
    except ImportError as exc:
        raise errors.DependencyError(
            f"{place}: PyYAML is needed to read it", library="PyYAML"
        ) from exc
    try:
        nodes = _quickly(yaml, text) if builder else None
        loader = _loader(yaml, is_strict=builder is None)(_TAB.sub(" ", text) if builder else text)
        for node in _nodes(loader) if nodes is None else nodes:
            yield builder.build(node) if builder else loader.construct_document(node)
    except yaml.MarkedYAMLError as exc:
        mark = exc.problem_mark or exc.context_mark
        line = f", line {mark.line + 1}" if mark else ""
        problem = ": ".join(filter(None, (exc.context, exc.problem)))
        raise errors.InputError(f"{place}{line}: {errors.printable(problem)}") from exc
    except yaml.reader.ReaderError as exc:
        line = f", line {text[: exc.position].count(chr(10)) + 1}"
        raise errors.InputError(
            f"{place}{line}: is not YAML: {errors.printable(exc.reason)}"
        ) from exc
    except RecursionError as exc:
        raise errors.InputError(f"{place}: is nested too deeply") from exc


def _nodes(loader: t.Any) -> t.Iterator[t.Any]:
    while loader.check_node():
        yield loader.get_node()


def _quickly(yaml: t.Any, text: str) -> list[t.Any] | None:
    """Return the nodes of all documents from the parser of libyaml, which is four times as fast; None if it fails.

    The composer of libyaml is not used: it overflows the stack at deep nesting.
    """
    if not getattr(yaml, "__with_libyaml__", False):
        return None

    class Loader(_Tolerant, yaml.composer.Composer, yaml.CSafeLoader):
        alias_event = yaml.AliasEvent

        def __init__(self, stream: str) -> None:
            yaml.CSafeLoader.__init__(self, stream)
            yaml.composer.Composer.__init__(self)

    try:
        return list(_nodes(Loader(text)))
    except yaml.YAMLError:
        return None  # the Python parser returns the same nodes, or reports the error


class _Builder:
    """Builds the values of a file from the nodes of a parser, as tolerantly as possible."""

    def __init__(self, place: str) -> None:
        self.place = place
        self.warnings: list[str] = []
        self._made: dict[int, t.Any] = {}
        self._merged = 0

    def build(self, node: t.Any) -> t.Any:
        """Return the value of a YAML node; aliases of a node share one value."""
        if id(node) in self._made:
            return self._made[id(node)]
        line = node.start_mark.line + 1
        if node.tag == "!reset":  # compose: removes the value
            made: t.Any = None
        elif node.id == "scalar":
            made = _scalar(node, line)
        elif node.id == "sequence":
            made = self._made[id(node)] = []
            made += [self.build(one) for one in node.value]
        else:
            made = self._made[id(node)] = Located()
            made.line = line
            self._fill(made, node)
        # Keep the node too, or another one could get the same id.
        self._made[id(node)], self._made[-id(node)] = made, node
        return made

    def _fill(self, made: Located, node: t.Any) -> None:
        merged: list[t.Any] = []
        pairs = []
        for key, value in node.value:
            if key.tag == f"{_TAG}merge":
                one = self.build(value)
                merged += one if isinstance(one, list) else [one]
            else:
                pairs.append((self._key(key), self.build(value)))
        self.fill(made, pairs)
        for one in merged:
            if not isinstance(one, dict):
                raise self._error("the merged value is not a mapping", made.line)
            self._merged += len(one)
            if self._merged > _MAX_MERGED:
                raise self._error("merge keys make it too large", made.line)
            for key, value in one.items():
                made.setdefault(key, value)

    def fill(self, made: Located, pairs: t.Iterable[tuple[t.Any, t.Any]]) -> None:
        """Put pairs into a mapping; warn about a duplicate key, and raise InputError if it has an image."""
        for key, value in pairs:
            if key in made:
                line = getattr(key, "line", 0) or made.line
                problem = f"the key {errors.printable(str(key))} occurs twice"
                if _holds_image([{key: value}, {key: made[key]}]):
                    raise self._error(problem, line)
                self.warnings.append(f"{self.place}, line {line}: {problem}, the last one counts")
            made[key] = value

    def _key(self, node: t.Any) -> t.Any:
        key = self.build(node)
        if isinstance(key, (list, dict)):
            raise self._error("a key is not a text", node.start_mark.line + 1)
        return key

    def _error(self, problem: str, line: int) -> errors.InputError:
        return errors.InputError(f"{self.place}, line {line}: {problem}")


def _scalar(node: t.Any, line: int) -> Text | None:
    kind = node.tag[len(_TAG) :] if node.tag.startswith(_TAG) else ""
    if kind == "null":
        return None
    if kind in ("str", "value", "merge") or node.tag in _PLAIN_TAGS:
        made = Text.at(node.value, line)
        made.is_block = node.style in ("|", ">")
        return made
    if not kind:  # an application tag: !Ref of CloudFormation
        return Text.at(f"{node.tag} {node.value}", line)
    return Text.at(node.value, line, is_text=False)


def _holds_image(value: t.Any) -> bool:
    todo, seen = [value], set()
    while todo:
        one = todo.pop()
        if not isinstance(one, (dict, list)) or id(one) in seen:
            continue
        seen.add(id(one))
        if isinstance(one, dict):
            if any(isinstance(key, str) and _IMAGE_KEY.search(key) for key in one):
                return True
            todo += one.values()
        else:
            todo += one
    return False


class _Json(json.JSONDecoder):
    """Reads JSON and counts lines. Tabs and long keys are valid here, but not in YAML."""

    def __init__(self, text: str, builder: _Builder) -> None:
        super().__init__(object_pairs_hook=list, parse_int=_number, parse_float=_number)
        self._ends = [match.start() for match in re.finditer("\n", text)]
        self._builder = builder
        self._object: t.Any = json.decoder.JSONObject  # type: ignore[attr-defined]
        self._string: t.Any = json.decoder.scanstring  # type: ignore[attr-defined]
        self.parse_object, self.parse_string = self._located, self._text
        # The C scanner does not call the hooks for lines.
        self.scan_once = json.scanner.py_make_scanner(self)  # type: ignore[attr-defined]

    def documents(self, text: str) -> t.Iterator[t.Any]:
        """Yield the documents of a file, one after the other as jq writes them; raise ValueError for other text."""
        end = len(text) - len(text.lstrip())
        while end < len(text):
            value, end = self.raw_decode(text, end)
            yield value
            end = len(text) - len(text[end:].lstrip())

    def _line(self, position: int) -> int:
        return bisect.bisect_left(self._ends, position) + 1

    def _located(self, state: t.Any, *rest: t.Any) -> tuple[Located, int]:
        pairs, end = self._object(state, *rest)
        made = Located()
        made.line = self._line(state[1] - 1)
        self._builder.fill(made, pairs)
        return made, end

    def _text(self, text: str, start: int, *rest: t.Any) -> tuple[Text, int]:
        found, end = self._string(text, start, *rest)
        return Text.at(found, self._line(start - 1)), end


def _number(text: str) -> Text:
    return Text.at(text, 0, is_text=False)


class _Tolerant(_Base):
    """Accepts a second anchor of the same name, as YAML 1.2 does."""

    def compose_node(self, parent: t.Any, index: t.Any) -> t.Any:
        """Return the next node."""
        anchor = getattr(self.peek_event(), "anchor", None)
        if anchor and not self.check_event(self.alias_event):
            self.anchors.pop(anchor, None)
        return super().compose_node(parent, index)


class _Strict(_Base):
    """Rejects what two parsers could read differently."""

    def compose_node(self, parent: t.Any, index: t.Any) -> t.Any:
        """Return the next node; reject an alias."""
        if self.check_event(self.alias_event):
            self.fail("aliases are not allowed", self.peek_event())
        return super().compose_node(parent, index)

    def construct_object(self, node: t.Any, deep: bool = False) -> t.Any:
        """Return the value of a node; reject a value that its type does not allow, with its line."""
        try:
            found = super().construct_object(node, deep)
        except _WRONG:
            self.fail(f"the value is not of type {node.tag.rpartition(':')[2]}", node)
        if isinstance(found, int) and found.bit_length() > _MAX_BITS:
            self.fail("the number is too large", node)
        return found

    def flatten_mapping(self, node: t.Any) -> None:
        """Apply merge keys; reject a duplicate key."""
        seen = set()
        for key, _value in node.value:
            if key.id == "scalar":
                if key.value in seen:
                    self.fail(f"the key {key.value} occurs twice", key)
                seen.add(key.value)
        super().flatten_mapping(node)

    def fail(self, problem: str, node: t.Any) -> t.NoReturn:
        """Raise the error of the library that has the line of a node."""
        raise self.error(None, None, problem, node.start_mark)


def _loader(yaml: t.Any, is_strict: bool) -> t.Any:
    class Loader(_Strict if is_strict else _Tolerant, yaml.SafeLoader):  # type: ignore[misc]
        alias_event, error = yaml.AliasEvent, yaml.constructor.ConstructorError

    Loader.add_constructor(f"{_TAG}map", _located)
    return Loader


def _located(loader: t.Any, node: t.Any) -> t.Iterator[Located]:
    found = Located()
    found.line = node.start_mark.line + 1
    yield found
    found.update(loader.construct_mapping(node))
