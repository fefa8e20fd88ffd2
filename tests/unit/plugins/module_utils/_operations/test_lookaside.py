# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Signatures beside the registry: a missing one ends the list, and everything else is an error."""

from __future__ import annotations

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._image.errors import (
    DependencyError,
    InputError,
    RedirectError,
    RegistryError,
    TruncatedError,
)
from ansible_collections.lockstep.images.plugins.module_utils._image.names import Digest, Reference
from ansible_collections.lockstep.images.plugins.module_utils._operations.image_verify import (
    StoreMedium,
)
from ansible_collections.lockstep.images.plugins.module_utils._operations.lookaside import (
    LookasideReader,
    base_of,
    download,
)
from ansible_collections.lockstep.images.plugins.module_utils._registry.client import (
    HttpClient,
    HttpOptions,
)
from ansible_collections.lockstep.images.plugins.module_utils._registry.connect import Trust
from ansible_collections.lockstep.images.plugins.module_utils._store.reader import StoreReader
from ansible_collections.lockstep.images.plugins.module_utils._trust.errors import (
    SignatureInvalidError,
    SignatureMissingError,
)
from ansible_collections.lockstep.images.plugins.module_utils._trust.lookaside import GpgTrust
from ansible_collections.lockstep.images.plugins.module_utils._trust.openpgp import armor
from ansible_collections.lockstep.images.tests.support.bodies import digest_of
from ansible_collections.lockstep.images.tests.support.certificates import server
from ansible_collections.lockstep.images.tests.support.faults import Fault
from ansible_collections.lockstep.images.tests.support.gpg import (
    DIGEST,
    GOOD,
    MANIFEST,
    keyring,
    message,
    requires_gpgv,
)
from ansible_collections.lockstep.images.tests.support.gpg import (
    NAME as SIGNED_AS,
)
from ansible_collections.lockstep.images.tests.support.images import TYPES
from ansible_collections.lockstep.images.tests.support.registry import Registry
from ansible_collections.lockstep.images.tests.support.verifying import REPOSITORY, Verifier

NAME = Reference.parse("a.b:5000/shop/web:1")
KEY = Digest.parse(DIGEST)
PLACE = f"shop/web@sha256={KEY.encoded}"


def none(url):
    """Return what a server has that has nothing."""
    assert url.startswith("https://s/")


def write(directory, *names, place=PLACE):
    """Write signatures in order, and return the URL of the directory."""
    (directory / place).mkdir(parents=True)
    for number, name in enumerate(names):
        (directory / place / f"signature-{number + 1}").write_bytes(message(name))
    return f"file://{directory}"


def test_signatures_of_a_directory_are_read_in_order(tmp_path):
    base = write(tmp_path, "good", "literal", "subkey")
    reader = LookasideReader(base, NAME, none)
    first, second, third = reader.each(KEY)
    assert [first.place, third.place] == ["signature-1", "signature-3"]
    assert isinstance(second, SignatureInvalidError)
    (tmp_path / PLACE / "signature-1").unlink()
    assert [*reader.each(KEY)] == [first, second, third]
    assert [*LookasideReader(base, NAME, none).each(KEY)] == []


def test_requests_end_with_the_first_that_is_missing():
    asked = []

    def get(url):
        asked.append(url)
        return message("good") if len(asked) < 3 else None

    found = [*LookasideReader("https://s", NAME, get).each(KEY)]
    assert len(found) == 2
    assert asked == [f"https://s/{PLACE}/signature-{number}" for number in (1, 2, 3)]


def test_more_than_fifty_signatures_are_an_error():
    asked = []
    endless = LookasideReader("https://s", NAME, lambda url: asked.append(url) or message("good"))
    *_fifty, last = endless.each(KEY)
    assert (len(_fifty), len(asked)) == (50, 51)
    assert "more than 50 signatures" in str(last)


@requires_gpgv
def test_place_of_an_image_must_be_known(tmp_path):
    assert base_of(GpgTrust(b"", {"a.b:5000": f"file://{tmp_path}"}), NAME) == f"file://{tmp_path}"
    with pytest.raises(SignatureMissingError, match="does not say where its signatures are"):
        base_of(GpgTrust(b"", {"c.d": "https://s"}), NAME)
    with pytest.raises(InputError, match="/nowhere, does not exist"):
        base_of(GpgTrust(b"", {"*": "file:///nowhere"}), NAME)


@pytest.fixture(name="web", scope="module")
def fixture_web():
    with Registry(tls=server()) as registry:
        yield registry


@pytest.fixture(name="client")
def fixture_client(web):
    web.faults.clear()
    web.files["/sigs/x"] = b"signature"
    return HttpClient(HttpOptions(retries=0, timeout=5), trust_of=lambda _url: Trust(False))


def test_content_is_downloaded_without_a_login(web, client):
    assert download(client, f"{web.url}/sigs/x") == b"signature"
    assert download(client, f"{web.url}/sigs/y") is None
    assert not [one for one in web.requests if "authorization" in one.headers]


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ({"status": 401}, RegistryError),
        ({"status": 403}, RegistryError),
        ({"status": 500}, RegistryError),
        ({"status": 204}, RegistryError),
        ({"redirect": "http://127.0.0.1:1/x"}, RedirectError),
        ({"redirect": "file:///etc/passwd"}, RedirectError),
        ({"truncate_at": 3}, TruncatedError),
        ({"extend": 1 << 20, "content_length": None}, RegistryError),
    ],
)
def test_every_other_answer_is_an_error(web, client, fault, error):
    web.faults.append(Fault(path="/sigs/", times=None, **fault))
    with pytest.raises(error):
        download(client, f"{web.url}/sigs/x")


def test_redirect_to_https_is_followed(web, client):
    web.faults.append(Fault(path="/sigs/z", redirect=f"{web.url}/sigs/x"))
    assert download(client, f"{web.url}/sigs/z") == b"signature"


def gpg_rule(base, ring="ring", **more):
    given = {"keyring": {"text": armor(keyring(ring))}, "lookaside": base}
    return {"match": "*", "gpg": given, "signed_as": "any", **more}


@pytest.fixture(name="verifier")
def fixture_verifier(tmp_path):
    with Registry() as registry:
        registry.add(REPOSITORY, MANIFEST, TYPES["manifest"][0], digest=DIGEST)
        registry.tag(REPOSITORY, "1", DIGEST)
        yield Verifier(tmp_path / "store", registry)


@requires_gpgv
def test_image_is_verified_with_a_keyring(tmp_path, verifier):
    base = write(tmp_path, "other", "good", place=PLACE.replace("shop/web", REPOSITORY))
    found = verifier.verified(gpg_rule(base))
    assert found["verified"]["by"] == [f"gpg {GOOD}"]
    (signature,) = found["verified"]["signatures"]
    assert (signature["form"], signature["signed_as"]) == ("simple", SIGNED_AS)
    assert found["pinned"].endswith(f"@{DIGEST}")
    gets = [one.target for one in verifier.registry.requests if one.method == "GET"]
    assert gets == []


@requires_gpgv
@pytest.mark.parametrize(
    ("names", "changes", "kind"),
    [
        ([], {}, "signature-missing"),
        (["revoked", "expired", "twice"], {}, "signature-invalid"),
        (["good"], {"ring": "other_ring"}, "signature-invalid"),
        (["good"], {"signed_as": "repository"}, "signature-mismatch"),
        (["good"], {"signed_as": "exact"}, "signature-mismatch"),
        (["good"], {"annotations": {"creator": "me"}}, "signature-mismatch"),
        (["good"], {"annotations": {"creator": "gpg"}}, ""),
        (["good"], {"level": "platform"}, ""),
    ],
)
def test_other_images_are_refused(tmp_path, verifier, names, changes, kind):
    base = write(tmp_path, *names, place=PLACE.replace("shop/web", REPOSITORY))
    assert verifier.kind(gpg_rule(base, **changes)) == kind


@requires_gpgv
def test_signature_for_other_content_is_a_mismatch(tmp_path, verifier):
    other = MANIFEST.replace(b"[]", b"[ ]")
    verifier.registry.add(REPOSITORY, other, TYPES["manifest"][0])
    verifier.registry.tag(REPOSITORY, "1", digest_of(other))
    place = f"{REPOSITORY}@sha256={digest_of(other)[7:]}"
    assert verifier.kind(gpg_rule(write(tmp_path, "good", place=place))) == "signature-mismatch"


def test_missing_gpgv_ends_the_task(tmp_path, verifier, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DependencyError):
        verifier.outcome(gpg_rule(f"file://{tmp_path}"))


@requires_gpgv
def test_store_sends_no_request_to_a_lookaside(tmp_path):
    medium = StoreMedium(StoreReader(str(tmp_path)), (), False)
    with pytest.raises(InputError, match="source=store sends no request"):
        [*LookasideReader("https://s", NAME, medium.download).each(KEY)]
