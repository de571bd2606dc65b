"""What is said in the rooms of one hub: heard once and in order, said once, fetched and found when asked for. Pure.

What we say waits until its room has caught up, so that our own lines that the hub had taken before a connection was
lost are seen first, and only the others are said again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sandpiper.core import hubevents as told
from sandpiper.core.hubbusy import SAY, Busy
from sandpiper.core.hubcatchup import CatchUp
from sandpiper.core.hublines import read_found, read_page
from sandpiper.core.hubroom import HubRoom
from sandpiper.core.hubunsaid import Unsaid
from sandpiper.errors import UsageError
from sandpiper.wire.hub import LOBBY
from sandpiper.wire.hub import answers as their
from sandpiper.wire.hub import asks as our
from sandpiper.wire.hub.lines import encode_asks
from sandpiper.wire.text import clean_topic

if TYPE_CHECKING:
    import random
    from collections.abc import Iterable

    from sandpiper.core.hubevents import HubEffect
    from sandpiper.core.hubroom import Mark, Numbered

FIND_SECONDS = 20.0  # for what was searched for to come: as long as a page of history may take
UNKEPT_SECONDS = 30.0  # before what our own disk refused is fetched again: nobody makes room on it in seconds


class Out:
    """What is to be written, done and told, in order."""

    def __init__(self) -> None:
        self._asks: list[our.Ask | our.Password] = []
        self._effects: list[HubEffect] = []

    def ask(self, *asks: our.Ask | our.Password) -> None:
        """Say these to the hub."""
        self._asks += asks

    def tell(self, effect: HubEffect) -> None:
        """Do or tell this, after what was asked before."""
        self._write()
        self._effects.append(effect)

    def unsay(self) -> None:
        """The connection is gone, and what was not written yet with it."""
        self._asks.clear()

    def flush(self) -> list[HubEffect]:
        """All of it."""
        self._write()
        effects, self._effects = self._effects, []
        return effects

    def _write(self) -> None:
        if self._asks:
            self._effects.append(told.HubWrite(encode_asks(self._asks)))
            self._asks.clear()


class Talk:
    """The rooms that we mean to be in. `begin` when the hub knows us, `stop` when the connection has ended."""

    def __init__(self, out: Out, rng: random.Random, rooms: Iterable[Mark], busy: Busy) -> None:
        self._busy = busy
        self.rooms: dict[str, HubRoom] = {mark.room: HubRoom(mark.room, mark=mark) for mark in rooms}
        self.unsaid = Unsaid(rng)
        self.nick = ""
        self._out = out
        self._up = self._founding = self._proved = False
        self._catch_up = CatchUp()
        self._find: tuple[str, our.Find] | None = None  # what the person searches for, and in which room
        self._found_by: float | None = None  # it was asked for: until then the answer must come

    # ------------------------------------------------------------ the connection

    def begin(self, nick: str, *, founding: bool, proved: bool) -> None:
        """The hub knows us as `nick`: go where we want to be."""
        self.nick, self._founding, self._proved, self._up = nick, founding, proved, True
        if not founding:
            self._out.ask(*(room.join() for room in self.rooms.values()))
            return
        for name in [name for name in self.rooms if name != LOBBY]:
            self.out_of(name, "one_room", "This hub has one room, the lobby.")
        self.rooms.setdefault(LOBBY, HubRoom(LOBBY)).inside = True
        self._out.tell(told.HubRoomIn(LOBBY, "", "", 0, False, 0, False))
        self.pump()

    def stop(self) -> None:
        """The connection has ended."""
        self._up = False
        self._catch_up.stop()
        for room in self.rooms.values():
            room.lost()
        if self._founding:  # nothing would tell such a hub that it had them already
            for client_id in self.unsaid.ids(sent=True):
                self.not_said(client_id, "unsure", "The connection was lost; nobody knows whether it was said.")
        self._not_found("not_connected", "The connection was lost.")
        self.unsaid.lost()
        self._busy.stop()

    def end(self, reason: str) -> None:
        """There will be none any more."""
        for client_id in self.unsaid.ids():
            self.not_said(client_id, "over", reason)

    def deadline(self) -> float | None:
        """When to call `tick`, in seconds."""
        times = (self._catch_up.deadline(), self._found_by)
        return min((time for time in times if time is not None), default=None)

    def tick(self, now: float) -> None:
        """A deadline has come."""
        page = self._catch_up.deadline()
        if page is not None and now >= page:
            ask, room = self._catch_up.tick(now), self._catch_up.room
            if ask is not None:
                self._out.ask(ask)
            elif room is not None:
                self._got(room, room.go_on(), True, now)
        if self._found_by is not None and now >= self._found_by:
            self._not_found("busy", "The hub has not answered the search.")
            self._next_page(now)

    # ------------------------------------------------------------ rooms

    def joined(self, answer: their.Joined, now: float) -> None:
        """We are in a room."""
        room = self.rooms.get(answer.room or LOBBY)
        if room is None or self._founding:
            return
        self._busy.done(room.name)
        room.joined(answer)
        room.topic, room.count = clean_topic(answer.topic), max(0, answer.members)
        room.operator, room.slowmode = answer.operator, max(0, answer.slowmode)
        state = (room.operator, room.slowmode, answer.resumed)
        self._out.tell(told.HubRoomIn(room.name, room.life, room.topic, room.count, *state))
        self._out.ask(our.Who(room.shown))
        self._next_page(now)
        self.pump()

    def out_of(self, name: str, code: str, text: str) -> None:
        """We are not in a room (any more)."""
        room = self.rooms.pop(name, None)
        if room is None:
            return
        self._busy.done(name)
        for client_id in self.unsaid.ids(name):
            self.not_said(client_id, code or "left", text or "You have left the room.")
        if self._catch_up.room is room:
            self._catch_up.stop()
        if self._find is not None and self._find[0] == name:
            self._not_found(code or "left", text or "You have left the room.")
        self._out.tell(told.HubRoomOut(name, code, text))

    def put_out(self, name: str, code: str, text: str, now: float) -> None:
        """The hub says that we are not in a room (any more)."""
        self.out_of(name, code, text)
        self._next_page(now)

    def join(self, name: str, password: str, mark: Mark | None) -> None:
        """Be in a room."""
        room = self.rooms.setdefault(name, HubRoom(name, "", mark))
        room.password = password or room.password
        if self._up and not self._founding and not room.inside:
            self._out.ask(room.join())

    def enter_again(self, name: str) -> None:
        """Its time has come."""
        room = self.rooms.get(name)
        if room is not None and self._up and not room.inside:
            self._out.ask(room.join())

    def not_kept(self, mark: Mark, now: float) -> None:
        """What was told of a room after `mark` could not be kept: go on there, in a while."""
        room = self.rooms.get(mark.room)
        if room is None or self._founding:
            return
        room.rewind(mark.life, mark.last)
        if self._catch_up.room is room:
            self._catch_up.stop()
        if self._up:
            self._busy.later(mark.room, now + UNKEPT_SECONDS)
            self._next_page(now)

    def leave(self, name: str, now: float) -> None:
        """Be in a room no longer."""
        room = self.rooms.get(name)
        if room is not None:
            if self._up and not self._founding:
                self._out.ask(our.Leave(room.shown))
            self.put_out(name, "", "", now)

    # ------------------------------------------------------------ what is heard

    def numbered(self, name: str, line: Numbered, now: float) -> None:
        """A line with its number has come."""
        room = self.rooms.get(name or LOBBY)
        if room is not None and room.inside and line.seq:
            self._tell_lines(room, room.take(line))
            if room.behind:
                self._next_page(now)

    def unnumbered(self, said: their.Said) -> None:
        """A message has come from a founding hub, which has no numbers."""
        if said.text.strip():
            ours = self.unsaid.find(said.text) if said.nick == self.nick else ""
            self._out.tell(told.HubHeard(LOBBY, "", 0, said, bool(ours), False))
            if ours:
                self.said(ours, 0)

    def _tell_lines(self, room: HubRoom, lines: Iterable[Numbered]) -> None:
        for seq, kept in lines:
            if kept is None:
                continue
            client_id = kept.client_id if isinstance(kept, their.Said) else ""
            ours = client_id in self.unsaid
            if isinstance(kept, their.TopicSet):
                room.topic = kept.text
            mine = ours or (self._proved and kept.nick == self.nick)
            self._out.tell(told.HubHeard(room.name, room.life, seq, kept, mine, seq <= room.before_us))
            if ours:
                self._settle(client_id, seq)
        self.pump()  # not before: the next of these lines may be ours as well

    # ------------------------------------------------------------ what we say

    def say(self, name: str, text: str, *, action: bool, reply_to: int) -> str:
        """Say something in a room, now or when the hub is there; the message's own id.

        Raises:
            UsageError: we do not mean to be in that room, or too much waits already.
        """
        room = self.rooms.get(name)
        if room is None:
            raise UsageError(f"You are not in {name} on this hub; nothing was sent.", code="not_in_room")
        if self._founding and action:
            text, action = f"* {self.nick} {text}", False
        client_id = self.unsaid.add(name, our.Msg(text, room.shown, "", reply_to, action))
        self.pump()
        return client_id

    def said(self, client_id: str, seq: int) -> None:
        """The hub has taken a message."""
        self._settle(client_id, seq)
        self.pump()

    def _settle(self, client_id: str, seq: int) -> None:
        if client_id in self.unsaid:
            if not self._busy.waits(SAY):
                self._busy.done(SAY)
            room, _ = self.unsaid.take(client_id)
            self._out.tell(told.HubSent(room, client_id, seq))

    def not_said(self, client_id: str, code: str, reason: str) -> None:
        """It has not, and will not."""
        room, text = self.unsaid.take(client_id)
        self._out.tell(told.HubUnsent(room, client_id, text, code, reason))

    def not_now(self, client_id: str, text: str, now: float) -> None:
        """The hub cannot keep a message now, and will later."""
        self.unsaid.again(client_id)
        if self._busy.refused(SAY, now):
            self._out.tell(told.HubNote("", "busy", text or "The hub cannot take anything now."))

    def pump(self) -> None:
        """Say what waits, as far as the hub takes it."""
        if not self._up or self._busy.waits(SAY):
            return
        for msg in self.unsaid.due(self._ready):
            self._out.ask(our.Msg(msg.text) if self._founding else msg)

    def _ready(self, name: str) -> bool:
        room = self.rooms.get(name)
        return room is not None and room.inside and not room.behind

    # ------------------------------------------------------------ what was missed

    def _next_page(self, now: float) -> None:
        """Ask for what is missing or searched for: one thing at a time, as a hub answers them."""
        if self._found_by is not None:
            return
        if self._find is not None and self._catch_up.room is None:
            self._found_by = now + FIND_SECONDS
            self._out.ask(self._find[1])
            return
        ask = self._catch_up.begin(self.rooms.values(), now)
        if ask is not None:
            self._out.ask(ask)

    def page(self, page: their.Page, now: float) -> None:
        """A page of history has come."""
        room = self._catch_up.expects(page.room or LOBBY, page.epoch)
        if room is not None:
            lines, given_up = room.page(read_page(page.messages), more=page.more)
            self._got(room, lines, given_up, now)

    def _got(self, room: HubRoom, lines: list[Numbered], given_up: bool, now: float) -> None:
        self._catch_up.stop()
        if given_up:
            self._out.tell(told.HubMissing(room.name))
        self._tell_lines(room, lines)
        if not room.behind and room.received:
            self._out.tell(told.HubCaughtUp(room.name, room.received))
            room.received = 0
        self._next_page(now)
        self.pump()

    # ------------------------------------------------------------ what is searched for

    def find(self, name: str, words: str, before: int, limit: int, now: float) -> None:
        """Search a room's history on the hub; `HubFound` or `HubNotFound` follows.

        Raises:
            UsageError: we are not in that room, or a search is on its way already.
        """
        room = self.rooms.get(name)
        if room is None or not room.inside:
            raise UsageError("You are not in that room of the hub now.", code="not_in_room")
        if self._find is not None:
            raise UsageError("The hub is still searching.", hint="Try again in a moment.", code="busy")
        self._find = name, our.Find(words, room.shown, before, limit)
        self._next_page(now)

    def found(self, answer: their.FoundLines, now: float) -> None:
        """The search is done."""
        if self._find is None or self._found_by is None or self._find[0] != (answer.room or LOBBY):
            return
        name, ask = self._find
        self._find = self._found_by = None
        room = self.rooms.get(name)
        if room is not None and room.epoch == answer.epoch:
            lines = tuple(read_found(answer.messages, ask.limit))
            more = answer.more and answer.before > 0 and (not ask.before or answer.before < ask.before)
            before = answer.before if more else 0
            self._out.tell(told.HubFound(name, room.life, lines, more, before, answer.whole))
        else:
            self._out.tell(told.HubNotFound(name, "not_in_room", "The room has begun anew."))
        self._next_page(now)

    def _not_found(self, code: str, text: str) -> None:
        if self._find is not None:
            name, _ = self._find
            self._find = self._found_by = None
            self._out.tell(told.HubNotFound(name, code, text))

    def refused(self, error: their.Error, now: float) -> bool:
        """Something was refused; False when it was none of what was fetched or searched for."""
        room = error.room or LOBBY
        if self._found_by is not None and self._find is not None and room == self._find[0]:
            # Pages wait for the search, so this is about it.
            if error.code in ("busy", "usage", "unknown_type", "not_in_room"):
                self._not_found(error.code, error.text)
                self._next_page(now)
                return True
        elif self._found_by is not None and error.code == "unknown_type":
            self._not_found("no_search", "This hub cannot search.")
            self._next_page(now)
            return True
        return error.code == "busy" and self._catch_up.busy(error.room, now)
