# SPDX-License-Identifier: GPL-3.0-or-later
"""The registries of a task: opened from its options, and their repositories."""

from __future__ import annotations

import contextlib
import os
import threading
import typing as t

from .._image import errors
from .._image.manifest import Descriptor
from .._image.names import Digest, Reference
from .._image.sources import Blob, ContentSource, Span
from .client import HttpClient, is_refusal_elsewhere, libraries
from .connect import Trust
from .credentials import Credentials
from .loginfiles import CredentialStore, places
from .mirrors import Endpoint, HostConfig
from .options import RegistryOptions
from .registry import FindCredentials, Registry
from .repository import Mirrored, Repository, is_encoded
from .response import Response
from .urls import api_host, may_reach, shown_url


class Registries:
    """The registries of one task, as ``Sources``. ``find`` returns the stored login for a registry and a repository.

    ``notes`` is a list of further warnings, which may still grow. ``rate_limit_floor`` is as in ``RateLimit``.
    """

    def __init__(
        self,
        http: HttpClient,
        find: FindCredentials,
        config: HostConfig,
        rate_limit_floor: int = 0,
    ) -> None:
        self.http = http
        self.notes: list[str] = []
        self._find: FindCredentials = lambda *place: config.login(*place) or find(*place)
        self._config = config
        self._floor = rate_limit_floor
        self._lock = threading.Lock()
        self._known: dict[tuple[Endpoint, bool], Registry] = {}

    def prepare(self) -> None:
        with contextlib.suppress(errors.DependencyError):  # an error once a request is sent
            libraries()
        "".encode("idna")  # imports the codec of host names

    def registry(self, name: str) -> Registry:
        """Return the registry with this name (``host[:port]``), never a mirror."""
        return self._registry(self._config.origin(name), False)

    def origin(self, reference: Reference) -> Repository:
        """Return the repository of a reference in its own registry, never a mirror."""
        place = self._config.places(reference)[-1]
        return Repository(self._registry(place.endpoint, place.is_mirror), place.repository)

    def repository(self, reference: Reference) -> Repository | Mirrored:
        sources = [
            (Repository(self._registry(place.endpoint, place.is_mirror), place.repository), place)
            for place in self._config.places(reference)
        ]
        return Mirrored(sources) if len(sources) > 1 else sources[0][0]

    def foreign(self, reference: Reference, descriptor: Descriptor) -> ContentSource:
        url = self.registry(reference.registry).base_url
        return ForeignLayer(self.http, descriptor, url)

    def stats(self) -> dict[str, t.Any]:
        known = self._known.values()
        mirrors: dict[str, dict[str, t.Any]] = {}
        for registry in known:
            if registry.is_mirror:  # one host may be several mirrors, with a login each
                sums = mirrors.setdefault(registry.host, {"bytes": 0, "manifests": 0})
                sums["bytes"] += registry.bytes
                sums["manifests"] += registry.manifests
                if registry.failure:
                    sums.setdefault("failed", registry.failure)
        limits = {
            registry.name: registry.rate_limit.stated
            for registry in known
            if registry.rate_limit.stated
        }
        return self.http.stats.as_result(self.http.connections(), mirrors, limits)

    @property
    def warnings(self) -> list[str]:
        return self.notes + [
            text for registry in self._known.values() for text in registry.warnings
        ]

    def _registry(self, endpoint: Endpoint, is_mirror: bool) -> Registry:
        key = (endpoint, is_mirror)
        with self._lock:
            if key not in self._known:
                self._known[key] = Registry(self.http, endpoint, self._find, is_mirror, self._floor)
            return self._known[key]


def open_registries(options: RegistryOptions) -> Registries:
    """Return the registries that the options describe, prepared for requests of any thread."""
    registries = registries_of(options)
    registries.prepare()
    return registries


def registries_of(options: RegistryOptions) -> Registries:
    """Return the registries that the options describe; call ``prepare`` before a pool of threads uses them."""
    trust = Trust(
        options.validate_certs,
        (options.ca_path,) if options.ca_path else (),
        ((options.client_cert, options.client_key),) if options.client_cert else (),
    )
    scheme, login = "http" if options.plain_http else "", given_login(options)

    def origin_of(registry: str) -> Endpoint:
        return Endpoint(api_host(registry), scheme, trust=trust, login=login, name=registry)

    env, home = os.environ, os.path.expanduser("~")
    stored = CredentialStore(places(options.config_path, env, home, os.geteuid()))
    files = None
    if options.use_host_config:
        from .hostfiles import HostFiles

        files = HostFiles(env, home)
    config = HostConfig(origin_of, options.registries, files)
    client = HttpClient(options.http, trust_of=config.trust)
    registries = Registries(client, stored.find, config, options.rate_limit_floor)
    registries.notes = stored.warnings
    return registries


def given_login(options: RegistryOptions) -> Credentials | None:
    """Return the login in the options of the task, None for none."""
    origin = "the option username of the task"
    if not options.username:
        return None
    return Credentials(options.username, options.password or "", origin=origin)


_FOREIGN = (
    "Push the layer to the registry that has the image, or use an image without foreign layers."
)


class ForeignLayer(ContentSource):
    """A layer that registries do not distribute, at the URLs of its descriptor (image-spec v1.1, "Non-Distributable Layers").

    No credential is sent to them (CVE-2020-15157). ``registry_url`` is that of the image's registry: without it in a
    private network, no such URL is requested.
    """

    def __init__(self, http: HttpClient, descriptor: Descriptor, registry_url: str) -> None:
        self._http = http
        self._urls = [url for url in descriptor.urls if url.startswith(("https://", "http://"))]
        self._registry_url = registry_url
        self._digest = descriptor.digest
        self._served = ""
        self._as_is: set[Digest] = set()

    def __str__(self) -> str:
        return shown_url(self._urls[0]) if self._urls else str(self._digest)

    def read_blob(
        self, descriptor: Descriptor, span: Span | None = None, retry: bool = True
    ) -> Blob:
        failures = []
        for url in self._urls:
            try:
                if not may_reach(url, self._registry_url):
                    failures.append(f"{shown_url(url)} is in a private network")
                    continue
                response = self._request(url)
            except errors.LockstepError as exc:
                failures.append(str(exc))
                continue
            if response.status == 200:
                self._served = url
                encoded = is_encoded(response, descriptor, self._as_is)
                return (0, descriptor.size), response.chunks(encoded)
            response.close()
            failures.append(f"{shown_url(response.url)} answered {response.status}")
        why = "; ".join(failures) or "its manifest has no URL for it"
        raise errors.NotFoundError(f"foreign layer {self._digest}: {why}", _FOREIGN)

    def _request(self, url: str) -> Response:
        response = self._http.request("GET", url)
        if not is_refusal_elsewhere(response, url):
            return response
        response.close()
        return self._http.request("GET", url)

    def served_by(self, descriptor: Descriptor) -> str:
        return shown_url(self._served)

    def report_corrupt(self, descriptor: Descriptor) -> bool:
        others = [url for url in self._urls if url != self._served]
        self._urls = others or self._urls  # the last one is retried
        return bool(others)

    def backoff(self, attempt: int, descriptor: Descriptor | None = None) -> bool:
        return self._http.backoff(attempt)
