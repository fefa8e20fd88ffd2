# SPDX-License-Identifier: GPL-3.0-or-later
"""A repository as a sink: what is missing is mounted or uploaded (distribution-spec v1.1, "Push")."""

from __future__ import annotations

import contextlib
import json
import threading
import typing as t
import urllib.parse

from .._image import errors
from .._image.manifest import ACCEPT, OCI_INDEX, Descriptor, Manifest, entries_of
from .._image.names import Digest
from .._image.sources import verified
from .challenge import scope
from .repository import Repository, lacks, referrers_tag
from .response import Response
from .upload import Upload, Uploads
from .urls import own_url, shown_url

_MAX_SCOPES = 20
# So many tags that are not there raise the question whether the repository is.
_MISSES = 3
# A blob of so many bytes is worth a look even where nothing should be: a push that broke off may have left it.
_WORTH_A_LOOK = 1024 * 1024
_HINT = "The login needs the right to push to this repository."


def _may_not_push(exc: errors.LockstepError) -> errors.LockstepError:
    """Return a refusal with what the login must be good for."""
    hint = f"{exc.hint} {_HINT}" if isinstance(exc, errors.AuthenticationError) else _HINT
    return type(exc)(str(exc), hint, **exc.details)


class RemoteSink:
    """One repository; ``chunk_size`` in bytes, 0 for a blob in one request."""

    def __init__(self, repository: Repository, uploads: Uploads, chunk_size: int = 0) -> None:
        self.repository = repository
        self.uploads = uploads
        self.chunk_size = chunk_size
        self._lock = threading.Lock()
        self._listing = threading.Lock()
        self._looking = threading.Lock()
        self._known: dict[Digest, bool] = {}
        self._missed = 0
        self._is_new = False
        self._is_let_in: bool | None = None
        self._may_mount = True
        self.mount_from(())

    def __str__(self) -> str:
        return str(self.repository)

    def mount_from(self, repositories: t.Iterable[str]) -> None:
        """Ask for a token that reads these repositories of the registry too, so that their blobs can be mounted."""
        own = scope(self.repository.name, "pull", "push")
        others = sorted(set(repositories) - {self.repository.name})[:_MAX_SCOPES]
        scopes = [own, *(scope(name, "pull") for name in others)]
        self._mounts = len(others)
        self.repository.registry.authorizer.want(self.repository.name, scopes)

    def find(self, identifier: str) -> Digest | None:
        """What a tag or digest is there, None for nothing, or if the registry does not say."""
        if self._is_new:
            return None
        try:
            return self.repository.resolve(identifier)
        except (errors.RegistryError, errors.ContentError) as exc:
            self._pass_over(exc)
            if not isinstance(exc, errors.NotFoundError):
                text = f"{self}: whether {identifier} is there is not known, so it is sent: {exc}"
                self.repository.registry.warn(text)
        with self._looking:  # who comes meanwhile waits for what is seen
            self._missed += 1
            if self._missed == _MISSES:
                self._is_new = self._is_unknown()
        return None

    def has(self, descriptor: Descriptor) -> bool:
        """Whether it is there; asked once in a task, and not at all of what is small in a new repository."""
        digest = descriptor.digest
        with self._lock:
            known = self._known.get(digest)
        if known is None:
            is_small = _is_manifest(descriptor) or descriptor.size < _WORTH_A_LOOK
            known = not (self._is_new and is_small) and self.ask(descriptor)
            self.note(digest, known)
        return known

    def note(self, digest: Digest, there: bool = True) -> None:
        """Content is there, or not."""
        with self._lock:
            self._known[digest] = there
        if there:
            self.uploads.add(self.repository.registry.name, self.repository.name, [digest])

    def write(self, descriptor: Descriptor, chunks: t.Iterable[bytes]) -> None:
        raw, attempt = b"".join(verified(chunks, descriptor)), 0
        if _is_manifest(descriptor):
            return self.put_manifest(Manifest.parse(raw, descriptor.media_type, str(self)))
        with self.open_partial(descriptor) as upload:
            while upload and upload.missing():
                try:
                    upload.write(upload.reach, raw[upload.reach :])
                except errors.TruncatedError:
                    attempt += 1
                    if not self.backoff(attempt):
                        raise
            if upload:
                upload.finish()

    @contextlib.contextmanager
    def open_partial(self, descriptor: Descriptor) -> t.Iterator[Upload | None]:
        registry, digest = self.repository.registry.name, descriptor.digest
        with self.uploads.upload_lock(registry, digest):
            holder, location = self.uploads.mount_source(registry, digest, self.repository.name), ""
            if holder and self._may_mount:
                location = self._mount(digest, holder)
                if not location:
                    self.note(digest)
                    self.uploads.count(mounted=1)
                    yield None
                    return
            upload = Upload(self, descriptor, location)
            try:
                yield upload
            finally:
                upload.close()

    def put_manifest(self, manifest: Manifest, identifier: str = "") -> None:
        """Send a manifest as a tag, or by its digest unless it is there; raise the registry's error if it is refused.

        No other manifest that has its digest, or is its parent or child, is sent to the registry meanwhile: docker-registry
        rewrites the files of a manifest that it has, and refuses what refers to a file that is half written.
        """
        digest = Digest.of(manifest.raw)
        children = [child.digest for child in manifest.children if _is_manifest(child)]
        with self.uploads.upload_locks(self.repository.registry.name, [digest, *children]):
            if not identifier and self._known.get(digest):
                return
            handled = self._send_manifest(manifest, digest, identifier or str(digest))
            self.note(digest)
        if manifest.subject and not handled:
            with self._listing:  # or one is lost of two that are added at the same time
                self._add_referrer(manifest)

    def _send_manifest(self, manifest: Manifest, digest: Digest, identifier: str) -> bool:
        """Send a manifest; return whether the registry keeps the list of referrers that it belongs to."""
        subject = f"{self}{'@' if ':' in identifier else ':'}{identifier}"
        headers, attempt = {"Content-Type": manifest.media_type}, 0
        while True:
            response = self.request("PUT", f"manifests/{identifier}", headers, body=manifest.raw)
            if response.status in (200, 201, 202):
                break
            attempt += 1
            try:
                self.refuse(response, subject, len(manifest.raw))
            except errors.RegistryError as exc:
                # The digest is that of the bytes: another host may just be writing the same ones.
                if exc.code != "DIGEST_INVALID" or not self.backoff(attempt):
                    raise
        self.check_digest(response, digest, subject)
        response.close()
        return bool(response.header("OCI-Subject"))

    def request(
        self,
        method: str,
        path: str,
        headers: t.Mapping[str, str] | None = None,
        retries: int | None = None,
        body: t.Any = None,
    ) -> Response:
        """Send a request; ``path`` is behind the repository, or a whole URL."""
        whole = path if "://" in path else f"{self.repository.name}/{path}"
        mounts = self._mounts
        try:
            return self.repository.registry.request(
                method, whole, self.repository.name, headers, retries, body
            )
        except errors.AuthenticationError as exc:
            if mounts:  # who asks for too much may get no token at all
                self._may_mount = False
                self.mount_from(())
                return self.request(method, path, headers, retries, body)
            if method in ("GET", "HEAD"):
                raise
            raise _may_not_push(exc) from exc

    def start(self) -> tuple[str, Response]:
        """Begin an upload: where it goes on; or an error."""
        response = self.request("POST", "blobs/uploads/")
        if response.status != 202:
            self.refuse(response, f"{self}: upload")
        response.close()
        return self.location(response), response

    def location(self, response: Response, before: str = "") -> str:
        """Where an upload goes on, ``before`` if that is not said; or ProtocolError for another host."""
        found = [one for one in response.locations if one.strip()]
        if not found and before:
            return before
        base = self.repository.registry.authorizer.base_url
        target = own_url(found[0], response.url, base) if found else ""
        if not target:
            where = f"on another host, {shown_url(found[0])}" if found else "nowhere"
            raise errors.ProtocolError(f"{self}: the registry lets an upload go on {where}")
        return target

    def refuse(self, response: Response, subject: str, size: int = 0) -> t.NoReturn:
        """Raise what the answer to a push says."""
        if response.status == 413:
            response.close()
            raise errors.TooLargeError(
                f"{subject}: {self.repository.registry.name} refuses {errors.readable_size(size)} as too large",
                "Raise the limit of the registry, or of the proxy before it (client_max_body_size of nginx),"
                " or send less at once with chunk_size.",
            )
        if response.status == 405:
            response.close()
            raise errors.PushRefusedError(
                f"{subject}: {self.repository.registry.name} does not take pushes",
                "A mirror or a read-only registry: push to the registry it is filled from.",
            )
        try:
            self.repository.registry.fail(response, subject)
        except (errors.AuthenticationError, errors.DeniedError) as exc:
            raise _may_not_push(exc) from exc

    def backoff(self, attempt: int, descriptor: Descriptor | None = None) -> bool:
        """Wait before the next try."""
        return self.repository.backoff(attempt, descriptor)

    def ask(self, descriptor: Descriptor) -> bool:
        """Whether it is there now."""
        is_manifest = _is_manifest(descriptor)
        kind, accept = ("manifests", {"Accept": ACCEPT}) if is_manifest else ("blobs", None)
        try:
            response = self.request("HEAD", f"{kind}/{descriptor.digest}", accept)
            response.close()
            # What an object store refuses, the registry may still take.
            if response.status not in (200, 404) and not self.repository.registry.place(response):
                self.repository.registry.fail(response, f"{self}@{descriptor.digest}")
        except errors.RegistryError as exc:
            self._pass_over(exc)
            return False
        if response.header("Content-Type").strip().lower().startswith("text/html"):
            return False  # the login page of a front
        size = response.content_length
        return response.status == 200 and (is_manifest or size in (None, descriptor.size))

    def _pass_over(self, error: errors.LockstepError) -> None:
        """Take what cannot be seen for missing, or raise the error where a write would fail like this look.

        Artifactory says 403 for what is not there, public ECR 401 for every blob (distribution#4383).
        """
        is_refused = isinstance(error, errors.AuthenticationError) and not self._lets_in()
        is_final = isinstance(error, errors.RegistryError) and not (
            error.may_be_missing or error.is_elsewhere
        )
        if is_refused or is_final:
            raise error

    def _lets_in(self) -> bool:
        """Whether the registry takes the login at all; asked once, so that a wrong one is not shown for each blob."""
        with self._looking:
            if self._is_let_in is None:
                try:
                    self.repository.registry.request("GET", "", self.repository.name).close()
                    self._is_let_in = True
                except errors.AuthenticationError:
                    self._is_let_in = False
        return self._is_let_in

    def _is_unknown(self) -> bool:
        """Whether the registry knows no repository of this name (distribution-spec v1.1, "Error Codes")."""
        try:
            response = self.request("GET", "tags/list?n=1")
        except errors.RegistryError:
            return False
        words = self.repository.registry.error_words(response) if response.status == 404 else ""
        response.close()
        return words.startswith("NAME_UNKNOWN")

    def _mount(self, digest: Digest, holder: str) -> str:
        """Mount a blob; where to upload it instead, "" when that is not needed."""
        query = urllib.parse.urlencode({"mount": str(digest), "from": holder})
        try:
            response = self.request("POST", f"blobs/uploads/?{query}")
            response.close()
        except errors.RegistryError as exc:
            if isinstance(exc, (errors.AuthenticationError, errors.DeniedError)):
                self._may_mount = False
                self.mount_from(())
            return self.start()[0]
        if response.status == 201:
            return ""
        return self.location(response) if response.status == 202 else self.start()[0]

    def check_digest(self, response: Response, digest: Digest, subject: str) -> None:
        """Or ProtocolError, if the registry calls content by another digest."""
        told = response.header("Docker-Content-Digest").strip()
        if told and told.startswith(f"{digest.algorithm}:") and told != str(digest):
            response.close()
            raise errors.ProtocolError(
                f"{subject}: the registry stored it as another digest than {digest}"
            )

    def _add_referrer(self, manifest: Manifest) -> None:
        """Where a registry keeps no list of referrers, a tag of the subject does (distribution-spec v1.1)."""
        tag = referrers_tag(t.cast(Descriptor, manifest.subject).digest)
        try:
            _descriptor, index = self.repository.read_manifest(tag)
            value = json.loads(index.raw)
        except errors.RegistryError as exc:
            if not lacks(self.repository, tag, exc):
                raise  # a list that cannot be read must not be replaced
            value = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []}
        entry = {
            "mediaType": manifest.media_type,
            "digest": str(Digest.of(manifest.raw)),
            "size": len(manifest.raw),
            **_described(manifest),
        }
        there = entries_of(value, "manifests", f"{self}:{tag}")
        if not any(one.get("digest") == entry["digest"] for one in there):
            value["manifests"] = [*there, entry]
            raw = json.dumps(value, sort_keys=True, separators=(",", ":")).encode("ascii")
            self.put_manifest(Manifest.parse(raw, OCI_INDEX, f"{self}:{tag}"), tag)


def _is_manifest(descriptor: Descriptor) -> bool:
    return descriptor.is_manifest or descriptor.is_index


def _described(manifest: Manifest) -> dict[str, t.Any]:
    """What a list of referrers tells about one (distribution-spec v1.1, "Listing Referrers")."""
    kind = manifest.artifact_type or (manifest.config.media_type if manifest.config else "")
    known = {"artifactType": kind, "annotations": manifest.annotations}
    return {key: value for key, value in known.items() if value}
