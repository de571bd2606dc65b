"""Hostile and broken peers: they are bounded, they are told off, and they keep honest peers from nothing."""

from __future__ import annotations

import pytest

from sandpiper.core.events import Accepted, CatchUp, Forked, Gap, PeerChanged, Preview, Refused
from sandpiper.core.limits import (
    FLOOD_PULL_DELAY,
    FRAME_BURST,
    MAX_CLAIMS,
    MAX_PENDING,
    MAX_PREVIEW,
    PUSH_BURST,
    PUSH_RATE,
)
from sandpiper.core.sync import FETCHED, PUSHED, WANTED, WANTED_RECENT
from sandpiper.crypto.identity import Identity
from sandpiper.crypto.rooms import open_room
from sandpiper.crypto.signing import seal_record
from sandpiper.testing.simulation import CALM, EPOCH_MS, End, Simulation, Stranger
from sandpiper.wire.frames import (
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
    encode_frame,
)
from sandpiper.wire.ids import NO_RECORD, RecordId
from sandpiper.wire.limits import MAX_ANSWER_FRAMES, MAX_BATCH_RECORDS, MAX_FETCH_IDS, MAX_HEADS, MAX_ROOM_TAGS, MAX_SEQ
from sandpiper.wire.records import Head, Record, Text
from tests.sim.checks import LOBBY, check_converged, check_told_once, head

ELSEWHERE = open_room("elsewhere")


def with_stranger(peers: int = 3, seed: int = 11) -> tuple[Simulation, Stranger]:
    """A calm room, and a stranger who shares it with everybody."""
    sim = Simulation(seed, peers=peers, weather=CALM)
    sim.run_until(2)
    mallory = sim.stranger()
    for peer in sim.peers:
        mallory.dial(peer)
        mallory.hello(peer, [LOBBY])
    sim.run_for(0.5)
    return sim, mallory


def fake_id(n: int) -> bytes:
    return n.to_bytes(32, "big")


def fake_heads(count: int, *, start: int = 1, seq: int = MAX_SEQ) -> tuple[Head, ...]:
    return tuple(Head(fake_id(start + n), seq, fake_id(start + n)) for n in range(count))


def by_others(count: int) -> list[Record]:
    """Valid first records of as many identities."""
    return [
        seal_record(Identity(fake_id(n + 1)), LOBBY, 1, NO_RECORD, (), EPOCH_MS, Text(f"other {n}"))
        for n in range(count)
    ]


def says_nothing_of(sim: Simulation, mallory: Stranger) -> None:
    """Honest peers still hear each other, and agree."""
    for peer in sim.peers:
        peer.say("lobby", f"{peer.nick} is still here")
    sim.run_for(5)
    for peer in sim.peers:
        heard = set(peer.texts("lobby"))
        assert heard >= {f"{other.nick} is still here" for other in sim.peers}, f"{peer} does not hear everybody"


# ---------------------------------------------------------------- floods


@pytest.mark.parametrize("answer", [PUSHED, WANTED, FETCHED, WANTED_RECENT])
def test_a_flood_of_records_is_taken_at_a_bounded_rate_whatever_it_calls_itself(answer: int) -> None:
    sim, mallory = with_stranger()
    begun, victim = sim.now, sim.peers[0]
    for n in range(3000):
        mallory.send(victim, Records(LOBBY, (mallory.record(LOBBY, f"{n}").raw,), answer))
        sim.run_for(0.003)
    taken = len(victim.told(Accepted)) + len(victim.told(Preview)) + len(victim.room(LOBBY).pending)
    asked = sum(isinstance(frame, Want | Fetch) for peer, frame in mallory.inbox if peer is victim)
    answers = 0 if answer == PUSHED else MAX_ANSWER_FRAMES * asked
    assert 0 < taken <= PUSH_BURST + PUSH_RATE * (sim.now - begun) + answers + 1
    assert asked <= taken + (sim.now - begun) / FLOOD_PULL_DELAY + 1, "asks again without having got anything"
    says_nothing_of(sim, mallory)


def test_what_a_flooder_pushes_too_fast_is_pulled_at_our_own_pace() -> None:
    sim, mallory = with_stranger(peers=1)
    records = [mallory.record(LOBBY, f"{n}") for n in range(5000)]
    wants: list[float] = []

    def obliging(stranger: Stranger, peer: End, frame: AnyFrame) -> None:
        if isinstance(frame, Want):
            wants.append(sim.now)
            held = next((h.seq for h in frame.heads if h.author == stranger.key), 0)
            batch = records[held : held + 200]
            stranger.send(peer, Records(LOBBY, tuple(r.raw for r in batch), WANTED_RECENT if frame.recent else WANTED))
            stranger.send(peer, Records(LOBBY, tuple(r.raw for r in records[-200:])))  # and pushes on

    mallory.on_frame = obliging
    mallory.send(sim.peers[0], Records(LOBBY, tuple(r.raw for r in records[-200:])))
    sim.run_for(10)
    taken = len(sim.peers[0].told(Accepted))
    assert len(wants) <= 10 / FLOOD_PULL_DELAY + 1
    assert 1000 < taken <= 10 * 1000


def test_too_many_frames_end_the_link() -> None:
    sim, mallory = with_stranger()
    for n in range(int(FRAME_BURST) + 1000):
        mallory.send(sim.peers[0], Ping(n))
    sim.run_for(2)
    assert mallory.closed
    assert mallory.closed[0][0] is sim.peers[0]
    assert Bye("flood") in [frame for _, frame in mallory.inbox]
    says_nothing_of(sim, mallory)


# ---------------------------------------------------------------- lies about what they hold


def test_heads_of_records_that_do_not_exist_neither_stop_nor_show_catching_up_for_ever() -> None:
    sim, mallory = with_stranger()
    liar_heads = fake_heads(MAX_HEADS)
    for peer in sim.peers:
        mallory.send(peer, Heads(LOBBY, liar_heads))
    sim.run_for(1)
    says_nothing_of(sim, mallory)
    sim.run_for(60)
    for peer in sim.peers:
        told = peer.told(CatchUp)
        assert not told or told[-1].missing == 0, "shows for ever that it is catching up"
        assert len(told) <= 2, "begins to catch up over and over"
    asked = [frame for _, frame in mallory.inbox if isinstance(frame, Want)]
    assert len(asked) < 3 * 61 / 10 + 3, "asks again and again for what does not come"
    mallory.hang_up(sim.peers[0])
    sim.run_for(5)
    shown = {gap.author: gap.missing for gap in sim.peers[0].told(Gap)}
    assert 0 < len(shown) <= MAX_CLAIMS
    assert set(shown.values()) == {0}, "holes are shown that only the liar spoke of"


@pytest.mark.parametrize("answers", [True, False])
def test_a_liar_that_claims_more_than_all_others_does_not_keep_a_late_joiner_from_its_history(answers: bool) -> None:
    sim = Simulation(3, peers=2, weather=CALM)
    late = sim.add_peer(nick="late", rooms=(), started=False)
    sim.run_until(1)
    for n in range(1500):
        sim.peers[n % 2].say("lobby", f"{n}")
        sim.run_for(0.06)
    mallory = sim.stranger()

    def liar(stranger: Stranger, peer: End, frame: AnyFrame) -> None:
        stranger.send(peer, Heads(LOBBY, fake_heads(100)))
        if isinstance(frame, Want) and answers:
            stranger.send(peer, Records(LOBBY, (), WANTED, more=True))

    mallory.on_frame = liar
    sim.restart(late.index)
    mallory.dial(late)
    mallory.hello(late, [LOBBY])
    sim.run_for(1)
    late.join("lobby")
    sim.run_for(60)
    assert len(late.texts("lobby")) == 1500


def test_a_liar_is_not_asked_again_while_others_have_what_we_lack() -> None:
    sim = Simulation(3, peers=1, weather=CALM)
    late = sim.add_peer(nick="late", rooms=(), started=False)
    sim.run_until(1)
    for n in range(5000):
        sim.peers[0].say("lobby", f"{n}")
    sim.slow(0, late.index, delay=0.05, bandwidth=20_000)  # most of a minute of catching up
    mallory = sim.stranger()
    asked: list[float] = []

    def silent(_stranger: Stranger, _peer: End, frame: AnyFrame) -> None:
        if isinstance(frame, Want):
            asked.append(sim.now)

    mallory.on_frame = silent
    sim.restart(late.index)
    mallory.dial(late)
    mallory.hello(late, [LOBBY])
    sim.run_for(1)
    late.join("lobby")
    sim.run_for(0.01)
    mallory.send(late, Heads(LOBBY, fake_heads(100)))
    sim.run_for(40)
    assert 500 < len(late.texts("lobby")) < 5000
    assert len(asked) <= 1, "a member that gave nothing is asked before one that gives"


def test_an_answer_that_never_ends_holds_up_nobody() -> None:
    sim = Simulation(3, peers=2, weather=CALM)
    sim.run_until(2)
    mallory = sim.stranger()
    mallory.dial(sim.peers[0])
    mallory.hello(sim.peers[0], [LOBBY])
    sim.run_for(0.1)
    sim.cut(0, 1)
    for n in range(30):
        sim.peers[1].say("lobby", f"{n}")
    mallory.send(sim.peers[0], Heads(LOBBY, fake_heads(3)))
    # A drop every four seconds: never silent for as long as an asked peer may be.
    for n in range(60):
        sim.after(4 * n, lambda: mallory.send(sim.peers[0], Records(LOBBY, (), WANTED, more=True)))
    sim.mend(0, 1)
    sim.run_for(30)
    assert len(sim.peers[0].texts("lobby")) == 30


def test_wants_and_fetches_with_absurd_heads_get_an_answer_and_do_no_harm() -> None:
    sim, mallory = with_stranger()
    victim = sim.peers[0]
    victim.say("lobby", "something")
    mine = head(victim.history("lobby")[-1])
    frames: list[AnyFrame] = [
        Want(LOBBY, fake_heads(MAX_HEADS)),
        Want(LOBBY, (Head(victim.key, MAX_SEQ, fake_id(1)),)),
        Want(LOBBY, (mine, Head(victim.key, 1, fake_id(2)), mine)),
        Want(LOBBY, (), recent=256),
        Fetch(LOBBY, tuple(fake_id(n) for n in range(MAX_FETCH_IDS))),
        Fetch(LOBBY, (mine.id,) * MAX_FETCH_IDS),
        Fetch(LOBBY, ()),
    ]
    mallory.inbox.clear()
    for frame in frames:
        mallory.send(victim, frame)
    sim.run_for(5)
    answers = [frame for _, frame in mallory.inbox if isinstance(frame, Records)]
    assert len(answers) == len(frames)
    assert [bool(a.records) for a in answers] == [True, False, False, True, False, True, False]
    says_nothing_of(sim, mallory)


def test_what_a_stranger_claims_takes_bounded_memory() -> None:
    sim, mallory = with_stranger(peers=1)
    victim = sim.peers[0]
    first = mallory.record(LOBBY, "first")
    mallory.send(victim, Records(LOBBY, (first.raw,)))
    for n in range(40):
        mallory.send(victim, Heads(LOBBY, fake_heads(MAX_HEADS, start=1 + n * MAX_HEADS), full=False))
        strange = tuple(Head(mallory.key, 1, fake_id(1 + n * MAX_HEADS + k)) for k in range(MAX_HEADS))
        mallory.send(victim, Heads(LOBBY, strange, full=False))
        tags = [(n * 1000 + k).to_bytes(8, "big") for k in range(MAX_ROOM_TAGS - 1)]
        mallory.send(victim, Rooms((*tags, victim.room(LOBBY).tag)))
        sim.run_for(1)
    assert victim.engine is not None
    assert mallory.key in victim.engine.members(LOBBY)
    sizes = list(held(victim.engine._rooms[LOBBY].sync._members[mallory.key]))
    assert sizes
    assert max(sizes) <= MAX_CLAIMS, f"a member's lists grew to {sizes}"


def held(member: object) -> list[int]:
    """The sizes of all collections of an object with slots."""
    values = [getattr(member, name) for name in type(member).__slots__]  # type: ignore[attr-defined]
    return [len(value) for value in values if isinstance(value, dict | set | list)]


# ---------------------------------------------------------------- records that have no place


def test_records_that_wait_for_parents_that_do_not_exist_are_bounded() -> None:
    sim, mallory = with_stranger(peers=2)
    victim = sim.peers[0]
    for n in range(MAX_PENDING + 500):
        orphan = mallory.record(LOBBY, f"{n}", seq=MAX_SEQ - n, prev=RecordId(fake_id(n + 1)))
        mallory.send(victim, Records(LOBBY, (orphan.raw,)))
        sim.run_for(0.06)
    room = victim.room(LOBBY)
    assert len(room.pending) == MAX_PENDING
    assert len(room._waiting) <= MAX_PENDING
    assert len(room._parents) <= MAX_PENDING
    says_nothing_of(sim, mallory)
    mallory.hang_up(victim)
    sim.crash(1)
    sim.run_for(5)
    assert not room.pending, "orphans stay when nobody is left who could send their parents"


def test_orphans_of_a_flooder_do_not_keep_honest_records_from_waiting_for_their_parents() -> None:
    # Branches of a fork come by id, one after the other, and wait in the meantime.
    sim = Simulation(9, peers=4, weather=CALM)
    twin = sim.add_peer(twin_of=0)
    sim.partition([[0, 1, 2], [twin.index, 3]])
    sim.run_until(2)
    mallory = sim.stranger()
    mallory.dial(sim.peers[1])
    mallory.hello(sim.peers[1], [LOBBY])
    sim.run_for(1)
    for n in range(MAX_PENDING + 200):
        orphan = mallory.record(LOBBY, f"{n}", seq=MAX_SEQ - n, prev=RecordId(fake_id(n + 1)))
        mallory.send(sim.peers[1], Records(LOBBY, (orphan.raw,)))
        sim.run_for(0.06)
    assert len(sim.peers[1].room(LOBBY).pending) == MAX_PENDING
    for n in range(6):
        sim.peers[0].say("lobby", f"left {n}")
        twin.say("lobby", f"right {n}")
        sim.run_for(1)
        sim.peers[3].say("lobby", f"answer {n}")
    sim.heal()
    assert sim.run_until_quiet(300)
    assert len(check_converged(sim)) == 6 + 6 + 6 + 2 + 1
    assert sim.peers[1].told(Forked)


def test_records_of_another_room_end_the_link_and_are_not_kept() -> None:
    sim, mallory = with_stranger()
    foreign = mallory.record(ELSEWHERE, "not here")
    mallory.send(sim.peers[0], Records(LOBBY, (foreign.raw,)))
    sim.run_for(1)
    assert not sim.peers[0].history("lobby")
    assert (sim.peers[0], "hangup bad_record") in mallory.closed
    assert "bad_record" in [refused.code for refused in sim.peers[0].told(Refused)]


def test_a_record_whose_signature_does_not_hold_ends_the_link_and_nothing_of_its_batch_is_kept() -> None:
    sim, mallory = with_stranger()
    good = mallory.record(LOBBY, "good").raw
    bad = bytearray(mallory.record(LOBBY, "bad").raw)
    bad[70] ^= 1
    mallory.send(sim.peers[0], Records(LOBBY, (good, bytes(bad))))
    sim.run_for(1)
    assert not sim.peers[0].history("lobby")
    assert mallory.closed[0][0] is sim.peers[0]


def test_frames_about_rooms_that_are_not_shared_are_refused() -> None:
    sim, mallory = with_stranger()
    victim = sim.peers[0]
    victim.join("elsewhere")
    victim.say("elsewhere", "not for the stranger")
    sim.run_for(1)
    mallory.inbox.clear()
    record = mallory.record(ELSEWHERE, "let me in")
    for frame in (
        Heads(ELSEWHERE, ()),
        Want(ELSEWHERE, ()),
        Want(ELSEWHERE, (), recent=100),
        Fetch(ELSEWHERE, (victim.history("elsewhere")[0].id,)),
        Records(ELSEWHERE, (record.raw,)),
        Typing(ELSEWHERE),
    ):
        mallory.send(victim, frame)
    sim.run_for(1)
    assert [refused.code for refused in victim.told(Refused)] == ["not_shared"] * 6
    assert not [frame for _, frame in mallory.inbox if isinstance(frame, Records | Heads)]
    assert len(victim.history("elsewhere")) == 2


def test_authors_that_a_full_room_has_no_place_for_do_not_hide_the_others_records(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sandpiper.core.room.MAX_AUTHORS", 6)
    sim = Simulation(5, peers=2, weather=CALM)
    sim.partition([[0], [1]])
    sim.run_until(1)
    for n, peer in enumerate(sim.peers):
        peer.say("lobby", "I was here first")
        sim.run_for(1)
        mallory = sim.stranger()
        mallory.dial(peer)
        mallory.hello(peer, [LOBBY])
        sim.run_for(0.5)
        # Different crowds on the two sides; one of each side's authors has more than one answer of records.
        for record in by_others(50)[n * 10 : n * 10 + 10]:
            mallory.send(peer, Records(LOBBY, (record.raw,)))
        sim.run_for(1)
        mallory.hang_up(peer)
    for peer in sim.peers:
        assert len(peer.room(LOBBY).logs) == 6
    crowd = next(p for p in sim.peers[0].room(LOBBY).logs if p != sim.peers[0].key)
    assert crowd not in sim.peers[1].room(LOBBY).logs
    sim.heal()
    sim.run_for(30)
    # Neither knows the other's log yet: the rooms are full. Nobody asks for ever.
    sent = sim.frames_sent
    sim.run_for(300)
    assert sim.frames_sent - sent < 400


def test_a_long_log_of_an_author_without_a_place_does_not_hide_newer_records(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sandpiper.core.room.MAX_AUTHORS", 3)
    sim = Simulation(5, peers=4, weather=CALM)
    sim.run_until(1)
    for peer in sim.peers[:2]:
        peer.say("lobby", "early")
    sim.run_for(5)
    sim.partition([[0], [1, 3], [2]])
    sim.run_for(2)
    # The third place goes to peer 2 at peer 2, and to somebody with much to say at peer 0.
    sim.peers[2].say("lobby", "mine")
    talker = sim.stranger()
    talker.dial(sim.peers[0])
    talker.hello(sim.peers[0], [LOBBY])
    sim.run_for(0.1)
    for n in range(MAX_ANSWER_FRAMES * MAX_BATCH_RECORDS + 100):
        talker.send(sim.peers[0], Records(LOBBY, (talker.record(LOBBY, f"{n}").raw,)))
        sim.run_for(0.06)
    talker.hang_up(sim.peers[0])
    assert len(sim.peers[0].history("lobby")) > MAX_ANSWER_FRAMES * MAX_BATCH_RECORDS
    # What peer 1 says after that comes to peer 2 only by way of peer 0, where it stands behind the long log.
    sim.peers[1].say("lobby", "news")
    sim.run_for(5)
    sim.crash(1)
    sim.partition([[0, 3], [2]])
    sim.run_for(40)
    assert "news" in sim.peers[0].texts("lobby")
    sim.crash(3)
    sim.partition([[0, 2]])
    sim.run_for(60)
    assert "news" in sim.peers[2].texts("lobby")
    sent = sim.frames_sent
    sim.run_for(300)
    assert sim.frames_sent - sent < 60, "what has no place is asked for over and over"


# ---------------------------------------------------------------- bad manners


def test_a_frame_before_hello_ends_the_link() -> None:
    sim = Simulation(1, peers=1, weather=CALM)
    sim.run_until(1)
    mallory = sim.stranger()
    mallory.dial(sim.peers[0])
    mallory.send(sim.peers[0], Heads(LOBBY, ()))
    sim.run_for(1)
    assert Bye("protocol") in [frame for _, frame in mallory.inbox]
    assert mallory.closed


def test_another_version_is_told_so_and_the_link_ends() -> None:
    sim = Simulation(1, peers=1, weather=CALM)
    sim.run_until(1)
    mallory = sim.stranger()
    mallory.dial(sim.peers[0])
    mallory.hello(sim.peers[0], [LOBBY], version=99)
    sim.run_for(1)
    assert Bye("version") in [frame for _, frame in mallory.inbox]
    assert sim.peers[0].engine is not None
    assert mallory.key not in sim.peers[0].engine.linked()


@pytest.mark.parametrize("raw", [b"", b"\x01", b"\x04\xc1", bytes([7]) + b"\xff" * 100, encode_frame(Ping(1)) + b"x"])
def test_bytes_that_are_no_frame_end_the_link(raw: bytes) -> None:
    sim, mallory = with_stranger()
    mallory.send_raw(sim.peers[0], raw)
    sim.run_for(1)
    assert mallory.closed[0] == (sim.peers[0], "hangup bad_frame")
    says_nothing_of(sim, mallory)


def test_frames_of_later_versions_are_ignored_and_counted() -> None:
    sim, mallory = with_stranger()
    for kind in (0, 10, 15, 16, 31, 34, 255):
        mallory.send_raw(sim.peers[0], bytes((kind,)) + b"anything")
    mallory.send(sim.peers[0], Ping(5))
    sim.run_for(1)
    assert mallory.inbox[-1] == (sim.peers[0], Pong(5))
    assert [r.code for r in sim.peers[0].told(Refused)] == ["unknown_frame"] * 7


def test_names_that_come_with_escape_sequences_are_told_without_them() -> None:
    sim, mallory = with_stranger()
    mallory.send(sim.peers[0], Presence("\x1b[31mroot\x07", "\x1b]52;c;aGk=\x07 away"))
    mallory.send(sim.peers[0], Bye("\x1b[2J", "\x1b[2J"))
    sim.run_for(1)
    for notice in sim.peers[0].notices:
        assert "\x1b" not in repr(notice).replace("\\x1b", "\x1b")


def test_hello_again_is_taken_as_news_and_nothing_is_shared_twice() -> None:
    sim, mallory = with_stranger(peers=1)
    mallory.inbox.clear()
    for n in range(5):
        mallory.hello(sim.peers[0], [LOBBY] if n % 2 == 0 else [])
    sim.run_for(1)
    assert sum(isinstance(frame, Heads) for _, frame in mallory.inbox) == 2
    assert sim.peers[0].engine is not None
    assert sim.peers[0].engine.members(LOBBY) == (mallory.key,)


def test_more_room_tags_than_anyone_shares_do_no_harm() -> None:
    sim, mallory = with_stranger(peers=1)
    tags = tuple(n.to_bytes(8, "big") for n in range(MAX_ROOM_TAGS))
    mallory.send(sim.peers[0], Hello(1, "x" * 64, "n" * 100, 0, tags, "s" * 400, ("f",) * 64))
    sim.run_for(1)
    assert sim.peers[0].engine is not None
    assert not sim.peers[0].engine.members(LOBBY)
    assert not mallory.closed


def test_a_preview_of_a_stranger_shows_a_bounded_number_of_records() -> None:
    sim, mallory = with_stranger(peers=1)
    victim = sim.peers[0]
    shown = [mallory.record(LOBBY, f"{n}", seq=1000 + n, prev=RecordId(fake_id(n + 1))) for n in range(2000)]

    def show_off(stranger: Stranger, peer: End, frame: AnyFrame) -> None:
        for k in range(0, 2000, 256) if isinstance(frame, Want) else ():
            stranger.send(peer, Records(LOBBY, tuple(r.raw for r in shown[k : k + 256]), WANTED_RECENT, more=True))

    mallory.on_frame = show_off
    mallory.send(victim, Heads(LOBBY, fake_heads(3)))
    sim.run_for(30)
    assert 0 < len(victim.told(Preview)) <= MAX_PREVIEW
    check_told_once(sim)


def test_slow_readers_are_cut_off_and_everyone_else_goes_on() -> None:
    sim = Simulation(8, peers=3, weather=CALM)
    sim.run_until(2)
    sim.slow(0, 1, delay=0.1, bandwidth=50_000)
    sim.run_for(2)
    big = "x" * 15_000
    for n in range(400):
        sim.peers[0].say("lobby", f"{n} {big}")
        sim.run_for(0.06)
    assert len(sim.peers[2].texts("lobby")) == 400
    reasons = [n.reason for n in sim.peers[0].told(PeerChanged) if n.state == "lost"]
    assert reasons, "the slow link was never closed"
    assert "slow" in reasons
    # What it could not read there comes to it from others, or later.
    assert sim.run_until_quiet(600)
    assert len(sim.peers[1].texts("lobby")) == 400
    check_told_once(sim)
