# SPDX-License-Identifier: GPL-3.0-or-later
"""Read the base images of a Dockerfile (Dockerfile reference, docs.docker.com)."""

from __future__ import annotations

import re
import typing as t

from .._image.instructions import ESCAPE, directives, instructions
from .mentions import Findings

_NAME = re.compile(
    r"(?:docker|container)file(?:[._-].*)?$|.*\.(?:docker|container)file$", re.IGNORECASE
)
_VARIABLE = re.compile(r"\$(?:\{(\w+)(?:(:?[-+])([^}]*))?\}|(\w+))")
_ARG = re.compile(r"""(\w+)=("[^"]*"|'[^']*'|\S*)""")
_FROM = re.compile(r"--from=(\S+)")
_MOUNT = re.compile(r"--mount=(\S+)")


def is_dockerfile(name: str) -> bool:
    """Return whether a file has the name of a Dockerfile or a Containerfile."""
    return bool(_NAME.match(name))


def read_dockerfile(text: str, out: Findings, first: int = 1) -> None:
    """Take the images that stages start from, and images that are the source of a copy or a mount.

    ``first`` is the number of the first line of ``text``.
    """
    shared: dict[str, str] = {}  # arguments before the first stage, the only ones that FROM sees
    arguments = shared
    stages: list[str] = []
    known = directives(text)
    if "syntax" in known:
        number, image = known["syntax"]
        out.doubt("syntax", image, first + number)
    escape = known.get("escape", (0, ESCAPE))[1]
    for line, word, rest, *_more in instructions(text, first, escape):
        if word == "ARG":
            for name, value in _ARG.findall(rest):
                arguments[name] = _filled(value.strip("\"'"), arguments)
        elif word == "FROM" and rest:
            stages.append(_read_from(rest, line, shared, stages, out))
            arguments = dict(shared)
        elif word in ("COPY", "ADD", "RUN"):
            for image in _sources(word, rest):
                is_number = image.isdigit() and int(image) < len(stages)
                if image.lower() not in stages and not is_number:
                    out.take(_filled(image, arguments), line)


def _read_from(
    rest: str, line: int, arguments: t.Mapping[str, str], stages: t.Sequence[str], out: Findings
) -> str:
    """Take the image that a stage starts from; return the name of the stage, "" if it has none."""
    words = rest.split()
    image, *more = [word for word in words if not word.startswith("--")] or [""]
    image = _filled(image.strip("\"'"), arguments)
    platform = "".join(word[11:] for word in words if word.startswith("--platform="))
    platform = _filled(platform, arguments)
    if not _is_stage(image, stages) and image != "scratch":
        # A platform that BuildKit fills in is that of the machine or of the build.
        out.take(image, line, "" if "$" in platform else platform)
    return more[1].lower() if len(more) == 2 and more[0].lower() == "as" else ""


def _is_stage(image: str, stages: t.Sequence[str]) -> bool:
    """Return whether a name is that of a stage, also with a variable that the build fills in: base-$TARGETARCH."""
    name, number = _VARIABLE.subn("\n", image.lower())
    pattern = re.escape(name).replace("\\\n", ".+")
    return image.lower() in stages or (
        bool(number) and name != "\n" and any(re.fullmatch(pattern, one) for one in stages)
    )


def _sources(word: str, rest: str) -> list[str]:
    if word == "RUN":
        mounts = [part for mount in _MOUNT.findall(rest) for part in mount.split(",")]
        return [part[5:].strip("\"'") for part in mounts if part.startswith("from=")]
    return [source.strip("\"'") for source in _FROM.findall(rest.partition("<<")[0])]


def _filled(text: str, arguments: t.Mapping[str, str]) -> str:
    """Return a text with the values of arguments; an argument without a value is not replaced."""

    def value(match: re.Match[str]) -> str:
        name, form, other = match.group(1) or match.group(4), match.group(2), match.group(3)
        known = arguments.get(name)
        if form and "+" in form:
            return other if known else ""
        return known or (other if form else match.group() if known is None else "")

    return _VARIABLE.sub(value, text)
