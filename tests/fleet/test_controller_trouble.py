# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Content over the connection of Ansible when something is wrong: with hosts, with sshd, and with whoever ends the run."""

from __future__ import annotations

import os
import random
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._store.partial import read_journal
from ansible_collections.lockstep.images.tests.support import images, layout, modules
from ansible_collections.lockstep.images.tests.support.cells import (
    Cell,
    Stock,
    differences,
    files_below,
    make_cell,
    make_stock,
    of_way,
    play_of,
    task_of,
)
from ansible_collections.lockstep.images.tests.support.fleet import PULL, SYNC, Registry
from ansible_collections.lockstep.images.tests.support.playbook import PlayRunner
from ansible_collections.lockstep.images.tests.support.stores import whole_tree

Runner = Callable[[str], PlayRunner]
SIZE = 24_000_000  # bytes of the large layer
RATE = 8_000_000  # bytes a second of a slow line
# Passes the bytes of a client to the host at this rate.
SLOW_LINE = f"""
import os, time
while data := os.read(0, 65536):
    time.sleep(len(data) / {RATE})
    while data:
        data = data[os.write(1, data):]
"""


@pytest.fixture(scope="module", name="large")
def fixture_large(workspace: Path, registry_plain: Registry) -> Stock:
    """An image with one large layer that does not compress."""
    (workspace / "large").mkdir()
    noise = random.Random(1).randbytes(SIZE)
    item = images.index(
        images.image([images.layer({"noise": data}, compression=None)], platform)
        for platform, data in (("linux/amd64", noise), ("linux/arm64", noise[:100]))
    )
    return make_stock(workspace / "large", registry_plain, {"lockstep/large": item})


def slowly(cell: Cell) -> Cell:
    """Return the same host behind a slow line."""
    before, proxy = cell.variables["ansible_ssh_common_args"].split(" -o ProxyCommand=")
    slow = f"{shlex.quote(sys.executable)} -c {shlex.quote(SLOW_LINE)} | {shlex.split(proxy)[0]}"
    more = f"{before} -o ProxyCommand={shlex.quote(slow)}"
    return Cell({**cell.variables, "ansible_ssh_common_args": more}, cell.home)


def largest_part(stock: Stock) -> str:
    """Return the name of the largest blob while it is incomplete."""
    path = max((stock.store / "blobs/sha256").iterdir(), key=lambda one: one.stat().st_size)
    return f"sha256-{path.name}.part"


def make_foreign(store: Path, _part: str) -> None:
    store.mkdir()
    (store / "notes.txt").write_text("mine")


def make_file(store: Path, _part: str) -> None:
    store.write_text("mine")


def make_link(store: Path, part: str) -> None:
    (store.with_name("victim")).write_text("precious")
    (store / ".staging").mkdir(parents=True)
    (store / ".staging" / part).symlink_to(store.with_name("victim"))


def make_pipe(store: Path, part: str) -> None:
    (store / ".staging").mkdir(parents=True)
    os.mkfifo(store / ".staging" / part)


def make_nothing(_store: Path, _part: str) -> None:
    pass


# How a host gets its trouble, its variables, the kind of the error, and what the message names.
TROUBLES: dict[str, tuple[Callable[[Path, str], None], dict[str, Any], str, str]] = {
    "foreign": (make_foreign, {}, "not-a-layout", "{store}"),
    "file": (make_file, {}, "not-a-layout", "{store}"),
    "link": (make_link, {}, "store-access", "{part}"),
    "pipe": (make_pipe, {}, "store-access", "{part}"),
    "platform": (make_nothing, {"asked": ["linux/s390x"]}, "invalid-lock", "linux/s390x"),
    "controller": (make_nothing, {"origin": "/proc/none"}, "not-in-store", "/proc/none"),
}


def test_trouble_of_a_host_is_one_sentence_and_changes_nothing(
    stock: Stock, directory: Path, runner: Runner
) -> None:
    temporary = directory / "tmp"
    temporary.mkdir()
    cell = make_cell(directory / "cell", environment={"TMPDIR": os.fspath(temporary)})
    run, part, hosts, before = runner("2.19"), largest_part(stock), {}, {}
    for name, (make, variables, _kind, _words) in TROUBLES.items():
        home = directory / name
        home.mkdir()
        make(home / "store", part)
        hosts[name] = {**of_way("root", cell, home), **variables}
        before[name] = whole_tree(home)
        (home / "remote").mkdir()
    lost = {"ansible_python_interpreter": "/nonexistent/python"}
    hosts["python"] = {**of_way("root", cell, directory / "python"), **lost}
    hosts["good"] = of_way("root", cell, directory / "good")
    task = task_of(
        stock,
        platform="{{ asked | default(omit) }}",
        source_store=f"{{{{ origin | default('{stock.store}') }}}}",
    )
    done = run(play_of(task), run.inventory(hosts))
    failed = {one.host: one.result for one in done.failures}
    assert {*failed} == {*TROUBLES, "python"}, done.output
    assert "/nonexistent/python" in str(failed.pop("python"))
    for name, result in failed.items():
        _make, _variables, kind, words = TROUBLES[name]
        named = words.format(store=directory / name / "store", part=part[7:-5])
        assert (result["error"]["kind"], result["changed"]) == (kind, False), result
        assert named in result["msg"] and "\n" not in result["msg"], result
        if kind == "store-access":  # what was sent before it stays, without a name
            assert list((directory / name / "store/blobs").rglob("*-*")) == []
            assert layout.names(directory / name / "store") == {}
            assert (directory / "link/victim").read_text() == "precious"
        else:
            (directory / name / "remote").rmdir()
            assert whole_tree(directory / name) == before[name], name
    assert differences(stock.store, directory / "good/store") == []
    assert list(temporary.iterdir()) == []
    assert files_below(*(directory / name / "remote" for name in hosts)) == []


def test_login_that_talks_and_sshd_with_one_session_change_nothing(
    stock: Stock, directory: Path, runner: Runner
) -> None:
    def one_session(config: str) -> str:
        return config.replace("MaxSessions 100", "MaxSessions 1")

    cell = slowly(make_cell(directory / "cell", one_session))
    assert "MaxSessions 1\n" in (directory / "cell/sshd_config").read_text()
    talk = f"echo Welcome; printf 'no line end'; echo >> {directory}/logins\n"
    (directory / "cell/home/.bashrc").write_text(talk)
    run = runner("2.19")
    inventory = run.inventory({"one": of_way("root", cell, directory)})
    progress = {"LOCKSTEP_PROGRESS": "0.1"}
    first, second = (
        run(play_of(task_of(stock)), inventory, environment=progress).ok().one("Sync")
        for _run in range(2)
    )
    assert len((directory / "logins").read_text()) > 2
    assert (first["stats"]["via"], second["stats"]["bytes_sent"]) == ("stream", 0)
    assert first["changed"] and not second["changed"]
    assert differences(stock.store, directory / "store") == []


def test_task_runs_where_it_is_delegated_and_for_each_item(
    stock: Stock, cell: Cell, directory: Path, runner: Runner
) -> None:
    other = make_cell(directory / "other")
    run = runner("2.19")
    hosts = {
        name: {**of_way("root", where, directory / name), "store_of_host": f"~/{name}"}
        for name, where in (("one", cell), ("two", other), ("three", cell))
    }
    pull = task_of(stock, PULL, name="{{ item }}", store="~/loop-{{ inventory_hostname }}")
    once = task_of(stock, store="~/once")
    tasks = [
        task_of(stock),
        {**pull, "loop": stock.names[:2]},
        {**once, "run_once": True, "delegate_to": "two"},
    ]
    for is_first in (True, False):
        done = run(play_of(*tasks, serial=1), run.inventory(hosts)).ok()
        sent = [one.result for one in done.tasks if one.action in (SYNC, PULL)]
        results = [item for one in sent for item in one.get("results", [one])]
        assert len(results) >= 3 * 3
        if not is_first:
            assert not any(one["changed"] or one["stats"]["bytes_sent"] for one in results)
    homes = {"one": cell.home / "home", "two": other.home / "home", "three": cell.home / "home"}
    for name, home in homes.items():
        assert differences(stock.store, home / name) == []
        assert sorted(layout.names(home / f"loop-{name}")) == sorted(stock.names[:2])
    assert differences(stock.store, other.home / "home/once") == []
    assert not (cell.home / "home/once").exists()


def test_hosts_that_share_a_store_both_succeed(
    large: Stock, cell: Cell, directory: Path, runner: Runner
) -> None:
    """Two tasks send the same blobs at the same time: one waits for the other, and skips what came before it."""
    run = runner("2.19")
    shared = {"store_of_host": os.fspath(directory / "store")}
    hosts = {name: {**of_way("root", cell, directory / name), **shared} for name in ("one", "two")}
    done = run(play_of(task_of(large)), run.inventory(hosts)).ok()
    assert {one["fingerprint"] for one in done.of("Sync").values()} == {
        layout.fingerprint(directory / "store")
    }
    assert differences(large.store, directory / "store") == []


def test_files_of_ansible_that_are_kept_have_no_content(
    stock: Stock, cell: Cell, directory: Path, runner: Runner
) -> None:
    run = runner("2.19")
    hosts = {way: of_way(way, cell, directory / way) for way in ("root", "files")}
    keep = {"ANSIBLE_KEEP_REMOTE_FILES": "1"}
    run(play_of(task_of(stock)), run.inventory(hosts), environment=keep).ok()
    kept = files_below(*(directory / way / "remote" for way in hosts))
    assert kept and {os.path.basename(path) for path in kept} == {"AnsiballZ_image_receive.py"}
    for way in hosts:
        assert differences(stock.store, directory / way / "store") == []


def test_secret_task_shows_neither_progress_nor_digests(
    large: Stock, cell: Cell, directory: Path, runner: Runner
) -> None:
    run = runner("2.19")
    inventory = run.inventory({"one": of_way("root", slowly(cell), directory)})
    progress = {"LOCKSTEP_PROGRESS": "0.1"}
    lock = os.fspath(large.lock_file)
    task = task_of(large, lock=f"{{{{ lookup('lockstep.images.lock', '{lock}') }}}}")
    done = run(play_of({**task, "no_log": True}), inventory, verbosity=3, environment=progress).ok()
    assert "sha256" not in done.output and " MB" not in done.output
    assert differences(large.store, directory / "store") == []


def marked(mark: str) -> dict[int, str]:
    """Return the commands of the processes with this text in their environment."""
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if mark.encode() in (process / "environ").read_bytes():
                found[int(process.name)] = (process / "cmdline").read_text(errors="replace")
        except OSError:
            continue
    return found


def staged(store: Path) -> int:
    """Return the bytes that a host has of blobs that are incomplete."""
    journals = store.glob(".staging/*.journal")
    return sum(end - first for one in journals for first, end in read_journal(str(one), SIZE * 2))


def wait_until(condition: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("line", "end"),
    [
        ("2.16", signal.SIGKILL),
        ("2.19", signal.SIGKILL),
        ("2.21", signal.SIGKILL),
        ("2.16", signal.SIGINT),
        ("2.21", signal.SIGINT),
    ],
)
def test_transfer_that_was_ended_at_half_sends_the_rest(
    line: str, end: signal.Signals, large: Stock, directory: Path, runner: Runner
) -> None:
    """With SIGKILL, the controller and its workers die at once."""
    mark = {"LOCKSTEP_TEST_HOST": os.fspath(directory)}
    cell = make_cell(directory / "cell", environment=mark)
    run, store, book = runner(line), directory / "store", directory / "play.yml"
    book.write_text(play_of(task_of(large)))
    inventory = run.inventory({"one": of_way("root", slowly(cell), directory)})
    environment = {**run.environment, "LOCKSTEP_TEST_CONTROLLER": os.fspath(directory)}
    environment["ANSIBLE_PIPELINING"] = "1"  # without it, Ansible leaves its copy of the module
    # In the background of a shell, interrupts are ignored.
    command = ["env", "--default-signal=INT", os.fspath(run.program)]
    process = subprocess.Popen(
        [*command, "-i", os.fspath(inventory), os.fspath(book)],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_until(lambda: staged(store) >= SIZE / 2)
        if end == signal.SIGINT:
            process.send_signal(end)
            assert process.wait(20) == 99
        else:
            for one, text in marked(f"LOCKSTEP_TEST_CONTROLLER={directory}").items():
                if "ansible-playbook" in text:
                    os.kill(one, end)
        wait_until(lambda: not marked(f"LOCKSTEP_TEST_HOST={directory}"), 10)
    finally:
        process.kill()
        process.wait()
    assert not (store / "index.json").exists() or layout.names(store) == {}
    left = {path.suffix for path in (store / ".staging").iterdir()}
    assert left <= {".part", ".journal", ".lock"}
    inventory = run.inventory({"one": of_way("root", cell, directory)})
    again = run(play_of(task_of(large)), inventory).ok().one("Sync")
    assert 0 < again["stats"]["bytes_sent"] <= 0.55 * SIZE
    assert again["stats"]["bytes_resumed"] >= 0.45 * SIZE
    assert differences(large.store, store) == []
    verified = modules.run("store_verify", store=os.fspath(store), mode="full").result
    assert not verified.get("failed") and not verified["changed"], verified
    assert files_below(directory / "remote") == []
