# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What ansible-playbook shows while images arrive slowly, on each line of ansible-core: from docker-registry
behind an nginx with a limit, on hosts of this machine and over a real sshd with a slow login.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import json
import os
import random
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.lockstep.images.tests.support import images, layout, services
from ansible_collections.lockstep.images.tests.support.fleet import (
    COPY,
    PULL,
    SYNC,
    Registry,
    need_programs,
)
from ansible_collections.lockstep.images.tests.support.nginx import Front, nginx
from ansible_collections.lockstep.images.tests.support.playbook import (
    PlayResult,
    PlayRunner,
    core_program,
    local_host,
)

CORES = ["2.16", "2.19", "2.21"]
LOAD = "lockstep.images.image_load"
REPOSITORY = "lockstep/slow"
SIZE = 1_200_000  # bytes of each layer
RATE = 150_000  # bytes a second of each connection
AMOUNTS = r"([0-9.]+) of ([0-9.]+) MB \((\d+) %\)(, [0-9.]+ [kM]B/s(, [0-9]+ s left)?)?"
HOST_LINE = re.compile(rf"(web-\d+): (?:([0-2]) of [12] images?, )?{AMOUNTS}")
BATCH_LINE = re.compile(rf"(\d+) of 12 hosts have it, {AMOUNTS}; last is web-\d+ \((\d+) %\)")
# A callback for standard output whose output is one JSON document.
JSON_CALLBACK = '''
import json
from ansible.plugins.callback import CallbackBase
DOCUMENTATION = """
name: one_document
type: stdout
short_description: Print the recap as JSON
description: For tests.
"""
class CallbackModule(CallbackBase):
    CALLBACK_VERSION, CALLBACK_TYPE, CALLBACK_NAME = 2.0, "stdout", "one_document"
    def v2_playbook_on_stats(self, stats):
        print(json.dumps({host: stats.summarize(host) for host in stats.processed}))
'''
RAISING_CALLBACK = JSON_CALLBACK.replace(
    "def v2_playbook_on_stats", "def v2_playbook_on_task_start(self, *_a, **_k): raise ValueError\n"
    "    def v2_playbook_on_stats"
).replace("one_document", "raising")  # fmt: skip


@pytest.fixture(scope="module")
def slow(workspace: Path, registry_plain: Registry) -> Iterator[Front]:
    """Provide an nginx that sends the two images slowly, each over a connection of its own."""
    need_programs("nginx")
    for number in (1, 2):
        noise = random.Random(number).randbytes(SIZE)
        item = images.image([images.layer({"opt/noise": noise}, compression=None)])
        images.upload(registry_plain.service.url, REPOSITORY, item, str(number))
    limit = f"limit_rate {RATE};"
    with nginx(workspace / "slow", registry_plain.service.url, limit) as front:
        yield front


@pytest.fixture(scope="module")
def callbacks(workspace: Path) -> Path:
    """Return a directory with the callbacks of these tests."""
    made = workspace / "callbacks"
    made.mkdir()
    (made / "one_document.py").write_text(JSON_CALLBACK)
    (made / "raising.py").write_text(RAISING_CALLBACK)
    return made


@pytest.fixture()
def runner(directory: Path, play: PlayRunner) -> Callable[[str], PlayRunner]:
    """`runner("2.16")` runs plays with this line of ansible-core."""

    def make(line: str) -> PlayRunner:
        made = directory / f"plays-{line}"
        made.mkdir(exist_ok=True)
        return PlayRunner(made, play.environment, core_program(line))

    return make


def task_of(slow: Front, action: str = PULL, **options: Any) -> dict[str, Any]:
    """Return a task that brings both images."""
    names = [f"{slow.address}/{REPOSITORY}:{number}" for number in (1, 2)]
    own = {"store": "{{ store_of_host }}", "name": names, "plain_http": True, **options}
    return {"name": "Bring the images", action: own}


def play_of(*tasks: dict[str, Any], **play: Any) -> str:
    """Return a play of these tasks."""
    return json.dumps(
        [{"name": "Test", "hosts": "all", "gather_facts": False, "tasks": tasks, **play}], indent=1
    )


def hosts_of(directory: Path, count: int, **variables: Any) -> dict[str, Any]:
    """Return hosts of this machine, each with a store."""
    return {
        f"web-{number}": {
            **local_host(directory, store_of_host=os.fspath(directory / f"store-{number}")),
            "ansible_async_dir": os.fspath(directory / "async"),
            **variables,
        }
        for number in range(1, count + 1)
    }


def together(*calls: Callable[[], PlayResult]) -> list[PlayResult]:
    """Return the results of runs at the same time."""
    with concurrent.futures.ThreadPoolExecutor(len(calls)) as pool:
        return [future.result() for future in [pool.submit(call) for call in calls]]


def progress_of(done: PlayResult) -> list[str]:
    """Return the lines of standard error, without warnings of Ansible. Assert that standard output has none."""
    assert not re.search(r"\(\d+ %\)", done.stdout), done.stdout
    return [line for line in done.stderr.splitlines() if re.search(r"\(\d+ %\)|no byte for", line)]


def assert_grows(percents: list[int]) -> None:
    assert percents == sorted(percents) and percents[0] < 100, percents


@pytest.mark.parametrize("line", CORES)
def test_one_host_and_three_have_lines_of_their_own_and_twelve_share_one(
    line: str, slow: Front, runner: Any, directory: Path, callbacks: Path
) -> None:
    run = runner(line)
    environment = {
        "ANSIBLE_FORKS": "12",
        "ANSIBLE_STDOUT_CALLBACK": "one_document",
        "ANSIBLE_CALLBACK_PLUGINS": os.pathsep.join(
            [os.fspath(callbacks), run.environment["ANSIBLE_CALLBACK_PLUGINS"]]
        ),
    }

    def bring(count: int) -> PlayResult:
        inventory = run.inventory(hosts_of(directory / f"{count}-hosts", count))
        return run(play_of(task_of(slow)), inventory, environment=environment).ok()

    one, three, twelve = together(*(lambda n=n: bring(n) for n in (1, 3, 12)))  # type: ignore[misc]
    assert [len(json.loads(done.stdout)) for done in (one, three, twelve)] == [1, 3, 12]
    for done, hosts in ((one, 1), (three, 3)):
        found = [HOST_LINE.fullmatch(text) for text in progress_of(done)]
        assert found and all(found), done.stderr
        assert {match[1] for match in found if match} == {f"web-{n}" for n in range(1, hosts + 1)}
        for host in range(1, hosts + 1):
            assert_grows([int(match[5]) for match in found if match and match[1] == f"web-{host}"])
        assert {match[4] for match in found if match} == {"2.41"}  # MB, of both images
    shared = [BATCH_LINE.fullmatch(text) for text in progress_of(twelve)]
    assert shared and all(shared), twelve.stderr
    # At most one line every two seconds, however busy this machine is.
    assert len(shared) <= twelve.tasks[-1].seconds / 2 + 1


def test_slow_login_does_not_silence_it(slow: Front, runner: Any, directory: Path) -> None:
    need_programs("sshd", "ssh", "ssh-keygen")
    with services.sshd(directory / "sshd") as host:
        # Debian's bash reads this file when sshd starts it, too.
        (host.home / ".bashrc").write_text("sleep 2\n")

        def bring(line: str) -> PlayResult:
            run = runner(line)
            store = os.fspath(directory / f"store-{line}")
            inventory = run.inventory({"web-1": {**host.variables(), "store_of_host": store}})
            pipelining = {"ANSIBLE_PIPELINING": "1"}
            task = task_of(slow, connections_per_blob=1)
            return run(play_of(task), inventory, environment=pipelining).ok()

        for done in together(*(lambda line=line: bring(line) for line in CORES)):  # type: ignore[misc]
            assert progress_of(done), done.output
            assert all(HOST_LINE.fullmatch(text) for text in progress_of(done)), done.stderr


def test_every_module_that_moves_content_shows_it(
    slow: Front, runner: Any, directory: Path, registry_plain: Registry
) -> None:
    run = runner("2.19")
    locked = {
        "name": "Lock",
        "lockstep.images.image_lock": {
            "name": [f"{slow.address}/{REPOSITORY}:1"],
            "path": "{{ store_of_host }}.lock",
            "plain_http": True,
        },
    }
    lookup = "{{ lookup('lockstep.images.lock', store_of_host + '.lock') }}"
    registries = [
        {"registry": registry_plain.address, "plain_http": True},
        {"registry": slow.address, "plain_http": True},
    ]
    copy = {"destination": f"{registry_plain.address}/copied", "registries": registries}
    plays = {
        "sync": play_of(locked, task_of(slow, SYNC, lock=lookup, name=None)),
        "copy": play_of(task_of(slow, COPY, **copy)),
        "load": play_of(
            task_of(
                slow, LOAD, engine="directory", path="{{ store_of_host }}.tars", source="registry"
            )
        ),
    }

    def bring(name: str) -> PlayResult:
        hosts = hosts_of(directory / name, 1)
        (directory / name / "store-1.tars").mkdir(parents=True)
        return run(plays[name].replace('"name": null,', ""), run.inventory(hosts)).ok()

    for name, done in zip(plays, together(*(lambda name=name: bring(name) for name in plays))):  # type: ignore[misc]
        found = [HOST_LINE.fullmatch(text) for text in progress_of(done)]
        assert found and all(found), f"{name}: {done.output}"


def test_nothing_is_shown_where_it_must_not_be(
    slow: Front, runner: Any, directory: Path, callbacks: Path
) -> None:
    run = runner("2.19")
    hidden = {
        "off": (task_of(slow), {"LOCKSTEP_PROGRESS": "0"}),
        "rare": (task_of(slow), {"LOCKSTEP_PROGRESS": "0.5"}),
        "no_log": ({**task_of(slow), "no_log": True}, {}),
        "async": ({**task_of(slow), "async": 60, "poll": 1}, {}),
        "raising": (
            task_of(slow),
            {"ANSIBLE_STDOUT_CALLBACK": "raising", "ANSIBLE_CALLBACK_PLUGINS": str(callbacks)},
        ),
    }

    def bring(name: str) -> PlayResult:
        task, environment = hidden[name]
        inventory = run.inventory(hosts_of(directory / name, 1))
        return run(play_of(task), inventory, environment=environment)

    done = dict(zip(hidden, together(*(lambda name=name: bring(name) for name in hidden))))  # type: ignore[misc]
    assert not any(progress_of(done[name].ok()) for name in ("off", "no_log", "async"))
    assert len(progress_of(done["rare"].ok())) > 3
    # A callback that fails does not stop the lines, nor the task.
    assert progress_of(done["raising"]) and done["raising"].returncode == 0, done["raising"].output


@contextlib.contextmanager
def disk(place: Path, size: str) -> Iterator[Path]:
    """Mount a file system of this size for a while."""
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", place], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", place], check=True)


def spoil(program: str) -> dict[str, Any]:
    """Return a task that runs a program of the shell once, on the controller."""
    return {
        "name": "Change the disk of the controller",
        "ansible.builtin.command": {"argv": ["sh", "-c", program]},
        "delegate_to": "web-1",
        "run_once": True,
    }


@pytest.mark.parametrize(
    "change",
    [
        pytest.param("! dd if=/dev/zero of=$ANSIBLE_LOCAL_TEMP/filler bs=4k", id="full"),
        pytest.param("mount -o remount,ro $ANSIBLE_LOCAL_TEMP", id="read-only"),
    ],
)
def test_disk_of_the_controller_that_cannot_be_written_stops_no_pull(
    change: str, slow: Front, runner: Any, directory: Path
) -> None:
    need_programs("mount", "umount")
    run, hosts = runner("2.19"), hosts_of(directory, 4)
    with disk(directory / "disk", "1m") as place:
        environment = {
            "ANSIBLE_LOCAL_TEMP": os.fspath(place),
            "ANSIBLE_PIPELINING": "1",  # without it, Ansible writes there for each task
            "ANSIBLE_FORKS": "4",
        }
        # Ansible writes a module there the first time that it runs.
        play = play_of({**task_of(slow), "check_mode": True}, spoil(change), task_of(slow))
        run(play, run.inventory(hosts), environment=environment).ok()
    stores = [layout.names(Path(host["store_of_host"])) for host in hosts.values()]
    assert [len(names) for names in stores] == [2, 2, 2, 2]


def test_disk_of_a_host_that_fills_up_is_the_reason_that_is_shown(
    slow: Front, runner: Any, directory: Path
) -> None:
    need_programs("mount", "umount")
    run, hosts = runner("2.19"), hosts_of(directory, 1)
    with disk(directory / "disk", "6m") as place:
        hosts["web-1"]["store_of_host"] = os.fspath(place / "store")

        def fill() -> None:
            while not any(place.glob("store/.staging/*.part")):
                time.sleep(0.05)
            with contextlib.suppress(OSError), open(place / "filler", "wb", 0) as filler:
                while filler.write(bytes(100_000)):
                    pass

        thread = threading.Thread(target=fill, daemon=True)
        thread.start()
        done = run(play_of(task_of(slow)), run.inventory(hosts))
        thread.join(30)
    (failed,) = done.failures
    assert failed.result["error"]["kind"] == "no-space", failed.result
    assert all(HOST_LINE.fullmatch(text) for text in progress_of(done)), done.stderr


def marked(mark: str) -> list[int]:
    """Return the processes with this text in their environment."""
    found = []
    for environ in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            if mark.encode() in environ.read_bytes():
                found.append(int(environ.parent.name))
    return found


@pytest.mark.parametrize("line", ["2.16", "2.19"])
@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGKILL])
def test_nothing_runs_on_the_host_after_the_playbook_was_killed(
    line: str, end: signal.Signals, slow: Front, runner: Any, directory: Path
) -> None:
    need_programs("sshd", "ssh", "ssh-keygen")
    mark, store, run = f"MARK={directory}", directory / "store", runner(line)
    endless = nginx(directory / "endless", slow.service.url, "limit_rate 10k;")
    with services.sshd(directory / "sshd") as host, endless as front:
        variables = {**host.variables(), "store_of_host": os.fspath(store)}
        book = directory / "play.yml"
        book.write_text(play_of({**task_of(front), "environment": {"MARK": os.fspath(directory)}}))
        # In the background of a shell, interrupts are ignored.
        command = [
            "env",
            "--default-signal=INT",
            os.fspath(run.program),
            "-i",
            os.fspath(run.inventory({"web-1": variables})),
        ]
        environment = {**run.environment, "ANSIBLE_PIPELINING": "1"}
        environment.pop("ANSIBLE_CALLBACKS_ENABLED")
        process = subprocess.Popen(
            [*command, os.fspath(book)],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            assert process.stderr
            line_shown = next(text for text in process.stderr if HOST_LINE.fullmatch(text.strip()))
            assert line_shown and marked(mark)
            process.send_signal(end)
            deadline = time.monotonic() + 10
            while marked(mark) and time.monotonic() < deadline:
                time.sleep(0.2)
            assert marked(mark) == []
        finally:
            process.kill()
            process.communicate()
    # Complete blobs stay, under their digests.
    left = {path.suffix or path.name for path in [*store.glob("*"), *store.glob(".staging/*")]}
    assert left <= {".part", ".journal", ".lock", ".staging", "blobs", ".json", "oci-layout"}
    assert list(store.glob(".staging/*.part"))
