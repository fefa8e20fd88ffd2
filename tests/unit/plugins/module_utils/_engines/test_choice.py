# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which engine ``auto`` chooses, with sockets and programs of the test in place of those of the host."""

from __future__ import annotations

import os
import re
import socket

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._engines import (
    choice,
    docker,
    errors,
)
from ansible_collections.lockstep.images.plugins.module_utils._engines.options import EngineOptions
from ansible_collections.lockstep.images.tests.support.fakedocker import fake_docker

# Answers "ctr namespaces list" and "ctr --namespace NAME images list" from files of the test.
CTR = """\
#!/bin/sh
echo "$*" >> calls
while [ "$1" = --address ] || [ "$1" = --namespace ]; do
  [ "$1" = --namespace ] && name=$2
  shift 2
done
case $1 in namespaces) exec cat namespaces ;; images) [ ! -f "$name" ] || exec cat "$name" ;; esac
"""
LISTED = f"registry.example/web:1 application/x sha256:{'1' * 64} 1.0 KiB linux/amd64 -\n"


def auto(**options):
    """Return the chosen engine, which is its options unless it is Docker."""
    return choice.open_engine(EngineOptions("auto", **options), lambda _digest: None)


@pytest.fixture(autouse=True, name="host")
def fixture_host(tmp_path, monkeypatch):
    """Return the directory of a host without engines and programs."""
    monkeypatch.chdir(tmp_path)
    for name in ("DOCKER_HOST", "CONTAINERD_ADDRESS", "XDG_RUNTIME_DIR"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    monkeypatch.setattr(docker, "DEFAULT_SOCKET", str(tmp_path / "d"))
    monkeypatch.setattr(choice, "CONTAINERD_SOCKETS", (str(tmp_path / "c"), str(tmp_path / "k")))
    real, installed = choice.find_program, choice._open

    def find(command):
        if os.path.isabs(command[0]) or (tmp_path / "bin" / command[0]).exists():
            return real(command)
        raise errors.EngineNotFoundError(f"{command[0]}: this program is not installed")

    def opened(options, read_manifest):
        return installed(options, read_manifest) if options.kind == "docker" else options

    monkeypatch.setattr(choice, "find_program", find)
    monkeypatch.setattr(choice, "_open", opened)
    return tmp_path


@pytest.fixture(name="docker")
def fixture_docker(host):
    with fake_docker(host / "d") as docker:
        yield docker


@pytest.fixture(name="listen")
def fixture_listen(host):
    """Return a function that makes something listen on a socket, which never answers."""
    made = []

    def listen(name):
        made.append(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
        made[-1].bind(str(host / name))
        made[-1].listen(5)

    yield listen
    for one in made:
        one.close()


@pytest.fixture(name="install")
def fixture_install(host):
    def install(name, text="#!/bin/sh\n"):
        path = host / "bin" / name
        path.write_text(text)
        path.chmod(0o755)
        return str(path)

    return install


def test_docker_alone_is_chosen_with_the_requests_that_open_it(docker):
    assert auto().facts().kind == "docker"
    assert docker.requests == ["GET /_ping", "GET /info"]


def test_host_without_an_engine_lists_all_places(host):
    with pytest.raises(errors.EngineNotFoundError) as caught:
        auto()
    assert str(caught.value) == (
        f"no container engine answers: {host}/d does not exist, {host}/c does not exist,"
        f" {host}/k does not exist, podman: this program is not installed"
    )


def test_containerd_alone_is_chosen_with_its_socket_and_program(host, listen, install):
    listen("k")
    ctr = install("ctr")
    engine = auto(namespace="k8s.io")
    assert engine[:4] == ("containerd", f"{host}/k", "k8s.io", (ctr,))


def test_containerd_without_its_program_is_not_found(listen):
    listen("c")
    with pytest.raises(errors.EngineNotFoundError, match="ctr: this program is not installed"):
        auto()


def test_podman_alone_is_chosen(install):
    podman = install("podman")
    assert (auto().kind, auto().program) == ("podman", (podman,))


def test_several_engines_are_listed_with_their_places(host, docker, listen, install):
    listen("c")
    install("ctr", CTR)
    install("podman")
    (host / "namespaces").write_text("k8s.io\nmoby\n")
    (host / "k8s.io").write_text(LISTED)
    text = f"docker ({host}/d), containerd ({host}/c), podman (podman)"
    with pytest.raises(errors.EngineAmbiguousError, match=re.escape(text)) as caught:
        auto()
    assert caught.value.hint == "Choose one with engine, or with socket."


@pytest.mark.parametrize("namespaces", ["", "moby\n", "moby\nplugins.moby\nbuildkit\ndefault\n"])
def test_containerd_that_docker_runs_on_does_not_count(host, docker, listen, install, namespaces):
    """A namespace without images stays when a tool was tried once."""
    listen("c")
    install("ctr", CTR)
    (host / "namespaces").write_text(namespaces)
    (host / "moby").write_text(LISTED)
    assert auto().facts().kind == "docker"
    calls = (host / "calls").read_text().splitlines()
    assert len(calls) == (2 if "default" in namespaces else 1)


def test_containerd_beside_docker_counts_only_if_ctr_is_installed(docker, listen):
    listen("c")
    assert auto().facts().kind == "docker"


def test_socket_of_podman_is_not_docker(docker, install):
    docker.server = "Libpod/4.3.1 (linux)"
    with pytest.raises(errors.EngineNotFoundError, match="is the socket of podman, not of Docker"):
        auto()
    install("podman")
    assert auto().kind == "podman"


def test_one_socket_by_two_paths_is_one_engine(host, docker, monkeypatch):
    (host / "run").mkdir()
    (host / "run/docker.sock").symlink_to(host / "d")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(host / "run"))
    assert auto().facts().kind == "docker"
    assert len(docker.requests) == 2


def test_rootless_docker_is_found(host, monkeypatch):
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(host))
    with fake_docker(host / "docker.sock"):
        assert auto().facts().kind == "docker"


def test_docker_host_is_the_only_docker(host, docker, monkeypatch):
    monkeypatch.setenv("DOCKER_HOST", f"unix://{host}/other")
    with pytest.raises(errors.EngineNotFoundError, match=f"{host}/other does not exist"):
        auto()
    assert docker.requests == []


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:2375", "ssh://root@host"])
def test_engine_of_another_host_is_not_supported(address, monkeypatch):
    monkeypatch.setenv("DOCKER_HOST", address)
    with pytest.raises(errors.EngineNotFoundError, match=f"{address}: is not the path of a Unix"):
        auto()


def test_given_socket_is_of_docker_or_of_containerd(host, docker, install):
    install("podman")
    assert auto(socket=f"{host}/d").facts().kind == "docker"


def test_given_socket_that_is_not_of_docker_is_of_containerd(host, docker, install):
    install("ctr")
    docker.server, docker.api = "", ""
    assert auto(socket=f"{host}/d").kind == "containerd"


def test_containerd_address_is_the_only_containerd(host, listen, install, monkeypatch):
    listen("c")
    install("ctr")
    monkeypatch.setenv("CONTAINERD_ADDRESS", f"{host}/other")
    with pytest.raises(errors.EngineNotFoundError, match=f"{host}/other does not exist"):
        auto()


def refuse(path):
    def refused(*_arguments, **_options):
        raise errors.EngineRefusedError(f"{path}: this user cannot open the socket")

    return refused


def test_socket_that_refuses_the_user_is_an_engine(host, listen, install, monkeypatch):
    monkeypatch.setattr(choice, "require_listener", refuse("c"))
    with pytest.raises(errors.EngineRefusedError, match="c: this user cannot open the socket"):
        auto(socket=str(host / "c"))
    install("podman")
    with pytest.raises(errors.EngineAmbiguousError, match=r"containerd .*, podman"):
        auto()


def test_containerd_that_refuses_the_user_does_not_count_beside_docker(docker, monkeypatch):
    monkeypatch.setattr(choice, "require_listener", refuse("c"))
    assert auto().facts().kind == "docker"


def test_program_is_of_podman_or_of_containerd_by_its_name(listen, install):
    listen("k")
    install("ctr")
    podman = install("podman")
    other = install("k3s")
    options = EngineOptions("auto", program=(other, "ctr"))
    assert options.program_of("containerd") == (other, "ctr")
    assert options.program_of("podman") == ("podman",)
    options = EngineOptions("auto", program=(podman,))
    assert options.program_of("containerd") == ("ctr",)
    assert options.program_of("podman") == (podman,)
    assert EngineOptions("podman", program=("sudo", "p")).program_of("podman") == ("sudo", "p")
