# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lists of tags: pages, and registries that get them wrong."""

from __future__ import annotations

import json

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._image.manifest import OCI_INDEX
from ansible_collections.lockstep.images.plugins.module_utils._image.names import Digest, Reference
from ansible_collections.lockstep.images.plugins.module_utils._registry.catalog import repositories
from ansible_collections.lockstep.images.tests.support.faults import Fault, Filler
from ansible_collections.lockstep.images.tests.support.pulling import (
    IMAGE,
    LOGIN,
    USERS,
    Puller,
    authorized,
    serving,
    trail,
)
from ansible_collections.lockstep.images.tests.support.registry import Registry


def tags_of(puller, registry):
    reference = Reference.parse(f"{registry.address}/demo/app")
    return puller.sources.repository(reference).tags()


def failure(puller, registry):
    """The error of a pull of all tags."""
    return puller.fails(f"{registry.address}/demo/app", all_tags=True)


def page(*tags, link=None, **fault):
    """Every page of the list is this one."""
    headers = {"Link": link} if link is not None else {}
    settings = {"times": None, "body": {"name": "demo/app", "tags": list(tags)}, **fault}
    return Fault(path="/tags/list", headers=headers, **settings)


def test_all_pages_of_tags_are_read_and_sorted(tmp_path):
    """R072: relative links, as the specification shows them."""
    with serving(page_size=3) as registry:
        for number in range(10):
            registry.tag("demo/app", f"v{number}", IMAGE.digest)
        found = tags_of(Puller(tmp_path, registry), registry)
        assert found == ["1.0", *(f"v{number}" for number in range(10))]
        assert trail(registry) == ["GET tags"] * 4


def test_every_tag_of_a_repository_is_pulled(tmp_path):
    with serving(page_size=2, auth="bearer", users=USERS) as registry:
        for number in range(3):
            registry.tag("demo/app", f"v{number}", IMAGE.digest)
        puller = Puller(tmp_path, registry, login=LOGIN)
        puller.pull(f"{registry.address}/demo/app", all_tags=True)
        assert sorted(name.rpartition(":")[2] for name in puller.store.names()) == [
            "1.0",
            "v0",
            "v1",
            "v2",
        ]


LISTS = {
    "R073-null": (b'{"name":"demo/app","tags":null}', []),
    "R073-missing": (b'{"name":"demo/app"}', []),
    "R073-empty": (b'{"tags":[]}', []),
    "R073-duplicate": (b'{"tags":["a","a","b","a"]}', ["a", "b"]),
    "R073-unsorted": (b'{"tags":["c","A","b"]}', ["A", "b", "c"]),
    "R073-not-only-strings": (b'{"tags":["a",5,null,["b"],{"c":1},true]}', ["a"]),
    "R073-more-fields": (b'{"tags":["a"],"manifest":{},"child":[]}', ["a"]),
}


@pytest.mark.parametrize(("body", "tags"), LISTS.values(), ids=LISTS)
def test_odd_lists_are_read_as_they_are_meant(tmp_path, body, tags):
    with serving(faults=[page(body=body)]) as registry:
        assert tags_of(Puller(tmp_path, registry), registry) == tags


NO_LISTS = {
    "R073-tags-is-text": b'{"tags":"a"}',
    "R073-tags-is-an-object": b'{"tags":{"a":1}}',
    "R073-tags-is-a-number": b'{"tags":7}',
    "R073-list": b'["a"]',
    "R073-text": b'"a"',
    "R073-null": b"null",
    "R073-html": b"<html>",
    "R073-empty": b"",
    "R073-not-utf-8": b'{"tags":["\xff"]}',
    "R073-nested": b'{"tags":' + b"[" * 200_000,
    "R073-a-GiB": Filler(1 << 30, prefix=b'{"tags":["'),
    "R073-a-million": json.dumps({"tags": [f"v{n}" for n in range(1_000_000)]}).encode(),
}


@pytest.mark.parametrize("body", NO_LISTS.values(), ids=NO_LISTS)
def test_invalid_list_of_tags_is_an_error(tmp_path, body):
    with serving(faults=[page(body=body)]) as registry:
        error = failure(Puller(tmp_path, registry), registry)
        assert error.kind == "registry-protocol"
        assert "demo/app" in str(error)
        assert sum(request.bytes_sent for request in registry.requests) < 32 << 20


LOOPS = {
    "R072-to-itself": lambda _target: "</v2/demo/app/tags/list?n=1000>; rel=next",
    "R072-in-a-circle": lambda target: (
        f"</v2/demo/app/tags/list?page={'a' if 'page=b' in target else 'b'}>; rel=next"
    ),
    "R074-new-links-and-the-same-tags": lambda target: (
        f"</v2/demo/app/tags/list?last={len(target)}{'x' * len(target)}>; rel=next"
    ),
}


@pytest.mark.parametrize("link", LOOPS.values(), ids=LOOPS)
def test_pages_that_lead_nowhere_end_in_an_error(tmp_path, link):
    with serving() as registry:
        registry.log.on_request = lambda request: registry.faults.__setitem__(
            slice(None), [page("a", "b", link=link(f"{request.path}?{request.query}"))]
        )
        registry.faults.append(page("a", "b", link=link("/v2/demo/app/tags/list?n=1000")))
        error = failure(Puller(tmp_path, registry), registry)
        assert error.kind == "registry-protocol"
        assert "do not end" in str(error)
        assert len(registry.requests) <= 3


def test_pages_without_end_are_given_up(tmp_path):
    """R073, R074: new tags on every page, for ever."""
    with serving() as registry:
        pages = []

        def grow(_request):
            pages.append([f"v{len(pages)}-{number}" for number in range(2000)])
            where = f"/v2/demo/app/tags/list?last={pages[-1][-1]}"
            registry.faults[:] = [page(*pages[-1], link=f"<{where}>; rel=next")]

        grow(None)
        registry.log.on_request = grow
        error = failure(Puller(tmp_path, registry), registry)
        assert error.kind == "registry-protocol"
        assert len(registry.requests) <= 60


LINKS = {
    "R072-other-host": '<http://elsewhere.example/v2/demo/app/tags/list>; rel="next"',
    "R072-file": '<file:///etc/passwd>; rel="next"',
    "R072-malformed": "next",
    "R072-no-bracket": "</v2/demo/app/tags/list",
    "R072-no-url": '<http://[>; rel="next"',
    "R072-no-port": '<http://127.0.0.1:x/>; rel="next"',
}


@pytest.mark.parametrize("link", LINKS.values(), ids=LINKS)
def test_a_link_that_leads_astray_is_an_error(tmp_path, link):
    with serving(auth="basic", users=USERS) as registry:
        registry.faults.append(page("a", link=link.format(host=registry.address)))
        error = failure(Puller(tmp_path, registry, login=LOGIN), registry)
        assert error.kind == "registry-protocol"
        assert "127.0.0.1" in str(error)


OF_ITSELF = {
    "another-scheme": "https://{host}",
    "without-the-port": "http://127.0.0.1",
    "another-port": "http://127.0.0.1:5000",
    "without-a-scheme": "//127.0.0.1",
}


@pytest.mark.parametrize("where", OF_ITSELF.values(), ids=OF_ITSELF)
@pytest.mark.parametrize("what", ["tags", "referrers", "catalog"])
def test_F10_a_next_page_is_asked_for_where_the_registry_is(tmp_path, where, what):
    """Behind a proxy, a registry often does not know its own scheme and port."""
    with serving(auth="basic", users=USERS) as registry:
        base = where.format(host=registry.address)
        path, first, second = {
            "tags": ("/v2/demo/app/tags/list", {"tags": ["a"]}, {"tags": ["b"]}),
            "referrers": (f"/v2/demo/app/referrers/{IMAGE.digest}", list_of("a"), list_of("b")),
            "catalog": ("/v2/_catalog", {"repositories": ["a"]}, {"repositories": ["b"]}),
        }[what]
        headers = {"Link": f'<{base}{path}?last=a>; rel="next"', "Content-Type": OCI_INDEX}
        registry.faults.append(Fault(path=path, headers=headers, body=first))
        registry.faults.append(Fault(path=path, headers={"Content-Type": OCI_INDEX}, body=second))
        puller = Puller(tmp_path, registry, login=LOGIN)
        repository = puller.sources.origin(Reference.parse(f"{registry.address}/demo/app"))
        if what == "referrers":
            found = repository.referrers(Digest.parse(IMAGE.digest))
            assert [one.digest.encoded[0] for one in found] == ["a", "b"]
        else:
            read = repository.tags if what == "tags" else lambda: repositories(repository.registry)
            assert read() == ["a", "b"]
        assert [request.query for request in registry.requests][-1] == "last=a"
        assert authorized(registry)[-1]


def list_of(letter):
    """An index of one manifest, whose digest has this letter only."""
    entry = {"mediaType": IMAGE.media_type, "digest": f"sha256:{letter * 64}", "size": 5}
    return {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [entry]}


def test_the_login_is_not_shown_to_a_next_page_elsewhere(tmp_path):
    """R072: not even at another port."""
    with serving(auth="basic", users=USERS) as registry, Registry() as other:
        link = f'<{other.url}/v2/demo/app/tags/list>; rel="next"'
        registry.faults.append(page("a", link=link))
        assert failure(Puller(tmp_path, registry, login=LOGIN), registry).kind
        assert other.connections == 0


LAST = {
    "R072-only-a-previous-page": '</v2/demo/app/tags/list?n=1>; rel="prev"',
    "R072-no-relation": "</v2/demo/app/tags/list?n=1>",
}


@pytest.mark.parametrize("link", LAST.values(), ids=LAST)
def test_link_to_something_else_is_not_a_next_page(tmp_path, link):
    with serving(faults=[page("a", link=link)]) as registry:
        assert tags_of(Puller(tmp_path, registry), registry) == ["a"]


NEXT = {
    "R072-absolute": '<http://{host}/v2/demo/app/tags/list?last=a>; rel="next"',
    "R072-absolute-path": "</v2/demo/app/tags/list?last=a>; rel=next",
    "R072-relative": '<list?last=a>; rel="next"',
    "R072-query-only": '<?last=a>; REL="next"',
    "R072-two-relations": '</v2/demo/app/tags/list?last=a>; rel="last next"; title="x, y"',
    "R072-second-of-two": '</x>; rel="prev", </v2/demo/app/tags/list?last=a>; rel="next"',
}


@pytest.mark.parametrize("link", NEXT.values(), ids=NEXT)
def test_a_link_is_followed_in_any_form(tmp_path, link):
    with serving(auth="basic", users=USERS) as registry:
        registry.faults.append(page("a", link=link.format(host=registry.address), times=1))
        registry.faults.append(page("b"))
        assert tags_of(Puller(tmp_path, registry, login=LOGIN), registry) == ["a", "b"]
        assert registry.requests[-1].query == "last=a"
        assert all(authorized(registry)[1:])


STATUSES = {401: "authentication-failed", 403: "denied", 404: "not-found", 400: "registry-error"}


@pytest.mark.parametrize(("status", "kind"), STATUSES.items())
def test_a_list_that_is_refused_is_an_error(tmp_path, status, kind):
    with serving(faults=[page(status=status)]) as registry:
        error = failure(Puller(tmp_path, registry), registry)
        assert error.kind == kind
        assert registry.address in str(error)


BAD_TAGS = {
    "R073-digest": "sha256:" + "0" * 64,
    "R073-path": "../../x",
    "R073-blank": "a b",
    "R073-empty": "",
    "R073-long": "x" * 129,
    "R073-escape": "\x1b[31m",
}


@pytest.mark.parametrize("tag", BAD_TAGS.values(), ids=BAD_TAGS)
def test_invalid_tag_in_a_list_is_harmless(tmp_path, tag):
    """Artifactory lists digests among tags; nothing of this kind becomes a URL or a name."""
    with serving(faults=[page("1.0", tag)]) as registry:
        puller = Puller(tmp_path, registry)
        puller.pull(f"{registry.address}/demo/app", all_tags=True)
        assert list(puller.store.names()) == [f"{registry.address}/demo/app:1.0"]
