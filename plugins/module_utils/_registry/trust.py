# SPDX-License-Identifier: GPL-3.0-or-later
"""How hosts prove themselves in TLS, and we to them. What connects is in transport.py."""

from __future__ import annotations

import contextlib
import os
import re
import ssl
import typing as t

from .._image import errors
from .connect import NOT_TLS

_MARK = re.compile(b"-----BEGIN (?:TRUSTED |X509 )?CERTIFICATE-----")
# What OpenSSL says of an authority that it does not know, by the version. Another name or a date is no matter of that.
_UNKNOWN_AUTHORITY = re.compile("self.signed|unable to (?:get|verify)")


class Trust(t.NamedTuple):
    """How a host proves itself in TLS, and we to it: PEM files; pairs of certificate and key, None for one file."""

    validate_certs: bool = True
    ca_paths: tuple[str, ...] = ()
    client_certs: tuple[tuple[str, str | None], ...] = ()


DEFAULT_TRUST = Trust()
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
        _load_client(context, *pair)
    return context


def tls_hint(exc: BaseException, host: str, is_stranger: bool) -> str:
    """What to do about a TLS connection that failed; a stranger is no registry of the task, but one led to it."""
    text = str(exc)
    if any(word in text for word in NOT_TLS):
        todo = "ask whoever names it as https" if is_stranger else "set plain_http if that is meant"
        return f"{host} seems to speak plain http: {todo}."
    if not _UNKNOWN_AUTHORITY.search(text):
        return ""
    where = f" in an entry of registries for {host}" if is_stranger else ""
    return f"Give the CA of {host} as ca_path{where}."


def _load(load: t.Callable[[str], None], what: str, path: str) -> None:
    try:
        load(path)
    except OSError as exc:  # ssl.SSLError is one
        why = "holds no certificate in PEM form"
        if not isinstance(exc, ssl.SSLError) or _MARK.search(_text_of(path)):
            why = f"cannot be used: {exc.strerror or exc}"
        raise errors.InputError(f"{what} {path}: {why}") from exc


def _load_client(context: ssl.SSLContext, cert: str, key: str | None) -> None:
    """Show a client certificate to servers; or InputError, which says what OpenSSL does not."""

    def refuse() -> str:  # else OpenSSL would ask at a terminal
        raise errors.InputError(
            f"client_cert {cert}: the key in {key or cert} is encrypted",
            "Give a key without a passphrase, which its owner alone can read.",
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
            why = "holds no certificate in PEM form"
        elif b"PRIVATE KEY-----" not in _text_of(key or cert):
            why = f"its key is not in {key or cert}"
            hint = "Give the file with the private key as client_key."
        raise errors.InputError(f"{where}: {why}", hint) from exc


def _text_of(path: str) -> bytes:
    """The text of a file that OpenSSL has read, as far as it matters for a message."""
    with contextlib.suppress(OSError), open(path, "rb") as file:
        return file.read(1024 * 1024)
    return b""
