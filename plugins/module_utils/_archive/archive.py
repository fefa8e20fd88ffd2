# SPDX-License-Identifier: GPL-3.0-or-later
"""An archive as a value: its members and its size are known before the first byte is written, and nothing is on disk."""

from __future__ import annotations

import io
import json
import typing as t

from .._image import errors
from .tar import END, header, padding

Opened = t.ContextManager[t.BinaryIO]

# The members of an archive of images, and the annotations of an entry of its index.
INDEX, DOCKER, LOCK, LAYOUT = "index.json", "manifest.json", "lock.json", "oci-layout"
BLOBS = "blobs/"
REF_NAME = "org.opencontainers.image.ref.name"
IMAGE_NAME = "io.containerd.image.name"  # read by containerd and Docker, before REF_NAME
PLATFORMS = "io.lockstep.platforms"  # as in the index of a store


class Output(t.Protocol):
    """Where an archive is written to."""

    def write(self, data: bytes) -> None:
        """Write all of ``data``."""

    def send_file(self, file: t.BinaryIO, size: int) -> int:
        """Write ``size`` bytes of a file from its start; return how many there were."""


class Member(t.NamedTuple):
    """A regular file in an archive: its name, its size in bytes, and what opens its content."""

    name: str
    size: int
    open: t.Callable[[], Opened]

    @classmethod
    def of(cls, name: str, data: bytes) -> Member:
        """Return a member with this content."""
        return cls(name, len(data), lambda: io.BytesIO(data))


class Archive(t.NamedTuple):
    """A tar archive of ``members``, in their order. Equal members give equal bytes on every host.

    The members are iterated several times.
    """

    members: t.Iterable[Member]

    @property
    def size(self) -> int:
        """The size of the archive in bytes."""
        sizes = (len(header(*one[:2])) + one.size + len(padding(one.size)) for one in self.members)
        return sum(sizes) + len(END)

    def write_to(self, output: Output) -> None:
        """Write the archive.

        Raise CorruptStoreError for a member that cannot be opened, TruncatedError for one that has fewer bytes than its
        size says. What was written until then is not a complete archive.
        """
        for name, size, open_content in self.members:
            output.write(header(name, size))
            with _opened(name, open_content) as file:
                sent = output.send_file(file, size)
            if sent != size:
                hint = errors.CorruptStoreError.advice
                raise errors.TruncatedError(f"{name} ended after {sent} of {size} bytes", hint)
            output.write(padding(size))
        output.write(END)


def _opened(name: str, open_content: t.Callable[[], Opened]) -> Opened:
    try:
        return open_content()
    except OSError as exc:
        raise errors.CorruptStoreError(f"{name} cannot be read: {exc.strerror or exc}") from exc


def as_json(value: t.Any) -> bytes:
    """Return a value as JSON, in equal bytes on every host."""
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode("ascii")
