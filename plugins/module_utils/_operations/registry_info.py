# SPDX-License-Identifier: GPL-3.0-or-later
"""Registry info: what registries hold, seen without pulling."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from .._execution import in_parallel, small_requests
from .._image import errors
from .._image.artifacts import attestations_subject
from .._image.copy_blob import read_content
from .._image.graph import Image, read_root, require_size
from .._image.manifest import MAX_MANIFEST, Descriptor, ImageConfig, Manifest
from .._image.names import Digest, Platform, Reference, choose
from .._image.walk import Node, images_of, walk
from .._plan import Plan
from .._registry.catalog import repositories
from .._registry.registries import Registries
from .._registry.registry import Registry
from .._registry.repository import Mirrored, Repository, lacks
from .attached import Attached, attached_to, sorted_attached, statements
from .history import history

Source = t.Union[Repository, Mirrored]


@dataclass(frozen=True)
class _ContentKey:
    """Content of one repository, which several names may share."""

    repository: str
    digest: Digest


@dataclass(frozen=True)
class _Leaf:
    """An image of a name; without ``manifest`` an index lists it, and the registry lacks it."""

    descriptor: Descriptor
    manifest: Manifest | None


def plan_registry_info(
    references: t.Sequence[Reference] | None,
    *,
    sources: Registries,
    workers: int,
    platforms: t.Sequence[Platform] = (),
    tags: bool = False,
    referrers: bool = False,
    attached: bool = False,
    catalog_of: Registry | None = None,
) -> Plan:
    """Plan to report names, or with ``tags`` repositories, and all repositories of ``catalog_of``.

    The plan never has an action. Manifests and configurations are read, never layers.
    """
    if references is None and not catalog_of:
        raise errors.InputError("nothing to report", "Give name, or repositories: true.")
    reader = _ManifestReader(sources, workers, platforms)
    once = list(dict.fromkeys(references or ()))
    listed = repositories(catalog_of) if catalog_of else []
    facts = reader.tags(once) if tags else reader.images(once, referrers, attached)
    return Plan(
        facts={
            "images": [],
            "tags": {},
            **facts,
            "repositories": listed,
            "rate_limit": sources.stats()["rate_limit"],
        },
        stats=sources.stats,
        warnings=lambda: sources.warnings,
    )


class _ManifestReader:
    """Reads the manifests of names in parallel, each of them once."""

    def __init__(self, sources: Registries, workers: int, platforms: t.Sequence[Platform]) -> None:
        self._sources = sources
        self._workers = small_requests(workers)
        self._platforms = platforms
        self._repositories: dict[str, Source] = {}
        self._manifests: dict[_ContentKey, tuple[Descriptor, Manifest] | None] = {}
        self._tags: dict[_ContentKey, str | None] = {}

    def tags(self, references: t.Sequence[Reference]) -> dict[str, t.Any]:
        """Return the facts about the tags of repositories."""
        for reference in references:
            if reference.digest or reference.tag != "latest":
                raise errors.InputError(
                    f"{reference}: tags takes a name with neither tag nor digest"
                )
        found = self._each(lambda one: self._source(one.name, one).tags(), references)
        return {
            "tags": {one.name: tags for one, tags in found.items() if tags is not None},
            "missing": [one.name for one, tags in found.items() if tags is None],
        }

    def images(
        self, references: t.Sequence[Reference], referrers: bool, attached: bool
    ) -> dict[str, t.Any]:
        """Return the facts about the images of names."""
        digests = self._each(self._resolve, references)
        keys = {one: _ContentKey(one.name, digest) for one, digest in digests.items() if digest}
        self._tags = {key: one.tag for one, key in keys.items()}
        self._read(keys.values())
        keys = {one: key for one, key in keys.items() if self._manifests[key]}
        while True:  # one level of indexes after the other
            leaves = {key: list(self._leaves(key)) for key in keys.values()}
            lacking = [
                _ContentKey(key.repository, leaf.descriptor.digest)
                for key, found in leaves.items()
                for leaf in found
            ]
            if not self._read(lacking):
                break
        configs = self._configs(leaves)
        refers = self._each(
            self._referrers, list(dict.fromkeys(keys.values())) if referrers else ()
        )
        attachments = self._attachments(leaves) if attached else {}
        entries = []
        for reference, key in keys.items():
            renderer = _Renderer(str(reference), self._known(key), leaves[key], configs)
            for entry in renderer.entries(self._platforms):
                about = (str(key.digest), entry["manifest"])
                found = [
                    one.as_result() for one in attachments.get(key, ()) if str(one.subject) in about
                ]
                entries.append(dict(entry, referrers=refers.get(key) or [], attached=found))
        return {"images": entries, "missing": [str(one) for one in references if one not in keys]}

    def _each(
        self, function: t.Callable[[t.Any], t.Any], items: t.Sequence[t.Any]
    ) -> dict[t.Any, t.Any]:
        """Return the result of ``function`` for each item, None for one that is not found."""

        def attempt(item: t.Any) -> t.Any:
            try:
                return function(item)
            except errors.NotFoundError:
                return None

        return dict(zip(items, in_parallel(attempt, items, self._workers)))

    def _source(self, name: str, reference: Reference | None = None) -> Source:
        if reference and name not in self._repositories:
            self._repositories[name] = self._sources.repository(reference)
        return self._repositories[name]

    def _resolve(self, reference: Reference) -> Digest | None:
        source, tag = self._source(reference.name, reference), reference.tag or ""
        try:
            return reference.digest or source.resolve(tag)
        except errors.RegistryError as exc:
            if lacks(source, tag, exc):
                return None
            raise

    def _read(self, keys: t.Iterable[_ContentKey]) -> bool:
        """Read the manifests that are not known yet; whether there were any."""
        new = [key for key in dict.fromkeys(keys) if key not in self._manifests]

        def read(key: _ContentKey) -> tuple[Descriptor, Manifest]:
            return read_root(self._source(key.repository), key.digest, self._tags.get(key))

        self._manifests.update(self._each(read, new))
        return bool(new)

    def _known(self, key: _ContentKey) -> tuple[Descriptor, Manifest]:
        return t.cast("tuple[Descriptor, Manifest]", self._manifests[key])

    def _leaves(self, key: _ContentKey) -> t.Iterator[_Leaf]:
        """Yield the images behind a name, as far as manifests have been read; each once."""
        for descriptor, manifest, _depth in self._nodes(key):
            if not manifest or not manifest.is_index:
                yield _Leaf(descriptor, manifest)

    def _nodes(self, key: _ContentKey) -> t.Iterator[Node]:
        """Yield the manifests behind a name, as far as they have been read."""
        subject = f"{key.repository}@{key.digest}"

        def read(descriptor: Descriptor) -> Manifest | None:
            found = self._manifests.get(_ContentKey(key.repository, descriptor.digest))
            if found:
                require_size(found[1], descriptor, subject)
            return found[1] if found else None

        def choose_children(index: Manifest) -> list[Descriptor]:
            return self._children(index, subject)

        root, _top = self._known(key)
        yield from walk(root, read, choose_children, subject)

    def _children(self, index: Manifest, subject: str) -> list[Descriptor]:
        if not self._platforms:
            return images_of(index)
        chosen = []
        for platform in self._platforms:
            try:
                chosen.append(choose(platform, images_of(index), subject))
            except errors.NoPlatformError:
                continue  # the result lists the platforms that exist
        return chosen

    def _configs(
        self, leaves: t.Mapping[_ContentKey, t.Sequence[_Leaf]]
    ) -> dict[Digest, ImageConfig]:
        wanted: dict[Digest, tuple[str, Descriptor]] = {}
        for key, found in leaves.items():
            for leaf in found:
                config = leaf.manifest.config if leaf.manifest else None
                if config and config.is_image_config:
                    wanted.setdefault(config.digest, (key.repository, config))

        def read(place: tuple[str, Descriptor]) -> ImageConfig:
            name, config = place
            subject = f"{name}: config {config.digest}"
            if config.size > MAX_MANIFEST:
                raise errors.ManifestError(
                    f"{subject} has {errors.readable_size(config.size)}, more than {errors.readable_size(MAX_MANIFEST)}"
                )
            return ImageConfig.parse(read_content(config, self._source(name)), subject)

        return dict(zip(wanted, in_parallel(read, wanted.values(), self._workers)))

    def _referrers(self, key: _ContentKey) -> list[dict[str, t.Any]]:
        return [
            dict(
                one.as_result(),
                artifact_type=one.artifact_type or None,
                annotations=dict(one.annotations),
            )
            for one in self._source(key.repository).referrers(key.digest)
        ]

    def _attachments(
        self, leaves: t.Mapping[_ContentKey, t.Sequence[_Leaf]]
    ) -> dict[_ContentKey, list[Attached]]:
        """Return for each name what is attached to its digest and to its images."""
        subjects = {
            key: [key, *(_ContentKey(key.repository, leaf.descriptor.digest) for leaf in found)]
            for key, found in leaves.items()
        }
        embedded = {key: list(self._embedded(key)) for key in leaves}
        self._read(one for found in embedded.values() for _subject, one in found)
        once = list(dict.fromkeys(one for found in subjects.values() for one in found))
        remote = self._each(self._attached, once)
        return {
            key: sorted_attached(
                [
                    *self._statements(embedded[key]),
                    *(one for subject in found for one in remote[subject] or ()),
                ]
            )
            for key, found in subjects.items()
        }

    def _attached(self, key: _ContentKey) -> list[Attached]:
        return attached_to(self._source(key.repository), key.digest)

    def _embedded(self, key: _ContentKey) -> t.Iterator[tuple[Digest, _ContentKey]]:
        """Yield the attestations in the indexes of a name: the digest of the image, and their manifest."""
        for _descriptor, manifest, _depth in self._nodes(key):
            for child in manifest.children if manifest else ():
                subject = attestations_subject(child.annotations)
                if subject and child.is_manifest:
                    yield subject, _ContentKey(key.repository, child.digest)

    def _statements(self, embedded: t.Iterable[tuple[Digest, _ContentKey]]) -> t.Iterator[Attached]:
        for subject, key in embedded:
            found = self._manifests[key]
            if found:
                yield from statements(found[1], subject, "index", found[1].artifact_type)


class _Renderer:
    """Renders one name."""

    def __init__(
        self,
        name: str,
        root: tuple[Descriptor, Manifest],
        leaves: t.Sequence[_Leaf],
        configs: t.Mapping[Digest, ImageConfig],
    ) -> None:
        self._root, self._top = root
        self._name = name
        self._leaves = leaves
        self._configs = configs

    def entries(self, wanted: t.Sequence[Platform]) -> list[dict[str, t.Any]]:
        """Return one entry for each image; without an image for ``wanted``, one entry with what is known."""
        shown = [self._entry(leaf) for leaf in self._leaves]
        there = {str(one.platform) for one in images_of(self._top) if one.platform}
        there |= {entry["platform"] for entry in shown if entry["platform"]}
        common = {
            "name": self._name,
            "digest": str(self._root.digest),
            "media_type": self._root.media_type,
            "platforms": sorted(there),
        }
        return [{**common, **entry} for entry in shown or [_blank(None, None)]]

    def _entry(self, leaf: _Leaf) -> dict[str, t.Any]:
        manifest, platform = leaf.manifest, leaf.descriptor.platform
        if not manifest:
            return _blank(leaf.descriptor.digest, platform)
        config = self._configs.get(manifest.config.digest) if manifest.config else None
        platform = platform or (config.platform if config else None)
        value = config.value if config else {}
        runs = value.get("config") or {}
        return {
            **_blank(leaf.descriptor.digest, platform),
            "id": str(manifest.config.digest) if manifest.config else None,
            "size": Image(leaf.descriptor, manifest).size,
            "layers": [layer.as_result() for layer in manifest.layers],
            "labels": _typed(runs.get("Labels"), dict),
            "env": _typed(runs.get("Env"), list),
            "entrypoint": _typed(runs.get("Entrypoint"), list),
            "cmd": _typed(runs.get("Cmd"), list),
            "created": value.get("created"),
            "history": history(config, manifest.layers),
            "annotations": dict(manifest.annotations),
        }


def _blank(digest: Digest | None, platform: Platform | None) -> dict[str, t.Any]:
    return {
        "manifest": str(digest) if digest else None,
        "platform": str(platform) if platform else None,
        "id": None,
        "size": None,
        "layers": [],
        "labels": {},
        "env": [],
        "entrypoint": [],
        "cmd": [],
        "created": None,
        "history": [],
        "annotations": {},
    }


def _typed(value: t.Any, kind: type) -> t.Any:
    """Return a field of a configuration; an empty value if it has another type."""
    return value if isinstance(value, kind) else kind()
