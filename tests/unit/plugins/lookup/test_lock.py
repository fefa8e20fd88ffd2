# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The search path, results and errors of the lookup."""

from __future__ import annotations

import json
import sys

import pytest
from ansible.errors import AnsibleLookupError
from ansible.parsing.dataloader import DataLoader
from ansible_collections.lockstep.images.plugins.lookup import lock
from ansible_collections.lockstep.images.plugins.module_utils._image.lock import (
    Lock,
    LockedImage,
    LockedPlatform,
)
from ansible_collections.lockstep.images.plugins.module_utils._image.names import Digest
from ansible_collections.lockstep.images.plugins.module_utils._lockfile.lockfile import render_lock
from ansible_collections.lockstep.images.tests.support.images import image, layer
from ansible_collections.lockstep.images.tests.support.templating import render
from ansible_collections.lockstep.images.tests.support.users import (
    ordinary_user,
    public_directory,
)

EVIL = {"org.example": "{{ lookup('pipe', 'echo evil') }}"}
ONE = image([layer({"one": b"1" * 99})], annotations=EVIL)


def text_of(*names):
    platform = LockedPlatform(Digest.parse(ONE.digest), Digest.parse(ONE.config_digest), ONE.size)
    digest, media_type = Digest.parse(ONE.digest), ONE.media_type
    images = [LockedImage(name, digest, media_type, {"linux/amd64": platform}) for name in names]
    return render_lock(images).decode()


def put(path, *names):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text_of(*names))
    return path


def look_up(*terms, search=None, basedir="/nonexistent", **options):
    loader = DataLoader()
    loader.set_basedir(str(basedir))
    variables = {} if search is None else {"ansible_search_path": [str(one) for one in search]}
    return lock.LookupModule(loader=loader).run(list(terms), variables=variables, **options)


def names(values):
    return [[one["name"] for one in value["images"]] for value in values]


def error_of(*terms, **options):
    with pytest.raises(AnsibleLookupError) as caught:
        look_up(*terms, **options)
    told = str(caught.value)
    assert told.isprintable() and "Traceback" not in told and len(told) < 800
    return told


# -- where it is


@pytest.mark.parametrize(
    ("there", "found"),
    [
        (("play/files", "play", "cwd"), "play/files"),
        (("play", "cwd"), "play"),
        (("role/files", "play/files", "cwd"), "role/files"),
        (("role", "play/files", "cwd"), "role"),
        (("cwd",), "cwd"),
    ],
    ids=str,
)
def test_relative_path_is_searched_as_in_ansible_then_in_the_working_directory(
    tmp_path, monkeypatch, there, found
):
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    for place in there:
        put(tmp_path / place / "images.lock.yml", f"registry.example/{place}:1")
    (value,) = look_up("images.lock.yml", search=[tmp_path / "role", tmp_path / "play"])
    assert value["images"][0]["name"] == f"registry.example/{found}:1"
    assert value["file"] == "images.lock.yml"


def test_relative_path_can_have_directories(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    put(tmp_path / "a" / "b.yml", "registry.example/a:1")
    (tmp_path / "play").mkdir()
    for term in ("a/b.yml", "./a/b.yml", "../a/b.yml", "play/../a/b.yml"):
        (value,) = look_up(term, search=[tmp_path / "play"], basedir=tmp_path / "play")
        assert value["file"] == term


def test_directory_of_the_playbook_is_the_default_search_path(tmp_path):
    put(tmp_path / "images.lock.yml", "registry.example/a:1")
    assert names(look_up("images.lock.yml", basedir=tmp_path)) == [["registry.example/a:1"]]


def test_absolute_path_and_path_below_home_are_not_searched(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    path = put(tmp_path / "my" / "images.lock.yml", "registry.example/a:1")
    values = look_up(str(path), "~/my/images.lock.yml")
    assert names(values) == [["registry.example/a:1"]] * 2
    assert [value["file"] for value in values] == [str(path), "~/my/images.lock.yml"]


def test_link_is_followed_and_manifests_are_next_to_its_target(tmp_path):
    path = put(tmp_path / "real" / "images.lock.yml", "registry.example/a:1")
    (tmp_path / "real" / "images.lock.d").mkdir()
    (tmp_path / "real" / "images.lock.d" / ONE.digest.partition(":")[2]).write_bytes(ONE.raw)
    (tmp_path / "link.yml").symlink_to(path)
    (value,) = look_up(str(tmp_path / "link.yml"))
    assert value["manifests"] == {ONE.digest: ONE.raw.decode()}


# -- what it gives


def test_value_has_the_content_and_the_lines_of_the_file_and_is_a_lock(tmp_path):
    path = put(tmp_path / "images.lock.yml", "registry.example/a:1", "registry.example/b:1")
    (value,) = look_up(str(path))
    entry = {
        "digest": ONE.digest,
        "media_type": ONE.media_type,
        "platforms": {
            "linux/amd64": {
                "manifest": ONE.digest,
                "config": ONE.config_digest,
                "size": ONE.size,
            }
        },
    }
    assert value == {
        "lockfile_version": 1,
        "file": str(path),
        "images": [
            {"name": "registry.example/a:1", "line": 4, **entry},
            {"name": "registry.example/b:1", "line": 12, **entry},
        ],
    }
    assert len(Lock.parse(json.loads(json.dumps(value))).images) == 2


def test_files_are_read_in_order_and_a_list_stands_for_its_entries(tmp_path):
    paths = [
        str(put(tmp_path / f"{name}.yml", f"registry.example/{name}:1")) for name in ("b", "a")
    ]
    wanted = [["registry.example/b:1"], ["registry.example/a:1"]]
    assert names(look_up(*paths)) == names(look_up(paths)) == wanted
    assert look_up() == look_up([]) == []


class Vaulted:
    """What ansible-core 2.18 and older make of !vault."""

    __ENCRYPTED__ = True

    def __init__(self, text):
        self._text = text

    def __str__(self):
        return self._text


def test_vault_file_is_read(tmp_path):
    path = put(tmp_path / "images.lock.yml", "registry.example/a:1")
    (value,) = look_up(Vaulted(str(path)))
    assert value["file"].__class__ is str and value["file"] == str(path)


# -- how it fails


@pytest.mark.parametrize("term", ["images.lock.yml", "/nonexistent/images.lock.yml", "~/no.yml"])
def test_missing_file_is_an_error_that_names_it(term, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert error_of(term) == f"{term}: there is no such lock file"


@pytest.mark.parametrize("term", [5, None, True, ""], ids=repr)
def test_invalid_path_is_an_error(term, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert error_of(term)


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("lockfile_version: 1", "lockfile_version: 2", ": lockfile_version is 2, this release re"),
        ("size: ", "size: -", ", line 4: registry.example/a:1: platforms: linux/amd64: size is"),
        ("    digest: ", "\tdigest: ", ", line 5: "),
        ("registry.example/b", "registry.example/a", ", line 12: registry.example/a:1 is listed t"),
        ("---\n", "--- &a\n- *a\n--- \n", ", line 2: aliases are not allowed"),
        (
            "lockfile_version: 1",
            "kind: ImagesLock",
            ": is an ImagesLock of imgpkg. Convert it to a lock",
        ),
        (None, "", ": holds 0 documents, not one"),
        (None, "---\n", ": is not a lock file: it is empty"),
        (None, "- a\n", ": is not a lock file: it has no images"),
    ],
)
def test_invalid_file_is_reported_with_the_given_path_and_the_line(tmp_path, old, new, told):
    text = text_of("registry.example/a:1", "registry.example/b:1")
    (tmp_path / "images.lock.yml").write_text(new if old is None else text.replace(old, new, 1))
    assert error_of("images.lock.yml", search=[tmp_path]).startswith(f"images.lock.yml{told}")


def test_corrupt_or_missing_manifest_is_reported_with_its_directory(tmp_path):
    path = put(tmp_path / "images.lock.yml", "registry.example/a:1")
    directory = tmp_path / "images.lock.d"
    directory.mkdir()
    (directory / ONE.digest.partition(":")[2]).write_bytes(ONE.raw[:-1])
    assert "does not match its name. Lock again" in error_of(str(path))
    (directory / ONE.digest.partition(":")[2]).unlink()
    (directory / Digest.of(b"{}").encoded).write_bytes(b"{}")
    told = error_of(str(path))
    assert f"line 4: registry.example/a:1: {directory} lacks its manifest {ONE.digest}" in told


def test_unreadable_file_is_an_error_that_names_it(tmp_path):
    with public_directory() as public, ordinary_user():
        path = put(public / "images.lock.yml", "registry.example/a:1")
        path.chmod(0o000)
        assert error_of(str(path)).startswith(f"{path}: Permission denied")
    assert error_of(str(tmp_path)).startswith(f"{tmp_path}: is not a regular file")


def test_unknown_option_is_an_error(tmp_path):
    assert error_of("a.yml", wantlists=True, errors="x") == (
        "lock: unsupported options: errors, wantlists"
    )


# -- in templates


def rendered(path, *expressions, **options):
    lookup = f"lookup('lockstep.images.lock', {str(path)!r})"
    return render([one.replace("LOCK", lookup) for one in expressions], **options)


def test_value_in_a_template_is_plain_and_never_a_template(tmp_path):
    path = put(tmp_path / "images.lock.yml", "registry.example/a:1")
    directory = tmp_path / "images.lock.d"
    directory.mkdir()
    (directory / ONE.digest.partition(":")[2]).write_bytes(ONE.raw)
    whole, platforms, manifest, as_json = rendered(
        path,
        "LOCK",
        "LOCK.images | map(attribute='platforms') | list",
        "LOCK.manifests.values() | first",
        "LOCK | to_json",
    ).values
    (wanted,) = look_up(str(path))
    assert whole == wanted
    assert platforms == [wanted["images"][0]["platforms"]]
    assert manifest in (ONE.raw.decode(), json.loads(ONE.raw))
    assert as_json in (wanted, json.dumps(wanted)) or json.loads(as_json) == wanted
    assert EVIL["org.example"] in json.dumps(whole)


def test_error_in_a_template_is_reported_once(tmp_path):
    path = put(tmp_path / "images.lock.yml", "registry.example/a:1")
    path.write_text(path.read_text().replace("size: ", "size: -"))
    for error in rendered(path, "LOCK", "query('lockstep.images.lock', nothing)").errors:
        assert "Traceback" not in error and "unhandled exception" not in error
    told = rendered(path, "LOCK").error
    assert told.count(f"{path}, line 4: registry.example/a:1: ") == 1
    assert "size is not a number of bytes" in told


def test_missing_pyyaml_is_reported_on_the_controller(tmp_path, monkeypatch):
    """It is what ansible-core needs itself; so the lookup only has to name it."""
    path = put(tmp_path / "images.lock.yml", "registry.example/a:1")
    monkeypatch.setitem(sys.modules, "yaml", None)
    assert "Failed to import the required Python library (PyYAML)" in error_of(str(path))


NAMES = ["docker.io/library/one:1", "docker.io/library/two:1"]


@pytest.mark.parametrize("given", [NAMES, ",".join(NAMES), json.dumps(NAMES), f"[{NAMES[0]}]"])
def test_F19_names_can_be_text_that_stands_for_a_list(tmp_path, given):
    place = put(tmp_path / "images.lock.yml", *NAMES)
    assert names(look_up(str(place), names=given)) == [NAMES]
    with pytest.raises(AnsibleLookupError, match=r"docker\.io/library/three:1"):
        look_up(str(place), names="one:1, three:1")


def test_F19_invalid_list_of_names_is_an_error(tmp_path):
    place = put(tmp_path / "images.lock.yml", *NAMES)
    with pytest.raises(AnsibleLookupError, match="of type int, expected a list"):
        look_up(str(place), names=5)


@pytest.mark.parametrize("given", [True, "true"])
def test_entry_without_a_verdict_is_an_error_if_all_must_have_one(tmp_path, given):
    place = put(tmp_path / "images.lock.yml", *NAMES)
    assert names(look_up(str(place), verified=False)) == [NAMES]
    with pytest.raises(AnsibleLookupError, match=r"docker\.io/library/one:1 is not verified"):
        look_up(str(place), verified=given)
    with pytest.raises(TypeError):
        look_up(str(place), verified="perhaps")
