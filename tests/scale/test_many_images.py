# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An archive of 10,000 images: what its import needs of the memory of a host."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from ansible_collections.lockstep.images.tests.support import modules, tarballs
from ansible_collections.lockstep.images.tests.support.archives import NAME, blob
from ansible_collections.lockstep.images.tests.support.images import image, layer, to_json
from ansible_collections.lockstep.images.tests.support.services_process import program

COUNT = 10_000
MOST = 64 * 1024  # KiB


@pytest.fixture(name="archive", scope="module")
def fixture_archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an archive of images that share a layer, with the lock file that ``image_export`` writes."""
    path = tmp_path_factory.mktemp("many") / "a.tar"
    base, entries, locked = layer({"base": b"b" * 100}, None), [], []
    blobs = [blob(base.blob)]
    for number in range(COUNT):
        item = image([base, layer({"own": b"%d" % number}, None)])
        name = f"registry.example.com/team/application-{number:05}:1.0"
        notes = {NAME: name, "io.lockstep.platforms": "linux/amd64"}
        entries.append({**item.descriptor(), "annotations": notes})
        blobs += [blob(item.raw), blob(item.config), blob(item.layers[1].blob)]
        one = {"manifest": item.digest, "config": item.config_digest, "size": item.size}
        place = {"digest": item.digest, "media_type": item.media_type}
        locked.append({"name": name, **place, "platforms": {"linux/amd64": one}})
    with open(path, "wb") as file:
        for name, value in (
            ("index.json", {"manifests": entries, "schemaVersion": 2}),
            ("lock.json", {"images": locked, "lockfile_version": 1}),
            ("oci-layout", {"imageLayoutVersion": "1.0.0"}),
        ):
            file.write(tarballs.entry(name, to_json(value)))
        file.writelines(blobs)
        file.write(tarballs.END)
    return path


def test_import_of_ten_thousand_images_needs_less_than_64_mib(
    archive: Path, tmp_path: Path
) -> None:
    """With the default options. The margin is for other versions of Python and Ansible."""
    log = tmp_path / "peak"
    measured = (program("time"), "-q", "-o", os.fspath(log), "-f", "%M")
    params = {"src": os.fspath(archive), "store": os.fspath(tmp_path / "store")}
    process = modules.start("image_import", launcher=measured, **params)
    outcome = modules.finish(process, timeout=900)
    assert not outcome.failed, outcome.result["msg"]
    assert outcome.result["changed"] and len(outcome.result["images"]) == COUNT
    assert "actions" not in outcome.result
    peak = int(log.read_text())
    print(f"\npeak of the import of {COUNT} images: {peak / 1024:.1f} MiB")
    assert peak < MOST - 2 * 1024
