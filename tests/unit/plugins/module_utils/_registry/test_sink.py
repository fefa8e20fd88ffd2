# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A repository as a sink: what it has, manifests that it takes, and lists of what refers to them."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._image.errors import (
    AuthenticationError,
    DeniedError,
)
from ansible_collections.lockstep.images.plugins.module_utils._image.manifest import (
    OCI_INDEX,
    Descriptor,
    Manifest,
)
from ansible_collections.lockstep.images.plugins.module_utils._image.names import Digest
from ansible_collections.lockstep.images.plugins.module_utils._operations.sending import Sinks
from ansible_collections.lockstep.images.plugins.module_utils._registry.credentials import (
    Credentials,
)
from ansible_collections.lockstep.images.tests.support.fakes import blob
from ansible_collections.lockstep.images.tests.support.faults import Fault
from ansible_collections.lockstep.images.tests.support.images import (
    image,
    index,
    layer,
    push,
)
from ansible_collections.lockstep.images.tests.support.pulling import IMAGE, LOGIN, USERS, serving
from ansible_collections.lockstep.images.tests.support.pushing import Sender, steps
from ansible_collections.lockstep.images.tests.support.registry import Registry

DATA = b"0123456789" * 100
OTHER = {"Docker-Content-Digest": f"sha256:{'0' * 64}"}


@pytest.fixture(name="registry")
def fixture_registry():
    with serving() as registry:
        yield registry
    assert registry.errors == []


@pytest.fixture(name="sink")
def fixture_sink(tmp_path, registry):
    return Sender(tmp_path, registry).sink


def manifest_of(item):
    return Manifest.parse(item.raw, item.media_type, "a test")


def descriptor_of(item):
    return Descriptor(item.media_type, Digest.parse(item.digest), len(item.raw))


# -- existing content


def test_existing_content_is_checked_once(registry, sink):
    layers = blob(IMAGE.layers[0].blob)
    assert [sink.has(layers), sink.has(layers), sink.has(descriptor_of(IMAGE))] == [True] * 3
    assert [sink.has(blob(DATA)), sink.has(blob(DATA))] == [False] * 2
    assert steps(registry) == ["HEAD blob", "HEAD manifest", "HEAD blob"]


NEW = Descriptor(OCI_INDEX, blob(DATA).digest, len(DATA))
LARGE = blob(DATA)._replace(size=1024 * 1024)


def test_small_blobs_of_a_new_repository_are_not_checked_after_some_missing_tags(
    tmp_path, registry
):
    """A blob that takes long to send is checked anyway: an interrupted push may have left it."""
    sink = Sender(tmp_path, registry).sink_of("demo/new")
    assert [sink.find(tag) for tag in "abcde"] == [None] * 5
    assert [sink.has(one) for one in (blob(DATA), NEW)] == [False, False]
    assert steps(registry) == ["HEAD tag"] * 3 + ["GET tags"]
    assert not sink.has(LARGE._replace(digest=blob(b"large").digest))
    assert steps(registry)[4:] == ["HEAD blob"]


def test_content_sent_to_a_new_repository_is_present(tmp_path, registry):
    sender = Sender(tmp_path, registry)
    sink = sender.sink_of("demo/new")
    assert [sink.find(tag) for tag in "abc"] == [None] * 3
    sender.send(DATA, sink=sink)
    assert sink.has(blob(DATA))


def test_a_repository_that_lacks_some_tags_is_asked_for_all(registry, sink):
    assert [sink.find(tag) for tag in "abcd"] == [None] * 4
    assert not sink.has(blob(DATA))
    assert str(sink.find("1.0")) == IMAGE.digest
    assert steps(registry) == [*["HEAD tag"] * 3, "GET tags", "HEAD tag", "HEAD blob", "HEAD tag"]


@pytest.mark.parametrize(
    "answer",
    [
        {"status": 404},
        {"status": 404, "body": b'{"errors": [{"code": "UNSUPPORTED"}]}'},
        {"status": 403},
        {"status": 500, "times": None},
    ],
    ids=["no-code", "other-code", "denied", "busy"],
)
def test_a_registry_that_does_not_say_so_is_asked_for_all(tmp_path, registry, answer):
    registry.faults.append(Fault(path="/tags/list", **answer))
    sink = Sender(tmp_path, registry).sink_of("demo/new")
    assert [sink.find(tag) for tag in "abcd"] == [None] * 4
    assert steps(registry)[-1] == "HEAD tag"
    assert not sink.has(blob(DATA))
    assert steps(registry)[-1] == "HEAD blob"


def test_while_one_asks_for_a_repository_others_wait_for_the_answer(tmp_path, registry):
    sink = Sender(tmp_path, registry).sink_of("demo/new")
    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(sink.find, [str(number) for number in range(50)])) == {None}
    asked = steps(registry)
    assert asked.count("GET tags") == 1
    assert asked.count("HEAD tag") <= 3 + 4


def test_a_blob_of_another_size_is_not_the_one(sink):
    wrong = blob(IMAGE.layers[0].blob)._replace(size=5)
    assert not sink.has(wrong)


@pytest.mark.parametrize("status", [400, 403, 404, 405])
def test_content_that_a_registry_does_not_show_is_missing(registry, sink, status):
    """Artifactory says 403 for what is not there."""
    registry.faults.append(Fault(method="HEAD", status=status))
    assert not sink.has(blob(IMAGE.layers[0].blob))


REFUSED_LOOKS = [400, 401, 403, 405, 406, 410, 451, 500, 501]
LOOKS = "HEAD|GET"


def denied(status, **more):
    """A registry that answers so for what it lacks, however often it is asked."""
    return Fault(method=LOOKS, path="/demo/", missing_as=status, times=None, **more)


@pytest.mark.parametrize("auth", [None, "basic", "bearer"])
@pytest.mark.parametrize("status", REFUSED_LOOKS)
def test_F05_a_look_that_is_refused_does_not_end_a_write(tmp_path, status, auth):
    with serving(auth=auth, users=USERS, faults=[denied(status)]) as registry:
        sender = Sender(tmp_path, registry, login=LOGIN)
        sink = sender.sink_of("demo/new")
        assert sink.find("1.0") is None
        assert not sink.has(NEW) and not sink.has(blob(DATA))
        sender.send(DATA, sink=sink)
        for one in (IMAGE.config, IMAGE.layers[0].blob):
            sender.send(one, sink=sink)
        sink.put_manifest(manifest_of(IMAGE), "1.0")
        assert registry.manifest("demo/new", "1.0") == IMAGE.raw
        assert any(
            "demo/new:1.0 is sent, because" in text for text in sink.repository.registry.warnings
        )


@pytest.mark.parametrize("status", REFUSED_LOOKS)
def test_F05_a_registry_that_shows_nothing_at_all_takes_a_push(tmp_path, status):
    """A login may have the right to write alone."""
    with serving(auth="bearer", users=USERS) as registry:
        path = "/demo/app/(manifests|blobs/sha256|tags|referrers)"
        registry.faults.append(Fault(method=LOOKS, path=path, status=status, times=None))
        sender = Sender(tmp_path, registry, login=LOGIN)
        assert sender.sink.find("1.0") is None
        sender.send(DATA)
        sender.sink.put_manifest(manifest_of(IMAGE), "stable")
        assert registry.manifest("demo/app", "stable") == IMAGE.raw


@pytest.mark.parametrize("target", ["http://127.0.0.1:1/x?sig=s3cret", "https://127.0.0.1:1/"])
def test_F05_check_redirected_to_an_unreachable_host_does_not_end_a_write(tmp_path, target):
    """An object store in another network: the write does not go there."""
    fault = Fault(method=LOOKS, path="/(manifests|blobs/sha256)", redirect=target, times=None)
    with serving(faults=[fault]) as registry:
        sender = Sender(tmp_path, registry)
        sink = sender.sink_of("demo/new")
        assert sink.find("1.0") is None
        assert not sink.has(blob(DATA))
        for one in (DATA, IMAGE.config, IMAGE.layers[0].blob):
            sender.send(one, sink=sink)
        sink.put_manifest(manifest_of(IMAGE), "1.0")
        assert registry.manifest("demo/new", "1.0") == IMAGE.raw
        (warning,) = sink.repository.registry.warnings
        assert f"127.0.0.1:1/{'x' if 's3cret' in target else ''}: Connection refused" in warning
        assert f"{registry.address} redirects there" in warning
        assert "s3cret" not in warning


@pytest.mark.parametrize("status", [403, 429, 503])
def test_F05_an_object_store_that_refuses_a_look_does_not_end_a_write(tmp_path, status):
    with serving() as bucket, serving() as registry:
        bucket.faults.append(Fault(method="HEAD", status=status, times=None))
        registry.faults.append(Fault(method="HEAD", redirect=f"{bucket.url}/x", times=None))
        sender = Sender(tmp_path, registry)
        assert not sender.sink.has(blob(DATA))
        sender.send(DATA)
        assert registry.requests_by_method()["PUT"] == 1


@pytest.mark.parametrize("length", [None, len(DATA)])
def test_F05_login_page_in_answer_to_a_check_is_not_content(tmp_path, length):
    """A front for single sign-on answers every unknown request with 200."""
    page = {"Content-Type": "text/html; charset=utf-8"}
    fault = Fault(method=LOOKS, status=200, set_headers=page, body=DATA, content_length=length)
    with serving(faults=[replace(fault, times=None)]) as registry:
        sender = Sender(tmp_path, registry)
        sink = sender.sink_of("demo/new")
        assert sink.find("1.0") is None
        assert not sink.has(blob(DATA)) and not sink.has(NEW)
        for one in (DATA, IMAGE.config, IMAGE.layers[0].blob):
            sender.send(one, sink=sink)
        sink.put_manifest(manifest_of(IMAGE), "1.0")
        assert registry.manifest("demo/new", "1.0") == IMAGE.raw


def test_F05_missing_content_causes_no_warning(tmp_path, registry):
    sink = Sender(tmp_path, registry).sink_of("demo/new")
    assert sink.find("1.0") is None
    assert sink.repository.registry.warnings == []


@pytest.mark.parametrize("raw", [b"{}", b"not JSON", b'{"schemaVersion": 1}'])
def test_F05_unreadable_tag_is_replaced(tmp_path, registry, raw):
    """Without a digest in the headers the manifest is read, whatever it is."""
    fault = Fault(method=LOOKS, path="/manifests/1.0", times=None)
    registry.faults.append(replace(fault, drop_headers=["Docker-Content-Digest"], replace=raw))
    sink = Sender(tmp_path, registry).sink
    assert sink.find("1.0") is None


@pytest.mark.parametrize("auth", ["basic", "bearer"])
def test_F05_a_wrong_login_ends_at_the_first_look(tmp_path, auth):
    """It is not shown for each blob: that would lock the account."""
    wrong = Credentials(LOGIN.username, "wrong")
    with serving(auth=auth, users=USERS) as registry:
        sink = Sender(tmp_path, registry, login=wrong).sink
        for _time in range(3):
            with pytest.raises(AuthenticationError):
                sink.find("1.0")
            with pytest.raises(AuthenticationError):
                sink.has(blob(DATA))
        shown = [one for one in registry.requests if "authorization" in one.headers]
        assert len([one for one in shown if one.path == "/v2/"]) <= 1


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 500, 503])
def test_F05_a_mount_that_is_refused_becomes_an_upload(tmp_path, status):
    with serving(auth="bearer", users=USERS) as registry:
        registry.faults.append(Fault(method="POST", path="mount=", status=status, times=None))
        sender = Sender(tmp_path, registry, login=LOGIN)
        layers = IMAGE.layers[0].blob
        sender.sinks.uploads.add(registry.address, "demo/app", [blob(layers).digest])
        sender.send(layers, sink=sender.sink_of("demo/new"))
        assert sender.arrived(blob(layers), "demo/new")


def test_F05_a_question_about_the_repository_that_is_refused_ends_nothing(tmp_path):
    with serving(auth="basic", users=USERS) as registry:
        registry.faults.append(Fault(path="/tags/list", status=401, times=None))
        sink = Sender(tmp_path, registry, login=LOGIN).sink_of("demo/new")
        assert [sink.find(tag) for tag in "abcd"] == [None] * 4


def test_blobs_without_an_answer_count_as_missing(registry, sink):
    """Public ECR answers 401 to the HEAD of any blob."""
    layers = blob(IMAGE.layers[0].blob)
    registry.faults.append(Fault(method="HEAD", status=401, path=str(layers.digest), times=None))
    assert not sink.has(layers)
    assert sink.has(descriptor_of(IMAGE))


@pytest.mark.parametrize(("status", "kind"), [(429, "rate-limited"), (503, "registry-error")])
def test_a_registry_that_stays_busy_does_not_lack_all(registry, sink, status, kind):
    registry.faults.append(Fault(method="HEAD", status=status, times=None))
    with pytest.raises(Exception, match="demo/app@sha256") as caught:
        sink.has(blob(DATA))
    assert caught.value.kind == kind


def test_content_in_the_descriptor_is_sent_as_it_is(registry, sink):
    descriptor = blob(DATA)
    registry.faults.append(Fault(method="PUT", cut_request_at=10))
    sink.write(descriptor, [DATA[:300], DATA[300:]])
    assert registry.blob("demo/app", str(descriptor.digest)) == DATA
    assert sink.has(descriptor)
    assert steps(registry).count("HEAD blob") == 1  # after the break


def test_an_empty_blob_is_written(registry, sink):
    sink.write(blob(b""), [])
    assert registry.blob("demo/app", str(blob(b"").digest)) == b""


@pytest.mark.parametrize(
    ("data", "kind"), [(DATA[:-1] + b"x", "digest-mismatch"), (DATA[:-1], "truncated")]
)
def test_wrong_bytes_are_not_written(registry, sink, data, kind):
    with pytest.raises(Exception, match="sha256") as caught:
        sink.write(blob(DATA), [data])
    assert caught.value.kind == kind
    assert steps(registry) == []


def test_a_manifest_is_content_too(registry, sink):
    other = image(IMAGE.layers, annotations={"a": "b"}, config={})
    sink.write(descriptor_of(other), [other.raw])
    assert registry.manifest("demo/app", other.digest) == other.raw


# -- manifests

KINDS = {
    "OCI": IMAGE,
    "OCI-without-its-type": image(IMAGE.layers, mediaType=None),
    "Docker": image(IMAGE.layers, docker=True),
    "Docker-list": index([image(IMAGE.layers, docker=True)], docker=True),
    "OCI-index": index([IMAGE]),
}


@pytest.mark.parametrize("item", KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("identifier", ["", "stable"])
def test_a_manifest_is_sent_byte_by_byte_with_its_type(registry, sink, item, identifier):
    push(registry, "demo/app", item)
    registry.remove("demo/app", item.digest)
    sink.put_manifest(manifest_of(item), identifier)
    held = registry.storage.manifest("demo/app", identifier or item.digest)
    assert (held.raw, held.media_type, held.digest) == (item.raw, item.media_type, item.digest)
    assert ("stable" in registry.storage.tags("demo/app")) == bool(identifier)


@pytest.mark.parametrize("status", [200, 201, 202])
def test_a_manifest_may_be_answered_with_any_of(registry, sink, status):
    registry.faults.append(Fault(method="PUT", process=True, status=status))
    sink.put_manifest(manifest_of(IMAGE), "stable")
    assert registry.storage.tags("demo/app") == ["1.0", "stable"]


def test_r086_a_manifest_that_is_called_otherwise_is_an_error(registry, sink):
    registry.faults.append(Fault(method="PUT", set_headers=OTHER))
    with pytest.raises(Exception, match="another digest") as caught:
        sink.put_manifest(manifest_of(IMAGE), "stable")
    assert caught.value.kind == "registry-protocol"


@pytest.mark.parametrize("told", ["", "nonsense", f"sha512:{'0' * 128}"])
def test_unusable_digest_header_is_not_an_error(registry, sink, told):
    registry.faults.append(Fault(method="PUT", set_headers={"Docker-Content-Digest": told}))
    sink.put_manifest(manifest_of(IMAGE), "stable")


@pytest.mark.parametrize("fault", [{"status": 503}, {"close_before": True}, {"cut_request_at": 5}])
@pytest.mark.parametrize("process", [True, False])
def test_r047_a_manifest_is_sent_again(registry, sink, fault, process):
    fault = {**fault, "process": process and "cut_request_at" not in fault}
    registry.faults.append(Fault(method="PUT", times=2, **fault))
    sink.put_manifest(manifest_of(IMAGE), "stable")
    assert steps(registry) == ["PUT tag"] * 3
    assert registry.manifest("demo/app", "stable") == IMAGE.raw


def wrong_digest(**options):
    """The answer of docker-registry to a manifest while another client writes the same one."""
    words = {"code": "DIGEST_INVALID", "message": "provided digest did not match uploaded content"}
    options = {"status": 400, "body": {"errors": [words]}, **options}
    return Fault(method="PUT", path="/manifests/", **options)


@pytest.mark.parametrize("identifier", ["", "stable"])
def test_a_manifest_that_another_host_is_writing_is_sent_again(tmp_path, registry, identifier):
    sender = Sender(tmp_path, registry)
    push(registry, "demo/app", OTHER_IMAGE)
    registry.remove("demo/app", OTHER_IMAGE.digest)
    registry.faults.append(wrong_digest(times=2))
    sender.sink.put_manifest(manifest_of(OTHER_IMAGE), identifier)
    assert registry.manifest("demo/app", identifier or OTHER_IMAGE.digest) == OTHER_IMAGE.raw
    assert sender.clock.slept == [0.5, 1.0]
    assert sender.sinks.stats()["retries"] == 2


@pytest.mark.parametrize("retries", [0, 2])
def test_a_digest_that_stays_invalid_is_an_error_after_the_last_retry(tmp_path, registry, retries):
    sender = Sender(tmp_path, registry, retries=retries)
    registry.faults.append(wrong_digest(times=None))
    with pytest.raises(
        Exception, match=r"demo/app:stable: .* status 400 \(DIGEST_INVALID"
    ) as caught:
        sender.sink.put_manifest(manifest_of(IMAGE), "stable")
    assert (caught.value.kind, caught.value.details) == ("registry-error", {"status": 400})
    assert steps(registry) == ["PUT tag"] * (retries + 1)


@pytest.mark.parametrize("code", ["MANIFEST_INVALID", "MANIFEST_BLOB_UNKNOWN", "TAG_INVALID"])
def test_another_error_of_a_manifest_is_final(registry, sink, code):
    registry.faults.append(wrong_digest(times=None, body={"errors": [{"code": code}]}))
    with pytest.raises(Exception, match=code):
        sink.put_manifest(manifest_of(IMAGE), "stable")
    assert steps(registry) == ["PUT tag"]


OTHER_IMAGE = image(IMAGE.layers, annotations={"a": "b"}, config={})
PARENT = index([IMAGE])
RELATED = {
    "two-tags": (("demo/app", IMAGE, "one"), ("demo/app", IMAGE, "two")),
    "two-repositories": (("demo/app", IMAGE, "one"), ("demo/web", IMAGE, "one")),
    "parent-and-child": (("demo/app", PARENT, "one"), ("demo/app", IMAGE, "two")),
    "parents-of-one-child": (
        ("demo/app", PARENT, "one"),
        ("demo/app", index([IMAGE], annotations={"a": "b"}), "two"),
    ),
}


@pytest.mark.parametrize("manifests", RELATED.values(), ids=RELATED)
def test_related_manifests_are_sent_one_after_the_other(tmp_path, registry, manifests):
    sender, delay = Sender(tmp_path, registry), 0.2
    push(registry, "demo/web", IMAGE)
    sender.sink.find("1.0")  # the first request to a registry is always alone
    registry.faults.append(Fault(method="PUT", path="/manifests/", delay=delay, times=None))
    with ThreadPoolExecutor(2) as pool:
        for repository, item, tag in manifests:
            pool.submit(sender.sink_of(repository).put_manifest, manifest_of(item), tag)
    first, second = (one.started for one in registry.requests if one.method == "PUT")
    assert abs(second - first) >= delay


def test_unrelated_manifests_are_sent_at_the_same_time(registry, sink, monkeypatch):
    push(registry, "demo/app", OTHER_IMAGE)
    both, send = threading.Barrier(2, timeout=30), sink.request

    def request(*args, **options):
        both.wait()
        return send(*args, **options)

    monkeypatch.setattr(sink, "request", request)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(sink.put_manifest, map(manifest_of, (IMAGE, OTHER_IMAGE)), ("one", "two")))
    assert registry.storage.tags("demo/app") == ["1.0", "one", "two"]


def test_a_manifest_that_was_sent_by_its_digest_is_not_sent_by_it_again(registry, sink):
    for identifier in ("", "", "stable"):
        sink.put_manifest(manifest_of(IMAGE), identifier)
    assert steps(registry) == ["PUT manifest", "PUT tag"]


REFUSED = {
    "R089-too-large": (413, "too-large", f"{len(IMAGE.raw)} B"),
    "no-pushes": (405, "push-refused", "accepts no pushes"),
    "denied": (403, "denied", "access is denied (CODE: why)"),
    "immutable": (400, "registry-error", "status 400 (CODE: why)"),
    "conflict": (409, "registry-error", "status 409 (CODE: why)"),
    "gone": (404, "not-found", "not found (CODE: why)"),
    "busy": (503, "registry-error", "status 503"),
    "limited": (429, "rate-limited", "too many requests"),
}


@pytest.mark.parametrize(("status", "kind", "says"), REFUSED.values(), ids=REFUSED)
def test_a_refusal_says_what_and_why(registry, sink, status, kind, says):
    words = {"errors": [{"code": "CODE", "message": "why"}]}
    registry.faults.append(Fault(method="PUT", status=status, times=None, body=words))
    with pytest.raises(Exception, match="demo/app:stable") as caught:
        sink.put_manifest(manifest_of(IMAGE), "stable")
    assert caught.value.kind == kind
    assert says in str(caught.value)
    assert registry.storage.tags("demo/app") == ["1.0"]


def test_r088_a_registry_that_lacks_a_blob_names_it(tmp_path):
    with Registry() as registry:
        sink = Sender(tmp_path, registry).sink
        with pytest.raises(Exception, match="MANIFEST_BLOB_UNKNOWN") as caught:
            sink.put_manifest(manifest_of(IMAGE), "1")
        assert IMAGE.config_digest in str(caught.value)


def test_missing_push_permission_gets_a_hint(tmp_path):
    permissions = {"robot": {"*": "pull"}}
    with serving(auth="bearer", users=USERS, permissions=permissions) as registry:
        sink = Sender(tmp_path, registry, login=LOGIN).sink
        with pytest.raises(Exception, match="refused") as caught:
            sink.put_manifest(manifest_of(IMAGE), "stable")
        assert "right to push" in caught.value.hint


# -- what refers to manifests

SIGNATURE = image(
    [layer({"signature": b"x"})],
    subject={"mediaType": IMAGE.media_type, "digest": IMAGE.digest, "size": len(IMAGE.raw)},
    artifactType="application/vnd.example.signature",
    annotations={"by": "somebody"},
)
SECOND = image(
    [layer({"signature": b"y"})],
    subject={"mediaType": IMAGE.media_type, "digest": IMAGE.digest, "size": len(IMAGE.raw)},
)
STAND_IN = IMAGE.digest.replace(":", "-")


@pytest.fixture(name="old")
def fixture_old():
    """A registry that keeps no lists of referrers."""
    with serving(referrers=False) as registry:
        for item in (SIGNATURE, SECOND):
            push(registry, "demo/app", item)
        yield registry


def test_a_registry_that_keeps_lists_needs_no_tag(registry, sink):
    push(registry, "demo/app", SIGNATURE)
    sink.put_manifest(manifest_of(SIGNATURE))
    assert registry.storage.tags("demo/app") == ["1.0"]


def test_where_no_list_is_kept_a_tag_stands_in(tmp_path, old):
    sink = Sender(tmp_path, old).sink
    for item in (SIGNATURE, SECOND, SIGNATURE):
        sink.put_manifest(manifest_of(item))
    listed = json.loads(old.manifest("demo/app", STAND_IN))
    assert listed["mediaType"] == OCI_INDEX
    assert old.storage.manifest("demo/app", STAND_IN).media_type == OCI_INDEX
    assert listed["manifests"] == [
        {
            "mediaType": SIGNATURE.media_type,
            "digest": SIGNATURE.digest,
            "size": len(SIGNATURE.raw),
            "artifactType": "application/vnd.example.signature",
            "annotations": {"by": "somebody"},
        },
        {
            "mediaType": SECOND.media_type,
            "digest": SECOND.digest,
            "size": len(SECOND.raw),
            "artifactType": "application/vnd.oci.image.config.v1+json",
        },
    ]


def test_referrer_that_is_already_listed_changes_nothing(tmp_path, old):
    Sender(tmp_path, old).sink.put_manifest(manifest_of(SIGNATURE))
    before = old.manifest("demo/app", STAND_IN)
    old.clear()
    Sender(tmp_path, old).sink.put_manifest(manifest_of(SIGNATURE))
    assert old.manifest("demo/app", STAND_IN) == before
    assert steps(old) == ["PUT manifest", "GET tag"]


def test_the_list_has_what_others_put_into_it(tmp_path, old):
    theirs = index([SECOND], annotations={"kept": "yes"})
    old.add("demo/app", theirs.raw, theirs.media_type, STAND_IN)
    Sender(tmp_path, old).sink.put_manifest(manifest_of(SIGNATURE))
    listed = json.loads(old.manifest("demo/app", STAND_IN))
    assert [one["digest"] for one in listed["manifests"]] == [SECOND.digest, SIGNATURE.digest]
    assert listed["annotations"] == {"kept": "yes"}


@pytest.mark.parametrize("status", [400, 401, 403, 405, 500])
def test_F05_where_a_list_that_is_not_there_is_refused_one_is_made(tmp_path, status):
    with serving(auth="basic", users=USERS, referrers=False) as registry:
        push(registry, "demo/app", SIGNATURE)
        registry.faults.append(denied(status))
        Sender(tmp_path, registry, login=LOGIN).sink.put_manifest(manifest_of(SIGNATURE))
        listed = json.loads(registry.manifest("demo/app", STAND_IN))["manifests"]
        assert [one["digest"] for one in listed] == [SIGNATURE.digest]


def test_F09_a_list_that_is_null_gets_its_first_entry(tmp_path, old):
    raw = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": None}).encode()
    old.add("demo/app", raw, OCI_INDEX, STAND_IN)
    Sender(tmp_path, old).sink.put_manifest(manifest_of(SIGNATURE))
    listed = json.loads(old.manifest("demo/app", STAND_IN))["manifests"]
    assert [one["digest"] for one in listed] == [SIGNATURE.digest]


def test_F05_a_list_that_is_there_and_refused_is_not_replaced(tmp_path, old):
    sink = Sender(tmp_path, old).sink
    sink.put_manifest(manifest_of(SIGNATURE))
    old.faults.append(Fault(method=LOOKS, path=f"manifests/{STAND_IN}", status=403, times=None))
    with pytest.raises(DeniedError):
        sink.put_manifest(manifest_of(SECOND))
    listed = json.loads(old.manifest("demo/app", STAND_IN))["manifests"]
    assert [one["digest"] for one in listed] == [SIGNATURE.digest]


def test_signatures_sent_at_the_same_time_are_all_listed(tmp_path, old):
    sink = Sender(tmp_path, old).sink
    items = [
        image(SIGNATURE.layers, subject=SIGNATURE.view["subject"], annotations={"n": str(n)})
        for n in range(12)
    ]
    for item in items:
        push(old, "demo/app", item)
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda item: sink.put_manifest(manifest_of(item)), items))
    listed = json.loads(old.manifest("demo/app", STAND_IN))["manifests"]
    assert {one["digest"] for one in listed} == {item.digest for item in items}


# -- scopes


def test_the_right_to_push_is_asked_for_at_once(tmp_path):
    with serving(auth="bearer", users=USERS) as registry:
        sender = Sender(tmp_path, registry, login=LOGIN)
        sender.send(DATA)
        assert [one.scopes for one in registry.token_requests] == [
            ("repository:demo/app:pull,push",)
        ]


def test_no_more_than_a_few_repositories_are_mounted_from(tmp_path):
    with serving(auth="bearer", users=USERS) as registry:
        sender = Sender(tmp_path, registry, login=LOGIN)
        sender.sink.mount_from([f"demo/{n:03}" for n in range(50)] + ["demo/app"])
        sender.send(DATA)
        (asked,) = registry.token_requests
        assert len(asked.scopes) == 21
        assert asked.scopes[:2] == ("repository:demo/app:pull,push", "repository:demo/000:pull")


def test_one_repository_is_one_sink(tmp_path, registry):
    sender = Sender(tmp_path, registry)
    assert sender.sink_of("demo/app") is sender.sink
    assert sender.sink_of("demo/web") is not sender.sink
    assert Sinks(sender.puller.sources, 0).stats()["bytes_sent"] == 0
