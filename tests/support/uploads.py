# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Open blob uploads: monolithic, in chunks, or mounted.

Rule: OCI distribution-spec v1.1, "Pushing Blobs".
"""

from __future__ import annotations

import hashlib
import itertools
import re
import threading
import uuid
from pathlib import Path
from typing import IO, Any

from .bodies import FileBody, MemoryBody
from .exchange import Answer, Call, Refusal
from .storage import Storage

DIGEST = re.compile(r"sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}")


class Upload:
    """The bytes of one upload, hashed while they arrive, in memory or in a file of ``directory``."""

    def __init__(self, directory: Path | None, number: int) -> None:
        self.size = 0
        self.lock = threading.Lock()
        self._states = {name: hashlib.new(name) for name in ("sha256", "sha512")}
        self._memory = bytearray()
        self._path = None if directory is None else directory / f"upload-{number}"
        self._file: IO[bytes] | None = None if self._path is None else self._path.open("wb")

    def append(self, piece: bytes) -> None:
        """Add ``piece`` at the end."""
        for state in self._states.values():
            state.update(piece)
        self.size += len(piece)
        if self._file is None:
            self._memory += piece
        else:
            self._file.write(piece)

    def digest(self, algorithm: str) -> str:
        """Return the digest of all bytes so far."""
        return f"{algorithm}:{self._states[algorithm].hexdigest()}"

    def close(self) -> Any:
        """Finish the upload. Return its content as a ``Body``."""
        if self._file is None or self._path is None:
            return MemoryBody(bytes(self._memory))
        self._file.close()
        return FileBody(self._path)

    def discard(self) -> None:
        """Remove the bytes."""
        if self._file is not None and self._path is not None:
            self._file.close()
            self._path.unlink()


class Uploads:
    """Answers the upload requests of the distribution spec."""

    def __init__(self, storage: Storage) -> None:
        self.storage = storage
        self._open: dict[tuple[str, str], Upload] = {}
        self._numbers = itertools.count()

    def post(self, call: Call, repository: str, may_mount: bool) -> Answer:
        """Start an upload, or finish it at once (``digest=``), or mount a blob (``mount=``)."""
        mount, origin = call.value("mount"), call.value("from")
        if mount and origin and may_mount and self.storage.mount(repository, mount, origin):
            return self._created(repository, mount)
        upload = Upload(self.storage.directory, next(self._numbers))
        if call.value("digest"):
            self._append(call, upload)
            return self._finish(call, repository, upload)
        session = uuid.uuid4().hex
        self._open[repository, session] = upload
        return self._progress(repository, session, upload, 202)

    def session(self, call: Call, repository: str, session: str) -> Answer:
        """Answer GET, PATCH, PUT or DELETE for an open upload."""
        upload = self._open.get((repository, session))
        if upload is None:
            raise Refusal(404, "BLOB_UPLOAD_UNKNOWN", "no such upload")
        if call.method == "GET":
            return self._progress(repository, session, upload, 204)
        if call.method == "DELETE":
            del self._open[repository, session]
            upload.discard()
            return Answer(204)
        if call.method not in ("PATCH", "PUT"):
            raise Refusal(405, "UNSUPPORTED", "no such method here")
        with upload.lock:
            if not self._follows(call, upload):
                return self._progress(repository, session, upload, 416)
            if call.method == "PATCH":
                self._append(call, upload)
                return self._progress(repository, session, upload, 202)
            self._append(call, upload)
            del self._open[repository, session]
            return self._finish(call, repository, upload)

    @staticmethod
    def _follows(call: Call, upload: Upload) -> bool:
        """Return whether a chunk starts at the end of the received bytes, or states no position."""
        chunk = call.headers.get("content-range")
        if chunk is None:
            return True
        given = re.fullmatch(r"(?:bytes )?(\d+)-(\d+)(?:/.*)?", chunk)
        return given is not None and int(given.group(1)) == upload.size

    @staticmethod
    def _append(call: Call, upload: Upload) -> None:
        for piece in call.pieces:
            upload.append(piece)

    def _finish(self, call: Call, repository: str, upload: Upload) -> Answer:
        wanted = call.value("digest") or ""
        if DIGEST.fullmatch(wanted) is None:
            upload.discard()
            raise Refusal(400, "DIGEST_INVALID", "no digest, or none of sha256 or sha512")
        if upload.digest(wanted.partition(":")[0]) != wanted:
            upload.discard()
            raise Refusal(400, "DIGEST_INVALID", "the content has another digest")
        self.storage.add_blob(repository, upload.close(), wanted)
        return self._created(repository, wanted)

    @staticmethod
    def _created(repository: str, digest: str) -> Answer:
        location = f"/v2/{repository}/blobs/{digest}"
        return Answer(201, [("Location", location), ("Docker-Content-Digest", digest)])

    @staticmethod
    def _progress(repository: str, session: str, upload: Upload, status: int) -> Answer:
        return Answer(
            status,
            [
                ("Location", f"/v2/{repository}/blobs/uploads/{session}?_state={upload.size}"),
                ("Range", f"0-{max(0, upload.size - 1)}"),
                ("Docker-Upload-UUID", session),
            ],
        )
