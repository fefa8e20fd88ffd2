# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Convert values and errors between the library and Ansible's template plugins."""

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
def raise_as(kind: type[AnsibleError]) -> t.Iterator[None]:
    """Convert an error of the library into an Ansible error of this kind, with the hint in its message."""
    try:
        yield
    except errors.DependencyError as exc:
        raise kind(f"{missing_required_lib(exc.details['library'])} ({exc})") from None
    except errors.LockstepError as exc:
        # "from None", because Ansible appends the message of a cause, which this message contains already.
        raise kind(exc.full_message()) from None


def failed(kind: type[AnsibleError], text: str) -> AnsibleError:
    """Return an Ansible error. The text is made printable and short, because it can contain input."""
    return kind(errors.in_message(text))


def warn(text: str) -> None:
    """Show a warning. The text is made printable and short, because it can contain responses of registries."""
    Display().warning(errors.in_message(text))


def plain(value: t.Any) -> t.Any:
    """Return the value with built-in types. ansible-core 2.18 and older passes vault values without decrypting them."""
    if getattr(value, "__ENCRYPTED__", False):
        return str(value)
    if isinstance(value, t.Mapping):
        return {name: plain(item) for name, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, (list, tuple)) else value


def list_from(value: t.Any) -> list[t.Any]:
    """Return the entries of a list, or of a string that modules accept as a list. None has no entries.

    Raise InputError for any other type.
    """
    value = plain(value)
    if value is None or isinstance(value, list):
        return value or []
    if not isinstance(value, str):
        str(value)  # an undefined variable raises its own error here
        raise errors.InputError(f"value is of type {type(value).__name__}, expected a list")
    return as_list(value)


def untrusted(value: t.Any) -> t.Any:
    """Return the value marked as untrusted. Before ansible-core 2.19, a fact with this value could be evaluated as a template."""
    return wrap_var(value)


def parse_reference(value: t.Any) -> Reference:
    """Parse the name of an image. Raise ReferenceError if it is not valid."""
    value = plain(value)
    if not isinstance(value, str):
        str(value)  # an undefined variable raises its own error here
        raise errors.ReferenceError(f"reference is of type {type(value).__name__}, not a string")
    return Reference.parse(value)
