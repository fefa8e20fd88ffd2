# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Sign images of docker-registry, as a playbook does, and compare with cosign in both directions."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.lockstep.images.tests.support import chroots
from ansible_collections.lockstep.images.tests.support.fleet import Registry
from ansible_collections.lockstep.images.tests.support.images import demo_image, upload
from ansible_collections.lockstep.images.tests.support.playbook import (
    PlayRunner,
    each_task,
    one_task,
)
from ansible_collections.lockstep.images.tests.support.signing import key
from ansible_collections.lockstep.images.tests.support.verifying import rule

SIGN, VERIFY = "lockstep.images.image_sign", "lockstep.images.image_verify"
INFO = "lockstep.images.registry_info"
REPOSITORY = "lockstep/sign"
KINDS = ["p256", "p384", "rsa", "ed25519"]
BOTH = ("linux/amd64", "linux/arm64")
PASSPHRASE = "pass phrase"
# Debian has cosign since version 13. Several programs may be given, of different versions.
COSIGNS = [*filter(None, os.environ.get("LOCKSTEP_TEST_COSIGN", shutil.which("cosign") or "").split(":"))]  # fmt: skip
needs_cosign = pytest.mark.skipif(not COSIGNS, reason="cosign is not installed; Debian 12 has none")


def push(registry: Registry, version: str) -> Any:
    item = demo_image("sign", version, BOTH, size=200)
    upload(registry.service.url, REPOSITORY, item, version)
    return item


def test_images_are_signed_once_and_verified_with_three_requests(
    play: PlayRunner, local: Path, registry_plain: Registry
) -> None:
    pins, name = {}, f"{registry_plain.address}/{REPOSITORY}"
    for kind in KINDS:
        pins[kind] = f"{name}:{kind}@{push(registry_plain, kind).digest}"
    signing = {
        kind: (SIGN, {"name": f"{name}:{kind}", "key": {"text": key(kind).secret}})
        for kind in KINDS
    }
    check, real, *_again = play.four_times(each_task(signing), local)
    assert [check.one(kind)["images"] for kind in KINDS] == [real.one(kind)["images"] for kind in KINDS]  # fmt: skip
    before = len(registry_plain.requests())
    verifying = {
        kind: (VERIFY, {"name": f"{name}:{kind}", "verify": [rule("*", key(kind))]})
        for kind in KINDS
    }
    done = play(each_task(verifying), local).ok()
    assert {kind: done.one(kind)["pinned"] for kind in KINDS} == {kind: [pins[kind]] for kind in KINDS}  # fmt: skip
    asked = registry_plain.requests()[before:]
    assert len([one for one in asked if one.startswith("GET") and "/v2/lockstep" in one]) <= 12


class Cosign:
    """A program cosign, with a key pair of its own in a directory. It asks only the registry."""

    def __init__(self, program: str, directory: Path) -> None:
        self.program = program
        self.directory = directory
        directory.mkdir()
        self.run("generate-key-pair")
        self.public = (directory / "cosign.pub").read_text()
        self.is_new = "--use-signing-config" in self.run("sign", "--help").stdout

    def run(self, *args: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        env = {"PATH": os.environ["PATH"], "HOME": str(self.directory), "COSIGN_PASSWORD": PASSPHRASE}  # fmt: skip
        return subprocess.run(
            [self.program, *args],
            cwd=self.directory,
            env=env,
            check=check,
            capture_output=True,
            text=True,
            timeout=60,
        )

    @property
    def forms(self) -> dict[str, list[str]]:
        """Return the forms that it writes and reads, with the options for them."""
        if not self.is_new:
            return {"cosign": []}
        return {"cosign": ["--new-bundle-format=false"], "bundle": []}

    def sign(self, name: str, form: str) -> None:
        more = ["--use-signing-config=false"] if self.is_new else []
        args = ["--key", "cosign.key", "--tlog-upload=false", "--yes", "-r", "-a", "env=prod"]
        self.run("sign", *args, *more, *self.forms[form], name)

    def attest(self, name: str, kind: str, predicate: Any) -> None:
        more = ["--use-signing-config=false"] if self.is_new else []
        (self.directory / "predicate.json").write_text(json.dumps(predicate))
        args = ["--key", "cosign.key", "--tlog-upload=false", "--yes", "--type", kind]
        self.run("attest", *args, *more, "--predicate", "predicate.json", name)

    def accepts(self, name: str, form: str, *args: str) -> bool:
        options = ["--key", "cosign.pub", "--private-infrastructure", *self.forms[form], *args]
        return self.run("verify", *options, name, check=False).returncode == 0


@pytest.fixture(name="cosign", params=COSIGNS)
def fixture_cosign(request: pytest.FixtureRequest, tmp_path: Path) -> Cosign:
    return Cosign(request.param, tmp_path / "cosign")


@needs_cosign
def test_cosign_accepts_what_image_sign_signs_with_its_key(
    cosign: Cosign, play: PlayRunner, local: Path, registry_plain: Registry
) -> None:
    item = push(registry_plain, f"ours-{cosign.is_new}")
    repository = f"{registry_plain.address}/{REPOSITORY}"
    names = [f"{repository}@{digest}" for digest in (item.digest, *(one.digest for one in item.images))]  # fmt: skip
    secret = {"text": (cosign.directory / "cosign.key").read_text()}
    options = {"key": secret, "passphrase": PASSPHRASE, "annotations": {"env": "prod"}, "recursive": True}  # fmt: skip
    for form in cosign.forms:
        assert not cosign.accepts(names[0], form)
    play.four_times(one_task(SIGN, name=names[:1], **options), local)
    for form in cosign.forms:
        assert all(cosign.accepts(name, form, "-a", "env=prod") for name in names)
        assert not cosign.accepts(names[0], form, "-a", "env=test")
    (cosign.directory / "cosign.pub").write_text(key().public)
    assert not any(cosign.accepts(names[0], form) for form in cosign.forms)


@needs_cosign
def test_image_verify_accepts_what_cosign_signs(
    cosign: Cosign, play: PlayRunner, local: Path, registry_plain: Registry
) -> None:
    for form in cosign.forms:
        item = push(registry_plain, f"theirs-{form}-{cosign.is_new}")
        name = f"{registry_plain.address}/{REPOSITORY}@{item.digest}"
        cosign.sign(name, form)
        keys = [{"text": cosign.public}]
        for level in ("index", "platform"):
            policy = [{"match": "*", "keys": keys, "annotations": {"env": "prod"}, "level": level}]
            result = play(one_task(VERIFY, name=[name], verify=policy), local).one(VERIFY)
            assert result["images"][0]["verified"]["signatures"][0]["form"] == form
        assert play(one_task(VERIFY, name=[name], verify=[rule()]), local).failures
        # It has signed already what image_sign would sign.
        secret = {"path": str(cosign.directory / "cosign.key")}
        task = one_task(SIGN, name=[name], key=secret, passphrase=PASSPHRASE, form=form, recursive=True)  # fmt: skip
        assert play(task, local).one(SIGN)["changed"] is False


@needs_cosign
def test_image_verify_accepts_what_cosign_attests(
    cosign: Cosign, play: PlayRunner, local: Path, registry_plain: Registry
) -> None:
    item = push(registry_plain, f"attested-{cosign.is_new}")
    name = f"{registry_plain.address}/{REPOSITORY}@{item.digest}"
    builder, source = "https://ci.example.com/builder@v1", "git+https://git.example.com/shop"
    predicate = {
        "buildDefinition": {
            "buildType": "https://example.com/b",
            "externalParameters": {"configSource": {"uri": source}},
            "resolvedDependencies": [],
        },
        "runDetails": {"builder": {"id": builder}},
    }
    cosign.attest(name, "slsaprovenance1", predicate)
    wanted = {"predicate_type": "https://slsa.dev/provenance/v1", "builder": "https://ci.example.com/*"}  # fmt: skip
    policies = {
        "right": {**wanted, "source": source},
        "wrong source": {**wanted, "source": "https://git.example.com/*"},
        "wrong type": {"predicate_type": "https://spdx.dev/Document"},
    }
    for case, attestation in policies.items():
        policy = [{"match": "*", "keys": [{"text": cosign.public}], "attestation": attestation}]
        done = play(one_task(VERIFY, name=[name], verify=policy), local)
        assert bool(done.failures) is (case != "right"), done.output
    policy = [{"match": "*", "keys": [{"text": cosign.public}]}]
    assert play(one_task(VERIFY, name=[name], verify=policy), local).failures


@needs_cosign
def test_registry_info_lists_what_cosign_attaches(
    cosign: Cosign, play: PlayRunner, local: Path, registry_plain: Registry
) -> None:
    item = push(registry_plain, f"attached-{cosign.is_new}")
    name = f"{registry_plain.address}/{REPOSITORY}@{item.digest}"
    predicates = {
        "slsaprovenance1": "https://slsa.dev/provenance/v1",
        "spdxjson": "https://spdx.dev/Document",
        "openvex": "https://openvex.dev/ns",
    }
    for form in cosign.forms:
        cosign.sign(name, form)
    for kind in predicates:
        empty = {"buildDefinition": {"buildType": "https://a.b"}, "runDetails": {"builder": {"id": "c"}}}  # fmt: skip
        cosign.attest(name, kind, empty if kind.startswith("slsa") else {})
    if not cosign.is_new:
        (cosign.directory / "list.spdx").write_text("SPDXVersion: SPDX-2.3")
        cosign.run("attach", "sbom", "--sbom", "list.spdx", name)
    task = one_task(INFO, name=[name], attached=True, platform=["linux/amd64"])
    (entry,) = play(task, local).ok().one(INFO)["images"]
    found = {(one["kind"], one["predicate_type"] or one["media_type"]) for one in entry["attached"]}
    payload, sign = "application/vnd.dev.cosign.simplesigning.v1+json", "https://sigstore.dev/cosign/sign/v1"  # fmt: skip
    kinds = zip(["provenance", "sbom", "attestation"], predicates.values())
    more = {("signature", sign)} if cosign.is_new else {("sbom", "text/spdx")}
    assert found == {("signature", payload), *kinds, *more}
    assert {one["status"] for one in entry["attached"]} == {"present, not verified"}


class Containers:
    """skopeo and podman of a newer Debian, in a directory that they share with this system. Those of Debian 12 refuse signatures."""

    def __init__(self, root: Path, directory: Path) -> None:
        self.root = root
        self.directory = directory
        self.directory.mkdir()
        settings = self.directory / ".config/containers/registries.d"
        settings.mkdir(parents=True)
        attachments = {"default-docker": {"use-sigstore-attachments": True}}
        (settings / "all.yaml").write_text(json.dumps(attachments))

    def run(self, *args: object, policy: list[dict[str, str]]) -> subprocess.CompletedProcess[str]:
        path = self.directory / "policy.json"
        path.write_text(json.dumps({"default": policy}))
        words = [str(arg) for arg in args]
        if words[0] == "skopeo":
            words[1:1] = ["--policy", str(path)]
        elif words[0] == "podman":
            storage = ["--storage-driver", "vfs", "--root", path.parent / "graph", "--runroot", path.parent / "run"]  # fmt: skip
            words[1:1] = map(str, storage)
            words[-1:-1] = ["--signature-policy", str(path)]
        return subprocess.run(
            chroots.daemon_command(self.root, *words),
            env={**os.environ, "HOME": str(self.directory)},
            check=False,
            capture_output=True,
            text=True,
            timeout=120,
        )

    def accepts(self, name: str, public: str, identity: str) -> list[str]:
        """Return which of skopeo and podman take an image that a key must have signed."""
        (self.directory / "key.pub").write_text(public)
        required = {"type": "sigstoreSigned", "keyPath": str(self.directory / "key.pub")}
        policy = [{**required, "signedIdentity": {"type": identity}}]
        target = self.directory / f"out-{len(list(self.directory.iterdir()))}"
        commands = {
            "skopeo": ["skopeo", "copy", "--src-tls-verify=false", f"docker://{name}", f"dir:{target}"],
            "podman": ["podman", "pull", "--tls-verify=false", name],
        }  # fmt: skip
        done = {tool: self.run(*words, policy=policy) for tool, words in commands.items()}
        for one in done.values():
            assert one.returncode == 0 or "ignature" in one.stderr, one.stderr
        return [tool for tool, one in done.items() if one.returncode == 0]


@pytest.fixture(name="containers")
def fixture_containers(newer_engines: Path, tmp_path: Path) -> Containers:
    root = newer_engines.parents[1]
    if not (root / "usr/bin/skopeo").exists():
        pytest.skip("LOCKSTEP_TEST_ENGINES names a root without skopeo")
    return Containers(root, newer_engines / tmp_path.name)


@pytest.mark.parametrize("kind", KINDS)
def test_skopeo_and_podman_accept_what_image_sign_signs(
    containers: Containers, play: PlayRunner, local: Path, registry_plain: Registry, kind: str
) -> None:
    push(registry_plain, f"podman-{kind}")
    name = f"{registry_plain.address}/{REPOSITORY}:podman-{kind}"
    assert containers.accepts(name, key(kind).public, "matchRepository") == []
    options = {"name": [name], "key": {"text": key(kind).secret}, "form": "cosign", "recursive": True}  # fmt: skip
    play(one_task(SIGN, **options), local).ok()
    both = ["skopeo", "podman"]
    assert containers.accepts(name, key(kind).public, "matchRepository") == both
    assert containers.accepts(name, key(kind, 1).public, "matchRepository") == []
    # Without a tag in the signature, the default of policy.json does not accept it.
    assert containers.accepts(name, key(kind).public, "matchExact") == []
    play(one_task(SIGN, **options, signed_as="exact"), local).ok()
    assert containers.accepts(name, key(kind).public, "matchExact") == both


def test_image_verify_accepts_what_skopeo_signs(
    containers: Containers, play: PlayRunner, local: Path, registry_plain: Registry
) -> None:
    push(registry_plain, "skopeo")
    name = f"{registry_plain.address}/{REPOSITORY}"
    keys, accept = containers.directory / "skopeo", [{"type": "insecureAcceptAnything"}]
    (containers.directory / "passphrase").write_text(PASSPHRASE)
    secret = ["--passphrase-file", containers.directory / "passphrase"]
    containers.run("skopeo", "generate-sigstore-key", "--output-prefix", keys, *secret, policy=accept).check_returncode()  # fmt: skip
    sign = [
        "--sign-by-sigstore-private-key",
        f"{keys}.private",
        "--sign-passphrase-file",
        secret[1],
    ]
    plain = ["--src-tls-verify=false", "--dest-tls-verify=false"]
    images = [f"docker://{name}:skopeo", f"docker://{name}:signed"]
    containers.run("skopeo", "copy", "--all", *plain, *sign, *images, policy=accept).check_returncode()  # fmt: skip
    public = (containers.directory / "skopeo.pub").read_text()
    for level in ("index", "platform"):
        policy = [{"match": "*", "keys": [{"text": public}], "signed_as": "exact", "level": level}]
        task = one_task(VERIFY, name=[f"{name}:signed"], verify=policy)
        assert play(task, local).ok().one(VERIFY)["images"][0]["verified"]["signatures"]
    assert play(one_task(VERIFY, name=[f"{name}:signed"], verify=[rule()]), local).failures
    # image_sign reads the key of skopeo, too.
    key_file = {"text": (containers.directory / "skopeo.private").read_text()}
    done = play.four_times(one_task(SIGN, name=[f"{name}:skopeo"], key=key_file, passphrase=PASSPHRASE, form="cosign"), local)  # fmt: skip
    assert done[1].one(SIGN)["public_key"].strip() == public.strip()
