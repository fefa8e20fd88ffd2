# SPDX-License-Identifier: GPL-3.0-or-later
"""The store, opened as the options of a task say."""

from __future__ import annotations

import os
import typing as t

from ansible_collections.lockstep.images.plugins.module_utils._oci.reference import Reference
from ansible_collections.lockstep.images.plugins.module_utils._oci.store import ImageStore


def open_store(params: t.Mapping[str, t.Any]) -> t.ContextManager[ImageStore]:
    """The store of a task, kept from being pruned while it is in use."""
    return ImageStore(params["store"] or default_store()).hold()


def default_store() -> str:
    """Where images are kept when the task does not say."""
    if os.geteuid() == 0:
        return "/var/lib/lockstep/images"
    data = os.environ.get("XDG_DATA_HOME") or os.path.expanduser("~/.local/share")
    return os.path.join(data, "lockstep", "images")


def references(params: t.Mapping[str, t.Any]) -> list[Reference] | None:
    """The names of a task, parsed; None when it names none."""
    names = params["name"]
    return None if names is None else [Reference.parse(name) for name in names]
