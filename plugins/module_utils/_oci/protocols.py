# SPDX-License-Identifier: GPL-3.0-or-later
"""What may stand at either end of an operation.

A registry repository, a store on disk and an archive speak these protocols, so that pull, push, copy, export
and load are one operation, and so that tests put something of their own at either end.
"""

from __future__ import annotations

import typing as t

from ansible_collections.lockstep.images.plugins.module_utils._oci.descriptor import Descriptor
from ansible_collections.lockstep.images.plugins.module_utils._oci.digest import Digest
from ansible_collections.lockstep.images.plugins.module_utils._oci.manifest import Manifest
from ansible_collections.lockstep.images.plugins.module_utils._oci.reference import Reference


class ContentSource(t.Protocol):
    """Where the content of one repository comes from. Reading changes nothing."""

    def resolve(self, tag: str) -> Digest:
        """The digest a tag stands for now; raises NotFoundError when there is none."""

    def read_manifest(self, identifier: Digest | str) -> tuple[Descriptor, Manifest]:
        """The manifest with this digest, or the one a tag stands for, verified."""

    def read_blob(self, descriptor: Descriptor) -> t.Iterator[bytes]:
        """The bytes of a blob as they come, **not** verified: the sink does that while it writes."""

    def tags(self) -> list[str]:
        """Every tag, sorted."""

    def pause(self, attempt: int) -> bool:
        """Wait before a failed read is tried again; False when ``attempt`` (from 1) is one too many."""


class Sources(t.Protocol):
    """All repositories of a task."""

    @property
    def warnings(self) -> t.Sequence[str]:
        """What they wanted the user to know so far."""

    def repository(self, reference: Reference) -> ContentSource:
        """The repository a reference is in."""

    def stats(self) -> t.Mapping[str, t.Any]:
        """What reading from them has cost so far."""


class ContentSink(t.Protocol):
    """Where content goes to."""

    def has(self, descriptor: Descriptor) -> bool:
        """Whether the content is there with the promised size."""

    def write(self, descriptor: Descriptor, chunks: t.Iterable[bytes]) -> None:
        """Store content. No error means: it is there, verified against size and digest, and durable."""

    def set_name(self, name: str, target: t.Any, expected: t.Any) -> None:
        """Point a name at content that is there; raises ConflictError when it no longer points at ``expected``."""


class Action(t.Protocol):
    """One step of a plan: what it will do, said before it does it."""

    def summary(self) -> dict[str, t.Any]:
        """Plain values for the result, the same in check mode and for real."""

    def apply(self) -> None:
        """Do it. Doing it twice is no error."""
