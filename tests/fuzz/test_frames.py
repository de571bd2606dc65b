"""Bytes from anybody who can connect: no handshake, half of one, and every lie that an encrypted link can carry."""

import asyncio
import contextlib
import random
import time
from collections.abc import Callable

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sandpiper.core.limits import FRAME_BURST, MAX_PUSHED
from sandpiper.crypto.handshake import PREAMBLE
from sandpiper.crypto.identity import Identity
from sandpiper.crypto.rooms import direct_room, open_room
from sandpiper.crypto.signing import seal_record
from sandpiper.errors import LinkLost
from sandpiper.net.links import MAX_HANDSHAKES
from sandpiper.net.secure import SecureLink
from sandpiper.net.tcp import TcpPipe
from sandpiper.testing.conformance import read_to_end, turns, until
from sandpiper.wire.frames import (
    LINK_VERSION,
    AnyFrame,
    Bye,
    Fetch,
    Heads,
    Hello,
    Ping,
    Pong,
    Presence,
    Records,
    Rooms,
    Typing,
    Want,
    decode_frame,
    encode_frame,
)
from sandpiper.wire.ids import NO_RECORD, RecordId, RoomId
from sandpiper.wire.limits import MAX_FETCH_IDS, MAX_FRAME_BYTES, MAX_HEADS, MAX_RECORD_BYTES, MAX_SEQ, SIGNATURE_BYTES
from sandpiper.wire.records import AnyBody, Head, Profile, Record, Text
from tests.fuzz.arena import GENERAL, PATIENCE, Arena, Guest, resident

ELSEWHERE = open_room("elsewhere")
LEAK = 12 * 1024 * 1024
QUICK = settings(max_examples=250, suppress_health_check=[HealthCheck.too_slow], deadline=None)


def record(
    identity: Identity, body: AnyBody | str = "hello", *, room: RoomId = GENERAL, seq: int = 1,
    prev: RecordId = NO_RECORD, deps: tuple[Head, ...] = (), time_ms: int | None = None,
) -> Record:  # fmt: skip
    body = Text(body) if isinstance(body, str) else body
    return seal_record(identity, room, seq, prev, deps, time_ms or int(time.time() * 1000), body)


def heads(rng: random.Random, count: int = MAX_HEADS) -> tuple[Head, ...]:
    return tuple(Head(rng.randbytes(32), rng.randrange(1, MAX_SEQ), rng.randbytes(32)) for _ in range(count))


def samples() -> list[AnyFrame]:
    """One good frame of each kind."""
    someone, some = Identity(b"s" * 32), Head(b"a" * 32, 3, b"i" * 32)
    return [
        Hello(LINK_VERSION, "x", "guest", int(time.time() * 1000), (b"t" * 8,)), Rooms((b"t" * 8,)),
        Presence("x", "away"), Heads(GENERAL, (some,)), Want(GENERAL, (some,), 5), Fetch(GENERAL, (b"i" * 32,)),
        Records(GENERAL, (record(someone).raw,)), Ping(1), Pong(1), Typing(GENERAL), Bye("leaving", "x"),
    ]  # fmt: skip


SAMPLES = [encode_frame(frame) for frame in samples()]
ODD = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text(max_size=50)
    | st.binary(max_size=100),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)  # fmt: skip


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A frame of any kind, with its bytes or one of its fields changed."""
    raw = bytearray(draw(st.sampled_from(SAMPLES)))
    if draw(st.booleans()):
        fields = msgspec.msgpack.decode(bytes(raw[1:]))
        fields[draw(st.integers(0, len(fields) - 1))] = draw(ODD)
        if draw(st.booleans()):
            fields = fields[: draw(st.integers(0, len(fields)))]
        return bytes(raw[:1]) + msgspec.msgpack.encode(fields)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(raw) - 1))
        match draw(st.sampled_from(["flip", "cut", "grow"])):
            case "flip":
                raw[at] ^= draw(st.integers(1, 255))
            case "cut":
                raw = raw[: max(1, at)]
            case _:
                raw[at:at] = draw(st.binary(max_size=20))
    return bytes(raw)


@st.composite
def any_frame(draw: st.DrawFn) -> bytes:
    garbage = st.builds(lambda kind, body: bytes((kind,)) + body, st.integers(0, 255), st.binary(max_size=300))
    return draw(mutated() | garbage | st.sampled_from(SAMPLES))


# ---------------------------------------------------------------- frames


@QUICK
@given(st.lists(any_frame(), min_size=1, max_size=8), st.booleans())
def test_no_frames_harm_a_node(arena: Arena, frames: list[bytes], greeted: bool) -> None:
    async def attack() -> None:
        guest = await arena.guest(hello=greeted)
        for frame in frames:
            guest.link.offer(frame)
        await guest.taken()
        guest.link.abort()
        await turns()

    warnings = arena.ear.lines["WARNING"]
    arena.run(attack())
    assert not arena.ear.wrong, arena.ear.wrong
    assert arena.ear.lines["WARNING"] - warnings <= 1, "one line for one link"


def test_the_friends_still_talk_and_nothing_was_stored(arena: Arena) -> None:
    arena.check()
    assert [text for text in arena.strangers_stored() if text != "hello"] == []


def refusals() -> dict[str, tuple[bytes, str]]:
    """Frames after hello, and the code with which the link is closed because of them."""
    eve = Identity(b"v" * 32)
    good = record(eve, "never stored")
    bad_signature = bytes(64) + good.raw[64:]
    flipped = good.raw.replace(b"never", b"newer")
    swapped = record(Identity(b"w" * 32)).raw[:SIGNATURE_BYTES] + good.raw[SIGNATURE_BYTES:]
    newer = bytearray(good.raw)
    newer[SIGNATURE_BYTES + 1] = 2
    assert newer != bytearray(good.raw)

    def records(*raws: bytes) -> bytes:
        return encode_frame(Records(GENERAL, tuple(raws)))

    def wants(*seqs: int, recent: int = 0) -> bytes:
        return b"\x05" + msgspec.msgpack.encode([GENERAL, [[b"a" * 32, seq, b"i" * 32] for seq in seqs], recent])

    return {
        "no signature": (records(bad_signature), "bad_signature"),
        "a flipped bit": (records(flipped), "bad_signature"),
        "the signature of another": (records(swapped), "bad_signature"),
        "one bad of several": (records(*[good.raw] * (MAX_PUSHED - 1), bad_signature), "bad_signature"),
        "of another room": (records(record(eve, "never stored", room=ELSEWHERE).raw), "bad_record"),
        "of another version": (records(bytes(newer)), "version"),
        "an empty record": (records(b""), "bad_record"),
        "garbage": (records(b"\xc1" * 500), "bad_record"),
        "too long a record": (b"\x07" + msgspec.msgpack.encode([GENERAL, [bytes(MAX_RECORD_BYTES + 1)]]), "bad_frame"),
        "too many records": (b"\x07" + msgspec.msgpack.encode([GENERAL, [b"x"] * 257]), "bad_frame"),
        "too many heads": (wants(*[1] * (MAX_HEADS + 1)), "bad_frame"),
        "an absurd seq": (wants(2**64 - 1), "bad_frame"),
        "a seq of zero": (wants(0), "bad_frame"),
        "too much wanted": (wants(recent=2**40), "bad_frame"),
        "nothing": (b"\x07", "bad_frame"),
        "deep": (b"\x04" + b"\x91" * 100_000, "bad_frame"),
        "a full frame of nothing": (b"\x01" + bytes(MAX_FRAME_BYTES - 1), "bad_frame"),
        "another hello": (encode_frame(Hello(LINK_VERSION + 1, "x", "eve", 0, ())), "version"),
    }  # fmt: skip


@pytest.mark.parametrize("what", refusals())
def test_what_breaks_the_rules_ends_the_link_with_one_line_and_says_why(arena: Arena, what: str) -> None:
    raw, code = refusals()[what]

    async def attack() -> str:
        guest = await arena.guest()
        await guest.taken()
        guest.link.offer(raw)
        await guest.taken()
        return guest.bye

    before = arena.ear.lines["WARNING"], arena.ear.lines["INFO"]
    assert arena.run(attack()) == code
    arena.check()
    told = [line for line in list(arena.ear.newest)[-30:] if "link to" in line]
    assert told, "one clear line"
    assert arena.ear.lines["WARNING"] - before[0] <= 1
    assert arena.ear.lines["INFO"] - before[1] <= 3
    assert not [text for text in arena.strangers_stored() if "never stored" in text]


@pytest.mark.parametrize(
    "frame", [f for f in samples() if not isinstance(f, Hello | Bye | Ping | Pong)], ids=lambda f: type(f).__name__
)
def test_nothing_is_taken_before_hello(arena: Arena, frame: AnyFrame) -> None:
    async def attack() -> str:
        guest = await arena.guest(hello=False)
        guest.send(frame)
        await guest.taken()
        return guest.bye

    assert arena.run(attack()) == "protocol"
    arena.check()


def test_records_that_nobody_asked_for_are_neither_checked_nor_stored(arena: Arena) -> None:
    """Answers out of the blue, and more in one push than honest peers push: looking at them would cost too much."""

    async def attack() -> None:
        guest = await arena.guest()
        raws = tuple(record(guest.identity, f"never stored {n}").raw for n in range(MAX_PUSHED + 1))
        for answer in (1, 2, 3):
            guest.send(Records(GENERAL, (bytes(64) + raws[0][64:],), answer, more=True))
        guest.send(Records(GENERAL, raws))
        assert await guest.taken(), "its time may come: the link stays"

    arena.run(attack())
    arena.check()
    assert not [text for text in arena.strangers_stored() if "never stored" in text]


def test_another_version_is_told_so(arena: Arena) -> None:
    async def attack() -> str:
        guest = await arena.guest(hello=False)
        guest.hello(version=LINK_VERSION + 1)
        await guest.taken()
        return guest.bye

    assert arena.run(attack()) == "version"


def test_rooms_that_are_not_shared_stay_closed(arena: Arena) -> None:
    """Of others' direct rooms, and of rooms that the guest does not say it is in, nothing is told or taken."""
    secret = direct_room(arena.victim.key, arena.friend.key)

    async def open_the_secret_room() -> None:
        arena.victim.open_direct(arena.friend.key)
        arena.victim.post(secret, Text("for the friend only"))
        await until(lambda: "for the friend only" in arena.told(arena.friend)(), "the secret")

    async def attack() -> list[AnyFrame]:
        guest = await arena.guest(hello=False)
        guest.hello(GENERAL, secret)
        for room in (secret, ELSEWHERE):
            guest.send(Want(room, ()))
            guest.send(Want(room, (), 100))
            guest.send(Heads(room, ()))
            guest.send(Fetch(room, (b"x" * 32,)))
            guest.send(Records(room, (record(guest.identity, "never stored", room=room).raw,)))
        assert await guest.taken(), "refused, not closed: it may just be late"
        return guest.got

    arena.run(open_the_secret_room())
    got = arena.run(attack())
    assert not [frame for frame in got if isinstance(frame, Records | Heads) and frame.room != GENERAL]
    assert "never stored" not in arena.strangers_stored()
    arena.check()


# ---------------------------------------------------------------- floods


FLOODS: dict[str, Callable[[random.Random, int], AnyFrame]] = {
    "pings": lambda _rng, n: Ping(n),
    "presence": lambda _rng, n: Presence(f"nick{n}", "x" * 100),
    "typing": lambda _rng, _n: Typing(GENERAL),
    "rooms": lambda rng, _n: Rooms(tuple(rng.randbytes(8) for _ in range(20))),
    "records of a room that is not there": lambda _rng, _n: Records(ELSEWHERE, (b"x" * 100,) * 10),
    "wants": lambda rng, _n: Want(GENERAL, heads(rng, 3), 0),
    "fetches": lambda rng, _n: Fetch(GENERAL, tuple(rng.randbytes(32) for _ in range(5))),
}


@pytest.mark.parametrize("what", FLOODS)
def test_a_flood_over_the_budget_ends_the_link_and_holds_up_nobody(arena: Arena, what: str) -> None:
    rng = random.Random(7)

    async def attack() -> list[str]:
        guest = await arena.guest()
        assert await guest.taken()
        byes: list[str] = []

        async def read() -> None:
            with contextlib.suppress(LinkLost):
                while True:
                    frame = decode_frame(await guest.link.receive())
                    byes.extend([frame.code] if isinstance(frame, Bye) else [])

        reading = asyncio.ensure_future(read())
        for n in range(int(FRAME_BURST * 2)):
            guest.link.offer(encode_frame(FLOODS[what](rng, n)))
            if n % 200 == 0:
                await asyncio.sleep(0)
            if reading.done():
                break
        async with asyncio.timeout(PATIENCE):
            await reading
        return byes

    lines = arena.ear.lines.total()
    with arena.quietly():
        assert arena.run(attack()) in (["flood"], []), "the last word may be lost where so much is under way"
        arena.check()
    assert arena.ear.lines.total() - lines <= 3


def test_guests_who_lie_about_what_they_hold_leave_memory_flat(arena: Arena) -> None:
    """A hundred thousand authors that do not exist, a million times."""
    rng = random.Random(8)

    async def lie(rounds: int) -> None:
        guest = await arena.guest()
        assert await guest.taken()
        for n in range(rounds):
            guest.send(Heads(GENERAL, heads(rng), full=n % 3 == 0))
            if n % 5 == 0 and not await guest.taken():
                guest = await arena.guest()
        await guest.taken()

    with arena.quietly():
        arena.run(lie(20))
        arena.check()
        before = resident()
        arena.run(lie(60))
        arena.check()
        assert resident() - before < LEAK


def test_wants_with_absurd_numbers_from_one_who_does_not_read_end_its_link(arena: Arena) -> None:
    """What it asks for piles up for it, up to the outbox; others are served meanwhile."""
    rng = random.Random(9)

    async def fill() -> None:
        for n in range(300):
            arena.victim.post(GENERAL, Text(f"long {n} " + "x" * 8000))
        await until(lambda: any(t.startswith("long 299 ") for t in arena.told(arena.friend)()), "the long ones")

    async def attack() -> None:
        guest = await arena.guest()
        assert await guest.taken()
        for _ in range(300):
            guest.send(Want(GENERAL, (), 0))
            guest.send(Want(GENERAL, heads(rng, 100), 256))
            guest.send(Fetch(GENERAL, tuple(rng.randbytes(32) for _ in range(MAX_FETCH_IDS))))
            await asyncio.sleep(0)
        await until(lambda: arena.victim.link(guest.identity.key) is None, "the end of its link")

    with arena.quietly():
        arena.run(fill())
        arena.run(attack())
        arena.check()


def test_links_made_and_broken_in_every_way_leave_nothing_behind(arena: Arena) -> None:
    rng = random.Random(10)
    garbage = [b"\x00", b"\x01garbage", encode_frame(Bye("leaving")), encode_frame(Ping(1)), *SAMPLES]
    eve = arena.new_identity()

    async def come_and_go(times: int) -> None:
        for n in range(times):
            guest = await arena.guest(eve if n % 2 else None, hello=n % 3 > 0)
            for frame in rng.choices(garbage, k=3):
                guest.link.offer(frame)
            match n % 4:
                case 0:
                    guest.link.abort()
                case 1:
                    await guest.link.close()
                case 2:
                    await guest.taken()
                case _:
                    await turns(3)
                    guest.link.abort()
        await arena._let_guests_go()

    with arena.quietly():
        arena.run(come_and_go(60))
        arena.check()
        before, memory = (arena.objects(SecureLink), arena.objects(TcpPipe)), resident()
        arena.run(come_and_go(240))
        arena.check()
        assert arena.objects(SecureLink) <= before[0] + 3
        assert arena.objects(TcpPipe) <= before[1] + 3
        assert resident() - memory < LEAK


# ---------------------------------------------------------------- records that are valid and strange


def test_valid_records_of_anybody_are_taken_in_an_open_room_however_strange(arena: Arena) -> None:
    """Control characters, bidi overrides, zalgo, times at both ends: taken, made harmless, passed on to the friend."""
    strange = [
        "\x1b[2J\x1b]0;owned\x07", "\u202eevil\u202c", "e\u0301" * 3000, "\x00", "a\u200bb", "<script>", "\r\rx" * 500,
        "\U000e0041\U000e0042", "x" * 60_000,
    ]  # fmt: skip

    async def attack() -> int:
        guest = await arena.guest()
        prev = NO_RECORD
        times = [1, 2, 2**48, int(time.time() * 1000)]
        bodies: list[AnyBody] = [*map(Text, strange), Profile("\x1b[31mvictim\n\n", "\x07")]
        for n, body in enumerate(bodies):
            one = record(guest.identity, body, seq=n + 1, prev=prev, time_ms=times[n % 4])
            prev = one.id
            guest.send(Records(GENERAL, (one.raw,)))
        assert await guest.taken()
        room = arena.friend.room(GENERAL)
        assert room is not None
        await until(lambda: room.head_seq(guest.identity.key) == len(strange) + 1, "the friend has all of them")
        assert arena.victim.names.show(guest.identity.key).isprintable()
        return len(strange)

    before = len(arena.strangers_stored())
    count = arena.run(attack())
    arena.check()
    stored = arena.strangers_stored()
    assert len(stored) - before == count
    assert all(c.isprintable() or c in "\n\t" for text in stored for c in text if c != "\u0301")


def test_a_forked_log_is_kept_and_told_and_stops_nobody(arena: Arena) -> None:
    async def attack() -> None:
        guest = await arena.guest()
        one = record(guest.identity, "forked one")
        two = [record(guest.identity, f"forked {n}", seq=2, prev=one.id) for n in range(200)]
        guest.send(Records(GENERAL, (one.raw,)))
        for fork in two:
            guest.send(Records(GENERAL, (fork.raw,)))
        await guest.taken()

    with arena.quietly():
        arena.run(attack())
        arena.check()


def as_large_as_can_be(identity: Identity, seq: int, prev: RecordId, mark: str) -> Record:
    now = int(time.time() * 1000)
    room_for = MAX_RECORD_BYTES - len(record(identity, mark + "é" * 30_000, seq=seq, prev=prev, time_ms=now).raw)
    text = mark + "é" * (30_000 + room_for // 2) + "x" * (room_for % 2)
    return record(identity, text, seq=seq, prev=prev, time_ms=now)


def test_forks_as_large_as_can_be_do_not_make_honest_peers_break_the_rules(arena: Arena) -> None:
    """What the victim holds is served in frames that are within the limits, whatever it is."""
    sent: list[Head] = []

    async def attack() -> None:
        guest = await arena.guest()
        prev = NO_RECORD
        for seq in range(1, 13):
            twins = [as_large_as_can_be(guest.identity, seq, prev, f"large {seq} {twin} ") for twin in range(2)]
            assert {len(twin.raw) for twin in twins} == {MAX_RECORD_BYTES}
            guest.send(Records(GENERAL, tuple(twin.raw for twin in twins)))
            sent.extend(Head(guest.identity.key, seq, twin.id) for twin in twins)
            prev = twins[0].id
        assert await guest.taken()
        newcomer = await arena.guest()
        held = await heads_of(newcomer)
        held.pop(guest.identity.key, None)
        newcomer.send(Want(GENERAL, tuple(held.values())))
        assert await newcomer.taken(), f"the victim's own frames were refused: {newcomer.bye}"
        room = arena.friend.room(GENERAL)
        assert room is not None
        await until(lambda: all(map(room.holds, sent)), "the friend has all of them")

    with arena.quietly():
        arena.run(attack())
        arena.check()


async def heads_of(guest: Guest) -> dict[bytes, Head]:
    """What the victim says it holds."""
    assert await guest.taken()
    frames = [frame for frame in guest.got if isinstance(frame, Heads) and frame.full]
    return {head.author: head for frame in frames for head in frame.heads}


# ---------------------------------------------------------------- before the handshake


@QUICK
@given(
    st.lists(st.binary(max_size=200) | st.just(PREAMBLE) | st.just(b"SANDPIPER/1\n\x00\x21\x00"), max_size=6),
    st.booleans(),
)
def test_no_bytes_before_a_link_harm_a_node(arena: Arena, pieces: list[bytes], politely: bool) -> None:
    async def attack() -> None:
        pipe = await arena.pipe()
        for piece in pieces:
            pipe.write(piece)
            await turns(2)
        if politely:
            await pipe.close()
        pipe.abort()
        await turns()

    arena.run(attack())
    assert not arena.ear.wrong, arena.ear.wrong


def test_strangers_that_take_all_places_do_not_reach_those_who_are_linked(arena: Arena) -> None:
    async def crowd() -> None:
        pipes = [await arena.pipe() for _ in range(MAX_HANDSHAKES * 2)]
        for pipe in pipes[::2]:
            pipe.write(PREAMBLE)
        await turns(50)
        assert len(arena.victim._links._strangers) <= MAX_HANDSHAKES
        await arena._talk()

    with arena.quietly():
        arena.run(crowd())
        arena.check()

    async def newcomer() -> None:
        guest = await arena.guest()
        assert await guest.taken()

    arena.run(newcomer())


def test_an_old_dialect_caller_gets_one_line_and_the_door(arena: Arena) -> None:
    async def call() -> bytes:
        pipe = await arena.pipe()
        pipe.write(b'{"type":"chat","content":"hi"}\n' * 100)
        return await read_to_end(pipe)

    assert b"plain_refused" in arena.run(call())


def test_at_the_end_the_friends_talk_and_all_that_is_stored_is_valid(arena: Arena) -> None:
    arena.check()
    arena.stored()
