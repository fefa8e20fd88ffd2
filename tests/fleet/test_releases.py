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
from ansible_collections.lockstep.images.tests.support.site import UNREACHABLE, Site
from ansible_collections.lockstep.images.tests.support.verifying import rule

HOSTS = ["one", "two"]
LOCK, RELEASED, FAILED = (f"images.lock{one}.yml" for one in ("", ".released", ".failed"))
DOCKERFILE = 'FROM scratch\nLABEL version={}\nCMD ["/web"]\n'
PASSPHRASE = "5ec7e7-passphrase"


class Services:
    """Answers http://ADDRESS/HOST with the version of the image in the store of the host, as a service would.

    ``broken`` has the hosts and versions that answer with an error, and ``lost`` those whose host cannot be reached from
    then on: a file says so.
    """

    def __init__(self, site: Site) -> None:
        self.site = site
        self.broken, self.lost = set[tuple[str, str]](), set[tuple[str, str]]()
        services = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:  # pylint: disable=invalid-name
                host = self.path[1:]
                version = services.version(host)
                if (host, version) in services.lost:
                    services.lost_file(host).touch()
                is_bad = (host, version) in services.broken | services.lost
                self.send_response(500 if is_bad else 200)
                self.end_headers()
                self.wfile.write(f"version {version}\n".encode())

            def log_message(self, *_args: t.Any) -> None:  # pylint: disable=arguments-differ
                """Print nothing."""

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def lost_file(self, host: str) -> Path:
        """Return the file that says that a host cannot be reached."""
        return self.site.directory / f"{host}.lost"

    def version(self, host: str) -> str:
        """Return the version of the image that a host holds."""
        store = self.site.store(host)
        (found,) = layout.names(store).values()
        config = layout.read_manifest(store, found["digest"])["config"]["digest"]
        version: str = layout.read_manifest(store, config)["config"]["Labels"]["version"]
        return version


class Releases:
    """Releases of one image, to two hosts, signed or not."""

    def __init__(self, site: Site, is_signed: bool) -> None:
        self.site, self.services = site, Services(site)
        signed = {
            "store_verify_policy": [rule()],
            "release_sign_key": {"text": key().encrypted(PASSPHRASE)},
            "release_sign_passphrase": PASSPHRASE,
        }
        self.name = f"{site.registry.address}/shop/web:stable"
        self.inventory = site.play.inventory(
            {host: self.host(host) for host in HOSTS},
            store_lock_file=str(site.directory / "images.lock.yml"),
            store_lock_manifests="embed",
            store_plain_http=True,
            store_install_requests=False,
            release_store_path=str(site.directory / "builds"),
            **signed if is_signed else {},
            release_smoke=[
                {"url": self.services.url + "/{{ inventory_hostname }}", "retries": 1, "delay": 0}
            ],
        )

    def host(self, name: str) -> dict[str, t.Any]:
        """Return the variables of a host, which refuses connections while its file says so."""
        lost = f"'{self.services.lost_file(name)}' is exists"
        connection = f"{{{{ 'ssh' if {lost} else 'local' }}}}"
        return {**UNREACHABLE, **self.site.host(name), "ansible_connection": connection}

    def release(self, version: str, limit: str = "", **variables: t.Any) -> PlayResult:
        """Release a version."""
        image = {"name": self.name, "instructions": DOCKERFILE.format(version)}
        variables["release_images"] = [image]
        done = self.site.play("lockstep.images.lifecycle", self.inventory, variables, limit=limit)
        assert PASSPHRASE not in done.output
        return done

    def versions(self) -> str:
        """Return the versions that the hosts hold."""
        return "".join(self.services.version(host) for host in HOSTS)

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
def fixture_releases(
    request: pytest.FixtureRequest, directory: Path, play: PlayRunner
) -> Iterator[Releases]:
    with Registry() as registry:
        releases = Releases(Site(registry, directory, play), request.param == "signed")
        threading.Thread(target=releases.services.server.serve_forever, daemon=True).start()
        yield releases
        releases.services.server.shutdown()


def reasons(done: PlayResult) -> dict[str, str]:
    """Return the message of each host that has failed at the end of the playbook."""
    assert done.returncode, done.output
    task = "lockstep.images.release : Fail where the release has failed"
    return {one.host: one.result["msg"] for one in done.failures if one.task == task}


@pytest.mark.parametrize("releases", ["signed"], indirect=True)
def test_first_release_that_fails_leaves_nothing_to_go_back_to(releases: Releases) -> None:
    broken = releases.services.broken

    # The first release fails: there is nothing to go back to.
    broken.add(("one", "0"))
    failed = reasons(releases.release("0", release_serial=1))
    assert list(failed) == ["one"]
    assert "No release has succeeded before, so there is nothing to go back to" in failed["one"]
    assert not releases.site.store("two").exists()
    assert list(releases.kept()) == [LOCK]

    done = releases.release("1").ok()
    assert "2 of 2 hosts have the release" in done.output
    first = releases.kept()
    assert set(first) == {LOCK, RELEASED}
    assert releases.versions() == "11"


@pytest.mark.parametrize("releases", ["not signed"], indirect=True)
def test_limited_release_is_not_the_one_to_go_back_to(releases: Releases) -> None:
    releases.release("1").ok()
    first = releases.kept()
    done = releases.release("2", "localhost,one").ok()
    assert "1 of 1 host has the release" in done.output
    second = releases.kept()
    assert (releases.versions(), second[RELEASED]) == ("21", first[LOCK])
    assert second[LOCK] != first[LOCK]

    # Without localhost, nothing is built: the host gets the existing lock file.
    done = releases.release("3", "two").ok()
    assert not done.of("lockstep.images.image_build")
    assert (releases.versions(), releases.kept()) == ("22", second)

    # The other hosts might not have what a limited release brought, so that is not where the host goes back to.
    releases.services.broken.add(("one", "3"))
    failed = reasons(releases.release("3", "localhost,one"))
    assert "The host is back on the last release" in failed["one"]
    assert releases.versions() == "12"
    assert releases.kept()[LOCK] == releases.kept()[RELEASED] == first[LOCK]


@pytest.mark.parametrize("releases", ["not signed"], indirect=True)
def test_hosts_that_fail_or_cannot_be_reached(releases: Releases) -> None:
    services = releases.services
    releases.release("1").ok()
    first = releases.kept()[LOCK]

    # Within the tolerance, a host that fails goes back alone.
    services.broken.add(("two", "2"))
    done = releases.release("2", release_max_fail_percentage=50)
    failed = reasons(done)
    assert list(failed) == ["two"] and "The host is back on the last release" in failed["two"]
    assert "1 of 2 hosts have the release" in done.output
    assert releases.versions() == "21"
    second = releases.kept()
    assert second[LOCK] == second[RELEASED] == second[FAILED] != first

    # A host fails, and is lost before it can go back. The other goes back, and the playbook fails.
    services.lost.add(("two", "3"))
    done = releases.release("3")
    assert done.returncode and done.recap["two"]["unreachable"] == 1
    assert "This host is back on the last release" in done.output
    assert releases.versions() == "23"
    third = releases.kept()
    assert third[LOCK] == third[RELEASED] == second[LOCK] != third[FAILED]

    # A host that is lost from the start counts as failed, here within the tolerance: the other gets the release.
    done = releases.release("4", release_max_fail_percentage=50)
    assert done.returncode and "1 of 2 hosts have the release" in done.output
    assert releases.versions() == "43"
    fourth = releases.kept()
    assert fourth[LOCK] == fourth[RELEASED] != third[LOCK]

    # A whole batch that is lost ends the playbook: no other batch begins, and nobody goes back.
    services.lost_file("one").touch()
    services.lost_file("two").unlink()
    done = releases.release("5", release_serial=1)
    assert done.returncode and "two" not in done.recap
    assert releases.versions() == "43"
    fifth = releases.kept()
    assert fifth[RELEASED] == fourth[LOCK] != fifth[LOCK]

    # The next run continues.
    services.lost_file("one").unlink()
    releases.release("5").ok()
    assert (releases.versions(), releases.kept()[RELEASED]) == ("55", fifth[LOCK])
