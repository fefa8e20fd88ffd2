# SPDX-License-Identifier: GPL-3.0-or-later
"""The program ``ctr`` of containerd 1.6 and later: its commands, and its tables as values.

Tables are for people: columns are aligned with spaces or tabs, and differ a little between versions. Only digests, names
and labels are read.
"""

from __future__ import annotations

import os
import re
import typing as t

from .._archive.archive import Archive
from . import errors
from .process import Completed, PipeOutput, run
from .socket_http import require_listener

PINNED = "io.cri-containerd.pinned"  # the value is the same word (containerd, internal/cri/labels)
_DIGEST = re.compile(r"sha(?:256:[0-9a-f]{64}|512:[0-9a-f]{128})")
_PINNED = re.compile(rf"(?:^|[\s,]){re.escape(PINNED)}=pinned(?:[\s,]|$)")
_SIZE = re.compile(r"\s([0-9.]+) ([KMGT]i)?B\s")
_PLATFORM = re.compile(r"[a-z]+/[a-z0-9]+(?:/v[0-9]+)?(?=[,\s])")
_UNITS = {"": 1, "Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30, "Ti": 1 << 40}
_ROOT = re.compile(r"^\s+root\s+(/.*\S)\s*$", re.MULTILINE)
_REFUSED = "permission denied"
_NO_SNAPSHOTTER = "snapshotter not loaded"
# How gRPC ends if something answers that does not speak it.
_STRANGER = re.compile("failed to dial .*(closed network connection|server preface)")
_GONE = re.compile(
    r"connection refused|connection reset|transport is closing|error reading from server"
    r"|code = Unavailable|broken pipe|failed to dial|server is not ready"
)
_MESSAGE = 300  # characters of a message of containerd that are shown; the cause is at its end


class NamedImage(t.NamedTuple):
    """An entry of ``ctr image ls``. ``size`` is in bytes, as rounded by ctr, None if it cannot be computed."""

    target: str
    media_type: str
    pinned: bool
    platforms: tuple[str, ...] = ()
    size: int | None = None


class Ctr:
    """Runs ``program``, which is ctr with its first arguments, for one namespace of the containerd behind a socket.

    ``timeout`` is in seconds for a question, ``load_timeout`` for an import. ``stats`` counts as an engine does. Raise
    EngineNotFoundError or EngineRefusedError if nothing answers.
    """

    def __init__(
        self,
        program: t.Sequence[str],
        path: str,
        namespace: str,
        timeout: float,
        load_timeout: float,
    ) -> None:
        require_listener(path, timeout)  # ctr would wait ten seconds for it
        self._command = (*program, "--address", path, "--namespace", namespace)
        self._timeout, self._load_timeout = timeout, load_timeout
        self.namespace = namespace
        self.stats = dict.fromkeys(("bytes_sent", "requests", "processes"), 0)

    def versions(self) -> list[str | None]:
        """Return the versions of the program and of the daemon, None for one that is not shown."""
        text = self._ask("version")
        client, _mark, server = text.partition("Server:")
        found = [re.search(r"Version:\s*(\S+)", part) for part in (client, server)]
        return [match[1].lstrip("v") if match else None for match in found]

    def names(self) -> dict[str, NamedImage]:
        """Return the names of the namespace and what they point at."""
        found = {}
        for line in self._ask("images", "ls").splitlines():
            name, media_type, target, rest = (*line.split(None, 3), "", "", "", "")[:4]
            if _DIGEST.fullmatch(target):
                size = _SIZE.search(f" {rest}")
                found[name] = NamedImage(
                    target,
                    media_type,
                    bool(_PINNED.search(rest)),
                    tuple(_PLATFORM.findall(rest)),
                    int(float(size[1]) * _UNITS[size[2] or ""]) if size else None,
                )
        return found

    def content(self) -> dict[str, dict[str, str]]:
        """Return the digest of each blob of the namespace, with its labels."""
        found = {}
        for line in self._ask("content", "ls").splitlines():
            digest, _tab, rest = line.partition("\t")
            if _DIGEST.fullmatch(digest):
                labels = rest.rpartition("\t")[2].split(",")
                found[digest] = dict(label.partition("=")[::2] for label in labels)
        return found

    def snapshots(self, snapshotter: str) -> dict[str, str | None]:
        """Return the chain id of each unpacked layer, and that of the layer below it.

        A snapshotter that containerd no longer runs has none: labels of content may still name it.
        """
        found: dict[str, str | None] = {}
        try:
            table = self._ask("snapshots", "--snapshotter", snapshotter, "ls")
        except errors.EngineError as exc:
            if _NO_SNAPSHOTTER in str(exc):
                return found
            raise
        for line in table.splitlines():
            words = line.split()
            if words[-1:] == ["Committed"] and _DIGEST.fullmatch(words[0]):
                found[words[0]] = words[1] if len(words) > 2 else None
        return found

    def namespaces(self) -> list[str]:
        """Return the namespaces that exist."""
        return self._ask("namespaces", "ls", "-q").split()

    def content_root(self) -> str | None:
        """Return the directory of the content store, None if ctr does not show it."""
        found = _ROOT.search(self._ask("plugins", "ls", "--detailed", "id==content"))
        return found[1] if found else None

    def read(self, digest: str) -> bytes:
        """Return the content of a blob."""
        return self._run(("content", "get", digest), self._timeout).stdout

    def load(self, archive: Archive, *options: str) -> None:
        """Import an archive."""

        def note(size: int) -> None:
            self.stats["bytes_sent"] += size

        def send(output: PipeOutput) -> None:
            output.note = note
            archive.write_to(output)

        self._run(("images", "import", *options, "-"), self._load_timeout, send)

    def pin(self, name: str) -> None:
        """Protect an image from the garbage collection of the kubelet."""
        self._ask("images", "label", name, f"{PINNED}=pinned")

    def remove(self, names: t.Sequence[str]) -> None:
        """Remove names."""
        self._ask("images", "rm", *names)

    def _ask(self, *arguments: str) -> str:
        return self._run(arguments, self._timeout).stdout.decode("utf-8", "replace")

    def _run(
        self,
        arguments: t.Sequence[str],
        timeout: float,
        stdin: t.Callable[[PipeOutput], None] | None = None,
    ) -> Completed:
        self.stats["processes"] += 1
        done = run((*self._command, *arguments), timeout, stdin)
        if done.status:
            raise _error(f"{' '.join(arguments[:2])}", done)
        return done


def _error(subject: str, done: Completed) -> errors.EngineError:
    """Return the error for a program that failed: its last message decides."""
    lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    said = lines[-1] if lines else f"ended with status {done.status}"
    said = said[len("ctr: ") :] if said.startswith("ctr: ") else said
    shown = (
        said if len(said) <= _MESSAGE else f"{said[: _MESSAGE // 2]} ... {said[-_MESSAGE // 2 :]}"
    )
    text = f"ctr {subject}: {shown}"
    if errors.is_full_disk(said):
        return errors.EngineNoSpaceError(text)
    if _STRANGER.search(said):
        return errors.EngineNotFoundError(text, "Set socket: what listens there is not containerd.")
    if _GONE.search(said):
        return errors.EngineGoneError(text)
    if _REFUSED in said and os.geteuid():
        return errors.EngineRefusedError(text)
    return errors.EngineError(text)
