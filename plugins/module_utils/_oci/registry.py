# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Registries and their repositories: the verbs of the OCI distribution-spec v1.1 that reading needs."""

from __future__ import annotations

import functools
import json
import re
import threading
import typing as t

from ansible_collections.lockstep.images.plugins.module_utils._oci import challenge as rules
from ansible_collections.lockstep.images.plugins.module_utils._oci import hosts
from ansible_collections.lockstep.images.plugins.module_utils._oci.authorizer import Authorizer
from ansible_collections.lockstep.images.plugins.module_utils._oci.challenge import Credentials
from ansible_collections.lockstep.images.plugins.module_utils._oci.descriptor import Descriptor
from ansible_collections.lockstep.images.plugins.module_utils._oci.digest import Digest
from ansible_collections.lockstep.images.plugins.module_utils._oci.errors import (
    AuthenticationError,
    DeniedError,
    DigestError,
    DigestMismatchError,
    LockstepError,
    NotFoundError,
    ProtocolError,
    RateLimitError,
    RegistryError,
    TruncatedError,
)
from ansible_collections.lockstep.images.plugins.module_utils._oci.headers import (
    next_page,
    origin,
    printable,
    shown_url,
    warning_text,
)
from ansible_collections.lockstep.images.plugins.module_utils._oci.manifest import (
    ACCEPT,
    MAX_MANIFEST,
    Manifest,
)
from ansible_collections.lockstep.images.plugins.module_utils._oci.reference import Reference
from ansible_collections.lockstep.images.plugins.module_utils._oci.transport import (
    HttpClient,
    Response,
)

_MAX_ERROR = 64 * 1024
_MAX_PAGE = 4 * 1024 * 1024
_MAX_PAGES = 1000
_MAX_TAGS = 100_000
_MAX_WARNINGS = 10
_PAGE = 1000

FindCredentials = t.Callable[[str, str], t.Optional[Credentials]]
"""``find(registry, repository)`` gives a login or None."""


class Registries:
    """All registries of one task: one HTTP client, one set of tokens each."""

    def __init__(self, http: HttpClient, find: FindCredentials) -> None:
        self.http = http
        self._find = find
        self._lock = threading.Lock()
        self._known: dict[str, Registry] = {}
        self.notes: list[str] = []

    def registry(self, name: str) -> Registry:
        """The registry with this name (``host[:port]``)."""
        with self._lock:
            if name not in self._known:
                self._known[name] = Registry(self.http, name, self._find)
            return self._known[name]

    def repository(self, reference: Reference) -> Repository:
        """The repository a reference is in."""
        return Repository(self.registry(reference.registry), reference.repository)

    def stats(self) -> dict[str, t.Any]:
        """What the requests to all of them have cost so far."""
        return self.http.stats.as_result()

    @property
    def warnings(self) -> list[str]:
        """What registries wanted their users to know, what was withheld from them, and what is odd about logins."""
        return self.notes + [
            text for registry in self._known.values() for text in registry.warnings
        ]


class Registry:
    """One registry: its URL, the login for it and the requests to it."""

    def __init__(self, http: HttpClient, name: str, find: FindCredentials) -> None:
        self.http = http
        self.name = name
        self._find = find
        self._first = threading.RLock()
        self._authorizer: Authorizer | None = None
        self._settled = False
        self._warnings: list[str] = []

    @property
    def warnings(self) -> list[str]:
        return self._warnings + (self._authorizer.warnings if self._authorizer else [])

    @property
    def authorizer(self) -> Authorizer:
        with self._first:
            if self._authorizer is None:
                find = functools.partial(self._find, self.name)
                self._authorizer = Authorizer(self.http, self.name, self._find_base_url(), find)
            return self._authorizer

    def request(
        self, method: str, path: str, repository: str, headers: t.Mapping[str, str] | None = None
    ) -> Response:
        """Send a request, authenticated as far as the registry wants it; the status is for the caller to judge.

        ``path`` starts behind ``/v2/``, or is a whole URL on this registry. The first request goes alone, so
        that many threads do not all learn from a 401 of their own how to log in.
        """
        if self._settled:
            return self._request(method, path, repository, headers)
        with self._first:
            response = self._request(method, path, repository, headers)
            self._settled = True
            return response

    def ping(self) -> str:
        """Ask for the API itself with the login at hand: ``basic``, ``bearer``, or "" when none is wanted.

        Raises AuthenticationError when the registry refuses the login, NotFoundError when it has no such API.
        """
        response = self.request("GET", "", "")
        if response.status != 200:
            self.fail(response, f"registry {self.name}")
        response.close()
        return self.authorizer.scheme

    def fail(self, response: Response, subject: str) -> t.NoReturn:
        """Raise what a status says, with the registry's own words, cleaned."""
        words = self._error_words(response)
        said = f" ({words})" if words else ""
        status = response.status
        if status == 404:
            raise NotFoundError(f"{subject}: not found{said}")
        if status == 401:
            raise AuthenticationError(f"{subject}: authentication is required{said}")
        if status == 403:
            raise DeniedError(f"{subject}: access is denied{said}")
        if status == 429:
            left = re.match(r"[0-9]+", response.header("RateLimit-Remaining"))
            remaining = f", {left.group()} left" if left else ""
            raise RateLimitError(
                f"{subject}: too many requests, the rate limit of {self.name} is reached{remaining}{said}"
            )
        if status == 206:
            raise ProtocolError(f"{subject}: answered with a part although the whole was asked for")
        raise RegistryError(
            f"{subject}: {self.name} answered with status {status}{said}", status=status
        )

    def _request(
        self, method: str, path: str, repository: str, headers: t.Mapping[str, str] | None
    ) -> Response:
        authorizer = self.authorizer
        url = path if "://" in path else f"{self.base_url}/v2/{path}"
        attempt = 0
        while True:
            header = authorizer.header(repository)
            response = self.http.request(method, url, headers=headers, authorization=header)
            self._note_warnings(response)
            if response.status != 401 or origin(response.url) != origin(url):
                return response
            attempt += 1
            challenges = rules.parse_challenges(response.header_values("WWW-Authenticate"))
            response.close()
            authorizer.answer(
                challenges or self._challenges_of_api(path), repository, header, attempt
            )

    def _challenges_of_api(self, path: str) -> list[rules.Challenge]:
        """Ask ``/v2/`` how to log in: some registries say it there only (gcr.io)."""
        if not path:
            return []
        response = self.http.request("GET", f"{self.base_url}/v2/")
        response.close()
        return rules.parse_challenges(response.header_values("WWW-Authenticate"))

    @property
    def base_url(self) -> str:
        return self.authorizer.base_url

    def _find_base_url(self) -> str:
        host = hosts.api_host(self.name)
        plain = self.http.options.plain_http or (
            hosts.is_loopback(host) and not self.http.speaks_tls(host)
        )
        return f"{'http' if plain else 'https'}://{host}"

    def _error_words(self, response: Response) -> str:
        try:
            body = response.read(_MAX_ERROR, "error")
            first = json.loads(body.decode("utf-8"))["errors"][0]
            words = ": ".join(
                str(first[key]) for key in ("code", "message") if isinstance(first.get(key), str)
            )
        except (
            LockstepError,
            ValueError,
            KeyError,
            IndexError,
            TypeError,
            AttributeError,
            RecursionError,
        ):
            return ""
        return printable(self.authorizer.redact(words))

    def warn(self, text: str) -> None:
        """Keep a warning for the result, once, and not without end."""
        if text not in self._warnings and len(self._warnings) < _MAX_WARNINGS:
            self._warnings.append(text)

    def _note_warnings(self, response: Response) -> None:
        for value in response.header_values("Warning"):
            text = printable(warning_text(value), 500)
            if text:
                self.warn(f"{self.name}: {text}")


class Repository:
    """One repository as a source of content. No caller sees a status code."""

    def __init__(self, registry: Registry, name: str) -> None:
        self.registry = registry
        self.name = name
        self._encoded: set[Digest] = set()

    def __str__(self) -> str:
        return f"{self.registry.name}/{self.name}"

    def resolve(self, tag: str) -> Digest:
        """The digest a tag stands for: a HEAD, or a GET where the registry does not answer that usefully."""
        response = self._request("HEAD", f"manifests/{tag}", {"Accept": ACCEPT})
        response.close()
        if response.status == 200:
            digest = _header_digest(response)
            if digest:
                return digest
        elif response.status == 404:
            # A HEAD has no body that could say why; the error is the same.
            raise NotFoundError(f"{self}:{tag}: not found in {self.registry.name}")
        return self.read_manifest(tag)[0].digest

    def read_manifest(self, identifier: Digest | str) -> tuple[Descriptor, Manifest]:
        """The manifest with this digest, or the one a tag stands for, verified."""
        joiner = "@" if isinstance(identifier, Digest) else ":"
        subject = f"{self}{joiner}{identifier}"
        response, raw = self._read("manifests", str(identifier), subject)
        digest = identifier if isinstance(identifier, Digest) else self._digest_of(response, raw)
        if not digest.matches(raw):
            raise DigestMismatchError(
                f"{subject}: the {len(raw)} bytes received have the digest {Digest.of(raw, digest.algorithm)}"
            )
        manifest = Manifest.parse(raw, response.header("Content-Type"), subject)
        return Descriptor(manifest.media_type, digest, len(raw)), manifest

    def read_blob(self, descriptor: Descriptor) -> t.Iterator[bytes]:
        """The bytes of a blob as they come, not verified."""
        subject = f"{self}@{descriptor.digest}"
        response = self._request("GET", f"blobs/{descriptor.digest}")
        if response.status == 403 and origin(response.url) != origin(self.registry.base_url):
            # A signed URL of an object store expires; only the registry can sign another.
            response.close()
            raise TruncatedError(f"{subject}: {shown_url(response.url)} no longer serves it")
        if response.status != 200:
            self.registry.fail(response, subject)
        return response.chunks(decode=self._is_encoded(response, descriptor))

    def tags(self) -> list[str]:
        """Every tag, sorted, over all pages."""
        path: str | None = f"{self.name}/tags/list?n={_PAGE}"
        found: set[str] = set()
        seen: set[str] = set()
        while path:
            if path in seen or len(seen) >= _MAX_PAGES:
                raise ProtocolError(f"{self}: the pages of its list of tags do not end")
            seen.add(path)
            response = self.registry.request("GET", path, self.name)
            if response.status != 200:
                self.registry.fail(response, f"{self}: tags")
            before = len(found)
            found.update(_parse_tags(response.read(_MAX_PAGE, "list of tags"), f"{self}: tags"))
            if len(found) > _MAX_TAGS:
                raise ProtocolError(f"{self}: more than {_MAX_TAGS} tags")
            path = next_page(response.header_values("Link"), response.url)
            if path and len(found) == before:
                raise ProtocolError(f"{self}: the pages of its list of tags do not end")
        return sorted(found)

    def pause(self, attempt: int) -> bool:
        """Wait before a failed read is tried again; False when the retries are used up."""
        return self.registry.http.pause(attempt)

    def _read(self, kind: str, identifier: str, subject: str) -> tuple[Response, bytes]:
        attempt = 0
        while True:
            attempt += 1
            response = self._request("GET", f"{kind}/{identifier}", {"Accept": ACCEPT})
            if response.status != 200:
                self.registry.fail(response, subject)
            try:
                return response, response.read(MAX_MANIFEST, "manifest")
            except TruncatedError:
                if not self.pause(attempt):
                    raise

    def _request(
        self, method: str, path: str, headers: t.Mapping[str, str] | None = None
    ) -> Response:
        return self.registry.request(method, f"{self.name}/{path}", self.name, headers)

    def _digest_of(self, response: Response, raw: bytes) -> Digest:
        """The digest of a manifest read by tag: the one in the header, if it is right, else ours (sha256)."""
        claimed = _header_digest(response)
        if claimed and claimed.matches(raw):
            return claimed
        computed = Digest.of(raw)
        if claimed:
            self.registry.warn(f"{self}: the registry calls {computed} {claimed}")
        return computed

    def _is_encoded(self, response: Response, descriptor: Descriptor) -> bool:
        """Whether a Content-Encoding is on top of the blob and has to be undone.

        Some servers put ``gzip`` on blobs that are gzip by themselves (moby#17595). The announced size tells; where
        there is none, the first reading takes the bytes as they are and a second one undoes the encoding.
        """
        if not response.encoding:
            return False
        if response.content_length is not None:
            return response.content_length != descriptor.size
        second = descriptor.digest in self._encoded
        self._encoded.add(descriptor.digest)
        return second


def _header_digest(response: Response) -> Digest | None:
    values = response.header_values("Docker-Content-Digest")
    try:
        return Digest.parse(values[0].strip()) if len(values) == 1 else None
    except DigestError:
        return None


def _parse_tags(raw: bytes, subject: str) -> list[str]:
    """``tags`` of one page; null and a missing list are an empty one (Nexus)."""
    try:
        value = json.loads(raw.decode("utf-8"))
    except (ValueError, RecursionError) as exc:
        raise ProtocolError(f"{subject}: the answer is not JSON") from exc
    tags = value.get("tags") or [] if isinstance(value, dict) else None
    if not isinstance(tags, list):
        raise ProtocolError(f"{subject}: the answer is not a list of tags")
    return [tag for tag in tags if isinstance(tag, str)]
