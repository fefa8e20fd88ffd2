# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
requirements:
  - "requests >= 2.25.1 on the host, to contact a registry"
  - "PySocks on the host, to use a SOCKS proxy"
  - "tomli on the host, for O(use_host_config) with Python older than 3.11"
options:
  username:
    description:
      - The user name for the registries of this task. It is not stored on the host.
      - If not given, the task uses the stored logins of the user that it runs as, see O(config_path).
    type: str
  password:
    description:
      - The password or access token for O(username).
    type: str
  config_path:
    description:
      - A login file, in the format of C(config.json) of Docker or C(auth.json) of Podman and skopeo. If it is set, no other
        login file is read.
      - The default is the file that the environment variable E(REGISTRY_AUTH_FILE) names. If that is not set, the task uses the first login for the
        image in these places.
        (1) C(containers/auth.json) in E(XDG_RUNTIME_DIR), or C(/run/containers/UID/auth.json) if the variable is not set.
        (2) C(containers/auth.json) in E(XDG_CONFIG_HOME), by default C(~/.config).
        (3) The text in E(DOCKER_AUTH_CONFIG).
        (4) C(config.json) in E(DOCKER_CONFIG), by default C(~/.docker).
        (5) C(~/.dockercfg).
    type: path
  validate_certs:
    description:
      - Whether to verify the TLS certificates of registries.
    type: bool
    default: true
  ca_path:
    description:
      - A PEM file with CA certificates to trust in addition to those of the system, for the registries of this task.
    type: path
  client_cert:
    description:
      - A PEM file with the client certificate for the registries of this task. It can also contain the key.
    type: path
  client_key:
    description:
      - A PEM file with the key of O(client_cert).
    type: path
  plain_http:
    description:
      - Use plain HTTP for the registries of this task.
      - A registry on the loopback interface (V(localhost), V(127.0.0.1)) that does not support TLS is always contacted over plain HTTP.
    type: bool
    default: false
  use_proxy:
    description:
      - Whether to use the proxies in the environment variables E(HTTP_PROXY), E(HTTPS_PROXY), E(ALL_PROXY) and E(NO_PROXY).
        Entries of E(NO_PROXY) have the same meaning as for Docker and skopeo. Connections to the loopback interface never use a proxy.
    type: bool
    default: true
  timeout:
    description:
      - Seconds without received data after which a connection fails. A download also fails if it falls this many seconds behind a rate of
        16 KiB per second.
    type: float
    default: 30.0
  timeout_total:
    description:
      - The maximum time in seconds from the first attempt of a request to the start of its last retry, including the waits. If a registry asks for a
        wait (C(Retry-After)) that would exceed it, the request fails immediately.
    type: float
    default: 900.0
  retries:
    description:
      - How many times to retry a request after a temporary error, up to 1000. Also how many times in a row a download can fail without
        receiving new bytes. A download that received new bytes resumes where it stopped, and does not count as a retry.
      - The waits grow from half a second to 30 seconds. If a registry sends C(Retry-After) (seconds, a date or a Unix time), the wait is as long as
        that, up to 300 seconds. All requests of the task to this host wait.
    type: int
    default: 5
  requests_per_second:
    description:
      - The maximum number of requests to one host per second. The minimum value is one request per day. If not given, there is no limit.
    type: float
  rate_limit_floor:
    description:
      - Fail before a manifest is read if the registry reports that this number of pulls or fewer remain (C(RateLimit-Remaining), as Docker Hub
        sends it). With V(0), never fail for this reason.
      - Has no effect for registries that report no limit.
    type: int
    default: 0
  registries:
    description:
      - Settings for individual registries, which override the other options, and mirrors of registries.
      - Mirrors are tried in order, and the registry itself is tried last. Content from a mirror is verified by its digest. A mirror that
        cannot be reached or serves wrong bytes is not used for the rest of the task.
    type: list
    elements: dict
    suboptions:
      registry:
        description:
          - The registry, C(host[:port]), or a part of it, C(host[:port]/namespace). The longest match for an image applies.
          - The certificate settings of an entry for a whole host also apply if another registry redirects to that host, or has its token server there.
        type: str
        required: true
      mirrors:
        description:
          - The mirrors to try before the registry. The options of the task for logins, certificates and plain HTTP do not apply to mirrors. Set them here.
        type: list
        elements: dict
        suboptions:
          url:
            description:
              - C(https://host[:port][/path]). The path is prefixed to the repository name, as Harbor requires for its proxy cache
                projects.
            type: str
            required: true
          pull_from_mirror:
            description:
              - V(all) uses the mirror for all requests, V(digest-only) only for requests by digest, and V(tag-only) only for requests by tag.
            type: str
            choices: [all, digest-only, tag-only]
            default: all
          username:
            description: [The user name for the mirror. If not given, a stored login for its host is used.]
            type: str
          password:
            description: [The password or access token of that user.]
            type: str
          plain_http:
            description: [Use plain HTTP for the mirror.]
            type: bool
          validate_certs:
            description: [Whether to verify the TLS certificate of the mirror. By default, it is verified.]
            type: bool
          ca_path:
            description: [A PEM file with CA certificates to trust for the mirror.]
            type: path
          client_cert:
            description: [A PEM file with the client certificate for the mirror.]
            type: path
          client_key:
            description: [A PEM file with the key of that certificate.]
            type: path
      username:
        description: [Overrides O(username) for this registry.]
        type: str
      password:
        description: [Overrides O(password) for this registry.]
        type: str
      plain_http:
        description: [Overrides O(plain_http) for this registry.]
        type: bool
      validate_certs:
        description: [Overrides O(validate_certs) for this registry.]
        type: bool
      ca_path:
        description: [Overrides O(ca_path) for this registry.]
        type: path
      client_cert:
        description: [Overrides O(client_cert) for this registry.]
        type: path
      client_key:
        description: [Overrides O(client_key) for this registry.]
        type: path
  use_host_config:
    description:
      - Whether to read the registry settings of the host, which are C(registries.conf) of Podman and skopeo, C(hosts.toml) of containerd, and their
        certificate directories. A matching entry of O(registries) takes precedence, unless it contains only a login.
      - If such a file exists, the host needs Python 3.11 or later, or the Python library C(tomli).
    type: bool
    default: false
"""
