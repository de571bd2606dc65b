"""Who meets whom at rendezvous, and over which bridges: members of remembered rooms, and joiners with a code. Pure.

Names there become keys here, also where two members arrange to dial each other (`sandpiper.core.paths` says when).

Two members that see each other under a tag tell each other their keys; if they are not linked, the one with the
smaller key draws a token, and both go to the bridge. Under a nameplate, whoever answers for the code says so to
everybody who comes, and a joiner draws the token. Page: docs/protocol/rendezvous.md.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

from msgspec import Struct

from sandpiper.core.backoff import Backoff
from sandpiper.core.rendezvous import Came, DialNow, Offline, Registered, SignalCame, Went
from sandpiper.crypto.meeting import NONCE_BYTES, Seal, check_signal, sign_signal
from sandpiper.wire.ids import PeerKey, RoomId
from sandpiper.wire.limits import SIGNATURE_BYTES
from sandpiper.wire.meeting import (
    BRIDGE_TOKEN_BYTES,
    Answers,
    BadSignal,
    CrossWith,
    Here,
    Meet,
    NatKind,
    Offer,
    decode_code_signal,
    decode_room_signal,
    encode_code_signal,
    encode_room_signal,
)
from sandpiper.wire.rendezvous import Candidate

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    from sandpiper.core.rendezvous import RoomName, RvNotice
    from sandpiper.crypto.identity import Identity
    from sandpiper.wire.meeting import RoomSignal

RETRY_FIRST, RETRY_MOST = 0.25, 30.0  # seconds before a bridge is tried again
GREETED_SECONDS = 10.0  # for the first words over a new link to come, before it is made again
HELLO_RATE, HELLO_BURST = (
    10.0,
    60.0,
)  # names a second to which our key is told: of 20 lines that a rendezvous takes, 200 at once
MAX_HELLOS = 512  # that wait: of four full rooms
LARGER_WAITS = 1.0  # seconds more: the larger key asks only when the smaller one has not noticed
MAX_NAMES = 4096  # peers known at all rendezvous: 128 of each of 30 rooms


class Say(Struct, frozen=True):
    """Have the rendezvous at `place` give `data` to `peer`."""

    place: str
    peer: str
    data: bytes


class Cross(Struct, frozen=True):
    """Go to the bridge of `token` at the relay of `place`, which was agreed with `name` there. `peer` is who must be
    there, None: a joiner with the code of `nameplate`. `dial`: ours is the first word there.
    """

    place: str
    name: str
    token: bytes
    peer: PeerKey | None
    dial: bool
    nameplate: str = ""


class Answered(Struct, frozen=True):
    """`peer` at `place` says that it answers for the code of this nameplate."""

    place: str
    nameplate: str
    peer: str


class Known(Struct, frozen=True):
    """`peer`, a member, is at a rendezvous where we are, too: we can arrange to dial each other."""

    peer: PeerKey


class Offered(Struct, frozen=True):
    """`peer` wants to be dialled at these addresses of its own, and has asked for a moment."""

    peer: PeerKey
    nat: NatKind
    candidates: tuple[Candidate, ...]


class Coordinate(Struct, frozen=True):
    """Ask the rendezvous at `place` for a moment at which `name` and we dial each other."""

    place: str
    name: str


class DialAt(Struct, frozen=True):
    """`peer` dials us at `start_at` (seconds of our clock): dial it, also at the addresses that `place` has `seen`."""

    place: str
    peer: PeerKey
    seen: tuple[Candidate, ...]
    start_at: float


class Unlinked(Struct, frozen=True):
    """`peer`, to which we have a link, says that it has none to us."""

    peer: PeerKey


MeetingEffect = Say | Cross | Answered | Known | Offered | Coordinate | DialAt | Unlinked


class Wanted(Struct, frozen=True):
    """Where we want to be at one rendezvous: tags of remembered rooms, nameplates that we answer for, and those that
    we look for.
    """

    tags: dict[bytes, RoomId] = {}
    answered: frozenset[str] = frozenset()
    sought: frozenset[str] = frozenset()

    def names(self) -> frozenset[RoomName]:
        """All of them, as the rendezvous knows them."""
        return frozenset((*self.tags, *self.answered, *self.sought))


class _Met(Struct, frozen=True):
    """A member that told us its key, and the name and tag under which it did."""

    place: str
    tag: bytes
    name: str


class _Trying:
    """One member to whom there should be a link."""

    __slots__ = ("at", "backoff", "crossing", "token", "turn")

    def __init__(self) -> None:
        self.backoff = Backoff(RETRY_FIRST, RETRY_MOST)
        self.at: float | None = None  # when to try
        self.crossing: _Met | None = None  # we are on our way to a bridge, of which this name was told last
        self.token = b""  # its
        self.turn = 0

    def is_crossing(self, at: _Met) -> bool:
        """True when whoever speaks at this place has been told of the bridge. Under the same tag it has another name
        once it has come back; under another tag (of another room; or around midnight) it has another name at all times.
        """
        now = self.crossing
        return now is not None and now.place == at.place and (now.tag != at.tag or now.name == at.name)


class _Hellos:
    """Names at one rendezvous that are to be told our key, no faster than it takes lines."""

    __slots__ = ("paid", "waiting")

    def __init__(self) -> None:
        self.waiting: dict[tuple[bytes, str], bool] = {}  # tag and name, and whether we have lost the link
        self.paid = -inf  # until when the rate is used up

    def due(self, now: float) -> list[tuple[bytes, str, bool]]:
        out: list[tuple[bytes, str, bool]] = []
        self.paid = max(self.paid, now - HELLO_BURST / HELLO_RATE)
        while self.waiting and self.paid <= now:
            tag, name = next(iter(self.waiting))
            out.append((tag, name, self.waiting.pop((tag, name))))
            self.paid += 1 / HELLO_RATE
        return out


class Meeting:
    """One peer at all its rendezvous. `admits(room, key)` says whether a key is a member; `entropy(n)` gives random
    bytes, `secret(room)` what the members of a room share. `vouch(room)` is what shows that we are a member, and
    `vouched(room, key, records)` is told what a key shows that is none yet: `admits` is asked again after it.
    """

    def __init__(
        self,
        identity: Identity,
        rng: random.Random,
        entropy: Callable[[int], bytes],
        secret: Callable[[RoomId], bytes],
        admits: Callable[[RoomId, PeerKey], bool],
        vouch: Callable[[RoomId], tuple[bytes, ...]] = lambda _: (),
        vouched: Callable[[RoomId, PeerKey, tuple[bytes, ...]], None] = lambda _, __, ___: None,
    ) -> None:
        self._identity = identity
        self._me = identity.key
        self._rng = rng
        self._entropy = entropy
        self._secret = secret
        self._admits = admits
        self._vouch = vouch
        self._vouched = vouched
        self._wanted: dict[str, Wanted] = {}
        self._seals: dict[RoomId, tuple[bytes, Seal]] = {}  # with what each is made of
        self._own: dict[tuple[str, RoomName], str] = {}  # our names
        self._told: dict[tuple[str, str], None] = {}  # names to which we have told our key
        self._met: dict[PeerKey, list[_Met]] = {}
        self._offers: dict[PeerKey, _Met] = {}  # where a member has asked for a moment, until we have answered
        self._linked: set[PeerKey] = set()
        self._trying: dict[PeerKey, _Trying] = {}
        self._hellos: dict[str, _Hellos] = {}
        self._out: list[MeetingEffect] = []

    def want(self, place: str, wanted: Wanted) -> None:
        """Be there from now on; registering and leaving are the caller's."""
        self._wanted[place] = wanted
        gone = [key for key in self._own if key[0] == place and key[1] not in wanted.names()]
        for key in gone:
            del self._own[key]
            for met in self._met.values():
                met[:] = [one for one in met if (one.place, one.tag) != key]
        self._uncross()
        if (hellos := self._hellos.get(place)) is not None:
            hellos.waiting = {one: lost for one, lost in hellos.waiting.items() if one[0] in wanted.tags}

    def flush(self) -> list[MeetingEffect]:
        """What is to be done, in order. Call it after everything."""
        out, self._out = self._out, []
        return out

    # ------------------------------------------------------------ what a rendezvous tells

    def told(self, place: str, notice: RvNotice, now: float) -> None:
        """A rendezvous has told something."""
        wanted = self._wanted.get(place, Wanted())
        match notice:
            case Registered(room=room, me=me, peers=peers):
                again = self._own.get((place, room)) == me
                self._own[place, room] = me
                for peer in peers:
                    if not (again and (place, peer) in self._told):
                        self._arrived(place, wanted, room, peer, now, first=True)
            case Came(room=room, peer=peer):
                self._arrived(place, wanted, room, peer, now, first=False)
            case Went(peer=peer):
                self._forget(place, peer)
            case SignalCame(room=str() as nameplate, peer=peer, data=data):
                self._code_signal(place, wanted, nameplate, peer, data)
            case SignalCame(room=bytes() as tag, peer=peer, data=data) if tag in wanted.tags:
                self._room_signal(place, wanted.tags[tag], tag, peer, data, now)
            case DialNow(peer=name, candidates=seen, start_at=start_at):
                key = next(
                    (k for k, met in self._met.items() for one in met if (one.place, one.name) == (place, name)), None
                )
                if key is not None:
                    self._out.append(DialAt(place, key, seen, start_at))
            case Offline():
                self._own = {key: me for key, me in self._own.items() if key[0] != place}
                self._told = {one: None for one in self._told if one[0] != place}
                self._hellos.pop(place, None)
                for met in self._met.values():
                    met[:] = [one for one in met if one.place != place]
                self._uncross()
            case _:
                pass

    def _arrived(self, place: str, wanted: Wanted, room: RoomName, peer: str, now: float, *, first: bool) -> None:
        """`first`: it was there before us. Whoever comes later tells its key first."""
        if isinstance(room, str):
            if room in wanted.answered:
                self._out.append(Say(place, peer, encode_code_signal(Answers())))
        elif first and room in wanted.tags:
            self._tell_key(place, room, peer, now)

    def _forget(self, place: str, peer: str) -> None:
        self._told.pop((place, peer), None)
        if (hellos := self._hellos.get(place)) is not None:
            hellos.waiting = {one: lost for one, lost in hellos.waiting.items() if one[1] != peer}
        for met in self._met.values():
            met[:] = [one for one in met if (one.place, one.name) != (place, peer)]
        self._uncross()

    def _uncross(self) -> None:
        """Nobody comes any more to a bridge that was agreed under a name which is not there any more."""
        for key, trying in self._trying.items():
            if trying.crossing not in self._met.get(key, ()):
                trying.crossing = None

    def _code_signal(self, place: str, wanted: Wanted, nameplate: str, peer: str, data: bytes) -> None:
        try:
            signal = decode_code_signal(data)
        except BadSignal:
            return
        match signal:
            case Answers() if nameplate in wanted.sought:
                self._out.append(Answered(place, nameplate, peer))
            case CrossWith(token=token) if nameplate in wanted.answered:
                self._out.append(Cross(place, peer, token, None, dial=False, nameplate=nameplate))
            case _:
                pass

    def _room_signal(self, place: str, room: RoomId, tag: bytes, peer: str, data: bytes, now: float) -> None:
        try:
            me = self._own.get((place, tag), "")
            opened = self._seal(room).open(data, tag, peer, me)
            signal = decode_room_signal(opened[SIGNATURE_BYTES:])
            key = signal.key
            check_signal(key, opened, tag, peer, me)
        except BadSignal:
            return
        if isinstance(signal, Here) and signal.vouch and key != self._me and not self._admits(room, key):
            self._vouched(room, key, signal.vouch)
        if key == self._me or not self._admits(room, key):
            return  # another process of ours; or somebody who was a member once
        self._meet(key, _Met(place, tag, peer))
        if (isinstance(signal, Meet) or (isinstance(signal, Here) and signal.lost)) and key in self._linked:
            self._out.append(Unlinked(key))
        match signal:
            case Here(lost=lost):
                if (place, peer) not in self._told:
                    self._tell_key(place, tag, peer, now)
                if self._me < key and (lost or key not in self._linked):
                    self._cross(key, now, _Met(place, tag, peer))
                elif self._me > key and key not in self._linked:
                    self._again(key, now)  # should it think that there is a link
            case Meet(token=token):
                self._out.append(Cross(place, peer, token, key, dial=False))
            case Offer(nat=nat, candidates=candidates):
                self._offers[key] = _Met(place, tag, peer)
                self._out.append(Offered(key, nat, candidates))

    def _meet(self, key: PeerKey, met: _Met) -> None:
        known = self._met.setdefault(key, [])
        if met not in known:
            known.insert(0, met)
            self._out.append(Known(key))
        while sum(map(len, self._met.values())) > MAX_NAMES:
            oldest = next(iter(self._met))
            del self._met[oldest]
            self._offers.pop(oldest, None)

    def _tell_key(self, place: str, tag: bytes, peer: str, now: float, *, lost: bool = False) -> None:
        """As soon as the rendezvous takes it."""
        self._told[place, peer] = None
        while len(self._told) > MAX_NAMES:  # a rendezvous may name new peers for ever
            del self._told[next(iter(self._told))]
        hellos = self._hellos.setdefault(place, _Hellos())
        hellos.waiting[tag, peer] = lost
        while len(hellos.waiting) > MAX_HELLOS:
            del hellos.waiting[next(iter(hellos.waiting))]
        self._say_hello(place, now)

    def _say_hello(self, place: str, now: float) -> None:
        tags = self._wanted.get(place, Wanted()).tags
        for tag, peer, lost in self._hellos[place].due(now):
            if (room := tags.get(tag)) is not None:
                self._whisper(place, room, tag, peer, Here(self._me, lost=lost, vouch=self._vouch(room)))

    def _whisper(self, place: str, room: RoomId, tag: bytes, peer: str, signal: RoomSignal) -> None:
        me = self._own.get((place, tag))
        if me is not None:
            nonce = self._entropy(NONCE_BYTES)
            signed = sign_signal(self._identity, encode_room_signal(signal), tag, me, peer)
            sealed = self._seal(room).seal(signed, tag, me, peer, nonce)
            self._out.append(Say(place, peer, sealed))

    def _seal(self, room: RoomId) -> Seal:
        secret = self._secret(room)
        known, seal = self._seals.get(room, (b"", None))
        if seal is None or known != secret:  # whoever comes in again may be given another one
            seal = Seal(secret)
            self._seals[room] = secret, seal
        return seal

    # ------------------------------------------------------------ links

    def linked(self, key: PeerKey) -> None:
        """There is a link to `key`, over whatever path."""
        self._linked.add(key)
        self._trying.pop(key, None)

    def lost(self, key: PeerKey, now: float) -> None:
        """It has ended."""
        self._linked.discard(key)
        if self._met.get(key):
            self._again(key, now)

    def crossed(self, cross: Cross, now: float, *, made: bool = False) -> None:
        """Our way over a bridge has ended; `made`: in a link, and `linked` follows when it has said hello."""
        key = cross.peer
        trying = self._trying.get(key) if key is not None else None
        if key is None or not cross.dial or (trying is not None and trying.token != cross.token):
            return  # the other side says where next; or another one has taken its place
        if trying is not None and made:
            trying.at = now + GREETED_SECONDS  # we are still on the way
            return
        if trying is not None:
            trying.crossing = None
        if key not in self._linked and self._met.get(key):
            self._again(key, now)

    def _again(self, key: PeerKey, now: float) -> None:
        trying = self._trying.setdefault(key, _Trying())
        if trying.at is None and trying.crossing is None:
            trying.at = now + trying.backoff.next(self._rng) + (0.0 if self._me < key else LARGER_WAITS)

    def _cross(self, key: PeerKey, now: float, at: _Met | None = None) -> None:
        """Draw a token, tell it to `key` (there, where it has just spoken), and go to the bridge. A member that comes
        back under another name has not heard what its old one was told, and nobody but us is at that bridge.
        """
        met = self._met.get(key)
        trying = self._trying.setdefault(key, _Trying())
        if not met or (trying.crossing is not None and (at is None or trying.is_crossing(at))):
            return
        one = at if at in met else met[trying.turn % len(met)]
        trying.at, trying.crossing = None, one
        trying.turn += 1  # the next try goes another way, if there is one
        trying.token = token = self._entropy(BRIDGE_TOKEN_BYTES)
        self._whisper(one.place, self._wanted[one.place].tags[one.tag], one.tag, one.name, Meet(self._me, token))
        self._out.append(Cross(one.place, one.name, token, key, dial=True))

    # ------------------------------------------------------------ dialling each other

    def meets(self, key: PeerKey) -> str | None:
        """The rendezvous at which we and `key` would arrange to dial each other; None: there is none now."""
        met = self._together(key)
        return met.place if met is not None else None

    def offer(self, key: PeerKey, nat: NatKind, candidates: tuple[Candidate, ...]) -> None:
        """Have `key` dial us here, and where the rendezvous of `meets` sees us, at the moment when we dial it."""
        met = self._together(key)
        if met is not None:
            self._offers.pop(key, None)
            # Ahead of the request: the other side knows our addresses when it is told the moment.
            room = self._wanted[met.place].tags[met.tag]
            self._whisper(met.place, room, met.tag, met.name, Offer(self._me, nat, candidates))
            self._out.append(Coordinate(met.place, met.name))

    def _together(self, key: PeerKey) -> _Met | None:
        """Where it has asked for it, else where both of us would begin."""
        met = self._met.get(key, ())
        asked = self._offers.get(key)
        return asked if asked in met else min(met, key=lambda one: (one.place, one.tag), default=None)

    # ------------------------------------------------------------ time

    def deadline(self) -> float | None:
        """When `tick` has something to do."""
        times = [one.at for one in self._trying.values() if one.at is not None]
        return min([*times, *(hellos.paid for hellos in self._hellos.values() if hellos.waiting)], default=None)

    def tick(self, now: float) -> None:
        """Try again to reach those to whom links were lost, and tell our key to those who wait for it."""
        for place in list(self._hellos):
            self._say_hello(place, now)
        for key, trying in list(self._trying.items()):
            if trying.at is None or trying.at > now:
                continue
            trying.at = trying.crossing = None
            met = self._met.get(key)
            if not met or key in self._linked:
                del self._trying[key]
            elif self._me < key:
                self._cross(key, now)
            else:
                one = met[0]
                self._tell_key(one.place, one.tag, one.name, now, lost=True)
                self._again(key, now)
