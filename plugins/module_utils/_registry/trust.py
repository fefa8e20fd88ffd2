# SPDX-License-Identifier: GPL-3.0-or-later
"""TLS: how a host is trusted, and which certificate it is shown. http.py connects."""

from __future__ import annotations

import contextlib
import os
import re
import ssl
import typing as t

from .._image import errors
from .connect import NOT_TLS

_MARK = re.compile(b"-----BEGIN (?:TRUSTED |X509 )?CERTIFICATE-----")
# What the versions of OpenSSL report for an unknown authority; not for a wrong host name or date.
_UNKNOWN_AUTHORITY = re.compile("self.signed|unable to (?:get|verify)")


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
