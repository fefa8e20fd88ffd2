# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Layouts that other tools have written: every entry can be named, and be given the name it has in a registry."""

from __future__ import annotations

import json

import pytest
from ansible_collections.lockstep.images.tests.support.images import demo_image, image, layer
from ansible_collections.lockstep.images.tests.support.layout import names
from ansible_collections.lockstep.images.tests.support.modules import four_times, run
from ansible_collections.lockstep.images.tests.support.registry import Registry
from ansible_collections.lockstep.images.tests.support.stores import blobs, digests, put, rewrite

APP = demo_image("app", "1", layers=2, size=300)
WEB = image([layer({"web": b"w" * 300})])
FULL = "registry.example/shop/app:1.0"


def buildx(path):
    """As `docker buildx build --output type=oci` writes it."""
    put(path, APP)
    more = {"io.containerd.image.name": FULL, "org.opencontainers.image.created": "2026-01-01"}
    annotations = {**more, "org.opencontainers.image.ref.name": "1.0"}
    rewrite(path, lambda entries: entries[-1].update(annotations=annotations))


def saved(path):
    """As `docker save` writes two images with one tag."""
    put(path, WEB, "1.0")
    put(path, APP, "1.0")


# What writes an entry, and what it can be called.
LAYOUTS = {
    "skopeo": (lambda path: put(path, APP, "1.0"), ["1.0", APP.digest]),
    "oras": (lambda path: put(path, APP, "v1.0"), ["v1.0", APP.digest]),
    "skopeo-in-full": (lambda path: put(path, APP, "app:1.0"), ["app:1.0", APP.digest]),
    "words": (lambda path: put(path, APP, "My app (final)"), ["My app (final)", APP.digest]),
    "no-name": (lambda path: put(path, APP), [APP.digest]),
    "buildx": (buildx, ["1.0", APP.digest]),
    "docker-save": (saved, [f"1.0@{APP.digest}", APP.digest]),
}
CALLED = [(kind, text) for kind, (_write, texts) in LAYOUTS.items() for text in texts]


@pytest.fixture(name="path")
def fixture_path(tmp_path):
    return tmp_path / "store"


@pytest.fixture(name="registry")
def fixture_registry():
    with Registry() as registry:
        yield registry


@pytest.mark.parametrize(("kind", "text"), CALLED)
def test_F12_an_image_of_another_tool_is_adopted(path, registry, kind, text):
    LAYOUTS[kind][0](path)
    name = f"{registry.address}/shop/app:1.0"
    tagged = [
        one.result for one in four_times("image_tag", name=text, repository=[name], store=str(path))
    ]
    assert [one["changed"] for one in tagged] == [True, True, False, False]
    assert names(path)[name]["digest"] == APP.digest
    pushed = run("image_push", name=[name], store=str(path))
    assert registry.storage.tags("shop/app") == ["1.0"] and not pushed.failed


def test_F12_ambiguous_tag_is_an_error_that_lists_the_names(path):
    saved(path)
    put(path, WEB, "1.0-web")
    tagged = run("image_tag", name="1.0", repository=["r.example/a:1"], store=str(path))
    pushed = run("image_push", name=["1.0"], store=str(path))
    for failed in (tagged, pushed):
        assert failed.failed
        assert "holds 2 images called 1.0, expected one" in failed.result["msg"]
        assert f"1.0@{APP.digest}" in failed.result["error"]["hint"]


def test_F12_missing_digest_is_reported_as_given(path):
    put(path, APP, "1.0")
    failed = run("image_tag", name=WEB.digest, repository=["r.example/a:1"], store=str(path))
    assert f"does not hold {WEB.digest}. " in failed.result["msg"]


@pytest.mark.parametrize(("kind", "text"), CALLED)
def test_F12_every_name_that_image_info_shows_is_accepted(path, kind, text):
    LAYOUTS[kind][0](path)
    shown = {one["name"] for one in run("image_info", store=str(path)).result["images"]}
    found = run("image_info", store=str(path), name=[text]).result
    assert {one["digest"] for one in found["images"]} == {APP.digest} and not found["missing"]
    assert {one["name"] for one in found["images"]} <= shown


@pytest.mark.parametrize(
    ("text", "to", "tag"), [("1.0", "", "1.0"), ("1.0", ":2", "2"), (APP.digest, ":2", "2")]
)
def test_F12_image_is_pushed_to_the_given_destination(path, registry, text, to, tag):
    put(path, APP, "1.0")
    repository = f"{registry.address}/shop/app{to}"
    outcome = run("image_push", name=[text], repository=[repository], store=str(path))
    (entry,) = outcome.result["images"]
    assert (entry["source"], entry["digest"]) == ("1.0", APP.digest)
    assert registry.storage.tags("shop/app") == [tag]


def test_F12_push_without_a_destination_is_an_error_with_a_hint(path):
    put(path, APP, "1.0")
    outcome = run("image_push", name=["1.0"], store=str(path))
    assert outcome.kind == "invalid-input"
    assert "image_tag" in outcome.result["error"]["hint"]


@pytest.mark.parametrize("module", ["image_tag", "image_push"])
def test_F12_error_for_a_missing_image_points_to_image_info(path, module):
    put(path, APP, "1.0")
    options = {"image_tag": {"name": "2.0", "repository": [FULL]}, "image_push": {"name": ["2.0"]}}
    outcome = run(module, store=str(path), **options[module])
    assert outcome.kind == "not-in-store"
    assert "image_info" in outcome.result["error"]["hint"]


def test_F12_full_name_has_priority_over_a_name_of_another_tool(path):
    put(path, APP, "docker.io/library/app:1.0")
    put(path, WEB, "app:1.0")
    for text, item in (("app:1.0", APP), (WEB.digest, WEB)):
        run("image_tag", name=text, repository=[FULL], store=str(path))
        assert names(path)[FULL]["digest"] == item.digest


@pytest.mark.parametrize(
    ("kind", "text"), [*((kind, texts[0]) for kind, (_write, texts) in LAYOUTS.items())]
)
def test_F12_image_is_removed_by_its_name(path, kind, text):
    LAYOUTS[kind][0](path)
    removed = [one.result for one in four_times("image_remove", name=[text], store=str(path))]
    assert [one["changed"] for one in removed] == [True, True, False, False]
    assert blobs(path) == (digests(WEB) - digests(APP) if kind == "docker-save" else set())


def test_F12_shared_tag_removes_all_its_images(path):
    saved(path)
    result = run("image_remove", name=["1.0"], store=str(path)).result
    assert {one["name"] for one in result["removed"]} == {f"1.0@{one.digest}" for one in (APP, WEB)}
    assert blobs(path) == set()


def test_F12_name_of_one_image_keeps_the_others(path):
    saved(path)
    run("image_tag", name=WEB.digest, repository=[FULL], store=str(path))
    entries = json.loads((path / "index.json").read_bytes())["manifests"]
    assert sorted(entry["digest"] for entry in entries) == sorted(
        [APP.digest, WEB.digest, WEB.digest]
    )


@pytest.mark.parametrize("kind", LAYOUTS)
def test_F12_corrupt_image_is_found_and_named(path, kind):
    LAYOUTS[kind][0](path)
    (path / "blobs" / "sha256" / APP.images[0].layers[0].digest[7:]).unlink()
    outcome = run("store_verify", store=str(path))
    (missing,) = outcome.result["missing"]
    found = run("image_info", store=str(path)).result["images"]
    assert missing["names"] == sorted({one["name"] for one in found if not one["complete"]})
