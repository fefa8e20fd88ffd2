# SPDX-License-Identifier: GPL-3.0-or-later
"""One repository of a registry as a source (distribution-spec v1.1, "Pull" and "Content Discovery")."""

from __future__ import annotations

import json
import typing as t
from dataclasses import dataclass, field

from .._image import errors
from .._image.manifest import (
    ACCEPT,
    INDEXES,
    MAX_MANIFEST,
    Descriptor,
    Manifest,
    entries_of,
    media_type_of,
    mismatch,
)
from .._image.names import TAG, Digest
from .._image.sources import Blob, ContentSource, Span
from .http import BUSY
from .registry import Registry
from .response import Response
from .urls import content_range


@dataclass(frozen=True)
class Referrer(Descriptor):
    """A manifest whose subject is another."""

    artifact_type: str = field(default="", compare=False)


def lacks(source: ContentSource, tag: str, error: errors.RegistryError) -> bool:
    """Whether a tag that could not be read is not there; where the answer may mean both, the list of tags decides."""
    if isinstance(error, errors.NotFoundError):
        return True
    try:
        return error.may_be_missing and tag not in source.tags()
    except errors.RegistryError as exc:
        return isinstance(exc, errors.NotFoundError)  # a repository that is not there has no tags


class Repository(ContentSource):
    """One repository as a source; no caller sees a status."""

    def __init__(self, registry: Registry, name: str) -> None:
        self.registry = registry
        self.name = name
        self._as_is: set[Digest] = set()
        self._servers: dict[Digest, str] = {}

    def __str__(self) -> str:
        return f"{self.registry.name}/{self.name}"

    def resolve(self, tag: str) -> Digest:
        response = self._request("HEAD", f"manifests/{tag}", {"Accept": ACCEPT})
        response.close()
        if response.status == 404 or response.status in BUSY:
            # A GET would say no more, and be more of what a busy registry cannot bear.
            self.registry.fail(response, f"{self}:{tag}")
        digest = _header_digest(response) if response.status == 200 else None
        return digest or self.read_manifest(tag)[0].digest

    def read_manifest(self, identifier: Digest | str) -> tuple[Descriptor, Manifest]:
        pinned = identifier if isinstance(identifier, Digest) else None
        subject = f"{self}{'@' if pinned else ':'}{identifier}"
        response, raw = self._read_manifest(identifier, subject)
        digest = pinned or self._digest_of(response, raw)
        if not digest.matches(raw):
            got, kind = Digest.of(raw, digest.algorithm), response.header("Content-Type")
            where = self.registry.place(response)
            raise mismatch(raw, kind, got, f"{subject} at {where}" if where else subject)
        manifest = Manifest.parse(raw, response.header("Content-Type"), subject)
        return Descriptor(manifest.media_type, digest, len(raw)), manifest

    def read_blob(
        self, descriptor: Descriptor, span: Span | None = None, retry: bool = True
    ) -> Blob:
        subject, registry = f"{self}@{descriptor.digest}", self.registry
        # Never an open end: a connection whose answer is not read to its end is lost.
        headers = {"Range": f"bytes={span[0]}-{span[1] - 1}"} if span else {}
        path, retries = f"blobs/{descriptor.digest}", None if retry else 0
        response = self._request("GET", path, headers, retries)
        where = registry.place(response)
        self._servers[descriptor.digest] = where or registry.name
        if span and response.status in (206, 416):
            if _is_part(response, span, descriptor.size):
                return span, response.chunks()
            response.close()
            registry.has_ranges, at = False, f" at {where}" if where else ""
            raise errors.RangeError(f"{subject}: answered{at} with other bytes than were asked for")
        if response.status != 200:
            registry.fail(response, subject)
        if span:
            registry.has_ranges = False
        return (0, descriptor.size), response.chunks(is_encoded(response, descriptor, self._as_is))

    def has_ranges(self, descriptor: Descriptor) -> bool:
        return self.registry.has_ranges

    def served_by(self, descriptor: Descriptor) -> str:
        return self._servers.get(descriptor.digest, self.registry.name)

    def tags(self) -> list[str]:
        path, subject = f"{self.name}/tags/list?n=1000", f"{self}: tags"
        return sorted(self.registry.pages(path, self.name, subject, _parse_tags))

    def referrers(self, digest: Digest) -> list[Referrer]:
        path, subject = f"{self.name}/referrers/{digest}", f"{self}@{digest}: referrers"
        try:
            found = self.registry.pages(path, self.name, subject, _parse_referrers)
        except errors.NotFoundError:  # no such API: clients keep a list themselves
            tag = referrers_tag(digest)
            try:
                manifest = self.read_manifest(tag)[1]
            except errors.RegistryError as exc:
                if lacks(self, tag, exc):
                    return []
                raise
            if not manifest.is_index:
                return []
            found = set(_parse_referrers(manifest.raw, manifest.media_type, subject))
        return sorted({one.digest: one for one in found}.values(), key=lambda one: one.digest)

    def backoff(self, attempt: int, descriptor: Descriptor | None = None) -> bool:
        # Where there is another to ask, patience only delays.
        is_tried = self.registry.is_mirror and attempt > 1
        return not is_tried and self.registry.http.backoff(attempt)

    def _read_manifest(self, identifier: Digest | str, subject: str) -> tuple[Response, bytes]:
        path, accept, attempt = f"manifests/{identifier}", {"Accept": ACCEPT}, 0
        while True:
            attempt += 1
            self.registry.spend_pull(lambda: self._request("HEAD", path, accept))
            response = self._request("GET", path, accept)
            if response.status != 200:
                self.registry.fail(response, subject)
            try:
                return response, response.read(MAX_MANIFEST, "manifest")
            except errors.TruncatedError:
                if not self.backoff(attempt):
                    raise

    def _request(
        self,
        method: str,
        path: str,
        headers: t.Mapping[str, str] | None = None,
        retries: int | None = None,
    ) -> Response:
        return self.registry.request(method, f"{self.name}/{path}", self.name, headers, retries)

    def _digest_of(self, response: Response, raw: bytes) -> Digest:
        claimed, computed = _header_digest(response), Digest.of(raw)
        if claimed and claimed.matches(raw):
            return claimed
        if claimed:
            self.registry.warn(f"{self}: the registry calls {computed} {claimed}")
        return computed


def is_encoded(response: Response, descriptor: Descriptor, as_is: set[Digest]) -> bool:
    """A Content-Encoding may be on top of a blob (moby#17595). Without a size, every second reading undoes it.

    ``as_is`` is for this alone: the blobs whose last reading did not.
    """
    if not response.encoding:
        return False
    if response.content_length is not None:
        return response.content_length != descriptor.size
    as_is ^= {descriptor.digest}
    return descriptor.digest not in as_is


def _is_part(response: Response, span: Span, size: int) -> bool:
    """Whether an answer is the bytes that were asked for, and says so."""
    (first, end), got = span, content_range(response.header("Content-Range"))
    kind = response.header("Content-Type").lower()
    return (
        response.status == 206
        and got in ((first, end - 1, size), (first, end - 1, None))
        and response.content_length in (None, end - first)
        and not response.header("Content-Encoding").strip()
        and not kind.startswith("multipart/")
    )


def _header_digest(response: Response) -> Digest | None:
    values = response.header_values("Docker-Content-Digest")
    try:
        return Digest.parse(values[0].strip()) if len(values) == 1 else None
    except errors.DigestError:
        return None


def referrers_tag(digest: Digest) -> str:
    """Where a list of referrers is without the API (distribution-spec v1.1, "Referrers Tag Schema")."""
    return f"{digest.algorithm[:32]}-{digest.encoded[:64]}"


def _parse_referrers(raw: bytes, content_type: str, subject: str) -> list[Referrer]:
    if media_type_of(content_type) not in INDEXES:
        called = errors.printable(repr(content_type))
        raise errors.ProtocolError(
            f"{subject}: the answer has the type {called}, which is no index"
        )
    try:
        index = Manifest.parse(raw, content_type, subject)
    except errors.ContentError as exc:
        raise errors.ProtocolError(str(exc)) from exc
    entries = zip(index.children, entries_of(json.loads(raw), "manifests", subject))
    return [Referrer(**vars(child), artifact_type=_type(entry)) for child, entry in entries]


def _type(entry: t.Mapping[str, t.Any]) -> str:
    value = entry.get("artifactType")
    return value if isinstance(value, str) else ""


def listed(raw: bytes, key: str, subject: str) -> list[t.Any]:
    """The list under a key of an answer; or ProtocolError."""
    try:
        answer = json.loads(raw.decode("utf-8"), parse_int=float)  # of a million digits, too
        return entries_of(answer, key, f"{subject}: the answer")
    except (ValueError, AttributeError, RecursionError) as exc:
        raise errors.ProtocolError(f"{subject}: the answer is not a JSON object") from exc
    except errors.ManifestError as exc:
        raise errors.ProtocolError(str(exc)) from exc


def _parse_tags(raw: bytes, _content_type: str, subject: str) -> list[str]:
    tags = listed(raw, "tags", subject)
    # Artifactory lists digests among them.
    return [tag for tag in tags if isinstance(tag, str) and TAG.fullmatch(tag)]
