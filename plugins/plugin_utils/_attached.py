# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read from a result of registry_info what is attached to images. Nothing of it is verified, so nothing is decided by it."""

from __future__ import annotations

import typing as t

from ansible_collections.lockstep.images.plugins.module_utils._image import errors
from ansible_collections.lockstep.images.plugins.module_utils._image.artifacts import KINDS

_LONGEST = 300
_TEXTS = (
    "kind",
    "subject",
    "found_in",
    "digest",
    "media_type",
    "artifact_type",
    "predicate_type",
)
Json = dict[str, t.Any]


class Attachments:
    """What is attached to images, by name and digest. ``error`` says why it is unknown, "" if it is known or was not requested."""

    def __init__(self, result: t.Any) -> None:
        """Read a result of registry_info, None for none; one that failed or is malformed is an error."""
        self.error = ""
        self._found: dict[tuple[str, str], dict[tuple[str, str], Json]] = {}
        if not result:
            return
        try:
            if result.get("failed") or result.get("unreachable"):
                raise ValueError(str(result.get("msg") or "registry_info failed"))
            for image in result["images"]:
                key = _key(str(image["name"]), str(image["digest"]))
                known = self._found.setdefault(key, {})
                known.update(_entries(image["attached"]))
        except (AttributeError, KeyError, TypeError, ValueError) as exc:
            self._found = {}
            self.error = errors.printable(str(exc), _LONGEST) or "the result is not valid"

    def of(self, name: str, digest: str) -> list[Json] | None:
        """Return what is attached to an image and its platforms, by kind; None if that is unknown."""
        found = self._found.get(_key(name, digest))
        if found is None:
            return None
        ranks = {kind: rank for rank, kind in enumerate(KINDS)}
        return sorted(found.values(), key=lambda one: (ranks[one["kind"]], one["digest"]))


def _key(name: str, digest: str) -> tuple[str, str]:
    """Return the key of an image, whose name may have its digest."""
    return name.partition("@")[0], digest


def _entries(attached: t.Iterable[t.Any]) -> t.Iterator[tuple[tuple[str, str], Json]]:
    for one in attached:
        texts = {key: _text(one[key]) for key in _TEXTS}
        if texts["kind"] not in KINDS or not isinstance(one["size"], int):
            raise ValueError("an attachment is not valid")
        entry = {**texts, "size": one["size"]}
        yield (str(texts["subject"]), str(texts["digest"])), entry


def _text(value: t.Any) -> str | None:
    return None if value is None else errors.printable(str(value), _LONGEST)
