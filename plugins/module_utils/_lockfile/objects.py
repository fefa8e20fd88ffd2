# SPDX-License-Identifier: GPL-3.0-or-later
"""Read the images in Kubernetes objects, in values of Helm and in other YAML, and find texts that could be images."""

from __future__ import annotations

import re
import typing as t

from .mentions import (
    Findings,
    could_be_image,
    has_host,
    has_tag,
    is_reference,
    is_specific,
    text_of,
)
from .yamlfile import Text

_CONTAINERS = ("containers", "initContainers", "ephemeralContainers")
# The keys of Argo and Tekton.
_STEPS = ("container", "script", "sidecars", "steps", "stepTemplate")
# The content of these objects is data, in which a key called image can be anything.
_DATA = ("ConfigMap", "Secret", "ImageRepository", "CustomResourceDefinition")
_NOTES = ("annotations", "labels")
_TAGS = ("tag", "imageTag", "newTag")  # newTag is a key of Flux
_DIGESTS = ("digest", "sha")
_SYNC = ("images", "images-by-tag-regex", "images-by-semver")
_SYNC_SETTINGS = {*_SYNC, "credentials", "tls-verify", "cert-dir"}
_DIGEST = re.compile("(?:sha256:|sha512:)")

_IMAGE_KEY = re.compile("images?$", re.IGNORECASE)
_ABOUT_IMAGE = re.compile(
    "images?(?:[._-]?(?:name|ref|reference|repo|repository|ur[il]))?$", re.IGNORECASE
)
# Keys of jobs in GitLab and GitHub, whose values can be images.
_OF_OTHERS = ("services", "container")
_ARGUMENTS = ("args", "command", "entrypoint", "env", "environment")
_OPTION = re.compile(r"(-{1,2}[\w.-]+)(?:=(.*))?", re.DOTALL)
_VARIABLE = re.compile(r"([A-Za-z_]\w*)=(.*)", re.DOTALL)
_NAMED_TAG = "latest|stable|edge|nightly|main|master"
_VERSION = rf"(?:v?[0-9][\w.-]*|{_NAMED_TAG})"
# A text of this form is not a secret: a password does not look like that.
_RELEASE = re.compile(rf"v?[0-9]+(?:[._+-][A-Za-z0-9]+)*|{_NAMED_TAG}")
_DOTTED = re.compile(rf"[^:@]*:(?:v?[0-9]+\.[0-9]+(?:[._+-][A-Za-z0-9]+)*|{_NAMED_TAG})(?:@.*)?")
_SECRET = re.compile("pass|pwd|secret|token|key|auth|cred|login|user|^-u$", re.IGNORECASE)
_COMPONENT = "[a-z0-9][a-z0-9._-]*"
# A reference with a slash and a tag or a digest, anywhere in a text.
_IN_TEXT = re.compile(
    rf"(?:(?<![\w./:@%+$}}{{-])|(?<=docker://))(?:{_COMPONENT}(?::[0-9]+)?/)(?:{_COMPONENT}/)*{_COMPONENT}"
    r"(?::(?P<tag>[A-Za-z0-9_][\w.-]*)(?:@sha256:[0-9a-f]{64})?|@sha256:[0-9a-f]{64})(?![\w/:@])"
)
_ALONE = re.compile(
    rf"{_COMPONENT}(?::{_VERSION}(?:@sha256:[0-9a-f]{{64}})?|@sha256:[0-9a-f]{{64}})"
)
_PORT = re.compile(r".*:(?:[89][0-9]|[0-9]{3,5})")
_LINE = re.compile(
    r"""\s*(?:-\s+)?["']?([\w./-]*[iI]mages?|repository)["']?\s*[:=]\s*(?:"([^"]*)"|'([^']*)'|(\S.*))"""
)
_SILENT = ("description", "rbd", "stringData")


def read_objects(document: t.Any, out: Findings) -> None:
    """Take the images of one document: of every pod in any kind of object, and of values of Helm."""
    shared = document.get("global") if isinstance(document, dict) else None
    out.registry = text_of(shared.get("imageRegistry")) if isinstance(shared, dict) else ""
    for key, is_entry, value in _collections(document):
        if isinstance(value, dict):
            _read_mapping(value, key, is_entry, out)
        elif key == "images" and any(is_specific(text_of(item)) for item in value):
            for item in value:
                if is_reference(text_of(item)):
                    out.guess(key, item, item.line)


def is_sync(document: t.Any) -> bool:
    """Return whether a document is a source file of skopeo sync (skopeo-sync(1)): registries with their images."""
    entries = list(document.values()) if isinstance(document, dict) else []
    are_valid = all(isinstance(item, dict) and _SYNC_SETTINGS.issuperset(item) for item in entries)
    return are_valid and any(isinstance(item.get(key), dict) for item in entries for key in _SYNC)


def read_sync(document: t.Mapping[t.Any, t.Any], out: Findings) -> None:
    """Take the images of skopeo sync that have tags; warn about patterns and images without a list of tags."""
    for registry, entry in document.items():
        for form in _SYNC:
            images = entry.get(form)
            for name, tags in images.items() if isinstance(images, dict) else ():
                line = getattr(name, "line", 0) or entry.line
                full = f"{registry}/{name}"
                if form != "images" or not tags or not isinstance(tags, list):
                    has = "no list of tags" if form == "images" else f"its tags chosen by {form}"
                    out.warnings.append(f"{out.place(line)}: {full} has {has}, and is not locked")
                    continue
                for tag in tags:
                    join = "@" if _DIGEST.match(str(tag)) else ":"
                    out.take(f"{full}{join}{tag}", getattr(tag, "line", 0) or line)


def take_keys(document: t.Any, keys: t.Iterable[str], out: Findings) -> set[str]:
    """Take the values of keys, environment variables and options of commands; return the keys that were found.

    A key can be a path, such as ``web.image``. Each line of a value with several lines is an image.
    """
    found = set()
    for path, value in _scalars(document):
        fits = {key for key in keys if path[-1:] == (key,) or _ends_with(path, key.split("."))}
        found |= fits
        for number, line in enumerate(value.split("\n") if fits else ()):
            if line.strip():
                name = value if line == value else line.strip()
                out.take(name, _line_of(value, number))
    return found


def _ends_with(path: tuple[str, ...], parts: list[str]) -> bool:
    return path[-len(parts) :] == tuple(parts)


def doubt_objects(document: t.Any, out: Findings) -> None:
    """Record every scalar that was not taken and could be an image."""
    for path, text in _scalars(document):
        if id(text) in out.taken or not text.is_text or any(one in path for one in _SILENT):
            continue
        if "\n" in text:
            for number, line in enumerate(text.split("\n")):
                doubt_line(line, _line_of(text, number), out)
        elif path and _could_be_alone(path[-1], text):
            out.doubt(path[-1], text, text.line)
        elif len(path) > 1 and _IMAGE_KEY.search(path[-2]) and _could_be_value(path[-1], text):
            out.doubt(".".join(path[-2:]), text, text.line)
        else:
            _doubt_text(path, text, text.line, out)


def _could_be_alone(key: str, text: str) -> bool:
    if _ABOUT_IMAGE.search(key):
        return could_be_image(text)
    return key in _OF_OTHERS and is_specific(text)


def _could_be_value(key: str, text: str) -> bool:
    """Return whether a value in a mapping of images, or of the parts of an image, could be an image."""
    if key == "registry" or _DIGEST.match(text):
        return False
    return is_specific(text) or (key == "repo" and could_be_image(text))


def doubt_line(line: str, number: int, out: Findings) -> None:
    """Record the texts that could be images on a line of a file without a known structure."""
    if line.lstrip()[:1] == "#" or line.lstrip()[:2] == "//":
        return
    match = _LINE.match(line)
    value = next(filter(None, match.groups()[1:]), "") if match else ""
    value = value.partition(" #")[0].strip().strip(",;")
    if match and could_be_image(value):
        out.doubt(match.group(1), value, number)
    else:
        _doubt_text((), line, number, out)


def _doubt_text(path: t.Sequence[str], text: str, line: int, out: Findings) -> None:
    """Record the names in a text. Arguments and variables can be secrets: show a text only if it can be nothing else."""
    key = path[-1] if path else ""
    in_arguments = any(one in _ARGUMENTS for one in path)
    may_show = not in_arguments or "image" in key.lower() or not _SECRET.search(key)
    for match in _IN_TEXT.finditer(text):
        if is_reference(match.group()):
            is_plain = "@" in match.group() or bool(_RELEASE.fullmatch(match.group("tag")))
            is_shown = may_show and (is_plain or not in_arguments or "image" in key.lower())
            out.doubt(key, match.group(), line, is_shown)
    for word in re.split(r"[\s,;]+", text) if in_arguments else ():
        is_one = _ALONE.fullmatch(word) or (word == text and has_tag(text) and is_reference(text))
        if is_one and not _PORT.fullmatch(word):
            is_plain = "@" in word or bool(_DOTTED.fullmatch(word))
            out.doubt(key, word, line, may_show and is_plain)


def _line_of(text: Text, number: int) -> int:
    return text.line + 1 + number if text.is_block else text.line


def _collections(document: t.Any) -> t.Iterator[tuple[str, bool, t.Any]]:
    """Yield every mapping and list once, with the key that it is below, and whether it is an entry of a list."""
    todo: list[tuple[str, bool, t.Any]] = [("", False, document)]
    seen = set()
    while todo:
        key, is_entry, value = todo.pop()
        if not isinstance(value, (dict, list)) or id(value) in seen:
            continue
        seen.add(id(value))
        yield key, is_entry, value
        if isinstance(value, list):
            todo += [(key, True, one) for one in reversed(value)]
        elif value.get("kind") not in _DATA:
            below = [(str(name), False, one) for name, one in value.items() if name not in _NOTES]
            todo += reversed(below)


def _scalars(document: t.Any) -> t.Iterator[tuple[tuple[str, ...], Text]]:
    """Yield every scalar with the path of keys above it; the last key can be a variable or an option of a command."""
    todo: list[tuple[tuple[str, ...], t.Any]] = [((), document)]
    seen = set()
    while todo:
        path, value = todo.pop()
        if isinstance(value, Text):
            yield path, value
        elif isinstance(value, (dict, list)) and id(value) not in seen:
            seen.add(id(value))
            below = _entries(path, value) if isinstance(value, list) else _values(path, value)
            todo += reversed(list(below))


def _values(
    path: tuple[str, ...], value: dict[t.Any, t.Any]
) -> t.Iterator[tuple[tuple[str, ...], t.Any]]:
    name = value.get("name")
    for key, one in value.items():
        is_variable = key in ("value", "default") and isinstance(name, Text)
        yield (*path, str(name if is_variable else key)), one


def _entries(
    path: tuple[str, ...], value: list[t.Any]
) -> t.Iterator[tuple[tuple[str, ...], t.Any]]:
    option = ""
    for one in value:
        match = _OPTION.fullmatch(one) if isinstance(one, Text) else None
        pair = _VARIABLE.fullmatch(one) if isinstance(one, Text) else None
        if match and match.group(2) is not None:
            yield (*path, match.group(1)), Text.at(match.group(2), one.line)
        elif pair:
            yield (*path, pair.group(1)), Text.at(pair.group(2), one.line)
        else:
            yield ((*path, option) if option and not match else path), one
        option = match.group(1) if match and match.group(2) is None else ""


def _read_mapping(value: dict[t.Any, t.Any], key: str, is_entry: bool, out: Findings) -> None:
    line = getattr(value, "line", 0)
    image = value.get("image", value.get("Image"))
    text = text_of(image)
    full = _tagged(text if has_host(text) else _with_registry(text, value, out), value)
    if key in _CONTAINERS and is_entry:
        out.take(image, line)
    elif key in _STEPS and text:
        out.guess("image", text, text.line)
    elif text and text.is_text and is_specific(full) and not _is_incomplete(full, value):
        out.guess("image", full, text.line, text)
    elif key == "volumes" and is_entry and isinstance(image, dict):
        out.take(image.get("reference"), getattr(image, "line", 0))
    _read_parts(value, key, out)
    name = text_of(value.get("name"))
    is_in_parts = {*_TAGS, *_DIGESTS, "newName"}.intersection(value)
    is_listed = key == "images" and is_entry and is_specific(name) and not is_in_parts
    if is_listed or (value.get("kind") == "DockerImage" and name):
        out.guess("name", name, name.line)
    path, new = text_of(value.get("path")), text_of(value.get("value"))
    if "op" in value and path.endswith("/image") and new:  # a patch
        out.guess(path, new, new.line, is_loose="ontainers/" not in path)


def _is_incomplete(full: str, value: t.Mapping[t.Any, t.Any]) -> bool:
    """Return whether an operator makes the tag from a version next to the name, so that ``latest`` is wrong."""
    return not has_tag(full) and bool(text_of(value.get("version")))


def _read_parts(value: dict[t.Any, t.Any], key: str, out: Findings) -> None:
    """Take an image that is written in parts, as in values of Helm."""
    is_image = bool(_IMAGE_KEY.search(key))
    has_name = is_image and "image" not in value
    named = value.get("newName") or value.get("name") if has_name else None
    name = text_of(value.get("repository") or named)
    if not name or not (is_image or {*_TAGS, *_DIGESTS}.intersection(value)):
        return
    if "newName" in value:
        out.taken.add(id(value.get("name")))  # the replaced name
    full = _tagged(_with_registry(name, value, out), value)
    if has_tag(full) and is_reference(full):
        out.guess(key, full, name.line, name)
    elif could_be_image(full):
        out.taken.add(id(name))
        out.doubt(f"{key}.repository", full, name.line)


def _with_registry(name: str, value: t.Mapping[t.Any, t.Any], out: Findings) -> str:
    """Return a name with the registry, or the hub of Istio, that the mapping has for it."""
    key = next((one for one in ("registry", "hub") if one in value), "")
    registry = text_of(value.get(key)).rstrip("/")
    registry = out.registry if key == "registry" and out.registry else registry
    return f"{registry}/{name}" if registry else str(name)


def _tagged(name: str, value: t.Mapping[t.Any, t.Any]) -> str:
    """Return a name with the tag or the digest that the mapping has for it."""
    if has_tag(name):
        return name
    tag, digest = (
        next((one for one in (text_of(value.get(key)) for key in keys) if one), "")
        for keys in (_TAGS, _DIGESTS)
    )
    if digest and ":" not in digest:
        digest = f"sha256:{digest}"
    return name + (f":{tag}" if tag else "") + (f"@{digest}" if digest else "")
