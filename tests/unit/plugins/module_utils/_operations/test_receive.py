# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Images that the controller has sent are completed, and nothing else is asked."""

from __future__ import annotations

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._image import errors
from ansible_collections.lockstep.images.plugins.module_utils._image.manifest import Descriptor
from ansible_collections.lockstep.images.plugins.module_utils._image.names import Digest, Reference
from ansible_collections.lockstep.images.plugins.module_utils._operations.receive import (
    SentContent,
    lock_and_content,
)

REFERENCE = Reference.parse("docker.io/library/app:1")
BLOB = Descriptor("", Digest.of(b"layer"), 5)


def test_sent_content_is_the_only_repository_and_makes_no_requests():
    sent = SentContent()
    sent.prepare()
    assert sent.repository(REFERENCE) is sent and sent.foreign(REFERENCE, BLOB) is sent
    assert str(sent) == "the controller"
    assert sent.stats()["requests"] == {} and list(sent.warnings) == []


@pytest.mark.parametrize(
    ("ask", "kind"),
    [
        (lambda sent: sent.resolve("1"), "not-in-store"),
        (lambda sent: sent.read_manifest(BLOB.digest), "not-in-store"),
        (lambda sent: sent.read_blob(BLOB), "digest-mismatch"),
    ],
)
def test_content_that_was_not_sent_is_an_error_with_its_kind(ask, kind):
    with pytest.raises(errors.LockstepError) as caught:
        ask(SentContent())
    assert caught.value.kind == kind


def test_content_of_a_task_is_compared_with_its_digests():
    good = {str(BLOB.digest): "layer"}
    assert lock_and_content(None, good) == (None, {BLOB.digest: b"layer"})
    lock = {"lockfile_version": 1, "images": [], "manifests": {}}
    parsed, content = lock_and_content(lock, good)
    assert parsed.manifests == content == {BLOB.digest: b"layer"}
    for wrong in ({str(BLOB.digest): "other"}, {"sha256:x": "layer"}, {str(BLOB.digest): 5}):
        with pytest.raises(errors.LockError):
            lock_and_content(None, wrong)
