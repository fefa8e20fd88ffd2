# SPDX-License-Identifier: GPL-3.0-or-later
"""The names of content, images and platforms: digests, references, platforms."""

from __future__ import annotations

import hashlib
import platform as _host
import re
import typing as t
import urllib.parse

from . import errors

DOCKER_HUB = "docker.io"
_HUB_ALIASES = ("index.docker.io", "registry-1.docker.io")

# go-digest also has sha384, but no registry stores it.
_LENGTHS = {"sha256": 64, "sha512": 128}
_HEX = re.compile("[a-f0-9]+")
_LABEL = "[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?"
_HOST = re.compile(rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[a-fA-F0-9:]+\])(?::(?P<port>[0-9]+))?")
_COMPONENT = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*")
TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_FOREIGN = re.compile(
    r"[A-Za-z][A-Za-z0-9+.-]*://|(?:oci|oci-archive|docker-archive|docker-daemon|dir):(?=[/.])"
)
_MAX_PATH = 255  # as distribution/reference counts: without the registry


class Digest(t.NamedTuple):
    """A content address (image-spec v1.1, descriptor.md, "Digests"). Only a parsed digest becomes a path or a URL."""

    algorithm: str
    encoded: str

    @classmethod
    def parse(cls, text: t.Any) -> Digest:
        """Return the digest that ``algorithm:hex`` states; raise DigestError for anything else."""
        algorithm, colon, encoded = (text if isinstance(text, str) else "").partition(":")
        length = _LENGTHS.get(algorithm)
        if length == len(encoded) and _HEX.fullmatch(encoded):
            return cls(algorithm, encoded)
        subject = f"digest {repr(text)[:160]}"
        if not colon:
            raise errors.DigestError(f"{subject} is not of the form algorithm:hex")
        if not length:
            raise errors.DigestError(
                f"{subject}: the algorithm is unsupported, use sha256 or sha512"
            )
        raise errors.DigestError(
            f"{subject}: {algorithm} needs {length} lower-case hexadecimal digits"
        )

    @classmethod
    def of(cls, data: bytes, algorithm: str = "sha256") -> Digest:
        """Return the digest of ``data``."""
        return cls(algorithm, hashlib.new(algorithm, data).hexdigest())

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.encoded}"

    def matches(self, data: bytes) -> bool:
        """Return whether ``data`` has this digest."""
        return Digest.of(data, self.algorithm) == self


class Reference(t.NamedTuple):
    """The name of an image (distribution/reference v0.6). With both a tag and a digest, the digest is fetched."""

    registry: str
    repository: str
    tag: str | None = None
    digest: Digest | None = None

    @classmethod
    def parse(cls, text: str) -> Reference:
        """Return the reference that a user wrote, completed as Docker does; raise ReferenceError for anything else."""
        text = trimmed(text) if isinstance(text, str) else ""
        if not text:
            raise errors.ReferenceError("reference is empty")
        _refuse_foreign_forms(text)
        rest, digest = _cut_digest(text)
        name, tag = _cut_tag(rest, text)
        registry, repository = split_domain(name)
        registry = _check_registry(registry, text)
        _check_repository(repository, text)
        return cls(registry, repository, tag or (None if digest else "latest"), digest)

    @property
    def name(self) -> str:
        """Return ``registry/repository``."""
        return f"{self.registry}/{self.repository}"

    @property
    def store_name(self) -> str:
        """Return the name of the image in a store. It has no digest beside a tag, because the next pin moves the digest."""
        return f"{self.name}:{self.tag}" if self.tag else str(self)

    def with_tag(self, tag: str) -> Reference:
        """Return a reference to another tag of the repository; raise ReferenceError for an invalid tag."""
        if not TAG.fullmatch(tag):
            raise errors.ReferenceError(
                f"reference {self.name}: tag {errors.shown_name(tag)} is not valid"
            )
        return Reference(self.registry, self.repository, tag)

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        return f"{self.name}{tag}" + (f"@{self.digest}" if self.digest else "")


def split_domain(name: str) -> tuple[str, str]:
    """Return the registry and the repository of a name without tag, by Docker's rule (splitDockerDomain)."""
    first, slash, rest = name.partition("/")
    is_domain = first == "localhost" or "." in first or ":" in first or first != first.lower()
    if not slash or not is_domain:
        first, rest = DOCKER_HUB, name
    if first.lower() in _HUB_ALIASES:
        first = DOCKER_HUB
    if first.lower() == DOCKER_HUB and "/" not in rest:
        rest = "library/" + rest
    return first, rest


def parse_registry(text: str) -> str:
    """Return the ``host[:port]`` of a registry, given so or as a URL; raise ReferenceError for anything else."""
    match = re.fullmatch(r"(?:https?://)?([^/?#@]+)(?:/v[12])?/?", trimmed(text or ""))
    if not match:
        raise errors.ReferenceError(
            f"registry {errors.shown_name(text)} is not of the form host[:port]"
        )
    return _check_registry(match[1], match[1])


def _refuse_foreign_forms(text: str) -> None:
    foreign = _FOREIGN.match(text)
    if foreign:
        # "oci:latest" is a legal name on Docker Hub; "oci:/path" is skopeo's notation for something else.
        what = "a scheme" if foreign.group().endswith("/") else "a transport"
        raise errors.ReferenceError(
            f"reference {errors.shown_name(text)}: {what} ({foreign.group()}) is not part of a name"
        )
    if re.fullmatch("[a-f0-9]{64}", text):
        raise errors.ReferenceError(
            f"reference {text}: 64 hexadecimal digits could be an image ID or a name",
            "Write repository@sha256:... for a digest.",
        )
    if not re.fullmatch("[!-~]+", text):
        raise errors.ReferenceError(
            f"reference {errors.shown_name(text)}: only printable ASCII without blanks is allowed",
            "Write each name as an item of a list."
            if text.isascii()
            else "Write an internationalised host name in its xn-- form.",
        )


def _cut_digest(text: str) -> tuple[str, Digest | None]:
    rest, at, digest = text.partition("@")
    if not at:
        return text, None
    if re.search("[/@]", digest) or re.search("[?#]", text):
        raise errors.ReferenceError(
            f"reference {errors.shown_name(text)}: a digest must follow @, credentials are not part of a name",
            "Give them as username and password, or log in with lockstep.images.registry_login.",
        )
    try:
        return rest, Digest.parse(digest)
    except errors.DigestError as exc:
        raise errors.ReferenceError(
            f"reference {errors.shown_name(text)}: {exc}",
            "Write repository@sha256:... for a digest.",
        ) from exc


def _cut_tag(rest: str, text: str) -> tuple[str, str | None]:
    head, slash, last = rest.rpartition("/")
    name, colon, tag = last.partition(":")
    if colon and not TAG.fullmatch(tag):
        raise errors.ReferenceError(
            f"reference {errors.shown_name(text)}: tag {errors.shown_name(tag)} is not valid, it must have 1 to 128 characters of A-Z a-z 0-9 _ . -"
            " and not start with . or -"
        )
    return head + slash + name, tag or None


def _check_registry(registry: str, text: str) -> str:
    match = _HOST.fullmatch(registry)
    if not match:
        raise errors.ReferenceError(
            f"reference {errors.shown_name(text)}: registry {errors.shown_name(registry)} is not of the form host[:port]"
        )
    port = match["port"]
    if port and (port[0] == "0" or int(port[:6]) > 65535):
        raise errors.ReferenceError(
            f"reference {errors.shown_name(text)}: port {errors.shown_name(port)} is not between 1 and 65535"
        )
    lower = registry.lower()
    if "." not in lower and ":" not in lower and lower != "localhost":
        return registry  # only its capitals make it a host: in lower case it is a namespace of Docker Hub
    return DOCKER_HUB if lower in _HUB_ALIASES else lower


def _check_repository(repository: str, text: str) -> None:
    for component in repository.split("/"):
        if not _COMPONENT.fullmatch(component):
            reason = "must be lower case" if component != component.lower() else "is not valid"
            raise errors.ReferenceError(
                f"reference {errors.shown_name(text)}: name component {errors.shown_name(component)} {reason}"
            )
    if len(repository) > _MAX_PATH:
        raise errors.ReferenceError(
            f"reference {errors.shown_name(text)}: the repository has {len(repository)} characters, more than {_MAX_PATH}"
        )


def trimmed(text: str) -> str:
    """Return a text without the white space that a YAML block or a lookup leaves around it."""
    return text.strip(" \t\r\n")


_PART = re.compile(r"[A-Za-z0-9_.-]+")
_OS = re.compile(r"([A-Za-z0-9_.-]+)(?:\(([^()+/\ud800-\udfff]*(?:\+[^()+/\ud800-\udfff]+)*)\))?")

# Go's lists decide whether a single word is an operating system or an architecture.
_KNOWN_OS = frozenset(
    "aix android darwin dragonfly freebsd hurd illumos ios js linux nacl netbsd openbsd plan9 solaris windows zos".split()
)
_KNOWN_ARCHES = frozenset(
    "386 amd64 amd64p32 arm armbe arm64 arm64be loong64 mips mipsle mips64 mips64le mips64p32 mips64p32le"
    " ppc ppc64 ppc64le riscv riscv64 s390 s390x sparc sparc64 wasm".split()
)
_ARCHES = {"x86_64": "amd64", "x86-64": "amd64", "aarch64": "arm64", "loongarch64": "loong64"}
_ARM = {"armhf": "v7", "armel": "v6"}


class Platform(t.NamedTuple):
    """An operating system and a CPU, in normal form (containerd/platforms v1.0)."""

    os: str
    architecture: str
    variant: str = ""
    os_version: str = ""
    os_features: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Platform:
        """Return ``os/architecture[/variant]``, or one of the first two on this machine; raise PlatformError otherwise."""
        first, *rest = trimmed(text).split("/") if isinstance(text, str) else [""]
        match = _OS.fullmatch(first)
        subject = f"platform {errors.printable(repr(text))}"
        if not match or len(rest) > 2 or not all(_PART.fullmatch(part) for part in rest):
            raise errors.PlatformError(f"{subject} is not of the form os/architecture[/variant]")
        os_name, extra = match.groups("")
        if not rest:
            host, architecture = cls.host(), _normal_cpu(os_name, "")
            if _normal_os(os_name) in _KNOWN_OS:
                rest = [host.architecture, host.variant]
            elif architecture[0] in _KNOWN_ARCHES:
                os_name, rest = host.os, [*architecture]
            else:
                raise errors.PlatformError(
                    f"{subject} is not a known operating system or architecture"
                )
        version, *features = map(urllib.parse.unquote, extra.split("+"))
        return cls.of(os_name, rest[0], (*rest, "")[1], version, features)

    @classmethod
    def of(
        cls,
        os: str,
        architecture: str,
        variant: str = "",
        os_version: str = "",
        os_features: t.Iterable[str] = (),
    ) -> Platform:
        """Return the platform with these parts, in normal form: ``x86_64`` becomes ``amd64``."""
        return cls(
            _normal_os(os),
            *_normal_cpu(architecture, variant),
            os_version,
            tuple(sorted(os_features)),
        )

    @classmethod
    def host(cls) -> Platform:
        """Return the platform of this machine. It has no variant on amd64, whose level is never guessed."""
        # A 32-bit kernel on Armv8 says armv8l.
        arm = re.match("armv([3-8])", _host.machine(), re.IGNORECASE)
        if arm:
            return cls.of(_host.system(), "arm", "v" + arm[1])
        return cls.of(_host.system(), _host.machine())

    @property
    def is_unknown(self) -> bool:
        """Whether no machine runs this platform. BuildKit marks attestations so."""
        return self.os == "unknown" and self.architecture == "unknown"

    def candidates(self) -> list[tuple[str, str]]:
        """Return the ``(architecture, variant)`` pairs that this platform runs, best first."""
        arch, variant = self.architecture, self.variant
        if arch == "amd64":
            match = re.fullmatch("v([0-9]+)", variant or "v1")
            levels = [f"v{n}" for n in range(int(match[1]), 1, -1)] + [""] if match else [variant]
            return [(arch, level) for level in levels] + [("386", "")]
        if arch == "arm":
            return [(arch, level) for level in _arm_levels(variant)]
        if arch == "arm64":
            return _arm64_levels(variant or "v8")
        return [(arch, variant)]

    def rank(self, offered: Platform) -> int | None:
        """Return how well an image for ``offered`` runs on this platform: 0 is best, None if it does not run."""
        wanted, got = self.os_version, offered.os_version
        # Windows only runs images of its own build: 10.0.17763 takes 10.0.17763.1.
        build = (
            not (wanted and got)
            or f"{got}.".startswith(f"{wanted}.")
            or f"{wanted}.".startswith(f"{got}.")
        )
        features = set(self.os_features) <= set(offered.os_features)
        if self.os != offered.os or not build or not features:
            return None
        candidates, cpu = self.candidates(), (offered.architecture, offered.variant)
        return candidates.index(cpu) if cpu in candidates else None

    def __str__(self) -> str:
        extra = "+".join(
            urllib.parse.quote(part, "", errors="replace")
            for part in (self.os_version, *self.os_features)
        )
        variant = f"/{self.variant}" if self.variant else ""
        return self.os + (f"({extra})" if extra else "") + f"/{self.architecture}{variant}"


# Means every platform of an image in a list of platforms.
ALL = "all"


def platforms_of(texts: t.Sequence[str]) -> list[Platform] | None:
    """Return the platforms that a user lists, or that of this machine for an empty list; None for ``all``."""
    if ALL in map(trimmed, texts):
        return None
    return [Platform.parse(text) for text in texts] or [Platform.host()]


def choose(wanted: Platform, entries: t.Sequence[t.Any], subject: str) -> t.Any:
    """Return the descriptor that runs best on a platform, never an attestation; raise NoPlatformError if none runs."""
    images = [entry for entry in entries if not (entry.platform and entry.platform.is_unknown)]
    ranked = []
    for position, entry in enumerate(images):
        rank = wanted.rank(entry.platform) if entry.platform else None
        if rank is not None:
            ranked.append((rank, len(entry.platform.os_features), position))
    if ranked:
        return images[min(ranked)[2]]
    if len(images) == 1 and images[0].platform is None:
        return images[0]
    found = sorted({str(entry.platform) for entry in images if entry.platform})
    listed = errors.printable(", ".join(found), 600) or "none"
    raise errors.NoPlatformError(
        f"{subject}: no image for platform {wanted}, available: {listed}", platforms=found
    )


def _normal_os(name: str) -> str:
    lower = name.lower()
    return "darwin" if lower == "macos" else lower


def _normal_cpu(architecture: str, variant: str) -> tuple[str, str]:
    arch, variant = architecture.lower(), variant.lower()
    arch = _ARCHES.get(arch, "386" if re.fullmatch("i[3-6]86", arch) else arch)
    if arch in _ARM:
        arch, variant = "arm", _ARM[arch]
    if arch in ("arm", "arm64") and variant[:1].isdigit():
        variant = "v" + variant
    if arch == "arm":
        return arch, variant or "v7"
    if arch == "arm64" and variant.endswith(".0"):
        variant = variant[:-2]
    return arch, "" if (arch, variant) in (("arm64", "v8"), ("amd64", "v1")) else variant


def _arm_levels(variant: str) -> list[str]:
    match = re.fullmatch("v([0-9]+)", variant)
    level = int(match[1]) if match else 0
    return [f"v{n}" for n in range(level, 4, -1)] if level > 4 else [variant]


def _arm64_levels(variant: str) -> list[tuple[str, str]]:
    """Return what an arm64 CPU runs, best first: Armv9.x also runs Armv8.(x+5), and both run 32-bit code."""
    match = re.fullmatch(r"v([89])(?:\.([0-9]+))?", variant)
    if not match:
        return [("arm64", variant)]
    minor, levels = int(match[2] or 0), []
    if match[1] == "9":
        levels = [f"v9.{n}" for n in range(minor, 0, -1)] + ["v9"]
        minor = min(minor + 5, 9)
    levels += [f"v8.{n}" for n in range(minor, 0, -1)] + [""]
    return [("arm64", level) for level in levels] + [("arm", level) for level in _arm_levels("v8")]
