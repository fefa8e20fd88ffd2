# SPDX-License-Identifier: GPL-3.0-or-later
"""The requests of a push to one repository, and what their answers mean (distribution-spec v1.1, "Push")."""

from __future__ import annotations

import contextlib
import threading
import typing as t

from .._image import errors
from .._image.manifest import ACCEPT, Descriptor
from .._image.names import Digest
from .challenge import scope
from .errors import PushRefusedError, TooLargeError
from .repository import Repository
from .response import Response
from .urls import own_url, shown_url

_MAX_SCOPES = 20
_HINT = "The login needs the right to push to this repository."


class Uploads:
    """What a task knows of the blobs of registries, so that they can be mounted, and what it has sent.

    Registries and repositories are named as in a reference; any number of threads may ask.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._repositories: dict[tuple[str, Digest], set[str]] = {}
        self._locks: dict[tuple[str, Digest], threading.Lock] = {}
        self.sent = self.mounted = 0

    def add(self, registry: str, repository: str, digests: t.Iterable[Digest]) -> None:
        """Note that a repository has these blobs, or very likely has them."""
        with self._lock:
            for digest in digests:
                self._repositories.setdefault((registry, digest), set()).add(repository)

    def mount_source(self, registry: str, digest: Digest, target: str) -> str:
        """Return a repository of the registry that has a blob, other than ``target``; "" for none."""
        with self._lock:
            return min(self._repositories.get((registry, digest), set()) - {target}, default="")

    def upload_lock(self, registry: str, digest: Digest) -> threading.Lock:
        """Return the lock to hold while content is sent: the next thread can mount the blob instead."""
        with self._lock:
            return self._locks.setdefault((registry, digest), threading.Lock())

    @contextlib.contextmanager
    def upload_locks(self, registry: str, digests: t.Iterable[Digest]) -> t.Iterator[None]:
        """Hold the locks of several digests; all threads take them in one order, so that no two wait for each other."""
        with contextlib.ExitStack() as held:
            for digest in sorted(set(digests)):
                held.enter_context(self.upload_lock(registry, digest))
            yield

    def count(self, sent: int = 0, mounted: int = 0) -> None:
        """Count sent bytes and mounted blobs."""
        with self._lock:
            self.sent += sent
            self.mounted += mounted

    def stats(self) -> dict[str, int]:
        """Return ``bytes_sent`` and ``blobs_mounted`` so far."""
        return {"bytes_sent": self.sent, "blobs_mounted": self.mounted}


class PushTarget:
    """One repository as the target of a push; ``chunk_size`` in bytes, 0 to send a blob in one request."""

    def __init__(self, repository: Repository, uploads: Uploads, chunk_size: int = 0) -> None:
        self.repository = repository
        self.uploads = uploads
        self.chunk_size = chunk_size
        self.may_mount = True
        self._login_lock = threading.Lock()
        self._is_login_accepted: bool | None = None
        self.mount_from(())

    def __str__(self) -> str:
        return str(self.repository)

    def mount_from(self, repositories: t.Iterable[str]) -> None:
        """Request tokens that may also read these repositories of the registry, so that their blobs can be mounted."""
        others = sorted(set(repositories) - {self.repository.name})[:_MAX_SCOPES]
        scopes = [scope(self.repository.name, "pull", "push")]
        self._has_mount_scopes = bool(others)
        self.repository.request_scopes([*scopes, *(scope(name, "pull") for name in others)])

    def stop_mounting(self) -> None:
        """Mount no further blobs: a registry may refuse every token that includes other repositories."""
        self.may_mount = False
        self.mount_from(())

    def request(
        self,
        method: str,
        path: str,
        headers: t.Mapping[str, str] | None = None,
        retries: int | None = None,
        body: t.Any = None,
    ) -> Response:
        """Send a request as ``Repository.request`` does; the error of a refused login hints at the right to push."""
        has_mount_scopes = self._has_mount_scopes
        try:
            return self.repository.request(method, path, headers, retries, body)
        except errors.AuthenticationError as exc:
            if has_mount_scopes:
                self.stop_mounting()
                return self.request(method, path, headers, retries, body)
            if method in ("GET", "HEAD"):
                raise
            raise _push_refused(exc) from exc

    def start_upload(self) -> tuple[str, Response]:
        """Start an upload; return the URL of its next request, and the answer."""
        response = self.request("POST", "blobs/uploads/")
        if response.status != 202:
            self.fail(response, f"{self}: upload")
        response.close()
        return self.next_url(response), response

    def next_url(self, response: Response, previous: str = "") -> str:
        """Return the URL of the next request of an upload, ``previous`` if the answer states none.

        Raise ProtocolError if it is on another host, or unknown.
        """
        stated = [location for location in response.locations if location.strip()]
        if not stated and previous:
            return previous
        base_url = self.repository.registry.base_url
        url = own_url(stated[0], response.url, base_url) if stated else ""
        if url:
            return url
        where = f"is on another host, {shown_url(stated[0])}" if stated else "is missing"
        raise errors.ProtocolError(f"{self}: the URL to continue the upload {where}")

    def fail(self, response: Response, subject: str, size: int = 0) -> t.NoReturn:
        """Close the response, and raise the error that its status means in a push of ``size`` bytes."""
        registry = self.repository.registry
        if response.status == 413:
            response.close()
            raise TooLargeError(
                f"{subject}: {registry.name} refuses {errors.readable_size(size)} as too large",
                "Raise the limit of the registry, or of the proxy in front of it (client_max_body_size of nginx),"
                " or send smaller requests with chunk_size.",
            )
        if response.status == 405:
            response.close()
            raise PushRefusedError(
                f"{subject}: {registry.name} accepts no pushes",
                "It is a mirror or read-only: push to the registry that it mirrors.",
            )
        try:
            registry.fail(response, subject)
        except (errors.AuthenticationError, errors.DeniedError) as exc:
            raise _push_refused(exc) from exc

    def require_digest(self, response: Response, digest: Digest, subject: str) -> None:
        """Raise ProtocolError if the answer states another digest for the content, in the same algorithm."""
        stated = response.header("Docker-Content-Digest").strip()
        if stated and stated.startswith(f"{digest.algorithm}:") and stated != str(digest):
            response.close()
            raise errors.ProtocolError(
                f"{subject}: the registry stored it under another digest than {digest}"
            )

    def backoff(self, attempt: int, descriptor: Descriptor | None = None) -> bool:
        """Wait before retry ``attempt``; return False if there is no such retry."""
        return self.repository.backoff(attempt, descriptor)

    def exists(self, descriptor: Descriptor) -> bool:
        """Ask the registry whether the repository has some content; what it does not show counts as missing."""
        kind, accept = (
            ("manifests", {"Accept": ACCEPT}) if is_manifest(descriptor) else ("blobs", None)
        )
        registry = self.repository.registry
        try:
            response = self.request("HEAD", f"{kind}/{descriptor.digest}", accept)
            response.close()
            # The registry may still accept what its object store refuses.
            if response.status not in (200, 404) and not registry.other_server(response):
                registry.fail(response, self.repository.subject(descriptor.digest))
        except errors.RegistryError as exc:
            self.pass_over(exc)
            return False
        if response.header("Content-Type").strip().lower().startswith("text/html"):
            return False  # the login page of a proxy
        size = response.content_length
        return response.status == 200 and (accept is not None or size in (None, descriptor.size))

    def pass_over(self, error: errors.LockstepError) -> None:
        """Ignore the error of looking for content, or raise it if a push would fail like this look.

        Artifactory answers 403 for missing content, public ECR 401 for every blob (distribution#4383).
        """
        is_refused = isinstance(error, errors.AuthenticationError) and not self._accepts_login()
        is_final = isinstance(error, errors.RegistryError) and not (
            error.may_be_missing or error.is_elsewhere
        )
        if is_refused or is_final:
            raise error

    def _accepts_login(self) -> bool:
        """Return whether the registry accepts the login at all; asked once, so that it sees a wrong one no more often."""
        with self._login_lock:
            if self._is_login_accepted is None:
                repository = self.repository
                try:
                    repository.registry.request("GET", "", repository.name).close()
                    self._is_login_accepted = True
                except errors.AuthenticationError:
                    self._is_login_accepted = False
        return self._is_login_accepted


def is_manifest(descriptor: Descriptor) -> bool:
    """Return whether a descriptor is that of a manifest or an index, not of a blob."""
    return descriptor.is_manifest or descriptor.is_index


def _push_refused(exc: errors.LockstepError) -> errors.LockstepError:
    """Return a refusal with the hint that pushing takes a right of its own."""
    hint = f"{exc.hint} {_HINT}" if isinstance(exc, errors.AuthenticationError) else _HINT
    return type(exc)(str(exc), hint, **exc.details)
