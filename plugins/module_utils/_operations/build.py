# SPDX-License-Identifier: GPL-3.0-or-later
"""Build: files and existing images become an image of a store, whose digest depends on them alone."""

from __future__ import annotations

import os
import typing as t

from .._build.base import BaseImage, Spool
from .._build.builder import Builder, Images
from .._build.compress import compressor_of
from .._build.context import Context
from .._build.dockerfile import Dockerfile, Stage
from .._build.errors import BuildContextError, BuildUnsupportedError
from .._build.recipe import Recipe
from .._image import errors
from .._image.names import Digest
from .._image.sources import Sources
from .._plan import Plan
from .._store.files import read_file
from .._store.reader import IndexEntry
from .actions import merged
from .build_image import Maker, NewImage
from .build_options import NONE, BuildOptions, Target
from .build_source import BaseImages, plan_images
from .fetching import FetchOptions, FetchPlanner
from .naming import SetName, shown

if t.TYPE_CHECKING:
    from .._image.lock import Lock

_MAX_TEXT = 16 * 1024 * 1024
_FILES = ("Dockerfile", "Containerfile")
_INLINE = "instructions"


def plan_build(
    target: Target,
    sources: Sources,
    options: BuildOptions,
    fetching: FetchOptions,
    *,
    policy: str,
    lock: Lock | None = None,
) -> Plan:
    """Plan a build: every file is read, so that the digest is known; nothing is written.

    Raise BuildSyntaxError, BuildUnsupportedError, BuildContextError, or the error of an image that it needs.
    """
    store = target.store
    context = _context(options)
    if context:
        target.opened.callback(context.close)
    text, where = _text(options, context)
    dockerfile = Dockerfile(text, where, options.args, options.platform)
    stage = dockerfile.target(options.target)
    needed = dockerfile.images(stage)
    planner = FetchPlanner(store, sources, fetching, policy, lock.manifests if lock else None)
    plans = plan_images(needed, planner, lock)
    if any(plan.name == options.name.store_name for plan in plans):
        raise errors.InputError(
            f"{options.name}: is also an image that the build starts from",
            "Give the new image another name.",
        )
    bases = BaseImages(store, plans, fetching.chunks)
    target.opened.callback(bases.close)
    spool = Spool()
    target.opened.callback(spool.close)
    images = bases.images(needed)
    builder = Builder(dockerfile, context, images, bases, spool)
    try:
        recipe = builder.build(stage)
    except BuildUnsupportedError:
        if options.engine == NONE:
            raise
        engines = _engines()
        work = engines.work_of(options, text, dockerfile, stage, images, context)
        base = _base_of(dockerfile, stage, images)
        return t.cast(Plan, engines.plan_engine_build(planner, bases, work, base, builder.warnings))
    for name in sorted(options.args.keys() - dockerfile.declared):
        builder.warnings.append(f"{where}: no ARG declares the argument {name}")
    before = store.names().get(options.name.store_name)
    image = Maker(store, options, recipe).make(before)
    layers = [str(layer.diff_id) for layer in image.layers]
    inputs = options.digest_of_inputs(text, images, layers=layers)
    return _plan(planner, bases, options, recipe, image, before, inputs, builder.warnings)


def _engines() -> t.Any:
    """Return the module ``build_engine``, imported late: most builds need no engine, and need not compile what runs one."""
    from . import build_engine

    return build_engine


def _base_of(dockerfile: Dockerfile, stage: Stage, images: Images) -> BaseImage | None:
    """Return the image that a stage starts from, through the stages before it."""
    base = stage.base
    while isinstance(base, int):
        stage = dockerfile.stages[base]
        base = stage.base
    return images.get((base, stage.platform))


def _context(options: BuildOptions) -> Context | None:
    return Context(options.context, options.modes) if options.context else None


def _text(options: BuildOptions, context: Context | None) -> tuple[str, str]:
    """Return the text of the Dockerfile and its name in messages."""
    if options.inline is not None:
        if context:
            context.use_ignore_file(b"")
        return options.inline, _INLINE
    if options.file and os.path.isabs(options.file):
        try:
            raw: bytes | None = read_file(options.file, _MAX_TEXT)
        except FileNotFoundError:
            raw = None
        name = options.file
        inside = os.path.basename(name)
    else:
        names = [options.file] if options.file else _FILES
        found = ((one, context.read_text(os.fsencode(one).split(b"/"))) for one in names if context)
        name, raw = next((pair for pair in found if pair[1] is not None), (names[0], None))
        inside = name
    if raw is None:
        raise BuildContextError(
            f"{options.context}: has no {name}",
            "Give the path of the Dockerfile as file.",
            path=name,
        )
    if context:
        context.use_ignore_file(os.fsencode(inside))
    try:
        return raw.decode("utf-8-sig"), name
    except UnicodeDecodeError:
        raise errors.InputError(f"{name}: is not UTF-8") from None


def _plan(
    planner: FetchPlanner,
    bases: BaseImages,
    options: BuildOptions,
    recipe: Recipe,
    image: NewImage,
    before: IndexEntry | None,
    inputs: Digest,
    warnings: t.Sequence[str],
) -> Plan:
    store, sources = planner.store, planner.sources
    plans = bases.plans()
    entry = IndexEntry(image.target)
    below = {layer.blob.digest for layer in recipe.image.layers} if recipe.image else set()
    needs = [one for plan in plans for one in plan.content if one.descriptor.digest in below]
    content = merged([*plans, image._replace(content=[*image.content, *needs])])
    digests = {action.descriptor.digest for action in content}
    store.require_space(sum(action.descriptor.size for action in content), digests)
    moved = [plan for plan in plans if plan.before != plan.target]
    names = [SetName(plan.name, plan.target, plan.before, store) for plan in moved]
    is_new = before is None or before.target != image.target
    status = "up_to_date" if not (is_new or image.content) else "updated" if before else "built"
    if is_new:
        names.append(SetName(image.name, entry, before, store))

    def prepare() -> None:
        store.prepare(digests)
        bases.save()

    return planner.build(
        content=content,
        names=tuple(names),
        before={
            **{plan.name: shown(plan.before) for plan in moved if plan.before},
            **({image.name: shown(before)} if before else {}),
        },
        after={**{plan.name: shown(plan.target) for plan in moved}, image.name: shown(entry)},
        facts=_facts(options, recipe, image, status, inputs),
        prepare=prepare,
        warnings=lambda: [
            *sources.warnings,
            *(text for plan in plans for text in plan.warnings),
            *warnings,
        ],
    )


def _facts(
    options: BuildOptions, recipe: Recipe, image: NewImage, status: str, inputs: Digest
) -> dict[str, t.Any]:
    base = recipe.image
    below = base.layers if base else ()
    return {
        "name": image.name,
        "digest": str(image.target.digest),
        "config_digest": str(image.config.digest),
        "platform": str(options.platform),
        "status": status,
        "base": {"name": base.name, "digest": str(base.digest)} if base else None,
        "layers": [layer.as_result() for layer in image.layers],
        "diff_ids": [
            *(str(layer.diff_id) for layer in below),
            *(str(layer.diff_id) for layer in image.layers),
        ],
        "inputs": str(inputs),
        "reproducible": True,
        "compressor": compressor_of(options.compression) or None,
        "engine": None,
    }
