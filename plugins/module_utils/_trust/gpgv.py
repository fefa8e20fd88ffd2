# SPDX-License-Identifier: GPL-3.0-or-later
"""Signatures by GPG, verified by the program gpgv, whose answer counts only if every part of it is right."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
import typing as t

from .._image.errors import DependencyError, printable
from .errors import SignatureInvalidError

_PROGRAM = "gpgv"
_TIMEOUT = 60.0  # seconds
_MAX_STATUS = 64 * 1024
_MARK = "[GNUPG:] "
# What ends a verification, in the order of the messages; gpgv may exit with 0 nevertheless.
_REFUSED = {
    "BADSIG": "is not by the key that it names, or was changed",
    "REVKEYSIG": "was made with a revoked key",
    "EXPKEYSIG": "was made with an expired key",
    "EXPSIG": "has expired",
    "NO_PUBKEY": "was not made with a key of the keyring",
    "ERRSIG": "cannot be verified with the keyring",
    "NODATA": "is not a signed message",
    "UNEXPECTED": "is not a signed message",
    "FAILURE": "cannot be verified",
    "ERROR": "cannot be verified",
}
_ONCE = ("PLAINTEXT", "NEWSIG", "GOODSIG", "VALIDSIG")
_FINGERPRINT = re.compile("[0-9A-F]{40}|[0-9A-F]{64}")
_VALID_FIELDS = 10
_HASH, _CLASS, _PRIMARY = 7, 8, 9  # fields of VALIDSIG
_BINARY = "00"
# SHA-256, SHA-384, SHA-512, SHA-224 and SHA-3 (RFC 9580, section 9.5); not MD5, SHA-1 and RIPEMD-160.
_HASHES = ("8", "9", "10", "11", "12", "14")


class GpgSignature(t.NamedTuple):
    """A valid signature: the fingerprint of the primary key, and what was signed."""

    fingerprint: str
    content: bytes


def require_gpgv() -> str:
    """Return the path of gpgv; raise DependencyError if it is not installed."""
    path = shutil.which(_PROGRAM)
    if not path:
        raise DependencyError(
            "signatures by GPG are verified with the program gpgv, which is not installed",
            "Install it, for example the package gpgv or gnupg2.",
            library=_PROGRAM,
        )
    return path


def verify_message(ring: bytes, message: bytes, where: str) -> GpgSignature:
    """Verify a signed message with the keys of a keyring.

    Raise SignatureInvalidError, which names ``where``, if it has no valid signature by one of them, DependencyError without
    gpgv.
    """
    program = require_gpgv()
    with tempfile.TemporaryDirectory(prefix="lockstep-") as home:
        paths = {name: os.path.join(home, name) for name in ("ring", "message", "content", "status")}  # fmt: skip
        for name, data in (("ring", ring), ("message", message), ("status", b"")):
            with open(paths[name], "xb") as file:
                file.write(data)
        with open(paths["status"], "r+b") as status:
            options = {
                "--homedir": home,
                "--keyring": paths["ring"],
                "--status-fd": str(status.fileno()),
                "--output": paths["content"],
            }
            listed = [text for pair in options.items() for text in pair]
            code = _run([program, *listed, "--", paths["message"]], status.fileno(), where)
            status.seek(0)
            lines = status.read(_MAX_STATUS).decode("utf-8", "replace")
        fingerprint = fingerprint_of(lines, code, where)
        try:
            with open(paths["content"], "rb") as file:
                return GpgSignature(fingerprint, file.read())
        except FileNotFoundError as exc:
            raise SignatureInvalidError(f"{where}: gpgv returns no content") from exc


def _run(command: t.Sequence[str], fd: int, where: str) -> int:
    """Run gpgv, which gets a descriptor for its status alone, and return its exit code."""
    try:
        # There is no AnsibleModule here.
        done = subprocess.run(  # pylint: disable=ansible-bad-function
            command,
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "LC_ALL": "C"},
            pass_fds=(fd,),
            timeout=_TIMEOUT,
        )
    except subprocess.TimeoutExpired as exc:
        raise SignatureInvalidError(
            f"{where}: gpgv did not end within {_TIMEOUT:.0f} seconds"
        ) from exc
    except OSError as exc:
        raise DependencyError(
            f"{command[0]} cannot be run: {exc.strerror}", library=_PROGRAM
        ) from exc
    return done.returncode


def fingerprint_of(status: str, code: int, where: str) -> str:
    """Return the fingerprint of the primary key of the only signature (GnuPG doc/DETAILS), by the status lines of gpgv.

    Raise SignatureInvalidError unless it is good in every respect: the exit code alone is 0 for revoked keys, too.
    """
    lines = [line[len(_MARK) :].split(" ") for line in status.split("\n") if line.startswith(_MARK)]
    words = [line[0] for line in lines]
    for word, reason in _REFUSED.items():
        if word in words:
            raise SignatureInvalidError(f"{where}: {reason}{_key_in(lines, word)}")
    wrong = [word for word in _ONCE if words.count(word) != 1]
    if wrong or code != 0:
        found = f"{words.count(wrong[0])} times {wrong[0]}" if wrong else f"exit code {code}"
        raise SignatureInvalidError(f"{where}: is not one good signature, gpgv reports {found}")
    fields = lines[words.index("VALIDSIG")][1:]
    if len(fields) < _VALID_FIELDS or not _FINGERPRINT.fullmatch(fields[_PRIMARY]):
        raise SignatureInvalidError(f"{where}: gpgv reports no primary key")
    if fields[_CLASS] != _BINARY:
        raise SignatureInvalidError(f"{where}: is not a signature of binary data")
    if fields[_HASH] not in _HASHES:
        raise SignatureInvalidError(f"{where}: uses a hash that is no longer safe")
    return fields[_PRIMARY]


def _key_in(lines: t.Sequence[t.Sequence[str]], word: str) -> str:
    """Return the ID of the key in a status line, for a message."""
    fields = next(line for line in lines if line[0] == word)
    is_named = len(fields) > 1 and re.fullmatch("[0-9A-F]{16,64}", fields[1])
    return f": {printable(fields[1])}" if is_named else ""
