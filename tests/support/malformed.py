# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Archives that an import refuses: for each, its bytes, the kind of the error and a pattern that its message has."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from typing import Any, NamedTuple

from . import tarballs as tar
from .archives import NAME, blob, docker_archive, json_entry, oci_archive
from .images import image, layer

HEX = "0" * 64
BLOB, OTHER = f"blobs/sha256/{HEX}", f"blobs/sha256/{'1' * 64}"
INDEX = tar.entry("index.json", b"{}")
LAYER, TARGET = f"{HEX}/layer.tar", f"../{'1' * 64}/layer.tar"
APP = "docker.io/library/app:1"
IMAGE = image([layer({"a": b"1"}, None), layer({"b": b"2"}, None)])
GZIP = image([layer({"a": b"1"})])
MALFORMED, TRUNCATED, UNSUPPORTED = "archive-malformed", "archive-truncated", "archive-unsupported"


class Case(NamedTuple):
    """An archive that is refused."""

    data: bytes
    kind: str
    reason: str


def with_field(offset: int, value: bytes) -> bytes:
    """Return an archive whose header has these bytes at an offset, and a right checksum."""
    block = bytearray(tar.header("index.json"))
    block[offset : offset + len(value)] = value
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block) + tar.END


def index(*entries: Any, **more: Any) -> bytes:
    """Return the entry of an index."""
    return json_entry("index.json", {"schemaVersion": 2, "manifests": list(entries), **more})


def lock(**changes: Any) -> bytes:
    """Return the entry of a lock file of APP; ``changes`` replace keys of its image."""
    platforms = {"all": {"manifest": IMAGE.digest, "config": None, "size": 1}}
    entry = {
        "name": APP,
        "digest": IMAGE.digest,
        "media_type": IMAGE.media_type,
        "platforms": platforms,
    }
    return json_entry("lock.json", {"lockfile_version": 1, "images": [{**entry, **changes}]})


_MEMBERS: dict[str, tuple[Sequence[bytes], str]] = {
    "traversal": ([tar.entry("../index.json")], "not a name"),
    "absolute": ([tar.entry("/index.json")], "not a name"),
    "traversal in blobs": ([tar.entry(f"blobs/sha256/../{HEX}")], "not a name"),
    "other file": ([tar.entry("etc/passwd")], "not a name"),
    "upper-case digest": ([tar.entry(f"blobs/sha256/{'A' * 64}")], "not a name"),
    "short digest": ([tar.entry(BLOB[:-1])], "not a name"),
    "newline": ([tar.entry("index.json\n")], "not a name"),
    "NUL": ([tar.entry(b"index.json\0x")], "has a NUL"),
    "NUL in pax": ([tar.pax({"path": b"index.json\0x"}), INDEX], "has a NUL"),
    "not UTF-8": ([tar.entry(b"index.json\xff")], "not a name"),
    "symlink": ([tar.symlink(BLOB, OTHER)], "is a symbolic link"),
    "symlink out": ([tar.symlink(LAYER, "/etc/passwd")], "is a symbolic link"),
    "symlink out by ..": ([tar.symlink(LAYER, "../../etc/passwd")], "is a symbolic link"),
    "symlink to nothing": ([tar.symlink(LAYER, TARGET)], "links to a layer that is not"),
    "hard link": ([tar.hardlink(BLOB, OTHER)], "not a regular file"),
    "character device": ([tar.entry(BLOB, kind=tar.CHAR)], "not a regular file"),
    "block device": ([tar.entry(BLOB, kind=tar.BLOCK)], "not a regular file"),
    "fifo": ([tar.entry(BLOB, kind=tar.FIFO)], "not a regular file"),
    "sparse": ([tar.entry(BLOB, kind="S")], "not a regular file"),
    "unknown type": ([tar.entry(BLOB, kind="Z")], "not a regular file"),
    "directory": ([tar.directory("etc")], "a directory that no archive"),
    "directory with content": ([tar.entry("blobs", b"x", kind="5")], "a directory that no archive"),
    "GNU long name": ([tar.gnu_long(BLOB), INDEX], "not a regular file"),
    "pax path": ([tar.pax({"path": "index.json"}), tar.entry(BLOB)], "different names"),
    "pax size": ([tar.pax({"size": "1"}), INDEX], "different sizes"),
    "pax size no number": ([tar.pax({"size": "x"}), INDEX], "is not a number"),
    "pax sparse": ([tar.pax({"GNU.sparse.major": "1"}), INDEX], "a sparse file or a link"),
    "pax link": ([tar.pax({"linkpath": "x"}), INDEX], "a sparse file or a link"),
    "pax twice": ([tar.pax({"a": "1"}), tar.pax({"a": "1"}), INDEX], "two pax headers"),
    "pax malformed": ([tar.entry("pax", b"9 a=b\n", kind="x"), INDEX], "is malformed"),
    "large pax": ([tar.entry("pax", bytes(70_000), kind="x"), INDEX], "header of 70000 bytes"),
    "global path": ([tar.pax({"path": "x"}, "g"), INDEX], "a global pax header"),
    "blob twice": ([tar.entry(BLOB), tar.entry(BLOB)], "is there twice"),
    "index twice": ([INDEX, INDEX], "is there twice"),
    "twice by ./": ([INDEX, tar.entry("./index.json")], "is there twice"),
    "link twice": ([tar.symlink(LAYER, TARGET), tar.entry(LAYER)], "is there twice"),
}
# A member that breaks a rule.
MEMBERS = {
    name: Case(tar.archive(*entries), MALFORMED, reason)
    for name, (entries, reason) in _MEMBERS.items()
}

# An archive that ends where it must not, or is none.
FILES = {
    "empty": Case(b"", TRUNCATED, "is empty"),
    "ends in a header": Case(INDEX[:100], TRUNCATED, "ends inside a header"),
    "no end mark": Case(INDEX, TRUNCATED, "ends without its end mark"),
    "half of an end mark": Case(INDEX + bytes(512), TRUNCATED, "ends inside its end mark"),
    "a part of an end mark": Case(INDEX + tar.END[:700], TRUNCATED, "ends inside its end mark"),
    "ends in a member": Case(INDEX[:600], TRUNCATED, "ends 424 bytes too early"),
    "size of 1 GB": Case(tar.header(BLOB, size=10**9), TRUNCATED, "bytes too early"),
    "two archives": Case(tar.archive(INDEX) * 2, MALFORMED, "bytes follow its end"),
    "a byte after its end": Case(
        tar.archive(INDEX) + bytes(9000) + b"x", MALFORMED, "bytes follow its end"
    ),
    "one block of zeros inside": Case(
        INDEX + bytes(512) + INDEX + tar.END, MALFORMED, "bytes follow its end"
    ),
    "gzip": Case(gzip.compress(tar.archive(INDEX), mtime=0), UNSUPPORTED, "compressed with gzip"),
    "zstd": Case(b"\x28\xb5\x2f\xfd" + bytes(600), UNSUPPORTED, "is compressed with zstd"),
    "xz": Case(b"\xfd7zXZ\0" + bytes(600), UNSUPPORTED, "is compressed with xz"),
    "bzip2": Case(b"BZh9" + bytes(600), UNSUPPORTED, "is compressed with bzip2"),
    "no tar": Case(b"x" * 2048, MALFORMED, "checksum|octal"),
    "size not octal": Case(with_field(124, b"0000000009x\0"), MALFORMED, "not octal"),
    "negative size": Case(with_field(124, b"\xff" * 12), MALFORMED, "negative"),
    "size of 2^60": Case(
        with_field(124, b"\x80" + (2**60).to_bytes(11, "big")), TRUNCATED, "too early"
    ),
    "wrong checksum": Case(b"i" + tar.archive(tar.entry("jndex.json"))[1:], MALFORMED, "checksum"),
}

_NAMED = {**IMAGE.descriptor(), "annotations": {NAME: APP}}
_MOVED = {**GZIP.descriptor(), "annotations": {NAME: APP}}
_CONTENTS: dict[str, tuple[Sequence[bytes], str, str]] = {
    "no index": ([blob(b"x")], UNSUPPORTED, "neither index.json nor manifest.json"),
    "index no JSON": ([tar.entry("index.json", b"{")], MALFORMED, "not valid JSON"),
    "index no object": ([tar.entry("index.json", b"[]")], MALFORMED, "not a JSON object"),
    "index twice a key": (
        [tar.entry("index.json", b'{"manifests":[],"manifests":[]}')],
        MALFORMED,
        "duplicate",
    ),
    "index deep": ([tar.entry("index.json", b"[" * 100_000)], MALFORMED, "nested|JSON"),
    "manifests no list": ([index(manifests="x")], MALFORMED, "manifests is not a list"),
    "entry no object": ([index("x")], MALFORMED, "manifests.0. is not a JSON object"),
    "entry bad digest": (
        [index({**_NAMED, "digest": "sha256:../../x"})],
        MALFORMED,
        "manifests.0.: digest",
    ),
    "entry bad size": ([index({**_NAMED, "size": -1})], MALFORMED, "number of bytes"),
    "name with two digests": ([index(_NAMED, _MOVED)], MALFORMED, f"{APP} is sha256"),
    "lock malformed": ([index(_NAMED), lock(digest="x")], MALFORMED, "lock.json.*digest"),
    "lock no JSON": (
        [index(_NAMED), tar.entry("lock.json", b"x")],
        MALFORMED,
        "lock.json is not valid JSON",
    ),
    "lock differs": (
        [index(_NAMED), lock(digest=GZIP.digest)],
        MALFORMED,
        f"lock.json has {GZIP.digest} for {APP}, index.json has {IMAGE.digest}",
    ),
    "lock has more": ([index(), lock()], MALFORMED, "index.json has nothing"),
    "lock has less": (
        [index(_NAMED), json_entry("lock.json", {"lockfile_version": 1, "images": []})],
        MALFORMED,
        "lock.json has nothing",
    ),
    "docker no list": ([json_entry("manifest.json", {})], MALFORMED, "not a list"),
    "docker no config": ([json_entry("manifest.json", [{}])], MALFORMED, "has no Config"),
    "docker tags no texts": (
        [json_entry("manifest.json", [{"Config": "x", "RepoTags": [1]}])],
        MALFORMED,
        "lists of texts",
    ),
    "docker config missing": (
        [json_entry("manifest.json", [{"Config": "../../x"}])],
        TRUNCATED,
        "has no .*x",
    ),
}
# An archive that is whole, and whose JSON breaks a rule.
CONTENTS = {
    name: Case(tar.archive(*entries), kind, reason)
    for name, (entries, kind, reason) in _CONTENTS.items()
}
# An archive whose images are not complete, or have other bytes than it says.
IMAGES = {
    "no image": Case(tar.archive(index()), MALFORMED, "names no image"),
    "wrong digest of a manifest": Case(
        oci_archive({APP: IMAGE}).replace(IMAGE.raw, IMAGE.raw[:-1] + b" "),
        "digest-mismatch",
        f"is not {IMAGE.digest}",
    ),
    "blob neither here nor there": Case(
        oci_archive({APP: IMAGE}, without=[IMAGE.layers[1].digest]),
        "archive-incomplete",
        f"{APP}: leaves out {IMAGE.layers[1].digest}, and the store lacks it",
    ),
    "manifest neither here nor there": Case(
        oci_archive({APP: IMAGE}, without=[IMAGE.digest]),
        "archive-incomplete",
        f"{APP}: leaves out {IMAGE.digest}, and the store lacks it",
    ),
    "wrong digest of a configuration": Case(
        docker_archive(["app:1"], IMAGE).replace(b'"linux"', b'"winux"'),
        "digest-mismatch",
        "does not match its name",
    ),
}
ARCHIVES = {**MEMBERS, **FILES, **CONTENTS, **IMAGES}
