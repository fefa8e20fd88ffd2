# SPDX-License-Identifier: GPL-3.0-or-later
"""Ways to a host: which proxy leads there, and why a connection fails. Rules, no I/O."""

from __future__ import annotations

import base64
import contextlib
import ipaddress
import re
import socket
import ssl
import typing as t
import urllib.parse

from .._image import errors
from .urls import is_loopback, literal, origin

_HUNG_UP = (ssl.SSLEOFError, ssl.SSLZeroReturnError)
NOT_TLS = ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "UNKNOWN_PROTOCOL", "RECORD_LAYER_FAILURE")
_SOCKS = ("socks4", "socks4a", "socks5", "socks5h")
_TUNNEL = re.compile("Tunnel connection failed: ([0-9]{3})(.*)")  # http.client's words
_BYTES = "surrogateescape"  # what is not UTF-8 in the environment stays as it is
_SHORT_CUT = (
    "Exempt the host with NO_PROXY in the environment of the task, or set use_proxy to false,"
    " if it can be reached without a proxy."
)


class Proxy(t.NamedTuple):
    """A proxy by scheme, ``host[:port]`` and login; ``variable`` is the one of the environment that names it."""

    variable: str
    scheme: str
    host: str
    user: str = ""
    password: str = ""

    @classmethod
    def parse(cls, variable: str, value: str) -> Proxy:
        """Read what a user writes, without a scheme for one that speaks http; or InputError, which repeats no login."""
        scheme, mark, rest = value.strip().partition("://")
        scheme, rest = (scheme.lower(), rest) if mark else ("http", scheme)
        # A proxy has no path, so that the last @ ends the login, whatever is in it.
        login, _at, place = rest.rpartition("@")
        host = re.split("[/?#]", place, maxsplit=1)[0]
        user, _colon, password = (
            urllib.parse.unquote(one, errors=_BYTES) for one in login.partition(":")
        )
        try:
            is_good = bool(origin(f"{scheme}://{host}")[1])
        except errors.ProtocolError:
            is_good = False
        if not is_good or scheme not in ("http", "https", *_SOCKS):
            raise errors.InputError(
                f"{variable}: the value in the environment is not the URL of a proxy",
                "Write http://HOST:PORT, with a login http://USER:PASSWORD@HOST:PORT.",
            )
        return cls(variable, scheme, host, user, password)

    @property
    def url(self) -> str:
        """With the login."""
        user, password = (urllib.parse.quote(one, "", errors=_BYTES) for one in self[3:])
        return f"{self.scheme}://{f'{user}:{password}@' if user else ''}{self.host}"

    @property
    def headers(self) -> dict[str, str]:
        """The login, in UTF-8."""
        pair = base64.b64encode(f"{self.user}:{self.password}".encode("utf-8", _BYTES))
        return {"Proxy-Authorization": f"Basic {pair.decode('ascii')}"} if self.user else {}

    def __str__(self) -> str:
        """For messages: without the login."""
        return errors.printable(f"the proxy {self.scheme}://{self.host} of {self.variable}")

    def tls_hint(self, exc: BaseException) -> str:
        """What to do if the proxy does not speak TLS, "" if it is not that."""
        if self.scheme == "https" and any(word in str(exc) for word in NOT_TLS):
            return "The proxy seems to speak plain http: begin its URL with http://."
        return ""

    def hint_for(self, status: int) -> str:
        """What to do about a status with which it answers for a host."""
        if status >= 500:
            todo = "Look at the log of the proxy for why it does not reach the host."
        elif status not in (401, 407):  # tinyproxy says 401 to a wrong login
            todo = "Let the proxy allow connections to the host."
        elif self.user:
            todo = "Correct the login in the URL of the proxy."
        else:
            todo = (
                "Give the login in the URL of the proxy: http://USER:PASSWORD@HOST:PORT,"
                " special characters percent-encoded."
            )
        return f"{todo} {_SHORT_CUT}"


def proxy_for(url: str, environment: t.Mapping[str, str]) -> Proxy | None:
    """The proxy that an environment names for a URL, by the rules of Go's httpproxy and ALL_PROXY; or InputError."""
    scheme, host, port = origin(url)
    names = [f"{scheme.upper()}_PROXY", f"{scheme}_proxy", "ALL_PROXY", "all_proxy"]
    if scheme == "http" and "REQUEST_METHOD" in environment:
        del names[0]  # the client of a CGI script has set it
    found = next((name for name in names if environment.get(name)), "")
    if not found or is_loopback(host):
        return None
    exceptions = environment.get("NO_PROXY") or environment.get("no_proxy") or ""
    if any(_covers(entry, host, port) for entry in re.split(r"[,\s]+", exceptions.lower())):
        return None
    return Proxy.parse(found, environment[found])


def _covers(entry: str, host: str, port: int) -> bool:
    """Whether an entry of NO_PROXY is for a host: ``*``, a range, an address, or a domain; the last two with a port."""
    address = literal(host)
    if "/" in entry:
        with contextlib.suppress(ValueError):
            return address is not None and address in ipaddress.ip_network(entry, strict=False)
        return False
    match = re.fullmatch(r"(\[[^]]*\]|[^:]*):([0-9]{1,5})", entry)
    name, wanted = match.groups() if match else (entry, str(port))
    if not name or int(wanted) != port:
        return False
    if name == "*" or address:
        return name == "*" or literal(name) == address
    # With a dot in front, a domain does not cover its own name.
    domain = name[1:] if name.startswith("*.") else name
    return host == domain or host.endswith(f".{domain.lstrip('.')}")


def require_library(proxy: Proxy) -> None:
    """Raise DependencyError if SOCKS is wanted and cannot be spoken."""
    if proxy.scheme in _SOCKS:
        try:
            import socks  # noqa: F401
        except ImportError as exc:
            text = f"{proxy} speaks SOCKS, for which PySocks is needed: {exc}"
            raise errors.DependencyError(text, library="PySocks") from exc


class NoAnswer(Exception):
    """Why a request has no answer, a hint, and how many retries it is worth, None for the usual number."""

    def __init__(self, text: str, hint: str = "", retries: int | None = None) -> None:
        super().__init__(text)
        self.hint = hint
        self.retries = retries

    @property
    def is_final(self) -> bool:
        """Whether it holds for all that the host may be asked."""
        return self.retries is not None

    def limit(self, retries: int) -> int:
        """How many of these retries are worth it."""
        return retries if self.retries is None else min(retries, self.retries)

    def error(self, subject: str, attempts: int) -> errors.UnreachableError:
        """To be raised after so many attempts."""
        tried = f" ({attempts} attempts)" if attempts > 1 else ""
        return errors.UnreachableError(f"{subject}: {self}{tried}", self.hint)


def refused(proxy: Proxy, status: int, words: str) -> NoAnswer:
    """A proxy answers in place of the host."""
    said = f" ({words})" if words else ""
    is_final = status < 500 and status not in (408, 425, 429)
    return NoAnswer(
        f"{proxy} answered {status}{said}", proxy.hint_for(status), 0 if is_final else None
    )


def failure_of(exc: BaseException, url: str, proxy: Proxy | None) -> NoAnswer:
    """What requests failed with."""
    for error in causes(exc):
        answer = _TUNNEL.match(str(error.args[0])) if error.args else None
        if proxy and answer:
            return refused(proxy, int(answer.group(1)), errors.printable(answer.group(2)))
        if isinstance(error, socket.gaierror):
            return _unresolved(error, origin(proxy.url if proxy else url)[1], proxy)
    why = reason(exc)
    if not proxy:
        return NoAnswer(why)
    return NoAnswer(f"{why} (through {proxy})", proxy.tls_hint(exc) or _SHORT_CUT)


def _unresolved(error: socket.gaierror, host: str, proxy: Proxy | None) -> NoAnswer:
    name = errors.printable(host, 100)
    whose = f"{proxy} cannot be found, its name" if proxy else f"the name {name}"
    look = f"Check the spelling of {name} and the name servers of this host (getent hosts {name})."
    why = errors.printable(error.strerror or "")
    if error.errno == socket.EAI_AGAIN:
        return NoAnswer(f"{whose} cannot be resolved now ({why})", look)
    return NoAnswer(f"{whose} does not resolve ({why})", look, 1)


def causes(exc: BaseException) -> list[BaseException]:
    """All of them, the innermost first."""
    seen: list[BaseException] = []
    queue: list[t.Any] = [exc]
    while queue:
        current = queue.pop(0)
        if isinstance(current, BaseException) and current not in seen:
            seen.insert(0, current)
            queue += [getattr(current, "reason", None), current.__cause__, current.__context__]
            queue += current.args
    return seen


def hung_up(exc: BaseException) -> bool:
    """Whether a TLS connection was ended; by its words, too: Python 3.9 has no class for it with OpenSSL 3."""
    return any(isinstance(one, _HUNG_UP) or "_EOF_" in str(one) for one in causes(exc))


def reason(exc: BaseException) -> str:
    """The innermost cause; requests' own words repeat the query."""
    seen = causes(exc)
    for error in seen:
        # The second is urllib3's, for another name.
        if isinstance(error, ssl.SSLCertVerificationError) or "CertificateError" in str(
            type(error)
        ):
            why = getattr(error, "verify_message", error.args[0])
            return errors.printable(f"the certificate is not trusted: {why}")
    for error in seen:
        if isinstance(error, ssl.SSLError):
            return f"TLS failed: {(error.reason or 'connection closed').replace('_', ' ').lower()}"
        if isinstance(error, (socket.timeout, TimeoutError)) or "Timeout" in type(error).__name__:
            return "no answer in time"
        if isinstance(error, OSError) and error.strerror:
            return error.strerror
        if isinstance(error, UnicodeError) and "label" in str(error):
            return "a part of the host name is empty or longer than 63 characters"
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", type(seen[0]).__name__).lower()
