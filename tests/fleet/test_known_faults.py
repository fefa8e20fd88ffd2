# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What other tools for the same work were seen to do wrong, and where it is shown not to happen here.

- a push says "changed" each time: `test_push_and_copy_that_find_all_there_change_nothing` here
- so does a tag: `test_existing_name_of_an_image_changes_nothing` here
- check mode reports something else than the real run: every test that runs a module four times;
  `test_check_mode_of_a_push_reports_the_real_run` here
- a password is in the list of processes, in `actions` or in a result:
  `test_a_password_is_in_no_process_list_and_no_result` here
- a tag with a digest is pulled each time: `test_a_tag_with_a_digest_is_asked_for_once` here
- a login wipes other logins: `test_a_login_keeps_what_is_in_the_file_and_closes_it` here,
  `test_many_logins_at_once_are_all_kept`, `test_logging_in_and_out_leaves_the_order_of_the_file`,
  `test_logout_removes_one_host`
- a file with logins stays readable for all: the first of these,
  `test_a_file_is_written_for_its_owner_alone`,
  `test_a_new_file_and_its_directory_are_for_their_owner_alone`
- a login fails at an identity token: the first of these, `test_kinds_of_tokens_are_distinguished`,
  `test_an_identity_token_is_kept_under_the_user_token`
- of two writers, one loses the other's name: `test_writers_at_the_same_time_keep_all_names` here,
  `test_four_pulls_at_once_lose_nothing`,
  `test_name_moved_by_another_process_is_a_conflict`
- a second pull adds the name once more: `test_a_name_has_one_entry_however_often_it_is_pulled`
  here, `test_the_index_is_canonical`
"""

from __future__ import annotations

import base64
import json
import os
import re
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.lockstep.images.tests.support import images, layout, modules
from ansible_collections.lockstep.images.tests.support.fleet import (
    COPY,
    DEMO,
    LOGIN,
    PASSWORD,
    PULL,
    PUSH,
    SEEN,
    USER,
    Registry,
    need_programs,
)
from ansible_collections.lockstep.images.tests.support.nginx import nginx
from ansible_collections.lockstep.images.tests.support.playbook import PlayRunner

MIB = 1 << 20
WRITERS = 8
SECRETS = (PASSWORD, base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode())
ALL = ["all"]


@pytest.fixture()
def store(directory: Path) -> str:
    """Return where the store of a test is."""
    return os.fspath(directory / "store")


def tasks(*given: tuple[str, dict[str, object]]) -> str:
    """Return a play of tasks, each named like its module."""
    made = [{"name": module, module: options} for module, options in given]
    return json.dumps(
        [{"name": "Test", "hosts": "all", "gather_facts": False, "tasks": made}], indent=2
    )


def test_every_test_that_is_named_is_there() -> None:
    root = Path(__file__).parents[1]
    there = {
        name
        for file in [*root.glob("unit/**/test_*.py"), *root.glob("slow/test_*.py"), Path(__file__)]
        for name in re.findall(r"^def (test_\w+)", file.read_text(encoding="utf-8"), re.M)
    }
    named = set(re.findall(r"`(test_\w+)`", __doc__ or ""))
    assert len(named) > 10 and named <= there, named - there


def test_push_and_copy_that_find_all_there_change_nothing(
    store: str, registry_plain: Registry, small_images: dict[str, str]
) -> None:
    name, address = f"{registry_plain.address}/{DEMO}:v1", registry_plain.address
    modules.run("image_pull", name=[name], platform=ALL, store=store)
    push = {"name": [name], "repository": [f"{address}/faults/pushed"], "store": store}
    copy = {"name": [name], "destination": f"{address}/faults/copied"}
    for module, options in (("image_push", push), ("image_copy", copy)):
        runs = [one.result for one in modules.four_times(module, **options)]
        assert [one["changed"] for one in runs] == [True, True, False, False], module
        status = [one["images"][0]["status"] for one in runs]
        assert status == ["uploaded", "uploaded", "up_to_date", "up_to_date"]
        assert [one["images"][0]["digest"] for one in runs] == [small_images["v1"]] * 4


def test_existing_name_of_an_image_changes_nothing(
    store: str, registry_plain: Registry, small_images: dict[str, str]
) -> None:
    name, more = f"{registry_plain.address}/{DEMO}:v1", "registry.example.com/shop/demo:stable"
    modules.run("image_pull", name=[name], store=store)
    runs = modules.four_times("image_tag", name=name, repository=[more], store=store)
    assert [one.result["changed"] for one in runs] == [True, True, False, False]
    entries = layout.names(Path(store))
    assert {entries[one]["digest"] for one in (name, more)} == {small_images["v1"]}


def test_check_mode_of_a_push_reports_the_real_run(
    store: str, registry_plain: Registry, small_images: dict[str, str]
) -> None:
    names = [f"{registry_plain.address}/{DEMO}:{tag}" for tag in ("v1", "v2", "docker")]
    modules.run("image_pull", name=names, platform=ALL, store=store)
    options = {"name": names, "store": store}
    target = f"{registry_plain.address}/faults/checked"
    # The first is there, the second is not, and the third is something else.
    modules.run("image_push", repository=[target], **{**options, "name": names[:1]})
    modules.run("image_push", repository=[f"{target}:docker"], **{**options, "name": names[:1]})
    before = len(registry_plain.requests())
    check, real, *_again = (
        one.result for one in modules.four_times("image_push", repository=[target], **options)
    )
    assert check["changed"] and real["changed"]
    for key in ("images", "actions", "diff"):
        assert check[key] == real[key], key
    status = [one["status"] for one in check["images"]]
    assert status == ["up_to_date", "uploaded", "updated"]
    assert check["diff"]["before"] != check["diff"]["after"]
    assert check["stats"]["bytes_to_send"] == real["stats"]["bytes_to_send"] > 0
    assert "POST" not in check["stats"]["requests"] and "PUT" not in check["stats"]["requests"]
    sent = [one for one in registry_plain.requests()[before:] if one.startswith("PUT")]
    assert len(sent) == real["stats"]["requests"]["PUT"]


class Watch(threading.Thread):
    """Reads the command lines and the environments of all processes, over and over."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.seen: set[str] = set()
        self.leaks: set[str] = set()
        self._over = threading.Event()

    def __enter__(self) -> Watch:
        self.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._over.set()
        self.join()

    def run(self) -> None:
        while not self._over.wait(0.005):
            for text in self._texts():
                self.seen.update(re.findall(r"AnsiballZ_(\w+)\.py", text))
                self.leaks.update(secret for secret in SECRETS if secret in text)

    @staticmethod
    def _texts() -> Iterator[str]:
        for process in Path("/proc").glob("[0-9]*"):
            for file in ("cmdline", "environ"):
                try:
                    raw = (process / file).read_bytes()
                except OSError:  # it has ended
                    continue
                yield raw.decode(errors="replace").replace("\0", " ")


def test_a_password_is_in_no_process_list_and_no_result(
    play: PlayRunner, local: Path, directory: Path, registry_htpasswd: Registry
) -> None:
    need_programs("nginx")
    item = images.image([images.layer({"opt/slow": os.urandom(2 * MIB)}, compression=None)])
    options = registry_htpasswd.upload_options()
    images.upload(registry_htpasswd.service.url, "faults/slow", item, "1", **options)
    with nginx(directory / "nginx", registry_htpasswd.service.url, "limit_rate 4m;") as front:
        pair = {"username": USER, "password": PASSWORD}
        name = [f"{front.address}/faults/slow:1"]
        store = {"store": "{{ store }}"}
        config = "{{ home }}/auth.json"
        text = tasks(
            (LOGIN, {"registry_url": front.address, "config_path": config, **pair}),
            (SEEN, {"name": name, **pair}),
            (PULL, {"name": name, **store, **pair}),
            (PUSH, {"name": name, "repository": [f"{front.address}/slow/1"], **store, **pair}),
            (COPY, {"name": name, "destination": f"{front.address}/copied", **pair}),
        )
        with Watch() as watch:
            run = play(text, local, diff=True, verbosity=3).ok()
    assert len(run.tasks) == 5 and run.changed == 4
    ours = {one.rpartition(".")[2] for one in (LOGIN, SEEN, PULL, PUSH, COPY)}
    assert ours <= watch.seen, "a module was not looked at while it ran"
    assert watch.leaks == set()
    told = run.output + json.dumps([one.result for one in run.tasks])
    assert not [secret for secret in SECRETS if secret in told]


def test_a_tag_with_a_digest_is_asked_for_once(
    store: str, registry_plain: Registry, small_images: dict[str, str]
) -> None:
    first, second = (images.demo_image("pinned", version, size=100) for version in "12")
    url = registry_plain.service.url
    images.upload(url, "faults/pinned", first, "latest")
    name = f"{registry_plain.address}/faults/pinned:latest"
    pinned = f"{name}@{first.digest}"
    runs = modules.four_times("image_pull", name=[pinned], store=store)
    assert [one.result["changed"] for one in runs] == [True, True, False, False]
    assert [one.result["stats"]["requests"] for one in runs[2:]] == [{}, {}]

    images.upload(url, "faults/pinned", second, "latest")
    before = len(registry_plain.requests())
    again = modules.run("image_pull", name=[pinned], store=store).result
    assert not again["changed"] and registry_plain.requests()[before:] == []
    assert layout.names(Path(store))[name]["digest"] == first.digest


def test_a_login_keeps_what_is_in_the_file_and_closes_it(
    directory: Path, registry_htpasswd: Registry
) -> None:
    path, address = directory / "config.json", registry_htpasswd.address
    others = {
        "other.example.com": {"auth": "YTpi"},
        "https://index.docker.io/v1/": {"auth": "PHRva2VuPjo=", "identitytoken": "hub-token"},
    }
    # The host's own login, with an expired token.
    stale = {"auth": "PHRva2VuPjo=", "identitytoken": "stale-token"}
    rest = {"HttpHeaders": {"X-Own": "1"}, "psFormat": "table"}
    path.write_text(json.dumps({"auths": {**others, address: stale}, **rest}))
    path.chmod(0o644)
    options = {"registry_url": address, "config_path": os.fspath(path)}
    pair = {"username": USER, "password": PASSWORD}
    runs = modules.four_times("registry_login", **options, **pair)
    assert [one.result["changed"] for one in runs] == [True, True, False, False]
    kept = {**others, address: {"auth": SECRETS[1]}}
    assert json.loads(path.read_text()) == {"auths": kept, **rest}
    assert path.stat().st_mode & 0o777 == 0o600
    shown = "".join(one.stdout + one.stderr for one in runs)
    assert not [one for one in (*SECRETS, "stale-token", "hub-token") if one in shown]

    runs = modules.four_times("registry_login", **options, state="absent")
    assert [one.result["changed"] for one in runs] == [True, True, False, False]
    assert json.loads(path.read_text()) == {"auths": others, **rest}


def test_writers_at_the_same_time_keep_all_names(
    store: str, directory: Path, registry_plain: Registry
) -> None:
    names = []
    for number in range(WRITERS):
        item = images.demo_image("writers", str(number), size=5000)
        images.upload(registry_plain.service.url, "faults/writers", item, f"{number}")
        names.append(f"{registry_plain.address}/faults/writers:{number}")
    started = [modules.start("image_pull", name=[one], store=store) for one in names]
    done = [modules.finish(one).result for one in started]
    assert [one["images"][0]["status"] for one in done] == ["downloaded"] * WRITERS
    entries = json.loads((Path(store) / "index.json").read_bytes())["manifests"]
    assert sorted(one["annotations"][layout.REF_NAME] for one in entries) == sorted(names)

    alone = os.fspath(directory / "alone")
    modules.run("image_pull", name=names[::-1], store=alone)
    assert layout.tree(Path(store)) == layout.tree(Path(alone))


def test_a_name_has_one_entry_however_often_it_is_pulled(
    store: str, registry_plain: Registry
) -> None:
    name = f"{registry_plain.address}/faults/moving:latest"
    versions = [images.demo_image("moving", version, size=100) for version in "121"]
    for item in versions:
        images.upload(registry_plain.service.url, "faults/moving", item, "latest")
        for platform in (["linux/amd64"], ["linux/arm64"], ["linux/amd64"]):
            modules.run("image_pull", name=[name], platform=platform, store=store)
        (entry,) = json.loads((Path(store) / "index.json").read_bytes())["manifests"]
        assert entry["annotations"][layout.REF_NAME] == name
        assert entry["digest"] == item.digest
