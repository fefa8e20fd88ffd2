# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The configuration of Sphinx for the documentation site, whose sources collect.py has laid out."""

from __future__ import annotations

import functools
import pathlib
import re
import sys
import typing as t

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.search.en import SearchEnglish

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from collect import OTHERS, PLUGIN, ROOT, contents  # noqa: E402

project = html_title = "lockstep.images"
extensions = ["myst_parser", "sphinx_antsibull_ext"]
templates_path: list[str] = []
exclude_patterns: list[str] = []
language = "en"
html_search_language = "lockstep"
nitpicky = True
smartquotes = False  # it would change "--check" in plain text
default_role = "any"
highlight_language = "YAML+Jinja"
html_theme_path = [str(HERE)]
html_theme = "theme"
html_show_sphinx = html_copy_source = html_use_index = False
html_permalinks_icon = "#"
antsibull_ext_color_scheme = "none"  # site.css has the colours
myst_heading_anchors = 6
# A forge does not know these either.
myst_disable_syntax = ["myst_line_comment", "myst_target", "myst_block_break", "myst_role"]

_WORDS = {
    "en": {
        "about": "Put the same container images on every host, and prove it",
        "skip": "Skip to the content",
        "menu": "Menu",
        "close": "Close the menu",
        "search": "Search",
        "pages": "All pages",
        "here": "On this page",
        "order": "Previous and next page",
        "previous": "Previous",
        "next": "Next",
    },
    "ko": {
        "about": "모든 호스트에 똑같은 컨테이너 이미지를",
        "skip": "본문으로 건너뛰기",
        "menu": "메뉴",
        "close": "메뉴 닫기",
        "search": "검색",
        "pages": "모든 페이지",
        "here": "이 페이지의 내용",
        "order": "이전 페이지와 다음 페이지",
        "previous": "이전",
        "next": "다음",
    },
}
_SHORT = {
    "index": "Overview",
    "changelog": "Changelog",
    "ko/index": "개요",
}
_EMPTY_LINKS = r"^(Collection links\n~+\n\n)?\.\. ansible-links::\n\s*\n(?=\S|\Z)"
_OPTION = re.compile(r"ansible_collections\.lockstep\.images\.(\w+)__((?:parameter|return)-.*)")
_ANSIBLE = {
    "action_plugins": "plugins/action",
    "common_return_values": "reference_appendices/common_return_values",
}
_OTHER = re.compile(r"ansible_collections\.(\w+)\.(\w+)\.(\w+)")
_HANGUL = re.compile(r"[가-힣]{3,}")


class SearchBoth(SearchEnglish):
    """English, and Korean, whose words end in particles: the beginnings of a word are found too."""

    def split(self, input: str) -> list[str]:
        words = super().split(input)
        for word in _HANGUL.findall(input):
            words += [word[:end] for end in range(2, len(word))]
        return words


def _documented(app: Sphinx) -> dict[str, tuple[str, str]]:
    """Return the page and the anchor of everything that has a name of its own."""
    found: dict[str, list[tuple[str, str]]] = {}
    for page in app.env.found_docs:
        if plugin := PLUGIN.fullmatch(page):
            found.setdefault(plugin[1], []).append((page, ""))
    for path in (ROOT / "playbooks").glob("*.yml"):
        place = ("lifecycle", "") if path.stem == "lifecycle" else ("playbooks", f"#{path.stem}")
        found.setdefault(path.stem, []).append(place)
    known = {name: places[0] for name, places in found.items() if len(places) == 1}
    full = {f"lockstep.images.{name}": place for name, place in known.items()}
    # A single word, such as "store", means more than the role of that name.
    return full | {name: place for name, place in known.items() if "_" in name}


def _keep_anchors(app: Sphinx, tree: nodes.document) -> None:
    """Give each heading of a guide the anchor that forges give it, not a number if it is Korean."""
    slugs = app.env.metadata[app.env.docname].get("myst_slugs", {})
    moved = {number: slug for slug, (_line, number, _text) in slugs.items()}
    for section in tree.findall(nodes.section):
        if section.get("slug") in section["ids"]:
            section["ids"].sort(key=lambda one, slug=section["slug"]: one != slug)
    for link in tree.findall(nodes.reference):
        if link.get("refid") in moved:
            link["refid"] = moved[link["refid"]]
    slugs.update({slug: (line, slug, text) for slug, (line, _number, text) in slugs.items()})


def _link_names(app: Sphinx, tree: nodes.document, page: str) -> None:
    """Turn the first mention of a plugin in each section of a guide into a link to its page."""
    if page.startswith(("collection/", "files/", "contributing/", "changelog")):
        return
    known, done = _documented(app), set()
    for literal in list(tree.findall(nodes.literal)):
        name, parent = literal.astext(), literal.parent
        section = parent
        while not isinstance(section, (nodes.section, nodes.document)):
            if isinstance(section, (nodes.reference, nodes.title)):
                break
            section = section.parent
        else:
            if name in known and (name, id(section)) not in done:
                done.add((name, id(section)))
                target, anchor = known[name]
                uri = app.builder.get_relative_uri(page, target) + anchor
                parent.replace(literal, nodes.reference("", "", literal, internal=True, refuri=uri))


def _mend_plugins(app: Sphinx, page: str, source: list[str]) -> None:
    """Set dashes, and remove what antsibull-docs makes of galaxy.yml while that has placeholders."""
    if not page.startswith("collection/"):
        return
    links = r'^ *- title: .*\n *url: "https://example\.org/.*\n(?: +external: .*\n)?'
    text = re.sub(links, "", source[0], flags=re.MULTILINE)
    text = re.sub(_EMPTY_LINKS, "", text, flags=re.MULTILINE)
    dashes = r"^(\* :ansplugin:.*|lockstep\.images\..*) -- "
    source[0] = re.sub(dashes, "\\1 \u2013 ", text, flags=re.MULTILINE)


def _link_ansible(
    app: Sphinx, env: t.Any, node: nodes.Element, shown: nodes.TextElement
) -> nodes.reference | None:
    """Resolve what antsibull-docs refers to: options, other collections, and Ansible's own pages."""
    target = node.get("reftarget", "")
    if option := _OPTION.fullmatch(target):
        # Ready HTML has anchors, and no labels.
        anchor = option[2].replace("__", "--")
        uri = app.builder.get_relative_uri(node["refdoc"], f"collection/{option[1]}")
        return nodes.reference("", "", shown, internal=True, refuri=f"{uri}#{anchor}")
    if other := _OTHER.fullmatch(target):
        uri = f"{OTHERS}{other[1]}/{other[2]}/{other[3]}.html"
    elif target in _ANSIBLE:
        uri = f"https://docs.ansible.com/ansible/latest/{_ANSIBLE[target]}.html"
    else:
        return None
    return nodes.reference("", "", shown, internal=False, refuri=uri)


@functools.cache
def _short(page: str, title: str) -> str:
    """Return what the navigation calls a page."""
    if plugin := PLUGIN.fullmatch(page):
        return f"Options of {plugin[1]}" if plugin[2] == "role" else plugin[1]
    return f"Role {page[6:]}" if page.startswith("roles/") else _SHORT.get(page, title)


def _described(tree: nodes.document | None, title: str) -> str:
    """Return the first sentences of a page, for those who list pages."""
    paragraphs = (
        one.astext().replace("\n", " ")
        for one in (tree.findall(nodes.paragraph) if tree else ())
        if isinstance(one.parent, nodes.section)
    )
    text = title if " \u2013 " in title else next(paragraphs, title)
    return text if len(text) <= 160 else f"{text[:157].rpartition(' ')[0]} ..."


def _add_context(
    app: Sphinx, page: str, template: str, context: dict[str, t.Any], tree: nodes.document | None
) -> None:
    """Give a template its words and the navigation; let wide tables scroll."""
    titles = {name: node.astext() for name, node in app.env.titles.items()}
    context["lang"] = "ko" if page.startswith("ko/") else "en"
    context["words"] = words = _WORDS[context["lang"]]
    title = titles.get(page, "Search")
    context["full_title"] = (
        f"{project}: {words['about']}" if title == project else f"{title} · {project}"
    )
    context["described"] = _described(tree, title)
    context["sections"] = [
        (title, [(name, _short(name, titles[name])) for name in below], page in below)
        for title, below in contents(titles).items()
    ]
    if "body" in context:
        body = re.sub(r"<table\b", '<div class="scrolls"><table', context["body"])
        context["body"] = body.replace("</table>", "</table></div>")


def setup(app: Sphinx) -> None:
    SearchBoth.lang = "lockstep"
    app.add_search_language(SearchBoth)
    app.add_css_file("site.css", priority=900)  # after that of antsibull-docs
    app.add_js_file("site.js", priority=300)
    app.connect("source-read", _mend_plugins)
    app.connect("doctree-read", _keep_anchors, priority=400)  # before others note the anchors
    app.connect("doctree-resolved", _link_names)
    app.connect("missing-reference", _link_ansible)
    app.connect("html-page-context", _add_context)
