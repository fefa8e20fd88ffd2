# SPDX-License-Identifier: GPL-3.0-or-later
"""The bytes of one blob, from a source to a sink."""

from __future__ import annotations

import typing as t

from ansible_collections.lockstep.images.plugins.module_utils._oci.descriptor import Descriptor
from ansible_collections.lockstep.images.plugins.module_utils._oci.errors import (
    DigestMismatchError,
    SizeMismatchError,
    TruncatedError,
)
from ansible_collections.lockstep.images.plugins.module_utils._oci.protocols import (
    ContentSink,
    ContentSource,
)


def copy_blob(descriptor: Descriptor, source: ContentSource, sink: ContentSink) -> None:
    """Bring a blob to the sink; no error means it is there, verified and durable.

    A transfer that breaks off starts again as often as the source has patience for. Wrong bytes are read once more:
    a proxy on the way may have spoilt them, but a source that is wrong twice is wrong.
    """
    if sink.has(descriptor):  # another process, or another image of this plan, was faster
        return
    if descriptor.data is not None:
        sink.write(descriptor, [descriptor.data])
        return
    attempt, mismatches = 0, 0
    while True:
        attempt += 1
        try:
            sink.write(descriptor, source.read_blob(descriptor))
            return
        except TruncatedError:
            if not source.pause(attempt):
                raise
        except (DigestMismatchError, SizeMismatchError):
            mismatches += 1
            if mismatches > 1 or not source.pause(attempt):
                raise


def verified(chunks: t.Iterable[bytes], descriptor: Descriptor) -> t.Iterator[bytes]:
    """The same chunks, checked as they pass: the reader cannot forget, and never sees the end of wrong bytes.

    Raises SizeMismatchError, TruncatedError or DigestMismatchError, the last two after the last chunk.
    """
    hasher, size = descriptor.digest.hasher(), 0
    for chunk in chunks:
        size += len(chunk)
        if size > descriptor.size:
            raise SizeMismatchError(
                f"{descriptor.digest} is longer than the {descriptor.size} bytes promised"
            )
        hasher.update(chunk)
        yield chunk
    if size < descriptor.size:
        raise TruncatedError(f"{descriptor.digest} ended after {size} of {descriptor.size} bytes")
    if hasher.hexdigest() != descriptor.digest.encoded:
        algorithm = descriptor.digest.algorithm
        raise DigestMismatchError(
            f"{descriptor.digest}: the {size} bytes received have the digest {algorithm}:{hasher.hexdigest()}"
        )
