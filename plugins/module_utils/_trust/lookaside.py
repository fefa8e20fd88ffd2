# SPDX-License-Identifier: GPL-3.0-or-later
"""Signatures by GPG beside the registry: the keyring of a rule, and the web server or directory that has the signatures."""

from __future__ import annotations

import re
import typing as t

from .._image.errors import printable
from .._image.names import Digest, Reference
from .errors import PolicyError
from .naming import EVERYTHING, scope_fault, scopes_of
from .openpgp import keyring_of

MOST_SIGNATURES = 50
_URL = re.compile(
    r"https://(?:[A-Za-z0-9.-]+|\[[A-Fa-f0-9:]+\])(?::[0-9]{1,5})?(?:/[A-Za-z0-9._~!$&'()*+,;=:@%/-]*)?"
    r"|file:///[A-Za-z0-9._~!$&'()*+,;=:@%/-]*"
)
Data = t.Callable[[t.Any, str], tuple[bytes, str]]


class GpgTrust(t.NamedTuple):
    """Whose signatures by GPG count, those of the keys in a keyring, and where they are, as URLs by scope."""

    ring: bytes
    lookaside: t.Mapping[str, str]

    def as_json(self) -> t.Any:
        """Return everything that decides which signatures count, as a JSON value."""
        return [str(Digest.of(self.ring)), dict(self.lookaside)]

    def base_of(self, reference: Reference) -> str | None:
        """Return the URL for an image, that of the most specific scope, None for none."""
        found = (self.lookaside.get(scope) for scope in scopes_of(reference))
        return next(filter(None, found), None)


def signature_url(base: str, reference: Reference, digest: Digest, number: int) -> str:
    """Return the URL of a signature, whose number starts at 1 (containers/image docs/signature-protocols.md).

    It has the path of the repository, without the registry and its port.
    """
    path = reference.name.partition("/")[2]
    return f"{base.rstrip('/')}/{path}@{digest.algorithm}={digest.encoded}/signature-{number}"


def parse_gpg(value: t.Any, where: str, data: Data) -> GpgTrust:
    """Return what ``gpg`` of a rule says; ``data`` returns the bytes of an entry with text or path. Raise PolicyError."""
    if not isinstance(value, dict) or sorted(value) != ["keyring", "lookaside"]:
        raise PolicyError(f"{where}: must have keyring and lookaside")
    ring, named = data(value["keyring"], f"{where}.keyring")
    lookaside = parse_lookaside(value["lookaside"], f"{where}.lookaside")
    return GpgTrust(parse_keyring(ring, f"{where}.keyring{named}"), lookaside)


def parse_keyring(data: bytes, where: str) -> bytes:
    """Return a keyring without armor; raise PolicyError if a file is not one."""
    try:
        return keyring_of(data)
    except ValueError as exc:
        raise PolicyError(f"{where}: {exc}") from exc


def parse_lookaside(value: t.Any, where: str) -> dict[str, str]:
    """Return the URLs by scope that a text, for every image, or a mapping states; raise PolicyError for anything else."""
    scopes = value if isinstance(value, dict) else {EVERYTHING: value}
    for scope, url in scopes.items():
        fault = scope_fault(scope) if isinstance(scope, str) else "it is not a text"
        if fault:
            raise PolicyError(f"{where}: {printable(str(scope), 100)} is not a scope: {fault}")
        if not isinstance(url, str) or not _URL.fullmatch(url):
            raise PolicyError(
                f"{where}: is not a URL with https:// or file://, or a mapping of scopes to such URLs",
                "Signatures are never read over http://.",
            )
    if not scopes:
        raise PolicyError(f"{where}: names no URL")
    return dict(scopes)
