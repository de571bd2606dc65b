"""The way into a private room past strangers, other rooms, slow relays and impatience: whole nodes, a real relay."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from sandpiper.core import joining
from sandpiper.core.admission import CodeTried
from sandpiper.core.events import Accepted
from sandpiper.core.limits import RECENT
from sandpiper.core.rendezvous import Came, Introduced, Registered, RoomMade, SignalCame
from sandpiper.crypto.codes import Code
from sandpiper.crypto.handshake import PREAMBLE
from sandpiper.crypto.pake import ENTROPY_BYTES, Pake, Secret
from sandpiper.errors import LinkError, LinkLost, RemoteProtocolError, UsageError
from sandpiper.net import secure
from sandpiper.net.link import Pipe
from sandpiper.net.relays import NoRelay, RelayAddress, parse_relay
from sandpiper.net.rendezvous import BridgePipe, RendezvousLink, bridge
from sandpiper.net.secure import SecureLink, knocking
from sandpiper.net.tcp import dial, listen
from sandpiper.node import door, moment, wayin
from sandpiper.testing.conformance import until
from sandpiper.wire.admission import CODE_ID_BYTES, NotAdmitted, encode_answer, encode_refusal
from sandpiper.wire.frames import Fetch, Want, decode_frame
from sandpiper.wire.limits import MAX_BATCH_RECORDS
from sandpiper.wire.meeting import Answers, CrossWith, decode_code_signal, encode_code_signal
from sandpiper.wire.records import Admit, Text
from tests.neighbours import neighbour, refused
from tests.relayed import Relayed, free_port, friend, no_proxy
from tests.served import HOST

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from sandpiper.net.tcp import TcpPipe
    from sandpiper.wire.frames import AnyFrame
    from sandpiper.wire.ids import RoomId
    from tests.neighbours import Neighbour
    from tests.relayed import Friend


@pytest.fixture(scope="module")
def relay(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RelayAddress]:
    with Relayed(tmp_path_factory.mktemp("relay")) as served:
        yield parse_relay(f"{HOST}:{served.port}")
        served.unharmed()


def same_number(one: Neighbour, code: Code) -> None:
    """Somebody's room has a code that happens to have this number."""
    run = one.node._run
    assert one.page.room is not None
    other = Code(code.nameplate, ("zebra", "zebra"))
    run.admission(run.codes.issue(other, one.page.room, os.urandom(CODE_ID_BYTES), moment()))


def answers_for(one: Neighbour, room: RoomId, code: Code, relay: RelayAddress) -> None:
    """It is at the relay under the number of this code from now on."""
    run, newest = one.node._run, one.private(room).roster.acts.newest()
    run.admission(run.codes.issue(code, room, os.urandom(CODE_ID_BYTES), moment(), relay=relay.spelled, after=newest))


# ---------------------------------------------------------------- strangers


def framed(message: bytes) -> bytes:
    return len(message).to_bytes(2, "big") + message


async def refuses(pipe: Pipe) -> None:
    """Says that the code is burnt."""
    await pipe.read()
    pipe.write(PREAMBLE, framed(encode_refusal("code_burnt")))
    await pipe.close()


async def says_wrong(pipe: Pipe) -> None:
    """Takes the proof for one guess, whatever it is."""
    heard = await pipe.read()
    number = heard[len(PREAMBLE) + 4 :].decode()
    pake = Pake(Secret(("zebra", "zebra")), number, joiner=False, entropy=os.urandom(ENTROPY_BYTES))
    pipe.write(PREAMBLE, framed(encode_answer(pake.message, b"")))
    await pipe.read()
    pipe.write(framed(encode_refusal("wrong_code")))
    await pipe.close()


async def keeps_silent(pipe: Pipe) -> None:
    """Hears, and says nothing."""
    while await pipe.read():
        pass


async def talks_nonsense(pipe: Pipe) -> None:
    """Is no peer at all."""
    pipe.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    await pipe.close()


Behaviour = Callable[[Pipe], Awaitable[None]]
STRANGERS: list[Behaviour] = [refuses, says_wrong, keeps_silent, talks_nonsense]


@asynccontextmanager
async def listening(*behaviours: Behaviour) -> AsyncIterator[list[tuple[str, int]]]:
    """Somebody on this network for each behaviour: their addresses."""
    running: list[asyncio.Task[None]] = []

    def accept(behaviour: Behaviour) -> Callable[[TcpPipe], None]:
        return lambda pipe: running.append(asyncio.create_task(quietly(behaviour, pipe)))

    listeners = [await listen(accept(behaviour), range(1), (HOST,)) for behaviour in behaviours]
    try:
        yield [(HOST, listener.port) for listener in listeners]
    finally:
        for listener in listeners:
            listener.close()
        await ended(running)


@asynccontextmanager
async def answering(relay: RelayAddress, number: str, behaviour: Behaviour) -> AsyncIterator[None]:
    """A stranger that registers under a number, answers whoever comes, and goes to their bridges."""
    running: list[asyncio.Task[None]] = []

    async def live(stranger: Friend) -> None:
        done = 0
        while True:
            await stranger.hears(object, done)
            for notice in stranger.told[done:]:
                done += 1
                match notice:
                    case Came(peer=peer):
                        stranger.wish(partial(Introduced.signal, peer=peer, data=encode_code_signal(Answers())))
                    case SignalCame(data=data) if isinstance(cross := decode_code_signal(data), CrossWith):
                        running.append(asyncio.create_task(comes(behaviour, relay, cross.token)))
                    case _:
                        pass

    async with friend(relay) as stranger:
        stranger.wish(lambda guest: guest.register(number))
        await stranger.hears(Registered)
        running.append(asyncio.create_task(live(stranger)))
        try:
            yield
        finally:
            await ended(running)


async def comes(behaviour: Behaviour, relay: RelayAddress, token: bytes) -> None:
    with contextlib.suppress(LinkError):
        await quietly(behaviour, await bridge(relay, token, no_proxy))


async def quietly(behaviour: Behaviour, pipe: Pipe) -> None:
    try:
        with contextlib.suppress(LinkError):
            await behaviour(pipe)
    finally:
        pipe.abort()


async def ended(running: list[asyncio.Task[None]]) -> None:
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)


@asynccontextmanager
async def slow(relay: RelayAddress, open_: asyncio.Event) -> AsyncIterator[RelayAddress]:
    """The same relay, which takes no connection before `open_`: until then they wait."""

    async def passes_on(pipe: Pipe) -> None:
        await open_.wait()
        far = await dial(relay.host, relay.port)

        async def one_way(source: Pipe, target: Pipe) -> None:
            while piece := await source.read():
                target.write(piece)
            await target.close()

        try:
            await asyncio.gather(one_way(pipe, far), one_way(far, pipe))
        finally:
            far.abort()

    async with listening(passes_on) as [(host, port)]:
        yield parse_relay(f"{host}:{port}")


# ---------------------------------------------------------------- past strangers


@pytest.mark.parametrize("stranger", STRANGERS)
async def test_on_one_network_one_stranger_ends_no_join(stranger: Behaviour, tmp_path: Path) -> None:
    async with (
        listening(stranger) as strangers,
        neighbour(tmp_path, "alice") as alice,
        neighbour(tmp_path, "bob", *strangers, alice) as bob,
    ):
        room, code = await alice.creates()
        await bob.types(f"/join {code.spoken}")
        assert bob.page.room == room


async def test_on_one_network_many_silent_ones_hold_nobody_up(tmp_path: Path) -> None:
    async with (
        listening(*[keeps_silent] * 12) as strangers,
        neighbour(tmp_path, "alice") as alice,
        neighbour(tmp_path, "bob", *strangers, alice) as bob,
    ):
        room, code = await alice.creates()
        async with asyncio.timeout(40):  # one after the other they would take two minutes
            await bob.types(f"/join {code.spoken}")
        assert bob.page.room == room


@pytest.mark.parametrize("stranger", STRANGERS)
async def test_strangers_on_this_network_do_not_end_a_join_through_a_relay(
    stranger: Behaviour, tmp_path: Path, relay: RelayAddress
) -> None:
    async with (
        listening(*[stranger] * 3) as strangers,
        neighbour(tmp_path, "alice", relays=(relay,)) as alice,
        neighbour(tmp_path, "bob", *strangers, relays=(relay,)) as bob,
    ):
        room, code = await alice.creates()
        await bob.types(f"/join {code.spoken}")
        assert bob.page.room == room


async def test_another_rooms_code_of_the_same_number_is_not_guessed_at(tmp_path: Path, relay: RelayAddress) -> None:
    async with (
        neighbour(tmp_path, "alice", relays=(relay,)) as alice,
        neighbour(tmp_path, "xaver") as xaver,
        neighbour(tmp_path, "bob", xaver, relays=(relay,)) as bob,
    ):
        room, code = await alice.creates()
        await xaver.creates("elsewhere")
        same_number(xaver, code)
        await bob.types(f"/join {code.spoken}")
        assert bob.page.room == room
        assert not xaver.heard(CodeTried)
        assert not alice.heard(CodeTried)


@pytest.mark.parametrize("stranger", STRANGERS)
async def test_a_stranger_who_answers_at_the_relay_ends_no_join(
    stranger: Behaviour, tmp_path: Path, relay: RelayAddress
) -> None:
    async with neighbour(tmp_path, "alice", relays=(relay,)) as alice:
        room, code = await alice.creates()
        async with (
            answering(relay, code.nameplate, stranger),
            neighbour(tmp_path, "bob", relays=(relay,)) as bob,
        ):
            await bob.types(f"/join {code.spoken}")
            assert bob.page.room == room


async def test_wrong_words_are_told_as_that_and_cost_a_member_one_guess(tmp_path: Path, relay: RelayAddress) -> None:
    async with (
        neighbour(tmp_path, "alice", relays=(relay,)) as alice,
        neighbour(tmp_path, "bob", alice, relays=(relay,)) as bob,
    ):
        _, code = await alice.creates()
        error = await refused(NotAdmitted, bob, f"/join {Code(code.nameplate, ('zebra', 'zebra')).spoken}")
        assert error.code == "wrong_code"
        assert [tried.left for tried in alice.heard(CodeTried)] == [2]


# ---------------------------------------------------------------- time


async def test_a_relay_that_takes_longer_than_a_lan_is_waited_for(tmp_path: Path, relay: RelayAddress) -> None:
    open_ = asyncio.Event()
    async with (
        slow(relay, open_) as far,
        neighbour(tmp_path, "alice", relays=(relay,)) as alice,
        neighbour(tmp_path, "bob", relays=(far,)) as bob,
    ):
        room, code = await alice.creates()
        asyncio.get_running_loop().call_later(wayin.LAN_SECONDS * 1.3, open_.set)
        await bob.types(f"/join {code.spoken}")
        assert bob.page.room == room


async def test_a_number_that_a_relay_does_not_know_yet_is_waited_for(tmp_path: Path, relay: RelayAddress) -> None:
    """As after the restart of a relay, when members have not come back to it."""
    async with (
        neighbour(tmp_path, "alice", relays=(relay,)) as alice,
        neighbour(tmp_path, "bob", relays=(relay,)) as bob,
    ):
        room, _ = await alice.creates()
        code = Code("87654321", ("maple", "river"))
        asyncio.get_running_loop().call_later(wayin.LAN_SECONDS * 1.3, answers_for, alice, room, code, relay)
        await bob.types(f"/join {code.spoken}")
        assert bob.page.room == room


async def test_a_relay_that_is_not_there_is_said_to_be_not_there(tmp_path: Path) -> None:
    away = parse_relay(f"{HOST}:{free_port()}")
    async with neighbour(tmp_path, "bob", relays=(away,)) as bob:
        assert (await refused(NoRelay, bob, "/join pine-ocean-42")).exit_code == 3


async def test_of_two_relays_one_that_knows_the_number_is_enough(tmp_path: Path, relay: RelayAddress) -> None:
    away = parse_relay(f"{HOST}:{free_port()}")
    async with (
        neighbour(tmp_path, "alice", relays=(away, relay)) as alice,
        neighbour(tmp_path, "bob", relays=(away, relay)) as bob,
    ):
        room, code = await alice.creates()
        await bob.types(f"/join {code.spoken}")
        assert bob.page.room == room


async def test_a_number_that_is_known_and_nobody_answers_for_ends_as_a_wait_that_was_too_long(
    tmp_path: Path, relay: RelayAddress, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(joining, "JOIN_SECONDS", 5.0)
    async with neighbour(tmp_path, "alice", relays=(relay,)) as alice:
        _, code = await alice.creates()
    async with neighbour(tmp_path, "bob", relays=(relay,)) as bob:
        error = await refused(LinkError, bob, f"/join {code.spoken}")
        assert error.exit_code == 6


async def test_a_join_does_not_outlive_its_time_at_a_bridge_where_nobody_comes(
    tmp_path: Path, relay: RelayAddress, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(joining, "JOIN_SECONDS", 5.0)
    async with friend(relay) as liar, neighbour(tmp_path, "bob", relays=(relay,)) as bob:
        liar.wish(lambda guest: guest.create_room())
        number = (await liar.hears(RoomMade)).code
        liar.wish(lambda guest: guest.register(number))
        await liar.hears(Registered)
        going = asyncio.create_task(refused(LinkError, bob, f"/join pine-ocean-{number}"))
        peer = (await liar.hears(Came)).peer
        liar.wish(lambda guest: guest.signal(peer, encode_code_signal(Answers())))
        begun = asyncio.get_running_loop().time()
        assert (await going).exit_code == 6
        assert asyncio.get_running_loop().time() - begun < wayin.BRIDGE_SECONDS


# ---------------------------------------------------------------- ahead of an answer


@asynccontextmanager
async def alone(relay: RelayAddress) -> AsyncIterator[tuple[Friend, str]]:
    """Somebody under a number, and the number. It says nothing."""
    async with friend(relay) as somebody:
        somebody.wish(lambda guest: guest.create_room())
        number = (await somebody.hears(RoomMade)).code
        somebody.wish(lambda guest: guest.register(number))
        await somebody.hears(Registered)
        yield somebody, number


async def test_whoever_is_alone_under_a_number_is_asked_to_a_bridge_before_it_has_answered(
    tmp_path: Path, relay: RelayAddress, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(joining, "JOIN_SECONDS", 5.0)
    async with alone(relay) as (somebody, number), neighbour(tmp_path, "bob", relays=(relay,)) as bob:
        going = asyncio.create_task(refused(LinkError, bob, f"/join pine-ocean-{number}"))
        asked = decode_code_signal((await somebody.hears(SignalCame)).data)
        assert isinstance(asked, CrossWith)
        way = await bridge(relay, asked.token, no_proxy)
        assert await way.read() == knocking(number)
        await going
        with contextlib.suppress(LinkError):
            assert await way.read() == b"", "no word more, and nothing left open"
        way.abort()


@pytest.fixture
def knocks(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Tokens of the bridges that joiners go to."""
    tokens: list[bytes] = []
    go = RendezvousLink.bridge

    async def noting(self: RendezvousLink, token: bytes, *, first: bytes = b"") -> BridgePipe:
        if secure.comes_with_code(first):
            tokens.append(token)
        return await go(self, token, first=first)

    monkeypatch.setattr(RendezvousLink, "bridge", noting)
    return tokens


@pytest.mark.parametrize("over", ["it failed", "the joiner has another name"])
async def test_a_way_that_is_over_before_the_answer_comes_is_not_taken(
    over: str, tmp_path: Path, relay: RelayAddress, knocks: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(joining, "JOIN_SECONDS", 5.0)
    if over == "it failed":
        monkeypatch.setattr(RendezvousLink, "bridge", fails_once(RendezvousLink.bridge))
    async with alone(relay) as (somebody, number), neighbour(tmp_path, "bob", relays=(relay,)) as bob:
        going = asyncio.create_task(refused(LinkError, bob, f"/join pine-ocean-{number}"))
        came, asked = await somebody.hears(Came), await somebody.hears(SignalCame)
        since = len(somebody.told)
        if over != "it failed":
            bob.node._meetings.views()[0].link.renew()
            came = await somebody.hears(Came, since)
        somebody.wish(lambda guest: guest.signal(came.peer, encode_code_signal(Answers())))
        again = await somebody.hears(SignalCame, since)
        await going
    assert again.peer == came.peer
    assert decode_code_signal(again.data) == CrossWith(knocks[-1]) != decode_code_signal(asked.data)


def fails_once(go: Callable[..., Awaitable[BridgePipe]]) -> Callable[..., Awaitable[BridgePipe]]:
    failed = False

    async def bridge(self: RendezvousLink, token: bytes, *, first: bytes = b"") -> BridgePipe:
        nonlocal failed
        if not failed:
            failed = True
            raise LinkLost("The connection broke.")
        return await go(self, token, first=first)

    return bridge


async def test_whoever_has_refused_is_not_asked_again_when_it_is_alone(
    tmp_path: Path, relay: RelayAddress, knocks: list[bytes]
) -> None:
    async with (
        neighbour(tmp_path, "alice", relays=(relay,)) as alice,
        neighbour(tmp_path, "bob", relays=(relay,)) as bob,
    ):
        _, code = await alice.creates()
        async with friend(relay) as other:  # so that alice is not alone at first
            other.wish(lambda guest: guest.register(code.nameplate))
            if not (await other.hears(Registered)).peers:
                await other.hears(Came)
            wrong = Code(code.nameplate, ("zebra", "zebra"))
            going = asyncio.create_task(refused(NotAdmitted, bob, f"/join {wrong.spoken}"))
            await alice.until(lambda: alice.heard(CodeTried))
        assert (await going).code == "wrong_code"
        assert len(knocks) == 1


async def test_a_joiner_and_a_member_have_the_exchange_ready_before_it_begins(
    tmp_path: Path, relay: RelayAddress, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(joining, "JOIN_SECONDS", 5.0)
    halves: list[bool] = []
    loads: list[int] = []
    make = Pake

    def making(*args: Any, **more: Any) -> Pake:
        halves.append(more["joiner"])
        return make(*args, **more)

    monkeypatch.setattr(secure, "Pake", making)
    monkeypatch.setattr(door, "load", lambda: loads.append(1))
    async with alone(relay) as (_, number), neighbour(tmp_path, "bob", relays=(relay,)) as bob:
        await refused(LinkError, bob, f"/join pine-ocean-{number}")
    assert halves == [True]
    async with neighbour(tmp_path, "alice", relays=(relay,)) as alice, friend(relay) as somebody:
        _, code = await alice.creates()
        somebody.wish(lambda guest: guest.register(code.nameplate))
        await until(lambda: loads == [1], "what the first exchange takes")


async def test_whoever_is_alone_under_a_number_and_says_nothing_keeps_nobody_from_who_comes_later(
    tmp_path: Path, relay: RelayAddress
) -> None:
    async with (
        alone(relay) as (somebody, number),
        neighbour(tmp_path, "alice", relays=(relay,)) as alice,
        neighbour(tmp_path, "bob", relays=(relay,)) as bob,
    ):
        room, _ = await alice.creates()
        going = asyncio.create_task(bob.types(f"/join pine-ocean-{number}"))
        await somebody.hears(SignalCame)
        begun = asyncio.get_running_loop().time()
        answers_for(alice, room, Code(number, ("pine", "ocean")), relay)
        await going
        assert bob.page.room == room
        assert asyncio.get_running_loop().time() - begun < wayin.BRIDGE_SECONDS


@pytest.fixture
def offered(monkeypatch: pytest.MonkeyPatch) -> list[AnyFrame]:
    """What anybody says over its links."""
    frames: list[AnyFrame] = []
    offer = SecureLink.offer

    def noting(self: SecureLink, frame: bytes) -> bool:
        with contextlib.suppress(RemoteProtocolError):
            frames.append(decode_frame(frame))
        return offer(self, frame)

    monkeypatch.setattr(SecureLink, "offer", noting)
    return frames


async def test_a_short_history_and_the_first_words_of_whoever_comes_are_there_before_anybody_asks(
    tmp_path: Path, relay: RelayAddress, offered: list[AnyFrame]
) -> None:
    async with (
        neighbour(tmp_path, "alice", relays=(relay,)) as alice,
        neighbour(tmp_path, "bob", relays=(relay,)) as bob,
    ):
        room, code = await alice.creates()
        for n in range(3):
            alice.node.post(room, Text(f"word {n}"))
        await bob.types(f"/join {code.spoken}")
        bob.node.post(room, Text("hello"))
        await bob.until(lambda: texts(bob) == ["hello", "word 0", "word 1", "word 2"])
        await alice.until(lambda: texts(alice)[-1] == "hello")
        assert not [frame for frame in offered if isinstance(frame, Want | Fetch)]


async def test_a_long_history_is_asked_for(tmp_path: Path, relay: RelayAddress, offered: list[AnyFrame]) -> None:
    async with (
        neighbour(tmp_path, "alice", relays=(relay,)) as alice,
        neighbour(tmp_path, "bob", relays=(relay,)) as bob,
    ):
        room, code = await alice.creates()
        for n in range(RECENT):
            alice.node.post(room, Text(f"word {n}"))
        await bob.types(f"/join {code.spoken}")
        await bob.until(lambda: len(texts(bob)) == RECENT)
        assert [frame for frame in offered if isinstance(frame, Want)]


def texts(one: Neighbour) -> list[str]:
    return [n.record.body.text for n in one.heard(Accepted) if isinstance(n.record.body, Text)]


# ---------------------------------------------------------------- twice


async def test_the_same_code_twice_at_once_is_one_way_in(tmp_path: Path, relay: RelayAddress) -> None:
    async with (
        neighbour(tmp_path, "alice", relays=(relay,)) as alice,
        neighbour(tmp_path, "bob", relays=(relay,)) as bob,
    ):
        room, code = await alice.creates()
        first, second = await asyncio.gather(
            bob.node.codes.join(code), bob.node.codes.join(code), return_exceptions=True
        )
        assert first == room
        assert isinstance(second, UsageError)
        assert second.code == "joining"
        assert await bob.node.codes.join(code) == room, "later it is a way in again"


async def test_two_people_may_come_with_one_code_at_once(tmp_path: Path, relay: RelayAddress) -> None:
    async with (
        neighbour(tmp_path, "alice", relays=(relay,)) as alice,
        neighbour(tmp_path, "bob", relays=(relay,)) as bob,
        neighbour(tmp_path, "carol", relays=(relay,)) as carol,
    ):
        room, code = await alice.creates()
        assert set(await asyncio.gather(bob.node.codes.join(code), carol.node.codes.join(code))) == {room}
        assert set(alice.node.roles(room)) == {one.node.key for one in (alice, bob, carol)}


async def test_a_roster_that_is_more_than_the_link_takes_at_once_comes_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with neighbour(tmp_path, "alice") as alice, neighbour(tmp_path, "bob", alice) as bob:
        room, code = await alice.creates()
        for number in range(MAX_BATCH_RECORDS + 1):
            alice.node.post(room, Admit(number.to_bytes(32, "big"), f"guest {number}"))
        refused: set[bytes] = set()
        offer = SecureLink.offer

        def full(self: SecureLink, frame: bytes) -> bool:
            """Takes nothing at the first time."""
            if frame in refused or frame[:1] not in (b"\x29", b"\x2a"):
                return offer(self, frame)
            refused.add(frame)
            return False

        monkeypatch.setattr(SecureLink, "offer", full)
        await bob.types(f"/join {code.spoken}")
        assert len(refused) == 3
        assert len(bob.node.roles(room)) == MAX_BATCH_RECORDS + 3
