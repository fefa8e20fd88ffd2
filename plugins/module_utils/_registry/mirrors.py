# SPDX-License-Identifier: GPL-3.0-or-later
"""A repository and its mirrors as one source."""

from __future__ import annotations

import contextlib
import typing as t

from .._image import errors
from .._image.manifest import Descriptor, Manifest
from .._image.names import Digest
from .._image.sources import Blob, ContentSource, Span
from .hosts import Place
from .registry import Registry
from .repository import Referrer, Repository

T = t.TypeVar("T")


class Mirrored(ContentSource):
    """A repository with its mirrors, as one source: who has it first, the origin last."""

    def __init__(self, places: t.Sequence[tuple[Repository, Place]]) -> None:
        self._places = places
        self._origin = places[-1][0]
        self._served: dict[Digest, Repository] = {}
        self._closed: set[Repository] = set()
        self._lacking: set[tuple[Repository, Digest]] = set()
        self._breaks: dict[Digest, int] = {}  # of a blob, since much of it came

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
            return read(self._living("digest-only", descriptor.digest)[0])
        # The reader begins anew, or tries again.
        return self._ask(descriptor.digest, read, (errors.RangeError, errors.TruncatedError))

    def has_ranges(self, descriptor: Descriptor) -> bool:
        return self._living("digest-only", descriptor.digest)[0].has_ranges(descriptor)

    def report_corrupt(self, descriptor: Descriptor) -> bool:
        repository = self._served.get(descriptor.digest, self._origin)
        if repository is self._origin:
            return False
        repository.registry.give_up(
            errors.DigestMismatchError(f"it does not serve {descriptor.digest} as it should be")
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
            # One that gives a few bytes each time would have the patience of a registry.
            breaks = self._breaks.get(descriptor.digest, 0) + 1 if attempt else 0
            attempt = self._breaks[descriptor.digest] = breaks
        return served.backoff(attempt)

    def _living(self, use: str, what: Digest | str) -> list[Repository]:
        """Those to ask, in order."""
        mirrors = [
            repository
            for repository, place in self._places[:-1]
            if place.use in ("all", use)
            and repository not in self._closed
            and (repository, what) not in self._lacking
            and not repository.registry.failure
        ]
        return [*mirrors, self._origin]

    def _ask(
        self,
        what: Digest | str,
        ask: t.Callable[[Repository], T],
        passed: tuple[type[Exception], ...] = (),
    ) -> T:
        living = self._living("digest-only" if isinstance(what, Digest) else "tag-only", what)
        for repository in living[:-1]:
            try:
                return ask(repository)
            except passed:
                raise
            except errors.NotFoundError:
                if isinstance(what, Digest):
                    self._lacking.add((repository, what))
            except errors.DeniedError as exc:  # others may be open to us
                self._closed.add(repository)
                repository.registry.warn_skipped(exc)
            except (
                errors.RegistryError,
                errors.ContentError,
                errors.AuthFileError,
                errors.CredentialHelperError,
            ) as exc:
                repository.registry.give_up(exc)
        return ask(living[-1])


def _counted(
    chunks: t.Generator[bytes, None, None], registry: Registry
) -> t.Generator[bytes, None, None]:
    with contextlib.closing(chunks):
        for chunk in chunks:
            registry.count(len(chunk))
            yield chunk
