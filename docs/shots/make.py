"""Pictures of the real program: plays a scripted chat and draws what the screens show as SVG.

    .venv/bin/python docs/shots/make.py [--pace SECONDS] [NAME...]

Every person is a real process on loopback; nothing leaves the machine. With a pace, this long passes between two
messages, so that their times differ. With names (`line`, `tui-slash`), only those pictures are written.
"""

from __future__ import annotations

import argparse
import contextlib
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from drawing import DARK, LIGHT, svg, variety
from playing import Terminal, Voice, free_port, until

if TYPE_CHECKING:
    from collections.abc import Iterable

    from drawing import Theme

HERE = Path(__file__).parent
ROOM = "harbour"
ESCAPE, CTRL_F, CTRL_K, CTRL_U, NEW_LINE = "\x1b", "\x06", "\x0b", "\x15", "\n"
ALT_1, ALT_4 = "\x1b1", "\x1b4"
TIDES = (
    "Tide table for Saturday: high water **06:41** and **19:08**, 4.2 m. Springs, so expect two knots across the bar."
)
RADIO = NEW_LINE.join(("```", "[radio]", "watch  = [16, 72]", "squelch = 3   # quieter at the quay", "```"))

LINES = (
    ("bob", "did the printer survive the night?"),
    ("carol", "it printed 40 pages of ### and gave up"),
    ("ann", "so that is what the ### was about"),
    ("bob", "/react ^ 😀"),
    ("carol", "lunch at 12? 日本 place on the corner"),
    ("ann", "/me is there already"),
    ("bob", "/reply @carol yes, keep me a seat"),
)


class Album:
    """Where pictures go; `names` are those wanted, none: all."""

    def __init__(self, names: Iterable[str]) -> None:
        self._names = frozenset(names)

    def wants(self, *names: str) -> bool:
        """One of these is to be made."""
        return not self._names or not self._names.isdisjoint(names)

    def take(self, terminal: Terminal, name: str, title: str, theme: Theme = DARK) -> None:
        """Draw a terminal as it is now."""
        if self.wants(name):
            (HERE / f"{name}.svg").write_text(svg(terminal.frame(variety), title, theme), encoding="utf-8")


class Harbour:
    """The crew of the Sanderling, seen from ann's screen. `folder` keeps their profiles; `pace` in seconds."""

    def __init__(self, folder: Path, pace: float, stack: contextlib.ExitStack) -> None:
        self._folder, self._pace, self._stack = folder, pace, stack
        self._port = free_port()
        self._voices: dict[str, Voice] = {}
        self.ann, self.wren = self._full_screen("ann", 120, 34), self._full_screen("wren", 100, 30)
        self.ann.sees("wren ?")
        for nick in ("ines", "tomas", "maya", "priya"):
            self._come(nick)

    def _full_screen(self, nick: str, columns: int, rows: int) -> Terminal:
        terminal = Terminal(nick, self._folder / nick, self._port, "--room", ROOM, columns=columns, rows=rows)
        self._stack.callback(terminal.end)
        return terminal

    def _come(self, nick: str) -> None:
        voice = self._voices[nick] = Voice(nick, self._folder / nick, self._port, "--room", ROOM)
        self._stack.callback(voice.end)
        for other in ("ann", "wren", *self._voices):
            if other != nick:
                voice.knows(other)

    def _say(self, nick: str, text: str, heard: str = "") -> None:
        """Somebody writes something in #harbour, and all others get it."""
        time.sleep(self._pace)
        who = self._voices.get(nick) or {"ann": self.ann, "wren": self.wren}[nick]
        who.enter(text)
        for voice in self._voices.values():
            voice.hears(heard or text)

    def _tell(self, nick: str, room: str, *texts: str) -> None:
        """Somebody writes in another room, and comes back to #harbour."""
        for text in (f"/join #{room}", *texts, f"/join #{ROOM}"):
            self._voices[nick].enter(text)

    def _verify(self, nick: str) -> None:
        self.ann.enter(f"/verify {nick}")
        self.ann.sees("Compare these words")
        time.sleep(1)  # a dialog takes no answer from somebody who goes on typing
        self.ann.type("y")
        self.ann.sees_no("Compare these words")
        self.ann.sees(f"{nick} ✓")

    def play(self) -> None:
        """Everything up to the moment of the pictures."""
        ann = self.ann
        ann.sees("5 online")
        ann.enter("/topic Saturday on the Sanderling: tides, crew, snacks")
        for room in ("build-crew", "tides", "random"):
            ann.enter(f"/join #{room}")
            ann.sees(f"message #{room}")
        ann.type(ALT_1)
        ann.sees(f"message #{ROOM}", "Saturday on the Sanderling")
        for nick in ("tomas", "maya", "ines"):
            self._verify(nick)
        self._voices.pop("priya").end()
        ann.sees("4 online", "priya is gone")
        ann.enter("/clear")

        self._say("ines", TIDES)
        self._say("tomas", "Then we leave on the ebb. I make it 08:30 from the fuel dock, home by five.")
        self.wren.enter("/react @tomas ⛵")
        for nick, emoji in (("maya", "⛵"), ("ines", "⛵"), ("ines", "👍")):
            self._voices[nick].enter(f"/react @tomas {emoji}")
        ann.enter("/react @tomas 👍")
        self._say("ann", "Home by five is fine. I bring coffee in the *big* thermos.", "Home by five is fine")
        self._come("kenji")
        ann.sees("kenji ?")
        self._say("kenji", "Hi all! こんにちは 👋 Any room left on the *Sanderling*?")
        self._say("maya", "/reply @kenji Always. Bring a jacket, the forecast says F4 gusting 6.", "Bring a jacket")
        ann.sees("Bring a jacket")

        ann.type(ALT_4)
        ann.sees("message #random")
        vhf = "can you bring the handheld VHF? Ours is on channel 72 only, see `radio.toml`"
        self._say("tomas", f"@ann {vhf} or https://sandpiper.example/radio", "handheld VHF")
        self._say("wren", RADIO, "[radio]")
        self._say("ines", "/reply @tomas Mine is charged, I can bring it as a spare.", "Mine is charged")
        self._tell("tomas", "build-crew", "@ann the new cleats are in", "@ann which screws did you order?")
        self._tell("ines", "tides", "Low water 00:52", "and 13:05", "0.6 m both times")
        for text in ("The photos of the regatta are ready", "shall I bring them on Saturday?"):
            self._voices["maya"].enter(f"/msg ann {text}")
        self._voices["maya"].enter(f"/join #{ROOM}")
        self._voices["kenji"].enter("/away walking the dog")
        ann.sees("2@", "◐ kenji")
        ann.type(ALT_1)
        ann.sees("Mine is charged")

    def typing(self) -> None:
        """Have wren write something, and wait until ann is told."""
        for _ in range(20):
            self.wren.type("y")
            with contextlib.suppress(TimeoutError):
                until(lambda: "typing" in self.ann.text, "typing", 1.5)
                return

    def theme(self, words: str) -> None:
        """Change ann's theme, as a person would."""
        self.ann.type(CTRL_K)
        self.ann.sees("Jump to")
        self.ann.type(words)
        self.ann.sees(words)
        time.sleep(0.5)
        self.ann.type("\r")
        self.ann.sees_no("Jump to")


def harbour(album: Album, pace: float) -> None:
    """The full-screen face."""
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        play = Harbour(Path(folder), pace, stack)
        play.play()
        ann, title = play.ann, f"sandpiper --room {ROOM}"
        play.typing()
        album.take(ann, "tui-120x34", title)

        ann.type("/")
        ann.sees("/join")
        album.take(ann, "tui-slash", title)
        ann.type(ESCAPE)
        time.sleep(0.5)
        ann.type(CTRL_U)

        ann.type(CTRL_K)
        ann.sees("Jump to")
        ann.type("ma")
        album.take(ann, "tui-jump", title)
        ann.type(ESCAPE)
        ann.sees_no("Jump to")

        ann.type(CTRL_F)
        ann.sees("Search")
        ann.type("sa")
        ann.sees("all rooms")
        album.take(ann, "tui-search", title)
        ann.type(ESCAPE)
        ann.sees_no("words of a message")
        time.sleep(0.5)

        for columns, rows in ((80, 24), (60, 20)):
            ann.resize(columns, rows)
            play.typing()
            album.take(ann, f"tui-{columns}x{rows}", title)
        ann.resize(120, 34)
        for words, name, look in (("light theme", "tui-light", LIGHT), ("theme without", "tui-nocolor", DARK)):
            play.theme(words)
            play.typing()
            album.take(ann, name, title, look)
        play.theme("dark theme")

        ann.enter("/verify kenji")
        ann.sees("Compare these words")
        album.take(ann, "tui-verify", title)


def lines(album: Album) -> None:
    """Line mode."""
    port = free_port()
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        people: dict[str, Terminal] = {}
        for nick in ("ann", "bob", "carol"):
            people[nick] = Terminal(nick, Path(folder) / nick, port, "--plain", columns=88, rows=23)
            stack.callback(people[nick].end)
            for other in people:
                if other != nick:
                    people[other].sees(f"{nick} is here")
        for nick, text in LINES:
            people[nick].enter(text)
            time.sleep(1)
        people["ann"].enter("/who")
        people["ann"].sees("others are here")
        album.take(people["ann"], "line", "sandpiper --plain --nick ann")


def main() -> None:
    """Make the pictures that are wanted."""
    parser = argparse.ArgumentParser(description="Pictures of the real program.")
    parser.add_argument("--pace", type=float, default=0.3, help="seconds between two messages")
    parser.add_argument("names", nargs="*", help="which pictures")
    wanted = parser.parse_args()
    album = Album(wanted.names)
    if album.wants("line"):
        lines(album)
    if not wanted.names or wanted.names != ["line"]:
        harbour(album, wanted.pace)


main()
