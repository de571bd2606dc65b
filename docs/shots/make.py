"""Pictures of the real program: runs a scripted chat in pseudo-terminals and draws what the screen shows as SVG.

    .venv/bin/python docs/shots/make.py

Three real processes on loopback; nothing leaves the machine. The result is docs/shots/line.svg.
"""

from __future__ import annotations

import html
import os
import sys
import tempfile
import time
from pathlib import Path

import pexpect
import pyte

HERE = Path(__file__).parent
PROGRAM = Path(sys.executable).with_name("sandpiper")
COLUMNS, ROWS = 88, 23
CELL, LINE, PAD = 8.4, 18, 14
BACKGROUND, FOREGROUND = "#16181d", "#d7dae0"
COLOURS = {
    "black": "#3b4048", "red": "#e06c75", "green": "#98c379", "brown": "#e5c07b", "blue": "#61afef",
    "magenta": "#c678dd", "cyan": "#56b6c2", "white": "#d7dae0", "brightblack": "#7f848e",
}  # fmt: skip
CHAT = (
    ("bob", "did the printer survive the night?"),
    ("carol", "it printed 40 pages of ### and gave up"),
    ("ann", "so that is what the ### was about"),
    ("bob", "/react ^ 😀"),
    ("carol", "lunch at 12? 日本 place on the corner"),
    ("ann", "/me is there already"),
    ("bob", "/reply @carol yes, keep me a seat"),
)


class Screen:
    """One program on a pseudo-terminal, and what its screen shows."""

    def __init__(self, nick: str, home: Path) -> None:
        env = {
            **os.environ,
            "SANDPIPER_HOME": str(home),
            "SANDPIPER_INTERFACES": "lo0" if sys.platform == "darwin" else "lo",
            "SANDPIPER_MULTICAST": "224.0.0.1:29990",
            "TERM": "xterm-256color",
            "COLORTERM": "truecolor",
        }
        self.screen = pyte.Screen(COLUMNS, ROWS)
        self._stream = pyte.Stream(self.screen)
        self._child = pexpect.spawn(
            str(PROGRAM), ["--plain", "--nick", nick], env=env, dimensions=(ROWS, COLUMNS), encoding="utf-8", timeout=1
        )

    def look(self, seconds: float = 0.6) -> None:
        """Take in what comes within this time, and answer what the terminal is asked."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            try:
                text = self._child.read_nonblocking(65536, timeout=0.1)
            except pexpect.TIMEOUT:
                continue
            except pexpect.EOF:
                return
            if "\x1b[6n" in text:
                self._child.send(f"\x1b[{self.screen.cursor.y + 1};{self.screen.cursor.x + 1}R")
            self._stream.feed(text)

    def type(self, line: str) -> None:
        """A line and Enter."""
        self._child.send(line + "\r")

    def end(self) -> None:
        """Leave."""
        self._child.sendeof()
        self.look(1)
        self._child.close(force=True)


def colour(name: str, default: str) -> str:
    """A pyte colour as CSS."""
    if name == "default":
        return default
    return COLOURS.get(name) or (f"#{name}" if len(name) == 6 else default)


def svg(screen: pyte.Screen, title: str) -> str:
    """The screen as an SVG picture, one text element a run of equal style."""
    width, height = COLUMNS * CELL + 2 * PAD, ROWS * LINE + 2 * PAD + 24
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" font-size="14" '
        'font-family="ui-monospace, SFMono-Regular, Menlo, DejaVu Sans Mono, monospace">',
        f'<rect width="100%" height="100%" rx="8" fill="{BACKGROUND}"/>',
        f'<text x="{width / 2:.0f}" y="21" fill="#7f848e" text-anchor="middle">{html.escape(title)}</text>',
    ]
    for row in range(ROWS):
        column = 0
        while column < COLUMNS:
            first = screen.buffer[row][column]
            text, start = "", column
            while column < COLUMNS:
                cell = screen.buffer[row][column]
                if (cell.fg, cell.bold, cell.reverse) != (first.fg, first.bold, first.reverse):
                    break
                text += cell.data
                column += 1
            if not text.strip() and not first.reverse:
                continue
            fill = colour(first.fg, FOREGROUND)
            x, y = PAD + start * CELL, PAD + 24 + (row + 0.75) * LINE
            if first.reverse:
                out.append(
                    f'<rect x="{x:.1f}" y="{y - 0.75 * LINE:.1f}" width="{(column - start) * CELL:.1f}" '
                    f'height="{LINE}" fill="{fill}"/>'
                )
                fill = BACKGROUND
            weight = ' font-weight="bold"' if first.bold else ""
            out.append(
                f'<text x="{x:.1f}" y="{y:.1f}" fill="{fill}"{weight} xml:space="preserve" '
                f'textLength="{(column - start) * CELL:.1f}">{html.escape(text)}</text>'
            )
    return "\n".join([*out, "</svg>", ""])


def main() -> None:
    """Run the chat, draw ann's screen."""
    with tempfile.TemporaryDirectory() as folder:
        people: dict[str, Screen] = {}
        for nick in ("ann", "bob", "carol"):
            people[nick] = Screen(nick, Path(folder) / nick)
            for screen in people.values():
                screen.look(1.5)
        for nick, line in CHAT:
            people[nick].type(line)
            for screen in people.values():
                screen.look(0.4)
        people["ann"].type("/who")
        for screen in people.values():
            screen.look(0.8)
        (HERE / "line.svg").write_text(svg(people["ann"].screen, "sandpiper --plain --nick ann"), encoding="utf-8")
        for screen in people.values():
            screen.end()


main()
