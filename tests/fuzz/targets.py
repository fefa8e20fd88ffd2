# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The parsers of foreign input, each as a function of bytes, for ``./dev fuzz`` and for the unit tests.

A parser may return, or raise a LockstepError whose text fits a terminal. Anything else is a fault. A target also states
what must hold for a value that was accepted, such as that its text is read as the same value again.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import io
import json
import os
import re
import tempfile
import typing as t
import unicodedata
from pathlib import Path

from ansible_collections.lockstep.images.plugins.module_utils._archive.contents import ImageArchive
from ansible_collections.lockstep.images.plugins.module_utils._archive.media import open_media
from ansible_collections.lockstep.images.plugins.module_utils._archive.sums import Sums
from ansible_collections.lockstep.images.plugins.module_utils._build.dockerfile import Dockerfile
from ansible_collections.lockstep.images.plugins.module_utils._build.patterns import (
    Ignore,
    PatternError,
)
from ansible_collections.lockstep.images.plugins.module_utils._build.words import (
    WordError,
    expand,
    pairs_of,
)
from ansible_collections.lockstep.images.plugins.module_utils._image.dates import Moment
from ansible_collections.lockstep.images.plugins.module_utils._image.errors import LockstepError
from ansible_collections.lockstep.images.plugins.module_utils._image.lock import Lock
from ansible_collections.lockstep.images.plugins.module_utils._image.manifest import (
    Descriptor,
    ImageConfig,
    Manifest,
)
from ansible_collections.lockstep.images.plugins.module_utils._image.names import (
    Digest,
    Platform,
    Reference,
    parse_registry,
)
from ansible_collections.lockstep.images.plugins.module_utils._lockfile.imagelists import (
    Source,
    read_source,
)
from ansible_collections.lockstep.images.plugins.module_utils._lockfile.lockfile import (
    images_of_images_lock,
    is_images_lock,
    read_lock,
    render_images_lock,
    render_lock,
    with_places,
)
from ansible_collections.lockstep.images.plugins.module_utils._lockfile.yamlfile import (
    load_documents,
    load_strict,
)
from ansible_collections.lockstep.images.plugins.module_utils._operations.locked_verdicts import (
    require_verdicts,
)
from ansible_collections.lockstep.images.plugins.module_utils._registry.challenge import (
    Authorizer,
    choose_challenge,
    parse_challenges,
    parse_token,
    token_requests,
)
from ansible_collections.lockstep.images.plugins.module_utils._registry.credentials import (
    Credentials,
)
from ansible_collections.lockstep.images.plugins.module_utils._registry.hostfiles import HostFiles
from ansible_collections.lockstep.images.plugins.module_utils._registry.loginfiles import (
    AuthFile,
    AuthPlace,
)
from ansible_collections.lockstep.images.plugins.module_utils._registry.mirrors import Endpoint
from ansible_collections.lockstep.images.plugins.module_utils._registry.pacing import Clock
from ansible_collections.lockstep.images.plugins.module_utils._registry.urls import (
    content_range,
    is_same_host,
    may_get_credentials,
    next_page,
    own_url,
    rate_limit,
    redirect_target,
    retry_after,
    warning_text,
)
from ansible_collections.lockstep.images.plugins.module_utils._rootfs.reader import EntryReader
from ansible_collections.lockstep.images.plugins.module_utils._rootfs.stream import LayerStream
from ansible_collections.lockstep.images.plugins.module_utils._store.files import read_file
from ansible_collections.lockstep.images.plugins.module_utils._store.partial import (
    journal_of,
    open_partial,
    part_path,
    read_journal,
    staged_bytes,
)
from ansible_collections.lockstep.images.plugins.module_utils._store.reader import (
    REF_NAME,
    StoreReader,
    render_names,
)
from ansible_collections.lockstep.images.plugins.module_utils._store.receive import MAGIC, answer_to
from ansible_collections.lockstep.images.plugins.module_utils._trust import cbor, der
from ansible_collections.lockstep.images.plugins.module_utils._trust.bundle import bundle_evidence
from ansible_collections.lockstep.images.plugins.module_utils._trust.certificates import Certificate
from ansible_collections.lockstep.images.plugins.module_utils._trust.claims import statement_claim
from ansible_collections.lockstep.images.plugins.module_utils._trust.notation import (
    COSE,
    JWS,
    envelope_evidence,
    payload_claim,
)
from ansible_collections.lockstep.images.plugins.module_utils._trust.openpgp import (
    keyring_of,
    packets_of,
)
from ansible_collections.lockstep.images.plugins.module_utils._trust.policy import parse_policy

from ..support import archives, notation, tarballs
from ..support.images import image, layer

FOUND = Path(__file__).with_name("found")
"""Inputs that once were faults, in a directory for each target."""
PLUGINS = Path(__file__).parents[2] / "plugins"

_DIGEST = b"sha256:" + b"0123456789abcdef" * 4
_OCI = "application/vnd.oci.image"
_READERS = "composefile dockerfile imagelists kustomize mentions objects quadlet yamlfile".split()
_REFERENCE = Reference.parse("registry.example/team/app:1")


class Target(t.NamedTuple):
    """A parser: ``parse`` takes bytes. ``seeds`` are inputs to begin with; ``files`` below plugins/ have its code.

    ``runs`` is how many inputs ``--repeatable`` gives it. Together, they take about two minutes.
    """

    parse: t.Callable[[bytes], object]
    seeds: tuple[bytes, ...]
    files: tuple[str, ...]
    runs: int = 10_000


def check(target: Target, data: bytes) -> None:
    """Raise what a parser must not raise; AssertionError for a promise that it breaks."""
    with _refusal():
        target.parse(data)


@contextlib.contextmanager
def _refusal() -> t.Iterator[None]:
    """Accept an error of ours, if a terminal can show its text."""
    try:
        yield
    except LockstepError as exc:
        strange = [
            char for char in f"{exc} {exc.hint}" if unicodedata.category(char) in ("Cc", "Cs")
        ]
        assert not strange, f"{exc!r} has {strange}"


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


@functools.cache
def _scratch() -> Path:
    """Return the directory of this process for parsers that read files, in memory where possible."""
    memory = "/dev/shm"
    return Path(tempfile.mkdtemp(prefix="fuzz-", dir=memory if os.path.isdir(memory) else None))


def _file(name: str, data: bytes) -> Path:
    path = _scratch() / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def _references(data: bytes) -> None:
    text = _text(data)
    with _refusal():
        reference = Reference.parse(text)
        assert Reference.parse(str(reference)) == reference, text
    with _refusal():
        assert str(Digest.parse(text)) == text
    with _refusal():
        platform = Platform.parse(text)
        assert Platform.parse(str(platform)) == platform, text
    with _refusal():
        registry = parse_registry(text)
        assert parse_registry(registry) == registry, text
    moment = Moment.parse(text)
    assert moment is None or moment == Moment.parse(text)


def _manifests(data: bytes) -> None:
    for media_type in ("", f"{_OCI}.manifest.v1+json", f"{_OCI}.index.v1+json"):
        with _refusal():
            manifest = Manifest.parse(data, media_type, "app:1")
            assert all(blob.size >= 0 for blob in manifest.blobs)
            assert all(str(one.platform) for one in manifest.children)
    with _refusal():
        assert str(ImageConfig.parse(data, "app:1").platform)


def _auth_files(data: bytes) -> None:
    for name in ("config.json", "auth.json", ".dockercfg"):
        with _refusal():
            place = AuthPlace(str(_file(name, data)), legacy=name == ".dockercfg")
            login = AuthFile.load(place).find("registry.example", "team/app")
            assert login is None or not re.search("[\r\n]", login.basic)


class _TokenServer:
    """The client of an Authorizer: a server that answers every request with ``data``, and gets logins only on its own host."""

    def __init__(self, data: bytes, host: str) -> None:
        self.clock, self._data, self._host = Clock(), data, host

    def request(self, method: str, url: str, headers: t.Any, **more: t.Any) -> t.Any:
        assert "\n" not in url and method in ("GET", "POST")
        if headers or _LOGIN.password in str(more.get("body")):
            assert may_get_credentials(url, self._host), url
        return self

    status = 200

    def trust_of(self, _url: str) -> None:
        """No host has a trust of its own."""

    def read(self, _limit: int, _what: str) -> bytes:
        return self._data


def _challenges(data: bytes) -> None:
    lines = _text(data).split("\n")
    with _refusal():
        base = "https://registry.example"
        server: t.Any = _TokenServer(data.rpartition(b"\n")[2], base)
        authorizer = Authorizer(server, "registry.example", base, lambda _repository: _LOGIN)
        offered, header = parse_challenges(lines), ""
        for attempt in (1, 2, 3):
            header = authorizer.answer(offered, "team/app", header, attempt)
            assert header.isprintable() and header == authorizer.header("team/app")
            assert _LOGIN.password not in authorizer.redact(f"{_LOGIN.password} {header}")
        authorizer.login_sent()
    with _refusal():
        challenge = choose_challenge(parse_challenges(lines), "app:1")
        if challenge.scheme == "bearer":
            for request in token_requests(challenge, ["repository:team/app:pull"], None):
                assert "\n" not in request.url and "#" not in request.url
    with _refusal():
        token = parse_token(data, "app:1")
        assert token.lifetime > 0 and token.value.isascii() and token.value.isprintable()


def _headers(data: bytes) -> None:
    text, url = _text(data), "https://registry.example/v2/team/app/tags/list"
    seconds = retry_after(text, 1_800_000_000.0)
    assert seconds is None or seconds >= 0
    span = content_range(text)
    assert span is None or span[0] >= 0
    rate_limit(text, text)
    warning_text(text)
    with _refusal():
        page = next_page([text], url)
        assert page is None or is_same_host(page, url)
    own = own_url(text, url)
    assert not own or is_same_host(own, url)
    with _refusal():
        assert redirect_target([text], url, url).startswith("https://")


def _endpoint(registry: str) -> Endpoint:
    return Endpoint(registry)


def _host_file(name: str, data: bytes) -> None:
    path = _file(f"root/etc/{name}", data)
    try:
        places = HostFiles({}, str(_scratch() / "home"), str(_scratch() / "root")).places(
            _REFERENCE, _endpoint
        )
        assert places and all("/" not in place.endpoint.host for place in places)
    finally:
        path.unlink()


def _lock_files(data: bytes) -> None:
    with _refusal():
        load_documents(data, "images.lock")
    _file(f"locks/images.lock.d/{_CONFIG_DIGEST}", _CONFIG)
    with _refusal():
        read_lock(str(_file("locks/images.lock.yml", data)), "images.lock")
    for document in load_strict(data, "images.lock"):
        with _refusal():
            if is_images_lock(document):
                assert all("@" in name for name, _at in images_of_images_lock(document, "lock"))
        with _refusal():
            Lock.parse(with_places(document, "images.lock"), verified=True)
        with _refusal():
            lock = Lock.parse(with_places(document, "images.lock"))
            require_verdicts(lock.images)
            for one in lock.images:
                assert lock.image(Reference.parse(one.name)) == one
            assert load_strict(render_images_lock(lock.images), "images.lock")
            again = load_strict(render_lock(lock.images), "images.lock")[0]
            assert Lock.parse(with_places(again, "images.lock")).images == lock.images


def _image_lists(data: bytes) -> None:
    for name in ("images.yml", "compose.yaml", "kustomization.yaml", "app.container", "Dockerfile"):
        with _refusal():
            for named in read_source(Source(str(_file(f"lists/{name}", data)))).named:
                assert named


def _summed(data: bytes) -> bytes:
    """Return an archive whose headers have right checksums, which random changes break."""
    whole = bytearray(data)
    for at in range(0, len(whole) - 511, 512):
        if whole[at + 257 : at + 262] == b"ustar":
            whole[at + 148 : at + 156] = b" " * 8
            whole[at + 148 : at + 156] = b"%06o\0 " % sum(whole[at : at + 512])
    return bytes(whole)


def _layers(data: bytes) -> None:
    stream = LayerStream(iter([_summed(data)]))
    for number, entry in enumerate(EntryReader(stream, "layer 1", 100, 1 << 20)):
        assert entry.size >= 0 and number < 100
        assert sum(map(len, entry.content(stream))) <= entry.size
        assert b"\0" not in entry.name


def _archives(data: bytes) -> None:
    with open_media(str(_file("archive.tar", _summed(data)))) as media:
        ImageArchive(media)
    Sums.parse(data, "archive.tar.sums")


def _stores(data: bytes) -> None:
    store = _scratch() / "store"
    layout = b'{"imageLayoutVersion": "1.0.0"}'
    for files in ((_INDEX, data), (data, layout)):
        for name, content in zip(("index.json", "oci-layout"), files):
            _file(f"store/{name}", content)
        with _refusal(), StoreReader(str(store)).hold() as held:
            _read_all(held)
    for first, end in read_journal(str(_file("journal", data)), 1000):
        assert 0 <= first < end <= 1000
    _resume(data)


def _read_all(held: StoreReader) -> None:
    """Read the names of a store. Its canonical form has the same fingerprint."""
    fingerprint = held.fingerprint()
    assert fingerprint.startswith("sha256:") and len(held.labelled()) <= len(held.entries())
    names, valid = held.names(), {}
    for name in names:
        with _refusal():
            valid[name] = names[name]
            assert not held.has(valid[name].target)
            assert held.manifest(valid[name].target.digest) is None
    assert held.staging() == {"blobs": 0, "bytes": 0}
    again = {one["annotations"][REF_NAME] for one in json.loads(render_names(valid))["manifests"]}
    assert again == set(valid)


def _resume(data: bytes) -> None:
    """Resume a blob whose journal is ``data`` and whose bytes are of any age: only the right bytes become the blob."""
    whole = bytes(range(250)) * 4
    blob = Descriptor("", Digest.of(whole), len(whole))
    path, staging = _scratch() / "blob", _scratch()
    part = Path(part_path(str(staging), blob.digest))
    part.write_bytes(whole if len(data) % 2 else data[:2000])
    Path(journal_of(str(part))).write_bytes(data)
    assert 0 <= staged_bytes(str(part), blob.size) <= blob.size
    for _attempt in range(2):
        with (
            contextlib.suppress(LockstepError),
            open_partial(str(path), str(staging), blob, 0.0) as staged,
        ):
            for first, end in staged.missing() if staged else ():
                staged.write(first, whole[first:end])
            if staged:
                staged.finish()
    assert path.read_bytes() == whole
    path.unlink()


def _messages(data: bytes) -> None:
    """The content from the controller: an answer comes for everything that is received.

    A request at random must not write, as it can name any directory: only the pieces after a good one do.
    """
    with contextlib.suppress(ValueError, RecursionError):
        request = json.loads(data)
        line = json.dumps({**request, "do": "ask"} if isinstance(request, dict) else request)
        json.dumps(answer_to(io.BytesIO(MAGIC + line.encode() + b"\n")))
    good = {
        "do": "take",
        "store": str(_scratch() / "received"),
        "blobs": [[_DIGEST.decode(), 3]] * 2,
    }
    json.dumps(answer_to(io.BytesIO(MAGIC + json.dumps(good).encode() + b"\n" + data)))


def _bundles(data: bytes) -> None:
    with _refusal():
        bundle_evidence(data, "", "bundle").claim(_SUBJECT.digest)
    with _refusal():
        statement_claim(data, _SUBJECT.digest, "statement")
    with _refusal():
        payload_claim(data, _SUBJECT, _SUBJECT.digest, "payload")
    # The parts of an envelope are encoded, so that random changes would break them.
    parts = {"payload": "e30", "signature": "AA", "header": {"x5c": ["AA=="]}}
    protected = json.dumps({**parts, "protected": notation.url64(data)}).encode()
    packed = notation.cbor(notation.Tag(18, [data, {33: [b"0"]}, b"{}", b"s"]))
    for raw, media_type in ((data, JWS), (data, COSE), (protected, JWS), (packed, COSE)):
        with _refusal():
            layer = Descriptor(media_type, Digest.of(raw), len(raw))
            evidence = envelope_evidence(raw, layer, _SUBJECT, "envelope")
            evidence.claim(_SUBJECT.digest)


def _binary(data: bytes) -> None:
    with _refusal():
        cbor.decode(data, "envelope")
    with _refusal():
        nodes = der.read_all(data)
        while nodes:
            with _refusal():
                nodes += nodes.pop().children()
    with _refusal():
        assert Certificate.parse(data, "certificate").period
    for read in (packets_of, keyring_of):
        with contextlib.suppress(ValueError):
            read(data)


def _policies(data: bytes) -> None:
    parse_policy(data.decode("utf-8", "replace"), lambda _path: read_file("/dev/null", 1))


def _dockerfiles(data: bytes) -> None:
    text = data.decode("utf-8", "replace")
    with _refusal():
        Dockerfile(text, "Dockerfile", {"A": "b"}, Platform("linux", "amd64", ""))
    with contextlib.suppress(WordError):
        expand(text, {"A": "b"})
    with contextlib.suppress(WordError):
        pairs_of(text)
    with contextlib.suppress(PatternError):
        ignore = Ignore(data)
        assert ignore.is_excluded(b"src/app/main.py") in (True, False)


_MANIFEST = (
    b'{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":'
    b'"application/vnd.oci.image.config.v1+json","digest":"%(d)b","size":2,"data":"e30="},"layers":[{"mediaType":'
    b'"application/vnd.oci.image.layer.v1.tar+gzip","digest":"%(d)b","size":3,"urls":["https://a.example/b"]}],'
    b'"subject":{"mediaType":"a/b","digest":"%(d)b","size":1},"annotations":{"a":"b"}}'
) % {b"d": _DIGEST}
_INDEX = (
    b'{"schemaVersion":2,"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"%b",'
    b'"size":7,"platform":{"os":"linux","architecture":"arm","variant":"v7"},"annotations":'
    b'{"org.opencontainers.image.ref.name":"registry.example/a:1"}}]}'
) % _DIGEST
_CONFIG = (
    b'{"os":"linux","architecture":"amd64","config":{"Env":["A=b"],"User":"app"},"history":[{"empty_layer":true}],'
    b'"rootfs":{"type":"layers","diff_ids":["%b"]},"created":"2026-01-02T03:04:05.678Z"}'
) % _DIGEST
_LOCK = b"""---
lockfile_version: 1
images:
  - name: registry.example/team/app:1
    digest: %(d)b
    media_type: application/vnd.oci.image.index.v1+json
    platforms:
      linux/amd64:
        manifest: %(d)b
        config: %(d)b
        size: 10
""" % {b"d": _DIGEST}
_CONFIG_DIGEST = hashlib.sha256(_CONFIG).hexdigest()
_VERIFIED = (
    b"""    verified:
      by: key sha256:0123
      covers: index
      digest: %b
      policy: sha256:4567
      rule: "*"
"""
    % _DIGEST
)
_IMAGES_LOCK = (
    b"""---
apiVersion: imgpkg.carvel.dev/v1alpha1
kind: ImagesLock
images:
- image: registry.example/team/app@%b
  annotations:
    kbld.carvel.dev/id: registry.example/team/app:1
"""
    % _DIGEST
)
_SUBJECT = Descriptor(f"{_OCI}.manifest.v1+json", Digest.parse(_DIGEST.decode()), 10)
_LOGIN = Credentials("robot", "correct-horse-battery")
_LISTS = (
    b"services:\n  web:\n    image: nginx:1\n    platform: linux/amd64\n  api:\n    build: {context: ., dockerfile: D}\n",
    b"kind: Pod\nspec:\n  containers:\n    - &a {name: a, image: 'busybox:1'}\n    - *a\n---\nimages: [{newTag: '2', name: b}]\n",
    b"[Container]\nImage=registry.example/a:1\nPodmanArgs=--platform linux/arm64\n",
    b'{"image": "a:1", "images": ["b:2", {"repository": "c", "tag": 3}]}',
)
_JWS = b'{"payload":"e30","protected":"eyJhbGciOiJQUzI1NiJ9","header":{"x5c":["AA=="]},"signature":"AA"}'
_CHAIN = notation.chain()
_PAYLOAD = notation.payload(str(_SUBJECT.digest), _SUBJECT.size, _SUBJECT.media_type)
_ENVELOPES = (
    notation.jws(_PAYLOAD, _CHAIN),
    notation.cose(_PAYLOAD, _CHAIN),
    _PAYLOAD,
    json.dumps(
        {"alg": "ES256", **notation.headers(), notation.TIME: "2026-01-02T03:04:05Z"}
    ).encode(),
    notation.cbor(
        {1: -7, 2: [notation.SCHEME], 3: notation.PAYLOAD, notation.SCHEME: "notary.x509"}
    ),
)
_IMAGE = image([layer({"a": b"b"})])
_TAR = (
    tarballs.archive(
        tarballs.directory("etc"),
        tarballs.pax({"path": "etc/long", "SCHILY.xattr.user.a": "b", "mtime": "1.5"}),
        tarballs.entry("etc/x", b"data"),
        tarballs.gnu_long("etc/" + "n" * 120),
        tarballs.entry("etc/n", b"more"),
        tarballs.symlink("etc/l", "x"),
        tarballs.hardlink("etc/h", "etc/x"),
        tarballs.entry("etc/.wh.gone"),
    ),
)

_SPARSE = (
    tarballs.pax(
        {"GNU.sparse.map": "1,2,9,1", "GNU.sparse.numblocks": "2", "GNU.sparse.size": "20"}
    )
    + tarballs.entry("f", b"123"),
    tarballs.pax({"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": "99"})
    + tarballs.entry("f", b"2\n3\n4\n50\n5\n".ljust(512, b"\0") + b"123456789"),
)

TARGETS = {
    "references": Target(
        _references,
        (
            b"registry.example:5000/team/app:1.2@" + _DIGEST,
            b"[::1]:5000/a/b",
            b"linux/arm/v7",
            b"windows(10\xa4)/amd64",
            b"2026-01-02T03:04:05.678+09:00",
        ),
        ("_image/names.py", "_image/dates.py"),
    ),
    "manifests": Target(_manifests, (_MANIFEST, _INDEX, _CONFIG), ("_image/manifest.py",)),
    "auth-files": Target(
        _auth_files,
        (
            b'{"auths":{"registry.example":{"auth":"dTpw","identitytoken":"t"},"https://registry.example/v1/":{}}}',
            b'{"credHelpers":{"registry.example":"missing"},"credsStore":"none","auths":{"registry.example/team":{"auth":"dTpw"}}}',
            b'{"registry.example":{"username":"u","password":"p","registrytoken":"r"}}',
        ),
        ("_registry/loginfiles.py",),
    ),
    "challenges": Target(
        _challenges,
        (
            b'Bearer realm="https://auth.example/token?a=b#c",service="s",scope="repository:a/b:pull"\nBasic realm=x',
            b'Bearer realm="https://registry.example/token",error="insufficient_scope",scope="repository:team/app:push"\n{"token":"abcdef"}',
            b'{"token":"abc","expires_in":300,"issued_at":"2026-01-02T03:04:05Z","access_token":"d"}',
        ),
        ("_registry/challenge.py",),
    ),
    "headers": Target(
        _headers,
        (
            b'</v2/a/tags/list?n=1&last=b>; rel="next"',
            b"https://registry.example:443/v2/team/app/blobs/uploads/1?_state=a%2f",
            b"bytes 0-9/10",
            b"100;w=21600",
            b"Wed, 21 Oct 2026 07:28:00 GMT",
            b'299 - "a \\"quoted\\" text"',
        ),
        ("_registry/urls.py",),
    ),
    "hosts.toml": Target(
        functools.partial(_host_file, "containerd/certs.d/registry.example/hosts.toml"),
        (
            b'server="https://registry.example"\n[host."https://mirror.example:5000/v2/a"]\ncapabilities=["pull","resolve"]\n'
            b'override_path=true\nskip_verify=true\nca=["a.pem"]\nclient=[["a.pem","b.pem"]]\n[host."http://b".header]\nx=["y"]\n',
        ),
        ("_registry/hostfiles.py",),
    ),
    "registries.conf": Target(
        functools.partial(_host_file, "containers/registries.conf"),
        (
            b'unqualified-search-registries=["a.example"]\n[[registry]]\nprefix="*.example"\nlocation="registry.example/team"\n'
            b'[[registry.mirror]]\nlocation="mirror.example"\npull-from-mirror="digest-only"\ninsecure=true\n',
            b'[[registry]]\nlocation="registry.example"\nblocked=true\nmirror-by-digest-only=true\n',
            b"[registries.search]\nregistries=['a']\n[aliases]\n'a'='b.example/a'\n",
        ),
        ("_registry/hostfiles.py",),
    ),
    "lock-files": Target(
        _lock_files,
        (
            _LOCK,
            _LOCK + _VERIFIED,
            _IMAGES_LOCK,
            b'{"lockfile_version": 1, "images": [{"name": "a", "line": 1e3}]}',
            b"a: &a {b: 1}\nc: {<<: *a}\nd: [!!binary aGk=, 2026-01-02, 0x1f, .inf, ~]\n--- |\n text\n",
        ),
        ("_image/lock.py", "_lockfile/lockfile.py", "_lockfile/yamlfile.py"),
        runs=4_000,
    ),
    "image-lists": Target(
        _image_lists,
        (*_LISTS, b"ARG V=1\nFROM a:$V AS b\nCOPY --from=c:1 /a /b\n"),
        tuple(f"_lockfile/{name}.py" for name in _READERS),
        runs=2_000,
    ),
    "layers": Target(
        _layers,
        (*_TAR, *map(tarballs.archive, _SPARSE)),
        ("_rootfs/reader.py", "_rootfs/sparse.py", "_archive/header.py"),
    ),
    "archives": Target(
        _archives,
        (
            *_TAR,
            archives.oci_archive({"registry.example/a:1": _IMAGE}),
            archives.docker_archive(["registry.example/a:1"], _IMAGE),
            b"%b  archive.tar.000\n" % _DIGEST[7:],
        ),
        ("_archive/members.py", "_archive/contents.py", "_archive/sums.py", "_archive/header.py"),
    ),
    "stores": Target(
        _stores, (_INDEX, b"0 10\n5 20\n30 40\n"), ("_store/reader.py", "_store/partial.py")
    ),
    "messages": Target(
        _messages,
        (
            b"0 0 3\nabc1 1 1\ndend\n",
            b'{"do":"ask","store":"/nonexistent","blobs":[["%b",3]]}' % _DIGEST,
        ),
        ("_store/receive.py",),
    ),
    "bundles": Target(
        _bundles,
        (
            b'{"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json","verificationMaterial":{"publicKey":{"hint":"a"},'
            b'"tlogEntries":[]},"dsseEnvelope":{"payload":"e30=","payloadType":"application/vnd.in-toto+json",'
            b'"signatures":[{"sig":"AA==","keyid":""}]}}',
            b'{"mediaType":"application/vnd.dev.sigstore.bundle+json;version=0.2","verificationMaterial":{"certificate":'
            b'{"rawBytes":"MAA="}},"messageSignature":{"messageDigest":{"algorithm":"SHA2_256","digest":"AA=="},"signature":"AA=="}}',
            _JWS,
            *_ENVELOPES,
            b'{"mediaType":"application/vnd.dev.sigstore.bundle+json;version=0.1","verificationMaterial":{"x509CertificateChain":'
            b'{"certificates":[{"rawBytes":"MAA="},{"rawBytes":"MAA="}]},"tlogEntries":[{"logIndex":"1"}],"timestampVerificationData":'
            b'{"rfc3161Timestamps":[{"signedTimestamp":"MAA="}]}},"messageSignature":{"signature":"AA=="}}',
            b'{"_type":"https://in-toto.io/Statement/v1","predicateType":"https://sigstore.dev/cosign/sign/v1","predicate":{},'
            b'"subject":[{"digest":{"sha256":"%b"},"annotations":{"a":"b"}}]}' % _DIGEST[7:],
            b"\xd2\x84\x43\xa1\x01\x26\xa0\x42{}\x41\x00",
        ),
        ("_trust/bundle.py", "_trust/notation.py", "_trust/strict.py"),
    ),
    "cbor-der-openpgp": Target(
        _binary,
        (
            b"\xd2\x84\x43\xa1\x01\x26\xa1\x18\x21\x81\x41\x00\x42{}\xf6",
            b"\x30\x0a\x02\x01\x01\x30\x05\x06\x03\x2a\x03\x04",
            b"\x99\x00\x02\x04\x01\xc6\x03\x04\x01\x02",
        ),
        ("_trust/cbor.py", "_trust/der.py", "_trust/openpgp.py", "_trust/certificates.py"),
    ),
    "policies": Target(
        _policies,
        (
            b'[{"match":"registry.example/team","keys":["/k"],"count":1,"annotations":{"a":"b"}},{"match":"*","accept":"unsigned"}]',
            b'{"default":[{"type":"reject"}],"transports":{"docker":{"a.example":[{"type":"signedBy","keyType":"GPGKeys",'
            b'"keyPath":"/k","signedIdentity":{"type":"matchRepoDigestOrExact"}}]}}}',
            b'[{"match":"a","identities":[{"issuer":"i","subject_regex":"^b$"}],"trusted_root":"/r","log":false}]',
        ),
        ("_trust/policy.py", "_trust/containers_policy.py"),
    ),
    "dockerfiles": Target(
        _dockerfiles,
        (
            b"# syntax=docker/dockerfile:1\n# escape=`\nARG V=1\nFROM --platform=$TARGETPLATFORM a:${V:-2} AS b\n"
            b'COPY --from=b --chown=1:2 ["a", "c"]\nENV A=b C="d e"\nRUN <<EOF\nx\nEOF\n'
            b"HEALTHCHECK --interval=5s CMD x\n",
            b"*.log\n!a/**/b?[a-z]\n# c\nsrc\n",
            b"${A:+x}'$A'\"$B\"\\$",
        ),
        ("_build/dockerfile.py", "_build/words.py", "_build/patterns.py", "_image/instructions.py"),
    ),
}
