# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Copy: five properties, the targets of images, the selection of tags, and the requests to each registry."""

from __future__ import annotations

import base64

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._execution import Pool
from ansible_collections.lockstep.images.plugins.module_utils._image.errors import InputError
from ansible_collections.lockstep.images.plugins.module_utils._image.names import (
    Platform,
    Reference,
)
from ansible_collections.lockstep.images.plugins.module_utils._operations.copy import (
    Destination,
    Tags,
    plan_copy,
)
from ansible_collections.lockstep.images.plugins.module_utils._operations.sending import (
    SendOptions,
    SendPlanner,
)
from ansible_collections.lockstep.images.plugins.module_utils._registry.credentials import (
    Credentials,
)
from ansible_collections.lockstep.images.tests.support.faults import Fault
from ansible_collections.lockstep.images.tests.support.images import (
    attestation,
    demo_image,
    image,
    index,
    layer,
    push,
)
from ansible_collections.lockstep.images.tests.support.plans import dry_run, execute
from ansible_collections.lockstep.images.tests.support.pulling import Puller
from ansible_collections.lockstep.images.tests.support.pushing import (
    facts,
    half_images,
    held,
    steps,
    summaries,
)
from ansible_collections.lockstep.images.tests.support.registry import Registry
from ansible_collections.lockstep.images.tests.support.stores import AMD64, ARM64, statuses

READER, WRITER = Credentials("reader", "read:the/docs"), Credentials("writer", "write=the/docs")


def made(text, created=None, platform=AMD64):
    """An image that was made at that time, an empty text for one that does not say so."""
    config = {} if created is None else {"created": created}
    return image([layer({"file": text.encode() * 300})], platform, config)


APP = demo_image("app", "1", layers=2, size=2500, attestations=True)
NEXT = demo_image("app", "2", layers=2, size=2500, attestations=True)
TOOL = made("tool")
NAMES = ("demo/app:1", "demo/app:2", "demo/tool:1")
CONTENT = dict(zip(NAMES, (APP, NEXT, TOOL)))


# Where logins matter; all other tests use tokens, which take the most requests.
every_login = pytest.mark.parametrize("source", [None, "basic", "bearer"], ids=str, indirect=True)


@pytest.fixture(name="source")
def fixture_source(request):
    users = {READER.username: READER.password}
    with Registry(auth=getattr(request, "param", "bearer"), users=users) as registry:
        for name, item in CONTENT.items():
            push(registry, *name.split(":")[:1], item, name.split(":")[1])
        yield registry
    assert registry.errors == []
    assert not {"PUT", "PATCH", "DELETE"} & set(registry.requests_by_method())


@pytest.fixture(name="target")
def fixture_target():
    with Registry(auth="bearer", users={WRITER.username: WRITER.password}) as registry:
        yield registry
    assert registry.errors == []
    assert half_images(registry) == []


@pytest.fixture(name="copier")
def fixture_copier(tmp_path, source, target):
    return Copier(tmp_path, source, target)


class Copier:
    """Copies from one registry to another, each time as a task of its own."""

    def __init__(self, directory, source, target, **options):
        self.directory, self.source, self.target, self.options = directory, source, target, options

    def plan(self, *names, to="", rewrite=(), tags=(False, None, None), workers=3, **options):
        logins = {self.source.address: READER, self.target.address: WRITER}
        puller = Puller(self.directory, self.source, self.target, logins=logins, **self.options)
        if options.get("platform"):
            options["platform"] = Platform.parse(options["platform"])
        return plan_copy(
            [Reference.parse(f"{self.source.address}/{name}") for name in names],
            Destination.parse(f"{self.target.address}{to}", rewrite),
            Tags.of(*tags),
            SendPlanner(puller.sources, SendOptions(workers, **options)),
        )

    def copy(self, *names, **options):
        outcome = execute(self.plan(*names, **options))
        if outcome.failure:
            raise outcome.failure
        return outcome.result()


def asked(registry):
    """Return the requests to a registry, except those for tokens and challenges."""
    return [
        f"{one.method} {one.path[4:]}"
        for one in registry.requests
        if one.path != "/token" and one.status != 401
    ]


# -- the five properties

STATES = {"nothing": [], "one": ["demo/tool:1"], "other": ["demo/app:2"], "all": [*NAMES]}
every_state = pytest.mark.parametrize("there", STATES.values(), ids=STATES)


def put(registry, names):
    for name in names:
        push(registry, *name.split(":")[:1], CONTENT[name], name.split(":")[1])


@every_login
@every_state
def test_planning_sends_nothing_and_reads_no_blob(copier, source, target, there):
    put(target, there)
    before = held(target)
    plan = copier.plan(*NAMES)
    assert plan.changed == (there != STATES["all"])
    assert held(target) == before
    verbs = {one.partition(" ")[0] for one in asked(source) + asked(target)}
    assert verbs <= {"HEAD", "GET"}
    assert "GET blob" not in steps(source) + steps(target)


@every_login
@every_state
def test_second_run_sends_one_head_per_tag_to_each_side(copier, source, target, there):
    put(target, there)
    copier.copy(*NAMES)
    for registry in (source, target):
        registry.clear()
    again = copier.plan(*NAMES)
    assert (again.changed, summaries(again.actions)) == (False, [])
    assert set(statuses(dry_run(again).result())) == {"up_to_date"}
    wanted = sorted(f"HEAD {name.replace(':', '/manifests/')}" for name in NAMES)
    assert sorted(asked(source)) == sorted(asked(target)) == wanted


def test_no_tag_is_incomplete_after_any_action_and_the_next_plan_is_the_rest(tmp_path):
    number, total = 0, 1
    with Registry() as source:
        put(source, NAMES)
        while number <= total:
            with Registry() as target:
                copier = Copier(tmp_path, source, target)
                plan = copier.plan("demo/app:1", "demo/tool:1")
                total = len(plan.actions)
                with Pool(1) as pool:
                    for action in plan.actions[:number]:
                        action.apply(pool)
                assert half_images(target) == []
                rest = copier.plan("demo/app:1", "demo/tool:1")
                assert summaries(rest.actions) == summaries(plan.actions[number:])
                execute(rest)
                assert not copier.plan("demo/app:1", "demo/tool:1").changed
            number += 1
    assert total > 8


@every_login
@every_state
def test_plan_and_apply_report_the_same(copier, target, there):
    put(target, there)
    plan = copier.plan(*NAMES)
    told = facts(dry_run(plan).result())
    outcome = execute(plan)
    assert facts(outcome.result()) == told
    assert sorted(map(str, summaries(outcome.done))) == sorted(map(str, told["actions"]))


def test_result_does_not_depend_on_the_order_of_names(tmp_path):
    found = []
    with Registry() as source:
        put(source, NAMES)
        for names in (NAMES, NAMES[::-1]):
            with Registry() as target:
                Copier(tmp_path, source, target).copy(*names)
                found.append(held(target))
        assert found[0] == found[1] == held(source)


# -- what is copied


@every_login
@pytest.mark.parametrize("chunk_size", [0, 1000])
def test_copy_has_the_same_bytes(copier, source, target, chunk_size):
    copier.copy(*NAMES, chunk_size=chunk_size)
    assert held(target) == held(source)
    for digest, content in [*APP.blobs(), *NEXT.blobs()]:
        assert target.blob("demo/app", digest) == content


KINDS = {
    "docker-list": index([image([], docker=True), image([], ARM64, docker=True)], docker=True),
    "nested": index([APP, index([TOOL])]),
    "empty-index": index([]),
    "artifact": image([layer({"x": b"y"})], artifactType="application/vnd.example"),
    "docker": image([layer({"x": b"y"})], docker=True),
    "without-its-type": image([layer({"x": b"y"})], mediaType=None),
}


@pytest.mark.parametrize("item", KINDS.values(), ids=KINDS)
def test_every_kind_of_image_is_copied_unchanged(copier, source, target, item):
    push(source, "kind", item, "1")
    copier.copy("kind:1")
    assert held(target)["manifests"]["kind"] == held(source)["manifests"]["kind"]
    assert held(target)["blobs"].get("kind") == held(source)["blobs"].get("kind")
    assert target.manifest("kind", "1") == item.raw


def test_content_of_the_target_is_not_read(copier, source, target):
    push(target, "demo/app", APP, "1")
    copier.copy("demo/app:2")
    read = {one.path.rpartition("/")[2] for one in source.requests if "/blobs/" in one.path}
    assert read == {digest for digest, _content in NEXT.blobs()} - {
        digest for digest, _content in APP.blobs()
    }


def test_content_that_two_tags_share_is_read_once(copier, source):
    copier.copy("demo/app:1", "demo/app:2")
    read = [one.path for one in source.requests if "/blobs/" in one.path and one.status == 200]
    assert len(read) == len(set(read))


def test_the_image_for_one_platform_is_copied_under_the_tag(copier, target):
    result = copier.copy("demo/app:1", platform=ARM64)
    child = APP.for_platform(ARM64)
    assert target.manifest("demo/app", "1") == child.raw
    assert result["images"][0]["digest"] == child.digest
    assert set(held(target)["manifests"]["demo/app"]) == {child.digest}
    assert not copier.plan("demo/app:1", platform=ARM64).changed


def test_copy_by_digest_sets_no_tag(copier, target):
    copier.copy(f"demo/tool@{TOOL.digest}")
    assert target.storage.tags("demo/tool") == []
    assert target.manifest("demo/tool", TOOL.digest) == TOOL.raw
    assert not copier.plan(f"demo/tool@{TOOL.digest}").changed


def test_name_with_tag_and_digest_tags_that_digest(copier, source, target):
    source.tag("demo/app", "1", NEXT.digest)
    copier.copy(f"demo/app:1@{APP.digest}")
    assert target.manifest("demo/app", "1") == APP.raw


@every_login
def test_blob_that_breaks_off_at_the_source_resumes_on_both_sides(copier, source, target):
    blob = TOOL.layers[0]
    source.faults.append(Fault(path=f"/blobs/{blob.digest}", truncate_at=20))
    copier.copy("demo/tool:1")
    assert target.blob("demo/tool", blob.digest) == blob.blob


def test_corrupt_bytes_of_the_source_are_not_stored(copier, source, target):
    source.faults.append(Fault(path=f"/blobs/{TOOL.layers[0].digest}", corrupt=3, times=None))
    plan = copier.plan(*NAMES)
    outcome = execute(plan)
    assert outcome.failure.kind == "digest-mismatch"
    assert list(outcome.failures) == [f"{target.address}/demo/tool:1"]
    assert sorted(held(target)["tags"]) == ["demo/app"]


@every_login
def test_failed_name_does_not_stop_the_others(copier, target):
    target.faults.append(Fault(method="POST", path="/demo/tool/", status=403, times=None))
    plan = copier.plan(*NAMES, "demo/none:1")
    outcome = execute(plan)
    names = [f"{target.address}/demo/{name}" for name in ("none:1", "tool:1")]
    assert sorted(outcome.failures) == names
    assert [outcome.failures[name].kind for name in names] == ["not-found", "denied"]
    assert target.storage.tags("demo/app") == ["1", "2"]


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("status", [400, 401, 403, 405])
def test_F05_content_that_a_target_refuses_to_show_is_copied(copier, target, status, force):
    target.faults.append(Fault(method="HEAD|GET", missing_as=status, times=None))
    assert copier.copy(*NAMES, force=force)["changed"]
    assert target.storage.tags("demo/app") == ["1", "2"]
    assert not copier.plan(*NAMES).changed


@every_login
@pytest.mark.parametrize("status", [400, 401, 403, 405])
def test_F05_signatures_that_a_source_refuses_to_show_count_as_missing(copier, source, status):
    source.faults.append(
        Fault(method="HEAD|GET", path="/manifests/sha256-", missing_as=status, times=None)
    )
    assert copier.copy(NAMES[0], referrers=True)["changed"]


@every_login
def test_F05_listed_but_refused_signature_is_an_error(copier, source):
    tag = APP.digest.replace(":", "-") + ".sig"
    push(source, "demo/app", made("signature"), tag)
    source.faults.append(Fault(method="HEAD|GET", path=f"/manifests/{tag}", status=403, times=None))
    plan = copier.plan(NAMES[0], referrers=True)
    assert [error.kind for error in plan.failures.values()] == ["denied"]


def test_repository_that_does_not_list_its_tags_fails_alone(copier, target):
    target.faults.append(Fault(method="HEAD", path="/demo/tool/blobs/", status=503, times=None))
    plan = copier.plan(*NAMES)
    outcome = execute(plan)
    assert list(outcome.failures) == [f"{target.address}/demo/tool:1"]
    assert target.storage.tags("demo/app") == ["1", "2"]


@every_login
def test_referrers_of_an_image_are_copied_with_it(copier, source, target):
    subject = {"mediaType": APP.media_type, "digest": APP.digest, "size": len(APP.raw)}
    signature = image([layer({"s": b"x"})], subject=subject)
    push(source, "demo/app", signature)
    push(source, "demo/app", TOOL, f"{APP.digest.replace(':', '-')}.sig")
    copier.copy("demo/app:1", referrers=True)
    assert target.manifest("demo/app", signature.digest) == signature.raw
    assert len(target.storage.tags("demo/app")) == 2
    assert not copier.plan("demo/app:1", referrers=True).changed


# -- within one registry


@pytest.fixture(name="one")
def fixture_one():
    """A registry that is source and target."""
    with Registry(auth="bearer", users={WRITER.username: WRITER.password}) as registry:
        put(registry, NAMES)
        yield registry


def test_blobs_are_mounted_within_a_registry(tmp_path, one):
    result = Copier(tmp_path, one, one).copy("demo/app:1", to="/mirror")
    assert held(one)["blobs"]["mirror/demo/app"] == {digest for digest, _raw in APP.blobs()}
    assert result["stats"]["bytes_sent"] == 0
    assert result["stats"]["blobs_mounted"] == len(dict(APP.blobs()))
    assert "GET blob" not in steps(one)
    mounting = [token.scopes for token in one.token_requests][-1]
    assert mounting == (
        "repository:mirror/demo/app:pull,push",
        "repository:demo/app:pull",
    )


@pytest.mark.parametrize("names", [NAMES[:1], NAMES, [f"demo/tool@{TOOL.digest}"]])
def test_copy_of_a_name_to_itself_is_an_error(tmp_path, one, names):
    with pytest.raises(InputError, match="to itself"):
        Copier(tmp_path, one, one).plan(*names)


# -- where it goes to

DESTINATIONS = [
    ("a.example/x/y:1", "b.example", [], "b.example/x/y:1"),
    ("a.example/x/y:1", "b.example:5000/", [], "b.example:5000/x/y:1"),
    ("a.example/x/y:1", "b.example/m/n", [], "b.example/m/n/x/y:1"),
    ("debian", "b.example/m", [], "b.example/m/library/debian:latest"),
    ("debian:12", "b.example", [("^library/", "")], "b.example/debian:12"),
    ("a.example/x/y:1", "b.example", [("z", "q"), ("x", "w"), ("y", "v")], "b.example/w/y:1"),
    ("a.example/x/y:1", "b.example/m", [("^([^/]+)/(.*)$", r"\2/\1")], "b.example/m/y/x:1"),
    ("a.example/x/x:1", "b.example", [("x", "w")], "b.example/w/x:1"),
    (f"a.example/x@{APP.digest}", "b.example", [], f"b.example/x@{APP.digest}"),
    (f"a.example/x:1@{APP.digest}", "b.example", [], "b.example/x:1"),
    ("a.example/x:1", "docker.io/me", [], "docker.io/me/x:1"),
    ("a.example/x:1", "localhost/m", [], "localhost/m/x:1"),
]


@pytest.mark.parametrize(("name", "text", "rewrites", "target"), DESTINATIONS)
def test_a_repository_keeps_its_path_behind_the_prefix(name, text, rewrites, target):
    rules = [{"match": match, "replace": replace} for match, replace in rewrites]
    assert str(Destination.parse(text, rules).of(Reference.parse(name))) == target


WRONG = [
    ("b.example", ("(", ""), "is not a regular expression"),
    ("b.example", ("x", r"\1"), "is not a valid replacement"),
    ("b.example", ("x", r"\g<"), "is not a valid replacement"),
    ("b.example", ("x/y", "UPPER CASE"), "UPPER CASE"),
    ("b.example", ("x/y", ""), "leaves nothing"),
    ("b.example/m", ("x/y", ""), "leaves nothing"),
    ("localhost", ("x/y", ""), "leaves nothing"),
    ("127.0.0.1:5000", (".*", ""), "leaves nothing"),
    ("mirror", ("x", "x"), "names no registry"),
    ("mirror/m", ("x", "x"), "names no registry"),
    ("b.example/UPPER", ("x", "x"), "UPPER"),
    ("", ("x", "x"), "registry"),
    ("b.example//m", ("x", "x"), "b.example//m"),
    ("b.example/m:1", ("x", "x"), "m:1"),
]


@pytest.mark.parametrize(("text", "rule", "says"), WRONG)
def test_destination_that_results_in_an_invalid_name_is_an_error(text, rule, says):
    with pytest.raises(InputError, match=says):
        Destination.parse(text, [dict(zip(("match", "replace"), rule))]).of(
            Reference.parse("a.example/x/y:1")
        )


def test_two_images_for_one_name_are_rejected(copier, target):
    with pytest.raises(InputError, match="conflicting sources"):
        copier.plan("demo/app:1", "demo/tool:1", rewrite=[{"match": ".*", "replace": "x"}])
    assert target.requests == []


def test_prefix_and_rewrite_determine_the_target_name(copier, target):
    copier.copy(*NAMES, to="/mirror", rewrite=[{"match": "^demo/", "replace": ""}])
    assert sorted(held(target)["tags"]) == ["mirror/app", "mirror/tool"]


# -- which tags


@pytest.fixture(name="many")
def fixture_many(source):
    """A repository with images of several ages; some are as old as each other, some do not say."""
    for tag, item in {
        "v1": made("1", "2024-01-01T00:00:00Z"),
        "v2": made("2", "2025-01-01T00:00:00Z"),
        "v3": index([made("3", "2026-01-01T00:00:00Z"), made("3b", "2020-01-01T00:00:00Z")]),
        "same": made("s", "2025-01-01T00:00:00Z"),
        "silent": made("n", ""),
        "strange": made("t", 5),
        "artifact": KINDS["artifact"],
        "empty": index([]),
    }.items():
        push(source, "demo/many", item, tag)
    return source


def newest(copier, *tags, **options):
    plan = copier.plan("demo/many", "demo/tool", tags=tags, **options)
    assert not plan.failures
    return sorted(entry["name"].partition("/demo/")[2] for entry in plan.facts["images"])


ALL = ["many:artifact", "many:empty", "many:same", "many:silent", "many:strange"]
SELECTIONS = {
    "all": ((True, None, None), [*ALL, "many:v1", "many:v2", "many:v3", "tool:1"]),
    "matching": ((False, "^v[12]$", None), ["many:v1", "many:v2"]),
    "matching-in-the-middle": ((True, "1", None), ["many:v1", "tool:1"]),
    "matching-nothing": ((False, "^$", None), []),
    "newest": ((False, "^(?!strange)", 1), ["many:artifact", "tool:1"]),
    "newest-of-matching": ((False, "^v", 2), ["many:v2", "many:v3"]),
    "more-than-there-are": ((False, "^v", 20), ["many:v1", "many:v2", "many:v3"]),
}


@pytest.mark.parametrize(("tags", "wanted"), SELECTIONS.values(), ids=SELECTIONS)
def test_selected_tags_are_copied(copier, many, tags, wanted):
    assert newest(copier, *tags) == wanted


def test_images_of_one_age_are_selected_in_a_stable_order(copier, many):
    found = {tuple(newest(copier, False, "^(same|v2|v1)$", 1, workers=n)) for n in (1, 2, 5)}
    assert len(found) == 1


@pytest.mark.parametrize(
    ("dates", "wanted", "unknown", "equal"),
    [
        (
            ("2026-01-02T20:00:00Z", "2026-01-02T18:30:00-05:00", "2026-01-01t00:00:00z"),
            "b",
            "",
            "",
        ),
        (("yesterday", "2026-01-01T00:00:00Z", "0001-01-01T00:00:00Z"), "b", "ac", ""),
        (("yesterday", "", "2026-13-01T00:00:00Z"), "a", "abc", ""),
        (("1970-01-01T00:00:00Z",) * 3, "c", "", "abc"),
    ],
    ids=["offset", "unknown", "all-unknown", "equal"],
)
def test_F02_newest_images_are_found_by_points_in_time(
    copier, source, dates, wanted, unknown, equal
):
    for tag, when in zip("abc", dates):
        push(source, "demo/dated", made(tag, when), tag)
    plan = copier.plan("demo/dated", tags=(False, None, 1))
    assert [one["name"].rpartition(":")[2] for one in plan.facts["images"]] == [wanted]
    for key, tags in {"unknown_dates": unknown, "equal_dates": equal}.items():
        assert plan.facts[key] == [f"{source.address}/demo/dated:{tag}" for tag in tags]
    assert len(plan.warnings()) == bool(unknown)


def test_F02_newest_versions_of_one_date_are_copied(copier, source):
    for tag in ("v1.9", "v1.10", "v2.0-rc1", "latest"):
        push(source, "demo/dated", made(tag, "1980-01-01T00:00:01Z"), tag)
    plan = copier.plan("demo/dated", tags=(False, None, 2))
    found = {one["name"].rpartition(":")[2] for one in plan.facts["images"]}
    assert found == {"v2.0-rc1", "v1.10"}


def test_F02_first_entry_that_is_an_attestation_does_not_set_the_date(copier, source):
    for tag, when in (("a", "2026-01-02T00:00:00Z"), ("b", "2026-01-01T00:00:00Z")):
        one = made(tag, when)
        push(source, "demo/dated", index([attestation(one), one]), tag)
    plan = copier.plan("demo/dated", tags=(False, None, 1))
    assert (plan.facts["images"][0]["name"][-2:], plan.facts["unknown_dates"]) == (":a", [])


def test_image_with_an_invalid_age_fails_alone(copier, many, target):
    plan = copier.plan("demo/many", tags=(False, "^(strange|v1)$", 1))
    outcome = execute(plan)
    assert {name.rpartition(":")[2] for name in outcome.failures} == {"strange"}
    assert target.storage.tags("demo/many") == ["v1"]


@every_login
def test_all_tags_are_copied_once(copier, many, target):
    copier.copy("demo/many", tags=(True, None, None))
    assert target.storage.tags("demo/many") == many.storage.tags("demo/many")
    assert not copier.plan("demo/many", tags=(True, None, None)).changed


def test_new_target_repository_gets_no_requests_for_existing_content(copier, many, target):
    copier.copy("demo/many", tags=(True, None, None), workers=1)
    looks = [one for one in asked(target) if one.startswith(("HEAD", "GET"))]
    # The first are looked for one by one, as a single image is.
    assert [one.partition("/manifests/")[0] for one in looks[:3]] == ["HEAD demo/many"] * 3
    assert looks[3:] == ["GET demo/many/tags/list"]


@every_login
def test_missing_repository_fails_alone(copier, target):
    plan = copier.plan("demo/none", "demo/tool", tags=(True, None, None))
    outcome = execute(plan)
    assert [outcome.failures[name].kind for name in outcome.failures] == ["not-found"]
    assert target.storage.tags("demo/tool") == ["1"]


@pytest.mark.parametrize("name", ["demo/app:1", f"demo/app@{APP.digest}"])
def test_option_tags_requires_a_repository_without_tag(copier, name):
    with pytest.raises(InputError, match="neither tag nor digest"):
        copier.plan(name, tags=(True, None, None))


@pytest.mark.parametrize(
    ("tags", "says"), [((0, "(", None), "tags_matching"), ((0, "x", 0), "newest")]
)
def test_invalid_options_are_reported(tags, says):
    with pytest.raises(InputError, match=says):
        Tags.of(*tags)


# -- the requests to each registry


@every_login
def test_each_side_is_asked_only_for_the_rights_it_needs(copier, source, target):
    copier.copy("demo/app:1", "demo/tool:1")
    assert {one.scopes for one in source.token_requests} <= {
        ("repository:demo/app:pull",),
        ("repository:demo/tool:pull",),
    }
    assert {one.scopes[0] for one in target.token_requests} == {
        "repository:demo/app:pull,push",
        "repository:demo/tool:pull,push",
    }
    extra = {scope for one in target.token_requests for scope in one.scopes[1:]}
    assert extra <= {"repository:demo/app:pull", "repository:demo/tool:pull"}


@every_login
def test_credentials_are_sent_only_to_their_host(copier, source, target):
    copier.copy(*NAMES)
    pairs = {
        who: base64.b64encode(f"{who.username}:{who.password}".encode()).decode()
        for who in (READER, WRITER)
    }
    issued = {registry: set(registry.access._tokens) for registry in (source, target)}
    for registry, other, stranger in ((source, target, WRITER), (target, source, READER)):
        for request in registry.requests:
            sent = request.headers.get("authorization", "").partition(" ")[2]
            assert sent != pairs[stranger]
            assert sent not in issued[other]


@every_login
def test_mirror_of_the_source_serves_content_and_receives_no_push(tmp_path, source, target):
    with Registry() as mirror:
        put(mirror, NAMES)
        settings = [{"registry": source.address, "mirrors": [{"url": mirror.url}]}]
        Copier(tmp_path, source, target, settings=settings).copy(*NAMES)
        assert set(mirror.requests_by_method()) <= {"GET", "HEAD"}
        assert "GET blob" in steps(mirror)
        assert held(target) == held(source)


@every_login
def test_mirror_of_the_target_is_not_used(tmp_path, source, target):
    with Registry() as mirror:
        put(mirror, NAMES)
        settings = [{"registry": target.address, "mirrors": [{"url": mirror.url}]}]
        Copier(tmp_path, source, target, settings=settings).copy(*NAMES)
        assert mirror.requests == []
        assert held(target) == held(source)
