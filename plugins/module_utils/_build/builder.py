# SPDX-License-Identifier: GPL-3.0-or-later
"""The stages of a Dockerfile are done, one instruction after the other. Nothing is run, and nothing is written."""

from __future__ import annotations

import os
import re
import typing as t

from .._image.instructions import Instruction, instructions
from .._image.names import Platform
from .base import BaseImage, Spool
from .context import Context
from .copying import Copier, command_of, from_context, from_tree
from .dockerfile import SCRATCH, Dockerfile, Stage, source_of
from .errors import Place
from .recipe import Recipe, Trees
from .tree import Changes, TreeError, parts_of

# As BuildKit's check SecretsUsedInArgOrEnv.
_SECRET = re.compile(
    "(?:_|^)(?:apikey|auth|credentials?|key|password|pword|passwd|secret|token)(?:_|$)", re.IGNORECASE
)
Images = t.Mapping[t.Tuple[str, Platform], BaseImage]


class Builder:
    """Builds stages. ``images`` are the existing images that they need, by name and platform.

    ``context`` is None if the build has none. ``warnings`` are for the user.
    """

    def __init__(
        self,
        dockerfile: Dockerfile,
        context: Context | None,
        images: Images,
        trees: Trees,
        spool: Spool,
    ) -> None:
        self.warnings: list[str] = []
        self._file, self._context, self._images = dockerfile, context, images
        self._trees, self._spool = trees, spool
        self._done: dict[int, Recipe] = {}

    def build(self, stage: Stage) -> Recipe:
        """Return what a stage becomes, after the stages that it needs.

        Raise BuildSyntaxError, BuildContextError, BuildUnsupportedError for an instruction that needs an engine, or
        an error of an existing image.
        """
        for number in self._needed(stage):
            if number not in self._done:
                self._done[number] = self._build(self._file.stages[number])
        return self._done[stage.number]

    def _needed(self, stage: Stage) -> list[int]:
        """Return the numbers of a stage and of those that it needs: each needs only earlier ones."""
        found, todo = set(), [stage.number]
        while todo:
            number = todo.pop()
            if number in found:
                continue
            found.add(number)
            one = self._file.stages[number]
            others: list[str | int | None] = [one.base]
            others += [self._file.find_stage(source_of(step), number) for step in one.instructions]
            todo += [other for other in others if isinstance(other, int)]
        return sorted(found)

    def _build(self, stage: Stage) -> Recipe:
        if isinstance(stage.base, int):
            recipe = Recipe(self._trees, self._done[stage.base].image, self._done[stage.base])
        else:
            image = None if stage.base == SCRATCH else self._images[stage.base, stage.platform]
            recipe = Recipe(self._trees, image)
        for text in recipe.triggers():
            for one in instructions(text, stage.place.line):
                trigger = one._replace(line=stage.place.line, is_trigger=False)
                self._step(recipe, stage, trigger)
        for one in stage.instructions:
            self._step(recipe, stage, one)
        return recipe

    def _step(self, recipe: Recipe, stage: Stage, one: Instruction) -> None:
        place = self._file.place(one)
        values = {**recipe.args, **recipe.settings.env}

        def expand(text: str) -> str:
            return self._file.expand(place, text, values)

        if one.is_trigger:
            self._add_trigger(recipe, one, place)
        elif one.word == "RUN":
            raise place.unsupported("RUN needs a container engine")
        elif one.word in ("COPY", "ADD"):
            changes = self._copy(recipe, stage, one, place, values)
            recipe.note(one, changes)
            return
        elif one.word == "WORKDIR":
            recipe.note(one, self._workdir(recipe, one, place, expand))
            return
        elif one.word == "ARG":
            defaults = {**self._file.automatic, **self._file.shared}
            found = self._file.declare(one, values, defaults)
            recipe.args.update(found)
            self._warn(found, place)
        elif one.word == "MAINTAINER":
            recipe.author = one.rest
        else:
            before = set(recipe.settings.env)
            recipe.settings.apply(one.word, one.rest, place, expand, self._file.escape)
            self._warn(set(recipe.settings.env) - before, place)
        recipe.note(one)

    def _warn(self, names: t.Iterable[str], place: Place) -> None:
        """Warn of variables that are called like secrets: everybody who has the image can read them."""
        for name in names:
            if _SECRET.search(name):
                self.warnings.append(
                    f"{place}: {name} is called like a secret, and everybody who has the image can read its variables"
                )

    def _add_trigger(self, recipe: Recipe, one: Instruction, place: Place) -> None:
        if one.documents:
            raise place.unsupported("ONBUILD with a here-document needs a container engine")
        config = recipe.settings.config
        config["OnBuild"] = [*(config.get("OnBuild") or []), one.text]

    def _workdir(
        self, recipe: Recipe, one: Instruction, place: Place, expand: t.Callable[[str], str]
    ) -> Changes:
        path = expand(one.rest)
        if not path:
            raise place.syntax("WORKDIR has no path")
        whole = os.path.join(str(recipe.settings.config.get("WorkingDir") or "/"), path)
        parts = parts_of(os.fsencode(whole))
        recipe.settings.config["WorkingDir"] = os.fsdecode(b"/" + b"/".join(parts))
        changes = Changes(recipe.tree)
        try:
            changes.make_directory(recipe.tree.resolve(parts))
        except TreeError as exc:
            raise place.context(b"/" + b"/".join(parts), str(exc)) from exc
        return changes

    def _copy(
        self, recipe: Recipe, stage: Stage, one: Instruction, place: Place, values: dict[str, str]
    ) -> Changes:
        def expand(text: str) -> str:
            return self._file.expand(place, text, values)

        def expand_body(text: str) -> str:
            return self._file.expand(place, text, values, keeps_quotes=True)

        command = command_of(one, place, expand, self._file.escape)
        copier = Copier(recipe, place, command)
        source = source_of(one)
        if source:
            number = self._file.find_stage(source, stage.number)
            known = self._images.get((source, stage.platform))
            if number is None and known is None:  # a trigger of the base names it
                raise place.unsupported(f"--from={source[:80]} of a trigger needs a container engine")
            other = Recipe(self._trees, known) if number is None else self._done[number]
            found = from_tree(other.full_tree(), other.image, self._spool, command, place)
        else:
            found = from_context(self._context, command, place, expand_body, one.word == "ADD")
        return copier.run(found)
