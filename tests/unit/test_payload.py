# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The budget: how much code Ansible sends to every host for each module.

Docstrings and comments are not counted, as saving bytes must never cost words. A limit is raised only on
purpose, by whoever can say what the hosts get for it.
"""

from __future__ import annotations

import ast
import functools
import zlib
from pathlib import Path

import pytest
from ansible_collections.lockstep.images.tests.support.imports import PLUGINS, closure_of

MODULES = PLUGINS / "modules"
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
# KiB. The six modules that move or read much content send 1 KiB more, for which users see their progress.
# Modules that read lock files send 0.35 KiB more, for which hosts can require that every entry is verified.
# Modules that verify images send 9.3 KiB more, for which they verify signatures by GPG, 5.6 KiB
# for policy.json, and 10.5 KiB for signatures of notation.
# They send 0.2 KiB more, for which they find the bundles of cosign 3 in every registry, and 3 KiB for attestations.
# Modules with archives send 0.4 KiB more, for which one file writes the headers of archives and of built layers.
# image_lock sends 0.9 KiB more, for which it splits a Dockerfile into instructions exactly as image_build does.
# image_build sends 34 KiB more, for which a Docker daemon can run the commands of a Dockerfile: its client, and the
# reader of archives of images. They are compiled only for a build that needs an engine.
# Modules that use mirrors send 0.4 KiB more, for which tasks can name mirrors such as Spegel and Dragonfly.
# image_export sends 1.3 KiB more, for which a thread reads and verifies the next bytes while it writes, and chunks that a
# failed export has left are compared with the store.
# Modules that unpack layers send 1.5 KiB more, for which they unpack sparse files as engines do, and say which file system
# refuses a tree.
# image_export and image_import send 0.2 KiB more, for which one file escapes names in messages for all rooms.
# Every module has 0.6 KiB more of code that runs only if there is something to do, in a file that no other run compiles.
# image_mount sends 2.6 KiB more, for which one task mounts many roots: each root costs 10 ms of a host, not 0.4 s.
# image_unpack sends 0.1 KiB more, for which a failed task reports only the layers that it leaves.
# image_export sends 1.6 KiB more, for which 10,000 images need half the memory, and the disk writes while it hashes.
# image_mount, image_unpack and tree_prune send 0.9 KiB more, for which a power failure while a root changes leaves the old
# root or the new one, and what a boot has mounted is compared with the record.
# Modules that read archives send 1.5 KiB more, and image_import 5.5, for which an archive of 10,000 images needs a quarter
# of the memory. registry_login sends 4 bytes more, for which a plan can be carried out in groups.
# They send 0.9 KiB more, for which that archive needs 4 MiB less, and a wrong chunk is named instead of what is missing in it.
LIMITS = {
    "engine_info": 74.5,
    "image_build": 233.6,
    "image_copy": 111.9,
    "image_export": 90.7,
    "image_import": 89.1,
    "image_info": 39.1,
    "image_load": 185.1,
    "image_lock": 211.9,
    "image_mount": 100.3,
    "image_pull": 116.9,
    "image_push": 119.2,
    "image_receive": 68.7,
    "image_remove": 46.7,
    "image_sign": 139.8,
    "image_sync": 122.7,
    "image_tag": 39.5,
    "image_unpack": 92.6,
    "image_verify": 163.8,
    "registry_info": 98.7,
    "registry_login": 87.9,
    "registry_remove": 84.5,
    "store_info": 44.0,
    "store_prune": 49.0,
    "store_verify": 122.9,
    "tree_prune": 49.3,
}


@functools.cache
def sent_bytes(path: Path) -> int:
    """Return what a file adds to the archive of a module: its code, compressed by itself, in base64."""
    code = ast.unparse(without_docstrings(ast.parse(path.read_text(encoding="utf-8"))))
    return len(zlib.compress(code.encode(), 9)) * 4 // 3


def without_docstrings(tree: ast.Module) -> ast.Module:
    for node in ast.walk(tree):
        if isinstance(node, DOCUMENTED) and ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    return tree


def test_every_module_has_a_limit():
    assert sorted(LIMITS) == sorted(path.stem for path in MODULES.glob("*.py"))


@pytest.mark.parametrize("name", LIMITS)
def test_a_module_sends_no_more_code_than_its_limit(name):
    files = closure_of(MODULES / f"{name}.py")
    sizes = {path.name: round(sent_bytes(path) / 1024, 1) for path in files}
    assert sum(map(sent_bytes, files)) / 1024 <= LIMITS[name], sizes
