"""Dialling each other at one moment, with real sockets on the addresses of this machine."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
from typing import TYPE_CHECKING

import pytest

from sandpiper.crypto.identity import Identity
from sandpiper.errors import LinkError
from sandpiper.net import punch as punch_module
from sandpiper.net.punch import PunchFailed, PunchPort, _stop_listening
from sandpiper.net.relays import share_port
from sandpiper.net.secure import accept_secure, dial_secure
from sandpiper.net.tcp import TcpPipe, dial
from sandpiper.testing.conformance import noise, turns
from sandpiper.wire.frames import Ping, Presence, encode_frame
from sandpiper.wire.rendezvous import Candidate

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from sandpiper.net.secure import SecureLink

BY_KEY = sorted((Identity(noise(32, seed)) for seed in range(50, 53)), key=lambda identity: identity.key)
SMALL, MIDDLE, LARGE = BY_KEY
LOCAL = "127.0.0.1"
SOON = 0.05  # until both dial


def has_v6() -> bool:
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET6) as sock:
        sock.bind(("::1", 0))
        return True
    return False


HOSTS = [LOCAL, pytest.param("::1", marks=pytest.mark.skipif(not has_v6(), reason="no IPv6 on this machine"))]


@pytest.fixture
def held() -> Iterator[contextlib.ExitStack]:
    with contextlib.ExitStack() as stack:
        yield stack


def rendezvous_port(held: contextlib.ExitStack, host: str = LOCAL) -> int:
    """A port in use by a connection that lets others share it, as that to a rendezvous does."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    there = held.enter_context(socket.create_server((host, 0), family=family))
    sock = held.enter_context(socket.socket(family))
    share_port(sock)
    sock.bind(("::" if ":" in host else "0.0.0.0", 0))
    sock.connect(there.getsockname()[:2])
    return int(sock.getsockname()[1])


async def reach(
    port: PunchPort, who: Identity, whom: Identity, *candidates: Candidate, start: float, seen: bool = False
) -> SecureLink:
    quick = frozenset(candidates) if seen else frozenset[Candidate]()
    return await port.reach(who, whom.key, candidates, quick, start, lambda _host: "direct")


def moment() -> float:
    return asyncio.get_running_loop().time() + SOON


async def talks(one: SecureLink, other: SecureLink) -> bool:
    """A frame each way."""
    for source, sink in ((one, other), (other, one)):
        frame = encode_frame(Presence("hello"))
        assert source.offer(frame)
        if await sink.receive() != frame:
            return False
    return True


@contextlib.asynccontextmanager
async def ended(*links: SecureLink) -> AsyncIterator[None]:
    try:
        yield
    finally:
        for link in links:
            link.abort()
        await turns()


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("late", [-0.2, 0.0, 0.2])
async def test_both_dial_at_once_and_have_one_link_whoever_is_late(
    host: str, late: float, held: contextlib.ExitStack
) -> None:
    ports = [PunchPort(rendezvous_port(held, host)) for _ in range(2)]
    there = [Candidate(host, port.port) for port in ports]
    start = moment() + 0.2
    one, other = await asyncio.gather(
        reach(ports[0], SMALL, LARGE, there[1], start=start),
        reach(ports[1], LARGE, SMALL, there[0], start=start + late, seen=True),
    )
    async with ended(one, other):
        assert (one.peer, other.peer) == (LARGE.key, SMALL.key)
        assert (one.dialled, other.dialled) == (True, False), "the smaller key counts as who dialled, at both ends"
        assert one.path == other.path == "direct"
        assert await talks(one, other)
        assert ports[0].idle


async def test_a_stream_that_came_where_nobody_dialled_is_taken(held: contextlib.ExitStack) -> None:
    """As from a NAT that gives each destination another port, to somebody without one."""
    port = PunchPort(rendezvous_port(held))
    elsewhere = Candidate(LOCAL, rendezvous_port(held))  # where the larger key thinks that the smaller one is
    behind_nat = PunchPort(0)  # any port
    start = moment()
    one, other = await asyncio.gather(
        reach(behind_nat, SMALL, LARGE, Candidate(LOCAL, port.port), start=start),
        reach(port, LARGE, SMALL, elsewhere, start=start, seen=True),
    )
    async with ended(one, other):
        assert await talks(one, other)


async def test_of_many_addresses_that_lead_to_the_peer_one_becomes_the_link_and_the_others_are_closed(
    held: contextlib.ExitStack,
) -> None:
    hosts = ("127.0.0.1", "127.0.0.2", "127.0.0.3")
    ports = [PunchPort(rendezvous_port(held)) for _ in range(2)]
    start = moment()
    one, other = await asyncio.gather(
        reach(ports[0], SMALL, LARGE, *(Candidate(host, ports[1].port) for host in hosts), start=start),
        reach(ports[1], LARGE, SMALL, *(Candidate(host, ports[0].port) for host in hosts), start=start),
    )
    async with ended(one, other):
        assert await talks(one, other)
        await turns(20)
        with pytest.raises(LinkError):  # no port of ours listens any more
            await dial(LOCAL, ports[0].port)


async def test_two_peers_are_reached_from_one_port_at_one_time(held: contextlib.ExitStack) -> None:
    hub, one, two = (PunchPort(rendezvous_port(held)) for _ in range(3))
    start = moment()
    links = await asyncio.gather(
        reach(hub, MIDDLE, SMALL, Candidate(LOCAL, one.port), start=start),
        reach(hub, MIDDLE, LARGE, Candidate(LOCAL, two.port), start=start),
        reach(one, SMALL, MIDDLE, Candidate(LOCAL, hub.port), start=start),
        reach(two, LARGE, MIDDLE, Candidate(LOCAL, hub.port), start=start),
    )
    async with ended(*links):
        assert [link.peer for link in links] == [SMALL.key, LARGE.key, MIDDLE.key, MIDDLE.key]
        assert await talks(links[0], links[2])
        assert await talks(links[1], links[3])


@pytest.mark.parametrize("who", [SMALL, LARGE])
async def test_where_nobody_dials_back_it_is_given_up_in_time_and_nothing_stays_open(
    who: Identity, held: contextlib.ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(punch_module, "KNOCK_SECONDS", 0.3)
    port = PunchPort(rendezvous_port(held))
    nobody = Candidate(LOCAL, rendezvous_port(held))
    with pytest.raises(PunchFailed) as failed:
        await reach(port, who, MIDDLE, nobody, start=moment(), seen=True)
    assert failed.value.how == "refused"
    with pytest.raises(LinkError):
        await dial(LOCAL, port.port)


async def test_where_the_port_cannot_be_shared_an_open_peer_is_reached_and_else_that_is_the_reason(
    held: contextlib.ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a system that gives a port to one socket alone."""
    taken = held.enter_context(socket.socket())
    taken.bind(("0.0.0.0", 0))
    port, other_port = PunchPort(int(taken.getsockname()[1])), PunchPort(rendezvous_port(held))
    start = moment()
    one, other = await asyncio.gather(
        reach(port, SMALL, LARGE, Candidate(LOCAL, other_port.port), start=start, seen=True),
        reach(other_port, LARGE, SMALL, Candidate(LOCAL, port.port), start=start, seen=True),
    )
    async with ended(one, other):
        assert await talks(one, other)
    monkeypatch.setattr(punch_module, "KNOCK_SECONDS", 0.3)
    with pytest.raises(PunchFailed) as failed:
        await reach(port, SMALL, LARGE, Candidate(LOCAL, other_port.port), start=moment(), seen=True)
    assert failed.value.how == "no_port"


@pytest.mark.parametrize("dials", [True, False])
async def test_somebody_else_at_the_address_gets_no_link(
    dials: bool, held: contextlib.ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another peer of ours, with a key of its own, says that it is the one; and one that shows the right key does not
    get in its way.
    """
    monkeypatch.setattr(punch_module, "KNOCK_SECONDS", 0.5)
    port = PunchPort(rendezvous_port(held))
    start = moment()

    async def impostor() -> None:
        await asyncio.sleep(SOON)
        with contextlib.suppress(LinkError):
            pipe = await dial(LOCAL, port.port)
            link = await (dial_secure(pipe, LARGE) if dials else accept_secure(pipe, LARGE))
            link.offer(encode_frame(Ping(1)))
            with pytest.raises(LinkError):
                await link.receive()
            link.abort()

    us, them = (MIDDLE, SMALL) if dials else (SMALL, MIDDLE)
    nowhere = Candidate(LOCAL, rendezvous_port(held))
    trying = asyncio.create_task(reach(port, us, them, nowhere, start=start))
    await impostor()
    with pytest.raises(PunchFailed):
        await trying


@pytest.mark.parametrize("dials", [True, False])
async def test_a_link_that_has_carried_no_answer_yet_is_none(
    dials: bool, held: contextlib.ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The right key shakes hands, and then nothing comes through any more."""
    monkeypatch.setattr(punch_module, "KNOCK_SECONDS", 0.3)
    monkeypatch.setattr(punch_module, "GREET_SECONDS", 0.3)
    port = PunchPort(rendezvous_port(held))
    us, them = (MIDDLE, SMALL) if dials else (MIDDLE, LARGE)
    trying = asyncio.create_task(reach(port, us, them, Candidate(LOCAL, rendezvous_port(held)), start=moment()))
    await asyncio.sleep(SOON)
    pipe = await dial(LOCAL, port.port)
    link = await (dial_secure(pipe, them) if dials else accept_secure(pipe, them))
    with pytest.raises(PunchFailed):
        await trying
    link.abort()


async def test_callers_that_say_nothing_do_not_keep_the_peer_out(held: contextlib.ExitStack) -> None:
    ports = [PunchPort(rendezvous_port(held)) for _ in range(2)]
    start = moment() + 0.2
    trying = asyncio.create_task(reach(ports[0], SMALL, LARGE, Candidate(LOCAL, ports[1].port), start=start))
    await turns()
    silent: list[TcpPipe] = []
    with contextlib.suppress(LinkError):
        silent += [await dial(LOCAL, ports[0].port) for _ in range(20)]
    other = await reach(ports[1], LARGE, SMALL, Candidate(LOCAL, ports[0].port), start=start)
    one = await trying
    async with ended(one, other):
        assert await talks(one, other)
        for pipe in silent:
            pipe.abort()


async def test_a_try_that_is_given_up_from_outside_leaves_nothing_open(held: contextlib.ExitStack) -> None:
    port = PunchPort(rendezvous_port(held))
    trying = asyncio.create_task(reach(port, SMALL, LARGE, Candidate("192.0.2.1", 9), start=moment() + 60))
    await turns()
    pipe = await dial(LOCAL, port.port)  # it listens at once
    trying.cancel()
    with pytest.raises(asyncio.CancelledError):
        await trying
    while await pipe.read():  # what had been said; then the end
        pass
    pipe.abort()
    assert port.idle
    with pytest.raises(LinkError):
        await dial(LOCAL, port.port)


@pytest.mark.parametrize("late", range(12))
async def test_who_comes_in_the_moment_in_which_a_try_is_given_up_is_sent_away(
    held: contextlib.ExitStack, late: int
) -> None:
    port = PunchPort(rendezvous_port(held))
    start = moment()
    trying = asyncio.create_task(reach(port, SMALL, LARGE, Candidate(LOCAL, 9), start=start))
    await turns()
    with socket.create_connection((LOCAL, port.port)) as caller:
        for _ in range(late):
            await asyncio.sleep(0)
        trying.cancel()
        with pytest.raises(asyncio.CancelledError):
            await trying
        await turns()
        gc.collect()  # what was left open, or begun by nobody, is told now, and fails this test
        caller.settimeout(5)
        with contextlib.suppress(ConnectionResetError):
            while caller.recv(1000):
                pass


@pytest.mark.parametrize("after", range(4))
async def test_a_stream_that_comes_in_the_turn_in_which_listening_ends_is_not_left_open(after: int):
    arrived: list[TcpPipe] = []
    server = await asyncio.start_server(lambda *stream: arrived.append(TcpPipe(*stream)), "127.0.0.1", 0)
    with socket.create_connection(server.sockets[0].getsockname()) as caller:
        for _ in range(after):
            await asyncio.sleep(0)
        _stop_listening(server)
        for _ in range(5):
            await asyncio.sleep(0)
        for pipe in arrived:
            pipe.abort()
        caller.setblocking(False)
        async with asyncio.timeout(10):
            with contextlib.suppress(OSError):
                assert await asyncio.get_running_loop().sock_recv(caller, 1) == b"", "told of and ended, or never taken"
