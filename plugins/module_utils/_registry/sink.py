# SPDX-License-Identifier: GPL-3.0-or-later
"""A repository as a sink: missing content is mounted or uploaded (distribution-spec v1.1, "Push")."""

from __future__ import annotations

import contextlib
import json
import threading
import typing as t
import urllib.parse

from .._image import errors
from .._image.manifest import OCI_INDEX, Descriptor, Manifest, entries_of, verified
from .._image.names import Digest
from .repository import Repository, lacks, referrers_tag
from .target import PushTarget, Uploads, is_manifest
from .upload import Upload

# After this many missing tags, ask whether the repository exists at all.
_MISSES = 3
# From this size on (bytes), ask for a blob even in a new repository: a push that broke off may have left it.
_WORTH_A_REQUEST = 1024 * 1024


class RemoteSink(PushTarget):
    """One repository as a ``ContentSink``."""

    def __init__(self, repository: Repository, uploads: Uploads, chunk_size: int = 0) -> None:
        super().__init__(repository, uploads, chunk_size)
        self._lock = threading.Lock()
        self._missing_lock = threading.Lock()
        self._referrers_lock = threading.Lock()
        self._known: dict[Digest, bool] = {}
        self._misses = 0
        self._is_new = False

    def find(self, identifier: str) -> Digest | None:
        """Return the digest of a tag, or a digest that is in the repository; None if it is missing or not shown.

        Raise a RegistryError that a push would meet, too.
        """
        if self._is_new:
            return None
        try:
            return self.repository.resolve(identifier)
        except (errors.RegistryError, errors.ContentError) as exc:
            self.pass_over(exc)
            if not isinstance(exc, errors.NotFoundError):
                subject = self.repository.subject(identifier)
                self.repository.registry.warn(
                    f"{subject} is sent, because the registry does not show whether it has it: {exc}"
                )
        with self._missing_lock:  # the next thread waits for the answer
            self._misses += 1
            if self._misses == _MISSES:
                self._is_new = self._is_unknown()
        return None

    def has(self, descriptor: Descriptor) -> bool:
        """Return whether the repository has some content; each digest is asked for once in a task.

        In a new repository, manifests and small blobs are missing without a request.
        """
        digest = descriptor.digest
        with self._lock:
            known = self._known.get(digest)
        if known is None:
            is_small = is_manifest(descriptor) or descriptor.size < _WORTH_A_REQUEST
            known = not (self._is_new and is_small) and self.exists(descriptor)
            self.note(digest, known)
        return known

    def note(self, digest: Digest, exists: bool = True) -> None:
        """Remember whether the repository has some content."""
        with self._lock:
            self._known[digest] = exists
        if exists:
            self.uploads.add(self.repository.registry.name, self.repository.name, [digest])

    def write(self, descriptor: Descriptor, chunks: t.Iterable[bytes]) -> None:
        raw, attempt = b"".join(verified(chunks, descriptor)), 0
        if is_manifest(descriptor):
            return self.put_manifest(Manifest.parse(raw, descriptor.media_type, str(self)))
        with self.open_partial(descriptor) as upload:
            while upload and upload.missing():
                try:
                    upload.write(upload.written, raw[upload.written :])
                except errors.TruncatedError:
                    attempt += 1
                    if not self.backoff(attempt):
                        raise
            if upload:
                upload.finish()

    @contextlib.contextmanager
    def open_partial(self, descriptor: Descriptor) -> t.Iterator[Upload | None]:
        registry, repository = self.repository.registry.name, self.repository.name
        digest, location = descriptor.digest, ""
        with self.uploads.upload_lock(registry, digest):
            source = self.uploads.mount_source(registry, digest, repository)
            if source and self.may_mount:
                location = self._mount(digest, source)
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
            if upload.is_complete:
                self.note(digest)

    def put_manifest(self, manifest: Manifest, identifier: str = "") -> None:
        """Send a manifest as a tag, or by its digest unless the repository has it; raise the registry's error if it refuses.

        While it is sent, no other thread sends the same manifest, a parent or a child of it to the registry:
        docker-registry rewrites the files of a manifest that it has, and refuses a reference to a half-written file.
        """
        digest = Digest.of(manifest.raw)
        children = [child.digest for child in manifest.children if is_manifest(child)]
        with self.uploads.upload_locks(self.repository.registry.name, [digest, *children]):
            if not identifier and self._known.get(digest):
                return
            keeps_referrers = self._send_manifest(manifest, digest, identifier or str(digest))
            self.note(digest)
        if manifest.subject and not keeps_referrers:
            with self._referrers_lock:  # or one of two concurrent additions is lost
                self._add_referrer(manifest)

    def _send_manifest(self, manifest: Manifest, digest: Digest, identifier: str) -> bool:
        """Send a manifest; return whether the registry keeps the list of referrers of its subject."""
        subject = self.repository.subject(identifier)
        headers, attempt = {"Content-Type": manifest.media_type}, 0
        while True:
            response = self.request("PUT", f"manifests/{identifier}", headers, body=manifest.raw)
            if response.status in (200, 201, 202):
                break
            attempt += 1
            try:
                self.fail(response, subject, len(manifest.raw))
            except errors.RegistryError as exc:
                # The digest is that of the bytes: another host may be writing the same ones at this moment.
                if exc.code != "DIGEST_INVALID" or not self.backoff(attempt):
                    raise
        self.require_digest(response, digest, subject)
        response.close()
        return bool(response.header("OCI-Subject"))

    def _is_unknown(self) -> bool:
        """Return whether the registry knows no repository of this name (distribution-spec v1.1, "Error Codes")."""
        try:
            response = self.request("GET", "tags/list?n=1")
        except errors.RegistryError:
            return False
        words = self.repository.registry.error_words(response) if response.status == 404 else ""
        response.close()
        return words.startswith("NAME_UNKNOWN")

    def _mount(self, digest: Digest, source: str) -> str:
        """Mount a blob from a repository; return "", or the URL of an upload if the registry does not mount it."""
        query = urllib.parse.urlencode({"mount": str(digest), "from": source})
        try:
            response = self.request("POST", f"blobs/uploads/?{query}")
            response.close()
        except errors.RegistryError as exc:
            if isinstance(exc, (errors.AuthenticationError, errors.DeniedError)):
                self.stop_mounting()
            return self.start_upload()[0]
        if response.status == 201:
            return ""
        return self.next_url(response) if response.status == 202 else self.start_upload()[0]

    def _add_referrer(self, manifest: Manifest) -> None:
        """Add a manifest to the list of referrers of its subject, which is kept under a tag.

        This is for registries without the API (distribution-spec v1.1, "Pushing Manifests with Subject").
        """
        tag = referrers_tag(t.cast(Descriptor, manifest.subject).digest)
        subject = self.repository.subject(tag)
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
        listed = entries_of(value, "manifests", subject)
        if not any(other.get("digest") == entry["digest"] for other in listed):
            value["manifests"] = [*listed, entry]
            raw = json.dumps(value, sort_keys=True, separators=(",", ":")).encode("ascii")
            self.put_manifest(Manifest.parse(raw, OCI_INDEX, subject), tag)


def _described(manifest: Manifest) -> dict[str, t.Any]:
    """Return what a list of referrers states about one of them (distribution-spec v1.1, "Listing Referrers")."""
    kind = manifest.artifact_type or (manifest.config.media_type if manifest.config else "")
    known = {"artifactType": kind, "annotations": manifest.annotations}
    return {key: value for key, value in known.items() if value}
