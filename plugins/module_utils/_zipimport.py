# SPDX-License-Identifier: GPL-3.0-or-later
"""The archive that Ansible sends to a host: files imported from it after this one are compiled once, not twice."""

from __future__ import annotations

import os
import sys
import zipimport


class _Archive(zipimport.zipimporter):
    def get_filename(self, fullname: str) -> str:
        """Return the path of a module without compiling it, which zipimport does to answer the import system."""
        path = os.path.join(self.archive, self.prefix, fullname.rpartition(".")[2])
        return os.path.join(path, "__init__.py") if self.is_package(fullname) else f"{path}.py"


if isinstance(__loader__, zipimport.zipimporter):
    sys.path_hooks.insert(0, _Archive)
    # Also for the files next to this one, whose importer is cached already.
    sys.path_importer_cache.pop(os.path.dirname(__file__), None)
