"""The hub's chat without its sockets: lines of guests in, bytes for guests out. Pure; time and randomness come in.

What is said in one turn of the loop is numbered at once, gathered for each room, and encoded once by `flush`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sandpiper.errors import UsageError
from sandpiper.hub.counts import Counts
from sandpiper.hub.effects import Bar, Cut, Deliver, Own, Recollect, Remember
from sandpiper.hub.guests import Guests
from sandpiper.hub.limits import COSTLY, MAX_STRIKES, Full
from sandpiper.hub.order import AtOnce
from sandpiper.hub.pace import Address, Allowance
from sandpiper.hub.rooms import Listed
from sandpiper.hub.shelf import Shelf
from sandpiper.hub.slow import say as say_where_ruled
from sandpiper.wire.hub import LOBBY
from sandpiper.wire.hub.answers import Error, Left, Notice, TopicSet
from sandpiper.wire.hub.asks import Edit, Msg, React, Retract
from sandpiper.wire.hub.lines import BLANK, BadLine, encode_answers
from sandpiper.wire.text import check_room_name

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Mapping, Sequence

    from sandpiper.core.events import Now
    from sandpiper.hub.effects import Effect
    from sandpiper.hub.far import Far
    from sandpiper.hub.guests import Guest, Outlet
    from sandpiper.hub.history import Stored
    from sandpiper.hub.limits import ChatSettings
    from sandpiper.hub.order import Order
    from sandpiper.hub.rooms import Room
    from sandpiper.wire.hub.answers import AnyAnswer, Kept
    from sandpiper.wire.hub.asks import AnyAsk, Ask
    from sandpiper.wire.ids import PeerKey

    Answerer = Callable[["House", Guest, Any, Now], None]
    """Answers one kind of line, the one under which it stands in the table of answerers."""

_NUMBERED = (Edit, Retract, React)  # beside messages; a topic is what a room is, and waits as that does
SHORTEST_WAIT = 0.02  # seconds that a guest over its rate waits at least: fewer, larger turns


class House:
    """Guests, rooms, and what is to be done. Call `flush` once a turn and carry out what it returns, in order.

    `answerers` says who answers which kind of line, and what it costs.
    """

    def __init__(
        self,
        settings: ChatSettings,
        answerers: Mapping[type[Ask], tuple[Answerer, int]],
        rng: random.Random,
        stored: Stored,
        now: Now,
        counts: Counts | None = None,
        order: Order | None = None,
    ) -> None:
        self.settings = settings
        self.rng = rng
        """Draws nicks, epochs and challenges; in a real hub it must be the system's."""
        self.guests = Guests(rng, stored.nicks)
        self.rooms: dict[str, Room] = {}
        """Those that are held here; what is known of others is in `shelf`."""
        self.shelf = Shelf(stored.rooms)
        self.bans = Listed(stored.bans, now)
        """Who may not come in at all."""
        self.counts = counts or Counts()
        self.order = order or AtOnce()
        self.unkept = ""
        """Why nothing can be said now that must be kept, for guests; empty: it can."""
        self._answerers = answerers
        self._addresses: dict[str, Address] = {}
        self._dearest = settings.dearest
        self._closing = False
        self._out: list[Effect] = []
        self._said: dict[Room, None] = {}  # rooms with something to send now
        # Rooms with comings and goings to tell, the first due first; crowds, which wait longer, apart.
        self._presence: dict[bool, dict[Room, None]] = {False: {}, True: {}}
        if self.known_room(LOBBY, now) is None:
            self.shelf.make(self, LOBBY, now)

    # ------------------------------------------------------------ connections

    def enter(self, address: str, outlet: Outlet, now: Now) -> Guest:
        """Somebody has connected; they are in the lobby. An empty `address` has no limits of its own.

        Raises:
            Full: there are too many connections.
        """
        settings = self.settings
        if self._closing:
            raise Full("The hub is closing; come back in a while.", code="closing")
        if len(self.guests) >= settings.connections:
            raise Full("The hub is full; try again later.")
        place = None
        if address:
            place = self._addresses.get(address)
            if place is None:
                place = self._addresses[address] = Address(settings.address_pace, now.mono)
            if place.connections >= settings.connections_an_address:
                raise Full("There are too many connections from your address.")
            place.connections += 1
        guest = self.guests.add(address, outlet)
        guest.place = place
        lobby = self.rooms[LOBBY]
        if self.bans.names(guest, now.mono):
            self.cut(guest, "banned", "You may not come in here.", now)
        elif lobby.bans.names(guest, now.mono):
            self.refuse(guest, "banned", "You may not enter the lobby.")
        elif len(lobby.members) < settings.guests_a_room:
            self.seal(lobby, now)
            lobby.add(guest)
            self.order.inside(self, guest, lobby)
        else:
            self.refuse(guest, "room_full", "The lobby is full; you can join another room.")
        return guest

    def gone(self, guest: Guest, why: str, now: Now) -> None:
        """The guest is no longer connected (`why`, for the others; empty: it left)."""
        if not guest.open:
            return
        guest.open = False
        for room in guest.rooms:
            self.went(guest, room, now, why)
            self.tidy(room)
        self.guests.remove(guest)
        self.order.release(self, guest)
        if guest.place is not None:
            guest.place.connections -= 1

    def reload(self, settings: ChatSettings, now: Now) -> None:
        """Other settings, for those who are here as well. Whoever is more than they allow stays."""
        self.settings = settings
        self._dearest = settings.dearest
        for room in self.rooms.values():
            room.allowance.change(settings.room_pace, now.mono)
        for place in self._addresses.values():
            place.allowance.change(settings.address_pace, now.mono)
        for guest in self.guests.all():
            if guest.allowance is not None:
                guest.allowance.change(settings.guest_pace, now.mono)

    def forget_addresses(self, now: Now) -> None:
        """Forget addresses that have no connections and whose allowance is whole again, and put away rooms that rest;
        call it now and then.
        """
        for address, place in list(self._addresses.items()):
            if not place.connections and place.whole(now.mono):
                del self._addresses[address]
        self.order.rest(self, now)

    # ------------------------------------------------------------ lines

    def take(self, guest: Guest, asks: Sequence[AnyAsk | BadLine], now: Now) -> int:
        """What a guest sent. Returns how many of them were dealt with: fewer than all when the guest is too fast,
        and the rest is to be brought again after `wait` seconds.
        """
        at, count = 0, len(asks)
        while at < count:
            if not guest.open:
                return count
            if guest.waiting:
                break
            ask = asks[at]
            if type(ask) is Msg:
                run = _run(asks, at)
                taken = self._say(guest, run, now)
                at += taken
                if taken < len(run):
                    break
            elif isinstance(ask, BadLine):
                if not self._allowed(guest, None, 1, now.mono):
                    break
                if ask is not BLANK:
                    self.strike(guest, ask.code, ask.text, now)
                at += 1
            else:
                answer, cost = self._answerers[type(ask)]
                cost = min(cost, self._dearest)
                if not self._allowed(guest, None, cost, now.mono, part=False):
                    break
                if self.unkept and isinstance(ask, _NUMBERED):
                    self.refuse(guest, "busy", self.unkept, room=ask.room)
                else:
                    answer(self, guest, ask, now)
                at += 1
        return at

    def wait(self, guest: Guest, ask: AnyAsk | BadLine, now: Now) -> float:
        """Seconds until a guest that was too fast may go on with `ask`, behind others whom the same allowance holds."""
        waits = [SHORTEST_WAIT]
        if guest.allowance is not None:
            waits.append(guest.allowance.turn(now.mono, COSTLY))
        if guest.place is not None:
            waits.append(guest.place.allowance.turn(now.mono, COSTLY))
        if type(ask) is Msg and (room := self.find_room(ask.room)) is not None and guest in room.members:
            waits.append(room.allowance.turn(now.mono, COSTLY))
        return max(waits)

    def _allowed(self, guest: Guest, room: Room | None, count: int, now: float, *, part: bool = True) -> int:
        """How many messages' worth the guest may do now: all, or as many as there are, or (not `part`) none."""
        if guest.allowance is None:
            guest.allowance = Allowance(self.settings.guest_pace, now)
        allowances = [guest.allowance]
        if guest.place is not None:
            allowances.append(guest.place.allowance)
        if room is not None:
            allowances.append(room.allowance)
        there = count
        for at, allowance in enumerate(allowances):
            taken = allowance.take_up_to(now, there)
            if taken < there:
                keep = taken if part else 0
                allowance.give_back(taken - keep)
                for earlier in allowances[:at]:
                    earlier.give_back(there - keep)
                there = keep
            if not there:
                break
        return there

    def _say(self, guest: Guest, run: Sequence[Msg], now: Now) -> int:
        """Messages of one guest to one room; returns how many were dealt with."""
        room = self.find_room(run[0].room)
        inside = room is not None and guest in room.members
        if room is not None and room.unread and inside and any(msg.client_id for msg in run):
            self._recollect(room)
            return 0
        count = self._allowed(guest, room if inside else None, len(run), now.mono)
        if not count:
            return 0
        if room is None or not inside:
            self.refuse(guest, "not_in_room", "You are not in that room.", room=run[0].room, run=run[:count])
            return count
        if count < len(run):
            run = run[:count]
        if self.unkept:
            self.refuse(guest, "busy", self.unkept, room=room.shown, run=run)
        elif room.slowmode or room.mutes:
            say_where_ruled(self, guest, room, run, now)
        else:
            self.order.say(self, guest, room, run, now)
        return count

    def _recollect(self, room: Room) -> None:
        """Messages wait until it is known which of them were said before the hub was started."""
        if not room.reading:
            room.reading = True
            self.do(Recollect(room.name, room.epoch))

    def put(self, guest: Guest, room: Room, kept: Callable[[int], Kept]) -> None:
        """Something else that gets a number in its room: `kept` makes it of its number."""
        self.order.put(self, guest, room, kept)

    def take_in(self, room: Room, owner: PeerKey | int, kept: Sequence[Kept]) -> None:
        """These have their numbers, all after those before; `flush` sends them. They are by `owner`."""
        room.wrote(owner, kept[0].seq)
        room.seq = kept[-1].seq
        room.pending += kept
        self._said[room] = None
        if type(kept[0]) is TopicSet:
            room.topic = kept[0].text
            self.remember(room)

    # ------------------------------------------------------------ what is to be done

    @property
    def busy(self) -> bool:
        """True when `flush` has something to do."""
        return bool(self._out or self._said)

    def flush(self, now: Now) -> list[Effect]:
        """Everything that is to be done, in order. Also when `deadline` has come."""
        ts = now.wall_ms // 1000
        for rooms in self._presence.values():
            for room in rooms:
                if room.presence.due is not None and room.presence.due > now.mono:
                    break
                self._said[room] = None
        for room in self._said:
            self._out.extend(room.seal(ts))
            self._due_no_more(room)
        self._said.clear()
        out, self._out = self._out, []
        return out

    def deadline(self) -> float | None:
        """When `flush` has to be called at the latest, in seconds; None: no need."""
        first = [next(iter(rooms)).presence.due for rooms in self._presence.values() if rooms]
        return min((due for due in first if due is not None), default=None)

    def due(self, room: Room) -> None:
        """The room has comings and goings to tell."""
        if room.presence.due is not None:
            self._presence[room.presence.crowd].setdefault(room)

    def _due_no_more(self, room: Room) -> None:
        for rooms in self._presence.values():
            rooms.pop(room, None)

    def seal(self, room: Room, now: Now) -> None:
        """What waits in `room` goes to its members of this moment, ahead of whatever follows."""
        if room in self._said:
            del self._said[room]
            self._due_no_more(room)
            self._out.extend(room.seal(now.wall_ms // 1000))

    def do(self, effect: Effect) -> None:
        """Have something done, after what was said before."""
        self._out.append(effect)

    def tell(self, guest: Guest, answer: AnyAnswer) -> None:
        """One line to one guest."""
        self.send(guest, encode_answers((answer,)))

    def send(self, guest: Guest, raw: bytes, *, early: bool = False) -> None:
        """Lines to one guest; `early` as of `Deliver`."""
        last = self._out[-1] if self._out else None
        if type(last) is Deliver and last.to == (guest,) and last.early == early:
            self._out[-1] = Deliver(last.raw + raw, last.to, early)
        else:
            self._out.append(Deliver(raw, (guest,), early))

    def tell_room(self, room: Room, answer: AnyAnswer, now: Now, without: Guest | None = None) -> None:
        """One line without a number to everybody in a room, after what was said before."""
        self.seal(room, now)
        others = room.everybody() if without is None else tuple(one for one in room.members if one is not without)
        if others:
            self._out.append(Deliver(encode_answers((answer,)), others))

    def tell_all(self, notice: Notice) -> None:
        """One line to everybody, whatever room they are in."""
        self._out.append(Deliver(encode_answers((notice,)), self.guests.all(), early=True))

    def refuse(
        self, guest: Guest, code: str, text: str, *, room: str = "", suggestion: str = "", run: Sequence[Msg] = ()
    ) -> None:
        """Say why something was not done; of messages in `run`, for each that has an id of its sender, else once."""
        ids = [msg.client_id for msg in run if msg.client_id]
        errors = [Error(text, code, room, suggestion, client_id) for client_id in ids]
        if len(ids) < len(run) or not run:
            errors.insert(0, Error(text, code, room, suggestion))
        self.counts.errors.add(code, len(errors))
        self.send(guest, encode_answers(errors), early=True)

    def strike(self, guest: Guest, code: str, text: str, now: Now) -> None:
        """A line that no program sends by a slip of its user. Too many end the connection."""
        guest.strikes += 1
        self.counts.strikes += 1
        if guest.strikes >= MAX_STRIKES:
            self.cut(guest, "too_many_errors", f"{text} {MAX_STRIKES} lines were refused; goodbye.", now)
        else:
            self.refuse(guest, code, text)

    def cut(self, guest: Guest, code: str, text: str, now: Now, why: str = "") -> None:
        """Tell a guest why, and close its connection. `why`: for the others."""
        if guest.open:
            for room in guest.rooms:
                self.seal(room, now)
            self.refuse(guest, code, text)
            self._out.append(Cut(guest, code))
            self.gone(guest, why, now)

    def farewell(self, text: str, now: Now) -> None:
        """Tell everybody something, whatever room they are in; nobody else comes in."""
        self._closing = True
        for room in self.rooms.values():
            self.seal(room, now)
        self.tell_all(Notice(text, now.wall_ms // 1000, code="closing"))

    # ------------------------------------------------------------ rooms

    def find_room(self, name: str) -> Room | None:
        """The room of this name, in any spelling; empty: the lobby."""
        room = self.rooms.get(name or LOBBY)
        if room is None:
            try:
                room = self.rooms.get(check_room_name(name))
            except UsageError:
                return None
        return room

    def known_room(self, name: str, now: Now) -> Room | None:
        """The room of exactly this name, brought back if it is not held here; None: there is none.

        Raises:
            Full: there are too many rooms that somebody is in.
        """
        return self.rooms.get(name) or self.shelf.bring(self, name, now)

    def drop(self, room: Room) -> None:
        """Forget an empty room here; what the history keeps of it stays."""
        del self.rooms[room.name]
        self._said.pop(room, None)
        self._due_no_more(room)

    def tidy(self, room: Room) -> None:
        """Forget a room that nobody is in and that nobody has left anything in."""
        if not room.members:
            self.order.empty(self, room)

    def forget(self, room: Room) -> None:
        """The room is no more, and neither is what was said in it."""
        self.do(Remember(room.kept(closed=True)))
        self.drop(room)

    def remember(self, room: Room) -> None:
        """The history keeps what the room is now."""
        self.do(Remember(room.kept()))

    def remember_bans(self) -> None:
        """The history keeps who is banned from the hub."""
        self.do(Bar(self.bans.kept()))

    def put_in_charge(self, room: Room, number: int, key: PeerKey | None) -> None:
        """Somebody is an operator of the room, by key or while it is there."""
        if key is None:
            room.makers.add(number)
        else:
            room.operators.add(key)
            self.remember(room)

    def take_out(self, guest: Guest, room: Room, now: Now, why: str | None = None) -> None:
        """The guest is no longer in the room; what was said before is still for it. `why` as in `went`, if the others
        are not told already.
        """
        self.seal(room, now)
        room.remove(guest)
        room.left = now.mono
        self.order.outside(self, guest, room, why)

    def went(self, guest: Guest, room: Room, now: Now, why: str = "") -> None:
        """The guest leaves the room, and the others are told (`why`, if it says more)."""
        self.take_out(guest, room, now, why)
        if guest.named:
            room.presence.went(guest, why, room.count, now.mono)
            self.due(room)

    def put_out(self, guest: Guest, room: Room, code: str, text: str, now: Now) -> None:
        """An operator has put the guest out of the room."""
        self.take_out(guest, room, now)
        self.tell(guest, Left(room.name, code, text))
        if not guest.modern:
            self.tell(guest, Notice(text, now.wall_ms // 1000, room.shown, code=code))

    # ------------------------------------------------------------ people

    def is_operator(self, guest: Guest | Far) -> bool:
        """Whether the guest is an operator of the whole hub."""
        return guest.key in self.settings.operators

    def announce(self, guest: Guest, now: Now) -> None:
        """Others learn that the guest is here, once it has a nick or does more than to listen."""
        if not guest.named:
            guest.named = True
            for room in guest.rooms:
                room.presence.came(guest, room.count, now.mono)
                self.due(room)
                self.order.inside(self, guest, room)

    def own(self, guest: Guest, now: Now) -> None:
        """The guest's nick belongs to its key, if it has one and the nick is free to own."""
        if guest.key is not None and guest.named and not guest.nick.startswith("anon-"):
            nick = self.guests.own(guest, now)
            if nick:
                self.do(Own(nick, guest.key))


def _run(asks: Sequence[AnyAsk | BadLine], at: int) -> Sequence[Msg]:
    """The messages from `at` on that are for the same room."""
    first = asks[at]
    assert type(first) is Msg
    if at == 0 and set(map(type, asks)) == {Msg} and len({ask.room for ask in asks}) == 1:  # type: ignore[union-attr]
        return asks  # type: ignore[return-value]
    run: list[Msg] = []
    for ask in asks[at:]:
        if type(ask) is not Msg or ask.room != first.room:
            break
        run.append(ask)
    return run
