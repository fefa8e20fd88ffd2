# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The report page is complete and self-contained, and shows text from hosts as text, never as markup."""

from __future__ import annotations

import base64
import hashlib
import re
import typing as t
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import pytest
from ansible_collections.lockstep.images.plugins.filter.report import report
from ansible_collections.lockstep.images.tests.support.reports import (
    attached,
    holds,
    image,
    image_text,
    large_fleet,
    loaded,
    lock_of,
    page,
    synced,
    write_json,
)

VOID = {"meta", "input"}
APP, TOOL, WEB = image("app:1"), image("tool:2"), image("web:3")
UNREACHABLE = {"unreachable": True, "msg": "no route to host"}
FAILED = {"failed": True, "msg": "not an image layout"}

FLEETS: dict[str, dict[str, t.Any]] = {
    "none": {},
    "one": {"a": holds(APP)},
    "all states": {
        "a": holds(APP, TOOL),
        "b": holds(image("app:1", "other"), WEB),
        "c": holds({**APP, "complete": False}, TOOL),
        "d": {"info": UNREACHABLE},
        "e": {"info": FAILED},
    },
    "lock": {
        "a": holds(APP, sync=synced([APP])),
        "b": holds(sync=synced([APP], ("app:1", image_text(APP), "none"), fetch=10**7)),
    },
    "engines": {
        "a": holds(APP, sync=synced([APP]), engine=loaded(("app:1", "1", "1", "present"))),
        "b": holds(APP, sync=synced([APP]), engine=loaded(("app:1", "1", None, "loaded"))),
    },
    "many": large_fleet(20, 70),
}
every_fleet = pytest.mark.parametrize("said", FLEETS.values(), ids=FLEETS)
# The earlier report of a fleet: a moved, b and d drifted or not, e is new, and gone is gone.
EARLIER = {
    "a": holds(WEB),
    "b": holds(image("app:1", "other"), WEB),
    "c": holds(WEB),
    "d": {"info": UNREACHABLE},
    "gone": holds(WEB),
}


@pytest.fixture(params=[*FLEETS, "changes"])
def text(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return the page of each fleet, and one that shows what changed since an earlier report."""
    if request.param in FLEETS:
        return page(FLEETS[request.param])
    earlier = write_json(tmp_path / "earlier.json", EARLIER, "2026-11-23")
    return page(FLEETS["all states"], date="2026-11-30", since=earlier)


class Page(HTMLParser):
    """The tags of a page with their attributes, in order, and its texts; every tag has to be closed."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len(dict(attrs)) == len(attrs), f"{tag}: an attribute stands twice"
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append((self._open[-1] if self._open else "", data))

    def all(self, tag: str, **wanted: str) -> list[dict[str, str | None]]:
        """Return the attributes of all tags of a name that have these."""
        return [own for name, own in self.tags if name == tag and wanted.items() <= own.items()]

    def values(self, attribute: str) -> list[str]:
        """Return all values of an attribute."""
        return [own[attribute] or "" for _tag, own in self.tags if attribute in own]

    def inside(self, tag: str) -> list[str]:
        """Return the text of all tags of a name."""
        return [data for name, data in self.texts if name == tag]


def test_page_is_valid_and_complete_html(text):
    found = Page(text)
    assert [tag for tag, _own in found.tags][:2] == ["html", "head"]
    ids = found.values("id")
    assert [one for one, times in Counter(ids).items() if times > 1] == []
    for attribute in ("for", "aria-labelledby", "aria-describedby"):
        assert set(" ".join(found.values(attribute)).split()) <= set(ids)
    labelled = {own["for"] for own in found.all("label")}
    assert {own["id"] for own in found.all("input")} == labelled


def test_every_table_has_a_caption_and_every_head_a_scope(text):
    found = Page(text)
    assert len(found.all("caption")) == len(found.all("table")) >= 4
    assert {own.get("scope") for own in found.all("th")} <= {"col", "row"}
    assert [own["aria-sort"] for own in found.all("th") if "aria-sort" in own] == ["descending"]
    assert len(found.all("output", **{"aria-live": "polite"})) == 1


def test_page_requests_nothing(text):
    found = Page(text)
    assert not re.search(r"https?:|//[a-z]|@import|url\(|data:|fetch\(|XMLHttp", text)
    assert not [tag for tag, own in found.tags if {"src", "style", "srcset"} & own.keys()]
    assert not [name for _tag, own in found.tags for name in own if name.startswith("on")]
    assert found.values("href") == ["#hosts"]
    assert {tag for tag, _own in found.tags} & {"link", "img", "iframe", "object", "base"} == set()


def test_content_security_policy_allows_only_the_pages_own_style_and_script(text):
    found = Page(text)
    (policy,) = found.all("meta", **{"http-equiv": "Content-Security-Policy"})
    hashes = {}
    for tag in ("style", "script"):
        content = "".join(found.inside(tag)).encode()
        hashes[tag] = base64.b64encode(hashlib.sha256(content).digest()).decode()
    assert policy["content"] == (
        f"default-src 'none'; style-src 'sha256-{hashes['style']}'; script-src 'sha256-{hashes['script']}'; "
        "base-uri 'none'; form-action 'none'"
    ), "write these hashes into the template"


@every_fleet
def test_page_does_not_depend_on_the_order_of_the_data(said):
    assert page(dict(reversed(said.items()))) == page(said)


@every_fleet
def test_every_host_has_a_cell_for_every_image(said):
    model = report(said)
    found = Page(page(said))
    counted = Counter(own["class"] for own in found.all("td", role="cell"))
    del counted["number"]
    for image_entry in model["images"]:
        counted.subtract(image_entry["counts"])
    assert set(counted.values()) <= {0}


@pytest.mark.parametrize(("verify", "depth"), [("quick", "sizes"), ("full", "every byte")])
def test_F21_page_shows_its_date_and_the_depth_of_the_check(verify, depth):
    said = {"a": holds(APP, sync=synced([APP]), verify=verify, date="2026-11-30T14:05:00Z")}
    text = page(said, date="2026-11-30T14:06:00Z")
    assert f"1 of 1 host holds exactly the images in the lock file ({depth} checked)." in text
    assert f"<dt>same ({depth} checked)</dt>" in text
    assert "<dd>2026-11-30T14:06:00Z</dd>" in text
    assert f'title="2026-11-30T14:05:00Z">{depth}</td>' in text
    assert ("store_verify=full" in text) is (verify == "quick")
    assert "holds the name, but content is missing or corrupt" in text


def test_F20_page_says_most_hosts_only_for_a_majority():
    held = {"a": holds(APP), "b": holds(TOOL)}
    assert "hosts holds what 1 of 2 hosts holds (" in page(held)
    assert "hosts hold what most hosts hold (" in page({**held, "c": holds(APP)})


def test_F21_page_of_only_unreadable_hosts_has_no_comparison():
    text = page({"a": {"info": UNREACHABLE}})
    assert "<p>No host could be read.</p>" in text
    assert "0 of 0" not in text


def test_no_state_depends_on_colour_alone():
    text = page(FLEETS["all states"])
    shown = set(re.findall(r'<td role="cell" class="(?!number)(\w+)">(.*?)</td>', text))
    signs = {state: re.sub(r"<.*?>.*", "", inner) for state, inner in shown}
    assert sorted(signs) == ["differs", "extra", "incomplete", "missing", "none", "same", "unknown"]
    assert len(set(signs.values())) == len(signs) == len(shown)
    words = {state: re.findall(r">(\w+)<", inner) for state, inner in shown}
    # The usual states have only a sign, which screen readers speak: equals.
    assert {state for state, word in words.items() if word != [state]} == {"same", "none"}


EVIL = [
    "</script><img src=x onerror=alert(1)>",
    "\"'><svg onload=alert(1)>",
    "--></title></style><!--",
    "&lt;b&gt; &amp;lt;",
    "{{ 6 * 7 }}{% raw %}",
]


def fleet_with_text(text: str, lock: bool) -> dict[str, t.Any]:
    """Return a fleet in which every text that a host says is this, or begins with it."""
    layers = [{"digest": f"{text} layer {n}{'x' * 30}", "size": 10**8} for n in (1, 2)]
    own = {"digest": f"{text}{'d' * 30}", "platforms": [text, text]}
    one = image(f"{text} one", layers=layers[:1], **own)
    two = image(f"{text} {'two' * 20}{text}", layers=layers, **own)
    said = {
        f"{text} a": holds(one, two),
        f"{text} b": holds(one),
        f"{text} c": {"info": {**FAILED, "msg": text}},
        f"{text} d": {"info": {**UNREACHABLE, "msg": text}},
        **{f"{text} {n}": holds(two) for n in range(9)},
    }
    if lock:
        rows = [(two["name"], f"{text} wanted {'x' * 30} (x)", text)]
        said[f"{text} a"]["sync"] = synced([one, two], fingerprint=text)
        said[f"{text} b"]["sync"] = synced([one, two], *rows, fingerprint=text)
    for host in (f"{text} a", f"{text} b"):
        said[host]["info"]["fingerprint"] = text
        said[host]["store"]["store"] = text
        facts = dict.fromkeys(("kind", "version", "store", "namespace"), text)
        said[host]["engine"] = loaded((f"{text} one", text, None, "loaded"), **facts)
    return said


@pytest.mark.parametrize("lock", [False, True], ids=["most", "lock"])
@pytest.mark.parametrize("evil", EVIL)
def test_text_from_hosts_is_never_markup(evil, lock):
    plain = "x" * len(evil)
    bad, good = (Page(page(fleet_with_text(text, lock), title=text)) for text in (evil, plain))
    assert [(tag, sorted(own)) for tag, own in bad.tags] == [
        (tag, sorted(own)) for tag, own in good.tags
    ]
    # It is shown literally wherever it is not shortened.
    assert [data.replace(evil, plain) for data in bad.inside("dd")] == good.inside("dd")
    assert bad.inside("h1") == [evil]
    assert f"{evil} a" in bad.inside("th")
    assert f"{evil} one" in bad.values("title")


@pytest.mark.parametrize("evil", EVIL)
def test_text_of_an_earlier_report_is_never_markup(evil, tmp_path):
    pages = []
    for text in (evil, "x" * len(evil)):
        before, now = (fleet_with_text(text, lock=True) for _time in range(2))
        one, two = f"{text} a", f"{text} b"
        now[one], now[two] = before[two], before[one]
        now[f"{text} new"] = now.pop(f"{text} c")
        earlier = write_json(tmp_path / "earlier.json", before, f"{text} date")
        pages.append(Page(page(now, since=earlier)))
    bad, good = pages
    assert [(tag, sorted(own)) for tag, own in bad.tags] == [
        (tag, sorted(own)) for tag, own in good.tags
    ]
    assert f"Changes since the report of {evil} date" in bad.inside("h2")


def section(text: str) -> str:
    """Return the section of the changes as plain text."""
    found = re.search(r'<section aria-labelledby="changes">(.*?)</section>', text, re.S)
    assert found
    return " ".join(re.sub(r"<.*?>", " ", found[1]).split())


def test_page_shows_who_moved_and_who_is_behind(tmp_path):
    other = image("app:1", "other")
    rows = ("app:1", image_text(other), image_text(APP))
    before = {host: holds(APP, sync=synced([APP])) for host in ("a", "b", "c", "gone")}
    now = {
        **dict.fromkeys("ac", holds(other, sync=synced([other]))),
        "b": holds(APP, sync=synced([other], rows)),
        "new": {"info": UNREACHABLE, "sync": {"failed": True, "msg": "lost"}},
    }
    earlier = write_json(tmp_path / "earlier.json", before, "2026-11-23")
    shown = section(page(now, date="2026-11-30", since=earlier))
    old, new = (f"{one['digest'][:19]}… (linux/amd64)" for one in (APP, other))
    for part in (
        "Changes since the report of 2026-11-23",
        "The wanted version of 1 image changed. 2 hosts moved. 1 host is behind. 1 host is new, 1 is gone.",
        f"app:1 {old} {new} 2 of 3 b",
        f"app:1 {old} {new} yes a, c",
        "same same 2 a, c same differs 1 b same gone 1 gone new unreachable 1 new",
        "b differs 2026-11-30 behind : app:1",
        "new unreachable 2026-11-30",
    ):
        assert part in shown


def test_page_says_if_the_earlier_report_compared_with_something_else(tmp_path):
    earlier = write_json(tmp_path / "earlier.json", {"a": holds(APP)})
    shown = section(page({"a": holds(APP, sync=synced([APP]))}, since=earlier))
    assert "Changes since the earlier report" in shown
    assert "compared the hosts with what most of them held, this report with a lock file" in shown


STYLE = "".join(Page(page({})).inside("style"))


def schemes() -> dict[str, dict[str, tuple[float, ...]]]:
    """Return the colours of the light and the dark scheme, and of paper."""
    found = [
        {
            name: tuple(int(value[n : n + 2], 16) / 255 for n in (0, 2, 4))
            for name, value in re.findall(r"--(\w+): #([0-9a-f]{6});", block)
        }
        for block in re.findall(r":root \{(.*?)\}", STYLE, re.S)
    ]
    light, dark, paper = found
    return {"light": light, "dark": {**light, **dark}, "paper": {**light, **paper}}


def contrast(one: tuple[float, ...], other: tuple[float, ...]) -> float:
    """Return the contrast of two colours (WCAG 2.2, relative luminance)."""

    def luminance(color: tuple[float, ...]) -> float:
        linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in color]
        return sum(share * v for share, v in zip((0.2126, 0.7152, 0.0722), linear))

    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


STATES = ("same", "differs", "missing", "incomplete", "extra", "unknown", "none")
SHARES = ("share1", "share2", "share3", "share4")
TEXTS = [
    *(("ink", ground) for ground in ("paper", *STATES, *SHARES)),
    *(("soft", ground) for ground in ("paper", "same", "none")),
]


@pytest.mark.parametrize("scheme", schemes())
def test_text_has_contrast_in_every_scheme(scheme):
    colors = schemes()[scheme]
    low = {pair: contrast(colors[pair[0]], colors[pair[1]]) for pair in TEXTS}
    assert {pair: ratio for pair, ratio in low.items() if ratio < 4.5} == {}
    # Borders of what is operated, and the focus (WCAG 2.2, 1.4.11).
    assert min(contrast(colors[name], colors["paper"]) for name in ("edge", "focus")) >= 3


def test_every_colour_is_defined_by_a_scheme():
    rules = re.sub(r":root \{.*?\}", "", STYLE, flags=re.S)
    assert re.findall(r"#[0-9a-f]{3,8}\b(?=[;} ])", rules) == []
    assert set(re.findall(r"var\(--(\w+)\)", rules)) == set(schemes()["light"])


def test_page_has_no_animation():
    assert not re.search(r"animation|transition|@keyframes|scroll-behavior", STYLE)


@pytest.mark.parametrize("count", [60, 61])
def test_columns_that_do_not_fit_on_paper_are_not_printed(count):
    text = page({"a": holds(*(image(f"app:{n}") for n in range(count)))})
    assert ('class="wide"' in text) == ("do not fit on paper" in text) == (count > 60)


def test_picture_has_a_title_a_description_and_a_table():
    found = Page(page(FLEETS["all states"]))
    (picture,) = found.all("svg")
    assert picture["role"] == "img"
    assert "Layers that images share" in found.inside("title")
    assert len(found.inside("desc")) == 1
    layers = report(FLEETS["all states"])["layers"]
    rects = [own for own in found.all("rect") if own.get("class") != "frame"]
    assert len(rects) == len(layers)


def test_signers_have_a_column_if_the_lock_has_verdicts():
    one, other = image("a.b/app:1"), image("a.b/tool:2")
    said = {"a": holds(one, other, sync=synced([one, other]))}
    digests = {each["name"]: each["digest"] for each in (one, other)}
    lock = lock_of(one["name"], by=["key <b>"], digest_of=digests.get)
    assert "Vouched for by" not in page(said)
    shown = page(said, lock=lock)
    assert "Vouched for by" in shown and "key &lt;b&gt;" in shown and "<b>" not in shown
    lock["images"] += lock_of(other["name"], by=None, digest_of=digests.get)["images"]
    assert "<td>nobody</td>" in page(said, lock=lock)


def test_attached_content_is_listed_as_not_verified():
    one, other = image("a.b/app:1"), image("a.b/tool:2")
    said = {"a": holds(one, other, sync=synced([one, other]))}
    assert "not verified" not in page(said)
    found = attached(one, predicate_type="<b>type")
    found["images"].append({**found["images"][0], "name": other["name"], "digest": other["digest"], "attached": []})  # fmt: skip
    shown = page(said, attached=found)
    assert "Attached to the images: present, not verified" in shown
    assert shown.count("&lt;b&gt;type") == 3 and "<b>type" not in shown
    assert "<td>SBOM</td>" in shown and "<td>nothing</td>" in shown


def test_flood_of_attached_content_does_not_fill_the_page():
    one = image("a.b/app:1")
    found = attached(one)
    entry = found["images"][0]["attached"][0]
    found["images"][0]["attached"] = [{**entry, "digest": f"sha256:{n:064x}"} for n in range(7000)]
    shown = page({"a": holds(one)}, attached={"images": found["images"][:1]})
    assert shown.count("<td>signature</td>") == 50 and "<td>6950 more</td>" in shown


def test_registry_that_refuses_is_named_instead_of_a_list():
    one = image("a.b/app:1")
    shown = page({"a": holds(one)}, attached={"failed": True, "msg": "a.b: <i>denied"})
    assert "The registries could not be read: a.b: &lt;i&gt;denied" in shown
    assert "<td>nothing</td>" not in shown
