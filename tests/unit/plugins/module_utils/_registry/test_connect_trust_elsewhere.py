# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Trust in hosts that are not registries of a task: an object store, a token server, the host of a foreign layer."""

from __future__ import annotations

import contextlib

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._image.copy_blob import read_content
from ansible_collections.lockstep.images.plugins.module_utils._image.manifest import Descriptor
from ansible_collections.lockstep.images.plugins.module_utils._image.names import Digest, Reference
from ansible_collections.lockstep.images.plugins.module_utils._registry.connect import (
    Trust,
    tls_hint,
)
from ansible_collections.lockstep.images.plugins.module_utils._registry.hostfiles import HostFiles
from ansible_collections.lockstep.images.plugins.module_utils._registry.mirrors import HostConfig
from ansible_collections.lockstep.images.tests.support import certificates
from ansible_collections.lockstep.images.tests.support.faults import Fault
from ansible_collections.lockstep.images.tests.support.pulling import (
    BLOB,
    LAYER,
    LOGIN,
    PLAIN,
    USERS,
    Puller,
    authorized,
    origin_of,
    resolve,
    serving,
    trail,
)
from ansible_collections.lockstep.images.tests.support.registry import Registry

pytestmark = pytest.mark.skipif(
    not certificates.available(), reason="neither cryptography nor openssl is here"
)

FOREIGN = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"


def ca():
    return str(certificates.authority().certificate)


def other_ca():
    return str(certificates.authority("store").certificate)


def with_client():
    shown = certificates.client()
    return {"client_cert": str(shown.certificate), "client_key": str(shown.key)}


@contextlib.contextmanager
def stored_elsewhere(tls=None, **options):
    """A registry whose layer is in an object store, with an authority of its own for each."""
    tls = tls or certificates.authority("store").issue("server")
    with serving(tls=certificates.server(), **options) as registry, Registry(tls=tls) as bucket:
        bucket.files["/bucket/layer"] = BLOB
        where = f"{bucket.url}/bucket/layer"
        registry.faults.append(Fault(path=f"/blobs/{LAYER}", redirect=where, times=None))
        yield registry, bucket


def test_F31_an_entry_of_registries_holds_for_the_host_of_a_redirect(tmp_path):
    with stored_elsewhere(auth="basic", users=USERS) as (registry, bucket):
        settings = [{"registry": bucket.address, "ca_path": other_ca()}]
        Puller(tmp_path, registry, login=LOGIN, settings=settings, ca_path=ca()).pull()
        assert authorized(bucket) == [False]


def test_F31_the_hint_names_the_host_and_the_option_that_would_do(tmp_path):
    with stored_elsewhere() as (registry, bucket):
        error = Puller(tmp_path, registry, ca_path=ca()).fails()
        assert error.kind == "registry-tls"
        assert f"{bucket.url}/bucket/layer" in str(error)
        assert error.hint == (
            f"Set ca_path to the CA of {bucket.address} in an entry of registries for {bucket.address}."
        )
        own = Puller(tmp_path, registry).fails()
        assert own.hint == f"Set ca_path to the CA of {registry.address}."


@pytest.mark.parametrize(
    ("said", "hint"),
    [
        ("CERTIFICATE_VERIFY_FAILED] certificate verify failed: certificate has expired", ""),
        ("hostname 'a' doesn't match 'b'", ""),
        (
            "CERTIFICATE_VERIFY_FAILED] self-signed certificate in certificate chain",
            "Set ca_path to the CA",
        ),
        ("CERTIFICATE_VERIFY_FAILED] self signed certificate", "Set ca_path to the CA"),
        (
            "CERTIFICATE_VERIFY_FAILED] unable to get local issuer certificate",
            "Set ca_path to the CA",
        ),
        (
            "[SSL: WRONG_VERSION_NUMBER] wrong version number",
            "registry.example seems to use plain http: set plain_http",
        ),
    ],
)
def test_F31_hint_suggests_a_ca_only_if_one_would_help(said, hint):
    assert tls_hint(Exception(said), "registry.example", False).startswith(hint)
    of_a_stranger = tls_hint(Exception(said), "registry.example", True)
    assert bool(of_a_stranger) is bool(hint)
    assert "plain_http" not in of_a_stranger


def test_F31_an_entry_that_says_nothing_of_trust_changes_nothing(tmp_path):
    """Not even the options of the task come with it."""
    with stored_elsewhere() as (registry, bucket):
        settings = [{"registry": bucket.address, "username": "robot", "password": "secret-1"}]
        for trust in ({"ca_path": ca()}, {"validate_certs": False}):
            error = Puller(tmp_path, registry, settings=settings, **trust).fails()
            assert error.kind == "registry-tls"
            assert bucket.requests == []


def test_F31_validation_is_given_up_where_the_entry_of_the_host_says_so(tmp_path):
    with stored_elsewhere() as (registry, bucket):
        settings = [{"registry": bucket.address, "validate_certs": False}]
        Puller(tmp_path, registry, settings=settings, ca_path=ca()).pull()


@pytest.mark.parametrize("is_named", [True, False])
def test_F31_a_client_certificate_is_shown_if_the_entry_of_the_host_names_one(tmp_path, is_named):
    wants = certificates.server().server_context(client_ca=certificates.authority().certificate)
    with stored_elsewhere(tls=wants) as (registry, bucket):
        shown = with_client() if is_named else {}
        settings = [{"registry": bucket.address, "ca_path": ca(), **shown}]
        puller = Puller(tmp_path, registry, settings=settings, ca_path=ca(), **with_client())
        error = puller.attempt()
        assert (error is None) is is_named
        assert len(bucket.requests) == is_named


SERVERS = {"sibling": ("auth.example.test", True), "stranger": ("auth.other.test", False)}


@pytest.mark.parametrize(("host", "sees"), SERVERS.values(), ids=SERVERS)
def test_F31_an_entry_holds_for_a_token_server(tmp_path, monkeypatch, host, sees):
    """Trust does not decide which host gets the login."""
    resolve(monkeypatch, "registry.example.test", host)
    own = certificates.authority().issue("named", hosts=("registry.example.test",))
    tls = certificates.authority("store").issue(host, hosts=(host,))
    with serving(tls=own, auth="bearer", users=USERS) as registry, Registry(tls=tls) as tokens:
        tokens.access = registry.access
        registry.access.anonymous_pull = not sees
        registry.access.realm = f"https://{host}:{tokens.port}/token"
        name, auth = f"registry.example.test:{registry.port}", f"{host}:{tokens.port}"
        settings = [{"registry": auth, "ca_path": other_ca()}]
        options = {"logins": {name: LOGIN}, "ca_path": ca()}
        error = Puller(tmp_path, registry, tokens, **options).fails(f"{name}/demo/app:1.0")
        assert error.kind == "registry-tls"
        assert f"to the CA of {auth} in an entry of registries for {auth}" in error.hint or sees
        puller = Puller(tmp_path, registry, tokens, settings=settings, **options)
        puller.pull(f"{name}/demo/app:1.0")
        assert authorized(tokens) == [sees]


def test_F31_an_entry_holds_for_a_foreign_layer(tmp_path):
    with stored_elsewhere() as (registry, bucket):
        urls = (f"{bucket.url}/bucket/layer",)
        descriptor = Descriptor(FOREIGN, Digest.of(BLOB), len(BLOB), urls=urls)
        reference = Reference.parse(f"{registry.address}/demo/app:1.0")
        settings = [{"registry": bucket.address, "ca_path": other_ca()}]
        puller = Puller(tmp_path, registry, settings=settings, ca_path=ca())
        source = puller.sources.foreign(reference, descriptor)
        assert read_content(descriptor, source) == BLOB


def test_F31_an_entry_holds_for_what_a_mirror_redirects_to(tmp_path):
    with stored_elsewhere() as (mirror, bucket), serving() as registry:
        settings = [
            {"registry": bucket.address, "ca_path": other_ca()},
            {
                "registry": registry.address,
                "mirrors": [{"url": f"{mirror.url}", "ca_path": ca()}],
            },
        ]
        Puller(tmp_path, registry, mirror, settings=settings).pull()
        assert registry.requests == []
        assert len(bucket.requests) == 1


def test_F31_certificates_that_the_host_keeps_for_a_host_hold_for_it(tmp_path):
    with stored_elsewhere() as (registry, bucket):
        directory = tmp_path / "etc/containers/certs.d" / bucket.address
        directory.mkdir(parents=True)
        directory.joinpath("ca.crt").symlink_to(other_ca())
        files = HostFiles({}, str(tmp_path / "home"), str(tmp_path))
        Puller(tmp_path, registry, files=files, ca_path=ca()).pull()
        assert trail(registry) == PLAIN


NAMED = {
    "host": ("s3.internal", "https://s3.internal/bucket?x=1", True),
    "port-that-goes-without-saying": ("s3.internal", "https://s3.internal:443/x", True),
    "port-443": ("s3.internal:443", "https://s3.internal/x", True),
    "port": ("s3.internal:9000", "https://s3.internal:9000/x", True),
    "capitals": ("s3.internal:9000", "https://S3.Internal:9000/x", True),
    "ipv6": ("[fd00::1]:9000", "https://[fd00::1]:9000/x", True),
    "docker-hub": ("docker.io", "https://registry-1.docker.io/v2/x", True),
    "another-port": ("s3.internal", "https://s3.internal:9000/x", False),
    "another-host": ("s3.internal", "https://s3.internal.example/x", False),
    "sub-domain": ("internal.example", "https://s3.internal.example/x", False),
    "part-of-a-registry": ("s3.internal/bucket", "https://s3.internal/bucket/x", False),
}


@pytest.mark.parametrize(("registry", "url", "holds"), NAMED.values(), ids=NAMED)
def test_F31_an_entry_is_for_the_host_that_it_names(registry, url, holds):
    entry = {"registry": registry, "ca_path": "/store-ca.pem"}
    config = HostConfig(origin_of({"ca_path": "/task-ca.pem", "validate_certs": False}), [entry])
    assert config.trust(url) == (Trust(ca_paths=("/store-ca.pem",)) if holds else None)
