# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Build the report on the stores of many hosts, compared with a lock file or with what most hosts hold.

Results from hosts are untrusted. ``_Reader`` checks them once, and a host with results that are not valid counts as failed
without an effect on other hosts. The time is linear in the size of the results, and the order of hosts has no effect.
"""

from __future__ import annotations

import typing as t
from collections import Counter
from dataclasses import dataclass, field

from ansible_collections.lockstep.images.plugins.module_utils._image import errors
from ansible_collections.lockstep.images.plugins.module_utils._operations.reading import (
    INCOMPLETE,
    NOTHING,
)
from ansible_collections.lockstep.images.plugins.plugin_utils._differences import (
    content,
    differences,
    reference_host,
)
from ansible_collections.lockstep.images.plugins.plugin_utils._treemap import picture

REPORT_VERSION = 1
STATES = ("same", "differs", "missing", "incomplete", "extra", "unknown", "none")
UNKNOWN = "unknown"

_LIMIT = 1 << 63
_TEXT_LIMIT = 500

Json = dict[str, t.Any]


@dataclass
class _Host:
    """The checked results of one host.

    ``images`` is None if the host did not report its store. ``rows`` has (wanted, found) for every name that differs, and is
    None if the host was not compared. ``locked`` is true if the host was compared with a lock file, even if that failed.
    """

    name: str
    reached: bool = True
    messages: list[str] = field(default_factory=list)
    fingerprint: str | None = None
    images: list[Json] | None = None
    store: Json = field(default_factory=dict)
    sync: Json | None = None
    locked: bool = False
    rows: dict[str, tuple[str, str]] | None = None
    checked: Json | None = None

    @property
    def states(self) -> dict[str, str]:
        """Return the state of every name that differs."""
        return {name: _state(*row) for name, row in sorted((self.rows or {}).items())}

    @property
    def status(self) -> str:
        if self.rows is None:
            return "failed" if self.reached else "unreachable"
        return "differs" if self.rows else "same"


def report(results: t.Mapping[str, t.Any], date: str | None = None) -> Json:
    """Return the report that report.yml documents, from results by host name."""
    reader = _Reader()
    hosts = [reader.host(name, results[name]) for name in sorted(results)]
    # If the lock file of a run could not be used, a comparison with something else would mislead.
    locked = any(host.locked for host in hosts)
    if locked:
        wanted, fingerprint = _compare_with_lock(hosts)
    else:
        wanted, fingerprint = _compare_with_most(hosts)
    images = _images(hosts, wanted)
    layers = _layers(hosts)
    return {
        "report_version": REPORT_VERSION,
        "date": date,
        "compared_with": "lock" if locked else "most",
        "fingerprint": fingerprint,
        "summary": _summary(hosts, images, layers),
        "hosts": [_host_entry(host) for host in sorted(hosts, key=_rank)],
        "images": images,
        "differences": _grouped(hosts),
        "fingerprints": _fingerprints(hosts, fingerprint),
        "layers": layers,
        "picture": picture(layers),
    }


class _Reader:
    """Convert results of modules into the types that the report needs. Raise ValueError for a value that is not valid."""

    def __init__(self) -> None:
        self._texts: dict[str, str] = {}

    def host(self, name: str, results: t.Any) -> _Host:
        """Return the checked results of a host. Record errors in ``messages`` and never raise."""
        host = _Host(self.text(str(name)))
        for part, module, read in (
            ("info", "image_info", self._info),
            ("store", "store_info", self._store),
            ("sync", "image_sync", self._sync),
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

    def _result(self, host: _Host, module: str, result: t.Any) -> Json:
        """Return a result, or an empty one if the task was skipped. A failed result can still contain data."""
        if not result or result.get("skipped"):
            return {}
        if result.get("unreachable") or result.get("failed"):
            host.reached = host.reached and not result.get("unreachable")
            reason = str(result.get("msg") or "failed").removeprefix("Task failed: ")
            host.messages.append(f"{module}: {self.text(reason)}")
        return result

    def _info(self, host: _Host, result: Json) -> None:
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

    def _store(self, host: _Host, result: Json) -> None:
        if "file_system" in result:
            host.store = {
                "store": self.text(result["store"]),
                "bytes": _number(result["bytes"]),
                "reclaimable": _number(result["reclaimable"]),
                "free": _number(result["file_system"]["free"]),
            }

    def _sync(self, host: _Host, result: Json) -> None:
        host.locked = bool(result)
        if "differences" not in result:
            return
        sizes: Counter[str] = Counter()
        for image in result["images"]:
            sizes[self.text(image["name"])] += _number(image["size"] or 0)
        failures = result.get("failures") or ()
        rows = {
            self.text(one["name"]): (self.text(one["wanted"]), self.text(one["found"]))
            for one in result["differences"]
        }
        rows.update((self.text(one["name"]), (UNKNOWN, UNKNOWN)) for one in failures)
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


def _number(value: t.Any) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _LIMIT:
        return int(value)
    raise ValueError(f"{value!r} is not a number of bytes")


def _state(wanted: str, found: str) -> str:
    if UNKNOWN in (wanted, found):
        return "unknown"
    if wanted == NOTHING:
        return "extra"
    if found == NOTHING:
        return "missing"
    return "incomplete" if found.startswith(f"{wanted}{INCOMPLETE}") else "differs"


def _whole(text: str) -> str:
    return text[: -len(INCOMPLETE)] if text.endswith(INCOMPLETE) else text


def _compare_with_most(hosts: t.Sequence[_Host]) -> tuple[dict[str, str], str | None]:
    """Compare the hosts with what most of them hold. Return the wanted content by name, and its fingerprint."""
    held: dict[str, Json] = {
        host.name: {"fingerprint": host.fingerprint, "images": host.images}
        for host in hosts
        if host.images is not None
    }
    if not held:
        return {}, None
    model = held[reference_host(held)]
    listed: dict[str, dict[str, tuple[str, str]]] = {name: {} for name in held}
    for one in differences(held):
        listed[one["host"]][one["name"]] = (_whole(one["wanted"]), one["found"])
    wanted = {name: _whole(text) for name, text in content(model["images"]).items()}
    for host in hosts:
        if host.images is not None:
            host.rows = _rows(host, wanted, listed[host.name])
    for host in hosts:
        for name, row in (host.rows or {}).items():
            wanted.setdefault(name, row[0])
    return wanted, model["fingerprint"]


def _compare_with_lock(hosts: t.Sequence[_Host]) -> tuple[dict[str, str], str | None]:
    """Compare each host with its lock file. Return the content by name and the fingerprint that most lock files want."""
    votes: dict[str, Counter[str]] = {}
    fingerprints: Counter[str] = Counter()
    for host in hosts:
        if host.images is None or host.sync is None:
            host.messages = host.messages or ["image_sync: no result"]
            continue
        found = {name: _whole(text) for name, text in content(host.images).items()}
        wanted = {name: found.get(name, UNKNOWN) for name in host.sync["sizes"]}
        wanted.update(found if host.sync["is_partial"] else {})
        wanted.update((name, row[0]) for name, row in host.sync["rows"].items())
        host.rows = _rows(host, wanted, host.sync["rows"])
        if host.sync["fingerprint"] is not None:
            fingerprints[host.sync["fingerprint"]] += 1
        for name, text in wanted.items():
            votes.setdefault(name, Counter())[text] += text != UNKNOWN
    wanted_by_most = {name: _most(texts) for name, texts in votes.items()}
    return wanted_by_most, _most(fingerprints) if fingerprints else None


def _most(votes: Counter[str]) -> str:
    return min(votes, key=lambda text: (-votes[text], text))


def _rows(
    host: _Host, wanted: t.Mapping[str, str], listed: t.Mapping[str, tuple[str, str]]
) -> dict[str, tuple[str, str]]:
    """Return (wanted, found) by name for the names that differ, whether the module listed them or not."""
    found = content(host.images or ())
    rows = {
        name: (wanted.get(name, NOTHING), found.get(name, NOTHING)) for name in {**wanted, **found}
    }
    rows.update(listed)
    return {name: row for name, row in rows.items() if row[0] != row[1] or UNKNOWN in row}


def _rank(host: _Host) -> tuple[int, int, str]:
    """Return a sort key: hosts with most differences first, then hosts that were not compared, then the others."""
    if host.rows is None:
        return 1, 0, host.name
    return (0, -len(host.rows), host.name) if host.rows else (2, 0, host.name)


def _host_entry(host: _Host) -> Json:
    sync = host.sync or {}
    return {
        "name": host.name,
        "status": host.status,
        "messages": host.messages,
        "checked": host.checked if host.rows is not None else None,
        "fingerprint": host.fingerprint,
        "images": None if host.images is None else len({image["name"] for image in host.images}),
        "differing": None if host.rows is None else len(host.rows),
        "states": host.states,
        **{key: host.store.get(key) for key in ("store", "bytes", "reclaimable", "free")},
        "bytes_to_fetch": sync.get("bytes_to_fetch"),
        "bytes_to_free": sync.get("bytes_freed"),
    }


def _images(hosts: t.Sequence[_Host], wanted: t.Mapping[str, str]) -> list[Json]:
    """Return an entry for every name that is wanted or held, with the number of hosts in each state."""
    names = {name for host in hosts for name in host.rows or ()} | set(wanted)
    sizes = _sizes(hosts)
    blind = sum(host.rows is None for host in hosts)
    counts = {name: Counter({"unknown": blind}) for name in names}
    for host in hosts:
        for name, state in host.states.items():
            counts[name][state] += 1
    entries = []
    for name in sorted(names):
        usual = "none" if wanted.get(name, NOTHING) == NOTHING else "same"
        counts[name][usual] = len(hosts) - sum(counts[name].values())
        known = sizes.get(name, {})
        size = known.get(wanted.get(name, NOTHING), max(known.values(), default=None))
        entries.append(
            {
                "name": name,
                "wanted": wanted.get(name, NOTHING),
                "size": size,
                "usual": usual,
                "counts": {state: counts[name][state] for state in STATES},
            }
        )
    return entries


def _sizes(hosts: t.Sequence[_Host]) -> dict[str, dict[str, int]]:
    """Return for each name the bytes of all platforms, by content.

    A size that only a sync reports is stored under the wanted content, or under "" if the name does not differ.
    """
    sizes: dict[str, dict[str, int]] = {}
    for host in hosts:
        own: dict[tuple[str, str], int] = {}
        for image in host.images or ():
            key = (image["name"], _whole(content([image])[image["name"]]))
            own[key] = own.get(key, 0) + image["size"]
        for (name, text), size in own.items():
            if not size:
                continue  # the size is unknown: the content is not in this store
            known = sizes.setdefault(name, {})
            known[text] = max(size, known.get(text, 0))
        for name, size in (host.sync or {}).get("sizes", {}).items():
            text = host.sync["rows"].get(name, ("",))[0] if host.sync else ""
            sizes.setdefault(name, {}).setdefault(text, size)
    return sizes


def _grouped(hosts: t.Sequence[_Host]) -> list[Json]:
    """Return each difference once, with its hosts."""
    groups: dict[tuple[str, str, str], list[str]] = {}
    for host in hosts:
        for name, (wanted, found) in (host.rows or {}).items():
            groups.setdefault((name, wanted, found), []).append(host.name)
    return [
        {
            "name": name,
            "state": _state(wanted, found),
            "wanted": wanted,
            "found": found,
            "hosts": groups[name, wanted, found],
        }
        for name, wanted, found in sorted(groups)
    ]


def _fingerprints(hosts: t.Sequence[_Host], wanted: str | None) -> list[Json]:
    groups: dict[str, list[str]] = {}
    for host in hosts:
        if host.fingerprint is not None:
            groups.setdefault(host.fingerprint, []).append(host.name)
    return [
        {"fingerprint": one, "wanted": one == wanted, "hosts": groups[one]}
        for one in sorted(groups, key=lambda one: (-len(groups[one]), one))
    ]


def _layers(hosts: t.Sequence[_Host]) -> list[Json]:
    """Return the layers of all hosts, largest first, each with the names that use it and the number of hosts."""
    sizes: dict[str, int] = {}
    names: dict[str, set[str]] = {}
    held_by: dict[str, set[str]] = {}
    for host in hosts:
        for image in host.images or ():
            for digest, size in image["layers"]:
                sizes[digest] = max(size, sizes.get(digest, 0))
                names.setdefault(digest, set()).add(image["name"])
                held_by.setdefault(digest, set()).add(host.name)
    return [
        {
            "digest": digest,
            "size": sizes[digest],
            "images": sorted(names[digest]),
            "hosts": len(held_by[digest]),
        }
        for digest in sorted(sizes, key=lambda digest: (-sizes[digest], digest))
    ]


def _summary(hosts: t.Sequence[_Host], images: t.Sequence[Json], layers: t.Sequence[Json]) -> Json:
    states = Counter(host.status for host in hosts)
    synced = [host.sync["bytes_to_fetch"] for host in hosts if host.sync]
    depths = {host.checked["depth"] for host in hosts if host.checked and host.rows is not None}
    return {
        "hosts": len(hosts),
        **{status: states[status] for status in ("same", "differs", "failed", "unreachable")},
        # "sizes" sorts after "bytes", so this is the weakest check of all compared hosts.
        "depth": max(depths, default=None),
        "images": len(images),
        "bytes": sum(host.store.get("bytes", 0) for host in hosts),
        "bytes_to_fetch": sum(synced) if synced else None,
        "layer_bytes": sum(layer["size"] for layer in layers),
        "layer_bytes_unshared": sum(layer["size"] * len(layer["images"]) for layer in layers),
    }
