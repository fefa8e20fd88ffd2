# SPDX-License-Identifier: GPL-3.0-or-later
"""The one edge to PyYAML: documents that know their lines, from files of people."""

from __future__ import annotations

import typing as t

from ansible_collections.lockstep.images.plugins.module_utils._oci.errors import (
    DependencyError,
    InputError,
    printable,
)

# Pairs that merge keys may bring into a file: of a handful of lines they make billions else.
_MAX_MERGED = 100_000


class Located(dict):
    """A mapping, and the line it starts on."""

    line = 0


def load_documents(raw: bytes, place: str, aliases: bool = True) -> list[t.Any]:
    """The documents of a file, of builtin types and ``Located``; or InputError with the line, DependencyError."""
    try:
        import yaml  # pylint: disable=import-outside-toplevel
    except ImportError as exc:
        raise DependencyError(f"{place}: PyYAML is needed to read it", library="PyYAML") from exc
    try:
        return list(yaml.load_all(raw, _loader(yaml, aliases)))
    except yaml.MarkedYAMLError as exc:
        mark = exc.problem_mark or exc.context_mark
        line = f", line {mark.line + 1}" if mark else ""
        raise InputError(f"{place}{line}: {printable(str(exc.problem or exc.context))}") from exc
    except yaml.YAMLError as exc:
        raise InputError(f"{place}: is no YAML: {printable(str(exc))}") from exc
    except (RecursionError, UnicodeDecodeError, ValueError) as exc:
        raise InputError(f"{place}: is no YAML that can be read: {printable(str(exc))}") from exc


def _loader(yaml: t.Any, aliases: bool) -> t.Any:
    def fail(problem: str, node: t.Any) -> t.NoReturn:
        raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark)

    class Loader(yaml.SafeLoader):
        """The safe loader that refuses what makes two readers see two files."""

        merged = 0

        def compose_node(self, parent: t.Any, index: t.Any) -> t.Any:
            """Compose one, unless it is an alias that is not wanted."""
            if not aliases and self.check_event(yaml.AliasEvent):
                fail("aliases have no place here", self.peek_event())
            return super().compose_node(parent, index)

        def flatten_mapping(self, node: t.Any) -> None:
            """Merge, within reason, and refuse a key that is there twice."""
            seen = set()
            for key, _value in node.value:
                if isinstance(key, yaml.ScalarNode) and key.value != "<<":
                    if key.value in seen:
                        fail(f"the key {key.value} is there twice", key)
                    seen.add(key.value)
            super().flatten_mapping(node)
            self.merged += len(node.value)
            if self.merged > _MAX_MERGED:
                fail("merge keys make it too large", node)

    def construct(loader: t.Any, node: t.Any) -> t.Iterator[Located]:
        found = Located()
        found.line = node.start_mark.line + 1
        yield found
        found.update(loader.construct_mapping(node))

    Loader.add_constructor("tag:yaml.org,2002:map", construct)
    return Loader
