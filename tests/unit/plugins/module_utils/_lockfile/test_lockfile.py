# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lock file as bytes: one form for one content, and every error has its line."""

from __future__ import annotations

import itertools
import json
import os

import pytest
import yaml
from ansible_collections.lockstep.images.plugins.module_utils._image.errors import (
    LockError,
    StoreAccessError,
)
from ansible_collections.lockstep.images.plugins.module_utils._image.lock import (
    Lock,
    LockedImage,
    LockedPlatform,
)
from ansible_collections.lockstep.images.plugins.module_utils._image.names import Digest, Reference
from ansible_collections.lockstep.images.plugins.module_utils._lockfile.lockfile import (
    embedded_manifests,
    images_of_images_lock,
    is_images_lock,
    manifests_of,
    read_document,
    read_lock,
    read_manifests,
    render_images_lock,
    render_lock,
)
from ansible_collections.lockstep.images.tests.support.images import demo_image
from ansible_collections.lockstep.images.tests.support.tables import assert_tells

INDEX = "application/vnd.oci.image.index.v1+json"
ONE, TWO, THREE = (f"sha256:{letter * 64}" for letter in "abc")
LONG = f"sha512:{'d' * 128}"


def locked(name, digest=ONE, **platforms):
    there = {
        key.replace("__", "/"): LockedPlatform(
            Digest.parse(TWO), Digest.parse(config) if config else None, 5
        )
        for key, config in (platforms or {"linux__amd64": THREE}).items()
    }
    return LockedImage(name, Digest.parse(digest), INDEX, there)


WINDOWS = "windows(10.0.17763.1%2Bx)/amd64"
IMAGES = [
    locked("registry.example/app:1", linux__amd64=THREE, linux__arm64=THREE, linux__arm__v7=TWO),
    locked("docker.io/library/debian:12", **{"all": None}),
    locked(f"registry.example/pinned@{LONG}", LONG),
    locked("registry.example:5000/a_b/c--d:V1.0-x", **{WINDOWS: TWO}),
    locked("[::1]:5000/app:1"),
    locked("localhost/app:null"),
    locked("Namespace/app:0"),
]
TEXT = f"""\
---
lockfile_version: 1
images:
  - name: docker.io/library/debian:12
    digest: {ONE}
    media_type: {INDEX}
    platforms:
      all:
        manifest: {TWO}
        config: null
        size: 5
  - name: registry.example/app:1
    digest: {ONE}
    media_type: {INDEX}
    platforms:
      linux/amd64:
        manifest: {TWO}
        config: {THREE}
        size: 5
      linux/arm/v7:
        manifest: {TWO}
        config: {TWO}
        size: 5
"""


@pytest.fixture(name="path")
def fixture_path(tmp_path):
    return tmp_path / "images.lock.yml"


def read(path, data=None):
    if data is not None:
        path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return read_lock(str(path), "a/b.yml")


def images_of(path, data=None):
    """Return the entries, wherever they stand."""
    return tuple(one._replace(place="") for one in Lock.parse(read(path, data)).images)


def error_of(path, data=None):
    with pytest.raises(LockError) as caught:
        read(path, data)
    assert_tells(caught.value, "invalid-lock")
    assert len(str(caught.value)) < 600
    return str(caught.value)


# -- the text


def test_the_text_is_as_documented():
    images = [
        locked("registry.example/app:1", linux__arm__v7=TWO, linux__amd64=THREE),
        locked("docker.io/library/debian:12", **{"all": None}),
    ]
    assert render_lock(images).decode() == TEXT


def test_rendering_a_lock_that_was_read_gives_the_same_bytes(path):
    text = render_lock(IMAGES)
    found = images_of(path, text)
    assert list(found) == sorted(IMAGES, key=lambda one: one.name)
    assert render_lock(found) == text
    assert text.endswith(b"\n") and not text.endswith(b"\n\n")


def test_every_order_of_images_and_platforms_gives_the_same_bytes():
    first = render_lock(IMAGES[:4])
    for order in itertools.permutations(IMAGES[:4]):
        turned = [
            one._replace(platforms=dict(reversed(list(one.platforms.items())))) for one in order
        ]
        assert render_lock(turned) == first


def test_every_yaml_parser_reads_the_same_types(path):
    document = yaml.safe_load(render_lock(IMAGES))
    names = [one["name"] for one in document["images"]]
    assert names == sorted(one.name for one in IMAGES)
    for one in document["images"]:
        for platform in one["platforms"].values():
            assert platform["size"] == 5 and isinstance(platform["manifest"], str)


def test_empty_lock_is_read(path):
    assert render_lock([]) == b"---\nlockfile_version: 1\nimages: []\n"
    assert images_of(path, render_lock([])) == ()


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda text: text, id="as it is"),
        pytest.param(lambda text: text.replace("\n", "\r\n"), id="I020 CRLF"),
        pytest.param(lambda text: "\ufeff" + text, id="BOM"),
        pytest.param(lambda text: text[4:], id="without a start"),
        pytest.param(lambda text: f"# ours\n{text}...\n", id="with comments and an end"),
        pytest.param(lambda text: text.replace("linux/amd64", '"linux/amd64"'), id="quoted"),
        pytest.param(lambda text: json.dumps(yaml.safe_load(text)), id="JSON"),
    ],
)
def test_other_yaml_styles_are_read(path, change):
    wanted = images_of(path, TEXT)
    assert images_of(path, change(TEXT)) == wanted
    assert render_lock(wanted).decode() == TEXT


def test_every_entry_has_its_line_and_json_types(path):
    found = read(path, TEXT)
    assert (found["file"], [one["line"] for one in found["images"]]) == ("a/b.yml", [4, 12])
    assert "manifests" not in found
    assert json.loads(json.dumps(found)) == found


def test_a_file_of_2000_entries_is_read_and_its_last_line_known(path):
    """Twice in it is one name: the last."""
    images = [locked(f"registry.example/app-{number:05}:1") for number in range(2_000)]
    text = render_lock([*images, images[-1]])
    told = error_of(path, text)
    assert told == (
        "a/b.yml, line 16004: registry.example/app-01999:1 is listed twice, first at line 15996"
    )


def test_missing_file_is_none(path):
    assert read(path) is None
    assert read_document(str(path), "a/b.yml") is None


# -- what is wrong with it


@pytest.mark.parametrize(
    ("text", "told"),
    [
        pytest.param("", "a/b.yml: holds 0 documents, not one", id="empty"),
        pytest.param("# nothing\n", "a/b.yml: holds 0 documents, not one", id="comments"),
        pytest.param("---\n", "a/b.yml: is not a lock file: it is empty", id="nothing"),
        pytest.param("null\n", "a/b.yml: is not a lock file: it is empty", id="null"),
        pytest.param(TEXT + TEXT, "a/b.yml: holds 2 documents, not one", id="two documents"),
        pytest.param("- a\n", "a/b.yml: is not a lock file: it has no images", id="a list"),
        pytest.param("some text\n", "a/b.yml: is not a lock file: it has no images", id="a text"),
        pytest.param("5\n", "a/b.yml: is not a lock file: it has no images", id="a number"),
        pytest.param("a: 1\n", "a/b.yml: is not a lock file: it has no images", id="no images"),
        pytest.param(
            "kind: ImagesLock\nimages: []\n", "a/b.yml: is an ImagesLock of imgpkg", id="imgpkg"
        ),
        pytest.param(b"\x7fELF\x02\x01\x01\0", "a/b.yml, line 1: is not YAML: ", id="binary"),
        pytest.param(b"a: 1\nb: \xff\n", "a/b.yml, line 2: is not text in UTF-8: ", id="not UTF-8"),
        pytest.param("[" * 2_000, "a/b.yml: is nested too deeply", id="deep"),
        pytest.param("a: 1\n" * 2, "a/b.yml, line 2: the key a occurs twice", id="a key twice"),
        pytest.param(f"file: x\n{TEXT[4:]}", "a/b.yml: has the unknown key file", id="file"),
        pytest.param(
            f"manifests: {{}}\n{TEXT[4:]}", "a/b.yml: has the unknown key manifests", id="manifests"
        ),
    ],
)
def test_invalid_lock_file_is_reported_with_its_name(path, text, told):
    """I020"""
    assert error_of(path, text).startswith(told)


EDITS = [
    pytest.param("lockfile_version: 1", "lockfile_version: 2", "a/b.yml: lockfile_version", id="2"),
    pytest.param("lockfile_version: 1", "lockfile_version: 1.0", "a/b.yml: lockf", id="1.0"),
    pytest.param("lockfile_version: 1", "lockfile_version: true", "a/b.yml: lockf", id="true"),
    pytest.param("lockfile_version: 1", 'lockfile_version: "1"', "a/b.yml: lockf", id="text"),
    pytest.param("images:", "images: &a", "app:1", id="an anchor is harmless"),
    pytest.param(
        "        size: 5\n  - name: reg",
        "\t        size: 5\n  - name: reg",
        "a/b.yml, line 11: ",
        id="tab",
    ),
    pytest.param(
        f"    digest: {ONE}\n", "", "a/b.yml, line 4: digest is missing", id="missing key"
    ),
    pytest.param(
        "    digest: ", "    line: 4\n    digest: ", "line 4: has the unknown key line", id="line"
    ),
    pytest.param(
        "    digest: ", "    tag: 4\n    digest: ", "line 4: has the unknown key tag", id="unknown"
    ),
    pytest.param(
        ONE, f"sha1:{'a' * 40}", "line 4: docker.io/library/debian:12: digest: ", id="alg"
    ),
    pytest.param(ONE, ONE.upper(), "line 4: docker.io/library/debian:12: digest: ", id="upper"),
    pytest.param(ONE, "0x" + "f" * 5000, "line 5: the number is too large", id="a number"),
    pytest.param(
        "registry.example/app:1",
        "docker.io/library/debian:12",
        "line 12: docker.io/library/debian:12 is listed twice, first at line 4",
        id="twice",
    ),
    pytest.param(
        "registry.example/app:1",
        "registry.example/app",
        "line 12: registry.example/app: name is incomplete",
        id="name",
    ),
    pytest.param("      linux/amd64:", "      linux/AMD64:", "line 12: registry", id="platform"),
    pytest.param("size: 5", "size: 5.0", "line 4: docker.io/library/debian:12: ", id="size"),
    pytest.param("size: 5", "size: 5\n        size: 6", "line 12: the key size", id="key twice"),
    pytest.param(f"config: {THREE}", f"config: *{'a' * 3}", "line 18: aliases are", id="alias"),
    pytest.param("platforms:\n", "platforms:\n      <<: *a\n", "line 8: aliases", id="merge"),
    pytest.param(ONE, "!!python/object:os.system x", "line 5: could not", id="a tag"),
]


@pytest.mark.parametrize(("old", "new", "told"), EDITS)
def test_edited_entry_is_reported_with_its_line(path, old, new, told):
    """I020"""
    text = TEXT.replace(old, new, 1)
    assert text != TEXT
    if told == "app:1":
        assert len(images_of(path, text)) == 2
    else:
        assert told in error_of(path, text)


def test_a_bomb_of_aliases_is_refused(path):
    """I020"""
    lines = ["a0: &a0 [1]"] + [
        f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 20)}]" for n in range(1, 30)
    ]
    text = "\n".join(lines) + "\nlockfile_version: *a29\nimages: []\n"
    assert error_of(path, text) == "a/b.yml, line 2: aliases are not allowed"


@pytest.mark.parametrize("what", ["directory", "fifo", "link", "large"])
def test_special_file_is_an_error_that_names_it(path, what, tmp_path):
    if what == "directory":
        path.mkdir()
    elif what == "fifo":
        os.mkfifo(path)
    elif what == "link":
        path.symlink_to(tmp_path / "other")
    else:
        with path.open("wb") as handle:
            handle.truncate(64 * 1024 * 1024 + 1)
    with pytest.raises(StoreAccessError) as caught:
        read(path)
    assert_tells(caught.value, "store-access", str(path))


# -- the manifests beside it

FAMILY = demo_image("app", "1", layers=1, size=50)
AMD64, ARM64 = FAMILY.images


def family_lock():
    platforms = {
        str(key): LockedPlatform(
            Digest.parse(one.digest), Digest.parse(one.config_digest), one.size
        )
        for key, one in (("linux/amd64", AMD64), ("linux/arm64", ARM64))
    }
    return [
        locked("registry.example/a:1"),
        LockedImage("registry.example/app:1", Digest.parse(FAMILY.digest), INDEX, platforms),
    ]


def put(path, *items):
    directory = path.with_name("images.lock.d")
    directory.mkdir(exist_ok=True)
    for item in items:
        (directory / item.digest.partition(":")[2]).write_bytes(item.raw)
    return directory


@pytest.mark.parametrize(
    ("path", "directory"),
    [
        ("images.lock.yml", "images.lock.d"),
        ("/a/images.lock.yaml", "/a/images.lock.d"),
        ("images.lock.json", "images.lock.d"),
        ("images.lock", "images.lock.d"),
        ("a.yml/b", "a.yml/b.d"),
        ("a.yml.bak", "a.yml.bak.d"),
    ],
)
def test_the_directory_of_manifests_is_named_after_the_file(path, directory):
    assert manifests_of(path) == directory


def test_manifests_are_embedded_as_text_and_foreign_files_are_ignored(path):
    directory = put(path, FAMILY, AMD64, ARM64)
    (directory / "README.md").write_text("ours")
    (directory / "part-1234").write_text("of a writer that was killed")
    (directory / ("A" * 64)).write_text("upper case")
    (directory / ("a" * 63)).write_text("short")
    found = read(path, render_lock(family_lock()[1:]))
    wanted = {one.digest: one.raw.decode() for one in (FAMILY, AMD64, ARM64)}
    assert found["manifests"] == wanted
    assert Lock.parse(found).manifests[Digest.parse(FAMILY.digest)] == FAMILY.raw


def test_empty_directory_of_manifests_counts_as_missing(path):
    (put(path) / "README.md").write_text("ours")
    assert "manifests" not in read(path, render_lock(family_lock()))


def test_sha512_manifests_are_embedded_too(path):
    digest = Digest.of(FAMILY.raw, "sha512")
    (put(path) / digest.encoded).write_bytes(FAMILY.raw)
    assert read_manifests(str(path)) == {digest: FAMILY.raw.decode()}


@pytest.mark.parametrize("spoil", [b"", b"{}", FAMILY.raw[:-1], FAMILY.raw + b"x"], ids=len)
def test_a_manifest_with_other_bytes_is_an_error_that_names_its_file(path, spoil):
    file = put(path, FAMILY, AMD64, ARM64) / FAMILY.digest.partition(":")[2]
    file.write_bytes(spoil)
    told = error_of(path, render_lock(family_lock()[1:]))
    assert told == f"{file}: does not match its name"
    assert Digest.parse(FAMILY.digest) not in read_manifests(str(path), skip_bad=True)
    assert len(read_manifests(str(path), skip_bad=True)) == 2


PRETTY = b'{\n  "schemaVersion": 2,\n  "layers": []\n}'
LINE_ENDS = "its line ends were converted, as git does"
WHITE_SPACE = "white space at its end was changed, as a pre-commit hook does"


@pytest.mark.parametrize(
    ("raw", "there", "cause"),
    [
        (PRETTY, PRETTY.replace(b"\n", b"\r\n"), LINE_ENDS),
        (PRETTY.replace(b"\n", b"\r\n"), PRETTY, LINE_ENDS),
        (PRETTY, PRETTY + b"\n", WHITE_SPACE),
        (PRETTY, PRETTY + b"\r\n", WHITE_SPACE),
        (PRETTY + b"\n", PRETTY, WHITE_SPACE),
        (PRETTY, PRETTY.replace(b"\n", b"\r\n") + b"\r\n", LINE_ENDS),
        (PRETTY, b"\xef\xbb\xbf" + PRETTY, "a byte order mark was added"),
    ],
    ids=["CRLF", "LF", "newline", "CRLF newline", "stripped", "both", "BOM"],
)
@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_F27_cause_of_changed_bytes_is_reported_with_a_hint(path, raw, there, cause, algorithm):
    file = put(path) / Digest.of(raw, algorithm).encoded
    file.write_bytes(there)
    path.write_bytes(render_lock(family_lock()[1:]))
    with pytest.raises(LockError) as caught:
        read(path)
    assert str(caught.value) == f"{file}: does not match its name: {cause}"
    assert ".gitattributes" in caught.value.hint and "Lock again" in caught.value.hint


def test_F27_git_lfs_pointer_is_reported(path):
    file = put(path) / ("a" * 64)
    file.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 5\n")
    assert error_of(path, render_lock(family_lock()[1:])).endswith(": it is a Git LFS pointer")


def test_manifest_that_is_not_text_is_an_error_that_names_its_file(path):
    """JSON is text, and nothing else can be sent to hosts."""
    raw = b'{"a": "\xff"}'
    file = put(path) / Digest.of(raw).encoded
    file.write_bytes(raw)
    assert error_of(path, render_lock(family_lock()[1:])).startswith(f"{file}: ")
    assert read_manifests(str(path), skip_bad=True) == {}


@pytest.mark.parametrize("lacking", [FAMILY, AMD64, ARM64], ids=["index", "amd64", "arm64"])
def test_missing_manifest_is_reported_with_the_line_of_its_image(path, lacking):
    directory = put(path, *(one for one in (FAMILY, AMD64, ARM64) if one is not lacking))
    told = error_of(path, render_lock(family_lock()[1:]))
    assert told == (
        f"a/b.yml, line 4: registry.example/app:1: {directory} lacks its manifest {lacking.digest}"
    )


def test_all_manifests_are_embedded_or_none(path):
    put(path, FAMILY, AMD64, ARM64)
    assert "line 4: registry.example/a:1: " in error_of(path, render_lock(family_lock()))


def test_the_manifests_of_an_image_are_its_own_and_those_of_its_platforms():
    image = family_lock()[1]
    assert [str(one) for one in embedded_manifests(image)] == [
        FAMILY.digest,
        AMD64.digest,
        ARM64.digest,
    ]


# -- ImagesLock of imgpkg

IMAGES_LOCK = f"""\
---
apiVersion: imgpkg.carvel.dev/v1alpha1
images:
- annotations:
    kbld.carvel.dev/id: docker.io/library/debian:12
  image: docker.io/library/debian@{ONE}
- image: registry.example/pinned@{LONG}
kind: ImagesLock
"""


def test_an_images_lock_is_as_imgpkg_writes_it():
    images = [
        locked(f"registry.example/pinned@{LONG}", LONG),
        locked("docker.io/library/debian:12"),
    ]
    assert render_images_lock(images).decode() == IMAGES_LOCK
    empty = render_images_lock([]).decode()
    assert yaml.safe_load(empty) == {
        "apiVersion": "imgpkg.carvel.dev/v1alpha1",
        "images": [],
        "kind": "ImagesLock",
    }


def test_rendered_images_lock_has_the_same_names_and_digests(path):
    path.write_bytes(render_images_lock(reversed(IMAGES)))
    document = read_document(str(path), "a/b.yml")
    assert is_images_lock(document)
    found = [Reference.parse(text) for text, _place in images_of_images_lock(document, "a/b.yml")]
    wanted = []
    for one in sorted(IMAGES, key=lambda image: image.name):
        reference = Reference.parse(one.name)
        wanted.append(reference._replace(digest=one.digest))
    assert found == wanted


@pytest.mark.parametrize(
    ("lines", "wanted"),
    [
        pytest.param(f"- image: r.example/app@{ONE}", f"r.example/app@{ONE}", id="bare"),
        pytest.param(f"- image: r.example/app:1@{ONE}", f"r.example/app:1@{ONE}", id="with a tag"),
        pytest.param(
            f"- image: index.docker.io/library/nginx@{ONE}\n"
            "  annotations:\n    kbld.carvel.dev/id: nginx:1.25\n",
            f"nginx:1.25@{ONE}",
            id="of kbld",
        ),
        pytest.param(
            f"- image: r.example/mirror/nginx@{ONE}\n"
            "  annotations: {kbld.carvel.dev/id: nginx:1.25}\n",
            f"r.example/mirror/nginx@{ONE}",
            id="relocated",
        ),
        pytest.param(
            f"- image: r.example/app@{ONE}\n  annotations: {{kbld.carvel.dev/id: r.example/app@{TWO}}}",
            f"r.example/app@{ONE}",
            id="another digest in the annotation",
        ),
        pytest.param(
            f"- image: r.example/app@{ONE}\n  annotations: {{kbld.carvel.dev/id: simple app}}",
            f"r.example/app@{ONE}",
            id="built, and named by hand",
        ),
        pytest.param(
            f"- image: r.example/app@{ONE}\n  annotations: {{kbld.carvel.dev/id: 5}}",
            f"r.example/app@{ONE}",
            id="an annotation that is no text",
        ),
        pytest.param(
            f"- image: r.example/app@{ONE}\n  annotations: [a]",
            f"r.example/app@{ONE}",
            id="annotations that are none",
        ),
    ],
)
def test_the_references_of_an_images_lock_keep_their_digests(path, lines, wanted):
    path.write_text(f"kind: ImagesLock\nimages:\n{lines}\n")
    document = read_document(str(path), "a/b.yml")
    assert images_of_images_lock(document, "a/b.yml") == [(wanted, "a/b.yml, line 3")]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{kind: ImagesLock}", "a/b.yml: images is not a list"),
        ("{kind: ImagesLock, images: {}}", "a/b.yml: images is not a list"),
        ("{kind: ImagesLock,\nimages: [\n{image: a}]}", "a/b.yml, line 3: image is not a ref"),
        ("{kind: ImagesLock,\nimages: [\n{}]}", "a/b.yml, line 3: image is not a reference"),
        ("{kind: ImagesLock,\nimages: [\n{image: [a]}]}", "a/b.yml, line 3: image is not a"),
        (f"{{kind: ImagesLock, images: ['a@{ONE}']}}", "a/b.yml: images[0]: image is not a"),
    ],
)
def test_entry_without_a_digest_is_reported_with_its_line(path, text, told):
    path.write_text(text)
    with pytest.raises(LockError) as caught:
        images_of_images_lock(read_document(str(path), "a/b.yml"), "a/b.yml")
    assert_tells(caught.value, "invalid-lock")
    assert str(caught.value).startswith(told)
