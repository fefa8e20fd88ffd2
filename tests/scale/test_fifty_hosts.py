# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fifty hosts that pull at the same time: how much they show, and what showing it costs."""

from __future__ import annotations

import json
import os
import random
import re
import statistics
from pathlib import Path

import pytest
from ansible_collections.lockstep.images.tests.support import images, services
from ansible_collections.lockstep.images.tests.support.fleet import PULL, need_programs
from ansible_collections.lockstep.images.tests.support.largefleet import run_playbook
from ansible_collections.lockstep.images.tests.support.nginx import nginx
from ansible_collections.lockstep.images.tests.support.playbook import local_host
from ansible_collections.lockstep.images.tests.support.registry import Registry

HOSTS = 50
SIZE = 1_000_000  # bytes of the layer
RATE = 40_000  # bytes a second of each connection
LINE = re.compile(
    rf"(\d+) of {HOSTS} hosts have it, [0-9.]+ of [0-9.]+ MB \((\d+) %\).*; last is web-\d+ \(\d+ %\)"
)


@pytest.mark.parametrize("connection", ["local", "ssh"])
def test_fifty_hosts_show_at_most_one_line_every_two_seconds(
    connection: str, workspace: Path, collection_env: dict[str, str]
) -> None:
    need_programs("nginx", "sshd", "ssh", "ssh-keygen")
    directory = workspace / f"fifty-{connection}"
    with (
        Registry() as registry,
        nginx(directory / "slow", registry.url, f"limit_rate {RATE};") as front,
        services.sshd(directory / "sshd") as host,
    ):
        noise = random.Random(1).randbytes(SIZE)
        item = images.image([images.layer({"opt/noise": noise}, compression=None)])
        images.push(registry, "scale/slow", item, "1")
        options = {
            "name": f"{front.address}/scale/slow:1",
            "store": "{{ store_of_host }}",
            "plain_http": True,
            "connections_per_blob": 1,
        }
        play = {"hosts": "all", "gather_facts": False, "tasks": [{PULL: options}]}
        playbook = directory / "play.yml"
        playbook.write_text(json.dumps([play]))
        costs: dict[str, list[float]] = {"0": [], "1": []}
        for number in range(3):
            for shown, spent in costs.items():
                run = directory / f"run-{number}-{shown}"
                remote = host.variables() if connection == "ssh" else local_host(run)
                hosts = {
                    f"web-{index}": {
                        **remote,
                        "store_of_host": os.fspath(run / f"store-{index}"),
                        # A connection of its own, as to another machine.
                        "ansible_control_path": os.fspath(directory / f"ssh-{index}"),
                    }
                    for index in range(HOSTS)
                }
                environment = {
                    **collection_env,
                    "ANSIBLE_FORKS": str(HOSTS),
                    "ANSIBLE_PIPELINING": "1",
                    "LOCKSTEP_PROGRESS": shown,
                }
                done = run_playbook(run, os.fspath(playbook), hosts, {}, environment)
                assert done.status == 0, done.output[-2000:]
                spent.append(done.cpu)
                # The percentages can fall: the whole grows with each host that begins.
                lines = len(LINE.findall(done.output))
                assert lines <= done.seconds / 2 + 1
                assert bool(lines) == (shown == "1"), done.output[-2000:]
    quiet, telling = (statistics.median(spent) for spent in costs.values())
    print(f"{connection}, CPU seconds: {telling:.2f} s with lines, {quiet:.2f} s without: {costs}")
