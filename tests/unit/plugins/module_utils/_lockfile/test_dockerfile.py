# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The base images of a Dockerfile."""

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
def test_F04_dockerfile_is_known_by_its_name_or_content(files, name):
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


def test_F04_arguments_of_a_stage_do_not_change_the_base_of_the_next(files):
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


def test_F04_stage_name_can_contain_a_build_variable(files):
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
