# SPDX-License-Identifier: GPL-3.0-or-later
"""Find the entry of a store that a user means, also one that another tool wrote."""

from __future__ import annotations

import contextlib
import re
import typing as t

from .._image import errors
from .._image.names import Reference, trimmed
from .._store.reader import IndexEntry, StoreReader

_SHOWN = 5
_DIGEST = re.compile("sha256:[a-f0-9]{64}|sha512:[a-f0-9]{128}")


def find_name(reference: Reference, names: t.Mapping[str, IndexEntry]) -> str | None:
    """Return the name that a reference matches: itself, or for a digest alone any name of that content in the repository."""
    name, digest = reference.store_name, reference.digest
    if name in names and digest in (None, names[name].target.digest):
        return name
    near = sorted(one for one in names if one.startswith(f"{reference.name}:"))
    return next(
        (one for one in near if not reference.tag and names[one].target.digest == digest), None
    )


def find_text(text: str, names: t.Mapping[str, IndexEntry]) -> str | None:
    """Return the name that a text matches as a reference; None if it is not a reference or matches none."""
    with contextlib.suppress(errors.ReferenceError):
        return find_name(Reference.parse(text), names)
    return None


def find_label(text: str, labelled: t.Mapping[str, IndexEntry]) -> str | None:
    """Return the label of the entry that matches a reference, a label written by another tool, or a digest."""
    found = find_text(text, labelled)
    for literal in (text, trimmed(text)):
        found = found or (literal if literal in labelled else None)
    if found:  # the others need not be read
        return found
    digest = trimmed(text)
    return next(
        (one for one in sorted(labelled) if str(labelled[one].target.digest) == digest), None
    )


def not_in_store(store: StoreReader, text: str) -> errors.NotInStoreError:
    """Return the error for a text that matches no entry of the store, or several. Raise ReferenceError for an invalid name."""
    called = trimmed(text)
    several = sorted(one for one in store.labelled() if one.partition("@")[0] == called)
    if several:
        return errors.NotInStoreError(
            f"{store.path} holds {len(several)} images called {called}, expected one",
            f"Name one with its digest: {', '.join(several[:_SHOWN])}.",
        )
    subject = called if _DIGEST.fullmatch(called) else Reference.parse(text)
    return errors.NotInStoreError(
        f"{store.path} does not hold {subject}",
        "Pull it first. An image of another tool has only a tag or a digest: lockstep.images.image_info lists these,"
        " and lockstep.images.image_tag adds a full name.",
    )
