# SPDX-License-Identifier: GPL-3.0-or-later
"""The existing images that a build needs: planned as a pull plans them, and read while the build is planned."""

from __future__ import annotations

import contextlib
import os
import tempfile
import typing as t

from .._build.base import BaseImage, BaseLayer, ImageTree
from .._build.builder import Images
from .._build.dockerfile import Needed
from .._build.outline import decode, encode
from .._execution import Pool
from .._image import errors
from .._image.chain import chain_ids
from .._image.graph import Image
from .._image.manifest import BlobHash, Descriptor
from .._image.names import Platform, Reference
from .._image.sources import Blob, ChunkPolicy, ContentSource, Span
from .._rootfs.stream import inflaters
from .._store.files import access, read_file
from .._store.store import ImageStore
from .._store.writing import make_directory, write_file
from .actions import FetchBlob, fetch
from .fetching import FetchPlanner, ImagePlan, ImageRequest
from .layer_archive import decompressor

if t.TYPE_CHECKING:
    from .._image.lock import Lock

_PIECE = 1024 * 1024
_MAX_OUTLINE = 256 * 1024 * 1024
_MOST_OUTLINES = 32


def plan_images(
    needed: t.Sequence[Needed], planner: FetchPlanner, lock: Lock | None
) -> list[ImagePlan]:
    """Plan the images that a build needs, each once; raise the error of the first one that cannot be planned."""
    platforms: dict[str, dict[Platform, None]] = {}
    references: dict[str, tuple[Reference, Needed]] = {}
    for one in needed:
        reference = reference_of(one)
        references.setdefault(reference.store_name, (reference, one))
        platforms.setdefault(reference.store_name, {})[one.platform] = None
    requests = [
        ImageRequest.of(reference, list(platforms[name]), lock)
        for name, (reference, _one) in references.items()
    ]
    plans = planner.plan_all(requests)
    for name, error in planner.failures.items():
        place = references[name][1].place
        raise type(error)(f"{place}: {error}", error.hint, **error.details)
    return plans


def reference_of(one: Needed) -> Reference:
    """Return the reference of an image; raise ReferenceError, which names the line, for an invalid one."""
    try:
        return Reference.parse(one.name)
    except errors.ReferenceError as exc:
        raise errors.ReferenceError(f"{one.place}: {exc}", exc.hint) from exc


class BaseImages:
    """The images of ``plans`` as a build reads them. Close it in the end.

    A layer that the store lacks is downloaded to a file without a name, but only if its files are needed.
    """

    def __init__(
        self, store: ImageStore, plans: t.Sequence[ImagePlan], policy: ChunkPolicy
    ) -> None:
        self._store, self._policy = store, policy
        self._plans = {plan.name: plan for plan in plans}
        self._fetches = {
            action.descriptor.digest: action
            for plan in plans
            for action in plan.content
            if isinstance(action, FetchBlob)
        }
        self._downloads: dict[Descriptor, _Download] = {}
        self._read: dict[str, bytes] = {}  # by the path of its file

    def close(self) -> None:
        """Give back the space of downloads."""
        for one in self._downloads.values():
            one.close()

    def images(self, needed: t.Sequence[Needed]) -> Images:
        """Return the images by name and platform."""
        return {(one.name, one.platform): self._image(one) for one in needed}

    def plans(self) -> list[ImagePlan]:
        """Return the plans; they take what is downloaded already from there."""
        return [
            plan._replace(content=list(map(self._cheaper, plan.content)))
            for plan in self._plans.values()
        ]

    def outline(self, image: BaseImage) -> ImageTree:
        """Return a new tree of the directories and links of an image; its layers are read once on a host."""
        if not image.layers:
            return ImageTree()
        path = self._outline_path(image)
        data = self._read.get(path) or _kept(path)
        tree = decode(data) if data else None
        if tree is None:
            tree = self.full(image)
            self._read[path] = encode(tree)
        return tree

    def full(self, image: BaseImage) -> ImageTree:
        """Return a new tree of everything in an image."""
        inflaters()
        tree = ImageTree()
        tree.read(image.layers)
        return tree

    def save(self) -> None:
        """Keep the outlines that were read in the store. They only save time: a failure is ignored."""
        for path, data in self._read.items():
            with contextlib.suppress(errors.StoreError):
                make_directory(os.path.dirname(path))
                write_file(path, self._store_staging, data)
                _drop_oldest(os.path.dirname(path))

    @property
    def _store_staging(self) -> str:
        return os.path.join(self._store.path, ".staging")

    def _outline_path(self, image: BaseImage) -> str:
        chain = chain_ids(image.config.diff_ids)[-1]
        return os.path.join(
            self._store_staging, "outlines", f"{chain.algorithm}-{chain.encoded}.json"
        )

    def _image(self, one: Needed) -> BaseImage:
        reference = reference_of(one)
        plan = self._plans[reference.store_name]
        image = _chosen(plan, one.platform)
        config = image.manifest.config
        found = plan.configs.get(config.digest) if config else None
        if found is None:
            raise errors.UnsupportedError(
                f"{one.place}: {plan.name} is an artifact, which no image can start from"
            )
        layers, diff_ids = image.manifest.layers, found.diff_ids
        if len(layers) != len(diff_ids):
            raise errors.ManifestError(
                f"{one.place}: {plan.name} has {len(layers)} layers, but its configuration states {len(diff_ids)} diff ids"
            )
        return BaseImage(
            plan.name,
            plan.target.target.digest,
            image.descriptor,
            found,
            tuple(
                BaseLayer(blob, diff_id, self._opener(blob), decompressor(blob))
                for blob, diff_id in zip(layers, diff_ids)
            ),
        )

    def _opener(self, blob: Descriptor) -> t.Callable[[], t.ContextManager[t.BinaryIO]]:
        def open_blob() -> t.ContextManager[t.BinaryIO]:
            if self._store.has(blob):
                path = self._store.blob_path(blob.digest)
                with access(path):
                    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
                    return os.fdopen(os.open(path, flags), "rb", buffering=0)
            return self._download(blob).opened()

        return open_blob

    def _download(self, blob: Descriptor) -> _Download:
        if blob not in self._downloads:
            action = self._fetches.get(blob.digest)
            if action is None:  # a foreign layer
                raise errors.NotInStoreError(f"{self._store.path} does not hold {blob.digest}")
            found = self._downloads[blob] = _Download(blob)
            with Pool(1) as pool:
                fetch().copy_blob(blob, action.source, found, pool, self._policy)
        return self._downloads[blob]

    def _cheaper(self, action: t.Any) -> t.Any:
        found = self._downloads.get(action.descriptor)
        return action.replaced(source=found, others=()) if found else action


def _kept(path: str) -> bytes | None:
    with contextlib.suppress(FileNotFoundError, errors.StoreError):
        return read_file(path, _MAX_OUTLINE)
    return None


def _chosen(plan: ImagePlan, platform: Platform) -> Image:
    return next((one for one in plan.images if one.wanted == platform), plan.images[0])


def _drop_oldest(directory: str) -> None:
    """Remove the outlines that were not written for longest."""
    with contextlib.suppress(OSError):
        paths = [os.path.join(directory, name) for name in os.listdir(directory)]
        for path in sorted(paths, key=os.path.getmtime, reverse=True)[_MOST_OUTLINES:]:
            os.unlink(path)


class _Download(ContentSource):
    """A blob in a file without a name: the sink of one download, and then a source."""

    in_order = True
    resumed = 0

    def __init__(self, blob: Descriptor) -> None:
        self.size = blob.size
        self._blob, self._hash = blob, BlobHash(blob)
        directory = os.environ.get("TMPDIR") or "/var/tmp"
        self._file = tempfile.TemporaryFile(dir=directory, buffering=0)  # noqa: SIM115

    def __str__(self) -> str:
        return "the download of the plan"

    def close(self) -> None:
        """Give the space back."""
        self._file.close()

    def has(self, descriptor: Descriptor) -> bool:
        """Return False: it is made to be filled."""
        return False

    def write(self, offset: t.Any, chunk: t.Any) -> None:
        """Write the next bytes, or the whole blob if ``offset`` is its descriptor."""
        data = b"".join(chunk) if isinstance(offset, Descriptor) else chunk
        self._hash.update(data)
        view = memoryview(data)
        with access("the download of a layer"):
            while view:
                view = view[self._file.write(view) :]

    @contextlib.contextmanager
    def open_partial(self, descriptor: Descriptor) -> t.Iterator[_Download]:
        """Open it for writing."""
        yield self

    def missing(self) -> list[Span]:
        """Return the bytes that are still to be written."""
        done = self._hash.hashed
        return [(done, self.size)] if done < self.size else []

    def hash_ahead(self) -> None:
        """Do nothing: bytes are hashed as they are written."""

    def reset(self) -> None:
        """Drop all bytes."""
        self._hash.reset()
        self._file.seek(0)
        self._file.truncate()

    def finish(self) -> None:
        """Verify the bytes."""
        try:
            self._hash.require_match()
        except errors.DigestMismatchError:
            self.reset()
            raise

    @contextlib.contextmanager
    def opened(self) -> t.Iterator[t.BinaryIO]:
        """Open the blob for reading."""
        with os.fdopen(os.dup(self._file.fileno()), "rb", buffering=0) as file:
            file.seek(0)
            yield t.cast(t.BinaryIO, file)

    def read_blob(
        self, descriptor: Descriptor, span: Span | None = None, retry: bool = True
    ) -> Blob:
        """Return a span of the blob."""
        first, end = span or (0, self.size)
        return (first, end), self._span(first, end)

    def _span(self, first: int, end: int) -> t.Generator[bytes, None, None]:
        while first < end:
            data = os.pread(self._file.fileno(), min(_PIECE, end - first), first)
            first += len(data)
            yield data
