# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Built images: the same digest everywhere, and taken by skopeo, Docker, podman, containerd and umoci."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import tempfile
import time
import typing as t
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.lockstep.images.tests.support import modules, services
from ansible_collections.lockstep.images.tests.support.containerd import Containerd
from ansible_collections.lockstep.images.tests.support.docker import Docker
from ansible_collections.lockstep.images.tests.support.fleet import (
    Registry,
    need,
    need_programs,
)
from ansible_collections.lockstep.images.tests.support.services_process import run

TEXT = """\
FROM scratch AS tools
COPY busybox /bin/
COPY <<EOF /etc/passwd
root:x:0:0::/:/bin/sh
web:x:33:34::/srv:/bin/sh
EOF

FROM tools
COPY --chown=web site /srv/site
COPY --from=tools /bin/busybox /bin/sh
COPY --from=tools /bin/busybox /bin/cat
COPY --from=tools /bin/busybox /bin/id
ENV GREETING="hello world"
USER web
WORKDIR /srv
STOPSIGNAL SIGINT
HEALTHCHECK --interval=30s CMD ["/bin/sh", "-c", "true"]
ENTRYPOINT ["/bin/sh", "-c"]
CMD ["id -u; echo $GREETING; cat site/file-7"]
"""
SAID = "33\nhello world\n7\n"
# The Docker of this host, and a newer one with both of its stores.
DOCKERS = ["docker_host", "docker_graph", "docker_containerd"]


def write_context(path: Path) -> Path:
    """Write the context; return its directory."""
    (path / "site/sub").mkdir(parents=True)
    for number in range(30):
        (path / f"site/file-{number}").write_text(f"{number}\n")
    (path / "site/link").symlink_to("file-0")
    os.chmod(path / "site/file-1", 0o700)
    shutil.copyfile("/bin/busybox", path / "busybox")
    os.chmod(path / "busybox", 0o755)
    (path / "Dockerfile").write_text(TEXT)
    return path


@pytest.fixture(scope="module", name="context")
def fixture_context(workspace: Path) -> Path:
    need_programs("busybox")
    return write_context(workspace / "build-context")


class Built(t.NamedTuple):
    """The image in a registry."""

    name: str
    digest: str
    result: dict[str, t.Any]
    store: Path
    form: str

    @property
    def repository(self) -> str:
        return self.name.rpartition(":")[0]


@pytest.fixture(scope="module", name="built", params=["oci", "docker"])
def fixture_built(
    request: pytest.FixtureRequest, workspace: Path, context: Path, registry_plain: Registry
) -> Built:
    store, form = workspace / f"build-{request.param}", request.param
    name = f"{registry_plain.address}/lockstep/built-{form}:1"
    # Engines report one digest for images with the same configuration.
    result = build(context, store, name=name, format=form, created=int(form == "docker"))
    pushed = modules.run("image_push", name=[name], store=str(store), plain_http=True)
    assert not pushed.failed, pushed.result
    return Built(name, result["digest"], result, store, form)


def build(context: Path, store: Path, **params: t.Any) -> dict[str, t.Any]:
    """Build, and return the result."""
    outcome = modules.run("image_build", **given(context, store, **params))
    assert not outcome.failed, outcome.result
    return outcome.result


def given(context: Path, store: Path, **params: t.Any) -> dict[str, t.Any]:
    """Return the options of a build."""
    options = {"name": "r.example/built:1", "context": str(context), "store": str(store)}
    return {**options, "platform": "linux/amd64", **params}


def test_digest_is_the_same_everywhere(context: Path, directory: Path) -> None:
    need_programs("setpriv")
    if os.geteuid():
        need("only root can become another user")
    expected = build(context, directory / "store")["digest"]
    with tempfile.TemporaryDirectory(dir="/dev/shm") as memory:
        other = shutil.copytree(context, Path(memory) / "copy", symlinks=True)
        for number, path in enumerate(sorted(other.rglob("*"))):
            if not path.is_symlink():
                os.chmod(path, path.stat().st_mode & 0o700 | (0o075 if number % 2 else 0o005))
            os.utime(path, (number, number), follow_symlinks=False)
            os.chown(path, 65534, 65534, follow_symlinks=False)
        os.chmod(memory, 0o777)
        found = []
        for mask, zone in (("022", "UTC"), ("077", "Asia/Seoul")):
            user = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
            launcher = ["sh", "-c", f'umask {mask}; exec "$@"', "sh", *user]
            env = {"TZ": zone, "LC_ALL": "C", "HOME": memory, "TMPDIR": memory}
            process = modules.start(
                "image_build", launcher=launcher, env=env, **given(other, Path(memory) / mask)
            )
            found.append(modules.finish(process).result.get("digest"))
    assert found == [expected, expected]


def test_second_build_writes_nothing(context: Path, directory: Path) -> None:
    need_programs("strace")
    store = directory / "store"
    build(context, store)
    log = directory / "calls"
    strace = [
        "strace",
        "-f",
        "-y",
        "-o",
        str(log),
        "-e",
        "trace=%file,fchmod,ftruncate,write,pwrite64",
    ]
    process = modules.start("image_build", launcher=strace, **given(context, store))
    assert modules.finish(process).result["changed"] is False
    lines = [line for line in log.read_text().splitlines() if " = -1 " not in line]
    inside = [line for line in lines if str(store) in line or str(context) in line]
    written = (
        "O_WRONLY",
        "O_RDWR",
        "O_CREAT",
        "mkdir",
        "rename",
        "unlink",
        "link(",
        "chmod",
        "write",
    )
    assert [line for line in inside if any(word in line for word in written)] == []
    assert inside


def test_skopeo_takes_the_image_and_gives_it_back_unchanged(built: Built, directory: Path) -> None:
    need_programs("skopeo")
    other = f"docker://{built.repository}-copy:1"
    plain = ["--src-tls-verify=false", "--dest-tls-verify=false"]
    # skopeo finds an image of Docker's format in a registry only, and writes one to a directory only.
    source, back = f"docker://{built.name}", f"dir:{directory}/back"
    if built.form == "oci":
        source, back = f"oci:{built.store}:{built.name}", f"oci:{directory}/back:1"
    run(["skopeo", "copy", *plain, source, other])
    run(["skopeo", "copy", *plain, other, back])
    digests = [
        run(["skopeo", "inspect", "--tls-verify=false", "--format", "{{.Digest}}", one]).strip()
        for one in (other, back)
    ]
    assert digests == [built.digest, built.digest]


@pytest.fixture(scope="module", name="daemon", params=DOCKERS)
def fixture_daemon(request: pytest.FixtureRequest) -> Docker:
    return request.getfixturevalue(request.param)  # type: ignore[no-any-return]


def test_docker_runs_the_image(built: Built, daemon: Docker, directory: Path) -> None:
    env = services.docker_env(daemon.service, directory / "docker")
    run(["docker", "pull", "--quiet", built.name], env=env)
    (found,) = json.loads(run(["docker", "image", "inspect", built.name], env=env))
    assert found["RepoDigests"] == [f"{built.repository}@{built.digest}"]
    is_whole = (
        daemon.store == "containerd"
    )  # the id of an image is the digest of its manifest there
    assert found["Id"] == (built.digest if is_whole else built.result["config_digest"])
    config = found["Config"]
    assert (config["User"], config["StopSignal"]) == ("web", "SIGINT")
    assert config["Healthcheck"]["Test"] == ["CMD", "/bin/sh", "-c", "true"]
    assert run(["docker", "run", "--rm", "--network=none", built.name], env=env) == SAID


@pytest.fixture(scope="module", name="podman")
def fixture_podman(workspace: Path) -> Iterator[dict[str, str]]:
    need_programs("podman")
    with services.podman_env(workspace / "build-podman", driver="vfs") as environment:
        yield environment


def test_podman_runs_the_image(built: Built, podman: dict[str, str]) -> None:
    run(["podman", "pull", "--quiet", "--tls-verify=false", built.name], env=podman)
    (found,) = json.loads(run(["podman", "image", "inspect", built.name], env=podman))
    assert found["Digest"] == built.digest
    assert (found["User"], found["Config"]["Env"]) == ("web", ["GREETING=hello world"])
    check = found.get("Healthcheck") or found.get("HealthCheck")
    # podman reads a health check only from the manifests of Docker.
    expected = {"Test": ["CMD", "/bin/sh", "-c", "true"], "Interval": 30 * 10**9}
    assert check == (expected if built.form == "docker" else None)
    options = ["--rm", "--network=none", "--no-healthcheck"]  # there is no systemd for its timer
    assert run(["podman", "run", *options, built.name], env=podman) == SAID


def test_containerd_takes_the_image(built: Built, containerd_host: Containerd) -> None:
    containerd_host.ctr("build", "images", "pull", "--plain-http", built.name)
    assert containerd_host.names("build")[built.name] == built.digest
    assert built.name in containerd_host.ready("build")


def test_containerd_runs_an_image_that_is_loaded(built: Built, containerd_host: Containerd) -> None:
    namespace = f"run-{built.form}"
    options = {"name": [built.name], "store": str(built.store), "platform": "linux/amd64"}
    loaded = modules.run("image_load", namespace=namespace, **options, **containerd_host.options)
    assert not loaded.failed, loaded.result
    said = containerd_host.ctr(namespace, "run", "--rm", built.name, f"built-{built.form}")
    assert said == SAID


@pytest.mark.parametrize("built", ["oci"], indirect=True)
def test_umoci_unpacks_the_image(built: Built, directory: Path) -> None:
    need_programs("umoci", "skopeo")
    layout = directory / "layout"
    run(["skopeo", "copy", f"oci:{built.store}:{built.name}", f"oci:{layout}:built"])
    run(["umoci", "unpack", "--image", f"{layout}:built", str(directory / "bundle")])
    config = json.loads((directory / "bundle/config.json").read_bytes())["process"]
    assert config["user"]["uid"] == 33
    assert config["args"][:2] == ["/bin/sh", "-c"]
    assert "GREETING=hello world" in config["env"]
    files = directory / "bundle/rootfs/srv/site"
    assert (files.lstat().st_uid, (files / "file-1").stat().st_mode & 0o777) == (33, 0o755)


@pytest.mark.parametrize("built", ["oci"], indirect=True)
def test_unpacked_image_runs(built: Built, directory: Path) -> None:
    if os.geteuid():
        need("only root can use chroot")
    root = directory / "rootfs"
    where = {"store": str(built.store), "path": str(directory / "trees"), "dest": str(root)}
    outcome = modules.run(
        "image_unpack", name=[built.name], form="rootfs", platform="linux/amd64", **where
    )
    assert not outcome.failed, outcome.result
    command = ["chroot", "--userspec=33:34", str(root), "/bin/sh", "-c", "cat /srv/site/file-7"]
    assert subprocess.run(command, capture_output=True, check=True).stdout == b"7\n"


RUN = """\
FROM r.example/tools:1 AS base
ARG WORD
COPY site /srv/site
RUN id -u > /srv/user && cat /srv/site/file-7 >> /srv/user && echo "$WORD" >> /srv/user
HEALTHCHECK CMD ["true"]
USER web
"""


@pytest.fixture(scope="module", name="tools")
def fixture_tools(workspace: Path, context: Path) -> Path:
    """A store with a base image that has a shell."""
    store = workspace / "build-tools"
    text = "FROM scratch\nCOPY busybox /bin/\nCOPY <<E /etc/passwd\nweb:x:33:34::/:/bin/sh\nE\n"
    text += "".join(f"COPY busybox /bin/{name}\n" for name in ("sh", "id", "cat"))
    build(context, store, name="r.example/tools:1", instructions=text)
    return store


def directories() -> set[str]:
    """Return the directories of builds by engines. A build also removes those of killed ones, whoever left them."""
    return {name for name in os.listdir("/var/tmp") if name.startswith("lockstep-build-")}


@contextlib.contextmanager
def engine_env(
    engine: str, directory: Path, request: pytest.FixtureRequest
) -> Iterator[dict[str, str]]:
    """Yield the environment in which a task finds an engine, and check that a build leaves nothing in it."""
    if not engine.startswith("docker"):
        need_programs(engine)
        if os.geteuid():
            need("only root can run commands in a chroot")
        with services.podman_env(directory / "engine", driver="vfs") as environment:
            yield environment
        return
    docker: Docker = request.getfixturevalue(engine)
    images = docker.ids(), docker.names()
    yield {"DOCKER_HOST": f"unix://{docker.address}"}
    assert (docker.ids(), docker.names()) == images
    assert docker("ps", "--all", "--quiet") == ""


@pytest.mark.parametrize(
    ("engine", "form"),
    [("buildah", "oci"), ("podman", "docker"), *[(docker, "oci") for docker in DOCKERS]],
)
def test_engine_runs_commands_on_an_image_of_the_store(
    engine: str,
    form: str,
    context: Path,
    tools: Path,
    directory: Path,
    request: pytest.FixtureRequest,
) -> None:
    name, kind = f"r.example/{engine}:1", engine.partition("_")[0]
    options = {"instructions": RUN, "engine": kind, "format": form, "args": {"WORD": "hello"}}
    params = given(context, tools, name=name, pull="never", **options)
    with engine_env(engine, directory, request) as environment:
        results = []
        for check in (True, False, True, False):
            process = modules.start("image_build", check=check, env=environment, **params)
            results.append(modules.finish(process).result)
    checked, done, *again = results
    assert not done.get("failed"), done
    assert [one["changed"] for one in results] == [True, True, False, False]
    assert checked["inputs"] == done["inputs"] == again[0]["inputs"]
    assert (done["engine"].split()[0], done["reproducible"]) == (kind, False)
    assert [one["digest"] for one in again] == [done["digest"]] * 2
    root = directory / "rootfs"
    where = {"store": str(tools), "path": str(directory / "trees"), "dest": str(root)}
    unpacked = modules.run("image_unpack", name=[name], form="rootfs", **where)
    assert not unpacked.failed, unpacked.result
    assert (root / "srv/user").read_text() == "0\n7\nhello\n"
    assert (root / "srv/site/file-1").stat().st_mode & 0o777 == 0o755
    assert unpacked.result["images"][0]["config"]["user"] == "web"


@pytest.mark.parametrize("engine", ["buildah", *DOCKERS])
def test_failing_command_names_the_engine_and_shows_no_argument(
    engine: str, context: Path, tools: Path, directory: Path, request: pytest.FixtureRequest
) -> None:
    text = "FROM r.example/tools:1\nARG WORD\nCOPY site /site\nRUN echo $WORD; exit 3\n"
    kind = engine.partition("_")[0]
    options = {"instructions": text, "engine": kind, "args": {"WORD": "s3cr3t"}, "pull": "never"}
    before = directories()
    with engine_env(engine, directory, request) as environment:
        params = given(context, tools, name="r.example/bad:1", **options)
        outcome = modules.finish(modules.start("image_build", env=environment, **params))
    assert (outcome.kind, outcome.result["changed"]) == ("build-failed", False)
    assert f"{kind} b" in outcome.result["msg"]
    assert re.search("exit status 3|returned a non-zero code: 3", outcome.result["msg"])
    assert "s3cr3t" not in outcome.result["msg"]
    assert directories() <= before


STAGES = """\
FROM r.example/missing:1 AS unused
RUN false
FROM r.example/tools:1 AS first
COPY site/file-7 /made/
RUN cat /made/file-7 > /made/user
FROM r.example/tools:1 AS wanted
COPY --from=first /made /srv/
COPY --from=r.example/tools:1 /etc/passwd /srv/
COPY . /all/
RUN cat /srv/user > /out
FROM wanted
RUN false
"""


@pytest.mark.parametrize("engine", DOCKERS)
def test_docker_builds_one_stage_of_several(
    engine: str, context: Path, tools: Path, directory: Path, request: pytest.FixtureRequest
) -> None:
    whole = shutil.copytree(context, directory / "context", symlinks=True)
    (whole / ".dockerignore").write_text("busybox\n.dockerignore\n")
    name = f"r.example/stages:{engine}"
    options = {"instructions": STAGES, "engine": "docker", "target": "wanted", "pull": "never"}
    with engine_env(engine, directory, request) as environment:
        params = given(whole, tools, name=name, **options)
        result = modules.finish(modules.start("image_build", env=environment, **params)).result
    assert not result.get("failed"), result
    root = directory / "rootfs"
    where = {"store": str(tools), "path": str(directory / "trees"), "dest": str(root)}
    unpacked = modules.run("image_unpack", name=[name], form="rootfs", **where)
    assert not unpacked.failed, unpacked.result
    assert (root / "out").read_text() == "7\n"
    assert sorted(os.listdir(root / "all")) == ["Dockerfile", "site"]
    assert sorted(os.listdir(root / "srv")) == ["file-7", "passwd", "user"]


def wait_until(holds: t.Callable[[], bool]) -> None:
    """Wait for a condition; fail after two minutes."""
    deadline = time.monotonic() + 120
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.mark.parametrize("engine", DOCKERS)
def test_killed_docker_build_leaves_nothing(
    engine: str, context: Path, tools: Path, directory: Path, request: pytest.FixtureRequest
) -> None:
    docker: Docker = request.getfixturevalue(engine)
    name = f"r.example/killed:{engine}"

    def start(command: str) -> t.Any:
        text = f"FROM r.example/tools:1\nRUN {command}\n"
        options = {"instructions": text, "engine": "docker", "pull": "never"}
        params = given(context, tools, name=name, **options)
        return modules.start("image_build", env=environment, **params)

    before = directories()
    with engine_env(engine, directory, request) as environment:
        killed = start("cat < /dev/zero > /dev/null")
        wait_until(lambda: bool(docker("ps", "--quiet")))
        killed.kill()
        killed.communicate()
        wait_until(lambda: not docker("ps", "--all", "--quiet"))
        entries = json.loads((tools / "index.json").read_bytes())["manifests"]
        assert name not in json.dumps(entries)
        assert any("lockstep-build" in name for name in docker.names())
        outcome = modules.finish(start("id"))
        assert not outcome.failed, outcome.result
    assert directories() <= before
