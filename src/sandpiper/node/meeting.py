"""Rendezvous and relays of a node: registers its private rooms there, and makes links over bridges."""

from __future__ import annotations

import asyncio
import logging
import os
import random
import time
from functools import partial
from typing import TYPE_CHECKING

from sandpiper.core.events import PeerChanged, RoomChanged
from sandpiper.core.meeting import Answered, Cross, Meeting, Say, Wanted
from sandpiper.core.private import PrivateRoom
from sandpiper.core.rendezvous import Introduced, Offline, Online, Refused, Registered, RoomMade, RvNotice
from sandpiper.crypto.rooms import ROOM_SECRET_BYTES, meeting_tags
from sandpiper.errors import LinkError, LinkLost, LinkTimeout, RemoteProtocolError, SandpiperError, UsageError
from sandpiper.net.relays import NoRelay, RelayAddress, parse_relay
from sandpiper.net.rendezvous import RendezvousLink
from sandpiper.node.notices import MeetingNews, moment

if TYPE_CHECKING:
    from collections.abc import Callable

    from sandpiper.core.rendezvous import RoomName
    from sandpiper.net.links import Links
    from sandpiper.net.rendezvous import BridgePipe
    from sandpiper.node.door import Door
    from sandpiper.node.notices import NodeNotice
    from sandpiper.node.runner import Runner
    from sandpiper.wire.ids import PeerKey, RoomId

log = logging.getLogger(__name__)

MAX_RELAYS = 8  # at one time: a connection each
MAX_TAGS = 60  # at one rendezvous, which takes 64 rooms of a connection: the rest is for codes
MAX_BRIDGES = 32  # on their way at one time; the relay takes 64 halves of an address
MAX_KNOCKS = 8  # of these for joiners: whoever knows a nameplate can ask for them
LOOK_SECONDS = 60.0  # between two looks at which tags are those of today
NAMEPLATE_SECONDS = 12.0  # for a relay to give a nameplate: a far one answers within two


class Place:
    """One rendezvous, and what is known of it."""

    def __init__(self, relay: RelayAddress) -> None:
        self.relay = relay
        self.name = str(relay)
        self.guest: Introduced
        self.link: RendezvousLink
        self.task: asyncio.Task[None] | None = None
        self.registered: frozenset[RoomName] = frozenset()
        self.sought: dict[str, dict[str, None]] = {}
        """Nameplates that somebody here looks for, and who has said to answer for them."""
        self.refused: set[str] = set()
        """Nameplates of these that nobody has."""
        self.inside: set[RoomName] = set()
        """Where we are registered by now."""
        self.makes: list[asyncio.Future[str]] = []
        self.up = False
        self.down_told = False


class Meetings:
    """All of them. `changed` is called when `deadline` may be sooner than before."""

    def __init__(
        self,
        me: PeerKey,
        run: Runner,
        links: Links,
        door: Door,
        tasks: asyncio.TaskGroup,
        relays: tuple[RelayAddress, ...],
        changed: Callable[[], None],
    ) -> None:
        self._run = run
        self._me = me
        self._links = links
        self._tasks = tasks
        self._relays = relays
        self._changed = changed
        self._door = door
        self._places: dict[str, Place] = {}
        self._bridges: dict[asyncio.Task[None], Cross] = {}
        self._closing = False
        self._look_at = time.monotonic()
        self._moved = asyncio.Event()
        self._meeting = Meeting(me, random.SystemRandom(), os.urandom, self._secret, self._admits)
        run.subscribe(self._heard)
        run.codes_changed = self.look

    # ------------------------------------------------------------ what is wanted where

    @property
    def relays(self) -> tuple[RelayAddress, ...]:
        """Those of the settings."""
        return self._relays

    def views(self) -> tuple[Place, ...]:
        """The rendezvous that are in use."""
        return tuple(self._places.values())

    def look(self) -> None:
        """See where we should be registered now, and have it so."""
        if self._closing:
            return
        now = moment()
        self._look_at = now.mono + LOOK_SECONDS
        wanted = self._all_wanted()
        for known in list(self._places.values()):
            wanted.setdefault(known.name, (known.relay, Wanted()))
        for name, (relay, want) in wanted.items():
            place = self._places.get(name)
            if place is None:
                if not want.names() or len(self._places) >= MAX_RELAYS:
                    continue
                place = self._begin(relay)
            want = Wanted(want.tags, want.answered, frozenset(place.sought))
            self._meeting.want(name, want)
            names = want.names()
            for gone in place.registered - names:
                place.inside.discard(gone)
                place.guest.leave(gone)
            for new in names - place.registered:
                place.guest.register(new, keep=new in want.answered)
            place.registered = names
            if names or place.makes:
                place.link.carry_out()
            else:
                self._end(place)
        self._do()

    def _all_wanted(self) -> dict[str, tuple[RelayAddress, Wanted]]:
        """For each rendezvous, by its name, what our rooms want of it."""
        now = moment()
        out: dict[str, tuple[RelayAddress, Wanted]] = {}
        for room in self._run.engine.rooms():
            if not isinstance(room, PrivateRoom) or not room.roster.admits(self._me):
                continue
            codes = (*self._run.codes.nameplates(room.id, now), *self._run.codes.shut(room.id, now))
            for relay in self.relays_of(room):
                name = str(relay)
                _, before = out.get(name, (relay, Wanted()))
                tags = dict(before.tags)
                if len(room.secret) == ROOM_SECRET_BYTES:
                    tags |= dict.fromkeys(meeting_tags(room.secret, now.wall_ms), room.id)
                tags = dict(list(tags.items())[:MAX_TAGS])
                answered = before.answered | {plate for plate, where in codes if where == name}
                out[name] = (relay, Wanted(tags, answered))
        return out

    def relays_of(self, room: PrivateRoom) -> tuple[RelayAddress, ...]:
        """Where the members of a room meet: its own relay first."""
        if not room.relay:
            return self._relays
        try:
            own = parse_relay(room.relay)
        except UsageError:
            return self._relays
        return (own, *(one for one in self._relays if str(one) != str(own)))

    def place(self, relay: RelayAddress) -> Place:
        """The rendezvous at `relay`, connected to or on its way; for whoever has something to wish there.

        Raises:
            UsageError: there are too many.
        """
        place = self._places.get(str(relay))
        if place is None:
            if len(self._places) >= MAX_RELAYS:
                raise UsageError(f"{MAX_RELAYS} relays are in use.", hint="Name one of those with --relay.")
            place = self._begin(relay)
        return place

    def _begin(self, relay: RelayAddress) -> Place:
        place = self._places[str(relay)] = Place(relay)
        place.guest = Introduced(random.SystemRandom(), asyncio.get_running_loop().time())
        place.link = RendezvousLink((relay,), place.guest, partial(self._told, place))
        place.task = self._tasks.create_task(place.link.run(), name=f"rendezvous {relay}")
        return place

    def _end(self, place: Place) -> None:
        place.link.close()
        self._places.pop(place.name, None)
        self._meeting.told(place.name, Offline("", 0.0), time.monotonic())

    async def close(self) -> None:
        """Leave all of them, and whatever bridges are on their way."""
        self._closing = True
        for task in tuple(self._bridges):
            task.cancel()
        places = list(self._places.values())
        for place in places:
            place.link.close()
        await asyncio.gather(*(place.task for place in places if place.task is not None))

    # ------------------------------------------------------------ time

    def deadline(self) -> float | None:
        """When `tick` has something to do."""
        due = self._meeting.deadline()
        return self._look_at if due is None else min(due, self._look_at)

    def tick(self) -> None:
        """Look again at what is wanted, and try again what failed."""
        now = time.monotonic()
        if now >= self._look_at:
            self.look()
        self._meeting.tick(now)
        self._do()

    # ------------------------------------------------------------ what is told

    def _secret(self, room: RoomId) -> bytes:
        found = self._run.engine.room(room)
        return found.secret if isinstance(found, PrivateRoom) else b""

    def _admits(self, room: RoomId, key: PeerKey) -> bool:
        found = self._run.engine.room(room)
        return isinstance(found, PrivateRoom) and found.roster.admits(key)

    def _heard(self, notice: NodeNotice) -> None:
        """What the node tells (a `Subscriber`)."""
        match notice:
            case PeerChanged(peer=peer, state="linked"):
                self._meeting.linked(peer)
            case PeerChanged(peer=peer):
                self._meeting.lost(peer, time.monotonic())
                self._changed()
            case RoomChanged(kind="private"):
                asyncio.get_running_loop().call_soon(self.look)  # the engine is in the middle of something
            case _:
                pass

    def _told(self, place: Place, notice: RvNotice) -> None:
        """A rendezvous tells something."""
        match notice:
            case Online():
                place.up = True
                if place.down_told:
                    place.down_told = False
                    self._run.tell(MeetingNews("relay_up", f"The relay {place.name} is there again."))
            case Offline(reason=reason):
                place.up = False
                place.inside.clear()
                for answering in place.sought.values():
                    answering.clear()
                if not place.down_told and not self._closing and place.registered:
                    place.down_told = True
                    text = f"No connection to the relay {place.name}: {reason}"
                    self._run.tell(MeetingNews("relay_down", text, "It is tried again and again."))
            case RoomMade(code=nameplate) if place.makes:
                place.makes.pop(0).set_result(nameplate)
            case Registered(room=room):
                place.inside.add(room)
                place.refused.discard(room if isinstance(room, str) else "")
            case Refused(about="register_peer", room=str() as nameplate, code="no_room"):
                place.refused.add(nameplate)
                place.registered -= {nameplate}  # said again at the next look
            case Refused(code=code, text=text, about="create_room") if place.makes:
                place.makes.pop(0).set_exception(LinkLost(f"The relay {place.name} gives no code: {text}", code=code))
            case Refused(code=code, text=text):
                log.info("the rendezvous %s refuses (%s): %s", place.name, code, text)
            case _:
                pass
        self._meeting.told(place.name, notice, time.monotonic())
        self._moved.set()
        self._do()

    async def moved(self, seconds: float) -> None:
        """Wait until something has happened at a rendezvous, but not longer than that."""
        self._moved.clear()
        try:
            async with asyncio.timeout(seconds):
                await self._moved.wait()
        except TimeoutError:
            pass

    def _do(self) -> None:
        """What the meeting wants."""
        for effect in self._meeting.flush():
            match effect:
                case Say(place=name, peer=peer, data=data):
                    if name in self._places:
                        self._places[name].guest.signal(peer, data)
                        asyncio.get_running_loop().call_soon(self._places[name].link.carry_out)
                case Cross():
                    self._cross(effect)
                case Answered(place=name, nameplate=nameplate, peer=peer):
                    if name in self._places:
                        self._places[name].sought.get(nameplate, {})[peer] = None
        self._changed()

    # ------------------------------------------------------------ bridges

    def _cross(self, cross: Cross) -> None:
        place = self._places.get(cross.place)
        knocks = sum(one.peer is None for one in self._bridges.values())
        full = len(self._bridges) >= MAX_BRIDGES or (cross.peer is None and knocks >= MAX_KNOCKS)
        if place is None or self._closing or full:
            if cross.dial and cross.peer is not None:
                self._meeting.crossed(cross.peer, time.monotonic())
            return
        task = self._tasks.create_task(self._over(place, cross), name=f"bridge at {place.name}")
        self._bridges[task] = cross
        task.add_done_callback(lambda ended: self._bridges.pop(ended, None))

    async def _over(self, place: Place, cross: Cross) -> None:
        pipe: BridgePipe | None = None
        try:
            pipe = await place.link.bridge(cross.token)
            if cross.peer is not None:
                await self._links.over_relay(pipe, cross.peer, dial=cross.dial)
            elif (link := await self._door.serve(pipe, path="relay", relay=place.name)) is not None:
                self._links.adopt(link)
        except (LinkError, RemoteProtocolError) as exc:
            log.info("no link over the relay %s: %s", place.name, exc.sentence())
        except SandpiperError as exc:
            self._run.problem(exc.code, str(exc), exc.hint)
        except BaseException:
            if pipe is not None:
                pipe.abort()
            raise
        finally:
            if cross.dial and cross.peer is not None:
                self._meeting.crossed(cross.peer, time.monotonic())
                self._changed()

    # ------------------------------------------------------------ nameplates

    async def nameplate(self, relay: RelayAddress) -> str:
        """A nameplate that is ours at this rendezvous; register it by opening a code.

        Raises:
            LinkError: the relay cannot be reached, or gives none.
            UsageError: there are too many relays.
        """
        place = self.place(relay)
        made: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        place.makes.append(made)
        place.guest.create_room()
        place.link.carry_out()
        try:
            async with asyncio.timeout(NAMEPLATE_SECONDS):
                while not made.done():
                    if place.link.problem is not None and not place.up:
                        raise no_relay(place)
                    await self.moved(NAMEPLATE_SECONDS)
                return made.result()
        except TimeoutError as exc:
            raise LinkTimeout(f"The relay {place.name} does not give a code in time.", hint="Try again.") from exc
        finally:
            if made in place.makes:
                place.makes.remove(made)


def no_relay(place: Place) -> LinkError:
    """Why a rendezvous cannot be reached."""
    problem = place.link.problem
    text = str(problem) if problem is not None else f"No relay could be reached: {place.name} does not answer."
    hint = problem.hint if problem is not None else ""
    return NoRelay(text, hint=hint or "Check the address, and the connection to the internet.")
