# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compare what playbooks depend on with ``data/surface.yml``.

A difference is a breaking change, or a new feature. Edit the file by hand if the change is intended.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
PLUGINS = ROOT / "plugins"
PACKAGE = "ansible_collections.lockstep.images"
HELD = yaml.safe_load((Path(__file__).parent / "data" / "surface.yml").read_text(encoding="utf-8"))
PLUGIN_TYPES = {"module": "modules", "lookup": "lookup", "filter": "filter", "test": "test"}
# Fields of an option that change what a playbook may write; the value is what a missing field means.
FIELDS = {
    "type": "str",
    "elements": None,
    "required": False,
    "default": None,
    "choices": None,
    "aliases": None,
}

Surface = dict[str, Any]


def yaml_of(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def source_module(path: Path) -> Any:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return importlib.import_module(".".join((PACKAGE, *parts)))


# What the tree offers


def plugins_of(kind: str) -> dict[str, Surface]:
    """Return the surface of every plugin of a kind, by name."""
    folder = PLUGINS / PLUGIN_TYPES[kind]
    return {path.stem: plugin_surface(path) for path in sorted(folder.glob("*.py"))}


def plugin_surface(path: Path) -> Surface:
    """Return options and results of a plugin, which is documented in a file beside it, or in itself."""
    beside = path.with_suffix(".yml")
    if beside.exists():
        documents = yaml_of(beside)
        documentation, returned = documents["DOCUMENTATION"], documents["RETURN"]
    else:
        module = source_module(path)
        documentation, returned = (
            yaml.safe_load(module.DOCUMENTATION),
            yaml.safe_load(module.RETURN),
        )
    return {
        "options": flat_options(with_fragments(documentation)),
        "returns": flat_results(returned),
    }


def with_fragments(documentation: Surface) -> Surface:
    options: Surface = {}
    for name in documentation.get("extends_documentation_fragment", ()):
        file, _dot, part = name.rpartition("images.")[2].partition(".")
        fragment = source_module(PLUGINS / "doc_fragments" / f"{file}.py").ModuleDocFragment
        text = getattr(fragment, part.upper() or "DOCUMENTATION")
        options.update(yaml.safe_load(text).get("options") or {})
    for name, option in (documentation.get("options") or {}).items():
        options[name] = {**options.get(name, {}), **option}
    return options


def flat_options(options: Surface, prefix: str = "") -> Surface:
    """Return each option with its fields; a suboption is named ``option.suboption``."""
    found: Surface = {}
    for name, option in options.items():
        fields = {field: option.get(field) for field in FIELDS}
        found[prefix + name] = {
            field: value
            for field, value in fields.items()
            if value is not None and value != FIELDS[field]
        }
        inner = option.get("suboptions") or option.get("options") or {}
        found.update(flat_options(inner, f"{prefix}{name}."))
    return found


def flat_results(results: Surface, prefix: str = "") -> dict[str, str]:
    """Return the type of each key of a result; a key within a key is named ``key.key``."""
    found = {}
    for name, result in results.items():
        elements = f" of {result['elements']}" if "elements" in result else ""
        found[prefix + name] = result["type"] + elements
        found.update(flat_results(result.get("contains") or {}, f"{prefix}{name}."))
    return found


def roles() -> Surface:
    """Return the options of every entry point of every role."""
    return {
        f"{path.parents[1].name} {entry}": {"options": flat_options(spec.get("options") or {})}
        for path in sorted(ROOT.glob("roles/*/meta/argument_specs.yml"))
        for entry, spec in yaml_of(path)["argument_specs"].items()
    }


def facts() -> dict[str, list[str]]:
    """Return the variables that each role sets and documents."""
    found = {}
    for role in sorted(ROOT.glob("roles/*")):
        documented = (role / "meta" / "argument_specs.yml").read_text(encoding="utf-8")
        names = {name for path in role.glob("tasks/*.yml") for name in set_in(yaml_of(path))}
        prefix = f"{role.name}_"
        found[role.name] = sorted(
            name for name in names if name.startswith(prefix) and f"C({name})" in documented
        )
    return found


def playbooks() -> dict[str, list[str]]:
    """Return the variables that each playbook uses and does not set itself."""
    return {
        path.stem: sorted(set(variables_in(yaml_of(path), path.stem)) - set(set_in(yaml_of(path))))
        for path in sorted(ROOT.glob("playbooks/*.yml"))
        if path.stem != "quickstart"  # it runs in a checkout only, from ./dev
    }


def variables_in(value: Any, playbook: str) -> Iterator[str]:
    if isinstance(value, (list, dict)):
        for item in value.values() if isinstance(value, dict) else value:
            yield from variables_in(item, playbook)
    elif isinstance(value, str):
        code = re.sub("'[^']*'", "", value)
        yield from re.findall(rf"(?<![.\w])(?:store|{playbook})_\w+\b(?!=)", code)


def set_in(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        yield from value
        yield str(value.get("register"))
    if isinstance(value, (list, dict)):
        for item in value.values() if isinstance(value, dict) else value:
            yield from set_in(item)


def error_kinds() -> list[str]:
    """Return the kinds of all errors of ``module_utils``."""
    modules = list(map(source_module, PLUGINS.glob("module_utils/**/errors.py")))
    classes = {one for module in modules for one in vars(module).values() if isinstance(one, type)}
    return sorted({one.kind for one in classes if hasattr(one, "kind")})


# The comparison


def compare_plugins(kind: str, held: Surface, found: Surface) -> Iterator[str]:
    """Yield a sentence for each difference between plugins, or entry points of roles."""
    for name in sorted(held.keys() | found.keys()):
        if name not in found or name not in held:
            yield f"{kind} {name}: {state(name in found)}"
            continue
        for option, was, now in pairs(held[name]["options"], found[name]["options"]):
            if was is None or now is None:
                yield f"option {name}.{option}: {state(now is not None)}"
                continue
            for field, default in FIELDS.items():
                before, after = was.get(field, default), now.get(field, default)
                if before != after:
                    yield f"option {name}.{option}: {field} was {before}, is {after}"
        for key, was, now in pairs(held[name].get("returns", {}), found[name].get("returns", {})):
            if was is None or now is None:
                yield f"result {name}.{key}: {state(now is not None)}"
            elif was != now:
                yield f"result {name}.{key}: type was {was}, is {now}"


def compare_lists(kind: str, held: list[str], found: list[str]) -> Iterator[str]:
    for name in sorted({*held} ^ {*found}):
        yield f"{kind} {name}: {state(name in found)}"


def compare_groups(
    group: str, kind: str, held: dict[str, list[str]], found: dict[str, list[str]]
) -> Iterator[str]:
    yield from compare_lists(group, [*held], [*found])
    for name in sorted(held.keys() & found.keys()):
        yield from compare_lists(f"{group} {name}, {kind}", held[name], found[name])


def pairs(held: Surface, found: Surface) -> Iterator[tuple[str, Any, Any]]:
    for name in [*held, *(name for name in found if name not in held)]:
        yield name, held.get(name), found.get(name)


def report(differences: Iterator[str]) -> None:
    """Fail with one line for each difference."""
    lines = list(differences)
    if lines:
        pytest.fail("\n".join(lines), pytrace=False)


def state(is_there: bool) -> str:
    return "was added" if is_there else "is missing"


@pytest.mark.parametrize("kind", PLUGIN_TYPES)
def test_options_and_results_of_plugins_are_unchanged(kind: str) -> None:
    report(compare_plugins(kind, HELD[PLUGIN_TYPES[kind]], plugins_of(kind)))


def test_options_of_roles_are_unchanged() -> None:
    report(compare_plugins("entry point", HELD["roles"], roles()))


def test_facts_of_roles_are_unchanged() -> None:
    report(compare_groups("role", "fact", HELD["facts"], facts()))


def test_variables_of_playbooks_are_unchanged() -> None:
    report(compare_groups("playbook", "variable", HELD["playbooks"], playbooks()))


def test_kinds_of_errors_are_unchanged() -> None:
    report(compare_lists("error kind", HELD["error_kinds"], error_kinds()))


def test_modules_of_action_groups_are_unchanged() -> None:
    found = yaml_of(ROOT / "meta" / "runtime.yml")["action_groups"]
    report(compare_groups("action group", "module", HELD["action_groups"], found))
