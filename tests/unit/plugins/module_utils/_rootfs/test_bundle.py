# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The configuration of a bundle. Users are those of the image, whatever links it has to files of the host."""

from __future__ import annotations

import json
import os

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._rootfs.bundle import (
    runtime_config,
    settings_of,
    write_config,
)
from ansible_collections.lockstep.images.plugins.module_utils._rootfs.errors import (
    TreeUnsupportedError,
)
from ansible_collections.lockstep.images.plugins.module_utils._rootfs.removal import DIRECTORY

CONFIG = {
    "os": "linux",
    "created": "2026-01-02T03:04:05Z",
    "config": {
        "Entrypoint": ["/run"],
        "Cmd": ["--now"],
        "Env": ["A=1"],
        "WorkingDir": "/srv",
        "StopSignal": "SIGQUIT",
        "Labels": {"b": "2"},
        "ExposedPorts": {"80/tcp": {}, "443/tcp": {}},
    },
}


@pytest.fixture(name="root")
def fixture_root(tmp_path):
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "passwd").write_text(
        "root:x:0:0::/:/bin/sh\nweb:x:33:34::/:/bin/sh\nbad:x:y:z\n"
    )
    (tmp_path / "etc" / "group").write_text("root:x:0:\nweb:x:34:\nmore:x:50:web,other\n")
    return tmp_path


def config_for(root, user):
    config = {**CONFIG, "config": {**CONFIG["config"], "User": user}}
    return runtime_config(os.open(root, DIRECTORY), config)


def test_process_is_that_of_the_image(root):
    found = config_for(root, "")
    assert found["process"]["args"] == ["/run", "--now"]
    assert found["process"]["env"][0].startswith("PATH=")
    assert found["process"]["env"][1:] == ["A=1"]
    assert found["process"]["cwd"] == "/srv"
    assert found["annotations"] == {
        "b": "2",
        "org.opencontainers.image.created": "2026-01-02T03:04:05Z",
        "org.opencontainers.image.exposedPorts": "443/tcp,80/tcp",
        "org.opencontainers.image.os": "linux",
        "org.opencontainers.image.stopSignal": "SIGQUIT",
    }


@pytest.mark.parametrize(
    ("user", "expected"),
    [
        ("", {"uid": 0, "gid": 0}),
        ("web", {"uid": 33, "gid": 34, "additionalGids": [50]}),
        ("33", {"uid": 33, "gid": 34, "additionalGids": [50]}),
        ("web:root", {"uid": 33, "gid": 0}),
        ("7:8", {"uid": 7, "gid": 8}),
        ("7", {"uid": 7, "gid": 0}),
    ],
)
def test_user_is_looked_up_in_the_image(root, user, expected):
    assert config_for(root, user)["process"]["user"] == expected


@pytest.mark.parametrize("user", ["nobody", "bad", "web:nobody"])
def test_unknown_user_is_refused(root, user):
    with pytest.raises(TreeUnsupportedError, match="is not in etc/"):
        config_for(root, user)


def test_link_to_the_users_of_the_host_is_not_followed(root):
    os.unlink(root / "etc" / "passwd")
    os.symlink("/etc/passwd", root / "etc" / "passwd")
    with pytest.raises(TreeUnsupportedError):
        config_for(root, "daemon")


def test_settings_of_an_empty_configuration_are_complete():
    assert settings_of({}) == {
        "entrypoint": [],
        "cmd": [],
        "env": [],
        "user": "",
        "workdir": "/",
        "stop_signal": "",
    }


def test_file_is_readable_json(root, tmp_path):
    write_config(os.open(tmp_path, DIRECTORY), os.open(root, DIRECTORY), CONFIG)
    assert json.loads((tmp_path / "config.json").read_text())["root"]["path"] == "rootfs"
