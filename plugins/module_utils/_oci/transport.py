# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""HTTP, on requests: the only file that imports it.

Redirects are followed by hand, so that a credential never travels with one. Neither cookies nor netrc exist
here: requests are sent through an adapter, not through a session (psf/requests#3929, #6928). Bodies are read as
they are on the wire: ``requests`` would undo a Content-Encoding and hash something else.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
import ssl
import threading
import time
import typing as t
import urllib.parse
import warnings
from dataclasses import dataclass

from ansible_collections.lockstep.images.plugins.module_utils._oci import hosts
from ansible_collections.lockstep.images.plugins.module_utils._oci.body import (
    FIRST_READ,
    Watchdog,
    gunzipped,
    next_size,
    reason,
    tls_hint,
)
from ansible_collections.lockstep.images.plugins.module_utils._oci.errors import (
    DependencyError,
    InputError,
    ProtocolError,
    RedirectError,
    TlsError,
    TruncatedError,
    UnreachableError,
)
from ansible_collections.lockstep.images.plugins.module_utils._oci.headers import (
    origin,
    retry_after,
    shown_url,
)
from ansible_collections.lockstep.images.plugins.module_utils._oci.stats import Clock, TransferStats

_REDIRECTS = frozenset((301, 302, 303, 307, 308))
_RETRIED = frozenset((408, 425, 429, 500, 502, 503, 504))
_MAX_REDIRECTS = 5
_MAX_PAUSE = 30.0
_DRAIN = 64 * 1024
_CONNECT_TIMEOUT = 10.0


@dataclass(frozen=True)
class HttpOptions:
    """How registries are reached. Times are in seconds."""

    validate_certs: bool = True
    ca_path: str | None = None
    client_cert: str | None = None
    client_key: str | None = None
    plain_http: bool = False
    use_proxy: bool = True
    timeout: float = 30.0
    retries: int = 5
    connections: int = 6


class HttpClient:
    """Sends requests for any number of threads over one connection pool per kind of trust.

    The CA, the client certificate and an Authorization header belong to the host of the URL that is asked for:
    a redirect to another origin sees none of them.
    """

    def __init__(self, options: HttpOptions, clock: Clock | None = None) -> None:
        self.options = options
        self.clock = clock or Clock()
        self.stats = TransferStats()
        self._lock = threading.Lock()
        self._adapters: dict[bool, t.Any] = {}
        self._watchdog = Watchdog(options.timeout)

    def request(
        self,
        method: str,
        url: str,
        *,
        headers: t.Mapping[str, str] | None = None,
        authorization: str = "",
        form: t.Sequence[tuple[str, str]] = (),
        follow: bool = True,
        trusted: bool = True,
    ) -> Response:
        """Send a request and follow its redirects; retries what is worth it, up to ``retries`` times.

        The CA and the client certificate of the options are used for the host of ``url`` if it is ``trusted``.

        Returns whatever answer there is, of any status. Raises UnreachableError, TlsError, RedirectError or
        ProtocolError.
        """
        first = url
        for _hop in range(_MAX_REDIRECTS + 1):
            same = origin(url) == origin(first)
            fields = dict(headers or {})
            if authorization and same:
                fields["Authorization"] = authorization
            response = self._send_patiently(method, url, fields, form, trusted and same)
            if response.status not in _REDIRECTS:
                return response
            if not follow:
                response.close()
                raise RedirectError(
                    f"{shown_url(url)}: redirects, which is not allowed for this request"
                )
            url = hosts.redirect_target(response.header_values("Location"), response.url, first)
            response.close()
        raise RedirectError(f"{shown_url(first)}: more than {_MAX_REDIRECTS} redirects")

    def pause(self, attempt: int, least: float | None = None) -> bool:
        """Wait before retry number ``attempt`` (from 1), as long as the server said or ever longer.

        Returns False, at once, when the retries are used up.
        """
        if attempt > self.options.retries:
            return False
        seconds = (
            min(0.5 * 2 ** (attempt - 1), _MAX_PAUSE) * self.clock.jitter()
            if least is None
            else least
        )
        self.stats.wait(seconds)
        self.clock.sleep(seconds)
        return True

    def speaks_tls(self, host: str) -> bool:
        """Whether a host on loopback answers a TLS handshake: it may be spoken to over plain http when not."""
        parts = urllib.parse.urlsplit(f"https://{host}")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        try:
            address = (parts.hostname or "", parts.port or 443)
            patience = min(self.options.timeout, _CONNECT_TIMEOUT)
            with (
                socket.create_connection(address, timeout=patience) as raw,
                context.wrap_socket(raw),
            ):
                return True
        except ssl.SSLError as exc:
            # Anything but "that was no TLS record" comes from a TLS server that did not like our hello.
            return exc.reason not in (
                "WRONG_VERSION_NUMBER",
                "HTTP_REQUEST",
                "UNKNOWN_PROTOCOL",
                "RECORD_LAYER_FAILURE",
            )
        except OSError:
            return False

    def _send_patiently(
        self,
        method: str,
        url: str,
        fields: t.Mapping[str, str],
        form: t.Sequence[tuple[str, str]],
        own: bool,
    ) -> Response:
        attempt = 0
        while True:
            attempt += 1
            try:
                response = self._send(method, url, fields, form, own)
            except _Transient as exc:
                if not self.pause(attempt):
                    tries = f" ({attempt} attempts)" if attempt > 1 else ""
                    raise UnreachableError(f"{shown_url(url)}: {exc}{tries}") from exc
                continue
            if response.status not in _RETRIED:
                return response
            wait = retry_after(response.header("Retry-After"), self.clock.now())
            if attempt > self.options.retries:
                return response
            response.close()
            self.pause(attempt, wait)

    def _send(
        self,
        method: str,
        url: str,
        fields: t.Mapping[str, str],
        form: t.Sequence[tuple[str, str]],
        own: bool,
    ) -> Response:
        requests, _urllib3 = _libraries()
        headers = {"User-Agent": "lockstep.images", "Accept-Encoding": "identity", **fields}
        self.stats.request(method)
        errors = requests.exceptions
        try:
            # Not through a session: a session would add netrc's credentials and keep cookies.
            prepared = requests.Request(
                method, url, headers=headers, data=list(form) or None
            ).prepare()
            answer = self._adapter(own).send(
                prepared,
                stream=True,
                timeout=(min(_CONNECT_TIMEOUT, self.options.timeout), self.options.timeout),
                verify=self.options.validate_certs or not own,
                proxies=self._proxies(url),
            )
        except errors.SSLError as exc:
            raise TlsError(f"{shown_url(url)}: {reason(exc)}", tls_hint(exc)) from exc
        except errors.ProxyError as exc:
            raise _Transient(f"the proxy does not serve the request: {reason(exc)}") from exc
        except (errors.ConnectionError, errors.Timeout, errors.ChunkedEncodingError) as exc:
            raise _Transient(reason(exc)) from exc
        except (errors.RequestException, UnicodeError, ValueError) as exc:
            raise ProtocolError(f"{shown_url(url)}: cannot be requested: {reason(exc)}") from exc
        return Response(answer, url, self)

    def _proxies(self, url: str) -> dict[str, str]:
        requests, _urllib3 = _libraries()
        host = urllib.parse.urlsplit(url).netloc.rpartition("@")[2]
        if not self.options.use_proxy or hosts.is_loopback(host):
            return {}
        return requests.utils.get_environ_proxies(url)

    def _adapter(self, own: bool) -> t.Any:
        """The pool for the registries of this task, or for the strangers they redirect to."""
        with self._lock:
            if own not in self._adapters:
                self._adapters[own] = _new_adapter(self._context(own), self.options.connections)
            return self._adapters[own]

    def _context(self, own: bool) -> ssl.SSLContext:
        context = ssl.create_default_context()
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        bundle = os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE")
        if bundle:
            _load(context.load_verify_locations, "CA bundle", bundle)
        if not own:
            return context
        options = self.options
        if not options.validate_certs:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        elif options.ca_path:
            _load(context.load_verify_locations, "ca_path", options.ca_path)
        if options.client_cert:
            _load(context.load_cert_chain, "client_cert", options.client_cert, options.client_key)
        return context


class Response:
    """An answer whose body has not been read yet. ``url`` is where it came from, after redirects."""

    def __init__(self, answer: t.Any, url: str, client: HttpClient) -> None:
        self._answer = answer
        self._client = client
        self.status: int = answer.status_code
        self.url = url

    def header(self, name: str) -> str:
        """The value of a header, "" when there is none; several are joined by a comma."""
        return self._answer.headers.get(name, "")

    def header_values(self, name: str) -> list[str]:
        """Each header of this name by itself."""
        return list(self._answer.raw.headers.getlist(name))

    @property
    def content_length(self) -> int | None:
        """What the server announces, in bytes."""
        value = self.header("Content-Length")
        return int(value) if re.fullmatch(r"[0-9]{1,18}", value, re.ASCII) else None

    @property
    def encoding(self) -> str:
        """``gzip``, or "" for a body as it is; raises ProtocolError for any other Content-Encoding."""
        value = self.header("Content-Encoding").strip().lower()
        if value in ("", "identity"):
            return ""
        if value in ("gzip", "x-gzip"):
            return "gzip"
        self.close()
        raise ProtocolError(
            f"{shown_url(self.url)}: the Content-Encoding is not supported and was not asked for"
        )

    def read(self, limit: int, what: str = "answer") -> bytes:
        """The whole body; raises ProtocolError beyond ``limit`` bytes, TruncatedError when it ends early."""
        parts, size, expected = [], 0, self.content_length
        if expected is not None and expected > limit:
            self.close()
            raise ProtocolError(f"{shown_url(self.url)}: the {what} is larger than {limit} bytes")
        encoding = self.encoding
        for chunk in self.chunks(decode=bool(encoding)):
            size += len(chunk)
            if size > limit:
                self.close()
                raise ProtocolError(
                    f"{shown_url(self.url)}: the {what} is larger than {limit} bytes"
                )
            parts.append(chunk)
        if expected is not None and not encoding and size < expected:
            raise TruncatedError(
                f"{shown_url(self.url)}: the {what} ended after {size} of {expected} bytes"
            )
        return b"".join(parts)

    def chunks(self, decode: bool = False) -> t.Iterator[bytes]:
        """The body as it comes, in pieces of up to 1 MiB; raises TruncatedError when it breaks or is too slow."""
        pieces = self._raw_chunks()
        return gunzipped(pieces, shown_url(self.url)) if decode else pieces

    def _raw_chunks(self) -> t.Iterator[bytes]:
        requests, urllib3 = _libraries()
        raw, size = self._answer.raw, FIRST_READ
        try:
            with self._client._watchdog.watch(raw) as watch:
                while True:
                    started = watch.start(size)
                    chunk = raw.read(size, decode_content=False)
                    watch.stop()
                    if not chunk:
                        break
                    self._client.stats.received(len(chunk))
                    yield chunk
                    size = next_size(size, time.monotonic() - started)
                if watch.fired:
                    raise TruncatedError(f"{shown_url(self.url)}: the answer comes too slowly")
        except (requests.exceptions.RequestException, urllib3.exceptions.HTTPError, OSError) as exc:
            raise TruncatedError(
                f"{shown_url(self.url)}: the answer broke off: {reason(exc)}"
            ) from exc
        finally:
            self.close()

    def close(self) -> None:
        """Give the connection back if little of the body is left, else end it."""
        requests, urllib3 = _libraries()
        raw = self._answer.raw
        with contextlib.suppress(
            requests.exceptions.RequestException, urllib3.exceptions.HTTPError, OSError, ValueError
        ):
            length = 0 if self._answer.request.method == "HEAD" else self.content_length
            if length is not None and length <= _DRAIN and not raw.closed:
                raw.read(_DRAIN, decode_content=False)
        self._answer.close()


class _Transient(Exception):
    """A failure that may be gone on the next try."""


def _libraries() -> tuple[t.Any, t.Any]:
    """requests and urllib3, imported when the first request is made: a converged run never pays for them."""
    try:
        import requests
        import urllib3
    except ImportError as exc:
        raise DependencyError(f"the Python library requests cannot be imported: {exc}") from exc
    return requests, urllib3


def _new_adapter(context: ssl.SSLContext, connections: int) -> t.Any:
    """An HTTPAdapter with its own trust; its class is made here because requests may be missing at import."""
    requests, _urllib3 = _libraries()
    warnings.filterwarnings("ignore", message="Unverified HTTPS request")

    class Adapter(requests.adapters.HTTPAdapter):  # type: ignore[name-defined]
        def init_poolmanager(self, *args: t.Any, **kwargs: t.Any) -> None:
            super().init_poolmanager(*args, ssl_context=context, **kwargs)

        def proxy_manager_for(self, proxy: str, **kwargs: t.Any) -> t.Any:
            return super().proxy_manager_for(proxy, ssl_context=context, **kwargs)

    return Adapter(pool_connections=max(16, connections), pool_maxsize=max(16, connections))


def _load(load: t.Callable[..., None], what: str, *paths: str | None) -> None:
    try:
        load(*paths)
    except (OSError, ssl.SSLError) as exc:
        reason = exc.strerror or exc
        raise InputError(f"{what} {paths[0]}: cannot be used: {reason}") from exc
