# SPDX-License-Identifier: GPL-3.0-or-later
"""An archive of images in a file: written, and compared byte by byte without the content that it was made from."""

from __future__ import annotations

import concurrent.futures
import contextlib
import hashlib
import json
import os
import typing as t

from .._image import errors
from .._image.manifest import Descriptor, ImageConfig, Manifest
from .._image.names import Digest, Reference
from .archive import BLOBS, INDEX, Archive
from .image_archive import ImageContent, blob_name
from .tar import BLOCK, END, header, padding

_CHUNK = 1024 * 1024
_LONGEST_INDEX = 4 * 1024 * 1024  # bytes; also of a manifest and of a configuration
_MOST_MEMBERS = 1000
_DEEPEST = 8  # indexes that list one another
# Below this size, threads cost more than they save.
_LARGE = 4 * 1024 * 1024


class DescriptorOutput:
    """An open file or pipe, as the output of an archive; ``note`` is called with the number of bytes of each write."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self.note: t.Callable[[int], object] = bool

    def write(self, data: bytes) -> None:
        """Write all of ``data``."""
        rest = memoryview(data)
        while rest:
            sent = os.write(self._descriptor, rest)
            self.note(sent)
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
        self.note(sent)
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
        if self.name.startswith(BLOBS):
            return self._is_hashed_to(Digest(*self.name[len(BLOBS) :].split("/", 1)))
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


def read_image(descriptor: int, reference: Reference, root: Digest) -> ImageContent | None:
    """Return the image with the digest ``root`` from an archive of it in an open file; None if its small parts are not there.

    Their digests are verified, those of layers are not.
    """
    places = _places(descriptor)
    manifests: list[tuple[Descriptor, Manifest]] = []
    digest = root
    with contextlib.suppress(errors.ContentError):
        while len(manifests) < _DEEPEST:
            raw = _read_blob(descriptor, places, digest)
            manifest = Manifest.parse(raw, "", str(digest))
            manifests.insert(0, (Descriptor(manifest.media_type, digest, len(raw)), manifest))
            if manifest.config:
                config = _read_blob(descriptor, places, manifest.config.digest)
                parsed = ImageConfig.parse(config, str(manifest.config.digest))
                return ImageContent.of(reference, manifests, config, parsed)
            if len({one.digest for one in manifest.children}) != 1:
                break
            digest = manifest.children[0].digest
    return None


def _places(descriptor: int) -> dict[str, tuple[int, int]]:
    """Return offset and size of the members of an archive by their names, up to one that this collection does not write."""
    places: dict[str, tuple[int, int]] = {}
    offset = 0
    with contextlib.suppress(OSError, ValueError):
        while len(places) < _MOST_MEMBERS:
            block = os.pread(descriptor, BLOCK, offset)
            name, size = block[:100].rstrip(b"\0").decode("ascii"), int(block[124:135], 8)
            if block != header(name, size):
                break
            places[name] = offset + BLOCK, size
            offset += BLOCK + size + len(padding(size))
    return places


def _read_blob(descriptor: int, places: t.Mapping[str, tuple[int, int]], digest: Digest) -> bytes:
    """Return a small blob; raise DigestMismatchError if the archive does not have it."""
    offset, size = places.get(blob_name(digest), (0, 0))
    data = os.pread(descriptor, min(size, _LONGEST_INDEX), offset)
    if not digest.matches(data):
        raise errors.DigestMismatchError(f"{digest} is not in the archive")
    return data
