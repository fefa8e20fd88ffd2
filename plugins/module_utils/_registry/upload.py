# SPDX-License-Identifier: GPL-3.0-or-later
"""The upload of one blob (distribution-spec v1.1, "Pushing Blobs")."""

from __future__ import annotations

import concurrent.futures
import contextlib
import hashlib
import queue
import re
import threading
import typing as t
import urllib.parse

from .._image import errors
from .._image.manifest import Descriptor
from .._image.names import Digest
from .http import BUSY
from .response import Response

# Up to so many bytes are sent in one request that can be repeated.
_SMALL = 1024 * 1024


class Uploads:
    """What is known, within a task, of who has which blob, so that it can be mounted; and what was sent."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._holders: dict[tuple[str, Digest], set[str]] = {}
        self._turns: dict[tuple[str, Digest], threading.Lock] = {}
        self.sent = self.mounted = 0

    def add(self, registry: str, repository: str, digests: t.Iterable[Digest]) -> None:
        """A repository has, or very likely has, these blobs."""
        with self._lock:
            for digest in digests:
                self._holders.setdefault((registry, digest), set()).add(repository)

    def mount_source(self, registry: str, digest: Digest, but: str) -> str:
        """Another repository of the registry that has a blob, "" for none."""
        with self._lock:
            return min(self._holders.get((registry, digest), set()) - {but}, default="")

    def upload_lock(self, registry: str, digest: Digest) -> threading.Lock:
        """Return the lock to hold while content is sent. Who comes second, for another repository, can mount the blob."""
        with self._lock:
            return self._turns.setdefault((registry, digest), threading.Lock())

    @contextlib.contextmanager
    def upload_locks(self, registry: str, digests: t.Iterable[Digest]) -> t.Iterator[None]:
        """Hold the locks of several digests; every thread takes them in one order, so that none waits for ever."""
        with contextlib.ExitStack() as held:
            for digest in sorted(set(digests)):
                held.enter_context(self.upload_lock(registry, digest))
            yield

    def count(self, sent: int = 0, mounted: int = 0) -> None:
        """Note what was done."""
        with self._lock:
            self.sent += sent
            self.mounted += mounted

    def stats(self) -> dict[str, int]:
        """Bytes that were sent, blobs that were mounted."""
        return {"bytes_sent": self.sent, "blobs_mounted": self.mounted}


class Destination(t.Protocol):
    """The repository an upload goes to."""

    uploads: Uploads
    chunk_size: int

    def request(
        self,
        method: str,
        path: str,
        headers: t.Mapping[str, str] | None = None,
        retries: int | None = None,
        body: t.Any = None,
    ) -> Response:
        """The answer to a request."""

    def start(self) -> tuple[str, Response]:
        """Begin an upload: where it goes on, and the answer."""

    def location(self, response: Response, before: str = "") -> str:
        """Where it goes on after an answer."""

    def ask(self, descriptor: Descriptor) -> bool:
        """Whether a blob is there now."""

    def note(self, digest: Digest) -> None:
        """A blob is there."""

    def backoff(self, attempt: int) -> bool:
        """Wait before the next try; False when that is too many."""

    def check_digest(self, response: Response, digest: Digest, subject: str) -> None:
        """Or an error, if the registry calls it otherwise."""

    def refuse(self, response: Response, subject: str, size: int = 0) -> t.NoReturn:
        """Raise what an answer says."""


class Upload:
    """A blob on its way to a registry: a part whose bytes come in order."""

    in_order = True
    resumed = 0

    def __init__(self, sink: Destination, descriptor: Descriptor, location: str) -> None:
        self.size = descriptor.size
        self._sink = sink
        self._descriptor = descriptor
        self._location = location
        self._limit = sink.chunk_size or _SMALL
        self._sent = 0  # and taken by the registry, as far as we know
        self._buffer = bytearray()  # comes next
        self._stream: _Stream | None = None
        self._is_done = self._is_broken = False
        self._hash, self._hashed = hashlib.new(descriptor.digest.algorithm), 0

    @property
    def reach(self) -> int:
        """How far ``write`` has come, in bytes."""
        return self._sent + len(self._buffer)

    def missing(self) -> list[tuple[int, int]]:
        """What is still to be written, as (first, end); after a break, as the registry says."""
        if self._is_broken:
            self._is_broken = False
            self._resume()
        return [] if self._is_done else [(self.reach, self.size)][: self.reach < self.size]

    def write(self, offset: int, chunk: bytes) -> None:
        """Send the next bytes; or TruncatedError, after which ``missing`` tells how to go on."""
        if not chunk:
            return
        if offset != self.reach:
            raise ValueError("the bytes of an upload must come in order")
        end = offset + len(chunk)
        if end > self._hashed:
            self._hash.update(memoryview(chunk)[self._hashed - offset :])
            self._hashed = end
        if end == self.size:
            self._verify()
        self._sink.uploads.count(sent=len(chunk))
        try:
            self._send(chunk, end == self.size)
        except errors.TruncatedError:
            self._is_broken = True
            raise

    def hash_ahead(self) -> None:
        """Nothing is ahead."""

    def reset(self) -> None:
        """Begin anew."""
        self._cancel()
        self._hash, self._hashed = hashlib.new(self._descriptor.digest.algorithm), 0

    def finish(self) -> None:
        """No error means: the registry has it."""
        attempt = 0
        while not self._is_done:  # an empty one: the last bytes of any other end it
            self._verify()
            attempt += 1
            try:
                self._send(b"", True)
            except errors.TruncatedError:
                if not self._sink.backoff(attempt):
                    raise
                self._resume()
        self._sink.note(self._descriptor.digest)

    def close(self) -> None:
        """Let the registry forget what is not finished."""
        if not self._is_done:
            with contextlib.suppress(errors.LockstepError):
                self._cancel()

    def _verify(self) -> None:
        digest, size = self._descriptor.digest, self.size
        if self._hashed != size:
            raise errors.TruncatedError(f"{digest} ended after {self._hashed} of {size} bytes")
        if self._hash.hexdigest() != digest.encoded:
            got = f"{digest.algorithm}:{self._hash.hexdigest()}"
            raise errors.DigestMismatchError(
                f"{digest}: the {size} bytes received have the digest {got}"
            )

    def _send(self, chunk: bytes, is_last: bool) -> None:
        if not self._location:
            self._location, response = self._sink.start()
            least = response.header("OCI-Chunk-Min-Length").strip()
            if self._sink.chunk_size and re.fullmatch("[0-9]{1,9}", least):
                self._limit = max(self._limit, int(least))
        if self.size > self._limit and not self._sink.chunk_size:
            self._stream = self._stream or _Stream(self._put, self.size - self._sent)
            self._sent += len(chunk)
            if not self._stream.put(chunk) or is_last:
                stream, self._stream = self._stream, None
                self._complete(stream.answer())
            return
        self._buffer += chunk
        # What comes at once may be more than a request may have.
        while len(self._buffer) >= self._limit + is_last:
            self._patch(bytes(self._buffer[: self._limit]))
            self._sent += self._limit
            del self._buffer[: self._limit]
        if is_last:
            self._complete(self._put(bytes(self._buffer)))
            self._sent += len(self._buffer)
            self._buffer.clear()

    def _put(self, body: t.Any) -> Response:
        """The last request, with all that is left of the blob."""
        joiner = "&" if urllib.parse.urlsplit(self._location).query else "?"
        query = urllib.parse.urlencode({"digest": str(self._descriptor.digest)})
        return self._ask("PUT", f"{self._location}{joiner}{query}", body)

    def _patch(self, body: bytes) -> None:
        response = self._ask("PATCH", self._location, body)
        response.close()
        if response.status not in (201, 202, 204):  # 201 is what ECR says
            self._sink.refuse(response, str(self), len(body))
        self._location = self._sink.location(response, self._location)
        told = response.header("Range")
        if told and _end_of(told) != self._sent + len(body):
            raise errors.TruncatedError(f"{self}: the registry has taken less than was sent")

    def _complete(self, response: Response) -> None:
        if response.status not in (200, 201, 204):
            self._sink.refuse(response, str(self), self.size)
        self._sink.check_digest(response, self._descriptor.digest, str(self))
        response.close()
        self._is_done = True

    def _ask(self, method: str, url: str, body: t.Any) -> Response:
        """Never tried again from here: the registry may have taken a part of it."""
        length = len(body)
        first = self.size - length if method == "PUT" else self._sent
        headers = {"Content-Type": "application/octet-stream"}
        if length and length < self.size:
            headers["Content-Range"] = f"{first}-{first + length - 1}"
        try:
            response = self._sink.request(method, url, headers, 0, body)
        except errors.UnreachableError as exc:
            raise errors.TruncatedError(str(exc)) from exc
        if response.status in (401, 404, 416, *BUSY):
            response.close()
            raise errors.TruncatedError(
                f"{self}: the upload was answered with status {response.status}"
            )
        return response

    def _resume(self) -> None:
        """Go on where the registry says, or begin anew."""
        stream, self._stream = self._stream, None
        if stream:
            stream.abort()
        self._buffer.clear()
        if self._sink.ask(self._descriptor):  # only the answer was lost
            self._sent, self._is_done = self.size, True
            return
        reach, self._sent = self._hashed, 0
        try:
            response = self._sink.request("GET", self._location)
            response.close()
            if response.status in (200, 202, 204):
                self._location = self._sink.location(response, self._location)
                self._sent = _end_of(response.header("Range"))
        except errors.RegistryError:
            pass  # the upload is lost; the next one may not be
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
                self._sink.request("DELETE", location, None, 0).close()

    def __str__(self) -> str:
        return f"{self._sink}@{self._descriptor.digest}"


class _Stream:
    """The body of a request: one thread writes it, another sends it."""

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
                raise ConnectionAbortedError("the upload was given up")
            left -= len(chunk)
            yield chunk

    def put(self, chunk: bytes) -> bool:
        """Hand on the next bytes; False when they are not wanted any more."""
        while not self._answer.done():
            with contextlib.suppress(queue.Full):
                self._chunks.put(chunk, timeout=0.1)
                return True
        return False

    def answer(self) -> Response:
        """What the registry says in the end; or TruncatedError."""
        return self._answer.result()

    def abort(self) -> None:
        """Send no more."""
        while self.put(b""):
            with contextlib.suppress(concurrent.futures.TimeoutError, errors.LockstepError):
                self._answer.result(0.1)

    def _run(self) -> None:
        try:
            self._answer.set_result(self._send(self))
        except BaseException as exc:
            self._answer.set_exception(exc)


def _end_of(text: str) -> int:
    """How many bytes a registry has, by its Range header (``0-99``); ``0-0`` may mean none."""
    match = re.fullmatch("(?:bytes=)?0-([0-9]{1,18})", text.strip())
    return int(match.group(1)) + 1 if match and match.group(1) != "0" else 0
