# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The content of the embedded registry: blobs, manifests and tags of its repositories."""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .bodies import Body, as_body, digest_of

FOREIGN = ("foreign.diff", "nondistributable")


@dataclass(frozen=True)
class StoredManifest:
    """The pushed bytes of a manifest, with the digest and the media type of the push."""

    raw: bytes
    media_type: str
    digest: str

    @property
    def view(self) -> dict[str, Any]:
        """The manifest as a mapping; {} if it is not a JSON object."""
        return parse_object(self.raw)


def parse_object(raw: bytes) -> dict[str, Any]:
    """Parse a JSON object; return {} for anything else."""
    try:
        view = json.loads(raw)
    except (ValueError, RecursionError):
        return {}
    return view if isinstance(view, dict) else {}


def _digests(view: dict[str, Any], *keys: str) -> list[str]:
    """Return the digests of the descriptors under ``keys``, without foreign layers."""
    found = []
    for key in keys:
        entries = view.get(key) or []
        for entry in entries if isinstance(entries, list) else [entries]:
            if not isinstance(entry, dict) or not isinstance(entry.get("digest"), str):
                continue
            if not any(word in str(entry.get("mediaType")) for word in FOREIGN):
                found.append(entry["digest"])
    return found


class Storage:
    """The content of all repositories; thread-safe.

    With a ``directory``, blobs that are uploaded over HTTP are stored there instead of in memory.
    """

    def __init__(self, directory: str | Path | None = None) -> None:
        self.directory = None if directory is None else Path(directory)
        self.lock = threading.RLock()
        self._blobs: dict[str, Body] = {}
        self._links: dict[str, set[str]] = {}
        self._manifests: dict[str, dict[str, StoredManifest]] = {}
        self._tags: dict[str, dict[str, str]] = {}

    def repositories(self) -> list[str]:
        """Return the names of all repositories that hold anything, sorted."""
        with self.lock:
            return sorted({*self._links, *self._manifests, *self._tags})

    def add_blob(
        self, repository: str, content: Any, digest: str | None = None, algorithm: str = "sha256"
    ) -> str:
        """Store ``content`` as a blob of ``repository``. Return its digest.

        A given ``digest`` is not checked, so that a test can store wrong content.
        """
        body = as_body(content)
        digest = digest or digest_of(body, algorithm)
        with self.lock:
            self._blobs[digest] = body
            self._links.setdefault(repository, set()).add(digest)
        return digest

    def blob(self, repository: str, digest: str) -> Body | None:
        """Return the blob, or None if the repository does not have it."""
        with self.lock:
            linked = digest in self._links.get(repository, ())
            return self._blobs.get(digest) if linked else None

    def mount(self, repository: str, digest: str, origin: str) -> bool:
        """Mount a blob of ``origin`` into ``repository``. Return whether ``origin`` has it."""
        with self.lock:
            if self.blob(origin, digest) is None:
                return False
            self._links.setdefault(repository, set()).add(digest)
            return True

    def add_manifest(
        self,
        repository: str,
        raw: bytes,
        media_type: str,
        digest: str | None = None,
        algorithm: str = "sha256",
    ) -> str:
        """Store ``raw`` as a manifest. Return its digest; a given ``digest`` is not checked."""
        digest = digest or digest_of(raw, algorithm)
        with self.lock:
            held = self._manifests.setdefault(repository, {})
            held[digest] = StoredManifest(raw, media_type, digest)
        return digest

    def manifest(self, repository: str, reference: str) -> StoredManifest | None:
        """Return the manifest of a tag or of a digest, or None."""
        with self.lock:
            if ":" not in reference:
                reference = self._tags.get(repository, {}).get(reference, "")
            return self._manifests.get(repository, {}).get(reference)

    def missing(self, repository: str, raw: bytes) -> list[str]:
        """Return the digests that the manifest ``raw`` refers to and ``repository`` does not have."""
        view = parse_object(raw)
        with self.lock:
            blobs = _digests(view, "config", "layers", "blobs")
            lost = [digest for digest in blobs if self.blob(repository, digest) is None]
            children = _digests(view, "manifests")
            return lost + [one for one in children if self.manifest(repository, one) is None]

    def tag(self, repository: str, tag: str, digest: str) -> None:
        """Point ``tag`` at ``digest``, which need not exist."""
        with self.lock:
            self._tags.setdefault(repository, {})[tag] = digest

    def untag(self, repository: str, tag: str) -> bool:
        """Remove ``tag``. Return whether it existed."""
        with self.lock:
            return self._tags.get(repository, {}).pop(tag, None) is not None

    def tags(self, repository: str) -> list[str] | None:
        """Return the sorted tags of ``repository``; None if the repository does not exist."""
        with self.lock:
            if repository not in self.repositories():
                return None
            return sorted(self._tags.get(repository, {}))

    def remove(self, repository: str, digest: str) -> bool:
        """Remove a manifest with its tags, or a blob. Return whether it existed."""
        with self.lock:
            tags = self._tags.get(repository, {})
            links = self._links.get(repository, set())
            found = self._manifests.get(repository, {}).pop(digest, None) is not None
            if found:
                for tag in [name for name, target in tags.items() if target == digest]:
                    del tags[tag]
            if digest in links:
                links.discard(digest)
                found = True
            return found

    def referrers(self, repository: str, digest: str) -> list[dict[str, Any]]:
        """Return descriptors of the manifests whose subject is ``digest``, sorted by digest.

        Rule: OCI distribution-spec v1.1, "Listing Referrers".
        """
        with self.lock:
            held = sorted(self._manifests.get(repository, {}).items())
        found = []
        for name, manifest in held:
            view = manifest.view
            subject = view.get("subject")
            if not isinstance(subject, dict) or subject.get("digest") != digest:
                continue
            config = view.get("config")
            config_type = config.get("mediaType") if isinstance(config, dict) else None
            entry = {
                "mediaType": manifest.media_type,
                "digest": name,
                "size": len(manifest.raw),
                "artifactType": view.get("artifactType") or config_type,
                "annotations": view.get("annotations"),
            }
            found.append({key: value for key, value in entry.items() if value is not None})
        return found
