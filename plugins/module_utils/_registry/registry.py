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
from .credentials import Credentials
from .hosts import Endpoint, registry_at
from .http import HttpClient, Identity, is_refusal_elsewhere
from .response import Response
from .trust import DEFAULT_TRUST
from .urls import (
    api_path,
    is_loopback,
    is_same_host,
    next_page,
    origin,
    rate_limit,
    shown_url,
    warning_text,
)

_MAX_ERROR = 64 * 1024
_MAX_PAGE = 4 * 1024 * 1024
_MAX_PAGES = 1000
_MAX_ENTRIES = 100_000
_MAX_WARNINGS = 10
# So many registries may ask for a login one after the other, by redirects.
_MAX_CHALLENGERS = 3
# S3, Google and Azure say so why they refuse; of their words, nothing else is safe to repeat.
_STORE_CODE = re.compile(rb"<Error>.{0,200}?<Code>([A-Za-z]{3,60})</Code>", re.DOTALL)
# Servers that do not like to be asked for pieces without need (RTFACT-13797).
_WHOLE_ONLY = re.compile("artifactory", re.IGNORECASE)
_REFUSALS: dict[int, tuple[type[errors.RegistryError], str]] = {
    401: (errors.AuthenticationError, "authentication is required"),
    403: (errors.DeniedError, "access is denied"),
    404: (errors.NotFoundError, "not found"),
}
FindCredentials = t.Callable[[str, str], t.Optional[Credentials]]
T = t.TypeVar("T")


class Registry:
    """One server and the requests to it."""

    def __init__(
        self,
        http: HttpClient,
        endpoint: Endpoint,
        find: FindCredentials,
        is_mirror: bool = False,
        rate_limit_floor: int = 0,
    ) -> None:
        self.http = http
        self.host = endpoint.host
        self.name = endpoint.name or endpoint.host
        self.is_mirror = is_mirror
        self.has_ranges = True
        self.failure = ""
        self.rate_limit: dict[str, t.Any] = {}
        self.bytes = self.manifests = 0  # served as a mirror
        self._endpoint = endpoint
        self._floor = rate_limit_floor
        self._find = find
        self._first = threading.RLock()
        self._lock = threading.Lock()
        self._settled = False
        self._dead: errors.RegistryError | None = None
        self._has_looked = False
        self._warnings: list[str] = []
        self._guests: dict[tuple[str, str, int], Authorizer] = {}

    @property
    def warnings(self) -> list[str]:
        known = self._authorizers if self._settled else ()
        return self._warnings + [text for one in known for text in one.warnings]

    @functools.cached_property
    def authorizer(self) -> Authorizer:
        """Its URL and login."""
        endpoint, scheme = self._endpoint, self._endpoint.scheme
        if not scheme:
            may_be_plain = endpoint.insecure or is_loopback(self.host)
            scheme = "http" if may_be_plain and not self.http.speaks_tls(self.host) else "https"
        login = endpoint.login
        own = functools.partial(self._find, self.name)
        find = (lambda _repository: login) if login else own
        url = f"{scheme}://{self.host}"
        authorizer = Authorizer(self.http, self.name, url, find, endpoint.trust)
        authorizer.hide(value for _name, value in endpoint.headers)
        return authorizer

    def request(
        self,
        method: str,
        path: str,
        repository: str,
        headers: t.Mapping[str, str] | None = None,
        retries: int | None = None,
        body: t.Any = None,
    ) -> Response:
        """Send a request, logged in as far as wanted; ``path`` starts behind ``/v2/``, or is a whole URL.

        Only a ``body`` of bytes is sent again after a 401.
        """
        if retries is None and self.is_mirror:
            # Where there is another to ask, patience only delays.
            retries = min(1, self.http.options.retries)
        if not self._settled:
            with self._first:
                if self._dead:  # not another time-out for each thread that waited here
                    raise self._dead.copy()
                if not self._settled:
                    try:
                        response = self._request(method, path, repository, headers, retries, body)
                    except (errors.UnreachableError, errors.TlsError) as exc:
                        self._dead = exc if self.is_mirror else None
                        raise
                    self._settled = True
                    return response
        return self._request(method, path, repository, headers, retries, body)

    def pages(
        self,
        path: str,
        repository: str,
        subject: str,
        parse: t.Callable[[bytes, str, str], t.Iterable[T]],
    ) -> set[T]:
        """The entries of all pages of a list; ``parse`` gets body, Content-Type and subject of each."""
        found: set[T] = set()
        url: str | None = path
        for _page in range(_MAX_PAGES):
            response = self.request("GET", url or "", repository)
            if response.status == 404 and found:
                raise errors.ProtocolError(f"{subject}: a page that it names is not there")
            if response.status != 200:
                self.fail(response, subject)
            before = len(found)
            raw = response.read(_MAX_PAGE, "list")
            found.update(parse(raw, response.header("Content-Type"), subject))
            links = response.header_values("Link")
            url = next_page(links, response.url, self.authorizer.base_url)
            if not url:
                return found
            if len(found) == before or len(found) > _MAX_ENTRIES:
                break
        raise errors.ProtocolError(f"{subject}: the pages of the list do not end")

    def spend_pull(self, look: t.Callable[[], Response]) -> None:
        """Count the read of a manifest; or RateLimitError before the last pulls are gone. ``look`` costs none."""
        if not self._floor:
            return
        with self._first:  # who comes second waits for what is seen
            if not self._has_looked and not self.rate_limit:
                self._has_looked = True
                look().close()
        with self._lock:
            left = self.rate_limit.get("remaining")
            if left is not None and left <= self._floor:
                raise errors.RateLimitError(
                    f"{self.name}: {left} pulls are left, and rate_limit_floor keeps {self._floor}",
                    "Wait until the limit is renewed, log in for a higher one, or pull from a mirror.",
                )
            if left is not None:
                self.rate_limit["remaining"] = left - 1

    def count(self, size: int = 0, manifests: int = 0) -> None:
        """Note what a mirror has served."""
        with self._lock:
            self.bytes += size
            self.manifests += manifests

    def give_up(self, exc: errors.LockstepError) -> None:
        """Ask it no more in this task: a mirror that is dead or lies."""
        with self._lock:
            if not self.failure:
                self.failure = str(exc)
                self.warn(f"mirror {self.host} is left out: {exc}")

    def fail(self, response: Response, subject: str) -> t.NoReturn:
        """Raise what a status says, in the name of who answered."""
        words, status, where = self.error_words(response), response.status, self.place(response)
        response.close()
        through = f"through {response.proxy}" if response.proxy else ""
        said = "".join(f" ({text})" for text in (words, through) if text)
        at, hint = f" at {where}" if where else "", ""
        if where and "/v2/" not in response.url:
            hint = (
                f"Ask whoever runs {self.name}: it redirects to a place that does not serve this."
            )
        elif where and status == 401:
            hint = (
                f"Log in to {registry_at(response.url)}. A login for {self.name} is not sent there."
            )
        if status in _REFUSALS:
            kind, what = _REFUSALS[status]
            login = self.authorizer.login_sent() if status == 403 and not where else ""
            what += f" to {login}" if login else ""
            raise kind(f"{subject}: {what}{at}{said}", hint)
        if status == 429:
            left = rate_limit("", response.header("RateLimit-Remaining")).get("remaining")
            seconds = response.retry_after(self.http.clock.date())
            remaining = "" if left is None else f", {left} left"
            wait = f", it asks to wait {seconds:.0f} s" if seconds else ""
            raise errors.RateLimitError(
                f"{subject}: too many requests, the rate limit of {where or self.name} is reached{remaining}{wait}{said}"
            )
        if status == 206:
            raise errors.ProtocolError(
                f"{subject}: answered{at} with a part although the whole was asked for"
            )
        who = f"{where}," if where else self.name
        error = errors.RegistryError(
            f"{subject}: {who} answered with status {status}{said}", hint, status=status
        )
        error.code = words.partition(":")[0]
        raise error

    def place(self, response: Response) -> str:
        """In words, who answered in place of the registry; "" for itself."""
        if self._is_own(response.url):
            return ""
        return f"{errors.printable(shown_url(response.url), 250)}, to which {self.name} redirects"

    def error_words(self, response: Response) -> str:
        """Code and message of an error (distribution-spec v1.1, "Error Codes"), the code of an object store, "" for none."""
        try:
            raw = response.read(_MAX_ERROR, "error")
            code = _STORE_CODE.search(raw)
            if code:
                return code.group(1).decode("ascii")
            if not self._is_own(response.url) and "?" in response.url:
                return ""  # who was asked with a signed URL could repeat it
            first = json.loads(raw.decode("utf-8"))["errors"][0]
            words = ": ".join(
                first[key] for key in ("code", "message") if isinstance(first.get(key), str)
            )
        except (
            errors.LockstepError,
            ValueError,
            LookupError,
            TypeError,
            AttributeError,
            RecursionError,
        ):
            return ""
        return errors.printable(self._redact(words))

    def warn(self, text: str) -> None:
        """Keep a warning, once."""
        if text not in self._warnings and len(self._warnings) < _MAX_WARNINGS:
            self._warnings.append(text)

    def _url(self, path: str) -> str:
        if "://" in path:
            return path
        url = f"{self.authorizer.base_url}{self._endpoint.root}/{path}"
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
        shown: dict[tuple[Authorizer, str], str] = {}
        attempts: dict[Authorizer, int] = {}

        def identity(where: str) -> Identity:
            who = self._login_at(where, repository)
            if who and who not in shown:
                shown[who] = who[0].header(who[1])
            return self._identity(where, shown[who] if who else "")

        while True:
            response = self.http.request(
                method, url, headers, identity, body, body is None, retries
            )
            self._note(response)
            who = self._login_at(response.url, repository, response.status == 401)
            if response.status == 401 and who and isinstance(body, (bytes, type(None))):
                attempts[who[0]] = attempts.get(who[0], 0) + 1
                if len(attempts) > _MAX_CHALLENGERS:
                    return response
                response.close()
                challenges = parse_challenges(response.header_values("WWW-Authenticate"))
                challenges = challenges or self._challenges_of_api(response.url)
                shown[who] = who[0].answer(challenges, who[1], shown.get(who, ""), attempts[who[0]])
            elif not is_fresh and is_refusal_elsewhere(response, url):
                # A signed URL of an object store expires; only the registry can sign another.
                response.close()
                is_fresh = self.http.backoff(0)
            else:
                return response

    def _is_own(self, url: str) -> bool:
        return is_same_host(url, self.authorizer.base_url)

    def _identity(self, url: str, authorization: str) -> Identity:
        """What is configured for the registry is for its own origin."""
        is_own = self._is_own(url)
        fields = dict(self._endpoint.headers) if is_own else {}
        if authorization:
            fields["Authorization"] = authorization
        return Identity(fields, self._endpoint.trust if is_own else None)

    @property
    def _authorizers(self) -> list[Authorizer]:
        return [self.authorizer, *list(self._guests.values())]

    def _redact(self, text: str) -> str:
        for one in self._authorizers:
            text = one.redact(text)
        return text

    def _login_at(
        self, url: str, repository: str, is_asked: bool = False
    ) -> tuple[Authorizer, str] | None:
        """Who logs in at a URL, and for which repository there; None for nobody.

        Registries to which this one redirects are known once they have asked for a login. An object store gets none.
        """
        if self._is_own(url):
            return self.authorizer, repository
        name, place = api_path(url)[1], origin(url)
        with self._lock:
            if name and is_asked and place not in self._guests:
                self._guests[place] = self._guest(url)
            guest = self._guests.get(place)
        return (guest, name) if guest and name else None

    def _guest(self, url: str) -> Authorizer:
        """A registry to which this one redirects: it sees the login kept for its own name, if any, and never ours."""
        name, (scheme, host, _port) = registry_at(url), origin(url)

        def find(repository: str) -> Credentials | None:
            is_private = scheme == "https" or is_loopback(host)
            return self._find(name, repository) if is_private else None

        return Authorizer(
            self.http,
            f"{name}, to which {self.name} redirects",
            api_path(url)[0].partition("/v2/")[0],
            find,
            self.http.trust_of(url) or DEFAULT_TRUST,
            f"Log in to {name} with lockstep.images.registry_login, or give username and password in an entry of"
            f" registries for it. A login for {self.name} is not sent there.",
            self.authorizer.base_url,
        )

    def _note(self, response: Response) -> None:
        """Take what an answer tells about the registry."""
        for value in response.header_values("Warning"):
            text = errors.printable(self._redact(warning_text(value)), 500)
            if text:
                self.warn(f"{self.place(response) or self.name}: {text}")
        if not self._is_own(response.url) and not api_path(response.url)[1]:
            return  # an object store
        if _WHOLE_ONLY.search(response.header("Server")):
            self.has_ranges = False
        told = rate_limit(
            response.header("RateLimit-Limit"), response.header("RateLimit-Remaining")
        )
        if told:
            with self._lock:
                # Answers overtake each other; a limit that is renewed meanwhile is no harm.
                known = self.rate_limit.get("remaining", told.get("remaining"))
                self.rate_limit.update(told)
                if known is not None:
                    self.rate_limit["remaining"] = min(known, told.get("remaining", known))
                source = response.header("Docker-RateLimit-Source")
                if source:
                    self.rate_limit["source"] = errors.printable(source, 64)

    def _challenges_of_api(self, url: str) -> list[Challenge]:
        """gcr.io says there only how to log in."""
        root = self._url("") if self._is_own(url) else api_path(url)[0]
        if url == root:
            return []
        response = self.http.request("GET", root, identity=lambda at: self._identity(at, ""))
        response.close()
        return parse_challenges(response.header_values("WWW-Authenticate"))
