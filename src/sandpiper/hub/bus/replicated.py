"""The house's order in a cluster: what is said and ruled is proposed to a room's log, and done when it comes back.

Pure: proposals are effects, and `apply` is called with what the log has, in its order. So every hub of the cluster, fed
with the same log, does the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_never

from msgspec.structs import replace
from typing_extensions import override

from sandpiper.hub import answering, ruling
from sandpiper.hub.bus.here import Elsewhere, Event, Outside, Types, inside
from sandpiper.hub.bus.log import HOUSE, MAX_LINES, Begun, Change, Ruled, Talk, lines_of, number, place_of
from sandpiper.hub.bus.replica import SAVE_EVERY, Replica
from sandpiper.hub.effects import Amend, Claim, Open, Propose, Release, Save, Share, Shut
from sandpiper.hub.guests import fold
from sandpiper.hub.history import KeptRoom
from sandpiper.hub.limits import MAX_BATCH, Full
from sandpiper.hub.order import Order
from sandpiper.hub.pace import Allowance
from sandpiper.hub.rooms import Room
from sandpiper.wire.hub import LOBBY
from sandpiper.wire.hub.answers import Ack, Edited, Retracted, Said, TopicSet
from sandpiper.wire.ids import PeerKey

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from sandpiper.core.events import Now
    from sandpiper.hub.bus.log import Entry, Posted, RoomState
    from sandpiper.hub.guests import Guest
    from sandpiper.hub.house import House
    from sandpiper.hub.ruling import AnyRuling
    from sandpiper.wire.hub.answers import Kept, RoomLine
    from sandpiper.wire.hub.asks import Join, Msg

_STATE = (Ruled, Begun)  # what changes a room beside what is said in it


class Replicated(Order):
    """The order of one hub (`hub`, its name in the cluster: new at every start) among others."""

    def __init__(self, hub: str) -> None:
        self.hub = hub
        self.replicas: dict[str, Replica] = {}
        """The rooms that are followed, by name, and the hub itself by `HOUSE`."""
        self.others = Elsewhere(hub)
        self._guests: dict[int, Guest] = {}  # those that have proposed something and are still there
        self._claimed: dict[int, str] = {}  # folded nicks that are ours in the cluster, by number
        self._joining: dict[int, tuple[Join, bytes]] = {}  # who waits for a room to be begun
        self._sure: set[int] = set()  # who is just going on with a join

    # ------------------------------------------------------------ what guests do

    @override
    def say(self, house: House, guest: Guest, room: Room, run: Sequence[Msg], now: Now) -> None:
        replica, nick, lines = self.replicas[room.name], guest.nick, []
        for msg in run:
            seq = replica.said(nick, msg.client_id) if msg.client_id else 0
            if seq:
                house.tell(guest, Ack(msg.client_id, seq, room.shown))
            else:
                lines.append((msg.text, msg.client_id, msg.reply_to, msg.action))
        self._guests[guest.number] = guest
        for at in range(0, len(lines), MAX_LINES):
            part = lines[at : at + MAX_LINES]
            house.do(Propose(room.name, Talk(guest.number, guest.key or b"", nick, now.wall_ms // 1000, part)))

    @override
    def said(self, guest: Guest, room: Room, client_id: str) -> int:
        return self.replicas[room.name].said(guest.nick, client_id)

    @override
    def put(self, house: House, guest: Guest, room: Room, kept: Callable[[int], Kept]) -> None:
        change = kept(0)
        assert not isinstance(change, Said)
        house.do(Propose(room.name, Change(guest.number, guest.key or b"", change)))

    @override
    def rule(self, house: House, guest: Guest | None, room: Room | None, what: AnyRuling, now: Now) -> None:
        if house.unkept:
            if guest is not None:
                house.refuse(guest, "busy", house.unkept, room=room.shown if room is not None else "")
            return
        if guest is not None:
            self._guests[guest.number] = guest
        by = guest.number if guest is not None else 0
        house.do(Propose(room.name if room is not None else HOUSE, Ruled(by, what)))

    @override
    def has(self, house: House, guest: Guest, name: str, ask: Join, now: Now) -> bool:
        replica, room = self.replicas.get(name), house.rooms.get(name)
        if replica is not None and replica.open:
            replica.asked = now.mono
            # Whoever comes from another hub may have seen more than has come here yet.
            if guest.number in self._sure or ask.since is None or place_of(ask.since) <= replica.place:
                return True
            if room is not None and guest in room.members:
                return True  # it is told everything as it comes
        elif len(self.replicas) >= house.settings.rooms:
            raise Full(f"There are {len(self.replicas)} rooms, and no more are opened.", code="too_many_rooms")
        guest.waiting = True
        house.do(Open(guest, ask))
        return False

    @override
    def begin(self, house: House, guest: Guest, name: str, ask: Join, lock: bytes, now: Now) -> bool:
        if house.unkept:
            house.refuse(guest, "busy", house.unkept, room=name)
            return False
        guest.waiting = True
        replica = self.replicas.get(name)
        if replica is None or not replica.open:  # it was let go of while a password was hashed
            house.do(Open(guest, ask))
            return False
        self._guests[guest.number] = guest
        self._joining[guest.number] = (ask, lock)
        epoch = f"{house.rng.getrandbits(40):010x}"
        house.do(Propose(name, Begun(guest.number, guest.key or b"", epoch, lock)))
        return False

    @override
    def claim(self, house: House, guest: Guest, nick: str, now: Now) -> bool:
        folded = fold(nick)
        if folded == self._claimed.get(guest.number):
            return True
        if folded.startswith("anon-"):  # those are given by hubs, each its own
            if folded == guest.folded:
                return True
            answering.nick_taken(house, guest, nick)
            return False
        guest.waiting = True
        house.do(Claim(guest, nick))
        return False

    @override
    def release(self, house: House, guest: Guest) -> None:
        folded = self._claimed.pop(guest.number, None)
        if folded is not None:
            house.do(Release(folded, guest.number))
        if not guest.open:
            self._guests.pop(guest.number, None)
            self._joining.pop(guest.number, None)

    @override
    def inside(self, house: House, guest: Guest, room: Room) -> None:
        self._share(house, room, inside(guest, room))

    @override
    def outside(self, house: House, guest: Guest, room: Room, why: str | None) -> None:
        self._share(house, room, Outside(guest.number, why))

    @override
    def typing(self, house: House, guest: Guest, room: Room) -> None:
        self._share(house, room, Types(guest.nick))

    def _share(self, house: House, room: Room, event: Event) -> None:
        house.do(Share(room.name, event))

    @override
    def elsewhere(self, house: House) -> Iterable[RoomLine]:
        return self.others.lines(house)

    @override
    def empty(self, house: House, room: Room) -> None:
        if room.name != LOBBY:
            house.do(Shut(room.name))

    # ------------------------------------------------------------ what the cluster answers

    def known(self, house: House, name: str, state: RoomState | None, now: Now) -> Replica:
        """A room is followed from now on; `state` is what was kept of it."""
        replica = self.replicas[name] = Replica(self.hub, name, state)
        if name == HOUSE:
            for one in state.bans if state is not None else ():
                house.bans.bring(one, now)
        elif state is not None and state.epoch:
            kept = KeptRoom(
                name, state.epoch, 0, state.topic, state.lock, tuple(PeerKey(key) for key in state.operators),
                state.slowmode, False, state.bans, state.mutes,
            )  # fmt: skip
            self._make(house, kept, now)
        return replica

    def opened(self, house: House, replica: Replica, state: RoomState | None) -> None:
        """All that was in the log of a room was taken."""
        room = house.rooms.get(replica.name)
        if room is not None and state is not None and state.epoch == room.epoch:
            room.seq = max(room.seq, state.seq)
        replica.begin()

    def _make(self, house: House, kept: KeptRoom, now: Now) -> Room:
        room = house.rooms[kept.name] = Room(kept, Allowance(house.settings.room_pace, now.mono), now)
        return room

    def shut(self, house: House, name: str) -> None:
        """A room is not followed any more: nobody of this hub is in it."""
        self.replicas.pop(name, None)
        self.others.shut(name)
        room = house.rooms.get(name)
        if room is not None:
            house.drop(room)

    def go_on(self, house: House, guest: Guest, ask: Join, now: Now) -> None:
        """What `has` has asked for is known."""
        guest.waiting = False
        if guest.open:
            self._sure.add(guest.number)
            answering.join(house, guest, ask, now)
            self._sure.discard(guest.number)

    def claimed(self, house: House, guest: Guest, nick: str, got: bool, now: Now) -> None:
        """The cluster has answered a `Claim`."""
        guest.waiting = False
        if got and not (guest.open and house.guests.free(nick, guest)):
            house.do(Release(fold(nick), guest.number))
            got = False
        if not guest.open:
            return
        if got:
            answering.named(house, guest, nick, now)
            self._claimed[guest.number] = fold(nick)
        else:
            answering.nick_taken(house, guest, nick)

    def holders(self, house: House) -> list[tuple[Guest, str]]:
        """Who has a nick of this hub in the cluster, and which."""
        return [(guest, self._claimed[guest.number]) for guest in house.guests.all() if guest.number in self._claimed]

    def has_lost(self, house: House, guest: Guest, now: Now) -> None:
        """Somebody else took the guest's nick while this hub could not be reached."""
        self._claimed.pop(guest.number, None)
        house.cut(guest, "replaced", "Somebody else has your nick now: the hub was away from its cluster.", now)

    def is_ours(self, guest_number: int) -> bool:
        """Whether a guest of this hub with this number has a nick."""
        return guest_number in self._claimed

    # ------------------------------------------------------------ the log

    def apply(self, house: House, replica: Replica, place: int, posted: Posted, now: Now) -> None:
        """The next message of a log."""
        old = place <= replica.base  # its state is known; what was said is still news
        lines = lines_of(posted.entries)
        if not replica.take(place, posted, lines):
            # It was sent again though it had arrived: pages leave out what stands there a second time.
            for index in range(lines if replica.name != HOUSE and not old else 0):
                house.do(Amend(replica.name, number(place, index), number(place, index), None))
            return
        ours, index, changed = posted.hub == self.hub, 0, False
        for entry in posted.entries:
            seq = number(place, index)
            index += len(entry.lines) if type(entry) is Talk else 1
            self._entry(house, replica, seq, entry, now, ours=ours, old=old)
            changed = changed or isinstance(entry, _STATE) or (type(entry) is Change and type(entry.kept) is TopicSet)
        room = house.rooms.get(replica.name)
        if room is not None and not replica.open:
            # Nobody is in it yet, so that this is for its tail alone. It is no news that would be counted as such.
            for _ in room.seal(now.wall_ms // 1000):
                pass
        if replica.unsaved >= 2 * SAVE_EVERY or (ours and replica.open and (changed or replica.unsaved >= SAVE_EVERY)):
            house.do(Save(replica.name))

    def _entry(
        self, house: House, replica: Replica, seq: int, entry: Entry, now: Now, *, ours: bool, old: bool
    ) -> None:
        room = house.rooms.get(replica.name)
        guest = self._guests.get(entry.guest) if ours else None
        match entry:
            case Talk():
                self._talk(house, replica, room, guest, seq, entry, now, old=old)
            case Change():
                if room is not None:
                    self._change(house, room, seq, entry, old=old)
            case Begun():
                if not old:
                    self._begin(house, replica.name, room, entry, now)
                    if guest is not None:
                        self._enter(house, guest, house.rooms[replica.name], now)
                    if ours and not house.rooms[replica.name].members:
                        house.do(Shut(replica.name))  # whoever wanted to come in is gone, or may not
            case Ruled(_, what):
                if not old and (room is not None or replica.name == HOUSE):
                    ruling.carry_out(house, guest, room, what, now)
                    if isinstance(what, ruling.Closed):
                        replica.forget()
                        house.do(Shut(replica.name, seq if ours else 0))
            case _:
                assert_never(entry)

    def _talk(
        self, house: House, replica: Replica, room: Room | None, guest: Guest | None, first: int, talk: Talk, now: Now,
        *, old: bool,
    ) -> None:  # fmt: skip
        if room is None:
            if guest is not None:
                house.refuse(guest, "not_in_room", "The room was closed.", room=replica.name)
            return
        nick, ts, shown, kept = talk.nick, talk.ts, room.shown, []
        for seq, (text, client_id, reply_to, action) in enumerate(talk.lines, first):
            if client_id:
                before = replica.said(nick, client_id)
                if before:
                    if guest is not None:
                        house.tell(guest, Ack(client_id, before, shown))
                    if not old:
                        house.do(Amend(room.name, seq, seq, None))
                    continue
                replica.says(nick, client_id, seq)
            kept.append(Said(nick, text, ts, shown, seq, client_id, reply_to, action))
        if kept:
            house.take_in(room, talk.owner, kept)
            if len(room.pending) >= MAX_BATCH:
                house.seal(room, now)

    def _change(self, house: House, room: Room, seq: int, change: Change, *, old: bool) -> None:
        kept = replace(change.kept, seq=seq)
        topic = room.topic
        house.take_in(room, change.owner, [kept])
        if old:
            room.topic = topic  # the state knows a later one
        elif isinstance(kept, Edited):
            house.do(Amend(room.name, kept.id, seq, kept.text))
        elif isinstance(kept, Retracted):
            house.do(Amend(room.name, kept.id, seq, ""))

    def _begin(self, house: House, name: str, room: Room | None, begun: Begun, now: Now) -> None:
        if room is None:
            room = self._make(house, KeptRoom(name, begun.epoch, lock=begun.lock), now)
        present = room.far.keys() | {one.number for one in room.members}
        if begun.guest and name != LOBBY and not room.operators and not (room.makers & present):
            room.makers.clear()
            house.put_in_charge(room, begun.guest, PeerKey(begun.key) if begun.key else None)

    def _enter(self, house: House, guest: Guest, room: Room, now: Now) -> None:
        """Go on with the join for which the room was begun."""
        ask, lock = self._joining.pop(guest.number, (None, b""))
        guest.waiting = False
        if ask is not None and guest.open:
            # An operator of the hub needs no password, so that it has none to compare.
            answering.unlocked(house, guest, ask, room.lock if house.is_operator(guest) else lock, True, now)

    def unheard(self, house: House, room: str, entry: Entry, text: str) -> None:
        """Something was proposed to a room that is not followed any more: it will never come back."""
        guest = self._guests.get(entry.guest)
        if guest is not None:
            self.refused(house, guest, text, room)

    def refused(self, house: House, guest: Guest, text: str, room: str = "") -> None:
        """What a guest waits for cannot be had now."""
        guest.waiting = False
        self._joining.pop(guest.number, None)
        if guest.open:
            house.refuse(guest, "busy", text, room=room)
