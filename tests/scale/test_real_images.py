# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Three real images, built on the spot: every path of the unpacked tree is that of umoci and of containerd.

Two are Debian from the mirror of this host, with packages installed and removed by buildah. They need some minutes.
"""

from __future__ import annotations

import collections
import json
import shutil
import typing as t
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.lockstep.images.tests.support import modules, services
from ansible_collections.lockstep.images.tests.support.containerd import Containerd
from ansible_collections.lockstep.images.tests.support.fleet import need_programs
from ansible_collections.lockstep.images.tests.support.services_process import program, run
from ansible_collections.lockstep.images.tests.support.tarballs import described
from ansible_collections.lockstep.images.tests.support.trees import IS_ROOT

pytestmark = pytest.mark.skipif(not IS_ROOT, reason="only root can build and mount these images")

# What layers of packages have: capabilities, setuid, hard links, diversions, owners by number, whiteouts, directories
# that are replaced, names that are not ASCII (a certificate), sparse files, times before 1970, links to nowhere.
BOOKWORM = r"""
FROM scratch
ADD base.tar /
ENV DEBIAN_FRONTEND=noninteractive
RUN apt-get update && \
    apt-get install -y --no-install-recommends libcap2-bin iputils-ping sudo mtr-tiny dbus attr acl ca-certificates && \
    rm -rf /var/lib/apt/lists/*
RUN setfattr -n user.origin -v here /etc/motd && ln /usr/bin/passwd /usr/local/bin/pw && ln -s /nowhere /etc/dangling && \
    ln /etc/dangling /etc/dangling2 && chgrp 42 /var/mail && chmod 2775 /var/mail && touch -d 1960-01-01 /etc/old && \
    dpkg-divert --local --rename --divert /usr/bin/who.real --add /usr/bin/who
RUN apt-get purge -y mtr-tiny acl && rm -rf /usr/share/doc /usr/share/man && mkdir -m 0711 /usr/share/doc && \
    echo new > /usr/share/doc/new && rm -rf /etc/ca-certificates && ln -s ssl /etc/ca-certificates && \
    chmod 700 /root && truncate -s 5M /var/sparse
USER www-data
"""
TRIXIE = r"""
FROM scratch
ADD base.tar /
ENV DEBIAN_FRONTEND=noninteractive
RUN apt-get update && apt-get install -y --no-install-recommends nginx-light iputils-ping python3-minimal fping git && \
    rm -rf /var/lib/apt/lists/*
RUN groupadd -r app && useradd -r -g app app && install -d -o app -g app -m 0750 /srv/app && echo x > /srv/app/x && \
    chown app:app /srv/app/x && mv /etc/nginx /etc/nginx.old && mkdir /etc/nginx && \
    cp /etc/nginx.old/nginx.conf /etc/nginx/
RUN apt-get purge -y fping && rm -rf /usr/lib/git-core && chmod -R g+w /srv/app && rm /etc/nginx.old/nginx.conf && \
    mkfifo /run/pipe
"""
BUSYBOX = r"""
FROM scratch
COPY busybox /bin/busybox
RUN ["/bin/busybox", "--install", "/bin"]
RUN mkdir -p /etc /var/www/html /tmp /home/u && chmod 1777 /tmp && echo 'root:x:0:0::/root:/bin/sh' > /etc/passwd && \
    chown -R 1000:1000 /home/u && echo hi > /var/www/html/index.html && chmod 4755 /bin/busybox && ln /bin/busybox /home/u/bb
RUN rm /bin/vi /bin/wget && rm -r /var/www && ln -s /home/u /var/www && mkdir /etc/x && touch /etc/x/.y
"""
IMAGES = {"bookworm": BOOKWORM, "trixie": TRIXIE, "busybox": BUSYBOX}
MODE, _OWNER, TIME, WHAT, LINKED, ATTRIBUTES = range(6)  # of what ``described`` returns of a path


def base_of(suite: str, directory: Path) -> Path:
    """Return the archive of a minimal Debian, from the mirror of this host."""
    root = directory / "root"
    run([program("debootstrap"), "--variant=minbase", suite, root], timeout=1800)
    archive = directory / "base.tar"
    run(["tar", "-C", root, "--xattrs", "--xattrs-include=*", "-cf", archive, "."])
    shutil.rmtree(root)
    return archive


@pytest.fixture(name="layout", scope="module", params=IMAGES)
def fixture_layout(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Path, str]]:
    """An OCI layout with an image that buildah has built, and its name."""
    need_programs("buildah", "busybox", "containerd", "debootstrap", "skopeo", "umoci")
    name = request.param
    directory = tmp_path_factory.mktemp(name)
    context = directory / "context"
    context.mkdir()
    (context / "Dockerfile").write_text(IMAGES[name])
    if name == "busybox":
        shutil.copy(program("busybox"), context)
    else:
        base_of(name, context)
    storage = ["--root", directory / "storage", "--runroot", directory / "run"]
    buildah = [program("buildah"), *storage, "--storage-driver", "overlay"]
    how = ["--isolation", "chroot", "--network", "host", "--layers", "--tag", name]
    run([*buildah, "bud", *how, context], timeout=1800)
    run([*buildah, "push", name, f"oci:{directory / 'layout'}:{name}"])
    run([*buildah, "rmi", "--all", "--force"])
    yield directory / "layout", name
    shutil.rmtree(directory, ignore_errors=True)


def differences(
    ours: dict[str, tuple[t.Any, ...]], theirs: dict[str, tuple[t.Any, ...]]
) -> dict[str, tuple[t.Any, t.Any]]:
    """Return what differs in two trees, by path."""
    paths = sorted({*ours, *theirs})
    return {
        path: (ours.get(path), theirs.get(path))
        for path in paths
        if ours.get(path) != theirs.get(path)
    }


def test_tree_of_a_real_image_is_that_of_umoci_and_containerd(
    layout: tuple[Path, str], tmp_path: Path
) -> None:
    store, name = layout
    where = {"store": str(store), "path": str(tmp_path / "trees")}

    def do(module: str, **options: t.Any) -> dict[str, t.Any]:
        outcome = modules.finish(modules.start(module, **where, **options), timeout=900)
        assert not outcome.failed, outcome.result
        return outcome.result

    how = {"name": [name], "form": "rootfs"}
    skipped = do("image_unpack", **how, dest=str(tmp_path / "plain"))["stats"]["skipped"]
    do("image_unpack", **how, dest=str(tmp_path / "whole"), devices="make")
    plain, whole = (described(tmp_path / one) for one in ("plain", "whole"))

    # Devices are left out unless the task wants them, and counted.
    devices = {path for path, state in whole.items() if state[MODE][0] in "bc"}
    assert set(differences(plain, whole)) - {"dev"} == devices
    assert skipped == {"aufs": 0, "device": len(devices), "setuid": 0, "xattr": 0}

    root = do("image_mount", name=name, root="real")["root_path"]
    try:
        assert differences(plain, described(Path(root))) == {}
    finally:
        do("image_mount", root="real", state="absent")

    run(["umoci", "raw", "unpack", "--image", f"{store}:{name}", tmp_path / "raw"], timeout=900)
    assert differences(whole, described(tmp_path / "raw")) == {}
    run(["umoci", "unpack", "--image", f"{store}:{name}", tmp_path / "bundle"], timeout=900)
    assert differences(whole, described(tmp_path / "bundle" / "rootfs")) == {}

    found = differences(whole, by_containerd(store, name, tmp_path))
    # Containerd gives the root the time of the run, and a time before 1970 becomes 1970.
    old = {"etc/old"} if name == "bookworm" else set()
    assert set(found) <= {"."} | old
    for ours, theirs in found.values():
        assert [one for one in range(6) if ours[one] != theirs[one]] == [TIME]
    kinds = collections.Counter(state[MODE][0] for state in whole.values())
    print(f"{name}: {len(whole)} paths, {json.dumps(kinds)}")


def by_containerd(store: Path, name: str, directory: Path) -> dict[str, tuple[t.Any, ...]]:
    """Return the tree that containerd mounts of an image."""
    archive, target = directory / "image.tar", directory / "containerd"
    label = f"registry.example.com/real/{name}:1"
    run(["skopeo", "copy", f"oci:{store}:{name}", f"oci-archive:{archive}:{label}"], timeout=900)
    target.mkdir()
    with services.containerd(directory / "c") as service:
        containerd = Containerd(service.address, "ctr", service)
        containerd.ctr("real", "images", "import", "--no-unpack", str(archive))
        containerd.ctr("real", "images", "mount", next(iter(containerd.names("real"))), str(target))
        try:
            return described(target)
        finally:
            run(["umount", target])
