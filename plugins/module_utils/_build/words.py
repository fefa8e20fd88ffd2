# SPDX-License-Identifier: GPL-3.0-or-later
"""Words of a Dockerfile: quotes, escapes and variables (Dockerfile reference, "Environment replacement")."""

from __future__ import annotations

import json
import re
import typing as t

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*|[0-9]")
_SPACE = " \t\r\n"
_FLAG = re.compile(r"--([a-z-]+)(?:=(\S*))?(?:\s+|$)")
Values = t.Mapping[str, str]


class WordError(ValueError):
    """A word is malformed; the message says how."""


def expand(word: str, values: Values, escape: str = "\\", keeps_quotes: bool = False) -> str:
    """Return a word without its quotes, and with the values of its variables; raise WordError if it is malformed.

    With ``keeps_quotes`` a quote is an ordinary character, and an escape counts only before a dollar sign.
    """
    try:
        return _Word(word, values, escape, keeps_quotes).read("")
    except RecursionError:
        raise WordError("variables are nested too deeply") from None


class _Word:
    """A word that is read from its first to its last character."""

    def __init__(self, text: str, values: Values, escape: str, keeps_quotes: bool) -> None:
        self._text, self._values, self._escape = text, values, escape
        self._keeps_quotes = keeps_quotes
        self._at = 0

    def read(self, stop: str) -> str:
        """Return everything up to the character ``stop``, which is skipped; up to the end for ""."""
        found: list[str] = []
        while self._at < len(self._text):
            char = self._next()
            if char == stop:
                return "".join(found)
            if self._keeps_quotes and char in ("'", '"', self._escape):
                is_escape = char == self._escape and self._text[self._at : self._at + 1] == "$"
                found.append(self._next() if is_escape else char)
            elif char == "'":
                found.append(self._single())
            elif char == '"':
                found.append(self._double())
            elif char == "$":
                found.append(self._variable())
            elif char == self._escape:
                found.append(self._next() if self._at < len(self._text) else char)
            else:
                found.append(char)
        if stop:
            raise WordError(f"a variable lacks its {stop}")
        return "".join(found)

    def _next(self) -> str:
        self._at += 1
        return self._text[self._at - 1]

    def _single(self) -> str:
        end = self._text.find("'", self._at)
        if end < 0:
            raise WordError("a single quote is not closed")
        found = self._text[self._at : end]
        self._at = end + 1
        return found

    def _double(self) -> str:
        found: list[str] = []
        while self._at < len(self._text):
            char = self._next()
            if char == '"':
                return "".join(found)
            if char == "$":
                found.append(self._variable())
                continue
            if char == self._escape and self._text[self._at : self._at + 1] in ('"', "$", char):
                char = self._next()
            found.append(char)
        raise WordError("a double quote is not closed")

    def _variable(self) -> str:
        if self._text[self._at : self._at + 1] == "{":
            self._at += 1
            return self._braces()
        match = _NAME.match(self._text, self._at)
        if not match:
            return "$"
        self._at = match.end()
        return self._values.get(match.group(), "")

    def _braces(self) -> str:
        match = _NAME.match(self._text, self._at)
        if not match:
            raise WordError("a variable in braces has no name")
        self._at = match.end()
        name, value = match.group(), self._values.get(match.group())
        form = self._next() if self._at < len(self._text) else ""
        if form == "}":
            return value or ""
        is_set = value is not None
        if form == ":":
            form, is_set = self._text[self._at : self._at + 1], bool(value)
            self._at += 1
        if not form or form not in "-+?":
            raise WordError(f"the form of the variable {name} is not supported")
        other = self.read("}")
        if form == "+":
            return other if is_set else ""
        if is_set:
            return value or ""
        if form == "?":
            raise WordError(f"the variable {name} is not set: {other}")
        return other


def words_of(text: str, escape: str = "\\") -> list[str]:
    """Return the words of a text; white space in quotes, or after an escape, does not end a word."""
    found: list[str] = []
    word, quote, at = "", "", 0
    while at < len(text):
        char = text[at]
        at += 1
        if char in _SPACE and not quote:
            found += [word] if word else []
            word = ""
            continue
        if char == escape and quote != "'" and at < len(text):
            char += text[at]
            at += 1
        elif char == quote:
            quote = ""
        elif char in "'\"" and not quote:
            quote = char
        word += char
    return [*found, word] if word else found


def pairs_of(text: str, escape: str = "\\") -> list[tuple[str, str]]:
    """Return the pairs of ENV or LABEL, not expanded: ``a=1 b=2``, or ``a rest of the line``; raise WordError otherwise."""
    words = words_of(text, escape)
    if not words:
        raise WordError("has no arguments")
    if "=" not in words[0]:
        name, *rest = text.split(None, 1)
        if not rest:
            raise WordError(f"{name} has no value")
        return [(name, rest[0])]
    pairs = [word.partition("=") for word in words]
    for name, equals, _value in pairs:
        if not name or not equals:
            raise WordError("must have the form name=value for each word")
    return [(name, value) for name, _equals, value in pairs]


def json_words(text: str) -> list[str] | None:
    """Return the entries of a list of strings in JSON, None for anything else."""
    if not text.startswith("["):
        return None
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    is_list = isinstance(found, list) and all(isinstance(one, str) for one in found)
    return found if is_list else None


def flags_of(text: str) -> tuple[dict[str, str], str]:
    """Return the flags at the start of arguments, and the rest; a flag without a value is ``true``."""
    flags: dict[str, str] = {}
    match = _FLAG.match(text)
    while match:
        if match.group(1) in flags:
            raise WordError(f"--{match.group(1)} is there twice")
        flags[match.group(1)] = "true" if match.group(2) is None else match.group(2)
        text = text[match.end() :]
        match = _FLAG.match(text)
    return flags, text
