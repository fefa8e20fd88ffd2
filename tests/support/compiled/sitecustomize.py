# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Compile what Ansible sends to hosts once, not in every task: a third of the time of a small module.

Python imports this file when it starts, if PYTHONPATH names its directory. The tests set that for the
hosts that are this machine. Modules come in an archive, whose files Python compiles at each import;
here it finds what it has compiled before, by the source, in `compiled` beside the collections.
"""

from __future__ import annotations

import _imp
import contextlib
import importlib.util
import marshal
import os
import types
import typing as t
import zipimport
from _blake2 import blake2b  # hashlib would load OpenSSL into every program

COMPILED = os.path.join(os.path.abspath(__file__).rsplit("/ansible_collections/", 1)[0], "compiled")


def with_cache(compile_source: t.Callable[[str, bytes], types.CodeType]) -> t.Any:
    """Return `compile_source` of zipimport, with a cache in COMPILED that works where it can."""

    def compile_once(path: str, source: bytes) -> types.CodeType:
        digest = blake2b(importlib.util.MAGIC_NUMBER + source, digest_size=20).hexdigest()
        name = os.path.join(COMPILED, digest)
        with contextlib.suppress(OSError):
            with open(name, "rb") as file:
                code: types.CodeType = marshal.load(file)
            _imp._fix_co_filename(code, path)  # type: ignore[attr-defined]  # for tracebacks
            return code
        code = compile_source(path, source)
        with contextlib.suppress(OSError):  # of another user, or on a full disk
            os.makedirs(COMPILED, exist_ok=True)
            made = f"{name}.{os.getpid()}"
            with open(made, "xb") as file:
                marshal.dump(code, file)
            os.rename(made, name)
        return code

    return compile_once


zipimport._compile_source = with_cache(zipimport._compile_source)  # type: ignore[attr-defined]
