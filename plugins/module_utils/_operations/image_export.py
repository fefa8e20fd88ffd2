# SPDX-License-Identifier: GPL-3.0-or-later
"""Export: images of a store go to an archive, in one file or in chunks."""

from __future__ import annotations

import contextlib
import functools
import os
import typing as t
from dataclasses import dataclass, field

from .._archive.bundle_files import BundleFiles
from .._archive.contents import ImageArchive
from .._archive.image_bundle import OCI, BundledImage, ImageBundle
from .._archive.media import open_media
from .._execution import Pool
from .._image import errors
from .._image.graph import Closure, closure_of
from .._image.lock import Lock, LockedImage, locked_platforms
from .._image.manifest import Descriptor, ImageConfig, Manifest
from .._image.names import ALL, Digest, Reference, platforms_of
from .._image.walk import images_of, walk
from .._plan import Action, Plan, PlanBuilder
from .._progress import PROGRESS
from .._store.reader import IndexEntry, StoreReader
from .._store.store import free_bytes
from .find import find_label, not_in_store
from .have import Have
from .naming import shown

DOCKER = "docker"
_PULL = "Pull it first, for the platforms to export."
_SUFFIXES = ("", ".sig", ".att", ".sbom")  # of the tags of referrers
_SHOWN = 3  # causes in an error
_LEVELS = 3  # of signatures of attestations of an image


class ExportOptions(t.NamedTuple):
    """What is exported, and to where; None for ``platforms`` means those of each name, for ``chunk_size`` one file."""

    dest: str
    form: str
    chunk_size: int | None
    platforms: t.Sequence[str] | None
    referrers: bool
    have: t.Any

    @classmethod
    def of(cls, params: t.Mapping[str, t.Any]) -> ExportOptions:
        """Return the options of a module; raise InputError for an invalid one."""
        size = params["chunk_size"]
        if size is not None and size < 1024 * 1024:
            raise errors.InputError("chunk_size must be at least 1 MiB")
        if not os.path.basename(params["dest"]):
            raise errors.InputError(f"dest: {params['dest']} is a directory, expected a file")
        platforms = params["platform"]
        if platforms is not None:
            parsed = platforms_of(platforms)
            platforms = [ALL] if parsed is None else sorted(map(str, parsed))
        return cls(
            params["dest"], params["format"], size, platforms, params["referrers"], params["have"]
        )


@dataclass(frozen=True)
class WriteArchive(Action):
    """Write the files of an archive that differ, and remove stale ones."""

    files: BundleFiles = field(repr=False)
    names: tuple[str, ...]

    def summary(self) -> dict[str, t.Any]:
        removed = list(self.files.stale)
        return {"action": "write_archive", "files": list(self.names), "removed": removed}

    def apply(self, pool: Pool) -> None:
        self.files.write()


class _Found(t.NamedTuple):
    """An image of the store: its entry in the lock file, if there is one, and everything that it needs."""

    locked: LockedImage | None
    points_at: IndexEntry
    closure: Closure


class ExportPlanner(PlanBuilder):
    """Plans an archive of images of a store."""

    def __init__(self, store: StoreReader, lock: Lock | None, options: ExportOptions) -> None:
        super().__init__(workers=1)
        self._store, self._lock, self._options = store, lock, options
        self._labelled = store.labelled()
        self._have = Have(store)
        if options.have is not None:
            self._have.add(options.have)
        # Of each image only what the result has, as there may be very many.
        self._entries: list[dict[str, t.Any]] = []
        self._after: dict[str, str] = {}
        self._doubts: list[str] = []

    def plan(self, names: t.Sequence[str] | None) -> Plan:
        """Return the plan; raise NoSpaceError if the archive does not fit."""
        if names is None:
            names = [one.name for one in self._lock.images] if self._lock else []
        labels: dict[str, str] = {}  # with what the user calls each
        for text in names:
            with self._failing(text):
                labels.setdefault(self._label(text), text)
        if self._options.referrers or self._have.chains:
            self._explore(labels)
        have = self._have.digests
        bundle = ImageBundle(self._options.form, without=have)
        for label in sorted(labels):
            with self._failing(labels[label]):
                self._add(label, bundle, have)
        self._require_all(len(names))
        return self._plan(bundle, have)

    @contextlib.contextmanager
    def _failing(self, text: str) -> t.Iterator[None]:
        """Keep an error as the failure of an image."""
        try:
            yield
        except errors.LockstepError as exc:
            self.failures[text] = exc

    def _require_all(self, count: int) -> None:
        """Raise the errors of images: an archive without them would look complete."""
        causes = list(self.failures.values())
        if len(causes) == 1:
            raise causes[0]
        if causes:
            more = f"; and {len(causes) - _SHOWN} more" if len(causes) > _SHOWN else ""
            raise errors.combine(f"{len(causes)} of {count} images failed: ", causes[:_SHOWN], more)

    def _plan(self, bundle: ImageBundle, have: t.Collection[Digest]) -> Plan:
        options, large, small = self._options, bundle.large, bundle.small
        whole = sum(small.values()) + sum(large[one] for one in large if one not in small)
        left_out = sum(large[one] for one in large if one in have)
        archive = bundle.archive(functools.partial(_open, self._store))
        files = BundleFiles(options.dest, archive, options.chunk_size, large.ordered)
        to_write = sum(one.end - one.first for one in files.wrong)
        self._require_space(to_write)
        PROGRESS.count = lambda: (0, 0, files.written, to_write)
        action = WriteArchive(files, tuple(one.name for one in files.wrong))
        return self.build(
            last=() if files.is_right else (action,),
            before=self._after if files.is_right else _held_in(options.dest),
            after=self._after,
            facts={
                "archive": options.dest,
                "sums": files.list_path,
                "fingerprint": files.made_from,
                "files": [{"name": one.name, "size": one.end - one.first} for one in files.files],
                "images": self._entries,
            },
            stats=lambda: {
                "bytes_whole": whole,
                "bytes_left_out": left_out,
                "bytes_archive": files.size,
                "bytes_to_write": to_write,
                "bytes_written": files.written,
            },
            warnings=functools.partial(list, self._doubts),
        )

    def _require_space(self, size: int) -> None:
        directory = os.path.dirname(self._options.dest) or "."
        free = free_bytes(directory)
        if size > free:
            raise errors.NoSpaceError(
                f"{self._options.dest}: {errors.readable_size(size)} needed, {errors.readable_size(free)} free",
                path=self._options.dest,
                missing=size - free,
            )

    # One image.

    def _label(self, text: str) -> str:
        """Return the full name of an image; raise NotInStoreError if the store has no such name."""
        label = find_label(text, self._labelled)
        if label is None:
            raise not_in_store(self._store, text)
        _require_full_name(label)
        return label

    def _found(self, label: str) -> _Found:
        """Return an image; raise NotInStoreError if a manifest of it is missing, LockError if it is not as locked."""
        points_at = self._labelled[label]
        locked = self._lock.image(Reference.parse(label)) if self._lock else None
        if locked and locked.digest != points_at.target.digest:
            raise errors.NotInStoreError(
                f"{self._store.path}: {label} is {points_at.target.digest}, {locked.place} has {locked.digest}",
                "Sync the store with the lock file first.",
            )
        root = points_at.target
        read = functools.partial(self._manifest, label)
        texts = self._options.platforms or (sorted(locked.platforms) if locked else ())
        texts = list(texts or points_at.platforms) or self._platforms_here(label, root)
        if locked:
            locked.require_platforms(texts)
        closure = closure_of(root, platforms_of(texts), read, label)
        if locked:
            locked.require_match(texts, root, closure, closure.images)
        kept = tuple(sorted(texts)) if closure.manifests[-1][1].is_index else ()
        return _Found(locked, IndexEntry(root, kept), closure)

    def _add(self, label: str, bundle: ImageBundle, have: t.Container[Digest]) -> None:
        """Add an image to the archive and to the result; raise NotInStoreError if content of it is missing."""
        locked, points_at, closure = self._found(label)
        root, texts = points_at
        blobs = [blob for blob in closure.blobs if not blob.is_foreign or self._store.has(blob)]
        self._require(label, blobs)
        configs = [one.manifest.config for one in closure.images if one.manifest.config]
        small = (*(one for one, _manifest in closure.manifests), *configs)
        large = tuple(blob for blob in blobs if blob not in configs)
        bundled = BundledImage(label, root, texts, small, large, _runnable(closure))
        doubt = self._doubt(bundled, closure)
        self._doubts += [doubt] if doubt else []
        bundle.add(bundled, self._locked(label, locked, points_at, closure))
        sizes, digest = {one.digest: one.size for one in (*small, *large)}, str(root.digest)
        self._entries.append(
            {
                "name": label,
                "digest": digest,
                "platforms": list(texts),
                "size": sum(sizes.values()),
                "left_out": sum(blob.digest in have for blob in large),
            }
        )
        self._after[label] = shown(points_at) if texts else digest

    def _locked(
        self, label: str, locked: LockedImage | None, points_at: IndexEntry, closure: Closure
    ) -> LockedImage:
        """Return the entry of an image in the lock file of the archive."""
        root, texts = points_at
        if locked is None:
            keys = texts or self._platform_of(label, closure)
            platforms = locked_platforms(keys, closure, closure.images)
            locked = LockedImage(label, root.digest, root.media_type, platforms)
        elif texts:
            kept = {key: locked.platforms[key] for key in texts}
            locked = LockedImage(
                label, root.digest, root.media_type, kept, verified=locked.verified
            )
        return locked

    def _doubt(self, bundled: BundledImage, closure: Closure) -> str:
        """Return what Docker cannot load; raise InputError if the archive is for Docker only."""
        if self._options.form == OCI or bundled.runnable:
            return ""
        many = len([one for one in closure.images if _is_runnable(one.manifest)]) > 1
        if not many and self._options.form != DOCKER:
            return ""  # an artifact
        what = "has several platforms" if many else "is an artifact"
        text = f"{bundled.name}: {what}, so it is not in manifest.json, which Docker with a graph driver reads"
        if self._options.form == DOCKER:
            raise errors.InputError(text, "Give one platform, or another format.")
        return text

    def _require(self, label: str, blobs: t.Sequence[Descriptor]) -> None:
        missing = [blob for blob in blobs if not self._store.has(blob)]
        if missing:
            more = f" and {len(missing) - 1} more blobs" if len(missing) > 1 else ""
            raise errors.NotInStoreError(
                f"{self._store.path} does not hold {missing[0].digest}{more} of {label}", _PULL
            )

    def _manifest(self, label: str, descriptor: Descriptor) -> Manifest:
        manifest = self._store.manifest(descriptor.digest, descriptor.media_type)
        if manifest is None:
            raise errors.NotInStoreError(
                f"{self._store.path} does not hold {descriptor.digest} of {label}", _PULL
            )
        return manifest

    def _platforms_here(self, label: str, root: Descriptor) -> list[str]:
        """Return the platforms of an index that another tool wrote: those whose images are in the store."""
        found, is_all = [], True

        def read(descriptor: Descriptor) -> Manifest | None:
            return self._store.manifest(descriptor.digest, descriptor.media_type)

        for descriptor, manifest, _depth in walk(root, read, images_of, label):
            if manifest is None:
                is_all = False
            elif descriptor.platform and not manifest.is_index:
                found.append(str(descriptor.platform))
        return [ALL] if is_all or not found else sorted(found)

    def _platform_of(self, label: str, closure: Closure) -> t.Sequence[str]:
        config = self._config(label, closure.images[0].manifest) if closure.images else None
        return [str(config.platform) if config and config.platform else ALL]

    def _config(self, label: str, manifest: Manifest) -> ImageConfig | None:
        config = manifest.config
        if config is None or not config.is_image_config:
            return None
        return ImageConfig.parse(
            self._store.read(config.digest), f"{label}: config {config.digest}"
        )

    def _learn(self, label: str, manifest: Manifest) -> None:
        config = self._config(label, manifest)
        if config:
            self._have.learn(manifest.layers, config.diff_ids)

    # What must be known before the first image is added.

    def _explore(self, labels: dict[str, str]) -> None:
        """Learn what an engine has of the images, and add what refers to them, and to that in turn.

        Only what the store has names for is added.
        """
        by_subject = self._by_subject() if self._options.referrers else {}
        latest = list(labels)
        for level in range(_LEVELS + 1):
            found: dict[str, str] = {}
            for label in latest:
                with self._failing(labels[label]):
                    closure = self._found(label).closure
                    for image in closure.images if self._have.chains else ():
                        self._learn(label, image.manifest)
                    if self._options.referrers and level < _LEVELS:
                        referrers = self._referrers(label, closure, by_subject)
                        found.update((one, one) for one in referrers if one not in labels)
            labels.update(found)
            latest = list(found)

    def _referrers(
        self,
        label: str,
        closure: Closure,
        by_subject: t.Mapping[tuple[str, Digest], list[str]],
    ) -> t.Iterator[str]:
        name = Reference.parse(label).name
        for digest in (one.digest for one in closure.contents):
            for suffix in _SUFFIXES:
                referrer = f"{name}:{digest.algorithm}-{digest.encoded[:64]}{suffix}"
                if referrer in self._labelled:
                    yield referrer
            yield from by_subject.get((name, digest), ())

    def _by_subject(self) -> dict[tuple[str, Digest], list[str]]:
        """Return the names by digest of manifests with a subject, by repository and subject."""
        found: dict[tuple[str, Digest], list[str]] = {}
        for label in self._labelled:
            if "/" in label and "@" in label:
                target = self._labelled[label].target
                manifest = self._store.manifest(target.digest, target.media_type)
                if manifest and manifest.subject:
                    key = label.partition("@")[0], manifest.subject.digest
                    found.setdefault(key, []).append(label)
        return found


def _open(store: StoreReader, digest: Digest) -> t.BinaryIO:
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
    return os.fdopen(os.open(store.blob_path(digest), flags), "rb", buffering=0)


def _require_full_name(label: str) -> None:
    """Raise InputError for an entry that another tool wrote without a full name."""
    with contextlib.suppress(errors.ReferenceError):
        if Reference.parse(label).store_name == label:
            return
    raise errors.InputError(
        f"{label}: is not the full name of an image",
        "Add a full name with lockstep.images.image_tag.",
    )


def _is_runnable(manifest: Manifest) -> bool:
    return bool(manifest.config and manifest.config.is_image_config) and not any(
        "in-toto" in layer.media_type for layer in manifest.layers
    )


def _runnable(closure: Closure) -> tuple[Descriptor, tuple[Descriptor, ...]] | None:
    images = [one.manifest for one in closure.images if _is_runnable(one.manifest)]
    if len(images) != 1:
        return None
    return t.cast(Descriptor, images[0].config), images[0].layers


def _held_in(dest: str) -> dict[str, str]:
    """Return the images of the archive that is there, {} if it cannot be read."""
    with contextlib.suppress(errors.LockstepError), open_media(dest) as media:
        return {
            one.reference.store_name: shown(IndexEntry(one.root, one.platforms))
            for one in ImageArchive(media).images
            if one.reference
        }
    return {}
