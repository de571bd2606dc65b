"""Codes at a terminal: completed, corrected, shown as QR codes, and never said to anybody by mistake."""

from __future__ import annotations

import re
import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

if sys.platform == "win32":
    pytest.skip("a pty is a thing of POSIX", allow_module_level=True)

from tests.program import Program
from tests.ui.pipe import Pipe
from tests.ui.screen import Screen

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.timeout(180)

PATIENCE = 60.0  # seconds for what must happen, however busy the machine is
CODE = re.compile(r"sandpiper join ([a-z]+-[a-z]+-[1-9][0-9]*)")
QR = re.compile(r"[█▀▄]{2}")  # two blocks beside each other: nothing else here draws such


@pytest.fixture
def stack(multicast: str) -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def sees(screen: Screen, *texts: str) -> None:
    for text in texts:
        screen.until(lambda me, text=text: text in me.text, text, PATIENCE)  # type: ignore[misc]


def code_in(screen: Screen) -> str:
    """The code that a person reads off the screen."""
    screen.until(lambda me: CODE.search(me.text), "a code", PATIENCE)
    found = CODE.search(screen.text)
    assert found is not None
    return found[1]


def host(stack: ExitStack, tmp_path: Path, *args: str, **env: str) -> Screen:
    """Alice, who makes a room in line mode."""
    usual = ("create", "birds", "--plain", "--nick", "alice", *args)
    return stack.enter_context(Screen(tmp_path / "alice", *usual, rows=50, env=env))


def whole_screen(stack: ExitStack, tmp_path: Path, nick: str, *args: str) -> Screen:
    """Somebody in front of a screen that is large enough for all that is shown."""
    return stack.enter_context(Screen(tmp_path / nick, *args, "--nick", nick, columns=100, rows=40))


# ---------------------------------------------------------------- QR


@pytest.mark.parametrize("env", [{}, {"NO_COLOR": "1"}], ids=["colours", "none"])
def test_a_code_is_shown_as_a_qr_code_on_a_terminal_too(stack: ExitStack, tmp_path: Path, env: dict[str, str]):
    alice = host(stack, tmp_path, **env)
    code_in(alice)
    alice.until(lambda me: len(QR.findall(me.text)) > 50, "a QR code", PATIENCE)
    assert (b"38;5;16;48;5;231" in alice.raw) is not bool(env)
    alice.type("/invite\r")
    alice.until(lambda me: me.raw.count(b"Whoever may come in") == 2, "another code", PATIENCE)


def test_no_qr_leaves_it_out(stack: ExitStack, tmp_path: Path):
    alice = host(stack, tmp_path, "--no-qr")
    code_in(alice)
    sees(alice, "#birds 0 ▸")
    assert not QR.search(alice.text)


def test_a_qr_code_that_does_not_fit_is_left_out(stack: ExitStack, tmp_path: Path):
    alice = stack.enter_context(Screen(tmp_path / "alice", "create", "--plain", "--nick", "alice", columns=26, rows=50))
    sees(alice, "#private 0 ▸")
    assert not QR.search(alice.text)


@pytest.mark.parametrize("args", [(), ("--json",)])
def test_a_pipe_gets_no_qr_code(stack: ExitStack, tmp_path: Path, args: tuple[str, ...]):
    pipe = stack.enter_context(Pipe(tmp_path / "alice", "create", "--nick", "alice", "--qr", *args))
    pipe.sees("sandpiper join ")
    pipe.say("/invite", "and done")
    pipe.sees("and done")
    pipe.end()
    assert pipe.ended() == 0
    assert not QR.search(pipe.text + pipe.narration)


# ---------------------------------------------------------------- being asked for a code


def test_the_prompt_for_a_code_completes_its_words_and_tells_a_slip_before_anything_is_sent(
    stack: ExitStack, tmp_path: Path
):
    code = code_in(host(stack, tmp_path, "--no-qr"))
    one, other, number = code.split("-")
    bob = stack.enter_context(Screen(tmp_path / "bob", "join", "--plain", "--nick", "bob"))
    sees(bob, "Code (Tab completes words):")
    slip = f"{other[:-1]}{other[-2]}{other[-1]}"  # a letter twice
    bob.type(f"{one}-{slip}-{number}\r")
    sees(bob, "Did you mean ", code)  # maybe among others that are as near
    prompt = "Code (Tab completes words):"
    bob.until(lambda me: me.text.count(prompt) == 2, "the prompt again", PATIENCE)
    bob.type(one[:4])
    if len(one) > 4:
        bob.type("\t")
    else:
        bob.type("-")
    bob.type(f"{other}-{number}\r")  # at once: what Tab puts there stands in front of it
    sees(bob, "#birds 1 ▸")
    assert b"key agreed" in bob.raw


def test_the_prompt_takes_the_whole_command_that_a_qr_code_holds(stack: ExitStack, tmp_path: Path):
    code = code_in(host(stack, tmp_path, "--no-qr"))
    bob = stack.enter_context(Screen(tmp_path / "bob", "join", "--plain", "--nick", "bob"))
    sees(bob, "Code (Tab completes words):")
    bob.type(f"sandpiper join {code}\r")
    sees(bob, "#birds 1 ▸")


def test_who_would_rather_not_give_a_code_ends_the_program(stack: ExitStack, tmp_path: Path):
    bob = stack.enter_context(Screen(tmp_path / "bob", "join", "--nick", "bob"))
    sees(bob, "Code (Tab completes words):")
    bob.type("\x03")
    assert bob.ended() == 130


# ---------------------------------------------------------------- in the chat


def test_in_line_mode_words_are_completed_and_what_was_meant_as_a_code_is_never_a_room(
    stack: ExitStack, tmp_path: Path
):
    code = code_in(host(stack, tmp_path, "--no-qr"))
    one, other, number = code.split("-")
    bob = stack.enter_context(Screen(tmp_path / "bob", "--plain", "--nick", "bob"))
    sees(bob, "#general 1 ▸")
    bob.type("/join girde\t")
    sees(bob, "▸ /join girder-")
    bob.type("\x03")
    bob.type(f"/join {one}-zzzzz-{number}\r")
    sees(bob, "The second word of this code is none")
    bob.type(f"/join {one}-{other}\r")
    sees(bob, "2 words and no numbers")
    bob.type("/rooms\r")
    sees(bob, "> #general")
    assert f"#{one}" not in bob.text
    bob.type(f"/join {code}\r")
    sees(bob, "#birds 1 ▸")


def test_the_password_of_a_room_is_asked_for_and_not_shown(stack: ExitStack, tmp_path: Path):
    alice = host(stack, tmp_path, "--no-qr", SANDPIPER_ROOM_PASSWORD="two herons")
    code = code_in(alice)
    bob = stack.enter_context(Screen(tmp_path / "bob", "--plain", "--nick", "bob"))
    sees(bob, "#general 1 ▸")
    bob.type(f"/join {code}\r")
    number = code.rpartition("-")[2]
    sees(bob, f"Password of the room of code {number}:")
    bob.type("two herons\r")
    sees(bob, "#birds 1 ▸")
    assert b"herons" not in bob.raw
    ben = stack.enter_context(Screen(tmp_path / "ben", "join", code, "--plain", "--nick", "ben"))
    sees(ben, "Password of the room:")
    ben.type("two herons\r")
    sees(ben, "#birds 2 ▸")
    assert b"herons" not in ben.raw


def test_who_lists_members_with_their_roles_here_or_not(stack: ExitStack, tmp_path: Path):
    alice = host(stack, tmp_path, "--no-qr")
    code = code_in(alice)
    with Program("bob", tmp_path / "bob", command=_join(code, "bob")) as bob:
        bob.ready(PATIENCE).links({"alice"}, PATIENCE)
        sees(alice, "#birds 1 ▸")
        alice.type("/role bob admin\r/who\r")
        sees(alice, "alice (you)  owner", "bob  admin  lan")
    sees(alice, "#birds 0 ▸")
    alice.type("/who\r")
    sees(alice, "bob  admin  not here")


def _join(code: str, nick: str) -> tuple[str, ...]:
    return (sys.executable, "-m", "sandpiper", "join", code, "--plain", "--json", "--no-input", "--nick", nick)


# ---------------------------------------------------------------- on the whole screen


def test_on_the_whole_screen_a_code_is_shown_and_led_to_step_by_step(stack: ExitStack, tmp_path: Path):
    alice = whole_screen(stack, tmp_path, "alice", "create", "birds")
    sees(alice, "A code for #birds", "Whoever may come in types:", "copy the command again")
    code = code_in(alice)
    alice.until(lambda me: len(QR.findall(me.text)) > 50, "a QR code", PATIENCE)
    assert b"\x1b]52;c;" in alice.raw, "copied, where the terminal allows it"
    alice.type("\x1b")
    sees(alice, "MEMBERS")
    bob = whole_screen(stack, tmp_path, "bob")
    sees(bob, "#general ─")
    bob.type(f"/join {code}\r")
    sees(bob, "You are in #birds")
    assert b"looking for a member on this network" in bob.raw
    sees(bob, "MEMBERS", "2 of 2", "owner")
    sees(alice, "2 of 2")


def test_on_the_whole_screen_a_password_is_asked_for_in_the_chat_and_at_the_start(stack: ExitStack, tmp_path: Path):
    alice = host(stack, tmp_path, "--no-qr", SANDPIPER_ROOM_PASSWORD="two herons")
    code = code_in(alice)
    number = code.rpartition("-")[2]
    bob = whole_screen(stack, tmp_path, "bob")
    sees(bob, "#general ─")
    bob.type(f"/join {code}\r")
    ben = whole_screen(stack, tmp_path, "ben", "join", code)
    for one in (bob, ben):
        sees(one, f"Password of the room of code {number}", "sent to nobody")
    for one in (bob, ben):
        _type_slowly(one, "two herons\r")
        sees(one, "MEMBERS", "alice               owner")
        assert b"herons" not in one.raw


def _type_slowly(screen: Screen, text: str) -> None:
    """Type once the dialog takes keys: what comes before a pause is not taken, and shown as such."""
    import time

    time.sleep(1.0)  # the dialog asks for a pause of its own, by the clock
    screen.type(text)
