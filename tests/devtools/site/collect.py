# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lay out the sources of the documentation site: ``collect.py DESTINATION``, in a checkout.

The guides stay plain Markdown that forges show as they are, with relative links between files. Here
each gets its place on the site, and its links are changed to match. A file that is not a page, such
as an example, gets a page that shows it. The pages of plugins, which antsibull-docs has written to
``DESTINATION/collection``, get links to the guides that use the plugin.
"""

from __future__ import annotations

import fnmatch
import os
import pathlib
import posixpath
import re
import shutil
import sys
import typing as t

ROOT = pathlib.Path(__file__).resolve().parents[3]
PLUGIN = re.compile(r"collection/(\w+)_(module|role|filter|lookup|test)")
# The navigation: headings, and the pages below each as patterns of their names on the site, in the
# order in which a newcomer needs them. Sphinx fails if a page is missing here.
CONTENTS = {
    "Start": "index guides how-it-works from-docker from-skopeo from-modules faq",
    "Guides": "lock trust store engines airgap build unpack lifecycle examples/lifecycle/index scale"
    " report ci awx registries mirrors transfer progress",
    "Playbooks and roles": "playbooks roles/* collection/*_role",
    "Modules": "collection/index collection/*_module",
    "Lookups, filters and tests": "plugins collection/*_lookup collection/*_filter collection/*_test",
    "Reference": "support errors benchmarks changelog security",
    "Contributing": "contributing code_of_conduct contributing/development contributing/*",
    "한국어": "ko/index ko/quickstart ko/*",
}
OTHERS = "https://docs.ansible.com/ansible/latest/collections/"
LANGUAGES = {"": "text", ".md": "markdown", ".yml": "yaml", "Dockerfile": "dockerfile"}
LANGUAGES |= {"Jenkinsfile": "groovy", ".html": "html", ".txt": "text"}
_LINK = re.compile(r"(\]\()(?!https?:|mailto:|#)([^)#\s]+)")
_FENCED = re.compile(r"(^```.*?^```$)", re.MULTILINE | re.DOTALL)
_HEADER = re.compile(r"\A<!--.*?-->\n+", re.DOTALL)
_UP_TO_TITLE = re.compile(r"\A.*?^# .*?\n", re.MULTILINE | re.DOTALL)


def page_name(path: str) -> str:
    """Return the name on the site of the guide at PATH in the checkout, without a suffix."""
    if path in ("README.md", "docs/index.md"):
        return "index" if path == "README.md" else "guides"
    folder, name = posixpath.split(path.removeprefix("docs/").removesuffix(".md"))
    if folder.startswith("roles/"):
        return folder
    return posixpath.join(folder, "index" if name == "README" else name if folder else name.lower())


def guides() -> dict[str, str]:
    """Return the names on the site of all guides, by their paths in the checkout."""
    patterns = ("[A-Z]*.md", "docs/**/*.md", "roles/*/README.md")
    paths = [path for pattern in patterns for path in ROOT.glob(pattern)]
    found = sorted(path.relative_to(ROOT).as_posix() for path in paths)
    return {path: page_name(path) for path in found}


def contents(names: t.Iterable[str]) -> dict[str, list[str]]:
    """Return the pages below each heading of the navigation, of all NAMES of pages."""
    left, sections = sorted(names), {}
    for title, patterns in CONTENTS.items():
        below = [name for one in patterns.split() for name in fnmatch.filter(left, one)]
        sections[title] = list(dict.fromkeys(below))
    return sections


class Site:
    """The sources below a directory, which must exist."""

    def __init__(self, directory: pathlib.Path) -> None:
        self._directory = directory
        self._guides = guides()

    def write(self) -> None:
        """Write all pages."""
        texts = {path: (ROOT / path).read_text(encoding="utf-8") for path in self._guides}
        for path, text in texts.items():
            name = self._guides[path]
            files = self._files_of(path, name) if name.startswith("examples/") else ""
            self._put(f"{name}.md", self.linked(path, _HEADER.sub("", text)) + files)
        self._connect_plugins(texts)
        # A table of no content: no plugin has a variable of the environment.
        (self._directory / "collection" / "environment_variables.rst").unlink()
        with open(self._directory / "index.md", "a", encoding="utf-8") as index:
            index.write(self._navigation())

    def _put(self, name: str, text: str) -> None:
        path = self._directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    def linked(self, path: str, text: str) -> str:
        """Return the TEXT of the guide at PATH with links that are right on the site."""

        def link(found: re.Match[str]) -> str:
            target = posixpath.normpath(posixpath.join(posixpath.dirname(path), found[2]))
            return found[1] + self._relative(self._place(target), self._guides[path])

        parts = _FENCED.split(text)
        parts[::2] = [_LINK.sub(link, part) for part in parts[::2]]
        return "".join(parts)

    @staticmethod
    def _relative(target: str, name: str) -> str:
        return posixpath.relpath(target, posixpath.dirname(name) or ".")

    def _place(self, target: str) -> str:
        """Return where the site has what is at TARGET in the checkout; copy it if it is not a guide."""
        if target in self._guides:
            return f"{self._guides[target]}.md"
        name = target.removeprefix("docs/")
        if target.endswith(".svg"):
            shutil.copy(ROOT / target, self._directory / name)
            return name
        return self._show(target, f"files/{name}")

    def _show(self, target: str, name: str) -> str:
        """Write a page that shows the file at TARGET; return its path."""
        text = (ROOT / target).read_text(encoding="utf-8")
        short = posixpath.basename(target)
        language = LANGUAGES.get(os.path.splitext(short)[1], "") or LANGUAGES.get(short, "text")
        # Sphinx takes a link to a file that is not a page as a download.
        self._put(name, text)
        shown = f"---\norphan: true\n---\n\n# {short}\n\nThis is `{target}` in the repository. "
        shown += f"[Download](<{short}>)\n\n````{language}\n{text.rstrip()}\n````\n"
        self._put(f"{name}.md", shown)
        return f"{name}.md"

    def _files_of(self, path: str, name: str) -> str:
        """Return a section that lists the files of the example that page NAME, at PATH, describes."""
        folder = posixpath.dirname(path)
        lines = ["", "## All files", ""]
        for file in sorted((ROOT / folder).rglob("*")):
            target = file.relative_to(ROOT).as_posix()
            if file.is_file() and target != path:
                shown = self._relative(self._place(target), name)
                lines.append(f"- [`{target[len(folder) + 1 :]}`]({shown})")
        return "\n".join([*lines, ""])

    def _connect_plugins(self, texts: dict[str, str]) -> None:
        """Add to the page of each plugin the five guides that name it most often."""
        for path in (self._directory / "collection").glob("*.rst"):
            # antsibull-docs writes links for a hierarchy into ready HTML, even if it makes none.
            text = path.read_text(encoding="utf-8")
            text = re.sub(r"(href=['\"])\.\./\.\./lockstep/images/", r"\1", text)
            text = re.sub(r"(href=['\"])\.\./\.\./", rf"\1{OTHERS}", text)
            text = text.replace(
                "Lockstep.Images\n===============", "Modules and plugins\n==================="
            )
            if plugin := PLUGIN.fullmatch(f"collection/{path.stem}"):
                text += self._guides_of(plugin[1], texts)
            path.write_text(text, encoding="utf-8")

    def _guides_of(self, plugin: str, texts: dict[str, str]) -> str:
        """Return a section with links to the guides among TEXTS that name PLUGIN, or nothing."""
        named = re.compile(rf"\blockstep\.images\.{plugin}\b|`{plugin}`")
        counts = {self._guides[path]: len(named.findall(text)) for path, text in texts.items()}
        counts = {name: counts[name] for name in CONTENTS["Guides"].split() if counts[name]}
        best = sorted(counts, key=lambda name: -counts[name])[:5]
        lines = ["", "", "Guides", "------", "", *(f"- :doc:`/{name}`" for name in best), ""]
        return "\n".join(lines) if best else ""

    def _navigation(self) -> str:
        """Return the tables of contents in which Sphinx looks for the order of the pages."""
        found = [path.relative_to(self._directory) for path in self._directory.rglob("*.*")]
        names = [
            path.with_suffix("").as_posix() for path in found if path.suffix in (".md", ".rst")
        ]
        blocks = []
        for title, below in contents(names).items():
            pages = [f"/{name}" for name in below if name != "index"]
            lines = ["```{toctree}", ":hidden:", f":caption: {title}", "", *pages, "```"]
            blocks.append("\n".join(lines))
        return "\n" + "\n\n".join(blocks) + "\n"


if __name__ == "__main__":
    Site(pathlib.Path(sys.argv[1])).write()
