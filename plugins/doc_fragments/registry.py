# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
requirements:
  - "requests >= 2.25.1 on the host, when a registry is asked"
  - "PySocks on the host, for a proxy that speaks SOCKS"
  - "tomli on the host, for O(use_host_config) with a Python older than 3.11"
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
      - Whether to use the proxies that the environment variables E(HTTP_PROXY), E(HTTPS_PROXY), E(ALL_PROXY) and E(NO_PROXY) name.
        Entries of E(NO_PROXY) mean what they mean to Docker and skopeo. Loopback is never proxied.
    type: bool
    default: true
  timeout:
    description:
      - Seconds a connection may be silent. A download that falls behind 16 KiB a second by as many seconds is ended too.
    type: float
    default: 30.0
  timeout_total:
    description:
      - Seconds to go on trying one request, waits included. A registry that wants a longer wait (C(Retry-After)) ends it at once.
    type: float
    default: 900.0
  retries:
    description:
      - How often a request that failed for a reason that may pass is sent again, up to 1000 times, and how often in a row a download may
        bring nothing. One that brings bytes goes on where it broke off, and is not counted.
      - The waits grow from half a second up to 30 seconds, or are what the registry asks for in C(Retry-After)
        (seconds, a date or a unix time), up to 300 seconds. All threads of the task wait then.
    type: int
    default: 5
  requests_per_second:
    description:
      - The most requests to send to one host in a second, at least one a day. If not given, as many as come up.
    type: float
  rate_limit_floor:
    description:
      - Stop, before a manifest is read, when the registry says that only so many pulls are left (C(RateLimit-Remaining), as Docker Hub sends it).
        With V(0), never.
      - Has no effect for registries that do not tell.
    type: int
    default: 0
  registries:
    description:
      - Registries that differ from what the other options say, and mirrors of registries.
      - Mirrors are asked in order, the registry itself last. What a mirror serves is proven by its digest. One that is
        dead or serves wrong bytes is left out for the rest of the task.
    type: list
    elements: dict
    suboptions:
      registry:
        description:
          - The registry, C(host[:port]), or a part of it, C(host[:port]/namespace). The longest that fits an image counts.
          - What an entry for a whole host says of certificates also holds where a registry redirects to that host, or has its token server there.
        type: str
        required: true
      mirrors:
        description:
          - Where to look first. A mirror takes over none of the options of the task, neither logins nor certificates.
        type: list
        elements: dict
        suboptions:
          url:
            description:
              - C(https://host[:port][/path]). A path comes before the repository, as with the proxy projects of Harbor.
            type: str
            required: true
          pull_from_mirror:
            description:
              - Ask the mirror for everything, only for what has a digest, or only what a tag stands for.
            type: str
            choices: [all, digest-only, tag-only]
            default: all
          username:
            description: [The user to be towards the mirror. If not given, a login for its host is looked up.]
            type: str
          password:
            description: [The password or access token of that user.]
            type: str
          plain_http:
            description: [Speak plain http to it.]
            type: bool
          validate_certs:
            description: [Whether its certificate has to be trusted. So it is if not given.]
            type: bool
          ca_path:
            description: [A PEM file with authorities to trust for it.]
            type: path
          client_cert:
            description: [A PEM file with the certificate to show to it.]
            type: path
          client_key:
            description: [A PEM file with the key of that certificate.]
            type: path
      username:
        description: [In place of the option of the task.]
        type: str
      password:
        description: [In place of the option of the task.]
        type: str
      plain_http:
        description: [In place of the option of the task.]
        type: bool
      validate_certs:
        description: [In place of the option of the task.]
        type: bool
      ca_path:
        description: [In place of the option of the task.]
        type: path
      client_cert:
        description: [In place of the option of the task.]
        type: path
      client_key:
        description: [In place of the option of the task.]
        type: path
  use_host_config:
    description:
      - Whether to read how the host itself reaches registries - C(registries.conf) of containers, C(hosts.toml) of containerd, and their
        directories of certificates. An entry of O(registries) that fits comes before them,
        unless it gives a login alone.
      - Needs Python 3.11 on the host, or the Python library C(tomli), if there is such a file.
    type: bool
    default: false
"""
