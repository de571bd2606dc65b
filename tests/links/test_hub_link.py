"""Our side of a hub's connection over real sockets: real hubs, tunnels that misbehave, certificates, founding servers.

Everything stays on 127.0.0.1.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import ipaddress
import json
import random
import socket
import ssl
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from sandpiper.core.hubevents import HubDown, HubHeard, HubNote, HubNotice, HubRoomIn, HubUnsent, HubUp
from sandpiper.core.hubgreeting import Signer
from sandpiper.core.hubguest import HubGuest
from sandpiper.crypto.identity import Identity
from sandpiper.errors import DialFailed, LinkLost, RemoteProtocolError, StoreError, TrustError, UsageError
from sandpiper.hub.history import MemoryHistory
from sandpiper.hub.limits import ChatSettings, Pace
from sandpiper.hub.serving import ChatServer, serve_chat
from sandpiper.net.hub import MAX_ANSWER_BYTES, SYSTEM, HubAddress, HubLink, LineCutter, dial_hub, parse_hub
from sandpiper.testing.conformance import until
from sandpiper.wire.hub.answers import Said

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

HOST = "127.0.0.1"
FAST = Pace(1e9, 1e9)
SETTINGS = ChatSettings(id=bytes(range(32)), guest_pace=FAST, address_pace=FAST, room_pace=FAST)


class Ours:
    """A guest of ours on a link of its own, with all that it told."""

    def __init__(self, port: int, nick: str, key: int = 0, rooms: tuple[str, ...] = ("lobby",)) -> None:
        identity = Identity(bytes([key]) * 32) if key else None
        signer = Signer(identity.key, identity.sign) if identity is not None else None
        loop = asyncio.get_running_loop()
        self.guest = HubGuest(nick, random.Random(nick), loop.time(), signer=signer)
        for room in rooms:
            self.guest.join(room)
        self.told: list[HubNotice] = []
        self.link = HubLink(HubAddress(HOST, port), self.guest, self.told.append)

    def say(self, text: str, room: str = "lobby") -> None:
        self.guest.say(room, text)
        self.link.carry_out()

    def texts(self, room: str = "lobby") -> list[str]:
        heard = (one for one in self.told if isinstance(one, HubHeard) and one.room == room)
        return [one.kept.text for one in heard if isinstance(one.kept, Said)]

    async def inside(self) -> Ours:
        await until(lambda: any(room.inside for room in self.guest.rooms.values()), f"{self.guest.nick} to come in")
        return self


@contextlib.asynccontextmanager
async def guests(*them: Ours) -> AsyncIterator[None]:
    async with asyncio.TaskGroup() as tasks:
        for one in them:
            tasks.create_task(one.link.run())
        try:
            yield
        finally:
            for one in them:
                one.link.close()


@contextlib.asynccontextmanager
async def hub(history: MemoryHistory | None = None, port: int = 0) -> AsyncIterator[ChatServer]:
    server = await serve_chat(HOST, port, SETTINGS, history or MemoryHistory())
    try:
        yield server
    finally:
        await server.aclose()


def kill(server: ChatServer) -> None:
    """As if the process had died: nobody is told, nothing more is written."""
    assert server._server is not None
    server._server.close()
    for connection in tuple(server.connections):
        connection.abort()


class Tunnel:
    """Passes bytes on as a bad tunnel does: late, in odd pieces, not at all for a while, and cut without a word."""

    def __init__(self, to: int, rng: random.Random) -> None:
        self.port = 0
        self.to = to
        self.delay = 0.0
        self.open = asyncio.Event()
        self.open.set()
        self._rng = rng
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Tunnel:
        self._server = await asyncio.start_server(self._accept, HOST, 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        self.cut()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def cut(self) -> None:
        for writer in tuple(self._writers):
            writer.transport.abort()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(self._both(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _both(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            with contextlib.suppress(OSError):
                far_reader, far_writer = await asyncio.open_connection(HOST, self.to)
                self._writers.add(far_writer)
                try:
                    await asyncio.gather(self._pass(reader, far_writer), self._pass(far_reader, writer))
                finally:
                    self._writers.discard(far_writer)
                    far_writer.transport.abort()
        finally:
            self._writers.discard(writer)
            writer.transport.abort()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while chunk := await reader.read(self._rng.randint(1, 3000)):
            if self.delay:
                await asyncio.sleep(self.delay * self._rng.random())
            await self.open.wait()
            writer.write(chunk)
            await writer.drain()
        writer.transport.abort()


# ---------------------------------------------------------------- real hubs


async def test_two_of_us_chat():
    async with hub() as server:
        alice, bob = Ours(server.port, "alice"), Ours(server.port, "bob")
        async with guests(alice, bob):
            await alice.inside()
            await bob.inside()
            alice.say("hi")
            await until(lambda: bob.texts() == ["hi"], "bob to hear it")
            bob.say("hello")
            await until(lambda: alice.texts() == ["hi", "hello"], "alice to hear it")
            await until(lambda: set(alice.guest.rooms["lobby"].members) == {"alice", "bob"}, "the list of members")


async def test_a_hub_that_is_killed_and_started_again_under_load_loses_and_doubles_nothing():
    history = MemoryHistory()
    server = await serve_chat(HOST, 0, SETTINGS, history)
    port = server.port
    alice, bob = Ours(port, "alice", key=1), Ours(port, "bob", key=2)
    said: list[str] = []
    async with guests(alice, bob):
        await alice.inside()
        await bob.inside()
        for life in range(3):
            for number in range(300):
                for who in (alice, bob):
                    said.append(f"{who.guest.nick} {life} {number}")
                    who.say(said[-1])
                if number % 30 == 0:
                    await asyncio.sleep(0)
            await until(lambda goal=life: len(alice.texts()) > goal * 600 + 100, "some of it to arrive")  # type: ignore[misc]
            kill(server)
            await server.aclose()
            server = await serve_chat(HOST, port, SETTINGS, history)
        await until(lambda: not alice.guest.unsaid.count() and not bob.guest.unsaid.count(), "all to be taken")
        await until(lambda: len(alice.texts()) == len(bob.texts()) == len(said), "all to arrive")
        assert alice.texts() == bob.texts()
        assert sorted(alice.texts()) == sorted(said)
        for nick in ("alice", "bob"):
            mine = [text for text in alice.texts() if text.startswith(nick)]
            assert mine == [text for text in said if text.startswith(nick)], "each in the order in which it was said"
        assert not any(isinstance(one, HubUnsent) for one in (*alice.told, *bob.told))
    await server.aclose()


@pytest.mark.parametrize("seed", range(3))
async def test_a_tunnel_that_stalls_cuts_and_delays_loses_and_doubles_nothing(seed: int):
    rng = random.Random(seed)
    async with hub() as server, Tunnel(server.port, rng) as tunnel:
        alice, bob = Ours(tunnel.port, "alice", key=1), Ours(server.port, "bob", key=2)
        async with guests(alice, bob):
            await alice.inside()
            await bob.inside()
            tunnel.delay = 0.002
            for number in range(200):
                alice.say(f"a{number}")
                bob.say(f"b{number}")
                if number % 40 == 10:
                    tunnel.open.clear()
                    await asyncio.sleep(0.02)
                    if number % 80 == 10:
                        tunnel.cut()
                    tunnel.open.set()
                elif number % 40 == 30:
                    tunnel.cut()
                await asyncio.sleep(0.001)
            tunnel.delay = 0.0
            await until(lambda: len(alice.texts()) >= 400 and len(bob.texts()) >= 400, "all to arrive")
            assert alice.texts() == bob.texts()
            for letter in "ab":
                assert [text for text in bob.texts() if text[0] == letter] == [f"{letter}{n}" for n in range(200)]


async def test_several_hubs_at_once_do_not_mix():
    async with hub() as one, hub() as two:
        alices = [Ours(server.port, "alice") for server in (one, two)]
        bobs = [Ours(server.port, "bob") for server in (one, two)]
        async with guests(*alices, *bobs):
            for who in (*alices, *bobs):
                await who.inside()
            for number, alice in enumerate(alices):
                alice.say(f"on hub {number}")
            await until(lambda: all(bob.texts() for bob in bobs), "both to hear")
            assert [bob.texts() for bob in bobs] == [["on hub 0"], ["on hub 1"]]


async def test_a_hub_that_is_not_there_yet_is_found_when_it_comes():
    async with hub() as server:
        port = server.port
    alice = Ours(port, "alice")
    async with guests(alice):
        await until(lambda: any(isinstance(one, HubDown) for one in alice.told), "the first try to fail")
        alice.say("early")
        async with hub(port=port):
            await until(lambda: alice.texts() == ["early"], "the hub to be found")


async def test_a_locked_room_that_a_busy_hub_refused_is_entered_when_it_has_time(monkeypatch: pytest.MonkeyPatch):
    async with hub() as server:
        monkeypatch.setattr("sandpiper.hub.locks.MAX_LOCKS", 0)
        alice = Ours(server.port, "alice", rooms=("lobby",))
        async with guests(alice):
            await alice.inside()
            alice.guest.join("den", "swan")
            alice.link.carry_out()
            await until(lambda: server.house.counts.errors["busy"], "the refusal")
            assert not alice.guest.rooms["den"].inside
            monkeypatch.undo()
            await until(lambda: alice.guest.rooms["den"].inside, "the room")
            assert not any(isinstance(one, HubNote) for one in alice.told)


async def test_leaving_sends_what_was_said_last():
    async with hub() as server:
        alice, bob = Ours(server.port, "alice"), Ours(server.port, "bob")
        async with guests(bob):
            await bob.inside()
            async with guests(alice):
                await alice.inside()
                alice.say("bye")
            await until(lambda: bob.texts() == ["bye"], "the last words")


# ---------------------------------------------------------------- a founding server


class Founding:
    """The founding project's server, as its protocol is described and no more."""

    def __init__(self) -> None:
        self.port = 0
        self.lines: list[dict[str, Any]] = []
        self._nicks: dict[asyncio.StreamWriter, str] = {}
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Founding:
        self._server = await asyncio.start_server(self._serve, HOST, 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        self.cut()

    def cut(self) -> None:
        for writer in tuple(self._nicks):
            writer.transport.abort()

    def _all(self, line: dict[str, Any], but: asyncio.StreamWriter | None = None) -> None:
        for writer in self._nicks:
            if writer is not but:
                writer.write(json.dumps(line).encode() + b"\n")

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        def answer(line: dict[str, Any]) -> None:
            writer.write(json.dumps(line).encode() + b"\n")

        self._nicks[writer] = f"anon-{len(self._nicks) + 1000}"
        with contextlib.suppress(OSError):
            while raw := await reader.readline():
                line = json.loads(raw)
                self.lines.append(line)
                match line:
                    case {"type": "nick", "nick": str(nick)} if nick in self._nicks.values():
                        answer({"type": "error", "text": f"{nick} is taken; how about {nick}_?"})
                    case {"type": "nick", "nick": str(nick)}:
                        self._nicks[writer] = nick
                        answer({"type": "nick", "text": f"nick set to {nick}", "ts": 1735812345.5})
                        self._all({"type": "notice", "text": f"{nick} joined", "ts": 1735812345}, writer)
                    case {"type": "msg", "text": str(text)}:
                        self._all({"type": "msg", "nick": self._nicks[writer], "text": text, "ts": 1735812345})
                    case _:
                        answer({"type": "error", "text": f"unknown type {line.get('type')}"})
        nick = self._nicks.pop(writer)
        self._all({"type": "notice", "text": f"{nick} left", "ts": 1735812345})
        writer.close()


async def test_a_founding_server_works_with_us():
    async with Founding() as server:
        alice, other = Ours(server.port, "alice", rooms=("lobby", "dev")), Ours(server.port, "alice")
        async with guests(alice):
            await alice.inside()
            async with guests(other):
                await other.inside()
                assert (alice.guest.nick, other.guest.nick) == ("alice", "alice2")
                alice.say("hi")
                other.say("hello")
                await until(lambda: len(alice.texts()) == len(other.texts()) == 2, "both to hear both")
                assert not alice.guest.unsaid.count()
                up = next(one for one in alice.told if isinstance(one, HubUp))
                assert up.founding
                server.cut()
                await until(lambda: sum(isinstance(one, HubRoomIn) for one in alice.told) == 2, "alice to come again")
                alice.say("again")
                await until(lambda: alice.texts()[-1] == "again", "the old server to go on")
        assert {line["type"] for line in server.lines} == {"hello", "nick", "msg"}
        assert all(set(line) == {"type", "text"} for line in server.lines if line["type"] == "msg")


# ---------------------------------------------------------------- TLS


class Certificate:
    """A certificate that signs itself, in files, and its fingerprint."""

    def __init__(self, folder: Path, name: str) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        now = datetime.datetime.now(datetime.UTC)
        made = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(HOST))]), critical=False)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(key, hashes.SHA256())
        )
        self.fingerprint = made.fingerprint(hashes.SHA256()).hex()
        self.file = folder / f"{name}.pem"
        self.file.write_bytes(
            made.public_bytes(serialization.Encoding.PEM)
            + key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )

    def context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.file)
        return context


@contextlib.asynccontextmanager
async def tls_hub(certificate: Certificate) -> AsyncIterator[int]:
    async with hub() as server:
        loop = asyncio.get_running_loop()
        listener = await loop.create_server(server.connection, HOST, 0, ssl=certificate.context())
        try:
            yield listener.sockets[0].getsockname()[1]
        finally:
            listener.close()


async def test_a_certificate_that_signs_itself_is_remembered_and_no_other_is_taken(tmp_path: Path):
    one, other = Certificate(tmp_path, "one"), Certificate(tmp_path, "other")
    async with tls_hub(one) as port, tls_hub(other) as elsewhere:
        pipe = await dial_hub(HubAddress(HOST, port, tls=True))
        assert pipe.trust == one.fingerprint
        pipe.abort()
        pipe = await dial_hub(HubAddress(HOST, port, tls=True), pipe.trust)
        pipe.write(b'{"type":"hello"}\n')
        assert json.loads((await pipe.read())[0])["type"] == "hello"
        await pipe.close()
        with pytest.raises(TrustError) as told:
            await dial_hub(HubAddress(HOST, elsewhere, tls=True), one.fingerprint)
        assert other.fingerprint in str(told.value)
        with pytest.raises(TrustError):
            await dial_hub(parse_hub(f"tls://{HOST}:{port}#sha256:{other.fingerprint}"), one.fingerprint)
        (await dial_hub(parse_hub(f"tls://{HOST}:{port}#{one.fingerprint}"), other.fingerprint)).abort()


async def test_a_hub_that_had_a_good_certificate_is_not_taken_with_one_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    good, bad = Certificate(tmp_path, "good"), Certificate(tmp_path, "bad")
    monkeypatch.setenv("SSL_CERT_FILE", str(good.file))  # what the system trusts
    async with tls_hub(good) as port, tls_hub(bad) as elsewhere:
        pipe = await dial_hub(HubAddress(HOST, port, tls=True))
        assert pipe.trust == SYSTEM
        pipe.abort()
        with pytest.raises(TrustError):
            await dial_hub(HubAddress(HOST, elsewhere, tls=True), SYSTEM)


async def test_a_wrong_certificate_ends_the_guest_and_says_so(tmp_path: Path):
    async with tls_hub(Certificate(tmp_path, "one")) as port:
        alice = Ours(port, "alice")
        trusted: list[tuple[HubAddress, str]] = []
        alice.link = HubLink(
            HubAddress(HOST, port, tls=True),
            alice.guest,
            alice.told.append,
            lambda place, trust: trusted.append((place, trust)),
            lambda place: (b"", "00" * 32),
        )
        async with guests(alice):
            await until(lambda: alice.guest.phase == "over", "it to end")
        assert not trusted
        assert "certificate" in next(one for one in alice.told if isinstance(one, HubDown)).reason


async def test_of_several_places_one_with_another_certificate_is_passed_over_and_told(tmp_path: Path):
    one, other = Certificate(tmp_path, "one"), Certificate(tmp_path, "other")
    async with tls_hub(one) as bad, tls_hub(other) as good:
        alice = Ours(bad, "alice")
        address = parse_hub(f"tls://{HOST}:{bad},{HOST}:{good}#{other.fingerprint}")
        alice.link = HubLink(address, alice.guest, alice.told.append)
        async with guests(alice):
            await alice.inside()
            assert alice.link.place.port == good
        (note,) = (note for note in alice.told if isinstance(note, HubNote))
        assert note.refused
        assert f"{HOST}:{bad} has another certificate" in note.text
        assert [one.reason for one in alice.told if isinstance(one, HubDown)] == ["You have left it."]


async def test_when_all_places_have_another_certificate_it_ends(tmp_path: Path):
    async with tls_hub(Certificate(tmp_path, "one")) as one, tls_hub(Certificate(tmp_path, "two")) as two:
        alice = Ours(one, "alice")
        address = parse_hub(f"tls://{HOST}:{one},{HOST}:{two}#{'00' * 32}")
        alice.link = HubLink(address, alice.guest, alice.told.append)
        async with guests(alice):
            await until(lambda: alice.guest.phase == "over", "it to end")


async def test_a_disk_that_fails_at_a_redial_ends_nothing():
    async with hub() as server:
        alice = Ours(server.port, "alice")
        fails = [True]

        def known(place: HubAddress) -> tuple[bytes, str]:
            if fails:
                fails.pop()
                raise StoreError("The disk cannot be read.")
            return b"", ""

        alice.link = HubLink(HubAddress(HOST, server.port), alice.guest, alice.told.append, known=known)
        async with guests(alice):
            await alice.inside()
        assert any(isinstance(one, HubDown) and "disk" in one.reason for one in alice.told)


async def test_an_address_of_a_name_that_leads_nowhere_costs_a_moment_only(monkeypatch: pytest.MonkeyPatch):
    loop = asyncio.get_running_loop()
    real = loop.sock_connect

    async def getaddrinfo(host: str, port: int, **_: Any) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (where, port)) for where in ("127.0.0.2", HOST)]

    async def sock_connect(sock: socket.socket, address: Any) -> None:
        if address[0] != HOST:
            await asyncio.sleep(3600)  # as a network that drops everything
        await real(sock, address)

    monkeypatch.setattr(loop, "getaddrinfo", getaddrinfo)
    monkeypatch.setattr(loop, "sock_connect", sock_connect)
    async with hub() as server, asyncio.timeout(5):
        (await dial_hub(HubAddress("hub.example", server.port))).abort()


async def test_ports_that_speak_something_else_are_told_as_what_they_are(tmp_path: Path):
    async with hub() as server:
        with pytest.raises(DialFailed):
            await dial_hub(HubAddress(HOST, server.port, tls=True))
    with pytest.raises(DialFailed, match="nothing listens"):
        await dial_hub(HubAddress(HOST, server.port))


# ---------------------------------------------------------------- lines and addresses


def test_lines_come_out_whole_however_they_were_cut():
    text = b"".join(b'{"n":%d}\r\n\n' % number for number in range(100))
    for size in (1, 2, 7, 64, len(text)):
        cutter = LineCutter()
        lines = [line for at in range(0, len(text), size) for line in cutter.feed(text[at : at + size])]
        assert [json.loads(line)["n"] for line in lines] == list(range(100))


def test_a_line_without_end_is_not_collected_for_ever():
    cutter = LineCutter()
    half = bytes(MAX_ANSWER_BYTES // 2)
    assert cutter.feed(half) == cutter.feed(half) == []
    with pytest.raises(RemoteProtocolError):
        cutter.feed(b"x")


async def test_a_pipe_that_ends_says_so():
    async with hub() as server:
        pipe = await dial_hub(HubAddress(HOST, server.port))
        kill(server)
        with pytest.raises(LinkLost):
            await pipe.read()
        pipe.abort()


ADDRESSES: list[tuple[str, HubAddress]] = [
    ("hub.example", HubAddress("hub.example", 5000)),
    ("Hub.Example:6000", HubAddress("hub.example", 6000)),
    ("hub://hub.example:6000/", HubAddress("hub.example", 6000)),
    ("tls://hub.example", HubAddress("hub.example", 5000, tls=True)),
    ("[::1]:7000", HubAddress("::1", 7000)),
    ("hub.example#sha256:" + "aB" * 32, HubAddress("hub.example", 5000, tls=True, pin="ab" * 32)),
    ("hub.example#key:" + "aB" * 32, HubAddress("hub.example", 5000, key=bytes.fromhex("ab" * 32))),
    ("tls://hub.example:1#" + ":".join(["AB"] * 32), HubAddress("hub.example", 1, tls=True, pin="ab" * 32)),
]


@pytest.mark.parametrize(("text", "address"), ADDRESSES)
def test_addresses_are_read_as_people_write_them(text: str, address: HubAddress):
    assert parse_hub(text) == address
    assert parse_hub(str(address)) == address._replace(pin="", key=b"")


@pytest.mark.parametrize(
    "text", ["", "http://x", "hub.example:0", "hub.example#nonsense", "hub.example#key:ab", "a b", "ws://hub.example"]
)
def test_what_is_no_address_is_refused(text: str):
    with pytest.raises(UsageError):
        parse_hub(text)
