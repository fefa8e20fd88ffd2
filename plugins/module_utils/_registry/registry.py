# SPDX-License-Identifier: GPL-3.0-or-later
"""One registry, and the requests to it."""

from __future__ import annotations

import functools
import json
import re
import threading
import typing as t

from .._image import errors
from .challenge import Authorizer, Challenge, parse_challenges
from .client import HttpClient, Identity, is_refusal_elsewhere
from .connect import DEFAULT_TRUST
from .credentials import Credentials
from .mirrors import Endpoint
from .pacing import RateLimit
from .response import Response
from .urls import (
    api_path,
    is_loopback,
    is_same_host,
    next_page,
    origin,
    rate_limit,
    registry_at,
    shown_url,
    warning_text,
)

_MAX_ERROR = 64 * 1024
_MAX_PAGE = 4 * 1024 * 1024
_MAX_WARNINGS = 10
# At most this many registries in a chain of redirects may ask for a login.
_MAX_CHALLENGERS = 3
# S3, Google and Azure give the reason of a refusal in this code. Nothing else of their answer is safe to repeat.
_STORE_CODE = re.compile(rb"<Error>.{0,200}?<Code>([A-Za-z]{3,60})</Code>", re.DOTALL)
# Servers that handle unnecessary range requests badly (RTFACT-13797).
_WHOLE_ONLY = re.compile("artifactory", re.IGNORECASE)
_REFUSALS: dict[int, tuple[type[errors.RegistryError], str]] = {
    401: (errors.AuthenticationError, "authentication is required"),
    403: (errors.DeniedError, "access is denied"),
    404: (errors.NotFoundError, "not found"),
}
_MALFORMED = (ValueError, LookupError, TypeError, AttributeError, RecursionError)
FindCredentials = t.Callable[[str, str], t.Optional[Credentials]]
T = t.TypeVar("T")


class Registry:
    """One registry or mirror of a task; any thread may use it. ``find`` returns the login for a registry and a repository."""

    def __init__(
        self,
        http: HttpClient,
        endpoint: Endpoint,
        find: FindCredentials,
        is_mirror: bool = False,
        rate_limit_floor: int = 0,
    ) -> None:
        self.host = endpoint.host
        self.name = endpoint.name or endpoint.host
        self.is_mirror = is_mirror
        self.has_ranges = True
        self.failure = ""  # why this mirror is skipped
        self.rate_limit = RateLimit(self.name, rate_limit_floor)
        self.bytes = self.manifests = 0  # served as a mirror
        self._http = http
        self._endpoint = endpoint
        self._find = find
        self._first_request = threading.RLock()
        self._lock = threading.Lock()
        self._has_answered = False
        self._unreachable: errors.RegistryError | None = None
        self._warnings: list[str] = []
        self._guests: dict[tuple[str, str, int], Authorizer] = {}

    @property
    def warnings(self) -> list[str]:
        """Return the warnings of the registry and of its logins so far."""
        known = self._authorizers if self._has_answered else ()
        return self._warnings + [text for authorizer in known for text in authorizer.warnings]

    @property
    def base_url(self) -> str:
        """Return ``scheme://host[:port]`` of the API. The first call may connect, to choose between https and http."""
        return self._authorizer.base_url

    @property
    def login_scheme(self) -> str:
        """Return how the registry asked for a login: ``basic``, ``bearer``, or "" if it did not."""
        return self._authorizer.scheme

    def request_scopes(self, repository: str, scopes: t.Sequence[str]) -> None:
        """Request these scopes in tokens for a repository, in this order, from the next request on."""
        self._authorizer.request_scopes(repository, scopes)

    def request(
        self,
        method: str,
        path: str,
        repository: str,
        headers: t.Mapping[str, str] | None = None,
        retries: int | None = None,
        body: t.Any = None,
    ) -> Response:
        """Send a request and return the answer, of any status but one that a login or a redirect can resolve.

        ``path`` starts after ``/v2/``, or is a whole URL. ``repository`` chooses the login and the scopes, "" for those
        of the registry itself. After a 401, only a ``body`` of bytes is sent again. Raise AuthenticationError if the
        login is missing or refused, UnreachableError or TlsError without an answer.
        """
        if retries is None and self.is_mirror:
            retries = min(1, self._http.options.retries)  # another server can be asked instead
        send = functools.partial(self._request, method, path, repository, headers, retries, body)
        if self._has_answered:
            return send()
        # The first request goes alone: it learns how to log in, and all threads use that.
        with self._first_request:
            if self._unreachable:  # no further time-out for each thread that waited here
                raise self._unreachable.copy()
            if not self._has_answered:
                try:
                    response = send()
                except (errors.UnreachableError, errors.TlsError) as exc:
                    self._unreachable = exc if self.is_mirror else None
                    raise
                self._has_answered = True
                return response
        return send()

    def backoff(self, attempt: int) -> bool:
        """Wait before retry ``attempt``, 0 for no wait; return False if there is no such retry.

        A mirror is retried once, as another server can be asked instead.
        """
        return not (self.is_mirror and attempt > 1) and self._http.backoff(attempt)

    def pages(
        self,
        path: str,
        repository: str,
        subject: str,
        parse: t.Callable[[bytes, str, str], t.Iterable[T]],
        size: int = 8 * _MAX_PAGE,
    ) -> set[T]:
        """Return the entries of all pages of a list (RFC 8288; distribution-spec v1.1, "Listing Tags").

        ``parse`` gets body, Content-Type and subject of each page. Raise ProtocolError for a list without an end, and
        what ``fail`` raises. A list may continue until ``size`` is used up: by its bytes, 300 bytes for each entry,
        which memory needs, and those of 150 more entries for each page.
        """
        found: set[T] = set()
        while size > 0:
            response = self.request("GET", path, repository)
            if response.status == 404 and found:
                raise errors.ProtocolError(f"{subject}: its next page is missing")
            if response.status != 200:
                self.fail(response, subject)
            raw = response.read(_MAX_PAGE, "list")
            new = set(parse(raw, response.header("Content-Type"), subject)) - found
            # A page without news is the start of a circle.
            size -= len(raw) + 300 * (len(new) + 150) if new else size
            found |= new
            path = next_page(response.header_values("Link"), response.url, self.base_url) or ""
            if not path:
                return found
        raise errors.ProtocolError(f"{subject}: its pages do not end")

    def count(self, size: int = 0, manifests: int = 0) -> None:
        """Count bytes and manifests that a mirror has served."""
        with self._lock:
            self.bytes += size
            self.manifests += manifests

    def give_up(self, exc: errors.LockstepError) -> None:
        """Skip a mirror for the rest of the task, with a warning: it is unreachable, or serves wrong content."""
        with self._lock:
            if not self.failure:
                self.failure = str(exc)
                self.warn_skipped(exc)

    def fail(self, response: Response, subject: str) -> t.NoReturn:
        """Close the response, and raise the error that its status means; it names the server that answered."""
        words, where = self.error_words(response), self.other_server(response)
        status = response.status
        response.close()
        through = f"through {response.proxy}" if response.proxy else ""
        said = "".join(f" ({text})" for text in (words, through) if text)
        at, hint = f" at {where}" if where else "", ""
        if where and "/v2/" not in response.url:
            hint = f"Ask the operator of {self.name}: it redirects to a server that does not serve this."
        elif where and status == 401:
            hint = self._login_hint(registry_at(response.url))
        if status in _REFUSALS:
            kind, what = _REFUSALS[status]
            login = self._authorizer.login_sent() if status == 403 and not where else ""
            what += f" to {login}" if login else ""
            raise kind(f"{subject}: {what}{at}{said}", hint)
        if status == 429:
            left = rate_limit("", response.header("RateLimit-Remaining")).get("remaining")
            seconds = response.retry_after(self._http.clock.date())
            remaining = "" if left is None else f", {left} left"
            wait = f", it asks to wait {seconds:.0f} s" if seconds else ""
            raise errors.RateLimitError(
                f"{subject}: too many requests to {where or self.name}{remaining}{wait}{said}"
            )
        if status == 206:
            raise errors.ProtocolError(f"{subject}: answered{at} with a part, not the whole")
        server = f"{where}," if where else self.name
        error = errors.RegistryError(
            f"{subject}: {server} answered with status {status}{said}", hint, status=status
        )
        error.code = words.partition(":")[0]
        raise error

    def other_server(self, response: Response) -> str:
        """Return, in words, the server that answered after a redirect; "" for the registry itself."""
        if self._is_own(response.url):
            return ""
        return f"{errors.printable(shown_url(response.url), 250)}, to which {self.name} redirects"

    def error_words(self, response: Response) -> str:
        """Return code and message of an error, without secrets; of an object store the code, and "" for neither.

        The format is that of distribution-spec v1.1, "Error Codes".
        """
        try:
            raw = response.read(_MAX_ERROR, "error")
            code = _STORE_CODE.search(raw)
            if code:
                return code.group(1).decode("ascii")
            if not self._is_own(response.url) and "?" in response.url:
                return ""  # the answer could repeat the signed URL of the request
            first = json.loads(raw.decode("utf-8"))["errors"][0]
            words = ": ".join(
                first[key] for key in ("code", "message") if isinstance(first.get(key), str)
            )
        except (errors.LockstepError, *_MALFORMED):
            return ""
        return errors.printable(self._redact(words))

    def warn(self, text: str) -> None:
        """Keep a warning for the user, once; only the first ten are kept."""
        if text not in self._warnings and len(self._warnings) < _MAX_WARNINGS:
            self._warnings.append(text)

    def warn_skipped(self, exc: errors.LockstepError) -> None:
        """Warn that a mirror is not used, and why."""
        self.warn(f"mirror {self.host} is skipped: {exc}")

    @functools.cached_property
    def _authorizer(self) -> Authorizer:
        """Return the authorizer of the registry itself; it knows the URL."""
        endpoint, scheme = self._endpoint, self._endpoint.scheme
        if not scheme:
            may_be_plain = endpoint.insecure or is_loopback(self.host)
            scheme = "http" if may_be_plain and not self._http.speaks_tls(self.host) else "https"
        login = endpoint.login
        stored = functools.partial(self._find, self.name)
        find = (lambda _repository: login) if login else stored
        url = f"{scheme}://{self.host}"
        authorizer = Authorizer(self._http, self.name, url, find, endpoint.trust)
        authorizer.hide(value for _name, value in endpoint.headers)
        return authorizer

    def _url(self, path: str) -> str:
        if "://" in path:
            return path
        url = f"{self.base_url}{self._endpoint.root}/{path}"
        namespace = self._endpoint.namespace
        return f"{url}{'&' if '?' in url else '?'}ns={namespace}" if namespace else url

    def _request(
        self,
        method: str,
        path: str,
        repository: str,
        headers: t.Mapping[str, str] | None,
        retries: int | None,
        body: t.Any,
    ) -> Response:
        url, is_fresh = self._url(path), False
        sent: dict[tuple[Authorizer, str], str] = {}  # Authorization headers
        attempts: dict[Authorizer, int] = {}

        def identify(target: str) -> Identity:
            account = self._account_at(target, repository)
            if account and account not in sent:
                sent[account] = account[0].header(account[1])
            return self._identity(target, sent[account] if account else "")

        while True:
            response = self._http.request(
                method, url, headers, identify, body, body is None, retries
            )
            self._learn_from(response)
            account = self._account_at(response.url, repository, response.status == 401)
            if response.status == 401 and account and isinstance(body, (bytes, type(None))):
                authorizer, name = account
                attempts[authorizer] = attempts.get(authorizer, 0) + 1
                if len(attempts) > _MAX_CHALLENGERS:
                    return response
                response.close()
                challenges = parse_challenges(response.header_values("WWW-Authenticate"))
                challenges = challenges or self._challenges_of_api(response.url)
                refused = sent.get(account, "")
                sent[account] = authorizer.answer(challenges, name, refused, attempts[authorizer])
            elif not is_fresh and is_refusal_elsewhere(response, url):
                # A signed URL of an object store expires; only the registry can sign another.
                response.close()
                is_fresh = self._http.backoff(0)
            else:
                return response

    def _is_own(self, url: str) -> bool:
        return is_same_host(url, self.base_url)

    def _identity(self, url: str, authorization: str) -> Identity:
        """Return what to send to a URL; what is configured for the registry goes to its own origin only."""
        is_own = self._is_own(url)
        fields = dict(self._endpoint.headers) if is_own else {}
        if authorization:
            fields["Authorization"] = authorization
        return Identity(fields, self._endpoint.trust if is_own else None)

    @property
    def _authorizers(self) -> list[Authorizer]:
        return [self._authorizer, *list(self._guests.values())]

    def _redact(self, text: str) -> str:
        for authorizer in self._authorizers:
            text = authorizer.redact(text)
        return text

    def _account_at(
        self, url: str, repository: str, is_challenge: bool = False
    ) -> tuple[Authorizer, str] | None:
        """Return the authorizer for a URL and the repository that it logs in for there; None for no login.

        A registry to which this one redirects is known once it has asked for a login. An object store gets none.
        """
        if self._is_own(url):
            return self._authorizer, repository
        name, host = api_path(url)[1], origin(url)
        with self._lock:
            if name and is_challenge and host not in self._guests:
                self._guests[host] = self._guest(url)
            guest = self._guests.get(host)
        return (guest, name) if guest and name else None

    def _login_hint(self, name: str) -> str:
        return (
            f"Log in to {name} with lockstep.images.registry_login, or give its login in an entry of registries."
            f" A login for {self.name} is not sent there."
        )

    def _guest(self, url: str) -> Authorizer:
        """Return an authorizer for a registry to which this one redirects: it gets its own login only."""
        name, (scheme, host, _port) = registry_at(url), origin(url)
        is_private = scheme == "https" or is_loopback(host)

        def find(repository: str) -> Credentials | None:
            return self._find(name, repository) if is_private else None

        return Authorizer(
            self._http,
            f"{name}, to which {self.name} redirects",
            api_path(url)[0].partition("/v2/")[0],
            find,
            self._http.trust_of(url) or DEFAULT_TRUST,
            self._login_hint(name),
            self.base_url,
        )

    def _learn_from(self, response: Response) -> None:
        """Keep the warnings, the kind of server and the rate limit that an answer states."""
        for value in response.header_values("Warning"):
            text = errors.printable(self._redact(warning_text(value)), 500)
            if text:
                self.warn(f"{self.other_server(response) or self.name}: {text}")
        if not self._is_own(response.url) and not api_path(response.url)[1]:
            return  # an object store
        if _WHOLE_ONLY.search(response.header("Server")):
            self.has_ranges = False
        self.rate_limit.learn(response)

    def _challenges_of_api(self, url: str) -> list[Challenge]:
        """Return the challenges of the root of the API: gcr.io states them only there."""
        root = self._url("") if self._is_own(url) else api_path(url)[0]
        if url == root:
            return []
        response = self._http.request("GET", root, identify=lambda at: self._identity(at, ""))
        response.close()
        return parse_challenges(response.header_values("WWW-Authenticate"))
