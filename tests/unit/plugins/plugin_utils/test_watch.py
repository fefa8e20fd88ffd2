# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import functools
import json
import os
import signal
import threading
import time
import types

import pytest
from ansible import constants as C
from ansible_collections.lockstep.images.plugins.plugin_utils import _action, _watch
from ansible_collections.lockstep.images.plugins.plugin_utils._progress import Record, State
from ansible_collections.lockstep.images.plugins.plugin_utils._watch import (
    Board,
    CountReader,
    LocalReader,
    RemoteReader,
    Watch,
)

MB = 1_000_000


class Action:
    """The parts of an action plugin that a watch uses; its connection answers with ``answers`` in turn."""

    def __init__(self, *answers, transport="ssh", become=None, **task):
        options = {"async_val": 0, "check_mode": False, "no_log": False, "run_once": False, **task}
        self._task = types.SimpleNamespace(_uuid="task", **options)
        self._connection = types.SimpleNamespace(
            transport=transport, become=become, exec_command=None
        )
        self._display = types.SimpleNamespace(display=lambda line, stderr: self.shown.append(line))
        self.shown, self.commands, self.answers = [], [], list(answers)

    def _low_level_execute_command(self, command):
        self.commands.append(command)
        if self.answers and isinstance(self.answers[0], Exception):
            raise self.answers.pop(0)
        return {"rc": 0, "stdout": self.answers.pop(0) if self.answers else ""}


class Reader:
    """Reads these records, the last one again and again."""

    wait = 0.0

    def __init__(self, *records):
        self.records = list(records)

    def read(self):
        record = self.records.pop(0) if len(self.records) > 1 else self.records[0]
        if isinstance(record, Exception):
            raise record
        return record


@pytest.fixture(autouse=True)
def quick(monkeypatch, tmp_path):
    monkeypatch.setattr(_watch, "_TICK", 0.01)
    monkeypatch.setattr(C, "DEFAULT_LOCAL_TMP", str(tmp_path))


def eventually(function):
    deadline = time.monotonic() + 30
    while not function():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def watching(action, *records, hosts=1, host="web-1"):
    watch = Watch(action, host, hosts, interval=0.02)
    watch._reader = Reader(*records)
    watch.start()
    return watch


def threads_of(watch):
    return [one for one in threading.enumerate() if getattr(one, "_target", None) == watch._run]


def test_lines_are_shown_until_the_end_and_none_after_it():
    action = Action()
    watch = watching(action, "[1.0, 0, 2, 5000000, 10000000]", "[2.0, 1, 2, 8000000, 10000000]")
    eventually(lambda: len(action.shown) == 2)
    watch.stop(is_ok=True)
    watch._show("late")
    assert action.shown == [
        "web-1: 0 of 2 images, 5.0 of 10.0 MB (50 %)",
        "web-1: 1 of 2 images, 8.0 of 10.0 MB (80 %), 4.0 MB/s, 1 s left",
    ]


def test_bytes_that_the_controller_counts_are_shown_instead_of_the_record_of_the_module(
    monkeypatch,
):
    action, clock, sent = Action(), [100.0], [2_000_000]
    watch = watching(action, "")
    # The clock of this test, so that it waits for no second of transfer.
    monkeypatch.setattr(_watch, "CountReader", functools.partial(Counting, clock))
    with watch.counting(lambda: (sent[0], 10_000_000), images=2):
        clock[0] += 1.0
        eventually(lambda: len(action.shown) == 1)
        sent[0], clock[0] = 8_000_000, clock[0] + 1.0
        eventually(lambda: len(action.shown) == 2)
    watch.stop(is_ok=True)
    assert isinstance(watch._reader, Reader)
    assert [line.split(" (")[0] for line in action.shown] == [
        "web-1: 0 of 2 images, 2.0 of 10.0 MB",
        "web-1: 0 of 2 images, 8.0 of 10.0 MB",
    ]


class Counting(CountReader):
    """Takes the time of a list."""

    def __init__(self, clock, *args):
        super().__init__(*args)
        self._clock, self._begun, self.wait = clock, clock[0], 0.0

    def read(self):
        return json.dumps([self._clock[0] - self._begun, *json.loads(super().read())[1:]])


def test_record_of_a_count_has_the_form_of_that_of_a_module():
    record = Record.parse(CountReader(lambda: (5, 10), images=3).read())
    assert record[1:] == (0, 3, 5, 10) and record.elapsed >= 0


def test_transfer_of_less_than_a_second_shows_nothing():
    action = Action()
    watch = watching(action, "[0.9, 0, 2, 5, 10]")
    eventually(lambda: watch._meter.state.bytes == 5)
    watch.stop(is_ok=True)
    assert action.shown == []


def test_thread_survives_every_error_and_ends_with_the_task():
    action = Action()
    errors = [ValueError("wrong"), OSError(28, "full"), RuntimeError("gone")]
    watch = watching(action, *errors, "nonsense", "[1.0, 0, 0, 5, 10]")
    eventually(lambda: action.shown)
    watch.stop(is_ok=False)
    eventually(lambda: not threads_of(watch))


def test_display_that_raises_does_not_end_the_thread():
    action = Action()
    action._display.display = None
    watch = watching(action, "[1.0, 0, 0, 5, 10]", "[2.0, 0, 0, 6, 10]", "[3.0, 0, 0, 7, 10]")
    eventually(lambda: watch._meter.state.bytes == 7)
    assert threads_of(watch)
    watch.stop(is_ok=True)


def test_four_hosts_share_a_line_of_one_of_the_workers():
    action = Action()
    watches = [
        watching(action, "[1.0, 0, 1, 5, 10]", hosts=4, host=f"web-{number}") for number in range(4)
    ]
    eventually(lambda: any("20 of 40 B" in line for line in action.shown))
    for watch in watches[:3]:
        watch.stop(is_ok=True)
    eventually(
        lambda: any(line.startswith("3 of 4 hosts have it, 35 of 40 B") for line in action.shown)
    )
    watches[3].stop(is_ok=False)
    assert all(" of 4 hosts have it, " in line for line in action.shown)


def test_line_that_a_stopped_watch_would_not_show_is_left_to_another_one():
    action = Action()
    watch = watching(action, "[1.0, 0, 1, 5, 10]", hosts=4)
    eventually(lambda: action.shown)
    with watch._showing:  # as while it stops
        watch._stopped.set()
        shown = list(action.shown)
        other = Board("task", "web-2", 4, 0.02)
        other.put(State("web-2", 0, 1, 6, 10, 1.0))
    eventually(lambda: not threads_of(watch))
    other.tick(time.monotonic() + 1000, shown.append)
    assert shown[-1].startswith("0 of 4 hosts have it, 11 of 20 B")


def test_board_shows_one_line_in_an_interval():
    boards = [Board("task", f"web-{number}", 50, 2.0) for number in range(50)]
    for number, board in enumerate(boards):
        board.put(State(f"web-{number}", 0, 1, number * MB, 50 * MB, 1.0))
    shown = []
    for tenth in range(100):
        boards[0].put(State("web-0", 0, 1, tenth * MB, 500 * MB, 1.0))
        boards[tenth % 50].tick(100 + tenth / 10, shown.append)
    assert len(shown) == 5
    assert shown[0].startswith("0 of 50 hosts have it, ")


def test_board_whose_directory_cannot_be_written_shows_nothing(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(C, "DEFAULT_LOCAL_TMP", str(tmp_path / "file"))
    action = Action()
    watch = watching(action, "[1.0, 0, 1, 5, 10]", hosts=4)
    eventually(lambda: watch._meter.state.bytes == 5)
    watch.stop(is_ok=True)
    assert action.shown == []


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no device that is always full")
def test_line_that_cannot_be_noted_on_a_full_disk_is_not_shown():
    board = Board("task", "web-1", 4, 2.0)
    board.put(State("web-1", 0, 1, 5, 10, 1.0))
    # Otherwise each worker would show it, twice a second.
    os.symlink("/dev/full", os.path.join(board._directory, "tick"))
    shown = []
    for now in range(3):
        with pytest.raises(OSError):
            board.tick(float(now), shown.append)
    assert shown == []


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no device that is always full")
def test_state_that_does_not_fit_on_the_disk_stops_no_watch():
    action = Action()
    board = Board("task", "web-1", 4, 2.0)
    os.mkdir(board._directory)
    os.symlink("/dev/full", f"{board._path}.new")
    watch = watching(action, "[1.0, 0, 1, 5, 10]", "[2.0, 0, 1, 6, 10]", hosts=4)
    eventually(lambda: watch._meter.state.bytes == 6)
    assert threads_of(watch)
    watch.stop(is_ok=True)
    eventually(lambda: not threads_of(watch))
    assert action.shown == []


def test_board_ignores_files_that_are_not_states(tmp_path):
    board = Board("task", "web-1", 4, 2.0)
    board.put(State("web-1", 0, 1, 5, 10, 1.0))
    for name, text in (("0" * 32, ""), ("1" * 32, "[1"), ("2" * 32, "3"), ("tick", "nonsense")):
        (tmp_path / "lockstep-task" / name).write_text(text)
    shown = []
    board.tick(1.0, shown.append)
    assert shown == ["0 of 4 hosts have it, 5 of 10 B (50 %); last is web-1 (50 %)"]


RECORD = "[1.5, 0, 1, 5, 10]"


def test_remote_record_is_read_as_the_user_of_the_task_with_a_connection_of_its_own():
    become = types.SimpleNamespace(name="sudo")
    action = Action(f"{RECORD:99}/proc/123\r\n", f"{RECORD:99}/proc/123\n", become=become)
    reader = RemoteReader(action, "token", 2.0, 1)
    own = reader._action._connection
    assert own is not action._connection and own.become is not become
    assert reader.read().strip() == RECORD and reader.read().strip() == RECORD
    first, second = reader._action.commands
    assert "LOCKSTEP_PROGRESS_ID=token /proc/[0-9]*/environ" in first
    assert "LOCKSTEP_PROGRESS_ID=token /proc/123/environ" in second


@pytest.mark.parametrize("answer", ["", "Welcome]\n", "]/proc/x", f"{RECORD}/etc/shadow"])
def test_answer_without_a_record_makes_the_next_read_search_again(answer):
    reader = RemoteReader(Action(f"{RECORD}/proc/1", answer, ""), "token", 2.0, 1)
    assert reader.read() == RECORD and reader.read() == "" and reader.read() == ""
    assert "/proc/[0-9]*/environ" in reader._action.commands[-1]


@pytest.mark.parametrize(("hosts", "wait"), [(1, 2), (3, 2), (12, 8), (50, 30), (1000, 30)])
def test_many_hosts_are_read_less_often_and_not_all_at_once(hosts, wait):
    reader = RemoteReader(Action(), "token", 2.0, hosts)
    assert 2 <= reader.first <= wait
    reader.read()
    assert reader.wait == pytest.approx(wait, abs=0.5)


@pytest.mark.parametrize(
    ("hosts", "seconds"),
    [(1, 0.5), (3, 0.5), (4, 1.0), (12, 1.0), (32, 2.0), (50, 3.0), (1000, 3.0)],
)
def test_each_of_many_hosts_looks_less_often(hosts, seconds, monkeypatch):
    monkeypatch.setattr(_watch, "_TICK", 0.5)
    assert _watch.tick_of(hosts) == pytest.approx(seconds, abs=0.2)
    assert LocalReader("token", hosts).wait == _watch.tick_of(hosts)


@pytest.mark.parametrize(("took", "wait"), [(0.2, 1.8), (2.0, 2.0), (5.0, 5.0), (60.0, 10.0)])
def test_slow_read_is_repeated_after_the_time_it_took(took, wait, monkeypatch):
    clock = iter([0.0, took])
    monkeypatch.setattr(_watch, "time", types.SimpleNamespace(monotonic=lambda: next(clock)))
    reader = RemoteReader(Action(), "token", 2.0, 1)
    reader.read()
    assert reader.wait == pytest.approx(wait)


def test_local_record_is_that_of_the_descendant_with_the_token(tmp_path, monkeypatch):
    children = {os.getpid(): "1 2 3", 1: "", 2: "5", 5: "4"}
    for process, started in children.items():
        (tmp_path / f"{process}" / "task" / "7").mkdir(parents=True)
        (tmp_path / f"{process}" / "task" / "7" / "children").write_text(started)
    for number, token in ((1, "other"), (5, "token"), (4, "token"), (6, "token")):
        (tmp_path / f"{number}" / "fd").mkdir(parents=True, exist_ok=True)
        (tmp_path / f"{number}" / "environ").write_text(f"A=b\0LOCKSTEP_PROGRESS_ID={token}\0")
    (tmp_path / "4" / "fd" / "200").write_text("record")
    (tmp_path / "6" / "fd" / "200").write_text("of another process")
    monkeypatch.setattr(_watch, "_PROC", str(tmp_path))
    reader = LocalReader("token", 1)
    assert reader.read() == "record" and reader.read() == "record"
    os.unlink(tmp_path / "4" / "fd" / "200")
    assert reader.read() == "" and reader.read() == ""


@pytest.mark.parametrize(
    "task",
    [{"async_val": 60}, {"check_mode": True}, {"no_log": True}],
    ids=lambda one: next(iter(one)),
)
def test_task_without_progress_is_not_watched(task):
    assert _action.watch_of(Action(**task), {}) is None


@pytest.mark.parametrize(
    ("task", "hosts", "has_board"), [({}, 3, False), ({}, 4, True), ({"run_once": True}, 50, False)]
)
def test_number_of_hosts_is_that_of_the_batch(task, hosts, has_board):
    watch = _action.watch_of(Action(**task), {"ansible_play_batch": ["host"] * hosts})
    watch.stop(is_ok=True)
    assert bool(watch._board) is has_board


def test_connection_that_cannot_be_copied_means_no_lines_and_no_error():
    action = Action()
    action._connection = types.SimpleNamespace()
    assert _action.watch_of(action, {}) is None


def test_environment_turns_it_off(monkeypatch):
    monkeypatch.setenv("LOCKSTEP_PROGRESS", "0")
    assert _action.watch_of(Action(), {}) is None


def test_worker_ends_when_the_playbook_is_gone(monkeypatch):
    ended = threading.Event()
    monkeypatch.setattr(_watch, "_end_worker", ended.set)
    watch = watching(Action(), "")
    monkeypatch.setattr(_watch.os, "getppid", lambda: watch._parent + 1)
    assert ended.wait(30)
    watch.stop(is_ok=False)


def test_worker_ends_although_its_main_thread_waits(monkeypatch):
    ended = threading.Event()
    monkeypatch.setattr(_watch, "_end_worker", ended.set)
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        watch = watching(Action(), "")
        signal.signal(signal.SIGTERM, lambda *_args: None)  # the main thread does not come to it
        os.kill(os.getpid(), signal.SIGTERM)
        assert ended.wait(30)
        watch.stop(is_ok=False)
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
        assert signal.set_wakeup_fd(-1) == -1
    finally:
        signal.signal(signal.SIGTERM, before)
