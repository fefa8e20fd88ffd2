# SPDX-License-Identifier: GPL-3.0-or-later
"""Which mirrors and which registry serve a reference, in the order in which they are asked. Rules, no requests."""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass, field, replace

from .._image import errors
from .._image.names import Reference
from .connect import DEFAULT_TRUST, Trust
from .credentials import Credentials, lookup_keys
from .urls import api_host, parse_url, registry_at, repository_name

# The keys of an entry that describe a place; the others are a login.
_PLACE = ("mirrors", "plain_http", "validate_certs", "ca_path", "client_cert", "client_key")
# The name and the value of a header (RFC 9110 5.1 and 5.5).
_FIELD = re.compile(r"[\w!#$%&'*+.^`|~-]+", re.ASCII)
_LOGIN = re.compile("authorization|cookie", re.IGNORECASE)
_VALUE = re.compile(r"[^\x00-\x08\x0a-\x1f\x7f]*")
Table = t.Mapping[str, t.Any]


@dataclass(frozen=True)
class Endpoint:
    """The API of a registry or mirror on one host."""

    host: str  # host[:port]
    scheme: str = ""  # "" for https; of loopback and insecure hosts that have no TLS, http
    insecure: bool = False
    root: str = "/v2"
    trust: Trust = field(default_factory=Trust)
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)  # sent with each request
    namespace: str = ""  # the registry that a mirror is asked for (ns=)
    login: Credentials | None = None  # None for the stored one
    name: str = ""  # of the registry, if not that of the host


class Place(t.NamedTuple):
    """An endpoint and the repository on it; ``use`` is what it is asked for: all, digest-only or tag-only."""

    endpoint: Endpoint
    repository: str
    use: str = "all"
    is_mirror: bool = False


Origin = t.Callable[
    [str], Endpoint
]  # returns the endpoint of a registry by the options of the task


class ConfigFiles(t.Protocol):
    """The registries in the configuration files of a host; raise InputError with the name of a file that is invalid."""

    def places(self, reference: Reference, origin: Origin) -> list[Place]:
        """Return the mirrors of a reference in order, then its registry."""

    def trust(self, host: str) -> Trust:
        """Return the certificates kept for a host."""


class HostConfig:
    """The registries of the option ``registries``, and then of the files of the host; raise InputError for an invalid entry.

    ``origin`` returns the endpoint of a registry by the other options of the task; ``settings`` are the entries.
    """

    def __init__(
        self,
        origin: Origin,
        settings: t.Sequence[Table] = (),
        files: ConfigFiles | None = None,
    ) -> None:
        self._origin = origin
        self._files = files
        self._given: dict[str, Table] = {}
        self._entries: dict[str, tuple[Endpoint, list[tuple[str, Place]]]] = {}
        for number, entry in enumerate(settings):
            where = f"registries[{number}]"
            scheme, registry, path = parse_url(entry["registry"], f"{where}.registry")
            refuse(scheme, f"{where}.registry: a name has no {scheme}://")
            refuse(
                registry + path in self._given,
                f"{where}.registry: a second entry for {registry + path}",
            )
            if path:
                repository_name(path, f"{where}.registry")
            self._given[registry + path] = entry
            self._entries[registry + path] = _adapted(origin(registry), entry, where), []
        for number, (prefix, entry) in enumerate(self._given.items()):
            for place, given in enumerate(entry.get("mirrors") or ()):
                where = f"registries[{number}].mirrors[{place}]"
                self._entries[prefix][1].append(self._mirror(given, where, prefix.split("/")[0]))

    def origin(self, registry: str) -> Endpoint:
        """Return the endpoint of a registry itself."""
        entry = self._entries.get(registry)
        return self._certified(entry[0] if entry else self._origin(registry))

    def login(self, registry: str, repository: str) -> Credentials | None:
        """Return the login for a repository in the entries of the option, None for none."""
        for prefix in lookup_keys(registry, repository):
            entry = self._given.get(prefix) or {}
            if entry.get("username"):
                return Credentials(entry["username"], entry.get("password") or "")
        return None

    def trust(self, url: str) -> Trust | None:
        """Return the trust that is configured for the host of a URL, None for none; options of the whole task do not count."""
        name = registry_at(url)
        found = self._certified(self._named(name)).trust
        is_given = found != DEFAULT_TRUST or self._entry(name).get("validate_certs") is not None
        return found if is_given else None

    def _entry(self, name: str) -> Table:
        """Return the entry for a whole host, {} for none."""
        return self._given.get(name) or self._given.get(f"{name}:443") or {}

    def _named(self, name: str) -> Endpoint:
        """Return the endpoint of a host by its entry, without the other options of the task."""
        return _adapted(Endpoint(api_host(name), name=name), self._entry(name), name)

    def _mirror(self, given: Table, where: str, registry: str) -> tuple[str, Place]:
        scheme, host, path = parse_url(given["url"], f"{where}.url")
        plain = given.get("plain_http")
        refuse(scheme == "https" and plain, f"{where}: plain_http contradicts https://")
        endpoint = _adapted(self._named(host), given, where)
        fields = header_fields(given.get("headers") or {}, f"{where}.headers")
        logins = [name for name, _value in fields if _LOGIN.search(name)]
        refuse(logins, f"{where}.headers: {', '.join(logins)} cannot be set")
        endpoint = replace(
            endpoint,
            scheme=scheme or endpoint.scheme,
            headers=fields,
            # As containerd does. A server that does not know the parameter ignores it.
            namespace="" if endpoint.host == api_host(registry) else registry,
        )
        return where, Place(endpoint, path, given.get("pull_from_mirror") or "all", True)

    def places(self, reference: Reference) -> list[Place]:
        """Return the mirrors of a reference in order, then its registry.

        Raise InputError if the registry is blocked, or a file is invalid.
        """
        name, registry, repository = reference.name, reference.registry, reference.repository
        keys = lookup_keys(registry, repository)
        prefix = next((key for key in keys if key in self._entries), "")
        endpoint, mirrors = self._entries.get(prefix) or (self._origin(registry), [])
        given = self._given.get(prefix) or {}
        login_alone = given.get("username") and all(given.get(key) is None for key in _PLACE)
        if not self._files or (prefix and not login_alone):
            rest = name[len(prefix) :]
            places = [
                place._replace(repository=repository_name(place.repository + rest, where))
                for where, place in mirrors
            ]
            return [*places, Place(self._certified(endpoint), repository)]
        places = self._files.places(reference, lambda _registry: endpoint)
        return [place._replace(endpoint=self._certified(place.endpoint)) for place in places]

    def _certified(self, endpoint: Endpoint) -> Endpoint:
        name = endpoint.name or endpoint.host
        return trusting(endpoint, self._files.trust(name)) if self._files else endpoint


def _adapted(endpoint: Endpoint, given: Table, where: str) -> Endpoint:
    """Return an endpoint with the keys of an entry applied; a key with None changes nothing."""
    trust, plain, valid = endpoint.trust, given.get("plain_http"), given.get("validate_certs")
    user, password = given.get("username"), given.get("password")
    ca, cert, key = (given.get(name) for name in ("ca_path", "client_cert", "client_key"))
    refuse(key and not cert, f"{where}: client_key needs client_cert")
    refuse(password and not user, f"{where}: password needs username")
    trust = Trust(
        trust.validate_certs if valid is None else valid,
        (ca,) if ca else trust.ca_paths,
        ((cert, key),) if cert else trust.client_certs,
    )
    scheme = endpoint.scheme if plain is None else "http" if plain else ""
    login = (
        Credentials(user, password or "", origin=f"the option {where}") if user else endpoint.login
    )
    return replace(endpoint, scheme=scheme, trust=trust, login=login)


def header_fields(headers: Table, where: str) -> tuple[tuple[str, str], ...]:
    """Return the headers in a table of names, each with a value or a list of values; raise InputError if one is invalid."""
    listed = {name: one if isinstance(one, list) else [one] for name, one in headers.items()}
    found = tuple((name, value) for name, values in listed.items() for value in values)
    is_text = all(isinstance(part, str) for pair in found for part in pair)
    refuse(not is_text, f"{where}: a header must be a string or a list of strings")
    fits = all(_FIELD.fullmatch(name) and _VALUE.fullmatch(value) for name, value in found)
    refuse(not fits, f"{where}: a header contains invalid characters")
    return found


def trusting(endpoint: Endpoint, more: Trust) -> Endpoint:
    """Return an endpoint with more trust: authorities are added, client certificates only if it has none."""
    trust = endpoint.trust
    valid = trust.validate_certs and more.validate_certs
    certs = trust.client_certs or more.client_certs
    return replace(endpoint, trust=Trust(valid, trust.ca_paths + more.ca_paths, certs))


def refuse(wrong: t.Any, message: str) -> None:
    """Raise InputError with a message if something is wrong."""
    if wrong:
        raise errors.InputError(message)
