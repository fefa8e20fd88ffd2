# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# /// script
# dependencies = ["nox>=2025.02.09", "antsibull-nox>=1.10.0"]
# ///
"""The second door, for who has nox or uv: the sessions that ./dev runs, and ./dev itself for the rest.

nox -s sanity-2.19        nox -s units-2.21        nox -s lint
"""

from __future__ import annotations

import os
import pathlib
import shutil
import sys

import nox

ROOT = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(ROOT / "tests"))

try:
    import antsibull_nox
except ImportError:
    print("antsibull-nox is missing: uv run noxfile.py, or ./dev test")
    sys.exit(1)

from devtools import environment  # noqa: E402
from devtools.matrix import NEWEST_UNITS, SANITY  # noqa: E402

antsibull_nox.load_antsibull_nox_toml()


def before():
    """Under ./dev, let ansible-test take its pip from the package index."""
    if "LOCKSTEP_PIP" in os.environ:
        environment.seed_get_pip(
            *pathlib.Path(os.environ["LOCKSTEP_NOX"]).iterdir(),
            home=pathlib.Path.home(),
            python=os.environ["LOCKSTEP_PIP"],
        )


def after():
    """antsibull-nox copies tests/output back, and stumbles over the links in .tmp."""
    shutil.rmtree("tests/output/.tmp", ignore_errors=True)


def ansible_test(kind, core, python):
    """Add a session of ansible-test."""
    antsibull_nox.add_ansible_test_session(
        name=f"{kind}-{core}",
        description=f"ansible-test {kind} with ansible-core {core} on Python {python}",
        ansible_test_params=[kind, "--venv", "--python", python, "--color", "no"],
        default=kind == "sanity",
        ansible_core_version=core,
        ansible_core_source="pypi",
        callback_before=before,
        callback_after=after,
    )


for core_version, python_version in SANITY:
    ansible_test("sanity", core_version, python_version)
ansible_test("units", *NEWEST_UNITS)


def through_dev(name):
    """Add a session that is ./dev NAME."""

    @nox.session(name=name, venv_backend="none", default=False)
    def session_of(session):
        session.run("./dev", name, external=True)

    session_of.__doc__ = f"./dev {name}"


for command in ("lint", "docs", "galaxy", "integration", "fleet"):
    through_dev(command)


if __name__ == "__main__":
    nox.main()
