# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The private environment in ``.dev``: interpreters, virtual environments, the mirrored tree.

Nothing outside ``.dev`` is written, except pip's own cache and, by :mod:`devtools.system`,
Debian packages.
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

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
DEV = ROOT / ".dev"
TREE = DEV / "ansible_collections" / "lockstep" / "images"
HOME = DEV / "home"
VENV = DEV / "venv"
QUICKSTART = DEV / "quickstart"  # what ./dev quickstart makes
REQUIREMENTS = ROOT / "tests" / "requirements"
# What each requirement file is for, as a person reads it.
SHOWN = {
    "base": "ansible-core and requests",
    "tools": "the linters and test tools",
    "unit-oldest": "the oldest supported requests",
}
PREFERRED_PYTHON = "3.11"  # of the main environment; the Python of ./dev itself where it is missing

# In the mirrored tree, but made there by tools: never removed by sync().
KEPT = (".ansible", ".mypy_cache", ".pytest_cache", ".ruff_cache", "tests/output")
# Not mirrored where git cannot tell what belongs to the collection.
NOT_OURS = (
    ".ansible",
    ".dev",
    ".git",
    ".mypy_cache",
    ".nox",
    ".pytest_cache",
    ".ruff_cache",
    ".venv",
)


class DevError(Exception):
    """A command cannot go on; the text is for the person who runs it."""


@contextlib.contextmanager
def locked():
    """Let one process at a time change ``.dev``."""
    DEV.mkdir(exist_ok=True)
    with open(DEV / "lock", "w", encoding="utf-8") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _pyenv():
    return pathlib.Path(os.environ.get("PYENV_ROOT") or pathlib.Path.home() / ".pyenv")


def has_pyenv():
    """Say whether pyenv manages Pythons here; then all of the test matrix is expected."""
    return (_pyenv() / "versions").is_dir()


def _search_path():
    """Return PATH with pyenv's interpreters in place of its shims.

    The shims answer for versions that are not selected, and then fail.
    """
    pyenv = _pyenv()
    path = [p for p in os.environ.get("PATH", os.defpath).split(os.pathsep) if p]
    path = [p for p in path if pathlib.Path(p) != pyenv / "shims"]
    for sbin in ("/usr/sbin", "/sbin"):
        if sbin not in path:
            path.append(sbin)
    return sorted(str(p) for p in pyenv.glob("versions/3.*/bin")) + path


def interpreters():
    """Return ``{"3.11": path, ...}`` of the Pythons that can be run here."""
    found = {}
    for folder in _search_path():
        for path in sorted(pathlib.Path(folder).glob("python3.*")):
            match = re.fullmatch(r"python(3\.\d+)", path.name)
            if match and match.group(1) not in found and os.access(path, os.X_OK):
                found[match.group(1)] = str(path)
    found.setdefault(f"3.{sys.version_info[1]}", sys.executable)
    return found


def environ(venv=VENV, private_home=True):
    """Return the environment in which tools run: ours first, pyenv's shims left out."""
    env = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "ANSIBLE_"))}
    env.pop("VIRTUAL_ENV", None)
    path = _search_path()
    env.update(
        ANSIBLE_COLLECTIONS_PATH=str(DEV),
        ANSIBLE_NOCOWS="1",
        ANSIBLE_LOCALHOST_WARNING="false",
        LOCKSTEP_QUICKSTART=str(QUICKSTART),
        PATH=os.pathsep.join([str(venv / "bin"), *path]),
        PYTHONUNBUFFERED="1",
    )
    env.setdefault("LC_ALL", "C.UTF-8")
    env.setdefault("PIP_CACHE_DIR", str(pathlib.Path.home() / ".cache" / "pip"))
    env["PIP_DISABLE_PIP_VERSION_CHECK"] = "1"
    env["PIP_ROOT_USER_ACTION"] = "ignore"
    if private_home:
        HOME.mkdir(parents=True, exist_ok=True)
        env["HOME"] = str(HOME)
        for name in ("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME"):
            env.pop(name, None)
    return env


def sh(*cmd, **kwargs):
    """Run a command of the set-up, say so, and raise when it fails."""
    text = [str(c) for c in cmd]
    print("+", *[t.replace(f"{ROOT}{os.sep}", "") for t in text], file=sys.stderr, flush=True)
    kwargs.setdefault("stdin", subprocess.DEVNULL)
    if subprocess.run(text, check=False, **kwargs).returncode:
        raise DevError(f"failed: {' '.join(text)}")


def install(venv, python, *names):
    """Make VENV for PYTHON hold what the requirement files NAMES pin; at once when it does."""
    env = environ(venv, private_home=False)
    files = []
    for name in names:
        files.append(REQUIREMENTS / f"{name}.txt")
        wanted = b"\0".join([os.fsencode(python), *(path.read_bytes() for path in files)])
        stamp, wanted = venv / f"{name}.ok", hashlib.sha256(wanted).hexdigest()
        if stamp.exists() and stamp.read_text(encoding="ascii") == wanted:
            continue
        if not (venv / "pip.ok").exists() or not (venv / "bin" / "python").exists():
            _make(venv, python, env)
        text = f"Installing {SHOWN[name]} into {venv.relative_to(ROOT)}. This takes a minute, once."
        print(text, file=sys.stderr, flush=True)
        # pip shows what it downloads to a person who waits for it.
        quiet = [] if sys.stderr.isatty() else ["-qq"]
        pip = [venv / "bin" / "python", "-m", "pip", *quiet, "install"]
        sh(*pip, *(arg for path in files for arg in ("-r", path)), env=env)
        stamp.write_text(wanted, encoding="ascii")


def _make(venv, python, env):
    """Make VENV anew, with a pip.

    Debian and Ubuntu ship ensurepip apart from venv, and old pips know no --python; a pip that
    installs a pip into a folder works everywhere.
    """
    shutil.rmtree(venv, ignore_errors=True)
    sh(python, "-m", "venv", "--without-pip", venv, env=env)
    site = next((venv / "lib").glob("python3.*/site-packages"))
    pip = [sys.executable, "-m", "pip", "-qq", "install", "--target", site]
    sh(*pip, "-r", REQUIREMENTS / "pip.txt", env=env)
    (venv / "pip.ok").touch()


def prepare(tools=True):
    """Make the main environment and the mirrored tree: enough to play, or with all TOOLS."""
    python = interpreters().get(PREFERRED_PYTHON, sys.executable)
    with locked():
        install(VENV, python, *(("base", "tools") if tools else ("base",)))
        seed_get_pip(VENV)
    sync()


def _own_files():
    """Return the relative paths of the collection's files: tracked, or new and not ignored."""
    cmd = ["git", "ls-files", "-co", "--exclude-standard", "-z"]
    try:
        out = subprocess.run(cmd, cwd=ROOT, check=True, capture_output=True).stdout.decode()
    except (OSError, subprocess.CalledProcessError):
        found = (p.relative_to(ROOT) for p in ROOT.rglob("*") if p.is_file())
        names = [
            str(p) for p in found if p.parts[0] not in NOT_OURS and "__pycache__" not in p.parts
        ]
    else:
        names = [name for name in out.split("\0") if name and (ROOT / name).is_file()]
    return names


def _kept(rel):
    text = rel.as_posix()
    return "__pycache__" in rel.parts or any(text == k or text.startswith(k + "/") for k in KEPT)


def sync():
    """Mirror the checkout to where Ansible looks for collections; copy only what changed."""
    with locked():
        files = _own_files()
        keep = set(files)
        for path in sorted(TREE.rglob("*"), reverse=True):
            rel = path.relative_to(TREE)
            if _kept(rel):
                continue
            if path.is_dir() and not path.is_symlink():
                if not any(path.iterdir()):
                    path.rmdir()
            elif str(rel) not in keep:
                path.unlink()
        for name in files:
            source, target = ROOT / name, TREE / name
            try:
                new = source.stat()
                old = target.stat() if target.exists() else None
                if old and (old.st_mtime_ns, old.st_size, old.st_mode) == (
                    new.st_mtime_ns,
                    new.st_size,
                    new.st_mode,
                ):
                    continue
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(source, target)
            except FileNotFoundError:
                continue  # removed meanwhile
        # Else ansible-test asks the outer repository, which ignores .dev, and skips every test.
        if shutil.which("git") and not (DEV / ".git").exists():
            sh("git", "init", "--quiet", "--initial-branch", "main", DEV)
    return TREE


SHIM = """\
import subprocess, sys
args = [a for a in sys.argv[1:] if a not in ("--no-setuptools", "--no-wheel")]
subprocess.check_call([{python!r}, "-m", "pip", "--python", sys.executable, "install", "-qq"] + args)
"""


def seed_get_pip(*venvs, home=HOME, python=VENV / "bin" / "python"):
    """Let the ansible-test of VENVS take its pip from the package index.

    ansible-test fetches the script that installs pip from a host of its own; it looks into its cache
    first.
    """
    cache = home / ".ansible" / "test" / "cache"
    cache.mkdir(parents=True, exist_ok=True)
    for venv in venvs:
        for path in venv.glob(
            "lib/python3.*/site-packages/ansible_test/_internal/python_requirements.py"
        ):
            for version in set(re.findall(r"pip='([0-9.]+)'", path.read_text(encoding="utf-8"))):
                script = cache / f"get_pip_{version.replace('.', '_')}.py"
                script.write_text(SHIM.format(python=str(python)), encoding="ascii")
