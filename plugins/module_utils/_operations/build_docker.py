# SPDX-License-Identifier: GPL-3.0-or-later
"""Build with a Docker daemon. Images go in and out under temporary names, and are removed from it afterwards."""

from __future__ import annotations

import contextlib
import io
import os
import typing as t

from .._archive.contents import ImageArchive
from .._archive.image_archive import ImageContent
from .._archive.media import open_media
from .._archive.members import Span
from .._build.base import BaseImage
from .._build.copies import context_archive
from .._build.renamed import renamed, stage_name
from .._engines.docker_build import DockerBuilder
from .._image import errors
from .._image.manifest import Descriptor, Manifest
from .._image.names import Reference
from .._store.store import ImageStore
from .build_work import PREFIX, Made, Work

_QUICK = 60.0  # seconds


class DockerBuild:
    """Builds in a directory, whose name is that of the build."""

    def __init__(self, directory: str, work: Work, store: ImageStore) -> None:
        self._directory, self._work, self._store = directory, work, store
        self._token = os.path.basename(directory)[len(PREFIX) :]

    def build(self) -> Made:
        """Return the image; its archive is in the directory."""
        work = self._work
        timeout = work.options.timeout
        builder = DockerBuilder(work.engine.path, _QUICK, timeout, self._token)
        above = os.path.dirname(self._directory)
        builder.remove_abandoned(lambda one: os.path.isdir(os.path.join(above, PREFIX + one)))
        with contextlib.closing(builder):
            names = {
                key: builder.bring(self._content(builder.name(str(number)), image), _opener(image))
                for number, (key, image) in enumerate(work.images.items())
            }
            options = self._write_context(names)
            answer = builder.build(self._path("context.tar"), options, self._args(), timeout)
            if answer.status is not None:
                raise work.failed("build", answer.status, answer.output)
            builder.save(self._path("image.tar"), timeout)
        return _made(self._path("image.tar"))

    def _write_context(self, names: t.Mapping[t.Any, str]) -> dict[str, str]:
        """Write the archive of the context; return the options of the build that depend on it."""
        work = self._work
        text = renamed(work.dockerfile, work.text, work.stage, names)
        dockerfile = f".{PREFIX}{self._token}"
        with open(self._path("context.tar"), "wb") as file:
            parts = context_archive(work.context, dockerfile.encode(), text, work.options.created)
            file.writelines(parts)
        return {
            "dockerfile": dockerfile,
            "target": stage_name(work.stage.number),
            "platform": str(work.options.platform),
        }

    def _args(self) -> dict[str, str]:
        """Return the build arguments; only BuildKit knows those of the platform."""
        automatic = self._work.dockerfile.automatic
        known = {name: value for name, value in automatic.items() if name in self._work.text}
        return {**known, **self._work.options.args}

    def _content(self, name: str, image: BaseImage) -> ImageContent:
        """Return an image of the store under a temporary name."""
        descriptor = image.manifest
        manifest = self._store.manifest(descriptor.digest, descriptor.media_type)
        if manifest is None or manifest.config is None:
            raise errors.NotInStoreError(f"{self._store.path} does not hold {descriptor.digest}")
        raw = self._store.read(manifest.config.digest)
        return ImageContent.of(Reference.parse(name), [(descriptor, manifest)], raw, image.config)

    def _path(self, name: str) -> str:
        return os.path.join(self._directory, name)


def _opener(image: BaseImage) -> t.Callable[[Descriptor], t.ContextManager[t.BinaryIO]]:
    layers = {layer.blob.digest: layer for layer in image.layers}
    return lambda blob: layers[blob.digest].open()


def _made(path: str) -> Made:
    """Return the image in an archive that Docker wrote."""
    with open_media(path) as media:
        archive = ImageArchive(media)
        roots = {one.root for one in archive.images}
        if len(roots) != 1:
            raise errors.ManifestError(f"{path}: has {len(roots)} images instead of one")
        root = roots.pop()
        manifest = Manifest.parse(archive.read(root.digest, ""), root.media_type, path)
        if manifest.config is None:  # an index, for example with attestations
            raise errors.ManifestError(f"{path}: has no image of one platform")
        raw = archive.read(manifest.config.digest, "")
        spans = {layer: archive.span(layer.digest, "") for layer in manifest.layers}
    return Made(raw, manifest.layers, lambda layer: t.cast(t.BinaryIO, _Part(path, spans[layer])))


class _Part(io.RawIOBase):
    """A part of a file, as a file to read."""

    def __init__(self, path: str, span: Span) -> None:
        self._file = open(path, "rb", buffering=0)  # noqa: SIM115
        self._file.seek(span.offset)
        self._left = span.size

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: t.Any) -> int:
        view = memoryview(buffer)[: self._left]
        count = self._file.readinto(view) or 0
        self._left -= count
        return count

    def close(self) -> None:
        self._file.close()
        super().close()
