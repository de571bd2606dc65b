"""Line mode on a real terminal: a person types while others talk."""

import asyncio
import contextlib
import os
import re
import signal
import subprocess
import sys
import termios
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

if sys.platform == "win32":
    pytest.skip("a pty is a thing of POSIX", allow_module_level=True)

from sandpiper.crypto.identity import Identity
from sandpiper.node import Node, NodeSettings
from sandpiper.wire.records import React, Text, Topic
from tests.program import Program
from tests.ui.screen import PROGRAM, Screen

PROMPT = "#general 0 ▸"
WITH_ONE = "#general 1 ▸"

Open = Callable[..., Screen]


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def start(stack: ExitStack, tmp_path: Path, multicast: str) -> Open:
    """Alice at a terminal."""

    def open_screen(*args: str, **kwargs: Any) -> Screen:
        return stack.enter_context(Screen(tmp_path / "alice", "--plain", "--nick", "alice", *args, **kwargs))

    return open_screen


@pytest.fixture
def alice(start: Open) -> Screen:
    screen = start()
    screen.prompts(PROMPT)
    return screen


@pytest.fixture
def bob(stack: ExitStack, tmp_path: Path, alice: Screen) -> Program:
    """Bob is a program, linked to alice."""
    program = stack.enter_context(Program("bob", tmp_path / "bob")).ready()
    program.wait(lambda me: me.linked() == {"alice"}, what="a link")
    alice.sees("bob is here (lan)")
    alice.prompts(WITH_ONE)
    return program


# ---------------------------------------------------------------- typing


def test_what_is_typed_is_said_and_shown_once(alice: Screen, bob: Program):
    alice.type("hello bob\r")
    bob.wait(lambda me: me.texts() == ["hello bob"])
    alice.sees("alice: hello bob")
    alice.prompts(WITH_ONE)
    assert alice.text.count("hello bob") == 1


def test_text_that_arrives_does_not_mangle_what_is_being_typed(alice: Screen, bob: Program):
    alice.type("half of a sent")
    alice.prompts(f"{WITH_ONE} half of a sent")
    bob.say(*(f"message {number}" for number in range(40)), "the last one")
    alice.sees("bob: the last one")
    alice.prompts(f"{WITH_ONE} half of a sent")
    alice.type("ence\r")
    bob.wait(lambda me: "half of a sentence" in me.texts())
    alice.sees("alice: half of a sentence")
    arrived = [line[11:] for line in alice.lines if line[6:].startswith("bob: message")]
    assert arrived == [f"message {number}" for number in range(40 - len(arrived), 40)]


def test_keys_struck_while_text_arrives_are_all_kept_in_order(alice: Screen, bob: Program):
    bob.say(*(f"noise {number}" for number in range(200)))
    said = [f"line {number}" for number in range(30)]
    for line in said:
        alice.type(line[:3])
        alice.type(f"{line[3:]}\r")
    bob.wait(lambda me: len([text for text in me.texts() if text.startswith("line")]) == 30, what="30 lines")
    assert [text for text in bob.texts() if text.startswith("line")] == said
    alice.sees("noise 199")
    alice.prompts(WITH_ONE)
    shown = re.findall(rb"alice\x1b\[0m: (line \d+)\r", alice.raw)
    assert [line.decode() for line in shown] == said


def test_a_burst_of_keys_with_enter_loses_nothing(alice: Screen, bob: Program):
    alice.type("hello\rworld\r/me waves\rend\r")
    bob.wait(lambda me: len(me.texts()) == 4)
    assert bob.texts() == ["hello", "world", "waves", "end"]
    alice.prompts(WITH_ONE)


def test_a_line_feed_sends_too(alice: Screen, bob: Program):
    alice.type("from expect\n")
    bob.wait(lambda me: me.texts() == ["from expect"])


def test_pasted_lines_are_one_message(alice: Screen, bob: Program):
    alice.type("\x1b[200~first\rsecond\r\nthird\x1b[201~")
    alice.sees("third")
    alice.type("\r")
    bob.wait(lambda me: me.texts() == ["first\nsecond\nthird"])
    alice.prompts(WITH_ONE)
    alice.sees("alice: first\n      second\n      third")


def test_alt_enter_begins_a_new_line(alice: Screen, bob: Program):
    alice.type("one\x1b\rtwo\r")
    bob.wait(lambda me: me.texts() == ["one\ntwo"])


def test_tab_completes_commands_rooms_and_names(alice: Screen, bob: Program):
    alice.type("/hel\t")
    alice.prompts(f"{WITH_ONE} /help")
    alice.type("\x03")
    alice.type("hi @b\tsee #g\t")
    alice.prompts(f"{WITH_ONE} hi @bob see #general")
    alice.type("\r/wh\t\t")
    alice.sees("/who    /whois")
    alice.prompts(f"{WITH_ONE} /who")
    alice.type("\r")
    alice.sees("#general: 1 other is here.")


def test_up_brings_back_what_was_typed(alice: Screen, bob: Program):
    alice.type("again\r")
    bob.wait(lambda me: me.texts() == ["again"])
    alice.prompts(WITH_ONE)
    alice.type("\x1b[A")
    alice.prompts(f"{WITH_ONE} again")


def test_a_line_wider_than_the_screen_survives_what_arrives(alice: Screen, bob: Program):
    words = " ".join(f"word{number}" for number in range(30))
    alice.type(words)
    alice.sees("word29")
    bob.say("interrupting")
    alice.sees("bob: interrupting", "word29")
    alice.type("\r")
    bob.wait(lambda me: words in me.texts())
    alice.sees("alice: word0 word1")
    alice.until(lambda me: me.text.count("word29") == 1 and me.lines[-1] == WITH_ONE, "the words once")


def test_a_terminal_that_stands_still_does_not_stop_the_chat(alice: Screen, bob: Program):
    alice.stand_still()
    big = "x" * 4000
    bob.say(*(f"{number} {big}" for number in range(300)), "the end")
    bob.wait(lambda me: me.texts()[-1] == "the end" and me.of("delivery")[-1]["delivered"] == 1, what="delivery")
    alice.go_on()
    alice.sees("bob: the end")
    alice.prompts(WITH_ONE)
    alice.type("I am back\r")
    bob.wait(lambda me: me.texts()[-1] == "I am back")


# ---------------------------------------------------------------- looking


def test_lines_fold_at_the_width_that_the_terminal_has_now(alice: Screen, bob: Program):
    alice.resize(40)
    bob.say("one two three four five six seven eight nine ten")
    alice.sees("bob: one two three four five six\n      seven eight nine ten")


def test_commands_answer_above_the_prompt(alice: Screen):
    alice.type("/help\r")
    alice.sees("/quit", "say goodbye and end")
    alice.prompts(PROMPT)


def test_clear_empties_the_screen(alice: Screen):
    alice.type("/clear\r")
    alice.until(lambda me: me.lines == [PROMPT])


def test_colours_are_left_out_when_the_person_says_so(start: Open):
    screen = start(env={"NO_COLOR": "1"})
    screen.prompts(PROMPT)
    screen.type("hello\r")
    screen.sees("alice: hello")
    assert b"38;5" not in screen.raw


def test_names_have_colours_otherwise(alice: Screen):
    alice.type("hello\r")
    alice.sees("alice: hello")
    assert b"38;5;" in alice.raw


def test_a_dumb_terminal_gets_plain_lines(start: Open):
    screen = start(env={"TERM": "dumb"})
    screen.sees("OPEN #general")
    screen.type("hello\r")
    screen.sees("alice: hello")
    assert b"\x1b" not in screen.raw
    screen.type("\x04")
    assert screen.ended() == 0


HOSTILE = re.compile(
    # Everything but: line ends, and what prompt_toolkit and we write ourselves.
    r"\x1b(?!\[[0-9;?]*[A-HJKmhlr]|\[[0-9;]*q|[78=>])|[\x00-\x06\x0b\x0c\x0e-\x1a\x1c-\x1f\x7f-\x9f]"
    r"|\x1b\[\?1049|\x1b\[2J"
)


ATTACKS = [
    "\x1b[2J\x1b[H",
    "\x1b]52;c;cm0gLXJmIC8=\x07",
    "\x1b]0;title\x07",
    "\x9b2J",
    "\x1b[?1049h",
    "\u202egnp.exe",
    "a\x08\x08\x08b",
    "\r10:31 alice: I owe you",
    "\n10:31 alice: I owe you",
    "\x1b[6n",
    "\x1bP+q544e\x1b\\",
    "[/b][bold]{x}%s",
    "\u2028\u2029\u0085",
    "z\u0300" * 500,
    "\U000e0041\ufeff\u200b\u2066",
]


async def test_a_hostile_peer_cannot_drive_the_terminal(alice: Screen, tmp_path: Path):
    """It skips every check of its own side: what it says, is called, reacts with, sets, all are attacks."""
    port = re.search(r"port (\d+)", alice.text)
    assert port is not None
    settings = NodeSettings(multicast=False, hosts=("127.0.0.1",), ports=range(1), peers=(("127.0.0.1", int(port[1])),))
    evil = Node(Identity(os.urandom(32)), "\x1b[31mevil\x07\u202e", tmp_path / "evil.db", settings)
    async with evil:
        room = evil.join("general")
        await asyncio.to_thread(alice.prompts, WITH_ONE)
        for attack in ATTACKS:
            evil.post(room, Text(f"{attack} said"))
            evil.post(room, Text(f"{attack} done", action=True))
            evil.post(room, React(evil.rooms()[0].logs[evil.key].head_id, attack[:32]))
            evil.post(room, Topic(attack))
            evil.set_presence(attack[:32], attack[:100])
        evil.set_presence("mallory", "")
        evil.post(room, Text("the end"))
        await asyncio.to_thread(alice.sees, "mallory: the end")
        alice.type("/who\r/history\r/rooms\r/whois mallory\rafter all\r")
        await asyncio.to_thread(alice.sees, "alice: after all")
    text = alice.raw.decode("utf-8", "replace")
    assert HOSTILE.findall(text) == []
    assert not {"\u202e", "\u2066", "\ufeff", "\u200b"} & set(text)
    assert "10:31" not in [line[:5] for line in re.sub("\x1b\\[[0-9;?]*[A-Za-z]", "", text).split("\r\n")]
    alice.type("\x04")
    assert alice.ended() == 0


# ---------------------------------------------------------------- ending


def restored(screen: Screen) -> bool:
    return termios.tcgetattr(screen.slave) == screen.modes


def test_ctrl_d_on_an_empty_line_says_goodbye(alice: Screen, bob: Program):
    alice.type("\x04")
    assert alice.ended() == 0
    assert restored(alice)
    bob.wait(lambda me: not me.linked(), 5, "alice gone")


def test_ctrl_d_in_a_line_does_not_end(alice: Screen, bob: Program):
    alice.type("ab\x1b[D\x04\r")
    bob.wait(lambda me: me.texts() == ["a"])
    assert alice.process.poll() is None


def test_ctrl_c_clears_the_line_then_asks_then_ends(alice: Screen):
    alice.type("never mind\x03")
    alice.prompts(PROMPT)
    alice.type("\x03")
    alice.sees("Press Ctrl+C again to quit")
    alice.type("\x03")
    assert alice.ended() == 130
    assert restored(alice)


def test_quit_ends(alice: Screen):
    alice.type("/quit\r")
    assert alice.ended() == 0
    assert restored(alice)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)])
def test_signals_say_goodbye_and_restore_the_terminal(alice: Screen, bob: Program, number: signal.Signals, code: int):
    alice.type("unfinished")
    alice.prompts(f"{WITH_ONE} unfinished")
    alice.process.send_signal(number)
    assert alice.ended() == code
    assert restored(alice)
    bob.wait(lambda me: not me.linked(), 5, "alice gone")


def test_a_closed_terminal_is_a_goodbye(alice: Screen, bob: Program):
    alice.hang_up()
    assert alice.ended() == 0
    bob.wait(lambda me: not me.linked(), 5, "alice gone")


def test_ctrl_z_suspends_and_the_chat_goes_on_after(stack: ExitStack, tmp_path: Path, multicast: str):
    shell = ["bash", "--norc", "--noprofile", "-i"]
    screen = stack.enter_context(Screen(tmp_path / "alice", program=shell, env={"PS1": "shell> "}))
    screen.prompts("shell>")
    screen.type(" ".join([*PROGRAM, "--plain", "--nick", "alice\r"]))
    screen.prompts(PROMPT)
    bob = stack.enter_context(Program("bob", tmp_path / "bob")).ready()
    bob.wait(lambda me: me.linked() == {"alice"}, what="a link")
    screen.prompts(WITH_ONE)
    screen.type("\x1a")
    screen.sees("Stopped")
    bob.say("while you were away")
    screen.type("fg\r")
    screen.sees("bob: while you were away")
    screen.prompts(WITH_ONE)
    screen.type("back\r")
    bob.wait(lambda me: me.texts()[-1] == "back")
    screen.type("\x04")
    screen.prompts("shell>")
    screen.type("exit\r")
    assert screen.ended() == 0


# ---------------------------------------------------------------- the first start


def test_the_first_start_suggests_a_nick_and_enter_accepts_it(stack: ExitStack, tmp_path: Path, multicast: str):
    screen = stack.enter_context(Screen(tmp_path / "new", "--plain", env={"LOGNAME": "robin"}))
    screen.sees("Your nickname [robin]:")
    screen.type("\r")
    screen.sees("you are robin")
    screen.prompts(PROMPT)
    screen.type("\x04")
    assert screen.ended() == 0
    again = stack.enter_context(Screen(tmp_path / "new", "--plain", env={"LOGNAME": "robin"}))
    again.prompts(PROMPT)
    assert "nickname" not in again.text
    assert "you are robin" in again.text


def test_a_nick_that_cannot_be_is_asked_for_again(stack: ExitStack, tmp_path: Path, multicast: str):
    screen = stack.enter_context(Screen(tmp_path / "new", "--plain"))
    screen.sees("Your nickname")
    screen.type("two words\r")
    screen.sees("cannot be used")
    screen.type("wren\r")
    screen.sees("you are wren")


def test_ctrl_c_at_the_first_question_is_an_interrupt(stack: ExitStack, tmp_path: Path, multicast: str):
    screen = stack.enter_context(Screen(tmp_path / "new", "--plain"))
    screen.sees("Your nickname")
    # A Ctrl+C in the instant before Python's input() reads is seen with the next key only; people press it again.
    while screen.process.poll() is None:
        screen.type("\x03")
        with contextlib.suppress(subprocess.TimeoutExpired):
            screen.ended(0.5)
    assert screen.ended() == 130
    assert not (tmp_path / "new" / "profiles").exists()


def test_nothing_is_asked_with_no_input(stack: ExitStack, tmp_path: Path, multicast: str):
    screen = stack.enter_context(Screen(tmp_path / "new", "--plain", "--no-input", env={"LOGNAME": "robin"}))
    screen.prompts(PROMPT)
    assert "you are robin" in screen.text
    assert "nickname" not in screen.text
