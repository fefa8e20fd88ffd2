# SPDX-License-Identifier: GPL-3.0-or-later
"""The options of a task that describe how registries are reached, as values."""

from __future__ import annotations

import typing as t

from .._image import errors

_DAY = 24 * 60 * 60.0
_MOST = 1000  # each thread has a connection, and waits grow with retries


class HttpOptions(t.NamedTuple):
    """How requests are sent; times are in seconds."""

    use_proxy: bool = True  # from the environment
    timeout: float = 30.0  # without any progress
    timeout_total: float = 900.0  # of one request with all its retries
    retries: int = 5
    connections: int = 6  # at the same time
    requests_per_second: float | None = None  # to one host, None for no limit


class RegistryOptions(t.NamedTuple):
    """The options of doc_fragments/registry.py; ``registries`` has its entries unchanged."""

    http: HttpOptions
    username: str | None
    password: str | None
    config_path: str | None
    validate_certs: bool
    ca_path: str | None
    client_cert: str | None
    client_key: str | None
    plain_http: bool
    use_host_config: bool
    rate_limit_floor: int
    registries: t.Sequence[t.Mapping[str, t.Any]]

    @classmethod
    def of(cls, params: t.Mapping[str, t.Any], connections: int) -> RegistryOptions:
        """Return the options of a task with this number of ``connections``; raise InputError for a number out of range."""
        http = {name: params[name] for name in HttpOptions._fields if name in params}
        values = {name: params[name] for name in cls._fields if name in params}
        values["registries"] = values["registries"] or ()
        options = cls(http=HttpOptions(**{**http, "connections": connections}), **values)
        options._require_ranges()
        return options

    def _require_ranges(self) -> None:
        http, pace = self.http, self.http.requests_per_second
        for is_right, rule in (
            (1 <= http.connections <= _MOST, f"parallel must be between 1 and {_MOST}"),
            (0 < http.timeout <= _DAY, "timeout must be more than 0 and at most a day"),
            (http.timeout_total >= 0, "timeout_total must not be less than 0"),
            (0 <= http.retries <= _MOST, f"retries must be between 0 and {_MOST}"),
            (pace is None or pace * _DAY >= 1, "requests_per_second must allow one request a day"),
            (self.rate_limit_floor >= 0, "rate_limit_floor must not be less than 0"),
        ):
            if not is_right:
                raise errors.InputError(rule)
