# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Parse the access log of docker-registry or nginx."""

from __future__ import annotations

import re
from dataclasses import dataclass

# The "combined" format, which both write; docker-registry writes other lines in between.
_LINE = re.compile(
    r'^[0-9.]+ - [^ ]+ \[[^\]]*\] "([A-Z]+) ([^ ]+) HTTP/[0-9.]+" ([0-9]{3}) ([0-9]+|-)', re.M
)


@dataclass(frozen=True)
class Access:
    """One request, answered in full or until the client closed the connection.

    `size` is the number of bytes of the body that were written to the connection.
    """

    method: str
    path: str
    status: int
    size: int


def accesses(log: str) -> list[Access]:
    """Return the requests in a log, in the order in which their answers ended."""
    return [
        Access(method, path, int(status), int(size) if size.isdigit() else 0)
        for method, path, status, size in _LINE.findall(log)
    ]
