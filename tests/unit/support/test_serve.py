# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The registry in the background: the commands a playbook gives."""

from __future__ import annotations

import json
import os
import ssl
import subprocess
import sys
import urllib.error
import urllib.request

import pytest
from ansible_collections.lockstep.images.tests.support import certificates, images, serve
from ansible_collections.lockstep.images.tests.support.client import call


@pytest.fixture(name="command")
def fixture_command(tmp_path, capsys):
    """Provide a function that runs a command and returns its output. Stop the registry at the end."""
    state = str(tmp_path / "state")

    def command(name: str, *options: str, status: int = 0) -> str:
        assert serve.main([name, "--state", state, *options]) == status
        printed = capsys.readouterr()
        return printed.err if status else printed.out

    command.state = tmp_path / "state"
    yield command
    command("stop")


def test_registry_can_be_started_filled_changed_and_stopped(command):
    address = command("start").strip()
    assert command("start").strip() == address
    assert (command.state / "address").read_text() == f"{address}\n"
    os.kill(int((command.state / "pid").read_text()), 0)

    names = json.loads(command("fill", "--images", "2"))
    assert names == [f"{address}/demo/app-1:1.0", f"{address}/demo/app-2:1.0"]
    index = call(f"http://{address}", "GET", "/v2/demo/app-1/manifests/1.0").document
    kinds = [entry["platform"]["architecture"] for entry in index["manifests"]]
    assert kinds == ["amd64", "arm64", "unknown", "unknown"]

    lines = json.loads(command("requests"))["lines"]
    changed = json.loads(command("change", "--image", "demo/app-1"))
    assert set(changed["layers"]) == {"linux/amd64", "linux/arm64"}
    layer = changed["layers"]["linux/amd64"]
    blob = call(f"http://{address}", "GET", f"/v2/demo/app-1/blobs/{layer['digest']}")
    assert len(blob.body) == layer["size"]
    again = json.loads(command("change", "--image", "demo/app-1"))
    assert again["before"] == changed["after"]

    seen = json.loads(command("requests", "--since", str(lines)))
    assert seen["blobs"] == [layer]
    assert (seen["blob_bytes"], seen["by_method"]["GET"]) == (layer["size"], 1)
    assert seen["manifest_get"] == []
    first = json.loads((command.state / "requests.jsonl").read_text().splitlines()[0])
    assert (first["method"], first["path"], first["status"]) == ("GET", "/v2/", 200)

    command("stop")
    assert "start it first" in command("fill", status=1)


def test_commands_without_a_running_registry_fail(command):
    assert "no registry" in command("change", "--image", "x", status=1)
    assert "no registry" in command("requests", status=1)
    assert command("stop") == ""


def test_changing_an_unknown_image_fails(command):
    command("start")
    assert "demo/none is not one of" in command("change", "--image", "demo/none", status=1)


def test_serve_runs_as_a_script():
    done = subprocess.run(
        [sys.executable, serve.__file__, "--help"], check=False, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_registry_can_serve_other_names_over_tls(command):
    if not certificates.available():
        pytest.skip("this machine cannot generate certificates")
    command("start", "--auth", "bearer", "--name", "registry-1.docker.io", "--name", "r.example")
    digest = command("publish", "--repository", "library/debian", "--tag", "12", "--tag", "latest")
    proxy = (command.state / "proxy").read_text().strip()
    trust = ssl.create_default_context(cafile=str(command.state / "ca.pem"))
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler({"https": proxy}), urllib.request.HTTPSHandler(context=trust)
    )
    hub = "https://registry-1.docker.io/v2/library/debian/manifests/12"
    for url, realm in (
        (hub, "https://auth.docker.io/token"),
        ("https://r.example:5000/v2/", "https://r.example:5000/token"),
    ):
        with pytest.raises(urllib.error.HTTPError) as refused:
            opener.open(url)
        assert f'realm="{realm}"' in refused.value.headers["WWW-Authenticate"]
    scope = "?service=x&scope=repository:library/debian:pull"
    with opener.open(f"https://auth.docker.io/token{scope}") as answer:
        token = json.loads(answer.read())["token"]
    request = urllib.request.Request(hub, headers={"Authorization": f"Bearer {token}"})
    with opener.open(request) as answer:
        assert answer.headers["Docker-Content-Digest"] == digest.strip()
    with pytest.raises(OSError, match="403"):
        opener.open("https://elsewhere.example/")


def test_sample_image_has_the_same_digest_on_every_machine():
    assert images.sample_image("debian", "12").digest == (
        "sha256:9b4ac1a4395e7d89935539d2a1058933699420f72746d872e3a45709d923dd19"
    )
