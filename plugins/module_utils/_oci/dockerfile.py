# SPDX-License-Identifier: GPL-3.0-or-later
"""The images that a Dockerfile builds on."""

from __future__ import annotations

import re
import typing as t

from .mentions import Findings

_NAME = re.compile(
    r"(?:docker|container)file(?:[._-].*)?$|.*\.(?:docker|container)file$", re.IGNORECASE
)
_INSTRUCTION = re.compile(r"\s*([A-Za-z]+)\s+(.*)", re.DOTALL)
_ESCAPE = re.compile(r"#\s*escape\s*=\s*(\S)", re.IGNORECASE)
_SYNTAX = re.compile(r"#\s*syntax\s*=\s*(\S+)", re.IGNORECASE)
_HEREDOC = re.compile(r"""<<-?\s*["']?(\w+)["']?""")
_VARIABLE = re.compile(r"\$(?:\{(\w+)(?:(:?[-+])([^}]*))?\}|(\w+))")
_ARG = re.compile(r"""(\w+)=("[^"]*"|'[^']*'|\S*)""")
_FROM = re.compile(r"--from=(\S+)")
_MOUNT = re.compile(r"--mount=(\S+)")


def is_dockerfile(name: str) -> bool:
    """Whether a file is called as a Dockerfile or a Containerfile is."""
    return bool(_NAME.match(name))


def read_dockerfile(text: str, out: Findings, first: int = 1) -> None:
    """Take what stages start from, and what is copied or mounted from other images than stages."""
    arguments: dict[str, str] = {}
    stages: list[str] = []
    syntax = _SYNTAX.match(text)
    if syntax:
        out.doubt("syntax", syntax.group(1), first)
    for line, word, rest in _instructions(text, first):
        if word == "ARG":
            for name, value in _ARG.findall(rest):
                arguments[name] = _filled(value.strip("\"'"), arguments)
        elif word == "FROM":
            stages.append(_read_from(rest, line, arguments, stages, out))
        elif word in ("COPY", "ADD", "RUN"):
            for image in _sources(word, rest):
                is_number = image.isdigit() and int(image) < len(stages)
                if image.lower() not in stages and not is_number:
                    out.take(_filled(image, arguments), line)


def _read_from(
    rest: str, line: int, arguments: t.Mapping[str, str], stages: t.Container[str], out: Findings
) -> str:
    """Take what a stage starts from; return the name of the stage, which may be empty."""
    words = rest.split()
    image, *more = [word for word in words if not word.startswith("--")] or [""]
    image = _filled(image, arguments)
    platform = "".join(word[11:] for word in words if word.startswith("--platform="))
    platform = _filled(platform, arguments)
    if image.lower() not in stages and image != "scratch":
        # One that BuildKit fills in is that of the machine or of the build.
        out.take(image, line, "" if "$" in platform else platform)
    return more[1].lower() if len(more) == 2 and more[0].lower() == "as" else ""


def _sources(word: str, rest: str) -> list[str]:
    if word == "RUN":
        mounts = [part for mount in _MOUNT.findall(rest) for part in mount.split(",")]
        return [part[5:].strip("\"'") for part in mounts if part.startswith("from=")]
    return [source.strip("\"'") for source in _FROM.findall(rest.partition("<<")[0])]


def _filled(text: str, arguments: t.Mapping[str, str]) -> str:
    """A text with the values of arguments; one that has none stays as it is written."""

    def value(match: re.Match[str]) -> str:
        name, form, other = match.group(1) or match.group(4), match.group(2), match.group(3)
        known = arguments.get(name)
        if form and "+" in form:
            return other if known else ""
        return known or (other if form else match.group() if known is None else "")

    return _VARIABLE.sub(value, text)


def _instructions(text: str, first: int) -> t.Iterator[tuple[int, str, str]]:
    """Each instruction with the line it starts on, in capitals, and what is behind it on all its lines."""
    escape = _ESCAPE.match(text)
    joint = re.compile(re.escape(escape.group(1) if escape else "\\") + r"\s*$")
    whole, start = "", 0
    ends: list[str] = []
    for number, line in enumerate(text.split("\n"), first):
        if ends:  # in a here-document, which is no part of the instruction
            ends = ends[1:] if line.strip() == ends[0] else ends
            continue
        if line.lstrip().startswith("#") or (whole and not line.strip()):
            continue
        start = start if whole else number
        whole += joint.sub(" ", line)
        if joint.search(line):
            continue
        match = _INSTRUCTION.match(whole)
        whole = ""
        if match and match.group(1).upper() == "ONBUILD":
            match = _INSTRUCTION.match(match.group(2))
        if match:
            word, rest = match.group(1).upper(), match.group(2).strip()
            ends = _HEREDOC.findall(rest) if word in ("RUN", "COPY", "ADD") else []
            yield start, word, rest
