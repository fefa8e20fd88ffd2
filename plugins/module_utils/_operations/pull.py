# SPDX-License-Identifier: GPL-3.0-or-later
"""Pull: a store gets what registries hold."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, replace

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
    DependencyError,
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
    FetchBlob,
    SetName,
    StoreContent,
)
from ansible_collections.lockstep.images.plugins.module_utils._plan import (
    Plan,
    in_parallel,
)

T = t.TypeVar("T")

PIECES = Pieces()
ALWAYS, NEVER = "always", "never"

Content = t.Union[StoreContent, FetchBlob]


@dataclass
class _Wanted:
    name: str
    before: Name | None
    target: Name
    images: tuple[Image, ...]
    configs: dict[Digest, ImageConfig]
    sizes: dict[Digest, int]
    content: list[Content]
    warnings: list[str]

    @property
    def lacks(self) -> int:
        return sum(action.descriptor.size for action in self.content)

    @property
    def status(self) -> str:
        if self.before and self.before.target.digest != self.target.target.digest:
            return "updated"
        return "up_to_date" if self.before == self.target and not self.content else "downloaded"

    @property
    def shown_before(self) -> str:
        lacking = self.before == self.target and self.content
        return _shown(self.before) + (", incomplete" if lacking else "")

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
    platforms: t.Sequence[Platform],
    policy: str,
    sources: Sources,
    store: ImageStore,
    workers: int,
    all_tags: bool = False,
    pieces: Pieces = PIECES,
) -> Plan:
    """Bring every reference, for each platform, into the store; by digest nothing is asked twice."""
    failures: dict[str, LockstepError] = {}
    if all_tags:
        references = _expand_tags(references, sources, policy, workers, failures)
    names = store.names()

    def want(reference: Reference) -> _Wanted:
        source = None if policy == NEVER else sources.repository(reference)
        return _Reader(reference, source, store, pieces).want(
            names.get(store_name(reference)), platforms, policy
        )

    wanted = _each(want, _each_once(references), workers, failures)
    content = _merged(wanted)
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


def _merged(wanted: t.Sequence[_Wanted]) -> tuple[Content, ...]:
    """Each content once, with all that waits for it: first the image that lacks least, and of it what is small."""
    users: dict[tuple[Digest, int], list[tuple[_Wanted, Content]]] = {}
    for want in wanted:
        for action in want.content:
            # Another size is another promise, of which one is wrong.
            key = (action.descriptor.digest, action.descriptor.size)
            users.setdefault(key, []).append((want, action))
    content: list[Content] = []
    for (_digest, size), pairs in users.items():
        names = tuple(want.name for want, _action in pairs)
        urgency = (min(want.lacks for want, _action in pairs), size)
        action = replace(pairs[0][1], names=names, urgency=urgency)
        if isinstance(action, FetchBlob):
            sources = {
                str(one.source): one.source for _want, one in pairs if isinstance(one, FetchBlob)
            }
            action = replace(action, others=tuple(sources.values())[1:])
        content.append(action)
    return tuple(content)


def _each(
    function: t.Callable[[Reference], T],
    references: t.Sequence[Reference],
    workers: int,
    failures: dict[str, LockstepError],
) -> list[T]:
    """What a function says of each reference, at the same time; errors go to ``failures``."""

    def attempt(reference: Reference) -> T | LockstepError:
        try:
            return function(reference)
        except DependencyError:
            raise
        except LockstepError as exc:
            return exc

    found = []
    for reference, answer in zip(references, in_parallel(attempt, references, workers)):
        if isinstance(answer, LockstepError):
            failures[store_name(reference)] = answer
        else:
            found.append(answer)
    return found


class _Reader:
    def __init__(
        self,
        reference: Reference,
        source: ContentSource | None,
        store: ImageStore,
        pieces: Pieces,
    ) -> None:
        self._reference = reference
        self._source = source
        self._store = store
        self._pieces = pieces
        self._read: dict[Digest, Manifest] = {}

    def want(self, before: Name | None, platforms: t.Sequence[Platform], policy: str) -> _Wanted:
        root = self._root(before, policy)
        asked = [str(platform) for platform in platforms]
        every = dict.fromkeys(asked)
        if before and before.target.digest == root.digest:
            # What an earlier task asked for stays: two tasks with a platform each must not undo one another.
            every.update(dict.fromkeys(before.platforms))
        closure = walk(
            root, [Platform.parse(text) for text in every], self._manifest, str(self._reference)
        )
        is_index = closure.images[0].wanted is not None
        images = tuple(
            image for image in closure.images if not is_index or str(image.wanted) in asked
        )
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
            if blob.digest not in have and not self._store.has(blob)
        ]
        target = Name(root, tuple(sorted(every)) if is_index else ())
        whole = [*(descriptor for descriptor, _manifest in closure.manifests), *closure.blobs]
        sizes = {descriptor.digest: descriptor.size for descriptor in whole}
        name = store_name(self._reference)
        wanted = _Wanted(name, before, target, images, configs, sizes, content, [])
        wanted.warnings = [
            text
            for image in images
            for text in self._doubts(image, wanted.config(image), platforms)
        ]
        return wanted

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


def _expand_tags(
    references: t.Sequence[Reference],
    sources: Sources,
    policy: str,
    workers: int,
    failures: dict[str, LockstepError],
) -> list[Reference]:
    if policy == NEVER:
        raise InputError("all_tags asks a registry for its tags, which pull=never forbids")
    for reference in references:
        if reference.digest or reference.tag != "latest":
            raise InputError(f"{reference}: all_tags takes a name with neither tag nor digest")

    def expand(reference: Reference) -> list[Reference]:
        return [reference.with_tag(tag) for tag in sources.repository(reference).tags()]

    expanded = _each(expand, _each_once(references), workers, failures)
    return [reference for tagged in expanded for reference in tagged]


def _shown(name: Name | None) -> str:
    platforms = f" ({', '.join(name.platforms)})" if name and name.platforms else ""
    return f"{name.target.digest}{platforms}" if name else ""
