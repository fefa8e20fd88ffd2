# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find the phrases that docs/contributing/language.md strikes, and print what to write instead.

Check the whole tree, or the files that are given.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator
from fnmatch import fnmatch
from pathlib import Path

ROOT = Path(__file__).parents[1]
GUIDE = "docs/contributing/language.md"
SUFFIXES = (".md", ".py", ".yml", ".yaml", ".svg", ".j2")
SKIPPED = (GUIDE, ".*", "docs/ko/*", "LICENSES/*", "tests/output/*", "tests/integration/*/files/*")

OUTSIDE, CODE = "\0", "~"  # stand for hidden text: not prose; code within prose
SPACE = r"(?:[^\S\n]+|[^\S\n]*\n[^\S\n]*)"
START = r"(?:\A|\0(?!\0)|[.!?:|>]|\n\s*\n|\n[^\S\n]*(?:[-*]|\d+\.)[^\S\n])[\s>*-]*"
LITERALS = (r"``?[^`]+``?", r"\b[A-Z]+\([^)]*\)", r"\{\{.*?\}\}", r"\{%.*?%\}", r"https?://\S+")
QUOTED = r'(?<=[\s(])"[^"\n]{1,90}"'
TASK = r"^ *- (?:name|task): +(.+)$"
TEST = r"^ *def test_(?:[FRr]\d+_)?(\w+)"
STRING = r"""(?P<comment>#[^\n]*)|(?P<quote>\"{3}|'{3}|["'])(?P<text>(?:\\.|(?!(?P=quote)).)*)(?P=quote)"""


# The heading of the table ("Words", "Names of tasks", "Names of tests"), the phrase, the advice.
Rule = tuple[str, str, str, "re.Pattern[str]"]


def compiled(phrase: str) -> re.Pattern[str]:
    """Compile a phrase in the notation that the guide explains."""
    result, glue = "", "(?P<found>"
    for token in phrase.split():
        words = re.escape(token.lstrip("-")).replace(r"\*", r"\w*").split("/")
        if token == "^":
            result += START
        elif token == "...":
            result, glue = rf"{result}{SPACE}(?:[^\s.;:|~\0]+{SPACE}){{0,5}}?", ""
        elif not token.startswith("-"):
            result, glue = rf"{result}{glue}(?<![\w-])(?:{'|'.join(words)})(?![\w-])", SPACE
        elif result:
            result += rf"(?!{SPACE}(?:{'|'.join(words)})\b)"
        else:
            result = "".join(rf"(?<!\b{word}\s)" for word in words)
    return re.compile(result + ")")


def rules(guide: str) -> list[Rule]:
    """Return the rules in the tables of the guide; the code spans of a first column are the phrases."""
    found, scope = [], ""
    for line in guide.splitlines():
        if line.startswith("## "):
            scope = line[3:]
        elif line.startswith("| `"):
            struck, instead = line.strip("| ").split(" | ")
            for phrase in re.findall(r"`([^`]+)`", struck):
                found.append((scope, phrase, instead, compiled(phrase)))
    return found


def blank(text: str, by: str) -> str:
    return re.sub(r"\S+", lambda found: by * len(found[0]), text)


def hide(text: str, *patterns: str, by: str = CODE) -> str:
    """Replace the characters that the patterns match; blanks, line ends and offsets stay."""
    for pattern in patterns:
        text = re.sub(pattern, lambda found: blank(found[0], by), text, flags=re.S | re.M)
    return text


def only(text: str, spans: Iterable[tuple[int, int]]) -> str:
    """Hide everything outside the spans."""
    shown = list(blank(text, OUTSIDE))
    for start, end in spans:
        shown[start:end] = text[start:end]
    return "".join(shown)


def matches(text: str, pattern: str) -> str:
    """Hide everything outside the first group of the matches."""
    return only(text, (found.span(1) for found in re.finditer(pattern, text, re.M)))


def python(path: str, text: str) -> Iterator[tuple[str, str]]:
    notes, messages = [], []
    for found in re.finditer(STRING, text, re.S):
        begins = not text[text.rfind("\n", 0, found.start()) + 1 : found.start()].strip()
        if found["comment"] or (found["quote"] == '"""' and begins):
            notes.append(found.span("text" if found["quote"] else 0))
        elif " " in found["text"] and path.startswith(("plugins/", "tests/dev")):
            messages.append(found.span("text"))
    yield "Words", hide(only(text, notes), *LITERALS, QUOTED).replace("#", " ")
    shown = hide(only(text, messages), *LITERALS, r"\{[^{}]*\}", r"\\.")
    yield "Words", hide(shown, r"(?<!\0)\0\s+\0{1,2}(?!\0)", by=" ")  # between adjacent literals
    yield "Names of tests", matches(text, TEST).replace("_", " ")


def texts(path: str, text: str) -> Iterator[tuple[str, str]]:
    """Return what people read in a file: the scope of the rules, and a text with the offsets of the file."""
    if path.endswith(".py"):
        yield from python(path, text)
    elif path.endswith(".md"):
        prose = hide(text, r"<!--.*?-->", r"^ *```.*?^ *```$", by=OUTSIDE)
        yield "Words", hide(prose, *LITERALS, QUOTED, r"(?<=\])\([^)]*\)").replace("#", " ")
    elif path.startswith("tests/integration"):  # only comments: values are test data
        yield "Words", hide(matches(text, r"(?:^|\s)(#.*)$"), *LITERALS, QUOTED).replace("#", " ")
    else:
        tags = r"<(style|script)\b.*?</\1>", r"<[^>\n]*>"
        yield "Words", hide(text, *LITERALS, QUOTED, *tags).replace("#", " ")
    yield "Names of tasks", hide(matches(text, TASK), *LITERALS)


def may_match(phrase: str, text: str) -> bool:
    """Return whether all words of a phrase occur in a text in lower case: most phrases end here."""
    tokens = [token.split("/") for token in phrase.split() if token[0] not in "^.-"]
    return all(any(word.rstrip("*") in text for word in words) for words in tokens)


def findings(path: str, struck: list[Rule]) -> list[str]:
    """Return a line for each struck phrase in a file, in the order of the file."""
    found = set()
    for scope, shown in texts(path, (ROOT / path).read_text(encoding="utf-8")):
        lower = shown.lower()
        for of, phrase, instead, pattern in struck:
            if of in ("Words", scope) and may_match(phrase, lower):
                for hit in pattern.finditer(lower):
                    line = lower.count("\n", 0, hit.start("found")) + 1
                    found.add((line, f"{path}:{line}: {phrase}: write {instead}"))
    return [text for _line, text in sorted(found)]


def main(arguments: list[str]) -> int:
    struck = rules((ROOT / GUIDE).read_text(encoding="utf-8"))
    tree = [path.relative_to(ROOT).as_posix() for path in sorted(ROOT.rglob("*.*"))]
    tree = [p for p in tree if p.endswith(SUFFIXES) and not any(fnmatch(p, g) for g in SKIPPED)]
    paths = arguments or tree
    lines = [line for path in paths for line in findings(path, struck)]
    print(*lines, f"{len(lines)} struck phrases", sep="\n")
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
