# SPDX-License-Identifier: GPL-3.0-or-later
"""Patterns of file names: those of a ``.dockerignore`` file, and those of COPY (Go's ``filepath.Match``)."""

from __future__ import annotations

import os
import re
import typing as t

_WILD = re.compile(rb"[*?\[\\]")
# The inside of brackets, and a character or a range in it. A backslash quotes a character.
_INSIDE = re.compile(rb"(\^|(?!\^))((?:\\.|[^\\])(?:\\.|[^\\\]])*)\]", re.DOTALL)
_RANGE = re.compile(rb"(\\.|[^\\])(?:-(\\.|[^\\]))?", re.DOTALL)


class PatternError(ValueError):
    """A pattern is malformed."""


def is_pattern(name: bytes) -> bool:
    """Return whether a name has a character with a meaning of its own in a pattern."""
    return bool(_WILD.search(name))


def compile_name(pattern: bytes) -> re.Pattern[bytes]:
    """Return the expression for one component of a path; raise PatternError if it is malformed."""
    return _compiled(pattern, is_path=False)


def _compiled(pattern: bytes, is_path: bool) -> re.Pattern[bytes]:
    text, at = b"", 0
    while at < len(pattern):
        char = pattern[at : at + 1]
        at += 1
        if char == b"*":
            if is_path and pattern[at : at + 1] == b"*":
                at += 1
                if pattern[at : at + 1] == b"/":
                    at += 1
                text += b"(?:.*/)?" if at < len(pattern) else b".*"
            else:
                text += b"[^/]*"
        elif char == b"?":
            text += b"[^/]"
        elif char == b"\\":
            text += re.escape(pattern[at : at + 1])
            at += 1
        elif char == b"[":
            inside = _INSIDE.match(pattern, at)
            if not inside:
                raise PatternError("a bracket is not closed")
            text += b"[" + inside[1] + b"".join(map(_as_class, _RANGE.findall(inside[2]))) + b"]"
            at = inside.end()
        else:
            text += re.escape(char)
    try:
        return re.compile(text, re.DOTALL)
    except re.error as exc:
        raise PatternError(str(exc)) from exc


def _as_class(ends: tuple[bytes, bytes]) -> bytes:
    """Return a character or a range of brackets; in an expression, brackets would give more characters a meaning."""
    return b"-".join(re.escape(end[-1:]) for end in ends if end)


class Verdict(t.NamedTuple):
    """Which rules a path matches, by itself or by a directory above it."""

    matches: tuple[bool, ...]
    is_excluded: bool


class Ignore:
    """The rules of a ``.dockerignore`` file: the last rule that matches a path or a directory above it decides.

    Raise PatternError, which has the number of the line, for a malformed rule.
    """

    def __init__(self, text: bytes = b"") -> None:
        self._rules: list[tuple[re.Pattern[bytes], bool]] = []
        for number, line in enumerate(text.removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1):
            try:
                self._add(line)
            except PatternError as exc:
                raise PatternError(f"line {number}: {exc}") from exc
        self.top = Verdict((False,) * len(self._rules), False)
        self.has_exceptions = any(not excludes for _rule, excludes in self._rules)

    def _add(self, line: bytes) -> None:
        if line.startswith(b"#"):
            return
        pattern = line.strip()
        excludes = not pattern.startswith(b"!")
        pattern = pattern if excludes else pattern[1:].strip()
        if not pattern:
            if not excludes:
                raise PatternError("! has no pattern")
            return
        pattern = os.path.normpath(pattern).lstrip(b"/")
        if pattern not in (b".", b""):
            self._rules.append((_compiled(pattern, is_path=True), excludes))

    def judge(self, path: bytes, above: Verdict) -> Verdict:
        """Return the verdict on a path; ``above`` is the one on its directory."""
        if not self._rules:
            return above
        matches = tuple(
            known or bool(rule.fullmatch(path))
            for (rule, _excludes), known in zip(self._rules, above.matches)
        )
        is_excluded = False
        for (_rule, excludes), matched in zip(self._rules, matches):
            is_excluded = excludes if matched else is_excluded
        return Verdict(matches, is_excluded)

    def is_excluded(self, path: bytes) -> bool:
        """Return whether a path is excluded."""
        verdict, start = self.top, path.find(b"/")
        while start >= 0:
            verdict = self.judge(path[:start], verdict)
            start = path.find(b"/", start + 1)
        return self.judge(path, verdict).is_excluded
