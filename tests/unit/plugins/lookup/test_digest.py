# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The results, requests and errors of the lookup."""

from __future__ import annotations

import contextlib
import re
import threading

import pytest
import yaml
from ansible.errors import AnsibleError, AnsibleLookupError, AnsibleOptionsError
from ansible_collections.lockstep.images.plugins.lookup import digest
from ansible_collections.lockstep.images.plugins.plugin_utils import _edge
from ansible_collections.lockstep.images.tests.support.documented import (
    all_options,
    comparable_options,
)
from ansible_collections.lockstep.images.tests.support.faults import Fault
from ansible_collections.lockstep.images.tests.support.images import demo_image, image, layer, push
from ansible_collections.lockstep.images.tests.support.registry import Registry
from ansible_collections.lockstep.images.tests.support.tables import secret_forms

APP = demo_image("app", "1.0", size=200)
AMD64, ARM64 = (one.digest for one in APP.images)
PINNED = f"sha256:{'a' * 64}"
SECRET = "correct-horse-battery"


@pytest.fixture(autouse=True)
def own_environment(monkeypatch, tmp_path):
    """No login and no proxy of the developer's own."""
    for name in ("REGISTRY_AUTH_FILE", "DOCKER_CONFIG", "DOCKER_AUTH_CONFIG", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))


@pytest.fixture(name="warned", autouse=True)
def fixture_warned(monkeypatch):
    """Return the warnings."""
    texts: list[str] = []

    class Display:
        def warning(self, text):
            texts.append(text)

    monkeypatch.setattr(_edge, "Display", Display)
    return texts


@pytest.fixture(name="registry")
def fixture_registry():
    with Registry() as registry:
        push(registry, "demo/app", APP, "1.0", "latest")
        registry.clear()
        yield registry


def look_up(*terms, **options):
    return digest.LookupModule().run(list(terms), variables={}, **{"retries": 0, **options})


def asked(registry):
    return [(one.method, one.path.rpartition("/")[2]) for one in registry.requests]


def test_options_are_those_of_the_modules_and_are_documented():
    documented = all_options(yaml.safe_load(digest.DOCUMENTATION))
    del documented["_terms"]
    assert comparable_options(digest.argument_spec()) == documented


def test_a_tag_costs_one_head(registry):
    assert look_up(f"{registry.address}/demo/app:1.0") == [APP.digest]
    assert asked(registry) == [("HEAD", "1.0")]


def test_results_are_in_order_and_each_name_is_requested_once(registry):
    name = f"{registry.address}/demo/app"
    names = [f"{name}:1.0", f"{name}@{PINNED}", name, f"{name}:1.0", f"{name}:latest"]
    assert look_up(*names) == [APP.digest, PINNED, APP.digest, APP.digest, APP.digest]
    assert sorted(asked(registry)) == [("HEAD", "1.0"), ("HEAD", "latest")]


def test_list_as_a_term_stands_for_its_entries(registry):
    name = f"{registry.address}/demo/app"
    assert look_up([f"{name}:1.0", name], name) == [APP.digest] * 3
    assert look_up() == look_up([]) == []


def test_names_are_requested_concurrently():
    meeting = threading.Barrier(3)

    def wait(_method, _path):
        meeting.wait(30)

    with contextlib.ExitStack() as stack:
        registries = [stack.enter_context(Registry(auth=wait)) for _number in range(3)]
        for registry in registries:
            registry.add("app", APP.raw, APP.media_type, "1")
        names = [f"{registry.address}/app:1" for registry in registries]
        assert look_up(*names, plain_http=True) == [APP.digest] * 3


@pytest.mark.parametrize("tag", ["", ":12"])
def test_name_with_a_digest_costs_no_request(tag, registry):
    name = f"{registry.address}/demo/app{tag}@{PINNED}"
    assert look_up(name) == [PINNED]
    assert look_up(name, result="reference") == [name]
    assert asked(registry) == []


def test_a_reference_keeps_the_tag(registry):
    name = f"{registry.address}/demo/app"
    assert look_up(f"{name}:1.0", name, result="reference") == [
        f"{name}:1.0@{APP.digest}",
        f"{name}:latest@{APP.digest}",
    ]


def test_a_platform_is_chosen_from_the_index(registry):
    name = f"{registry.address}/demo/app"
    assert look_up(f"{name}:1.0", platform="linux/arm64/v8") == [ARM64]
    assert asked(registry) == [("GET", "1.0"), ("GET", ARM64)]
    whole = look_up(f"{name}:1.0@{APP.digest}", platform="linux/x86_64", result="reference")
    assert whole == [f"{name}:1.0@{AMD64}"]


def test_missing_platform_is_an_error_that_lists_the_existing_ones(registry):
    with pytest.raises(
        AnsibleLookupError, match=r"linux/s390x, available: linux/amd64, linux/arm64\. Give"
    ) as caught:
        look_up(f"{registry.address}/demo/app:1.0", platform="linux/s390x")
    assert f"{registry.address}/demo/app:1.0: no image for platform" in str(caught.value)


@pytest.mark.parametrize(
    ("platform", "fits"), [("linux/amd64", True), ("linux/amd64/v3", True), ("linux/arm64", False)]
)
def test_F23_platform_of_an_image_without_an_index_is_checked(platform, fits, registry, warned):
    one = image([layer({"etc/one": b"1"})])
    push(registry, "demo/one", one, "1")
    name = f"{registry.address}/demo/one:1"
    says = f"{name}: is for linux/amd64, not for {platform}"
    if fits:
        assert look_up(name, platform=platform) == [one.digest]
    else:
        with pytest.raises(AnsibleLookupError, match=re.escape(says)):
            look_up(name, platform=platform)
    assert warned == []
    assert look_up(name, platform=platform, allow_platform_mismatch=True) == [one.digest]
    assert warned == ([] if fits else [says])


def test_messages_of_mirrors_and_registries_are_warnings(registry, warned):
    with Registry() as dead:
        mirror = dead.address
    registry.faults.append(
        Fault(method="HEAD", set_headers={"Warning": '299 - "closes on Sunday"'}, times=None)
    )
    settings = [{"registry": registry.address, "mirrors": [{"url": f"http://{mirror}"}]}]
    assert look_up(f"{registry.address}/demo/app:1.0", registries=settings) == [APP.digest]
    assert any("closes on Sunday" in text for text in warned)
    assert any(f"mirror {mirror} is skipped" in text for text in warned)


@pytest.mark.parametrize("auth", ["basic", "bearer"])
def test_login_can_be_an_option_or_a_setting_of_a_registry(auth):
    login = {"username": "user", "password": SECRET}
    with Registry(auth=auth, users={"user": SECRET}) as registry:
        push(registry, "demo/app", APP, "1")
        name = f"{registry.address}/demo/app:1"
        assert look_up(name, **login) == [APP.digest]
        assert look_up(name, registries=[{"registry": registry.address, **login}]) == [APP.digest]


@pytest.mark.parametrize("auth", ["basic", "bearer"])
def test_refused_login_is_an_error_without_the_password(auth):
    with Registry(auth=auth, users={"user": "another"}) as registry:
        with pytest.raises(AnsibleLookupError) as caught:
            look_up(f"{registry.address}/demo/app:1", username="user", password=SECRET)
    text = str(caught.value)
    assert registry.address in text
    assert not [form for form in secret_forms(SECRET) if form in text]


@pytest.mark.parametrize(
    "options",
    [
        {"registries": [[{"registry": "r.example", "password": SECRET}]]},
        {"registries": [{"registry": "r.example", "passwort": SECRET}]},
        {"registries": [{"registry": f"https://user:{SECRET}@r.example"}]},
        {"registries": [f"user:{SECRET}@r.example"]},
        {"password": [SECRET]},
    ],
)
def test_F01_invalid_option_is_an_error_without_the_password(options):
    with pytest.raises(AnsibleError) as caught:
        look_up("r.example/app", **options)
    assert not [form for form in secret_forms(SECRET) if form in str(caught.value)]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("Debian", "name component 'Debian' must be lower case"),
        ("docker://debian", "is not part of a name. Write registry/repository:tag"),
        ("user:pw@registry.example.com/app", "Give them as username and password"),
        (12, "of type int, not a string"),
        (None, "of type NoneType, not a string"),
    ],
)
def test_invalid_name_is_an_error_before_any_request(name, words, registry):
    with pytest.raises(AnsibleLookupError, match=words):
        look_up(f"{registry.address}/demo/app:1.0", name)
    assert asked(registry) == []


def test_missing_image_is_an_error_that_names_it(registry):
    with pytest.raises(AnsibleLookupError, match=f"^{registry.address}/demo/app:2.0: not found"):
        look_up(f"{registry.address}/demo/app:1.0", f"{registry.address}/demo/app:2.0")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"platfrom": "linux/arm64"}, "unsupported options: platfrom"),
        ({"store": "/var/lib/lockstep/images"}, "unsupported options: store"),
        ({"validate_certs": "flase"}, "validate_certs.* bool"),
        ({"result": "tag"}, "value of result must be one of: digest, reference"),
        ({"password": SECRET}, "required by 'password': username"),
        ({"client_key": "/key.pem"}, "required by 'client_key': client_cert"),
        ({"registries": [{"mirrors": []}]}, "missing required arguments: registry"),
        ({"registries": [{"registry": "a.example", "nix": 1}]}, "options: registries.nix"),
        ({"username": "user", "password": SECRET, "result": SECRET}, "got: VALUE_SPECIFIED|\\*\\*"),
    ],
)
def test_invalid_option_is_an_error_of_ansible(options, words):
    with pytest.raises(AnsibleOptionsError, match=words) as caught:
        look_up("127.0.0.1:1/app", **options)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"timeout": 0}, "timeout must be more than 0"),
        ({"platform": "all"}, "not a known operating system or architecture"),
        ({"platform": ""}, "not of the form os/architecture"),
        ({"registries": [{"registry": "https://a.example"}]}, r"registries\[0\].registry"),
    ],
)
def test_value_that_the_library_rejects_is_an_error_of_the_lookup(options, words):
    with pytest.raises(AnsibleLookupError, match=words):
        look_up("127.0.0.1:1/app", **options)


def test_text_values_are_converted_as_for_modules(registry):
    options = {"plain_http": "yes", "timeout": "5", "retries": "0", "use_proxy": "false"}
    assert look_up(f"{registry.address}/demo/app:1.0", **options) == [APP.digest]


class Vaulted:
    """What ansible-core 2.18 and older make of !vault."""

    __ENCRYPTED__ = True

    def __init__(self, text):
        self._text = text

    def __str__(self):
        return self._text


def test_vault_values_are_read_in_names_and_logins():
    login = {"username": "user", "password": Vaulted(SECRET)}
    with Registry(auth="basic", users={"user": SECRET}) as registry:
        push(registry, "demo/app", APP, "1")
        name = Vaulted(f"{registry.address}/demo/app:1")
        assert look_up(name, **login) == [APP.digest]
        assert look_up(name, registries=[{"registry": registry.address, **login}]) == [APP.digest]


def test_F18_hint_of_a_lookup_follows_a_full_stop():
    with pytest.raises(AnsibleLookupError, match=r"is not part of a name\. Write registry/"):
        look_up("docker://debian")


def test_F25_white_space_around_a_name_is_ignored(registry):
    assert look_up(f"{registry.address}/demo/app:1.0\n") == [APP.digest]


@pytest.mark.parametrize(
    "text", ["a\0" + "b" * 9_999, "x\x1b[31m", "x\u202e"], ids=["long", "escape", "bidi"]
)
def test_F35_invalid_name_is_reported_on_one_short_line(text):
    with pytest.raises(AnsibleLookupError) as caught:
        look_up(text)
    assert caught.value.message.isprintable() and len(caught.value.message) < 1500
