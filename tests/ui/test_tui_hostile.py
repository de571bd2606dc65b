"""Hostile peers in front of the full-screen face: what reaches the terminal is what a benign peer makes it write.

The attackers skip every check of their own side. What they send is compared, sequence by sequence, with what the same
acts of somebody harmless bring to the terminal.
"""

from __future__ import annotations

import asyncio
import codecs
import contextlib
import json
import os
import re
import sys
import time
import unicodedata
from contextlib import ExitStack, asynccontextmanager
from itertools import count, islice
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

if sys.platform == "win32":
    pytest.skip("a pty is a thing of POSIX", allow_module_level=True)

from sandpiper.crypto.identity import Identity
from sandpiper.crypto.rooms import open_room, room_tag
from sandpiper.crypto.signing import DOMAIN, seal_record
from sandpiper.errors import LinkLost
from sandpiper.net.secure import dial_secure
from sandpiper.net.tcp import dial
from sandpiper.node import Node, NodeSettings
from sandpiper.testing.conformance import turns, until
from sandpiper.wire.frames import LINK_VERSION, Bye, Hello, Presence, Records, encode_frame
from sandpiper.wire.ids import NO_RECORD
from sandpiper.wire.records import React, Text, Topic
from tests.hostile import ESCAPES, HOSTILE, RAW_BYTES
from tests.oldpeer import OldPeer
from tests.program import Program
from tests.ui.screen import Screen

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Iterator
    from pathlib import Path

    from sandpiper.net.secure import SecureLink
from sandpiper.wire.frames import AnyFrame

pytestmark = pytest.mark.timeout(400)  # hundreds of records, at the pace at which one peer may send them

PATIENCE = 60.0  # seconds for what must happen, however busy the machine is
COLUMNS, ROWS = 110, 34
READY = "#general ─"
GENERAL = open_room("general")

HARMLESS = {f"harmless {number}": f"harmless words, number {number}" for number in range(8)}
HARMLESS["lines"] = "several\nlines\nof text"
HARMLESS["mention"] = "@alice look"
HARMLESS["code"] = "```\nx = 1\n``` `x` https://a.example/"
HARMLESS["wide"] = "漢字 👍 אבג"

_SEQUENCE = re.compile(
    r"\x1b\[(?P<parameters>[0-?]*)(?P<between>[ -/]*)(?P<final>[@-~])"
    r"|\x1b\](?P<osc>[^\x07\x1b]*)(?:\x07|\x1b\\)"
    r"|\x1b(?P<string>[PX^_])[^\x1b]*\x1b\\"
    r"|\x1b(?P<other>[ -/]*[0-~])"
    r"|(?P<broken>\x1b)"
)
_TORN = re.compile(rb"\x1b(?:\[[0-?]*[ -/]*)?\Z")
T = TypeVar("T")
JOINERS = "\u200c\u200d"


class Written:
    """What a program has written to its terminal, taken apart: kinds of sequences, and the text between them."""

    def __init__(self, raw: bytes) -> None:
        """Raises: UnicodeDecodeError: it is no UTF-8, so it could hold C1 controls as bytes."""
        written = raw.decode("utf-8")
        self.kinds = {_kind(match) for match in _SEQUENCE.finditer(written)}
        self.bells = _SEQUENCE.sub("", written).count("\a")
        self.text = _SEQUENCE.sub("", written)

    @property
    def forbidden(self) -> set[str]:
        """Characters in the text that a terminal obeys, that turn it around, or that nobody sees."""
        return {
            f"U+{ord(char):04X}"
            for char in set(self.text) - set("\r\n\a" + JOINERS)
            if unicodedata.category(char) in ("Cc", "Cf", "Cs", "Zl", "Zp") or 0xE0000 <= ord(char) <= 0xE007F
        }


def so_far(screen: Screen) -> Written:
    """What a program that goes on has written, without the beginning of what it is just writing."""
    whole = _TORN.sub(b"", screen.raw)
    return Written(codecs.getincrementaldecoder("utf-8")().decode(whole).encode())


def _kind(match: re.Match[str]) -> str:
    """What a sequence does, without where and in which colour it does it."""
    if match["final"]:
        parameters = match["parameters"]
        # Modes are what they switch; all else is named by its private mark.
        said = parameters if match["final"] in "hlrtpucnbq" else parameters.lstrip("0123456789;:")
        return f"CSI {said}{match['between']}{match['final']}"
    if match["osc"] is not None:
        return f"OSC {match['osc'].partition(';')[0]}"
    return f"ESC {match['string'] or match['other'] or 'broken'}"


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def at_screen(stack: ExitStack, home: Path, *args: str, **env: str) -> Screen:
    """Alice, whose nick and rooms are the same in every run."""
    screen = stack.enter_context(
        Screen(home, "--nick", "alice", "--no-multicast", *args, columns=COLUMNS, rows=ROWS, env=env)
    )
    sees(screen, READY)
    return screen


def sees(screen: Screen, *texts: str) -> None:
    for text in texts:
        screen.until(lambda me, text=text: text in me.text, text, PATIENCE)  # type: ignore[misc]


def groups(items: Iterable[T], size: int) -> Iterator[tuple[T, ...]]:
    """`items` in tuples of `size`; the last may be shorter."""
    left = iter(items)
    while some := tuple(islice(left, size)):
        yield some


def port_of(screen: Screen) -> int:
    found = re.search(r"alice +127\.0\.0\.1:(\d+)", screen.text)
    assert found is not None, screen.text
    return int(found[1])


def check_frame(screen: Screen, about: str = "") -> None:
    """Wait until sidebar, composer, status line and the bar beside the messages are whole, each in its column."""
    try:
        screen.until(lambda me: not frame_trouble(me), f"an intact frame {about}", PATIENCE)
    except AssertionError as error:
        raise AssertionError(f"{frame_trouble(screen)}: {error}") from None


def frame_trouble(screen: Screen) -> str:
    """What of the frame is not where it belongs; empty: nothing."""
    cells = screen.cells
    left, right = 32, COLUMNS - 2
    bottom = [cells[-4], cells[-3], cells[-2]]
    if [row[left] for row in bottom] != ["╭", "│", "╰"] or [row[right] for row in bottom] != ["╮", "│", "╯"]:
        return "the composer"
    if cells[1][2] != "≈" or not cells[1][left:].startswith(" # general") or cells[-1][:2] not in (" ●", " ○"):
        return "header or status line"
    # Rows of messages have a bar in one and the same column.
    rows = [row for row in cells[3:-5] if set("│▌") & set(row[left:])]
    if rows and not any(all(row[column] in "│▌" for row in rows) for column in range(left, right)):
        return "the bar beside the messages"
    beside = [row for row in cells[:-1] if row[left - 1] != " "]
    return f"the sidebar: {beside}" if beside else ""


def logs_below(folder: Path) -> str:
    return "".join(path.read_text() for path in folder.rglob("sandpiper.log"))


def node_for(port: int, home: Path, nick: str) -> Node:
    settings = NodeSettings(multicast=False, hosts=("127.0.0.1",), ports=range(1), peers=(("127.0.0.1", port),))
    return Node(Identity(os.urandom(32)), nick, home, settings)


async def do_everything(screen: Screen, texts: dict[str, str], database: Path) -> None:
    """Say, be called, react with, set as topic, answer, and be away with all of `texts`, here and in private; look at
    all of it in every way there is.
    """
    first = next(iter(texts.values()))
    evil = node_for(port_of(screen), database, first[:120])
    wait, look = asyncio.to_thread, screen.type
    async with evil:
        evil.join("general")
        await until(lambda: evil.members(GENERAL), "a link")
        (alice,) = evil.members(GENERAL)
        log = next(room for room in evil.rooms() if room.id == GENERAL).logs
        target = b""
        for number, some in enumerate(groups(texts.items(), 5)):
            for name, text in some:
                evil.set_presence(f"{text[:120]}", text[:400])
                evil.post(GENERAL, Text(f"{text} said", reply_to=target))
                target = log[evil.key].head_id
                evil.post(GENERAL, Text(f"{text}", action=name.startswith("C")))
                evil.post(GENERAL, React(log[evil.key].head_id, text[:120]))
                evil.post(GENERAL, Topic(text[:1200]))
            evil.post(GENERAL, Text(f"so far {number}"))
            await wait(sees, screen, f"so far {number}")
            await wait(check_frame, screen, f"after {', '.join(name for name, _ in some)}")
        direct = evil.open_direct(alice)
        for text in texts.values():
            evil.post(direct, Text(f"{text} in private"))
        evil.post(direct, Text("the private end"))
        look("/who\r/rooms\r/whois @\t\r/status\r")
        await wait(sees, screen, "security")
        look("/history\r")
        await wait(sees, screen, "╭─ Search")
        look("\x1b")
        await wait(screen.until, lambda me: "╭─ Search" not in me.text, "the end of the list", PATIENCE)
        look("\x1b[1;3B")  # alt+down
        await wait(sees, screen, "the private end")
        look("\x1b[1;3A")
        await wait(sees, screen, "message #general")
        look("\x06")
        await wait(sees, screen, "╭─ Search")
        look("said")
        await wait(sees, screen, "said ")
        look("\x1b")
        await wait(screen.until, lambda me: "╭─ Search" not in me.text, "the end of the search", PATIENCE)
        look("\x0b")
        await wait(sees, screen, "╭─ Jump")
        look("\x1b")
        await wait(screen.until, lambda me: "╭─ Jump" not in me.text, "the end of the dialog", PATIENCE)
        look("\x1b[A")
        await wait(sees, screen, "r reply")
        look("\x1b[A\x1b[Ar")
        await wait(sees, screen, "╭─ reply to")
        look("\x1b")
        await wait(sees, screen, "message #general")
        look("\x1b[1;5F")  # ctrl+end: selecting has scrolled back
        evil.set_presence("mallory", "")
        await wait(sees, screen, "● mallory")
        evil.post(GENERAL, Text("the last word"))
        await wait(sees, screen, "the last word")
        look("/verify mallory\r")
        await wait(sees, screen, "they match")
        look("\x1b")
        await wait(screen.until, lambda me: "╭─ Verify" not in me.text, "the end of the dialog", PATIENCE)
        look("after all\r")
        await wait(sees, screen, "after all")
    await wait(sees, screen, "mallory is gone")
    await wait(check_frame, screen, "at the end")


async def test_nothing_of_a_hostile_peer_is_obeyed_by_the_terminal(stack: ExitStack, tmp_path: Path) -> None:
    written = []
    for name, texts in (("benign", HARMLESS), ("hostile", HOSTILE)):
        screen = await asyncio.to_thread(at_screen, stack, tmp_path / name, SANDPIPER_NOTIFY="off")
        await do_everything(screen, texts, tmp_path / f"{name} peer.db")
        screen.type("\x11")
        assert await asyncio.to_thread(screen.ended, PATIENCE) == 0
        assert screen.is_given_back
        written.append(Written(screen.last_words()))
    benign, hostile = written
    assert benign.kinds >= {"CSI m", "CSI H", "CSI ?1049h", "CSI ?1049l"}
    assert not benign.forbidden
    assert hostile.kinds <= benign.kinds
    assert not hostile.forbidden
    assert not hostile.bells
    assert "OSC 52" not in hostile.kinds
    assert "Traceback" not in logs_below(tmp_path)


@pytest.mark.parametrize("how", ["bell", "osc9", "osc777"])
async def test_a_notification_carries_nothing_but_text(stack: ExitStack, tmp_path: Path, how: str) -> None:
    """Each escape calls the person by itself, in a private message, as one program after the other."""
    screen = await asyncio.to_thread(at_screen, stack, tmp_path / "alice", SANDPIPER_NOTIFY=how)
    screen.type("\x1b[O")  # the terminal has lost the focus
    evil = node_for(port_of(screen), tmp_path / "evil.db", ESCAPES["OSC 52 clipboard"])
    async with evil:
        evil.join("general")
        await asyncio.to_thread(sees, screen, " is here (lan)")
        everything = "".join(ESCAPES.values()) + ";a;b@alice"
        evil.post(GENERAL, Text(everything[-200:]))
        called = {"bell": rb"\x07", "osc9": rb"\x1b\]9;", "osc777": rb"\x1b\]777;notify;"}[how]
        await asyncio.to_thread(
            screen.until, lambda me: len(re.findall(called, me.raw)) >= (2 if how == "bell" else 1), how, PATIENCE
        )
        screen.type("\x11")
        assert await asyncio.to_thread(screen.ended, PATIENCE) == 0
    raw = screen.last_words()
    written = Written(raw)
    assert not written.forbidden
    oscs = set(re.findall(r"\x1b\](\d+;[^\x07\x1b]*)", raw.decode()))
    assert {osc.partition(";")[0] for osc in oscs} <= {"22", how.removeprefix("osc")}
    assert written.bells == (1 if how == "bell" else 0)
    if how != "bell":
        (notification,) = (osc for osc in oscs if not osc.startswith("22;"))
        assert notification.isprintable()
        assert notification.count(";") == (1 if how == "osc9" else 3)


# ---------------------------------------------------------------- below the node: links and records by hand


class Attacker:
    """A link to somebody, for sending whatever can be packed."""

    def __init__(self, link: SecureLink, identity: Identity) -> None:
        self.identity = identity
        self._link = link

    def send(self, frame: AnyFrame) -> None:
        self._link.offer(encode_frame(frame))

    async def until_dropped(self) -> None:
        """Until the other side has ended the link."""
        async with asyncio.timeout(PATIENCE):
            with contextlib.suppress(LinkLost):
                while True:
                    await self._link.receive()

    def record(self, text: bytes) -> bytes:
        """A record with a good signature whose text is these bytes, UTF-8 or not."""
        stand_in = "S" * len(text)
        payload = seal_record(self.identity, GENERAL, 1, NO_RECORD, (), _now(), Text(stand_in)).raw[64:]
        payload = payload.replace(stand_in.encode(), text)
        return self.identity.sign(DOMAIN + payload) + payload


@asynccontextmanager
async def attacker(port: int, nick: str, agent: str = "agent", status: str = "") -> AsyncIterator[Attacker]:
    """Somebody who has said hello, and is in #general."""
    identity = Identity(os.urandom(32))
    link = await dial_secure(await dial("127.0.0.1", port), identity)
    try:
        one = Attacker(link, identity)
        one.send(Hello(LINK_VERSION, agent, nick, _now(), (room_tag(GENERAL),), status))
        yield one
    finally:
        link.abort()
        await turns()


def _now() -> int:
    return time.time_ns() // 1_000_000


async def test_texts_that_are_no_text_end_the_link_and_nothing_else(stack: ExitStack, tmp_path: Path) -> None:
    screen = await asyncio.to_thread(at_screen, stack, tmp_path / "alice")
    port = port_of(screen)
    wait = asyncio.to_thread
    for number, (name, raw) in enumerate(RAW_BYTES.items()):
        async with attacker(port, f"mallory{number}") as mallory:
            await wait(sees, screen, f"mallory{number} is here")
            mallory.send(Records(GENERAL, (mallory.record(raw),)))
            await mallory.until_dropped()
        await wait(sees, screen, f"mallory{number} is gone")
        await wait(check_frame, screen, name)
    async with attacker(port, "benign") as benign:
        benign.send(Records(GENERAL, (benign.record("plain wörds".encode()),)))
        await wait(sees, screen, "plain wörds")
    assert not so_far(screen).forbidden


async def test_hellos_and_goodbyes_carry_nothing_that_is_obeyed(stack: ExitStack, tmp_path: Path) -> None:
    screen = await asyncio.to_thread(at_screen, stack, tmp_path / "alice", SANDPIPER_NOTIFY="off")
    port, before = port_of(screen), so_far(screen)
    for text in ESCAPES.values():
        async with attacker(port, text[:100], text[:60], text[:400]) as mallory:
            await asyncio.to_thread(sees, screen, "1 online")
            mallory.send(Presence(text[:100], text[:400]))
            mallory.send(Bye(text[:32], text[:400]))
        await asyncio.to_thread(sees, screen, "0 online")
    screen.type("/status\rstill here\r")
    await asyncio.to_thread(sees, screen, "still here")
    await asyncio.to_thread(check_frame, screen)
    after = so_far(screen)
    assert {kind for kind in after.kinds if not kind.startswith("CSI ?")} <= {*before.kinds, "CSI m", "CSI H"}
    assert not after.forbidden
    assert not after.bells


def test_a_record_as_long_as_can_be_is_shown_and_scrolled(stack: ExitStack, tmp_path: Path) -> None:
    screen = at_screen(stack, tmp_path / "alice")
    where = f"127.0.0.1:{port_of(screen)}"
    bob = stack.enter_context(Program("bob", tmp_path / "bob", "--no-multicast", "--peer", where))
    bob.ready(PATIENCE).links({"alice"}, PATIENCE)
    for text in ("w" * 15_990, "漢" * 15_990, "a " * 7_990, "👩‍👩‍👧" * 3_000):
        bob.say(text)
    bob.say("behind it")
    sees(screen, "behind it")
    check_frame(screen)
    screen.type("\x1b[5~" * 5 + "\x1b[1;5F")  # up five pages, and to the end
    screen.type("\x1b[A")
    sees(screen, "r reply")
    screen.type("\x1b[A\x1b[Ay")
    sees(screen, "in the clipboard")
    screen.type("\x1b\x1b[1;5F")
    sees(screen, "message #general", "behind it")
    screen.until(lambda me: "r reply" not in me.text, "the composer", PATIENCE)
    bob.say("still there?")
    sees(screen, "still there?")
    screen.type("I am\r")
    bob.shows("I am", PATIENCE)


# ---------------------------------------------------------------- the old dialect


def test_a_hostile_peer_of_the_old_dialect_is_only_text(stack: ExitStack, tmp_path: Path, multicast: str) -> None:
    """It speaks JSON, in which even halves of characters can travel."""
    screen = stack.enter_context(
        Screen(tmp_path / "alice", "--nick", "alice", "--compat", "p2pchat", columns=COLUMNS, rows=ROWS,
               env={"SANDPIPER_NOTIFY": "off"})
    )  # fmt: skip
    sees(screen, READY)
    before = so_far(screen)
    host, _, port = multicast.partition(":")
    old = stack.enter_context(OldPeer("bob", "0" * 8, multicast=(host, int(port)), beacon_interval=0.5))
    assert old.wait_for(lambda: old.linked, PATIENCE)
    model: dict[str, Any] = {**old.say("the model of a line")}
    sees(screen, "the model of a line")
    numbers = count(int(model["sequence"]) + 1)
    texts = [*HOSTILE.values(), "\ud800a\udfff", "\udc80\udc9b[2J"]
    for some in groups(texts, 10):
        for text in some:
            number = next(numbers)
            line = {**model, "id": f"{model['id']}{number}", "sequence": number, "username": text, "content": text}
            old.send_raw(json.dumps(line).encode() + b"\n")
        said = f"so far {next(numbers)}"
        old.say(said)
        sees(screen, said)
    check_frame(screen)
    after = so_far(screen)
    assert {kind for kind in after.kinds if not kind.startswith("CSI ?")} <= {*before.kinds, "CSI m", "CSI H"}
    assert not after.forbidden
    assert not after.bells


# ---------------------------------------------------------------- the net itself


@pytest.mark.parametrize(
    ("raw", "found"),
    [
        (b"\x1b]52;c;cm0=\x07", "OSC 52"),
        (b"\x1b[2J", "CSI J"),
        (b"\x1b[?1000h", "CSI ?1000h"),
        (b"\x1bPq\x1b\\", "ESC P"),
        (b"\x1b[6n", "CSI 6n"),
        (b"\x1bc", "ESC c"),
        (b"x\x1b", "ESC broken"),
    ],
)
def test_this_test_sees_what_a_terminal_would_obey(raw: bytes, found: str) -> None:
    assert found in Written(raw).kinds


@pytest.mark.parametrize("char", ["\x00", "\x08", "\x7f", "\x9b", "\u202e", "\u2066", "\u200b", "\ufeff", "\U000e0041"])
def test_this_test_sees_what_nobody_should(char: str) -> None:
    assert Written(f"ab{char}c".encode()).forbidden == {f"U+{ord(char):04X}"}
