# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The scenario of unpacking: an image of files of this machine becomes directories."""

from __future__ import annotations

import hashlib
import os
import shlex
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from ansible_collections.lockstep.images.tests.support.images import TYPES, Layer, image
from ansible_collections.lockstep.images.tests.support.services import podman_env
from ansible_collections.lockstep.images.tests.support.services_process import (
    missing_programs,
    program,
    run,
)
from ansible_collections.lockstep.images.tests.support.stores import put

from .by_ansible import Alone
from .content import MB, Published
from .lab import Lab, compare
from .measure import Usage
from .peers import Command, Tool
from .tables import Cell, Table

NAME = "machine"
_TREES = ("usr/share", "usr/bin", "usr/lib/python3", "usr/lib/x86_64-linux-gnu", "usr/lib/aarch64-linux-gnu", "opt")  # fmt: skip
# The tools get the image as a part of their command.
_NO_IMAGE: Sequence[Published] = [None]  # type: ignore[list-item]
_MOST = 350 * MB  # compressed bytes of a layer


class Unpack(Alone):
    """The module `image_unpack`, without Ansible."""

    def __init__(self, directory: Path, store: Path, label: str, **given: object) -> None:
        target = directory / "trees"
        super().__init__(directory, "image_unpack", path=os.fspath(target), **given)
        self.label, self._store, self._target = label, store, target

    def pull(self, images: Sequence[Published]) -> Usage:
        """Unpack the image."""
        return self.run(name=[NAME], store=os.fspath(self._store))

    def clear(self) -> None:
        """Remove all files."""
        shutil.rmtree(self._target, ignore_errors=True)


def unpack(lab: Lab) -> Table:
    """Unpack an image of files of this machine."""
    store = lab.cache / "unpack"
    if not (store / "index.json").exists():
        _make(store, lab.directory)
    layers = sorted((store / "blobs" / "sha256").iterdir(), key=lambda one: one.stat().st_size)[2:]
    with podman_env(lab.directory / "podman") as environment:
        tools: list[Tool] = [
            Unpack(lab.directory / "two", store, "image_unpack, two layers at a time"),
            Unpack(lab.directory / "one", store, "image_unpack, one layer at a time", parallel=1),
            *_peers(lab.directory, store, layers, environment),
        ]
        rows = compare(tools, lab.runs, _from_nothing)
    size = sum(layer.stat().st_size for layer in layers)
    text = f"""\
One image of {size / MB:.0f} MB in {len(layers)} gzip layers, with files of this machine, in a store on the same disk.
`image_unpack` compares each layer with its diff id, and flushes the file system before a layer appears. `umoci raw
unpack` and `podman pull` compare it, too; `gzip -dc` with `tar -x` compares nothing."""
    return Table("unpack", "Unpack an image", text, rows, lab.runs)


def _from_nothing(tool: Tool) -> tuple[Usage, Mapping[str, Cell]]:
    tool.clear()
    usage = tool.pull(_NO_IMAGE)
    tool.clear()
    return usage, {}


def _peers(
    directory: Path, store: Path, layers: Sequence[Path], environment: Mapping[str, str]
) -> list[Tool]:
    tools: list[Tool] = []
    if not missing_programs("umoci"):
        target = directory / "umoci"
        command = [
            program("umoci"),
            "raw",
            "unpack",
            "--image",
            f"{store}:{NAME}",
            os.fspath(target),
        ]
        tools.append(_command("umoci raw unpack", directory, command, target))
    target = directory / "tar"
    steps = [f"gzip -dc {shlex.quote(os.fspath(one))} | tar -x -C {target}" for one in layers]
    script = "\n".join([f"mkdir {target}", *steps])
    tools.append(_command("gzip -dc | tar -x", directory, ["sh", "-ec", script], target))
    if not missing_programs("podman"):
        pull = [program("podman"), "pull", "--quiet", f"oci:{store}:{NAME}"]
        remove = [program("podman"), "image", "rm", "--all", "--force"]
        tools.append(
            Command(
                "podman pull oci:",
                directory,
                lambda _image: pull,
                lambda: _run_quietly(remove, environment),
                environment=environment,
            )
        )
    return tools


def _command(label: str, directory: Path, command: list[str], target: Path) -> Tool:
    return Command(
        label, directory, lambda _image: command, lambda: shutil.rmtree(target, ignore_errors=True)
    )


def _run_quietly(command: Sequence[str], environment: Mapping[str, str]) -> None:
    run(command, env=environment)


def _bytes_below(tree: str) -> int:
    return int(run(["du", "-sxb", f"/{tree}"]).split()[0])


def _make(store: Path, work: Path) -> None:
    """Make a store whose image has files of this machine, with the compression of most images."""
    layers = []
    for tree in _TREES:
        tar, packed = work / "layer.tar", work / "layer.tar.gz"
        if not Path("/", tree).is_dir() or _bytes_below(tree) > 4 * _MOST:
            continue
        run(["tar", "--sort=name", "-C", "/", "-cf", tar, tree], timeout=1800)
        run(["sh", "-ec", f"gzip -6 -c {tar} > {packed}"], timeout=1800)
        if packed.stat().st_size <= _MOST:
            blob = packed.read_bytes()
            with tar.open("rb") as file:
                diff_id = hashlib.sha256()
                for data in iter(lambda: file.read(1 << 20), b""):
                    diff_id.update(data)
            digest = f"sha256:{hashlib.sha256(blob).hexdigest()}"
            layers.append(Layer(blob, TYPES["gzip"][0], f"sha256:{diff_id.hexdigest()}", digest))
        tar.unlink()
        packed.unlink()
    put(store, image(layers), NAME)
