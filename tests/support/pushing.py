# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Push to embedded registries, with a clock that does not wait."""

from __future__ import annotations

import re
import threading
from pathlib import Path
from typing import Any

from ansible_collections.lockstep.images.plugins.module_utils._execution import Pool
from ansible_collections.lockstep.images.plugins.module_utils._image.copy_blob import copy_blob
from ansible_collections.lockstep.images.plugins.module_utils._image.errors import LockstepError
from ansible_collections.lockstep.images.plugins.module_utils._image.manifest import Descriptor
from ansible_collections.lockstep.images.plugins.module_utils._image.names import Reference
from ansible_collections.lockstep.images.plugins.module_utils._image.sources import ChunkPolicy
from ansible_collections.lockstep.images.plugins.module_utils._operations.sending import Sinks
from ansible_collections.lockstep.images.plugins.module_utils._registry.upload import _Stream

from .fakes import FakeRepository, blob
from .pulling import Puller
from .registry import Registry

REPOSITORY = "demo/app"


class Sender:
    """Send blobs from memory to ``demo/app`` of a registry. Each sender stands for one task."""

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
        """Return the sink for another repository of the registry."""
        return self.sinks.of(Reference.parse(f"{self.registry.address}/{repository}:1"))

    def send(self, data: bytes, wanted: Descriptor | None = None, sink: Any = None) -> Descriptor:
        """Send ``data`` as the blob ``wanted``, by default as its own. Return the descriptor."""
        descriptor = wanted or blob(data)
        self.source.content[str(descriptor.digest)] = data
        with Pool(1) as pool:
            copy_blob(descriptor, self.source, sink or self.sink, pool, ChunkPolicy())
        assert running_senders() == []
        return descriptor

    def fails(self, data: bytes, wanted: Descriptor | None = None) -> LockstepError:
        """Send ``data``, and return the error.

        Assert that it leaves neither a thread nor a blob, and that it shows no secret.
        """
        try:
            self.send(data, wanted)
        except LockstepError as exc:
            assert running_senders() == []
            assert str(exc).isprintable() and len(str(exc)) < 600
            for secret in self.puller.secrets():
                assert secret not in f"{exc} {exc.hint} {exc.details}"
            assert not self.arrived(wanted or blob(data))
            return exc
        raise AssertionError("the data was sent")

    def arrived(self, descriptor: Descriptor, repository: str = REPOSITORY) -> bool:
        """Return whether the registry has this blob, with the right bytes."""
        got = self.registry.blob(repository, str(descriptor.digest))
        return got is not None and descriptor.digest.matches(got)


def running_senders() -> list[threading.Thread]:
    """Wait up to 5 s for the threads that send bodies. Return those that still run."""
    found = [
        thread
        for thread in threading.enumerate()
        if isinstance(getattr(getattr(thread, "_target", None), "__self__", None), _Stream)
    ]
    for thread in found:
        thread.join(5)
    return [thread for thread in found if thread.is_alive()]


def steps(registry: Registry) -> list[str]:
    """Return the requests in order, as ``POST uploads``, ``POST mount``, ``PATCH upload``, ``PUT tag``."""
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
    """Return the number of bytes of blobs in each request."""
    return [
        request.body_size
        for request in registry.requests
        if "/blobs/uploads/" in request.path and request.method in ("PATCH", "PUT")
    ]


def open_uploads(registry: Registry) -> int:
    """Return the number of uploads that were neither finished nor cancelled."""
    return len(registry._distribution.uploads._open)


def held(registry: Registry) -> dict[str, Any]:
    """Return the content of a registry: tags, manifests and digests of blobs by repository."""
    storage = registry.storage
    with storage.lock:
        return {
            "tags": {name: dict(tags) for name, tags in storage._tags.items()},
            "manifests": {name: dict(found) for name, found in storage._manifests.items()},
            "blobs": {name: set(found) for name, found in storage._links.items()},
        }


def half_images(registry: Registry) -> list[str]:
    """Return the tags of images with missing content."""
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
    """Return the summaries of actions."""
    return [action.summary() for action in actions]


def facts(result: dict[str, Any]) -> dict[str, Any]:
    """Return a result without its ``stats``."""
    return {key: value for key, value in result.items() if key != "stats"}
