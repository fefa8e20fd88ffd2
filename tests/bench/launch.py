# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Run a command and write its time and memory to a file: `launch.py REPORT COMMAND...`.

This is a separate, small process. A child starts with the peak memory of its parent (Linux keeps it over exec),
so the memory of a large parent would be counted too.
"""

from __future__ import annotations

import json
import os
import sys
import time


def main(report: str, *command: str) -> int:
    """Write seconds, processor seconds and peak memory in bytes as JSON; return the exit status of the command."""
    started = time.monotonic()
    child = os.posix_spawnp(command[0], command, os.environ)
    _child, status, usage = os.wait4(child, 0)
    taken = {
        "seconds": time.monotonic() - started,
        "cpu": usage.ru_utime + usage.ru_stime,
        "peak": usage.ru_maxrss * 1024,
    }
    with open(report, "w", encoding="ascii") as output:
        json.dump(taken, output)
    return abs(os.waitstatus_to_exitcode(status))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
