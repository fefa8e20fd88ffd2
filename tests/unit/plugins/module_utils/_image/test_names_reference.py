# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Image names: Docker's rules, and the documented deviations."""

from __future__ import annotations

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._image.errors import ReferenceError
from ansible_collections.lockstep.images.plugins.module_utils._image.names import (
    Platform,
    Reference,
    parse_registry,
    platforms_of,
    split_domain,
)
from ansible_collections.lockstep.images.plugins.module_utils._operations.info import familiar
from ansible_collections.lockstep.images.tests.support.tables import (
    assert_tells,
    params,
    short,
    table,
)

A, F = "a" * 64, "f" * 64
DIGEST = f"sha256:{F}"
_REDIS = "dbcc1c35ac38df41fd2f5e4130b32ffdb93ebae8b3dbe638c23575912276fc9c"
_BUSYBOX = "e6693c20186f837fc393390135d8a598a96a833917917789d63766cab6c59582"
_PORT = "no such port: it is found here, not when connecting"
_TAG_BESIDE_DIGEST = "docker pull forgets a tag beside a digest, we remember it"

# Text -> (what we make of it, None for an error; why that is not what upstream does).
DEVIATIONS = {
    f"validname@sha512:{F}{F}": (
        f"docker.io/library/validname@sha512:{F}{F}",
        "upstream's test has sha512 switched off",
    ),
    _REDIS: (None, "64 hexadecimal digits may be an image ID (I014), docker pull refuses them too"),
    f"sha256:{_REDIS}": (
        f"docker.io/library/sha256:{_REDIS}",
        "a digest alone is no image in a registry; docker pull takes it for a tag as we do",
    ),
    f"gcr.io/library/busybox:latest@sha256:{_BUSYBOX}": (
        f"gcr.io/library/busybox:latest@sha256:{_BUSYBOX}",
        _TAG_BESIDE_DIGEST,
    ),
    "192.168.1.1:75050": (None, _PORT),
    "192.168.1.1:750050": (None, _PORT),
    "[fd00:1:2::3]:75050": (None, _PORT),
    "[fd00123123123]:75050": (None, _PORT),
    "[2001:0db8:85a3:0000:0000:8a2e:0370:7334]:75050": (None, _PORT),
    "[2001:0db8:85a3:0000:0000:8a2e:0370:7334]:750505": (None, _PORT),
}


def expected(text: str, upstream: str | None) -> str | None:
    """Return the full name, or None for an error."""
    return DEVIATIONS[text][0] if text in DEVIATIONS else upstream


def verdict(text: str) -> str | None:
    """Return the reference of a text; its full spelling parses to the same reference."""
    try:
        reference = Reference.parse(text)
    except ReferenceError as exc:
        assert_tells(exc, "invalid-reference")
        return None
    assert Reference.parse(str(reference)) == reference
    assert Reference.parse(familiar(reference)) == reference
    return str(reference)


def refused(text: str, *subjects: str, never: tuple[str, ...] = ()) -> str:
    """The message with which a text is refused."""
    with pytest.raises(ReferenceError) as caught:
        Reference.parse(text)
    assert_tells(caught.value, "invalid-reference", *subjects, never=never)
    return str(caught.value)


def written(case) -> str | None:
    """The full spelling of a case of the table "grammar"."""
    if "refused" in case:
        return None
    digest = f"@{case['digest']}" if "digest" in case else ""
    tag = case.get("tag", "" if digest else "latest")
    return case["name"] + (f":{tag}" if tag else "") + digest


def test_every_deviation_is_about_a_case_of_a_table():
    known = {
        case["text"]
        for name in ("grammar", "any", "pulled", "registries")
        for case in table("reference", name)
    }
    assert set(DEVIATIONS) <= known


@pytest.mark.parametrize("case", params(table("reference", "grammar"), "text"))
def test_the_grammar_is_dockers(case):
    """I001, I002, I004, I005, I006, I008, I012."""
    assert verdict(case["text"]) == expected(case["text"], written(case))


@pytest.mark.parametrize("case", params(table("reference", "canonical"), "text"))
def test_a_full_name_is_left_as_it_is(case):
    assert (Reference.parse(case["text"]).name == case["text"]) == case["canonical"]


@pytest.mark.parametrize("case", params(table("reference", "valid"), "text"))
def test_names_that_docker_accepts_are_accepted(case):
    """I004, I012, I013."""
    assert verdict(case["text"])


@pytest.mark.parametrize("case", params(table("reference", "invalid"), "text"))
def test_names_that_docker_rejects_are_rejected(case):
    """I002, I003, I004, I009, I014."""
    assert refused(case["text"])


@pytest.mark.parametrize("case", params(table("reference", "spellings"), "name"))
def test_all_spellings_of_a_name_are_one_reference(case):
    """I012, I013."""
    references = {Reference.parse(text) for text in case["spellings"]}
    assert len(references) == 1
    reference = references.pop()
    assert (reference.registry, reference.repository) == (case["registry"], case["repository"])
    assert reference.name == case["name"]
    assert familiar(reference) == case["familiar"] + ":latest"


@pytest.mark.parametrize("case", params(table("reference", "any"), "text"))
def test_a_short_name_stands_for_a_full_one(case):
    """I014, I017."""
    assert verdict(case["text"]) == expected(case["text"], case["full"])


@pytest.mark.parametrize("case", params(table("reference", "pulled"), "case"))
def test_a_name_is_pulled_as_docker_pulls_it(case):
    """I007."""
    assert verdict(case["text"]) == expected(case["text"], case["full"])


@pytest.mark.parametrize("case", params(table("reference", "registries"), "text"))
def test_a_registry_is_a_host_and_a_port(case):
    """I004, I015."""
    if expected(case["text"], "" if case["valid"] else None) is None:
        with pytest.raises(ReferenceError) as caught:
            parse_registry(case["text"])
        assert_tells(caught.value, "invalid-reference", case["text"])
    else:
        assert parse_registry(case["text"]) == case["text"].lower()


@pytest.mark.parametrize(
    "text",
    ["", " ", "\t", "\n", "a b", "a\tb", "deb\nian", "a\0b", "a\0", "debian: 12\r\n", "a\x7f"],
    ids=repr,
)
def test_name_with_blanks_or_control_characters_is_rejected(text):
    """I001."""
    assert refused(text)


@pytest.mark.parametrize("value", [None, 7, [], b"debian"], ids=repr)
def test_value_that_is_not_text_is_not_a_name(value):
    """I001."""
    assert refused(value)


@pytest.mark.parametrize(
    ("text", "registry", "repository"),
    [
        ("Registry.Example.COM/app", "registry.example.com", "app"),
        ("LOCALHOST:5000/app", "localhost:5000", "app"),
        ("LOCALHOST/app", "localhost", "app"),
        ("INDEX.docker.io/app", "docker.io", "library/app"),
        ("[FC00::1]:5000/app", "[fc00::1]:5000", "app"),
        ("LOCALDOMAIN/app", "LOCALDOMAIN", "app"),
    ],
)
def test_a_host_is_lower_case_unless_its_capitals_make_it_a_host(text, registry, repository):
    """I002."""
    reference = Reference.parse(text)
    assert (reference.registry, reference.repository) == (registry, repository)
    assert verdict(text)


def test_capitals_in_a_path_are_refused_by_name():
    """I002."""
    assert "must be lower case" in refused("docker.io/library/Debian", "'Debian'")


@pytest.mark.parametrize(
    "text",
    [
        "http://registry.example/app",
        "https://registry.example/app:1",
        "docker://debian",
        "oci:/var/lib/images:app",
        "oci-archive:/tmp/a.tar",
        "docker-archive:./a.tar",
        "dir:/tmp/x",
    ],
)
def test_a_scheme_is_refused_and_the_error_says_what_is_accepted(text):
    """I003."""
    with pytest.raises(ReferenceError) as caught:
        Reference.parse(text)
    assert_tells(caught.value, "invalid-reference", text)
    assert "registry/repository:tag" in caught.value.hint


def test_a_word_that_is_a_transport_elsewhere_may_be_a_name():
    """I003."""
    assert verdict("oci:latest") == "docker.io/library/oci:latest"


@pytest.mark.parametrize(
    "text", ["[fe80::1%eth0]:5000/x", "[::1:5000/x", "::1]:5000/x", "[]/x", "[::1]x/y", "[::1]"]
)
def test_a_malformed_ipv6_host_is_refused(text):
    """I004."""
    assert refused(text)


def test_an_ipv6_host_is_a_registry():
    """I004."""
    assert verdict("[::1]:5000/x") == "[::1]:5000/x:latest"
    assert verdict("[fc00::1]/x") == "[fc00::1]/x:latest"


@pytest.mark.parametrize(
    "tag", ["t" * 128, "_", "1", "A.b-c_d", "0" * 64, "v1.2.3-rc.1", "a.", "a-"], ids=short
)
def test_a_tag_has_up_to_128_characters(tag):
    """I005."""
    assert verdict(f"debian:{tag}") == f"docker.io/library/debian:{tag}"
    assert Reference.parse("debian").with_tag(tag).tag == tag


@pytest.mark.parametrize(
    "tag", ["t" * 129, "-a", ".a", "", "a:b", "a/b", "a+b", "a%2fb", "\u0661"], ids=short
)
def test_any_other_tag_is_refused(tag):
    """I005."""
    if "/" not in tag:
        refused(f"debian:{tag}")
    with pytest.raises(ReferenceError) as caught:
        Reference.parse("debian").with_tag(tag)
    assert_tells(caught.value, "invalid-reference", "docker.io/library/debian")


@pytest.mark.parametrize(
    "digest",
    [
        pytest.param(DIGEST[:-1], id="short"),
        pytest.param(DIGEST + "f", id="long"),
        pytest.param(DIGEST.upper(), id="upper-case"),
        pytest.param("md5:" + "f" * 32, id="md5"),
        pytest.param("sha384:" + "f" * 96, id="sha384"),
        pytest.param("", id="empty"),
        pytest.param(F, id="no-algorithm"),
    ],
)
def test_a_wrong_digest_is_refused_with_its_reason(digest):
    """I006."""
    assert "digest" in refused(f"debian@{digest}", f"@{digest}"[:60])


def test_a_tag_beside_a_digest_is_remembered():
    """I007: the digest decides what is fetched."""
    reference = Reference.parse(f"debian:12@{DIGEST}")
    assert (reference.tag, str(reference.digest)) == ("12", DIGEST)
    assert str(reference) == f"docker.io/library/debian:12@{DIGEST}"


def test_a_digest_alone_implies_no_tag():
    """I007."""
    reference = Reference.parse(f"debian@{DIGEST}")
    assert reference.tag is None and str(reference.digest) == DIGEST
    assert Reference.parse("debian").tag == "latest"


HOSTS = [
    "",
    "registry.example/",
    "a-host-with-a-long-name.registry.example:5000/",
    "[fc00::1]:5000/",
]


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize(("length", "accepted"), [(255, True), (256, False)])
def test_F11_the_limit_of_255_characters_counts_the_path_alone(host, length, accepted):
    """I008: without registry and tag, as distribution/reference v0.6 counts it."""
    name = host + "team/" + "a" * (length - len("team/"))
    assert (verdict(f"{name}:tag") is not None) == accepted


@pytest.mark.parametrize(("length", "accepted"), [(247, True), (248, False)])
def test_F11_the_limit_counts_the_library_of_a_short_name(length, accepted):
    """I008: the full name is docker.io/library/NAME."""
    assert (verdict("a" * length) is not None) == accepted


def test_F11_the_message_says_how_long_the_path_is():
    """I008."""
    message = refused("registry.example/" + "a" * 300)
    assert "the repository has 300 characters, more than 255" in message


def test_a_name_may_have_100_components():
    """I008."""
    assert verdict("registry.example/" + "/".join("a" * 100))


@pytest.mark.parametrize("text", ["a//b", "a/./b", "a/../b", "a/", "/a", "/", "a.b//c", "./a"])
def test_no_component_of_a_path_is_empty_or_dots(text):
    """I009."""
    assert refused(text)


@pytest.mark.parametrize(
    ("name", "accepted"),
    [
        ("a__b", True),
        ("a.b", True),
        ("a_b", True),
        ("a--b", True),
        ("a-----b", True),
        ("a..b", False),
        ("a._b", False),
        ("a___b", False),
        ("a-", False),
        ("-a", False),
        ("_a", False),
        ("a_", False),
        (".a", False),
    ],
)
def test_separators_stand_between_letters_and_are_of_one_kind(name, accepted):
    """I010."""
    assert (verdict(f"registry.example/{name}") is not None) == accepted


@pytest.mark.parametrize(
    "text",
    ["debian:12\n", " debian:12", "\tdebian:12 ", "debian:12\r\n", "\n\n debian:12"],
    ids=repr,
)
def test_F25_white_space_around_a_name_is_ignored(text):
    assert Reference.parse(text) == Reference.parse("debian:12")


@pytest.mark.parametrize("text", ["linux/arm64\n", " linux/arm64", "linux/arm64\r\n"], ids=repr)
def test_F25_white_space_around_a_platform_is_ignored(text):
    assert Platform.parse(text) == Platform.parse("linux/arm64")
    assert platforms_of([text]) == [Platform.parse("linux/arm64")]


def test_F25_white_space_around_all_platforms_is_ignored():
    assert platforms_of(["all\n"]) is None


@pytest.mark.parametrize(("text", "hint"), [("a b", "list"), ("a,\nb", "list"), ("\u00fc", "xn--")])
def test_F25_hint_fits_the_invalid_character(text, hint):
    with pytest.raises(ReferenceError) as caught:
        Reference.parse(text)
    assert hint in caught.value.hint


@pytest.mark.parametrize(
    "text", ["registry.example/app@", "debian@", "debian:12@", "host:5000/a/b:1@", "a/b@sha256"]
)
def test_F35_a_name_whose_digest_was_left_out_is_reported_as_it_was_given(text):
    assert repr(text) in refused(text)


@pytest.mark.parametrize("text", ["https://user:hunter22@", "user:x@hunter22@", "user:hunter22@x@"])
def test_F35_a_name_that_ends_in_an_at_sign_hides_what_may_be_a_password(text):
    assert refused(text, never=("hunter22",))


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("d\u0435bian", id="cyrillic-e"),
        pytest.param("b\u00fccher.example/app", id="IDN"),
        pytest.param("debian:\uff11\uff12", id="full-width-digits"),
        pytest.param("debian:\u0661", id="arabic-digit"),
        pytest.param("deb\u200bian", id="zero-width-space"),
        pytest.param("debian\u2028", id="line-separator"),
        pytest.param("\U0001f433/app", id="whale"),
        pytest.param("\ud800/app", id="lone-surrogate"),
    ],
)
def test_only_ascii_is_accepted(text):
    """I011."""
    with pytest.raises(ReferenceError) as caught:
        Reference.parse(text)
    assert_tells(caught.value, "invalid-reference")
    assert "xn--" in caught.value.hint


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("localhost/x", ("localhost", "x")),
        ("LOCALDOMAIN/x", ("LOCALDOMAIN", "x")),
        ("x.y/z", ("x.y", "z")),
        ("x:5000/z", ("x:5000", "z")),
        ("x/z", ("docker.io", "x/z")),
        ("x", ("docker.io", "library/x")),
        ("localhost", ("docker.io", "library/localhost")),
        ("x.y", ("docker.io", "library/x.y")),
    ],
)
def test_the_first_part_is_a_host_by_dockers_rule(text, parts):
    """I012."""
    assert split_domain(text) == parts
    reference = Reference.parse(text)
    assert (reference.registry, reference.repository) == parts


@pytest.mark.parametrize("host", ["docker.io", "index.docker.io", "registry-1.docker.io"])
def test_docker_hub_has_one_name(host):
    """I013."""
    assert Reference.parse(f"{host}/debian") == Reference.parse("debian")
    assert Reference.parse(f"{host}/a/b") == Reference.parse("a/b")
    assert parse_registry(f"https://{host}/v1/") == "docker.io"


def test_64_hexadecimal_digits_are_ambiguous():
    """I014."""
    assert "image ID" in refused(A, A)
    assert verdict(A[1:]) and verdict(f"docker.io/library/{A}")


@pytest.mark.parametrize("port", ["0", "65536", "http", "08", "", "-1", "5000x", "9" * 5000])
def test_a_port_is_a_number_from_1_to_65535(port):
    """I015."""
    assert refused(f"registry.example:{port}/x")


@pytest.mark.parametrize("port", ["1", "80", "65535"])
def test_valid_port_is_accepted(port):
    """I015."""
    assert verdict(f"registry.example:{port}/x") == f"registry.example:{port}/x:latest"


@pytest.mark.parametrize(
    "text",
    [
        "user:hunter22@registry.example/x",
        "user:hunter22@registry.example",
        "user:hunter22@registry.example:5000",
        "user:hunter22@shack.example",
        "user:hunter22@sha.example:5000",
        "user:hunter22@shaba",
        "hunter22@registry.example/x",
        "https://user:hunter22@registry.example/x",
        "docker://user:hunter22@registry.example/x",
        "user:hunter22@x@registry.example",
        "user:x@hunter22@registry.example",
        "user:x@hunter22@registry.example/x",
        f"user:hunter22@registry.example/x@{DIGEST}",
        "user: hunter22@registry.example/x",
        "user:hunter22\u00e9@registry.example/x",
        "registry.example/x?token=hunter22",
        "registry.example/x?a=b@hunter22",
        "user:hunter22?x@registry.example/x",
        "debian@sha256:00?token=hunter22",
        "debian@registry.example#hunter22",
        "registry.example/x:1?token=hunter22",
        "registry.example/x#hunter22",
        "http://registry.example/x?token=hunter22",
    ],
    ids=short,
)
def test_credentials_in_a_name_are_refused_and_not_repeated(text):
    """I016."""
    assert refused(text, never=("hunter22",))


@pytest.mark.parametrize(
    "text", ["a?b", "a#b", "a%2fb", "a%2Fb/c", "registry.example/a%00b", "a\\b"]
)
def test_characters_that_a_url_must_escape_are_rejected(text):
    """I016."""
    assert refused(text)


@pytest.mark.parametrize(
    "text",
    [
        "https://user:hunter22@registry.example",
        "user:hunter22@registry.example",
        "registry.example/?token=hunter22",
        "registry.example#hunter22",
    ],
)
def test_credentials_in_a_registry_are_refused_and_not_repeated(text):
    """I016."""
    with pytest.raises(ReferenceError) as caught:
        parse_registry(text)
    assert_tells(caught.value, "invalid-reference", "registry", never=("hunter22",))


@pytest.mark.parametrize(
    ("text", "registry"),
    [
        ("registry.example", "registry.example"),
        ("https://registry.example/", "registry.example"),
        ("http://registry.example:5000/v2/", "registry.example:5000"),
        ("https://index.docker.io/v1/", "docker.io"),
        ("Registry.Example", "registry.example"),
        (" registry.example\n", "registry.example"),
        ("[::1]:5000", "[::1]:5000"),
    ],
)
def test_a_registry_may_be_given_as_a_url(text, registry):
    assert parse_registry(text) == registry


@pytest.mark.parametrize("text", ["", None, "ftp://x.y", "x.y/z", "x.y/v3", "x y", "x.y:0"])
def test_any_other_text_is_not_a_registry(text):
    """I001, I015."""
    with pytest.raises(ReferenceError) as caught:
        parse_registry(text)
    assert_tells(caught.value, "invalid-reference")


def test_a_short_name_is_never_searched_for():
    """I017: there is no list of registries to try, a short name is on Docker Hub."""
    assert verdict("debian") == "docker.io/library/debian:latest"
    assert verdict("team/app") == "docker.io/team/app:latest"


@pytest.mark.parametrize(
    "text", ["a" * 10**6, "a/" * 10**5, "a-" * 10**5 + "/x", "x.y:" + "1" * 10**5]
)
def test_a_huge_text_is_refused_with_a_short_message(text):
    """I008."""
    assert len(refused(text)) < 1000
