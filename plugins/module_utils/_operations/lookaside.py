# SPDX-License-Identifier: GPL-3.0-or-later
"""Signatures by GPG, read from a web server or a directory (containers/image docs/signature-protocols.md)."""

from __future__ import annotations

import os
import typing as t
import urllib.parse

from .._image import errors
from .._image.names import Digest, Reference
from .._registry.client import HttpClient
from .._registry.urls import shown_url
from .._store.files import read_file
from .._trust.errors import SignatureListError, SignatureMissingError
from .._trust.gpgv import require_gpgv
from .._trust.lookaside import MOST_SIGNATURES, GpgTrust, signature_url
from .._trust.simple_signing import MAX_MESSAGE, message_evidence
from .signatures import Found, evidence_or_error, kept

_FILE = "file://"
Download = t.Callable[[str], t.Optional[bytes]]


class LookasideReader:
    """Reads the signatures of one repository under the URL ``base``, each once: number 1, 2 and so on until one is missing.

    ``download`` returns the content of a URL with https, None only if there is none.
    """

    def __init__(self, base: str, reference: Reference, download: Download) -> None:
        self._base = base
        self._reference = reference
        self._download = download
        self._known: dict[Digest, list[Found]] = {}

    def each(self, digest: Digest, _bundles_first: bool = False) -> t.Iterator[Found]:
        """Yield the signatures of a digest; an unreadable signature is an error in its place."""
        if digest not in self._known:
            self._known[digest] = list(kept(self._each(digest)))
        yield from self._known[digest]

    def _each(self, digest: Digest) -> t.Iterator[Found]:
        for number in range(1, MOST_SIGNATURES + 2):
            raw = self._read(signature_url(self._base, self._reference, digest, number))
            if raw is None:
                return
            if number > MOST_SIGNATURES:
                raise SignatureListError(
                    f"{digest} has more than {MOST_SIGNATURES} signatures, which is the most that are read"
                )
            yield evidence_or_error(message_evidence, raw, f"signature-{number}")

    def _read(self, url: str) -> bytes | None:
        if not url.startswith(_FILE):
            return self._download(url)
        try:
            return read_file(_path_of(url), MAX_MESSAGE)
        except FileNotFoundError:
            return None


def base_of(gpg: GpgTrust, reference: Reference) -> str:
    """Return the URL under which the signatures of an image are.

    Raise DependencyError without gpgv, SignatureMissingError if no place is configured for the image, InputError if its
    directory does not exist.
    """
    require_gpgv()
    base = gpg.base_of(reference)
    if base is None:
        raise SignatureMissingError(
            f"{reference}: the policy does not say where its signatures are",
            "Add its scope to lookaside.",
        )
    if base.startswith(_FILE) and not os.path.isdir(_path_of(base)):
        raise errors.InputError(
            f"{reference}: the directory of its signatures, {_path_of(base)}, does not exist"
        )
    return base


def _path_of(url: str) -> str:
    return urllib.parse.unquote(url[len(_FILE) :])


def download(http: HttpClient, url: str) -> bytes | None:
    """Return the content of a URL, None for status 404. No login is sent, and no redirect to http is followed.

    Raise RegistryError for every other answer: a server that refuses a request does not say that nothing is signed.
    """
    response = http.request("GET", url)
    if response.status == 200:
        return response.read(MAX_MESSAGE, "signature")
    response.close()
    if response.status == 404:
        return None
    raise errors.RegistryError(
        f"{shown_url(response.url)}: answered with status {response.status}, expected a signature",
        status=response.status,
    )
