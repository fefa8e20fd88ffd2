# SPDX-License-Identifier: GPL-3.0-or-later
"""The one edge to PyYAML: documents that know their lines, from files of people."""

from __future__ import annotations

import typing as t

from . import errors

# Pairs that merge keys may bring into a file: of a handful of lines they make billions else.
_MAX_MERGED = 100_000
# Python refuses to print numbers that are much larger, and nobody means one.
_MAX_BITS = 64
_WRONG = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)

_Base: t.Any = object  # for mypy, which does not see the loader it is mixed into


class Located(dict):
    """A mapping, and the line it starts on."""

    line = 0


def load_documents(raw: bytes, place: str, aliases: bool = True) -> list[t.Any]:
    """The documents of a file, of builtin types and ``Located``; or InputError with the line, DependencyError."""
    try:
        import yaml  # pylint: disable=import-outside-toplevel
    except ImportError as exc:
        raise errors.DependencyError(
            f"{place}: PyYAML is needed to read it", library="PyYAML"
        ) from exc
    try:
        return list(yaml.load_all(raw, _loader(yaml, aliases)))
    except yaml.MarkedYAMLError as exc:
        mark = exc.problem_mark or exc.context_mark
        line = f", line {mark.line + 1}" if mark else ""
        problem = ": ".join(filter(None, (exc.context, exc.problem)))
        raise errors.InputError(f"{place}{line}: {errors.printable(problem)}") from exc
    except yaml.reader.ReaderError as exc:
        before = raw[: exc.position].decode("latin-1")
        if exc.encoding == "unicode":  # it was decoded, so that characters were counted
            before = raw.decode("utf-8", "replace")[: exc.position]
        line = f", line {before.count(chr(10)) + 1}"
        raise errors.InputError(
            f"{place}{line}: is no YAML: {errors.printable(exc.reason)}"
        ) from exc
    except RecursionError as exc:
        raise errors.InputError(f"{place}: is nested too deeply") from exc


class _Strict(_Base):
    """What the safe loader needs to refuse what makes two readers see two files, and files that explode."""

    def construct_object(self, node: t.Any, deep: bool = False) -> t.Any:
        """Construct one, or say where a value is that its type does not allow."""
        try:
            found = super().construct_object(node, deep)
        except _WRONG:
            self.fail(f"the value is no {node.tag.rpartition(':')[2]}", node)
        if isinstance(found, int) and found.bit_length() > _MAX_BITS:
            self.fail("the number is too large", node)
        return found

    def flatten_mapping(self, node: t.Any) -> None:
        """Merge, within reason, and refuse a key that is there twice."""
        if id(node) in self.flat:  # so it has what it overrides beside its own keys
            return
        self.flat[id(node)] = node
        seen = set()
        for key, value in node.value:
            if key.tag == "tag:yaml.org,2002:merge":
                for one in value.value if value.id == "sequence" else [value]:
                    self._count(one)
            elif key.id == "scalar":
                if key.value in seen:
                    self.fail(f"the key {key.value} is there twice", key)
                seen.add(key.value)
        super().flatten_mapping(node)

    def _count(self, node: t.Any) -> None:
        if node.id == "mapping":
            self.flatten_mapping(node)
            self.merged += len(node.value)
            if self.merged > _MAX_MERGED:
                self.fail("merge keys make it too large", node)


def _loader(yaml: t.Any, aliases: bool) -> t.Any:
    class Loader(_Strict, yaml.SafeLoader):
        def __init__(self, stream: t.Any) -> None:
            super().__init__(stream)
            self.merged = 0
            self.flat: dict[int, t.Any] = {}  # whole nodes, or another one could get the same id

        def compose_node(self, parent: t.Any, index: t.Any) -> t.Any:
            if not aliases and self.check_event(yaml.AliasEvent):
                self.fail("aliases have no place here", self.peek_event())
            return super().compose_node(parent, index)

        def fail(self, problem: str, node: t.Any) -> t.NoReturn:
            raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark)

    Loader.add_constructor("tag:yaml.org,2002:map", _located)
    # A bare =, which definitions of custom resources have among their operators.
    Loader.add_constructor("tag:yaml.org,2002:value", Loader.construct_yaml_str)
    return Loader


def _located(loader: t.Any, node: t.Any) -> t.Iterator[Located]:
    found = Located()
    found.line = node.start_mark.line + 1
    yield found
    found.update(loader.construct_mapping(node))
