# SPDX-License-Identifier: GPL-3.0-or-later
"""The list of the files of an archive with their sums, as ``sha256sum`` writes and checks it.

Comment lines, which ``sha256sum`` ignores, say what the archive is made from, and which blobs a target has after it.
"""

from __future__ import annotations

import re
import typing as t

from .._image.names import Digest
from .errors import ArchiveError

SUFFIX = ".sha256"
_LINE = re.compile(r"([0-9a-f]{64}) [ *]([^/\\\s]+)")
_MADE_FROM = "# lockstep.images "
_HOLDS = "# holds "
_DIGEST = re.compile("sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}")
MAX_LIST = 64 * 1024 * 1024  # bytes


class Sums(t.NamedTuple):
    """The sum of each file by its name, in the order of the archive.

    ``made_from`` is equal for equal archives, ``holds`` are the digests of the blobs that the images consist of.
    """

    files: t.Mapping[str, str]
    made_from: str = ""
    holds: tuple[str, ...] = ()

    def render(self) -> bytes:
        """Return the bytes of the list."""
        lines = [f"{_MADE_FROM}{self.made_from}", *(f"{_HOLDS}{digest}" for digest in self.holds)]
        return "".join(f"{line}\n" for line in lines).encode("ascii") + lines_of(self.files)

    @classmethod
    def parse(cls, data: bytes, where: str, is_torn: bool = False) -> Sums:
        """Return a list; raise ArchiveError, which names ``where``, for a malformed line, or if no file is listed.

        Of a list that ``is_torn``, because its writer was killed, malformed lines are left out, and the last line of a file
        counts.
        """
        files: dict[str, str] = {}
        holds: list[str] = []
        made_from = ""
        for number, line in enumerate(data.decode("utf-8", "replace").splitlines(), 1):
            if line.startswith(_MADE_FROM):
                made_from = line[len(_MADE_FROM) :]
            elif line.startswith(_HOLDS):
                holds.append(line[len(_HOLDS) :])
            elif line and not line.startswith("#"):
                match = _LINE.fullmatch(line)
                if is_torn and not match:
                    continue
                if not match or (match[2] in files and not is_torn):
                    reason = (
                        "names a file twice" if match else "is not a sum and the name of a file"
                    )
                    raise ArchiveError(f"{where}: line {number} {reason}")
                files[match[2]] = match[1]
        if not files and not is_torn:
            raise ArchiveError(f"{where}: lists no file")
        return cls(files, made_from, tuple(holds))


def lines_of(files: t.Mapping[str, str]) -> bytes:
    """Return the lines of files with their sums."""
    return "".join(f"{digest}  {name}\n" for name, digest in files.items()).encode("ascii")


def digests_in(text: str) -> set[Digest]:
    """Return the digests in a text."""
    return set(map(Digest.parse, _DIGEST.findall(text)))
