# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Remove: the names that match, and then the content that became unreferenced."""

from __future__ import annotations

import itertools
import json
from datetime import datetime, timedelta

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._image.errors import (
    ConflictError,
    CorruptStoreError,
    InputError,
    LockedError,
)
from ansible_collections.lockstep.images.plugins.module_utils._operations.prune import (
    plan_prune,
)
from ansible_collections.lockstep.images.plugins.module_utils._operations.remove import (
    plan_remove,
)
from ansible_collections.lockstep.images.plugins.module_utils._store import reader as reader_module
from ansible_collections.lockstep.images.plugins.module_utils._store.reader import REF_NAME
from ansible_collections.lockstep.images.plugins.module_utils._store.store import ImageStore
from ansible_collections.lockstep.images.tests.support.fakes import FakeSources
from ansible_collections.lockstep.images.tests.support.images import (
    CREATED,
    demo_image,
    image,
    index,
    layer,
)
from ansible_collections.lockstep.images.tests.support.layout import blob_path, names, tree
from ansible_collections.lockstep.images.tests.support.plans import dry_run, execute, watch
from ansible_collections.lockstep.images.tests.support.stores import (
    AMD64,
    ARM64,
    assert_valid_store,
    blobs,
    carry_out,
    digests,
    plan,
    pull,
    put,
    rewrite,
    stop_after,
    whole_tree,
)

APP, NEXT = "docker.io/library/app:1", "docker.io/library/app:2"
TOOL, PINNED = "registry.example:5000/tool:1", "registry.example:5000/pinned"
FAMILY = demo_image("app", "1", layers=2, size=300)
SECOND = demo_image("app", "2", layers=2, size=300)
TOOL_IMAGE = image([layer({"tool": b"t" * 500})])
PIN = f"{PINNED}@{TOOL_IMAGE.digest}"
ALL_NAMES = [APP, NEXT, PIN, TOOL]


@pytest.fixture(name="path")
def fixture_path(tmp_path):
    return tmp_path / "store"


@pytest.fixture(name="sources")
def fixture_sources():
    sources = FakeSources()
    sources.publish(APP, FAMILY)
    sources.publish(NEXT, SECOND)
    sources.publish(TOOL, TOOL_IMAGE)
    sources[PINNED].publish(TOOL_IMAGE)
    return sources


def fill(path, sources, names_of_it=tuple(ALL_NAMES)):
    store = ImageStore(str(path), lock_timeout=0)
    pull(store, sources, *names_of_it, platforms=[AMD64, ARM64])
    return store


@pytest.fixture(name="store")
def fixture_store(path, sources):
    return fill(path, sources)


def removing(*patterns, prune=True, keep_newest=0, all_but=None):
    return lambda store: plan_remove(
        store, patterns, prune=prune, keep_newest=keep_newest, all_but=all_but
    )


def remove(store, *patterns, **how):
    """Remove, and return the result as a module would."""
    outcome = carry_out(store, removing(*patterns, **how), exclusive=True)
    if outcome.failure:
        raise outcome.failure
    return outcome.result()


def checked(store, *patterns, **how):
    with store.hold(exclusive=True):
        return dry_run(removing(*patterns, **how)(store)).result()


def gone(result):
    return [entry["name"] for entry in result["removed"]]


# -- the five properties


def test_planning_writes_nothing(path, store):
    before = whole_tree(path)
    assert checked(store, "app:1", "app:2")["changed"]
    assert whole_tree(path) == before


def test_plan_is_empty_after_it_was_applied(path, store):
    assert gone(remove(store, "app:1")) == [APP]
    before = whole_tree(path)
    again = remove(store, "app:1")
    assert (again["changed"], again["removed"], again["bytes_freed"]) == (False, [], 0)
    assert again["diff"] == {"before": {}, "after": {}}
    assert whole_tree(path) == before


def test_store_is_valid_after_any_action_and_prune_removes_the_rest(tmp_path, sources):
    """Names go first; what is left then is garbage, of which the names know no more."""
    patterns = ["app:*", TOOL]
    undisturbed = fill(tmp_path / "undisturbed", sources)
    wanted = remove(undisturbed, *patterns)["actions"]
    assert len(wanted) > 10
    kinds = [action["action"] for action in wanted]
    assert kinds == sorted(kinds)
    for number in range(len(wanted) + 1):
        path = tmp_path / str(number)
        store = fill(path, sources)
        assert stop_after(store, removing(*patterns), number, exclusive=True) == wanted[:number]
        assert_valid_store(path)
        rest = remove(store, *patterns)["actions"]
        assert all(action in wanted for action in rest)
        carry_out(store, lambda held: plan_prune(held, older_than=0, staging=True), exclusive=True)
        assert tree(path) == tree(tmp_path / "undisturbed")


@pytest.mark.parametrize("keep_newest", [0, 1])
@pytest.mark.parametrize("prune", [True, False])
def test_check_mode_reports_the_same_as_the_real_run(store, prune, keep_newest):
    how = {"prune": prune, "keep_newest": keep_newest}
    told = checked(store, "app:*", TOOL, **how)
    assert told == remove(store, "app:*", TOOL, **how)
    assert told["changed"]


def test_bytes_freed_is_the_size_of_the_removed_content(path, store):
    before = sum(len(raw) for name, raw in tree(path).items() if name.startswith("blobs/"))
    freed = remove(store, "app:*")["bytes_freed"]
    after = sum(len(raw) for name, raw in tree(path).items() if name.startswith("blobs/"))
    assert freed == before - after > 0


def test_store_does_not_depend_on_the_order_of_removals(tmp_path, sources):
    found = []
    for number, order in enumerate(itertools.permutations([APP, NEXT, TOOL])):
        path = tmp_path / str(number)
        store = fill(path, sources)
        for name in order:
            remove(store, name)
        found.append(tree(path))
    once = fill(tmp_path / "once", sources)
    remove(once, APP, NEXT, TOOL)
    only = fill(tmp_path / "only", sources, [PIN])
    assert all(one == tree(tmp_path / "once") == tree(tmp_path / "only") for one in found)
    assert once.fingerprint() == only.fingerprint()


# -- what fits


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("app:1", [APP]),
        ("docker.io/app:1", [APP]),
        ("app:*", [APP, NEXT]),
        ("*:1", [APP]),
        ("a*p:1", [APP]),
        ("app*:1", [APP]),
        ("library/*:*", [APP, NEXT]),
        ("docker.io/*/*:*", [APP, NEXT]),
        ("registry.example:5000/*:*", [TOOL]),
        ("registry.example:5000/t*l:1", [TOOL]),
        ("*.example:5000/tool:1", [TOOL]),
        ("*/*:*", [APP, NEXT]),
        ("app", []),  # is latest
        ("app:none", []),
        (f"app@{FAMILY.digest}", [APP]),
        (f"app:1@{FAMILY.digest}", [APP]),
        (f"app:*@{FAMILY.digest}", [APP]),
        (f"app:1@{SECOND.digest}", []),
        (f"app@{TOOL_IMAGE.digest}", []),
        (PIN, [PIN]),
        (f"registry.example:5000/*@{TOOL_IMAGE.digest}", [PIN, TOOL]),
        (f"registry.example:5000/pin@{TOOL_IMAGE.digest}", []),
        ("registry.example:5000/pinned:*", []),
    ],
)
def test_pattern_matches_within_one_component(path, store, pattern, found):
    assert gone(remove(store, pattern)) == found
    assert set(names(path)) == {*ALL_NAMES} - {*found}
    assert_valid_store(path)


@pytest.mark.parametrize(
    "pattern",
    [
        "",
        "a b",
        "APP:*",
        "app:**:",
        "app:-*",
        "-/app",
        "zz0any0zz",
        "ZZ0ANY0ZZ",
        "app@sha256:*",
        "a..b",
    ],
)
def test_text_that_is_neither_a_name_nor_a_pattern_is_rejected(path, store, pattern):
    before = whole_tree(path)
    with pytest.raises(InputError):
        remove(store, APP, pattern)
    assert whole_tree(path) == before


@pytest.mark.parametrize("name", ["latest", "1.0", "app"])
def test_name_of_another_tool_is_removed_by_its_text(path, name):
    """skopeo and buildah name an image as the user likes."""
    put(path, TOOL_IMAGE, name)
    store = ImageStore(str(path))
    assert gone(remove(store, name)) == [name]
    assert not remove(store, name)["changed"]
    assert blobs(path) == set()


def test_name_that_matches_twice_is_removed_once(store):
    assert gone(remove(store, "app:*", "app:1", APP, "none:1")) == [APP, NEXT]


def test_missing_store_has_nothing_to_remove_and_is_not_created(path):
    assert not remove(ImageStore(str(path)), "app:*")["changed"]
    assert not path.exists()


# -- the newest


def dated(when, text):
    config = {"created": when} if when is not None else {"created": None}
    return image([layer({"file": text.encode()})], config=config)


def test_newest_images_of_each_repository_stay(path, sources):
    start = datetime(2026, 1, 1)
    tags = {}
    for number, tag in enumerate(["c", "a", "d", "b"]):
        for repository in ("registry.example/x", "registry.example/y"):
            when = (start + timedelta(days=number)).isoformat() + "Z"
            tags[f"{repository}:{tag}"] = dated(when, f"{repository}{tag}")
    for name, item in tags.items():
        sources.publish(name, item)
    store = fill(path, sources, tags)
    result = remove(store, "registry.example/*:*", keep_newest=2)
    left = [f"registry.example/{one}" for one in ("x:b", "x:d", "y:b", "y:d")]
    assert result["kept"] == left == sorted(names(path))
    assert len(gone(result)) == 4
    assert not remove(store, "registry.example/*:*", keep_newest=2)["changed"]
    assert_valid_store(path)


@pytest.fixture(name="made")
def fixture_made(path, sources):
    """A store of a repository, from when its tags were made."""

    def made(**dates):
        tags = {
            f"registry.example/x:{tag.replace('_', '.')}": dated(when, tag)
            for tag, when in dates.items()
        }
        for name, item in tags.items():
            sources.publish(name, item)
        return fill(path, sources, tags)

    return made


def tags_gone(result):
    return [name.rpartition(":")[2] for name in gone(result)]


@pytest.mark.parametrize(
    ("older", "newer"),
    [
        ("2026-01-02T03:04:05Z", "2026-01-02T03:04:05.5Z"),
        ("2026-01-02T03:04:05.4Z", "2026-01-02T03:04:05.55Z"),
        ("2026-01-02T20:00:00Z", "2026-01-02T18:30:00-05:00"),
        ("2026-01-03T01:00:00+05:30", "2026-01-02T20:00:00Z"),
        ("2026-01-02T20:00:00Z", "2026-01-02t20:00:01z"),
        ("2016-12-31T23:59:59Z", "2016-12-31T23:59:60Z"),
        ("1970-01-01T00:00:01Z", "1980-01-01T00:00:01Z"),
    ],
)
def test_F02_dates_are_compared_as_points_in_time(made, older, newer):
    result = remove(made(z=older, a=newer), "registry.example/x:*", keep_newest=1)
    assert (tags_gone(result), result["unknown_dates"], result["equal_dates"]) == (["z"], [], [])


@pytest.mark.parametrize(
    "when",
    [None, "", "yesterday", "2026-13-01T00:00:00Z", "0001-01-01T00:00:00Z", "1970-01-01T00:00:00Z"],
)
def test_F02_image_of_unknown_date_stays_and_is_named(made, when):
    store = made(a="2026-01-01T00:00:00Z", b=when, c="2026-01-02T00:00:00Z")
    outcome = carry_out(store, removing("registry.example/x:*", keep_newest=1), exclusive=True)
    result = outcome.result()
    assert tags_gone(result) == ["a"]
    assert result["kept"] == ["registry.example/x:b", "registry.example/x:c"]
    assert result["unknown_dates"] == ["registry.example/x:b"]
    (warning,) = outcome.warnings()
    assert "registry.example/x:b" in warning


@pytest.mark.parametrize("when", ["0001-01-01T00:00:00Z", "1970-01-01T00:00:00Z", CREATED])
def test_F02_versions_decide_for_equal_dates_and_the_result_lists_them(made, when):
    tags = ["v1_9", "v1_10", "v2_0-rc1", "v2_0", "latest"]
    store = made(**dict.fromkeys(tags, when))
    result = remove(store, "registry.example/x:*", keep_newest=2)
    assert tags_gone(result) == ["latest", "v1.10", "v1.9"]
    assert result["kept"] == ["registry.example/x:v2.0", "registry.example/x:v2.0-rc1"]
    assert result["unknown_dates"] == []
    assert len(result["equal_dates"]) == 5


def test_F02_equal_dates_that_do_not_matter_are_not_reported(made):
    old, new = "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"
    store = made(a=old, b=old, c=new, d=new)
    result = remove(store, "registry.example/x:*", keep_newest=2)
    assert (tags_gone(result), result["equal_dates"]) == (["a", "b"], [])


def test_F02_warning_about_many_images_of_unknown_date_is_short(made):
    store = made(**dict.fromkeys("abcdefgh"), z="2026-01-01T00:00:00Z")
    outcome = carry_out(store, removing("registry.example/x:*", keep_newest=1), exclusive=True)
    (warning,) = outcome.warnings()
    assert warning.endswith("registry.example/x:e and 3 more")


def test_last_names_of_equally_old_images_are_kept(store):
    assert gone(remove(store, "app:*", keep_newest=1)) == [APP]


def test_names_with_a_digest_count_as_images_of_their_repository(path, sources):
    pair = [dated("2026-01-01T00:00:00Z", "x"), dated("2026-01-02T00:00:00Z", "y")]
    for name in ("one", "two"):
        for item in pair:
            sources[f"registry.example:5000/{name}"].publish(item)
    pins = [
        f"registry.example:5000/{name}@{item.digest}" for name in ("one", "two") for item in pair
    ]
    store = fill(path, sources, pins)
    patterns = [f"registry.example:5000/*@{item.digest}" for item in pair]
    assert gone(remove(store, *patterns, keep_newest=1)) == [pins[0], pins[2]]


def test_an_index_is_as_old_as_its_youngest_image_and_attestations_have_no_age(path):
    def family(*days, text):
        members = [dated(f"2026-01-0{day}T00:00:00Z", f"{text}{day}") for day in days]
        return index([*members, dated(None, text)])

    put(path, family(1, 3, text="x"), "registry.example/x:a")
    put(path, family(2, text="y"), "registry.example/x:b")
    store = ImageStore(str(path))
    assert gone(remove(store, "registry.example/x:*", keep_newest=1)) == ["registry.example/x:b"]


def test_F02_image_without_its_configuration_has_an_unknown_date(path, store):
    for member in SECOND.images:
        blob_path(path, member.config_digest).unlink()
    result = remove(store, "app:*", keep_newest=1)
    assert (gone(result), result["unknown_dates"]) == ([], [NEXT])


@pytest.mark.parametrize("damage", ["config", "manifest", "date"])
def test_F02_image_with_an_unreadable_part_has_an_unknown_date(path, damage):
    """That part may be the youngest."""
    old = dated("2026-01-01T00:00:00Z", "old")
    other = dated("yesterday" if damage == "date" else "2026-01-09T00:00:00Z", "other")
    put(path, index([old, other]), "registry.example/x:a")
    put(path, dated("2026-01-02T00:00:00Z", "next"), "registry.example/x:b")
    if damage != "date":
        spoilt = blob_path(path, other.config_digest if damage == "config" else other.digest)
        spoilt.write_bytes(spoilt.read_bytes()[:-1] + b"x")
    result = remove(ImageStore(str(path)), "registry.example/x:*", keep_newest=1, prune=False)
    assert (gone(result), result["unknown_dates"]) == ([], ["registry.example/x:a"])


def test_F12_name_without_a_tag_does_not_match_a_name_with_a_digest(store):
    assert gone(remove(store, PINNED)) == []


def test_F12_removal_of_all_others_keeps_entries_without_a_name(path, store):
    other = demo_image("other", "1", size=100)
    put(path, other)
    outcome = carry_out(
        store,
        lambda held: plan_remove(held, [], prune=True, keep_newest=0, all_but=[APP]),
        exclusive=True,
    )
    assert [one["name"] for one in outcome.plan.facts["removed"]] == [NEXT, PIN, TOOL]
    assert digests(other) <= blobs(path)


def test_keeping_more_images_than_exist_removes_none(store):
    result = remove(store, "app:*", keep_newest=9)
    assert (result["changed"], result["kept"]) == (False, [APP, NEXT])


def test_negative_number_of_images_is_an_error(store):
    with pytest.raises(InputError, match="keep_newest"):
        remove(store, APP, keep_newest=-1)


# -- content


def test_shared_content_is_kept(path, store):
    shared = digests(FAMILY) & digests(SECOND)
    assert shared
    remove(store, APP)
    assert blobs(path) == digests(SECOND, TOOL_IMAGE)
    remove(store, TOOL)
    assert blobs(path) == digests(SECOND, TOOL_IMAGE)
    remove(store, PIN, NEXT)
    assert blobs(path) == set()


def test_content_stays_without_prune(path, store):
    result = remove(store, "app:*", prune=False)
    assert (result["bytes_freed"], {one["action"] for one in result["actions"]}) == (
        0,
        {"drop_name"},
    )
    assert digests(FAMILY, SECOND) <= blobs(path)


def test_previously_unreferenced_content_is_kept(path, store):
    other = demo_image("other", "1", size=100)
    put(path, other)
    rewrite(path, lambda entries: entries.pop())
    remove(store, *ALL_NAMES)
    assert blobs(path) == digests(other)


def test_an_entry_without_a_name_keeps_its_content(path, store):
    """S025: also when a name of the same content goes."""
    put(path, FAMILY)
    lonely = demo_image("lonely", "1", size=100)
    put(path, lonely)
    remove(store, *ALL_NAMES)
    assert blobs(path) == digests(FAMILY, lonely)
    document = json.loads((path / "index.json").read_bytes())
    assert {entry["digest"] for entry in document["manifests"]} == {FAMILY.digest, lonely.digest}


def test_both_entries_of_a_name_are_removed(path):
    """S022"""
    put(path, TOOL_IMAGE, APP)
    put(path, FAMILY, APP)
    remove(ImageStore(str(path)), APP)
    assert json.loads((path / "index.json").read_bytes())["manifests"] == []


def test_platforms_of_only_the_removed_name_are_removed(tmp_path, sources):
    """S027: stores with the same names, digests and platforms hold the same."""
    other = "registry.example/copy:1"
    sources.publish(other, FAMILY)
    store = ImageStore(str(tmp_path / "both"))
    pull(store, sources, APP, platforms=[AMD64])
    pull(store, sources, other, platforms=[ARM64])
    remove(store, other)
    pull(ImageStore(str(tmp_path / "one")), sources, APP, platforms=[AMD64])
    assert tree(tmp_path / "both") == tree(tmp_path / "one")


@pytest.mark.parametrize("how", ["gone", "flipped", "cut"])
def test_corrupt_image_is_removed(path, store, how):
    """S017, S023"""
    place = blob_path(path, FAMILY.digest)
    raw = place.read_bytes()
    place.unlink() if how == "gone" else place.write_bytes(raw[:-1] + b"x" * (how == "flipped"))
    remove(store, APP)
    assert digests(SECOND, TOOL_IMAGE) <= blobs(path)
    assert not place.exists()


def test_nothing_is_removed_while_a_remaining_manifest_is_unreadable(path, store):
    """A corrupt manifest does not show which layers it shares."""
    place = blob_path(path, SECOND.for_platform(AMD64).digest)
    place.write_bytes(place.read_bytes()[:-1] + b"x")
    before = whole_tree(path)
    with pytest.raises(CorruptStoreError, match="does not match its digest") as caught:
        remove(store, APP)
    assert "store_verify" in caught.value.hint
    assert whole_tree(path) == before
    assert remove(store, APP, prune=False)["changed"]


# -- others at work


def test_removal_waits_for_a_pull_until_its_timeout(path, store, sources):
    """S009"""
    other = ImageStore(str(path))
    with other.hold(), pytest.raises(LockedError), store.hold(exclusive=True):
        pass
    assert_valid_store(path)


def test_pull_waits_for_a_removal(path, store, sources):
    with store.hold(exclusive=True), pytest.raises(LockedError):
        pull(ImageStore(str(path), lock_timeout=0), sources, APP)


def test_name_moved_by_another_task_is_a_conflict_and_removes_no_content(path, store, monkeypatch):
    """S028: another tool, which knows no lock, points the name at something else."""
    with store.hold(exclusive=True):
        made = removing(APP, NEXT)(store)

        def point(entries):
            for entry in entries:
                if entry["annotations"][REF_NAME] == APP:
                    entry.update(TOOL_IMAGE.descriptor())

        rewrite(path, point)
        outcome = execute(made)
    assert [action.name for action in outcome.done] == [NEXT]
    assert isinstance(outcome.failure, ConflictError)
    assert names(path)[APP]["digest"] == TOOL_IMAGE.digest
    assert digests(FAMILY, SECOND) <= blobs(path)
    result = outcome.result()
    assert (gone(result), result["diff"]["before"]) == (
        [NEXT],
        {APP: FAMILY.digest, NEXT: SECOND.digest},
    )


def test_a_store_without_a_lock_file_is_locked_when_it_is_changed(path):
    put(path, FAMILY, APP)

    def is_locked(_action):
        with pytest.raises(LockedError), ImageStore(str(path), lock_timeout=0).hold():
            pass

    store = ImageStore(str(path), lock_timeout=0)
    with store.hold(exclusive=True):
        assert watch(removing(APP)(store), is_locked)
    assert blobs(path) == set()


def test_change_before_the_lock_file_exists_is_a_conflict(path):
    put(path, FAMILY, APP)
    store = ImageStore(str(path), lock_timeout=0)
    with store.hold(exclusive=True):
        made = removing(APP)(store)
        put(path, SECOND, NEXT)
        with pytest.raises(ConflictError, match="changed by another process"):
            execute(made)
    assert set(names(path)) == {APP, NEXT}
    assert blobs(path) == digests(FAMILY, SECOND)


def test_pull_that_began_without_a_lock_trusts_no_removed_content(path, sources):
    """S009: it decided on what another pull had brought, and somebody else removed."""
    copy = "registry.example/copy:1"
    sources.publish(copy, FAMILY)
    late = ImageStore(str(path))
    with late.hold():
        pull(ImageStore(str(path)), sources, APP, platforms=[AMD64, ARM64])
        made = plan(late, sources, copy, platforms=[AMD64, ARM64])
        remove(ImageStore(str(path)), APP)
        with pytest.raises(ConflictError, match="removed by another process"):
            execute(made)
    assert names(path) == {}
    pull(ImageStore(str(path)), sources, copy, platforms=[AMD64, ARM64])
    assert_valid_store(path)


# -- many


def test_ten_thousand_names_are_removed_with_one_read_of_each(path, monkeypatch):
    """S030: operations are counted, not time."""
    put(path, TOOL_IMAGE, "registry.example/many:0")
    many = 10_000

    def multiply(entries):
        for number in range(1, many):
            name = f"registry.example/many:{number}"
            entries.append({**entries[0], "annotations": {REF_NAME: name}})

    rewrite(path, multiply)
    looks = []
    real = reader_module.name_of
    monkeypatch.setattr(reader_module, "name_of", lambda entry: looks.append(1) or real(entry))
    store = ImageStore(str(path))
    result = remove(store, "registry.example/many:*")
    assert len(gone(result)) == many
    assert len(looks) < 40 * many
    assert blobs(path) == set()


def test_removed_image_can_be_pulled_again(path, store, sources):
    before = tree(path)
    remove(store, "app:*")
    with store.hold():
        made = plan(store, sources, APP, NEXT, platforms=[AMD64, ARM64])
        execute(made)
    assert tree(path) == before


def test_F20_removal_of_all_others_removes_each_name_once(store):
    left = sorted(set(store.names()) - {APP})
    assert gone(remove(store, all_but=[APP])) == left
    assert list(store.names()) == [APP]
    again = remove(store, all_but=[f"{APP}@sha256:{'0' * 64}"])
    assert (again["changed"], again["removed"]) == (False, [])
    assert gone(checked(store, all_but=[])) == gone(remove(store, all_but=[])) == [APP]
