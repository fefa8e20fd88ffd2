# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lists of referrers: the API, the tag that stands in for it, and registries that get them wrong."""

from __future__ import annotations

import itertools
import json

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._image.errors import LockstepError
from ansible_collections.lockstep.images.plugins.module_utils._image.manifest import (
    DOCKER_MANIFEST,
    OCI_INDEX,
    OCI_MANIFEST,
    Descriptor,
)
from ansible_collections.lockstep.images.plugins.module_utils._image.names import Digest, Reference
from ansible_collections.lockstep.images.plugins.module_utils._registry.repository import (
    referrers_tag,
)
from ansible_collections.lockstep.images.tests.support.faults import Fault, Filler
from ansible_collections.lockstep.images.tests.support.images import image, index, layer, push
from ansible_collections.lockstep.images.tests.support.pulling import (
    IMAGE,
    LOGIN,
    USERS,
    Puller,
    serving,
    trail,
)
from ansible_collections.lockstep.images.tests.support.registry import Registry

SUBJECT = Digest.parse(IMAGE.digest)
TAG = f"sha256-{SUBJECT.encoded}"
LIST = f"GET /v2/demo/app/referrers/{SUBJECT}"


def referrer(kind, **fields):
    about = {key: IMAGE.descriptor()[key] for key in ("mediaType", "digest", "size")}
    proof = layer({kind: kind.encode()})
    return image([proof], **{"artifactType": f"application/vnd.{kind}", "subject": about, **fields})


SBOM = referrer("sbom", annotations={"made": "by hand"})
SIGNATURE = referrer("signature")
PROOF = referrer("proof", artifactType=None)
ALL = sorted([SBOM, SIGNATURE, PROOF], key=lambda one: one.digest)
LISTED = [one.digest for one in ALL]


def source_of(directory, registry, **options):
    puller = Puller(directory, registry, **options)
    return puller.sources.repository(Reference.parse(f"{registry.address}/demo/app"))


def digests(source, subject=SUBJECT):
    return [str(one.digest) for one in source.referrers(subject)]


def failure(source):
    with pytest.raises(LockstepError) as caught:
        source.referrers(SUBJECT)
    return caught.value


def page(*entries, link=None, **fault):
    """Every page of the list is this one."""
    headers = {"Content-Type": OCI_INDEX, **({"Link": link} if link is not None else {})}
    body = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": list(entries)}
    return Fault(path="/referrers/", **{"headers": headers, "times": None, "body": body, **fault})


@pytest.mark.parametrize("auth", [None, "basic", "bearer"])
def test_api_lists_every_manifest_with_this_subject(tmp_path, auth):
    with serving(auth=auth, users=USERS) as registry:
        for one in (*ALL, image([layer({"x": b"no referrer"})])):
            push(registry, "demo/app", one)
        push(registry, "demo/other", SBOM)
        found = source_of(tmp_path, registry, login=LOGIN if auth else None).referrers(SUBJECT)
        assert [str(one.digest) for one in found] == LISTED
        about = {str(one.digest): one for one in found}[SBOM.digest]
        assert (about.media_type, about.size) == (OCI_MANIFEST, len(SBOM.raw))
        assert about.artifact_type == "application/vnd.sbom"
        assert about.annotations == {"made": "by hand"}
        assert isinstance(about, Descriptor)


def test_without_referrers_the_list_is_empty(tmp_path):
    with serving() as registry:
        assert digests(source_of(tmp_path, registry)) == []
        assert trail(registry) == [LIST]


def test_all_pages_are_read_and_each_referrer_is_listed_once(tmp_path):
    entries = [one.descriptor() for one in reversed(ALL)]
    pages = [entries[:2], entries[1:]]
    with serving() as registry:
        for number, some in enumerate(pages):
            where = f"</v2/demo/app/referrers/{SUBJECT}?page={number}>; rel=next"
            registry.faults.append(page(*some, link=where if number < 1 else None, times=1))
        assert digests(source_of(tmp_path, registry)) == LISTED
        assert trail(registry) == [LIST] * 2


def test_r075_without_the_api_the_tag_is_read(tmp_path):
    with serving(referrers=False) as registry:
        push(registry, "demo/app", index([SIGNATURE, SBOM, PROOF, SBOM]), TAG)
        assert digests(source_of(tmp_path, registry)) == LISTED
        assert trail(registry) == [LIST, "GET tag"]


def test_r075_without_the_api_and_the_tag_the_list_is_empty(tmp_path):
    with serving(referrers=False) as registry:
        source = source_of(tmp_path, registry)
        assert digests(source) == []
        assert digests(source, Digest.of(b"unknown")) == []


def test_tag_that_is_not_an_index_means_no_referrers(tmp_path):
    with serving(referrers=False) as registry:
        push(registry, "demo/app", SBOM, TAG)
        assert digests(source_of(tmp_path, registry)) == []


@pytest.mark.parametrize(
    ("digest", "tag"),
    [
        pytest.param(f"sha256:{'a' * 64}", f"sha256-{'a' * 64}", id="sha256"),
        pytest.param(f"sha512:{'b' * 128}", f"sha512-{'b' * 64}", id="sha512 is cut"),
    ],
)
def test_the_tag_is_made_of_the_digest(digest, tag):
    assert referrers_tag(Digest.parse(digest)) == tag


def test_only_the_origin_is_asked(tmp_path):
    """A mirror may know the image and not what refers to it."""
    with serving() as registry, serving() as mirror:
        push(registry, "demo/app", SBOM)
        settings = [{"registry": registry.address, "mirrors": [{"url": mirror.url}]}]
        assert digests(source_of(tmp_path, registry, settings=settings)) == [SBOM.digest]
        assert mirror.requests == []


ENTRY = SBOM.descriptor()
WRONG = {
    "R076-image-manifest": {"headers": {"Content-Type": OCI_MANIFEST}, "body": SBOM.raw},
    "R076-called-an-index": {"headers": {"Content-Type": OCI_INDEX}, "body": SBOM.raw},
    "R076-called-a-manifest": {"headers": {"Content-Type": DOCKER_MANIFEST}},
    "R076-called-json": {"headers": {"Content-Type": "application/json"}},
    "R076-html": {"headers": {"Content-Type": "text/html"}, "body": b"<html>"},
    "R076-no-type": {"headers": {}},
    "R076-no-json": {"body": b"<html>"},
    "R076-nothing": {"body": b""},
    "R076-schema1": {"body": {"schemaVersion": 1, "manifests": []}},
    "R076-text": {"body": {"schemaVersion": 2, "manifests": "none"}},
    "R076-no-digest": {"body": {"schemaVersion": 2, "manifests": [{**ENTRY, "digest": "../x"}]}},
    "R076-nested": {"body": b"[" * 200_000},
    "R076-a-GiB": {"body": Filler(1 << 30, prefix=b'{"manifests":[')},
    "R072-circle": {"link": f"</v2/demo/app/referrers/{SUBJECT}>; rel=next"},
    "R072-other-host": {"link": '<http://elsewhere.example/x>; rel="next"'},
    "R072-malformed": {"link": "next"},
}


@pytest.mark.parametrize("body", [{"manifests": None}, {"manifests": []}, {}], ids=str)
def test_F09_null_is_an_empty_list_of_referrers(tmp_path, body):
    with serving(faults=[page(body={"schemaVersion": 2, **body})]) as registry:
        assert source_of(tmp_path, registry).referrers(SUBJECT) == []


def test_F09_null_is_an_empty_list_behind_a_tag_too(tmp_path):
    """Where there is no API, clients keep one."""
    raw = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": None}).encode()
    with serving(referrers=False) as registry:
        registry.add("demo/app", raw, OCI_INDEX, str(SUBJECT).replace(":", "-"))
        assert source_of(tmp_path, registry).referrers(SUBJECT) == []


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
def test_invalid_list_of_referrers_is_an_error(tmp_path, wrong):
    with serving(faults=[page(ENTRY, **wrong)]) as registry:
        error = failure(source_of(tmp_path, registry))
        assert error.kind == "registry-protocol"
        assert str(error).isprintable()
        assert sum(request.bytes_sent for request in registry.requests) < 32 << 20


@pytest.mark.parametrize(("note", "pages"), [(0, 100), (1_500_000, 3)], ids=["small", "large"])
def test_endless_list_of_referrers_is_given_up(tmp_path, note, pages):
    """Neither many small pages nor a few large ones fill the memory or take long."""
    with serving() as registry:
        count = itertools.count(1)

        def grow(_request):
            one = {
                **ENTRY,
                "digest": f"sha256:{next(count):064x}",
                "annotations": {"a": "b" * note},
            }
            where = f"/v2/demo/app/referrers/{SUBJECT}?last={one['digest']}"
            registry.faults[:] = [page(one, link=f"<{where}>; rel=next")]

        grow(None)
        registry.log.on_request = grow
        error = failure(source_of(tmp_path, registry))
        assert (error.kind, "do not end" in str(error)) == ("registry-protocol", True)
        assert len(trail(registry)) <= pages
        assert sum(request.bytes_sent for request in registry.requests) < 6 << 20


def test_a_page_that_is_not_there_is_no_missing_api(tmp_path):
    """Otherwise the referrers on that page would be lost silently."""
    link = f"</v2/demo/app/referrers/{SUBJECT}?page=2>; rel=next"
    with serving(faults=[page(ENTRY, link=link, times=1), page(status=404)]) as registry:
        assert failure(source_of(tmp_path, registry)).kind == "registry-protocol"


def test_artifact_type_that_is_not_text_is_ignored(tmp_path):
    entries = [{**ENTRY, "artifactType": 5}]
    with serving(faults=[page(*entries)]) as registry:
        (found,) = source_of(tmp_path, registry).referrers(SUBJECT)
        assert found.artifact_type == ""


STATUSES = {401: "authentication-failed", 403: "denied", 400: "registry-error"}


@pytest.mark.parametrize(("status", "kind"), STATUSES.items())
def test_a_list_that_is_refused_is_an_error(tmp_path, status, kind):
    with serving(faults=[page(status=status)]) as registry:
        assert failure(source_of(tmp_path, registry)).kind == kind


def test_a_page_is_never_shown_the_login_of_another_host(tmp_path):
    with serving(auth="basic", users=USERS) as registry, Registry() as other:
        link = f'<{other.url}/v2/demo/app/referrers/{SUBJECT}>; rel="next"'
        registry.faults.append(page(ENTRY, link=link))
        assert failure(source_of(tmp_path, registry, login=LOGIN)).kind == "registry-protocol"
        assert other.connections == 0


def test_the_tag_is_a_list_of_every_entry_even_of_many(tmp_path):
    entries = [{**ENTRY, "digest": str(Digest.of(str(number).encode()))} for number in range(300)]
    raw = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}).encode()
    with serving(referrers=False) as registry:
        registry.add("demo/app", raw, OCI_INDEX, TAG)
        assert len(digests(source_of(tmp_path, registry))) == 300
