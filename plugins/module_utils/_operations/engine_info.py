# SPDX-License-Identifier: GPL-3.0-or-later
"""Engine info: what a container engine is, and which images it holds."""

from __future__ import annotations

import typing as t

from .._engines.engine import Engine, HeldImage
from .._image.names import Reference
from .._plan import Plan


def plan_engine_info(engine: Engine, references: t.Sequence[Reference] | None) -> Plan:
    """Plan to report an engine and some of its images, for None all. The plan never has an action.

    An image is found by its name in a store: by its tag, or without one by its digest.
    """
    images = engine.images(details=True)
    wanted = dict.fromkeys(one.store_name for one in references or ())
    if references is not None:
        images = [image for image in images if wanted.keys() & _labels(image)]
    held = {label for image in images for label in _labels(image)}
    facts = {
        "engine": engine.facts()._asdict(),
        "images": [image.as_result() for image in sorted(images, key=_rank)],
        "missing": [name for name in wanted if name not in held],
    }
    return Plan(before={}, after={}, facts=facts)


def _labels(image: HeldImage) -> set[str]:
    return {*image.names, *image.digests}


def _rank(image: HeldImage) -> tuple[bool, tuple[str, ...], str]:
    """Return a sort key: images with names first, by their first name, so that results of several hosts can be compared."""
    return not image.names, tuple(sorted(image.names)), image.id
