# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Build a real Debian image of six layers and over 500 MB of compressed content, and cache it.

The first layer is debootstrap's minimal Debian, the second installs packages into it and removes
files of the first (so it has whiteouts), the others hold files of this machine. The cache holds the
image as two `dir:` layouts of skopeo, in Docker schema 2 and in OCI format, so that a push copies
bytes whose digests are known. Needs root.
"""

from __future__ import annotations

import argparse
import fcntl
import io
import itertools
import json
import os
import random
import shutil
import sys
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

if not __package__:  # run as a command: PEP 366 makes the relative imports work
    sys.path.insert(0, os.fspath(Path(__file__).resolve().parents[1]))
    __package__ = "support"

from .services import podman_env
from .services_process import ServiceError, program, run

PROGRAMS = ("debootstrap", "buildah", "skopeo")
REPOSITORY = "lockstep/big"
MIN_BYTES = 500_000_000
LAYERS = 6
# Raise this number with every change of the recipe below, so that a cache of an older recipe is not
# used.
RECIPE = 1
_MIB = 1 << 20
_FILES_PER_LAYER = 120 * _MIB
_COMPRESSED_PER_LAYER = 112 * _MIB
_TREES = ("/usr/bin", "/usr/sbin", "/usr/lib", "/usr/share")
_DOCKERFILE = """\
FROM scratch
ADD 1.tar /
RUN apt-get update -q && apt-get install -qy --no-install-recommends python3-requests \\
 && rm -rf /var/lib/apt/lists/* /var/cache/apt/*.bin /var/log/bootstrap.log
ADD 3.tar /
ADD 4.tar /
ADD 5.tar /
ADD 6.tar /
ENV LANG=C.UTF-8
LABEL org.example.purpose="a large image for tests"
CMD ["python3"]
"""


@dataclass(frozen=True)
class BigImage:
    """The image in the cache. `directory` has one `dir:` layout for each kind."""

    directory: Path
    digests: dict[str, str]  # "docker" and "oci" -> manifest digest
    size: int  # bytes of all compressed layers
    layers: tuple[str, ...]  # their digests, the same in both kinds

    @property
    def tags(self) -> dict[str, str]:
        """The tag that `push` sets for each kind."""
        return {kind: kind for kind in self.digests}


def build(cache: Path) -> BigImage:
    """Return the image in `cache`. Build it if it is missing.

    Concurrent callers build it once. The image is complete when this function returns: the marker
    with its digests is written last.
    """
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        image = _cached(cache)
        if image is None:
            _build(cache)
            image = _cached(cache)
    if image is None:
        raise ServiceError(f"{cache}: the image that was just built is not complete")
    return image


def push(
    image: BigImage, address: str, *, repository: str = REPOSITORY, options: Sequence[str] = ()
) -> dict[str, str]:
    """Copy both kinds to `repository`, tagged `docker` and `oci`. Return the digest of each tag.

    `options` are options of `skopeo copy` (`--dest-creds`, `--dest-cert-dir`,
    `--dest-tls-verify=false`).
    """
    for kind, digest in image.digests.items():
        target = f"docker://{address}/{repository}:{image.tags[kind]}"
        command = [program("skopeo"), "copy", "--quiet", "--preserve-digests", *options]
        run([*command, f"dir:{image.directory / kind}", target])
        seen = run(
            [program("skopeo"), "inspect", "--format", "{{.Digest}}", *_inspect(options), target]
        ).strip()
        if seen != digest:
            raise ServiceError(f"{target}: pushed {digest}, the registry has {seen}")
    return dict(image.digests)


def _inspect(options: Sequence[str]) -> list[str]:
    """Convert the destination options of `skopeo copy` into options of `skopeo inspect`."""
    return [option.replace("--dest-", "--", 1) for option in options]


def _cached(cache: Path) -> BigImage | None:
    """Return the image in the cache; None if it or a part of it is missing."""
    try:
        marker = json.loads((cache / "image.json").read_text())
        if marker["recipe"] != RECIPE:
            return None
        layers = marker["layers"]
        for kind in marker["digests"]:
            for blob in [
                *layers,
                {"digest": "sha256:manifest.json", "size": marker["manifests"][kind]},
            ]:
                path = cache / kind / blob["digest"].partition(":")[2]
                if path.stat().st_size != blob["size"]:
                    return None
        size = sum(layer["size"] for layer in layers)
        return BigImage(cache, marker["digests"], size, tuple(layer["digest"] for layer in layers))
    except (OSError, ValueError, KeyError):
        return None


def _build(cache: Path) -> None:
    work = cache / "work"
    shutil.rmtree(work, ignore_errors=True)
    for kind in ("docker", "oci"):
        shutil.rmtree(cache / kind, ignore_errors=True)
    (work / "context").mkdir(parents=True)
    try:
        _debootstrap(work)
        _machine_layers(work / "context")
        (work / "context/Dockerfile").write_text(_DOCKERFILE)
        with podman_env(work / "containers") as env:
            # Chroot isolation needs neither a runtime nor cgroups. --layers makes one layer for each
            # instruction instead of one for all.
            run(
                [
                    program("buildah"),
                    "bud",
                    "--network",
                    "host",
                    "--layers",
                    "--tag",
                    "big",
                    work / "context",
                ],
                env=env,
            )
            run(
                [
                    program("buildah"),
                    "push",
                    "--quiet",
                    "--format",
                    "v2s2",
                    "big",
                    f"dir:{cache}/docker",
                ],
                env=env,
            )
            # Convert the first kind instead of pushing again: the layers are then compressed once, and
            # are the same bytes in both kinds.
            copy = [program("skopeo"), "copy", "--quiet", "--format", "oci"]
            run([*copy, f"dir:{cache}/docker", f"dir:{cache}/oci"], env=env)
        _mark(cache)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _mark(cache: Path) -> None:
    """Check the size and the layers of the build, and write the marker."""
    manifests = {kind: (cache / kind / "manifest.json") for kind in ("docker", "oci")}
    layers = {kind: json.loads(path.read_bytes())["layers"] for kind, path in manifests.items()}
    sizes = [{"digest": layer["digest"], "size": layer["size"]} for layer in layers["docker"]]
    total = sum(layer["size"] for layer in sizes)
    if [layer["digest"] for layer in layers["oci"]] != [layer["digest"] for layer in sizes]:
        raise ServiceError(f"{cache}: the two kinds have different layers")
    if len(sizes) != LAYERS or total < MIN_BYTES:
        raise ServiceError(
            f"{cache}: {len(sizes)} layers of {total} bytes, wanted {LAYERS} of {MIN_BYTES} or more"
        )
    marker = {
        "recipe": RECIPE,
        "digests": {
            kind: run([program("skopeo"), "manifest-digest", path]).strip()
            for kind, path in manifests.items()
        },
        "manifests": {kind: path.stat().st_size for kind, path in manifests.items()},
        "layers": sizes,
    }
    staged = cache / "image.json.new"
    staged.write_text(json.dumps(marker, indent=2) + "\n")
    staged.replace(cache / "image.json")


def _debootstrap(work: Path) -> None:
    """Make the first layer: a minimal Debian of this machine's release, from its mirror."""
    mirror, suite = mirror_of(
        run(["apt-get", "indextargets", "--format", "$(REPO_URI) $(RELEASE) $(COMPONENT)"])
    )
    root = work / "rootfs"
    run([program("debootstrap"), "--variant=minbase", suite, root, mirror], timeout=600)
    # Ordinary users cannot create device files when they unpack the image, and every runtime mounts
    # its own /dev.
    run(
        [
            "tar",
            "-C",
            root,
            "--numeric-owner",
            "--exclude=./dev/*",
            "-cf",
            work / "context/1.tar",
            ".",
        ]
    )
    shutil.rmtree(root)


def mirror_of(index_targets: str) -> tuple[str, str]:
    """Return the mirror and the suite of the release from apt's list of sources.

    The release is the first suite `x` with an `x-updates` or `x-security` beside it, or else the
    first entry.
    """
    entries = [line.split() for line in index_targets.splitlines() if line.strip()]
    mains = [(entry[0], entry[1]) for entry in entries if len(entry) == 3 and entry[2] == "main"]
    if not mains:
        raise ServiceError("apt: no source with a component named main")
    suites = {suite for _uri, suite in mains}
    for uri, suite in mains:
        if any(other.startswith(suite + "-") for other in suites):
            return uri, suite
    return mains[0]


def _machine_layers(context: Path) -> None:
    """Make the other layers: files of this machine, and noise for machines with few files."""
    files = _machine_files()
    for number in range(3, LAYERS + 1):
        with tarfile.open(context / f"{number}.tar", "w") as archive:
            packed = 0
            for path, size in files:
                archive.add(path, f"opt/machine{number}{path}", recursive=False)
                packed += size
                if packed >= _FILES_PER_LAYER:
                    break
            # Programs are compressed to about a third of their size; noise is incompressible.
            noise = tarfile.TarInfo(f"opt/machine{number}/noise")
            noise.size = _COMPRESSED_PER_LAYER - packed // 3
            noise.mode = 0o644
            archive.addfile(noise, io.BytesIO(random.Random(number).randbytes(noise.size)))


def _machine_files() -> Iterator[tuple[str, int]]:
    """Yield path and size of regular files and links of this machine, in a fixed order."""
    for directory, names, files in itertools.chain.from_iterable(os.walk(tree) for tree in _TREES):
        names.sort()
        for name in sorted(files):
            path = os.path.join(directory, name)
            # One file of half a layer or more would make one layer very large.
            if (os.path.isfile(path) or os.path.islink(path)) and os.lstat(
                path
            ).st_size < _FILES_PER_LAYER // 2:
                yield path, os.lstat(path).st_size


def describe(image: BigImage) -> dict[str, Any]:
    """Return what the command prints, as a mapping for JSON."""
    return {"digests": image.digests, "size": image.size, "layers": list(image.layers)}


def main() -> None:
    """Build the image if it is missing, push it if a registry is given, and print its digests."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--cache", type=Path, required=True, help="directory that keeps the image")
    parser.add_argument(
        "--registry", help="host:port of a registry to push it to (https, except on loopback)"
    )
    parser.add_argument("--repository", default=REPOSITORY)
    arguments = parser.parse_args()
    image = build(arguments.cache.resolve())
    if arguments.registry:
        loopback = arguments.registry.startswith(("127.", "localhost:"))
        options = ["--dest-tls-verify=false"] if loopback else []
        push(image, arguments.registry, repository=arguments.repository, options=options)
    print(json.dumps(describe(image), indent=2))


if __name__ == "__main__":
    try:
        main()
    except ServiceError as exc:
        sys.exit(str(exc))
