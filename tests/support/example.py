# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Copies of the example of the life cycle, with a registry, addresses and directories of their own.

    python3 tests/support/example.py ADDRESS DIR

copies it to ``DIR/shop`` for ``./dev quickstart``, which does not start its services. ``ADDRESS`` is that of a registry.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import typing as t
from pathlib import Path

if not __package__:
    # Run as a script, see serve.py.
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    __package__ = "support"  # pylint: disable=redefined-builtin

from . import images
from .tarballs import archive, directory, entry, hardlink

EXAMPLE = Path(__file__).resolve().parents[2] / "docs" / "examples" / "lifecycle"
BASE = "docker.io/library/busybox"
PAGE = "The shop, version [0-9]+"
BUSYBOX = Path("/bin/busybox")


def base_image() -> images.Image:
    """Return an image of this machine's busybox with the programs that the example uses."""
    tar = archive(
        directory("bin"),
        entry("bin/busybox", BUSYBOX.read_bytes(), mode=0o755),
        *[hardlink(f"bin/{name}", "bin/busybox", mode=0o755) for name in ("sh", "httpd")],
    )
    digest = images.digest_of(tar)
    found = images.Layer(tar, images.TYPES["tar"][0], digest, digest, None)
    config = {"config": {"Env": ["PATH=/bin"]}}
    return images.image([found], config=config, history=False)


class Example:
    """A copy of the example in the directory ``path``."""

    def __init__(self, path: Path, registry: str, base: str, web: str, api: str) -> None:
        """Copy the example. Its services listen on ``web`` and ``api``, on the network of the host."""
        self.path = path
        shutil.copytree(EXAMPLE, path)
        names = ((BASE, base), ("localhost:5000", registry))
        self.edit("web/Dockerfile", names[0], ('"8080"', f'"{web}"'))
        self.edit("api/Dockerfile", names[0], ('"8081"', f'"{api}"'))
        ports = [(f'ports: ["{port}:{port}"]', "network_mode: host") for port in (8080, 8081)]
        self.edit("compose.yml", names[1], *ports)
        urls = ("localhost:8080", web), ("localhost:8081", api)
        self.edit("group_vars/all.yml", names[1], *urls)

    def set(self, **variables: t.Any) -> None:
        """Add variables to the inventory."""
        with (self.path / "group_vars/all.yml").open("a", encoding="utf-8") as file:
            file.writelines(f"{name}: {json.dumps(value)}\n" for name, value in variables.items())

    def edit(self, name: str, *changes: tuple[str, str]) -> None:
        """Replace text in a file of the project."""
        path = self.path / name
        text = path.read_text(encoding="utf-8")
        for old, new in changes:
            assert old in text, f"{old} is not in {name}"
            text = text.replace(old, new)
        path.write_text(text, encoding="utf-8")


def unit_of_web(registry: str) -> dict[str, t.Any]:
    """Return the service web, for the role runtime on a host that does not boot with it."""
    image = f"{registry}/shop/web:stable"
    return {"name": "shop-web", "image": image, "upper": "discard", "fstab": False}


def main(address: str, path: str) -> None:
    """Push a base image, and copy the example."""
    # Nothing runs, so the base needs no programs.
    images.upload(
        f"http://{address}", "library/busybox", images.sample_image("busybox", "1.37"), "1.37"
    )
    base, listen = f"{address}/library/busybox", "127.0.0.1:8080"
    example = Example(Path(path, "shop"), address, base, listen, listen)
    example.set(
        ansible_python_interpreter=sys.executable,
        release_store_path=os.path.join(path, "builds"),
        store_path=os.path.join(path, "store"),
        release_up="none",
        release_smoke=[],
        store_engine="none",
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
