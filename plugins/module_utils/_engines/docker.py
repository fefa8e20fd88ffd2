# SPDX-License-Identifier: GPL-3.0-or-later
"""Docker Engine 20.10 and later by its API, with graph drivers or with the containerd image store.

Graph drivers know an image by the digest of its configuration, and layers by chain ids. The containerd image store knows
an image by the digest of its root, and blobs by their digests (Docker Engine API v1.41 to v1.52, Images).
"""

from __future__ import annotations

import contextlib
import json
import os
import typing as t
import urllib.parse

from .._archive.archive import Archive
from .._archive.image_archive import Entry, ImageContent, OpenBlob, image_archive
from .._image import errors as image_errors
from .._image.chain import chain_ids
from .._image.names import Digest, Reference
from . import errors
from .engine import Engine, EngineFacts, Finding, HeldImage, Load, LoadOptions, ReadManifest
from .socket_http import Answer, SocketClient, SocketOutput

DEFAULT_SOCKET = "/var/run/docker.sock"
GRAPH, CONTAINERD = "graph", "containerd"
_OLDEST = (1, 41)  # Docker 20.10
_WITH_MANIFESTS = (1, 47)  # /images/json?manifests=1
_NO_NAME = "<none>"
_NO_SPACE = "no space left on device"


class DockerEngine(Engine):
    """The Docker daemon behind a socket.

    ``read_manifest`` returns manifests that the engine may hold, None for unknown ones. ``timeout`` is in seconds without
    an answer, ``load_timeout`` in seconds without a byte of the answer to a load.
    """

    def __init__(
        self,
        path: str,
        timeout: float,
        load_timeout: float,
        read_manifest: ReadManifest,
    ) -> None:
        super().__init__()
        self._client = SocketClient(path, timeout)
        self._load_timeout = load_timeout
        self._read_manifest = read_manifest
        self._info, self._api = self._open()
        status = self._info.get("DriverStatus") or []
        is_containerd = ["driver-type", "io.containerd.snapshotter.v1"] in status
        self._store = CONTAINERD if is_containerd else GRAPH
        self.keeps_digests = self.reads_manifests = is_containerd
        self._images: list[dict[str, t.Any]] | None = None
        self._chains: set[str] | None = None

    def facts(self) -> EngineFacts:
        """Return what the engine is."""
        api = ".".join(map(str, self._api))
        root, version = self._info.get("DockerRootDir"), self._info.get("ServerVersion")
        return EngineFacts("docker", version, api, self._store, root)

    def images(self, details: bool = False) -> list[HeldImage]:
        """Return what the engine holds; ``details`` also asks for the layers of each image."""
        return [self._held(one, details) for one in self._list()]

    def refresh(self) -> None:
        """Forget what the engine held, so that it is asked again."""
        self._images = self._chains = None

    def held_as(
        self, reference: Reference, root: Digest, config: Digest | None, options: LoadOptions
    ) -> str | None:
        """Return the id of an image that is there under its name, if digests alone show that."""
        found = self._target_of(reference)
        if self._store == CONTAINERD:
            is_right = found == str(root) and any(self._availability(found))
        else:
            # A pull keeps the digest in the registry, a load does not.
            pinned = str(reference._replace(tag=None, digest=root))
            pulled = (
                one["Id"] for one in self._list() if pinned in _complete_names(one, "RepoDigests")
            )
            is_right = found is not None and (found == str(config) or found in pulled)
        return found if is_right else None

    def find(self, image: ImageContent, options: LoadOptions) -> Finding:
        """Return what the engine has of an image; raise UnsupportedByEngineError for one that it cannot keep."""
        self._require_loadable(image)
        if self._store == GRAPH:
            wanted = str(image.config_blob.digest)
            whole = any(one["Id"] == wanted for one in self._list())
            missing = () if whole else self._missing_layers(image)
        else:
            wanted = str(image.root.digest)
            whole = self._is_available(image)
            missing = () if whole else self._missing_blobs(image)
        before = self._target_of(image.reference)
        return Finding(wanted, before, before == wanted, whole, tuple(missing))

    def size_of(self, loads: t.Sequence[Load]) -> int:
        """Return how many bytes ``send`` sends to the engine."""
        _tagged, sent = self._split(loads)
        return self._archive(sent, _never).size if sent else 0

    def send(self, loads: t.Sequence[Load], open_blob: OpenBlob, options: LoadOptions) -> None:
        """Tag existing images, and send one archive of everything else."""
        tagged, sent = self._split(loads)
        for load in tagged:
            self._tag(load.finding.id, load.image.reference)
        if sent:
            self._load(self._archive(sent, open_blob))

    def restore(self, load: Load) -> None:
        """Point a name at what it was before, or remove it if it was not there."""
        self.refresh()
        before, now = load.finding.before, self._target_of(load.image.reference)
        if before and now != before:
            self._tag(before, load.image.reference)
        elif now and not before:
            name = urllib.parse.quote(load.name, safe="")
            self._request("DELETE", f"/images/{name}?noprune=true")

    def require_space(self, size: int) -> None:
        """Raise EngineNoSpaceError if the disk of the engine has less than ``size`` bytes."""
        root = str(self._info.get("DockerRootDir") or "")
        with contextlib.suppress(OSError):
            found = os.statvfs(root)
            free = found.f_bavail * found.f_frsize
            if size > free:
                need, left = map(image_errors.readable_size, (size, free))
                raise errors.EngineNoSpaceError(f"{root}: {need} needed, {left} free", path=root)

    def _open(self) -> tuple[dict[str, t.Any], tuple[int, ...]]:
        """Return what the daemon says of itself, and the version of its API."""
        path = self._client.path
        try:
            answer = self._request("GET", "/info")
        except errors.EngineTimeoutError:
            raise
        except errors.EngineGoneError:
            raise errors.EngineNotFoundError(f"{path}: what listens there is not Docker") from None
        if answer.headers.get("server", "").startswith("Libpod"):
            raise errors.EngineNotFoundError(
                f"{path} is the socket of podman, not of Docker", "Set engine to podman."
            )
        version = answer.headers.get("api-version", "")
        if not version.replace(".", "").isdigit():
            raise errors.EngineNotFoundError(f"{path}: what listens there is not Docker")
        api = tuple(map(int, version.split(".")))
        if api < _OLDEST:
            raise errors.EngineTooOldError(
                f"{path}: Docker has API {version}, 1.41 (Docker 20.10) is needed"
            )
        return answer.json(), api

    def _request(self, method: str, target: str, *body: t.Any, **options: t.Any) -> Answer:
        """Return the answer to a request; raise EngineError, or its class for the case, unless that is a success."""
        self.stats["requests"] += 1
        answer = self._client.request(method, target, *body, **options)
        if answer.status >= 400:
            raise _error(f"{method} {target.partition('?')[0]}: {answer.message}")
        return answer

    def _list(self) -> list[dict[str, t.Any]]:
        if self._images is None:
            detailed = self._store == CONTAINERD and self._api >= _WITH_MANIFESTS
            self._images = self._request(
                "GET", "/images/json" + ("?manifests=1" if detailed else "")
            ).json()
        return self._images

    def _held(self, one: dict[str, t.Any], details: bool) -> HeldImage:
        names = tuple(_complete_names(one, "RepoTags"))
        digests = tuple(_complete_names(one, "RepoDigests"))
        layers: tuple[str, ...] | None = None
        platforms: tuple[str, ...] = ()
        if details:
            inspected = self._request("GET", f"/images/{one['Id']}/json").json()
            layers = tuple(map(str, _chains_of(inspected)))
            parts = (inspected.get(key) for key in ("Os", "Architecture", "Variant"))
            platforms = ("/".join(filter(None, parts)),)
        complete = None
        if "Manifests" in one:
            complete = any(entry.get("Available") for entry in one["Manifests"] or ())
        return HeldImage(one["Id"], names, digests, platforms, one.get("Size"), layers, complete)

    def _target_of(self, reference: Reference) -> str | None:
        """Return the id that a name points at."""
        key = "RepoTags" if reference.tag else "RepoDigests"
        for one in self._list():
            if reference.store_name in _complete_names(one, key):
                return str(one["Id"])
        return None

    def _require_loadable(self, image: ImageContent) -> None:
        if (
            self._store == GRAPH
            and not image.reference.tag
            and not self._target_of(image.reference)
        ):
            raise errors.UnsupportedByEngineError(
                f"{image.name}: Docker with a graph driver keeps no name without a tag",
                "Give the image a tag, as in name:tag@digest.",
            )
        if len(image.diff_ids) != len(image.manifest.layers):
            raise errors.UnsupportedByEngineError(
                f"{image.name}: its configuration lists {len(image.diff_ids)} layers, its manifest"
                f" {len(image.manifest.layers)}"
            )

    def _missing_layers(self, image: ImageContent) -> t.Iterator[t.Any]:
        """Yield the layers whose chain ids no image of the engine has."""
        if self._chains is None:
            self._chains = set()
            for one in self._list():
                inspected = self._request("GET", f"/images/{one['Id']}/json").json()
                self._chains.update(map(str, _chains_of(inspected)))
        for layer in image.layers:
            if str(layer.chain_id) not in self._chains:
                yield layer.blob

    def _availability(self, image_id: str) -> list[bool]:
        """Return for each manifest of an image whether all its content is there; [True] if the engine does not say."""
        for one in self._list():
            if one["Id"] == image_id and "Manifests" in one:
                return [bool(entry.get("Available")) for entry in one["Manifests"] or ()]
        return [True]

    def _available(self) -> dict[str, bool]:
        """Return every manifest that the engine lists, and whether all its content is there."""
        return {
            entry["ID"]: bool(entry.get("Available"))
            for one in self._list()
            for entry in one.get("Manifests") or ()
        }

    def _is_available(self, image: ImageContent) -> bool:
        if self._api < _WITH_MANIFESTS:
            return any(one["Id"] == str(image.root.digest) for one in self._list())
        is_listed = any(one["Id"] == str(image.root.digest) for one in self._list())
        return is_listed and self._available().get(str(image.manifests[0][0].digest), False)

    def _missing_blobs(self, image: ImageContent) -> t.Iterator[t.Any]:
        """Yield the layers that no available image has.

        Only manifests prove that a blob is there: the engine unpacks layers, and drops blobs that it has unpacked in
        another compression (moby#53615).
        """
        there: set[Digest] = set()
        for text, available in self._available().items():
            manifest = self._read_manifest(Digest.parse(text)) if available else None
            there.update(blob.digest for blob in (manifest.layers if manifest else ()))
        for blob in image.manifest.layers:
            if blob.digest not in there:
                yield blob

    def _split(self, loads: t.Sequence[Load]) -> tuple[list[Load], list[Load]]:
        """Return the loads that need a tag only, and those that need content."""
        tagged = [load for load in loads if load.finding.whole and not load.blobs]
        return tagged, [load for load in loads if load not in tagged]

    def _archive(self, loads: t.Sequence[Load], open_blob: OpenBlob) -> Archive:
        entries = [Entry(load.image, (load.name,), load.blobs) for load in loads]
        return image_archive(entries, open_blob)

    def _load(self, archive: Archive) -> None:
        """Send an archive, and read the answer to its end: a status of 200 says nothing of the images."""

        def send(output: SocketOutput) -> None:
            try:
                archive.write_to(output)
            finally:
                self.stats["bytes_sent"] += output.count

        answer = self._request(
            "POST", "/images/load?quiet=0", send, archive.size, timeout=self._load_timeout
        )
        for line in answer.body.splitlines():
            with contextlib.suppress(ValueError):
                said = json.loads(line)
                text = (said.get("errorDetail") or {}).get("message") or said.get("error")
                stream = str(said.get("stream") or "")
                if not text and stream.startswith("Error unpacking"):
                    text = stream
                if text:
                    raise _error(str(text).strip()[:300])

    def _tag(self, target: str, reference: Reference) -> None:
        query = urllib.parse.urlencode({"repo": reference.name, "tag": reference.tag or ""})
        self._request("POST", f"/images/{target}/tag?{query}")


def _error(text: str) -> errors.EngineError:
    if _NO_SPACE in text:
        return errors.EngineNoSpaceError(f"Docker: {text}")
    return errors.EngineError(f"Docker: {text}")


def _complete_names(one: t.Mapping[str, t.Any], key: str) -> list[str]:
    return [text for text in map(_complete, one.get(key) or ()) if text]


def _complete(text: str) -> str | None:
    """Return a name that Docker shows in its complete form, None for none."""
    if _NO_NAME in text:
        return None
    try:
        return Reference.parse(text).store_name
    except image_errors.ReferenceError:
        return text


def _chains_of(inspected: t.Mapping[str, t.Any]) -> list[Digest]:
    texts = (inspected.get("RootFS") or {}).get("Layers") or ()
    return chain_ids([Digest.parse(text) for text in texts])


def _never(blob: t.Any) -> t.NoReturn:
    raise AssertionError(f"{blob} was opened for its size")
