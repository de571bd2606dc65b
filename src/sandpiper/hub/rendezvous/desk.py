"""The rendezvous' one place that answers: a line of a guest in, lines for guests out. Pure."""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING

from msgspec import Struct

from sandpiper.core.rate import Bucket
from sandpiper.hub.counts import Tally
from sandpiper.hub.rendezvous.limits import (
    CLOSING_AGAIN,
    COORDINATION_SECONDS,
    EMPTY_SECONDS,
    IDLE_SECONDS,
    LINES_BURST,
    LINES_RATE,
    MAX_COORDINATIONS,
    MAX_ROOMS_A_GUEST,
    MAX_RTT,
    MAX_STRIKES,
    PING_SECONDS,
    SILENCE_SECONDS,
    START_MARGIN,
)
from sandpiper.hub.rendezvous.nameplates import Nameplates
from sandpiper.hub.rendezvous.rooms import Key, Registration, Room, key_of
from sandpiper.wire.rendezvous import (
    MAX_CANDIDATES,
    MAX_PEERS,
    AnyWord,
    BadAsk,
    Bridge,
    Candidate,
    Closing,
    Coordinate,
    Coordinated,
    CreateRoom,
    LeaveRoom,
    LookupRoom,
    Observe,
    Observed,
    PeerJoined,
    PeerLeft,
    PeerRegistered,
    Ping,
    Pong,
    Refusal,
    RegisterPeer,
    RoomCreated,
    RoomExpired,
    RoomInfo,
    Signal,
    Signalled,
    decode_ask,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from sandpiper.core.events import Now
    from sandpiper.hub.rendezvous.quotas import Quotas
    from sandpiper.wire.rendezvous import AnyAsk


class Seen(Struct, frozen=True):
    """Where a guest comes from. `address` is what limits count (empty: not at all); with `tunnel` host and port are
    those of a program on this machine.
    """

    host: str
    port: int
    address: str
    tunnel: bool = False


class Tell(Struct, frozen=True):
    """Write this to a guest."""

    guest: int
    word: AnyWord


class End(Struct, frozen=True):
    """Close a guest's connection, after what it was told. `why` is a code."""

    guest: int
    why: str


class HandOver(Struct, frozen=True):
    """From now on the relay has this connection."""

    guest: int
    token: bytes


Effect = Tell | End | HandOver


class _Guest:
    """One connection."""

    __slots__ = ("ended", "heard", "lines", "number", "ping", "rtt", "seen", "since", "strikes", "there", "wishes")

    def __init__(self, number: int, seen: Seen, now: float) -> None:
        self.number = number
        self.seen = seen
        self.since = self.heard = now
        self.lines = Bucket(LINES_RATE, LINES_BURST, now)
        self.strikes = 0
        self.ended = False
        self.there: dict[Key, Registration] = {}
        self.wishes: dict[str, tuple[float, tuple[Candidate, ...]]] = {}  # coordination with a peer: when, and where
        self.ping: tuple[int, float] | None = None  # the one that is unanswered
        self.rtt = 0.0


class Desk:
    """All guests of a rendezvous. Every method gives back what is to be done, in order."""

    def __init__(self, quotas: Quotas, draw: Callable[[int], int]) -> None:
        """`draw(n)` is a random number below n that nobody can guess."""
        self.quotas = quotas
        self.nameplates = Nameplates(draw)
        self.rooms: dict[Key, Room] = {}
        self.refusals = Tally()
        """By code, for the metrics."""
        self.asks = Tally()
        self.closing = False
        self._draw = draw
        self._guests: dict[int, _Guest] = {}
        self._registrations: dict[str, Registration] = {}
        self._ends: list[tuple[float, str]] = []  # one entry a nameplate: when to look at it again
        self._out: list[Effect] = []

    @property
    def registrations(self) -> int:
        """How many there are."""
        return len(self._registrations)

    # ------------------------------------------------------------ who comes and goes

    def enter(self, number: int, seen: Seen, now: Now) -> None:
        """A new guest."""
        self._guests[number] = _Guest(number, seen, now.mono)

    def gone(self, number: int, now: Now) -> list[Effect]:
        """Its connection has ended, or is not ours any more."""
        guest = self._guests.pop(number, None)
        if guest is not None:
            for registration in tuple(guest.there.values()):
                self._unregister(guest, registration, now)
        return self._flush()

    def close(self) -> list[Effect]:
        """Say goodbye to all."""
        self.closing = True
        for guest in self._guests.values():
            self._tell(guest.number, Closing(text="The rendezvous closes.", again_in=CLOSING_AGAIN))
            self._finish(guest, "closing")
        return self._flush()

    # ------------------------------------------------------------ what they say

    def hear(self, number: int, line: bytes, now: Now) -> list[Effect]:
        """One line without its newline."""
        guest = self._guests.get(number)
        if guest is None or guest.ended:
            return []
        guest.heard = now.mono
        try:
            ask = decode_ask(line)
        except BadAsk as exc:
            self.asks.add("not_understood")
            self._strike(guest, exc.code, str(exc))
            if exc.code == "version":
                self._finish(guest, "version")
            return self._flush()
        self.asks.add(type(ask).__struct_config__.tag)  # type: ignore[arg-type]
        if isinstance(ask, Pong):
            self._pong(guest, ask, now)
        elif not guest.lines.take(now.mono):
            self._strike(guest, "rate_limited", "Slower: too many lines came.", about=_type(ask), again_in=1.0)
        else:
            self._answer(guest, ask, now)
        return self._flush()

    def too_long(self, number: int) -> list[Effect]:
        """A line that does not end."""
        guest = self._guests.get(number)
        if guest is not None:
            self._end(guest, "line_too_long", "A line is longer than 64 KiB.")
        return self._flush()

    def _answer(self, guest: _Guest, ask: AnyAsk, now: Now) -> None:
        settings = self.quotas.settings
        if not settings.rendezvous and isinstance(ask, CreateRoom | RegisterPeer | LookupRoom | Signal | Coordinate):
            self._refuse(guest, "not_served", "This is a relay only, no rendezvous.", about=_type(ask))
            return
        match ask:
            case CreateRoom():
                self._create(guest, ask, now)
            case RegisterPeer():
                self._register(guest, ask, now)
            case LeaveRoom():
                registration = guest.there.get(key_of(ask))
                if registration is not None:
                    self._unregister(guest, registration, now)
            case LookupRoom():
                if self._may_join(guest, ask, now):
                    room = self.rooms.get(key_of(ask))
                    peers = tuple(room.peers) if room is not None else ()
                    self._tell(guest.number, RoomInfo(peers=peers, code=ask.code, tag=ask.tag))
            case Observe():
                seen = guest.seen
                self._tell(
                    guest.number,
                    Observed(
                        host=seen.host or "0.0.0.0",
                        port=seen.port,
                        tunnel=seen.tunnel,
                        relay=settings.relay,
                        second_port=settings.second_port,
                        time=now.wall_ms,
                    ),
                )
            case Signal():
                self._signal(guest, ask)
            case Coordinate():
                self._coordinate(guest, ask, now)
            case Bridge():
                self._bridge(guest, ask)
            case Ping():
                self._tell(guest.number, Pong(n=ask.n))
            case Pong():
                pass

    # ------------------------------------------------------------ rooms

    def _may_join(self, guest: _Guest, ask: CreateRoom | RegisterPeer | LookupRoom, now: Now) -> bool:
        wait = self.quotas.join(guest.seen.address, now.mono)
        if wait:
            text = "Too many rooms were asked for from your address; wait a little."
            room = "" if isinstance(ask, CreateRoom) else _shown(key_of(ask))
            self._refuse(guest, "rate_limited", text, about=_type(ask), room=room, again_in=round(wait, 3))
        return not wait

    def _create(self, guest: _Guest, ask: CreateRoom, now: Now) -> None:
        if not self._may_join(guest, ask, now):
            return
        settings, owner = self.quotas.settings, guest.seen.address
        if len(self.nameplates) >= settings.registrations:
            self._refuse(guest, "full", "All nameplates are in use; try again later.", about="create_room")
        elif not self.quotas.take("codes", owner, now.mono):
            text = f"Your address has {settings.codes_an_address} codes, which is all it may have."
            self._refuse(guest, "too_many_codes", text, about="create_room")
        elif isinstance(ask.code, str) and not self.nameplates.ask(ask.code):
            self.quotas.give_back("codes", owner)
            text = "This nameplate is in use."
            self._refuse(guest, "code_taken", text, about="create_room", room=ask.code)
        else:
            code = ask.code if isinstance(ask.code, str) else self.nameplates.give()
            life = settings.code_hours * 3600
            end_unix = now.wall_ms // 1000 + int(life)
            self.rooms[code] = Room(code, {}, now.mono + life, end_unix, empty_since=now.mono, owner=owner)
            heapq.heappush(self._ends, (now.mono + min(EMPTY_SECONDS, life), code))
            self._tell(guest.number, RoomCreated(code=code, expires_at=end_unix))

    def _register(self, guest: _Guest, ask: RegisterPeer, now: Now) -> None:
        key = key_of(ask)
        if key in guest.there:
            self._greet(guest, guest.there[key])
            return
        if not self._may_join(guest, ask, now):
            return
        settings, room = self.quotas.settings, self.rooms.get(key)
        why = text = ""
        if room is None and isinstance(key, str):
            why, text = "no_room", "There is no room with this nameplate: it is mistyped, or used up."
        elif len(guest.there) >= MAX_ROOMS_A_GUEST:
            why, text = "too_many_rooms", f"One connection is in {MAX_ROOMS_A_GUEST} rooms at most."
        elif room is not None and len(room.peers) > MAX_PEERS:
            why, text = "room_full", f"{MAX_PEERS + 1} peers are registered there, which is all."
        elif len(self._registrations) >= settings.registrations:
            why, text = "full", "The rendezvous is full; try again later."
        elif not self.quotas.take("registrations", guest.seen.address, now.mono):
            why, text = "too_many_registrations", "Your address has registered in as many rooms as it may."
        if why:
            self._refuse(guest, why, text, about="register_peer", room=_shown(key))
            return
        if room is None:
            room = self.rooms[key] = Room(key, {})
        peer = f"{self._draw(1 << 64):016x}"
        registration = Registration(peer, guest.number, guest.seen.address, room)
        guest.there[key] = self._registrations[peer] = registration
        joined = PeerJoined(peer=peer, code=room.code, tag=room.tag)
        for other in room.peers.values():
            self._tell(other.guest, joined)
        room.peers[peer] = registration
        self._greet(guest, registration)
        if not guest.rtt:
            self._ping(guest, now.mono)  # so that the way's time is known when it dials

    def _greet(self, guest: _Guest, registration: Registration) -> None:
        room = registration.room
        others = tuple(peer for peer in room.peers if peer != registration.peer)
        self._tell(
            guest.number,
            PeerRegistered(
                peer=registration.peer, peers=others, code=room.code, tag=room.tag, expires_at=room.end_unix
            ),
        )

    def _unregister(self, guest: _Guest, registration: Registration, now: Now) -> None:
        room = registration.room
        del guest.there[room.key], self._registrations[registration.peer], room.peers[registration.peer]
        self.quotas.give_back("registrations", registration.address)
        left = PeerLeft(peer=registration.peer, code=room.code, tag=room.tag)
        for other in room.peers.values():
            self._tell(other.guest, left)
        if not room.peers:
            room.empty_since = now.mono
            if isinstance(room.key, bytes):
                del self.rooms[room.key]

    def _expire(self, room: Room) -> None:
        """A nameplate's end."""
        assert isinstance(room.key, str)
        for registration in room.peers.values():
            del self._registrations[registration.peer]
            self.quotas.give_back("registrations", registration.address)
            del self._guests[registration.guest].there[room.key]
            self._tell(registration.guest, RoomExpired(code=room.key))
        del self.rooms[room.key]
        self.nameplates.give_back(room.key)
        self.quotas.give_back("codes", room.owner)

    # ------------------------------------------------------------ one to another

    def _together(self, guest: _Guest, peer: str) -> tuple[Registration, Registration] | None:
        """A peer in a room where the guest is as well, and the guest there; None: there is none, and it was told."""
        other = self._registrations.get(peer)
        own = guest.there.get(other.room.key) if other is not None else None
        if other is None or own is None or other is own:
            return None
        return own, other

    def _signal(self, guest: _Guest, ask: Signal) -> None:
        both = self._together(guest, ask.to)
        if both is None:
            self._refuse(guest, "no_peer", "This peer is not there any more.", about="signal", peer=ask.to)
            return
        own, other = both
        self._tell(other.guest, Signalled(sender=own.peer, data=ask.data))

    def _coordinate(self, guest: _Guest, ask: Coordinate, now: Now) -> None:
        both = self._together(guest, ask.peer)
        if both is None:
            text = "This peer is not there any more."
            self._refuse(guest, "no_peer", text, about="coordinate_connection", peer=ask.peer)
            return
        own, other = both
        far = self._guests[other.guest]
        asked = far.wishes.pop(own.peer, None)
        if asked is None or asked[0] < now.mono - COORDINATION_SECONDS:
            guest.wishes.pop(ask.peer, None)
            if len(guest.wishes) >= MAX_COORDINATIONS:
                del guest.wishes[next(iter(guest.wishes))]
            guest.wishes[ask.peer] = (now.mono, ask.candidates)
            return
        guest.wishes.pop(ask.peer, None)
        here, there = min(guest.rtt, MAX_RTT) / 2, min(far.rtt, MAX_RTT) / 2
        moment = max(here, there) + START_MARGIN
        for to, peer, candidates, way in (
            (guest, other.peer, _with_seen(asked[1], far.seen), here),
            (far, own.peer, _with_seen(ask.candidates, guest.seen), there),
        ):
            start_in = round((moment - way) * 1000)
            self._tell(to.number, Coordinated(peer=peer, candidates=candidates, start_in=start_in))

    def _bridge(self, guest: _Guest, ask: Bridge) -> None:
        if not self.quotas.settings.relay:
            self._refuse(guest, "not_served", "This is a rendezvous only, no relay.", about="bridge")
        elif guest.there:
            text = "A registered connection cannot be a bridge: open another one for it."
            self._refuse(guest, "not_now", text, about="bridge")
        else:
            del self._guests[guest.number]
            self._out.append(HandOver(guest.number, ask.token))

    # ------------------------------------------------------------ time

    def tick(self, now: Now) -> list[Effect]:
        """What is due; call it once a second."""
        mono = now.mono
        for guest in self._guests.values():
            if guest.ended:
                continue
            silent = mono - guest.heard
            if silent >= SILENCE_SECONDS:
                self._end(guest, "silent", f"Nothing came for {SILENCE_SECONDS:.0f} s.")
            elif not guest.there and mono - guest.since >= IDLE_SECONDS:
                self._end(guest, "idle", f"You are in no room for {IDLE_SECONDS:.0f} s.")
            elif silent >= PING_SECONDS and (guest.ping is None or mono - guest.ping[1] >= PING_SECONDS):
                self._ping(guest, mono)
            if guest.there:
                guest.since = mono
        while self._ends and self._ends[0][0] <= mono:
            _, code = heapq.heappop(self._ends)
            room = self.rooms[code]
            empty = room.empty_since + EMPTY_SECONDS if not room.peers else mono + EMPTY_SECONDS
            if min(empty, room.end_at) <= mono:
                self._expire(room)
            else:
                heapq.heappush(self._ends, (min(empty, room.end_at), code))
        self.quotas.rest(mono)
        return self._flush()

    def _ping(self, guest: _Guest, mono: float) -> None:
        guest.ping = (int(mono * 1000), mono)
        self._tell(guest.number, Ping(n=guest.ping[0]))

    def _pong(self, guest: _Guest, ask: Pong, now: Now) -> None:
        if guest.ping is not None and guest.ping[0] == ask.n:
            guest.rtt = max(0.000_001, now.mono - guest.ping[1])
            guest.ping = None

    # ------------------------------------------------------------ out

    def _flush(self) -> list[Effect]:
        out, self._out = self._out, []
        return out

    def _tell(self, number: int, word: AnyWord) -> None:
        self._out.append(Tell(number, word))

    def _refuse(self, guest: _Guest, code: str, text: str, **about: str | float) -> None:
        self.refusals.add(code)
        self._tell(guest.number, Refusal(code=code, text=text, **about))  # type: ignore[arg-type]

    def _strike(self, guest: _Guest, code: str, text: str, **about: str | float) -> None:
        guest.strikes += 1
        self._refuse(guest, code, text, **about)
        if guest.strikes >= MAX_STRIKES:
            self._end(guest, "too_many_errors", f"{MAX_STRIKES} lines could not be taken.")

    def _end(self, guest: _Guest, code: str, text: str) -> None:
        self._refuse(guest, code, text)
        self._finish(guest, code)

    def _finish(self, guest: _Guest, why: str) -> None:
        guest.ended = True
        self._out.append(End(guest.number, why))


def _with_seen(candidates: tuple[Candidate, ...], seen: Seen) -> tuple[Candidate, ...]:
    """With the address that we see, unless it is a tunnel's."""
    if seen.tunnel or not seen.host:
        return candidates
    own = Candidate(seen.host, seen.port)
    return candidates if own in candidates else (own, *candidates[:MAX_CANDIDATES])


def _type(ask: AnyAsk) -> str:
    return str(type(ask).__struct_config__.tag)


def _shown(key: Key) -> str:
    """As an error names it: a tag by its beginning, which its owner knows again."""
    return key if isinstance(key, str) else key[:8].hex()
