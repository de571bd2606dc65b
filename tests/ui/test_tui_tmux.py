"""The full-screen face inside a real tmux: another terminal between the program and the person."""

from __future__ import annotations

import os
import select
import shutil
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

if sys.platform == "win32":
    pytest.skip("tmux is a thing of POSIX", allow_module_level=True)
if shutil.which("tmux") is None:
    pytest.skip("there is no tmux here", allow_module_level=True)

from sandpiper.faces.tui.dialogs.paste import PasteDialog
from tests.program import Program
from tests.ui.screen import PROGRAM

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

pytestmark = pytest.mark.timeout(180)

PATIENCE = 60.0  # seconds for what must happen, however busy the machine is


# The shell of a window: it says how the program ended, and stays. The program's number is in the file $0.
_SHELL = """sh -c 'echo $$ >"$0"; exec "$@"' "$0" "$@"; echo "ended with $?"; exec cat"""


class Tmux:
    """A tmux server of its own with one window, in which `command` runs; `env` is added to what is inherited."""

    def __init__(self, folder: Path, command: Sequence[str], env: dict[str, str]) -> None:
        folder.mkdir()
        self._server = ["tmux", "-S", str(folder / "socket"), "-f", os.devnull]
        # Whoever runs the tests may sit in a tmux, which is none of ours.
        self._env = {key: value for key, value in os.environ.items() if key not in ("TMUX", "TMUX_PANE", "NO_COLOR")}
        self._env.update(env)
        self._number = folder / "number"
        news = folder / "news"
        os.mkfifo(news)
        self._reading = os.open(news, os.O_RDONLY | os.O_NONBLOCK)
        self._keeping = os.open(news, os.O_WRONLY)  # so that it is never at its end
        self.run("new-session", "-d", "-x", "100", "-y", "30", "exec cat")
        self.run("pipe-pane", "-O", f"exec cat >'{news}'")
        self.run("respawn-pane", "-k", "sh", "-c", _SHELL, str(self._number), *command)

    def close(self) -> None:
        """End the server and all that runs in it."""
        subprocess.run([*self._server, "kill-server"], check=False, capture_output=True)
        os.close(self._reading)
        os.close(self._keeping)

    def run(self, *args: str, given: str = "") -> str:
        """A tmux command, and what it says."""
        done = subprocess.run(
            [*self._server, *args], env=self._env, input=given, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"tmux {args}: {done.stderr}"
        return done.stdout

    @property
    def text(self) -> str:
        """What the window shows."""
        return self.run("capture-pane", "-p")

    def ask(self, format_: str) -> str:
        """What tmux knows of the window."""
        return self.run("display-message", "-p", format_).strip()

    def until(self, predicate: Callable[[str], object], what: str) -> None:
        """Until `predicate` holds of what the window shows; asked again whenever something is written to it."""
        end = time.monotonic() + PATIENCE
        while not predicate(text := self.text):
            if time.monotonic() > end:
                raise AssertionError(f"{what} did not come in {PATIENCE} s\n{text}")
            if select.select([self._reading], [], [], 0.5)[0]:
                os.read(self._reading, 65536)

    def sees(self, *texts: str) -> None:
        """Until all of these are in the window."""
        for text in texts:
            self.until(lambda shown, text=text: text in shown, text)  # type: ignore[misc]

    def ends(self, code: int) -> None:
        """Wait for the end of the program, with this exit code."""
        self.sees(f"ended with {code}")

    @property
    def process(self) -> int:
        """The number of the program's process."""
        return int(self._number.read_text())


@pytest.fixture
def alice(tmp_path: Path, multicast: str) -> Iterator[Tmux]:
    tmux = Tmux(tmp_path / "tmux", (*PROGRAM, "--nick", "alice"), {"SANDPIPER_HOME": str(tmp_path / "alice")})
    try:
        tmux.sees("message #general")
        yield tmux
    finally:
        tmux.close()


@pytest.fixture
def bob(tmp_path: Path, alice: Tmux) -> Iterator[Program]:
    with Program("bob", tmp_path / "bob") as program:
        program.ready(PATIENCE).links({"alice"}, PATIENCE)
        alice.sees("bob is here (lan)")
        yield program


def hears(program: Program, *texts: str) -> None:
    program.wait(lambda me: len(me.texts()) >= len(texts), PATIENCE, f"{len(texts)} messages")
    assert program.texts() == list(texts)


def test_what_is_typed_in_tmux_is_said_and_marked(alice: Tmux, bob: Program) -> None:
    alice.run("send-keys", "-l", "hello from tmux")
    alice.run("send-keys", "Enter")
    hears(bob, "hello from tmux")
    alice.sees("hello from tmux  ✓✓")
    bob.say("grüße 漢字 👍")
    alice.sees("grüße 漢字 👍")
    alice.run("send-keys", "C-q")
    alice.ends(0)
    assert "hello from tmux" not in alice.text, "the alternate screen is still there"
    assert alice.ask("#{alternate_on} #{cursor_flag} #{mouse_any_flag} #{wrap_flag}") == "0 1 0 1"


def test_keys_of_tmux_mean_what_they_say(alice: Tmux, bob: Program) -> None:
    alice.run("send-keys", "-l", "one")
    alice.run("send-keys", "M-Enter")
    alice.run("send-keys", "-l", "two")
    alice.sees("│ two")
    alice.run("send-keys", "Enter")
    hears(bob, "one\ntwo")
    alice.run("send-keys", "C-k")
    alice.sees("╭─ Jump")
    alice.run("send-keys", "Escape")
    alice.until(lambda text: "╭─ Jump" not in text, "the end of the dialog")
    alice.run("send-keys", "F1")
    alice.sees("╭─ Help")
    alice.run("send-keys", "Escape")
    alice.until(lambda text: "esc close" not in text, "the end of the help")
    alice.run("send-keys", "C-c")
    alice.sees("once more quits")
    alice.run("send-keys", "C-c")
    alice.ends(130)


def test_a_burst_in_tmux_loses_nothing(alice: Tmux, bob: Program) -> None:
    burst = [f"line {number} of the burst" for number in range(50)]
    alice.run("send-keys", *(key for line in burst for key in (line, "Enter")))
    hears(bob, *burst)


def test_a_paste_buffer_is_one_message(alice: Tmux, bob: Program) -> None:
    text = "\n".join(f"pasted {number}" for number in range(200))
    alice.run("load-buffer", "-", given=text)
    alice.run("paste-buffer", "-p")
    alice.sees("You pasted 200 lines")
    time.sleep(PasteDialog.PAUSE + 0.5)  # the dialog takes no answer from somebody who goes on typing
    alice.run("send-keys", "s")
    hears(bob, text)
    alice.sees("… 101 more lines  ✓✓")


def test_another_size_in_tmux_is_painted_whole(alice: Tmux, bob: Program) -> None:
    bob.say(*(f"message {number}" for number in range(30)), "the newest")
    alice.sees("the newest")
    for columns, rows in ((40, 10), (200, 50), (10, 3), (84, 24), (60, 20)):
        alice.run("resize-window", "-x", str(columns), "-y", str(rows))
    alice.until(lambda text: len(text.splitlines()) == 20 and text.splitlines()[-2].endswith("╯"), "60 by 20")
    alice.sees("the newest", "╭─ #general")
    alice.run("resize-window", "-x", "120", "-y", "40")
    alice.sees("≈ sandpiper", "message #general", "the newest")
    alice.until(lambda text: text.splitlines()[36][32] == "╭" and text.splitlines()[36].endswith("╮"), "the composer")


@pytest.mark.skipif(
    not hasattr(os, "pidfd_open"), reason="the end of another's process can be waited for on Linux only"
)
def test_a_window_that_is_closed_is_a_goodbye(alice: Tmux, bob: Program) -> None:
    process = os.pidfd_open(alice.process)
    try:
        alice.run("kill-pane")
        bob.links(set(), PATIENCE)
        assert select.select([process], [], [], PATIENCE)[0], "the program is still there"
    finally:
        os.close(process)
