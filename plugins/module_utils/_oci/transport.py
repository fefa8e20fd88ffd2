# SPDX-License-Identifier: GPL-3.0-or-later
"""HTTP, on requests: the only file that imports it; and what URLs and headers mean."""

from __future__ import annotations

import contextlib
import email.utils
import ipaddress
import os
import random
import re
import socket
import ssl
import threading
import time
import typing as t
import urllib.parse
import warnings
import zlib
from dataclasses import dataclass

from ansible_collections.lockstep.images.plugins.module_utils._oci.errors import (
    DependencyError,
    InputError,
    ProtocolError,
    RedirectError,
    TlsError,
    TruncatedError,
    UnreachableError,
    printable,
)

# No registry makes us sleep longer than this (seconds) in one go.
MAX_WAIT = 300.0

# Below these anybody may register: example.co.uk is no sibling of registry.co.uk.
_PUBLIC_SUFFIX = re.compile(r"(?:ac|co|com|edu|go|gov|ne|net|or|org)\.[a-z]{2}")
_WARNING = re.compile(r'299 - "((?:[^"\\\x00-\x08\x0a-\x1f\x7f]|\\[^\x00-\x08\x0a-\x1f\x7f])*)"')
_LINK = re.compile(r'<([^<>]*)>\s*((?:;\s*[\w*-]+\s*(?:=\s*(?:"[^"]*"|[^\s;,"]+))?\s*)*)')

Address = t.Union[ipaddress.IPv4Address, ipaddress.IPv6Address]


def retry_after(value: str, now: float) -> float | None:
    """Seconds to wait (a unix time if need be)."""
    text = value.strip()
    if re.fullmatch("[0-9]{1,18}", text):
        seconds = float(text)
        if seconds > 1e9:
            seconds -= now
    else:
        parsed = email.utils.parsedate_tz(text) if re.search("[A-Za-z]", text) else None
        if not parsed:
            return None
        try:
            seconds = email.utils.mktime_tz(parsed) - now
        except (OverflowError, ValueError):
            return None
    return min(max(seconds, 0.0), MAX_WAIT)


def next_page(links: t.Iterable[str], url: str) -> str | None:
    """The URL of the next page (RFC 8288); or ProtocolError for another origin."""
    for header in links:
        matches = list(_LINK.finditer(header))
        if not matches:
            raise ProtocolError(f"{shown_url(url)}: the Link header of the page is malformed")
        for match in matches:
            if re.search(r'\brel\s*=\s*"?[^";]*\bnext\b', match.group(2), re.IGNORECASE):
                try:
                    target = urllib.parse.urljoin(url, match.group(1))
                except ValueError as exc:
                    raise ProtocolError(f"{shown_url(url)}: the next page is no URL") from exc
                if origin(target) != origin(url):
                    raise ProtocolError(
                        f"{shown_url(url)}: the next page is on another host, {shown_url(target)}"
                    )
                return target
    return None


def warning_text(value: str) -> str:
    """The text of a ``Warning: 299`` header (distribution-spec v1.1)."""
    match = _WARNING.fullmatch(value.strip())
    return re.sub(r"\\(.)", r"\1", match.group(1))[:1000] if match else ""


def origin(url: str) -> tuple[str, str, int]:
    """Scheme, host and port: equal, or no credential travels along."""
    try:
        parts = urllib.parse.urlsplit(url)
        return (
            parts.scheme,
            (parts.hostname or "").lower(),
            parts.port or (443 if parts.scheme == "https" else 80),
        )
    except ValueError as exc:
        raise ProtocolError(f"{shown_url(url)}: the host or the port is not valid") from exc


def shown_url(url: str) -> str:
    """A URL without user and query, which may hold secrets."""
    try:
        parts = urllib.parse.urlsplit(url)
    except ValueError:
        return "(not a URL)"
    host = parts.netloc.rpartition("@")[2]
    return printable(urllib.parse.urlunsplit((parts.scheme, host, parts.path, "", "")), 600)


def is_loopback(host: str) -> bool:
    """Whether a host is this machine by its spelling, as Docker decides it."""
    bare = re.sub(":[0-9]+$", "", host) if host.count(":") == 1 or host.startswith("[") else host
    address = _literal(bare)
    return bare.lower() == "localhost" or bool(address and address.is_loopback)


def redirect_target(locations: t.Sequence[str], url: str, first: str) -> str:
    """Where a redirect leads; or RedirectError."""
    subject = f"{shown_url(url)}: redirects"
    if len(locations) != 1 or not locations[0].strip():
        raise RedirectError(f"{subject} without saying where to")
    try:
        target = urllib.parse.urldefrag(urllib.parse.urljoin(url, locations[0].strip()))[0]
        scheme, host, _port = origin(target)
    except (ValueError, ProtocolError) as exc:
        raise RedirectError(f"{subject} to something that is no URL") from exc
    if scheme not in ("http", "https") or not host:
        what = f"to a {scheme or 'relative'} URL"
    elif scheme == "http" and origin(url)[0] == "https":
        what = f"from https to http, {shown_url(target)}"
    elif "@" in urllib.parse.urlsplit(target).netloc:
        what = "to a URL with credentials in it"
    elif not may_reach(target, first):
        what = f"into a private network, {shown_url(target)}"
    else:
        return target
    raise RedirectError(f"{subject} {what}, which is not followed")


def may_reach(target: str, source: str) -> bool:
    """Whether ``source`` may send us to ``target``: never from the public into a private network."""
    host = origin(target)[1]
    address = _address(host)
    if origin(target) == origin(source):
        return True
    if address and (address.is_link_local or address.is_unspecified or address.is_multicast):
        return False
    near = (
        host == "localhost" or host.endswith(".localhost") or bool(address and address.is_private)
    )
    from_host = origin(source)[1]
    from_address = _address(from_host)
    return not near or is_loopback(from_host) or bool(from_address and from_address.is_private)


def may_serve_tokens(realm: str, registry: str) -> bool:
    """Whether ``realm`` may be asked for a token: a near one on the same host and port only, http never for https."""
    try:
        (scheme, host, port), (secure, *own) = origin(realm), origin(registry)
    except ProtocolError:
        return False
    if scheme not in ("http", "https") or not host or "@" in urllib.parse.urlsplit(realm).netloc:
        return False
    if scheme == "http" and secure == "https":
        return False
    address = _address(host)
    return [host, port] == own or not (is_loopback(host) or (address and not address.is_global))


def may_get_credentials(realm: str, registry: str) -> bool:
    """Whether ``realm`` may see the login of ``registry``: the same host, or over TLS one of its domain."""
    (scheme, host, port), (_secure, own, own_port) = origin(realm), origin(registry)
    if host == own:
        return port == own_port or scheme == "https"
    if scheme != "https" or _address(host) or _address(own):
        return False
    parent = own.partition(".")[2]
    domain = own if "." not in parent or _PUBLIC_SUFFIX.fullmatch(parent) else parent
    return f".{host}".endswith(f".{domain}")


def _address(host: str) -> Address | None:
    """Also 127.1 and 2130706433."""
    try:
        return _literal(host) or ipaddress.IPv4Address(socket.inet_aton(host))
    except (OSError, ValueError):
        return None


def _literal(host: str) -> Address | None:
    try:
        address = ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


_FIRST_READ = 4 * 1024
_LARGEST_READ = 1024 * 1024
_LOWEST_SPEED = 16 * 1024  # bytes a second below which a body counts as stalled
_DRAIN = 64 * 1024


class Response:
    """An answer whose body is unread; ``url`` is where it came from."""

    def __init__(
        self,
        answer: t.Any,
        url: str,
        failures: tuple[type[Exception], ...],
        patience: float,
        received: t.Callable[[int], None],
    ) -> None:
        self.status: int = answer.status_code
        self.url = url
        self._answer = answer
        self._failures = failures
        self._patience = patience
        self._received = received

    def header(self, name: str) -> str:
        """A header, "" for none."""
        return self._answer.headers.get(name, "")

    def header_values(self, name: str) -> list[str]:
        """Each header of this name."""
        return list(self._answer.raw.headers.getlist(name))

    @property
    def locations(self) -> list[str]:
        """Servers write UTF-8, http.client reads Latin-1."""
        values = self.header_values("Location")
        return [value.encode("latin-1", "replace").decode("utf-8", "replace") for value in values]

    @property
    def content_length(self) -> int | None:
        """The bytes announced."""
        value = self.header("Content-Length")
        return int(value) if re.fullmatch("[0-9]{1,18}", value) else None

    @property
    def encoding(self) -> str:
        """``gzip`` or ""; or ProtocolError."""
        value = self.header("Content-Encoding").strip().lower()
        if value in ("gzip", "x-gzip"):
            return "gzip"
        if value not in ("", "identity"):
            self.close()
            raise ProtocolError(
                f"{shown_url(self.url)}: the Content-Encoding is not supported and was not asked for"
            )
        return ""

    def read(self, limit: int, what: str = "answer") -> bytes:
        """The whole body; or ProtocolError beyond ``limit``, TruncatedError."""
        subject = f"{shown_url(self.url)}: the {what}"
        parts, size, expected, encoding = [], 0, self.content_length, self.encoding
        if (expected or 0) <= limit:
            for chunk in self.chunks(bool(encoding)):
                size += len(chunk)
                parts.append(chunk)
                if size > limit:
                    break
        if max(size, expected or 0) > limit:
            self.close()
            raise ProtocolError(f"{subject} is larger than {limit} bytes")
        if expected is not None and not encoding and size < expected:
            raise TruncatedError(f"{subject} ended after {size} of {expected} bytes")
        return b"".join(parts)

    def chunks(self, decode: bool = False) -> t.Iterator[bytes]:
        """The body in pieces of up to 1 MiB; or TruncatedError."""
        pieces = self._chunks()
        return _gunzipped(pieces, shown_url(self.url)) if decode else pieces

    def _chunks(self) -> t.Iterator[bytes]:
        size, subject = _FIRST_READ, shown_url(self.url)
        try:
            while True:
                started = time.monotonic()
                chunk = self._read(size)
                if not chunk:
                    break
                taken = time.monotonic() - started
                self._received(len(chunk))
                yield chunk
                # More at once while it goes fast: a slow body must not hide in one long read.
                size = min(size * 4, _LARGEST_READ) if taken < 0.25 else size
                size = max(size // 4, _FIRST_READ) if taken > 2 else size
        except self._failures as exc:
            raise TruncatedError(f"{subject}: the answer broke off: {reason(exc)}") from exc
        finally:
            self.close()

    def _read(self, size: int) -> bytes:
        """A read that has the time the lowest speed needs: a socket's own time-out starts anew with every byte."""
        raw = self._answer.raw
        try:
            # A second handle on the connection: shutting it down ends a read that another thread waits in.
            sock = socket.socket(fileno=os.dup(raw.fileno()))
        except (AttributeError, OSError, ValueError):
            return raw.read(size, decode_content=False)  # the body is complete, nothing can stall
        late = threading.Event()

        def end() -> None:
            late.set()
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

        timer = threading.Timer(self._patience + size / _LOWEST_SPEED, end)
        timer.daemon = True
        timer.start()
        try:
            chunk = raw.read(size, decode_content=False)
        finally:
            timer.cancel()
            sock.close()
        if late.is_set():
            raise TruncatedError(f"{shown_url(self.url)}: the answer comes too slowly")
        return chunk

    def close(self) -> None:
        """Give the connection back, or end it."""
        raw, length = self._answer.raw, self.content_length
        with contextlib.suppress(*self._failures, TruncatedError):
            if self._answer.request.method == "HEAD":
                raw.read(1)
            elif length is not None and length <= _DRAIN and not raw.closed:
                self._read(max(length, 1))
        self._answer.close()


def _gunzipped(chunks: t.Iterator[bytes], subject: str) -> t.Iterator[bytes]:
    """A bomb stops where its reader stops."""
    decoder = zlib.decompressobj(wbits=31)
    try:
        for chunk in chunks:
            rest = chunk
            while rest:
                yield decoder.decompress(rest, _LARGEST_READ)
                rest = decoder.unconsumed_tail
        yield decoder.flush()
    except zlib.error as exc:
        raise ProtocolError(
            f"{subject}: the body is not gzip as its Content-Encoding says"
        ) from exc


def reason(exc: BaseException) -> str:
    """The innermost cause; requests' own words repeat the query."""
    seen: list[BaseException] = []
    queue: list[t.Any] = [exc]
    while queue:
        current = queue.pop(0)
        if isinstance(current, BaseException) and current not in seen:
            seen.insert(0, current)
            queue += [
                getattr(current, "reason", None),
                current.__cause__,
                current.__context__,
                *current.args,
            ]
    for error in seen:
        # The second is urllib3's, for another name.
        if isinstance(error, ssl.SSLCertVerificationError) or "CertificateError" in str(
            type(error)
        ):
            why = getattr(error, "verify_message", error.args[0])
            return printable(f"the certificate is not trusted: {why}")
    for error in seen:
        if isinstance(error, ssl.SSLError):
            return f"TLS failed: {(error.reason or 'connection closed').replace('_', ' ').lower()}"
        if isinstance(error, (socket.timeout, TimeoutError)) or "Timeout" in type(error).__name__:
            return "no answer in time"
        if isinstance(error, OSError) and error.strerror:
            return error.strerror
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", type(seen[0]).__name__).lower()


# Statuses that may be gone on the next try.
BUSY = (408, 425, 429, 500, 502, 503, 504)
_REDIRECTS = (301, 302, 303, 307, 308)
_MAX_REDIRECTS = 5
_MAX_PAUSE = 30.0
_CONNECT_TIMEOUT = 10.0
_NOT_TLS = ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "UNKNOWN_PROTOCOL", "RECORD_LAYER_FAILURE")


@dataclass(frozen=True)
class HttpOptions:
    """How registries are reached; seconds."""

    validate_certs: bool = True
    ca_path: str | None = None
    client_cert: str | None = None
    client_key: str | None = None
    plain_http: bool = False
    use_proxy: bool = True
    timeout: float = 30.0
    retries: int = 5
    connections: int = 6


class Clock:
    """Time, which tests replace."""

    now = staticmethod(time.time)
    sleep = staticmethod(time.sleep)

    def jitter(self) -> float:
        """So that a fleet does not come back all at once."""
        return 0.5 + random.random() / 2


class TransferStats:
    """What a task cost."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: dict[str, float] = {"bytes_fetched": 0, "retries": 0, "seconds_waited": 0}

    def add(self, name: str, amount: float = 1) -> None:
        """Count bytes, seconds, or requests by their method."""
        with self._lock:
            self._counts[name] = self._counts.get(name, 0) + amount

    def as_result(self) -> dict[str, t.Any]:
        """The counts."""
        requests = {name: count for name, count in sorted(self._counts.items()) if name.isupper()}
        others = {name: round(count, 3) for name, count in self._counts.items() if name.islower()}
        return dict(others, requests=requests)


class HttpClient:
    """Sends requests of any number of threads, over one pool per kind of trust."""

    def __init__(self, options: HttpOptions, clock: Clock | None = None) -> None:
        self.options = options
        self.clock = clock or Clock()
        self.stats = TransferStats()
        self._lock = threading.Lock()
        self._adapters: dict[tuple[bool, bool], t.Any] = {}

    def request(
        self,
        method: str,
        url: str,
        headers: t.Mapping[str, str] | None = None,
        authorization: str = "",
        form: t.Sequence[tuple[str, str]] = (),
        follow: bool = True,
        trusted: bool = True,
    ) -> Response:
        """The answer, after retries and redirects; login and certificate are for the origin of ``url`` alone."""
        first = url
        for _hop in range(_MAX_REDIRECTS + 1):
            own = origin(url) == origin(first)
            fields = dict(headers or {})
            if authorization and own:
                fields["Authorization"] = authorization
            response = self._send_patiently(method, url, fields, form, trusted and own)
            if response.status not in _REDIRECTS:
                return response
            response.close()
            if not follow:
                raise RedirectError(
                    f"{shown_url(url)}: redirects, which is not allowed for this request"
                )
            url = redirect_target(response.locations, url, first)
        raise RedirectError(f"{shown_url(first)}: more than {_MAX_REDIRECTS} redirects")

    def pause(self, attempt: int, seconds: float | None = None) -> bool:
        """Wait before retry ``attempt``; False when there is none."""
        if attempt > self.options.retries:
            return False
        if seconds is None:
            seconds = min(0.5 * 2 ** (attempt - 1), _MAX_PAUSE) * self.clock.jitter()
        self.stats.add("retries")
        self.stats.add("seconds_waited", seconds)
        self.clock.sleep(seconds)
        return True

    def speaks_tls(self, host: str) -> bool:
        """Whether a host answers a TLS handshake."""
        parts = urllib.parse.urlsplit(f"https://{host}")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        address = (parts.hostname or "", parts.port or 443)
        try:
            with socket.create_connection(address, self._timeouts[0]) as raw:
                context.wrap_socket(raw).close()
        except ssl.SSLError as exc:
            return exc.reason not in _NOT_TLS  # any other complaint comes from a TLS server
        except OSError:
            return False
        return True

    @property
    def _timeouts(self) -> tuple[float, float]:
        return min(_CONNECT_TIMEOUT, self.options.timeout), self.options.timeout

    def _send_patiently(self, method: str, url: str, *rest: t.Any) -> Response:
        attempt = 0
        while True:
            attempt += 1
            try:
                response = self._send(method, url, *rest)
            except _Transient as exc:
                if not self.pause(attempt):
                    tries = f" ({attempt} attempts)" if attempt > 1 else ""
                    raise UnreachableError(f"{shown_url(url)}: {exc}{tries}") from exc
                continue
            if response.status not in BUSY or attempt > self.options.retries:
                return response
            response.close()
            self.pause(attempt, retry_after(response.header("Retry-After"), self.clock.now()))

    def _send(
        self, method: str, url: str, fields: dict[str, str], form: t.Any, own: bool
    ) -> Response:
        requests, errors, failures = _libraries()
        headers = {"User-Agent": "lockstep.images", "Accept-Encoding": "identity", **fields}
        subject = shown_url(url)
        self.stats.add(method)
        try:
            request = requests.Request(method, url, headers=headers, data=list(form) or None)
            answer = self._adapter(own, url.startswith("https")).send(
                request.prepare(),
                stream=True,
                timeout=self._timeouts,
                verify=self.options.validate_certs or not own,
                proxies=self._proxies(url),
            )
        except errors.SSLError as exc:
            raise TlsError(f"{subject}: {reason(exc)}", _tls_hint(exc)) from exc
        except errors.ProxyError as exc:
            raise _Transient(f"the proxy does not serve the request: {reason(exc)}") from exc
        except (errors.ConnectionError, errors.Timeout, errors.ChunkedEncodingError) as exc:
            raise _Transient(reason(exc)) from exc
        except (errors.RequestException, ValueError) as exc:
            raise ProtocolError(f"{subject}: cannot be requested: {reason(exc)}") from exc

        def received(size: int) -> None:
            self.stats.add("bytes_fetched", size)

        return Response(answer, url, failures, self.options.timeout, received)

    def _proxies(self, url: str) -> dict[str, str]:
        if not self.options.use_proxy or is_loopback(urllib.parse.urlsplit(url).netloc):
            return {}
        return _libraries()[0].utils.get_environ_proxies(url)

    def _adapter(self, own: bool, tls: bool) -> t.Any:
        with self._lock:
            if (own, tls) not in self._adapters:
                # The authorities of the system take a while to load: not for plain http.
                context = self._context(own) if tls else None
                self._adapters[own, tls] = _new_adapter(context, self.options.connections)
            return self._adapters[own, tls]

    def _context(self, own: bool) -> ssl.SSLContext:
        options, context = self.options, ssl.create_default_context()
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        # urllib3 compares the names itself; left to OpenSSL, urllib3 1.26 cannot speak to an address.
        context.check_hostname = False
        bundle = os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE")
        if bundle:
            _load(context.load_verify_locations, "CA bundle", bundle)
        if own and not options.validate_certs:
            context.verify_mode = ssl.CERT_NONE
        elif own and options.ca_path:
            _load(context.load_verify_locations, "ca_path", options.ca_path)
        if own and options.client_cert:
            _load(context.load_cert_chain, "client_cert", options.client_cert, options.client_key)
        return context


class _Transient(Exception):
    """May be gone on the next try."""


def _libraries() -> tuple[t.Any, t.Any, tuple[type[Exception], ...]]:
    """Imported late: a converged run never pays for them."""
    try:
        import requests
        import urllib3
    except ImportError as exc:
        raise DependencyError(f"the Python library requests cannot be imported: {exc}") from exc
    errors = requests.exceptions
    return (
        requests,
        errors,
        (errors.RequestException, urllib3.exceptions.HTTPError, OSError, ValueError),
    )


def _new_adapter(context: ssl.SSLContext | None, connections: int) -> t.Any:
    """Its class is made here because requests may be missing."""
    requests = _libraries()[0]
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
    except OSError as exc:  # ssl.SSLError is one
        raise InputError(f"{what} {paths[0]}: cannot be used: {exc.strerror or exc}") from exc


def _tls_hint(exc: BaseException) -> str:
    text = str(exc)
    if any(word in text for word in _NOT_TLS):
        return "The host seems to speak plain http: set plain_http if that is meant."
    return "Give the registry's CA as ca_path." if "CERTIFICATE_VERIFY_FAILED" in text else ""
