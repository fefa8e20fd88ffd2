# SPDX-License-Identifier: GPL-3.0-or-later
"""Builds by the builder that every Docker daemon has (Docker Engine API v1.41, "Build an image")."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import socket
import time
import typing as t
import urllib.parse

from .._archive.image_archive import ImageContent, OpenBlob
from . import errors
from .docker import DockerEngine
from .docker_api import DockerApi
from .engine import LOADED, Load, LoadOptions
from .socket_http import Answer, read_whole

# The images of a build have tags of this repository, which start with the token of the build.
REPOSITORY = "localhost/lockstep-build"
BUILT = "built"
# The image that a step made, or that it starts from.
_STEP = re.compile(r" ---> ([0-9a-f]{12})\s*")
_CHUNK = 256 * 1024
_SHOWN = 4000  # characters of the output
# A build that is stopped still removes its containers.
_ATTEMPTS = 20
_PAUSE = 0.5  # seconds


class BuildAnswer(t.NamedTuple):
    """How a build ended: the end of its output, with the error in the last line, and its status, None for success."""

    output: str
    status: int | None = None


def version_at(path: str, timeout: float) -> str:
    """Return the version of the daemon behind a socket; raise an EngineError if none answers."""
    stats = {"bytes_sent": 0, "requests": 0}
    return str(DockerApi(path, timeout, stats).get("/version").get("Version") or "")


class DockerBuilder(DockerEngine):
    """Builds images in a Docker daemon. ``close`` removes everything of the build that ``token`` names."""

    def __init__(self, path: str, timeout: float, load_timeout: float, token: str) -> None:
        super().__init__(path, timeout, load_timeout, lambda _digest: None)
        self._token = token
        self._known = {one["Id"] for one in self._listed()}
        self._steps: list[str] = []

    def remove_abandoned(self, is_held: t.Callable[[str], bool]) -> None:
        """Remove the tags of killed tasks; ``is_held`` is whether a task with a token still runs."""
        for name in self._tags():
            if not is_held(name.rpartition(":")[2].partition("-")[0]):
                self._discard(name)

    def name(self, last: str) -> str:
        """Return the temporary name of an image of the build."""
        return f"{REPOSITORY}:{self._token}-{last}"

    def bring(self, image: ImageContent, open_blob: OpenBlob) -> str:
        """Load an image that the build starts from, under its temporary name; return what the build calls it.

        That is the id of an image that the daemon has without a name: it would be removed with a temporary one.
        """
        options = LoadOptions()
        found = self.find(image, options)
        names = [one["RepoTags"] for one in self._listed() if one["Id"] == found.id]
        if found.whole and not any(names):
            return found.id
        load = Load(image, found, LOADED, self.to_send(image, found, options, set()))
        self.send([self.prepare(load, open_blob)], open_blob, options)
        return image.name

    def build(
        self, context: str, options: t.Mapping[str, str], args: t.Mapping[str, str], timeout: float
    ) -> BuildAnswer:
        """Build from the archive of a context, whose path is ``context``; return how it ended.

        The daemon stops the build if the connection ends.
        """
        query = {
            **options, "t": self.name(BUILT), "buildargs": json.dumps(dict(args)), "version": "1", "nocache": "1",
            "rm": "1", "forcerm": "1", "networkmode": self._network(),
        }  # fmt: skip
        output = _Output()
        try:
            with open(context, "rb") as file:
                size = file.seek(0, 2)
                self._api.request(
                    "POST",
                    f"/build?{urllib.parse.urlencode(query)}",
                    lambda sink: sink.send_file(file, size),
                    size,
                    timeout=timeout,
                    read=_reader(output.receive),
                )
        finally:
            self._steps += output.steps
        return BuildAnswer(output.text, output.status)

    def save(self, path: str, timeout: float) -> None:
        """Write the image that was built to an archive."""
        with open(path, "wb") as file:
            target = f"/images/{self.name(BUILT)}/get"
            self._api.request("GET", target, timeout=timeout, read=_reader(file.write))

    def close(self) -> None:
        """Remove the images of the build, also after an error. Never fail: ``remove_abandoned`` removes what is left."""
        with contextlib.suppress(errors.EngineError):
            self._discard(self.name(BUILT))
            made = [one["Id"] for one in self._listed() if not one["RepoTags"]]
            made = [one for one in made if one not in self._known]
            for step in self._steps[::-1]:
                for image_id in made:
                    if image_id.partition(":")[2].startswith(step):
                        self._discard(image_id)
            for name in self._tags():
                if name.startswith(self.name("")):
                    self._discard(name)

    def _listed(self) -> list[dict[str, t.Any]]:
        """Return all images, also those that only steps of builds have made."""
        listed = self._api.get("/images/json?all=1") or []
        return [{**one, "RepoTags": _tags_of(one)} for one in listed]

    def _tags(self) -> list[str]:
        """Return the temporary names of all builds."""
        names = [name for one in self._listed() for name in one["RepoTags"]]
        return [name for name in names if name.startswith(f"{REPOSITORY}:")]

    def _network(self) -> str:
        """Return the network of commands: none if the daemon lacks the one that containers have by default."""
        found = self._api.get("/networks") or []
        return "default" if any(one.get("Name") == "bridge" for one in found) else "none"

    def _discard(self, subject: str) -> None:
        """Remove a name or an image, if it is there; wait for containers that use it, which a stopped build still removes."""
        target = f"/images/{urllib.parse.quote(subject, safe='')}?noprune=true"
        for _attempt in range(_ATTEMPTS):
            try:
                self._api.request("DELETE", target, allowed=404)
            except (errors.EngineNotFoundError, errors.EngineGoneError):
                raise
            except errors.EngineError:
                time.sleep(_PAUSE)
            else:
                return


def _reader(
    receive: t.Callable[[bytes], object],
) -> t.Callable[[http.client.HTTPConnection], Answer]:
    """Return what gives the body of an answer to ``receive``, unless it is an error. The time limit is for all of it."""

    def read(connection: http.client.HTTPConnection) -> Answer:
        sock = connection.sock
        end = time.monotonic() + (sock.gettimeout() or 0)
        answer = connection.getresponse()
        if answer.status >= 400:
            return read_whole(answer)
        for piece in iter(lambda: answer.read1(_CHUNK), b""):
            receive(piece)
            left = end - time.monotonic()
            if left <= 0:
                raise socket.timeout
            # Since Python 3.13 the last byte closes an answer, and not only the empty piece after it.
            if not answer.isclosed():
                sock.settimeout(left)
        return Answer(answer.status, {}, b"")

    return read


class _Output:
    """The stream of JSON values that answers a build (moby, pkg/jsonmessage)."""

    def __init__(self) -> None:
        self.text = ""
        self.status: int | None = None
        self.steps: list[str] = []
        self._rest = b""

    def receive(self, piece: bytes) -> None:
        """Read the next bytes."""
        *lines, self._rest = (self._rest + piece).split(b"\n")
        for line in lines:
            with contextlib.suppress(ValueError, AttributeError):
                self._read(json.loads(line))

    def _read(self, value: t.Any) -> None:
        text = str(value.get("stream") or "")
        match = _STEP.fullmatch(text)
        if match:
            self.steps.append(match.group(1))
        found = value.get("errorDetail")
        if found or value.get("error"):
            found = found or {}
            text = f"{found.get('message') or value['error']}\n"
            self.status = int(found.get("code") or 1)
        self.text = (self.text + text)[-_SHOWN:]


def _tags_of(one: t.Mapping[str, t.Any]) -> list[str]:
    """Return the tags of an image; Docker shows an image without tags in several ways."""
    return [name for name in one.get("RepoTags") or () if "<none>" not in name]
