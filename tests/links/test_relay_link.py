"""Our own side of the rendezvous and the relay: every way there, restarts, several relays, and links over bridges."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
from typing import TYPE_CHECKING, Any

import pytest

from sandpiper.core.rendezvous import (
    Came,
    CodeExpired,
    DialNow,
    Offline,
    Online,
    Refused,
    Registered,
    RoomMade,
    SignalCame,
    nat_kind,
)
from sandpiper.crypto.identity import Identity
from sandpiper.errors import ConfigError, DialFailed, LinkError, TrustError
from sandpiper.net import rendezvous
from sandpiper.net.proxies import Proxy, proxy_for
from sandpiper.net.relays import NoRelay, RelayAddress, Way, first_relay, open_way, parse_relay
from sandpiper.net.rendezvous import NoBridge, bridge, new_token, observe
from sandpiper.net.secure import accept_secure, dial_secure
from sandpiper.testing.conformance import until
from sandpiper.wire.rendezvous import Candidate
from tests.relayed import Relayed, free_port, friend, no_proxy
from tests.served import HOST

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

ALICE, BOB = Identity(bytes(range(32))), Identity(bytes(range(32, 64)))


@pytest.fixture(scope="module")
def relay(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Relayed]:
    with Relayed(tmp_path_factory.mktemp("relay"), "--tls", "self-signed") as served:
        yield served
        served.unharmed()


def address(relay: Relayed, kind: str = "tcp") -> RelayAddress:
    pin = f"#{relay.pin}" if kind in ("tls", "wss") else ""
    return parse_relay(f"{kind}://{HOST}:{relay.port}{pin}")


KINDS = ("tcp", "tls", "ws", "wss")


class HttpProxy:
    """A forward proxy that knows CONNECT, and whom it let through."""

    def __init__(self, login: str = "") -> None:
        self.asked: list[str] = []
        self.login = login
        self._serving: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)

    async def aclose(self) -> None:
        """Cut everybody, and wait until nothing of them is left."""
        for writer in self._writers:
            writer.transport.abort()
        await asyncio.gather(*self._serving, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        self.asked.append(head)
        if self.login and f"Proxy-Authorization: Basic {self.login}\r\n" not in head:
            writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n")
            writer.close()
            return
        host, port = head.split()[1].rsplit(":", 1)
        far_reader, far_writer = await asyncio.open_connection(host, int(port))
        self._writers.add(far_writer)
        writer.write(b"HTTP/1.1 200 Connection established\r\nVia: test\r\n\r\n")

        async def pass_on(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
            with contextlib.suppress(OSError):
                while chunk := await source.read(65536):
                    target.write(chunk)
                    await target.drain()
            target.close()

        await asyncio.gather(pass_on(reader, far_writer), pass_on(far_reader, writer))


@contextlib.asynccontextmanager
async def proxied(login: str = "") -> AsyncIterator[tuple[HttpProxy, int]]:
    proxy = HttpProxy(login)
    server = await asyncio.start_server(proxy.accept, HOST, 0)
    try:
        yield proxy, server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await proxy.aclose()


async def linked(where: RelayAddress) -> None:
    """Two peers link through a bridge there, and send a megabyte each way."""
    token = new_token()
    near, far = await asyncio.gather(bridge(where, token, no_proxy), bridge(where, token, no_proxy))
    one, other = await asyncio.gather(dial_secure(near, ALICE), accept_secure(far, BOB))
    assert (one.peer, other.peer) == (BOB.key, ALICE.key)
    frames = [os.urandom(250_000) for _ in range(4)]
    for frame in frames:
        assert one.offer(frame)
        assert other.offer(frame)
    for link in (one, other):
        assert [await link.receive() for _ in frames] == frames
    await asyncio.gather(one.close(), other.close())


# ---------------------------------------------------------------- every way there


@pytest.mark.parametrize("kind", KINDS)
async def test_peers_meet_and_link_over_every_kind_of_way(relay: Relayed, kind: str) -> None:
    where = address(relay, kind)
    async with friend(where) as alice, friend(where) as bob:
        alice.wish(lambda guest: guest.create_room())
        code = (await alice.hears(RoomMade)).code
        alice.wish(lambda guest: guest.register(code, keep=True))
        await alice.hears(Registered, room=code)
        bob.wish(lambda guest: guest.register(code))
        his = await bob.hears(Registered)
        assert len(his.peers) == 1
        await alice.hears(Came, peer=his.me)
        bob.wish(lambda guest: guest.signal(his.peers[0], b"sealed"))
        assert (await alice.hears(SignalCame)).data == b"sealed"
        alice.wish(lambda guest: guest.coordinate(his.me, [Candidate("192.0.2.1", 1)]))
        bob.wish(lambda guest: guest.coordinate(his.peers[0], []))
        start = (await bob.hears(DialNow, candidates=(Candidate("192.0.2.1", 1),))).start_at
        assert abs(start - (await alice.hears(DialNow)).start_at) < 0.1, "both start at one moment"
    await linked(where)


@pytest.mark.parametrize("kind", KINDS)
async def test_every_way_goes_through_a_proxy(
    relay: Relayed, kind: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    async with proxied("YWxpY2U6c3dhbiBsYWtl") as (proxy, port):
        monkeypatch.setenv("ALL_PROXY", f"http://alice:swan%20lake@{HOST}:{port}")
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        found = proxy_for(HOST)
        assert found is not None
        assert "YWxp" not in repr(found)
        seen = await observe(address(relay, kind))
        assert seen.relay
        assert proxy.asked[0].startswith(f"CONNECT {HOST}:{relay.port} HTTP/1.1\r\n")
        with pytest.raises(DialFailed, match="wants a name and a password"):
            await open_way(address(relay, kind), Proxy(HOST, port, "d3Jvbmc="))
    assert "swan" not in caplog.text
    assert "YWxp" not in caplog.text


def test_hosts_are_left_out_of_the_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example:3128")
    monkeypatch.setenv("NO_PROXY", "other.example, .inside.example,127.0.0.1")
    assert proxy_for("relay.example") == Proxy("proxy.example", 3128)
    for host in ("other.example", "a.inside.example", "127.0.0.1"):
        assert proxy_for(host) is None
    monkeypatch.setenv("HTTPS_PROXY", "socks5://alice:secret@proxy.example")
    with pytest.raises(ConfigError) as caught:
        proxy_for("relay.example")
    assert "secret" not in caught.value.sentence()


async def test_a_certificate_that_is_not_the_pinned_one_ends_it(relay: Relayed) -> None:
    where = address(relay, "tls")
    with pytest.raises(TrustError, match="another certificate"):
        await open_way(where._replace(pin="00" * 32))
    with pytest.raises(TrustError, match="not vouched for"):
        await open_way(where._replace(pin=""))


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("relay.example", RelayAddress("relay.example", 8000)),
        ("2.tcp.ngrok.io:17465", RelayAddress("2.tcp.ngrok.io", 17465)),
        ("tls://Relay.example", RelayAddress("relay.example", 443, "tls")),
        ("wss://relay.example/sandpiper", RelayAddress("relay.example", 443, "wss")),
        ("ws://[::1]:81", RelayAddress("::1", 81, "ws")),
        (f"relay.example#sha256:{'AB:' * 31}AB", RelayAddress("relay.example", 443, "tls", "ab" * 32)),
    ],
)
def test_addresses_of_relays_are_read(text: str, wanted: RelayAddress) -> None:
    assert parse_relay(text) == wanted


# ---------------------------------------------------------------- several relays, and none


async def test_the_next_relay_is_tried_when_one_does_not_answer(relay: Relayed) -> None:
    silent = socket.create_server((HOST, 0))
    hanging = parse_relay(f"ws://{HOST}:{silent.getsockname()[1]}")  # the connection is taken, and nothing said
    dead = parse_relay(f"{HOST}:{free_port()}")
    loop = asyncio.get_running_loop()
    began = loop.time()
    found, way = await first_relay([dead, hanging, address(relay)], no_proxy)
    assert found == address(relay)
    assert loop.time() - began < 2
    way.pipe.abort()
    silent.close()


async def test_no_relay_at_all_is_an_error_of_its_own() -> None:
    dead = [parse_relay(f"{HOST}:{free_port()}") for _ in range(2)]
    with pytest.raises(NoRelay) as caught:
        await first_relay(dead, no_proxy)
    assert (caught.value.exit_code, caught.value.code) == (3, "no_relay")
    assert "nothing listens there" in str(caught.value)
    assert "443" in caught.value.hint
    async with friend(*dead) as one:
        assert "No relay could be reached" in (await one.hears(Offline)).reason
        assert isinstance(one.link.problem, NoRelay)


async def test_a_bridge_to_which_nobody_comes_is_refused_not_silent(relay: Relayed) -> None:
    with pytest.raises(NoBridge, match="not understood"):
        await bridge(address(relay), b"short", no_proxy)
    with pytest.raises(LinkError):
        await bridge(parse_relay(f"{HOST}:{free_port()}"), new_token(), no_proxy)


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[Way]:
    """Every connection to a relay that is made from now on."""
    ways: list[Way] = []

    async def noting(relay: RelayAddress, proxy: Proxy | None = None) -> Way:
        ways.append(await open_way(relay, proxy))
        return ways[-1]

    monkeypatch.setattr(rendezvous, "open_way", noting)
    return ways


async def test_a_lost_first_packet_costs_less_than_tcp_waits_before_it_sends_another(
    relay: Relayed, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = asyncio.get_running_loop()
    connect, dials = loop.sock_connect, 0

    async def loses_the_first(sock: socket.socket, where: Any) -> None:
        nonlocal dials
        dials += 1
        if dials == 1:
            await asyncio.Event().wait()
        await connect(sock, where)

    monkeypatch.setattr(loop, "sock_connect", loses_the_first)
    way = await open_way(address(relay))
    assert dials == 2
    way.pipe.abort()


async def test_a_relay_that_refuses_is_not_dialled_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    dials = 0

    async def refuses(_sock: socket.socket, _where: Any) -> None:
        nonlocal dials
        dials += 1
        raise ConnectionRefusedError

    monkeypatch.setattr(asyncio.get_running_loop(), "sock_connect", refuses)
    with pytest.raises(DialFailed, match="nothing listens there"):
        await open_way(parse_relay(f"{HOST}:1"))
    assert dials == 1


@pytest.mark.parametrize("kind", KINDS)
async def test_a_bridge_takes_the_connection_that_waits_for_it_and_says_the_first_words_at_once(
    relay: Relayed, kind: str, opened: list[Way]
) -> None:
    where, token = address(relay, kind), new_token()
    async with friend(where) as one:
        await one.hears(Online)
        for _ in range(3):
            one.link.prepare()
        await until(lambda: len(opened) == 1, "the spare connection")
        other = asyncio.create_task(one.link.bridge(token, first=b"hello"))
        far = await bridge(where, token, no_proxy)
        near = await other
        assert await far.read() == b"hello"
        assert len(opened) == 2, "no third one was made for it"
        near.abort()
        far.abort()


async def test_a_bridge_that_is_wanted_before_there_is_a_connection_has_its_own_as_soon_as_there_is_one(
    relay: Relayed, opened: list[Way]
) -> None:
    async with friend(address(relay)) as one:
        one.link.prepare()
        assert not opened
        await until(lambda: len(opened) == 1, "the spare connection")


async def test_a_connection_that_died_while_it_waited_costs_no_bridge(relay: Relayed, opened: list[Way]) -> None:
    where, token = address(relay), new_token()
    async with friend(where) as one:
        await one.hears(Online)
        one.link.prepare()
        await until(lambda: len(opened) == 1, "the spare connection")
        opened[0].pipe.abort()
        near, far = await asyncio.gather(one.link.bridge(token, first=b"hello"), bridge(where, token, no_proxy))
        assert await far.read() == b"hello"
        near.abort()
        far.abort()


async def test_a_connection_that_nobody_needs_is_closed_and_never_taken(
    relay: Relayed, opened: list[Way], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rendezvous, "SPARE_SECONDS", 0.05)
    where, token = address(relay), new_token()
    async with friend(where) as one:
        await one.hears(Online)
        one.link.prepare()
        await until(lambda: len(opened) == 1, "the spare connection")
        with contextlib.suppress(LinkError):
            assert await opened[0].pipe.read() == b""
        near, far = await asyncio.gather(one.link.bridge(token), bridge(where, token, no_proxy))
        assert len(opened) == 3
        near.abort()
        far.abort()
        monkeypatch.setattr(rendezvous, "SPARE_SECONDS", 60.0)
        one.link.prepare()
        await until(lambda: len(opened) == 4, "another one")
    with contextlib.suppress(LinkError):
        assert await opened[3].pipe.read() == b"", "it does not outlive the peer"


# ---------------------------------------------------------------- restarts


async def test_peers_are_back_by_themselves_after_a_restart(tmp_path: Path) -> None:
    port = free_port()
    where = parse_relay(f"{HOST}:{port}")
    with Relayed(tmp_path, "--port", str(port)) as first:
        assert first.port == port
        async with friend(where, seed=1) as alice, friend(where, seed=2) as bob:
            alice.wish(lambda guest: guest.create_room())
            code = (await alice.hears(RoomMade)).code
            alice.wish(lambda guest: guest.register(code, keep=True))
            await alice.hears(Registered)
            bob.wish(lambda guest: guest.register(code, keep=True))
            bob.wish(lambda guest: guest.register(bytes(32)))
            await bob.hears(Registered, room=bytes(32))
            marks = len(alice.told), len(bob.told)
            first.process.send_signal(signal.SIGTERM)
            await alice.hears(Offline)
            await bob.hears(Offline)
            await asyncio.to_thread(first.process.wait, 10)
            with Relayed(tmp_path, "--port", str(port)) as second:
                await asyncio.to_thread(lambda: second.port)
                await alice.hears(Online, marks[0])
                await alice.hears(Registered, marks[0], room=code)
                await bob.hears(Registered, marks[1], room=code)
                await bob.hears(Registered, marks[1], room=bytes(32))
                assert not [notice for notice in (*alice.told, *bob.told) if isinstance(notice, Refused)]


async def test_a_code_that_nobody_keeps_is_refused_once(relay: Relayed) -> None:
    async with friend(address(relay)) as one:
        one.wish(lambda guest: guest.register("999999"))
        refused = await one.hears(Refused)
        assert (refused.code, refused.room) == ("no_room", "999999")
        assert not [notice for notice in one.told if isinstance(notice, CodeExpired)]


# ---------------------------------------------------------------- how one is seen


async def test_one_port_of_ours_reaches_both_ports_of_the_rendezvous(tmp_path: Path) -> None:
    second = free_port()
    with Relayed(tmp_path, "--second-port", str(second)) as served:
        where = parse_relay(f"{HOST}:{served.port}")
        way = await open_way(where)
        seen = await observe(where._replace(port=second), no_proxy, local_port=way.port)
        assert (seen.host, seen.port) == (HOST, way.port)
        assert nat_kind(way.host, seen, seen) == "unknown", (
            "everything comes from this machine: a tunnel, for all we know"
        )
        way.pipe.abort()
