# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Build in memory: a Dockerfile and a directory become a recipe, and base images are archives of a test."""

from __future__ import annotations

import contextlib
import os
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ansible_collections.lockstep.images.plugins.module_utils._build.base import (
    BaseImage,
    BaseLayer,
    ImageTree,
    Spool,
)
from ansible_collections.lockstep.images.plugins.module_utils._build.builder import Builder
from ansible_collections.lockstep.images.plugins.module_utils._build.context import Context
from ansible_collections.lockstep.images.plugins.module_utils._build.dockerfile import Dockerfile
from ansible_collections.lockstep.images.plugins.module_utils._build.recipe import Recipe
from ansible_collections.lockstep.images.plugins.module_utils._image.manifest import (
    OCI_MANIFEST,
    Descriptor,
    ImageConfig,
)
from ansible_collections.lockstep.images.plugins.module_utils._image.names import Digest, Platform
from ansible_collections.lockstep.images.plugins.module_utils._operations.build import plan_build
from ansible_collections.lockstep.images.plugins.module_utils._operations.build_options import (
    BuildOptions,
    Target,
)
from ansible_collections.lockstep.images.plugins.module_utils._store.store import ImageStore

from .fakes import FakeSources
from .layout import blob_path, read_manifest
from .plans import dry_run, execute, fetch_options
from .stores import assert_valid_store, whole_tree
from .trees import source_of

PLATFORM = Platform.parse("linux/amd64")


def base_layers(*tars: bytes) -> tuple[BaseLayer, ...]:
    """Return the layers of an image with these archives."""
    found = []
    for tar in tars:
        source = source_of(tar)
        found.append(BaseLayer(source.blob, source.diff_id, source.open, source.decompress))
    return tuple(found)


def base_image(*tars: bytes, config: Mapping[str, Any] | None = None) -> BaseImage:
    """Return an image with these archives, and with this inner configuration."""
    layers = base_layers(*tars)
    diff_ids = tuple(layer.diff_id for layer in layers)
    value = {
        "architecture": "amd64",
        "os": "linux",
        "config": dict(config or {}),
        "rootfs": {"type": "layers", "diff_ids": list(map(str, diff_ids))},
    }
    digest = Digest.of(repr(value).encode())
    manifest = Descriptor(OCI_MANIFEST, digest, 1)
    return BaseImage(
        "r.example/base:1", digest, manifest, ImageConfig(value, PLATFORM, diff_ids), layers
    )


class MemoryTrees:
    """Reads the files of base images each time."""

    def outline(self, image: BaseImage) -> ImageTree:
        return self.full(image)

    def full(self, image: BaseImage) -> ImageTree:
        tree = ImageTree()
        tree.read(image.layers)
        return tree


@contextlib.contextmanager
def built(
    text: str,
    context: Path | None = None,
    images: Mapping[str, BaseImage] | None = None,
    target: str | None = None,
    args: Mapping[str, str] | None = None,
    warnings: list[str] | None = None,
) -> Iterator[Recipe]:
    """Build a Dockerfile; ``images`` are the base images by the name that it gives them."""
    dockerfile = Dockerfile(text, "Dockerfile", args or {}, PLATFORM)
    with contextlib.ExitStack() as opened:
        files = Context(str(context)) if context else None
        if files:
            opened.callback(files.close)
            files.use_ignore_file(b"Dockerfile")
        spool = Spool()
        opened.callback(spool.close)
        known = {(name, PLATFORM): image for name, image in (images or {}).items()}
        builder = Builder(dockerfile, files, known, MemoryTrees(), spool)
        yield builder.build(dockerfile.target(target))
        if warnings is not None:
            warnings += builder.warnings


def files_of(recipe: Recipe) -> list[dict[str, str]]:
    """Return the files of each new layer: by path, mode, owner and content or target."""
    found = []
    for changes in recipe.layers:
        found.append(
            {
                path.decode(): f"{node.kind}{node.mode:o} {node.uid}:{node.gid} {_said(node)}".strip()
                for path, node in changes.entries()
            }
        )
    return found


def _said(node: Any) -> str:
    return b"".join(node.content.chunks()).decode() if node.content else node.link.decode()


NAME = "r.example/web:1"


class Builds:
    """A context, which is written if it is not there, a store and registries."""

    def __init__(self, path: Path) -> None:
        self.context, self.path = path / "context", path / "store"
        self.sources = FakeSources()
        if self.context.exists():
            return
        (self.context / "site").mkdir(parents=True)
        (self.context / "site/index.html").write_text("hello")
        (self.context / "site/run").write_text("#!/bin/sh\n")
        os.chmod(self.context / "site/run", 0o755)
        self.write("FROM scratch\nCOPY site /srv\nUSER 1\n")

    def write(self, text: str) -> None:
        (self.context / "Dockerfile").write_text(text)

    @contextlib.contextmanager
    def plan(self, *, policy="missing", lock=None, **params):
        known = {
            "name": NAME, "context": str(self.context), "file": None, "instructions": None, "args": None, "target": None,
            "platform": "linux/amd64", "compression": "stored", "created": 0, "modes": "git", "format": "oci",
            "engine": "none", "timeout_total": 60.0,
        }  # fmt: skip
        options = BuildOptions.of({**known, **params})
        with ImageStore(str(self.path)).hold() as store, contextlib.ExitStack() as opened:
            yield plan_build(
                Target(store, opened), self.sources, options, fetch_options({}), policy=policy, lock=lock
            )  # fmt: skip

    def check(self, **params):
        with self.plan(**params) as plan:
            return dry_run(plan).result()

    def run(self, **params):
        """Build, and compare with check mode and with a second run."""
        expected = self.check(**params)
        with self.plan(**params) as plan:
            outcome = execute(plan)
        if outcome.failure:
            raise outcome.failure
        result = outcome.result()
        assert result == expected
        assert_valid_store(self.path)
        before = whole_tree(self.path)
        again = self.check(**params)
        assert (again["changed"], again["digest"], again["status"]) == (
            False,
            result["digest"],
            "up_to_date",
        )
        assert whole_tree(self.path) == before
        return result

    def files(self, result, number=-1):
        entry = read_manifest(self.path, result["digest"])["layers"][number]
        with tarfile.open(blob_path(self.path, entry["digest"])) as archive:
            return archive.getnames()
