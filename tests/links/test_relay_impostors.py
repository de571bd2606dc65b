"""Relays that answer in members' places, mix up bridges, twist what they carry, or flood, against whole nodes."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import random
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import pytest
from typing_extensions import override

from sandpiper.core.admission import Attempt, CodeTried
from sandpiper.core.meeting import MAX_NAMES
from sandpiper.core.private import begin_room
from sandpiper.crypto.codes import Code
from sandpiper.crypto.handshake import PREAMBLE
from sandpiper.crypto.identity import Identity
from sandpiper.crypto.pake import Secret
from sandpiper.crypto.signing import seal_record
from sandpiper.errors import LinkError, RemoteProtocolError, SandpiperError
from sandpiper.net import secure
from sandpiper.net.relays import parse_relay
from sandpiper.net.rendezvous import bridge, new_token
from sandpiper.net.secure import Unwanted, accept_secure, dial_secure, secure_as_member
from sandpiper.node import moment
from sandpiper.wire.admission import (
    CODE_ID_BYTES,
    MAX_GUESSES,
    PAKE_BYTES,
    Admitted,
    Asks,
    NotAdmitted,
    Roster,
    decode_admission,
    encode_admission,
)
from sandpiper.wire.ids import PeerKey, RoomId
from sandpiper.wire.records import Admit, Genesis
from sandpiper.wire.rendezvous import MAX_PEERS
from tests.crooked import Crooked, Impostor, honest
from tests.insider import insider
from tests.relayed import Relayed, answering, friend, knock, no_proxy
from tests.served import HOST

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from typing import Any

    from sandpiper.net.link import Pipe
    from sandpiper.net.secure import SecureLink
    from sandpiper.wire.records import Record
    from tests.crooked import Twist

ALICE, BOB, CAROL, EVE = (Identity(bytes((n,)) * 32) for n in (2, 3, 5, 11))
CODE = Code("42", ("pine", "ocean"))
OVER = (LinkError, RemoteProtocolError)


@pytest.fixture(scope="module")
def relay(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Relayed]:
    with Relayed(tmp_path_factory.mktemp("relay")) as served:
        yield served
        served.unharmed()


class Guess:
    """Somebody who answers for a code with words of its own (`Answerer`), and notes what it was shown."""

    def __init__(self, *words: tuple[str, str]) -> None:
        self._words = itertools.cycle(words)
        self.shown = 0
        self.hit = 0

    def begin(self, nameplate: str) -> Attempt:
        return Attempt(1, RoomId(bytes(32)), nameplate, Secret(next(self._words), b""), b"")

    def judge(self, attempt: Attempt) -> None:
        self.shown += 1

    def wrong(self, attempt: Attempt) -> None:
        raise RemoteProtocolError("a guesser tells nobody", code="silent")

    def proven(self, attempt: Attempt, peer: PeerKey) -> None:
        self.hit += 1

    def ended(self, attempt: Attempt) -> None:
        pass

    async def meet(self, pipe: Pipe) -> None:
        try:
            await secure_as_member(pipe, EVE, self)
        except SandpiperError:
            pipe.abort()


# ---------------------------------------------------------------- answering in members' places


@pytest.mark.parametrize("members", [1, 5, 100])
async def test_a_relay_that_plays_the_members_has_three_guesses_under_however_many_names(
    tmp_path: Path, members: int
) -> None:
    guess = Guess(("pine", "river"), ("ocean", "pine"), ("moss", "zenith"))
    impostor = Impostor(guess.meet, members=members)
    async with impostor.open(), insider(BOB, "bob", tmp_path, impostor.where) as bob:
        with pytest.raises(NotAdmitted) as caught:
            await bob.node.codes.join(CODE)
        assert (caught.value.code, caught.value.exit_code) == ("too_many_tries", 4)
        assert (guess.shown, guess.hit) == (MAX_GUESSES, 0)
        assert impostor.bridges == MAX_GUESSES


async def test_a_relay_that_guesses_right_is_believed_and_that_is_what_the_words_are_worth(tmp_path: Path) -> None:
    """The measure of the test above: the impostor there could have come in, had it known."""
    guess = Guess(CODE.words)
    impostor = Impostor(guess.meet)
    async with impostor.open(), insider(BOB, "bob", tmp_path, impostor.where) as bob:
        with pytest.raises(SandpiperError):
            await bob.node.codes.join(CODE)
    assert guess.hit == 1


class Liar(Guess):
    """A member that knows the code, and lets in with a roster of its making."""

    def __init__(self, make: Callable[[PeerKey], tuple[RoomId, tuple[bytes, ...]]]) -> None:
        super().__init__(CODE.words)
        self._make = make

    @override
    async def meet(self, pipe: Pipe) -> None:
        link, _ = await secure_as_member(pipe, EVE, self)
        assert isinstance(decode_admission(await link.receive()), Asks)
        room, records = self._make(link.peer)
        link.offer(encode_admission(Admitted(room, os.urandom(32), "all")))
        link.offer(encode_admission(Roster(records)))
        with contextlib.suppress(*OVER):  # the joiner hangs up
            await link.receive()


def _next(who: Identity, before: Record, body: Admit, room: RoomId) -> Record:
    return seal_record(who, room, before.seq + 1, before.id, (), 1000, body)


def _forged(kind: str, joiner: PeerKey) -> tuple[RoomId, tuple[bytes, ...]]:
    ours, other = (begin_room(ALICE, name, bytes(16), 1000) for name in ("birds", "other"))
    hers = begin_room(EVE, "birds", bytes(16), 1000)
    let_in = _next(ALICE, ours, Admit(joiner, "bob", (bytes(ours.id),)), ours.room)
    by_eve = seal_record(EVE, ours.room, 1, ours.prev, (), 1000, Admit(joiner, "bob", (bytes(ours.id),)))
    elsewhere = _next(ALICE, other, Admit(joiner, "bob", (bytes(other.id),)), other.room)
    flipped = bytearray(let_in.raw)
    flipped[-1] ^= 1
    return {
        "nothing": (ours.room, ()),
        "no genesis": (ours.room, (let_in.raw,)),
        "the genesis of another room": (ours.room, (hers.raw, let_in.raw)),
        "a genesis alone": (ours.room, (ours.raw,)),
        "let in by a stranger": (ours.room, (ours.raw, by_eve.raw)),
        "let in elsewhere": (ours.room, (ours.raw, elsewhere.raw)),
        "a flipped bit": (ours.room, (ours.raw, bytes(flipped))),
        "no record": (ours.room, (ours.raw, b"x" * 200)),
        "cut short": (ours.room, (ours.raw, let_in.raw[:-7])),
    }[kind]


FORGERIES = (
    "nothing", "no genesis", "the genesis of another room", "a genesis alone", "let in by a stranger",
    "let in elsewhere", "a flipped bit", "no record", "cut short",
)  # fmt: skip


@pytest.mark.parametrize("kind", FORGERIES)
async def test_a_roster_that_is_forged_leads_into_no_room(tmp_path: Path, kind: str) -> None:
    impostor = Impostor(Liar(lambda joiner: _forged(kind, joiner)).meet)
    async with impostor.open(), insider(BOB, "bob", tmp_path, impostor.where) as bob:
        with pytest.raises(SandpiperError) as caught:
            await bob.node.codes.join(CODE)
        assert caught.value.code != "timeout"
        assert not bob.node.rooms()
        assert not bob.node.linked()
    async with insider(BOB, "bob", tmp_path, impostor.where) as bob:
        assert not bob.node.rooms(), "nothing of it was kept"


def test_the_forgeries_differ_from_what_is_taken_in_one_thing_only() -> None:
    """Else they might be refused for something else."""
    genesis = begin_room(ALICE, "birds", bytes(16), 1000)
    assert isinstance(genesis.body, Genesis)
    room, records = _forged("let in by a stranger", BOB.key)
    assert (room, records[0]) == (genesis.room, genesis.raw)


# ---------------------------------------------------------------- downgrades in the first bytes

FIRST_WORDS = {
    "another version of the link": b"SANDPIPER/0\n",
    "the old dialect": b'{"type":"join","sender_id":"x"}\n',
    "a link without a code": PREAMBLE + b"\x00\x60" + bytes(96),
    "a refusal of the version": PREAMBLE + b"\x00\x08\x01version",
    "an unknown refusal": PREAMBLE + b"\x00\x09\x01plaintxt",
    "another mode": PREAMBLE + b"\x00\x22\x02" + bytes(33),
    "the joiner's own side": PREAMBLE + b"\x00\x22\x00A" + bytes(32),
    "a web page": b"HTTP/1.1 200 OK\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
}


@pytest.mark.parametrize("kind", FIRST_WORDS)
async def test_a_joiner_falls_back_to_nothing_whatever_it_is_answered(tmp_path: Path, kind: str) -> None:
    """It says one thing, the same each time: its version and the number."""
    said = bytearray()

    async def answer(pipe: Pipe) -> None:
        pipe.write(FIRST_WORDS[kind])
        while chunk := await pipe.read():
            said.extend(chunk)

    impostor = Impostor(answer)
    async with impostor.open(), insider(BOB, "bob", tmp_path, impostor.where) as bob:
        with pytest.raises(SandpiperError) as caught:
            await bob.node.codes.join(CODE)
        assert caught.value.exit_code in (1, 3, 4)
        if kind == "a refusal of the version":
            assert (caught.value.code, caught.value.exit_code) == ("version", 3)
            assert "Update" in caught.value.hint
        assert not bob.node.rooms()
        assert not bob.node.linked()
    assert bytes(said) == PREAMBLE + b"\x00\x04\x01\x0142"


@pytest.mark.parametrize(
    "words",
    [
        PREAMBLE + b"\x00\x21\x00" + bytes(32),  # a link without a code
        b"SANDPIPER/0\n\x00\x04\x01\x0142",
        PREAMBLE + b"\x00\x04\x01\x0242",  # another version of the admission
        PREAMBLE + b"\x00\x04\x02\x0142",  # another mode
        b'{"type":"join","sender_id":"x","username":"x","sequence":0}\n',
        b"GET / HTTP/1.1\r\n\r\n",
        PREAMBLE + b"\xff\xff",
    ],
    ids=["no code", "old link", "old admission", "mode", "old dialect", "web", "length"],
)
async def test_a_member_at_a_bridge_answers_for_its_code_and_speaks_to_nobody_who_comes_without_one(
    tmp_path: Path, relay: Relayed, words: bytes
) -> None:
    """Not even as a stranger is anybody linked who came over a bridge without knowing the words."""
    where = parse_relay(f"{HOST}:{relay.port}")
    async with insider(ALICE, "alice", tmp_path, where) as alice, friend(where) as guest:
        _, code = await alice.create("birds")
        [name] = await answering(guest, code.nameplate, 1)
        pipe = await knock(guest, where, name)
        pipe.write(words)
        heard = b""
        async with asyncio.timeout(20):
            while chunk := await pipe.read():
                heard += chunk
        answered = len(PREAMBLE) + 2 + 1 + PAKE_BYTES  # said to whoever has asked for the bridge, before it has come
        assert heard[:answered].startswith(PREAMBLE + b"\x00\x22\x00")
        assert heard[answered:] in (b"", b"\x00\x08\x01version")
        assert not alice.node.linked()
        assert not alice.of(CodeTried), "it was no guess"
        await pipe.close()


# ---------------------------------------------------------------- between two honest sides


def flip(rng: random.Random) -> Twist:
    def twist(chunk: bytes, _at: int) -> bytes:
        where = rng.randrange(len(chunk))
        return chunk[:where] + bytes((chunk[where] ^ 1 << rng.randrange(8),)) + chunk[where + 1 :]

    return twist


def swap(_rng: random.Random) -> Twist:
    return lambda chunk, _at: chunk[len(chunk) // 2 :] + chunk[: len(chunk) // 2]


def replay(_rng: random.Random) -> Twist:
    return lambda chunk, _at: chunk + chunk


def cut(rng: random.Random) -> Twist:
    after = rng.randrange(10, 100)

    def twist(chunk: bytes, at: int) -> bytes:
        if at + len(chunk) > after:
            raise ConnectionResetError
        return chunk

    return twist


def noise(rng: random.Random) -> Twist:
    return lambda chunk, _at: rng.randbytes(len(chunk))


@pytest.mark.parametrize("make", [flip, swap, replay, cut, noise])
async def test_a_join_through_a_relay_that_twists_ends_in_an_error_and_through_an_honest_one_in_the_room(
    tmp_path: Path, relay: Relayed, make: Callable[[random.Random], Twist], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(secure, "HANDSHAKE_SECONDS", 1.5)  # a wrong length is waited for
    middle = Crooked(relay.port)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(middle.open())
        alice = await stack.enter_async_context(insider(ALICE, "alice", tmp_path, middle.where))
        bob = await stack.enter_async_context(insider(BOB, "bob", tmp_path, middle.where))
        room, code = await alice.create("birds")
        middle.twist = make(random.Random(7))
        joining = asyncio.create_task(bob.node.codes.join(code))
        await bob.until(lambda: joining.done() or middle.bridges >= 6, "some tries, or an answer")
        assert set(alice.node.roles(room)) == {alice.key}, "nobody was let in"
        assert not bob.node.rooms()
        assert len(alice.of(CodeTried)) < MAX_GUESSES
        middle.twist = honest
        try:
            assert await joining == room
        except SandpiperError:
            assert await bob.node.codes.join(code) == room
        alice.say(room, "there you are")
        await bob.shows("there you are")
        # The same between members: links break, nothing false is taken, and nothing is lost once it stops.
        await bob.until(lambda: bob.node.members(room), "a shared room")
        middle.twist = make(random.Random(8))
        before = middle.bridges
        middle.cut()
        await alice.until(lambda: middle.bridges >= before + 4, "tries through the twisting one")
        alice.say(room, "said meanwhile")
        bob.say(room, "so did I")
        middle.twist = honest
        await bob.shows("there you are", "said meanwhile", "so did I")
        await alice.shows("there you are", "said meanwhile", "so did I")
        assert sorted(alice.texts()) == sorted(bob.texts()) == ["said meanwhile", "so did I", "there you are"]


async def test_a_joiner_whom_a_relay_leads_to_a_member_of_another_room_comes_in_nowhere(
    tmp_path: Path, relay: Relayed
) -> None:
    """Both rooms have one number: a relay may give it out twice, and lead anybody to any bridge."""
    where = parse_relay(f"{HOST}:{relay.port}")
    async with AsyncExitStack() as stack:
        alice = await stack.enter_async_context(insider(ALICE, "alice", tmp_path, where))
        carol = await stack.enter_async_context(insider(CAROL, "carol", tmp_path))
        guest = await stack.enter_async_context(friend(where))
        room, code = await alice.create("birds")
        [name] = await answering(guest, code.nameplate, 1)
        other, _ = await carol.create("fishes")
        run = carol.node._run
        elsewhere = Code(code.nameplate, ("zebra", "moss"))
        run.admission(run.codes.issue(elsewhere, other, b"e" * CODE_ID_BYTES, moment()))

        async def lead(pipe: Pipe) -> None:
            far = await knock(guest, where, name)
            ways = ((pipe, far), (far, pipe))
            await asyncio.gather(*(_pass_on(*way) for way in ways))

        impostor = Impostor(lead)
        await stack.enter_async_context(impostor.open())
        bob = await stack.enter_async_context(insider(BOB, "bob", tmp_path, impostor.where))
        with pytest.raises(NotAdmitted) as caught:
            await bob.node.codes.join(elsewhere)  # carol's code, and the relay leads to alice
        assert caught.value.code == "wrong_code"
        assert not bob.node.rooms()
        assert (set(alice.node.roles(room)), set(carol.node.roles(other))) == ({alice.key}, {carol.key})
        assert await bob.node.codes.join(code) == room, "led by the same way with the words of that room, one is in"


async def _pass_on(source: Pipe, target: Pipe) -> None:
    with contextlib.suppress(LinkError):
        while chunk := await source.read():
            target.write(chunk)
    await target.close()


# ---------------------------------------------------------------- what an active relay learns of members


class Overheard:
    """A `Pipe` that remembers what it read."""

    def __init__(self, pipe: Pipe) -> None:
        self.pipe, self.heard, self.address, self.pending = pipe, bytearray(), "eve", 0

    async def read(self) -> bytes:
        chunk = await self.pipe.read()
        self.heard += chunk
        return chunk

    def write(self, *parts: bytes) -> None:
        self.pipe.write(*parts)

    async def close(self) -> None:
        await self.pipe.close()

    def abort(self) -> None:
        self.pipe.abort()


@pytest.mark.parametrize("dials", [True, False], ids=["dialled by a member", "dialling a member"])
async def test_a_relay_that_plays_the_other_member_gets_no_link_and_not_a_frame(dials: bool) -> None:
    """Whoever dials over a bridge shows nothing of itself; whoever is dialled proves its key, and says nothing more."""
    eves: list[SecureLink | BaseException] = []
    done = asyncio.Event()

    async def meet(pipe: Pipe) -> None:
        tapped = Overheard(pipe)
        try:
            link = await (accept_secure(tapped, EVE) if dials else dial_secure(tapped, EVE))
            eves.append(link)
            with pytest.raises(OVER):
                await link.receive()
        except OVER as exc:
            eves.append(exc)
        done.set()

    impostor = Impostor(meet)
    async with impostor.open():
        pipe = await bridge(impostor.where, new_token(), no_proxy)
        if dials:
            with pytest.raises(Unwanted):
                await dial_secure(pipe, ALICE, lambda peer: peer == BOB.key, path="relay")
        else:
            link = await accept_secure(pipe, ALICE, path="relay")
            assert link.peer == EVE.key != BOB.key
            link.abort()
        async with asyncio.timeout(20):
            await done.wait()
    [met] = eves
    if dials:
        assert isinstance(met, OVER), "it has not even learnt who dialled"
    else:
        assert not isinstance(met, BaseException)
        assert met.peer == ALICE.key


# ---------------------------------------------------------------- floods of a hostile rendezvous


async def test_a_rendezvous_that_names_peers_without_end_fills_no_memory(tmp_path: Path) -> None:
    numbers = itertools.count()

    def flood(line: dict[str, Any]) -> list[dict[str, Any]]:
        if line["type"] != "register_peer":
            return []
        room: dict[str, Any] = {name: line[name] for name in ("code", "tag") if name in line}
        out: list[dict[str, Any]] = []
        for _ in range(MAX_NAMES // MAX_PEERS + 8):
            names = [f"p{next(numbers)}" for _ in range(MAX_PEERS)]
            out.append({"type": "peer_registered", "peer": "you", "peers": names, **room})
            out += [{"type": "signal", "from": name, "data": "AQ=="} for name in names]
            out += [
                {"type": "peer_joined", "peer": f"q{next(numbers)}", **room},
                {"type": "error", "code": "no_room", "about": "register_peer", "room": str(next(numbers) + 1)},
                {"type": "room_created", "code": str(next(numbers) + 1), "expires_at": 1},
            ]
        return [*out, {"type": "ping", "n": int(line.get("code", 0))}]

    ponged = asyncio.Event()

    def more(line: dict[str, Any]) -> list[dict[str, Any]]:
        if line["type"] == "pong" and line.get("n") == 43:  # all that was said about this number has been heard
            ponged.set()
        return flood(line)

    async def stall(_pipe: Pipe) -> None:
        await asyncio.Event().wait()

    impostor = Impostor(stall, more=more)
    async with impostor.open(), insider(ALICE, "alice", tmp_path, impostor.where) as alice:
        await alice.create("birds")
        joining = asyncio.create_task(alice.node.codes.join(Code("43", ("pine", "ocean"))))
        async with asyncio.timeout(20):
            await ponged.wait()
        [place] = alice.node._meetings.views()
        assert not joining.done()
        assert len(place.sought["43"]) <= MAX_PEERS + 1
        assert place.sought["43"].keys() <= place.guest._rooms_of.keys(), "those of whom it has spoken last"
        joining.cancel()
        with pytest.raises(asyncio.CancelledError):
            await joining
        assert next(numbers) > 2 * MAX_NAMES
        guest, meeting = place.guest, alice.node._meetings._meeting
        assert len(meeting._told) <= MAX_NAMES
        assert len(guest._rooms_of) <= 64 * (MAX_PEERS + 1)
        assert len(place.refused) <= 64
        assert len(place.inside) <= 64
