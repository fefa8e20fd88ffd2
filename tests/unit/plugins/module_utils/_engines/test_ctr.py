# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The program ctr: its tables, as containerd 1.6 and 2.1 print them, and its failures."""

from __future__ import annotations

import os
import socket

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._archive.archive import (
    Archive,
    Member,
)
from ansible_collections.lockstep.images.plugins.module_utils._engines import errors
from ansible_collections.lockstep.images.plugins.module_utils._engines.ctr import Ctr, NamedImage

A, B, C = (f"sha256:{letter * 64}" for letter in "abc")
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.docker.distribution.manifest.list.v2+json"


@pytest.fixture()
def address(tmp_path):
    """A socket that something listens on."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.fspath(tmp_path / "c.sock"))
        listener.listen(5)
        yield os.fspath(tmp_path / "c.sock")


@pytest.fixture()
def scripted(tmp_path, address):
    """Return a function that makes a ctr whose program is a shell script; its arguments and input are in files."""

    def make(script, timeout=20.0):
        program = tmp_path / "ctr"
        program.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/arguments\n{script}\n')
        program.chmod(0o755)
        return Ctr([os.fspath(program)], address, "k8s.io", timeout, timeout)

    return make


def prints(text):
    return f"cat <<'END'\n{text}\nEND"


def test_arguments_name_socket_and_namespace(scripted, tmp_path, address):
    ctr = scripted("")
    ctr.pin("web:1")
    expected = f"--address {address} --namespace k8s.io images label web:1 io.cri-containerd.pinned"
    assert (tmp_path / "arguments").read_text() == f"{expected}=pinned\n"
    assert ctr.stats == {"bytes_sent": 0, "requests": 0, "processes": 1}


def test_directory_of_the_content_store(scripted):
    table = """Type:         io.containerd.content.v1
ID:           content
Exports:
              root      /var/lib/containerd/io.containerd.content.v1.content

Type:         io.containerd.grpc.v1
ID:           content
"""
    root = "/var/lib/containerd/io.containerd.content.v1.content"
    assert scripted(prints(table)).content_root() == root
    assert scripted(prints("Type: io.containerd.content.v1")).content_root() is None


def test_names_are_read_with_target_pin_platforms_and_size(scripted):
    table = f"""\
REF           TYPE {" " * 40} DIGEST {" " * 60} SIZE       PLATFORMS                               LABELS
web:1         {MANIFEST} {A} 1008.6 KiB linux/amd64                             -
web@{A}       {MANIFEST} {A} 1.5 MiB    linux/amd64                             a=b,io.cri-containerd.pinned=pinned
multi:1       {INDEX} {B} 12.0 B     linux/amd64,linux/arm64/v8,unknown/unknown io.cri-containerd.image=managed
broken:1      {MANIFEST} {C} -          -                                       io.cri-containerd.pinned=pinned-not
"""
    assert scripted(prints(table)).names() == {
        "web:1": NamedImage(A, MANIFEST, False, ("linux/amd64",), 1032806),
        f"web@{A}": NamedImage(A, MANIFEST, True, ("linux/amd64",), 1572864),
        "multi:1": NamedImage(
            B, INDEX, False, ("linux/amd64", "linux/arm64/v8", "unknown/unknown"), 12
        ),
        "broken:1": NamedImage(C, MANIFEST, False, (), None),
    }


def test_content_is_read_with_its_labels(scripted):
    table = "\n".join(
        [
            "DIGEST\t\t\t\t\t\t\t\t\tSIZE\tAGE\t\tLABELS",
            f"{A}\t1.032MB\tLess than a second\tcontainerd.io/uncompressed={B}",
            f"{B}\t559B\t3 minutes\tx/l.0={A},x/config={C},source.docker.io=library/a,library/b",
            f"{C}\t224B\t3 minutes\t-",
        ]
    )
    assert scripted(prints(table)).content() == {
        A: {"containerd.io/uncompressed": B},
        B: {"x/l.0": A, "x/config": C, "source.docker.io": "library/a", "library/b": ""},
        C: {"-": ""},
    }


def test_only_unpacked_layers_are_read_with_the_layer_below(scripted, tmp_path):
    table = f"""\
KEY                        PARENT KIND
{A}                               Committed
{B} {A} Committed
extract-846-3zP0 {C} {B} Active
web {B} Active
"""
    assert scripted(prints(table)).snapshots("native") == {A: None, B: A}
    assert (tmp_path / "arguments").read_text().endswith("snapshots --snapshotter native ls\n")


def test_snapshotter_that_containerd_no_longer_runs_has_no_layers(scripted):
    message = "ctr: snapshotter not loaded: stargz: invalid argument"
    assert scripted(f"echo '{message}' >&2; exit 1").snapshots("stargz") == {}
    with pytest.raises(errors.EngineError):
        scripted("exit 1").snapshots("stargz")


@pytest.mark.parametrize("text", ["", "REF TYPE DIGEST SIZE PLATFORMS LABELS", "DIGEST\tSIZE"])
def test_empty_tables_are_empty(scripted, text):
    ctr = scripted(prints(text))
    assert (ctr.names(), ctr.content(), ctr.snapshots("overlayfs")) == ({}, {}, {})


@pytest.mark.parametrize("version", ["1.6.20~ds1", "v2.1.5-k3s1", "2.1.9+unknown"])
def test_versions_of_program_and_daemon_are_read(scripted, version):
    text = f"""\
Client:
  Version:  2.2.0
  Revision: abc
  Go version: go1.24

Server:
  Version:  {version}
  Revision:
  UUID: 2d42bde9-ea61-403b-8566-e10d642656bc
"""
    assert scripted(prints(text)).versions() == ["2.2.0", version.lstrip("v")]


def test_archive_goes_to_the_input_and_is_counted(scripted, tmp_path):
    archive = Archive((Member.of("a", b"1" * 70_000),))
    ctr = scripted(f"cat > {tmp_path}/input")
    ctr.load(archive, "--platform", "linux/arm64")
    assert (tmp_path / "input").stat().st_size == archive.size == ctr.stats["bytes_sent"]
    assert (tmp_path / "arguments").read_text().endswith("images import --platform linux/arm64 -\n")


MESSAGES = {
    "failed to extract layer: content digest sha256:e0: not found": "engine-error",
    "failed to ingest: write /var/lib/containerd/x: no space left on device": "engine-no-space",
    "rpc error: code = Unavailable desc = error reading from server: EOF": "engine-gone",
    'failed to dial "/c.sock": context deadline exceeded': "engine-gone",
    'failed to dial "/c.sock": write unix @->/c.sock: use of closed network connection': (
        "engine-not-found"
    ),
    "rpc error: code = Unavailable desc = connection error: connection refused": "engine-gone",
}


@pytest.mark.parametrize(("message", "kind"), MESSAGES.items())
def test_last_message_decides_the_error(scripted, message, kind):
    script = f"echo 'time=\"2026\" level=info msg=\"apply failure\"' >&2; echo '{'ctr: ' + message}' >&2; exit 1"
    with pytest.raises(errors.EngineError) as caught:
        scripted(script).names()
    assert (caught.value.kind, str(caught.value)) == (kind, f"ctr images ls: {message}")


def test_failure_without_a_message_names_the_status(scripted):
    with pytest.raises(errors.EngineError, match=r"^ctr content ls: ended with status 3$"):
        scripted("exit 3").content()


def test_program_that_hangs_is_a_timeout(scripted):
    with pytest.raises(errors.EngineTimeoutError, match=r"did not end within 0.5 seconds"):
        scripted("exec sleep 60", 0.5).names()


def test_missing_program_is_reported(address):
    with pytest.raises(errors.EngineNotFoundError, match=r"^nosuch: this program is not installed"):
        Ctr(["nosuch"], address, "default", 1, 1).names()


def test_socket_that_does_not_exist_is_reported_at_once(tmp_path):
    with pytest.raises(errors.EngineNotFoundError, match="does not exist"):
        Ctr(["ctr"], os.fspath(tmp_path / "nosuch"), "default", 1, 1)


def test_socket_of_a_stopped_daemon_is_reported_at_once(tmp_path):
    path = os.fspath(tmp_path / "stopped")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
    with pytest.raises(errors.EngineNotFoundError, match="nothing listens"):
        Ctr(["ctr"], path, "default", 1, 1)
