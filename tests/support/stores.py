# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pull into a store, and judge a store by its bytes alone."""

from __future__ import annotations

import contextlib
import json
import os
import typing as t
from collections.abc import Iterator, Sequence
from pathlib import Path

from ansible_collections.lockstep.images.plugins.module_utils._execution import Pool
from ansible_collections.lockstep.images.plugins.module_utils._image.names import (
    Digest,
    Platform,
    Reference,
)
from ansible_collections.lockstep.images.plugins.module_utils._operations.naming import SetName
from ansible_collections.lockstep.images.plugins.module_utils._operations.pull import plan_pull
from ansible_collections.lockstep.images.plugins.module_utils._plan import Outcome, Plan
from ansible_collections.lockstep.images.plugins.module_utils._store import partial
from ansible_collections.lockstep.images.plugins.module_utils._store.reader import IndexEntry
from ansible_collections.lockstep.images.plugins.module_utils._store.store import KEPT, ImageStore

from .layout import MANIFESTS, REF_NAME, bad_blobs, blob_path, names, read_manifest
from .plans import FETCHING_KEYS, execute, fetch_options, interrupt
from .publish import Item
from .storage import FOREIGN

AMD64, ARM64 = "linux/amd64", "linux/arm64"


def open_files(directory: Path) -> list[str]:
    """The files below a directory that this process has open; those that are removed, too."""
    found = []
    for link in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # that of the listing itself
            found.append(os.readlink(link))
    return sorted(path for path in found if path.startswith(f"{directory}/"))


def plan(
    store: ImageStore,
    sources: t.Any,
    *references: str,
    platforms: Sequence[str] | None = (AMD64,),
    allow: bool = True,
    **how: t.Any,
) -> Plan:
    """The plan of a pull, None for all platforms; inside ``store.hold()`` it can be applied.

    An image without an index may be for any platform, unless ``allow`` is False.
    """
    return plan_pull(
        [Reference.parse(reference) for reference in references],
        None if platforms is None else [Platform.parse(one) for one in platforms],
        store,
        sources,
        fetch_options({"allow": allow, **how}),
        **{key: how[key] for key in how if key not in FETCHING_KEYS},
    )


def pull(store: ImageStore, sources: t.Any, *references: str, **options: t.Any) -> dict[str, t.Any]:
    """Pull, and return the result as a module would."""
    with store.hold():
        outcome = execute(plan(store, sources, *references, **options))
    if outcome.failure:
        raise outcome.failure
    return outcome.result()


def set_name(sink: t.Any, name: str, target: IndexEntry, expected: IndexEntry | None) -> None:
    """Move one name."""
    sink.set_names([SetName(name, target, expected, sink)])


def statuses(result: t.Mapping[str, t.Any]) -> list[str]:
    """The status of every image of a result."""
    return [entry["status"] for entry in result["images"]]


def whole_tree(directory: Path) -> dict[str, t.Any]:
    """Every path below a directory, with mode, time of change and bytes; {} for a missing one."""
    found: dict[str, t.Any] = {}
    for path in sorted(directory.rglob("*")):
        there = path.lstat()
        data = path.read_bytes() if path.is_file() else None
        found[str(path.relative_to(directory))] = (there.st_mode, there.st_mtime_ns, data)
    return found


def leftovers(store: Path) -> list[str]:
    """What is in a store's staging directory besides locks: files of writers, parts and journals."""
    found = (store / ".staging").glob("*")
    return sorted(path.name for path in found if path.suffix != ".lock")


def remove_stale(
    staging: Path,
    done: t.Container[Digest] = (),
    wanted: t.Container[Digest] = (),
    now: float = 1e9,
) -> None:
    """Clean up a staging directory as the next pull does it."""
    for path in partial.stale_files(
        str(staging), wanted, lambda digest: digest in done, now - KEPT
    ):
        partial.remove_unlocked(path)


@contextlib.contextmanager
def umask(mask: int) -> Iterator[None]:
    """Another umask for a while."""
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


def assert_valid_store(store: Path) -> None:
    """Check that every name has all requested content, and that every blob matches its digest.

    A directory that is not there, or not made completely yet, is valid as long as it names nothing.
    """
    assert bad_blobs(store) == []
    index = store / "index.json"
    if not index.exists():
        assert list(store.glob("blobs/*/*")) == []
        return
    assert json.loads((store / "oci-layout").read_bytes()) == {"imageLayoutVersion": "1.0.0"}
    assert json.loads(index.read_bytes())["schemaVersion"] == 2
    for name, entry in names(store).items():
        wanted = entry["annotations"].get("io.lockstep.platforms", "")
        for digest, size in needed(store, entry, [text for text in wanted.split(",") if text]):
            path = blob_path(store, digest)
            assert path.is_file() and path.stat().st_size == size, f"{name} lacks {digest}"


def needed(
    store: Path, entry: dict[str, t.Any], platforms: Sequence[str]
) -> Iterator[tuple[str, int]]:
    """Return digest and size of all content that an entry needs; of an index, the images for these platforms.

    Foreign layers need not be there.
    """
    yield entry["digest"], entry["size"]
    if entry["mediaType"] not in MANIFESTS:
        return
    manifest = read_manifest(store, entry["digest"])
    if "manifests" not in manifest:
        for part in (manifest["config"], *manifest["layers"]):
            if not any(word in part["mediaType"] for word in FOREIGN):
                yield part["digest"], part["size"]
        return
    for child in manifest["manifests"]:
        wanted = "platform" not in child or _spelled(child["platform"]) in platforms
        if wanted or "all" in platforms:
            yield from needed(store, child, platforms)


def _spelled(platform: dict[str, str]) -> str:
    parts = (platform.get(part) for part in ("os", "architecture", "variant"))
    return "/".join(part for part in parts if part)


def carry_out(store: ImageStore, build: t.Callable[[ImageStore], Plan], **hold: t.Any) -> Outcome:
    """Plan on a store and apply it all, as a module does; return the outcome."""
    with store.hold(**hold):
        return execute(build(store))


def stop_after(
    store: ImageStore, build: t.Callable[[ImageStore], Plan], number: int, **hold: t.Any
) -> list[dict[str, t.Any]]:
    """Plan, apply so many actions and stop; what they were."""
    with store.hold(**hold):
        plan = build(store)
        first = min(number, len(plan.actions) - len(plan.last))
        done = interrupt(plan, first)
        # What comes last is done all at once, so that it is cut by hand.
        if number > first:
            if not first:
                plan.prepare()
            plan.before_cleanup()
        with Pool(1) as pool:
            for action in plan.last[: number - first]:
                action.apply(pool)
                done.append(action)
    return [action.summary() for action in done]


def rewrite(path: Path, change: t.Callable[[list[dict[str, t.Any]]], None]) -> None:
    """Change the entries of index.json as another tool would."""
    document = json.loads((path / "index.json").read_bytes())
    change(document["manifests"])
    (path / "index.json").write_text(json.dumps(document, indent=2))


def put(path: Path, item: Item, name: str | None = None, **more: t.Any) -> None:
    """Put all of an image or index into a store, with an entry, as another tool does it."""
    contents = [*item.blobs(), *((digest, raw) for digest, _type, raw in item.manifests())]
    for digest, raw in contents:
        place = blob_path(path, digest)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(raw)
    if not (path / "index.json").exists():
        (path / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
        (path / "index.json").write_text('{"schemaVersion": 2, "manifests": []}')
    entry = {**item.descriptor(), **more}
    if name:
        entry["annotations"] = {REF_NAME: name}
    rewrite(path, lambda entries: entries.append(entry))


def blobs(path: Path) -> set[str]:
    """The digest of every blob in a store."""
    return {f"{place.parent.name}:{place.name}" for place in path.glob("blobs/sha*/*")}


def digests(*items: Item) -> set[str]:
    """Return the digests of all content of images or indexes."""
    found = {digest for item in items for digest, _raw in item.blobs()}
    return found | {digest for item in items for digest, _type, _raw in item.manifests()}
