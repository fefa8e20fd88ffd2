# SPDX-License-Identifier: GPL-3.0-or-later
"""What push and copy are made of: images on their way to registries."""

from __future__ import annotations

import contextlib
import typing as t
from dataclasses import dataclass, field, replace

from .._image import errors
from .._image.copy_blob import read_config
from .._image.graph import Closure, Image, closure_of
from .._image.manifest import Descriptor, Manifest
from .._image.names import Digest, Platform, Reference
from .._image.sources import ContentSource, read_root
from .._plan import Action, Plan, PlanBuilder, Pool, in_parallel
from .._registry.registries import Registries
from .._registry.repository import referrers_tag
from .._registry.sink import RemoteSink
from .._registry.target import Uploads
from .copying import Content, FetchBlob, merged, shorten_images
from .referrers import follow, referrers_of


@dataclass(frozen=True)
class PushBlob(FetchBlob):
    """Send one blob, or have it mounted."""

    def summary(self) -> dict[str, t.Any]:
        return dict(self.descriptor.as_result(), action="push_blob", destination=str(self.sink))

    def apply(self, pool: Pool) -> None:
        try:
            super().apply(pool)
        except errors.TruncatedError as exc:
            cause = exc.__cause__
            if isinstance(cause, errors.RegistryError):  # what the registry said in the end
                raise cause from None  # pylint: disable=raising-non-exception
            raise


@dataclass(frozen=True)
class PublishImage(Action):
    """Send the manifests of an image, children first, and the last one under its tag."""

    name: str
    target: Reference
    manifests: tuple[Manifest, ...] = field(repr=False)
    sink: RemoteSink = field(repr=False)
    previous: Digest | None = None

    @property
    def subject(self) -> str:
        return self.name

    def summary(self) -> dict[str, t.Any]:
        return {
            "action": "publish_image",
            "name": self.name,
            "digest": str(Digest.of(self.manifests[-1].raw)),
            "previous": str(self.previous) if self.previous else None,
        }

    def apply(self, pool: Pool) -> None:
        *children, root = self.manifests
        for manifest in children:
            self.sink.put_manifest(manifest)
        self.sink.put_manifest(root, str(self.target.digest or self.target.tag))


@dataclass(frozen=True)
class Transfer:
    """One image on its way; ``require`` raises when it is known that a blob cannot be had.

    ``called`` is what the store calls it, if that is no reference.
    """

    source: Reference
    target: Reference
    content: ContentSource = field(repr=False)
    sink: RemoteSink = field(repr=False)
    require: t.Callable[[Descriptor], None] = field(default=lambda _blob: None, repr=False)
    called: str = ""

    @property
    def name(self) -> str:
        """What it is called where it goes to."""
        return str(self.target)


@dataclass
class TransferPlan:
    """What a Transfer becomes: the blobs and manifests that are missing where it goes to.

    ``before`` is what stands there now. Without ``closure`` all is up to date, and nothing was read.
    """

    name: str
    transfer: Transfer
    before: Digest | None
    root: Descriptor
    closure: Closure | None = None
    content: list[Content] = field(default_factory=list)
    blobs: list[Descriptor] = field(default_factory=list)  # that have to be there
    manifests: list[Manifest] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    @property
    def status(self) -> str:
        if not self.manifests and not self.content:
            return "up_to_date"
        return "uploaded" if self.before in (None, self.root.digest) else "updated"

    @property
    def digests(self) -> list[Digest]:
        """Of what may be referred to."""
        images = self.closure.images if self.closure else ()
        return list(dict.fromkeys([self.root.digest, *(one.descriptor.digest for one in images)]))

    def entry(self) -> dict[str, t.Any]:
        return {
            "name": self.name,
            "source": self.transfer.called or self.transfer.source.store_name,
            "digest": str(self.root.digest),
            "status": self.status,
        }


class Sinks:
    """The repositories that a task sends to."""

    def __init__(self, registries: Registries, chunk_size: int) -> None:
        self.uploads = Uploads()
        self._registries = registries
        self._chunk_size = chunk_size
        self._known: dict[str, RemoteSink] = {}

    def of(self, reference: Reference) -> RemoteSink:
        """Where a reference goes to."""
        if reference.name not in self._known:
            repository = self._registries.origin(reference)
            self._known[reference.name] = RemoteSink(repository, self.uploads, self._chunk_size)
        return self._known[reference.name]

    def prepare_mounts(self, plans: t.Sequence[TransferPlan]) -> None:
        """Let every sink mount what other repositories of its registry have, or get in this task."""
        lacking: dict[RemoteSink, set[Digest]] = {}
        for one in plans:
            sink, source = one.transfer.sink, one.transfer.source
            digests = {action.descriptor.digest for action in one.content}
            lacking.setdefault(sink, set()).update(digests)
            if source.registry == sink.repository.registry.name:
                self.uploads.add(source.registry, source.repository, digests)
        for sink, digests in lacking.items():
            registry, own = sink.repository.registry.name, sink.repository.name
            near = {
                other.repository.name
                for other, others in lacking.items()
                if other.repository.registry.name == registry and others & digests
            }
            near |= {self.uploads.mount_source(registry, digest, own) for digest in digests}
            if near - {own, ""}:
                sink.mount_from(near - {own, ""})

    def stats(self) -> dict[str, t.Any]:
        """What sending has cost."""
        return {**self.uploads.stats(), **self._registries.stats()}


def plan_transfers(
    transfers: t.Sequence[Transfer],
    builder: PlanBuilder,
    *,
    sinks: Sinks,
    platform: Platform | None = None,
    allow: bool = False,
    force: bool = False,
    referrers: bool = False,
    holders: t.Callable[[], None] = tuple,  # type: ignore[assignment]
    warnings: t.Callable[[], t.Sequence[str]] = tuple,
) -> Plan:
    """Bring images to where they go; ``holders`` tells the uploads where missing blobs may be mounted from."""

    def plan(transfer: Transfer) -> TransferPlan:
        return _TransferReader(transfer, platform, allow, force, referrers).plan()

    def name_of(transfer: Transfer) -> str:
        return transfer.name

    plans = builder.each(plan, _each_once(transfers), name_of)
    if referrers:
        plans += follow(
            plans,
            _referring,
            lambda one: _TransferReader(one, None, allow, force, referrers).plan(),
            name_of,
            builder,
        )
    plans = _fill(plans, sinks, holders, builder)
    changing = [one for one in plans if one.manifests]
    content = merged(plans)
    to_send = sum(action.descriptor.size for action in content)
    return builder.build(
        content=content,
        names=tuple(
            PublishImage(
                one.name, one.transfer.target, tuple(one.manifests), one.transfer.sink, one.before
            )
            for one in changing
        ),
        before={one.name: str(one.before) for one in plans if one.before},
        after={one.name: str(one.root.digest) for one in plans},
        facts={"images": [one.entry() for one in plans]},
        shorten=shorten_images,
        stats=lambda: {"bytes_to_send": to_send, **sinks.stats()},
        warnings=lambda: [*warnings(), *(text for one in plans for text in one.warnings)],
    )


def _fill(
    plans: t.Sequence[TransferPlan],
    sinks: Sinks,
    holders: t.Callable[[], None],
    builder: PlanBuilder,
) -> list[TransferPlan]:
    """Find which blobs are missing where they go to, all at the same time, and what may be mounted."""
    blobs = {(one.transfer.sink, blob): one for one in plans for blob in one.blobs}

    def look(pair: tuple[RemoteSink, Descriptor]) -> None:
        # Who fails here fails again below, and then for itself.
        with contextlib.suppress(errors.LockstepError):
            pair[0].has(pair[1])

    in_parallel(look, blobs, builder.workers)

    def fill(plan: TransferPlan) -> TransferPlan:
        transfer = plan.transfer
        lacking = [blob for blob in plan.blobs if not transfer.sink.has(blob)]
        for blob in lacking:
            transfer.require(blob)
        plan.content = [PushBlob(blob, transfer.content, transfer.sink) for blob in lacking]
        return plan

    filled = builder.each(fill, plans, lambda one: one.name)
    if any(one.content for one in filled):
        holders()
        sinks.prepare_mounts(filled)
    return filled


class _TransferReader:
    """Finds what one image needs where it goes to."""

    def __init__(
        self,
        transfer: Transfer,
        platform: Platform | None,
        allow: bool,
        force: bool,
        whole: bool,
    ) -> None:
        self._allow = allow
        self._transfer = transfer
        self._platform = platform
        self._force = force
        self._whole = whole  # what refers to its children counts, too
        self._read: dict[Digest, Manifest] = {}

    def plan(self) -> TransferPlan:
        transfer, sink, source = self._transfer, self._transfer.sink, self._transfer.source
        before = sink.find(str(transfer.target.digest or transfer.target.tag))
        pinned = source.digest
        if before and not pinned:
            pinned = transfer.content.resolve(str(source.tag))
        is_asked = self._force or self._platform or self._whole
        if pinned and pinned == before and not is_asked:
            return TransferPlan(transfer.name, transfer, before, Descriptor("", pinned, 0))
        # Where nothing is to be compared, one request tells what a tag is and gives it.
        if pinned:
            root, manifest = read_root(transfer.content, pinned, source.tag, not source.digest)
        else:
            root, manifest = transfer.content.read_manifest(str(source.tag))
        self._read[root.digest] = manifest
        closure = self._closure(root, manifest)
        root = closure.manifests[-1][0]
        if transfer.target.digest not in (None, root.digest):
            raise errors.InputError(
                f"{transfer.name}: {root.digest} cannot be pushed under another digest"
            )
        plan = TransferPlan(transfer.name, transfer, before, root, closure)
        if before == root.digest and not self._force:
            return plan
        self._look(closure.images, plan)
        *children, top = closure.manifests
        plan.manifests = [one for descriptor, one in children if not sink.has(descriptor)]
        if before != root.digest or plan.manifests:
            plan.manifests.append(top[1])
        checked = closure
        if not self._force:
            sent = {id(manifest) for manifest in plan.manifests}
            images = (image for image in closure.images if id(image.manifest) in sent)
            checked = closure._replace(images=tuple(images))
        plan.blobs = [blob for blob in checked.blobs if not blob.is_foreign]
        foreign = len(checked.blobs) - len(plan.blobs)
        if foreign:
            plan.warnings.append(f"{transfer.name}: {foreign} foreign layers are not sent")
        return plan

    def _look(self, images: t.Sequence[Image], plan: TransferPlan) -> None:
        """Require that what is sent for a platform is for it, where no index says so."""
        for image in images if self._platform else ():
            if image.descriptor.platform is None:
                config = read_config(image.manifest, self._transfer.content, plan.name)
                asked = [t.cast(Platform, self._platform)]
                doubt = image.doubts(config, asked, plan.name, self._allow)
                plan.warnings += [f"{plan.name}: {doubt}"] if doubt else []

    def _closure(self, root: Descriptor, manifest: Manifest) -> Closure:
        subject = self._transfer.called or str(self._transfer.source)
        try:
            if not (self._platform and manifest.is_index):
                return closure_of(root, None, self._manifest, subject)
            image = closure_of(root, [self._platform], self._manifest, subject).images[0]
            return Closure(((image.descriptor, image.manifest),), (image,))
        except errors.NotInStoreError as exc:
            if not manifest.is_index or self._platform:
                raise
            raise errors.NotInStoreError(
                f"{subject}: the store holds only a part of this index, and an index is pushed whole or not at all ({exc})",
                "Set platform to push the image of one, or pull it with platform=all first.",
            ) from exc

    def _manifest(self, descriptor: Descriptor) -> Manifest:
        digest = descriptor.digest
        if digest not in self._read:
            self._read[digest] = self._transfer.content.read_manifest(digest)[1]
        return self._read[digest]


def _referring(plan: TransferPlan) -> list[Transfer]:
    transfer, target = plan.transfer, plan.transfer.target
    lists = {referrers_tag(digest) for digest in plan.digests}
    found: dict[Reference, None] = {}
    for one in referrers_of(transfer.source, transfer.content, plan.digests):
        listed = transfer.content.read_manifest(one.tag)[1] if one.tag in lists else None
        if listed and listed.is_index:
            # Not the list goes along but what it lists: there may be another one, of others.
            children = (one._replace(tag=None, digest=child.digest) for child in listed.children)
            found.update(dict.fromkeys(children))
        else:
            found[one] = None
    return [
        replace(
            transfer,
            source=one,
            target=Reference(target.registry, target.repository, one.tag, one.digest),
        )
        for one in found
    ]


def _each_once(transfers: t.Iterable[Transfer]) -> list[Transfer]:
    found: dict[str, Transfer] = {}
    for transfer in transfers:
        other = found.setdefault(transfer.name, transfer)
        if other.source != transfer.source:
            raise errors.InputError(
                f"{transfer.name} is to be both {other.source} and {transfer.source}"
            )
    return list(found.values())


def sending(params: t.Mapping[str, t.Any], registries: Registries) -> dict[str, t.Any]:
    """What the options that image_push and image_copy share mean to ``plan_transfers``."""
    if params["chunk_size"] < 0:
        raise errors.InputError("chunk_size must not be less than 0")
    return {
        "sinks": Sinks(registries, params["chunk_size"]),
        "workers": params["parallel"],
        "platform": Platform.parse(params["platform"]) if params["platform"] else None,
        "allow": params["allow_platform_mismatch"],
        "force": params["force"],
        "referrers": params["referrers"],
        "warnings": lambda: registries.warnings,
    }
