# SPDX-License-Identifier: GPL-3.0-or-later
"""Pull: a store gets what registries hold."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from ansible_collections.lockstep.images.plugins.module_utils._oci.content import (
    MAX_MANIFEST,
    Closure,
    ContentSource,
    Descriptor,
    Image,
    ImageConfig,
    Manifest,
    Sources,
    walk,
)
from ansible_collections.lockstep.images.plugins.module_utils._oci.errors import (
    DigestMismatchError,
    InputError,
    LockstepError,
    NotFoundError,
    NotInStoreError,
)
from ansible_collections.lockstep.images.plugins.module_utils._oci.fetch import (
    Pieces,
    read_content,
)
from ansible_collections.lockstep.images.plugins.module_utils._oci.names import (
    ALL,
    Digest,
    Platform,
    Reference,
)
from ansible_collections.lockstep.images.plugins.module_utils._oci.store import (
    ImageStore,
    Name,
    store_name,
)
from ansible_collections.lockstep.images.plugins.module_utils._operations.copying import (
    Content,
    FetchBlob,
    SetName,
    StoreContent,
    merged,
)
from ansible_collections.lockstep.images.plugins.module_utils._operations.referrers import (
    expand_tags,
    follow,
    referrers_of,
)
from ansible_collections.lockstep.images.plugins.module_utils._plan import (
    Plan,
    each,
)

PIECES = Pieces()
ALWAYS, NEVER = "always", "never"


@dataclass
class _Wanted:
    reference: Reference
    name: str
    before: Name | None
    target: Name
    images: tuple[Image, ...]
    configs: dict[Digest, ImageConfig]
    sizes: dict[Digest, int]
    content: list[Content]
    warnings: list[str]

    @property
    def status(self) -> str:
        if self.before and self.before.target.digest != self.target.target.digest:
            return "updated"
        return "up_to_date" if self.before == self.target and not self.content else "downloaded"

    @property
    def shown_before(self) -> str:
        lacking = self.before == self.target and self.content
        return _shown(self.before) + (", incomplete" if lacking else "")

    @property
    def digests(self) -> list[Digest]:
        images = (image.descriptor.digest for image in self.images)
        return list(dict.fromkeys([self.target.target.digest, *images]))

    def config(self, image: Image) -> ImageConfig | None:
        return self.configs.get(image.manifest.config.digest) if image.manifest.config else None

    def entry(self, image: Image) -> dict[str, t.Any]:
        config = self.config(image)
        platform = image.descriptor.platform or (config.platform if config else None)
        return {
            "name": self.name,
            "digest": str(self.target.target.digest),
            "id": str(image.manifest.config.digest) if image.manifest.config else None,
            "platform": str(platform) if platform else None,
            "size": image.size,
            "status": self.status,
            "layers": [layer.as_result() for layer in image.manifest.layers],
        }


def plan_pull(
    references: t.Sequence[Reference],
    *,
    platforms: t.Sequence[Platform] | None,
    policy: str,
    sources: Sources,
    store: ImageStore,
    workers: int,
    all_tags: bool = False,
    pieces: Pieces = PIECES,
    referrers: bool = False,
    foreign: bool = False,
) -> Plan:
    """Bring every reference, for each platform (None: all), into the store; by digest nothing is asked twice."""
    failures: dict[str, LockstepError] = {}
    if policy == NEVER and (all_tags or referrers):
        raise InputError("all_tags and referrers ask a registry, which pull=never forbids")
    if all_tags:
        references = expand_tags(references, sources, workers, failures)
    names = store.names()

    def want(reference: Reference, platforms: t.Sequence[Platform] | None = platforms) -> _Wanted:
        source = None if policy == NEVER else sources.repository(reference)
        elsewhere = sources.foreign if foreign else None
        return _Reader(reference, source, store, pieces, elsewhere).want(
            names.get(store_name(reference)), platforms, policy
        )

    def look(one: _Wanted) -> list[Reference]:
        return referrers_of(one.reference, sources.repository(one.reference), one.digests)

    wanted = each(want, _each_once(references), store_name, workers, failures)
    if referrers:
        wanted += follow(wanted, look, lambda one: want(one, None), store_name, workers, failures)
    return _plan(wanted, failures, store, sources, workers)


def _plan(
    wanted: t.Sequence[_Wanted],
    failures: dict[str, LockstepError],
    store: ImageStore,
    sources: Sources,
    workers: int,
) -> Plan:
    content = merged(wanted)
    sizes = {digest: size for want in wanted for digest, size in want.sizes.items()}
    blobs = [action.descriptor for action in content if isinstance(action, FetchBlob)]
    staged = sum(map(store.staged, blobs))
    missing = sum(action.descriptor.size for action in content)
    digests = {action.descriptor.digest for action in content}
    store.require_space(missing - staged, digests)
    stats = {
        "bytes_to_fetch": sum(blob.size for blob in blobs) - staged,
        "bytes_reused": sum(size for digest, size in sizes.items() if digest not in digests),
    }
    return Plan(
        content=content,
        names=tuple(
            SetName(want.name, want.target, want.before, store)
            for want in wanted
            if want.before != want.target
        ),
        before={want.name: want.shown_before for want in wanted if want.before},
        after={want.name: _shown(want.target) for want in wanted},
        facts={"images": [want.entry(image) for want in wanted for image in want.images]},
        failures=failures,
        workers=workers,
        prepare=lambda: store.prepare(digests),
        stats=lambda: {**stats, "bytes_resumed": store.resumed, **sources.stats()},
        warnings=lambda: [*sources.warnings, *(text for want in wanted for text in want.warnings)],
    )


class _Reader:
    def __init__(
        self,
        reference: Reference,
        source: ContentSource | None,
        store: ImageStore,
        pieces: Pieces,
        elsewhere: t.Callable[[Reference, Descriptor], ContentSource] | None = None,
    ) -> None:
        self._reference = reference
        self._source = source
        self._store = store
        self._pieces = pieces
        self._elsewhere = elsewhere
        self._read: dict[Digest, Manifest] = {}

    def want(
        self, before: Name | None, platforms: t.Sequence[Platform] | None, policy: str
    ) -> _Wanted:
        root = self._root(before, policy)
        asked = [ALL] if platforms is None else [str(platform) for platform in platforms]
        every = dict.fromkeys(asked)
        if before and before.target.digest == root.digest:
            # What an earlier task asked for stays: two tasks with a platform each must not undo one another.
            every.update(dict.fromkeys(before.platforms))
        every = {ALL: None} if ALL in every else every
        closure = self._walk(root, every)
        images = closure.images
        if every.keys() != set(asked) and closure.manifests[-1][1].is_index:
            images = self._walk(root, asked).images
        foreign = [blob for blob in closure.blobs if blob.is_foreign]
        content: list[Content] = [
            StoreContent(descriptor, manifest.raw, self._store)
            for descriptor, manifest in closure.manifests
            if descriptor.digest in self._read or not self._store.has(descriptor)
        ]
        configs = self._configs(closure, content)
        have = {action.descriptor.digest for action in content}
        content += [
            FetchBlob(blob, self._required(blob.digest), self._store, self._pieces)
            for blob in closure.blobs
            if blob not in foreign and blob.digest not in have and not self._store.has(blob)
        ]
        if self._elsewhere:
            content += [
                FetchBlob(blob, self._elsewhere(self._reference, blob), self._store, self._pieces)
                for blob in foreign
                if not self._store.has(blob)
            ]
        is_index = closure.manifests[-1][1].is_index
        target = Name(root, tuple(sorted(every)) if is_index else ())
        whole = [*(descriptor for descriptor, _manifest in closure.manifests), *closure.blobs]
        sizes = {descriptor.digest: descriptor.size for descriptor in whole}
        name = store_name(self._reference)
        wanted = _Wanted(self._reference, name, before, target, images, configs, sizes, content, [])
        wanted.warnings = [
            text
            for image in images
            for text in self._doubts(image, wanted.config(image), platforms or ())
        ]
        if foreign and not self._elsewhere:
            wanted.warnings.append(
                f"{name}: {len(foreign)} foreign layers are left out, foreign_layers=fetch gets them"
            )
        return wanted

    def _walk(self, root: Descriptor, asked: t.Iterable[str]) -> Closure:
        platforms = None if ALL in asked else [Platform.parse(text) for text in asked]
        return walk(root, platforms, self._manifest, str(self._reference))

    def _root(self, before: Name | None, policy: str) -> Descriptor:
        pinned = self._reference.digest
        if pinned is None and before and policy != ALWAYS:
            pinned = before.target.digest
        digest = pinned or self._required("it").resolve(str(self._reference.tag))
        known = before.target.media_type if before and before.target.digest == digest else ""
        manifest = self._store.manifest(digest, known)
        if manifest:
            return Descriptor(known or manifest.media_type, digest, len(manifest.raw))
        source = self._required("it")
        try:
            descriptor, manifest = source.read_manifest(digest)
        except NotFoundError:
            if pinned is not None:
                raise
            # The tag has moved, and what it stood for is gone already.
            descriptor, manifest = source.read_manifest(str(self._reference.tag))
        self._read[descriptor.digest] = manifest
        return descriptor

    def _manifest(self, descriptor: Descriptor) -> Manifest:
        digest = descriptor.digest
        manifest = self._read.get(digest) or self._store.manifest(digest, descriptor.media_type)
        if manifest is None:
            manifest = self._read[digest] = self._required(digest).read_manifest(digest)[1]
        return manifest

    def _configs(self, closure: Closure, content: list[Content]) -> dict[Digest, ImageConfig]:
        configs: dict[Digest, ImageConfig] = {}
        for image in closure.images:
            descriptor = image.manifest.config
            if descriptor is None or descriptor.digest in configs or not descriptor.is_image_config:
                continue
            raw = self._local(descriptor)
            if raw is None:
                if descriptor.size > MAX_MANIFEST:
                    raise InputError(
                        f"{self._reference}: its config has {descriptor.size} bytes, more than {MAX_MANIFEST}"
                    )
                raw = read_content(descriptor, self._required(descriptor.digest))
                content.append(StoreContent(descriptor, raw, self._store))
            configs[descriptor.digest] = ImageConfig.parse(
                raw, f"{self._reference}: config {descriptor.digest}"
            )
        return configs

    def _local(self, descriptor: Descriptor) -> bytes | None:
        try:
            return self._store.read(descriptor.digest) if self._store.has(descriptor) else None
        except (NotFoundError, DigestMismatchError):
            return None

    def _doubts(
        self, image: Image, config: ImageConfig | None, platforms: t.Sequence[Platform]
    ) -> list[str]:
        """It is what was asked for, so it is no error."""
        there = config.platform if config else None
        if there is None:
            return []
        promised = image.descriptor.platform
        if promised and promised.rank(there) is None:
            return [f"{self._reference}: the index calls it {promised}, its configuration {there}"]
        wanted = [image.wanted] if image.wanted else platforms
        unfit = [str(platform) for platform in wanted if platform.rank(there) is None]
        return [f"{self._reference}: is for {there}, not for {', '.join(unfit)}"] if unfit else []

    def _required(self, what: Digest | str) -> ContentSource:
        if self._source is None:
            of_it = f"{what} of it" if isinstance(what, Digest) else what
            hint = "Pull it once without pull=never."
            raise NotInStoreError(
                f"{self._reference}: {self._store.path} does not hold {of_it}", hint
            )
        return self._source


def _each_once(references: t.Iterable[Reference]) -> list[Reference]:
    found: dict[str, Reference] = {}
    for reference in references:
        other = found.setdefault(store_name(reference), reference)
        if other != reference:
            raise InputError(
                f"{store_name(reference)} is asked for twice, as {other} and as {reference}"
            )
    return list(found.values())


def _shown(name: Name | None) -> str:
    platforms = f" ({', '.join(name.platforms)})" if name and name.platforms else ""
    return f"{name.target.digest}{platforms}" if name else ""
