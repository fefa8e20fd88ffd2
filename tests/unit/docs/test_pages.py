# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The links of the pages resolve, their examples are valid, and their tables are complete."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible_collections.lockstep.images.plugins.module_utils._archive import (
    errors as archive_errors,
)
from ansible_collections.lockstep.images.plugins.module_utils._build import (
    errors as build_errors,
)
from ansible_collections.lockstep.images.plugins.module_utils._engines import (
    errors as engine_errors,
)
from ansible_collections.lockstep.images.plugins.module_utils._image import errors
from ansible_collections.lockstep.images.plugins.module_utils._registry import (
    errors as registry_errors,
)
from ansible_collections.lockstep.images.plugins.module_utils._registry.connect import (
    Proxy,
    refused,
)
from ansible_collections.lockstep.images.plugins.module_utils._rootfs import errors as tree_errors
from ansible_collections.lockstep.images.plugins.module_utils._store import errors as store_errors
from ansible_collections.lockstep.images.plugins.module_utils._trust import errors as trust_errors
from ansible_collections.lockstep.images.tests.support.documented import module_options

ROOT = Path(__file__).parents[3]
PAGES = sorted([*ROOT.glob("[A-Z]*.md"), *(ROOT / "docs").rglob("*.md")])
USERS = [page for page in PAGES if "contributing" not in page.parts]
OURS = "lockstep.images."
# Arguments of AnsibleModule that are not rules for its options.
_NOT_RULES = ("argument_spec", "supports_check_mode")


def named(page: Path) -> str:
    return str(page.relative_to(ROOT))


def anchors(page: Path) -> set[str]:
    """Return the anchors that forges make of the headings of a page."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_link_points_to_a_page_and_a_heading(page):
    for target in re.findall(r"\]\((?!https?:)([^)]+)\)", page.read_text(encoding="utf-8")):
        path, _dummy, anchor = target.partition("#")
        there = (page.parent / path).resolve() if path else page
        assert there.exists(), target
        assert not anchor or anchor in anchors(there), target


@pytest.mark.parametrize("page", USERS, ids=named)
def test_yaml_blocks_of_pages_for_users_are_valid(page):
    for block in re.findall(r"^```yaml\n(.*?)^```$", page.read_text(encoding="utf-8"), re.M | re.S):
        assert yaml.safe_load(block)


def tasks(value):
    """Yield the tasks of a YAML block, including those inside Ansible blocks."""
    for task in value if isinstance(value, list) else []:
        for name in ("block", "rescue", "always"):
            yield from tasks(task.get(name))
        yield task


def called():
    """Yield module and parameters of every task on the pages for users that calls one of our modules."""
    modules = {path.stem for path in (ROOT / "plugins" / "modules").glob("*.py")}
    for page in USERS:
        for block in re.findall(
            r"^```yaml\n(.*?)^```$", page.read_text(encoding="utf-8"), re.M | re.S
        ):
            for task in tasks(yaml.safe_load(block)):
                for module in sorted(f"{OURS}{name}" for name in modules):
                    if module in task:
                        name = f"{named(page)}: {task['name']}"
                        yield pytest.param(module[len(OURS) :], task[module] or {}, id=name)


@pytest.mark.parametrize("module, params", list(called()))
def test_module_accepts_the_options_on_the_page(module, params, monkeypatch):
    made = module_options(module, monkeypatch)
    rules = {name: rule for name, rule in made.items() if name not in _NOT_RULES}
    # An option of type dict may be an expression, which is not evaluated here.
    made_of = {name: spec["type"] for name, spec in made["argument_spec"].items()}
    if "verify" in params and ("name", "verify") in made.get("mutually_exclusive", ()):
        params = {
            name: value for name, value in params.items() if name != "verify"
        }  # the action plugin removes it
    params = {
        name: {} if made_of.get(name) == "dict" and str(value).startswith("{{") else value
        for name, value in params.items()
    }
    checked = ArgumentSpecValidator(made["argument_spec"], **rules).validate(params)
    assert not checked.error_messages


def test_table_of_errors_has_every_kind_once():
    page = (ROOT / "docs" / "errors.md").read_text(encoding="utf-8")
    kinds = {
        value.kind
        for module in (
            errors,
            archive_errors,
            build_errors,
            engine_errors,
            registry_errors,
            store_errors,
            tree_errors,
            trust_errors,
        )
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, errors.LockstepError)
    }
    assert sorted(re.findall(r"^\| `([a-z-]+)` \|", page, re.M)) == sorted(kinds)


def test_every_kind_of_error_has_a_meaning_and_a_remedy():
    page = (ROOT / "docs" / "errors.md").read_text(encoding="utf-8")
    rows = [re.split(r" \| ", row.strip("| ")) for row in re.findall(r"^\| `.*$", page, re.M)]
    assert [row for row in rows if len(row) != 3 or not all(map(str.strip, row))] == []


def test_quoted_message_of_a_proxy_is_the_message_of_the_code():
    page = (ROOT / "docs" / "registries.md").read_text(encoding="utf-8")
    proxy = Proxy.parse("HTTPS_PROXY", "http://user:password@proxy.example.com:3128")
    assert f"`{refused(proxy, 407, 'Proxy Authentication Required')}`" in page


def test_readme_begins_with_the_quick_start_and_ends_with_all_tests():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```shell\n(.*?)^```$", readme, re.M | re.S)
    assert blocks[0].splitlines() == ["./dev quickstart"]
    assert blocks[-1].splitlines() == ["./dev quickstart", "./dev test"]
