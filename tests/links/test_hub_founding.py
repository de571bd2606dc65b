"""Founding programs, `nc` and ours in one room of a real hub: each hears the others in the founding words."""

from __future__ import annotations

import os
import shutil
import subprocess
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING

import pytest

from tests.founder import Founder, Line, founding
from tests.process import Process
from tests.program import SANDPIPER, Program
from tests.served import HOST, Served

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.skipif(os.name != "posix", reason="the hub is ended by signals as POSIX has them")


class Netcat(Process[str]):
    """`nc`, and a person who types into it."""

    def __init__(self, port: int, *options: str) -> None:
        self.shown: list[str] = []
        pipe = subprocess.PIPE
        command = ("nc", *options, HOST, str(port))
        super().__init__(subprocess.Popen(command, text=True, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL))
        self.follow(self._read)

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._changed:
                self.shown.append(line)
                self._changed.notify_all()

    def type(self, text: str) -> None:
        """Without Enter."""
        assert self.process.stdin is not None
        self.process.stdin.write(text)
        self.process.stdin.flush()

    def shows(self, *lines: Line) -> None:
        """Exactly these, after what was waited for before."""
        self.until(lambda me: len(me.shown) >= len(lines), f"{lines}")
        with self._changed:
            shown, self.shown = self.shown[: len(lines)], self.shown[len(lines) :]
        assert [founding(line) for line in shown] == list(lines)


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def hub(stack: ExitStack, tmp_path: Path) -> Served:
    return stack.enter_context(Served(tmp_path / "hub"))


@pytest.fixture
def nc(stack: ExitStack, hub: Served) -> Netcat:
    if shutil.which("nc") is None:
        pytest.skip("there is no nc (Debian: netcat-openbsd)")
    return stack.enter_context(Netcat(hub.port))


def ours(stack: ExitStack, home: Path, nick: str, *where: str) -> Program:
    """`sandpiper` with these arguments, in line mode with JSON events."""
    command = (str(SANDPIPER), *where, "--plain", "--json", "--no-input", "--nick", nick)
    return stack.enter_context(Program(nick, home, command=command))


def said(program: Program, *, before: bool = False) -> list[tuple[str, str]]:
    """(nick, text) of the messages that a program of ours has shown: those from `before` it came, or those since."""
    return [(event["nick"], event["text"]) for event in program.of("message") if event["history"] == before]


def test_two_founding_programs_see_exactly_the_founding_shapes(stack: ExitStack, hub: Served) -> None:
    alice = stack.enter_context(closing(Founder(hub.port, "alice")))
    bob = stack.enter_context(closing(Founder(hub.port, "bob")))
    alice.notices("bob joined")
    alice.hears("bob", "settled")
    alice.msg("hi")
    for one in (alice, bob):
        one.hears("alice", "hi")
    bob.send({"type": "shutdown"})
    error = bob.read()
    assert error["type"] == "error"
    assert "shutdown" in error["text"]
    bob.sock.sendall(b"hello?\n")
    assert bob.read()["type"] == "error"
    bob.msg("still here")
    for one in (alice, bob):
        one.hears("bob", "still here")
    bob.close()
    alice.notices("bob left")
    hub.unharmed()


def test_whoever_takes_no_nick_is_anon_and_a_number(stack: ExitStack, hub: Served) -> None:
    alice = stack.enter_context(closing(Founder(hub.port, "alice")))
    nobody = stack.enter_context(closing(Founder(hub.port)))
    nobody.msg("who am I?")
    line = nobody.read()
    nick = line["nick"]
    assert nick.startswith("anon-")
    assert nick.removeprefix("anon-").isdigit()
    assert line == {"type": "msg", "nick": nick, "text": "who am I?"}
    alice.hears(nick, "who am I?")
    nobody.send({"type": "nick", "nick": "alice"})
    assert "alice2" in nobody.read()["text"], "a taken nick is refused, and another one named"


def test_a_person_at_nc_a_founding_program_and_ours_chat(
    stack: ExitStack, hub: Served, nc: Netcat, tmp_path: Path, multicast: str
) -> None:
    nc.type('{"type":"nick",')
    nc.type('"nick":"nick"}\n')
    nc.type('{"type":"msg","text":"anybody there?"}\n')
    nc.shows({"type": "nick", "text": "nick set to nick"}, {"type": "msg", "nick": "nick", "text": "anybody there?"})
    alice = stack.enter_context(closing(Founder(hub.port, "alice")))
    nc.shows({"type": "notice", "text": "alice joined"}, {"type": "msg", "nick": "alice", "text": "settled"})
    carol = ours(stack, tmp_path / "carol", "carol", "connect", f"{HOST}:{hub.port}").ready()
    nc.shows({"type": "notice", "text": "carol joined"})
    alice.notices("carol joined")
    carol.wait(lambda me: len(said(me, before=True)) == 2, what="what was said before")
    assert said(carol, before=True) == [("nick", "anybody there?"), ("alice", "settled")]
    told = [("alice", "hello, all"), ("nick", "typed by hand"), ("carol", "from the program")]
    alice.msg(told[0][1])
    carol.wait(lambda me: said(me) == told[:1], what="alice's words")
    nc.type('{"type":"msg","text":"typed by hand"}\r\n')
    carol.wait(lambda me: said(me) == told[:2], what="the words of nc")
    carol.say(told[2][1])
    carol.wait(lambda me: said(me) == told, what="its own words")
    for nick, text in told:
        alice.hears(nick, text)
    nc.shows(*({"type": "msg", "nick": nick, "text": text} for nick, text in told))
    nc.type("how does this work?\n")
    nc.until(lambda me: me.shown, "an answer")
    assert founding(nc.shown.pop())["type"] == "error"
    alice.close()
    nc.shows({"type": "notice", "text": "alice left"})
    carol.stop()
    nc.shows({"type": "notice", "text": "carol left"})
    assert carol.process.returncode == 0
    hub.unharmed()


def test_lines_piped_into_nc_are_said_and_answered(stack: ExitStack, hub: Served, nc: Netcat) -> None:
    with closing(Founder(hub.port, "alice")) as alice:
        nc.type('{"type":"nick","nick":"pipe"}\n' + '{"type":"msg","text":"piped"}\n' * 30)
        assert nc.process.stdin is not None
        nc.process.stdin.close()
        assert [alice.read() for _ in range(31)] == [
            {"type": "notice", "text": "pipe joined"},
            *[{"type": "msg", "nick": "pipe", "text": "piped"}] * 30,
        ]
    nc.shows({"type": "nick", "text": "nick set to pipe"}, *[{"type": "msg", "nick": "pipe", "text": "piped"}] * 30)
