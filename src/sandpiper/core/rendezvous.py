"""A peer's side of a rendezvous: keeps it registered, over lost connections and restarts. Pure."""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING, TypeAlias, TypedDict

from msgspec import Struct

from sandpiper.core.backoff import Backoff
from sandpiper.errors import RemoteProtocolError
from sandpiper.wire.rendezvous import (
    MAX_PEERS,
    Bridged,
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
    decode_word,
    encode_line,
)

if TYPE_CHECKING:
    import random
    from collections.abc import Sequence

    from sandpiper.wire.meeting import NatKind
    from sandpiper.wire.rendezvous import AnyAsk

PING_SECONDS = 35.0  # of silence: the rendezvous pings after 25
SILENCE_SECONDS = 60.0  # of silence: the connection is dead
GREETING_SECONDS = 15.0  # for the first answer: through a proxy, from the other side of the world
BACKOFF_FIRST, BACKOFF_MOST = 1.0, 40.0  # seconds between tries, a minute with jitter: an outage is not hammered at
DOUBT_SECONDS = 4.0  # after sleep or a change of network, an answer must come within this time
HURRY_SECONDS = 0.1  # until the next try, when our address has gone: the new one may be a moment old
PLACE_SECONDS = (
    60.0  # before it is asked again whether there is a place: others leave, and one day a code is given anew
)
AGAIN_LEAST = 0.5  # seconds before a refused wish is said again
MAX_WAITING = 256  # signals and the like that wait for a connection; the oldest go: they are of no use by then

RoomName: TypeAlias = str | bytes
"""A nameplate's digits, or the tag of a remembered room."""


# ---------------------------------------------------------------- what is to be done, and what to tell


class RvDial(Struct, frozen=True):
    """Connect."""


class RvWrite(Struct, frozen=True):
    """Write these bytes."""

    raw: bytes


class RvHangUp(Struct, frozen=True):
    """Close the connection; `lost` follows."""

    reason: str


class Online(Struct, frozen=True):
    """The rendezvous has answered: `seen` is how it sees us."""

    seen: Observed


class Offline(Struct, frozen=True):
    """No connection; the next try is at `again_at` (seconds of our clock)."""

    reason: str
    again_at: float


class RoomMade(Struct, frozen=True):
    """A nameplate is ours until `expires_at` (Unix seconds); we are not registered under it yet."""

    code: str
    expires_at: int


class Registered(Struct, frozen=True):
    """We are in a room as `me`; `peers` are the others. Told again after every reconnect, with other names."""

    room: RoomName
    me: str
    peers: tuple[str, ...]
    expires_at: int = 0


class LookedUp(Struct, frozen=True):
    """Who is in a room."""

    room: RoomName
    peers: tuple[str, ...]


class Came(Struct, frozen=True):
    """A peer has come into a room."""

    room: RoomName
    peer: str


class Went(Struct, frozen=True):
    """A peer is there no longer."""

    room: RoomName
    peer: str


class SignalCame(Struct, frozen=True):
    """Sealed bytes from a peer."""

    room: RoomName
    peer: str
    data: bytes


class DialNow(Struct, frozen=True):
    """Dial `candidates` of a peer at `start_at` (seconds of our clock): it does the same."""

    peer: str
    candidates: tuple[Candidate, ...]
    start_at: float


class CodeExpired(Struct, frozen=True):
    """A nameplate is used up."""

    code: str


class Refused(Struct, frozen=True):
    """Something that cannot be had; what is worth another try is tried again without a word."""

    code: str
    text: str
    about: str = ""
    room: RoomName = ""
    peer: str = ""


RvNotice: TypeAlias = (
    Online | Offline | RoomMade | Registered | LookedUp | Came | Went | SignalCame | DialNow | CodeExpired | Refused
)
RvEffect: TypeAlias = RvDial | RvWrite | RvHangUp | RvNotice


class _Named(TypedDict, total=False):
    code: str
    tag: bytes


class _Wanted:
    """A room where we want to be registered."""

    __slots__ = ("again_at", "keep", "peers")

    def __init__(self, *, keep: bool) -> None:
        self.keep = keep
        self.peers: set[str] | None = None  # None: not registered
        self.again_at: float | None = None  # it was refused; say it again then


class Introduced:
    """What a peer wants of its rendezvous, and what became of it. Call `flush` after everything; times in seconds."""

    def __init__(self, rng: random.Random, now: float) -> None:
        self.seen: Observed | None = None
        """How the rendezvous sees us; None: there is no connection."""
        self._rng = rng
        self._backoff = Backoff(BACKOFF_FIRST, BACKOFF_MOST)
        self._rooms: dict[RoomName, _Wanted] = {}
        self._waiting: list[AnyAsk] = []
        self._rooms_of: dict[str, RoomName] = {}  # where a peer is
        self._dial_at: float | None = now
        self._open = False
        self._heard = now
        self._pinged = False
        self._doubt: float | None = None
        self._out: list[RvEffect] = []

    # ------------------------------------------------------------ wishes

    def create_room(self) -> None:
        """Ask for a nameplate; `RoomMade` tells it, then `register` it with `keep`."""
        self._ask(CreateRoom())

    def register(self, room: RoomName, *, keep: bool = False) -> None:
        """Be in a room from now on, also after a reconnect. With `keep` a nameplate that the rendezvous has forgotten
        is asked for again, by its own digits.
        """
        if room not in self._rooms:
            self._rooms[room] = _Wanted(keep=keep)
            if self._open:
                self._say(RegisterPeer(**_named(room)))

    def leave(self, room: RoomName) -> None:
        """Be there no longer."""
        wanted = self._rooms.pop(room, None)
        if wanted is not None:
            self._forget(wanted)
            if self._open:
                self._say(LeaveRoom(**_named(room)))

    def others(self, room: RoomName) -> frozenset[str]:
        """Who is in a room besides us, by the names that they have while they and we are connected."""
        wanted = self._rooms.get(room)
        return frozenset(wanted.peers or ()) if wanted is not None else frozenset()

    def look_up(self, room: RoomName) -> None:
        """Ask who is there."""
        self._ask(LookupRoom(**_named(room)))

    def signal(self, peer: str, data: bytes) -> None:
        """Have sealed bytes given to a peer."""
        self._ask(Signal(to=peer, data=data))

    def coordinate(self, peer: str, candidates: Sequence[Candidate]) -> None:
        """Dial a peer at the moment when it dials us: once it has said the same, `DialNow` tells when and where."""
        self._ask(Coordinate(peer=peer, candidates=tuple(candidates)))

    def _ask(self, ask: AnyAsk) -> None:
        if self._open:
            self._say(ask)
        if self.seen is None:
            self._waiting = [*self._waiting[-MAX_WAITING + 1 :], ask]

    # ------------------------------------------------------------ the connection

    def connected(self, now: float) -> None:
        """A connection is there. All is said at once: a round trip to the other side of the world is seen by whoever
        waits for a room.
        """
        self._open, self._heard, self._pinged = True, now, False
        self._dial_at = self._doubt = None
        self._say(Observe())
        for room in self._rooms:
            self._say(RegisterPeer(**_named(room)))
        for ask in self._waiting:
            self._say(ask)

    def lost(self, reason: str, now: float) -> None:
        """It has ended, or could not be made."""
        if self._dial_at is None:
            self._dial_at = now + self._backoff.next(self._rng)
        self._open = False
        self.seen = None
        # Names of peers end with the connection; what was meant for them is of no use any more.
        self._waiting = [ask for ask in self._waiting if isinstance(ask, CreateRoom | LookupRoom)]
        for wanted in self._rooms.values():
            self._forget(wanted)
            wanted.again_at = None
        self._out.append(Offline(reason, self._dial_at))

    def network_changed(self, now: float, *, gone: bool) -> None:
        """Sleep is over, or our addresses are others; `gone`: also the one that the connection has, or would have. What
        may be alive must answer soon, all else is dialled at once.
        """
        self._backoff.reset()
        if gone:
            if self._open:
                self._out.append(RvHangUp("The network has changed."))
            self._dial_at = now + HURRY_SECONDS
        elif not self._open:
            self._dial_at = now if self._dial_at is not None else None
        elif self.seen is not None and self._doubt is None:
            self._doubt = now + DOUBT_SECONDS
            self._say(Ping())

    def heard(self, line: bytes, now: float) -> None:
        """One line of the rendezvous."""
        self._heard, self._pinged, self._doubt = now, False, None
        try:
            word = decode_word(line)
        except RemoteProtocolError as exc:
            self._out.append(RvHangUp(str(exc)))
            return
        match word:
            case Observed():
                self._greeted(word)
            case RoomCreated(code=code, expires_at=expires_at):
                wanted = self._rooms.get(code)
                if wanted is None:
                    self._out.append(RoomMade(code, expires_at))
                else:  # ours, asked for again
                    self._say(RegisterPeer(code=code))
            case PeerRegistered():
                self._registered(word)
            case RoomInfo(peers=peers):
                self._out.append(LookedUp(_room(word), peers))
            case PeerJoined(peer=peer):
                room = _room(word)
                wanted = self._rooms.get(room)
                known = wanted.peers if wanted is not None else None
                if known is not None and peer not in known and len(known) < MAX_PEERS:
                    known.add(peer)
                    self._rooms_of[peer] = room
                    self._out.append(Came(room, peer))
            case PeerLeft(peer=peer):
                wanted = self._rooms.get(_room(word))
                if wanted is not None and wanted.peers is not None and peer in wanted.peers:
                    wanted.peers.discard(peer)
                    self._rooms_of.pop(peer, None)
                    self._out.append(Went(_room(word), peer))
            case Signalled(sender=peer, data=data):
                if peer in self._rooms_of:
                    self._out.append(SignalCame(self._rooms_of[peer], peer, data))
            case Coordinated(peer=peer, candidates=candidates, start_in=start_in):
                if peer in self._rooms_of:
                    self._out.append(DialNow(peer, candidates, now + min(start_in, 10_000) / 1000))
            case RoomExpired(code=code):
                wanted = self._rooms.get(code)
                if wanted is not None and wanted.keep:  # for as long as it is kept: it is asked for again
                    self._forget(wanted)
                    wanted.again_at = now + PLACE_SECONDS * self._rng.uniform(1.0, 1.5)
                elif wanted is not None:
                    del self._rooms[code]
                    self._forget(wanted)
                    self._out.append(CodeExpired(code))
            case Closing(again_in=again_in, text=text):
                self._dial_at = now + max(AGAIN_LEAST, min(again_in, BACKOFF_MOST)) * self._rng.uniform(0.5, 1.5)
                self._out.append(RvHangUp(text or "The rendezvous closes."))
            case Refusal():
                self._refused(word, now)
            case Ping(n=n):
                self._say(Pong(n=n))
            case Pong() | Bridged():
                pass

    def _greeted(self, seen: Observed) -> None:
        if self.seen is None:
            self._backoff.reset()
            self._waiting.clear()  # it takes what is said to it
        self.seen = seen
        self._out.append(Online(seen))

    def _registered(self, word: PeerRegistered) -> None:
        room = _room(word)
        wanted = self._rooms.get(room)
        if wanted is None:
            return
        self._forget(wanted)
        wanted.peers, wanted.again_at = set(word.peers), None
        for peer in word.peers:
            self._rooms_of[peer] = room
        self._out.append(Registered(room, word.peer, word.peers, word.expires_at))

    def _refused(self, word: Refusal, now: float) -> None:
        room = self._named(word.room)
        wanted = self._rooms.get(room)
        if wanted is not None and word.about in ("register_peer", "create_room"):
            if word.code in ("rate_limited", "full", "too_many_codes"):
                wanted.again_at = now + max(AGAIN_LEAST, word.again_in) * self._rng.uniform(1.0, 1.5)
                return
            if word.code in ("room_full", "too_many_rooms", "too_many_registrations"):
                wanted.again_at = now + PLACE_SECONDS * self._rng.uniform(1.0, 1.5)
                return
            if word.code == "no_room" and wanted.keep and isinstance(room, str):
                self._say(CreateRoom(code=room))
                return
            if word.code == "code_taken":  # by another member of the room, most likely
                wanted.again_at = now + AGAIN_LEAST * self._rng.uniform(1.0, 1.5)
                return
            del self._rooms[room]
        self._out.append(Refused(word.code, word.text, word.about, room, word.peer))

    def _named(self, shown: str) -> RoomName:
        """The room that a refusal names: a tag by its first eight bytes in hex."""
        for room in self._rooms:
            if shown == (room if isinstance(room, str) else room[:8].hex()):
                return room
        return shown

    def _forget(self, wanted: _Wanted) -> None:
        for peer in wanted.peers or ():
            self._rooms_of.pop(peer, None)
        wanted.peers = None

    # ------------------------------------------------------------ time and effects

    def deadline(self) -> float | None:
        """When `tick` has something to do."""
        if not self._open:
            return self._dial_at
        limit = GREETING_SECONDS if self.seen is None else SILENCE_SECONDS if self._pinged else PING_SECONDS
        due = [wanted.again_at for wanted in self._rooms.values() if wanted.again_at is not None]
        return min([self._heard + limit, *due, *([self._doubt] if self._doubt is not None else [])])

    def tick(self, now: float) -> None:
        """It is so late."""
        if not self._open:
            if self._dial_at is not None and self._dial_at <= now:
                self._dial_at = None
                self._out.append(RvDial())
            return
        silent = now - self._heard
        doubted = self._doubt is not None and self._doubt <= now
        if doubted or silent >= (GREETING_SECONDS if self.seen is None else SILENCE_SECONDS):
            self._doubt, self._heard = None, now  # said once
            self._out.append(RvHangUp("The rendezvous says nothing any more."))
        elif self.seen is not None and silent >= PING_SECONDS and not self._pinged:
            self._pinged = True
            self._say(Ping())
        for room, wanted in self._rooms.items():
            if wanted.again_at is not None and wanted.again_at <= now:
                wanted.again_at = None
                self._say(RegisterPeer(**_named(room)))

    def flush(self) -> list[RvEffect]:
        """What is to be done and told, in order."""
        out, self._out = self._out, []
        return out

    def _say(self, ask: AnyAsk) -> None:
        self._out.append(RvWrite(encode_line(ask)))


def _named(room: RoomName) -> _Named:
    return {"code": room} if isinstance(room, str) else {"tag": room}


def _room(word: PeerRegistered | RoomInfo | PeerJoined | PeerLeft) -> RoomName:
    if isinstance(word.code, str):
        return word.code
    assert isinstance(word.tag, bytes)
    return word.tag


def nat_kind(own: str, first: Observed, second: Observed | None, *, far: str = "") -> NatKind:
    """What is between us and the rendezvous at `far` (an address, empty: unknown): `own` is our address, `first` and
    `second` what was seen at its two ports from one port of ours.

    Through a tunnel in front of the rendezvous nothing can be told; neither when a rendezvous in the wide world sees a
    private address.
    """
    if first.tunnel or (second is not None and second.tunnel) or (_is_public(far) and not _is_public(first.host)):
        return "unknown"
    if _same(own, first.host):
        return "none"
    if second is None:
        return "unknown"
    return "easy" if (first.host, first.port) == (second.host, second.port) else "hard"


def _is_public(host: str) -> bool:
    try:
        return ip_address(host.partition("%")[0]).is_global
    except ValueError:
        return False


def _same(one: str, other: str) -> bool:
    try:
        return ip_address(one.partition("%")[0]) == ip_address(other.partition("%")[0])
    except ValueError:
        return False
