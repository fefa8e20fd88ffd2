# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The Debian packages that a command needs."""

from __future__ import annotations

import contextlib
import os
import pathlib
import shutil
import subprocess

from devtools.environment import DevError, locked

POLICY = pathlib.Path("/usr/sbin/policy-rc.d")


def missing(packages):
    """Return those of PACKAGES that are not installed; none where dpkg does not rule."""
    if not shutil.which("dpkg-query"):
        return []
    cmd = ["dpkg-query", "-W", "-f", "${Package} ${db:Status-Status}\\n", *packages]
    out = subprocess.run(cmd, capture_output=True, text=True, check=False).stdout
    there = {line.split()[0] for line in out.splitlines() if line.endswith(" installed")}
    return [name for name in packages if name not in there]


@contextlib.contextmanager
def _no_daemons():
    """Keep packages from starting their daemons while they are installed."""
    if POLICY.exists():
        yield
        return
    POLICY.write_text("#!/bin/sh\nexit 101\n", encoding="ascii")
    POLICY.chmod(0o755)
    try:
        yield
    finally:
        POLICY.unlink()


def _apt_get(*args):
    cmd = ["apt-get", "--quiet", "--quiet", "-o", "DPkg::Lock::Timeout=300", *args]
    print("+", *cmd, flush=True)
    env = dict(os.environ, DEBIAN_FRONTEND="noninteractive")
    done = subprocess.run(
        cmd,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    if done.returncode:
        print(done.stdout.decode(errors="replace"), flush=True)
        raise DevError(f"failed: {' '.join(cmd)}")


def lacking(packages):
    """Install what is missing of PACKAGES if we may; return what is missing then."""
    if not missing(packages) or os.geteuid() or not shutil.which("apt-get"):
        return missing(packages)
    # Parts run side by side, and apt-get waits for others when it installs, but not when it updates.
    with locked(), _no_daemons():
        names = missing(packages)
        if names:
            _apt_get("update")
            _apt_get("install", "--yes", "--no-install-recommends", *names)
        return missing(packages)


def ensure(packages):
    """Install PACKAGES, or say which are missing."""
    names = lacking(packages)
    if names:
        raise DevError(f"as root, first: apt-get install {' '.join(names)}")
