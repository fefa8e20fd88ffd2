# SPDX-License-Identifier: GPL-3.0-or-later
"""The configuration files of a host: registries.conf, hosts.toml and certs.d. Imported for use_host_config only."""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import re
import sys
import typing as t
from dataclasses import replace

from .._image import errors
from .._image.names import Reference
from .._store.files import read_file, refusal
from .connect import Trust
from .loginfiles import encoding_fault, is_hidden
from .mirrors import Endpoint, Origin, Place, Table, header_fields, refuse, trusting
from .urls import api_host, parse_url, repository_name

_MAX_FILE = 1024 * 1024
_USES = ("all", "digest-only", "tag-only")
_CERTS = (".config/containers/certs.d", "etc/containers/certs.d", "etc/docker/certs.d")
# The keys of files that are read, and their types.
_KINDS = {str: "a string", bool: "true or false", list: "a list", dict: "a table"}
_MIRROR = {"location": str, "insecure": bool, "pull-from-mirror": str}
_RULE = {"prefix": str, "blocked": bool, "mirror": list, "mirror-by-digest-only": bool, **_MIRROR}
_CONF = {
    "registry": list,
    "unqualified-search-registries": list,
    "short-name-mode": str,
    "credential-helpers": list,
    "aliases": dict,
    "registries": dict,
}
_MODES = ("", "disabled", "permissive", "enforcing")
_HOST = {"capabilities": list, "skip_verify": bool, "header": dict, "override_path": bool}


class HostFiles:
    """The configuration files below ``root`` and ``home``; each is read once, when it is needed.

    ``env`` may name a registries.conf. Raise InputError with the name of a file that is invalid, DependencyError if a
    file exists and no TOML parser does.
    """

    def __init__(self, env: t.Mapping[str, str], home: str, root: str = "/") -> None:
        self._named, self._home, self._root = env.get("CONTAINERS_REGISTRIES_CONF"), home, root
        # Imported here, before any thread starts. A host without such files needs no parser.
        self.table = functools.lru_cache(maxsize=None)(functools.partial(_read_table, _toml()))
        self.certificates = functools.lru_cache(maxsize=None)(_certificates)

    def places(self, reference: Reference, origin: Origin) -> list[Place]:
        """Return the mirrors of a reference in order, then its registry.

        Raise InputError if the registry is blocked, or a file is invalid.
        """
        rule = self.rule(reference.name)
        if rule:
            return _of_rule(*rule, reference, origin)
        return self._of_containerd(reference, origin)

    def rule(self, name: str) -> tuple[str, Table] | None:
        """Return the place and the entry of registries.conf with the longest prefix of a name, None for none."""
        fitting = [prefix for prefix in self._rules if match_prefix(name, prefix) != -1]
        return self._rules[max(sorted(fitting), key=len)] if fitting else None

    def containerd(self, registry: str) -> str:
        """Return the directory of containerd for a registry, which may be missing."""
        names = (re.sub(":([0-9]+)$", r"_\1_", registry), registry, "_default")
        paths = [os.path.join(self._root, "etc/containerd/certs.d", name) for name in names]
        return next(filter(os.path.isdir, paths), paths[-1])

    def trust(self, host: str) -> Trust:
        """Return the certificates for a host from the first of the directories of podman and docker that exists."""
        bases = (self._home, self._root, self._root)
        paths = (os.path.join(base, name, host) for base, name in zip(bases, _CERTS))
        return next((self.certificates(path) for path in paths if os.path.isdir(path)), Trust())

    def _of_containerd(self, reference: Reference, origin: Origin) -> list[Place]:
        """Return the hosts of a hosts.toml, or the registry with the certificates in the directory of containerd."""
        registry, repository, places = reference.registry, reference.repository, []
        registry_endpoint, directory = origin(registry), self.containerd(registry)
        path = os.path.join(directory, "hosts.toml")
        found = None if is_hidden(path) else self.table(path)
        table = _checked(found or {}, path, {"server": str, "host": dict})
        if not table:
            return [Place(trusting(registry_endpoint, self.certificates(directory)), repository)]
        known: set[tuple[str, str, str]] = set()
        hosts = [*table.get("host", {}).items(), (table.get("server", ""), table)]
        for number, (url, entry) in enumerate(hosts):
            where = path if entry is table else f"{path}: host[{number}]"
            refuse(not url and entry is not table, f"{where}: its name must be a URL")
            endpoint = _of_host(url, _checked(entry, where, _HOST), where, registry, origin)
            use = _use(entry, where) if url else "all"
            target = endpoint.host, endpoint.root
            if use and not (entry is table and (*target, endpoint.scheme) in known):
                is_mirror = entry is not table and endpoint.host != registry_endpoint.host
                places.append(Place(endpoint, repository, use, is_mirror))
            if use == "all":
                known |= {(*target, endpoint.scheme), (*target, "")}
        refuse(not places, f"{path}: has no host to pull from")
        return places

    @functools.cached_property
    def _rules(self) -> dict[str, tuple[str, Table]]:
        """Return place and entry by prefix. Later files replace entries; in one file, the first counts (sysregistriesv2)."""
        merged: dict[str, tuple[str, Table]] = {}
        for path in self._conf_files():
            table = _conf(self.table(path) or {}, path)
            lines = _lines(path)
            first: dict[str, tuple[str, Table]] = {}
            for number, entry in enumerate(table.get("registry", ())):
                line = f", line {lines[number]}" if number < len(lines) else ""
                where = f"{path}{line}: registry[{number}]"
                rule = _rule(entry, where)
                _refuse_conflict(rule, where, first)
                merged[rule["prefix"]] = first.setdefault(rule["prefix"], (where, rule))
        return merged

    def _conf_files(self) -> list[str]:
        of_user = os.path.join(self._home, ".config/containers/registries.conf")
        of_system = os.path.join(self._root, "etc/containers/registries.conf")
        missing = self._named and not os.path.exists(self._named) and not is_hidden(self._named)
        refuse(
            missing, f"{self._named}: CONTAINERS_REGISTRIES_CONF names it, but it does not exist"
        )
        alone = not self._named and os.path.exists(of_user)
        found = [self._named or (of_user if alone else of_system)]
        for directory in [f"{of_user}.d"] if alone else [f"{of_system}.d", f"{of_user}.d"]:
            for path in _list(directory):
                if path.endswith(".conf") and not os.path.isdir(path):
                    broken = not is_hidden(path) and not os.path.exists(path)
                    refuse(broken, f"{path}: is a broken link")
                    found.append(path)
        return found


def _of_rule(where: str, entry: Table, reference: Reference, origin: Origin) -> list[Place]:
    """Return the places of an entry of registries.conf; the options of the task apply to the host of its reference only."""
    name, places = reference.name, []
    refuse(entry.get("blocked"), f"{where}: {entry['prefix']} is blocked, and so is {reference}")
    rest = name[match_prefix(name, entry["prefix"]) :]
    for source in [*entry.get("mirror", ()), entry]:
        location, is_mirror = source.get("location", "").rstrip("/"), source is not entry
        _scheme, host, path = parse_url(location + rest if location else name, where)
        is_origin = host == reference.registry and not is_mirror
        endpoint = origin(host) if is_origin else Endpoint(api_host(host), name=host)
        if source.get("insecure"):
            endpoint = trusting(replace(endpoint, insecure=True), Trust(validate_certs=False))
        by_digest = is_mirror and entry.get("mirror-by-digest-only")
        use = "digest-only" if by_digest else source.get("pull-from-mirror") or "all"
        places.append(Place(endpoint, repository_name(path, where), use, is_mirror))
    return places


def _of_host(url: str, entry: Table, where: str, registry: str, origin: Origin) -> Endpoint:
    """Return the endpoint of a table of hosts.toml, that of the registry without a URL (containerd v2, hosts.go)."""
    endpoint, trust = origin(registry), _trust(entry, where)
    if url:
        scheme, host, root = parse_url(url, where)
        if not entry.get("override_path") and not root.endswith("/v2"):
            root += "/v2"
        if host != registry:
            endpoint = Endpoint(api_host(host), name=host, namespace=registry)
        # With settings for TLS, an http:// URL means that TLS is tried first, except on port 80.
        both = scheme == "http" and (trust != Trust() or "skip_verify" in entry)
        both = both and not host.endswith(":80")
        scheme = "" if both else scheme or "https"
        endpoint = replace(endpoint, scheme=scheme, insecure=both, root=root)
    found = header_fields(entry.get("header", {}), where)
    return trusting(replace(endpoint, headers=found), trust)


def match_prefix(name: str, prefix: str) -> int:
    """Return how many characters of a name a prefix of registries.conf covers, -1 for none (refMatchingPrefix)."""
    end = len(prefix) if name.startswith(prefix) else -1
    if prefix.startswith("*."):
        start = name.find(prefix[1:])
        end = -1 if start == -1 or "/" in name[:start] else start + len(prefix) - 1
    return end if end != -1 and name[end : end + 1] in ("", ":", "/", "@") else -1


def _conf(value: Table, path: str) -> Table:
    """Check a registries.conf as podman and skopeo do, and return it; the entries are checked by ``_rule``."""
    table = _checked(_folded(value), path, _CONF)
    parts = [_folded(part) for part in table.get("registries", {}).values()]
    old = any(part.get("registries") if isinstance(part, dict) else True for part in parts)
    refuse(old, f"{path}: is in the old format, with [registries.*]")
    for number, text in enumerate(table.get("unqualified-search-registries", ())):
        where = f"{path}: unqualified-search-registries[{number}]"
        scheme, _host, way = parse_url(_text(text, where), where)
        refuse(scheme or way, f"{where}: must be host[:port]")
    mode = table.get("short-name-mode", "")
    refuse(mode not in _MODES, f"{path}: short-name-mode must be one of {', '.join(_MODES[1:])}")
    for number, text in enumerate(table.get("credential-helpers", ())):
        _text(text, f"{path}: credential-helpers[{number}]")
    for name, text in table.get("aliases", {}).items():
        where = f"{path}: aliases.{errors.printable(name, 60)}"
        refuse(re.match("[^/]*[.:][^/]*/", name), f"{where}: an alias must not contain a registry")
        repository_name(name, where)
        if _text(text, where):
            scheme, _host, way = parse_url(text, where)
            refuse(scheme, f"{where}: a name has no {scheme}://")
            repository_name(way, where)
    return table


def _rule(value: t.Any, where: str) -> Table:
    """Check an entry [[registry]], and return it with its prefix."""
    entry = _checked(_folded(value), where, _RULE)
    location, mirrors = entry.get("location", "").rstrip("/"), entry.get("mirror", ())
    mirrors = [_folded(mirror) for mirror in mirrors]
    prefix = entry.get("prefix", "").rstrip("/") or location
    wild = prefix.startswith("*.")
    scheme, found, _rest = entry.get("prefix", "").partition("://")
    refuse(found, f"{where}.prefix: a name has no {errors.printable(scheme, 20)}://")
    refuse(not location and not wild, f"{where}.location is missing")
    refuse(wild and re.search("[/@:]", prefix), f"{where}.prefix: *. must stand before a domain")
    refuse("pull-from-mirror" in entry, f"{where}.pull-from-mirror is for mirrors only")
    for number, mirror in enumerate(mirrors):
        at = f"{where}.mirror[{number}]"
        use = _checked(mirror, at, _MIRROR).get("pull-from-mirror")
        both = use and entry.get("mirror-by-digest-only")
        refuse(not mirror.get("location", "").rstrip("/"), f"{at}.location is missing")
        refuse(both, f"{at}.pull-from-mirror contradicts mirror-by-digest-only")
        refuse(use and use not in _USES, f"{at}.pull-from-mirror must be one of {', '.join(_USES)}")
    for source in [*mirrors, entry]:
        scheme = source.get("location") and parse_url(source["location"], where)[0]
        refuse(scheme, f"{where}: a location has no {scheme}://")
    return dict(entry, prefix=prefix, mirror=mirrors)


def _refuse_conflict(rule: Table, where: str, known: t.Mapping[str, tuple[str, Table]]) -> None:
    """Raise InputError if entries of one file contradict each other on a location: blocked or not, insecure or not."""
    for place, other in known.values():
        if _target(other) == _target(rule):
            for key in ("blocked", "insecure"):
                differ = bool(other.get(key)) != bool(rule.get(key))
                refuse(differ, f"{where}.{key} contradicts {place.rpartition(': ')[2]}.{key}")


def _target(rule: Table) -> str:
    return rule.get("location", "").rstrip("/") or rule["prefix"]


def _use(entry: Table, where: str) -> str:
    """Return the ``use`` of a host by its capabilities, "" for none."""
    words = [str(word).lower() for word in entry.get("capabilities", ())]
    wrong = {*words} - {"pull", "resolve", "push", "referrers"}
    refuse(wrong, f"{where}: capabilities must be pull, resolve, push or referrers")
    pull, resolve = (not words or word in words for word in ("pull", "resolve"))
    return ("all" if resolve else "digest-only") if pull else "tag-only" if resolve else ""


def _trust(entry: Table, where: str) -> Trust:
    """Return the trust by ca, client and skip_verify; file names are relative to hosts.toml."""
    join = functools.partial(os.path.join, where.partition("/hosts.toml")[0])
    ca, client = (_listed(entry.get(key, [])) for key in ("ca", "client"))
    pairs = [_listed(pair) for pair in client]
    texts = all(isinstance(text, str) and "\0" not in text for text in sum(pairs, ca))
    fitting = texts and all(len(pair) in (1, 2) for pair in pairs)
    refuse(not fitting, f"{where}: ca and client must be file names; client also pairs of them")
    return Trust(
        not entry.get("skip_verify"),
        tuple(map(join, ca)),
        tuple((join(cert), join(*key) if any(key) else None) for cert, *key in pairs),
    )


def _listed(value: t.Any) -> list[t.Any]:
    return value if isinstance(value, list) else [value]


def _folded(value: t.Any) -> t.Any:
    """Return a table with its keys in lower case: podman and skopeo ignore their case."""
    return (
        {key.lower(): entry for key, entry in value.items()} if isinstance(value, dict) else value
    )


def _text(value: t.Any, where: str) -> str:
    refuse(not isinstance(value, str), f"{where}: must be a string")
    return value


def _checked(value: t.Any, where: str, kinds: t.Mapping[str, type[t.Any]]) -> Table:
    """Return a value if it is a table whose known keys have these types; raise InputError otherwise."""
    refuse(not isinstance(value, dict), f"{where}: must be a table")
    for key, kind in kinds.items():
        fits = isinstance(value.get(key, kind()), kind)
        refuse(not fits, f"{where}: {key} must be {_KINDS[kind]}")
    return value


def _certificates(directory: str) -> Trust:
    """Return the certificates in a directory by docker's convention: each CA.crt, and each NAME.cert with its NAME.key.

    A directory that the user of the task must not search has none.
    """
    found = (
        [] if is_hidden(os.path.join(directory, ".")) else _list(directory, closed_is_empty=True)
    )
    paths = [path for path in found if path.endswith((".crt", ".cert", ".key"))]
    # A broken link is ignored, as by podman and skopeo.
    paths = [path for path in paths if os.path.exists(path) or not path.endswith(".crt")]
    for path in paths:
        stem, ending = os.path.splitext(path)
        other = {".cert": f"{stem}.key", ".key": f"{stem}.cert"}.get(ending, path)
        refuse(other not in paths, f"{path}: {os.path.basename(other)} is missing next to it")
        refuse(not os.path.isfile(path), f"{path}: is not a regular file")
        if not os.access(path, os.R_OK):
            closed = refusal(path, PermissionError(errno.EACCES, "cannot be read"))
            raise errors.InputError(str(closed), closed.hint)
    return Trust(
        ca_paths=tuple(path for path in paths if path.endswith(".crt")),
        client_certs=tuple((path, f"{path[:-5]}.key") for path in paths if path.endswith(".cert")),
    )


def _list(directory: str, closed_is_empty: bool = False) -> list[str]:
    """Return the paths in a directory, sorted; [] if it is missing, or closed with ``closed_is_empty``."""
    try:
        names = sorted(os.listdir(directory)) if os.path.isdir(directory) else []
    except OSError as exc:
        if closed_is_empty and isinstance(exc, PermissionError):
            return []
        closed = refusal(directory, exc)
        raise errors.InputError(str(closed), closed.hint) from exc
    return [os.path.join(directory, name) for name in names]


def _lines(path: str) -> list[int]:
    """Return the line numbers of [[registry]] in a file, in order; [] if it cannot be read."""
    with contextlib.suppress(OSError, errors.StoreAccessError):
        text = read_file(os.path.realpath(path), _MAX_FILE).decode("utf-8", "replace")
        head = re.compile(r"\s*\[\[\s*\"?registry\"?\s*\]\]", re.IGNORECASE)
        return [number for number, line in enumerate(text.split("\n"), 1) if head.match(line)]
    return []


def _toml() -> t.Any:
    """Return the module that parses TOML, None if there is none."""
    with contextlib.suppress(ImportError):
        if sys.version_info >= (3, 11):
            import tomllib as toml
        else:
            import tomli as toml
        return toml
    return None


def _read_table(toml: t.Any, path: str) -> Table | None:
    """Return a TOML file of up to 1 MiB, None if it is missing.

    Raise InputError if it is invalid, DependencyError if there is no parser.
    """
    try:
        raw = read_file(os.path.realpath(path), _MAX_FILE)
    except FileNotFoundError:
        return None
    except errors.StoreAccessError as exc:
        text = str(exc)
        named = text if text.startswith(f"{path}: ") else f"{path}: {text}"
        raise errors.InputError(named, exc.hint) from exc
    if path.endswith("/hosts.toml"):  # containerd accepts a byte order mark
        raw = raw[3:] if raw.startswith(b"\xef\xbb\xbf") else raw
    fault = encoding_fault(raw)
    refuse(fault, f"{path}: {fault}")
    if toml is None:
        why = "needs the Python library tomli, or Python 3.11"
        raise errors.DependencyError(f"{path}: reading it {why}", library="tomli")
    try:
        return toml.loads(raw.decode("utf-8"))
    except (ValueError, RecursionError) as exc:
        line = re.search("at line ([0-9]+)", str(exc))
        at = f", line {line.group(1)}" if line else ""
        raise errors.InputError(f"{path}: is not TOML{at}") from None
