# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

# Documented in report.yml.
import os
from collections.abc import Mapping

from ansible.errors import AnsibleFilterError
from ansible_collections.lockstep.images.plugins.plugin_utils._edge import (
    plain,
    raise_as,
    untrusted,
)


def report(results, date=None, since=None, lock=None, attached=None, hosts=None):
    """Return the report on all hosts; see RETURN."""
    if not isinstance(results, Mapping):
        raise AnsibleFilterError(
            f"report: input is of type {type(results).__name__}, expected a dictionary of results by host name"
        )
    for option, value in (("date", date), ("since", since)):
        if value is not None and not isinstance(value, str):
            raise AnsibleFilterError(
                f"report: {option} is of type {type(value).__name__}, expected a string"
            )
    # Ansible loads all filters of the collection in each run, and few runs need a report.
    from ansible_collections.lockstep.images.plugins.plugin_utils import (
        _report,
        _results,
        _snapshot,
    )

    earlier = None
    if since:
        with raise_as(AnsibleFilterError):
            earlier = _snapshot.read_snapshot(os.path.expanduser(str(plain(since))))
    if hosts is not None:
        results = {str(host): _results.results_of(results[host], date) for host in hosts}
    with raise_as(AnsibleFilterError):
        return untrusted(_report.report(results, date, earlier, plain(lock), plain(attached)))


class FilterModule:
    """Register the filter with Ansible."""

    def filters(self):
        return {"report": report}
