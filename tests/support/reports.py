# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Data of fleets that do not exist, and the page of their report."""

from __future__ import annotations

import functools
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
from ansible_collections.lockstep.images.plugins.filter.human_size import human_size
from ansible_collections.lockstep.images.plugins.filter.report import report

TEMPLATE = Path(__file__).parents[2] / "playbooks" / "templates" / "report.html.j2"
GIB = 1 << 30


def digest(text: str) -> str:
    """Return the digest of a text."""
    return f"sha256:{hashlib.sha256(text.encode('utf-8', 'replace')).hexdigest()}"


def image(name: str, version: str = "1", *, base: str = "base", **other: Any) -> dict[str, Any]:
    """Return the keys of an image in image_info's result that a report reads.

    The image has one layer of `base`, and one of its own.
    """
    layers = [
        {"digest": digest(base), "size": 40_000_000},
        {"digest": digest(f"{name} {version}"), "size": 1_000_000 + len(name)},
    ]
    described = {
        "name": name,
        "digest": digest(f"manifest of {name} {version}"),
        "platforms": ["linux/amd64"],
        "complete": True,
        "size": sum(layer["size"] for layer in layers) + 500,
        "layers": layers,
    }
    return {**described, **other}


def info(*images: dict[str, Any], index: str = "") -> dict[str, Any]:
    """Return a result of image_info. The fingerprint depends on names, digests and `index`."""
    names = sorted((one["name"], one["digest"], one["platforms"]) for one in images)
    return {"images": list(images), "missing": [], "fingerprint": digest(f"{names}{index}")}


def holds(*images: dict[str, Any], free: int = 50 * GIB, **other: Any) -> dict[str, Any]:
    """Return the data of a host with these images."""
    store = {
        "store": "/var/lib/lockstep/images",
        "bytes": sum(one["size"] or 0 for one in images),
        "reclaimable": 0,
        "file_system": {"mount": "/", "type": "ext4", "size": 100 * GIB, "free": free},
    }
    return {"info": info(*images), "store": store, **other}


def synced(
    wanted: Sequence[dict[str, Any]], *rows: tuple[str, str, str], fetch: int = 0, **other: Any
) -> dict[str, Any]:
    """Return a result of image_sync in check mode; `rows` are name, wanted, found."""
    return {
        "changed": bool(rows),
        "images": [{"name": one["name"], "size": one["size"]} for one in wanted],
        "differences": [dict(zip(("name", "wanted", "found"), row), message="") for row in rows],
        "dropped": [],
        "bytes_freed": 0,
        "fingerprint": info(*wanted)["fingerprint"],
        "stats": {"bytes_to_fetch": fetch},
        **other,
    }


def loaded(*images: tuple[str, str, str | None, str], **facts: Any) -> dict[str, Any]:
    """Return a result of image_load in check mode; `images` are name, id, before, status."""
    engine = {"kind": "docker", "version": "20.10.24", "store": "graph", "namespace": None}
    return {
        "changed": any(one[3] != "present" for one in images),
        "images": [dict(zip(("name", "id", "before", "status"), one)) for one in images],
        "engine": {**engine, **facts},
    }


def image_text(one: Mapping[str, Any]) -> str:
    """Return the text for an image in a list of differences."""
    return f"{one['digest']} ({', '.join(one['platforms'])})"


def large_fleet(hosts: int, images: int) -> dict[str, Any]:
    """Return the data of many hosts. Every third differs, in more images the higher its number."""
    right = [
        image(f"registry.example.com:5000/shop/app-{n:03}:1.{n}", base=f"base {n % 8}")
        for n in range(images)
    ]
    by_host = {}
    for n in range(hosts):
        own = list(right)
        if n % 3 == 0:
            for step in range(1 + n // 30):
                at = (n * 7 + step * 13) % images
                changes = ({"digest": digest(f"moved {n % 4}")}, {"complete": False})
                own[at] = {**own[at], **changes[step % 2]}
            own.pop(n % images)
        by_host[f"host{n:03}.example.com"] = holds(*own, free=(n * 37 % hosts + 1) * GIB)
    return by_host


@functools.cache
def _template() -> jinja2.Template:
    """Return the template of the page. Compiling it takes ten times as long as rendering it."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATE.parent),
        trim_blocks=True,
        keep_trailing_newline=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters["lockstep.images.human_size"] = human_size
    return environment.get_template(TEMPLATE.name)


def page(
    by_host: Mapping[str, Any],
    title: str = "Images of all hosts",
    date: str | None = None,
    since: Path | None = None,
    lock: Any = None,
    attached: Any = None,
) -> str:
    """Render the page of the report from the data of all hosts, the JSON file of an earlier report, and a lock."""
    model = report(by_host, date, since and os.fspath(since), lock, attached)
    return _template().render(report_model=model, report_heading=title)


def write_json(path: Path, by_host: Mapping[str, Any], date: str | None = None) -> Path:
    """Write the JSON file of a report, and return its path."""
    path.write_text(json.dumps(report(by_host, date)), encoding="utf-8")
    return path


def attached(*images: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """Return a result of registry_info in which each image has a signature, an SBOM and provenance; ``fields`` are of each."""
    types = {
        "signature": "https://sigstore.dev/cosign/sign/v1",
        "sbom": "https://spdx.dev/Document",
        "provenance": "https://slsa.dev/provenance/v1",
    }
    entries = []
    for one in images:
        listed = [
            {
                "kind": kind,
                "status": "present, not verified",
                "subject": one["digest"],
                "found_in": "referrers",
                "digest": digest(f"{kind} of {one['name']}"),
                "media_type": "application/vnd.oci.image.manifest.v1+json",
                "size": 1234,
                "artifact_type": "application/vnd.dev.sigstore.bundle.v0.3+json",
                "predicate_type": predicate,
                **fields,
            }
            for kind, predicate in types.items()
        ]
        pinned = f"{one['name']}@{one['digest']}"
        entries += [{"name": pinned, "digest": one["digest"], "attached": listed}] * 2
    return {"images": entries}


def lock_of(*names: str, by: Sequence[str] | None, digest_of: Any = digest) -> dict[str, Any]:
    """Return the value of a lock file in which these signers vouch for each name, None for no verdict."""
    entries = []
    for name in names:
        found = digest_of(name)
        platform = {"manifest": found, "config": None, "size": 1}
        entry = {"name": name, "digest": found, "media_type": "a/b", "platforms": {"all": platform}}
        verified = {
            "digest": found,
            "rule": "*",
            "policy": digest("*"),
            "covers": "index",
            "by": by,
        }
        entries.append({**entry, "verified": verified} if by else entry)
    return {"lockfile_version": 1, "images": entries}
