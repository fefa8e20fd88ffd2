# SPDX-License-Identifier: GPL-3.0-or-later
"""How a host is reached: the proxy for it, its trust in TLS, and why a connection failed. client.py connects."""

from __future__ import annotations

import base64
import contextlib
import ipaddress
import os
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
_BYTES = "surrogateescape"  # bytes of the environment that are not UTF-8 stay as they are
_SHORT_CUT = (
    "Exempt the host with NO_PROXY in the environment of the task, or set use_proxy to false,"
    " if it can be reached without a proxy."
)
_MARK = re.compile(b"-----BEGIN (?:TRUSTED |X509 )?CERTIFICATE-----")
# What the versions of OpenSSL report for an unknown authority; not for a wrong host name or date.
_UNKNOWN_AUTHORITY = re.compile("self.signed|unable to (?:get|verify)")


class Proxy(t.NamedTuple):
    """A proxy: scheme, ``host[:port]`` and login; ``variable`` is the environment variable that names it."""

    variable: str
    scheme: str
    host: str
    user: str = ""
    password: str = ""

    @classmethod
    def parse(cls, variable: str, value: str) -> Proxy:
        """Parse the value of a variable; without a scheme it is http. Raise InputError, without the login, if it is malformed."""
        scheme, mark, rest = value.strip().partition("://")
        scheme, rest = (scheme.lower(), rest) if mark else ("http", scheme)
        # A proxy has no path, so the last @ ends the login, whatever that contains.
        login, _at, place = rest.rpartition("@")
        host = re.split("[/?#]", place, maxsplit=1)[0]
        user, _colon, password = (
            urllib.parse.unquote(part, errors=_BYTES) for part in login.partition(":")
        )
        try:
            is_good = bool(origin(f"{scheme}://{host}")[1])
        except errors.ProtocolError:
            is_good = False
        if not is_good or scheme not in ("http", "https", *_SOCKS):
            raise errors.InputError(
                f"{variable}: the value in the environment is not the URL of a proxy",
                "Write http://HOST:PORT, or http://USER:PASSWORD@HOST:PORT with a login.",
            )
        return cls(variable, scheme, host, user, password)

    @property
    def url(self) -> str:
        """Return the URL with the login, percent-encoded."""
        user, password = (urllib.parse.quote(part, "", errors=_BYTES) for part in self[3:])
        return f"{self.scheme}://{f'{user}:{password}@' if user else ''}{self.host}"

    @property
    def headers(self) -> dict[str, str]:
        """Return the header with the login (RFC 7617), in UTF-8; {} without one."""
        pair = base64.b64encode(f"{self.user}:{self.password}".encode("utf-8", _BYTES))
        return {"Proxy-Authorization": f"Basic {pair.decode('ascii')}"} if self.user else {}

    def __str__(self) -> str:
        """Return the proxy for a message, without the login."""
        return errors.printable(f"the proxy {self.scheme}://{self.host} of {self.variable}")

    def tls_hint(self, exc: BaseException) -> str:
        """Return what to do if the error is that the proxy does not use TLS, "" otherwise."""
        if self.scheme == "https" and any(word in str(exc) for word in NOT_TLS):
            return "The proxy seems to use plain http: start its URL with http://."
        return ""

    def hint_for(self, status: int) -> str:
        """Return what to do about a status that the proxy answers instead of the host."""
        if status >= 500:
            todo = "Look in the log of the proxy why it does not reach the host."
        elif status not in (401, 407):  # tinyproxy answers 401 to a wrong login
            todo = "Allow connections to the host in the proxy."
        elif self.user:
            todo = "Correct the login in the URL of the proxy."
        else:
            todo = (
                "Add the login to the URL of the proxy: http://USER:PASSWORD@HOST:PORT,"
                " special characters percent-encoded."
            )
        return f"{todo} {_SHORT_CUT}"


def proxy_for(url: str, environment: t.Mapping[str, str]) -> Proxy | None:
    """Return the proxy that an environment names for a URL, None for none, by the rules of Go's httpproxy and ALL_PROXY.

    Raise InputError if its value is malformed.
    """
    scheme, host, port = origin(url)
    names = [f"{scheme.upper()}_PROXY", f"{scheme}_proxy", "ALL_PROXY", "all_proxy"]
    if scheme == "http" and "REQUEST_METHOD" in environment:
        del names[0]  # the client of a CGI script can set it (httpoxy)
    found = next((name for name in names if environment.get(name)), "")
    if not found or is_loopback(host):
        return None
    exceptions = environment.get("NO_PROXY") or environment.get("no_proxy") or ""
    if any(_covers(entry, host, port) for entry in re.split(r"[,\s]+", exceptions.lower())):
        return None
    return Proxy.parse(found, environment[found])


def _covers(entry: str, host: str, port: int) -> bool:
    """Return whether an entry of NO_PROXY covers a host: ``*``, a range, or an address or domain with or without port."""
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
    # A domain with a dot in front covers its subdomains, not itself.
    domain = name[1:] if name.startswith("*.") else name
    return host == domain or host.endswith(f".{domain.lstrip('.')}")


def require_library(proxy: Proxy) -> None:
    """Raise DependencyError if a proxy uses SOCKS and PySocks is missing."""
    if proxy.scheme in _SOCKS:
        try:
            import socks  # noqa: F401
        except ImportError as exc:
            text = f"{proxy} uses SOCKS, which requires PySocks: {exc}"
            raise errors.DependencyError(text, library="PySocks") from exc


class NoAnswer(Exception):
    """Why a request has no answer, a hint, and how many retries it is worth, None for the usual number."""

    def __init__(self, text: str, hint: str = "", retries: int | None = None) -> None:
        super().__init__(text)
        self.hint = hint
        self.retries = retries

    @property
    def is_final(self) -> bool:
        """Return whether the cause applies to every request to the host."""
        return self.retries is not None

    def limit(self, retries: int) -> int:
        """Return how many of these retries may help."""
        return retries if self.retries is None else min(retries, self.retries)

    def error(self, subject: str, attempts: int) -> errors.UnreachableError:
        """Return the error to raise after this many attempts; ``subject`` is the URL."""
        tried = f" ({attempts} attempts)" if attempts > 1 else ""
        return errors.UnreachableError(f"{subject}: {self}{tried}", self.hint)


def refused(proxy: Proxy, status: int, words: str) -> NoAnswer:
    """Return the failure of a request that a proxy answers instead of the host; ``words`` are its reason."""
    said = f" ({words})" if words else ""
    is_final = status < 500 and status not in (408, 425, 429)
    return NoAnswer(
        f"{proxy} answered {status}{said}", proxy.hint_for(status), 0 if is_final else None
    )


def failure_of(exc: BaseException, url: str, proxy: Proxy | None) -> NoAnswer:
    """Return why requests raised an exception for a URL."""
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
    """Return an exception and all its causes, the innermost first."""
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
    """Return whether the server ended a TLS connection; with OpenSSL 3, Python 3.9 has no exception for it, only a text."""
    return any(isinstance(cause, _HUNG_UP) or "_EOF_" in str(cause) for cause in causes(exc))


def reason(exc: BaseException) -> str:
    """Return the innermost cause in words; those of requests repeat the query of the URL."""
    seen = causes(exc)
    for error in seen:
        # urllib3 raises CertificateError for a wrong host name.
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


class Trust(t.NamedTuple):
    """How a host is trusted in TLS, and which client certificates it is shown; all paths are of PEM files."""

    validate_certs: bool = True
    ca_paths: tuple[str, ...] = ()  # in addition to the authorities of the system
    client_certs: tuple[tuple[str, str | None], ...] = ()  # certificate and key, None for one file


DEFAULT_TRUST = Trust()
# Returns the trust that is configured for the host of a URL by its name, None for none.
TrustOf = t.Callable[[str], t.Optional[Trust]]


def tls_context(trust: Trust) -> ssl.SSLContext:
    """Return the context of connections; raise InputError for a file that cannot be used."""
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # urllib3 compares the names itself. With those of OpenSSL, urllib3 1.26 cannot connect to an address.
    context.check_hostname = False
    bundle = os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE")
    if bundle:
        _load(context.load_verify_locations, "CA bundle", bundle)
    if not trust.validate_certs:
        context.verify_mode = ssl.CERT_NONE
    for path in trust.ca_paths if trust.validate_certs else ():
        _load(context.load_verify_locations, "ca_path", path)
    for pair in trust.client_certs:
        _load_client(context, *pair)
    return context


def tls_hint(exc: BaseException, host: str, is_foreign: bool) -> str:
    """Return what to do about a failed TLS connection, "" if unknown; a foreign host is not a registry of the task."""
    text = str(exc)
    if any(word in text for word in NOT_TLS):
        todo = (
            "ask the operator of the registry"
            if is_foreign
            else "set plain_http if that is intended"
        )
        return f"{host} seems to use plain http: {todo}."
    if not _UNKNOWN_AUTHORITY.search(text):
        return ""
    where = f" in an entry of registries for {host}" if is_foreign else ""
    return f"Set ca_path to the CA of {host}{where}."


def _load(load: t.Callable[[str], None], what: str, path: str) -> None:
    try:
        load(path)
    except OSError as exc:  # ssl.SSLError is one
        why = "contains no PEM certificate"
        if not isinstance(exc, ssl.SSLError) or _MARK.search(_text_of(path)):
            why = f"cannot be used: {exc.strerror or exc}"
        raise errors.InputError(f"{what} {path}: {why}") from exc


def _load_client(context: ssl.SSLContext, cert: str, key: str | None) -> None:
    """Load a client certificate; raise InputError, which names the cause that OpenSSL does not."""

    def refuse() -> str:  # otherwise OpenSSL would ask at a terminal
        raise errors.InputError(
            f"client_cert {cert}: the key in {key or cert} is encrypted",
            "Use a key without a passphrase that only its owner can read.",
        )

    try:
        context.load_cert_chain(cert, key, refuse)
    except OSError as exc:
        where, why, hint = f"client_cert {cert}", f"cannot be used: {exc.strerror or exc}", ""
        if not isinstance(exc, ssl.SSLError):
            readable = os.access(cert, os.R_OK)
            where += f": its key {key}" if key and readable else ""
        elif exc.reason == "KEY_VALUES_MISMATCH":
            why = f"does not belong to the key in {key or cert}"
        elif not _MARK.search(_text_of(cert)):
            why = "contains no PEM certificate"
        elif b"PRIVATE KEY-----" not in _text_of(key or cert):
            why = f"its key is not in {key or cert}"
            hint = "Set client_key to the file with the private key."
        raise errors.InputError(f"{where}: {why}", hint) from exc


def _text_of(path: str) -> bytes:
    """Return the first MiB of a file, for the choice of an error message; b"" if it is unreadable."""
    with contextlib.suppress(OSError), open(path, "rb") as file:
        return file.read(1024 * 1024)
    return b""
