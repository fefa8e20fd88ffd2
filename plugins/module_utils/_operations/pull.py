# SPDX-License-Identifier: GPL-3.0-or-later
"""Pull: a store gets the images that registries hold under some names."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field

from ansible_collections.lockstep.images.plugins.module_utils._oci.closure import (
    Closure,
    Image,
    walk,
)
from ansible_collections.lockstep.images.plugins.module_utils._oci.descriptor import Descriptor
from ansible_collections.lockstep.images.plugins.module_utils._oci.digest import Digest
from ansible_collections.lockstep.images.plugins.module_utils._oci.errors import (
    DigestMismatchError,
    InputError,
    NotFoundError,
    NotInStoreError,
)
from ansible_collections.lockstep.images.plugins.module_utils._oci.fetch import copy_blob, verified
from ansible_collections.lockstep.images.plugins.module_utils._oci.manifest import (
    MAX_MANIFEST,
    ImageConfig,
    Manifest,
)
from ansible_collections.lockstep.images.plugins.module_utils._oci.platforms import Platform
from ansible_collections.lockstep.images.plugins.module_utils._oci.protocols import (
    ContentSource,
    Sources,
)
from ansible_collections.lockstep.images.plugins.module_utils._oci.reference import Reference
from ansible_collections.lockstep.images.plugins.module_utils._oci.store import (
    ImageStore,
    Name,
    store_name,
)
from ansible_collections.lockstep.images.plugins.module_utils._plan import (
    FetchBlob,
    Plan,
    SetName,
    StoreContent,
    in_parallel,
)

Content = t.Union[StoreContent, FetchBlob]

ALWAYS, MISSING, NEVER = "always", "missing", "never"


@dataclass
class _Wanted:
    """One name: where it points, where it shall point, and the content on the way there that is not here yet."""

    name: str
    before: Name | None
    target: Name
    closure: Closure
    asked: tuple[Image, ...]
    configs: dict[Digest, ImageConfig]
    content: list[Content]
    warnings: list[str] = field(default_factory=list)

    @property
    def status(self) -> str:
        if self.before is not None and self.before.target.digest != self.target.target.digest:
            return "updated"
        return (
            "downloaded"
            if self.before is None or self.content or self.before != self.target
            else "up_to_date"
        )


def plan_pull(
    references: t.Sequence[Reference],
    *,
    platforms: t.Sequence[Platform],
    policy: str,
    sources: Sources,
    store: ImageStore,
    workers: int,
    all_tags: bool = False,
) -> Plan:
    """Bring every reference, for each of the platforms, into the store.

    ``policy`` is ``always`` (ask what a tag stands for now), ``missing`` (a name that is there is good enough) or
    ``never`` (no registry is asked, everything has to be there). A reference by digest is never asked twice.
    """
    if all_tags:
        references = _expand_tags(references, sources, policy, workers)
    names = store.names()

    def want(reference: Reference) -> _Wanted:
        source = None if policy == NEVER else sources.repository(reference)
        return _Reader(reference, source, store).want(
            names.get(store_name(reference)), platforms, policy
        )

    wanted = list(in_parallel(want, _each_once(references), workers))
    content = {action.descriptor.digest: action for want in wanted for action in want.content}
    to_fetch = sum(
        action.descriptor.size for action in content.values() if isinstance(action, FetchBlob)
    )
    moved = [want for want in wanted if want.before != want.target]
    return Plan(
        content=tuple(content.values()),
        names=tuple(SetName(want.name, want.target, want.before, store) for want in moved),
        before={want.name: _shown(want.before) for want in wanted if want.before},
        after={want.name: _shown(want.target) for want in wanted},
        facts={"images": [entry for want in wanted for entry in _entries(want)]},
        workers=workers,
        prepare=store.prepare,
        stats=lambda: {"bytes_to_fetch": to_fetch, **sources.stats()},
        warnings=lambda: [*sources.warnings, *(text for want in wanted for text in want.warnings)],
    )


class _Reader:
    """Reads one image from the store where it can, and from its repository where it must."""

    def __init__(
        self, reference: Reference, source: ContentSource | None, store: ImageStore
    ) -> None:
        self.reference = reference
        self.source = source
        self.store = store
        self._read: dict[Digest, Manifest] = {}

    def want(self, before: Name | None, platforms: t.Sequence[Platform], policy: str) -> _Wanted:
        root = self._root(before, policy)
        asked = [str(platform) for platform in platforms]
        every = dict.fromkeys(asked)
        if before and before.target.digest == root.digest:
            # What an earlier task asked for stays: two tasks with a platform each must not undo one another.
            every.update(dict.fromkeys(before.platforms))
        closure = walk(
            root, [Platform.parse(text) for text in every], self._manifest, str(self.reference)
        )
        is_index = closure.images[0].wanted is not None
        chosen = tuple(
            image for image in closure.images if not is_index or str(image.wanted) in asked
        )
        content: list[Content] = [
            StoreContent(descriptor, manifest.raw, self.store)
            for descriptor, manifest in closure.manifests
            if not self.store.has(descriptor) or descriptor.digest in self._read
        ]
        configs = self._configs(closure, content)
        have = {action.descriptor.digest for action in content}
        content += [
            FetchBlob(blob, self._require_source(f"{blob.digest} of it"), self.store)
            for blob in closure.blobs
            if blob.digest not in have and not self.store.has(blob)
        ]
        target = Name(root, tuple(sorted(every)) if is_index else ())
        wanted = _Wanted(
            store_name(self.reference), before, target, closure, chosen, configs, content
        )
        wanted.warnings = [
            text for image in chosen for text in self._doubts(image, configs, platforms)
        ]
        return wanted

    def _root(self, before: Name | None, policy: str) -> Descriptor:
        pinned = self.reference.digest
        if pinned is None and before and policy != ALWAYS:
            pinned = before.target.digest
        if pinned is not None:
            digest = pinned
        else:
            digest = self._require_source("it").resolve(str(self.reference.tag))
        if before and before.target.digest == digest:
            manifest = self._local(digest, before.target.media_type)
            if manifest:
                return Descriptor(before.target.media_type, digest, len(manifest.raw))
        manifest = self._local(digest)
        if manifest:
            return Descriptor(manifest.media_type, digest, len(manifest.raw))
        source = self._require_source("it")
        try:
            descriptor, manifest = source.read_manifest(digest)
        except NotFoundError:
            if pinned is not None:
                raise
            # The tag has moved, and what it stood for is gone already.
            descriptor, manifest = source.read_manifest(str(self.reference.tag))
        self._read[descriptor.digest] = manifest
        return descriptor

    def _local(self, digest: Digest, media_type: str = "") -> Manifest | None:
        return self._read.get(digest) or self.store.manifest(digest, media_type)

    def _manifest(self, descriptor: Descriptor) -> Manifest:
        manifest = self._local(descriptor.digest, descriptor.media_type)
        if manifest is None:
            manifest = self._require_source(f"{descriptor.digest} of it").read_manifest(
                descriptor.digest
            )[1]
            self._read[descriptor.digest] = manifest
        return manifest

    def _configs(self, closure: Closure, content: list[Content]) -> dict[Digest, ImageConfig]:
        """The configurations of the images, read now because they tell the platform and belong to the facts."""
        configs: dict[Digest, ImageConfig] = {}
        for image in closure.images:
            descriptor = image.manifest.config
            if descriptor is None or descriptor.digest in configs or not descriptor.is_image_config:
                continue
            raw = self._local_config(descriptor)
            if raw is None:
                raw = self._fetch_config(descriptor)
                content.append(StoreContent(descriptor, raw, self.store))
            configs[descriptor.digest] = ImageConfig.parse(
                raw, f"{self.reference}: config {descriptor.digest}"
            )
        return configs

    def _local_config(self, descriptor: Descriptor) -> bytes | None:
        try:
            return self.store.read(descriptor.digest) if self.store.has(descriptor) else None
        except (NotFoundError, DigestMismatchError):
            return None

    def _fetch_config(self, descriptor: Descriptor) -> bytes:
        if descriptor.size > MAX_MANIFEST:
            raise InputError(
                f"{self.reference}: its config has {descriptor.size} bytes, more than {MAX_MANIFEST}"
            )
        memory = _Memory()
        copy_blob(descriptor, self._require_source(f"{descriptor.digest} of it"), memory)
        return memory.data

    def _doubts(
        self, image: Image, configs: t.Mapping[Digest, ImageConfig], platforms: t.Sequence[Platform]
    ) -> list[str]:
        """Warnings about an image that may not run here: it is what was asked for, so it is no error."""
        config = configs.get(image.manifest.config.digest) if image.manifest.config else None
        if config is None or config.platform is None:
            return []
        promised = image.descriptor.platform
        if promised and promised.rank(config.platform) is None:
            return [
                f"{self.reference}: the index calls it {promised}, its configuration {config.platform}"
            ]
        wanted = [image.wanted] if image.wanted else platforms
        unfit = [str(platform) for platform in wanted if platform.rank(config.platform) is None]
        return (
            [f"{self.reference}: is for {config.platform}, not for {', '.join(unfit)}"]
            if unfit
            else []
        )

    def _require_source(self, what: str) -> ContentSource:
        if self.source is None:
            raise NotInStoreError(
                f"{self.reference}: {self.store.path} does not hold {what}",
                "Pull it once without pull=never.",
            )
        return self.source


class _Memory:
    """A sink for one small blob."""

    def __init__(self) -> None:
        self.data = b""

    def has(self, descriptor: Descriptor) -> bool:
        return False

    def write(self, descriptor: Descriptor, chunks: t.Iterable[bytes]) -> None:
        self.data = b"".join(verified(chunks, descriptor))

    def set_name(self, name: str, target: t.Any, expected: t.Any) -> None:
        raise NotImplementedError


def _each_once(references: t.Iterable[Reference]) -> list[Reference]:
    """Every name once, in the order given; raises InputError when one name is pinned to two digests."""
    found: dict[str, Reference] = {}
    for reference in references:
        other = found.setdefault(store_name(reference), reference)
        if other != reference:
            raise InputError(
                f"{store_name(reference)} is asked for twice, as {other} and as {reference}"
            )
    return list(found.values())


def _expand_tags(
    references: t.Sequence[Reference], sources: Sources, policy: str, workers: int
) -> list[Reference]:
    if policy == NEVER:
        raise InputError("all_tags asks a registry for its tags, which pull=never forbids")
    for reference in references:
        if reference.digest or reference.tag != "latest":  # which is what a name without a tag has
            raise InputError(f"{reference}: with all_tags a name must have neither tag nor digest")

    def expand(reference: Reference) -> list[Reference]:
        return [reference.with_tag(tag) for tag in sources.repository(reference).tags()]

    return [
        reference
        for tags in in_parallel(expand, _each_once(references), workers)
        for reference in tags
    ]


def _entries(want: _Wanted) -> list[dict[str, t.Any]]:
    return [
        {
            "name": want.name,
            "digest": str(want.target.target.digest),
            "id": str(image.manifest.config.digest) if image.manifest.config else None,
            "platform": _platform_of(image, want.configs),
            "size": image.size,
            "status": want.status,
            "layers": [layer.as_result() for layer in image.manifest.layers],
        }
        for image in want.asked
    ]


def _platform_of(image: Image, configs: t.Mapping[Digest, ImageConfig]) -> str | None:
    config = configs.get(image.manifest.config.digest) if image.manifest.config else None
    platform = image.descriptor.platform or (config.platform if config else None)
    return str(platform) if platform else None


def _shown(name: Name | None) -> str:
    if name is None:
        return ""
    platforms = f" ({', '.join(name.platforms)})" if name.platforms else ""
    return f"{name.target.digest}{platforms}"
