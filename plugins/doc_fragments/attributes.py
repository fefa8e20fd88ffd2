# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options: {}
requirements:
  - Python 3.9 or newer on the host
attributes:
  check_mode:
    support: full
    description: Can run in C(check_mode) and return the changed status prediction without modifying the host.
  diff_mode:
    support: full
    description: Returns details on what has changed (or needs changing in C(check_mode)) in diff mode.
  idempotent:
    support: full
    description: When run twice in a row outside check mode, with the same arguments, the second invocation indicates no change.
  action_group:
    support: full
    description: >-
      Use C(group/lockstep.images.images) in C(module_defaults) to set defaults for this module.
    membership:
      - lockstep.images.images
  platform:
    support: full
    description: The operating systems that the module runs on. It is tested on Linux only.
    platforms: posix
"""

    INFO = r"""
options: {}
attributes:
  facts:
    support: none
    description: Returns C(ansible_facts).
"""

    PROGRESS = r"""
options: {}
notes:
  - While the task runs, it shows on standard error how much of the content it has moved or read, at growing intervals, in one line for each host, or in one
    line for all hosts if there are more than three.
  - E(LOCKSTEP_PROGRESS) in the environment of C(ansible-playbook) turns these lines off with V(0), or is the minimum of seconds between two of them.
    Tasks in check mode, with C(async) or with C(no_log) show none.
"""
