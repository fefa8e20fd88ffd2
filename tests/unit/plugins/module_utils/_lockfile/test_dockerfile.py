# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The images that a Dockerfile builds on, and those of units of quadlet."""

from __future__ import annotations

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._image.errors import InputError
from ansible_collections.lockstep.images.tests.support.namefiles import NameFiles


@pytest.fixture(name="files")
def fixture_files(tmp_path):
    return NameFiles(tmp_path)


CASES = {
    "one stage": ("FROM r.example/a:1\nRUN true\n", ["r.example/a:1"]),
    "in small letters": ("from r.example/a:1\n", ["r.example/a:1"]),
    "a default": ("ARG TAG=1\nFROM r.example/a:$TAG\n", ["r.example/a:1"]),
    "a default in quotes": ('ARG TAG="1"\nFROM r.example/a:${TAG}\n', ["r.example/a:1"]),
    "a default of a default": (
        "ARG V=1\nARG BASE=r.example/a:${V}\nFROM $BASE\n",
        ["r.example/a:1"],
    ),
    "a default where it is used": ("ARG TAG\nFROM r.example/a:${TAG:-1}\n", ["r.example/a:1"]),
    "a suffix": ("ARG S=x\nFROM r.example/a:1${S:+-slim}\n", ["r.example/a:1-slim"]),
    "several arguments": ("ARG A=r.example/a B=1\nFROM $A:$B\n", ["r.example/a:1"]),
    "stages": (
        "FROM r.example/a:1 AS Build\nFROM build AS next\nFROM r.example/b:1\nCOPY --from=next / /\n",
        ["r.example/a:1", "r.example/b:1"],
    ),
    "scratch": ("FROM r.example/a:1 AS a\nFROM scratch\nCOPY --from=0 /a /\n", ["r.example/a:1"]),
    "a copy": ("FROM scratch\nCOPY --chown=1:1 --from=r.example/c:1 /a /b\n", ["r.example/c:1"]),
    "a mount": (
        "FROM scratch\nRUN --mount=type=cache,target=/x --mount=type=bind,from=r.example/m:1,target=/m ls\n",
        ["r.example/m:1"],
    ),
    "a platform": (
        "FROM --platform=linux/arm64 r.example/a:1\nFROM --platform=$BUILDPLATFORM r.example/b:1\n",
        ["r.example/a:1 linux/arm64", "r.example/b:1"],
    ),
    "lines that go on": (
        "FROM scratch\nCOPY \\\n# a comment\n\n  --from=r.example/c:1 \\\n /a /b\n",
        ["r.example/c:1"],
    ),
    "another escape": ("# escape=`\nFROM `\n  r.example/a:1\nRUN dir c:\\\n", ["r.example/a:1"]),
    "a here-document": (
        "FROM r.example/a:1\nRUN <<EOF cat\nFROM r.example/no:1\nEOF\nCOPY <<-'E' /x\nFROM no\n\tE\n",
        ["r.example/a:1"],
    ),
    "on build": (
        "FROM r.example/a:1\nONBUILD COPY --from=r.example/o:1 / /\n",
        ["r.example/a:1", "r.example/o:1"],
    ),
    "CRLF": ("ARG T=1\r\nFROM r.example/a:$T\r\n", ["r.example/a:1"]),
}


@pytest.mark.parametrize(("text", "names"), CASES.values(), ids=CASES)
def test_F04_base_images_of_a_dockerfile_are_taken(files, text, names):
    files.write("Dockerfile", text.encode())
    assert files.names("Dockerfile") == names


@pytest.mark.parametrize(
    "name", ["Containerfile", "Dockerfile.web", "web.Dockerfile", "a/dockerfile", "web.docker"]
)
def test_F04_a_dockerfile_is_known_by_its_name_or_what_is_in_it(files, name):
    files.write(name, "# ours\nARG X=1\nFROM r.example/a:$X\n")
    assert files.names(name) == ["r.example/a:1"]
    files.write("pod.yml", "containers: [image: r.example/p:1]")
    wanted = {"r.example/p:1"} | ({"r.example/a:1"} if name != "web.docker" else set())
    assert set(files.names()) == wanted


def test_F04_an_argument_without_a_default_is_an_error_and_in_a_directory_a_warning(files):
    files.write("Dockerfile", "ARG BASE\nFROM ${BASE}\nFROM r.example/a:1\n")
    with pytest.raises(InputError, match=r"line 2: \${BASE} contains variables"):
        files.read("Dockerfile")
    assert files.names() == ["r.example/a:1"]
    (warning,) = files.warnings()
    assert warning == "Dockerfile, line 2: ${BASE} contains variables, and is not locked"


@pytest.mark.parametrize("image", ["{{ base }}", "@BASE@", "%%BASE%%", "$BASE"])
def test_F04_a_template_of_a_dockerfile_does_not_end_the_lock_of_a_directory(files, image):
    files.write("Dockerfile.tmpl", f"FROM {image}\n")
    files.write("Dockerfile", "FROM r.example/a:1\n")
    assert files.names() == ["r.example/a:1"]
    (warning,) = files.warnings()
    assert warning.startswith("Dockerfile.tmpl, line 1: ")


def test_F04_parser_directives_may_come_in_any_order(files):
    files.write(
        "Dockerfile",
        "# check=skip=all\n#escape=`\n# syntax=docker/dockerfile:1\nFROM r.example/a:1\nRUN dir C:\\\n"
        "COPY --from=r.example/b:1 a b\nRUN x `\n  --mount=from=r.example/c:1\n",
    )
    assert files.names("Dockerfile") == [f"r.example/{one}:1" for one in "abc"]
    (warning,) = files.warnings("Dockerfile")
    assert warning.startswith("Dockerfile, line 3: syntax: docker/dockerfile:1 ")


def test_F04_arguments_of_a_stage_do_not_change_what_the_next_one_starts_from(files):
    files.write("Dockerfile", "ARG B=r.example/a:1\nFROM $B AS x\nARG B=r.example/b:1\nFROM $B\n")
    assert files.names("Dockerfile") == ["r.example/a:1"]
    files.write("Dockerfile", "FROM r.example/a:1\nARG V=1\nFROM r.example/b:$V\n")
    with pytest.raises(InputError, match=r"line 3: r\.example/b:\$V contains variables"):
        files.read("Dockerfile")


@pytest.mark.parametrize(
    "shell", ["echo $((1<<3))", "cat <<<text", 'sh -c "x <<EOF"', "cat <<ONE <<never"]
)
def test_F04_text_like_a_here_document_hides_nothing(files, shell):
    files.write("Dockerfile", f"FROM r.example/a:1\nRUN {shell}\nONE\nFROM r.example/b:1\n")
    assert files.names("Dockerfile") == ["r.example/a:1", "r.example/b:1"]


def test_F04_a_stage_may_be_chosen_by_what_the_build_fills_in(files):
    files.write(
        "Dockerfile",
        'FROM "r.example/a:1" AS base-amd64\nFROM base-${TARGETARCH}\nFROM b-$TARGETOS',
    )
    with pytest.raises(InputError, match=r"line 3: b-\$TARGETOS contains variables"):
        files.read("Dockerfile")
    assert files.names() == ["r.example/a:1"]


def test_F04_the_frontend_of_a_build_is_named(files):
    files.write("Dockerfile", "# syntax=docker/dockerfile:1\nFROM r.example/a:1\n")
    (warning,) = files.warnings("Dockerfile")
    assert warning.startswith("Dockerfile, line 1: syntax: docker/dockerfile:1 could be an image")


UNITS = {
    "a.container": ("[Unit]\nImage=no\n[Container]\nImage=r.example/a:1\n", ["r.example/a:1"]),
    "b.container": (
        "[Container]\n# Image=no\nImage=no\nImage=\\\n  r.example/b:1\n",
        ["r.example/b:1"],
    ),
    "c.container": (
        "[Container]\nImage=r.example/c:1\nMount=type=image,source=r.example/m:1,destination=/x\n"
        "Mount=type=bind,source=/a,destination=/b\nPodmanArgs=--platform linux/arm64\n",
        ["r.example/c:1 linux/arm64", "r.example/m:1 linux/arm64"],
    ),
    "d.image": (
        "[Image]\nImage=docker://r.example/d:1\nArch=arm64\n",
        ["r.example/d:1 linux/arm64"],
    ),
    "e.volume": ("[Volume]\nDriver=image\nImage=r.example/e:1\n", ["r.example/e:1"]),
    "f.container.d/10.conf": ("[Container]\nImage=r.example/f:1\n", ["r.example/f:1"]),
}


@pytest.mark.parametrize(("name", "case"), UNITS.items(), ids=UNITS)
def test_F04_images_of_quadlet_units_are_taken(files, name, case):
    files.write(f"u/{name}", case[0])
    assert files.names(f"u/{name}") == files.names() == case[1]


def test_F04_units_that_a_unit_refers_to_are_read(files):
    files.write("a.container", "[Container]\nImage=b.image\n")
    files.write("b.image", "[Image]\nImage=r.example/b:1\n")
    files.write("c.kube", "[Kube]\nYaml=pod.yml\n")
    files.write("pod.yml", "kind: Pod\nspec: {containers: [image: r.example/p:1]}")
    assert files.names("a.container") == ["r.example/b:1"]
    assert files.names("c.kube") == ["r.example/p:1"]


@pytest.mark.parametrize(
    ("image", "told"),
    [
        ("none.image", "none.image does not exist"),
        ("r.example/a:%i", "contains systemd specifiers"),
        ("oci-archive:/srv/a.tar", "oci-archive:/srv/a.tar is not in a registry"),
    ],
)
def test_F04_a_unit_that_has_no_name_yet_is_an_error_with_the_line(files, image, told):
    files.write("a.container", f"[Container]\nImage={image}\n")
    with pytest.raises(InputError, match=r"a\.container, line 2: ") as caught:
        files.read("a.container")
    assert told in str(caught.value)
    assert [one for one in files.warnings() if told in one]


def test_F04_an_image_that_is_built_is_named(files):
    files.write("a.container", "[Container]\nImage=web.build\n")
    (warning,) = files.warnings("a.container")
    assert warning.startswith("a.container, line 2: web.build is built")


def test_F04_drop_ins_of_a_unit_are_read(files):
    files.write("a.container", "[Container]\nImage=r.example/a:1\n")
    files.write("a.container.d/10.conf", "[Container]\nImage=r.example/b:1\n")
    assert files.names("a.container") == ["r.example/a:1", "r.example/b:1"]


def test_F04_arguments_and_variables_of_units_that_look_like_images_are_named(files):
    files.write(
        "a.container",
        """\
        [Container]
        Image=r.example/a:1
        Environment=HELPER_IMAGE=r.example/b:1 "PASSWORD=r.example/c:1"
        Exec=run --image r.example/d:1
        """,
    )
    files.write("b.pod", "[Pod]\nPodmanArgs=--infra-image=r.example/e:1\n")
    assert files.warnings() == [
        "a.container, line 3: HELPER_IMAGE: r.example/b:1 could be an image, and is not locked",
        "a.container, line 3: PASSWORD: the value could be an image, and is not locked",
        "a.container, line 4: --image: r.example/d:1 could be an image, and is not locked",
        "b.pod, line 2: --infra-image: r.example/e:1 could be an image, and is not locked",
    ]
