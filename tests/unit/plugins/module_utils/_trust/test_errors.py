# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The errors of trust: of several failed signatures, the one nearest to success says the kind."""

from __future__ import annotations

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._trust.errors import (
    SignatureInvalidError,
    SignatureMismatchError,
    SignatureMissingError,
    SignatureUntrustedError,
    nearest,
)

MISSING, INVALID = SignatureMissingError("none"), SignatureInvalidError("broken")
UNTRUSTED, MISMATCH = SignatureUntrustedError("unknown"), SignatureMismatchError("other")


@pytest.mark.parametrize(
    ("causes", "kind"),
    [
        ([], "signature-missing"),
        ([MISSING], "signature-missing"),
        ([MISSING, INVALID], "signature-invalid"),
        ([INVALID, UNTRUSTED], "signature-untrusted"),
        ([MISMATCH, INVALID], "signature-mismatch"),
        ([UNTRUSTED, MISMATCH, MISSING], "signature-mismatch"),
    ],
)
def test_the_kind_is_that_of_the_signature_nearest_to_success(causes, kind):
    error = nearest("image", "rule", len(causes), causes)
    assert error.kind == kind
    assert error.hint == type(error).advice


def test_at_most_five_reasons_are_listed_each_once():
    causes = [SignatureInvalidError(f"reason {number}") for number in (0, 0, 1, 2, 3, 4, 5, 6)]
    error = nearest("image", "rule", 8, causes, digest="sha256:1")
    assert error.details["reasons"] == [f"reason {number}" for number in range(5)]
    assert (error.details["found"], error.details["digest"]) == (8, "sha256:1")
    assert str(error).startswith(
        "image: has 8 signatures, of which the rule for rule accepts none: "
    )
    assert str(error).endswith("reason 4; and 2 more")


def test_text_from_a_signature_is_printable_and_short():
    error = nearest("image", "rule", 1, [SignatureInvalidError("\x1b[31m" + "x" * 5000)])
    assert all(reason.isprintable() and len(reason) <= 300 for reason in error.details["reasons"])


def test_image_without_signatures_has_no_reasons():
    error = nearest("image", "rule", 0, [])
    assert str(error) == "image: has no signature, the rule for rule requires one"
    assert error.details == {"found": 0, "reasons": []}
