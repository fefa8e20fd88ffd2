# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The scenario of archives: a store becomes one file, and that file a store."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from ansible_collections.lockstep.images.tests.support import modules
from ansible_collections.lockstep.images.tests.support.services_process import (
    ServiceError,
    missing_programs,
    program,
)

from .by_ansible import Alone, Module
from .content import MB, Published
from .lab import Lab, compare
from .measure import Usage
from .peers import Command, Tool
from .tables import Cell, Table

# The tools get their files as a part of their command.
_NO_IMAGE: Sequence[Published] = [None]  # type: ignore[list-item]


class Archiver(Alone):
    """The module `image_export` or `image_import`, without Ansible."""

    def __init__(self, directory: Path, module: str, target: Path, **given: object) -> None:
        super().__init__(directory / module, module)
        self.label, self._target, self._given = module, target, given

    def pull(self, images: Sequence[Published]) -> Usage:
        """Export or import."""
        return self.run(**self._given)

    def clear(self) -> None:
        """Remove what it wrote."""
        _remove(self._target)


def archive(lab: Lab) -> Table:
    """Write a store to an archive, and read it again."""
    image, work = lab.large(), lab.directory / "archives"
    work.mkdir()
    pulled = Module(lab.directory / "archived")
    pulled.pull([image])
    source = os.fspath(pulled.target)
    whole, plain = work / "whole.tar", work / "plain.tar"
    options = {"store": source, "name": [image.name]}
    done = modules.run("image_export", dest=os.fspath(whole), **options)
    if done.failed:
        raise ServiceError(f"image_export: {done.result}")
    store, files, made, copied = (
        work / name for name in ("store", "files", "made.tar", "skopeo.tar")
    )
    tar = f"tar -cf {made} -C {source} . && sync {made}"
    summed = f"{tar} && sha256sum {made} > {made}.sha256"
    untar = f"mkdir {files} && tar -xf {whole} -C {files} && sync && sha256sum {files}/blobs/*/*"
    writers: list[Tool] = [
        Archiver(work, "image_export", plain, dest=os.fspath(plain), **options),
        _shell("tar -c, sync", work, tar, made),
        _shell("tar -c, sync, sha256sum", work, summed, made),
    ]
    if not missing_programs("skopeo"):
        copy = f"{program('skopeo')} copy --quiet oci:{source}:{image.name} oci-archive:{copied}:{image.name}"
        writers.append(_shell("skopeo copy oci-archive:", work, copy, copied))
    readers: list[Tool] = [
        Archiver(work, "image_import", store, src=os.fspath(whole), store=os.fspath(store)),
        _shell("tar -x, sync, sha256sum", work, untar, files),
    ]
    rows = [*compare(writers, lab.runs, _anew), *compare(readers, lab.runs, _anew)]
    text = f"""\
The store with the image of the first scenario ({image.size / MB:.0f} MB) becomes one file on the same disk, and that file
a store. `image_export` compares each blob with its digest, and writes the sum of the file beside it, as the row with
`sha256sum` does. It hashes all bytes twice, with two threads, while the disk already writes. `image_import` compares each
blob with its digest, and flushes it before it appears. `tar` compares nothing. The ratios of the last two rows refer to
`image_import`."""
    return Table("archive", "Export a store and import it", text, rows, lab.runs)


def _anew(tool: Tool) -> tuple[Usage, Mapping[str, Cell]]:
    tool.clear()
    usage = tool.pull(_NO_IMAGE)
    tool.clear()
    return usage, {}


def _shell(label: str, directory: Path, script: str, target: Path) -> Tool:
    command = ["sh", "-ec", script]
    return Command(label, directory, lambda _image: command, lambda: _remove(target))


def _remove(target: Path) -> None:
    shutil.rmtree(target, ignore_errors=True)
    for path in (target, target.with_name(f"{target.name}.sha256")):
        if path.is_file():
            path.unlink()
