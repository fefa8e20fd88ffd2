# SPDX-License-Identifier: GPL-3.0-or-later
"""The names of images in files that people have: for compose, for Kubernetes, for imgpkg, or a plain list."""

from __future__ import annotations

import os
import typing as t

from . import errors
from .files import access, read_file
from .lock import Lock
from .lockfile import images_of_images_lock, is_images_lock, with_places
from .names import Reference
from .yamlfile import Located, load_documents

_MAX_SIZE = 64 * 1024 * 1024
_YAML = (".yml", ".yaml", ".json")
_CONTAINERS = ("containers", "initContainers", "ephemeralContainers")

_FILL_IN = "Give the file that `docker compose config`, or the tool that fills them in, prints."

Found = tuple[str, str]  # what is written, and where


def references_in(path: str) -> list[Reference]:
    """All references in a file, or in all YAML files below a directory, each once; or InputError with file and line."""
    found: dict[Reference, None] = {}
    for file in _files(path):
        try:
            raw = read_file(os.path.realpath(file), _MAX_SIZE)
        except FileNotFoundError:
            raise errors.InputError(f"{file}: is not there") from None
        read = _in_yaml if file.lower().endswith(_YAML) else _in_text
        for text, place in read(raw, file):
            found[_reference(text, place)] = None
    return list(found)


def _files(path: str) -> list[str]:
    if not os.path.isdir(path):
        return [path]
    found = []
    with access(path):
        for directory, _directories, names in os.walk(path, onerror=_refuse):
            found += [
                os.path.join(directory, name) for name in names if name.lower().endswith(_YAML)
            ]
    if not found:
        raise errors.InputError(f"{path}: has no file that ends in {', '.join(_YAML)}")
    return sorted(found)


def _refuse(error: OSError) -> t.NoReturn:
    """A directory that cannot be listed must not look like one without images."""
    raise error


def _reference(text: str, place: str) -> Reference:
    if "$" in text or "{{" in text:
        raise errors.InputError(
            f"{place}: {errors.printable(text)} has variables in it",
            _FILL_IN,
        )
    try:
        return Reference.parse(text)
    except errors.ReferenceError as exc:
        raise errors.InputError(f"{place}: {exc}", exc.hint) from exc


def _in_text(raw: bytes, file: str) -> t.Iterator[Found]:
    try:
        lines = raw.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as exc:
        raise errors.InputError(f"{file}: is no text in UTF-8") from exc
    for number, line in enumerate(lines, 1):
        text = line.partition("#")[0].strip()
        if text:
            yield text, f"{file}, line {number}"


def _in_yaml(raw: bytes, file: str) -> t.Iterator[Found]:
    # A lock file has no aliases, which could make what its errors show endless.
    try:
        documents = load_documents(raw, file, aliases=b"lockfile_version" not in raw)
    except errors.InputError as exc:
        raise errors.InputError(str(exc), _FILL_IN if b"{{" in raw else "") from exc
    for document in documents:
        if isinstance(document, list):
            yield from _strings(document, file)
        elif is_images_lock(document):
            yield from images_of_images_lock(document, file)
        elif isinstance(document, dict) and "lockfile_version" in document:
            for image in Lock.parse(with_places(document, file)).images:
                yield image.name, image.place
        elif isinstance(document, dict) and isinstance(document.get("services"), dict):
            yield from _named(document["services"].values(), "image", file)
        else:
            yield from _in_manifest(document, file)


def _strings(entries: list[t.Any], file: str) -> t.Iterator[Found]:
    for number, text in enumerate(entries):
        place = f"{file}: [{number}]"
        if not isinstance(text, str):
            raise errors.InputError(f"{place}: is not a reference")
        yield text, place


def _named(entries: t.Iterable[t.Any], key: str, file: str) -> t.Iterator[Found]:
    for entry in entries:
        text = entry.get(key) if isinstance(entry, Located) else None
        if text is not None:
            place = f"{file}, line {entry.line}"
            if not isinstance(text, str):  # 1.10 would be 1.1
                raise errors.InputError(f"{place}: {key} is not a text")
            yield text, place


def _in_manifest(document: t.Any, file: str) -> t.Iterator[Found]:
    """The containers of all pods, in whatever object they are, and the volumes that are images."""
    todo, seen = [document], set()
    while todo:
        value = todo.pop()
        if not isinstance(value, (dict, list)) or id(value) in seen:
            continue
        seen.add(id(value))
        todo += reversed(list(value.values()) if isinstance(value, dict) else value)
        if isinstance(value, dict):
            for key in _CONTAINERS:
                if isinstance(value.get(key), list):
                    yield from _named(value[key], "image", file)
            volumes = value.get("volumes")
            for volume in volumes if isinstance(volumes, list) else ():
                if isinstance(volume, dict):
                    yield from _named([volume.get("image")], "reference", file)
