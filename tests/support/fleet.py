# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the fleet tests share: module names, registries, and requirements of this machine."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from . import layout, modules
from .accesslog import accesses
from .playbook import PlayResult
from .services_process import Service, missing_programs, run

PULL = "lockstep.images.image_pull"
PUSH = "lockstep.images.image_push"
COPY = "lockstep.images.image_copy"
INFO = "lockstep.images.image_info"
SYNC = "lockstep.images.image_sync"
LOGIN = "lockstep.images.registry_login"
SEEN = "lockstep.images.registry_info"
REMOVE = "lockstep.images.registry_remove"
DEMO = "lockstep/demo"
USER, PASSWORD = "fleet", "correct horse: battery/staple"


def need(reason: str) -> None:
    """Skip the current test with this reason. Fail in CI, which must meet all requirements."""
    if os.environ.get("CI"):
        raise RuntimeError(f"{reason} (in CI everything must be there)")
    pytest.skip(reason)


def need_programs(*names: str) -> None:
    """Skip the current test unless it runs as root and all these programs are installed."""
    missing = missing_programs(*names)
    if missing:
        need(f"not installed: {', '.join(missing)}")
    if os.geteuid() != 0:
        need("only root can start these services")


def need_docker(oldest: int) -> None:
    """Skip the current test unless docker's client is of this major version or later.

    The client of Debian may parse names by older rules.
    """
    need_programs("docker")
    version = run(["docker", "--version"]).split()[2].rstrip(",")
    if int(version.split(".")[0]) < oldest:
        pytest.skip(f"docker is {version} here, {oldest} or later is needed")


@dataclass(frozen=True)
class Registry:
    """A running registry, and the login and authority that its clients need."""

    service: Service
    username: str | None = None
    password: str | None = None
    ca: Path | None = None

    @property
    def address(self) -> str:
        """`host:port`, as in a reference."""
        return self.service.address

    def requests(self) -> list[str]:
        """Return method and path of every request so far, from the registry's own access log."""
        log = self.service.log_text()
        return [f"{access.method} {access.path}" for access in accesses(log)]

    def options(self) -> dict[str, Any]:
        """Return the module options for this registry; none without login and authority."""
        own = {"username": self.username, "password": self.password, "ca_path": self.ca}
        return {name: os.fspath(value) for name, value in own.items() if value is not None}

    def upload_options(self) -> dict[str, Any]:
        """Return the login arguments of `images.upload`."""
        cafile = os.fspath(self.ca) if self.ca else None
        return {"username": self.username, "password": self.password, "cafile": cafile}


@dataclass(frozen=True)
class Pulled:
    """One pulled image: its runs (check, real, check, real) and the peak memory of each in bytes."""

    registry: Registry
    kind: str
    name: str
    store: Path
    runs: list[PlayResult]
    peaks: list[int]


def pull_four_times(store: Path, name: str, digest: str, **options: Any) -> list[dict[str, Any]]:
    """Pull an image four times (check, real, check, real). Return the four results.

    Assert that check mode reports the real run, that the second pair changes nothing, that the name
    has this digest, that all content matches its digests, and that the staging directory holds only
    locks.
    """
    runs = modules.four_times("image_pull", name=[name], store=os.fspath(store), **options)
    check, real, third, fourth = (one.result for one in runs)
    for key in ("changed", "actions", "images", "diff"):
        assert check.get(key) == real.get(key), f"{key} is not what check mode said"
    assert real["changed"] and not third["changed"] and not fourth["changed"]
    assert layout.names(store)[name]["digest"] == digest
    assert layout.bad_blobs(store) == []
    assert {path.suffix for path in store.glob(".staging/*")} == {".lock"}
    return [check, real, third, fourth]
