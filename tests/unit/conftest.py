# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Isolate all unit tests from the settings of the developer, and from the disk."""

from __future__ import annotations

import gc
import itertools
import os

import pytest

SETTINGS = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "REQUEST_METHOD")
BUNDLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
LONGEST_ID = 200
NUMBERS = itertools.count()


def pytest_configure(config):
    """Run the tests of a worker in one process. ansible-test forks for each test, which none of them needs."""
    forked = config.pluginmanager.get_plugin("ansible_forked")
    if forked:
        config.pluginmanager.unregister(forked)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Keep the tests of a file together, and take tests from a busy process when another one has none left."""
    from xdist.scheduler import WorkStealingScheduling

    return WorkStealingScheduling(config, log)


@pytest.hookimpl(wrapper=True)
def pytest_collection():
    """Collect no garbage while the tests are collected, and never look at them again: they all stay."""
    gc.disable()
    found = yield
    gc.freeze()
    gc.enable()
    return found


def pytest_make_parametrize_id(val, argname):
    """Name a long parameter by its length: pytest-xdist keeps the id of every test in memory."""
    if isinstance(val, (str, bytes)) and len(val) > LONGEST_ID:
        return f"{argname} of {len(val)}"
    return None


@pytest.fixture
def tmp_path(request, tmp_path_factory):
    """Return a new directory. The fixture of pytest lists all earlier ones each time, which takes 3 ms."""
    path = tmp_path_factory.getbasetemp() / f"{next(NUMBERS)}-{request.node.originalname[:30]}"
    path.mkdir(mode=0o700)
    return path


@pytest.fixture(autouse=True, scope="session")
def own_network(tmp_path_factory):
    """Remove proxies, netrc files, and all certificate authorities: loading the system's takes time."""
    home = tmp_path_factory.mktemp("home", numbered=False)
    with pytest.MonkeyPatch.context() as patch:
        for name in SETTINGS:
            patch.delenv(name, raising=False)
            patch.delenv(name.lower(), raising=False)
        for name in BUNDLES:
            patch.delenv(name, raising=False)
        patch.setenv("HOME", str(home))
        patch.setenv("SSL_CERT_FILE", str(home / "no-authorities.pem"))
        patch.setenv("SSL_CERT_DIR", str(home))
        yield


def check_descriptor(fd):
    """Raise OSError if ``fd`` is not open, as os.fsync() does."""
    os.fstat(fd)


@pytest.fixture(autouse=True, scope="session")
def no_flush():
    """Skip the flush in os.fsync(): only a power failure shows the difference, and a disk takes 5 ms for it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", check_descriptor)
        yield
