# SPDX-License-Identifier: GPL-3.0-or-later
"""A trusted root (sigstore/protobuf-specs): the authorities and logs that signatures by identities are verified with."""

from __future__ import annotations

import datetime
import json
import typing as t

from .._image.dates import Moment
from .._image.names import Digest
from .errors import SignatureInvalidError
from .keys import MORE_CURVES, PublicKey, key_of_der
from .strict import Table, base64_bytes, items, json_object, member

_MOST = 100
_TYPE = "application/vnd.dev.sigstore.trustedroot"
_EPOCH = (datetime.date(1970, 1, 1).toordinal() - 1) * 86400


def moment_of(seconds: int) -> Moment:
    """Return a Unix time as a Moment."""
    return Moment(_EPOCH + seconds)


def shown_moment(moment: Moment) -> str:
    """Return a Moment in the form of RFC 3339, in whole seconds of UTC."""
    days, seconds = divmod(moment.seconds, 86400)
    date = datetime.date.fromordinal(days + 1).isoformat()
    return f"{date}T{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}Z"


class Period(t.NamedTuple):
    """From a start to an end, both included; None for no end."""

    start: Moment
    end: Moment | None = None

    def has(self, moment: Moment) -> bool:
        """Return whether a point in time is in this period."""
        return self.start <= moment and (self.end is None or moment <= self.end)


class Log(t.NamedTuple):
    """A log and its key. ``key_id`` is the beginning of its signatures of checkpoints."""

    log_id: bytes
    key: PublicKey
    period: Period
    key_id: bytes


class Chain(t.NamedTuple):
    """The certificates of an authority as DER, each issued by the next."""

    certificates: tuple[bytes, ...]
    period: Period


class TrustedRoot(t.NamedTuple):
    """Logs of signatures, logs of certificates, authorities for certificates and for time stamps."""

    logs: tuple[Log, ...]
    certificate_logs: tuple[Log, ...]
    authorities: tuple[Chain, ...]
    time_authorities: tuple[Chain, ...]
    digest: str  # of its canonical JSON


def parse_trusted_root(raw: bytes, where: str) -> TrustedRoot:
    """Return the trusted root in ``raw``, without keys of unsupported kinds.

    Raise SignatureInvalidError, which names ``where``, if it is malformed or has no authority for certificates.
    """
    top = json_object(raw, where)
    if not member(top, "mediaType", str, where).startswith(_TYPE):
        raise SignatureInvalidError(f"{where}: is not a trusted root of sigstore")
    found = TrustedRoot(
        _logs(top, "tlogs", where),
        _logs(top, "ctlogs", where),
        _chains(top, "certificateAuthorities", where),
        _chains(top, "timestampAuthorities", where),
        str(Digest.of(json.dumps(top, sort_keys=True).encode("utf-8"))),
    )
    if not found.authorities:
        raise SignatureInvalidError(f"{where}: has no certificateAuthorities")
    return found


def _logs(top: Table, key: str, where: str) -> tuple[Log, ...]:
    found = []
    for number, entry in enumerate(items(top, key, _MOST, where)):
        place = f"{where}: {key}[{number}]"
        public = member(entry, "publicKey", dict, place)
        der = base64_bytes(public.get("rawBytes"), f"{place}: publicKey")
        log_id = _key_id(member(entry, "logId", dict, place), place)
        of_checkpoint = entry.get("checkpointKeyId")
        key_id = _key_id(of_checkpoint, place) if isinstance(of_checkpoint, dict) else log_id
        period = _period(public, place)
        try:
            found.append(Log(log_id, key_of_der(der, MORE_CURVES), period, key_id))
        except ValueError:
            continue  # what this log says cannot be verified then
    return tuple(found)


def _key_id(value: Table, place: str) -> bytes:
    return base64_bytes(value.get("keyId"), f"{place}: keyId")


def _chains(top: Table, key: str, where: str) -> tuple[Chain, ...]:
    found = []
    for number, entry in enumerate(items(top, key, _MOST, where)):
        place = f"{where}: {key}[{number}]"
        listed = items(member(entry, "certChain", dict, place), "certificates", _MOST, place)
        if not listed:
            raise SignatureInvalidError(f"{place}: has no certificates")
        ders = (base64_bytes(one.get("rawBytes"), f"{place}: certificate") for one in listed)
        found.append(Chain(tuple(ders), _period(entry, place)))
    return tuple(found)


def _period(entry: Table, place: str) -> Period:
    value = member(entry, "validFor", dict, place)
    start, end = Moment.parse(value.get("start")), Moment.parse(value.get("end"))
    if start is None or (end is None and value.get("end") is not None):
        raise SignatureInvalidError(f"{place}: validFor has no valid start or end")
    return Period(start, end)
