# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Trusted roots: malformed ones are refused, keys of other kinds are left out."""

from __future__ import annotations

import copy
import json

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._image.dates import Moment
from ansible_collections.lockstep.images.plugins.module_utils._trust.errors import (
    SignatureInvalidError,
)
from ansible_collections.lockstep.images.plugins.module_utils._trust.trusted_root import (
    Period,
    moment_of,
    parse_trusted_root,
    shown_moment,
)
from ansible_collections.lockstep.images.tests.support.signing import b64, key
from ansible_collections.lockstep.images.tests.support.sigstore import (
    NOW,
    Sigstore,
    log_entry,
    shown,
)

SIGSTORE = Sigstore()
RIGHT = SIGSTORE.trusted_root()


def parse(value=None):
    return parse_trusted_root(json.dumps(RIGHT if value is None else value).encode(), "root")


def test_root_is_read():
    root = parse()
    assert [log.key.der for log in root.logs] == [SIGSTORE.log.der]
    assert [log.key.der for log in root.certificate_logs] == [SIGSTORE.ct.der]
    assert [len(chain.certificates) for chain in root.authorities] == [1]
    assert [len(chain.certificates) for chain in root.time_authorities] == [2]
    assert root.logs[0].period == Period(moment_of(NOW - 1000), moment_of(NOW + 1000))
    assert root.logs[0].key_id == root.logs[0].log_id


def test_log_may_have_another_id_in_checkpoints():
    entry = {**RIGHT["tlogs"][0], "checkpointKeyId": {"keyId": b64(b"other")}}
    assert parse({**RIGHT, "tlogs": [entry]}).logs[0].key_id == b"other"


def test_keys_of_other_kinds_are_left_out():
    other = log_entry(key("p192"), {"start": shown(NOW)})
    broken = {**other, "publicKey": {**other["publicKey"], "rawBytes": "YWJj"}}
    assert len(parse({**RIGHT, "tlogs": [other, broken, *RIGHT["tlogs"]]}).logs) == 1


def changed(*path, value=None):
    found = copy.deepcopy(RIGHT)
    place = found
    for step in path[:-1]:
        place = place[step]
    if value is None:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return found


@pytest.mark.parametrize(
    "value",
    [
        [],
        {},
        changed("mediaType"),
        changed("mediaType", value="application/json"),
        changed("certificateAuthorities"),
        changed("certificateAuthorities", value={}),
        changed("certificateAuthorities", 0, "certChain"),
        changed("certificateAuthorities", 0, "certChain", value={"certificates": []}),
        changed("certificateAuthorities", 0, "certChain", "certificates", 0, "rawBytes", value="?"),
        changed("certificateAuthorities", 0, "validFor"),
        changed("certificateAuthorities", 0, "validFor", "start"),
        changed("certificateAuthorities", 0, "validFor", "end", value="later"),
        changed("tlogs", value=[1]),
        changed("tlogs", 0, "logId"),
        changed("tlogs", 0, "logId", "keyId", value="?"),
        changed("tlogs", 0, "publicKey"),
        changed("tlogs", 0, "publicKey", "rawBytes"),
        changed("tlogs", 0, "publicKey", "validFor"),
        changed("ctlogs", value=[{}]),
    ],
)
def test_malformed_root_is_refused(value):
    assert parse()
    with pytest.raises(SignatureInvalidError):
        parse(value)


def test_both_ends_of_a_period_are_in_it():
    period = Period(moment_of(5), moment_of(7))
    assert [period.has(moment_of(n)) for n in (4, 5, 7, 8)] == [False, True, True, False]
    assert Period(moment_of(5)).has(moment_of(10**9))


@pytest.mark.parametrize("seconds", [0, 1, 86_399, 86_400, NOW, 4_000_000_000])
def test_times_are_shown_as_they_are_read(seconds):
    moment = moment_of(seconds)
    assert Moment.parse(shown_moment(moment)) == moment
    assert shown_moment(moment) == shown(seconds)
