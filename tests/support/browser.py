# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Control a headless Chromium with the WebDriver protocol (https://www.w3.org/TR/webdriver2/)."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import requests

from .services_process import program, running

ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
TAB, ENTER, SPACE = "\ue004", "\ue007", " "
_STARTED = re.compile(r"started successfully on port (\d+)")


class BrowserError(Exception):
    """The driver rejected a command; the message is that of the driver."""


class Browser:
    """One window: open a file, run JavaScript, press keys, read the log and the requests."""

    def __init__(self, driver: str, capabilities: dict[str, Any]) -> None:
        self._http = requests.Session()
        self._http.trust_env = False
        made = self._call("POST", driver, "/session", capabilities={"alwaysMatch": capabilities})
        self._url = f"{driver}/session/{made['sessionId']}"

    def _call(self, method: str, base: str, path: str, **body: Any) -> Any:
        content = json.dumps(body) if method == "POST" else None
        answer = self._http.request(method, base + path, data=content, timeout=120)
        value = answer.json()["value"]
        if answer.status_code != 200:
            raise BrowserError(f"{method} {path}: {value['error']}: {value['message']}")
        return value

    def close(self) -> None:
        """End the browser."""
        self._call("DELETE", self._url, "")

    def open(self, page: Path) -> None:
        """Load a file, and wait until its scripts have run."""
        self._call("POST", self._url, "/url", url=page.as_uri())

    def run(self, script: str, *arguments: Any) -> Any:
        """Run `script` as the body of a function in the page. Return its result; await a promise."""
        return self._call("POST", self._url, "/execute/sync", script=script, args=list(arguments))

    def press(self, keys: str) -> None:
        """Type keys into the element that has the focus."""
        actions = [{"type": kind, "value": key} for key in keys for kind in ("keyDown", "keyUp")]
        self._call(
            "POST",
            self._url,
            "/actions",
            actions=[{"type": "key", "id": "keyboard", "actions": actions}],
        )

    def click(self, selector: str) -> None:
        """Click on the element that matches a CSS selector."""
        found = self._call("POST", self._url, "/element", using="css selector", value=selector)
        self._call("POST", self._url, f"/element/{found[ELEMENT]}/click")

    def prefer(self, **features: str) -> None:
        """Set media features of the page, such as `prefers_color_scheme="dark"`, and the `media` type."""
        media = features.pop("media", "")
        emulated = [
            {"name": name.replace("_", "-"), "value": value} for name, value in features.items()
        ]
        self.devtools("Emulation.setEmulatedMedia", media=media, features=emulated)

    def devtools(self, command: str, **parameters: Any) -> Any:
        """Run a command of the Chrome DevTools Protocol. Return its result."""
        return self._call("POST", self._url, "/goog/cdp/execute", cmd=command, params=parameters)

    def pdf(self) -> bytes:
        """Print the page. Return the PDF."""
        return base64.b64decode(self._call("POST", self._url, "/print", background=True))

    def accessibility(self) -> list[dict[str, Any]]:
        """Return the nodes that a screen reader can read."""
        nodes = self.devtools("Accessibility.getFullAXTree")["nodes"]
        return [node for node in nodes if not node.get("ignored")]

    def logged(self) -> list[str]:
        """Return the messages that the page or the browser logged since the last call."""
        entries = self._call("POST", self._url, "/se/log", type="browser")
        return [f"{entry['level']}: {entry['message']}" for entry in entries]

    def requested(self) -> list[str]:
        """Return the URLs that the page requested since the last call."""
        entries = self._call("POST", self._url, "/se/log", type="performance")
        events = [json.loads(entry["message"])["message"] for entry in entries]
        return [
            event["params"]["request"]["url"]
            for event in events
            if event["method"] == "Network.requestWillBeSent"
        ]


@contextlib.contextmanager
def chromium(directory: Path) -> Iterator[Browser]:
    """Provide a window of Debian's Chromium, with its profile in `directory`."""
    directory.mkdir(parents=True, exist_ok=True)
    log = directory / "chromedriver.log"
    log.write_bytes(b"")

    def port() -> str:
        found = _STARTED.search(log.read_text(errors="replace"))
        return found.group(1) if found else ""

    options = [
        "--headless=new",
        "--no-sandbox",  # Chromium has no sandbox as root
        "--disable-dev-shm-usage",
        "--disable-background-networking",
        f"--user-data-dir={os.fspath(directory / 'profile')}",
        "--window-size=1600,1000",
    ]
    capabilities = {
        "browserName": "chrome",
        "goog:chromeOptions": {"args": options, "binary": program("chromium")},
        "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"},
    }
    command = [program("chromedriver"), "--port=0"]
    env = {"HOME": os.fspath(directory), "TMPDIR": os.fspath(directory)}
    with running(command, directory=directory, log=log, ready=lambda: bool(port()), env=env):
        browser = Browser(f"http://127.0.0.1:{port()}", capabilities)
        try:
            yield browser
        finally:
            browser.close()
