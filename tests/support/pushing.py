# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pushes to embedded registries, on a clock that does not wait."""

from __future__ import annotations

import re
import threading
from pathlib import Path
from typing import Any

from ansible_collections.lockstep.images.plugins.module_utils._image.copy_blob import copy_blob
from ansible_collections.lockstep.images.plugins.module_utils._image.errors import LockstepError
from ansible_collections.lockstep.images.plugins.module_utils._image.manifest import Descriptor
from ansible_collections.lockstep.images.plugins.module_utils._image.names import Reference
from ansible_collections.lockstep.images.plugins.module_utils._image.sources import ChunkPolicy
from ansible_collections.lockstep.images.plugins.module_utils._operations.transfer import Sinks
from ansible_collections.lockstep.images.plugins.module_utils._plan import Pool
from ansible_collections.lockstep.images.plugins.module_utils._registry.upload import _Stream

from .fakes import FakeRepository, blob
from .pulling import Puller
from .registry import Registry

REPOSITORY = "demo/app"


class Sender:
    """Sends blobs from memory to ``demo/app`` of a registry, each sender as a task of its own."""

    def __init__(
        self, directory: Path, registry: Registry, chunk_size: int = 0, **options: Any
    ) -> None:
        self.registry = registry
        self.puller = Puller(directory, registry, **options)
        self.clock = self.puller.clock
        self.sinks = Sinks(self.puller.sources, chunk_size)
        self.sink = self.sink_of(REPOSITORY)
        self.source = FakeRepository()
        self.source.backoff = self.sink.backoff  # type: ignore[method-assign]

    def sink_of(self, repository: str) -> Any:
        """Another repository of the registry."""
        return self.sinks.of(Reference.parse(f"{self.registry.address}/{repository}:1"))

    def send(self, data: bytes, wanted: Descriptor | None = None, sink: Any = None) -> Descriptor:
        """Send ``data``, which may be other bytes than are wanted."""
        descriptor = wanted or blob(data)
        self.source.content[str(descriptor.digest)] = data
        with Pool(1) as pool:
            copy_blob(descriptor, self.source, sink or self.sink, pool, ChunkPolicy())
        assert senders() == []
        return descriptor

    def fails(self, data: bytes, wanted: Descriptor | None = None) -> LockstepError:
        """Send ``data``, and return the error it ends with; no thread is left, and no blob."""
        try:
            self.send(data, wanted)
        except LockstepError as exc:
            assert senders() == []
            assert str(exc).isprintable() and len(str(exc)) < 600
            for secret in self.puller.secrets():
                assert secret not in f"{exc} {exc.hint} {exc.details}"
            assert not self.arrived(wanted or blob(data))
            return exc
        raise AssertionError("it was sent")

    def arrived(self, descriptor: Descriptor, repository: str = REPOSITORY) -> bool:
        """Whether the registry has these very bytes."""
        got = self.registry.blob(repository, str(descriptor.digest))
        return got is not None and descriptor.digest.matches(got)


def senders() -> list[threading.Thread]:
    """Threads that still send a body, once they have had the time to end."""
    found = [
        thread
        for thread in threading.enumerate()
        if isinstance(getattr(getattr(thread, "_target", None), "__self__", None), _Stream)
    ]
    for thread in found:
        thread.join(5)
    return [thread for thread in found if thread.is_alive()]


def steps(registry: Registry) -> list[str]:
    """What was asked for, in order: ``POST uploads``, ``POST mount``, ``PATCH upload``, ``HEAD blob``, ``PUT tag``."""
    found = []
    for request in registry.requests:
        for pattern, kind in (
            (r"/manifests/sha\d+:", "manifest"),
            (r"/manifests/", "tag"),
            (r"/blobs/uploads/.+", "upload"),
            (r"/blobs/uploads/$", "mount" if "mount=" in request.query else "uploads"),
            (r"/blobs/", "blob"),
            (r"/tags/list$", "tags"),
            (r"/referrers/", "referrers"),
            (r"^/token", "token"),
        ):
            if re.search(pattern, request.path):
                found.append(f"{request.method} {kind}")
                break
    return found


def bodies(registry: Registry) -> list[int]:
    """How many bytes of blobs each request brought."""
    return [
        request.body_size
        for request in registry.requests
        if "/blobs/uploads/" in request.path and request.method in ("PATCH", "PUT")
    ]


def open_uploads(registry: Registry) -> int:
    """How many uploads were begun and neither ended nor cancelled."""
    return len(registry._distribution.uploads._open)


def held(registry: Registry) -> dict[str, Any]:
    """Return the content of a registry: tags and bytes of manifests by repository, and the repositories of each blob."""
    storage = registry.storage
    with storage.lock:
        return {
            "tags": {name: dict(tags) for name, tags in storage._tags.items()},
            "manifests": {name: dict(found) for name, found in storage._manifests.items()},
            "blobs": {name: set(found) for name, found in storage._links.items()},
        }


def half_images(registry: Registry) -> list[str]:
    """The tags that lead to something which is not there."""
    storage, found = registry.storage, []
    for repository in storage.repositories():
        for tag in storage.tags(repository) or ():
            waiting = [tag]
            while waiting:
                manifest = storage.manifest(repository, waiting.pop())
                if manifest is None or set(storage.missing(repository, manifest.raw)):
                    found.append(f"{repository}:{tag}")
                    break
                waiting += [
                    one["digest"]
                    for one in manifest.view.get("manifests", ())
                    if storage.manifest(repository, one["digest"])
                ]
    return found


def summaries(actions: Any) -> list[dict[str, Any]]:
    """What actions say they do."""
    return [action.summary() for action in actions]


def facts(result: dict[str, Any]) -> dict[str, Any]:
    """All of a result but what it has cost."""
    return {key: value for key, value in result.items() if key != "stats"}
