# SPDX-License-Identifier: GPL-3.0-or-later
"""The archive in which Ansible sends files: what is imported from it after this file is compiled once, not twice."""

from __future__ import annotations

import os
import sys
import zipimport


class _Archive(zipimport.zipimporter):
    def get_filename(self, fullname: str) -> str:
        """Without compiling: the import system asks for the name first, and zipimport compiles a file to tell it."""
        path = os.path.join(self.archive, self.prefix, fullname.rpartition(".")[2])
        return os.path.join(path, "__init__.py") if self.is_package(fullname) else f"{path}.py"


if isinstance(__loader__, zipimport.zipimporter):
    sys.path_hooks.insert(0, _Archive)
    # What is beside this file too.
    sys.path_importer_cache.pop(os.path.dirname(__file__), None)
