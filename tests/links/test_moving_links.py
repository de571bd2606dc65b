"""A better link takes the place of another, and a dead one is noticed: `Links` over real TCP, in time of the test's."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from sandpiper.core.keepalive import BRISK_DEAD_SECONDS, GONE_DOUBT_SECONDS
from sandpiper.errors import LinkError
from sandpiper.net import links as links_module
from sandpiper.net.secure import Unwanted, accept_secure, dial_secure
from sandpiper.net.tcp import TcpPipe, dial, listen
from sandpiper.testing.conformance import turns, until
from sandpiper.wire.admission import Settled, encode_admission
from sandpiper.wire.frames import Bye, encode_frame
from sandpiper.wire.ids import RoomId
from tests.links.test_links import HOST, LARGE, SMALL, Clock, Party, linked, pair, pass_time, running

if TYPE_CHECKING:
    from sandpiper.core.events import PathKind
    from sandpiper.net.secure import SecureLink


ROOM = RoomId(b"r" * 32)


@pytest.fixture
def clock() -> Clock:
    return Clock()


async def pipes() -> tuple[TcpPipe, TcpPipe]:
    came: asyncio.Future[TcpPipe] = asyncio.get_running_loop().create_future()
    listener = await listen(came.set_result, range(1), (HOST,))
    one = await dial(HOST, listener.port)
    other = await came
    listener.close()
    return one, other


async def made(path: PathKind) -> tuple[SecureLink, SecureLink]:
    """Both ends of a link between the two that nobody has taken up yet."""
    one, other = await pipes()
    return await asyncio.gather(dial_secure(one, SMALL, path=path), accept_secure(other, LARGE, path=path))


async def joined(small: Party, large: Party, path: PathKind) -> None:
    for party, link in zip((small, large), await made(path), strict=True):
        party.links.adopt(link)
    await linked(small, large)


async def test_the_end_of_a_worse_link_is_no_loss_whoever_moves_first(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(links_module, "RETIRED_SECONDS", 0.2)
    small, large = pair(clock)
    async with running(small, large):
        await joined(small, large, "relay")
        for path, first in (("direct", large), ("lan", small)):
            before = {party: party.links.get(other.key) for party, other in ((small, large), (large, small))}
            ends = dict(zip((small, large), await made(path), strict=True))  # type: ignore[arg-type]
            second = small if first is large else large
            first.links.adopt(ends[first])
            await until(lambda first=first, ends=ends: first.ups[-1] is ends[first], "the better link")  # type: ignore[misc]
            second.say(first.key, "over the old one")  # nobody hears it: sync brings it again
            await turns(20)
            assert second.links.get(first.key) is before[second], "it has not moved yet, and nothing has ended"
            second.links.adopt(ends[second])
            await linked(small, large)
            assert "over the old one" not in first.heard(second.key)
            for party in (small, large):
                old = before[party]
                assert old is not None
                await until(lambda party=party: not party.links._retired, "the old one's end")  # type: ignore[misc]
                assert party.downs == []
                assert party.ups[-1].path == path


async def test_a_link_over_the_relay_does_not_take_the_place_of_a_better_one_that_lives(clock: Clock) -> None:
    small, large = pair(clock)
    async with running(small, large):
        await joined(small, large, "direct")
        best = small.links.get(LARGE.key)
        for party, link in zip((small, large), await made("relay"), strict=True):
            party.links.adopt(link)
        await linked(small, large)
        assert small.links.get(LARGE.key) is best


@pytest.mark.parametrize("end", ["says that it has all", "says something else", "is gone", "we leave"])
async def test_a_joiner_who_is_linked_already_is_waited_for_until_it_has_its_admission(clock: Clock, end: str) -> None:
    small, large = pair(clock)
    async with running(small, large):
        await joined(small, large, "relay")
        older = large.links.get(SMALL.key)
        theirs, ours = await made("direct")
        large.links.adopt(ours, ROOM)
        await turns(20)
        assert large.links.get(SMALL.key) is older, "it may be reading still"
        if end == "says that it has all":
            theirs.offer(encode_admission(Settled()))
            small.links.adopt(theirs)
            await until(lambda: large.links.get(SMALL.key) is ours, "the new link")
            assert large.downs == []
        elif end != "we leave":
            if end == "is gone":
                theirs.abort()
            else:
                theirs.offer(encode_frame(Bye("no")))
            await until(lambda: not large.links._settling, "the end of that")
            assert large.links.get(SMALL.key) is older
    theirs.abort()


@pytest.mark.parametrize("doubted", [True, False])
async def test_who_comes_over_the_relay_is_taken_while_the_better_link_is_in_doubt(clock: Clock, doubted: bool) -> None:
    """After roaming: the peer has said that it has no link to us, and ours has not shown life since."""
    small = Party(SMALL, clock)
    async with running(small):
        near, silent = await made("direct")
        small.links.adopt(near)
        await until(lambda: small.ups, "the direct link")
        if doubted:
            small.links.doubt(LARGE.key)
        one, other = await pipes()
        coming = asyncio.create_task(accept_secure(other, LARGE, path="relay"))
        if doubted:
            assert await small.links.over_relay(one, LARGE.key, dial=True)
            await until(lambda: small.ups[-1].path == "relay", "the relayed link")
            assert small.downs == []
            (await coming).abort()
        else:
            with pytest.raises(Unwanted):
                await small.links.over_relay(one, LARGE.key, dial=True)
            with pytest.raises(LinkError):
                await coming
            assert small.links.get(LARGE.key) is near
        silent.abort()


async def test_leaving_does_not_wait_for_links_that_others_have_replaced(clock: Clock) -> None:
    small, large = pair(clock)
    async with running(small, large):
        await joined(small, large, "relay")
        await joined(small, large, "direct")
        assert small.links._retired
        began = asyncio.get_running_loop().time()
    assert asyncio.get_running_loop().time() - began < links_module.RETIRED_SECONDS


async def test_a_link_that_the_other_side_has_lost_must_answer_at_once(clock: Clock) -> None:
    small, large = pair(clock)
    large.answers = False
    async with running(small, large):
        await joined(small, large, "direct")
        small.links.doubt(LARGE.key)
        await pass_time(GONE_DOUBT_SECONDS / 2, small)
        small.links.doubt(LARGE.key)  # saying it again gives it no more time
        await pass_time(GONE_DOUBT_SECONDS / 2, small)
        await until(lambda: small.downs, "the loss")


async def test_a_link_that_answers_a_doubt_lives_on(clock: Clock) -> None:
    small, large = pair(clock)
    async with running(small, large):
        await joined(small, large, "direct")
        small.links.doubt(LARGE.key)
        await until(lambda: small.links._keepalive._lives[LARGE.key].doubt is None, "an answer")
        await pass_time(GONE_DOUBT_SECONDS, small, large)
        assert small.downs == []
        small.links.doubt(SMALL.key)  # nobody's


async def test_a_direct_link_that_says_nothing_is_given_up_soon(clock: Clock) -> None:
    small, large = pair(clock)
    large.answers = False
    async with running(small, large):
        await joined(small, large, "direct")
        await pass_time(BRISK_DEAD_SECONDS, small)
        await until(lambda: small.downs, "the loss")
