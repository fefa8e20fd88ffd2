# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The scenarios: each function here measures one and returns its table."""

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

from ansible_collections.lockstep.images.plugins.module_utils._store.reader import (
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
from .archiving import archive
from .building import build
from .by_ansible import Alone, DockerLoop, LockedModule, LockedTask, Module, Task
from .content import MB, Published, publish_small
from .copying import LAYER_SIZE, TAGS, compare_copies, copiers, publish_tags
from .far import far
from .fleet import fleet
from .lab import LAYER_SIZES, Lab, anew, compare
from .loading import load
from .measure import Traffic, Usage, Watch, metered
from .peers import Command, LayoutTool, Tool
from .tables import Cell, Row, Table, usage_cells, with_ratios
from .unpacking import unpack

RATE = 20 * MB
SMALL_IMAGES = 100
NAMES = (10, 1_000, 10_000)
GOES = 3  # runs in each turn if all content is in place


def cold(lab: Lab) -> Table:
    """Pull a large image into an empty target."""
    image = lab.large()
    with lab.tools() as pullers:
        tools = [*pullers, *peers.limits(lab.directory)]
        rows = compare(tools, lab.runs, anew([image]))
    text = f"""\
One image of {image.size / MB:.0f} MB in six gzip layers ({_sizes(LAYER_SIZES)} MB), from a registry on the same
machine. `image_pull` and `skopeo copy` write an OCI layout. docker, podman and ctr also unpack the layers, because
they prepare images to run. The limit is `curl` for all layers at once, then `sync` of each file, then a program that
reads and hashes the file. `openssl` uses the SHA-256 instructions of the processor if it has them; `sha256sum` of
Debian 12 does not. `image_pull` and skopeo hash while they fetch, so they can be as fast as the limit."""
    return Table("cold", "Pull a large image", text, rows, lab.runs)


def throttled(lab: Lab) -> Table:
    """Pull a large layer from a server that limits the speed of each connection."""
    image = lab.single()
    # Keep buffers small: nginx does not limit the bytes that are in them at the end of an answer.
    slow = f"limit_rate {RATE}; proxy_buffers 8 32k;"
    far_away = nginx(lab.directory / "nginx", lab.registry.url, slow)
    with lab.tools() as pullers, far_away as far:
        tools = [*pullers, _one_connection(lab.directory / "curl")]
        rows = compare(tools, lab.runs, anew([image.through(far.service)]))
    text = f"""\
One image with one layer of {image.size / MB:.0f} MB, through nginx with `limit_rate {RATE}`: one connection
gets {RATE // MB} MB per second, two get {2 * RATE // MB}. Many distant servers behave like this."""
    return Table("throttled", "Pull one large layer over slow connections", text, rows, lab.runs)


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
    """Pull an image of which one layer has changed."""
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
The image of the first scenario is in place, and its last layer ({LAYER_SIZES[-1] // MB} MB) has changed in the
registry. Blobs and bytes are counted by the registry. The configuration of an image is a blob too."""
    return Table("update", "Pull an image of which one layer has changed", text, rows, lab.runs)


def small(lab: Lab) -> Table:
    """Pull many small images into an empty target."""
    images = publish_small(lab.registry, SMALL_IMAGES)
    with _for_many(lab) as tools:
        rows = compare(tools, lab.runs, anew(images))
    text = f"""\
{SMALL_IMAGES} images with three layers of a few kilobytes. Each has two platforms, and one is pulled. `image_pull`
pulls all images in one task. The other tools run once for each image: `docker_image_pull` in a loop of a task, and
skopeo in a shell script, without Ansible."""
    return Table("small", "Pull many small images", text, rows, lab.runs)


def converged(lab: Lab) -> Table:
    """Pull many small images that are already in place."""
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
The {SMALL_IMAGES} images of the previous scenario are already in place. By tag, a tool must ask the registry what the
tag stands for now. By digest and by lock file, no request is necessary; a lock file also says which images must not be
in the store. Requests are counted in the log of the registry. Ratios refer to the first row of the same kind."""
    return Table("converged", "Pull many small images again", text, rows, lab.runs)


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
            raise ServiceError(
                f"{tool.label}: changed content that was in place: {tool.result['actions']}"
            )
        return usage, {"head": traffic.count("HEAD"), "get": traffic.count("GET")}

    rows = compare(tools, lab.runs, pull, GOES)
    for tool in tools:
        tool.clear()
    return [Row(f"{row.label}, by {kind}", row.cells) for row in rows]


@contextlib.contextmanager
def _for_many(lab: Lab) -> Iterator[list[Tool]]:
    """Yield `image_pull`, a loop of `docker_image_pull` and a loop of skopeo."""
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
    """Kill a pull at about half of the bytes, and run it again."""
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
The image of the first scenario. The process is killed (`kill -9`) when half of the bytes are on the disk, and then run
again. The times are those of the second run. Bytes are counted by the registry; at the kill, some of them were still
in transit. Afterwards every blob of the layout is read and compared with its digest."""
    return Table("killed", "Resume a pull that was killed", text, with_ratios(rows), lab.runs)


def _kill_at_half(tool: LayoutTool, image: Published) -> None:
    process = tool.start([image])
    while _on_disk(tool.target) < image.size / 2:
        if process.poll() is not None:
            raise ServiceError(f"{tool.label}: ended before it could be killed")
        time.sleep(0.005)
    process.kill()
    process.communicate()


def _on_disk(directory: Path) -> int:
    """Return the disk space of all files below a directory, in bytes."""
    total = 0
    for path in directory.rglob("*"):
        with contextlib.suppress(OSError):
            total += path.lstat().st_blocks * 512
    return total


def _after_kill(
    first: Traffic, second: Traffic, tool: LayoutTool, image: Published
) -> dict[str, Cell]:
    """Return the bytes before and after the kill, and whether the layout is correct now."""
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
    """Return the median of numbers; of texts, "WRONG" if any is, else the first."""
    numbers = [value for value in values if isinstance(value, (int, float))]
    if len(numbers) == len(values):
        return statistics.median(numbers)
    return next((value for value in values if value == "WRONG"), values[0])


def names(lab: Lab) -> Table:
    """Pull an image that is already in place, in stores with a growing number of names."""
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
The module alone pulls an image that is already in place again, by its tag, in stores with a growing number of names.
All names stand for this one image."""
    return Table("names", "Pull into stores with many names", text, rows, lab.runs)


def _add_names(store: Path, count: int) -> None:
    """Add names to the one image of a store until it has `count`."""
    path = store / "index.json"
    index = json.loads(path.read_bytes())
    (entry,) = index["manifests"]
    for number in range(1, count):
        name = f"registry.example.com/team-{number % 17}/app-{number}:1.0"
        annotations = {**entry["annotations"], REF_NAME: name}
        index["manifests"].append({**entry, "annotations": annotations})
    path.write_bytes(render_index(index))


def copy(lab: Lab) -> Table:
    """Copy many tags from one registry to another, twice."""
    source = publish_tags(lab.registry, TAGS)
    rows = compare_copies(lab, copiers(lab.directory), source, docker_registry)
    text = f"""\
{TAGS} tags of one repository are copied from one `docker-registry` to an empty one, and then again. Each tag is an index
of two platforms with three layers of {LAYER_SIZE // 1000} KB, of which two are the same in all tags. Requests are counted
in the logs of both registries. The ratios of the second runs refer to the first row of the second runs."""
    return Table("copy", "Copy many tags to another registry", text, rows, lab.runs)


def verify(lab: Lab) -> Table:
    """Read and hash all content of a store."""
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
Read and hash every byte of a store with the image of the first scenario ({image.size / MB:.0f} MB), with
`store_verify` and `mode: full`, and with `{hashing}`. The files are in the page cache."""
    return Table("verify", "Hash the content of a store", text, rows, lab.runs)


def _stated(tool: Tool) -> Cell:
    """Return the bytes that our module reports as fetched; None for other tools."""
    if isinstance(tool, (Task, Module)):
        return int(tool.result["stats"]["bytes_fetched"])
    return None


def _sizes(sizes: Sequence[int]) -> str:
    return ", ".join(f"{size // MB}" for size in sizes)


SCENARIOS: Mapping[str, Callable[[Lab], Table]] = {
    one.__name__: one
    for one in (
        cold,
        throttled,
        update,
        small,
        converged,
        load,
        killed,
        names,
        copy,
        far,
        fleet,
        verify,
        unpack,
        build,
        archive,
    )
}
