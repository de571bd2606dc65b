"""From the relay to a direct link: carries out what `sandpiper.core.paths` wants, with the rendezvous and sockets."""

from __future__ import annotations

import logging
import random
import time
from typing import TYPE_CHECKING

from sandpiper.core.meeting import DialAt, Known, Offered, Unlinked
from sandpiper.core.paths import Ask, Paths, Punch, offers, path_to, worth_dialling
from sandpiper.core.rendezvous import nat_kind
from sandpiper.errors import LinkError, RemoteProtocolError, SandpiperError
from sandpiper.net.interfaces import own_addresses
from sandpiper.net.proxies import proxy_for
from sandpiper.net.punch import PunchFailed, PunchPort
from sandpiper.net.rendezvous import observe
from sandpiper.wire.rendezvous import Candidate

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Coroutine

    from sandpiper.config import Address
    from sandpiper.core.meeting import Meeting
    from sandpiper.core.paths import Ended, Own
    from sandpiper.crypto.identity import Identity
    from sandpiper.net.links import Links
    from sandpiper.node.place import Place
    from sandpiper.wire.ids import PeerKey
    from sandpiper.wire.rendezvous import Observed

log = logging.getLogger(__name__)

RENEW_SECONDS = 20.0  # between two connections to one rendezvous that are made for the sake of a new port
MAX_STAINED = 1024  # peers of whom is remembered through which port of ours they were linked


class Reaching:
    """The better paths of one node. `places` are the rendezvous in use, which `meeting` names; after a call, have the
    meeting's wishes carried out.
    """

    def __init__(
        self,
        identity: Identity,
        meeting: Meeting,
        places: dict[str, Place],
        links: Links,
        tasks: asyncio.TaskGroup,
        interfaces: tuple[str, ...],
        do: Callable[[], None],
    ) -> None:
        """`do` carries out what the meeting wants by then."""
        self.mapped: dict[int, Candidate] = {}
        """For a port of ours, the address of the router that leads to it (see `map_changed`)."""
        self.paths = Paths(identity.key, random.SystemRandom())
        self._identity = identity
        self._meeting = meeting
        self._places = places
        self._links = links
        self._tasks = tasks
        self._do = do
        self._own = own_addresses(interfaces) or frozenset()
        self._ports: dict[int, PunchPort] = {}
        self._punches: set[asyncio.Task[None]] = set()
        self._seen: dict[str, Observed] = {}  # by place, at its first port
        self._stained: dict[PeerKey, int] = {}  # ports of ours through which there was a link
        self._renewed: dict[str, float] = {}  # by place, when
        self._closing = False

    # ------------------------------------------------------------ what happens

    def heard(self, effect: Known | Offered | DialAt | Unlinked) -> None:
        """What the meeting tells."""
        now = time.monotonic()
        match effect:
            case Known(peer=peer):
                self.paths.met(peer, now)
            case Offered(peer=peer, nat=nat, candidates=candidates):
                self.paths.offered(peer, nat, candidates, now)
            case DialAt(peer=peer, seen=seen, start_at=start_at):
                self.paths.dial_at(peer, seen, start_at, now)
                for punch in self._asked_for():
                    self._begin(effect.place, punch)
            case Unlinked(peer=peer):
                self._links.doubt(peer)

    def online(self, place: Place, seen: Observed) -> None:
        """A rendezvous says how it sees us."""
        before, self._seen[place.name] = self._seen.get(place.name), seen
        way = place.link.way
        if way is None or before == seen:
            return
        self.paths.nat = nat_kind(way.host, seen, None)
        self.paths.changed(time.monotonic())
        if seen.second_port and proxy_for(place.relay.host) is None:
            self._task(self._look_twice(place, way.host, way.port, seen), f"NAT towards {place.name}")

    async def _look_twice(self, place: Place, own: str, port: int, seen: Observed) -> None:
        """What kind of NAT it is: how does another port of the rendezvous see the same port of ours?"""
        try:
            second = await observe(place.relay._replace(port=seen.second_port), local_port=port)
        except (SandpiperError, OSError) as exc:
            log.info("the second port of %s does not tell how it sees us: %s", place.name, exc)
            return
        self.paths.nat = nat_kind(own, seen, second)
        self._do()

    def map_changed(self, port: int, mapped: Address | None) -> None:
        """The router passes what comes to `mapped` on to our `port`, or (None) no longer."""
        if mapped is None:
            self.mapped.pop(port, None)
            return
        self.mapped[port] = Candidate(mapped.host, mapped.port)
        self.paths.changed(time.monotonic())
        self._do()

    def left(self, place: str) -> None:
        """A rendezvous is not in use any more."""
        self._seen.pop(place, None)
        self._renewed.pop(place, None)

    def network_changed(self, own: frozenset[Own]) -> None:
        """Our addresses are these by now."""
        self._own = own
        self.paths.changed(time.monotonic())

    # ------------------------------------------------------------ time

    def tick(self) -> None:
        """Carry out what is due."""
        self.paths.tick(time.monotonic())
        self._asked_for()

    def _asked_for(self) -> list[Punch]:
        """Offer our addresses to whom we are to; the dials that are to begin."""
        punches: list[Punch] = []
        for effect in self.paths.flush():
            match effect:
                case Ask(peer=peer):
                    name = self._meeting.meets(peer)
                    place = self._places.get(name) if name is not None else None
                    if place is not None and (way := place.link.way) is not None:
                        named = offers(self._own, way.host, way.port, self.mapped.get(way.port))
                        self._meeting.offer(peer, self.paths.nat, named)
                case Punch():
                    punches.append(effect)
        return punches

    # ------------------------------------------------------------ dialling

    def _begin(self, name: str, punch: Punch) -> None:
        place = self._places.get(name)
        way = place.link.way if place is not None else None
        if way is None or self._closing:
            self.paths.ended(punch.peer, "no_port", time.monotonic())
            return
        self._task(self._punch(punch, name, way.host, way.port), "punch")

    async def _punch(self, punch: Punch, name: str, host: str, number: int) -> None:
        port = self._ports.setdefault(number, PunchPort(number))
        candidates = worth_dialling(punch.candidates, self._own, host, number)
        how: Ended = "silent"
        try:
            link = await port.reach(
                self._identity, punch.peer, candidates, punch.seen, punch.start_at, lambda to: path_to(to, self._own)
            )
            how = "linked"
            self._stained[punch.peer] = number
            if len(self._stained) > MAX_STAINED:
                del self._stained[next(iter(self._stained))]
            log.info("a %s link to %s, in place of the relay", link.path, link.address)
            self._links.adopt(link)
        except PunchFailed as exc:
            log.info("no direct link: %s (%d addresses)", exc, len(candidates))
            how = exc.how
            if self._stained.pop(punch.peer, 0) == number:
                self._renew(name)
        except (LinkError, RemoteProtocolError) as exc:
            log.info("no direct link: %s", exc.sentence())
        finally:
            if port.idle:
                self._ports.pop(number, None)
            self.paths.ended(punch.peer, how, time.monotonic())
            if not self._closing:
                self._do()

    def _renew(self, name: str) -> None:
        """From this port there was a link before, which may have died without a word. NATs on the way believe in it for
        hours, and let nothing new come between the same two ports: so we come to the rendezvous from another one.
        """
        place, now = self._places.get(name), time.monotonic()
        if place is not None and now >= self._renewed.get(name, 0.0) + RENEW_SECONDS:
            self._renewed[name] = now
            place.renewing = True
            place.link.renew()

    def _task(self, doing: Coroutine[None, None, None], name: str) -> None:
        if self._closing:  # a timer that was on its way
            doing.close()
            return
        task = self._tasks.create_task(doing, name=name)
        self._punches.add(task)
        task.add_done_callback(self._punches.discard)

    def close(self) -> None:
        """Dial nobody any more."""
        self._closing = True
        for task in tuple(self._punches):
            task.cancel()
