# SPDX-License-Identifier: GPL-3.0-or-later
"""The findings in a file: the images that it names, and the texts that could be images."""

from __future__ import annotations

import re
import typing as t

from .._image import errors
from .._image.names import Platform, Reference
from .yamlfile import Text

FILL_IN = "Lock the output of `docker compose config`, or of the tool that fills them in."
_PICTURE = re.compile(r"\.(?:png|jpe?g|svg|gif|webp|ico|bmp)$", re.IGNORECASE)
_ELSEWHERE = re.compile("(?:https?|s?ftp|file|s3|gs|git|ssh):", re.IGNORECASE)
_REMOTE = re.compile(r"://|^git@|^(?:git::)?git(?:hub|lab)\.com[/:]|[?&]ref=")
_LOGIN = re.compile(r".*@(?!sha[0-9]+:)", re.DOTALL)
_MAX_DOUBT = 300
_NOTHING = Text()


class Mention(t.NamedTuple):
    """An image as a file names it, with the place, the platform that the file requests, and whether the file builds it.

    ``is_loose`` means outside of containers, where kustomizations change a name only if they are configured to.
    """

    text: str
    place: str
    platform: str = ""
    is_built: bool = False
    is_loose: bool = False


class Named(t.NamedTuple):
    """A mention as a reference.

    ``platform`` is None if the file requests none. ``built_at`` is the place where the image is built, "" if nowhere.
    """

    reference: Reference
    platform: Platform | None
    built_at: str


class Doubt(t.NamedTuple):
    """A text that could be an image: its name in a store, "" if it is not a reference, and a warning."""

    store_name: str
    warning: str


class _Doubt(t.NamedTuple):
    key: str
    text: str
    line: int
    is_shown: bool


class Findings:
    """The findings in one file. ``is_named`` means that the user gave this file, not a directory that contains it."""

    def __init__(self, file: str, is_named: bool) -> None:
        self.file = file
        self.is_named = is_named
        self.is_for_hosts = True  # false for a file that builds images
        self.registry = ""  # the global registry in values of Helm
        self.mentions: list[Mention] = []
        self.warnings: list[str] = []
        self.follow: list[str] = []  # the files to read next, because this one includes them
        self.taken: set[int] = set()  # id() of the values in mentions
        self._doubts: dict[str, _Doubt] = {}

    def place(self, line: int, file: str = "") -> str:
        """Return the place of a line in this file, or in another one; 0 means that the line is unknown."""
        return f"{file or self.file}, line {line}" if line else file or self.file

    def take(
        self,
        value: t.Any,
        line: int,
        platform: t.Any = None,
        file: str = "",
        is_built: bool = False,
    ) -> None:
        """Record a value that must be an image, and the platform that the file requests.

        None is ignored, and in a directory also an empty text. Any other value that is not a text is a problem.
        """
        if value is None or (value == "" and not self.is_named):
            return
        place = self.place(getattr(value, "line", 0) or line, file)
        if not isinstance(value, str) or not getattr(value, "is_text", True):
            self.problem(place, "image is not a text")  # 1.10 could be 1.1
            return
        self.taken.add(id(value))
        self.mentions.append(Mention(str(value), place, str(platform or ""), is_built))

    def guess(
        self, key: str, value: str, line: int, source: t.Any = None, is_loose: bool = True
    ) -> None:
        """Record a text as an image if it is a reference, otherwise as a doubt; ``source`` is the value it comes from."""
        if is_reference(value):
            self.taken.add(id(value if source is None else source))
            self.mentions.append(Mention(str(value), self.place(line), is_loose=is_loose))
        else:
            self.doubt(key, value, line)

    def doubt(self, key: str, text: str, line: int, is_shown: bool = True) -> None:
        """Record a text that could be an image, and its key or option. Without ``is_shown`` no warning repeats the text."""
        self._doubts.setdefault(text, _Doubt(key, text, line, is_shown))

    def problem(self, place: str, problem: str) -> None:
        """Raise InputError if the user gave this file; only warn if the user gave its directory."""
        if self.is_named:
            raise errors.InputError(f"{place}: {problem}")
        self.warnings.append(f"{place}: {problem}, and is not locked")

    def named(self) -> list[Named]:
        """Return the references of all mentions; raise InputError with the place of an invalid one.

        A pattern is only a warning. So is, in a directory, a template and any invalid name in a file that builds images.
        """
        found = []
        for mention in self.mentions:
            try:
                found.append(_named(mention))
            except errors.InputError as exc:
                is_unmade = any(mark in mention.text for mark in ("{{", "://", "<"))
                is_pattern = "*" in mention.text  # of a policy
                is_fatal = self.is_named or (self.is_for_hosts and not is_unmade)
                if is_fatal and not is_pattern:
                    raise
                self.warnings.append(f"{exc}, and is not locked")
        return found

    def doubts(self) -> list[Doubt]:
        """Return the texts that could be images and are not mentions, in the order of the lines."""
        known = {mention.text for mention in self.mentions}
        found = []
        for doubt in sorted(self._doubts.values(), key=lambda doubt: doubt.line):
            text = doubt.text
            if text not in known:
                key = f"{errors.printable(doubt.key, 80)}: " if doubt.key else ""
                shown = _shown(text) if doubt.is_shown else "the value"
                warning = (
                    f"{self.place(doubt.line)}: {key}{shown} could be an image, and is not locked"
                )
                name = Reference.parse(text).store_name if is_reference(text) else ""
                found.append(Doubt(name, warning))
        return found


def _named(mention: Mention) -> Named:
    for text in (mention.text, mention.platform):
        if has_variables(text):
            problem = f"{mention.place}: {_shown(text)} contains variables"
            raise errors.InputError(problem, FILL_IN)
    try:
        platform = Platform.parse(mention.platform) if mention.platform else None
        built_at = mention.place if mention.is_built else ""
        return Named(Reference.parse(mention.text), platform, built_at)
    except errors.InputError as exc:
        raise errors.InputError(f"{mention.place}: {exc}", exc.hint) from exc


def _shown(text: str) -> str:
    return errors.printable(_LOGIN.sub("...@", text))


def has_variables(text: str) -> bool:
    """Return whether a text contains variables or template expressions."""
    return "$" in text or "{{" in text


def is_reference(text: str) -> bool:
    """Return whether a text is a valid reference, and not the file name of a picture."""
    try:
        Reference.parse(text)
    except errors.InputError:
        return False
    return not _PICTURE.search(text)


def is_specific(text: str) -> bool:
    """Return whether a text is a reference with a tag, a digest or a host, so that it is more than a word."""
    return (has_host(text) or has_tag(text)) and is_reference(text)


def has_host(text: str) -> bool:
    """Return whether a reference starts with a registry."""
    host, slash, _rest = text.partition("/")
    return bool(slash) and ("." in host or ":" in host or host == "localhost")


def has_tag(text: str) -> bool:
    """Return whether a reference has a tag or a digest."""
    return "@" in text or ":" in text.rpartition("/")[2]


def could_be_image(text: str) -> bool:
    """Return whether a text in the place of an image can name one, perhaps after its variables are filled in."""
    if not text or len(text) > _MAX_DOUBT or "\n" in text or _ELSEWHERE.match(text):
        return False
    return has_variables(text) or "://" in text or is_reference(text)


def text_of(value: t.Any) -> Text:
    """Return a scalar unchanged, an empty Text for anything else."""
    return value if isinstance(value, Text) else _NOTHING


def is_remote(path: str) -> bool:
    """Return whether a path is a URL or is in a git repository."""
    return bool(_REMOTE.search(path))
