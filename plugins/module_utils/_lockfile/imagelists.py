# SPDX-License-Identifier: GPL-3.0-or-later
"""Read image names from the files of a user: find the files, and choose the reader of each."""

from __future__ import annotations

import os
import re
import stat
import typing as t

from .._image import errors
from .._image.lock import Lock
from .._image.names import Reference
from .._store.files import access, read_file
from .composefile import MAX_SIZE, is_compose, read_compose
from .dockerfile import is_dockerfile, read_dockerfile
from .kustomize import NAMES, apply_kustomizations, is_kustomization, read_kustomization
from .lockfile import images_of_images_lock, is_images_lock, with_places
from .mentions import FILL_IN, Doubt, Findings, Mention, Named, is_specific
from .objects import doubt_line, doubt_objects, is_sync, read_objects, read_sync, take_keys
from .quadlet import is_quadlet, read_quadlet
from .yamlfile import Text, decode, load_documents, load_strict

_YAML = (".yml", ".yaml", ".json")
# How YAML starts in a file with another name, as in the output of `helm template`.
_STARTS_YAML = re.compile(r"(?m)\A(?:\s*[\[{]|(?:[^\n]*\n)*?(?:---|(?:apiVersion|kind|services):))")
_STARTS_STAGE = re.compile(r"(?mi)^FROM[ \t]+\S")
_SETTING = re.compile(r"""\s*(?:export\s+)?["']?([\w./-]+)["']?\s*[:=]\s*(.*)""")
_OTHERS = "a Dockerfile, a Containerfile, or a unit of quadlet"
_NO_IMAGE = "names no image"
_LIST = re.compile(r"(?:.*[^a-z])?images?(?:[^a-z].*)?\.(?:txt|list|lst)|images", re.IGNORECASE)
_LOCK = re.compile(rb"""(?m)^[{\s"']*lockfile_version\b""")


class Source(t.NamedTuple):
    """A file or a directory, and additional keys whose values are images."""

    path: str
    keys: tuple[str, ...] = ()


class Skipped(t.NamedTuple):
    """A file of a directory from which no image was taken, and the reason."""

    file: str
    reason: str


class Listing(t.NamedTuple):
    """The images of a source, in the order of the files, and what was not taken.

    ``doubts`` are texts that could be images, ``skipped`` the files of a directory without an image.
    """

    named: list[Named]
    warnings: list[str]
    doubts: list[Doubt]
    skipped: list[Skipped]


def parse_sources(entries: t.Sequence[t.Any]) -> list[Source]:
    """Return the sources of the option ``from``; raise InputError unless each is a path or a mapping with path and keys."""
    found = []
    for number, value in enumerate(entries):
        place = f"from[{number}]"
        entry = {"path": value} if isinstance(value, str) else value
        if not isinstance(entry, dict) or not isinstance(entry.get("path"), str):
            raise errors.InputError(f"{place}: is neither a path nor a mapping with path and keys")
        unknown = sorted(str(key) for key in set(entry) - {"path", "keys"})
        keys = entry.get("keys") or []
        keys = [keys] if isinstance(keys, str) else keys
        if unknown:
            raise errors.InputError(
                f"{place}: {errors.printable(unknown[0])} is unknown, only path and keys are valid"
            )
        if not isinstance(keys, list) or not all(key and isinstance(key, str) for key in keys):
            raise errors.InputError(f"{place}: keys is not a list of names")
        path = os.path.expanduser(os.path.expandvars(entry["path"]))
        found.append(Source(path, tuple(keys)))
    return found


def read_sources(
    sources: t.Iterable[Source], known: t.Iterable[Reference] = (), without: str = ""
) -> Listing:
    """Return the images of all sources; raise InputError with file and line, also for a source without an image.

    Each doubt is a warning too, unless a source or ``known`` names that image. In directories the file ``without`` is
    not read: a lock file must not keep its own names.
    """
    listings = [(source, read_source(source, without)) for source in sources]
    names = {image.reference.store_name for _source, listing in listings for image in listing.named}
    names |= {reference.store_name for reference in known}
    whole = Listing([], [], [], [])
    for source, listing in listings:
        doubts = [doubt for doubt in listing.doubts if doubt.store_name not in names]
        warnings = [*listing.warnings, *(doubt.warning for doubt in doubts)]
        if not listing.named:
            reason = f", although {warnings[0]}" if warnings else ""
            raise errors.InputError(
                f"{source.path}: {_NO_IMAGE}{reason}",
                "Remove it, or list the keys whose values are images in keys.",
            )
        if listing.skipped:
            count = len(listing.skipped)
            files = "1 file names" if count == 1 else f"{count} files name"
            warnings.append(f"{source.path}: {files} no image: see files_skipped")
        whole.named.extend(listing.named)
        whole.warnings.extend(warnings)
        whole.doubts.extend(doubts)
        whole.skipped.extend(listing.skipped)
    return whole


def read_source(source: Source, without: str = "") -> Listing:
    """Return the images of one source; raise InputError with file and line."""
    return _SourceReader(source).read(without)


class _SourceReader:
    """Reads the files of one source, and the files that they include."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._is_named = not os.path.isdir(source.path)
        self._kustomizations: dict[str, t.Any] = {}
        self._keys: set[str] = set()
        self._skipped: list[Skipped] = []

    def read(self, without: str) -> Listing:
        """Read every file once, also if several files include it."""
        todo = [self._source.path] if self._is_named else _files_below(self._source.path)
        findings: list[Findings] = []
        seen = {os.path.realpath(without)} if without and not self._is_named else set()
        while todo:
            file = todo.pop(0)
            if os.path.realpath(file) in seen:
                continue
            seen.add(os.path.realpath(file))
            out = Findings(file, self._is_named)
            findings.append(out)
            self._read_file(out)
            todo[:0] = out.follow
        lists = [] if self._is_named else _lists_below(self._source.path)
        missing = sorted(set(self._source.keys) - self._keys)
        if missing:
            raise errors.InputError(f"{self._source.path}: has no {missing[0]}, which keys lists")
        apply_kustomizations(findings, self._kustomizations)
        reasons = {one.file for one in self._skipped}
        for out in findings:
            is_empty = not out.mentions and not out.follow
            if not self._is_named and is_empty and out.file not in reasons:
                self._skipped.append(Skipped(out.file, _NO_IMAGE))
        named = [one for out in findings for one in out.named()]
        warnings = [text for out in findings for text in out.warnings]
        doubts = [one for out in findings for one in out.doubts()]
        warnings += [f"{file}: could be a list of images: add it to from" for file in lists]
        return Listing(named, warnings, doubts, sorted(self._skipped))

    def _read_file(self, out: Findings) -> None:
        if not self._is_named and not _is_regular(out.file):
            self._skipped.append(Skipped(out.file, "is not a regular file"))
            return
        try:
            raw = read_file(os.path.realpath(out.file), MAX_SIZE)
        except FileNotFoundError:
            raise errors.InputError(f"{out.file}: does not exist") from None
        try:
            self._read_by_type(raw, out)
        except errors.LockError:
            raise
        except errors.InputError as exc:
            if self._is_named:
                raise
            self._skipped.append(Skipped(out.file, str(exc)[len(out.file) :].lstrip(":, ")))
            out.mentions.clear()
            for number, line in enumerate(raw.decode("utf-8", "replace").split("\n"), 1):
                doubt_line(line, number, out)

    def _read_by_type(self, raw: bytes, out: Findings) -> None:
        name = os.path.basename(out.file)
        if name.lower().endswith(_YAML) or name in NAMES:
            self._read_yaml(raw, out)
            return
        text = decode(raw, out.file)
        if self._source.keys:
            self._read_settings(text, out)
        if is_quadlet(out.file):
            read_quadlet(text, out)
        elif is_dockerfile(name) or _STARTS_STAGE.search(text):
            out.is_for_hosts = False
            read_dockerfile(text, out)
        elif _STARTS_YAML.match(text) and not self._keys:
            self._read_yaml(raw, out)
        elif not self._source.keys:
            _read_lines(text, out)

    def _read_settings(self, text: str, out: Findings) -> None:
        """Take the values of keys in a file of lines such as ``KEY=VALUE``."""
        for number, line in enumerate(text.splitlines(), 1):
            match = _SETTING.match(line)
            if match and match.group(1) in self._source.keys:
                self._keys.add(match.group(1))
                out.take(match.group(2).strip().rstrip(",;").strip("\"'"), number)

    def _read_yaml(self, raw: bytes, out: Findings) -> None:
        if _LOCK.search(raw):
            for document in load_strict(raw, out.file):
                self._read_document(document, out)
            return
        try:
            loaded = load_documents(raw, out.file)
        except errors.InputError as exc:
            raise errors.InputError(str(exc), FILL_IN if b"{{" in raw else exc.hint) from exc
        out.warnings += loaded.warnings
        for document in loaded.documents:
            if self._source.keys:
                self._keys |= take_keys(document, self._source.keys, out)
            self._read_document(document, out)

    def _read_document(self, document: t.Any, out: Findings) -> None:
        if isinstance(document, dict) and "lockfile_version" in document:
            for image in Lock.parse(with_places(document, out.file)).images:
                out.mentions.append(Mention(image.name, image.place))
            return
        if is_images_lock(document):
            found = images_of_images_lock(document, out.file)
            out.mentions += [Mention(*one) for one in found]
            return
        if isinstance(document, list) and any(isinstance(one, str) for one in document):
            _read_names(document, out)
            return
        if is_kustomization(document, out.file):
            read_kustomization(document, out, self._kustomizations)
        elif is_compose(document, out.file):
            read_compose(document, out)
        elif is_sync(document):
            read_sync(document, out)
        else:
            read_objects(document, out)
        doubt_objects(document, out)


def _read_names(entries: list[t.Any], out: Findings) -> None:
    """Take a list of names; in a directory only specific references, because any list of words looks like one."""
    for number, entry in enumerate(entries):
        is_text = isinstance(entry, Text) and entry.is_text
        if not out.is_named:
            if is_text and is_specific(entry):
                out.take(entry, 0)
        elif is_text:
            out.take(entry, 0)
        else:
            raise errors.InputError(f"{out.file}: [{number}]: is not a reference")


def _read_lines(text: str, out: Findings) -> None:
    for number, line in enumerate(text.splitlines(), 1):
        name = line.partition("#")[0].strip()
        if name:
            out.take(name, number)


def _files_below(path: str) -> list[str]:
    """Return the files of a directory that could name images; raise InputError if there are none."""
    files = [file for file in _walk(path) if _may_name_images(file)]
    if not files:
        raise errors.InputError(
            f"{path}: has no file that ends in {', '.join(_YAML)}, nor {_OTHERS}"
        )
    return sorted(files)


def _lists_below(path: str) -> list[str]:
    """Return the files of a directory that could be lists of names. Such a list is read only if the user gives it."""
    files = (file for file in _walk(path) if _LIST.fullmatch(os.path.basename(file)))
    return sorted(file for file in files if not _may_name_images(file))


def _walk(path: str) -> list[str]:
    """Return all files below a directory; links to directories are followed, each directory once."""
    found, seen = [], set()
    with access(path):
        for directory, below, names in os.walk(path, onerror=_refuse, followlinks=True):
            seen.add(os.path.realpath(directory))
            below[:] = [
                name
                for name in sorted(below)
                if os.path.realpath(os.path.join(directory, name)) not in seen
            ]
            found += [os.path.join(directory, name) for name in names]
    return found


def _may_name_images(file: str) -> bool:
    name = os.path.basename(file)
    is_yaml = name.lower().endswith(_YAML) or name in NAMES
    return is_yaml or is_dockerfile(name) or is_quadlet(file)


def _is_regular(file: str) -> bool:
    """Return whether a file is regular, so that reading it cannot block; a file without permission is an error later."""
    try:
        return stat.S_ISREG(os.stat(file).st_mode)
    except FileNotFoundError:
        return False
    except OSError:
        return True


def _refuse(error: OSError) -> t.NoReturn:
    """Raise the error: a directory that cannot be listed must not look like one without images."""
    raise error
