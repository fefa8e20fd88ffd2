# SPDX-License-Identifier: GPL-3.0-or-later
"""The options that modules share. Documented in doc_fragments/store.py and doc_fragments/registry.py.

Every module takes all of them, also those it has no use for: ``module_defaults`` for the action group
``lockstep.images.images`` hands the same options to every module of the group.
"""

from __future__ import annotations

import typing as t


def shared_options() -> dict[str, t.Any]:
    """The argument spec of the store and of registries."""
    return {
        "store": {"type": "path"},
        "username": {"type": "str"},
        "password": {"type": "str", "no_log": True},
        "config_path": {"type": "path"},
        "validate_certs": {"type": "bool", "default": True},
        "ca_path": {"type": "path"},
        "client_cert": {"type": "path"},
        "client_key": {"type": "path", "no_log": False},
        "plain_http": {"type": "bool", "default": False},
        "use_proxy": {"type": "bool", "default": True},
        "timeout": {"type": "float", "default": 30.0},
        "retries": {"type": "int", "default": 5},
    }


SHARED_RULES = {
    "required_by": {"password": ["username"], "client_key": ["client_cert"]},
}
"""What ``AnsibleModule`` has to check of these options beside their types."""
