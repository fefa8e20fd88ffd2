# SPDX-License-Identifier: GPL-3.0-or-later
"""Mount and unmount overlayfs and tmpfs by system calls: the program mount(8) cannot use names relative to a directory."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import typing as t

from .errors import TreeAccessError, TreeBusyError, TreeUnsupportedError
from .mountinfo import mounts_below

_READ_ONLY, _NO_DEVICES = 1, 4  # mount(2)
_NO_FOLLOW = 8  # umount2(2)
MOST_LAYERS = 500  # of overlayfs
_LONGEST = 4095  # bytes of options: one page
# Without these, a layer could mean something else than its files: a name in another directory, a file elsewhere.
_SAFE = "redirect_dir=off,metacopy=off,index=off"
_NO_OVERLAY = "The state directory must be on a file system that overlayfs can use, such as ext4, XFS, Btrfs or tmpfs."
_MOST_USERS = 3


def overlay_options(lowers: t.Sequence[str], upper: str = "", work: str = "") -> str:
    """Return the options of an overlay mount; ``lowers`` are from the top to the bottom.

    Raise TreeUnsupportedError for more layers than overlayfs or one page can hold.
    """
    parts = [f"lowerdir={':'.join(lowers)}"]
    if upper:
        parts += [f"upperdir={upper}", f"workdir={work}"]
    options = ",".join([*parts, _SAFE])
    if len(lowers) > MOST_LAYERS:
        raise TreeUnsupportedError(
            f"the image has {len(lowers)} layers, overlayfs takes at most {MOST_LAYERS}",
            "Unpack it with form: rootfs.",
        )
    if len(os.fsencode(options)) > _LONGEST:
        raise TreeUnsupportedError(
            f"the options of the mount have {len(options)} bytes, more than {_LONGEST}",
            "Give a shorter path, or set fstab: false.",
        )
    return options


def mount_overlay(directory: str, target: str, options: str, read_only: bool) -> None:
    """Mount overlayfs at ``target``; names in ``options`` are relative to ``directory``.

    The main thread calls it, as the working directory is that of the process.
    """
    before = os.open(".", os.O_PATH | os.O_DIRECTORY)
    try:
        os.chdir(directory)
        _mount(
            "overlay", target, "overlay", _NO_DEVICES | (_READ_ONLY if read_only else 0), options
        )
    finally:
        os.fchdir(before)
        os.close(before)


def mount_tmpfs(target: str) -> None:
    """Mount an empty file system in memory, which only root can enter."""
    _mount("tmpfs", target, "tmpfs", _NO_DEVICES, "mode=0700")


def unmount(target: str) -> None:
    """Unmount what is mounted at ``target``; raise TreeBusyError if something uses it."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.umount2(os.fsencode(target), _NO_FOLLOW) == 0:
        return
    number = ctypes.get_errno()
    if number != errno.EBUSY:
        raise TreeAccessError(f"{target}: cannot be unmounted: {os.strerror(number)}")
    inside = [one for one in mounts_below(target) if one != target]
    users = [f"{one} is mounted in it" for one in inside[:_MOST_USERS]] or users_of(target)
    by = f": {', '.join(users)}" if users else ""
    raise TreeBusyError(f"{target} is in use{by}", "Stop what uses it, and run again.")


def users_of(path: str) -> list[str]:
    """Return some of the processes whose root, working directory or program is below a path."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        for link in ("root", "cwd", "exe"):
            with contextlib.suppress(OSError):
                place = os.readlink(f"/proc/{pid}/{link}")
                if place == path or place.startswith(f"{path}/"):
                    with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as file:
                        found.append(f"process {pid} ({file.read().strip()})")
                    break
        if len(found) == _MOST_USERS:
            break
    return found


def _mount(source: str, target: str, kind: str, flags: int, options: str) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    texts = [os.fsencode(text) for text in (source, target, kind, options)]
    if libc.mount(texts[0], texts[1], texts[2], ctypes.c_ulong(flags), texts[3]) == 0:
        return
    number = ctypes.get_errno()
    if number == errno.ENODEV:
        raise TreeAccessError(f"{target}: this kernel has no {kind}", "Load its module.")
    raise TreeAccessError(
        f"{target}: {kind} cannot be mounted: {os.strerror(number)}",
        _NO_OVERLAY if kind == "overlay" else "",
    )
