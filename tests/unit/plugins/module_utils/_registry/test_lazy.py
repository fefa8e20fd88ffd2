# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Registries that are opened when one is needed."""

from __future__ import annotations

import threading

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._ansible import shared_options
from ansible_collections.lockstep.images.plugins.module_utils._image.errors import InputError
from ansible_collections.lockstep.images.plugins.module_utils._image.names import Reference
from ansible_collections.lockstep.images.plugins.module_utils._registry import registries
from ansible_collections.lockstep.images.plugins.module_utils._registry.lazy import LazyRegistries
from ansible_collections.lockstep.images.plugins.module_utils._registry.options import (
    RegistryOptions,
)

DEFAULTS = {name: option.get("default") for name, option in shared_options().items()}
OPTIONS = RegistryOptions.of(DEFAULTS, connections=4)


@pytest.fixture(name="opened")
def fixture_opened(monkeypatch):
    """The options of all registries that are opened."""
    opened = []
    real = registries.registries_of

    def registries_of(options):
        opened.append(options)
        return real(options)

    monkeypatch.setattr(registries, "registries_of", registries_of)
    return opened


def test_nothing_is_opened_before_a_repository_is_needed(opened):
    lazy = LazyRegistries(OPTIONS)
    assert lazy.warnings == ()
    assert lazy.stats()["requests"] == {}
    assert opened == []


def test_registries_are_opened_once_by_any_number_of_threads(opened):
    lazy = LazyRegistries(OPTIONS)
    reference = Reference.parse("registry.example/app:1")
    threads = [threading.Thread(target=lazy.repository, args=(reference,)) for _number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert opened == [OPTIONS]


def test_statistics_have_the_same_keys_before_and_after_opening(opened):
    lazy = LazyRegistries(OPTIONS)
    before = lazy.stats().keys()
    lazy.prepare()
    assert opened
    assert lazy.stats().keys() == before


def test_wrong_entry_of_registries_is_an_error_even_if_no_registry_is_needed():
    wrong = OPTIONS._replace(registries=[{"registry": "https://registry.example"}])
    with pytest.raises(InputError, match="registries"):
        LazyRegistries(wrong)
