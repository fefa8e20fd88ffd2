# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The tools to compare with, and the limits of the machine.

Each of them pulls any number of images and removes them again. Each keeps its own defaults: how many
layers it fetches at once, and whether it flushes its output to the disk.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable, Protocol

from ansible_collections.lockstep.images.tests.support.services import (
    containerd,
    docker_env,
    dockerd,
    podman_env,
)
from ansible_collections.lockstep.images.tests.support.services_process import (
    missing_programs,
    program,
    run,
)

from .content import Published
from .measure import Daemon, Usage, metered

TIMEOUT = 1800.0


class Tool(Protocol):
    """A tool that pulls images."""

    label: str

    def pull(self, images: Sequence[Published]) -> Usage:
        """Pull all images, in turn or in parallel; raise an exception if one fails."""

    def clear(self) -> None:
        """Remove all pulled images."""


class LayoutTool(Tool, Protocol):
    """A tool that pulls into an OCI layout and can be killed."""

    target: Path

    def start(self, images: Sequence[Published]) -> subprocess.Popen[str]:
        """Start to pull, in one process."""


@dataclass
class Command:
    """A tool that runs once for each image."""

    label: str
    directory: Path
    command: Callable[[Published], list[str]]
    clear: Callable[[], None]
    target: Path = Path()
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    daemons: Sequence[Daemon] = ()
    client_does_the_work: bool = True

    def pull(self, images: Sequence[Published]) -> Usage:
        """Pull the images in turn."""
        meter_options = {"client_does_the_work": self.client_does_the_work}
        with metered(self.directory, self.daemons, **meter_options) as meter:
            command = [*meter.launcher, *self._all(images)]
            run(command, env=self.environment, timeout=TIMEOUT)
        return meter.usage

    def start(self, images: Sequence[Published]) -> subprocess.Popen[str]:
        """Start to pull, without waiting."""
        return subprocess.Popen(
            self._all(images),
            env=dict(os.environ, **self.environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            text=True,
        )

    def _all(self, images: Sequence[Published]) -> list[str]:
        commands = [self.command(image) for image in images]
        if len(commands) == 1:
            return commands[0]
        return ["sh", "-ec", "\n".join(shlex.join(command) for command in commands)]


@contextlib.contextmanager
def skopeo(directory: Path) -> Iterator[Command]:
    """Yield `skopeo copy` into an OCI layout."""
    target = directory / "layout"

    def command(image: Published) -> list[str]:
        copy = [program("skopeo"), "copy", "--quiet", "--src-tls-verify=false"]
        return [*copy, f"docker://{image.name}", f"oci:{target}:{image.name}"]

    yield Command("skopeo copy", directory, command, lambda: _remove(target), target)


@contextlib.contextmanager
def docker(directory: Path) -> Iterator[Command]:
    """Yield `docker pull` with a private daemon. The daemon does the work."""
    with (
        containerd(directory / "containerd") as runtime,
        dockerd(directory / "dockerd", runtime.address) as daemon,
    ):
        environment = docker_env(daemon, directory / "client")

        def clear() -> None:
            images = run([program("docker"), "image", "ls", "--quiet"], env=environment).split()
            if images:
                remove = [program("docker"), "image", "rm", "--force", *sorted(set(images))]
                run(remove, env=environment)

        yield Command(
            "docker pull",
            directory,
            lambda image: [program("docker"), "pull", "--quiet", image.name],
            clear,
            environment=environment,
            daemons=[Daemon(daemon.pid), Daemon(runtime.pid, does_the_work=False)],
            client_does_the_work=False,
        )


@contextlib.contextmanager
def podman(directory: Path) -> Iterator[Command]:
    """Yield `podman pull` with private storage (overlay)."""
    with podman_env(directory / "podman") as environment:

        def clear() -> None:
            run([program("podman"), "rmi", "--all", "--force"], env=environment)

        yield Command(
            "podman pull",
            directory,
            lambda image: [program("podman"), "pull", "--quiet", "--tls-verify=false", image.name],
            clear,
            environment=environment,
        )


@contextlib.contextmanager
def ctr(directory: Path) -> Iterator[Command]:
    """Yield `ctr images pull` with a private containerd. The client fetches, the daemon unpacks."""
    with containerd(directory / "containerd") as daemon:
        images = [program("ctr"), "--address", daemon.address, "images"]

        def clear() -> None:
            names = run([*images, "ls", "--quiet"]).split()
            if names:
                run([*images, "rm", "--sync", *names])

        yield Command(
            "ctr images pull",
            directory,
            lambda image: [*images, "pull", "--plain-http", image.name],
            clear,
            daemons=[Daemon(daemon.pid)],
        )


PEERS: Mapping[
    str,
    tuple[tuple[str, ...], Callable[[Path], contextlib.AbstractContextManager[Command]]],
] = {
    "skopeo": (("skopeo",), skopeo),
    "docker": (("docker", "dockerd", "containerd"), docker),
    "podman": (("podman",), podman),
    "ctr": (("ctr", "containerd"), ctr),
}


def absent() -> dict[str, list[str]]:
    """Return the tools that cannot run here, each with its missing programs."""
    lacks = {name: missing_programs(*programs) for name, (programs, _open) in PEERS.items()}
    return {name: programs for name, programs in lacks.items() if programs}


@contextlib.contextmanager
def installed(directory: Path, *names: str) -> Iterator[list[Command]]:
    """Yield the installed tools of `names`, by default of all, ready to pull."""
    with contextlib.ExitStack() as stack:
        tools = []
        for name in names or PEERS:
            programs, opened = PEERS[name]
            if not missing_programs(*programs):
                (directory / name).mkdir(parents=True)
                tools.append(stack.enter_context(opened(directory / name)))
        yield tools


# For each layer, all at the same time: fetch it to a file, flush that to the disk, read and hash it.
_FETCH = "curl -sSf -o {path} {url} && sync {path}"
_HASH = ' && test "$({hash} {path} | cut -c 1-64)" = {hex}'


def limits(directory: Path) -> list[Command]:
    """Return the limits of this machine: without hashing, with the fastest and with the usual program."""
    hashes = {"openssl": "openssl dgst -sha256 -r", "sha256sum": "sha256sum"}
    return [
        _limit("limit: curl, sync", directory / "limit", ""),
        *(
            _limit(f"limit: curl, sync, {name}", directory / f"limit-{name}", command)
            for name, command in hashes.items()
            if not missing_programs(name)
        ),
    ]


def _limit(label: str, directory: Path, hashing: str) -> Command:
    target = directory / "layers"

    def command(image: Published) -> list[str]:
        script = [f"mkdir {shlex.quote(os.fspath(target))}"]
        for url in image.layer_urls:
            digest = url.rpartition(":")[2]
            path = shlex.quote(os.fspath(target / digest))
            work = (_FETCH + _HASH * bool(hashing)).format(
                path=path, url=url, hash=hashing, hex=digest
            )
            script.append(f'( {work} ) &\npids="$pids $!"')
        script.append('for pid in $pids; do wait "$pid"; done')
        return ["sh", "-ec", "\n".join(script)]

    directory.mkdir(parents=True)
    # Do not count memory: that of a shell and its many small children means nothing.
    return Command(
        label, directory, command, lambda: _remove(target), target, client_does_the_work=False
    )


def _remove(directory: Path) -> None:
    shutil.rmtree(directory, ignore_errors=True)
