# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Generate certificates for tests: authorities, servers (valid, wrong host, expired) and clients.

They are generated once per process, with the package ``cryptography`` or else with the program
``openssl``, in a directory that is removed when the process ends. Without either, ``available()``
returns False and everything else raises ``RuntimeError``.
"""

from __future__ import annotations

import atexit
import datetime
import functools
import ipaddress
import shutil
import ssl
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

try:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    HAVE_CRYPTOGRAPHY = True
except ImportError:
    HAVE_CRYPTOGRAPHY = False

LOOPBACK = ("127.0.0.1", "::1", "localhost")


@dataclass(frozen=True)
class CertificateFiles:
    """A certificate and its private key, as PEM files."""

    certificate: Path
    key: Path

    def server_context(
        self,
        client_ca: Path | None = None,
        maximum_version: ssl.TLSVersion | None = None,
    ) -> ssl.SSLContext:
        """Return the TLS context of a server with this certificate.

        With ``client_ca``, clients must present a certificate of that authority. With
        ``maximum_version``, versions that OpenSSL disables by default are also offered.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        if maximum_version is not None:
            context.set_ciphers("ALL:@SECLEVEL=0")
            context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
            context.maximum_version = maximum_version
        context.load_cert_chain(self.certificate, self.key)
        if client_ca is not None:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(client_ca)
        return context


@dataclass(frozen=True)
class Authority:
    """A certificate authority; clients trust its ``certificate``."""

    certificate: Path
    key: Path

    def issue(
        self,
        name: str,
        hosts: tuple[str, ...] = LOOPBACK,
        expired: bool = False,
        client: bool = False,
    ) -> CertificateFiles:
        """Issue a certificate for ``hosts`` (host names and addresses), or for a client."""
        files = CertificateFiles(_fresh(f"{name}.crt"), _fresh(f"{name}.key"))
        make = _issue_with_cryptography if HAVE_CRYPTOGRAPHY else _issue_with_openssl
        make(self, name, hosts, expired, client, files)
        return files


def available() -> bool:
    """Return whether this machine can generate certificates."""
    return HAVE_CRYPTOGRAPHY or shutil.which("openssl") is not None


@functools.cache
def authority(name: str = "ca") -> Authority:
    """Return the authority with that name, the same one for every call."""
    if not available():
        raise RuntimeError("neither the package cryptography nor the program openssl is installed")
    made = Authority(_fresh(f"{name}.crt"), _fresh(f"{name}.key"))
    if HAVE_CRYPTOGRAPHY:
        _authority_with_cryptography(name, made)
    else:
        _authority_with_openssl(name, made)
    return made


@functools.cache
def server() -> CertificateFiles:
    """Return a valid server certificate for loopback, issued by ``authority()``."""
    return authority().issue("server")


@functools.cache
def wrong_host() -> CertificateFiles:
    """Return a server certificate for another host, issued by ``authority()``."""
    return authority().issue("wrong-host", hosts=("elsewhere.example",))


@functools.cache
def expired() -> CertificateFiles:
    """Return a server certificate for loopback, issued by ``authority()``, that expired last year."""
    return authority().issue("expired", expired=True)


@functools.cache
def client() -> CertificateFiles:
    """Return a client certificate, issued by ``authority()``."""
    return authority().issue("client", client=True)


@functools.cache
def _directory() -> Path:
    made = tempfile.mkdtemp(prefix="certificates-")
    atexit.register(shutil.rmtree, made, ignore_errors=True)
    return Path(made)


def _fresh(name: str) -> Path:
    """Create an empty file in the directory of this process. Return its path."""
    number = sum(1 for _dummy in _directory().iterdir())
    path = _directory() / f"{number:03}-{name}"
    path.touch(mode=0o600)
    return path


def _validity(outdated: bool) -> tuple[datetime.datetime, datetime.datetime]:
    now = datetime.datetime.now(datetime.timezone.utc)
    if outdated:
        return now - datetime.timedelta(days=800), now - datetime.timedelta(days=400)
    return now - datetime.timedelta(days=2), now + datetime.timedelta(days=365)


def _usage(is_client: bool) -> Any:
    kind = x509.oid.ExtendedKeyUsageOID
    return x509.ExtendedKeyUsage([kind.CLIENT_AUTH if is_client else kind.SERVER_AUTH])


def _alternative_names(hosts: tuple[str, ...]) -> Any:
    names: list[Any] = []
    for host in hosts:
        try:
            names.append(x509.IPAddress(ipaddress.ip_address(host)))
        except ValueError:
            names.append(x509.DNSName(host))
    return x509.SubjectAlternativeName(names)


def _builder(name: str, issuer: Any, public_key: Any, outdated: bool) -> Any:
    start, end = _validity(outdated)
    return (
        x509.CertificateBuilder()
        .subject_name(_distinguished(name))
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(end)
    )


def _distinguished(name: str) -> Any:
    return x509.Name([x509.NameAttribute(x509.oid.NameOID.COMMON_NAME, name)])


def _write(certificate: Any, key: Any, files: CertificateFiles | Authority) -> None:
    pem = serialization.Encoding.PEM
    files.certificate.write_bytes(certificate.public_bytes(pem))
    plain = serialization.NoEncryption()
    form = serialization.PrivateFormat.PKCS8
    files.key.write_bytes(key.private_bytes(pem, form, plain))


def _authority_with_cryptography(name: str, made: Authority) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    builder = _builder(
        f"test authority {name}", _distinguished(f"test authority {name}"), key.public_key(), False
    )
    usage = dict.fromkeys(
        ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
         "encipher_only", "decipher_only"), False
    )  # fmt: skip
    builder = (
        builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(
            x509.KeyUsage(digital_signature=True, key_cert_sign=True, crl_sign=True, **usage),
            critical=True,
        )
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    _write(builder.sign(key, hashes.SHA256()), key, made)


def _issue_with_cryptography(
    issuer: Authority,
    name: str,
    hosts: tuple[str, ...],
    outdated: bool,
    is_client: bool,
    files: CertificateFiles,
) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    above = x509.load_pem_x509_certificate(issuer.certificate.read_bytes())
    signer: Any = serialization.load_pem_private_key(issuer.key.read_bytes(), None)
    identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key())
    builder = (
        _builder(name, above.subject, key.public_key(), outdated)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(is_client), critical=False)
        .add_extension(_alternative_names(hosts), critical=False)
        .add_extension(identifier, critical=False)
    )
    _write(builder.sign(signer, hashes.SHA256()), key, files)


def _openssl(*arguments: str | Path) -> None:
    done = subprocess.run(
        ["openssl", *map(str, arguments)], check=False, capture_output=True, text=True
    )
    if done.returncode:
        raise RuntimeError(f"openssl {arguments[0]} failed: {done.stderr.strip()[-300:]}")


def _new_key(path: Path) -> None:
    _openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", path)


def _authority_with_openssl(name: str, made: Authority) -> None:
    _new_key(made.key)
    settings = _fresh(f"{name}.cnf")
    settings.write_text(
        "[req]\ndistinguished_name = dn\nx509_extensions = ca\nprompt = no\n"
        f"[dn]\nCN = test authority {name}\n"
        "[ca]\nbasicConstraints = critical, CA:true, pathlen:0\n"
        "keyUsage = critical, digitalSignature, keyCertSign, cRLSign\n"
        "subjectKeyIdentifier = hash\n",
        encoding="utf-8",
    )
    _openssl("req", "-x509", "-new", "-key", made.key, "-config", settings, "-days", "365",
             "-out", made.certificate)  # fmt: skip


def _issue_with_openssl(
    issuer: Authority,
    name: str,
    hosts: tuple[str, ...],
    outdated: bool,
    is_client: bool,
    files: CertificateFiles,
) -> None:
    _new_key(files.key)
    names = []
    for host in hosts:
        kind = "IP" if host.replace(".", "").isdigit() or ":" in host else "DNS"
        names.append(f"{kind}:{host}")
    start, end = (f"{moment:%Y%m%d%H%M%SZ}" for moment in _validity(outdated))
    work = Path(tempfile.mkdtemp(dir=_directory()))
    settings, request = work / "ca.cnf", work / "request"
    (work / "index.txt").touch()
    settings.write_text(
        "[req]\ndistinguished_name = dn\nprompt = no\n"
        f"[dn]\nCN = {name}\n"
        f"[ca]\ndefault_ca = own\n[own]\ndatabase = {work}/index.txt\nnew_certs_dir = {work}\n"
        "default_md = sha256\nrand_serial = yes\npolicy = any\nx509_extensions = leaf\n"
        "[any]\nCN = supplied\n"
        "[leaf]\nbasicConstraints = critical, CA:false\n"
        f"extendedKeyUsage = {'clientAuth' if is_client else 'serverAuth'}\n"
        f"subjectAltName = {', '.join(names)}\n"
        "authorityKeyIdentifier = keyid\n",
        encoding="utf-8",
    )
    _openssl("req", "-new", "-key", files.key, "-config", settings, "-out", request)
    _openssl(
        "ca", "-batch", "-notext", "-config", settings, "-cert", issuer.certificate, "-keyfile",
        issuer.key, "-startdate", start, "-enddate", end, "-in", request, "-out", files.certificate,
    )  # fmt: skip
