# SPDX-License-Identifier: GPL-3.0-or-later
"""The steps that made an image, as its configuration lists them."""

from __future__ import annotations

import typing as t

from .._image.manifest import Descriptor, ImageConfig


def history(config: ImageConfig | None, layers: t.Sequence[Descriptor]) -> list[dict[str, t.Any]]:
    """Return the steps that made an image, oldest first, each with the compressed size of its layer in bytes."""
    sizes = iter(layer.size for layer in layers)
    steps = []
    for entry in history_steps(config):
        empty = entry.get("empty_layer") is True
        steps.append(
            {
                "created": entry.get("created"),
                "created_by": entry.get("created_by") or "",
                "size": 0 if empty else next(sizes, 0),
                "empty_layer": empty,
                "comment": entry.get("comment") or "",
            }
        )
    return steps


def history_steps(config: ImageConfig | None) -> list[dict[str, t.Any]]:
    """Return the history entries that are objects. Others are ignored: nothing depends on the history."""
    entries = config.value.get("history") if config else None
    return (
        [entry for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []
    )
