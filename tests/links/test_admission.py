"""Joining with a code, over pipes: who does not know the words learns nothing and gets nowhere."""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from typing import TYPE_CHECKING

import pytest
from typing_extensions import override

from sandpiper.core.admission import AdmissionEffect, Attempt, CodeEnded, OpenCodes
from sandpiper.core.events import Now
from sandpiper.crypto.codes import Code
from sandpiper.crypto.handshake import PREAMBLE, LinkHandshake
from sandpiper.crypto.identity import Identity
from sandpiper.crypto.pake import stretch
from sandpiper.errors import LinkError, LinkLost, LinkTimeout, RemoteProtocolError, SandpiperError
from sandpiper.net import secure
from sandpiper.net.memory import memory_pipes
from sandpiper.net.secure import SecureLink, accept_secure, dial_secure, secure_as_joiner, secure_as_member
from sandpiper.net.tcp import TcpPipe, dial, listen
from sandpiper.testing.conformance import DEADLINE, Tap, noise, refused, until
from sandpiper.wire.admission import (
    MAX_GUESSES,
    Admitted,
    Asks,
    NotAdmitted,
    Roster,
    Unproven,
    decode_admission,
    encode_admission,
)
from sandpiper.wire.ids import PeerKey, RoomId
from sandpiper.wire.limits import MAX_HANDSHAKE_BYTES
from tests.captured import encodings

if TYPE_CHECKING:
    from sandpiper.net.link import Pipe

JANE, MEMBER = Identity(noise(32, 1)), Identity(noise(32, 2))
CODE, ROOM = Code("42", ("pine", "ocean")), RoomId(b"r" * 32)
WRONG = Code("42", ("pine", "river"))
SALT = b"s" * 16
START = Now(0.0, 1_750_000_000_000)
JOINER, ANSWERER = "joiner", "member"
Ends = list["SecureLink | BaseException"]


class Desk:
    """A member's codes, with a clock that stands still, and all that came out of them."""

    def __init__(self, code: Code = CODE, lock: bytes = b"") -> None:
        self.codes = OpenCodes(MEMBER.key)
        self.codes.issue(code, ROOM, b"i" * 8, START, salt=SALT if lock else b"", lock=lock)
        self.effects: list[AdmissionEffect] = []
        self.proved: list[tuple[Attempt, PeerKey]] = []
        self.wrongs = 0

    def begin(self, nameplate: str) -> Attempt:
        return self.codes.begin(nameplate, START)

    def judge(self, attempt: Attempt) -> None:
        self.codes.judge(attempt, START)

    def wrong(self, attempt: Attempt) -> None:
        self.wrongs += 1
        self.effects += self.codes.wrong(attempt, START)

    def proven(self, attempt: Attempt, peer: PeerKey) -> None:
        self.proved.append((attempt, peer))
        self.effects += self.codes.proven(attempt, peer, START)

    def ended(self, attempt: Attempt) -> None:
        self.codes.ended(attempt)

    @property
    def free(self) -> bool:
        """No attempt holds the code."""
        return not self.codes._trying


async def join(pipe: Pipe, code: Code = CODE, password: str = "") -> SecureLink:
    async with asyncio.timeout(DEADLINE):
        return await secure_as_joiner(pipe, JANE, code, password)


async def answer(pipe: Pipe, desk: Desk) -> SecureLink:
    async with asyncio.timeout(DEADLINE):
        link, attempt = await secure_as_member(pipe, MEMBER, desk)
    assert desk.proved[-1] == (attempt, link.peer)
    return link


async def meet(one: Pipe, other: Pipe, desk: Desk, code: Code = CODE, password: str = "") -> Ends:
    return list(await asyncio.gather(join(one, code, password), answer(other, desk), return_exceptions=True))


def why(end: object) -> str:
    assert isinstance(end, SandpiperError), repr(end)
    return end.code


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(secure, "HANDSHAKE_SECONDS", 0.3)


# ---------------------------------------------------------------- the right words


async def test_the_same_words_make_a_link_between_proven_keys():
    one, other = memory_pipes()
    desk = Desk()
    joined, answered = await meet(one, other, desk)
    assert isinstance(joined, SecureLink)
    assert isinstance(answered, SecureLink)
    assert (joined.peer, answered.peer) == (MEMBER.key, JANE.key)
    assert (joined.path, answered.path) == ("relay", "relay")
    assert (joined.dialled, answered.dialled) == (True, False)
    assert desk.free
    assert desk.effects == []
    assert joined.offer(encode_admission(Asks("jane")))
    assert decode_admission(await answered.receive()) == Asks("jane")
    assert answered.offer(encode_admission(Admitted(ROOM, b"k" * 32, "all")))
    assert decode_admission(await joined.receive()) == Admitted(ROOM, b"k" * 32, "all")


async def test_over_tcp_and_with_the_path_that_is_given():
    accepted: asyncio.Queue[TcpPipe] = asyncio.Queue()
    listener = await listen(accepted.put_nowait, range(0, 1), ("127.0.0.1",))
    pipe = await dial("127.0.0.1", listener.port)
    desk = Desk()
    joined, (answered, _) = await asyncio.gather(
        secure_as_joiner(pipe, JANE, CODE, path="direct"),
        secure_as_member(await accepted.get(), MEMBER, desk, path="direct"),
    )
    assert (joined.path, answered.path) == ("direct", "direct")
    assert joined.peer == MEMBER.key
    await joined.close()
    with pytest.raises(LinkLost):
        await answered.receive()
    answered.abort()
    # And a refusal reaches the other side of a real socket before it is closed.
    pipe = await dial("127.0.0.1", listener.port)
    ends = await meet(pipe, await accepted.get(), desk, WRONG)
    assert [why(end) for end in ends] == ["wrong_code", "wrong_code"]
    listener.close()


async def test_a_room_with_a_password_needs_it_as_well():
    lock = stretch("open sesame", SALT)
    for password, expected in (("open sesame", None), ("Open sesame", "wrong_code"), ("", "password_needed")):
        desk = Desk(lock=lock)
        one, other = memory_pipes()
        ends = await meet(one, other, desk, password=password)
        if expected is None:
            assert all(isinstance(end, SecureLink) for end in ends)
        else:
            assert why(ends[0]) == expected
            assert isinstance(ends[0], NotAdmitted)
            assert ends[0].exit_code == 4
            assert desk.wrongs == (expected == "wrong_code")
        one.abort()
    desk = Desk()
    one, other = memory_pipes()
    ends = await meet(one, other, desk, password="open sesame")
    assert why(ends[0]) == "no_password"
    assert desk.wrongs == 0
    assert desk.free


async def test_what_was_read_before_belongs_to_the_handshake():
    one, other = memory_pipes()
    joining = asyncio.ensure_future(join(one))
    already = await other.read()
    assert already.startswith(PREAMBLE)
    link, _ = await secure_as_member(other, MEMBER, Desk(), already)
    assert link.peer == JANE.key
    assert (await joining).peer == MEMBER.key


async def test_the_handshake_stays_far_within_its_bounds():
    one, other = memory_pipes()
    recorded = Recorder(one), Recorder(other)
    await meet(*recorded, Desk())
    assert sum(len(pipe.sent) for pipe in recorded) < 1024 < MAX_HANDSHAKE_BYTES


# ---------------------------------------------------------------- the wrong words


async def test_wrong_words_are_told_to_both_as_wrong_words_and_nothing_more():
    one, other = memory_pipes()
    desk = Desk()
    ends = await meet(one, other, desk, WRONG)
    for end in ends:
        assert isinstance(end, NotAdmitted)
        assert (end.code, end.exit_code) == ("wrong_code", 4)
        for word in (*CODE.words, *WRONG.words):
            assert word not in f"{end!r} {end.sentence()} {end.__cause__!r}"
    assert desk.wrongs == 1
    assert desk.free


async def test_a_refusal_looks_the_same_however_near_the_guess_was():
    sent = set()
    for guess in (("pine", "river"), ("ocean", "pine"), ("zenith", "moss"), ("pine", "pine")):
        one, other = memory_pipes()
        heard = Recorder(other)
        await meet(one, heard, Desk(), Code("42", guess))
        refusal = bytes(heard.sent[len(PREAMBLE) + 2 + 34 :])
        sent.add((len(heard.sent), refusal))
    assert len(sent) == 1


async def test_three_wrong_guesses_burn_the_code_also_for_whoever_knows_it():
    desk = Desk()
    for _ in range(MAX_GUESSES):
        one, other = memory_pipes()
        assert [why(end) for end in await meet(one, other, desk, WRONG)] == ["wrong_code", "wrong_code"]
    assert CodeEnded(ROOM, "42", "code_burnt") in desk.effects
    one, other = memory_pipes()
    assert [why(end) for end in await meet(one, other, desk)] == ["code_burnt", "code_burnt"]
    assert desk.wrongs == MAX_GUESSES


async def test_a_guess_that_was_shown_counts_even_if_the_guesser_is_gone():
    desk = Desk()
    one, other = memory_pipes()
    tap = Tap(one)
    answering = asyncio.ensure_future(answer(other, desk))
    joining = asyncio.ensure_future(join(tap, WRONG))
    while desk.free:  # noqa: ASYNC110 - until the member has begun
        await asyncio.sleep(0)
    tap.hold = True
    await until(lambda: tap.held, "the proof")
    one.write(*tap.held)
    await one.close()
    joining.cancel()
    with pytest.raises(NotAdmitted):
        await answering
    assert desk.wrongs == 1


async def test_who_breaks_off_before_it_shows_a_guess_burns_nothing_and_frees_the_code():
    desk = Desk()
    for _ in range(MAX_GUESSES + 2):
        one, other = memory_pipes()
        answering = asyncio.ensure_future(answer(other, desk))
        one.write(PREAMBLE, b"\x00\x04\x01\x0142")
        await until(lambda: not desk.free, "the attempt")
        one.abort()
        with pytest.raises(LinkLost):
            await answering
        assert desk.free
    one, other = memory_pipes()
    assert all(isinstance(end, SecureLink) for end in await meet(one, other, desk))


async def test_only_one_attempt_at_a_time():
    desk = Desk()
    silent, other = memory_pipes()
    first = asyncio.ensure_future(answer(other, desk))
    silent.write(PREAMBLE, b"\x00\x04\x01\x0142")
    await until(lambda: not desk.free, "the attempt")
    one, another = memory_pipes()
    ends = await meet(one, another, desk)
    assert [why(end) for end in ends] == ["busy", "busy"]
    silent.abort()
    with pytest.raises(LinkLost):
        await first


async def test_a_code_that_closes_in_the_middle_judges_no_more_guesses():
    desk = Desk()
    one, other = memory_pipes()
    tap = Tap(one)
    answering = asyncio.ensure_future(answer(other, desk))
    joining = asyncio.ensure_future(join(tap))
    while desk.free:  # noqa: ASYNC110 - until the member has begun
        await asyncio.sleep(0)
    tap.hold = True
    await until(lambda: tap.held, "the proof")
    desk.codes.withdraw(ROOM, "42", START)
    one.write(*tap.held)
    with refused(NotAdmitted, code="code_withdrawn"):
        await answering
    with pytest.raises(Unproven):
        await joining
    assert desk.wrongs == 0


@pytest.mark.parametrize(("code", "expected"), [(Code("43", CODE.words), "no_such_code")], ids=["another nameplate"])
async def test_a_nameplate_that_nobody_knows(code, expected):
    one, other = memory_pipes()
    assert [why(end) for end in await meet(one, other, Desk(), code)] == [expected, expected]


async def test_another_version_is_told_so():
    one, other = memory_pipes()
    answering = asyncio.ensure_future(answer(other, Desk()))
    one.write(PREAMBLE, b"\x00\x04\x01\x0242")
    with refused(NotAdmitted, code="version"):
        await answering
    assert (await one.read()).endswith(b"\x01version")


# ---------------------------------------------------------------- in the middle


class Recorder(Tap):
    """Keeps what was written."""

    def __init__(self, pipe: Pipe) -> None:
        super().__init__(pipe)
        self.sent = bytearray()

    @override
    def write(self, *parts: bytes) -> None:
        self.sent += b"".join(parts)
        super().write(*parts)


@pytest.mark.parametrize("typed", [CODE, WRONG], ids=["right", "wrong"])
@pytest.mark.parametrize("password", ["", "open sesame"])
async def test_the_words_leave_in_no_form(typed: Code, password: str):
    """All bytes of a join both ways, with admission and roster, searched for the words in every encoding."""
    lock = stretch(password, SALT) if password else b""
    one, other = memory_pipes()
    wires = Recorder(one), Recorder(other)
    ends = await meet(*wires, Desk(lock=lock), typed, password)
    if isinstance(ends[0], SecureLink) and isinstance(ends[1], SecureLink):
        for frame in (
            Admitted(ROOM, b"k" * 32, "all", lock),
            Roster((b"record of " + b"-".join(map(str.encode, CODE.words)),)),
        ):
            ends[1].offer(encode_admission(frame))
            assert decode_admission(await ends[0].receive()) == frame
    captured = [bytes(wire.sent) for wire in wires]
    assert all(len(one) > 60 for one in captured)
    secrets = set()
    for code in (CODE, typed):
        for a, b in itertools.permutations(code.words):
            secrets |= {a, b, f"{a}-{b}", f"{a} {b}", f"{a}{b}", f"{a}-{b}-42", f"42-{a}-{b}", f"{a}-{b}\n"}
    if password:
        secrets.add(password)
    found = [text for text in secrets for form in encodings(text) for bytes_ in captured if form in bytes_]
    assert found == []
    # The search can find: the nameplate, which everybody may see, is there.
    assert b"42" in captured[0]
    assert any(form in b"GET /%70%69%6e%65 HTTP/1.1" for form in encodings("pine"))


class Garbler(Tap):
    """Flips one bit of what is written, at one place of the stream."""

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


async def lengths() -> tuple[int, int]:
    one, other = memory_pipes()
    wires = Recorder(one), Recorder(other)
    assert all(isinstance(end, SecureLink) for end in await meet(*wires, Desk()))
    return len(wires[0].sent), len(wires[1].sent)


@pytest.mark.timeout(180)
@pytest.mark.parametrize("role", [JOINER, ANSWERER])
async def test_a_join_garbled_at_any_place_makes_no_link(role: str, impatient: None):
    """The receiver of the altered bytes refuses them; the joiner speaks last, so it alone may not know yet."""
    rng = random.Random(9)
    length = (await lengths())[role == ANSWERER]
    assert length > 150
    for place in range(length):
        one, other = memory_pipes()
        flip = 1 << rng.randrange(8)
        desk = Desk()
        wires: tuple[Pipe, Pipe] = (
            (Garbler(one, place, flip), other) if role == JOINER else (one, Garbler(other, place, flip))
        )
        joined, answered = await meet(*wires, desk)
        expected = LinkError | RemoteProtocolError | NotAdmitted
        assert isinstance(answered, expected), f"byte {place}: {answered!r}"
        if role == ANSWERER:
            assert isinstance(joined, expected), f"byte {place}: {joined!r}"
        assert desk.proved == []
        assert desk.free
        assert desk.wrongs <= 1
        one.abort()


@pytest.mark.parametrize("role", [JOINER, ANSWERER])
async def test_a_join_cut_at_any_place_ends_both(role: str):
    class Cutter(Garbler):
        @override
        def write(self, *parts: bytes) -> None:
            raw = b"".join(parts)
            at, self.written = self.place - self.written, self.written + len(raw)
            self.pipe.write(raw[: max(0, at)])
            if at < len(raw):
                self.task = asyncio.ensure_future(self.pipe.close())

    for place in range(0, (await lengths())[role == ANSWERER], 5):
        one, other = memory_pipes()
        desk = Desk()
        wires: tuple[Pipe, Pipe] = (Cutter(one, place, 0), other) if role == JOINER else (one, Cutter(other, place, 0))
        joined, answered = await meet(*wires, desk)
        assert isinstance(answered, LinkLost), f"byte {place}: {answered!r}"
        if role == ANSWERER:
            assert isinstance(joined, LinkLost | Unproven), f"byte {place}: {joined!r}"
        assert desk.proved == []
        assert desk.free
        assert desk.wrongs == 0


async def test_what_is_sent_back_to_its_sender_is_refused():
    class Mirror:
        """Whatever is written comes back."""

        address, pending = "mirror", 0

        def __init__(self) -> None:
            self.back: asyncio.Queue[bytes] = asyncio.Queue()

        async def read(self) -> bytes:
            return await self.back.get()

        def write(self, *parts: bytes) -> None:
            self.back.put_nowait(b"".join(parts))

        async def close(self) -> None:
            self.back.put_nowait(b"")

        abort = lambda self: None  # noqa: E731

    with pytest.raises(RemoteProtocolError):
        await join(Mirror())
    # Also message by message: the joiner's own SPAKE2 message dressed up as the member's.
    one, other = memory_pipes()
    joining = asyncio.ensure_future(join(one))
    await other.read()
    other.write(PREAMBLE, b"\x00\x22\x00A" + noise(32))
    with pytest.raises(RemoteProtocolError):
        await joining


async def test_a_recorded_join_cannot_be_played_back():
    desk = Desk()
    one, other = memory_pipes()
    recorded = Recorder(one)
    assert all(isinstance(end, SecureLink) for end in await meet(recorded, other, desk))
    ours, theirs = memory_pipes()
    theirs.write(bytes(recorded.sent))
    with refused(NotAdmitted, code="wrong_code"):
        await answer(ours, desk)
    assert len(desk.proved) == 1
    # Nor a member's half, to a joiner.
    one, other = memory_pipes()
    said = Recorder(other)
    await meet(one, said, Desk())
    ours, theirs = memory_pipes()
    theirs.write(bytes(said.sent))
    with refused(NotAdmitted, code="wrong_code"):
        await join(ours)


@pytest.mark.parametrize("crossed", [1, 2, 3, 4], ids=["answer", "proof", "second", "third"])
async def test_two_joins_spliced_by_a_man_in_the_middle_end_in_errors(crossed: int):
    """Two people join two members with the same code; somebody crosses their streams for one message."""
    desks = Desk(), Desk()
    joiners, members = [memory_pipes() for _ in range(2)], [memory_pipes() for _ in range(2)]
    ends = [asyncio.ensure_future(join(pipes[0])) for pipes in joiners]
    ends += [asyncio.ensure_future(answer(pipes[0], desk)) for pipes, desk in zip(members, desks, strict=True)]

    async def middle() -> None:
        ways = [(joiners, members), (members, joiners)]
        try:
            for number in range(5):
                sources, sinks = ways[number % 2]
                said = [await source[1].read() for source in sources]
                if number == crossed:
                    said.reverse()
                for chunk, sink in zip(said, sinks, strict=True):
                    sink[1].write(chunk)
        except LinkLost:
            pass  # they have noticed
        for pipes in (*joiners, *members):
            await pipes[1].close()

    task = asyncio.ensure_future(middle())
    done = await asyncio.gather(*ends, return_exceptions=True)
    await task
    assert desks[0].proved == desks[1].proved == []
    assert not any(isinstance(end, SecureLink) for end in done[2:])
    if crossed < 4:  # the third message is the joiners' last word: the members alone see that it is not theirs
        assert not any(isinstance(end, SecureLink) for end in done)


async def test_a_man_in_the_middle_with_keys_of_his_own_has_one_guess_at_each_side():
    """He answers the joiner and joins the member, with words of his own: both see a wrong code."""
    desk, his = Desk(), Desk(WRONG)
    jane, his_door = memory_pipes()
    his_way, member = memory_pipes()
    ends = await asyncio.gather(
        join(jane), answer(his_door, his), join(his_way, WRONG), answer(member, desk), return_exceptions=True
    )
    assert [why(end) for end in ends] == ["wrong_code"] * 4
    assert desk.wrongs == 1


@pytest.mark.parametrize(
    "says", [b"", b"\x00\x05\x01busy", b"\x00\x0a\x01no_matter\x00"[:12]], ids=["nothing", "busy", "other"]
)
async def test_who_is_shown_the_words_and_breaks_off_may_have_guessed(says: bytes, impatient: None):
    """A stranger who plays the member is shown what one guess can be tried on; the joiner must know that it was."""
    one, other = memory_pipes()
    joining = asyncio.ensure_future(join(one))
    await other.read()
    stranger = Desk()
    attempt = stranger.begin("42")
    pake = await secure._pake(attempt.secret, "42", joiner=False)
    other.write(PREAMBLE, b"\x00\x22\x00" + pake.message)
    assert len(await other.read()) == 2 + 33 + 1 + 48
    other.write(says)
    if says:
        await other.close()
    with pytest.raises(Unproven) as caught:  # silence is one of the ways, too
        await joining
    assert isinstance(caught.value.__cause__, LinkTimeout | NotAdmitted)


class Forger(LinkHandshake):
    """A member that knows the code, and gives itself out for somebody else."""

    @override
    def _prove(self, handshake_hash: bytes) -> bytes:
        proof = super()._prove(handshake_hash)
        return proof if self._initiator else proof.replace(MEMBER.key, JANE.key)


async def test_a_member_that_cannot_prove_who_it_is_is_no_wrong_code(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(secure, "LinkHandshake", Forger)
    one, other = memory_pipes()
    joined, answered = await meet(one, other, Desk())
    assert why(joined) == "bad_proof"
    assert isinstance(answered, LinkLost)


# ---------------------------------------------------------------- other modes, other callers


async def test_a_join_is_not_served_where_links_are_and_the_other_way_round():
    one, other = memory_pipes()
    ends = await asyncio.gather(join(one), accept_secure(other, MEMBER), return_exceptions=True)
    assert why(ends[1]) == "mode"
    assert isinstance(ends[0], LinkLost)
    one, other = memory_pipes()
    desk = Desk()
    ends = await asyncio.gather(dial_secure(one, JANE), answer(other, desk), return_exceptions=True)
    assert why(ends[1]) == "mode"
    assert isinstance(ends[0], LinkLost)
    assert desk.free


@pytest.mark.parametrize("role", [JOINER, ANSWERER])
async def test_silence_ends_when_the_time_is_up(role: str, impatient: None):
    ours, _theirs = memory_pipes()
    desk = Desk()
    began = time.monotonic()
    with refused(LinkTimeout, saying="in time"):
        await (join(ours) if role == JOINER else answer(ours, desk))
    assert time.monotonic() - began < 5
    assert desk.free


@pytest.mark.parametrize("role", [JOINER, ANSWERER])
async def test_an_oversized_message_is_refused_when_it_is_announced(role: str):
    ours, theirs = memory_pipes()
    theirs.write(PREAMBLE, b"\xff\xff")
    with refused(RemoteProtocolError, code="handshake"):
        await (join(ours) if role == JOINER else answer(ours, Desk()))


@pytest.mark.parametrize("role", [JOINER, ANSWERER])
async def test_a_cancelled_join_leaves_nothing_open(role: str):
    for turns in range(1, 30, 3):
        one, other = memory_pipes()
        desk = Desk()
        ends = [asyncio.ensure_future(join(one)), asyncio.ensure_future(answer(other, desk))]
        for _ in range(turns):
            await asyncio.sleep(0)
        ends[role == ANSWERER].cancel()
        await asyncio.gather(*ends, return_exceptions=True)
        assert desk.free
        one.abort()
