# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

# Documented in report.yml.
from collections.abc import Mapping

from ansible.errors import AnsibleFilterError
from ansible_collections.lockstep.images.plugins.plugin_utils import _report
from ansible_collections.lockstep.images.plugins.plugin_utils._edge import untrusted


def report(said, date=None):
    """The model of a fleet; see RETURN."""
    if not isinstance(said, Mapping):
        raise AnsibleFilterError(
            f"report: expects host names with what the hosts said, not a {type(said).__name__}"
        )
    if date is not None and not isinstance(date, str):
        raise AnsibleFilterError(f"report: date is a text, not a {type(date).__name__}")
    return untrusted(_report.report(said, date))


class FilterModule:
    """The filter of this file."""

    def filters(self):
        return {"report": report}
