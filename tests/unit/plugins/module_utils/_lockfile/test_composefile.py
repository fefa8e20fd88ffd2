# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The images of a compose file, also those in other files and in other places than a service."""

from __future__ import annotations

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._image.errors import InputError
from ansible_collections.lockstep.images.tests.support.namefiles import NameFiles


@pytest.fixture(name="files")
def fixture_files(tmp_path):
    return NameFiles(tmp_path)


@pytest.mark.parametrize(
    ("extends", "names"),
    [
        ("{file: base.yml, service: base}", ["r.example/base:1"]),
        ("{file: sub/more.yml, service: more}", ["r.example/deep:1"]),
        ("{service: own}", ["r.example/own:1"]),
        ("own", ["r.example/own:1"]),
    ],
)
def test_F04_image_of_an_extended_service_is_taken(files, extends, names):
    files.write("base.yml", "services: {base: {image: r.example/base:1}, x: {image: r.example/x}}")
    files.write("sub/more.yml", "services: {more: {extends: {file: deep.yml, service: deep}}}")
    files.write("sub/deep.yml", "services: {deep: {image: r.example/deep:1}}")
    own = "own: {image: r.example/own:1}, " if "own" in extends else ""
    files.write("compose.yml", f"services: {{{own}a: {{extends: {extends}}}}}")
    assert files.names("compose.yml") == names


def test_F04_image_of_a_service_overrides_the_extended_one(files):
    files.write("base.yml", "services: {base: {image: r.example/base:1, platform: linux/arm64}}")
    files.write(
        "compose.yml",
        "services: {a: {image: r.example/a:1, extends: {file: base.yml, service: base}}}",
    )
    assert files.names("compose.yml") == ["r.example/a:1 linux/arm64"]


@pytest.mark.parametrize(
    ("include", "names"),
    [
        ("[other.yml]", ["r.example/other:1"]),
        ("[{path: other.yml}]", ["r.example/other:1"]),
        (
            "[{path: [other.yml, sub/third.yml], env_file: x}]",
            ["r.example/other:1", "r.example/third:1"],
        ),
    ],
)
def test_F04_included_files_are_read(files, include, names):
    files.write("other.yml", "services: {o: {image: r.example/other:1}}")
    files.write(
        "sub/third.yml", "include: [../compose.yml]\nservices: {o: {image: r.example/third:1}}"
    )
    files.write("compose.yml", f"include: {include}\nservices: {{}}")
    assert files.names("compose.yml") == names
    files.write("compose.yml", f"include: {include}\n")
    assert files.names("compose.yml") == names


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("include: [none.yml]\nservices: {}", "line 1: none.yml is included, but cannot be read"),
        (
            "services:\n  a:\n    extends: {file: none.yml, service: a}",
            "none.yml, which is extended",
        ),
        (
            "services:\n  a:\n    extends: {service: b}",
            "line 3: the extended service b is not",
        ),
    ],
)
def test_F04_unreadable_file_is_an_error_and_in_a_directory_a_warning(files, text, told):
    files.write("compose.yml", text)
    with pytest.raises(InputError) as caught:
        files.read("compose.yml")
    assert told in str(caught.value) and "compose.yml, line " in str(caught.value)
    files.write("pod.yml", "kind: Pod\nspec: {containers: [{image: r.example/a:1}]}")
    assert files.names() == ["r.example/a:1"]
    assert [text for text in files.warnings() if told in text]


def test_F04_remote_file_is_a_warning(files):
    files.write(
        "compose.yml",
        "include: ['https://x.example/a.git']\nservices: {a: {image: r.example/a:1}}",
    )
    assert files.names("compose.yml") == ["r.example/a:1"]
    told = "compose.yml, line 1: https://x.example/a.git is remote, and is not read"
    assert files.warnings("compose.yml") == files.warnings() == [told]


def test_F04_endless_chain_of_extends_is_cut(files):
    files.write(
        "compose.yml", "services: {a: {extends: b}, b: {extends: a}, c: {image: r.example/c:1}}"
    )
    assert files.names("compose.yml") == ["r.example/c:1"]


def test_F04_volumes_of_the_type_image_are_taken(files):
    files.write(
        "compose.yml",
        """\
        services:
          a:
            image: r.example/a:1
            volumes:
              - data:/data
              - {type: image, source: r.example/data:1, target: /x}
              - {type: volume, source: r.example/not:1}
        """,
    )
    assert files.names("compose.yml") == ["r.example/a:1", "r.example/data:1"]


def test_F04_built_service_has_its_image_and_base_images_taken(files):
    files.write(
        "compose.yml",
        """\
        services:
          named: {build: ., image: r.example/built:1}
          inline:
            build:
              additional_contexts: {base: docker-image://r.example/context:1}
              dockerfile_inline: |
                FROM r.example/inline:1
          listed: {build: {additional_contexts: ['x=docker-image://r.example/listed:1', y=../y]}}
        """,
    )
    assert files.names("compose.yml") == [
        "r.example/built:1",
        "r.example/context:1",
        "r.example/inline:1",
        "r.example/listed:1",
    ]
    (warning,) = files.warnings("compose.yml")
    assert warning.startswith("compose.yml, line 8: the service listed is built")


@pytest.mark.parametrize(
    ("platform", "named"),
    [("linux/arm64", " linux/arm64"), ("linux/arm64/v8", " linux/arm64"), ("", "")],
)
def test_F04_the_platform_of_a_service_is_reported(files, platform, named):
    files.write("compose.yml", f"services: {{a: {{image: r.example/a:1, platform: '{platform}'}}}}")
    assert files.names("compose.yml") == [f"r.example/a:1{named}"]


@pytest.mark.parametrize(
    ("platform", "told"),
    [("linux/${ARCH}", "contains variables"), ("a/b/c/d", "is not of the form")],
)
def test_F04_a_wrong_platform_is_an_error_with_the_line(files, platform, told):
    files.write(
        "compose.yml", f"services:\n  a:\n    image: r.example/a\n    platform: {platform}\n"
    )
    with pytest.raises(InputError, match=r"compose\.yml, line 3: ") as caught:
        files.read("compose.yml")
    assert told in str(caught.value)


def test_F26_compose_may_reset_and_override(files):
    files.write(
        "compose.yml",
        "services:\n  a: {image: !override r.example/a:1, ports: !reset []}\n  b: {image: !reset null}\n",
    )
    assert files.names("compose.yml") == ["r.example/a:1"]


def test_F04_commands_and_variables_of_services_that_look_like_images_are_named(files):
    files.write(
        "compose.yml",
        """\
        services:
          a:
            image: r.example/a:1
            command: [--engine-image, r.example/engine:v1, --listen, 0.0.0.0:9090, redis:6379]
            environment:
              RUNNER_IMAGE: alpine
              URL: https://r.example/x:1
          b:
            image: r.example/a:1
            command: run --with r.example/other:2
            environment:
              - WORKER=r.example/worker:3
              - PASSWORD=robot:1secret
        """,
    )
    assert files.warnings("compose.yml") == [
        f"compose.yml, line {line}: {what} could be an image, and is not locked"
        for line, what in (
            (4, "--engine-image: r.example/engine:v1"),
            (6, "RUNNER_IMAGE: alpine"),
            (10, "command: r.example/other:2"),
            (12, "WORKER: r.example/worker:3"),
            (13, "PASSWORD: the value"),
        )
    ]


def test_F04_the_dockerfile_of_a_service_is_read_wherever_it_is(files):
    files.write(
        "d/compose.yml",
        "services: {a: {build: ../a}, b: {build: {dockerfile: ../a/b}}, c: {build: missing}}\n",
    )
    files.write("a/Dockerfile", "FROM r.example/a:1\n")
    files.write("a/b", "FROM r.example/b:1\n")
    assert files.names("d") == ["r.example/a:1", "r.example/b:1"]
    (warning,) = files.warnings("d")
    assert warning.startswith("d/compose.yml, line 1: the service c is built: add its Dockerfile")
