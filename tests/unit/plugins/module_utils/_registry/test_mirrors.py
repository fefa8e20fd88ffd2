# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where content is looked for: the option ``registries``, and the files of podman, containerd and docker."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._image.errors import (
    DependencyError,
    InputError,
)
from ansible_collections.lockstep.images.plugins.module_utils._image.names import Reference
from ansible_collections.lockstep.images.plugins.module_utils._registry.connect import Trust
from ansible_collections.lockstep.images.plugins.module_utils._registry.credentials import (
    Credentials,
)
from ansible_collections.lockstep.images.plugins.module_utils._registry.hostfiles import (
    HostFiles,
    match_prefix,
)
from ansible_collections.lockstep.images.plugins.module_utils._registry.mirrors import (
    Endpoint,
    HostConfig,
    Place,
)
from ansible_collections.lockstep.images.plugins.module_utils._registry.urls import api_host
from ansible_collections.lockstep.images.plugins.module_utils._store import store as files
from ansible_collections.lockstep.images.tests.support.tables import (
    assert_tells,
    attached,
    params,
    table,
)

SECRET = "hunter22"
DEBIAN = "docker.io/library/debian:12"
APP = "registry.example:5000/shop/app:1"
DIGEST = "sha256:" + "a" * 64
CONF = "etc/containers/registries.conf"
TASK = Trust(True, ("/task/ca.pem",), (("/task/cert.pem", "/task/key.pem"),))
TASK_LOGIN = Credentials("task", SECRET)


def origin(registry: str) -> Endpoint:
    """What a task with a CA, a client certificate and a login makes of a registry."""
    return Endpoint(api_host(registry), trust=TASK, login=TASK_LOGIN, name=registry)


class Host:
    """A directory that stands for the file system of a host."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.home = root / "home/user"
        self.env: dict[str, str] = {}

    def write(self, path: str, *lines: str) -> str:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return str(file)

    def hosts_toml(self, *lines: str, directory: str = "registry.example_5000_") -> str:
        return self.write(f"etc/containerd/certs.d/{directory}/hosts.toml", *lines)

    def config(self, *settings: dict) -> HostConfig:
        return HostConfig(origin, settings, HostFiles(self.env, str(self.home), str(self.root)))

    def places(self, name: str, *settings: dict) -> list[Place]:
        return self.config(*settings).places(Reference.parse(name))

    def shown(self, name: str, *settings: dict) -> list[str]:
        return shown(self.places(name, *settings))

    def refused(self, path: str, name: str = APP) -> str:
        """Why nothing is pulled; the file is named, and nothing of what stands in it is repeated."""
        with pytest.raises(InputError) as caught:
            self.places(name)
        assert_tells(caught.value, "invalid-input", str(path), never=[SECRET])
        return str(caught.value)


@pytest.fixture(name="host")
def fixture_host(tmp_path) -> Host:
    return Host(tmp_path)


def deny(*args, **kwargs):
    """Fail like the system calls of a user without permission; the tests may run as root."""
    raise PermissionError(13, "Permission denied")


def shown(places: list[Place]) -> list[str]:
    """``host/repository`` of each place."""
    return [f"{place.endpoint.host}/{place.repository}" for place in places]


def entry(registry: str, *mirrors: dict | str, **keys) -> dict:
    """An entry of the option, as Ansible hands it over: what is not given is None."""
    names = ["plain_http", "validate_certs", "ca_path", "client_cert", "client_key"]
    names += ["username", "password"]
    absent = dict.fromkeys(names)
    given = [{"url": mirror} if isinstance(mirror, str) else mirror for mirror in mirrors]
    full = [{**absent, "pull_from_mirror": None, **mirror} for mirror in given]
    return {**absent, "registry": registry, "mirrors": full or None, **keys}


def test_F31_an_entry_holds_for_its_host_as_a_mirror_too(host):
    """What the mirror says itself comes first; the task's own options count for neither."""
    named = entry("m:5000", ca_path="/m.pem", plain_http=True, username="m", password=SECRET)
    bare, given, secure = host.places(
        DEBIAN,
        entry(
            "docker.io",
            "m:5000",
            {"url": "m:5000/x", "ca_path": "/own.pem", "plain_http": False, "username": "own"},
            "https://m:5000/y",
        ),
        named,
    )[:3]
    assert bare.endpoint == Endpoint(
        "m:5000",
        "http",
        trust=Trust(ca_paths=("/m.pem",)),
        login=Credentials("m", SECRET),
        name="m:5000",
        namespace="docker.io",
    )
    assert given.endpoint.scheme == ""
    assert given.endpoint.trust == Trust(ca_paths=("/own.pem",))
    assert given.endpoint.login == Credentials("own")
    assert secure.endpoint.scheme == "https"


def places_of(name: str, *settings: dict) -> list[Place]:
    """Without any file of the host."""
    return HostConfig(origin, settings).places(Reference.parse(name))


def refused(*settings: dict, name: str = DEBIAN) -> str:
    with pytest.raises(InputError) as caught:
        places_of(name, *settings)
    assert_tells(caught.value, "invalid-input", "registries[", never=[SECRET])
    return str(caught.value)


# The option


def test_without_an_entry_there_is_the_registry_alone():
    own = origin("docker.io")
    assert places_of(DEBIAN) == [Place(own, "library/debian")]
    assert places_of(DEBIAN, entry("quay.io", "mirror.example")) == [Place(own, "library/debian")]


def test_mirrors_come_in_their_order_and_the_registry_last():
    found = places_of(DEBIAN, entry("docker.io", "a.example", "b.example:5000"))
    assert shown(found) == [
        "a.example/library/debian",
        "b.example:5000/library/debian",
        "registry-1.docker.io/library/debian",
    ]
    assert [place.is_mirror for place in found] == [True, True, False]


def test_a_mirror_gets_nothing_of_the_task():
    mirror = places_of(DEBIAN, entry("docker.io", "mirror.example"))[0]
    expected = Endpoint("mirror.example", name="mirror.example", namespace="docker.io")
    assert mirror.endpoint == expected


@pytest.mark.parametrize(
    ("registry", "url", "namespace"),
    [
        ("docker.io", "mirror.example", "docker.io"),
        ("docker.io/library", "mirror.example/hub/library", "docker.io"),
        ("docker.io", "docker.io/proxy", ""),
        ("docker.io", "registry-1.docker.io", ""),
    ],
)
def test_a_mirror_on_another_host_gets_the_name_of_the_registry(registry, url, namespace):
    assert places_of(DEBIAN, entry(registry, url))[0].endpoint.namespace == namespace


def test_a_mirror_gets_its_headers():
    headers = {"X-Dragonfly-Registry": "https://docker.io", "X-Site": ["a", "b"]}
    mirror, own = places_of(DEBIAN, entry("docker.io", {"url": "m.example", "headers": headers}))
    assert mirror.endpoint.headers == (
        ("X-Dragonfly-Registry", "https://docker.io"),
        ("X-Site", "a"),
        ("X-Site", "b"),
    )
    assert own.endpoint.headers == ()


@pytest.mark.parametrize(
    ("headers", "words"),
    [
        ({"Authorization": SECRET}, "mirrors[0].headers: Authorization cannot be set"),
        ({"proxy-authorization": SECRET}, "headers: proxy-authorization cannot be set"),
        ({"X-Authorization": "a", "Cookie": SECRET}, "X-Authorization, Cookie cannot be set"),
        ({"X-Site": 1}, "mirrors[0].headers: a header must be a string"),
        ({"X-Site": [SECRET, None]}, "mirrors[0].headers: a header must be a string"),
        ({"X Site": SECRET}, "mirrors[0].headers: a header contains invalid characters"),
        ({"X-Site": f"a\r\nX: {SECRET}"}, "mirrors[0].headers: a header contains invalid"),
    ],
)
def test_a_header_that_cannot_be_sent_is_refused_without_its_value(headers, words):
    assert words in refused(entry("docker.io", {"url": "m.example", "headers": headers}))


def test_a_mirror_has_what_its_entry_says():
    mirror = {
        "url": "mirror.example/hub",
        "validate_certs": False,
        "ca_path": "/ca.pem",
        "client_cert": "/cert.pem",
        "client_key": "/key.pem",
        "username": "alice",
        "password": SECRET,
        "pull_from_mirror": "digest-only",
    }
    place = places_of(DEBIAN, entry("docker.io", mirror))[0]
    assert place.endpoint.trust == Trust(False, ("/ca.pem",), (("/cert.pem", "/key.pem"),))
    assert place.endpoint.login == Credentials("alice", SECRET)
    assert (place.repository, place.use) == ("hub/library/debian", "digest-only")


def test_F17_an_entry_with_a_login_alone_leaves_the_rest_to_the_files(host):
    host.write(
        "etc/containers/registries.conf",
        "[[registry]]",
        'location = "registry.example:5000"',
        "[[registry.mirror]]",
        'location = "mirror.example"',
    )
    login = {"username": "robot", "password": "x"}
    for prefix in ("registry.example:5000", "registry.example:5000/shop"):
        mirror, own = host.places(APP, entry(prefix, **login))
        assert mirror.endpoint.host == "mirror.example" and mirror.endpoint.login is None
        assert own.endpoint.login == Credentials("robot", "x")
    (alone,) = host.places(APP, entry("registry.example:5000", validate_certs=True, **login))
    assert alone.endpoint.login == Credentials("robot", "x")


def test_F17_an_entry_with_a_login_alone_does_not_lift_a_block(host):
    path = host.write(
        "etc/containers/registries.conf",
        "[[registry]]",
        'location = "registry.example:5000"',
        "blocked = true",
    )
    with pytest.raises(InputError, match=f"^{path}, line 1: .*blocked"):
        host.places(APP, entry("registry.example:5000", username="robot", password="x"))


@pytest.mark.parametrize(
    ("url", "plain", "scheme"),
    [
        ("mirror.example", None, ""),
        ("mirror.example", False, ""),
        ("mirror.example", True, "http"),
        ("http://mirror.example", None, "http"),
        ("http://mirror.example", False, "http"),
        ("https://mirror.example", None, "https"),
        ("https://mirror.example", False, "https"),
    ],
)
def test_the_url_or_plain_http_say_how_a_mirror_is_spoken_to(url, plain, scheme):
    place = places_of(DEBIAN, entry("docker.io", {"url": url, "plain_http": plain}))[0]
    assert (place.endpoint.host, place.endpoint.scheme) == ("mirror.example", scheme)


@pytest.mark.parametrize(
    ("registry", "url", "place"),
    [
        (
            "docker.io",
            "https://harbor.example/dockerhub",
            "harbor.example/dockerhub/library/debian",
        ),
        ("docker.io", "harbor.example/a/b/", "harbor.example/a/b/library/debian"),
        ("docker.io/library", "harbor.example/lib", "harbor.example/lib/debian"),
        ("docker.io/library", "harbor.example", "harbor.example/debian"),
        ("docker.io/library/", "HARBOR.example", "harbor.example/debian"),
        ("docker.io/library/debian", "harbor.example/own/deb", "harbor.example/own/deb"),
        ("index.docker.io", "[::1]:5000", "[::1]:5000/library/debian"),
        ("registry-1.docker.io", "docker.io", "registry-1.docker.io/library/debian"),
    ],
)
def test_the_path_of_a_mirror_stands_for_what_the_entry_names(registry, url, place):
    found = places_of(DEBIAN, entry(registry, url))
    assert shown(found) == [place, "registry-1.docker.io/library/debian"]


def test_the_longest_prefix_serves_a_name():
    settings = [
        entry("docker.io", "all.example"),
        entry("docker.io/library/debian", "debian.example/d"),
        entry("docker.io/library", "library.example"),
    ]
    assert shown(places_of(DEBIAN, *settings))[0] == "debian.example/d"
    assert shown(places_of("debian2", *settings))[0] == "library.example/debian2"
    assert shown(places_of("librarys/x", *settings))[0] == "all.example/librarys/x"


def test_an_entry_is_for_its_port_only():
    assert not places_of(APP, entry("registry.example", "mirror.example"))[0].is_mirror
    assert places_of(APP, entry("registry.example:5000", "mirror.example"))[0].is_mirror


@pytest.mark.parametrize(
    ("keys", "changed"),
    [
        ({}, {}),
        ({"plain_http": True}, {"scheme": "http"}),
        ({"validate_certs": False}, {"trust": Trust(False, TASK.ca_paths, TASK.client_certs)}),
        ({"ca_path": "/ca.pem"}, {"trust": Trust(True, ("/ca.pem",), TASK.client_certs)}),
        ({"client_cert": "/c.pem"}, {"trust": Trust(True, TASK.ca_paths, (("/c.pem", None),))}),
        (
            {"username": "alice", "password": SECRET},
            {"login": Credentials("alice", SECRET)},
        ),
    ],
    ids=repr,
)
def test_an_entry_changes_what_the_task_says_of_its_registry(keys, changed):
    expected = Endpoint("registry.example:5000", trust=TASK, login=TASK_LOGIN, name=APP[:21])
    found = places_of(APP, entry("registry.example:5000", "mirror.example", **keys))
    assert found[-1].endpoint == Endpoint(**{**vars(expected), **changed})
    assert found[0].endpoint == Endpoint(
        "mirror.example", name="mirror.example", namespace="registry.example:5000"
    )


def test_an_entry_may_take_plain_http_back():
    settings = [entry("registry.example:5000", plain_http=False)]
    config = HostConfig(lambda name: Endpoint(name, scheme="http", name=name), settings)
    assert config.places(Reference.parse(APP))[0].endpoint.scheme == ""


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ([entry("https://docker.io")], "registries[0].registry: a name has no https://"),
        ([entry("")], "registries[0].registry: must be"),
        ([entry("docker.io:port")], "registries[0].registry: must be"),
        ([entry(f"alice:{SECRET}@docker.io")], "registries[0].registry: must be"),
        ([entry("docker.io/Library")], "registries[0].registry: '"),
        ([entry("docker.io/library/debian:12")], "registries[0].registry: '"),
        (
            [entry("docker.io"), entry("index.docker.io")],
            "registries[1].registry: a second entry for docker.io",
        ),
        ([entry("a.b"), entry("docker.io", "ok", f"https://x:{SECRET}@m")], "[1].mirrors[1].url"),
        ([entry("docker.io", f"https://m.example/?key={SECRET}")], "registries[0].mirrors[0].url"),
        ([entry("docker.io", f"m.example#{SECRET}")], "registries[0].mirrors[0].url: must be"),
        ([entry("docker.io", "ftp://m.example")], "registries[0].mirrors[0].url: must be"),
        ([entry("docker.io", "m.example:99999")], "registries[0].mirrors[0].url: must be"),
        ([entry("docker.io", "")], "registries[0].mirrors[0].url: must be"),
        ([entry("docker.io", {"url": "https://m", "plain_http": True})], "mirrors[0]: plain_http"),
        ([entry("docker.io", {"url": "m", "client_key": "/k"})], "mirrors[0]: client_key needs"),
        ([entry("docker.io", {"url": "m", "password": SECRET})], "mirrors[0]: password needs"),
        ([entry("docker.io", client_key="/k")], "registries[0]: client_key needs client_cert"),
        ([entry("docker.io", "m.example/Hub")], "mirrors[0]: 'Hub/library/debian' is not a valid"),
        (
            [entry("docker.io/library/debian", "m.example")],
            "mirrors[0]: '' is not a valid repository name",
        ),
    ],
    ids=repr,
)
def test_an_entry_that_is_wrong_is_named_without_its_secrets(settings, words):
    assert words in refused(*settings)


def test_a_wrong_entry_is_an_error_for_all_images():
    assert "registries[0]" in refused(entry("quay.io", f"u:{SECRET}@m"), name="docker.io/a/b")


def test_an_endpoint_is_a_key_and_shows_no_secret():
    shared = Endpoint("a", headers=(("authorization", SECRET),), login=Credentials("x", SECRET))
    assert SECRET not in repr(Place(shared, "b"))
    assert len({origin("a"), origin("a"), shared}) == 2


# registries.conf


@pytest.mark.parametrize(
    "case", params(table("registries", "subdomain") + table("registries", "prefix"), "case")
)
def test_a_prefix_covers_what_upstream_says(case):
    assert match_prefix(case["name"], case["prefix"]) == case["covers"]


@pytest.mark.parametrize("case", params(table("registries", "rewrite"), "case"))
def test_a_location_takes_the_place_of_the_prefix(case, host):
    lines = ["[[registry]]", f'prefix = "{case["prefix"]}"']
    lines += [f'location = "{case["location"]}"'] if case["location"] else []
    host.write(CONF, *lines)
    expected = Reference.parse(case["place"])
    place = f"{api_host(expected.registry)}/{expected.repository}"
    assert host.shown(case["name"]) == [place]


@pytest.mark.parametrize("how", ["by_digest", "by_tag"])
@pytest.mark.parametrize("case", params(table("registries", "sources"), "prefix"))
def test_mirrors_are_for_digests_or_tags_as_upstream_says(case, how, host):
    host.write(CONF, *attached("registries", "sources_conf"))
    places = host.places(f"{case['prefix']}/{case['repository']}")
    wanted = {"by_digest": ("all", "digest-only"), "by_tag": ("all", "tag-only")}[how]
    found = [place for place in places if place.use in wanted]
    assert shown(found) == [f"{prefix}/{case['repository']}" for prefix in case[how]]
    insecure = [place.endpoint.insecure for place in found]
    assert insecure == case[f"insecure_{how}"]
    assert [not place.endpoint.trust.validate_certs for place in found] == insecure
    assert [place.is_mirror for place in places] == [True] * (len(places) - 1) + [False]


def test_the_longest_prefix_of_registries_conf_wins(host):
    host.write(
        CONF,
        *("[[registry]]", 'prefix = "*.example"', 'location = "wild.test"'),
        *("[[registry]]", 'location = "one.example/shop"', "[[registry.mirror]]"),
        *('location = "mirror.test/s"', "[[registry]]", 'location = "one.example"'),
    )
    assert host.shown("one.example/shop/app") == ["mirror.test/s/app", "one.example/shop/app"]
    assert host.shown("one.example/shops/app") == ["one.example/shops/app"]
    assert host.shown("two.example/app") == ["wild.test/app"]
    assert host.shown("two.test/app") == ["two.test/app"]


def test_task_options_apply_only_to_the_registry_of_the_name(host):
    host.write(
        CONF,
        *("[[registry]]", 'location = "registry.example:5000"', "insecure = true"),
        *("[[registry.mirror]]", 'location = "registry.example:5000/copy"'),
        *("[[registry]]", 'prefix = "old.example"', 'location = "new.example"'),
    )
    mirror, own = (place.endpoint for place in host.places(APP))
    assert mirror == Endpoint(own.host, name=own.name)
    assert own.login == TASK_LOGIN and own.insecure
    assert own.trust == Trust(False, TASK.ca_paths, TASK.client_certs)
    moved = host.places("old.example/app")[0].endpoint
    assert moved == Endpoint("new.example", name="new.example")


def test_docker_hub_has_its_own_host_in_registries_conf(host):
    host.write(CONF, "[[registry]]", 'prefix = "hub.test"', 'location = "docker.io/library"')
    place = host.places("hub.test/debian")[0]
    assert shown([place]) == ["registry-1.docker.io/library/debian"]
    assert place.endpoint.name == "docker.io"


def test_a_blocked_registry_is_not_asked(host):
    path = host.write(CONF, "[[registry]]", 'location = "registry.example:5000"', "blocked = true")
    assert "registry.example:5000 is blocked" in host.refused(path)
    assert host.shown("other.example/app") == ["other.example/app"]


def location(name: str) -> tuple[str, ...]:
    """An entry that leads from registry.example:5000 to somewhere."""
    return "[[registry]]", 'prefix = "registry.example:5000"', f'location = "{name}"'


def test_files_in_directories_replace_entries_in_their_order(host):
    host.write(CONF, *location("main"), *location("second"))
    assert host.shown(APP) == ["main/shop/app"]
    host.write(f"{CONF}.d/20-b.conf", *location("b"))
    host.write(f"{CONF}.d/10-a.conf", *location("a"))
    host.write(f"{CONF}.d/30-c.toml", *location("c"))
    assert host.shown(APP) == ["b/shop/app"]
    host.write("home/user/.config/containers/registries.conf.d/1.conf", *location("user"))
    assert host.shown(APP) == ["user/shop/app"]


def test_a_file_of_the_user_replaces_all_of_the_system(host):
    host.write(CONF, *location("main"))
    host.write(f"{CONF}.d/10.conf", *location("system"))
    host.write("home/user/.config/containers/registries.conf", "")
    assert host.shown(APP) == ["registry.example:5000/shop/app"]
    host.write("home/user/.config/containers/registries.conf.d/1.conf", *location("user"))
    assert host.shown(APP) == ["user/shop/app"]


def test_a_named_file_replaces_the_two_but_no_directory(host):
    host.env["CONTAINERS_REGISTRIES_CONF"] = host.write("own.conf", *location("own"))
    host.write(CONF, *location("main"))
    host.write("home/user/.config/containers/registries.conf", *location("user"))
    assert host.shown(APP) == ["own/shop/app"]
    host.write(f"{CONF}.d/10.conf", *location("system"))
    assert host.shown(APP) == ["system/shop/app"]


def test_a_named_file_has_to_be_there(host):
    host.env["CONTAINERS_REGISTRIES_CONF"] = str(host.root / "none.conf")
    assert "CONTAINERS_REGISTRIES_CONF names it, but it does not exist" in host.refused(
        str(host.root / "none.conf")
    )


def test_files_are_read_once_and_not_before_they_are_needed(host):
    config = host.config()
    paths = [host.write(CONF, *location("first")), host.hosts_toml('server = "https://second"')]
    paths.append(host.hosts_toml('server = "https://second"', directory="other.example"))
    expected = {APP: ["first/shop/app"], "other.example/app": ["second/app"]}
    assert {name: shown(config.places(Reference.parse(name))) for name in expected} == expected
    for path in paths:
        os.unlink(path)
    assert {name: shown(config.places(Reference.parse(name))) for name in expected} == expected


def test_slashes_at_the_end_mean_nothing(host):
    host.write(CONF, "[[registry]]", 'prefix = "registry.example:5000/shop//"', 'location = "x//"')
    assert host.shown(APP) == ["x/app"]


def test_settings_of_short_names_and_logins_change_nothing(host):
    host.write(
        CONF,
        'unqualified-search-registries = ["quay.io"]',
        'credential-helpers = ["secretservice"]',
        'short-name-mode = "enforcing"',
        "[aliases]",
        '"debian" = "quay.io/debian/debian"',
    )
    assert host.shown("debian") == ["registry-1.docker.io/library/debian"]


MIRROR = (*location("here"), "[[registry.mirror]]")


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (["[registries.search]", 'registries = ["docker.io"]'], "old format"),
        (["registry = 1"], ": registry must be a list"),
        (["registry = [1]"], ": registry[0]: must be a table"),
        (["[[registry]]"], ": registry[0].location is missing"),
        (["[[registry]]", 'prefix = "a.example"'], ": registry[0].location is missing"),
        (["[[registry]]", 'prefix = "*.example:5000"'], ": registry[0].prefix"),
        (["[[registry]]", "location = 1"], ": registry[0]: location must be a string"),
        ([*location("a"), 'blocked = "no"'], ": registry[0]: blocked must be true or false"),
        ([*location("a"), "mirror = 1"], ": registry[0]: mirror must be a list"),
        ([*location("a"), "mirror-by-digest-only = 1"], ": registry[0]: mirror-by-digest-only"),
        ([*location("a"), 'pull-from-mirror = "all"'], ".pull-from-mirror is for mirrors"),
        (location("https://here"), ": registry[0]: a location has no https://"),
        (location(f"user:{SECRET}@here"), ": registry[0]: must be host"),
        (location("here:99999"), ": registry[0]: must be host"),
        (location("here/Upper"), ": registry[0]: 'Upper/shop/app' is not a valid repository name"),
        (MIRROR, ": registry[0].mirror[0].location is missing"),
        ([*MIRROR, 'location = "http://m"'], ": registry[0]: a location has no http://"),
        ([*MIRROR, 'location = "m"', "insecure = 1"], ": registry[0].mirror[0]: insecure must"),
        (
            [*MIRROR, 'location = "m"', 'pull-from-mirror = "never"'],
            ": registry[0].mirror[0].pull-from-mirror must be one of all, digest-only, tag-only",
        ),
        (
            [
                *(*location("here"), "mirror-by-digest-only = true", "[[registry.mirror]]"),
                *('location = "m"', 'pull-from-mirror = "all"'),
            ],
            "contradicts mirror-by-digest-only",
        ),
    ],
    ids=repr,
)
def test_a_registries_conf_that_is_wrong_is_named_with_the_key(lines, words, host):
    path = host.write(CONF, *lines)
    assert words in host.refused(path)


@pytest.mark.parametrize("text", [f"a = 1\nb = {SECRET}\n", f'a = 1\n"{SECRET}"\n'])
def test_invalid_toml_is_reported_with_its_line(text, host):
    path = host.write(CONF, text)
    assert host.refused(path).endswith(f"{path}: is not TOML, line 2")


def test_file_that_is_not_text_is_not_toml(host):
    path = Path(host.write(CONF))
    path.write_bytes(b"a = '\xff'")
    assert "is not TOML" in host.refused(str(path))


def test_a_file_of_a_mebibyte_is_the_largest(host):
    path = host.write(CONF, "#" + "x" * 1024 * 1024)
    assert "is larger than" in host.refused(path)


def test_path_that_is_not_a_file_is_named(host):
    (host.root / CONF).mkdir(parents=True)
    assert "is not a regular file" in host.refused(str(host.root / CONF))


def test_a_link_is_followed(host):
    host.write("elsewhere.conf", *location("linked"))
    (host.root / CONF).parent.mkdir(parents=True)
    (host.root / CONF).symlink_to(host.root / "elsewhere.conf")
    assert host.shown(APP) == ["linked/shop/app"]


def test_unreadable_file_is_named(host, monkeypatch):
    path = host.write(CONF, *location("here"))
    monkeypatch.setattr(files.os, "open", deny)
    assert "Permission denied" in host.refused(path)


def test_unreadable_directory_is_named(host, monkeypatch):
    host.write(f"{CONF}.d/10.conf", *location("here"))
    monkeypatch.setattr(files.os, "listdir", deny)
    assert "Permission denied" in host.refused(str(host.root / f"{CONF}.d"))


def test_without_a_library_for_toml_the_error_names_it(host, monkeypatch):
    path = host.write(CONF, *location("here"))
    monkeypatch.setitem(sys.modules, "tomli", None)
    monkeypatch.setitem(sys.modules, "tomllib", None)
    with pytest.raises(DependencyError) as caught:
        host.places(APP)
    assert_tells(caught.value, "missing-dependency", path, "tomli")
    assert caught.value.as_result()["library"] == "tomli"


def test_without_a_file_no_library_for_toml_is_needed(host, monkeypatch):
    monkeypatch.setitem(sys.modules, "tomli", None)
    monkeypatch.setitem(sys.modules, "tomllib", None)
    assert host.places(APP) == [Place(origin(APP[:21]), "shop/app")]


# containerd


@pytest.mark.parametrize(
    ("number", "case"),
    [
        pytest.param(number, case, id=f"{number} {case['host']}")
        for number, case in enumerate(table("registries", "hosts"))
    ],
)
def test_a_hosts_toml_says_what_upstream_reads_in_it(number, case, host):
    host.hosts_toml(*attached("registries", "hosts_toml"))
    places = host.places(APP)
    assert len(places) == len(table("registries", "hosts"))
    place = places[number]
    clients = tuple((cert, key) for cert, key in case.get("client", []))
    assert place.endpoint == Endpoint(
        case["host"],
        case["scheme"],
        root=case["root"],
        trust=Trust(not case.get("unverified"), tuple(case.get("ca", [])), clients),
        headers=tuple((name, value) for name, value in case.get("headers", [])),
        namespace="registry.example:5000",
        name=case["host"],
    )
    assert (place.repository, place.use) == ("shop/app", case["use"])
    assert place.is_mirror == (number < len(places) - 1)


def test_a_directory_of_containerd_is_chosen_as_containerd_does(host):
    """The one for the host without its port is not among them (hostPaths)."""
    found = []
    for directory in ["registry.example", "_default", "registry.example:5000", APP[:16] + "_5000_"]:
        host.hosts_toml(f'server = "https://{len(found)}.test"', directory=directory)
        found.append(host.places(APP)[0].endpoint.host)
    assert found == ["registry.example:5000", "1.test", "2.test", "3.test"]
    assert host.shown("registry.example/app") == ["0.test/app"]
    assert host.shown("other.example/app") == ["1.test/app"]


def test_the_registry_comes_last_unless_server_is_another(host):
    mirror = '[host."https://mirror.test"]'
    host.hosts_toml(mirror)
    own = origin(APP[:21])
    assert host.places(APP)[-1] == Place(own, "shop/app")
    host.hosts_toml('server = "https://registry.example:5000"', mirror)
    assert host.places(APP)[-1] == Place(Endpoint(**{**vars(own), "scheme": "https"}), "shop/app")
    host.hosts_toml('server = "https://mirror.test"')
    assert host.shown(APP) == ["mirror.test/shop/app"]


def test_the_namespace_goes_to_hosts_that_are_not_the_registry(host):
    host.hosts_toml(
        *('server = "https://docker.io"', '[host."https://registry-1.docker.io"]'),
        *('capabilities = ["pull"]', '[host."https://mirror.test"]'),
        directory="docker.io",
    )
    places = host.places(DEBIAN)
    assert [place.endpoint.namespace for place in places] == ["", "docker.io", ""]
    assert [place.is_mirror for place in places] == [False, True, False]
    assert [place.endpoint.login for place in places] == [TASK_LOGIN, None, TASK_LOGIN]
    assert [place.use for place in places] == ["digest-only", "all", "all"]


@pytest.mark.parametrize(
    "server", ["", 'server = "https://registry-1.docker.io"', 'server = "docker.io/v2/"']
)
def test_a_host_that_is_the_server_is_not_tried_twice(server, host):
    host.hosts_toml(server, '[host."https://registry-1.docker.io"]', directory="docker.io")
    assert host.shown(DEBIAN) == ["registry-1.docker.io/library/debian"]


@pytest.mark.parametrize(
    ("server", "count"),
    [("", 1), ('server = "http://localhost:5000"', 1), ('server = "https://localhost:5000"', 2)],
)
def test_a_server_is_the_same_if_it_is_spoken_to_in_the_same_way(server, count, host):
    host.hosts_toml(server, '[host."http://localhost:5000"]', directory="localhost:5000")
    assert [place.endpoint.scheme for place in host.places("localhost:5000/app")] == [
        "http",
        "https",
    ][:count]


@pytest.mark.parametrize(
    ("capabilities", "use"),
    [
        ('["pull", "resolve", "push"]', "all"),
        ('["PULL", "Resolve"]', "all"),
        ("[]", "all"),
        ('["pull", "referrers"]', "digest-only"),
        ('["resolve"]', "tag-only"),
        ('["push"]', None),
    ],
)
def test_capabilities_say_what_a_host_is_for(capabilities, use, host):
    host.hosts_toml('[host."https://mirror.test"]', f"capabilities = {capabilities}")
    found = [place.use for place in host.places(APP) if place.is_mirror]
    assert found == ([use] if use else [])


def test_a_hosts_toml_that_leaves_no_host_is_an_error(host):
    path = host.hosts_toml('server = "https://mirror.test"', 'capabilities = ["push"]')
    assert "has no host" in host.refused(path)


def test_top_level_settings_also_apply_to_the_registry(host):
    path = host.hosts_toml('ca = "own.crt"', "skip_verify = true", "[header]", 'X-Team = "\u00e9"')
    endpoint = host.places(APP)[0].endpoint
    authorities = (*TASK.ca_paths, str(Path(path).parent / "own.crt"))
    assert endpoint.trust == Trust(False, authorities, TASK.client_certs)
    assert endpoint.headers == (("X-Team", "\u00e9"),)


@pytest.mark.parametrize(
    ("url", "line", "scheme", "insecure"),
    [
        ("http://mirror.test:5000", "", "http", False),
        ("http://mirror.test:5000", "skip_verify = true", "", True),
        ("http://mirror.test:5000", "skip_verify = false", "", True),
        ("http://mirror.test", 'ca = "/ca.pem"', "", True),
        ("http://mirror.test:80", "skip_verify = true", "http", False),
        ("https://mirror.test", "skip_verify = true", "https", False),
        ("mirror.test", "", "https", False),
    ],
)
def test_http_with_settings_for_tls_means_tls_first(url, line, scheme, insecure, host):
    host.hosts_toml(f'[host."{url}"]', line)
    endpoint = host.places(APP)[0].endpoint
    assert (endpoint.scheme, endpoint.insecure) == (scheme, insecure)


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (["server = 1"], "server must be a string"),
        (["host = 1"], "host must be a table"),
        (["[host]", "a = 1"], "host[0]: must be a table"),
        (['[host."https://m"]', 'capabilities = "pull"'], "host[0]: capabilities must be a list"),
        (['[host."https://m"]', 'capabilities = ["fetch"]'], "host[0]: capabilities must be pull"),
        (['[host."https://m"]', 'skip_verify = "no"'], "host[0]: skip_verify must be true or"),
        (['[host."https://m"]', "override_path = 1"], "host[0]: override_path must be"),
        (['[host."https://m"]', "ca = 1"], "host[0]: ca and client must be file names"),
        (['[host."https://m"]', 'ca = [["a"]]'], "host[0]: ca and client must be file names"),
        (['[host."https://m"]', "client = [1]"], "host[0]: ca and client must be file names"),
        (['[host."https://m"]', "client = [[]]"], "host[0]: ca and client must be file names"),
        (['[host."https://m"]', 'client = [["a", "b", "c"]]'], "host[0]: ca and client must be"),
        (
            ['[host."https://m".header]', f'a = ["{SECRET}", 1]'],
            "host[0]: a header must be a string",
        ),
        ([f'[host."https://u:{SECRET}@m"]'], "host[0]: must be host[:port]"),
        ([f'[host."https://m/?token={SECRET}"]'], "host[0]: must be host[:port]"),
        ([f'server = "https://u:{SECRET}@m"'], "must be host[:port]"),
        (["[[host]]", "a = 1"], "host must be a table"),
        (["server ="], "is not TOML, line 1"),
    ],
    ids=repr,
)
def test_a_hosts_toml_that_is_wrong_is_named_with_the_host(lines, words, host):
    path = host.hosts_toml(*lines)
    assert words in host.refused(path)


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (
            ['[host."https://m".header]', f'a = "{SECRET}\\nb"'],
            "host[0]: a header contains invalid characters",
        ),
        (
            ['[host."https://m".header]', f'"a b" = "{SECRET}"'],
            "host[0]: a header contains invalid characters",
        ),
        (['[host."https://m"]', 'ca = "a\\u0000b"'], "host[0]: ca and client must be file names"),
        (['[host."https://m"]', 'client = [["a", "\\u0000"]]'], "host[0]: ca and client must be"),
    ],
    ids=repr,
)
def test_F33_impossible_header_or_path_is_rejected_with_the_file(lines, words, host):
    path = host.hosts_toml(*lines)
    assert words in host.refused(path)


def test_without_hosts_toml_the_certificates_of_its_directory_are_for_the_registry(host):
    base = "etc/containerd/certs.d/registry.example_5000_"
    host.write(f"{base}/own.crt")
    trust = host.places(APP)[0].endpoint.trust
    assert trust.ca_paths == (*TASK.ca_paths, str(host.root / base / "own.crt"))


# Certificates


def certificates(host: Host, base: str, *names: str) -> list[str]:
    return [host.write(f"{base}/registry.example:5000/{name}") for name in names]


def trust_of(host: Host) -> Trust:
    """What proves a registry of which the task says nothing."""
    reader = HostFiles({}, str(host.home), str(host.root))
    config = HostConfig(lambda name: Endpoint(name, name=name), (), reader)
    return config.places(Reference.parse(APP))[0].endpoint.trust


def test_the_first_directory_with_certificates_counts(host):
    docker = certificates(host, "etc/docker/certs.d", "a.crt")
    assert trust_of(host).ca_paths == tuple(docker)
    podman = certificates(host, "etc/containers/certs.d", "b.crt", "a.crt")
    assert trust_of(host).ca_paths == tuple(sorted(podman))
    own = certificates(host, "home/user/.config/containers/certs.d", "README")
    assert own and trust_of(host) == Trust()


def test_a_certificate_has_its_key_beside_it(host):
    cert, key = certificates(host, "etc/docker/certs.d", "client.cert", "client.key")
    assert trust_of(host) == Trust(client_certs=((cert, key),))


@pytest.mark.parametrize(
    ("name", "missing"), [("client.cert", "client.key"), ("client.key", "client.cert")]
)
def test_a_certificate_or_key_alone_is_an_error(name, missing, host):
    """A021."""
    (path,) = certificates(host, "etc/docker/certs.d", name)
    assert f"{missing} is missing" in host.refused(path)


def test_unreadable_certificate_is_named(host, monkeypatch):
    """A021."""
    (path,) = certificates(host, "etc/docker/certs.d", "ca.crt")
    monkeypatch.setattr(files.os, "access", lambda path, mode: False)
    assert "cannot be read" in host.refused(path)


def test_a_client_certificate_of_the_task_stays_the_only_one(host):
    certificates(host, "etc/docker/certs.d", "client.cert", "client.key")
    (authority,) = certificates(host, "etc/docker/certs.d", "ca.crt")
    trust = host.places(APP)[0].endpoint.trust
    assert trust == Trust(True, (*TASK.ca_paths, authority), TASK.client_certs)


def test_certificates_are_for_mirrors_of_files_too(host):
    host.write(CONF, *location("other.example"), "[[registry.mirror]]", 'location = "m.example"')
    authorities = [host.write(f"etc/docker/certs.d/{name}/ca.crt") for name in ("m.example", "x")]
    mirror, other = (place.endpoint.trust for place in host.places(APP))
    assert (mirror.ca_paths, other.ca_paths) == (tuple(authorities[:1]), ())


def test_mirrors_of_the_option_get_no_certificates_of_the_host(host):
    path = host.write("etc/docker/certs.d/m.example/ca.crt")
    own = certificates(host, "etc/docker/certs.d", "ca.crt")
    found = host.places(APP, entry("registry.example:5000", "m.example"))
    assert path not in found[0].endpoint.trust.ca_paths
    assert found[1].endpoint.trust.ca_paths == (*TASK.ca_paths, *own)


def test_docker_hub_is_called_by_its_name_among_certificates(host):
    path = host.write("etc/containers/certs.d/docker.io/ca.crt")
    assert path in host.places(DEBIAN)[0].endpoint.trust.ca_paths


# What wins


def test_the_option_wins_then_registries_conf_then_containerd(host):
    host.hosts_toml('server = "https://containerd.test"')
    assert host.shown(APP) == ["containerd.test/shop/app"]
    host.write(CONF, *location("podman.test"))
    assert host.shown(APP) == ["podman.test/shop/app"]
    assert host.shown(APP, entry("registry.example:5000", "option.test")) == [
        "option.test/shop/app",
        "registry.example:5000/shop/app",
    ]
    assert host.shown(APP, entry("other.example", "option.test")) == ["podman.test/shop/app"]


def test_an_entry_of_the_option_unblocks_a_registry(host):
    host.write(CONF, *location("here"), "blocked = true")
    assert host.shown(APP, entry("registry.example:5000")) == ["registry.example:5000/shop/app"]


def test_a_digest_is_looked_for_where_a_tag_is(host):
    host.write(CONF, *location("here"))
    assert host.shown(f"registry.example:5000/shop/app@{DIGEST}") == ["here/shop/app"]
