"""One guest on one hub: what we say and what we believe, over however many connections. Pure; page: docs/protocol/hub.md.

    guest.connected(now)            # or lost(reason, now) when dialling failed or the connection ended
    guest.take(lines, now)          # what came
    guest.tick(now)                 # deadline() has come
    guest.say("lobby", "hi", now)   # and other wishes, connected or not
    for effect in guest.flush(): …  # after each of them, in order

What we say waits until its room has caught up, so that our own lines that the hub had taken before a connection was
lost are seen first, and only the others are said again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from sandpiper.core import hubevents as told
from sandpiper.core.backoff import Backoff
from sandpiper.core.hublines import FoundingNick, Line, Unknown, believed_member, read, read_page
from sandpiper.core.hubroom import HubRoom, Mark, Numbered
from sandpiper.errors import RemoteProtocolError, UsageError
from sandpiper.wire.hub import AUTH_DOMAIN, FEATURES, HUB_VERSION, LOBBY
from sandpiper.wire.hub import answers as their
from sandpiper.wire.hub import asks as our
from sandpiper.wire.hub.lines import encode_asks
from sandpiper.wire.limits import KEY_BYTES, MAX_NICK_CHARS
from sandpiper.wire.text import clean_line, clean_nick, clean_topic

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterable, Sequence

    from sandpiper.core.hubevents import HubEffect
    from sandpiper.wire.ids import PeerKey

REDIAL_FIRST, REDIAL_MOST = 0.5, 60.0  # seconds
STABLE_SECONDS = 10.0  # a connection that has lasted so long was a good one: the next wait is short again
MAX_UNSAID = 1000  # messages of ours that wait for the hub
WINDOW = 100  # messages on their way at once: half of what a hub takes at once from one guest
MAX_STRIKES = 20  # lines of one connection that could not be read: that is no hub
MAX_NICK_TRIES = 5  # suggestions taken before we stay what the hub calls us
MAX_PAGE_TRIES = 3  # times that a page of history is asked for
MAX_ROOMS = 20  # as many as a hub lets a guest be in
MAX_MEMBERS = 1000  # names kept of a room: as many as a hub lists
CLIENT_ID_BITS = 96

FINAL = frozenset({"banned", "replaced", "kicked"})
"""Codes of a connection's end after which coming back would be rude or would go on for ever."""
_NOT_UNDERSTOOD = frozenset({"", "unknown_type", "not_valid", "not_json"})
_ROOM_REFUSED = frozenset({"locked", "wrong_password", "banned", "room_full", "too_many_rooms", "bad_room_name"})


class GuestTimes(Struct, frozen=True):
    """How long things may take, in seconds."""

    hello: float = 8.0
    """For the hub to answer hello; one that does not is a founding one. Far tunnels answer within two."""
    nick: float = 8.0
    """For every further answer until the nick is settled."""
    ping: float = 45.0
    """Silence of the hub after which it is pinged. It pings us after 30 s of ours, so this is seldom needed."""
    silence: float = 75.0
    """Silence after which it is gone."""
    page: float = 20.0
    """For a page of history: megabytes, at worst, through a thin tunnel."""
    busy: float = 1.0
    """Before a page that the hub had no time for is asked for again."""


TIMES = GuestTimes()


class Signer(Struct, frozen=True):
    """Our key, and what signs with it."""

    key: PeerKey
    sign: Callable[[bytes], bytes]


class _Unsaid:
    """A message of ours that the hub has not confirmed."""

    __slots__ = ("msg", "room", "sent")

    def __init__(self, room: str, msg: our.Msg) -> None:
        self.room = room
        self.msg = msg
        self.sent = False


class HubGuest:
    """See the module. `phase` is down, dialling, hello, nick, up or over."""

    def __init__(
        self,
        nick: str,
        rng: random.Random,
        now: float,
        *,
        signer: Signer | None = None,
        hub_id: bytes = b"",
        rooms: Iterable[Mark] = (),
        times: GuestTimes = TIMES,
    ) -> None:
        """`hub_id` is the key that this hub had before (empty: not known); `rooms` are entered, and gone on with where
        they were left. The first connection is due at once.
        """
        self.phase = "down"
        self.nick = nick
        """What the hub calls us, or what we are going to ask for."""
        self.hub = ""
        self.founding = False
        self.proved = False
        self.rooms: dict[str, HubRoom] = {mark.room: HubRoom(mark.room, mark=mark) for mark in rooms}
        self._wanted = nick
        self._rng = rng
        self._times = times
        self._signer = signer
        self._hub_id = hub_id
        self._backoff = Backoff(REDIAL_FIRST, REDIAL_MOST)
        self._redial: float | None = now
        self._by = 0.0  # until when the answer that we wait for must come
        self._heard = now
        self._pinged = False
        self._up_since: float | None = None
        self._nick_tries = 0
        self._strikes = 0
        self._last_error = their.Error("")
        self._unsaid: dict[str, _Unsaid] = {}
        self._in_flight = 0
        self._paging: HubRoom | None = None
        self._page_by = 0.0  # until when the page must come
        self._page_at: float | None = None  # when it is to be asked for again
        self._page_tries = 0
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
        times: list[float | None] = []
        if self.phase == "down":
            times.append(self._redial)
        elif self.phase in ("hello", "nick"):
            times.append(self._by)
        elif self.phase == "up" and not self.founding:
            times.append(self._heard + (self._times.silence if self._pinged else self._times.ping))
            if self._paging is not None:
                times.append(self._page_by if self._page_at is None else self._page_at)
        return min((at for at in times if at is not None), default=None)

    def tick(self, now: float) -> None:
        """A deadline has come."""
        due = self.deadline()
        if due is None or now < due:
            return
        if self.phase == "down":
            self.phase, self._redial = "dialling", None
            self._tell(told.HubDial())
        elif self.phase == "hello":
            self._is_founding(now)
        elif self.phase == "nick":
            self._settled(now)  # it does not answer: then it calls us what it likes
        elif self._paging is not None and self._page_at is not None and now >= self._page_at:
            self._ask_page(now)
        elif self._paging is not None and self._page_at is None and now >= self._page_by:
            self._page_failed(now)
        elif now >= self._heard + self._times.silence:
            self._cut("The hub has said nothing for too long.", now)
        elif not self._pinged and now >= self._heard + self._times.ping:
            self._pinged = True
            self._asks.append(our.Ping(1))

    # ------------------------------------------------------------ the connection

    def connected(self, now: float) -> None:
        """`HubDial` was done."""
        self.phase, self._by = "hello", now + self._times.hello
        self._heard, self._pinged = now, False
        self._strikes = self._nick_tries = 0
        self._last_error = their.Error("")
        self.founding = self.proved = False
        self._asks.append(our.Hello(HUB_VERSION, FEATURES, "sandpiper"))

    def lost(self, reason: str, now: float, *, final: bool = False) -> None:
        """There is no connection, or not any more; `final`: do not try again."""
        if self.phase in ("down", "over"):
            return
        self.phase = "down"
        self._asks.clear()
        if self._up_since is not None and now >= self._up_since + STABLE_SECONDS:
            self._backoff.reset()
        self._up_since = None
        for room in self.rooms.values():
            room.lost()
        self._paging = self._page_at = None
        self._in_flight = 0
        for client_id, unsaid in list(self._unsaid.items()):
            if unsaid.sent and self.founding:  # nothing tells such a hub that it had this already
                self._not_said(client_id, "unsure", "The connection was lost; it may have been said, or not.")
            unsaid.sent = False
        code = self._last_error.code
        if self._last_error.text:
            reason = self._last_error.text
        if final or code in FINAL:
            self._end(reason)
            return
        wait = self._backoff.next(self._rng)
        self._redial = now + wait
        self._tell(told.HubDown(reason, wait))

    def _cut(self, reason: str, now: float, *, final: bool = False) -> None:
        self._tell(told.HubHangUp(reason))
        self.lost(reason, now, final=final)

    def _end(self, reason: str) -> None:
        self.phase, self._redial = "over", None
        for client_id in list(self._unsaid):
            self._not_said(client_id, "over", reason)
        self._tell(told.HubDown(reason, None))

    def again(self, now: float) -> None:
        """Try at once, whatever the wait was: the person wants it, or the network has changed."""
        if self.phase in ("down", "over"):
            self._backoff.reset()
            self.phase, self._redial = "down", now

    def close(self, now: float) -> None:
        """Leave the hub for good."""
        if self.phase != "over":
            if self.phase not in ("down", "dialling"):
                self._tell(told.HubHangUp("left"))
            self._last_error = their.Error("")
            self._end("You have left it.")

    # ------------------------------------------------------------ who we are

    def _is_founding(self, now: float) -> None:
        """It does not know hello."""
        self.founding = True
        self._ask_nick(self._wanted, now)

    def _ask_nick(self, nick: str, now: float) -> None:
        self.phase, self._by = "nick", now + self._times.nick
        self._asks.append(our.Nick(nick))

    def _hello(self, answer: their.HelloBack, now: float) -> None:
        if self.phase not in ("hello", "nick", "up") or (self.phase == "up" and not self.founding):
            return
        self.founding = False  # it may have been slow to answer
        self.hub = clean_line(answer.hub, 64)
        hub_id = answer.id if len(answer.id) == KEY_BYTES else b""
        if self._hub_id and hub_id != self._hub_id:
            self._cut(
                "Another hub answers at this address than before: its key is not the one we know.", now, final=True
            )
            return
        if hub_id and not self._hub_id:
            self._hub_id = hub_id
            self._tell(told.HubKnown(hub_id))
        # Without an id, a hub could use our signature at any other that has none.
        if self._signer is not None and "auth" in answer.features and hub_id:
            self.phase, self._by = "nick", now + self._times.nick
            self._asks.append(our.Auth(self._signer.key))
        else:
            self._ask_nick(self._wanted, now)

    def _challenge(self, answer: their.Challenge, now: float) -> None:
        if self._signer is None or self.phase != "nick" or self.proved or not 16 <= len(answer.nonce) <= 64:
            return
        signature = self._signer.sign(AUTH_DOMAIN + self._hub_id + answer.nonce)
        self._asks.append(our.Auth(self._signer.key, signature))
        self._ask_nick(self._wanted, now)

    def _nick_set(self, nick: str, now: float) -> None:
        changed, self.nick = self.nick != nick, nick
        if self.phase == "nick":
            self._settled(now)
        elif changed and self.phase == "up":
            self._tell(told.HubNick(nick, self._wanted))

    def _nick_refused(self, suggestion: str, text: str, now: float) -> None:
        """Take what the hub suggests, or a number behind it; in the end tell."""
        self._nick_tries += 1
        if self.phase == "up":
            self._wanted = self.nick
            self._tell(told.HubNote("", "nick_taken", text, refused=True))
        elif self._nick_tries <= MAX_NICK_TRIES:
            number = str(self._nick_tries + 1)
            other = clean_nick(suggestion) if suggestion else self._wanted[: MAX_NICK_CHARS - 1] + number
            self.nick = other
            self._ask_nick(other, now)
        else:
            self._tell(told.HubNote("", "nick_taken", text, refused=True))
            self._settled(now)

    def _settled(self, now: float) -> None:
        """We are called something: go where we want to be."""
        self.phase, self._up_since = "up", now
        self._heard, self._pinged = now, False
        self._tell(told.HubUp(self.hub, self.nick, self.founding, self.proved))
        if self.nick != self._wanted:
            self._tell(told.HubNick(self.nick, self._wanted))
        if self.founding:
            for name in [name for name in self.rooms if name != LOBBY]:
                del self.rooms[name]
                self._tell(told.HubRoomOut(name, "one_room", "This hub has one room, the lobby."))
            lobby = self.rooms.setdefault(LOBBY, HubRoom(LOBBY))
            lobby.inside = True
            self._tell(told.HubRoomIn(LOBBY, "", "", 0, False, 0, False))
        else:
            self._asks += [room.join() for room in self.rooms.values()]
        self._pump()

    # ------------------------------------------------------------ what comes

    def take(self, lines: Sequence[bytes], now: float) -> None:
        """Lines of the hub, without newlines."""
        for raw in lines:
            if self.phase in ("down", "over", "dialling"):
                return
            self._heard, self._pinged = now, False
            try:
                self._line(read(raw), now)
            except RemoteProtocolError as exc:
                self._strikes += 1
                if self._strikes >= MAX_STRIKES:
                    self._cut(f"That does not speak a hub's language: {exc}", now)

    def _line(self, line: Line, now: float) -> None:
        match line:
            case their.Error():
                self._error(line, now)
            case their.HelloBack():
                self._hello(line, now)
            case their.Challenge():
                self._challenge(line, now)
            case their.Authed():
                self.proved = True
            case their.NickSet(nick=nick):
                self._nick_set(clean_nick(nick), now)
            case FoundingNick() if self.phase == "nick":
                self._settled(now)
            case their.Pinged(n=n):
                self._asks.append(our.Pong(n))
            case their.Joined():
                self._joined(line, now)
            case their.Left(room=name, code=code, text=text):
                self._out_of(name, clean_line(code, 40), clean_line(text, 400), now)
            case their.Notice(room=name) if not self.founding:
                self._notice(name or LOBBY, line)
            case their.Notice(text=text) if self.phase == "up":
                self._tell(told.HubNote(LOBBY, "", text))
            case their.Said() if self.founding:
                self._heard_founding(line)
            case their.Said() | their.Edited() | their.Retracted() | their.Reacted():
                self._numbered(line.room, Numbered(line.seq, line), now)
            case their.TopicSet(room=name, seq=seq) if seq:
                self._numbered(name, Numbered(seq, line), now)
            case Unknown(room=name, seq=seq) if seq:
                self._numbered(name, Numbered(seq, None), now)
            case their.Ack(client_id=client_id, seq=seq):
                self._said(client_id, seq)
            case their.Page():
                self._page(line, now)
            case their.WhoList():
                self._who(line)
            case their.RoomList(rooms=rooms, more=more):
                shown = tuple(
                    their.RoomLine(clean_line(one.room, 32), one.members, clean_topic(one.topic), one.locked)
                    for one in rooms
                )
                self._tell(told.HubRooms(shown, more))
            case their.TypingSeen(nick=nick, room=name) if (name or LOBBY) in self.rooms:
                self._tell(told.HubTyping(name or LOBBY, clean_nick(nick)))
            case _:
                pass

    def _error(self, error: their.Error, now: float) -> None:
        code, suggestion = error.code, error.suggestion
        if code in FINAL or code in ("full", "closing", "too_many_errors", "silent", "half_line"):
            self._last_error = error  # why the connection ends, if it does
        if error.client_id in self._unsaid:
            self._not_said(error.client_id, code, error.text)
            self._pump()
        elif self.phase == "hello":
            if code in _NOT_UNDERSTOOD:
                self._is_founding(now)
        elif code in ("nick_taken", "bad_nick") or (self.founding and self.phase == "nick"):
            self._nick_refused(suggestion, error.text, now)
        elif code == "busy" and self._paging is not None and error.room in (self._paging.shown, self._paging.name):
            self._page_at = now + self._times.busy
        else:
            name = error.room or LOBBY
            room = self.rooms.get(name)
            if room is not None and not room.inside and code in _ROOM_REFUSED:
                self._last_error = their.Error("")
                self._out_of(name, code, error.text, now)
            else:
                self._tell(told.HubNote(name if room is not None else "", code, error.text, refused=True))

    # ------------------------------------------------------------ rooms

    def _joined(self, answer: their.Joined, now: float) -> None:
        room = self.rooms.get(answer.room or LOBBY)
        if room is None or not 0 <= answer.first <= answer.seq + 1:
            return
        room.joined(answer)
        room.topic, room.count = clean_topic(answer.topic), max(0, answer.members)
        self._tell(
            told.HubRoomIn(
                room.name, room.life, room.topic, room.count, answer.operator, answer.slowmode, answer.resumed
            )
        )
        self._asks.append(our.Who(room.shown))
        self._next_page(now)
        self._pump()

    def _out_of(self, name: str, code: str, text: str, now: float) -> None:
        room = self.rooms.pop(name or LOBBY, None)
        if room is None:
            return
        for client_id, unsaid in list(self._unsaid.items()):
            if unsaid.room == room.name:
                self._not_said(client_id, code or "left", text or "You have left the room.")
        self._tell(told.HubRoomOut(room.name, code, text))
        if self._paging is room:
            self._paging = self._page_at = None
            self._next_page(now)

    def _notice(self, name: str, notice: their.Notice) -> None:
        room = self.rooms.get(name)
        if notice.code == "closing":
            self._tell(told.HubNote("", "closing", notice.text))
        elif room is None or not room.inside:
            return
        elif notice.old and notice.new:
            member = room.members.pop(notice.old, None)
            room.members[notice.new] = their.Member(notice.new, member.operator if member is not None else False)
            self._tell(told.HubRenamed(name, notice.old, notice.new))
        elif notice.joined or notice.left or notice.members:
            for nick in notice.left:
                room.members.pop(nick, None)
            for nick in notice.joined:
                if len(room.members) < MAX_MEMBERS:
                    room.members.setdefault(nick, their.Member(nick))
            room.count = notice.members or max(1, room.count + len(notice.joined) - len(notice.left))
            self._tell(told.HubCame(name, notice.joined, notice.left, notice.members, notice.text))
        else:
            self._tell(told.HubNote(name, notice.code, notice.text))

    def _who(self, answer: their.WhoList) -> None:
        room = self.rooms.get(answer.room or LOBBY)
        if room is not None:
            members = tuple(believed_member(member) for member in answer.members[:MAX_MEMBERS])
            room.members = {member.nick: member for member in members}
            room.count = max(answer.count, len(members))
            self._tell(told.HubMembers(room.name, members, room.count))

    # ------------------------------------------------------------ what is said

    def _numbered(self, name: str, line: Numbered, now: float) -> None:
        room = self.rooms.get(name or LOBBY)
        if room is None or not room.inside or not line.seq:
            return
        behind = room.behind
        self._tell_lines(room, room.take(line))
        if room.behind and not behind:
            self._next_page(now)

    def _tell_lines(self, room: HubRoom, lines: Iterable[Numbered]) -> None:
        for seq, kept in lines:
            if kept is None:
                continue
            mine = self.proved and kept.nick == self.nick
            client_id = kept.client_id if isinstance(kept, their.Said) else ""
            if isinstance(kept, their.TopicSet):
                room.topic = kept.text
            ours = client_id in self._unsaid
            self._tell(told.HubHeard(room.name, room.life, seq, kept, mine or ours, seq <= room.before_us))
            if ours:
                self._said(client_id, seq)

    def _heard_founding(self, said: their.Said) -> None:
        if self.phase != "up" or not said.text.strip():
            return
        ours = next((one for one, unsaid in self._unsaid.items() if unsaid.sent and unsaid.msg.text == said.text), "")
        mine = bool(ours) and said.nick == self.nick
        self._tell(told.HubHeard(LOBBY, "", 0, said, mine, False))
        if mine:
            self._said(ours, 0)

    def _said(self, client_id: str, seq: int) -> None:
        unsaid = self._unsaid.pop(client_id, None)
        if unsaid is not None:
            self._in_flight -= unsaid.sent
            self._tell(told.HubSent(unsaid.room, client_id, seq))
            self._pump()

    def _not_said(self, client_id: str, code: str, reason: str) -> None:
        unsaid = self._unsaid.pop(client_id)
        self._in_flight -= unsaid.sent
        self._tell(told.HubUnsent(unsaid.room, client_id, unsaid.msg.text, code, reason))

    def _pump(self) -> None:
        """Say what waits, as far as the hub takes it."""
        if self.phase != "up" or self._in_flight >= WINDOW or len(self._unsaid) == self._in_flight:
            return
        for unsaid in self._unsaid.values():
            room = self.rooms.get(unsaid.room)
            if unsaid.sent or room is None or not room.inside or room.behind:
                continue
            unsaid.sent = True
            self._in_flight += 1
            self._asks.append(our.Msg(unsaid.msg.text) if self.founding else unsaid.msg)
            if self._in_flight >= WINDOW:
                return

    # ------------------------------------------------------------ what was missed

    def _next_page(self, now: float) -> None:
        """Ask for the next page that is missing, one at a time: a hub gives no more at once."""
        if self._paging is None:
            self._paging = next((room for room in self.rooms.values() if room.inside and room.behind), None)
            self._page_tries = 0
            if self._paging is not None:
                self._ask_page(now)

    def _ask_page(self, now: float) -> None:
        assert self._paging is not None
        self._page_at, self._page_by = None, now + self._times.page
        self._asks.append(self._paging.ask())

    def _page_failed(self, now: float) -> None:
        """It does not come."""
        assert self._paging is not None
        self._page_tries += 1
        if self._page_tries < MAX_PAGE_TRIES:
            self._ask_page(now)
        else:
            self._page_done(self._paging, self._paging.give_up(), now)

    def _page(self, page: their.Page, now: float) -> None:
        room = self._paging
        if room is None or self._page_at is not None or (page.room or LOBBY) != room.name:
            return
        if page.epoch != room.life.partition("~")[0]:
            return
        self._page_done(room, room.page(read_page(page.messages), more=page.more), now)

    def _page_done(self, room: HubRoom, got: tuple[list[Numbered], int], now: float) -> None:
        lines, missing = got
        if missing:
            self._tell(told.HubMissing(room.name, missing))
        self._tell_lines(room, lines)
        self._paging = None
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
        if self.phase == "over":
            raise UsageError("You are not on that hub any more; nothing was sent.", code="not_connected")
        if name not in self.rooms:
            raise UsageError(f"You are not in {name}.", code="not_in_room")
        if len(self._unsaid) >= MAX_UNSAID:
            raise UsageError(
                f"{MAX_UNSAID} messages wait for the hub already; this one was not sent.",
                hint="Try again when it is there.",
                code="too_many",
            )
        if self.founding and action:
            text, action = f"* {self.nick} {text}", False
        client_id = f"{self._rng.getrandbits(CLIENT_ID_BITS):0{CLIENT_ID_BITS // 4}x}"
        msg = our.Msg(text, self.rooms[name].shown, client_id, reply_to, action)
        self._unsaid[client_id] = _Unsaid(name, msg)
        self._pump()
        return client_id

    def unsaid(self, name: str = "") -> int:
        """How many of our messages (to a room, or to all) the hub has not confirmed."""
        return sum(not name or one.room == name for one in self._unsaid.values())

    def ask(self, ask: our.Ask) -> None:
        """Have the hub do anything else: list rooms, set a topic, change a message, an operator's command.

        Raises:
            UsageError: we are not connected, or the hub cannot do that.
        """
        if self.phase != "up":
            raise UsageError("The hub cannot be reached now.", hint="Try again in a moment.", code="not_connected")
        if self.founding:
            raise UsageError("This hub can do nothing but pass messages on.", code="founding_hub")
        self._asks.append(ask)

    def join(self, name: str, password: str = "", mark: Mark | None = None) -> None:
        """Be in a room (its name is normalised), now and after every reconnect.

        Raises:
            UsageError: we are in too many, or this hub has one room only.
        """
        if self.founding and self.phase == "up" and name != LOBBY:
            raise UsageError("This hub has one room, the lobby.", code="founding_hub")
        room = self.rooms.get(name)
        if room is None:
            if len(self.rooms) >= MAX_ROOMS:
                raise UsageError(f"You are in {MAX_ROOMS} rooms of this hub.", hint="Leave one first: /leave")
            room = self.rooms[name] = HubRoom(name, password, mark)
        room.password = password or room.password
        if self.phase == "up" and not self.founding and not room.inside:
            self._asks.append(room.join())

    def leave(self, name: str, now: float) -> None:
        """Be in a room no longer."""
        room = self.rooms.get(name)
        if room is not None:
            if self.phase == "up" and not self.founding:
                self._asks.append(our.Leave(room.shown))
            self._out_of(name, "", "", now)

    def rename(self, nick: str) -> None:
        """Be called `nick` (already checked) from now on, if the hub lets us."""
        self._wanted = nick
        if self.phase == "up":
            self._nick_tries = 0
            self._asks.append(our.Nick(nick))
            if self.founding:
                self.nick = nick
        elif self.phase in ("down", "dialling", "hello"):
            self.nick = nick
