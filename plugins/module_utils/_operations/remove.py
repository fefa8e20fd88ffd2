# SPDX-License-Identifier: GPL-3.0-or-later
"""Remove: remove names from a store, and the content that they alone needed."""

from __future__ import annotations

import typing as t

from .._image import errors
from .._image.dates import Moment
from .._image.manifest import ImageConfig
from .._image.names import Digest, Reference
from .._plan import Plan
from .._store.inventory import contents, roots
from .._store.reader import IndexEntry
from .._store.store import ImageStore
from .garbage import RemoveContent
from .naming import SetName
from .newest import Dated, Newest, join_some, newest
from .patterns import pattern_of
from .reach import Reachable


def plan_remove(
    store: ImageStore,
    patterns: t.Sequence[str],
    *,
    prune: bool,
    keep_newest: int,
    all_but: t.Sequence[str] | None = None,
) -> Plan:
    """Remove the names that match, or all others, then the content that became unreferenced; inside an exclusive ``hold``."""
    if keep_newest < 0:
        raise errors.InputError("keep_newest must not be less than 0")
    names = store.labelled()
    # Also by what another tool calls it, as "latest", of which there may be several. Names with a registry are whole.
    called = {
        label: {label} if "/" in label else {label, label.partition("@")[0]} for label in names
    }
    literally = {text for text in patterns if any(text in texts for texts in called.values())}
    wanted = [pattern_of(text) for text in patterns if text not in literally]
    fitting = [
        name
        for name in sorted(names)
        if literally & called[name] or any(fits(name, names[name].target.digest) for fits in wanted)
    ]
    if all_but is not None:
        spared = {Reference.parse(name).store_name for name in all_but}
        # What has no name is in no list.
        fitting = sorted(set(names).intersection(store.names()) - spared)
    left = _newest(store, names, fitting, keep_newest)
    kept = {*left.chosen, *left.unknown}
    dropped = [name for name in fitting if name not in kept]
    garbage: list[RemoveContent] = []
    if prune and dropped:
        # What lay about before is for store_prune.
        needed = Reachable.of(store, roots(store, set(dropped)))
        needed.require_intact(store.path)
        garbage = unreferenced(
            store, needed, Reachable.of(store, map(names.__getitem__, dropped)).needed
        )
    return Plan(
        names=tuple(SetName(name, None, names[name], store) for name in dropped),
        last=tuple(garbage),
        before={name: str(names[name].target.digest) for name in dropped},
        after={},
        facts={
            "removed": [
                {"name": name, "digest": str(names[name].target.digest)} for name in dropped
            ],
            "kept": sorted(kept),
            "unknown_dates": sorted(left.unknown),
            "equal_dates": sorted(left.equal),
            "bytes_freed": sum(action.size for action in garbage),
        },
        noun="names",
        prepare=store.prepare,
        warnings=lambda: _warnings(left.unknown),
    )


def unreferenced(
    store: ImageStore, reach: Reachable, candidates: t.Container[Digest]
) -> list[RemoveContent]:
    """Return the unreferenced blobs among ``candidates``."""
    needed = reach.needed
    return [
        RemoveContent(digest, there.st_size, store)
        for digest, there in sorted(contents(store).items(), key=lambda pair: pair[0])
        if digest in candidates and digest not in needed
    ]


def _newest(
    store: ImageStore, names: t.Mapping[str, IndexEntry], fitting: t.Sequence[str], keep: int
) -> Newest[str]:
    """Choose the names to keep because their images are new, or might be."""
    if not keep:
        return newest((), 1)
    dated = []
    for name in fitting:
        path, slash, last = name.partition("@")[0].rpartition("/")
        repository, _colon, tag = last.partition(":")
        made = _created(store, names[name])
        dated.append(Dated(name, path + slash + repository, tag, made))
    return newest(dated, keep)


def _created(store: ImageStore, held: IndexEntry) -> Moment | None:
    """Return when the youngest image was made, by its configuration; None if it has no date or cannot be read."""
    found: list[Moment | None] = []
    reach = Reachable.of(store, [held])
    for image in reach.images.values():
        config = image.config
        try:
            if config and config.is_image_config and store.has(config):
                raw = store.read(config.digest)
                text = ImageConfig.parse(raw, str(config.digest)).value.get("created")
                found += [Moment.parse(text)] if text else []
        except errors.LockstepError:
            return None
    if reach.corrupt or None in found:
        return None  # the youngest may be that one
    return max(filter(None, found), default=None)


def _warnings(unknown: t.Sequence[str]) -> list[str]:
    if not unknown:
        return []
    few = join_some(sorted(unknown))
    return [f"keep_newest: not removed, as it is not known when they were made: {few}"]
