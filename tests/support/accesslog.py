# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a real server says that it was asked for: the access log of docker-registry, or of nginx."""

from __future__ import annotations

import re
from dataclasses import dataclass

# The "combined" format, which both write; a registry has lines of its own in between.
_LINE = re.compile(
    r'^[0-9.]+ - [^ ]+ \[[^\]]*\] "([A-Z]+) ([^ ]+) HTTP/[0-9.]+" ([0-9]{3}) ([0-9]+|-)', re.M
)


@dataclass(frozen=True)
class Access:
    """One request that was answered, to its end or until the client went away.

    `size` counts the bytes of the body that were handed to the connection.
    """

    method: str
    path: str
    status: int
    size: int


def accesses(log: str) -> list[Access]:
    """Return the logged requests, in the order in which their answers ended."""
    return [
        Access(method, path, int(status), int(size) if size.isdigit() else 0)
        for method, path, status, size in _LINE.findall(log)
    ]
