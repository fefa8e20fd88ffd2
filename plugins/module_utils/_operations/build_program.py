# SPDX-License-Identifier: GPL-3.0-or-later
"""Build with buildah or podman, in a storage of its own: nothing else of the host is touched."""

from __future__ import annotations

import json
import os
import typing as t

from .._build.base import BaseImage
from .._build.copies import copy_context
from .._engines.process import run
from .._image import errors
from .._image.manifest import Manifest
from .._store.files import read_file
from .._store.store import ImageStore
from .build_work import Made, Work

_BASE, _BUILT = "localhost/lockstep:base-{}", "localhost/lockstep:built"
_QUICK = 60.0  # seconds
_MAX_DOCUMENT = 4 * 1024 * 1024


class ProgramBuild:
    """Runs a program in a directory; it gets the descriptor of the lock of the directory too."""

    def __init__(self, directory: str, lock: int, work: Work, store: ImageStore) -> None:
        self._directory, self._lock, self._work, self._store = directory, lock, work, store
        storage = [f"--root={directory}/graph", f"--runroot={directory}/run"]
        self._program = [work.engine.path, *storage]

    def build(self) -> Made:
        """Return the image; its files are in the directory (the transport ``dir:`` of containers-transports(5))."""
        work, options = self._work, self._work.options
        context, output = self._path("context"), self._path("output")
        os.mkdir(context, 0o755)
        if work.context:
            copy_context(work.context, context, options.created)
        with open(self._path("Dockerfile"), "w", encoding="utf-8") as file:
            file.write(work.text)
        command = [
            "build", "--pull=never", "--no-cache", f"--timestamp={options.created}", f"--format={options.form}",
            f"--platform={options.platform}", f"--tag={_BUILT}", f"--file={self._path('Dockerfile')}",
        ]  # fmt: skip
        for number, ((name, _platform), image) in enumerate(work.images.items()):
            self._bring(number, image)
            command.append(f"--build-context={name}=docker-image://{_BASE.format(number)}")
        # A value on the command line could be read by every user of the host.
        command += [f"--build-arg={name}" for name in options.args]
        command += [f"--target={options.target}"] if options.target else []
        self._call([*command, context], options.timeout, options.args)
        self._call(["push", "--quiet", _BUILT, f"dir:{output}"], options.timeout)
        return _made(output, str(work.engine))

    def _bring(self, number: int, image: BaseImage) -> None:
        """Give the engine a base image, out of the store."""
        layout = self._path(f"base-{number}")
        os.mkdir(layout)
        os.symlink(os.path.join(self._store.path, "blobs"), os.path.join(layout, "blobs"))
        entry = {
            **image.manifest.as_json(),
            "annotations": {"org.opencontainers.image.ref.name": "base"},
        }
        for name, value in (
            ("oci-layout", {"imageLayoutVersion": "1.0.0"}),
            ("index.json", {"schemaVersion": 2, "manifests": [entry]}),
        ):
            with open(os.path.join(layout, name), "w", encoding="utf-8") as file:
                json.dump(value, file)
        found = self._call(["pull", "--quiet", f"oci:{layout}:base"], self._work.options.timeout)
        self._call(["tag", found.split()[-1], _BASE.format(number)], _QUICK)

    def _call(
        self, arguments: t.Sequence[str], timeout: float, env: t.Mapping[str, str] | None = None
    ) -> str:
        """Run the engine and return its output; raise BuildFailedError if it fails."""
        done = run([*self._program, *arguments], timeout, env=env, files=[self._lock])
        output = done.stdout.decode("utf-8", "replace")
        if done.status:
            raise self._work.failed(arguments[0], done.status, f"{output}\n{done.stderr}")
        return output

    def _path(self, name: str) -> str:
        return os.path.join(self._directory, name)


def _made(directory: str, where: str) -> Made:
    """Return the image in a directory."""
    manifest = Manifest.parse(read_file(f"{directory}/manifest.json", _MAX_DOCUMENT), "", where)
    if manifest.config is None:
        raise errors.ManifestError(f"{where}: made no image")
    raw = read_file(os.path.join(directory, manifest.config.digest.encoded), _MAX_DOCUMENT)
    if not manifest.config.digest.matches(raw):
        raise errors.DigestMismatchError(f"{where}: its configuration has another digest")
    return Made(
        raw,
        manifest.layers,
        lambda layer: open(os.path.join(directory, layer.digest.encoded), "rb"),
    )
