# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What hosts hold for a name, as data: code compares the fields, and only users read the text."""

from __future__ import annotations

import typing as t

from ansible_collections.lockstep.images.plugins.module_utils._operations import naming


class Held(t.NamedTuple):
    """What a store holds, or must hold, for one name.

    ``what`` is a digest with its platforms, or a description of content that belongs to no image. It is compared as a whole.
    ``is_incomplete`` is true if content that the name refers to is missing or corrupt. ``str`` returns the text for users.
    """

    what: str
    is_incomplete: bool = False

    @classmethod
    def of_image(cls, image: t.Mapping[str, t.Any]) -> Held:
        """Return the value of an entry of ``images`` in a result of image_info."""
        what = f"{image['digest']} ({', '.join(image['platforms'])})"
        return cls(what, not image["complete"])

    @classmethod
    def parse(cls, text: str) -> Held:
        """Return the value of ``wanted`` or ``found`` in a result of image_sync, which marks missing content in the text."""
        what, mark, _detail = text.partition(naming.INCOMPLETE)
        return cls(what, bool(mark))

    @property
    def digest(self) -> str:
        """The digest of an image; another description as it is."""
        return self.what.partition(" (")[0]

    @property
    def platforms(self) -> list[str]:
        """The platforms of an image."""
        return self.what.partition(" (")[2][:-1].split(", ")

    @property
    def whole(self) -> Held:
        """The same content with nothing missing."""
        return self._replace(is_incomplete=False)

    def __str__(self) -> str:
        return f"{self.what}{naming.INCOMPLETE if self.is_incomplete else ''}"


NOTHING = Held(naming.NOTHING)
UNKNOWN = Held("unknown")
# The names of differences in content of a store that belongs to no image.
NOT_IMAGES = ("index.json", "blobs")


class Comparison(t.NamedTuple):
    """What a host must hold for one name, and what it holds."""

    wanted: Held
    found: Held

    @property
    def is_same(self) -> bool:
        """Whether both are known and equal."""
        return self.wanted == self.found != UNKNOWN

    @property
    def state(self) -> str:
        """The state of a name that differs: ``differs``, ``missing``, ``incomplete``, ``extra`` or ``unknown``."""
        if UNKNOWN in self:
            return "unknown"
        if self.wanted == NOTHING:
            return "extra"
        if self.found == NOTHING:
            return "missing"
        is_incomplete = self.found.is_incomplete and self.found.whole == self.wanted
        return "incomplete" if is_incomplete else "differs"


def held_in(result: t.Mapping[str, t.Any]) -> dict[str, Held]:
    """Return what a host holds for each name, from a result of image_info, or from what image_pull or image_sync leaves there."""
    if "other_names" not in result:
        return held_by_name(result["images"])
    platforms: dict[str, set[str]] = {}
    for image in result["images"]:
        platforms.setdefault(image["name"], set()).update([image["platform"] or ""])
    return {
        name: Held(text if text.endswith(")") else f"{text} ({', '.join(sorted(platforms[name]))})")
        for name, text in result["diff"]["after"].items()
    }


def held_by_name(images: t.Iterable[t.Mapping[str, t.Any]]) -> dict[str, Held]:
    """Return what a host holds for each name, from ``images`` of image_info."""
    return {image["name"]: Held.of_image(image) for image in images}
