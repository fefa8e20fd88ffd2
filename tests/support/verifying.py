# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Verify images of embedded registries, as the module does."""

from __future__ import annotations

import typing as t
from pathlib import Path

from ansible_collections.lockstep.images.plugins.module_utils._image.errors import LockstepError
from ansible_collections.lockstep.images.plugins.module_utils._image.names import (
    Reference,
    platforms_of,
)
from ansible_collections.lockstep.images.plugins.module_utils._operations.image_verify import (
    RegistryMedium,
    StoreMedium,
    plan_image_verify,
)
from ansible_collections.lockstep.images.plugins.module_utils._plan import Outcome
from ansible_collections.lockstep.images.plugins.module_utils._store.reader import StoreReader
from ansible_collections.lockstep.images.plugins.module_utils._trust.policy import parse_policy

from .images import push
from .plans import dry_run
from .pulling import Puller
from .registry import Registry
from .signing import fallback_index, key, payload, referrer, sig_manifest, sig_tag, signed

REPOSITORY = "demo/app"


def no_file(path: str) -> bytes:
    """Fail: the policies of these tests name no file."""
    raise FileNotFoundError(path)


def rule(match: str = "*", *keys: t.Any, **more: t.Any) -> dict[str, t.Any]:
    """Return a rule for keys, by default for one."""
    return {"match": match, "keys": [{"text": one.public} for one in keys or (key(),)], **more}


class Verifier:
    """Verifies images in an embedded registry, or in a store; ``options`` are those of ``Puller``."""

    def __init__(self, directory: Path, registry: Registry, **options: t.Any) -> None:
        self.registry = registry
        self.name = f"{registry.address}/{REPOSITORY}"
        self.puller = Puller(directory, registry, **options)

    def sign(self, item: t.Any, *entries: t.Any, by: t.Any = None) -> None:
        """Store signatures of an image as cosign 2 does, by default one for its repository."""
        made = entries or (signed(payload(item.digest, self.name), by or key()),)
        push(self.registry, REPOSITORY, sig_manifest(made), sig_tag(item.digest))

    def attach(
        self, item: t.Any, *contents: t.Any, tag: bool = False, **fields: t.Any
    ) -> list[t.Any]:
        """Attach bundles to an image; with ``tag``, list them under the fallback tag."""
        made = [referrer(content, item.descriptor(), **fields) for content in contents]
        for one in made:
            push(self.registry, REPOSITORY, one)
        if tag:
            push(self.registry, REPOSITORY, fallback_index(made), item.digest.replace(":", "-"))
        return made

    def outcome(
        self,
        *rules: t.Any,
        names: t.Sequence[str] = (),
        platform: t.Sequence[str] = ("linux/amd64",),
        store: StoreReader | None = None,
    ) -> Outcome:
        """Verify, by default the tag 1, and return the outcome; ``rules`` may be a policy.json instead."""
        is_whole = len(rules) == 1 and "match" not in rules[0]  # a policy.json
        policy = parse_policy(rules[0] if is_whole else list(rules or (rule(),)), no_file)
        references = [Reference.parse(name) for name in names or [f"{self.name}:1"]]
        platforms = platforms_of(platform)
        sources = self.puller.sources
        medium = StoreMedium(store, platforms, bool(platform)) if store else RegistryMedium(sources, platforms)  # fmt: skip
        plan = plan_image_verify(references, policy, medium, 3, None if store else sources)
        assert plan.actions == ()
        return dry_run(plan)

    def verified(self, *rules: t.Any, **how: t.Any) -> dict[str, t.Any]:
        """Verify, and return the verdict on the only image."""
        outcome = self.outcome(*rules, **how)
        if outcome.failure:
            raise outcome.failure
        (image,) = outcome.result()["images"]
        return dict(image)

    def error(self, *rules: t.Any, **how: t.Any) -> LockstepError:
        """Verify, and return the error of an image that is not trusted."""
        outcome = self.outcome(*rules, **how)
        assert outcome.failure, outcome.result()["images"]
        assert outcome.result()["pinned"] == []
        return outcome.failure

    def kind(self, *rules: t.Any, **how: t.Any) -> str:
        """Return the kind of the error, "" if the image is trusted."""
        failure = self.outcome(*rules, **how).failure
        return failure.kind if failure else ""
