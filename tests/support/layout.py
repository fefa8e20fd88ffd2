# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Read a store and a registry without the collection's code, to compare them."""

from __future__ import annotations

import base64
import hashlib
import json
import ssl
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

REF_NAME = "org.opencontainers.image.ref.name"
MANIFESTS = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)


def names(store: Path) -> dict[str, dict[str, Any]]:
    """Return the descriptor of each name in a store; {} if the store does not exist."""
    path = store / "index.json"
    entries = json.loads(path.read_bytes())["manifests"] if path.exists() else []
    named = ((entry.get("annotations", {}).get(REF_NAME), entry) for entry in entries)
    return {name: entry for name, entry in named if name}


def fingerprint(store: Path) -> str:
    """Return the digest of ``index.json``: equal for equal names, digests and platforms."""
    return "sha256:" + hashlib.sha256((store / "index.json").read_bytes()).hexdigest()


def blob_path(store: Path, digest: str) -> Path:
    """Return the path of a blob in a store."""
    return store / "blobs" / digest.replace(":", "/")


def read_manifest(store: Path, digest: str) -> dict[str, Any]:
    """Read and parse a manifest of a store."""
    parsed: dict[str, Any] = json.loads(blob_path(store, digest).read_bytes())
    return parsed


def bad_blobs(store: Path) -> list[str]:
    """Read every byte of a store. Return the blobs that do not match their digest."""
    bad = []
    for path in sorted(store.glob("blobs/*/*")):
        digest = hashlib.new(path.parent.name)
        with path.open("rb") as source:
            while chunk := source.read(1 << 20):
                digest.update(chunk)
        if digest.hexdigest() != path.name:
            bad.append(f"{path.parent.name}:{path.name}")
    return bad


def tree(directory: Path) -> dict[str, bytes]:
    """Return the content of each file below a directory by its path, without ``.staging``."""
    return {
        path.relative_to(directory).as_posix(): path.read_bytes()
        for path in sorted(directory.rglob("*"))
        if path.is_file() and ".staging" not in path.relative_to(directory).parts
    }


@dataclass(frozen=True)
class ServedManifest:
    """The answer of a registry to the request for a manifest."""

    digest: str  # of the header Docker-Content-Digest
    media_type: str
    raw: bytes


def read_served_manifest(
    url: str,
    repository: str,
    reference: str,
    *,
    username: str | None = None,
    password: str | None = None,
    cafile: str | None = None,
) -> ServedManifest:
    """Request a manifest by tag or digest from the registry at `url`.

    Send Basic credentials if they are given.
    """
    headers = {"Accept": ", ".join(MANIFESTS)}
    target = f"{url}/v2/{repository}/manifests/{reference}"
    request = urllib.request.Request(target, headers=headers)
    if username is not None:
        pair = base64.b64encode(f"{username}:{password}".encode()).decode()
        request.add_header("Authorization", f"Basic {pair}")
    context = ssl.create_default_context(cafile=cafile) if cafile else None
    with urllib.request.urlopen(request, timeout=30, context=context) as answer:
        got = answer.headers
        return ServedManifest(got["Docker-Content-Digest"], got["Content-Type"], answer.read())
