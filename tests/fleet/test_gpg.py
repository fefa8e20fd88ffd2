# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Verify images that skopeo has signed with GPG, as a playbook does."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from ansible_collections.lockstep.images.tests.support.fleet import Registry, need_programs
from ansible_collections.lockstep.images.tests.support.images import demo_image, upload
from ansible_collections.lockstep.images.tests.support.playbook import PlayRunner, one_task

VERIFY = "lockstep.images.image_verify"
LOCK = "lockstep.images.image_lock"


class Signer(NamedTuple):
    """A home of gpg with two keys, the files with their public keys, and the directory of signatures."""

    home: Path
    fingerprint: str
    ring: Path
    other_ring: Path
    lookaside: Path

    def rule(self, match: str, ring: Path | None = None, **more: Any) -> dict[str, Any]:
        """Return a rule for the signatures of a keyring."""
        given = {"keyring": {"path": str(ring or self.ring)}, "lookaside": f"file://{self.lookaside}"}  # fmt: skip
        return {"match": match, "gpg": given, **more}


def gpg(home: Path, *options: str) -> bytes:
    command = ["gpg", "--homedir", str(home), "--batch", "--pinentry-mode", "loopback"]
    done = subprocess.run([*command, "--passphrase", "", *options], check=True, capture_output=True)
    return done.stdout


@pytest.fixture(name="signer", scope="module")
def fixture_signer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Signer]:
    need_programs("gpg", "gpgv", "skopeo")
    home = tmp_path_factory.mktemp("gpg")  # sockets of gpg have short paths only
    home.chmod(0o700)
    prints = []
    for name in ("first", "second"):
        gpg(home, "--quick-gen-key", name, "ed25519", "sign", "never")
        listed = gpg(home, "--with-colons", "--list-keys", name).decode()
        prints.append(listed.partition("fpr:")[2].strip(":").partition(":")[0])
        (home / f"{name}.asc").write_bytes(gpg(home, "--armor", "--export", name))
    (home / "registries.d").mkdir()
    lookaside = home / "signatures"
    (home / "registries.d/default.yaml").write_text(
        f"default-docker:\n  lookaside: file://{lookaside}\n  sigstore: file://{lookaside}\n"
    )
    yield Signer(home, prints[0], home / "first.asc", home / "second.asc", lookaside)
    subprocess.run(["gpgconf", "--homedir", str(home), "--kill", "all"], check=False)


def signed_copy(registry: Registry, signer: Signer, version: str, by: str) -> str:
    """Push an image and copy it with a signature. Return the name of the copy."""
    item = demo_image("gpg", version, ("linux/amd64", "linux/arm64"), size=200)
    upload(registry.service.url, "lockstep/unsigned", item, version)
    name = f"{registry.address}/lockstep/gpg:{version}"
    options = ["--all", "--src-tls-verify=false", "--dest-tls-verify=false", "--sign-by", by]
    source = f"docker://{registry.address}/lockstep/unsigned:{version}"
    places = ["--insecure-policy", "--registries.d", str(signer.home / "registries.d")]
    subprocess.run(
        ["skopeo", *places, "copy", *options, source, f"docker://{name}"],
        check=True,
        capture_output=True,
        env={**os.environ, "GNUPGHOME": str(signer.home)},
    )
    return name


def test_image_is_verified_with_the_right_keyring_only(
    play: PlayRunner, local: Path, registry_plain: Registry, signer: Signer
) -> None:
    name = signed_copy(registry_plain, signer, "1", signer.fingerprint)
    digest = demo_image("gpg", "1", ("linux/amd64", "linux/arm64"), size=200).digest
    rule = signer.rule(registry_plain.address, signed_as="exact")
    for run in play.four_times(one_task(VERIFY, name=[name], verify=[rule]), local):
        result: dict[str, Any] = run.one(VERIFY)
        assert result["pinned"] == [f"{name}@{digest}"]
        assert result["images"][0]["verified"]["by"] == [f"gpg {signer.fingerprint}"]
    unsigned = name.replace("/gpg:", "/unsigned:")
    other = signer.rule(name.rpartition(":")[0], signer.other_ring)
    kinds = ["signature-invalid", "signature-missing"]
    assert failed(play, local, [name, unsigned], other, signer.rule("*")) == kinds
    # A copy of the signature in the place of another repository does not help.
    place = f"@sha256={digest[7:]}"
    (signer.lookaside / f"lockstep/gpg{place}").rename(
        signer.lookaside / f"lockstep/unsigned{place}"
    )
    assert failed(play, local, [unsigned], signer.rule("*")) == ["signature-mismatch"]


def failed(play: PlayRunner, local: Path, names: list[str], *rules: Any) -> list[str]:
    """Return the kinds of the errors of all images."""
    (run,) = play(one_task(VERIFY, name=names, verify=list(rules)), local).failures
    return [one["error"]["kind"] for one in run.result["failures"]]


def test_lock_says_which_key_vouches(
    play: PlayRunner, local: Path, registry_plain: Registry, signer: Signer
) -> None:
    name = signed_copy(registry_plain, signer, "2", signer.fingerprint)
    options = {"path": "{{ home }}/gpg.lock.yml", "name": [name], "platform": ["linux/amd64"]}
    run = play(one_task(LOCK, verify=[signer.rule("*")], **options), local)
    assert run.one(LOCK)["images"][0]["verified"]["by"] == [f"gpg {signer.fingerprint}"]


def policy(signer: Signer, identity: dict[str, str] | None) -> dict[str, Any]:
    """Return what a policy.json has that requires a signature of the first key."""
    required = {"type": "signedBy", "keyType": "GPGKeys", "keyPath": str(signer.ring)}
    if identity:
        required["signedIdentity"] = identity  # type: ignore[assignment]
    return {"default": [{"type": "reject"}], "transports": {"docker": {"": [required]}}}


def skopeo_accepts(signer: Signer, name: str, document: dict[str, Any]) -> bool:
    path = signer.home / "policy.json"
    path.write_text(json.dumps(document))
    places = ["--policy", str(path), "--registries.d", str(signer.home / "registries.d")]
    target = f"dir:{signer.home / 'copied'}"
    options = ["--override-arch", "amd64", "--src-tls-verify=false", f"docker://{name}", target]
    command = ["skopeo", *places, "copy", "--remove-signatures", *options]
    return subprocess.run(command, check=False, capture_output=True).returncode == 0


def test_policy_json_means_the_same_to_skopeo(
    play: PlayRunner, local: Path, registry_plain: Registry, signer: Signer
) -> None:
    name = signed_copy(registry_plain, signer, "3", signer.fingerprint)
    digest = demo_image("gpg", "3", ("linux/amd64", "linux/arm64"), size=200).digest
    repository = name.rpartition(":")[0]
    identities: list[dict[str, str] | None] = [
        None,
        {"type": "matchExact"},
        {"type": "matchRepository"},
        {"type": "exactReference", "dockerReference": f"{repository}:4"},
        {"type": "exactRepository", "dockerRepository": f"{repository}"},
        {"type": "remapIdentity", "prefix": registry_plain.address, "signedPrefix": "a.b"},
    ]
    tasks, expected = [], []
    for identity in identities:
        document = policy(signer, identity)
        value = {"containers_policy": document, "lookaside": f"file://{signer.lookaside}"}
        for asked in (name, f"{repository}@{digest}"):
            options = {"name": [asked], "verify": value, "platform": ["linux/amd64"]}
            tasks.append({VERIFY: options, "ignore_errors": True})
            expected.append(skopeo_accepts(signer, asked, document))
    text = json.dumps([{"hosts": "all", "gather_facts": False, "tasks": tasks}], indent=2)
    run = play(text, local)
    found = [one.status == "ok" for one in run.tasks]
    assert found == expected
    assert found == [True, True, True, False, True, True, False, False, True, True, False, False]
