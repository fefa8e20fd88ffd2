# SPDX-License-Identifier: GPL-3.0-or-later
"""Platforms: how they are written, and which entry of an index serves one.

The rules are those of containerd/platforms v1.0 (platforms.go, database.go, compare.go ``Only``): a CPU runs
what was built for its lesser variants, and the nearest wins.
"""

from __future__ import annotations

import platform as _host
import re
import typing as t
import urllib.parse
from dataclasses import dataclass

from ansible_collections.lockstep.images.plugins.module_utils._oci.errors import (
    NoPlatformError,
    PlatformError,
)
from ansible_collections.lockstep.images.plugins.module_utils._oci.headers import printable

if t.TYPE_CHECKING:
    from ansible_collections.lockstep.images.plugins.module_utils._oci.descriptor import Descriptor

_PART = re.compile(r"[A-Za-z0-9_.-]+", re.ASCII)
_OS = re.compile(
    r"(?P<os>[A-Za-z0-9_.-]+)(?:\((?P<version>[^()+/]*)(?P<features>(?:\+[^()+/]+)*)\))?", re.ASCII
)

# Go's list of operating systems and architectures, which decides what one word alone means.
_KNOWN_OS = re.compile(
    "aix|android|darwin|dragonfly|freebsd|hurd|illumos|ios|js|linux|nacl|netbsd|openbsd|plan9|solaris|windows|zos"
)
_KNOWN_ARCH = re.compile(
    "386|amd64|amd64p32|arm|armbe|arm64|arm64be|loong64|mips|mipsle|mips64|mips64le|mips64p32|mips64p32le"
    "|ppc|ppc64|ppc64le|riscv|riscv64|s390|s390x|sparc|sparc64|wasm"
)
_ARCHES = {
    "i386": ("386", ""),
    "i486": ("386", ""),
    "i586": ("386", ""),
    "i686": ("386", ""),
    "x86_64": ("amd64", ""),
    "x86-64": ("amd64", ""),
    "aarch64": ("arm64", ""),
    "armhf": ("arm", "v7"),
    "armel": ("arm", "v6"),
    "loongarch64": ("loong64", ""),
}


@dataclass(frozen=True)
class Platform:
    """An operating system on a CPU, in normal form: two spellings of one platform are equal.

    ``str()`` gives ``os[(version+feature)]/architecture[/variant]``, which ``parse`` reads back.
    """

    os: str
    architecture: str
    variant: str = ""
    os_version: str = ""
    os_features: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Platform:
        """Read what a user writes; one word is an OS or an architecture, the rest is the host's."""
        parts = text.split("/") if isinstance(text, str) else []
        match = _OS.fullmatch(parts[0]) if parts else None
        if not match or len(parts) > 3 or not all(_PART.fullmatch(part) for part in parts[1:]):
            raise PlatformError(
                f"platform {printable(repr(text))} is not of the form os/architecture[/variant]"
            )
        version = urllib.parse.unquote(match.group("version") or "")
        features = tuple(
            urllib.parse.unquote(f) for f in (match.group("features") or "").split("+") if f
        )
        first, rest = match.group("os"), parts[1:]
        if not rest:
            os_name, rest = cls._one_word(first, text)
        else:
            os_name = first
        return cls.of(os_name, rest[0], rest[1] if len(rest) > 1 else "", version, features)

    @classmethod
    def _one_word(cls, word: str, text: str) -> tuple[str, list[str]]:
        host = cls.host()
        if _KNOWN_OS.fullmatch(_normal_os(word)):
            return word, [host.architecture, host.variant]
        architecture, variant = _normal_cpu(word, "")
        if _KNOWN_ARCH.fullmatch(architecture):
            return host.os, [architecture, variant]
        raise PlatformError(
            f"platform {printable(repr(text))} is no known operating system or architecture"
        )

    @classmethod
    def of(
        cls,
        os: str,
        architecture: str,
        variant: str = "",
        os_version: str = "",
        os_features: t.Iterable[str] = (),
    ) -> Platform:
        """Normalise the parts as they stand in an index or in an image's configuration."""
        cpu = _normal_cpu(architecture, variant)
        return cls(_normal_os(os), cpu[0], cpu[1], os_version, tuple(sorted(os_features)))

    @classmethod
    def host(cls) -> Platform:
        """The platform of the machine this runs on. The level of an amd64 CPU is never guessed."""
        machine = _host.machine()
        # A 32-bit kernel on an Armv8 CPU says armv8l.
        arm = re.match(r"armv([3-8])", machine, re.IGNORECASE)
        if arm:
            return cls.of(_host.system(), "arm", "v" + arm.group(1))
        return cls.of(_host.system(), machine)

    @property
    def is_unknown(self) -> bool:
        """Whether this marks something that runs nowhere, as BuildKit marks attestations."""
        return self.os == "unknown" and self.architecture == "unknown"

    def candidates(self) -> list[tuple[str, str]]:
        """``(architecture, variant)`` of everything this platform runs, best first."""
        if self.architecture == "amd64" and re.fullmatch(r"v[0-9]+", self.variant or "v1"):
            level = int((self.variant or "v1")[1:])
            return [("amd64", f"v{n}" if n > 1 else "") for n in range(level, 0, -1)] + [
                ("386", "")
            ]
        if self.architecture == "amd64":
            return [("amd64", self.variant), ("386", "")]
        if self.architecture == "arm":
            return _arm_levels(self.variant)
        if self.architecture == "arm64":
            return _arm64_levels(self.variant or "v8")
        return [(self.architecture, self.variant)]

    def rank(self, other: Platform) -> int | None:
        """How well ``other`` serves this platform: 0 is best, None is not at all."""
        if self.os != other.os:
            return None
        if (
            self.os_version
            and other.os_version
            and not _version_prefix(self.os_version, other.os_version)
        ):
            return None
        if not set(self.os_features) <= set(other.os_features):
            return None
        try:
            return self.candidates().index((other.architecture, other.variant))
        except ValueError:
            return None

    def __str__(self) -> str:
        extra = ""
        if self.os_version or self.os_features:
            parts = [self.os_version, *self.os_features]
            extra = "(" + "+".join(urllib.parse.quote(part, safe="") for part in parts) + ")"
        variant = f"/{self.variant}" if self.variant else ""
        return f"{self.os}{extra}/{self.architecture}{variant}"


def choose(wanted: Platform, entries: t.Sequence[Descriptor], subject: str) -> Descriptor:
    """The one entry of an index that serves ``wanted`` best; the earlier of two equals.

    Entries that run nowhere (attestations) are never chosen. An entry that names no platform is chosen only
    when it is alone. Raises NoPlatformError with the list of what there is.
    """
    images = [entry for entry in entries if not (entry.platform and entry.platform.is_unknown)]
    ranked = []
    for position, entry in enumerate(images):
        rank = wanted.rank(entry.platform) if entry.platform else None
        if entry.platform and rank is not None:
            extra = len(set(entry.platform.os_features) - set(wanted.os_features))
            ranked.append((rank, extra, position, entry))
    if ranked:
        return min(ranked, key=lambda item: item[:3])[3]
    if len(images) == 1 and images[0].platform is None:
        return images[0]
    there = sorted({str(entry.platform) for entry in images if entry.platform})
    raise NoPlatformError(
        f"{subject}: no image for platform {wanted}, there is {printable(', '.join(there), 600) or 'none'}",
        platforms=there,
    )


def _normal_os(name: str) -> str:
    lower = name.lower()
    return "darwin" if lower == "macos" else lower


def _normal_cpu(architecture: str, variant: str) -> tuple[str, str]:
    arch, variant = architecture.lower(), variant.lower()
    if arch in _ARCHES:
        arch, implied = _ARCHES[arch]
        variant = implied or variant
    if arch in ("arm", "arm64") and variant[:1].isdigit():
        variant = "v" + variant
    if arch == "arm":
        return arch, variant or "v7"
    if arch == "arm64":
        variant = variant[:-2] if variant.endswith(".0") else variant
        return arch, "" if variant == "v8" else variant
    if arch == "amd64" and variant == "v1":
        variant = ""
    return arch, variant


def _arm_levels(variant: str) -> list[tuple[str, str]]:
    if not re.fullmatch(r"v[0-9]+", variant) or int(variant[1:]) < 5:
        return [("arm", variant)]
    return [("arm", f"v{n}") for n in range(int(variant[1:]), 4, -1)]


def _arm64_levels(variant: str) -> list[tuple[str, str]]:
    """An Armv9.x CPU runs Armv8.(x+5) code, and both run 32-bit Armv8 and earlier (compare.go, arm64variant).

    Armv8.9 is the last of its line, so that is as far as Armv9.4 and later reach.
    """
    match = re.fullmatch(r"v([89])(?:\.([0-9]+))?", variant)
    if not match:
        return [("arm64", variant)]
    major, minor = int(match.group(1)), int(match.group(2) or 0)
    levels = []
    if major == 9:
        levels = [f"v9.{n}" if n else "v9" for n in range(minor, -1, -1)]
        minor = min(minor + 5, 9)
    levels += [f"v8.{n}" if n else "" for n in range(minor, -1, -1)]
    return [("arm64", level) for level in levels] + _arm_levels("v8")


def _version_prefix(wanted: str, got: str) -> bool:
    """Windows runs an image of its own build only: ``10.0.17763`` takes ``10.0.17763.1``."""
    return got == wanted or got.startswith(wanted + ".") or wanted.startswith(got + ".")
