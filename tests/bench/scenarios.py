# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is measured: each function here is one scenario, and returns its table."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Callable

from ansible_collections.lockstep.images.plugins.module_utils._oci.store import (
    REF_NAME,
    render_index,
)
from ansible_collections.lockstep.images.tests.support import layout
from ansible_collections.lockstep.images.tests.support.nginx import nginx
from ansible_collections.lockstep.images.tests.support.services import docker_registry
from ansible_collections.lockstep.images.tests.support.services_process import (
    ServiceError,
    run,
)

from . import peers
from .by_ansible import Alone, DockerLoop, LockedModule, LockedTask, Module, Task
from .content import MB, Published, publish_small
from .copying import LAYER_SIZE, asked, copiers, publish_tags
from .lab import LAYER_SIZES, Lab, anew, compare
from .measure import Traffic, Usage, Watch, metered
from .peers import Command, LayoutTool, Tool
from .tables import Cell, Row, Table, usage_cells, with_ratios

RATE = 20 * MB
SMALL_IMAGES = 100
NAMES = (10, 1_000, 10_000)
TAGS = 100
GOES = 3  # in each turn, where all is there already
COPIED_AGAIN = ", again"


def cold(lab: Lab) -> Table:
    """A large image that is not there."""
    image = lab.large()
    with lab.tools() as pullers:
        tools = [*pullers, *peers.limits(lab.directory)]
        rows = compare(tools, lab.runs, anew([image]))
    text = f"""\
One image of {image.size / MB:.0f} MB in six gzip layers ({_sizes(LAYER_SIZES)} MB), from a registry on the same
machine. `image_pull` and `skopeo copy` write an OCI layout; docker, podman and ctr unpack the layers as well,
as that is what they are for. The limit is `curl` for all layers at once, each followed by `sync` of its file,
and then by a program that reads the file and hashes it: `openssl` uses the processor's instructions for SHA-256
where it has some, `sha256sum` of Debian 12 does not. `image_pull` and skopeo hash while they fetch, so they
need not be slower than that."""
    return Table("cold", "A large image that is not there", text, rows, lab.runs)


def throttled(lab: Lab) -> Table:
    """A large layer from a server that gives every connection only so much."""
    image = lab.single()
    # Small buffers: what is in them at the end of an answer is not slowed down.
    slow = f"limit_rate {RATE}; proxy_buffers 8 32k;"
    far_away = nginx(lab.directory / "nginx", lab.registry.url, slow)
    with lab.tools() as pullers, far_away as far:
        tools = [*pullers, _one_connection(lab.directory / "curl")]
        rows = compare(tools, lab.runs, anew([image.through(far.service)]))
    text = f"""\
One image with one layer of {image.size / MB:.0f} MB, through nginx with `limit_rate {RATE}`: one connection
gets {RATE // MB} MB a second, two get {2 * RATE // MB}. So do many servers that are far away."""
    return Table("throttled", "One large layer over slow connections", text, rows, lab.runs)


def _one_connection(directory: Path) -> Command:
    target = directory / "layer"
    directory.mkdir()
    return Command(
        "curl, one connection",
        directory,
        lambda image: ["curl", "-sSf", "-o", str(target), *image.layer_urls],
        lambda: target.unlink(missing_ok=True),
        client_does_the_work=False,
    )


def update(lab: Lab) -> Table:
    """An image of which one layer has changed."""
    old, new = lab.large("1"), lab.large("2")
    watch = Watch(lab.registry)

    def pull(tool: Tool) -> tuple[Usage, Mapping[str, Cell]]:
        tool.clear()
        tool.pull([old])
        watch.begin()
        usage = tool.pull([new])
        traffic = watch.traffic()
        tool.clear()
        counts = {"blobs": traffic.blobs, "bytes": traffic.bytes, "stated": _stated(tool)}
        return usage, counts

    with lab.tools() as tools:
        rows = compare(tools, lab.runs, pull)
    text = f"""\
The image of the first scenario is there, and its last layer ({LAYER_SIZES[-1] // MB} MB) has changed. Blobs and
bytes are those that the registry says it has sent; an image has a configuration, which is a blob too."""
    return Table("update", "One layer has changed", text, rows, lab.runs)


def small(lab: Lab) -> Table:
    """Many small images that are not there."""
    images = publish_small(lab.registry, SMALL_IMAGES)
    with _for_many(lab) as tools:
        rows = compare(tools, lab.runs, anew(images))
    text = f"""\
{SMALL_IMAGES} images of two platforms, of which one is pulled, with three layers of a few kilobytes.
`image_pull` gets all in one task; the others are run once for each image: a task of `docker_image_pull`, or a
process of skopeo in one shell script, without Ansible."""
    return Table("small", "Many small images", text, rows, lab.runs)


def converged(lab: Lab) -> Table:
    """Many small images that are there."""
    images = publish_small(lab.registry, SMALL_IMAGES)
    rows: list[Row] = []
    with _for_many(lab) as tools:
        for kind, asked in (("tag", images), ("digest", [image.pinned() for image in images])):
            rows += _converged(lab, tools, asked, kind)
    locked: list[Tool] = [
        LockedTask(lab.directory / "locked"),
        LockedModule(lab.directory / "sync"),
    ]
    rows += _converged(lab, locked, images, "lock file")
    text = f"""\
The {SMALL_IMAGES} images of the scenario before are there already. By tag, the registry has to be asked what
the tag points at now; by digest nothing has to be asked, and by a lock file neither, which besides says what
else must not be there. The requests are those in the registry's log. Ratios are to the first row of the same kind."""
    return Table("converged", "Many small images that are there", text, rows, lab.runs)


def _converged(lab: Lab, tools: Sequence[Tool], images: list[Published], kind: str) -> list[Row]:
    watch = Watch(lab.registry)
    for tool in tools:
        tool.clear()
        tool.pull(images)

    def pull(tool: Tool) -> tuple[Usage, Mapping[str, Cell]]:
        watch.begin()
        usage = tool.pull(images)
        traffic = watch.traffic()
        if isinstance(tool, (Task, Module, LockedTask, LockedModule)) and tool.result["changed"]:
            raise ServiceError(f"{tool.label}: changed what was there: {tool.result['actions']}")
        return usage, {"head": traffic.count("HEAD"), "get": traffic.count("GET")}

    rows = compare(tools, lab.runs, pull, GOES)
    for tool in tools:
        tool.clear()
    return [Row(f"{row.label}, by {kind}", row.cells) for row in rows]


@contextlib.contextmanager
def _for_many(lab: Lab) -> Iterator[list[Tool]]:
    """Ours, the loop of tasks, and a loop of skopeo."""
    tools: list[Tool] = [Task(lab.directory / "task"), Module(lab.directory / "module")]
    with peers.installed(lab.directory, "skopeo", "docker") as others:
        for other in others:
            if other.label == "docker pull":
                other_loop = DockerLoop(
                    lab.directory / "loop",
                    lab.cache,
                    other.environment,
                    other.daemons,
                    other.clear,
                )
                tools.append(other_loop)
            else:
                other.label += ", in a shell loop"
                tools.append(other)
        yield tools


def killed(lab: Lab) -> Table:
    """A pull that is killed at about half of the bytes, and run again."""
    image = lab.large()
    watch = Watch(lab.registry)
    rows = []
    with peers.installed(lab.directory, "skopeo") as others:
        tools: list[LayoutTool] = [Module(lab.directory / "module"), *others]
        for tool in tools:
            seconds: list[Usage] = []
            counts = []
            for _number in range(lab.runs):
                tool.clear()
                watch.begin()
                _kill_at_half(tool, image)
                first = watch.traffic()
                watch.begin()
                seconds.append(tool.pull([image]))
                counts.append(_after_kill(first, watch.traffic(), tool, image))
            middle = {name: _middle([one[name] for one in counts]) for name in counts[0]}
            rows.append(Row(tool.label, {**usage_cells(seconds), **middle}))
            tool.clear()
    text = """\
The image of the first scenario. The process is killed (`kill -9`) when half of the bytes are on the disk, and
run again: the seconds are those of the second run. Bytes are those that the registry has sent; before the kill,
some of them were still under way. Afterwards every blob of the layout is read and compared with its digest."""
    return Table("killed", "Killed at half, and run again", text, with_ratios(rows), lab.runs)


def _kill_at_half(tool: LayoutTool, image: Published) -> None:
    process = tool.start([image])
    while _on_disk(tool.target) < image.size / 2:
        if process.poll() is not None:
            raise ServiceError(f"{tool.label}: ended before it could be killed")
        time.sleep(0.005)
    process.kill()
    process.communicate()


def _on_disk(directory: Path) -> int:
    """The bytes of all files below a directory that take room on the disk."""
    total = 0
    for path in directory.rglob("*"):
        with contextlib.suppress(OSError):
            total += path.lstat().st_blocks * 512
    return total


def _after_kill(
    first: Traffic, second: Traffic, tool: LayoutTool, image: Published
) -> dict[str, Cell]:
    """What came before and after, and whether what is there now is what it should be."""
    there = layout.names(tool.target)[image.name]["digest"] == image.digest
    good = there and not layout.bad_blobs(tool.target)
    return {
        "first": first.bytes,
        "second": second.bytes,
        "of_all": second.bytes / image.size,
        "stated": _stated(tool),
        "verified": "verified" if good else "WRONG",
    }


def _middle(values: list[Cell]) -> Cell:
    """The median of numbers; of words, the one that is different if any is."""
    numbers = [value for value in values if isinstance(value, (int, float))]
    if len(numbers) == len(values):
        return statistics.median(numbers)
    return next((value for value in values if value == "WRONG"), values[0])


def names(lab: Lab) -> Table:
    """One image that is there, in stores with more and more names."""
    image = publish_small(lab.registry, 1)[0]
    tools: list[Tool] = []
    for count in NAMES:
        tool = Module(lab.directory / f"{count}", label=f"{count:,} names")
        tool.pull([image])
        _add_names(tool.target, count)
        tools.append(tool)
    rows = compare(tools, lab.runs, lambda tool: (tool.pull([image]), {}), GOES)
    shutil.rmtree(lab.directory)
    text = """\
One image that is there is pulled again by its tag, by the module alone, into stores with more and more names.
All names point at the one image."""
    return Table("names", "Stores with many names", text, rows, lab.runs)


def _add_names(store: Path, count: int) -> None:
    """Give the one image of a store more names, until there are so many."""
    path = store / "index.json"
    index = json.loads(path.read_bytes())
    (entry,) = index["manifests"]
    for number in range(1, count):
        name = f"registry.example.com/team-{number % 17}/app-{number}:1.0"
        annotations = {**entry["annotations"], REF_NAME: name}
        index["manifests"].append({**entry, "annotations": annotations})
    path.write_bytes(render_index(index))


def copy(lab: Lab) -> Table:
    """Many tags from one registry to another, and once more."""
    source = publish_tags(lab.registry, TAGS)
    tools = copiers(lab.directory)
    usages: dict[tuple[str, str], list[Usage]] = {}
    counted: dict[tuple[str, str], Mapping[str, Cell]] = {}
    for number in range(lab.runs):
        for place, tool in enumerate(tools):
            # A registry of its own: nothing is there, and nobody remembers it.
            with docker_registry(lab.directory / f"target-{number}-{place}") as target:
                watches = [Watch(source.registry), Watch(target)]
                for when in ("", COPIED_AGAIN):
                    for watch in watches:
                        watch.begin()
                    usages.setdefault((tool.label, when), []).append(tool.copy(source, target))
                    counted[tool.label, when] = asked([watch.traffic() for watch in watches])
                source.check(target, tool.repository)
    rows = []
    for when in ("", COPIED_AGAIN):
        part = [
            Row(tool.label + when, {**usage_cells(usages[key]), **counted[key]})
            for tool in tools
            for key in [(tool.label, when)]
        ]
        rows += with_ratios(part)
    text = f"""\
{TAGS} tags of one repository, each an index of two platforms with three layers of {LAYER_SIZE // 1000} KB, of which
two are the same in all tags, from one `docker-registry` to another that is empty, and then again, when all is there.
The requests are those in the logs of both registries. The ratio of a second run is to the first of these."""
    return Table("copy", "Many tags from one registry to another", text, rows, lab.runs)


def verify(lab: Lab) -> Table:
    """All content of a store is read and hashed."""
    image = lab.large()
    pulled = Module(lab.directory / "pulled")
    pulled.pull([image])
    checks = [Alone(lab.directory / "module", "store_verify")]
    hashing = f"find blobs -type f -print0 | xargs -0 -P{os.cpu_count()} -n1 sha256sum"
    usages: dict[str, list[Usage]] = {"store_verify, the module alone": [], "find, sha256sum": []}
    for _number in range(lab.runs):
        for check in checks:
            usage = check.run(store=os.fspath(pulled.target), mode="full")
            usages["store_verify, the module alone"].append(usage)
        with metered(lab.directory, client_does_the_work=False) as meter:
            run([*meter.launcher, "sh", "-ec", hashing], cwd=pulled.target)
        usages["find, sha256sum"].append(meter.usage)
    rows = with_ratios([Row(label, usage_cells(several)) for label, several in usages.items()])
    text = f"""\
The image of the first scenario ({image.size / MB:.0f} MB) in a store, of which every byte is read and hashed, by
`store_verify` with `mode: full`, and by `{hashing}`. The files are in the page cache."""
    return Table("verify", "All content of a store is hashed", text, rows, lab.runs)


def _stated(tool: Tool) -> Cell:
    """The bytes that our module says it has fetched."""
    if isinstance(tool, (Task, Module)):
        return int(tool.result["stats"]["bytes_fetched"])
    return None


def _sizes(sizes: Sequence[int]) -> str:
    return ", ".join(f"{size // MB}" for size in sizes)


SCENARIOS: Mapping[str, Callable[[Lab], Table]] = {
    one.__name__: one
    for one in (cold, throttled, update, small, converged, killed, names, copy, verify)
}
