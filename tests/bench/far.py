# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The scenario of a registry that is far away: what a task waits for is the distance."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from ansible_collections.lockstep.images.tests.support import certificates
from ansible_collections.lockstep.images.tests.support.faraway import far_away
from ansible_collections.lockstep.images.tests.support.services import docker_registry
from ansible_collections.lockstep.images.tests.support.services_process import Service

from . import peers
from .by_ansible import Module
from .content import MB, Published, publish_small
from .copying import LAYER_SIZE, TAGS, compare_copies, module_alone, peers_of_copy, publish_tags
from .lab import Lab, compare
from .measure import Usage, Watch
from .peers import Tool
from .tables import Cell, Row, Table

RTT = 0.05  # seconds
RATE = 12.5 * MB  # bytes per second
IMAGES = 100
_PATIENCE = 30.0  # seconds


@contextlib.contextmanager
def distant_registry(directory: Path) -> Iterator[tuple[Service, Service]]:
    """Yield a registry twice: near to the machine, to fill it, and far away, with TLS."""
    data = directory / "data"
    with (
        docker_registry(directory / "near", data=data) as near,
        docker_registry(directory / "tls", tls=certificates.server(), data=data) as tls,
        far_away(directory / "link", tls, RTT, RATE) as distant,
    ):
        yield near, distant


@contextlib.contextmanager
def _target(directory: Path) -> Iterator[Service]:
    with distant_registry(directory) as (_near, distant):
        yield distant


def far(lab: Lab) -> Table:
    """Pull and copy over a long distance."""
    cafile = os.fspath(certificates.authority().certificate)
    rows: list[Row] = []
    with distant_registry(lab.directory / "source") as (near, distant):
        small = [image.through(distant) for image in publish_small(near, IMAGES)]
        large = replace(lab, registry=near).large().through(distant)
        with peers.installed(lab.directory, "skopeo") as others:
            tools: list[Tool] = [Module(lab.directory / "pull", ca_path=cafile), *others]
            for what, images, is_new in (
                (f"{IMAGES} images", small, True),
                (f"{IMAGES} images again", small, False),  # they are in place now
                (f"{round(large.size / MB)} MB", [large], True),
            ):
                rows += _named(what, _pulls(lab, tools, distant, images, is_new))
        source = replace(publish_tags(near, TAGS), registry=distant, cafile=cafile)
        copiers = [module_alone(lab.directory / "copy", ca_path=cafile)]
        copiers += peers_of_copy(lab.directory)
        rows += compare_copies(lab, copiers, source, _target, _PATIENCE)
    text = f"""\
A proxy on the loopback device lets every byte arrive {RTT * 500:.0f} ms late, in both directions, and sends
{RATE / MB:g} MB per second ({RATE * 8 / MB:.0f} Mbit/s); a new connection takes {RTT * 1000:.0f} ms. Client and registry
speak TLS through it. The images are those of the scenarios above: {IMAGES} small ones, which are pulled again by tag,
and one of {large.size / MB:.0f} MB, which takes {large.size / RATE:.0f} s at this speed. The {TAGS} tags, with layers of
{LAYER_SIZE // 1000} KB, are copied from this registry to another one that is as far away. Our rows are the module alone;
skopeo copies images one after the other, in a shell loop. Requests are counted in the logs of the registries. What takes
more than {_PATIENCE:.0f} s is measured once. Ratios refer to the first row of the same work."""
    return Table("far", "Pull and copy over a long distance", text, rows, lab.runs)


def _pulls(
    lab: Lab, tools: Sequence[Tool], server: Service, images: Sequence[Published], is_new: bool
) -> list[Row]:
    """Compare pulls into an empty target if `is_new`, else of what is in place."""
    watch = Watch(server)

    def pull(tool: Tool) -> tuple[Usage, Mapping[str, Cell]]:
        if is_new:
            tool.clear()
        watch.begin()
        usage = tool.pull(images)
        traffic = watch.traffic()
        return usage, {"requests": len(traffic.requests)}

    return compare(tools, lab.runs, pull, patience=_PATIENCE)


def _named(what: str, rows: Sequence[Row]) -> list[Row]:
    return [replace(row, label=f"{row.label.partition(',')[0]}, {what}") for row in rows]
