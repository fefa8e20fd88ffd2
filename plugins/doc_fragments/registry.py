# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
requirements:
  - "requests >= 2.25.1 on the host (to contact a registry)"
  - "PySocks on the host (only for a SOCKS proxy)"
  - "tomli on the host (only for O(use_host_config) with Python older than 3.11)"
options:
  username:
    description:
      - The user name for the registries of this task. It is not stored on the host.
      - If not given, the task uses the stored logins of the user that it runs as. O(config_path) lists the files.
    type: str
  password:
    description:
      - The password or access token for O(username).
    type: str
  config_path:
    description:
      - A login file, in the format of C(config.json) of Docker or C(auth.json) of Podman and skopeo. If this is set, the task reads no other login file.
      - The default is the file that the environment variable E(REGISTRY_AUTH_FILE) names. If the variable is not set, the task uses the first login for
        the image that it finds in these places.
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
      - Whether to use plain HTTP for the registries of this task.
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
      - Seconds without received data after which an attempt fails. To connect, an attempt has at most 10 seconds.
      - A download is also interrupted when it is this many seconds behind a rate of 16 KiB per second.
    type: float
    default: 30.0
  timeout_total:
    description:
      - The maximum time in seconds from the first attempt of a request to the start of its last retry, including the waits. If a registry asks for a
        wait (C(Retry-After)) that would exceed this time, the request fails immediately.
    type: float
    default: 900.0
  retries:
    description:
      - How many times to retry a request after a temporary error, up to 1000.
      - For a download, only attempts in a row that bring no new bytes count. A download that received new bytes resumes where it stopped.
      - The waits grow from half a second to 30 seconds. If a registry sends C(Retry-After) (seconds, a date or a Unix time), all requests of the task to
        this host wait that long, up to 300 seconds.
    type: int
    default: 5
  requests_per_second:
    description:
      - The maximum number of requests per second to one host. The minimum is one request per day (V(0.0000116)). If not given, there is no limit.
    type: float
  rate_limit_floor:
    description:
      - The number of pulls to leave to others, for a registry that reports how many remain (C(RateLimit-Remaining), as Docker Hub sends it). If only
        this number or fewer remain, the task fails before it reads a manifest.
      - With V(0), or for a registry that reports no limit, the task never fails for this reason.
    type: int
    default: 0
  registries:
    description:
      - Settings for individual registries, which override the other options, and the mirrors of registries.
      - The task tries the mirrors in order, and the registry itself last. It verifies the content of a mirror by its digest. If a mirror cannot be
        reached or serves wrong bytes, the task does not use it again.
    type: list
    elements: dict
    suboptions:
      registry:
        description:
          - The registry, C(host[:port]), or a part of it, C(host[:port]/namespace). For each image, the longest entry that matches applies.
          - The certificate settings of an entry for a whole host also apply when another registry redirects to that host, or uses a token server on that
            host.
        type: str
        required: true
      mirrors:
        description:
          - The mirrors to try before the registry.
          - The options of the task for logins, certificates and plain HTTP do not apply to mirrors. Set them here, or in an entry of O(registries)
            for the host of the mirror.
        type: list
        elements: dict
        suboptions:
          url:
            description:
              - The URL of the mirror, C([https://]host[:port][/path]). With C(http://), the mirror is contacted over plain HTTP.
              - The path is put before the repository name, as Harbor requires for its proxy cache projects.
              - A mirror on another host than the registry gets the name of the registry with each request, as C(ns) in the query. Spegel needs it.
            type: str
            required: true
          headers:
            description:
              - Headers to send to the mirror with each request. They are never sent to another host, for example after a redirect.
              - Ansible shows these values. Logins belong in O(registries[].mirrors[].username), and headers for logins cannot be set.
            type: dict
          pull_from_mirror:
            description:
              - The requests that are sent to the mirror. V(all) means all requests, V(digest-only) only those by digest, and V(tag-only) only those by tag.
            type: str
            choices: [all, digest-only, tag-only]
            default: all
          username:
            description: ["The user name for the mirror. If not given, the task uses the login of an entry for its host, or a stored login for its host."]
            type: str
          password:
            description: ["The password or access token for O(registries[].mirrors[].username)."]
            type: str
          plain_http:
            description: [Whether to use plain HTTP for the mirror.]
            type: bool
          validate_certs:
            description: ["Whether to verify the TLS certificate of the mirror. The default is V(true), unless an entry for its host sets it."]
            type: bool
          ca_path:
            description: ["A PEM file with CA certificates to trust for the mirror, in addition to those of the system."]
            type: path
          client_cert:
            description: [A PEM file with the client certificate for the mirror.]
            type: path
          client_key:
            description: ["A PEM file with the key of O(registries[].mirrors[].client_cert)."]
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
      - Whether to read the registry settings of the host. These are C(registries.conf) of Podman and skopeo, C(hosts.toml) of containerd, and their
        certificate directories. An entry of O(registries) that matches the image takes precedence, unless the entry contains only a login.
      - If one of these files exists, the host needs Python 3.11 or later, or the Python library C(tomli).
    type: bool
    default: false
"""
