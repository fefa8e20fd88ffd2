# SPDX-License-Identifier: GPL-3.0-or-later
"""Names of files in messages: a name can be any bytes, and must not act on a terminal or look like another one."""

from __future__ import annotations

_LONGEST = 160


def shown(name: bytes | str) -> str:
    """Return a name for a message: quoted, with escapes for everything that is not printable text, cut in the middle if long."""
    if isinstance(name, bytes):
        name = name.replace(b"\\", b"\\\\").decode("utf-8", "backslashreplace")
    text = "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode("ascii")
        for char in name
    )
    return f'"{text}"' if len(text) <= _LONGEST else f'"{text[:80]}...{text[-60:]}"'
