# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a report says about each host, read from the report itself or from its JSON file, which is untrusted."""

from __future__ import annotations

import json
import typing as t
from dataclasses import dataclass, field
from pathlib import Path

from ansible_collections.lockstep.images.plugins.module_utils._image import errors
from ansible_collections.lockstep.images.plugins.plugin_utils._held import NOTHING, UNKNOWN, Held
from ansible_collections.lockstep.images.plugins.plugin_utils._results import Json, ResultReader

REPORT_VERSION = 1
STATUSES = ("same", "differs", "failed", "unreachable")
V = t.TypeVar("V")


@dataclass
class HostState:
    """The state of one host. ``found`` has what it holds for the names that differ.

    ``since`` is the date of the first report in a row with this status, if an earlier report was compared.
    """

    name: str
    status: str
    found: dict[str, Held] = field(default_factory=dict)
    since: str | None = None

    @property
    def is_compared(self) -> bool:
        return self.status in ("same", "differs")


@dataclass(frozen=True)
class Snapshot:
    """The hosts of one report by name, and what they had to hold. A ``date`` is None if the report has none."""

    date: str | None
    compared_with: str
    fingerprint: str | None
    wanted: dict[str, Held]
    hosts: dict[str, HostState]

    def wanted_for(self, name: str) -> Held:
        """Return what hosts had to hold for a name."""
        return self.wanted.get(name, NOTHING)

    def found(self, host: HostState, name: str) -> Held:
        """Return what a host held for a name."""
        if not host.is_compared:
            return UNKNOWN
        return host.found.get(name) or self.wanted_for(name)


def snapshot(report: t.Any) -> Snapshot:
    """Return the snapshot of a report. Raise ValueError, with the path of the value, if the report is not valid."""
    texts = ResultReader()
    hosts = {}
    for where, entry in _entries(report, "hosts"):
        name = texts.text(_value(entry, "name", where, str))
        status = _value(entry, "status", where, str)
        if status not in STATUSES:
            raise ValueError(f"{where}.status is not one of {', '.join(STATUSES)}")
        hosts[name] = HostState(name, status)
    for where, entry in _entries(report, "differences"):
        name, found = (texts.text(_value(entry, key, where, str)) for key in ("name", "found"))
        for host in _value(entry, "hosts", where, list):
            own = hosts.get(texts.text(host) if isinstance(host, str) else "")
            if own is None:
                raise ValueError(f"{where}.hosts has an entry that is not in hosts")
            own.found[name] = Held.parse(found)
    _read_since(report, hosts)
    return Snapshot(
        date=_optional_text(texts, report, "date"),
        compared_with=texts.text(_value(report, "compared_with", "the report", str)),
        fingerprint=_optional_text(texts, report, "fingerprint"),
        wanted={
            texts.text(_value(entry, "name", where, str)): Held.parse(
                texts.text(_value(entry, "wanted", where, str))
            )
            for where, entry in _entries(report, "images")
        },
        hosts=hosts,
    )


def read_snapshot(path: str) -> Snapshot:
    """Return the snapshot of a report in a JSON file. Raise InputError if the file is not such a report."""
    hint = (
        "Give the JSON file of an earlier report, which the playbook writes beside the HTML file."
    )
    try:
        report = json.loads(Path(path).read_bytes())
    except OSError as exc:
        raise errors.InputError(f"{path}: cannot be read: {exc.strerror}", hint) from exc
    except (ValueError, RecursionError) as exc:
        raise errors.InputError(f"{path}: is not JSON: {exc}", hint) from exc
    version = report.get("report_version") if isinstance(report, dict) else None
    if version is None:
        raise errors.InputError(f"{path}: is not a report: it has no report_version", hint)
    if version != REPORT_VERSION or isinstance(version, bool):
        raise errors.InputError(
            f"{path}: has report_version {version!r}, expected {REPORT_VERSION}",
            "Another version of the collection wrote this report. Compare with a report that this version wrote.",
        )
    try:
        return snapshot(report)
    except ValueError as exc:
        raise errors.InputError(f"{path}: is not a valid report: {exc}", hint) from exc


def _read_since(report: Json, hosts: dict[str, HostState]) -> None:
    """Read since when each host has its status: since the date of this report, unless it was compared with an earlier one."""
    texts = ResultReader()
    date = _optional_text(texts, report, "date")
    for host in hosts.values():
        host.since = date
    since = report.get("since")
    for where, entry in _entries(since, "hosts", "since.") if since is not None else ():
        own = hosts.get(texts.text(_value(entry, "name", where, str)))
        if own is not None:
            own.since = _optional_text(texts, entry, "since", where)


def _entries(report: t.Any, key: str, prefix: str = "") -> t.Iterator[tuple[str, Json]]:
    """Yield the path and the value of each entry of a list of dictionaries."""
    for number, entry in enumerate(_value(report, key, prefix.rstrip(".") or "the report", list)):
        yield f"{prefix}{key}[{number}]", entry


def _value(entry: t.Any, key: str, where: str, kind: type[V]) -> V:
    value = entry.get(key) if isinstance(entry, t.Mapping) else None
    if not isinstance(value, kind):
        raise ValueError(f"{key} of {where} is missing or not a {kind.__name__}")
    return value


def _optional_text(
    texts: ResultReader, entry: Json, key: str, where: str = "the report"
) -> str | None:
    return None if entry.get(key) is None else texts.text(_value(entry, key, where, str))
