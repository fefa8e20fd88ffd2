# SPDX-License-Identifier: GPL-3.0-or-later
"""The instructions of a Dockerfile: lines are joined, comments are skipped, here-documents are set aside.

Source: Dockerfile reference, docs.docker.com, "Format", "Parser directives" and "Here-Documents".
"""

from __future__ import annotations

import re
import typing as t

ESCAPE = "\\"
_INSTRUCTION = re.compile(r"\s*(\S+)(?:\s+(.*))?", re.DOTALL)
_DIRECTIVE = re.compile(r"\s*#\s*(syntax|escape|check)\s*=\s*(\S+)", re.IGNORECASE)
# A separate word: $((1<<3)) and <<<text of a shell do not match.
_HEREDOC = re.compile(r"""(?<!\S)[0-9]*<<(-?)(["']?)(\w[\w.-]*)\2(?!\S)""")
_WITH_DOCUMENTS = ("RUN", "COPY", "ADD")


class Document(t.NamedTuple):
    """A here-document. Variables in a quoted one are not replaced."""

    name: str
    body: str
    is_quoted: bool


class Instruction(t.NamedTuple):
    """One instruction: the number of its first line, its name in capitals, and its arguments of all lines.

    With ``is_trigger`` it is the instruction after ONBUILD.
    """

    line: int
    word: str
    rest: str
    documents: tuple[Document, ...] = ()
    is_trigger: bool = False

    @property
    def text(self) -> str:
        """The instruction in one line, without ONBUILD."""
        return f"{self.word} {self.rest}".strip()


def directives(text: str) -> dict[str, tuple[int, str]]:
    """Return the parser directives at the top, by name: the line number, counted from 0, and the first word."""
    found: dict[str, tuple[int, str]] = {}
    for number, line in enumerate(text.split("\n")):
        match = _DIRECTIVE.match(line)
        if not match:
            break
        found.setdefault(match.group(1).lower(), (number, match.group(2)))
    return found


def instructions(text: str, first: int = 1, escape: str = ESCAPE) -> t.Iterator[Instruction]:
    """Yield every instruction; ``first`` is the number of the first line of ``text``.

    A here-document without its end is not one.
    """
    lines = text.split("\n")
    quoted = re.escape(escape)
    joint = re.compile(rf"(?<!{quoted}){quoted}[ \t\r]*$")
    parts: list[str] = []
    number = start = 0
    while number < len(lines):
        line = lines[number]
        number += 1
        if line.lstrip().startswith("#") or (parts and not line.strip()):
            continue
        start = start if parts else number
        parts.append(joint.sub("", line))
        if number < len(lines) and joint.search(line):
            continue
        whole, parts = "".join(parts), []
        match = _INSTRUCTION.match(whole)
        if match:
            one = _instruction(match, first + start - 1)
            documents, number = _documents(one, lines, number)
            yield one._replace(documents=tuple(documents))
    whole = "".join(parts)
    match = _INSTRUCTION.match(whole)
    if match:
        yield _instruction(match, first + start - 1)


def _instruction(match: re.Match[str], line: int) -> Instruction:
    word, rest = match.group(1).upper(), (match.group(2) or "").strip()
    inner = _INSTRUCTION.match(rest) if word == "ONBUILD" else None
    if inner:
        return _instruction(inner, line)._replace(is_trigger=True)
    return Instruction(line, word, rest)


def _documents(one: Instruction, lines: t.Sequence[str], number: int) -> tuple[list[Document], int]:
    """Return the here-documents of an instruction, and the number of the line after them."""
    documents: list[Document] = []
    if one.word not in _WITH_DOCUMENTS or "<<" not in one.rest:
        return documents, number
    for dash, quote, name in _HEREDOC.findall(one.rest):
        body: list[str] = []
        for end in range(number, len(lines)):
            line = lines[end].rstrip("\r")
            line = line.lstrip("\t") if dash else line
            if line == name:
                documents.append(Document(name, "".join(body), bool(quote)))
                number = end + 1
                break
            body.append(f"{line}\n")
    return documents, number
