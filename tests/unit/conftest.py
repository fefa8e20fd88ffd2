# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What all unit tests share: no setting of the developer reaches them, and they wait for no disk."""

from __future__ import annotations

import os

import pytest

SETTINGS = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "REQUEST_METHOD")
BUNDLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
LONGEST_ID = 200


def pytest_make_parametrize_id(val, argname):
    """Name a long parameter by its length: pytest-xdist keeps the id of every test in memory."""
    if isinstance(val, (str, bytes)) and len(val) > LONGEST_ID:
        return f"{argname} of {len(val)}"
    return None


@pytest.fixture(autouse=True)
def own_network(monkeypatch, tmp_path_factory):
    """Remove proxies, netrc files, and all certificate authorities: loading the system's takes time."""
    for name in SETTINGS:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    for name in BUNDLES:
        monkeypatch.delenv(name, raising=False)
    home = tmp_path_factory.getbasetemp() / "home"
    home.mkdir(exist_ok=True)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("SSL_CERT_FILE", str(home / "no-authorities.pem"))
    monkeypatch.setenv("SSL_CERT_DIR", str(home))


def check_descriptor(fd):
    """Raise OSError if ``fd`` is not open, as os.fsync() does."""
    os.fstat(fd)


@pytest.fixture(autouse=True, scope="session")
def no_flush():
    """Skip the flush in os.fsync(): only a power failure shows the difference, and a disk takes 5 ms for it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", check_descriptor)
        yield
