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
                return (0, descriptor.size), response.chunks()
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

    def has_ranges(self) -> bool:
        return False

    def distrust(self, descriptor: Descriptor) -> bool:
        del self._urls[:1]
        return bool(self._urls)

    def pause(self, attempt: int) -> bool:
        return self._http.pause(attempt)
