# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tables of cases in ``tests/unit/data``, and the checks that every error must pass."""

from __future__ import annotations

import base64
import functools
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._image.errors import LockstepError

DATA = Path(__file__).resolve().parents[1] / "unit" / "data"

Case = Mapping[str, Any]


@functools.cache
def _file(name: str) -> dict[str, Any]:
    return json.loads((DATA / f"{name}.json").read_text(encoding="utf-8"))


def attached(name: str, key: str) -> Any:
    """Return a value of a file of tables that is not a table."""
    return _file(name)[key]


def table(name: str, key: str) -> list[Case]:
    """Return the cases of one table."""
    return _file(name)["tables"][key]["cases"]


def short(value: Any) -> str:
    """Return a short text for a value, as the id of a test."""
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= 60 else f"{text[:40]}...{text[-12:]} ({len(text)})"


def params(cases: Iterable[Case], key: str) -> list[Any]:
    """Return cases as parameters of a test, with the field ``key`` as id."""
    return [pytest.param(case, id=short(case[key]) or "empty") for case in cases]


def secret_forms(*secrets: str) -> list[str]:
    """Return each secret as is, in JSON, in repr(), in a URL, and in base64 at each of its three offsets."""
    forms = []
    for secret in secrets:
        raw = secret.encode("utf-8")
        shifted = (
            base64.b64encode(b"\0" * shift + raw).decode("ascii")[shift and 4 :].rstrip("=")[:-1]
            for shift in range(3)
        )
        texts = [
            secret,
            repr(secret)[1:-1],
            quote(secret),
            quote(secret, safe=""),
            quote_plus(secret),
        ]
        texts += [json.dumps(secret, ensure_ascii=ascii)[1:-1] for ascii in (True, False)]
        forms += [*dict.fromkeys(texts), *shifted]
    return [form for form in forms if len(form) > 3]


def assert_tells(
    error: LockstepError, kind: str, *subjects: str, never: Iterable[str] = ()
) -> None:
    """Assert that an error is one printable line of at most 1,000 characters, has this kind, names
    ``subjects``, and shows no secret of ``never``.
    """
    text = str(error)
    assert error.kind == kind == error.as_result()["kind"]
    assert text.isprintable() and 0 < len(text) <= 1000, repr(text[:200])
    for subject in subjects:
        assert subject in text
    shown = json.dumps([text, error.hint, error.as_result()])
    for form in secret_forms(*never):
        assert form not in shown
