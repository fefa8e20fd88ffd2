#!/usr/bin/python
# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib

# Documented in image_import.yml, which Ansible does not send to hosts.
from ansible_collections.lockstep.images.plugins.module_utils._ansible import (
    references,
    run_plan,
)
from ansible_collections.lockstep.images.plugins.module_utils._archive.contents import ImageArchive
from ansible_collections.lockstep.images.plugins.module_utils._archive.media import open_media
from ansible_collections.lockstep.images.plugins.module_utils._image.lock import Lock
from ansible_collections.lockstep.images.plugins.module_utils._operations import (
    image_import as importing,
)
from ansible_collections.lockstep.images.plugins.module_utils._progress import PROGRESS
from ansible_collections.lockstep.images.plugins.module_utils._store.repair import RepairStore
from ansible_collections.lockstep.images.plugins.module_utils._store.store import open_store


@contextlib.contextmanager
def open_both(params):
    with open_media(params["src"]) as media, contextlib.ExitStack() as after:
        with open_store(params["store"], kind=RepairStore) as store:
            yield media, store, after


def build(params, target):
    media, store, after = target
    # The result would repeat it, in memory that very many images need.
    value = params.pop("lock")
    lock = Lock.parse(value) if value is not None else None
    del value
    names = references(params)
    archive = ImageArchive(media)
    planner = importing.ImportPlanner(
        archive, store, lock, params["verify"], params["parallel"], params["details"]
    )
    after.callback(planner.forget)
    return planner.plan(names)


def main():
    run_plan(
        build,
        follow=PROGRESS.follow,
        open_target=open_both,
        argument_spec=dict(
            src=dict(type="path", required=True),
            name=dict(type="list", elements="str"),
            lock=dict(type="dict"),
            verify=dict(type="str", choices=["quick", "full"], default="quick"),
            parallel=dict(type="int", default=2),
            details=dict(type="bool"),
        ),
    )


if __name__ == "__main__":
    main()
