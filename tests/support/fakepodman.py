# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A program that answers as podman does, from files that a test writes."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

_SCRIPT = """\
#!/bin/sh
cd "$(dirname "$0")"
echo "$@" >> calls
cp "$CONTAINERS_REGISTRIES_CONF" "$1.conf" 2> /dev/null
cp "$REGISTRY_AUTH_FILE" "$1.auth" 2> /dev/null
env > "$1.env"
test ! -e "$1.sleep" || exec sleep 60
cat "$1.out" 2> /dev/null
cat "$1.err" >&2 2> /dev/null
exit "$(cat "$1.status" 2> /dev/null || echo 0)"
"""


class FakePodman:
    """A fake podman in a directory; ``program`` is its path."""

    def __init__(self, directory: Path, version: str = "4.3.1") -> None:
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        self.graph = directory / "graph"
        path = directory / "podman"
        path.write_text(_SCRIPT)
        path.chmod(0o755)
        self.program = str(path)
        self.answer("images", [])
        store = {"graphRoot": str(self.graph), "graphDriverName": "overlay", "graphOptions": {}}
        self.info = {
            "host": {"serviceIsRemote": False},
            "store": store,
            "version": {"Version": version},
        }
        self.answer("info", self.info)

    def answer(self, verb: str, value: t.Any = "", error: str = "", status: int = 0) -> None:
        """Set the answer to a verb: its standard output as JSON or text, its standard error and its exit code."""
        text = value if isinstance(value, str) else json.dumps(value)
        for suffix, content in (("out", text), ("err", error), ("status", str(status))):
            (self.directory / f"{verb}.{suffix}").write_text(content)

    def hang(self, verb: str) -> None:
        """Let a verb not end for a minute."""
        (self.directory / f"{verb}.sleep").touch()

    def record(self, layers: t.Any, images: t.Any = ()) -> None:
        """Write the records of its storage."""
        for name, value in (("layers", layers), ("images", list(images))):
            place = self.graph / f"overlay-{name}"
            place.mkdir(parents=True, exist_ok=True)
            (place / f"{name}.json").write_text(json.dumps(value))

    @property
    def calls(self) -> list[str]:
        """The arguments of each call."""
        return (self.directory / "calls").read_text().splitlines()

    def seen(self, verb: str, kind: str) -> str:
        """Return what the last call of a verb got: ``conf``, ``auth`` or ``env``."""
        return (self.directory / f"{verb}.{kind}").read_text()
