# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Docker, as a daemon in this process: every state in which an image can be before, and what goes wrong."""

from __future__ import annotations

import os

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._engines import errors
from ansible_collections.lockstep.images.plugins.module_utils._engines.docker import DockerEngine
from ansible_collections.lockstep.images.plugins.module_utils._engines.engine import (
    FAIL,
    KEEP,
    KnownImage,
    LoadOptions,
)
from ansible_collections.lockstep.images.plugins.module_utils._engines.session import (
    Session,
    plan_load,
)
from ansible_collections.lockstep.images.plugins.module_utils._image import errors as image_errors
from ansible_collections.lockstep.images.plugins.module_utils._image.names import Platform
from ansible_collections.lockstep.images.tests.support.contents import content_of, opener
from ansible_collections.lockstep.images.tests.support.fakedocker import (
    CONTAINERD,
    Hung,
    fake_docker,
)
from ansible_collections.lockstep.images.tests.support.images import image, index, layer
from ansible_collections.lockstep.images.tests.support.loading import load

BASE, APP, NEW = (layer({name: name.encode() * 300}) for name in ("base", "app", "new"))
FIRST, SECOND = image([BASE, APP]), image([BASE, NEW])
ALONE = image([BASE])
REPOSITORY = "registry.example.com/shop/web"
WEB, NEXT, BOTTOM = f"{REPOSITORY}:1", f"{REPOSITORY}:2", f"{REPOSITORY}:base"
BLOBS = opener(FIRST, SECOND)


@pytest.fixture(name="docker", params=["graph", "containerd"])
def fixture_docker(request, tmp_path):
    info = {"ServerVersion": "28", "DriverStatus": CONTAINERD}
    fields = {"api": "1.51", "info": info} if request.param == "containerd" else {}
    with fake_docker(tmp_path / "d", **fields) as docker:
        yield docker


@pytest.fixture(name="graph")
def fixture_graph(tmp_path):
    with fake_docker(tmp_path / "d") as docker:
        yield docker


@pytest.fixture(name="newer")
def fixture_newer(tmp_path):
    info = {"ServerVersion": "28", "DriverStatus": CONTAINERD}
    with fake_docker(tmp_path / "d", api="1.51", info=info) as docker:
        yield docker


def manifests(*items):
    """Return a reader of the manifests of images, as a store has them."""
    known = {
        content.root.digest: content.manifest for content in (content_of(one, WEB) for one in items)
    }
    return known.get


def engine_of(docker, *items, timeout=5.0):
    engine = DockerEngine(
        str(docker.path), timeout, timeout, manifests(*(items or (FIRST, SECOND, ALONE)))
    )
    engine.lanes = 1  # on every machine
    return engine


def do(docker, *named, **options):
    return load(
        engine_of(docker), [content_of(item, name) for item, name in named], BLOBS, **options
    )


def target(docker, item):
    return item.digest if docker.is_containerd else item.config_digest


def sent_layers(docker):
    """Return the layers in each archive so far."""
    known = {one.digest: name for one, name in ((BASE, "base"), (APP, "app"), (NEW, "new"))}
    paths = {f"blobs/{digest.replace(':', '/')}": name for digest, name in known.items()}
    return [[paths[name] for name in members if name in paths] for members in docker.loads]


@pytest.mark.parametrize(("processors", "lanes"), [(1, 2), (2, 3), (64, 4), (None, 2)])
def test_docker_gets_one_archive_more_than_it_has_processors(
    docker, monkeypatch, processors, lanes
):
    monkeypatch.setattr(os, "cpu_count", lambda: processors)
    assert DockerEngine(str(docker.path), 5.0, 5.0, manifests(FIRST)).lanes == lanes


def test_absent_image_is_sent_whole(docker):
    done = do(docker, (FIRST, WEB))
    assert done.statuses == ["loaded"] and not done.failed
    assert docker.names == {WEB: target(docker, FIRST)}
    assert sent_layers(docker) == [["base", "app"]]


def test_image_that_is_there_costs_three_requests_and_no_byte(docker):
    do(docker, (FIRST, WEB))
    docker.requests.clear()
    engine = engine_of(docker)
    done = load(engine, [content_of(FIRST, WEB)], BLOBS)
    assert done.statuses == ["present"]
    assert (
        engine.stats == {"bytes_sent": 0, "requests": 3, "processes": 0}
        and len(docker.requests) == 3
    )


def test_announced_bytes_are_those_that_are_sent(docker):
    engine = engine_of(docker)
    done = load(engine, [content_of(FIRST, WEB), content_of(SECOND, NEXT)], BLOBS)
    assert engine.stats["bytes_sent"] == done.announced
    assert done.announced % 512 == 0


def test_lost_name_is_put_back_without_content(docker):
    do(docker, (FIRST, WEB), (FIRST, NEXT))
    docker.change("DELETE", f"/images/{WEB}")
    done = do(docker, (FIRST, WEB))
    assert done.statuses == ["tagged"] and done.announced == 0
    assert docker.names == {WEB: target(docker, FIRST), NEXT: target(docker, FIRST)}


def test_name_moves_and_the_image_before_stays(docker):
    do(docker, (FIRST, WEB))
    done = do(docker, (SECOND, WEB))
    assert done.statuses == ["moved"]
    assert docker.names == {WEB: target(docker, SECOND)}
    assert {one["Id"] for one in docker.images} == {target(docker, FIRST), target(docker, SECOND)}
    assert sent_layers(docker)[1] == ["new"]


def test_base_that_is_there_is_left_out(docker):
    do(docker, (ALONE, BOTTOM))
    done = do(docker, (FIRST, WEB))
    assert done.statuses == ["loaded"] and sent_layers(docker)[1] == ["app"]


def test_layer_on_two_bases_is_sent_for_both(docker):
    other = image([NEW, APP])
    contents = [content_of(FIRST, WEB), content_of(other, NEXT)]
    engine, sent = engine_of(docker, FIRST, other), set()
    engine.images()
    loads = [plan_load(engine, content, LoadOptions(), sent) for content in contents]
    session = Session(engine, opener(FIRST, other), LoadOptions(), limit=1)
    assert session.run(loads) == [None, None]
    # The containerd image store keeps the blob, a graph driver what it has unpacked on a base.
    assert sent_layers(docker) == [
        ["base", "app"],
        ["new"] if docker.is_containerd else ["new", "app"],
    ]
    assert docker.names == {WEB: target(docker, FIRST), NEXT: target(docker, other)}


def test_two_names_send_content_once(docker):
    done = do(docker, (FIRST, WEB), (FIRST, NEXT))
    assert done.statuses == ["loaded", "loaded"]
    assert [one.bytes_sent > 0 for one in done.ended] == [True, False]
    assert sent_layers(docker) == [["base", "app"]]
    assert docker.names == {WEB: target(docker, FIRST), NEXT: target(docker, FIRST)}


@pytest.mark.parametrize(("existing", "statuses"), [(KEEP, ["kept"]), (FAIL, None)])
def test_name_of_another_image_can_stay(docker, existing, statuses):
    do(docker, (FIRST, WEB))
    options = LoadOptions(existing)
    if statuses is None:
        with pytest.raises(errors.NameTakenError, match=WEB):
            do(docker, (SECOND, WEB), options=options)
    else:
        assert do(docker, (SECOND, WEB), options=options).statuses == statuses
    assert docker.names == {WEB: target(docker, FIRST)}


def test_base_that_vanishes_after_the_plan_is_sent(docker):
    do(docker, (ALONE, BOTTOM))

    def prune():
        docker.images.clear()
        docker.layers.clear()
        docker.blobs.clear()

    done = do(docker, (FIRST, WEB), between=prune)
    assert done.statuses == ["repaired"] and not done.failed
    assert sent_layers(docker)[1:] == [["app"], ["base", "app"]]
    assert docker.names == {WEB: target(docker, FIRST)}


@pytest.mark.parametrize("before", [None, SECOND], ids=["absent", "moved"])
def test_name_is_as_before_if_no_source_has_the_base(docker, before):
    do(docker, (ALONE, BOTTOM), *([(before, WEB)] if before else []))
    names = dict(docker.names)

    def prune():
        docker.layers = {one: [] for one in docker.layers}
        docker.blobs.pop(BASE.digest, None)

    content = content_of(FIRST, WEB)
    found = load(engine_of(docker), [content], opener(image([APP])), between=prune)
    error = found.failed[WEB]
    assert isinstance(error, image_errors.CorruptStoreError)
    assert str(error) == f"blobs/sha256/{BASE.digest[7:]} cannot be read: No such file or directory"
    assert docker.names == names
    assert {one["Id"] for one in docker.images} == set(names.values())


def test_broken_image_of_three_does_not_keep_the_others_out(docker):
    broken = image([BASE, layer({"gone": b"gone"})])
    named = [(FIRST, WEB), (broken, NEXT), (ALONE, BOTTOM)]
    contents = [content_of(item, name) for item, name in named]
    done = load(engine_of(docker), contents, BLOBS)
    assert list(done.failed) == [NEXT]
    assert done.statuses == ["loaded", "loaded"]
    assert docker.names == {WEB: target(docker, FIRST), BOTTOM: target(docker, ALONE)}


def test_image_that_the_engine_rejects_does_not_keep_the_others_out(graph):
    wrong = image(
        [layer({"wrong": b"1"})], config={"rootfs": {"type": "layers", "diff_ids": [APP.diff_id]}}
    )
    named = [(wrong, NEXT), (FIRST, WEB), (SECOND, BOTTOM)]
    contents = [content_of(item, name) for item, name in named]
    done = load(engine_of(graph), contents, opener(FIRST, SECOND, wrong))
    assert isinstance(done.failed[NEXT], errors.EngineIncompleteError)
    assert "invalid diffID" in str(done.failed[NEXT])
    assert list(done.failed) == [NEXT] and done.statuses == ["loaded", "loaded"]


def test_name_that_another_process_moves_is_a_conflict(docker):
    do(docker, (FIRST, WEB))
    done = do(docker, (SECOND, WEB), between=lambda: docker.point(WEB, "sha256:" + "e" * 64))
    assert isinstance(done.failed[WEB], errors.EngineConflictError)
    assert docker.names[WEB] == "sha256:" + "e" * 64


def test_image_that_another_process_loads_is_present(docker):
    done = do(docker, (FIRST, WEB), between=lambda: do(docker, (FIRST, WEB)))
    assert done.statuses == ["present"] and done.ended[0].bytes_sent == 0
    assert len(docker.loads) == 1


def test_force_sends_all_layers(docker):
    do(docker, (FIRST, WEB))
    done = do(docker, (FIRST, WEB), options=LoadOptions(force=True))
    assert done.statuses == ["loaded"] and sent_layers(docker)[1] == ["base", "app"]


def test_image_that_lost_a_blob_is_repaired(newer):
    do(newer, (FIRST, WEB))
    del newer.blobs[APP.digest]
    done = do(newer, (FIRST, WEB))
    assert done.statuses == ["repaired"] and sent_layers(newer)[1] == ["base", "app"]


def test_layer_of_an_incomplete_image_proves_nothing(newer):
    do(newer, (FIRST, WEB))
    del newer.blobs[APP.digest]
    done = do(newer, (SECOND, NEXT))
    assert done.statuses == ["loaded"] and sent_layers(newer)[1] == ["base", "new"]


def test_manifest_that_is_not_known_proves_nothing(newer):
    do(newer, (ALONE, BOTTOM))
    done = load(engine_of(newer, SECOND), [content_of(FIRST, WEB)], BLOBS)
    assert done.statuses == ["loaded"] and sent_layers(newer)[1] == ["base", "app"]


def test_daemon_without_manifests_is_sent_everything(tmp_path):
    info = {"ServerVersion": "26", "DriverStatus": CONTAINERD}
    with fake_docker(tmp_path / "d", api="1.45", info=info) as docker:
        do(docker, (ALONE, BOTTOM))
        done = do(docker, (FIRST, WEB))
        assert done.statuses == ["loaded"] and sent_layers(docker)[1] == ["base", "app"]
        assert do(docker, (FIRST, WEB)).statuses == ["present"]


def test_image_that_cannot_be_unpacked_is_incomplete(newer):
    said = [{"stream": f"Error unpacking image {WEB}: wrong diff id\n"}]
    newer.before_load = lambda: newer.point(WEB, FIRST.digest)
    newer.script = [said, said]
    done = do(newer, (FIRST, WEB))
    error = done.failed[WEB]
    assert isinstance(error, errors.EngineIncompleteError) and error.kind == "engine-incomplete"
    assert str(error) == (
        f"{WEB}: the image cannot be used in the engine, though all of it was sent: "
        f"Docker: Error unpacking image {WEB}: wrong diff id"
    )
    assert newer.images == []


def test_sparse_index_is_kept(newer):
    multi = index([FIRST, image([NEW], "linux/arm64")])
    done = load(engine_of(newer), [content_of(multi, WEB)], BLOBS)
    assert done.statuses == ["loaded"] and newer.names == {WEB: multi.digest}
    assert load(engine_of(newer), [content_of(multi, WEB)], BLOBS).statuses == ["present"]


def test_name_with_a_digest_only(docker):
    name = f"{REPOSITORY}@{FIRST.digest}"
    if docker.is_containerd:
        done = do(docker, (FIRST, name))
        assert done.statuses == ["loaded"] and docker.names == {name: FIRST.digest}
        return
    with pytest.raises(errors.UnsupportedByEngineError, match="keeps no name without a tag"):
        do(docker, (FIRST, name))
    assert docker.loads == []


def test_image_for_another_operating_system(docker):
    docker.info["OSType"] = "linux"
    windows = image([BASE], "windows/amd64")
    if docker.is_containerd:
        assert do(docker, (windows, WEB)).statuses == ["loaded"]
        return
    with pytest.raises(errors.UnsupportedByEngineError) as info:
        do(docker, (windows, WEB))
    assert str(info.value) == f"{WEB}: is for windows, this Docker runs on linux"
    assert docker.loads == []


def test_configuration_with_another_number_of_layers(docker):
    wrong = image([BASE], config={"rootfs": {"type": "layers", "diff_ids": []}})
    with pytest.raises(errors.UnsupportedByEngineError) as info:
        do(docker, (wrong, WEB))
    assert str(info.value) == f"{WEB}: its configuration lists 0 layers, its manifest 1"


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ("write /data/tmp/x: no space left on device", errors.EngineNoSpaceError),
        ("unexpected EOF", errors.EngineIncompleteError),
    ],
)
def test_error_in_an_answer_of_200(docker, said, kind):
    answer = [{"stream": "Loading layer"}, {"errorDetail": {"message": said}, "error": said}]
    docker.script = [answer] * 3
    done = do(docker, (FIRST, WEB))
    assert done.failed[WEB].kind == kind.kind and said in str(done.failed[WEB])
    assert docker.images == []


def test_engine_that_ends_in_the_body(docker):
    docker.script = [Hung()] * 3
    done = do(docker, (FIRST, WEB))
    assert isinstance(done.failed[WEB], errors.EngineGoneError) and docker.images == []
    assert len(docker.loads) == 1


def test_no_space_for_the_archive(docker, tmp_path):
    docker.info["DockerRootDir"] = str(tmp_path)
    engine = engine_of(docker)
    engine.require_space(1)
    with pytest.raises(errors.EngineNoSpaceError) as info:
        engine.require_space(2**62)
    assert str(info.value).startswith(f"{tmp_path}: 4.61 EB needed, ")
    docker.info["DockerRootDir"] = "/not/in/this/container"
    engine_of(docker).require_space(2**62)


def test_held_as_asks_nothing_more(docker):
    do(docker, (FIRST, WEB))
    content = content_of(FIRST, WEB)
    engine, known = engine_of(docker), KnownImage(content.config_blob.digest)
    options = LoadOptions(platform=Platform.parse("linux/amd64"))
    root = content.root.digest
    assert engine.held_as(content.reference, root, known, options) == target(docker, FIRST)
    assert engine.held_as(content.reference.with_tag("9"), root, known, options) is None
    other = content_of(SECOND, WEB)
    moved = KnownImage(other.config_blob.digest)
    assert engine.held_as(content.reference, other.root.digest, moved, options) is None
    assert engine.stats["requests"] == 3


def test_held_as_knows_a_pulled_digest(graph):
    graph.add("sha256:" + "1" * 64, WEB, digests=(f"{REPOSITORY}@{FIRST.digest}",))
    content = content_of(FIRST, WEB)
    found = engine_of(graph).held_as(content.reference, content.root.digest, None, LoadOptions())
    assert found == "sha256:" + "1" * 64


def test_image_that_is_removed_while_it_is_asked_for(graph, monkeypatch):
    do(graph, (ALONE, BOTTOM), (SECOND, NEXT))
    answer = graph.answer
    gone = f"/images/{ALONE.config_digest}/json"
    monkeypatch.setattr(graph, "answer", lambda target: None if target == gone else answer(target))
    assert do(graph, (FIRST, WEB)).statuses == ["loaded"]
    assert sent_layers(graph)[1] == ["app"]


def test_facts(docker):
    facts = engine_of(docker).facts()
    assert facts.kind == "docker"
    assert (facts.store, facts.api) == (
        ("containerd", "1.51") if docker.is_containerd else ("graph", "1.41")
    )
