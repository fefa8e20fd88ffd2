# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Verify a directory of bundles of sigstore/sigstore-conformance, without a request: python tests/support/conformance.py DIR

Each folder has ``bundle.sigstore.json``, and may have ``artifact``, ``trusted_root.json``, ``identity``, ``issuer`` and
``key.pub``. A bundle in a folder whose name ends in ``_fail`` must be refused, every other one accepted.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

if __name__ == "__main__":  # as a script, below ansible_collections
    sys.path.insert(0, str(Path(__file__).resolve().parents[5]))

from ansible_collections.lockstep.images.plugins.module_utils._trust.bundle import parse_bundle
from ansible_collections.lockstep.images.plugins.module_utils._trust.claims import (
    Claim,
    statement_of,
)
from ansible_collections.lockstep.images.plugins.module_utils._trust.errors import (
    SignatureError,
    SignatureInvalidError,
    SignatureMismatchError,
)
from ansible_collections.lockstep.images.plugins.module_utils._trust.evidence import Evidence
from ansible_collections.lockstep.images.plugins.module_utils._trust.keyless import (
    keyless_signer,
    require_key_logged,
)
from ansible_collections.lockstep.images.plugins.module_utils._trust.keys import key_of_pem
from ansible_collections.lockstep.images.plugins.module_utils._trust.naming import (
    Identity,
    subject_pattern,
)
from ansible_collections.lockstep.images.plugins.module_utils._trust.trusted_root import (
    parse_trusted_root,
)

ISSUER = "https://token.actions.githubusercontent.com"
SUBJECT = (
    "https://github.com/sigstore-conformance/extremely-dangerous-public-oidc-beacon/"
    ".github/workflows/extremely-dangerous-oidc-beacon.yml@refs/heads/main"
)


def evidence_of(raw: bytes, artifact: bytes, where: str) -> Evidence:
    """Return a bundle of a file as evidence; raise SignatureError unless it is for this file."""
    bundle, digest = parse_bundle(raw, where), hashlib.sha256(artifact).digest()
    if bundle.message_digest not in (None, digest):
        raise SignatureMismatchError(f"{where}: is for another file")
    signed = artifact
    if bundle.payload is not None:
        signed = bundle.signed
        if digest.hex() not in statement_of(bundle.payload, where).subjects:
            raise SignatureMismatchError(f"{where}: is for another file")
    return Evidence(
        "bundle",
        where,
        "",
        signed,
        bundle.signature,
        lambda _digest: Claim(None, {}),
        bundle.certificate,
        bundle.entries,
        bundle.timestamps,
        bundle.version != "0.1",
        bundle.payload,
    )


def text_of(path: Path, default: str) -> str:
    """Return the text of a file without white space around it, or a default."""
    return path.read_text("utf-8").strip() if path.exists() else default


def verify(folder: Path) -> None:
    """Verify the bundle in a folder; raise SignatureError if it is refused."""
    artifact = folder / "artifact"
    data = (artifact if artifact.exists() else folder.parent / "a.txt").read_bytes()
    own = folder / "trusted_root.json"
    trusted = own if own.exists() else folder.parent / "trusted_root.public.json"
    root = parse_trusted_root(trusted.read_bytes(), trusted.name)
    raw = (folder / "bundle.sigstore.json").read_bytes()
    evidence = evidence_of(raw, data, folder.name)
    if (folder / "key.pub").exists():
        try:
            key = key_of_pem((folder / "key.pub").read_bytes())
        except ValueError as exc:
            raise SignatureInvalidError(f"{folder.name}: the key {exc}") from exc
        if not key.verifies(evidence.signature, evidence.signed):
            raise SignatureInvalidError(f"{folder.name}: was not made with the key")
        require_key_logged(evidence, key, root)
        return
    subject = subject_pattern(text_of(folder / "identity", SUBJECT))
    keyless_signer(evidence, [Identity(text_of(folder / "issuer", ISSUER), subject)], root)


def main(directory: str) -> int:
    """Verify every folder, print what is wrong, and return the number of these."""
    wrong = total = 0
    for path in sorted(Path(directory).glob("*/bundle.sigstore.json")):
        folder, reason = path.parent, ""
        total += 1
        try:
            verify(folder)
        except SignatureError as exc:
            reason = f"{exc.kind}: {exc}"
        is_right = bool(reason) == folder.name.endswith("_fail")
        wrong += not is_right
        print(f"{'right' if is_right else 'WRONG'} {folder.name} {reason}")
    print(f"right {total - wrong} wrong {wrong}")
    return wrong or not total


if __name__ == "__main__":
    sys.exit(bool(main(sys.argv[1])))
