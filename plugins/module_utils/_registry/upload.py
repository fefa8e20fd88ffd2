# SPDX-License-Identifier: GPL-3.0-or-later
"""The upload of one blob (distribution-spec v1.1, "Pushing Blobs")."""

from __future__ import annotations

import concurrent.futures
import contextlib
import queue
import re
import threading
import typing as t
import urllib.parse

from .._image import errors
from .._image.manifest import BlobHash, Descriptor
from .pacing import BUSY
from .response import Response
from .target import PushTarget

# Up to this many bytes are sent in one request, which can be repeated.
_SMALL = 1024 * 1024


class Upload:
    """A blob that is sent to a registry: a ``PartialBlob`` that is written in order, by one thread.

    ``location`` is the URL of an upload that was started, "" to start one with the first bytes.
    """

    in_order = True
    resumed = 0

    def __init__(self, target: PushTarget, descriptor: Descriptor, location: str) -> None:
        self.size = descriptor.size
        self.is_complete = False
        self._target = target
        self._descriptor = descriptor
        self._location = location
        self._limit = target.chunk_size or _SMALL  # bytes of one request
        self._sent = 0  # bytes that the registry has, as far as we know
        self._buffer = bytearray()  # the bytes after these
        self._stream: _Stream | None = None
        self._is_broken = False
        self._hash = BlobHash(descriptor)

    @property
    def written(self) -> int:
        """Return the number of bytes written so far."""
        return self._sent + len(self._buffer)

    def missing(self) -> list[tuple[int, int]]:
        """Return the span that is still to be written. After a TruncatedError, ask the registry where to resume."""
        if self._is_broken:
            self._is_broken = False
            self._resume()
        return [] if self.is_complete else [(self.written, self.size)][: self.written < self.size]

    def write(self, offset: int, chunk: bytes) -> None:
        """Send the next bytes. Raise TruncatedError if the upload broke off: ``missing`` returns what to write then."""
        if not chunk:
            return
        if offset != self.written:
            raise ValueError("the bytes of an upload must come in order")
        end = offset + len(chunk)
        if end > self._hash.hashed:
            self._hash.update(memoryview(chunk)[self._hash.hashed - offset :])
        if end == self.size:
            self._hash.require_match()
        self._target.uploads.count(sent=len(chunk))
        try:
            self._send(chunk, end == self.size)
        except errors.TruncatedError:
            self._is_broken = True
            raise

    def hash_ahead(self) -> None:
        """Do nothing: all bytes are hashed as they are written."""

    def reset(self) -> None:
        """Cancel the upload, and start again from the first byte."""
        self._cancel()
        self._hash.reset()

    def finish(self) -> None:
        """End the upload; without an error the registry has the blob. Raise DigestMismatchError for other bytes."""
        attempt = 0
        while not self.is_complete:  # an empty blob: the last bytes of any other end the upload
            self._hash.require_match()
            attempt += 1
            try:
                self._send(b"", True)
            except errors.TruncatedError:
                if not self._target.backoff(attempt):
                    raise
                self._resume()

    def close(self) -> None:
        """Cancel an upload that is not finished."""
        if not self.is_complete:
            with contextlib.suppress(errors.LockstepError):
                self._cancel()

    def _send(self, chunk: bytes, is_last: bool) -> None:
        if not self._location:
            self._location, response = self._target.start_upload()
            least = response.header("OCI-Chunk-Min-Length").strip()
            if self._target.chunk_size and re.fullmatch("[0-9]{1,9}", least):
                self._limit = max(self._limit, int(least))
        if self.size > self._limit and not self._target.chunk_size:
            self._stream = self._stream or _Stream(self._put, self.size - self._sent)
            self._sent += len(chunk)
            if not self._stream.put(chunk) or is_last:
                stream, self._stream = self._stream, None
                self._complete(stream.answer())
            return
        self._buffer += chunk
        # One chunk may exceed the limit of a request several times.
        while len(self._buffer) >= self._limit + is_last:
            self._patch(bytes(self._buffer[: self._limit]))
            self._sent += self._limit
            del self._buffer[: self._limit]
        if is_last:
            self._complete(self._put(bytes(self._buffer)))
            self._sent += len(self._buffer)
            self._buffer.clear()

    def _put(self, body: t.Any) -> Response:
        """Send the rest of the blob, in the request that ends the upload."""
        joiner = "&" if urllib.parse.urlsplit(self._location).query else "?"
        query = urllib.parse.urlencode({"digest": str(self._descriptor.digest)})
        return self._request("PUT", f"{self._location}{joiner}{query}", body)

    def _patch(self, body: bytes) -> None:
        response = self._request("PATCH", self._location, body)
        response.close()
        if response.status not in (201, 202, 204):  # 201 is what ECR says
            self._target.fail(response, str(self), len(body))
        self._location = self._target.next_url(response, self._location)
        stated = response.header("Range")
        if stated and _end_of(stated) != self._sent + len(body):
            raise errors.TruncatedError(f"{self}: the registry kept fewer bytes than were sent")

    def _complete(self, response: Response) -> None:
        if response.status not in (200, 201, 204):
            self._target.fail(response, str(self), self.size)
        self._target.require_digest(response, self._descriptor.digest, str(self))
        response.close()
        self.is_complete = True

    def _request(self, method: str, url: str, body: t.Any) -> Response:
        """Send bytes without retries: the registry may have kept some of them. Raise TruncatedError if the upload broke off."""
        length = len(body)
        first = self.size - length if method == "PUT" else self._sent
        headers = {"Content-Type": "application/octet-stream"}
        if length and length < self.size:
            headers["Content-Range"] = f"{first}-{first + length - 1}"
        try:
            response = self._target.request(method, url, headers, 0, body)
        except errors.UnreachableError as exc:
            raise errors.TruncatedError(str(exc)) from exc
        if response.status in (401, 404, 416, *BUSY):
            response.close()
            raise errors.TruncatedError(
                f"{self}: the registry answered the upload with status {response.status}"
            )
        return response

    def _resume(self) -> None:
        """Ask the registry how many bytes it has, and continue after them; start again if it does not say."""
        stream, self._stream = self._stream, None
        if stream:
            stream.abort()
        self._buffer.clear()
        if self._target.exists(self._descriptor):  # only its answer was lost
            self._sent, self.is_complete = self.size, True
            return
        reach, self._sent = self._hash.hashed, 0
        try:
            response = self._target.request("GET", self._location)
            response.close()
            if response.status in (200, 202, 204):
                self._location = self._target.next_url(response, self._location)
                self._sent = _end_of(response.header("Range"))
        except errors.RegistryError:
            pass  # this upload is lost; the next one may succeed
        if not 0 < self._sent <= min(reach, self.size - 1):
            self._cancel()

    def _cancel(self) -> None:
        stream, self._stream = self._stream, None
        if stream:
            stream.abort()
        location, self._location = self._location, ""
        self._sent = 0
        self._buffer.clear()
        if location:
            with contextlib.suppress(errors.RegistryError):
                self._target.request("DELETE", location, None, 0).close()

    def __str__(self) -> str:
        return f"{self._target}@{self._descriptor.digest}"


class _Stream:
    """The body of a request, which one thread writes and another sends."""

    def __init__(self, send: t.Callable[[_Stream], Response], length: int) -> None:
        self._length = length
        self._send = send
        self._chunks: queue.Queue[bytes] = queue.Queue(2)
        self._answer: concurrent.futures.Future[Response] = concurrent.futures.Future()
        threading.Thread(target=self._run, daemon=True).start()

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> t.Iterator[bytes]:
        left = self._length
        while left:
            chunk = self._chunks.get()
            if not chunk:
                raise ConnectionAbortedError("the upload was cancelled")
            left -= len(chunk)
            yield chunk

    def put(self, chunk: bytes) -> bool:
        """Send the next bytes; return False if the request has ended."""
        while not self._answer.done():
            with contextlib.suppress(queue.Full):
                self._chunks.put(chunk, timeout=0.1)
                return True
        return False

    def answer(self) -> Response:
        """Wait for the answer of the registry; raise what ``send`` raised."""
        return self._answer.result()

    def abort(self) -> None:
        """End the request before its last byte."""
        while self.put(b""):
            with contextlib.suppress(concurrent.futures.TimeoutError, errors.LockstepError):
                self._answer.result(0.1)

    def _run(self) -> None:
        try:
            self._answer.set_result(self._send(self))
        except BaseException as exc:  # of any kind: the thread that waits for it raises it
            self._answer.set_exception(exc)


def _end_of(text: str) -> int:
    """Return how many bytes a registry has by its Range header (``0-99``); 0 for ``0-0``, which may mean none."""
    match = re.fullmatch("(?:bytes=)?0-([0-9]{1,18})", text.strip())
    return int(match.group(1)) + 1 if match and match.group(1) != "0" else 0
