# SPDX-License-Identifier: GPL-3.0-or-later
"""Receive: a store gets what the controller has put into its staging directory, and no registry is asked."""

from __future__ import annotations

import typing as t

from .._image import errors
from .._image.lock import Lock, manifests_of
from .._image.manifest import Descriptor, Manifest
from .._image.names import Digest, Platform, Reference
from .._image.sources import Blob, ContentSource, Span, TransferStats
from .._plan import Plan
from .._store.store import ImageStore
from .fetching import FetchOptions, FetchPlanner, ImageRequest, plan_fetch

_HINT = "Pull the image into the store of the controller, for this platform."


class SentContent(ContentSource):
    """What the controller has sent, as ``Sources`` and as their only repository.

    Nothing can be read from it: manifests and configurations come with the task, and blobs are in the staging directory.
    """

    warnings: t.Sequence[str] = ()

    def __str__(self) -> str:
        return "the controller"

    def prepare(self) -> None:
        """Import nothing."""

    def repository(self, reference: Reference) -> ContentSource:
        """Return itself, for every image."""
        return self

    def foreign(self, reference: Reference, descriptor: Descriptor) -> ContentSource:
        """Return itself, for every layer."""
        return self

    def stats(self) -> t.Mapping[str, t.Any]:
        """Return the statistics of no requests."""
        return TransferStats().as_result()

    def resolve(self, tag: str) -> Digest:
        """Raise NotInStoreError: the controller has resolved the names that it sends."""
        raise errors.NotInStoreError(f"the controller has sent no digest of {tag}", _HINT)

    def read_manifest(self, identifier: Digest | str) -> tuple[Descriptor, Manifest]:
        """Raise NotInStoreError: the controller sends every manifest that it has."""
        raise errors.NotInStoreError(f"the controller has not sent {identifier}", _HINT)

    def read_blob(
        self, descriptor: Descriptor, span: Span | None = None, retry: bool = True
    ) -> Blob:
        """Raise DigestMismatchError: the bytes in the staging directory are missing or wrong."""
        raise errors.DigestMismatchError(
            f"{descriptor.digest} did not arrive, or with other bytes",
            "Run again to send it again.",
        )


def lock_and_content(
    lock: t.Any, content: dict[t.Any, t.Any]
) -> tuple[Lock | None, t.Mapping[Digest, bytes]]:
    """Return a lock from its value, None for none, and the manifests and configurations that come with the task.

    Raise LockError if the lock is not valid, or a text does not match its digest.
    """
    manifests = manifests_of(content, "manifests")
    if lock is None:
        return None, manifests
    parsed = Lock.parse(lock)
    manifests = {**parsed.manifests, **manifests}
    return Lock(parsed.images, parsed.place, manifests), manifests


def plan_received(
    references: t.Sequence[Reference],
    platforms: t.Sequence[Platform] | None,
    store: ImageStore,
    options: FetchOptions,
    *,
    manifests: t.Mapping[Digest, bytes],
    lock: Lock | None = None,
) -> Plan:
    """Plan to complete images, which have a digest or are in ``lock``, for each platform (None: all)."""
    planner = FetchPlanner(store, SentContent(), options, embedded=manifests)
    requests = [ImageRequest.of(one, platforms, lock) for one in references]
    return plan_fetch(planner, planner.plan_all(requests))
