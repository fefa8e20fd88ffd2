# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

# Documented in table.yml.
import re

from ansible.errors import AnsibleFilterError
from ansible_collections.lockstep.images.plugins.module_utils._image import errors
from ansible_collections.lockstep.images.plugins.plugin_utils._edge import failed, untrusted

_DIGEST = re.compile(r"\b(sha(?:256|512):[0-9a-f]{12})[0-9a-f]{52,}")
_WIDEST = 120


def table(rows, columns):
    """Return the lines of the table; see RETURN."""
    try:
        cells = [[_cell(row[column]) for column in columns] for row in rows]
    except (KeyError, TypeError) as exc:
        raise failed(
            AnsibleFilterError,
            f"table: {exc!r}, expected a list of dictionaries with the keys {columns}",
        ) from exc
    lines = [[str(column).upper() for column in columns], *cells]
    widths = [max(map(len, column)) for column in zip(*lines)]
    return untrusted(["  ".join(map(str.ljust, line, widths)).rstrip() for line in lines])


def _cell(value):
    return errors.printable(_DIGEST.sub(r"\1", str(value)), _WIDEST)


class FilterModule:
    """Register the filter with Ansible."""

    def filters(self):
        return {"table": table}
