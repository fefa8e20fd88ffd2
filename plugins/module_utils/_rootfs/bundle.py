# SPDX-License-Identifier: GPL-3.0-or-later
"""The configuration of an OCI bundle (runtime-spec v1.0, config.md), from that of an image (image-spec v1.1, conversion.md)."""

from __future__ import annotations

import json
import os
import re
import stat
import typing as t

from .errors import TreeUnsupportedError
from .lower import Lower

_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_LONGEST = 1024 * 1024
_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_CAPABILITIES = [
    "CAP_AUDIT_WRITE", "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_MKNOD",
    "CAP_NET_BIND_SERVICE", "CAP_NET_RAW", "CAP_SETFCAP", "CAP_SETGID", "CAP_SETPCAP", "CAP_SETUID", "CAP_SYS_CHROOT",
]  # fmt: skip
_DEVICE = ["nosuid", "noexec"]
_MOUNTS: list[tuple[str, str, str, list[str]]] = [
    ("/proc", "proc", "proc", [*_DEVICE, "nodev"]),
    ("/dev", "tmpfs", "tmpfs", ["nosuid", "strictatime", "mode=755", "size=65536k"]),
    ("/dev/pts", "devpts", "devpts", [*_DEVICE, "newinstance", "ptmxmode=0666", "mode=0620"]),
    ("/dev/shm", "tmpfs", "shm", [*_DEVICE, "nodev", "mode=1777", "size=65536k"]),
    ("/dev/mqueue", "mqueue", "mqueue", [*_DEVICE, "nodev"]),
    ("/sys", "sysfs", "sysfs", [*_DEVICE, "nodev", "ro"]),
]
_MASKED = [
    "/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list", "/proc/timer_stats",
    "/proc/sched_debug", "/proc/scsi", "/sys/firmware",
]  # fmt: skip
_READ_ONLY = [
    "/proc/asound", "/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger",
]  # fmt: skip
_NAMESPACES = ["pid", "ipc", "uts", "mount", "network"]
_NUMBER = re.compile("[0-9]{1,10}")


def settings_of(config: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """Return what a service needs of the configuration of an image, as modules return it."""
    inner = config.get("config") or {}

    def texts(key: str) -> list[str]:
        found = inner.get(key)
        return [str(text) for text in found] if isinstance(found, list) else []

    return {
        "entrypoint": texts("Entrypoint"),
        "cmd": texts("Cmd"),
        "env": texts("Env"),
        "user": str(inner.get("User") or ""),
        "workdir": str(inner.get("WorkingDir") or "") or "/",
        "stop_signal": str(inner.get("StopSignal") or ""),
    }


def write_config(bundle: int, root: int, config: t.Mapping[str, t.Any]) -> None:
    """Write ``config.json`` into the directory ``bundle``, whose tree is ``root``; both are descriptors."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open("config.json", flags, 0o600, dir_fd=bundle)
    with os.fdopen(fd, "w", encoding="utf-8") as file:
        json.dump(runtime_config(root, config), file, indent=2, sort_keys=True)
        file.write("\n")


def runtime_config(root: int, config: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """Return the configuration of a bundle; raise TreeUnsupportedError for a user that the image does not have."""
    wanted = settings_of(config)
    env = wanted["env"]
    capabilities = dict.fromkeys(("bounding", "effective", "permitted"), _CAPABILITIES)
    mounts = [
        {"destination": where, "type": kind, "source": source, "options": options}
        for where, kind, source, options in _MOUNTS
    ]
    return {
        "ociVersion": "1.0.2",
        "process": {
            "terminal": False,
            "user": user_of(root, wanted["user"]),
            "args": [*wanted["entrypoint"], *wanted["cmd"]] or ["sh"],
            "env": env if any(one.startswith("PATH=") for one in env) else [_PATH, *env],
            "cwd": wanted["workdir"],
            "capabilities": capabilities,
            "noNewPrivileges": True,
        },
        "root": {"path": "rootfs", "readonly": False},
        "mounts": mounts,
        "annotations": _annotations(config, wanted["stop_signal"]),
        "linux": {
            "namespaces": [{"type": kind} for kind in _NAMESPACES],
            "resources": {"devices": [{"allow": False, "access": "rwm"}]},
            "maskedPaths": _MASKED,
            "readonlyPaths": _READ_ONLY,
        },
    }


def _annotations(config: t.Mapping[str, t.Any], stop_signal: str) -> dict[str, str]:
    inner = config.get("config") or {}
    prefix = "org.opencontainers.image."
    found = {
        f"{prefix}{name}": config.get(key)
        for name, key in (
            ("os", "os"), ("architecture", "architecture"), ("variant", "variant"), ("author", "author"),
            ("created", "created"),
        )
    }  # fmt: skip
    found[f"{prefix}stopSignal"] = stop_signal
    found[f"{prefix}exposedPorts"] = ",".join(sorted(inner.get("ExposedPorts") or {}))
    labels = inner.get("Labels") or {}
    texts = {key: str(value) for key, value in found.items() if value}
    return {**texts, **{str(key): str(value) for key, value in sorted(labels.items())}}


def user_of(root: int, text: str) -> dict[str, t.Any]:
    """Return ``uid``, ``gid`` and, if there are any, ``additionalGids`` of the user ``text`` of the tree ``root``.

    Names are looked up in the files of the image alone. Raise TreeUnsupportedError for a name that is not there.
    """
    name, _colon, group = text.partition(":")
    passwd = _table(root, b"etc/passwd")
    row = next((one for one in passwd if len(one) > 3 and name in (one[0], one[2])), None)
    if row is None and name and not _NUMBER.fullmatch(name):
        raise TreeUnsupportedError(f"its user {name!r} is not in etc/passwd of the image")
    uid = int(row[2]) if row else int(name or 0)
    gid = int(row[3]) if row else 0
    groups = _table(root, b"etc/group")
    found = {"uid": uid, "gid": _group(groups, group) if group else gid}
    more = [int(one[2]) for one in groups if row and len(one) > 3 and row[0] in one[3].split(",")]
    return {**found, "additionalGids": more} if more and not group else found


def _group(groups: list[list[str]], name: str) -> int:
    row = next((one for one in groups if len(one) > 2 and name in (one[0], one[2])), None)
    if row is None and not _NUMBER.fullmatch(name):
        raise TreeUnsupportedError(f"its group {name!r} is not in etc/group of the image")
    return int(row[2]) if row else int(name)


def _table(root: int, path: bytes) -> list[list[str]]:
    """Return the rows of a file such as etc/passwd. A link is not followed out of the tree."""
    with Lower([root], None).opened(path, _READ) as fd:
        if fd is None or not stat.S_ISREG(os.fstat(fd).st_mode):
            return []
        text = os.read(fd, _LONGEST).decode("utf-8", "replace")
    rows = [line.split(":") for line in text.splitlines()]
    return [row for row in rows if len(row) > 2 and _NUMBER.fullmatch(row[2])]
