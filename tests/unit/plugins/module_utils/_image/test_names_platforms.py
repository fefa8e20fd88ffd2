# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Platforms: spellings, what runs where, and which entry of an index is chosen."""

from __future__ import annotations

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._image import names as platforms
from ansible_collections.lockstep.images.plugins.module_utils._image.errors import (
    NoPlatformError,
    PlatformError,
)
from ansible_collections.lockstep.images.plugins.module_utils._image.manifest import (
    OCI_MANIFEST,
    Descriptor,
)
from ansible_collections.lockstep.images.plugins.module_utils._image.names import (
    Digest,
    Platform,
    choose,
)
from ansible_collections.lockstep.images.tests.support.tables import (
    assert_tells,
    params,
    short,
    table,
)

PARSED = table("platform", "parse")

_NORMAL = "a platform has one spelling here: upstream parses v8 of arm64 and normalises it later"
_EXPLICIT = "the variant that is meant is shown, so that what is read says what it runs on"

# Text -> (variant, how it is shown; why not as upstream).
DEVIATIONS = {
    "linux/arm64/v8": ("", "linux/arm64", _NORMAL),
    "linux/arm": ("v7", "linux/arm/v7", _EXPLICIT),
    "arm": ("v7", "linux/arm/v7", _EXPLICIT),
    "armhf": ("v7", "linux/arm/v7", _EXPLICIT),
}


@pytest.fixture(autouse=True)
def host(monkeypatch):
    """The host is linux/amd64; a call makes it another one."""

    def become(machine: str, system: str = "Linux") -> Platform:
        monkeypatch.setattr(platforms._host, "machine", lambda: machine)
        monkeypatch.setattr(platforms._host, "system", lambda: system)
        return Platform.host()

    become("x86_64")
    return become


def entry(platform: Platform | None, content: bytes = b"") -> Descriptor:
    """One entry of an index."""
    return Descriptor(OCI_MANIFEST, Digest.of(content or str(platform).encode()), 7, platform)


def entries(*there: str | None) -> list[Descriptor]:
    return [entry(Platform.parse(text) if text else None) for text in there]


def chosen(wanted: str, *there: str | None) -> str:
    """The platform of the entry that is chosen."""
    return str(choose(Platform.parse(wanted), entries(*there), "name").platform)


def not_found(wanted: str, *there: Descriptor) -> NoPlatformError:
    with pytest.raises(NoPlatformError) as caught:
        choose(Platform.parse(wanted), there, "registry.example/app:1")
    assert_tells(caught.value, "platform-not-found", "registry.example/app:1", wanted)
    return caught.value


def test_every_deviation_is_about_a_case_of_the_table():
    assert set(DEVIATIONS) <= {case["text"] for case in PARSED}


@pytest.mark.parametrize("case", params(PARSED, "text"))
def test_a_platform_is_parsed_into_its_normal_form(case):
    """I018."""
    upstream = (case.get("variant", ""), case["shown"].replace("()", ""))
    variant, shown = DEVIATIONS.get(case["text"], upstream)[:2]
    platform = Platform.parse(case["text"])
    assert (platform.os, platform.architecture) == (case["os"], case["architecture"])
    assert platform.variant == variant
    assert platform.os_version == case.get("os_version", "")
    assert platform.os_features == tuple(sorted(case.get("os_features", ())))
    assert str(platform) == shown
    assert Platform.parse(str(platform)) == platform


@pytest.mark.parametrize("case", params([c for c in PARSED if "equal" in c], "text"))
def test_two_spellings_of_a_platform_are_equal(case):
    """I018."""
    for text in case["equal"]:
        assert Platform.parse(text) == Platform.parse(case["text"])


INVALID = [case["text"] for case in table("platform", "invalid")] + [
    *("/", "a/b/c/d", "*", "*/amd64", "linux/*", "linux/am\nd64", "linux//v7", "solo", "linux/(x)"),
    *("windows(10.0/amd64", "windows)10(/amd64", "linux\u0661/amd64", "x" * 100_000, "l\x1b/a"),
]


@pytest.mark.parametrize("text", INVALID, ids=short)
def test_invalid_platform_is_rejected(text):
    """I018."""
    with pytest.raises(PlatformError) as caught:
        Platform.parse(text)
    assert_tells(caught.value, "invalid-platform", repr(text)[:20].rstrip("'"))


@pytest.mark.parametrize("value", [None, 7, ["linux/amd64"]], ids=repr)
def test_value_that_is_not_text_is_not_a_platform(value):
    """I018."""
    with pytest.raises(PlatformError):
        Platform.parse(value)


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("linux/amd64/v2", "linux/amd64/v2"),
        ("linux/amd64/v1", "linux/amd64"),
        ("LINUX/x86_64", "linux/amd64"),
        ("linux/x86-64", "linux/amd64"),
        ("linux/arm/v7", "linux/arm/v7"),
        ("linux/arm/7", "linux/arm/v7"),
        ("linux/arm64/v8", "linux/arm64"),
        ("linux/arm64/8", "linux/arm64"),
        ("linux/arm64/v8.0", "linux/arm64"),
        ("linux/arm64/v9.0", "linux/arm64/v9"),
        ("windows(10.0.17763)/amd64", "windows(10.0.17763)/amd64"),
        ("macos/arm64", "darwin/arm64"),
    ],
)
def test_a_spelling_has_one_normal_form(text, normal):
    """I018."""
    assert str(Platform.parse(text)) == normal


@pytest.mark.parametrize("case", params(table("platform", "runs"), "platform"))
def test_a_platform_runs_what_was_built_for_its_lesser_variants(case):
    """M020."""
    wanted = Platform.parse(case["platform"])
    ranks = {text: wanted.rank(Platform.parse(text)) for text in case["runs"] + case["refuses"]}
    assert [text for text, rank in ranks.items() if rank is not None] == case["runs"]


@pytest.mark.parametrize("case", params(table("platform", "same"), "platform"))
def test_equal_platform_has_the_best_rank(case):
    """M020."""
    wanted = Platform.parse(case["platform"])
    ranks = {text: wanted.rank(Platform.parse(text)) for text in case["same"] + case["other"]}
    assert [text for text, rank in ranks.items() if rank == 0] == case["same"]


@pytest.mark.parametrize(
    "case", params([c for c in table("platform", "machines") if c["variant"]], "machine")
)
def test_the_version_of_an_arm_cpu_is_that_of_its_machine(case, host):
    expected = "linux/arm64" if case["machine"] == "aarch64" else f"linux/arm/v{case['variant']}"
    assert str(host(case["machine"])) == expected


@pytest.mark.parametrize(
    "case", params([c for c in table("platform", "machines") if not c["variant"]], "machine")
)
def test_an_unknown_machine_is_named_as_it_is(case, host):
    assert host(case["machine"]).architecture == case["machine"]


@pytest.mark.parametrize(
    ("machine", "system", "expected"),
    [
        ("x86_64", "Linux", "linux/amd64"),
        ("AMD64", "Windows", "windows/amd64"),
        ("arm64", "Darwin", "darwin/arm64"),
        ("armv7l", "Linux", "linux/arm/v7"),
        ("armv6l", "Linux", "linux/arm/v6"),
        ("armv8l", "Linux", "linux/arm/v8"),
        ("armv5tejl", "Linux", "linux/arm/v5"),
        ("i686", "Linux", "linux/386"),
        ("s390x", "Linux", "linux/s390x"),
        ("loongarch64", "Linux", "linux/loong64"),
    ],
)
def test_host_platform_comes_from_uname(machine, system, expected, host):
    """The level of an amd64 CPU is never guessed."""
    assert str(host(machine, system)) == expected


def test_one_word_takes_the_rest_from_the_host(host):
    host("armv6l", "Linux")
    assert str(Platform.parse("linux")) == "linux/arm/v6"
    assert str(Platform.parse("s390x")) == "linux/s390x"
    assert str(Platform.parse("Windows")) == "windows/arm/v6"


@pytest.mark.parametrize(
    ("wanted", "there", "best"),
    [
        ("linux/amd64/v3", ["linux/amd64", "linux/amd64/v2", "linux/amd64/v4"], "linux/amd64/v2"),
        ("linux/amd64", ["linux/386", "linux/amd64"], "linux/amd64"),
        ("linux/amd64", ["linux/386", "linux/amd64/v2"], "linux/386"),
        ("linux/arm/v7", ["linux/arm/v5", "linux/arm/v6", "linux/arm64"], "linux/arm/v6"),
        ("linux/arm64", ["linux/arm/v7", "linux/arm64"], "linux/arm64"),
        ("linux/arm64", ["linux/arm/v6", "linux/arm/v7"], "linux/arm/v7"),
        ("linux/arm64/v9", ["linux/arm64/v8.5", "linux/arm64/v8.6"], "linux/arm64/v8.5"),
        ("linux/ppc64le", ["linux/amd64", "linux/ppc64le"], "linux/ppc64le"),
        ("linux(+gpu)/amd64", ["linux/amd64", "linux(+gpu)/amd64"], "linux(+gpu)/amd64"),
        ("linux/amd64", ["linux(+gpu)/amd64", "linux/amd64"], "linux/amd64"),
        ("linux/amd64", ["linux(+gpu+npu)/amd64", "linux(+gpu)/amd64"], "linux(+gpu)/amd64"),
        ("windows(10.0.20348)/amd64",
         ["windows(10.0.17763.9)/amd64", "windows(10.0.20348.7)/amd64"],
         "windows(10.0.20348.7)/amd64"),
    ],
)  # fmt: skip
def test_the_best_of_several_matches_is_chosen_in_any_order(wanted, there, best):
    """M020."""
    assert chosen(wanted, *there) == best
    assert chosen(wanted, *reversed(there)) == best


def test_the_earlier_of_two_equals_is_chosen():
    """M020."""
    platform = Platform.parse("linux/amd64")
    first, second = entry(platform, b"first"), entry(platform, b"second")
    assert choose(platform, [first, second], "name") == first
    assert choose(platform, [second, first], "name") == second


def test_no_match_lists_the_available_platforms():
    """M019."""
    error = not_found("linux/s390x", *entries("linux/arm64", "linux/amd64", "linux/amd64"))
    assert "available: linux/amd64, linux/arm64" in str(error)
    assert error.as_result()["platforms"] == ["linux/amd64", "linux/arm64"]


def test_an_empty_index_has_no_platform():
    """M026."""
    assert "available: none" in str(not_found("linux/amd64"))


@pytest.mark.parametrize(
    ("wanted", "there"),
    [
        ("windows/amd64", "linux/amd64"),
        ("linux(+gpu)/amd64", "linux/amd64"),
        ("windows(10.0.17763)/amd64", "windows(10.0.177)/amd64"),
        ("windows(10.0.17763)/amd64", "windows(10.0.20348)/amd64"),
    ],
)
def test_other_operating_system_does_not_match(wanted, there):
    """M019."""
    not_found(wanted, *entries(there))


def test_an_entry_without_platform_is_chosen_only_when_it_is_alone():
    """M021."""
    assert chosen("linux/amd64", None) == "None"
    assert chosen("linux/amd64", None, "unknown/unknown") == "None"
    assert chosen("linux/amd64", None, "linux/amd64") == "linux/amd64"
    not_found("linux/amd64", *entries(None, "linux/arm64"))
    not_found("linux/amd64", entry(None, b"one"), entry(None, b"two"))


def test_an_attestation_is_never_chosen():
    """M022."""
    assert chosen("linux/amd64", "unknown/unknown", "linux/amd64") == "linux/amd64"
    error = not_found("linux/amd64", *entries("unknown/unknown", "linux/arm64"))
    assert error.as_result()["platforms"] == ["linux/arm64"]
    not_found("unknown/unknown", *entries("unknown/unknown"))


def test_foreign_platforms_are_listed_on_one_short_line():
    """M019."""
    odd = [entry(Platform.of(f"os{n}\n\x1b[31m", "cpu\u2028")) for n in range(1000)]
    not_found("linux/amd64", *odd)
