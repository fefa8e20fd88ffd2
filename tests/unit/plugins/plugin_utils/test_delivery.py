# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The action of source=controller, with a host that is a directory: what is asked, sent and run."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest
from ansible.errors import AnsibleConnectionFailure, AnsibleError
from ansible_collections.lockstep.images.plugins.module_utils._image import errors
from ansible_collections.lockstep.images.plugins.module_utils._image.manifest import Descriptor
from ansible_collections.lockstep.images.plugins.module_utils._image.names import Digest
from ansible_collections.lockstep.images.plugins.module_utils._store.errors import TransferError
from ansible_collections.lockstep.images.plugins.module_utils._store.store import ImageStore
from ansible_collections.lockstep.images.plugins.plugin_utils import _carriers
from ansible_collections.lockstep.images.plugins.plugin_utils._carriers import Carrier, way_of
from ansible_collections.lockstep.images.plugins.plugin_utils._delivery import (
    Delivery,
    compresses,
)
from ansible_collections.lockstep.images.plugins.plugin_utils._outbox import (
    Outbox,
    Part,
    batches,
    message,
    parts_of,
)
from ansible_collections.lockstep.images.tests.support import modules
from ansible_collections.lockstep.images.tests.support.fakes import FakeSources
from ansible_collections.lockstep.images.tests.support.images import demo_image, image, layer
from ansible_collections.lockstep.images.tests.support.layout import bad_blobs, blob_path
from ansible_collections.lockstep.images.tests.support.stores import pull, put, whole_tree

NAME = "docker.io/library/app:1"
IMAGE = demo_image("app", "1", size=3000)
PLATFORMS = ["linux/amd64", "linux/arm64"]
FOREIGN = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
BIG, SMALL = (Descriptor("", Digest.of(data), len(data)) for data in (b"big" * 10, b"small"))


class Shell:
    SHELL_FAMILY = "sh"
    tmpdir = None

    def __init__(self, directory):
        self.directory = directory

    def join_path(self, *parts):
        return os.path.join(*parts)

    def quote(self, text):
        return f"'{text}'"


class Connection:
    """A connection whose host is this machine; ``has_stream`` has the method of ssh that the action replaces."""

    become = None

    def __init__(self, directory, transport, has_pipelining=True, args=""):
        self.transport, self.has_pipelining = transport, has_pipelining
        self._shell, self._args = Shell(directory), args

    def get_option(self, name):
        return self._args if name == "ssh_args" else None


class Ssh(Connection):
    calls = 1  # of the method that writes, as after a retry

    def _send_initial_data(self, handle, in_data, process):
        handle.write(in_data)


class Watch:
    """Notes what is counted at the end of each block."""

    def __init__(self):
        self.counted = []

    @contextlib.contextmanager
    def counting(self, count, images):
        yield
        self.counted.append((*count(), images))


class Action:
    """What a carrier needs of an action: commands run in a shell of this machine."""

    _watch = None

    def __init__(self, connection, directory):
        self._connection, self._directory = connection, directory
        self._task = SimpleNamespace(check_mode=False, async_val=0)
        self._display = SimpleNamespace(warning=self._warn)
        self._used_interpreter = f"#!{sys.executable}"
        self.warnings, self.commands, self.noise = [], [], ""

    def _warn(self, text):
        self.warnings.append(text)

    def _compute_environment_string(self):
        return "LC_ALL=C.UTF-8"

    def _low_level_execute_command(self, command, in_data=None):
        self.commands.append(command)
        if in_data and self._connection.transport == "paramiko":
            raise AnsibleError("this module does not support optimized module pipelining")
        if in_data and hasattr(self._connection, "_send_initial_data"):
            handle = io.BytesIO()
            handle.close = lambda: None
            for _call in range(self._connection.calls):
                self._connection._send_initial_data(handle, in_data, None)
            in_data = handle.getvalue()
        done = subprocess.run(
            ["/bin/sh", "-c", self.noise + command],
            input=in_data or b"",
            capture_output=True,
            check=False,
        )
        return {
            "rc": done.returncode,
            "stdout": done.stdout.decode(),
            "stderr": done.stderr.decode(),
        }

    def _make_tmp_path(self):
        made = self._directory / "tmp"
        made.mkdir(mode=0o700)
        return str(made)

    def _transfer_file(self, local, remote):
        with open(local, "rb") as source, open(remote, "wb") as target:
            target.write(source.read())

    def _fixup_perms2(self, paths, execute):
        assert not execute and all(os.path.exists(path) for path in paths)

    def _remove_tmp_path(self, path, force):
        assert force
        subprocess.run(["rm", "-r", path], check=True)


@pytest.fixture(name="origin", scope="module")
def fixture_origin(tmp_path_factory):
    path = tmp_path_factory.mktemp("controller") / "store"
    sources = FakeSources()
    sources.publish(NAME, IMAGE)
    pull(ImageStore(str(path)), sources, NAME, platforms=None)
    return path


def connection_of(way, directory):
    return {
        "copy": lambda: Connection(directory, "local"),
        "stream": lambda: Ssh(directory, "ssh"),
        "chunks": lambda: Connection(directory, "docker"),
        "bundles": lambda: Connection(directory, "podman", has_pipelining=False),
        "refusing": lambda: Connection(directory, "paramiko"),
    }[way]()


def deliver(action, origin, directory, is_check=False, **options):
    """Run the action; modules run on this machine, as a host without requests."""
    ran = []

    def execute(module_name, module_args, task_vars):
        is_dry = action._task.check_mode
        ran.append("check" if is_dry else "real")
        assert module_name == "lockstep.images.image_receive"
        outcome = modules.run("image_receive", check=is_dry, missing=("requests",), **module_args)
        return outcome.result

    action._task.check_mode = is_check
    given = {"name": [NAME], "store": str(directory / "store"), "source": "controller"}
    given = {**given, "source_store": str(origin), "platform": PLATFORMS, **options}
    return Delivery(action, execute, given, {}).run(), ran


def test_host_gets_what_it_lacks_and_check_mode_reports_it(origin, tmp_path):
    action = Action(connection_of("stream", tmp_path), tmp_path)
    check, ran = deliver(action, origin, tmp_path, is_check=True)
    assert ran == ["check"] and not (tmp_path / "store").exists() and not action.commands
    first, ran = deliver(action, origin, tmp_path)
    assert ran == ["check", "real"] and not first.get("failed"), first.get("msg")
    assert all(first[key] == check[key] for key in ("changed", "images", "actions", "diff"))
    assert first["stats"]["via"] == "stream"
    assert first["stats"]["bytes_sent"] == first["stats"]["bytes_to_fetch"] > 0
    assert first["stats"]["requests"] == {} and first["stats"]["bytes_resumed"] == 0
    second, ran = deliver(action, origin, tmp_path)
    assert ran == ["check"] and not second["changed"] and second["stats"]["bytes_sent"] == 0
    assert bad_blobs(tmp_path / "store") == []


def test_check_mode_of_a_store_that_is_there_writes_nothing_either(origin, tmp_path):
    action = Action(connection_of("stream", tmp_path), tmp_path)
    put(tmp_path / "store", demo_image("tool", "1", size=20), "docker.io/library/tool:1")
    before = whole_tree(tmp_path)
    first, second = (deliver(action, origin, tmp_path, is_check=True)[0] for _run in range(2))
    assert first == second and first["changed"] and not action.commands
    assert whole_tree(tmp_path) == before


@pytest.mark.parametrize("way", ["copy", "stream", "chunks", "bundles", "refusing"])
def test_each_connection_carries_a_blob_in_its_way(origin, tmp_path, way):
    action = Action(connection_of(way, tmp_path), tmp_path)
    assert carry(action, origin, tmp_path).via == ("bundles" if way == "refusing" else way)
    [part] = (tmp_path / "store/.staging").glob("*.part")
    digest = IMAGE.images[0].layers[0].digest
    assert part.read_bytes() == blob_path(origin, digest).read_bytes()
    assert not (tmp_path / "tmp").exists()
    assert all("\n" not in command for command in action.commands)


def test_only_missing_bytes_are_sent(origin, tmp_path):
    action = Action(connection_of("stream", tmp_path), tmp_path)
    whole, _ran = deliver(action, origin, tmp_path)
    blobs = sorted((one["size"], one["digest"]) for one in whole["actions"] if "source" in one)
    lost = blob_path(tmp_path / "store", blobs[-1][1])
    raw = lost.read_bytes()
    lost.unlink()
    stem = tmp_path / "store/.staging" / blobs[-1][1].replace(":", "-")
    stem.with_suffix(".part").write_bytes(raw[:1000])
    stem.with_suffix(".journal").write_bytes(b"0 1000\n")
    again, _ran = deliver(action, origin, tmp_path)
    assert again["changed"]
    assert again["stats"]["bytes_sent"] == len(raw) - 1000
    assert again["stats"]["bytes_resumed"] == 1000
    assert lost.read_bytes() == raw


@pytest.mark.parametrize("way", ["stream", "chunks", "bundles"])
def test_bytes_are_counted_while_they_are_sent(origin, tmp_path, way):
    action = Action(connection_of(way, tmp_path), tmp_path)
    action._watch = Watch()
    result, _ran = deliver(action, origin, tmp_path)
    [(sent, whole, images)] = action._watch.counted
    assert (whole, images) == (result["stats"]["bytes_sent"], 1)
    assert whole <= sent < whole + 2000  # the lines between the pieces


def test_copy_on_this_machine_counts_nothing(origin, tmp_path):
    action = Action(connection_of("copy", tmp_path), tmp_path)
    action._watch = Watch()
    result, _ran = deliver(action, origin, tmp_path)
    assert result["changed"] and action._watch.counted == []


def test_details_are_left_out_as_the_module_does(origin, tmp_path):
    action = Action(connection_of("stream", tmp_path), tmp_path)
    result, _ran = deliver(action, origin, tmp_path, is_check=True, details="no")
    assert "actions" not in result and "layers" not in result["images"][0]


def test_lost_layer_of_the_controller_is_an_error_before_any_host_is_touched(tmp_path):
    sources = FakeSources()
    sources.publish(NAME, IMAGE)
    pull(ImageStore(str(tmp_path / "own")), sources, NAME, platforms=None)
    action = Action(connection_of("stream", tmp_path), tmp_path)
    digest = IMAGE.images[1].layers[0].digest
    blob_path(tmp_path / "own", digest).unlink()
    before = whole_tree(tmp_path)
    for wanted in (PLATFORMS, [], ["all"]):
        with pytest.raises(
            errors.NotInStoreError, match=f"{NAME}: .*own on the controller .*{digest}"
        ):
            deliver(action, tmp_path / "own", tmp_path, platform=wanted)
    assert not action.commands and whole_tree(tmp_path) == before
    with pytest.raises(errors.NotInStoreError, match=r"does not hold docker\.io/library/other:1"):
        deliver(action, tmp_path / "own", tmp_path, name=["other:1"])


def test_corrupt_layer_of_the_controller_is_named_and_gets_no_name_on_the_host(tmp_path):
    sources = FakeSources()
    sources.publish(NAME, IMAGE)
    pull(ImageStore(str(tmp_path / "own")), sources, NAME, platforms=None)
    path = blob_path(tmp_path / "own", IMAGE.images[0].layers[0].digest)
    path.write_bytes(b"x" * path.stat().st_size)
    action = Action(connection_of("stream", tmp_path), tmp_path)
    with pytest.raises(errors.DigestMismatchError, match=str(path)):
        deliver(action, tmp_path / "own", tmp_path)
    assert bad_blobs(tmp_path / "store") == []
    assert json.loads((tmp_path / "store/index.json").read_bytes())["manifests"] == []


def test_foreign_layer_is_left_out_with_the_warning_of_every_pull(tmp_path):
    made = layer({"big": b"b" * 100}, media_type=FOREIGN)
    base = layer({"app": b"a" * 100})
    item = image([base, made])
    put(tmp_path / "own", item, NAME)
    blob_path(tmp_path / "own", made.digest).unlink()
    action = Action(connection_of("stream", tmp_path), tmp_path)
    result, _ran = deliver(action, tmp_path / "own", tmp_path, platform=["linux/amd64"])
    assert not result.get("failed") and result["stats"]["bytes_sent"] == len(base.blob)
    assert "1 foreign layers are left out" in str(result["warnings"]), result["warnings"]
    assert not blob_path(tmp_path / "store", made.digest).exists()
    again, ran = deliver(action, tmp_path / "own", tmp_path, platform=["linux/amd64"])
    assert ran == ["check"] and not again["changed"]


def test_bytes_that_change_on_the_way_are_sent_once_more(origin, tmp_path, monkeypatch):
    sent = _carriers.message_with
    tries = []

    def broken(*args):
        tries.append(1)
        pieces = list(sent(*args))
        return [*pieces[:2], b"x" * len(pieces[2]), *pieces[3:]] if len(tries) == 1 else pieces

    monkeypatch.setattr(_carriers, "message_with", broken)
    action = Action(connection_of("stream", tmp_path), tmp_path)
    result, ran = deliver(action, origin, tmp_path)
    assert not result.get("failed") and ran == ["check", "real"] * 2
    assert bad_blobs(tmp_path / "store") == []


def test_ten_thousand_blobs_are_one_request_on_standard_input():
    blobs = [Descriptor("", Digest.of(str(number).encode()), 5) for number in range(10_000)]
    request = message("take", "/store", blobs)
    assert request.count(b"\n") == 2 and len(request) < 1_000_000
    assert len(parts_of(blobs, {})) == 10_000


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"all_tags": True}, "all_tags asks a registry"),
        ({"referrers": "yes"}, "referrers asks a registry"),
        ({"pull": "missing"}, "pull=missing does not work"),
        ({"lock": "not a lock", "name": []}, "lock: is not a lock file"),
        ({"name": ["UPPER:1"]}, "UPPER"),
    ],
)
def test_options_that_need_a_registry_are_refused(origin, tmp_path, options, text):
    action = Action(connection_of("stream", tmp_path), tmp_path)
    with pytest.raises(errors.InputError, match=text):
        deliver(action, origin, tmp_path, **options)
    assert not action.commands


def test_async_is_refused(origin, tmp_path):
    action = Action(connection_of("stream", tmp_path), tmp_path)
    action._task.async_val = 60
    with pytest.raises(errors.InputError, match="bytes come from the controller"):
        deliver(action, origin, tmp_path)


def test_connection_that_cannot_carry_content_is_named():
    connection = Connection("/", "winrm")
    connection._shell.SHELL_FAMILY = "powershell"
    with pytest.raises(errors.LockstepError, match="winrm cannot carry content") as caught:
        way_of(connection)
    assert caught.value.kind == "connection-unsupported"


def carry(action, origin, directory):
    """Send one blob to a host."""
    path = blob_path(origin, IMAGE.images[0].layers[0].digest)
    blob = Descriptor("", Digest.parse(IMAGE.images[0].layers[0].digest), path.stat().st_size)
    carrier = Carrier(action, sys.executable, 5)
    outbox = Outbox(ImageStore(str(origin)), False)
    carrier.send(outbox, str(directory / "store"), [Part(blob, 0, blob.size)])
    return carrier


def test_text_of_a_login_shell_before_the_answer_is_ignored(origin, tmp_path):
    action = Action(connection_of("stream", tmp_path), tmp_path)
    action.noise = "echo 'Welcome to this host'; printf 'no line end'; "
    assert carry(action, origin, tmp_path).via == "stream"


def test_core_that_does_not_call_the_stream_is_noticed_and_chunks_are_sent(
    origin, tmp_path, monkeypatch
):
    connection = connection_of("stream", tmp_path)
    action = Action(connection, tmp_path)
    run = Action._low_level_execute_command

    def other_name(self, command, in_data=None):
        connection = self._connection
        self._connection = Connection(tmp_path, "ssh")
        try:
            return run(self, command, in_data)
        finally:
            self._connection = connection

    monkeypatch.setattr(Action, "_low_level_execute_command", other_name)
    assert carry(action, origin, tmp_path).via == "chunks"
    assert len(action.warnings) == 1 and "sent in chunks" in action.warnings[0]


def test_host_without_an_answer_is_an_error_with_what_it_said(origin, tmp_path):
    action = Action(connection_of("chunks", tmp_path), tmp_path)
    action.noise = "echo 'sudo: sorry, you must have a tty to run sudo' >&2; exit 1; "
    with pytest.raises(errors.LockstepError, match=r"rc 1\): sudo: sorry") as caught:
        carry(action, origin, tmp_path)
    assert caught.value.kind == "transfer-failed" and "requiretty" in caught.value.hint


@pytest.mark.parametrize("way", ["stream", "chunks", "bundles"])
def test_host_without_that_python_is_an_error_and_nothing_is_left_there(origin, tmp_path, way):
    action = Action(connection_of(way, tmp_path), tmp_path)
    carrier = Carrier(action, "/no/python", 5)
    blob = Descriptor("", Digest.parse(IMAGE.images[0].layers[0].digest), 10)
    with pytest.raises(TransferError, match=r"\(rc 127\): .*/no/python") as caught:
        carrier.send(Outbox(ImageStore(str(origin)), False), None, [Part(blob, 0, 10)])
    assert caught.value.kind == "transfer-failed" and "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("way", ["stream", "chunks", "bundles"])
def test_wrong_password_of_sudo_is_the_error_of_ansible(origin, tmp_path, monkeypatch, way):
    def refuse(_self, _command, in_data=None):
        raise AnsibleError("Incorrect sudo password")

    monkeypatch.setattr(Action, "_low_level_execute_command", refuse)
    with pytest.raises(AnsibleError, match="Incorrect sudo password"):
        carry(Action(connection_of(way, tmp_path), tmp_path), origin, tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("way", ["stream", "chunks", "bundles"])
def test_nothing_is_executed_from_a_directory_of_the_host(origin, tmp_path, way):
    """So a /tmp with noexec does not matter."""
    action = Action(connection_of(way, tmp_path), tmp_path)
    carry(action, origin, tmp_path)
    [command] = action.commands
    assert command.startswith(f"LC_ALL=C.UTF-8 {sys.executable} -I -S -c ")
    assert command.count(str(tmp_path)) == (way == "bundles")  # its standard input
    assert (f"< '{tmp_path}" in command) == (way == "bundles")


def test_command_shows_no_digest(origin, tmp_path):
    """Ansible shows commands with -vvv, also those of tasks with no_log."""
    action = Action(connection_of("stream", tmp_path), tmp_path)
    deliver(action, origin, tmp_path)
    assert action.commands and not any("sha256" in command for command in action.commands)


def test_second_of_two_tasks_for_a_host_sends_nothing(origin, tmp_path):
    """As with delegate_to, a loop or two plays: each asks what the host lacks when it begins."""
    sent = []
    for _task in range(2):
        action = Action(connection_of("chunks", tmp_path), tmp_path)
        result, _ran = deliver(action, origin, tmp_path)
        sent.append((result["changed"], result["stats"]["bytes_sent"] > 0))
    assert sent == [(True, True), (False, False)]


def test_error_of_the_host_keeps_its_kind(origin, tmp_path):
    (tmp_path / "store").mkdir()
    (tmp_path / "store/notes").write_text("mine")
    action = Action(connection_of("stream", tmp_path), tmp_path)
    with pytest.raises(errors.LockstepError) as caught:
        carry(action, origin, tmp_path)
    assert caught.value.kind == "not-a-layout"


def test_retried_connection_sends_everything_again(origin, tmp_path, monkeypatch):
    class Handle(io.BytesIO):
        def close(self):
            pass

    connection = connection_of("stream", tmp_path)
    action = Action(connection, tmp_path)
    run = Action._low_level_execute_command

    def twice(self, command, in_data=None):
        send = self._connection._send_initial_data
        first = Handle()
        send(first, in_data, None)
        assert len(first.getvalue()) > 3000
        return run(self, command, in_data)

    monkeypatch.setattr(Action, "_low_level_execute_command", twice)
    assert carry(action, origin, tmp_path).via == "stream"


def test_client_that_does_not_end_is_a_connection_failure():
    class Process:
        def wait(self, timeout):
            raise subprocess.TimeoutExpired("ssh", timeout)

    with pytest.raises(AnsibleConnectionFailure):
        _carriers._require_ended(Process(), BrokenPipeError())


@pytest.mark.parametrize(
    ("args", "is_compressed"),
    [
        ("-C -o ControlMaster=auto -o ControlPersist=60s", True),
        ("-o Compression=yes", True),
        ("-o ControlMaster=auto", False),
        ("", False),
    ],
)
def test_compression_is_found_in_the_options_of_ssh(args, is_compressed):
    assert compresses(Connection("/", "ssh", args=args)) is is_compressed


def test_smallest_blobs_are_sent_first_and_without_the_staged_bytes():
    staged = {BIG.digest: [(5, 10), (20, 25)]}
    assert parts_of([BIG, SMALL], staged) == [
        Part(SMALL, 0, 5),
        Part(BIG, 0, 5),
        Part(BIG, 10, 20),
        Part(BIG, 25, 30),
    ]


def test_batches_are_within_their_limit_and_miss_no_byte():
    parts = [Part(SMALL, 0, 5), Part(BIG, 0, 30)]
    found = list(batches(parts, 8))
    sizes = [sum(part.end - part.first for part in batch) for batch in found]
    assert sizes == [8, 8, 8, 8, 3]
    assert hashlib.sha256(str(found).encode()).hexdigest()
    assert [part.first for batch in found for part in batch if part.blob == BIG] == [
        0,
        3,
        11,
        19,
        27,
    ]
