# SPDX-License-Identifier: GPL-3.0-or-later
"""COPY and ADD of files: which files they mean, and where those go (Dockerfile reference, "COPY")."""

from __future__ import annotations

import os
import re
import typing as t

from .._image.instructions import Document, Instruction
from . import words
from .base import BaseImage, Member, Spool
from .context import Context, Inline
from .errors import Place
from .owners import Owner, OwnerError, owner_of
from .patterns import PatternError, compile_name, is_pattern
from .recipe import Recipe
from .tree import DIRECTORY, FILE, OTHER, Changes, Node, Tree, TreeError, parts_of

_FLAGS = {"from", "chown", "chmod", "link"}
_FOR_ENGINES = {"parents", "exclude", "checksum", "keep-git-dir", "unpack"}
_REMOTE = re.compile(r"(?:https?|ftp|git|ssh)://|git@[^/]+:")
_ARCHIVES = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ\x00", b"\x28\xb5\x2f\xfd")
_MAGIC, _TAR = 257, b"ustar"
Below = t.Iterable[t.Tuple[t.List[bytes], Node]]
Expand = t.Callable[[str], str]


class Source(t.NamedTuple):
    """Something to copy: its name, the node itself, and for a directory what is below it."""

    name: bytes
    node: Node
    below: Below


class Command(t.NamedTuple):
    """The arguments of COPY or ADD, expanded. ``documents`` are its here-documents by their word."""

    flags: t.Mapping[str, str]
    sources: t.Sequence[str]
    target: str
    documents: t.Mapping[str, Document]


def command_of(one: Instruction, place: Place, expand: Expand, escape: str) -> Command:
    """Return the arguments; raise BuildSyntaxError, or BuildUnsupportedError for what needs an engine."""
    try:
        flags, rest = words.flags_of(one.rest)
    except words.WordError as exc:
        raise place.syntax(f"{one.word} {exc}") from exc
    for flag in flags:
        if flag in _FOR_ENGINES:
            raise place.unsupported(f"{one.word} --{flag} needs a container engine")
        if flag not in _FLAGS or (flag == "from" and one.word == "ADD"):
            raise place.syntax(f"{one.word} has no option --{flag}")
    listed = words.json_words(rest)
    raw = rest.split() if listed is None else listed
    documents = dict(_documents(raw, one, place))
    found = [word if word in documents else expand(word) for word in raw]
    if len(found) < 2 or not all(found):
        raise place.syntax(f"{one.word} needs a source and a destination")
    *sources, target = found
    if len(sources) > 1 and not target.endswith("/") and target not in (".", ".."):
        raise place.syntax(
            f"{one.word} has {len(sources)} sources, so its destination must end with a slash"
        )
    if one.word == "ADD" and any(map(_REMOTE.match, sources)):
        raise place.unsupported(
            "ADD of a URL needs a container engine",
            "Download the file before the build, with ansible.builtin.get_url, and copy it.",
        )
    flags = {key: expand(value) if key in ("chown", "chmod") else value for key, value in flags.items()}
    return Command(flags, sources, target, documents)


def _documents(
    raw: t.Sequence[str], one: Instruction, place: Place
) -> t.Iterator[tuple[str, Document]]:
    waiting = list(one.documents)
    for word in raw[:-1]:
        if word.startswith("<<"):
            if not waiting:
                raise place.syntax(f"the here-document {word[:40]} has no end")
            yield word, waiting.pop(0)


class Copier:
    """Copies the sources of one instruction into a stage."""

    def __init__(self, recipe: Recipe, place: Place, command: Command) -> None:
        self._recipe, self._place, self._command = recipe, place, command
        self._tree = recipe.tree
        self._changes = Changes(self._tree)
        self._owner = self._chown(command.flags.get("chown"))
        self._mode = self._chmod(command.flags.get("chmod"))

    def run(self, sources: t.Sequence[Source]) -> Changes:
        """Copy; raise BuildContextError for a file that cannot be there."""
        target = self._target()
        try:
            real = self._tree.resolve(target)
            is_directory = self._is_directory(real, len(sources))
            for source in sources:
                if source.node.is_directory:
                    self._copy_directory(source, real)
                else:
                    path = [*real, source.name] if is_directory else real
                    path = self._tree.resolve(path)
                    self._make_parents(path)
                    self._add(path, source.node)
        except TreeError as exc:
            raise self._place.context(b"/" + b"/".join(target), str(exc)) from exc
        return self._changes

    def _target(self) -> list[bytes]:
        workdir = str(self._recipe.settings.config.get("WorkingDir") or "/")
        return parts_of(os.fsencode(os.path.join(workdir, self._command.target)))

    def _is_directory(self, real: t.Sequence[bytes], sources: int) -> bool:
        text = self._command.target
        node = self._tree.get(real)
        says_so = text.endswith("/") or text.rpartition("/")[2] in (".", "..") or sources > 1
        return says_so or (node is not None and node.is_directory)

    def _make_parents(self, path: t.Sequence[bytes]) -> None:
        owner = self._owner or Owner()
        self._changes.make_directory(path[:-1], owner.uid, owner.gid)

    def _copy_directory(self, source: Source, real: list[bytes]) -> None:
        owner = self._owner or Owner(source.node.uid, source.node.gid)
        self._make_parents(real)
        self._changes.make_directory(real, owner.uid, owner.gid, self._mode or source.node.mode)
        places = {b"": real}
        for path, node in source.below:
            there = [*self._above(path[:-1], places), path[-1]]
            if not node.is_directory:
                self._add(there, node)
                continue
            found = self._tree.resolve(there)
            known = self._tree.get(found)
            if known is None or not known.is_directory:
                found = there
            old = self._tree.get(found)
            if old is not None and not old.is_directory:
                raise self._place.context(
                    b"/" + b"/".join(found), "is not a directory in the image, so none can be copied there"
                )
            self._changes.add_directory(found, self._copied(node))
            places[b"/".join(path)] = found

    def _above(self, path: list[bytes], places: dict[bytes, list[bytes]]) -> list[bytes]:
        """Return where a directory is copied to; one that is left out, with a file in it that is not, is made."""
        key = b"/".join(path)
        if key not in places:
            places[key] = [*self._above(path[:-1], places), path[-1]]
            self._changes.add_directory(places[key], self._copied(Node(DIRECTORY)))
        return places[key]

    def _add(self, path: t.Sequence[bytes], node: Node) -> None:
        if node.kind == OTHER:
            raise self._place.context(
                b"/" + b"/".join(path), "is neither a file nor a directory, and cannot be copied"
            )
        self._changes.add(path, self._copied(node))

    def _copied(self, node: Node) -> Node:
        owner = self._owner or Owner(node.uid, node.gid)
        keeps = self._mode is None or not (node.is_directory or node.kind == FILE)
        return node.with_owner(owner.uid, owner.gid, node.mode if keeps else self._mode or 0)

    def _chown(self, text: str | None) -> Owner | None:
        if text is None:
            return None
        is_number = all(part.isdigit() for part in text.split(":"))
        try:
            return owner_of(text, *((b"", b"") if is_number else self._recipe.users()))
        except OwnerError as exc:
            raise self._place.syntax(f"--chown={text[:80]}: {exc}") from exc

    def _chmod(self, text: str | None) -> int | None:
        if text is None:
            return None
        if not re.fullmatch("[0-7]{3,5}", text) or int(text, 8) > 0o7777:
            raise self._place.unsupported(f"--chmod={text[:40]} is not a mode in octal, as 0644")
        return int(text, 8)


def from_context(
    context: Context | None, command: Command, place: Place, expand_body: Expand, is_add: bool
) -> list[Source]:
    """Return the sources in the context; raise BuildContextError for a missing one."""
    found: list[Source] = []
    for text in command.sources:
        document = command.documents.get(text)
        if document:
            body = document.body if document.is_quoted else expand_body(document.body)
            data = body.encode("utf-8", "surrogateescape")
            node = Node(FILE, 0o644, content=Inline(data))
            found.append(Source(os.fsencode(document.name), node, ()))
            continue
        parts = [part for part in os.fsencode(text).split(b"/") if part not in (b"", b".")]
        if context is None:
            raise place.context(
                os.fsencode(text), "is a file of the context, which the task does not have",
                "Give the directory as context.",
            )  # fmt: skip
        found += _matching(context, parts, text, place, is_add)
    return found


def _matching(
    context: Context, parts: list[bytes], text: str, place: Place, is_add: bool
) -> list[Source]:
    found = []
    try:
        paths = context.matching(parts)
    except PatternError as exc:
        raise place.syntax(f"{text[:80]!r} is not a valid pattern: {exc}") from exc
    for path in paths:
        try:
            real = context.find(path)
            node = context.node(real)
        except FileNotFoundError:
            continue
        if is_add and node.content is not None and _is_archive(node):
            raise place.unsupported(
                f"ADD of the archive {text[:80]} needs a container engine, which extracts it",
                "Extract it before the build, with ansible.builtin.unarchive, or use COPY to copy it as a file.",
            )
        below = context.below(real) if node.is_directory else ()
        found.append(Source(path[-1] if path else b"", node, below))
    if not found:
        raise place.context(
            os.fsencode(text),
            f"matches no file of {context.path}",
            "It may be missing, or excluded by .dockerignore.",
        )
    return found


def _is_archive(node: Node) -> bool:
    content = node.content.chunks() if node.content else ()
    start = b"".join(chunk for _number, chunk in zip(range(1), content))
    return start.startswith(_ARCHIVES) or start[_MAGIC : _MAGIC + len(_TAR)] == _TAR


def from_tree(
    tree: Tree, image: BaseImage | None, spool: Spool, command: Command, place: Place
) -> list[Source]:
    """Return the sources in a stage or an image; their content is read then. Raise BuildContextError for a missing one."""
    found: list[Source] = []
    for text in command.sources:
        matched = [
            _source(tree, path, text, place) for path in _paths(tree, os.fsencode(text), place)
        ]
        sources = [one for one in matched if one]
        if not sources:
            raise place.context(os.fsencode(text), "matches no file of the stage or image")
        found += sources
    nodes = [node for one in found for node in (one.node, *(node for _path, node in one.below))]
    members = [node.content for node in nodes if isinstance(node.content, Member)]
    if image and members:
        spool.fetch(image, members)
    return found


def _paths(tree: Tree, text: bytes, place: Place) -> list[list[bytes]]:
    found: list[list[bytes]] = [[]]
    for part in parts_of(text):
        if not is_pattern(part):
            found = [[*above, part] for above in found]
            continue
        try:
            rule = compile_name(part)
            longer = []
            for above in found:
                node = tree.get(tree.resolve(above))
                names = sorted(node.children) if node else []
                longer += [[*above, name] for name in names if rule.fullmatch(name)]
        except (PatternError, TreeError) as exc:
            raise place.context(text, str(exc)) from exc
        found = longer
    return found


def _source(tree: Tree, path: list[bytes], text: str, place: Place) -> Source | None:
    try:
        real = tree.resolve(path)
    except TreeError as exc:
        raise place.context(os.fsencode(text), str(exc)) from exc
    node = tree.get(real)
    if node is None:
        return None
    return Source(path[-1] if path else b"", node, list(tree.below(real)))
