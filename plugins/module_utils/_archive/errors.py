# SPDX-License-Identifier: GPL-3.0-or-later
"""The errors of archives of images, and of the files that they are in."""

from __future__ import annotations

import contextlib
import errno
import typing as t

from .._image.errors import ContentError, LockstepError, NoSpaceError

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_LARGE = "Give chunk_size: FAT32 takes files of less than 4 GiB."
_COPY = "Copy it again, and compare it with its list: sha256sum -c."


class ArchiveError(ContentError):
    """An archive breaks a rule, so that two readers could understand it differently."""

    kind = "archive-malformed"
    advice = "Nothing of it was kept. Export the images again, or ask whoever made the archive."


class ArchiveTruncatedError(ArchiveError):
    """An archive ends too early."""

    kind = "archive-truncated"
    advice = _COPY


class ArchiveUnsupportedError(ArchiveError):
    """An archive is valid, but in a form that the collection does not read."""

    kind = "archive-unsupported"
    advice = "Export the images again."


class ArchiveIncompleteError(ContentError):
    """An archive leaves out content that the store lacks; the detail ``digests`` lists it."""

    kind = "archive-incomplete"
    advice = "Export again, and give as have only what this store has."


class ChunkMissingError(ContentError):
    """Chunks of an archive are missing; the detail ``chunks`` lists their names."""

    kind = "chunk-missing"
    advice = "Insert the medium that has them, or copy them, and run again."


class ChunkWrongError(ContentError):
    """Chunks have other bytes than their list says; the detail ``chunks`` lists their names."""

    kind = "chunk-wrong"
    advice = _COPY


class ArchiveAccessError(LockstepError):
    """The operating system refuses a call on an archive, or its path cannot hold one."""

    kind = "archive-access"


@contextlib.contextmanager
def access(path: str) -> t.Iterator[None]:
    """Convert an OSError in the block to ArchiveAccessError, or to NoSpaceError if the disk or the quota is full."""
    try:
        yield
    except OSError as exc:
        reason = "is a symbolic link" if exc.errno == errno.ELOOP else exc.strerror or str(exc)
        if exc.errno in _FULL:
            hint = _LARGE if exc.errno == errno.EFBIG else ""
            raise NoSpaceError(f"{path}: {reason}", hint, path=path) from exc
        raise ArchiveAccessError(f"{path}: {reason}", path=path) from exc
