# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The rows of a list of differences for hosts and names that were not compared."""

from __future__ import annotations

import typing as t

EVERY_NAME = "*"
Row = dict[str, str]


def row_of_failed_host(host: str, result: t.Mapping[str, t.Any]) -> Row:
    """Return the row of a host whose task failed, was unreachable or was skipped, with the reason from its result."""
    reason = result.get("msg") or result.get("skip_reason") or "no result"
    found = "unreachable" if result.get("unreachable") else "unknown"
    # ansible-core 2.19 and newer put these words before all reasons.
    reason = str(reason).removeprefix("Task failed: ").rstrip(".")
    return unknown(host, reason, found=found)


def unknown(host: str, reason: str, name: str = EVERY_NAME, found: str = "unknown") -> Row:
    """Return the row of a name, or of a host under all its names."""
    message = f"{host}: {reason}"
    return {"host": host, "name": name, "wanted": "", "found": found, "message": message}
