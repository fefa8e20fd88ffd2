# SPDX-License-Identifier: GPL-3.0-or-later
"""What an engine builds, and what it made: the values between the plan of a build, the engines and the store."""

from __future__ import annotations

import typing as t

from .._build.builder import Images
from .._build.context import Context
from .._build.dockerfile import Dockerfile, Stage
from .._build.errors import BuildFailedError
from .._image.manifest import Descriptor
from .._image.names import Digest
from .build_options import BuildOptions

PREFIX = "lockstep-build-"  # of the directory of a build
_SHOWN = 1500  # characters of the output


class BuildEngine(t.NamedTuple):
    """An engine that builds: a program, or the socket of a daemon."""

    kind: str
    path: str
    version: str

    def __str__(self) -> str:
        return f"{self.kind} {self.version}"


class Work(t.NamedTuple):
    """What an engine builds. ``inputs`` is the digest of everything that it depends on."""

    engine: BuildEngine
    options: BuildOptions
    text: str
    dockerfile: Dockerfile
    stage: Stage
    images: Images
    context: Context | None
    inputs: Digest

    def failed(self, what: str, status: int, output: str) -> BuildFailedError:
        """Return the error for an engine that ended with a status, with the end of its output."""
        shown = without_values(output, self.options.args).strip()[-_SHOWN:]
        return BuildFailedError(
            f"{self.engine.kind} {what} ended with status {status}: {shown}",
            engine=str(self.engine),
            status=status,
        )


class Made(t.NamedTuple):
    """The image that an engine made: its configuration, and its layers, which ``open`` opens."""

    config: bytes
    layers: t.Sequence[Descriptor]
    open: t.Callable[[Descriptor], t.ContextManager[t.BinaryIO]]


def without_values(text: str, args: t.Mapping[str, str]) -> str:
    """Return a text of an engine without the values of arguments, which may be secrets."""
    for value in sorted(args.values(), key=len, reverse=True):
        if len(value) > 3:
            text = text.replace(value, "********")
    return text
