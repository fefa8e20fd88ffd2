# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Configuration that the tools of the host reject is rejected, with file and line; unreadable files."""

from __future__ import annotations

import functools
import os
from pathlib import Path

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._image.errors import InputError
from ansible_collections.lockstep.images.plugins.module_utils._image.names import Reference
from ansible_collections.lockstep.images.plugins.module_utils._registry.connect import Trust
from ansible_collections.lockstep.images.plugins.module_utils._registry.hostfiles import HostFiles
from ansible_collections.lockstep.images.plugins.module_utils._registry.mirrors import Endpoint
from ansible_collections.lockstep.images.tests.support.tables import assert_tells, params, table
from ansible_collections.lockstep.images.tests.support.users import (
    as_ordinary_user,
    public_directory,
)

HOST = "registry.test"
CONF, HOSTS_CONF = table("registries", "conf"), table("registries", "hosts_conf")
BLOCK = f'[[registry]]\nlocation = "{HOST}"\nblocked = true\n'
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root makes files of two users")


class Files:
    """The files of a host, below a directory."""

    def __init__(self, root: Path) -> None:
        self.root, self.home = root, root / "home"

    def write(self, path: str, text: str, encoding: str = "utf-8", mode: int = 0o644) -> Path:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(text.encode(encoding))
        file.chmod(mode)
        return file

    def places(self, registry: str = HOST) -> list[str]:
        """Where a repository is looked for."""
        files = HostFiles({}, str(self.home), str(self.root))
        found = files.places(
            Reference.parse(f"{registry}/app"), lambda name: Endpoint(name, name=name)
        )
        return [place.endpoint.host for place in found]

    def trust(self) -> Trust:
        """The certificates for the registry."""
        return HostFiles({}, str(self.home), str(self.root)).trust(HOST)

    def refused(self, subject: Path, ask=None) -> str:
        with pytest.raises(InputError) as caught:
            (ask or self.places)()
        assert_tells(caught.value, "invalid-input", str(subject))
        return str(caught.value)

    def closed(self, subject: Path, ask=None) -> str:
        """The same for an ordinary user. The fork takes longer than all the rest of a test."""
        return self.refused(subject, functools.partial(as_ordinary_user, ask or self.places))


@pytest.fixture(name="files")
def fixture_files():
    HostFiles(
        {}, "/", "/"
    )  # imports the TOML parser, which the ordinary user may be unable to read
    with public_directory() as root:
        root.chmod(0o755)
        (root / "home").mkdir()
        yield Files(root)


SYSTEM, OF_USER = "etc/containers/registries.conf", "home/.config/containers/registries.conf"


@pytest.mark.parametrize("name", [SYSTEM, f"{SYSTEM}.d/10.conf", OF_USER])
@pytest.mark.parametrize("case", params(CONF, "case"))
def test_F33_a_file_that_skopeo_refuses_is_refused_with_its_line(case, name, files):
    path = files.write(name, case["file"], case.get("encoding", "utf-8"))
    if case["refused"] is None:
        assert files.places() == [HOST]
    else:
        assert f"{path}{case['refused']}" in files.refused(path)


def test_F33_every_rejection_matches_skopeo_or_has_a_reason():
    differ = [case["case"] for case in CONF if case["skopeo"] != (case["refused"] is None)]
    assert differ == [case["case"] for case in CONF if "stricter" in case]


def test_F33_a_block_in_capitals_is_a_block(files):
    path = files.write(
        SYSTEM, BLOCK.replace("blocked", "BLOCKED").replace("registry]", "Registry]")
    )
    assert "is blocked" in files.refused(path)


def test_F33_files_may_contradict_each_other_the_later_one_counts(files):
    files.write(SYSTEM, f'[[registry]]\nlocation = "{HOST}"\n')
    path = files.write(f"{SYSTEM}.d/10.conf", BLOCK)
    assert f"{path}, line 1: registry[0]: {HOST} is blocked" in files.refused(path)


def test_F33_without_a_header_for_each_entry_no_line_is_named(files):
    path = files.write(SYSTEM, 'registry = [{location = "a"}, {location = "https://b"}]\n')
    assert f"{path}: registry[1]: a location has no https://" in files.refused(path)


def test_F33_a_link_to_nothing_among_the_files_is_an_error_as_for_skopeo(files):
    path = files.root / f"{SYSTEM}.d" / "10.conf"
    path.parent.mkdir(parents=True)
    path.symlink_to(files.root / "nowhere")
    assert "is a broken link" in files.refused(path)


def test_F33_a_directory_among_the_files_is_passed_over_as_by_skopeo(files):
    (files.root / f"{SYSTEM}.d" / "10.conf").mkdir(parents=True)
    assert files.places() == [HOST]


@pytest.mark.parametrize("case", params(HOSTS_CONF, "case"))
def test_F33_a_hosts_toml_that_containerd_refuses_is_refused_with_the_entry(case, files):
    path = files.write("etc/containerd/certs.d/127.0.0.1:1/hosts.toml", case["file"])
    if case["refused"] is None:
        assert files.places("127.0.0.1:1") == ["127.0.0.2:1", "127.0.0.1:1"]
    else:
        said = files.refused(path, functools.partial(files.places, "127.0.0.1:1"))
        assert f"{path}{case['refused']}" in said


def test_F33_every_rejection_matches_containerd_or_has_a_reason():
    differ = [case["case"] for case in HOSTS_CONF if case["ctr"] != (case["refused"] is None)]
    assert differ == [case["case"] for case in HOSTS_CONF if "stricter" in case]


# Files that an ordinary user cannot read


@needs_root
@pytest.mark.parametrize("closed", ["home", "home/.config", "home/.config/containers"])
def test_F14_a_closed_home_has_no_configuration(closed, files):
    files.write(OF_USER, BLOCK)
    files.write(f"{OF_USER}.d/10.conf", BLOCK)
    (files.root / closed).chmod(0o700)
    assert as_ordinary_user(files.places) == [HOST]


@needs_root
@pytest.mark.parametrize("name", [SYSTEM, f"{SYSTEM}.d/10.conf", OF_USER, f"{OF_USER}.d/10.conf"])
def test_F14_a_file_with_rules_that_is_there_and_cannot_be_read_is_an_error(name, files):
    """It may block a registry."""
    path = files.write(name, BLOCK, mode=0o600)
    assert f"Permission denied; {path} belongs to root (uid 0), mode 0600" in files.closed(path)


@needs_root
def test_F14_the_closed_configuration_of_the_system_is_an_error(files):
    path = files.write(SYSTEM, BLOCK)
    path.parent.chmod(0o700)
    assert f"{path.parent} belongs to root (uid 0), mode 0700" in files.closed(path)


@needs_root
@pytest.mark.parametrize("name", [SYSTEM, OF_USER])
def test_F14_a_directory_of_rules_that_cannot_be_read_is_an_error(name, files):
    path = files.write(f"{name}.d/10.conf", BLOCK).parent
    path.chmod(0o711)
    assert "belongs to root (uid 0), mode 0711" in files.closed(path)


@needs_root
@pytest.mark.parametrize("closed", [f"etc/containerd/certs.d/{HOST}", "etc/containerd"])
def test_F14_a_closed_directory_of_containerd_counts_as_missing(closed, files):
    files.write(f"etc/containerd/certs.d/{HOST}/hosts.toml", 'server = "https://other.example"\n')
    assert as_ordinary_user(files.places) == ["other.example"]
    (files.root / closed).chmod(0o700)
    assert as_ordinary_user(files.places) == [HOST]


@needs_root
def test_F14_a_hosts_toml_that_is_there_and_cannot_be_read_is_an_error(files):
    path = files.write(f"etc/containerd/certs.d/{HOST}/hosts.toml", "", mode=0o600)
    assert f"{path} belongs to root (uid 0), mode 0600" in files.closed(path)


@needs_root
@pytest.mark.parametrize(
    "closed", ["etc/docker", "etc/docker/certs.d", f"etc/docker/certs.d/{HOST}"]
)
@pytest.mark.parametrize("mode", [0o700, 0o711])
def test_F14_a_closed_directory_of_certificates_holds_none(closed, mode, files):
    """As for skopeo. Where it can be searched but not listed, that is of its own directory only."""
    path = files.write(f"etc/docker/certs.d/{HOST}/ca.crt", "x")
    (files.root / closed).chmod(mode)
    is_listed = mode == 0o711 and not closed.endswith(HOST)
    expected = Trust(ca_paths=(str(path),)) if is_listed else Trust()
    assert as_ordinary_user(files.trust) == expected


@needs_root
def test_F14_a_certificate_that_is_there_and_cannot_be_read_is_an_error(files):
    path = files.write(f"etc/docker/certs.d/{HOST}/ca.crt", "x", mode=0o600)
    assert f"{path} belongs to root (uid 0), mode 0600" in files.closed(path, files.trust)


def test_F14_a_certificate_that_is_a_link_to_nothing_counts_as_gone(files):
    directory = files.root / f"etc/docker/certs.d/{HOST}"
    directory.mkdir(parents=True)
    (directory / "ca.crt").symlink_to(files.root / "nowhere")
    assert files.trust() == Trust()


@pytest.mark.parametrize("name", ["ca.crt", "client.cert"])
def test_F14_a_directory_in_place_of_a_certificate_is_an_error(name, files):
    files.write(f"etc/docker/certs.d/{HOST}/client.key", "x")
    files.write(f"etc/docker/certs.d/{HOST}/client.cert", "x")
    path = files.root / f"etc/docker/certs.d/{HOST}" / name
    path.unlink(missing_ok=True)
    path.mkdir()
    assert "is not a regular file" in files.refused(path, files.trust)
