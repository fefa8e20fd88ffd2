# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The images of quadlet units."""

from __future__ import annotations

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._image.errors import InputError
from ansible_collections.lockstep.images.tests.support.namefiles import NameFiles


@pytest.fixture(name="files")
def fixture_files(tmp_path):
    return NameFiles(tmp_path)


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
def test_F04_unit_without_an_image_name_is_an_error_with_the_line(files, image, told):
    files.write("a.container", f"[Container]\nImage={image}\n")
    with pytest.raises(InputError, match=r"a\.container, line 2: ") as caught:
        files.read("a.container")
    assert told in str(caught.value)
    assert [one for one in files.warnings() if told in one]


def test_F04_built_image_is_reported(files):
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
