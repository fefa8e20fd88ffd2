# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Signatures of notation: envelopes are read strictly, and a signer is proven by the whole chain."""

from __future__ import annotations

import json

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._image.manifest import Descriptor
from ansible_collections.lockstep.images.plugins.module_utils._image.names import Digest
from ansible_collections.lockstep.images.plugins.module_utils._trust.errors import (
    SignatureInvalidError,
    SignatureMismatchError,
    SignatureUntrustedError,
)
from ansible_collections.lockstep.images.plugins.module_utils._trust.notation import (
    envelope_evidence,
    notation_signer,
    parse_envelope,
    payload_claim,
)
from ansible_collections.lockstep.images.plugins.module_utils._trust.policy import parse_policy
from ansible_collections.lockstep.images.tests.support.notation import (
    AUTHENTIC,
    COSE,
    DAY,
    EXPIRY,
    JWS,
    NOW,
    OWN,
    SCHEME,
    TIME,
    Chain,
    ExtendedKeyUsageOID,
    cbor,
    certificate,
    chain,
    cose,
    headers,
    jws,
    name_of,
    payload,
    rule,
    url64,
)
from ansible_collections.lockstep.images.tests.support.signing import b64, key

TYPE = "application/vnd.oci.image.manifest.v1+json"
DIGEST = Digest.parse("sha256:" + "1" * 64)
SUBJECT = Descriptor(TYPE, DIGEST, 100)
DATA = payload(str(DIGEST), 100, TYPE)
MAKERS = {JWS: jws, COSE: cose}
BOTH = pytest.mark.parametrize("form", MAKERS)
SA = "notary.x509.signingAuthority"


def evidence(raw, form=JWS):
    return envelope_evidence(raw, Descriptor(form, Digest.of(raw), len(raw)), SUBJECT, "x")


def signer(raw, form=JWS, **more):
    policy = parse_policy([{"match": "*", "notation": rule(**more)}], lambda path: b"")
    return notation_signer(policy.rules["*"].requirements[0].notation, evidence(raw, form))


@BOTH
@pytest.mark.parametrize("kind", ["p256", "p384", "p521", "rsa"])
def test_signature_with_every_kind_of_key_is_verified(form, kind):
    by = chain(kind)
    assert signer(MAKERS[form](DATA, by), form, by=by) == "C=US, ST=WA, O=acme, inc, CN=builder"


@BOTH
def test_subject_must_be_that_of_the_rule(form):
    raw = MAKERS[form](DATA, chain())
    assert signer(raw, form, identities=[r"x509.subject: C=US, ST=WA, O=acme\, inc"])
    with pytest.raises(
        SignatureUntrustedError, match=r"is by C=US, .* whom the rule does not name"
    ):
        signer(raw, form, identities=["x509.subject: C=US, ST=WA, O=acme"])


@BOTH
def test_authority_must_be_in_the_store_of_its_scheme(form):
    raw = MAKERS[form](DATA, chain())
    store = {"text": chain().store}
    with pytest.raises(SignatureUntrustedError, match="is by no authority of the rule"):
        signer(raw, form, by=chain("p384"))
    raw = MAKERS[form](DATA, chain(), headers(SA))
    with pytest.raises(SignatureUntrustedError, match="is by no authority"):
        signer(raw, form)
    assert signer(raw, form, by=chain("p384"), signing_authority=store)


@BOTH
def test_dates_are_enforced_if_strict(form):
    old = chain(since=NOW - 9 * DAY, until=NOW - 5 * DAY)
    store = {"signing_authority": {"text": old.store}}
    make = MAKERS[form]
    cases = [
        (make(DATA, old), "expired or not yet valid"),
        (make(DATA, chain(since=NOW + DAY // 2)), "expired or not yet valid"),
        (make(DATA, chain(), headers(expiry=NOW - 5)), "has expired"),
    ]
    for raw, message in cases:
        with pytest.raises(SignatureInvalidError, match=message):
            signer(raw, form)
    assert signer(cases[0][0], form, by=old, level="permissive")
    assert signer(cases[2][0], form, level="permissive")
    assert signer(make(DATA, chain(), headers(expiry=NOW + 600)), form)
    # The time by a signing authority counts for all certificates of the chain.
    with pytest.raises(SignatureInvalidError, match="expired or not yet valid"):
        signer(make(DATA, old, headers(SA)), form, **store)
    with pytest.raises(SignatureInvalidError, match="expired or not yet valid"):
        signer(make(DATA, old, headers(SA, **{AUTHENTIC: NOW - 7 * DAY})), form, **store)


@BOTH
def test_time_stamp_of_an_expired_signature_is_named_and_proves_nothing(form):
    """It would have to be verified with an authority for time stamps, which a rule cannot name."""
    stamp, old = f"{OWN}timestampSignature", chain(since=NOW - 9 * DAY, until=NOW - 5 * DAY)
    make = {
        JWS: lambda by: jws(DATA, by, header={"x5c": [b64(one) for one in by.ders], stamp: "AA=="}),
        COSE: lambda by: cose(DATA, by, unprotected={33: by.ders, stamp: b"a"}),
    }[form]
    with pytest.raises(
        SignatureInvalidError, match=r"is expired or not yet valid, and its time stamp is not read$"
    ):
        signer(make(old), form)
    with pytest.raises(SignatureInvalidError, match=r"is expired or not yet valid$"):
        signer(MAKERS[form](DATA, old), form)
    assert signer(make(old), form, by=old, level="permissive")
    assert signer(make(chain()), form)


def test_self_signed_certificate_may_be_its_own_authority():
    own, name = key("p256", 80), name_of([("C", "US"), ("ST", "WA"), ("O", "me")])
    alone = Chain("p256", own, (certificate(own, own, name, name),))
    assert signer(jws(DATA, alone), by=alone) == "C=US, ST=WA, O=me"
    with pytest.raises(SignatureUntrustedError):
        signer(jws(DATA, alone))


def with_chain(*certificates):
    return Chain("p256", chain().key, certificates)


LEAF, MIDDLE, ROOT = chain().certificates
NAMES = [name_of([("CN", text)]) for text in ("root", "middle")]
US = (("C", "US"), ("ST", "WA"), ("O", "acme, inc"))
CHAINS = {
    "no root": with_chain(LEAF, MIDDLE),
    "leaf alone": with_chain(LEAF),
    "leaf and root": with_chain(LEAF, ROOT),
    "another order": with_chain(LEAF, ROOT, MIDDLE),
    "root twice": with_chain(LEAF, MIDDLE, ROOT, ROOT),
    "another root": with_chain(LEAF, MIDDLE, certificate(key("p384", 99), key("p384", 99), NAMES[0], NAMES[0], True)),
    "leaf by no authority": with_chain(certificate(chain().key, key("p256", 90), name_of(US), NAMES[1]), MIDDLE, ROOT),
    "authority that is none": with_chain(
        certificate(chain().key, key("p256", 71), name_of(US), NAMES[1]),
        certificate(key("p256", 71), key("p384", 70), NAMES[1], NAMES[0]),
        certificate(key("p384", 70), key("p384", 70), NAMES[0], NAMES[0], True),
    ),
    "path is too long": with_chain(
        LEAF,
        MIDDLE,
        certificate(key("p384", 70), key("p384", 70), NAMES[0], NAMES[0], True, 0),
    ),
    "another key": Chain("p256", key("p256", 91), chain().certificates),
    "leaf is an authority": chain(is_authority=True),
    "purpose": chain(purpose=ExtendedKeyUsageOID.SERVER_AUTH),
    "no state": chain(subject=(("C", "US"), ("O", "acme"))),
    "attribute twice": chain(subject=(*US, ("O", "other"))),
    "many certificates": with_chain(LEAF, *[MIDDLE] * 10),
}  # fmt: skip


@BOTH
@pytest.mark.parametrize("by", CHAINS.values(), ids=CHAINS)
def test_every_other_chain_is_invalid(form, by):
    assert signer(MAKERS[form](DATA, chain(purpose=None)), form, by=chain(purpose=None))
    with pytest.raises((SignatureInvalidError, SignatureUntrustedError)) as caught:
        signer(MAKERS[form](DATA, by), form, by=by)
    assert caught.type is SignatureInvalidError


@BOTH
@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"alg": "PS256"}, "not made with the key"),
        ({"alg": None}, "not made with the key"),
        ({"alg": "none"}, "not made with the key"),
        ({"cty": "application/json"}, "of another type"),
        ({SCHEME: "notary.x509.other"}, "scheme is unknown"),
        ({SCHEME: None}, "signingScheme is missing"),
        ({TIME: None}, "signingTime is not a date"),
        ({TIME: "yesterday"}, "signingTime is not a date"),
        ({AUTHENTIC: NOW}, "has the header io.cncf.notary.authenticSigningTime"),
        ({EXPIRY: NOW + 60}, "other critical headers"),
        ({"crit": []}, "other critical headers"),
        ({"crit": None}, "crit is missing"),
        ({"crit": [SCHEME, SCHEME]}, "other critical headers"),
        ({"crit": [SCHEME, "other"], "other": "x"}, "other critical headers"),
        ({"crit": [SCHEME, EXPIRY]}, "other critical headers"),
        ({"crit": SCHEME}, "crit is missing or of another type"),
        ({"crit": [[SCHEME]]}, "other critical headers"),
        ({f"{OWN}verificationPlugin": "x"}, "has the header io.cncf.notary.verificationPlugin"),
    ],
)
def test_every_other_header_is_invalid(form, given, reason):
    assert signer(MAKERS[form](DATA, chain(), headers(other="ignored")), form)
    changed = {**headers(), **given}
    changed = {name: value for name, value in changed.items() if value is not None}
    if "alg" in given:
        changed["alg"] = {"PS256": -37}.get(given["alg"], 0) if form == COSE else str(given["alg"])
    with pytest.raises(SignatureInvalidError, match=reason):
        signer(MAKERS[form](DATA, chain(), changed), form)


def test_critical_headers_of_a_signing_authority_are_required():
    store = {"text": chain().store}
    for crit in ([SCHEME], [SCHEME, EXPIRY], [SCHEME, AUTHENTIC, AUTHENTIC]):
        with pytest.raises(SignatureInvalidError, match="critical header"):
            signer(jws(DATA, chain(), headers(SA, crit=crit)), signing_authority=store)
    with pytest.raises(SignatureInvalidError, match="authenticSigningTime is not a date"):
        signer(jws(DATA, chain(), headers(SA, crit=[SCHEME], **{AUTHENTIC: None})))


RAW = json.loads(jws(DATA, chain()))
BROKEN_JWS = {
    "payload of another image": jws(DATA, chain(), payload=url64(DATA.replace(b"1111", b"2222"))),
    "signature of another payload": jws(DATA, chain(), signature=url64(bytes(64))),
    "short signature": jws(DATA, chain(), signature=url64(bytes(63))),
    "empty signature": jws(DATA, chain(), signature=""),
    "signature as DER": jws(DATA, chain(), signature=url64(key("p256", 72).sign(b"x"))),
    "padding": jws(DATA, chain(), signature=RAW["signature"] + "="),
    "standard base64": jws(DATA, chain(), payload="+/+/"),
    "blank": jws(DATA, chain(), payload=" " + RAW["payload"]),
    "unused bits": jws(DATA, chain(), payload="QR"),
    "more fields": jws(DATA, chain(), signatures=[]),
    "no chain": jws(DATA, chain(), header={}),
    "empty chain": jws(DATA, chain(), header={"x5c": []}),
    "chain of numbers": jws(DATA, chain(), header={"x5c": [1]}),
    "certificate is malformed": jws(DATA, chain(), header={"x5c": [b64(b"0\x00")]}),
    "protected is no object": jws(DATA, chain(), protected=url64(b"[]")),
    "protected has double keys": jws(DATA, chain(), protected=url64(b'{"alg":"ES256","alg":"ES256"}')),
    "not JSON": b"{",
    "COSE": cose(DATA, chain()),
}  # fmt: skip
BROKEN_COSE = {
    "another payload": cose(DATA, chain(), payload=DATA + b" "),
    "another signature": cose(DATA, chain(), signature=bytes(64)),
    "no signature": cose(DATA, chain(), signature=b""),
    "another tag": cose(DATA, chain(), tag=98),
    "no tag": cbor([b"", {}, b"", b""]),
    "five parts": cose(DATA, chain(), more=b""),
    "payload is text": cose(DATA, chain(), payload="x"),
    "protected is a list": cose(DATA, chain(), protected=cbor([])),
    "protected is malformed": cose(DATA, chain(), protected=b"\xff"),
    "no chain": cose(DATA, chain(), unprotected={}),
    "chain of texts": cose(DATA, chain(), unprotected={33: ["x"]}),
    "algorithm that is not protected": cose(DATA, chain(), unprotected={33: chain().ders, 1: -7}),
    "more behind": cose(DATA, chain()) + b"\x00",
    "JWS": jws(DATA, chain()),
}


@pytest.mark.parametrize("raw", BROKEN_JWS.values(), ids=BROKEN_JWS)
def test_every_other_jws_is_invalid(raw):
    assert signer(jws(DATA, chain()))
    with pytest.raises(SignatureInvalidError):
        signer(raw)


@pytest.mark.parametrize("raw", BROKEN_COSE.values(), ids=BROKEN_COSE)
def test_every_other_cose_is_invalid(raw):
    assert signer(cose(DATA, chain()), COSE)
    with pytest.raises(SignatureInvalidError):
        signer(raw, COSE)


def test_other_envelopes_are_not_read():
    with pytest.raises(SignatureInvalidError, match="is of the type text/plain, expected"):
        parse_envelope(b"", "text/plain", "x")
    with pytest.raises(SignatureInvalidError, match="is not by notation"):
        notation_signer(None, evidence(jws(DATA, chain()))._replace(form="cosign"))


def test_claim_has_the_annotations_of_the_payload():
    data = payload(str(DIGEST), 100, TYPE, annotations={"env": "prod"}, artifactType="a/b")
    claim = evidence(jws(data, chain())).claim(DIGEST)
    assert (claim.reference, claim.annotations) == (None, {"env": "prod"})


@pytest.mark.parametrize(
    "change",
    [
        {"digest": "sha256:" + "2" * 64},
        {"size": 101},
        {"mediaType": TYPE.replace("manifest", "index")},
    ],
)
def test_digest_size_and_type_must_be_those_of_the_image(change):
    stated = {"digest": str(DIGEST), "size": 100, "mediaType": TYPE, **change}
    raw = json.dumps({"targetArtifact": stated}).encode()
    with pytest.raises(SignatureMismatchError, match=r"is for .* bytes, expected"):
        payload_claim(raw, SUBJECT, DIGEST, "x")
    with pytest.raises(SignatureMismatchError):
        payload_claim(DATA, SUBJECT, Digest.parse("sha256:" + "3" * 64), "x")


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"targetArtifact": {}},
        {"targetArtifact": [], "more": 1},
        {**json.loads(DATA), "more": 1},
        json.loads(payload(str(DIGEST), 100, TYPE, urls=[])),
        json.loads(payload(str(DIGEST), True, TYPE)),
        json.loads(payload(str(DIGEST), 100, TYPE, annotations=[1])),
    ],
)
def test_every_other_payload_is_invalid(value):
    with pytest.raises(SignatureInvalidError):
        payload_claim(json.dumps(value).encode(), SUBJECT, DIGEST, "x")
