# SPDX-License-Identifier: GPL-3.0-or-later
"""A read-only registry on the loopback interface, for the images of one task (distribution-spec v1.1, "Pull").

It exists because podman keeps exact names and digests only of images that it pulls. No other user of the host can read
from it: its repositories are below a random path.
"""

from __future__ import annotations

import contextlib
import http.server
import re
import secrets
import socket
import socketserver
import threading
import typing as t

from .._archive.image_archive import ImageContent, OpenBlob
from .._image import errors as image_errors
from .._image.manifest import Descriptor
from .._image.names import Digest
from . import errors

_TLS_HANDSHAKE = b"\x16"  # RFC 8446 5.1
_IDLE = 600.0  # seconds until a client that neither reads nor writes is given up
_RANGE = re.compile(r"bytes=(?:([0-9]{1,18})-([0-9]{1,18})?|-([0-9]{1,18}))")
_BYTES = "application/octet-stream"
_UNKNOWN = b'{"errors":[{"code":"NAME_UNKNOWN","message":"not part of this task"}]}'


class _Content(t.NamedTuple):
    """Content of a repository. ``data`` is None for a layer, which ``open_blob`` opens."""

    repository: str
    blob: Descriptor
    media_type: str
    data: bytes | None = None


class LoopbackRegistry:
    """Serves ``images`` on 127.0.0.1 inside its ``with`` block, on ::1 if a host has only that.

    ``open_blob`` is called by several threads, and may block.

    ``error`` is the first error of ``open_blob``, None if there was none. ``asked`` are the repositories of which a client
    has requested anything. ``note`` is called with the number of bytes that were sent, without repetitions.
    """

    # Addresses, and the hosts that podman knows them by: it finds no IPv6 address in the name of an image.
    places: t.Sequence[tuple[str, str]] = (("127.0.0.1", "127.0.0.1"), ("::1", "localhost"))

    def __init__(
        self,
        images: t.Iterable[ImageContent],
        open_blob: OpenBlob,
        note: t.Callable[[int], object] = bool,
    ) -> None:
        self._open, self._note = open_blob, note
        self._token = secrets.token_hex(16)
        self._repositories: dict[str, str] = {}
        self._paths: dict[str, _Content] = {}
        self._sent: dict[Digest, int] = {}
        self._lock = threading.Lock()
        self._opening = 0
        self.error: image_errors.LockstepError | None = None
        self.asked: set[str] = set()
        for image in images:
            self._add(image)
        self._server: _Server | None = None

    def __enter__(self) -> LoopbackRegistry:
        """Start to listen; raise EngineError if the system refuses that."""
        self._server = self._listen()
        self._server.registry = self
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_error: object) -> None:
        if self._server:
            self._server.shutdown()
            self._server.server_close()

    def _listen(self) -> _Server:
        failed: OSError | None = None
        for address, host in self.places:
            try:
                if address in {found[4][0] for found in socket.getaddrinfo(host, None)}:
                    return _Server(address, host)
            except OSError as exc:
                failed = failed or exc
        raise errors.EngineError(
            f"{self.places[0][0]}: this host does not let a program listen there: {failed and failed.strerror}",
            "podman receives images through a connection to this address: enable it on the interface lo."
            " If the host has only IPv6, localhost must be ::1.",
        ) from failed

    @property
    def locations(self) -> dict[str, str]:
        """Where each repository of the images is served: ``host:port/path`` by ``registry/repository``."""
        place = self._server.place if self._server else ""
        return {name: f"{place}/{path}" for name, path in self._repositories.items()}

    @property
    def bytes_sent(self) -> int:
        """The bytes of all content that was sent, without repetitions."""
        with self._lock:
            return sum(self._sent.values())

    @property
    def is_waiting(self) -> bool:
        """Whether a client waits for ``open_blob``, which downloads a layer that is not here yet."""
        return self._opening > 0

    def find(self, path: str) -> _Content | None:
        """Return the content under the path of a request, None for everything that is not planned."""
        found = self._paths.get(path)
        if found:
            self.asked.add(found.repository)
        return found

    @contextlib.contextmanager
    def open(self, content: _Content) -> t.Iterator[t.BinaryIO]:
        """Open a layer; raise LockstepError, and keep it as ``error``, if it cannot be read."""
        with contextlib.ExitStack() as stack:
            self._note_opening(1)
            try:
                file = stack.enter_context(self._open(content.blob))
            except image_errors.LockstepError as exc:
                self._keep(exc)
                raise
            except OSError as exc:
                text = f"{content.blob.digest} cannot be read: {exc.strerror or exc}"
                error = image_errors.CorruptStoreError(text)
                self._keep(error)
                raise error from exc
            finally:
                self._note_opening(-1)
            yield file

    def _note_opening(self, change: int) -> None:
        with self._lock:
            self._opening += change

    def _keep(self, error: image_errors.LockstepError) -> None:
        with self._lock:
            self.error = self.error or error

    def count(self, content: _Content, size: int) -> None:
        """Count ``size`` bytes that were sent."""
        blob = content.blob
        with self._lock:
            before = self._sent.get(blob.digest, 0)
            self._sent[blob.digest] = min(blob.size, before + size)
            self._note(self._sent[blob.digest] - before)

    def _add(self, image: ImageContent) -> None:
        reference = image.reference
        # A number, as the name of a host can have characters that a repository must not have, and may be long.
        path = f"{self._token}/{len(self._repositories)}"
        base = f"/v2/{self._repositories.setdefault(reference.name, path)}"
        for blob, manifest in image.manifests:
            content = _Content(reference.name, blob, manifest.media_type, manifest.raw)
            self._paths[f"{base}/manifests/{blob.digest}"] = content
        # The last one is the root.
        self._paths[f"{base}/manifests/{reference.tag or reference.digest}"] = content
        for blob in image.manifest.layers:
            self._paths[f"{base}/blobs/{blob.digest}"] = _Content(reference.name, blob, _BYTES)
        config = image.config_blob
        self._paths[f"{base}/blobs/{config.digest}"] = _Content(
            reference.name, config, _BYTES, image.config
        )


class _Server(socketserver.ThreadingMixIn, socketserver.TCPServer):
    daemon_threads = True
    block_on_close = False  # a thread may wait for a download that its client has given up
    request_queue_size = 64
    registry: LoopbackRegistry

    def __init__(self, address: str, host: str) -> None:
        """Listen on a free port of an address, which clients know as ``host``; raise OSError if this is not possible."""
        self.address_family = socket.AF_INET6 if ":" in address else socket.AF_INET
        super().__init__((address, 0), _Handler)
        self.place = f"{host}:{self.server_address[1]}"

    def handle_error(self, request: t.Any, client_address: t.Any) -> None:
        """Keep quiet about a client that went away."""


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = _IDLE
    server: _Server

    def handle(self) -> None:
        """Answer the requests of a connection.

        A client that tries TLS first, as podman and Docker do, falls back to HTTP only after an answer in HTTP.
        """
        if self.connection.recv(1, socket.MSG_PEEK) == _TLS_HANDSHAKE:
            self.connection.recv(65536)
            self.wfile.write(b"HTTP/1.0 400 Bad Request\r\n\r\n")
            return
        super().handle()

    def do_GET(self) -> None:
        """Send content, or a part of it."""
        content = self.server.registry.find(self.path)
        if self.path == "/v2/":
            self._answer(200, "application/json", 2)
            self._write(b"{}")
        elif content is None:
            self._refuse()
        else:
            self._serve(content)

    do_HEAD = do_GET

    def log_message(self, format: str, *args: t.Any) -> None:
        """Write nothing to the standard error of the module."""

    def _serve(self, content: _Content) -> None:
        size = content.blob.size
        first, last = _part(self.headers.get("Range"), size) or (0, size - 1)
        headers = {"Docker-Content-Digest": str(content.blob.digest), "Accept-Ranges": "bytes"}
        is_part = (first, last) != (0, size - 1)
        if is_part and not first <= last:
            self._answer(416, content.media_type, 0, {"Content-Range": f"bytes */{size}"})
            return
        if is_part:
            headers["Content-Range"] = f"bytes {first}-{last}/{size}"
        head = (206 if is_part else 200, content.media_type, last + 1 - first, headers)
        if content.data is not None or self.command == "HEAD":
            self._answer(*head)
            self._send(content, first, (content.data or b"")[first : last + 1])
            return
        try:
            with self.server.registry.open(content) as file:
                self._answer(*head)
                self._send_file(content, file, first, last + 1 - first)
        except image_errors.LockstepError:
            self._refuse()

    def _send(self, content: _Content, first: int, data: bytes) -> None:
        self._write(data)
        if self.command != "HEAD":
            self.server.registry.count(content, len(data))

    def _send_file(self, content: _Content, file: t.BinaryIO, first: int, size: int) -> None:
        sent = self.connection.sendfile(file, first, size) if size else 0
        self.server.registry.count(content, sent)
        self.close_connection = self.close_connection or sent < size

    def _answer(
        self, status: int, media_type: str, size: int, headers: t.Mapping[str, str] | None = None
    ) -> None:
        self.send_response(status)
        for key, value in {"Content-Type": media_type, **(headers or {})}.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(size))
        self.end_headers()

    def _refuse(self) -> None:
        self._answer(404, "application/json", len(_UNKNOWN))
        self._write(_UNKNOWN)

    def _write(self, data: bytes) -> None:
        if self.command != "HEAD":
            self.wfile.write(data)


def _part(header: str | None, size: int) -> tuple[int, int] | None:
    """Return the first and the last byte that a request asks for; None for all (RFC 9110 14.1).

    Several ranges at once are answered with all bytes, as a server may. A first byte behind the last is not satisfiable.
    """
    match = _RANGE.fullmatch(header or "")
    if not match:
        return None
    first, last, suffix = match.groups()
    if suffix:
        return max(0, size - int(suffix)), size - 1
    return int(first), min(int(last or size), size - 1)
