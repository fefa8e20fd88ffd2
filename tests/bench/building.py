# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The scenario of building: 30 files are added to a base image that is on the host already."""

from __future__ import annotations

import os
import random
import shlex
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from ansible_collections.lockstep.images.tests.support import modules
from ansible_collections.lockstep.images.tests.support.images import image, layer
from ansible_collections.lockstep.images.tests.support.services import podman_env
from ansible_collections.lockstep.images.tests.support.services_process import (
    ServiceError,
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

_BASE, _NAME = "r.example/base:1", "r.example/built:1"
_FILES, _SIZE = 30, 20_000
_BASE_FILES = 5000  # of 10 KB
_TEXT = f'FROM {_BASE}\nCOPY site /srv/site\nENV A=1\nUSER 33\nCMD ["/srv/site/run"]\n'
_NO_IMAGE: Sequence[Published] = [None]  # type: ignore[list-item]


class Build(Alone):
    """The module `image_build`, without Ansible, on a copy of a store with the base."""

    def __init__(self, directory: Path, source: Path, context: Path, label: str) -> None:
        store = directory / "store"
        options = {"name": _NAME, "context": os.fspath(context), "store": os.fspath(store)}
        super().__init__(directory, "image_build", platform="linux/amd64", **options)
        self.label, self._source, self._store = label, source, store

    def pull(self, images: Sequence[Published]) -> Usage:
        """Build the image."""
        return self.run()

    def clear(self) -> None:
        """Take a new copy of the store."""
        shutil.rmtree(self._store, ignore_errors=True)
        shutil.copytree(self._source, self._store, copy_function=os.link)


class Again(Build):
    """The same with an image that is in place."""

    def clear(self) -> None:
        """Build the image once."""
        if not self._store.exists():
            super().clear()
            self.run()


def build(lab: Lab) -> Table:
    """Add 30 files to a base image."""
    context, source = lab.directory / "context", lab.directory / "base"
    _make(context, source)
    known = lab.directory / "known"
    shutil.copytree(source, known)
    options = {
        "name": "r.example/other:1",
        "context": os.fspath(context),
        "store": os.fspath(known),
    }
    outcome = modules.run("image_build", platform="linux/amd64", **options)
    if outcome.failed:
        raise ServiceError(str(outcome.result))
    with podman_env(lab.directory / "buildah") as environment:
        tools: list[Tool] = [
            Build(lab.directory / "one", known, context, "image_build"),
            Build(lab.directory / "two", source, context, "image_build, the first on this base"),
            Again(lab.directory / "three", known, context, "image_build, nothing changed"),
            *_buildah(lab.directory, source, context, environment),
        ]
        rows = compare(tools, lab.runs, _once)
    size = sum(one.stat().st_size for one in (source / "blobs/sha256").iterdir())
    text = f"""\
{_FILES} files of {_SIZE // 1000} KB are added to a base image of {size / MB:.0f} MB with {_BASE_FILES} files, which is in the
store, or in the storage of buildah. `image_build` reads the layers of a base once on a host. Both make the image with the
time 0. buildah has no cache of steps here, and `image_build` has none at all. buildah keeps the files of an image in its
storage; to have it in an OCI layout, as `image_build` does, it must be pushed."""
    return Table("build", "Build an image", text, rows, lab.runs)


def _once(tool: Tool) -> tuple[Usage, Mapping[str, Cell]]:
    tool.clear()
    return tool.pull(_NO_IMAGE), {}


def _buildah(
    directory: Path, source: Path, context: Path, environment: Mapping[str, str]
) -> list[Tool]:
    if missing_programs("buildah"):
        return []
    layout = directory / "layout"
    shutil.copytree(source, layout, copy_function=os.link)
    pull = [program("buildah"), "pull", "--quiet", f"oci:{layout}:{_BASE}"]
    found = run(pull, env=environment).split()[-1]
    run([program("buildah"), "tag", found, _BASE], env=environment)
    command = [
        program("buildah"), "bud", "--quiet", "--pull-never", "--timestamp=0", "--no-cache", f"--tag={_NAME}",
        os.fspath(context),
    ]  # fmt: skip

    output = directory / "output"
    push = [program("buildah"), "push", "--quiet", _NAME, f"oci:{output}:built"]
    script = f"{shlex.join(command)}\n{shlex.join(push)}"

    def clear() -> None:
        run(["sh", "-c", f'"{program("buildah")}" rmi {_NAME} || true'], env=environment)
        shutil.rmtree(output, ignore_errors=True)

    return [
        Command(label, directory, lambda _image, what=what: what, clear, environment=environment)  # type: ignore[misc]
        for label, what in (
            ("buildah bud", command),
            ("buildah bud, and push to a layout", ["sh", "-ec", script]),
        )
    ]


def _make(context: Path, store: Path) -> None:
    """Write the context, and a store with the base."""
    noise = random.Random(1)
    (context / "site").mkdir(parents=True)
    for number in range(_FILES):
        (context / f"site/file-{number}").write_bytes(noise.randbytes(_SIZE))
    (context / "Dockerfile").write_text(_TEXT)
    files = {
        f"usr/lib/part-{number // 50}/file-{number}": noise.randbytes(5000) + bytes(5000)
        for number in range(_BASE_FILES)
    }
    put(store, image([layer(files)]), _BASE)
