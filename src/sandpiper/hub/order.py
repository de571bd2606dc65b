"""Who decides in which order things happen: this hub at once, or a cluster of hubs together (`hub/bus`). Pure.

The house asks its order before it does what must be the same on all hubs. `AtOnce` says "now" to all of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Protocol

from typing_extensions import override

from sandpiper.hub import ruling
from sandpiper.hub.limits import MAX_BATCH
from sandpiper.wire.hub import LOBBY
from sandpiper.wire.hub.answers import Ack, Said

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from sandpiper.core.events import Now
    from sandpiper.hub.guests import Guest
    from sandpiper.hub.house import House
    from sandpiper.hub.rooms import Room
    from sandpiper.hub.ruling import AnyRuling
    from sandpiper.wire.hub.answers import Kept, RoomLine
    from sandpiper.wire.hub.asks import Join, Msg


class Order(Protocol):
    """What a house needs of it. Those that return a bool say whether to go on now: else the guest waits, its lines are
    not taken meanwhile, and whoever decides goes on with what it had asked for.
    """

    alone: ClassVar[bool] = False
    """Whether all guests there are are guests of this hub."""

    def say(self, house: House, guest: Guest, room: Room, run: Sequence[Msg], now: Now) -> None:
        """Messages of one guest in one room, which it may say."""
        ...

    def said(self, guest: Guest, room: Room, client_id: str) -> int:
        """The number under which the guest has said this; 0: it has not, as far as is remembered."""
        ...

    def put(self, house: House, guest: Guest, room: Room, kept: Callable[[int], Kept]) -> None:
        """Something else that gets a number in its room: `kept` makes it of its number."""
        ...

    def rule(self, house: House, guest: Guest | None, room: Room | None, what: AnyRuling, now: Now) -> None:
        """An operator's command, which the guest may give; of the whole hub without a room; None: it follows of one."""
        ...

    def has(self, house: House, guest: Guest, name: str, ask: Join, now: Now) -> bool:
        """Whether all is known here of the room of this name; then there is none if the house has none.

        Raises:
            Full: there are too many rooms.
        """
        ...

    def begin(self, house: House, guest: Guest, name: str, ask: Join, lock: bytes, now: Now) -> bool:
        """Make the room if there is none, and the guest its operator if it has none.

        Raises:
            Full: there are too many rooms.
        """
        ...

    def claim(self, house: House, guest: Guest, nick: str, now: Now) -> bool:
        """Have a nick that is free here."""
        ...

    def release(self, house: House, guest: Guest) -> None:
        """The guest does not need its nick any more."""
        ...

    def inside(self, house: House, guest: Guest, room: Room) -> None:
        """The guest is in the room, or is called or proved otherwise than before."""
        ...

    def outside(self, house: House, guest: Guest, room: Room, why: str | None) -> None:
        """The guest is not in the room any more (`why` as in `Presence.went`; None: everybody was told)."""
        ...

    def typing(self, house: House, guest: Guest, room: Room) -> None:
        """The guest is typing."""
        ...

    def elsewhere(self, house: House) -> Iterable[RoomLine]:
        """Rooms that only other hubs have guests in."""
        ...

    def empty(self, house: House, room: Room) -> None:
        """Nobody of this hub is in the room any more."""
        ...

    def rest(self, house: House, now: Now) -> None:
        """Called now and then: rooms that nobody has been in for a while need not be held."""
        return


class AtOnce(Order):
    """One hub alone: everything happens at once."""

    __slots__ = ()

    alone: ClassVar[bool] = True

    @override
    def say(self, house: House, guest: Guest, room: Room, run: Sequence[Msg], now: Now) -> None:
        # This is what the speed of the hub hangs on.
        if {msg.client_id for msg in run} != {""}:
            run, again = room.unsaid(guest.nick, run)
            for client_id, seq in again:
                house.tell(guest, Ack(client_id, seq, room.shown))
            if not run:
                return
        nick, ts, shown = guest.nick, now.wall_ms // 1000, room.shown
        kept = [
            Said(nick, msg.text, ts, shown, seq, msg.client_id, msg.reply_to, msg.action)
            for seq, msg in enumerate(run, room.seq + 1)
        ]
        house.take_in(room, guest.owner, kept)
        if len(room.pending) >= MAX_BATCH:
            house.seal(room, now)

    @override
    def said(self, guest: Guest, room: Room, client_id: str) -> int:
        return room.said(guest.nick, client_id)

    @override
    def put(self, house: House, guest: Guest, room: Room, kept: Callable[[int], Kept]) -> None:
        house.take_in(room, guest.owner, [kept(room.seq + 1)])

    @override
    def rule(self, house: House, guest: Guest | None, room: Room | None, what: AnyRuling, now: Now) -> None:
        ruling.carry_out(house, guest, room, what, now)

    @override
    def has(self, house: House, guest: Guest, name: str, ask: Join, now: Now) -> bool:
        return True

    @override
    def begin(self, house: House, guest: Guest, name: str, ask: Join, lock: bytes, now: Now) -> bool:
        room = house.known_room(name, now) or house.shelf.make(house, name, now, lock)
        if name != LOBBY:
            house.put_in_charge(room, guest.number, guest.key)
        return True

    @override
    def claim(self, house: House, guest: Guest, nick: str, now: Now) -> bool:
        return True

    @override
    def release(self, house: House, guest: Guest) -> None:
        return

    @override
    def inside(self, house: House, guest: Guest, room: Room) -> None:
        return

    @override
    def outside(self, house: House, guest: Guest, room: Room, why: str | None) -> None:
        return

    @override
    def typing(self, house: House, guest: Guest, room: Room) -> None:
        return

    @override
    def elsewhere(self, house: House) -> Iterable[RoomLine]:
        return ()

    @override
    def empty(self, house: House, room: Room) -> None:
        if room.name != LOBBY and not (room.seq or room.lock or room.operators or room.bans or room.mutes):
            house.forget(room)

    @override
    def rest(self, house: House, now: Now) -> None:
        house.shelf.rest(house, now)
