# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a registry says besides: the words of its errors, and its warnings."""

from __future__ import annotations

import base64

import pytest
from ansible_collections.lockstep.images.tests.support.faults import Fault, Filler
from ansible_collections.lockstep.images.tests.support.pulling import (
    LOGIN,
    PASSWORD,
    SIGNATURE,
    USER,
    USERS,
    Puller,
    serving,
)

PAIR = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode("ascii")


def said(code="DENIED", message="no"):
    return {"errors": [{"code": code, "message": message}]}


BODIES = {
    "R077-without-errors": {"message": "secret"},
    "R077-errors-is-null": {"errors": None},
    "R077-errors-is-empty": {"errors": []},
    "R077-errors-is-text": {"errors": "text"},
    "R077-errors-of-text": {"errors": ["text"]},
    "R077-message-is-a-list": {"errors": [{"code": 5, "message": ["x"]}]},
    "R077-list": [],
    "R077-null": None,
    "R077-html": "<html>denied</html>",
    "R077-not-utf-8": b"\xff\xfe\x00",
    "R077-nested": b'{"errors":' + b"[" * 60_000,
    "R077-a-GiB": Filler(1 << 30, prefix=b'{"errors":['),
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_invalid_error_texts_are_ignored(tmp_path, body):
    with serving(faults=[Fault(path="/manifests/", status=403, body=body)]) as registry:
        error = Puller(tmp_path, registry).fails()
        assert error.kind == "denied"
        assert str(error).endswith(": access is denied")
        assert sum(request.bytes_sent for request in registry.requests) < 16 << 20


WORDS = {
    "R077-escape-codes": ("\x1b[31mred\x1b[0m\x07", "red"),
    "R077-lines": ("one\r\ntwo\u2028three", "one two three"),
    "R077-right-to-left": ("a\u202eb", "b"),
    "R077-long": ("x" * 100_00, "..."),
    "R077-many-lines": ("\n" * 5000 + "end", "end"),
}


@pytest.mark.parametrize(("message", "shown"), WORDS.values(), ids=WORDS)
def test_words_are_shown_on_one_short_line(tmp_path, message, shown):
    body = said(message=message)
    with serving(faults=[Fault(path="/manifests/", status=403, body=body)]) as registry:
        error = Puller(tmp_path, registry).fails()
        assert "DENIED" in str(error)
        assert shown in str(error)


ECHOED = {
    "R077-password": f"the password {PASSWORD} is wrong",
    "R077-pair": f"Authorization: Basic {PAIR}",
    "R077-both": f"{PASSWORD} {PAIR}",
}


@pytest.mark.parametrize("message", ECHOED.values(), ids=ECHOED)
def test_a_secret_that_is_echoed_is_not_shown(tmp_path, message):
    fault = Fault(path="/manifests/", status=403, body=said(message=message))
    with serving(auth="basic", users=USERS, faults=[fault]) as registry:
        error = Puller(tmp_path, registry, login=LOGIN).fails()
        assert error.kind == "denied"
        assert "***" in str(error)


def test_a_token_that_is_echoed_is_not_shown(tmp_path):
    """R077."""
    token = "t0ken" * 8
    fault = Fault(path="/manifests/", status=403, body=said(message=f"Bearer {token} is weak"))
    with serving(auth="bearer", users=USERS) as registry:
        registry.faults.append(fault)
        registry.access.token_response = lambda answer: {"token": token}
        registry.access.auth = lambda _method, _path: (
            "bearer" if not registry.token_requests else None
        )
        error = Puller(tmp_path, registry, login=LOGIN).fails()
        assert "Bearer *** is weak" in str(error)


def warns(*lines):
    return Fault(method="HEAD", set_headers={"Warning": list(lines)}, times=None)


def test_a_warning_is_shown_once(tmp_path):
    """R078."""
    with serving(faults=[warns('299 - "this tag \\"1.0\\" goes away"')]) as registry:
        puller = Puller(tmp_path, registry)
        puller.pull()
        assert puller.pull().warnings() == [f'{registry.address}: this tag "1.0" goes away']


NO_WARNINGS = {
    "R078-other-code": '199 - "old"',
    "R078-other-agent": '299 proxy "old"',
    "R078-no-quotes": "299 - old",
    "R078-dated": '299 - "old" "Wed, 21 Oct 2015 07:28:00 GMT"',
    "R078-empty": '299 - ""',
}


@pytest.mark.parametrize("line", NO_WARNINGS.values(), ids=NO_WARNINGS)
def test_warning_that_is_not_for_users_is_not_shown(tmp_path, line):
    with serving(faults=[warns(line)]) as registry:
        assert list(Puller(tmp_path, registry).pull().warnings()) == []


def test_warnings_are_few_and_short_whatever_a_registry_sends(tmp_path):
    """R078."""
    lines = [f'299 - "{number} {"x" * 2000}"' for number in range(90)]
    with serving(faults=[warns(*lines)]) as registry:
        shown = Puller(tmp_path, registry).pull().warnings()
        assert len(shown) == 10
        assert max(map(len, shown)) < 600


def test_a_warning_in_another_script_is_shown_on_one_line(tmp_path):
    """R078."""
    with serving(faults=[warns('299 - "d\u00e9pr\u00e9ci\u00e9 \u20ac"')]) as registry:
        (shown,) = Puller(tmp_path, registry).pull().warnings()
        assert shown.isprintable()


@pytest.mark.parametrize("secret", [PASSWORD, PAIR])
def test_a_secret_in_a_warning_is_not_shown(tmp_path, secret):
    """R078."""
    with serving(auth="basic", users=USERS, faults=[warns(f'299 - "{secret}"')]) as registry:
        (shown,) = Puller(tmp_path, registry, login=LOGIN).pull().warnings()
        assert shown == f"{registry.address}: ***"


def test_a_query_is_never_part_of_a_message(tmp_path):
    """R077: nor is what a registry says a reason to show one."""
    with serving() as registry, serving() as bucket:
        fault = Fault(path="/manifests/", redirect=f"{bucket.url}/x?{SIGNATURE}", times=None)
        registry.faults.append(fault)
        bucket.faults.append(Fault(path="/x", status=500, times=None, body=said("E", SIGNATURE)))
        error = Puller(tmp_path, registry, retries=0).fails()
        assert error.kind == "registry-error"
