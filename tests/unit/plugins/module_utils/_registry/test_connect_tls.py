# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""TLS: whom we trust, what we show to whom, and when plain http will do."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._image import errors
from ansible_collections.lockstep.images.tests.support import certificates
from ansible_collections.lockstep.images.tests.support.faults import Fault
from ansible_collections.lockstep.images.tests.support.images import image, layer
from ansible_collections.lockstep.images.tests.support.pulling import (
    BLOB,
    LAYER,
    LOGIN,
    PLAIN,
    USER,
    USERS,
    FakeClock,
    Puller,
    authorized,
    http_client,
    resolve,
    serving,
    trail,
)
from ansible_collections.lockstep.images.tests.support.registry import Registry

pytestmark = pytest.mark.skipif(
    not certificates.available(), reason="neither cryptography nor openssl is here"
)


def own_ca():
    return str(certificates.authority().certificate)


def with_client():
    shown = certificates.client()
    return {"client_cert": str(shown.certificate), "client_key": str(shown.key)}


def layer_fault(**fault):
    return Fault(path=f"/blobs/{LAYER}", **fault)


def test_a_registry_of_an_own_authority_is_trusted(tmp_path):
    with serving(tls=certificates.server()) as registry:
        Puller(tmp_path, registry, ca_path=own_ca()).pull()
        assert trail(registry) == PLAIN


def test_an_authority_may_be_named_by_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", own_ca())
    with serving(tls=certificates.server()) as registry:
        Puller(tmp_path, registry).pull()


UNTRUSTED = {
    "R002-unknown-ca": (certificates.server, False, "issuer"),
    "R002-another-ca": (
        lambda: certificates.authority("other").issue("server"),
        True,
        "",
    ),
    "R002-expired": (certificates.expired, True, "expired"),
    "R002-wrong-host": (certificates.wrong_host, True, "match"),
}


@pytest.mark.parametrize(("made", "trusted", "says"), UNTRUSTED.values(), ids=UNTRUSTED)
def test_a_certificate_that_is_not_trusted_is_an_error_at_once(tmp_path, made, trusted, says):
    with serving(tls=made(), auth="basic", users=USERS) as registry:
        puller = Puller(tmp_path, registry, login=LOGIN, ca_path=own_ca() if trusted else None)
        error = puller.fails()
        assert error.kind == "registry-tls"
        assert registry.url in str(error)
        assert "the certificate is not trusted" in str(error)
        assert says in str(error)
        assert registry.requests == []
        assert puller.clock.slept == []


@pytest.mark.parametrize("made", [row[0] for row in UNTRUSTED.values()], ids=UNTRUSTED)
def test_any_certificate_will_do_where_none_is_validated(tmp_path, made):
    with serving(tls=made()) as registry:
        Puller(tmp_path, registry, validate_certs=False).pull()
        assert trail(registry) == PLAIN


@pytest.mark.parametrize("validate", [True, False])
def test_a_server_of_tls_1_1_is_refused(tmp_path, validate):
    """R003: whether certificates are validated or not."""
    old = certificates.server().server_context(maximum_version=ssl.TLSVersion.TLSv1_1)
    with serving(tls=old) as registry:
        puller = Puller(tmp_path, registry, ca_path=own_ca(), validate_certs=validate)
        error = puller.fails()
        assert error.kind == "registry-tls"
        assert registry.url in str(error)
        assert registry.requests == []


def test_a_connection_that_ends_in_the_handshake_is_tried_again(tmp_path):
    """R079: a balancer that has too much to do hangs up."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def hang_up():
            with contextlib.suppress(OSError):
                while True:
                    connection = server.accept()[0]
                    connection.recv(4096)
                    connection.close()

        threading.Thread(target=hang_up, daemon=True).start()
        address = f"127.0.0.1:{server.getsockname()[1]}"
        clock = FakeClock()
        with pytest.raises(errors.UnreachableError, match="3 attempts"):
            http_client(clock, retries=2).request("GET", f"https://{address}/v2/")
        assert clock.slept == [0.5, 1.0]
        server.shutdown(socket.SHUT_RDWR)


def test_an_authority_that_cannot_be_read_is_an_error_that_names_the_file(tmp_path):
    broken = tmp_path / "ca.pem"
    broken.write_text("no certificate", encoding="utf-8")
    with serving(tls=certificates.server()) as registry:
        for path in (str(broken), str(tmp_path / "missing.pem")):
            error = Puller(tmp_path, registry, ca_path=path).fails()
            assert error.kind == "invalid-input"
            assert path in str(error)


def test_a_client_certificate_is_shown_to_the_registry(tmp_path):
    """R004."""
    wants = certificates.server().server_context(client_ca=certificates.authority().certificate)
    with serving(tls=wants) as registry:
        Puller(tmp_path, registry, ca_path=own_ca(), **with_client()).pull()
        assert trail(registry) == PLAIN


def test_a_client_certificate_that_is_missing_is_an_error(tmp_path):
    """R004."""
    context = certificates.server().server_context(client_ca=certificates.authority().certificate)
    context.maximum_version = ssl.TLSVersion.TLSv1_2  # later, the refusal may come as a reset
    with serving(tls=context) as registry:
        error = Puller(tmp_path, registry, ca_path=own_ca()).fails()
        assert error.kind in ("registry-tls", "registry-unreachable")
        assert registry.url in str(error)
        assert registry.requests == []


def test_neither_authority_nor_client_certificate_is_for_a_redirect_target(tmp_path):
    """R004: on another port of the same host already."""
    wants = certificates.server().server_context(client_ca=certificates.authority().certificate)
    with serving(tls=certificates.server()) as registry, Registry(tls=wants) as other:
        other.files["/layer"] = BLOB
        registry.faults.append(layer_fault(redirect=f"{other.url}/layer", times=None))
        error = Puller(tmp_path, registry, ca_path=own_ca(), **with_client()).fails()
        assert error.kind == "registry-tls"
        assert other.url in str(error)
        assert other.requests == []


def test_a_client_certificate_is_not_shown_to_a_target_that_everybody_trusts(tmp_path, monkeypatch):
    """R004."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", own_ca())
    context = certificates.server().server_context(client_ca=certificates.authority().certificate)
    context.verify_mode = ssl.CERT_OPTIONAL
    shown = []
    with serving(tls=context) as registry, Registry(tls=context) as other:
        other.files["/layer"] = BLOB
        registry.faults.append(layer_fault(redirect=f"{other.url}/layer"))
        for server in (registry, other):
            finish = server._server._secured

            def secured(request, finish=finish, server=server):
                connection = finish(request)
                if connection is not None:
                    shown.append((server.port, bool(connection.getpeercert())))
                return connection

            monkeypatch.setattr(server._server, "_secured", secured)
        Puller(tmp_path, registry, **with_client()).pull()
        assert (registry.port, True) in shown
        assert {one for one in shown if one[0] == other.port} == {(other.port, False)}


def test_validation_is_given_up_for_the_registry_alone(tmp_path):
    """R004: validate_certs=false does not spread to where it redirects."""
    with serving(tls=certificates.server()) as registry, Registry(tls=certificates.server()) as far:
        registry.faults.append(layer_fault(redirect=f"{far.url}/layer", times=None))
        error = Puller(tmp_path, registry, validate_certs=False).fails()
        assert error.kind == "registry-tls"
        assert far.requests == []


def test_a_redirect_from_https_to_http_is_refused(tmp_path):
    """R050."""
    with serving(tls=certificates.server()) as registry, Registry() as plain:
        plain.files["/layer"] = BLOB
        registry.faults.append(layer_fault(redirect=f"{plain.url}/layer", times=None))
        error = Puller(tmp_path, registry, ca_path=own_ca()).fails()
        assert error.kind == "redirect-refused"
        assert "from https to http" in str(error)
        assert plain.connections == 0


def test_a_token_server_without_tls_is_refused_where_the_registry_has_it(tmp_path):
    """R033."""
    with serving(tls=certificates.server(), auth="bearer", users=USERS) as registry:
        registry.access.realm = f"http://{registry.address}/token"
        error = Puller(tmp_path, registry, login=LOGIN, ca_path=own_ca()).fails()
        assert error.kind == "authentication-failed"
        assert trail(registry) == ["HEAD tag"]


@pytest.mark.parametrize("auth", [None, "basic", "bearer"])
def test_loopback_uses_http_without_an_option(tmp_path, auth):
    with serving(auth=auth, users=USERS) as registry:
        Puller(tmp_path, registry, login=LOGIN if auth else None).pull()
        assert registry.url.startswith("http://")


def test_loopback_is_asked_for_tls_first_and_then_never_over_http(tmp_path):
    with serving(tls=certificates.server(), auth="basic", users=USERS) as registry:
        Puller(tmp_path, registry, login=LOGIN, ca_path=own_ca()).pull()
        assert trail(registry) == ["HEAD tag", *PLAIN]


def test_a_host_that_is_not_loopback_is_never_spoken_to_over_http_unasked(tmp_path, monkeypatch):
    """R002: there is no fall-back, and the hint says what to set."""
    resolve(monkeypatch, "registry.test")
    with serving(auth="basic", users=USERS) as registry:
        name = f"registry.test:{registry.port}"
        puller = Puller(tmp_path, registry, logins={name: LOGIN})
        error = puller.fails(f"{name}/demo/app:1.0")
        assert error.kind == "registry-tls"
        assert "plain_http" in error.hint
        assert not any(authorized(registry))


def test_plain_http_is_spoken_where_it_is_wanted(tmp_path, monkeypatch):
    resolve(monkeypatch, "registry.test")
    with serving() as registry:
        Puller(tmp_path, plain_http=True).pull(f"registry.test:{registry.port}/demo/app:1.0")
        assert trail(registry) == PLAIN


TOKEN_HOSTS = {
    "sibling": ("auth.example.test", True),
    "parent": ("example.test", True),
    "same-host": ("registry.example.test", True),
    "stranger": ("auth.other.test", False),
    "looks-alike": ("auth.notexample.test", False),
}


@pytest.mark.parametrize(("host", "sees"), TOKEN_HOSTS.values(), ids=TOKEN_HOSTS)
def test_a_token_server_of_the_same_domain_sees_the_login_and_no_other(
    tmp_path, monkeypatch, host, sees
):
    """R033."""
    resolve(monkeypatch, host, "registry.example.test")
    tls = certificates.authority().issue("names", hosts=(host, "registry.example.test"))
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", own_ca())
    with serving(tls=tls, auth="bearer", users=USERS) as registry, Registry(tls=tls) as tokens:
        tokens.access = registry.access
        registry.access.anonymous_pull = not sees
        registry.access.realm = f"https://{host}:{tokens.port}/token"
        name = f"registry.example.test:{registry.port}"
        Puller(tmp_path, registry, tokens, logins={name: LOGIN}).pull(f"{name}/demo/app:1.0")
        assert authorized(tokens) == [sees]
        assert registry.token_requests[0].user == (USER if sees else None)


def test_F28_authorities_that_are_missing_on_the_host_are_an_error_that_names_the_file(
    tmp_path, monkeypatch
):
    """A Python whose certifi is damaged, or unreadable for the user of the task."""
    path = tmp_path / "no" / "cacert.pem"
    monkeypatch.setattr("requests.adapters.DEFAULT_CA_BUNDLE_PATH", str(path))
    # Newer versions have loaded the usual file by then.
    monkeypatch.setattr("requests.adapters._preloaded_ssl_context", None, raising=False)
    with Registry(tls=certificates.server()) as registry:
        error = Puller(tmp_path, registry, ca_path=own_ca()).fails()
    assert isinstance(error, errors.TlsError)
    assert str(path) in str(error) and error.hint


def test_authorities_are_read_once_for_all_connections(tmp_path, monkeypatch):
    """Reading those of a system takes longer than many handshakes."""
    read = []
    load = ssl.SSLContext.load_verify_locations

    def counted(context, *args, **kwargs):
        read.append(args or kwargs)
        return load(context, *args, **kwargs)

    monkeypatch.setattr(ssl.SSLContext, "load_verify_locations", counted, raising=False)
    content = image([layer({"n": bytes([number]) * 500}) for number in range(12)])
    with serving(content, tls=certificates.server()) as registry:
        puller = Puller(tmp_path, registry, ca_path=own_ca())
        puller.pull(workers=6)
        assert puller.http.connections() > 2
    assert len(read) == 2  # the option ca_path, and those that requests brings along
