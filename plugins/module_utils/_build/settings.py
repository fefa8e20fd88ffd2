# SPDX-License-Identifier: GPL-3.0-or-later
"""The instructions that only change the configuration of an image (image-spec v1.1, config.md; moby image-spec v1.3)."""

from __future__ import annotations

import re
import typing as t
from fractions import Fraction

from . import words
from .errors import Place

Config = t.Dict[str, t.Any]  # the keys of the inner configuration, as Docker spells them
_PORT = re.compile(r"([0-9]{1,5})(?:-([0-9]{1,5}))?(?:/(tcp|udp|sctp))?", re.IGNORECASE)
_SIGNAL = re.compile(r"[A-Za-z0-9+-]+")
_DURATION = re.compile(r"([0-9]{1,20}(?:\.[0-9]{0,20})?|\.[0-9]{1,20})(ns|us|\u00b5s|ms|s|m|h)")
_UNITS = {"ns": 1, "us": 10**3, "\u00b5s": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}  # fmt: skip
_TIMES = {
    "interval": "Interval",
    "timeout": "Timeout",
    "start-period": "StartPeriod",
    "start-interval": "StartInterval",
}
_DEFAULT_SHELL = ["/bin/sh", "-c"]
Expand = t.Callable[[str], str]


class Settings:
    """The configuration of a stage, which its instructions change. ``config`` has the value so far."""

    def __init__(self, config: t.Mapping[str, t.Any]) -> None:
        self.config: Config = {key: value for key, value in config.items() if value is not None}
        self.env = dict(
            text.partition("=")[::2] for text in self._texts("Env")
        )
        self.has_command = False  # whether an instruction of this stage set CMD

    def apply(self, word: str, rest: str, place: Place, expand: Expand, escape: str) -> None:
        """Apply one instruction; raise BuildSyntaxError if it is malformed."""
        if not rest:
            raise place.syntax(f"{word} has no arguments")
        method = getattr(self, f"_{word.lower()}")
        try:
            method(rest, place, expand, escape)
        except words.WordError as exc:
            raise place.syntax(f"{word} {exc}") from exc

    def finished(self) -> Config:
        """Return the configuration, without empty values."""
        if self.env:
            self.config["Env"] = [f"{name}={value}" for name, value in self.env.items()]
        return {key: value for key, value in self.config.items() if value not in ("", [], {})}

    def _texts(self, key: str) -> list[str]:
        found = self.config.get(key)
        return [str(text) for text in found] if isinstance(found, list) else []

    def _mapping(self, key: str) -> dict[str, t.Any]:
        found = self.config.get(key)
        return dict(found) if isinstance(found, dict) else {}

    def _env(self, rest: str, place: Place, expand: Expand, escape: str) -> None:
        pairs = words.pairs_of(rest, escape)
        found = [(expand(name), expand(value)) for name, value in pairs]
        if not all(name for name, _value in found):
            raise place.syntax("ENV has an empty name")
        self.env.update(found)

    def _label(self, rest: str, place: Place, expand: Expand, escape: str) -> None:
        labels = self._mapping("Labels")
        labels.update((expand(name), expand(value)) for name, value in words.pairs_of(rest, escape))
        self.config["Labels"] = labels

    def _user(self, rest: str, place: Place, expand: Expand, escape: str) -> None:
        self.config["User"] = expand(rest)

    def _stopsignal(self, rest: str, place: Place, expand: Expand, escape: str) -> None:
        signal = expand(rest)
        if not _SIGNAL.fullmatch(signal):
            raise place.syntax("STOPSIGNAL is not a signal")
        self.config["StopSignal"] = signal

    def _volume(self, rest: str, place: Place, expand: Expand, escape: str) -> None:
        listed = words.json_words(rest)
        paths = [expand(path) for path in (rest.split() if listed is None else listed)]
        if not paths or not all(paths):
            raise place.syntax("VOLUME has an empty path")
        self.config["Volumes"] = {**self._mapping("Volumes"), **{path: {} for path in paths}}

    def _expose(self, rest: str, place: Place, expand: Expand, escape: str) -> None:
        ports = self._mapping("ExposedPorts")
        for word in " ".join(map(expand, rest.split())).split():
            match = _PORT.fullmatch(word)
            first = int(match.group(1)) if match else 0
            last = int(match.group(2) or first) if match else 0
            if not match or not 0 < first <= last < 65536:
                raise place.syntax(f"EXPOSE {word[:40]} is not a port, as 80, 80/udp or 80-90")
            protocol = (match.group(3) or "tcp").lower()
            ports.update({f"{port}/{protocol}": {} for port in range(first, last + 1)})
        self.config["ExposedPorts"] = ports

    def _cmd(self, rest: str, place: Place, expand: Expand, escape: str) -> None:
        self.config["Cmd"] = self._command(rest)
        self.has_command = True

    def _entrypoint(self, rest: str, place: Place, expand: Expand, escape: str) -> None:
        self.config["Entrypoint"] = self._command(rest)
        if not self.has_command:  # that of the base was an argument of its own program
            self.config.pop("Cmd", None)

    def _shell(self, rest: str, place: Place, expand: Expand, escape: str) -> None:
        listed = words.json_words(rest)
        if not listed:
            raise place.syntax('SHELL must be a list in JSON, as ["/bin/sh", "-c"]')
        self.config["Shell"] = listed

    def _maintainer(self, rest: str, place: Place, expand: Expand, escape: str) -> None:
        """Do nothing: the author is beside the inner configuration, see ``Recipe``."""

    def _command(self, rest: str) -> list[str]:
        listed = words.json_words(rest)
        return listed if listed is not None else [*(self._texts("Shell") or _DEFAULT_SHELL), rest]

    def _healthcheck(self, rest: str, place: Place, expand: Expand, escape: str) -> None:
        flags, rest = words.flags_of(rest)
        kind, command = (*rest.split(None, 1), "", "")[:2]
        if kind.upper() == "NONE" and not flags and not command:
            self.config["Healthcheck"] = {"Test": ["NONE"]}
            return
        if kind.upper() != "CMD" or not command or set(flags) - {*_TIMES, "retries"}:
            raise place.syntax("HEALTHCHECK must be: HEALTHCHECK [OPTIONS] CMD COMMAND, or NONE")
        listed = words.json_words(command)
        found: dict[str, t.Any] = {
            "Test": ["CMD", *listed] if listed is not None else ["CMD-SHELL", command]
        }
        for flag, key in _TIMES.items():
            if flag in flags:
                found[key] = _nanoseconds(flags[flag], place)
        if "retries" in flags:
            text = flags["retries"]
            if not (text.isascii() and text.isdigit() and 0 < len(text) < 10):
                raise place.syntax("HEALTHCHECK --retries is not a number")
            found["Retries"] = int(text)
        self.config["Healthcheck"] = found


def _nanoseconds(text: str, place: Place) -> int:
    """Return a duration as Go writes it, such as 1m30s."""
    parts = _DURATION.findall(text)
    if not parts or "".join(map("".join, parts)) != text:
        raise place.syntax(f"{text[:40]!r} is not a duration, as 30s or 1m30s")
    total = int(sum(Fraction(number) * _UNITS[unit] for number, unit in parts))
    if total and not 10**6 <= total < 2**63:
        raise place.syntax(f"the duration {text[:40]} is out of range")
    return total
