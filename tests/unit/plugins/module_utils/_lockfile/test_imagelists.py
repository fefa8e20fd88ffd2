# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Image names in the files of users, and the places of invalid ones."""

from __future__ import annotations

import json
import os

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._image.errors import (
    InputError,
    StoreAccessError,
)
from ansible_collections.lockstep.images.plugins.module_utils._lockfile.imagelists import (
    Source,
    parse_sources,
    read_source,
    read_sources,
)
from ansible_collections.lockstep.images.tests.support.namefiles import NameFiles
from ansible_collections.lockstep.images.tests.support.tables import assert_tells
from ansible_collections.lockstep.images.tests.support.users import (
    ordinary_user,
    public_directory,
)

ONE = f"sha256:{'a' * 64}"
LOCK = f"""\
---
lockfile_version: 1
images:
  - name: r.example/a:1
    digest: {ONE}
    media_type: application/vnd.oci.image.manifest.v1+json
    platforms: {{linux/amd64: {{manifest: "{ONE}", config: null, size: 5}}}}
  - name: r.example/b@{ONE}
    digest: {ONE}
    media_type: application/vnd.oci.image.manifest.v1+json
    platforms: {{all: {{manifest: "{ONE}", config: null, size: 5}}}}
"""


@pytest.fixture(name="write")
def fixture_write(tmp_path):
    def write(text, name="it.yml"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


def names_of(listing):
    return list(dict.fromkeys(str(one.reference) for one in listing.named))


def names_in(path, *keys):
    return names_of(read_source(Source(str(path), keys)))


def error_of(path, kind="invalid-input", *keys):
    with pytest.raises(InputError) as caught:
        read_source(Source(str(path), keys))
    assert_tells(caught.value, kind)
    assert len(str(caught.value)) < 600
    return caught.value


# -- compose

COMPOSE = {
    "one service": ("services:\n  a:\n    image: r.example/a:1\n", ["r.example/a:1"]),
    "in the order of the file, each once": (
        "services:\n  b: {image: r.example/b}\n  a: {image: r.example/a}\n  c: {image: r.example/b}",
        ["r.example/b:latest", "r.example/a:latest"],
    ),
    "short names": (
        "services: {a: {image: nginx}, b: {image: 'org/app:1'}}",
        ["docker.io/library/nginx:latest", "docker.io/org/app:1"],
    ),
    "digests": (
        f"services:\n  a: {{image: 'r.example/a:1@{ONE}'}}\n  b: {{image: r.example/b@{ONE}}}\n",
        [f"r.example/a:1@{ONE}", f"r.example/b@{ONE}"],
    ),
    "a build has none": (
        "services:\n  a: {build: .}\n  b: {image: r.example/b:1}",
        ["r.example/b:1"],
    ),
    "a build that names what it builds": (
        "services:\n  a: {build: {context: .}, image: r.example/a:1}",
        ["r.example/a:1"],
    ),
    "nothing but builds": ("services:\n  a: {build: .}\n", []),
    "an empty service": ("services:\n  a:\n  b: {image:}\n  c: {}\n", []),
    "no services": ("services: {}\nvolumes: {a: {}}\n", []),
    "extensions and merges": (
        "x-base: &base\n  image: r.example/base:1\n  restart: always\n"
        "services:\n  a:\n    <<: *base\n  b: &b\n    <<: *base\n    image: r.example/b:1\n"
        "  c:\n    <<: *b\n  d: *b\n",
        ["r.example/base:1", "r.example/b:1"],
    ),
    "an alias as name": (
        "x-image: &image r.example/a:1\nservices:\n  a: {image: *image}\n",
        ["r.example/a:1"],
    ),
    "what else there is": (
        "name: demo\nversion: '3.8'\nservices:\n  a:\n    image: r.example/a:1\n"
        "    volumes: [{type: bind, source: r.example/c}]\n    environment: {image: r.example/d}\n",
        ["r.example/a:1"],
    ),
}


@pytest.mark.parametrize(("text", "names"), COMPOSE.values(), ids=COMPOSE)
def test_images_of_compose_services_are_taken(write, text, names):
    assert names_in(write(text, "compose.yaml")) == names


@pytest.mark.parametrize(
    "image",
    [
        "r.example/a:${TAG}",
        "r.example/a:${TAG:-x}",
        "${REGISTRY}/a:1",
        "r.example/a:$TAG",
        "$$a",
        "{{ registry }}/a:1",
        "r.example/a:{{.Values.tag}}",
        "${" + "A" * 5000 + "}",
    ],
    ids=lambda text: text[:30],
)
def test_variables_are_an_error_with_file_and_line(write, image):
    path = write(f"services:\n  a: {{image: r.example/a:1}}\n  b:\n    image: '{image}'\n")
    error = error_of(path)
    assert str(error).startswith(f"{path}, line 4: ")
    assert str(error).endswith(" contains variables")
    assert "docker compose config" in error.hint


@pytest.mark.parametrize(
    ("image", "told"),
    [
        ("r.example/A:1", "name component 'A' must be lower case"),
        ("'r.example/a b'", "only printable ASCII"),
        ("''", "reference is empty"),
        ("docker://r.example/a", "is not part of a name"),
        ("r.example/a@sha1:12", "the algorithm is unsupported"),
        ("1.10", "image is not a text"),
        ("5000", "image is not a text"),
        ("true", "image is not a text"),
        ("[r.example/a]", "image is not a text"),
        ("{name: r.example/a}", "image is not a text"),
        ("2026-01-02", "image is not a text"),
    ],
)
def test_a_wrong_reference_is_an_error_with_file_and_line(write, image, told):
    path = write(f"services:\n  a: {{image: r.example/a:1}}\n  b:\n    image: {image}\n")
    text = str(error_of(path))
    assert text.startswith(f"{path}, line 4: ")
    assert told in text


def test_hint_of_a_reference_is_reported_too(write):
    path = write("services: {a: {image: 'user:secret-word@r.example/a'}}")
    error = error_of(path)
    assert "registry_login" in error.hint
    assert "secret-word" not in str(error) + error.hint


BOMB = "x0: &x0 {image: r.example/a:1, b: 1, c: 2}\n" + "".join(
    f"x{n}: &x{n} {{FORM}}\n".replace("FORM", ", ".join([f"*x{n - 1}"] * 10)) for n in range(1, 31)
)


def test_a_bomb_of_merges_is_refused(write):
    text = BOMB.replace("{*", "{<<: [*").replace("}\n", "]}\n")
    text = text.replace("c: 2]}", "c: 2}")
    path = write(text + "services: {a: *x30}\n")
    try:
        assert len(names_in(path)) == 1  # PyYAML takes each key once since 6.0.4
    except InputError as exc:
        assert str(exc).endswith(": merge keys make it too large")


def test_a_bomb_of_aliases_is_not_written_out(write):
    text = BOMB.replace("{*", "[*").replace("}\n", "]\n").replace("c: 2]", "c: 2}")
    assert names_in(write(text + "services: {a: {image: r.example/b:1}}\n")) == ["r.example/b:1"]
    path = write(text + "services: {a: {image: *x30}}\n")
    assert str(error_of(path)).endswith(": image is not a text")
    assert names_in(write(text + "kind: Pod\n")) == ["r.example/a:1"]
    path = write(text + "containers: [image: *x30]\n")
    assert str(error_of(path)).endswith(": image is not a text")
    path = write(text + "lockfile_version: *x30\nimages: []\n")
    assert str(error_of(path)).endswith("line 2: aliases are not allowed")


# -- Kubernetes

POD = "containers: [{name: a, image: 'r.example/a:1'}, {name: b, image: 'r.example/b:1'}]"
KUBERNETES = {
    "Pod": (f"kind: Pod\nspec: {{{POD}}}", ["r.example/a:1", "r.example/b:1"]),
    "Deployment": (
        f"kind: Deployment\nspec: {{template: {{spec: {{{POD}}}}}}}",
        ["r.example/a:1", "r.example/b:1"],
    ),
    "CronJob": (
        f"kind: CronJob\nspec: {{jobTemplate: {{spec: {{template: {{spec: {{{POD}}}}}}}}}}}",
        ["r.example/a:1", "r.example/b:1"],
    ),
    "List": (
        f"kind: List\nitems:\n- kind: Pod\n  spec: {{{POD}}}\n"
        "- kind: Pod\n  spec: {containers: [{image: r.example/c}]}\n",
        ["r.example/a:1", "r.example/b:1", "r.example/c:latest"],
    ),
    "all kinds of containers": (
        "kind: Pod\nspec:\n  initContainers: [{image: r.example/init}]\n"
        "  containers: [{image: r.example/main}]\n  ephemeralContainers: [{image: r.example/debug}]\n",
        ["r.example/init:latest", "r.example/main:latest", "r.example/debug:latest"],
    ),
    "volumes that are images": (
        "kind: Pod\nspec:\n  volumes:\n  - {name: a, image: {reference: r.example/data:1}}\n"
        "  - {name: b, emptyDir: {}}\n  - {name: c, rbd: {image: disk}}\n  - {name: d, image:}\n",
        ["r.example/data:1"],
    ),
    "several documents, some empty": (
        f"---\n---\nkind: Pod\nspec: {{{POD}}}\n---\n# nothing\n---\nkind: ConfigMap\ndata: {{image: x}}\n"
        "---\nkind: Pod\nspec: {containers: [{image: r.example/c}]}\n---\n",
        ["r.example/a:1", "r.example/b:1", "r.example/c:latest"],
    ),
    "custom resources": (
        "kind: Rollout\nspec: {workload: [{pod: {containers: [{image: r.example/a}]}}]}",
        ["r.example/a:latest"],
    ),
    "the definition of a custom resource": (
        "kind: CustomResourceDefinition\nspec:\n  schema:\n    properties:\n"
        "      containers: {type: array, items: {properties: {image: {type: string}}}}\n"
        "      op: {enum: [=, '!=']}\n",
        [],
    ),
    "containers without an image": (
        "kind: Pod\nspec: {containers: [{name: a}, {image:}, a, null]}",
        [],
    ),
    "containers that are none": ("kind: Pod\nspec: {containers: {image: data}}", []),
    "aliases": (
        "kind: List\nitems:\n- &pod\n  spec: {containers: [&c {image: r.example/a}]}\n- *pod\n"
        "- spec: {containers: [*c, {<<: *c, name: b}]}\n",
        ["r.example/a:latest"],
    ),
    "one that holds itself": (
        "&a\nkind: Pod\nself: *a\nspec: {containers: [{image: r.example/a}]}\n",
        ["r.example/a:latest"],
    ),
    "JSON": (
        json.dumps({"kind": "Pod", "spec": {"containers": [{"image": "r.example/a"}]}}),
        ["r.example/a:latest"],
    ),
    "nothing": ("", []),
    "no document": ("# nothing\n---\n", []),
    "a text": ("text\n", []),
}


@pytest.mark.parametrize(("text", "names"), KUBERNETES.values(), ids=KUBERNETES)
def test_containers_of_all_kubernetes_objects_are_taken(write, text, names):
    assert names_in(write(text)) == names


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("kind: Pod\nspec:\n  containers:\n  - image: {{ .Values.image }}\n", 4),
        ("kind: Pod\nspec:\n  containers:\n  - image: '{{ .Values.image }}'\n", 4),
        ("kind: Pod\nspec:\n{{- if .Values.a }}\n  containers: []\n{{- end }}\n", 4),
        ("kind: Pod\nspec:\n  containers:\n  - name: a\n    image: r.example/A\n", 5),
        ("a: 1\n---\nb: [\n", 4),
        ("image: a\nimage: b\n", 2),
    ],
)
def test_invalid_manifest_is_an_error_with_file_and_line(write, text, line):
    path = write(text)
    error = error_of(path)
    assert str(error).startswith(f"{path}, line {line}: ")
    assert ("fills them in" in error.hint) is ("{{" in text)


# -- directories


def test_all_yaml_below_a_directory_is_read_in_the_order_of_its_names(write, tmp_path):
    for name in ("b/z.yml", "a.json", "b/a/c.YAML", "c.yml", "b.yaml"):
        image = name.lower().replace("/", "-")
        write(json.dumps({"containers": [{"image": f"r.example/{image}"}]}), f"k/{name}")
    write("r.example/not-this-one\n", "k/list.txt")
    write("{{ not yaml", "k/README.md")
    names = ["a.json", "b.yaml", "b-a-c.yaml", "b-z.yml", "c.yml"]
    wanted = [f"r.example/{name}:latest" for name in names]
    assert names_in(tmp_path / "k") == wanted
    assert names_in(f"{tmp_path}/k/") == wanted


@pytest.mark.parametrize("there", [[], ["list.txt", "b/README.md"]], ids=["empty", "no YAML"])
def test_a_directory_without_yaml_is_an_error(write, tmp_path, there):
    (tmp_path / "k").mkdir()
    for name in there:
        write("r.example/a", f"k/{name}")
    assert str(error_of(tmp_path / "k")) == (
        f"{tmp_path}/k: has no file that ends in .yml, .yaml, .json,"
        " nor a Dockerfile, a Containerfile, or a unit of quadlet"
    )


def test_invalid_file_of_a_directory_is_named(write, tmp_path):
    write("containers: [{image: r.example/a}]\n", "k/a.yml")
    wrong = write("\ncontainers: [{image: r.example/B}]\n", "k/b/b.yml")
    assert str(error_of(tmp_path / "k")).startswith(f"{wrong}, line 2: ")


def test_links_to_files_are_followed(write, tmp_path):
    """As in a mounted ConfigMap."""
    write("containers: [{image: r.example/a}]\n", "data/a.yml")
    (tmp_path / "k").mkdir()
    (tmp_path / "k" / "a.yml").symlink_to("../data/a.yml")
    assert names_in(tmp_path / "k") == names_in(tmp_path / "k" / "a.yml") == ["r.example/a:latest"]


@pytest.fixture(name="files")
def fixture_files(tmp_path):
    return NameFiles(tmp_path / "k")


def test_F04_links_to_directories_are_followed_and_each_is_read_once(files, tmp_path):
    """As a ConfigMap is mounted: the files are links into a link to a directory."""
    files.write("..2026/a.yml", "containers: [{image: r.example/a:1}]\n")
    files.write("sub/b.yml", "containers: [{image: r.example/b:1}]\n")
    (tmp_path / "far").mkdir()
    (tmp_path / "far" / "c.yml").write_text("containers: [{image: r.example/c:1, args: [x/y:1]}]\n")
    (files.root / "..data").symlink_to("..2026")
    (files.root / "a.yml").symlink_to("..data/a.yml")
    (files.root / "far").symlink_to(tmp_path / "far")
    (files.root / "sub" / "loop").symlink_to(files.root)
    (files.root / "sub" / "self").symlink_to(".")
    assert sorted(files.names()) == ["r.example/a:1", "r.example/b:1", "r.example/c:1"]
    assert len(files.warnings()) == 1


STRANGE = {
    "patch.json": '[{"op": "remove", "path": "/spec/a"}]',
    "patch.yml": "- {op: replace, path: /spec/replicas, value: 3}\n",
    "template.yaml": "kind: Pod\n{{- if .Values.x }}\nspec: {{ .Values.y }}\n{{- end }}\n",
    "tsconfig.json": '{\n  // ours\n  "compilerOptions": {"strict": true,},\n}\n',
    "side.yml": "image: ''\n",
    "null.yml": "image:\n",
    "empty-container.yml": "spec: {containers: [{image: ''}]}\n",
    "empty.yml": "",
    "comment.yaml": "# nothing\n",
    "words.json": '["one", "two", 3]',
    "tabs.yml": "a:\n\tb: c\n",
    "broken.yml": "a: [\n",
    "text.yml": "only words\n",
    "number.json": "5",
    "binary.json": b"\x00\x01\xff",
    "twice.yml": "kind: Service\nkind: Job\n",
    "deep.json": "[" * 100_000,
    "service.yml": "kind: Service\nspec: {ports: [{port: 80}]}\n",
    "playbook.yml": "- hosts: all\n  vars: {secret: !vault x, other: !unsafe y}\n",
    "mkdocs.yml": "x: !!python/name:a.b\n",
    "key.yml": "? [a]\n: b\n",
}


@pytest.mark.parametrize("name", STRANGE)
def test_F04_file_without_an_image_does_not_end_the_lock_of_a_directory(files, name):
    files.write("app.yml", "containers: [{image: r.example/a:1}]\n")
    path = files.write(name, STRANGE[name])
    assert files.names() == ["r.example/a:1"]
    assert files.skipped() == [name]
    listing = read_sources([Source(str(files.root))])
    assert listing.warnings[-1] == f"{files.root}: 1 file names no image: see files_skipped"
    with pytest.raises(InputError) as caught:
        read_sources([Source(str(path))])
    assert str(caught.value).startswith(f"{path}")


@pytest.mark.parametrize("name", ["images.txt", "longhorn-images.txt", "image_list.lst", "images"])
def test_F04_list_in_a_directory_is_reported(files, name):
    files.write("app.yml", "containers: [{image: r.example/a:1}]\n")
    files.write(f"x/{name}", "r.example/b:1\n")
    files.write("readme.txt", "r.example/c:1\n")
    assert files.names() == ["r.example/a:1"]
    assert files.warnings() == [f"x/{name}: could be a list of images: add it to from"]


def test_F04_special_files_in_a_directory_are_skipped(files):
    files.write("app.yml", "containers: [{image: r.example/a:1}]\n")
    (files.root / ".#app.yml").symlink_to("user@host:1")
    os.mkfifo(files.root / "pipe.yml")
    assert files.names() == ["r.example/a:1"]
    assert files.skipped() == [".#app.yml", "pipe.yml"]


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        (
            "tpl.yaml",
            "{{- if .x }}\nimage: {{ .Values.image }}\n{{- end }}\n",
            "line 2: image: {{ .Values",
        ),
        (
            "tpl.yaml",
            "spec:\n  containers:\n  - image: '{{ .Values.a }}:1'\n",
            "line 3: {{ .Values.a }}:1 contains",
        ),
        (
            "tsconfig.json",
            '{\n// x\n"image": "r.example/a:1", }',
            "line 3: image: r.example/a:1 could",
        ),
        (
            "broken.yml",
            "a: [\n- sidecarImage: r.example/a:1 # x\n",
            "line 2: sidecarImage: r.example/a:1 c",
        ),
        ("broken.yml", "a: [\nargs: --x=r.example/a:1\n", "line 2: r.example/a:1 could"),
        ("a.yml", "image: a\nimage: r.example/b:1\n", "line 2: image: r.example/b:1 could"),
    ],
)
def test_F04_possible_image_in_an_unreadable_file_is_named(files, name, text, told):
    files.write("app.yml", "containers: [{image: r.example/app:1}]\n")
    files.write(name, text)
    assert files.names() == ["r.example/app:1"]
    assert [one for one in files.warnings() if one.startswith(f"{name}, {told}")]


def test_F26_duplicate_key_next_to_images_is_a_warning(files):
    files.write("a.yml", "kind: Pod\nkind: Pod\nspec: {containers: [{image: r.example/a:1}]}\n")
    assert files.names("a.yml") == ["r.example/a:1"]
    assert files.warnings("a.yml") == [
        "a.yml, line 2: the key kind occurs twice, the last one counts"
    ]


@pytest.mark.parametrize("name", ["rendered.txt", "rendered", "out.tpl"])
@pytest.mark.parametrize("start", ["---\n# Source: a\n", "", "\n\n"])
def test_F04_rendered_chart_is_read_under_any_name(files, name, start):
    files.write(
        name, f"{start}apiVersion: v1\nkind: Pod\nspec: {{containers: [image: r.example/a:1]}}\n"
    )
    assert files.names(name) == ["r.example/a:1"]


# -- keys

KEYS = {
    "a key": ("engineImage: r.example/a:1", ["engineImage"]),
    "a key below others": ("spec: {engine: {image: r.example/a, name: b}}", ["engine.image"]),
    "a key with dots": ("data: {'engine.image': r.example/a:1}", ["engine.image"]),
    "a list": ("mirror: [r.example/a:1, r.example/b:1]", ["mirror"]),
    "lines": ("data:\n  list: |\n    r.example/a:1\n\n    r.example/b:1\n", ["list"]),
    "a variable": ("env: [{name: ENGINE, value: r.example/a:1}]", ["ENGINE"]),
    "a variable of compose": ("environment: [ENGINE=r.example/a:1]", ["ENGINE"]),
    "an option": ("args: [--engine, r.example/a:1, --x]", ["--engine"]),
    "an option with =": ("args: [--engine=r.example/a:1]", ["--engine"]),
    "in JSON": ('{"engine": "r.example/a:1"}', ["engine"]),
}


@pytest.mark.parametrize(("text", "keys"), KEYS.values(), ids=KEYS)
def test_F04_keys_add_places_of_images(files, text, keys):
    files.write("it.yml", text)
    found = files.names("it.yml", *keys)
    assert [one.partition(":")[0] for one in found] in (
        ["r.example/a"],
        ["r.example/a", "r.example/b"],
    )
    assert files.warnings("it.yml", *keys) == []


def test_F04_keys_are_settings_in_a_file_that_is_not_yaml(files):
    files.write(
        ".env", "# ours\nexport ENGINE='r.example/a:1'\nOTHER = \"nginx\";\nNO=r.example/no:1\n"
    )
    assert files.names(".env", "ENGINE", "OTHER") == [
        "r.example/a:1",
        "docker.io/library/nginx:latest",
    ]


def test_F04_keys_add_to_known_keys_and_a_missing_key_is_an_error(files):
    files.write("it.yml", "containers: [{image: r.example/a:1}]\nx: r.example/x:1\n")
    assert files.names("it.yml", "x") == ["r.example/x:1", "r.example/a:1"]
    assert (
        str(error_of(files.root, "invalid-input", "y"))
        == f"{files.root}: has no y, which keys lists"
    )


@pytest.mark.parametrize("value", ["r.example/A:1", "r.example/a:$X", "1.5"])
def test_F04_a_value_that_keys_name_must_be_an_image(files, value):
    path = files.write("it.yml", f"first: 1\nx: {value}\n")
    assert str(error_of(path, "invalid-input", "x")).startswith(f"{path}, line 2: ")


@pytest.mark.parametrize(
    ("entries", "told"),
    [
        ([5], "from[0]: is neither a path nor a mapping with path and keys"),
        ([{"keys": ["a"]}], "from[0]: is neither a path nor a mapping with path and keys"),
        (["a", {"path": "b", "key": "x"}], "from[1]: key is unknown, only path and keys are valid"),
        ([{"path": "b", "keys": [1]}], "from[0]: keys is not a list of names"),
        ([{"path": "b", "keys": {"a": 1}}], "from[0]: keys is not a list of names"),
    ],
)
def test_F04_an_entry_that_is_wrong_is_reported_with_its_number(entries, told):
    with pytest.raises(InputError) as caught:
        parse_sources(entries)
    assert str(caught.value) == told


def test_F04_entries_are_paths_or_mappings(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    assert parse_sources(["a", "~/b", {"path": "$HOME/c", "keys": "x"}, {"path": "d"}]) == [
        Source("a"),
        Source("/home/me/b"),
        Source("/home/me/c", ("x",)),
        Source("d"),
    ]


def test_F04_source_without_an_image_is_an_error(files):
    one = files.write("a.txt", "r.example/a:1\n")
    for name, text in (
        ("values.yml", "replicas: 1\n"),
        ("none.txt", "# none\n"),
        ("d/x.yml", "a: 1\n"),
    ):
        files.write(name, text)
        path = files.root / name.partition("/")[0]
        with pytest.raises(InputError) as caught:
            read_sources([Source(str(one)), Source(str(path))])
        assert str(caught.value) == f"{path}: names no image"
        assert "keys" in caught.value.hint


# -- lists


@pytest.mark.parametrize(
    ("text", "names"),
    [
        (b"r.example/a:1\nnginx\n", ["r.example/a:1", "docker.io/library/nginx:latest"]),
        (
            b"# ours\n\n  r.example/a:1  # why\n\t\nr.example/b\n",
            ["r.example/a:1", "r.example/b:latest"],
        ),
        (b"r.example/a:1\r\n\r\nr.example/b:1\r\n", ["r.example/a:1", "r.example/b:1"]),
        (b"\xef\xbb\xbfr.example/a:1\n", ["r.example/a:1"]),
        ("r.example/a:1\r\n".encode("utf-16"), ["r.example/a:1"]),
        (b"r.example/a:1\nr.example/a:1", ["r.example/a:1"]),
        ("# für uns\nr.example/a:1 # ü\n".encode(), ["r.example/a:1"]),
        (b"", []),
        (b"# nothing\n", []),
    ],
    ids=["names", "comments", "CRLF", "BOM", "UTF-16", "twice", "UTF-8", "empty", "only comments"],
)
@pytest.mark.parametrize("name", ["images.txt", "images", "images.list"])
def test_any_other_file_is_a_list_of_names(write, text, names, name):
    assert names_in(write(text, name)) == names


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (b"r.example/a\n\nr.example/B # no\n", ", line 3: reference 'r.example/B': name compo"),
        (b"r.example/a:${TAG}\n", ", line 1: r.example/a:${TAG} contains variables"),
        (b"a b\n", ", line 1: reference 'a b': only printable"),
        (b"- r.example/a\n", ", line 1: reference '- r.example/a': only printable"),
        ("a\nr.example/ä\n".encode("latin-1"), ", line 2: is not text in UTF-8"),
        ("r.example/a\n".encode("utf-16-le"), ", line 1: reference 'r\\x00.\\x00e"),
        (b"\x00\x01" * 50_000, ", line 1: reference '\\x00\\x01"),
        (b"A" * 100_000, ", line 1: reference 'AAA"),
    ],
    ids=["name", "variable", "blank", "YAML", "latin-1", "no mark", "binary", "long"],
)
def test_invalid_line_is_an_error_with_its_number(write, text, told):
    path = write(text, "images.txt")
    assert str(error_of(path)).startswith(f"{path}{told}")


@pytest.mark.parametrize("text", ['["r.example/a", "nginx:1"]', "- r.example/a\n- nginx:1\n"])
def test_list_in_yaml_or_json_is_a_list_of_names(write, text):
    assert names_in(write(text)) == ["r.example/a:latest", "docker.io/library/nginx:1"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('["r.example/a", 5]', ": [1]: is not a reference"),
        ("- r.example/a\n- image: r.example/b\n", ": [1]: is not a reference"),
        ("- r.example/a\n- [r.example/a]\n", ": [1]: is not a reference"),
        ("- r.example/a\n- r.example/B\n", ", line 2: reference 'r.example/B': name component"),
    ],
)
def test_invalid_entry_of_a_list_is_reported_with_its_number(write, text, told):
    path = write(text)
    assert str(error_of(path)).startswith(f"{path}{told}")


# -- locks


def test_names_of_a_lock_file_are_taken(write):
    assert names_in(write(LOCK)) == ["r.example/a:1", f"r.example/b@{ONE}"]


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("lockfile_version: 1", "lockfile_version: 2", ": lockfile_version is 2"),
        ("size: 5", "size: -5", ", line 4: r.example/a:1: platforms: linux/amd64: size"),
        ("r.example/a:1", "r.example/A:1", ", line 4: r.example/A:1: name: reference"),
        ("  - name: r.example/a:1\n    d", "  - d", ", line 4: name is missing"),
        ("images:\n", "images: 5\nothers:\n", ": images is not a list"),
        ("images:\n", "images: {}\nothers:\n", ": images is not a list"),
        ("images:\n", "others:\n", ": is not a lock file: it has no images"),
    ],
)
def test_invalid_lock_file_is_an_error(write, old, new, told):
    path = write(LOCK.replace(old, new, 1))
    assert str(error_of(path, "invalid-lock")).startswith(f"{path}{told}")


def test_names_and_digests_of_an_images_lock_are_taken(write):
    text = (
        "kind: ImagesLock\nimages:\n- annotations: {kbld.carvel.dev/id: 'nginx:1'}\n"
        f"  image: index.docker.io/library/nginx@{ONE}\n- image: r.example/a@{ONE}\n"
    )
    assert names_in(write(text)) == [f"docker.io/library/nginx:1@{ONE}", f"r.example/a@{ONE}"]


@pytest.mark.parametrize(
    ("image", "told", "kind"),
    [
        ("r.example/a:1", "image is not a reference with a digest", "invalid-lock"),
        (f"r.example/A@{ONE}", "reference 'r.example/A", "invalid-input"),
        ("r.example/a@md5:12", "the algorithm is unsupported", "invalid-input"),
    ],
)
def test_invalid_entry_of_an_images_lock_is_reported_with_its_line(write, image, told, kind):
    path = write(f"kind: ImagesLock\nimages:\n- image: {image}\n")
    text = str(error_of(path, kind))
    assert text.startswith(f"{path}, line 3: ") and told in text


# -- files that cannot be read


@pytest.mark.parametrize("name", ["it.yml", "it.txt", "no/such/directory", "dangling.yml"])
def test_missing_file_is_an_error_that_names_it(tmp_path, name):
    (tmp_path / "dangling.yml").symlink_to("nowhere")
    path = tmp_path / name
    assert str(error_of(path)) == f"{path}: does not exist"


@pytest.mark.parametrize("denied", ["a.yml", "b"])
def test_unreadable_file_is_an_error_that_names_it(denied):
    """Also a directory: its images must not be left out silently."""
    with public_directory() as public, ordinary_user():
        (public / "b").mkdir()
        for name in ("a.yml", "b/b.yml"):
            (public / name).write_text("containers: [{image: r.example/a}]\n")
        assert names_in(public) == ["r.example/a:latest"]
        (public / denied).chmod(0o000)
        with pytest.raises(StoreAccessError, match="Permission denied") as caught:
            read_source(Source(str(public)))
    assert_tells(caught.value, "store-access", str(public))


def test_pipe_is_an_error_and_never_blocks(tmp_path):
    os.mkfifo(tmp_path / "it.yml")
    with pytest.raises(StoreAccessError, match="is not a regular file"):
        read_source(Source(str(tmp_path / "it.yml")))


def test_a_file_that_is_too_large_is_an_error(tmp_path):
    with (tmp_path / "it.txt").open("wb") as handle:
        handle.truncate(64 * 1024 * 1024 + 1)
    with pytest.raises(StoreAccessError, match="is larger than"):
        read_source(Source(str(tmp_path / "it.txt")))
