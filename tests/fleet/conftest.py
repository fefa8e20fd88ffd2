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
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.lockstep.images.tests.support import (
    bigimage,
    cells,
    certificates,
    chroots,
    images,
    services,
)
from ansible_collections.lockstep.images.tests.support.containerd import Containerd
from ansible_collections.lockstep.images.tests.support.docker import Docker
from ansible_collections.lockstep.images.tests.support.fleet import (
    DEMO,
    PASSWORD,
    PULL,
    USER,
    Pulled,
    Registry,
    need,
    need_programs,
)
from ansible_collections.lockstep.images.tests.support.playbook import (
    COLLECTION,
    PlayRunner,
    ansible_program,
    collections_path,
    core_program,
    local_host,
    measured_python,
    one_task,
    private_environment,
)
from ansible_collections.lockstep.images.tests.support.replays import PROPERTY
from ansible_collections.lockstep.images.tests.support.services_process import log_tail
from ansible_collections.lockstep.images.tests.support.shop import Shop, open_shop


@pytest.fixture(scope="session")
def workspace() -> Iterator[Path]:
    """Provide a private directory for the session; it stays when LOCKSTEP_TEST_KEEP is set.

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
    """Return an empty directory for one test, in lower case."""
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
    """Return the image of over 500 MB, in all three registries as `REPOSITORY:docker` and `:oci`.

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
    """Return the environment of ansible-playbook: this collection, and nothing of the user's own."""
    found = collections_path()
    if found is None:
        need("not below ansible_collections/lockstep/images: run ./dev fleet")
        raise AssertionError
    if ansible_program("ansible-playbook") is None:
        need("not installed: ansible-playbook")
    # Hosts that are this machine compile a module once, not in every task.
    compiled = found / COLLECTION / "tests/support/compiled"
    return dict(private_environment(workspace / "ansible", found), PYTHONPATH=os.fspath(compiled))


@pytest.fixture(scope="session")
def play(workspace: Path, collection_env: dict[str, str]) -> PlayRunner:
    """Runs a play: `play(text_or_path, inventory, extra_vars, check=, diff=, verbosity=)`."""
    (workspace / "plays").mkdir()
    return PlayRunner(workspace / "plays", collection_env, forks=True)


@pytest.fixture(scope="session")
def newer_engines(workspace: Path) -> Iterator[Path]:
    """Return an empty directory below `tmp` of a newer Debian with newer engines.

    LOCKSTEP_TEST_ENGINES names the root; development.md describes how to make it.
    """
    root = Path(os.environ.get("LOCKSTEP_TEST_ENGINES", "/nonexistent"))
    if os.geteuid() or not (root / "usr/bin/containerd").exists():
        pytest.skip("LOCKSTEP_TEST_ENGINES names no root of a newer Debian with engines")
    chroots.share_paths(root)
    made = root / "tmp" / workspace.name
    made.mkdir(mode=0o700)
    yield made
    shutil.rmtree(made, ignore_errors=True)


@pytest.fixture(scope="session")
def shop(workspace: Path) -> Shop:
    """A store of images that really run."""
    return open_shop(workspace / "shop")


@pytest.fixture(scope="session")
def containerd_host(workspace: Path) -> Iterator[Containerd]:
    """The containerd of this host, with CRI."""
    need_programs("containerd", "ctr", "runc")
    with services.containerd(workspace / "containerd", cri=True) as service:
        yield Containerd(service.address, "ctr", service)


@pytest.fixture(scope="session")
def containerd_newer(newer_engines: Path) -> Iterator[Containerd]:
    """A newer containerd, with CRI."""
    root = newer_engines.parents[1]
    with services.containerd(newer_engines / "containerd", cri=True, root=root) as service:
        ctr = chroots.client(root, "ctr", newer_engines)
        yield Containerd(service.address, os.fspath(ctr), service)


@pytest.fixture(scope="session")
def docker_host(workspace: Path) -> Iterator[Docker]:
    """The Docker of this host, with a graph driver."""
    need_programs("dockerd", "docker", "containerd", "runc")
    with services.dockerd(workspace / "docker", None) as service:
        yield Docker(service, "graph")


@pytest.fixture(scope="session")
def docker_graph(workspace: Path, newer_engines: Path) -> Iterator[Docker]:
    """A newer Docker, with a graph driver."""
    with services.dockerd(workspace / "dg", None, root=newer_engines.parents[1]) as service:
        yield Docker(service, "graph")


@pytest.fixture(scope="session")
def docker_containerd(workspace: Path, newer_engines: Path) -> Iterator[Docker]:
    """A newer Docker, with the containerd image store."""
    root, directory = newer_engines.parents[1], workspace / "dc"
    with services.dockerd(directory, None, root=root, containerd_store=True) as service:
        yield Docker(service, "containerd")


@pytest.fixture(scope="session")
def ssh_hosts(workspace: Path) -> Iterator[dict[str, services.SshHost]]:
    """Provide two running SSH servers, each with keys and a home of its own."""
    need_programs("sshd", "ssh", "ssh-keygen")
    with contextlib.ExitStack() as stack:
        hosts = {}
        for name in ("ssh1", "ssh2"):
            hosts[name] = stack.enter_context(services.sshd(workspace / name))
        yield hosts


@pytest.fixture(scope="session")
def stock(workspace: Path, registry_plain: Registry) -> cells.Stock:
    """The store of a controller with twenty images for two platforms."""
    repositories = (f"lockstep/stock-{number}" for number in range(20))
    items = {one: images.demo_image(one, "1") for one in repositories}
    return cells.make_stock(workspace, registry_plain, items)


@pytest.fixture(scope="session")
def cell(workspace: Path) -> cells.Cell:
    """A host that has an sshd in a network namespace without any route."""
    return cells.make_cell(workspace / "cell")


@pytest.fixture()
def runner(directory: Path, play: PlayRunner) -> Callable[[str], PlayRunner]:
    """`runner("2.16")` runs plays with this line of ansible-core, also on connections that only copy files."""
    plugins = directory / "connections"
    plugins.mkdir()
    (plugins / "files_only.py").write_text(cells.FILES_ONLY)

    def make(line: str) -> PlayRunner:
        made = directory / f"plays-{line}"
        made.mkdir(exist_ok=True)
        environment = {**play.environment, "ANSIBLE_CONNECTION_PLUGINS": os.fspath(plugins)}
        return PlayRunner(made, environment, core_program(line), forks=True)

    return make


@pytest.fixture()
def local(play: PlayRunner, directory: Path) -> Path:
    """Return an inventory of one local host with a store of its own, `store`, and its own home."""
    home = directory / "home"
    home.mkdir()
    host = local_host(directory, store=os.fspath(directory / "store"), home=os.fspath(home))
    return play.inventory({"one": host})


@pytest.fixture(scope="session")
def small_images(registry_plain: Registry) -> dict[str, str]:
    """Small multi-platform images in all three registries: `tag` -> digest of the index.

    `v1` and `v2` of `DEMO` differ in their last layers; `docker` is of Docker's media types.
    """
    made = {
        "v1": images.demo_image("demo", "1"),
        "v2": images.demo_image("demo", "2"),
        "docker": images.demo_image("demo", "1", docker=True),
    }
    for tag, item in made.items():
        images.upload(registry_plain.service.url, DEMO, item, tag)
    return {tag: item.digest for tag, item in made.items()}


@pytest.fixture(scope="session")
def pulled(
    request: pytest.FixtureRequest, workspace: Path, play: PlayRunner, big_image: bigimage.BigImage
) -> Pulled:
    """Return the large image, pulled four times; the parameter names the registry and the kind.

    Its interpreter notes the peak memory of the module process.
    """
    where, kind = request.param
    registry: Registry = request.getfixturevalue(f"registry_{where}")
    directory = workspace / f"pulled-{where}-{kind}"
    python = measured_python(directory)
    host = local_host(directory, ansible_python_interpreter=os.fspath(python.interpreter))
    store = directory / "store"
    name = f"{registry.address}/{bigimage.REPOSITORY}:{kind}"
    text = one_task(PULL, name=[name], store=os.fspath(store), **registry.options())
    runs = play.four_times(text, play.inventory({"one": host}))
    return Pulled(registry, kind, name, store, runs, python.peaks("image_pull"))


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print how many cuts of the power were replayed."""
    passed = terminalreporter.stats.get("passed", [])
    found = [text for one in passed for key, text in one.user_properties if key == PROPERTY]
    if found:
        terminalreporter.section("power cuts")
        terminalreporter.write_line("\n".join(found))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, Any, Any]:
    """Show the end of every service's log with a test that failed."""
    report = yield
    made = getattr(item, "funcargs", {}).get("workspace")
    if report.failed and isinstance(made, Path) and made.is_dir():
        # Services lie this deep; what is deeper may be an image's own files.
        for log in sorted([*made.glob("*/*.log"), *made.glob("*/*/*.log")]):
            report.sections.append((f"log of {log.stem}", log_tail(log, 5)))
    return report
