# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Publish images: directly into an embedded registry, or over HTTP to any registry."""

from __future__ import annotations

import base64
import json
import re
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.client import HTTPResponse
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlencode, urljoin

if TYPE_CHECKING:
    from .registry import Registry

OCTETS = "application/octet-stream"


class Item(Protocol):
    """Content that can be published: an ``Image`` or an ``Index``."""

    @property
    def digest(self) -> str:
        """The digest of the topmost manifest."""

    def blobs(self) -> Iterator[tuple[str, bytes]]:
        """Yield digest and bytes of each blob."""

    def manifests(self) -> Iterator[tuple[str, str, bytes]]:
        """Yield digest, media type and bytes of each manifest, children first."""

    def descriptor(self) -> dict[str, Any]:
        """Return its entry in an index."""


def push(registry: Registry, repository: str, item: Item, *tags: str) -> str:
    """Add ``item`` to an embedded registry and tag it. Return its digest."""
    for digest, content in item.blobs():
        registry.add_blob(repository, content, digest)
    for digest, media_type, raw in item.manifests():
        registry.add(repository, raw, media_type, digest=digest)
    for tag in tags:
        registry.tag(repository, tag, item.digest)
    return item.digest


def upload(
    url: str,
    repository: str,
    item: Item,
    *tags: str,
    username: str | None = None,
    password: str | None = None,
    cafile: str | None = None,
) -> str:
    """Push ``item`` over HTTP to the registry at ``url`` (``http://host:port``). Return its digest.

    Do not send blobs that the registry has. Without ``tags``, the item has only its digest. Raise
    ``urllib.error.HTTPError`` if the registry refuses a request.
    """
    client = _Client(url, repository, username, password, cafile)
    for digest, content in item.blobs():
        client.blob(digest, content)
    for digest, media_type, raw in item.manifests():
        client.manifest(digest, media_type, raw)
        if digest == item.digest:
            for tag in tags:
                client.manifest(tag, media_type, raw)
    return item.digest


class _Client:
    """Push to one repository over http or https, with Basic or Bearer authentication."""

    def __init__(
        self,
        url: str,
        repository: str,
        username: str | None,
        password: str | None,
        cafile: str | None,
    ) -> None:
        self.base = f"{url.rstrip('/')}/v2/{repository}/"
        self.repository = repository
        context = ssl.create_default_context(cafile=cafile) if url.startswith("https") else None
        handlers: list[urllib.request.BaseHandler] = [urllib.request.ProxyHandler({})]
        if context is not None:
            handlers.append(urllib.request.HTTPSHandler(context=context))
        self.opener = urllib.request.build_opener(*handlers)
        self.basic: str | None = None
        if username is not None:
            pair = f"{username}:{password or ''}".encode()
            self.basic = f"Basic {base64.b64encode(pair).decode()}"
        self.authorization: str | None = None

    def blob(self, digest: str, content: bytes) -> None:
        """Upload one blob, unless the repository has it."""
        if self._exists(f"blobs/{digest}"):
            return
        with self._send("POST", "blobs/uploads/", b"") as answer:
            location = urljoin(self.base, answer.headers["Location"])
        mark = "&" if "?" in location else "?"
        address = f"{location}{mark}{urlencode({'digest': digest})}"
        self._send("PUT", address, content, OCTETS).close()

    def manifest(self, reference: str, media_type: str, raw: bytes) -> None:
        """Upload one manifest under a tag or digest."""
        self._send("PUT", f"manifests/{reference}", raw, media_type).close()

    def _exists(self, path: str) -> bool:
        try:
            self._send("HEAD", path).close()
        except urllib.error.HTTPError as exc:
            if exc.code == 404:
                return False
            raise
        return True

    def _send(
        self, method: str, path: str, data: bytes | None = None, media_type: str = OCTETS
    ) -> HTTPResponse:
        try:
            return self._once(method, path, data, media_type)
        except urllib.error.HTTPError as exc:
            challenge = exc.headers.get("WWW-Authenticate", "")
            if exc.code != 401 or (self.authorization is not None and "Basic" in challenge):
                raise
            exc.close()
            self._authorize(challenge)
        return self._once(method, path, data, media_type)

    def _once(self, method: str, path: str, data: bytes | None, media_type: str) -> HTTPResponse:
        request = urllib.request.Request(urljoin(self.base, path), data, method=method)
        if data is not None:
            request.add_header("Content-Type", media_type)
        if self.authorization is not None:
            request.add_header("Authorization", self.authorization)
        return self.opener.open(request, timeout=60)  # type: ignore[no-any-return]

    def _authorize(self, challenge: str) -> None:
        if not challenge.lower().startswith("bearer"):
            self.authorization = self.basic
            return
        given = dict(re.findall(r'(\w+)="([^"]*)"', challenge))
        scope = f"repository:{self.repository}:pull,push"
        query = urlencode({"service": given.get("service", ""), "scope": scope})
        request = urllib.request.Request(f"{given['realm']}?{query}")
        if self.basic is not None:
            request.add_header("Authorization", self.basic)
        with self.opener.open(request, timeout=60) as answer:
            document = json.loads(answer.read())
        self.authorization = f"Bearer {document.get('token') or document['access_token']}"
