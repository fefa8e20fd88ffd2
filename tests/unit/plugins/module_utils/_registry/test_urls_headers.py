# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What HTTP headers say."""

from __future__ import annotations

import time

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._image.errors import (
    ProtocolError,
    printable,
)
from ansible_collections.lockstep.images.plugins.module_utils._registry.urls import (
    content_range,
    next_page,
    origin,
    own_url,
    rate_limit,
    retry_after,
    shown_url,
    warning_text,
)
from ansible_collections.lockstep.images.tests.support.tables import (
    assert_tells,
    params,
    short,
    table,
)

NOW = 1_800_000_000.0  # Fri, 15 Jan 2027 08:00:00 GMT
TAGS = "https://registry.example/v2/app/tags/list"
SIGNED = "https://user:hunter22@registry.example/v2/app/blobs/x?X-Signature=hunter22#hunter22"

_BY_HOST = "a registry behind a proxy knows neither its scheme nor its port: the name of the host counts, and we stay where we are"

# case -> why we follow a link that oras refuses.
DEVIATIONS = {
    "cross-origin, scheme downgrade": _BY_HOST,
    "cross-origin, different port": _BY_HOST,
    "cross-origin, different host": _BY_HOST,  # which is another port, too
}


def refused(link: str, url: str = TAGS, *subjects: str) -> None:
    with pytest.raises(ProtocolError) as caught:
        next_page([link], url)
    host = url.split("/")[2].rpartition("@")[2]
    assert_tells(caught.value, "registry-protocol", host, *subjects, never=("hunter22",))


@pytest.mark.parametrize("case", params(table("headers", "warning"), "header"))
def test_only_the_text_of_a_warning_299_is_shown(case):
    assert warning_text(case["header"]) == case["text"]


def test_a_warning_is_of_bounded_length():
    assert len(warning_text('299 - "' + "x" * 60_000 + '"')) == 1000


@pytest.mark.parametrize("case", params(table("headers", "link"), "case"))
def test_the_next_page_is_on_the_same_host(case):
    if case["case"] in DEVIATIONS:
        origin = case["url"].partition("/v2/")[0]
        assert next_page([case["header"]], case["url"]).startswith(f"{origin}/v2/")
    elif case.get("refused"):
        refused(case["header"], case["url"])
    else:
        assert next_page([case["header"]], case["url"]) == case["next"]


@pytest.mark.parametrize(
    ("links", "target"),
    [
        ([], None),
        (["</x>; rel=next"], "/x"),
        (["</x>; REL=Next"], "/x"),
        (['</x>;rel="prev next"'], "/x"),
        (['</x>; title="a, b"; rel="next"'], "/x"),
        (['</x>; rel="prev"'], None),
        (['</x>; rel="prev"; title="next"'], None),
        (["</x>; rel=prev; title=next"], None),
        (['</x>; rel="nextish"'], None),
        (["</x>"], None),
        (['</a>; rel="prev", </b>; rel="next"'], "/b"),
        (['</a>; rel="prev"', '</b>; rel="next"'], "/b"),
        (['<list?n=1&last=a>; rel="next"'], "/v2/app/tags/list?n=1&last=a"),
    ],
)
def test_the_link_called_next_is_the_next_page(links, target):
    """RFC 8288."""
    expected = None if target is None else "https://registry.example" + target
    assert next_page(links, TAGS) == expected


@pytest.mark.parametrize(
    "link",
    [
        "<https://[::1/x>; rel=next",
        "<https://registry.example:port/x>; rel=next",
        "<https://registry.example:99999/x>; rel=next",
        "<https://user:hunter22@other.example/x?hunter22>; rel=next",
        "<javascript:alert(1)>; rel=next",
        "no link at all hunter22",
        "",
    ],
)
def test_a_link_that_leads_nowhere_is_an_error(link):
    refused(link)


OWN = {
    "absolute": "https://registry.example:5000/v2/x?a=%2F",
    "another-scheme": "http://registry.example:5000/v2/x?a=%2F",
    "without-the-port": "http://registry.example/v2/x?a=%2F",
    "another-port": "https://registry.example:5001/v2/x?a=%2F",
    "without-a-scheme": "//registry.example/v2/x?a=%2F",
    "capitals": "HTTP://Registry.Example/v2/x?a=%2F",
    "path": "/v2/x?a=%2F",
    "relative": " ../x?a=%2F ",
    "with-a-user": "http://user:hunter22@registry.example/v2/x?a=%2F#part",
    "name-of-the-front": "http://front.example/v2/x?a=%2F",
}


@pytest.mark.parametrize(("case", "location"), OWN.items(), ids=OWN)
def test_F10_a_url_of_the_registry_itself_is_known_by_its_host(case, location):
    """Scheme and port are those by which it is reached, whatever a proxy made it say."""
    url, front = "https://registry.example:5000/v2/app/list", "https://front.example"
    base = front if "front" in case else "https://registry.example:5000"
    assert own_url(location, url, front) == f"{base}/v2/x?a=%2F"
    assert next_page([f'<{location}>; rel="next"'], url, front) == f"{base}/v2/x?a=%2F"


NOT_OWN = [
    "http://other.example/v2/x",
    "//other.example/v2/x",
    "http://registry.example.other/v2/x",
    "ftp://registry.example/v2/x",
    "file:///v2/x",
    "http:///v2/x",
    "http://registry.example",
    "http://registry.example:port/x",
    "http://registry.example:99999/x",
    "http://[::1/x",
    "http://registry.example@other.example/x",
]


@pytest.mark.parametrize("location", NOT_OWN)
def test_F10_a_url_on_another_host_is_not_of_the_registry(location):
    assert own_url(location, TAGS) == ""


def test_the_error_about_a_link_shows_no_query():
    refused("<https://other.example/x?hunter22>; rel=next", SIGNED, "https://other.example/x")


@pytest.mark.parametrize(
    "link",
    ["<" * 60_000, "<a>" + ";" * 60_000, "<a>;a" + " " * 60_000 + "x", "<a>;" + "a;" * 30_000],
    ids=short,
)
def test_a_long_link_is_read_in_time(link):
    started = time.process_time()
    try:
        next_page([link], TAGS)
    except ProtocolError as exc:
        assert_tells(exc, "registry-protocol")
    assert time.process_time() - started < 2


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0.0),
        ("7", 7.0),
        (" 7 ", 7.0),
        ("100000", 100000.0),
        (str(int(NOW) + 9), 9.0),
        (str(int(NOW) - 9), 0.0),
        ("Fri, 15 Jan 2027 08:00:09 GMT", 9.0),
        ("Friday, 15-Jan-27 08:00:09 GMT", 9.0),
        ("Fri Jan 15 08:00:09 2027", 9.0),
        ("Fri, 15 Jan 2027 07:00:00 GMT", 0.0),
        ("Sat, 15 Jan 2028 08:00:00 GMT", 365 * 86400.0),
    ],
)
def test_a_wait_is_given_in_seconds_as_a_date_or_as_a_unix_time(value, seconds):
    """RFC 9110 10.2.3, and what Docker Hub has sent."""
    assert retry_after(value, NOW) == seconds


@pytest.mark.parametrize(
    "value",
    ["", "soon", "-7", "7.5", "1e3", "\u0667", "9" * 5000, "Fri, 99 Foo 2027", "Jan", "GMT",
     "0x10", "Fri, 15 Jan 99999999999999999999 08:00:00 GMT",
     "Fri, 15 Jan 2027 08:00:00 +999999999999999999999"],
    ids=short,
)  # fmt: skip
def test_invalid_wait_is_ignored(value):
    assert retry_after(value, NOW) in (None, 0.0)


@pytest.mark.parametrize("case", params(table("headers", "content_range"), "header"))
def test_a_content_range_is_read_as_upstream_does(case):
    expected = case["range"] and tuple(case["range"])
    assert content_range(case["header"]) == expected


@pytest.mark.parametrize(
    "value",
    [
        "bytes */10",
        "bytes 0-9/10, 20-29/30",
        "Bytes=0-9/10",
        "bytes -1-9/10",
        "bytes 0-9/-1",
        "bytes 0-9/10\r\nX: y",
        "bytes \u0660-\u0669/10",
        "bytes 0-" + "9" * 5000 + "/10",
    ],
    ids=short,
)
def test_invalid_content_range_is_none(value):
    assert content_range(value) is None


def test_blanks_around_a_content_range_mean_nothing():
    assert content_range(" bytes 5-9/10 ") == (5, 9, 10)


@pytest.mark.parametrize(
    ("limit", "remaining", "told"),
    [
        ("100;w=21600", "76;w=21600", {"limit": 100, "remaining": 76, "window": 21600}),
        ("100;w=21600", "", {"limit": 100, "window": 21600}),
        ("", "0;w=21600", {"remaining": 0, "window": 21600}),
        ("100", "99", {"limit": 100, "remaining": 99}),
        (" 100 ; w=60", "5", {"limit": 100, "remaining": 5, "window": 60}),
        ("100, 100;w=21600", "7, 7;w=21600", {"limit": 100, "remaining": 7}),
        ("", "", {}),
        ("many", "few", {}),
        ("-1", "-1;w=60", {}),
        ("\u0661", "\u0661", {}),
        ("9" * 5000, "1" * 5000, {"limit": 999_999_999, "remaining": 111_111_111}),
    ],
    ids=short,
)
def test_a_rate_limit_is_read_as_docker_hub_sends_it(limit, remaining, told):
    assert rate_limit(limit, remaining) == told


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("https://a.example", "https://A.example:443/x?y", True),
        ("http://a.example", "http://a.example:80", True),
        ("https://a.example", "http://a.example", False),
        ("https://a.example", "https://a.example:444", False),
        ("https://a.example", "https://b.example", False),
        ("https://[::1]:5000", "https://[::1]:5000/x", True),
        ("https://user@a.example", "https://a.example", True),
    ],
)
def test_an_origin_is_scheme_host_and_port(one, other, same):
    assert (origin(one) == origin(other)) == same


@pytest.mark.parametrize(
    "url", ["https://a.example:port/", "https://a.example:99999/", "https://[::1/"]
)
def test_a_url_without_an_origin_is_an_error(url):
    with pytest.raises(ProtocolError) as caught:
        origin(url)
    assert_tells(caught.value, "registry-protocol")


def test_a_url_is_shown_without_user_query_and_fragment():
    assert shown_url(SIGNED) == "https://registry.example/v2/app/blobs/x"


@pytest.mark.parametrize(
    "url",
    [
        "https://[::1/?hunter22",
        "https://u:hunter22@[x]/",
        "no URL?hunter22",
        "https://a.example/\x1b[31m\u2028x",
        "https://a.example/" + "x" * 10_000,
    ],
    ids=short,
)
def test_anything_can_be_shown_on_one_line(url):
    shown = shown_url(url)
    assert shown.isprintable() and len(shown) < 1000 and "hunter22" not in shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("two\r\nlines", "two lines"),
        ("\x1b[31mred\x07", "[31mred"),
        ("  a \u2028 b\u200b", "a b"),
        ("\u017elu\u0165ou\u010dk\u00fd", "\u017elu\u0165ou\u010dk\u00fd"),
        ("x" * 300, "x" * 197 + "..."),
        ("", ""),
    ],
    ids=short,
)
def test_foreign_text_is_shown_on_one_short_line(text, shown):
    assert printable(text) == shown
