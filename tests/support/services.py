# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The real registry, runtimes and SSH server that the tests talk to, started by hand in private
directories.

Every function here is a context manager: inside the block the service answers, after it nothing of
it is left. All of them work as root on a Debian machine without systemd and without rights over
cgroups or iptables.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .services_process import Service, find_program, free_port, program, run, running, unmount_below

if TYPE_CHECKING:
    from .certificates import CertificateFiles

_LISTENING = re.compile(r"listening on ([0-9.]+:[0-9]+)")


@contextlib.contextmanager
def docker_registry(
    directory: Path,
    *,
    auth: tuple[str, str] | None = None,
    tls: CertificateFiles | None = None,
    client_ca: Path | None = None,
    proxy_of: str | None = None,
    delete: bool = True,
    data: Path | None = None,
) -> Iterator[Service]:
    """Serve a registry from `directory` with Debian's `docker-registry`; it begins empty.

    `auth` is the one user that may pull and push, `tls` the server's certificate (`client_ca`:
    clients need one of that CA), `proxy_of` the URL of a registry that this one mirrors (it is
    read-only then). With `data` it serves that directory's content, which several may share.
    """
    directory.mkdir(parents=True, exist_ok=True)
    config = _registry_config(data or directory / "data", delete)
    if tls:
        config["http"]["tls"] = {
            "certificate": os.fspath(tls.certificate),
            "key": os.fspath(tls.key),
            "clientcas": [os.fspath(client_ca)] if client_ca else [],
        }
    if auth:
        users = directory / "htpasswd"
        # bcrypt (-B) is the only hash that docker-registry takes; -i keeps the password off the
        # command line.
        users.write_text(run([program("htpasswd"), "-niB", auth[0]], stdin=auth[1]))
        config["auth"] = {"htpasswd": {"realm": "lockstep test registry", "path": os.fspath(users)}}
    if proxy_of:
        config["proxy"] = {"remoteurl": proxy_of}
    path = directory / "config.yml"
    path.write_text(json.dumps(config, indent=2))  # JSON is YAML
    with _serving(path, directory / "docker-registry.log", "https" if tls else "http") as service:
        yield service


@contextlib.contextmanager
def _serving(config: Path, log: Path, scheme: str) -> Iterator[Service]:
    log.write_bytes(b"")

    def address() -> str:
        found = _LISTENING.search(log.read_text(errors="replace"))
        return found.group(1) if found else ""

    command = [program("docker-registry"), "serve", os.fspath(config)]
    with running(
        command, directory=config.parent, log=log, ready=lambda: bool(address())
    ) as process:
        yield Service(address(), f"{scheme}://{address()}", log, process.pid)


def _registry_config(data: Path, delete: bool) -> dict[str, Any]:
    """The configuration that every docker-registry (2.8) here has."""
    return {
        "version": "0.1",
        "log": {"level": "info", "accesslog": {"disabled": False}},
        "storage": {
            # No blob cache: what a test changes in the registry's own files is seen at once.
            "filesystem": {"rootdirectory": os.fspath(data)},
            "delete": {"enabled": delete},
            "maintenance": {"uploadpurging": {"enabled": False}},
        },
        # Port 0: the kernel picks a free one and the log names it, so that no two registries race
        # for a port.
        "http": {"addr": "127.0.0.1:0", "secret": "one instance, nothing to keep secret"},
    }


@contextlib.contextmanager
def containerd(directory: Path) -> Iterator[Service]:
    """Run a containerd of its own; `address` is the socket for `ctr --address` and for `dockerd`."""
    directory.mkdir(parents=True, exist_ok=True)
    address = directory / "c.sock"  # short: a socket's path ends after 107 bytes
    config = directory / "config.toml"
    config.write_text(
        f"""\
version = 2
root = "{directory}/root"
state = "{directory}/state"
# CRI wants CNI and a sandbox image and is not what is tested.
disabled_plugins = ["io.containerd.grpc.v1.cri"]

[grpc]
  address = "{address}"

[plugins."io.containerd.internal.v1.opt"]
  path = "{directory}/opt"
"""
    )
    log = directory / "containerd.log"
    command = [program("containerd"), "--config", os.fspath(config)]
    ctr = [program("ctr"), "--address", os.fspath(address), "version"]
    with running(
        command, directory=directory, log=log, ready=lambda: _socket_answers(address, ctr)
    ) as process:
        yield Service(os.fspath(address), f"unix://{address}", log, process.pid)


@contextlib.contextmanager
def dockerd(
    directory: Path, containerd_socket: str | Path, *, insecure_registries: Sequence[str] = ()
) -> Iterator[Service]:
    """Run a Docker daemon of its own on a running containerd; `docker_env` is the client's
    environment for it.

    There is no bridge and no iptables here, so a build or a container needs `--network host`.
    """
    directory.mkdir(parents=True, exist_ok=True)
    address = directory / "d.sock"
    log = directory / "dockerd.log"
    config = directory / "daemon.json"
    config.write_text("{}")  # not the machine's /etc/docker/daemon.json
    command = [
        program("dockerd"),
        f"--config-file={config}",
        f"--data-root={directory}/data",
        f"--exec-root={directory}/exec",
        f"--pidfile={directory}/pid",
        f"--host=unix://{address}",
        f"--containerd={containerd_socket}",
        # The rules and the bridge would be the machine's own, and a container may lack the right
        # to make them.
        "--iptables=false",
        "--ip6tables=false",
        "--bridge=none",
        *(f"--insecure-registry={registry}" for registry in insecure_registries),
    ]
    client = [program("docker"), "--host", f"unix://{address}", "version"]
    with running(
        command, directory=directory, log=log, ready=lambda: _socket_answers(address, client)
    ) as process:
        yield Service(os.fspath(address), f"unix://{address}", log, process.pid)


def _socket_answers(address: Path, client: Sequence[str]) -> bool:
    """Whether the socket is there and the service's own client gets an answer from it."""
    if not address.exists():
        return False
    done = subprocess.run(client, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
    return done.returncode == 0


def docker_env(daemon: Service, directory: Path) -> dict[str, str]:
    """What `docker` needs in its environment to speak to `daemon` and to keep its logins in
    `directory`.
    """
    directory.mkdir(parents=True, exist_ok=True)
    # Debian's docker.io has no buildx; without this a newer client refuses to build.
    return {
        "DOCKER_HOST": daemon.url,
        "DOCKER_CONFIG": os.fspath(directory),
        "DOCKER_BUILDKIT": "0",
    }


@contextlib.contextmanager
def podman_env(directory: Path, *, driver: str = "overlay") -> Iterator[dict[str, str]]:
    """Give podman, buildah and skopeo a storage, a configuration and logins of their own, as
    environment variables.

    `overlay` works for root on ext4 and xfs; if the directory itself is on an overlay (inside
    a container), use `vfs`, which copies every layer.
    """
    directory.mkdir(parents=True, exist_ok=True)
    storage = directory / "storage.conf"
    storage.write_text(
        f"""\
[storage]
driver = "{driver}"
graphroot = "{directory}/graph"
runroot = "{directory}/run"
"""
    )
    # crun refuses where both versions of cgroups are mounted; runc comes with containerd and does
    # not.
    runtime = "runc" if find_program("runc") else "crun"
    containers = directory / "containers.conf"
    containers.write_text(
        f"""\
[engine]
# Without systemd there is neither its cgroup manager nor a journal for events.
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "{runtime}"
tmp_dir = "{directory}/libpod"
static_dir = "{directory}/static"
volume_path = "{directory}/volumes"
image_copy_tmp_dir = "{directory}"

[containers]
# What podman asks for else is above what root may have in a container or a restricted machine.
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
"""
    )
    registries = directory / "registries.conf"
    registries.write_text('unqualified-search-registries = []\nshort-name-mode = "disabled"\n')
    logins = directory / "auth.json"
    logins.write_text(
        '{"auths": {}}'
    )  # buildah refuses to start when the file it is pointed to is missing
    try:
        yield {
            "CONTAINERS_STORAGE_CONF": os.fspath(storage),
            "CONTAINERS_CONF": os.fspath(containers),
            "CONTAINERS_REGISTRIES_CONF": os.fspath(registries),
            "REGISTRY_AUTH_FILE": os.fspath(logins),
            "TMPDIR": os.fspath(directory),
            "HOME": os.fspath(directory),
            # buildah: no cgroups and no network of its own, so `RUN` works without a runtime.
            "BUILDAH_ISOLATION": "chroot",
        }
    finally:
        unmount_below(directory)  # the overlay driver mounts its own directory onto itself


@dataclass(frozen=True)
class SshHost:
    """A running sshd and what a client needs for it: `root`, logged in with `client_key`, host key
    in `known_hosts`.
    """

    service: Service
    client_key: Path
    known_hosts: Path
    home: Path
    user: str = "root"

    def variables(self) -> dict[str, Any]:
        """The inventory variables by which Ansible reaches this host and leaves nothing in root's
        own home.
        """
        host, _colon, port = self.service.address.rpartition(":")
        strict = f"-o UserKnownHostsFile={self.known_hosts} -o StrictHostKeyChecking=yes"
        return {
            "ansible_connection": "ssh",
            "ansible_host": host,
            "ansible_port": int(port),
            "ansible_user": self.user,
            "ansible_ssh_private_key_file": os.fspath(self.client_key),
            # -F: neither the machine's nor the user's ssh_config decides how a test connects.
            "ansible_ssh_common_args": f"-F /dev/null -o IdentitiesOnly=yes {strict}",
            "ansible_remote_tmp": os.fspath(self.home / ".ansible/tmp"),
        }


@contextlib.contextmanager
def sshd(
    directory: Path, port: int = 0, *, environment: Mapping[str, str] | None = None
) -> Iterator[SshHost]:
    """Run a real sshd on 127.0.0.1 (`port` 0 means a free one) where root logs in with a key made
    for it.

    The HOME of the session is in `directory`; `environment` adds more variables to every session.
    """
    home = directory / "home"
    home.mkdir(parents=True, exist_ok=True)
    port = port or free_port()
    for name in ("host_key", "client_key"):
        if not (directory / name).exists():
            run(
                [
                    program("ssh-keygen"),
                    "-q",
                    "-t",
                    "ed25519",
                    "-N",
                    "",
                    "-C",
                    name,
                    "-f",
                    directory / name,
                ]
            )
    (directory / "authorized_keys").write_bytes((directory / "client_key.pub").read_bytes())
    known_hosts = directory / "known_hosts"
    known_hosts.write_text(f"[127.0.0.1]:{port} {(directory / 'host_key.pub').read_text()}")
    Path("/run/sshd").mkdir(
        mode=0o755, exist_ok=True
    )  # the privilege separation directory, compiled into sshd
    config = directory / "sshd_config"
    config.write_text(_sshd_config(directory, port, dict(environment or {}, HOME=os.fspath(home))))
    log = directory / "sshd.log"
    log.write_bytes(b"")
    # sshd starts itself again for every connection and therefore wants its absolute path.
    command = [program("sshd"), "-D", "-e", "-f", os.fspath(config)]
    with running(
        command, directory=directory, log=log, ready=lambda: "Server listening" in log.read_text()
    ) as process:
        service = Service(f"127.0.0.1:{port}", f"ssh://root@127.0.0.1:{port}", log, process.pid)
        yield SshHost(service, directory / "client_key", known_hosts, home)


def _sshd_config(directory: Path, port: int, environment: Mapping[str, str]) -> str:
    variables = " ".join(f'"{name}={value}"' for name, value in sorted(environment.items()))
    return f"""\
ListenAddress 127.0.0.1:{port}
HostKey {directory}/host_key
PidFile {directory}/sshd.pid
AuthorizedKeysFile {directory}/authorized_keys
# Key files below /tmp fail the check of every parent directory's mode.
StrictModes no
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
# One connection per task and more: never refuse a burst.
MaxStartups 100
MaxSessions 100
PrintMotd no
SetEnv {variables}
Subsystem sftp internal-sftp
"""
