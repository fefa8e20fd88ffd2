# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every error has a message and a hint, and no control characters."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._image import errors
from ansible_collections.lockstep.images.tests.support.imports import PLUGINS, tree_of

SOURCES = sorted(PLUGINS.rglob("*.py"))
KINDS = {name for name, kind in vars(errors).items() if isinstance(kind, type)}
# A placeholder for what an f-string puts in.
HOLE = "\0"


def classes() -> list[type[errors.LockstepError]]:
    return [
        kind
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, errors.LockstepError)
    ]


def texts_of(node: ast.AST | None, names: dict[str, ast.AST]) -> list[str]:
    """Return every text of an expression, with a hole for each value; [] if the text is known only at run time."""
    if isinstance(node, ast.Constant):
        return [node.value] if isinstance(node.value, str) else []
    if isinstance(node, ast.JoinedStr):
        return [
            "".join(part.value if isinstance(part, ast.Constant) else HOLE for part in node.values)
        ]
    if isinstance(node, ast.Name):
        return texts_of(names.get(node.id), names)
    if isinstance(node, ast.IfExp):
        return texts_of(node.body, names) + texts_of(node.orelse, names)
    if isinstance(node, ast.BinOp):
        ends = texts_of(node.right, names) or [HOLE]
        return [start + end for start in texts_of(node.left, names) for end in ends]
    return []


def raised(path: Path) -> Iterator[tuple[int, list[str], list[str]]]:
    """Yield line, messages and hints of every error that a file raises."""
    nodes = list(ast.walk(tree_of(path)))
    names = {
        target.id: node.value
        for node in nodes
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    for node in nodes:
        if not isinstance(node, ast.Call):
            continue
        called = node.func.attr if isinstance(node.func, ast.Attribute) else None
        if isinstance(node.func, ast.Name):
            called = node.func.id
        if called in KINDS and called.endswith("Error"):
            arguments = [*node.args, None, None]
            hint = arguments[1] or next((k.value for k in node.keywords if k.arg == "hint"), None)
            yield node.lineno, texts_of(arguments[0], names), texts_of(hint, names)


def is_sentence(text: str) -> bool:
    return text.endswith((".", HOLE)) and not text[0].islower()


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PLUGINS)))
def test_F18_messages_have_no_full_stop_and_hints_are_sentences(path):
    wrong = [
        (line, text)
        for line, messages, hints in raised(path)
        for text in [
            *(text for text in messages if text.endswith(".") and not text.endswith("...")),
            *(text for text in messages if re.search(r"\n|  |\.\.$", text)),
            *(text for text in hints if text and not is_sentence(text)),
        ]
    ]
    assert wrong == []


def test_F18_error_messages_are_found_in_the_source():
    found = [messages for path in SOURCES for _line, messages, _hints in raised(path)]
    assert len(found) > 200
    assert sum(map(bool, found)) > 190


@pytest.mark.parametrize("kind", classes(), ids=lambda kind: kind.__name__)
def test_F18_the_advice_of_a_kind_is_sentences(kind):
    assert not kind.advice or is_sentence(kind.advice)


# The remedy depends on the case, so the code that raises the error gives it.
WITHOUT_ADVICE = {
    "error",
    "invalid-content",
    "invalid-input",
    "missing-dependency",
    "store-access",
    "store-error",
}


@pytest.mark.parametrize("kind", classes(), ids=lambda kind: kind.__name__)
def test_F18_default_hint_is_that_of_the_kind(kind):
    assert bool(kind("x").hint) is (kind.kind not in WITHOUT_ADVICE)


def test_F18_hint_for_not_found_names_the_spelling_the_login_and_the_list():
    hint = errors.NotFoundError("app:1: not found").hint
    assert "spelling" in hint and "log in" in hint and "lockstep.images.registry_info" in hint


def test_F18_a_hint_follows_a_full_stop():
    error = errors.InputError("a: is wrong", "Write b.")
    assert error.full_message() == "a: is wrong. Write b."
    assert str(error) == "a: is wrong"


def test_F18_a_message_without_a_hint_has_no_full_stop():
    assert errors.InputError("a: is wrong").full_message() == "a: is wrong"


def test_F18_full_stop_is_not_doubled():
    assert errors.InputError("it says no.", "Ask.").full_message() == "it says no. Ask."


def test_F18_each_message_is_followed_by_its_own_hint():
    causes = [
        errors.NotFoundError("a:1: not found", "Look."),
        errors.DeniedError("b:1: access is denied", "Log in."),
        errors.InputError("c:1: is wrong"),
    ]
    error = errors.combine("3 of 4 images failed: ", causes)
    assert error.full_message() == (
        "3 of 4 images failed: a:1: not found. Look. b:1: access is denied. Log in. c:1: is wrong"
    )
    assert error.as_result() == {"kind": "not-found", "hint": "Look. Log in."}


def test_F18_a_hint_that_all_share_is_given_once_at_the_end():
    causes = [errors.NotFoundError(f"{name}: not found", "Look.") for name in "abc"]
    error = errors.combine("5 of 5 images failed: ", causes, "; and 2 more")
    assert error.full_message() == (
        "5 of 5 images failed: a: not found; b: not found; c: not found; and 2 more. Look."
    )


def test_F18_reraised_error_has_the_same_message():
    error = errors.DeniedError("b:1: access is denied", "Log in.", status=403).copy()
    assert error.full_message() == "b:1: access is denied. Log in."
    assert error.details == {"status": 403}


HOSTILE = "a\nb\r\0\x1b[31m\u202ec\u2066d\udcffe\u2028f" + "x" * 10_000 + "END"


def is_safe(text: str) -> bool:
    return text.isprintable() and len(text) <= 1000


@pytest.mark.parametrize("kind", classes(), ids=lambda kind: kind.__name__)
def test_F35_every_error_makes_foreign_text_printable_and_short(kind):
    error = kind(HOSTILE, HOSTILE, path=HOSTILE, platforms=[HOSTILE], status=404)
    shown = [str(error), error.hint, error.details["path"], *error.details["platforms"]]
    assert all(map(is_safe, shown))
    assert error.details["status"] == 404
    assert error.full_message().isprintable()


def test_F35_several_errors_stay_printable_and_short():
    error = errors.combine("2 of 2 images failed: ", [errors.InputError(HOSTILE, HOSTILE)] * 3)
    assert error.full_message().isprintable()
    assert len(error.full_message()) < 5000


def test_F35_reason_at_the_end_of_a_long_message_is_kept():
    error = errors.InputError("subject: " + "x" * 10_000 + ": the reason")
    assert str(error).startswith("subject: ") and str(error).endswith(": the reason")


def test_F35_short_printable_text_is_unchanged():
    text = "/srv/a  b: 이미지 'x  y'"
    assert str(errors.InputError(text)) == text


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (1, "1 B"),
        (999, "999 B"),
        (1000, "1 kB"),
        (1005, "1.01 kB"),
        (999_499, "999 kB"),
        (999_500, "1 MB"),
        (21_000_000, "21 MB"),
        (93_300_000, "93.3 MB"),
        (10**18, "1 EB"),
        (5 * 10**21, "5000 EB"),
    ],
)
def test_F25_a_number_of_bytes_is_reported_in_units(size, text):
    assert errors.readable_size(size) == text


def test_F35_a_list_in_a_result_is_short():
    """An index can name thousands of platforms."""
    error = errors.NoPlatformError("x", platforms=[f"linux/{number}" for number in range(9000)])
    assert error.as_result()["platforms"] == [f"linux/{number}" for number in range(100)]
