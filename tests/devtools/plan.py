# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a test run consists of."""

from __future__ import annotations

import os
import re
import shutil
import tarfile

from devtools import environment, system
from devtools.environment import DEV, TREE
from devtools.matrix import CORES, NEWEST_UNITS, OLDEST_PYTHON, SANITY
from devtools.parts import Part, PartFailed, PartSkipped

TYPED = ("_image", "_store", "_registry", "_lockfile", "_plan.py", "_operations", "_engines")

REGISTRY_PACKAGES = ["apache2-utils", "docker-registry", "openssh-client", "skopeo"]
FLEET_PACKAGES = [
    *REGISTRY_PACKAGES,
    "buildah",
    "chromium",
    "chromium-driver",
    "containerd",
    "crun",
    "debootstrap",
    "docker.io",
    "nginx",
    "openssh-server",
    "podman",
    "time",
    "tinyproxy",
]

HOSTS = "playbooks/inventory/quickstart.yml"
QUICKSTART = ["ansible-playbook", "-i", HOSTS, "playbooks/quickstart.yml"]

# All that the artifact may hold at its top: what a user needs, and what Galaxy shows.
SHIPPED = {
    "CHANGELOG.md",
    "FILES.json",
    "LICENSE",
    "LICENSES",
    "MANIFEST.json",
    "README.md",
    "changelogs",
    "docs",
    "meta",
    "playbooks",
    "plugins",
    "roles",
}


def python(version):
    """Return the interpreter of VERSION; without it the matrix shrinks, but not in CI."""
    found = environment.interpreters().get(version)
    if found:
        return found
    if os.environ.get("CI") == "true" and environment.has_pyenv():
        raise PartFailed(f"Python {version} is missing")
    raise PartSkipped(f"no Python {version} here")


def packages(names):
    """Have the Debian packages NAMES; without them nothing can be said, but not in CI."""
    left = system.lacking(names)
    if not left:
        return
    text = f"missing packages (apt-get install {' '.join(left)})"
    raise PartFailed(text) if os.environ.get("CI") == "true" else PartSkipped(text)


# lint


def ruff(shell):
    """Code style and common mistakes."""
    shell.run("ruff", "check", "--no-cache", ".")
    shell.run("ruff", "format", "--no-cache", "--check", ".")


def types(shell):
    """The types of the library."""
    utils = TREE / "plugins" / "module_utils"
    paths = [(utils / name).relative_to(DEV) for name in TYPED if (utils / name).exists()]
    if not paths:
        raise PartFailed("no library to check")
    shell.run("mypy", "--config-file", TREE / "mypy.ini", *paths, cwd=DEV, MYPYPATH=str(DEV))


def licences(shell):
    """A licence and a copyright for every file."""
    shell.run("reuse", "lint", cwd=environment.ROOT)


def ansible_lint(shell):
    """What a collection must be for certification."""
    shell.run("ansible-lint", "--offline", "--profile", "production", "--nocolor")


def language(shell):
    """Plain English, by the tables of docs/contributing/language.md."""
    shell.run("python", "tests/language.py")


def changelog(shell):
    """The fragments."""
    shell.run("antsibull-changelog", "lint")


def documentation(shell):
    """The documentation in the plugins, and docs/docsite."""
    shell.run(
        "antsibull-docs",
        "lint-collection-docs",
        "--plugin-docs",
        "--check-extra-docs-refs",
        "--validate-collection-refs",
        "self",
        ".",
    )


# unit


def units_oldest(shell):
    """The oldest Python and requests that are promised, with plain pytest."""
    interpreter = python(OLDEST_PYTHON)
    venv = DEV / "unit-oldest"
    with environment.locked():
        environment.install(venv, interpreter, "unit-oldest")
    shell.run(
        "python",
        "-c",
        "import requests, sys; print(sys.version, 'requests', requests.__version__)",
        env=environment.environ(venv),
    )
    # Two processes: what one waits for, a time-out or a process, leaves a core to the other.
    shell.run("pytest", "-q", "-n", "2", "tests/unit", env=environment.environ(venv))


def units_newest(shell):
    """The newest Python and requests, with ansible-test."""
    _nox(shell, "units", *NEWEST_UNITS)


def slow(shell):
    """The tests that kill processes at every system call. One version of Python is enough for them."""
    shell.run("pytest", "-q", "-n", "2", "tests/slow")


# sanity


def _sanity(core, version):
    return Part(f"sanity {core}", lambda shell: _nox(shell, "sanity", core, version))


def _nox(shell, session, core, version):
    python(version)
    pins = DEV / f"core-{core}.txt"
    pins.write_text(f"ansible-core=={CORES[core]}\n", encoding="ascii")
    shell.run(
        "nox",
        "--envdir",
        DEV / "nox",
        "--reuse-venv=yes",
        "--error-on-missing-interpreters",
        "--session",
        f"{session}-{core}",
        PIP_CONSTRAINT=str(pins),
        LOCKSTEP_NOX=str(DEV / "nox"),
        LOCKSTEP_PIP=str(environment.VENV / "bin" / "python"),
    )


# integration, fleet


def core(line, version):
    """Make ``.dev/core-LINE``: ansible-core of that line, and requests for what runs on the controller."""
    venv = DEV / f"core-{line}"
    interpreter = python(version)
    with environment.locked():
        environment.install(venv, interpreter, "base")
        # base.txt has the newest line that fits the Python.
        pip = [venv / "bin" / "python", "-m", "pip", "-qq", "install"]
        environment.sh(*pip, f"ansible-core=={CORES[line]}", env=environment.environ(venv))


def integration(shell):
    """A target per module, in check mode and for real."""
    packages(REGISTRY_PACKAGES)
    version = next((environment.VENV / "lib").glob("python3.*")).name[len("python") :]
    options = ["--venv", "--python", version, "--color", "no", "--continue-on-error"]
    shell.run("ansible-test", "integration", *options, "-v")


def fleet(shell):
    """The playbooks, on several hosts, against real registries and engines."""
    if os.geteuid() != 0:
        raise PartSkipped("it needs root")
    packages(FLEET_PACKAGES)
    for line, version in SANITY:
        try:
            core(line, version)
        except PartSkipped as exc:
            shell.say(f"no tests on ansible-core {line}: {exc}")
    shell.run("pytest", "-v", "--durations=10", "tests/fleet")


def quickstart(shell):
    """What newcomers run first."""
    shell.run(*QUICKSTART)


# docs, galaxy


def html(shell):
    """The HTML documentation."""
    site = DEV / "docs"
    shutil.rmtree(site, ignore_errors=True)
    site.mkdir(mode=0o755)
    shell.run(
        "antsibull-docs",
        "sphinx-init",
        "--use-current",
        "--squash-hierarchy",
        "lockstep.images",
        "--dest-dir",
        site,
    )
    with open(site / "conf.py", "a", encoding="utf-8") as conf:
        conf.write("\nintersphinx_mapping = {}\nsuppress_warnings = ['ref.ref']\n")
    (site / "temp-rst").mkdir(exist_ok=True)
    shell.run(
        "antsibull-docs",
        "--config-file",
        "antsibull-docs.cfg",
        "collection",
        "--use-current",
        "--squash-hierarchy",
        "--dest-dir",
        "rst",
        "lockstep.images",
        cwd=site,
    )
    shell.run(
        "sphinx-build", "-M", "html", "rst", "build", "-c", ".", "-W", "--keep-going", cwd=site
    )


def artifact(shell):
    """What Galaxy is given: it imports, holds no developer's file, and works when installed."""
    dist = DEV / "dist"
    shutil.rmtree(dist, ignore_errors=True)
    dist.mkdir()
    shell.run("ansible-galaxy", "collection", "build", "--output-path", dist)
    built = next(dist.glob("lockstep-images-*.tar.gz"))
    with tarfile.open(built) as tar:
        names = [m.name for m in tar.getmembers() if m.isfile()]
    strangers = sorted({n.split("/")[0] for n in names} - SHIPPED)
    strangers += [
        n
        for n in names
        if re.match(r"docs/contributing|changelogs/fragments|playbooks/.*quickstart", n)
    ]
    if strangers:
        raise PartFailed(f"galaxy.yml must ignore {', '.join(strangers)}")
    config = dist / "importer.cfg"
    config.write_text(
        "[galaxy-importer]\nCHECK_REQUIRED_TAGS = True\nRUN_ANSIBLE_LINT = True\nRUN_FLAKE8 = True\nCHECK_CHANGELOG = True\n"
        "RUN_ANSIBLE_TEST = False\nRUN_ANSIBLE_DOC = True\nLOG_LEVEL_MAIN = INFO\n",
        encoding="ascii",
    )
    shell.run(
        "python", "-m", "galaxy_importer.main", built, cwd=dist, GALAXY_IMPORTER_CONFIG=str(config)
    )
    user = dict(environment.environ(), ANSIBLE_COLLECTIONS_PATH=str(dist / "installed"))
    shell.run("ansible-galaxy", "collection", "install", "--offline", built, cwd=dist, env=user)
    found = shell.run("ansible-builder", "introspect", dist / "installed", cwd=dist)
    if "requests" not in found:
        raise PartFailed("meta/execution-environment.yml does not bring in requests")
    # What is left must be enough.
    installed = dist / "installed" / "ansible_collections" / "lockstep" / "images"
    for path in installed.iterdir():
        if path.name not in ("meta", "playbooks", "plugins", "roles"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    modules = sorted(path.stem for path in installed.glob("plugins/modules/*.py"))
    shell.run("ansible-doc", *(f"lockstep.images.{name}" for name in modules), cwd=dist, env=user)
    for path in sorted(installed.glob("playbooks/*.yml")):
        shell.run(
            "ansible-playbook", "--syntax-check", f"lockstep.images.{path.stem}", cwd=dist, env=user
        )


STAGES = {
    "lint": [
        Part("ruff", ruff),
        Part("mypy", types),
        Part("reuse", licences),
        Part("language", language),
        Part("changelog", changelog),
        Part("plugin documentation", documentation),
        Part("ansible-lint", ansible_lint),
    ],
    "unit": [
        Part("units on the oldest", units_oldest),
        Part("units on the newest", units_newest),
    ],
    "slow": [Part("slow units", slow)],
    "sanity": [_sanity(core, version) for core, version in SANITY],
    "main job": [Part("quickstart", quickstart)],
    "docs": [Part("html", html)],
    "galaxy": [Part("artifact", artifact)],
    "integration": [Part("integration", integration)],
    # A bare machine installs a browser, four engines and three ansible-cores first, and makes an image of 630 MB.
    "fleet": [Part("fleet", fleet, seconds=2700)],
}
# ./dev test: what is quick first. Two parts run at a time, so the longest of a wave begin it.
WAVES = (("lint", "unit", "slow"), ("fleet", "integration", "sanity", "main job", "docs", "galaxy"))
