# SPDX-License-Identifier: GPL-3.0-or-later
"""Registry remove: tags and manifests leave a registry."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field

from .._execution import Pool
from .._image import errors
from .._image.names import Digest, Reference
from .._plan import Action, Plan, PlanBuilder
from .._registry.catalog import (
    delete_manifest,
    has_manifest,
    request_delete_scope,
    retry_with_full_scope,
)
from .._registry.registries import Registries
from .._registry.repository import Repository, lacks

BY_TAG, BY_DIGEST = "tag", "digest"
_ABSENT = "absent"


@dataclass(frozen=True)
class DeleteManifest(Action):
    """Delete a tag, or a manifest with all its tags; ``needed_by`` are the names of the task for it."""

    repository: Repository = field(repr=False)
    tag: str | None
    digest: Digest
    needed_by: tuple[str, ...]

    def summary(self) -> dict[str, t.Any]:
        """Return what is deleted, and where."""
        return {
            "action": "delete_tag" if self.tag else "delete_manifest",
            "repository": str(self.repository),
            "tag": self.tag,
            "digest": str(self.digest),
        }

    def apply(self, pool: Pool) -> None:
        """Delete it; a manifest that is already gone is not an error."""
        delete_manifest(self.repository, self.tag or self.digest)


def plan_registry_remove(
    references: t.Sequence[Reference], *, by: str, sources: Registries, workers: int
) -> Plan:
    """Remove each reference from its registry, never from a mirror; what is not there is no change."""
    once = list(dict.fromkeys(references))
    for reference in once:
        if by == BY_TAG and not reference.tag:
            raise errors.InputError(
                f"{reference}: names no tag",
                "Give by: digest to delete a manifest with all its tags.",
            )
    builder = PlanBuilder(workers)
    places: dict[str, Repository] = {}

    def place_of(reference: Reference) -> Repository:
        if reference.name not in places:
            repository = sources.origin(reference)
            request_delete_scope(repository)
            places[reference.name] = repository
        return places[reference.name]

    def look(reference: Reference) -> tuple[Reference, Digest | None]:
        repository = places[reference.name]
        try:
            return reference, retry_with_full_scope(
                repository, lambda: _there(repository, reference, by)
            )
        except errors.RegistryError as exc:
            return reference, _unseen(repository, reference, by, exc)

    finder = PlanBuilder(1)
    finder.each(place_of, once)
    builder.failures.update(finder.failures)
    ready = [reference for reference in once if reference.name in places]
    found = builder.each(look, ready)
    users: dict[tuple[str, str | None, Digest], list[Reference]] = {}
    for reference, digest in found:
        if digest:
            tag = reference.tag if by == BY_TAG else None
            users.setdefault((reference.name, tag, digest), []).append(reference)
    removed = {reference: digest for reference, digest in found if digest}
    return builder.build(
        content=tuple(
            DeleteManifest(places[name], tag, digest, tuple(map(str, names)))
            for (name, tag, digest), names in users.items()
        ),
        before={str(one): str(digest) if digest else _ABSENT for one, digest in found},
        after={str(one): _ABSENT for one, _digest in found},
        facts={
            "removed": [
                {"name": str(one), "digest": str(digest)} for one, digest in removed.items()
            ]
        },
        noun="names",
        stats=sources.stats,
        warnings=lambda: sources.warnings,
    )


def _there(repository: Repository, reference: Reference, by: str) -> Digest | None:
    """Return the digest to remove, None if it is absent; a tag with a digest only if it points to that."""
    pinned = reference.digest
    try:
        if by == BY_DIGEST and pinned:
            return pinned if has_manifest(repository, pinned) else None
        digest = repository.resolve(reference.tag or "")
    except errors.NotFoundError:
        return None
    return digest if pinned in (None, digest) else None


def _unseen(
    repository: Repository, reference: Reference, by: str, error: errors.RegistryError
) -> Digest | None:
    """Return what to remove after a registry refused to show it: some refuse a manifest that does not exist."""
    if reference.tag and lacks(repository, reference.tag, error):
        return None
    if by == BY_DIGEST and reference.digest and isinstance(error, errors.DeniedError):
        return reference.digest  # what the registry says when it is deleted counts
    raise error
