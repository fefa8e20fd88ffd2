# SPDX-License-Identifier: GPL-3.0-or-later
"""A layer that no registry may distribute, where its manifest says it is (image-spec v1.1, "Non-Distributable Layers")."""

from __future__ import annotations

import typing as t

from ansible_collections.lockstep.images.plugins.module_utils._oci import errors
from ansible_collections.lockstep.images.plugins.module_utils._oci.content import (
    Descriptor,
    Manifest,
)
from ansible_collections.lockstep.images.plugins.module_utils._oci.names import Digest
from ansible_collections.lockstep.images.plugins.module_utils._oci.transport import HttpClient
from ansible_collections.lockstep.images.plugins.module_utils._oci.urls import (
    may_reach,
    shown_url,
)


class ForeignLayer:
    """The URLs of one layer as a source; no credential is ever sent there (CVE-2020-15157)."""

    def __init__(self, http: HttpClient, descriptor: Descriptor, registry_url: str) -> None:
        self._http = http
        self._urls = [url for url in descriptor.urls if url.startswith(("https://", "http://"))]
        self._registry_url = registry_url
        self._digest = descriptor.digest
        self._served = ""

    def __str__(self) -> str:
        return shown_url(self._urls[0]) if self._urls else str(self._digest)

    def read_blob(
        self,
        descriptor: Descriptor,
        first: int = 0,
        end: int | None = None,
        patient: bool = True,
    ) -> tuple[tuple[int, int], t.Generator[bytes, None, None]]:
        failures = []
        for url in self._urls:
            if not may_reach(url, self._registry_url):
                failures.append(f"{shown_url(url)} is in a private network")
                continue
            try:
                response = self._http.request("GET", url)
            except errors.LockstepError as exc:
                failures.append(str(exc))
                continue
            if response.status == 200:
                self._served = url
                # As in a registry, it may be on top of the layer, or the layer's own (moby#17595).
                is_on_top = response.encoding and response.content_length != descriptor.size
                return (0, descriptor.size), response.chunks(bool(is_on_top))
            response.close()
            failures.append(f"{shown_url(url)} answered {response.status}")
        why = "; ".join(failures) or "its manifest names no URL for it"
        raise errors.NotFoundError(f"foreign layer {self._digest}: {why}")

    def resolve(self, tag: str) -> Digest:
        raise errors.NotFoundError(f"{self}: has no tag {tag}")

    def read_manifest(self, identifier: Digest | str) -> tuple[Descriptor, Manifest]:
        raise errors.NotFoundError(f"{self}: has no manifest {identifier}")

    def referrers(self, digest: Digest) -> list[Descriptor]:
        return []

    def tags(self) -> list[str]:
        return []

    def has_ranges(self, descriptor: Descriptor) -> bool:
        return False

    def distrust(self, descriptor: Descriptor) -> bool:
        others = [url for url in self._urls if url != self._served]
        self._urls = others or self._urls  # the last one is tried again
        return bool(others)

    def pause(self, attempt: int, descriptor: Descriptor | None = None) -> bool:
        return self._http.pause(attempt)
