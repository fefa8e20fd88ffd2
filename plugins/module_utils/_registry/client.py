# SPDX-License-Identifier: GPL-3.0-or-later
"""HTTP on requests; no other file imports requests."""

from __future__ import annotations

import functools
import os
import re
import socket
import ssl
import threading
import typing as t
import warnings

from .._image import errors
from .._image.sources import TransferStats
from .connect import (
    DEFAULT_TRUST,
    NOT_TLS,
    NoAnswer,
    Proxy,
    Trust,
    TrustOf,
    failure_of,
    hung_up,
    proxy_for,
    reason,
    refused,
    require_library,
    tls_context,
    tls_hint,
)
from .options import HttpOptions
from .pacing import BUSY, Clock, Pacing
from .response import DRAIN, LARGEST_READ, Response, Watch
from .urls import host_name, is_same_host, origin, redirect_target, shown_url

_ALL_READS = 16 * 1024 * 1024  # bytes of all concurrent reads together
# A URL in which requests has nothing to quote and no host to translate. Checking that takes most of the time in which
# requests prepares a request.
_PLAIN_URL = re.compile(
    r"https?://[a-z0-9.:\[\]-]+(?!.*/\.)/(?:[A-Za-z0-9._~:@!$&'()*+,;=/?-]|%[0-9A-Fa-f]{2})*"
)
_REDIRECTS = (301, 302, 303, 307, 308)
_MAX_REDIRECTS = 5
_READS = ("GET", "HEAD")
_CONNECT_TIMEOUT = 10.0  # seconds


class Identity(t.NamedTuple):
    """What is sent to one URL alone: headers, and the trust, None for what is configured for its host."""

    headers: t.Mapping[str, str] = {}
    trust: Trust | None = None


def is_refusal_elsewhere(response: Response, url: str) -> bool:
    """Return whether a host to which ``url`` redirects refuses the request; a new redirect may help then."""
    is_refused = 400 <= response.status < 500 and response.status not in BUSY
    return is_refused and not is_same_host(response.url, url)


Identify = t.Callable[[str], Identity]


class HttpClient:
    """Sends the requests of any number of threads, over one pool of connections per trust.

    ``trust_of`` returns the trust for hosts that are not registries of the task: targets of redirects, token servers,
    and the hosts of foreign layers.
    """

    def __init__(
        self,
        options: HttpOptions,
        clock: Clock | None = None,
        trust_of: TrustOf = lambda _url: None,
    ) -> None:
        self.options = options
        self.clock = clock or Clock()
        self.trust_of = trust_of
        self.stats = TransferStats()
        self._pacing = Pacing(options, self.stats, self.clock)
        self.backoff = self._pacing.backoff
        self._lock = threading.Lock()
        self._adapters: dict[tuple[Trust, bool], t.Any] = {}
        self._watch = Watch()

    def request(
        self,
        method: str,
        url: str,
        headers: t.Mapping[str, str] | None = None,
        identify: Identify = lambda _url: Identity(),
        body: t.Any = None,
        follow: bool = True,
        retries: int | None = None,
    ) -> Response:
        """Send a request, retry it, follow its redirects, and return the answer, whatever its status.

        ``identify`` returns what to send to each URL. ``body`` is bytes, a list of pairs for a form, or an iterable of
        bytes with a length, which is read once. ``retries`` is None for the option of the task.

        Raise UnreachableError without an answer, TlsError if TLS fails, RedirectError for a redirect that is not
        followed: without ``follow``, or of a request that writes, to another host.
        """
        first = url
        for _hop in range(_MAX_REDIRECTS + 1):
            identity = identify(url)
            fields = {**(headers or {}), **identity.headers}
            try:
                send = functools.partial(self._send, method, url, fields, body, identity.trust)
                response = self._pacing.send(url, retries, send)
            except errors.RegistryError as exc:
                if is_same_host(url, first):
                    raise
                raise exc.after_redirect(host_name(first)) from exc
            if response.status not in _REDIRECTS:
                return response
            response.close()
            target = redirect_target(response.locations, url, first)
            # A write goes to the host that the user named.
            if not follow or (method not in _READS and not is_same_host(target, url)):
                raise errors.RedirectError(
                    f"{shown_url(url)}: redirects to {shown_url(target)}, which is not followed for this request",
                    f"Name {host_name(target)} itself, to push or to delete there."
                    if "/v2/" in target
                    else "",
                )
            url = target
        raise errors.RedirectError(f"{shown_url(first)}: more than {_MAX_REDIRECTS} redirects")

    def connections(self) -> int:
        """Return how many connections were opened."""
        managers = [adapter.poolmanager for adapter in self._adapters.values()]
        for adapter in self._adapters.values():
            managers += adapter.proxy_manager.values()
        pools = [
            manager.pools.get(key) for manager in managers for key in list(manager.pools.keys())
        ]
        return sum(pool.num_connections for pool in pools if pool)

    def speaks_tls(self, host: str) -> bool:
        """Return whether ``host[:port]`` answers a TLS handshake; True if it does not answer at all in time."""
        address, context = origin(f"https://{host}")[1:], ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        try:
            with socket.create_connection(address, self._timeouts[0]) as raw:
                context.wrap_socket(raw).close()
        except ssl.SSLError as exc:
            return exc.reason not in NOT_TLS  # any other error comes from a TLS server
        except OSError as exc:
            return isinstance(exc, socket.timeout)  # a lost packet must not lead to plain http
        return True

    @property
    def _timeouts(self) -> tuple[float, float]:
        return min(_CONNECT_TIMEOUT, self.options.timeout), self.options.timeout

    def _send(
        self, method: str, url: str, fields: dict[str, str], body: t.Any, trust: Trust | None
    ) -> Response:
        requests, exceptions, failures = libraries()
        is_foreign = trust is None
        headers = {"User-Agent": "lockstep.images", "Accept-Encoding": "identity", **fields}
        trust = trust or self.trust_of(url) or DEFAULT_TRUST
        proxy = self._proxy(url)
        through = f" (through {proxy})" if proxy else ""
        self.stats.add(method)
        try:
            answer = self._adapter(trust, url.startswith("https")).send(
                _prepared(requests, method, url, headers, body),
                stream=True,
                timeout=self._timeouts,
                verify=trust.validate_certs,
                proxies={origin(url)[0]: proxy.url} if proxy else {},
            )
        except exceptions.SSLError as exc:
            if hung_up(exc):
                raise NoAnswer(f"the TLS connection was ended{through}") from exc
            hint = proxy.tls_hint(exc) if proxy else ""
            hint = hint or tls_hint(exc, host_name(url), is_foreign)
            raise errors.TlsError(f"{shown_url(url)}: {reason(exc)}{through}", hint) from exc
        except (
            exceptions.ConnectionError,
            exceptions.Timeout,
            exceptions.ChunkedEncodingError,
        ) as exc:
            raise failure_of(exc, url, proxy) from exc
        except (exceptions.RequestException, ValueError) as exc:
            raise errors.ProtocolError(
                f"{shown_url(url)}: cannot be requested: {reason(exc)}"
            ) from exc
        except OSError as exc:  # requests looks for the certificates that are installed with it
            raise errors.TlsError(
                f"{shown_url(url)}: {errors.printable(str(exc))}",
                "Install the CA certificates for the Python of this host, or let its user read them.",
            ) from exc
        if proxy and answer.status_code == 407:
            answer.close()
            raise refused(proxy, 407, errors.printable(answer.reason or ""))

        # Many connections read less at once, as they share the memory.
        largest = max(DRAIN, min(LARGEST_READ, _ALL_READS // self.options.connections))
        visible = None if url.startswith("https") else proxy  # it does not see what is in TLS
        timeout = self.options.timeout
        received = functools.partial(self._pacing.received, url)
        return Response(answer, url, failures, timeout, received, self._watch, largest, visible)

    def _proxy(self, url: str) -> Proxy | None:
        """Return the proxy for a URL; raise InputError if it is malformed, DependencyError if it needs PySocks."""
        proxy = proxy_for(url, os.environ) if self.options.use_proxy else None
        if proxy:
            require_library(proxy)
        return proxy

    def _adapter(self, trust: Trust, tls: bool) -> t.Any:
        with self._lock:
            if (trust, tls) not in self._adapters:
                # Loading the authorities of the system takes a while; plain http does not need them.
                context = tls_context(trust) if tls else None
                self._adapters[trust, tls] = _new_adapter(context, self.options.connections)
            return self._adapters[trust, tls]


def libraries() -> tuple[t.Any, t.Any, tuple[type[Exception], ...]]:
    """Import requests, late: a converged run does not need it. Return it, its exceptions, and
    everything that reading may raise.

    Raise DependencyError if it is missing.
    """
    try:
        import requests
        import urllib3
    except ImportError as exc:
        text = f"the Python library requests cannot be imported: {exc}"
        raise errors.DependencyError(text, library="requests") from exc
    exceptions = requests.exceptions
    failures = (exceptions.RequestException, urllib3.exceptions.HTTPError, OSError, ValueError)
    return requests, exceptions, failures


def _prepared(
    requests: t.Any, method: str, url: str, headers: dict[str, str], body: t.Any
) -> t.Any:
    if not _PLAIN_URL.fullmatch(url):
        return requests.Request(method, url, headers=headers, data=body).prepare()
    prepared = requests.PreparedRequest()
    prepared.prepare_method(method)
    prepared.url = url
    prepared.prepare_headers(headers)
    prepared.prepare_body(body, None)
    return prepared


def _new_adapter(context: ssl.SSLContext | None, connections: int) -> t.Any:
    """Return a pool of connections. Its class is defined here because requests may be missing."""
    requests = libraries()[0]
    warnings.filterwarnings("ignore", message="Unverified HTTPS request")

    class Adapter(requests.adapters.HTTPAdapter):  # type: ignore[name-defined]
        def init_poolmanager(self, *args: t.Any, **kwargs: t.Any) -> None:
            super().init_poolmanager(*args, ssl_context=context, **kwargs)

        has_authorities = False

        def cert_verify(self, pool: t.Any, *args: t.Any) -> None:
            super().cert_verify(pool, *args)
            if context and pool.ca_certs and not pool.proxy:
                # Once: urllib3 reads them for each connection, which takes longer than a handshake.
                if not self.has_authorities:
                    context.load_verify_locations(pool.ca_certs)
                    self.has_authorities = True
                pool.ca_certs = None

        def proxy_manager_for(self, proxy: str, **kwargs: t.Any) -> t.Any:
            return super().proxy_manager_for(proxy, ssl_context=context, **kwargs)

        def proxy_headers(self, proxy: str) -> dict[str, str]:
            return Proxy.parse("", proxy).headers  # requests encodes it in Latin-1

    # Small requests have connections of their own.
    return Adapter(pool_connections=16 + connections, pool_maxsize=16 + connections)
