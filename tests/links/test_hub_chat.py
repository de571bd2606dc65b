"""The hub's chat over real sockets: founding programs, `nc`, ours, and everything that hostile guests try.

Everything stays on 127.0.0.1.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import gc
import json
import socket
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from typing_extensions import override

from sandpiper.crypto.identity import Identity
from sandpiper.hub.chat import Connection, address_of
from sandpiper.hub.history import MemoryHistory
from sandpiper.hub.limits import MAX_BACKLOG_BYTES, MAX_STRIKES, ChatSettings, Pace, Times
from sandpiper.hub.serving import ChatServer, serve_chat
from sandpiper.testing.conformance import until
from sandpiper.wire.limits import MAX_LINE_BYTES

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

HOST = "127.0.0.1"
WAIT = 10.0
FAST = Pace(1e9, 1e9)
SETTINGS = ChatSettings(guest_pace=FAST, address_pace=FAST, room_pace=FAST)

Line = dict[str, Any]


class Program:
    """A guest's program, written from the protocol's page: a socket, lines of JSON."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def send(self, *lines: Line | bytes) -> None:
        self.writer.write(b"".join(_raw(line) for line in lines))

    async def line(self) -> Line:
        async with asyncio.timeout(WAIT):
            raw = await self.reader.readline()
        assert raw.endswith(b"\n"), "the hub has closed"
        line = json.loads(raw)
        assert isinstance(line, dict)
        return line

    async def next(self, kind: str) -> Line:
        """The next line of this kind; others are passed over."""
        while True:
            line = await self.line()
            if line["type"] == kind:
                return line

    async def ask(self, line: Line, kind: str) -> Line:
        self.send(line)
        return await self.next(kind)

    async def nick(self, nick: str) -> None:
        assert (await self.ask({"type": "nick", "nick": nick}, "nick"))["text"] == f"nick set to {nick}"

    async def texts(self, count: int) -> list[str]:
        return [(await self.next("msg"))["text"] for _ in range(count)]

    async def end(self) -> list[Line]:
        """Everything until the hub closes."""
        async with asyncio.timeout(WAIT):
            try:
                rest = await self.reader.read()
            except ConnectionError:
                return []
        return [json.loads(raw) for raw in rest.splitlines()]

    def close(self) -> None:
        self.writer.close()


def _raw(line: Line | bytes) -> bytes:
    return line if isinstance(line, bytes) else json.dumps(line).encode() + b"\n"


class Hub:
    """A hub on a port, and programs that are closed with it."""

    def __init__(self, server: ChatServer, stack: contextlib.AsyncExitStack) -> None:
        self.server = server
        self._stack = stack

    async def program(self, nick: str = "") -> Program:
        program = Program(*await asyncio.open_connection(HOST, self.server.port, limit=1 << 24))
        self._stack.callback(program.close)
        if nick:
            await program.nick(nick)
        return program

    async def modern(self, nick: str, *rooms: str) -> Program:
        """One that says hello, and joins these rooms."""
        program = await self.program()
        await program.ask({"type": "hello", "v": 1}, "hello")
        await program.nick(nick)
        for room in rooms:
            await program.ask({"type": "join", "room": room}, "joined")
        return program


@contextlib.asynccontextmanager
async def hub(settings: ChatSettings = SETTINGS, history: MemoryHistory | None = None) -> AsyncIterator[Hub]:
    async with contextlib.AsyncExitStack() as stack:
        server = await serve_chat(HOST, 0, settings, history or MemoryHistory())
        stack.push_async_callback(server.aclose)
        yield Hub(server, stack)


def hurried(**times: float) -> ChatSettings:
    return msgspec.structs.replace(SETTINGS, times=Times(**{"sweep": 0.02, **times}))


# ---------------------------------------------------------------- the founding protocol


async def test_two_founding_programs_chat():
    async with hub() as there:
        alice, bob = await there.program(), await there.program()
        alice.send({"type": "nick", "nick": "alice"})
        assert (await alice.line())["text"] == "nick set to alice"
        notice = await bob.line()
        assert (notice["type"], notice["text"], type(notice["ts"])) == ("notice", "alice joined", int)
        bob.send({"type": "nick", "nick": "bob"})
        assert (await bob.line())["text"] == "nick set to bob"
        assert (await alice.line())["text"] == "bob joined"
        alice.send({"type": "msg", "text": "hi"})
        for program in (alice, bob):
            said = await program.line()
            assert (said["type"], said["nick"], said["text"], type(said["ts"])) == ("msg", "alice", "hi", int)
        bob.close()
        assert (await alice.line())["text"] == "bob left"


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
async def test_a_person_with_nc_can_take_part(end: bytes):
    async with hub() as there:
        alice, nc = await there.program("alice"), await there.program()
        for piece in (b'{"type":', b'"nick","nick":"nick"}' + end + b'{"type":"msg"', b',"text":"hi"}', end, end):
            nc.send(piece)
            await nc.writer.drain()
        said = await alice.next("msg")
        assert (said["nick"], said["text"]) == ("nick", "hi")
        nc.send(b"how does this work?" + end)
        error = await nc.next("error")
        assert error["code"] == "not_json"
        nc.send(b'{"type":"msg","text":"ah"}' + end)
        assert (await alice.next("msg"))["text"] == "ah"


async def test_lines_piped_in_before_the_end_of_input_are_all_said():
    async with hub() as there:
        alice = await there.program("alice")
        with socket.create_connection((HOST, there.server.port)) as pipe:
            pipe.sendall(b'{"type":"msg","text":"one"}\n{"type":"msg","text":"two"}\n{"type":"msg","text":"no end')
            pipe.shutdown(socket.SHUT_WR)
            assert await alice.texts(2) == ["one", "two"]
            loop = asyncio.get_running_loop()
            pipe.setblocking(False)
            heard = b""
            while chunk := await loop.sock_recv(pipe, 1000):
                heard += chunk
            assert [json.loads(line)["text"] for line in heard.splitlines()][-2:] == ["one", "two"]


async def test_bytes_that_were_read_before_belong_to_the_connection():
    async with hub() as there:
        alice = await there.program("alice")
        ours, theirs = socket.socketpair()
        loop = asyncio.get_running_loop()
        await loop.create_connection(lambda: there.server.connection(b'{"type":"msg","te'), sock=ours)
        with theirs:
            theirs.sendall(b'xt":"sniffed"}\n')
            assert await alice.texts(1) == ["sniffed"]


# ---------------------------------------------------------------- ours on top


async def test_whoever_lost_its_connection_loses_no_message_and_doubles_none():
    async with hub() as there:
        alice, bob = await there.modern("alice", "dev"), await there.program()
        await bob.ask({"type": "hello"}, "hello")
        joined = await bob.ask({"type": "join", "room": "dev"}, "joined")
        alice.send(*({"type": "msg", "room": "dev", "text": f"{n}"} for n in range(500)))
        said = [await bob.next("msg") for _ in range(200)]
        bob.writer.transport.abort()
        alice.send(*({"type": "msg", "room": "dev", "text": f"{n}", "client_id": f"c{n}"} for n in range(500, 1000)))
        await alice.texts(700)
        alice.writer.transport.abort()  # it has not seen that the last 300 were taken
        alice, bob = await there.modern("alice2"), await there.modern("bob")
        await until(lambda: there.server.house.guests.find("alice") is None, "the end of the lost connection")
        await alice.nick("alice")
        await alice.ask({"type": "join", "room": "dev"}, "joined")
        alice.send(*({"type": "msg", "room": "dev", "text": f"{n}", "client_id": f"c{n}"} for n in range(700, 1100)))
        bob.send({"type": "join", "room": "dev", "epoch": joined["epoch"], "since": said[-1]["seq"]})
        said += [await bob.next("msg") for _ in range(900)]
        assert [line["text"] for line in said] == [f"{n}" for n in range(1100)]
        assert [line["seq"] for line in said] == list(range(1, 1101))
        assert [(await alice.next("ack"))["seq"] for _ in range(300)] == list(range(701, 1001))


async def test_a_taken_nick_is_refused_and_a_key_gets_its_own_back():
    key = Identity(bytes(32))
    history = MemoryHistory()
    for again in (False, True):
        async with hub(SETTINGS, history) as there:
            program, other = await there.program(), await there.program()
            if again:
                error = await other.ask({"type": "nick", "nick": "alice"}, "error")
                assert (error["code"], error["suggestion"]) == ("nick_taken", "alice2")
            else:
                await program.nick("alice")
            shown = base64.b64encode(key.key).decode()
            challenge = await program.ask({"type": "auth", "key": shown}, "challenge")
            signed = b"sandpiper hub auth 1\0" + bytes(32) + base64.b64decode(challenge["nonce"])
            proof = {"type": "auth", "key": shown, "signature": base64.b64encode(key.sign(signed)).decode()}
            assert (await program.ask(proof, "auth"))["nicks"] == ["alice"]
            await program.nick("alice")


async def test_rooms_with_passwords_and_their_operators():
    async with hub() as there:
        alice, bob = await there.modern("alice"), await there.modern("bob")
        assert (await alice.ask({"type": "join", "room": "dev", "password": "swan"}, "joined"))["operator"]
        assert (await bob.ask({"type": "join", "room": "dev", "password": "goose"}, "error"))[
            "code"
        ] == "wrong_password"
        await bob.ask({"type": "join", "room": "dev", "password": "swan"}, "joined")
        await alice.next("notice")
        alice.send({"type": "kick", "room": "dev", "nick": "bob", "reason": "noise"})
        assert (await bob.next("left"))["text"] == "alice has put you out of dev: noise"
        alice.send({"type": "msg", "room": "dev", "text": "quiet now"})
        page = await alice.ask({"type": "history", "room": "dev"}, "history")
        assert [line["text"] for line in page["messages"]] == ["quiet now"]


# ---------------------------------------------------------------- hostile input


BAD = [
    (b"\xff\xfe\xfd\n", "not_json"),
    (b'{"type":"msg","text":"\xc3\x28"}\n', "not_utf8"),
    (b'{"type":"msg","text":"x","y":' + b"[" * 60_000 + b"]}\n", "nested_too_deep"),
    (b'{"type":"msg","text":"x","reply_to":' + b"9" * 60_000 + b"}\n", "not_valid"),
    (b'{"type":"msg","text":"x","reply_to":1e999999999}\n', "not_valid"),
    (b'{"type":"msg","text":"' + b"x" * (MAX_LINE_BYTES + 1 - 25) + b'"}\n', "line_too_long"),
    (b"x" * 500_000 + b"\n", "line_too_long"),
    (bytes(range(11, 128)) + b"\n", "not_json"),
    (b'{"type":"shutdown"}\n', "unknown_type"),
]


@pytest.mark.parametrize(("raw", "code"), BAD, ids=range(len(BAD)))
async def test_a_bad_line_is_answered_and_the_next_one_is_read(raw: bytes, code: str):
    async with hub() as there:
        alice, eve = await there.program("alice"), await there.program()
        eve.send(raw, {"type": "msg", "text": "after"})
        errors = []
        while (line := await eve.line())["type"] != "msg":
            errors += [line["code"]] if line["type"] == "error" else []
        assert (errors, line["text"]) == ([code], "after"), "one error for one line"
        assert await alice.texts(1) == ["after"]


async def test_a_line_of_exactly_64_kib_is_read():
    async with hub() as there:
        alice = await there.program("alice")
        alice.send(b'{"type":"msg","text":"' + b"x" * 16_000 + b'"' + b" " * (MAX_LINE_BYTES - 16_025) + b"}\n")
        assert await alice.texts(1) == ["x" * 16_000]


async def test_twenty_bad_lines_end_a_connection_and_no_other():
    async with hub() as there:
        alice, eve = await there.program("alice"), await there.program("eve")
        assert (await alice.next("notice"))["text"] == "eve joined"
        eve.send(b"what?\n" * (MAX_STRIKES + 5), {"type": "msg", "text": "too late"})
        lines = await eve.end()
        assert [line["code"] for line in lines if line["type"] == "error"] == ["not_json"] * 19 + ["too_many_errors"]
        assert (await alice.next("notice"))["text"] == "eve left"
        await alice.ask({"type": "msg", "text": "still here"}, "msg")


@pytest.mark.parametrize("drip", [b"{", b"x" * (MAX_LINE_BYTES + 1)], ids=["short", "long"])
async def test_a_line_that_never_ends_is_not_waited_for(drip: bytes):
    async with hub(hurried(half_line=0.1)) as there:
        slow = await there.program()
        slow.send(drip)
        end = asyncio.create_task(slow.end())
        while not end.done():
            slow.send(b" ")
            await asyncio.sleep(0.01)
        assert end.result()[-1]["code"] == "half_line"


async def test_a_line_that_we_did_not_read_on_is_not_late(monkeypatch: pytest.MonkeyPatch):
    looks = 0

    def looking(connection: Connection, *args: Any) -> None:
        nonlocal looks
        looks += 1
        look(connection, *args)

    look = Connection.look
    monkeypatch.setattr(Connection, "look", looking)
    slow = msgspec.structs.replace(hurried(half_line=1.0), guest_pace=Pace(5, 5))
    async with hub(slow) as there:
        fast = await there.program()
        fast.send(*[{"type": "ping", "n": 1}] * 12, b'{"type":"ping",')  # more than a second's worth beyond what it may
        for _ in range(12):
            await fast.next("pong")
        before = looks
        await until(lambda: looks > before + 2, "the hub to look whether it is late")
        fast.send(b'"n":2}\n')
        assert (await fast.next("pong"))["n"] == 2


async def test_a_program_that_answers_pings_stays_and_one_that_does_not_goes():
    async with hub(hurried(ping=0.05, silence=0.3)) as there:
        good, dead = await there.modern("good", "lobby"), await there.modern("dead", "lobby")
        old = await there.program("old")
        while True:
            line = await good.line()
            if line["type"] == "ping":
                good.send({"type": "pong", "n": line["n"]})
            if line.get("left") == ["dead"]:
                break
        ends = await dead.end()
        assert [line["type"] for line in ends][-1] == "error"
        await old.ask({"type": "msg", "text": "founding programs are not pinged"}, "msg")


async def test_a_guest_that_never_reads_is_cut_and_nobody_else_loses_anything():
    async with hub() as there:
        deaf = socket.socket()
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        deaf.connect((HOST, there.server.port))
        alice, bob = await there.program("alice"), await there.program("bob")
        await until(lambda: len(there.server.connections) == 3, "three guests")
        text = "x" * 10_000
        count = 3 * MAX_BACKLOG_BYTES // len(text)

        async def listen(program: Program) -> list[int]:
            return [(await program.next("msg"))["seq"] for _ in range(count)]

        async with asyncio.TaskGroup() as tasks:
            heard = [tasks.create_task(listen(program)) for program in (alice, bob)]
            for _ in range(count // 20):
                alice.send(*[{"type": "msg", "text": text}] * 20)
                await alice.writer.drain()
            alice.send(*[{"type": "msg", "text": text}] * (count % 20))
        for task in heard:
            assert task.result() == list(range(1, count + 1))
        assert len(there.server.connections) == 2
        deaf.close()


async def test_a_guest_that_is_too_fast_waits_and_loses_nothing():
    settings = msgspec.structs.replace(SETTINGS, guest_pace=Pace(2000, 50))
    async with hub(settings) as there:
        fast, bob = await there.program(), await there.program("bob")
        start = asyncio.get_running_loop().time()
        fast.send(*({"type": "msg", "text": f"{n}"} for n in range(1000)))
        assert await bob.texts(1000) == [f"{n}" for n in range(1000)]
        assert asyncio.get_running_loop().time() - start > 0.4, "1,000 at 2,000 a second"


async def test_senders_wait_while_the_history_is_behind():
    class Slow(MemoryHistory):
        late = True

        @property
        @override
        def behind(self) -> bool:
            return self.late

    history = Slow()
    async with hub(SETTINGS, history) as there:
        alice = await there.program()
        alice.send({"type": "msg", "text": "one"})
        assert await alice.texts(1) == ["one"]
        assert all(one._held is not None for one in there.server.connections)
        alice.send({"type": "msg", "text": "two"})
        assert await alice.texts(1) == ["two"], "later, but it comes"
        history.late = False
        alice.send({"type": "msg", "text": "three"})
        assert await alice.texts(1) == ["three"]


async def test_connections_are_capped_with_a_reason():
    settings = msgspec.structs.replace(SETTINGS, connections=3, connections_an_address=2, loopback_counts=True)
    async with hub(settings) as there:
        alice = await there.program("alice")
        await there.program("bob")
        refused = await there.program()
        assert (await refused.end())[0]["text"] == "There are too many connections from your address."
        await alice.ask({"type": "msg", "text": "still here"}, "msg")


async def test_a_hub_that_closes_says_so_and_sends_what_was_said():
    async with contextlib.AsyncExitStack() as stack:
        server = await serve_chat(HOST, 0, SETTINGS, MemoryHistory())
        there = Hub(server, stack)
        alice, bob = await there.program("alice"), await there.program("bob")
        await alice.next("notice")
        alice.send({"type": "msg", "text": "last words"})
        await alice.next("msg")
        await server.aclose()
        lines = await bob.end()
        assert [line.get("text") for line in lines][-2:] == ["last words", "The hub is closing; come back in a while."]
        assert not server.connections
        with pytest.raises(OSError):  # noqa: PT011 - nobody listens there now
            await there.program()


async def test_nothing_is_left_of_guests_that_have_gone():
    def connections() -> int:
        gc.collect()
        return sum(isinstance(one, Connection) for one in gc.get_objects())

    async with hub() as there:
        counts = []
        for _ in range(10):
            crowd = [socket.create_connection((HOST, there.server.port)) for _ in range(50)]
            for number, guest in enumerate(crowd):
                guest.sendall(b'{"type":"nick","nick":"n%d"}\n{"type":"join","room":"r%d"}\n' % (number, number % 5))
            await until(lambda: len(there.server.connections) == 50 and len(there.server.house.rooms) == 6, "the crowd")
            for guest in crowd:
                guest.close()
            await until(lambda: not there.server.connections, "their end")
            await asyncio.sleep(0)
            counts.append((connections(), len(there.server.house.guests), len(there.server.house.rooms)))
        # The loop itself may still name the last one.
        assert all(count in ((0, 0, 1), (1, 0, 1)) for count in counts), counts


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("192.0.2.7", "192.0.2.7"), ("::ffff:192.0.2.7", "192.0.2.7"), ("2001:db8::1:2:3:4", "2001:db8::/64"),
        ("fe80::1%eth0", "fe80::/64"), ("127.0.0.1", ""), ("::1", ""), ("::ffff:127.0.0.1", ""), ("", ""),
    ],
)  # fmt: skip
def test_limits_count_addresses_by_household(host: str, address: str):
    assert address_of(host, loopback_counts=False) == address
