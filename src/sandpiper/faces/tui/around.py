"""A picture of everything around the transcript: who we are, the rooms, and who is here or was."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from sandpiper.core.events import CatchUp, Gap, PeerChanged, RoomChanged
from sandpiper.crypto.rooms import direct_room
from sandpiper.faces.sentences import where_reached
from sandpiper.faces.tui.views import Around, HubSide, Membering, Missing, PeerView, RoomView, Us, Who
from sandpiper.store.marks import UNREAD

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sandpiper.core.room import Room
    from sandpiper.faces.people import People
    from sandpiper.faces.tui.naming import Naming
    from sandpiper.faces.tui.unread import Unread
    from sandpiper.node import Node, NodeNotice
    from sandpiper.node.onhub import HubView
    from sandpiper.store.profile import Profile
    from sandpiper.store.reader import PeerRow
    from sandpiper.wire.ids import PeerKey, RoomId

MAX_PEOPLE = 100  # of a hub's room: a sidebar that is scrolled through
MAX_GONE = 30  # people shown who are not here: those seen last; a sidebar has few lines more

# Round trips swing all the time; what changes less than this is no news.
RTT_CHANGE = 0.2  # of what was told
RTT_SECONDS = 0.001


class Surroundings:
    """Keeps what an `Around` needs beyond what the node says when asked."""

    def __init__(self, node: Node, profile: Profile, people: People, naming: Naming, unread: Unread) -> None:
        self._node = node
        self._profile = profile
        self._people = people
        self._naming = naming
        self._unread = unread
        self._address = ""
        self._seen: dict[PeerKey, int] = {}  # everybody ever linked and when they were last, ms since 1970
        self._missing: dict[RoomId, dict[PeerKey, int]] = {}
        self._fetching: dict[RoomId, int] = {}
        self._rtt: dict[PeerKey, float] = {}  # as told
        self.shown: RoomId | None = None
        """The room on the screen: peers have the colours that they have there."""
        self.opened: set[RoomId] = set()
        """The rooms that the person has gone to in this run."""

    def knows(self, peers: Iterable[PeerRow]) -> None:
        """Everybody ever linked, as the history has them."""
        self._seen.update((peer.key, peer.last_seen) for peer in peers if peer.last_seen)

    def learn(self, notice: NodeNotice) -> None:
        """Take in what happened."""
        match notice:
            case Gap(room=room, author=author, missing=missing):
                holes = self._missing.setdefault(room, {})
                holes.pop(author, None)
                if missing:
                    holes[author] = missing
            case CatchUp(room=room, missing=missing):
                self._fetching.pop(room, None)
                if missing:
                    self._fetching[room] = missing
            case RoomChanged(room=room, joined=False):
                self._missing.pop(room, None)
                self._fetching.pop(room, None)
            case PeerChanged(peer=peer, state="lost"):
                self._seen[peer] = time.time_ns() // 1_000_000
                self._rtt.pop(peer, None)
            case _:
                pass

    def fetched(self, room: RoomId) -> None:
        """One of the older messages that are on their way is here."""
        if self._fetching.get(room, 0) > 1:
            self._fetching[room] -= 1

    def look_at_interfaces(self) -> None:
        """Find out anew where others reach us."""
        self._address = where_reached(self._node.settings, self._node.port)

    def picture(self) -> Around:
        """Everything as it is now."""
        listed = filter(self._is_listed, self._node.rooms())
        rooms = sorted(listed, key=lambda room: room.kind != "open")  # stable: as joined
        peers = (*self._here(), *self._known(rooms))
        hubs = {room: view for view in self._node.hubs.views() for room in view.rooms}
        views = tuple(self._room(room, hubs.get(room.id)) for room in rooms)
        return Around(self._us(), views, peers, self._node.ignored, self._node.hubs.elsewhere())

    # ------------------------------------------------------------ parts of it

    def _is_listed(self, room: Room) -> bool:
        """False for a direct room in which nobody but the other one, whom the person ignores, has ever been: writing
        to us is no way to be seen after all.
        """
        if room.peer is None or not self._people.hidden(room.peer) or room.id in self.opened:
            return True
        return self._unread.read_up_to(room.id) != UNREAD or room.head_seq(self._node.key) > 0

    def _us(self) -> Us:
        node, profile = self._node, self._profile
        return Us(
            key=node.key,
            nick=node.nick,
            status=node.status,
            temporary=profile.temporary,
            address=self._address,
            port=node.port,
            multicast=node.settings.multicast,
        )

    def _room(self, room: Room, hub: HubView | None) -> RoomView:
        unread, mentions = self._unread.counts(room.id)
        fetching = self._fetching.get(room.id, 0)
        holes = {} if fetching else self._missing.get(room.id, {})
        return RoomView(
            id=room.id,
            label=self._people.label(room),
            kind=room.kind,
            peer=room.peer,
            topic=room.topic,
            others=len(self._people.here(room.id)),
            unread=unread,
            mentions=mentions,
            read=self._unread.read_up_to(room.id),
            fetching=fetching,
            missing=tuple(
                Missing(self._people.name(key, room.id), count)
                for key, count in sorted(holes.items())
                if not self._people.hidden(key)
            ),
            hub=self._hub_side(room.id, hub) if hub is not None else None,
            held_back=tuple(self._people.name(key, room.id) for key in self._node.trust.held_back(room.id)),
            members=self._members(room.id) if room.id == self.shown else (),
        )

    def _members(self, room: RoomId) -> tuple[Membering, ...]:
        """Who is a member of a private room: those here first, then by role and name."""
        node, here = self._node, {self._node.key, *self._node.members(room)}
        found = [
            Membering(self._naming.who(key, room), role, key in here, key == node.key)
            for key, role in node.roles(room).items()
        ]
        order = {"owner": 0, "admin": 1, "member": 2}
        found.sort(key=lambda one: (not one.here, order[one.role], one.who.name.casefold(), one.who.name))
        return tuple(found[:MAX_PEOPLE])

    def _hub_side(self, room: RoomId, hub: HubView) -> HubSide:
        here = self._people.here(room)[:MAX_PEOPLE] if room == self.shown else ()
        people = sorted(
            (Who(self._people.name(key, room), self._naming.colour(key, room)) for key in here),
            key=lambda who: (who.name.casefold(), who.name),
        )
        return HubSide(hub.phase == "up", hub.tls, hub.round_trip, tuple(people))

    def _here(self) -> list[PeerView]:
        """Everybody linked, by name."""
        node, people, verified = self._node, self._people, self._node.verified
        here = people.here(self.shown) if self.shown is not None else ()
        out = []
        for key in (*node.linked(), *people.plain):
            link, status = node.link(key), people.status.get(key, "")
            room = direct_room(node.key, key)
            out.append(
                PeerView(
                    key=key,
                    name=people.name(key),
                    colour=self._naming.colour(key, self.shown if key in here else None),
                    verified=key in verified,
                    presence="away" if status else "here",
                    status=status,
                    path=link.path if link is not None else "lan",  # the old dialect knows no other
                    rtt=self._round_trip(key),
                    seen=0,
                    room=room,
                    unread=self._unread.counts(room)[0],
                    plain=key in people.plain,
                    other_key=people.rival(key) is not None,
                )
            )
        return sorted(out, key=lambda peer: (peer.name.casefold(), peer.key))

    def _known(self, rooms: Iterable[Room]) -> list[PeerView]:
        """Those seen last of everybody who is not here, and all whom one of these rooms is with."""
        node, people, verified = self._node, self._people, self._node.verified
        away = set(self._seen) - {node.key, *node.linked()} - node.ignored
        newest = sorted(away, key=lambda key: (-self._seen[key], key))[:MAX_GONE]
        # Whom a room on the screen is with is always told: else nothing says whether they are verified.
        here = {node.key, *node.linked(), *newest}
        newest += [room.peer for room in rooms if room.peer is not None and room.peer not in here]
        direct = {key: direct_room(node.key, key) for key in newest}
        return [
            PeerView(
                key=key,
                name=people.name(key),
                colour=self._naming.colour(key, None),
                verified=key in verified,
                presence="gone",
                status="",
                path="",
                rtt=None,
                seen=self._seen.get(key, 0),
                room=direct[key],
                unread=self._unread.counts(direct[key])[0],
                other_key=people.rival(key) is not None,
            )
            for key in newest
        ]

    def _round_trip(self, peer: PeerKey) -> float | None:
        now, told = self._node.rtt(peer), self._rtt.get(peer)
        if now is None:
            return told
        if told is None or abs(now - told) >= max(told * RTT_CHANGE, RTT_SECONDS):
            self._rtt[peer] = told = now
        return told
