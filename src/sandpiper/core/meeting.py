"""Who meets whom at rendezvous, and over which bridges: members of remembered rooms, and joiners with a code. Pure.

Two members that see each other under a tag tell each other their keys; if they are not linked, the one with the
smaller key draws a token, and both go to the bridge. Under a nameplate, whoever answers for the code says so to
everybody who comes, and a joiner draws the token. Page: docs/protocol/rendezvous.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from sandpiper.core.backoff import Backoff
from sandpiper.core.rendezvous import Came, Offline, Registered, SignalCame, Went
from sandpiper.crypto.meeting import NONCE_BYTES, Seal
from sandpiper.wire.ids import PeerKey, RoomId
from sandpiper.wire.meeting import (
    BRIDGE_TOKEN_BYTES,
    Answers,
    BadSignal,
    CrossWith,
    Here,
    Meet,
    decode_code_signal,
    decode_room_signal,
    encode_code_signal,
    encode_room_signal,
)

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    from sandpiper.core.rendezvous import RoomName, RvNotice
    from sandpiper.wire.meeting import RoomSignal

RETRY_FIRST, RETRY_MOST = 0.25, 30.0  # seconds before a bridge is tried (again); a link on the LAN may come first
LARGER_WAITS = 1.0  # seconds more: the larger key asks only when the smaller one has not noticed
MAX_NAMES = 4096  # peers known at all rendezvous: 128 of each of 30 rooms


class Say(Struct, frozen=True):
    """Have the rendezvous at `place` give `data` to `peer`."""

    place: str
    peer: str
    data: bytes


class Cross(Struct, frozen=True):
    """Go to the bridge of `token` at the relay of `place`. `peer` is who must be there, None: a joiner with a code.
    `dial`: ours is the first word there.
    """

    place: str
    token: bytes
    peer: PeerKey | None
    dial: bool


class Answered(Struct, frozen=True):
    """`peer` at `place` says that it answers for the code of this nameplate."""

    place: str
    nameplate: str
    peer: str


MeetingEffect = Say | Cross | Answered


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

    __slots__ = ("at", "backoff", "crossing")

    def __init__(self) -> None:
        self.backoff = Backoff(RETRY_FIRST, RETRY_MOST)
        self.at: float | None = None  # when to try
        self.crossing = False


class Meeting:
    """One peer at all its rendezvous. `admits(room, key)` says whether a key is a member; `entropy(n)` gives random
    bytes, `secret(room)` what the members of a room share.
    """

    def __init__(
        self,
        me: PeerKey,
        rng: random.Random,
        entropy: Callable[[int], bytes],
        secret: Callable[[RoomId], bytes],
        admits: Callable[[RoomId, PeerKey], bool],
    ) -> None:
        self._me = me
        self._rng = rng
        self._entropy = entropy
        self._secret = secret
        self._admits = admits
        self._wanted: dict[str, Wanted] = {}
        self._seals: dict[RoomId, Seal] = {}
        self._own: dict[tuple[str, RoomName], str] = {}  # our names
        self._told: set[tuple[str, str]] = set()  # names to which we have told our key
        self._met: dict[PeerKey, list[_Met]] = {}
        self._linked: set[PeerKey] = set()
        self._trying: dict[PeerKey, _Trying] = {}
        self._out: list[MeetingEffect] = []

    def want(self, place: str, wanted: Wanted) -> None:
        """Be there from now on; registering and leaving are the caller's."""
        self._wanted[place] = wanted
        gone = [key for key in self._own if key[0] == place and key[1] not in wanted.names()]
        for key in gone:
            del self._own[key]
            for met in self._met.values():
                met[:] = [one for one in met if (one.place, one.tag) != key]

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
                self._own[place, room] = me
                for peer in peers:
                    self._arrived(place, wanted, room, peer, first=True)
            case Came(room=room, peer=peer):
                self._arrived(place, wanted, room, peer, first=False)
            case Went(peer=peer):
                self._forget(place, peer)
            case SignalCame(room=str() as nameplate, peer=peer, data=data):
                self._code_signal(place, wanted, nameplate, peer, data)
            case SignalCame(room=bytes() as tag, peer=peer, data=data) if tag in wanted.tags:
                self._room_signal(place, wanted.tags[tag], tag, peer, data, now)
            case Offline():
                self._own = {key: me for key, me in self._own.items() if key[0] != place}
                self._told = {one for one in self._told if one[0] != place}
                for met in self._met.values():
                    met[:] = [one for one in met if one.place != place]
            case _:
                pass

    def _arrived(self, place: str, wanted: Wanted, room: RoomName, peer: str, *, first: bool) -> None:
        """`first`: it was there before us. Whoever comes later tells its key first."""
        if isinstance(room, str):
            if room in wanted.answered:
                self._out.append(Say(place, peer, encode_code_signal(Answers())))
        elif first and room in wanted.tags:
            self._tell_key(place, wanted.tags[room], room, peer)

    def _forget(self, place: str, peer: str) -> None:
        self._told.discard((place, peer))
        for met in self._met.values():
            met[:] = [one for one in met if (one.place, one.name) != (place, peer)]

    def _code_signal(self, place: str, wanted: Wanted, nameplate: str, peer: str, data: bytes) -> None:
        try:
            signal = decode_code_signal(data)
        except BadSignal:
            return
        match signal:
            case Answers() if nameplate in wanted.sought:
                self._out.append(Answered(place, nameplate, peer))
            case CrossWith(token=token) if nameplate in wanted.answered:
                self._out.append(Cross(place, token, None, dial=False))
            case _:
                pass

    def _room_signal(self, place: str, room: RoomId, tag: bytes, peer: str, data: bytes, now: float) -> None:
        try:
            opened = self._seal(room).open(data, tag, peer, self._own.get((place, tag), ""))
            signal = decode_room_signal(opened)
        except BadSignal:
            return
        key = signal.key
        if key == self._me or not self._admits(room, key):
            return  # another process of ours; or somebody who was a member once
        self._meet(key, _Met(place, tag, peer))
        match signal:
            case Here(lost=lost):
                if (place, peer) not in self._told:
                    self._tell_key(place, room, tag, peer)
                if self._me < key and (lost or key not in self._linked):
                    self._cross(key, now)
                elif self._me > key and key not in self._linked:
                    self._again(key, now)  # should it think that there is a link
            case Meet(token=token):
                self._out.append(Cross(place, token, key, dial=False))

    def _meet(self, key: PeerKey, met: _Met) -> None:
        known = self._met.setdefault(key, [])
        if met not in known:
            known.insert(0, met)
        while sum(map(len, self._met.values())) > MAX_NAMES:
            oldest = next(iter(self._met))
            del self._met[oldest]

    def _tell_key(self, place: str, room: RoomId, tag: bytes, peer: str, *, lost: bool = False) -> None:
        self._told.add((place, peer))
        self._whisper(place, room, tag, peer, Here(self._me, lost=lost))

    def _whisper(self, place: str, room: RoomId, tag: bytes, peer: str, signal: RoomSignal) -> None:
        me = self._own.get((place, tag))
        if me is not None:
            nonce = self._entropy(NONCE_BYTES)
            sealed = self._seal(room).seal(encode_room_signal(signal), tag, me, peer, nonce)
            self._out.append(Say(place, peer, sealed))

    def _seal(self, room: RoomId) -> Seal:
        seal = self._seals.get(room)
        if seal is None:
            seal = self._seals[room] = Seal(self._secret(room))
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

    def crossed(self, key: PeerKey, now: float) -> None:
        """Our way to `key` over a bridge has ended, in a link or not."""
        trying = self._trying.get(key)
        if trying is not None:
            trying.crossing = False
        if key not in self._linked and self._met.get(key):
            self._again(key, now)

    def _again(self, key: PeerKey, now: float) -> None:
        trying = self._trying.setdefault(key, _Trying())
        if trying.at is None and not trying.crossing:
            trying.at = now + trying.backoff.next(self._rng) + (0.0 if self._me < key else LARGER_WAITS)

    def _cross(self, key: PeerKey, now: float) -> None:
        met = self._met.get(key)
        trying = self._trying.setdefault(key, _Trying())
        if not met or trying.crossing:
            return
        trying.at, trying.crossing = None, True
        one = met[0]
        met.append(met.pop(0))  # the next try goes another way, if there is one
        token = self._entropy(BRIDGE_TOKEN_BYTES)
        self._whisper(one.place, self._wanted[one.place].tags[one.tag], one.tag, one.name, Meet(self._me, token))
        self._out.append(Cross(one.place, token, key, dial=True))

    # ------------------------------------------------------------ time

    def deadline(self) -> float | None:
        """When `tick` has something to do."""
        return min((one.at for one in self._trying.values() if one.at is not None), default=None)

    def tick(self, now: float) -> None:
        """Try again to reach those to whom links were lost."""
        for key, trying in list(self._trying.items()):
            if trying.at is None or trying.at > now:
                continue
            trying.at = None
            met = self._met.get(key)
            if not met or key in self._linked:
                del self._trying[key]
            elif self._me < key:
                self._cross(key, now)
            else:
                one = met[0]
                room = self._wanted[one.place].tags[one.tag]
                self._tell_key(one.place, room, one.tag, one.name, lost=True)
                self._again(key, now)
