# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The catalog of a registry, and deletion: refusals and invalid answers of registries."""

from __future__ import annotations

import json

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._image.errors import LockstepError
from ansible_collections.lockstep.images.plugins.module_utils._image.names import Digest, Reference
from ansible_collections.lockstep.images.plugins.module_utils._registry.catalog import (
    delete_manifest,
    has_manifest,
    repositories,
)
from ansible_collections.lockstep.images.tests.support.faults import Fault, Filler
from ansible_collections.lockstep.images.tests.support.images import push
from ansible_collections.lockstep.images.tests.support.pulling import (
    IMAGE,
    LOGIN,
    USERS,
    Puller,
    serving,
    trail,
)

NAMES = ["demo/app", "demo/b.c_d", "library/e--f", "z"]
DIGEST = Digest.parse(IMAGE.digest)


def registry_of(directory, registry, **options):
    return Puller(directory, registry, **options).sources.registry(registry.address)


def repository_of(directory, registry, **options):
    reference = Reference.parse(f"{registry.address}/demo/app:1.0")
    return Puller(directory, registry, **options).sources.origin(reference)


def failure(call, *args):
    with pytest.raises(LockstepError) as caught:
        call(*args)
    assert str(caught.value).isprintable()
    return caught.value


def page(*names, link=None, **fault):
    headers = {"Link": link} if link is not None else {}
    body = {"repositories": list(names)}
    return Fault(path="/_catalog", **{"headers": headers, "times": None, "body": body, **fault})


@pytest.mark.parametrize("auth", [None, "basic", "bearer"])
def test_all_pages_of_the_catalog_are_read_and_sorted(tmp_path, auth):
    with serving(page_size=2, auth=auth, users=USERS) as registry:
        for name in reversed(NAMES):
            push(registry, name, IMAGE)
        login = LOGIN if auth else None
        assert repositories(registry_of(tmp_path, registry, login=login)) == NAMES
        assert trail(registry).count("GET /v2/_catalog") >= 2
        assert "n=1000" in registry.requests[0].query


def test_the_token_for_the_catalog_is_asked_for_at_once(tmp_path):
    with serving(auth="bearer", users=USERS) as registry:
        repositories(registry_of(tmp_path, registry, login=LOGIN))
        assert [one.scopes for one in registry.token_requests] == [("registry:catalog:*",)]


LISTS = {
    "R073-null": (b'{"repositories":null}', []),
    "R073-missing": (b"{}", []),
    "R073-duplicate": (b'{"repositories":["b","a","b"]}', ["a", "b"]),
    "R073-not-only-strings": (b'{"repositories":["a",5,null,["b"],{"c":1}]}', ["a"]),
    "R073-no-names": (b'{"repositories":["a","../x","A","a b","\\u001b[31m","","a/"]}', ["a"]),
}


@pytest.mark.parametrize(("body", "names"), LISTS.values(), ids=LISTS)
def test_odd_catalogs_are_read_as_they_are_meant(tmp_path, body, names):
    with serving(faults=[page(body=body)]) as registry:
        assert repositories(registry_of(tmp_path, registry)) == names


WRONG = {
    "R073-text": {"body": b'{"repositories":"a"}'},
    "R073-list": {"body": b'["a"]'},
    "R073-html": {"body": b"<html>"},
    "R073-not-utf-8": {"body": b'{"repositories":["\xff"]}'},
    "R073-nested": {"body": b'{"repositories":' + b"[" * 200_000},
    "R073-a-GiB": {"body": Filler(1 << 30, prefix=b'{"repositories":["')},
    "R073-a-million": {"body": json.dumps({"repositories": [f"r{n}" for n in range(10**6)]})},
    "R072-to-itself": {"link": "</v2/_catalog?n=1000>; rel=next"},
    "R072-other-host": {"link": '<http://elsewhere.example/v2/_catalog>; rel="next"'},
    "R072-malformed": {"link": "next"},
    "R074-the-same-page": {"link": "</v2/_catalog?last=x>; rel=next"},
}


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
def test_invalid_catalog_is_an_error(tmp_path, wrong):
    with serving(faults=[page("a", **wrong)]) as registry:
        assert failure(repositories, registry_of(tmp_path, registry)).kind == "registry-protocol"
        assert sum(request.bytes_sent for request in registry.requests) < 32 << 20


DENIED = {
    401: "authentication-failed",
    403: "denied",
    404: "registry-unsupported",
    405: "registry-unsupported",
    501: "registry-unsupported",
}


@pytest.mark.parametrize(("status", "kind"), DENIED.items())
def test_a_catalog_that_is_denied_is_an_error_that_says_what_to_do(tmp_path, status, kind):
    with serving(faults=[page(status=status)]) as registry:
        error = failure(repositories, registry_of(tmp_path, registry))
        assert error.kind == kind
        assert str(error).startswith(f"{registry.address} does not list its repositories")
        assert "tags: true" in error.hint


def test_missing_scope_of_a_user_is_reported(tmp_path):
    with serving(auth="bearer", users=USERS, permissions={"robot": {"demo/*": "pull"}}) as registry:
        error = failure(repositories, registry_of(tmp_path, registry, login=LOGIN))
        assert error.kind == "authentication-failed"
        assert "registry:catalog:*" in error.hint


def test_a_registry_that_fails_is_not_one_that_denies(tmp_path):
    with serving(faults=[page(status=500)]) as registry:
        error = failure(repositories, registry_of(tmp_path, registry, retries=0))
        assert (error.kind, error.details) == ("registry-error", {"status": 500})


def test_one_head_shows_whether_a_manifest_exists(tmp_path):
    with serving() as registry:
        repository = repository_of(tmp_path, registry)
        assert has_manifest(repository, DIGEST) is True
        assert has_manifest(repository, Digest.of(b"")) is False
        assert trail(registry) == ["HEAD manifest"] * 2


@pytest.mark.parametrize("identifier", ["1.0", DIGEST], ids=["tag", "digest"])
@pytest.mark.parametrize("status", [None, 200, 204, 404])
def test_deleting_a_missing_manifest_is_not_an_error(tmp_path, identifier, status):
    faults = [Fault(method="DELETE", status=status)] if status else []
    with serving(faults=faults) as registry:
        delete_manifest(repository_of(tmp_path, registry), identifier)
        assert len(registry.requests) == 1
        assert bool(registry.manifest("demo/app", "1.0")) is bool(status)


UNSUPPORTED = b'{"errors":[{"code":"UNSUPPORTED","message":"The operation is unsupported."}]}'
INVALID = b'{"errors":[{"code":"DIGEST_INVALID","message":"provided digest did not match"}]}'
DANGLING = b'{"errors":[{"code":"GOOGLE_MANIFEST_DANGLING_TAG","message":"still tagged"}]}'
REFUSED = {
    "tag-400": ("1.0", 400, INVALID, "registry-unsupported", "by: digest"),
    "tag-405": ("1.0", 405, UNSUPPORTED, "registry-unsupported", "REGISTRY_STORAGE_DELETE_ENABLED"),
    "digest-405": (DIGEST, 405, b"", "registry-unsupported", "REGISTRY_STORAGE_DELETE_ENABLED"),
    "digest-400": (DIGEST, 400, UNSUPPORTED, "registry-unsupported", "storage.delete.enabled"),
    "digest-is-tagged": (DIGEST, 400, DANGLING, "registry-error", ""),
    "tag-401": ("1.0", 401, b"", "authentication-failed", ""),
    "tag-403": ("1.0", 403, b"", "denied", ""),
    "digest-409": (DIGEST, 409, b"", "registry-error", ""),
}


@pytest.mark.parametrize(
    ("identifier", "status", "body", "kind", "hint"), REFUSED.values(), ids=REFUSED
)
def test_a_refused_deletion_says_why(tmp_path, identifier, status, body, kind, hint):
    with serving(faults=[Fault(method="DELETE", status=status, body=body, times=None)]) as registry:
        error = failure(delete_manifest, repository_of(tmp_path, registry), identifier)
        assert error.kind == kind
        assert hint in error.hint
        assert f"{registry.address}" in str(error)
        assert registry.manifest("demo/app", "1.0")


def test_F30_where_nothing_is_deleted_the_hint_says_first_how_to_enable_it(tmp_path):
    """Deleting by digest is refused there too."""
    fault = Fault(method="DELETE", status=405, body=UNSUPPORTED, times=None)
    with serving(faults=[fault]) as registry:
        repository = repository_of(tmp_path, registry)
        error = failure(delete_manifest, repository, "1.0")
        assert error.hint.index("REGISTRY_STORAGE_DELETE_ENABLED") < error.hint.index("by: digest")
        by_digest = failure(delete_manifest, repository, DIGEST)
        assert "by: digest" not in by_digest.hint


@pytest.mark.parametrize("identifier", ["1.0", DIGEST], ids=["tag", "digest"])
@pytest.mark.parametrize("status", [400, 405])
def test_F30_a_refused_deletion_names_its_subject_once(tmp_path, identifier, status):
    fault = Fault(method="DELETE", status=status, body=UNSUPPORTED, times=None)
    with serving(faults=[fault]) as registry:
        error = failure(delete_manifest, repository_of(tmp_path, registry), identifier)
        assert str(error).count(f"demo/app{':' if identifier == '1.0' else '@'}{identifier}") == 1


def test_r077_words_of_a_registry_are_short_and_without_secrets(tmp_path):
    words = f"\x1b[31m{LOGIN.password} " + "x" * 5000
    body = {"errors": [{"code": "DENIED", "message": words}]}
    fault = Fault(method="DELETE", status=403, body=body, times=None)
    with serving(auth="basic", users=USERS, faults=[fault]) as registry:
        repository = repository_of(tmp_path, registry, login=LOGIN)
        error = failure(delete_manifest, repository, "1.0")
        assert LOGIN.password not in str(error)
        assert len(str(error)) < 600


def test_r078_warnings_are_kept_once_and_bounded(tmp_path):
    lines = [f'299 - "warning {number % 50}"' for number in range(90)]
    fault = Fault(method="DELETE", set_headers={"Warning": lines}, times=None)
    with serving(faults=[fault]) as registry:
        repository = repository_of(tmp_path, registry)
        delete_manifest(repository, "1.0")
        assert len(repository.registry.warnings) == 10
        assert len(set(repository.registry.warnings)) == 10
