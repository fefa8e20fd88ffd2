# SPDX-License-Identifier: GPL-3.0-or-later
"""Read kustomizations (kustomize.config.k8s.io): the files that they include, and their changes of image names."""

from __future__ import annotations

import os
import re
import typing as t

from .._image import errors
from .mentions import Findings, Mention, is_remote, text_of
from .objects import read_objects
from .yamlfile import load_documents

NAMES = ("kustomization.yaml", "kustomization.yml", "Kustomization")
_LISTS = ("resources", "bases", "components", "crds", "generators", "transformers")
_PATCHES = ("patches", "patchesStrategicMerge", "patchesJson6902")


class Rule(t.NamedTuple):
    """One entry of ``images``: the name of an image, and the parts that replace those of the name."""

    name: str
    new_name: str
    new_tag: str
    suffix: str
    digest: str
    place: str

    def apply(self, text: str) -> str | None:
        """Return the new name of an image; None if the rule is for another image."""
        match = re.fullmatch(re.escape(self.name) + r"(?::([\w.-]+))?(?:@(sha\S+))?", text)
        if not match:
            return None
        tag, digest = match.group(1) or "", match.group(2) or ""
        if self.new_tag or self.digest:
            tag, digest = self.new_tag, self.digest
        if tag and self.suffix:
            tag, digest = tag + self.suffix, ""
        name = self.new_name or self.name
        return name + (f":{tag}" if tag else "") + (f"@{digest}" if digest else "")


class _Kustomization(t.NamedTuple):
    findings: Findings
    rules: tuple[Rule, ...]
    parts: frozenset[str]  # real paths of files and directories
    components: tuple[str, ...]  # parts whose rules apply to all resources
    is_configured: bool  # rules can apply outside of containers too


def is_kustomization(document: t.Any, file: str) -> bool:
    """Return whether a document is a kustomization or a component."""
    return isinstance(document, dict) and (
        os.path.basename(file) in NAMES
        or text_of(document.get("apiVersion")).startswith("kustomize.config.k8s.io/")
    )


def read_kustomization(
    document: t.Mapping[t.Any, t.Any], out: Findings, found: dict[str, t.Any]
) -> None:
    """Queue the files of a kustomization, and keep its rules in ``found`` under its directory."""
    _read_patches(document, out)
    _read_charts(document, out)
    parts = []
    for value in _paths(document, (*_LISTS, *_PATCHES)):
        path = os.path.join(os.path.dirname(out.file), value)
        target = _target(path)
        if target:
            parts.append(os.path.realpath(path))
            out.follow.append(target)
        elif is_remote(value):
            out.warnings.append(
                f"{out.place(value.line)}: {errors.printable(value)} is remote, and is not read"
            )
        elif "\n" not in value:
            out.problem(
                out.place(value.line), f"the resource {errors.printable(value)} does not exist"
            )
    images = document.get("images")
    rules = [_rule(one, out) for one in images if isinstance(one, dict)] if images else []
    directory = os.path.dirname(os.path.realpath(out.file))
    found[directory] = _Kustomization(
        out,
        tuple(rule for rule in rules if rule.name),
        frozenset(parts),
        tuple(
            os.path.realpath(os.path.join(os.path.dirname(out.file), value))
            for value in _paths(document, ("components",))
        ),
        bool(document.get("configurations")),
    )


def apply_kustomizations(findings: t.Iterable[Findings], found: t.Mapping[str, t.Any]) -> None:
    """Apply to the mentions of each file the rules of all kustomizations that include it, from the innermost on.

    ``found`` has the kustomizations that ``read_kustomization`` stored, by directory. A rule with a tag or a digest that
    applies to no mention becomes a mention itself: its resource is remote.
    """
    used: set[Rule] = set()
    is_configured = any(one.is_configured for one in found.values())
    for one in findings:
        path = os.path.realpath(one.file)
        chains = list(_chains(path, found))
        if any(chains):
            one.mentions = [
                mention._replace(text=text)
                for mention in one.mentions
                for text in (
                    dict.fromkeys(_applied(mention.text, chain, used) for chain in chains)
                    if is_configured or not mention.is_loose
                    else [mention.text]
                )
            ]
    for kustomization in found.values():
        for rule in kustomization.rules:
            if rule not in used and (rule.new_tag or rule.digest):
                # For a resource that was not read, such as a remote one.
                text = Rule.apply(rule, rule.name) or ""
                kustomization.findings.mentions.append(Mention(text, rule.place))


def _read_patches(document: t.Mapping[t.Any, t.Any], out: Findings) -> None:
    """Take the images of the patches inside a kustomization."""
    for key in _PATCHES:
        entries = document.get(key)
        for one in entries if isinstance(entries, list) else ():
            patch = text_of(one.get("patch") if isinstance(one, dict) else one)
            if patch.is_block:
                # Shift the lines to those of the file.
                raw = ("\n" * patch.line + patch).encode()
                loaded = load_documents(raw, out.file)
                for part in loaded.documents:
                    read_objects(part, out)


def _read_charts(document: t.Mapping[t.Any, t.Any], out: Findings) -> None:
    """Take the images in the values of charts. Only Helm knows their other images."""
    charts = document.get("helmCharts")
    for one in charts if isinstance(charts, list) else ():
        if not isinstance(one, dict):
            continue
        read_objects(one.get("valuesInline"), out)
        more = one.get("additionalValuesFiles")
        for value in (one.get("valuesFile"), *(more if isinstance(more, list) else ())):
            file = os.path.join(os.path.dirname(out.file), text_of(value))
            if text_of(value) and os.path.isfile(file):
                out.follow.append(file)
        out.warnings.append(
            f"{out.place(getattr(one, 'line', 0))}: the chart {errors.printable(text_of(one.get('name')))}"
            " is not read: to lock all its images, lock the output of `kustomize build`"
        )


def _paths(document: t.Mapping[t.Any, t.Any], keys: t.Iterable[str]) -> t.Iterator[t.Any]:
    for key in keys:
        entries = document.get(key)
        for one in entries if isinstance(entries, list) else ():
            value = one.get("path") if isinstance(one, dict) else one
            if text_of(value):
                yield value


def _target(path: str) -> str:
    """Return the file to read for a resource, "" if there is none."""
    candidates = [os.path.join(path, name) for name in NAMES] if os.path.isdir(path) else [path]
    return next((one for one in candidates if os.path.isfile(one)), "")


def _rule(entry: t.Mapping[t.Any, t.Any], out: Findings) -> Rule:
    out.taken.update(id(value) for value in entry.values())
    name, new, tag, suffix, digest = (
        text_of(entry.get(key)) for key in ("name", "newName", "newTag", "tagSuffix", "digest")
    )
    return Rule(name, new, tag, suffix, digest, out.place(getattr(entry, "line", 0)))


def _chains(
    path: str, found: t.Mapping[str, t.Any], above: tuple[str, ...] = ()
) -> t.Iterator[tuple[Rule, ...]]:
    """Yield the rules on each path from a file or a directory up to a kustomization that no other one includes."""
    users = [one for one in found if path in found[one].parts and one not in above]
    for user in users:
        for chain in _chains(user, found, (*above, user)):
            yield (*_rules_of(found[user], found), *chain)
    if not users:
        yield ()


def _rules_of(
    kustomization: _Kustomization, found: t.Mapping[str, t.Any], depth: int = 8
) -> t.Iterator[Rule]:
    """Yield the rules of the components of a kustomization, then its own rules."""
    for path in kustomization.components if depth else ():
        if path in found:
            yield from _rules_of(found[path], found, depth - 1)
    yield from kustomization.rules


def _applied(text: str, rules: t.Iterable[Rule], used: set[Rule]) -> str:
    for rule in rules:
        new = rule.apply(text)
        if new is not None:
            used.add(rule)
            text = new
    return text
