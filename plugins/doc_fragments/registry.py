# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
requirements:
  - "requests >= 2.25.1 on the host, when a registry is asked"
options:
  username:
    description:
      - The user to be towards the registries of this task. Written nowhere by a pull.
      - If not given, the logins that the user of the task has are used, see O(config_path).
    type: str
  password:
    description:
      - The password or access token of O(username).
    type: str
  config_path:
    description:
      - A file with logins, in the format of Docker's C(config.json) and containers' C(auth.json). No other file is then read.
      - If not given, the file that the environment variable E(REGISTRY_AUTH_FILE) names, else all of
        C(containers/auth.json) in E(XDG_RUNTIME_DIR) and in E(XDG_CONFIG_HOME), E(DOCKER_AUTH_CONFIG),
        C(config.json) in E(DOCKER_CONFIG) or C(~/.docker), and C(~/.dockercfg). The first with a login for the image decides.
    type: path
  validate_certs:
    description:
      - Whether the certificate of a registry has to be trusted.
    type: bool
    default: true
  ca_path:
    description:
      - A PEM file with certificates of authorities to trust beside those of the system, for the registries of this task.
    type: path
  client_cert:
    description:
      - A PEM file with the certificate to show to the registries of this task. It may hold the key too.
    type: path
  client_key:
    description:
      - A PEM file with the key of O(client_cert).
    type: path
  plain_http:
    description:
      - Speak plain http to the registries of this task.
      - A registry on the loopback interface (V(localhost), V(127.0.0.1)) that does not answer to TLS is spoken to over plain http without being told.
    type: bool
    default: false
  use_proxy:
    description:
      - Whether to use the proxies that the environment variables E(HTTP_PROXY), E(HTTPS_PROXY) and E(NO_PROXY) name. Loopback is never proxied.
    type: bool
    default: true
  timeout:
    description:
      - Seconds a connection may be silent. A download that goes on, but slower than 16 KiB a second, is ended too.
    type: float
    default: 30.0
  retries:
    description:
      - How often a request that failed for a reason that may pass is sent again, and a download that broke off is started again.
      - The waits grow from half a second up to 30 seconds, or are what the registry asks for in C(Retry-After), up to 300 seconds.
    type: int
    default: 5
"""
