# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Files of an archive are compiled once: the next program that imports them finds the result."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

STARTS = Path(__file__).parents[2] / "support/compiled/sitecustomize.py"
SHOW = "import one; print(one.VALUE, one.function.__code__.co_filename)"


@pytest.fixture()
def site(tmp_path: Path) -> Path:
    """Return a directory of a collection with the file that Python imports when it starts."""
    made = tmp_path / "ansible_collections/lockstep/images"
    made.mkdir(parents=True)
    shutil.copy(STARTS, made)
    return made


def show(site: Path, archive: Path, value: int) -> str:
    """Write an archive with a module, import it in a new process, and return what that shows."""
    with zipfile.ZipFile(archive, "w") as made:
        made.writestr("one.py", f"VALUE = {value}\n\ndef function():\n    pass\n")
    done = subprocess.run(
        [sys.executable, "-c", SHOW],
        env={"PYTHONPATH": os.pathsep.join(map(os.fspath, [site, archive]))},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    return done.stdout.strip()


def test_the_same_source_is_compiled_once_and_says_where_it_is(tmp_path: Path, site: Path) -> None:
    assert show(site, tmp_path / "a.zip", 1) == f"1 {tmp_path}/a.zip/one.py"
    found = [(one, one.stat().st_ino) for one in (tmp_path / "compiled").iterdir()]
    assert show(site, tmp_path / "b.zip", 1) == f"1 {tmp_path}/b.zip/one.py"
    assert [(one, one.stat().st_ino) for one in (tmp_path / "compiled").iterdir()] == found
    assert show(site, tmp_path / "b.zip", 2) == f"2 {tmp_path}/b.zip/one.py"
    assert len(list((tmp_path / "compiled").iterdir())) == len(found) + 1


def test_a_cache_that_cannot_be_written_is_not_used(tmp_path: Path, site: Path) -> None:
    (tmp_path / "compiled").write_text("a file\n")
    assert show(site, tmp_path / "a.zip", 1) == f"1 {tmp_path}/a.zip/one.py"
