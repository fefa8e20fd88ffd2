# SPDX-License-Identifier: GPL-3.0-or-later
"""The errors of trust; their ``kind`` is stable. Everything that is not proven raises one of them."""

from __future__ import annotations

import typing as t

from .._image.errors import InputError, LockstepError, printable

_SHOWN = 5


class SignatureError(LockstepError):
    """An image is not signed as its rule requires. ``rank`` grows with the steps of the verification that succeeded."""

    kind = "signature-invalid"
    rank = 0


class SignatureMissingError(SignatureError):
    """An image has no signature at all."""

    kind = "signature-missing"
    advice = "Sign the image, or check where its signatures are stored."


class SignatureInvalidError(SignatureError):
    """A signature is malformed, was not made with a key of the rule, or does not fit its certificate, time or log."""

    rank = 1
    advice = (
        "Check the keys of the rule. If they are right, do not use the image: ask its publisher."
    )


class SignatureListError(SignatureInvalidError):
    """None of the signatures of a digest can be read: there are too many, or something else is in their place."""


class SignatureUntrustedError(SignatureError):
    """A signature is valid, but the rule does not name its signer."""

    kind = "signature-untrusted"
    rank = 2
    advice = "Add the signer to the rule only if the publisher of the image confirms it."


class SignatureMismatchError(SignatureError):
    """A trusted signer made a valid signature of another digest, name, annotation or purpose."""

    kind = "signature-mismatch"
    rank = 3
    advice = "Sign this image under this name, or verify the image that was signed."


class PolicyRejectedError(LockstepError):
    """No rule matches an image, or its rule rejects it."""

    kind = "policy-rejected"
    advice = "Add a rule for the image to the policy if you trust it."


class PolicyError(InputError):
    """A policy, or a key or file that it names, cannot be used."""

    kind = "invalid-policy"
    advice = "Correct the policy. No image was verified."


class InvalidKeyError(InputError):
    """A private key, or its passphrase, cannot be used."""

    kind = "invalid-key"
    advice = (
        "Give a private key in PKCS #8, or one of cosign generate-key-pair, with its passphrase."
    )


def nearest(
    subject: str, rule: str, found: int, causes: t.Sequence[SignatureError], **details: t.Any
) -> SignatureError:
    """Return the error of an image whose signatures all failed: its kind is that of the one nearest to success.

    ``found`` is the number of signatures, ``rule`` the scope of the rule.
    """
    best = max(causes, key=lambda cause: cause.rank, default=SignatureMissingError(""))
    reasons = [printable(str(cause), 300) for cause in (best, *causes)] if causes else []
    reasons = list(dict.fromkeys(reasons))
    more = f"; and {len(reasons) - _SHOWN} more" if len(reasons) > _SHOWN else ""
    reasons = reasons[:_SHOWN]
    if found:
        many = f"{found} signature{'' if found == 1 else 's'}"
        text = f"has {many}, of which the rule for {rule} accepts none"
    else:
        text = f"has no signature, the rule for {rule} requires one"
    listed = f": {'; '.join(reasons)}{more}" if reasons else ""
    return type(best)(
        f"{subject}: {text}{listed}", best.hint, found=found, reasons=reasons, **details
    )
