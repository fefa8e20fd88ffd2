# SPDX-License-Identifier: GPL-3.0-or-later
"""The errors of content that comes through the connection of Ansible."""

from __future__ import annotations

from .._image.errors import LockstepError


class TransferError(LockstepError):
    """Content did not arrive through the connection."""

    kind = "transfer-failed"
    advice = "Run again: the bytes that have arrived are kept, and are not sent again."


class ConnectionUnsupportedError(LockstepError):
    """The connection of a host cannot carry content."""

    kind = "connection-unsupported"
    advice = "Use a connection such as ssh, or bring a bundle to the host."
