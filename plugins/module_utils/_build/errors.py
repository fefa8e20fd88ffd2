# SPDX-License-Identifier: GPL-3.0-or-later
"""The errors of builds; their ``kind`` is stable."""

from __future__ import annotations

import typing as t

from .._image.errors import InputError, LockstepError
from .._image.escaped import shown


class BuildSyntaxError(InputError):
    """A Dockerfile is malformed, or names something that does not exist; details are ``file`` and ``line``."""

    kind = "build-syntax"
    advice = "Correct the line. Nothing was built."


class BuildUnsupportedError(LockstepError):
    """An instruction is valid, but cannot be done without a container engine; details are ``file`` and ``line``."""

    kind = "build-unsupported"
    advice = "Set engine to a container engine of the host, or run commands before the build and copy their result."


class BuildContextError(LockstepError):
    """A file of the context is missing, cannot be an entry of a layer, or changes while it is read; ``path`` names it."""

    kind = "build-context"


class BuildFailedError(LockstepError):
    """A container engine ended with an error; details are ``engine`` and ``status``."""

    kind = "build-failed"
    advice = "Correct the instruction that failed. Nothing of the build was kept."


class EngineMissingError(LockstepError):
    """The host has no container engine that builds."""

    kind = "engine-missing"
    advice = "Install buildah or podman on the host that runs the task, or start Docker there."


class Place(t.NamedTuple):
    """A line of a Dockerfile, which errors name."""

    file: str
    line: int

    def syntax(self, reason: str, hint: str = "") -> BuildSyntaxError:
        """Return the error for a malformed line."""
        return BuildSyntaxError(f"{self}: {reason}", hint, file=self.file, line=self.line)

    def unsupported(self, reason: str, hint: str = "") -> BuildUnsupportedError:
        """Return the error for what needs an engine."""
        return BuildUnsupportedError(f"{self}: {reason}", hint, file=self.file, line=self.line)

    def context(self, path: bytes, reason: str, hint: str = "") -> BuildContextError:
        """Return the error for a path that this line copies."""
        return BuildContextError(
            f"{self}: {shown(path)} {reason}", hint, file=self.file, line=self.line, path=shown(path)[1:-1]
        )  # fmt: skip

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"
