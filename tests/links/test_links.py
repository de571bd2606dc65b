"""`Links` and `Mesh` together over real TCP on loopback; time is in the test's hand, the network is not."""

import asyncio
import contextlib
import logging
import random
import socket
from collections.abc import AsyncIterator, Callable

import pytest

from sandpiper.core.events import Now
from sandpiper.core.keepalive import DEAD_SECONDS, DOUBT_SECONDS, IDLE_SECONDS
from sandpiper.core.mesh import LARGER_WAITS, RETRY_FIRST, RETRY_MOST, Mesh
from sandpiper.crypto.handshake import PREAMBLE
from sandpiper.crypto.identity import Identity
from sandpiper.errors import LinkLost, RemoteProtocolError, StoreError
from sandpiper.net import links as links_module
from sandpiper.net import secure
from sandpiper.net.link import MAX_OUTBOX, Link, Pipe
from sandpiper.net.links import MAX_HANDSHAKES, PLAIN_REFUSAL, Links
from sandpiper.net.secure import SecureLink, accept_secure, dial_secure
from sandpiper.net.tcp import TcpPipe, dial, listen
from sandpiper.testing.conformance import DEADLINE, noise, read_to_end, refused, turns, until
from sandpiper.wire.admission import LinkFrame
from sandpiper.wire.frames import Bye, Ping, Pong, Presence, Records, decode_frame, encode_frame
from sandpiper.wire.ids import PeerKey, RoomId
from sandpiper.wire.limits import HANDSHAKE_SECONDS
from sandpiper.wire.records import Record

HOST = "127.0.0.1"
BY_KEY = sorted((Identity(noise(32, seed)) for seed in range(100, 106)), key=lambda identity: identity.key)
SMALL, MIDDLE, LARGE = BY_KEY[0], BY_KEY[1], BY_KEY[-1]


class Clock:
    def __init__(self) -> None:
        self.mono = 1000.0

    def __call__(self) -> Now:
        return Now(self.mono, 1_700_000_000_000)


class Party:
    """One node's links, a mesh that wants them, and a listener; it remembers what it was told."""

    def __init__(self, identity: Identity, clock: Clock, seed: int = 1) -> None:
        self.identity = identity
        self.key = identity.key
        self.clock = clock
        self.mesh = Mesh(self.key, random.Random(seed))
        self.ups: list[Link] = []
        self.downs: list[tuple[PeerKey, str]] = []
        self.frames: list[tuple[PeerKey, LinkFrame]] = []
        self.error: Exception | None = None
        self.checking: Callable[[LinkFrame], asyncio.Future[tuple[Record, ...]] | None] = lambda _frame: None
        self.answers = True
        self.changes = 0
        self.port = 0
        self.links: Links
        self.tasks: asyncio.TaskGroup

    # LinkEvents

    def link_up(self, link: Link, room: RoomId | None) -> None:
        self.ups.append(link)

    def link_down(self, peer: PeerKey, reason: str) -> None:
        self.downs.append((peer, reason))

    def check(self, peer: PeerKey, frame: LinkFrame) -> asyncio.Future[tuple[Record, ...]] | tuple[Record, ...]:
        checking = self.checking(frame)
        return () if checking is None else checking

    def frame(self, peer: PeerKey, frame: LinkFrame, records: tuple[Record, ...]) -> None:
        if isinstance(frame, Ping) and self.answers:
            self.links.send(peer, encode_frame(Pong(frame.number)))
        elif not isinstance(frame, Ping | Pong):
            self.frames.append((peer, frame))
            if self.error is not None:
                raise self.error

    # what tests do

    def changed(self) -> None:
        self.changes += 1

    def finds(self, *others: "Party", fresh: bool = True) -> None:
        for other in others:
            self.mesh.found(other.key, HOST, other.port, self.clock(), fresh=fresh)

    def say(self, peer: PeerKey, nick: str) -> None:
        self.links.send(peer, encode_frame(Presence(nick)))

    def heard(self, peer: PeerKey) -> list[str]:
        return [frame.nick for who, frame in self.frames if who == peer and isinstance(frame, Presence)]


@contextlib.asynccontextmanager
async def running(*parties: Party) -> AsyncIterator[None]:
    """Listening; at the end every task of theirs must end by itself."""
    async with contextlib.AsyncExitStack() as stack:
        for party in parties:
            await stack.enter_async_context(_running(party))
        yield


@contextlib.asynccontextmanager
async def _running(party: Party) -> AsyncIterator[None]:
    async with asyncio.timeout(DEADLINE * 3), asyncio.TaskGroup() as party.tasks:
        party.links = Links(party.identity, party.mesh, party, party.tasks, party.clock, None, party.changed)
        listener = await listen(party.links.accepted, range(1), (HOST,))
        party.port = listener.port
        try:
            yield
        finally:
            listener.close()
            await party.links.close_all()


async def pass_time(seconds: float, *parties: Party) -> None:
    """Let the clock go on; whoever wants to be called is called in time."""
    clock = parties[0].clock
    end = clock.mono + seconds
    while True:
        wishes = [wish for party in parties if (wish := party.links.deadline()) is not None]
        clock.mono = min([end, *(max(wish, clock.mono) for wish in wishes)])
        for party in parties:
            party.links.tick()
        await turns(5)
        if clock.mono >= end:
            return


async def linked(one: Party, other: Party) -> None:
    """Until both ends have a link, it is the same one, and it carries frames both ways."""

    async def settled() -> None:
        number = 0
        while True:
            number += 1
            word = f"{one.key.hex()[:4]}{number}"
            await until(lambda: one.links.get(other.key) and other.links.get(one.key), "a link at both ends")
            one.say(other.key, word)
            other.say(one.key, word)
            for _ in range(200):
                await asyncio.sleep(0.001)
                if word in other.heard(one.key) and word in one.heard(other.key):
                    return

    async with asyncio.timeout(DEADLINE):
        await settled()


def pair(clock: Clock, *, seed: int = 1) -> tuple[Party, Party]:
    return Party(SMALL, clock, seed), Party(LARGE, clock, seed + 1)


@pytest.fixture
def clock() -> Clock:
    return Clock()


GUESTS: list[TcpPipe] = []
"""Pipes that a test dialled by hand."""


@pytest.fixture(autouse=True)
async def guests_go_home() -> AsyncIterator[None]:
    yield
    for pipe in GUESTS:
        pipe.abort()
    GUESTS.clear()
    await turns()


async def raw_caller(party: Party) -> TcpPipe:
    pipe = await dial(HOST, party.port)
    GUESTS.append(pipe)
    return pipe


async def stranger_at(party: Party, identity: Identity = SMALL) -> SecureLink:
    """A link to a party, made by hand."""
    ups = len(party.ups)
    link = await dial_secure(await raw_caller(party), identity)
    await until(lambda: len(party.ups) > ups, "the link")
    return link


# ---------------------------------------------------------------- getting a link


async def test_two_that_find_each_other_are_linked_once(clock):
    small, large = pair(clock)
    async with running(small, large):
        small.finds(large)
        large.finds(small)
        await pass_time(0, small, large)
        await linked(small, large)
        await pass_time(LARGER_WAITS * 5, small, large)
        assert (len(small.ups), len(large.ups)) == (1, 1)
        assert (small.ups[0].dialled, large.ups[0].dialled) == (True, False)
    assert (len(small.downs), len(large.downs)) == (1, 1)


async def test_where_only_one_can_dial_there_is_a_link_too(clock):
    small, large = pair(clock)
    async with running(small, large):
        large.finds(small)
        await pass_time(LARGER_WAITS, small, large)
        await linked(small, large)
        assert large.ups[0].dialled


async def test_the_round_trip_of_a_new_link_is_measured(clock):
    small, large = pair(clock)
    async with running(small, large):
        small.finds(large)
        await pass_time(0, small)
        await until(lambda: small.links.rtt(LARGE.key) is not None, "a round trip")
        assert small.links.rtt(LARGE.key) == 0.0
        assert small.links.rtt(MIDDLE.key) is None


async def test_six_that_all_find_each_other_have_fifteen_links(clock):
    parties = [Party(identity, clock, seed) for seed, identity in enumerate(BY_KEY)]
    async with running(*parties):
        for party in parties:
            party.finds(*(other for other in parties if other is not party))
        await pass_time(LARGER_WAITS * 2, *parties)
        for number, one in enumerate(parties):
            for other in parties[number + 1 :]:
                await linked(one, other)


# ---------------------------------------------------------------- two links at once


@pytest.mark.parametrize("seed", range(4))
async def test_when_both_dial_at_once_both_keep_the_same_link(clock, seed):
    """Many rounds, each with other delays between the two dials and their handshakes."""
    rng = random.Random(seed)
    small, large = pair(clock, seed=seed)
    async with running(small, large):
        for _ in range(25):
            small.finds(large)
            large.finds(small)
            clock.mono += LARGER_WAITS * 20  # so that both are due
            first, second = (small, large) if rng.random() < 0.5 else (large, small)
            first.links.tick()
            await turns(rng.choice((0, 0, 0, 1, 2, 3, 5, 8, 13)))
            second.links.tick()
            await linked(small, large)
            ends = small.links.get(LARGE.key), large.links.get(SMALL.key)
            assert ends[0] is not None
            assert ends[1] is not None
            assert ends[0].dialled != ends[1].dialled, "the same link at both ends"
            await until(lambda: len(under_way(small) | under_way(large)) == 2, "the other dial's end")
            ends[0].abort()
            await until(lambda: not small.links.get(LARGE.key) and not large.links.get(SMALL.key), "the end")


def under_way(party: Party) -> set[asyncio.Task[object]]:
    """Tasks of this party's links."""
    return set(party.tasks._tasks)


@pytest.mark.parametrize("who", ["small", "large"])
async def test_an_address_given_by_a_person_and_found_by_a_beacon_makes_one_link(clock, who):
    small, large = pair(clock)
    one, other = (small, large) if who == "small" else (large, small)
    async with running(small, large):
        for _ in range(20):
            one.mesh.given(HOST, other.port, clock())
            one.finds(other)
            clock.mono += LARGER_WAITS * 2
            ups = len(one.ups), len(other.ups)
            one.links.tick()
            await linked(one, other)
            await until(lambda: len(under_way(one) | under_way(other)) == 2, "the other dial's end")
            assert (len(one.ups), len(other.ups)) == (ups[0] + 1, ups[1] + 1), "nobody saw two"
            one.ups[-1].abort()
            await until(lambda: not one.links.get(other.key) and not other.links.get(one.key), "the end")


async def test_a_given_address_of_a_peer_that_is_linked_leaves_the_link_alone(clock):
    small, large = pair(clock)
    async with running(small, large):
        small.finds(large)
        await pass_time(0, small, large)
        await linked(small, large)
        for one, other in ((small, large), (large, small)):
            one.mesh.given(HOST, other.port, clock())
            await pass_time(30, small, large)
            await until(lambda: len(under_way(small) | under_way(large)) == 2, "the end of the dial")
        assert (len(small.ups), len(large.ups)) == (1, 1)
        assert small.downs == large.downs == []


async def test_a_peer_that_starts_anew_takes_the_place_of_its_former_self_at_once(clock):
    """Its old link is still up here, because nobody told us."""
    large = Party(LARGE, clock)
    async with running(large):
        for number in range(3):
            link = await stranger_at(large)
            assert link.offer(encode_frame(Presence(f"life {number}")))
            await until(lambda: len(large.heard(SMALL.key)) == number + 1, "its word")  # noqa: B023
        assert large.downs == []
        assert large.heard(SMALL.key) == ["life 0", "life 1", "life 2"]


async def test_a_link_to_ourselves_is_told_and_ended(clock):
    small = Party(SMALL, clock)
    async with running(small):
        small.mesh.given(HOST, small.port, clock())
        await pass_time(0, small)
        await until(lambda: not under_way(small), "the end of the dial")
        await pass_time(600, small)
        assert small.ups == []
        assert small.links.get(SMALL.key) is None


async def test_who_has_our_key_is_told_so(clock):
    small = Party(SMALL, clock)
    async with running(small):
        link = await dial_secure(await raw_caller(small), SMALL)
        async with asyncio.timeout(DEADLINE):
            bye = decode_frame(await link.receive())
            assert isinstance(bye, Bye)
            assert bye.code == "same_key"
            with refused(LinkLost):
                await link.receive()
    assert small.ups == []


# ---------------------------------------------------------------- somebody else at the address


async def test_where_somebody_else_answers_no_link_is_harmed(clock):
    """A forged beacon, or a peer that has gone and whose address another has now."""
    small, large = pair(clock)
    async with running(small, large):
        small.finds(large)
        await pass_time(0, small, large)
        await linked(small, large)
        for _ in range(50):
            small.mesh.found(MIDDLE.key, HOST, large.port, clock(), fresh=True)
            await pass_time(1, small, large)
            await until(lambda: len(under_way(small) | under_way(large)) == 2, "the end of the dial")
        assert (len(small.ups), len(large.ups)) == (1, 1)
        await linked(small, large)


async def test_somebody_else_at_an_address_is_not_dialled_in_a_loop(clock):
    small, large = pair(clock)
    callers = 0

    def count(pipe: TcpPipe) -> None:
        nonlocal callers
        callers += 1
        large.links.accepted(pipe)

    async with running(small, large):
        listener = await listen(count, range(1), (HOST,))
        small.mesh.found(MIDDLE.key, HOST, listener.port, clock(), fresh=True)
        for _ in range(20):
            await pass_time(1, small, large)
            await until(lambda: not under_way(small), "the end of the dial")
        listener.close()
    assert callers == 1


# ---------------------------------------------------------------- losing a link


async def test_a_peer_that_dies_is_dialled_again_ever_more_seldom_until_it_is_back(clock):
    small, large = pair(clock)
    async with running(small):
        async with running(large):
            small.finds(large)
            await pass_time(0, small, large)
            await linked(small, large)
            clock.mono += 60
            small.finds(large, fresh=False)
        await until(lambda: small.downs, "the loss")
        assert small.links.get(LARGE.key) is None
        waits = []
        for _ in range(8):
            small.finds(large, fresh=False)  # others still tell of it
            deadline = small.links.deadline()
            assert deadline is not None
            waits.append(deadline - clock.mono)
            changes = small.changes
            await pass_time(waits[-1], small)
            await until(lambda: not under_way(small), "the end of the dial")
            assert small.changes > changes, "its owner is told to ask for the deadline again"
        assert RETRY_FIRST / 2 <= waits[0] <= RETRY_FIRST * 1.5
        assert RETRY_MOST / 2 <= waits[-1] <= RETRY_MOST * 1.5
        async with running(large):
            small.finds(large)
            await pass_time(RETRY_MOST * 2, small, large)
            await linked(small, large)


async def test_a_peer_that_refuses_us_is_not_asked_four_times_a_second_for_ever(clock):
    small, large = pair(clock)
    large.error = StoreError("The disk is full.", code="disk_full")
    async with running(small, large):
        for _ in range(30):
            small.finds(large, fresh=not small.ups)
            await pass_time(1, small, large)
            if small.links.get(LARGE.key):
                small.say(LARGE.key, "hello")
                await until(lambda: not small.links.get(LARGE.key), "the end")
                await until(lambda: not large.links.get(SMALL.key), "the end")
        assert 5 <= len(small.ups) <= 12
        assert all(reason for _, reason in small.downs)


async def test_a_peer_that_leaves_says_so(clock):
    small, large = pair(clock)
    async with running(small):
        async with running(large):
            small.finds(large)
            await pass_time(0, small, large)
            await linked(small, large)
        await until(lambda: small.downs, "the loss")
        assert small.frames[-1] == (LARGE.key, Bye("leaving"))


# ---------------------------------------------------------------- keep-alive


async def test_an_idle_link_is_kept_alive_for_hours(clock):
    small, large = pair(clock)
    async with running(small, large):
        small.finds(large)
        await pass_time(0, small, large)
        await linked(small, large)
        for _ in range(20):
            await pass_time(IDLE_SECONDS, small, large)
            await until(lambda: not_doubted(small, LARGE.key) and not_doubted(large, SMALL.key), "an answer")
        assert small.downs == large.downs == []


def not_doubted(party: Party, peer: PeerKey) -> bool:
    life = party.links._keepalive._lives[peer]
    return life.heard >= party.clock.mono - 1


async def test_a_link_that_answers_nothing_is_dead_after_a_minute(clock):
    """A cable pulled, a laptop closed: TCP says nothing for many minutes."""
    small, large = pair(clock)
    large.answers = False
    async with running(small, large):
        small.finds(large)
        await pass_time(0, small, large)
        await linked(small, large)
        await pass_time(DEAD_SECONDS - 1, small)
        assert small.downs == []
        await pass_time(1, small)
        await until(lambda: small.downs, "the loss")
        assert "does not answer" in small.downs[0][1]
        assert small.links.get(LARGE.key) is None
        await until(lambda: large.downs, "the loss at the other end")


async def test_after_sleep_a_link_must_answer_soon_and_everyone_is_dialled_at_once(clock):
    small, large = pair(clock)
    third = Party(MIDDLE, clock)
    large.answers = False
    async with running(small, large, third):
        small.finds(large, third)
        await pass_time(0, small, large, third)
        await linked(small, large)
        await linked(small, third)
        small.mesh.found(BY_KEY[2].key, HOST, dead_end(), clock(), fresh=True)
        await pass_time(20, small, large, third)
        await until(lambda: len(under_way(small)) == 2, "the end of the dial")
        waiting = small.links.deadline()
        assert waiting is not None
        assert waiting > clock.mono
        small.links.network_changed()
        assert small.links.deadline() == clock.mono, "dialled at once"
        await until(lambda: small.links.rtt(MIDDLE.key) == 0, "an answer")
        await turns()
        await pass_time(DOUBT_SECONDS, small, third)
        await until(lambda: small.downs, "the loss")
        assert [peer for peer, _ in small.downs] == [LARGE.key]
        assert small.links.get(MIDDLE.key) is not None


def dead_end() -> int:
    """A port where nothing listens."""
    with socket.socket() as sock:
        sock.bind((HOST, 0))
        port: int = sock.getsockname()[1]
        return port


# ---------------------------------------------------------------- backpressure


async def test_a_link_whose_peer_does_not_read_is_closed_when_its_outbox_is_full_and_made_again(clock, caplog):
    caplog.set_level(logging.INFO)
    large = Party(LARGE, clock)
    async with running(large):
        await stranger_at(large)
        frame = encode_frame(Records(noise(32), tuple(noise(60_000) for _ in range(8))))
        sent = 0
        while not large.links._ending:
            large.links.send(SMALL.key, frame)
            sent += len(frame)
            assert sent < MAX_OUTBOX + 32 * 1024 * 1024
        for _ in range(100):
            large.links.send(SMALL.key, frame)
        await until(lambda: large.downs, "the loss")
        assert large.downs == [(SMALL.key, f"{large.ups[0].address} was too slow.")]
        assert large.links.get(SMALL.key) is None
        assert [r.message for r in caplog.records if "takes nothing" in r.message] == [
            f"link to {large.ups[0].address} takes nothing any more: closed"
        ]
        again = await stranger_at(large)
        large.say(SMALL.key, "welcome back")
        async with asyncio.timeout(DEADLINE):
            while not isinstance(frame_in := decode_frame(await again.receive()), Presence):
                pass
        assert frame_in.nick == "welcome back"


async def test_a_slow_peer_does_not_slow_the_others(clock):
    small, large = pair(clock)
    async with running(small, large):
        large.finds(small)
        await pass_time(LARGER_WAITS, small, large)
        await linked(small, large)
        await stranger_at(large, MIDDLE)
        frame = encode_frame(Records(noise(32), (noise(60_000),)))
        for number in range(40):
            large.links.send(MIDDLE.key, frame)
            large.say(SMALL.key, f"news {number}")
        await until(lambda: [word for word in small.heard(LARGE.key) if "news" in word][-1:] == ["news 39"], "the news")


# ---------------------------------------------------------------- what comes over a link


async def last_words(link: SecureLink) -> Bye:
    """The frame that the other side says goodbye with."""
    async with asyncio.timeout(DEADLINE):
        while not isinstance(frame := decode_frame(await link.receive()), Bye):
            pass
        with refused(LinkLost):
            await link.receive()
    return frame


async def test_a_frame_that_cannot_be_read_ends_the_link_with_one_line_and_says_why(clock, caplog):
    caplog.set_level(logging.INFO)
    large = Party(LARGE, clock)
    async with running(large):
        link = await stranger_at(large)
        assert link.offer(b"\x01garbage")
        bye = await last_words(link)
        assert bye.code == "bad_frame"
        await until(lambda: large.downs, "the loss")
        assert "could not be read" in large.downs[0][1]
    assert len([r for r in caplog.records if r.levelno >= logging.WARNING]) == 1


async def test_whatever_comes_after_we_have_hung_up_is_not_looked_at(clock, caplog):
    """A flood is refused once, not ten thousand times."""
    caplog.set_level(logging.INFO)
    large = Party(LARGE, clock)
    async with running(large):
        link = await stranger_at(large)
        flood = encode_frame(Presence("x"))
        for _ in range(10_000):
            link.offer(flood)
        await until(lambda: large.frames, "the first of them")
        before = len(under_way(large))
        for _ in range(50):
            large.links.hang_up(SMALL.key, "flood", "too many frames")
        seen = len(large.frames)
        assert len(under_way(large)) <= before + 1
        await until(lambda: large.downs, "the end")
        assert len(large.frames) == seen
        assert large.downs == [(SMALL.key, "too many frames")]
    assert len([r for r in caplog.records if "too many frames" in r.message]) == 1


async def test_records_that_do_not_hold_end_the_link_though_nothing_comes_after_them(clock):
    large = Party(LARGE, clock)

    def checking(frame: LinkFrame) -> "asyncio.Future[tuple[Record, ...]] | None":
        if not isinstance(frame, Records):
            return None
        future: asyncio.Future[tuple[Record, ...]] = asyncio.get_running_loop().create_future()
        error = RemoteProtocolError("A record's signature does not hold; it was dropped.", code="bad_signature")
        asyncio.get_running_loop().call_later(0.01, future.set_exception, error)
        return future

    large.checking = checking
    async with running(large):
        link = await stranger_at(large)
        assert link.offer(encode_frame(Records(noise(32), (noise(100),))))
        bye = await last_words(link)
        assert bye.code == "bad_signature"
    assert len(large.downs) == 1


async def test_frames_take_effect_in_order_also_while_signatures_are_checked(clock):
    large = Party(LARGE, clock)
    rng = random.Random(1)

    def checking(frame: LinkFrame) -> "asyncio.Future[tuple[Record, ...]] | None":
        if not isinstance(frame, Records):
            return None
        future: asyncio.Future[tuple[Record, ...]] = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_later(rng.choice((0, 0.001, 0.003)), future.set_result, ())
        return future

    large.checking = checking
    async with running(large):
        link = await stranger_at(large)
        for number in range(60):
            kind = rng.random() < 0.5
            frame = Records(noise(32), (), 0) if kind else Presence(str(number))
            assert link.offer(encode_frame(frame))
            assert link.offer(encode_frame(Presence(f"after {number}")))
        await until(lambda: "after 59" in large.heard(SMALL.key), "the last one")
        heard = [int(word.split()[1]) for word in large.heard(SMALL.key) if word.startswith("after")]
        assert heard == list(range(60))


async def test_an_error_of_ours_in_taking_a_frame_ends_that_link_only(clock):
    large = Party(LARGE, clock)
    async with running(large):
        link, other = await stranger_at(large), await stranger_at(large, MIDDLE)
        large.error = StoreError("The disk is full.", code="disk_full")
        assert link.offer(encode_frame(Presence("x")))
        bye = await last_words(link)
        assert (bye.code, bye.reason) == ("disk_full", "The disk is full.")
        large.error = None
        assert other.offer(encode_frame(Presence("still here")))
        await until(lambda: large.heard(MIDDLE.key) == ["still here"], "the other link")


async def test_a_bug_ends_the_node_and_is_not_hidden(clock):
    large = Party(LARGE, clock)
    large.error = ZeroDivisionError("a bug")

    async def until_it_ends() -> None:
        async with running(large):
            link = await stranger_at(large)
            assert link.offer(encode_frame(Presence("x")))
            await asyncio.Event().wait()

    with pytest.raises(ExceptionGroup) as caught:
        await until_it_ends()
    assert caught.group_contains(ZeroDivisionError)
    await turns()


# ---------------------------------------------------------------- strangers


async def test_strangers_beyond_the_bound_are_refused_and_the_rest_is_let_go_in_time(clock, caplog, monkeypatch):
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(links_module, "HANDSHAKE_SECONDS", 1.0)
    large = Party(LARGE, clock)
    async with running(large):
        friend = await stranger_at(large)
        crowd = await asyncio.gather(*(raw_caller(large) for _ in range(MAX_HANDSHAKES + 20)))
        await until(lambda: len(large.links._strangers) == MAX_HANDSHAKES, "a full house")
        await until(lambda: len([r for r in caplog.records if "too many callers" in r.message]) == 20, "refusals")
        assert friend.offer(encode_frame(Presence("I am in already")))
        await until(lambda: large.heard(SMALL.key), "the friend")
        await until(lambda: not large.links._strangers, "their end")
        for pipe in crowd:
            with contextlib.suppress(LinkLost):
                assert await read_to_end(pipe) == b""
            pipe.abort()
        await stranger_at(large, MIDDLE)


async def test_a_burst_of_callers_in_one_moment_does_not_slip_past_the_bound(clock):
    large = Party(LARGE, clock)
    taken = []

    class Caller:
        address = "nobody"
        pending = 0

        async def read(self) -> bytes:
            taken.append(self)
            await asyncio.Event().wait()
            return b""

        def write(self, *parts: bytes) -> None: ...

        async def close(self) -> None: ...

        def abort(self) -> None: ...

    async with running(large):
        for _ in range(1000):
            large.links.accepted(Caller())  # type: ignore[arg-type]
        await turns()
        assert len(taken) == MAX_HANDSHAKES


async def test_a_stranger_that_drips_its_handshake_does_not_gain_time(clock, monkeypatch):
    limit, drops = 0.6, 20
    monkeypatch.setattr(links_module, "HANDSHAKE_SECONDS", limit)
    monkeypatch.setattr(secure, "HANDSHAKE_SECONDS", limit)
    large = Party(LARGE, clock)
    async with running(large):
        pipe = await raw_caller(large)
        ending = asyncio.ensure_future(read_to_end(pipe))
        sent = 0
        for byte in PREAMBLE + bytes(1000):
            pipe.write(bytes((byte,)))
            sent += 1
            await asyncio.wait({ending}, timeout=limit / drops)
            if ending.done():
                break
        with contextlib.suppress(LinkLost):
            assert await ending == b""
        assert sent <= drops * 1.6, "the limit is for all of it, and does not begin anew with the first byte"


@pytest.mark.parametrize(
    "said",
    [b"", b"x", b"GET / HTTP/1.0\r\n\r\n", b"SANDPIPER/2\n", PREAMBLE, bytes(300)],
    ids=["nothing", "a byte", "http", "another version", "a preamble", "zeros"],
)
async def test_callers_that_are_no_peers_get_one_line_in_the_log(clock, caplog, said):
    caplog.set_level(logging.INFO)
    large = Party(LARGE, clock)
    async with running(large):
        pipe = await raw_caller(large)
        pipe.write(said)
        await pipe.close()
        await until(lambda: caplog.records, "a line in the log")
        await until(lambda: not large.links._strangers, "the end")
    assert len(caplog.records) == 1
    assert caplog.records[0].levelno == logging.INFO
    assert "refused" in caplog.text


async def test_a_caller_of_the_old_dialect_is_told_how_it_would_be_served(clock):
    large = Party(LARGE, clock)
    async with running(large):
        pipe = await raw_caller(large)
        pipe.write(b'{"type":"join","sequence":0}\n')
        assert await read_to_end(pipe) == PLAIN_REFUSAL


async def test_a_caller_of_the_old_dialect_is_handed_over_and_counts_as_a_stranger_no_more(clock):
    large = Party(LARGE, clock)

    class Dialect:
        served: list[bytes]
        release = asyncio.Event()

        def __init__(self) -> None:
            self.served = []

        async def serve(self, pipe: Pipe, already: bytes) -> None:
            self.served.append(already)
            await self.release.wait()
            pipe.abort()

    dialect = Dialect()
    async with running(large):
        large.links._plain = dialect
        pipe = await raw_caller(large)
        pipe.write(b'{"type":"join"}\n')
        await until(lambda: dialect.served == [b'{"type":"join"}\n'], "the call")
        assert not large.links._strangers
        dialect.release.set()


async def test_more_links_than_one_node_keeps_are_refused_with_a_word(clock, monkeypatch):
    monkeypatch.setattr(links_module, "MAX_LINKS", 2)
    large = Party(LARGE, clock)
    async with running(large):
        for identity in BY_KEY[:2]:
            await stranger_at(large, identity)
        refused_one = await dial_secure(await raw_caller(large), BY_KEY[2])
        assert (await last_words(refused_one)).code == "full"
        again = await stranger_at(large, BY_KEY[0])
        assert again.offer(encode_frame(Presence("I take my own place")))
        await until(lambda: large.heard(BY_KEY[0].key), "a peer that is linked already")
        assert len(large.links._links) == 2


async def test_a_dialect_that_fails_leaves_no_pipe_open(clock):
    class Broken:
        async def serve(self, pipe: Pipe, already: bytes) -> None:
            raise ZeroDivisionError("a bug")

    large = Party(LARGE, clock)
    ends: list[bytes] = []

    async def until_it_ends() -> None:
        async with running(large):
            large.links._plain = Broken()
            pipe = await raw_caller(large)
            pipe.write(b"{")
            ends.append(await read_to_end(pipe))
            await asyncio.Event().wait()

    with pytest.raises(ExceptionGroup) as caught:
        await until_it_ends()
    assert caught.group_contains(ZeroDivisionError)


# ---------------------------------------------------------------- the end


async def test_leaving_waits_for_no_stranger_and_no_dial(clock):
    """Callers that say nothing, a dial nobody answers, a handshake under way: all are left standing."""
    small, large = pair(clock)
    loop = asyncio.get_running_loop()
    silent = await asyncio.start_server(lambda _reader, writer: held.append(writer), HOST, 0)
    held: list[asyncio.StreamWriter] = []
    async with running(small):
        strangers = [await raw_caller(small) for _ in range(3)]
        strangers[1].write(PREAMBLE)
        small.mesh.given(HOST, silent.sockets[0].getsockname()[1], clock())
        await pass_time(0, small)
        await until(lambda: held and len(small.links._strangers) == 3, "the callers")
        start = loop.time()
    assert loop.time() - start < HANDSHAKE_SECONDS / 2
    assert large.ups == []
    for pipe in strangers:
        with contextlib.suppress(LinkLost):
            assert await read_to_end(pipe) == b""
    for writer in held:
        writer.transport.abort()
    silent.close()
    await turns()


async def test_a_handshake_that_ends_while_we_leave_makes_no_link(clock):
    small = Party(SMALL, clock)
    entered = asyncio.Event()
    pipes: list[TcpPipe] = []

    def late(pipe: TcpPipe) -> None:
        pipes.append(pipe)
        entered.set()

    listener = await listen(late, range(1), (HOST,))
    async with running(small):
        small.mesh.given(HOST, listener.port, clock())
        await pass_time(0, small)
        await entered.wait()
    with refused(LinkLost):
        async with asyncio.timeout(DEADLINE):
            link = await accept_secure(pipes[0], LARGE)
            await link.receive()
    assert small.ups == []
    listener.close()
    await turns()


async def test_who_calls_while_we_leave_is_let_go(clock):
    small = Party(SMALL, clock)
    async with running(small):
        small.links._closing = True
        pipe = await raw_caller(small)
        with contextlib.suppress(LinkLost):
            assert await read_to_end(pipe) == b""
        await turns()
