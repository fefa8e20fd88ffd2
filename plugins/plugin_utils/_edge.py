# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The edge to what Ansible templates: texts come in, errors go out."""

from __future__ import annotations

import contextlib
import typing as t

from ansible.errors import AnsibleError
from ansible.module_utils.basic import missing_required_lib
from ansible.utils.display import Display
from ansible.utils.unsafe_proxy import wrap_var
from ansible_collections.lockstep.images.plugins.module_utils._ansible import as_list
from ansible_collections.lockstep.images.plugins.module_utils._image import errors
from ansible_collections.lockstep.images.plugins.module_utils._image.names import Reference


@contextlib.contextmanager
def told_as(kind: type[AnsibleError]) -> t.Iterator[None]:
    """Raise what the library raises as an error of Ansible, with its hint."""
    try:
        yield
    except errors.DependencyError as exc:
        raise kind(f"{missing_required_lib(exc.details['library'])} ({exc})") from None
    except errors.LockstepError as exc:
        # Ansible would add the message of a cause to this one, which has it already.
        raise kind(exc.full_message()) from None


def failed(kind: type[AnsibleError], text: str) -> AnsibleError:
    """Return an error of a plugin itself, whose text may hold what was given."""
    return kind(errors.in_message(text))


def warn(text: str) -> None:
    """Show a warning, which may hold what registries say."""
    Display().warning(errors.in_message(text))


def plain(value: t.Any) -> t.Any:
    """The same of builtin types; ansible-core 2.18 and older hands on what a vault holds undecrypted."""
    if getattr(value, "__ENCRYPTED__", False):
        return str(value)
    if isinstance(value, t.Mapping):
        return {name: plain(item) for name, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, (list, tuple)) else value


def list_from(value: t.Any) -> list[t.Any]:
    """Return the entries of a list, which may be a text as modules take one; none of None. Or raise InputError."""
    value = plain(value)
    if value is None or isinstance(value, list):
        return value or []
    if not isinstance(value, str):
        str(value)  # an undefined variable says so
        raise errors.InputError(f"a list is expected, not a {type(value).__name__}")
    return as_list(value)


def untrusted(value: t.Any) -> t.Any:
    """The same, marked as what hosts say: before ansible-core 2.19 a fact that is made of it would be taken for a template."""
    return wrap_var(value)


def parse_reference(value: t.Any) -> Reference:
    """Read what a playbook gives; or ReferenceError."""
    value = plain(value)
    if not isinstance(value, str):
        str(value)  # an undefined variable says so
        raise errors.ReferenceError(f"reference is of type {type(value).__name__}, not a text")
    return Reference.parse(value)
