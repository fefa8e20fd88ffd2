# SPDX-License-Identifier: GPL-3.0-or-later
"""How hosts prove themselves in TLS, and we to them. What connects is in transport.py."""

from __future__ import annotations

import os
import re
import ssl
import typing as t

from . import errors
from .connect import NOT_TLS

# What OpenSSL says of an authority that it does not know, by the version. Another name or a date is no matter of that.
_UNKNOWN_AUTHORITY = re.compile("self.signed|unable to (?:get|verify)")


class Trust(t.NamedTuple):
    """How a host proves itself in TLS, and we to it: PEM files; pairs of certificate and key, None for one file."""

    validate_certs: bool = True
    ca_paths: tuple[str, ...] = ()
    client_certs: tuple[tuple[str, str | None], ...] = ()


STRANGER = Trust()
# The trust that is configured for the host of a URL by its name, None for none.
TrustOf = t.Callable[[str], t.Optional[Trust]]


def tls_context(trust: Trust) -> ssl.SSLContext:
    """Or InputError for a file that cannot be used."""
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # urllib3 compares the names itself; left to OpenSSL, urllib3 1.26 cannot speak to an address.
    context.check_hostname = False
    bundle = os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE")
    if bundle:
        _load(context.load_verify_locations, "CA bundle", bundle)
    if not trust.validate_certs:
        context.verify_mode = ssl.CERT_NONE
    for path in trust.ca_paths if trust.validate_certs else ():
        _load(context.load_verify_locations, "ca_path", path)
    for pair in trust.client_certs:
        _load(context.load_cert_chain, "client_cert", *pair)
    return context


def tls_hint(exc: BaseException, host: str, is_stranger: bool) -> str:
    """What to do about a TLS connection that failed; a stranger is no registry of the task, but one led to it."""
    text = str(exc)
    if any(word in text for word in NOT_TLS):
        return "The host seems to speak plain http: set plain_http if that is meant."
    if not _UNKNOWN_AUTHORITY.search(text):
        return ""
    where = f" in an entry of registries for {host}" if is_stranger else ""
    return f"Give the CA of {host} as ca_path{where}."


def _load(load: t.Callable[..., None], what: str, *paths: str | None) -> None:
    try:
        load(*paths)
    except OSError as exc:  # ssl.SSLError is one
        raise errors.InputError(
            f"{what} {paths[0]}: cannot be used: {exc.strerror or exc}"
        ) from exc
