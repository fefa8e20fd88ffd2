# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""./dev, as a person meets it, and what its linters need of the files."""

from __future__ import annotations

import fnmatch
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]


def dev(*args: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "tests" / "dev.py"), *args]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("nonsense", "nonsense: no such command (./dev help lists the commands)"),
        ("quikstart", "quikstart: no such command; did you mean ./dev quickstart?"),
        ("untis", "untis: no such command; did you mean ./dev unit?"),
    ],
)
def test_F29_an_unknown_command_is_named(word, said):
    done = dev(word)
    assert done.returncode and done.stdout == ""
    # Hosts run Python 3.9, ./dev does not.
    assert (said if sys.version_info >= (3, 10) else "Python 3.10 or later") in done.stderr


def test_F29_licence_of_a_file_that_is_not_ascii_is_in_reuse_toml():
    """Without libmagic, reuse guesses the encoding of such a file, and may miss its header."""
    annotations = re.findall(r"path = \[(.*?)\]", (ROOT / "REUSE.toml").read_text("utf-8"), re.S)
    patterns = re.findall('"([^"]+)"', " ".join(annotations))
    files = [path for path in ROOT.rglob("*") if path.is_file() and is_ours(path)]
    strange = {path for path in files if not path.read_bytes().isascii()}
    names = sorted(path.relative_to(ROOT).as_posix() for path in strange)
    assert "docs/ko/quickstart.md" in names
    assert [name for name in names if not any(fnmatch.fnmatch(name, p) for p in patterns)] == []


def is_ours(path: Path) -> bool:
    """Return whether a file of the mirrored tree belongs to the collection, not to a tool."""
    parts = path.relative_to(ROOT).parts
    made = {"__pycache__", "output"}
    return not made & set(parts) and not parts[0].startswith((".ansible", ".mypy", ".ruff", ".pyt"))
