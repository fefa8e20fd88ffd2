# SPDX-License-Identifier: GPL-3.0-or-later
"""Receive the content that a controller sends: bytes on standard input become incomplete blobs of a store.

This is the program that runs on a host for source=controller, as the owner of the store. It names nothing, and blobs/ does
not change: the task that completes the blobs verifies them. A message is:

- the line MAGIC,
- a line of JSON, the request: ``do``, ``store``, and ``blobs``, a list of digests and sizes,
- for ``do: take`` pieces of these blobs, in their order. Each is a line with the number of the blob, the offset and the
  length, and the bytes. The line ``end`` is the last one.

A piece that is here already is skipped, so that a message can be repeated. The answer is one line on standard output, and
there is none before the message has ended: Ansible writes everything before it reads.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import sys
import typing as t

from .._image import errors
from .._image.manifest import Descriptor
from .._image.names import Digest
from .errors import TransferError
from .files import PIECE, read_chunks
from .partial import StagedBlob, journal_of, part_path, read_journal
from .reader import StoreReader, path_of_store
from .store import ImageStore

MAGIC = b"lockstep content 1\n"
END = b"end\n"
# What stands before the answer: a login shell can print text of its own.
ANSWER = "lockstep answer "
_MOST_REQUEST = 64 * 1024 * 1024
_LONGEST_LINE = 100
_LINE = re.compile(rb"([0-9]{1,18}) ([0-9]{1,18}) ([0-9]{1,18})\n")
Answer = dict[str, t.Any]
Piece = tuple[int, int, bytes]  # the number of the blob, the offset, and the bytes


def main() -> None:
    """Answer the message on standard input."""
    os.umask(0o077)
    sys.stdout.write(f"\n{ANSWER}{json.dumps(answer_to(sys.stdin.buffer))}\n")


def answer_to(stream: t.BinaryIO) -> Answer:
    """Do what a message requests and return the answer, which has ``error`` if that failed.

    ``no_message`` means that the stream has no message.
    """
    if stream.readline(len(MAGIC)) != MAGIC:
        return {"no_message": True}
    try:
        request = _request(stream)
        blobs = [_blob(*pair) for pair in request.blobs]
        path = path_of_store(_expanded(request.store))
        if request.verb == "ask":
            return {"staged": [_staged(StoreReader(path), blob) for blob in blobs]}
        pieces = _pieces(stream, blobs)
        if request.verb == "copy":
            origin = StoreReader(request.origin)
            if not all(_is_readable(origin, blob) for blob in blobs):
                return {"unreadable": True}
            return _take(ImageStore(path), blobs, _copies(origin, blobs))
        return _take(ImageStore(path), blobs, pieces)
    except errors.LockstepError as exc:
        return {"msg": str(exc), "error": exc.as_result()}


class _Request(t.NamedTuple):
    """What the controller wants: ``verb`` is ask, copy or take; a pair of ``blobs`` is a digest and a size."""

    verb: str
    store: str
    origin: str
    blobs: list[tuple[t.Any, t.Any]]


def _request(stream: t.BinaryIO) -> _Request:
    try:
        value = json.loads(stream.readline(_MOST_REQUEST))
        blobs = [(pair[0], pair[1]) for pair in value["blobs"]]
        store, origin = value["store"] or "", value.get("origin") or ""
        return _Request(value["do"], str(store), str(origin), blobs)
    except (AttributeError, LookupError, RecursionError, TypeError, ValueError):
        raise TransferError("the request of the controller was cut off or is malformed") from None


def _expanded(path: str | None) -> str | None:
    """Return a path as Ansible expands it in options."""
    return os.path.expandvars(os.path.expanduser(path)) if path else None


def _blob(digest: t.Any, size: t.Any) -> Descriptor:
    """Return a blob of a request; raise DigestError or TransferError if it is not valid."""
    if isinstance(size, bool) or not isinstance(size, int) or size < 0:
        raise TransferError(f"{errors.printable(str(digest))}: its size is not a number of bytes")
    return Descriptor("", Digest.parse(digest), size)


def _staged(store: StoreReader, blob: Descriptor) -> list[tuple[int, int]]:
    """Return the spans of a blob that earlier tasks have left."""
    found: list[tuple[int, int]] = []
    for staging in store.stagings():
        path = part_path(staging, blob.digest)
        try:
            limit = min(os.lstat(path).st_size, blob.size)
            found = found or read_journal(journal_of(path), limit)
        except (OSError, errors.StoreAccessError):
            continue
    return found


def _pieces(stream: t.BinaryIO, blobs: t.Sequence[Descriptor]) -> t.Iterator[Piece]:
    """Yield the pieces of a message; raise TransferError if one is cut off, or not in order within its blob."""
    last = (0, 0)
    while True:
        line = stream.readline(_LONGEST_LINE)
        if line == END:
            return
        found = _LINE.fullmatch(line)
        if not found:
            raise TransferError("the content from the controller was cut off")
        number, offset, length = map(int, found.groups())
        if number >= len(blobs) or (number, offset) < last or length > PIECE:
            raise TransferError("the controller sent a piece that it did not announce")
        last, size = (number, offset + length), blobs[number].size
        if offset + length > size:
            raise TransferError(f"{blobs[number].digest}: received more than its {size} bytes")
        chunk = stream.read(length)
        if len(chunk) < length:
            raise TransferError(
                f"{blobs[number].digest}: the content from the controller was cut off"
            )
        yield number, offset, chunk


def _is_readable(store: StoreReader, blob: Descriptor) -> bool:
    return os.access(store.blob_path(blob.digest), os.R_OK)


def _copies(origin: StoreReader, blobs: t.Sequence[Descriptor]) -> t.Iterator[Piece]:
    """Yield the pieces of blobs that are in another store of this machine."""
    for number, blob in enumerate(blobs):
        offset = 0
        for chunk in read_chunks(origin.blob_path(blob.digest)):
            yield number, offset, chunk
            offset += len(chunk)


def _take(store: ImageStore, blobs: t.Sequence[Descriptor], pieces: t.Iterator[Piece]) -> Answer:
    """Write pieces to the staging directory of a store, under its lock and those of the incomplete blobs."""
    written = 0
    with store.hold():
        store.prepare(stale=False)
        for number, group in itertools.groupby(pieces, key=lambda piece: piece[0]):
            blob = blobs[number]
            with store.open_partial(blob) as part:
                if part and not part.name.endswith(".part"):
                    raise errors.LockedError(
                        f"{blob.digest}: another task is writing it, and makes no progress"
                    )
                if part:
                    # The task that completes the blob reads and hashes all of it. Twice would only slow the transfer down.
                    part._hashing.acquire()
                for _number, offset, chunk in group:
                    written += _write(part, offset, chunk) if part else 0
    return {"written": written}


def _write(part: StagedBlob, offset: int, chunk: bytes) -> int:
    """Write the bytes of a piece that are missing, and return how many these were."""
    written, end = 0, offset + len(chunk)
    for gap in part.missing():
        first, last = max(gap[0], offset), min(gap[1], end)
        if first < last:
            part.write(first, chunk[first - offset : last - offset])
            written += last - first
    return written
