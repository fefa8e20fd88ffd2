# SPDX-License-Identifier: GPL-3.0-or-later
"""What a registry lists and deletes (distribution-spec v1.1, "Content Management")."""

from __future__ import annotations

import re
import typing as t

from .._image import errors
from .._image.manifest import ACCEPT
from .._image.names import Digest
from .challenge import scope
from .errors import NotOfferedError
from .registry import Registry
from .repository import Repository, listed

_NAME = re.compile("[a-z0-9]+(?:[._/-]+[a-z0-9]+)*")
_CATALOG = "registry:catalog:*"

T = t.TypeVar("T")


def repositories(registry: Registry) -> list[str]:
    """Return the names of all repositories, sorted (distribution's API, "Catalog").

    Raise AuthenticationError or DeniedError if the login must not list them, NotOfferedError if the registry has no
    such list; the hint says what to do instead.
    """
    subject = f"{registry.name}: repositories"
    registry.request_scopes("", [_CATALOG])
    try:
        return sorted(registry.pages("_catalog?n=1000", "", subject, _parse_catalog))
    except (errors.AuthenticationError, errors.DeniedError) as exc:
        raise type(exc)(
            f"{registry.name} does not list its repositories for this login: {exc}",
            "Log in as a user who may list them all (the scope registry:catalog:*, often an administrator),"
            " or name the repositories and set tags: true.",
        ) from exc
    except errors.RegistryError as exc:
        if isinstance(exc, errors.NotFoundError) or exc.details.get("status") in (400, 405, 501):
            raise NotOfferedError(
                f"{registry.name} does not list its repositories: {exc}",
                "Name the repositories and set tags: true. GitHub and others have lists of their own.",
            ) from exc
        raise


def has_manifest(repository: Repository, digest: Digest) -> bool:
    """Return whether the repository has a manifest, without reading it; raise what ``Registry.fail`` raises."""
    response = repository.request("HEAD", f"manifests/{digest}", {"Accept": ACCEPT})
    response.close()
    if response.status in (200, 404):
        return response.status == 200
    repository.registry.fail(response, repository.subject(digest))


def request_delete_scope(repository: Repository) -> None:
    """Request the right to delete in tokens for the repository; call it before the first request."""
    repository.request_scopes([scope(repository.name, "pull", "delete")])


def retry_with_full_scope(repository: Repository, ask: t.Callable[[], T]) -> T:
    """Return the result of ``ask``; if its login is refused, ask again with a token for all actions.

    Quay issues no token for the action ``delete``.
    """
    try:
        return ask()
    except errors.AuthenticationError:
        if repository.registry.login_scheme != "bearer":
            raise
    repository.request_scopes([scope(repository.name, "*")])
    return ask()


def delete_manifest(repository: Repository, identifier: Digest | str) -> None:
    """Delete a tag, or by a digest a manifest with all its tags. Do nothing if it is missing.

    Raise NotOfferedError if the registry does not delete, or does not delete a single tag.
    """
    by_tag, subject = isinstance(identifier, str), repository.subject(identifier)
    response = repository.request("DELETE", f"manifests/{identifier}")
    if response.status in (200, 202, 204, 404):
        response.close()
        return
    try:
        repository.registry.fail(response, subject)
    except errors.RegistryError as exc:
        status, why = exc.details.get("status"), str(exc).replace(f"{subject}: ", "", 1)
        if status == 405 or (status == 400 and "UNSUPPORTED" in why):
            hint = f"{_ENABLE} {_BY_DIGEST}" if by_tag else _ENABLE
            raise NotOfferedError(f"{subject}: cannot be deleted, {why}", hint) from exc
        if by_tag and status == 400:
            text = f"{subject}: a single tag cannot be deleted, {why}"
            raise NotOfferedError(text, _BY_DIGEST) from exc
        raise


_ENABLE = (
    "A docker-registry deletes nothing unless it is started with REGISTRY_STORAGE_DELETE_ENABLED=true"
    " (storage.delete.enabled in its configuration)."
)
_BY_DIGEST = (
    "If the registry deletes no single tags, like docker-registry 2, set by: digest:"
    " that deletes the manifest with all its tags."
)


def _parse_catalog(raw: bytes, _content_type: str, subject: str) -> list[str]:
    names = listed(raw, "repositories", subject)
    return [name for name in names if isinstance(name, str) and _NAME.fullmatch(name)]
