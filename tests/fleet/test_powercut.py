# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The power fails at any moment of a task: what is left is valid, and the next run ends as if nothing had happened."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import typing as t
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml
from ansible_collections.lockstep.images.plugins.module_utils._image.manifest import Descriptor
from ansible_collections.lockstep.images.plugins.module_utils._image.names import Digest, Reference
from ansible_collections.lockstep.images.plugins.module_utils._store.reader import StoreReader
from ansible_collections.lockstep.images.plugins.plugin_utils._outbox import (
    Outbox,
    message,
    message_with,
    parts_of,
)
from ansible_collections.lockstep.images.tests.support import modules
from ansible_collections.lockstep.images.tests.support.fleet import need_programs
from ansible_collections.lockstep.images.tests.support.images import demo_image, image, layer, push
from ansible_collections.lockstep.images.tests.support.layout import (
    bad_blobs,
    blob_path,
    fingerprint,
    names,
)
from ansible_collections.lockstep.images.tests.support.powercut import calls_of, strace
from ansible_collections.lockstep.images.tests.support.registry import Registry
from ansible_collections.lockstep.images.tests.support.replays import (
    PROPERTY,
    Replay,
    contents,
    run_module,
)
from ansible_collections.lockstep.images.tests.support.stores import assert_valid_store, put

OLD, NEW = (demo_image("app", version, layers=2, size=1500) for version in ("1", "2"))
TOOL = image([layer({"tool": b"tool"})])
SENT = "registry.example.com/sent:1"
RECEIVER = "from ansible_collections.lockstep.images.plugins.module_utils._store.receive import main; main()"


@dataclass
class Site:
    """A registry, and the directory whose disk loses power; ``path`` has the store and the trees."""

    registry: Registry
    path: Path
    elsewhere: Path
    whole_layers: dict[str, object] = field(default_factory=dict)
    whole_trees: list[object] = field(default_factory=list)
    whole_files: list[object] = field(default_factory=list)

    @property
    def store(self) -> Path:
        return self.path / "store"

    def name(self, tag: str = "1") -> str:
        return f"{self.registry.address}/demo/app:{tag}"

    def note_whole(self) -> None:
        """Record the layers, the tree and the files, which are whole now."""
        self.whole_files.append(files(self))
        layers, tree = trees_of(self)
        self.whole_layers.update(layers)
        self.whole_trees.append(tree)

    def run(self, module: str, **params: t.Any) -> dict[str, t.Any]:
        return run_module(module, params)

    def options(self, **options: t.Any) -> dict[str, t.Any]:
        return {"store": str(self.store), "plain_http": True, "parallel": 2, **options}


def run_changing(
    _site: Site, module: str, options: dict[str, t.Any], launcher: Sequence[str]
) -> None:
    assert run_module(module, options, launcher)["changed"]


def run_again(_site: Site, module: str, options: dict[str, t.Any]) -> None:
    run_module(module, options)


class Task(t.NamedTuple):
    """A task: the state before it, its module and options, and what must hold after every cut."""

    module: str
    prepare: Callable[[Site], dict[str, t.Any]]
    require: Callable[[Site], None]
    state: Callable[[Site], object]  # what every completed run leaves
    run: Callable[[Site, str, dict[str, t.Any], Sequence[str]], None] = run_changing
    run_again: Callable[[Site, str, dict[str, t.Any]], None] | None = run_again


def valid(site: Site) -> None:
    if site.store.exists():
        assert_valid_store(site.store)


def held(site: Site) -> object:
    return (fingerprint(site.store), sorted(names(site.store)))


def first_pull(site: Site) -> dict[str, t.Any]:
    return site.options(name=[site.name()])


def moved_pull(site: Site) -> dict[str, t.Any]:
    site.run("image_pull", **first_pull(site))
    push(site.registry, "demo/app", NEW, "1")
    return first_pull(site)


def sync(site: Site) -> dict[str, t.Any]:
    put(site.store, TOOL, "registry.example.com/tool:1")
    options = moved_pull(site)
    path = site.elsewhere / "images.lock.yml"
    site.run("image_lock", path=str(path), name=[site.name()], plain_http=True)
    del options["name"]
    return {**options, "lock": yaml.safe_load(path.read_text()), "exclusive": True}


def remove(site: Site) -> dict[str, t.Any]:
    put(site.store, TOOL, "registry.example.com/tool:1")
    site.run("image_pull", **first_pull(site))
    return {"name": [site.name()], "store": str(site.store)}


def prune(site: Site) -> dict[str, t.Any]:
    site.run("image_remove", **remove(site), prune=False)
    return {"store": str(site.store)}


def tag(site: Site) -> dict[str, t.Any]:
    put(site.store, TOOL, "registry.example.com/tool:1")
    return {
        "store": str(site.store),
        "name": "registry.example.com/tool:1",
        "repository": "registry.example.com/tool:2",
    }


def repair(site: Site) -> dict[str, t.Any]:
    site.run("image_pull", **first_pull(site))
    largest = max(OLD.images[0].layers, key=lambda one: len(one.blob))
    blob_path(site.store, largest.digest).write_bytes(b"corrupt")
    return {"store": str(site.store), "mode": "full", "repair": True, "plain_http": True}


def at_most_one_is_corrupt(site: Site) -> None:
    assert len(bad_blobs(site.store)) <= 1
    assert list(names(site.store)) == [site.name()]


def load_bundle(site: Site) -> dict[str, t.Any]:
    source, bundle = site.elsewhere / "source", site.elsewhere / "bundle.tar"
    put(source, OLD, "registry.example.com/app:1")
    put(source, TOOL, "registry.example.com/tool:1")
    name = sorted(names(source))
    site.run("image_export", store=str(source), name=name, dest=str(bundle))
    return {"src": str(bundle), "store": str(site.store)}


def export(site: Site) -> dict[str, t.Any]:
    source, dest = site.elsewhere / "source", site.path / "app.tar"
    put(source, OLD, "registry.example.com/app:1")
    site.run("image_export", store=str(source), name=["registry.example.com/app:1"], dest=str(dest))
    put(source, NEW, "registry.example.com/app:1")
    return {"store": str(source), "name": ["registry.example.com/app:1"], "dest": str(dest)}


def lock(site: Site) -> dict[str, t.Any]:
    path = str(site.path / "images.lock.yml")
    options: dict[str, t.Any] = {"name": [site.name()], "path": path, "plain_http": True}
    options["manifests"] = "embed"
    site.run("image_lock", **options)
    push(site.registry, "demo/app", NEW, "1")
    return {**options, "update": ["all"]}


def login(site: Site) -> dict[str, t.Any]:
    path = str(site.path / "auth.json")
    options = {"registry_url": site.registry.address, "config_path": path, "verify": False}
    site.run("registry_login", **options, username="old", password="old-password")
    return {**options, "username": "new", "password": "new-password"}


def to_receive(site: Site) -> dict[str, t.Any]:
    """Return the options of image_receive as the controller sets them; its store is elsewhere."""
    put(site.elsewhere / "source", OLD, SENT)
    store = StoreReader(str(site.elsewhere / "source"))
    with store.hold():
        outbox = Outbox(store, False)
        name = str(outbox.pin(Reference.parse(SENT), []))
    return {"name": [name], "manifests": outbox.content, "store": str(site.store)}


def receiver(message_: bytes, launcher: Sequence[str] = ()) -> dict[str, t.Any]:
    """Run the program that receives content on a host; return its answer."""
    command = [*launcher, sys.executable, "-c", RECEIVER]
    done = subprocess.run(
        command, input=message_, stdout=subprocess.PIPE, check=True, env=modules.environment()
    )
    answer: dict[str, t.Any] = json.loads(done.stdout.decode().partition("answer ")[2])
    assert "error" not in answer, answer
    return answer


def send(site: Site, _module: str, options: dict[str, t.Any], launcher: Sequence[str] = ()) -> None:
    """Send what the host lacks, as the controller does before it runs image_receive."""
    plan = modules.run("image_receive", check=True, **options).result["actions"]
    fetched = [one for one in plan if one["action"] == "fetch_blob"]
    blobs = [Descriptor("", Digest.parse(one["digest"]), one["size"]) for one in fetched]
    staged = receiver(message("ask", str(site.store), blobs))["staged"]
    parts = parts_of(blobs, dict(zip((blob.digest for blob in blobs), staged)))
    source = StoreReader(str(site.elsewhere / "source"))
    receiver(b"".join(message_with(source, str(site.store), parts)), launcher)


def receive(site: Site) -> dict[str, t.Any]:
    options = to_receive(site)
    send(site, "", options)
    return options


def send_and_receive(site: Site, _module: str, options: dict[str, t.Any]) -> None:
    """Do as the controller: it sends once more what did not arrive as it was sent."""
    for _attempt in range(2):
        send(site, "", options)
        outcome = modules.run("image_receive", **options)
        if outcome.kind != "digest-mismatch":
            break
    assert not outcome.failed, outcome.result


def files(site: Site) -> dict[str, bytes]:
    """Return the content of the files that tasks replace as a whole, and that others read."""
    found = [site.path / name for name in ("app.tar", "auth.json", "images.lock.yml")]
    return {path.name: path.read_bytes() for path in found if path.exists()}


def only_whole_files(site: Site) -> None:
    assert files(site) in site.whole_files


def trees(site: Site) -> Path:
    return site.path / "trees"


def unpack(site: Site) -> dict[str, t.Any]:
    store = site.elsewhere / "store"
    if not store.exists():
        put(store, OLD, "registry.example.com/app:1")
        put(store, NEW, "registry.example.com/app:2")
    return {"name": ["registry.example.com/app:1"], "store": str(store), "path": str(trees(site))}


def unpack_tree(site: Site) -> dict[str, t.Any]:
    options = {**unpack(site), "form": "rootfs", "dest": str(site.path / "tree")}
    site.run("image_unpack", **options)
    return {**options, "name": ["registry.example.com/app:2"]}


def prune_trees(site: Site) -> dict[str, t.Any]:
    options = unpack(site)
    site.run("image_unpack", **options)
    put(site.elsewhere / "empty", TOOL, "registry.example.com/tool:1")
    return {"store": str(site.elsewhere / "empty"), "path": options["path"]}


def build(site: Site) -> dict[str, t.Any]:
    context = site.elsewhere / "context"
    (context / "site").mkdir(parents=True)
    (context / "site/index.html").write_text("hello")
    (context / "Dockerfile").write_text("FROM registry.example.com/tool:1\nCOPY site /srv\n")
    put(site.store, TOOL, "registry.example.com/tool:1")
    options = {"name": "registry.example.com/site:1", "platform": "linux/amd64", "pull": "never"}
    return {**options, "context": str(context), "store": str(site.store)}


def trees_of(site: Site) -> tuple[dict[str, object], object]:
    """Return the content of every layer that is published, and of the tree."""
    found = {one.name: contents(one) for one in (trees(site) / "layers").glob("*")}
    return found, contents(site.path / "tree")


def only_whole_layers(site: Site) -> None:
    for key, content in trees_of(site)[0].items():
        assert content == site.whole_layers[key]


def only_whole_trees(site: Site) -> None:
    only_whole_layers(site)
    assert trees_of(site)[1] in site.whole_trees


TASKS = {
    "first pull": Task("image_pull", first_pull, valid, held),
    "moved tag": Task("image_pull", moved_pull, valid, held),
    "sync": Task("image_sync", sync, valid, held),
    "remove": Task("image_remove", remove, valid, held),
    "prune": Task("store_prune", prune, valid, held),
    "tag": Task("image_tag", tag, valid, held),
    "repair": Task("store_verify", repair, at_most_one_is_corrupt, held),
    "import": Task("image_import", load_bundle, valid, held),
    "build": Task("image_build", build, valid, held),
    "send": Task("program", to_receive, valid, held, send, send_and_receive),
    "receive": Task("image_receive", receive, valid, held, run_again=send_and_receive),
    "export": Task("image_export", export, only_whole_files, files),
    "lock": Task("image_lock", lock, only_whole_files, files),
    "login": Task("registry_login", login, only_whole_files, files),
    "layers": Task("image_unpack", unpack, only_whole_layers, trees_of),
    # A tree is recognized by its inode, which a replay does not keep.
    "tree": Task("image_unpack", unpack_tree, only_whole_trees, trees_of, run_again=None),
    "prune trees": Task("tree_prune", prune_trees, only_whole_layers, trees_of),
}


@pytest.fixture(name="site")
def fixture_site(tmp_path: Path) -> Iterator[Site]:
    need_programs("strace")
    with Registry() as registry:
        push(registry, "demo/app", OLD, "1")
        for name in ("disk", "elsewhere"):
            (tmp_path / name).mkdir()
        yield Site(registry, tmp_path / "disk", tmp_path / "elsewhere")


@pytest.mark.parametrize("name", TASKS)
def test_power_failure_at_any_call_leaves_what_the_next_run_completes(
    site: Site, name: str, record_property: Callable[[str, object], None]
) -> None:
    task = TASKS[name]
    options = task.prepare(site)
    site.note_whole()
    replay = Replay(
        site.path,
        site.elsewhere / "calls",
        lambda launcher: task.run(site, task.module, options, launcher),
    )
    if name == "send":
        send_and_receive(site, "", options)
    site.note_whole()
    expected = task.state(site)
    for is_due in replay.each():
        task.require(site)
        if task.run_again and is_due:
            replay.runs += 1
            task.run_again(site, task.module, options)
            assert task.state(site) == expected, replay.summary()
    assert replay.number > 5
    record_property(PROPERTY, f"{name}: {replay.summary()}")


def test_copy_between_registries_writes_nothing_on_the_host(site: Site) -> None:
    """So no cut of the power can leave half of something there. Names come last in the target, see test_copy.py."""
    auth, log = site.elsewhere / "auth.json", site.elsewhere / "calls"
    auth.write_text('{"auths": {}}')
    options = {"name": [site.name()], "destination": f"{site.registry.address}/copy"}
    options |= {"plain_http": True, "config_path": str(auth)}
    env = {"PYTHONDONTWRITEBYTECODE": "1"}
    outcome = modules.run("image_copy", launcher=strace(log), env=env, **options)
    assert outcome.result["changed"], outcome.result
    written = []
    for call in calls_of(log):
        words = " ".join(call.arguments)
        opens = call.name in ("open", "openat", "creat")
        changes = call.name.startswith(("mk", "rename", "link", "symlink", "unlink", "rmdir"))
        if changes or (opens and re.search("O_WRONLY|O_RDWR|O_CREAT", words)):
            written.append(f"{call.name} {call.texts()}")
    assert [one for one in written if "/dev/" not in one] == []
    assert list(site.path.iterdir()) == []
