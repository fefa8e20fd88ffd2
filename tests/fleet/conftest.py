# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the fleet tests stand on: real registries, real SSH servers, a large image,
ansible-playbook.

Everything is started once per session, on free ports and in one private directory. Where a program
is missing or the user is not root, a test is skipped and says why; under CI (the variable `CI` is
set) that is an error.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.lockstep.images.tests.support import bigimage, certificates, services
from ansible_collections.lockstep.images.tests.support.playbook import (
    PlayRunner,
    ansible_program,
    collections_path,
    local_host,
    private_environment,
)
from ansible_collections.lockstep.images.tests.support.services_process import (
    Service,
    log_tail,
    missing_programs,
)

USER, PASSWORD = "fleet", "correct horse: battery/staple"


def need(reason: str) -> None:
    """Give up the test that asked: a skip with its reason for people, an error in CI."""
    if os.environ.get("CI"):
        raise RuntimeError(f"{reason} (in CI everything must be there)")
    pytest.skip(reason)


def need_programs(*names: str) -> None:
    """Go on only as root and with all these programs installed."""
    missing = missing_programs(*names)
    if missing:
        need(f"not installed: {', '.join(missing)}")
    if os.geteuid() != 0:
        need("only root can start these services")


@dataclass(frozen=True)
class Registry:
    """A running registry, and what a task and skopeo need to be let in."""

    service: Service
    username: str | None = None
    password: str | None = None
    ca: Path | None = None

    @property
    def address(self) -> str:
        """`host:port`, as it stands in a reference."""
        return self.service.address

    def options(self) -> dict[str, Any]:
        """The module options by which this registry is reached; none for the plain one."""
        own = {"username": self.username, "password": self.password, "ca_path": self.ca}
        return {name: os.fspath(value) for name, value in own.items() if value is not None}

    def upload_options(self) -> dict[str, Any]:
        """The arguments for `images.upload`."""
        cafile = os.fspath(self.ca) if self.ca else None
        return {"username": self.username, "password": self.password, "cafile": cafile}


@pytest.fixture(scope="session")
def workspace() -> Iterator[Path]:
    """A private directory for the session; it stays when LOCKSTEP_TEST_KEEP is set.

    Its path is short (sockets end after 107 bytes) and in lower case (podman makes an image's local
    name from the directory of a layout and refuses capitals).
    """
    made = Path(tempfile.gettempdir()).resolve() / f"lockstep-fleet-{os.getpid()}"
    made.mkdir(mode=0o700)
    yield made
    if not os.environ.get("LOCKSTEP_TEST_KEEP"):
        shutil.rmtree(made, ignore_errors=True)


@pytest.fixture()
def directory(workspace: Path) -> Path:
    """An empty directory for one test, in lower case."""
    for number in range(10_000):
        with contextlib.suppress(FileExistsError):
            made = workspace / f"test-{number}"
            made.mkdir()
            return made
    raise RuntimeError(f"{workspace}: full")


@pytest.fixture(scope="session")
def registry_plain(workspace: Path) -> Iterator[Registry]:
    """docker-registry over plain http, open to everyone."""
    need_programs("docker-registry")
    with services.docker_registry(workspace / "plain") as service:
        yield Registry(service)


@pytest.fixture(scope="session")
def registry_htpasswd(workspace: Path, registry_plain: Registry) -> Iterator[Registry]:
    """docker-registry over plain http for one user; it holds what `registry_plain` holds."""
    need_programs("docker-registry", "htpasswd")
    data = workspace / "plain/data"
    own = services.docker_registry(workspace / "htpasswd", auth=(USER, PASSWORD), data=data)
    with own as service:
        yield Registry(service, USER, PASSWORD)


@pytest.fixture(scope="session")
def registry_tls(workspace: Path, registry_plain: Registry) -> Iterator[Registry]:
    """docker-registry over TLS with its own CA, for one user; it holds what `registry_plain`
    holds.
    """
    need_programs("docker-registry", "htpasswd")
    data = workspace / "plain/data"
    own = services.docker_registry(
        workspace / "tls", auth=(USER, PASSWORD), tls=certificates.server(), data=data
    )
    with own as service:
        yield Registry(service, USER, PASSWORD, certificates.authority().certificate)


@pytest.fixture(scope="session")
def big_image(registry_plain: Registry) -> bigimage.BigImage:
    """The image of over 500 MB, in all three registries as `REPOSITORY:docker` and `:oci`.

    It is built in LOCKSTEP_TEST_CACHE (else `cache` beside the collections), where it stays.
    """
    need_programs(*bigimage.PROGRAMS)
    collections = collections_path() or Path.cwd()
    cache = Path(os.environ.get("LOCKSTEP_TEST_CACHE") or collections / "cache").absolute()
    image = bigimage.build(cache / "bigimage")
    bigimage.push(image, registry_plain.address, options=["--dest-tls-verify=false"])
    return image


@pytest.fixture(scope="session")
def collection_env(workspace: Path) -> dict[str, str]:
    """The environment of ansible-playbook: this collection, and nothing of the user's own."""
    found = collections_path()
    if found is None:
        need("not below ansible_collections/lockstep/images: run ./dev fleet")
        raise AssertionError
    if ansible_program("ansible-playbook") is None:
        need("not installed: ansible-playbook")
    return private_environment(workspace / "ansible", found)


@pytest.fixture(scope="session")
def play(workspace: Path, collection_env: dict[str, str]) -> PlayRunner:
    """Runs a play: `play(text_or_path, inventory, extra_vars, check=, diff=, verbosity=)`."""
    (workspace / "plays").mkdir()
    return PlayRunner(workspace / "plays", collection_env)


@pytest.fixture(scope="session")
def ssh_hosts(workspace: Path) -> Iterator[dict[str, services.SshHost]]:
    """Two running SSH servers, each with keys and a home of its own."""
    need_programs("sshd", "ssh", "ssh-keygen")
    with contextlib.ExitStack() as stack:
        hosts = {}
        for name in ("ssh1", "ssh2"):
            hosts[name] = stack.enter_context(services.sshd(workspace / name))
        yield hosts


@pytest.fixture()
def local(play: PlayRunner, directory: Path) -> Path:
    """An inventory of one local host with a store of its own, `store`, and its own home."""
    home = directory / "home"
    home.mkdir()
    host = local_host(directory, store=os.fspath(directory / "store"), home=os.fspath(home))
    return play.inventory({"one": host})


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, Any, Any]:
    """Show the end of every service's log with a test that failed."""
    report = yield
    made = getattr(item, "funcargs", {}).get("workspace")
    if report.failed and isinstance(made, Path) and made.is_dir():
        for log in sorted(made.glob("**/*.log")):
            report.sections.append((f"log of {log.stem}", log_tail(log, 15)))
    return report
