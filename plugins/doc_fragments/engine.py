# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  engine:
    description:
      - The container engine of the host.
      - V(docker) is Docker Engine 20.10 or newer, with a graph driver or with the containerd image store.
      - V(containerd) is containerd 1.6 or newer, also that of k3s and RKE2. The program C(ctr) must be installed.
      - V(podman) is the storage of podman and CRI-O. The program C(podman) 4.3 or newer must be installed.
      - V(directory) is a directory of image archives that an engine imports when it starts, such as C(agent/images) of k3s and RKE2.
      - V(auto) is the only one of Docker, containerd and podman that the host has. If it has several, the task fails and lists them. An engine
        that refuses the user of the task counts too. The containerd that Docker itself runs on counts only if it has images of its own. With
        O(socket), only what listens there counts.
    type: str
    choices:
      - auto
      - docker
      - containerd
      - podman
      - directory
    default: auto
  socket:
    description:
      - The path of the Unix socket of Docker or containerd.
      - The default for Docker is the environment variable E(DOCKER_HOST), then C(/var/run/docker.sock), then C(docker.sock) in
        E(XDG_RUNTIME_DIR), where Docker without root listens. The default for containerd is the environment variable E(CONTAINERD_ADDRESS),
        then C(/run/containerd/containerd.sock), then that of k3s and RKE2.
    type: str
  namespace:
    description:
      - The namespace of containerd. Kubernetes uses V(k8s.io), and sees images only there. M(lockstep.images.image_load) creates a namespace
        that does not exist, with a warning.
    type: str
    default: default
  executable:
    description:
      - The program, with arguments, to use instead of C(ctr) or C(podman), for example V(k3s ctr). With O(engine=auto), a program that is called
        C(podman) replaces C(podman), and any other program replaces C(ctr).
    type: str
  path:
    description:
      - The directory of the image archives. Required with O(engine=directory).
    type: path
"""
