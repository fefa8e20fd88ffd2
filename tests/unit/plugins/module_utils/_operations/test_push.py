# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Push: five properties, what is sent and in which order, and what does not go."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._execution import Pool
from ansible_collections.lockstep.images.plugins.module_utils._image.errors import (
    InputError,
    NotInStoreError,
)
from ansible_collections.lockstep.images.plugins.module_utils._image.names import (
    Digest,
    Platform,
    Reference,
)
from ansible_collections.lockstep.images.plugins.module_utils._operations.push import (
    plan_push,
    targets_of,
)
from ansible_collections.lockstep.images.plugins.module_utils._operations.sending import (
    PublishImage,
    SendOptions,
    SendPlanner,
)
from ansible_collections.lockstep.images.plugins.module_utils._store.reader import IndexEntry
from ansible_collections.lockstep.images.plugins.module_utils._store.store import ImageStore
from ansible_collections.lockstep.images.tests.support.fakes import FakeSources, blob
from ansible_collections.lockstep.images.tests.support.faults import Fault
from ansible_collections.lockstep.images.tests.support.images import (
    demo_image,
    image,
    index,
    layer,
    push,
)
from ansible_collections.lockstep.images.tests.support.plans import dry_run, execute
from ansible_collections.lockstep.images.tests.support.pulling import LOGIN, USERS, Puller
from ansible_collections.lockstep.images.tests.support.pushing import (
    facts,
    half_images,
    held,
    steps,
    summaries,
)
from ansible_collections.lockstep.images.tests.support.registry import Registry
from ansible_collections.lockstep.images.tests.support.stores import AMD64, ARM64, pull, statuses

HOME = "registry.example"
BASE = layer({"base": b"base" * 400})


def small(text, platform=AMD64, **more):
    """An image of two layers, of which all have the first."""
    return image([BASE, layer({"file": text.encode() * 300})], platform, **more)


APP = demo_image("app", "1", layers=2, size=2500)
NEXT = demo_image("app", "2", layers=2, size=2500)
PROVEN = demo_image("web", "1", layers=2, size=2500, attestations=True)
ONE, TWO = small("one"), small("two")
CONTENT = {"app:1": APP, "web:1": PROVEN, "tool:1": ONE}
NAMES = tuple(CONTENT)


@pytest.fixture(name="sources")
def fixture_sources():
    sources = FakeSources()
    for name, item in {**CONTENT, "app:2": NEXT, "tool:2": TWO}.items():
        sources.publish(f"{HOME}/{name}", item)
    return sources


@pytest.fixture(name="store")
def fixture_store(tmp_path, sources):
    """A store that holds all platforms of three images."""
    store = ImageStore(str(tmp_path / "store"))
    fill(store, sources, *NAMES)
    return store


def fill(store, sources, *names, **how):
    how = {"platforms": None, **how}
    return pull(store, sources, *(f"{HOME}/{name}" for name in names), **how)


# Where logins matter; all other tests use tokens, which take the most requests.
every_login = pytest.mark.parametrize("registry", [None, "bearer"], ids=str, indirect=True)


@pytest.fixture(name="registry")
def fixture_registry(request):
    with Registry(auth=getattr(request, "param", "bearer"), users=USERS) as registry:
        yield registry
    assert registry.errors == []
    assert half_images(registry) == []


@pytest.fixture(name="pusher")
def fixture_pusher(tmp_path, store, registry):
    return Pusher(tmp_path, store, registry)


class Pusher:
    """Pushes names of a store to a registry, each time as a task of its own."""

    def __init__(self, directory, store, registry):
        self.directory, self.store, self.registry = directory, store, registry

    def plan(self, *names, to=None, chunk_size=0, workers=3, **options):
        """Names of ``registry.example``; without ``to`` each goes to its own path in the registry."""
        sources = Puller(self.directory, self.registry, login=LOGIN).sources
        if options.get("platform"):
            options["platform"] = Platform.parse(options["platform"])
        planner = SendPlanner(sources, SendOptions(workers, chunk_size, **options))
        if to is not None:
            texts, targets = names, [f"{self.registry.address}/{one}" for one in to]
            references = [Reference.parse(f"{HOME}/{text}") for text in texts]
            return plan_push(self.store, references, targets, planner)
        # As if each had its own name: the store has it under that of HOME.
        return self._many(names, planner)

    def _many(self, names, planner):
        store = self.store

        class Renamed:
            """The store, with the names of the registry beside those it has."""

            path = store.path

            def __getattr__(self, name):
                return getattr(store, name)

            @staticmethod
            def names():
                held = store.names()
                return {
                    name.replace(HOME, self.registry.address): IndexEntry(held[name].target)
                    for name in held
                }

        references = [Reference.parse(f"{self.registry.address}/{name}") for name in names]
        return plan_push(Renamed(), references, (), planner)

    def push(self, *names, **options):
        outcome = execute(self.plan(*names, **options))
        if outcome.failure:
            raise outcome.failure
        return outcome.result()


def blobs_of(item):
    return {digest for digest, _content in item.blobs()}


# -- the five properties

STATES = {"nothing": [], "one": ["tool:1"], "another": ["app:2"], "all": [*NAMES]}
every_state = pytest.mark.parametrize("there", STATES.values(), ids=STATES)


def put(registry, *names):
    for name in names:
        repository, tag = name.split(":")
        push(registry, repository, {**CONTENT, "app:2": NEXT}[name], tag.replace("2", "1"))


@every_login
@every_state
def test_planning_sends_only_heads_and_gets(pusher, registry, there):
    put(registry, *there)
    before = held(registry)
    plan = pusher.plan(*NAMES)
    assert plan.changed == (there != STATES["all"])
    assert held(registry) == before
    verbs = {one.method for one in registry.requests if one.path != "/token"}
    assert verbs <= {"HEAD", "GET"}
    assert not [step for step in steps(registry) if step.startswith("GET") and "blob" in step]


@every_login
@every_state
def test_plan_is_empty_after_it_was_applied(pusher, registry, there):
    put(registry, *there)
    result = pusher.push(*NAMES)
    assert result["changed"] == (there != STATES["all"])
    registry.clear()
    again = pusher.plan(*NAMES)
    assert (again.changed, summaries(again.actions)) == (False, [])
    assert set(statuses(dry_run(again).result())) == {"up_to_date"}
    assert again.before == again.after
    wanted = [f"HEAD /v2/{name.replace(':', '/manifests/')}" for name in NAMES]
    asked = [f"{one.method} {one.path}" for one in registry.requests if one.path != "/token"]
    assert sorted(set(asked)) == sorted(wanted)


def test_no_tag_is_incomplete_after_any_action_and_the_next_plan_is_the_rest(tmp_path, store):
    number, total = 0, 1
    while number <= total:
        with Registry() as registry:
            pusher = Pusher(tmp_path, store, registry)
            plan = pusher.plan("app:1", "web:1")
            total = len(plan.actions)
            with Pool(1) as pool:
                for action in plan.actions[:number]:
                    action.apply(pool)
            assert half_images(registry) == []
            rest = pusher.plan("app:1", "web:1")
            assert summaries(rest.actions) == summaries(plan.actions[number:])
            outcome = execute(rest)
            assert outcome.failure is None
            assert not pusher.plan("app:1", "web:1").changed
        number += 1
    assert total > 10


@pytest.mark.parametrize("failing", range(12))
def test_no_tag_is_incomplete_if_sending_manifests_breaks_off(tmp_path, store, failing):
    with Registry() as registry:
        pusher = Pusher(tmp_path, store, registry)
        fault = Fault(method="PUT", path="/manifests/", skip=failing, times=1, status=400)
        registry.faults.append(fault)
        execute(pusher.plan(*NAMES))
        assert half_images(registry) == []
        registry.faults.clear()
        pusher.push(*NAMES)
        assert not pusher.plan(*NAMES).changed


@every_login
@every_state
def test_plan_and_apply_report_the_same(pusher, registry, there):
    put(registry, *there)
    plan = pusher.plan(*NAMES)
    told = facts(dry_run(plan).result())
    outcome = execute(plan)
    assert facts(outcome.result()) == told
    sent = sorted(map(str, summaries(outcome.done)))
    assert sent == sorted(map(str, told["actions"]))


def test_bytes_to_send_are_known_before_the_apply(pusher):
    plan = pusher.plan(*NAMES)
    told = dry_run(plan).result()["stats"]
    outcome = execute(plan)
    cost = outcome.result()["stats"]
    assert told["bytes_to_send"] == cost["bytes_to_send"] == cost["bytes_sent"] > 0
    assert told["bytes_sent"] == 0


def test_result_does_not_depend_on_the_order_of_names(tmp_path, store):
    found = []
    for names in (NAMES, NAMES[::-1]):
        with Registry() as registry:
            Pusher(tmp_path, store, registry).push(*names)
            found.append(held(registry))
    assert found[0] == found[1]


# -- what is sent, and in which order


def test_blobs_are_sent_before_children_and_the_tagged_index_last(pusher, registry):
    pusher.push("app:1")
    puts = [
        (one.method, one.path.rpartition("/")[2])
        for one in registry.requests
        if one.method == "PUT" and one.status == 201
    ]
    kinds = [
        "upload" if "/uploads/" in one.path else "manifest"
        for one in registry.requests
        if one.method == "PUT"
    ]
    assert kinds == sorted(kinds, reverse=True)
    children = [one.digest for one in APP.images]
    assert [what for _verb, what in puts][-3:] == [*children, "1"]


@every_login
@pytest.mark.parametrize("chunk_size", [0, 1000])
def test_pushed_content_has_the_bytes_of_the_store(pusher, registry, chunk_size):
    pusher.push(*NAMES, chunk_size=chunk_size)
    for name, item in CONTENT.items():
        repository, tag = name.split(":")
        assert registry.storage.tags(repository) == [tag]
        for digest, media_type, raw in item.manifests():
            found = registry.storage.manifest(repository, digest)
            assert (found.raw, found.media_type) == (raw, media_type)
        for digest, content in item.blobs():
            assert registry.blob(repository, digest) == content
        assert registry.manifest(repository, tag) == item.raw


@every_login
def test_only_what_is_missing_is_sent(pusher, registry, sources):
    push(registry, "app", APP, "1")
    fill(pusher.store, sources, "app:2")
    result = pusher.push("app:2")
    sent = {one["digest"] for one in result["actions"] if one["action"] == "push_blob"}
    assert sent == blobs_of(NEXT) - blobs_of(APP)
    assert statuses(result) == ["uploaded"]


def test_moved_tag_is_reported_as_updated(pusher, registry, sources):
    push(registry, "app", NEXT, "1")
    result = pusher.push("app:1")
    assert statuses(result) == ["updated"]
    name = f"{registry.address}/app:1"
    assert result["diff"] == {"before": {name: NEXT.digest}, "after": {name: APP.digest}}
    assert result["actions"][-1] == {
        "action": "publish_image",
        "name": name,
        "digest": APP.digest,
        "previous": NEXT.digest,
    }


@every_login
def test_existing_image_is_tagged_again_with_one_put(pusher, registry):
    push(registry, "app", APP, "old")
    pusher.push("app:1")
    puts = [step for step in steps(registry) if not step.startswith(("HEAD", "GET", "POST token"))]
    assert puts == ["PUT tag"]
    assert registry.storage.tags("app") == ["1", "old"]


def test_a_child_of_an_image_with_two_tags_is_sent_once(pusher, registry):
    pusher.push("app:1", to=["app:one", "app:two"])
    assert steps(registry).count("PUT tag") == 2
    assert steps(registry).count("PUT manifest") == len(list(APP.manifests())) - 1
    assert registry.storage.tags("app") == ["one", "two"]


def test_a_blob_that_images_share_is_sent_once(pusher, registry, sources):
    fill(pusher.store, sources, "tool:2")
    result = pusher.push("tool:1", "tool:2")
    sent = [one["digest"] for one in result["actions"] if one["action"] == "push_blob"]
    assert sorted(sent) == sorted(blobs_of(ONE) | blobs_of(TWO))
    assert steps(registry).count("PUT upload") == len(sent)


@every_login
def test_content_of_another_repository_in_the_store_is_mounted(pusher, registry, sources):
    """The store knows the image by a name of the same registry."""
    push(registry, "tool", ONE, "1")
    name = f"{registry.address}/tool:1"
    sources.publish(name, ONE)
    pull(pusher.store, sources, name)
    result = pusher.push("tool:1", to=["copy"])
    assert result["stats"]["blobs_mounted"] == len(blobs_of(ONE))
    assert result["stats"]["bytes_sent"] == 0
    assert result["stats"]["bytes_to_send"] > 0
    assert held(registry)["blobs"]["copy"] == blobs_of(ONE)


@every_login
def test_content_for_two_repositories_is_sent_once_by_one_thread(pusher, registry):
    result = pusher.push("tool:1", to=["one", "two"], workers=1)
    assert result["stats"]["blobs_mounted"] == len(blobs_of(ONE))
    assert result["stats"]["bytes_sent"] * 2 == result["stats"]["bytes_to_send"]
    assert held(registry)["blobs"] == {"one": blobs_of(ONE), "two": blobs_of(ONE)}


# -- kinds of images

FOREIGN = image(
    [
        BASE,
        layer(
            {"w": b"windows"},
            media_type="application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
        ),
    ]
)
ARTIFACT = image([layer({"chart": b"x"})], artifactType="application/vnd.example.chart")
KINDS = {
    "image": ONE,
    "docker-image": small("docker", docker=True),
    "docker-list": index([small("a", docker=True), small("b", ARM64, docker=True)], docker=True),
    "index": APP,
    "attestations": PROVEN,
    "nested": index([APP, index([ONE, index([TWO])])]),
    "same-child-twice": index([ONE, index([ONE])]),
    "of-one": index([ONE]),
    "empty-index": index([]),
    "artifact": ARTIFACT,
    "without-its-type": image([BASE], mediaType=None),
    "empty-layer": image([layer({}, compression=None), BASE, BASE]),
    "no-layers": image([]),
}


@pytest.mark.parametrize("item", KINDS.values(), ids=KINDS)
def test_every_kind_of_image_is_pushed_unchanged(pusher, registry, sources, item):
    sources.publish(f"{HOME}/kind:1", item)
    fill(pusher.store, sources, "kind:1")
    result = pusher.push("kind:1")
    assert result["images"][0]["digest"] == item.digest
    assert registry.manifest("kind", "1") == item.raw
    assert set(held(registry)["manifests"]["kind"]) == {one[0] for one in item.manifests()}
    assert held(registry)["blobs"].get("kind", set()) == blobs_of(item)
    assert not pusher.plan("kind:1").changed


def test_an_entry_of_an_unknown_type_is_sent_as_a_blob(pusher, registry, sources):
    other = b"what nobody knows"
    entry = {
        "mediaType": "application/vnd.example.thing",
        "digest": str(blob(other).digest),
        "size": len(other),
    }
    item = index([ONE], manifests=[ONE.descriptor(), entry])
    sources.publish(f"{HOME}/kind:1", item)
    sources[f"{HOME}/kind"].content[entry["digest"]] = other
    fill(pusher.store, sources, "kind:1")
    registry._distribution.lenient = True
    plan = pusher.plan("kind:1")
    outcome = execute(plan)
    assert outcome.failure is None
    assert registry.blob("kind", entry["digest"]) == other
    assert registry.manifest("kind", "1") == item.raw
    registry.untag("kind", "1")


def test_foreign_layers_are_reported_and_not_sent(pusher, registry, sources):
    sources.publish(f"{HOME}/kind:1", FOREIGN)
    fill(pusher.store, sources, "kind:1")
    plan = pusher.plan("kind:1")
    outcome = execute(plan)
    assert outcome.failure is None
    assert plan.warnings() == [f"{registry.address}/kind:1: 1 foreign layers are not sent"]
    assert FOREIGN.layers[1].digest not in held(registry)["blobs"]["kind"]


SIGNATURE = image(
    [layer({"signature": b"x"})],
    subject={"mediaType": APP.media_type, "digest": APP.digest, "size": len(APP.raw)},
)


@every_login
def test_referrers_of_an_image_are_pushed_with_it(pusher, registry, sources):
    repository = sources[f"{HOME}/app"]
    repository.publish(SIGNATURE)
    repository.publish(TWO, f"{APP.digest.replace(':', '-')}.sig")
    fill(pusher.store, sources, "app:1", referrers=True)
    result = pusher.push("app:1", to=["app"], referrers=True)
    assert registry.manifest("app", SIGNATURE.digest) == SIGNATURE.raw
    assert sorted(registry.storage.tags("app")) == ["1", f"{APP.digest.replace(':', '-')}.sig"]
    assert len(result["images"]) == 3
    assert not pusher.plan("app:1", to=["app"], referrers=True).changed
    assert len(pusher.plan("app:1", to=["app"]).facts["images"]) == 1


# -- parts of indexes


@pytest.fixture(name="sparse")
def fixture_sparse(tmp_path, sources, registry):
    store = ImageStore(str(tmp_path / "sparse"))
    fill(store, sources, "app:1", platforms=[ARM64])
    return Pusher(tmp_path, store, registry)


def test_incomplete_index_is_rejected_with_a_clear_message(sparse, registry):
    plan = sparse.plan("app:1")
    failure = dry_run(plan).failure
    assert (plan.changed, failure.kind) == (False, "not-in-store")
    assert "holds only a part of this index" in str(failure)
    assert "platform=all" in failure.hint
    assert held(registry)["tags"] == {}


def test_the_image_for_one_platform_is_pushed_under_the_tag(sparse, registry):
    result = sparse.push("app:1", platform=ARM64)
    child = APP.for_platform(ARM64)
    assert registry.manifest("app", "1") == child.raw
    assert result["images"][0]["digest"] == child.digest
    assert not sparse.plan("app:1", platform=ARM64).changed


def test_platform_missing_in_the_store_is_reported(sparse):
    assert dry_run(sparse.plan("app:1", platform=AMD64)).failure.kind == "not-in-store"


def test_unknown_platform_is_reported(sparse):
    assert (
        dry_run(sparse.plan("app:1", platform="linux/s390x")).failure.kind == "platform-not-found"
    )


@pytest.mark.parametrize("allow", [False, True])
def test_F23_an_image_without_an_index_for_another_platform_is_not_pushed(pusher, registry, allow):
    plan = pusher.plan("tool:1", to=["tool:1"], platform=ARM64, allow=allow)
    name = f"{registry.address}/tool:1"
    says = f"{name}: is for linux/amd64, not for linux/arm64"
    if allow:
        assert (plan.warnings(), plan.failures) == ([says], {})
    else:
        assert (plan.failures[name].kind, str(plan.failures[name])) == ("platform-not-found", says)
    assert not pusher.plan("tool:1", to=["tool:1"], platform=AMD64).failures


def test_an_index_that_the_registry_has_need_not_be_in_the_store(sparse, registry):
    push(registry, "app", APP, "1")
    assert not sparse.plan("app:1").changed


# -- force


def test_force_sends_content_that_a_registry_has_lost(pusher, registry):
    pusher.push("app:1")
    lost = APP.images[0].layers[0]
    registry.remove("app", lost.digest)
    assert not pusher.plan("app:1").changed
    result = pusher.push("app:1", force=True)
    assert [one["digest"] for one in result["actions"]] == [lost.digest]
    assert registry.blob("app", lost.digest) == lost.blob
    assert statuses(result) == ["uploaded"]
    assert not pusher.plan("app:1", force=True).changed


def test_force_sends_a_child_that_a_registry_has_lost(pusher, registry):
    pusher.push("app:1")
    registry.remove("app", APP.images[1].digest)
    result = pusher.push("app:1", force=True)
    assert [one["action"] for one in result["actions"]] == ["publish_image"]
    assert registry.manifest("app", APP.images[1].digest) == APP.images[1].raw


# -- names


@every_login
def test_failed_name_does_not_stop_the_others(pusher, registry):
    registry.faults.append(Fault(method="POST", path="/v2/web/", status=403, times=None))
    plan = pusher.plan(*NAMES, "none:1")
    outcome = execute(plan)
    result = outcome.result()
    failed = {one["name"]: one["error"]["kind"] for one in result["failures"]}
    address = registry.address
    assert failed == {f"{address}/web:1": "denied", f"{address}/none:1": "not-in-store"}
    assert [one["name"] for one in result["images"]] == [f"{address}/app:1", f"{address}/tool:1"]
    assert sorted(held(registry)["tags"]) == ["app", "tool"]
    assert outcome.failure.kind == "not-in-store"
    assert f"{address}/web:1" not in result["diff"]["after"]


@every_login
def test_refused_manifest_fails_only_its_name(pusher, registry):
    registry.faults.append(Fault(method="PUT", path="/web/manifests/1", status=400, times=None))
    plan = pusher.plan(*NAMES)
    outcome = execute(plan)
    assert list(outcome.failures) == [f"{registry.address}/web:1"]
    assert sorted(held(registry)["tags"]) == ["app", "tool"]


@every_login
@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("status", [400, 401, 403, 405])
def test_F05_content_that_a_registry_refuses_to_show_is_pushed(pusher, registry, status, force):
    """As Artifactory does: 403 for a tag that is not there. The second run finds it."""
    registry.faults.append(Fault(method="HEAD|GET", missing_as=status, times=None))
    result = pusher.push(*NAMES, force=force)
    assert result["changed"]
    assert [one["status"] for one in result["images"]] == ["uploaded"] * 3
    assert registry.storage.tags("web") == ["1"]
    assert not pusher.plan(*NAMES).changed


@every_login
def test_F05_answer_to_the_push_itself_counts(pusher, registry):
    registry.faults.append(Fault(method="HEAD|GET", missing_as=403, times=None))
    registry.faults.append(Fault(method="POST", path="/tool/", status=403, times=None))
    plan = pusher.plan(*NAMES)
    outcome = execute(plan)
    name = f"{registry.address}/tool:1"
    assert list(outcome.failures) == [name]
    assert outcome.failures[name].kind == "denied"
    assert "right to push" in outcome.failures[name].hint


def test_a_name_that_is_given_twice_is_pushed_once(pusher):
    result = pusher.push("tool:1", "tool:1", to=["x"])
    assert len(result["images"]) == 1


def test_two_images_for_one_name_are_rejected(pusher, registry):
    with pytest.raises(InputError, match="conflicting sources"):
        pusher.plan("app:1", "tool:1", to=["x:1"])
    assert registry.requests == []


TARGETS = [
    ("a.example/app:1", [], ["a.example/app:1"]),
    ("a.example/app:1", ["b.example/x"], ["b.example/x:1"]),
    ("a.example/app:1", ["b.example/x:2"], ["b.example/x:2"]),
    ("a.example/app:1", ["b.example/x:latest"], ["b.example/x:latest"]),
    ("a.example/app:1", ["b.example:5000/x"], ["b.example:5000/x:1"]),
    ("a.example/app:1", ["b.example/x", "c.example/y:3"], ["b.example/x:1", "c.example/y:3"]),
    (f"a.example/app:1@{APP.digest}", [], ["a.example/app:1"]),
    (f"a.example/app:1@{APP.digest}", ["b.example/x"], ["b.example/x:1"]),
    (f"a.example/app@{APP.digest}", [], [f"a.example/app@{APP.digest}"]),
    (f"a.example/app@{APP.digest}", ["b.example/x"], [f"b.example/x@{APP.digest}"]),
    (f"a.example/app@{APP.digest}", ["b.example/x:2"], ["b.example/x:2"]),
    (f"a.example/app@{APP.digest}", ["b.example/x:latest"], ["b.example/x:latest"]),
]


@pytest.mark.parametrize(("source", "repositories", "targets"), TARGETS)
def test_image_keeps_its_tag_by_default(source, repositories, targets):
    assert [str(one) for one in targets_of(Reference.parse(source), repositories)] == targets


def test_push_to_a_name_with_a_digest_is_an_error():
    with pytest.raises(InputError, match="not to a digest"):
        targets_of(Reference.parse("a.example/app:1"), [f"b.example/x@{APP.digest}"])


def test_push_by_digest_sets_no_tag(pusher, registry, sources):
    name = f"tool@{ONE.digest}"
    fill(pusher.store, sources, name)
    result = pusher.push(name, to=["copy"])
    assert result["images"][0]["name"] == f"{registry.address}/copy@{ONE.digest}"
    assert registry.storage.tags("copy") == []
    assert registry.manifest("copy", ONE.digest) == ONE.raw
    assert not pusher.plan(name, to=["copy"]).changed


def test_digest_that_the_tag_does_not_have_in_the_store_is_reported(pusher):
    plan = pusher.plan(f"tool:1@{TWO.digest}", to=["x"])
    assert isinstance(dry_run(plan).failure, NotInStoreError)
    assert not plan.changed


def test_missing_content_in_the_store_fails_only_its_name(pusher, registry):
    Path(pusher.store.blob_path(Digest.parse(ONE.layers[1].digest))).unlink()
    plan = pusher.plan("tool:1", "app:1")
    outcome = execute(plan)
    assert outcome.failure.kind == "not-in-store"
    assert sorted(held(registry)["tags"]) == ["app"]


def test_corrupt_bytes_of_the_store_are_not_sent(pusher, registry):
    path = Path(pusher.store.blob_path(Digest.parse(ONE.layers[1].digest)))
    path.write_bytes(bytes(len(path.read_bytes())))
    plan = pusher.plan("tool:1", "app:1")
    outcome = execute(plan)
    assert outcome.failure.kind == "digest-mismatch"
    assert sorted(held(registry)["tags"]) == ["app"]


def test_negative_chunk_size_is_rejected(tmp_path, registry):
    with pytest.raises(InputError, match="chunk_size"):
        SendOptions.of({"chunk_size": -1})


def test_actions_of_names_come_last(pusher):
    plan = pusher.plan(*NAMES)
    kinds = [isinstance(action, PublishImage) for action in plan.actions]
    assert kinds == sorted(kinds)
    assert kinds.count(True) == len(NAMES)
