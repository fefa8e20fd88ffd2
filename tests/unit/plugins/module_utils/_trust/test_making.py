# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Signatures that are made: the bytes that cosign writes, and nothing of others is lost."""

from __future__ import annotations

import json

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._image.manifest import (
    Descriptor,
    Manifest,
)
from ansible_collections.lockstep.images.plugins.module_utils._image.names import Digest
from ansible_collections.lockstep.images.plugins.module_utils._trust.bundle import bundle_evidence
from ansible_collections.lockstep.images.plugins.module_utils._trust.cosign import cosign_evidence
from ansible_collections.lockstep.images.plugins.module_utils._trust.making import (
    signed_bundle,
    signed_payload,
    with_layer,
)
from ansible_collections.lockstep.images.plugins.module_utils._trust.private_key import (
    read_private_key,
)
from ansible_collections.lockstep.images.tests.support.signing import (
    SIGNATURE,
    key,
    payload,
    sig_manifest,
    signed,
    with_manifest,
)

DIGEST = Digest.parse("sha256:" + "1" * 64)
SUBJECT = Descriptor("application/vnd.oci.image.index.v1+json", DIGEST, 491)
OWN = read_private_key(key("ed25519").secret.encode(), None, "key")
OTHER = signed(payload(str(DIGEST), "a.b/c"), key("p256"))


def parsed(item):
    return Manifest.parse(item.raw, "", "x")


def test_payload_has_the_bytes_of_cosign():
    made = signed_payload(OWN, "127.0.0.1:5000/t/app", DIGEST, {"env": "prod", "a": "b"})
    assert made.raw == (
        b'{"critical":{"identity":{"docker-reference":"127.0.0.1:5000/t/app"},'
        b'"image":{"docker-manifest-digest":"sha256:%b"},"type":"cosign container image signature"},'
        b'"optional":{"a":"b","env":"prod"}}' % (b"1" * 64)
    )
    assert signed_payload(OWN, "a.b/c", DIGEST, {}).raw.endswith(b'"optional":null}')


def test_made_signature_is_valid():
    made = signed_payload(OWN, "a.b/c", DIGEST, {"env": "prod"})
    found = cosign_evidence(made.descriptor, made.raw, "tag")
    assert OWN.public.verifies(found.signature, found.signed)
    assert found.claim(DIGEST) == ("a.b/c", {"env": "prod"})


def test_first_signature_has_a_configuration():
    made = signed_payload(OWN, "a.b/c", DIGEST, {})
    manifest, config = with_layer(None, made)
    assert manifest.layers == (made.descriptor,)
    assert manifest.layers[0].annotations == made.descriptor.annotations
    assert manifest.config == config.descriptor
    assert json.loads(config.raw)["rootfs"]["diff_ids"] == [str(made.descriptor.digest)]


def test_everything_that_others_wrote_is_kept():
    before = parsed(sig_manifest([OTHER, OTHER], annotations={"a": "b"}, extra={"x": [1]}))
    made = signed_payload(OWN, "a.b/c", DIGEST, {})
    after, config = with_layer(before, made)
    assert after.layers[:2] == before.layers
    assert [one.annotations[SIGNATURE] for one in after.layers[:2]] == [OTHER.annotations[SIGNATURE]] * 2  # fmt: skip
    assert after.layers[2] == made.descriptor
    old, new = json.loads(before.raw), json.loads(after.raw)
    assert {name: new[name] for name in old if name not in ("layers", "config")} == {
        name: old[name] for name in old if name not in ("layers", "config")
    }
    assert len(json.loads(config.raw)["rootfs"]["diff_ids"]) == 3


def test_configuration_that_is_not_of_an_image_is_kept():
    value = {"mediaType": "application/vnd.example.v1+json", "digest": str(DIGEST), "size": 2}
    before = parsed(with_manifest(sig_manifest([OTHER]), config=value))
    after, config = with_layer(before, signed_payload(OWN, "a.b/c", DIGEST, {}))
    assert config is None
    assert after.config == before.config


def test_manifest_of_docker_stays_one():
    kinds = {
        "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
        "config": {
            "mediaType": "application/vnd.docker.container.image.v1+json",
            "digest": str(DIGEST),
            "size": 2,
        },
    }
    before = parsed(with_manifest(sig_manifest([OTHER]), **kinds))
    after, config = with_layer(before, signed_payload(OWN, "a.b/c", DIGEST, {}))
    assert (after.media_type, config.descriptor.media_type) == (kinds["mediaType"], kinds["config"]["mediaType"])  # fmt: skip


@pytest.mark.parametrize("annotations", [{}, {"env": "prod"}])
def test_made_bundle_is_valid(annotations):
    manifest, (layer, config) = signed_bundle(OWN, SUBJECT, annotations)
    assert (manifest.subject, manifest.blobs) == (SUBJECT, (config.descriptor, layer.descriptor))
    assert manifest.artifact_type == layer.descriptor.media_type
    found = bundle_evidence(layer.raw, str(layer.descriptor.digest), "bundle")
    assert OWN.public.verifies(found.signature, found.signed)
    assert found.claim(DIGEST) == (None, annotations)


def test_statement_has_the_bytes_of_cosign():
    _manifest, (layer, _config) = signed_bundle(OWN, SUBJECT, {"env": "prod"})
    found = bundle_evidence(layer.raw, str(layer.descriptor.digest), "bundle")
    assert found.payload == (
        b'{"_type":"https://in-toto.io/Statement/v1","subject":[{"digest":{"sha256":"%b"},'
        b'"annotations":{"env":"prod"}}],"predicateType":"https://sigstore.dev/cosign/sign/v1","predicate":{}}'
        % (b"1" * 64)
    )
