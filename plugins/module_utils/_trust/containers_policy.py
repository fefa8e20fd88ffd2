# SPDX-License-Identifier: GPL-3.0-or-later
"""Policies in the form of containers-policy.json(5), which podman, skopeo and CRI-O read, as requirements."""

from __future__ import annotations

import base64
import binascii
import hashlib
import typing as t

from .._image.errors import printable
from .._image.names import Digest
from .errors import PolicyError
from .keys import PublicKey, key_of_pem
from .lookaside import GpgTrust, parse_keyring
from .naming import EVERYTHING
from .requirements import GPG, KEY, REJECT, UNSIGNED, Policy, Requirement, Rule
from .signed_identity import SignedIdentity, parse_identity
from .trusted_root import Log, Period, TrustedRoot, moment_of

DEFAULT, DOCKER = "default", "docker"
_TRANSPORTS = (
    "atomic", "containers-storage", "dir", DOCKER, "docker-archive", "docker-daemon", "oci", "oci-archive", "ostree",
    "sif", "tarball",
)  # fmt: skip
_MATERIAL = ("Path", "Paths", "Data", "Datas")
_KEYS, _REKOR = ([f"{name}{end}" for end in _MATERIAL] for name in ("key", "rekorPublicKey"))
_OBJECTS = ("signedIdentity", "baseLayerIdentity", "fulcio", "pki")
# The keys of each type of requirement beside type.
_TYPES: dict[str, tuple[str, ...]] = {
    "insecureAcceptAnything": (),
    "reject": (),
    "signedBy": ("keyType", *_KEYS[:3], "signedIdentity"),
    "signedBaseLayer": ("baseLayerIdentity",),
    "sigstoreSigned": (*_KEYS, *_REKOR, "fulcio", "pki", "signedIdentity"),
}
_KEY_TYPES = ("GPGKeys", "signedByGPGKeys", "X509Certificates", "signedByX509CAs")
_RULE = "Write a rule with identities and trusted_root instead."
Table = t.Mapping[str, t.Any]
ReadFile = t.Callable[[str, str], bytes]


def is_containers_policy(value: t.Any) -> bool:
    """Return whether a value has the form of policy.json, and not that of rules."""
    return isinstance(value, dict) and bool({DEFAULT, "transports"} & value.keys())


def parse_containers_policy(
    value: Table, lookaside: t.Mapping[str, str] | None, read: ReadFile
) -> Policy:
    """Return the policy in a parsed policy.json for images of registries, the transport docker.

    ``lookaside`` says where signatures by GPG are, ``read`` returns the bytes of a file for the place in the policy that
    names it. Raise PolicyError for unknown keys and types anywhere, and for requirements on images of registries that are
    not supported.
    """
    table = _table(value, "verify", (DEFAULT, "transports"))
    if DEFAULT not in table:
        raise PolicyError("verify: default is missing")
    scopes = _table(table.get("transports", {}), "transports", _TRANSPORTS)
    default = _requirements(table[DEFAULT], DEFAULT)
    found: dict[str, list[_Requirement]] = {}
    for transport, entries in scopes.items():
        for scope, listed in _table(entries, f"transports.{transport}").items():
            where = f"transports.{transport}[{printable(scope, 100)!r}]"
            parsed = _requirements(listed, where)
            if transport == DOCKER:
                found[scope] = parsed
    found.pop(EVERYTHING, None)  # no image has this scope
    last = (DOCKER, found.pop("")) if "" in found else (DEFAULT, default)
    rules = {scope: _rule(scope, listed, lookaside, read) for scope, listed in found.items()}
    return Policy({**rules, EVERYTHING: _rule(*last, lookaside, read)})


class _Requirement(t.NamedTuple):
    """One requirement whose keys are known, and whose values have the right types."""

    where: str
    type: str
    table: Table
    identity: SignedIdentity


def _rule(
    match: str,
    listed: t.Sequence[_Requirement],
    lookaside: t.Mapping[str, str] | None,
    read: ReadFile,
) -> Rule:
    builder = _Builder(lookaside, read)
    return Rule(match, tuple(builder.build(one) for one in listed))


def _requirements(value: t.Any, where: str) -> list[_Requirement]:
    if not isinstance(value, list) or not value:
        raise PolicyError(f"{where}: is not a list with at least one requirement")
    return [_requirement(entry, f"{where}[{number}]") for number, entry in enumerate(value)]


def _requirement(value: t.Any, where: str) -> _Requirement:
    kind = value.get("type") if isinstance(value, dict) else None
    if not isinstance(kind, str) or kind not in _TYPES:
        raise PolicyError(f"{where}: type is not one of {', '.join(_TYPES)}")
    table = _table(value, where, ("type", *_TYPES[kind]))
    for key, one in table.items():
        _require_type(key, one, f"{where}.{key}")
    sources = [key for key in (*_KEYS, "fulcio", "pki") if key in table]
    if kind in ("signedBy", "sigstoreSigned") and len(sources) != 1:
        raise PolicyError(
            f"{where}: has {', '.join(sources) or 'no key'}, expected one of {', '.join(_TYPES[kind])}"
        )
    if kind == "signedBy" and table.get("keyType") not in _KEY_TYPES:
        raise PolicyError(f"{where}.keyType: is not one of {', '.join(_KEY_TYPES)}")
    logs = [key for key in _REKOR if key in table]
    if len(logs) > 1 or ("fulcio" in table and not logs):
        raise PolicyError(
            f"{where}: has {', '.join(logs) or 'none'}, expected one of {', '.join(_REKOR)}"
        )
    name = "baseLayerIdentity" if kind == "signedBaseLayer" else "signedIdentity"
    identity = SignedIdentity()
    if name in table or name == "baseLayerIdentity":
        identity = parse_identity(table.get(name), f"{where}.{name}")
    return _Requirement(where, kind, table, identity)


def _require_type(key: str, value: t.Any, where: str) -> None:
    if key in _OBJECTS:
        is_right = isinstance(value, dict)
    elif key.endswith("s") and key != "keyType":
        is_right = bool(value) and isinstance(value, list) and all(isinstance(one, str) and one for one in value)  # fmt: skip
    else:
        is_right = bool(value) and isinstance(value, str)
    if not is_right:
        raise PolicyError(f"{where}: is empty or of another type")


def _table(value: t.Any, where: str, known: t.Collection[str] | None = None) -> Table:
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise PolicyError(f"{where}: is not a mapping")
    for key in value:
        if known is not None and key not in known:
            raise PolicyError(f"{where}: has the unknown key {printable(key, 60)}")
    return value


class _Builder:
    """Turns requirements on images of registries into those that are verified here."""

    def __init__(self, lookaside: t.Mapping[str, str] | None, read: ReadFile) -> None:
        self._lookaside = lookaside
        self._read = read

    def build(self, one: _Requirement) -> Requirement:
        return self._BUILD[one.type](self, one)

    def _signed_by(self, one: _Requirement) -> Requirement:
        if one.table["keyType"] != _KEY_TYPES[0]:
            raise PolicyError(f"{one.where}.keyType: only GPGKeys is supported")
        if self._lookaside is None:
            raise PolicyError(
                f"{one.where}: nothing says where signatures by GPG are",
                "Give the policy as containers_policy, with lookaside beside it, or set registries_d in the lookup.",
            )
        rings = [parse_keyring(data, where) for data, where in self._material(one, "key")]
        gpg = GpgTrust(b"".join(rings), self._lookaside)
        return Requirement(GPG, gpg=gpg, signed_as=one.identity)

    def _sigstore_signed(self, one: _Requirement) -> Requirement:
        if "fulcio" in one.table:
            raise PolicyError(
                f"{one.where}.fulcio: is not supported, as it names no log of certificates", _RULE
            )
        if "pki" in one.table:
            raise PolicyError(f"{one.where}.pki: is not supported", "Use keys instead.")
        keys = {key.der: key for key in self._keys(one, "key")}
        logs = self._keys(one, "rekorPublicKey")
        root = _root_of(logs) if logs else None
        return Requirement(KEY, tuple(keys.values()), signed_as=one.identity, root=root)

    def _base_layer(self, one: _Requirement) -> Requirement:
        raise PolicyError(f"{one.where}: signedBaseLayer is not supported")

    _BUILD: t.ClassVar[t.Mapping[str, t.Callable[..., Requirement]]] = {
        "insecureAcceptAnything": lambda _self, _one: Requirement(UNSIGNED),
        "reject": lambda _self, _one: Requirement(REJECT),
        "signedBy": _signed_by,
        "signedBaseLayer": _base_layer,
        "sigstoreSigned": _sigstore_signed,
    }

    def _keys(self, one: _Requirement, name: str) -> list[PublicKey]:
        found = []
        for data, where in self._material(one, name):
            try:
                found.append(key_of_pem(data))
            except ValueError as exc:
                raise PolicyError(f"{where}: {exc}") from exc
        return found

    def _material(self, one: _Requirement, name: str) -> t.Iterator[tuple[bytes, str]]:
        """Yield the bytes of all keys under a name, each with its place in the policy; nothing if there are none."""
        for end in _MATERIAL:
            value = one.table.get(f"{name}{end}", [])
            for text in [value] if isinstance(value, str) else value:
                where = f"{one.where}.{name}{end}"
                if end.startswith("Path"):
                    yield self._read(text, where), f"{where} ({text})"
                else:
                    yield _decoded(text, where), where


def _decoded(text: str, where: str) -> bytes:
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError) as exc:
        raise PolicyError(f"{where}: is not base64") from exc


def _root_of(keys: t.Sequence[PublicKey]) -> TrustedRoot:
    """Return a trusted root that has only logs of signatures, with these keys at any time."""
    logs = []
    for key in keys:
        log_id = hashlib.sha256(key.der).digest()
        logs.append(Log(log_id, key, Period(moment_of(0)), log_id))
    digest = Digest.of(b"".join(sorted(key.der for key in keys)))
    return TrustedRoot(tuple(logs), (), (), (), str(digest))
