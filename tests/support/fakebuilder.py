# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A program that answers as buildah does: it notes what it is asked for, and makes an image of one layer on its base.

It is run by its name, with the variable FAKE_BUILDER for the directory of its notes.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import signal
import stat
import sys
import tarfile
from pathlib import Path

NOTES = Path(os.environ.get("FAKE_BUILDER", "/nonexistent"))


def install(directory: Path, name: str = "buildah") -> Path:
    """Write the program into a directory; return the directory."""
    directory.mkdir(exist_ok=True)
    program = directory / name
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -I -S {__file__} "$@"\n')
    os.chmod(program, 0o755)
    return directory


def note(**what: object) -> None:
    """Add a line to the notes."""
    with (NOTES / "notes").open("a", encoding="utf-8") as file:
        file.write(json.dumps(what) + "\n")


def notes(directory: Path) -> list[dict[str, object]]:
    """Return what the program noted."""
    path = directory / "notes"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def listing(context: str) -> dict[str, str]:
    """Return the mode of each file of a context."""
    found = {}
    for path in sorted(Path(context).rglob("*")):
        state = path.lstat()
        found[str(path.relative_to(context))] = (
            f"{stat.S_IMODE(state.st_mode):o} {state.st_mtime:.0f}"
        )
    return found


def pull(graph: Path, source: str) -> None:
    """Read a base image out of its layout."""
    layout = Path(source.partition(":")[2].rpartition(":")[0])
    entry = json.loads((layout / "index.json").read_text())["manifests"][0]
    blobs = layout / "blobs/sha256"
    manifest = json.loads((blobs / entry["digest"][7:]).read_text())
    config = json.loads((blobs / manifest["config"]["digest"][7:]).read_text())
    graph.mkdir(parents=True, exist_ok=True)
    (graph / "pulled").write_text(json.dumps(config["rootfs"]["diff_ids"]))
    print("f" * 64)


def push(graph: Path, target: str) -> None:
    """Write the image: the base, and one layer."""
    directory = Path(target.partition(":")[2])
    directory.mkdir()
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("made"), io.BytesIO())
    tar = buffer.getvalue()
    diff_ids = json.loads((graph / "pulled").read_text()) if (graph / "pulled").exists() else []
    blobs = [b"" for _one in diff_ids] + [gzip.compress(tar)]
    diff_ids.append(f"sha256:{hashlib.sha256(tar).hexdigest()}")
    if os.environ.get("FAKE_WRONG"):
        diff_ids[-1] = f"sha256:{'0' * 64}"
    history = [{"created_by": f"|1 W={(graph / 'w').read_text()} RUN"}]
    config = {
        "os": "linux", "architecture": "amd64", "config": {}, "rootfs": {"type": "layers", "diff_ids": diff_ids},
        "history": history,
    }  # fmt: skip
    raw = json.dumps(config).encode()
    kind = "application/vnd.oci.image."
    entries = []
    for blob, media_type in [
        (raw, f"{kind}config.v1+json"),
        *((one, f"{kind}layer.v1.tar+gzip") for one in blobs),
    ]:
        digest = hashlib.sha256(blob).hexdigest()
        (directory / digest).write_bytes(blob)
        entries.append({"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(blob)})
    manifest = {
        "schemaVersion": 2,
        "mediaType": f"{kind}manifest.v1+json",
        "config": entries[0],
        "layers": entries[1:],
    }
    (directory / "manifest.json").write_text(json.dumps(manifest))


def main(arguments: list[str]) -> None:
    """Do what buildah does."""
    if arguments == ["--version"]:
        print("buildah version 1.2.3 (image-spec 1.0)")
        return
    graph = Path(arguments[0].partition("=")[2])
    verb, rest = arguments[2], arguments[3:]
    if verb == "pull":
        pull(graph, rest[-1])
    elif verb == "push":
        push(graph, rest[-1])
    elif verb == "build":
        text = Path(next(one for one in rest if one.startswith("--file="))[7:]).read_text()
        note(
            arguments=[one for one in rest if not one.startswith("--file=")][:-1], files=listing(rest[-1]),
            w=os.environ.get("W"), text=text, umask=os.umask(0),
        )  # fmt: skip
        graph.mkdir(parents=True, exist_ok=True)
        (graph / "w").write_text(str(os.environ.get("W")))
        if os.environ.get("FAKE_KILLED"):
            os.kill(os.getpid(), signal.SIGKILL)
        if os.environ.get("FAKE_FAIL"):
            print(f"the value is {os.environ.get('W')}", file=sys.stderr)
            sys.exit(2)


if __name__ == "__main__":
    main(sys.argv[1:])
