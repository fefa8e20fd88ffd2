# SPDX-License-Identifier: GPL-3.0-or-later
"""A Dockerfile for a builder that knows the images by other names."""

from __future__ import annotations

import re
import typing as t

from .._image.instructions import Instruction
from .._image.names import Platform
from .dockerfile import SCRATCH, Dockerfile, Stage, source_of

_FROM = re.compile(r"--from=\S+")
Names = t.Mapping[t.Tuple[str, Platform], str]


def stage_name(number: int) -> str:
    """Return the name of a stage in a renamed Dockerfile."""
    return f"lockstep-{number}"


def renamed(dockerfile: Dockerfile, text: str, target: Stage, names: Names) -> str:
    """Return the text of a Dockerfile with ``names`` for its images, without stages that ``target`` does not need.

    Lines keep their numbers. Raise BuildUnsupportedError for a here-document, which the builder of Docker cannot read.
    """
    lines = text.split("\n")
    needed = {stage.number for stage in dockerfile.needed(target)}
    ends = [stage.place.line for stage in dockerfile.stages[1:]] + [len(lines) + 1]
    for stage, end in zip(dockerfile.stages, ends):
        if stage.number not in needed:
            _replace(lines, stage.place.line, end, "")
            continue
        starts = [one.line for one in stage.instructions] + [end]
        _replace(lines, stage.place.line, starts[0], _start(stage, names))
        for one, after in zip(stage.instructions, starts[1:]):
            if one.documents:
                raise dockerfile.place(one).unsupported(
                    "the builder of Docker cannot read here-documents",
                    "Set engine to buildah or podman.",
                )
            source = "" if one.is_trigger else source_of(one)
            if source:
                number = dockerfile.find_stage(source, stage.number)
                own = names.get((source, stage.platform), source)
                _rename(lines, one, after, own if number is None else stage_name(number))
    return "\n".join(lines)


def _start(stage: Stage, names: Names) -> str:
    base = stage.base
    if isinstance(base, int):
        base = stage_name(base)
    elif base != SCRATCH:
        base = f"--platform={stage.platform} {names[base, stage.platform]}"
    return f"FROM {base} AS {stage_name(stage.number)}"


def _rename(lines: list[str], one: Instruction, end: int, source: str) -> None:
    _replace(lines, one.line, end, _FROM.sub(f"--from={source}", one.text, count=1))


def _replace(lines: list[str], first: int, end: int, text: str) -> None:
    """Put a text into the line ``first``, and nothing into the lines after it up to ``end``."""
    lines[first - 1 : end - 1] = [text, *[""] * (end - first - 1)]
