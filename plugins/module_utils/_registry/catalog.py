# SPDX-License-Identifier: GPL-3.0-or-later
"""What a registry lists and deletes (distribution-spec v1.1, "Content Management")."""

from __future__ import annotations

import re
import typing as t

from .._image import errors
from .._image.manifest import ACCEPT
from .._image.names import Digest
from .challenge import scope
from .registry import Registry
from .repository import Repository, listed

_NAME = re.compile("[a-z0-9]+(?:[._/-]+[a-z0-9]+)*")
_CATALOG = "registry:catalog:*"

T = t.TypeVar("T")


def repositories(registry: Registry) -> list[str]:
    """Every repository, sorted; or an error that says what to do where it does not tell."""
    subject = f"{registry.name}: repositories"
    registry.authorizer.want("", [_CATALOG])
    try:
        return sorted(registry.pages("_catalog?n=1000", "", subject, _parse_catalog))
    except (errors.AuthenticationError, errors.DeniedError) as exc:
        raise type(exc)(
            f"{registry.name} does not list its repositories for this login: {exc}",
            "Log in as somebody who may see them all (the scope registry:catalog:*, often an administrator),"
            " or name the repositories and give tags: true.",
        ) from exc
    except errors.RegistryError as exc:
        if isinstance(exc, errors.NotFoundError) or exc.details.get("status") in (400, 405, 501):
            raise errors.NotOfferedError(
                f"{registry.name} does not list its repositories: {exc}",
                "Name the repositories and give tags: true. GitHub and others have lists of their own.",
            ) from exc
        raise


def has_manifest(repository: Repository, digest: Digest) -> bool:
    """Whether it is there, without reading it."""
    registry, path = repository.registry, f"{repository.name}/manifests/{digest}"
    response = registry.request("HEAD", path, repository.name, {"Accept": ACCEPT})
    response.close()
    if response.status in (200, 404):
        return response.status == 200
    registry.fail(response, f"{repository}@{digest}")


def may_delete(repository: Repository) -> None:
    """Ask for the right to delete, before the first request of the repository."""
    wanted = scope(repository.name, "pull", "delete")
    repository.registry.authorizer.want(repository.name, [wanted])


def with_any_right(repository: Repository, ask: t.Callable[[], T]) -> T:
    """What ``ask`` gives; once more with a token for everything where none is given for ``delete``, as Quay does it."""
    authorizer = repository.registry.authorizer
    try:
        return ask()
    except errors.AuthenticationError:
        if authorizer.scheme != "bearer":
            raise
    authorizer.want(repository.name, [scope(repository.name, "*")])
    return ask()


def delete_manifest(repository: Repository, identifier: Digest | str) -> None:
    """Delete a tag, or a manifest with all its tags. No error means: it is not there."""
    by_tag = isinstance(identifier, str)
    registry, subject = repository.registry, f"{repository}{':' if by_tag else '@'}{identifier}"
    path = f"{repository.name}/manifests/{identifier}"
    response = registry.request("DELETE", path, repository.name)
    if response.status in (200, 202, 204, 404):
        response.close()
        return
    try:
        registry.fail(response, subject)
    except errors.RegistryError as exc:
        status, why = exc.details.get("status"), str(exc).replace(f"{subject}: ", "", 1)
        if status == 405 or (status == 400 and "UNSUPPORTED" in why):
            hint = f"{_ENABLE} {_BY_DIGEST}" if by_tag else _ENABLE
            raise errors.NotOfferedError(f"{subject}: is not deleted, {why}", hint) from exc
        if by_tag and status == 400:
            text = f"{subject}: a tag is not deleted by its name, {why}"
            raise errors.NotOfferedError(text, _BY_DIGEST) from exc
        raise


_ENABLE = (
    "A docker-registry deletes nothing unless it is started with REGISTRY_STORAGE_DELETE_ENABLED=true"
    " (storage.delete.enabled in its configuration)."
)
_BY_DIGEST = (
    "If the registry deletes no tag by its name, as docker-registry 2, give by: digest:"
    " that deletes the manifest with all its tags."
)


def _parse_catalog(raw: bytes, _content_type: str, subject: str) -> list[str]:
    names = listed(raw, "repositories", subject)
    return [name for name in names if isinstance(name, str) and _NAME.fullmatch(name)]
