# SPDX-License-Identifier: GPL-3.0-or-later
"""Layers of an image by the identities that engines and file systems know them by."""

from __future__ import annotations

import hashlib
import typing as t

from .names import Digest


def chain_ids(diff_ids: t.Sequence[Digest]) -> list[Digest]:
    """Return the identity of each layer together with all layers below it (OCI image-spec v1.1, config.md "Layer ChainID").

    These are the names of the directories in Docker's ``image/overlay2/layerdb/sha256``.
    """
    chains: list[Digest] = []
    for diff_id in diff_ids:
        if chains:
            joined = f"{chains[-1]} {diff_id}".encode("ascii")
            chains.append(Digest("sha256", hashlib.sha256(joined).hexdigest()))
        else:
            chains.append(diff_id)
    return chains
