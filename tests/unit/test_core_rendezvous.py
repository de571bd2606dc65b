"""A peer's side of a rendezvous without sockets."""

from __future__ import annotations

import random
from typing import Any

import pytest

from sandpiper.core.rendezvous import (
    BACKOFF_MOST,
    DOUBT_SECONDS,
    GREETING_SECONDS,
    PING_SECONDS,
    PLACE_SECONDS,
    SILENCE_SECONDS,
    Came,
    CodeExpired,
    Introduced,
    Offline,
    Refused,
    Registered,
    RvDial,
    RvHangUp,
    RvWrite,
    SignalCame,
    nat_kind,
)
from sandpiper.wire.rendezvous import (
    MAX_PEERS,
    Closing,
    CreateRoom,
    LookupRoom,
    Observe,
    Observed,
    PeerJoined,
    PeerRegistered,
    Ping,
    Pong,
    Refusal,
    RegisterPeer,
    RoomCreated,
    RoomExpired,
    Signalled,
    decode_ask,
    encode_line,
)

SEEN = Observed(host="198.51.100.7", port=4000)


class Peer:
    def __init__(self) -> None:
        self.time = 0.0
        self.guest = Introduced(random.Random(3), 0.0)
        self.told: list[Any] = []

    def flush(self) -> list[Any]:
        """What it says and does; what it tells goes into `told`."""
        done: list[Any] = []
        for effect in self.guest.flush():
            if isinstance(effect, RvWrite):
                done.append(decode_ask(effect.raw[:-1]))
            elif isinstance(effect, RvDial | RvHangUp):
                done.append(effect)
            else:
                self.told.append(effect)
        return done

    def hears(self, word: Any) -> list[Any]:
        self.guest.heard(encode_line(word)[:-1], self.time)
        return self.flush()

    def waits(self) -> list[Any]:
        """Until its deadline."""
        due = self.guest.deadline()
        assert due is not None
        self.time = max(self.time, due)
        self.guest.tick(self.time)
        return self.flush()

    def online(self) -> list[Any]:
        """What it says when it is there."""
        assert self.waits() == [RvDial()]
        self.guest.connected(self.time)
        first, *said = self.flush()
        assert first == Observe()
        assert self.hears(SEEN) == []
        return said


def test_it_dials_at_once_and_says_all_without_waiting_for_an_answer() -> None:
    peer = Peer()
    peer.guest.register(bytes(32))
    peer.guest.create_room()
    assert peer.online() == [RegisterPeer(tag=bytes(32)), CreateRoom()]
    assert peer.time == 0


def test_what_was_said_to_one_that_never_answered_is_said_again() -> None:
    peer = Peer()
    peer.waits()
    peer.guest.create_room()
    peer.guest.connected(peer.time)
    peer.guest.look_up("42")
    assert peer.flush() == [Observe(), CreateRoom(), LookupRoom(code="42")]
    peer.guest.lost("full", peer.time)
    peer.flush()
    assert peer.online() == [CreateRoom(), LookupRoom(code="42")]
    peer.guest.lost("gone", peer.time)
    peer.flush()
    assert peer.online() == []


def test_it_waits_longer_each_time_and_anew_after_success() -> None:
    peer, waits = Peer(), []
    for _ in range(12):
        assert peer.waits() == [RvDial()]
        before = peer.time
        peer.guest.lost("nothing there", before)
        due = peer.guest.deadline()
        assert due is not None
        waits.append(due - before)
    assert waits[0] <= 1.5
    assert all(0.5 * BACKOFF_MOST <= wait <= 1.5 * BACKOFF_MOST for wait in waits[-3:])
    peer.online()
    peer.guest.lost("gone", peer.time)
    due = peer.guest.deadline()
    assert due is not None
    assert due - peer.time <= 1.5


def test_a_kept_code_is_asked_for_again_when_it_was_forgotten() -> None:
    peer = Peer()
    peer.guest.register("42", keep=True)
    assert peer.online() == [RegisterPeer(code="42")]
    assert peer.hears(Refusal(code="no_room", about="register_peer", room="42")) == [CreateRoom(code="42")]
    assert peer.hears(RoomCreated(code="42", expires_at=9)) == [RegisterPeer(code="42")]
    # Another member was faster: it is there already, and registered under.
    assert peer.hears(Refusal(code="code_taken", about="create_room", room="42")) == []
    assert peer.waits() == [RegisterPeer(code="42")]
    assert not [notice for notice in peer.told if isinstance(notice, Refused)]


def test_a_code_that_is_not_kept_is_given_up() -> None:
    peer = Peer()
    peer.guest.register("42")
    peer.online()
    assert peer.hears(Refusal(code="no_room", about="register_peer", room="42", text="no")) == []
    assert isinstance(peer.told[-1], Refused)
    peer.guest.lost("gone", peer.time)
    peer.flush()
    assert peer.online() == []


def test_what_comes_too_fast_is_said_again_when_it_may_be() -> None:
    peer = Peer()
    peer.guest.register(bytes(32))
    peer.online()
    before = peer.time
    assert peer.hears(Refusal(code="rate_limited", about="register_peer", room="00" * 8, again_in=20.0)) == []
    assert peer.waits() == [RegisterPeer(tag=bytes(32))]
    assert 20 <= peer.time - before <= 30


@pytest.mark.parametrize("code", ["room_full", "too_many_rooms", "too_many_registrations"])
@pytest.mark.parametrize("room", ["42", bytes(32)])
def test_where_there_is_no_place_it_asks_again_until_there_is_one(code: str, room: str | bytes) -> None:
    peer = Peer()
    peer.guest.register(room)
    peer.online()
    shown = room if isinstance(room, str) else room[:8].hex()
    named: dict[str, Any] = {"code": room} if isinstance(room, str) else {"tag": room}
    for _ in range(3):
        before = peer.time
        assert peer.hears(Refusal(code=code, about="register_peer", room=shown)) == []
        said: list[Any] = []
        while not said and peer.time < before + 2 * PLACE_SECONDS:
            said = [word for word in peer.waits() if not isinstance(word, Ping)]
            peer.hears(Pong())
        assert said == [RegisterPeer(**named)]
        assert before + PLACE_SECONDS <= peer.time
    peer.hears(PeerRegistered(peer="me", peers=("other",), **named))
    assert peer.told[-1] == Registered(room, "me", ("other",))


def test_an_expired_number_is_asked_for_again_by_who_keeps_it_and_told_to_who_does_not() -> None:
    for keep in (True, False):
        peer = Peer()
        peer.guest.register("42", keep=keep)
        peer.online()
        peer.hears(PeerRegistered(peer="me", peers=(), code="42"))
        peer.hears(RoomExpired(code="42"))
        assert (peer.told[-1] == CodeExpired("42")) != keep
        said: list[Any] = []
        while not said and peer.time < 2 * PLACE_SECONDS:
            said = [word for word in peer.waits() if not isinstance(word, Ping)]
            peer.hears(Pong())
        assert said == ([RegisterPeer(code="42")] if keep else [])


def test_a_goodbye_is_followed_soon_and_not_all_at_once() -> None:
    waits = set()
    for seed in range(5):
        peer = Peer()
        peer.guest = Introduced(random.Random(seed), 0.0)
        peer.online()
        assert isinstance(peer.hears(Closing(again_in=2.0))[0], RvHangUp)
        peer.guest.lost("closed", peer.time)
        peer.flush()
        due = peer.guest.deadline()
        assert due is not None
        waits.add(due - peer.time)
    assert len(waits) == 5
    assert all(1 <= wait <= 3 for wait in waits)


def test_a_silent_rendezvous_is_pinged_and_left() -> None:
    peer = Peer()
    peer.online()
    assert peer.waits() == [Ping()]
    assert peer.time == PING_SECONDS
    peer.hears(Pong())
    assert peer.waits() == [Ping()]
    heard = peer.time - PING_SECONDS
    assert isinstance(peer.waits()[0], RvHangUp)
    assert peer.time - heard == SILENCE_SECONDS


def test_however_long_an_outage_lasts_a_try_is_at_most_a_minute_away() -> None:
    peer = Peer()
    for _ in range(200):
        assert peer.waits() == [RvDial()]
        before = peer.time
        peer.guest.lost("nothing there", before)
        assert (peer.guest.deadline() or 0.0) - before <= 60.0


def test_after_sleep_the_rendezvous_must_answer_soon() -> None:
    peer = Peer()
    peer.online()
    peer.time = 7.0
    peer.guest.network_changed(7.0, gone=False)
    assert peer.flush() == [Ping()]
    peer.guest.network_changed(8.0, gone=False)
    assert peer.flush() == [], "once is enough, and gives it no more time"
    assert isinstance(peer.waits()[0], RvHangUp)
    assert peer.time == 7.0 + DOUBT_SECONDS


def test_one_that_answers_is_not_left_for_a_change_of_network() -> None:
    peer = Peer()
    peer.online()
    peer.guest.network_changed(0.0, gone=False)
    assert peer.flush() == [Ping()]
    peer.hears(Pong())
    assert peer.waits() == [Ping()]
    assert peer.time == PING_SECONDS


def test_when_our_address_has_gone_the_connection_is_made_anew_at_once() -> None:
    peer = Peer()
    peer.guest.register(bytes(32))
    peer.online()
    peer.time = 7.0
    peer.guest.network_changed(7.0, gone=True)
    assert isinstance(peer.flush()[0], RvHangUp)
    peer.guest.lost("hung up", 7.0)
    assert peer.waits() == [RvDial()]
    assert peer.time < 8.0
    peer.guest.connected(peer.time)
    assert peer.flush() == [Observe(), RegisterPeer(tag=bytes(32))]


@pytest.mark.parametrize("gone", [True, False])
def test_who_waits_for_the_next_try_does_not_wait_in_another_network(gone: bool) -> None:
    peer = Peer()
    for _ in range(9):
        peer.waits()
        peer.guest.lost("nothing there", peer.time)
    began = peer.time
    assert (peer.guest.deadline() or 0.0) > began + 10
    peer.guest.network_changed(began, gone=gone)
    assert peer.waits() == [RvDial()]
    assert peer.time < began + 1


def test_one_that_never_greets_is_left() -> None:
    peer = Peer()
    peer.waits()
    peer.guest.connected(0.0)
    peer.flush()
    assert isinstance(peer.waits()[0], RvHangUp)
    assert peer.time == GREETING_SECONDS


def test_names_of_peers_end_with_the_connection() -> None:
    peer = Peer()
    peer.guest.register(bytes(32))
    peer.online()
    peer.hears(PeerRegistered(peer="me", peers=("a",), tag=bytes(32)))
    peer.hears(Signalled(sender="a", data=b"1"))
    peer.hears(Signalled(sender="stranger", data=b"2"))
    assert [n.data for n in peer.told if isinstance(n, SignalCame)] == [b"1"]
    peer.guest.signal("a", b"x")
    peer.guest.lost("gone", peer.time)
    peer.flush()
    peer.guest.signal("a", b"too late")
    assert RegisterPeer(tag=bytes(32)) in peer.online()
    peer.hears(PeerRegistered(peer="me2", peers=(), tag=bytes(32)))
    peer.hears(Signalled(sender="a", data=b"3"))
    assert [n.data for n in peer.told if isinstance(n, SignalCame)] == [b"1"]
    assert [n.me for n in peer.told if isinstance(n, Registered)] == ["me", "me2"]


def test_a_hostile_rendezvous_cannot_fill_memory() -> None:
    peer = Peer()
    peer.guest.register(bytes(32))
    peer.online()
    peer.hears(PeerRegistered(peer="me", tag=bytes(32)))
    for number in range(5000):
        peer.hears(PeerJoined(peer=f"p{number}", tag=bytes(32)))
    assert len([notice for notice in peer.told if isinstance(notice, Came)]) == MAX_PEERS
    peer.guest.heard(b"\x00garbage", peer.time)
    assert isinstance(peer.flush()[0], RvHangUp)


def test_kinds_of_nat_are_told_from_two_ports() -> None:
    def seen(host: str, port: int, *, tunnel: bool = False) -> Observed:
        return Observed(host=host, port=port, tunnel=tunnel)

    inside, relay = "192.168.1.5", "203.0.113.1"
    assert nat_kind(inside, seen("198.51.100.7", 5), seen("198.51.100.7", 5)) == "easy"
    assert nat_kind(inside, seen("198.51.100.7", 5), seen("198.51.100.7", 6)) == "hard"
    assert nat_kind(inside, seen("198.51.100.7", 5), None) == "unknown"
    assert nat_kind("198.51.100.7", seen("198.51.100.7", 5), None) == "none"
    assert nat_kind(inside, seen("127.0.0.1", 5, tunnel=True), None) == "unknown"
    assert nat_kind(inside, seen("172.17.0.1", 5), seen("172.17.0.1", 5), far="8.8.8.8") == "unknown", "a container's"
    assert relay


def test_offline_says_when_it_tries_again() -> None:
    peer = Peer()
    peer.waits()
    peer.guest.lost("nothing there", 5.0)
    peer.flush()
    offline = peer.told[-1]
    assert isinstance(offline, Offline)
    assert offline.again_at == peer.guest.deadline()
