# SPDX-License-Identifier: GPL-3.0-or-later
"""What HTTP headers say: rules, no I/O."""

from __future__ import annotations

import email.utils
import re
import typing as t
import urllib.parse

from ansible_collections.lockstep.images.plugins.module_utils._oci.errors import ProtocolError

MAX_WAIT = 300.0
"""No registry makes us sleep longer than this (seconds) in one go."""

_UNIX_TIME = 1_000_000_000
_WARNING = re.compile(r'299 - "((?:[^"\\\x00-\x08\x0a-\x1f\x7f]|\\[^\x00-\x08\x0a-\x1f\x7f])*)"')
_LINK = re.compile(r'<([^<>]*)>\s*((?:;\s*[\w*-]+\s*(?:=\s*(?:"[^"]*"|[^\s;,"]+))?\s*)*)')


def retry_after(value: str | None, now: float) -> float | None:
    """Seconds to wait, at most MAX_WAIT; None when the header says nothing usable.

    RFC 9110 10.2.3 knows seconds and a date; Docker Hub has sent a unix time.
    """
    text = (value or "").strip()
    if re.fullmatch(r"[0-9]{1,18}", text, re.ASCII):
        seconds = float(text)
        if seconds > _UNIX_TIME:
            seconds -= now
        return min(max(seconds, 0.0), MAX_WAIT)
    parsed = email.utils.parsedate_tz(text) if re.search(r"[A-Za-z]", text) else None
    if not parsed:
        return None
    try:
        return min(max(email.utils.mktime_tz(parsed) - now, 0.0), MAX_WAIT)
    except (OverflowError, ValueError):
        return None


def next_page(links: t.Iterable[str], url: str) -> str | None:
    """The URL of the next page (RFC 8288), or None on the last one.

    Raises ProtocolError for a malformed header, and for a page on another origin: a list of tags is no
    reason to send a request (and its token) elsewhere.
    """
    for header in links:
        matches = list(_LINK.finditer(header))
        if not matches:
            raise ProtocolError(f"{shown_url(url)}: the Link header of the page is malformed")
        for match in matches:
            if not re.search(r'\brel\s*=\s*"?[^";]*\bnext\b', match.group(2), re.IGNORECASE):
                continue
            try:
                target = urllib.parse.urljoin(url, match.group(1))
            except ValueError as exc:
                raise ProtocolError(f"{shown_url(url)}: the next page is no URL") from exc
            if origin(target) != origin(url):
                raise ProtocolError(
                    f"{shown_url(url)}: the next page is on another host, {shown_url(target)}"
                )
            return target
    return None


def warning_text(value: str) -> str:
    """The text of a ``Warning: 299 - "..."`` header (distribution-spec v1.1 "Warnings"), "" for any other."""
    match = _WARNING.fullmatch(value.strip())
    return re.sub(r"\\(.)", r"\1", match.group(1))[:1000] if match else ""


def origin(url: str) -> tuple[str, str, int]:
    """Scheme, host and port: what has to be equal for a credential to travel along."""
    try:
        parts = urllib.parse.urlsplit(url)
        port = parts.port
    except ValueError as exc:
        raise ProtocolError(f"{shown_url(url)}: the host or the port is not valid") from exc
    return (
        parts.scheme,
        (parts.hostname or "").lower(),
        port or (443 if parts.scheme == "https" else 80),
    )


def shown_url(url: str) -> str:
    """A URL as a message may show it: no user, no query (signatures live there), no fragment."""
    try:
        parts = urllib.parse.urlsplit(url)
    except ValueError:
        return "(not a URL)"
    host = parts.netloc.rpartition("@")[2]
    return printable(urllib.parse.urlunsplit((parts.scheme, host, parts.path, "", "")), 600)


def printable(text: str, limit: int = 200) -> str:
    """Text of a stranger as a message may show it: one line, no control characters, short."""
    clean = "".join(char if char.isprintable() else " " for char in text)
    clean = " ".join(clean.split())
    return clean if len(clean) <= limit else clean[: limit - 3] + "..."
