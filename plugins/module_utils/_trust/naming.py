# SPDX-License-Identifier: GPL-3.0-or-later
"""Names: which rule is for an image, and which name and which signer a signature must state for it."""

from __future__ import annotations

import re
import typing as t

from .._image.errors import LockstepError
from .._image.names import TAG, Digest, Reference

ANY, REPOSITORY, EXACT = "any", "repository", "exact"
EVERYTHING = "*"
_COMPONENT = "[a-z0-9]+(?:(?:[.]|_|__|-+)[a-z0-9]+)*"
_HOST = r"(?:[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?|\[[a-f0-9:]+\])(?::[0-9]+)?"
PATH = re.compile(rf"{_HOST}(?:/{_COMPONENT})*")
_DOMAIN = re.compile(r"\*\.[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?")
_ALIASES = ("index.docker.io", "registry-1.docker.io")


def scopes_of(reference: Reference) -> list[str]:
    """Return the scopes of an image, the most specific first, as containers-policy.json(5) has them, and then ``*``.

    A wildcard such as ``*.example.com`` is for hosts below this domain; it leaves out the port of the host.
    """
    scopes = [f"{reference.name}@{reference.digest}"] if reference.digest else []
    scopes += [f"{reference.name}:{reference.tag}"] if reference.tag else []
    parts = reference.name.split("/")
    scopes += ["/".join(parts[:end]) for end in range(len(parts), 0, -1)]
    labels = reference.registry.partition(":")[0].split(".")
    scopes += [f"*.{'.'.join(labels[start:])}" for start in range(1, len(labels))]
    return [*scopes, EVERYTHING]


def scope_fault(text: str) -> str:
    """Return why a text is not a scope that an image can have; "" if it is one."""
    if text == EVERYTHING or _DOMAIN.fullmatch(text):
        return ""
    path, at, digest = text.partition("@")
    head, slash, last = path.rpartition("/")
    name, colon, tag = last.partition(":") if slash else (path, "", "")
    if at:
        try:
            Digest.parse(digest)
        except LockstepError as exc:
            return str(exc)
    if (colon and not TAG.fullmatch(tag)) or not PATH.fullmatch(head + slash + name):
        return "it must be a host, host/path, repository:tag, *.domain or *"
    host = path.partition("/")[0]
    if host in _ALIASES:
        return "write docker.io"
    if "." not in host and ":" not in host and host != "localhost":
        return (
            f"{host} is not a registry: write the whole name, for example docker.io/library/{host}"
        )
    return ""


class SignedAs(t.NamedTuple):
    """The name that a signature must state: that of the image, ``repository`` or ``exact``, or ``any``.

    With a ``prefix`` the image is a copy: below it, the name that was signed starts with ``signed_prefix``.
    """

    form: str = REPOSITORY
    prefix: str = ""
    signed_prefix: str = ""

    def accepts(self, reference: Reference, stated: str | None) -> bool:
        """Return whether a signature that states a name, None for none, is for an image."""
        if self.form == ANY:
            return True
        if stated is None:  # a bundle states only a digest
            return self.form == REPOSITORY
        try:
            signed = Reference.parse(stated)
        except LockstepError:
            return False
        wanted = self._signed_name(reference.name)
        if self.form == REPOSITORY:
            return signed.name == wanted
        tagged = reference.tag and stated_name(wanted, tag=reference.tag)
        digested = reference.digest and stated_name(wanted, digest=reference.digest)
        return stated in (tagged, digested)

    def _signed_name(self, name: str) -> str:
        rest = name[len(self.prefix) :]
        is_below = name.startswith(self.prefix) and rest[:1] in ("", "/")
        return self.signed_prefix + rest if self.prefix and is_below else name

    def __str__(self) -> str:
        return self.form


def stated_name(name: str, tag: str | None = None, digest: Digest | None = None) -> str:
    """Return a whole name as a signature states it."""
    return f"{name}:{tag}" if tag else f"{name}@{digest}"


class Identity(t.NamedTuple):
    """A signer without a key of its own: the issuer of a token, exactly, and a pattern that the whole subject must match."""

    issuer: str
    subject: re.Pattern[str]

    def accepts(self, issuer: str, subject: str) -> bool:
        """Return whether a signer is this identity."""
        return issuer == self.issuer and self.subject.fullmatch(subject) is not None


def subject_pattern(text: str) -> re.Pattern[str]:
    """Return the pattern for a subject in which ``*`` matches any text."""
    return re.compile(".*".join(map(re.escape, text.split("*"))))
