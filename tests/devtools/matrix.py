# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The versions that are tested."""

from __future__ import annotations

# the releases of ansible-core by their line
CORES = {"2.16": "2.16.19", "2.19": "2.19.14", "2.21": "2.21.5"}
# the line of ansible-core, and the Python that runs it
SANITY = (("2.16", "3.10"), ("2.19", "3.11"), ("2.21", "3.13"))
NEWEST_UNITS = ("2.21", "3.13")
# with tests/requirements/unit-oldest.txt
OLDEST_PYTHON = "3.9"
