# SPDX-License-Identifier: GPL-3.0-or-later
"""What of the entries of a layer is kept."""

from __future__ import annotations

import stat
import typing as t

KEEP, CALLER, STRIP, SKIP, MAKE = "keep", "caller", "strip", "skip", "make"
XATTRS = ("security.capability", "user.*")
_SET_ID = stat.S_ISUID | stat.S_ISGID


class TreeOptions(t.NamedTuple):
    """What of the entries is kept; two trees with equal options and layers are equal."""

    owner: str = KEEP
    setuid: str = KEEP
    devices: str = SKIP
    xattrs: tuple[str, ...] = XATTRS

    @property
    def keeps_owner(self) -> bool:
        """Whether files belong to the users that the layer states."""
        return self.owner == KEEP

    @property
    def lost_bits(self) -> int:
        """The bits of a mode that files do not get: without their owner, programs must not run as another user."""
        return 0 if self.keeps_owner and self.setuid == KEEP else _SET_ID
