# SPDX-License-Identifier: GPL-3.0-or-later
"""The errors of container engines; their ``kind`` is stable."""

from __future__ import annotations

from .._image.errors import LockstepError

# What programs of engines say of a full disk (errno(3): ENOSPC, EDQUOT).
_DISK_IS_FULL = ("no space left on device", "disk quota exceeded")


class EngineError(LockstepError):
    """An engine answers with an error."""

    kind = "engine-error"
    advice = "See the log of the engine."


class EngineNotFoundError(EngineError):
    """No engine answers, or its program is missing."""

    kind = "engine-not-found"
    advice = "Start the engine, or give its socket or its program with socket or executable."


class EngineRefusedError(EngineError):
    """The engine does not let this user in."""

    kind = "engine-refused"
    advice = "Set become, or let the user of the task use the socket of the engine."


class EngineAmbiguousError(EngineError):
    """Several engines answer."""

    kind = "engine-ambiguous"
    advice = "Choose one with engine, or with socket."


class EngineTooOldError(EngineError):
    """The engine is older than the oldest that is supported."""

    kind = "engine-too-old"
    advice = "Upgrade the engine."


class EngineNoSpaceError(EngineError):
    """The disk of the engine is full, or has less space than the images need."""

    kind = "engine-no-space"
    advice = (
        "Free disk space of the engine, for example with docker image prune or crictl rmi --prune."
    )


class EngineIncompleteError(EngineError):
    """An image is not usable in the engine after all its content was sent."""

    kind = "engine-incomplete"
    advice = "Verify the store with lockstep.images.store_verify, and see the log of the engine."


class EngineGoneError(EngineError):
    """The engine ended, or closed the connection, before it answered."""

    kind = "engine-gone"
    advice = "Start the engine again and repeat the task, which sends only what is missing then."


class EngineTimeoutError(EngineGoneError):
    """The engine does not answer in time."""

    kind = "engine-timeout"
    advice = "See whether the engine hangs, or raise timeout or timeout_total."


class EngineConflictError(EngineError):
    """A name in the engine was moved by another process."""

    kind = "engine-conflict"
    advice = "Run again."


class NameTakenError(EngineError):
    """A name in the engine points at another image, and must not be moved."""

    kind = "engine-name-taken"
    advice = "Set existing to move to point the name at the new image."


class UnsupportedByEngineError(EngineError):
    """The engine cannot keep such an image, or not under such a name."""

    kind = "engine-unsupported"
    advice = "Leave the image out, or load it into another engine."


class UnsupportedLayerError(UnsupportedByEngineError):
    """The engine cannot read the compression of a layer."""

    kind = "layer-unsupported"
    advice = "Upgrade the engine, or install the Python library zstandard on the host."


def is_full_disk(message: str) -> bool:
    """Return whether the message of an engine means that its disk is full."""
    return any(reason in message for reason in _DISK_IS_FULL)
