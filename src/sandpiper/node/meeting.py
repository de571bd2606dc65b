"""Rendezvous and relays of a node: registers its private rooms there, and makes links over bridges."""

from __future__ import annotations

import asyncio
import logging
import os
import random
import time
from functools import partial
from typing import TYPE_CHECKING

from sandpiper.config import Address
from sandpiper.core.events import MemberChanged, PeerChanged, RoomChanged, Vouched
from sandpiper.core.meeting import Answered, Coordinate, Cross, DialAt, Known, Meeting, Offered, Say, Unlinked, Wanted
from sandpiper.core.private import PrivateRoom
from sandpiper.core.rate import Bucket
from sandpiper.core.rendezvous import (
    Came,
    CodeExpired,
    Introduced,
    Offline,
    Online,
    Refused,
    Registered,
    RoomMade,
    RvNotice,
    Went,
)
from sandpiper.core.vouching import vouch_of
from sandpiper.crypto.rooms import ROOM_SECRET_BYTES, meeting_tags
from sandpiper.crypto.signing import open_records
from sandpiper.errors import LinkError, LinkLost, RemoteProtocolError, SandpiperError, UsageError
from sandpiper.net.interfaces import own_addresses
from sandpiper.net.relays import RelayAddress, names, parse_relay
from sandpiper.net.rendezvous import RendezvousLink
from sandpiper.node.notices import MeetingNews, moment
from sandpiper.node.place import Place
from sandpiper.node.reaching import Reaching

if TYPE_CHECKING:
    from collections.abc import Callable

    from sandpiper.core.paths import Own
    from sandpiper.crypto.identity import Identity
    from sandpiper.net.links import Links
    from sandpiper.net.rendezvous import BridgePipe
    from sandpiper.node.door import Door
    from sandpiper.node.mapping import MappedPorts
    from sandpiper.node.notices import NodeNotice
    from sandpiper.node.runner import Runner
    from sandpiper.wire.ids import PeerKey, RoomId

log = logging.getLogger(__name__)

MAX_RELAYS = 8  # at one time: a connection each
MAX_ELSEWHERE = 3  # of these where only codes of others were given out, so that no member takes all of them
MAX_TAGS = 60  # at one rendezvous, which takes 64 rooms of a connection: the rest is for codes
MAX_BRIDGES = 24  # to members, on their way at one time; the relay takes 64 halves of an address
MAX_TO_ONE = 2  # of these to one member: the one that it waits at, and one more when it came back under another name
ANEW_RATE, ANEW_BURST = 1.0, 8.0  # bridges a second for joiners in the place of one that they had asked for before
MAX_KNOCKS = 8  # for joiners, besides: whoever knows a nameplate can ask for them
MAX_ANSWERING = 128  # who say to answer for one code: as many as a rendezvous lets into a room
LOOK_SECONDS = 60.0  # between two looks at which tags are those of today


class Meetings:
    """All of them. `changed` is called when `deadline` may be sooner than before."""

    def __init__(
        self,
        identity: Identity,
        run: Runner,
        links: Links,
        door: Door,
        tasks: asyncio.TaskGroup,
        relays: tuple[RelayAddress, ...],
        interfaces: tuple[str, ...],
        changed: Callable[[], None],
    ) -> None:
        self._run = run
        self._me = identity.key
        self._links = links
        self._tasks = tasks
        self._relays = relays
        self._changed = changed
        self._door = door
        self._places: dict[str, Place] = {}
        self._bridges: dict[asyncio.Task[bool], Cross] = {}
        self._anew = Bucket(ANEW_RATE, ANEW_BURST, time.monotonic())
        self._waiting: set[bytes] = set()  # tokens of these to which the other side has not come yet
        self.mapping: MappedPorts | None = None
        """Our ports on the router; None: it is not asked for any."""
        self._closing = self._looking = False
        self._passed_over: set[str] = set()  # relays of which was said that they are too many
        self._look_at = time.monotonic()
        self._moved = asyncio.Event()
        self._meeting = Meeting(
            identity, random.SystemRandom(), os.urandom, self._secret, self._admits, self._vouch, self._vouched
        )
        self.reaching = Reaching(identity, self._meeting, self._places, links, tasks, interfaces, self._do)
        self._reached: dict[PeerKey, tuple[PeerChanged, str]] = {}  # linked peers, and why so, as told last
        run.subscribe(self._heard, first=True)  # whoever is told of a link asks why it takes that way
        run.codes_changed = self._look_soon

    # ------------------------------------------------------------ what is wanted where

    @property
    def relays(self) -> tuple[RelayAddress, ...]:
        """Those of the settings."""
        return self._relays

    def views(self) -> tuple[Place, ...]:
        """The rendezvous that are in use."""
        return tuple(self._places.values())

    def _look_soon(self) -> None:
        """Once for all that happens now; the engine may be in the middle of something."""
        if not self._looking:
            self._looking = True
            asyncio.get_running_loop().call_soon(self.look)

    def look(self) -> None:
        """See where we should be registered now, and have it so."""
        self._looking = False
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
                if not want.names():
                    continue
                if len(self._places) >= MAX_RELAYS:
                    self._too_many(relay)
                    continue
                place = self._begin(relay)
            want = Wanted(want.tags, want.answered, frozenset(place.sought))
            self._meeting.want(name, want)
            wished = want.names()
            for gone in place.registered - wished:
                place.inside.discard(gone)
                place.guest.leave(gone)
            for new in wished - place.registered:
                place.guest.register(new, keep=new in want.answered)
            place.registered = wished
            if wished or place.makes:
                place.link.carry_out()
            else:
                self._end(place)
        self._do()

    def _all_wanted(self) -> dict[str, tuple[RelayAddress, Wanted]]:
        """For each rendezvous, by its name, what our rooms want of it."""
        now = moment()
        out: dict[str, tuple[RelayAddress, Wanted]] = {}
        elsewhere: dict[str, list[tuple[str, str]]] = {}  # codes, by where they were given out
        for room in self._run.engine.rooms():
            if not isinstance(room, PrivateRoom) or not room.roster.admits(self._me):
                continue
            codes = (*self._run.codes.nameplates(room.id, now), *self._run.codes.shut(room.id, now))
            for one in codes:
                elsewhere.setdefault(one[1], []).append(one)
            for relay in self.relays_of(room):
                name = relay.spelled
                _, before = out.get(name, (relay, Wanted()))
                tags = dict(before.tags)
                if len(room.secret) == ROOM_SECRET_BYTES:
                    tags |= dict.fromkeys(meeting_tags(room.secret, now.wall_ms), room.id)
                tags = dict(list(tags.items())[:MAX_TAGS])
                answered = before.answered | {plate for plate, where in codes if names(where, relay)}
                out[name] = (relay, Wanted(tags, answered))
        self._answer_elsewhere(elsewhere, out)
        return out

    def _answer_elsewhere(
        self, told: dict[str, list[tuple[str, str]]], out: dict[str, tuple[RelayAddress, Wanted]]
    ) -> None:
        """Where codes were given out by members whose settings are not ours: be there for those who come with them."""
        room_for = MAX_ELSEWHERE
        for where, codes in told.items():
            if room_for and where and not any(names(where, relay) for relay, _ in out.values()):
                try:
                    relay = parse_relay(where)
                except UsageError:
                    continue  # of a member with another version, or with nothing good in mind
                room_for -= 1
                out[relay.spelled] = (relay, Wanted({}, frozenset(plate for plate, at in codes if names(at, relay))))

    def _too_many(self, relay: RelayAddress) -> None:
        """Say once that this relay is one too many."""
        if relay.spelled not in self._passed_over:
            self._passed_over.add(relay.spelled)
            text = f"The relay {relay} is not used: {MAX_RELAYS} are in use, which is all."
            self._run.tell(MeetingNews("relays_full", text, "Leave a room that meets elsewhere, or name fewer relays."))

    def relays_of(self, room: PrivateRoom) -> tuple[RelayAddress, ...]:
        """Where the members of a room meet: its own relay first. Of one that the settings have as well, what they say
        counts: a pin, which others do not know.
        """
        if not room.relay:
            return self._relays
        try:
            own = parse_relay(room.relay)
        except UsageError:
            return self._relays
        own = next((one for one in self._relays if names(room.relay, one)), own)
        return (own, *(one for one in self._relays if one != own))

    def place(self, relay: RelayAddress) -> Place:
        """The rendezvous at `relay`, connected to or on its way; for whoever has something to wish there.

        Raises:
            UsageError: there are too many.
        """
        place = self._places.get(relay.spelled)
        if place is None:
            if len(self._places) >= MAX_RELAYS:
                raise UsageError(f"{MAX_RELAYS} relays are in use.", hint="Name one of those with --relay.")
            place = self._begin(relay)
        return place

    async def nameplate(self, relay: RelayAddress) -> str:
        """A nameplate of this rendezvous (see `Place.nameplate`).

        Raises:
            LinkError: it cannot be reached, or gives none.
            UsageError: there are too many.
        """
        return await self.place(relay).nameplate(self.moved)

    def _begin(self, relay: RelayAddress) -> Place:
        place = self._places[relay.spelled] = Place(relay)
        place.guest = Introduced(random.SystemRandom(), asyncio.get_running_loop().time())
        place.link = RendezvousLink((relay,), place.guest, partial(self._told, place))
        place.task = self._tasks.create_task(place.link.run(), name=f"rendezvous {relay}")
        return place

    def _end(self, place: Place) -> None:
        place.link.close()
        self._places.pop(place.name, None)
        self.reaching.left(place.name)
        if self.mapping is not None:
            self.mapping.offline(place.name)
        self._meeting.told(place.name, Offline("", 0.0), time.monotonic())

    async def close(self) -> None:
        """Leave all of them, and whatever bridges are on their way."""
        self._closing = True
        self.reaching.close()
        for task in tuple(self._bridges):
            task.cancel()
        places = list(self._places.values())
        for place in places:
            place.link.close()
        unmapped = () if self.mapping is None else (self.mapping.close(),)
        await asyncio.gather(*unmapped, *(place.task for place in places if place.task is not None))

    # ------------------------------------------------------------ time

    def deadline(self) -> float | None:
        """When `tick` has something to do."""
        times = (self._meeting.deadline(), self.reaching.paths.deadline(), self._look_at)
        return min(due for due in times if due is not None)

    def tick(self) -> None:
        """Look again at what is wanted, and try again what failed."""
        now = time.monotonic()
        if now >= self._look_at:
            self.look()
        self._meeting.tick(now)
        self.reaching.tick()
        self._do()

    def network_changed(self, own: frozenset[Own]) -> None:
        """Sleep is over, or our addresses are these by now: come back to all rendezvous, and look for better paths."""
        self.reaching.network_changed(own)
        if self.mapping is not None:
            self.mapping.again()
        addresses = frozenset(one.host for one in own_addresses() or own)  # also of interfaces without beacons
        for place in self.views():
            place.link.network_changed(addresses)
        self.tick()

    # ------------------------------------------------------------ what is told

    def _secret(self, room: RoomId) -> bytes:
        found = self._run.engine.room(room)
        return found.secret if isinstance(found, PrivateRoom) else b""

    def _admits(self, room: RoomId, key: PeerKey) -> bool:
        found = self._run.engine.room(room)
        return isinstance(found, PrivateRoom) and found.roster.admits(key)

    def _vouch(self, room: RoomId) -> tuple[bytes, ...]:
        found = self._run.engine.room(room)
        return vouch_of(found, self._me) if isinstance(found, PrivateRoom) else ()

    def _vouched(self, room: RoomId, key: PeerKey, records: tuple[bytes, ...]) -> None:
        try:
            self._run.do(Vouched(room, key, open_records(records, room)))
        except RemoteProtocolError as exc:
            log.info("somebody at a rendezvous shows what is no admission: %s", exc.code)
        except SandpiperError as exc:
            self._run.problem(exc.code, str(exc), exc.hint)

    def _heard(self, notice: NodeNotice) -> None:
        """What the node tells (a `Subscriber`)."""
        match notice:
            case PeerChanged(peer=peer, state="linked", path=path):
                self._meeting.linked(peer)
                self.reaching.paths.linked(peer, path, time.monotonic())
                self._reached[peer] = notice, self.reaching.paths.why(peer)
                self._changed()
            case PeerChanged(peer=peer):
                self._meeting.lost(peer, time.monotonic())
                self.reaching.paths.lost(peer, time.monotonic())
                self._reached.pop(peer, None)
                self._changed()
            case RoomChanged(kind="private"):
                self._look_soon()
            case MemberChanged(peer=peer) if peer == self._me:  # whoever is put out answers for nothing any more
                self._look_soon()
            case _:
                pass

    def _told(self, place: Place, notice: RvNotice) -> None:
        """A rendezvous tells something."""
        match notice:
            case Online(seen=seen):
                place.up, place.failures = True, 0
                self.reaching.online(place, seen)
                if self.mapping is not None and (way := place.link.way) is not None:
                    self.mapping.online(place.name, Address(way.host, way.port), seen)
                if place.down_told:
                    place.down_told = False
                    self._run.tell(MeetingNews("relay_up", f"The relay {place.shown} is there again."))
            case Offline(reason=reason):
                place.failures += not place.up
                place.up = False
                if self.mapping is not None:
                    self.mapping.offline(place.name)
                place.inside.clear()
                self._wait_no_more(place)
                for answering in place.sought.values():
                    answering.clear()
                renewing, place.renewing = place.renewing, False
                if not place.down_told and not self._closing and not renewing and place.registered:
                    place.down_told = True
                    text = f"No connection to the relay {place.shown}: {reason}"
                    self._run.tell(MeetingNews("relay_down", text, "It is tried again and again."))
            case RoomMade(code=nameplate) if place.makes:
                place.makes.pop(0).set_result(nameplate)
            case Registered(room=room, peers=peers):
                place.inside.add(room)
                if isinstance(room, str):
                    place.refused.discard(room)
                    answering = place.sought.get(room, {})
                    for gone in answering.keys() - set(peers):
                        del answering[gone]
                    if peers:
                        self._expect_bridge(place)
            case Came(room=str() as room) if room not in place.sought:
                self._expect_bridge(place)  # it may come with a code, and we answer for it
            case Went(room=room, peer=peer):
                self._wait_no_more(place, peer)
                if isinstance(room, str):
                    place.sought.get(room, {}).pop(peer, None)
            case Refused(about="register_peer", room=str() as room, code="no_room") if room in place.registered:
                place.refused.add(room)
                place.registered -= {room}  # said again at the next look
            case CodeExpired(code=code):
                place.inside.discard(code)
                place.refused.add(code)
                place.registered -= {code}
            case Refused(code=code, text=text, about="create_room", room="") if place.makes:
                place.makes.pop(0).set_exception(LinkLost(f"The relay {place.shown} gives no code: {text}", code=code))
            case Refused(code=code, text=text):
                log.info("the rendezvous %s refuses (%s): %s", place.shown, code, text)
            case _:
                pass
        self._meeting.told(place.name, notice, time.monotonic())
        self._moved.set()
        self._do()

    def _expect_bridge(self, place: Place) -> None:
        place.link.prepare()
        self._door.prepare()

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
        while effects := self._meeting.flush():
            for effect in effects:
                match effect:
                    case Say(place=name, peer=peer, data=data):
                        if name in self._places:
                            self._places[name].guest.signal(peer, data)
                            asyncio.get_running_loop().call_soon(self._places[name].link.carry_out)
                    case Coordinate(place=name, name=peer):
                        if name in self._places:
                            self._places[name].guest.coordinate(peer, ())  # ours are in the offer, sealed
                            asyncio.get_running_loop().call_soon(self._places[name].link.carry_out)
                    case Cross():
                        self._cross(effect)
                    case Answered(place=name, nameplate=nameplate, peer=peer):
                        if name in self._places:
                            answering = self._places[name].sought.get(nameplate, {})
                            if len(answering) < MAX_ANSWERING:
                                answering[peer] = None
                    case Known() | Offered() | DialAt() | Unlinked():
                        self.reaching.heard(effect)
            self.reaching.tick()
        for key, (notice, told) in list(self._reached.items()):
            if self.reaching.paths.why(key) != told:
                self._run.tell(notice)  # again: the reason is another one
        self._changed()

    # ------------------------------------------------------------ bridges

    def _cross(self, cross: Cross) -> None:
        place = self._places.get(cross.place)
        if place is not None and cross.peer is None and self._awaits(place, cross.name):
            if not self._anew.take(time.monotonic()):
                return
            self._wait_no_more(place, cross.name)  # that joiner was not able to come to the one before
        under = [one.peer for one in self._bridges.values()]
        knocks, same = under.count(None), under.count(cross.peer)
        full = knocks >= MAX_KNOCKS if cross.peer is None else same >= MAX_TO_ONE or len(under) - knocks >= MAX_BRIDGES
        if place is None or self._closing or full:
            self._meeting.crossed(cross, time.monotonic())
            return
        task = self._tasks.create_task(self._over(place, cross), name=f"bridge at {place.shown}")
        self._bridges[task] = cross
        self._waiting.add(cross.token)
        task.add_done_callback(self._over_now)

    def _awaits(self, place: Place, name: str) -> list[asyncio.Task[bool]]:
        """Bridges at which somebody with this name is waited for; no name: any member."""
        return [
            task
            for task, cross in self._bridges.items()
            if cross.place == place.name and cross.token in self._waiting
            and (cross.name == name if name else cross.peer is not None)
        ]  # fmt: skip

    def _wait_no_more(self, place: Place, name: str = "") -> None:
        """Whoever was to come to a bridge has gone from the rendezvous (or we have: then all members there), and may be
        back there at once: no bridge that waits for its old name takes the place of the next.
        """
        for task in self._awaits(place, name):
            task.cancel()

    def _over_now(self, task: asyncio.Task[bool]) -> None:
        cross = self._bridges.pop(task)
        self._waiting.discard(cross.token)
        made = not task.cancelled() and task.exception() is None and task.result()
        self._meeting.crossed(cross, time.monotonic(), made=made)
        self._changed()

    async def _over(self, place: Place, cross: Cross) -> bool:
        """True: it has led to a link with a member."""
        pipe: BridgePipe | None = None

        async def bridge(first: bytes = b"") -> BridgePipe:
            nonlocal pipe
            pipe = await place.link.bridge(cross.token, first=first)
            self._waiting.discard(cross.token)
            return pipe

        try:
            if cross.peer is not None:
                return await self._links.over_relay(await bridge(), cross.peer, dial=cross.dial)
            if (let_in := await self._door.across(cross.nameplate, place.relay, bridge)) is not None:
                self._links.adopt(*let_in)
        except (LinkError, RemoteProtocolError) as exc:
            log.info("no link over the relay %s: %s", place.shown, exc.sentence())
        except SandpiperError as exc:
            self._run.problem(exc.code, str(exc), exc.hint)
        except BaseException:
            if pipe is not None:
                pipe.abort()
            raise
        return False
