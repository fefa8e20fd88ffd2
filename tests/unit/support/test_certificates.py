# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Certificates made on the spot, and a registry that shows them."""

from __future__ import annotations

import http.client
import ssl
import urllib.error
import urllib.request

import pytest
from ansible_collections.lockstep.images.tests.support import certificates
from ansible_collections.lockstep.images.tests.support.images import demo_image, upload
from ansible_collections.lockstep.images.tests.support.registry import Fault, Registry

pytestmark = pytest.mark.skipif(
    not certificates.available(), reason="neither cryptography nor openssl"
)


def get(registry, authority=None, own=None) -> int:
    """Send a version check over TLS. Return the status after reading the body."""
    trusted = (authority or certificates.authority()).certificate
    context = ssl.create_default_context(cafile=str(trusted))
    if own is not None:
        context.load_cert_chain(own.certificate, own.key)
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
    )
    with opener.open(f"{registry.url}/v2/", timeout=20) as answer:
        answer.read()
        return answer.status


def test_valid_certificate_is_accepted():
    with Registry(tls=certificates.server()) as registry:
        assert registry.url.startswith("https://")
        assert get(registry) == 200


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (certificates.wrong_host, "127.0.0.1"),
        (certificates.expired, "expired"),
    ],
)
def test_invalid_certificate_is_rejected(make, words):
    with Registry(tls=make()) as registry:
        with pytest.raises(urllib.error.URLError, match=words):
            get(registry)
        assert registry.requests == []
        assert registry.connections == 1


def test_certificate_of_an_unknown_authority_is_rejected():
    registry = Registry(tls=certificates.server())
    with registry, pytest.raises(urllib.error.URLError, match="issuer"):
        get(registry, authority=certificates.authority("stranger"))


def test_server_can_require_a_client_certificate():
    context = certificates.server().server_context(client_ca=certificates.authority().certificate)
    with Registry(tls=context) as registry:
        assert get(registry, own=certificates.client()) == 200
        with pytest.raises(OSError):
            get(registry)


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
def test_server_can_be_limited_to_an_old_version_of_tls():
    context = certificates.server().server_context(maximum_version=ssl.TLSVersion.TLSv1_1)
    with Registry(tls=context) as registry:
        with pytest.raises(OSError):
            get(registry)
        assert registry.requests == []


def test_pushes_and_faults_work_over_tls():
    family = demo_image("app", "1.0")
    with Registry(tls=certificates.server()) as registry:
        trusted = str(certificates.authority().certificate)
        upload(registry.url, "demo/app", family, "1", cafile=trusted)
        assert registry.manifest("demo/app", "1") == family.raw
        registry.faults.append(Fault(reset_at=1))
        # On a busy machine, the client may see a reset as the end of the answer.
        with pytest.raises((OSError, http.client.HTTPException)):
            get(registry)
        assert registry.errors == []


def test_openssl_can_generate_the_certificates(monkeypatch):
    if not certificates.shutil.which("openssl"):
        pytest.skip("no openssl here")
    monkeypatch.setattr(certificates, "HAVE_CRYPTOGRAPHY", False)
    issuer = certificates.authority("by-openssl")
    with Registry(tls=issuer.issue("plain")) as registry:
        assert get(registry, authority=issuer) == 200
    registry = Registry(tls=issuer.issue("old", expired=True))
    with registry, pytest.raises(urllib.error.URLError, match="expired"):
        get(registry, authority=issuer)
