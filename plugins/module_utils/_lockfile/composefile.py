# SPDX-License-Identifier: GPL-3.0-or-later
"""Read the images of a compose file (compose-spec)."""

from __future__ import annotations

import os
import re
import typing as t

from .._image import errors
from .._store.files import read_file
from .dockerfile import read_dockerfile
from .mentions import Findings, is_remote, text_of
from .yamlfile import Located, Text, load_documents

MAX_SIZE = 64 * 1024 * 1024
_NAME = re.compile(r"(?:docker-)?compose\b.*\.(?:ya?ml|json)$", re.IGNORECASE)
_CONTEXT = "docker-image://"
_MAX_CHAIN = 32

_Service = tuple[Located, str]  # a service, and the file that it is in


def is_compose(document: t.Any, file: str) -> bool:
    """Return whether a document is a compose file: it has services, or includes files and has a name of compose."""
    if not isinstance(document, dict) or "lockfile_version" in document:
        return False
    has_services = isinstance(document.get("services"), dict)
    return has_services or ("include" in document and bool(_NAME.match(os.path.basename(file))))


def read_compose(document: Located, out: Findings) -> None:
    """Take the images of all services and of the services that they extend; queue the included files."""
    for name, service in _services(document).items():
        if isinstance(service, Located):
            _read_service(str(name), service, document, out)
    include = document.get("include")
    for entry in include if isinstance(include, list) else ():
        paths = entry.get("path") if isinstance(entry, dict) else entry
        for path in paths if isinstance(paths, list) else [paths]:
            if text_of(path):
                _follow(text_of(path), out)


def _services(document: t.Any) -> dict[t.Any, t.Any]:
    services = document.get("services") if isinstance(document, dict) else None
    return services if isinstance(services, dict) else {}


def _follow(path: Text, out: Findings) -> None:
    file = os.path.join(os.path.dirname(out.file), path)
    if is_remote(path):
        out.warnings.append(
            f"{out.place(path.line)}: {errors.printable(path)} is remote, and is not read"
        )
    elif "$" in path or not os.path.isfile(file):
        out.problem(
            out.place(path.line), f"{errors.printable(path)} is included, but cannot be read"
        )
    else:
        out.follow.append(file)


def _read_service(name: str, service: Located, document: Located, out: Findings) -> None:
    chain = list(_chain(service, document, out))
    image, of_image = _first(chain, "image")
    platform, _file = _first(chain, "platform")
    build, of_build = _first(chain, "build")
    out.take(image, service.line, platform, of_image, is_built=build is not None)
    if build is not None:
        _read_build(name, build, of_build, image is None, out)
    for part, file in chain:
        volumes = part.get("volumes")
        for volume in volumes if isinstance(volumes, list) else ():
            if isinstance(volume, Located) and volume.get("type") == "image":
                out.take(volume.get("source"), volume.line, platform, file)


def _chain(service: t.Any, document: t.Any, out: Findings) -> t.Iterator[_Service]:
    """Yield a service and those that it extends, the nearest first; report a missing one as a problem."""
    file = out.file
    for _number in range(_MAX_CHAIN):
        if not isinstance(service, Located):
            return
        yield service, file
        extends = service.get("extends")
        if not extends:
            return
        place, name, other = out.place(service.line, file), extends, ""
        if isinstance(extends, dict):
            name, other = extends.get("service"), text_of(extends.get("file"))
        if other:
            file = os.path.join(os.path.dirname(file), other)
            document = _load(file, place, out)
        service = _services(document).get(name)
        if service is None and document is not None:
            out.problem(place, f"the extended service {name} is not in {file}")


def _load(file: str, place: str, out: Findings) -> t.Any:
    """Return the first document of an extended file; report a file that cannot be read as a problem, return None then."""
    try:
        documents = load_documents(read_file(os.path.realpath(file), MAX_SIZE), file).documents
    except (FileNotFoundError, errors.InputError) as exc:
        is_missing = isinstance(exc, FileNotFoundError)
        reason = "does not exist" if is_missing else f"cannot be read: {exc}"
        out.problem(place, f"{file}, which is extended, {reason}")
        return None
    return documents[0] if documents else None


def _first(chain: t.Sequence[_Service], key: str) -> tuple[t.Any, str]:
    """Return the value of a key in the nearest service that has it, and the file of that service."""
    return next(((part[key], file) for part, file in chain if key in part), (None, ""))


def _read_build(name: str, build: t.Any, file: str, is_only: bool, out: Findings) -> None:
    line = getattr(build, "line", 0)
    inline = text_of(build.get("dockerfile_inline")) if isinstance(build, dict) else ""
    contexts = build.get("additional_contexts") if isinstance(build, dict) else None
    values = list(contexts.values()) if isinstance(contexts, dict) else contexts
    for value in values if isinstance(values, list) else ():
        _name, context, image = text_of(value).rpartition(_CONTEXT)
        if context:
            out.take(image, getattr(value, "line", line), file=file)
    if inline:
        read_dockerfile(inline, out, getattr(inline, "line", line) + 1)
    elif is_only and not _follow_dockerfile(build, file, out):
        out.warnings.append(
            f"{out.place(line, file)}: the service {name} is built: add its Dockerfile to from"
            " to lock its base images"
        )


def _follow_dockerfile(build: t.Any, file: str, out: Findings) -> bool:
    """Queue the Dockerfile of a service if the user gave a directory; return whether the file exists."""
    options = build if isinstance(build, dict) else {"context": build}
    context = text_of(options.get("context")) or "."
    name = text_of(options.get("dockerfile")) or "Dockerfile"
    path = os.path.join(os.path.dirname(file), context, name)
    if out.is_named or is_remote(context) or not os.path.isfile(path):
        return False
    out.follow.append(path)
    return True
