# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""image_load into real containerds: every state in which an image can be before, the view of the kubelet, failures."""

from __future__ import annotations

import contextlib
import time
import typing as t
from collections.abc import Callable
from pathlib import Path

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._image.chain import chain_ids
from ansible_collections.lockstep.images.plugins.module_utils._image.names import Digest
from ansible_collections.lockstep.images.tests.support import images, modules, services
from ansible_collections.lockstep.images.tests.support.containerd import PINNED, Containerd
from ansible_collections.lockstep.images.tests.support.cri import ImageService
from ansible_collections.lockstep.images.tests.support.services_process import program, run
from ansible_collections.lockstep.images.tests.support.shop import (
    BASE,
    FOREIGN,
    NEXT,
    OTHER,
    PLAIN,
    SPARSE,
    WEB,
    ZSTD,
    Shop,
)

KUBERNETES = "k8s.io"


@pytest.fixture(scope="session", params=["containerd_host", "containerd_newer"])
def engine(request: pytest.FixtureRequest) -> Containerd:
    return request.getfixturevalue(request.param)  # type: ignore[no-any-return]


@pytest.fixture()
def namespace(request: pytest.FixtureRequest) -> str:
    """A namespace of its own for each test."""
    return f"t{abs(hash(request.node.nodeid))}"


class Load(t.NamedTuple):
    """Loads images of a store into one namespace."""

    engine: Containerd
    shop: Shop
    namespace: str

    def __call__(self, *names: str, **options: t.Any) -> modules.Outcome:
        params = dict(self.engine.options, platform="linux/amd64", namespace=self.namespace)
        return modules.run(
            "image_load", name=list(names), store=self.shop.store, **{**params, **options}
        )

    def ctr(self, *arguments: str, **options: t.Any) -> t.Any:
        return self.engine.ctr(self.namespace, *arguments, **options)

    def well(self, *names: str) -> None:
        """Load images without an error."""
        outcome = self(*names)
        assert not outcome.failed, outcome.result


@pytest.fixture()
def load(engine: Containerd, shop: Shop, namespace: str) -> Load:
    return Load(engine, shop, namespace)


def absent(load: Load) -> None:
    pass


def name_lost(load: Load) -> None:
    load.well(WEB)
    load.ctr("images", "rm", WEB)


def digest_name_lost(load: Load) -> None:
    load.well(WEB)
    load.ctr("images", "rm", load.shop.by_digest(WEB))


def tag_moved(load: Load) -> None:
    load.well(WEB, NEXT)
    load.ctr("images", "tag", "--force", NEXT, WEB)


def in_use(load: Load) -> None:
    tag_moved(load)
    load.ctr("run", "--detach", WEB, "user", "/bin/busybox", "sleep", "30")


def base_only(load: Load) -> None:
    load.well(BASE)


def broken(load: Load) -> None:
    load.well(WEB)
    load.ctr("content", "rm", load.shop.layers(WEB)[1].digest)


def other_compression(load: Load) -> None:
    load.well(PLAIN)


def pinned(load: Load) -> None:
    assert not load(WEB, pin=True).failed


def not_unpacked(load: Load) -> None:
    load.well(WEB)
    top = chain_ids([Digest.parse(layer.diff_id) for layer in load.shop.layers(WEB)])[-1]
    load.ctr("snapshots", "rm", str(top))


class Case(t.NamedTuple):
    """A state before a load, and what the load does: statuses, and how many layers it sends."""

    prepare: Callable[[Load], None]
    names: tuple[str, ...]
    statuses: tuple[str, ...]
    sent: tuple[int, ...]
    options: dict[str, t.Any] = {}


CASES = {
    "absent": Case(absent, (WEB,), ("loaded",), (2,)),
    "name-lost": Case(name_lost, (WEB,), ("tagged",), (0,)),
    "digest-name-lost": Case(digest_name_lost, (WEB,), ("tagged",), (0,)),
    "tag-moved": Case(tag_moved, (WEB,), ("moved",), (0,)),
    "in-use": Case(in_use, (WEB,), ("moved",), (0,)),
    "base-only": Case(base_only, (WEB,), ("loaded",), (1,)),
    "broken": Case(broken, (WEB,), ("repaired",), (1,)),
    "other-compression": Case(other_compression, (WEB,), ("loaded",), (2,)),
    "sparse": Case(absent, (SPARSE,), ("loaded",), (3,)),
    "zstd": Case(absent, (ZSTD,), ("loaded",), (2,)),
    "two-names-one-image": Case(absent, (WEB, OTHER), ("loaded", "loaded"), (2, 0)),
    "pinned": Case(pinned, (WEB,), ("present",), (0,), {"pin": True}),
    "not-pinned": Case(lambda load: load.well(WEB), (WEB,), ("tagged",), (0,), {"pin": True}),
    "not-unpacked": Case(not_unpacked, (WEB,), ("repaired",), (0,)),
    "present": Case(lambda load: load.well(WEB), (WEB,), ("present",), (0,)),
}


@pytest.mark.parametrize("case", CASES.values(), ids=list(CASES))
def test_check_mode_agrees_with_the_load_and_the_load_is_complete(load, case):
    case.prepare(load)
    check = load(*case.names, check=True, **case.options).result
    real = load(*case.names, **case.options).result
    again = load(*case.names, **case.options).result
    shown = [(one["status"], one["layers"]["sent"]) for one in real.get("images", [real])]
    assert shown == list(zip(case.statuses, case.sent)), real
    same = ("images", "changed", "actions", "diff")
    assert {key: check[key] for key in same} == {key: real[key] for key in same}
    assert check["stats"]["bytes_sent"] == real["stats"]["bytes_sent"]
    assert real["changed"] == (case.statuses != ("present",))
    assert (again["changed"], again["stats"]["bytes_sent"]) == (False, 0)
    assert again["stats"]["processes"] <= 3
    names = {name: load.shop.digest(name) for name in case.names}
    names.update({load.shop.by_digest(name): load.shop.digest(name) for name in case.names})
    assert names.items() <= load.engine.names(load.namespace).items()
    assert set(names) <= load.engine.ready(load.namespace)


def test_image_of_another_platform_is_unpacked(load):
    first = load(FOREIGN, platform="linux/arm64").result
    again = load(FOREIGN, platform="linux/arm64", check=True).result
    assert [one["status"] for one in first["images"]] == ["loaded"], first
    assert not again["changed"]
    assert load(FOREIGN, check=True).result["images"][0]["status"] == "repaired"


def test_image_without_a_tag_has_only_its_name_by_digest(load):
    name = load.shop.by_digest(WEB)
    assert not load(name).failed
    assert load.engine.names(load.namespace) == {name: load.shop.digest(WEB)}


def test_label_of_another_snapshotter_changes_nothing(load):
    load.well(WEB)
    config = str(load.shop.items[WEB].config_digest)
    load.ctr("content", "label", config, f"containerd.io/gc.ref.snapshot.stargz={config}")
    assert not load(WEB).result["changed"]


def test_loaded_image_runs(load):
    load.well(WEB)
    command = ["/bin/busybox", "echo", "served"]
    assert load.ctr("run", "--rm", WEB, "once", *command) == "served\n"


@pytest.mark.parametrize("pin", [False, True])
def test_ctr_that_is_older_than_the_daemon_works(containerd_newer, shop, namespace, pin):
    load = Load(containerd_newer, shop, namespace)
    result = load(WEB, pin=pin, executable="ctr").result
    assert [one["status"] for one in result["images"]] == ["loaded"], result
    assert not load(WEB, pin=pin, check=True).result["changed"]
    assert WEB in containerd_newer.ready(namespace)


def test_image_of_a_registry_is_loaded_without_a_copy_and_known_afterwards(
    load, registry_plain, directory
):
    item = images.demo_image("shop", "1", attestations=True)
    images.upload(registry_plain.service.url, "shop/demo", item, "1")
    name, store = f"{registry_plain.address}/shop/demo:1", str(directory / "store")
    options = {"source": "registry", "store": store, "namespace": load.namespace}
    first, again = (
        modules.run("image_load", name=[name], **load.engine.options, **options).result
        for _run in range(2)
    )
    assert [one["status"] for one in first["images"]] == ["loaded"], first
    assert (again["changed"], again["stats"]["bytes_sent"]) == (False, 0)
    assert again["stats"]["processes"] == 3
    assert name in load.engine.ready(load.namespace)
    assert not list((directory / "store/blobs").rglob("?" * 64))


def test_new_namespace_is_reported(load):
    text = f"containerd had no namespace {load.namespace}; the kubelet uses k8s.io"
    assert text in load(WEB, check=True).stdout
    assert text in load(WEB).stdout
    assert text not in load(NEXT).stdout


def test_discarded_layers_do_not_make_an_image_broken(load):
    load.well(WEB)
    load.ctr("content", "prune", "references")
    assert load.shop.layers(WEB)[0].digest not in load.ctr("content", "ls", "-q")
    assert not load(WEB).result["changed"]
    assert [one["status"] for one in load(OTHER).result["images"]] == ["loaded"]
    assert {WEB, OTHER} <= load.engine.ready(load.namespace)


def test_full_disk_leaves_nothing_behind(shop, workspace, directory):
    """The disk has space for the layers, but not for their content."""
    root = workspace / "small-containerd"
    with services.containerd(root) as service, contextlib.ExitStack() as stack:
        full = Containerd(service.address, "ctr", service)
        content = root / "root/io.containerd.snapshotter.v1.overlayfs/snapshots"
        content.mkdir(parents=True, exist_ok=True)
        run([program("mount"), "-t", "tmpfs", "-o", "size=1m", "tmpfs", content])
        stack.callback(run, [program("umount"), "--lazy", content])
        load = Load(full, shop, "default")
        outcome = load(WEB)
        assert outcome.kind == "engine-no-space", outcome.result
        assert (full.names("default"), load.ctr("snapshots", "ls").count("\n")) == ({}, 1)


def wrapped(load: Load, directory: Path, before: str = "", after: str = "") -> dict[str, t.Any]:
    """Return the option of a ctr that runs shell commands before and after each import; there, ``real`` is ctr."""
    real = f"{load.engine.executable} --address {load.engine.address} -n {load.namespace}"
    path = directory / "ctr"
    path.write_text(
        f"""\
#!/bin/sh
real() {{ {real} "$@" >> {directory}/log 2>&1; }}
case "$*" in *" import "*) ;; *) exec {load.engine.executable} "$@";; esac
{before}
tee -a {directory}/stdin | {load.engine.executable} "$@"
status=$?
{after}
exit $status
"""
    )
    path.chmod(0o755)
    return {"executable": str(path)}


def test_bytes_on_the_input_of_ctr_are_those_reported_and_few(load, directory):
    load.well(BASE)
    result = load(WEB, **wrapped(load, directory)).result
    sent = (directory / "stdin").stat().st_size
    assert sent == result["stats"]["bytes_sent"]
    assert sent <= len(load.shop.layers(WEB)[1].blob) + 16 * 1024


def test_layer_that_vanishes_after_the_plan_is_sent(load, directory):
    load.well(BASE)
    layer = load.shop.layers(WEB)[0].digest
    vanish = f"[ -e {directory}/stdin ] || real content rm {layer}"
    result = load(WEB, **wrapped(load, directory, before=vanish)).result
    shown = [(one["status"], one["layers"]["sent"]) for one in result["images"]]
    assert shown == [("repaired", 2)], result
    assert WEB in load.engine.ready(load.namespace)


@pytest.mark.parametrize("is_moved", [False, True])
def test_names_are_as_before_if_an_image_stays_incomplete(load, directory, is_moved):
    load.well(BASE)
    if is_moved:
        load.ctr("images", "tag", BASE, WEB)
    before = load.engine.names(load.namespace)
    vanish = f"real content rm {load.shop.layers(WEB)[1].digest}"
    outcome = load(WEB, **wrapped(load, directory, after=vanish))
    assert outcome.kind == "engine-incomplete", outcome.result
    assert load.engine.names(load.namespace) == before


# The task is killed while it sends a change to containerd, and after the change.
KILLS = {
    "inside": 'head -c 3000 | real "$@"; kill -9 $PPID; exit 1',
    "after": 'real "$@"; kill -9 $PPID; exit 1',
}


def killing(load: Load, directory: Path, number: int, when: str, lost: str) -> dict[str, t.Any]:
    """Return the option of a ctr that kills its task at a change; ``lost`` is a blob that is removed after each change."""
    real = f"{load.engine.executable} --address {load.engine.address} -n {load.namespace}"
    path = directory / f"ctr-{number}-{when}"
    path.write_text(
        f"""\
#!/bin/sh
real() {{
    {load.engine.executable} "$@"
    status=$?
    [ -z "{lost}" ] || {real} content rm {lost} > {path}.log 2>&1
    return $status
}}
case "$*" in *" images import "*|*" images label "*|*" images rm "*) ;; *) exec {load.engine.executable} "$@";; esac
echo >> {path}.steps
[ $(wc -l < {path}.steps) != {number} ] || {{ {KILLS[when]}; }}
real "$@"
"""
    )
    path.chmod(0o755)
    return {"executable": str(path)}


@pytest.mark.parametrize("is_complete", [True, False])
def test_kill_at_any_step_unpins_no_image(load, directory, is_complete):
    """The pin is not of the collection: no later task knows that it was there."""
    shop = load.shop
    lost = "" if is_complete else shop.layers(WEB)[1].digest
    for number in range(1, 20):
        for when in KILLS:
            one = load._replace(namespace=f"{load.namespace}-{number}-{when}")
            one.well(NEXT)
            one.ctr("images", "tag", NEXT, WEB)
            one.ctr("images", "label", WEB, f"{PINNED}=pinned")
            params = dict(load.engine.options, platform="linux/amd64", namespace=one.namespace)
            params.update(killing(one, directory, number, when, lost))
            process = modules.start("image_load", name=[WEB], store=shop.store, **params)
            process.communicate(timeout=120)
            assert one.engine.pinned(one.namespace) == {WEB}, (number, when)
            one.well(WEB)
            assert one.engine.pinned(one.namespace) == {WEB}, (number, when)
            assert one.engine.names(one.namespace)[WEB] == shop.digest(WEB)
        if process.returncode != -9:
            break
    assert number >= 3


def test_kubelet_finds_tag_and_digest_and_keeps_pinned_images(engine, shop):
    load = Load(engine, shop, KUBERNETES)
    assert not load(WEB, NEXT, pin=True).failed
    kubelet = ImageService(engine.address)
    found = eventually(lambda: kubelet.status(shop.by_digest(WEB)))
    assert (found.repo_tags, found.repo_digests) == ([WEB], [shop.by_digest(WEB)])
    assert kubelet.status(WEB) == found
    listed = eventually(lambda: [one for one in kubelet.images() if NEXT in one.repo_tags])
    assert [one.repo_digests for one in listed] == [[shop.by_digest(NEXT)]]
    labels = [label for one in kubelet.images() for label in (*one.repo_tags, *one.repo_digests)]
    assert not [label for label in labels if "import-" in label]
    is_shown = load.engine.executable != "ctr"  # containerd 1.6 does not know pinned images
    assert eventually(lambda: kubelet.status(WEB).pinned == is_shown)
    load.well(ZSTD)
    load.ctr("images", "rm", "--sync", ZSTD, shop.by_digest(ZSTD))  # collects garbage
    assert {WEB, shop.by_digest(WEB), NEXT} <= engine.ready(KUBERNETES)
    load.ctr("images", "rm", shop.by_digest(WEB))
    load.well(WEB)
    assert eventually(lambda: kubelet.status(WEB).pinned == is_shown)


def eventually(ask: Callable[[], t.Any]) -> t.Any:
    """Return the first answer that counts as true: the CRI plugin follows the events of containerd."""
    deadline = time.monotonic() + 10
    while True:
        found = ask()
        if found or time.monotonic() > deadline:
            return found
        time.sleep(0.05)
