"""One guest on one hub, over however many connections: when we connect, who we are, what the hub's lines mean. Pure.

    guest.connected(now)            # or lost(reason, now) when dialling failed or the connection ended
    guest.take(lines, now)          # what came
    guest.tick(now)                 # deadline() has come
    guest.say("lobby", "hi")        # and other wishes, connected or not
    for effect in guest.flush(): …  # after each of them, in order

What is said in the rooms is in `hubtalk`. Page: docs/protocol/hub.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sandpiper.core import hubevents as told
from sandpiper.core.backoff import Backoff
from sandpiper.core.hubbusy import NICK, SAY, Busy
from sandpiper.core.hubgreeting import Greeting, Signer
from sandpiper.core.hublines import MAX_SENTENCE, FoundingNick, Line, Unknown, members_of, read, rooms_of
from sandpiper.core.hubpulse import Pulse
from sandpiper.core.hubroom import HubRoom, Mark, Numbered
from sandpiper.core.hubtalk import Out, Talk
from sandpiper.errors import RemoteProtocolError, TrustError, UsageError
from sandpiper.wire.hub import LOBBY
from sandpiper.wire.hub import answers as their
from sandpiper.wire.hub import asks as our
from sandpiper.wire.text import clean_line, clean_nick

if TYPE_CHECKING:
    import random
    from collections.abc import Iterable, Sequence

    from sandpiper.core.hubevents import HubEffect

REDIAL_FIRST, REDIAL_MOST = 0.5, 60.0  # seconds
STABLE_SECONDS = 10.0  # a connection that has lasted so long was a good one: the next wait is short again
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
        self.password = ""
        """The hub's own, where it has one."""
        self._out = Out()
        self._busy = Busy(rng)
        self._talk = Talk(self._out, rng, rooms, self._busy)
        self.rooms: dict[str, HubRoom] = self._talk.rooms
        self.unsaid = self._talk.unsaid
        self._wanted = nick
        self._rng = rng
        self._signer = signer
        self._hub_id = hub_id
        self._greeting = Greeting(nick, signer, hub_id, now)
        self._pulse = Pulse(now)
        self._backoff = Backoff(REDIAL_FIRST, REDIAL_MOST)
        self._redial = now
        self._up_since: float | None = None
        self._strikes = 0
        self._unlocking = False  # the password was said; a hub that has none any more does not understand that
        self._naming = False  # our nick was asked for, after the greeting
        self._last_error = _NO_ERROR  # what came last, if it was one

    @property
    def round_trip(self) -> float | None:
        """The last measured one, in seconds, while we are on the hub."""
        return self._pulse.round_trip if self.phase == "up" else None

    # ------------------------------------------------------------ what is to be done

    def flush(self) -> list[HubEffect]:
        """Everything that is to be done and told, in order."""
        return self._out.flush()

    def deadline(self) -> float | None:
        """When `tick` has to be called, in seconds."""
        match self.phase:
            case "down":
                return self._redial
            case "greeting":
                return self._greeting.by
            case "up" if not self.founding:
                times = (self._pulse.deadline(), self._talk.deadline(), self._busy.deadline())
                return min(time for time in times if time is not None)
            case _:
                return None

    def tick(self, now: float) -> None:
        """A deadline has come."""
        due = self.deadline()
        if due is None or now < due:
            return
        if self.phase == "down":
            self.phase = "dialling"
            self._out.tell(told.HubDial())
        elif self.phase == "greeting":
            self._greeting.late(now)
            self._greeted(now)
        else:
            self._talk.tick(now)
            for what in self._busy.due(now):
                self._ask_again(what)
            match self._pulse.tick(now):
                case "gone":
                    self._cut("The hub has said nothing for too long.", now)
                case "ping":
                    self._out.ask(our.Ping(self._pulse.ping(now)))
                case "wait":
                    pass

    def _ask_again(self, what: str) -> None:
        if what == NICK:
            self._ask_nick()
        elif what == SAY:
            self._talk.pump()
        else:
            self._talk.enter_again(what)

    # ------------------------------------------------------------ the connection

    def connected(self, now: float, hub_id: bytes | None = None) -> None:
        """`HubDial` was done. `hub_id`: the key of the hub at this address, when there are several addresses."""
        self.phase = "greeting"
        if hub_id is not None:
            self._hub_id = hub_id
        self._greeting = Greeting(self._wanted, self._signer, self._hub_id, now)
        self._strikes, self._naming, self._last_error = 0, False, _NO_ERROR
        self._unlocking = bool(self.password)
        if self._unlocking:
            self._out.ask(our.Password(self.password))
        self._greeted(now)

    def lost(self, reason: str, now: float, *, final: bool = False) -> None:
        """There is no connection, or not any more; `final`: do not try again."""
        if self.phase in ("down", "over"):
            return
        self.phase = "down"
        self._out.unsay()
        if self._up_since is not None and now >= self._up_since + STABLE_SECONDS:
            self._backoff.reset()
        self._up_since = None
        self._talk.stop()
        last, self._last_error = self._last_error, _NO_ERROR
        if final or last.code in told.FINAL:
            self._end(last.text or reason, last.code)
            return
        wait = self._backoff.next(self._rng)
        self._redial = now + wait
        self._out.tell(told.HubDown(last.text or reason, wait))

    def _cut(self, reason: str, now: float, *, final: bool = False) -> None:
        self._out.tell(told.HubHangUp(reason))
        self.lost(reason, now, final=final)

    def _end(self, reason: str, code: str = "") -> None:
        self.phase = "over"
        self._talk.end(reason)
        self._out.tell(told.HubDown(reason, None, code))

    def again(self, now: float) -> None:
        """Try at once, whatever the wait was: the person wants it."""
        if self.phase in ("down", "over"):
            self._backoff.reset()
            self.phase, self._redial = "down", now

    def expect(self, hub_id: bytes) -> None:
        """From the next connection on, the hub has this key: the person says so."""
        self._hub_id = hub_id

    def doubt(self, now: float) -> None:
        """The network has changed, or the machine has slept: try at once, or see whether the hub is still there."""
        if self.phase == "down":
            self.again(now)
        elif self.phase == "up" and not self.founding:
            self._pulse.doubt(now)
            self._out.ask(our.Ping(self._pulse.ping(now)))

    def close(self) -> None:
        """Leave the hub for good."""
        if self.phase != "over":
            if self.phase in ("greeting", "up"):
                self._out.tell(told.HubHangUp("left"))
            self._end("You have left it.")

    # ------------------------------------------------------------ who we are

    def _greeted(self, now: float) -> None:
        """The greeting has gone on: say what it wants said, and go where we want to be when it is done."""
        greeting = self._greeting
        self._out.ask(*greeting.asks)
        greeting.asks.clear()
        if greeting.hub_id != self._hub_id:
            self._hub_id = greeting.hub_id
            self._out.tell(told.HubKnown(self._hub_id))
        if not greeting.done:
            return
        self.phase, self._up_since = "up", now
        self._pulse = Pulse(now)
        self.hub, self.nick = greeting.hub, greeting.nick
        self.founding, self.proved = greeting.founding, greeting.proved
        self._out.tell(told.HubUp(self.hub, self.nick, self.founding, self.proved))
        if self._wanted != greeting.wanted:  # the person has chosen another one meanwhile
            self._ask_nick()
            self.nick = self._wanted if self.founding else self.nick
        elif greeting.refused_with:
            self._out.tell(told.HubNote("", "nick_taken", greeting.refused_with, refused=True))
        elif self.nick != self._wanted and not greeting.busy:
            self._out.tell(told.HubNick(self.nick, self._wanted))
        if greeting.busy and not self._naming:
            self._busy.refused(NICK, now)
        if not self.founding:
            self._out.ask(our.Ping(self._pulse.ping(now)))
        self._talk.begin(self.nick, founding=self.founding, proved=self.proved)

    def _ask_nick(self) -> None:
        self._naming = True
        self._out.ask(our.Nick(self._wanted))

    def _named(self, nick: str, now: float) -> None:
        if self.phase == "greeting":
            self._greeting.named(nick)
            self._greeted(now)
            return
        if nick == self._wanted:
            self._naming = False
            self._busy.done(NICK)
        if nick and nick != self.nick:
            self.nick = self._talk.nick = nick
            self._out.tell(told.HubNick(nick, self._wanted))

    # ------------------------------------------------------------ what comes

    def take(self, lines: Sequence[bytes], now: float) -> None:
        """Lines of the hub, without newlines."""
        for raw in lines:
            if self.phase not in ("greeting", "up"):
                return
            self._pulse.heard(now)
            self._last_error = _NO_ERROR
            try:
                self._line(read(raw), now)
            except TrustError as exc:
                self._cut(exc.sentence(), now, final=True)
            except RemoteProtocolError as exc:
                self._strikes += 1
                if self._strikes >= MAX_STRIKES:
                    self._cut(f"It does not speak as a hub does: {exc}", now)

    def _line(self, line: Line, now: float) -> None:
        greeting, talk = self._greeting, self._talk
        match line:
            case their.Said(seq=0):
                self._unnumbered(line, now)
            case their.Said() | their.Edited() | their.Retracted() | their.Reacted():
                talk.numbered(line.room, Numbered(line.seq, line), now)
            case their.TopicSet(room=name, seq=seq) if seq:
                talk.numbered(name, Numbered(seq, line), now)
            case Unknown(room=name, seq=seq) if seq:
                talk.numbered(name, Numbered(seq, None), now)
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
                self._out.ask(our.Pong(n))
            case their.Ponged(n=n):
                self._pulse.pong(n, now)
            case their.Joined():
                talk.joined(line, now)
            case their.Left(room=name, code=code, text=text):
                talk.put_out(name or LOBBY, clean_line(code, MAX_SENTENCE), clean_line(text, MAX_SENTENCE), now)
            case their.Notice(room=name):
                self._notice(name or LOBBY, line)
            case their.Ack(client_id=client_id, seq=seq):
                talk.said(client_id, seq)
            case their.Page():
                talk.page(line, now)
            case their.FoundLines():
                talk.found(line, now)
            case their.WhoList(room=name) if (room := self.rooms.get(name or LOBBY)) is not None:
                self._out.tell(room.listed(members_of(line), line.count))
            case their.RoomList():
                self._out.tell(told.HubRooms(rooms_of(line), max(0, line.more)))
            case their.TypingSeen(nick=nick, room=name) if (name or LOBBY) in self.rooms:
                self._out.tell(told.HubTyping(name or LOBBY, clean_nick(nick)))
            case _:
                pass

    def _unnumbered(self, said: their.Said, now: float) -> None:
        """What founding hubs say while we have no nick is not for us yet."""
        if self.phase == "greeting":
            self._greeting.said(now)
            self._greeted(now)
        elif self.founding:
            self._talk.unnumbered(said)

    def _error(self, error: their.Error, now: float) -> None:
        self._last_error = error  # why the connection ends, if it does so next
        room = self.rooms.get(error.room or LOBBY)
        if error.client_id in self.unsaid:
            if error.code == "busy":
                self._talk.not_now(error.client_id, error.text, now)
            else:
                self._talk.not_said(error.client_id, error.code, error.text)
                self._talk.pump()
        elif self.phase == "greeting":
            if error.code in told.LOCKED and not error.room:
                self._out.tell(told.HubLocked("", error.text, error.code == "wrong_password" and bool(self.password)))
                self.password = ""
                self._cut(error.text, now, final=True)
            elif self._unlocking and error.code in ("unknown_type", "not_valid"):
                self._unlocking = False
            elif self._greeting.refused(error, now):
                self._greeted(now)
            else:
                self._out.tell(told.HubNote("", error.code, error.text, refused=True))
        elif error.code in ("nick_taken", "bad_nick"):
            self._wanted, self._naming = self.nick, False
            self._busy.done(NICK)
            self._out.tell(told.HubNote("", error.code, error.text, refused=True))
        elif error.room and room is not None and not room.inside and error.code in told.ROOM_REFUSED:
            self._last_error = _NO_ERROR
            self._talk.out_of(room.name, error.code, error.text)
            if error.code in told.LOCKED:
                self._out.tell(told.HubLocked(room.name, error.text, error.code == "wrong_password"))
        elif not (self._talk.refused(error, now) or (error.code == "busy" and self._not_now(error, now))):
            name = room.name if room is not None else ""
            self._out.tell(told.HubNote(name, error.code, error.text, refused=True))

    def _not_now(self, error: their.Error, now: float) -> bool:
        """The hub had no time for a join or our nick; False when it was for neither."""
        # Without a room it does not say for what: for any of what was asked for.
        waits = [name for name, room in self.rooms.items() if error.room in ("", name) and not room.inside]
        if not error.room and self._naming:
            waits.append(NICK)
        for what in waits:
            self._busy.refused(what, now)
        return bool(waits)

    def _notice(self, name: str, notice: their.Notice) -> None:
        room = self.rooms.get(name)
        if notice.code in ("closing", "motd"):
            self._out.tell(told.HubNote("", notice.code, notice.text))
        elif room is not None and room.inside:
            self._out.tell(room.noticed(notice))

    # ------------------------------------------------------------ wishes

    def say(self, name: str, text: str, *, action: bool = False, reply_to: int = 0) -> str:
        """Say something (already checked) in a room, now or when the hub is there; the message's own id.

        Raises:
            UsageError: we do not mean to be in that room, or too much waits already.
        """
        if self.phase == "over":
            raise UsageError(f"You are not in {name} on this hub; nothing was sent.", code="not_in_room")
        return self._talk.say(name, text, action=action, reply_to=reply_to)

    def ask(self, ask: our.Ask) -> None:
        """Have the hub do anything else: list rooms, set a topic, change a message, an operator's command.

        Raises:
            UsageError: we are not connected, or the hub cannot do that.
        """
        self._must_be_up()
        self._out.ask(ask)

    def find(self, name: str, words: str, before: int, limit: int, now: float) -> None:
        """Search a room's history on the hub; `HubFound` or `HubNotFound` follows.

        Raises:
            UsageError: we are not connected or not in that room, or a search is on its way already.
        """
        self._must_be_up()
        self._talk.find(name, words, before, limit, now)

    def _must_be_up(self) -> None:
        if self.phase != "up":
            raise UsageError("The hub cannot be reached now.", hint="Try again in a moment.", code="not_connected")
        if self.founding:
            raise UsageError("This hub does nothing but pass messages on.", code="founding_hub")

    def join(self, name: str, password: str = "", mark: Mark | None = None) -> None:
        """Be in a room (its name is normalised), now and after every reconnect.

        Raises:
            UsageError: we are in too many, or this hub has one room only.
        """
        if self.founding and self.phase == "up" and name != LOBBY:
            raise UsageError("This hub has one room, the lobby.", code="founding_hub")
        if name not in self.rooms and len(self.rooms) >= MAX_ROOMS:
            raise UsageError(f"You are in {MAX_ROOMS} rooms of this hub.", hint="Leave one first: /leave")
        self._talk.join(name, password, mark)

    def not_kept(self, mark: Mark, now: float) -> None:
        """What was told of a room after `mark` could not be kept: it will be told again, from there on."""
        self._talk.not_kept(mark, now)

    def leave(self, name: str, now: float) -> None:
        """Be in a room no longer."""
        self._talk.leave(name, now)

    def rename(self, nick: str) -> None:
        """Be called `nick` (already checked) from now on, if the hub lets us."""
        self._wanted = nick
        self._busy.done(NICK)
        if self.phase == "up":
            self._ask_nick()
        if self.phase != "up" or self.founding:
            self.nick = self._talk.nick = nick
