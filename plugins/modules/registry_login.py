#!/usr/bin/python
# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: registry_login
short_description: Log in to a container registry, or out of it
version_added: 0.1.0
description:
  - Keeps the credentials for a registry where M(lockstep.images.image_pull), Docker, Podman, skopeo and others find them, or drops them.
  - The registry is asked before anything is written. Credentials that it refuses are not kept.
  - A login that is there already is not written and not verified again, unless O(reauthorize=true).
  - If the file names a credential helper (C(credHelpers) or C(credsStore)), the helper keeps the login, as with C(docker login).
  - The option O(store) is accepted, and has no effect, so that C(module_defaults) can give it to the whole action group.
extends_documentation_fragment:
  - lockstep.images.attributes
  - lockstep.images.store
  - lockstep.images.registry
options:
  registry_url:
    description:
      - The registry, as C(host[:port]) or as a URL of it. The default is Docker Hub.
    type: str
    default: https://index.docker.io/v1/
    aliases:
      - registry
      - url
  username:
    description:
      - The user name. Required if O(state=present).
  password:
    description:
      - The password or access token. Required if O(state=present).
  config_path:
    description:
      - The file that keeps the login. If not given, the one that the environment variable E(REGISTRY_AUTH_FILE) names,
        else C(config.json) in the directory that E(DOCKER_CONFIG) names, else C(~/.docker/config.json).
      - It is written with mode V(0600), and all else in it is kept.
  verify:
    description:
      - Ask the registry whether it accepts the credentials before they are written.
      - V(false) only writes, for a host that cannot reach the registry yet.
    type: bool
    default: true
  reauthorize:
    description:
      - Ask the registry even if the same login is there already.
    type: bool
    default: false
  state:
    description:
      - Whether the login shall be there.
    type: str
    choices:
      present: Log in.
      absent: Log out. No registry is asked.
    default: present
seealso:
  - module: lockstep.images.image_pull
  - module: community.docker.docker_login
author:
  - lockstep.images contributors (@lockstep-images)
"""

EXAMPLES = r"""
- name: Log in to Docker Hub
  lockstep.images.registry_login:
    username: "{{ hub_user }}"
    password: "{{ hub_token }}"

- name: Log in to a registry of one's own
  lockstep.images.registry_login:
    registry_url: registry.example.com:5000
    username: "{{ registry_user }}"
    password: "{{ registry_password }}"
    ca_path: /etc/ssl/registry-ca.pem

- name: Keep a login for Podman and skopeo without asking the registry
  lockstep.images.registry_login:
    registry_url: registry.example.com:5000
    username: "{{ registry_user }}"
    password: "{{ registry_password }}"
    config_path: /root/.config/containers/auth.json
    verify: false

- name: Log out
  lockstep.images.registry_login:
    registry_url: registry.example.com:5000
    state: absent
"""

RETURN = r"""
login_result:
  description: What became of the login. The secret is never returned.
  returned: success
  type: dict
  contains:
    verified:
      description: Whether the registry accepted the credentials in this task.
      type: bool
    stored_in:
      description: The file, or the credential helper, that keeps the login.
      type: str
      sample: /root/.docker/config.json
actions:
  description: What was done, or in check mode would be done.
  returned: success
  type: list
  elements: dict
  contains:
    action:
      description: V(store_login) or V(remove_login).
      type: str
    registry:
      description: The registry.
      type: str
    username:
      description: The user name, V(null) for V(remove_login).
      type: str
    stored_in:
      description: As RV(login_result.stored_in).
      type: str
diff:
  description: The registry and the user name logged in, before and after.
  returned: success
  type: dict
  contains:
    before:
      description: Registry to user name, before.
      type: dict
    after:
      description: Registry to user name, after.
      type: dict
error:
  description: What went wrong, for a playbook to decide on.
  returned: failure
  type: dict
  contains:
    kind:
      description: A stable word for the error.
      type: str
      sample: authentication-failed
    hint:
      description: What to do about it, may be empty.
      type: str
"""

from ansible_collections.lockstep.images.plugins.module_utils._ansible.registries import (
    given_login,
    login_file,
    open_registries,
)
from ansible_collections.lockstep.images.plugins.module_utils._ansible.runner import run_plan
from ansible_collections.lockstep.images.plugins.module_utils._oci.reference import parse_registry
from ansible_collections.lockstep.images.plugins.module_utils._operations.login import (
    plan_login,
    plan_logout,
)


def build(params, _target):
    name = parse_registry(params["registry_url"])
    if params["state"] == "absent":
        return plan_logout(name, login_file(params))
    return plan_login(
        open_registries(params, 1).registry(name),
        given_login(params),
        login_file(params),
        verify=params["verify"],
        reauthorize=params["reauthorize"],
    )


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
