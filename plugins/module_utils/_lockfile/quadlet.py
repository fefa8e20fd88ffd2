# SPDX-License-Identifier: GPL-3.0-or-later
"""Read the images of quadlet units (podman-systemd.unit(5))."""

from __future__ import annotations

import os
import re
import typing as t

from .mentions import Findings
from .objects import doubt_objects
from .yamlfile import Text

_UNITS = (".container", ".image", ".volume", ".kube", ".pod", ".build")
_SECTIONS = ("Container", "Image", "Volume", "Kube", "Pod", "Build", "Service")
_ARGUMENTS = ("Exec", "PodmanArgs", "GlobalArgs", "ExecStartPre", "ExecStartPost")
_SECTION = re.compile(r"\[(\w+)\]\s*$")
_TRANSPORT = re.compile("docker://")
_LOCAL = re.compile("(?:oci|dir|oci-archive|docker-archive|docker-daemon|containers-storage):")
_PLATFORM = re.compile(r"--platform[= ](\S+)")


def is_quadlet(path: str) -> bool:
    """Return whether a file is a unit that can name an image, or a drop-in of such a unit."""
    directory = os.path.basename(os.path.dirname(path))
    is_drop_in = path.endswith(".conf") and directory.endswith(tuple(f"{one}.d" for one in _UNITS))
    return is_drop_in or path.endswith(_UNITS)


def read_quadlet(text: str, out: Findings) -> None:
    """Take the image of a container, an image or a volume, and the images that a container mounts.

    Queue the drop-ins of the unit, and record the arguments and variables that could be images.
    """
    values: dict[str, list[tuple[str, int]]] = {}
    for section, key, value, line in _settings(text):
        if section in _SECTIONS:
            values.setdefault(key, []).append((value, line))
    last = {key: entries[-1][0] for key, entries in values.items()}
    platform = "/".join(filter(None, (last.get(key, "") for key in ("OS", "Arch", "Variant"))))
    if "Arch" in last and "OS" not in last:
        platform = f"linux/{platform}"
    for value, _line in values.get("PodmanArgs", ()):
        platform = "".join(_PLATFORM.findall(value)[-1:]) or platform
    for value, line in values.get("Image", ())[-1:]:
        _take(value, line, platform, out)
    for value, line in values.get("Mount", ()):
        parts = dict(part.partition("=")[::2] for part in value.split(","))
        if parts.get("type") == "image":
            _take(parts.get("source") or parts.get("src") or "", line, platform, out)
    for value, line in values.get("Yaml", ()):
        _follow(value, line, out)
    doubt_objects({"environment": _words(values, ("Environment",))}, out)
    doubt_objects({"args": _words(values, _ARGUMENTS)}, out)
    drop_ins = f"{out.file}.d"
    if os.path.isdir(drop_ins):
        names = sorted(name for name in os.listdir(drop_ins) if name.endswith(".conf"))
        out.follow += [os.path.join(drop_ins, name) for name in names]


def _words(
    values: t.Mapping[str, t.Sequence[tuple[str, int]]], keys: t.Iterable[str]
) -> list[Text]:
    settings = [one for key in keys for one in values.get(key, ())]
    return [Text.at(word.strip("\"'"), line) for value, line in settings for word in value.split()]


def _take(value: str, line: int, platform: str, out: Findings) -> None:
    if value.endswith(".image"):
        _follow(value, line, out)
    elif value.endswith(".build"):
        out.warnings.append(
            f"{out.place(line)}: {value} is built: add its Containerfile to from"
            " to lock its base images"
        )
    elif "%" in value:
        out.problem(out.place(line), f"{value} contains systemd specifiers")
    elif _LOCAL.match(value):
        out.problem(out.place(line), f"{value} is not in a registry")
    else:
        out.take(_TRANSPORT.sub("", value), line, platform)


def _follow(name: str, line: int, out: Findings) -> None:
    file = os.path.join(os.path.dirname(out.file), name)
    if os.path.isfile(file):
        out.follow.append(file)
    else:
        out.problem(out.place(line), f"{file} does not exist")


def _settings(text: str) -> t.Iterator[tuple[str, str, str, int]]:
    """Yield section, key, value and line of each setting; a value can have several lines."""
    section, whole, start = "", "", 0
    for number, line in enumerate(text.splitlines(), 1):
        stripped = line.strip()
        if stripped[:1] in ("#", ";"):
            continue
        start = start if whole else number
        whole += stripped
        if whole.endswith("\\"):
            whole = whole[:-1] + " "
            continue
        heading = _SECTION.match(whole)
        if heading:
            section = heading.group(1)
        elif "=" in whole:
            key, _equals, value = whole.partition("=")
            yield section, key.strip(), value.strip().strip("\"'"), start
        whole = ""
