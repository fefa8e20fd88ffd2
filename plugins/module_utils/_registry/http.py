# SPDX-License-Identifier: GPL-3.0-or-later
"""HTTP, on requests: the only file that imports it."""

from __future__ import annotations

import math
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
from dataclasses import dataclass

from .._image import errors
from .._image.sources import TransferStats
from .connect import (
    NOT_TLS,
    Failure,
    Proxy,
    failure_of,
    hung_up,
    proxy_for,
    reason,
    refused,
    require_library,
)
from .options import HttpOptions
from .response import DRAIN, LARGEST_READ, Response, Watch
from .trust import DEFAULT_TRUST, Trust, TrustOf, tls_context, tls_hint
from .urls import host_name, is_same_host, origin, redirect_target, shown_url

_ALL_READS = 16 * 1024 * 1024  # bytes of all reads together
# A URL in which requests has nothing to quote and no host to translate. To look for that takes most of the time in which
# it prepares a request.
_PLAIN_URL = re.compile(
    r"https?://[a-z0-9.:\[\]-]+(?!.*/\.)/(?:[A-Za-z0-9._~:@!$&'()*+,;=/?-]|%[0-9A-Fa-f]{2})*"
)
# Statuses that may be gone on the next try.
BUSY = (408, 425, 429, 500, 502, 503, 504)
_REDIRECTS = (301, 302, 303, 307, 308)
_MAX_REDIRECTS = 5
_READS = ("GET", "HEAD")
_MAX_PAUSE = 30.0
# No registry makes us sleep longer than this (seconds) in one go.
_MAX_WAIT = 300.0
_DAY = 24 * 60 * 60.0
_CONNECT_TIMEOUT = 10.0


class Identity(t.NamedTuple):
    """What a URL gets of ours alone: headers, and the trust, None for what is configured for its host."""

    headers: t.Mapping[str, str] = {}
    trust: Trust | None = None


def is_refusal_elsewhere(response: Response, url: str) -> bool:
    """Whether another host than the one of ``url``, to which it redirected, refuses: a new redirect may help."""
    is_refused = 400 <= response.status < 500 and response.status not in BUSY
    return is_refused and not is_same_host(response.url, url)


class Clock:
    """Time, which tests replace; ``now`` is no date, and nobody sets it back."""

    now = staticmethod(time.monotonic)
    date = staticmethod(time.time)
    sleep = staticmethod(time.sleep)

    def jitter(self) -> float:
        """So that a fleet does not come back all at once."""
        return 0.5 + random.random() / 2


@dataclass
class _Host:
    """What a host has told all threads."""

    not_before: float = 0.0  # when it may be asked
    last_success: float = -math.inf  # when it last answered, and was not busy
    error: errors.RegistryError | None = None  # why it is asked no more
    suspect: bool = False  # it was busy or silent until nobody tried again


class HttpClient:
    """Sends requests of any number of threads, over one pool per kind of trust.

    ``trust_of`` is asked for hosts that are no registries of the task: redirects, token servers, foreign layers.
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
        self._lock = threading.Lock()
        self._adapters: dict[tuple[Trust, bool], t.Any] = {}
        self._hosts: dict[tuple[str, str, int], _Host] = {}
        self._watch = Watch()

    def request(
        self,
        method: str,
        url: str,
        headers: t.Mapping[str, str] | None = None,
        identity: t.Callable[[str], Identity] = lambda _url: Identity(),
        body: t.Any = None,
        follow: bool = True,
        retries: int | None = None,
    ) -> Response:
        """The answer, after retries and redirects; each URL is asked by the ``identity`` that is for it.

        ``body``: bytes, a list of pairs for a form, or what has a length and gives its bytes once.
        """
        first = url
        for _hop in range(_MAX_REDIRECTS + 1):
            own = identity(url)
            fields = {**(headers or {}), **own.headers}
            try:
                response = self._send_patiently(method, url, fields, body, own.trust, retries)
            except errors.RegistryError as exc:
                if is_same_host(url, first):
                    raise
                raise exc.after_redirect(host_name(first)) from exc
            if response.status not in _REDIRECTS:
                return response
            response.close()
            target = redirect_target(response.locations, url, first)
            # What is written goes to the host that was named for it.
            if not follow or (method not in _READS and not is_same_host(target, url)):
                raise errors.RedirectError(
                    f"{shown_url(url)}: redirects to {shown_url(target)}, which is not followed for this request",
                    f"Name {host_name(target)} itself, to push or to delete there."
                    if "/v2/" in target
                    else "",
                )
            url = target
        raise errors.RedirectError(f"{shown_url(first)}: more than {_MAX_REDIRECTS} redirects")

    def backoff(self, attempt: int) -> bool:
        """Wait before retry ``attempt``, for 0 not at all; False when there is none."""
        if not attempt:
            self.stats.add("retries")
            return True
        wait = self._wait_before(attempt, self.options.retries)
        if wait is not None:
            self._wait_to_retry(wait)
        return wait is not None

    def connections(self) -> int:
        """How many were opened."""
        managers = [adapter.poolmanager for adapter in self._adapters.values()]
        managers += [
            one for adapter in self._adapters.values() for one in adapter.proxy_manager.values()
        ]
        pools = [
            manager.pools.get(key) for manager in managers for key in list(manager.pools.keys())
        ]
        return sum(pool.num_connections for pool in pools if pool)

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
            return exc.reason not in NOT_TLS  # any other complaint comes from a TLS server
        except OSError as exc:
            return isinstance(exc, socket.timeout)  # a lost packet is no reason to speak in clear
        return True

    @property
    def _timeouts(self) -> tuple[float, float]:
        return min(_CONNECT_TIMEOUT, self.options.timeout), self.options.timeout

    def _send_patiently(
        self,
        method: str,
        url: str,
        fields: dict[str, str],
        body: t.Any,
        trust: Trust | None,
        most: int | None,
    ) -> Response:
        host, attempt, since = self._host(url), 0, self.clock.now()
        while True:
            attempt += 1
            self._wait_for_turn(host)
            retries = 0 if host.suspect else self.options.retries if most is None else most
            try:
                response = self._send(method, url, fields, body, trust)
            except _Failed as exc:
                wait = self._wait_before(attempt, exc.failure.limit(retries), since=since)
                if wait is None:
                    error = exc.failure.error(shown_url(url), attempt)
                    if host.last_success <= since:
                        self._doubt(host, error, exc.failure.is_final, most is None)
                    raise error from exc
                self._wait_to_retry(wait)
                continue
            if response.status not in BUSY:
                host.last_success, host.suspect = self.clock.now(), False
                return response
            wait = self._wait_as_asked(response, host, attempt, retries, since)
            if wait is None:
                if most is None:
                    host.suspect = host.suspect or host.last_success <= since
                if most is None and response.status == 429:
                    where = "{}://{}:{}".format(*origin(url))
                    host.error = errors.RateLimitError(
                        f"{where}: too many requests, it is left alone now"
                    )
                return response
            response.close()
            self._wait_to_retry(wait)

    @staticmethod
    def _doubt(
        host: _Host, error: errors.UnreachableError, is_final: bool, was_patient: bool
    ) -> None:
        """It may be the one URL: who asks for another tries once, and then it is the host."""
        if is_final or (was_patient and host.suspect):
            host.error = error
        host.suspect = host.suspect or was_patient

    def _wait_as_asked(
        self, response: Response, host: _Host, attempt: int, retries: int, since: float
    ) -> float | None:
        """Seconds to wait for who is busy, None if there is no retry; all other threads wait then, too."""
        asked = response.retry_after(self.clock.date())
        wait = self._wait_before(attempt, retries, asked, since)
        if asked:
            calm = self._wait_before(1, 1, asked, since) if wait is None else wait
            with self._lock:
                host.not_before = max(host.not_before, self.clock.now() + (calm or 0))
        return wait

    def _wait_before(
        self, attempt: int, retries: int, asked: float | None = None, since: float = math.inf
    ) -> float | None:
        """Seconds to wait before retry ``attempt``; None if there is none, or no time for it ``since`` the first."""
        if attempt > retries:
            return None
        wait = min(0.5 * 2 ** (attempt - 1), _MAX_PAUSE) * self.clock.jitter()
        if asked is not None:
            # A clock that differs may make it "now" again and again.
            wait = max(min(asked, _MAX_WAIT), wait if attempt > 1 else 0)
        # More than a day is not meant.
        needed = wait if asked is None or asked > _DAY else asked
        late = self.clock.now() + needed - since > self.options.timeout_total
        return None if late else wait

    def _wait_to_retry(self, seconds: float) -> None:
        self.stats.add("retries")
        self._sleep(seconds)

    def _wait_for_turn(self, host: _Host) -> None:
        """Or the error for which it is asked no more."""
        pace, wait = self.options.requests_per_second, 0.0
        with self._lock:
            if not host.error:
                now = self.clock.now()
                wait = max(host.not_before - now, 0.0)
                if pace:
                    host.not_before = now + wait + 1 / pace
        if wait:
            self._sleep(wait)
        if host.error:
            raise host.error.copy()

    def _sleep(self, seconds: float) -> None:
        self.stats.add("seconds_waited", seconds)
        self.clock.sleep(seconds)

    def _host(self, url: str) -> _Host:
        with self._lock:
            return self._hosts.setdefault(origin(url), _Host())

    def _send(
        self, method: str, url: str, fields: dict[str, str], body: t.Any, own: Trust | None
    ) -> Response:
        requests, theirs, failures = libraries()
        headers = {"User-Agent": "lockstep.images", "Accept-Encoding": "identity", **fields}
        trust = own or self.trust_of(url) or DEFAULT_TRUST
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
        except theirs.SSLError as exc:
            if hung_up(exc):
                raise _Failed(Failure(f"the TLS connection was ended{through}")) from exc
            hint = proxy.tls_hint(exc) if proxy else ""
            hint = hint or tls_hint(exc, host_name(url), own is None)
            raise errors.TlsError(f"{shown_url(url)}: {reason(exc)}{through}", hint) from exc
        except (theirs.ConnectionError, theirs.Timeout, theirs.ChunkedEncodingError) as exc:
            raise _Failed(failure_of(exc, url, proxy)) from exc
        except (theirs.RequestException, ValueError) as exc:
            raise errors.ProtocolError(
                f"{shown_url(url)}: cannot be requested: {reason(exc)}"
            ) from exc
        except OSError as exc:  # requests looks for the authorities that came with it
            raise errors.TlsError(
                f"{shown_url(url)}: {errors.printable(str(exc))}",
                "Install the certificates of authorities for the Python of this host, or let its user read them.",
            ) from exc
        if proxy and answer.status_code == 407:
            answer.close()
            raise _Failed(refused(proxy, 407, errors.printable(answer.reason or "")))

        host = self._host(url)

        def received(size: int) -> None:
            self.stats.add("bytes_fetched", size)
            host.last_success = self.clock.now()

        # Many at once read less at once: memory is not for each connection.
        largest = max(DRAIN, min(LARGEST_READ, _ALL_READS // self.options.connections))
        visible = None if url.startswith("https") else proxy  # of TLS it sees nothing
        timeout = self.options.timeout
        return Response(answer, url, failures, timeout, received, self._watch, largest, visible)

    def _proxy(self, url: str) -> Proxy | None:
        """The proxy to go through; or InputError, DependencyError."""
        proxy = proxy_for(url, os.environ) if self.options.use_proxy else None
        if proxy:
            require_library(proxy)
        return proxy

    def _adapter(self, trust: Trust, tls: bool) -> t.Any:
        with self._lock:
            if (trust, tls) not in self._adapters:
                # The authorities of the system take a while to load: not for plain http.
                context = tls_context(trust) if tls else None
                self._adapters[trust, tls] = _new_adapter(context, self.options.connections)
            return self._adapters[trust, tls]


class _Failed(Exception):
    """There is no answer."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.text)
        self.failure = failure


def libraries() -> tuple[t.Any, t.Any, tuple[type[Exception], ...]]:
    """Requests, its exceptions, and all that it raises; imported late: a converged run never pays for them."""
    try:
        import requests
        import urllib3
    except ImportError as exc:
        text = f"the Python library requests cannot be imported: {exc}"
        raise errors.DependencyError(text, library="requests") from exc
    theirs = requests.exceptions
    failures = (theirs.RequestException, urllib3.exceptions.HTTPError, OSError, ValueError)
    return requests, theirs, failures


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
    """Its class is made here because requests may be missing."""
    requests = libraries()[0]
    warnings.filterwarnings("ignore", message="Unverified HTTPS request")

    class Adapter(requests.adapters.HTTPAdapter):  # type: ignore[name-defined]
        def init_poolmanager(self, *args: t.Any, **kwargs: t.Any) -> None:
            super().init_poolmanager(*args, ssl_context=context, **kwargs)

        def proxy_manager_for(self, proxy: str, **kwargs: t.Any) -> t.Any:
            return super().proxy_manager_for(proxy, ssl_context=context, **kwargs)

        def proxy_headers(self, proxy: str) -> dict[str, str]:
            return Proxy.parse("", proxy).headers  # requests knows Latin-1 only

    return Adapter(pool_connections=max(16, connections), pool_maxsize=max(16, connections))
