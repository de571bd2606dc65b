"""Hostile members in front of whoever comes in: no byte of theirs reaches the terminal but as text that is safe."""

from __future__ import annotations

import asyncio
import codecs
import os
import re
import sys
import unicodedata
from functools import partial
from typing import TYPE_CHECKING

import pytest

if sys.platform == "win32":
    pytest.skip("a pty is a thing of POSIX", allow_module_level=True)

from sandpiper.crypto.identity import Identity
from sandpiper.node import CodeMade, Node, NodeSettings
from sandpiper.node.door import Door
from sandpiper.wire.admission import Declined
from sandpiper.wire.records import Admit
from tests.hostile import CONTROLS, DECEPTIONS, ESCAPES, FORMATS
from tests.ui.screen import Screen

if TYPE_CHECKING:
    from pathlib import Path

    from sandpiper.crypto.codes import Code

pytestmark = pytest.mark.timeout(300)

PATIENCE = 60.0
NICKS = [text for corpus in (ESCAPES, CONTROLS, DECEPTIONS, FORMATS) for text in corpus.values()]
ROOM = "\x1b]0;owned\x07\x1b[2J\x9b31m\u202ex[/b][@click=app.quit]"
OWNED = re.compile(
    r"\x1b\]\d+;(?:owned|\?|file:|rgb:|1;rgb|;http|c;cm0|c;\?|File|notify;a|wait)|\x1b[PX^_c]|\x1b\[[235]J\x1b\[3J"
)
ALLOWED = "\r\n\a\x1b\u200c\u200d\x0f"  # the terminal's own, and joiners that scripts need

MODES = [("--plain",), ()]


def hostile_room(tmp_path: Path) -> tuple[Node, list[Code]]:
    """A node whose nick, room and members are called what they should not be, and the codes that it makes."""
    codes: list[Code] = []
    network = NodeSettings(ports=range(1), hosts=("127.0.0.1",), multicast=False)
    node = Node(Identity(os.urandom(32)), ESCAPES["OSC 52 clipboard"], tmp_path / "evil.db", network)
    node.subscribe(lambda notice: codes.append(notice.code) if isinstance(notice, CodeMade) else None)
    return node, codes


async def sees(screen: Screen, *texts: str) -> None:
    for text in texts:
        await asyncio.to_thread(screen.until, partial(_shows, text), text, PATIENCE)


def _shows(text: str, screen: Screen) -> bool:
    return text in screen.text


def assert_harmless(raw: bytes) -> None:
    """What was written to the terminal is UTF-8, and none of its sequences is one of theirs."""
    text = codecs.getincrementaldecoder("utf-8")().decode(raw)
    bad = {
        f"U+{ord(char):04X}"
        for char in set(text) - set(ALLOWED)
        if unicodedata.category(char) in ("Cc", "Cf", "Cs", "Zl", "Zp") or 0xE0000 <= ord(char) <= 0xE007F
    }
    assert not bad, bad
    assert not OWNED.search(text), OWNED.findall(text)


@pytest.mark.parametrize("mode", MODES, ids=["line", "screen"])
async def test_names_of_a_room_and_its_members_are_text(tmp_path: Path, mode: tuple[str, ...], multicast: str):
    node, codes = hostile_room(tmp_path)
    async with node:
        room = await node.codes.create(ROOM)
        for nick in NICKS:
            node.post(room, Admit(Identity(os.urandom(32)).key, nick[:60]))
        await node.codes.invite(room)
        peer = f"127.0.0.1:{node.port}"
        args = ("join", codes[-1].spoken, "--nick", "alice", "--no-multicast", "--peer", peer, *mode)
        with await asyncio.to_thread(Screen, tmp_path / "alice", *args, columns=100, rows=40) as alice:
            await sees(alice, "]0;owned")
            if mode:
                await sees(alice, " 1 ▸")
                await asyncio.to_thread(alice.type, "/who\r/rooms\r/status\r")
                await sees(alice, "#general", "security")
            else:
                await sees(alice, "MEMBERS")
                await asyncio.to_thread(alice.type, "/who\r")
                await sees(alice, "not here")
            await asyncio.to_thread(alice.type, "\x04")
            raw = await asyncio.to_thread(alice.last_words)
    assert_harmless(raw)


@pytest.mark.parametrize("reason", ["\x1b]2;owned\x1b\\", "banned\x9b2J", ROOM * 3], ids=["OSC", "C1", "long"])
@pytest.mark.parametrize("mode", MODES, ids=["line", "screen"])
async def test_a_reason_for_a_refusal_is_never_shown_as_it_came(
    tmp_path: Path, mode: tuple[str, ...], reason: str, multicast: str, monkeypatch: pytest.MonkeyPatch
):
    async def declined(*_: object) -> Declined:
        return Declined(reason)

    monkeypatch.setattr(Door, "_let", declined)
    node, codes = hostile_room(tmp_path)
    async with node:
        await node.codes.create(ROOM)
        peer = f"127.0.0.1:{node.port}"
        args = ("join", codes[-1].spoken, "--nick", "alice", "--no-multicast", "--peer", peer, *mode)
        with await asyncio.to_thread(Screen, tmp_path / "alice", *args, columns=100, rows=40) as alice:
            assert await asyncio.to_thread(alice.ended, PATIENCE) in (1, 3)
            raw = await asyncio.to_thread(alice.last_words)
    assert_harmless(raw)
    assert b"owned" not in raw


@pytest.mark.parametrize(
    "said",
    [b"\x1b]0;owned\x07", b"\x9b2J\x1b[2J", b"no_such_code\x1b]0;owned\x07", b"busy\r\n\x1b[31mred", b"\xff" * 200],
)
async def test_what_is_said_instead_of_an_answer_is_never_shown(tmp_path: Path, said: bytes, multicast: str):
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        message = b"\x01" + said
        writer.write(b"SANDPIPER/1\n" + len(message).to_bytes(2, "big") + message)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        args = ("join", "pine-ocean-42", "--plain", "--nick", "alice", "--no-multicast", "--peer", f"127.0.0.1:{port}")
        with await asyncio.to_thread(Screen, tmp_path / "alice", *args) as alice:
            code = await asyncio.to_thread(alice.ended, PATIENCE)
            raw = await asyncio.to_thread(alice.last_words)
    assert code != 0
    assert b"owned" not in raw
    assert b"\x9b" not in raw
    assert_harmless(raw)
