# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the engine of a host lacks, from a result of image_load in check mode."""

from __future__ import annotations

import typing as t

from ansible_collections.lockstep.images.plugins.plugin_utils._held import NOTHING, Comparison, Held
from ansible_collections.lockstep.images.plugins.plugin_utils._unknown import (
    EVERY_NAME,
    Row,
    row_of_failed_host,
    unknown,
)


def engine_rows(result: t.Mapping[str, t.Any]) -> dict[str, Comparison]:
    """Return what the engine must hold and holds, by the names that differ.

    A name that points at the right image is not there if the engine lacks the digest or the protection that goes with it.
    """
    # Each run of Ansible imports this file, and few have engines: the room of the engines imports that of the archives.
    from ansible_collections.lockstep.images.plugins.module_utils._engines import engine

    images = (one for one in result["images"] if one["status"] != engine.PRESENT)
    incomplete = (engine.MOVED, engine.KEPT)
    return {one["name"]: Comparison(Held(one["id"]), _found(one, incomplete)) for one in images}


def _found(image: t.Mapping[str, t.Any], incomplete: t.Container[str]) -> Held:
    before = image["before"]
    return NOTHING if before is None else Held(before, image["status"] not in incomplete)


def differences_of_engines(
    results: t.Mapping[str, t.Any], known: t.Iterable[Row] = ()
) -> list[Row]:
    """Return the rows that engine_differences documents, from results of image_load by host."""
    seen = {(one["host"], one["name"]) for one in known}
    return [
        row for host, result in results.items() for row in _rows_of_host(host, result or {}, seen)
    ]


def _rows_of_host(
    host: str, result: t.Mapping[str, t.Any], seen: t.AbstractSet[tuple[str, str]]
) -> list[Row]:
    """Return the rows of one host. A failure has none if the store, from which the engine gets its images, explains it."""
    if "images" not in result or (result.get("error") and not result.get("failures")):
        return [] if (host, EVERY_NAME) in seen else [row_of_failed_host(host, result)]
    kind = result["engine"]["kind"]
    failures = {one["name"]: one["msg"] for one in result.get("failures") or ()}
    explained = {name for name in failures if {(host, name), (host, EVERY_NAME)} & seen}
    return [
        *(_row(host, kind, name, one) for name, one in engine_rows(result).items()),
        *(unknown(host, msg, name) for name, msg in failures.items() if name not in explained),
    ]


def _row(host: str, kind: str, name: str, compared: Comparison) -> Row:
    wanted, found = map(str, compared)
    if compared.found == NOTHING:
        text = f"{kind} does not have {name}"
    elif compared.state == "incomplete":
        text = f"{name} is incomplete in {kind}"
    else:
        text = f"{name} is {found} in {kind} instead of {wanted}"
    return {
        "host": host,
        "name": name,
        "wanted": wanted,
        "found": f"{kind}: {found}",
        "message": f"{host}: {text}",
    }
