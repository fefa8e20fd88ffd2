# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lay out the layers that images share as a squarified treemap (Bruls, Huizing, van Wijk, 2000)."""

from __future__ import annotations

import typing as t

# x, y, width, height
Rectangle = tuple[float, float, float, float]

SIZE = (1000, 500)


def picture(layers: t.Sequence[dict[str, t.Any]]) -> dict[str, t.Any]:
    """Return a rectangle for each set of images that share layers, and inside it one for each of these layers."""
    groups: dict[tuple[str, ...], list[dict[str, t.Any]]] = {}
    for layer in layers:
        if layer["size"]:
            groups.setdefault(tuple(layer["images"]), []).append(layer)
    sizes = {names: sum(layer["size"] for layer in own) for names, own in groups.items()}
    order = sorted(groups, key=lambda names: (-sizes[names], names))
    frames = treemap([sizes[names] for names in order], (0.0, 0.0, float(SIZE[0]), float(SIZE[1])))
    return {
        "width": SIZE[0],
        "height": SIZE[1],
        "groups": [
            {
                "images": list(names),
                "size": sizes[names],
                "rectangle": _rounded(frame),
                "layers": [
                    {"digest": layer["digest"], "size": layer["size"], "rectangle": _rounded(one)}
                    for layer, one in zip(
                        groups[names], treemap([layer["size"] for layer in groups[names]], frame)
                    )
                ],
            }
            for names, frame in zip(order, frames)
        ],
    }


def _rounded(rectangle: t.Iterable[float]) -> list[float]:
    return [round(value, 2) for value in rectangle]


def treemap(values: t.Sequence[float], frame: Rectangle) -> list[Rectangle]:
    """Return a rectangle in the frame for each value. The values must be positive and in descending order."""
    x, y, width, height = frame
    total = sum(values)
    scale = width * height / total if total else 0
    areas = [value * scale for value in values]
    found: list[Rectangle] = []
    start = 0
    while start < len(areas):
        side = min(width, height)
        end = _row_end(areas, start, side)
        row = areas[start:end]
        if width >= height:
            depth = sum(row) / height if height else 0
            found += [(x, y + at, depth, size) for at, size in _positions(row, height)]
            x, width = x + depth, max(0.0, width - depth)
        else:
            depth = sum(row) / width if width else 0
            found += [(x + at, y, size, depth) for at, size in _positions(row, width)]
            y, height = y + depth, max(0.0, height - depth)
        start = end
    return found


def _row_end(areas: t.Sequence[float], start: int, side: float) -> int:
    """Return the end of the row: the index at which one more rectangle would increase the worst ratio of sides."""
    total = areas[start]
    best = _worst_ratio(areas[start], areas[start], total, side)
    for end in range(start + 1, len(areas)):
        total += areas[end]
        worse = _worst_ratio(areas[start], areas[end], total, side)
        if worse > best:
            return end
        best = worse
    return len(areas)


def _worst_ratio(largest: float, smallest: float, total: float, side: float) -> float:
    """Return the worst ratio of sides in a row."""
    if not smallest or not side:
        return float("inf")
    return max(side**2 * largest / total**2, total**2 / (side**2 * smallest))


def _positions(row: t.Sequence[float], side: float) -> t.Iterator[tuple[float, float]]:
    """Yield the offset and the length of each rectangle of a row along the side."""
    total, at = sum(row), 0.0
    for area in row:
        size = side * area / total if total else 0.0
        yield at, size
        at += size
