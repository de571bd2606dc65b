"""One guest on one hub, over however many connections: what we say, what we believe. Pure; page: docs/protocol/hub.md.

    guest.connected(now)            # or lost(reason, now) when dialling failed or the connection ended
    guest.take(lines, now)          # what came
    guest.tick(now)                 # deadline() has come
    guest.say("lobby", "hi")        # and other wishes, connected or not
    for effect in guest.flush(): …  # after each of them, in order

What we say waits until its room has caught up, so that our own lines that the hub had taken before a connection was
lost are seen first, and only the others are said again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sandpiper.core import hubevents as told
from sandpiper.core.backoff import Backoff
from sandpiper.core.hubcatchup import CatchUp
from sandpiper.core.hubgreeting import Greeting, Signer
from sandpiper.core.hublines import MAX_SENTENCE, FoundingNick, Line, Unknown, members_of, read, read_page, rooms_of
from sandpiper.core.hubroom import HubRoom, Mark, Numbered
from sandpiper.core.hubunsaid import Unsaid
from sandpiper.errors import RemoteProtocolError, TrustError, UsageError
from sandpiper.wire.hub import LOBBY
from sandpiper.wire.hub import answers as their
from sandpiper.wire.hub import asks as our
from sandpiper.wire.hub.lines import encode_asks
from sandpiper.wire.text import clean_line, clean_nick, clean_topic

if TYPE_CHECKING:
    import random
    from collections.abc import Iterable, Sequence

    from sandpiper.core.hubevents import HubEffect

REDIAL_FIRST, REDIAL_MOST = 0.5, 60.0  # seconds
STABLE_SECONDS = 10.0  # a connection that has lasted so long was a good one: the next wait is short again
PING_SECONDS = 45.0  # silence of the hub after which it is pinged; it pings us after 30 s, so this is seldom needed
SILENCE_SECONDS = 75.0  # silence after which it is gone
MAX_STRIKES = 20  # lines of one connection that could not be read: that is no hub
MAX_ROOMS = 20  # as many as a hub lets a guest be in

_NO_ERROR = their.Error("")


class HubGuest:
    """See the module."""

    def __init__(
        self,
        nick: str,
        rng: random.Random,
        now: float,
        *,
        signer: Signer | None = None,
        hub_id: bytes = b"",
        rooms: Iterable[Mark] = (),
    ) -> None:
        """`hub_id` is the key that this hub had before (empty: not known); `rooms` are entered, and gone on with where
        they were left. The first connection is due at once.
        """
        self.phase: told.Phase = "down"
        self.nick = nick
        """What the hub calls us, or what we are going to ask for."""
        self.hub = ""
        """What the hub calls itself."""
        self.founding = False
        self.proved = False
        """The hub knows that our key is ours, in this connection."""
        self.rooms: dict[str, HubRoom] = {mark.room: HubRoom(mark.room, mark=mark) for mark in rooms}
        self.unsaid = Unsaid(rng)
        self._wanted = nick
        self._rng = rng
        self._signer = signer
        self._hub_id = hub_id
        self._greeting = Greeting(nick, signer, hub_id, now)
        self._catch_up = CatchUp()
        self._backoff = Backoff(REDIAL_FIRST, REDIAL_MOST)
        self._redial = now
        self._heard = now
        self._pinged = False
        self._up_since: float | None = None
        self._strikes = 0
        self._last_error = _NO_ERROR  # what came last, if it was one
        self._asks: list[our.Ask] = []
        self._out: list[HubEffect] = []

    # ------------------------------------------------------------ what is to be done

    def flush(self) -> list[HubEffect]:
        """Everything that is to be done and told, in order."""
        self._write()
        out, self._out = self._out, []
        return out

    def _write(self) -> None:
        if self._asks:
            self._out.append(told.HubWrite(encode_asks(self._asks)))
            self._asks.clear()

    def _tell(self, effect: HubEffect) -> None:
        self._write()
        self._out.append(effect)

    def deadline(self) -> float | None:
        """When `tick` has to be called, in seconds."""
        match self.phase:
            case "down":
                return self._redial
            case "greeting":
                return self._greeting.by
            case "up" if not self.founding:
                silent = self._heard + (SILENCE_SECONDS if self._pinged else PING_SECONDS)
                page = self._catch_up.deadline()
                return silent if page is None else min(silent, page)
            case _:
                return None

    def tick(self, now: float) -> None:
        """A deadline has come."""
        due = self.deadline()
        if due is None or now < due:
            return
        page = self._catch_up.deadline()
        if self.phase == "down":
            self.phase = "dialling"
            self._tell(told.HubDial())
        elif self.phase == "greeting":
            self._greeting.late(now)
            self._greeted(now)
        elif page is not None and now >= page:
            ask = self._catch_up.tick(now)
            room = self._catch_up.room
            if ask is not None:
                self._asks.append(ask)
            elif room is not None:
                self._got(room, room.give_up(), now)
        elif self._pinged:
            self._cut("The hub has said nothing for too long.", now)
        else:
            self._pinged = True
            self._asks.append(our.Ping(1))

    # ------------------------------------------------------------ the connection

    def connected(self, now: float) -> None:
        """`HubDial` was done."""
        self.phase = "greeting"
        self._greeting = Greeting(self._wanted, self._signer, self._hub_id, now)
        self._strikes, self._last_error = 0, _NO_ERROR
        self._greeted(now)

    def lost(self, reason: str, now: float, *, final: bool = False) -> None:
        """There is no connection, or not any more; `final`: do not try again."""
        if self.phase in ("down", "over"):
            return
        self.phase = "down"
        self._asks.clear()
        if self._up_since is not None and now >= self._up_since + STABLE_SECONDS:
            self._backoff.reset()
        self._up_since = None
        self._catch_up.stop()
        for room in self.rooms.values():
            room.lost()
        if self.founding:  # nothing would tell such a hub that it had them already
            for client_id in self.unsaid.ids(sent=True):
                self._not_said(client_id, "unsure", "The connection was lost; nobody knows whether it was said.")
        self.unsaid.lost()
        last, self._last_error = self._last_error, _NO_ERROR
        if final or last.code in told.FINAL:
            self._end(last.text or reason)
            return
        wait = self._backoff.next(self._rng)
        self._redial = now + wait
        self._tell(told.HubDown(last.text or reason, wait))

    def _cut(self, reason: str, now: float, *, final: bool = False) -> None:
        self._tell(told.HubHangUp(reason))
        self.lost(reason, now, final=final)

    def _end(self, reason: str) -> None:
        self.phase = "over"
        for client_id in self.unsaid.ids():
            self._not_said(client_id, "over", reason)
        self._tell(told.HubDown(reason, None))

    def again(self, now: float) -> None:
        """Try at once, whatever the wait was: the person wants it, or the network has changed."""
        if self.phase in ("down", "over"):
            self._backoff.reset()
            self.phase, self._redial = "down", now

    def close(self) -> None:
        """Leave the hub for good."""
        if self.phase != "over":
            if self.phase in ("greeting", "up"):
                self._tell(told.HubHangUp("left"))
            self._end("You have left it.")

    # ------------------------------------------------------------ who we are

    def _greeted(self, now: float) -> None:
        """The greeting has gone on: say what it wants said, and go where we want to be when it is done."""
        greeting = self._greeting
        self._asks += greeting.asks
        greeting.asks.clear()
        if greeting.hub_id != self._hub_id:
            self._hub_id = greeting.hub_id
            self._tell(told.HubKnown(self._hub_id))
        if not greeting.done:
            return
        self.phase, self._up_since = "up", now
        self._heard, self._pinged = now, False
        self.hub, self.nick = greeting.hub, greeting.nick
        self.founding, self.proved = greeting.founding, greeting.proved
        self._tell(told.HubUp(self.hub, self.nick, self.founding, self.proved))
        if greeting.refused_with:
            self._tell(told.HubNote("", "nick_taken", greeting.refused_with, refused=True))
        elif self.nick != self._wanted:
            self._tell(told.HubNick(self.nick, self._wanted))
        if not self.founding:
            self._asks += [room.join() for room in self.rooms.values()]
            return
        for name in [name for name in self.rooms if name != LOBBY]:
            self._out_of(name, "one_room", "This hub has one room, the lobby.")
        self.rooms.setdefault(LOBBY, HubRoom(LOBBY)).inside = True
        self._tell(told.HubRoomIn(LOBBY, "", "", 0, False, 0, False))
        self._pump()

    def _named(self, nick: str, now: float) -> None:
        if self.phase == "greeting":
            self._greeting.named(nick)
            self._greeted(now)
        elif nick and nick != self.nick:
            self.nick = nick
            self._tell(told.HubNick(nick, self._wanted))

    # ------------------------------------------------------------ what comes

    def take(self, lines: Sequence[bytes], now: float) -> None:
        """Lines of the hub, without newlines."""
        for raw in lines:
            if self.phase not in ("greeting", "up"):
                return
            self._heard, self._pinged, self._last_error = now, False, _NO_ERROR
            try:
                self._line(read(raw), now)
            except TrustError as exc:
                self._cut(exc.sentence(), now, final=True)
            except RemoteProtocolError as exc:
                self._strikes += 1
                if self._strikes >= MAX_STRIKES:
                    self._cut(f"It does not speak as a hub does: {exc}", now)

    def _line(self, line: Line, now: float) -> None:
        greeting = self._greeting
        match line:
            case their.Said(seq=0):
                self._unnumbered(line, now)
            case their.Said() | their.Edited() | their.Retracted() | their.Reacted():
                self._numbered(line.room, Numbered(line.seq, line), now)
            case their.TopicSet(room=name, seq=seq) if seq:
                self._numbered(name, Numbered(seq, line), now)
            case Unknown(room=name, seq=seq) if seq:
                self._numbered(name, Numbered(seq, None), now)
            case their.Error():
                self._error(line, now)
            case their.HelloBack():
                if self.founding:
                    self.rooms[LOBBY].lost()
                greeting.hello(line, now)
                if not greeting.done:
                    self.phase, self.founding = "greeting", False
                self._greeted(now)
            case their.Challenge():
                greeting.challenge(line, now)
                self._greeted(now)
            case their.Authed():
                greeting.proved = True
            case their.NickSet(nick=nick):
                self._named(clean_nick(nick), now)
            case FoundingNick():
                self._named("", now)
            case their.Pinged(n=n):
                self._asks.append(our.Pong(n))
            case their.Joined():
                self._joined(line, now)
            case their.Left(room=name, code=code, text=text):
                self._out_of(name or LOBBY, clean_line(code, MAX_SENTENCE), clean_line(text, MAX_SENTENCE))
                self._next_page(now)
            case their.Notice(room=name):
                self._notice(name or LOBBY, line)
            case their.Ack(client_id=client_id, seq=seq):
                self._said(client_id, seq)
                self._pump()
            case their.Page():
                self._page(line, now)
            case their.WhoList(room=name) if (room := self.rooms.get(name or LOBBY)) is not None:
                self._tell(room.listed(members_of(line), line.count))
            case their.RoomList():
                self._tell(told.HubRooms(rooms_of(line), max(0, line.more)))
            case their.TypingSeen(nick=nick, room=name) if (name or LOBBY) in self.rooms:
                self._tell(told.HubTyping(name or LOBBY, clean_nick(nick)))
            case _:
                pass

    def _error(self, error: their.Error, now: float) -> None:
        self._last_error = error  # why the connection ends, if it does so next
        room = self.rooms.get(error.room or LOBBY)
        if error.client_id in self.unsaid:
            self._not_said(error.client_id, error.code, error.text)
            self._pump()
        elif self.phase == "greeting":
            if self._greeting.refused(error, now):
                self._greeted(now)
            else:
                self._tell(told.HubNote("", error.code, error.text, refused=True))
        elif error.code in ("nick_taken", "bad_nick"):
            self._wanted = self.nick
            self._tell(told.HubNote("", error.code, error.text, refused=True))
        elif error.room and room is not None and not room.inside and error.code in told.ROOM_REFUSED:
            self._last_error = _NO_ERROR
            self._out_of(room.name, error.code, error.text)
        elif error.code != "busy" or not self._catch_up.busy(error.room, now):
            name = room.name if room is not None else ""
            self._tell(told.HubNote(name, error.code, error.text, refused=True))

    # ------------------------------------------------------------ rooms

    def _joined(self, answer: their.Joined, now: float) -> None:
        room = self.rooms.get(answer.room or LOBBY)
        if room is None or self.founding:
            return
        room.joined(answer)
        room.topic, room.count = clean_topic(answer.topic), max(0, answer.members)
        state = (answer.operator, max(0, answer.slowmode), answer.resumed)
        self._tell(told.HubRoomIn(room.name, room.life, room.topic, room.count, *state))
        self._asks.append(our.Who(room.shown))
        self._next_page(now)
        self._pump()

    def _out_of(self, name: str, code: str, text: str) -> None:
        room = self.rooms.pop(name, None)
        if room is None:
            return
        for client_id in self.unsaid.ids(name):
            self._not_said(client_id, code or "left", text or "You have left the room.")
        if self._catch_up.room is room:
            self._catch_up.stop()
        self._tell(told.HubRoomOut(name, code, text))

    def _notice(self, name: str, notice: their.Notice) -> None:
        room = self.rooms.get(name)
        if notice.code == "closing":
            self._tell(told.HubNote("", "closing", notice.text))
        elif room is not None and room.inside:
            self._tell(room.noticed(notice))

    # ------------------------------------------------------------ what is said

    def _numbered(self, name: str, line: Numbered, now: float) -> None:
        room = self.rooms.get(name or LOBBY)
        if room is not None and room.inside and line.seq:
            behind = room.behind
            self._tell_lines(room, room.take(line))
            if room.behind and not behind:
                self._next_page(now)

    def _tell_lines(self, room: HubRoom, lines: Iterable[Numbered]) -> None:
        for seq, kept in lines:
            if kept is None:
                continue
            client_id = kept.client_id if isinstance(kept, their.Said) else ""
            ours = client_id in self.unsaid
            if isinstance(kept, their.TopicSet):
                room.topic = kept.text
            mine = ours or (self.proved and kept.nick == self.nick)
            self._tell(told.HubHeard(room.name, room.life, seq, kept, mine, seq <= room.before_us))
            if ours:
                self._said(client_id, seq)
        self._pump()  # not before: the next of these lines may be ours as well

    def _unnumbered(self, said: their.Said, now: float) -> None:
        """Founding hubs have no numbers; what they say while we have no nick is not for us yet."""
        if self.phase == "greeting":
            self._greeting.said(now)
            self._greeted(now)
        elif self.founding and said.text.strip():
            ours = self.unsaid.find(said.text) if said.nick == self.nick else ""
            self._tell(told.HubHeard(LOBBY, "", 0, said, bool(ours), False))
            if ours:
                self._said(ours, 0)
                self._pump()

    def _said(self, client_id: str, seq: int) -> None:
        if client_id in self.unsaid:
            room, _ = self.unsaid.take(client_id)
            self._tell(told.HubSent(room, client_id, seq))

    def _not_said(self, client_id: str, code: str, reason: str) -> None:
        room, text = self.unsaid.take(client_id)
        self._tell(told.HubUnsent(room, client_id, text, code, reason))

    def _pump(self) -> None:
        """Say what waits, as far as the hub takes it."""
        if self.phase != "up":
            return
        for msg in self.unsaid.due(self._ready):
            self._asks.append(our.Msg(msg.text) if self.founding else msg)

    def _ready(self, name: str) -> bool:
        room = self.rooms.get(name)
        return room is not None and room.inside and not room.behind

    # ------------------------------------------------------------ what was missed

    def _next_page(self, now: float) -> None:
        ask = self._catch_up.begin(self.rooms.values(), now)
        if ask is not None:
            self._asks.append(ask)

    def _page(self, page: their.Page, now: float) -> None:
        room = self._catch_up.expects(page.room or LOBBY, page.epoch)
        if room is not None:
            self._got(room, room.page(read_page(page.messages), more=page.more), now)

    def _got(self, room: HubRoom, got: tuple[list[Numbered], int], now: float) -> None:
        lines, missing = got
        self._catch_up.stop()
        if missing:
            self._tell(told.HubMissing(room.name, missing))
        self._tell_lines(room, lines)
        if not room.behind and room.received:
            self._tell(told.HubCaughtUp(room.name, room.received))
            room.received = 0
        self._next_page(now)
        self._pump()

    # ------------------------------------------------------------ wishes

    def say(self, name: str, text: str, *, action: bool = False, reply_to: int = 0) -> str:
        """Say something (already checked) in a room, now or when the hub is there; the message's own id.

        Raises:
            UsageError: we do not mean to be in that room, or too much waits already.
        """
        room = self.rooms.get(name)
        if room is None or self.phase == "over":
            raise UsageError(f"You are not in {name} on this hub; nothing was sent.", code="not_in_room")
        if self.founding and action:
            text, action = f"* {self.nick} {text}", False
        client_id = self.unsaid.add(name, our.Msg(text, room.shown, "", reply_to, action))
        self._pump()
        return client_id

    def ask(self, ask: our.Ask) -> None:
        """Have the hub do anything else: list rooms, set a topic, change a message, an operator's command.

        Raises:
            UsageError: we are not connected, or the hub cannot do that.
        """
        if self.phase != "up":
            raise UsageError("The hub cannot be reached now.", hint="Try again in a moment.", code="not_connected")
        if self.founding:
            raise UsageError("This hub does nothing but pass messages on.", code="founding_hub")
        self._asks.append(ask)

    def join(self, name: str, password: str = "", mark: Mark | None = None) -> None:
        """Be in a room (its name is normalised), now and after every reconnect.

        Raises:
            UsageError: we are in too many, or this hub has one room only.
        """
        if self.founding and self.phase == "up" and name != LOBBY:
            raise UsageError("This hub has one room, the lobby.", code="founding_hub")
        if name not in self.rooms and len(self.rooms) >= MAX_ROOMS:
            raise UsageError(f"You are in {MAX_ROOMS} rooms of this hub.", hint="Leave one first: /leave")
        room = self.rooms.setdefault(name, HubRoom(name, "", mark))
        room.password = password or room.password
        if self.phase == "up" and not self.founding and not room.inside:
            self._asks.append(room.join())

    def leave(self, name: str, now: float) -> None:
        """Be in a room no longer."""
        room = self.rooms.get(name)
        if room is not None:
            if self.phase == "up" and not self.founding:
                self._asks.append(our.Leave(room.shown))
            self._out_of(name, "", "")
            self._next_page(now)

    def rename(self, nick: str) -> None:
        """Be called `nick` (already checked) from now on, if the hub lets us."""
        self._wanted = nick
        if self.phase == "up":
            self._asks.append(our.Nick(nick))
        if self.phase != "up" or self.founding:
            self.nick = nick
