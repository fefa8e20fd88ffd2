# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An OCI registry inside the test process, with faults on demand.

It needs only the standard library. It serves pull and push of the OCI distribution spec 1.1, with
Basic or Bearer authentication and a token endpoint, over http or TLS, and logs every request::

    with Registry() as registry:
        digest = push(registry, "demo/app", demo_image("app", "1.0"), "1.0")
        registry.faults.append(Fault(path="/blobs/", truncate_at=10))
        ...
        assert registry.requests_by_method() == {"HEAD": 1, "GET": 4}
"""

from __future__ import annotations

import ssl
import sys
import threading
import traceback
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Callable

from .access import Access, Mode, TokenRequest
from .bodies import as_body
from .distribution import Distribution
from .exchange import OCTETS, Answer, Call, Refusal, content_answer
from .faults import Fault, FaultCounter
from .handler import Server
from .record import Request, RequestLog
from .storage import Storage

__all__ = ["Access", "Fault", "Registry", "Request", "Storage", "TokenRequest"]


class Registry:
    """A registry that listens from construction until ``close`` or the end of ``with``.

    - ``tls``: an ``ssl.SSLContext``, or something with a method ``server_context()``.
    - ``auth``: None, ``"basic"``, ``"bearer"``, or a function of method and path; ``users`` are
      passwords by name. ``access`` options: see ``Access``.
    - ``faults``: see ``Fault``; more can be appended to ``.faults`` at any time.
    - ``storage``: a ``Storage`` to share, or a directory for uploaded blobs.
    - ``page_size``, ``lenient``, ``referrers``, ``deletes``: see ``Distribution``.
    - ``requests_per_connection``: close a connection after this many, without ``Connection: close``.
    - ``on_request``: called with each ``Request`` just before the end of its answer is sent.

    ``files`` maps further paths to content (bytes, text, ``Path``), which is served without a login
    and with ranges, like the object storage that a registry redirects to.
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        tls: Any = None,
        auth: Mode = None,
        users: Mapping[str, str] | None = None,
        anonymous_pull: bool = False,
        faults: Iterable[Fault] = (),
        page_size: int | None = None,
        storage: Storage | str | Path | None = None,
        lenient: bool = False,
        referrers: bool = True,
        deletes: bool = True,
        requests_per_connection: int | None = None,
        on_request: Callable[[Request], None] | None = None,
        **access: Any,
    ) -> None:
        self.storage = storage if isinstance(storage, Storage) else Storage(storage)
        self.files: dict[str, Any] = {}
        self.fault_counter = FaultCounter(faults)
        self.requests_per_connection = requests_per_connection
        self.errors: list[BaseException] = []
        self.log = RequestLog(on_request)
        self.access = Access(auth, dict(users or {}), anonymous_pull, **access)
        self._distribution = Distribution(self.storage, page_size, lenient, referrers, deletes)
        self._server = Server((host, port), self)
        if tls is not None:
            self._server.context = tls if isinstance(tls, ssl.SSLContext) else tls.server_context()
        shown = f"[{host}]" if ":" in host else host
        self.port: int = self._server.server_address[1]
        self.address = f"{shown}:{self.port}"
        self.url = f"{'http' if tls is None else 'https'}://{self.address}"
        self.access.url = self.url
        self._thread = threading.Thread(
            target=self._server.serve_forever, name=f"registry {self.address}"
        )
        self._thread.daemon = True
        self._thread.start()

    def __enter__(self) -> Registry:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop listening and close all connections. A second call does nothing."""
        self._server.end_connections()
        self._server.stop_listening()  # wakes the thread, which would continue to sleep
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)

    # The log.

    @property
    def faults(self) -> list[Fault]:
        """The faults in their order; the list may be changed at any time."""
        return self.fault_counter.faults

    def applied(self, fault: Fault) -> int:
        """Return the number of requests to which ``fault`` was applied."""
        return self.fault_counter.applied(fault)

    @property
    def requests(self) -> list[Request]:
        """All requests, including those to the token endpoint, in the order of their answers' begin."""
        return self.log.requests()

    def requests_by_method(self) -> Counter[str]:
        """Return the number of requests by method."""
        return self.log.by_method()

    @property
    def token_requests(self) -> list[TokenRequest]:
        """All valid requests to the token endpoint, with the granted scopes."""
        return list(self.access.token_requests)

    @property
    def connections(self) -> int:
        """The number of accepted connections."""
        return self._server.accepted

    @property
    def handshake_errors(self) -> list[str]:
        """The error of each failed TLS handshake. It may appear shortly after the client's own error."""
        return list(self._server.handshake_errors)

    def clear(self) -> None:
        """Clear the log of requests; content, faults and tokens stay."""
        self.log.clear()
        self.access.token_requests.clear()

    def expire_tokens(self) -> None:
        """Invalidate all tokens: the next request with one is answered with 401."""
        self.access.expire_tokens()

    def note_error(self) -> None:
        """Keep and print the current exception, unless it is that of a broken connection."""
        error = sys.exc_info()[1]
        if error is not None and not isinstance(error, OSError):
            self.errors.append(error)
            traceback.print_exc()

    # The content.

    def add(
        self,
        repository: str,
        raw: bytes,
        media_type: str,
        *tags: str,
        digest: str | None = None,
        algorithm: str = "sha256",
    ) -> str:
        """Store ``raw`` as a manifest under ``tags``. Return its digest.

        Check nothing: a given ``digest`` need not match.
        """
        digest = self.storage.add_manifest(repository, raw, media_type, digest, algorithm)
        for tag in tags:
            self.storage.tag(repository, tag, digest)
        return digest

    def add_blob(
        self,
        repository: str,
        content: bytes | Path | Any,
        digest: str | None = None,
        algorithm: str = "sha256",
    ) -> str:
        """Store ``content`` (bytes, a ``Path``, a ``Filler``) as a blob. Return its digest."""
        return self.storage.add_blob(repository, content, digest, algorithm)

    def tag(self, repository: str, tag: str, digest: str) -> None:
        """Point ``tag`` at ``digest``."""
        self.storage.tag(repository, tag, digest)

    def untag(self, repository: str, tag: str) -> bool:
        """Remove ``tag``. Return whether it existed."""
        return self.storage.untag(repository, tag)

    def remove(self, repository: str, digest: str) -> bool:
        """Remove a manifest with its tags, or a blob. Return whether it existed."""
        return self.storage.remove(repository, digest)

    def manifest(self, repository: str, reference: str) -> bytes | None:
        """Return the manifest with a tag or digest as bytes, or None."""
        found = self.storage.manifest(repository, reference)
        return None if found is None else found.raw

    def blob(self, repository: str, digest: str) -> bytes | None:
        """Return the bytes of a blob, or None."""
        found = self.storage.blob(repository, digest)
        return None if found is None else b"".join(found.chunks())

    # For the handler.

    def answer(self, call: Call, negotiate: bool = False) -> Answer:
        """Return the answer to an authorized call, without faults. Raise ``Refusal`` for an error."""
        if call.path == "/token":
            return self.access.token_answer(call)
        if call.path in self.files:
            return content_answer(call, as_body(self.files[call.path]), ("Content-Type", OCTETS))
        if not call.path.startswith("/v2"):
            raise Refusal(404, "NOT_FOUND", "nothing here")
        answer = self._distribution.answer(
            call, lambda origin: self.access.may_read(call, origin), negotiate
        )
        answer.headers.append(("Docker-Distribution-Api-Version", "registry/2.0"))
        return answer
