# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read from a lock file who vouches for its entries. No result of a host is a source of that."""

from __future__ import annotations

import typing as t
from collections import Counter

from ansible_collections.lockstep.images.plugins.module_utils._image import errors
from ansible_collections.lockstep.images.plugins.module_utils._image.lock import Lock

_LONGEST = 300


def vouchers_of(lock: t.Any) -> dict[tuple[str, str], list[str]]:
    """Return the signers of each entry, by name and digest, as texts; an empty list for one without a verdict.

    An empty value has no entries. Raise LockError for anything else that is not a lock.
    """
    if not lock:
        return {}
    return {
        (image.name, str(image.digest)): _signers(image.verified)
        for image in Lock.parse(lock).images
    }


def voucher_counts(lock: t.Any) -> list[dict[str, t.Any]]:
    """Return for each group of signers the number of entries, most first; nothing if no entry has a verdict."""
    signers = vouchers_of(lock).values()
    counts = Counter(" and ".join(by) or "nobody" for by in signers) if any(signers) else {}
    return [
        {"by": by, "images": counts[by]}
        for by in sorted(counts, key=lambda one: (one == "nobody", -counts[one], one))
    ]


def _signers(verified: t.Mapping[str, t.Any] | None) -> list[str]:
    by = verified["by"] if verified else []
    if not isinstance(by, list):
        return []
    return [errors.printable(str(one), _LONGEST) for one in by]
