# SPDX-License-Identifier: GPL-3.0-or-later
"""Verify images: the digest of each name is resolved once, and its signatures are compared with a policy."""

from __future__ import annotations

import typing as t

from .._image.errors import InputError
from .._image.manifest import Descriptor, Manifest
from .._image.names import Digest, Platform, Reference, choose
from .._image.sources import ContentSource
from .._image.walk import walk
from .._plan import Plan, PlanBuilder
from .._registry.registries import Registries
from .._registry.repository import Mirrored
from .._store.files import read_file
from .._store.reader import StoreReader
from .._store.source import StoreSource
from .._trust.errors import SignatureError, SignatureMissingError, nearest
from .._trust.evidence import Evidence, Signer
from .._trust.naming import ANY
from .._trust.policy import MAX_FILE
from .._trust.requirements import (
    IDENTITY,
    INDEX,
    NOTATION,
    PLATFORM,
    UNSIGNED,
    Policy,
    Requirement,
    Rule,
)
from .._trust.verdict import Tally
from .find import find_name, not_in_store
from .lookaside import LookasideReader, base_of, download
from .notation import NotationReader
from .signatures import SignatureReader

PLATFORMS = "platforms"
Reader = t.Union[SignatureReader, LookasideReader]

Platforms = t.Optional[t.Sequence[Platform]]  # None for all


class Medium(t.Protocol):
    """Where images and their signatures are: registries, or a store."""

    def resolve(self, reference: Reference) -> Digest:
        """Return the digest of a name."""

    def platforms(self, reference: Reference) -> Platforms:
        """Return the platforms that matter if no index is signed, None for all."""

    def sources(self, reference: Reference) -> t.Iterator[ContentSource]:
        """Yield the sources of a repository: the one to read from, and the one whose answer is final."""

    def download(self, url: str) -> bytes | None:
        """Return the content of a URL with https, None if there is none."""


class RegistryMedium:
    """Registries, of which mirrors are asked first. A mirror proves nothing that it lacks: its origin is asked then."""

    def __init__(self, sources: Registries, platforms: Platforms) -> None:
        self._sources = sources
        self._platforms = platforms

    def resolve(self, reference: Reference) -> Digest:
        tag = str(reference.tag)
        return reference.digest or self._sources.repository(reference).resolve(tag)

    def platforms(self, reference: Reference) -> Platforms:
        return self._platforms

    def sources(self, reference: Reference) -> t.Iterator[ContentSource]:
        source = self._sources.repository(reference)
        yield source
        if isinstance(source, Mirrored):
            yield self._sources.origin(reference)

    def download(self, url: str) -> bytes | None:
        return download(self._sources.http, url)


class StoreMedium:
    """A store, with the signatures that were pulled into it."""

    def __init__(self, store: StoreReader, platforms: Platforms, is_set: bool) -> None:  # fmt: skip
        self._store = store
        self._names = store.names()
        self._platforms = platforms
        self._is_set = is_set

    def _label(self, reference: Reference) -> str:
        name = find_name(reference, self._names)
        if name is None:
            raise not_in_store(self._store, str(reference))
        return name

    def resolve(self, reference: Reference) -> Digest:
        return self._names[self._label(reference)].target.digest

    def platforms(self, reference: Reference) -> Platforms:
        """Return the platforms of the option, by default those that the image was pulled for."""
        pulled = self._names[self._label(reference)].platforms
        if self._is_set or not pulled:
            return self._platforms
        return None if "all" in pulled else [Platform.parse(text) for text in pulled]

    def sources(self, reference: Reference) -> t.Iterator[ContentSource]:
        yield StoreSource(self._store, self._names, reference, lambda *_: False)

    def download(self, url: str) -> bytes | None:
        raise InputError(
            f"{url}: source=store sends no request",
            "Copy the signatures to a directory, and set lookaside to its file:// URL.",
        )


class Verified(t.NamedTuple):
    """An image whose rule is met: what was signed (``index`` or ``platforms``, None if nothing need be), and by whom."""

    reference: Reference
    digest: Digest
    rule: str
    covers: str | None
    signers: tuple[Signer, ...]

    @property
    def pinned(self) -> str:
        """Return the name with the digest that was verified."""
        return str(self.reference._replace(digest=self.digest))

    @property
    def by(self) -> list[str]:
        """Return the signers as texts, sorted; ``unsigned`` if the rule accepts an unsigned image."""
        return sorted(set(map(str, self.signers))) or [UNSIGNED]

    def as_result(self) -> dict[str, t.Any]:
        """Return an entry of ``images`` in the result."""
        return {
            "name": str(self.reference),
            "digest": str(self.digest),
            "pinned": self.pinned,
            "verified": {
                "rule": self.rule,
                "covers": self.covers,
                "by": self.by,
                "signatures": [one.as_result() for one in self.signers],
            },
        }


class ImageVerifier(PlanBuilder):
    """Verifies images with a policy."""

    def __init__(self, policy: Policy, medium: Medium, workers: int) -> None:
        super().__init__(workers)
        self.policy = policy
        self._medium = medium

    def verify(self, reference: Reference) -> Verified:
        """Return the verdict on an image; raise SignatureError or PolicyRejectedError if it is not trusted."""
        self.policy.rule_for(reference)  # a rejected name costs no request
        digest = self._medium.resolve(reference)
        rule = self.rule_for(reference, digest)
        return self.verify_digest(reference, digest, rule, self._medium.platforms(reference))

    def rule_for(self, reference: Reference, digest: Digest) -> Rule:
        """Return the rule for what a name points to; raise PolicyRejectedError if the name or the digest is rejected."""
        self.policy.rule_for(reference)
        return self.policy.rule_for(reference._replace(digest=digest))

    def verify_digest(
        self, reference: Reference, digest: Digest, rule: Rule, platforms: Platforms
    ) -> Verified:
        """Return the verdict on the digest of an image, which must be signed for these platforms."""
        check = _Check(self._medium, reference, digest, rule.match, platforms)
        needed = [one for one in rule.requirements if one.by != UNSIGNED]
        proofs = [check.prove(requirement) for requirement in needed]
        covers = {proof.covers for proof in proofs}
        signers = dict.fromkeys(signer for proof in proofs for signer in proof.signers)
        return Verified(
            reference, digest, rule.match, max(covers) if covers else None, tuple(signers)
        )


class _Proof(t.NamedTuple):
    covers: str
    signers: t.Sequence[Signer]


class _Check:
    """Verifies one image. Each manifest and each signature is read once."""

    def __init__(
        self,
        medium: Medium,
        reference: Reference,
        digest: Digest,
        rule: str,
        platforms: Platforms,
    ) -> None:
        self._medium = medium
        self._platforms = platforms
        self._reference = reference
        self._digest = digest
        self._rule = rule
        self._readers: dict[tuple[Reference, str | bool], t.Sequence[Reader]] = {}
        self._manifests: dict[Digest, Manifest] = {}

    def prove(self, requirement: Requirement) -> _Proof:
        """Return who signed the image as required; raise SignatureError if that is not proven."""
        tallies: dict[Digest, Tally] = {}
        root = Descriptor("", self._digest, 0)

        def read(descriptor: Descriptor) -> Manifest | None:
            """Return a manifest whose entries must be signed, None if it is signed itself."""
            if requirement.level == PLATFORM and self._manifest(descriptor).children:
                return self._manifest(descriptor)
            tally = tallies.get(descriptor.digest) or self._tally(requirement, descriptor.digest)
            tallies[descriptor.digest] = tally
            if tally.is_met:
                return None
            manifest = self._manifest(descriptor) if requirement.level == ANY else None
            if manifest is None or not manifest.children:
                raise self._failure(tallies.values(), descriptor)
            return manifest

        deepest = 0
        for choose_children in self._choices():
            for node in walk(root, read, choose_children, str(self._reference)):
                deepest = max(deepest, node.depth)
        signers = [one for tally in tallies.values() if tally.is_met for one in tally.signers.values()]  # fmt: skip
        if not signers:
            raise self._failure(tallies.values(), root)
        return _Proof(PLATFORMS if deepest else INDEX, signers)

    def _choices(self) -> t.Iterator[t.Callable[[Manifest], t.Sequence[Descriptor]]]:
        """Yield, for each wanted platform, which entries of an index are followed."""
        if self._platforms is None:
            yield lambda index: index.children
        for platform in self._platforms or ():
            yield lambda index, wanted=platform: [choose(wanted, index.children, str(self._reference))]  # type: ignore[misc]  # fmt: skip

    def _manifest(self, descriptor: Descriptor) -> Manifest:
        """Return a manifest by its digest, as a tag could have moved."""
        digest = descriptor.digest
        if digest != self._digest and not (descriptor.is_index or descriptor.is_manifest):
            raise SignatureMissingError(
                f"{self._reference}: its index lists {digest}, which is neither an image nor signed"
            )
        if digest not in self._manifests:
            source = next(iter(self._medium.sources(self._reference)))
            self._manifests[digest] = source.read_manifest(digest)[1]
        return self._manifests[digest]

    def _tally(self, requirement: Requirement, digest: Digest) -> Tally:
        """Return the tally of a digest; that of the last source if no source has the signatures."""
        for reader in self._readers_of(requirement):
            tally = Tally(requirement, self._reference, digest)
            for found in _found_by(reader, digest, requirement):
                tally.fail(found) if isinstance(found, SignatureError) else tally.add(found)
                if tally.is_met:
                    return tally
        return tally

    def _readers_of(self, requirement: Requirement) -> t.Sequence[Reader]:
        where, gpg = requirement.signatures or self._reference, requirement.gpg
        base = base_of(gpg, where) if gpg else requirement.by == NOTATION
        if (where, base) not in self._readers:
            make = NotationReader if base else SignatureReader
            self._readers[where, base] = (
                [LookasideReader(base, where, self._medium.download)]
                if isinstance(base, str)
                else [make(one) for one in self._medium.sources(where)]
            )
        return self._readers[where, base]

    def _failure(self, tallies: t.Iterable[Tally], descriptor: Descriptor) -> SignatureError:
        failed = [tally for tally in tallies if not tally.is_met]
        causes = [cause for tally in failed for cause in tally.causes()]
        if descriptor.digest != self._digest and not any(one.found for one in failed[-1:]):
            which = descriptor.platform or "an entry of the index"
            causes.append(SignatureMissingError(f"{which} ({descriptor.digest}) is not signed"))
        subject = str(self._reference._replace(digest=self._digest))
        found = sum(tally.found for tally in failed)
        return nearest(subject, self._rule, found, causes, digest=str(self._digest))


def _found_by(
    reader: Reader, digest: Digest, requirement: Requirement
) -> t.Iterable[Evidence | SignatureError]:
    if requirement.attestation and isinstance(reader, SignatureReader):
        return reader.attestations(digest, requirement.attestation.predicate_type)
    return reader.each(digest, requirement.by == IDENTITY)


def read_key(path: str) -> bytes:
    """Return the bytes of a file that a policy names; raise FileNotFoundError or StoreAccessError if that fails."""
    return read_file(path, MAX_FILE)


def registry_verifier(policy: Policy, sources: Registries, workers: int) -> ImageVerifier:
    """Return a verifier of images in registries, for the platforms that its caller gives."""
    return ImageVerifier(policy, RegistryMedium(sources, None), workers)


def plan_image_verify(
    references: t.Sequence[Reference],
    policy: Policy,
    medium: Medium,
    workers: int,
    sources: Registries | None = None,
) -> Plan:
    """Plan to report the verdict on images. The plan never has an action; an image that is not trusted is a failure."""
    verifier = ImageVerifier(policy, medium, workers)
    once = list(dict.fromkeys(references))
    verified = verifier.each(verifier.verify, once)
    kept = {str(one.reference): str(one.digest) for one in verified if verifier.failures}
    return verifier.build(
        before=kept,
        after=kept,
        facts={
            "images": [one.as_result() for one in verified],
            "pinned": [one.pinned for one in verified],
        },
        stats=sources.stats if sources else None,
        warnings=lambda: sources.warnings if sources else (),
    )
