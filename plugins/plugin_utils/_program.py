# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The program that receives content on a host: files of the library, sent on standard input, so that no file is left there.

Its command has no line ends, because csh cannot quote one.
"""

from __future__ import annotations

import ast
import functools
import os
import shlex
import zlib

from ansible_collections.lockstep.images.plugins.module_utils._store import receive

_PACKAGE = "lockstep_receiver"
_LOADER = f"""
import importlib.abc
import importlib.util
import sys

class Files(importlib.abc.MetaPathFinder, importlib.abc.InspectLoader):
    def find_spec(self, name, path=None, target=None):
        return importlib.util.spec_from_loader(name, self) if name in FILES else None
    def is_package(self, name):
        return FILES[name] is None
    def get_source(self, name):
        return FILES[name] or ""

sys.meta_path.insert(0, Files())
from {_PACKAGE}._store.receive import main
main()
"""


@functools.cache
def program() -> bytes:
    """Return the program, compressed. A message follows it on standard input."""
    root = os.path.dirname(os.path.dirname(receive.__file__))
    files: dict[str, str | None] = {_PACKAGE: None}
    todo = ["_store/receive"]
    while todo:
        path = todo.pop()
        name = f"{_PACKAGE}.{path.replace('/', '.')}"
        if name in files:
            continue
        with open(os.path.join(root, f"{path}.py"), encoding="utf-8") as file:
            text = file.read()
        files[name], files[name.rpartition(".")[0]] = text, None
        todo += _imported(text, os.path.dirname(path), root)
    return zlib.compress(f"FILES = {files!r}\n{_LOADER}".encode())


def _imported(text: str, directory: str, root: str) -> list[str]:
    """Return the files of the library that a file in ``directory`` imports, without their suffix."""
    found = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = directory if node.level == 1 else ""
            module = os.path.join(base, *(node.module or "").split("."))
            names = [os.path.join(module, alias.name) for alias in node.names]
            files = [one for one in names if os.path.isfile(os.path.join(root, f"{one}.py"))]
            found += files or [module]
    return found


def command(interpreter: str) -> str:
    """Return the command that runs the program with a Python of the host."""
    code = f"import sys,zlib;exec(zlib.decompress(sys.stdin.buffer.read({len(program())})))"
    return f"{interpreter} -I -S -c {shlex.quote(code)}"
