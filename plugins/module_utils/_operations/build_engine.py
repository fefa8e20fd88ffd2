# SPDX-License-Identifier: GPL-3.0-or-later
"""Plan a build that needs an engine. It runs only if its inputs differ from those of the image in place."""

from __future__ import annotations

import typing as t

from .._build.base import BaseImage
from .._build.builder import Images
from .._build.compress import compressor_of
from .._build.context import Context
from .._build.copies import context_digest
from .._build.dockerfile import Dockerfile, Stage
from .._image import errors
from .._image.manifest import ImageConfig, Manifest
from .._image.names import Digest
from .._plan import Plan
from .._rootfs.stream import inflaters
from .._store.reader import IndexEntry
from .._store.store import ImageStore
from .actions import merged
from .build_keep import ANNOTATION
from .build_options import BuildOptions
from .build_run import EngineBuild, choose_engine
from .build_source import BaseImages
from .build_work import Work, without_values
from .fetching import FetchPlanner
from .naming import SetName, shown


class _Needed(t.NamedTuple):
    """What must be in the store before the engine runs, as ``merged`` takes it."""

    name: str
    content: t.Sequence[t.Any]


def work_of(
    options: BuildOptions,
    text: str,
    dockerfile: Dockerfile,
    stage: Stage,
    images: Images,
    context: Context | None,
) -> Work:
    """Return what an engine of the host builds; raise EngineMissingError if the host has none.

    ``inputs`` is a digest of everything that the build depends on, except what its commands download.
    """
    engine = choose_engine(options.engine)
    digest = str(context_digest(context)) if context else None
    inputs = options.digest_of_inputs(text, images, context=digest, engine=str(engine))
    return Work(engine, options, text, dockerfile, stage, images, context, inputs)


def plan_engine_build(
    planner: FetchPlanner,
    bases: BaseImages,
    work: Work,
    base: BaseImage | None,
    warnings: t.Sequence[str],
) -> Plan:
    """Plan to fetch the images that a build needs, and to run its engine; nothing if the image in place has its inputs."""
    store, sources, name = planner.store, planner.sources, work.options.name.store_name
    before = store.names().get(name)
    found = _found(store, before, work.inputs)
    status = "up_to_date" if found else "updated" if before else "built"
    facts = _facts(work, base, status)

    def report(manifest: Manifest, config: ImageConfig) -> None:
        found = _of_image(manifest, config, len(base.layers) if base else 0)
        for layer in found["layers"]:  # engines write the values of arguments into the history
            layer["created_by"] = without_values(layer["created_by"], work.options.args)
        facts.update(found)

    if found:
        report(*found)
    plans = bases.plans()
    needs = _Needed(name, [one for plan in plans for one in plan.content])
    content = merged([*plans, needs] if not found else plans)
    digests = {action.descriptor.digest for action in content}
    moved = [plan for plan in plans if plan.before != plan.target]
    names = tuple(SetName(plan.name, plan.target, plan.before, store) for plan in moved)
    said = shown(before) if before else ""

    def prepare() -> None:
        inflaters()  # threads import nothing
        compressor_of(work.options.compression)
        store.prepare(digests)

    return planner.build(
        content=content,
        names=names,
        last=() if found else (EngineBuild(name, work, before, store, report),),
        before={
            **{plan.name: shown(plan.before) for plan in moved if plan.before},
            **({name: said} if before else {}),
        },
        after={
            **{plan.name: shown(plan.target) for plan in moved},
            name: said if found else f"built by {work.engine} from {work.inputs}",
        },
        facts=facts,
        prepare=prepare,
        warnings=lambda: [
            *sources.warnings,
            *(text for plan in plans for text in plan.warnings),
            *warnings,
        ],
    )


def _facts(work: Work, base: BaseImage | None, status: str) -> dict[str, t.Any]:
    """Return what is known before the engine has run."""
    return {
        "name": work.options.name.store_name,
        "digest": None,
        "config_digest": None,
        "platform": str(work.options.platform),
        "status": status,
        "base": {"name": base.name, "digest": str(base.digest)} if base else None,
        "layers": [],
        "diff_ids": [],
        "inputs": str(work.inputs),
        "reproducible": False,
        "compressor": None,
        "engine": str(work.engine),
    }


def _found(
    store: ImageStore, before: IndexEntry | None, inputs: Digest
) -> tuple[Manifest, ImageConfig] | None:
    """Return the image in place if it was built from the same inputs and is complete."""
    if before is None:
        return None
    manifest = store.manifest(before.target.digest, before.target.media_type)
    if manifest is None or manifest.config is None:
        return None
    if manifest.annotations.get(ANNOTATION) != str(inputs) or not all(
        map(store.has, manifest.blobs)
    ):
        return None
    try:
        raw = store.read(manifest.config.digest)
    except (errors.NotFoundError, errors.DigestMismatchError):
        return None
    return manifest, ImageConfig.parse(raw, str(before.target.digest))


def _of_image(manifest: Manifest, config: ImageConfig, below: int) -> dict[str, t.Any]:
    """Return what a result says of an image that an engine built on ``below`` layers."""
    history = config.value.get("history")
    steps = [
        str(one.get("created_by") or "")
        for one in (history if isinstance(history, list) else ())
        if isinstance(one, dict) and not one.get("empty_layer")
    ]
    steps = [""] * (len(config.diff_ids) - len(steps)) + steps
    layers = [
        {
            "diff_id": str(diff_id),
            "digest": str(layer.digest),
            "size": layer.size,
            "created_by": step,
        }
        for layer, diff_id, step in zip(
            manifest.layers, config.diff_ids, steps[-len(config.diff_ids) or 1 :]
        )
    ]
    return {
        "digest": str(Digest.of(manifest.raw)),
        "config_digest": str(manifest.config.digest) if manifest.config else None,
        "layers": layers[below:],
        "diff_ids": list(map(str, config.diff_ids)),
    }
