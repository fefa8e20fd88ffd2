# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Kustomizations: the files that they include, and their changes of image names."""

from __future__ import annotations

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._image.errors import InputError
from ansible_collections.lockstep.images.tests.support.namefiles import NameFiles

HEX = "a" * 64


@pytest.fixture(name="files")
def fixture_files(tmp_path):
    return NameFiles(tmp_path)


BASE = """\
kind: Deployment
spec:
  containers:
  - image: nginx
  - image: r.example/app:1
"""


@pytest.mark.parametrize(
    ("entry", "names"),
    [
        ("{name: nginx, newTag: '1.25'}", ["docker.io/library/nginx:1.25", "r.example/app:1"]),
        ("{name: nginx, newName: r.example/n}", ["r.example/n:latest", "r.example/app:1"]),
        (
            "{name: r.example/app, newTag: 2.10}",
            ["docker.io/library/nginx:latest", "r.example/app:2.10"],
        ),
        (
            f"{{name: r.example/app, digest: 'sha256:{HEX}'}}",
            ["docker.io/library/nginx:latest", f"r.example/app@sha256:{HEX}"],
        ),
        (
            f"{{name: r.example/app, newName: r.example/b, newTag: v2, digest: 'sha256:{HEX}'}}",
            ["docker.io/library/nginx:latest", f"r.example/b:v2@sha256:{HEX}"],
        ),
        (
            "{name: ng, newTag: v2}",
            ["docker.io/library/nginx:latest", "r.example/app:1", "docker.io/library/ng:v2"],
        ),
    ],
)
@pytest.mark.parametrize("name", ["kustomization.yaml", "kustomization.yml", "Kustomization"])
def test_F04_the_images_of_a_kustomization_are_applied(files, name, entry, names):
    files.write("k/app.yml", BASE)
    files.write(f"k/{name}", f"resources: [app.yml]\nimages: [{entry}]\n")
    assert sorted(files.names("k")) == sorted(files.names(f"k/{name}")) == sorted(names)


def test_F04_each_overlay_changes_the_images_of_its_base(files):
    files.write("base/app.yml", BASE)
    files.write(
        "base/kustomization.yaml", "resources: [app.yml]\nimages: [{name: nginx, newTag: a}]"
    )
    for name, tag in (("one", "1"), ("two", "2")):
        files.write(
            f"over/{name}/kustomization.yaml",
            f"resources: [../../base]\nimages: [{{name: r.example/app, newTag: v{tag}}}]",
        )
    files.write("alone.yml", "kind: Pod\nspec: {containers: [image: nginx]}")
    assert sorted(files.names()) == [
        "docker.io/library/nginx:a",
        "docker.io/library/nginx:latest",
        "r.example/app:v1",
        "r.example/app:v2",
    ]
    assert files.skipped() == []
    assert files.names("over/two") == ["docker.io/library/nginx:a", "r.example/app:v2"]
    assert files.names("base") == ["docker.io/library/nginx:a", "r.example/app:1"]


def test_F04_a_suffix_of_tags_is_applied(files):
    files.write("app.yml", BASE)
    files.write(
        "kustomization.yaml", "resources: [app.yml]\nimages: [{name: r.example/app, tagSuffix: -x}]"
    )
    assert files.names() == ["docker.io/library/nginx:latest", "r.example/app:1-x"]


def test_F04_components_change_the_resources_of_their_users(files):
    files.write("k/app.yml", BASE)
    files.write("k/kustomization.yaml", "resources: [app.yml]\ncomponents: [../tags]\n")
    files.write(
        "tags/kustomization.yaml", "kind: Component\nimages: [{name: nginx, newTag: '1.25'}]\n"
    )
    assert files.names() == files.names("k") == ["docker.io/library/nginx:1.25", "r.example/app:1"]


def test_F04_patches_in_a_kustomization_are_read(files):
    files.write("app.yml", BASE)
    files.write(
        "kustomization.yaml",
        """\
        resources: [app.yml]
        patches:
        - patch: |-
            - op: replace
              path: /spec/containers/0/image
              value: redis:7
        patchesStrategicMerge:
        - |
          kind: Deployment
          spec:
            containers:
            - image: r.example/patched:$X
        """,
    )
    with pytest.raises(
        InputError, match=r"kustomization\.yaml, line 12: r\.example/patched:\$X contains"
    ):
        files.read("kustomization.yaml")
    path = files.root / "kustomization.yaml"
    path.write_text(path.read_text().replace("$X", "1"))
    assert {"docker.io/library/redis:7", "r.example/patched:1"} < set(files.names())


def test_F04_remote_resource_is_a_warning(files):
    files.write("app.yml", BASE)
    files.write("kustomization.yaml", "resources:\n- app.yml\n- github.com/a/b?ref=1\n")
    assert len(files.names("kustomization.yaml")) == 2
    told = "kustomization.yaml, line 3: github.com/a/b?ref=1 is remote, and is not read"
    assert files.warnings("kustomization.yaml") == files.warnings() == [told]


def test_F04_a_resource_that_is_missing_is_an_error_and_in_a_directory_a_warning(files):
    files.write("app.yml", BASE)
    files.write("kustomization.yaml", "resources:\n- app.yml\n- none.yml\n")
    told = "kustomization.yaml, line 3: the resource none.yml does not exist"
    with pytest.raises(InputError) as caught:
        files.read("kustomization.yaml")
    assert str(caught.value) == f"{files.root}/{told}"
    assert files.warnings() == [f"{told}, and is not locked"]


def test_F04_circular_kustomizations_end(files):
    for name, other in (("a", "b"), ("b", "a")):
        files.write(f"{name}/app.yml", BASE)
        files.write(
            f"{name}/kustomization.yaml",
            f"resources: [app.yml, ../{other}]\nimages: [{{name: nginx, newTag: '1'}}]",
        )
    assert len(files.names()) <= 3


@pytest.mark.parametrize("configured", [False, True])
def test_F04_kustomization_changes_names_outside_of_containers_only_if_configured(
    files, configured
):
    files.write(
        "kustomization.yaml",
        "resources: [a.yaml]\nimages: [{name: r.example/a, newTag: v2}]\n"
        "patches: [{path: p.yaml}]\n" + "configurations: [c.yaml]\n" * configured,
    )
    files.write("a.yaml", "kind: Prometheus\nspec: {image: 'r.example/a:1'}\n")
    files.write("p.yaml", "- {op: replace, path: /spec/containers/0/image, value: 'r.example/a:0'}")
    wanted = {"r.example/a:v2"} | (set() if configured else {"r.example/a:1"})
    assert set(files.names("kustomization.yaml")) == wanted
    assert files.warnings("kustomization.yaml") == []


def test_F04_values_of_charts_in_a_kustomization_are_read_and_the_chart_is_named(files):
    files.write(
        "kustomization.yaml",
        """\
        helmCharts:
        - name: web
          valuesInline: {image: {repository: r.example/a, tag: v1}}
          valuesFile: v.txt
        """,
    )
    files.write("v.txt", "---\nimage: {repository: r.example/b, tag: v1}\n")
    assert files.names() == ["r.example/a:v1", "r.example/b:v1"]
    (warning,) = files.warnings()
    assert warning.startswith("kustomization.yaml, line 2: the chart web is not read: ")
