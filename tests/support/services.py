# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Start real registries, container engines and SSH servers for tests, in private directories.

Each function is a context manager: inside the block the service answers, after it nothing is left.
They work as root on a Debian machine without systemd and without rights over cgroups or iptables.
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

from . import chroots
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
    """Run Debian's `docker-registry` in `directory`, initially without content.

    `auth` is the only user that may pull and push. `tls` is the server's certificate; with
    `client_ca`, clients need a certificate of that authority. `proxy_of` is the URL of a registry
    that this one mirrors, read-only. `data` is a directory with content, which several may share.
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
        # docker-registry only supports bcrypt (-B). With -i, the password is not on the command line.
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
    """Return the common configuration of all docker-registry (2.8) services."""
    return {
        "version": "0.1",
        "log": {"level": "info", "accesslog": {"disabled": False}},
        "storage": {
            # No blob cache, so that the registry notices at once when a test changes its files.
            "filesystem": {"rootdirectory": os.fspath(data)},
            "delete": {"enabled": delete},
            "maintenance": {"uploadpurging": {"enabled": False}},
        },
        # With port 0 the kernel picks a free port, and the log names it: two registries cannot race
        # for one port.
        "http": {"addr": "127.0.0.1:0", "secret": "one instance, nothing to keep secret"},
    }


@contextlib.contextmanager
def containerd(
    directory: Path, *, cri: bool = False, root: Path | None = None
) -> Iterator[Service]:
    """Run a private containerd; `address` is the socket for `ctr --address` and for `dockerd`.

    `cri` adds what the kubelet speaks to. `root` is a directory with another Debian, whose containerd is run; then
    `directory` must be below it.
    """
    directory.mkdir(parents=True, exist_ok=True)
    address = directory / "c.sock"  # the path of a socket is limited to 107 bytes
    config = directory / "config.toml"
    config.write_text(
        f"""\
version = 2
root = "{directory}/root"
state = "{directory}/state"
disabled_plugins = [{"" if cri else '"io.containerd.grpc.v1.cri"'}]

[grpc]
  address = "{address}"

[plugins."io.containerd.internal.v1.opt"]
  path = "{directory}/opt"

[plugins."io.containerd.grpc.v1.cri"]
  stream_server_port = "0"
"""
    )
    log = directory / "containerd.log"
    options = ["--config", os.fspath(config)]
    ctr = ["ctr", "--address", os.fspath(address), "version"]
    if root:
        command = chroots.daemon_command(root, "containerd", *options)
        ctr = [program("chroot"), os.fspath(root), *ctr]
    else:
        command = [program("containerd"), *options]
    with running(
        command, directory=directory, log=log, ready=lambda: _socket_answers(address, ctr)
    ) as process:
        yield Service(os.fspath(address), f"unix://{address}", log, process.pid)


@contextlib.contextmanager
def dockerd(
    directory: Path,
    containerd_socket: str | Path | None,
    *,
    insecure_registries: Sequence[str] = (),
    root: Path | None = None,
    containerd_store: bool = False,
) -> Iterator[Service]:
    """Run a private Docker daemon on a running containerd, or on one of its own.

    `root` is a directory with another Debian, whose daemon is run. With `containerd_store` it keeps
    images in the containerd image store, which Docker has from 23. `docker_env` returns the client's
    environment. The daemon has no bridge and no iptables, so a build or a container needs
    `--network host`.
    """
    directory.mkdir(parents=True, exist_ok=True)
    address = directory / "d.sock"
    log = directory / "dockerd.log"
    config = directory / "daemon.json"
    # Not the machine's /etc/docker/daemon.json.
    config.write_text(
        '{"features": {"containerd-snapshotter": true}}' if containerd_store else "{}"
    )
    # A container cannot have its files below a link, so that the path must be the same inside.
    inside = chroots.daemon_command(root, "dockerd", shared=directory) if root else None
    command = [
        *(inside or [program("dockerd")]),
        f"--config-file={config}",
        f"--data-root={directory}/data",
        f"--exec-root={directory}/exec",
        f"--pidfile={directory}/pid",
        f"--host=unix://{address}",
        *([f"--containerd={containerd_socket}"] if containerd_socket else []),
        # Rules and bridge would change the machine, and a container may lack the right to make them.
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
    """Return whether the socket exists and the service answers its client."""
    if not address.exists():
        return False
    done = subprocess.run(client, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
    return done.returncode == 0


def docker_env(daemon: Service, directory: Path) -> dict[str, str]:
    """Return the environment with which `docker` uses `daemon`, and stores logins in `directory`."""
    directory.mkdir(parents=True, exist_ok=True)
    # Debian's docker.io has no buildx, and without this variable a newer client refuses to build.
    return {
        "DOCKER_HOST": daemon.url,
        "DOCKER_CONFIG": os.fspath(directory),
        "DOCKER_BUILDKIT": "0",
    }


@contextlib.contextmanager
def podman_env(directory: Path, *, driver: str = "overlay") -> Iterator[dict[str, str]]:
    """Provide an environment with private storage, configuration and logins for podman, buildah and skopeo.

    The driver `overlay` works for root on ext4 and xfs. If `directory` is itself on an overlay (in a
    container), use `vfs`, which copies every layer.
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
            # With these settings of buildah, `RUN` needs neither cgroups nor a network.
            "BUILDAH_ISOLATION": "chroot",
        }
    finally:
        unmount_below(directory)  # the overlay driver mounts its directory onto itself


@dataclass(frozen=True)
class SshHost:
    """A running sshd. Clients log in as root with `client_key`; its host key is in `known_hosts`."""

    service: Service
    client_key: Path
    known_hosts: Path
    home: Path
    user: str = "root"

    def variables(self) -> dict[str, Any]:
        """Return the inventory variables of this host; Ansible then writes nothing to root's home."""
        host, _colon, port = self.service.address.rpartition(":")
        strict = f"-o UserKnownHostsFile={self.known_hosts} -o StrictHostKeyChecking=yes"
        return {
            "ansible_connection": "ssh",
            "ansible_host": host,
            "ansible_port": int(port),
            "ansible_user": self.user,
            "ansible_ssh_private_key_file": os.fspath(self.client_key),
            # -F: ignore the ssh_config of the machine and of the user.
            "ansible_ssh_common_args": f"-F /dev/null -o IdentitiesOnly=yes {strict}",
            "ansible_remote_tmp": os.fspath(self.home / ".ansible/tmp"),
        }


@contextlib.contextmanager
def sshd(
    directory: Path, port: int = 0, *, environment: Mapping[str, str] | None = None
) -> Iterator[SshHost]:
    """Run a real sshd on 127.0.0.1, where root logs in with a generated key.

    `port` 0 stands for any free port. The HOME of sessions is in `directory`; `environment` adds
    variables to each session.
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
    # sshd starts itself again for every connection, and so requires its absolute path.
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
# Key files below /tmp would fail the check of the mode of parent directories.
StrictModes no
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
# Never refuse a burst of connections: Ansible opens at least one per task.
MaxStartups 100
MaxSessions 100
PrintMotd no
SetEnv {variables}
Subsystem sftp internal-sftp
"""
