# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

# Documented in human_size.yml.
from decimal import Decimal, InvalidOperation

from ansible.errors import AnsibleFilterError
from ansible_collections.lockstep.images.plugins.module_utils._image import errors

_UNITS = {
    "si": (),
    "binary": (1024, ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")),
}
_LIMIT = 1024**7


def human_size(value, units="si"):
    """Format a number of bytes; see RETURN."""
    if str(units) not in _UNITS:
        raise AnsibleFilterError(
            f"human_size: units is {errors.printable(repr(units))}, expected si or binary"
        )
    return errors.readable_size(_number(value), *_UNITS[str(units)])


def _number(value):
    """Return the number of bytes. Accept a string too, because templates convert numbers to strings."""
    try:
        number = Decimal(str(value))
        if 0 <= number < _LIMIT:
            return number
    except InvalidOperation:
        pass
    raise AnsibleFilterError(
        f"human_size: {errors.printable(repr(value))} is not a number of bytes"
    )


class FilterModule:
    """Register the filter with Ansible."""

    def filters(self):
        return {"human_size": human_size}
