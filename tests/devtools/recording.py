# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Record the session that README.md shows, and draw it as an animated SVG.

    python tests/devtools/recording.py record   run the session, write recording.json and the picture
    python tests/devtools/recording.py draw     draw the picture again

The session needs port 5000. It runs with the environment of ``./dev run``. The picture depends only on
``recording.json``: its lines, and the seconds after which they came.
"""

from __future__ import annotations

import html
import json
import os
import pathlib
import re
import subprocess
import sys
import time
import typing as t

TOP = pathlib.Path(__file__).resolve().parents[2]
DATA = TOP / "tests" / "devtools" / "recording.json"
PICTURE = TOP / "docs" / "recording.svg"
SERVE = [sys.executable, str(TOP / "tests" / "support" / "serve.py")]
IMAGES = {"base/debian": "12", "shop/db": "16", "shop/web": "1.4"}
HOSTS = ("web1", "web2", "web3")
PLAYBOOK = "ansible-playbook -i hosts.yml lockstep.images."
LOCKED = " -e store_lock_file=images.lock.yml"
SESSION = (
    f"{PLAYBOOK}lock{LOCKED}",
    f"{PLAYBOOK}provision{LOCKED}",
    f"{PLAYBOOK}provision{LOCKED}  # again",
    "# A disk flips one bit of a layer on web2.",
    f"{PLAYBOOK}audit{LOCKED}",
)
COLUMNS, ROWS = 126, 28
# A line is shown at most so many seconds after the line before. The end of a command, and of all, is read.
LONGEST, READ, END = 0.2, 1.5, 7.0
_COLOR = re.compile(r"\x1b\[([\d;]*)m")
_COLORS = {"0;31": "r", "0;32": "g", "0;33": "y", "0;36": "c", "1;31": "r", "1;35": "y"}


class Line(t.NamedTuple):
    """A row of the terminal: when it came, the class of its color or of a command, and its text."""

    at: float
    kind: str
    text: str


def record(directory: pathlib.Path) -> list[Line]:
    """Run the session below `directory`, which must be empty. Return what the terminal showed."""
    state = directory / "registry"
    registry = ["--state", str(state)]
    subprocess.run([*SERVE, "start", *registry, "--port", "5000"], check=True)
    try:
        names = []
        for repository, tag in IMAGES.items():
            one = ["--repository", repository, "--tag", tag]
            subprocess.run([*SERVE, "publish", *registry, *one], check=True)
            names.append(f"localhost:5000/{repository}:{tag}")
        variables = {
            "ansible_connection": "local",
            "ansible_python_interpreter": sys.executable,
            "store_images": names,
            "store_path": f"{directory}/{{{{ inventory_hostname }}}}",
        }
        inventory = {"all": {"hosts": dict.fromkeys(HOSTS), "vars": variables}}
        (directory / "hosts.yml").write_text(json.dumps(inventory), encoding="utf-8")
        return [line for command in SESSION for line in _run(command, directory)]
    finally:
        subprocess.run([*SERVE, "stop", *registry], check=True)


def _run(command: str, directory: pathlib.Path) -> t.Iterator[Line]:
    """Run a command of the session, and yield what it printed. A comment is shown instead of the fault itself."""
    began = time.monotonic()
    yield Line(0.0, "p", command)
    if command.startswith("#"):
        _flip_a_bit(directory / HOSTS[1])
        return
    # The message of a failure repeats the table, and names a path of this machine: it goes to stderr.
    env = {**os.environ, "ANSIBLE_FORCE_COLOR": "1", "ANSIBLE_DISPLAY_FAILED_STDERR": "1"}
    env["ANSIBLE_DISPLAY_SKIPPED_HOSTS"] = "0"
    words = command.partition("  #")[0].split()
    streams: dict[str, t.Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(words, cwd=directory, env=env, text=True, **streams) as process:
        for text in process.stdout or ():
            codes = _COLOR.findall(text)
            kind = next((_COLORS[code] for code in codes if code in _COLORS), "")
            yield Line(round(time.monotonic() - began, 2), kind, _COLOR.sub("", text).rstrip("\n"))


def _flip_a_bit(store: pathlib.Path) -> None:
    """Flip one bit of the largest blob of a store."""
    blobs = (store / "blobs" / "sha256").iterdir()
    largest = max(blobs, key=lambda path: (path.stat().st_size, path.name))
    content = bytearray(largest.read_bytes())
    content[len(content) // 2] ^= 1
    largest.chmod(0o644)
    largest.write_bytes(content)


def shown(lines: t.Sequence[Line]) -> tuple[list[Line], float]:
    """Return the rows of the terminal with the seconds at which they appear, and the length of all."""
    rows: list[Line] = []
    now, before = 0.5, 0.0
    for line in lines:
        if line.kind == "p":
            now += READ if rows else 0.0
        else:
            now += min(LONGEST, max(0.01, line.at - before))
        before = line.at
        text = f"$ {line.text}" if line.kind == "p" else line.text
        for start in range(0, max(len(text), 1), COLUMNS):
            rows.append(Line(round(now, 2), line.kind, text[start : start + COLUMNS]))
    return rows, round(now + END, 2)


_STYLE = """\
svg{--b:#fff;--f:#1f2328;--e:#d1d9e0;--p:#0550ae;--g:#116329;--y:#7d4e00;--r:#b3202c;--c:#0b5f6b}
@media(prefers-color-scheme: dark){svg{--b:#0d1117;--f:#e6edf3;--e:#3d444d;--p:#79c0ff;--g:#7ee787;\
--y:#e3b341;--r:#ff8f87;--c:#76d9e6}}
text{font:14px ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace;fill:var(--f);\
white-space:pre}
.p{fill:var(--p);font-weight:600}.g{fill:var(--g)}.y{fill:var(--y)}.r{fill:var(--r)}.c{fill:var(--c)}
rect{fill:var(--b);stroke:var(--e)}
"""
WIDTH, HEIGHT, ROW, MARGIN = 8.43, 20, 18, 16


def draw(lines: t.Sequence[Line]) -> str:
    """Return the picture: text that appears row by row, three times, and then stays; without motion, its end."""
    rows, length = shown(lines)
    up = max(0, len(rows) - ROWS) * ROW
    frames, texts, scrolls = [], [], ["0%{transform:none}"]
    moments = sorted({row.at for row in rows})
    for number, row in enumerate(rows):
        kind = f"{row.kind} " if row.kind else ""
        y = MARGIN + ROW * number + 13
        moment = moments.index(row.at)
        texts.append(
            f'<text class="{kind}t{moment}" x="{MARGIN}" y="{y}">{html.escape(row.text)}</text>'
        )
    for moment, at in enumerate(moments):
        part = round(100 * at / length, 2)
        frames.append(f"@keyframes t{moment}{{0%{{opacity:0}}{part}%,to{{opacity:1}}}}")
        frames.append(f".t{moment}{{animation-name:t{moment}}}")
        count = sum(1 for row in rows if row.at <= at)
        if count > ROWS:
            scrolls.append(f"{part}%{{transform:translateY(-{(count - ROWS) * ROW}px)}}")
    motion = (
        "@media(prefers-reduced-motion:no-preference){"
        f"text,g{{animation:{length}s step-end 3 both}}"
        f"@keyframes up{{{''.join(scrolls)}to{{transform:translateY(-{up}px)}}}}"
        f"g g{{animation-name:up}}{''.join(frames)}}}"
    )
    width = round(COLUMNS * WIDTH + 2 * MARGIN)
    height = ROWS * ROW + 2 * MARGIN
    commands = " ".join(f"{line.text}." for line in lines if line.kind == "p")
    said = [line.text.strip().rstrip(",") for line in lines if _worth_reading(line.text)]
    return f"""\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" aria-labelledby="title text">
<!-- Made by tests/devtools/recording.py from a real run. -->
<title id="title">A terminal: three hosts get the same images, and an audit finds one flipped bit</title>
<desc id="text">{html.escape(f"The commands are: {commands} The results are: {' '.join(said)}")}</desc>
<style>
{_STYLE}g g{{transform:translateY(-{up}px)}}
{motion}
</style>
<clipPath id="screen"><rect x="0" y="{MARGIN}" width="{width}" height="{ROWS * ROW + 2}"/></clipPath>
<rect x=".5" y=".5" width="{width - 1}" height="{height - 1}" rx="8"/>
<g clip-path="url(#screen)"><g>
{chr(10).join(texts)}
</g></g>
</svg>
"""


def _worth_reading(text: str) -> bool:
    return bool(re.search(r"one fingerprint|sha256:\w+ .*incomplete|changed=", text))


def load() -> list[Line]:
    """Return the lines of the last recording."""
    return [Line(*line) for line in json.loads(DATA.read_text(encoding="utf-8"))]


def main(command: str = "draw", directory: str = "") -> None:
    """Record the session below `directory`, or only draw it."""
    if command == "record":
        top = pathlib.Path(directory).resolve()
        top.mkdir(parents=True)
        lines = ",\n".join(json.dumps(line) for line in record(top))
        DATA.write_text(f"[\n{lines}\n]\n", encoding="utf-8")
    PICTURE.write_text(draw(load()), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
