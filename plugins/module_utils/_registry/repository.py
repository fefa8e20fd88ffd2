# SPDX-License-Identifier: GPL-3.0-or-later
"""A repository as a source, alone or with its mirrors (distribution-spec v1.1, "Pull" and "Content Discovery")."""

from __future__ import annotations

import contextlib
import json
import typing as t

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
from .mirrors import Place
from .pacing import BUSY
from .registry import Registry
from .response import Response
from .urls import content_range

T = t.TypeVar("T")


def lacks(source: ContentSource, tag: str, error: errors.RegistryError) -> bool:
    """Return whether a tag is missing, given the error of reading it; an ambiguous error is resolved by the list of tags."""
    if isinstance(error, errors.NotFoundError):
        return True
    try:
        return error.may_be_missing and tag not in source.tags()
    except errors.RegistryError as exc:
        return isinstance(exc, errors.NotFoundError)  # a missing repository has no tags


class Repository(ContentSource):
    """One repository of a registry as a source, and the requests to it. ``name`` is its path in the registry."""

    def __init__(self, registry: Registry, name: str) -> None:
        self.registry = registry
        self.name = name
        self._as_is: set[Digest] = set()
        self._servers: dict[Digest, str] = {}

    def __str__(self) -> str:
        return f"{self.registry.name}/{self.name}"

    def subject(self, identifier: Digest | str) -> str:
        """Return ``REGISTRY/NAME:TAG`` or ``REGISTRY/NAME@DIGEST``, for error messages."""
        return f"{self}{'@' if ':' in str(identifier) else ':'}{identifier}"

    def request(
        self,
        method: str,
        path: str,
        headers: t.Mapping[str, str] | None = None,
        retries: int | None = None,
        body: t.Any = None,
    ) -> Response:
        """Send a request as ``Registry.request`` does; ``path`` starts after ``/v2/NAME/``, or is a whole URL."""
        whole = path if "://" in path else f"{self.name}/{path}"
        return self.registry.request(method, whole, self.name, headers, retries, body)

    def request_scopes(self, scopes: t.Sequence[str]) -> None:
        """Request these scopes in tokens for the repository, in this order, from the next request on."""
        self.registry.request_scopes(self.name, scopes)

    def resolve(self, tag: str) -> Digest:
        response = self.request("HEAD", f"manifests/{tag}", {"Accept": ACCEPT})
        response.close()
        if response.status == 404 or response.status in BUSY:
            # A GET would report no more, and cost a busy registry more.
            self.registry.fail(response, self.subject(tag))
        digest = _header_digest(response) if response.status == 200 else None
        return digest or self.read_manifest(tag)[0].digest

    def read_manifest(self, identifier: Digest | str) -> tuple[Descriptor, Manifest]:
        subject = self.subject(identifier)
        response, raw = self._read_manifest(identifier, subject)
        digest = identifier if isinstance(identifier, Digest) else self._digest_of(response, raw)
        kind = response.header("Content-Type")
        if not digest.matches(raw):
            where = self.registry.other_server(response)
            subject = f"{subject} at {where}" if where else subject
            raise mismatch(raw, kind, Digest.of(raw, digest.algorithm), subject)
        manifest = Manifest.parse(raw, kind, subject)
        return Descriptor(manifest.media_type, digest, len(raw)), manifest

    def read_blob(
        self, descriptor: Descriptor, span: Span | None = None, retry: bool = True
    ) -> Blob:
        subject, registry = self.subject(descriptor.digest), self.registry
        # Never an open end: a connection whose answer is not read to its end is lost.
        headers = {"Range": f"bytes={span[0]}-{span[1] - 1}"} if span else {}
        path, retries = f"blobs/{descriptor.digest}", None if retry else 0
        response = self.request("GET", path, headers, retries)
        where = registry.other_server(response)
        self._servers[descriptor.digest] = where or registry.name
        if span and response.status in (206, 416):
            if _is_part(response, span, descriptor.size):
                return span, response.chunks()
            response.close()
            registry.has_ranges, at = False, f" at {where}" if where else ""
            raise errors.RangeError(f"{subject}: answered{at} with other bytes than requested")
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

    def referrers(self, digest: Digest) -> list[Descriptor]:
        path, subject = f"{self.name}/referrers/{digest}", f"{self.subject(digest)}: referrers"
        try:
            # No more than where the list is a manifest under a tag. In memory it is ten times as large.
            found = self.registry.pages(path, self.name, subject, _parse_referrers, MAX_MANIFEST)
        except errors.NotFoundError:  # no such API: clients keep the list under a tag
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
        once = {referrer.digest: referrer for referrer in found}
        return [once[digest] for digest in sorted(once)]

    def backoff(self, attempt: int, descriptor: Descriptor | None = None) -> bool:
        return self.registry.backoff(attempt)

    def _read_manifest(self, identifier: Digest | str, subject: str) -> tuple[Response, bytes]:
        path, accept, attempt = f"manifests/{identifier}", {"Accept": ACCEPT}, 0
        while True:
            attempt += 1
            self.registry.rate_limit.spend(lambda: self.request("HEAD", path, accept))
            response = self.request("GET", path, accept)
            if response.status != 200:
                self.registry.fail(response, subject)
            try:
                return response, response.read(MAX_MANIFEST, "manifest")
            except errors.TruncatedError:
                if not self.backoff(attempt):
                    raise

    def _digest_of(self, response: Response, raw: bytes) -> Digest:
        """Return the digest of a manifest, in the algorithm of the registry if it states the right one."""
        stated, computed = _header_digest(response), Digest.of(raw)
        if stated and stated.matches(raw):
            return stated
        if stated:
            self.registry.warn(f"{self}: the registry calls {computed} {stated}")
        return computed


class Mirrored(ContentSource):
    """A repository with its mirrors as one source. ``places`` are in the order of requests, the origin is the last one.

    A mirror without the content is skipped for that content, one that refuses the login for the repository, and one
    that is unreachable or serves wrong content for the rest of the task.
    """

    def __init__(self, places: t.Sequence[tuple[Repository, Place]]) -> None:
        self._places = places
        self._origin = places[-1][0]
        self._served: dict[Digest, Repository] = {}
        self._closed: set[Repository] = set()
        self._missing: set[tuple[Repository, Digest]] = set()
        self._breaks: dict[Digest, int] = {}  # of a blob, since the last progress

    def __str__(self) -> str:
        return str(self._origin)

    def resolve(self, tag: str) -> Digest:
        return self._ask(tag, lambda repository: repository.resolve(tag))

    def read_manifest(self, identifier: Digest | str) -> tuple[Descriptor, Manifest]:
        def read(repository: Repository) -> tuple[Descriptor, Manifest]:
            found = repository.read_manifest(identifier)
            repository.registry.count(manifests=1)
            return found

        return self._ask(identifier, read)

    def read_blob(
        self, descriptor: Descriptor, span: Span | None = None, retry: bool = True
    ) -> Blob:
        def read(repository: Repository) -> Blob:
            if retry:
                self._served[descriptor.digest] = repository
            served, chunks = repository.read_blob(descriptor, span, retry)
            return served, _counted(chunks, repository.registry)

        if not retry:
            return read(self._usable("digest-only", descriptor.digest)[0])
        # The caller handles these two: it starts again, or retries.
        return self._ask(descriptor.digest, read, (errors.RangeError, errors.TruncatedError))

    def has_ranges(self, descriptor: Descriptor) -> bool:
        return self._usable("digest-only", descriptor.digest)[0].has_ranges(descriptor)

    def report_corrupt(self, descriptor: Descriptor) -> bool:
        repository = self._served.get(descriptor.digest, self._origin)
        if repository is self._origin:
            return False
        repository.registry.give_up(
            errors.DigestMismatchError(f"it serves wrong bytes for {descriptor.digest}")
        )
        return True

    def served_by(self, descriptor: Descriptor) -> str:
        return self._served.get(descriptor.digest, self._origin).served_by(descriptor)

    def tags(self) -> list[str]:
        return self._origin.tags()

    def referrers(self, digest: Digest) -> list[Descriptor]:
        return self._origin.referrers(digest)

    def backoff(self, attempt: int, descriptor: Descriptor | None = None) -> bool:
        served = self._served.get(descriptor.digest, self._origin) if descriptor else self._origin
        if descriptor and served is not self._origin:
            # A mirror that serves a few bytes each time would get all the retries of a registry.
            breaks = self._breaks.get(descriptor.digest, 0) + 1 if attempt else 0
            attempt = self._breaks[descriptor.digest] = breaks
        return served.backoff(attempt)

    def _usable(self, use: str, what: Digest | str) -> list[Repository]:
        """Return the repositories to ask for a tag or digest, in order; ``use`` is as in ``Place``."""
        mirrors = [
            repository
            for repository, place in self._places[:-1]
            if place.use in ("all", use)
            and repository not in self._closed
            and (repository, what) not in self._missing
            and not repository.registry.failure
        ]
        return [*mirrors, self._origin]

    def _ask(
        self,
        what: Digest | str,
        ask: t.Callable[[Repository], T],
        raised: tuple[type[Exception], ...] = (),
    ) -> T:
        usable = self._usable("digest-only" if isinstance(what, Digest) else "tag-only", what)
        for repository in usable[:-1]:
            try:
                return ask(repository)
            except raised:
                raise
            except errors.NotFoundError:
                if isinstance(what, Digest):
                    self._missing.add((repository, what))
            except errors.DeniedError as exc:  # the login may be valid for other repositories
                self._closed.add(repository)
                repository.registry.warn_skipped(exc)
            except (
                errors.RegistryError,
                errors.ContentError,
                errors.AuthFileError,
                errors.CredentialHelperError,
            ) as exc:
                repository.registry.give_up(exc)
        return ask(usable[-1])


def _counted(
    chunks: t.Generator[bytes, None, None], registry: Registry
) -> t.Generator[bytes, None, None]:
    with contextlib.closing(chunks):
        for chunk in chunks:
            registry.count(len(chunk))
            yield chunk


def is_encoded(response: Response, descriptor: Descriptor, as_is: set[Digest]) -> bool:
    """Return whether to undo the Content-Encoding of a blob, which may be the blob's own (moby#17595).

    A size decides. Without one, every second reading undoes it: ``as_is`` has the blobs whose last reading did not, and
    is for this function alone.
    """
    if not response.encoding:
        return False
    if response.content_length is not None:
        return response.content_length != descriptor.size
    as_is ^= {descriptor.digest}
    return descriptor.digest not in as_is


def _is_part(response: Response, span: Span, size: int) -> bool:
    """Return whether an answer is exactly the requested span, by its headers (RFC 9110 14.4)."""
    (first, end), stated = span, content_range(response.header("Content-Range"))
    kind = response.header("Content-Type").lower()
    return (
        response.status == 206
        and stated in ((first, end - 1, size), (first, end - 1, None))
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
    """Return the tag of the list of referrers in a registry without the API (distribution-spec v1.1, "Referrers Tag Schema")."""
    return f"{digest.algorithm[:32]}-{digest.encoded[:64]}"


def _parse_referrers(raw: bytes, content_type: str, subject: str) -> list[Descriptor]:
    if media_type_of(content_type) not in INDEXES:
        kind = errors.printable(repr(content_type))
        raise errors.ProtocolError(
            f"{subject}: the answer has the type {kind}, not that of an index"
        )
    try:
        index = Manifest.parse(raw, content_type, subject)
    except errors.ContentError as exc:
        raise errors.ProtocolError(str(exc)) from exc
    entries = zip(index.children, entries_of(json.loads(raw), "manifests", subject))
    return [child._replace(artifact_type=_type(entry)) for child, entry in entries]


def _type(entry: t.Mapping[str, t.Any]) -> str:
    value = entry.get("artifactType")
    return value if isinstance(value, str) else ""


def listed(raw: bytes, key: str, subject: str) -> list[t.Any]:
    """Return the list under ``key`` of a JSON answer, [] for none; raise ProtocolError for any other answer."""
    try:
        # As a float: an integer of a million digits would take minutes.
        answer = json.loads(raw.decode("utf-8"), parse_int=float)
        return entries_of(answer, key, f"{subject}: the answer")
    except (ValueError, AttributeError, RecursionError) as exc:
        raise errors.ProtocolError(f"{subject}: the answer is not a JSON object") from exc
    except errors.ManifestError as exc:
        raise errors.ProtocolError(str(exc)) from exc


def _parse_tags(raw: bytes, _content_type: str, subject: str) -> list[str]:
    tags = listed(raw, "tags", subject)
    # Artifactory lists digests among them.
    return [tag for tag in tags if isinstance(tag, str) and TAG.fullmatch(tag)]
