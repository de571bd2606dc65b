"""What hubs tell, kept in the history and told to faces: nothing is told before it is on disk."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING

from msgspec.structs import replace

from sandpiper.core import hubevents as told
from sandpiper.core.events import RoomChanged, SaveRoom, TypingSeen
from sandpiper.core.hubroom import Mark
from sandpiper.errors import StoreError, UsageError
from sandpiper.node.notices import HubChange, HubNews, PasswordWanted, PlainMessage, Problem
from sandpiper.node.onhub import hub_author, hub_message
from sandpiper.store.hubs import HubMessage, HubPlace
from sandpiper.wire.hub import answers as their
from sandpiper.wire.hub import asks as our
from sandpiper.wire.records import Edit, React, Retract

if TYPE_CHECKING:
    from collections.abc import Callable

    from sandpiper.core.hubevents import HubNotice
    from sandpiper.core.room import Room
    from sandpiper.crypto.identity import Identity
    from sandpiper.node.notices import NodeNotice
    from sandpiper.node.onhub import OnHub
    from sandpiper.node.runner import Runner
    from sandpiper.wire.ids import PeerKey, RoomId

log = logging.getLogger(__name__)

MAX_NICKS = 4096  # of a room, those heard of last: four times what a hub lists; a nick is changed in a moment


class Hearing:
    """The ear of a node on its hubs: `take` everything that a guest tells, then `settle`.

    When the disk fails, the history forgets all since the last `settle`, and so do we: it is not told, and the guest
    fetches it again after a while.
    """

    def __init__(
        self, identity: Identity, run: Runner, left: dict[RoomId, tuple[OnHub, str]], emptied: Callable[[OnHub], None]
    ) -> None:
        """`left`: where the rooms are; one that we are put out of is taken from it. `emptied` is told, a moment later,
        of a hub that we are in no room of any more.
        """
        self.closing = False
        self._me = identity.key
        self._run = run
        self._where = left
        self._emptied = emptied
        self._notices: list[NodeNotice] = []

    def take(self, hub: OnHub, notice: HubNotice) -> None:
        """Keep and gather."""
        try:
            if isinstance(notice, told.HubHeard):
                self._hear(hub, notice)
            else:
                self._take(hub, notice)
        except StoreError as exc:
            self._failed(hub, exc)

    def settle(self, hub: OnHub) -> None:
        """Have it on disk, then tell it."""
        if not self._notices and not hub.places and hub.unkept is None:
            return
        try:
            if hub.unkept is None:
                for room, place in hub.places.items():
                    self._run.history.save_hub_place(room, place)
            self._run.history.commit()
        except StoreError as exc:
            self._failed(hub, exc)
        places, hub.places = hub.places, {}
        said, hub.said = hub.said, []
        unkept, hub.unkept = hub.unkept, None
        notices, self._notices = self._notices, []
        if unkept is None:
            hub.kept.update(places)
        else:
            again = unkept | places.keys()
            hub.unkept_said.update(said)
            self._hear_again(hub, again)
            notices = [one for one in notices if not (isinstance(one, PlainMessage | HubChange) and one.room in again)]
        for notice in notices:
            self._run.tell(notice)

    def _failed(self, hub: OnHub, error: StoreError) -> None:
        log.warning("hub %s: %s %s", hub.address, error, error.hint)
        hub.unkept = hub.unkept or set()
        self._notices.append(Problem(error.code, str(error), error.hint))

    def _hear_again(self, hub: OnHub, rooms: set[RoomId]) -> None:
        """Have the guest fetch what could not be kept."""
        now = asyncio.get_running_loop().time()
        for room in rooms:
            where = self._where.get(room)
            if where is not None:
                place = hub.kept.get(room) or HubPlace()
                hub.guest.not_kept(Mark(where[1], place.life, place.last), now)

    def key(self, hub: OnHub, room: Room, nick: str) -> PeerKey:
        """What stands for the key of somebody in a hub's room."""
        key = hub_author(hub.address, nick)
        room.nicks.pop(key, None)
        room.nicks[key] = nick
        if len(room.nicks) > MAX_NICKS:
            del room.nicks[next(iter(room.nicks))]
        return key

    # ------------------------------------------------------------ inside

    def _news(self, hub: OnHub, name: str, code: str, text: str, hint: str = "", *, coming: bool = False) -> None:
        room = hub.rooms.get(name)
        self._notices.append(HubNews(room.id if room is not None else None, code, text, hint, coming))

    def _take(self, hub: OnHub, notice: HubNotice) -> None:
        match notice:
            case told.HubUp() | told.HubDown() | told.HubKnown() | told.HubNick():
                self._connection(hub, notice)
            case told.HubRoomIn(room=name, topic=topic):
                if name in hub.rooms:
                    hub.rooms[name].topic = topic
            case told.HubRoomOut(code=code) if code in told.LOCKED:
                pass  # a password is asked for, and the room stays until the person leaves it
            case told.HubRoomOut(room=name, code=code, text=text):
                self.out_of(hub, name, code, text)
            case told.HubLocked(room=name, text=text, wrong=wrong):
                label = f"#{hub.label(name)}" if name else hub.address.label
                hub.locked = hub.locked or not name
                self._notices.append(PasswordWanted(hub.address, name, label, text, wrong))
            case told.HubUnsent(room=name, text=text, reason=reason):
                problem = f"Not sent to #{hub.label(name)}: {reason}"
                self._notices.append(Problem("unsent", problem, f"It was: {text}"))
            case told.HubMissing(room=name):
                text = "Some older messages that were said while you were away are not here."
                self._news(hub, name, "hub_missing", text)
            case told.HubCaughtUp(room=name, received=received):
                text = "1 older message is here now." if received == 1 else f"{received} older messages are here now."
                self._news(hub, name, "caught_up", text)
            case told.HubCame(room=name, text=text):
                self._news(hub, name, "hub_presence", text, coming=True)
            case told.HubRenamed(room=name, old=old, new=new):
                self._news(hub, name, "hub_presence", f"{old} is now called {new}", coming=True)
            case told.HubTyping(room=name, nick=nick) if (room := hub.rooms.get(name)) is not None:
                self._notices.append(TypingSeen(room.id, self.key(hub, room, nick)))
            case told.HubRooms():
                hub.rooms_came(notice)
            case told.HubFound():
                hub.find_came(notice)
            case told.HubNotFound(code=code, text=text):
                hub.find_came(UsageError(text or "The hub could not search.", code=code or "no_search"))
            case told.HubNote(room=name, code=code, text=text, refused=True):
                self._notices.append(Problem(code or "hub", f"{hub.address.label}: {text}"))
            case told.HubNote(code="busy", text=text):
                text = f"{hub.address.label}: {text} What you write waits, and is said when the hub takes it."
                self._news(hub, "", "hub_busy", text)
            case told.HubNote(room=name, code=code, text=text):
                shown = f"{hub.address.label}: {text}" if code in ("motd", "closing") else text
                self._news(hub, name, code or "hub", shown, coming=not code)
            case _:
                pass

    def _connection(self, hub: OnHub, notice: told.HubUp | told.HubDown | told.HubKnown | told.HubNick) -> None:
        label = hub.address.label
        match notice:
            case told.HubUp(nick=nick, founding=founding):
                hub.down_told = hub.locked = False
                self._news(hub, "", "hub_up", f"On {label} as {nick}. HUB: it can read all that is said there.")
                if not founding:
                    hub.guest.ask(our.Rooms())  # for whoever wants to know where to go
            case told.HubDown(reason=reason, seconds=None, code=code):
                hub.gone()
                if hub.rooms and not self.closing and not hub.locked:
                    scheme = "tls" if hub.address.tls or code == "tls_only" else "hub"
                    hint = f"To try again: /connect {scheme}://{hub.address.label}"
                    self._notices.append(Problem("hub_down", f"{label}: {reason}", hint))
            case told.HubDown(reason=reason):
                hub.gone()
                if not hub.down_told:
                    hub.down_told = True
                    text = f"No connection to {label}: {reason}"
                    self._news(hub, "", "hub_down", text, "It is tried again and again; what you write is sent then.")
            case told.HubKnown(id=key):
                self.remember(hub, key=key)
            case told.HubNick(nick=nick, wanted=wanted):
                text = f"You are {nick} on {label}" + (f": {wanted} is taken." if wanted != nick else ".")
                self._news(hub, "", "hub_nick", text)

    def remember(self, hub: OnHub, *, key: bytes | None = None, trust: str | None = None) -> None:
        """What was found at the hub's address of now.

        Raises:
            StoreError: the disk failed.
        """
        address, history = str(hub.link.place), self._run.history
        known = history.hub(address)
        if key is not None:
            known = known._replace(id=key)
        if trust is not None:
            known = known._replace(trust=trust)
        history.save_hub(address, known)
        history.commit()

    def out_of(self, hub: OnHub, name: str, code: str = "", text: str = "") -> None:
        """We are not in a room any more, and do not mean to be."""
        room = hub.rooms.pop(name, None)
        if room is None:
            return
        self._where.pop(room.id, None)
        hub.places.pop(room.id, None)
        hub.kept.pop(room.id, None)
        self._run.history.save_room(SaveRoom(room.id, room.name, "hub", None, joined=False))
        if code:
            self._notices.append(Problem(code, f"You are not in #{room.name}: {text}"))
        self._notices.append(RoomChanged(room.id, room.name, "hub", None, joined=False))
        if not hub.rooms:
            asyncio.get_running_loop().call_soon(self._emptied, hub)

    # ------------------------------------------------------------ what is said

    def _hear(self, hub: OnHub, heard: told.HubHeard) -> None:
        room = hub.rooms.get(heard.room)
        if room is None:
            return
        if hub.unkept is not None and heard.seq:
            hub.unkept.add(room.id)  # what came before it is not kept: this comes again after that
        client_id = heard.kept.client_id if isinstance(heard.kept, their.Said) and heard.seq else ""
        if client_id in hub.unkept_said:
            hub.unkept_said.discard(client_id)
            heard = replace(heard, mine=True)
        if heard.mine and client_id:
            hub.said.append(client_id)
        if hub.unkept is None or not heard.seq:
            try:
                self._heard(hub, heard)
            except StoreError:
                if heard.seq:
                    hub.unkept = {room.id}
                raise

    def _heard(self, hub: OnHub, heard: told.HubHeard) -> None:
        name, kept = heard.room, heard.kept
        room = hub.rooms.get(name)
        if room is None:
            return
        match kept:
            case their.Said():
                self._said(hub, room, heard, kept)
            case their.TopicSet(text=text, nick=nick):
                room.topic = text
                if not heard.history:
                    self._news(hub, name, "hub_topic", f"{nick} set the topic: {text}")
            case their.Edited(id=number, text=text) if text:  # else it was taken back later
                self._changed(hub, room, heard, Edit(hub_message(room.id, heard.life, number), text))
            case their.Retracted(id=number):
                self._changed(hub, room, heard, Retract(hub_message(room.id, heard.life, number)))
            case their.Reacted(id=number, emoji=emoji, on=on):
                self._changed(hub, room, heard, React(hub_message(room.id, heard.life, number), emoji, add=on))
            case _:
                pass
        if heard.seq:
            hub.places[room.id] = HubPlace(heard.life, heard.seq, hub.clocks[name])

    def _changed(self, hub: OnHub, room: Room, heard: told.HubHeard, body: Edit | Retract | React) -> None:
        kept = heard.kept
        mine = heard.mine or kept.nick == hub.guest.nick
        author = self._me if mine else self.key(hub, room, kept.nick)
        self._run.history.change_hub(room.id, author, kept.nick, body, mine=mine)
        when = min(kept.ts * 1000, time.time_ns() // 1_000_000)
        self._notices.append(HubChange(room.id, author, kept.nick, when, body, mine=mine, history=heard.history))

    def _said(self, hub: OnHub, room: Room, heard: told.HubHeard, said: their.Said) -> None:
        now = time.time_ns() // 1_000_000
        when = min(said.ts * 1000, now)
        # The hub's order is kept, whatever its clock says.
        clock = hub.clocks[heard.room] = max(when, hub.clocks[heard.room] + 1)
        if heard.seq:
            message = hub_message(room.id, heard.life, heard.seq)
        else:
            hub.count += 1
            message = hub_message(room.id, f"{now}", hub.count)
        reply_to = hub_message(room.id, heard.life, said.reply_to) if said.reply_to else b""
        author = self._me if heard.mine else self.key(hub, room, said.nick)
        row = HubMessage(
            message, author, said.nick, clock, when, said.text, said.action, reply_to, heard.mine, heard.seq
        )
        try:
            self._run.history.append_hub(room.id, row)
        except StoreError as exc:
            if heard.seq:
                raise
            self._failed(hub, exc)  # a founding hub cannot be asked again: better told than lost
        if not said.text:  # it was taken back before we came to read it
            self._run.history.change_hub(room.id, author, said.nick, Retract(message), mine=heard.mine)
            return
        self._notices.append(
            PlainMessage(
                room.id,
                message,
                author,
                said.nick,
                when,
                said.text,
                said.action,
                reply_to,
                mine=heard.mine,
                history=heard.history,
                hub=True,
                clock=clock,
            )
        )
