"""Links to the old p2pchat program, against an independent implementation of it and against hostile callers.

Everything stays on 127.0.0.1; multicast goes over the loopback interface, on a port of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from typing import TYPE_CHECKING, Any

import pytest
from typing_extensions import override

from sandpiper.core import p2pchat as core
from sandpiper.core.events import PeerChanged
from sandpiper.core.p2pchat import MAX_PEERS, MAX_STRIKES, PlainTimes
from sandpiper.crypto.identity import Identity
from sandpiper.crypto.rooms import open_room, plain_author, plain_message
from sandpiper.net import p2pchat
from sandpiper.net.p2pchat import MAX_STRANGERS, PlainChat
from sandpiper.net.tcp import TcpPipe, listen
from sandpiper.node import Node, NodeNotice, NodeSettings, PlainMessage, PlainPeer
from sandpiper.store.reader import Reader
from sandpiper.wire.limits import MAX_LINE_BYTES, MAX_TEXT_CHARS
from sandpiper.wire.records import Text
from tests.oldpeer import Line, OldPeer, go_time

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

HOST = "127.0.0.1"
LOW, MIDDLE, HIGH = "0" * 32, "8" * 32, "f" * 32
WAIT = 10.0


class Watch:
    """Waits until something is true, looking again whenever something happened, and every now and then: not all that
    changes is told.
    """

    def __init__(self) -> None:
        self._happened = asyncio.Event()

    def happened(self) -> None:
        self._happened.set()

    async def until(self, true: Callable[[], object]) -> None:
        async with asyncio.timeout(WAIT):
            while not true():
                self._happened.clear()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(0.05):
                        await self._happened.wait()


class Us(Watch):
    """A `PlainChat` behind a port of its own, and what it told."""

    def __init__(self, peer_id: str, tasks: asyncio.TaskGroup, times: PlainTimes) -> None:
        super().__init__()
        self.said: list[tuple[bytes, bytes, str, int, str]] = []
        self.changes: list[tuple[bytes, str, bool]] = []
        self.ended = 0
        self._tasks = tasks
        self.chat = PlainChat(peer_id, "us", tasks, self._said, self._changed, times)

    @property
    def texts(self) -> list[str]:
        return [said[4] for said in self.said]

    def _said(self, *said: Any) -> None:
        self.said.append(said)
        self.happened()

    def _changed(self, *change: Any) -> None:
        self.changes.append(change)
        self.happened()

    def accept(self, pipe: TcpPipe) -> None:
        self._tasks.create_task(self._serve(pipe))

    async def _serve(self, pipe: TcpPipe) -> None:
        await self.chat.serve(pipe, await pipe.read())
        self.ended += 1
        self.happened()


@contextlib.asynccontextmanager
async def plain(peer_id: str = MIDDLE, **times: float) -> AsyncIterator[Us]:
    async with asyncio.TaskGroup() as tasks:
        us = Us(peer_id, tasks, PlainTimes(**times))
        listener = await listen(us.accept, range(1), (HOST,))
        us.chat.port = listener.port
        try:
            yield us
        finally:
            listener.close()
            await us.chat.close()


class Old(Watch):
    """The independent old peer; its threads wake our loop."""

    def __init__(self, peer_id: str, **options: Any) -> None:
        super().__init__()
        loop = asyncio.get_running_loop()

        def note(kind: str, message: dict[str, Any]) -> None:
            with contextlib.suppress(RuntimeError):  # the loop may be gone when it stops
                loop.call_soon_threadsafe(self.happened)

        self.peer = OldPeer("olga", peer_id, on_event=note, **({"multicast": None} | options))

    @property
    def texts(self) -> list[str]:
        return [message["content"] for message in self.peer.received]

    def incoming(self, kind: str) -> list[dict[str, Any]]:
        return [
            line.message for line in self.peer.lines if line.message and (line.direction, line.type) == ("in", kind)
        ]

    @override
    async def until(self, true: Callable[[], object]) -> None:
        assert await asyncio.to_thread(self.peer.wait_for, true, WAIT)

    async def linked(self, us: str) -> None:
        await self.until(lambda: self.peer.linked == [us])

    async def connect(self, us: Us) -> None:
        await asyncio.to_thread(self.peer.connect, HOST, us.chat.port)

    async def say(self, text: str) -> None:
        await asyncio.to_thread(self.peer.say, text)


@contextlib.asynccontextmanager
async def old(peer_id: str = HIGH, **options: Any) -> AsyncIterator[Old]:
    it = Old(peer_id, **options)
    await asyncio.to_thread(it.peer.start)
    try:
        yield it
    finally:
        await asyncio.to_thread(it.peer.stop)


class Raw:
    """A caller that sends whatever it likes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._sequence = 0

    def bytes(self, data: bytes) -> None:
        self._writer.write(data)

    def line(self, kind: str = "chat", content: str = "", **changes: Any) -> None:
        fields = {
            "id": f"raw-{self._sequence}",
            "type": kind,
            "sender_id": HIGH,
            "username": "raw",
            "content": content,
            "timestamp": go_time(time.time_ns()),
            "sequence": self._sequence,
            "room_id": "general",
        }
        self._sequence += 1
        self.bytes(json.dumps(fields | changes).encode() + b"\n")

    async def next(self) -> dict[str, Any] | None:
        async with asyncio.timeout(WAIT):
            try:
                got = await self._reader.readline()
            except ConnectionResetError:
                return None
        return json.loads(got) if got else None

    async def rest(self) -> list[dict[str, Any]]:
        """What still comes until the link is closed."""
        got = []
        while (line := await self.next()) is not None:
            got.append(line)
        return got

    def close(self) -> None:
        self._writer.transport.abort()


@contextlib.asynccontextmanager
async def raw(port: int, join: bool = True, **changes: Any) -> AsyncIterator[Raw]:
    caller = Raw(*await asyncio.open_connection(HOST, port))
    try:
        if join:
            caller.line("join", **changes)
            answer = await caller.next()
            assert answer is not None
            assert (answer["type"], answer["sequence"]) == ("join", 0)
        yield caller
    finally:
        caller.close()


# --- joining, talking, leaving --------------------------------------------------------------------------------------


async def chat_both_ways(us: Us, them: Old) -> None:
    await them.linked(us.chat.peer_id)
    await us.until(lambda: us.changes == [(plain_author(them.peer.peer_id), "olga", True)])
    us.chat.say("hello\nold world")
    await them.until(lambda: them.texts == ["hello\nold world"])
    before = time.time_ns() // 1_000_000
    sent = await asyncio.to_thread(them.peer.say, "hello\nnew <world>")
    await us.until(lambda: us.said)
    author, message, nick, time_ms, text = us.said[0]
    assert (author, message) == (plain_author(them.peer.peer_id), plain_message(them.peer.peer_id, sent["id"]))
    assert (nick, text) == ("olga", "hello\nnew <world>")
    assert before <= time_ms <= time.time_ns() // 1_000_000


async def test_the_smaller_id_dials_an_old_peer_and_they_talk():
    async with plain(LOW) as us, old(HIGH) as them:
        for _ in range(5):
            us.chat.found(HIGH, HOST, them.peer.port, "olga")
        await chat_both_ways(us, them)
        assert not them.peer.peers[LOW].dialled
        us.chat.found(HIGH, HOST, them.peer.port, "olga")
        us.chat.say("again")
        await them.until(lambda: len(them.texts) == 2)
        lines = [line for line in them.peer.lines if line.direction == "in"]
        assert [(line.type, line.message["sequence"]) for line in lines if line.message] == [
            ("join", 0),
            ("chat", 1),
            ("chat", 2),
        ]
        assert them.incoming("join")[0]["room_id"] == "general"
        assert them.peer.rejected.total() == 0


async def test_the_larger_id_waits_for_the_old_peer_to_dial():
    async with plain(HIGH) as us, old(LOW) as them:
        us.chat.found(LOW, HOST, them.peer.port, "olga")
        await them.connect(us)
        await chat_both_ways(us, them)
        assert them.peer.peers[HIGH].dialled
        assert len(them.incoming("join")) == 1
        assert them.peer.rejected.total() == 0


async def test_our_leave_is_understood():
    async with old(HIGH) as them:
        async with plain(LOW) as us:
            us.chat.found(HIGH, HOST, them.peer.port, "olga")
            await them.linked(LOW)
            await us.until(lambda: us.changes)
        await them.until(lambda: LOW not in them.peer.peers)
        assert len(them.incoming("leave")) == 1
        assert us.changes[-1] == (plain_author(HIGH), "olga", False)


async def beacons(us: Us, port: int, true: Callable[[], object]) -> None:
    """A beacon now and then, until something is true."""
    async with asyncio.timeout(WAIT):
        while not true():
            us.chat.found(HIGH, HOST, port, "olga")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.1):
                    await us.until(true)


@pytest.mark.parametrize("word", [True, False])
async def test_an_old_peer_that_leaves_or_vanishes_is_gone_and_may_come_back(word: bool):
    async with plain(LOW) as us:
        async with old(HIGH) as them:
            us.chat.found(HIGH, HOST, them.peer.port, "olga")
            await us.until(lambda: us.changes)
            await asyncio.to_thread(them.peer.stop, word)
            await us.until(lambda: us.changes[-1] == (plain_author(HIGH), "olga", False))
        async with old(HIGH) as again:
            await beacons(us, again.peer.port, lambda: len(us.changes) == 3)
            assert us.changes[-1] == (plain_author(HIGH), "olga", True)


async def test_a_leave_is_followed_by_the_end_of_the_link():
    async with plain() as us, raw(us.chat.port) as caller:
        caller.line("leave")
        caller.line(content="too late")
        assert await caller.rest() == []
        await us.until(lambda: us.ended)
        assert us.said == []


async def test_heartbeats_keep_a_silent_link():
    async with plain(LOW, heartbeat=0.05, silence=1.0) as us, old(HIGH, heartbeat_interval=0.1) as them:
        us.chat.found(HIGH, HOST, them.peer.port, "olga")
        await them.until(lambda: len(them.incoming("heartbeat")) >= 30)
        sequences = [line["sequence"] for line in them.incoming("heartbeat")]
        assert sequences == list(range(1, len(sequences) + 1))
        assert us.changes == [(plain_author(HIGH), "olga", True)]


async def test_a_new_nick_reaches_the_other_side_both_ways():
    async with plain(LOW) as us, old(HIGH) as them:
        us.chat.found(HIGH, HOST, them.peer.port, "olga")
        await them.linked(LOW)
        us.chat.nick = "renamed"
        await them.until(lambda: them.peer.peers[LOW].username == "renamed")
        them.peer.username = "olga2"
        await them.say("hi")
        await us.until(lambda: us.said)
        assert us.changes == [(plain_author(HIGH), "olga", True), (plain_author(HIGH), "olga2", True)]
        assert us.said[0][2] == "olga2"


async def test_the_longest_text_passes_whole():
    async with plain(LOW) as us, old(HIGH) as them:
        us.chat.found(HIGH, HOST, them.peer.port, "olga")
        await us.until(lambda: us.changes)
        us.chat.say("\U0001f426" * MAX_TEXT_CHARS)
        us.chat.say(" \n ")
        us.chat.say("end")
        await them.until(lambda: len(them.texts) == 2)
        assert them.texts[0] == "\U0001f426" * MAX_TEXT_CHARS
        assert them.peer.rejected.total() == 0


async def test_nobody_there_is_tried_again_later():
    async with plain(LOW) as us, old(HIGH) as them:
        listener = await listen(lambda pipe: pipe.abort(), range(1), (HOST,))
        us.chat.found(HIGH, HOST, listener.port, "olga")  # closes at once
        listener.close()
        await beacons(us, listener.port, lambda: not us.chat._dials)
        us.chat.found(HIGH, HOST, listener.port, "olga")  # nothing listens any more
        await beacons(us, them.peer.port, lambda: us.changes)
        assert us.changes == [(plain_author(HIGH), "olga", True)]


async def test_a_nick_that_changes_while_a_link_is_made_is_sent():
    pipes = asyncio.Queue[TcpPipe]()
    listener = await listen(pipes.put_nowait, range(1), (HOST,))
    async with asyncio.timeout(WAIT), plain(LOW, heartbeat=1000.0) as us:
        us.chat.found(HIGH, HOST, listener.port, "olga")
        pipe = await pipes.get()
        assert json.loads(await pipe.read())["username"] == "us"
        us.chat.nick = "renamed"
        pipe.write(json.dumps({"type": "join", "sender_id": HIGH}).encode() + b"\n")
        got = json.loads(await pipe.read())
        assert (got["type"], got["username"]) == ("heartbeat", "renamed")
        await pipe.close()
    listener.close()


async def test_somebody_else_than_the_beacon_said_is_refused():
    async with plain(LOW) as us, old(MIDDLE) as them:
        us.chat.found(HIGH, HOST, them.peer.port, "olga")
        await them.until(lambda: them.peer.rejected)
        refused = [line for line in them.peer.lines if line.refused]
        assert json.loads(refused[0].raw)["code"] == "wrong_peer"
        await them.until(lambda: not them.peer.linked)
        assert us.changes == []


# --- clocks ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dialler", [True, False])
async def test_times_are_mirrored_to_a_peer_that_writes_numbers(dialler: bool):
    mine, theirs = (LOW, HIGH) if dialler else (HIGH, LOW)
    async with plain(mine, heartbeat=0.1) as us, old(theirs, timestamps="unix") as them:
        if dialler:
            us.chat.found(theirs, HOST, them.peer.port, "olga")
        else:
            await them.connect(us)
        await chat_both_ways(us, them)
        # As the dialler we speak first, and cannot know yet how it writes times.
        assert them.peer.rejected == ({"line:timestamp": 1} if dialler else {})
        assert [line["sequence"] for line in them.incoming("join")] == [0]


@pytest.mark.parametrize("wrong", [-86_400.0, 86_400.0])
async def test_a_wrong_clock_hides_no_peer_and_old_messages_are_refused(wrong: float):
    async with plain(LOW) as us, old(HIGH, clock_offset=wrong, max_age=None) as them:
        us.chat.found(HIGH, HOST, them.peer.port, "olga")
        await them.linked(LOW)
        them.peer.clock_offset -= 31
        await them.say("old")
        them.peer.clock_offset += 31
        await them.say("new")
        await us.until(lambda: us.said)
        assert us.texts == ["new"]
        assert abs(us.said[0][3] - time.time_ns() // 1_000_000) < 60_000


# --- two links ------------------------------------------------------------------------------------------------------


async def test_the_link_that_the_smaller_id_dialled_stays():
    async with plain(LOW, linger=0.1) as us, old(HIGH) as them:
        us.chat.found(HIGH, HOST, them.peer.port, "olga")
        await them.linked(LOW)
        await them.connect(us)
        await us.until(lambda: us.ended)
        await chat_both_ways(us, them)
        assert not them.peer.peers[LOW].dialled
        assert len(us.said) == 1


async def test_a_second_link_from_the_same_side_takes_the_place_of_the_first():
    async with plain(LOW, linger=0.1) as us, raw(us.chat.port) as first, raw(us.chat.port) as second:
        first.line(content="still read", id="a")
        await us.until(lambda: us.texts == ["still read"])
        us.chat.say("where?")
        answer = await second.next()
        assert answer is not None
        assert answer["content"] == "where?"
        assert await first.rest() == []  # and no leave
        second.line(content="here", id="b")
        await us.until(lambda: len(us.said) == 2)
        assert us.changes == [(plain_author(HIGH), "raw", True)]


async def test_a_message_that_comes_twice_is_told_once():
    async with plain() as us, raw(us.chat.port) as caller:
        caller.line(content="one", id="7")
        caller.line(content="one", id="7")
        caller.line(content="two", id="8")
        await us.until(lambda: len(us.said) == 2)
        async with raw(us.chat.port) as again:
            again.line(content="one", id="7")
            again.line(content="three", id="9")
            await us.until(lambda: "three" in us.texts)
        assert us.texts == ["one", "two", "three"]
        times = [said[3] for said in us.said]
        assert times == sorted(set(times))


# --- hostile callers ------------------------------------------------------------------------------------------------


async def test_nobody_speaks_in_the_name_of_another():
    async with plain() as us, raw(us.chat.port) as caller:
        caller.line(content="I am olga", sender_id=LOW, username="olga")
        caller.line("leave", sender_id=LOW)
        caller.line(content="honest")
        await us.until(lambda: us.said)
        assert us.texts == ["honest"]
        assert us.changes == [(plain_author(HIGH), "raw", True)]


async def test_garbage_and_long_lines_are_refused_and_the_next_line_is_read():
    async with plain() as us, raw(us.chat.port) as caller:
        caller.bytes(b"\x00\xff nonsense\n\n\r\n{}\n[1]\n" + b"x" * 3 * MAX_LINE_BYTES + b"\n")
        caller.bytes(b'{"type":"error","code":"who","text":"knows"}\n')
        caller.line("dance", sequence=-1)
        caller.line("dance")
        caller.line(content="\x1b[31mred", username="e\u202evil")
        await us.until(lambda: us.said)
        assert us.texts == ["␛[31mred"]
        assert us.said[0][2] == "evil"


async def test_too_much_garbage_ends_the_link_with_one_clear_line():
    async with plain() as us, raw(us.chat.port) as caller:
        caller.bytes(b"nonsense\n" * MAX_STRIKES)
        got = await caller.rest()
        assert [(line["type"], line["code"]) for line in got] == [("error", "too_many_errors")]
        await us.until(lambda: us.changes[-1][2] is False)


@pytest.mark.parametrize(
    ("first", "code"),
    [(b"{", "not_identified"), (b'{"type":"chat"}\n', "not_identified"), (b"{\n" * MAX_STRIKES, "too_many_errors")],
)
async def test_who_does_not_identify_is_told_so_and_closed(first: bytes, code: str):
    async with plain(identify=0.2) as us, raw(us.chat.port, join=False) as caller:
        caller.bytes(first)
        assert [line["code"] for line in await caller.rest()] == [code]
        await us.until(lambda: us.ended)
        assert us.changes == []


async def test_our_own_id_is_refused():
    async with plain(HIGH) as us, raw(us.chat.port, join=False) as caller:
        caller.line("join")
        assert [line["code"] for line in await caller.rest()] == ["self"]
        assert us.changes == []


async def test_a_silent_peer_is_closed():
    async with plain(silence=0.3) as us, raw(us.chat.port) as caller:
        assert await caller.rest() == []
        await us.until(lambda: us.changes[-1] == (plain_author(HIGH), "raw", False))


async def test_a_hundred_callers_that_say_nothing_do_not_disturb_a_link():
    async with plain(LOW, identify=1.0) as us, old(HIGH) as them:
        us.chat.found(HIGH, HOST, them.peer.port, "olga")
        await them.linked(LOW)
        async with contextlib.AsyncExitStack() as stack:
            callers = [await stack.enter_async_context(raw(us.chat.port, join=False)) for _ in range(100)]
            for caller in callers:
                caller.bytes(b"{")
            await chat_both_ways(us, them)
            codes = [line["code"] for caller in callers for line in await caller.rest()]
        assert codes.count("full") == 100 - MAX_STRANGERS
        assert codes.count("not_identified") == MAX_STRANGERS
        await us.until(lambda: us.ended == 100)
        async with raw(us.chat.port, sender_id=MIDDLE):
            await us.until(lambda: len(us.changes) == 2)


async def test_there_are_never_too_many_peers():
    async with plain() as us, contextlib.AsyncExitStack() as stack:
        for i in range(MAX_PEERS):
            await stack.enter_async_context(raw(us.chat.port, sender_id=f"peer-{i}"))
        async with raw(us.chat.port, join=False) as caller:
            caller.line("join", sender_id="one more")
            assert [line["code"] for line in await caller.rest()] == ["full"]
        assert len(us.changes) == MAX_PEERS


async def test_a_peer_that_reads_nothing_is_closed_and_memory_stays_bounded():
    async with plain() as us, raw(us.chat.port) as caller:
        caller._reader._transport.pause_reading()  # type: ignore[attr-defined]
        for _ in range(2000):
            us.chat.say("x" * MAX_TEXT_CHARS)
            if us.changes[-1][2] is False:
                break
            await asyncio.sleep(0)
        assert us.changes[-1] == (plain_author(HIGH), "raw", False)


async def test_a_flood_is_slowed_down_and_nothing_of_it_is_lost(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(p2pchat, "PUSH_RATE", 100.0)
    monkeypatch.setattr(p2pchat, "PUSH_BURST", 10.0)
    monkeypatch.setattr(core, "OLD_SECONDS", 0.2)  # the wait is ours: it makes nothing old
    async with plain() as us, raw(us.chat.port) as caller:
        begun = time.monotonic()
        for i in range(60):
            caller.line(content=str(i))
        await us.until(lambda: len(us.said) == 60)
        assert us.texts == [str(i) for i in range(60)]
        assert time.monotonic() - begun >= 0.5


async def test_a_flood_does_not_delay_our_end(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(p2pchat, "PUSH_BURST", 1.0)
    async with plain() as us, raw(us.chat.port) as caller:
        for i in range(1000):
            caller.line(content=str(i))
        await us.until(lambda: us.said)
        begun = time.monotonic()
        await us.chat.close()
        await us.until(lambda: us.ended)
        assert time.monotonic() - begun < 3.0


# --- a whole node ---------------------------------------------------------------------------------------------------


class Running(Watch):
    """A node on loopback, and what it told."""

    def __init__(self, folder: Path, name: str, group: str, *, on: bool = True, peers: tuple[int, ...] = ()) -> None:
        super().__init__()
        self.notices: list[NodeNotice] = []
        self.path = folder / f"{name}.db"
        address, _, port = group.partition(":")
        self.node = Node(
            Identity(name.encode().ljust(32)),
            name,
            self.path,
            NodeSettings(
                ports=range(1),
                hosts=(HOST,),
                group=address,
                group_port=int(port),
                interfaces=("lo",),
                plain=on,
                peers=tuple((HOST, peer) for peer in peers),
            ),
        )
        self.node.subscribe(self._told)

    def _told(self, notice: NodeNotice) -> None:
        self.notices.append(notice)
        self.happened()

    @property
    def heard(self) -> list[PlainMessage]:
        return [notice for notice in self.notices if isinstance(notice, PlainMessage)]


def endpoint(group: str) -> tuple[str, int]:
    address, _, port = group.partition(":")
    return address, int(port)


@pytest.mark.parametrize("timestamps", ["rfc3339", "unix"])
@pytest.mark.parametrize("theirs", [LOW, HIGH])
async def test_a_node_and_an_old_peer_find_each_other_and_talk(
    tmp_path: Path, multicast: str, theirs: str, timestamps: str
):
    general = open_room("general")
    us = Running(tmp_path, "us", multicast)
    async with (
        us.node as node,
        old(theirs, multicast=endpoint(multicast), timestamps=timestamps, beacon_interval=0.1) as them,
    ):
        node.join("general")
        await us.until(lambda: PlainPeer(plain_author(theirs), "olga", True) in us.notices)
        ours = node.key.hex()[:32]
        await them.linked(ours)
        assert them.peer.peers[ours].dialled == (theirs < ours)
        node.post(general, Text("from the new"))
        node.post(general, Text("waves", action=True))
        await them.until(lambda: them.texts == ["from the new", "* us waves"])
        await them.say("from the old")
        await us.until(lambda: us.heard)
        message = us.heard[0]
        assert (message.room, message.author, message.nick) == (general, plain_author(theirs), "olga")
        with Reader(us.path) as reader:
            rows = {row.text: row.plain for row in reader.page(general)}
        assert rows == {"from the new": False, "waves": False, "from the old": True}
        node.set_presence("us2")
        await them.until(lambda: them.peer.peers[ours].username == "us2")
        if timestamps == "rfc3339":
            assert them.peer.rejected.total() == 0


async def test_what_old_peers_say_is_kept_but_goes_to_no_native_peer(tmp_path: Path, multicast: str):
    general = open_room("general")
    us, third = Running(tmp_path, "us", multicast), Running(tmp_path, "third", multicast, on=False)
    async with us.node as node, third.node as other, old(HIGH, multicast=None) as them:
        node.join("general")
        other.join("general")
        await us.until(lambda: other.key in node.members(general))
        await asyncio.to_thread(them.peer.connect, HOST, node.port)
        await them.linked(node.key.hex()[:32])
        await them.say("only for you")
        await us.until(lambda: us.heard)
        node.post(general, Text("after it"))
        await third.until(lambda: other.members(general) and len(texts(third.path)) == 1)
        assert texts(third.path) == ["after it"]
        assert texts(us.path) == ["only for you", "after it"]
        assert third.heard == []
        assert not any(isinstance(notice, PlainPeer) for notice in third.notices)
        linked = {notice.peer for notice in us.notices if isinstance(notice, PeerChanged)}
        assert linked == {other.key}


def texts(path: Path) -> list[str]:
    with Reader(path) as reader:
        return [row.text for row in reader.page(open_room("general"))]


async def test_a_node_that_leaves_says_so(tmp_path: Path, multicast: str):
    us = Running(tmp_path, "us", multicast)
    async with old(HIGH, multicast=endpoint(multicast), beacon_interval=0.1) as them:
        async with us.node as node:
            ours = node.key.hex()[:32]
            await them.linked(ours)
        await them.until(lambda: ours not in them.peer.peers)
        assert len(them.incoming("leave")) == 1

        def left(line: Line) -> bool:
            return (line.direction, line.type, line.peer_id) == ("in", "leave", ours)

        await them.until(lambda: any(left(line) for line in them.peer.datagrams))


async def test_without_the_dialect_a_caller_gets_one_clear_line(tmp_path: Path, multicast: str):
    us = Running(tmp_path, "us", multicast, on=False)
    async with us.node as node, raw(node.port, join=False) as caller:
        caller.line("join")
        (answer,) = await caller.rest()
        assert (answer["type"], answer["code"]) == ("error", "plain_refused")
        assert "--compat p2pchat" in answer["text"]


async def test_without_the_dialect_an_old_peer_is_not_dialled(tmp_path: Path, multicast: str):
    us = Running(tmp_path, "us", multicast, on=False)
    options: dict[str, Any] = {"multicast": endpoint(multicast), "beacon_interval": 0.1}
    async with us.node as node, old(HIGH, **options) as them, old(LOW, **options) as other:
        ours = node.key.hex()[:32]
        await them.until(lambda: ours in them.peer.peers)
        await other.until(lambda: any(line.refused for line in other.peer.lines))
        await them.linked(LOW)  # by now the node would have dialled, too
        assert not any(isinstance(notice, PlainPeer) for notice in us.notices)
