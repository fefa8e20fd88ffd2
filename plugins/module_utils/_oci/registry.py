# SPDX-License-Identifier: GPL-3.0-or-later
"""The verbs of the OCI distribution-spec v1.1 that reading needs."""

from __future__ import annotations

import functools
import json
import os
import re
import threading
import typing as t

from ansible_collections.lockstep.images.plugins.module_utils._oci.auth import (
    Authorizer,
    Challenge,
    Credentials,
    CredentialStore,
    parse_challenges,
    places,
)
from ansible_collections.lockstep.images.plugins.module_utils._oci.content import (
    ACCEPT,
    MAX_MANIFEST,
    Descriptor,
    Manifest,
)
from ansible_collections.lockstep.images.plugins.module_utils._oci.errors import (
    AuthenticationError,
    DeniedError,
    DigestError,
    DigestMismatchError,
    InputError,
    LockstepError,
    NotFoundError,
    ProtocolError,
    RateLimitError,
    RegistryError,
    TruncatedError,
    printable,
)
from ansible_collections.lockstep.images.plugins.module_utils._oci.names import (
    DOCKER_HUB,
    TAG,
    Digest,
    Reference,
)
from ansible_collections.lockstep.images.plugins.module_utils._oci.transport import (
    BUSY,
    HttpClient,
    HttpOptions,
    Response,
    is_loopback,
    next_page,
    origin,
    shown_url,
    warning_text,
)

HUB_API = "registry-1.docker.io"
_MAX_ERROR = 64 * 1024
_MAX_PAGE = 4 * 1024 * 1024
_MAX_PAGES = 1000
_MAX_TAGS = 100_000
_MAX_WARNINGS = 10
_DAY = 24 * 60 * 60.0

FindCredentials = t.Callable[[str, str], t.Optional[Credentials]]


def api_host(registry: str) -> str:
    """``host[:port]`` that serves the API of a registry."""
    return HUB_API if registry == DOCKER_HUB else registry


class Registries:
    """All registries of one task; ``notes`` are warnings from elsewhere."""

    def __init__(self, http: HttpClient, find: FindCredentials) -> None:
        self.http = http
        self.notes: list[str] = []
        self._find = find
        self._lock = threading.Lock()
        self._known: dict[str, Registry] = {}

    def registry(self, name: str) -> Registry:
        """The registry with this name (``host[:port]``)."""
        with self._lock:
            if name not in self._known:
                self._known[name] = Registry(self.http, name, self._find)
            return self._known[name]

    def repository(self, reference: Reference) -> Repository:
        return Repository(self.registry(reference.registry), reference.repository)

    def stats(self) -> dict[str, t.Any]:
        return self.http.stats.as_result()

    @property
    def warnings(self) -> list[str]:
        return self.notes + [
            text for registry in self._known.values() for text in registry.warnings
        ]


class Registry:
    """One registry and the requests to it."""

    def __init__(self, http: HttpClient, name: str, find: FindCredentials) -> None:
        self.http = http
        self.name = name
        self._find = functools.partial(find, name)
        self._first = threading.RLock()
        self._settled = False
        self._warnings: list[str] = []

    @property
    def warnings(self) -> list[str]:
        return self._warnings + self.authorizer.warnings if self._settled else self._warnings

    @functools.cached_property
    def authorizer(self) -> Authorizer:
        """Its URL and login."""
        host = api_host(self.name)
        plain = self.http.options.plain_http or (
            is_loopback(host) and not self.http.speaks_tls(host)
        )
        return Authorizer(
            self.http, self.name, f"{'http' if plain else 'https'}://{host}", self._find
        )

    def request(
        self, method: str, path: str, repository: str, headers: t.Mapping[str, str] | None = None
    ) -> Response:
        """Send a request, logged in as far as wanted; ``path`` starts behind ``/v2/``, or is a whole URL."""
        if self._settled:
            return self._request(method, path, repository, headers)
        with self._first:
            response = self._request(method, path, repository, headers)
            self._settled = True
            return response

    def fail(self, response: Response, subject: str) -> t.NoReturn:
        """Raise what a status says."""
        words, status = self._error_words(response), response.status
        said = f" ({words})" if words else ""
        if status == 404:
            raise NotFoundError(f"{subject}: not found{said}")
        if status == 401:
            raise AuthenticationError(f"{subject}: authentication is required{said}")
        if status == 403:
            raise DeniedError(f"{subject}: access is denied{said}")
        if status == 429:
            left = re.match("[0-9]+", response.header("RateLimit-Remaining"))
            remaining = f", {left.group()} left" if left else ""
            raise RateLimitError(
                f"{subject}: too many requests, the rate limit of {self.name} is reached{remaining}{said}"
            )
        if status == 206:
            raise ProtocolError(f"{subject}: answered with a part although the whole was asked for")
        raise RegistryError(
            f"{subject}: {self.name} answered with status {status}{said}", status=status
        )

    def warn(self, text: str) -> None:
        """Keep a warning, once."""
        if text not in self._warnings and len(self._warnings) < _MAX_WARNINGS:
            self._warnings.append(text)

    def _request(
        self, method: str, path: str, repository: str, headers: t.Mapping[str, str] | None
    ) -> Response:
        url = path if "://" in path else f"{self.authorizer.base_url}/v2/{path}"
        header, attempt = self.authorizer.header(repository), 0
        while True:
            response = self.http.request(method, url, headers, header)
            for value in response.header_values("Warning"):
                text = printable(self.authorizer.redact(warning_text(value)), 500)
                if text:
                    self.warn(f"{self.name}: {text}")
            if response.status != 401 or origin(response.url) != origin(url):
                return response
            attempt += 1
            response.close()
            challenges = parse_challenges(response.header_values("WWW-Authenticate"))
            header = self.authorizer.answer(
                challenges or self._challenges_of_api(path), repository, header, attempt
            )

    def _challenges_of_api(self, path: str) -> list[Challenge]:
        """gcr.io says there only how to log in."""
        if not path:
            return []
        response = self.http.request("GET", f"{self.authorizer.base_url}/v2/")
        response.close()
        return parse_challenges(response.header_values("WWW-Authenticate"))

    def _error_words(self, response: Response) -> str:
        if origin(response.url) != origin(self.authorizer.base_url):
            return ""  # who was asked with a signed URL could repeat it
        try:
            first = json.loads(response.read(_MAX_ERROR, "error").decode("utf-8"))["errors"][0]
            words = ": ".join(
                first[key] for key in ("code", "message") if isinstance(first.get(key), str)
            )
        except (LockstepError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
            return ""
        return printable(self.authorizer.redact(words))


class Repository:
    """One repository as a source; no caller sees a status."""

    def __init__(self, registry: Registry, name: str) -> None:
        self.registry = registry
        self.name = name
        self._encoded: set[Digest] = set()

    def __str__(self) -> str:
        return f"{self.registry.name}/{self.name}"

    def resolve(self, tag: str) -> Digest:
        response = self._request("HEAD", f"manifests/{tag}", {"Accept": ACCEPT})
        response.close()
        if response.status == 404 or response.status in BUSY:
            # A GET would say no more, and be more of what a busy registry cannot bear.
            self.registry.fail(response, f"{self}:{tag}")
        digest = _header_digest(response) if response.status == 200 else None
        return digest or self.read_manifest(tag)[0].digest

    def read_manifest(self, identifier: Digest | str) -> tuple[Descriptor, Manifest]:
        pinned = identifier if isinstance(identifier, Digest) else None
        subject = f"{self}{'@' if pinned else ':'}{identifier}"
        response, raw = self._read_manifest(identifier, subject)
        digest = pinned or self._digest_of(response, raw)
        if not digest.matches(raw):
            got = Digest.of(raw, digest.algorithm)
            raise DigestMismatchError(
                f"{subject}: the {len(raw)} bytes received have the digest {got}"
            )
        manifest = Manifest.parse(raw, response.header("Content-Type"), subject)
        return Descriptor(manifest.media_type, digest, len(raw)), manifest

    def read_blob(self, descriptor: Descriptor) -> t.Iterator[bytes]:
        subject = f"{self}@{descriptor.digest}"
        response = self._request("GET", f"blobs/{descriptor.digest}")
        elsewhere = origin(response.url) != origin(self.registry.authorizer.base_url)
        if response.status == 403 and elsewhere:
            # A signed URL of an object store expires; only the registry can sign another.
            response.close()
            raise TruncatedError(f"{subject}: {shown_url(response.url)} no longer serves it")
        if response.status != 200:
            self.registry.fail(response, subject)
        return response.chunks(self._is_encoded(response, descriptor))

    def tags(self) -> list[str]:
        path: str | None = f"{self.name}/tags/list?n=1000"
        found: set[str] = set()
        for _page in range(_MAX_PAGES):
            response = self.registry.request("GET", path or "", self.name)
            if response.status != 200:
                self.registry.fail(response, f"{self}: tags")
            before = len(found)
            found.update(_parse_tags(response.read(_MAX_PAGE, "list of tags"), f"{self}: tags"))
            path = next_page(response.header_values("Link"), response.url)
            if not path:
                return sorted(found)
            if len(found) == before or len(found) > _MAX_TAGS:
                break
        raise ProtocolError(f"{self}: the pages of its list of tags do not end")

    def pause(self, attempt: int) -> bool:
        return self.registry.http.pause(attempt)

    def _read_manifest(self, identifier: Digest | str, subject: str) -> tuple[Response, bytes]:
        attempt = 0
        while True:
            attempt += 1
            response = self._request("GET", f"manifests/{identifier}", {"Accept": ACCEPT})
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
        claimed, computed = _header_digest(response), Digest.of(raw)
        if claimed and claimed.matches(raw):
            return claimed
        if claimed:
            self.registry.warn(f"{self}: the registry calls {computed} {claimed}")
        return computed

    def _is_encoded(self, response: Response, descriptor: Descriptor) -> bool:
        """A Content-Encoding may be on top of a blob (moby#17595). Without a size, only a second reading undoes it."""
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
    try:
        value = json.loads(raw.decode("utf-8"))
        tags = value.get("tags") or []
    except (ValueError, AttributeError, RecursionError) as exc:
        raise ProtocolError(f"{subject}: the answer is not a JSON object") from exc
    if not isinstance(tags, list):
        raise ProtocolError(f"{subject}: the answer is not a list of tags")
    # Artifactory lists digests among them.
    return [tag for tag in tags if isinstance(tag, str) and TAG.fullmatch(tag)]


def open_registries(options: t.Mapping[str, t.Any], connections: int) -> Registries:
    """Registries as the options of doc_fragments/registry.py say."""
    if connections < 1 or not 0 < options["timeout"] <= _DAY or options["retries"] < 0:
        raise InputError(
            "parallel must be at least 1, timeout more than 0 seconds and at most a day,"
            " and retries not less than 0"
        )
    http = {
        name: value for name, value in options.items() if name in HttpOptions.__dataclass_fields__
    }
    where = places(options["config_path"], os.environ, os.path.expanduser("~"), os.geteuid())
    stored, given = CredentialStore(where), given_login(options)
    find = (lambda _registry, _repository: given) if given else stored.find
    registries = Registries(HttpClient(HttpOptions(**http, connections=connections)), find)
    registries.notes = stored.warnings
    return registries


def given_login(options: t.Mapping[str, t.Any]) -> Credentials | None:
    """The login the options give."""
    user = options["username"]
    return Credentials(user, options["password"] or "") if user else None
