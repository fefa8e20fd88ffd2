# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Instructions that only change the configuration."""

from __future__ import annotations

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._build.errors import (
    BuildSyntaxError,
)
from ansible_collections.lockstep.images.tests.support.building import base_image, built

BASE = {
    "Env": ["PATH=/bin", "A=old"],
    "Cmd": ["old"],
    "Labels": {"a": "old", "b": "1"},
    "ExposedPorts": {"1/tcp": {}},
    "Entrypoint": None,
}


def config(text, args=None, base=None):
    images = {"base": base_image(config=base or BASE)}
    with built(f"FROM base\n{text}", images=images, args=args) as recipe:
        return recipe.settings.finished()


@pytest.mark.parametrize(
    ("text", "key", "expected"),
    [
        ("ENV A=1 B='x y' C=$A", "Env", ["PATH=/bin", "A=1", "B=x y", "C=old"]),
        ("ENV A some words", "Env", ["PATH=/bin", "A=some words"]),
        ("ENV A=a=b\nENV B=${A}c", "Env", ["PATH=/bin", "A=a=b", "B=a=bc"]),
        ("ARG A=1\nENV B=$A", "Env", ["PATH=/bin", "A=old", "B=old"]),
        ("ARG N\nENV B=$N", "Env", ["PATH=/bin", "A=old", "B=given"]),
        ('LABEL a="x \\\n y" "c d"=e', "Labels", {"a": "x  y", "b": "1", "c d": "e"}),
        ("USER www:$A", "User", "www:old"),
        ("STOPSIGNAL SIGTERM", "StopSignal", "SIGTERM"),
        ('VOLUME /a /b\nVOLUME ["/c d"]', "Volumes", {"/a": {}, "/b": {}, "/c d": {}}),
        ("EXPOSE 80 53/UDP 8-9", "ExposedPorts", {"1/tcp": {}, "80/tcp": {}, "53/udp": {}, "8/tcp": {}, "9/tcp": {}}),
        ('CMD ["a", "b"]', "Cmd", ["a", "b"]),
        ("CMD a $A", "Cmd", ["/bin/sh", "-c", "a $A"]),
        ('SHELL ["s", "-c"]\nCMD a', "Cmd", ["s", "-c", "a"]),
        ('ENTRYPOINT ["e"]', "Cmd", None),
        ('CMD ["c"]\nENTRYPOINT ["e"]', "Cmd", ["c"]),
        ('ENTRYPOINT ["e"]\nCMD ["c"]', "Cmd", ["c"]),
        ("ENTRYPOINT []", "Entrypoint", None),
        ("HEALTHCHECK NONE", "Healthcheck", {"Test": ["NONE"]}),
        ("HEALTHCHECK CMD curl x", "Healthcheck", {"Test": ["CMD-SHELL", "curl x"]}),
        (
            'HEALTHCHECK --interval=1m30s --timeout=1.5s --start-period=0s --retries=3 CMD ["a"]',
            "Healthcheck",
            {"Test": ["CMD", "a"], "Interval": 90 * 10**9, "Timeout": 1_500_000_000, "StartPeriod": 0, "Retries": 3},
        ),
        ("ONBUILD COPY a b\nONBUILD RUN c", "OnBuild", ["COPY a b", "RUN c"]),
    ],
)  # fmt: skip
def test_instruction_sets_the_configuration(text, key, expected):
    assert config(text, {"N": "given"}).get(key) == expected


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("ENV A", "has no value"),
        ("ENV A=1 B", "name=value"),
        ("LABEL", "no arguments"),
        ("USER", "no arguments"),
        ("EXPOSE 80:80", "not a port"),
        ("EXPOSE 70000", "not a port"),
        ("EXPOSE 9-8", "not a port"),
        ("VOLUME []", "empty path"),
        ("SHELL sh -c", "list in JSON"),
        ("STOPSIGNAL a b", "not a signal"),
        ("HEALTHCHECK curl", "HEALTHCHECK must be"),
        ("HEALTHCHECK --interval=x CMD a", "not a duration"),
        ("HEALTHCHECK --interval=1ns CMD a", "out of range"),
        ("HEALTHCHECK --retries=x CMD a", "not a number"),
        ("WORKDIR $none", "no path"),
        ("USER 'a", "single quote"),
    ],
)
def test_malformed_instruction_is_refused_with_its_line(text, reason):
    with pytest.raises(BuildSyntaxError, match=reason) as caught:
        config(text)
    assert caught.value.details["line"] == 2
