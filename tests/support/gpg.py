# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Signatures and keyrings of GPG, from ``tests/unit/data/gpg.json``: their keys were made for them and dropped."""

from __future__ import annotations

import base64
import shutil

import pytest

from .bodies import digest_of
from .tables import attached

requires_gpgv = pytest.mark.skipif(not shutil.which("gpgv"), reason="gpgv is not installed")

MANIFEST: bytes = attached("gpg", "manifest").encode()
"""The manifest whose digest all messages are for."""

DIGEST = digest_of(MANIFEST)
NAME = "registry.example.com:5000/shop/web:1"
"""The name that all messages state."""

PAYLOAD: bytes = attached("gpg", "payload").encode()
GOOD: str = attached("gpg", "good")
SUBKEY: str = attached("gpg", "subkey")
NAMES = sorted(attached("gpg", "messages"))


def message(name: str) -> bytes:
    """Return a message, such as ``good`` or ``revoked``."""
    return base64.b64decode(attached("gpg", "messages")[name])


def keyring(name: str = "ring") -> bytes:
    """Return a keyring: ``ring`` or ``other_ring``."""
    return base64.b64decode(attached("gpg", name))


def changed(raw: bytes) -> bytes:
    """Return a message that is not compressed with another payload of the same size."""
    assert raw.count(b"shop/web:1") == 1
    return raw.replace(b"shop/web:1", b"shop/web:2")
