# SPDX-License-Identifier: GPL-3.0-or-later
"""A repository and its mirrors as one source: if one host fails, the next one is asked."""

from __future__ import annotations

import contextlib
import typing as t

from .._image import errors
from .._image.manifest import Descriptor, Manifest
from .._image.names import Digest
from .._image.sources import Blob, ContentSource, Span
from .mirrors import Place
from .registry import Registry
from .repository import Referrer, Repository

T = t.TypeVar("T")


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

    def referrers(self, digest: Digest) -> list[Referrer]:
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
