# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What listens on a socket: Docker of a known version, or something else, and how each is reported."""

from __future__ import annotations

import socket
import threading

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._engines import errors
from ansible_collections.lockstep.images.plugins.module_utils._engines.docker_api import (
    DockerApi,
    complete_name,
)
from ansible_collections.lockstep.images.tests.support.fakedocker import fake_docker
from ansible_collections.lockstep.images.tests.support.users import ordinary_user


def open_api(path, timeout=5.0):
    return DockerApi(str(path), timeout, {"requests": 0, "bytes_sent": 0})


def refusal(path, **options):
    """Return the class, the message and the hint of the error that opening raises."""
    with pytest.raises(errors.EngineError) as info:
        open_api(path, **options)
    return type(info.value), str(info.value), info.value.hint


@pytest.fixture(name="answering")
def fixture_answering(tmp_path):
    """Returns a function that serves one connection with bytes, or closes it at once."""
    path = tmp_path / "s"
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(path))
    server.listen()

    def serve(data):
        def answer():
            try:
                connection, _address = server.accept()
            except OSError:  # nobody has connected before the test ended
                return
            with connection:
                if data:
                    connection.recv(65536)
                    connection.sendall(data)

        threads.append(threading.Thread(target=answer, daemon=True))
        threads[-1].start()
        return path

    threads = []
    yield serve
    server.shutdown(socket.SHUT_RDWR)  # wakes a thread that is waiting for a connection
    for thread in threads:
        thread.join()
    server.close()


def http(status="200 OK", body=b"OK", **headers):
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}"]
    lines += [f"{key.replace('_', '-')}: {value}" for key, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


def test_no_socket(tmp_path):
    path = tmp_path / "none"
    assert refusal(path)[:2] == (errors.EngineNotFoundError, f"{path} does not exist")


def test_socket_that_nothing_listens_on(tmp_path):
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    found = refusal(path)
    assert found[:2] == (errors.EngineNotFoundError, f"{path}: nothing listens on this socket")
    assert found[2].startswith("Start the engine")


@pytest.mark.parametrize("make", ["touch", "mkdir"])
def test_something_else_than_a_socket(tmp_path, make):
    path = tmp_path / "file"
    getattr(path, make)()
    kind, text, _hint = refusal(path)
    assert kind is errors.EngineNotFoundError and text.startswith(f"{path}: ")


def test_path_that_is_too_long(tmp_path):
    path = tmp_path / ("x" * 120)
    kind, text, _hint = refusal(path)
    assert kind is errors.EngineNotFoundError and "too long" in text


def test_socket_of_another_user(answering):
    path = answering(b"")
    path.chmod(0)
    with ordinary_user():
        assert refusal(path)[0] is errors.EngineRefusedError


def test_connection_that_is_closed_is_not_docker(answering):
    path = answering(b"")
    assert refusal(path)[:2] == (
        errors.EngineNotFoundError,
        f"{path}: what listens there is not Docker",
    )


@pytest.mark.parametrize(
    "data", [b"SSH-2.0-OpenSSH\r\n", http(), http(Api_Version="none"), http("404 Not Found")]
)
def test_other_servers_are_not_docker(answering, data):
    path = answering(data)
    assert refusal(path)[1] == f"{path}: what listens there is not Docker"


def test_socket_of_podman(answering):
    path = answering(
        http(Libpod_API_Version="4.3.1", Api_Version="1.41", Server="Libpod/4.3.1 (linux)")
    )
    assert refusal(path) == (
        errors.EngineNotFoundError,
        f"{path} is the socket of podman, not of Docker",
        "Set engine to podman.",
    )


def test_api_that_is_too_old(answering):
    path = answering(http(Api_Version="1.40"))
    assert refusal(path)[:2] == (
        errors.EngineTooOldError,
        f"{path}: Docker has API 1.40, 1.41 (Docker 20.10) is needed",
    )


def test_proxy_that_denies(answering):
    path = answering(http("403 Forbidden", b'{"message": "not for you"}'))
    assert refusal(path)[:2] == (errors.EngineRefusedError, f"{path}: not for you")


def test_daemon_that_hangs(tmp_path):
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()
        found = refusal(path, timeout=0.1)
    assert found[:2] == (
        errors.EngineTimeoutError,
        f"{path}: the engine did not answer in time",
    )


@pytest.mark.parametrize(("api", "used"), [("1.41", (1, 41)), ("1.99", (1, 51))])
def test_requests_state_a_version_that_is_known(tmp_path, api, used):
    with fake_docker(tmp_path / "d", api=api) as docker:
        found = open_api(docker.path)
        assert found.version == used
        assert found.get("/info") == docker.info


def test_error_of_the_daemon_names_the_request(tmp_path):
    with fake_docker(tmp_path / "d") as docker, pytest.raises(errors.EngineError) as info:
        open_api(docker.path).get("/images/none/json?x=1")
    assert str(info.value) == "Docker: GET /images/none/json: not found"


@pytest.mark.parametrize(
    ("shown", "complete"),
    [
        ("debian:12", "docker.io/library/debian:12"),
        ("localhost:5000/a:1", "localhost:5000/a:1"),
        ("<none>:<none>", None),
        ("sha256:12", "docker.io/library/sha256:12"),
    ],
)
def test_names_as_docker_shows_them(shown, complete):
    assert complete_name(shown) == complete
