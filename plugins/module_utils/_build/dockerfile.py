# SPDX-License-Identifier: GPL-3.0-or-later
"""A Dockerfile as stages: what each starts from, and its instructions. Nothing is built yet."""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass, field

from .._image.instructions import ESCAPE, Instruction, directives, instructions
from .._image.names import Platform
from . import words
from .errors import Place

WORDS = frozenset(
    "ADD ARG CMD COPY ENTRYPOINT ENV EXPOSE FROM HEALTHCHECK LABEL MAINTAINER ONBUILD RUN SHELL STOPSIGNAL USER VOLUME"
    " WORKDIR".split()
)
SCRATCH = "scratch"
_STAGE = re.compile(r"[a-z][a-z0-9_.-]*")
_MOUNT = re.compile(r"--mount=(\S+)")
_NOT_AS_TRIGGER = ("FROM", "ONBUILD", "MAINTAINER")


@dataclass
class Stage:
    """One stage: ``base`` is the name of an image, ``scratch`` or the number of an earlier stage."""

    number: int
    name: str
    base: str | int
    platform: Platform
    place: Place
    instructions: list[Instruction] = field(default_factory=list)

    def __str__(self) -> str:
        return self.name or str(self.number)


class Needed(t.NamedTuple):
    """An image that a stage starts from or copies from, and the line that says so."""

    name: str
    platform: Platform
    place: Place


def source_of(one: Instruction) -> str:
    """Return the stage or the image in ``--from`` of COPY, "" for anything else."""
    if one.word != "COPY":
        return ""
    try:
        return words.flags_of(one.rest)[0].get("from", "").strip("\"'")
    except words.WordError:
        return ""  # the instruction itself is an error


def sources_of(one: Instruction) -> list[str]:
    """Return the stages and images that an instruction reads: in ``--from`` of COPY, and in ``--mount`` of RUN."""
    if one.word == "RUN":
        mounts = [part for mount in _MOUNT.findall(one.rest) for part in mount.split(",")]
        return [part[5:].strip("\"'") for part in mounts if part.startswith("from=")]
    return list(filter(None, [source_of(one)]))


class Dockerfile:
    """The stages of a Dockerfile. ``shared`` are the arguments before the first stage.

    ``where`` names the file in errors. ``args`` are the arguments that the user gives. Raise BuildSyntaxError if it is
    malformed.
    """

    def __init__(
        self, text: str, where: str, args: t.Mapping[str, str], platform: Platform
    ) -> None:
        self.where = where
        self.escape = directives(text).get("escape", (0, ESCAPE))[1]
        if self.escape not in ("\\", "`"):
            raise Place(where, 1).syntax("the escape directive must be \\ or `")
        self.given = args
        self.declared: set[str] = set()
        self.automatic = _automatic(platform)
        self.shared: dict[str, str] = {}
        self.stages: list[Stage] = []
        self._platform = platform
        for one in instructions(text, escape=self.escape):
            self._add(one)
        if not self.stages:
            raise Place(where, 1).syntax("has no FROM")

    def place(self, one: Instruction) -> Place:
        """Return the line of an instruction."""
        return Place(self.where, one.line)

    def target(self, name: str | None) -> Stage:
        """Return the stage with a name or a number, the last one for None."""
        if not name:
            return self.stages[-1]
        found = self.find_stage(name, len(self.stages))
        if found is None:
            listed = ", ".join(map(str, self.stages))
            place = Place(self.where, self.stages[-1].place.line)
            raise place.syntax(f"has no stage {name}", f"Its stages are: {listed}.")
        return self.stages[found]

    def find_stage(self, name: str, before: int) -> int | None:
        """Return the number of the stage with a name or a number, among the first ``before`` ones."""
        for stage in self.stages[:before][::-1]:
            if stage.name and stage.name == name.lower():
                return stage.number
        is_number = name.isascii() and name.isdigit() and len(name) < 6
        return int(name) if is_number and int(name) < before else None

    def needed(self, target: Stage) -> list[Stage]:
        """Return a stage with the stages that it needs, itself first."""
        found = {target.number: target}
        todo = [target]
        while todo:
            stage = todo.pop()
            found[stage.number] = stage
            inner = (base for base, _place in self._sources(stage) if isinstance(base, int))
            todo += [self.stages[base] for base in inner if base not in found]
        return list(found.values())

    def images(self, target: Stage) -> list[Needed]:
        """Return the images that a stage needs, with those of the stages that it needs."""
        return [
            Needed(base, stage.platform, place)
            for stage in self.needed(target)[::-1]
            for base, place in self._sources(stage)[::-1]
            if not isinstance(base, int) and base != SCRATCH
        ]

    def _sources(self, stage: Stage) -> list[tuple[str | int, Place]]:
        """Return the images and the numbers of the stages that a stage starts from and copies from."""
        found: list[tuple[str | int, Place]] = [(stage.base, stage.place)]
        for one in stage.instructions:
            for name in () if one.is_trigger else sources_of(one):
                known = self.find_stage(name, stage.number)
                found.append((name if known is None else known, self.place(one)))
        return found

    def expand(
        self, place: Place, text: str, values: t.Mapping[str, str], keeps_quotes: bool = False
    ) -> str:
        """Return a text with the values of its variables, as ``words.expand`` does; raise BuildSyntaxError."""
        try:
            return words.expand(text, values, self.escape, keeps_quotes)
        except words.WordError as exc:
            raise place.syntax(str(exc)) from exc

    def declare(
        self, one: Instruction, values: t.Mapping[str, str], defaults: t.Mapping[str, str]
    ) -> dict[str, str]:
        """Return the arguments that an ARG sets: as given, else by its default, else by ``defaults``."""
        place, found = self.place(one), {}
        listed = words.words_of(one.rest, self.escape)
        if not listed:
            raise place.syntax("ARG has no name")
        for word in listed:
            name, equals, default = word.partition("=")
            name = self.expand(place, name, values)
            if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
                raise place.syntax(f"ARG {name[:80]!r} is not a name")
            self.declared.add(name)
            if name in self.given:
                found[name] = self.given[name]
            elif equals:
                found[name] = self.expand(place, default, {**values, **found})
            elif name in defaults:
                found[name] = defaults[name]
        return found

    def _add(self, one: Instruction) -> None:
        place = self.place(one)
        if one.word not in WORDS:
            raise place.syntax(f"{one.word[:40]} is not an instruction")
        if one.is_trigger and one.word in _NOT_AS_TRIGGER:
            raise place.syntax(f"{one.word} cannot be a trigger of ONBUILD")
        if one.word == "FROM":
            self._start(one, place)
        elif self.stages:
            self.stages[-1].instructions.append(one)
        elif one.word == "ARG":
            known = {**self.automatic, **self.shared}
            self.shared.update(self.declare(one, known, self.automatic))
        else:
            raise place.syntax(f"{one.word} is before the first FROM")

    def _start(self, one: Instruction, place: Place) -> None:
        try:
            flags, rest = words.flags_of(one.rest)
        except words.WordError as exc:
            raise place.syntax(str(exc)) from exc
        values = {**self.automatic, **self.shared}
        image, *more = rest.split() or [""]
        is_named = len(more) == 2 and more[0].lower() == "as"
        if set(flags) - {"platform"} or not image or (more and not is_named):
            raise place.syntax("FROM must be: FROM [--platform=PLATFORM] IMAGE [AS NAME]")
        image = self.expand(place, image, values)
        if not image:
            raise place.syntax("FROM has no image: its variables are empty")
        name = more[1].lower() if is_named else ""
        if name and (not _STAGE.fullmatch(name) or self._has(name)):
            raise place.syntax(f"{name[:80]!r} is not a new name of a stage")
        number = len(self.stages)
        base = self.find_stage(image, number) if not image.isdigit() else None
        platform = self._platform
        if "platform" in flags:
            text = self.expand(place, flags["platform"], values)
            platform = Platform.parse(text) if text else platform
        self.stages.append(
            Stage(number, name, image if base is None else base, platform, place)
        )

    def _has(self, name: str) -> bool:
        return any(stage.name == name for stage in self.stages)


def _automatic(platform: Platform) -> dict[str, str]:
    """Return the arguments that every build has (Dockerfile reference, "Automatic platform ARGs")."""
    found = {}
    for prefix, one in (("TARGET", platform), ("BUILD", Platform.host())):
        variant = f"/{one.variant}" if one.variant else ""
        found[f"{prefix}PLATFORM"] = f"{one.os}/{one.architecture}{variant}"
        found[f"{prefix}OS"], found[f"{prefix}ARCH"] = one.os, one.architecture
        found[f"{prefix}VARIANT"] = one.variant
    return found
