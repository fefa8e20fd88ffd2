# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Stages, with the files that they copy."""

from __future__ import annotations

import json

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._build.errors import (
    BuildContextError,
    BuildSyntaxError,
    BuildUnsupportedError,
)
from ansible_collections.lockstep.images.plugins.module_utils._build.recipe import config_of
from ansible_collections.lockstep.images.tests.support.building import (
    PLATFORM,
    base_image,
    built,
    files_of,
)
from ansible_collections.lockstep.images.tests.support.tarballs import (
    CHAR,
    archive,
    directory,
    entry,
    header,
    symlink,
)

PASSWD = b"root:x:0:0\nwww:x:33:34\n"
BASE = archive(
    directory("usr", 0o711),
    directory("usr/bin"),
    symlink("bin", "usr/bin"),
    directory("tmp", 0o1777),
    entry("etc/passwd", PASSWD),
    entry("usr/bin/sh", b"sh", mode=0o755, uid=7),
    symlink("usr/bin/awk", "../../etc/alternatives/awk"),
)


@pytest.fixture(name="context")
def fixture_context(tmp_path):
    for name in ("f", "dir/x", "dir/sub/y"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name[-1])
    (tmp_path / "link").symlink_to("f")
    (tmp_path / "dir/l").symlink_to("/etc/x")
    return tmp_path


def layers(text, context=None, base=BASE, config=None, **how):
    images = {"base": base_image(base, config=config)}
    with built(text, context, images, **how) as recipe:
        return files_of(recipe)


DIR = {"x": "f644 0:0 x", "sub": "d755 0:0", "sub/y": "f644 0:0 y", "l": "l777 0:0 /etc/x"}


def under(prefix, files, **more):
    parts = prefix.split("/")
    above = {"/".join(parts[:end]): "d755 0:0" for end in range(1, len(parts) + 1)}
    return {**above, **{f"{prefix}/{name}": said for name, said in files.items()}, **more}


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("COPY f /", {"f": "f644 0:0 f"}),
        ("COPY f /g", {"g": "f644 0:0 f"}),
        ("COPY f /a/b/", under("a/b", {"f": "f644 0:0 f"})),
        ("COPY link /g", {"g": "f644 0:0 f"}),
        ("COPY dir /d", under("d", DIR)),
        ("COPY dir/ f /d/", under("d", DIR, **{"d/f": "f644 0:0 f"})),
        ("COPY dir/[w-x] dir/s?b /d/", under("d", {"x": "f644 0:0 x", "y": "f644 0:0 y"})),
        ('COPY ["f", "/a b"]', {"a b": "f644 0:0 f"}),
        ("COPY --chmod=0700 --chown=1:2 dir/sub /s", {"s": "d700 1:2", "s/y": "f700 1:2 y"}),
        ("COPY --chown=5 f /n/g", {"n": "d755 5:5", "n/g": "f644 5:5 f"}),
        ("ADD f /", {"f": "f644 0:0 f"}),
        ("COPY --link ./f f", {"f": "f644 0:0 f"}),
        ("COPY <<A <<'B' /h/\n$none\"x\"\nA\n$none\nB", under("h", {"A": 'f644 0:0 "x"', "B": "f644 0:0 $none"})),
    ],
)  # fmt: skip
def test_files_of_the_context_are_copied(context, line, expected):
    (found,) = layers(f"FROM scratch\n{line}", context)
    assert found == expected


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("COPY f /bin/", {"usr": "d711 0:0", "usr/bin": "d755 0:0", "usr/bin/f": "f644 0:0 f"}),
        ("COPY f /tmp", {"tmp": "d1777 0:0", "tmp/f": "f644 0:0 f"}),
        ("COPY f /bin/awk", {"etc": "d755 0:0", "etc/alternatives": "d755 0:0", "etc/alternatives/awk": "f644 0:0 f"}),
        ("COPY --chown=www f /g", {"g": "f644 33:34 f"}),
        ("WORKDIR /bin/../tmp/w\nCOPY f .", {"tmp": "d1777 0:0", "tmp/w": "d755 0:0", "tmp/w/f": "f644 0:0 f"}),
        ("WORKDIR /tmp\nWORKDIR x\nCOPY f y", {"tmp": "d1777 0:0", "tmp/x": "d755 0:0", "tmp/x/y": "f644 0:0 f"}),
    ],
)  # fmt: skip
def test_files_go_where_links_of_the_base_lead_and_directories_keep_their_attributes(context, line, expected):
    assert layers(f"FROM base\n{line}", context)[-1] == expected


def test_directory_is_merged_through_a_link_of_the_base(context):
    (context / "root/bin").mkdir(parents=True)
    (context / "root/bin/tool").write_text("t")
    (found,) = layers("FROM base\nCOPY root /", context)
    assert found == {"usr": "d711 0:0", "usr/bin": "d755 0:0", "usr/bin/tool": "f644 0:0 t"}


def test_file_under_an_excluded_directory_is_copied(context):
    (context / ".dockerignore").write_text("*\n!dir/sub/y")
    (found,) = layers("FROM scratch\nCOPY . /d", context)
    assert found == {"d": "d755 0:0", "d/dir": "d755 0:0", "d/dir/sub": "d755 0:0", "d/dir/sub/y": "f644 0:0 y"}


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("COPY --from=b /bin/sh /sh", {"sh": "f755 7:0 sh"}),
        ("COPY --from=0 /usr/bin/s* /x/", {"x": "d755 0:0", "x/sh": "f755 7:0 sh"}),
        ("COPY --from=base /etc /e", {"e": "d755 0:0", "e/passwd": f"f644 0:0 {PASSWD.decode()}".strip()}),
        ("COPY --from=b --chown=1:1 /new/f /", {"f": "f644 1:1 f"}),
        ("COPY --from=b /bin/f /", {"f": "f644 0:0 f"}),
    ],
)  # fmt: skip
def test_files_of_stages_and_images_are_copied(context, line, expected):
    text = f"FROM base AS b\nCOPY f /new/\nCOPY f /bin/\nFROM scratch\n{line}"
    assert layers(text, context) == [expected]


def test_stage_continues_another_stage(context):
    text = "FROM scratch AS a\nCOPY f /x/\nENV A=1\nFROM a\nCOPY --chown=1 f /x/g\nENV B=$A"
    with built(text, context) as recipe:
        assert len(recipe.layers) == 2
        assert recipe.settings.finished()["Env"] == ["A=1", "B=1"]
    assert len(layers(text, context, target="a")) == 1


def test_only_the_stages_of_the_target_are_built(context):
    assert layers("FROM scratch AS a\nRUN x\nFROM scratch\nCOPY f /", context) == [{"f": "f644 0:0 f"}]


def test_triggers_of_the_base_are_done(context):
    found = layers("FROM base\nLABEL a=b", context, config={"OnBuild": ["COPY f /f", "ENV A=1"]})
    assert found == [{"f": "f644 0:0 f"}]
    with pytest.raises(BuildUnsupportedError, match="Dockerfile:1: RUN"):
        layers("FROM base", context, config={"OnBuild": ["RUN x"]})


@pytest.mark.parametrize(
    "line",
    [
        "RUN x",
        "RUN --mount=type=cache,target=/x y",
        "RUN <<E\nx\nE",
        "ADD https://example.com/f /",
        "ADD git@example.com:a/b /",
        "ADD f.tar.gz /",
        "COPY --parents f /",
        "COPY --exclude=x f /",
        "COPY --chmod=u+x f /",
        "ADD --checksum=x f /",
    ],
)
def test_instruction_that_needs_an_engine_is_named_with_its_line(context, line):
    (context / "f.tar.gz").write_bytes(b"\x1f\x8b\x08")
    with pytest.raises(BuildUnsupportedError) as caught:
        layers(f"FROM scratch\n{line}", context)
    assert str(caught.value).startswith("Dockerfile:2: ")


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("COPY f", "a source and a destination"),
        ("COPY f $none", "a source and a destination"),
        ("COPY f dir x", "end with a slash"),
        ("COPY --x f /", "no option --x"),
        ("ADD --from=x f /", "no option --from"),
        ("COPY <<E /x", "has no end"),
        ("COPY --chown=nobody f /", "no user nobody"),
        ("COPY [*", "a source and"),
        ("COPY 'f g' /", "single quote"),
    ],
)
def test_malformed_copy_is_refused(context, line, reason):
    with pytest.raises(BuildSyntaxError, match=reason):
        layers(f"FROM scratch\n{line}", context)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("FROM scratch\nCOPY none /", '"none" matches no file'),
        ("FROM scratch\nCOPY n* /", "matches no file"),
        ("FROM scratch\nCOPY ../f /", "leads out of the context"),
        ("FROM base\nCOPY f /bin/sh/x", "leads through a file"),
        ("FROM base\nCOPY dir /etc/passwd", "leads through a file|not a directory"),
        ("FROM base AS b\nFROM scratch\nCOPY --from=b /none /", "matches no file of the stage"),
        ("FROM scratch\nCOPY f /d/\nCOPY f /d/f/g", "leads through a file"),
        ("FROM scratch\nCOPY --from=base /dev /", "neither a file nor a directory"),
    ],
)
def test_missing_or_impossible_file_is_refused(context, text, reason):
    base = archive(header("dev/null", CHAR, device=(1, 3)), entry("bin/sh"), entry("etc/passwd"))
    with pytest.raises(BuildContextError, match=reason):
        layers(text, context, base=base)


def test_excluded_file_is_missing(context):
    (context / ".dockerignore").write_text("f")
    with pytest.raises(BuildContextError, match="matches no file") as caught:
        layers("FROM scratch\nCOPY f /", context)
    assert ".dockerignore" in caught.value.hint


def test_build_without_a_context_copies_only_documents():
    assert layers("FROM scratch\nCOPY <<E /x\na\nE") == [{"x": "f644 0:0 a"}]
    with pytest.raises(BuildContextError, match="the task does not have"):
        layers("FROM scratch\nCOPY f /x")


def test_variables_that_are_called_like_secrets_are_reported(context):
    found = []
    with built("FROM scratch\nARG API_TOKEN\nENV db_password=x KEYS=1", args={"API_TOKEN": "s3"}, warnings=found):
        pass
    assert [text.split(" is called")[0] for text in found] == ["Dockerfile:2: API_TOKEN", "Dockerfile:3: db_password"]
    assert "s3" not in "".join(found)


def test_configuration_continues_that_of_the_base(context):
    image = base_image(BASE)
    image.config.value["history"] = [{"created_by": "old"}]
    with built("FROM base\nCOPY f \\\n  /x\nONBUILD USER x\nARG T=1", context, {"base": image}) as recipe:
        value = json.loads(config_of(recipe, [image.config.diff_ids[0]], 86400, PLATFORM))
    assert value["created"] == "1970-01-02T00:00:00Z"
    assert len(value["rootfs"]["diff_ids"]) == 2
    assert [one["created_by"] for one in value["history"]] == ["old", "COPY f /x", "ONBUILD USER x", "ARG T=1"]
    assert [one.get("empty_layer", False) for one in value["history"]] == [False, False, True, True]
    assert value["config"] == {"OnBuild": ["USER x"]}
