# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: digest
short_description: Look up the digests of images in their registries
version_added: 1.0.0
description:
  - Asks registries for the digests of images, from the controller. Nothing is downloaded or stored.
  - All names are looked up in parallel, and each name once. A tag costs one C(HEAD) request, which Docker Hub does not count
    as a pull. A name with a digest costs no request.
  - For several names, use C(query), which returns a list. C(lookup) joins the digests with commas, as always.
notes:
  - The lookup uses the logins of the user on the controller, and no variables of the role C(lockstep.images.store). To convert these into an
    option C(registries), use the filter P(lockstep.images.with_logins#filter).
  - Files, environment variables and Python libraries in the description of options are those of the controller.
  - Ansible evaluates a variable that contains a lookup every time it is used. To look up a digest only once, use C(ansible.builtin.set_fact).
  - C(module_defaults) does not apply to lookups. To share options among lookups, use a dictionary, as in C(lookup(..., **options\)).
extends_documentation_fragment:
  - lockstep.images.registry
  - lockstep.images.platform
options:
  _terms:
    description: The names, written as for the modules of this collection. A list is replaced by its entries.
    type: list
    elements: str
    required: true
  platform:
    description:
      - Return the digest of the image for this platform, C(os/arch[/variant]), instead of the digest of the index.
      - This reads the index, which Docker Hub counts as a pull. If the index has no such image, the lookup fails.
      - If the name points to an image instead of an index, the digest of that image is returned. If it is for another platform, the lookup fails.
    type: str
  result:
    description:
      - V(digest) returns digests.
      - V(reference) returns full names with digests. A tag is kept, as in C(docker.io/library/debian:12@sha256:...).
    type: str
    choices: [digest, reference]
    default: digest
seealso:
  - module: lockstep.images.image_pull
  - plugin: lockstep.images.pinned
    plugin_type: test
  - plugin: lockstep.images.reference
    plugin_type: filter
author:
  - lockstep.images contributors (@lockstep-images)
"""

EXAMPLES = r"""
- name: Show the current digest of debian:12
  ansible.builtin.debug:
    msg: "{{ lookup('lockstep.images.digest', 'debian:12') }}"

- name: Look up the digests once for all hosts
  ansible.builtin.set_fact:
    pinned_images: "{{ query('lockstep.images.digest', store_images, result='reference') }}"
  run_once: true

- name: Pull the images by their digests
  lockstep.images.image_pull:
    name: "{{ pinned_images }}"

- name: Show the digest for one platform, from a registry with a login
  ansible.builtin.debug:
    msg: "{{ lookup('lockstep.images.digest', 'registry.example.com:5000/shop/web:1.4', platform='linux/arm64', **registry_options) }}"
  vars:
    registry_options:
      username: "{{ registry_user }}"
      password: "{{ registry_password }}"

- name: Show the digest with the logins of the role
  ansible.builtin.debug:
    msg: "{{ lookup('lockstep.images.digest', 'registry.example.com:5000/shop/web:1.4', registries=reached) }}"
  vars:
    reached: "{{ [] | lockstep.images.with_logins(store_registries) }}"
"""

RETURN = r"""
_raw:
  description: The digest of each name, or the name with its digest, see O(result). In the order of the names.
  type: list
  elements: str
"""

from ansible.errors import AnsibleLookupError, AnsibleOptionsError
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.module_utils.common.parameters import remove_values
from ansible.module_utils.errors import UnsupportedError
from ansible.plugins.lookup import LookupBase
from ansible_collections.lockstep.images.plugins.module_utils._ansible import (
    REQUIRED_BY,
    require_usable,
    secrets_of,
    shared_options,
    with_lists,
)
from ansible_collections.lockstep.images.plugins.module_utils._execution import in_parallel
from ansible_collections.lockstep.images.plugins.module_utils._image.copy_blob import read_config
from ansible_collections.lockstep.images.plugins.module_utils._image.graph import closure_of
from ansible_collections.lockstep.images.plugins.module_utils._image.names import Platform
from ansible_collections.lockstep.images.plugins.module_utils._registry.options import (
    RegistryOptions,
)
from ansible_collections.lockstep.images.plugins.module_utils._registry.registries import (
    open_registries,
)
from ansible_collections.lockstep.images.plugins.plugin_utils._edge import (
    failed,
    list_from,
    parse_reference,
    plain,
    raise_as,
    warn,
)

_PARALLEL = 6


def argument_spec():
    """Return the options of the lookup as an argument spec, in the format of a module."""
    spec = shared_options()
    del spec["store"]
    spec["platform"] = dict(type="str")
    spec["allow_platform_mismatch"] = dict(type="bool", default=False)
    spec["result"] = dict(type="str", choices=["digest", "reference"], default="digest")
    return spec


class LookupModule(LookupBase):
    """Look up the digests of images; see DOCUMENTATION."""

    def run(self, terms, variables=None, **kwargs):
        options, doubts = _checked(plain(kwargs)), []
        with raise_as(AnsibleLookupError):
            references = [parse_reference(one) for one in _names(self._flatten(terms))]
            platform = options["platform"]
            wanted = None if platform is None else Platform.parse(platform)
            sources = open_registries(RegistryOptions.of(options, _PARALLEL))

            def digest_of(reference):
                if reference.digest and not wanted:
                    return reference.digest
                source = sources.repository(reference)
                if wanted:
                    allow = options["allow_platform_mismatch"]
                    return _for_platform(wanted, reference, source, allow, doubts)
                return source.resolve(reference.tag)

            each = list(dict.fromkeys(references))
            digests = dict(zip(each, in_parallel(digest_of, each, _PARALLEL)))
        for text in [*sources.warnings, *sorted(doubts)]:
            warn(text)
        if options["result"] == "digest":
            return [str(digests[one]) for one in references]
        return [str(one._replace(digest=digests[one])) for one in references]


def _names(terms):
    """Yield all names. A term can be a list that is written as a string."""
    for term in map(plain, terms):
        yield from (isinstance(term, str) and list_from(term)) or [term]


def _checked(given):
    """Return the options after the checks of a module. ``set_options`` accepts any string as a bool and does not check ``registries``."""
    given.pop("wantlist", None)  # set by a loop ``with_lockstep.images.digest``
    spec = argument_spec()
    with raise_as(AnsibleOptionsError):
        require_usable(spec, given)
    given = with_lists(spec, given)
    hidden = {*secrets_of(spec, given)}
    result = ArgumentSpecValidator(spec, required_by=REQUIRED_BY).validate(given)
    if result.error_messages:
        texts = [
            f"unsupported options: {error.msg}"
            if isinstance(error, UnsupportedError)
            else error.msg
            for error in result.errors
        ]
        text = remove_values("; ".join(texts), hidden | result._no_log_values)
        raise failed(AnsibleOptionsError, f"digest: {text}")
    return result.validated_parameters


def _for_platform(wanted, reference, source, allow, doubts):
    """Return the digest of the manifest for the platform ``wanted``, and append a warning to ``doubts`` if it might be wrong."""
    root, top = source.read_manifest(reference.digest or reference.tag)

    def read(descriptor):
        return top if descriptor is root else source.read_manifest(descriptor.digest)[1]

    image = closure_of(root, [wanted], read, str(reference)).images[0]
    if image.descriptor.platform is None:
        config = read_config(image.manifest, source, str(reference))
        doubt = image.doubts(config, [wanted], str(reference), allow)
        doubts += [f"{reference}: {doubt}"] if doubt else []
    return image.descriptor.digest
