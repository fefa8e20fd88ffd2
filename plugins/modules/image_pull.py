#!/usr/bin/python
# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: image_pull
short_description: Pull container images into an image store
version_added: 0.1.0
description:
  - Puts images of container registries into a store on the host, all of them in one task, and changes nothing that is there already.
  - The host needs no container engine and no other tool. The store is an OCI image layout, which skopeo, podman, buildah,
    containerd, crane and k3s read as it stands.
  - A name in the store points at exactly the digest the registry gives, and no byte of a manifest is changed.
    Of a multi-platform image the store keeps the index and the content for the platforms asked for.
  - Content is verified against its digest while it is written, and a name is set only when all content behind it is there and flushed to
    disk. A task that is killed leaves a valid store, and the next run does the rest.
extends_documentation_fragment:
  - lockstep.images.attributes
  - lockstep.images.store
  - lockstep.images.registry
options:
  name:
    description:
      - The images, each written as for C(docker pull). C(debian), C(library/debian:latest) and C(docker.io/library/debian) are the same image.
      - With a digest, as in V(debian:12@sha256:...), the digest decides what is pulled and no registry is asked once it is there.
        The image is kept under the tag where there is one, else under the digest.
    type: list
    elements: str
    required: true
  platform:
    description:
      - The platforms to pull of a multi-platform image, each as C(os/architecture[/variant]), for example V(linux/arm64).
      - Where there is no image for just this platform, the best that its CPU runs is taken, as containerd does.
      - Platforms that an earlier task asked for under the same name and digest are kept.
      - If not given, the platform of the host.
    type: list
    elements: str
  all_tags:
    description:
      - Pull every tag of the repositories in O(name), which must then have neither tag nor digest.
    type: bool
    default: false
  pull:
    description:
      - When to ask the registry what a tag stands for now. A digest is never asked for twice, whatever this says.
    type: str
    choices:
      always: Ask, and download what differs.
      missing: Ask only for names that the store does not have. A name that is there is completed if content is missing, and never moved.
      never: Ask nothing. A name that the store does not hold completely is an error.
    default: always
  parallel:
    description:
      - How many requests and downloads run at the same time.
    type: int
    default: 6
seealso:
  - module: lockstep.images.image_info
  - module: lockstep.images.registry_login
  - module: community.docker.docker_image_pull
author:
  - lockstep.images contributors (@lockstep-images)
"""

EXAMPLES = r"""
- name: Pull one image
  lockstep.images.image_pull:
    name: debian:12

- name: Pull many images in one task, one of them pinned
  lockstep.images.image_pull:
    name:
      - docker.io/library/debian:12
      - quay.io/prometheus/prometheus:v3.0.1
      - registry.example.com:5000/shop/web@sha256:6c3c624b58dbbcd3c0dd82b4c53f04194d1247c6eebdaab7c610cf7d66709b3b

- name: Pull for two platforms into a store of one's own
  lockstep.images.image_pull:
    name: alpine
    platform:
      - linux/amd64
      - linux/arm64
    store: /srv/images

- name: Pull every tag of a repository from a registry with its own CA
  lockstep.images.image_pull:
    name: registry.example.com/shop/web
    all_tags: true
    username: "{{ registry_user }}"
    password: "{{ registry_password }}"
    ca_path: /etc/ssl/registry-ca.pem

- name: Tell what an update would download
  lockstep.images.image_pull:
    name: debian:12
  check_mode: true
  register: update

- name: Fail when an image is not on the host
  lockstep.images.image_pull:
    name: debian:12
    pull: never
"""

RETURN = r"""
images:
  description: One entry for each image and platform, in the order of O(name).
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: The name in the store, in full.
      type: str
      sample: docker.io/library/debian:12
    digest:
      description: What the name points at, as the registry gives it. For a multi-platform image this is its index.
      type: str
      sample: sha256:6c3c624b58dbbcd3c0dd82b4c53f04194d1247c6eebdaab7c610cf7d66709b3b
    id:
      description: The digest of the image's configuration, which Docker calls the image ID.
      type: str
      sample: sha256:d5269ef9ecfd5b0c5ae7ae5b3e4d6d6b56bbe7a4fb5a1a49ba4fda2f1aef1f2c
    platform:
      description: The platform of this image. V(null) for an artifact that names none.
      type: str
      sample: linux/amd64
    size:
      description: Bytes of manifest, configuration and layers, as they travel.
      type: int
      sample: 48497713
    status:
      description: >-
        V(downloaded) if content or the name was missing, V(updated) if the name pointed at something else, or V(up_to_date).
      type: str
      sample: up_to_date
    layers:
      description: The layers, lowest first.
      type: list
      elements: dict
      contains:
        digest:
          description: Digest of the layer as it travels.
          type: str
        media_type:
          description: Its media type.
          type: str
        size:
          description: Its size in bytes.
          type: int
actions:
  description: What was done, or in check mode would be done. Content comes first, names last.
  returned: success
  type: list
  elements: dict
  contains:
    action:
      description: V(store_content), V(fetch_blob) or V(set_name).
      type: str
    digest:
      description: The content.
      type: str
    media_type:
      description: Its media type, for content.
      type: str
    size:
      description: Its size in bytes, for content.
      type: int
    source:
      description: The repository it comes from, for V(fetch_blob).
      type: str
    name:
      description: The name, for V(set_name).
      type: str
    previous:
      description: The digest it pointed at before, for V(set_name).
      type: str
diff:
  description: What each name of the task points at before and after, with the platforms asked for.
  returned: success
  type: dict
  contains:
    before:
      description: Name to digest, before.
      type: dict
    after:
      description: Name to digest, after.
      type: dict
stats:
  description: What the task cost.
  returned: success
  type: dict
  contains:
    bytes_to_fetch:
      description: Size of the blobs that the plan fetches. The same in check mode.
      type: int
    bytes_fetched:
      description: Bytes of all answers that were read.
      type: int
    requests:
      description: Requests that were sent, by method.
      type: dict
    retries:
      description: Requests and downloads that were tried again.
      type: int
    seconds_waited:
      description: Time spent waiting before those.
      type: float
error:
  description: What went wrong, for a playbook to decide on.
  returned: failure
  type: dict
  contains:
    kind:
      description: A stable word for the error.
      type: str
      sample: not-found
    hint:
      description: What to do about it, may be empty.
      type: str
"""

from ansible_collections.lockstep.images.plugins.module_utils._ansible.registries import (
    open_registries,
)
from ansible_collections.lockstep.images.plugins.module_utils._ansible.runner import run_plan
from ansible_collections.lockstep.images.plugins.module_utils._ansible.store import (
    open_store,
    references,
)
from ansible_collections.lockstep.images.plugins.module_utils._oci.platforms import Platform
from ansible_collections.lockstep.images.plugins.module_utils._operations.pull import plan_pull


def build(params, store):
    return plan_pull(
        references(params),
        platforms=[Platform.parse(text) for text in params["platform"] or ()] or [Platform.host()],
        policy=params["pull"],
        sources=open_registries(params, params["parallel"]),
        store=store,
        workers=params["parallel"],
        all_tags=params["all_tags"],
    )


def main():
    run_plan(
        build,
        open_target=open_store,
        argument_spec=dict(
            name=dict(type="list", elements="str", required=True),
            platform=dict(type="list", elements="str"),
            all_tags=dict(type="bool", default=False),
            pull=dict(type="str", choices=["always", "missing", "never"], default="always"),
            parallel=dict(type="int", default=6),
        ),
    )


if __name__ == "__main__":
    main()
