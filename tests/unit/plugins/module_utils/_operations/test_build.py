# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Builds into a store: what depends on what, and what is kept."""

from __future__ import annotations

import dataclasses
import gzip
import json
import os
import zlib

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._build import compress
from ansible_collections.lockstep.images.plugins.module_utils._build.errors import (
    BuildContextError,
)
from ansible_collections.lockstep.images.plugins.module_utils._image.errors import (
    InputError,
    LockError,
    NoPlatformError,
    NotFoundError,
    NotInStoreError,
    UnsupportedError,
)
from ansible_collections.lockstep.images.plugins.module_utils._image.lock import Lock
from ansible_collections.lockstep.images.plugins.module_utils._image.names import Digest
from ansible_collections.lockstep.images.plugins.module_utils._store.store import ImageStore
from ansible_collections.lockstep.images.tests.support.building import NAME, Builds
from ansible_collections.lockstep.images.tests.support.images import (
    demo_image,
    image,
    index,
    layer,
)
from ansible_collections.lockstep.images.tests.support.layout import blob_path, read_manifest
from ansible_collections.lockstep.images.tests.support.plans import (
    execute,
)
from ansible_collections.lockstep.images.tests.support.stores import (
    umask,
)

BASE = "r.example/base:1"
FROM_BASE = f"FROM {BASE}\nCOPY site /opt/site\n"
EPOCH = "1970-01-01T00:00:00Z"


@pytest.fixture(name="builds")
def fixture_builds(tmp_path):
    return Builds(tmp_path)


def test_image_with_zstd_is_a_base_of_the_next(builds):
    pytest.importorskip("zstandard")
    first = builds.run(compression="zstd")
    assert first["compressor"].startswith("zstd 1.")
    entry = read_manifest(builds.path, first["digest"])["layers"][0]
    assert entry["mediaType"] == "application/vnd.oci.image.layer.v1.tar+zstd"
    assert blob_path(builds.path, entry["digest"]).read_bytes()[:4] == b"\x28\xb5\x2f\xfd"
    builds.write(f"FROM scratch\nCOPY --from={NAME} /srv/index.html /copied\n")
    second = builds.run(name="r.example/second:1", policy="never")
    assert builds.files(second) == ["copied"]


def test_image_of_files_is_built(builds):
    result = builds.run()
    assert builds.files(result) == ["srv", "srv/index.html", "srv/run"]
    config = json.loads(blob_path(builds.path, result["config_digest"]).read_bytes())
    assert (config["architecture"], config["os"], config["created"]) == ("amd64", "linux", EPOCH)
    assert config["config"] == {"User": "1"}
    assert config["rootfs"]["diff_ids"] == result["diff_ids"]
    assert [one["action"] for one in result["actions"]] == [
        "build_layer",
        "store_content",
        "store_content",
        "set_name",
    ]
    assert result["diff"] == {"before": {}, "after": {NAME: result["digest"]}}
    assert (result["base"], result["status"], result["reproducible"]) == (None, "built", True)


# The promise of the module: if this digest changes, every image in every lock file changes.
def test_digest_is_known(builds):
    assert (
        builds.check()["digest"]
        == "sha256:a423f8762fa8deeaaf17c643e6a8c0acba17eff63b5cf6822a409b1d668c15ae"
    )


def test_digest_depends_on_the_files_alone(builds, monkeypatch):
    first = builds.check()
    for path in (builds.context / "site").iterdir():
        os.utime(path, (1, 1))
        os.chmod(path, path.stat().st_mode & 0o777 | 0o060)
    monkeypatch.setenv("TZ", "Asia/Seoul")
    monkeypatch.setenv("LC_ALL", "C")
    with umask(0o077):
        result = builds.run()
    assert result["digest"] == first["digest"]
    os.chmod(builds.context / "site/index.html", 0o755)
    assert builds.check()["digest"] != first["digest"]


@pytest.mark.parametrize(
    "change",
    [
        {"created": 1},
        {"format": "docker"},
        {"compression": "none"},
        {"platform": "linux/arm64"},
        {"modes": "keep"},
    ],
)
def test_digest_depends_on_the_options(builds, change):
    os.chmod(builds.context / "site/index.html", 0o600)
    assert builds.run(**change)["digest"] != builds.check()["digest"]
    assert builds.check(**change)["inputs"] != builds.check()["inputs"]


def test_changed_file_updates_the_image(builds):
    first = builds.run()
    (builds.context / "site/index.html").write_text("other")
    second = builds.run()
    assert (second["status"], second["diff"]["before"]) == ("updated", {NAME: first["digest"]})


def test_base_is_fetched_named_and_kept_below_the_new_layers(builds):
    builds.sources.publish(BASE, demo_image("app", "1"))
    builds.write(FROM_BASE)
    result = builds.run()
    assert builds.files(result) == ["opt", "opt/site", "opt/site/index.html", "opt/site/run"]
    assert result["base"]["name"] == BASE
    assert result["diff"]["after"].keys() == {BASE, NAME}
    assert (len(result["layers"]), len(result["diff_ids"])) == (1, 4)
    builds.sources.forget()
    assert builds.check(policy="never")["digest"] == result["digest"]
    assert builds.sources.reads == []


def test_layers_of_the_base_are_downloaded_once(builds):
    builds.sources.publish(BASE, demo_image("app", "1"))
    builds.write(FROM_BASE)
    with builds.plan() as plan:
        assert not builds.path.exists()
        execute(plan)
    blobs = [what for verb, what in builds.sources.reads if verb == "blob"]
    assert len(blobs) == len(set(blobs))


def test_directories_of_a_base_are_read_once_on_a_host(builds, monkeypatch):
    builds.sources.publish(BASE, demo_image("app", "1"))
    builds.write(FROM_BASE)
    builds.run()
    (outline,) = (builds.path / ".staging/outlines").iterdir()
    monkeypatch.setattr(zlib, "decompressobj", None)
    builds.check()
    outline.write_bytes(b"{}")
    monkeypatch.undo()
    assert builds.check()["changed"] is False


def test_base_that_moves_changes_the_image_unless_it_is_locked_or_missing_only(builds):
    builds.sources.publish(BASE, demo_image("app", "1"))
    builds.write(FROM_BASE)
    first = builds.run()
    old = builds.sources["r.example/base"].tagged["1"]
    builds.sources.publish(BASE, demo_image("app", "2"))
    assert builds.check()["changed"] is False
    lock = lock_of(old, demo_image("app", "1"))
    assert builds.check(policy="always", lock=lock)["changed"] is False
    second = builds.run(policy="always")
    assert second["digest"] != first["digest"]
    assert second["diff"]["before"].keys() == {BASE, NAME}


def lock_of(digest, base):
    member = base.images[0]
    entry = {
        "name": BASE, "digest": str(digest), "media_type": base.media_type,
        "platforms": {"linux/amd64": {"manifest": member.digest, "config": member.config_digest, "size": member.size}},
    }  # fmt: skip
    return Lock.parse({"lockfile_version": 1, "images": [entry]})


def test_image_that_another_library_compressed_is_kept(builds, monkeypatch):
    result = builds.run(compression="gzip")
    assert result["compressor"].startswith("zlib")
    monkeypatch.setattr(compress, "_LEVEL", 1)
    other = builds.check(compression="gzip")
    assert (other["changed"], other["digest"]) == (False, result["digest"])
    (builds.context / "site/index.html").write_text("x" * 5000)
    assert builds.check(compression="gzip")["changed"] is True
    assert (
        builds.check(compression="gzip")["diff_ids"] == builds.check(compression="none")["diff_ids"]
    )


def test_format_of_docker_converts_the_base(builds):
    builds.sources.publish(BASE, demo_image("app", "1"))
    builds.write(FROM_BASE)
    result = builds.run(format="docker")
    types = {one["mediaType"] for one in read_manifest(builds.path, result["digest"])["layers"]}
    assert types == {"application/vnd.docker.image.rootfs.diff.tar.gzip"}


def test_files_of_another_image_are_copied(builds):
    parts = [layer({"etc/a": b"1", "bin/tool": b"tool"}), layer({"etc/.wh.a": b"", "etc/b": b"2"})]
    builds.sources.publish(BASE, image(parts))
    builds.write(f"FROM scratch\nCOPY --from={BASE} /etc /bin/tool /x/\n")
    assert builds.files(builds.run()) == ["x", "x/b", "x/tool"]


def test_inline_instructions_need_no_context(builds):
    text = "FROM scratch\nCOPY <<E /etc/motd\nhello\nE"
    result = builds.run(context=None, instructions=text)
    assert builds.files(result) == ["etc", "etc/motd"]
    data = blob_path(builds.path, result["layers"][0]["digest"]).read_bytes()
    assert b"hello\n" in gzip.decompress(data)


def test_file_is_found_by_its_names(builds):
    (builds.context / "Dockerfile").rename(builds.context / "Containerfile")
    digest = builds.check()["digest"]
    (builds.context / "build").mkdir()
    (builds.context / "Containerfile").rename(builds.context / "build/web.Dockerfile")
    (builds.context / "build/web.Dockerfile.dockerignore").write_text("site/run")
    assert builds.check(file="build/web.Dockerfile")["digest"] != digest
    assert builds.check(file=str(builds.context / "build/web.Dockerfile"))["digest"] == digest
    with pytest.raises(BuildContextError, match="has no Dockerfile"):
        builds.check()
    with pytest.raises(BuildContextError, match="has no /none"):
        builds.check(file="/none")


def test_file_that_changes_before_it_is_written_fails(builds):
    with builds.plan() as plan:
        (builds.context / "site/index.html").write_text("HELLO")
        outcome = execute(plan)
    assert isinstance(outcome.failure, BuildContextError)
    assert (
        not (builds.path / "index.json").exists()
        or NAME not in ImageStore(str(builds.path)).names()
    )


@pytest.mark.parametrize(
    ("params", "kind"),
    [
        ({"name": f"{NAME}@sha256:{'a' * 64}"}, InputError),
        ({"args": {"A": [1]}}, InputError),
        ({"created": -1}, InputError),
        ({"created": 10**12}, InputError),
        ({"format": "docker", "compression": "zstd"}, InputError),
    ],
)
def test_invalid_option_is_refused(builds, params, kind):
    with pytest.raises(kind):
        builds.check(**params)


@pytest.mark.parametrize(
    ("text", "kind", "more"),
    [
        ("FROM r.example/none:1", NotFoundError, {}),
        ("FROM r.example/none:1", NotInStoreError, {"policy": "never"}),
        ("FROM A B", InputError, {}),
        ("FROM UPPER", InputError, {}),
        (f"FROM {NAME}", InputError, {}),
        ("FROM r.example/none:1", LockError, {"lock": Lock(())}),
        ("FROM r.example/artifact:1\nCOPY site /x", UnsupportedError, {}),
        ("FROM r.example/arm:1\nCOPY site /x", NoPlatformError, {}),
        ("FROM scratch\nCOPY --from=r.example/arm:1 / /x", NoPlatformError, {}),
    ],
)
def test_base_that_cannot_be_used_is_named_with_its_line(builds, text, kind, more):
    artifact = image([layer({"a": b""})], artifactType="x/y")
    builds.sources.publish(NAME, artifact)
    builds.sources.publish("r.example/artifact:1", without_config(artifact))
    builds.sources.publish("r.example/arm:1", index([image([layer({"a": b""})], "linux/arm64")]))
    builds.write(text)
    with pytest.raises(kind) as caught:
        builds.run(**more)
    line = "Dockerfile:2" if "--from" in text else "Dockerfile:1"
    assert NAME in str(caught.value) or kind is LockError or line in str(caught.value)
    if kind is NoPlatformError:
        assert (caught.value.kind, "linux/arm64" in caught.value.full_message()) == (
            "platform-not-found",
            True,
        )
    assert not builds.path.exists() or ImageStore(str(builds.path)).names() == {}


def test_rules_that_leave_the_dockerfile_out_do_not_hide_it(builds):
    builds.write("FROM scratch\nCOPY . /all\n")
    (builds.context / ".dockerignore").write_text("*\n!site/run\n")
    assert builds.files(builds.run()) == ["all", "all/site", "all/site/run"]


def without_config(one):
    """Return an artifact with the layers of an image."""
    media_type = "application/vnd.oci.empty.v1+json"
    config = {"mediaType": media_type, "digest": one.config_digest, "size": len(one.config)}
    raw = json.dumps({**one.view, "config": config}).encode()
    return dataclasses.replace(one, raw=raw, digest=str(Digest.of(raw)))


def test_source_date_epoch_is_the_default_of_created(builds, monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "60")
    assert builds.check(created=None)["digest"] == builds.check(created=60)["digest"]
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "x")
    with pytest.raises(InputError):
        builds.check(created=None)


def test_arguments_are_text(builds):
    builds.write("FROM scratch\nARG A\nARG B\nLABEL a=$A b=$B\n")
    result = builds.run(args={"A": True, "B": 1})
    config = json.loads(blob_path(builds.path, result["config_digest"]).read_bytes())
    assert config["config"]["Labels"] == {"a": "true", "b": "1"}
