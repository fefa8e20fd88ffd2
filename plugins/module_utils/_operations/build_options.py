# SPDX-License-Identifier: GPL-3.0-or-later
"""The options of a build, and the store that it holds."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import typing as t

from .._build.builder import Images
from .._build.compress import media_type_of_layer
from .._image import errors
from .._image.names import Digest, Platform, Reference
from .._store.store import ImageStore, open_store

NONE, AUTO, DOCKER = "none", "auto", "docker"
PROGRAMS = ("buildah", "podman")
ENGINES = (NONE, AUTO, *PROGRAMS, DOCKER)  # in the order of auto
_LAST_TIME = 253402300799  # the end of the year 9999, the last that RFC 3339 can say


class BuildOptions(t.NamedTuple):
    """What a task builds. Either ``file`` in ``context``, or the text ``inline``."""

    name: Reference
    context: str | None
    file: str | None
    inline: str | None
    args: t.Mapping[str, str]
    target: str | None
    platform: Platform
    compression: str
    created: int
    modes: str
    form: str
    engine: str
    timeout: float

    @classmethod
    def of(cls, params: t.Mapping[str, t.Any]) -> BuildOptions:
        """Return the options of a module; raise InputError for an invalid one."""
        name = Reference.parse(params["name"])
        if name.digest:
            raise errors.InputError(f"{name}: the name of a new image has a tag, not a digest")
        media_type_of_layer(params["compression"], params["format"])
        platform = params["platform"]
        return cls(
            name, params["context"], params["file"], params["instructions"], _texts(params["args"] or {}),
            params["target"], Platform.parse(platform) if platform else Platform.host(),
            params["compression"], _time(params["created"]), params["modes"], params["format"],
            params["engine"], params["timeout_total"],
        )  # fmt: skip

    def digest_of_inputs(self, text: str, images: Images, **more: t.Any) -> Digest:
        """Return a digest of what a build depends on: these options, the Dockerfile, the images, and ``more``, as JSON has it."""
        value = {
            "text": text, "args": dict(self.args), "target": self.target, "platform": str(self.platform),
            "compression": self.compression, "created": self.created, "modes": self.modes, "format": self.form,
            "images": {f"{name} {platform}": str(one.digest) for (name, platform), one in images.items()},
            **more,
        }  # fmt: skip
        raw = json.dumps(value, sort_keys=True).encode("ascii")
        return Digest("sha256", hashlib.sha256(raw).hexdigest())


def _texts(args: t.Mapping[str, t.Any]) -> dict[str, str]:
    """Return build arguments as text: YAML reads 1 as a number, and true as a boolean."""
    found = {}
    for name, value in args.items():
        if isinstance(value, (dict, list)):
            raise errors.InputError(f"args: {name} is not a text")
        is_word = isinstance(value, bool)
        found[name] = "" if value is None else str(value).lower() if is_word else str(value)
    return found


def _time(created: int | None) -> int:
    """Return the seconds that every time in the image has: as given, else SOURCE_DATE_EPOCH, else 0."""
    if created is None:
        text = os.environ.get("SOURCE_DATE_EPOCH") or "0"
        if not (text.isascii() and text.isdigit()) or len(text) > 12:
            raise errors.InputError("SOURCE_DATE_EPOCH is not a number of seconds")
        created = int(text)
    if not 0 <= created <= _LAST_TIME:
        raise errors.InputError(f"created must be between 0 and {_LAST_TIME}")
    return created


class Target(t.NamedTuple):
    """The store, and what must be closed after the build."""

    store: ImageStore
    opened: contextlib.ExitStack


@contextlib.contextmanager
def open_target(params: t.Mapping[str, t.Any]) -> t.Iterator[Target]:
    """Hold the store of a task."""
    with open_store(params["store"]) as store, contextlib.ExitStack() as opened:
        yield Target(store, opened)
