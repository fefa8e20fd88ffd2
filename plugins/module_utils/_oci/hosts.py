# SPDX-License-Identifier: GPL-3.0-or-later
"""Where content of a reference is looked for: mirrors first, its own registry last. Nothing is requested here."""

from __future__ import annotations

import contextlib
import functools
import os
import re
import sys
import typing as t
from dataclasses import dataclass, field, replace

from ansible_collections.lockstep.images.plugins.module_utils._oci import errors
from ansible_collections.lockstep.images.plugins.module_utils._oci.auth import (
    Credentials,
    lookup_keys,
)
from ansible_collections.lockstep.images.plugins.module_utils._oci.files import read_file
from ansible_collections.lockstep.images.plugins.module_utils._oci.names import (
    DOCKER_HUB,
    Reference,
    parse_registry,
)
from ansible_collections.lockstep.images.plugins.module_utils._oci.transport import Trust

HUB_API = "registry-1.docker.io"
_USES = ("all", "digest-only", "tag-only")
_URL = re.compile(r"(?:(https?)://)?([^/@?#\s]+)((?:/[^/@?#\s]+)*)/*")
_CERTS = (".config/containers/certs.d", "etc/containers/certs.d", "etc/docker/certs.d")
# Keys of files and their types; all others are not for us.
_KINDS = {str: "a string", bool: "true or false", list: "a list", dict: "a table"}
_MIRROR = {"location": str, "insecure": bool, "pull-from-mirror": str}
_RULE = {"prefix": str, "blocked": bool, "mirror": list, "mirror-by-digest-only": bool, **_MIRROR}
_HOST = {"capabilities": list, "skip_verify": bool, "header": dict, "override_path": bool}
Table = t.Mapping[str, t.Any]


def api_host(registry: str) -> str:
    """``host[:port]`` that serves the API of a registry."""
    return HUB_API if registry == DOCKER_HUB else registry


@dataclass(frozen=True)
class Endpoint:
    """A server that answers for a registry; without ``scheme`` plain http is for loopback and ``insecure`` alone."""

    host: str
    scheme: str = ""
    insecure: bool = False
    root: str = "/v2"
    trust: Trust = field(default_factory=Trust)
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    namespace: str = ""
    login: Credentials | None = None
    name: str = ""


@dataclass(frozen=True)
class Place:
    """An endpoint and the repository there; ``use`` says for what: all, digest-only, tag-only."""

    endpoint: Endpoint
    repository: str
    use: str = "all"
    is_mirror: bool = False


class HostConfig:
    """The option ``registries``, then what files say; or InputError for an entry that is wrong."""

    def __init__(
        self,
        origin: t.Callable[[str], Endpoint],
        settings: t.Sequence[Table] = (),
        files: HostFiles | None = None,
    ) -> None:
        self._origin = origin
        self._files = files
        self._entries: dict[str, tuple[Endpoint, list[tuple[str, Place]]]] = {}
        for number, entry in enumerate(settings):
            where = f"registries[{number}]"
            scheme, registry, path = _parse_url(entry["registry"], f"{where}.registry")
            prefix = registry + path
            _refuse(scheme, f"{where}.registry: a name has no {scheme}://")
            _refuse(prefix in self._entries, f"{where}.registry: {prefix} has an entry already")
            if path:
                _repository(path, f"{where}.registry")
            mirrors = []
            for place, given in enumerate(entry.get("mirrors") or ()):
                mirrors.append(_mirror(given, f"{where}.mirrors[{place}]"))
            self._entries[prefix] = _adapted(origin(registry), entry, where), mirrors

    def origin(self, registry: str) -> Endpoint:
        """A registry itself."""
        entry = self._entries.get(registry)
        return self._certified(entry[0] if entry else self._origin(registry))

    def places(self, reference: Reference) -> list[Place]:
        """Mirrors in order, then the origin; or InputError when the registry is blocked, or a file is wrong."""
        name, registry, repository = reference.name, reference.registry, reference.repository
        for prefix in lookup_keys(registry, repository):
            if prefix in self._entries:
                own, mirrors = self._entries[prefix]
                rest = name[len(prefix) :]
                places = [
                    replace(place, repository=_repository(place.repository + rest, where))
                    for where, place in mirrors
                ]
                return [*places, Place(self._certified(own), repository)]
        files = self._files
        if not files:
            return [Place(self._origin(registry), repository)]
        rule = files.rule(name)
        places = self._of_rule(*rule, reference) if rule else self._of_containerd(reference, files)
        return [replace(place, endpoint=self._certified(place.endpoint)) for place in places]

    def _of_rule(self, where: str, entry: Table, reference: Reference) -> list[Place]:
        """What the task says is for the host its reference names; others get nothing of it."""
        name, places = reference.name, []
        _refuse(entry.get("blocked"), f"{where}: {entry['prefix']} is blocked, so {reference} is")
        rest = name[match_prefix(name, entry["prefix"]) :]
        for source in [*entry.get("mirror", ()), entry]:
            location, is_mirror = source.get("location", "").rstrip("/"), source is not entry
            _scheme, host, path = _parse_url(location + rest if location else name, where)
            own = host == reference.registry and not is_mirror
            endpoint = self._origin(host) if own else Endpoint(api_host(host), name=host)
            if source.get("insecure"):
                endpoint = _trusting(replace(endpoint, insecure=True), Trust(validate_certs=False))
            by_digest = is_mirror and entry.get("mirror-by-digest-only")
            use = "digest-only" if by_digest else source.get("pull-from-mirror") or "all"
            places.append(Place(endpoint, _repository(path, where), use, is_mirror))
        return places

    def _of_containerd(self, reference: Reference, files: HostFiles) -> list[Place]:
        """The hosts of a hosts.toml, or the registry with the certificates beside it."""
        registry, repository, places = reference.registry, reference.repository, []
        own, directory = self._origin(registry), files.containerd(registry)
        path = os.path.join(directory, "hosts.toml")
        table = _checked(files.table(path) or {}, path, {"server": str, "host": dict})
        if not table:
            return [Place(_trusting(own, files.certificates(directory)), repository)]
        known: set[tuple[str, str, str]] = set()
        hosts = [*table.get("host", {}).items(), (table.get("server", ""), table)]
        for number, (url, entry) in enumerate(hosts):
            where = path if entry is table else f"{path}: host[{number}]"
            endpoint = self._of_host(url, _checked(entry, where, _HOST), where, registry)
            use = _use(entry, where) if url else "all"
            target = endpoint.host, endpoint.root
            if use and not (entry is table and (*target, endpoint.scheme) in known):
                is_mirror = entry is not table and endpoint.host != own.host
                places.append(Place(endpoint, repository, use, is_mirror))
            if use == "all":
                known |= {(*target, endpoint.scheme), (*target, "")}
        _refuse(not places, f"{path}: leaves no host to pull from")
        return places

    def _of_host(self, url: str, entry: Table, where: str, registry: str) -> Endpoint:
        """What a table of hosts.toml describes, without a URL the registry (containerd v2, hosts.go)."""
        endpoint, trust = self._origin(registry), _trust(entry, where)
        if url:
            scheme, host, root = _parse_url(url, where)
            if not entry.get("override_path") and not root.endswith("/v2"):
                root += "/v2"
            if host != registry:
                endpoint = Endpoint(api_host(host), name=host, namespace=registry)
            # Settings for TLS at an http:// URL mean that TLS is tried first, but for port 80.
            both = scheme == "http" and (trust != Trust() or "skip_verify" in entry)
            both = both and not host.endswith(":80")
            scheme = "" if both else scheme or "https"
            endpoint = replace(endpoint, scheme=scheme, insecure=both, root=root)
        headers = entry.get("header", {}).items()
        found = tuple((name, value) for name, values in headers for value in _listed(values))
        wrong = [name for name, value in found if not isinstance(value, str)]
        _refuse(wrong, f"{where}: a header is a string or a list of strings")
        return _trusting(replace(endpoint, headers=found), trust)

    def _certified(self, endpoint: Endpoint) -> Endpoint:
        name = endpoint.name or endpoint.host
        return _trusting(endpoint, self._files.trust(name)) if self._files else endpoint


class HostFiles:
    """The host's own configuration, read when asked for, once; or InputError with the name of the file."""

    def __init__(self, env: t.Mapping[str, str], home: str, root: str = "/") -> None:
        self._named, self._home, self._root = env.get("CONTAINERS_REGISTRIES_CONF"), home, root
        self.table = functools.lru_cache(maxsize=None)(_read_table)
        self.certificates = functools.lru_cache(maxsize=None)(_certificates)

    def rule(self, name: str) -> tuple[str, Table] | None:
        """The entry of registries.conf with the longest prefix of a name, and where it is."""
        fitting = [prefix for prefix in self._rules if match_prefix(name, prefix) != -1]
        return self._rules[max(sorted(fitting), key=len)] if fitting else None

    def containerd(self, registry: str) -> str:
        """containerd's directory for a registry, which may be missing."""
        names = (re.sub(":([0-9]+)$", r"_\1_", registry), registry, "_default")
        paths = [os.path.join(self._root, "etc/containerd/certs.d", name) for name in names]
        return next(filter(os.path.isdir, paths), paths[-1])

    def trust(self, host: str) -> Trust:
        """Certificates for a host, of the first directory there is, as podman and docker keep them."""
        bases = (self._home, self._root, self._root)
        paths = (os.path.join(base, name, host) for base, name in zip(bases, _CERTS))
        return next((self.certificates(path) for path in paths if os.path.isdir(path)), Trust())

    @functools.cached_property
    def _rules(self) -> dict[str, tuple[str, Table]]:
        """Later files replace entries; within a file the first of a prefix counts (sysregistriesv2)."""
        merged: dict[str, tuple[str, Table]] = {}
        for path in self._conf_files():
            table = _checked(self.table(path) or {}, path, {"registry": list})
            _refuse(table.get("registries"), f"{path}: is in the old format, with [registries.*]")
            for number, entry in reversed([*enumerate(table.get("registry", ()))]):
                where = f"{path}: registry[{number}]"
                rule = _rule(entry, where)
                merged[rule["prefix"]] = where, rule
        return merged

    def _conf_files(self) -> list[str]:
        of_user = os.path.join(self._home, ".config/containers/registries.conf")
        of_system = os.path.join(self._root, "etc/containers/registries.conf")
        missing = self._named and not os.path.exists(self._named)
        _refuse(missing, f"{self._named}: CONTAINERS_REGISTRIES_CONF names it, it does not exist")
        alone = not self._named and os.path.exists(of_user)
        found = [self._named or (of_user if alone else of_system)]
        for directory in [f"{of_user}.d"] if alone else [f"{of_system}.d", f"{of_user}.d"]:
            found += [path for path in _list(directory) if path.endswith(".conf")]
        return found


def match_prefix(name: str, prefix: str) -> int:
    """How many characters of a name a prefix of registries.conf covers, -1 for no match (refMatchingPrefix)."""
    end = len(prefix) if name.startswith(prefix) else -1
    if prefix.startswith("*."):
        start = name.find(prefix[1:])
        end = -1 if start == -1 or "/" in name[:start] else start + len(prefix) - 1
    return end if end != -1 and name[end : end + 1] in ("", ":", "/", "@") else -1


def _rule(value: t.Any, where: str) -> Table:
    """A [[registry]] that is right, with its prefix."""
    entry = _checked(value, where, _RULE)
    location, mirrors = entry.get("location", "").rstrip("/"), entry.get("mirror", ())
    prefix = entry.get("prefix", "").rstrip("/") or location
    wild = prefix.startswith("*.")
    _refuse(not location and not wild, f"{where}.location is missing")
    _refuse(wild and re.search("[/@:]", prefix), f"{where}.prefix: *. stands before a domain only")
    _refuse("pull-from-mirror" in entry, f"{where}.pull-from-mirror is for mirrors only")
    for number, mirror in enumerate(mirrors):
        at = f"{where}.mirror[{number}]"
        use = _checked(mirror, at, _MIRROR).get("pull-from-mirror")
        both = use and entry.get("mirror-by-digest-only")
        _refuse(not mirror.get("location"), f"{at}.location is missing")
        _refuse(both, f"{at}.pull-from-mirror contradicts mirror-by-digest-only")
        _refuse(use and use not in _USES, f"{at}.pull-from-mirror is none of {', '.join(_USES)}")
    for source in [*mirrors, entry]:
        scheme = source.get("location") and _parse_url(source["location"], where)[0]
        _refuse(scheme, f"{where}: a location has no {scheme}://")
    return dict(entry, prefix=prefix)


def _mirror(given: Table, where: str) -> tuple[str, Place]:
    scheme, host, path = _parse_url(given["url"], f"{where}.url")
    endpoint = _adapted(Endpoint(api_host(host), name=host), given, where)
    _refuse(scheme == "https" and endpoint.scheme, f"{where}: plain_http contradicts https://")
    endpoint = replace(endpoint, scheme=scheme or endpoint.scheme)
    return where, Place(endpoint, path, given.get("pull_from_mirror") or "all", True)


def _adapted(endpoint: Endpoint, given: Table, where: str) -> Endpoint:
    """With what an entry of the option says; a key that is None changes nothing."""
    trust, plain, valid = endpoint.trust, given.get("plain_http"), given.get("validate_certs")
    user, password = given.get("username"), given.get("password")
    ca, cert, key = (given.get(name) for name in ("ca_path", "client_cert", "client_key"))
    _refuse(key and not cert, f"{where}: client_key needs client_cert")
    _refuse(password and not user, f"{where}: password needs username")
    trust = Trust(
        trust.validate_certs if valid is None else valid,
        (ca,) if ca else trust.ca_paths,
        ((cert, key),) if cert else trust.client_certs,
    )
    scheme = endpoint.scheme if plain is None else "http" if plain else ""
    login = Credentials(user, password or "") if user else endpoint.login
    return replace(endpoint, scheme=scheme, trust=trust, login=login)


def _trusting(endpoint: Endpoint, more: Trust) -> Endpoint:
    """Authorities add up; a client certificate that is there stays the only one."""
    own = endpoint.trust
    valid, certs = own.validate_certs and more.validate_certs, own.client_certs or more.client_certs
    return replace(endpoint, trust=Trust(valid, own.ca_paths + more.ca_paths, certs))


def _parse_url(text: str, where: str) -> tuple[str, str, str]:
    """Scheme or "", registry, and path or ""; or InputError, which never repeats a URL."""
    match = _URL.fullmatch(text)
    with contextlib.suppress(errors.ReferenceError):
        if match:
            return match.group(1) or "", parse_registry(match.group(2)), match.group(3)
    raise errors.InputError(
        f"{where}: must be host[:port][/path], without user, query and fragment"
    )


def _repository(path: str, where: str) -> str:
    name = path.lstrip("/")
    with contextlib.suppress(errors.ReferenceError):
        if Reference.parse(f"localhost/{name}").repository == name:
            return name
    raise errors.InputError(f"{where}: {name!r} is no name of a repository")


def _use(entry: Table, where: str) -> str:
    """What a host may be asked for, "" for nothing."""
    words = [str(word).lower() for word in entry.get("capabilities", ())]
    wrong = {*words} - {"pull", "resolve", "push", "referrers"}
    _refuse(wrong, f"{where}: capabilities are pull, resolve, push and referrers")
    pull, resolve = (not words or word in words for word in ("pull", "resolve"))
    return ("all" if resolve else "digest-only") if pull else "tag-only" if resolve else ""


def _trust(entry: Table, where: str) -> Trust:
    """ca, client and skip_verify; file names are relative to hosts.toml."""
    join = functools.partial(os.path.join, where.partition("/hosts.toml")[0])
    ca, client = (_listed(entry.get(key, [])) for key in ("ca", "client"))
    pairs = [_listed(pair) for pair in client]
    texts = all(isinstance(text, str) for text in sum(pairs, ca))
    fitting = texts and all(len(pair) in (1, 2) for pair in pairs)
    _refuse(not fitting, f"{where}: ca and client are names of files, client also pairs of them")
    return Trust(
        not entry.get("skip_verify"),
        tuple(map(join, ca)),
        tuple((join(cert), join(*key) if any(key) else None) for cert, *key in pairs),
    )


def _listed(value: t.Any) -> list[t.Any]:
    return value if isinstance(value, list) else [value]


def _refuse(wrong: t.Any, message: str) -> None:
    if wrong:
        raise errors.InputError(message)


def _checked(value: t.Any, where: str, kinds: t.Mapping[str, type[t.Any]]) -> Table:
    """A table whose known keys have the types they should; or InputError."""
    _refuse(not isinstance(value, dict), f"{where}: must be a table")
    for key, kind in kinds.items():
        fits = isinstance(value.get(key, kind()), kind)
        _refuse(not fits, f"{where}: {key} must be {_KINDS[kind]}")
    return value


def _certificates(directory: str) -> Trust:
    """docker's convention: each CA.crt, and each NAME.cert with its NAME.key."""
    paths = [path for path in _list(directory) if path.endswith((".crt", ".cert", ".key"))]
    for path in paths:
        stem, ending = os.path.splitext(path)
        other = {".cert": f"{stem}.key", ".key": f"{stem}.cert"}.get(ending, path)
        _refuse(other not in paths, f"{path}: {os.path.basename(other)} is missing beside it")
        _refuse(not os.access(path, os.R_OK), f"{path}: cannot be read")
    return Trust(
        ca_paths=tuple(path for path in paths if path.endswith(".crt")),
        client_certs=tuple((path, f"{path[:-5]}.key") for path in paths if path.endswith(".cert")),
    )


def _list(directory: str) -> list[str]:
    """The paths in a directory, sorted; [] if it is missing."""
    try:
        names = sorted(os.listdir(directory)) if os.path.isdir(directory) else []
    except OSError as exc:
        raise errors.InputError(f"{directory}: {exc.strerror}") from exc
    return [os.path.join(directory, name) for name in names]


def _read_table(path: str) -> Table | None:
    """A TOML file of up to 1 MiB, None if it is missing; what parses TOML is imported when there is a file."""
    try:
        raw = read_file(os.path.realpath(path), 1024 * 1024)
    except FileNotFoundError:
        return None
    except errors.StoreAccessError as exc:
        raise errors.InputError(f"{path}: cannot be used: {exc}") from exc
    try:
        if sys.version_info >= (3, 11):
            import tomllib as toml
        else:
            import tomli as toml
    except ImportError as exc:
        why = "needs the Python library tomli, or Python 3.11"
        raise errors.DependencyError(f"{path}: reading it {why}", library="tomli") from exc
    try:
        return toml.loads(raw.decode("utf-8"))
    except (ValueError, RecursionError) as exc:
        line = re.search("at line ([0-9]+)", str(exc))
        at = f", line {line.group(1)}" if line else ""
        raise errors.InputError(f"{path}: is not TOML{at}") from None
