# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""gpgv: its answer counts only if every part of it is right."""

from __future__ import annotations

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._image.errors import DependencyError
from ansible_collections.lockstep.images.plugins.module_utils._trust.errors import (
    SignatureInvalidError,
)
from ansible_collections.lockstep.images.plugins.module_utils._trust.gpgv import (
    fingerprint_of,
    verify_message,
)
from ansible_collections.lockstep.images.tests.support.gpg import (
    GOOD,
    PAYLOAD,
    SUBKEY,
    changed,
    keyring,
    message,
    requires_gpgv,
)

PRIMARY, SIGNING = "A" * 40, "B" * 40
VALID = f"VALIDSIG {SIGNING} 2020-02-02 1580601600 0 4 0 22 8 00 {PRIMARY}"
LINES = [
    "PLAINTEXT 62 1580601600 payload",
    "PLAINTEXT_LENGTH 207",
    "NEWSIG",
    "KEY_CONSIDERED AAAA 0",
    "SIG_ID x 2020-02-02 1580601600",
    "GOODSIG BBBBBBBBBBBBBBBB good",
    VALID,
]


def fingerprint(*lines, code=0):
    text = "".join(f"[GNUPG:] {line}\n" for line in lines)
    return fingerprint_of(text, code, "signature-1")


def test_primary_key_is_reported():
    assert fingerprint(*LINES) == PRIMARY
    assert fingerprint(*LINES, "TRUST_UNDEFINED 0 pgp", "KEYEXPIRED 1") == PRIMARY
    assert fingerprint(*LINES[:6], VALID.replace(" 8 00 ", " 10 00 ")) == PRIMARY


WRONG = {
    "nothing": ([], 0),
    "exit code": (LINES, 1),
    "no GOODSIG": ([one for one in LINES if "GOODSIG" not in one], 0),
    "no VALIDSIG": (LINES[:6], 0),
    "no PLAINTEXT": (LINES[1:], 0),
    "no NEWSIG": ([one for one in LINES if one != "NEWSIG"], 0),
    "two GOODSIG": ([*LINES, LINES[5]], 0),
    "two VALIDSIG": ([*LINES, VALID], 0),
    "two PLAINTEXT": ([LINES[0], *LINES], 0),
    "two NEWSIG": (["NEWSIG", *LINES], 0),
    "GOODSIG and BADSIG": ([*LINES, "BADSIG BBBBBBBBBBBBBBBB good"], 0),
    "REVKEYSIG instead of GOODSIG": ([*LINES[:5], "REVKEYSIG BBBBBBBBBBBBBBBB good", VALID], 0),
    "GOODSIG and REVKEYSIG": ([*LINES, "REVKEYSIG BBBBBBBBBBBBBBBB good"], 0),
    "EXPKEYSIG": ([*LINES, "EXPKEYSIG BBBBBBBBBBBBBBBB good"], 0),
    "EXPSIG": ([*LINES, "EXPSIG BBBBBBBBBBBBBBBB good"], 0),
    "ERRSIG": ([*LINES, "ERRSIG BBBBBBBBBBBBBBBB 22 8 00 1 9 -"], 0),
    "NO_PUBKEY": ([*LINES, "NO_PUBKEY BBBBBBBBBBBBBBBB"], 0),
    "NODATA": ([*LINES, "NODATA 4"], 0),
    "UNEXPECTED": ([*LINES, "UNEXPECTED 0"], 0),
    "FAILURE": ([*LINES, "FAILURE gpg-exit 1"], 0),
    "ERROR": ([*LINES, "ERROR check_expired 1"], 0),
    "no primary key": ([*LINES[:6], VALID[:-41]], 0),
    "primary key is no fingerprint": ([*LINES[:6], VALID[:-1]], 0),
    "primary key in small letters": ([*LINES[:6], VALID[:-40] + "a" * 40], 0),
    "text instead of binary": ([*LINES[:6], VALID.replace(" 8 00 ", " 8 01 ")], 0),
    "SHA-1": ([*LINES[:6], VALID.replace(" 8 00 ", " 2 00 ")], 0),
    "MD5": ([*LINES[:6], VALID.replace(" 8 00 ", " 1 00 ")], 0),
}


@pytest.mark.parametrize(("lines", "code"), WRONG.values(), ids=WRONG)
def test_every_other_status_is_refused(lines, code):
    with pytest.raises(SignatureInvalidError, match=r"^signature-1: "):
        fingerprint(*lines, code=code)


def test_status_lines_inside_other_text_do_not_count():
    text = "".join(f"gpgv: [GNUPG:] {line}\n" for line in LINES)
    with pytest.raises(SignatureInvalidError):
        fingerprint_of(text, 0, "x")


@requires_gpgv
@pytest.mark.parametrize("name", ["good", "plain", "zlib", "bzip2"])
def test_good_message_is_verified(name):
    assert verify_message(keyring(), message(name), "x") == (GOOD, PAYLOAD)


@requires_gpgv
def test_signer_is_the_primary_key_of_a_subkey():
    assert verify_message(keyring(), message("subkey"), "x") == (SUBKEY, PAYLOAD)


BAD = {
    "other": "was not made with a key of the keyring: [0-9A-F]{16}",
    "revoked": "was made with a revoked key: ",
    "expired_key": "was made with an expired key: ",
    "expired": "has expired",
    "sha1": "a hash that is no longer safe",
    "text": "is not a signature of binary data",
    "twice_plain": "was changed|cannot be verified",
    "both": "was not made with a key of the keyring",
    "literal": "is not a signed message",
    "cleartext": "is not a signature of binary data",
    "detached": "is not one good signature, gpgv reports 0 times PLAINTEXT",
}


@requires_gpgv
@pytest.mark.parametrize(("name", "reason"), BAD.items())
def test_bad_message_is_refused(name, reason):
    with pytest.raises(SignatureInvalidError, match=f"^x: .*({reason})"):
        verify_message(keyring(), message(name), "x")


@requires_gpgv
def test_changed_message_is_refused():
    with pytest.raises(SignatureInvalidError, match="was changed"):
        verify_message(keyring(), changed(message("plain")), "x")
    with pytest.raises(SignatureInvalidError, match="not made with a key of the keyring"):
        verify_message(keyring("other_ring"), message("plain"), "x")


def test_missing_program_is_a_missing_dependency(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DependencyError, match="gpgv, which is not installed") as caught:
        verify_message(keyring(), message("good"), "x")
    assert caught.value.details == {"library": "gpgv"}


def program(directory, monkeypatch, text):
    """Put a program in the place of gpgv."""
    path = directory / "gpgv"
    path.write_text(text)
    path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{directory}:/usr/bin:/bin")


def test_program_that_fails_or_says_nothing_proves_nothing(monkeypatch, tmp_path):
    for text in ("exit 0", "exit 1", "kill -9 $$", "echo '[GNUPG:] GOODSIG A'; exit 0"):
        program(tmp_path, monkeypatch, f"#!/bin/sh\n{text}\n")
        with pytest.raises(SignatureInvalidError, match="gpgv reports"):
            verify_message(keyring(), message("good"), "x")


def test_program_that_cannot_be_run_is_a_missing_dependency(monkeypatch, tmp_path):
    program(tmp_path, monkeypatch, "#!/nowhere\n")
    with pytest.raises(DependencyError, match="cannot be run"):
        verify_message(keyring(), message("good"), "x")


def test_good_status_without_content_proves_nothing(monkeypatch, tmp_path):
    status = "".join(f"[GNUPG:] {line}\\n" for line in LINES)
    program(tmp_path, monkeypatch, f"#!/bin/sh\nprintf '{status}'  > /proc/self/fd/$6\n")
    with pytest.raises(SignatureInvalidError, match="gpgv returns no content"):
        verify_message(keyring(), message("good"), "x")
