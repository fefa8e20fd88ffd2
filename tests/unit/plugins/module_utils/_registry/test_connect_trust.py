# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Errors of unusable certificates and keys, and of forbidden token servers."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._image.errors import InputError
from ansible_collections.lockstep.images.plugins.module_utils._registry.connect import (
    Trust,
    tls_context,
)
from ansible_collections.lockstep.images.tests.support import certificates
from ansible_collections.lockstep.images.tests.support.pulling import Puller, serving
from ansible_collections.lockstep.images.tests.support.tables import assert_tells

pytestmark = pytest.mark.skipif(
    not certificates.available(), reason="neither cryptography nor openssl is here"
)


def refused(trust: Trust) -> str:
    with pytest.raises(InputError) as caught:
        tls_context(trust)
    assert_tells(caught.value, "invalid-input")
    assert "_ssl.c" not in str(caught.value)
    return f"{caught.value} {caught.value.hint}".strip()


def client(cert: Path | str, key: Path | str | None) -> str:
    return refused(Trust(client_certs=((str(cert), str(key) if key else None),)))


def test_F35_a_client_certificate_without_its_key_says_so():
    shown = certificates.client()
    assert client(shown.certificate, None) == (
        f"client_cert {shown.certificate}: its key is not in {shown.certificate}"
        " Set client_key to the file with the private key."
    )
    assert client(shown.certificate, shown.certificate).startswith(
        f"client_cert {shown.certificate}: its key is not in {shown.certificate}"
    )


def test_F35_a_certificate_and_its_key_may_be_in_one_file(tmp_path):
    shown = certificates.client()
    both = tmp_path / "both.pem"
    both.write_bytes(shown.certificate.read_bytes() + shown.key.read_bytes())
    assert tls_context(Trust(client_certs=((str(both), None),)))


def test_F35_the_key_of_another_certificate_is_named():
    shown, other = certificates.client(), certificates.server()
    assert client(shown.certificate, other.key) == (
        f"client_cert {shown.certificate}: does not belong to the key in {other.key}"
    )


def test_F35_a_key_in_place_of_a_certificate_is_named():
    shown = certificates.client()
    assert client(shown.key, shown.key) == (f"client_cert {shown.key}: contains no PEM certificate")


def test_F35_a_missing_key_is_named_and_not_the_certificate():
    cert = certificates.client().certificate
    assert client(cert, "/none/key.pem") == (
        f"client_cert {cert}: its key /none/key.pem: cannot be used: No such file or directory"
    )
    assert client("/none/cert.pem", "/none/key.pem") == (
        "client_cert /none/cert.pem: cannot be used: No such file or directory"
    )


@pytest.mark.skipif(not shutil.which("openssl"), reason="openssl is not installed")
def test_F35_a_key_with_a_passphrase_is_named_and_nobody_is_asked_for_it(tmp_path):
    shown = certificates.client()
    locked = tmp_path / "locked.key"
    command = ["openssl", "pkey", "-aes256", "-passout", "pass:hunter22"]
    subprocess.run([*command, "-in", str(shown.key), "-out", str(locked)], check=True)
    words = f"client_cert {shown.certificate}: the key in {locked} is encrypted"
    assert client(shown.certificate, locked).startswith(words)


@pytest.mark.parametrize("content", [b"", b"junk", b"\x30\x82\x03\x00", b"-----BEGIN NONE-----\n"])
def test_F35_authority_that_is_not_a_certificate_is_named(content, tmp_path):
    path = tmp_path / "ca.pem"
    path.write_bytes(content)
    words = f"{path}: contains no PEM certificate"
    assert refused(Trust(ca_paths=(str(path),))) == f"ca_path {words}"
    assert client(path, None) == f"client_cert {words}"


@pytest.mark.parametrize(
    ("realm", "words"),
    [
        ("not an address", '"not an address" is not used: it is not a URL'),
        ("/token", '"/token" is not used: it is not a URL'),
        ("ftp://a.example/t", "ftp://a.example/t is not used: it is not a URL"),
        ("https://u:hunter22@a.example/t", "https://a.example/t is not used: its"),
    ],
)
def test_F35_invalid_address_of_a_token_server_is_quoted(realm, words, tmp_path):
    with serving(auth="bearer", anonymous_pull=True) as registry:
        registry.access.realm = realm
        error = Puller(tmp_path, registry).fails()
    assert_tells(error, "authentication-failed", f"its token server {words}", never=["hunter22"])
