"""Codes of whole nodes under attack, through a real relay: guessers in a crowd, restarts, whoever was put out."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import pytest

from sandpiper.core.admission import CodeEnded, CodeTried
from sandpiper.core.events import EnterPrivate
from sandpiper.core.private import begin_room
from sandpiper.crypto.codes import Code
from sandpiper.crypto.identity import Identity
from sandpiper.crypto.rooms import NO_SECRET, ROOM_SECRET_BYTES, RoomSecret
from sandpiper.errors import SandpiperError
from sandpiper.net.relays import parse_relay
from sandpiper.net.secure import SecureLink, secure_as_joiner
from sandpiper.node import moment
from sandpiper.wire.admission import CODE_ID_BYTES, MAX_GUESSES, NotAdmitted
from tests.insider import Insider, insider
from tests.relayed import Friend, Relayed, answering, friend, knock
from tests.served import HOST

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sandpiper.net.relays import RelayAddress
    from sandpiper.wire.ids import RoomId

ALICE, BOB, CAROL, DAN, EVE = (Identity(bytes((n,)) * 32) for n in (2, 3, 5, 7, 11))


@pytest.fixture(scope="module")
def relay(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RelayAddress]:
    with Relayed(tmp_path_factory.mktemp("relay")) as served:
        yield parse_relay(f"{HOST}:{served.port}")
        served.unharmed()


def other_words(code: Code) -> Code:
    one, other = code.words
    return Code(code.nameplate, (other, one) if one != other else (one, "zebra"))


async def try_at(guest: Friend, relay: RelayAddress, peer: str, code: Code, who: Identity = EVE) -> str:
    """One try of a code at one member; the reason why not, or `in`."""
    try:
        link = await secure_as_joiner(await knock(guest, relay, peer), who, code)
    except SandpiperError as exc:
        return exc.code
    assert isinstance(link, SecureLink)
    link.abort()
    return "in"


async def three(stack: AsyncExitStack, folder: Path, relay: RelayAddress) -> tuple[list[Insider], RoomId, Code]:
    """Alice, Bob and Carol in one room, all linked, and all knowing one code."""
    alice = await stack.enter_async_context(insider(ALICE, "alice", folder, relay))
    room, code = await alice.create("birds")
    others = []
    for who, nick in ((BOB, "bob"), (CAROL, "carol")):
        one = await stack.enter_async_context(insider(who, nick, folder, relay))
        await one.node.codes.join(code)
        others.append(one)
    everyone = [alice, *others]
    for one in everyone:
        await one.shares(room, *(other for other in everyone if other is not one))
    return everyone, room, code


# ---------------------------------------------------------------- guesses


async def test_guessers_in_parallel_at_all_members_get_three_and_those_on_their_way(
    tmp_path: Path, relay: RelayAddress
) -> None:
    async with AsyncExitStack() as stack:
        everyone, _, code = await three(stack, tmp_path, relay)
        guests = [await stack.enter_async_context(friend(relay, seed=n)) for n in range(4)]
        names = [await answering(guest, code.nameplate, len(everyone)) for guest in guests]
        judged = burnt = 0
        for _ in range(12):
            tries = (
                try_at(guest, relay, peer, other_words(code)) for guest, theirs in zip(guests, names, strict=True)
                for peer in theirs
            )  # fmt: skip
            ends = await asyncio.gather(*tries)
            assert set(ends) <= {"wrong_code", "busy", "code_burnt", "nobody_came"}
            judged += ends.count("wrong_code")
            burnt = ends.count("code_burnt")
            if burnt == len(ends):
                break
        assert MAX_GUESSES <= judged <= MAX_GUESSES + len(everyone) - 1
        assert burnt == len(guests) * len(everyone), "everybody knows that it is burnt"
        assert {await try_at(guests[0], relay, peer, code, DAN) for peer in names[0]} == {"code_burnt"}
        for one in everyone:
            assert [ended.reason for ended in one.of(CodeEnded)] == ["code_burnt"]
        assert min(one.of(CodeTried)[-1].left for one in everyone) == 0


async def test_guesses_are_not_forgotten_when_members_start_anew(tmp_path: Path, relay: RelayAddress) -> None:
    """One guess, then all but one of the members start anew, and so on: the third one burns the code all the same."""
    async with AsyncExitStack() as stack:
        (alice, *others), room, code = await three(stack, tmp_path, relay)
        for number in range(MAX_GUESSES):
            async with friend(relay, seed=number) as guest:
                names = await answering(guest, code.nameplate, 3)
                assert await try_at(guest, relay, names[number], other_words(code)) == "wrong_code"
            await alice.until(
                lambda n=number: len(alice.of(CodeTried)) == n + 1 or alice.of(CodeEnded),  # type: ignore[misc]
                "the guess",
            )
            assert bool(alice.of(CodeEnded)) == (number == MAX_GUESSES - 1)
            for one in others:
                await one.node.__aexit__(None, None, None)
            people = ((BOB, "bob"), (CAROL, "carol"))
            others = [await stack.enter_async_context(insider(who, nick, tmp_path, relay)) for who, nick in people]
            await alice.shares(room, *others)
        assert [ended.reason for ended in alice.of(CodeEnded)] == ["code_burnt"]
        async with friend(relay, seed=9) as guest:
            [name] = await answering(guest, code.nameplate, 1)
            assert await try_at(guest, relay, name, code, DAN) == "code_burnt"


async def test_a_joiner_who_slipped_once_comes_in_with_the_right_words(tmp_path: Path, relay: RelayAddress) -> None:
    async with (
        insider(ALICE, "alice", tmp_path, relay) as alice,
        insider(BOB, "bob", tmp_path, relay) as bob,
    ):
        room, code = await alice.create("birds")
        with pytest.raises(NotAdmitted) as caught:
            await bob.node.codes.join(other_words(code))
        assert (caught.value.code, caught.value.exit_code) == ("wrong_code", 4)
        assert await bob.node.codes.join(code) == room
        await alice.shares(room, bob)


# ---------------------------------------------------------------- who was put out


@pytest.mark.parametrize("ban", [False, True], ids=["kicked", "banned"])
async def test_who_was_put_out_does_not_come_back_with_a_code_that_it_knows(
    tmp_path: Path, relay: RelayAddress, ban: bool
) -> None:
    """Neither under its key, nor under another one: every code that it knew is closed, whoever made it."""
    async with AsyncExitStack() as stack:
        (alice, bob, carol), room, first = await three(stack, tmp_path, relay)
        second = await carol.invite(room)
        async with friend(relay) as guest:
            await answering(guest, second.nameplate, 3)  # all three have heard of it
        (alice.node.ban if ban else alice.node.kick)(room, bob.key)
        for one in (alice, carol):
            await one.until(lambda one=one: len(one.of(CodeEnded)) == 2, "both codes' end")  # type: ignore[misc]
            assert {ended.reason for ended in one.of(CodeEnded)} == {"code_withdrawn"}
            assert room in {known.id for known in one.node.rooms()}
        fresh = await stack.enter_async_context(insider(DAN, "dan", tmp_path, relay))
        for code in (first, second):
            for one in (bob, fresh):
                with pytest.raises(NotAdmitted) as caught:
                    await one.node.codes.join(code)
                assert caught.value.code == "code_withdrawn"
        assert set(alice.node.roles(room)) == {alice.key, carol.key}
        await fresh.node.codes.join(await alice.invite(room))
        await carol.shares(room, fresh)


async def test_a_code_that_was_made_after_a_removal_outlives_members_who_hear_of_it_late(
    tmp_path: Path, relay: RelayAddress
) -> None:
    async with AsyncExitStack() as stack:
        (alice, bob, carol), room, _ = await three(stack, tmp_path, relay)
        await carol.node.__aexit__(None, None, None)
        alice.node.kick(room, bob.key)
        code = await alice.invite(room)
        late = await stack.enter_async_context(insider(CAROL, "carol", tmp_path, relay))
        await late.shares(room, alice)
        await late.until(lambda: bob.key not in late.node.roles(room), "the removal")
        dan = await stack.enter_async_context(insider(DAN, "dan", tmp_path, relay))
        await dan.node.codes.join(code)
        await late.shares(room, dan)
        assert code.nameplate not in {ended.nameplate for ended in late.of(CodeEnded)}


async def test_who_leaves_closes_nobodys_code(tmp_path: Path, relay: RelayAddress) -> None:
    async with AsyncExitStack() as stack:
        (alice, bob, carol), room, code = await three(stack, tmp_path, relay)
        bob.node.leave(room)
        for one in (alice, carol):
            await one.until(lambda one=one: bob.key not in one.node.roles(room), "the leave")  # type: ignore[misc]
            assert not one.of(CodeEnded)
        dan = await stack.enter_async_context(insider(DAN, "dan", tmp_path, relay))
        assert await dan.node.codes.join(code) == room


# ---------------------------------------------------------------- each no is its own sentence


async def test_each_reason_for_which_somebody_is_not_let_in_is_its_own_sentence(
    tmp_path: Path, relay: RelayAddress
) -> None:
    async with AsyncExitStack() as stack:
        alice = await stack.enter_async_context(insider(ALICE, "alice", tmp_path, relay))
        dan = await stack.enter_async_context(insider(DAN, "dan", tmp_path, relay))
        sentences = {}

        async def refused(code: Code, why: str, exit_code: int) -> None:
            with pytest.raises(SandpiperError) as caught:
                await dan.node.codes.join(code)
            assert (caught.value.code, caught.value.exit_code) == (why, exit_code)
            assert caught.value.hint
            sentences[str(caught.value)] = why
            assert not any(word in caught.value.sentence() for word in code.words)

        room, code = await alice.create("birds")
        await refused(other_words(code), "wrong_code", 4)
        alice.node.ban(room, dan.key)
        await refused(await alice.invite(room), "banned", 1)
        run = alice.node._run
        run.admission(run.codes.withdraw(room, code.nameplate, moment()))
        await refused(code, "code_withdrawn", 4)
        # A code that has had its time: the node's own, with a life of half a second.
        nameplate = (await alice.invite(room)).nameplate
        run.codes.withdraw(room, nameplate, moment())
        short = Code(nameplate, code.words)
        run.admission(run.codes.issue(short, room, b"e" * CODE_ID_BYTES, moment(), seconds=0.5, relay=str(relay)))
        await alice.until(lambda: alice.of(CodeEnded)[-1].reason == "code_expired", "the code's end")
        await refused(short, "code_expired", 4)
        # A room of one, which is full of its owner.
        genesis = begin_room(ALICE, "nest", bytes(16), moment().wall_ms, 1)
        run.do(EnterPrivate(genesis.room, (genesis,), RoomSecret(bytes(ROOM_SECRET_BYTES)), NO_SECRET, relay.spelled))
        await refused(await alice.invite(genesis.room), "room_full", 1)
        await refused(Code("987654321", code.words), "no_such_code", 4)
        assert len(sentences) == 6
