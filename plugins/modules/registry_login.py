#!/usr/bin/python
# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

# Documented in registry_login.yml, which Ansible does not send to hosts.
from ansible_collections.lockstep.images.plugins.module_utils._ansible import run_plan
from ansible_collections.lockstep.images.plugins.module_utils._operations.login import (
    login_path,
    login_target,
    plan_login,
    plan_logout,
)
from ansible_collections.lockstep.images.plugins.module_utils._registry.options import (
    RegistryOptions,
)
from ansible_collections.lockstep.images.plugins.module_utils._registry.registries import (
    given_login,
    open_registries,
)


def build(params, _target):
    name, namespace = login_target(params["registry_url"])
    path = login_path(params["config_path"], namespace=namespace)
    if params["state"] == "absent":
        return plan_logout(name, path, namespace)
    options = RegistryOptions.of(params, connections=1)
    registries = open_registries(options._replace(registries=without_logins(options.registries)))
    return plan_login(
        registries.registry(name),
        given_login(options),
        path,
        verify=params["verify"],
        reauthorize=params["reauthorize"],
        namespace=namespace,
    )


def without_logins(entries):
    """Return the entries of ``registries`` without logins, because the task verifies the login that it stores."""
    return [{**entry, "username": None, "password": None} for entry in entries]


def main():
    run_plan(
        build,
        argument_spec=dict(
            registry_url=dict(
                type="str", default="https://index.docker.io/v1/", aliases=["registry", "url"]
            ),
            verify=dict(type="bool", default=True),
            reauthorize=dict(type="bool", default=False),
            state=dict(type="str", choices=["present", "absent"], default="present"),
        ),
        required_if=[("state", "present", ["username", "password"])],
    )


if __name__ == "__main__":
    main()
