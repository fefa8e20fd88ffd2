# SPDX-License-Identifier: GPL-3.0-or-later
"""Sign images: what a key has not signed yet gets a signature, beside those of others."""

from __future__ import annotations

import threading
import typing as t
from dataclasses import dataclass, field

from .._execution import Pool
from .._image import errors
from .._image.manifest import Descriptor, Manifest
from .._image.names import Reference
from .._image.walk import walk
from .._plan import Action, Plan, PlanBuilder
from .._registry.registries import Registries
from .._registry.sink import RemoteSink
from .._registry.target import Uploads
from .._store.files import read_file
from .._store.store import ImageStore
from .._trust.claims import Claim
from .._trust.cosign import MOST_SIGNATURES
from .._trust.errors import InvalidKeyError, SignatureError, SignatureListError
from .._trust.evidence import BUNDLE, COSIGN, Evidence
from .._trust.making import signed_bundle, signed_payload
from .._trust.naming import EXACT
from .._trust.private_key import MAX_KEY, PrivateKey, read_private_key
from .find import find_name, not_in_store
from .signatures import Found, SignatureReader
from .signing import (
    RegistryPlace,
    SigningPlace,
    StorePlace,
    append_signature,
    attach_bundle,
)

BOTH = "both"


class Places(t.NamedTuple):
    """The repositories that a task signs in: ``of`` returns that of a reference, ``fields`` are further fields of the plan."""

    of: t.Callable[[Reference], SigningPlace]
    fields: t.Mapping[str, t.Any]


class Signing(t.NamedTuple):
    """How images are signed: with a key, in these forms, and with these annotations.

    ``recursive`` also signs every manifest in an index. ``is_exact`` states the whole name instead of the repository.
    """

    key: PrivateKey
    forms: tuple[str, ...] = (BUNDLE,)
    annotations: t.Mapping[str, str] = {}
    recursive: bool = False
    is_exact: bool = False

    def stated_name(self, reference: Reference) -> str:
        """Return the name that a signature for an image states."""
        return reference.store_name if self.is_exact else reference.name

    def is_own(self, found: Evidence, subject: Descriptor, name: str) -> bool:
        """Return whether a signature is valid for this subject, and was made with this key, name and annotations."""
        if not self.key.public.verifies(found.signature, found.signed):
            return False
        try:
            claim: Claim = found.claim(subject.digest)
        except SignatureError:
            return False
        stated = claim.annotations
        return claim.reference in (None, name) and all(
            stated.get(key) == value for key, value in self.annotations.items()
        )


@dataclass(frozen=True)
class Sign(Action):
    """Sign a digest in one form; ``needed_by`` are the names of the task that point to it."""

    place: SigningPlace = field(repr=False)
    stated: str
    target: Descriptor
    form: str
    signing: Signing = field(repr=False)
    needed_by: tuple[str, ...] = ()
    is_small = True

    def summary(self) -> dict[str, t.Any]:
        """Return what is signed. A signature differs each time, so it is not shown."""
        return {
            "action": "sign",
            "name": self.stated,
            "digest": str(self.target.digest),
            "form": self.form,
            "signer": self.signing.key.public.fingerprint,
        }

    def apply(self, pool: Pool) -> None:
        """Make the signature, and add it to those of others."""
        key, notes = self.signing.key, self.signing.annotations
        if self.form == COSIGN:
            layer = signed_payload(key, self.stated, self.target.digest, notes)
            append_signature(self.place, self.target.digest, layer)
            return
        manifest, blobs = signed_bundle(key, self.target, notes)
        attach_bundle(self.place, self.target.digest, manifest, blobs)


class _Image(t.NamedTuple):
    """An image to sign: its digest first in ``targets``, and of each target and form whether it is signed already."""

    reference: Reference
    place: SigningPlace
    targets: tuple[Descriptor, ...]
    is_signed: t.Mapping[tuple[Descriptor, str], bool]

    @property
    def name(self) -> str:
        return str(self.reference)

    def shown(self, with_new: bool) -> list[str]:
        """Return the signatures of the key, as the diff shows them."""
        return [
            f"{form} {target.digest}"
            for (target, form), is_signed in self.is_signed.items()
            if is_signed or with_new
        ]

    def as_result(self) -> dict[str, t.Any]:
        return {
            "name": self.name,
            "digest": str(self.targets[0].digest),
            "pinned": str(self.reference._replace(digest=self.targets[0].digest)),
            "status": "up_to_date" if all(self.is_signed.values()) else "signed",
            "signatures": [
                {
                    "digest": str(target.digest),
                    "form": form,
                    "status": "up_to_date" if is_signed else "signed",
                }
                for (target, form), is_signed in self.is_signed.items()
            ],
        }


class _Signer(PlanBuilder):
    """Finds what a key has not signed yet."""

    def __init__(self, signing: Signing, places: Places, workers: int) -> None:
        super().__init__(workers)
        self._signing = signing
        self._places = places

    def look(self, reference: Reference) -> _Image:
        """Read an image and its signatures; the name is resolved once."""
        place = self._places.of(reference)
        source = place.source
        root, top = source.read_manifest(reference.digest or str(reference.tag))
        if root.digest.algorithm != "sha256":
            raise errors.UnsupportedError(
                f"{reference}: has a digest of {root.digest.algorithm}, only sha256 is signed"
            )

        def read(descriptor: Descriptor) -> Manifest:
            return top if descriptor is root else source.read_manifest(descriptor.digest)[1]

        def children(index: Manifest) -> list[Descriptor]:
            listed = index.children if self._signing.recursive else ()
            return [one for one in listed if one.is_index or one.is_manifest]

        targets = tuple(node.descriptor for node in walk(root, read, children, str(reference)))
        reader, name = SignatureReader(source), self._signing.stated_name(reference)
        return _Image(
            reference,
            place,
            targets,
            {
                (target, form): self._is_signed(reader.of_form(form, target.digest), target, name)
                for target in targets
                for form in self._signing.forms
            },
        )

    def _is_signed(self, found: t.Sequence[Found], target: Descriptor, name: str) -> bool:
        """Return whether one of the signatures is our own; raise SignatureListError if no other can be added."""
        for one in found:
            if isinstance(one, SignatureListError):
                raise one
            if isinstance(one, Evidence) and self._signing.is_own(one, target, name):
                return True
        if len(found) >= MOST_SIGNATURES:
            raise SignatureListError(f"{target.digest}: has {len(found)} signatures already")
        return False

    def actions(self, images: t.Sequence[_Image]) -> tuple[Sign, ...]:
        """Return an action for each signature that is missing; images with the same content share it."""
        users: dict[tuple[str, str, Descriptor, str], list[_Image]] = {}
        for image in images:
            stated = self._signing.stated_name(image.reference)
            for (target, form), is_signed in image.is_signed.items():
                if not is_signed:
                    users.setdefault((str(image.place), stated, target, form), []).append(image)
        return tuple(
            Sign(
                found[0].place,
                stated,
                target,
                form,
                self._signing,
                tuple(one.name for one in found),
            )
            for (_place, stated, target, form), found in users.items()
        )


def plan_image_sign(
    references: t.Sequence[Reference],
    signing: Signing,
    places: Places,
    workers: int,
) -> Plan:
    """Plan to sign images in the places that have them."""
    builder = _Signer(signing, places, workers)
    images = builder.each(builder.look, list(dict.fromkeys(references)))
    public = signing.key.public
    return builder.build(
        content=builder.actions(images),
        before={one.name: one.shown(False) for one in images},
        after={one.name: one.shown(True) for one in images},
        facts={
            "images": [one.as_result() for one in images],
            "signer": public.fingerprint,
            "public_key": signing.key.public_pem,
        },
        **places.fields,
    )


def registry_places(registries: Registries) -> Places:
    """Return the repositories in their registries, one object for each."""
    uploads, lock = Uploads(), threading.Lock()
    known: dict[str, RegistryPlace] = {}

    def place_of(reference: Reference) -> SigningPlace:
        with lock:
            if reference.name not in known:
                sink = RemoteSink(registries.origin(reference), uploads)
                known[reference.name] = RegistryPlace(sink)
            return known[reference.name]

    return Places(place_of, {"stats": registries.stats, "warnings": lambda: registries.warnings})


def store_places(store: ImageStore) -> Places:
    """Return the parts of a store; asking for an image that the store lacks raises NotInStoreError."""
    names = store.names()
    known: dict[str, SigningPlace] = {}

    def place_of(reference: Reference) -> SigningPlace:
        if find_name(reference, names) is None:
            raise not_in_store(store, str(reference))
        return known.setdefault(reference.name, StorePlace(store, reference))

    return Places(place_of, {"prepare": store.prepare})


def _forms_of(text: str, is_exact: bool) -> tuple[str, ...]:
    """Return the forms that the option ``form`` means; raise InputError if an exact name is wanted, and none states a name."""
    forms = (COSIGN, BUNDLE) if text == BOTH else (text,)
    if is_exact and COSIGN not in forms:
        raise errors.InputError(
            "signed_as: a bundle states no name", "Set form to cosign or both, or omit signed_as."
        )
    return forms


def _texts_of(annotations: t.Mapping[str, t.Any]) -> dict[str, str]:
    """Return annotations; raise InputError for a value that is not a text."""
    for key, value in annotations.items():
        if not isinstance(value, str):
            raise errors.InputError(
                f"annotations: the value of {errors.printable(str(key), 60)} is not a text",
                "Put the value in quotes.",
            )
    return dict(annotations)


def signing_of(params: t.Mapping[str, t.Any]) -> Signing:
    """Return what the options say of how to sign; raise InvalidKeyError or InputError."""
    is_exact = params["signed_as"] == EXACT
    return Signing(
        _read_key(params["key"], params["passphrase"]),
        _forms_of(params["form"], is_exact),
        _texts_of(params["annotations"] or {}),
        params["recursive"],
        is_exact,
    )


def _read_key(key: t.Mapping[str, str | None], passphrase: str | None) -> PrivateKey:
    """Return the private key in the ``text`` or in the file ``path``; raise InvalidKeyError if it cannot be used."""
    path, text = key.get("path"), key.get("text")
    if not path:
        return read_private_key(str(text).encode("utf-8"), passphrase, "key")
    try:
        data = read_file(path, MAX_KEY)
    except FileNotFoundError:
        raise InvalidKeyError(f"key: {path} does not exist") from None
    except errors.LockstepError as exc:
        raise InvalidKeyError(f"key: {exc}", exc.hint) from exc
    return read_private_key(data, passphrase, f"key: {path}")
