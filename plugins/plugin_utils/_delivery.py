# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What image_pull and image_sync do for ``source: controller``: plan on the host, send what it lacks, and run there."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import typing as t

from ansible.module_utils.parsing.convert_bool import boolean
from ansible_collections.lockstep.images.plugins.module_utils._image import errors
from ansible_collections.lockstep.images.plugins.module_utils._image.lock import Lock
from ansible_collections.lockstep.images.plugins.module_utils._image.manifest import Descriptor
from ansible_collections.lockstep.images.plugins.module_utils._image.names import Digest
from ansible_collections.lockstep.images.plugins.module_utils._store.reader import (
    StoreReader,
    path_of_store,
)
from ansible_collections.lockstep.images.plugins.plugin_utils._action import ProgressAction
from ansible_collections.lockstep.images.plugins.plugin_utils._carriers import (
    COPY,
    STREAM,
    Carrier,
    way_of,
)
from ansible_collections.lockstep.images.plugins.plugin_utils._edge import (
    list_from,
    parse_reference,
    plain,
)
from ansible_collections.lockstep.images.plugins.plugin_utils._outbox import Outbox, parts_of
from ansible_collections.lockstep.images.plugins.plugin_utils._watch import forks

CONTROLLER = "controller"
_RECEIVE = "lockstep.images.image_receive"
# The options of image_pull and image_sync that have no meaning, or another one, for image_receive.
_OWN_OPTIONS = ("source", "source_store", "verified", "pull", "all_tags", "referrers")
_MUCH = 100_000_000  # bytes that are worth a warning if ssh compresses them
Result = dict[str, t.Any]


class ControllerAction(ProgressAction):
    """Run a module, or for ``source: controller`` send it what its host lacks. ``needs`` is the option that it requires."""

    needs: str

    def _execute_module(self, *args: t.Any, **kwargs: t.Any) -> Result:
        execute, options = super()._execute_module, plain(self._task.args)
        is_own = not args and kwargs.get("module_name") is None
        if not is_own or options.get("source") != CONTROLLER or self.needs not in options:
            return t.cast(Result, execute(*args, **kwargs))
        if options.get("pull") == "never":  # nothing is asked or sent
            options = {**options, "source": "registry"}
            return t.cast(Result, execute(**{**kwargs, "module_args": options}))
        try:
            return Delivery(self, execute, options, kwargs.get("task_vars")).run()
        except errors.LockstepError as exc:
            return {
                "failed": True,
                "changed": False,
                "msg": exc.full_message(),
                "error": exc.as_result(),
            }


class Delivery:
    """One task on one host. ``execute`` runs a module there."""

    def __init__(
        self,
        action: t.Any,
        execute: t.Callable[..., Result],
        options: t.Mapping[str, t.Any],
        task_vars: t.Any,
    ) -> None:
        self._action, self._execute, self._task_vars = action, execute, task_vars
        self._options = options
        self._is_real = not action._task.check_mode
        self._details = boolean(options.get("details", True), strict=False)
        self._stats: dict[str, t.Any] = {"bytes_sent": 0, "via": ""}
        self._warnings: list[str] = []

    def run(self) -> Result:
        """Bring the images and return the result of the module; raise LockstepError if the controller cannot."""
        self._require_possible()
        path = self._options.get("source_store")
        store = StoreReader(path_of_store(expanded(path) if path else None))
        outbox = Outbox(store, self._options.get("foreign_layers") == "fetch")
        with store.hold():
            arguments = self._arguments(outbox)
        result = self._deliver(outbox, arguments)
        if "stats" in result:
            result["stats"].update(self._stats)
        if self._warnings:
            result["warnings"] = [*result.get("warnings", ()), *self._warnings]
        return result

    def _require_possible(self) -> None:
        way_of(self._action._connection)
        if self._action._task.async_val:
            raise errors.InputError(
                "source=controller does not work with async: the bytes come from the controller"
            )
        for name in ("all_tags", "referrers"):
            if boolean(self._options.get(name, False), strict=False):
                raise errors.InputError(f"{name} asks a registry, and source=controller asks none")
        if self._options.get("pull") == "missing":
            raise errors.InputError(
                "pull=missing does not work with source=controller, which takes the digests of the store on the controller"
            )

    def _arguments(self, outbox: Outbox) -> dict[str, t.Any]:
        """Return the options of image_receive; raise NotInStoreError if the controller lacks content."""
        options, lock = self._options, self._options.get("lock")
        platforms = [str(one) for one in list_from(options.get("platform"))]
        found = {name: value for name, value in options.items() if name not in _OWN_OPTIONS}
        references = [parse_reference(name) for name in list_from(options.get("name"))]
        if lock is not None:
            value = _mapping(lock)
            parsed = Lock.parse(value, boolean(options.get("verified", False), strict=False))
            images = [parsed.image(one) for one in references] if references else parsed.images
            outbox.add_locked(images, parsed, platforms)
            found["lock"] = {**value, "manifests": {}}
        else:
            found["name"] = [str(outbox.pin(one, platforms)) for one in references]
        return {**found, "manifests": outbox.content}

    def _deliver(self, outbox: Outbox, arguments: Result) -> Result:
        for is_last in (False, True):
            plan = self._plan(arguments)
            if plan.get("failed") or not self._is_real or not plan.get("changed"):
                return self._without_details(plan)
            blobs = [
                Descriptor("", Digest.parse(one["digest"]), one["size"])
                for one in plan["actions"]
                if one["action"] == "fetch_blob"
            ]
            planned = {"bytes_to_fetch": plan["stats"]["bytes_to_fetch"]}
            planned["bytes_resumed"] = sum(one.size for one in blobs) - planned["bytes_to_fetch"]
            self._stats = {**planned, **self._stats}
            if blobs:
                self._send(outbox, blobs, planned["bytes_resumed"], _count_of(plan))
            result = self._module({**arguments, "details": self._details})
            if is_last or not blobs or not _is_wrong(result):
                break
            outbox.require_intact(blobs)
        return result

    def _plan(self, arguments: Result) -> Result:
        """Return what the module would do on the host."""
        task = self._action._task
        before, task.check_mode = task.check_mode, True
        try:
            return self._module({**arguments, "details": True})
        finally:
            task.check_mode = before

    def _module(self, arguments: Result) -> Result:
        return self._execute(module_name=_RECEIVE, module_args=arguments, task_vars=self._task_vars)

    def _without_details(self, result: Result) -> Result:
        if not self._details:
            result.pop("actions", None)
            for image in result.get("images", ()):
                image.pop("layers", None)
        return result

    def _send(
        self, outbox: Outbox, blobs: t.Sequence[Descriptor], staged_bytes: int, images: int
    ) -> None:
        """Bring the missing bytes of the blobs of some images into the staging directory of the host."""
        path, interpreter = self._options.get("store"), self._action._used_interpreter[2:]
        carrier = Carrier(self._action, interpreter, forks())
        with outbox.store.hold():
            outbox.require(blobs)
            spans = carrier.ask(path, blobs) if staged_bytes else []
            parts = parts_of(blobs, dict(zip((blob.digest for blob in blobs), spans)))
            size = sum(part.end - part.first for part in parts)
            if carrier.via == STREAM and size > _MUCH and compresses(self._action._connection):
                self._warnings.append(
                    "ssh compresses layers, which are compressed already, and needs about five times as long:"
                    " set ssh_args without -C, for example to '-o ControlMaster=auto -o ControlPersist=60s'"
                )
            watch = self._action._watch
            count: t.ContextManager[None] = contextlib.nullcontext()
            if watch and carrier.via != COPY:  # a copy is made by the host alone
                count = watch.counting(lambda: (carrier.sent, size), images)
            with count:
                carrier.send(outbox, path, parts)
        self._stats.update(bytes_sent=self._stats["bytes_sent"] + size, via=carrier.via)


def _mapping(lock: t.Any) -> t.Any:
    """Return the value of a lock, which a variable can hold as JSON."""
    if isinstance(lock, str):
        with contextlib.suppress(ValueError):
            return json.loads(lock)
    return lock


def expanded(path: t.Any) -> str:
    """Return a path as modules read it."""
    return os.path.expandvars(os.path.expanduser(str(path)))


def compresses(connection: t.Any) -> bool:
    """Return whether the options of an ssh connection turn compression on."""
    words: list[str] = []
    for name in ("ssh_args", "ssh_common_args", "ssh_extra_args"):
        words += shlex.split(str(connection.get_option(name) or ""))
    return "-C" in words or "compression=yes" in [word.lower() for word in words]


def _count_of(plan: t.Mapping[str, t.Any]) -> int:
    """Return the number of images in a result, which has an entry for each platform."""
    return len({one["name"] for one in plan["images"]})


def _is_wrong(result: t.Mapping[str, t.Any]) -> bool:
    """Return whether content arrived with other bytes."""
    error = result.get("error") if result.get("failed") else None
    return bool(error) and error.get("kind") == errors.DigestMismatchError.kind  # type: ignore[union-attr]
