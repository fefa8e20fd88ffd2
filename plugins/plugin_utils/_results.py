# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read the results of modules on many hosts, which are untrusted, into the types that the report needs.

A result that is not valid is an error of its host alone. The time is linear in the size of the results.
"""

from __future__ import annotations

import typing as t
from collections import Counter
from dataclasses import dataclass, field

from ansible_collections.lockstep.images.plugins.module_utils._image import errors
from ansible_collections.lockstep.images.plugins.plugin_utils._held import (
    UNKNOWN,
    Comparison,
    Held,
    held_in,
)
from ansible_collections.lockstep.images.plugins.plugin_utils._loaded import engine_rows

_LIMIT = 1 << 63
_TEXT_LIMIT = 500

Json = dict[str, t.Any]


@dataclass
class HostResults:
    """The checked results of one host.

    ``images`` is None if the host did not report its store, ``engine`` if it has none or did not report it. ``rows`` has
    the names that differ, and is None if the host was not compared. ``locked`` is true if the host was compared with a lock file, even if that failed.
    """

    name: str
    reached: bool = True
    messages: list[str] = field(default_factory=list)
    fingerprint: str | None = None
    images: list[Json] | None = None
    store: Json = field(default_factory=dict)
    sync: Json | None = None
    engine: Json | None = None
    locked: bool = False
    rows: dict[str, Comparison] | None = None
    checked: Json | None = None

    @property
    def states(self) -> dict[str, str]:
        """Return the state of every name that differs."""
        return {name: row.state for name, row in sorted((self.rows or {}).items())}

    @property
    def status(self) -> str:
        """``same``, ``differs``, ``failed`` or ``unreachable``."""
        if self.rows is None:
            return "failed" if self.reached else "unreachable"
        return "differs" if self.rows else "same"


class ResultReader:
    """Convert results of modules into the types that the report needs. Raise ValueError for a value that is not valid."""

    def __init__(self) -> None:
        self._texts: dict[str, str] = {}

    def host(self, name: str, results: t.Any) -> HostResults:
        """Return the checked results of a host. Record errors in ``messages`` and never raise."""
        host = HostResults(self.text(str(name)))
        for part, module, read in (
            ("info", "image_info", self._info),
            ("store", "store_info", self._store),
            ("sync", "image_sync", self._sync),
            ("engine", "engine", self._engine),
        ):
            result = results.get(part) if isinstance(results, t.Mapping) else None
            try:
                read(host, self._result(host, module, result))
            except (AttributeError, KeyError, TypeError, ValueError) as exc:
                host.messages.append(self.text(f"{module}: the result is not valid, {exc!r}"))
        if host.images is not None:
            # image_info checks only sizes. A sync with verify=full reads every byte.
            is_read = host.sync is not None and results.get("verify") == "full"
            when = results.get("date")
            host.checked = {
                "depth": "bytes" if is_read else "sizes",
                "date": self.text(when) if isinstance(when, str) else None,
            }
        if host.images is None and not host.messages:
            host.messages.append("image_info: no result")
        return host

    def text(self, value: t.Any) -> str:
        """Return a string on one line that can be encoded as UTF-8, at most 500 characters long."""
        if not isinstance(value, str):
            raise ValueError(f"{type(value).__name__} is not a string")
        clean = self._texts.get(value)
        if clean is None:
            clean = self._texts[str(value)] = errors.printable(str(value), _TEXT_LIMIT)
        return clean

    def _result(self, host: HostResults, module: str, result: t.Any) -> Json:
        """Return a result, or an empty one if the task was skipped. A failed result can still contain data."""
        if not result or result.get("skipped"):
            return {}
        if result.get("unreachable") or result.get("failed"):
            host.reached = host.reached and not result.get("unreachable")
            reason = str(result.get("msg") or "failed").removeprefix("Task failed: ")
            host.messages.append(f"{module}: {self.text(reason)}")
        return result

    def _info(self, host: HostResults, result: Json) -> None:
        if "images" in result:
            fingerprint = self.text(result["fingerprint"])
            host.images = [self._image(image) for image in result["images"]]
            host.fingerprint = fingerprint

    def _image(self, image: Json) -> Json:
        return {
            "name": self.text(image["name"]),
            "digest": self.text(image["digest"]),
            "platforms": [self.text(platform) for platform in image["platforms"]],
            "complete": image["complete"] is True,
            "size": _number(image.get("size") or 0),
            "layers": [
                (self.text(layer["digest"]), _number(layer["size"]))
                for layer in image.get("layers") or ()
            ],
        }

    def _store(self, host: HostResults, result: Json) -> None:
        if "file_system" in result:
            host.store = {
                "store": self.text(result["store"]),
                "bytes": _number(result["bytes"]),
                "reclaimable": _number(result["reclaimable"]),
                "free": _number(result["file_system"]["free"]),
            }

    def _sync(self, host: HostResults, result: Json) -> None:
        host.locked = bool(result)
        if "differences" not in result:
            return
        sizes: Counter[str] = Counter()
        for image in result["images"]:
            sizes[self.text(image["name"])] += _number(image["size"] or 0)
        failures = result.get("failures") or ()
        rows = {
            self.text(one["name"]): Comparison(
                *(Held.parse(self.text(one[key])) for key in ("wanted", "found"))
            )
            for one in result["differences"]
        }
        rows.update((self.text(one["name"]), Comparison(UNKNOWN, UNKNOWN)) for one in failures)
        host.messages += [f"{self.text(one['name'])}: {self.text(one['msg'])}" for one in failures]
        host.sync = {
            # A sync returns its fingerprint only if no image failed.
            "fingerprint": self.text(result["fingerprint"]) if "fingerprint" in result else None,
            "bytes_to_fetch": _number(result["stats"]["bytes_to_fetch"]),
            "bytes_freed": _number(result["bytes_freed"]) if "bytes_freed" in result else None,
            "sizes": dict(sizes),
            # A failed sync lists only the images that changed.
            "is_partial": bool(failures),
            "rows": rows,
        }
        is_read = host.images is not None or host.messages
        if not is_read and not rows and "store_free" in result["stats"]:
            self._info(host, _info_of(result))
            self._store(host, _store_of(result))

    def _engine(self, host: HostResults, result: Json) -> None:
        """Read a result of image_load in check mode, or of engine_info, which has no differences."""
        if "engine" not in result:
            return
        facts = result["engine"]
        keys = ("kind", "version", "store", "namespace")
        engine: Json = {key: None if facts[key] is None else self.text(facts[key]) for key in keys}
        engine["states"] = None if "missing" in result else self._states(host, result)
        host.engine = engine

    def _states(self, host: HostResults, result: Json) -> dict[str, str]:
        failures = result.get("failures") or ()
        host.messages += [f"{self.text(one['name'])}: {self.text(one['msg'])}" for one in failures]
        states = {self.text(name): row.state for name, row in engine_rows(result).items()}
        states.update((self.text(one["name"]), "unknown") for one in failures)
        return dict(sorted(states.items()))


def _info_of(synced: Json) -> Json:
    """Return what image_info says of a store that holds exactly what a result of image_sync says."""
    held = held_in(synced)
    return {
        "fingerprint": synced["fingerprint"],
        "images": [
            {**image, "platforms": held[image["name"]].platforms, "complete": True}
            for image in synced["images"]
            # An attestation is content of the image, and no image.
            if not (image["platform"] or "").startswith("unknown/unknown")
        ],
    }


def _store_of(synced: Json) -> Json:
    """Return what store_info says of that store."""
    stats = synced["stats"]
    return {
        "store": synced["store"],
        "bytes": stats["bytes_reused"],
        "reclaimable": 0,
        "file_system": {"free": stats["store_free"]},
    }


def results_of(variables: t.Mapping[str, t.Any], date: str | None) -> Json:
    """Return the results of a host by its variables, as the playbook report and the role store have registered them.

    ``date`` is the time of the report.
    """
    synced, loaded = variables.get("store_synced"), variables.get("store_loaded")
    if "store_lock_file" not in variables:
        synced, loaded = None, variables.get("store_engine_found")
    elif not synced and not loaded:
        # The engine of a host can get its images without a store.
        synced = {"failed": True, "msg": "not reached"}
    is_read = not (synced and (synced.get("unreachable") or is_exact(synced)))
    info = variables.get("report_info") if is_read else None
    is_lost = any(one and one.get("unreachable") for one in (synced, info))
    return {
        "info": info,
        "store": variables.get("report_store") if is_read else None,
        "sync": synced,
        "engine": None if is_lost else loaded,
        "verify": variables.get("store_verify"),
        "date": date,
    }


def is_exact(synced: Json) -> bool:
    """Return whether a result of image_sync in check mode says that the store holds exactly what the lock file says."""
    return synced.get("differences") == [] and not synced.get("failed")


def _number(value: t.Any) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _LIMIT:
        return int(value)
    raise ValueError(f"{value!r} is not a number of bytes")
