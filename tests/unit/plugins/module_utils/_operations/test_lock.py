# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lock, through the protocols: five properties, what moves an entry, and what is written."""

from __future__ import annotations

import itertools
import stat
from dataclasses import replace

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._image.errors import (
    DeniedError,
    InputError,
    LockError,
    LockstepError,
    NoPlatformError,
    NotFoundError,
    StoreAccessError,
)
from ansible_collections.lockstep.images.plugins.module_utils._image.lock import Lock
from ansible_collections.lockstep.images.plugins.module_utils._image.names import (
    Platform,
    Reference,
)
from ansible_collections.lockstep.images.plugins.module_utils._lockfile.lockfile import (
    read_lock,
    render_lock,
)
from ansible_collections.lockstep.images.plugins.module_utils._operations.lock import (
    LockOptions,
    plan_lock,
)
from ansible_collections.lockstep.images.tests.support import syncing
from ansible_collections.lockstep.images.tests.support.bodies import digest_of
from ansible_collections.lockstep.images.tests.support.fakes import FakeSources
from ansible_collections.lockstep.images.tests.support.images import (
    demo_image,
    image,
    index,
    layer,
    to_json,
)
from ansible_collections.lockstep.images.tests.support.plans import dry_run, execute, interrupt
from ansible_collections.lockstep.images.tests.support.stores import AMD64, ARM64, whole_tree
from ansible_collections.lockstep.images.tests.support.tables import assert_tells
from ansible_collections.lockstep.images.tests.support.users import (
    ordinary_user,
    public_directory,
)

APP, WEB, TOOL = "registry.example/app:1", "registry.example/web:1", "other.example/tool:1"
ALL = (APP, WEB, TOOL)
FAMILY = demo_image("app", "1", layers=2, size=300)
NEXT = demo_image("app", "2", layers=2, size=300)
WEBS = demo_image("web", "1", layers=2, size=300, attestations=True)
ALONE = image([layer({"tool": b"t" * 600})])
PINNED = f"registry.example/app@{FAMILY.digest}"


@pytest.fixture(name="sources")
def fixture_sources():
    """An index of two platforms, an index with attestations, and a single image."""
    sources = FakeSources()
    for name, item in ((APP, FAMILY), (WEB, WEBS), (TOOL, ALONE)):
        sources.publish(name, item)
    return sources


@pytest.fixture(name="path")
def fixture_path(tmp_path):
    return tmp_path / "deep" / "images.lock.yml"


def plan(path, sources, *names, **options):
    references = options.pop("references", [Reference.parse(name) for name in names] or None)
    files = [str(file) for file in options.pop("files", ())]
    workers = options.pop("workers", 2)
    return plan_lock(str(path), references, files, sources, LockOptions(workers, **options))


def lock(path, sources, *names, **options):
    """Lock as a module does; the result is that of check mode too, and a second time nothing is to do."""
    before = whole_tree(path.parent)
    checked = dry_run(plan(path, sources, *names, **options)).result()
    assert whole_tree(path.parent) == before
    sources.forget()
    made = plan(path, sources, *names, **options)
    outcome = execute(made)
    if outcome.failure:
        assert whole_tree(path.parent) == before
        raise outcome.failure
    result = outcome.result()
    assert facts(checked) == facts(result)
    reads = list(sources.reads)
    again = plan(path, sources, *names, **options)
    assert not again.changed and dry_run(again).result()["changes"] == []
    result["reads"] = reads
    sources.forget()
    return result


def facts(result):
    """All of a result but what reading has cost."""
    return {key: value for key, value in result.items() if key != "stats"}


def entries(path):
    """The text of each entry by its name."""
    parts = path.read_text().split("  - name: ")[1:]
    return {part.partition("\n")[0]: part for part in parts}


def changes(result):
    return {one["name"]: one["change"] for one in result["changes"]}


def written(result):
    return [(one["action"], one["path"].rpartition("/")[2]) for one in result["actions"]]


def hexes(*items):
    return sorted(item.digest.partition(":")[2] for item in items)


def carried(path):
    directory = path.with_name("images.lock.d")
    names = sorted(one.name for one in directory.iterdir()) if directory.exists() else []
    return [name for name in names if name != ".gitattributes"]


# -- the five properties

HOW = {
    "omit": {},
    "embed": {"embed": True},
    "imgpkg": {"form": "imgpkg"},
    "all": {"platforms": ["all"]},
}
every_way = pytest.mark.parametrize("how", HOW.values(), ids=HOW)


@every_way
@pytest.mark.parametrize("there", [[], [TOOL], list(ALL)], ids=["no file", "one", "all"])
def test_planning_writes_nothing_and_reads_no_layer(path, sources, there, how):
    if there:
        lock(path, sources, *there, platforms=[AMD64])
    sources.forget()
    lock(path, sources, *ALL, **{"platforms": [AMD64], "update": ["all"], **how})
    layers = {one.digest for member in (*FAMILY.images, ALONE) for one in member.layers}
    assert not {what for verb, what in sources.reads if verb == "blob"} & layers


@every_way
def test_second_run_writes_nothing_and_sends_no_request(path, sources, how):
    options = {"platforms": [AMD64], **how}
    lock(path, sources, *ALL, **options)
    before = whole_tree(path.parent)
    for names in (ALL, ()):
        made = plan(path, sources, *names, **options)
        outcome = execute(made)
        assert outcome.done == []
        result = outcome.result()
        assert (result["changed"], result["changes"]) == (False, [])
        assert [one["name"] for one in result["images"]] == sorted(ALL)
        assert result["diff"]["before"] == result["diff"]["after"] == {}
    assert whole_tree(path.parent) == before
    assert sources.reads == []


def test_manifests_are_written_first_and_unused_ones_removed_last(path, sources):
    lock(path, sources, APP, platforms=[AMD64, ARM64], embed=True)
    sources.publish(APP, NEXT)
    result = lock(path, sources, APP, update=["all"], embed=True)
    new, old = hexes(NEXT, *NEXT.images), hexes(FAMILY, *FAMILY.images)
    assert written(result) == [
        *(("write_file", name) for name in new),
        ("write_file", "images.lock.yml"),
        *(("remove_file", name) for name in old),
    ]
    assert carried(path) == new


STEPS = {
    "embedded, then moved": ({"embed": True}, {"embed": True, "update": ["all"]}),
    "embedded from the start": (None, {"embed": True}),
    "embedded later": ({}, {"embed": True}),
    "embedded no more": ({"embed": True}, {}),
}


@pytest.mark.parametrize(("first", "then"), STEPS.values(), ids=STEPS)
def test_plan_after_an_interruption_has_the_remaining_actions(tmp_path, first, then):
    """Nobody is ever given a lock with manifests of which one is missing."""
    results = []
    for number in itertools.count():
        sources = FakeSources()
        sources.publish(APP, FAMILY)
        sources.publish(TOOL, ALONE)
        path = tmp_path / str(number) / "images.lock.yml"
        path.parent.mkdir()
        if first is not None:
            lock(path, sources, APP, TOOL, platforms=[AMD64], **first)
        sources.publish(APP, NEXT)
        made = plan(path, sources, APP, TOOL, platforms=[AMD64], **then)
        wanted = [one.summary() for one in made.actions]
        done = [one.summary() for one in interrupt(made, number)]
        usable(path)
        rest = plan(path, sources, APP, TOOL, platforms=[AMD64], **then)
        left = [one.summary() for one in rest.actions]
        # What is of one kind is done at the same time, so more may be done than was waited for.
        assert all(one in wanted and one not in done for one in left)
        execute(rest)
        results.append({key: one[2] for key, one in whole_tree(path.parent).items()})
        Lock.parse(read_lock(str(path)))
        if number > len(wanted):
            break
    assert len(results) > 2
    assert all(result == results[0] for result in results)


def usable(path):
    try:
        value = read_lock(str(path))
    except LockError as exc:
        assert "lacks its manifest" in str(exc) and "Lock again" in exc.hint
        return
    for one in Lock.parse(value).images if value else ():
        if "manifests" in value:
            assert {str(one.digest), str(one.platforms[AMD64].manifest)} <= value[
                "manifests"
            ].keys()


@every_way
@pytest.mark.parametrize("workers", [1, 4])
def test_lock_file_does_not_depend_on_order_or_workers(tmp_path, sources, how, workers):
    trees = []
    for number, order in enumerate(itertools.permutations(ALL)):
        path = tmp_path / str(number) / "images.lock.yml"
        options = {"platforms": [ARM64, AMD64][:: number % 2 * 2 - 1], **how}
        sources.publish(TOOL, FAMILY)
        result = lock(path, sources, *order, order[0], workers=workers, **options)
        assert [one["name"] for one in result["images"]] == sorted(ALL)
        trees.append({key: one[2] for key, one in whole_tree(path.parent).items()})
    assert all(tree == trees[0] for tree in trees)


# -- what an entry holds


def test_entry_has_the_digests_of_the_name_and_of_each_platform(path, sources):
    result = lock(path, sources, *ALL, platforms=[AMD64])
    amd64 = FAMILY.for_platform(AMD64)
    wanted = {
        "name": APP,
        "digest": FAMILY.digest,
        "media_type": FAMILY.media_type,
        "platforms": {
            AMD64: {
                "manifest": amd64.digest,
                "config": amd64.config_digest,
                "size": amd64.size,
            }
        },
        "verified": None,
    }
    assert result["images"][1] == wanted
    alone = result["images"][0]
    assert (alone["digest"], alone["media_type"]) == (ALONE.digest, ALONE.media_type)
    assert alone["platforms"][AMD64] == {
        "manifest": ALONE.digest,
        "config": ALONE.config_digest,
        "size": ALONE.size,
    }
    assert changes(result) == dict.fromkeys(ALL, "added")
    (app,) = [one for one in result["changes"] if one["name"] == APP]
    assert app == {
        "name": APP,
        "change": "added",
        "before": None,
        "after": FAMILY.digest,
        "size_before": None,
        "size": amd64.size,
    }
    assert result["diff"]["before"] == {}
    assert result["diff"]["after"][APP] == f"{FAMILY.digest} ({AMD64}: {amd64.size} bytes)"
    assert written(result) == [("write_file", "images.lock.yml")]
    assert result["actions"][0]["size"] == path.stat().st_size
    images = Lock.parse(read_lock(str(path))).images
    assert [one.name for one in images] == sorted(ALL)


def test_platform_all_locks_everything_that_an_index_lists(path, sources):
    result = lock(path, sources, WEB, TOOL, platforms=["all"])
    web = result["images"][1]["platforms"]["all"]
    total = sum(len(raw) for _digest, raw in WEBS.blobs())
    total += sum(len(raw) for _digest, _type, raw in WEBS.manifests())
    assert web == {"manifest": WEBS.digest, "config": None, "size": total}
    assert result["images"][0]["platforms"] == {
        "all": {"manifest": ALONE.digest, "config": ALONE.config_digest, "size": ALONE.size}
    }


def test_platforms_are_written_in_normal_form(path, sources):
    result = lock(path, sources, APP, platforms=["linux/x86_64", AMD64, "linux/arm64/v8"])
    assert list(result["images"][0]["platforms"]) == [AMD64, ARM64]
    assert not plan(path, sources, APP, platforms=["linux/aarch64", AMD64]).changed


def test_artifact_is_locked_for_every_platform(path, sources):
    one = image([layer({"chart": b"c" * 50})])
    view = {**one.view, "config": {**one.view["config"], "mediaType": "application/vnd.helm+json"}}
    raw = to_json(view)
    chart = replace(one, raw=raw, digest=digest_of(raw))
    sources.publish(TOOL, chart)
    result = lock(path, sources, TOOL, platforms=[ARM64, "windows/amd64"])
    there = {"manifest": chart.digest, "config": chart.config_digest, "size": chart.size}
    assert result["images"][0]["platforms"] == {ARM64: there, "windows/amd64": there}
    assert "blob" not in {verb for verb, _what in result["reads"]}


# -- platforms by default


def test_new_file_has_the_platform_of_this_machine(path, sources):
    host = str(Platform.host())
    sources.publish(APP, demo_image("app", "1", [host, "linux/s390x"], layers=1, size=50))
    assert list(lock(path, sources, APP)["images"][0]["platforms"]) == [host]


def test_new_name_has_the_platforms_of_the_others_which_keep_theirs(path, sources):
    lock(path, sources, APP, platforms=[ARM64, AMD64])
    before = entries(path)
    result = lock(path, sources, APP, WEB)
    assert changes(result) == {WEB: "added"}
    assert list(result["images"][1]["platforms"]) == [AMD64, ARM64]
    assert entries(path)[APP] == before[APP]


def test_other_platforms_of_the_same_digest_change_only_the_entry(path, sources):
    lock(path, sources, APP, platforms=[AMD64])
    sources.publish(APP, NEXT)
    result = lock(path, sources, APP, platforms=[AMD64, ARM64])
    assert changes(result) == {APP: "platforms"}
    (change,) = result["changes"]
    assert change["before"] == change["after"] == FAMILY.digest
    assert change["size_before"] == FAMILY.for_platform(AMD64).size
    assert change["size"] == sum(one.size for one in FAMILY.images)
    assert changes(lock(path, sources, platforms=[ARM64])) == {APP: "platforms"}
    assert list(lock(path, sources, platforms=["all"])["images"][0]["platforms"]) == ["all"]


def test_a_platform_that_an_index_lacks_is_an_error_and_nothing_is_written(path, sources):
    with pytest.raises(NoPlatformError) as caught:
        lock(path, sources, APP, platforms=[AMD64, "linux/s390x"])
    assert_tells(caught.value, "platform-not-found", APP, "linux/s390x", AMD64, ARM64)
    assert not path.parent.exists()


@pytest.mark.parametrize("platforms", [[ARM64], [AMD64, ARM64]], ids=len)
def test_wrong_platform_of_an_image_without_an_index_is_an_error(path, sources, platforms):
    with pytest.raises(NoPlatformError) as caught:
        lock(path, sources, TOOL, platforms=platforms)
    assert_tells(caught.value, "platform-not-found", f"{TOOL}: is for {AMD64}, not for {ARM64}")
    assert caught.value.details == {"platforms": [AMD64]}
    assert not path.parent.exists()


def test_F23_allowed_mismatch_is_locked_and_accepted_by_sync(path, sources, tmp_path):
    made = plan(path, sources, TOOL, platforms=[ARM64], allow=True)
    execute(made)
    assert made.warnings() == [f"{TOOL}: is for {AMD64}, not for {ARM64}"]
    held = Lock.parse(read_lock(str(path), path.name))
    assert str(held.image(Reference.parse(TOOL)).platforms[ARM64].manifest) == ALONE.digest
    synced = syncing.attempt(tmp_path / "store", held, sources, platforms=[ARM64])
    assert (synced.failure, synced.plan.changed) == (None, True)
    assert synced.warnings() == [f"{TOOL}@{ALONE.digest}: is for {AMD64}, not for {ARM64}"]
    sources.forget()
    again = syncing.attempt(tmp_path / "store", held, sources, platforms=[ARM64])
    assert not again.plan.changed
    assert sources.reads == []


def test_an_image_without_an_index_serves_a_platform_that_runs_it(path, sources):
    result = lock(path, sources, TOOL, platforms=["linux/amd64/v3"])
    assert result["images"][0]["platforms"]["linux/amd64/v3"]["manifest"] == ALONE.digest


# -- what is asked again


@pytest.fixture(name="moved")
def fixture_moved(path, sources):
    """A lock file of all, and two tags that have moved since."""
    lock(path, sources, *ALL, platforms=[AMD64])
    sources.publish(APP, NEXT)
    sources.publish(WEB, demo_image("web", "2", layers=2, size=300))
    return entries(path)


@pytest.mark.parametrize(
    ("update", "expected"),
    [
        (["none"], []),
        ([], []),
        (["all"], [APP, WEB]),
        ([APP, "all"], [APP, WEB]),
        ([APP], [APP]),
        ([TOOL], []),
        ([APP, WEB], [APP, WEB]),
        (["registry.example/*:*"], [APP, WEB]),
        (["registry.example/w*:1"], [WEB]),
        (["*.example/app:1"], [APP]),
        ([f"registry.example/app@{FAMILY.digest}"], [APP]),
        ([f"{APP}@{FAMILY.digest}"], [APP]),
    ],
    ids=str,
)
def test_update_moves_only_the_given_names_and_changes_only_their_entries(
    path, sources, moved, update, expected
):
    made = plan(path, sources, update=update)
    asked = {what for verb, what in sources.reads if verb == "resolve"}
    assert bool(asked) is (update not in (["none"], []))
    assert changes(dry_run(made).result()) == dict.fromkeys(expected, "moved")
    execute(made)
    after = entries(path)
    assert after.keys() == moved.keys()
    assert sorted(name for name in after if after[name] != moved[name]) == sorted(expected)
    again = plan(path, sources, update=["none"])
    assert not again.changed


def test_moved_name_is_reported_with_both_digests_and_sizes(path, sources, moved):
    result = lock(path, sources, update=[APP])
    before, after = FAMILY.for_platform(AMD64), NEXT.for_platform(AMD64)
    assert result["changes"] == [
        {
            "name": APP,
            "change": "moved",
            "before": FAMILY.digest,
            "after": NEXT.digest,
            "size_before": before.size,
            "size": after.size,
        }
    ]
    assert result["diff"] == {
        "before": {APP: f"{FAMILY.digest} ({AMD64}: {before.size} bytes)"},
        "after": {APP: f"{NEXT.digest} ({AMD64}: {after.size} bytes)"},
    }


@pytest.mark.parametrize(
    "text", ["registry.example/none:1", "none", "registry.example/app:2", f"{APP}@{NEXT.digest}"]
)
def test_pattern_without_a_match_is_an_error_that_names_the_file(path, sources, moved, text):
    with pytest.raises(InputError) as caught:
        lock(path, sources, update=[APP, text])
    assert_tells(caught.value, "invalid-input", f"update: {text} fits none", str(path))


def test_update_of_a_missing_file_is_an_error(path, sources):
    with pytest.raises(InputError, match=f"update: {APP} fits none of the names in {path}"):
        lock(path, sources, APP, update=[APP])
    assert changes(lock(path, sources, APP, update=["all"], platforms=[AMD64])) == {APP: "added"}


EDITS = {
    "size": ("size: ", "size: 1"),
    "media type": (FAMILY.media_type, ALONE.media_type),
    "manifest": (FAMILY.for_platform(AMD64).digest, ALONE.digest),
    "config": (FAMILY.for_platform(AMD64).config_digest, "null"),
}


@pytest.mark.parametrize(("old", "new"), EDITS.values(), ids=EDITS)
@pytest.mark.parametrize("embed", [False, True], ids=["omit", "embed"])
def test_edited_entry_is_corrected_by_resolving_the_name(path, sources, old, new, embed):
    lock(path, sources, APP, platforms=[AMD64], embed=embed)
    right = path.read_bytes()
    path.write_bytes(right.replace(old.encode(), new.encode(), 1))
    assert path.read_bytes() != right
    result = lock(path, sources, embed=embed, update=[APP])
    assert changes(result) == {APP: "platforms"}
    assert path.read_bytes() == right


def test_update_of_all_requests_only_the_tag_of_an_unmoved_name(path, sources, moved):
    result = lock(path, sources, update=["all"])
    assert [verb for verb, _what in result["reads"]].count("resolve") == 3
    assert ("manifest", ALONE.digest) not in result["reads"]


# -- names


def test_names_that_are_no_longer_requested_are_dropped(path, sources, moved):
    result = lock(path, sources, APP)
    assert changes(result) == {WEB: "dropped", TOOL: "dropped"}
    assert [one for one in result["changes"] if one["name"] == TOOL] == [
        {
            "name": TOOL,
            "change": "dropped",
            "before": ALONE.digest,
            "after": None,
            "size_before": ALONE.size,
            "size": None,
        }
    ]
    assert entries(path) == {APP: moved[APP]}
    assert result["reads"] == []


def test_digest_next_to_a_tag_is_locked_without_reading_the_tag(path, sources):
    sources.publish(APP, NEXT)
    result = lock(path, sources, f"{APP}@{FAMILY.digest}", platforms=[AMD64])
    assert (result["images"][0]["name"], result["images"][0]["digest"]) == (APP, FAMILY.digest)
    assert "resolve" not in {verb for verb, _what in result["reads"]}
    assert changes(lock(path, sources, APP)) == {}
    assert changes(lock(path, sources, f"{APP}@{NEXT.digest}")) == {APP: "moved"}
    assert changes(lock(path, sources, f"{APP}@{FAMILY.digest}", update=["all"])) == {APP: "moved"}
    assert changes(lock(path, sources, update=["all"])) == {APP: "moved"}
    assert lock(path, sources)["images"][0]["digest"] == NEXT.digest


def test_name_with_only_a_digest_is_locked_under_that_name(path, sources):
    result = lock(path, sources, PINNED, APP, platforms=[AMD64])
    assert [one["name"] for one in result["images"]] == [APP, PINNED]
    assert changes(lock(path, sources, update=["all"])) == {}


@pytest.mark.parametrize(
    "names",
    [
        (APP, f"{APP}@{FAMILY.digest}"),
        (f"{APP}@{NEXT.digest}", f"{APP}@{FAMILY.digest}"),
    ],
    ids=["with and without a digest", "with two digests"],
)
def test_conflicting_requests_for_one_name_are_an_error(path, sources, names):
    with pytest.raises(InputError) as caught:
        lock(path, sources, *names)
    assert_tells(caught.value, "invalid-input", f"{APP} is asked for twice", *names)
    assert sources.reads == []


def test_request_without_names_and_without_a_file_is_an_error(path, sources):
    with pytest.raises(InputError) as caught:
        lock(path, sources)
    assert_tells(caught.value, "invalid-input", f"{path}: there is no lock file yet")
    assert "name" in caught.value.hint


def test_empty_list_makes_an_empty_file_only_if_it_is_explicit(path, sources, tmp_path):
    (tmp_path / "names.txt").write_text("# none yet\n")
    lock(path, sources, APP, platforms=[AMD64])
    with pytest.raises(InputError, match="names no image"):
        plan(path, sources, files=[tmp_path / "names.txt"])
    assert changes(lock(path, sources, references=[])) == {APP: "dropped"}
    assert path.read_text() == "---\nlockfile_version: 1\nimages: []\n"
    assert lock(path, sources)["images"] == []


def test_names_are_also_read_from_files(path, sources, tmp_path):
    (tmp_path / "names.txt").write_text(f"{WEB}\n{APP}\n")
    (tmp_path / "compose.yml").write_text(f"services: {{a: {{image: '{TOOL}'}}}}")
    files = [tmp_path / "names.txt", tmp_path / "compose.yml"]
    result = lock(path, sources, APP, files=files, platforms=[AMD64])
    assert [one["name"] for one in result["images"]] == sorted(ALL)
    other = tmp_path / "other.lock.yml"
    assert lock(other, sources, files=[path], platforms=[AMD64])["images"] == result["images"]
    (tmp_path / "names.txt").write_text("A\n")
    with pytest.raises(InputError, match=r"names.txt, line 1: reference 'A'"):
        lock(path, sources, files=files)


SERVICE = "services: {{a: {{image: '{}', platform: linux/arm64}}{}}}"


def platforms_in(path):
    return {one.name: sorted(one.platforms) for one in Lock.parse(read_lock(str(path))).images}


def test_F04_platform_of_a_service_is_also_locked(path, sources, tmp_path):
    file = tmp_path / "compose.yml"
    file.write_text(SERVICE.format(APP, f", b: {{image: '{WEB}'}}"))
    lock(path, sources, files=[file], platforms=[AMD64])
    assert platforms_in(path) == {APP: [AMD64, ARM64], WEB: [AMD64]}


def test_F04_service_with_a_platform_is_locked_only_for_it_by_default(
    path, sources, tmp_path, monkeypatch
):
    monkeypatch.setattr(Platform, "host", classmethod(lambda cls: Platform.parse(AMD64)))
    file = tmp_path / "compose.yml"
    file.write_text(SERVICE.format(APP, f", b: {{image: '{WEB}'}}"))
    lock(path, sources, files=[file])
    assert platforms_in(path) == {APP: [ARM64], WEB: [AMD64]}
    file.write_text(SERVICE.format(APP, f", b: {{image: '{APP}'}}"))
    lock(tmp_path / "other.yml", sources, files=[file])
    assert platforms_in(tmp_path / "other.yml") == {APP: [AMD64, ARM64]}


def test_F04_image_of_only_such_services_needs_no_other_platform(path, sources, tmp_path):
    file = tmp_path / "compose.yml"
    file.write_text(SERVICE.format(APP, ""))
    lock(path, sources, files=[file], platforms=["linux/s390x"])
    assert platforms_in(path) == {APP: [ARM64]}
    with pytest.raises(NoPlatformError):
        lock(path, sources, APP, files=[file], platforms=["linux/s390x"])
    file.write_text(SERVICE.format(APP, "").replace("arm64", "s390x"))
    with pytest.raises(NoPlatformError):
        lock(path, sources, files=[file], platforms=[AMD64])


def test_F04_unpushed_image_that_compose_builds_is_an_error_that_says_so(path, sources, tmp_path):
    file = tmp_path / "compose.yml"
    file.write_text(f"services:\n  a: {{build: ., image: '{APP}'}}\n")
    lock(path, sources, files=[file], platforms=[AMD64])
    file.write_text("services:\n  a: {build: ., image: 'registry.example/built:1'}\n")
    with pytest.raises(NotFoundError) as caught:
        lock(path, sources, files=[file], platforms=[AMD64])
    assert f"see {file}, line 2." in caught.value.hint


def test_F04_all_platforms_include_that_of_a_service(path, sources, tmp_path):
    file = tmp_path / "compose.yml"
    file.write_text(SERVICE.format(APP, ""))
    lock(path, sources, files=[file], platforms=["all"])
    assert platforms_in(path) == {APP: ["all"]}


def test_F04_lock_file_in_a_source_directory_is_not_a_source(sources, tmp_path):
    path, file = tmp_path / "images.lock.yml", tmp_path / "compose.yml"
    file.write_text(f"services: {{a: {{image: '{APP}'}}, b: {{image: '{WEB}'}}}}")
    lock(path, sources, files=[tmp_path], platforms=[AMD64])
    file.write_text(f"services: {{a: {{image: '{APP}'}}}}")
    assert changes(lock(path, sources, files=[tmp_path], platforms=[AMD64])) == {WEB: "dropped"}
    assert changes(lock(path, sources, files=[path], platforms=[AMD64])) == {}


def test_F04_possible_image_that_is_locked_by_name_causes_no_warning(path, sources, tmp_path):
    file = tmp_path / "a.yml"
    file.write_text(
        f"containers: [{{image: '{APP}', args: [--tool-image, '{TOOL}', --web={WEB}]}}]"
    )
    assert len(plan(path, sources, files=[file], platforms=[AMD64]).warnings()) == 2
    (warning,) = plan(path, sources, TOOL, files=[file], platforms=[AMD64]).warnings()
    assert f"--web: {WEB} could be an image" in warning
    (tmp_path / "list.txt").write_text(f"{WEB}\n{TOOL}\n")
    files = [file, tmp_path / "list.txt"]
    assert plan(path, sources, files=files, platforms=[AMD64]).warnings() == []


def test_F04_skipped_images_are_reported_and_files_without_images_are_counted(
    path, sources, tmp_path
):
    (tmp_path / "k").mkdir()
    (tmp_path / "k" / "a.yml").write_text(
        f"containers: [{{image: '{APP}', args: [--engine-image, r.example/engine:v1]}}]"
    )
    (tmp_path / "k" / "b.yml").write_text("kind: Service\n")
    made = plan(path, sources, files=[tmp_path / "k"], platforms=[AMD64])
    assert dry_run(made).result()["files_skipped"] == [
        {"file": f"{tmp_path}/k/b.yml", "reason": "names no image"}
    ]
    assert [text.partition(": ")[0] for text in made.warnings()] == [
        f"{tmp_path}/k/a.yml, line 1",
        f"{tmp_path}/k",
    ]


# -- failures


@pytest.mark.parametrize("there", [False, True], ids=["no file", "a file"])
@every_way
def test_failed_name_prevents_the_write_and_the_others_are_reported(path, sources, there, how):
    options = {"platforms": [AMD64], **how}
    if there:
        lock(path, sources, TOOL, **options)
    before = whole_tree(path.parent)
    none = "registry.example/app:none"
    made = plan(path, sources, none, APP, TOOL, WEB, **options)
    checked = dry_run(made).result()
    outcome = execute(made)
    assert outcome.done == []
    assert whole_tree(path.parent) == before
    assert (checked["changed"], checked["actions"]) == (False, [])
    assert outcome.result() == checked
    assert [one["name"] for one in checked["images"]] == sorted(ALL)
    assert [one["name"] for one in checked["failures"]] == [none]
    assert none not in {one["name"] for one in checked["changes"]}
    assert isinstance(outcome.failure, NotFoundError)
    assert none in str(outcome.failure)


def test_error_of_several_failed_names_has_the_kind_of_the_first(path, sources):
    sources["registry.example/app"].script("manifest", "1", DeniedError("app is denied"))
    made = plan(path, sources, APP, "registry.example/none:1", TOOL, platforms=[AMD64])
    assert set(made.failures) == {APP, "registry.example/none:1"}
    failure = dry_run(made).failure
    assert str(failure).startswith("2 of 3 images failed: app is denied; ")
    assert failure.kind == "denied"


def test_failed_name_leaves_the_others_unchanged(path, sources, moved):
    sources["registry.example/app"].script("resolve", "1", DeniedError("app is denied"))
    before = path.read_bytes()
    made = plan(path, sources, update=["all"])
    outcome = execute(made)
    assert path.read_bytes() == before
    result = outcome.result()
    assert changes(result) == {}
    assert result["diff"]["before"] == result["diff"]["after"]


# -- manifests


def test_manifests_are_written_unchanged(path, sources):
    result = lock(path, sources, APP, TOOL, platforms=[AMD64], embed=True)
    wanted = {item.digest: item.raw for item in (FAMILY, FAMILY.for_platform(AMD64), ALONE)}
    directory = path.with_name("images.lock.d")
    found = {f"sha256:{name}": (directory / name).read_bytes() for name in carried(path)}
    assert found == wanted
    assert {stat.S_IMODE(one.stat().st_mode) for one in directory.iterdir()} == {0o644}
    value = read_lock(str(path))
    assert value["manifests"] == {key: raw.decode() for key, raw in wanted.items()}
    assert Lock.parse(value).images == Lock.parse({**value, "manifests": {}}).images
    assert len(result["actions"]) == 5


def test_platform_all_embeds_all_manifests(path, sources):
    lock(path, sources, WEB, platforms=["all"], embed=True)
    assert carried(path) == sorted(
        digest.partition(":")[2] for digest, _type, _raw in WEBS.manifests()
    )


def test_embedded_manifests_are_not_requested_again(path, sources):
    lock(path, sources, APP, TOOL, platforms=[AMD64], embed=True)
    result = lock(path, sources, APP, TOOL, platforms=[AMD64], embed=True, update=["all"])
    assert {verb for verb, _what in result["reads"]} == {"resolve"}
    result = lock(path, sources, APP, platforms=[AMD64, ARM64], embed=True)
    assert result["reads"] == [("manifest", FAMILY.for_platform(ARM64).digest)]
    result = lock(path, sources, APP, platforms=[ARM64], embed=True)
    assert result["reads"] == []
    assert carried(path) == hexes(FAMILY, FAMILY.for_platform(ARM64))


@pytest.mark.parametrize("spoil", ["bytes", "gone", "not UTF-8"])
def test_corrupt_embedded_manifest_is_requested_and_rewritten(path, sources, spoil):
    lock(path, sources, APP, TOOL, platforms=[AMD64], embed=True)
    before = whole_tree(path.parent)
    (name,) = hexes(FAMILY.for_platform(AMD64))
    file = path.with_name("images.lock.d") / name
    file.write_bytes({"bytes": b"{}", "gone": b"", "not UTF-8": b"\xff"}[spoil])
    if spoil == "gone":
        file.unlink()
    result = lock(path, sources, APP, TOOL, embed=True)
    assert written(result) == [("write_file", name)]
    assert result["changes"] == []
    assert result["reads"] == [("manifest", FAMILY.for_platform(AMD64).digest)]
    after = whole_tree(path.parent)
    assert {key: one[2] for key, one in after.items()} == {
        key: one[2] for key, one in before.items()
    }


def test_manifests_are_removed_without_the_option_and_foreign_files_stay(path, sources):
    lock(path, sources, APP, TOOL, platforms=[AMD64], embed=True)
    directory = path.with_name("images.lock.d")
    (directory / "README.md").write_text("ours")
    (directory / ("a" * 64)).write_text("of a lock that is gone")
    text = path.read_bytes()
    result = lock(path, sources, APP, TOOL)
    names = sorted([*hexes(FAMILY, FAMILY.for_platform(AMD64), ALONE), "a" * 64])
    assert written(result) == [("remove_file", name) for name in [*names, ".gitattributes"]]
    assert (path.read_bytes(), carried(path)) == (text, ["README.md"])
    assert result["reads"] == []


def test_F27_git_attributes_for_manifests_are_written_and_user_lines_stay(path, sources):
    lock(path, sources, APP, platforms=[AMD64])
    attributes = path.with_name("images.lock.d") / ".gitattributes"
    assert not attributes.exists()
    result = lock(path, sources, APP, embed=True)
    assert ("write_file", ".gitattributes") in written(result)
    assert attributes.read_bytes() == b"* -text\n"
    attributes.write_text("* binary\n")
    lock(path, sources, APP, embed=True)
    lock(path, sources, APP)
    assert attributes.read_text() == "* binary\n"
    attributes.unlink()
    assert written(lock(path, sources, APP, embed=True))[-1] == ("write_file", ".gitattributes")


def test_F27_lock_file_with_converted_line_ends_is_unchanged(path, sources):
    lock(path, sources, APP, platforms=[AMD64])
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert not plan(path, sources, APP).changed
    read_lock(str(path))


def test_F27_converted_manifests_are_written_again(path, sources):
    path.parent.mkdir()
    pretty = image([layer({"a": b"1"})])
    sources.publish(APP, pretty)
    lock(path, sources, APP, platforms=[AMD64], embed=True)
    (name,) = carried(path)
    file = path.with_name("images.lock.d") / name
    file.write_bytes(file.read_bytes() + b"\n")
    with pytest.raises(LockError, match="white space at its end"):
        read_lock(str(path))
    assert written(lock(path, sources, APP, embed=True)) == [("write_file", name)]
    read_lock(str(path))


def test_embedded_manifests_with_an_images_lock_are_an_error(path, sources):
    with pytest.raises(InputError, match="manifests=embed has no place"):
        lock(path, sources, APP, embed=True, form="imgpkg")
    assert sources.reads == []


# -- imgpkg


def test_images_lock_reads_only_tags(path, sources):
    result = lock(path, sources, APP, PINNED, form="imgpkg")
    assert result["reads"] == [("resolve", "1")]
    assert path.read_text() == (
        "---\napiVersion: imgpkg.carvel.dev/v1alpha1\nimages:\n- annotations:\n"
        f"    kbld.carvel.dev/id: {APP}\n  image: registry.example/app@{FAMILY.digest}\n"
        f"- image: {PINNED}\nkind: ImagesLock\n"
    )
    assert result["images"][0] == {
        "name": APP,
        "digest": FAMILY.digest,
        "media_type": "",
        "platforms": {},
        "verified": None,
    }
    assert result["changes"][0]["size"] == 0
    assert result["diff"]["after"] == {APP: FAMILY.digest, PINNED: FAMILY.digest}


def test_conversion_to_the_other_format_keeps_every_digest(path, sources):
    lock(path, sources, *ALL, platforms=[AMD64])
    text = path.read_bytes()
    sources.publish(APP, NEXT)
    result = lock(path, sources, form="imgpkg")
    assert result["reads"] == []
    assert changes(result) == dict.fromkeys(ALL, "platforms")
    result = lock(path, sources, platforms=[AMD64])
    assert path.read_bytes() == text
    assert "resolve" not in {verb for verb, _what in result["reads"]}
    assert changes(lock(path, sources, form="imgpkg", update=["all"])) == {
        APP: "moved",
        WEB: "platforms",
        TOOL: "platforms",
    }


def test_images_lock_can_be_updated(path, sources):
    lock(path, sources, APP, TOOL, form="imgpkg")
    sources.publish(APP, NEXT)
    assert lock(path, sources, form="imgpkg")["changes"] == []
    assert changes(lock(path, sources, form="imgpkg", update=[APP])) == {APP: "moved"}


# -- the file that is there


BROKEN = {
    "no YAML": ("a: [\n", "line 2"),
    "empty": ("", "holds 0 documents"),
    "null": ("---\n", "is empty"),
    "another file": ("services: {}\n", "it has no images"),
    "a version": ("lockfile_version: 2\nimages: []\n", "lockfile_version is 2"),
    "an entry": ("lockfile_version: 1\nimages:\n- name: a\n", "line 3: digest is missing"),
    "imgpkg without a digest": ("kind: ImagesLock\nimages:\n- image: a\n", "line 3: image is not"),
    "imgpkg with a name that is none": (
        f"kind: ImagesLock\nimages:\n- image: A@{FAMILY.digest}\n",
        "line 3: reference 'A@",
    ),
    "imgpkg with two digests": (
        f"kind: ImagesLock\nimages:\n- image: a:1@{FAMILY.digest}\n- image: a:1@{NEXT.digest}\n",
        "line 4: docker.io/library/a:1 is listed with two digests",
    ),
}


@pytest.mark.parametrize(("text", "told"), BROKEN.values(), ids=BROKEN)
@every_way
def test_invalid_lock_file_is_an_error_and_is_kept(path, sources, text, told, how):
    path.parent.mkdir()
    path.write_text(text)
    with pytest.raises(LockError) as caught:
        plan(path, sources, APP, **how)
    assert_tells(caught.value, "invalid-lock", str(path), told)
    assert path.read_text() == text
    assert sources.reads == []


def test_file_with_the_same_content_in_another_layout_is_rewritten(path, sources):
    lock(path, sources, APP, platforms=[AMD64])
    text = path.read_text()
    path.write_text("# ours\n" + text.replace("\n", "\r\n"))
    result = lock(path, sources)
    assert (written(result), result["changes"]) == ([("write_file", "images.lock.yml")], [])
    assert path.read_text() == text


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o444], ids="{:o}".format)
def test_file_keeps_its_mode_and_a_new_file_is_world_readable(path, sources, mode):
    lock(path, sources, APP, platforms=[AMD64])
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o755
    path.chmod(mode)
    lock(path, sources, APP, platforms=[ARM64])
    assert stat.S_IMODE(path.stat().st_mode) == mode
    assert [one.name for one in path.parent.iterdir()] == ["images.lock.yml"]


def test_unwritable_directory_is_an_error_and_the_file_is_kept(sources):
    with public_directory() as public, ordinary_user():
        path = public / "locks" / "images.lock.yml"
        lock(path, sources, APP, platforms=[AMD64])
        before = path.read_bytes()
        path.parent.chmod(0o555)
        for options in ({"platforms": [ARM64]}, {"embed": True}):
            with pytest.raises(StoreAccessError, match="Permission denied") as caught:
                execute(plan(path, sources, APP, **options))
            assert_tells(caught.value, "store-access", str(path.parent))
        assert path.read_bytes() == before


@pytest.mark.parametrize("name", ["file/images.lock.yml", "directory"])
def test_a_path_that_cannot_be_a_file_is_an_error(tmp_path, sources, name):
    (tmp_path / "file").write_text("x")
    (tmp_path / "directory").mkdir()
    with pytest.raises(LockstepError) as caught:
        plan(tmp_path / name, sources, APP)
    assert_tells(caught.value, "store-access", str(tmp_path / name))


def test_warnings_and_statistics_are_returned(path, sources):
    made = plan(path, sources, APP, platforms=[AMD64])
    sources.warnings.append("closes on Sunday")
    assert list(made.warnings()) == ["closes on Sunday"]
    assert dry_run(made).result()["stats"] == sources.stats()


def test_indexes_in_an_index_are_embedded_too(path, sources):
    nested = index([index([*FAMILY.images]), ALONE])
    sources.publish(APP, nested)
    lock(path, sources, APP, platforms=["all"], embed=True)
    assert len(carried(path)) == 5


def test_a_name_that_moves_stays_locked_for_its_own_platforms(path, sources, tmp_path):
    other = tmp_path / "other.lock.yml"
    lock(path, sources, APP, platforms=[AMD64])
    lock(other, sources, WEB, platforms=[AMD64, ARM64])
    locks = [Lock.parse(read_lock(str(one))) for one in (path, other)]
    path.write_bytes(render_lock([*locks[0].images, *locks[1].images]))
    sources.publish(APP, NEXT)
    sources.publish(WEB, demo_image("web", "2", layers=2, size=300))
    lock(path, sources, update=["all"])
    found = {one["name"]: sorted(one["platforms"]) for one in read_lock(str(path))["images"]}
    assert found == {APP: [AMD64], WEB: [AMD64, ARM64]}
