# SPDX-License-Identifier: GPL-3.0-or-later
"""An archive of images in a file: written, and compared byte by byte without the content that it was made from."""

from __future__ import annotations

import concurrent.futures
import hashlib
import json
import os
import typing as t

from .._image.names import Digest
from .archive import Archive
from .tar import BLOCK, END, header, padding

INDEX = "index.json"
_CHUNK = 1024 * 1024
_BLOBS = "blobs/"
_LONGEST_INDEX = 4 * 1024 * 1024  # bytes
# Below this size, threads cost more than they save.
_LARGE = 4 * 1024 * 1024


class DescriptorOutput:
    """An open file or pipe, as the output of an archive; ``count`` are the bytes so far."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self.count = 0

    def write(self, data: bytes) -> None:
        """Write all of ``data``."""
        rest = memoryview(data)
        while rest:
            sent = os.write(self._descriptor, rest)
            self.count += sent
            rest = rest[sent:]

    def send_file(self, file: t.BinaryIO, size: int) -> int:
        """Write ``size`` bytes of a file from its start, without copying them through this process where the system can."""
        done = 0
        while done < size:
            sent = self._move(file, done, min(_CHUNK, size - done))
            if not sent:
                break
            done += sent
        return done

    def _move(self, file: t.BinaryIO, offset: int, size: int) -> int:
        try:
            sent = os.sendfile(self._descriptor, file.fileno(), offset, size)
        except BrokenPipeError:
            raise
        except OSError:  # not a file of the system, or on a file system without sendfile
            file.seek(offset)
            data = file.read(size)
            self.write(data)
            return len(data)
        self.count += sent
        return sent


def first_difference(descriptor: int, archive: Archive) -> str | None:
    """Return the name of the first member whose bytes an open file has not, "" for the size of the file, None for none.

    Blobs are compared by their digests, which are their names; they are not opened. Large ones are hashed by threads.
    """
    if os.fstat(descriptor).st_size != archive.size:
        return ""
    small: list[_Check] = []
    large: list[_Check] = []
    offset = 0
    for member in archive.members:
        frame = header(member.name, member.size)
        offset += len(frame)
        check = _Check(descriptor, member.name, offset, member.size, frame, member.open)
        (large if member.size >= _LARGE else small).append(check)
        offset += member.size + len(padding(member.size))
    if os.pread(descriptor, len(END), offset) != END:
        return ""
    differing = next((check.name for check in small if not check.is_right()), None)
    if differing is not None or not large:
        return differing
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        answers = zip(large, pool.map(_Check.is_right, large))
        return next((check.name for check, is_right in answers if not is_right), None)


class _Check(t.NamedTuple):
    """A member of an archive at its place in a file."""

    descriptor: int
    name: str
    offset: int
    size: int
    frame: bytes
    open: t.Callable[[], t.ContextManager[t.BinaryIO]]

    def is_right(self) -> bool:
        """Return whether the file has the header, the content and the padding of this member."""
        before, after = self.offset - len(self.frame), self.offset + self.size
        end = padding(self.size)
        if os.pread(self.descriptor, len(self.frame), before) != self.frame:
            return False
        if os.pread(self.descriptor, len(end), after) != end:
            return False
        if self.name.startswith(_BLOBS):
            return self._is_hashed_to(Digest(*self.name[len(_BLOBS) :].split("/", 1)))
        with self.open() as file:
            return os.pread(self.descriptor, self.size, self.offset) == file.read()

    def _is_hashed_to(self, digest: Digest) -> bool:
        found = hashlib.new(digest.algorithm)
        done = 0
        while done < self.size:
            data = os.pread(self.descriptor, min(_CHUNK, self.size - done), self.offset + done)
            if not data:
                return False
            found.update(data)
            done += len(data)
        return found.hexdigest() == digest.encoded


def read_index(descriptor: int) -> list[dict[str, t.Any]]:
    """Return the entries of index.json of an archive in an open file; [] if that is not its first member."""
    try:
        block = os.pread(descriptor, BLOCK, 0)
        size = int(block[124:135], 8)
        if block != header(INDEX, size) or size > _LONGEST_INDEX:
            return []
        entries = json.loads(os.pread(descriptor, size, BLOCK))["manifests"]
        return [one for one in entries if isinstance(one, dict)]
    except (OSError, ValueError, KeyError, TypeError):
        return []
