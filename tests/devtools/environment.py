# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The private environment in ``.dev``: virtual environments and the mirrored tree.

Nothing outside ``.dev`` is written, except pip's cache and, as root, Debian packages.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import pathlib
import re
import shutil
import subprocess
import sys
import typing as t
import zipfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
DEV = ROOT / ".dev"
TREE = DEV / "ansible_collections" / "lockstep" / "images"
HOME = DEV / "home"
VENV = DEV / "venv"
REQUIREMENTS = ROOT / "tests" / "requirements"
IN_CI = os.environ.get("CI") == "true"
PYENV = pathlib.Path(os.environ.get("PYENV_ROOT") or pathlib.Path.home() / ".pyenv")
# The tested lines of ansible-core, and the Python that runs each; base.txt pins the releases.
CORES = {"2.16": "3.10", "2.19": "3.11", "2.21": "3.13"}


class DevError(Exception):
    """A command or a part cannot continue; the text is for the developer."""


class Missing(DevError):
    """The machine lacks something that a part needs; the text names it."""


@contextlib.contextmanager
def locked() -> t.Iterator[None]:
    """Allow one process or thread at a time to change ``.dev`` or to install packages."""
    DEV.mkdir(exist_ok=True)
    with open(DEV / "lock", "w", encoding="utf-8") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def search_path() -> str:
    """Return PATH with pyenv's Pythons instead of its shims, which fail for unselected versions."""
    path = os.environ.get("PATH", os.defpath).split(os.pathsep)
    path = [folder for folder in path if folder not in ("", str(PYENV / "shims"))]
    pythons = sorted(str(folder) for folder in PYENV.glob("versions/3.*/bin"))
    return os.pathsep.join([*pythons, *path, os.path.dirname(sys.executable), "/usr/sbin", "/sbin"])


def interpreter(version: str) -> str | None:
    """Return the program of Python VERSION, such as "3.11", or None."""
    return shutil.which(f"python{version}", path=search_path())


PYTHON = "3.11" if interpreter("3.11") else f"3.{sys.version_info[1]}"  # of the main environment


def environ(venv: pathlib.Path = VENV, **variables: str) -> dict[str, str]:
    """Return the environment variables of tools: the programs of VENV first, a private home."""
    left_out = re.compile(r"PYTHON|ANSIBLE_|VIRTUAL_ENV|XDG_\w+_HOME")
    env = {name: text for name, text in os.environ.items() if not left_out.match(name)}
    HOME.mkdir(parents=True, exist_ok=True)
    env.setdefault("LC_ALL", "C.UTF-8")
    env.setdefault("PIP_CACHE_DIR", str(pathlib.Path.home() / ".cache" / "pip"))
    env.update(
        ANSIBLE_COLLECTIONS_PATH=str(DEV),
        ANSIBLE_LOCALHOST_WARNING="false",
        ANSIBLE_NOCOWS="1",
        HOME=str(HOME),
        LOCKSTEP_QUICKSTART=str(DEV / "quickstart"),
        PATH=f"{venv / 'bin'}{os.pathsep}{search_path()}",
        PYTHONUNBUFFERED="1",
        **variables,
    )
    return env


def prepare(*tools: str) -> None:
    """Bring the main environment and the mirrored tree up to date, with TOOLS or without."""
    install("venv", PYTHON, "base", *tools)
    sync()


def install(name: str, version: str, *requirements: str) -> dict[str, str]:
    """Bring ``.dev/NAME``, for Python VERSION, up to date with REQUIREMENTS; return its variables."""
    python = interpreter(version)
    if python is None:
        raise (DevError if IN_CI and PYENV.is_dir() else Missing)(f"no Python {version} here")
    venv = DEV / name
    files = [REQUIREMENTS / f"{file}.txt" for file in requirements]
    pinned = b"\0".join([os.fsencode(python), *(path.read_bytes() for path in files)])
    stamp, wanted = venv / f"{requirements[-1]}.ok", hashlib.sha256(pinned).hexdigest()
    # pip shows its downloads to a person who waits for them.
    quiet = [] if sys.stderr.isatty() else ["-qq"]
    with locked():
        if not stamp.exists() or stamp.read_text(encoding="ascii") != wanted:
            text = f"Installing packages into .dev/{name}. This takes a minute, once."
            print(text, file=sys.stderr, flush=True)
            if not (venv / "pip.ok").exists() or not (venv / "bin" / "python").exists():
                _make(venv, python)
            pip = [venv / "bin" / "python", "-I", "-m", "pip", *quiet, "install"]
            _run(*pip, *(arg for path in files for arg in ("-r", path)))
            stamp.write_text(wanted, encoding="ascii")
        _seed_get_pip(venv)
    return environ(venv)


def _make(venv: pathlib.Path, python: str) -> None:
    """Create VENV, with a pip.

    Debian ships ensurepip apart from venv, and an old pip does not know --python. To install pip
    into a folder with pip works everywhere.
    """
    shutil.rmtree(venv, ignore_errors=True)
    _run(python, "-I", "-m", "venv", "--without-pip", venv)
    site = next((venv / "lib").glob("python3.*/site-packages"))
    pip = [sys.executable, "-m", "pip", "-qq", "install", "--target", site]
    _run(*pip, "-r", REQUIREMENTS / "pip.txt")
    (venv / "pip.ok").touch()


def _run(*command: object) -> None:
    text = [str(word) for word in command]
    print("+", *(word.replace(f"{ROOT}{os.sep}", "") for word in text), file=sys.stderr, flush=True)
    if subprocess.run(text, check=False, stdin=subprocess.DEVNULL).returncode:
        raise DevError(f"failed: {' '.join(text)}")


def packages(profile: str) -> dict[str, str]:
    """Install the packages of PROFILE in bindep.txt, as root, or raise Missing; return environ()."""
    bindep = [f"{VENV}/bin/bindep", "-b", "-f", f"{REQUIREMENTS}/bindep.txt", profile]
    with locked():  # apt-get update does not wait for another one
        done = subprocess.run(bindep, capture_output=True, text=True, check=False)
        missing = done.stdout.split() if shutil.which("dpkg-query") else []
        if missing and os.geteuid() != 0:
            text = f"missing packages (apt-get install {' '.join(missing)})"
            raise DevError(text) if IN_CI else Missing(text)
        if missing:
            _run("sh", "-eu", ROOT / "tests" / "devtools" / "apt.sh", *missing)
    return environ()


COLLECTIONS = ("ansible_collections/community/docker/", "ansible_collections/containers/podman/")


def compose() -> dict[str, str]:
    """Bring the plugin compose of Debian 13, and the collections that manage containers, into ``.dev/compose``.

    Return the variables by which the tests find them; none, with a reason on standard output, if they cannot be fetched.
    """
    home = DEV / "compose"
    pinned = (REQUIREMENTS / "collections.txt").read_text(encoding="utf-8")
    stamp = home / "collections.ok"
    try:
        with locked():
            if not stamp.exists() or stamp.read_text(encoding="utf-8") != pinned:
                shutil.rmtree(home, ignore_errors=True)
                home.mkdir()
                _run("sh", "-eu", ROOT / "tests" / "devtools" / "newer.sh", "docker-compose", home)
                pip = [VENV / "bin" / "python", "-I", "-m", "pip", "-qq", "download", "--no-deps"]
                _run(*pip, "--dest", home, "-r", REQUIREMENTS / "collections.txt")
                (wheel,) = home.glob("ansible-*.whl")
                with zipfile.ZipFile(wheel) as file:
                    names = [name for name in file.namelist() if name.startswith(COLLECTIONS)]
                    file.extractall(home, names)
                wheel.unlink()
                stamp.write_text(pinned, encoding="utf-8")
    except DevError as exc:
        print(f"no tests with compose: {exc}", flush=True)
        return {}
    plugin = home / "usr" / "libexec" / "docker" / "cli-plugins" / "docker-compose"
    return {"LOCKSTEP_TEST_COMPOSE": str(plugin), "LOCKSTEP_TEST_COLLECTIONS": str(home)}


# Each test of `ansible-test sanity` has an environment of its own. They share one installation of a pip.
SHIM = """\
import contextlib, os, pathlib, subprocess, sys, sysconfig
packages = [a for a in sys.argv[1:] if not a.startswith("-")]
shared = pathlib.Path({folder!r}, "-".join(["python%d.%d" % sys.version_info[:2], *packages]))
if not shared.exists():
    made = "%s.%d" % (shared, os.getpid())
    pip = [{python!r}, "-m", "pip", "--python", sys.executable, "install", "-qq"]
    subprocess.check_call([*pip, "--disable-pip-version-check", "--target", made, *packages])
    with contextlib.suppress(OSError):  # another process was faster
        os.rename(made, shared)
pathlib.Path(sysconfig.get_path("purelib"), "shared.pth").write_text("%s\\n" % shared)
"""


def _seed_get_pip(venv: pathlib.Path) -> None:
    """Fill a cache of ansible-test, which otherwise loads an installer of pip from its own host."""
    cache = HOME / ".ansible" / "test" / "cache"
    cache.mkdir(parents=True, exist_ok=True)
    pattern = "lib/python3.*/site-packages/ansible_test/_internal/python_requirements.py"
    for path in venv.glob(pattern):
        for version in re.findall(r"pip='([0-9.]+)'", path.read_text(encoding="utf-8")):
            script = cache / f"get_pip_{version.replace('.', '_')}.py"
            text = SHIM.format(python=str(VENV / "bin" / "python"), folder=str(cache))
            script.write_text(text, encoding="ascii")


def lend(*sessions: str) -> dict[str, str]:
    """Link the main environment to where nox looks for that of a session; return the variables."""
    for folder in (DEV / "nox" / session for session in sessions):
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("bin", "lib", "pyvenv.cfg"):
            with contextlib.suppress(FileExistsError):
                (folder / name).symlink_to(VENV / name)
    return environ(CI="true", NO_COLOR="1", RUFF_NO_CACHE="true")


def sync() -> pathlib.Path:
    """Mirror the checkout to where Ansible looks for collections; return that path.

    The mirror is a git work tree of its own, as ansible-test requires. It has the files that git
    tracks in the checkout, or would track. Only changed files are written.
    """
    repository = DEV / "mirror.git"
    index = environ(GIT_INDEX_FILE=f"{repository}/index-of-checkout")
    git = ["git", f"--git-dir={repository}"]
    with locked():
        if not (TREE / ".git").exists():
            _run("git", "init", "-q", "-b", "main", "--separate-git-dir", repository, TREE)
        subprocess.run([*git, f"--work-tree={ROOT}", "add", "--all", ROOT], env=index, check=True)
        tree = subprocess.check_output([*git, "write-tree"], env=index, text=True).strip()
        for command in (["read-tree", "--reset", "-u", tree], ["clean", "-dffq"]):
            subprocess.run([*git, f"--work-tree={TREE}", *command], cwd=TREE, check=True)
    return TREE
