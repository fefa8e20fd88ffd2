# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

# Documented in report.yml.
from collections.abc import Mapping

from ansible.errors import AnsibleFilterError
from ansible_collections.lockstep.images.plugins.plugin_utils import _report
from ansible_collections.lockstep.images.plugins.plugin_utils._edge import untrusted


def report(results, date=None):
    """Return the report on all hosts; see RETURN."""
    if not isinstance(results, Mapping):
        raise AnsibleFilterError(
            f"report: input is of type {type(results).__name__}, expected a dictionary of results by host name"
        )
    if date is not None and not isinstance(date, str):
        raise AnsibleFilterError(
            f"report: date is of type {type(date).__name__}, expected a string"
        )
    return untrusted(_report.report(results, date))


class FilterModule:
    """Register the filter with Ansible."""

    def filters(self):
        return {"report": report}
