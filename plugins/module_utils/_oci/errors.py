# SPDX-License-Identifier: GPL-3.0-or-later
"""Everything raised on purpose; ``kind`` is stable, a playbook may test it."""

from __future__ import annotations

import typing as t


class LockstepError(Exception):
    """Base of all; ``details`` go into the result."""

    kind = "error"

    def __init__(self, message: str, hint: str = "", **details: t.Any) -> None:
        super().__init__(message)
        self.hint = hint
        self.details = details

    def again(self) -> LockstepError:
        """The same, to be raised for somebody else."""
        return type(self)(str(self), self.hint, **self.details)

    def as_result(self) -> dict[str, t.Any]:
        """What a playbook sees as ``error``."""
        return dict(self.details, kind=self.kind, hint=self.hint)


class InputError(LockstepError):
    kind = "invalid-input"


class ReferenceError(InputError):
    kind = "invalid-reference"


class DigestError(InputError):
    kind = "invalid-digest"


class PlatformError(InputError):
    kind = "invalid-platform"


class LockError(InputError):
    kind = "invalid-lock"


class AuthFileError(InputError):
    kind = "invalid-auth-file"


class CredentialHelperError(InputError):
    kind = "credential-helper"


class RegistryError(LockstepError):
    kind = "registry-error"


class UnreachableError(RegistryError):
    kind = "registry-unreachable"


class TlsError(RegistryError):
    kind = "registry-tls"


class AuthenticationError(RegistryError):
    kind = "authentication-failed"


class DeniedError(RegistryError):
    kind = "denied"


class NotFoundError(RegistryError):
    kind = "not-found"


class PushRefusedError(RegistryError):
    kind = "push-refused"


class TooLargeError(RegistryError):
    kind = "too-large"


class NotOfferedError(RegistryError):
    kind = "registry-unsupported"


class RateLimitError(RegistryError):
    kind = "rate-limited"


class RedirectError(RegistryError):
    kind = "redirect-refused"


class ProtocolError(RegistryError):
    kind = "registry-protocol"


class RangeError(ProtocolError):
    kind = "registry-ranges"


class EncodingError(ProtocolError):
    """A body is not what its Content-Encoding says."""


class ContentError(LockstepError):
    kind = "invalid-content"


class DigestMismatchError(ContentError):
    kind = "digest-mismatch"


class SizeMismatchError(ContentError):
    kind = "size-mismatch"


class TruncatedError(ContentError):
    kind = "truncated"


class ManifestError(ContentError):
    kind = "invalid-manifest"


class UnsupportedError(ContentError):
    kind = "unsupported-content"


class NoPlatformError(ContentError):
    kind = "platform-not-found"


class StoreError(LockstepError):
    kind = "store-error"


class NotALayoutError(StoreError):
    kind = "not-a-layout"


class CorruptStoreError(StoreError):
    kind = "store-corrupt"


class StoreAccessError(StoreError):
    kind = "store-access"


class NoSpaceError(StoreAccessError):
    kind = "no-space"


class LockedError(StoreError):
    kind = "store-locked"


class ConflictError(StoreError):
    kind = "store-conflict"


class NotInStoreError(StoreError):
    kind = "not-in-store"


class DependencyError(LockstepError):
    kind = "missing-dependency"


def printable(text: str, limit: int = 200) -> str:
    """Text of a stranger on one line, short."""
    if not text.isprintable():
        text = "".join(char if char.isprintable() else " " for char in text)
    clean = " ".join(text.split())
    return clean if len(clean) <= limit else clean[: limit - 3] + "..."
