# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run modules in this process with random, mostly invalid options, and check their results."""

from __future__ import annotations

import codecs
import contextlib
import copy
import importlib
import io
import itertools
import json
import os
import random
import signal
import socket
import sys
import time
import traceback
import typing as t
from pathlib import Path

from ansible.module_utils import basic
from ansible_collections.lockstep.images.plugins.module_utils._registry import client

from .documented import module_options
from .images import demo_image, push
from .registry import Registry
from .users import as_ordinary_user, public_directory

_HOME = "ansible_collections.lockstep.images.plugins.modules."
MODULES = sorted(
    path.stem for path in (Path(__file__).parents[2] / "plugins" / "modules").glob("*.py")
)
_HEX = "0123456789abcdef" * 4
# Seconds after which a case counts as hanging.
_PATIENCE = 120
_USERS = {"robot": "correct-horse-battery"}

TEXTS = (
    *("", " ", "\n", "\0", "a\0b", "a b", "a\nb", "\x1b[31m", "\u202e", "\u2028", "\ufeff", "\\"),
    *("\ud800", "\udcff", "pass\udcffword", "ü", "이미지", "\u0661\u0662", "\uff11\uff12", "²"),
    *("..", "../..", ".", "/..", "a/../b", "~", "$HOME", "-", "--", "a" * 10_000, "a/" * 3_000),
    *("@", "host/repo@", "a@sha256:", f"a@sha256:{_HEX}", f"sha256:{_HEX}", f"sha512:{_HEX}"),
    *(":", "/", "//", ":1", "a:", "a:b:c", "docker://a", "https://", "https://[::1", "http://["),
    *("127.0.0.1:99999999", "127.0.0.1:-1", "127.0.0.1:\u0663", "[::1]:5000", "user:pw@host/a"),
    *("[", "[]", "[1", "{}", '{"a": 1}', "null", "~null", "true", "nan", "inf", "-inf", "1e999"),
    *("-1", "0", "0x10", "1_000", "1,5", "9" * 400, "1Y", "9" * 30 + "Y", "-5M", "%00", "%s", "*"),
    *("(", "(?P<", "a{99999999999999999999}", "\\1", "(?i)", "[z-a]", "zz0any0zz", "linux/", "all"),
    *("linux/amd64/v8/x", "linux(\0)/amd64", "none", "1w", "9999999999w", "latest", "{{ a }}"),
)
NUMBERS = (
    *(0, -1, 1, 2**31, 2**63, 10**400, -(10**400), 0.1, 1e-300, 1e300, -0.5),
    *(float("nan"), float("inf"), float("-inf"), "nan", "inf", "-inf", "1e5", "\u0663", "0.5"),
)


def lock_of(pick: random.Random) -> t.Any:
    """Return a lock as the lookup returns it, with one invalid or unknown value."""
    one = {
        "name": "registry.example/a:1",
        "digest": f"sha256:{_HEX}",
        "media_type": "application/vnd.oci.image.manifest.v1+json",
        "platforms": {
            "linux/amd64": {"manifest": f"sha256:{_HEX}", "config": None, "size": 10},
        },
    }
    part: t.Any = pick.choice([one, one["platforms"], one["platforms"]["linux/amd64"]])  # type: ignore[index]
    part[pick.choice([*part, pick.choice(TEXTS)])] = _anything(pick)
    lock = {"lockfile_version": 1, "images": [one]}
    if pick.random() < 0.3:
        lock[pick.choice([*lock, "manifests"])] = _anything(pick)
    return lock


def _anything(pick: random.Random) -> t.Any:
    text = pick.choice(TEXTS)
    return pick.choice([text, pick.choice(NUMBERS), None, True, [], [text], {}, {text: text}])


def value_for(option: t.Mapping[str, t.Any], pick: random.Random, name: str) -> t.Any:
    """Return a random value for an option, mostly of its type."""
    kind, inner = option.get("type", "str"), option.get("options")
    if name == "lock" and pick.random() < 0.8:
        return lock_of(pick)
    if pick.random() < 0.05:
        return _anything(pick)
    if kind == "list":
        entry = {"type": option.get("elements", "str"), "options": inner}
        return [value_for(entry, pick, "") for _number in range(pick.choice([0, 1, 1, 1, 2]))]
    if kind == "dict":
        if not inner:
            return {pick.choice(TEXTS): _anything(pick)}
        given = [key for key, one in inner.items() if one.get("required") or pick.random() < 0.3]
        return {key: value_for(inner[key], pick, key) for key in given}
    if kind in ("int", "float", "bytes"):
        return pick.choice(NUMBERS if pick.random() < 0.8 else TEXTS)
    if kind == "bool":
        return pick.choice([True, False])
    if option.get("choices") and pick.random() < 0.8:
        return pick.choice(list(option["choices"]))
    return pick.choice(TEXTS)


class Fuzzer:
    """Cases for all modules, the same for each seed. They write to the directory ``place``."""

    def __init__(
        self, seed: int, place: Path, address: str, options: t.Mapping[str, t.Any]
    ) -> None:
        self._pick = random.Random(seed)
        self._place = place
        self._address = address
        self.options = options

    def valid_options(self, module: str) -> dict[str, t.Any]:
        """Return options with which the module succeeds."""
        spec = self.options[module]
        image = f"{self._address}/demo/app:1.0"
        whole = {
            "store": str(self._place / "store"),
            "path": str(self._place / "images.lock.yml"),
            "config_path": str(self._place / "config.json"),
            "name": image,
            "repository": [f"{self._address}/demo/copy"],
            "registry_url": self._address,
            "destination": f"{self._address}/other",
            "username": "robot",
            "password": "correct-horse-battery",
            "lock": {"lockfile_version": 1, "images": []},
            "retries": 0,
            "timeout": 5,
            "plain_http": True,
        }
        params = {name: whole[name] for name in sorted(spec) if name in whole}
        if spec.get("name", {}).get("type") == "list":
            params["name"] = [image]
        return params

    def case(self, module: str) -> dict[str, t.Any]:
        """Return valid options, of which one to three are replaced by random values."""
        spec, params = self.options[module], self.valid_options(module)
        for name in self._pick.sample(sorted(spec), self._pick.choice([1, 1, 2, 3])):
            params[name] = value_for(spec[name], self._pick, name)
        return {**params, "_ansible_check_mode": self._pick.random() < 0.3}


def fault_of(module: str, params: t.Mapping[str, t.Any]) -> str:
    """Run a module. Return a description of what is wrong with its answer, or "".

    A module must answer with JSON, and name the kind of each error.
    """
    stdout, stderr = io.StringIO(), io.StringIO()
    # Set them directly: the controller's own checks of arguments would reject some.
    basic._load_params = lambda: copy.deepcopy(params)
    basic._PARSED_MODULE_ARGS = copy.deepcopy(
        dict(params)
    )  # the real function also sets it since ansible-core 2.21
    basic._ANSIBLE_PROFILE = "legacy"
    signal.alarm(_PATIENCE)
    try:
        with contextlib.redirect_stdout(stdout), contextlib.redirect_stderr(stderr):
            importlib.import_module(_HOME + module).main()
    except SystemExit:
        pass
    except BaseException:
        return traceback.format_exc()
    finally:
        signal.alarm(0)
    try:
        result = json.loads(stdout.getvalue())
    except ValueError:
        return f"no JSON: {stdout.getvalue()[-500:]} {stderr.getvalue()[-2000:]}"
    if "Traceback" in stderr.getvalue():
        return stderr.getvalue()[-3000:]
    if not result.get("failed") or "error" not in result:
        return ""  # success, or an option that Ansible itself rejects
    if result["error"]["kind"] == "missing-dependency":
        return "a library is missing"
    text = result["msg"]
    return "" if text.isprintable() and len(text) < 8_000 else f"not fit for a message: {text!r}"


def _short_sleep(seconds: float) -> None:
    """Sleep for at most 10 ms, but fail where ``time.sleep`` fails."""
    if not 0 <= seconds < 2**33:
        raise OverflowError(f"cannot sleep for {seconds} s")
    time.sleep(min(seconds, 0.01))


def _isolate(place: Path) -> None:
    """Let this process reach only this machine, and let it neither sleep nor hang."""
    real = socket.getaddrinfo

    def lookup(host: t.Any, *args: t.Any, **kwargs: t.Any) -> t.Any:
        if host not in ("127.0.0.1", "::1", "localhost"):
            raise socket.gaierror(socket.EAI_NONAME, "no network here")
        return real(host, *args, **kwargs)

    def late(*_rest: t.Any) -> t.NoReturn:
        raise TimeoutError(f"no answer in {_PATIENCE} s")

    socket.getaddrinfo = lookup
    client.Clock.sleep = staticmethod(_short_sleep)
    signal.signal(signal.SIGALRM, late)
    os.chdir(place)
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "REGISTRY_AUTH_FILE", "DOCKER_CONFIG"):
        os.environ.pop(name, None)
        os.environ.pop(name.lower(), None)


def _import_all() -> None:
    """Import everything now: an ordinary user might not be allowed to read the checkout."""
    home = Path(__file__).parents[2]
    for path in (home / "plugins" / "module_utils").rglob("*.py"):
        name = ".".join(path.relative_to(home).with_suffix("").parts)
        importlib.import_module(f"ansible_collections.lockstep.images.{name}")
    for library in ("yaml", "tomllib" if sys.version_info >= (3, 11) else "tomli"):
        importlib.import_module(library)
    for encoding in ("idna", "unicode_escape", "latin-1", "ascii", "utf-8-sig", "utf-16"):
        codecs.lookup(encoding)


Cases = t.Iterator[tuple[str, dict[str, t.Any]]]


def faults(seed: int, cases: int, monkeypatch: t.Any) -> list[str]:
    """Run ``cases`` random cases of each module; return each fault as a text with its module and its options.

    A seed always has the same cases, also on a slower machine.
    """

    def chosen(fuzzer: Fuzzer) -> Cases:
        for module in itertools.islice(itertools.cycle(MODULES), cases * len(MODULES)):
            yield module, fuzzer.case(module)

    return _faults(seed, chosen, monkeypatch)


def faults_of_null(monkeypatch: t.Any) -> list[str]:
    """Run each module once for each option that is null, which counts as given for Ansible; return the faults."""

    def chosen(fuzzer: Fuzzer) -> Cases:
        for module in MODULES:
            for name in sorted(fuzzer.options[module]):
                yield module, {**fuzzer.valid_options(module), name: None}

    return _faults(0, chosen, monkeypatch)


def _faults(seed: int, cases: t.Callable[[Fuzzer], Cases], monkeypatch: t.Any) -> list[str]:
    options = {module: module_options(module, monkeypatch)["argument_spec"] for module in MODULES}
    with public_directory() as public, Registry(auth="bearer", users=_USERS) as registry:
        push(registry, "demo/app", demo_image("app", "1.0", size=200), "1.0")
        place, first = public / "a" / "b", public / "first"
        place.mkdir(parents=True)
        first.mkdir(mode=0o700)
        for path in (public, public / "a", place):
            path.chmod(0o777)

        def prepare() -> None:
            _isolate(place)
            _import_all()
            valid_options = Fuzzer(seed, first, registry.address, options).valid_options
            for module in MODULES:
                fault_of(module, valid_options(module))

        def work() -> list[str]:
            found = []
            for module, params in cases(Fuzzer(seed, place, registry.address, options)):
                fault = fault_of(module, params)
                if fault:
                    found.append(f"{module} {json.dumps(params)[:2000]}\n{fault}")
            return found

        return as_ordinary_user(work, prepare, HOME=str(place), TMPDIR=str(place))
