# SPDX-License-Identifier: GPL-3.0-or-later
"""Read and write the lock file, the manifests next to it, and the ImagesLock of imgpkg."""

from __future__ import annotations

import json
import os
import re
import typing as t

from .._image import errors
from .._image.lock import LOCK_AGAIN, VERSION, Lock, LockedImage
from .._image.names import ALL, Digest, Reference
from .._store.files import access, read_file
from .yamlfile import Located, load_strict

MAX_LOCK = 64 * 1024 * 1024
# image_lock writes this file next to the manifests, so that git keeps their bytes.
ATTRIBUTES, KEEP_BYTES = ".gitattributes", b"* -text\n"
_KBLD_ID = "kbld.carvel.dev/id"
_KEEP = (
    "Exclude the directory from hooks that change files, and commit the .gitattributes in it,"
    " which keeps git from converting line ends."
)
_HEX = re.compile("[0-9a-f]{64}(?:[0-9a-f]{64})?")


def read_lock(path: str, place: str = "") -> dict[str, t.Any] | None:
    """Return the value of a lock file as ``Lock.parse`` takes it, with manifests and lines; None if there is no file.

    ``place`` names the file in errors. Raise LockError if the file is not a valid lock or lacks one of its manifests.
    """
    place = place or path
    document = read_document(path, place)
    if document is None:
        return None
    if is_images_lock(document):
        raise errors.LockError(
            f"{place}: is an ImagesLock of imgpkg",
            "Convert it to a lock file with lockstep.images.image_lock and its option from.",
        )
    value = with_places(document, place)
    manifests = read_manifests(path)
    if manifests:
        value["manifests"] = {str(digest): text for digest, text in manifests.items()}
    lock = Lock.parse(value)
    for image in lock.images if manifests else ():
        for digest in embedded_manifests(image):
            if digest not in manifests:
                raise errors.LockError(
                    f"{image.place}: {image.name}: {manifests_of(path)} lacks its manifest {digest}",
                    LOCK_AGAIN,
                )
    return value


def with_places(document: t.Any, place: str) -> dict[str, t.Any]:
    """Return the document of a lock file with the keys ``file`` and ``line``, which ``Lock.parse`` names in errors.

    Raise LockError if the document is not a mapping or has these keys itself.
    """
    if not isinstance(document, dict):
        raise errors.LockError(f"{place}: is not a lock file: it has no images")
    for added in ("file", "manifests"):
        if added in document:
            raise errors.LockError(f"{place}: has the unknown key {added}")
    value = dict(document, file=place)
    if isinstance(value.get("images"), list):
        value["images"] = [_with_line(entry, place) for entry in value["images"]]
    return value


def read_document(path: str, place: str) -> t.Any:
    """Return the only YAML document of a lock file, None if there is no file; raise LockError for anything else."""
    try:
        raw = read_file(path, MAX_LOCK)
    except FileNotFoundError:
        return None
    try:
        documents = load_strict(raw, place)
    except errors.InputError as exc:
        raise errors.LockError(str(exc), exc.hint) from exc
    if len(documents) != 1:
        raise errors.LockError(f"{place}: holds {len(documents)} documents, not one")
    if documents[0] is None:
        raise errors.LockError(f"{place}: is not a lock file: it is empty")
    return documents[0]


def embedded_manifests(image: LockedImage) -> list[Digest]:
    """Return the digests of the manifests that an entry names: of the image, and of each platform."""
    return [image.digest, *(locked.manifest for locked in image.platforms.values())]


def manifests_of(path: str) -> str:
    """Return the directory next to a lock file for its manifests, each in a file named by its hexadecimal digits."""
    return re.sub(r"\.(?:ya?ml|json)$", "", path) + ".d"


def read_manifests(path: str, skip_bad: bool = False) -> dict[Digest, str]:
    """Return the manifests next to a lock file, by digest.

    Raise LockError for a file that does not match its name; with ``skip_bad`` leave it out.
    """
    directory, found = manifests_of(path), {}
    for name in listed_manifests(path):
        raw = read_file(os.path.join(directory, name), MAX_LOCK)
        digest = Digest.of(raw, "sha256" if len(name) == 64 else "sha512")
        text = raw.decode("utf-8", "replace")
        if digest.encoded == name and text.encode("utf-8") == raw:
            found[digest] = text
        elif not skip_bad:
            file = os.path.join(directory, name)
            cause, hint = _cause(raw, name)
            raise errors.LockError(f"{file}: does not match its name{cause}", hint)
    return found


def _cause(raw: bytes, name: str) -> tuple[str, str]:
    """Return what has probably changed the bytes of a manifest, "" if that is unknown, and a hint."""
    if raw.startswith(b"version https://git-lfs"):
        return ": it is a Git LFS pointer", "Run git lfs pull."
    body = raw[3:] if raw.startswith(b"\xef\xbb\xbf") else raw
    unix = body.replace(b"\r\n", b"\n")
    texts = {body: "a byte order mark was added" if body != raw else ""}
    for text in (unix, unix.replace(b"\n", b"\r\n")):
        texts.setdefault(text, "its line ends were converted, as git does")
    at_end = "white space at its end was changed, as a pre-commit hook does"
    for text, cause in tuple(texts.items()):
        for other in (text.rstrip(b"\r\n"), text.rstrip(), text + b"\n", text + b"\r\n"):
            texts.setdefault(other, cause or at_end)
    algorithm = "sha256" if len(name) == 64 else "sha512"
    for text, cause in texts.items():
        if Digest.of(text, algorithm).encoded == name:
            return f": {cause}", f"{_KEEP} {LOCK_AGAIN}"
    return "", LOCK_AGAIN


def listed_manifests(path: str) -> list[str]:
    """Return the names of the manifest files next to a lock file, sorted."""
    directory = manifests_of(path)
    with access(directory):
        try:
            return sorted(name for name in os.listdir(directory) if _HEX.fullmatch(name))
        except FileNotFoundError:
            return []


def read_attributes(path: str) -> bytes | None:
    """Return the bytes of the .gitattributes next to the manifests of a lock file, None if there is no file."""
    try:
        return read_file(os.path.join(manifests_of(path), ATTRIBUTES), MAX_LOCK)
    except FileNotFoundError:
        return None


def render_lock(images: t.Iterable[LockedImage]) -> bytes:
    """Return the canonical bytes of a lock file: sorted by name, always in the same form, without a date."""
    entries = sorted(images, key=lambda image: image.name)
    lines = ["---", f"lockfile_version: {VERSION}", "images:" if entries else "images: []"]
    for one in entries:
        lines += [
            f"  - name: {_text(one.name)}",
            f"    digest: {one.digest}",
            f"    media_type: {one.media_type}",
            "    platforms:",
        ]
        for platform, locked in sorted(one.platforms.items()):
            lines += [
                f"      {_key(platform)}:",
                f"        manifest: {locked.manifest}",
                f"        config: {locked.config or 'null'}",
                f"        size: {locked.size}",
            ]
        lines += _verdict_lines(one.verified) if one.verified else []
    return "".join(f"{line}\n" for line in lines).encode("utf-8")


def _verdict_lines(verified: t.Mapping[str, t.Any]) -> list[str]:
    """Return the lines of a verdict. Its texts are quoted, as a signer may have any name."""
    return [
        "    verified:",
        f"      digest: {verified['digest']}",
        f"      rule: {_quoted(verified['rule'])}",
        f"      policy: {verified['policy']}",
        "      by:",
        *(f"        - {_quoted(text)}" for text in verified["by"]),
        f"      covers: {verified['covers']}",
    ]


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def render_images_lock(images: t.Iterable[LockedImage]) -> bytes:
    """Return the bytes of an ImagesLock (imgpkg.carvel.dev/v1alpha1), which has no platforms."""
    entries = sorted(images, key=lambda image: image.name)
    lines = ["---", "apiVersion: imgpkg.carvel.dev/v1alpha1"]
    lines.append("images:" if entries else "images: []")
    for one in entries:
        reference = Reference.parse(one.name)
        pinned = f"{reference.name}@{one.digest}"
        if reference.tag:
            lines += ["- annotations:", f"    {_KBLD_ID}: {_text(one.name)}"]
            lines.append(f"  image: {_text(pinned)}")
        else:
            lines.append(f"- image: {_text(pinned)}")
    return "".join(f"{line}\n" for line in [*lines, "kind: ImagesLock"]).encode("utf-8")


def is_images_lock(document: t.Any) -> bool:
    """Return whether a document is an ImagesLock of imgpkg."""
    return isinstance(document, dict) and document.get("kind") == "ImagesLock"


def images_of_images_lock(document: t.Any, place: str) -> list[tuple[str, str]]:
    """Return each reference of an ImagesLock, with its digest, and its place; raise LockError for an invalid entry."""
    entries = document.get("images")
    if not isinstance(entries, list):
        raise errors.LockError(f"{place}: images is not a list")
    found = []
    for number, entry in enumerate(entries):
        at = (
            f"{place}, line {entry.line}"
            if isinstance(entry, Located)
            else f"{place}: images[{number}]"
        )
        image = entry.get("image") if isinstance(entry, dict) else None
        if not isinstance(image, str) or "@" not in image:
            raise errors.LockError(f"{at}: image is not a reference with a digest")
        notes = entry.get("annotations")
        name = notes.get(_KBLD_ID) if isinstance(notes, dict) else None
        repository, _at, digest = image.partition("@")
        if isinstance(name, str) and _same_repository(name, repository):
            image = f"{name.partition('@')[0]}@{digest}"
        found.append((image, at))
    return found


def _same_repository(name: str, repository: str) -> bool:
    """Return whether two names have the same repository. After a copy, the name from the build has another one."""
    try:
        return Reference.parse(name).name == Reference.parse(repository).name
    except errors.InputError:
        return False


def _with_line(entry: t.Any, place: str) -> t.Any:
    if not isinstance(entry, Located):
        return entry
    if "line" in entry:
        raise errors.LockError(f"{place}, line {entry.line}: has the unknown key line")
    return dict(entry, line=entry.line)


def _text(name: str) -> str:
    """Return a name as a YAML string; an IPv6 address needs quotes."""
    return f'"{name}"' if name.startswith("[") else name


def _key(platform: str) -> str:
    """Return a platform as a YAML key; a version of Windows needs quotes."""
    return (
        platform if platform == ALL or re.fullmatch("[a-z0-9_./-]+", platform) else f'"{platform}"'
    )
