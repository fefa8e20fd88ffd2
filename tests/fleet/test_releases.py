# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbook lifecycle on two hosts: what each of them holds, and what is kept on the controller, when a release fails."""

from __future__ import annotations

import http.server
import os
import threading
import typing as t
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from ansible_collections.lockstep.images.tests.support import layout
from ansible_collections.lockstep.images.tests.support.playbook import PlayResult, PlayRunner
from ansible_collections.lockstep.images.tests.support.registry import Registry
from ansible_collections.lockstep.images.tests.support.signing import key
from ansible_collections.lockstep.images.tests.support.site import Site
from ansible_collections.lockstep.images.tests.support.verifying import rule

HOSTS = ["one", "two"]
DOCKERFILE = 'FROM scratch\nLABEL version={}\nCMD ["/web"]\n'
PASSPHRASE = "5ec7e7-passphrase"


class Services:
    """Answers http://ADDRESS/HOST with the version of the image in the store of the host, as a service would.

    ``broken`` has the hosts and versions that answer with an error.
    """

    def __init__(self, site: Site) -> None:
        self.site, self.broken = site, set[tuple[str, str]]()
        services = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:  # pylint: disable=invalid-name
                host = self.path[1:]
                version = services.version(host)
                self.send_response(500 if (host, version) in services.broken else 200)
                self.end_headers()
                self.wfile.write(f"version {version}\n".encode())

            def log_message(self, *_args: t.Any) -> None:  # pylint: disable=arguments-differ
                """Print nothing."""

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def version(self, host: str) -> str:
        """Return the version of the image that a host holds."""
        store = self.site.store(host)
        (found,) = layout.names(store).values()
        config = layout.read_manifest(store, found["digest"])["config"]["digest"]
        version: str = layout.read_manifest(store, config)["config"]["Labels"]["version"]
        return version


class Releases:
    """Releases of one image, which is signed, to two hosts."""

    def __init__(self, site: Site) -> None:
        self.site, self.services = site, Services(site)
        self.name = f"{site.registry.address}/shop/web:stable"
        self.inventory = site.play.inventory(
            {host: site.host(host) for host in HOSTS},
            store_lock_file=str(site.directory / "images.lock.yml"),
            store_lock_manifests="embed",
            store_plain_http=True,
            store_install_requests=False,
            store_verify_policy=[rule()],
            release_store_path=str(site.directory / "builds"),
            release_sign_key={"text": key().encrypted(PASSPHRASE)},
            release_sign_passphrase=PASSPHRASE,
            release_smoke=[
                {"url": self.services.url + "/{{ inventory_hostname }}", "retries": 1, "delay": 0}
            ],
        )

    def release(self, version: str, **variables: t.Any) -> PlayResult:
        """Release a version."""
        image = {"name": self.name, "instructions": DOCKERFILE.format(version)}
        variables["release_images"] = [image]
        done = self.site.play("lockstep.images.lifecycle", self.inventory, variables)
        assert PASSPHRASE not in done.output
        return done

    def versions(self) -> list[str]:
        """Return the versions that the hosts hold."""
        return [self.services.version(host) for host in HOSTS]

    def kept(self) -> dict[str, str]:
        """Return the digest in each lock file beside the inventory; its manifest must be beside it."""
        found = {}
        for path in sorted(self.site.directory.glob("images.lock*.yml")):
            (one,) = yaml.safe_load(path.read_text())["images"]
            manifests = {os.path.basename(file) for file in path.with_suffix(".d").rglob("*")}
            assert any(one["digest"][7:] in name for name in manifests), manifests
            found[path.name] = one["digest"]
        return found


@pytest.fixture(name="releases")
def fixture_releases(directory: Path, play: PlayRunner) -> Iterator[Releases]:
    with Registry() as registry:
        releases = Releases(Site(registry, directory, play))
        threading.Thread(target=releases.services.server.serve_forever, daemon=True).start()
        yield releases
        releases.services.server.shutdown()


def reasons(done: PlayResult) -> dict[str, str]:
    """Return the message of each host that has failed at the end of the playbook."""
    assert done.returncode, done.output
    task = "lockstep.images.release : Fail where the release has failed"
    return {one.host: one.result["msg"] for one in done.failures if one.task == task}


def test_first_release_that_fails_leaves_nothing_to_go_back_to(releases: Releases) -> None:
    broken = releases.services.broken

    # The first release fails: there is nothing to go back to.
    broken.add(("one", "0"))
    failed = reasons(releases.release("0", release_serial=1))
    assert list(failed) == ["one"]
    assert "No release has succeeded before, so there is nothing to go back to" in failed["one"]
    assert not releases.site.store("two").exists()
    assert list(releases.kept()) == ["images.lock.yml"]

    done = releases.release("1").ok()
    assert "2 of 2 hosts have the release" in done.output
    first = releases.kept()
    assert set(first) == {"images.lock.yml", "images.lock.released.yml"}
    assert releases.versions() == ["1", "1"]
