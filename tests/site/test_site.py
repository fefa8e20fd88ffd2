# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The documentation site that ./dev docs has built: every link of every page, and some pages in a real browser."""

from __future__ import annotations

import os
import posixpath
from collections import Counter
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from ansible_collections.lockstep.images.tests.support.browser import ENTER, TAB, Browser, chromium
from ansible_collections.lockstep.images.tests.support.fleet import need
from ansible_collections.lockstep.images.tests.support.services_process import missing_programs

ROOT = Path(__file__).parents[2]
NARROW, WIDE = 400, 1280
LONGEST = "collection/image_pull_module.html"
KOREAN = "ko/quickstart.html"
# The start, a guide with wide tables, the longest page of a module, and a Korean page.
SHOWN = ["index.html", "from-modules.html", LONGEST, KOREAN]


@pytest.fixture(scope="session", name="site")
def fixture_site() -> Path:
    """Return the directory of the built site."""
    if "LOCKSTEP_TEST_SITE" not in os.environ:
        pytest.fail("LOCKSTEP_TEST_SITE must name a built site; ./dev docs sets it")
    return Path(os.environ["LOCKSTEP_TEST_SITE"])


class Page(HTMLParser):
    """What the tests need of a page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags = Counter[str]()
        self.ids = Counter[str]()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.unnamed: list[str] = []
        self.language = self.title = self.described = self.first_link = ""
        self._in_title = False
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        self.tags[tag] += 1
        if "id" in found:
            self.ids[found["id"]] += 1
        if tag in ("a", "form"):
            target = unquote(found.get("href") or found.get("action", ""))
            self.links.append(target)
            self.first_link = self.first_link or target
        elif "src" in found or tag == "link":
            self.loaded.append(found.get("src") or found["href"])
            if tag == "img" and not found.get("alt"):
                self.unnamed.append(found["src"])
        elif tag == "html":
            self.language = found.get("lang", "")
        elif tag == "meta" and found.get("name") == "description":
            self.described = found["content"]
        self._in_title = tag == "title"

    def handle_data(self, data: str) -> None:
        if self._in_title:
            self.title += data

    def handle_endtag(self, tag: str) -> None:
        self._in_title = False


@pytest.fixture(scope="session", name="pages")
def fixture_pages(site: Path) -> dict[str, Page]:
    """Return all pages by their paths on the site."""
    names = [path.relative_to(site).as_posix() for path in sorted(site.rglob("*.html"))]
    # A download is what an example is made of.
    return {name: Page(site / name) for name in names if not name.startswith("_downloads/")}


def test_every_link_and_anchor_of_every_page_exists(site: Path, pages: dict[str, Page]) -> None:
    dead, asked, reached = [], [], {"search.html"}
    for name, page in pages.items():
        for target in page.links + page.loaded:
            there = urlsplit(target)
            if there.scheme or there.netloc:
                if target in page.loaded and there.scheme != "data":
                    asked.append(f"{name}: {target}")
                continue
            path = posixpath.normpath(posixpath.join(posixpath.dirname(name), there.path))
            path = path if there.path else name
            if path != name:
                reached.add(path)
            anchor = there.fragment
            if not (site / path).is_file() or (
                anchor and path in pages and anchor not in pages[path].ids
            ):
                dead.append(f"{name}: {target}")
    assert dead == []
    assert asked == []
    assert set(pages) - reached == set()


def test_every_page_is_complete_for_readers_and_for_search_engines(pages: dict[str, Page]) -> None:
    for name, page in pages.items():
        assert page.language == ("ko" if name.startswith("ko/") else "en"), name
        assert page.tags["h1"] == page.tags["main"] == 1, name
        assert page.first_link == "#main", name
        assert page.described, name
        assert page.unnamed == [], name
        assert [one for one, count in page.ids.items() if count > 1] == [], name
    titles = Counter(page.title for name, page in pages.items() if not name.startswith("files/"))
    assert [title for title, count in titles.items() if count > 1 or not title.strip()] == []


def test_every_guide_drawing_plugin_and_playbook_is_on_the_site(
    site: Path, pages: dict[str, Page]
) -> None:
    for path in (ROOT / "docs").rglob("*.md"):
        name = path.relative_to(ROOT / "docs").with_suffix(".html").as_posix()
        name = "guides.html" if name == "index.html" else name.replace("README", "index")
        assert name in pages
        assert pages[name].links.count("") == 0
    for kind in ("module", "filter", "lookup", "test"):
        folder = "modules" if kind == "module" else kind
        for path in (ROOT / "plugins" / folder).glob("[a-z]*.py"):
            assert f"collection/{path.stem}_{kind}.html" in pages
    for path in (ROOT / "roles").iterdir():
        assert f"roles/{path.name}.html" in pages
        assert f"collection/{path.name}_role.html" in pages
    for path in (ROOT / "playbooks").glob("*.yml"):
        if path.stem not in ("quickstart", "lifecycle"):
            assert path.stem in pages["playbooks.html"].ids
    drawings = {path.name for path in (ROOT / "docs").glob("*.svg")}
    assert {path.name for path in (site / "_images").iterdir()} == drawings


def test_guides_and_modules_link_each_other(pages: dict[str, Page]) -> None:
    assert "collection/image_sync_module.html" in pages["lock.html"].links
    assert "../lock.html" in pages["collection/image_lock_module.html"].links
    assert "#설치" in pages[KOREAN].links and "quickstart.html#설치" in pages["ko/index.html"].links


@pytest.fixture(scope="session", name="window")
def fixture_window(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """Provide one window for all tests."""
    if missing := missing_programs("chromium", "chromedriver"):
        need(f"not installed: {', '.join(missing)}")
    with chromium(tmp_path_factory.mktemp("browser")) as window:
        yield window


def show(window: Browser, path: Path, width: int = WIDE) -> None:
    """Open a page in a window of this width."""
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    window.devtools("Emulation.setDeviceMetricsOverride", **size)
    window.prefer(prefers_color_scheme="light")
    window.open(path)


CONTRAST = """
const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
const cache = {};
const rgba = (text) => cache[text] ??= (() => {
  canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = text; canvas.fillRect(0, 0, 1, 1);
  return [...canvas.getImageData(0, 0, 1, 1).data];
})();
const light = (rgb) => {
  const [r, g, b] = rgb.map((v) => v / 255).map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const ground = (element) => {
  for (let at = element; at; at = at.parentElement) {
    const found = rgba(getComputedStyle(at).backgroundColor);
    if (found[3]) return found.slice(0, 3);
  }
};
const bad = new Set(), seen = new Map();
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (walker.nextNode()) {
  const element = walker.currentNode.parentElement;
  if (!walker.currentNode.data.trim() || seen.has(element) || element.closest('script, style, noscript')) continue;
  seen.set(element, 1);
  const style = getComputedStyle(element);
  if (style.opacity === '0' || !element.checkVisibility()) continue;
  const [one, two] = [light(rgba(style.color).slice(0, 3)), light(ground(element))];
  const ratio = (Math.max(one, two) + 0.05) / (Math.min(one, two) + 0.05);
  if (ratio < 4.5) bad.add(`${element.tagName}.${element.className} ${style.color} ${ratio.toFixed(2)}`);
}
return [[...bad], seen.size];
"""


@pytest.mark.parametrize("name", SHOWN)
def test_every_text_has_contrast_in_both_schemes(window: Browser, site: Path, name: str) -> None:
    show(window, site / name)
    grounds = []
    for scheme in ("light", "dark"):
        window.prefer(prefers_color_scheme=scheme)
        bad, seen = window.run(CONTRAST)
        assert seen > 100
        assert bad == [], scheme
        grounds.append(window.run("return getComputedStyle(document.body).backgroundColor"))
    assert grounds == ["rgb(255, 255, 255)", "rgb(15, 20, 25)"]


@pytest.mark.parametrize("name", [*SHOWN, "search.html"])
def test_narrow_page_needs_no_sideways_scrolling(window: Browser, site: Path, name: str) -> None:
    show(window, site / name, NARROW)
    assert window.run("return innerWidth") == NARROW
    wider = "return document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert window.run(wider) == 0
    # What sticks out must be in a box that scrolls.
    outside = """return [...document.querySelectorAll('main *')].filter((one) =>
        one.checkVisibility() && one.getBoundingClientRect().right > innerWidth + 1
        && !one.closest('.scrolls, pre')).map((one) => one.outerHTML.slice(0, 120))"""
    assert window.run(outside) == []
    # Each such box can be scrolled with the keyboard.
    boxes = """return [...document.querySelectorAll('.scrolls, .highlight pre')].filter((one) =>
        one.scrollWidth > one.clientWidth && one.tabIndex !== 0).length"""
    assert window.run(boxes) == 0


def test_pages_ask_for_nothing_outside_and_log_nothing(window: Browser, site: Path) -> None:
    window.logged()
    window.requested()
    for name in ("index.html", "benchmarks.html", KOREAN, "search.html"):
        show(window, site / name)
        assert window.run("return [...document.images].filter((one) => !one.naturalWidth)") == []
    here = ("data:", "chrome://", "chrome-untrusted://", site.as_uri())
    assert [url for url in window.requested() if not url.startswith(here)] == []
    assert window.logged() == []


FOCUSED = """
const at = document.activeElement, style = getComputedStyle(at), box = at.getBoundingClientRect();
const top = document.elementFromPoint(box.x + box.width / 2, box.y + Math.min(box.height / 2, 20));
return [at.textContent.trim() || at.name, style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2,
  at.contains(top) || (top?.contains(at) ?? false)];
"""


def test_keyboard_reaches_everything_and_shows_where_it_is(window: Browser, site: Path) -> None:
    show(window, site / "from-modules.html")
    names = []
    for _press in range(16):
        window.press(TAB)
        name, outlined, visible = window.run(FOCUSED)
        assert outlined and visible, name
        names.append(name)
    assert names[:5] == ["Skip to the content", "lockstep.images", "q", "한국어", "Start"]
    show(window, site / "from-modules.html")
    window.press(TAB + ENTER)
    assert window.run("return document.activeElement.id") == "main"
    window.press(TAB)
    assert window.run("return document.activeElement.closest('main') !== null")


def test_menu_of_a_narrow_page_opens_and_closes_with_the_keyboard(
    window: Browser, site: Path
) -> None:
    show(window, site / "lock.html", NARROW)
    shown = "return document.getElementById('pages').checkVisibility()"
    assert not window.run(shown)
    window.press(TAB * 5 + ENTER)
    assert window.run(shown)
    box = "const box = document.getElementById('pages').getBoundingClientRect(); return [box.top, box.bottom]"
    assert window.run(box) == window.run("return [0, innerHeight]")
    window.press(TAB)
    assert window.run("return document.activeElement.className") == "close"
    window.press(ENTER)
    assert not window.run(shown)


def results(window: Browser, site: Path, query: str) -> list[str]:
    """Search for a text as a reader of a page does; return the pages found, best first."""
    show(window, site / "lock.html")
    window.press("/" + query + ENTER)
    return window.run("""return new Promise((done) => {
        const ready = () => [...document.querySelectorAll('.search-summary')].some((one) => one.innerText);
        const wait = () => ready() ? done([...document.querySelectorAll('ul.search a')]
            .map((one) => one.getAttribute('href').split('#')[0])) : setTimeout(wait, 20);
        wait();
    })""")


def test_search_finds_options_guides_and_korean_words_in_a_page_opened_as_a_file(
    window: Browser, site: Path
) -> None:
    assert "collection/image_pull_module.html" in results(window, site, "rate_limit_floor")
    assert results(window, site, "image_pull")[0] == LONGEST
    assert "registries.html" in results(window, site, "ECR")
    assert "ko/build.html" in results(window, site, "빌드")
    assert results(window, site, "xyzzy") == []
    assert window.logged() == []
