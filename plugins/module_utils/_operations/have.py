# SPDX-License-Identifier: GPL-3.0-or-later
"""What the target of an export has, as a user says it: a lock file, a result of a module, digests, or a list of files."""

from __future__ import annotations

import typing as t

from .._archive.sums import digests_in
from .._image import errors
from .._image.chain import chain_ids
from .._image.lock import Lock
from .._image.manifest import Descriptor, Manifest
from .._image.names import ALL, Digest
from .._image.walk import walk
from .._store.reader import StoreReader
from .reach import manifest_of

_FORMS = (
    "Give a lock file, a result of lockstep.images.image_info or engine_info, digests,"
    " or the content of the .sha256 file of another archive."
)


class Have:
    """The content that a target has. ``chains`` are the chain ids of layers that an engine has without their digests."""

    def __init__(self, store: StoreReader) -> None:
        """Read manifests in ``store``: content of images that it lacks is unknown, and so is not left out."""
        self.chains: set[str] = set()
        self._digests: set[Digest] = set()
        self._found: set[Digest] = set()  # by their chain ids
        self._needed: set[Digest] = set()  # in chains that the engine lacks
        self._store = store

    @property
    def digests(self) -> set[Digest]:
        """The content that an archive can leave out, once ``learn`` has seen all its images."""
        return self._digests | (self._found - self._needed)

    def add(self, value: t.Any) -> None:
        """Add what a value states; raise InputError for anything that states nothing."""
        if isinstance(value, (list, tuple)):
            for item in value:
                self.add(item)
        elif isinstance(value, str) and digests_in(value):
            for digest in digests_in(value):
                self._add_digest(digest)
        elif isinstance(value, t.Mapping) and "lockfile_version" in value:
            self._add_lock(Lock.parse(value))
        elif isinstance(value, t.Mapping) and isinstance(value.get("images"), list):
            add = self._add_loaded if "engine" in value else self._add_stored
            for entry in value["images"]:
                add(_checked(entry))
        else:
            text = errors.printable(repr(value), 60)
            raise errors.InputError(
                f"the option have: {text} does not say what the target has", _FORMS
            )

    def learn(self, layers: t.Sequence[Descriptor], diff_ids: t.Sequence[Digest]) -> None:
        """Add the layers of an image that an engine has by their chain ids.

        A graph driver needs a layer again for an image that has it on another base.
        """
        chains = map(str, chain_ids(diff_ids))
        for layer, chain in zip(layers, chains):
            (self._found if chain in self.chains else self._needed).add(layer.digest)

    def _add_digest(self, digest: Digest, is_whole: bool = False) -> None:
        """Add content, with what a manifest lists. Of an index, a target has only some images, unless it ``is_whole``."""
        self._digests.add(digest)

        def read(descriptor: Descriptor) -> Manifest | None:
            return manifest_of(self._store, descriptor)

        manifest = self._manifest(digest)
        if manifest is None or (manifest.is_index and not is_whole):
            return
        root = Descriptor(manifest.media_type, digest, len(manifest.raw))
        for descriptor, found, _depth in walk(root, read):
            self._digests.add(descriptor.digest)
            self._digests.update(blob.digest for blob in (found.blobs if found else ()))

    def _manifest(self, digest: Digest) -> Manifest | None:
        try:
            return self._store.manifest(digest)
        except (errors.ContentError, errors.StoreAccessError):
            return None  # a blob

    def _add_lock(self, lock: Lock) -> None:
        for image in lock.images:
            for platform, locked in image.platforms.items():
                self._add_digest(locked.manifest, is_whole=platform == ALL)

    def _add_stored(self, entry: t.Mapping[str, t.Any]) -> None:
        """Add an entry of image_info, if nothing of the image is missing."""
        if entry.get("complete"):
            for layer in entry.get("layers") or ():
                self._digests.update(digests_in(str(_checked(layer).get("digest"))))

    def _add_loaded(self, entry: t.Mapping[str, t.Any]) -> None:
        """Add an entry of engine_info: its layers by their chain ids, or those of the manifest that it is called by."""
        self.chains.update(map(str, entry.get("layers") or ()))
        if entry.get("complete"):
            for digest in digests_in(str(entry.get("id"))):
                self._add_digest(digest)


def _checked(entry: t.Any) -> t.Mapping[str, t.Any]:
    if not isinstance(entry, t.Mapping):
        text = errors.printable(repr(entry), 60)
        raise errors.InputError(f"the option have: {text} is not an image", _FORMS)
    return entry
