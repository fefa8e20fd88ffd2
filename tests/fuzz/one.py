# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fuzz one parser in this process, with libFuzzer: ``one.py TARGET LIBFUZZER-OPTIONS``; run.py calls it."""

from __future__ import annotations

import os
import sys
import warnings
from pathlib import Path

import atheris

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[5]))

with atheris.instrument_imports(include=["ansible_collections.lockstep.images.plugins"]):
    from ansible_collections.lockstep.images.tests.fuzz.targets import TARGETS, check


def main() -> None:
    """Run until the options or a fault end it; libFuzzer writes the input of a fault to a file."""
    name = sys.argv.pop(1)
    target = TARGETS[name]
    # A warning of Python says that it will read the same text in another way.
    warnings.simplefilter("error")
    os.environ["PATH"] = "/nonexistent"  # a login file can name a program
    atheris.Setup(sys.argv, lambda data: check(target, data))
    atheris.Fuzz()


if __name__ == "__main__":
    main()
