# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The files of a context."""

from __future__ import annotations

import errno
import os
import socket
import stat

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._build.context import Context
from ansible_collections.lockstep.images.plugins.module_utils._build.errors import (
    BuildContextError,
)


@pytest.fixture(name="path")
def fixture_path(tmp_path):
    for name in ("a/x.txt", "a/b/y", "z.log"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    os.chmod(tmp_path / "a/x.txt", 0o600)
    os.chmod(tmp_path / "a/b/y", 0o775)
    return tmp_path


@pytest.fixture(name="context")
def fixture_context(path):
    context = Context(str(path))
    yield context
    context.close()


def listed(context, *parts):
    return [b"/".join(path).decode() for path, _node in context.below(parts)]


def content(node):
    return b"".join(node.content.chunks())


def test_files_are_listed_parents_first_and_sorted(context, path):
    (path / "a/b0").write_text("")
    assert listed(context, b"a") == ["b", "b0", "x.txt", "b/y"]
    assert listed(context) == ["a", "z.log", "a/b", "a/b0", "a/x.txt", "a/b/y"]


@pytest.mark.parametrize(
    ("modes", "expected"), [("git", [0o644, 0o755, 0o755]), ("keep", [0o600, 0o775, 0o755])]
)
def test_modes_are_those_of_git_or_kept(path, modes, expected):
    os.chmod(path / "a", 0o755)
    context = Context(str(path), modes)
    names = ([b"a", b"x.txt"], [b"a", b"b", b"y"], [b"a"])
    assert [context.node(one).mode for one in names] == expected
    context.close()


def test_excluded_files_are_left_out(context, path):
    (path / ".dockerignore").write_text("**\n!a/b/y\n")
    context.use_ignore_file(b"Dockerfile")
    assert listed(context) == ["a/b/y"]
    assert context.matching([b"z.log"]) == []


def test_rules_of_the_dockerfile_come_first(context, path):
    (path / ".dockerignore").write_text("*")
    (path / "web.dockerignore").write_text("z.log")
    context.use_ignore_file(b"web")
    assert "a/b/y" in listed(context) and "z.log" not in listed(context)


def test_patterns_match_names(context):
    assert context.matching([b"*", b"*.txt"]) == [[b"a", b"x.txt"]]
    assert context.matching([b"?.log"]) == [[b"z.log"]]
    assert context.matching([b"none*"]) == []


def test_links_are_followed_inside_the_context_only(context, path):
    (path / "good").symlink_to("a/../a/b")
    (path / "out").symlink_to("../x")
    (path / "absolute").symlink_to("/etc/passwd")
    (path / "loop").symlink_to("loop")
    assert context.find([b"good", b"y"]) == [b"a", b"b", b"y"]
    for name, reason in ((b"out", "out of the context"), (b"absolute", "out of the context"), (b"loop", "links")):
        with pytest.raises(BuildContextError, match=reason):
            context.find([name])


def test_link_in_a_directory_is_an_entry(context, path):
    (path / "a/link").symlink_to("/srv")
    found = {b"/".join(one): node for one, node in context.below([b"a"])}
    assert (found[b"link"].kind, found[b"link"].link) == ("l", b"/srv")


@pytest.mark.parametrize("kind", ["socket", "pipe", "device"])
def test_special_file_is_refused(context, path, kind):
    if kind == "pipe":
        os.mkfifo(path / "special")
    elif kind == "device":
        if os.geteuid():
            pytest.skip("only root can make a device")
        os.mknod(path / "special", stat.S_IFCHR | 0o600, os.makedev(1, 3))
    else:
        with socket.socket(socket.AF_UNIX) as one:
            one.bind(str(path / "special"))
    with pytest.raises(BuildContextError, match=f'"special" is a {kind}'):
        listed(context)
    (path / ".dockerignore").write_text("special")
    context.use_ignore_file(b"Dockerfile")
    listed(context)


@pytest.mark.parametrize("name", [b"a", b"z.log"])
def test_path_that_cannot_be_read_is_named(context, monkeypatch, name):
    """Root can read everything, so the kernel cannot refuse it here."""
    real = os.open

    def refuse(path, *args, **kwargs):
        if path == name:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return real(path, *args, **kwargs)

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(BuildContextError, match=r': "(a|z\.log)" cannot be read: Permission denied') as caught:
        for _path, node in context.below([]):
            if node.content:
                content(node)
    assert caught.value.details["path"] == name.decode()


def grow(path):
    with open(path, "a", encoding="ascii") as file:
        file.write("more")


def swap(path):
    os.unlink(path)
    os.symlink("/etc/passwd", path)


@pytest.mark.parametrize("change", [grow, os.unlink, swap])
def test_file_that_changes_is_an_error(context, path, change):
    node = context.node([b"z.log"])
    assert content(node) == b"z.log"
    change(path / "z.log")
    with pytest.raises(BuildContextError, match=r'"z\.log"'):
        content(node)


def test_directory_that_is_swapped_for_a_link_is_not_followed(context, path):
    node = context.node([b"a", b"x.txt"])
    (path / "a").rename(path / "b")
    (path / "a").symlink_to("b")
    with pytest.raises(BuildContextError):
        content(node)


def test_hundred_thousand_files_are_listed_with_few_descriptors(context, path, monkeypatch):
    """The files are one file under many names, as it takes long to create so many."""
    names = [b"%06d" % number for number in range(100_000)]
    state = os.stat(path / "z.log")
    monkeypatch.setattr(context, "_names", lambda parts: names)
    monkeypatch.setattr(context, "_stat", lambda parts: state)
    before = len(os.listdir("/proc/self/fd"))
    found = sum(node.content.size for _path, node in context.below([b"many"]))
    assert found == 100_000 * state.st_size
    assert len(os.listdir("/proc/self/fd")) == before


def test_context_must_be_a_directory(path):
    for name in ("none", "z.log"):
        with pytest.raises(BuildContextError):
            Context(str(path / name))


def test_names_that_are_not_text_are_shown_escaped(context, path):
    os.mkfifo(os.fsencode(path) + b"/\xff\n")
    with pytest.raises(BuildContextError) as caught:
        listed(context)
    assert '"\\xff\\n"' in str(caught.value)
