# SPDX-License-Identifier: GPL-3.0-or-later
"""Images on their way to registries: what image_push and image_copy share."""

from __future__ import annotations

import contextlib
import operator
import typing as t
from dataclasses import dataclass, field, replace

from .._execution import Pool, in_parallel, small_requests
from .._image import errors
from .._image.copy_blob import read_config
from .._image.graph import Closure, Image, ImageReader
from .._image.manifest import Descriptor, Manifest
from .._image.names import Digest, Platform, Reference
from .._image.sources import ContentSource
from .._plan import Action, Plan, PlanBuilder
from .._registry.registries import Registries
from .._registry.repository import referrers_tag
from .._registry.sink import RemoteSink
from .._registry.target import Uploads
from .actions import Content, FetchBlob, merged, shorten_images
from .referrers import follow, referrers_of

_NAME_OF = operator.attrgetter("name")


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

    plan: SendPlan
    is_small = True

    @property
    def subject(self) -> str:  # type: ignore[override]
        return self.plan.name

    def summary(self) -> dict[str, t.Any]:
        return {
            "action": "publish_image",
            "name": self.subject,
            "digest": str(Digest.of(self.plan.manifests[-1].raw)),
            "previous": str(self.plan.before) if self.plan.before else None,
        }

    def apply(self, pool: Pool) -> None:
        *children, root = self.plan.manifests
        transfer = self.plan.transfer
        for manifest in children:
            transfer.sink.put_manifest(manifest)
        transfer.sink.put_manifest(root, transfer.identifier)


@dataclass(frozen=True)
class Transfer:
    """One image on its way. ``require`` raises an error if a blob is known to be missing at the source.

    ``called`` is its label in the store, if that is not a reference.
    """

    source: Reference
    target: Reference
    content: ContentSource = field(repr=False)
    sink: RemoteSink = field(repr=False)
    require: t.Callable[[Descriptor], object] = field(default=bool, repr=False)
    called: str = ""

    @property
    def name(self) -> str:
        """The name at the target, as a text."""
        return str(self.target)

    @property
    def identifier(self) -> str:
        """The digest or tag at the target."""
        return str(self.target.digest or self.target.tag)


@dataclass(frozen=True)
class SendPlan:
    """What a Transfer becomes: the blobs and manifests that are missing where it goes to.

    ``before`` is what stands there now. Without ``closure`` all is up to date, and nothing was read.
    """

    transfer: Transfer
    before: Digest | None
    root: Descriptor
    closure: Closure | None = None
    content: list[Content] = field(default_factory=list)
    blobs: list[Descriptor] = field(default_factory=list)  # that have to be there
    manifests: list[Manifest] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        return self.transfer.name

    @property
    def status(self) -> str:
        if not self.manifests and not self.content:
            return "up_to_date"
        return "uploaded" if self.before in (None, self.root.digest) else "updated"

    @property
    def digests(self) -> list[Digest]:
        """The digests that other manifests may refer to."""
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
        """Return the sink of a reference."""
        if reference.name not in self._known:
            repository = self._registries.origin(reference)
            self._known[reference.name] = RemoteSink(repository, self.uploads, self._chunk_size)
        return self._known[reference.name]

    def prepare_mounts(self, plans: t.Sequence[SendPlan]) -> None:
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
        """Return the statistics of sending: bytes, mounts, requests."""
        return {**self.uploads.stats(), **self._registries.stats()}


class SendOptions(t.NamedTuple):
    """How images are sent: with so many threads, each blob whole or in chunks of ``chunk_size`` bytes.

    ``platform`` sends the image of one platform only, ``force`` also existing content, ``referrers`` also what refers to
    an image. ``allow`` sends an image without an index for another platform.
    """

    workers: int
    chunk_size: int = 0
    platform: Platform | None = None
    allow: bool = False
    force: bool = False
    referrers: bool = False

    @classmethod
    def of(cls, params: t.Mapping[str, t.Any]) -> SendOptions:
        """Read the options that image_push and image_copy share; raise InputError for a wrong one."""
        if params["chunk_size"] < 0:
            raise errors.InputError("chunk_size must not be less than 0")
        return cls(
            params["parallel"],
            params["chunk_size"],
            Platform.parse(params["platform"]) if params["platform"] else None,
            params["allow_platform_mismatch"],
            params["force"],
            params["referrers"],
        )


class SendPlanner(PlanBuilder):
    """Plans what registries lack of images."""

    def __init__(self, registries: Registries, options: SendOptions) -> None:
        super().__init__(options.workers)
        self.registries = registries
        self.options = options
        self.sinks = Sinks(registries, options.chunk_size)

    def plan(
        self, transfers: t.Sequence[Transfer], find_mounts: t.Callable[[], object] = tuple
    ) -> Plan:
        """Return the plan that sends what is missing; raise InputError if two images have one target.

        ``find_mounts`` registers with ``sinks`` the repositories from which missing blobs can be mounted.
        """
        plans = self._fill(self._plan_all(transfers), find_mounts)
        content, sinks = merged(plans), self.sinks
        to_send = sum(action.descriptor.size for action in content)
        warnings = [text for one in plans for text in one.warnings]
        return self.build(
            content=content,
            names=tuple(PublishImage(one) for one in plans if one.manifests),
            before={one.name: str(one.before) for one in plans if one.before},
            after={one.name: str(one.root.digest) for one in plans},
            facts={"images": [one.entry() for one in plans]},
            shorten=shorten_images,
            stats=lambda: {"bytes_to_send": to_send, **sinks.stats()},
            warnings=lambda: [*self.registries.warnings, *warnings],
        )

    def _plan_all(self, transfers: t.Sequence[Transfer]) -> list[SendPlan]:
        def plan(transfer: Transfer, options: SendOptions = self.options) -> SendPlan:
            return _SendReader(transfer, options).plan()

        def plan_referrer(transfer: Transfer) -> SendPlan:
            return plan(transfer, self.options._replace(platform=None))

        plans = self.each(plan, _each_once(transfers), _NAME_OF)
        if self.options.referrers:
            plans += follow(plans, _referring, plan_referrer, _NAME_OF, self)
        return plans

    def _fill(
        self, plans: t.Sequence[SendPlan], find_mounts: t.Callable[[], object]
    ) -> list[SendPlan]:
        """Find which blobs are missing where they go to, all at the same time, and what may be mounted."""
        blobs = {(one.transfer.sink, blob): one for one in plans for blob in one.blobs}

        def look(pair: tuple[RemoteSink, Descriptor]) -> None:
            # What fails here fails again below, and then for its own image.
            with contextlib.suppress(errors.LockstepError):
                pair[0].has(pair[1])

        in_parallel(look, blobs, small_requests(self.workers))

        def fill(plan: SendPlan) -> SendPlan:
            transfer = plan.transfer
            missing = [blob for blob in plan.blobs if not transfer.sink.has(blob)]
            for blob in missing:
                transfer.require(blob)
            return replace(
                plan, content=[PushBlob(blob, transfer.content, transfer.sink) for blob in missing]
            )

        filled = self.each(fill, plans, _NAME_OF)
        if any(one.content for one in filled):
            find_mounts()
            self.sinks.prepare_mounts(filled)
        return filled


class _SendReader(ImageReader):
    """Reads one image where it comes from, and finds what is missing where it goes to."""

    def __init__(self, transfer: Transfer, options: SendOptions) -> None:
        source = transfer.source
        super().__init__(source, source.digest, transfer.called or str(source))
        self._transfer = transfer
        self._options = options

    def source(self, content: Digest | None) -> ContentSource:
        return self._transfer.content

    def plan(self) -> SendPlan:
        """Plan the transfer; its blobs are still to be looked for."""
        transfer, force, options = self._transfer, self._options.force, self._options
        before = transfer.sink.find(transfer.identifier)
        if before:
            self.resolve()
        # What refers to its children counts, too, so that an index is read for that.
        is_read = force or options.platform or options.referrers
        if self.digest and self.digest == before and not is_read:
            return SendPlan(transfer, before, Descriptor("", self.digest, 0))
        root = self.read_root()
        closure = self._closure(root)
        root = closure.manifests[-1][0]
        if transfer.target.digest not in (None, root.digest):
            raise errors.InputError(
                f"{transfer.name}: {root.digest} cannot be pushed under another digest"
            )
        plan = SendPlan(transfer, before, root, closure)
        if before == root.digest and not force:
            return plan
        warnings = self._doubts(closure.images)
        *children, (_root, top) = closure.manifests
        manifests = [one for descriptor, one in children if not transfer.sink.has(descriptor)]
        if manifests or before != root.digest:
            manifests.append(top)
        blobs, foreign = self._blobs_of(closure, manifests)
        if foreign:
            warnings.append(f"{transfer.name}: {foreign} foreign layers are not sent")
        return replace(plan, manifests=manifests, blobs=blobs, warnings=warnings)

    def _blobs_of(
        self, closure: Closure, manifests: t.Sequence[Manifest]
    ) -> tuple[list[Descriptor], int]:
        """Return the blobs that have to be there for ``manifests``, and how many foreign ones are left out."""
        if not self._options.force:
            sent = set(map(id, manifests))
            images = (image for image in closure.images if id(image.manifest) in sent)
            closure = closure._replace(images=tuple(images))
        blobs = [blob for blob in closure.blobs if not blob.is_foreign]
        return blobs, len(closure.blobs) - len(blobs)

    def _doubts(self, images: t.Sequence[Image]) -> list[str]:
        """Require that what is sent for a platform is for it, where no index says so; return what is doubted."""
        name, platform, doubts = self._transfer.name, self._options.platform, []
        for image in images:
            if platform and image.descriptor.platform is None:
                config = read_config(image.manifest, self._transfer.content, name)
                doubts.append(image.doubts(config, [platform], name, self._options.allow))
        return [f"{name}: {doubt}" for doubt in doubts if doubt]

    def _closure(self, root: Descriptor) -> Closure:
        """Return the whole index, or of a platform its image alone; raise NotInStoreError for a part of an index."""
        platform, is_index = self._options.platform, self.manifests[root.digest].is_index
        try:
            if not (platform and is_index):
                return self.closure(root, None)
            image = self.closure(root, [platform]).images[0]
            return Closure(((image.descriptor, image.manifest),), (image,))
        except errors.NotInStoreError as exc:
            if not is_index or platform:
                raise
            raise errors.NotInStoreError(
                f"{self.subject}: the store holds only a part of this index, and an index is pushed whole or not at all ({exc})",
                "Set platform to push the image of one, or pull it with platform=all first.",
            ) from exc


def _referring(plan: SendPlan) -> list[Transfer]:
    transfer, target = plan.transfer, plan.transfer.target
    lists = {referrers_tag(digest) for digest in plan.digests}
    found: dict[Reference, None] = {}
    for one in referrers_of(transfer.source, transfer.content, plan.digests):
        listed = transfer.content.read_manifest(one.tag)[1] if one.tag in lists else None
        if listed and listed.is_index:
            # Send what the list names, not the list: the target may have a list of its own.
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
                f"{transfer.name}: conflicting sources {other.source} and {transfer.source}"
            )
    return list(found.values())
