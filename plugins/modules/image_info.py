#!/usr/bin/python
# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: image_info
short_description: Tell what an image store holds
version_added: 0.1.0
description:
  - Tells what C(docker image ls --digests), C(docker image inspect) and C(docker image history) tell, of the images in a store.
  - Reads the store only. No registry is asked, nothing is changed, and a store that does not exist reads as an empty one.
    The options for registries are accepted, and have no effect, so that C(module_defaults) can give them to the whole action group.
  - The RV(fingerprint) is equal on two hosts if and only if their stores hold the same names, digests and platforms.
extends_documentation_fragment:
  - lockstep.images.attributes
  - lockstep.images.attributes.info
  - lockstep.images.store
  - lockstep.images.registry
options:
  name:
    description:
      - The images to tell of, each written as for M(lockstep.images.image_pull). A digest alone finds any tag of its repository that points at it.
      - If not given, all images.
    type: list
    elements: str
seealso:
  - module: lockstep.images.image_pull
  - module: community.docker.docker_image_info
author:
  - lockstep.images contributors (@lockstep-images)
"""

EXAMPLES = r"""
- name: Look at everything in the store
  lockstep.images.image_info:
  register: store

- name: Show names and digests as docker image ls --digests does
  ansible.builtin.debug:
    msg: "{{ item.name }} {{ item.digest }} {{ item.id }} {{ item.size }}"
  loop: "{{ store.images }}"
  loop_control:
    label: "{{ item.name }}"

- name: Look at one image
  lockstep.images.image_info:
    name: debian:12
  register: debian

- name: Show its operating system as docker image inspect --format does
  ansible.builtin.debug:
    msg: "{{ debian.images[0].inspect.Os }}"

- name: Fail unless two images are there
  lockstep.images.image_info:
    name:
      - debian:12
      - alpine:3.20
  register: wanted
  failed_when: wanted.missing | length > 0
"""

RETURN = r"""
images:
  description: One entry for each name and platform.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: The name in the store, in full.
      type: str
      sample: docker.io/library/debian:12
    digest:
      description: What the name points at. For a multi-platform image this is its index.
      type: str
      sample: sha256:6c3c624b58dbbcd3c0dd82b4c53f04194d1247c6eebdaab7c610cf7d66709b3b
    id:
      description: The digest of the image's configuration, which Docker calls the image ID.
      type: str
    platform:
      description: The platform of this entry.
      type: str
      sample: linux/amd64
    platforms:
      description: The platforms the store keeps of this name.
      type: list
      elements: str
    created:
      description: When the image was made, as its configuration says.
      type: str
      sample: "2026-01-13T00:39:38Z"
    size:
      description: Bytes of manifest, configuration and layers, as they lie in the store. Docker shows the size of unpacked layers instead.
      type: int
    layers:
      description: The layers, lowest first.
      type: list
      elements: dict
      contains:
        digest:
          description: Digest of the layer as it lies in the store.
          type: str
        media_type:
          description: Its media type.
          type: str
        size:
          description: Its size in bytes.
          type: int
        diff_id:
          description: Digest of the layer unpacked.
          type: str
        chain_id:
          description: Digest of this layer and all below it, which names the layer's directory in Docker's C(layerdb).
          type: str
        shared_by:
          description: How many images in the store have this layer.
          type: int
    history:
      description: The steps that made the image, oldest first.
      type: list
      elements: dict
      contains:
        created:
          description: When.
          type: str
        created_by:
          description: By which command.
          type: str
        size:
          description: Bytes of the step's layer in the store.
          type: int
        empty_layer:
          description: Whether the step made no layer.
          type: bool
        comment:
          description: What its author remarked.
          type: str
    inspect:
      description: >-
        The same with the names and the nesting of C(docker image inspect). Empty for an artifact that is no image.
      type: dict
      contains:
        Id:
          description: The digest of the configuration.
          type: str
        RepoTags:
          description: All names of this image in the store, in Docker's short form.
          type: list
          elements: str
        RepoDigests:
          description: All digests it is named by.
          type: list
          elements: str
        Comment:
          description: A comment.
          type: str
        Created:
          description: When it was made.
          type: str
        DockerVersion:
          description: The version of Docker that made it.
          type: str
        Author:
          description: Who made it.
          type: str
        Config:
          description: How a container of it runs, as the image says (C(Env), C(Cmd), C(Entrypoint), C(Labels) and so on).
          type: dict
        Architecture:
          description: The architecture.
          type: str
        Variant:
          description: The variant of the architecture.
          type: str
        Os:
          description: The operating system.
          type: str
        OsVersion:
          description: The version of the operating system.
          type: str
        Size:
          description: As RV(images[].size).
          type: int
        RootFS:
          description: C(Type) and the diff ids of the C(Layers).
          type: dict
    complete:
      description: Whether all content that was asked for under this name is in the store with the right size.
      type: bool
missing:
  description: The names that are not in the store, in full.
  returned: success
  type: list
  elements: str
  sample: [docker.io/library/alpine:3.20]
fingerprint:
  description: Digest of the store's canonical index.
  returned: success
  type: str
  sample: sha256:0b1f5e1fbe3ba3f0bdbf1ee4cd9a3ab1dbb1d1a1d83cbd2c5c1c34be84a8fd2a
store:
  description: The directory of the store.
  returned: success
  type: str
  sample: /var/lib/lockstep/images
actions:
  description: Always empty.
  returned: success
  type: list
  elements: dict
diff:
  description: Always without a difference.
  returned: success
  type: dict
error:
  description: What went wrong, for a playbook to decide on.
  returned: failure
  type: dict
  contains:
    kind:
      description: A stable word for the error.
      type: str
      sample: not-a-layout
    hint:
      description: What to do about it, may be empty.
      type: str
"""

from ansible_collections.lockstep.images.plugins.module_utils._ansible.runner import run_plan
from ansible_collections.lockstep.images.plugins.module_utils._ansible.store import (
    open_store,
    references,
)
from ansible_collections.lockstep.images.plugins.module_utils._operations.info import plan_info


def build(params, store):
    return plan_info(store, references(params))


def main():
    run_plan(
        build,
        open_target=open_store,
        argument_spec=dict(
            name=dict(type="list", elements="str"),
        ),
    )


if __name__ == "__main__":
    main()
