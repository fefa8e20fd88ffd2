# SPDX-License-Identifier: GPL-3.0-or-later
"""The bytes of an archive that is being written. A thread reads and verifies them, while the caller writes those before."""

from __future__ import annotations

import hashlib
import queue
import threading
import typing as t

from .._image import errors
from .._image.names import Digest
from .archive import BLOBS, Archive, Member
from .media import PIECE
from .tar import END, header, padding

_BUFFERS = 4  # of PIECE bytes; more do not make it faster
Outside = t.Callable[[int, memoryview], None]


class _LeftError(Exception):
    """The caller of the thread has left, because of an error of its own."""


class VerifiedStream:
    """The bytes of an archive from ``first`` to ``end``, in pieces. A piece is valid until the next one is requested.

    Every blob of which bytes are there is read whole, once. ``outside`` is called, in the thread, with those of its bytes
    that are before ``first`` or after ``end``, and with their offset. The last byte of a blob is yielded only after the
    whole blob was verified.
    """

    def __init__(self, archive: Archive, first: int, end: int, outside: Outside) -> None:
        self._archive, self._first, self._end, self._outside = archive, first, end, outside
        self._free: queue.SimpleQueue[bytearray] = queue.SimpleQueue()
        self._full: queue.SimpleQueue[memoryview | BaseException | None] = queue.SimpleQueue()
        for _number in range(_BUFFERS):
            self._free.put(bytearray(PIECE))
        self._buffer, self._used, self._is_left = bytearray(), 0, False
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> VerifiedStream:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._is_left = True
        self._free.put(bytearray())
        self._thread.join()

    def __iter__(self) -> t.Iterator[memoryview]:
        """Yield the pieces; raise CorruptStoreError for a blob that does not match its digest."""
        while True:
            piece = self._full.get()
            if piece is None:
                return
            if isinstance(piece, BaseException):
                raise piece
            yield piece
            self._free.put(t.cast(bytearray, piece.obj))

    # In the thread.

    def _run(self) -> None:
        try:
            self._read()
            self._hand_over()
            self._full.put(None)
        except BaseException as exc:  # of any kind: the thread that waits for it raises it
            self._full.put(exc)

    def _read(self) -> None:
        start = 0
        for member in self._archive.members:
            frame, fill = header(member.name, member.size), padding(member.size)
            content = start + len(frame)
            after = content + member.size + len(fill)
            if after > self._first and start < self._end:
                self._add(start, frame)
                self._add_content(member, content)
                self._add(content + member.size, fill)
            start = after
        self._add(start, END)

    def _add(self, at: int, data: bytes) -> None:
        """Add those of the bytes at an offset that are between ``first`` and ``end``."""
        rest = memoryview(data)[max(0, self._first - at) : max(0, self._end - at)]
        while rest:
            room = self._room()
            size = min(len(room), len(rest))
            room[:size] = rest[:size]
            self._used += size
            rest = rest[size:]

    def _add_content(self, member: Member, start: int) -> None:
        """Add the content of a member; raise CorruptStoreError for a blob with other bytes."""
        try:
            opened = member.open()
        except OSError as exc:
            raise errors.CorruptStoreError(
                f"{member.name} cannot be read: {exc.strerror or exc}"
            ) from exc
        digest = _digest_of(member)
        found = hashlib.new(digest.algorithm) if digest else None
        at, end = start, start + member.size
        with opened as file:
            while at < end:
                data = self._read_into_room(file, at, end)
                if not data:
                    break
                if found:
                    found.update(data)
                at += len(data)
            is_whole = at == end and not file.read(1)
        if found and digest and not (is_whole and found.hexdigest() == digest.encoded):
            raise errors.CorruptStoreError(f"{digest}: the store has other bytes")

    def _read_into_room(self, file: t.Any, at: int, end: int) -> memoryview:
        """Read some bytes of a file that are at an offset of the archive, and keep them if they are not outside."""
        is_outside = not self._first <= at < self._end
        limit = min(end, self._first if at < self._first else end if is_outside else self._end)
        room = self._room()[: limit - at]
        data = room[: file.readinto(room)]
        if is_outside:
            self._outside(at, data)
        else:
            self._used += len(data)
        return data

    def _room(self) -> memoryview:
        """Return the rest of the buffer, or a new one if it is full; raise _LeftError once nobody uses the bytes."""
        if self._used == len(self._buffer):
            self._hand_over()
            self._buffer, self._used = self._free.get(), 0
        if self._is_left:
            raise _LeftError
        return memoryview(self._buffer)[self._used :]

    def _hand_over(self) -> None:
        if self._used:
            self._full.put(memoryview(self._buffer)[: self._used])


def _digest_of(member: Member) -> Digest | None:
    """Return the digest that the name of a member states, None if it is not a blob."""
    if not member.name.startswith(BLOBS):
        return None
    return Digest(*member.name[len(BLOBS) :].split("/", 1))
