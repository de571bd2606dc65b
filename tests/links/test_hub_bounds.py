"""What one guest, or a mistake of ours, can take from the others: over real sockets, on 127.0.0.1."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import sys
import threading
from typing import TYPE_CHECKING

import msgspec
import pytest
from typing_extensions import override

from sandpiper.errors import LinkError
from sandpiper.hub import backlogs, chat, pace, searching
from sandpiper.hub.history import MemoryHistory
from sandpiper.hub.limits import MAX_BACKLOG_BYTES, MAX_READ_BYTES, MAX_STRIKES, Pace
from sandpiper.hub.listener import Listener
from sandpiper.hub.searching import look_through
from sandpiper.hub.serve import Hub as Served
from sandpiper.hub.serving import serve_chat
from sandpiper.hub.settings import HubSettings, LoadedHub
from sandpiper.testing.conformance import until
from sandpiper.wire.hub.lines import decode_chunk
from tests.links.test_hub_chat import HOST, SETTINGS, Hub, Program, hub, hurried

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from sandpiper.hub.history import Batch, Found, LinesBefore

MIB = 1 << 20
TEXT = "x" * 15_000


@contextlib.asynccontextmanager
async def deaf(there: Hub, nick: str) -> AsyncIterator[socket.socket]:
    """A guest that takes no more than its system does, and its socket."""
    with socket.socket() as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        one.connect((HOST, there.server.port))
        one.sendall(json.dumps({"type": "nick", "nick": nick}).encode() + b"\n")
        await until(lambda: there.server.house.guests.find(nick) is not None, nick)
        yield one


def waiting(there: Hub, nick: str) -> int:
    guest = there.server.house.guests.find(nick)
    assert guest is not None
    assert isinstance(guest.outlet, chat.Connection)
    return guest.outlet.measure()


async def fill(there: Hub, program: Program, nick: str, size: int) -> None:
    """Say so much in the lobby that about so many bytes wait for `nick`."""
    while waiting(there, nick) < size:
        await program.ask({"type": "msg", "text": TEXT}, "msg")


async def everything(sock: socket.socket) -> list[bytes]:
    """The lines that come until the hub closes."""
    sock.setblocking(False)
    heard = b""
    async with asyncio.timeout(10):
        while piece := await asyncio.get_running_loop().sock_recv(sock, 1 << 20):
            heard += piece
    return heard.splitlines()


# ---------------------------------------------------------------- what is not taken


async def test_of_what_all_leave_untaken_the_most_goes_first(monkeypatch: pytest.MonkeyPatch):
    async with hub() as there, deaf(there, "most"):
        server, alice = there.server, await there.program("alice")
        await fill(there, alice, "most", 2 * MIB)
        async with deaf(there, "some"), deaf(there, "more"):
            limit = server.backlogs.total + MIB
            for module in (chat, backlogs):
                monkeypatch.setattr(module, "MAX_BACKLOGS_BYTES", limit)
            while server.house.guests.find("most") is not None:
                assert waiting(there, "most") < limit + 2 * len(TEXT) < MAX_BACKLOG_BYTES
                await alice.ask({"type": "msg", "text": TEXT}, "msg")
            assert server.house.guests.find("some") is not None
            assert server.house.guests.find("more") is not None
            for connection in server.connections:
                connection.measure()
            assert server.backlogs.total <= limit
            assert server.backlogs.total == sum(connection.backlog for connection in server.connections)
        await until(lambda: len(server.connections) == 1, "the end of the others")
        assert server.backlogs.total == 0


async def test_whoever_takes_nothing_for_long_is_cut():
    async with hub(hurried(untaken=0.2)) as there:
        alice = await there.program("alice")
        async with deaf(there, "deaf"):
            with contextlib.suppress(AssertionError):  # it may be gone before
                await fill(there, alice, "deaf", MIB)
            await until(lambda: there.server.house.guests.find("deaf") is None, "its end")
            while (await alice.next("notice"))["text"] != "deaf left (too slow)":
                pass


async def test_a_reason_that_waits_is_told_also_if_the_end_of_input_is_older():
    async with hub() as there:
        alice = await there.program("alice")
        async with deaf(there, "eve") as eve:
            await fill(there, alice, "eve", MIB)
            eve.sendall(b"what?\n" * MAX_STRIKES)
            eve.shutdown(socket.SHUT_WR)
            await until(lambda: there.server.house.guests.find("eve") is None, "the cut")
            await asyncio.sleep(0.1)
            assert json.loads((await everything(eve))[-1])["code"] == "too_many_errors"


async def test_a_hub_that_closes_says_so_to_those_who_are_sending():
    slow = msgspec.structs.replace(SETTINGS, guest_pace=Pace(5, 5))
    server = await serve_chat(HOST, 0, slow, MemoryHistory())
    with socket.create_connection((HOST, server.port)) as busy:
        busy.setblocking(False)
        lines = b'{"type":"msg","text":"%s"}\n' % (b"x" * 1000) * 200
        await asyncio.get_running_loop().sock_sendall(busy, lines)  # most of it stays unread
        await until(lambda: any(one._held for one in server.connections), "a guest that is not read")
        await server.aclose()
        assert json.loads((await everything(busy))[-1])["code"] == "closing"


# ---------------------------------------------------------------- who only listens


async def test_whoever_only_listens_stays_and_is_noticed_when_its_machine_vanishes():
    async with hub(hurried(ping=0.05, silence=0.1)) as there:
        silent, alice = await there.program(), await there.program("alice")
        await asyncio.sleep(0.3)
        for connection in there.server.connections:
            assert connection._transport is not None
            sock = connection._transport.get_extra_info("socket")
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            if hasattr(socket, "TCP_KEEPIDLE"):
                idle = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE)
                every = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL)
                tries = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT)
                assert idle + every * tries == 120
        alice.send({"type": "msg", "text": "you heard that"})
        assert await silent.texts(1) == ["you heard that"]


# ---------------------------------------------------------------- who is too fast


async def test_whoever_comes_and_goes_all_the_time_has_to_wait_and_nobody_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    async def greeting(source: str) -> dict[str, object]:
        reader, writer = await asyncio.open_connection(HOST, there.listener.port, local_addr=(source, 0))
        writer.write(b'{"type":"ping","n":1}\n')
        line = json.loads(await reader.readline())
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
        assert isinstance(line, dict)
        return line

    monkeypatch.setattr(pace, "ARRIVALS", Pace(0.001, 5))
    there = served(tmp_path, port=0, count_loopback=True)
    await there.start()
    try:
        for _ in range(5):
            assert (await greeting(HOST))["type"] == "pong"
        answer = await greeting(HOST)
        assert (answer["type"], answer["code"]) == ("error", "full")
        assert "your address" in str(answer["text"])
        others = sys.platform == "linux"  # where this machine has more than one address of its own
        if others:
            assert (await greeting("127.0.0.2"))["type"] == "pong"
        there.listener._arrivals.forget(there._chat.now().mono)
        assert len(there.listener._arrivals) == 1 + others, "until they may come as before"
        there.listener._arrivals.forget(there._chat.now().mono + 10_000)
        assert not len(there.listener._arrivals)
    finally:
        await there.aclose()


async def test_lines_that_wait_are_decoded_once(monkeypatch: pytest.MonkeyPatch):
    decoded: list[int] = []

    def counting(chunk: bytes, most_bad: int) -> object:
        decoded.append(chunk.count(b"\n"))
        return decode_chunk(chunk, most_bad)

    monkeypatch.setattr(chat, "decode_chunk", counting)
    async with hub(msgspec.structs.replace(SETTINGS, guest_pace=Pace(1000, 50))) as there:
        fast = await there.program()
        fast.send(*({"type": "msg", "text": f"{n}"} for n in range(500)))
        assert await fast.texts(500) == [f"{n}" for n in range(500)]
    assert sum(decoded) == 500


async def test_blank_lines_are_read_no_faster_than_others():
    slow = msgspec.structs.replace(SETTINGS, guest_pace=Pace(0.001, 5))
    async with hub(slow) as there:
        program, counts = await there.program(), there.server.house.counts
        program.send(b"\n" * 8 * MIB)
        await until(lambda: bool(there.server.connections), "it to be in")
        [one] = there.server.connections
        await until(lambda: one._held is not None or counts.bytes_read == 8 * MIB, "it to be too fast")
        assert counts.bytes_read <= 6 * MAX_READ_BYTES
        assert one.guest is not None
        assert not one.guest.strikes, "that is no fault"


async def test_many_who_are_too_fast_together_look_again_one_by_one(monkeypatch: pytest.MonkeyPatch):
    looks = 0

    def counting(connection: chat.Connection) -> None:
        nonlocal looks
        looks += 1
        go_on(connection)

    go_on = chat.Connection._go_on
    monkeypatch.setattr(chat.Connection, "_go_on", counting)
    settings = msgspec.structs.replace(SETTINGS, address_pace=Pace(50, 50), loopback_counts=True)
    async with hub(settings) as there:
        crowd = [await there.program() for _ in range(40)]
        for one in crowd:
            one.send(*[{"type": "ping", "n": 1}] * 20)
        await until(lambda: sum(one._held is not None for one in there.server.connections) > 30, "they wait")
        looks = 0
        await asyncio.sleep(1)
        assert 0 < looks < 60, "50 a second in lots of five, and some that had begun before"


async def test_who_searches_in_memory_keeps_nobody_from_talking(monkeypatch: pytest.MonkeyPatch):
    talked = threading.Event()
    waited: list[bool] = []

    def slowly(raws: list[bytes], words: str, before: int, limit: int) -> Found:
        waited.append(talked.wait(10))
        return look_through(raws, words, before, limit)

    monkeypatch.setattr(searching, "look_through", slowly)
    async with hub() as there:
        eve, alice = await there.program("eve"), await there.program("alice")
        await alice.ask({"type": "msg", "text": "needle"}, "msg")
        eve.send({"type": "find", "text": "needle"})
        await until(lambda: there.server._recalls == 1, "the search")
        await alice.ask({"type": "msg", "text": "hay"}, "msg")
        talked.set()
        found = await eve.next("found")
        assert [line["text"] for line in found["messages"]] == ["needle"]
    assert waited == [True]


# ---------------------------------------------------------------- the end of input


class Slow(MemoryHistory):
    """Takes its time for a page."""

    @override
    async def read(self, room: str, epoch: str, before: int, limit: int) -> LinesBefore:
        await asyncio.sleep(0.3)
        return await super().read(room, epoch, before, limit)


@pytest.mark.parametrize(
    ("lines", "kind"),
    [
        (b'{"type":"msg","text":"hi"}\n{"type":"history"}\n', "history"),
        (b'{"type":"join","room":"dev","password":"swan"}\n', "joined"),
    ],
)
async def test_what_is_piped_in_is_answered_before_the_end_however_long_it_takes(lines: bytes, kind: str):
    async with hub(SETTINGS, Slow()) as there:
        with socket.create_connection((HOST, there.server.port)) as pipe:
            pipe.sendall(lines)
            pipe.shutdown(socket.SHUT_WR)
            assert json.loads((await everything(pipe))[-1])["type"] == kind


class Gated(MemoryHistory):
    """Gives a page when the test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.gate: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @override
    async def read(self, room: str, epoch: str, before: int, limit: int) -> LinesBefore:
        await self.gate
        return await super().read(room, epoch, before, limit)


async def test_an_answer_that_comes_in_the_very_turn_in_which_the_connection_would_close_is_told():
    history = Gated()
    async with hub(SETTINGS, history) as there:
        server = there.server
        with socket.create_connection((HOST, server.port)) as pipe:
            pipe.sendall(b'{"type":"history"}\n')
            await until(lambda: server._recalls == 1, "the page is asked for")
            (connection,) = server.connections
            # First the connection looks whether it may close, then the page comes: both in the next turn of the loop.
            asyncio.get_running_loop().call_soon(connection.eof_received)
            history.gate.set_result(None)
            assert json.loads((await everything(pipe))[-1])["type"] == "history"


# ---------------------------------------------------------------- mistakes of ours


class Broken(MemoryHistory):
    """Fails as no history should."""

    @override
    async def read(self, room: str, epoch: str, before: int, limit: int) -> LinesBefore:
        raise ZeroDivisionError

    @override
    def append(self, batch: Batch) -> None:
        raise ZeroDivisionError


async def test_a_mistake_in_one_task_or_effect_is_logged_and_ends_nothing_else(caplog: pytest.LogCaptureFixture):
    async with hub(SETTINGS, Broken()) as there:
        alice = await there.program("alice")
        for _ in range(2):
            assert (await alice.ask({"type": "history"}, "error"))["code"] == "busy"
        await alice.ask({"type": "msg", "text": "still here"}, "msg")
        await alice.ask({"type": "who"}, "who")
        assert not there.server.life.done()
    assert "history cannot be read, by a mistake of ours" in caplog.text
    assert "Keep was not carried out" in caplog.text


async def test_a_guest_that_cannot_be_written_to_ends_alone(caplog: pytest.LogCaptureFixture):
    async with hub() as there:
        alice, bob, carol = await there.program("alice"), await there.program("bob"), await there.program("carol")
        broken = there.server.house.guests.find("bob")
        assert broken is not None
        assert isinstance(broken.outlet, chat.Connection)
        broken.outlet._fd = "nowhere"  # type: ignore[assignment]
        alice.send({"type": "msg", "text": "hi"})
        assert await alice.texts(1) == await carol.texts(1) == ["hi"]
        await bob.end()
    assert "is not written to any more" in caplog.text


# ---------------------------------------------------------------- the start


def served(tmp_path: Path, **settings: object) -> Served:
    loaded = LoadedHub(HubSettings(host=(HOST,), no_history=True, **settings), "")  # type: ignore[arg-type]
    return Served(loaded, tmp_path, lambda: loaded)


async def test_nobody_comes_in_before_all_is_ready(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    async def opening(listener: Listener, *args: object, **more: object) -> None:
        assert not listener.life.done()
        assert listener.chat._life is not None, "the chat is there"
        await opened(listener, *args, **more)  # type: ignore[arg-type]

    opened = Listener.open
    monkeypatch.setattr(Listener, "open", opening)
    there = served(tmp_path, port=0)
    await there.start()
    assert there._chat.life in there.lives, "without the chat there is no hub"
    await there.aclose()
    assert all(life.done() for life in there.lives)


async def test_when_the_port_is_taken_nothing_is_left(tmp_path: Path):
    with socket.create_server((HOST, 0)) as other:
        there = served(tmp_path, port=other.getsockname()[1])
        with pytest.raises(LinkError):
            await there.start()
    assert all(life.done() for life in there.lives)
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_settings_that_take_a_restart_change_nothing_before_it(tmp_path: Path):
    there = served(tmp_path, port=0)
    await there.start()
    try:
        fresh = msgspec.structs.replace(there.settings, tls="self-signed", tls_only=True, roles=("relay",), motd="new")
        there._read_again = lambda: LoadedHub(fresh, "swan")
        there.reload()
        front = there.listener.front
        assert (front.tls, front.tls_only, front.chat) == (None, False, True)
        assert (front.motd, front.password) == ("new", "swan")
    finally:
        await there.aclose()
