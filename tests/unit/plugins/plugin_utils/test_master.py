# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import socket
import struct
import subprocess
import threading
import time
import types

import pytest
from ansible_collections.lockstep.images.plugins.plugin_utils import _master
from ansible_collections.lockstep.images.plugins.plugin_utils._watch import RemoteReader

HELLO, OPENED, REFUSED = 1, 0x80000006, 0x80000002
RECORD = "[1.5, 0, 1, 5, 10]"


class Master:
    """Answers as a master of ssh does: runs the command of one session, or answers with a packet of ``kind``."""

    def __init__(self, path, kind=OPENED, ends=True):
        self.path, self.kind, self.ends = str(path), kind, ends
        self.commands = []
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.bind(self.path)
        self._socket.listen()
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        while True:
            client, _address = self._socket.accept()
            with client:
                self._answer(client)

    def _answer(self, client):
        def packet():
            (size,) = struct.unpack(">I", client.recv(4, socket.MSG_WAITALL))
            return client.recv(size, socket.MSG_WAITALL)

        def send(*numbers):
            client.sendall(struct.pack(f">{len(numbers) + 1}I", 4 * len(numbers), *numbers))

        assert packet() == struct.pack(">II", HELLO, 4)
        send(HELLO, 4)
        session = packet()
        assert session[:36] == struct.pack(">9I", 0x10000002, 0, 0, 0, 0, 0, 0, 0xFFFFFFFF, 0)
        (size,) = struct.unpack(">I", session[36:40])
        assert len(session) == 40 + size
        self.commands.append(session[40:].decode())
        files = [socket.recv_fds(client, 1, 1)[1][0] for _number in range(3)]
        send(self.kind, 0, 7)
        if self.kind == OPENED:
            stdin, stdout, stderr = files
            subprocess.run(
                self.commands[-1],
                shell=True,
                stdin=stdin,
                stdout=stdout,
                stderr=stderr,
                check=False,
            )
        if not self.ends:
            client.recv(1)
        for file in files:
            os.close(file)


@pytest.fixture(name="path")
def fixture_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # the paths of sockets are short
    return "master"


def test_output_of_a_command_is_returned_and_its_errors_are_not(path):
    master = Master(path)
    assert _master.run(path, "echo one; echo two >&2; cat; printf ü") == b"one\n\xc3\xbc"
    assert _master.run(path, "exit 3") == b""
    assert len(master.commands) == 2


@pytest.mark.parametrize("kind", [REFUSED, 0x80000003, HELLO])
def test_master_that_refuses_is_an_error(path, kind):
    Master(path, kind)
    with pytest.raises(OSError, match="the master of ssh answers"):
        _master.run(path, "true")


def test_socket_without_a_master_is_an_error(path):
    with pytest.raises(OSError):
        _master.run(path, "true")
    socket.socket(socket.AF_UNIX).bind(path)
    with pytest.raises(OSError):
        _master.run(path, "true")


def test_command_that_does_not_end_is_left_alone_after_a_while(path):
    Master(path, ends=False)
    begun = time.monotonic()
    with pytest.raises(TimeoutError):
        _master.run(path, "echo x", timeout=0.2)
    assert time.monotonic() - begun < 20


PATHS = [
    ("%(directory)s/abc", "/tmp/cp", "ssh", "/tmp/cp/abc"),
    ("/run/ssh-web-1", "/tmp/cp", "ssh", "/run/ssh-web-1"),
    ("%(directory)s/%%h-%%p", "/tmp/cp", "ssh", None),
    (None, None, "ssh", None),
    ("%(directory)s/abc", "/tmp/cp", "local", None),
]


@pytest.mark.parametrize(("pattern", "directory", "transport", "path"), PATHS)
def test_path_is_that_of_the_connection_plugin(pattern, directory, transport, path):
    options = {"control_path": pattern, "control_path_dir": directory}
    assert _master.socket_of(types.SimpleNamespace(transport=transport, **options)) == path


class Action:
    """An action plugin over ssh; ``started`` are the commands for which a process was started."""

    def __init__(self, path, become=None):
        self.started = []
        self._connection = types.SimpleNamespace(
            transport="ssh",
            become=become,
            control_path=path,
            control_path_dir="/",
            exec_command=lambda command, in_data, sudoable: self._start(command),
        )

    def _start(self, command):
        self.started.append(command)
        return 0, f"{RECORD}/proc/2".encode(), b""

    def _low_level_execute_command(self, command):
        _rc, out, _err = self._connection.exec_command(f"echo '{RECORD}/proc/1'; : {command[:0]}")
        return {"stdout": out.decode().replace("SUCCESS", "")}


def test_reads_go_through_the_master_while_it_answers(path):
    action = Action(path)
    reader = RemoteReader(action, "token", 2.0, 1)
    assert reader.read() == RECORD and len(action.started) == 1  # it is not there yet
    master = Master(path)
    assert reader.read() == RECORD and reader.read() == RECORD
    assert len(master.commands) == 2 and len(action.started) == 1
    master.kind = REFUSED
    assert reader.read() == RECORD and reader.read() == RECORD
    assert len(master.commands) == 3 and len(action.started) == 3


@pytest.mark.parametrize(
    ("become", "commands", "started"),
    [
        ({"prompt": "", "success": "[1.5"}, 2, 0),
        ({"prompt": "", "success": "BECOME"}, 1, 2),  # sudo has refused
        ({"prompt": "password:", "success": "[1.5"}, 0, 2),
    ],
    ids=["no password", "no success", "password"],
)
def test_become_that_needs_more_than_a_command_starts_a_process(path, become, commands, started):
    action, master = Action(path, types.SimpleNamespace(**become)), Master(path)
    reader = RemoteReader(action, "token", 2.0, 1)
    assert reader.read() == RECORD and reader.read() == RECORD
    assert (len(master.commands), len(action.started)) == (commands, started)
