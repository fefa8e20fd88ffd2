# SPDX-License-Identifier: GPL-3.0-or-later
"""Errors of writing to registries and of listing what they hold. Modules that only read images do not send them."""

from __future__ import annotations

from .._image.errors import RegistryError


class PushRefusedError(RegistryError):
    """The registry accepts no pushes."""

    kind = "push-refused"


class TooLargeError(RegistryError):
    """The registry, or a proxy in front of it, refuses a request of this size."""

    kind = "too-large"


class NotOfferedError(RegistryError):
    """The registry does not support the operation."""

    kind = "registry-unsupported"
