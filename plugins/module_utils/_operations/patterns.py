# SPDX-License-Identifier: GPL-3.0-or-later
"""Patterns that names of images fit."""

from __future__ import annotations

import re
import typing as t

from .._image import errors
from .._image.names import Digest, Reference

# Stands for * while a pattern is read as the name it would be.
_ANY = "zz0any0zz"

Fits = t.Callable[[str, Digest], bool]


def pattern_of(text: str) -> Fits:
    """Return a function of name and digest that returns whether they match. ``*`` is any part of one path component, or of the tag."""
    if _ANY in text.lower():
        raise errors.InputError(f"{errors.shown_name(text)}: is not a pattern")
    try:
        reference = Reference.parse(text.replace("*", _ANY))
    except errors.ReferenceError as exc:
        reason = str(exc).replace(_ANY, "*")
        raise errors.InputError(
            f"{errors.shown_name(text)}: is neither a reference nor a pattern of one: {reason}",
            exc.hint,
        ) from exc
    if reference.tag is None:
        digest = reference.digest

        def is_pinned(name: str, held: Digest) -> bool:
            return held == digest and bool(repository.match(name))

        repository = re.compile(_regex(reference.name) + "[:@]")
        return is_pinned
    expression = re.compile(_regex(reference.store_name))

    def is_tagged(name: str, held: Digest) -> bool:
        return reference.digest in (None, held) and bool(expression.fullmatch(name))

    return is_tagged


def _regex(name: str) -> str:
    return re.escape(name).replace(_ANY, "[^/:@]*")
