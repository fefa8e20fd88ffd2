# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pulls from embedded registries as the module makes them, on a clock that does not wait.

``Puller.pull`` has to work, ``Puller.fails`` has to end in an error that keeps what errors promise,
``Puller.attempt`` may do either::

    with serving(IMAGE, faults=[Fault(path=LAYER, truncate_at=10)]) as registry:
        puller = Puller(tmp_path, registry)
        puller.pull()
        assert trail(registry) == [*PLAIN, "GET layer"]
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import random
import re
import socket
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Callable

from ansible_collections.lockstep.images.plugins.module_utils._image import copy_blob as copying
from ansible_collections.lockstep.images.plugins.module_utils._image.errors import LockstepError
from ansible_collections.lockstep.images.plugins.module_utils._image.manifest import (
    OCI_MANIFEST,
    Descriptor,
)
from ansible_collections.lockstep.images.plugins.module_utils._image.names import (
    Digest,
    Platform,
    Reference,
)
from ansible_collections.lockstep.images.plugins.module_utils._operations.naming import SetName
from ansible_collections.lockstep.images.plugins.module_utils._operations.pull import plan_pull
from ansible_collections.lockstep.images.plugins.module_utils._plan import Outcome, Plan
from ansible_collections.lockstep.images.plugins.module_utils._registry.client import (
    HttpClient,
    HttpOptions,
)
from ansible_collections.lockstep.images.plugins.module_utils._registry.connect import Trust
from ansible_collections.lockstep.images.plugins.module_utils._registry.credentials import (
    Credentials,
)
from ansible_collections.lockstep.images.plugins.module_utils._registry.hostfiles import HostFiles
from ansible_collections.lockstep.images.plugins.module_utils._registry.mirrors import (
    Endpoint,
    HostConfig,
)
from ansible_collections.lockstep.images.plugins.module_utils._registry.pacing import Clock
from ansible_collections.lockstep.images.plugins.module_utils._registry.registries import Registries
from ansible_collections.lockstep.images.plugins.module_utils._registry.urls import api_host
from ansible_collections.lockstep.images.plugins.module_utils._store.reader import IndexEntry
from ansible_collections.lockstep.images.plugins.module_utils._store.store import ImageStore

from .images import image, layer, push
from .plans import FETCHING_KEYS, execute, fetch_options
from .publish import Item
from .registry import Registry

REPOSITORY = "demo/app"
IMAGE = image([layer({"opt/app": random.Random(1).randbytes(20_000)})])
"""An image of one layer that does not compress: its blob has a little over 20,000 bytes."""

LAYER = IMAGE.layers[0].digest
CONFIG = IMAGE.config_digest
BLOB = IMAGE.layers[0].blob
PLAIN = ["HEAD tag", "GET manifest", "GET config", "GET layer"]
"""What a pull of IMAGE asks for when nothing is in its way, and its tag has moved."""

_OTHER = IndexEntry(Descriptor(OCI_MANIFEST, Digest.of(b"other"), 5))

USER, PASSWORD = "robot", "pass:w0rd/with=marks"
LOGIN = Credentials(USER, PASSWORD)
USERS = {USER: PASSWORD}
SIGNATURE = "X-Amz-Signature=5ec7e75ec7e7"
"""Part of a query that must never be in a message."""


class FakeClock(Clock):
    """A clock that moves only when somebody sleeps; ``slept`` are the seconds of each time."""

    def __init__(self, start: float = 1_767_323_045.0) -> None:
        self.time = start
        self.slept: list[float] = []

    def now(self) -> float:
        """Seconds since the epoch."""
        return self.time

    date = now  # type: ignore[assignment]

    def sleep(self, seconds: float) -> None:
        """Be ``seconds`` later."""
        self.slept.append(seconds)
        self.time += seconds

    def jitter(self) -> float:
        """None of it."""
        return 1.0


class Puller:
    """Pulls into the store below ``directory``; the secrets of ``registries`` must not leak.

    ``login`` is for the first registry, ``logins`` are by ``host:port``; ``settings`` are the option
    ``registries``, ``files`` those of the host; ``options`` are those of ``HttpOptions``, and how the registries are trusted.

    Each tag that is pulled stands for another image in the store before, so that every kind of request is sent. If
    ``is_new``, it is not in the store.
    """

    def __init__(
        self,
        directory: Path,
        *registries: Registry,
        login: Credentials | None = None,
        logins: Mapping[str, Credentials] | None = None,
        clock: FakeClock | None = None,
        settings: Sequence[Mapping[str, Any]] = (),
        rate_limit_floor: int = 0,
        files: HostFiles | None = None,
        is_new: bool = False,
        **options: Any,
    ) -> None:
        self.is_new = is_new
        self.clock = clock or FakeClock()
        self.registries = registries
        self.logins = dict(logins or {})
        if login:
            self.logins[registries[0].address] = login
        config = HostConfig(origin_of(options), settings, files)
        self.http = http_client(self.clock, config, **{"timeout": 30.0, "retries": 2, **options})
        self.sources = Registries(
            self.http,
            lambda registry, _repository: self.logins.get(registry),
            config,
            rate_limit_floor,
        )
        self.store = ImageStore(str(directory / "store"))

    def pull(self, *names: str, **how: Any) -> Outcome:
        """Pull and return the outcome; without ``names``, the image that ``serving`` serves."""
        outcome = self.carry_out(*names, **how)
        if outcome.failure:
            raise outcome.failure
        assert self.left_behind() == []
        return outcome

    def carry_out(self, *names: str, **how: Any) -> Outcome:
        """Pull and return the outcome, whether or not some of its images failed."""
        references = self._references(names, not how.get("all_tags"))
        with self.store.hold():
            outcome = execute(self._plan(references, **how))
        self.check_blobs()
        return outcome

    def fails(self, *names: str, **how: Any) -> LockstepError:
        """Pull, and return the error it ends with, once it is seen to keep its promises."""
        error = self.attempt(*names, **how)
        if error is None:
            raise AssertionError("the pull worked")
        return error

    def attempt(self, *names: str, **how: Any) -> LockstepError | None:
        """Pull, and return the error if it ends with one; either way nothing wrong is stored."""
        references = self._references(names, not how.get("all_tags"))
        before, names_before, applying = self.tree(), self.store.names(), False
        try:
            with self.store.hold():
                plan = self._plan(references, **how)
                applying = plan.changed
                outcome = execute(plan)
                if outcome.failure:
                    raise outcome.failure
        except LockstepError as exc:
            self._check_message(exc)
            assert self.store.names() == names_before
            assert [name for name in self.left_behind() if not is_part(name)] == []
            if not applying:
                assert self.tree() == before
            self.check_blobs()
            return exc
        self.check_blobs()
        assert self.left_behind() == []
        return None

    def check_blobs(self) -> None:
        """Every blob is what its name says."""
        for path, content in self.tree().items():
            if path.startswith("blobs/"):
                algorithm, encoded = path.split("/")[1:]
                assert hashlib.new(algorithm, content).hexdigest() == encoded

    def tree(self) -> dict[str, bytes]:
        """Every file of the store by its path, less those in ``.staging``."""
        root = Path(self.store.path)
        files = (path for path in root.rglob("*") if path.is_file())
        found = {path.relative_to(root).as_posix(): path.read_bytes() for path in files}
        return {name: raw for name, raw in found.items() if not name.startswith(".staging/")}

    def left_behind(self) -> list[str]:
        """What is in ``.staging`` besides locks."""
        staging = Path(self.store.path, ".staging")
        found = staging.iterdir() if staging.exists() else ()
        return sorted(path.name for path in found if path.suffix != ".lock")

    def holds(self, digest: str) -> bool:
        """Whether the store has a blob of that digest."""
        return f"blobs/{digest.replace(':', '/')}" in self.tree()

    def _references(self, names: tuple[str, ...], have_tags: bool) -> list[Reference]:
        """Return the references to pull, whose tags are in the store from now on."""
        texts = names or (f"{self.registries[0].address}/{REPOSITORY}:1.0",)
        references = [Reference.parse(text) for text in texts]
        known = self.store.names()
        new = {one.store_name for one in references if one.tag}.difference(known)
        if new and have_tags and not self.is_new:
            with self.store.hold():
                self.store.prepare()
                self.store.set_names([SetName(name, _OTHER, None, self.store) for name in new])
        return references

    def _plan(self, references: Sequence[Reference], **how: Any) -> Plan:
        platforms = [Platform.parse("linux/amd64")]
        options = fetch_options({"workers": 2, **how})
        more = {key: how[key] for key in how if key not in FETCHING_KEYS}
        return plan_pull(references, platforms, self.store, self.sources, options, **more)

    def _check_message(self, error: LockstepError) -> None:
        text = f"{error} {error.hint} {error.details}"
        assert text.isprintable(), repr(text)
        assert len(str(error)) < 600
        for secret in self.secrets():
            assert secret not in text

    def secrets(self) -> set[str]:
        """Return everything that must not be shown: passwords, tokens, their encoded forms, signatures."""
        found = {SIGNATURE}
        for who in self.logins.values():
            pair = f"{who.username}:{who.password}".encode()
            found |= {who.password, who.identity_token, who.registry_token}
            found.add(base64.b64encode(pair).decode("ascii"))
        for registry in self.registries:
            headers = [request.headers.get("authorization", "") for request in registry.requests]
            found |= {header.partition(" ")[2] for header in headers}
        return found - {""}


def is_part(name: str) -> bool:
    """Return whether a file in ``.staging`` is one that a later run resumes."""
    return re.fullmatch(r"sha\d+-[0-9a-f]+\.(part|journal)", name) is not None


def http_client(clock: Clock, config: HostConfig | None = None, **options: Any) -> HttpClient:
    """A client with the options it knows; the others are for ``origin_of``."""
    known = {name: value for name, value in options.items() if name in HttpOptions._fields}
    trust_of = config.trust if config else lambda _url: None
    return HttpClient(HttpOptions(**known), clock, trust_of)


def origin_of(options: Mapping[str, Any]) -> Callable[[str], Endpoint]:
    """Every registry as the options of a task describe it."""
    pair = (options.get("client_cert"), options.get("client_key"))
    trust = Trust(
        options.get("validate_certs", True),
        tuple(filter(None, [options.get("ca_path")])),
        (pair,) if pair[0] else (),
    )
    scheme = "http" if options.get("plain_http") else ""
    return lambda name: Endpoint(api_host(name), scheme, trust=trust, name=name)


@contextlib.contextmanager
def serving(item: Item = IMAGE, **options: Any) -> Iterator[Registry]:
    """An embedded registry that has ``item`` as ``demo/app:1.0``."""
    with Registry(**options) as registry:
        push(registry, REPOSITORY, item, "1.0")
        yield registry


def trail(registry: Registry) -> list[str]:
    """What was asked for, in order: ``GET layer``, ``HEAD tag``, ``POST token`` and so on."""
    return [f"{request.method} {_kind_of(request.path)}" for request in registry.requests]


def _kind_of(path: str) -> str:
    for pattern, kind in (
        (r"/manifests/sha\d+:", "manifest"),
        (r"/manifests/", "tag"),
        (CONFIG, "config"),
        (LAYER, "layer"),
        (r"/blobs/", "blob"),
        (r"/tags/list$", "tags"),
        (r"^/token", "token"),
        (r"^/v2/$", "api"),
    ):
        if re.search(pattern, path):
            return kind
    return path


def spans(registry: Registry, digest: str) -> list[tuple[int, int] | None]:
    """Return the requested ranges (first, end) of a blob, in order; None for the whole blob.

    Each has to have an end: where it is open, a connection is lost.
    """
    found: list[tuple[int, int] | None] = []
    for request in registry.requests:
        if request.method == "GET" and request.path.endswith(digest):
            text = request.headers.get("range")
            match = re.fullmatch(r"bytes=(\d+)-(\d+)", text) if text else None
            assert match or not text, text
            found.append((int(match.group(1)), int(match.group(2)) + 1) if match else None)
    return found


def sent(registry: Registry, digest: str) -> int:
    """How many bytes of a blob went over the wire."""
    return sum(one.bytes_sent for one in registry.requests if one.path.endswith(digest))


def authorized(registry: Registry) -> list[bool]:
    """For every request, whether it carried an Authorization."""
    return ["authorization" in request.headers for request in registry.requests]


def cut_always(monkeypatch: Any) -> None:
    """Let small blobs be cut as large ones are, as if their bytes took long."""
    monkeypatch.setattr(copying, "_MEASURED", 4096)
    monkeypatch.setattr(copying, "_PAYS", 0.0)
    monkeypatch.setattr(copying, "_PIECE_SECONDS", 0.0)


def resolve(monkeypatch: Any, *names: str) -> None:
    """Let these host names stand for 127.0.0.1; nothing else is looked up any more."""
    true = socket.getaddrinfo

    def lookup(host: Any, *args: Any, **kwargs: Any) -> Any:
        name = host.decode() if isinstance(host, bytes) else host
        if name in names:
            host = "127.0.0.1"
        elif re.search("[g-z]", name):
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return true(host, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", lookup)
