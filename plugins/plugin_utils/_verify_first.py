# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Verify the images of a task before its module moves them, and pin the module to the digests that were verified.

image_verify runs on the host of the task, and then the module does. So the module on the host has no code for signatures.
"""

from __future__ import annotations

import typing as t

from ansible.errors import AnsibleActionFail
from ansible.module_utils.parsing.convert_bool import BOOLEANS_FALSE
from ansible_collections.lockstep.images.plugins.module_utils._ansible import shared_options
from ansible_collections.lockstep.images.plugins.module_utils._image import errors
from ansible_collections.lockstep.images.plugins.module_utils._image.names import ALL, Reference
from ansible_collections.lockstep.images.plugins.module_utils._operations.actions import (
    shorten_images,
)
from ansible_collections.lockstep.images.plugins.plugin_utils._edge import failed

Json = dict[str, t.Any]

VERIFY = "lockstep.images.image_verify"
_OPTIONS = ("name", "verify", "platform", "parallel")
# The keys of a result that modules return only if no image failed.
_PROMISES = ("actions", "fingerprint", "other_names")


class VerifyFirst:
    """A part of an action plugin whose module has the option ``verify``.

    The module itself refuses the option, so a task that reaches it in another way fails.
    """

    excluded: tuple[str, ...] = ()  # options that choose other images than those in ``name``
    is_whole = False  # whether the module moves every platform of an index by default
    named_by = "name"  # the key of an entry of ``images`` that has the verified name

    # Of ActionBase.
    _task: t.Any

    def source_of(self, _options: Json) -> str:
        """Return the option ``source`` of image_verify. Raise InputError for options that nothing can verify."""
        return "registry"

    def _execute_module(
        self, module_name: str | None = None, module_args: Json | None = None, **how: t.Any
    ) -> Json:
        execute = super()._execute_module  # type: ignore[misc]
        options = dict(self._task.args if module_args is None else module_args)
        if "verify" not in options:
            return dict(execute(module_name=module_name, module_args=module_args, **how))
        try:
            self._require_usable(options)
            asked = self._verify_options(options)
        except errors.InputError as exc:
            return _failed(exc.full_message(), exc.as_result())
        verified = execute(module_name=VERIFY, module_args=asked, **how)
        pinned = pinned_names(verified)
        if verified.get("failed") and not pinned:
            return _failed(verified["msg"], verified.get("error"), verified)
        del options["verify"]
        options["name"] = pinned
        done = execute(module_name=module_name, module_args=options, **how)
        return with_verdicts(done, verified, self.named_by)

    def _require_usable(self, options: Json) -> None:
        for name in self.excluded:
            if options.get(name) is not None and str(options[name]).lower() not in BOOLEANS_FALSE:
                raise errors.InputError(f"verify: is mutually exclusive with {name}")
        if self._task.async_val:
            raise errors.InputError(
                "verify: is not possible in a task with async",
                f"Run {VERIFY} first, and give its pinned names to this task.",
            )

    def _verify_options(self, options: Json) -> Json:
        known = {*_OPTIONS, *shared_options()}
        asked = {name: value for name, value in options.items() if name in known}
        if self.is_whole and not asked.get("platform"):
            asked["platform"] = [ALL]
        return {**asked, "source": self.source_of(options)}


def pinned_names(verified: Json) -> list[str]:
    """Return the names with digests in a result of image_verify. Raise AnsibleActionFail for anything else than a verdict."""
    if "images" not in verified and not verified.get("failed"):
        raise failed(AnsibleActionFail, "image_verify returned neither a verdict nor an error")
    names = [str(one["pinned"]) for one in verified.get("images") or ()]
    for name in names:
        if Reference.parse(name).digest is None:
            raise failed(AnsibleActionFail, f"image_verify returned {name} without a digest")
    return names


def with_verdicts(done: Json, verified: Json, named_by: str) -> Json:
    """Return the result of a module with the verdicts on its images, and with the failures of the verification."""
    verdicts = {
        Reference.parse(str(one["name"])).store_name: one["verified"]
        for one in verified.get("images") or ()
    }
    result = dict(done)
    if "images" in done:
        result["images"] = [
            {**image, "verified": verdicts.get(image[named_by])} for image in done["images"]
        ]
    warnings = [*(verified.get("warnings") or ()), *(done.get("warnings") or ())]
    if warnings:
        result["warnings"] = list(dict.fromkeys(warnings))
    return _with_failures(result, verified) if verified.get("failed") else result


def _with_failures(result: Json, verified: Json) -> Json:
    """Return the result of a task in which some images are not trusted. The others have been moved."""
    msg = verified["msg"]
    if result.get("failed"):
        msg = f"{msg}; of the verified images: {result.get('msg')}"
    kept = {key: value for key, value in result.items() if key not in _PROMISES}
    if "images" in kept:
        kept.update(shorten_images(kept, ()))
    return {
        **kept,
        "failed": True,
        "msg": msg,
        "error": verified.get("error"),
        "failures": [*(verified.get("failures") or ()), *(result.get("failures") or ())],
    }


def _failed(msg: str, error: t.Any, verified: Json | None = None) -> Json:
    """Return the result of a task that has not run its module."""
    result: Json = {"failed": True, "changed": False, "msg": msg}
    if error is not None:
        result["error"] = error
    if verified and "failures" in verified:
        nothing: Json = {"before": {}, "after": {}}
        result.update(images=[], diff=nothing, failures=verified["failures"])
    shown = ("warnings", "exception", "module_stdout", "module_stderr", "rc", "deprecations")
    result.update({key: verified[key] for key in shown if verified and key in verified})
    return result
