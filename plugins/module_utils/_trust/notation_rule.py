# SPDX-License-Identifier: GPL-3.0-or-later
"""Whose signatures of notation count (notaryproject trust-store-trust-policy.md): authorities, and subjects of certificates."""

from __future__ import annotations

import base64
import re
import typing as t

from .._image.errors import printable
from .._image.names import Digest
from .certificates import Certificate
from .errors import PolicyError, SignatureInvalidError

STRICT, PERMISSIVE = "strict", "permissive"
ATTRIBUTES = {
    "2.5.4.6": "C",
    "2.5.4.8": "ST",
    "2.5.4.10": "O",
    "2.5.4.7": "L",
    "2.5.4.11": "OU",
    "2.5.4.3": "CN",
    "2.5.4.9": "STREET",
}
REQUIRED = ("C", "ST", "O")
_KEYS = ("trust_store", "signing_authority", "identities", "level", "revocation")
_PREFIX = "x509.subject:"
_PEM = re.compile(
    rb"-----BEGIN CERTIFICATE-----\r?\n([A-Za-z0-9+/=\r\n]+)-----END CERTIFICATE-----"
)
_BEGIN = b"-----BEGIN "
# An attribute, up to a comma that is not escaped (RFC 4514).
_PART = re.compile(
    r"\s*([A-Za-z]+)=(?!#)((?:[^\\,+\"<>;=]|\\[0-9A-Fa-f]{2}|\\[ \"#+,;<=>\\])+)(,|$)"
)
_ESCAPE = re.compile(rb"\\([0-9A-Fa-f]{2}|.)", re.DOTALL)
_MOST = 50
Subject = t.Mapping[str, str]
Data = t.Callable[[t.Any, str], tuple[bytes, str]]


class NotationTrust(t.NamedTuple):
    """The authorities for the signing schemes notary.x509 and notary.x509.signingAuthority, and the subjects that count.

    ``subjects`` is None for every certificate of these authorities. ``is_strict``: dates of certificates and of signatures
    are enforced.
    """

    authorities: tuple[Certificate, ...]
    signing_authorities: tuple[Certificate, ...]
    subjects: tuple[Subject, ...] | None
    is_strict: bool

    def as_json(self) -> t.Any:
        """Return everything that decides which signatures count, as a JSON value."""
        stores = [
            sorted(str(Digest.of(one.der)) for one in store)
            for store in (self.authorities, self.signing_authorities)
        ]
        subjects = self.subjects and [dict(one) for one in self.subjects]
        return [*stores, subjects, self.is_strict]

    def accepts(self, subject: Subject) -> bool:
        """Return whether a certificate with this subject may sign: all attributes of one of the subjects are the same."""
        return self.subjects is None or any(one.items() <= subject.items() for one in self.subjects)


def parse_notation(value: t.Any, where: str, data: Data) -> NotationTrust:
    """Return what ``notation`` of a rule says; ``data`` returns the bytes of an entry with text or path. Raise PolicyError."""
    if not isinstance(value, dict):
        raise PolicyError(f"{where}: is not a mapping")
    for key in value:
        if key not in _KEYS:
            raise PolicyError(f"{where}: has the unknown key {printable(str(key), 60)}")
    if value.get("revocation") != "skip":
        raise PolicyError(
            f"{where}.revocation: is not skip",
            "Neither OCSP nor revocation lists are requested. Set revocation to skip if you accept that.",
        )
    level = value.get("level", STRICT)
    if level not in (STRICT, PERMISSIVE):
        raise PolicyError(
            f"{where}.level: is not {STRICT} or {PERMISSIVE}",
            "For audit and skip, write a rule with accept: unsigned.",
        )
    stores = [
        _certificates(*data(value[key], f"{where}.{key}"), f"{where}.{key}") if key in value else ()
        for key in _KEYS[:2]
    ]
    if not any(stores):
        raise PolicyError(f"{where}: has neither trust_store nor signing_authority")
    subjects = _subjects(value.get("identities"), f"{where}.identities")
    return NotationTrust(stores[0], stores[1], subjects, level == STRICT)


def _certificates(text: bytes, named: str, where: str) -> tuple[Certificate, ...]:
    blocks = _PEM.findall(text)
    if not blocks or text.count(_BEGIN) != len(blocks):
        raise PolicyError(f"{where}{named}: is not a PEM file with certificates alone")
    try:
        ders = [base64.b64decode(b"".join(block.split()), validate=True) for block in blocks]
        return tuple(Certificate.parse(der, f"{where}{named}") for der in ders)
    except (ValueError, SignatureInvalidError) as exc:
        raise PolicyError(f"{where}{named}: {exc}") from exc


def _subjects(value: t.Any, where: str) -> tuple[Subject, ...] | None:
    if value == ["*"]:
        return None
    if not isinstance(value, list) or not 0 < len(value) <= _MOST:
        raise PolicyError(f"{where}: is not a list of 1 to {_MOST} identities, or of * alone")
    found = [_subject(entry, f"{where}[{number}]") for number, entry in enumerate(value)]
    for number, one in enumerate(found):
        if any(one.items() <= other.items() for other in found[:number] + found[number + 1 :]):
            raise PolicyError(f"{where}[{number}]: overlaps with another identity")
    return tuple(found)


def _subject(text: t.Any, where: str) -> Subject:
    """Return the attributes in an identity such as ``x509.subject: C=US, ST=WA, O=acme``."""
    if not isinstance(text, str) or not text.startswith(_PREFIX):
        raise PolicyError(f"{where}: does not start with {_PREFIX}")
    rest, found = text[len(_PREFIX) :].strip(), {}
    end = ","
    while end:
        match = _PART.match(rest)
        name = match[1].upper() if match else ""
        if not match or name not in ATTRIBUTES.values() or name in found:
            raise PolicyError(
                f"{where}: must have the attributes {', '.join(ATTRIBUTES.values())}, each at most once"
            )
        found[name], end, rest = _unescaped(match[2].strip(), where), match[3], rest[match.end() :]
    missing = [name for name in REQUIRED if name not in found]
    if missing:
        raise PolicyError(f"{where}: lacks {', '.join(missing)}")
    return found


def _unescaped(text: str, where: str) -> str:
    def replaced(match: re.Match[bytes]) -> bytes:
        return bytes.fromhex(match[1].decode("ascii")) if len(match[1]) == 2 else match[1]

    try:
        return _ESCAPE.sub(replaced, text.encode("utf-8")).decode("utf-8")
    except UnicodeDecodeError as exc:
        raise PolicyError(f"{where}: is not UTF-8") from exc
