# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A Dockerfile with other names for its images."""

from __future__ import annotations

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._build.dockerfile import Dockerfile
from ansible_collections.lockstep.images.plugins.module_utils._build.errors import (
    BuildUnsupportedError,
)
from ansible_collections.lockstep.images.plugins.module_utils._build.renamed import renamed
from ansible_collections.lockstep.images.plugins.module_utils._image.names import Platform

AMD, ARM = (Platform.parse(f"linux/{name}") for name in ("amd64", "arm64"))
TEXT = """\
# escape=`
ARG TAG=1
FROM r.example/unused AS unused
RUN none
FROM r.example/base:${TAG} `
  # a comment
  AS first
COPY a `
  b /
FROM --platform=linux/arm64 r.example/base:1
COPY --chown=1 --from=first /a `
  /b
COPY --from=r.example/tools /bin/x /
COPY --from=1 /c /
ONBUILD COPY --from=r.example/other /d /
FROM first AS later
RUN none
"""
NAMES = {("r.example/base:1", AMD): "t:0", ("r.example/base:1", ARM): "t:1", ("r.example/tools", ARM): "t:2"}  # fmt: skip
RENAMED = """\
# escape=`
ARG TAG=1


FROM --platform=linux/amd64 t:0 AS lockstep-1


COPY a `
  b /
FROM --platform=linux/arm64 t:1 AS lockstep-2
COPY --chown=1 --from=lockstep-1 /a   /b

COPY --from=t:2 /bin/x /
COPY --from=lockstep-1 /c /
ONBUILD COPY --from=r.example/other /d /


"""


def rename(text, target=None, names=None):
    dockerfile = Dockerfile(text, "Dockerfile", {}, AMD)
    return renamed(dockerfile, text, dockerfile.target(target), NAMES if names is None else names)


def test_images_and_stages_have_other_names_and_lines_keep_their_numbers():
    assert rename(TEXT, "2") == RENAMED


def test_stage_that_starts_from_another_one():
    lines = rename(TEXT, "later").splitlines()
    assert lines[4] == "FROM --platform=linux/amd64 t:0 AS lockstep-1"
    assert lines[9:15] == [""] * 6
    assert lines[15] == "FROM lockstep-1 AS lockstep-3"


def test_renamed_dockerfile_means_the_same():
    found = Dockerfile(rename(TEXT, "2"), "Dockerfile", {}, AMD)
    (target,) = [found.target("lockstep-2")]
    needed = found.images(target)
    assert {(one.name, one.platform) for one in needed} == {("t:0", AMD), ("t:1", ARM), ("t:2", ARM)}


def test_scratch_keeps_its_name():
    assert rename("FROM scratch\nCOPY a /\n") == "FROM scratch AS lockstep-0\nCOPY a /\n"


def test_here_document_is_refused_with_its_line():
    with pytest.raises(BuildUnsupportedError, match="^Dockerfile:2: the builder of Docker cannot"):
        rename("FROM scratch\nRUN <<E\nx\nE\n")
