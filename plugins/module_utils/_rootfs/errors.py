# SPDX-License-Identifier: GPL-3.0-or-later
"""The errors of unpacked images; their ``kind`` is stable. Names of entries are bytes, which messages show escaped."""

from __future__ import annotations

import contextlib
import errno
import typing as t

from .._image.errors import ContentError, LockstepError, NoSpaceError

_FULL = (errno.ENOSPC, errno.EDQUOT)
# As vfat answers for links and owners, FUSE for what a program does not have, and an overlay for whiteouts.
_CANNOT = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS)
_FILE_SYSTEM = "If the path is on a file system such as vfat, NFS or an overlay, give one on ext4, XFS, Btrfs or tmpfs."
_PUBLISHER = "Ask the publisher of the image to build it again."


class TreeRefusedError(ContentError):
    """An entry of a layer breaks a rule, or a layer is not a complete archive."""

    kind = "tree-refused"
    advice = "Nothing of the layer was kept. Do not use this image unless you trust its publisher."


class DiffIdMismatchError(ContentError):
    """A layer is not the archive that the configuration of its image states."""

    kind = "diff-id-mismatch"
    advice = f"Nothing of the layer was kept. {_PUBLISHER}"


class LayerTooLargeError(ContentError):
    """A layer exceeds a limit of the task."""

    kind = "too-large"
    advice = (
        "Nothing of the layer was kept. If the image is meant to be that large, raise the limit."
    )


class TreeUnsupportedError(ContentError):
    """A layer is valid, but of a type or with an entry that the collection does not support."""

    kind = "tree-unsupported"
    advice = _PUBLISHER


class TreeAccessError(LockstepError):
    """The operating system refuses a call, or a path cannot hold a tree."""

    kind = "tree-access"


class TreeBusyError(LockstepError):
    """A tree is mounted, or another task uses it."""

    kind = "tree-busy"
    advice = "Run again when that task has ended."


@contextlib.contextmanager
def access(what: str) -> t.Iterator[None]:
    """Convert an OSError in the block to TreeAccessError, or to NoSpaceError if the disk or the quota is full."""
    try:
        yield
    except OSError as exc:
        raise refusal(what, exc) from exc


def refusal(what: str, exc: OSError) -> LockstepError:
    """Return the error for a call that the system refused; ``what`` is the subject of its message."""
    text = f"{what}: {exc.strerror or exc}"
    if exc.errno in _FULL:
        return NoSpaceError(text)
    return TreeAccessError(text, _FILE_SYSTEM if exc.errno in _CANNOT else "")
