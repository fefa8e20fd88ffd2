# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Side by side, in one run, on one machine: this collection and what people loop today.

    ./dev bench [--images 100] [--runs 3]

A hundred images that are on the host already, one task of lockstep.images.image_pull against a loop
of community.docker.docker_image_pull over a real dockerd, both over Debian's docker-registry. Needs
root, and the packages docker-registry, docker.io and containerd. Prints wall seconds (the median of
the runs) and their ratio. Numbers are for people; no test asserts them.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

if not __package__:
    # Run as a script: tests/ is on the path, so that its helpers import each other as they do elsewhere.
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from support.images import demo_image, upload
from support.playbook import ansible_program, collections_path, private_environment
from support.services import containerd, docker_registry, dockerd

PEER = "community.docker"
PEER_PARTS = ("community/docker/", "community/library_inventory_filtering_v1/")


def main() -> int:
    """Run the measurements and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument(
        "--cache", type=Path, default=Path(tempfile.gettempdir()) / "lockstep-bench"
    )
    options = parser.parse_args()
    peer = peer_collections(options.cache)
    with tempfile.TemporaryDirectory(prefix="lockstep-bench-") as name:
        directory = Path(name)
        with docker_registry(directory / "registry") as registry:
            names = fill(registry.url, registry.address, options.images)
            ours = measure(our_play(names, directory), directory, {}, None, options.runs)
            with (
                containerd(directory / "containerd") as runtime,
                dockerd(directory / "dockerd", runtime.address) as docker,
            ):
                theirs = measure(
                    peer_play(names), directory, {"DOCKER_HOST": docker.url}, peer, options.runs
                )
    print_table(options.images, ours, theirs)
    return 0


def fill(url: str, address: str, count: int) -> list[str]:
    """Push `count` small images of three layers; returns their references."""
    names = []
    for number in range(count):
        upload(url, f"bench/app-{number}", demo_image(f"app-{number}", "1.0"), "1.0")
        names.append(f"{address}/bench/app-{number}:1.0")
    return names


def our_play(names: Sequence[str], directory: Path) -> list[dict[str, Any]]:
    """One task for all images."""
    options = {"name": list(names), "store": os.fspath(directory / "store")}
    return play({"name": "Pull", "lockstep.images.image_pull": options})


def peer_play(names: Sequence[str]) -> list[dict[str, Any]]:
    """A task for each image."""
    task = {
        "name": "Pull",
        f"{PEER}.docker_image_pull": {"name": "{{ item }}"},
        "loop": list(names),
    }
    return play(task)


def play(task: dict[str, Any]) -> list[dict[str, Any]]:
    """A play of one task on this machine."""
    return [{"hosts": "localhost", "connection": "local", "gather_facts": False, "tasks": [task]}]


def measure(
    plays: list[dict[str, Any]],
    directory: Path,
    environment: Mapping[str, str],
    peer: Path | None,
    runs: int,
) -> tuple[float, float]:
    """Wall seconds of the first run, and the median of `runs` more, which must change nothing."""
    collections = collections_path()
    if collections is None:
        raise SystemExit("bench: the collection is not below ansible_collections; use ./dev bench")
    env = private_environment(directory, peer or collections)
    env.update(environment, ANSIBLE_PYTHON_INTERPRETER=sys.executable)
    env.pop("ANSIBLE_CALLBACKS_ENABLED")
    path = directory / "play.json"
    path.write_text(json.dumps(plays))
    command = [
        os.fspath(ansible_program("ansible-playbook") or ""),
        "-i",
        "localhost,",
        os.fspath(path),
    ]
    seconds = []
    for number in range(runs + 1):
        started = time.monotonic()
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
        seconds.append(time.monotonic() - started)
        if done.returncode or (number and "changed=0" not in done.stdout):
            raise SystemExit(
                f"bench: run {number} was not what it should be\n{done.stdout[-3000:]}{done.stderr}"
            )
    return seconds[0], statistics.median(seconds[1:])


def peer_collections(cache: Path) -> Path:
    """The peer's collection, taken out of the `ansible` package of the Python package index, once."""
    target = cache / "peer"
    if not (target / "ansible_collections" / PEER_PARTS[0]).is_dir():
        wheels = cache / "wheels"
        download = [
            "download",
            "--quiet",
            "--no-deps",
            "--only-binary=:all:",
            "--dest",
            os.fspath(wheels),
        ]
        subprocess.run([sys.executable, "-m", "pip", *download, "ansible"], check=True)
        with zipfile.ZipFile(next(wheels.glob("ansible-*.whl"))) as wheel:
            wanted = tuple(f"ansible_collections/{part}" for part in PEER_PARTS)
            wheel.extractall(target, [one for one in wheel.namelist() if one.startswith(wanted)])
    return target


def print_table(images: int, ours: tuple[float, float], theirs: tuple[float, float]) -> None:
    """Seconds and ratios."""
    print(f"\n{images} images, wall seconds of ansible-playbook")
    print(f"{'':34}{'first run':>12}{'converged':>12}")
    print(f"{'lockstep.images.image_pull':34}{ours[0]:12.2f}{ours[1]:12.2f}")
    print(f"{PEER + '.docker_image_pull, loop':34}{theirs[0]:12.2f}{theirs[1]:12.2f}")
    print(f"{'ratio':34}{ours[0] / theirs[0]:12.3f}{ours[1] / theirs[1]:12.3f}")


if __name__ == "__main__":
    sys.exit(main())
