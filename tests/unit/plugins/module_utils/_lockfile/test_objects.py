# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The images in Kubernetes objects, in values of Helm and in YAML of other tools."""

from __future__ import annotations

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._image.errors import InputError
from ansible_collections.lockstep.images.tests.support.namefiles import NameFiles

HEX = "a" * 64


@pytest.fixture(name="files")
def fixture_files(tmp_path):
    return NameFiles(tmp_path)


TAKEN = {
    "spec.image": (
        "apiVersion: x/v1\nkind: Prometheus\nspec: {image: r.example/prometheus}",
        ["r.example/prometheus:latest"],
    ),
    "deeper in spec": (
        "kind: Cluster\nspec: {db: {image: 'postgres:15'}, other: {image: r.example/a:1}}",
        ["docker.io/library/postgres:15", "r.example/a:1"],
    ),
    "container and script of Argo": (
        "kind: Workflow\nspec:\n  templates:\n  - container: {image: busybox}\n"
        "  - script: {image: 'python:3', source: x}\n    sidecars: [{image: nginx}]\n"
        "  - containerSet: {containers: [{image: r.example/set}]}\n",
        [
            "docker.io/library/busybox:latest",
            "docker.io/library/python:3",
            "docker.io/library/nginx:latest",
            "r.example/set:latest",
        ],
    ),
    "steps of Tekton": (
        "kind: Task\nspec:\n  stepTemplate: {image: alpine}\n  steps: [{image: bash}, {script: x}]\n"
        "  sidecars: [{image: redis}]\n",
        [f"docker.io/library/{one}:latest" for one in ("alpine", "bash", "redis")],
    ),
    "an image stream": (
        "kind: ImageStream\nspec: {tags: [{from: {kind: DockerImage, name: 'r.example/a:1'}}]}",
        ["r.example/a:1"],
    ),
    "a patch": (
        "- op: replace\n  path: /spec/template/spec/containers/0/image\n  value: r.example/a:1\n"
        "- {op: add, path: /spec/x, value: {containers: [{image: r.example/b:1}]}}\n",
        ["r.example/a:1", "r.example/b:1"],
    ),
    "an ECS task": ('{"containerDefinitions": [{"image": "r.example/a:1"}]}', ["r.example/a:1"]),
    "a playbook": (
        "- hosts: all\n  tasks:\n  - community.docker.docker_container: {name: a, image: 'nginx:1'}\n",
        ["docker.io/library/nginx:1"],
    ),
    "zarf": (
        "kind: ZarfPackageConfig\ncomponents: [{images: [r.example/a:1, nginx]}, {images: [{name: r.example/b:1}]}]",
        ["r.example/a:1", "docker.io/library/nginx:latest", "r.example/b:1"],
    ),
    "Helm: parts": (
        "image: {registry: r.example, repository: a/b, tag: '1'}\n"
        "web: {image: {repository: r.example/c, tag: 1.10}}\n"
        "image2: {repository: r.example/d, digest: 'sha256:HEX'}\n"
        "sha: {image: {registry: quay.io, repository: e/f, tag: v1, sha: HEX}}\n".replace(
            "HEX", HEX
        ),
        [
            "r.example/a/b:1",
            "r.example/c:1.10",
            f"r.example/d@sha256:{HEX}",
            f"quay.io/e/f:v1@sha256:{HEX}",
        ],
    ),
    "Helm: one registry for all": (
        "global: {imageRegistry: r.example}\nimage: {registry: docker.io, repository: a/b, tag: '1'}\n"
        "own: {image: {repository: quay.io/c, tag: '1'}}\n",
        ["r.example/a/b:1", "quay.io/c:1"],
    ),
    "Helm: another key": (
        "engine: {repository: r.example/engine, tag: v1}\nimage: {ui: {name: r.example/u, tag: 1}}",
        ["r.example/engine:v1"],
    ),
    "Helm: a text and its tag": (
        "image: r.example/a\ntag: 1.20\nb: {image: nginx, imageTag: '1'}\nc: {image: 'r.example/c:1'}",
        ["r.example/a:1.20", "docker.io/library/nginx:1", "r.example/c:1"],
    ),
    "values in a release of Flux": (
        "kind: HelmRelease\nspec: {values: {image: {repository: r.example/a, tag: v1}}}",
        ["r.example/a:v1"],
    ),
    "skopeo sync": (
        f"r.example:5000:\n  tls-verify: false\n  images:\n    a/b: ['1.0', 'sha256:{HEX}']\n"
        "    c: [2.10]\nquay.io: {images: {d/e: [latest]}}\n",
        [
            "r.example:5000/a/b:1.0",
            f"r.example:5000/a/b@sha256:{HEX}",
            "r.example:5000/c:2.10",
            "quay.io/d/e:latest",
        ],
    ),
}


@pytest.mark.parametrize(("text", "names"), TAKEN.values(), ids=TAKEN)
def test_F04_images_of_many_kinds_of_files_are_taken(files, text, names):
    files.write("it.yml", text)
    assert files.names("it.yml") == files.names() == names


NOT_TAKEN = {
    "a default of a parameter": (
        "kind: Task\nspec:\n  params:\n  - {name: builder-image, default: alpine}\n",
        [(4, "builder-image: alpine")],
    ),
    "an option of an operator": (
        "kind: Deployment\nspec:\n  containers:\n  - image: r.example/a:1\n    args:\n    - --engine-image\n"
        "    - longhornio/longhorn-engine:v1.5\n    - --sidecar=r.example/side:2\n",
        [
            (7, "--engine-image: longhornio/longhorn-engine:v1.5"),
            (8, "--sidecar: r.example/side:2"),
        ],
    ),
    "an option without a slash": (
        "kind: Deployment\nspec:\n  containers:\n  - args: [--with, 'redis:7.2', --on, 'redis:6379', '0.0.0.0:80']\n",
        [(4, "--with: redis:7.2")],
    ),
    "words of a command": (
        "services:\n  a:\n    image: r.example/a\n    command: start redis:7 --with nginx:1.25-alpine db:5432\n",
        [(4, "command: the value"), (4, "command: nginx:1.25-alpine")],
    ),
    "a variable": (
        "kind: Deployment\nspec:\n  containers:\n  - env:\n    - {name: RELATED_IMAGE, value: envoy}\n"
        "    - name: PROXY\n      value: r.example/envoy:v1\n    - {name: A, value: 'https://r.example/a:1'}\n",
        [(5, "RELATED_IMAGE: envoy"), (7, "PROXY: r.example/envoy:v1")],
    ),
    "a key that ends in image": (
        "kind: Cluster\nspec:\n  sidecarImage: r.example/a:1\n  baseImage: alpine\n  logo_image: x.png\n"
        "  bootImage: http://x/y\n  osImage: Ubuntu 22\n",
        [(3, "sidecarImage: r.example/a:1"), (4, "baseImage: alpine")],
    ),
    "an image that may be something else": (
        "kind: Machine\nspec:\n  image: ubuntu-20.04\n",
        [(3, "image: ubuntu-20.04")],
    ),
    "a map of configuration": (
        "kind: ConfigMap\ndata:\n  image: r.example/a:1\n  run.sh: |\n    set -e\n    docker run r.example/b:2 ls\n"
        "    # image: r.example/comment:1\n  pod.yml: |\n\n    image: nginx\n",
        [(3, "image: r.example/a:1"), (6, "r.example/b:2"), (10, "image: nginx")],
    ),
    "what ko builds": (
        "kind: Deployment\nspec:\n  containers:\n  - image: ko://github.com/a/b\n"
        "    args: ['-git-image',\n      'ko://github.com/a/git']\n",
        [(4, "reference 'ko://github.com/a/b'"), (6, "-git-image: ko://github.com/a/git")],
    ),
    "an image stream": (
        "kind: ImageStream\nspec:\n  tags:\n  - from: {kind: DockerImage, name: $(WEB)}\n",
        [(4, "name: $(WEB)")],
    ),
    "parameters of Tekton and Argo": (
        "kind: Task\nspec:\n  steps:\n  - image: $(params.image)\n  - container: {image: '{{inputs.x}}'}\n",
        [(4, "image: $(params.image)"), (5, "image: {{inputs.x}}")],
    ),
    "values without a tag": (
        "image:\n  repository: r.example/a\n  tag: ''\nb: {image: {repository: r.example/b}}\n",
        [(2, "image.repository: r.example/a"), (4, "image.repository: r.example/b")],
    ),
    "all tags, and tags by patterns": (
        "r.example:\n  images:\n    a: []\n  images-by-tag-regex:\n    b: ^1\n  images-by-semver: {c: '>1'}\n",
        [
            (3, "r.example/a has no list of tags"),
            (5, "r.example/b has its tags chosen by images-by-tag-regex"),
            (6, "r.example/c has its tags chosen by images-by-semver"),
        ],
    ),
}


@pytest.mark.parametrize(("text", "told"), NOT_TAKEN.values(), ids=NOT_TAKEN)
def test_F04_possible_image_is_named_with_file_and_line(files, text, told):
    files.write("it.yml", text)
    files.write("other.yml", "containers: [{image: r.example/other:1}]")
    found = files.warnings()[: len(told)]
    assert len(files.warnings()) == len(told)
    for warning, (line, what) in zip(found, told):
        assert warning.startswith(f"it.yml, line {line}: {what}")


def test_F04_secrets_are_not_shown(files):
    values = ("robot/z:secret", "a:1secret", "admin:123456", "robot/z:1secret", "x:1.2")
    variables = ", ".join(f"{{name: V{n}, value: '{one}'}}" for n, one in enumerate(values))
    files.write(
        "it.yml",
        "kind: Secret\nstringData: {a: 'robot/x:1secret', image: 'robot/y:1secret'}\n---\n"
        f"containers: [{{image: r.example/a:1, env: [{variables}, {{name: PASSWORD, value: 'org/me:1.2'}}]}}]\n",
    )
    told = " ".join(files.warnings())
    assert [f"V{n}: the value" in told for n in range(len(values))] == [True] * 4 + [False]
    assert "PASSWORD: the value" in told and "V4: x:1.2" in told
    assert not [word for word in ("secret", "robot", "123456", "org/me") if word in told]


@pytest.mark.parametrize(
    "text",
    [
        "me:secret@r.example/a:{{ x }}",
        "docker://me:secret@r.example/a:1",
        "me:secret@r/{{x}}@sha256:1",
    ],
)
def test_F04_a_login_in_a_name_is_not_shown(files, text):
    files.write("a.yml", f"sidecarImage: '{text}'\ncontainers: [{{image: r.example/a:1}}]\n")
    files.write("b.yml", f"containers: [{{image: '{text}'}}]\n")
    assert len(files.warnings()) == 2
    assert "secret" not in " ".join(files.warnings())


def test_F04_taken_image_is_not_named_as_possible_too(files):
    files.write(
        "it.yml",
        "x-image: &i r.example/a:1\nkind: Pod\nspec: {containers: [{image: *i, args: [--image=r.example/a:1]}]}\n",
    )
    assert files.names("it.yml") == ["r.example/a:1"]
    assert files.warnings("it.yml") == []


# -- kustomizations


def test_F04_registry_or_hub_next_to_an_image_is_its_registry(files):
    files.write(
        "values.yaml",
        """\
        a: {image: {registry: r.example, image: a/b, tag: v1, digest: ""}}
        b: {hub: r.example/istio, image: pilot, tag: 1.20.3}
        c: {image: r.example/c, registry: other.example, tag: v1}
        """,
    )
    assert files.names() == ["r.example/a/b:v1", "r.example/istio/pilot:1.20.3", "r.example/c:v1"]
    assert files.warnings() == []


def test_F04_image_values_are_reported_under_any_key(files):
    files.write(
        "values.yaml",
        """\
        images: {a: "nginx:2", pullPolicy: Always, digest: sha256:abc, registry: r.example}
        image: {repo: b/c, tag: v1}
        imageName: postgres
        image_repository: r.example/d
        values: |
          image:
            repository: r.example/e
            tag: v1
        relatedImages: [{name: no, image: r.example/f:1}]
        """,
    )
    assert files.names() == ["r.example/f:1"]
    end = "could be an image, and is not locked"
    assert files.warnings() == [
        f"values.yaml, line 1: images.a: nginx:2 {end}",
        f"values.yaml, line 2: image.repo: b/c {end}",
        f"values.yaml, line 3: imageName: postgres {end}",
        f"values.yaml, line 4: image_repository: r.example/d {end}",
        f"values.yaml, line 7: repository: r.example/e {end}",
    ]


def test_F04_a_registry_without_images_does_not_make_it_another_file(files):
    files.write("sync.yml", "r.example: {images: {a: ['1']}}\nother.example: {tls-verify: false}\n")
    assert files.names() == ["r.example/a:1"]
    files.write("sync.yml", f"r.example: {{images: {{a: ['sha256:{HEX}']}}}}\n")
    assert files.warnings("sync.yml") == []


@pytest.mark.parametrize(
    ("argument", "shown"),
    [
        (
            "--default-images=a=r.example/a:v1,b=r.example/b:v1",
            ["r.example/a:v1", "r.example/b:v1"],
        ),
        ("--helpers=nginx:1.26,redis:7.2", ["nginx:1.26", "redis:7.2"]),
        (f"--helper=nginx@sha256:{HEX}", [f"nginx@sha256:{HEX}"]),
        ("docker://r.example/a:v1", ["r.example/a:v1"]),
        ("--helper=redis:alpine", ["the value"]),
    ],
)
def test_F04_names_in_arguments_are_reported_in_any_form(files, argument, shown):
    files.write("a.yml", f"containers:\n- image: r.example/x:1\n  args: ['{argument}']\n")
    found = [one.split(": ", 1)[1].split(": ", 1)[1] for one in files.warnings()]
    assert found == [f"{one} could be an image, and is not locked" for one in shown]


@pytest.mark.parametrize("argument", ["--bind=host:8080", "--listen=[::1]:80", "--level=debug"])
def test_F04_addresses_and_words_in_arguments_are_not_named(files, argument):
    files.write("a.yml", f"containers:\n- image: r.example/x:1\n  args: ['{argument}']\n")
    assert files.warnings() == []


def test_F04_patterns_of_a_policy_do_not_end_the_lock(files):
    files.write(
        "a.yml", "containers: [{image: '!*:latest'}, {image: '*:*'}, {image: 'r.example/a:1'}]\n"
    )
    for name in ("a.yml", ""):
        assert files.names(name) == ["r.example/a:1"]
        assert len(files.warnings(name)) == 2
    assert "line 1: reference '!*:latest': " in files.warnings()[0]


def test_F04_a_placeholder_does_not_end_the_lock_of_a_directory(files):
    files.write("a.yml", "containers: [{image: '<your image>'}, {image: 'r.example/a:1'}]\n")
    assert files.names() == ["r.example/a:1"]
    with pytest.raises(InputError, match="line 1: "):
        files.read("a.yml")


def test_F04_name_next_to_a_version_is_not_latest(files):
    files.write(
        "a.yml", "x: {image: r.example/a, version: v1}\ny: {image: 'r.example/b:1', version: '2'}"
    )
    assert files.names() == ["r.example/b:1"]
    (warning,) = files.warnings()
    assert warning == "a.yml, line 1: image: r.example/a could be an image, and is not locked"


def test_F04_images_of_jobs_are_named(files):
    files.write(
        "ci.yml", "image: ruby:3.3\nservices: ['postgres:16', web]\njob: {container: 'node:20'}\n"
    )
    end = "could be an image, and is not locked"
    assert files.warnings() == [
        f"ci.yml, line 2: services: postgres:16 {end}",
        f"ci.yml, line 3: container: node:20 {end}",
    ]


def test_F04_flux_kustomization_changes_images(files):
    files.write(
        "a.yml",
        f"""\
        apiVersion: kustomize.toolkit.fluxcd.io/v1
        kind: Kustomization
        spec:
          images:
          - {{name: r.example/a, newName: r.example/b, newTag: "1"}}
          - {{name: r.example/c, newTag: "1"}}
          - {{name: r.example/d, digest: "sha256:{HEX}"}}
          - {{name: r.example/e, newName: r.example/f}}
        """,
    )
    assert files.names() == ["r.example/b:1", "r.example/c:1", f"r.example/d@sha256:{HEX}"]
    (warning,) = files.warnings()
    assert warning.startswith("a.yml, line 8: images.repository: r.example/f could be an image")


def test_F04_images_of_an_application_of_argo_are_taken_or_named_once(files):
    files.write(
        "a.yml",
        """\
        kind: Application
        spec:
          source:
            kustomize: {images: ["a=r.example/a:1", "r.example/b:1"]}
            helm: {parameters: [{name: image.repository, value: r.example/c}]}
        """,
    )
    assert files.names() == ["r.example/b:1"]
    end = "could be an image, and is not locked"
    assert files.warnings() == [
        f"a.yml, line 4: images.a: r.example/a:1 {end}",
        f"a.yml, line 5: image.repository: r.example/c {end}",
    ]


def test_F04_annotation_is_not_taken_but_named(files):
    files.write(
        "a.yml",
        "metadata: {annotations: {image: 'r.example/b:1'}}\nspec: {containers: [{image: 'r.example/a:1'}]}\n",
    )
    assert files.names() == ["r.example/a:1"]
    (warning,) = files.warnings()
    assert warning == "a.yml, line 1: image: r.example/b:1 could be an image, and is not locked"
