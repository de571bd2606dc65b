"""Whatever comes instead of a handshake is refused, says why, and leaves nothing open."""

import asyncio
import contextlib
import random
from collections.abc import Callable

import pytest
from typing_extensions import override

from sandpiper.crypto.handshake import PREAMBLE, LinkHandshake
from sandpiper.crypto.identity import Identity
from sandpiper.errors import LinkError, LinkLost, LinkTimeout, RemoteProtocolError, SandpiperError
from sandpiper.net import secure
from sandpiper.net.link import Pipe
from sandpiper.net.memory import MemoryPipe, memory_pipes
from sandpiper.net.secure import SecureLink, Unwanted, accept_secure, comes_with_code, dial_secure
from sandpiper.testing.conformance import DEADLINE, Tap, noise, read_exactly, read_to_end, refused, until

ME, THEM = Identity(noise(32, 1)), Identity(noise(32, 2))
DIALLER, LISTENER = "dialler", "listener"
ROLES = (DIALLER, LISTENER)


async def shake(role: str, pipe: Pipe) -> SecureLink:
    async with asyncio.timeout(DEADLINE):
        return await (dial_secure(pipe, ME) if role == DIALLER else accept_secure(pipe, THEM))


async def closed(pipe: MemoryPipe) -> bool:
    """The other side of `pipe` has let go of it."""
    with contextlib.suppress(LinkLost):
        await read_to_end(pipe)
    return True


async def meet(one: Pipe, other: Pipe) -> list[SecureLink | BaseException]:
    return list(await asyncio.gather(shake(DIALLER, one), shake(LISTENER, other), return_exceptions=True))


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> float:
    limit = 0.1
    monkeypatch.setattr(secure, "HANDSHAKE_SECONDS", limit)
    return limit


# ---------------------------------------------------------------- somebody else calls


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize(
    ("said", "code", "saying"),
    [
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "not_sandpiper", "does not speak"),
        (b"SSH-2.0-OpenSSH_9.6\r\n", "not_sandpiper", "does not speak"),
        (b'{"type":"join","sender_id":"old"}\n', "not_sandpiper", "does not speak"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "not_sandpiper", "does not speak"),
        (b"\x00", "not_sandpiper", "does not speak"),
        (b"sandpiper/1\n", "not_sandpiper", "does not speak"),
        (b"SANDPIPES/1\n", "not_sandpiper", "does not speak"),
        (b"SANDPIPER/2\n", "version", "another version"),
        (b"SANDPIPER/10\n", "version", "another version"),
        (b"SANDPIPER 1\n", "version", "another version"),
        (b"SANDPIPER/1\r\n", "version", "another version"),
    ],
    ids=lambda value: value[:12].decode("latin-1").strip() if isinstance(value, bytes) else None,
)
async def test_who_speaks_something_else_is_told_apart_at_its_first_wrong_byte(role, said, code, saying):
    ours, theirs = memory_pipes()
    theirs.write(said)
    with refused(RemoteProtocolError, saying=saying, code=code):
        await shake(role, ours)
    assert await closed(theirs)


async def test_who_speaks_another_version_reads_what_to_do():
    ours, theirs = memory_pipes()
    theirs.write(b"SANDPIPER/9\n")
    with pytest.raises(RemoteProtocolError) as caught:
        await shake(LISTENER, ours)
    assert caught.value.hint


async def test_two_that_both_dialled_refuse_each_other():
    one, other = memory_pipes()
    ends = await asyncio.gather(shake(DIALLER, one), shake(DIALLER, other), return_exceptions=True)
    assert any(isinstance(end, RemoteProtocolError) for end in ends)
    assert all(isinstance(end, RemoteProtocolError | LinkLost) for end in ends)


# ---------------------------------------------------------------- slow ones


@pytest.mark.parametrize("role", ROLES)
async def test_silence_ends_when_the_time_is_up(role, impatient):
    ours, theirs = memory_pipes()
    with refused(LinkTimeout, saying="in time"):
        await shake(role, ours)
    assert await closed(theirs)


async def test_two_that_both_listen_give_up(impatient):
    one, other = memory_pipes()
    ends = await asyncio.gather(shake(LISTENER, one), shake(LISTENER, other), return_exceptions=True)
    assert any(isinstance(end, LinkTimeout) for end in ends)
    assert all(isinstance(end, LinkTimeout | LinkLost) for end in ends)


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("told", [1, len(PREAMBLE), len(PREAMBLE) + 1, len(PREAMBLE) + 2, len(PREAMBLE) + 20], ids=str)
async def test_who_stops_half_way_is_waited_for_no_longer_than_the_silent(role, told, impatient):
    ours, theirs = memory_pipes()
    theirs.write((PREAMBLE + b"\x00\x60" + noise(96))[:told])
    with refused(LinkTimeout):
        await shake(role, ours)
    assert await closed(theirs)


@pytest.mark.parametrize("role", ROLES)
async def test_a_slow_drip_does_not_gain_time(role, impatient):
    """Each byte is right and in time, and all together take too long."""
    ours, theirs = memory_pipes()

    async def drip() -> None:
        for byte in PREAMBLE + b"\x50\x00" + noise(1000):
            theirs.write(bytes((byte,)))
            await asyncio.sleep(impatient / 10)

    dripping = asyncio.ensure_future(drip())
    with refused(LinkTimeout):
        await shake(role, ours)
    assert not dripping.done()
    dripping.cancel()


async def test_a_cancelled_handshake_leaves_nothing_open():
    for role in ROLES:
        ours, theirs = memory_pipes()
        shaking = asyncio.ensure_future(shake(role, ours))
        await asyncio.sleep(0)
        shaking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await shaking
        assert await closed(theirs)


# ---------------------------------------------------------------- broken ones


class Garbler(Tap):
    """Flips one bit of what is written, or cuts it off, at one place of the stream."""

    def __init__(self, pipe: Pipe, place: int, flip: int) -> None:
        super().__init__(pipe)
        self.place = place
        self.flip = flip
        self.written = 0

    @override
    def write(self, *parts: bytes) -> None:
        raw = bytearray(b"".join(parts))
        at, self.written = self.place - self.written, self.written + len(raw)
        if 0 <= at < len(raw):
            raw[at] ^= self.flip
        self.pipe.write(bytes(raw))


class Cutter(Garbler):
    """Closes the pipe at one place of the stream."""

    @override
    def write(self, *parts: bytes) -> None:
        raw = b"".join(parts)
        at, self.written = self.place - self.written, self.written + len(raw)
        self.pipe.write(raw[: max(0, at)])
        if at < len(raw):
            self.task = asyncio.ensure_future(self.pipe.close())


async def whole_length(role: str) -> int:
    """How many bytes this side sends in a whole handshake."""
    one, other = memory_pipes()
    counted = Garbler(one if role == DIALLER else other, -1, 0)
    ends = await meet(*((counted, other) if role == DIALLER else (one, counted)))
    assert all(isinstance(end, SecureLink) for end in ends)
    return counted.written


async def broken(role: str, make: Callable[[Pipe], Pipe]) -> list[SecureLink | BaseException]:
    one, other = memory_pipes()
    ends = await meet(*((make(one), other) if role == DIALLER else (one, make(other))))
    one.abort()
    other.abort()
    return ends


@pytest.mark.parametrize("role", ROLES)
async def test_a_handshake_garbled_at_any_place_makes_no_link(role, impatient):
    """Whoever receives the altered bytes refuses them. The dialler speaks last, so it alone may not know yet."""
    rng = random.Random(6)
    length = await whole_length(role)
    assert length > 200
    for place in range(length):
        dialler, listener = await broken(role, lambda pipe: Garbler(pipe, place, 1 << rng.randrange(8)))  # noqa: B023
        assert isinstance(listener, LinkError | RemoteProtocolError), f"byte {place}: {listener!r}"
        if role == LISTENER:
            assert isinstance(dialler, LinkError | RemoteProtocolError), f"byte {place}: {dialler!r}"


@pytest.mark.parametrize("role", ROLES)
async def test_a_handshake_cut_at_any_place_makes_no_link(role):
    for place in range(await whole_length(role)):
        dialler, listener = await broken(role, lambda pipe: Cutter(pipe, place, 0))  # noqa: B023
        assert isinstance(listener, LinkLost), f"byte {place}: {listener!r}"
        if role == LISTENER:
            assert isinstance(dialler, LinkLost), f"byte {place}: {dialler!r}"


@pytest.mark.parametrize("role", ROLES)
async def test_an_oversized_handshake_message_is_refused_when_it_is_announced(role):
    ours, theirs = memory_pipes()
    theirs.write(PREAMBLE, b"\xff\xff")
    with refused(RemoteProtocolError, code="handshake"):
        await shake(role, ours)
    assert await closed(theirs)


@pytest.mark.parametrize("size", [1, 2, 32, 33, 34, 200, 21_845], ids=str)
async def test_a_first_message_of_any_wrong_length_is_refused(size):
    ours, theirs = memory_pipes()
    theirs.write(PREAMBLE, size.to_bytes(2, "big"), b"\x00" + noise(size - 1))
    if size >= 33:  # a key and perhaps a payload: well-formed so far; the proof is what is missing
        theirs.write(b"\x00\x10" + noise(16))
    with refused(SandpiperError, code="handshake"):
        await shake(LISTENER, ours)
    assert await closed(theirs)


@pytest.mark.parametrize(
    "said", [b"\x00\x00", b"\x00\x01\x01", b"\x00\x21\xff" + bytes(32)], ids=["empty", "psk", "other"]
)
async def test_a_kind_of_handshake_that_is_not_spoken_here_is_refused(said):
    ours, theirs = memory_pipes()
    theirs.write(PREAMBLE, said)
    with refused(RemoteProtocolError, code="mode"):
        await shake(LISTENER, ours)
    assert await closed(theirs)


@pytest.mark.parametrize("key", [bytes(32), (1).to_bytes(32, "little"), b"\xff" * 32], ids=["zero", "one", "ones"])
async def test_keys_that_are_none_are_refused(key):
    ours, theirs = memory_pipes()
    theirs.write(PREAMBLE, b"\x00\x21\x00" + key, b"\x00\x60" + noise(96))
    with refused(RemoteProtocolError):
        await shake(LISTENER, ours)
    assert await closed(theirs)


async def test_a_recorded_handshake_cannot_be_played_back():
    one, other = memory_pipes()
    recorded = Tap(one)
    recorded.hold = True
    shaking = asyncio.ensure_future(meet(recorded, other))
    said = []
    for _ in range(2):  # the first message with the preamble, and the third
        await until(lambda: recorded.held, "a message")
        said += recorded.held
        one.write(*recorded.held)
        recorded.held.clear()
    assert [type(end) for end in await shaking] == [SecureLink, SecureLink]
    ours, theirs = memory_pipes()
    theirs.write(*said)
    with refused(RemoteProtocolError, code="handshake"):
        await shake(LISTENER, ours)


# ---------------------------------------------------------------- whom one wants


async def test_who_is_not_wanted_is_left_before_it_takes_us_for_linked():
    one, other = memory_pipes()
    asked = []

    def wanted(peer: bytes) -> bool:
        asked.append(peer)
        return False

    listening = asyncio.ensure_future(shake(LISTENER, other))
    with pytest.raises(Unwanted) as caught:
        await dial_secure(one, ME, wanted)
    assert asked == [THEM.key]
    assert caught.value.peer == THEM.key
    with refused(LinkLost):
        await listening


async def test_what_was_read_before_the_handshake_belongs_to_it():
    one, other = memory_pipes()
    dialling = asyncio.ensure_future(shake(DIALLER, one))
    already = await read_exactly(other, len(PREAMBLE) + 2 + 33)
    link = await accept_secure(other, THEM, already)
    assert link.peer == ME.key
    assert (await dialling).peer == THEM.key


def test_the_handshake_stays_within_its_bounds():
    """What we send is far below what we refuse."""
    first = LinkHandshake(ME, initiator=True, secret=noise(64, 3))
    second = LinkHandshake(THEM, initiator=False, secret=noise(64, 4))
    messages = [first.first()]
    messages.append(second.answer(messages[0]))
    messages.append(first.finish(messages[1]))
    assert sum(map(len, messages)) < 1024


class Nesting(LinkHandshake):
    """A handshake whose proof is genuine and carries a trailing field that nests past any stack."""

    @override
    def _prove(self, handshake_hash: bytes) -> bytes:
        proof = super()._prove(handshake_hash)
        assert proof[0] == 0x93  # an array of three
        return b"\x94" + proof[1:] + b"\x91" * 20_000 + b"\xc0"


@pytest.mark.parametrize("role", ROLES)
async def test_a_proof_that_nests_without_end_is_refused_like_any_other(role: str, monkeypatch: pytest.MonkeyPatch):
    one, other = memory_pipes()
    with monkeypatch.context() as patch:
        patch.setattr(secure, "LinkHandshake", Nesting)
        hostile = asyncio.create_task(shake(LISTENER if role == DIALLER else DIALLER, other))
        await asyncio.sleep(0)  # it has made its handshake now
    with pytest.raises(RemoteProtocolError):
        await shake(role, one)
    hostile.cancel()
    await asyncio.gather(hostile, return_exceptions=True)


def test_the_first_bytes_tell_who_comes_with_a_code_however_they_are_cut() -> None:
    coded, plain = (PREAMBLE + b"\x00\x20" + bytes((mode,)) + b"rest" for mode in (1, 0))
    for raw, answer in ((coded, True), (plain, False), (b'{"id":"x"}', False), (b"GET / HTTP/1.1", False)):
        told = [comes_with_code(raw[:cut]) for cut in range(len(raw) + 1)]
        assert told[-1] is answer
        assert set(told) == {None, answer}
        assert told == sorted(told, key=lambda one: one is not None), "once it is told, it stays so"
