# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The verbs of the OCI distribution spec v1.1 over a ``Storage``."""

from __future__ import annotations

import re
from typing import Callable
from urllib.parse import quote, urlencode

from .bodies import as_body, digest_of
from .exchange import OCTETS, Answer, Call, Refusal, content_answer, json_answer
from .storage import Storage, StoredManifest, parse_object
from .uploads import DIGEST, Uploads

INDEX = "application/vnd.oci.image.index.v1+json"
PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
NAME = re.compile(rf"{PART}(?:/{PART})*")
TAG = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}")
MANIFEST_LIMIT = 4 << 20

ROUTES = (
    (re.compile(r"/v2/(?P<name>.+)/manifests/(?P<last>[^/]+)"), "manifests"),
    (re.compile(r"/v2/(?P<name>.+)/blobs/uploads/?"), "uploads"),
    (re.compile(r"/v2/(?P<name>.+)/blobs/uploads/(?P<last>[^/]+)"), "session"),
    (re.compile(r"/v2/(?P<name>.+)/blobs/(?P<last>[^/]+)"), "blobs"),
    (re.compile(r"/v2/(?P<name>.+)/tags/list"), "tags"),
    (re.compile(r"/v2/(?P<name>.+)/referrers/(?P<last>[^/]+)"), "referrers"),
)


def route(path: str) -> tuple[str, str, str] | None:
    """Split a path into kind of resource, repository and last part; None for an unknown path."""
    if path in ("/v2", "/v2/"):
        return "ping", "", ""
    if path == "/v2/_catalog":
        return "catalog", "", ""
    for pattern, kind in ROUTES:
        found = pattern.fullmatch(path)
        if found is not None:
            parts = found.groupdict()
            return kind, parts["name"], parts.get("last") or ""
    return None


class Distribution:
    """Answer a ``Call`` below ``/v2/``. Access is checked elsewhere.

    ``lenient``: accept manifests that refer to missing content. ``page_size``: the most entries
    on a page of a list. ``referrers``, ``deletes``: whether the registry supports these.
    """

    def __init__(
        self,
        storage: Storage,
        page_size: int | None = None,
        lenient: bool = False,
        referrers: bool = True,
        deletes: bool = True,
    ) -> None:
        self.storage = storage
        self.page_size = page_size
        self.lenient = lenient
        self.has_referrers = referrers
        self.deletes = deletes
        self.uploads = Uploads(storage)

    def answer(self, call: Call, may_mount: Callable[[str], bool], negotiate: bool) -> Answer:
        """Return the answer to ``call`` without faults. Raise ``Refusal`` for an error.

        ``may_mount`` returns whether the caller may mount from a repository; ``negotiate`` makes
        the registry honour the Accept header.
        """
        found = route(call.route)
        if found is None:
            raise Refusal(404, "NOT_FOUND", "no such resource")
        kind, name, last = found
        if name and (NAME.fullmatch(name) is None or len(name) > 255):
            raise Refusal(400, "NAME_INVALID", f"{name[:80]} is not a repository name")
        if kind == "ping":
            return json_answer(200, {})
        if kind == "catalog":
            return self._page(call, "repositories", self.storage.repositories(), {})
        if kind == "manifests":
            return self._manifests(call, name, last, negotiate)
        if kind == "blobs":
            return self._blobs(call, name, last)
        if kind == "uploads":
            self._only(call, "POST")
            return self.uploads.post(call, name, may_mount(call.value("from") or ""))
        if kind == "session":
            return self.uploads.session(call, name, last)
        if kind == "tags":
            return self._tags(call, name)
        return self._referrers(call, name, last)

    @staticmethod
    def _only(call: Call, *methods: str) -> None:
        if call.method not in methods:
            raise Refusal(405, "UNSUPPORTED", "no such method here", Allow=", ".join(methods))

    def _blobs(self, call: Call, name: str, digest: str) -> Answer:
        self._only(call, "GET", "HEAD", "DELETE")
        if DIGEST.fullmatch(digest) is None:
            raise Refusal(400, "DIGEST_INVALID", "not a digest")
        body = self.storage.blob(name, digest)
        if body is None:
            raise Refusal(404, "BLOB_UNKNOWN", "blob unknown to registry")
        if call.method == "DELETE":
            return self._delete(name, digest)
        about = (("Content-Type", OCTETS), ("Docker-Content-Digest", digest))
        return content_answer(call, body, *about)

    def _delete(self, name: str, reference: str) -> Answer:
        if not self.deletes:
            raise Refusal(405, "UNSUPPORTED", "deleting is disabled")
        forget = self.storage.remove if ":" in reference else self.storage.untag
        forget(name, reference)
        return Answer(202)

    def _manifests(self, call: Call, name: str, reference: str, negotiate: bool) -> Answer:
        self._only(call, "GET", "HEAD", "PUT", "DELETE")
        if DIGEST.fullmatch(reference) is None and TAG.fullmatch(reference) is None:
            code = "DIGEST_INVALID" if ":" in reference else "TAG_INVALID"
            raise Refusal(400, code, "neither a tag nor a digest")
        if call.method == "PUT":
            return self._put(call, name, reference)
        manifest = self.storage.manifest(name, reference)
        if manifest is not None and negotiate:
            manifest = self._acceptable(call, name, manifest)
        if manifest is None:
            known = self.storage.tags(name) is not None
            code = "MANIFEST_UNKNOWN" if known else "NAME_UNKNOWN"
            raise Refusal(404, code, "manifest unknown" if known else "repository name not known")
        if call.method == "DELETE":
            return self._delete(name, reference)
        about = [("Content-Type", manifest.media_type), ("Docker-Content-Digest", manifest.digest)]
        return Answer(200, about, as_body(manifest.raw))

    def _acceptable(self, call: Call, name: str, manifest: StoredManifest) -> StoredManifest | None:
        """Return ``manifest`` if Accept names its type, or else its first child, or else None."""
        accept = call.headers.get("accept", "")
        accepted = [part.partition(";")[0].strip() for part in accept.split(",")]
        if manifest.media_type in accepted:
            return manifest
        for child in manifest.view.get("manifests") or []:
            return self.storage.manifest(name, child["digest"])
        return None

    def _put(self, call: Call, name: str, reference: str) -> Answer:
        raw = call.read()
        media_type = call.headers.get("content-type", "")
        self._check_manifest(name, raw, media_type)
        algorithm = call.value("digest-algorithm") or "sha256"
        if ":" in reference:
            algorithm = reference.partition(":")[0]
            if digest_of(raw, algorithm) != reference:
                raise Refusal(400, "DIGEST_INVALID", "the manifest has another digest")
        digest = self.storage.add_manifest(name, raw, media_type, algorithm=algorithm)
        answer = Answer(201, [("Location", f"/v2/{name}/manifests/{digest}")])
        answer.set("Docker-Content-Digest", digest)
        tags = call.values("tag") if ":" in reference else [reference]
        for tag in tags:
            self.storage.tag(name, tag, digest)
        if ":" in reference and tags:
            answer.set("OCI-Tag", *tags)
        subject = parse_object(raw).get("subject")
        if self.has_referrers and isinstance(subject, dict) and "digest" in subject:
            answer.set("OCI-Subject", str(subject["digest"]))
        return answer

    def _check_manifest(self, name: str, raw: bytes, media_type: str) -> None:
        if len(raw) > MANIFEST_LIMIT:
            raise Refusal(413, "SIZE_INVALID", "the manifest is larger than 4 MiB")
        if self.lenient:
            return
        view = parse_object(raw)
        if view.get("schemaVersion") != 2 or not media_type:
            raise Refusal(400, "MANIFEST_INVALID", "not a manifest of schema version 2")
        if view.get("mediaType", media_type) != media_type:
            raise Refusal(400, "MANIFEST_INVALID", "mediaType and Content-Type differ")
        missing = self.storage.missing(name, raw)
        if missing:
            raise Refusal(400, "MANIFEST_BLOB_UNKNOWN", f"not here: {', '.join(missing)}")

    def _tags(self, call: Call, name: str) -> Answer:
        self._only(call, "GET", "HEAD")
        tags = self.storage.tags(name)
        if tags is None:
            raise Refusal(404, "NAME_UNKNOWN", "repository name not known to registry")
        return self._page(call, "tags", tags, {"name": name})

    def _page(
        self, call: Call, key: str, entries: list[str], document: dict[str, object]
    ) -> Answer:
        """Return the page of a list after ``last``, with a relative Link to the next page."""
        last = call.value("last")
        if last is not None:
            entries = [entry for entry in entries if entry > last]
        asked = call.value("n")
        if asked is not None and not asked.isdigit():
            raise Refusal(400, "PAGINATION_NUMBER_INVALID", "n is not a number")
        limits = [int(asked)] if asked is not None else []
        limits += [self.page_size] if self.page_size is not None else []
        limit = min(limits, default=len(entries))
        page = entries[:limit]
        answer = json_answer(200, {**document, key: page})
        if page and len(page) < len(entries):
            query = urlencode({"last": page[-1], "n": limit})
            answer.set("Link", f'<{quote(call.route)}?{query}>; rel="next"')
        return answer

    def _referrers(self, call: Call, name: str, digest: str) -> Answer:
        self._only(call, "GET", "HEAD")
        if not self.has_referrers:
            raise Refusal(404, "NOT_FOUND", "no referrers here")
        if DIGEST.fullmatch(digest) is None:
            raise Refusal(400, "DIGEST_INVALID", "not a digest")
        entries = self.storage.referrers(name, digest)
        wanted = call.value("artifactType")
        if wanted is not None:
            entries = [entry for entry in entries if entry.get("artifactType") == wanted]
        index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}
        answer = json_answer(200, index)
        answer.set("Content-Type", INDEX)
        if wanted is not None:
            answer.set("OCI-Filters-Applied", "artifactType")
        return answer
