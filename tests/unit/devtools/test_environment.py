# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The mirrored tree, in which `./dev` runs everything."""

from __future__ import annotations

import shutil
import sys

import pytest
from ansible_collections.lockstep.images.tests.devtools import environment

if sys.version_info < (3, 10) or not shutil.which("git"):
    pytest.skip("./dev needs Python 3.10 or later, and git", allow_module_level=True)


@pytest.fixture(name="checkout")
def fixture_checkout(tmp_path, monkeypatch):
    """A checkout; it need not be a repository."""
    root = tmp_path / "checkout"
    dev = root / ".dev"
    root.mkdir()
    monkeypatch.setattr(environment, "ROOT", root)
    monkeypatch.setattr(environment, "DEV", dev)
    monkeypatch.setattr(environment, "HOME", dev / "home")
    monkeypatch.setattr(environment, "TREE", dev / "tree")
    (root / ".gitignore").write_text("/.dev/\n/output/\n*.pyc\n")
    return root


@pytest.mark.parametrize(
    ("in_ci", "pyenv", "error"),
    [
        (False, True, environment.Missing),
        (True, False, environment.Missing),
        (True, True, environment.DevError),
    ],
)
def test_a_missing_python_is_an_error_only_where_ci_has_pyenv(
    tmp_path, monkeypatch, in_ci, pyenv, error
):
    monkeypatch.setattr(environment, "IN_CI", in_ci)
    monkeypatch.setattr(environment, "PYENV", tmp_path if pyenv else tmp_path / "none")
    with pytest.raises(environment.DevError, match=r"^no Python 3\.0 here$") as caught:
        environment.install("old", "3.0", "base")
    assert caught.type is error


def test_the_mirror_has_the_files_of_the_checkout_and_no_others(checkout):
    (checkout / "plugins").mkdir()
    (checkout / "plugins" / "one.py").write_text("one\n")
    (checkout / "plugins" / "one.pyc").write_text("made")
    tree = environment.sync()
    assert (tree / "plugins" / "one.py").read_text() == "one\n"
    assert not (tree / "plugins" / "one.pyc").exists() and not (tree / ".dev").exists()

    made = [tree / "output" / "log", tree / "stray.yml", tree / "plugins" / "one.pyc"]
    for path in made:
        path.parent.mkdir(exist_ok=True)
        path.write_text("made")
    (tree / "plugins" / "one.py").write_text("edited in the mirror\n")
    (checkout / "plugins" / "two.py").write_text("two\n")
    (checkout / "plugins" / "two.py").chmod(0o755)
    environment.sync()
    assert (tree / "plugins" / "one.py").read_text() == "one\n"
    assert (tree / "plugins" / "two.py").stat().st_mode & 0o111
    assert [path.exists() for path in made] == [True, False, True]

    shutil.rmtree(checkout / "plugins")
    environment.sync()
    assert not (tree / "plugins" / "one.py").exists()


def test_a_file_that_has_not_changed_is_not_written(checkout):
    (checkout / "one.py").write_text("one\n")
    before = (environment.sync() / "one.py").stat()
    (checkout / "one.py").touch()
    (checkout / "two.py").write_text("two\n")
    after = (environment.sync() / "one.py").stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)
