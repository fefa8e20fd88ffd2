# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run the embedded registry as a background process, for playbooks and for manual tests.

    python3 tests/support/serve.py start    --state DIR [--port 0] [--auth basic] [--name HOST ...]
    python3 tests/support/serve.py fill     --state DIR [--images 3]
    python3 tests/support/serve.py change   --state DIR --image demo/app-1
    python3 tests/support/serve.py publish  --state DIR --repository a/b --tag 1 [--tag 2] [--version 1]
    python3 tests/support/serve.py requests --state DIR [--since LINE]
    python3 tests/support/serve.py stop     --state DIR

``DIR`` holds ``address``, ``pid``, ``log``, ``images.json`` and ``requests.jsonl``, which has one
JSON object for each request, written before its answer ends. It is not an error to start a running
registry, or to stop one that does not run. A lock shows whether it runs, not the process number.

With ``--auth``, clients can read without a login, and ``demo`` can log in with the password
``demo-password``; with ``--private``, reading needs the login. With ``--name``, the registry serves
these names over TLS, for clients that use the proxy in ``DIR/proxy`` as ``HTTPS_PROXY`` and trust the
authority ``DIR/ca.pem``.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

if not __package__:
    # Run as a script: make this directory the package ``support``, so that the relative imports
    # below work as they do under ``ansible_collections``.
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    __package__ = "support"  # pylint: disable=redefined-builtin

from .images import Index, demo_image, sample_image, upload
from .proxy import ConnectProxy
from .record import Request
from .registry import Registry

PATIENCE = 30.0
TAG = "1.0"
USER, PASSWORD = "demo", "demo-password"
HUB, HUB_TOKENS = "registry-1.docker.io", "auth.docker.io"


class ServeError(Exception):
    """A command failed; the message is for the user."""


class State:
    """The files of one background registry."""

    def __init__(self, directory: str | Path) -> None:
        self.directory = Path(directory).resolve()
        self.address_file = self.directory / "address"
        self.pid_file = self.directory / "pid"
        self.requests_file = self.directory / "requests.jsonl"
        self.images_file = self.directory / "images.json"
        self.authority_file = self.directory / "ca.pem"
        self.proxy_file = self.directory / "proxy"

    @contextlib.contextmanager
    def owned(self, kind: int = fcntl.LOCK_EX) -> Iterator[bool]:
        """Hold the lock of the running registry. Provide False if another process holds it."""
        with (self.directory / "lock").open("a", encoding="utf-8") as handle:
            try:
                fcntl.flock(handle, kind | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
                return
            yield True

    def running(self) -> bool:
        """Return whether a registry runs on this state."""
        if not self.directory.is_dir():
            return False
        with self.owned(fcntl.LOCK_SH) as free:
            return not free

    def address(self) -> str:
        """Return the address of the registry. Raise ``ServeError`` if none runs."""
        if not self.running() or not self.address_file.exists():
            raise ServeError(f"no registry runs on {self.directory}: start it first")
        return self.address_file.read_text(encoding="utf-8").strip()

    def images(self) -> dict[str, int]:
        """Return the revision of each image that ``fill`` created, by repository."""
        if not self.images_file.exists():
            return {}
        known: dict[str, int] = json.loads(self.images_file.read_text(encoding="utf-8"))
        return known

    def write(self, path: Path, text: str) -> None:
        """Replace a file of the state atomically."""
        staged = path.with_name(f".{path.name}.new")
        staged.write_text(text, encoding="utf-8")
        os.replace(staged, path)


def realm(host: str) -> str:
    """Return the URL of a registry's token endpoint; Docker Hub has a separate host for it."""
    return f"https://{HUB_TOKENS if host.partition(':')[0] == HUB else host}/token"


def run(state: State, given: argparse.Namespace) -> None:
    """Serve in the foreground until a signal arrives."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_dummy: stop.set())
    with contextlib.ExitStack() as stack:
        if not stack.enter_context(state.owned()):
            raise ServeError(f"a registry runs on {state.directory} already")
        record = stack.enter_context(state.requests_file.open("w", encoding="utf-8"))

        def note(request: Request) -> None:
            record.write(json.dumps(request.as_dict(), sort_keys=True) + "\n")
            record.flush()

        state.images_file.unlink(missing_ok=True)
        options: dict[str, Any] = {"port": given.port, "auth": given.auth, "on_request": note}
        if given.auth:
            options.update(users={USER: PASSWORD}, anonymous_pull=not given.private)
        if given.name:
            from . import certificates  # which takes half of the time of a short command

            authority = certificates.authority()
            hosts = (*given.name, HUB_TOKENS, "127.0.0.1")
            options.update(tls=authority.issue("names", hosts=hosts), realm=realm)
            state.write(state.authority_file, authority.certificate.read_text(encoding="ascii"))
        registry = stack.enter_context(Registry(**options))
        if given.name:
            proxy = stack.enter_context(ConnectProxy(("127.0.0.1", registry.port), hosts))
            state.write(state.proxy_file, f"{proxy.url}\n")
        state.write(state.pid_file, f"{os.getpid()}\n")
        state.write(state.address_file, f"{registry.address}\n")
        stop.wait()


def start(state: State, given: argparse.Namespace) -> None:
    """Start a registry that outlives this process. Print its address when it answers."""
    state.directory.mkdir(parents=True, exist_ok=True)
    if not state.running():
        for stale in (
            state.address_file,
            state.pid_file,
            state.authority_file,
            state.proxy_file,
        ):
            stale.unlink(missing_ok=True)
        command = [sys.executable, os.path.abspath(__file__), "run"]
        command += ["--state", str(state.directory), "--port", str(given.port)]
        command += ["--auth", given.auth] * bool(given.auth) + ["--private"] * given.private
        command += [f"--name={name}" for name in given.name]
        with (state.directory / "log").open("wb") as log:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                cwd="/",
            )
        _wait(lambda: state.address_file.exists() or process.poll() is not None)
        if process.poll() is not None or not state.address_file.exists():
            text = (state.directory / "log").read_text(encoding="utf-8", errors="replace")
            raise ServeError(f"the registry did not start: {text.strip()[-300:]}")
    address = state.address()
    if state.authority_file.exists():
        host, _dummy, number = address.rpartition(":")
        socket.create_connection((host, int(number)), PATIENCE).close()
    else:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with contextlib.suppress(urllib.error.HTTPError):  # an error status is an answer, too
            opener.open(f"http://{address}/v2/", timeout=PATIENCE).close()
    print(address)


def _push(state: State, repository: str, item: Index, *tags: str) -> str:
    """Upload an image with the scheme and login of the registry. Return the registry's address."""
    address, tls = state.address(), state.authority_file.exists()
    upload(
        f"{'https' if tls else 'http'}://{address}",
        repository,
        item,
        *tags,
        username=USER,
        password=PASSWORD,
        cafile=str(state.authority_file) if tls else None,
    )
    return address


def _demo(repository: str, revision: int) -> Index:
    """Return the image of a repository in one revision; the first image has attestations."""
    name = repository.rpartition("/")[2]
    return demo_image(name, f"{TAG}.{revision}", attestations=name == "app-1")


def fill(state: State, images: int) -> None:
    """Push ``images`` multi-platform images and print their references as a JSON list."""
    address = state.address()
    known = state.images()
    names = []
    for number in range(1, images + 1):
        repository = f"demo/app-{number}"
        known.setdefault(repository, 0)
        _push(state, repository, _demo(repository, known[repository]), TAG)
        names.append(f"{address}/{repository}:{TAG}")
    state.write(state.images_file, json.dumps(known, sort_keys=True))
    print(json.dumps(names))


def change(state: State, repository: str) -> None:
    """Push another version under the same tag. Print the changed layer of each platform."""
    known = state.images()
    address = state.address()
    if repository not in known:
        raise ServeError(f"{repository} is not one of the images: {', '.join(sorted(known))}")
    before = _demo(repository, known[repository])
    known[repository] += 1
    after = _demo(repository, known[repository])
    _push(state, repository, after, TAG)
    state.write(state.images_file, json.dumps(known, sort_keys=True))
    print(json.dumps({"name": f"{address}/{repository}:{TAG}", **_difference(before, after)}))


def publish(state: State, repository: str, tags: Sequence[str], version: str) -> None:
    """Push an image whose digest depends only on its repository and version. Print the digest."""
    item = sample_image(repository.rpartition("/")[2], version)
    _push(state, repository, item, *tags)
    print(item.digest)


def _difference(before: Index, after: Index) -> dict[str, Any]:
    """Return the old and the new digest, and the new layer of each platform."""
    old = {digest for digest, _dummy in before.blobs()}
    layers = {}
    for one in after.images:
        platform = "/".join(getattr(one, "platform", {}).values())
        fresh = [part for part in getattr(one, "layers", ()) if part.digest not in old]
        if not platform.startswith("unknown"):
            (part,) = fresh
            layers[platform] = {"digest": part.digest, "size": len(part.blob)}
    return {"before": before.digest, "after": after.digest, "layers": layers}


def requests(state: State, since: int) -> None:
    """Print the requests after the first ``since`` lines of the log, as JSON."""
    if not state.requests_file.exists():
        raise ServeError(f"no registry has run on {state.directory}")
    lines = state.requests_file.read_text(encoding="utf-8").splitlines()
    asked = [json.loads(line) for line in lines[since:]]
    summary: dict[str, Any] = {
        "lines": len(lines),
        "by_method": dict(Counter(one["method"] for one in asked)),
        "blobs": [],
        "blob_bytes": 0,
        "manifest_get": [],
        "manifest_head": [],
    }
    for one in asked:
        found = re.fullmatch(r"/v2/(.+)/(manifests|blobs)/([^/]+)", one["path"])
        if found is None or one["status"] not in (200, 206):
            continue
        repository, kind, reference = found.groups()
        reference = reference.replace("%3A", ":").replace("%3a", ":")
        if kind == "blobs" and one["method"] == "GET":
            summary["blobs"].append({"digest": reference, "size": one["bytes_sent"]})
            summary["blob_bytes"] += one["bytes_sent"]
        elif kind == "manifests" and one["method"] in ("GET", "HEAD"):
            mark = "@" if ":" in reference else ":"
            name = f"{repository}{mark}{reference}"
            summary[f"manifest_{one['method'].lower()}"].append(name)
    print(json.dumps(summary, sort_keys=True))


def stop(state: State) -> None:
    """Stop the registry and wait until it has ended."""
    if state.running():
        os.kill(int(state.pid_file.read_text(encoding="utf-8")), signal.SIGTERM)
        if not _wait(lambda: not state.running()):
            raise ServeError(f"the registry on {state.directory} does not stop")
    for stale in (state.address_file, state.pid_file):
        with contextlib.suppress(FileNotFoundError):
            stale.unlink()


def _wait(condition: Any) -> bool:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="The embedded registry as a background process.")
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("start", "run", "fill", "change", "publish", "requests", "stop"):
        command = commands.add_parser(name)
        command.add_argument("--state", required=True, help="directory of its files")
        if name in ("start", "run"):
            command.add_argument("--port", type=int, default=0, help="0: any free one")
            command.add_argument("--auth", choices=["basic", "bearer"], help="logins are possible")
            command.add_argument("--private", action="store_true", help="and needed to read")
            command.add_argument("--name", action="append", default=[], help="be this registry")
        elif name == "fill":
            command.add_argument("--images", type=int, default=3, help="how many")
        elif name == "change":
            command.add_argument("--image", required=True, help="repository, as demo/app-1")
        elif name == "publish":
            command.add_argument("--repository", required=True, help="as library/debian")
            command.add_argument("--tag", action="append", required=True, help="one of its tags")
            command.add_argument("--version", default="1", help="what its last layer holds")
        elif name == "requests":
            command.add_argument("--since", type=int, default=0, help="lines to leave out")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. Return 1, after a line on standard error, if it failed."""
    given = _arguments(arguments)
    state = State(given.state)
    options = {
        "start": lambda: start(state, given),
        "run": lambda: run(state, given),
        "fill": lambda: fill(state, given.images),
        "change": lambda: change(state, given.image),
        "publish": lambda: publish(state, given.repository, given.tag, given.version),
        "requests": lambda: requests(state, given.since),
        "stop": lambda: stop(state),
    }
    try:
        options[given.command]()
    except (ServeError, OSError) as exc:
        print(f"serve.py: {exc}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
