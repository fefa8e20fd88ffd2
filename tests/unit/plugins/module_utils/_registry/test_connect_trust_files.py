# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Certificate files that cannot be used."""

from __future__ import annotations

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._image.errors import (
    InputError,
)
from ansible_collections.lockstep.images.plugins.module_utils._registry.client import (
    HttpClient,
    HttpOptions,
)
from ansible_collections.lockstep.images.plugins.module_utils._registry.connect import Trust
from ansible_collections.lockstep.images.tests.support.tables import (
    assert_tells,
)


@pytest.mark.parametrize("content", [None, "no certificate"], ids=["missing", "no-PEM"])
@pytest.mark.parametrize("option", ["client_cert", "ca_path"])
def test_a_certificate_that_cannot_be_used_is_named(option, content, tmp_path):
    """A021: before anything is sent. The server's certificate is for the tests of the transport."""
    pytest.importorskip("requests")
    path = tmp_path / "x.pem"
    if content:
        path.write_text(content)
    trusts = {
        "ca_path": Trust(ca_paths=(str(path),)),
        "client_cert": Trust(client_certs=((str(path), None),)),
    }
    client = HttpClient(HttpOptions(retries=0, timeout=2), trust_of=lambda _url: trusts[option])
    with pytest.raises(InputError) as caught:
        client.request("GET", "https://127.0.0.1:1/v2/")
    assert_tells(caught.value, "invalid-input", option, str(path))


def test_a_certificate_without_its_key_is_named(tmp_path):
    """A021."""
    pytest.importorskip("requests")
    path = tmp_path / "client.cert"
    path.write_text("the certificate is here, the key is not")
    trust = Trust(client_certs=((str(path), str(tmp_path / "none.key")),))
    client = HttpClient(HttpOptions(retries=0), trust_of=lambda _url: trust)
    with pytest.raises(InputError) as caught:
        client.request("GET", "https://127.0.0.1:1/v2/")
    assert_tells(caught.value, "invalid-input", "client_cert", str(path))
