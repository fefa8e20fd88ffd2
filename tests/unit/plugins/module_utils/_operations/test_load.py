# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Load, on an engine and registries in memory: what is read, sent and reported."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._engines.directory import (
    DirectoryEngine,
)
from ansible_collections.lockstep.images.plugins.module_utils._engines.engine import LoadOptions
from ansible_collections.lockstep.images.plugins.module_utils._engines.errors import (
    EngineError,
    EngineGoneError,
    EngineIncompleteError,
    EngineNoSpaceError,
)
from ansible_collections.lockstep.images.plugins.module_utils._image.errors import (
    InputError,
    LockError,
    NoPlatformError,
    NotFoundError,
    NotInStoreError,
    UnreachableError,
    UnsupportedError,
)
from ansible_collections.lockstep.images.plugins.module_utils._image.lock import Lock
from ansible_collections.lockstep.images.plugins.module_utils._image.names import (
    Platform,
    Reference,
)
from ansible_collections.lockstep.images.plugins.module_utils._operations.load import (
    LoadPlanner,
    requests_of,
)
from ansible_collections.lockstep.images.plugins.module_utils._operations.load_origins import (
    Origin,
    RegistryOrigin,
)
from ansible_collections.lockstep.images.plugins.module_utils._store.store import ImageStore
from ansible_collections.lockstep.images.tests.support.engines import FakeEngine
from ansible_collections.lockstep.images.tests.support.fakes import FakeSources
from ansible_collections.lockstep.images.tests.support.images import demo_image, image, layer
from ansible_collections.lockstep.images.tests.support.layout import blob_path
from ansible_collections.lockstep.images.tests.support.plans import (
    dry_run,
    execute,
    fetch_options,
)
from ansible_collections.lockstep.images.tests.support.stores import blobs, pull, whole_tree

APP, WEB, TOOL = "registry.example/app:1", "registry.example/web:1", "other.example/tool:1"
BASE = layer({"base": b"b" * 3000})
AMD64 = Platform.parse("linux/amd64")


def on_base(text):
    return image([BASE, layer({"file": text.encode() * 500})])


IMAGES = {APP: on_base("app"), WEB: on_base("web"), TOOL: demo_image("tool", "1", layers=2)}


@pytest.fixture(name="sources")
def fixture_sources():
    sources = FakeSources()
    for name, item in IMAGES.items():
        sources.publish(name, item)
    return sources


@pytest.fixture(name="store")
def fixture_store(tmp_path):
    return ImageStore(str(tmp_path / "store"), lock_timeout=5)


@pytest.fixture(name="engine")
def fixture_engine():
    return FakeEngine()


def planned(store, sources, engine, *names, lock=None, platform=AMD64, **options):
    """The plan of a load from registries, or from the store if there are no ``sources``."""
    fetching = fetch_options(options)
    origin = RegistryOrigin(store, sources, fetching) if sources else Origin(store)
    if engine.reads_manifests:
        engine._read_manifest = origin.read_manifest
    wanted = LoadOptions(**options.get("load", {}))
    planner = LoadPlanner(engine, origin, wanted, fetching)
    references = [Reference.parse(name) for name in names] if names else None
    return planner.plan(requests_of(references, lock, platform))


def load(store, sources, engine, *names, **options):
    """Load, and return the outcome."""
    with store.hold():
        return execute(planned(store, sources, engine, *names, **options))


def check(store, sources, engine, *names, **options):
    """Return the result that check mode reports."""
    with store.hold():
        return dry_run(planned(store, sources, engine, *names, **options)).result()


def locked(sources, *names):
    """Return a lock of images in ``sources``."""
    entries = []
    for name in names:
        item = IMAGES[name]
        descriptor = item.descriptor()
        part = item.images[0] if hasattr(item, "images") else item
        entries.append(
            {
                "name": name,
                "digest": item.digest,
                "media_type": descriptor["mediaType"],
                "platforms": {
                    "linux/amd64": {
                        "manifest": part.digest,
                        "config": part.config_digest,
                        "size": part.size,
                    }
                },
            }
        )
    return Lock.parse({"lockfile_version": 1, "images": entries})


def statuses(result):
    return [one["status"] for one in result["images"]]


def reads(sources, *verbs):
    return [read for read in sources.reads if not verbs or read[0] in verbs]


def downloads(sources):
    return [what for _verb, what in reads(sources, "blob")]


both_sources = pytest.mark.parametrize("is_registry", [True, False], ids=["registry", "store"])
both_engines = pytest.mark.parametrize("keeps", [True, False], ids=["keeps digests", "graph"])


@both_sources
@both_engines
def test_images_arrive_and_the_next_run_has_nothing_to_do(store, sources, is_registry, keeps):
    engine = FakeEngine(keeps)
    if not is_registry:
        pull(store, sources, *IMAGES)
    origin = sources if is_registry else None
    first = load(store, origin, engine, *IMAGES).result()
    assert (first["changed"], statuses(first)) == (True, ["loaded"] * 3)
    assert list(engine.names) == list(IMAGES)
    again = load(store, origin, engine, *IMAGES).result()
    assert (again["changed"], statuses(again)) == (False, ["present"] * 3)


@both_sources
def test_check_mode_says_what_a_run_does_and_writes_nothing(
    store, sources, engine, is_registry, tmp_path
):
    if not is_registry:
        pull(store, sources, *IMAGES)
    origin = sources if is_registry else None
    before = whole_tree(tmp_path)
    promised = check(store, origin, engine, *IMAGES)
    assert whole_tree(tmp_path) == before
    assert engine.batches == []
    done = load(store, origin, engine, *IMAGES).result()
    for key in ("images", "changed", "actions", "diff"):
        assert done[key] == promised[key]
    for key in ("bytes_sent", "bytes_whole"):
        assert done["stats"][key] == promised["stats"][key]


def test_nothing_stays_in_the_store_of_what_came_from_registries(store, sources, engine, tmp_path):
    load(store, sources, engine, *IMAGES)
    assert store.names() == {}
    assert blobs(tmp_path / "store") == blobs(tmp_path / "store/.staging/engine") == set()


def test_shared_layer_is_downloaded_and_sent_once(store, sources, engine):
    result = load(store, sources, engine, APP, WEB).result()
    assert engine.read.count(BASE.digest) == 1
    assert downloads(sources).count(BASE.digest) == 1
    assert [one["layers"] for one in result["images"]] == [
        {"sent": 2, "reused": 0},
        {"sent": 1, "reused": 1},
    ]


@both_engines
def test_converged_run_resolves_tags_and_reads_nothing_else(store, sources, keeps):
    engine = FakeEngine(keeps)
    load(store, sources, engine, *IMAGES)
    sources.forget()
    result = load(store, sources, engine, *IMAGES).result()
    assert [verb for verb, _what in sources.reads] == ["resolve"] * 3
    assert not result["changed"]
    assert [one["layers"] for one in result["images"]] == [{"sent": 0, "reused": None}] * 3


def test_tag_that_the_engine_lacks_is_read_and_not_resolved_before(store, sources, engine):
    load(store, sources, engine, APP)
    sources.forget()
    load(store, sources, engine, APP, WEB)
    assert reads(sources, "resolve") == [("resolve", "1")]
    assert reads(sources, "manifest") == [("manifest", "1")]


def test_run_without_changes_remembers_what_it_has_read(store, sources, engine, tmp_path):
    pull(ImageStore(str(tmp_path / "other")), sources, *IMAGES)
    load(ImageStore(str(tmp_path / "other")), None, engine, *IMAGES)
    assert not check(store, sources, engine, *IMAGES)["changed"]
    assert not Path(store.path).exists()
    result = load(store, sources, engine, *IMAGES).result()
    assert (result["changed"], result["actions"]) == (False, [])
    sources.forget()
    load(store, sources, engine, *IMAGES)
    assert [verb for verb, _what in sources.reads] == ["resolve"] * 3


@both_engines
def test_converged_run_with_a_lock_asks_no_registry(store, sources, keeps):
    engine, lock = FakeEngine(keeps), locked(sources, *IMAGES)
    load(store, sources, engine, lock=lock)
    sources.forget()
    assert not load(store, sources, engine, lock=lock).result()["changed"]
    assert sources.reads == []


def test_converged_run_with_a_lock_imports_no_client(store, sources, engine, monkeypatch):
    lock = locked(sources, *IMAGES)
    load(store, sources, engine, lock=lock)
    prepared = []
    monkeypatch.setattr(sources, "prepare", lambda: prepared.append(True))
    load(store, sources, engine, lock=lock)
    assert prepared == []
    load(store, sources, engine, *IMAGES)
    assert prepared == [True]


def test_manifests_in_the_lock_are_not_read(store, sources, engine):
    lock = locked(sources, APP)
    digest = lock.images[0].digest
    lock = Lock(lock.images, lock.place, {digest: IMAGES[APP].raw})
    load(store, sources, engine, lock=lock)
    assert reads(sources, "manifest", "resolve") == []
    assert engine.names == {APP: IMAGES[APP].config_digest}


def test_lock_that_names_another_configuration_fails(store, sources, engine):
    lock = locked(sources, APP)
    platforms = lock.images[0].platforms
    platforms["linux/amd64"] = platforms["linux/amd64"]._replace(config=lock.images[0].digest)
    failure = load(store, sources, engine, APP, lock=lock).failure
    assert isinstance(failure, LockError)
    assert engine.names == {}


def test_moved_tag_sends_only_what_has_changed(store, sources):
    engine = FakeEngine(keeps_digests=True)
    load(store, sources, engine, APP)
    newer = on_base("newer")
    sources.publish(APP, newer)
    engine.read.clear()
    result = load(store, sources, engine, APP).result()
    assert statuses(result) == ["moved"]
    assert engine.read == [newer.layers[1].digest]
    assert result["diff"] == {
        "before": {APP: IMAGES[APP].digest},
        "after": {APP: newer.digest},
    }


NEW_TAG, ELSEWHERE = "registry.example/app:2", "registry.example/web:2"


@pytest.mark.parametrize(
    ("held", "others", "name", "is_known"),
    [
        ([APP], [], NEW_TAG, True),  # a tag of the same repository
        ([APP], [APP], ELSEWHERE, True),  # a name of the task
        ([APP], [], ELSEWHERE, False),  # what else the engine has is not looked up
        ([TOOL], [TOOL], ELSEWHERE, False),  # nor another registry
    ],
)
def test_new_name_shares_layers_with_what_the_engine_holds(
    store, sources, held, others, name, is_known
):
    engine = FakeEngine(keeps_digests=True)
    load(store, sources, engine, *held)
    newer = on_base("newer")
    sources.publish(name, newer)
    engine.read.clear()
    sources.forget()
    assert statuses(load(store, sources, engine, *others, name).result())[-1] == "loaded"
    assert engine.read == [one.digest for one in newer.layers][is_known:]
    assert len(reads(sources, "manifest")) == 1 + is_known


def test_name_that_is_kept_is_not_reported_as_the_image_that_was_asked_for(store, sources):
    engine, old, newer = FakeEngine(keeps_digests=True), IMAGES[APP].digest, on_base("newer")
    load(store, sources, engine, APP)
    sources.publish(APP, newer)
    result = load(store, sources, engine, APP, load={"existing": "keep"}).result()
    assert not result["changed"]
    (entry,) = result["images"]
    assert (entry["status"], entry["id"], entry["before"]) == ("kept", newer.digest, old)
    assert (entry["layers"], entry["keeps_digest"]) == ({"sent": 0, "reused": None}, False)
    assert result["diff"] == {"before": {APP: old}, "after": {APP: old}}


def test_everything_is_sent_if_the_registry_has_lost_what_the_engine_holds(store, sources):
    engine = FakeEngine(keeps_digests=True)
    load(store, sources, engine, APP)
    old = IMAGES[APP].digest
    sources.publish(APP, on_base("newer"))
    sources["registry.example/app"].script("manifest", old, *[NotFoundError("gone")] * 3)
    engine.read.clear()
    assert statuses(load(store, sources, engine, APP).result()) == ["moved"]
    assert len(engine.read) == 2


def test_tag_that_moves_after_the_plan_brings_what_was_planned(store, sources, engine):
    with store.hold():
        plan = planned(store, sources, engine, APP)
        sources.publish(APP, on_base("newer"))
        assert not execute(plan).failure
    assert engine.names == {APP: IMAGES[APP].config_digest}


def test_image_that_cannot_be_read_fails_alone(store, sources, engine):
    outcome = load(store, sources, engine, APP, "registry.example/gone:1", TOOL)
    assert list(outcome.failures) == ["registry.example/gone:1"]
    assert isinstance(outcome.failure, NotFoundError)
    assert list(engine.names) == [APP, TOOL]


def test_layer_that_cannot_be_read_fails_only_its_image(store, sources, engine):
    lost = IMAGES[WEB].layers[1].digest
    error = UnreachableError("registry.example: no answer")
    sources["registry.example/web"].script("blob", lost, *[error] * 9)
    outcome = load(store, sources, engine, *IMAGES)
    assert list(outcome.failures) == [WEB]
    assert str(outcome.failures[WEB]) == str(error)
    assert sorted(engine.names) == sorted([APP, TOOL])
    assert statuses(outcome.result()) == ["loaded", "loaded"]


def test_shared_layer_comes_with_the_next_image_if_the_first_fails_in_the_plan(
    store, sources, engine
):
    pull(store, sources, APP, WEB)
    blob_path(Path(store.path), IMAGES[APP].layers[1].digest).unlink()
    outcome = load(store, None, engine, APP, WEB)
    assert isinstance(outcome.failures[APP], NotInStoreError)
    assert engine.names == {WEB: IMAGES[WEB].config_digest}


def test_blobs_that_stay_after_a_failure_are_not_downloaded_again(store, sources, engine, tmp_path):
    engine.script(EngineGoneError("the engine ended"))
    outcome = load(store, sources, engine, APP, workers=4)
    assert isinstance(outcome.failure, EngineGoneError)
    assert engine.names == {}
    assert blobs(tmp_path / "store/.staging/engine")
    assert blobs(tmp_path / "store") == set()
    sources.forget()
    assert not load(store, sources, engine, APP, workers=4).failure
    assert BASE.digest not in downloads(sources)
    assert blobs(tmp_path / "store/.staging/engine") == set()


def test_broken_image_is_sent_whole_once(store, sources, engine):
    engine.layers = {BASE.digest}
    engine.script(engine.layers.clear)  # the base vanishes while the rest is sent
    result = load(store, sources, engine, APP).result()
    assert statuses(result) == ["repaired"]
    assert engine.batches == [[APP], [APP]]
    assert engine.read.count(BASE.digest) == 1


def test_image_that_stays_broken_fails_and_its_name_is_as_before(store, sources, engine):
    engine.names = {APP: "sha256:before"}
    engine.script(EngineError("no"), EngineError("no"))
    failure = load(store, sources, engine, APP).failure
    assert isinstance(failure, EngineIncompleteError)
    assert engine.names == {APP: "sha256:before"}


def test_images_are_sent_in_batches(store, engine):
    sources, names = FakeSources(), [f"registry.example/app:{n}" for n in range(50)]
    for name in names:
        sources.publish(name, image([layer({"file": name.encode() * 100})]))
    promised = check(store, sources, engine, *names)["stats"]["bytes_sent"]
    result = load(store, sources, engine, *names).result()
    assert 4 <= len(engine.batches) <= 6
    assert [name for batch in engine.batches for name in batch] == names
    assert result["stats"]["bytes_sent"] == promised


def test_store_sends_everything_at_once(store, sources, engine):
    pull(store, sources, *IMAGES)
    load(store, None, engine, *IMAGES)
    assert engine.batches == [list(IMAGES)]


def test_engine_without_space_is_known_before_anything_is_downloaded(store, sources, engine):
    engine.free = 10
    with pytest.raises(EngineNoSpaceError), store.hold():
        planned(store, sources, engine, APP)
    assert BASE.digest not in downloads(sources)


def foreign_image():
    link = layer({"windows": b"w" * 900})
    kind = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"
    object.__setattr__(link, "media_type", kind)
    return image([link])


def test_foreign_layer_fails_only_its_image_unless_foreign_layers_are_fetched(
    store, sources, engine
):
    item = foreign_image()
    sources.publish(WEB, item)
    outcome = load(store, sources, engine, APP, WEB)
    assert isinstance(outcome.failures[WEB], UnsupportedError)
    assert "foreign_layers" in outcome.failures[WEB].hint
    assert engine.names == {APP: IMAGES[APP].config_digest}
    digest, data = item.layers[0].digest, item.layers[0].blob
    sources["foreign"].content[digest] = data
    assert not load(store, sources, engine, WEB, foreign=True).failure
    assert ("blob", digest) in sources["foreign"].reads


@both_sources
def test_platform_that_the_image_lacks_fails(store, sources, engine, is_registry):
    if not is_registry:
        pull(store, sources, TOOL)
    arch = Platform.parse("linux/s390x")
    outcome = load(store, sources if is_registry else None, engine, TOOL, platform=arch)
    assert isinstance(outcome.failure, NoPlatformError)


def test_image_that_is_not_in_the_store_fails(store, engine):
    assert isinstance(load(store, None, engine, APP).failure, NotInStoreError)


def test_one_name_with_two_digests_is_refused(store, sources, engine):
    digests = [IMAGES[APP].digest, IMAGES[WEB].digest]
    with pytest.raises(InputError, match="twice"), store.hold():
        planned(store, sources, engine, *(f"{APP}@{digest}" for digest in digests))


def test_warnings_of_registries_reach_the_user(store, sources, engine):
    sources.warnings.append("a mirror is down")
    with store.hold():
        assert "a mirror is down" in planned(store, sources, engine, APP).warnings()


@pytest.mark.parametrize("can_pin", [False, True])
def test_pin_for_an_engine_that_cannot_pin_is_a_warning(store, sources, engine, can_pin):
    engine.pins = can_pin
    with store.hold():
        texts = planned(store, sources, engine, APP, load={"pin": True}).warnings()
    wanted = [] if can_pin else ["pin has no effect on fake: only containerd can pin images"]
    assert texts == wanted


def test_image_that_another_process_has_loaded_is_not_sent(store, sources, engine):
    with store.hold():
        plan = planned(store, sources, engine, APP)
        engine.names[APP] = IMAGES[APP].config_digest
        engine.whole.add(IMAGES[APP].config_digest)
        outcome = execute(plan)
    assert not outcome.failure
    result = outcome.result()
    assert statuses(result) == ["present"]
    assert (result["changed"], result["actions"]) == (False, [])
    assert result["images"][0]["before"] == IMAGES[APP].config_digest
    assert engine.batches == []


def test_force_sends_everything(store, sources, engine):
    load(store, sources, engine, APP)
    engine.read.clear()
    result = load(store, sources, engine, APP, load={"force": True}).result()
    assert statuses(result) == ["loaded"]
    assert len(engine.read) == 2


@pytest.mark.parametrize("with_lock", [False, True])
def test_converged_directory_reads_only_tags(store, sources, tmp_path, with_lock):
    path = tmp_path / "engine"
    path.mkdir()
    names, lock = list(IMAGES), locked(sources, *IMAGES) if with_lock else None
    first = load(store, sources, DirectoryEngine(str(path)), *names, lock=lock).result()
    assert statuses(first) == ["loaded"] * 3
    sources.forget()
    again = load(store, sources, DirectoryEngine(str(path)), *names, lock=lock).result()
    assert (statuses(again), again["changed"]) == (["present"] * 3, False)
    assert {verb for verb, _what in sources.reads} == (set() if with_lock else {"resolve"})
    assert len(sources.reads) == (0 if with_lock else len(IMAGES))
    for key in ("name", "digest", "id", "keeps_digest"):
        assert [one[key] for one in again["images"]] == [one[key] for one in first["images"]]
    archive = next(path.glob("*tool*"))
    archive.write_bytes(archive.read_bytes()[:-1] + b"x")
    mended = load(store, sources, DirectoryEngine(str(path)), *names, lock=lock).result()
    assert statuses(mended) == ["present", "present", "repaired"]
