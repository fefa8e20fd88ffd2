# SPDX-License-Identifier: GPL-3.0-or-later
"""Names of images, read as Docker reads them (distribution/reference v0.6, normalize.go and regexp.go)."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ansible_collections.lockstep.images.plugins.module_utils._oci.digest import Digest
from ansible_collections.lockstep.images.plugins.module_utils._oci.errors import (
    DigestError,
    ReferenceError,
)

DOCKER_HUB = "docker.io"
_HUB_ALIASES = ("index.docker.io", "registry-1.docker.io")

_HOST = re.compile(
    r"(?P<host>(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
    r"(?:\.(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9]))*|\[[a-fA-F0-9:]+\])"
    r"(?::(?P<port>[0-9]+))?",
    re.ASCII,
)
_COMPONENT = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*", re.ASCII)
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}", re.ASCII)
_HEX64 = re.compile(r"[a-f0-9]{64}", re.ASCII)
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_TRANSPORTS = ("oci:", "oci-archive:", "docker-archive:", "docker-daemon:", "dir:")
_MAX_NAME = 255

# All that stands before the last "@" which does not lead a digest in.
_USER = re.compile(r"^.*@(?!sha[0-9]+:[0-9a-fA-F]*$)", re.ASCII | re.DOTALL)


@dataclass(frozen=True, order=True)
class Reference:
    """One image in one repository of one registry.

    ``registry`` is ``host[:port]`` in lower case (Docker Hub is ``docker.io``), ``repository`` the path in
    it. At least one of ``tag`` and ``digest`` is set: with both, the digest decides what is fetched and the
    tag is remembered. ``parse(str(r)) == r`` holds for every reference.
    """

    registry: str
    repository: str
    tag: str | None = None
    digest: Digest | None = None

    @classmethod
    def parse(cls, text: str) -> Reference:
        """Read a name as a user writes it; raises ReferenceError that names the part that is wrong."""
        if not isinstance(text, str) or not text:
            raise ReferenceError("reference is empty")
        _refuse_foreign_forms(text)
        rest, digest = _cut_digest(text)
        name, tag = _cut_tag(rest, text)
        registry, repository = split_domain(name)
        registry = _check_registry(registry, text)
        _check_repository(registry, repository, text)
        if tag is None and digest is None:
            tag = "latest"
        return cls(registry, repository, tag, digest)

    @property
    def name(self) -> str:
        """``registry/repository`` without tag or digest."""
        return f"{self.registry}/{self.repository}"

    @property
    def identifier(self) -> str:
        """What a registry is asked for: the digest where there is one, else the tag."""
        return str(self.digest) if self.digest else str(self.tag)

    def with_tag(self, tag: str) -> Reference:
        """The same repository at another tag; raises ReferenceError for a tag the grammar forbids."""
        if not _TAG.fullmatch(tag):
            raise ReferenceError(f"reference {self.name}: tag {_shown(tag)} is not valid")
        return Reference(self.registry, self.repository, tag)

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        digest = f"@{self.digest}" if self.digest else ""
        return f"{self.name}{tag}{digest}"

    @property
    def familiar(self) -> str:
        """The short form Docker shows: ``debian:12`` for ``docker.io/library/debian:12``."""
        text = str(self)
        if self.registry != DOCKER_HUB:
            return text
        namespace, _slash, rest = self.repository.partition("/")
        official = namespace == "library" and "/" not in rest
        return text[len(f"{DOCKER_HUB}/library/" if official else f"{DOCKER_HUB}/") :]


def parse_registry(text: str) -> str:
    """Normalise what a user gives as a registry: ``host[:port]``, or a URL of it as ``docker login`` takes.

    Raises ReferenceError. Docker Hub in any of its spellings is ``docker.io``.
    """
    match = re.fullmatch(r"(?:https?://)?([^/?#@]+)(?:/v[12])?/?", text or "")
    if not match:
        raise ReferenceError(f"registry {_shown(text)} is not of the form host[:port]")
    return _check_registry(match.group(1), match.group(1))


def split_domain(name: str) -> tuple[str, str]:
    """Cut ``name`` into registry and repository by Docker's rule (normalize.go, splitDockerDomain)."""
    first, slash, rest = name.partition("/")
    is_domain = first == "localhost" or "." in first or ":" in first or first != first.lower()
    if not slash or not is_domain:
        first, rest = DOCKER_HUB, name
    if first.lower() in _HUB_ALIASES:
        first = DOCKER_HUB
    if first.lower() == DOCKER_HUB and "/" not in rest:
        rest = "library/" + rest
    return first, rest


def _refuse_foreign_forms(text: str) -> None:
    scheme = _SCHEME.match(text)
    if scheme:
        raise ReferenceError(
            f"reference {_shown(text)}: a scheme ({scheme.group()}) is not part of a name",
            hint="Write registry/repository:tag, for example docker.io/library/debian:12.",
        )
    if text.startswith(_TRANSPORTS) and "/" in text:
        # "oci:latest" is a legal Docker Hub name; "oci:/path" is skopeo's notation for something else.
        prefix = text.split(":", 1)[0]
        if text.split(":", 1)[1].startswith(("/", ".")):
            raise ReferenceError(
                f"reference {_shown(text)}: the transport {prefix}: is not part of a name",
                hint="Write registry/repository:tag, for example docker.io/library/debian:12.",
            )
    if _HEX64.fullmatch(text):
        raise ReferenceError(
            f"reference {text}: 64 hexadecimal digits could be an image ID or a name",
            hint="Write repository@sha256:... for a digest.",
        )
    if not text.isascii() or any(c.isspace() or ord(c) < 32 or ord(c) == 127 for c in text):
        raise ReferenceError(
            f"reference {_shown(text)}: only printable ASCII without blanks is allowed",
            hint="Write an internationalised host name in its xn-- form.",
        )


def _cut_digest(text: str) -> tuple[str, Digest | None]:
    rest, at, digest = text.partition("@")
    if not at:
        return text, None
    if re.search("[/@]", digest) or re.search("[?#]", text):
        raise ReferenceError(
            f"reference {_shown(text)}: behind an @ stands a digest, credentials are not part of a name",
            hint="Give them as username and password, or log in with lockstep.images.registry_login.",
        )
    try:
        return rest, Digest.parse(digest)
    except DigestError as exc:
        raise ReferenceError(f"reference {_shown(text)}: {exc}") from exc


def _cut_tag(rest: str, text: str) -> tuple[str, str | None]:
    head, slash, last = rest.rpartition("/")
    name, colon, tag = last.partition(":")
    if not colon:
        return rest, None
    if not _TAG.fullmatch(tag):
        raise ReferenceError(
            f"reference {_shown(text)}: tag {_shown(tag)} is not valid, it has 1 to 128 characters of A-Z a-z 0-9 _ . -"
            " and starts with none of . and -"
        )
    return head + slash + name, tag


def _check_registry(registry: str, text: str) -> str:
    match = _HOST.fullmatch(registry)
    if not match:
        raise ReferenceError(
            f"reference {_shown(text)}: registry {_shown(registry)} is not of the form host[:port]"
        )
    port = match.group("port")
    if port is not None and (port[0] == "0" or not 0 < int(port[:6]) < 65536):
        raise ReferenceError(
            f"reference {_shown(text)}: port {_shown(port)} is not between 1 and 65535"
        )
    lower = registry.lower()
    if "." not in lower and ":" not in lower and lower != "localhost":
        return registry  # only its capitals make it a host: in lower case it would be read as a Docker Hub namespace
    return DOCKER_HUB if lower in _HUB_ALIASES else lower


def _check_repository(registry: str, repository: str, text: str) -> None:
    for component in repository.split("/"):
        if not _COMPONENT.fullmatch(component):
            reason = "must be lower case" if component != component.lower() else "is not valid"
            raise ReferenceError(
                f"reference {_shown(text)}: name component {_shown(component)} {reason}"
            )
    if len(registry) + 1 + len(repository) > _MAX_NAME:
        raise ReferenceError(
            f"reference {_shown(text)}: the name is longer than {_MAX_NAME} characters"
        )


def _safe(text: str) -> str:
    """The text as a message may repeat it: what stands before an ``@`` or behind a ``?`` could be a secret."""
    base = re.split("[?#]", text or "", maxsplit=1)[0]
    query = (text or "")[len(base) :]
    if "@" in query:
        return "..."
    return _USER.sub("...@", base) + (f"{query[0]}..." if query else "")


def _shown(value: str) -> str:
    text = repr(_safe(value))
    return text if len(text) <= 160 else text[:157] + "..."
