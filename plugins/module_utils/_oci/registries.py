# SPDX-License-Identifier: GPL-3.0-or-later
"""All registries of a task, and mirrors that stand before them."""

from __future__ import annotations

import contextlib
import os
import threading
import typing as t

from . import errors
from .content import ContentSource, Descriptor, Manifest
from .credentials import Credentials, CredentialStore, places
from .hosts import Endpoint, HostConfig, Place, api_host
from .names import Digest, Reference
from .registry import Blob, FindCredentials, Referrer, Registry, Repository, is_encoded
from .sources import check_numbers
from .transport import HttpClient, HttpOptions, Response, is_refusal_elsewhere, libraries
from .trust import Trust
from .urls import may_reach, shown_url

T = t.TypeVar("T")

_FOREIGN = (
    "Push the layer to the registry that has the image, or use an image without foreign layers."
)


class Registries:
    """All registries of one task; ``notes`` are warnings from elsewhere."""

    def __init__(
        self,
        http: HttpClient,
        find: FindCredentials,
        config: HostConfig,
        rate_limit_floor: int = 0,
    ) -> None:
        self.http = http
        self.notes: list[str] = []
        self._find: FindCredentials = lambda *where: config.login(*where) or find(*where)
        self._config = config
        self._floor = rate_limit_floor
        self._lock = threading.Lock()
        self._known: dict[tuple[Endpoint, bool], Registry] = {}

    def prepare(self) -> None:
        with contextlib.suppress(errors.DependencyError):  # of no weight until something is asked
            libraries()
        "".encode("idna")  # imports what a socket takes for the name of a host

    def registry(self, name: str) -> Registry:
        """The registry with this name (``host[:port]``) itself."""
        return self._registry(self._config.origin(name), False)

    def origin(self, reference: Reference) -> Repository:
        """The repository a reference is in itself, never a mirror of it."""
        place = self._config.places(reference)[-1]
        return Repository(self._registry(place.endpoint, place.is_mirror), place.repository)

    def repository(self, reference: Reference) -> Repository | Mirrored:
        sources = [
            (Repository(self._registry(place.endpoint, place.is_mirror), place.repository), place)
            for place in self._config.places(reference)
        ]
        return Mirrored(sources) if len(sources) > 1 else sources[0][0]

    def foreign(self, reference: Reference, descriptor: Descriptor) -> ContentSource:
        url = self.registry(reference.registry).authorizer.base_url
        return ForeignLayer(self.http, descriptor, url)

    def stats(self) -> dict[str, t.Any]:
        known = self._known.values()
        mirrors: dict[str, dict[str, t.Any]] = {}
        for one in known:
            if one.is_mirror:  # several may be one host, with a login each
                sums = mirrors.setdefault(one.host, {"bytes": 0, "manifests": 0})
                sums.update(
                    bytes=sums["bytes"] + one.bytes, manifests=sums["manifests"] + one.manifests
                )
                if one.failure:
                    sums.setdefault("failed", one.failure)
        limits = {one.name: one.rate_limit for one in known if one.rate_limit}
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


class Mirrored:
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
        self,
        descriptor: Descriptor,
        first: int = 0,
        end: int | None = None,
        patient: bool = True,
    ) -> Blob:
        def read(repository: Repository) -> Blob:
            if patient:
                self._served[descriptor.digest] = repository
            span, chunks = repository.read_blob(descriptor, first, end, patient)
            return span, _counted(chunks, repository.registry)

        if not patient:
            return read(self._living("digest-only", descriptor.digest)[0])
        # The reader begins anew, or tries again.
        return self._ask(descriptor.digest, read, (errors.RangeError, errors.TruncatedError))

    def has_ranges(self, descriptor: Descriptor) -> bool:
        return self._living("digest-only", descriptor.digest)[0].has_ranges(descriptor)

    def distrust(self, descriptor: Descriptor) -> bool:
        repository = self._served.get(descriptor.digest, self._origin)
        if repository is self._origin:
            return False
        repository.registry.give_up(
            errors.DigestMismatchError(f"it does not serve {descriptor.digest} as it should be")
        )
        return True

    def giver(self, descriptor: Descriptor) -> str:
        return self._served.get(descriptor.digest, self._origin).giver(descriptor)

    def tags(self) -> list[str]:
        return self._origin.tags()

    def referrers(self, digest: Digest) -> list[Referrer]:
        return self._origin.referrers(digest)

    def pause(self, attempt: int, descriptor: Descriptor | None = None) -> bool:
        served = self._served.get(descriptor.digest, self._origin) if descriptor else self._origin
        if descriptor and served is not self._origin:
            # One that gives a few bytes each time would have the patience of a registry.
            breaks = self._breaks.get(descriptor.digest, 0) + 1 if attempt else 0
            attempt = self._breaks[descriptor.digest] = breaks
        return served.pause(attempt)

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
                repository.registry.warn(f"mirror {repository.registry.host} is left out: {exc}")
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


class ForeignLayer:
    """A layer that no registry may distribute, from where its manifest says (image-spec v1.1, "Non-Distributable Layers").

    No credential is ever sent there (CVE-2020-15157).
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
        self,
        descriptor: Descriptor,
        first: int = 0,
        end: int | None = None,
        patient: bool = True,
    ) -> tuple[tuple[int, int], t.Generator[bytes, None, None]]:
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
        why = "; ".join(failures) or "its manifest names no URL for it"
        raise errors.NotFoundError(f"foreign layer {self._digest}: {why}", _FOREIGN)

    def _request(self, url: str) -> Response:
        response = self._http.request("GET", url)
        if not is_refusal_elsewhere(response, url):
            return response
        response.close()
        return self._http.request("GET", url)

    def resolve(self, tag: str) -> Digest:
        raise errors.NotFoundError(f"{self}: has no tag {tag}")

    def read_manifest(self, identifier: Digest | str) -> tuple[Descriptor, Manifest]:
        raise errors.NotFoundError(f"{self}: has no manifest {identifier}")

    def referrers(self, digest: Digest) -> list[Descriptor]:
        return []

    def giver(self, descriptor: Descriptor) -> str:
        return shown_url(self._served)

    def tags(self) -> list[str]:
        return []

    def has_ranges(self, descriptor: Descriptor) -> bool:
        return False

    def distrust(self, descriptor: Descriptor) -> bool:
        others = [url for url in self._urls if url != self._served]
        self._urls = others or self._urls  # the last one is tried again
        return bool(others)

    def pause(self, attempt: int, descriptor: Descriptor | None = None) -> bool:
        return self._http.pause(attempt)


def open_registries(options: t.Mapping[str, t.Any], connections: int) -> Registries:
    """Registries as the options of doc_fragments/registry.py say, prepared to be asked."""
    registries = registries_of(options, connections)
    registries.prepare()
    return registries


def registries_of(options: t.Mapping[str, t.Any], connections: int) -> Registries:
    """The same, not prepared."""
    check_numbers(options, connections)
    http = {name: value for name, value in options.items() if name in HttpOptions._fields}
    trust = Trust(
        options["validate_certs"],
        tuple(filter(None, [options["ca_path"]])),
        ((options["client_cert"], options["client_key"]),) if options["client_cert"] else (),
    )
    scheme, login = "http" if options["plain_http"] else "", given_login(options)

    def origin_of(registry: str) -> Endpoint:
        return Endpoint(api_host(registry), scheme, trust=trust, login=login, name=registry)

    env, home = os.environ, os.path.expanduser("~")
    stored = CredentialStore(places(options["config_path"], env, home, os.geteuid()))
    files = None
    if options["use_host_config"]:
        from .hostfiles import HostFiles

        files = HostFiles(env, home)
    config = HostConfig(origin_of, options["registries"] or (), files)
    client = HttpClient(HttpOptions(**http, connections=connections), trust_of=config.trust)
    registries = Registries(client, stored.find, config, options["rate_limit_floor"])
    registries.notes = stored.warnings
    return registries


def given_login(options: t.Mapping[str, t.Any]) -> Credentials | None:
    """The login the options give."""
    user = options["username"]
    origin = "the option username of the task"
    return Credentials(user, options["password"] or "", origin=origin) if user else None
