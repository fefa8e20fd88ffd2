# SPDX-License-Identifier: GPL-3.0-or-later
"""The storage of podman and CRI-O, by the program podman 4.3 and later.

podman keeps the digests that an image has in registries only if it pulls it. So it pulls: from a registry on the loopback
interface that serves the images of the task. An image is known by the digest of its configuration.
"""

from __future__ import annotations

import contextlib
import json
import re
import tempfile
import typing as t

from .._archive.image_archive import ImageContent, OpenBlob
from .._image import errors as image_errors
from .._image.chain import chain_ids
from .._image.manifest import Descriptor
from .._image.names import Digest, Reference
from . import errors
from .containers_storage import ContainersStorage
from .engine import (
    Engine,
    EngineFacts,
    Finding,
    HeldImage,
    KnownImage,
    Load,
    LoadOptions,
    require_disk,
    require_loadable,
)
from .process import Completed, run

if t.TYPE_CHECKING:
    from .loopback import LoopbackRegistry

_OLDEST = (4, 3)
_PREFIX = "sha256:"  # podman writes ids without it
_LOOPBACK = "127.0.0.1,localhost"
# Of the answer to a pull: podman's log lines begin with time="...".
_ERROR = re.compile(r"^Error: (.*)", re.MULTILINE)
_NO_LAYER = "layer not known"
_SOURCE = "initializing source"
_REJECTED = "rejected by policy"


class PodmanEngine(Engine):
    """podman as ``program``, a command with its first arguments, for the user of the task.

    ``timeout`` is in seconds for a question, ``load_timeout`` for a pull.
    """

    def __init__(self, program: t.Sequence[str], timeout: float, load_timeout: float) -> None:
        super().__init__()
        self._program = tuple(program)
        self._timeout, self._load_timeout = timeout, load_timeout
        self._info: dict[str, t.Any] | None = None
        self._held: dict[str, HeldImage] | None = None
        self._records: ContainersStorage | None = None

    def facts(self) -> EngineFacts:
        """Return what the engine is; version and root are None unless they were needed."""
        info = self._info or {}
        version, root = _get(info, "version", "Version"), _get(info, "store", "graphRoot")
        return EngineFacts("podman", version, None, "containers-storage", root)

    def images(self, details: bool = False) -> list[HeldImage]:
        """Return what podman holds; ``details`` also asks for version, layers and platforms."""
        held = list(self._list().values())
        if not details:
            return held
        self._ask_info()
        return self._with_details(held)

    def refresh(self) -> None:
        """Forget what podman held, so that it is asked again."""
        self._held = self._records = None

    def held_as(
        self, reference: Reference, root: Digest, known: KnownImage | None, options: LoadOptions
    ) -> str | None:
        """Return the id of an image that needs nothing, found by its name and digests alone; None if that is not known."""
        config = str(known.config) if known else ""
        return config if known and self._is_right(reference, root, config) else None

    def find(self, image: ImageContent, options: LoadOptions) -> Finding:
        """Return what podman has of an image; raise UnsupportedByEngineError for one that it cannot keep."""
        require_loadable(image)
        if any(layer.is_foreign for layer in image.manifest.layers):
            raise errors.UnsupportedByEngineError(
                f"{image.name}: has foreign layers, which podman fetches from elsewhere"
            )
        wanted = str(image.config_blob.digest)
        held = self._list().get(wanted)
        is_named = self._is_right(image.reference, image.root.digest, wanted)
        is_whole = held is not None and held.complete is not False
        missing = () if is_whole else tuple(self._missing(image))
        before = self._target_of(image.name)
        if not before and not is_whole:
            # podman 5 leaves out images without one of their layers.
            before = _target_among(self._recorded().values(), image.name)
        return Finding(wanted, before, is_named, is_whole, missing)

    def to_send(
        self, image: ImageContent, found: Finding, options: LoadOptions, sent: set[Digest]
    ) -> tuple[Descriptor, ...]:
        """Return the blobs that podman will request: force does not make it request a layer that it has."""
        return super().to_send(image, found, options._replace(force=False), sent)

    def size_of(self, loads: t.Sequence[Load]) -> int:
        """Return how many bytes ``send`` sends to the engine: podman reads manifests and configurations of all images."""
        sizes: dict[Digest, int] = {}
        for load in loads:
            small = (*(one for one, _manifest in load.image.manifests), load.image.config_blob)
            sizes.update((blob.digest, blob.size) for blob in (*small, *load.blobs))
        return sum(sizes.values())

    def send(self, loads: t.Sequence[Load], open_blob: OpenBlob, options: LoadOptions) -> None:
        """Let podman pull the images, which requests only the layers that it lacks."""
        # Only a load that sends something needs a server.
        from .loopback import LoopbackRegistry

        self._ask_info()
        with LoopbackRegistry(
            [load.image for load in loads], open_blob, self.count_sent
        ) as registry:
            ended = [
                self._pull(names, platform, registry)
                for platform, names in _by_platform(loads).items()
            ]
        failed = registry.error or next(filter(None, ended), None)
        if failed:
            unasked = {load.image.reference.name for load in loads} - registry.asked
            raise _elsewhere(failed, min(unasked)) if unasked else failed

    def restore(self, load: Load) -> None:
        """Point a name at what it was before, or remove it if it was not there."""
        self.refresh()
        before, now = load.finding.before, self._target_of(load.name)
        if before and now != before:
            self._require("tag", before[len(_PREFIX) :], load.name)
        elif now and not before:
            self._require("untag", now[len(_PREFIX) :], load.name)

    def require_space(self, size: int) -> None:
        """Raise EngineNoSpaceError if the disk of podman has less than ``size`` bytes."""
        if not size:
            return
        require_disk(str(_get(self._ask_info(), "store", "graphRoot")), size)

    def _is_right(self, reference: Reference, root: Digest, wanted: str) -> bool:
        """Return whether a name leads to the image ``wanted``, which podman knows by the digest ``root`` too."""
        held = self._list().get(wanted)
        name = reference.store_name
        return (
            held is not None and name in held.names and f"{reference.name}@{root}" in held.digests
        )

    def _target_of(self, name: str) -> str | None:
        """Return the id that a name leads to."""
        return _target_among(self._list().values(), name)

    def _missing(self, image: ImageContent) -> t.Iterator[Descriptor]:
        """Yield the layers that podman will request."""
        there = self._storage().digests()
        for blob in image.manifest.layers:
            if str(blob.digest) not in there:
                yield blob

    def _list(self) -> dict[str, HeldImage]:
        """Return what podman holds, by id."""
        if self._held is None:
            # Without --all it hides untagged images that others are based on.
            done = self._run("images", "--all", "--format", "json")
            if done.status and _NO_LAYER in done.stderr:
                self._held = self._recorded()
            else:
                # podman lists an image once for each of its names.
                rows = _json(_require_success(done, "images"))
                self._held = {_PREFIX + str(row.get("Id")): _held(row) for row in rows or ()}
        return self._held

    def _recorded(self) -> dict[str, HeldImage]:
        """Return what podman holds by its records: it lists no image if a layer of any is missing."""
        return {
            _PREFIX + one.id: HeldImage(
                _PREFIX + one.id,
                one.names,
                tuple(f"{_repository(name)}@{text}" for name in one.names for text in one.digests),
                complete=one.is_complete,
            )
            for one in self._storage().images()
        }

    def _storage(self) -> ContainersStorage:
        if self._records is None:
            info = self._ask_info()
            options = _get(info, "store", "graphOptions") or {}
            more = [text for key, text in options.items() if key.endswith(".imagestore")]
            root, driver = (_get(info, "store", key) for key in ("graphRoot", "graphDriverName"))
            self._records = ContainersStorage((str(root), *map(str, more)), str(driver))
        return self._records

    def _ask_info(self) -> dict[str, t.Any]:
        """Return what podman says of itself.

        Raise EngineTooOldError for an old one, EngineNotFoundError for one that only forwards to another host.
        """
        if self._info is None:
            info = _json(self._require("info", "--format", "json"))
            version = str(_get(info, "version", "Version"))
            parts = tuple(map(int, re.findall("[0-9]+", version)[:2]))
            if parts < _OLDEST:
                raise errors.EngineTooOldError(f"podman is {version} here, 4.3 or later is needed")
            if _get(info, "host", "serviceIsRemote"):
                raise errors.EngineNotFoundError(
                    "podman uses the storage of a remote service here, not that of this host",
                    "Run the task on that host, without CONTAINER_HOST and --remote.",
                )
            self._info = info
        return self._info

    def _with_details(self, held: t.Sequence[HeldImage]) -> list[HeldImage]:
        ids = [one.id[len(_PREFIX) :] for one in held if one.complete is not False]
        if not ids:
            return list(held)
        inspected = _json(self._require("image", "inspect", *ids))
        by_id = {_PREFIX + str(one.get("Id")): one for one in inspected}
        return [_detailed(one, by_id[one.id]) if one.id in by_id else one for one in held]

    def _pull(
        self, names: t.Sequence[str], platform: str, registry: LoopbackRegistry
    ) -> errors.EngineError | None:
        """Pull names from the loopback registry; return the error of podman, None for success."""
        locations = registry.locations
        chosen = ("--platform", platform) if platform else ()
        # Unnamed files: nothing of them is left when the task is killed, and no file of the host is touched.
        with _unnamed(_registries_conf(locations)) as conf, _unnamed('{"auths":{}}') as logins:
            done = self._run(
                "pull",
                "--quiet",
                *chosen,
                *names,
                timeout=self._load_timeout,
                files=(conf, logins),
                env={
                    "CONTAINERS_REGISTRIES_CONF": f"/proc/self/fd/{conf}",
                    "REGISTRY_AUTH_FILE": f"/proc/self/fd/{logins}",
                    **dict.fromkeys(("NO_PROXY", "no_proxy"), _LOOPBACK),
                },
                is_waiting=lambda: registry.is_waiting,
            )
        return _error(done, "pull", locations) if done.status else None

    def _require(self, *arguments: str) -> bytes:
        return _require_success(self._run(*arguments), arguments[0])

    def _run(
        self,
        *arguments: str,
        timeout: float | None = None,
        **how: t.Any,
    ) -> Completed:
        self.stats["processes"] += 1
        return run((*self._program, *arguments), timeout or self._timeout, **how)


def _target_among(images: t.Iterable[HeldImage], name: str) -> str | None:
    return next((one.id for one in images if name in one.names), None)


def _by_platform(loads: t.Sequence[Load]) -> dict[str, list[str]]:
    """Return the names to pull by the platform that podman must choose, "" if there is nothing to choose."""
    names: dict[str, list[str]] = {}
    for load in loads:
        platform = load.image.manifests[0][0].platform if load.image.root.is_index else None
        names.setdefault(str(platform or ""), []).append(load.name)
    return names


def _registries_conf(locations: t.Mapping[str, str]) -> str:
    """Return the configuration that leads repositories to the loopback registry (containers-registries.conf(5)).

    The name of a repository is the longest prefix that podman compares: an entry for its registry in a file of the host
    does not win over it.
    """
    entries = (
        f'[[registry]]\nprefix = "{name}"\nlocation = "{location}"\ninsecure = true\n'
        for name, location in locations.items()
    )
    return "unqualified-search-registries = []\n" + "".join(entries)


@contextlib.contextmanager
def _unnamed(text: str) -> t.Iterator[int]:
    """Return the descriptor of a file without a name that has ``text``, as long as the block runs."""
    with tempfile.TemporaryFile("w") as file:
        file.write(text)
        file.flush()
        yield file.fileno()


def _repository(name: str) -> str:
    """Return a name without its tag and its digest."""
    base = name.partition("@")[0]
    head, slash, last = base.rpartition("/")
    return head + slash + last.partition(":")[0]


def _held(row: t.Mapping[str, t.Any]) -> HeldImage:
    names, digests = (tuple(row.get(key) or ()) for key in ("Names", "RepoDigests"))
    return HeldImage(_PREFIX + str(row.get("Id")), names, digests, size=row.get("Size"))


def _detailed(held: HeldImage, inspected: t.Mapping[str, t.Any]) -> HeldImage:
    parts = (inspected.get(key) for key in ("Os", "Architecture", "Variant"))
    texts = _get(inspected, "RootFS", "Layers") or ()
    layers = tuple(map(str, chain_ids([Digest.parse(text) for text in texts])))
    return held._replace(platforms=("/".join(filter(None, parts)),), layers=layers)


def _get(value: t.Any, *keys: str) -> t.Any:
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _json(data: bytes) -> t.Any:
    try:
        return json.loads(data)
    except ValueError:
        raise errors.EngineError("podman answered with something other than JSON") from None


def _require_success(done: Completed, verb: str) -> bytes:
    if done.status:
        raise _error(done, verb)
    return done.stdout


def _error(
    done: Completed, verb: str, locations: t.Mapping[str, str] | None = None
) -> errors.EngineError:
    """Return the error for a podman that failed, with its own first message."""
    match = _ERROR.search(done.stderr)
    text = match.group(1) if match else done.stderr or f"ended with status {done.status}"
    for name, location in (locations or {}).items():
        text = text.replace(location, name)
    said = f"podman {verb}: {image_errors.printable(text, 300)}"
    if errors.is_full_disk(text):
        return errors.EngineNoSpaceError(said)
    if _REJECTED in text:
        return errors.UnsupportedByEngineError(
            said, "Allow the image in policy.json of the host, see containers-policy.json(5)."
        )
    return errors.EngineError(said)


def _elsewhere(error: image_errors.LockstepError, repository: str) -> image_errors.LockstepError:
    """Return the error of a pull that asked a registry, but not the one on the loopback interface."""
    if _SOURCE not in str(error):
        return error
    return errors.UnsupportedByEngineError(
        f"{error}; podman requests {repository} from another registry",
        "A file in registries.conf.d of this host leads it there: remove that entry.",
    )
