# SPDX-License-Identifier: GPL-3.0-or-later
"""Policies as rules: which signatures which images must have. Parsed whole, before any request."""

from __future__ import annotations

import json
import re
import typing as t

from .._image.artifacts import SLSA_PROVENANCE
from .._image.errors import LockstepError, ManifestError, printable
from .._image.manifest import parse_object
from .._image.names import Reference
from .attestation import Attestation
from .containers_policy import is_containers_policy, parse_containers_policy
from .errors import PolicyError
from .keys import PublicKey, key_of_pem
from .lookaside import parse_gpg, parse_lookaside
from .naming import (
    ANY,
    EXACT,
    PATH,
    REPOSITORY,
    Identity,
    SignedAs,
    scope_fault,
    subject_pattern,
)
from .notation_rule import parse_notation
from .requirements import (
    GPG,
    IDENTITY,
    KEY,
    LEVELS,
    NOTATION,
    REJECT,
    UNSIGNED,
    Policy,
    Requirement,
    Rule,
)
from .trusted_root import TrustedRoot, parse_trusted_root

MAX_FILE = 1024 * 1024
_MOST_KEYS = 50
# The keys of a rule that say whose signatures count, one of which it must have.
_SUBJECTS = ("keys", "identities", "gpg", "notation", "accept", "reject", "all")
_SIGNED = (
    "count",
    "trusted_root",
    "log",
    "annotations",
    "signed_as",
    "signatures",
    "level",
    "attestation",
)
REQUIRED, IGNORE = "required", "ignore"
_PATTERNS: dict[str, t.Callable[[str], re.Pattern[str]]] = {
    "subject": subject_pattern,
    "subject_regex": re.compile,
}
Read = t.Callable[[str], bytes]


def parse_policy(value: t.Any, read: Read) -> Policy:
    """Return the policy that a value, or a text with JSON, states; ``read`` returns the bytes of a file.

    It is a list of rules, what a policy.json of containers tools has, or a mapping with ``containers_policy``.
    Raise PolicyError for anything else. Nothing of it is ignored: an unknown key, a second rule for a scope, and a file
    that cannot be read are errors, whether an image needs them or not.
    """
    if isinstance(value, str):
        value = _from_text(value)
    if is_containers_policy(value):
        value = {"containers_policy": value}
    if isinstance(value, dict):
        return _Parser("verify", read).containers_policy(value)
    if not isinstance(value, list) or not value:
        raise PolicyError("verify: is not a list of rules with at least one rule")
    rules: dict[str, Rule] = {}
    for number, entry in enumerate(value):
        rule = _Parser(f"verify[{number}]", read).rule(entry)
        if rule.match in rules:
            raise PolicyError(f"verify[{number}].match: a second rule for {rule.match}")
        rules[rule.match] = rule
    return Policy(rules)


def _from_text(text: str) -> t.Any:
    try:
        return parse_object(b'{"verify":' + text.encode("utf-8") + b"}", "verify")["verify"]
    except ManifestError as exc:
        raise PolicyError(str(exc)) from exc


class _Parser:
    """Parses one rule, whose place in the policy is ``where``."""

    def __init__(self, where: str, read: Read) -> None:
        self.where = where
        self.read = read

    def rule(self, entry: t.Any) -> Rule:
        table = self.table(entry, ("match", *_SUBJECTS, *_SIGNED))
        match = self.text(table, "match")
        fault = scope_fault(match)
        if fault:
            raise PolicyError(
                f"{self.where}.match: {printable(match, 100)} is not a scope: {fault}"
            )
        rest = {key: value for key, value in table.items() if key != "match"}
        if "all" not in rest:
            return Rule(match, (self.requirement(rest),))
        parts = rest.pop("all")
        if rest or not isinstance(parts, list) or not parts:
            raise PolicyError(
                f"{self.where}: all must be a list of requirements, beside match only"
            )
        inner = [_Parser(f"{self.where}.all[{number}]", self.read) for number in range(len(parts))]
        return Rule(match, tuple(one.requirement(part) for one, part in zip(inner, parts)))

    def containers_policy(self, value: t.Any) -> Policy:
        if "containers_policy" not in value:
            raise PolicyError(f"{self.where}: is not a list of rules, and has no containers_policy")
        table = self.table(value, ("containers_policy", "lookaside"))
        lookaside = None
        if "lookaside" in table:
            lookaside = parse_lookaside(table["lookaside"], f"{self.where}.lookaside")
        policy, where = table["containers_policy"], f"{self.where}.containers_policy"
        if not is_containers_policy(policy):
            entry = {"text": policy} if isinstance(policy, str) else policy
            policy = _from_text(self.data(entry, where)[0].decode("utf-8", "replace"))
        return parse_containers_policy(policy, lookaside, self.file)

    def requirement(self, entry: t.Any) -> Requirement:
        table = self.table(entry, (*_SUBJECTS[:-1], *_SIGNED))
        named = [key for key in _SUBJECTS if key in table]
        if len(named) != 1:
            listed = ", ".join(named) or "none"
            raise PolicyError(
                f"{self.where}: has {listed}, expected one of {', '.join(_SUBJECTS)}",
                "Write several requirements under all.",
            )
        if named[0] in ("accept", "reject"):
            return self.fixed(table, named[0])
        if named[0] in (GPG, NOTATION):
            return self.other(table, named[0])
        claims = {**self.claims(table), "root": self.root(table, named[0])}
        if named[0] == "identities":
            if "count" in table:
                raise PolicyError(f"{self.where}: count is only for keys")
            return Requirement(IDENTITY, identities=self.identities(table), **claims)
        keys = self.keys(table)
        return Requirement(KEY, keys, self.count(table, len(keys)), **claims)

    def other(self, table: t.Mapping[str, t.Any], name: str) -> Requirement:
        """Return the requirement on signatures by GPG or of notation."""
        for key in ("count", "log", "trusted_root", "attestation"):
            if key in table:
                raise PolicyError(f"{self.where}: {key} is not for {name}")
        parse: t.Callable[..., t.Any] = parse_gpg if name == GPG else parse_notation
        trust = parse(table[name], f"{self.where}.{name}", self.data)
        return Requirement(name, **{name: trust}, **self.claims(table))

    def fixed(self, table: t.Mapping[str, t.Any], name: str) -> Requirement:
        """Return the requirement that needs no signature, or that no image meets."""
        if len(table) > 1:
            raise PolicyError(f"{self.where}: {name} must be alone beside match")
        if name == "accept" and table[name] == UNSIGNED:
            return Requirement(UNSIGNED)
        if name == "reject" and table[name] is True:
            return Requirement(REJECT)
        expected = "unsigned" if name == "accept" else "true"
        raise PolicyError(f"{self.where}.{name}: is not {expected}")

    def claims(self, table: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
        """Return the fields that every requirement on signatures has."""
        level = table.get("level", ANY)
        if level not in LEVELS:
            raise PolicyError(f"{self.where}.level: is not one of {', '.join(LEVELS)}")
        return {
            "annotations": self.annotations(table.get("annotations", {})),
            "signed_as": self.signed_as(table.get("signed_as", REPOSITORY)),
            "signatures": self.repository(table, "signatures"),
            "level": level,
            "attestation": self.attestation(table) if "attestation" in table else None,
        }

    def attestation(self, table: t.Mapping[str, t.Any]) -> Attestation:
        """Return the attestation that a rule requires instead of a signature."""
        for key in ("signed_as", "annotations"):
            if key in table:
                raise PolicyError(f"{self.where}: {key} is not for an attestation")
        inner = _Parser(f"{self.where}.attestation", self.read)
        value = inner.table(table["attestation"], ("predicate_type", "builder", "source"))
        kind = inner.text(value, "predicate_type")
        if len(value) > 1 and not kind.startswith(SLSA_PROVENANCE):
            raise PolicyError(
                f"{inner.where}: builder and source are for {SLSA_PROVENANCE}... only"
            )
        return Attestation(kind, inner.pattern(value, "builder"), inner.pattern(value, "source"))

    def pattern(self, table: t.Mapping[str, t.Any], key: str) -> re.Pattern[str] | None:
        """Return the pattern of a text with ``*``, None if the key is missing."""
        if key not in table:
            return None
        text = self.text(table, key)
        if not text.strip("*"):
            raise PolicyError(f"{self.where}.{key}: accepts every {key}")
        return subject_pattern(text)

    def keys(self, table: t.Mapping[str, t.Any]) -> tuple[PublicKey, ...]:
        """Return the different public keys of a rule, in order."""
        entries = table["keys"]
        if not isinstance(entries, list) or not 0 < len(entries) <= _MOST_KEYS:
            raise PolicyError(f"{self.where}.keys: is not a list of 1 to {_MOST_KEYS} keys")
        found: dict[bytes, PublicKey] = {}
        for number, entry in enumerate(entries):
            where = f"{self.where}.keys[{number}]"
            data, named = self.data(entry, where)
            try:
                key = key_of_pem(data)
            except ValueError as exc:
                raise PolicyError(f"{where}{named}: {exc}") from exc
            found[key.der] = key
        return tuple(found.values())

    def identities(self, table: t.Mapping[str, t.Any]) -> tuple[Identity, ...]:
        """Return the identities of a rule, in order."""
        entries = table["identities"]
        if not isinstance(entries, list) or not 0 < len(entries) <= _MOST_KEYS:
            raise PolicyError(
                f"{self.where}.identities: is not a list of 1 to {_MOST_KEYS} identities"
            )
        parsers = [_Parser(f"{self.where}.identities[{number}]", self.read) for number in range(len(entries))]  # fmt: skip
        return tuple(one.identity(entry) for one, entry in zip(parsers, entries))

    def identity(self, entry: t.Any) -> Identity:
        table = self.table(entry, ("issuer", *_PATTERNS))
        forms = [name for name in _PATTERNS if name in table]
        if len(forms) != 1:
            raise PolicyError(f"{self.where}: must have either subject or subject_regex")
        text = self.text(table, forms[0])
        if not text.strip("*"):
            raise PolicyError(f"{self.where}.{forms[0]}: accepts every subject")
        try:
            return Identity(self.text(table, "issuer"), _PATTERNS[forms[0]](text))
        except re.error as exc:
            raise PolicyError(
                f"{self.where}.subject_regex: is not a regular expression: {exc}"
            ) from exc

    def root(self, table: t.Mapping[str, t.Any], subject: str) -> TrustedRoot | None:
        """Return the trusted root of a rule, None if it needs none."""
        log = table.get("log", REQUIRED if subject == "identities" else IGNORE)
        if log not in (REQUIRED, IGNORE) or (subject == "identities" and log == IGNORE):
            raise PolicyError(f"{self.where}.log: is not required or, with keys only, ignore")
        if (log == REQUIRED) is not ("trusted_root" in table):
            raise PolicyError(
                f"{self.where}: trusted_root and log required belong together",
                "Give the trusted_root.json of the authorities. It is never fetched.",
            )
        if log == IGNORE:
            return None
        where, entry = f"{self.where}.trusted_root", table["trusted_root"]
        if isinstance(entry, dict) and isinstance(entry.get("text"), dict):
            # Before ansible-core 2.19, a template with JSON is a mapping.
            entry = {**entry, "text": json.dumps(entry["text"])}
        data, named = self.data(entry, where)
        try:
            return parse_trusted_root(data, f"{where}{named}")
        except LockstepError as exc:
            raise PolicyError(str(exc)) from exc

    def data(self, entry: t.Any, where: str) -> tuple[bytes, str]:
        """Return the bytes that ``text`` or ``path`` of an entry give, and the path for messages."""
        if isinstance(entry, dict) and list(entry) in (["text"], ["path"]):
            (form, value), *_rest = entry.items()
            if isinstance(value, str) and form == "text":
                return value.encode("utf-8"), ""
            if isinstance(value, str):
                return self.file(value, where), f" ({value})"
        raise PolicyError(f"{where}: must have either text or path")

    def file(self, path: str, where: str) -> bytes:
        try:
            return self.read(path)
        except FileNotFoundError:
            raise PolicyError(f"{where}: {path} does not exist") from None
        except LockstepError as exc:
            raise PolicyError(f"{where}: {exc}", exc.hint) from exc

    def count(self, table: t.Mapping[str, t.Any], most: int) -> int:
        count = table.get("count", 1)
        if isinstance(count, bool) or not isinstance(count, int) or not 1 <= count <= most:
            raise PolicyError(
                f"{self.where}.count: is not between 1 and {most}, the number of different keys"
            )
        return count

    def annotations(self, value: t.Any) -> dict[str, str]:
        if not isinstance(value, dict) or not all(
            isinstance(part, str) for pair in value.items() for part in pair
        ):
            raise PolicyError(f"{self.where}.annotations: is not a mapping of texts to texts")
        return dict(value)

    def signed_as(self, value: t.Any) -> SignedAs:
        if value in (REPOSITORY, EXACT, ANY):
            return SignedAs(str(value))
        where = f"{self.where}.signed_as"
        if not isinstance(value, dict):
            raise PolicyError(
                f"{where}: is not repository, exact, any, or prefix and signed_prefix"
            )
        inner = _Parser(where, self.read)
        table = inner.table(value, ("prefix", "signed_prefix"))
        prefixes = [inner.text(table, key) for key in ("prefix", "signed_prefix")]
        for prefix in prefixes:
            fault = scope_fault(prefix)
            if fault or not PATH.fullmatch(prefix):
                raise PolicyError(f"{where}: {printable(prefix, 100)} is not a host or host/path")
        return SignedAs(REPOSITORY, *prefixes)

    def repository(self, table: t.Mapping[str, t.Any], key: str) -> Reference | None:
        if key not in table:
            return None
        try:
            found = Reference.parse(self.text(table, key))
        except LockstepError as exc:
            raise PolicyError(f"{self.where}.{key}: {exc}") from exc
        if found.name != table[key]:
            raise PolicyError(
                f"{self.where}.{key}: must be a whole repository, such as {found.name}"
            )
        return found

    def table(self, value: t.Any, known: t.Sequence[str]) -> t.Mapping[str, t.Any]:
        if not isinstance(value, dict):
            raise PolicyError(f"{self.where}: is not a mapping")
        for key in value:
            if key not in known:
                raise PolicyError(f"{self.where}: has the unknown key {printable(str(key), 60)}")
        return value

    def text(self, table: t.Mapping[str, t.Any], key: str) -> str:
        if not isinstance(table.get(key), str):
            raise PolicyError(f"{self.where}: {key} is missing or not a text")
        return str(table[key])
