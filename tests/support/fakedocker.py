# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A Unix socket that answers like Docker's Engine API, from data: a daemon with a graph driver, or with the containerd image store."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import http.server
import io
import json
import re
import socketserver
import tarfile
import threading
import typing as t
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

NAME = "io.containerd.image.name"
CONTAINERD = [["driver-type", "io.containerd.snapshotter.v1"]]


class Hung(Exception):
    """The daemon closes the connection without an answer."""


class Build(t.NamedTuple):
    """A request to build: its options, and the mode and the bytes of each file of its context."""

    options: dict[str, str]
    files: dict[str, tuple[int, bytes]]


@dataclass
class FakeDocker:
    """What the daemon is and holds. ``requests`` are method and target of each request so far, without the version.

    ``images`` are entries of ``/images/json``. ``layers`` are diff ids by image id. ``blobs`` is the content of the
    containerd image store by digest. ``loads`` are the sizes of members by name, of each archive. ``script`` are answers to
    the next loads, instead of the right ones: values of a stream, or an exception, after which nothing is answered.
    """

    path: Path
    api: str = "1.41"
    server: str = "Docker/20.10.24 (linux)"
    info: dict[str, t.Any] = field(default_factory=lambda: {"ServerVersion": "20.10.24"})
    images: list[dict[str, t.Any]] = field(default_factory=list)
    layers: dict[str, list[str]] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    blobs: dict[str, bytes] = field(default_factory=dict)
    loads: list[dict[str, int]] = field(default_factory=list)
    script: list[t.Any] = field(default_factory=list)
    before_load: t.Callable[[], object] = tuple
    networks: tuple[str, ...] = ("bridge", "host", "none")
    builds: list[Build] = field(default_factory=list)
    steps: list[str] = field(
        default_factory=list
    )  # images without a name that the next build makes
    failure: dict[str, t.Any] | None = (
        None  # the last value of the next build, which makes no image then
    )
    busy: int = 0  # how often an image cannot be removed because a container uses it
    saved: dict[str, bytes] = field(default_factory=dict)  # archives by name

    @property
    def is_containerd(self) -> bool:
        """Whether it has the containerd image store."""
        return self.info.get("DriverStatus") == CONTAINERD

    @property
    def names(self) -> dict[str, str]:
        """What each name points at."""
        return {name: one["Id"] for one in self.images for name in one["RepoTags"]}

    def add(self, image_id: str, *names: str, digests: tuple[str, ...] = (), size: int = 1) -> None:
        """Add an image without layers."""
        entry = {"Id": image_id, "RepoTags": list(names), "RepoDigests": list(digests)}
        self.images.append({**entry, "Size": size})

    def answer(self, target: str) -> t.Any:
        """Return the JSON value for a target, None for one that is not found."""
        path = target.partition("?")[0]
        if path == "/_ping":
            return "OK"
        if path == "/info":
            return self.info
        if path == "/version":
            return {"Version": self.info["ServerVersion"]}
        if path == "/networks":
            return [{"Name": name} for name in self.networks]
        if path == "/images/json":
            return self.listed("manifests=1" in target)
        for one in self.images:
            if path == f"/images/{one['Id']}/json":
                root = {"Type": "layers", "Layers": self.layers.get(one["Id"], [])}
                return {"Id": one["Id"], "Os": "linux", "Architecture": "amd64", "RootFS": root}
        return None

    def listed(self, manifests: bool) -> list[dict[str, t.Any]]:
        """Return the images, of the containerd image store with their manifests."""
        if not self.is_containerd or not manifests:
            return self.images
        return [{**one, "Manifests": list(self._manifests(one["Id"]))} for one in self.images]

    def _manifests(self, digest: str) -> Iterator[dict[str, t.Any]]:
        value = json.loads(self.blobs.get(digest, b"{}"))
        for child in value.get("manifests", ()):
            yield from self._manifests(child["digest"])
        if "manifests" not in value:
            parts = (value["config"], *value["layers"]) if value else ()
            there = bool(parts) and all(part["digest"] in self.blobs for part in parts)
            yield {"ID": digest, "Available": there, "Kind": "image"}

    def load(self, body: bytes) -> list[dict[str, t.Any]]:
        """Load an archive as the daemon does; return the values of the stream that answers."""
        with tarfile.open(fileobj=io.BytesIO(body)) as archive:
            members = archive.getmembers()
            files = {one.name: archive.extractfile(one).read() for one in members}  # type: ignore[union-attr]
        self.loads.append({one.name: one.size for one in members})
        self.before_load()
        if self.script:
            answer = self.script.pop(0)
            if isinstance(answer, Exception):
                raise answer
            if answer is not None:
                return t.cast("list[dict[str, t.Any]]", answer)
        return list(self._import(files) if self.is_containerd else self._load(files))

    def _load(self, files: dict[str, bytes]) -> Iterator[dict[str, t.Any]]:
        """Load as a graph driver does: layers by chain ids, names one image after the other."""
        for entry in json.loads(files["manifest.json"]):
            diff_ids = json.loads(files[entry["Config"]])["rootfs"]["diff_ids"]
            for number, name in enumerate(entry["Layers"]):
                if any(
                    have[: number + 1] == diff_ids[: number + 1] for have in self.layers.values()
                ):
                    continue
                if name not in files:
                    yield _error(f"open /tmp/docker-import-1/{name}: no such file or directory")
                    return
                data = files[name]
                plain = gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data
                if _digest(plain) != diff_ids[number]:
                    yield _error(
                        f"invalid diffID for layer {number}: expected {diff_ids[number]!r}"
                    )
                    return
            image_id = _digest(files[entry["Config"]])
            self.layers[image_id] = diff_ids
            for name in entry["RepoTags"]:
                self.point(name, image_id)
            yield {"stream": f"Loaded image: {entry['RepoTags']}\n"}

    def _import(self, files: dict[str, bytes]) -> Iterator[dict[str, t.Any]]:
        """Load as the containerd image store does: every name, even if its image is not complete."""
        for name, data in files.items():
            if name.startswith("blobs/"):
                self.blobs[_digest(data)] = data
        for entry in json.loads(files["index.json"])["manifests"]:
            name = entry["annotations"][NAME]
            self.point(name, entry["digest"])
            yield {"stream": f"Loaded image: {name}\n"}
            if not any(one["Available"] for one in self._manifests(entry["digest"])):
                text = f"Error unpacking image {name}: failed to extract layer: not found\n"
                yield {"stream": text}

    def posted(self, target: str, body: bytes) -> t.Iterable[dict[str, t.Any]]:
        """Return the values that answer an archive."""
        return self.build(target, body) if target.startswith("/build") else self.load(body)

    def archive_at(self, target: str) -> bytes | None:
        """Return the archive of an image that was built."""
        name = urllib.parse.unquote(target[len("/images/") : -len("/get")])
        return self.saved.get(name) if target.endswith("/get") else None

    def build(self, target: str, body: bytes) -> Iterator[dict[str, t.Any]]:
        """Build an image of one file on the images of all ``FROM``, which needs no command."""
        options = dict(urllib.parse.parse_qsl(target.partition("?")[2]))
        with tarfile.open(fileobj=io.BytesIO(body)) as archive:
            files = {
                one.name: (one.mode, archive.extractfile(one).read() if one.isfile() else b"")  # type: ignore[union-attr]
                for one in archive.getmembers()
            }
        self.builds.append(Build(options, files))
        yield {"stream": "Step 1/2 : FROM base\n"}
        base = re.search(
            rb"^FROM --platform=\S+ (\S+)", files[options["dockerfile"]][1], re.MULTILINE
        )
        base_id = self.names.get(base.group(1).decode(), base.group(1).decode()) if base else ""
        for step in [*filter(None, [base_id]), *self.steps]:
            if all(one["Id"] != step for one in self.images):
                self.add(step)
            yield {"stream": f" ---> {step[7:19]}\n"}
        if self.failure:
            yield self.failure
            return
        layer = archive_of({"made": b""})
        diff_ids = [*self.layers.get(base_id, []), _digest(layer)]
        config = {
            "os": "linux", "architecture": "amd64", "config": {}, "rootfs": {"type": "layers", "diff_ids": diff_ids},
            "history": [{"created_by": f"|1 {options['buildargs']} RUN"}],
        }  # fmt: skip
        raw = json.dumps(config).encode()
        name = _digest(raw)[7:]
        layers = {f"{number:064x}/layer.tar": b"" for number in range(len(diff_ids) - 1)}
        layers[f"{'f' * 64}/layer.tar"] = layer
        entry = {"Config": f"{name}.json", "RepoTags": [options["t"]], "Layers": list(layers)}
        self.saved[options["t"]] = archive_of(
            {"manifest.json": json.dumps([entry]).encode(), f"{name}.json": raw, **layers}
        )
        self.point(options["t"], _digest(raw))
        yield {"aux": {"ID": _digest(raw)}}

    def point(self, name: str, image_id: str) -> None:
        """Point a name at an image, which is added if it is not there; the other one stays without the name."""
        for one in self.images:
            if name in one["RepoTags"]:
                one["RepoTags"].remove(name)
        if all(one["Id"] != image_id for one in self.images):
            self.add(image_id)
        next(one for one in self.images if one["Id"] == image_id)["RepoTags"].append(name)

    def change(self, method: str, target: str) -> int:
        """Tag or remove, and return the status."""
        path, _mark, query = target.partition("?")
        subject = urllib.parse.unquote(path[len("/images/") :])
        if method == "POST":
            options = dict(urllib.parse.parse_qsl(query))
            image_id = subject[: -len("/tag")]
            if all(one["Id"] != image_id for one in self.images):
                return 404
            self.point(f"{options['repo']}:{options['tag']}", image_id)
            return 201
        if self.busy:
            self.busy -= 1
            return 409
        for one in list(self.images):
            if subject in one["RepoTags"]:
                one["RepoTags"].remove(subject)
            elif subject != one["Id"]:
                continue
            if not one["RepoTags"]:
                self.images.remove(one)
            return 200
        return 404


def _error(text: str) -> dict[str, t.Any]:
    return {"errorDetail": {"message": text}, "error": text}


def _stream(handler: http.server.BaseHTTPRequestHandler, values: t.Iterable[t.Any]) -> None:
    """Answer with values that come one after the other, until the client ends the connection."""
    handler.send_response_only(200)
    handler.end_headers()
    with contextlib.suppress(OSError):
        for value in values:
            handler.wfile.write(json.dumps(value).encode() + b"\r\n")


def archive_of(files: dict[str, bytes]) -> bytes:
    """Return a tar archive with files."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


@contextlib.contextmanager
def fake_docker(path: Path, **fields: t.Any) -> Iterator[FakeDocker]:
    """Serve a FakeDocker at a path, which is limited to 107 bytes."""
    docker = FakeDocker(path, **fields)

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            target = self._note()
            archive = docker.archive_at(target)
            if archive:
                self._answer(200, archive)
                return
            value = docker.answer(target)
            found = {"message": "not found"} if value is None else value
            self._answer(404 if value is None else 200, json.dumps(found).encode())

        def do_POST(self) -> None:
            target = self._note()
            if not target.startswith(("/images/load", "/build")):
                self._answer(docker.change(self.command, target))
                return
            body = self.rfile.read(int(self.headers["Content-Length"]))
            with contextlib.suppress(Hung, tarfile.TarError):
                _stream(self, docker.posted(target, body))

        def do_DELETE(self) -> None:
            self._answer(docker.change(self.command, self._note()))

        def _note(self) -> str:
            target = re.sub(r"^/v[0-9.]+(?=/)", "", self.path)
            docker.requests.append(f"{self.command} {target}")
            return target

        def _answer(self, status: int, body: bytes = b"{}") -> None:
            self.send_response_only(status)
            self.send_header("Server", docker.server)
            self.send_header("Api-Version", docker.api)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_args: t.Any) -> None:
            """Write nothing to the terminal."""

    class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
        daemon_threads = True

    with Server(str(path), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield docker
        finally:
            server.shutdown()
            thread.join()
