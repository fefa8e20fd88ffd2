# SPDX-License-Identifier: GPL-3.0-or-later
"""The ``signedIdentity`` of containers-policy.json(5): which name a signature must state."""

from __future__ import annotations

import typing as t

from .._image.errors import LockstepError, printable
from .._image.names import Reference
from .errors import PolicyError
from .naming import PATH, scope_fault

EXACT, DIGEST_OR_EXACT, REPOSITORY = "matchExact", "matchRepoDigestOrExact", "matchRepository"
ONE_NAME, ONE_REPOSITORY, REMAP = "exactReference", "exactRepository", "remapIdentity"
# The keys of each form beside type.
_FORMS: dict[str, tuple[str, ...]] = {
    EXACT: (),
    DIGEST_OR_EXACT: (),
    REPOSITORY: (),
    ONE_NAME: ("dockerReference",),
    ONE_REPOSITORY: ("dockerRepository",),
    REMAP: ("prefix", "signedPrefix"),
}


class SignedIdentity(t.NamedTuple):
    """The name that a signature must state. ``first`` is a name or a prefix, ``second`` the prefix that was signed instead."""

    form: str = DIGEST_OR_EXACT
    first: str = ""
    second: str = ""

    def accepts(self, reference: Reference, stated: str | None) -> bool:
        """Return whether a signature that states a name is for an image; never if it states none.

        As containers tools do, an image with a tag and a digest is requested by its digest.
        """
        signed = _parsed(stated)
        if signed is None:
            return False
        image = reference._replace(tag=None) if reference.digest else reference
        if self.form == REMAP:
            image = self._remapped(image)
        elif self.form in (ONE_NAME, ONE_REPOSITORY):
            image = t.cast(Reference, _parsed(self.first))
        if self.form in (REPOSITORY, ONE_REPOSITORY):
            return signed.name == image.name
        if self.form in (DIGEST_OR_EXACT, REMAP) and image.digest:
            return signed.name == image.name and _is_whole(signed)
        return signed == image and _is_whole(signed)

    def _remapped(self, image: Reference) -> Reference:
        rest = image.name[len(self.first) :]
        if not image.name.startswith(self.first) or rest[:1] not in ("", "/"):
            return image
        registry, _slash, repository = (self.second + rest).partition("/")
        return image._replace(registry=registry, repository=repository)

    def __str__(self) -> str:
        return self.form


def _is_whole(reference: Reference) -> bool:
    return bool(reference.tag or reference.digest)


def _parsed(text: str | None) -> Reference | None:
    """Return a name, without a tag that it does not have; None if it is not a name."""
    if text is None or text != text.strip():
        return None
    try:
        found = Reference.parse(text)
    except LockstepError:
        return None
    has_tag = ":" in text.partition("@")[0].rpartition("/")[2]
    return found if has_tag else found._replace(tag=None)


def parse_identity(value: t.Any, where: str) -> SignedIdentity:
    """Return the identity that a policy states; raise PolicyError for anything else."""
    form = value.get("type") if isinstance(value, dict) else None
    if not isinstance(form, str) or form not in _FORMS:
        raise PolicyError(f"{where}: type is not one of {', '.join(_FORMS)}")
    if sorted(value) != sorted(("type", *_FORMS[form])):
        raise PolicyError(f"{where}: {form} must have {' and '.join(('type', *_FORMS[form]))}")
    texts = [value[key] for key in _FORMS[form]]
    for text in texts:
        fault = _fault(form, text) if isinstance(text, str) else "is not a text"
        if fault:
            raise PolicyError(f"{where}: {printable(str(text), 100)} {fault}")
    return SignedIdentity(form, *texts)


def _fault(form: str, text: str) -> str:
    """Return why a text cannot be in this form of identity, "" if it can."""
    if form == REMAP:
        is_right = PATH.fullmatch(text) and not scope_fault(text)
        return "" if is_right else "is not a host or host/path"
    found = _parsed(text)
    if found is None:
        return "is not the name of an image"
    return "has neither tag nor digest" if form == ONE_NAME and not _is_whole(found) else ""
