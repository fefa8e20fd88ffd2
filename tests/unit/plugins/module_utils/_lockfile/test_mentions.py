# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Mentions of images in a file: what counts as an image, as a doubt, and as an error with its place."""

from __future__ import annotations

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._image.errors import InputError
from ansible_collections.lockstep.images.plugins.module_utils._lockfile.mentions import (
    FILL_IN,
    Findings,
    could_be_image,
    has_host,
    has_tag,
    has_variables,
    is_reference,
    is_remote,
    is_specific,
    text_of,
)
from ansible_collections.lockstep.images.plugins.module_utils._lockfile.yamlfile import Text

PASSWORD = "hunter22"


@pytest.fixture(name="given")
def fixture_given():
    """The findings of a file that the user gave."""
    return Findings("it.yml", True)


@pytest.fixture(name="listed")
def fixture_listed():
    """The findings of a file in a directory that the user gave."""
    return Findings("dir/it.yml", False)


def names_of(findings):
    return [str(one.reference) for one in findings.named()]


def test_mentions_become_complete_references_in_order(given):
    given.take("debian:12", 3)
    given.take("r.example/app", 4, platform="linux/arm/v7", is_built=True)
    first, second = given.named()
    assert (str(first.reference), first.platform, first.built_at) == (
        "docker.io/library/debian:12",
        None,
        "",
    )
    assert (str(second.platform), second.built_at) == ("linux/arm/v7", "it.yml, line 4")


def test_place_names_the_line_and_the_file_that_is_included(given):
    assert given.place(3) == "it.yml, line 3"
    assert given.place(0) == "it.yml"
    assert given.place(3, "other.yml") == "other.yml, line 3"


@pytest.mark.parametrize("findings", ["given", "listed"])
def test_missing_value_is_ignored(findings, request):
    found = request.getfixturevalue(findings)
    found.take(None, 1)
    assert (found.mentions, found.warnings) == ([], [])


def test_empty_text_is_an_error_only_in_a_file_that_the_user_gave(given, listed):
    listed.take("", 1)
    assert names_of(listed) == []
    given.take("", 1)
    with pytest.raises(InputError, match=r"it\.yml, line 1: reference is empty"):
        given.named()


@pytest.mark.parametrize("value", [1.10, 5, True, [], {}, b"debian:12"])
def test_value_that_is_not_a_text_is_a_problem(given, listed, value):
    """The number 1.10 could be the tag 1.1."""
    with pytest.raises(InputError, match=r"it\.yml, line 7: image is not a text"):
        given.take(value, 7)
    listed.take(value, 7)
    assert listed.warnings == ["dir/it.yml, line 7: image is not a text, and is not locked"]
    assert listed.mentions == []


@pytest.mark.parametrize("text", ["${IMAGE}", "app:$TAG", "{{ image }}"])
def test_variables_are_an_error_that_says_how_to_fill_them_in(given, text):
    given.take(text, 2)
    with pytest.raises(InputError, match=r"it\.yml, line 2: .* contains variables") as caught:
        given.named()
    assert caught.value.hint == FILL_IN


def test_variables_in_a_platform_are_an_error(given):
    given.take("debian:12", 2, platform="linux/${ARCH}")
    with pytest.raises(InputError, match="contains variables"):
        given.named()


@pytest.mark.parametrize("platform", ["/", "a/b/c/d", "linux/ amd64"])
def test_invalid_platform_is_an_error_with_its_place(given, platform):
    given.take("debian:12", 9, platform=platform)
    with pytest.raises(InputError, match=r"^it\.yml, line 9: "):
        given.named()


NOT_FATAL = {
    "a template in a directory": ("listed", True, "{{ image }}"),
    "a placeholder in a directory": ("listed", True, "<image>"),
    "a URL in a directory": ("listed", True, "https://r.example/app"),
    "a pattern": ("given", True, "r.example/*"),
    "an invalid name in a file that builds images": ("listed", False, "r.example/UPPER"),
}
FATAL = {
    "an invalid name": ("given", True, "r.example/UPPER"),
    "an invalid name in a directory": ("listed", True, "r.example/UPPER"),
    "a placeholder in a given file": ("given", True, "<image>"),
    "a given file that builds images": ("given", False, "r.example/UPPER"),
}


@pytest.mark.parametrize(("findings", "for_hosts", "text"), NOT_FATAL.values(), ids=NOT_FATAL)
def test_name_that_may_be_meant_otherwise_is_a_warning(findings, for_hosts, text, request):
    found = request.getfixturevalue(findings)
    found.is_for_hosts = for_hosts
    found.take(text, 5)
    found.take("debian:12", 6)
    assert names_of(found) == ["docker.io/library/debian:12"]
    (warning,) = found.warnings
    assert warning.startswith(found.place(5))
    assert warning.endswith(", and is not locked")


@pytest.mark.parametrize(("findings", "for_hosts", "text"), FATAL.values(), ids=FATAL)
def test_invalid_name_is_an_error(findings, for_hosts, text, request):
    found = request.getfixturevalue(findings)
    found.is_for_hosts = for_hosts
    found.take(text, 5)
    with pytest.raises(InputError, match="line 5"):
        found.named()


def test_error_and_doubt_show_no_password(given, listed):
    given.take(f"user:{PASSWORD}@r.example/$app", 1)
    with pytest.raises(InputError) as caught:
        given.named()
    listed.doubt("image", f"user:{PASSWORD}@r.example/$app", 1)
    (doubt,) = listed.doubts()
    assert PASSWORD not in f"{caught.value}{caught.value.hint}{doubt}"


def test_guess_is_an_image_or_a_doubt(listed):
    listed.guess("image", "r.example/app:1", 1)
    listed.guess("image", "${IMAGE}", 2)
    assert names_of(listed) == ["r.example/app:1"]
    (doubt,) = listed.doubts()
    assert doubt.store_name == ""
    assert doubt.warning == (
        "dir/it.yml, line 2: image: ${IMAGE} could be an image, and is not locked"
    )


def test_doubts_are_listed_once_by_line_and_not_for_mentions(listed):
    listed.doubt("b", "r.example/late:1", 9)
    listed.doubt("a", "r.example/early:1", 1)
    listed.doubt("c", "r.example/early:1", 5)
    listed.doubt("d", "r.example/taken:1", 2)
    listed.take("r.example/taken:1", 3)
    assert [one.store_name for one in listed.doubts()] == [
        "r.example/early:1",
        "r.example/late:1",
    ]


def test_hidden_doubt_is_not_repeated(listed):
    listed.doubt("password", "r.example/secret:1", 1, is_shown=False)
    assert "secret" not in listed.doubts()[0].warning


TEXTS = {
    "app": (False, False, True, False),
    "app:1": (False, True, True, True),
    "r.example/app": (True, False, True, True),
    "localhost/app": (True, False, True, True),
    "library/app": (False, False, True, False),
    "r.example:5000/app": (True, False, True, True),
    f"app@sha256:{'a' * 64}": (False, True, True, True),
    "pictures/logo.png": (False, False, False, False),
    "UPPER:1": (False, True, False, False),
    "": (False, False, False, False),
}


@pytest.mark.parametrize("text", TEXTS)
def test_text_is_judged_by_host_tag_and_form(text):
    judged = (has_host(text), has_tag(text), is_reference(text), is_specific(text))
    assert judged == TEXTS[text]


@pytest.mark.parametrize("text", ["app", "$IMAGE", "{{ image }}", "docker://app", "oci://r/app"])
def test_text_that_could_name_an_image_is_doubted(text):
    assert could_be_image(text)


@pytest.mark.parametrize(
    "text", ["", "https://x/y", "s3://b/k", "ssh:x", "a\nb", "x" * 301, "Not an image"]
)
def test_other_text_is_not_doubted(text):
    assert not could_be_image(text)


@pytest.mark.parametrize(
    ("path", "is_url"),
    [
        ("https://x/y.yml", True),
        ("git@github.com:a/b", True),
        ("github.com/a/b", True),
        ("git::gitlab.com/a/b", True),
        ("../base?ref=v1", True),
        ("../base", False),
        ("github.community/a", False),
    ],
)
def test_url_and_repository_are_remote(path, is_url):
    assert is_remote(path) is is_url


def test_only_scalars_have_a_text():
    text = Text("x")
    assert text_of(text) is text
    assert [text_of(other) for other in ("x", 1, None, [text])] == [Text()] * 4


@pytest.mark.parametrize(("text", "has"), [("$A", True), ("{{ a }}", True), ("{ a }", False)])
def test_variables_are_known_by_their_marks(text, has):
    assert has_variables(text) is has
