# SPDX-License-Identifier: GPL-3.0-or-later
"""How far a task is. The controller reads it while the module runs, from memory that ends with the process.

No file is written for it: the record is a memfd under a fixed descriptor, which ``/proc`` shows to the same user.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import threading
import time
import typing as t

# The environment variable by which the controller finds the process, and the descriptor of the record.
VARIABLE = "LOCKSTEP_PROGRESS_ID"
DESCRIPTOR = 200


class Progress:
    """The progress of the task of this process, of which ``count`` returns images, all images, bytes, and all bytes.

    The controller can read it from the start of the module, if it has asked for that.
    """

    def __init__(self) -> None:
        self.count: t.Any = None
        if os.environ.pop(VARIABLE, None):
            with contextlib.suppress(Exception):  # not Linux, or no more descriptors
                os.dup2(os.memfd_create("lockstep"), DESCRIPTOR)
                threading.Thread(target=self._write, daemon=True).start()

    def follow(self, execution: t.Any) -> None:
        """Show how far an execution is from now on, by its actions and by the statistics of its plan."""
        plan = execution.plan
        self.count = lambda: (
            sum(hasattr(one, "subject") for one in execution.done),
            len(plan.names),
            (stats := plan.stats()).get("bytes_sent", stats.get("bytes_fetched")),
            stats.get("bytes_to_send", stats.get("bytes_to_fetch")),
        )

    def _write(self) -> None:
        """Write the record twice a second. Once nobody can read the result, interrupt the task: its caller was killed."""
        reader, whole, since = select.poll(), 0, 0.0
        reader.register(1, 0)  # standard output
        while not reader.poll(500):
            # The main thread changes what is counted here.
            with contextlib.suppress(Exception):
                counts, now = self.count(), time.monotonic()
                if counts[-1] != whole:
                    whole, since = counts[-1], now
                # A list of numbers is JSON. Spaces cover a longer record.
                os.pwrite(DESCRIPTOR, f"{[now - since, *counts]!s:99}".encode(), 0)
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(5)
        os._exit(1)


PROGRESS = Progress()
