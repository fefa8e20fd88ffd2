# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role runtime: images as services. Units are checked by systemd, and their commands run in their roots."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import typing as t
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from ansible_collections.lockstep.images.tests.support import images
from ansible_collections.lockstep.images.tests.support.fleet import need_programs
from ansible_collections.lockstep.images.tests.support.playbook import (
    PlayResult,
    PlayRunner,
    local_host,
)
from ansible_collections.lockstep.images.tests.support.services_process import run
from ansible_collections.lockstep.images.tests.support.stores import put
from ansible_collections.lockstep.images.tests.support.tarballs import (
    archive,
    directory,
    entry,
    hardlink,
)

NAME, NEXT = "registry.example.com/shop/web:1", "registry.example.com/shop/web:2"
SYSTEMCTL = Path(os.path.abspath(__file__)).parents[1] / "support" / "fakesystemctl.py"
ODD = {"GREETING": 'say "$HOME" 50% \\ done'}


def image_of(version: str, user: str = "web") -> images.Image:
    """Return an image that prints its version, its user and what it was greeted with."""
    program = Path("/bin/busybox").read_bytes()
    script = b'#!/bin/sh\necho "$(cat /srv/version) $(id -u):$(id -g) $GREETING" "$@"\n'
    tar = archive(
        directory("bin"),
        entry("bin/busybox", program, mode=0o755),
        *[hardlink(f"bin/{name}", "bin/busybox", mode=0o755) for name in ("sh", "cat", "id")],
        directory("etc"),
        entry("etc/passwd", b"root:x:0:0::/:/bin/sh\nweb:x:4033:4034::/srv:/bin/sh\n"),
        directory("srv"),
        directory("usr"),  # systemd-nspawn wants one
        entry("srv/version", version.encode()),
        entry("srv/hello", script, mode=0o755),
    )
    config = {"Entrypoint": ["/srv/hello"], "Cmd": ["$1", "100%"], "User": user}
    found = images.Layer(tar, images.TYPES["tar"][0], *[images.digest_of(tar)] * 2, None)
    return images.image([found], config={"config": config}, history=False)


@dataclass
class Site:
    """A host with the images, a directory for units, and a systemctl that starts no service."""

    path: Path
    play: PlayRunner
    services: list[dict[str, t.Any]] = field(default_factory=list)

    def run(
        self, *services: dict[str, t.Any], check: bool = False, **variables: t.Any
    ) -> PlayResult:
        """Run the role with these services."""
        play = {"hosts": "all", "gather_facts": False, "roles": ["lockstep.images.runtime"]}
        inventory = self.play.inventory({"web-1": local_host(self.path)})
        variables = {
            "runtime_store_path": str(self.path / "store"),
            "runtime_trees_path": str(self.path / "trees"),
            "runtime_unit_path": str(self.units),
            "runtime_quadlet_path": str(self.units / "quadlets"),
            "runtime_services": [{"name": "web", "image": NAME, "fstab": False, **one} for one in services],
            **variables,
        }  # fmt: skip
        path = os.pathsep.join([str(self.path / "bin"), self.play.environment["PATH"]])
        text = json.dumps([play], indent=2)
        return self.play(text, inventory, variables, check=check, environment={"PATH": path})

    @property
    def units(self) -> Path:
        return self.path / "units"

    def calls(self) -> list[str]:
        """Return what systemctl was asked to change since the last call."""
        calls = self.units / "calls"
        found = calls.read_text().splitlines() if calls.exists() else []
        calls.unlink(missing_ok=True)
        return found


@pytest.fixture(name="site")
def fixture_site(tmp_path: Path, play: PlayRunner) -> Iterator[Site]:
    need_programs("busybox", "chroot", "systemd-analyze", "systemd-nspawn")
    for name, version in ((NAME, "one"), (NEXT, "two")):
        put(tmp_path / "store", image_of(version), name)
    for name in ("bin", "units"):
        (tmp_path / name).mkdir()
    fake = tmp_path / "bin" / "systemctl"
    fake.write_text(f'#!/bin/sh\nexec {sys.executable} {SYSTEMCTL} {tmp_path / "units"} "$@"\n')
    fake.chmod(0o755)
    site = Site(tmp_path, play)
    yield site
    names = [path.name for path in (tmp_path / "trees" / "roots").glob("*")]
    left = [{"name": name, "state": "absent"} for name in names]
    site.run(*left, runtime_start=False).ok()


def setting(unit: Path, name: str) -> str:
    """Return the value of a setting, with the specifiers and variables that systemd replaces."""
    found = re.search(f"^{name}=(.*)$", unit.read_text(), re.M)
    assert found, unit.read_text()
    return found.group(1).replace("%%", "%").replace("$$", "$")


def test_service_starts_stays_and_moves_with_its_image(site: Site) -> None:
    assert site.run({}, check=True).ok().changed > 0
    assert not site.calls() and not (site.path / "trees" / "roots").exists()
    site.run({}).ok()
    assert site.calls() == ["daemon-reload", "enable web.service", "start web.service"]
    again = site.run({}).ok()
    assert (again.changed, site.calls()) == (0, [])

    site.run({"image": NEXT}).ok()
    # The root is in use, so it can change only while the service is stopped.
    assert site.calls() == ["stop web.service", "daemon-reload", "start web.service"]
    root = site.path / "trees" / "roots" / "web" / "merged"
    assert (root / "srv" / "version").read_text() == "two"
    assert (site.run({"image": NEXT}).ok().changed, site.calls()) == (0, [])

    site.run({"state": "stopped", "image": NEXT}).ok()
    assert site.calls() == ["stop web.service"]
    assert site.run({"state": "absent"}).ok().changed > 0
    assert not root.exists() and not list(site.units.glob("*.service"))
    site.calls()
    assert (site.run({"state": "absent"}).ok().changed, site.calls()) == (0, [])


def test_unit_of_systemd_says_what_runs_in_the_root(site: Site) -> None:
    site.run({"env": ODD, "service_lines": ["MemoryMax=64M"]}, runtime_start=False).ok()
    unit = site.units / "web.service"
    verified = subprocess.run(
        ["systemd-analyze", "verify", unit], capture_output=True, text=True, check=False
    )
    # It looks for the command on the host, not below RootDirectory.
    assert verified.stderr.splitlines() in (
        [],
        ["web.service: Command /srv/hello is not executable: No such file or directory"],
    )
    user, group = setting(unit, "User"), setting(unit, "Group")
    greeting = shlex.split(setting(unit, "Environment"))
    command = shlex.split(setting(unit, "ExecStart"))
    said = run(
        ["env", *greeting, "chroot", f"--userspec={user}:{group}", setting(unit, "RootDirectory"), *command]
    )  # fmt: skip
    assert said.strip() == f"one 4033:4034 {ODD['GREETING']} $1 100%"


@pytest.mark.parametrize(
    ("options", "path"),
    [
        ({}, None),  # the command of the image has a path
        ({"command": ["hello"]}, "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
        ({"command": ["hello"], "env": {"PATH": "/srv:/bin"}}, "/srv:/bin"),
    ],
)
def test_command_without_a_path_is_looked_up_in_the_path_of_the_image(
    site: Site, options: dict[str, t.Any], path: str | None
) -> None:
    site.run(options, runtime_start=False).ok()
    text = (site.units / "web.service").read_text()
    assert ("ExecSearchPath" in text) == (path is not None)
    assert path is None or setting(site.units / "web.service", "ExecSearchPath") == path


def test_unit_of_nspawn_runs(site: Site) -> None:
    # For other users, systemd-nspawn runs the getent of the image, which busybox does not have.
    put(site.path / "store", image_of("one", user="root"), NAME)
    site.run({"mode": "nspawn", "env": ODD}, runtime_start=False).ok()
    command = shlex.split(setting(site.units / "web.service", "ExecStart"))
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert f"one 0:0 {ODD['GREETING']} $1 100%" in done.stdout, done.stderr


def test_units_of_podman_are_written_one_at_a_time(site: Site) -> None:
    site.run({"mode": "podman", "arguments": ["--network=host"]}, runtime_start=False).ok()
    command = shlex.split(setting(site.units / "web.service", "ExecStart"))
    root = str(site.path / "trees" / "roots" / "web" / "merged")
    assert command[-4:] == [root, "/srv/hello", "$1", "100%"]
    assert {"--rootfs", "--user=web", "--network=host"} < set(command)
    quadlet = {"mode": "quadlet", "read_only": True, "container_lines": ["PublishPort=80:8080"]}
    assert site.run(quadlet, runtime_start=False).ok().changed > 0
    unit = site.units / "quadlets" / "web.container"
    assert (setting(unit, "Rootfs"), setting(unit, "User")) == (f"{root}:O", "web")
    assert "\nPublishPort=80:8080\n" in unit.read_text()
    assert not (site.units / "web.service").exists()
    assert site.run(quadlet, runtime_start=False).ok().changed == 0


def test_user_that_only_the_host_has_is_refused(site: Site) -> None:
    put(site.path / "store", image_of("three", user="daemon"), NEXT)
    done = site.run({"image": NEXT}, runtime_start=False)
    assert done.returncode and "has no user daemon; set user for the service" in done.output
    assert not list(site.units.glob("*.service"))
    site.run({"image": NEXT, "user": "4035"}, runtime_start=False).ok()
