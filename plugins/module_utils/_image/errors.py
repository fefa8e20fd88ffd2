# SPDX-License-Identifier: GPL-3.0-or-later
"""The errors that the collection raises on purpose. Their ``kind`` is stable, so that a playbook can test it."""

from __future__ import annotations

import re
import typing as t

_LONGEST = 1000
_MOST = 100  # entries of a list in a result
_SI = ("B", "kB", "MB", "GB", "TB", "PB", "EB")
_USER = re.compile(r"^.*@(?!sha[0-9]+(?::[^@/]*)?$)", re.DOTALL)


class LockstepError(Exception):
    """The base class: a message without a full stop, a hint of whole sentences, and details for the result.

    Message, hint and details can contain text from a server or a file. The constructor makes them printable and
    limits their length.
    """

    kind = "error"
    advice = ""  # the default hint

    def __init__(self, message: str, hint: str = "", **details: t.Any) -> None:
        super().__init__(in_message(message))
        self.hint = in_message(hint or self.advice)
        self.details = {name: _shown(value) for name, value in details.items()}
        self._parts = [(str(self), self.hint)]

    def copy(self) -> LockstepError:
        """Return an equal error, to raise it in another thread."""
        return type(self)(str(self), self.hint, **self.details)

    def full_message(self) -> str:
        """Return the messages of this error, each followed by its own hint."""
        parts = [f"{end_sentence(text)} {hint}" if hint else text for text, hint in self._parts]
        return " ".join([*map(end_sentence, parts[:-1]), parts[-1]])

    def as_result(self) -> dict[str, t.Any]:
        """Return what a failed task has as ``error``: kind, hint and details."""
        return dict(self.details, kind=self.kind, hint=self.hint)


def combine(prefix: str, causes: t.Sequence[LockstepError], suffix: str = "") -> LockstepError:
    """Return one error for several, with kind and details of the first.

    The messages are grouped by hint, so that each hint appears once. ``prefix`` starts the message, ``suffix`` ends it.
    """
    shared: dict[str, list[str]] = {}
    for cause in causes:
        shared.setdefault(cause.hint, []).append(str(cause))
    parts = ["; ".join(texts) for texts in shared.values()]
    parts[0] = prefix + parts[0]
    parts[-1] += suffix
    error = type(causes[0])("", " ".join(filter(None, shared)), **causes[0].details)
    error.args = ("; ".join(parts),)
    error._parts = list(zip(parts, shared))
    return error


class InputError(LockstepError):
    """Options conflict or are invalid, or a file that the user gives cannot be used."""

    kind = "invalid-input"


class ReferenceError(InputError):
    """A text is not a valid image name, nor the name of a registry."""

    kind = "invalid-reference"
    advice = "Write registry/repository:tag, for example docker.io/library/debian:12."


class DigestError(InputError):
    """A text is not a valid digest."""

    kind = "invalid-digest"
    advice = "Write sha256: and 64 hexadecimal digits in lower case."


class PlatformError(InputError):
    """A text is not a valid platform."""

    kind = "invalid-platform"
    advice = "Write os/architecture[/variant], for example linux/arm64."


class LockError(InputError):
    """A lock file is malformed, contradicts the registry, or lacks a requested name."""

    kind = "invalid-lock"
    advice = "Restore the file from version control, or lock again with lockstep.images.image_lock."


class AuthFileError(InputError):
    """A login file cannot be read or parsed."""

    kind = "invalid-auth-file"
    advice = "Correct the file, or log in again with lockstep.images.registry_login."


class CredentialHelperError(InputError):
    """A credential helper fails or does not answer."""

    kind = "credential-helper"
    advice = "Install the helper on the PATH of the modules, or give username and password."


class MissingHelperError(CredentialHelperError):
    """The program of a credential helper is missing or cannot be started."""


class RegistryError(LockstepError):
    """A registry answers with an error."""

    kind = "registry-error"
    advice = "Run again later; if it fails again, ask the operator of the registry."
    is_elsewhere = False  # whether it comes from a host that the registry redirected to
    code = ""  # the registry's own code, such as DIGEST_INVALID (distribution-spec v1.1, "Error Codes")

    def after_redirect(self, source: str) -> RegistryError:
        """Return a copy whose message says that ``source`` redirects to the host of this error."""
        error = type(self)(f"{self}; {source} redirects there", self.hint, **self.details)
        error.is_elsewhere = True
        return error

    @property
    def may_be_missing(self) -> bool:
        """Whether the content may simply be missing: registries answer 400, 401, 403, 404, 405 or 500 in that case."""
        return self.details.get("status") not in (408, 425, 429, 502, 503, 504)


class UnreachableError(RegistryError):
    """A registry does not answer."""

    kind = "registry-unreachable"
    may_be_missing = False
    advice = "Check the name of the registry, and the network and the proxy of this host."


class TlsError(RegistryError):
    """A TLS connection cannot be established, or the certificate is not trusted."""

    kind = "registry-tls"
    may_be_missing = False
    advice = "Check the certificate of the registry, and the clock of this host."


class AuthenticationError(RegistryError):
    """The registry requires a login or rejects the one it received."""

    kind = "authentication-failed"
    advice = "Log in with lockstep.images.registry_login, or give username and password."


class DeniedError(RegistryError):
    """The login is valid but lacks the permission."""

    kind = "denied"
    advice = "Log in as a user with this permission. Some registries also deny what does not exist."


class NotFoundError(RegistryError):
    """A repository, a tag or a digest does not exist."""

    kind = "not-found"
    advice = (
        "Check the spelling, log in if the image is private,"
        " or list the repository with lockstep.images.registry_info."
    )


class RateLimitError(RegistryError):
    """The registry limits requests, or the limit in ``rate_limit_floor`` is reached."""

    kind = "rate-limited"
    may_be_missing = False
    advice = "Log in for a higher limit, pull from a mirror, or run again later."


class RedirectError(RegistryError):
    """A redirect is unsafe to follow."""

    kind = "redirect-refused"
    advice = "Ask the operator of the registry, or of its proxy, to correct the redirect."


class ProtocolError(RegistryError):
    """An answer breaks the protocol of registries (distribution-spec v1.1)."""

    kind = "registry-protocol"
    advice = "Check that a container registry answers there, not a proxy or a login page."


class RangeError(ProtocolError):
    """The server sends another part of a blob than requested."""

    kind = "registry-ranges"
    advice = "Ask the operator of the registry, or use a mirror."


class EncodingError(ProtocolError):
    """A body cannot be decoded as its Content-Encoding says."""


class ContentError(LockstepError):
    """Content is not valid."""

    kind = "invalid-content"


class DigestMismatchError(ContentError):
    """The bytes of content do not match its digest."""

    kind = "digest-mismatch"
    advice = "The content was changed at its source or in transit; none of it was kept."


class SizeMismatchError(ContentError):
    """Content has more bytes than promised, or a manifest another size."""

    kind = "size-mismatch"
    advice = DigestMismatchError.advice


class TruncatedError(ContentError):
    """Content ends before its last byte."""

    kind = "truncated"
    advice = "Run again: the received bytes are kept."


class ManifestError(ContentError):
    """A manifest or a configuration violates the specification (image-spec v1.1)."""

    kind = "invalid-manifest"
    advice = "Ask the publisher of the image to push it again."


class UnsupportedError(ContentError):
    """Content is valid, but of a type that the collection does not support."""

    kind = "unsupported-content"
    advice = "Use an image in OCI or Docker format."


class NoPlatformError(ContentError):
    """An image lacks a requested platform."""

    kind = "platform-not-found"
    advice = "Give an available platform, or use an image that is built for this one."


class StoreError(LockstepError):
    """A store cannot be used."""

    kind = "store-error"


class NotALayoutError(StoreError):
    """A directory is not an OCI image layout."""

    kind = "not-a-layout"
    advice = "Give another directory as store."


class CorruptStoreError(StoreError):
    """The index of a store is malformed or missing, or content is wrong or missing."""

    kind = "store-corrupt"
    advice = "Run lockstep.images.store_verify with repair: true."


class StoreAccessError(StoreError):
    """The operating system refuses a call, or a path is not a regular file."""

    kind = "store-access"


class NoSpaceError(StoreAccessError):
    """The disk has too little space."""

    kind = "no-space"
    advice = "Free some space and run again."


class LockedError(StoreError):
    """Another process holds a lock for too long."""

    kind = "store-locked"
    advice = "Another task uses it: run again when that task has ended."


class ConflictError(StoreError):
    """Another process changed the store during the task."""

    kind = "store-conflict"
    advice = "Run again."


class NotInStoreError(StoreError):
    """The store lacks an image or a part of it, and the task must not fetch it."""

    kind = "not-in-store"
    advice = "Pull it first."


class DependencyError(LockstepError):
    """The Python of the host lacks a library, whose name is the detail ``library``."""

    kind = "missing-dependency"


def in_message(text: str) -> str:
    """Return text on one printable line of at most 1000 characters; the middle of a longer one is left out.

    The end stays, as it usually has the reason.
    """
    if not text.isprintable():
        text = printable(text, len(text))
    return text if len(text) <= _LONGEST else f"{text[:700]} ... {text[-295:]}"


def end_sentence(text: str) -> str:
    """Return text that ends with a full stop."""
    return text if text.endswith(".") else f"{text}."


def _shown(value: t.Any) -> t.Any:
    if isinstance(value, (list, tuple)):
        return [_shown(item) for item in value[:_MOST]]
    return in_message(value) if isinstance(value, str) else value


def printable(text: str, limit: int = 200) -> str:
    """Return text from a server or a file on one printable line of at most ``limit`` characters."""
    if not text.isprintable():
        text = "".join(char if char.isprintable() else " " for char in text)
    clean = " ".join(text.split())
    return clean if len(clean) <= limit else clean[: limit - 3] + "..."


def readable_size(size: t.Any, base: int = 1000, units: t.Sequence[str] = _SI) -> str:
    """Return a number of bytes, an int or a Decimal, in the largest unit of ``units`` that fits, such as "1.25 MB".

    ``base`` is the factor between units. The text has three significant digits, or all before the point, and is
    rounded half up.
    """
    number = 0
    while True:
        scale = base**number
        places = 2 if size < 10 * scale else 1 if size < 100 * scale else 0
        rounded = (2 * size * 10**places + scale) // (2 * scale)
        if rounded < base * 10**places or number == len(units) - 1:
            break
        number += 1
    text = f"{rounded / 10**places:.{places}f}"
    return f"{text.rstrip('0').rstrip('.') if places else text} {units[number]}"


def shown_name(text: str) -> str:
    """Return a quoted name for a message, without the text before an ``@`` or after a ``?``, which can be a secret."""
    base = re.split("[?#]", text or "", maxsplit=1)[0]
    query = (text or "")[len(base) :]
    if base.endswith("@") and base.count("@") == 1 and "://" not in base:
        return printable(repr(base), 160)  # an empty variable in place of the digest
    safe = "..." if "@" in query else _USER.sub("...@", base) + (f"{query[0]}..." if query else "")
    return printable(repr(safe), 160)
