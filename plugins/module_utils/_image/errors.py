# SPDX-License-Identifier: GPL-3.0-or-later
"""Everything raised on purpose; ``kind`` is stable, a playbook may test it."""

from __future__ import annotations

import re
import typing as t

_LONGEST = 1000
_MOST = 100  # of a list in a result
_SI = ("B", "kB", "MB", "GB", "TB", "PB", "EB")
_USER = re.compile(r"^.*@(?!sha[0-9]+(?::[^@/]*)?$)", re.DOTALL)


class LockstepError(Exception):
    """Base of all: a message without a full stop, and a hint of whole sentences.

    Both may hold text of strangers: they are made printable and short here. ``details`` go into the result.
    """

    kind = "error"
    advice = ""  # the hint where none is given

    def __init__(self, message: str, hint: str = "", **details: t.Any) -> None:
        super().__init__(in_message(message))
        self.hint = in_message(hint or self.advice)
        self.details = {name: _shown(value) for name, value in details.items()}
        self._parts = [(str(self), self.hint)]

    def copy(self) -> LockstepError:
        """Return the same error, to be raised in another thread."""
        return type(self)(str(self), self.hint, **self.details)

    def full_message(self) -> str:
        """Return each message, as a sentence where a hint follows it."""
        parts = [f"{end_sentence(text)} {hint}" if hint else text for text, hint in self._parts]
        return " ".join([*map(end_sentence, parts[:-1]), parts[-1]])

    def as_result(self) -> dict[str, t.Any]:
        """What a playbook sees as ``error``."""
        return dict(self.details, kind=self.kind, hint=self.hint)


def together(lead: str, causes: t.Sequence[LockstepError], more: str = "") -> LockstepError:
    """Return several errors as one of the kind of the first; a hint that some share is given once, after the last."""
    shared: dict[str, list[str]] = {}
    for cause in causes:
        shared.setdefault(cause.hint, []).append(str(cause))
    parts = ["; ".join(texts) for texts in shared.values()]
    parts[0] = lead + parts[0]
    parts[-1] += more
    error = type(causes[0])("", " ".join(filter(None, shared)), **causes[0].details)
    error.args = ("; ".join(parts),)
    error._parts = list(zip(parts, shared))
    return error


class InputError(LockstepError):
    kind = "invalid-input"


class ReferenceError(InputError):
    kind = "invalid-reference"
    advice = "Write registry/repository:tag, for example docker.io/library/debian:12."


class DigestError(InputError):
    kind = "invalid-digest"
    advice = "Write sha256: and 64 hexadecimal digits in lower case."


class PlatformError(InputError):
    kind = "invalid-platform"
    advice = "Write os/architecture[/variant], for example linux/arm64."


class LockError(InputError):
    kind = "invalid-lock"
    advice = (
        "Take the file from version control again, or lock again with lockstep.images.image_lock."
    )


class AuthFileError(InputError):
    kind = "invalid-auth-file"
    advice = "Correct the file, or log in again with lockstep.images.registry_login."


class CredentialHelperError(InputError):
    kind = "credential-helper"
    advice = "Install the helper on the PATH that modules have, or give username and password."


class MissingHelperError(CredentialHelperError):
    """The program of a helper is not there, or cannot be started."""


class RegistryError(LockstepError):
    kind = "registry-error"
    advice = "Run again later; if it fails again, ask whoever runs the registry."
    is_elsewhere = False  # whether it is of a host to which the one that was asked redirects
    code = ""  # the registry's own code, such as DIGEST_INVALID (distribution-spec v1.1, "Error Codes")

    def after_redirect(self, source: str) -> RegistryError:
        """Return it as the error of a host to which ``source`` redirects."""
        error = type(self)(f"{self}; {source} redirects there", self.hint, **self.details)
        error.is_elsewhere = True
        return error

    @property
    def may_be_missing(self) -> bool:
        """Whether what was asked for may just not be there: registries answer 404, 400, 401, 403, 405 or 500 then."""
        return self.details.get("status") not in (408, 425, 429, 502, 503, 504)


class UnreachableError(RegistryError):
    kind = "registry-unreachable"
    may_be_missing = False
    advice = "Check the name of the registry, and the network and the proxy of this host."


class TlsError(RegistryError):
    kind = "registry-tls"
    may_be_missing = False
    advice = "Check the certificate of the registry, and the clock of this host."


class AuthenticationError(RegistryError):
    kind = "authentication-failed"
    advice = "Log in with lockstep.images.registry_login, or give username and password."


class DeniedError(RegistryError):
    kind = "denied"
    advice = "Log in as a user who has the right to do this. Some registries also deny what does not exist."


class NotFoundError(RegistryError):
    kind = "not-found"
    advice = (
        "Check the spelling, log in if the image is private,"
        " or list the repository with lockstep.images.registry_info."
    )


class PushRefusedError(RegistryError):
    kind = "push-refused"


class TooLargeError(RegistryError):
    kind = "too-large"


class NotOfferedError(RegistryError):
    kind = "registry-unsupported"


class RateLimitError(RegistryError):
    kind = "rate-limited"
    may_be_missing = False
    advice = "Log in for a higher limit, pull from a mirror, or run again later."


class RedirectError(RegistryError):
    kind = "redirect-refused"
    advice = "Ask whoever runs the registry, or the proxy in front of it, to correct the redirect."


class ProtocolError(RegistryError):
    kind = "registry-protocol"
    advice = "Check that a container registry answers there, and not a proxy or a login page."


class RangeError(ProtocolError):
    kind = "registry-ranges"
    advice = "Ask whoever runs the registry, or use a mirror."


class EncodingError(ProtocolError):
    """A body is not what its Content-Encoding says."""


class ContentError(LockstepError):
    kind = "invalid-content"


class DigestMismatchError(ContentError):
    kind = "digest-mismatch"
    advice = "The content was changed where it is stored or on its way; nothing of it was kept."


class SizeMismatchError(ContentError):
    kind = "size-mismatch"
    advice = DigestMismatchError.advice


class TruncatedError(ContentError):
    kind = "truncated"
    advice = "Run again: what has arrived is kept."


class ManifestError(ContentError):
    kind = "invalid-manifest"
    advice = "Ask whoever pushed the image to push it again."


class UnsupportedError(ContentError):
    kind = "unsupported-content"
    advice = "Use an image, in the format of OCI or Docker."


class NoPlatformError(ContentError):
    kind = "platform-not-found"
    advice = "Give a platform that is there, or use an image that is built for this one."


class StoreError(LockstepError):
    kind = "store-error"


class NotALayoutError(StoreError):
    kind = "not-a-layout"
    advice = "Give another directory as store."


class CorruptStoreError(StoreError):
    kind = "store-corrupt"
    advice = "Run lockstep.images.store_verify with repair: true."


class StoreAccessError(StoreError):
    kind = "store-access"


class NoSpaceError(StoreAccessError):
    kind = "no-space"
    advice = "Free some space and run again."


class LockedError(StoreError):
    kind = "store-locked"
    advice = "Another task uses it: run again when that task has ended."


class ConflictError(StoreError):
    kind = "store-conflict"
    advice = "Run again."


class NotInStoreError(StoreError):
    kind = "not-in-store"
    advice = "Pull it first."


class DependencyError(LockstepError):
    kind = "missing-dependency"


def in_message(text: str) -> str:
    """Return text on one line as it fits into a message: of a long one the beginning, and the end with the reason."""
    if not text.isprintable():
        text = printable(text, len(text))
    return text if len(text) <= _LONGEST else f"{text[:700]} ... {text[-295:]}"


def end_sentence(text: str) -> str:
    """Return text with a full stop."""
    return text if text.endswith(".") else f"{text}."


def _shown(value: t.Any) -> t.Any:
    if isinstance(value, (list, tuple)):
        return [_shown(item) for item in value[:_MOST]]
    return in_message(value) if isinstance(value, str) else value


def printable(text: str, limit: int = 200) -> str:
    """Text of a stranger on one line, short."""
    if not text.isprintable():
        text = "".join(char if char.isprintable() else " " for char in text)
    clean = " ".join(text.split())
    return clean if len(clean) <= limit else clean[: limit - 3] + "..."


def readable_size(size: t.Any, base: int = 1000, units: t.Sequence[str] = _SI) -> str:
    """Return a number of bytes, an int or a Decimal, with three digits or all before the point, rounded half up."""
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
    """Return a name for a message; what stands before an ``@`` or behind a ``?`` could be a secret."""
    base = re.split("[?#]", text or "", maxsplit=1)[0]
    query = (text or "")[len(base) :]
    if base.endswith("@") and base.count("@") == 1 and "://" not in base:
        return printable(repr(base), 160)  # a digest was left out, as an empty variable does
    safe = "..." if "@" in query else _USER.sub("...@", base) + (f"{query[0]}..." if query else "")
    return printable(repr(safe), 160)
