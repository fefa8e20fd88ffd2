# SPDX-License-Identifier: GPL-3.0-or-later
"""What a file says about images: those it names, and what could be one."""

from __future__ import annotations

import re
import typing as t

from .._image import errors
from .._image.names import Platform, Reference
from .yamlfile import Text

FILL_IN = "Give the file that `docker compose config`, or the tool that fills them in, prints."
_PICTURE = re.compile(r"\.(?:png|jpe?g|svg|gif|webp|ico|bmp)$", re.IGNORECASE)
_ELSEWHERE = re.compile("(?:https?|s?ftp|file|s3|gs|git|ssh):", re.IGNORECASE)
_REMOTE = re.compile(r"://|^git@|^(?:git::)?git(?:hub|lab)\.com[/:]|[?&]ref=")
_LOGIN = re.compile(r".*@(?!sha[0-9]+:)", re.DOTALL)
_MAX_DOUBT = 300
_NOTHING = Text()


class Mention(t.NamedTuple):
    """An image as a file names it, the place, the platform that is asked for there, and whether it is built there.

    ``is_loose`` says that it is outside of containers, where no kustomization changes it unasked.
    """

    text: str
    place: str
    platform: str = ""
    is_built: bool = False
    is_loose: bool = False


class Named(t.NamedTuple):
    """The same as a reference; ``platform`` is None where none is asked for, ``built_at`` empty if it is not built."""

    reference: Reference
    platform: Platform | None
    built_at: str


class Doubt(t.NamedTuple):
    """What could be an image: the name it would have, empty if it is no reference yet, and a warning."""

    store_name: str
    warning: str


class _Doubt(t.NamedTuple):
    key: str
    text: str
    line: int
    is_shown: bool


class Findings:
    """What one file holds; ``is_named`` says that the user named this file, not a directory with it."""

    def __init__(self, file: str, is_named: bool) -> None:
        self.file = file
        self.is_named = is_named
        self.is_for_hosts = True  # not for those who build images
        self.registry = ""  # of all images in values of Helm, if there is one
        self.mentions: list[Mention] = []
        self.warnings: list[str] = []
        self.follow: list[str] = []  # other files that belong to this one
        self.taken: set[int] = set()  # ids of the values in mentions
        self._doubts: dict[str, _Doubt] = {}

    def place(self, line: int, file: str = "") -> str:
        """A line of this file, or of another one."""
        return f"{file or self.file}, line {line}" if line else file or self.file

    def take(
        self,
        value: t.Any,
        line: int,
        platform: t.Any = None,
        file: str = "",
        is_built: bool = False,
    ) -> None:
        """Note a value that must be an image, and the platform it is for.

        None and, in a directory, an empty text are no image.
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
        """Note a text that names an image if it is a reference; ``source`` is the value it comes from."""
        if is_reference(value):
            self.taken.add(id(value if source is None else source))
            self.mentions.append(Mention(str(value), self.place(line), is_loose=is_loose))
        else:
            self.doubt(key, value, line)

    def doubt(self, key: str, text: str, line: int, is_shown: bool = True) -> None:
        """Note what could be an image, and the key or option it is the value of."""
        self._doubts.setdefault(text, _Doubt(key, text, line, is_shown))

    def problem(self, place: str, problem: str) -> None:
        """Raise InputError for a file that was named, or warn."""
        if self.is_named:
            raise errors.InputError(f"{place}: {problem}")
        self.warnings.append(f"{place}: {problem}, and is not locked")

    def named(self) -> list[Named]:
        """The references of all mentions; or InputError with the place of a wrong one.

        A pattern is a warning. In a directory, one that has yet to be made is, as is any in a file that is not for hosts.
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
        """Each text that could be an image and is none of the mentions."""
        known = {mention.text for mention in self.mentions}
        found = []
        for one in sorted(self._doubts.values(), key=lambda one: one.line):
            if one.text not in known:
                key = f"{errors.printable(one.key, 80)}: " if one.key else ""
                what = _shown(one.text) if one.is_shown else "the value"
                found.append(
                    Doubt(
                        Reference.parse(one.text).store_name if is_reference(one.text) else "",
                        f"{self.place(one.line)}: {key}{what} could be an image, and is not locked",
                    )
                )
        return found


def _named(mention: Mention) -> Named:
    for text in (mention.text, mention.platform):
        if has_variables(text):
            problem = f"{mention.place}: {_shown(text)} has variables in it"
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
    """Whether something has yet to be filled in."""
    return "$" in text or "{{" in text


def is_reference(text: str) -> bool:
    """Whether a text is a valid reference, and no picture."""
    try:
        Reference.parse(text)
    except errors.InputError:
        return False
    return not _PICTURE.search(text)


def is_specific(text: str) -> bool:
    """Whether a text is a reference that says more than a word does: a tag, a digest or a host."""
    return (has_host(text) or has_tag(text)) and is_reference(text)


def has_host(text: str) -> bool:
    """Whether a reference begins with a registry."""
    host, slash, _rest = text.partition("/")
    return bool(slash) and ("." in host or ":" in host or host == "localhost")


def has_tag(text: str) -> bool:
    """Whether a reference has a tag or a digest."""
    return "@" in text or ":" in text.rpartition("/")[2]


def could_be_image(text: str) -> bool:
    """Whether a text in the place of an image may become one."""
    if not text or len(text) > _MAX_DOUBT or "\n" in text or _ELSEWHERE.match(text):
        return False
    return has_variables(text) or "://" in text or is_reference(text)


def text_of(value: t.Any) -> Text:
    """A scalar, an empty one for anything else."""
    return value if isinstance(value, Text) else _NOTHING


def is_remote(path: str) -> bool:
    """Whether a file that is referred to is a URL or in a repository of git."""
    return bool(_REMOTE.search(path))
