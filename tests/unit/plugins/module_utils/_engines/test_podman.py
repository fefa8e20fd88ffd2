# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""podman, played by a script: what it is asked, and what its answers mean. The real one is in tests/fleet."""

from __future__ import annotations

import dataclasses
import re

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._engines import errors
from ansible_collections.lockstep.images.plugins.module_utils._engines.engine import (
    EngineFacts,
    Finding,
    KnownImage,
    LoadOptions,
)
from ansible_collections.lockstep.images.plugins.module_utils._engines.podman import PodmanEngine
from ansible_collections.lockstep.images.plugins.module_utils._engines.session import plan_load
from ansible_collections.lockstep.images.plugins.module_utils._image.names import Digest
from ansible_collections.lockstep.images.tests.support.contents import content_of, opener
from ansible_collections.lockstep.images.tests.support.fakepodman import FakePodman
from ansible_collections.lockstep.images.tests.support.images import (
    demo_image,
    image,
    index,
    layer,
)

BASE, TOP = layer({"base": b"b" * 100}), layer({"top": b"t" * 100})
APP = image([BASE, TOP])
NAME = "registry.example:5000/shop/app:1"
CONTENT = content_of(APP, NAME)
ID = APP.config_digest.partition(":")[2]
OTHER = "f" * 64


def row(names=(NAME,), digests=(APP.digest,), image_id=ID):
    repositories = {re.sub("(@.*|:[^:/]*)$", "", name) for name in names}
    known = [f"{one}@{digest}" for one in repositories for digest in digests]
    return {"Id": image_id, "Names": list(names), "RepoDigests": known or None, "Size": 300}


@pytest.fixture(name="podman")
def fixture_podman(tmp_path):
    return FakePodman(tmp_path / "podman")


@pytest.fixture(name="engine")
def fixture_engine(podman):
    return PodmanEngine([podman.program], 20.0, 20.0)


def plan(engine, content=CONTENT, **options):
    return plan_load(engine, content, LoadOptions(**options), set())


def find(engine, content=CONTENT):
    return engine.find(content, LoadOptions())


def test_image_under_its_name_and_digest_needs_nothing(podman, engine):
    podman.answer("images", [row()])
    assert find(engine) == Finding(APP.config_digest, APP.config_digest, True, True)
    assert plan(engine).status == "present"
    assert podman.calls == ["images --all --format json"]
    assert engine.facts() == EngineFacts("podman", None, None, "containers-storage", None)


def test_image_of_unknown_digest_is_pulled_for_its_digest(podman, engine):
    podman.answer("images", [row(digests=["sha256:" + "0" * 64])])
    load = plan(engine)
    assert (load.status, load.blobs) == ("tagged", ())


def test_lost_name_needs_no_layers(podman, engine):
    podman.answer("images", [row(names=["registry.example:5000/shop/app:2"])])
    load = plan(engine)
    assert (load.status, load.blobs, load.finding.before) == ("tagged", (), None)
    assert engine.size_of([load]) == len(APP.raw) + len(APP.config)


def test_digest_of_another_repository_does_not_count(podman, engine):
    podman.answer("images", [{**row(), "RepoDigests": [f"docker.io/x/app@{APP.digest}"]}])
    assert not find(engine).named


def test_moved_name_is_found(podman, engine):
    podman.answer("images", [row(image_id=OTHER)])
    load = plan(engine)
    assert (load.status, load.finding.before) == ("moved", f"sha256:{OTHER}")


def test_name_by_digest_is_found(podman, engine):
    name = f"registry.example:5000/shop/app@{APP.digest}"
    podman.answer("images", [row(names=[name])])
    assert plan(engine, content_of(APP, name)).status == "present"


def test_name_that_contains_another_is_not_that(podman, engine):
    podman.answer("images", [row(names=[f"{NAME}0"])])
    assert find(engine).before is None


def test_only_layers_without_a_record_are_sent(podman, engine):
    podman.record([{"id": "a", "compressed-diff-digest": BASE.digest}])
    load = plan(engine)
    assert load.status == "loaded"
    assert [str(blob.digest) for blob in load.blobs] == [TOP.digest]
    assert engine.size_of([load]) == len(APP.raw) + len(APP.config) + len(TOP.blob)
    assert engine.facts().version == "4.3.1"


def test_force_requests_no_layer_that_is_there(podman, engine):
    podman.answer("images", [row()])
    load = plan(engine, force=True)
    assert (load.status, load.blobs) == ("loaded", ())


def test_images_are_listed_once_with_all_names(podman, engine):
    names = [NAME, "docker.io/library/app:latest"]
    podman.answer("images", [row(names), row(names)])
    (held,) = engine.images()
    assert (held.id, held.names, held.size) == (APP.config_digest, tuple(names), 300)


def test_details_have_layers_and_platforms(podman, engine):
    podman.answer("images", [row(), row(names=[], image_id=OTHER)])
    inspected = {"Id": ID, "Os": "linux", "Architecture": "arm64", "Variant": "v8"}
    podman.answer("image", [{**inspected, "RootFS": {"Layers": [BASE.diff_id, TOP.diff_id]}}])
    app, other = engine.images(details=True)
    assert app.platforms == ("linux/arm64/v8",)
    assert app.layers == tuple(str(one.chain_id) for one in CONTENT.layers)
    assert other.layers is None
    assert engine.facts().version == "4.3.1"
    assert len(podman.calls) == 3


def test_held_as_needs_the_configuration(podman, engine):
    podman.answer("images", [row()])
    root, config = Digest.parse(APP.digest), Digest.parse(APP.config_digest)
    options, known = LoadOptions(), KnownImage(config)
    assert engine.held_as(CONTENT.reference, root, known, options) == APP.config_digest
    assert engine.held_as(CONTENT.reference, root, None, options) is None
    assert engine.held_as(CONTENT.reference, config, known, options) is None


BROKEN = "Error: retrieving label for image: you may need to remove the image: layer not known\n"


@pytest.mark.parametrize("answer", [("", BROKEN, 125), ("[]", "", 0)], ids=["4.3", "5.8"])
def test_broken_image_is_found_in_the_records(podman, engine, answer):
    podman.answer("images", *answer)
    layers = [{"id": "a", "compressed-diff-digest": BASE.digest}]
    digests = {"manifest": APP.digest, f"manifest-{APP.digest}": APP.digest}
    broken = {"id": ID, "names": [NAME], "layer": "gone", "big-data-digests": digests}
    podman.record(layers, [broken, {"id": OTHER, "layer": "a"}])
    load = plan(engine)
    assert load.status == "repaired"
    assert [str(blob.digest) for blob in load.blobs] == [TOP.digest]
    assert load.finding.before == APP.config_digest


def send(engine, *contents, items=(APP,)):
    loads = [plan(engine, content) for content in contents or (CONTENT,)]
    engine.send(loads, opener(*items), LoadOptions())
    return loads


def test_pull_gets_its_own_configuration_and_no_login(podman, engine, monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example:3128")
    monkeypatch.setenv("NO_PROXY", "internal.example")
    send(engine)
    conf = podman.seen("pull", "conf")
    assert re.fullmatch(
        r"unqualified-search-registries = \[\]\n"
        r'\[\[registry\]\]\nprefix = "registry.example:5000/shop/app"\n'
        r'location = "127.0.0.1:[0-9]+/[0-9a-f]{32}/0"\ninsecure = true\n',
        conf,
    )
    assert podman.seen("pull", "auth") == '{"auths":{}}'
    environment = podman.seen("pull", "env").splitlines()
    assert {"NO_PROXY=127.0.0.1,localhost", "no_proxy=127.0.0.1,localhost"} <= set(environment)
    assert podman.calls[-1] == f"pull --quiet {NAME}"


def test_pull_leaves_no_file(podman, engine, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    send(engine)
    assert re.search("^CONTAINERS_REGISTRIES_CONF=/proc/self/fd/", podman.seen("pull", "env"), re.M)
    assert [one.name for one in tmp_path.iterdir()] == ["podman"]


def test_all_names_are_pulled_by_one_process(podman, engine):
    other = "docker.io/library/app:2"
    send(engine, CONTENT, content_of(APP, other))
    assert podman.calls[-1] == f"pull --quiet {NAME} {other}"


def test_image_of_an_index_is_chosen_by_its_platform(podman, engine):
    family = demo_image("family", "1")
    contents = [
        content_of(family, "docker.io/library/family:1", platform)
        for platform in ("linux/amd64", "linux/arm64")
    ]
    send(engine, *contents, CONTENT, items=(APP, family))
    assert [call for call in podman.calls if call.startswith("pull")] == [
        "pull --quiet --platform linux/amd64 docker.io/library/family:1",
        "pull --quiet --platform linux/arm64 docker.io/library/family:1",
        f"pull --quiet {NAME}",
    ]


def failure(podman, engine, error, status=125):
    podman.answer("pull", "", error, status)
    with pytest.raises(errors.EngineError) as caught:
        send(engine)
    return caught.value


def test_rejection_by_the_policy_of_the_host_is_explained(podman, engine):
    log = 'time="2026-11-30T12:48:20Z" level=warning msg="something"\n'
    text = (
        f"{log}Error: Source image rejected: Running image docker://app:1 is rejected by policy.\n"
    )
    error = failure(podman, engine, text)
    assert error.kind == "engine-unsupported"
    assert str(error).startswith("podman pull: Source image rejected: Running image")
    assert "policy.json" in error.hint


@pytest.mark.parametrize("reason", ["no space left on device", "disk quota exceeded"])
def test_full_disk_is_known(podman, engine, reason):
    error = failure(podman, engine, f"Error: writing blob: storing blob to file: {reason}\n")
    assert error.kind == "engine-no-space"


def test_error_names_the_registry_and_not_the_loopback_server(podman, engine):
    pull = podman.directory / "podman"
    script = pull.read_text().replace(
        'cat "$1.err" >&2',
        """sed -n 's/location = "\\(.*\\)"/Error: reading manifest 1 in \\1: unknown/p' < pull.conf >&2""",
    )
    pull.write_text(script)
    error = failure(podman, engine, "")
    assert (
        str(error) == "podman pull: reading manifest 1 in registry.example:5000/shop/app: unknown"
    )


def test_failure_without_a_message_has_the_status(podman, engine):
    assert str(failure(podman, engine, "", 3)) == "podman pull: ended with status 3"


def test_pull_that_takes_too_long_is_ended(podman):
    engine = PodmanEngine([podman.program], 20.0, 0.2)
    podman.hang("pull")
    with pytest.raises(errors.EngineTimeoutError, match=r"did not end within 0\.2 seconds"):
        send(engine)


def test_locked_storage_ends_with_the_timeout(podman):
    podman.hang("images")
    with pytest.raises(errors.EngineTimeoutError):
        find(PodmanEngine([podman.program], 0.2, 20.0))


def test_missing_program_is_one_sentence():
    with pytest.raises(errors.EngineNotFoundError, match="podman: this program is not installed"):
        find(PodmanEngine(["/nonexistent/podman"], 5.0, 5.0))


@pytest.mark.parametrize("version", ["4.2.9", "3.4.4", "1.0"])
def test_old_podman_is_refused_before_anything_is_sent(tmp_path, version):
    podman = FakePodman(tmp_path / "old", version)
    with pytest.raises(errors.EngineTooOldError, match=f"podman is {version} here, 4.3 or later"):
        plan(PodmanEngine([podman.program], 20.0, 20.0))


@pytest.mark.parametrize("version", ["4.3.0", "4.10.0-dev", "5.8.6"])
def test_later_podman_is_used(tmp_path, version):
    podman = FakePodman(tmp_path / "new", version)
    assert plan(PodmanEngine([podman.program], 20.0, 20.0)).status == "loaded"


def test_remote_podman_is_refused(podman, engine):
    podman.answer("info", {**podman.info, "host": {"serviceIsRemote": True}})
    with pytest.raises(errors.EngineNotFoundError, match="remote service"):
        plan(engine)


def test_answer_without_json_is_one_sentence(podman, engine):
    podman.answer("images", "REPOSITORY  TAG")
    with pytest.raises(errors.EngineError, match="podman answered with something other than JSON"):
        find(engine)


def test_error_of_a_question_has_the_words_of_podman(podman, engine):
    podman.answer("images", "", "Error: mkdir /run/user/0: permission denied\n", 125)
    with pytest.raises(errors.EngineError, match=r"^podman images: mkdir /run/user/0: permission"):
        find(engine)


def test_space_is_checked_only_before_something_is_sent(podman, engine):
    podman.graph.mkdir()
    engine.require_space(0)
    assert not (podman.directory / "calls").exists()
    engine.require_space(1)
    with pytest.raises(errors.EngineNoSpaceError, match="needed"):
        engine.require_space(2**62)


def test_foreign_layer_is_not_fetched_from_elsewhere(engine):
    foreign = layer({"win": b"w"}, media_type="application/vnd.docker.image.rootfs.foreign.diff.tar.gzip")  # fmt: skip
    with pytest.raises(errors.UnsupportedByEngineError, match="has foreign layers"):
        find(engine, content_of(image([foreign]), NAME))


def test_configuration_of_another_number_of_layers_is_refused(engine):
    wrong = dataclasses.replace(CONTENT, diff_ids=CONTENT.diff_ids[:1])
    with pytest.raises(errors.UnsupportedByEngineError, match="lists 1 layers, its manifest 2"):
        find(engine, wrong)


def test_moved_name_is_restored_by_a_tag(podman, engine):
    podman.answer("images", [row(image_id=OTHER)])
    load = plan(engine)
    podman.answer("images", [row()])
    engine.restore(load)
    assert podman.calls[-1] == f"tag {OTHER} {NAME}"


def test_new_name_is_removed_alone(podman, engine):
    load = plan(engine)
    podman.answer("images", [row(names=[NAME, "docker.io/library/other:1"])])
    engine.restore(load)
    assert podman.calls[-1] == f"untag {ID} {NAME}"


def test_name_that_did_not_move_is_left_alone(podman, engine):
    podman.answer("images", [row(image_id=OTHER)])
    engine.restore(plan(engine))
    assert {call.split()[0] for call in podman.calls} == {"images", "info"}


def test_index_in_the_store_is_named_by_its_digest(podman, engine):
    family = index([APP])
    podman.answer("images", [row(digests=[APP.digest])])
    assert not find(engine, content_of(family, NAME)).named
    engine.refresh()
    podman.answer("images", [row(digests=[APP.digest, family.digest])])
    assert find(engine, content_of(family, NAME)).named


def test_repository_that_the_host_leads_elsewhere_is_explained(podman, engine):
    text = "Error: initializing source docker://shop/app:1: pinging container registry: refused\n"
    error = failure(podman, engine, text)
    assert error.kind == "engine-unsupported"
    assert "podman requests registry.example:5000/shop/app from another registry" in str(error)
    assert "registries.conf.d" in error.hint
