# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A Debian 13 that debootstrap has put into a directory, with systemd as its first process. It has the network of this machine."""

from __future__ import annotations

import contextlib
import os
import shlex
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from .chroots import share_paths
from .services_process import ServiceError, program, run, running

PACKAGES = "systemd,systemd-sysv,dbus,podman,crun,python3,python3-requests,ca-certificates"
# A cgroup of its own, which is the root of all others inside: what an earlier boot has left there is busy.
_BOOT = """
cd "$0"
mount --make-rprivate /
mount --bind . .
cd "$0"
mount -t proc proc proc
mount -t sysfs sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
mkdir "sys/fs/cgroup/$1"
echo $$ > "sys/fs/cgroup/$1/cgroup.procs"
umount sys/fs/cgroup
exec unshare --cgroup sh -euc "$2"
"""
# cgroups of version 2 alone, and the few devices that podman needs.
_START = """
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t tmpfs tmpfs run
mount -t tmpfs -o mode=755 tmpfs dev
mkdir dev/pts dev/shm
mount -t devpts -o newinstance,ptmxmode=0666 devpts dev/pts
ln -s pts/ptmx dev/ptmx
mount -t tmpfs tmpfs dev/shm
for name in null zero full random urandom tty; do touch dev/$name; mount --bind /dev/$name dev/$name; done
mkdir -p old
pivot_root . old
umount -l /old
exec env -i container=lockstep PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd systemd.unit=multi-user.target
"""


@dataclass(frozen=True)
class Machine:
    """A machine that runs. Paths below ``root`` are valid inside, too."""

    root: Path
    pid: int  # of its systemd

    def command(self, *words: str) -> list[str]:
        """Return a command that runs inside."""
        enter = [program("nsenter"), "-t", str(self.pid), "-m", "-p", "-u", "-i", "-C"]
        path = "PATH=/usr/sbin:/usr/bin:/sbin:/bin"
        return [*enter, "env", "-i", path, "HOME=/root", "LC_ALL=C.UTF-8", *words]

    def __call__(self, *words: str) -> str:
        """Run a command inside, and return its output."""
        return run(self.command(*words))

    def python(self, directory: Path) -> Path:
        """Return a program outside that runs the Python inside, for ``ansible_python_interpreter``."""
        path = directory / "python-inside"
        path.write_text(f'#!/bin/sh\nexec {shlex.join(self.command("/usr/bin/python3"))} "$@"\n')
        path.chmod(0o755)
        return path


def install(root: Path) -> None:
    """Install Debian 13. This needs its mirror, and takes a minute."""
    options = ["--variant=minbase", f"--include={PACKAGES}"]
    run(["debootstrap", *options, "trixie", root, "http://deb.debian.org/debian"], timeout=900)
    share_paths(root)
    # systemd would mount an empty /tmp, in which the paths of this machine are not valid.
    (root / "etc/systemd/system/tmp.mount").symlink_to("/dev/null")
    # A machine whose cgroups are of version 1 keeps this controller for itself.
    (root / "etc/containers/containers.conf").write_text("[containers]\npids_limit=0\n")


@contextlib.contextmanager
def booted(root: Path) -> Iterator[Machine]:
    """Boot what is installed for a block. It ends like a power failure."""
    namespaces = ["--mount", "--pid", "--uts", "--ipc"]
    command = [program("unshare"), *namespaces, "--fork", "--kill-child", "sh", "-euc", _BOOT]
    cgroup = f"lockstep-{os.getpid()}-{time.monotonic_ns()}"
    found: list[int] = []

    def is_ready() -> bool:
        for path in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if _is_systemd_of(path, root):
                    found[:] = [int(path.name)]
        if not found:
            return False
        with contextlib.suppress(ServiceError):
            Machine(root, found[0])("systemctl", "is-active", "multi-user.target")
            return True
        return False

    command += [os.fspath(root), cgroup, _START]
    try:
        with running(command, directory=root, log=root.with_suffix(".log"), ready=is_ready):
            yield Machine(root, found[0])
    finally:
        for mounted in ("/sys/fs/cgroup", "/sys/fs/cgroup/unified"):
            _remove(Path(mounted, cgroup))


def _remove(cgroup: Path) -> None:
    """Remove a cgroup with those below it, once the processes that were killed have ended."""
    deadline = time.monotonic() + 10
    while cgroup.is_dir() and time.monotonic() < deadline:
        for path in [*sorted(cgroup.rglob("*/"), reverse=True), cgroup]:
            with contextlib.suppress(OSError):
                path.rmdir()
        time.sleep(0.1)


def _is_systemd_of(path: Path, root: Path) -> bool:
    """Return whether a process is the systemd whose root directory is ``root``."""
    same = os.path.samefile(path / "root", root)
    return same and (path / "comm").read_text().strip() == "systemd"
