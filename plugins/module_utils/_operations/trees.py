# SPDX-License-Identifier: GPL-3.0-or-later
"""What the modules for unpacked images share: the state directory, and what of entries is kept."""

from __future__ import annotations

import contextlib
import os
import typing as t

from .._image import errors
from .._rootfs.options import CALLER, KEEP, TreeOptions
from .._rootfs.state import TreeState
from .._store.reader import StoreReader, read_store


def tree_options(params: t.Mapping[str, t.Any]) -> TreeOptions:
    """Return what a module keeps of entries. Only root can keep owners."""
    owner = params["owner"] or (CALLER if os.geteuid() else KEEP)
    if owner == KEEP and os.geteuid():
        raise errors.InputError("owner: only root can keep the owners of files", "Set become.")
    xattrs = tuple(sorted(params["xattrs"]))
    return TreeOptions(owner, params["setuid"], params["devices"], xattrs)


def path_of_trees(path: str | None) -> str:
    """Return the path of the state directory; that of the user if ``path`` is None or empty."""
    data = os.environ.get("XDG_DATA_HOME") or os.path.expanduser("~/.local/share")
    default = f"{data}/lockstep/trees" if os.geteuid() else "/var/lib/lockstep/trees"
    return path or default


@contextlib.contextmanager
def open_trees(params: t.Mapping[str, t.Any]) -> t.Iterator[tuple[StoreReader, TreeState]]:
    """Hold the store, and the state directory."""
    with _opened(params, tree_options(params)) as target:
        yield target


@contextlib.contextmanager
def open_usual_trees(params: t.Mapping[str, t.Any]) -> t.Iterator[tuple[StoreReader, TreeState]]:
    """Hold the store, and the state directory for layers that are unpacked with the default options."""
    with _opened(params, TreeOptions()) as target:
        yield target


@contextlib.contextmanager
def _opened(
    params: t.Mapping[str, t.Any], options: TreeOptions
) -> t.Iterator[tuple[StoreReader, TreeState]]:
    state = TreeState(path_of_trees(params["path"]), options, params["sync"])
    with read_store(params["store"]) as store:
        with state:
            yield store, state
