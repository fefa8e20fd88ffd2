# SPDX-License-Identifier: GPL-3.0-or-later
"""Files in the directory of a store that do not belong to it."""

from __future__ import annotations

from .._image import errors
from .._image.names import Digest
from .inventory import ALGORITHMS, listed
from .store import ImageStore

# The files of a store except the blobs. A store that is a file system has a lost+found.
_OWN = {
    "": {"oci-layout", "index.json", "blobs", ".staging", "lost+found"},
    "blobs": {*ALGORITHMS},
    **{f"blobs/{name}": {".staging"} for name in ALGORITHMS},
}


def foreign(store: ImageStore) -> list[str]:
    """Return the paths within the store of files that do not belong to it, sorted."""
    found = []
    for directory, own in _OWN.items():
        for name, _path in listed(store, directory):
            is_blob = directory.count("/") and _is_digest(f"{directory[6:]}:{name}")
            if name not in own and not is_blob:
                found.append(f"{directory}/{name}".lstrip("/"))
    return sorted(found)


def _is_digest(text: str) -> bool:
    try:
        return bool(Digest.parse(text))
    except errors.DigestError:
        return False
