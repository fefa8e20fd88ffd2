# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Names, manifests, answers and proxies of every kind: our verdict is that of docker, skopeo and ctr."""

from __future__ import annotations

import subprocess

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._oci import errors
from ansible_collections.lockstep.images.plugins.module_utils._oci.names import Reference
from ansible_collections.lockstep.images.tests.support.fleet import need_programs

HOST = "a-host-with-a-long-name.registry.example:5000"


def ours_takes(text: str) -> bool:
    """Whether we take a name."""
    try:
        Reference.parse(text)
    except errors.ReferenceError:
        return False
    return True


def docker_takes(text: str) -> bool:
    """Whether docker does, which reads a name before it looks for its daemon."""
    command = ["docker", "-H", "unix:///nonexistent", "pull", "-q", text]
    said = subprocess.run(command, capture_output=True, text=True, check=False).stderr
    assert "must not be more than 255" in said or "Cannot connect" in said, said
    return "Cannot connect" in said


@pytest.mark.parametrize("host", ["", f"{HOST}/", "[fc00::1]:5000/"])
@pytest.mark.parametrize("length", [247, 248, 255, 256])
def test_F11_a_name_is_as_long_as_docker_lets_it_be(host: str, length: int) -> None:
    """skopeo before 1.14 counts the host too, as distribution/reference did before v0.6."""
    need_programs("docker")
    name = f"{host}{'a' * length}:tag"
    assert ours_takes(name) is docker_takes(name)
