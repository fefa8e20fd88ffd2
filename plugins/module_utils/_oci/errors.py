# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Everything this library raises on purpose.

::

    LockstepError
    +-- InputError            what the user gave cannot be used
    |   +-- ReferenceError    a name of an image               invalid-reference
    |   +-- DigestError       a content address                invalid-digest
    |   +-- PlatformError     an os/arch[/variant]             invalid-platform
    |   +-- AuthFileError     a file with credentials          invalid-auth-file
    |   `-- CredentialHelperError   a helper that failed       credential-helper
    +-- RegistryError         a registry, or the way to it
    |   +-- UnreachableError  no answer                        registry-unreachable
    |   +-- TlsError          no trust                         registry-tls
    |   +-- AuthenticationError  who are you                   authentication-failed
    |   +-- DeniedError       you may not                      denied
    |   +-- NotFoundError     no such name or content          not-found
    |   +-- RateLimitError    too many requests                rate-limited
    |   +-- RedirectError     a redirect we do not follow      redirect-refused
    |   `-- ProtocolError     an answer that makes no sense    registry-protocol
    +-- ContentError          bytes that are not what was promised
    |   +-- DigestMismatchError                                digest-mismatch
    |   +-- SizeMismatchError                                  size-mismatch
    |   +-- TruncatedError    ended early, stalled, was reset  truncated
    |   +-- ManifestError     not a valid manifest             invalid-manifest
    |   +-- UnsupportedError  valid, but not for us            unsupported-content
    |   `-- NoPlatformError   no such platform in the index    platform-not-found
    +-- StoreError            the directory on disk
    |   +-- NotALayoutError   something else lives there       not-a-layout
    |   +-- CorruptStoreError its files make no sense          store-corrupt
    |   +-- StoreAccessError  the system refused a call        store-access
    |   +-- LockedError       somebody holds it too long       store-locked
    |   +-- ConflictError     a name moved while we worked     store-conflict
    |   `-- NotInStoreError   wanted with C(pull=never)        not-in-store
    `-- DependencyError       a Python library is missing      missing-dependency

``kind`` is stable and may be tested by a playbook. A message names the subject first, then what was
got and what was wanted. No message holds a secret, a query string or a header.
"""

from __future__ import annotations

import typing as t


class LockstepError(Exception):
    """Base of all errors; ``details`` are plain values that go into the result beside ``kind``."""

    kind = "error"
    hint = ""

    def __init__(self, message: str, hint: str = "", **details: t.Any) -> None:
        super().__init__(message)
        self.details = details
        if hint:
            self.hint = hint

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


class RateLimitError(RegistryError):
    kind = "rate-limited"


class RedirectError(RegistryError):
    kind = "redirect-refused"


class ProtocolError(RegistryError):
    kind = "registry-protocol"


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


class LockedError(StoreError):
    kind = "store-locked"


class ConflictError(StoreError):
    kind = "store-conflict"


class NotInStoreError(StoreError):
    kind = "not-in-store"


class DependencyError(LockstepError):
    kind = "missing-dependency"
