# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Role and playbooks with engines: three hosts, of which one has Docker, one containerd and one podman."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.lockstep.images.tests.support import modules, services
from ansible_collections.lockstep.images.tests.support.documented import assert_as_documented
from ansible_collections.lockstep.images.tests.support.fleet import SYNC, need_programs
from ansible_collections.lockstep.images.tests.support.playbook import PlayResult, PlayRunner
from ansible_collections.lockstep.images.tests.support.registry import Registry
from ansible_collections.lockstep.images.tests.support.services_process import program, run
from ansible_collections.lockstep.images.tests.support.site import HOSTS, WEB, Site

LOCK, PROVISION, AUDIT, REPORT = (
    f"lockstep.images.{name}" for name in ("lock", "provision", "audit", "report")
)
LOAD = "lockstep.images.image_load"
NAMESPACE = "k8s.io"


@dataclass(frozen=True)
class Engines:
    """The engines of the three hosts, with their programs."""

    docker_socket: str
    containerd_socket: str
    podman: dict[str, str]

    def variables(self) -> dict[str, dict[str, Any]]:
        """Return the variables by host. A host sees the engine at its socket, or podman."""
        return {
            "one": {"store_engine_socket": self.docker_socket},
            "two": {
                "store_engine_socket": self.containerd_socket,
                "store_engine_namespace": NAMESPACE,
            },
            "three": {},
        }

    def environment(self) -> dict[str, str]:
        """Return the environment of all hosts, which hides the engines of this machine."""
        nowhere = {"DOCKER_HOST": "unix:///nonexistent/d", "CONTAINERD_ADDRESS": "/nonexistent/c"}
        storage = {key: value for key, value in self.podman.items() if key.startswith("CONTAINERS")}
        return {**nowhere, **storage}

    def run_docker(self, *arguments: str) -> str:
        return run([program("docker"), "--host", f"unix://{self.docker_socket}", *arguments])

    def run_ctr(self, *arguments: str) -> str:
        ctr = [program("ctr"), "--address", self.containerd_socket, "--namespace", NAMESPACE]
        return run([*ctr, *arguments])

    def run_podman(self, *arguments: str) -> str:
        return run([program("podman"), *arguments], env=self.podman)


class EngineSite(Site):
    """A site whose hosts have engines."""

    engines: Engines

    def run(self, playbook: str, check: bool = False, **variables: Any) -> PlayResult:
        """Run a playbook on all hosts."""
        return self.play(
            playbook,
            self.inventory(**self.engines.variables()),
            {**self.variables, "store_engine": "auto", **variables},
            check=check,
            environment=self.engines.environment(),
        )

    def lose_names_and_content(self) -> None:
        """Make Docker lose an image, podman hold another one under its name, and containerd lose a layer of it."""
        jobs, web = self.names
        self.engines.run_docker("rmi", web)
        self.engines.run_podman("tag", jobs, web)
        digest = self.engines.run_ctr("images", "list", f"name=={web}").split()
        manifest = json.loads(self.engines.run_ctr("content", "get", self.manifest_of(digest)))
        self.engines.run_ctr("content", "rm", manifest["layers"][-1]["digest"])

    def manifest_of(self, words: list[str]) -> str:
        """Return the digest of the manifest of an image, from words of which one is the digest of its index."""
        root = next(word for word in words if word.startswith("sha256:"))
        content = json.loads(self.engines.run_ctr("content", "get", root))
        for entry in content.get("manifests", ()):
            if entry["platform"]["architecture"] == "amd64":
                return str(entry["digest"])
        return root


@pytest.fixture(scope="module", name="engines")
def fixture_engines(workspace: Path) -> Iterator[Engines]:
    """Start the engines, which hold nothing yet."""
    need_programs("containerd", "ctr", "docker", "dockerd", "podman")
    directory = workspace / "engines"
    with (
        services.containerd(directory / "c") as containerd,
        services.dockerd(directory / "d", containerd.address) as dockerd,
        services.podman_env(directory / "p") as podman,
    ):
        yield Engines(dockerd.address, containerd.address, podman)


@pytest.fixture(name="site")
def fixture_site(directory: Path, play: PlayRunner, engines: Engines) -> Iterator[EngineSite]:
    """Nothing is locked yet."""
    with Registry() as registry:
        site = EngineSite(registry, directory, play)
        site.engines = engines
        yield site


def message(done: PlayResult, task: str) -> str:
    """Return what a task of one host said."""
    return next(one["msg"] for one in done.of(task).values() if "msg" in one)


def kinds(done: PlayResult) -> dict[str, str]:
    """Return the kind of engine by host."""
    return {host: one["engine"]["kind"] for host, one in done.of(LOAD).items()}


def statuses(done: PlayResult) -> dict[str, list[str]]:
    """Return what happened to the images by host, from the first load of each."""
    found: dict[str, list[str]] = {}
    for one in done.tasks:
        if one.action == LOAD and "images" in one.result:
            found.setdefault(one.host, [entry["status"] for entry in one.result["images"]])
    return found


def assert_engines_show_the_same_image(site: EngineSite) -> None:
    """Assert that engine_info returns the same name and layers from all engines, and changes nothing."""
    web, engines = site.names[1], site.engines
    shown = []
    for options in (
        {"engine": "docker", "socket": engines.docker_socket},
        {"engine": "containerd", "socket": engines.containerd_socket, "namespace": NAMESPACE},
        {"engine": "podman"},
    ):
        names = {"name": [web, "nothing:1"]}
        for done in modules.four_times(
            "engine_info", env=engines.environment(), **names, **options
        ):
            assert_as_documented("engine_info", done.result)
            assert done.result["missing"] == ["docker.io/library/nothing:1"]
            (image,) = done.result["images"]
            assert (image["names"], image["dangling"]) == ([web], False)
            assert image["complete"] is not False and image["size"] > 0
            assert "linux/amd64" in image["platforms"]
            shown.append(image["layers"])
    assert shown[0] and shown == [shown[0]] * len(shown)


def test_provision_and_audit_use_the_engine_of_each_host(site: EngineSite) -> None:
    jobs, web = site.names
    site.run(LOCK).ok()
    checked = site.run(PROVISION, check=True).ok()
    assert not site.store("one").exists()
    first = site.run(PROVISION).ok()
    assert kinds(first) == {"one": "docker", "two": "containerd", "three": "podman"}
    assert statuses(first) == statuses(checked) == {host: ["loaded"] * 2 for host in HOSTS}
    assert message(first, "Show what the hosts hold").endswith(
        "(2 names). 3 engines have these images."
    )
    assert "3 of 3 engines would get images." in message(checked, "Show what the hosts hold")
    for listed in (
        site.engines.run_docker("image", "ls", "--format", "{{.Repository}}:{{.Tag}}"),
        site.engines.run_ctr("images", "list", "-q"),
        site.engines.run_podman("images", "--format", "{{.Repository}}:{{.Tag}}"),
    ):
        assert {jobs, web} <= set(listed.split())
    assert site.run(PROVISION).ok().changed == 0
    done = site.run(AUDIT).ok()
    assert "3 hosts match the lock file (every byte, 3 engines checked)." in done.output

    assert_engines_show_the_same_image(site)

    site.lose_names_and_content()
    done = site.run(AUDIT)
    assert done.returncode == 2
    text = message(done, "Fail when a store differs")
    assert text.startswith("3 of 3 hosts differ from the lock file. "), text
    assert f"one: docker does not have {web}; two: {web} is incomplete in containerd; " in text
    assert f"; three: {web} is sha256:" in text and " in podman instead of sha256:" in text
    assert text.endswith("Run lockstep.images.provision to load the images again."), text
    assert jobs not in text
    page = site.directory / "report.html"
    site.run(REPORT, report_path=os.fspath(page)).ok()
    hosts = json.loads(page.with_suffix(".json").read_text(encoding="utf-8"))["hosts"]
    assert {host["name"]: host["engine"]["states"] for host in hosts} == {
        "one": {web: "missing"},
        "two": {web: "incomplete"},
        "three": {web: "differs"},
    }

    handlers = [
        {"name": f"Restart {name}", "ansible.builtin.debug": {"msg": name}, "changed_when": True}
        for name in ("web", "jobs")
    ]
    role = {"role": "lockstep.images.store"}
    play = {"name": "Site", "hosts": "all", "gather_facts": False, "roles": [role]}
    notified = [
        {"handler": "Restart web", "images": [web]},
        {"handler": "Restart jobs", "images": [jobs]},
    ]
    text = json.dumps([{**play, "handlers": handlers}], indent=1)
    done = site.run(text, store_changed_handlers=notified).ok()
    assert not any(one["changed"] for one in done.of(SYNC).values())
    assert {one.host for one in done.tasks if one.task == "Restart web"} == set(HOSTS)
    assert not [one for one in done.tasks if one.task == "Restart jobs"]
    site.run(AUDIT).ok()


def test_engines_get_images_from_registries_without_a_copy_in_the_store(site: EngineSite) -> None:
    own = {"store_engine_source": "registry"}
    site.run(LOCK).ok()
    site.run(PROVISION, **own).ok()
    site.move_tag(WEB, "2")
    site.run(LOCK, store_lock_update="all").ok()
    assert "3 of 3 hosts differ from the lock file." in site.run(AUDIT, **own).output
    done = site.run(PROVISION, **own).ok()
    assert statuses(done) == {host: ["present", "moved"] for host in HOSTS}
    assert done.of(SYNC).keys() == set(HOSTS)
    assert not [path for host in HOSTS for path in site.store(host).glob("blobs/*/*")]
    assert "3 engines have these images." in message(done, "Show what the hosts hold")
    assert "3 hosts match the lock file (3 engines checked)." in site.run(AUDIT, **own).ok().output


def test_host_without_an_engine_is_named_by_provision_and_audit(site: EngineSite) -> None:
    site.run(LOCK).ok()
    site.run(PROVISION, store_engine="none").ok()
    wrong = {"store_engine": "docker", "store_engine_socket": "/nonexistent/docker.sock"}
    done = site.run(PROVISION, **wrong)
    assert done.returncode == 2
    assert {one.host for one in done.failures} == set(HOSTS)
    done = site.run(AUDIT, **wrong)
    text = message(done, "Fail when a store differs")
    assert text.startswith("3 of 3 hosts could not be compared. one: /nonexistent/docker.sock"), (
        text
    )
    shutil.rmtree(site.store("one"))
    text = message(site.run(AUDIT, **wrong), "Fail when a store differs")
    assert text.count("/nonexistent/docker.sock") == 3, text
