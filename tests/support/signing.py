# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sign images as cosign does, with keys that are made when they are first used."""

from __future__ import annotations

import base64
import functools
import json
import typing as t
from dataclasses import replace

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa

from .bodies import digest_of
from .images import Image, Layer, image, index, to_json

PAYLOAD = "application/vnd.dev.cosign.simplesigning.v1+json"
SIGNATURE = "dev.cosignproject.cosign/signature"
BUNDLE = "application/vnd.dev.sigstore.bundle.v0.3+json"
STATEMENT = "application/vnd.in-toto+json"
ENVELOPE = "application/vnd.dsse.envelope.v1+json"
PREDICATE = "https://sigstore.dev/cosign/sign/v1"
_MAKERS: dict[str, t.Callable[[], t.Any]] = {
    "p256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "p384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "p521": lambda: ec.generate_private_key(ec.SECP521R1()),
    "p192": lambda: ec.generate_private_key(ec.SECP192R1()),
    "rsa": lambda: rsa.generate_private_key(65537, 2048),
    "rsa1024": lambda: rsa.generate_private_key(65537, 1024),
    "ed25519": ed25519.Ed25519PrivateKey.generate,
}


class Key:
    """A key pair."""

    def __init__(self, private: t.Any) -> None:
        self.private = private

    @property
    def public(self) -> str:
        """The public key as a PEM file."""
        form = serialization
        return (
            self.private.public_key()
            .public_bytes(form.Encoding.PEM, form.PublicFormat.SubjectPublicKeyInfo)
            .decode()
        )

    @property
    def der(self) -> bytes:
        """The public key as DER."""
        form = serialization
        return self.private.public_key().public_bytes(  # type: ignore[no-any-return]
            form.Encoding.DER, form.PublicFormat.SubjectPublicKeyInfo
        )

    @property
    def secret(self) -> str:
        """The private key as a PEM file."""
        form = serialization
        return self.private.private_bytes(  # type: ignore[no-any-return]
            form.Encoding.PEM, form.PrivateFormat.PKCS8, form.NoEncryption()
        ).decode()

    def encrypted(self, passphrase: str) -> str:
        """The private key as a PEM file that is encrypted."""
        form = serialization
        how = form.BestAvailableEncryption(passphrase.encode())
        return self.private.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, how).decode()  # type: ignore[no-any-return]

    def sign(self, data: bytes, name: str = "SHA256") -> bytes:
        """Return a signature of ``data``."""
        function = getattr(hashes, name)()
        if isinstance(self.private, ed25519.Ed25519PrivateKey):
            return self.private.sign(data)
        if isinstance(self.private, rsa.RSAPrivateKey):
            return self.private.sign(data, padding.PKCS1v15(), function)
        return self.private.sign(data, ec.ECDSA(function))  # type: ignore[no-any-return]


class CosignKey(t.NamedTuple):
    """A key pair that cosign 3.1.1 has made for the tests."""

    secret: str
    public: str
    passphrase: str


COSIGN_KEY = CosignKey(
    """\
-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----
eyJrZGYiOnsibmFtZSI6InNjcnlwdCIsInBhcmFtcyI6eyJOIjo2NTUzNiwiciI6
OCwicCI6MX0sInNhbHQiOiI2dW5vbDZ3RU1LdU1ENGpoV2VWZ3J0VlduRUlUb0hR
QlNPeHE0dlA5WHowPSJ9LCJjaXBoZXIiOnsibmFtZSI6Im5hY2wvc2VjcmV0Ym94
Iiwibm9uY2UiOiJpazNEYmNxTlpnUnZlRlI4c1RTcWdaRm8wbllYT0p1MSJ9LCJj
aXBoZXJ0ZXh0IjoiMytwVE5meDYxMWN5RGd2bGwrczFMREFNMzU5Vm40dnY1M2hI
UUV4MlVyRUZ5SDdzRVFlZ1ovUHlDc2wyanEzNXZiSkI4NjZHQTJab1ZhbmFaVjhV
a21OTzZkeDJOMVFIdmw3L2szcUFEZ0p2dWswcjZnUUR6ZGVzZ1dRQUZQYjZUTENR
a3VpWWNsWmxpeUxsbE5nR0oxTFpUaHV6dDlJbUJiS0NyMW5sOW00ckhkK1dyKzVH
d3ZwS1hrTnhuSGJIS3NOdEl3aUdMOTlmZ2c9PSJ9
-----END ENCRYPTED SIGSTORE PRIVATE KEY-----
""",
    """\
-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEGm6feY2+dePWHYSs8OqWJr0T7k1X
2t2o4FPBXhhb2edF0Z3NPvzh104f+9qvsYH31g09XmlDIUYPRDngvpHEvQ==
-----END PUBLIC KEY-----
""",
    "pw",
)


def key(kind: str = "p256", number: int = 0) -> Key:
    """Return a key of a kind: p256, p384, rsa, ed25519, and some that are refused. Each number is another key."""
    return _made(kind, number)


@functools.cache
def _made(kind: str, _number: int) -> Key:
    return Key(_MAKERS[kind]())


def b64(data: bytes) -> str:
    """Return standard base64."""
    return base64.b64encode(data).decode()


def payload(
    digest: str,
    reference: str,
    kind: str = "cosign container image signature",
    optional: t.Any = None,
) -> bytes:
    """Return a simple-signing payload."""
    return json.dumps(
        {
            "critical": {
                "identity": {"docker-reference": reference},
                "image": {"docker-manifest-digest": digest},
                "type": kind,
            },
            "optional": optional,
        },
        separators=(",", ":"),
    ).encode()


class Signed(t.NamedTuple):
    """One entry of the manifest that a ``.sig`` tag names: a payload and its annotations."""

    data: bytes
    annotations: t.Mapping[str, t.Any]
    media_type: str = PAYLOAD


def signed(data: bytes, by: Key, **more: t.Any) -> Signed:
    """Return an entry with the signature of a payload; ``more`` are further annotations."""
    return Signed(data, {SIGNATURE: b64(by.sign(data)), **more})


def sig_manifest(entries: t.Sequence[Signed], **fields: t.Any) -> Image:
    """Return the manifest of a ``.sig`` tag."""
    layers = [
        Layer(one.data, one.media_type, digest_of(one.data), digest_of(one.data), None)
        for one in entries
    ]
    listed = [
        {**layer.descriptor(), "annotations": dict(one.annotations)}
        for layer, one in zip(layers, entries)
    ]
    return with_manifest(image(layers, platform="", history=False), layers=listed, **fields)


def with_manifest(item: Image, **fields: t.Any) -> Image:
    """Return an image whose manifest has other values of these keys, and without those with None."""
    view = {**item.view, **fields}
    raw = to_json({name: value for name, value in view.items() if value is not None})
    return replace(item, raw=raw, digest=digest_of(raw))


def sig_tag(digest: str) -> str:
    """Return the tag of the signatures of a digest."""
    return f"{digest.replace(':', '-')}.sig"


def statement(
    digest: str,
    predicate: str = PREDICATE,
    annotations: t.Mapping[str, t.Any] | None = None,
    content: t.Any = None,
) -> bytes:
    """Return an in-toto statement about a digest; ``content`` is the predicate, by default an empty one."""
    subject: dict[str, t.Any] = {"name": "", "digest": {"sha256": digest.partition(":")[2]}}
    if annotations:
        subject["annotations"] = dict(annotations)
    return json.dumps(
        {
            "_type": "https://in-toto.io/Statement/v1",
            "subject": [subject],
            "predicateType": predicate,
            "predicate": {} if content is None else content,
        }
    ).encode()


def pae(data: bytes, kind: str = STATEMENT) -> bytes:
    """Return the bytes that are signed for a DSSE envelope."""
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind.encode(), len(data), data)


def bundle(data: bytes, by: Key, **fields: t.Any) -> dict[str, t.Any]:
    """Return a bundle with a statement that is signed with a key."""
    return {
        "mediaType": BUNDLE,
        "verificationMaterial": {"publicKey": {"hint": "hint"}, "tlogEntries": []},
        "dsseEnvelope": envelope(data, by),
        **fields,
    }


def envelope(data: bytes, by: Key) -> dict[str, t.Any]:
    """Return a DSSE envelope with a statement that is signed with a key."""
    signatures = [{"sig": b64(by.sign(pae(data)))}]
    return {"payload": b64(data), "payloadType": STATEMENT, "signatures": signatures}


def attestation(data: bytes, by: Key, kind: str) -> Signed:
    """Return an entry of the manifest that a ``.att`` tag names, with the note that its statement has a type."""
    raw = json.dumps(envelope(data, by)).encode()
    return Signed(raw, {SIGNATURE: "", "predicateType": kind}, ENVELOPE)


def att_tag(digest: str) -> str:
    """Return the tag of the attestations of a digest."""
    return f"{digest.replace(':', '-')}.att"


def referrer(
    content: t.Any, subject: t.Mapping[str, t.Any], artifact_type: str = BUNDLE, **fields: t.Any
) -> Image:
    """Return the manifest of an artifact that refers to an image; ``content`` is its layer, as bytes or as JSON."""
    raw = content if isinstance(content, bytes) else json.dumps(content).encode()
    layer = Layer(raw, artifact_type, digest_of(raw), digest_of(raw), None)
    fields = {"artifactType": artifact_type, "subject": dict(subject), **fields}
    return image([layer], platform="", history=False, **fields)


def fallback_index(referrers: t.Sequence[Image]) -> t.Any:
    """Return the index that a registry without the API of referrers holds under a tag."""
    entries = [{**one.descriptor(), "artifactType": one.view["artifactType"]} for one in referrers]
    return index([], manifests=entries)
